//! Feeds over HTTP: every step comes to those whom it concerns, once each, from any cursor, and to nobody else.

use std::time::Instant;

use crate::common::*;
use crate::market::{Market, rice, with};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures_util::TryStreamExt;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{Articles, Feed, OrderResult, OrderStepped, Orders};
use pumasi_types::EventId;
use serde_json::{Value, json};
use tonic::{Code, Status};

async fn feed(reader: &HubClient, path: &str) -> Feed {
    reader.get(&format!("/v1/feeds/{path}")).await.unwrap()
}

fn without_notices(mut feed: Feed) -> Feed {
    feed.events.iter_mut().for_each(|event| event.notice = None);
    feed
}

async fn place(customer: &HubClient, order: &Value) -> u64 {
    let placed: OrderResult = customer.post("/v1/orders", order, None).await.unwrap();
    placed.order.expect("it was placed").0
}

async fn step(who: &HubClient, order: u64, step: &str, body: Value) {
    let _: OrderStepped = who.post(&format!("/v1/orders/{order}/{step}"), &body, None).await.unwrap();
}

/// An order of alice that the post brings, and one that she gives up.
async fn two_orders(market: &Market) -> HubClient {
    let post = market.hub.client(&market.hub.open("post", &["carrier"]).await);
    let () = market.merchant.put("/v1/shop", &json!({"settle_at": "shipping"}), None).await.unwrap();
    let first = place(&market.alice, &rice(1)).await;
    let second = place(&market.alice, &with(rice(2), json!({"pay": "later"}))).await;
    step(&market.merchant, first, "allocate", json!({})).await;
    step(&market.merchant, first, "ship", json!({"carrier": "post"})).await;
    step(&market.alice, second, "cancel", json!({})).await;
    step(&post, first, "scan", json!({"parcel": 1, "code": "EDG"})).await;
    step(&post, first, "scan", json!({"parcel": 1, "code": "EMI"})).await;
    post
}

#[tokio::test]
async fn every_step_comes_to_those_whom_it_concerns() {
    let market = Market::new().await;
    let post = two_orders(&market).await;
    let all = feed(&market.alice, "customer").await;
    let told: Vec<_> =
        all.events.iter().map(|event| (event.id.0, event.kind.as_str(), event.order.0)).collect();
    let expected = [
        (1, "order.placed", 1),
        (2, "order.placed", 2),
        (3, "order.allocated", 1),
        (4, "order.shipped", 1),
        (5, "order.cancelled", 2),
        (6, "order.scanned", 1),
        (7, "order.delivered", 1),
    ];
    assert_eq!(told, expected);
    assert_eq!((all.next, all.last), (EventId(7), EventId(7)));
    let states: Vec<_> = all.events.iter().map(|event| event.state.as_str()).collect();
    assert_eq!(states, ["paid", "placed", "allocated", "shipped", "cancelled", "shipped", "delivered"]);
    let amounts: Vec<_> = all.events.iter().map(|event| event.amount.as_deref().unwrap()).collect();
    assert_eq!(amounts, ["30000", "60000", "0", "30000", "0", "0", "0"]);
    // Notices are for customers.
    assert!(all.events.iter().all(|event| event.notice.is_some()));
    let plain = without_notices(all.clone());
    assert_eq!(feed(&market.merchant, "merchant").await, plain);
    assert_eq!(feed(&market.hub.operator(), "customer?account=alice").await, all);
    assert_eq!(feed(&market.mall, "customer?account=alice").await, all);
    // The carrier hears of its parcel from the moment it was sent, and not what it cost.
    let carried = feed(&post, "carrier").await;
    let told: Vec<_> = carried.events.iter().map(|event| (event.id.0, event.status.as_deref())).collect();
    assert_eq!(told, [(4, None), (6, Some("out_for_delivery")), (7, Some("delivered"))]);
    assert!(carried.events.iter().all(|event| event.amount.is_none() && event.parcel.is_some()));
    // Whoever has no part in it hears nothing, or is told that it is not theirs.
    for nobody in ["customer", "carrier"] {
        let none = feed(&market.merchant, nobody).await;
        assert_eq!((none.events.len(), none.next, none.last), (0, EventId(0), EventId(0)));
    }
    let strange = [
        (&market.alice, "merchant?account=shop", 403),
        (&market.alice, "customer?account=bob", 403),
        (&market.mall, "merchant?account=shop", 403),
        (&market.alice, "customer?account=nobody", 404),
        (&market.alice, "stranger", 404),
        (&market.alice, "customer?after=x", 400),
    ];
    for (reader, path, status) in strange {
        assert_eq!(refusal(reader.get::<Feed>(&format!("/v1/feeds/{path}")).await).0, status, "{path}");
    }
}

