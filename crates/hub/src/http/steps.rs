//! The life of an order after it was placed: a request for each step of it, or for a list of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::market::{
    AcceptReturn, DeliverParcel, ListedStep, OrderStepped, RefundOrder, ReturnOrder, STEPS_MAX, ScanParcel,
    ShipOrder, SomeOf, Step, StepResult,
};
use pumasi_core::{BadScanCode, Command, Done, OrderStep, Request, ScanCode, Shipment};
use pumasi_types::{ArticleId, OrderId};

use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path};
use super::orders::no_order;
use super::{ApiError, market, past};
use crate::auth;
use crate::server::Hub;

/// Takes an order a step further.
async fn take(
    hub: &Hub,
    caller: &auth::Caller,
    key: &IdempotencyKey,
    order: OrderId,
    step: Step,
) -> Result<Json<OrderStepped>, ApiError> {
    let step = prepare(hub, caller, order, step).await?;
    let command = Command::StepOrder { order, step };
    let done = hub.cell.ask(caller.account, key.of(caller.account), command).await??;
    stepped(order, &done).map(Json)
}

/// What a step led to.
fn stepped(order: OrderId, done: &Done) -> Result<OrderStepped, ApiError> {
    let (parcel, transfer) = match done {
        Done::Ok => (None, None),
        Done::Parcel(parcel) => (Some(*parcel), None),
        Done::Transfer(transfer) => (None, Some(*transfer)),
        other => return Err(unexpected(other)),
    };
    Ok(OrderStepped { order, parcel, transfer })
}

/// The step as the cell takes it, which knows no names.
async fn prepare(
    hub: &Hub,
    caller: &auth::Caller,
    order: OrderId,
    step: Step,
) -> Result<OrderStep, ApiError> {
    Ok(match step {
        Step::Pay => OrderStep::Pay,
        Step::Allocate => OrderStep::Allocate,
        Step::Ship(ShipOrder { carrier, tracking, lines }) => {
            let carrier = match carrier {
                Some(carrier) => market::party(hub, carrier).await?,
                None => caller.account,
            };
            let lines = articles(hub, caller, order, lines).await?;
            OrderStep::Ship(Shipment { carrier, tracking, lines })
        }
        Step::Deliver(DeliverParcel { parcel }) => OrderStep::Deliver { parcel },
        Step::Scan(ScanParcel { parcel, code }) => {
            let bad = |error: BadScanCode| ApiError::invalid(error.to_string());
            OrderStep::Scan { parcel, code: code.parse::<ScanCode>().map_err(bad)? }
        }
        Step::Complete => OrderStep::Complete,
        Step::Cancel => OrderStep::Cancel,
        Step::Return(ReturnOrder { lines }) => {
            OrderStep::RequestReturn { lines: articles(hub, caller, order, lines).await? }
        }
        Step::AcceptReturn(AcceptReturn { lines, restock }) => {
            OrderStep::AcceptReturn { lines: articles(hub, caller, order, lines).await?, restock }
        }
        Step::RefuseReturn => OrderStep::RefuseReturn,
        Step::Refund(RefundOrder { amount }) => {
            // The same again must be answered the same, though the order has left memory with it.
            let (_, currency) = past::sold(hub, caller, order).await?.ok_or_else(|| no_order(order))?;
            OrderStep::Refund { amount: currency.parse_amount(&amount)? }
        }
    })
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
    // A step that is repeated may have been the order's last.
    let (merchant, _) = past::sold(hub, caller, order).await?.ok_or_else(|| no_order(order))?;
    let look = move |state: &pumasi_core::State| {
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
        market::in_list(lines, article)
    };
    hub.cell.read(look).await?
}

/// The request for one kind of step, whose body, if it has one, is what belongs to it.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident, $path:tt, $id:tt, $step:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, operation_id = $id, params(("order" = u64, Path)),
            responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody),
                (status = 409, body = ErrorBody)))]
        pub(super) async fn $name(
            State(hub): State<Arc<Hub>>,
            Caller(caller): Caller,
            key: IdempotencyKey,
            Path(order): Path<OrderId>,
        ) -> Result<Json<OrderStepped>, ApiError> {
            take(&hub, &caller, &key, order, $step).await
        }
    };
    ($(#[$doc:meta])* $name:ident, $path:tt, $id:tt, $body:ident => $step:expr) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, operation_id = $id, params(("order" = u64, Path)), request_body = $body,
            responses((status = 200, body = OrderStepped), (status = 404, body = ErrorBody),
                (status = 409, body = ErrorBody)))]
        pub(super) async fn $name(
            State(hub): State<Arc<Hub>>,
            Caller(caller): Caller,
            key: IdempotencyKey,
            Path(order): Path<OrderId>,
            Body(body): Body<$body>,
        ) -> Result<Json<OrderStepped>, ApiError> {
            take(&hub, &caller, &key, order, $step(body)).await
        }
    };
}

