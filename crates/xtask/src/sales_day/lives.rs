//! What becomes of some orders: they are shipped whole or in parts, delivered, returned, refunded or given up.

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire::market::OrderStepped;
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::Answered;
use super::stage::{AT_ONCE, Stage};
use crate::Outcome;

/// An order that was placed and is to be taken further.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    order: u64,
    /// Which of the lives it gets.
    life: usize,
    /// SKUs and how many of each.
    lines: Vec<(String, u32)>,
    total: i64,
}

impl Placed {
    /// The order of an answer, if it was placed and its number is a multiple of `every`.
    pub(super) fn chosen(
        answer: &Answered,
        every: u64,
        what: impl FnOnce() -> (Vec<(String, u32)>, i64),
    ) -> Option<Placed> {
        let Answered::Placed(order) = *answer else { return None };
        if !order.is_multiple_of(every) {
            return None;
        }
        let (lines, total) = what();
        Some(Placed { order, life: (order / every) as usize % LIVES.len(), lines, total })
    }

    /// Half of its first line, at least one.
    fn first(&self) -> Value {
        let (sku, quantity) = &self.lines[0];
        json!({"lines": [{"sku": sku, "quantity": quantity.div_ceil(2)}]})
    }
}

/// Steps of an order, one after the other; some of them are not possible.
const LIVES: [&[Step]; 10] = {
    use Step::*;
    [
        &[CustomerCancels],
        &[Refund, Allocate, CustomerCancels, MerchantCancels],
        &[Ship, Allocate, Ship, Complete],
        &[Allocate, Ship, Deliver(1), Allocate],
        &[Allocate, Ship, Deliver(1), Complete, RefundHalf],
        &[Allocate, ShipSome, MerchantCancels, Deliver(1)],
        &[Allocate, ShipSome, Ship, Deliver(1), Deliver(2)],
        &[Allocate, Ship, Deliver(1), Return, AcceptReturn, Refund],
        &[Allocate, Ship, Deliver(1), Return, RefuseReturn, Refund, RefundHalf],
        &[Allocate, Ship, Deliver(1), ReturnSome, AcceptReturn, RefundHalf],
    ]
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate,
    Ship,
    ShipSome,
    Deliver(u32),
    Complete,
    CustomerCancels,
    MerchantCancels,
    Return,
    ReturnSome,
    AcceptReturn,
    RefuseReturn,
    Refund,
    RefundHalf,
}

/// A step that was asked for, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Stepped {
    order: u64,
    step: &'static str,
    body: Value,
    answer: String,
}

impl Step {
    /// What it is called, what it needs, and who takes it.
    fn ask<'a>(self, stage: &'a Stage, placed: &Placed) -> (&'static str, Value, &'a HubClient) {
        let (grocer, mall) = (&stage.grocer, &stage.mall);
        match self {
            Step::Allocate => ("allocate", json!({}), grocer),
            Step::Ship => ("ship", json!({}), grocer),
            Step::ShipSome => ("ship", placed.first(), grocer),
            Step::Deliver(parcel) => ("deliver", json!({ "parcel": parcel }), grocer),
            Step::Complete => ("complete", json!({}), mall),
            Step::CustomerCancels => ("cancel", json!({}), mall),
            Step::MerchantCancels => ("cancel", json!({}), grocer),
            Step::Return => ("return", json!({}), mall),
            Step::ReturnSome => ("return", placed.first(), mall),
            Step::AcceptReturn => ("accept-return", json!({"restock": true}), grocer),
            Step::RefuseReturn => ("refuse-return", json!({}), grocer),
            Step::Refund => ("refund", json!({"amount": placed.total.to_string()}), grocer),
            Step::RefundHalf => ("refund", json!({"amount": (placed.total / 2).to_string()}), grocer),
        }
    }
}

/// Takes orders further, many at a time; each order's steps are taken one after the other.
pub(super) async fn live(stage: &Stage, placed: &[Placed]) -> Outcome<Vec<Stepped>> {
    let lives = stream::iter(placed).map(|placed| async move {
        let mut steps = Vec::new();
        for step in LIVES[placed.life] {
            let (name, mut body, client) = step.ask(stage, placed);
            let path = format!("/v1/orders/{}/{name}", placed.order);
            let answer = match client.post::<_, OrderStepped>(&path, &body, None).await {
                Ok(_) => "ok".to_owned(),
                Err(ClientError::Refused { body, .. }) => body.code,
                Err(error) => return Err(error),
            };
            if matches!(step, Step::CustomerCancels) {
                body["by"] = json!("customer");
            }
            steps.push(Stepped { order: placed.order, step: name, body, answer });
        }
        Ok(steps)
    });
    let lives: Vec<Vec<Stepped>> = lives.buffered(AT_ONCE).try_collect().await?;
    Ok(lives.into_iter().flatten().collect())
}
