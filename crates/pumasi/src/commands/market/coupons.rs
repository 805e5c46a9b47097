//! `pumasi market coupons`: what makes orders cheaper.

use clap::{ArgGroup, Args, Subcommand};
use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::coupons::{Coupon, CouponKind, CouponScope, Coupons, NewCoupon, PutCoupon};
use pumasi_types::Currency;

use super::article::ArticleName;
use crate::error::CliError;
use crate::output::{Output, Table};
use crate::units;

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market coupons put SPRING --percent 10% --until 30d
  pumasi market coupons put TEA3 --off 3000 --currency KRW --category food/tea --until 7d
  pumasi market coupons put BOOKS --buy 2 --free 1 --automatic --until 2026-12-31T23:59
  pumasi market coupons list";

/// Coupons that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum CouponsCommand {
    /// List coupons and promotions, and how often they were used
    List {
        /// Of this merchant, by name or id; by default yours (storefronts and operators)
        #[arg(long, value_name = "NAME")]
        merchant: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    Put(PutArgs),
}

/// Add a coupon or a promotion, or replace the one of this code (merchants)
///
/// A customer names a coupon; a promotion applies by itself. They do not add up: an order gets the one that takes most
/// off it. Its merchant pays for it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("kind").required(true).args(["percent", "off", "buy"]))]
pub(super) struct PutArgs {
    /// What customers type
    code: String,
    /// It takes a part of the price off
    #[arg(long, value_parser = units::parse_percent, value_name = "PERCENT")]
    percent: Option<u16>,
    /// It takes so much off
    #[arg(long, requires = "currency", value_name = "AMOUNT")]
    off: Option<String>,
    /// In which currency, with --off
    #[arg(long, requires = "off", value_name = "CODE")]
    currency: Option<Currency>,
    /// What the articles that it is for must cost together, with --off
    #[arg(long, requires = "off", value_name = "AMOUNT")]
    at_least: Option<String>,
    /// Of so many that are paid for and --free more, the latter cost nothing
    #[arg(long, requires = "free", value_name = "N")]
    buy: Option<u32>,
    /// How many more cost nothing, with --buy
    #[arg(long, requires = "buy", value_name = "N")]
    free: Option<u32>,
    /// It is a promotion, which applies by itself
    #[arg(long)]
    automatic: bool,
    /// Only for this category and the categories in it
    #[arg(long, value_name = "PATH", conflicts_with = "article")]
    category: Option<String>,
    /// Only for these articles: numbers or SKUs; can be given more than once
    #[arg(long, value_name = "ARTICLE")]
    article: Vec<ArticleName>,
    /// From when on it can be used: a span like 2h or a time; at once when it is not given
    #[arg(long, value_parser = units::parse_moment_ms, value_name = "WHEN")]
    from: Option<u64>,
    /// When it is over: a span like 30d or a time
    #[arg(long, value_parser = units::parse_moment_ms, value_name = "WHEN")]
    until: u64,
    /// So many orders can have it
    #[arg(long, value_name = "N")]
    uses: Option<u32>,
    /// So many orders of one customer can have it
    #[arg(long, value_name = "N")]
    uses_each: Option<u32>,
}

impl CouponsCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        match self {
            CouponsCommand::List { merchant, limit } => list(client, out, merchant, limit).await,
            CouponsCommand::Put(args) => args.run(client, out).await,
        }
    }
}

async fn list(
    client: &HubClient,
    out: &Output,
    merchant: Option<String>,
    limit: usize,
) -> Result<(), CliError> {
    let merchant = merchant.map_or_else(String::new, |name| format!("&merchant={}", escape(&name)));
    let mut coupons: Vec<Coupon> = Vec::new();
    let mut after = String::new();
    let more = loop {
        let wanted = limit.saturating_sub(coupons.len()).clamp(1, PAGE);
        let path = format!("/v1/coupons?limit={wanted}{merchant}{after}");
        let page: Coupons = client.get(&path).await.map_err(CliError::hub("list coupons"))?;
        coupons.extend(page.coupons);
        match page.next {
            Some(next) if coupons.len() < limit => after = format!("&after={}", escape(&next)),
            next => break next.is_some(),
        }
    };
    out.show(&coupons, "there are no coupons: `pumasi market coupons put` adds one", || table(&coupons))?;
    if more && !out.json {
        out.note("there are more: raise --limit");
    }
    Ok(())
}

