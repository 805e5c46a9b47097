//! `pumasi market watch`: how selling goes, live.

use std::time::{Duration, Instant};

use clap::Args;
use pumasi_api::client::{ClientError, HubClient, escape};
use pumasi_api::wire::market::{LiveArticle, MarketLive};
use pumasi_types::Currency;

use crate::error::CliError;
use crate::job::watch::Interrupt;
use crate::output::{Output, Style, Table};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  pumasi market watch
  pumasi market watch --merchant shop --top 20     of one merchant (operators)
  pumasi market watch --every 10s >> day.log       a line every ten seconds
  pumasi market watch --for 1s --json | jq '.top[].sku'";

/// Show how selling goes, live: your sales of this hour, or everybody's and all orders (operators)
///
/// On a terminal it is a screen that Ctrl-C ends; elsewhere a line for each look, with --json an object.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct WatchArgs {
    /// Only the sales of this merchant, by name or id (operators)
    #[arg(long, value_name = "NAME")]
    merchant: Option<String>,
    /// How often to look
    #[arg(long, default_value = "1s", value_parser = units::parse_span_ms, value_name = "SPAN")]
    every: u64,
    /// How long; until Ctrl-C when it is not given
    #[arg(long = "for", value_parser = units::parse_span_ms, value_name = "SPAN")]
    span: Option<u64>,
    /// Show so many articles
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    top: u32,
}

impl WatchArgs {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let merchant =
            self.merchant.as_ref().map_or_else(String::new, |name| format!("&merchant={}", escape(name)));
        let path = format!("/v1/market/live?top={}{merchant}", self.top);
        let mut interrupt = Interrupt::listen();
        let until = self.span.map(|ms| Instant::now() + Duration::from_millis(ms));
        let mut screen = None;
        let mut before: Option<MarketLive> = None;
        loop {
            let looked = tokio::select! {
                looked = client.get::<MarketLive>(&path) => looked,
                () = interrupt.caught() => return Ok(()),
            };
            match looked {
                Ok(now) => {
                    if before.is_none() {
                        screen = out.screen();
                    }
                    let rates = Rates::between(before.as_ref(), &now);
                    match &screen {
                        Some(screen) => screen.show(&picture(out, &now, &rates))?,
                        None if out.json => out.value(&now)?,
                        None => out.line(&line(&now, &rates))?,
                    }
                    before = Some(now);
                }
                // Who watches a sales day wants to see the hub come back, too.
                Err(ClientError::Unreachable { .. }) if before.is_some() => match &screen {
                    Some(screen) => screen.show("the hub does not answer; trying on\n")?,
                    None => out.note("the hub does not answer; trying on"),
                },
                Err(error) => return Err(CliError::hub("ask how selling goes")(error)),
            }
            let next = Instant::now() + Duration::from_millis(self.every);
            if until.is_some_and(|until| next > until) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = interrupt.caught() => return Ok(()),
            }
        }
    }
}

/// What happened each second between two looks; none with the first one, or when the hub began anew.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rates {
    placed: Option<f64>,
    refused: Option<f64>,
    lines: Option<f64>,
    /// In minor units, by the order of currencies of the later look.
    revenue: Vec<Option<f64>>,
}

impl Rates {
    fn between(before: Option<&MarketLive>, now: &MarketLive) -> Rates {
        let Some(before) = before else { return Rates::default() };
        let seconds = now.time_ms.saturating_sub(before.time_ms) as f64 / 1e3;
        let rate = |from: i64, to: i64| (to >= from && seconds > 0.0).then(|| (to - from) as f64 / seconds);
        let count = |of: fn(&MarketLive) -> Option<u64>| {
            let (from, to) = (of(before)?, of(now)?);
            rate(from.cast_signed(), to.cast_signed())
        };
        let same_hour = before.hour_ms == now.hour_ms;
        let earned = |live: &MarketLive, currency: &str| {
            let found = live.revenue.iter().find(|revenue| revenue.currency == currency)?;
            Some(currency.parse::<Currency>().ok()?.parse_amount(&found.amount).ok()?.0)
        };
        let revenue = now.revenue.iter().filter(|_| same_hour).map(|revenue| {
            let from = earned(before, &revenue.currency).unwrap_or(0);
            rate(from, earned(now, &revenue.currency)?)
        });
        Rates {
            placed: count(|live| live.orders.as_ref().map(|orders| orders.placed)),
            refused: count(|live| live.orders.as_ref().map(|orders| orders.refused.values().sum())),
            lines: rate(before.lines, now.lines).filter(|_| same_hour),
            revenue: revenue.collect(),
        }
    }
}