#[tokio::test]
async fn a_reader_goes_on_from_its_cursor_even_when_the_hub_was_away() {
    let market = Market::new().await;
    two_orders(&market).await;
    let all = feed(&market.merchant, "merchant").await;
    for limit in [1, 2, 3, 7] {
        let (mut events, mut after) = (Vec::new(), EventId(0));
        loop {
            let page = feed(&market.merchant, &format!("merchant?after={after}&limit={limit}")).await;
            assert!(page.events.len() <= limit);
            events.extend(page.events);
            after = page.next;
            if page.next == page.last {
                break;
            }
        }
        assert_eq!(events, all.events);
    }
    assert_eq!(feed(&market.merchant, "merchant?after=99").await.events, []);
    let Market { hub, tokens, .. } = market;
    let hub = hub.restarted().await;
    let alice = hub.client(&tokens[0]);
    assert_eq!(without_notices(feed(&alice, "customer?after=5").await).events, all.events[5..]);
    // Lost, it is made anew from the log.
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    std::fs::remove_file(options.data.join("events.journal")).unwrap();
    let hub = TestHub { dir, running: pumasi_hub::start(options.clone()).await.unwrap(), options };
    assert_eq!(without_notices(feed(&hub.client(&tokens[0]), "customer").await).events, all.events);
}

#[tokio::test]
async fn a_reader_waits_for_what_comes_next() {
    let market = Market::new().await;
    let begin = Instant::now();
    let none = feed(&market.merchant, "merchant?wait_s=1").await;
    assert_eq!(none.events, []);
    assert!(begin.elapsed().as_secs() >= 1, "it waited");
    let mut after = EventId(0);
    for _ in 0..3 {
        let path = format!("merchant?wait_s=60&after={after}");
        let (page, order) =
            tokio::join!(tokio::time::timeout(PATIENCE, feed(&market.merchant, &path)), async {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                // What does not concern the reader does not end its wait.
                place(
                    &market.alice,
                    &json!({"currency": "KRW", "total": "5000",
                    "lines": [{"article": 2, "quantity": 1}]}),
                )
                .await
            });
        let page = page.expect("it is woken");
        assert_eq!(page.events.iter().map(|event| event.order.0).collect::<Vec<_>>(), [order]);
        after = page.next;
    }
}

