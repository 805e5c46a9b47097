//! Orders of the day over Arrow Flight: record batches on several streams at once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StructBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_flight::FlightDescriptor;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_schema::{DataType, Field, Fields, Schema};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::day::{self, Day, Order};
use super::folder::{Answered, Batch, Told};
use super::lives::Placed;
use super::stage::Stage;
use crate::Outcome;

/// Streams.
const STREAMS: usize = 2;
/// Orders in one record batch.
const TOGETHER: usize = 4_096;

/// What it takes to send orders.
pub(super) struct Sender<'a> {
    pub(super) stage: &'a Stage,
    pub(super) day: &'a Day,
    /// Ids by SKU.
    pub(super) articles: &'a HashMap<String, u32>,
}

impl Sender<'_> {
    /// Sends orders, those of a batch together; every `lives`-th that was placed is chosen.
    pub(super) async fn send(&self, orders: &[Order], lives: u64) -> Outcome<Told> {
        let batches: Vec<(usize, &[Order])> = orders.chunks(TOGETHER).enumerate().collect();
        let streams = (0..STREAMS).map(|stream| {
            let mine = batches.iter().copied().filter(|(number, _)| number % STREAMS == stream).collect();
            self.stream(stream, mine, lives)
        });
        let mut all = Told::default();
        for told in try_join_all(streams).await? {
            all.batches.extend(told.batches);
            all.chosen.extend(told.chosen);
        }
        Ok(all)
    }

    async fn stream(&self, stream: usize, batches: Vec<(usize, &[Order])>, lives: u64) -> Outcome<Told> {
        let tables: Result<Vec<_>, _> = batches.iter().map(|(_, orders)| self.table(orders)).collect();
        let messages = FlightDataEncoderBuilder::new()
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["orders".to_owned()])))
            .build(stream::iter(tables?.into_iter().map(Ok)))
            // A record batch of ours is always encoded; what came before it is sent.
            .filter_map(async |message: Result<_, FlightError>| message.ok());
        let mall = &self.stage.mall;
        let mut client = FlightServiceClient::new(mall.channel()).max_decoding_message_size(16 << 20);
        let answers = client.do_exchange(mall.authorize(messages)).await?.into_inner();
        let mut answers = FlightRecordBatchStream::new_from_flight_data(answers.map_err(FlightError::from));
        let mut told = Told::default();
        for (number, orders) in batches {
            let answers = answers.next().await.ok_or("the stream of answers ended early")??;
            let answers = answered(&answers);
            if answers.len() != orders.len() {
                return Err("a batch has fewer answers than orders".into());
            }
            for (order, answer) in orders.iter().zip(&answers) {
                told.chosen.extend(Placed::chosen(answer, lives, || self.read(order)));
            }
            told.batches.push(Batch { stream, first: number * TOGETHER, answers });
        }
        Ok(told)
    }

    /// What is ordered, those of one article together, and what it costs.
    fn read(&self, order: &Order) -> (Vec<(String, u32)>, i64) {
        let mut lines: Vec<(String, u32)> = Vec::new();
        for (at, quantity) in &order.lines {
            let sku = self.day.sku(*at);
            match lines.iter_mut().find(|(other, _)| *other == sku) {
                Some((_, sum)) => *sum += quantity,
                None => lines.push((sku, *quantity)),
            }
        }
        (lines, order.total)
    }

    fn table(&self, orders: &[Order]) -> Outcome<RecordBatch> {
        let ids: StringArray = orders.iter().map(|order| Some(order.id())).collect();
        let customer = |order: &Order| self.stage.customers.get(&day::name(order.customer)).copied();
        let customers: UInt64Array = orders.iter().map(customer).collect();
        let totals: Int64Array = orders.iter().map(|order| Some(order.total)).collect();
        let places: UInt32Array = orders.iter().map(|order| order.place).collect();
        let fields: Fields =
            ["article", "quantity"].map(|name| Field::new(name, DataType::UInt32, true)).to_vec().into();
        let mut lines = ListBuilder::new(StructBuilder::from_fields(fields, orders.len()));
        for order in orders {
            for (at, quantity) in &order.lines {
                let article = self.articles.get(&self.day.sku(*at)).copied().unwrap_or(day::UNKNOWN);
                for (field, value) in [article, *quantity].into_iter().enumerate() {
                    let column = lines.values().field_builder::<UInt32Builder>(field).ok_or("a builder")?;
                    column.append_value(value);
                }
                lines.values().append(true);
            }
            lines.append(true);
        }
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(ids)),
            ("customer", Arc::new(customers)),
            ("total", Arc::new(totals)),
            ("place", Arc::new(places)),
            ("lines", Arc::new(lines.finish())),
        ];
        let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let fields: Vec<_> = columns.iter().map(field).collect();
        let metadata = HashMap::from([("currency".to_owned(), "KRW".to_owned())]);
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect())?)
    }
}

/// One answer for each row.
fn answered(answers: &RecordBatch) -> Vec<Answered> {
    let status = answers.column(0).as_primitive::<UInt8Type>();
    let order = answers.column(1).as_primitive::<UInt64Type>();
    let code = answers.column(2).as_string::<i32>();
    let detail = answers.column(3).as_primitive::<Int64Type>();
    let one = |row: usize| match status.value(row) {
        0 => Answered::Placed(order.value(row)),
        _ => Answered::Refused(
            code.value(row).to_owned(),
            Some(detail.value(row)).filter(|_| detail.is_valid(row)),
        ),
    };
    (0..answers.num_rows()).map(one).collect()
}
