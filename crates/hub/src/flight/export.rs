//! What merchants take home in bulk: their events and their orders, from a cursor on.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BooleanBuilder, ListBuilder, PrimitiveBuilder, StringBuilder, StructBuilder};
use arrow_array::types::{Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, SchemaRef, TimeUnit};
use futures_util::{Stream, stream};
use pumasi_core::{Event, EventKind, Order, OrderView, Party, State};
use pumasi_types::{Amount, EventId, OrderId, Time};
use tonic::Status;

use super::internal;
use super::tables::schema;
use crate::auth::Caller;
use crate::feeds::{self, FeedError, Whose};
use crate::http::{PastError, look_up, order_state};
use crate::link::unavailable;
use crate::server::Hub;

/// Events in one batch; orders, which are looked at while the cell waits, come in the batches of their events, large ones
/// in smaller batches.
const ROWS: usize = 1_024;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Steps of orders.
pub(super) static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("event", DataType::UInt64, false),
        ("type", DataType::Utf8, false),
        ("time", time(), false),
        ("order", DataType::UInt64, false),
        ("state", DataType::Utf8, false),
        ("customer", DataType::UInt64, false),
        ("merchant", DataType::UInt64, false),
        ("carrier", DataType::UInt64, true),
        ("parcel", DataType::UInt32, true),
        ("scan", DataType::Utf8, true),
        ("amount", DataType::Int64, true),
        ("currency", DataType::Utf8, false),
    ])
});

fn line() -> Fields {
    let field = |name: &str, kind| Field::new(name, kind, false);
    Fields::from(vec![
        field("article", DataType::UInt32),
        field("quantity", DataType::UInt32),
        field("price", DataType::Int64),
        field("place", DataType::UInt32),
        field("shipped", DataType::UInt32),
        field("returned", DataType::UInt32),
    ])
}

/// Orders as they stand now; `event` is the one with which each was placed.
pub(super) static ORDERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let item = Arc::new(Field::new("item", DataType::Struct(line()), false));
    schema(&[
        ("event", DataType::UInt64, false),
        ("order", DataType::UInt64, false),
        ("placed", time(), false),
        ("state", DataType::Utf8, false),
        ("customer", DataType::UInt64, false),
        ("merchant", DataType::UInt64, false),
        ("currency", DataType::Utf8, false),
        ("total", DataType::Int64, false),
        ("discount", DataType::Int64, false),
        ("tax", DataType::Int64, false),
        ("fee", DataType::Int64, false),
        ("settled", DataType::Boolean, false),
        ("paid_out", DataType::Int64, false),
        ("refunded", DataType::Int64, false),
        ("lines", DataType::List(item), false),
    ])
});

/// What a ticket asks for: `events` or `orders`, with `?after=EVENT` behind it, and `&party=PARTY` and `&account=ID`
/// unless they are of the caller as a merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) orders: bool,
    after: EventId,
    whose: Whose,
}

impl Export {
    /// Reads a ticket; none for one that is for something else.
    pub(super) fn of(ticket: &str, caller: &Caller) -> Option<Result<Export, Status>> {
        let (name, query) = ticket.split_once('?').unwrap_or((ticket, ""));
        let orders = match name {
            "events" => false,
            "orders" => true,
            _ => return None,
        };
        Some(Export::read(orders, query, caller))
    }

    fn read(orders: bool, query: &str, caller: &Caller) -> Result<Export, Status> {
        let bad = |what: &str| Status::invalid_argument(format!("{what} of the ticket cannot be read"));
        let mut export = Export {
            orders,
            after: EventId(0),
            whose: Whose { party: Party::Merchant, account: caller.account },
        };
        for (key, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match (key, value) {
                ("after", value) => export.after = value.parse().map_err(|_| bad("`after`"))?,
                ("account", value) => export.whose.account = value.parse().map_err(|_| bad("`account`"))?,
                ("party", "customer") => export.whose.party = Party::Customer,
                ("party", "merchant") => export.whose.party = Party::Merchant,
                ("party", "carrier") if !orders => export.whose.party = Party::Carrier,
                _ => return Err(bad(&format!("`{}`", key.chars().take(40).collect::<String>()))),
            }
        }
        if !feeds::may_read(caller, export.whose) {
            return Err(Status::permission_denied(feeds::NOT_YOURS));
        }
        Ok(export)
    }

