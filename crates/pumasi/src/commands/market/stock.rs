//! `pumasi market stock`: what there is of a merchant's articles.

use clap::{Args, Subcommand};
use pumasi_api::client::HubClient;
use pumasi_api::wire::Account;
use pumasi_api::wire::market::{Article, NewStock, StockChange, Tracking};
use pumasi_types::PlaceId;

use super::article::ArticleName;
use super::articles;
use super::load::LoadStock;
use crate::connect::post;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Style, Table};

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market stock show
  pumasi market stock receive tea 100              100 more came to place 1
  pumasi market stock count tea 97 --place 2       97 lie at place 2, as was counted
  pumasi market stock move tea 20 --place 1 --to 2
  pumasi market stock correct tea -3               three were broken
  pumasi market stock load delivery.parquet";

#[derive(Debug, Subcommand)]
pub(super) enum StockCommand {
    /// Show what lies where
    Show {
        /// Only of these: numbers, SKUs of yours, or MERCHANT/SKU
        articles: Vec<ArticleName>,
        /// At most so many articles
        #[arg(long, default_value_t = 1_000, value_name = "N")]
        limit: usize,
    },
    /// So many more came (merchants)
    Receive {
        #[command(flatten)]
        of: Of,
        /// How many
        quantity: u32,
    },
    /// So many are there, as was counted (merchants)
    Count {
        #[command(flatten)]
        of: Of,
        /// How many
        quantity: u32,
    },
    /// So many went to another place (merchants)
    Move {
        #[command(flatten)]
        of: Of,
        /// How many
        quantity: u32,
        /// Where to
        #[arg(long, value_name = "PLACE")]
        to: PlaceId,
    },
    /// So many more, or fewer, than was thought (merchants)
    Correct {
        #[command(flatten)]
        of: Of,
        /// How many, as 5 or -3
        #[arg(allow_negative_numbers = true)]
        by: i32,
    },
    Load(LoadStock),
}

/// Of what, and where.
#[derive(Args, Debug)]
pub(super) struct Of {
    /// Its number, or its SKU, with a slash before it if there is one in it
    article: ArticleName,
    /// Where: a number from 1 that you choose for each warehouse or store
    #[arg(long, default_value = "1", value_name = "PLACE")]
    place: PlaceId,
}

impl StockCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<Exit, CliError> {
        let (of, change, said) = match self {
            StockCommand::Load(load) => return load.run(client, out).await,
            StockCommand::Show { articles, limit } => {
                show(client, out, &articles, limit).await?;
                return Ok(Exit::Ok);
            }
            StockCommand::Receive { of, quantity } => (of, StockChange::Receive(quantity), "received"),
            StockCommand::Count { of, quantity } => (of, StockChange::Count(quantity), "counted"),
            StockCommand::Move { of, quantity, to } => (of, StockChange::Move { quantity, to }, "moved"),
            StockCommand::Correct { of, by } => (of, StockChange::Correct(by), "corrected"),
        };
        let Of { article: name, place } = of;
        let what = name.to_string();
        let (article, sku) = name.own()?;
        let body = NewStock { article, sku, place, change };
        let () = post(client, "/v1/stock", &body, format!("change the stock of article {what}")).await?;
        let how = match change {
            StockChange::Receive(quantity) | StockChange::Count(quantity) => {
                format!("{quantity} at place {place}")
            }
            StockChange::Move { quantity, to } => format!("{quantity} from place {place} to {to}"),
            StockChange::Correct(by) => format!("{by:+} at place {place}"),
        };
        out.done(&format!("{said} article {what}: {how}"))?;
        Ok(Exit::Ok)
    }
}

async fn show(client: &HubClient, out: &Output, names: &[ArticleName], limit: usize) -> Result<(), CliError> {
    let mut found = Vec::new();
    let mut more = false;
    if names.is_empty() {
        let me: Account = client.get("/v1/me").await.map_err(CliError::hub("ask for your account"))?;
        (found, more) = articles::read(client, Some(&me.name), limit).await?;
    }
    for name in names {
        found.push(name.find(client).await?);
    }
    out.show(&found, "you have no articles: `pumasi market articles put` adds one", || table(&found))?;
    if more && !out.json {
        out.note("there are more: raise --limit");
    }
    Ok(())
}

fn table(articles: &[Article]) -> Table {
    let mut table = Table::new(&[">ARTICLE", "SKU", ">PLACE", ">ON HAND", ">RESERVED", ">AVAILABLE", "NOTE"]);
    let plain = |text: String| (text, Style::Plain);
    for article in articles {
        let (id, sku) = (article.id.to_string(), article.sku.clone());
        let note = match article.tracking {
            Tracking::Untracked => "not counted".to_owned(),
            Tracking::Counted => String::new(),
            Tracking::Backorder(more) => format!("{more} more can be sold"),
        };
        for shelf in article.stock.iter().flatten() {
            let left = i64::from(shelf.on_hand) - i64::from(shelf.reserved);
            let can_be_sold = left + articles::backorder(article) > 0;
            table.styled_row([
                plain(id.clone()),
                plain(sku.clone()),
                plain(shelf.place.to_string()),
                plain(shelf.on_hand.to_string()),
                plain(shelf.reserved.to_string()),
                (left.to_string(), if can_be_sold { Style::Plain } else { Style::Bad }),
                plain(note.clone()),
            ]);
        }
        if article.stock.as_ref().is_none_or(Vec::is_empty) {
            let none = if article.stock.is_none() { "not yours to see".to_owned() } else { note };
            table.row([id, sku, String::new(), String::new(), String::new(), String::new(), none]);
        }
    }
    table
}