#[tokio::test]
async fn one_account_cannot_take_all_places_to_wait() {
    let market = Market::new().await;
    let wait = |seconds| {
        let reader = market.hub.client(&market.tokens[0]);
        async move { reader.get::<Feed>(&format!("/v1/feeds/customer?wait_s={seconds}")).await }
    };
    let waiting: Vec<_> = (0..32).map(|_| tokio::spawn(wait(60))).collect();
    // On a busy machine it takes a while until all of them wait.
    let refused = async {
        loop {
            if let answer @ Err(_) = wait(1).await {
                break refusal(answer).0;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, refused).await, Ok(503));
    let others = feed(&market.merchant, "merchant?wait_s=1").await;
    assert_eq!(others.events, []);
    // Whoever goes away makes room.
    waiting.iter().for_each(|waiter| waiter.abort());
    let room = async { while wait(1).await.is_err() {} };
    tokio::time::timeout(PATIENCE, room).await.expect("there is room again");
}

#[tokio::test]
async fn orders_are_listed_newest_first() {
    let market = Market::new().await;
    let tea = json!({"currency": "KRW", "total": "5000", "lines": [{"article": 2, "quantity": 1}]});
    for _ in 0..5 {
        let order = place(&market.alice, &tea).await;
        step(&market.merchant, order, "allocate", json!({})).await;
    }
    place(&market.mall, &with(tea, json!({"customer": "bob"}))).await;
    let numbers = |orders: &Orders| orders.orders.iter().map(|order| order.id.0).collect::<Vec<_>>();
    let list = |reader: HubClient, query: String| async move {
        reader.get::<Orders>(&format!("/v1/orders?{query}")).await
    };
    let shop = market.merchant.clone();
    let all = list(shop.clone(), "merchant=shop".to_owned()).await.unwrap();
    assert_eq!((numbers(&all), all.next), (vec![6, 5, 4, 3, 2, 1], None));
    assert_eq!(numbers(&list(market.alice.clone(), String::new()).await.unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(numbers(&list(market.mall.clone(), "customer=bob".to_owned()).await.unwrap()), [6]);
    for limit in [1, 2, 4] {
        let (mut found, mut before) = (Vec::new(), String::new());
        loop {
            let page = list(shop.clone(), format!("merchant=shop&limit={limit}{before}")).await.unwrap();
            assert!(page.orders.len() <= limit);
            found.extend(numbers(&page));
            match page.next {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(found, [6, 5, 4, 3, 2, 1]);
    }
    let refused = [("customer=bob", 403), ("merchant=shop", 403), ("merchant=shop&customer=bob", 400)];
    for (query, status) in refused {
        assert_eq!(refusal(list(market.alice.clone(), query.to_owned()).await).0, status, "{query}");
    }
}

/// What is got for a ticket.
pub(crate) async fn get(client: &HubClient, ticket: &str) -> Result<Vec<RecordBatch>, Status> {
    let mut flight = FlightServiceClient::new(client.channel());
    let tables = flight.do_get(client.authorize(Ticket::new(ticket.to_owned()))).await?.into_inner();
    let tables = FlightRecordBatchStream::new_from_flight_data(tables.map_err(FlightError::from));
    Ok(tables.try_collect().await?)
}

/// A column of numbers of all tables.
fn numbers(tables: &[RecordBatch], name: &str) -> Vec<u64> {
    let column = |table: &RecordBatch| table[name].as_primitive::<UInt64Type>().values().to_vec();
    tables.iter().flat_map(column).collect()
}

#[tokio::test]
async fn a_page_of_large_orders_ends_early_and_the_next_goes_on() {
    let market = Market::new().await;
    let gifts: Vec<Value> = (0..255)
        .map(
            |n| json!({"sku": format!("gift-{n}"), "price": "0", "currency": "KRW", "tracking": "untracked"}),
        )
        .collect();
    let _: Value = market.merchant.post("/v1/articles", &gifts, None).await.unwrap();
    let lines: Vec<Value> = (4..259).map(|article| json!({"article": article, "quantity": 1})).collect();
    let order = json!({"customer": "bob", "currency": "KRW", "total": "0", "lines": lines});
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &vec![order; 100], None).await.unwrap();
    assert!(placed.iter().all(|one| one.order.is_some()), "{:?}", placed[0]);
    let page: Orders = market.merchant.get("/v1/orders?merchant=shop&limit=100").await.unwrap();
    // 79 have 20,145 lines.
    assert_eq!((page.orders.len(), page.orders[78].lines.len()), (79, 255));
    let next = page.next.expect("there are more");
    let rest: Orders =
        market.merchant.get(&format!("/v1/orders?merchant=shop&limit=100&before={next}")).await.unwrap();
    let numbers = page.orders.iter().chain(&rest.orders).map(|order| order.id.0);
    assert!(numbers.eq((1..=100).rev()) && rest.next.is_none());
    // So do tables of them, which begin with the oldest.
    let tables = get(&market.merchant, "orders").await.unwrap();
    assert_eq!(tables.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [79, 21]);
    assert!(self::numbers(&tables, "order").into_iter().eq(1..=100));
    // What lies in a parcel is told by its articles.
    step(&market.merchant, 1, "allocate", json!({})).await;
    step(&market.merchant, 1, "ship", json!({"lines": [{"sku": "gift-0", "quantity": 1}]})).await;
    step(&market.merchant, 2, "allocate", json!({})).await;
    step(&market.merchant, 2, "ship", json!({})).await;
    let order: Value = market.merchant.get("/v1/orders/1").await.unwrap();
    assert_eq!(order["parcels"][0]["lines"], json!([{"article": 4, "quantity": 1}]));

    // Articles with many shelves end a page as well.
    for article in ["gift-0", "gift-1", "gift-2"] {
        let shelves: Vec<Value> = (1..=9_000)
            .map(|place| json!({"sku": article, "place": place, "change": {"receive": 1}}))
            .collect();
        let () = market.merchant.post("/v1/stock", &shelves, None).await.unwrap();
    }
    let page: Articles = market.merchant.get("/v1/articles?after=3&limit=5").await.unwrap();
    assert_eq!((page.articles.len(), page.next.map(|next| next.0)), (3, Some(6)));
    let page: Articles = market.merchant.get("/v1/articles?after=6&limit=5").await.unwrap();
    assert_eq!(page.articles[0].id.0, 7);
}

#[tokio::test]
async fn events_and_orders_are_taken_home_by_arrow_flight() {
    let market = Market::new().await;
    let post = two_orders(&market).await;
    let shop = &market.merchant;
    let events = get(shop, "events").await.unwrap();
    assert_eq!(numbers(&events, "event"), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(&events, "order"), [1, 2, 1, 1, 2, 1, 1]);
    let kinds: Vec<_> = events[0]["type"].as_string::<i32>().iter().flatten().collect();
    assert_eq!((kinds[3], kinds[6]), ("order.shipped", "order.delivered"));
    assert_eq!(events[0]["amount"].as_primitive::<Int64Type>().values()[..2], [30_000, 60_000]);
    assert_eq!(numbers(&get(shop, "events?after=5").await.unwrap(), "event"), [6, 7]);
    assert!(get(shop, "events?after=7").await.unwrap().is_empty());
    let carried = get(&post, "events?party=carrier").await.unwrap();
    assert_eq!((numbers(&carried, "event"), carried[0]["amount"].null_count()), (vec![4, 6, 7], 3));
    assert_eq!(numbers(&get(&market.alice, "events?party=customer").await.unwrap(), "event").len(), 7);

    let orders = get(shop, "orders").await.unwrap();
    assert_eq!((numbers(&orders, "event"), numbers(&orders, "order")), (vec![1, 2], vec![1, 2]));
    let states: Vec<_> = orders[0]["state"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(states, ["delivered", "cancelled"]);
    let lines = orders[0]["lines"].as_list::<i32>().value(1);
    let lines = lines.as_struct();
    let quantity = lines.column_by_name("quantity").unwrap().as_primitive::<UInt32Type>().value(0);
    let price = lines.column_by_name("price").unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((lines.len(), quantity, price), (1, 2, 30_000));

    let refused = [
        ("events?party=merchant&account=2", Code::PermissionDenied),
        ("events?after=x", Code::InvalidArgument),
        ("orders?party=carrier", Code::InvalidArgument),
        ("secrets", Code::NotFound),
    ];
    for (ticket, code) in refused {
        assert_eq!(get(&market.alice, ticket).await.unwrap_err().code(), code, "{ticket}");
    }
    // More than one batch, and whatever comes meanwhile is left for the next time.
    let teas: Vec<Value> = (0..3_000)
        .map(|number| {
            json!({"id": format!("tea-{number}"), "customer": "bob", "currency": "KRW", "total": "15000",
            "pay": "later", "lines": [{"article": 3, "quantity": 1}]})
        })
        .collect();
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &teas, None).await.unwrap();
    assert!(placed.iter().all(|result| result.order.is_some()));
    let events = numbers(&get(shop, "events").await.unwrap(), "event");
    assert_eq!(events, (1..=3_007).collect::<Vec<_>>());
    let orders = get(shop, "orders?after=1000").await.unwrap();
    assert_eq!(numbers(&orders, "event"), (1_001..=3_007).collect::<Vec<_>>());
}
