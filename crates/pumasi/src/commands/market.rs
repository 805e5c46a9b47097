//! `pumasi market`: what is sold, and what is ordered.

mod article;
mod articles;
mod coupons;
mod customers;
mod export;
mod feed;
mod load;
mod order;
mod sales;
mod shop;
mod steps;
mod stock;
mod watch;
mod webhooks;

use clap::{Args, Subcommand};
use pumasi_api::client::HubClient;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi market articles put tea --price 5000 --currency KRW
  pumasi market articles load articles.csv --currency KRW
  pumasi market stock receive tea 100              100 of them came
  pumasi market order place shop/tea=2             two of the article 'tea' of the merchant 'shop'
  pumasi market order ship 7 --carrier post --tracking EE123456789KR
  pumasi market watch                              how selling goes, live

An article is named by its number, by its SKU when it is yours, or as MERCHANT/SKU.";

/// Sell goods, order them, and follow orders
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MarketArgs {
    #[command(subcommand)]
    command: MarketCommand,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Subcommand)]
enum MarketCommand {
    Terms(shop::TermsArgs),
    Shop(shop::ShopArgs),
    /// Show articles, add them and change them
    #[command(subcommand, after_help = articles::EXAMPLES)]
    Articles(articles::ArticlesCommand),
    /// Show and change what there is of your articles
    #[command(subcommand, after_help = stock::EXAMPLES)]
    Stock(stock::StockCommand),
    /// Place orders, look at them, and take them further
    #[command(subcommand, after_help = order::EXAMPLES)]
    Order(order::OrderCommand),
    /// Open accounts of customers, who need no token of their own (storefronts)
    #[command(subcommand, after_help = customers::EXAMPLES)]
    Customers(customers::CustomersCommand),
    /// Make orders cheaper: coupons that customers name, and promotions
    #[command(subcommand, after_help = coupons::EXAMPLES)]
    Coupons(coupons::CouponsCommand),
    Sales(sales::SalesArgs),
    Feed(feed::FeedArgs),
    /// Have your events brought to a server of yours
    #[command(subcommand, after_help = webhooks::EXAMPLES)]
    Webhooks(webhooks::WebhooksCommand),
    Watch(watch::WatchArgs),
    Export(export::ExportArgs),
}

impl MarketArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        self.command.run(&client, out).await
    }
}

impl MarketCommand {
    async fn run(self, client: &HubClient, out: &Output) -> Result<Exit, CliError> {
        match self {
            MarketCommand::Terms(args) => args.run(client, out).await?,
            MarketCommand::Shop(args) => args.run(client, out).await?,
            MarketCommand::Articles(command) => return command.run(client, out).await,
            MarketCommand::Stock(command) => return command.run(client, out).await,
            MarketCommand::Order(command) => command.run(client, out).await?,
            MarketCommand::Customers(command) => command.run(client, out).await?,
            MarketCommand::Coupons(command) => command.run(client, out).await?,
            MarketCommand::Sales(args) => args.run(client, out).await?,
            MarketCommand::Feed(args) => args.run(client, out).await?,
            MarketCommand::Webhooks(command) => command.run(client, out).await?,
            MarketCommand::Watch(args) => args.run(client, out).await?,
            MarketCommand::Export(args) => args.run(client, out).await?,
        }
        Ok(Exit::Ok)
    }
}
