//! Placing orders, one or a list of them, and looking at one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pumasi_api::wire;
use pumasi_api::wire::market::{
    NewLine, NewOrder, ORDER_ID_BYTES_MAX, OneOrMany, Order, OrderResult, OrderStatus, Party, Pay,
};
use pumasi_core::{OrderAnswer, OrderBatch, OrderLines, OrderRefusal, OrderSpec};
use pumasi_types::{AccountId, ArticleId, CouponId, Currency, MoneyError, OrderId, RequestId};

use super::extract::{Body, Caller, IdempotencyKey, Path};
use super::{ApiError, past};
use crate::auth;
use crate::directory::{Found, Missing, Reader};
use crate::orders::{Placing, PlacingError, order_key};
use crate::server::Hub;

/// How long a request waits for room before it is sent away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why an order does not even get to the cell.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn invalid(message: impl Into<String>) -> Problem {
        Problem { code: "invalid", message: message.into() }
    }
}

impl From<MoneyError> for Problem {
    fn from(error: MoneyError) -> Problem {
        Problem::invalid(error.to_string())
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> ApiError {
        let status = if problem.code == "invalid" { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
        ApiError::new(status, problem.code, problem.message)
    }
}

impl From<OrderRefusal> for ApiError {
    fn from(refusal: OrderRefusal) -> ApiError {
        let status = match refusal {
            OrderRefusal::NotYours => StatusCode::FORBIDDEN,
            OrderRefusal::NoCustomer { .. }
            | OrderRefusal::NoArticle { .. }
            | OrderRefusal::NoCoupon { .. } => StatusCode::NOT_FOUND,
            OrderRefusal::NotEnoughMoney { .. } => StatusCode::PAYMENT_REQUIRED,
            OrderRefusal::BadQuantity { .. } | OrderRefusal::TotalTooLarge => StatusCode::BAD_REQUEST,
            OrderRefusal::TooMany => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::CONFLICT,
        };
        ApiError::new(status, refusal.code(), refusal.to_string())
    }
}

impl From<PlacingError> for ApiError {
    fn from(error: PlacingError) -> ApiError {
        match error {
            PlacingError::Cell(error) => error.into(),
            strange @ PlacingError::Strange(_) => ApiError::internal(&strange),
        }
    }
}

/// What came of an order: an answer of the cell, or a problem that was there before.
pub(super) type Outcome = Result<OrderAnswer, Problem>;

/// Places an order, or each of a list on its own. An order's `id` decides: sent again, it is the same order and is
/// answered the same, in whatever list and by whatever way it comes.
#[utoipa::path(post, path = "/v1/orders", operation_id = "place_orders", request_body = OneOrMany<NewOrder>,
    responses((status = 201, description = "The order was placed.", body = OrderResult),
        (status = 200, description = "What came of each order of the list, in its order.", body = [OrderResult]),
        (status = 402, body = wire::ErrorBody), (status = 409, body = wire::ErrorBody),
        (status = 503, description = "Too many orders wait: try again later.", body = wire::ErrorBody)))]
pub(super) async fn place(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<OneOrMany<NewOrder>>,
) -> Result<Response, ApiError> {
    let list = matches!(body, OneOrMany::Many(_));
    let orders: Vec<_> = Vec::from(body).into_iter().map(Ok).collect();
    let key = |at| if list { key.of_item(caller.account, at) } else { key.of(caller.account) };
    let (batch, problems) = gather(&hub, &caller, &orders, key).await?;
    let answers = if batch.is_empty() {
        Vec::new()
    } else {
        let room = hub.waiting_room.enter(&batch);
        let Ok(room) = tokio::time::timeout(PATIENCE, room).await else {
            hub.live.turned_away("overloaded", batch.len());
            return Err(overloaded());
        };
        Placing::begin(&hub.cell, caller.account, batch, room).await?.answers(&hub).await?
    };
    let mut outcomes = outcomes(problems, answers).zip(orders.iter().map(Named::by));
    if list {
        let results = outcomes.map(|(outcome, named)| result(outcome, &named));
        return Ok(Json(results.collect::<Vec<_>>()).into_response());
    }
    let (outcome, named) = outcomes.next().ok_or_else(|| Problem::invalid("there is no order"))?;
    let placed = match outcome? {
        OrderAnswer::Refused(refusal) => {
            return Err(ApiError::from(refusal).saying(words(&refusal, &named)));
        }
        placed @ OrderAnswer::Placed(_) => result(Ok(placed), &named),
    };
    Ok((StatusCode::CREATED, Json(placed)).into_response())
}

fn overloaded() -> ApiError {
    let message = "more orders come in than this hub can place: try again later, with the same ids";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(Duration::ZERO)
}