/// A number that is easy to take in: with commas between thousands, and decimals only when it is small.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    grouped(&format!("{value:.0}"))
}

/// A decimal number with commas between thousands.
fn grouped(text: &str) -> String {
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{part}")
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{}/s", number(rate)))
}

/// What was sold, by currency.
fn revenue(now: &MarketLive, rates: &Rates) -> String {
    let each = now.revenue.iter().enumerate().map(|(at, revenue)| {
        let currency: Option<Currency> = revenue.currency.parse().ok();
        let rate = rates.revenue.get(at).copied().flatten().zip(currency);
        let rate = rate.map(|(rate, currency)| {
            format!(" ({}/s)", grouped(&currency.format_amount(pumasi_types::Amount(rate as i64))))
        });
        format!("{} {}{}", grouped(&revenue.amount), revenue.currency, rate.unwrap_or_default())
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { "nothing yet".to_owned() } else { each.join(", ") }
}

/// The refusals, the most frequent first.
fn refusals(now: &MarketLive) -> String {
    let Some(orders) = &now.orders else { return String::new() };
    let mut all: Vec<_> = orders.refused.iter().collect();
    all.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), (*code).clone()));
    let each: Vec<_> =
        all.into_iter().map(|(code, count)| format!("{} {code}", grouped(&count.to_string()))).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

fn latency(now: &MarketLive) -> String {
    now.latency.map_or_else(String::new, |lately| {
        format!("p50 {:.1} ms, p99 {:.1} ms", lately.p50_ms, lately.p99_ms)
    })
}

