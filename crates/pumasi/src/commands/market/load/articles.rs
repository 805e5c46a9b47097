//! `pumasi market articles load`: a table of what a merchant sells.

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{NewArticle, Tracking};
use pumasi_types::Currency;

use super::{Cells, Kind, LoadArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi market articles load articles.csv --currency KRW
  pumasi market articles load erp.parquet --column sku=ITEM_NO --column price=GROSS";

/// Add or change the articles of a table; the SKU decides
///
/// Columns: sku, price, currency, and if you like gtin, title_ko, title_en, category, tax_bp (basis points of tax that
/// the price contains), tracking (counted, untracked, or backorder:50), on_sale (yes or no). Rows that are refused are
/// written to FILE.rejects.csv with the reason, to be corrected and loaded; the exit code is 5 then. Run again after an
/// interruption: what was loaded is not loaded twice.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoadArticles {
    #[command(flatten)]
    load: LoadArgs,
    /// The currency where the table has no such column
    #[arg(long, value_name = "CODE")]
    currency: Option<Currency>,
}

const KIND: Kind = Kind {
    things: "articles",
    path: "/v1/articles",
    columns: &[
        "sku", "price", "currency", "gtin", "title_ko", "title_en", "category", "tax_bp", "tracking",
        "on_sale",
    ],
};

impl LoadArticles {
    pub(crate) async fn run(self, client: &HubClient, out: &Output) -> Result<Exit, CliError> {
        let usual = self.currency.map(|currency| currency.code().to_owned());
        let needed: &[&str] = if usual.is_some() { &["sku", "price"] } else { &["sku", "price", "currency"] };
        let convert = |cells: &Cells<'_>| article(cells, usual.as_deref());
        self.load.run(&KIND, needed, usual.as_deref().unwrap_or_default(), convert, client, out).await
    }
}

fn article(cells: &Cells<'_>, currency: Option<&str>) -> Result<NewArticle, String> {
    let code = cells.get("currency").or(currency).ok_or("currency is empty")?;
    let currency: Currency = code.parse().map_err(|error| format!("currency: {error}"))?;
    let price = cells.need("price")?;
    currency.parse_amount(price).map_err(|error| format!("price: {error}"))?;
    let text = |name| cells.get(name).unwrap_or_default().to_owned();
    Ok(NewArticle {
        sku: cells.need("sku")?.to_owned(),
        gtin: cells.get("gtin").map(str::to_owned),
        title_ko: text("title_ko"),
        title_en: text("title_en"),
        category: text("category"),
        price: price.to_owned(),
        currency: currency.code().to_owned(),
        tax_bp: cells.number("tax_bp")?.unwrap_or(0),
        tracking: cells.get("tracking").map_or(Ok(Tracking::Counted), tracking)?,
        on_sale: cells.get("on_sale").map_or(Ok(true), yes_or_no)?,
    })
}

fn tracking(text: &str) -> Result<Tracking, String> {
    match text.split_once(':') {
        None if text == "counted" => Ok(Tracking::Counted),
        None if text == "untracked" => Ok(Tracking::Untracked),
        Some(("backorder", more)) if more.parse::<u32>().is_ok() => {
            Ok(Tracking::Backorder(more.parse().unwrap_or_default()))
        }
        _ => Err(format!("tracking: '{text}' is not counted, untracked or backorder:NUMBER")),
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(format!("on_sale: '{text}' is not yes or no")),
    }
}
