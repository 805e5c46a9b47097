//! `pumasi market terms` and `shop`: what the platform takes, and how a merchant sells.

use clap::{Args, ValueEnum};
use pumasi_api::client::{ClientError, HubClient, escape};
use pumasi_api::wire::market::{MarketTerms, Party, SettleAt, ShopTerms};

use super::article::party;
use crate::error::CliError;
use crate::output::{Output, Table};
use crate::units;

const TERMS_EXAMPLES: &str = "\
Examples:
  pumasi market terms
  pumasi market terms --fee 3% --fee-to platform --tax-to treasury    (operators)";

/// Show or set what the platform takes of sales
///
/// Orders keep the terms under which they were placed. What is not given stays as it is.
#[derive(Args, Debug)]
#[command(after_help = TERMS_EXAMPLES)]
pub(super) struct TermsArgs {
    /// The fee, as a part of an order's total (operators)
    #[arg(long, value_parser = units::parse_percent, value_name = "PERCENT")]
    fee: Option<u16>,
    /// Who gets the fees (operators)
    #[arg(long, value_name = "NAME")]
    fee_to: Option<String>,
    /// Who gets the taxes, to hand them on (operators)
    #[arg(long, value_name = "NAME")]
    tax_to: Option<String>,
}

impl TermsArgs {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let now: Option<MarketTerms> = match client.get("/v1/market").await {
            Err(ClientError::Refused { body, .. }) if body.code == "no_terms" => None,
            terms => Some(terms.map_err(CliError::hub("ask for the terms of the market"))?),
        };
        let TermsArgs { fee, fee_to, tax_to } = self;
        let mut terms = now;
        if fee.is_some() || fee_to.is_some() || tax_to.is_some() {
            let set = changed(terms, fee, fee_to, tax_to)?;
            let () = client.put("/v1/market", &set, None).await.map_err(CliError::hub("set the terms"))?;
            terms = Some(set);
        }
        let Some(terms) = terms else {
            out.note("operators have not said yet what the platform takes: until then it takes nothing, and taxes stay with merchants");
            return if out.json { out.value(&()) } else { Ok(()) };
        };
        let name = |party: &Party| match party {
            Party::Id(id) => format!("account {id}"),
            Party::Name(name) => name.clone(),
        };
        out.show(&terms, "", || {
            Table::facts([
                (
                    "fee",
                    format!(
                        "{} of an order's total, to {}",
                        units::percent(terms.fee_bp),
                        name(&terms.fee_to)
                    ),
                ),
                ("tax", format!("as articles say, to {}", name(&terms.tax_to))),
            ])
        })
    }
}

fn changed(
    now: Option<MarketTerms>,
    fee: Option<u16>,
    fee_to: Option<String>,
    tax_to: Option<String>,
) -> Result<MarketTerms, CliError> {
    let (old_fee_to, old_tax_to) = now.as_ref().map(|now| (now.fee_to.clone(), now.tax_to.clone())).unzip();
    let first = || {
        CliError::usage(
            "nobody has said yet who gets fees and taxes",
            "give --fee, --fee-to and --tax-to the first time",
        )
    };
    Ok(MarketTerms {
        fee_to: fee_to.as_deref().map(party).or(old_fee_to).ok_or_else(first)?,
        tax_to: tax_to.as_deref().map(party).or(old_tax_to).ok_or_else(first)?,
        fee_bp: fee.or(now.map(|now| now.fee_bp)).ok_or_else(first)?,
    })
}

const SHOP_EXAMPLES: &str = "\
Examples:
  pumasi market shop
  pumasi market shop --settle-at placing --reserve 15m
  pumasi market shop --merchant tea-house          how another one sells";

/// Show how a merchant sells, or set how you do
///
/// What is not given stays as it is.
#[derive(Args, Debug)]
#[command(after_help = SHOP_EXAMPLES)]
pub(super) struct ShopArgs {
    /// Show this merchant's, by name or id
    #[arg(long, value_name = "NAME", conflicts_with_all = ["settle_at", "reserve", "complete_after", "returns"])]
    merchant: Option<String>,
    /// When you are paid (merchants)
    #[arg(long, value_enum, value_name = "WHEN")]
    settle_at: Option<When>,
    /// How long goods are reserved for an order that is paid later (merchants)
    #[arg(long, value_parser = units::parse_span_ms, value_name = "SPAN")]
    reserve: Option<u64>,
    /// How long after it arrived an order is completed by itself (merchants)
    #[arg(long, value_parser = units::parse_span_ms, value_name = "SPAN")]
    complete_after: Option<u64>,
    /// How long after it arrived an order can be returned (merchants)
    #[arg(long, value_parser = units::parse_span_or_none_ms, value_name = "SPAN")]
    returns: Option<u64>,
}

/// When a merchant is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    /// When an order is paid.
    Placing,
    /// When its parcels are on their way, each for its part.
    Shipping,
}

impl ShopArgs {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let whose =
            self.merchant.as_ref().map_or_else(String::new, |name| format!("?merchant={}", escape(name)));
        let mut terms: ShopTerms = client
            .get(&format!("/v1/shop{whose}"))
            .await
            .map_err(CliError::hub("ask how a merchant sells"))?;
        let before = terms.clone();
        if let Some(when) = self.settle_at {
            terms.settle_at = match when {
                When::Placing => SettleAt::Placing,
                When::Shipping => SettleAt::Shipping,
            };
        }
        let seconds = |ms: Option<u64>| ms.map(|ms| ms / 1_000);
        terms.reservation_s = seconds(self.reserve).or(terms.reservation_s);
        terms.completion_s = seconds(self.complete_after).or(terms.completion_s);
        terms.returns_s = seconds(self.returns).or(terms.returns_s);
        if terms != before {
            let () = client.put("/v1/shop", &terms, None).await.map_err(CliError::hub("set how you sell"))?;
        }
        let span = |seconds: Option<u64>| units::span(seconds.unwrap_or_default().saturating_mul(1_000));
        out.show(&terms, "", || {
            let paid = match terms.settle_at {
                SettleAt::Placing => "when an order is paid",
                SettleAt::Shipping => "when its parcels are on their way, each for its part",
            };
            Table::facts([
                ("is paid", paid.to_owned()),
                ("reserves goods for", format!("{}, until they are paid", span(terms.reservation_s))),
                ("completes orders", format!("{} after they arrived", span(terms.completion_s))),
                ("takes goods back", format!("for {} after they arrived", span(terms.returns_s))),
            ])
        })
    }
}
