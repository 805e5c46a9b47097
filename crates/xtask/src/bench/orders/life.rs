//! The whole life of orders over HTTP, in lists: placed and paid, allocated, shipped, delivered, completed.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{OrderResult, StepResult};
use serde_json::{Value, json};

use super::market::{Market, Numbers, PRICE};
use crate::Outcome;

/// Orders in a list; their merchant takes three steps with each, which makes the longest list.
const TOGETHER: usize = 300;
/// Lists on their way at once.
const AT_ONCE: usize = 8;

/// Orders that lived from placing to completion in a second.
pub(super) async fn measure(market: &Market, numbers: &mut Numbers, during: Duration) -> Outcome<f64> {
    let began = Instant::now();
    let seeds: Vec<u64> = (0..AT_ONCE).map(|_| numbers.next()).collect();
    let lived = seeds.into_iter().map(async |seed| {
        let (mut numbers, mut lived) = (Numbers::from(seed), 0_u64);
        while began.elapsed() < during {
            live(market, &mut numbers).await?;
            lived += TOGETHER as u64;
        }
        Outcome::Ok(lived)
    });
    let lived: u64 = try_join_all(lived).await?.into_iter().sum();
    Ok(lived as f64 / began.elapsed().as_secs_f64())
}

/// Some orders live.
async fn live(market: &Market, numbers: &mut Numbers) -> Outcome {
    let order = |_| {
        let customer = market.first_customer + u64::from(numbers.below(market.customers));
        let article = 1 + numbers.below(market.articles);
        json!({"id": format!("{:016x}", numbers.next()), "customer": customer, "currency": "KRW",
            "total": PRICE.to_string(), "lines": [{"article": article, "quantity": 1}]})
    };
    let orders: Vec<Value> = (0..TOGETHER).map(order).collect();
    let placed: Vec<OrderResult> = market.client.post("/v1/orders", &orders, None).await?;
    let ids: Vec<u64> = placed.iter().filter_map(|result| Some(result.order?.0)).collect();
    if ids.len() < TOGETHER {
        let refused = placed.iter().find(|result| result.order.is_none());
        return Err(format!("not all orders were placed: {refused:?}").into());
    }
    let served = ids.iter().flat_map(|id| {
        [
            json!({"order": id, "step": "allocate"}),
            json!({"order": id, "step": "ship"}),
            json!({"order": id, "step": "deliver", "parcel": 1}),
        ]
    });
    steps(&market.merchant, served.collect()).await?;
    let completed = ids.iter().map(|id| json!({"order": id, "step": "complete"}));
    steps(&market.client, completed.collect()).await
}

async fn steps(client: &HubClient, steps: Vec<Value>) -> Outcome {
    let results: Vec<StepResult> = client.post("/v1/orders/steps", &steps, None).await?;
    match results.into_iter().find_map(|result| result.error) {
        None => Ok(()),
        Some(error) => Err(format!("a step was not taken: {}", error.message).into()),
    }
}