/// Makes a batch of those orders that are orders; says of each of the others what is wrong. `key` is what an order
/// without an id is called.
pub(super) async fn gather(
    hub: &Hub,
    caller: &auth::Caller,
    orders: &[Result<NewOrder, Problem>],
    key: impl Fn(u64) -> Option<RequestId>,
) -> Result<(OrderBatch, Vec<Option<Problem>>), ApiError> {
    let mut found = Found::default();
    loop {
        let (batch, problems, missing) = resolve(hub.directory.reader(&found), caller.account, orders, &key);
        if missing.is_empty() {
            return Ok((batch, problems));
        }
        hub.directory.look_up(&hub.cell, missing, &mut found).await?;
    }
}

/// One pass over the orders with the names that are known now.
fn resolve(
    mut names: Reader<'_>,
    caller: AccountId,
    orders: &[Result<NewOrder, Problem>],
    key: impl Fn(u64) -> Option<RequestId>,
) -> (OrderBatch, Vec<Option<Problem>>, Missing) {
    let mut batch = OrderBatch::with_capacity(orders.len());
    let mut lines = Vec::new();
    let mut add = |at: u64, order: &NewOrder| {
        let key = key_of(caller, order, || key(at))?;
        lines.clear();
        for line in &order.lines {
            lines.push((article(line, &mut names)?, line.quantity));
        }
        let first = lines.first().map_or(ArticleId(0), |(article, _)| *article);
        let spec = spec(order, key, caller, first, &mut names)?;
        batch.push(&spec, lines.iter().copied());
        Ok(())
    };
    let problem = |(at, order): (u64, &Result<NewOrder, Problem>)| match order {
        Ok(order) => add(at, order).err(),
        Err(problem) => Some(problem.clone()),
    };
    let problems = (0..).zip(orders).map(problem).collect();
    (batch, problems, names.missing())
}

/// What an order is called.
fn key_of(
    caller: AccountId,
    order: &NewOrder,
    other: impl FnOnce() -> Option<RequestId>,
) -> Result<RequestId, Problem> {
    match &order.id {
        Some(id) if id.is_empty() || id.len() > ORDER_ID_BYTES_MAX => {
            Err(Problem::invalid(format!("an order's id must have 1 to {ORDER_ID_BYTES_MAX} bytes")))
        }
        Some(id) => Ok(order_key(caller, id)),
        None => Ok(other().unwrap_or_else(pumasi_api::client::HubClient::new_request_id)),
    }
}

fn spec(
    order: &NewOrder,
    key: RequestId,
    caller: AccountId,
    first: ArticleId,
    names: &mut Reader<'_>,
) -> Result<OrderSpec<'static>, Problem> {
    let currency: Currency = order.currency.parse()?;
    if !(1..=OrderBatch::LINES_MAX).contains(&order.lines.len()) {
        return Err(Problem::invalid(format!("an order has 1 to {} lines", OrderBatch::LINES_MAX)));
    }
    if order.place.is_some_and(|place| place.0 == 0) {
        return Err(Problem::invalid("place is a number from 1 on"));
    }
    Ok(OrderSpec {
        key,
        customer: order.customer.as_ref().map_or(Ok(caller), |customer| account(customer, names))?,
        total: currency.parse_amount(&order.total)?,
        currency,
        coupon: order.coupon.as_ref().map_or(Ok(CouponId(0)), |code| coupon(code, first, names))?,
        place: order.place,
        pay_later: order.pay == Pay::Later,
        lines: OrderLines::default(),
    })
}

fn account(party: &Party, names: &mut Reader<'_>) -> Result<AccountId, Problem> {
    match party {
        Party::Id(id) => Ok(AccountId(*id)),
        Party::Name(name) => names.account(name).ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            Problem { code: "no_account", message: format!("there is no account '{name}'") }
        }),
    }
}

/// A coupon of the merchant that sells this article.
fn coupon(code: &str, article: ArticleId, names: &mut Reader<'_>) -> Result<CouponId, Problem> {
    names.coupon(article, code).ok_or_else(|| {
        let code: String = code.chars().take(100).collect();
        Problem { code: "no_coupon", message: format!("that merchant has no coupon '{code}'") }
    })
}

fn article(line: &NewLine, names: &mut Reader<'_>) -> Result<ArticleId, Problem> {
    match (line.article, &line.merchant, &line.sku) {
        (Some(id), None, None) => Ok(id),
        (None, Some(merchant), Some(sku)) => {
            let merchant = account(merchant, names)?;
            names.article(merchant, sku).ok_or_else(|| {
                let sku: String = sku.chars().take(100).collect();
                Problem { code: "no_article", message: format!("that merchant has no article '{sku}'") }
            })
        }
        _ => Err(Problem::invalid("a line names its article by `article`, or by `merchant` and `sku`")),
    }
}