fn table(coupons: &[Coupon]) -> Table {
    let mut table = Table::new(&[
        ">COUPON",
        "CODE",
        "KIND",
        "TAKES OFF",
        "FOR",
        "FROM",
        "UNTIL",
        ">USED",
        ">OF",
        ">EACH",
    ]);
    for coupon in coupons {
        let NewCoupon { code, automatic, kind, scope, starts_ms, ends_ms, uses, uses_each } = &coupon.is;
        let limit = |limit: Option<u32>| limit.map_or_else(|| "any".to_owned(), |most| most.to_string());
        table.row([
            coupon.id.to_string(),
            code.clone(),
            if *automatic { "promotion" } else { "coupon" }.to_owned(),
            takes_off(kind),
            is_for(scope),
            if *starts_ms == 0 { "at once".to_owned() } else { units::moment(*starts_ms) },
            units::moment(*ends_ms),
            coupon.used.to_string(),
            limit(*uses),
            limit(*uses_each),
        ]);
    }
    table
}

fn takes_off(kind: &CouponKind) -> String {
    match kind {
        CouponKind::PercentBp(points) => units::percent(*points),
        CouponKind::Amount { currency, off, at_least: None } => format!("{off} {currency}"),
        CouponKind::Amount { currency, off, at_least: Some(least) } => {
            format!("{off} {currency} from {least} on")
        }
        CouponKind::BuyXGetY { buy, free } => format!("{free} with {buy}"),
    }
}

fn is_for(scope: &CouponScope) -> String {
    match scope {
        CouponScope::All => "everything".to_owned(),
        CouponScope::Category(category) => category.clone(),
        CouponScope::Articles(articles) => {
            let ids: Vec<_> = articles.iter().map(ToString::to_string).collect();
            format!("articles {}", ids.join(", "))
        }
    }
}

impl PutArgs {
    async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let mut articles = Vec::new();
        for name in &self.article {
            articles.push(name.find(client).await?.id);
        }
        let new = NewCoupon {
            kind: self.kind()?,
            scope: match self.category {
                Some(category) => CouponScope::Category(category),
                None if articles.is_empty() => CouponScope::All,
                None => CouponScope::Articles(articles),
            },
            code: self.code,
            automatic: self.automatic,
            starts_ms: self.from.unwrap_or_default(),
            ends_ms: self.until,
            uses: self.uses,
            uses_each: self.uses_each,
        };
        let operation = format!("put coupon '{}'", new.code);
        let put: Vec<PutCoupon> =
            client.put("/v1/coupons", &new, None).await.map_err(CliError::hub(operation))?;
        let numbers: Vec<_> = put.iter().map(|one| one.coupon.to_string()).collect();
        let what = if new.automatic { "promotion" } else { "coupon" };
        let (code, off) = (&new.code, takes_off(&new.kind));
        out.told(&put, &format!("put {what} '{code}', {off} off: number {}", numbers.join(", ")))
    }

    fn kind(&self) -> Result<CouponKind, CliError> {
        match (self.percent, &self.off, self.currency, self.buy.zip(self.free)) {
            (Some(points), ..) => Ok(CouponKind::PercentBp(points)),
            (_, Some(off), Some(currency), _) => Ok(CouponKind::Amount {
                currency: currency.code().to_owned(),
                off: off.clone(),
                at_least: self.at_least.clone(),
            }),
            (_, _, _, Some((buy, free))) => Ok(CouponKind::BuyXGetY { buy, free }),
            _ => Err(CliError::usage(
                "it is not said what the coupon takes off",
                "give --percent, --off or --buy",
            )),
        }
    }
}
