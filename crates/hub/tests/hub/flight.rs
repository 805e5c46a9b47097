//! Arrow Flight against clients who repeat themselves, read nothing, lose their token or send damaged tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{Feed, PutArticle};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A hub with free tea, and somebody who drinks it.
async fn scene() -> (TestHub, String) {
    let hub = TestHub::new().await;
    let merchant = hub.client(&hub.open("shop", &["merchant"]).await);
    let tea = json!({"sku": "tea", "price": "0", "currency": "KRW", "tracking": "untracked"});
    let _: Vec<PutArticle> = merchant.post("/v1/articles", &tea, None).await.unwrap();
    let alice = hub.open("alice", &[]).await;
    (hub, alice)
}

/// Batches of so many teas, with ids of their own.
async fn teas(name: &str, batches: usize, rows: usize) -> Vec<FlightData> {
    let table = |batch: usize| {
        let ids: StringArray = (0..rows).map(|row| Some(format!("{name}-{batch}-{row}"))).collect();
        let ones = || Arc::new(UInt32Array::from(vec![1; rows])) as ArrayRef;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(ids)),
            ("total", Arc::new(Int64Array::from(vec![0; rows]))),
            ("currency", Arc::new(StringArray::from(vec!["KRW"; rows]))),
            ("article", ones()),
            ("quantity", ones()),
        ];
        Ok(RecordBatch::try_from_iter(columns).unwrap())
    };
    let descriptor = FlightDescriptor::new_path(vec!["orders".to_owned()]);
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
    let tables: Vec<_> = (0..batches).map(table).collect();
    encoder.build(stream::iter(tables)).try_collect().await.unwrap()
}

pub(crate) async fn exchange(
    client: &HubClient,
    messages: impl Stream<Item = FlightData> + Send + 'static,
) -> Result<FlightRecordBatchStream, Status> {
    exchange_on(client, client.channel(), messages).await
}

/// The same on a channel of one's own.
async fn exchange_on(
    client: &HubClient,
    channel: Channel,
    messages: impl Stream<Item = FlightData> + Send + 'static,
) -> Result<FlightRecordBatchStream, Status> {
    let mut flight = FlightServiceClient::new(channel);
    let answers = flight.do_exchange(client.authorize(messages)).await?.into_inner();
    Ok(FlightRecordBatchStream::new_from_flight_data(answers.map_err(FlightError::from)))
}

/// The numbers of all orders of some batches.
async fn place(client: &HubClient, messages: Vec<FlightData>) -> Result<Vec<u64>, Status> {
    let mut answers = exchange(client, stream::iter(messages)).await?;
    let mut orders = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        assert_eq!(answer.column(1).null_count(), 0, "{answer:?}");
        orders.extend(answer.column(1).as_primitive::<UInt64Type>().values());
    }
    Ok(orders)
}

#[tokio::test]
async fn the_same_batches_from_two_connections_at_once_are_the_same_orders() {
    let (hub, alice) = scene().await;
    let messages = teas("tea", 20, 500).await;
    let (one, two) = (hub.client(&alice), hub.client(&alice));
    let (one, two) = tokio::join!(place(&one, messages.clone()), place(&two, messages.clone()));
    let one = one.unwrap();
    assert_eq!((one.len(), &one), (10_000, &two.unwrap()));
    let hub = hub.restarted().await;
    assert_eq!(place(&hub.client(&alice), messages).await.unwrap(), one);
}

#[tokio::test]
async fn who_does_not_read_is_not_read_from() {
    let (hub, alice) = scene().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let messages = stream::iter(teas("tea", 1_000, 1_000).await).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    // The connection's windows hold some; what is beyond waits at the client.
    let mut answers = exchange(&hub.client(&alice), messages).await.unwrap();
    let (mut before, until) = (0, std::time::Instant::now() + PATIENCE);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = sent.load(Ordering::Relaxed);
        // Before the first are read nothing stands still but the machine.
        if now == before && (now >= 10 || std::time::Instant::now() > until) {
            break;
        }
        before = now;
    }
    assert!((10..1_000).contains(&before), "{before} of 1,000 batches were read");
    // Others are served meanwhile, and it goes on as soon as it reads.
    hub.operator().get::<wire::Account>("/v1/me").await.unwrap();
    let mut rows = 0;
    while let Some(answer) = answers.next().await {
        rows += answer.unwrap().num_rows();
    }
    assert_eq!(rows, 1_000_000);
}

