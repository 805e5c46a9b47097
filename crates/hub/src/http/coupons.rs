//! Coupons and promotions of merchants.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_api::wire::coupons::{Coupon, CouponKind, CouponScope, Coupons, NewCoupon, PutCoupon};
use pumasi_api::wire::market::OneOrMany;
use pumasi_core::{Command, CouponSpec, Done, Rate, Role};
use pumasi_types::{Amount, CouponId, Currency, Time};
use serde::Deserialize;

use super::ApiError;
use super::accounts::{resolve, unexpected};
use super::extract::{Body, Caller, IdempotencyKey, Query};
use super::market::in_list;
use crate::server::Hub;

/// Most coupons in one answer.
const COUPONS_MAX: usize = 1_000;
/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Adds coupons and promotions of the caller, or changes those of the same codes: all of them or none; merchants only.
#[utoipa::path(put, path = "/v1/coupons", operation_id = "put_coupons", request_body = OneOrMany<NewCoupon>,
    responses((status = 200, body = [PutCoupon]), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<OneOrMany<NewCoupon>>,
) -> Result<Json<Vec<PutCoupon>>, ApiError> {
    caller.needs(Role::Merchant)?;
    let specs = in_list(Vec::from(body), spec)?;
    let codes: Vec<String> = specs.iter().map(|spec| spec.code.clone()).collect();
    let command = Command::PutCoupons(specs);
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Coupons(ids) if ids.len() == codes.len() => {
            hub.directory
                .know_coupons(caller.account, codes.iter().map(String::as_str).zip(ids.iter().copied()));
            let put = codes.into_iter().zip(ids).map(|(code, coupon)| PutCoupon { code, coupon });
            Ok(Json(put.collect()))
        }
        other => Err(unexpected(&other)),
    }
}

fn spec(new: NewCoupon) -> Result<CouponSpec, String> {
    let NewCoupon { code, automatic, kind, scope, starts_ms, ends_ms, uses, uses_each } = new;
    let kind = match kind {
        CouponKind::PercentBp(parts) => {
            let rate = Rate::new(parts).ok_or("percent_bp must be at most 10000")?;
            pumasi_core::CouponKind::Percent(rate)
        }
        CouponKind::Amount { currency, off, at_least } => {
            let currency: Currency = currency.parse().map_err(|error| format!("currency: {error}"))?;
            let amount = |field: &str, text: &str| {
                currency.parse_amount(text).map_err(|error| format!("{field}: {error}"))
            };
            let off = amount("off", &off)?;
            let at_least = at_least.map_or(Ok(Amount::ZERO), |text| amount("at_least", &text))?;
            pumasi_core::CouponKind::Amount { currency, off, at_least }
        }
        CouponKind::BuyXGetY { buy, free } => pumasi_core::CouponKind::BuyXGetY { buy, free },
    };
    let scope = match scope {
        CouponScope::All => pumasi_core::CouponScope::All,
        CouponScope::Category(category) => pumasi_core::CouponScope::Category(category),
        CouponScope::Articles(articles) => pumasi_core::CouponScope::Articles(articles),
    };
    let time = |ms: u64| Time(ms.saturating_mul(MS));
    let (starts, ends) = (time(starts_ms), time(ends_ms));
    Ok(CouponSpec { code, automatic, kind, scope, starts, ends, uses, uses_each })
}

/// Whose coupons.
#[derive(Deserialize)]
pub(super) struct CouponsQuery {
    merchant: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// The caller's coupons and promotions, in the order of their codes; storefronts and operators see every merchant's.
#[utoipa::path(get, path = "/v1/coupons", operation_id = "list_coupons",
    params(("merchant" = Option<String>, Query), ("after" = Option<String>, Query),
        ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Coupons)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<CouponsQuery>,
) -> Result<Json<Coupons>, ApiError> {
    let merchant = match &query.merchant {
        Some(text) => resolve(&hub, text).await?,
        None => caller.account,
    };
    if merchant != caller.account && !caller.is_operator() {
        caller.needs(Role::Storefront)?;
    }
    let limit = query.limit.unwrap_or(100).clamp(1, COUPONS_MAX);
    let after = query.after.unwrap_or_default();
    let look = move |state: &pumasi_core::State| {
        let mut own = state.market().coupons_of(merchant, &after);
        let coupons: Vec<Coupon> = own.by_ref().take(limit).map(|(id, coupon)| view(id, coupon)).collect();
        let next = own.next().and_then(|_| coupons.last()).map(|last| last.is.code.clone());
        Coupons { coupons, next }
    };
    Ok(Json(hub.cell.read(look).await?))
}

fn view(id: CouponId, coupon: &pumasi_core::Coupon) -> Coupon {
    let spec = &coupon.spec;
    let kind = match spec.kind {
        pumasi_core::CouponKind::Percent(rate) => CouponKind::PercentBp(rate.parts()),
        pumasi_core::CouponKind::Amount { currency, off, at_least } => CouponKind::Amount {
            currency: currency.code().to_owned(),
            off: currency.format_amount(off),
            at_least: Some(currency.format_amount(at_least)),
        },
        pumasi_core::CouponKind::BuyXGetY { buy, free } => CouponKind::BuyXGetY { buy, free },
    };
    let scope = match &spec.scope {
        pumasi_core::CouponScope::All => CouponScope::All,
        pumasi_core::CouponScope::Category(category) => CouponScope::Category(category.clone()),
        pumasi_core::CouponScope::Articles(articles) => CouponScope::Articles(articles.clone()),
    };
    let is = NewCoupon {
        code: spec.code.clone(),
        automatic: spec.automatic,
        kind,
        scope,
        starts_ms: spec.starts.0 / MS,
        ends_ms: spec.ends.0 / MS,
        uses: spec.uses,
        uses_each: spec.uses_each,
    };
    Coupon { id, is, used: coupon.used }
}
