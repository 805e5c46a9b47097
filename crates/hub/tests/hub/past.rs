//! Orders that left memory, and what was sold: both are read as long as their files are there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use pumasi_api::client::HubClient;

use pumasi_api::link::FromHub;
use pumasi_api::wire;
use pumasi_api::wire::market::{OrderResult, Orders, Sales};
use pumasi_cell::{Batch, Cell, Derived, Outlet, restore};
use pumasi_core::{Answer, Command, Request, State};
use pumasi_hub::start;
use pumasi_log::{FileLog, FileLogOptions, SnapshotStore};
use pumasi_types::{CellId, Duration};
use serde_json::{Value, json};

use crate::common::*;
use crate::feeds::get as export;
use crate::market::{Market, with};

/// Nobody listens.
struct Nobody;

impl Outlet for Nobody {
    type Reply = ();
    type Link = ();
    type Waiter = ();

    fn answer(&mut self, (): (), answer: Answer) {
        assert!(answer.is_ok(), "{answer:?}");
    }

    fn send(&mut self, (): &(), _: FromHub) -> bool {
        true
    }

    fn over(&mut self, (): ()) {}
}

/// Lets two days pass in the log of a hub that is not running, a minute with each entry.
fn two_days_later(data: &Path) {
    let log = FileLog::open(&data.join("log"), FileLogOptions::new(CellId(0))).unwrap().log;
    let snapshots = SnapshotStore::open(&data.join("snapshots")).unwrap();
    let restored = restore(log, snapshots, Derived::open(data).unwrap()).unwrap();
    let begin = restored.state.now();
    let mut cell = Cell::new(restored, Duration::from_secs(10));
    for minute in 1..=2 * 24 * 60 + 2 {
        let mut batch = Batch::default();
        batch.ask(Request { caller: State::SYSTEM, id: None, command: Command::Tick }, ());
        let now = begin.after(Duration::from_secs(60 * minute));
        cell.step(now, &mut || 1, &mut batch, &mut Nobody).unwrap();
    }
}

/// The same hub two days later.
async fn after_two_days(hub: TestHub) -> TestHub {
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    let data = options.data.clone();
    tokio::task::spawn_blocking(move || two_days_later(&data)).await.unwrap();
    TestHub { dir, running: start(options.clone()).await.unwrap(), options }
}