#[tokio::test]
async fn unread_answers_of_all_streams_of_an_account_have_a_bound() {
    const ROWS: usize = 4_000;
    let (hub, alice) = scene().await;
    let client = hub.client(&alice);
    let mut streams = Vec::new();
    for name in ["one", "two", "three"] {
        let mut messages = teas(name, 3, ROWS).await;
        // As long as messages can be.
        for batch in &mut messages[1..] {
            let mut body = batch.data_body.to_vec();
            body.resize((8 << 20) - (4 << 10), 0);
            batch.data_body = body.into();
        }
        // Answers wait at the hub when their reader's windows are small.
        let endpoint = Endpoint::from_shared(format!("http://{}", hub.address())).unwrap();
        let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        let channel = endpoint.connect().await.unwrap();
        streams.push(exchange_on(&client, channel, stream::iter(messages)).await.unwrap());
    }
    let placed = async || client.get::<Feed>("/v1/feeds/customer?limit=1").await.unwrap().last.0 as usize;
    let two = async {
        while placed().await < 2 * ROWS {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, two).await.expect("two batches are placed");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let batches = placed().await / ROWS;
    assert!(
        batches <= 5,
        "two are in hand, and one of each stream on its way to its reader, not {batches} of nine"
    );
    // Others are served meanwhile, and it goes on as soon as it reads.
    let bob = hub.client(&hub.open("bob", &[]).await);
    assert_eq!(place(&bob, teas("bob", 1, 1).await).await.unwrap().len(), 1);
    let read = streams.into_iter().map(|answers| answers.try_collect::<Vec<_>>());
    let tables = tokio::time::timeout(PATIENCE, join_all(read)).await.expect("it goes on");
    let rows = tables.into_iter().flat_map(Result::unwrap).map(|table| table.num_rows()).sum::<usize>();
    assert_eq!(rows, 9 * ROWS);
}

#[tokio::test]
async fn a_revoked_token_ends_the_stream() {
    let (hub, alice) = scene().await;
    let messages = teas("tea", 1, 10).await;
    let mut answers =
        exchange(&hub.client(&alice), stream::iter(messages).chain(stream::pending())).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().num_rows(), 10);
    let () = hub.operator().post("/v1/tokens/revoke", &json!({ "token": alice }), None).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
    assert_eq!(Status::from(end.unwrap_err()).code(), Code::Unauthenticated);
    let refused = place(&hub.client(&alice), teas("more", 1, 1).await).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn damaged_tables_are_refused_and_nothing_of_them_is_placed() {
    let (hub, alice) = scene().await;
    let client = hub.client(&alice);
    let good = teas("tea", 1, 100).await;
    let damage: [fn(&mut FlightData); 6] = [
        |data| data.data_body = data.data_body.slice(..data.data_body.len() / 2),
        |data| data.data_body = bytes::Bytes::new(),
        |data| data.data_header = data.data_header.slice(..data.data_header.len() / 2),
        |data| data.data_header = vec![0xff; 200].into(),
        |data| data.data_header = vec![0; 200].into(),
        |data| data.data_body = vec![0xff; data.data_body.len()].into(),
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        let mut messages = good.clone();
        damage(&mut messages[1]);
        let status = place(&client, messages).await.expect_err("it is damaged");
        assert_eq!(status.code(), Code::InvalidArgument, "damage {number}: {status:?}");
        assert!(status.message().len() > 20, "{status:?}");
    }
    // A message that is larger than any batch of orders.
    let mut large = good.clone();
    large[1].data_body = vec![0; 20 << 20].into();
    assert_eq!(place(&client, large).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(place(&client, good).await.unwrap(), (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_export_ends_when_its_token_is_revoked() {
    let (hub, alice) = scene().await;
    let client = hub.client(&alice);
    assert_eq!(place(&client, teas("tea", 100, 1_000).await).await.unwrap().len(), 100_000);
    let mut flight = FlightServiceClient::new(client.channel());
    let ticket = Ticket::new("events?party=customer".to_owned());
    let tables = flight.do_get(client.authorize(ticket)).await.unwrap().into_inner();
    let mut tables = FlightRecordBatchStream::new_from_flight_data(tables.map_err(FlightError::from));
    let mut rows = tables.next().await.unwrap().unwrap().num_rows();
    let () = hub.operator().post("/v1/tokens/revoke", &json!({ "token": alice }), None).await.unwrap();
    let end = loop {
        match tokio::time::timeout(PATIENCE, tables.next()).await.unwrap() {
            Some(Ok(table)) => rows += table.num_rows(),
            Some(Err(error)) => break Status::from(error).code(),
            None => panic!("it went on to its end: {rows} rows"),
        }
    };
    assert_eq!(end, Code::Unauthenticated);
    assert!(rows < 100_000, "{rows}");
}

#[tokio::test]
async fn an_account_has_only_so_many_streams_at_once() {
    let (hub, alice) = scene().await;
    let client = hub.client(&alice);
    let mut open = Vec::new();
    for _ in 0..64 {
        let (to, orders) = tokio::sync::mpsc::channel::<FlightData>(1);
        open.push((to, exchange(&client, ReceiverStream::new(orders)).await.unwrap()));
    }
    let refused = exchange(&client, stream::pending()).await.expect_err("there are too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("64 streams"), "{refused:?}");
    let bearer = format!("Bearer {alice}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    hub.raw("POST", "/v1/orders/stream", &headers, b"").await.expect(429, "too_many_requests");
    // Others have their own, and who ends one can have another.
    let bob = hub.client(&hub.open("bob", &[]).await);
    assert_eq!(place(&bob, teas("bob", 1, 1).await).await.unwrap().len(), 1);
    open.pop();
    let again = async {
        while exchange(&client, stream::pending()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
}