/// Puts the cell's answers where there was no problem before.
pub(super) fn outcomes(
    problems: Vec<Option<Problem>>,
    answers: Vec<OrderAnswer>,
) -> impl Iterator<Item = Outcome> {
    let mut answers = answers.into_iter();
    problems.into_iter().map(move |problem| match problem {
        Some(problem) => Err(problem),
        None => Ok(answers.next().expect("the cell answered each order of the batch")),
    })
}

/// What an order said, in whose words it is answered.
pub(super) struct Named {
    currency: Option<Currency>,
    coupon: Option<String>,
}

impl Named {
    /// What this order said.
    pub(super) fn by(order: &Result<NewOrder, Problem>) -> Named {
        let order = order.as_ref().ok();
        let currency = order.and_then(|order| order.currency.parse().ok());
        Named { currency, coupon: order.and_then(|order| order.coupon.clone()) }
    }
}

/// Why an order was refused: with what it costs where that was the reason, and with its coupon's code, because customers
/// do not know its number.
fn words(refusal: &OrderRefusal, named: &Named) -> String {
    if let (OrderRefusal::OtherTotal { total }, Some(currency)) = (refusal, named.currency) {
        let total = currency.format_amount(*total);
        return format!("it costs {total} {currency} now: show that to the customer and order anew");
    }
    let said = refusal.to_string();
    match (coupon_of(refusal), &named.coupon) {
        (Some(coupon), Some(code)) => {
            said.replacen(&format!("coupon {coupon}"), &format!("coupon '{code}'"), 1)
        }
        _ => said,
    }
}

/// The coupon that was the reason.
fn coupon_of(refusal: &OrderRefusal) -> Option<CouponId> {
    match *refusal {
        OrderRefusal::NoCoupon { coupon }
        | OrderRefusal::CouponNotYet { coupon, .. }
        | OrderRefusal::CouponOver { coupon }
        | OrderRefusal::CouponUsedUp { coupon }
        | OrderRefusal::CouponUsed { coupon }
        | OrderRefusal::CouponNotForThese { coupon }
        | OrderRefusal::CouponBelow { coupon, .. }
        | OrderRefusal::CouponTooFew { coupon, .. } => Some(coupon),
        _ => None,
    }
}

/// An outcome of an order as it is told.
pub(super) fn result(outcome: Outcome, named: &Named) -> OrderResult {
    let (code, message) = match outcome {
        Ok(OrderAnswer::Placed(order)) => {
            return OrderResult {
                status: OrderStatus::Placed,
                order: Some(order),
                code: None,
                message: None,
            };
        }
        Ok(OrderAnswer::Refused(refusal)) => (refusal.code(), words(&refusal, named)),
        Err(problem) => (problem.code, problem.message),
    };
    let code = Some(Cow::Borrowed(code));
    OrderResult { status: OrderStatus::Refused, order: None, code, message: Some(message) }
}

/// An order: its customer, its merchant, storefronts and operators see it.
#[utoipa::path(get, path = "/v1/orders/{order}", operation_id = "get_order", params(("order" = u64, Path)),
    responses((status = 200, body = Order), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(order): Path<OrderId>,
) -> Result<Json<Order>, ApiError> {
    let found = past::orders(&hub, Some(&caller), vec![order]).await?.orders;
    found.into_iter().next().map(Json).ok_or_else(|| no_order(order))
}

/// What is said of an order that is not there, or not the caller's: who may not see one learns no more than that,
/// because numbers of orders can be guessed.
pub(super) fn no_order(id: OrderId) -> ApiError {
    ApiError::not_found("no_order", format!("you have no order {id}"))
}

#[cfg(test)]
mod tests {
    use pumasi_types::{Amount, Time};

    use super::*;

    #[test]
    fn a_coupon_is_called_as_the_customer_did() {
        let (coupon, currency) = (CouponId(3), Currency::CREDIT);
        let named = Named { currency: Some(currency), coupon: Some("SPRING".to_owned()) };
        let unnamed = Named { currency: None, coupon: None };
        for refusal in [
            OrderRefusal::NoCoupon { coupon },
            OrderRefusal::CouponNotYet { coupon, starts: Time(0) },
            OrderRefusal::CouponOver { coupon },
            OrderRefusal::CouponUsedUp { coupon },
            OrderRefusal::CouponUsed { coupon },
            OrderRefusal::CouponNotForThese { coupon },
            OrderRefusal::CouponBelow { coupon, at_least: Amount(1), currency },
            OrderRefusal::CouponTooFew { coupon, at_least: 3 },
        ] {
            let said = words(&refusal, &named);
            assert!(said.contains("coupon 'SPRING'") && !said.contains("coupon 3"), "{said}");
            assert_eq!(words(&refusal, &unnamed), refusal.to_string());
        }
    }
}