    /// The tables, until what is the newest event now.
    pub(super) fn tables(self, hub: Arc<Hub>) -> impl Stream<Item = Result<RecordBatch, Status>> + Send {
        stream::try_unfold((self.after, None), move |(after, end)| {
            let hub = Arc::clone(&hub);
            async move {
                let page = feeds::read(&hub.cell, &hub.derived, self.whose, after, ROWS).await;
                let mut page = page.map_err(failed)?;
                let end: EventId = end.unwrap_or(page.last);
                page.events.retain(|event| event.id <= end);
                let Some(last) = page.events.last().map(|event| event.id) else { return Ok(None) };
                let (table, last) = if self.orders {
                    let (table, left) = orders(&hub, &page.events).await?;
                    // What was not looked at comes with the next table.
                    (table, left.map_or(last, |first| EventId(first.0 - 1)))
                } else {
                    (events(&page.events, self.whose.party).map_err(internal)?, last)
                };
                Ok(Some((table, (last, Some(end)))))
            }
        })
    }
}

fn failed(error: FeedError) -> Status {
    match error {
        FeedError::Cell(error) => unavailable(error),
        other => internal(other),
    }
}

fn nanos(time: Time) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Events as a table; what was paid is not the carrier's business.
fn events(events: &[Event], party: Party) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: fn(&Event) -> u64| -> ArrayRef {
        Arc::new(events.iter().map(|event| Some(of(event))).collect::<arrow_array::UInt64Array>())
    };
    let texts = |of: fn(&Event) -> Option<String>| -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<arrow_array::StringArray>())
    };
    let of_parcel = |event: &&Event| event.parcel.0 > 0;
    let mut times = PrimitiveBuilder::<TimestampNanosecondType>::new().with_timezone("UTC");
    events.iter().for_each(|event| times.append_value(nanos(event.time)));
    let carriers = events.iter().map(|event| Some(event).filter(of_parcel).map(|event| event.carrier.0));
    let parcels = events.iter().map(|event| Some(event).filter(of_parcel).map(|event| event.parcel.0));
    let amounts = events.iter().map(|event| (party != Party::Carrier).then_some(event.amount.0));
    let columns: Vec<ArrayRef> = vec![
        numbers(|event| event.id.0),
        texts(|event| Some(format!("order.{}", event.kind))),
        Arc::new(times.finish()),
        numbers(|event| event.order.0),
        texts(|event| Some(order_state(event.state).to_owned())),
        numbers(|event| event.customer.0),
        numbers(|event| event.merchant.0),
        Arc::new(carriers.collect::<arrow_array::UInt64Array>()),
        Arc::new(parcels.collect::<arrow_array::UInt32Array>()),
        texts(|event| event.scan.map(|scan| scan.code().to_owned())),
        Arc::new(amounts.collect::<arrow_array::Int64Array>()),
        texts(|event| Some(event.currency.code().to_owned())),
    ];
    RecordBatch::try_new(Arc::clone(&EVENTS), columns)
}

