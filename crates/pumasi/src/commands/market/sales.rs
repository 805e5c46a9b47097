//! `pumasi market sales`: what was sold.

use clap::{Args, ValueEnum};
use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::market::{Sales, SalesRow};

use crate::error::CliError;
use crate::output::{Output, Style, Table};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  pumasi market sales                              the last 24 hours, article by article
  pumasi market sales --by category --from 2026-11-01 --to 2026-11-30
  pumasi market sales --by hour --from 12h
  pumasi market sales --by day --from 30d --merchant tea-house         (operators)";

/// Show what you sold: quantities and revenue by article, category, hour or day
///
/// An order counts in the hour in which its money is taken; what is cancelled, returned or refunded counts against the
/// hour in which that happens, so that figures can be negative. Times are rounded to whole hours, 366 days at most;
/// days are those of UTC.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SalesArgs {
    /// Of this merchant, by name or id; by default yours, or everybody's (operators)
    #[arg(long, value_name = "NAME")]
    merchant: Option<String>,
    /// What they are divided by
    #[arg(long, value_enum, default_value = "article", value_name = "WHAT")]
    by: By,
    /// Since when: a date, a time, or a span before now; the day before the end when it is not given
    #[arg(long, value_parser = units::parse_since_ms, value_name = "DATE")]
    from: Option<u64>,
    /// Until when: a date, with all of that day, a time, or a span before now; now when it is not given
    #[arg(long, value_parser = units::parse_up_to_ms, value_name = "DATE")]
    to: Option<u64>,
    /// At most so many rows, up to 1000; the sum is always that of all of them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    limit: u32,
}

/// What figures are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Articles, the one with most revenue first.
    Article,
    /// Categories, the one with most revenue first.
    Category,
    /// Hours, the newest first.
    Hour,
    /// Days in UTC, the newest first.
    Day,
}

impl By {
    /// As the hub calls it.
    fn name(self) -> &'static str {
        match self {
            By::Article => "article",
            By::Category => "category",
            By::Hour => "hour",
            By::Day => "day",
        }
    }
}

impl SalesArgs {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let mut path = format!("/v1/sales?by={}&limit={}", self.by.name(), self.limit);
        let of_merchant = self.merchant.as_ref().map(|name| format!("&merchant={}", escape(name)));
        let from = self.from.map(|ms| format!("&from_ms={ms}"));
        let to = self.to.map(|ms| format!("&to_ms={ms}"));
        path.extend([of_merchant, from, to].into_iter().flatten());
        let whose = self.merchant.map_or_else(String::new, |name| format!(" of '{name}'"));
        let sales: Sales =
            client.get(&path).await.map_err(CliError::hub(format!("show the sales{whose}")))?;
        let when = format!("from {} to {}", units::minute(sales.from_ms), units::minute(sales.to_ms));
        let none = format!("nothing was sold{whose} {when}");
        if out.json || sales.rows.is_empty() {
            return out.show(&sales, &none, || Table::new(&[""]));
        }
        out.note(&format!("sales{whose} {when}"));
        out.table(&table(&sales, self.by))?;
        if sales.more {
            out.note("there are more: raise --limit, or ask for a shorter time");
        }
        Ok(())
    }
}

/// The figures, and what they come to below them.
fn table(sales: &Sales, by: By) -> Table {
    let columns: &[&str] = match by {
        By::Article => {
            &[">ARTICLE", "SKU", "MERCHANT", "CATEGORY", ">QUANTITY", ">ORDERS", ">REVENUE", "CURRENCY"]
        }
        By::Category => &["CATEGORY", ">QUANTITY", ">ORDERS", ">REVENUE", "CURRENCY"],
        By::Hour => &["HOUR", ">QUANTITY", ">ORDERS", ">REVENUE", "CURRENCY"],
        By::Day => &["DAY", ">QUANTITY", ">ORDERS", ">REVENUE", "CURRENCY"],
    };
    let mut table = Table::new(columns);
    let mut add = |cells: Vec<String>, style| {
        table.push(cells.into_iter().map(|cell| (cell, style)).collect());
    };
    for row in &sales.rows {
        let mut cells = names(row, by);
        cells.extend([row.quantity.to_string(), row.orders.to_string()]);
        cells.extend([row.revenue.clone(), row.currency.clone()]);
        add(cells, Style::Plain);
    }
    for total in &sales.totals {
        // An order can count in several rows, so that they cannot be added up.
        let mut cells = vec![String::new(); columns.len() - 4];
        cells[0] = "all".to_owned();
        cells.extend([total.quantity.to_string(), String::new()]);
        cells.extend([total.revenue.clone(), total.currency.clone()]);
        add(cells, Style::Bold);
    }
    table
}

/// What a row is about.
fn names(row: &SalesRow, by: By) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let category = text(&row.category).unwrap_or_else(|| "none".to_owned());
    let begin = row.begin_ms.unwrap_or_default();
    match by {
        By::Article => vec![
            row.article.map_or_else(String::new, |article| article.to_string()),
            text(&row.sku).unwrap_or_default(),
            text(&row.merchant).unwrap_or_default(),
            category,
        ],
        By::Category => vec![category],
        By::Hour => vec![units::minute(begin)],
        By::Day => vec![units::day_in_utc(begin)],
    }
}

#[cfg(test)]
mod tests {
    use pumasi_api::wire::market::SalesTotal;
    use pumasi_types::ArticleId;

    use super::*;

    fn row(quantity: i64, revenue: &str, currency: &str) -> SalesRow {
        SalesRow {
            article: None,
            merchant: None,
            sku: None,
            category: None,
            begin_ms: None,
            quantity,
            orders: 1,
            revenue: revenue.to_owned(),
            currency: currency.to_owned(),
        }
    }

    fn sales(rows: Vec<SalesRow>) -> Sales {
        let total = |quantity, revenue: &str, currency: &str| SalesTotal {
            quantity,
            revenue: revenue.to_owned(),
            currency: currency.to_owned(),
        };
        let totals = vec![total(3, "-1.50", "EUR"), total(1_006, "30000", "KRW")];
        Sales { from_ms: 0, to_ms: 3_600_000, rows, more: false, totals }
    }

    fn text(rows: Vec<SalesRow>, by: By) -> String {
        Output::plain().text_of(&table(&sales(rows), by))
    }

    #[test]
    fn articles_are_named_and_what_they_come_to_stands_below() {
        let of = |id, sku: &str, category: &str, row| SalesRow {
            article: Some(ArticleId(id)),
            merchant: Some("tea-house".to_owned()),
            sku: Some(sku.to_owned()),
            category: Some(category.to_owned()),
            ..row
        };
        let rows = vec![
            of(17, "tea", "food/tea", row(1_006, "30000", "KRW")),
            of(2, "cup", "", row(-3, "-1.50", "EUR")),
        ];
        insta::assert_snapshot!(text(rows, By::Article));
    }

    #[test]
    fn categories_and_times_say_which() {
        let category = SalesRow { category: Some("food".to_owned()), ..row(2, "9.99", "EUR") };
        let first = |text: String| text.lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!(first(text(vec![category], By::Category)), "food             2       1     9.99  EUR");
        let at = |begin_ms| vec![SalesRow { begin_ms: Some(begin_ms), ..row(2, "9.99", "EUR") }];
        assert!(first(text(at(86_400_000), By::Day)).starts_with("1970-01-02 UTC         2"));
        // The time depends on where this runs.
        assert!(first(text(at(86_400_000), By::Hour)).starts_with(&units::minute(86_400_000)));
    }
}