/// Orders of alice for free gifts, from number 1 on, which have come, are completed and can be returned.
async fn completed_gifts(market: &Market, count: u64) {
    let gift = json!([{"sku": "gift", "price": "100", "currency": "KRW", "tracking": "untracked"}]);
    let _: Value = market.merchant.post("/v1/articles", &gift, None).await.unwrap();
    let order = json!({"customer": "alice", "currency": "KRW", "total": "100",
        "lines": [{"merchant": "shop", "sku": "gift", "quantity": 1}]});
    // Keys of orders are forgotten by the thousand.
    let unpaid = with(order.clone(), json!({"pay": "later"}));
    let orders: Vec<Value> =
        (0..1_100).map(|n| if n < count { order.clone() } else { unpaid.clone() }).collect();
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &orders, None).await.unwrap();
    assert!(placed.iter().all(|one| one.order.is_some()));
    for order in 1..=count {
        let steps = [
            (&market.merchant, "allocate", json!({})),
            (&market.merchant, "ship", json!({})),
            (&market.merchant, "deliver", json!({"parcel": 1})),
            (&market.alice, "complete", json!({})),
        ];
        for (who, step, body) in steps {
            let _: Value = who.post(&format!("/v1/orders/{order}/{step}"), &body, None).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_last_step_of_an_old_order_is_answered_the_same_again() {
    let market = Market::new().await;
    completed_gifts(&market, 1).await;
    let Market { hub, tokens, .. } = market;
    let hub = after_two_days(hub).await;
    let (alice, shop) = (hub.client(&tokens[0]), hub.client(&hub.new_token("shop").await));
    let _: Value = alice.post("/v1/orders/1/return", &json!({}), None).await.unwrap();
    let keys = [HubClient::new_request_id(), HubClient::new_request_id()].map(Some);
    let accept = json!({"lines": [{"sku": "gift", "quantity": 1}]});
    let accepted: Value = shop.post("/v1/orders/1/accept-return", &accept, keys[0]).await.unwrap();
    let refund = json!({"amount": "100"});
    let refunded: Value = shop.post("/v1/orders/1/refund", &refund, keys[1]).await.unwrap();
    // Nothing can be done with it any more, but what was done is told to who did not hear it.
    let gone = refusal(shop.post::<_, Value>("/v1/orders/1/refund", &refund, None).await);
    assert_eq!((gone.0, gone.1.as_str()), (404, "no_order"));
    assert_eq!(shop.post::<_, Value>("/v1/orders/1/refund", &refund, keys[1]).await.unwrap(), refunded);
    let again: Value = shop.post("/v1/orders/1/accept-return", &accept, keys[0]).await.unwrap();
    assert_eq!(again, accepted);
    // Others learn nothing of it.
    let rival = hub.client(&hub.open("rival", &["merchant"]).await);
    assert_eq!(refusal(rival.post::<_, Value>("/v1/orders/1/refund", &refund, keys[1]).await).0, 404);
}

#[tokio::test]
async fn an_order_that_leaves_memory_while_it_is_looked_at_does_not_go_back() {
    const ORDERS: u64 = 60;
    let market = Market::new().await;
    completed_gifts(&market, ORDERS).await;
    let Market { hub, tokens, .. } = market;
    let hub = after_two_days(hub).await;
    let (alice, shop) = (hub.client(&tokens[0]), hub.client(&hub.new_token("shop").await));
    for order in 1..=ORDERS {
        let _: Value = alice.post(&format!("/v1/orders/{order}/return"), &json!({}), None).await.unwrap();
        let path = format!("/v1/orders/{order}/accept-return");
        let _: Value = shop.post(&path, &json!({}), None).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let reader = |alice: HubClient, done: Arc<AtomicBool>| async move {
        let mut seen = BTreeMap::new();
        while !done.load(Ordering::Relaxed) {
            // The newest of those that were completed come behind the others, which nobody paid.
            let page: Orders =
                alice.get(&format!("/v1/orders?limit=100&before={}", ORDERS + 1)).await.unwrap();
            for order in page.orders {
                assert_eq!(order.parcels.len(), 1, "{order:?}");
                let ranks = ["returned", "refunded"];
                let rank = ranks.iter().position(|state| *state == order.state);
                let rank = rank.unwrap_or_else(|| panic!("it had gone on: {order:?}"));
                let before = seen.insert(order.id, rank).unwrap_or(0);
                assert!(rank >= before, "it went back: {order:?}");
            }
        }
        seen.len()
    };
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(reader(alice.clone(), Arc::clone(&done)))).collect();
    for order in 1..=ORDERS {
        let path = format!("/v1/orders/{order}/refund");
        let _: Value = shop.post(&path, &json!({"amount": "100"}), None).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), ORDERS as usize);
    }
}

