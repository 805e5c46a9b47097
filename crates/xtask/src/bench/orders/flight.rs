//! Orders over Arrow Flight: record batches that were made before, sent on several streams, every answer read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, StructBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt8Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::{DataType, Field, Fields, Schema};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep_until;

use super::market::{Market, Numbers, PRICE, Popularity};
use crate::Outcome;
use crate::pool::block_on;

/// What orders look like.
#[derive(Clone)]
pub(super) struct Shape {
    /// Lines of each, of one piece.
    pub(super) lines: u32,
    /// Which articles are in them.
    pub(super) popularity: Popularity,
}

/// How many orders of which shape.
pub(super) struct Load<'a> {
    pub(super) shape: &'a Shape,
    pub(super) orders: u32,
    /// In each record batch.
    pub(super) batch: u32,
}

/// The messages of each stream, the schema first.
pub(super) fn messages(
    market: &Market,
    numbers: &mut Numbers,
    load: &Load<'_>,
    streams: usize,
) -> Outcome<Vec<Vec<FlightData>>> {
    let mut batches: Vec<_> = (0..streams).map(|_| Vec::new()).collect();
    let mut left = load.orders;
    for turn in (0..streams).cycle() {
        if left == 0 {
            break;
        }
        let rows = left.min(load.batch);
        left -= rows;
        batches[turn].push(Ok(table(market, numbers, load.shape, rows)?));
    }
    let encode = |batches: Vec<Result<RecordBatch, FlightError>>| {
        let encoder = FlightDataEncoderBuilder::new()
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["orders".to_owned()])));
        Ok(block_on(encoder.build(stream::iter(batches)).try_collect())?)
    };
    batches.into_iter().map(encode).collect()
}

/// Orders of any customers and articles.
fn table(market: &Market, numbers: &mut Numbers, shape: &Shape, rows: u32) -> Outcome<RecordBatch> {
    let mut ids = FixedSizeBinaryBuilder::with_capacity(rows as usize, 16);
    for _ in 0..rows {
        ids.append_value([numbers.next().to_le_bytes(), numbers.next().to_le_bytes()].concat())?;
    }
    let customers = (0..rows).map(|_| market.first_customer + u64::from(numbers.below(market.customers)));
    let customers: UInt64Array = customers.collect();
    let totals = Int64Array::from(vec![PRICE * i64::from(shape.lines); rows as usize]);
    let columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(ids.finish())), ("customer", Arc::new(customers)), ("total", Arc::new(totals))];
    let article = |numbers: &mut Numbers, line| 1 + shape.popularity.pick(line, market.articles, numbers);
    let lines: Vec<(&str, ArrayRef)> = if shape.lines == 1 {
        let articles: UInt32Array = (0..rows).map(|_| article(numbers, 0)).collect();
        let quantities = UInt32Array::from(vec![1; rows as usize]);
        vec![("article", Arc::new(articles)), ("quantity", Arc::new(quantities))]
    } else {
        let fields: Fields =
            ["article", "quantity"].map(|name| Field::new(name, DataType::UInt32, true)).to_vec().into();
        let mut lists = ListBuilder::new(StructBuilder::from_fields(fields, rows as usize));
        for _ in 0..rows {
            for line in 0..shape.lines {
                for (field, value) in [article(numbers, line), 1].into_iter().enumerate() {
                    let builder = lists.values().field_builder::<UInt32Builder>(field).ok_or("a builder")?;
                    builder.append_value(value);
                }
                lists.values().append(true);
            }
            lists.append(true);
        }
        vec![("lines", Arc::new(lists.finish()))]
    };
    let columns: Vec<_> = columns.into_iter().chain(lines).collect();
    let fields: Vec<_> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let metadata = HashMap::from([("currency".to_owned(), "KRW".to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    Ok(RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect())?)
}

/// Sends all streams at once, each as fast as the hub reads it, and reads every answer; how long that takes.
pub(super) async fn as_fast_as_possible(market: &Market, streams: Vec<Vec<FlightData>>) -> Outcome<Duration> {
    let began = Instant::now();
    let sent = streams.into_iter().map(|messages| {
        let client = client(market);
        async move {
            let answers = exchange(market, client, stream::iter(messages)).await?;
            answers.map(|answers| check(&answers?)).try_for_each(async |_| Ok(())).await
        }
    });
    futures_util::future::try_join_all(sent).await?;
    Ok(began.elapsed())
}

/// How long batches waited, in milliseconds.
#[derive(Default)]
pub(super) struct Waits {
    /// From when each was due until it was answered.
    pub(super) since_due: Vec<f64>,
    /// From when the connection took it until it was answered.
    pub(super) since_taken: Vec<f64>,
    /// From the first that was due until the last answer.
    pub(super) took: Duration,
}

/// Sends so many batches a second, whether earlier ones are answered or not.
pub(super) async fn at_a_rate(
    market: &Market,
    streams: Vec<Vec<FlightData>>,
    batches_per_s: f64,
) -> Outcome<Waits> {
    let began = Instant::now() + Duration::from_millis(100);
    let count = streams.len();
    // The first message of a stream is its schema.
    let due = move |stream: usize, batch: usize| {
        began + Duration::from_secs_f64((batch * count + stream) as f64 / batches_per_s)
    };
    let sent = streams.into_iter().enumerate().map(|(at, messages)| {
        let client = client(market);
        let (taken, mut takes) = tokio::sync::mpsc::unbounded_channel();
        let paced = stream::iter(messages.into_iter().enumerate()).then(move |(number, message)| {
            let taken = taken.clone();
            async move {
                if let Some(batch) = number.checked_sub(1) {
                    sleep_until(due(at, batch).into()).await;
                    // Whoever reads the answers is gone when this fails.
                    let _ = taken.send(Instant::now());
                }
                message
            }
        });
        async move {
            let mut answers = exchange(market, client, paced).await?;
            let mut waits = Waits::default();
            while let Some(answer) = answers.next().await {
                check(&answer?)?;
                let ms = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
                waits.since_due.push(ms(due(at, waits.since_due.len())));
                waits.since_taken.push(ms(takes.recv().await.ok_or("an answer to nothing")?));
            }
            Outcome::Ok(waits)
        }
    });
    let mut all = Waits::default();
    for one in futures_util::future::try_join_all(sent).await? {
        all.since_due.extend(one.since_due);
        all.since_taken.extend(one.since_taken);
    }
    all.took = began.elapsed();
    Ok(all)
}

type Client = FlightServiceClient<tonic::transport::Channel>;

/// A connection of its own.
fn client(market: &Market) -> Client {
    FlightServiceClient::new(market.client.channel()).max_decoding_message_size(16 << 20)
}

async fn exchange(
    market: &Market,
    mut client: Client,
    messages: impl futures_util::Stream<Item = FlightData> + Send + 'static,
) -> Outcome<FlightRecordBatchStream> {
    let answers = client.do_exchange(market.client.authorize(messages)).await?.into_inner();
    Ok(FlightRecordBatchStream::new_from_flight_data(answers.map_err(FlightError::from)))
}

/// Every order was placed.
fn check(answers: &RecordBatch) -> Outcome {
    let status = answers.column(0).as_primitive::<UInt8Type>().values();
    match status.iter().position(|status| *status != 0) {
        None => Ok(()),
        Some(row) => Err(format!("an order was refused: {:?}", answers.slice(row, 1)).into()),
    }
}