step! {
    /// Pays an order that was placed to be paid later; its customer, or a storefront.
    pay, "/v1/orders/{order}/pay", "pay_order", Step::Pay
}

step! {
    /// Begins to get an order ready, so that its customer cannot cancel it any more; its merchant.
    allocate, "/v1/orders/{order}/allocate", "allocate_order", Step::Allocate
}

step! {
    /// Sends a parcel with some or all of an order, and is paid for it; its merchant.
    ship, "/v1/orders/{order}/ship", "ship_order", ShipOrder => Step::Ship
}

step! {
    /// Says that a parcel has arrived; its carrier, or the merchant.
    deliver, "/v1/orders/{order}/deliver", "deliver_parcel", DeliverParcel => Step::Deliver
}

step! {
    /// Says what happened to a parcel on its way; its carrier. `EMI` delivers it.
    scan, "/v1/orders/{order}/scan", "scan_parcel", ScanParcel => Step::Scan
}

step! {
    /// Says that all is well; its customer, or a storefront. By itself some time after it arrived.
    complete, "/v1/orders/{order}/complete", "complete_order", Step::Complete
}

step! {
    /// Gives up what is not shipped, and its money goes back; its customer or a storefront before it is allocated, its
    /// merchant until all is shipped.
    cancel, "/v1/orders/{order}/cancel", "cancel_order", Step::Cancel
}

step! {
    /// Asks to give some or all of an order back; its customer, or a storefront.
    request_return, "/v1/orders/{order}/return", "request_return", ReturnOrder => Step::Return
}

step! {
    /// Has what its customer wanted to give back, or some of it; its merchant.
    accept_return, "/v1/orders/{order}/accept-return", "accept_return", AcceptReturn => Step::AcceptReturn
}

step! {
    /// Does not take back what its customer wants to return; its merchant.
    refuse_return, "/v1/orders/{order}/refuse-return", "refuse_return", Step::RefuseReturn
}

step! {
    /// Gives money of an order back to its customer: from the merchant, and in proportion from who got fee and tax; its
    /// merchant.
    refund, "/v1/orders/{order}/refund", "refund_order", RefundOrder => Step::Refund
}

/// Takes up to 1,000 steps, one after another and each on its own; what came of each, in their order.
#[utoipa::path(post, path = "/v1/orders/steps", operation_id = "take_steps", request_body = [ListedStep],
    responses((status = 200, body = [StepResult]), (status = 400, body = ErrorBody)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(steps): Body<Vec<ListedStep>>,
) -> Result<Json<Vec<StepResult>>, ApiError> {
    if steps.len() > STEPS_MAX {
        let message = format!("a list has at most {STEPS_MAX} steps, and this one {}", steps.len());
        return Err(ApiError::invalid(message));
    }
    let prepared = steps
        .into_iter()
        .map(async |ListedStep { order, step }| (order, prepare(&hub, &caller, order, step).await));
    let mut asked = Vec::new();
    for (at, (order, step)) in (0..).zip(join_all(prepared).await) {
        let answer = match step {
            Ok(step) => {
                let (id, command) = (key.of_item(caller.account, at), Command::StepOrder { order, step });
                Ok(hub.cell.send(Request { caller: caller.account, id, command }).await?)
            }
            Err(error) => Err(error),
        };
        asked.push((order, answer));
    }
    let mut results = Vec::with_capacity(asked.len());
    for (order, answer) in asked {
        let came = match answer {
            Ok(answer) => answer.await.map_err(|_| hub.cell.why_stopped())?.map_err(ApiError::from),
            Err(error) => Err(error),
        };
        let (stepped, error) = match came.and_then(|done| stepped(order, &done)) {
            Ok(stepped) => (stepped, None),
            Err(error) => (OrderStepped { order, parcel: None, transfer: None }, Some(error.into_body())),
        };
        results.push(StepResult { stepped, error });
    }
    Ok(Json(results))
}