#[tokio::test]
async fn customers_are_not_told_where_the_hubs_files_are() {
    let market = Market::new().await;
    completed_gifts(&market, 1).await;
    let Market { hub, tokens, .. } = market;
    let hub = after_two_days(hub).await;
    // Every record is damaged behind its head.
    let path = hub.data().join("orders.archive");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[64 + 12..].fill(0xee);
    std::fs::write(&path, bytes).unwrap();
    let refused = hub.json(&tokens[0], "GET", "/v1/orders/1", "").await;
    refused.expect(500, "storage");
    assert!(!refused.body.contains("archive,") && !refused.body.contains('/'), "{refused:?}");
    assert!(refused.body.contains("tell its operator"), "{refused:?}");
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn an_order_that_left_memory_looks_as_it_did() {
    let market = Market::new().await;
    let issue = json!({"to": "alice", "currency": "KRW", "amount": "100000000"});
    let _: wire::Transferred = market.hub.operator().post("/v1/issue", &issue, None).await.unwrap();
    let book = |n: u32| {
        json!({"id": format!("order-{n}"), "customer": "alice", "currency": "KRW", "total": "30000",
            "lines": [{"merchant": "shop", "sku": "book", "quantity": 2}]})
    };
    let orders: Vec<Value> = (1..=1_100).map(book).collect();
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &orders, None).await.unwrap();
    assert!(placed.iter().all(|one| one.order.is_some()));
    // 1 is cancelled, 2 comes back at once, 3 is completed and can still be returned.
    let step = async |who: &pumasi_api::client::HubClient, order: u64, step: &str, body: Value| {
        let _: Value = who.post(&format!("/v1/orders/{order}/{step}"), &body, None).await.unwrap();
    };
    step(&market.alice, 1, "cancel", json!({})).await;
    for order in [2, 3] {
        step(&market.merchant, order, "allocate", json!({})).await;
        step(&market.merchant, order, "ship", json!({"tracking": format!("KR-{order}")})).await;
        step(&market.merchant, order, "deliver", json!({"parcel": 1})).await;
    }
    step(&market.alice, 2, "return", json!({})).await;
    step(&market.merchant, 2, "accept-return", json!({"restock": true})).await;
    step(&market.merchant, 2, "refund", json!({"amount": "30000"})).await;
    step(&market.alice, 3, "complete", json!({})).await;
    let mut before = Vec::new();
    for order in 1..=4 {
        before.push(market.alice.get::<Value>(&format!("/v1/orders/{order}")).await.unwrap());
    }
    assert_eq!(before[2]["parcels"][0]["tracking"], "KR-3");
    let times = format!("from_ms={}&to_ms={}", now_ms() - 7_200_000, now_ms() + 7_200_000);
    let sold: Sales = market.merchant.get(&format!("/v1/sales?{times}")).await.unwrap();

    let exported = export(&market.merchant, "orders").await.unwrap();
    assert_eq!(exported.iter().map(RecordBatch::num_rows).sum::<usize>(), 1_100);

    let Market { hub, tokens, .. } = market;
    let hub = after_two_days(hub).await;
    let (alice, mall) = (hub.client(&tokens[0]), hub.client(&tokens[1]));
    for (order, before) in (1..).zip(&before) {
        for who in [&alice, &mall, &hub.operator()] {
            assert_eq!(who.get::<Value>(&format!("/v1/orders/{order}")).await.unwrap(), *before);
        }
    }
    // They did leave: nothing can be done with them any more.
    let refused = hub.json(&tokens[0], "POST", "/v1/orders/2/return", "{}").await;
    assert_eq!(refused.status, 404, "{refused:?}");
    let archive = std::fs::metadata(hub.data().join("orders.archive")).unwrap();
    assert!(archive.len() > 64 + 2 * 60, "{archive:?}");
    // They are still there for those who take home what they sold.
    let shop = hub.new_token("shop").await;
    assert_eq!(export(&hub.client(&shop), "orders").await.unwrap(), exported);
    // Nobody else sees them, and numbers that were never given out are answered alike.
    let bob = hub.open("carol", &[]).await;
    for order in [1, 2, 3, 5_000] {
        let refused = hub.json(&bob, "GET", &format!("/v1/orders/{order}"), "").await;
        assert_eq!(refused.status, 404, "{refused:?}");
    }
    // The list shows all of them, and the one that can still be returned goes on.
    let list: Value = alice.get("/v1/orders?customer=alice&before=5&limit=4").await.unwrap();
    let numbers = list["orders"].as_array().unwrap().iter().map(|order| order["id"].as_u64().unwrap());
    assert!(numbers.clone().eq((1..=4).rev()), "{list}");
    step(&alice, 3, "return", json!({})).await;
    let back: Value = alice.get("/v1/orders/3").await.unwrap();
    assert_eq!((&back["state"], &back["parcels"]), (&json!("return_requested"), &before[2]["parcels"]));
    // The hour is over, so its figures come from the journal.
    let later: Sales = hub.operator().get(&format!("/v1/sales?merchant=shop&{times}")).await.unwrap();
    assert_eq!(later, sold);
    assert!(std::fs::metadata(hub.data().join("sales.journal")).unwrap().len() > 56);
}