/// One line for where there is no terminal.
fn line(now: &MarketLive, rates: &Rates) -> String {
    let mut parts = vec![units::moment(now.time_ms)];
    if let Some(orders) = &now.orders {
        let placed = grouped(&orders.placed.to_string());
        parts.push(format!("placed {placed} ({}), refused {}", per_second(rates.placed), refusals(now)));
    } else {
        let lines = grouped(&now.lines.to_string());
        parts.push(format!("sold in {lines} orders ({})", per_second(rates.lines)));
    }
    parts.push(revenue(now, rates));
    parts.push(latency(now));
    parts.push(format!("{} out of stock", now.stock_outs));
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// The screen.
fn picture(out: &Output, now: &MarketLive, rates: &Rates) -> String {
    let mut facts = vec![("time", units::moment(now.time_ms))];
    if let Some(orders) = &now.orders {
        let placed = grouped(&orders.placed.to_string());
        facts
            .push(("orders", format!("{} placed, {placed} since the hub started", per_second(rates.placed))));
        facts.push(("refused", format!("{}: {}", per_second(rates.refused), refusals(now))));
    }
    if now.latency.is_some() {
        facts.push(("answers", latency(now)));
    }
    let [lines, quantity] = [now.lines, now.quantity].map(|count| grouped(&count.to_string()));
    let sold = format!("{quantity} pieces in {lines} orders ({})", per_second(rates.lines));
    facts.push(("this hour", format!("{}; {sold}", revenue(now, rates))));
    let mut text = out.text_of(&Table::facts(facts));
    if !now.top.is_empty() {
        text += &format!("\n{}", out.text_of(&articles("BEST SELLING", &now.top)));
    }
    if now.stock_outs > 0 {
        let none_left = out.text_of(&articles("OUT OF STOCK", &now.out_of_stock));
        let more = now.stock_outs.saturating_sub(now.out_of_stock.len() as u64);
        text += &format!("\n{none_left}");
        if more > 0 {
            text += &format!("and {more} more\n");
        }
    }
    text
}

fn articles(title: &'static str, list: &[LiveArticle]) -> Table {
    let mut table = Table::new(&[title, "MERCHANT", ">ARTICLE", ">SOLD", ">REVENUE", "CURRENCY", ">LEFT"]);
    for article in list {
        let left = article.available.map_or_else(|| "always".to_owned(), |left| grouped(&left.to_string()));
        let style = if article.available == Some(0) { Style::Bad } else { Style::Plain };
        let plain = |text: String| (text, Style::Plain);
        table.styled_row([
            plain(article.sku.clone()),
            plain(article.merchant.clone()),
            plain(article.article.to_string()),
            plain(grouped(&article.quantity.to_string())),
            plain(grouped(&article.revenue)),
            plain(article.currency.clone()),
            (left, style),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use pumasi_api::wire::market::{LiveLatency, LiveOrders, LiveRevenue};
    use pumasi_types::ArticleId;

    use super::*;

    fn look(placed: u64, earned: &str) -> MarketLive {
        let tea = LiveArticle {
            article: ArticleId(1),
            merchant: "shop".to_owned(),
            sku: "tea".to_owned(),
            quantity: 12_345,
            revenue: "61725000".to_owned(),
            currency: "KRW".to_owned(),
            available: Some(0),
        };
        let book = LiveArticle { sku: "book".to_owned(), available: None, quantity: 7, ..tea.clone() };
        let refused = [("not_enough_stock", 1_200), ("other_total", 3), ("overloaded", 1_200)];
        MarketLive {
            time_ms: placed * 2,
            orders: Some(LiveOrders {
                placed,
                refused: refused.into_iter().map(|(code, count)| (code.to_owned(), count)).collect(),
            }),
            latency: Some(LiveLatency { window_s: 10, p50_ms: 2.25, p99_ms: 13.0 }),
            hour_ms: 0,
            lines: placed as i64,
            quantity: 12_352,
            revenue: vec![LiveRevenue { currency: "KRW".to_owned(), amount: earned.to_owned() }],
            top: vec![tea.clone(), book],
            stock_outs: 3,
            out_of_stock: vec![tea],
        }
    }

    #[test]
    fn a_picture_says_what_happened_each_second() {
        let (before, now) = (look(1_000, "1000"), look(2_000_000, "61725000"));
        let rates = Rates::between(Some(&before), &now);
        let mut text = picture(&Output::plain(), &now, &rates);
        // The time depends on where this runs.
        text.replace_range(..text.find('\n').unwrap_or(0), "time       …");
        insta::assert_snapshot!(text);
        assert_eq!(rates.placed, Some(500.0));
        // A hub that began anew, or another hour, has no rate.
        assert_eq!(Rates::between(Some(&now), &before).placed, None);
        let later = MarketLive { hour_ms: 3_600_000, ..look(3_000_000, "5") };
        assert_eq!(Rates::between(Some(&now), &later).lines, None);
    }

    #[test]
    fn a_line_has_it_all() {
        let now = look(2_000, "61725000");
        let said = line(&now, &Rates::between(None, &now));
        let said = said.split_once("; ").map(|(_, said)| said);
        assert_eq!(
            said,
            Some(
                "placed 2,000 (–), refused 1,200 not_enough_stock, 1,200 overloaded, 3 other_total; \
                 61,725,000 KRW; p50 2.2 ms, p99 13.0 ms; 3 out of stock"
            )
        );
        let mine = MarketLive { orders: None, latency: None, ..now };
        let said = line(&mine, &Rates { lines: Some(3.25), ..Rates::default() });
        assert!(said.contains("sold in 2,000 orders (3.2/s); 61,725,000 KRW; 3 out"), "{said}");
    }

    #[test]
    fn thousands_are_grouped() {
        for (text, said) in [("0", "0"), ("999", "999"), ("1000", "1,000"), ("-1234567.50", "-1,234,567.50")]
        {
            assert_eq!(grouped(text), said);
        }
        assert_eq!((number(9.96), number(1e6)), ("10.0".to_owned(), "1,000,000".to_owned()));
    }
}
