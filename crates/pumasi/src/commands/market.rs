//! `pumasi market`: what merchants sell and what is ordered.

mod load;

use clap::{Args, Subcommand};

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi market articles load articles.csv --currency KRW
  pumasi market stock load delivery.parquet";

/// Sell goods: articles, stock and orders
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
    /// Add and change articles
    #[command(subcommand)]
    Articles(ArticlesCommand),
    /// Change what there is of articles
    #[command(subcommand)]
    Stock(StockCommand),
}

#[derive(Debug, Subcommand)]
enum ArticlesCommand {
    Load(load::LoadArticles),
}

#[derive(Debug, Subcommand)]
enum StockCommand {
    Load(load::LoadStock),
}

impl MarketArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match self.command {
            MarketCommand::Articles(ArticlesCommand::Load(load)) => load.run(&client, out).await,
            MarketCommand::Stock(StockCommand::Load(load)) => load.run(&client, out).await,
        }
    }
}