/// The orders that were placed with these events, from memory and from the archive; and the event of the first that was not
/// looked at, when they were too large.
async fn orders(hub: &Hub, events: &[Event]) -> Result<(RecordBatch, Option<EventId>), Status> {
    let placed = events.iter().filter(|event| event.kind == EventKind::Placed);
    let placed: Vec<(EventId, OrderId)> = placed.map(|event| (event.id, event.order)).collect();
    let ids = placed.iter().map(|(_, id)| *id).collect();
    let found = look_up(hub, ids, false, |_: &State, _, view: OrderView<'_>| OrderRow::of(&view)).await;
    let found = found.map_err(|error| match error {
        PastError::Cell(error) => unavailable(error),
        PastError::Archive(error) => internal(error),
    })?;
    let left = placed.get(found.len()).map(|(event, _)| *event);
    let mut rows = OrderRows::default();
    for ((event, id), row) in placed.into_iter().zip(found) {
        row.into_iter().for_each(|row| rows.push(event, id, row));
    }
    Ok((rows.finish().map_err(internal)?, left))
}

/// What a table tells of an order.
struct OrderRow {
    order: Order,
    discount: Amount,
    paid_out: Amount,
    refunded: Amount,
    lines: Vec<[i64; 6]>,
}

impl OrderRow {
    fn of(view: &OrderView<'_>) -> OrderRow {
        let line = |(at, line): (usize, &pumasi_core::Line)| {
            let progress = view.progress(at);
            let counts = [progress.shipped, progress.returned].map(i64::from);
            let (article, quantity, place) = (line.article.0, line.quantity, line.place.0);
            [article.into(), quantity.into(), line.price.0, place.into(), counts[0], counts[1]]
        };
        OrderRow {
            order: *view.order,
            discount: view.discount(),
            paid_out: view.settled(),
            refunded: view.refunded(),
            lines: view.lines.iter().enumerate().map(line).collect(),
        }
    }
}

/// A table of orders in the making.
#[derive(Default)]
struct OrderRows {
    /// Event, order, customer, merchant.
    numbers: [PrimitiveBuilder<UInt64Type>; 4],
    /// When each was placed.
    times: PrimitiveBuilder<TimestampNanosecondType>,
    /// State, currency.
    texts: [StringBuilder; 2],
    /// Total, discount, tax, fee, paid out, refunded.
    amounts: [PrimitiveBuilder<Int64Type>; 6],
    settled: BooleanBuilder,
    lines: Vec<Vec<[i64; 6]>>,
}

impl OrderRows {
    fn push(&mut self, event: EventId, id: OrderId, row: OrderRow) {
        let OrderRow { order, discount, paid_out, refunded, lines } = row;
        let numbers = [event.0, id.0, order.customer.0, order.merchant.0];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.append_value(number);
        }
        self.times.append_value(nanos(order.placed));
        for (column, text) in self.texts.iter_mut().zip([order_state(order.state), order.currency.code()]) {
            column.append_value(text);
        }
        let amounts = [order.total, discount, order.tax, order.fee, paid_out, refunded];
        for (column, amount) in self.amounts.iter_mut().zip(amounts) {
            column.append_value(amount.0);
        }
        self.settled.append_value(order.settled);
        self.lines.push(lines);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let [event, order, customer, merchant] =
            self.numbers.each_mut().map(|column| Arc::new(column.finish()));
        let [state, currency] = self.texts.each_mut().map(|column| Arc::new(column.finish()));
        let [total, discount, tax, fee, paid_out, refunded] =
            self.amounts.each_mut().map(|column| Arc::new(column.finish()));
        let columns: Vec<ArrayRef> = vec![
            event,
            order,
            Arc::new(self.times.finish().with_timezone("UTC")),
            state,
            customer,
            merchant,
            currency,
            total,
            discount,
            tax,
            fee,
            Arc::new(self.settled.finish()),
            paid_out,
            refunded,
            lines(&self.lines),
        ];
        RecordBatch::try_new(Arc::clone(&ORDERS), columns)
    }
}

/// Lines of orders as a column.
fn lines(orders: &[Vec<[i64; 6]>]) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Struct(line()), false));
    let mut column = ListBuilder::new(StructBuilder::from_fields(line(), orders.len())).with_field(item);
    for lines in orders {
        let values = column.values();
        for line in lines {
            for (at, value) in line.iter().enumerate() {
                // The third is the price; the others are counts and numbers of 32 bits.
                if at == 2 {
                    append::<Int64Type>(values, at, *value);
                } else {
                    append::<UInt32Type>(values, at, u32::try_from(*value).unwrap_or(u32::MAX));
                }
            }
            values.append(true);
        }
        column.append(true);
    }
    Arc::new(column.finish())
}

fn append<T: arrow_array::types::ArrowPrimitiveType>(
    values: &mut StructBuilder,
    at: usize,
    value: T::Native,
) {
    if let Some(column) = values.field_builder::<PrimitiveBuilder<T>>(at) {
        column.append_value(value);
    }
}
