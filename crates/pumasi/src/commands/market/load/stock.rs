//! `pumasi market stock load`: a table of what came, or was counted.

use clap::{Args, ValueEnum};
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{NewStock, StockChange};
use pumasi_types::{ArticleId, PlaceId};

use super::{Cells, Kind, LoadArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi market stock load delivery.csv
  pumasi market stock load inventory.parquet --change count --column quantity=ON_HAND";

/// Change stock as a table says
///
/// Columns: sku or article (its id), place, quantity, and if you like change (receive, count, correct or move) and to
/// (the place where moved goods arrive). Rows that are refused are written to FILE.rejects.csv with the reason, to be
/// corrected and loaded; the exit code is 5 then. Run again after an interruption: what was loaded is not loaded twice,
/// as long as the hub remembers it (48 hours).
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoadStock {
    #[command(flatten)]
    load: LoadArgs,
    /// What quantities mean where the table has no column that says it
    #[arg(long, value_enum, default_value_t = Change::Receive)]
    change: Change,
}

/// What a quantity means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Change {
    /// So many more came.
    Receive,
    /// So many are there.
    Count,
    /// So many more, or fewer, than was thought.
    Correct,
    /// So many went to another place.
    Move,
}

const KIND: Kind = Kind {
    things: "changes of stock",
    path: "/v1/stock",
    columns: &["sku", "article", "place", "quantity", "change", "to"],
};

impl LoadStock {
    pub(crate) async fn run(self, client: &HubClient, out: &Output) -> Result<Exit, CliError> {
        let convert = |cells: &Cells<'_>| stock(cells, self.change);
        let usual = format!("{:?}", self.change);
        self.load.run(&KIND, &["place", "quantity"], &usual, convert, client, out).await
    }
}

fn stock(cells: &Cells<'_>, usual: Change) -> Result<NewStock, String> {
    let (sku, article) = (cells.get("sku"), cells.number("article")?);
    if sku.is_some() == article.is_some() {
        return Err("needs either a sku or an article".to_owned());
    }
    let change = match cells.get("change") {
        None => usual,
        Some(text) => Change::from_str(text, true)
            .map_err(|_| format!("change: '{text}' is not receive, count, correct or move"))?,
    };
    let quantity = || cells.number("quantity")?.ok_or_else(|| "quantity is empty".to_owned());
    let place = |name| cells.number(name)?.map(PlaceId).ok_or_else(|| format!("{name} is empty"));
    let change = match change {
        Change::Receive => StockChange::Receive(quantity()?),
        Change::Count => StockChange::Count(quantity()?),
        Change::Correct => {
            StockChange::Correct(cells.number("quantity")?.ok_or_else(|| "quantity is empty".to_owned())?)
        }
        Change::Move => StockChange::Move { quantity: quantity()?, to: place("to")? },
    };
    Ok(NewStock {
        article: article.map(ArticleId),
        sku: sku.map(str::to_owned),
        place: place("place")?,
        change,
    })
}
