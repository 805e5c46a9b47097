//! The life of an order after it was placed: a request for each step of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::market::{
    AcceptReturn, DeliverParcel, OrderStepped, RefundOrder, ReturnOrder, ScanParcel, ShipOrder, SomeOf,
};
use pumasi_core::{BadScanCode, Command, Done, OrderStep, ScanCode, Shipment};
use pumasi_types::{ArticleId, OrderId};

use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path};
use super::orders::{no_order, seen};
use super::{ApiError, market};
use crate::auth;
use crate::server::Hub;

/// Takes an order a step further.
async fn step(
    hub: &Hub,
    caller: &auth::Caller,
    key: &IdempotencyKey,
    order: OrderId,
    step: OrderStep,
) -> Result<Json<OrderStepped>, ApiError> {
    let command = Command::StepOrder { order, step };
    let (parcel, transfer) = match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Ok => (None, None),
        Done::Parcel(parcel) => (Some(parcel), None),
        Done::Transfer(transfer) => (None, Some(transfer)),
        other => return Err(unexpected(&other)),
    };
    Ok(Json(OrderStepped { order, parcel, transfer }))
}

/// Articles of an order, whichever way they are named.
async fn articles(
    hub: &Hub,
    caller: &auth::Caller,
    order: OrderId,
    lines: Vec<SomeOf>,
) -> Result<Vec<(ArticleId, u32)>, ApiError> {
    let by_id = |line: &SomeOf| Some((line.article.filter(|_| line.sku.is_none())?, line.quantity));
    if let Some(articles) = lines.iter().map(by_id).collect() {
        return Ok(articles);
    }
    let caller = caller.clone();
    let look = move |state: &pumasi_core::State| {
        let merchant = seen(state, &caller, order)?.order.merchant;
        let article = |line: SomeOf| match (line.article, line.sku) {
            (Some(id), None) => Ok((id, line.quantity)),
            (None, Some(sku)) => match state.market().by_sku(merchant, &sku) {
                Some(id) => Ok((id, line.quantity)),
                None => Err(format!(
                    "its merchant has no article '{}'",
                    sku.chars().take(100).collect::<String>()
                )),
            },
            _ => Err("give either `article` or `sku`".to_owned()),
        };
        Some(market::in_list(lines, article))
    };
    hub.cell.read(look).await?.ok_or_else(|| no_order(order))?
}

/// A step that needs no more than to be asked for.
macro_rules! plain_step {
    ($(#[$doc:meta])* $name:ident, $path:tt, $step:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, params(("order" = u64, Path)),
            responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody),
                (status = 409, body = ErrorBody)))]
        pub(super) async fn $name(
            State(hub): State<Arc<Hub>>,
            Caller(caller): Caller,
            key: IdempotencyKey,
            Path(order): Path<OrderId>,
        ) -> Result<Json<OrderStepped>, ApiError> {
            step(&hub, &caller, &key, order, $step).await
        }
    };
}

plain_step! {
    /// Pays an order that was placed to be paid later; its customer, or a storefront.
    pay, "/v1/orders/{order}/pay", OrderStep::Pay
}

plain_step! {
    /// Begins to get an order ready, so that its customer cannot cancel it any more; its merchant.
    allocate, "/v1/orders/{order}/allocate", OrderStep::Allocate
}

plain_step! {
    /// Says that all is well; its customer, or a storefront. By itself some time after it arrived.
    complete, "/v1/orders/{order}/complete", OrderStep::Complete
}

plain_step! {
    /// Gives up what is not shipped, and its money goes back; its customer or a storefront before it is allocated, its
    /// merchant until all is shipped.
    cancel, "/v1/orders/{order}/cancel", OrderStep::Cancel
}

plain_step! {
    /// Does not take back what its customer wants to return; its merchant.
    refuse_return, "/v1/orders/{order}/refuse-return", OrderStep::RefuseReturn
}

/// Sends a parcel with some or all of an order, and is paid for it; its merchant.
#[utoipa::path(post, path = "/v1/orders/{order}/ship", params(("order" = u64, Path)), request_body = ShipOrder,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn ship(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<ShipOrder>,
) -> Result<Json<OrderStepped>, ApiError> {
    let carrier = match body.carrier {
        Some(carrier) => market::party(&hub, carrier).await?,
        None => caller.account,
    };
    let lines = articles(&hub, &caller, order, body.lines).await?;
    let shipment = Shipment { carrier, tracking: body.tracking, lines };
    step(&hub, &caller, &key, order, OrderStep::Ship(shipment)).await
}

/// Says that a parcel has arrived; its carrier, or the merchant.
#[utoipa::path(post, path = "/v1/orders/{order}/deliver", params(("order" = u64, Path)), request_body = DeliverParcel,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn deliver(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<DeliverParcel>,
) -> Result<Json<OrderStepped>, ApiError> {
    step(&hub, &caller, &key, order, OrderStep::Deliver { parcel: body.parcel }).await
}

/// Says what happened to a parcel on its way; its carrier. `EMI` delivers it.
#[utoipa::path(post, path = "/v1/orders/{order}/scan", params(("order" = u64, Path)), request_body = ScanParcel,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn scan(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<ScanParcel>,
) -> Result<Json<OrderStepped>, ApiError> {
    let code: ScanCode =
        body.code.parse().map_err(|error: BadScanCode| ApiError::invalid(error.to_string()))?;
    step(&hub, &caller, &key, order, OrderStep::Scan { parcel: body.parcel, code }).await
}

/// Asks to give some or all of an order back; its customer, or a storefront.
#[utoipa::path(post, path = "/v1/orders/{order}/return", params(("order" = u64, Path)), request_body = ReturnOrder,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn request_return(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<ReturnOrder>,
) -> Result<Json<OrderStepped>, ApiError> {
    let lines = articles(&hub, &caller, order, body.lines).await?;
    step(&hub, &caller, &key, order, OrderStep::RequestReturn { lines }).await
}

/// Has what its customer wanted to give back, or some of it; its merchant.
#[utoipa::path(post, path = "/v1/orders/{order}/accept-return", params(("order" = u64, Path)),
    request_body = AcceptReturn,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn accept_return(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<AcceptReturn>,
) -> Result<Json<OrderStepped>, ApiError> {
    let lines = articles(&hub, &caller, order, body.lines).await?;
    step(&hub, &caller, &key, order, OrderStep::AcceptReturn { lines, restock: body.restock }).await
}

/// Gives money of an order back to its customer: from the merchant, and in proportion from who got fee and tax; its
/// merchant.
#[utoipa::path(post, path = "/v1/orders/{order}/refund", params(("order" = u64, Path)), request_body = RefundOrder,
    responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn refund(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(order): Path<OrderId>,
    Body(body): Body<RefundOrder>,
) -> Result<Json<OrderStepped>, ApiError> {
    let asks = caller.clone();
    let look = move |state: &pumasi_core::State| seen(state, &asks, order).map(|view| view.order.currency);
    let currency = hub.cell.read(look).await?.ok_or_else(|| no_order(order))?;
    let amount = currency.parse_amount(&body.amount)?;
    step(&hub, &caller, &key, order, OrderStep::Refund { amount }).await
}
