//! Orders as they stand in a file, over HTTP: lists on several connections at once.

use std::cell::Cell;

use futures_util::future::try_join_all;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::OrderResult;
use serde_json::Value;

use super::folder::{Answered, Batch, Folder, Told};
use super::lives::Placed;
use crate::Outcome;

/// Connections.
const STREAMS: usize = 4;
/// Orders in one list.
const TOGETHER: usize = 200;

/// Sends all orders of a file; every `lives`-th that was placed is chosen.
pub(super) async fn send(client: &HubClient, folder: &Folder, orders: &str, lives: u64) -> Outcome<Told> {
    let lines = folder.read(orders)?;
    let next = Cell::new(0);
    let streams = (0..STREAMS).map(|stream| {
        let (lines, next) = (&lines, &next);
        async move {
            let mut told = Told::default();
            loop {
                let first = next.get();
                let Some(some) = lines.get(first..).filter(|rest| !rest.is_empty()) else {
                    return Outcome::Ok(told);
                };
                let some = &some[..some.len().min(TOGETHER)];
                next.set(first + some.len());
                let list: Result<Vec<Value>, _> =
                    some.iter().map(|line| serde_json::from_str(line)).collect();
                let list = list?;
                let results: Vec<OrderResult> = client.post("/v1/orders", &list, None).await?;
                let answers: Vec<_> = results.into_iter().map(answered).collect();
                for (order, answer) in list.iter().zip(&answers) {
                    told.chosen.extend(Placed::chosen(answer, lives, || read(order)));
                }
                told.batches.push(Batch { stream, first, answers });
            }
        }
    });
    let mut all = Told::default();
    for told in try_join_all(streams).await? {
        all.batches.extend(told.batches);
        all.chosen.extend(told.chosen);
    }
    Ok(all)
}

fn answered(result: OrderResult) -> Answered {
    match (result.order, result.code) {
        (Some(order), _) => Answered::Placed(order.0),
        (None, code) => Answered::Refused(code.unwrap_or_default().into_owned(), None),
    }
}

/// What is ordered, and what it costs.
fn read(order: &Value) -> (Vec<(String, u32)>, i64) {
    let lines = order["lines"].as_array().into_iter().flatten();
    let line = |line: &Value| {
        let quantity = line["quantity"].as_u64().unwrap_or_default();
        (line["sku"].as_str().unwrap_or_default().to_owned(), quantity as u32)
    };
    let total = order["total"].as_str().and_then(|total| total.parse().ok());
    (lines.map(line).collect(), total.unwrap_or_default())
}
