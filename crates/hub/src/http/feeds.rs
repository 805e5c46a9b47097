//! Feeds of events, and lists of orders, for those whom they concern.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_api::wire::market::{EVENTS_MAX, Feed, Orders, WAIT_S_MAX};
use pumasi_core::{EventKind, Party};
use pumasi_types::EventId;
use serde::Deserialize;

use super::accounts::resolve;
use super::extract::{Caller, Path, Query};
use super::{ApiError, past};
use crate::auth;
use crate::feeds::{self, FeedError, Whose};
use crate::server::Hub;

/// Most orders in one answer.
const ORDERS_MAX: usize = 100;
/// Events that are looked through for one list of orders at most.
const LOOKED_THROUGH: usize = 10_000;

impl From<FeedError> for ApiError {
    fn from(error: FeedError) -> ApiError {
        match error {
            FeedError::Cell(error) => error.into(),
            FeedError::Journal(error) => error.into(),
            FeedError::Task(error) => ApiError::internal(&error),
            FeedError::TooManyWait => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string())
                    .retry_after(Duration::ZERO)
            }
        }
    }
}

/// Whose events or orders a caller asks for, if it may see them.
async fn whose(
    hub: &Hub,
    caller: &auth::Caller,
    party: Party,
    account: Option<&str>,
) -> Result<Whose, ApiError> {
    let account = match account {
        Some(text) => resolve(hub, text).await?,
        None => caller.account,
    };
    let whose = Whose { party, account };
    if feeds::may_read(caller, whose) { Ok(whose) } else { Err(ApiError::forbidden(feeds::NOT_YOURS)) }
}

/// Which part of a feed.
#[derive(Deserialize)]
pub(super) struct FeedQuery {
    after: Option<EventId>,
    limit: Option<usize>,
    wait_s: Option<u64>,
    account: Option<String>,
}

/// The events of the caller's orders, as `customer`, `merchant` or `carrier`, oldest first. Whoever asks again with
/// `next` as `after` comes by each of them, whatever happens in between; with `wait_s` the answer waits so long for the
/// first of them.
#[utoipa::path(get, path = "/v1/feeds/{party}", operation_id = "read_feed",
    params(("party" = String, Path), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query),
        ("wait_s" = Option<u64>, Query), ("account" = Option<String>, Query)),
    responses((status = 200, body = Feed), (status = 403, body = wire::ErrorBody),
        (status = 503, description = "Too many wait.", body = wire::ErrorBody)))]
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(party): Path<String>,
    Query(query): Query<FeedQuery>,
) -> Result<Json<Feed>, ApiError> {
    let party = match party.as_str() {
        "customer" => Party::Customer,
        "merchant" => Party::Merchant,
        "carrier" => Party::Carrier,
        _ => {
            return Err(ApiError::not_found(
                "no_feed",
                "there are feeds of `customer`, `merchant` and `carrier`",
            ));
        }
    };
    let whose = whose(&hub, &caller, party, query.account.as_deref()).await?;
    let (after, limit) = (query.after.unwrap_or_default(), query.limit.unwrap_or(100).clamp(1, EVENTS_MAX));
    let mut page = feeds::read(&hub.cell, &hub.derived, whose, after, limit).await?;
    let wait = Duration::from_secs(query.wait_s.unwrap_or(0).min(WAIT_S_MAX));
    if page.events.is_empty() && wait > Duration::ZERO {
        let woken = hub.waiters.wait(caller.account, whose, after)?;
        tokio::select! {
            _ = woken => {}
            () = tokio::time::sleep(wait) => {}
            () = hub.stopping() => {}
        }
        page = feeds::read(&hub.cell, &hub.derived, whose, after, limit).await?;
    }
    let next = page.events.last().map_or(after, |event| event.id);
    let events = page.events.iter().map(|event| feeds::wire(event, party)).collect();
    Ok(Json(Feed { events, next, last: page.last }))
}

/// Whose orders, and which of them.
#[derive(Deserialize)]
pub(super) struct OrdersQuery {
    customer: Option<String>,
    merchant: Option<String>,
    before: Option<EventId>,
    limit: Option<usize>,
}

/// The orders of a customer or of a merchant, newest first; the caller's own as a customer if none is named. A page can
/// have fewer orders than asked for and still a `next`.
#[utoipa::path(get, path = "/v1/orders",
    params(("customer" = Option<String>, Query), ("merchant" = Option<String>, Query),
        ("before" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Orders), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn list_orders(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Orders>, ApiError> {
    let whose = match (&query.customer, &query.merchant) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("give either `customer` or `merchant`")),
        (None, Some(merchant)) => whose(&hub, &caller, Party::Merchant, Some(merchant)).await?,
        (customer, None) => whose(&hub, &caller, Party::Customer, customer.as_deref()).await?,
    };
    let limit = query.limit.unwrap_or(20).clamp(1, ORDERS_MAX);
    let is_placed = |event: &pumasi_core::Event| event.kind == EventKind::Placed;
    let (events, next) =
        feeds::backwards(&hub.cell, &hub.derived, whose, query.before, (limit, LOOKED_THROUGH), is_placed)
            .await?;
    let ids = events.iter().map(|event| event.order).collect();
    let past::Shown { orders, looked_for } = past::orders(&hub, None, ids).await?;
    // What was not looked for comes with the next page.
    let last = events.get(looked_for).and_then(|_| events.get(looked_for.checked_sub(1)?));
    Ok(Json(Orders { orders, next: last.map(|event| event.id).or(next) }))
}