#[tokio::test]
async fn sales_are_told_by_article_category_hour_and_day() {
    let market = Market::new().await;
    let orders = json!([
        {"customer": "alice", "currency": "KRW", "total": "35000", "lines":
            [{"merchant": "shop", "sku": "rice", "quantity": 1}, {"merchant": "shop", "sku": "tea", "quantity": 1}]},
        {"customer": "bob", "currency": "KRW", "total": "15000", "lines":
            [{"merchant": "shop", "sku": "tea", "quantity": 3}]},
        {"customer": "alice", "currency": "KRW", "total": "15000", "lines":
            [{"merchant": "shop", "sku": "book", "quantity": 1}]},
    ]);
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &orders, None).await.unwrap();
    let last = placed[2].order.expect("it was placed");
    let _: Value = market.alice.post(&format!("/v1/orders/{last}/cancel"), &json!({}), None).await.unwrap();
    let sales = async |query: &str| market.merchant.get::<Sales>(&format!("/v1/sales{query}")).await.unwrap();
    let all = sales("").await;
    let row = |row: &wire::market::SalesRow| (row.sku.clone(), row.quantity, row.orders, row.revenue.clone());
    let named = |sku: &str, quantity, orders, revenue: &str| {
        (Some(sku.to_owned()), quantity, orders, revenue.to_owned())
    };
    let expected = [named("rice", 1, 1, "30000"), named("tea", 4, 2, "20000"), named("book", 0, 0, "0")];
    assert_eq!(all.rows.iter().map(row).collect::<Vec<_>>(), expected);
    assert_eq!((all.totals[0].quantity, all.totals[0].revenue.as_str(), all.more), (5, "50000", false));
    assert_eq!(all.to_ms - all.from_ms, 24 * 3_600_000);
    let first = sales("?limit=1").await;
    assert_eq!((first.rows.len(), first.more, &first.totals), (1, true, &all.totals));
    let categories = sales("?by=category").await;
    let names: Vec<_> = categories.rows.iter().map(|row| row.category.as_deref()).collect();
    assert_eq!(names, [Some("food/grain"), Some("")]);
    for (by, length) in [("hour", 3_600_000), ("day", 86_400_000)] {
        let found = sales(&format!("?by={by}")).await;
        // The hour or day may have ended meanwhile.
        assert!((1..=2).contains(&found.rows.len()), "{found:?}");
        assert!(found.rows.iter().all(|row| row.begin_ms.unwrap() % length == 0));
        assert_eq!(found.rows.iter().map(|row| row.quantity).sum::<i64>(), 5);
    }
    assert!(sales("?from_ms=0&to_ms=3600000").await.rows.is_empty());
    let operator: Sales = market.hub.operator().get("/v1/sales").await.unwrap();
    assert_eq!(operator.totals, all.totals);
    // Customers have no sales, and merchants see their own only.
    let other = market.hub.open("other", &["merchant"]).await;
    for (token, path, status) in [
        (&market.tokens[0], "/v1/sales", 403),
        (&other, "/v1/sales?merchant=shop", 403),
        (&other, "/v1/sales?merchant=nobody", 404),
        (&other, "/v1/sales?from_ms=5&to_ms=5", 400),
        (&other, "/v1/sales?by=moon", 400),
    ] {
        let answer = market.hub.json(token, "GET", path, "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let none: Sales = market.hub.client(&other).get("/v1/sales").await.unwrap();
    assert!(none.rows.is_empty() && none.totals.is_empty());
}
