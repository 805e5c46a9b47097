//! The lines of scripts that make orders cheaper.

use std::fmt::Write as _;

use pumasi_core::{Command, CouponKind, CouponScope, CouponSpec};
use pumasi_types::{AccountId, Amount, CouponId, Currency};

use super::market::rate;
use super::{Args, Outcome, Pool, duration, list, next, span};

impl Pool {
    /// `coupon MERCHANT CODE percent=10|off=3|buy=2 [least=…] [free=…] [category=…] [SKU…] [from=…] [until=…] [uses=…]
    /// [each=…] [auto=yes]`; times are from now on, without `from` it has begun an hour ago.
    pub(super) fn put_coupon(&mut self, args: &mut Args<'_>) -> Outcome<String> {
        let merchant = self.account(next(args, "whose")?)?;
        let code = next(args, "code")?.to_owned();
        let kind = kind(args)?;
        let starts = match args.take_key("from") {
            Some(span) => self.now.after(duration(span)?),
            None => pumasi_types::Time(self.now.0 - duration("1h")?.0),
        };
        let ends = self.now.after(duration(args.take_key("until").unwrap_or("1d"))?);
        let uses = args.take_key("uses").map(str::parse).transpose()?;
        let uses_each = args.take_key("each").map(str::parse).transpose()?;
        let automatic = args.take_key("auto") == Some("yes");
        let category = args.take_key("category").map(|name| CouponScope::Category(name.to_owned()));
        let mut articles = Vec::new();
        while let Some(sku) = args.next_pos() {
            articles.push(self.article(merchant, sku)?);
        }
        let named = if articles.is_empty() { CouponScope::All } else { CouponScope::Articles(articles) };
        let scope = category.unwrap_or(named);
        let spec = CouponSpec { code, automatic, kind, scope, starts, ends, uses, uses_each };
        self.ask(merchant, args, Command::PutCoupons(vec![spec]))
    }

    /// A merchant's coupon by its code, or by its number.
    pub(super) fn coupon(&self, merchant: AccountId, code: &str) -> Outcome<CouponId> {
        match self.state.market().by_code(merchant, code) {
            Some(coupon) => Ok(coupon),
            None => code.parse().map_err(|_| format!("no coupon '{code}'").into()),
        }
    }

    pub(super) fn look_at_coupons(&self, merchant: &str) -> Outcome<String> {
        let (merchant, mut text) = (self.account(merchant)?, String::new());
        for (id, coupon) in self.state.market().coupons_of(merchant, "") {
            let spec = &coupon.spec;
            let what = if spec.automatic { "promotion" } else { "coupon" };
            write!(text, "{what} {id} {}: {}", spec.code, tell_kind(spec.kind))?;
            match &spec.scope {
                CouponScope::All => {}
                CouponScope::Category(category) => write!(text, " of {category}")?,
                CouponScope::Articles(articles) => {
                    write!(text, " of {}", list(articles, |article| article.to_string()))?;
                }
            }
            write!(text, ", used {}", coupon.used)?;
            if let Some(uses) = spec.uses {
                write!(text, " of {uses}")?;
            }
            if let Some(uses) = spec.uses_each {
                write!(text, ", each {uses}")?;
            }
            match spec.ends > self.now {
                true => writeln!(text, ", for {}", span(spec.ends.since(self.now)))?,
                false => writeln!(text, ", over")?,
            }
        }
        Ok(if text.is_empty() { "no coupons".into() } else { text })
    }
}

fn kind(args: &mut Args<'_>) -> Outcome<CouponKind> {
    let currency: Currency = args.take_key("currency").unwrap_or("CRD").parse()?;
    if let Some(percent) = args.take_key("percent") {
        return Ok(CouponKind::Percent(rate(Some(percent))?));
    }
    if let Some(off) = args.take_key("off") {
        // What is no amount at all is written as minor units.
        let off = currency.parse_amount(off).or_else(|_| Outcome::Ok(Amount(off.parse()?)))?;
        let at_least = currency.parse_amount(args.take_key("least").unwrap_or("0"))?;
        return Ok(CouponKind::Amount { currency, off, at_least });
    }
    let buy = args.take_key("buy").ok_or("percent, off or buy is missing")?.parse()?;
    Ok(CouponKind::BuyXGetY { buy, free: args.take_key("free").unwrap_or("1").parse()? })
}

fn tell_kind(kind: CouponKind) -> String {
    match kind {
        CouponKind::Percent(rate) => format!("{}.{:02} %", rate.parts() / 100, rate.parts() % 100),
        CouponKind::Amount { currency, off, at_least } => {
            let (off, at_least) = (currency.format_amount(off), currency.format_amount(at_least));
            format!("{off} {currency} off {at_least}")
        }
        CouponKind::BuyXGetY { buy, free } => format!("{free} free with {buy}"),
    }
}
