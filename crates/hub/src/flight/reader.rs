//! Record batches of orders, doubted, as the bytes that orders have in the log.
//!
//! Nothing that comes is believed: types are compared with those that orders can have before anything is read, every
//! buffer must lie inside its message, and what could grow without bound, such as dictionaries, is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::Buffer;
use arrow_flight::FlightData;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow_ipc::{Message, MessageHeader, convert, root_as_message};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use pumasi_api::wire::market::ORDER_ID_BYTES_MAX;
use pumasi_core::{OrderBatch, OrderLines, OrderSpec};
use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, PlaceId, RequestId};

use crate::orders::order_key;

/// Values of a dictionary at most: there are no more currencies.
const DICTIONARY_MAX: i64 = 256;
/// Bytes of a schema or a dictionary at most: they are kept as long as their stream.
const KEPT_BYTES: usize = 64 << 10;
/// Values of a column at most; a record batch of orders has no more lines.
const VALUES_MAX: i64 = 1 << 22;
/// Bytes of orders that one record batch can become.
const BATCH_BYTES: usize = 16 << 20;

/// Why a stream of record batches is no stream of orders.
#[derive(Debug, thiserror::Error)]
pub enum BadOrders {
    /// The bytes break the rules of the format.
    #[error("this is not Arrow IPC: {0}")]
    NotArrow(String),
    /// It is a table of something else.
    #[error("the schema does not fit orders: {0}; GetSchema tells the one that does")]
    Schema(String),
    /// A value that no order can have.
    #[error("column `{column}`, row {row}: {problem}")]
    Value {
        /// Where.
        column: &'static str,
        /// In which row, from 0 on.
        row: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing where something must be, in this column.
    #[error("column `{0}` has nulls, where there must be none")]
    Nulls(&'static str),
    /// More than one record batch may have.
    #[error("{0}: send less at once")]
    TooMuch(String),
}

impl From<ArrowError> for BadOrders {
    fn from(error: ArrowError) -> BadOrders {
        not_arrow(error.to_string())
    }
}

fn not_arrow(problem: impl Into<String>) -> BadOrders {
    BadOrders::NotArrow(short(&problem.into()))
}

/// What is told can repeat what came, which may be long.
fn short(problem: &str) -> String {
    problem.chars().take(300).collect()
}

/// Reads the messages of one stream: the schema, then dictionaries and record batches.
pub struct OrderReader {
    caller: AccountId,
    layout: Option<Layout>,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// Where in a record batch what stands.
struct Layout {
    schema: SchemaRef,
    /// Of a value in each buffer of a batch.
    widths: Vec<i64>,
    id: usize,
    customer: Option<usize>,
    total: usize,
    currency: CurrencyFrom,
    coupon: Option<usize>,
    place: Option<usize>,
    pay_later: Option<usize>,
    lines: LinesFrom,
}

enum CurrencyFrom {
    /// All orders have this one.
    Schema(Currency),
    Column(usize),
}

enum LinesFrom {
    /// One line for each order.
    Columns {
        article: usize,
        quantity: usize,
    },
    Lists(usize),
}

impl OrderReader {
    /// A reader of what `caller` sends.
    pub fn new(caller: AccountId) -> OrderReader {
        OrderReader { caller, layout: None, dictionaries: HashMap::new() }
    }

    /// Takes a message: orders, if it has some.
    ///
    /// # Errors
    /// When it is not Arrow, no table of orders, or too large. Nothing of it was taken; the stream should end.
    pub fn take(&mut self, data: &FlightData) -> Result<Option<OrderBatch>, BadOrders> {
        // What is said besides the data.
        if data.data_header.is_empty() && data.data_body.is_empty() {
            return Ok(None);
        }
        let message = root_as_message(&data.data_header).map_err(|error| not_arrow(error.to_string()))?;
        match message.header_type() {
            MessageHeader::NONE if data.data_body.is_empty() => Ok(None),
            MessageHeader::Schema => {
                if self.layout.is_some() {
                    return Err(not_arrow("there is a second schema"));
                }
                is_short("schema", data.data_header.len())?;
                let schema = message.header_as_schema().ok_or_else(|| not_arrow("a schema is missing"))?;
                self.layout = Some(Layout::new(convert::try_fb_to_schema(schema)?)?);
                Ok(None)
            }
            MessageHeader::DictionaryBatch => self.dictionary(&message, data).map(|()| None),
            MessageHeader::RecordBatch => self.orders(&message, data).map(Some),
            _ => Err(not_arrow("only schemas, dictionaries and record batches belong here")),
        }
    }

    fn dictionary(&mut self, message: &Message<'_>, data: &FlightData) -> Result<(), BadOrders> {
        let layout = self.layout.as_ref().ok_or_else(|| not_arrow("the schema must come first"))?;
        let dictionary = message.header_as_dictionary_batch();
        let dictionary = dictionary.ok_or_else(|| not_arrow("a dictionary is missing"))?;
        let values = dictionary.data().ok_or_else(|| not_arrow("a dictionary has no values"))?;
        if dictionary.isDelta() {
            return Err(not_arrow("dictionaries must be sent whole"));
        }
        is_short("dictionary", data.data_body.len())?;
        check(&values, data.data_body.len(), DICTIONARY_MAX, &widths(&DataType::Utf8))?;
        // A copy, because bytes from the network begin anywhere.
        let body = Buffer::from(&data.data_body[..]);
        let version = message.version();
        read_dictionary(&body, dictionary, &layout.schema, &mut self.dictionaries, &version)?;
        Ok(())
    }

    fn orders(&self, message: &Message<'_>, data: &FlightData) -> Result<OrderBatch, BadOrders> {
        let layout = self.layout.as_ref().ok_or_else(|| not_arrow("the schema must come first"))?;
        let batch = message.header_as_record_batch().ok_or_else(|| not_arrow("a record batch is missing"))?;
        check(&batch, data.data_body.len(), OrderBatch::ORDERS_MAX as i64, &layout.widths)?;
        // A copy, because bytes from the network begin anywhere.
        let body = Buffer::from(&data.data_body[..]);
        let version = message.version();
        let schema = Arc::clone(&layout.schema);
        let decoder = RecordBatchDecoder::try_new(&body, batch, schema, &self.dictionaries, &version)?;
        layout.read(self.caller, &decoder.read_record_batch()?)
    }
}

/// What is kept is short.
fn is_short(what: &str, bytes: usize) -> Result<(), BadOrders> {
    if bytes <= KEPT_BYTES {
        return Ok(());
    }
    Err(BadOrders::TooMuch(format!("a {what} of {bytes} bytes; at most {KEPT_BYTES}")))
}

/// Everything that a record batch says of its buffers must be so, because its decoder believes it.
fn check(
    batch: &arrow_ipc::RecordBatch<'_>,
    body: usize,
    rows_max: i64,
    widths: &[i64],
) -> Result<(), BadOrders> {
    if batch.compression().is_some() {
        return Err(not_arrow("compressed buffers are not taken"));
    }
    if !(0..=rows_max).contains(&batch.length()) {
        return Err(BadOrders::TooMuch(format!("a batch of {} rows; at most {rows_max}", batch.length())));
    }
    for node in batch.nodes().into_iter().flatten() {
        if !(0..=VALUES_MAX).contains(&node.length()) || !(0..=node.length()).contains(&node.null_count()) {
            return Err(not_arrow("a column has an impossible length or number of nulls"));
        }
    }
    let buffers = batch.buffers().unwrap_or_default();
    if buffers.len() != widths.len() {
        return Err(not_arrow(format!("{} buffers, where its schema has {}", buffers.len(), widths.len())));
    }
    for (buffer, width) in buffers.iter().zip(widths) {
        let end = buffer.offset().checked_add(buffer.length());
        let inside = end.and_then(|end| usize::try_from(end).ok()).is_some_and(|end| end <= body);
        if buffer.offset() < 0 || buffer.length() < 0 || !inside {
            return Err(not_arrow("a buffer reaches beyond its message"));
        }
        // As the format wants it (Arrow columnar format, encapsulated message format).
        if buffer.offset() % 8 != 0 {
            return Err(not_arrow("a buffer does not begin at a multiple of 8 bytes"));
        }
        if buffer.length() % width != 0 {
            return Err(not_arrow("a buffer ends within a value"));
        }
    }
    Ok(())
}

/// Bytes of a value in each buffer of a column of this type, in the order in which the format has them: first that of
/// the nulls, in which values have less than one. Only types that columns of orders can have.
fn widths(column: &DataType) -> Vec<i64> {
    let mut widths = vec![1];
    match column {
        DataType::Utf8 => widths.extend([4, 1]),
        DataType::List(item) => {
            widths.push(4);
            widths.extend(self::widths(item.data_type()));
        }
        DataType::Struct(fields) => {
            widths.extend(fields.iter().flat_map(|field| self::widths(field.data_type())))
        }
        DataType::Dictionary(keys, _) => widths.extend(&self::widths(keys)[1..]),
        fixed => widths.push(fixed.primitive_width().map_or(1, |bytes| bytes as i64)),
    }
    widths
}

impl Layout {
    fn new(schema: Schema) -> Result<Layout, BadOrders> {
        const COLUMNS: [&str; 10] = [
            "id",
            "customer",
            "total",
            "currency",
            "coupon",
            "place",
            "pay_later",
            "article",
            "quantity",
            "lines",
        ];
        let bad = |problem: String| BadOrders::Schema(short(&problem));
        for (at, field) in schema.fields().iter().enumerate() {
            if !COLUMNS.contains(&field.name().as_str()) {
                return Err(bad(format!("there is no column `{}`", field.name())));
            }
            if schema.fields()[..at].iter().any(|other| other.name() == field.name()) {
                return Err(bad(format!("column `{}` stands there twice", field.name())));
            }
        }
        let optional = |name: &str, fits: fn(&DataType) -> bool, wanted: &str| {
            let Some((at, field)) = schema.fields().find(name) else { return Ok(None) };
            let given = field.data_type();
            if fits(given) {
                Ok(Some(at))
            } else {
                Err(bad(format!("`{name}` must be {wanted}, not {given}")))
            }
        };
        let needed = |name: &str, fits, wanted| {
            optional(name, fits, wanted)?.ok_or_else(|| bad(format!("there is no column `{name}`")))
        };
        let uint32 = |name| optional(name, |given| *given == DataType::UInt32, "uint32");
        let id = needed("id", is_id, "fixed_size_binary(16) or utf8")?;
        let total = needed("total", |given| *given == DataType::Int64, "int64")?;
        let currency = match optional("currency", is_currency, "utf8 or a dictionary of utf8")? {
            Some(at) => CurrencyFrom::Column(at),
            None => {
                let code = schema.metadata().get("currency");
                let code = code.ok_or_else(|| {
                    bad("neither a column nor the schema's metadata has a `currency`".to_owned())
                })?;
                CurrencyFrom::Schema(code.parse().map_err(|error| bad(format!("{error}")))?)
            }
        };
        let lists = optional("lines", is_lines, "list<struct<article: uint32, quantity: uint32>>")?;
        let lines = match (uint32("article")?, uint32("quantity")?, lists) {
            (Some(article), Some(quantity), None) => LinesFrom::Columns { article, quantity },
            (None, None, Some(at)) => LinesFrom::Lists(at),
            _ => return Err(bad("it needs either `article` and `quantity`, or `lines`".to_owned())),
        };
        let customer = optional("customer", |given| *given == DataType::UInt64, "uint64")?;
        let (coupon, place) = (uint32("coupon")?, uint32("place")?);
        let pay_later = optional("pay_later", |given| *given == DataType::Boolean, "bool")?;
        let widths = schema.fields().iter().flat_map(|field| widths(field.data_type())).collect();
        let schema = Arc::new(schema);
        Ok(Layout { schema, widths, id, customer, total, currency, coupon, place, pay_later, lines })
    }

    fn read(&self, caller: AccountId, batch: &RecordBatch) -> Result<OrderBatch, BadOrders> {
        let column = |at: usize| batch.column(at);
        let ids = Ids::new(without_nulls("id", column(self.id))?);
        let customers = self.customer.map(|at| without_nulls("customer", column(at))).transpose()?;
        let customers = customers.map(|column| column.as_primitive::<UInt64Type>().values());
        let totals = without_nulls("total", column(self.total))?.as_primitive::<Int64Type>().values();
        let currencies = Currencies::new(&self.currency, batch)?;
        let coupons = self.coupon.map(|at| column(at).as_primitive::<UInt32Type>());
        let places = self.place.map(|at| column(at).as_primitive::<UInt32Type>());
        let later = self.pay_later.map(|at| column(at).as_boolean());
        let lines = Lines::new(&self.lines, batch)?;
        let size = 48 * batch.num_rows() + 8 * lines.count();
        if size > BATCH_BYTES {
            return Err(BadOrders::TooMuch(format!("a batch of {} lines", lines.count())));
        }
        let mut orders = OrderBatch::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let spec = OrderSpec {
                key: ids.key(caller, row)?,
                customer: customers.map_or(caller, |column| AccountId(column[row])),
                total: Amount(totals[row]),
                currency: currencies.currency(row)?,
                coupon: CouponId(coupons.and_then(|column| value(column, row)).unwrap_or(0)),
                place: places.and_then(|column| value(column, row)).filter(|place| *place != 0).map(PlaceId),
                pay_later: later.is_some_and(|column| column.is_valid(row) && column.value(row)),
                lines: OrderLines::default(),
            };
            lines.push(&mut orders, &spec, row)?;
        }
        Ok(orders)
    }
}

fn is_id(given: &DataType) -> bool {
    matches!(given, DataType::FixedSizeBinary(16) | DataType::Utf8)
}

fn is_currency(given: &DataType) -> bool {
    match given {
        DataType::Dictionary(_, values) => **values == DataType::Utf8,
        _ => *given == DataType::Utf8,
    }
}

fn is_lines(given: &DataType) -> bool {
    let DataType::List(item) = given else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    let fields: Vec<_> = fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    fields == [("article", &DataType::UInt32), ("quantity", &DataType::UInt32)]
}

fn without_nulls<'a>(name: &'static str, column: &'a ArrayRef) -> Result<&'a ArrayRef, BadOrders> {
    if column.null_count() == 0 { Ok(column) } else { Err(BadOrders::Nulls(name)) }
}

fn value(column: &UInt32Array, row: usize) -> Option<u32> {
    column.is_valid(row).then(|| column.value(row))
}

/// What orders are called.
enum Ids<'a> {
    Numbers(&'a arrow_array::FixedSizeBinaryArray),
    Texts(&'a arrow_array::StringArray),
}

impl Ids<'_> {
    /// The column has one of the types that [`is_id`] knows.
    fn new(column: &ArrayRef) -> Ids<'_> {
        match column.as_fixed_size_binary_opt() {
            Some(numbers) => Ids::Numbers(numbers),
            None => Ids::Texts(column.as_string()),
        }
    }

    fn key(&self, caller: AccountId, row: usize) -> Result<RequestId, BadOrders> {
        match self {
            Ids::Numbers(column) => {
                let bytes: [u8; 16] = column.value(row).try_into().expect("the type has sixteen bytes");
                Ok(RequestId(u128::from_be_bytes(bytes)))
            }
            Ids::Texts(column) => match column.value(row) {
                text if (1..=ORDER_ID_BYTES_MAX).contains(&text.len()) => Ok(order_key(caller, text)),
                _ => Err(BadOrders::Value { column: "id", row, problem: "it must have 1 to 64 bytes" }),
            },
        }
    }
}

/// In which currency each order is.
enum Currencies<'a> {
    All(Currency),
    Texts(&'a arrow_array::StringArray),
    /// Numbers of known currencies.
    Known(Vec<usize>, Vec<Currency>),
}

impl<'a> Currencies<'a> {
    fn new(from: &CurrencyFrom, batch: &'a RecordBatch) -> Result<Currencies<'a>, BadOrders> {
        let column = match from {
            CurrencyFrom::Schema(currency) => return Ok(Currencies::All(*currency)),
            CurrencyFrom::Column(at) => without_nulls("currency", batch.column(*at))?,
        };
        let Some(dictionary) = column.as_any_dictionary_opt() else {
            return Ok(Currencies::Texts(column.as_string()));
        };
        let values = without_nulls("currency", dictionary.values())?.as_string::<i32>();
        let known =
            (0..values.len()).map(|row| currency(values.value(row), row)).collect::<Result<_, _>>()?;
        let keys = if column.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        Ok(Currencies::Known(keys, known))
    }

    fn currency(&self, row: usize) -> Result<Currency, BadOrders> {
        match self {
            Currencies::All(currency) => Ok(*currency),
            Currencies::Texts(column) => currency(column.value(row), row),
            Currencies::Known(keys, known) => {
                let problem = "its dictionary has no such value";
                let known = keys.get(row).and_then(|key| known.get(*key)).copied();
                known.ok_or(BadOrders::Value { column: "currency", row, problem })
            }
        }
    }
}

fn currency(text: &str, row: usize) -> Result<Currency, BadOrders> {
    let code = <[u8; 3]>::try_from(text.as_bytes()).ok().and_then(Currency::from_code);
    code.ok_or(BadOrders::Value { column: "currency", row, problem: "this hub does not know it" })
}

/// What each order buys.
enum Lines<'a> {
    One { articles: &'a [u32], quantities: &'a [u32] },
    Many { offsets: &'a [i32], articles: &'a [u32], quantities: &'a [u32] },
}

impl<'a> Lines<'a> {
    fn new(from: &LinesFrom, batch: &'a RecordBatch) -> Result<Lines<'a>, BadOrders> {
        let numbers = |name, column: &'a ArrayRef| {
            without_nulls(name, column).map(|column| &column.as_primitive::<UInt32Type>().values()[..])
        };
        match *from {
            LinesFrom::Columns { article, quantity } => Ok(Lines::One {
                articles: numbers("article", batch.column(article))?,
                quantities: numbers("quantity", batch.column(quantity))?,
            }),
            LinesFrom::Lists(at) => {
                let lists = without_nulls("lines", batch.column(at))?.as_list::<i32>();
                let lines = without_nulls("lines", lists.values())?.as_struct();
                Ok(Lines::Many {
                    offsets: &lists.offsets()[..],
                    articles: numbers("lines.article", lines.column(0))?,
                    quantities: numbers("lines.quantity", lines.column(1))?,
                })
            }
        }
    }

    /// How many lines there are.
    fn count(&self) -> usize {
        let (Lines::One { articles, .. } | Lines::Many { articles, .. }) = self;
        articles.len()
    }

    /// Adds the order of a row.
    fn push(&self, orders: &mut OrderBatch, spec: &OrderSpec<'_>, row: usize) -> Result<(), BadOrders> {
        match self {
            Lines::One { articles, quantities } => {
                orders.push(spec, std::iter::once((ArticleId(articles[row]), quantities[row])));
            }
            Lines::Many { offsets, articles, quantities } => {
                // Offsets were checked when the column was read: they rise, and end inside it.
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                if !(1..=OrderBatch::LINES_MAX).contains(&range.len()) {
                    return Err(BadOrders::Value {
                        column: "lines",
                        row,
                        problem: "it must have 1 to 255 lines",
                    });
                }
                let lines = articles[range.clone()].iter().zip(&quantities[range]);
                orders.push(spec, lines.map(|(article, quantity)| (ArticleId(*article), *quantity)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::FixedSizeBinaryBuilder;
    use arrow_array::types::Int8Type;
    use arrow_array::{
        BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, StringArray, StructArray,
        UInt64Array,
    };
    use arrow_buffer::OffsetBuffer;
    use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
    use arrow_schema::{Field, Fields};
    use futures_util::TryStreamExt;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    const ME: AccountId = AccountId(7);

    type Column = (&'static str, ArrayRef);

    /// Two orders of one line.
    fn columns() -> Vec<Column> {
        let mut ids = FixedSizeBinaryBuilder::new(16);
        ids.append_value([1; 16]).unwrap();
        ids.append_value([2; 16]).unwrap();
        vec![
            ("id", Arc::new(ids.finish())),
            ("customer", Arc::new(UInt64Array::from(vec![3, 4]))),
            ("total", Arc::new(Int64Array::from(vec![500, -1]))),
            ("currency", Arc::new(StringArray::from(vec!["KRW", "EUR"]))),
            ("article", Arc::new(UInt32Array::from(vec![10, 11]))),
            ("quantity", Arc::new(UInt32Array::from(vec![1, 0]))),
            ("coupon", Arc::new(UInt32Array::from(vec![None, Some(9)]))),
            ("place", Arc::new(UInt32Array::from(vec![Some(5), None]))),
            ("pay_later", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ]
    }

    fn lists(articles: Vec<u32>, ends: Vec<usize>) -> ArrayRef {
        let fields: Fields =
            ["article", "quantity"].map(|name| Field::new(name, DataType::UInt32, true)).to_vec().into();
        let quantities = UInt32Array::from(vec![1; articles.len()]);
        let lines: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(articles)), Arc::new(quantities)];
        let lines = StructArray::new(fields.clone(), lines, None);
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(ends), Arc::new(lines), None))
    }

    fn with(name: &'static str, column: ArrayRef) -> Vec<Column> {
        let mut columns = without(&[name]);
        columns.push((name, column));
        columns
    }

    fn without(names: &[&str]) -> Vec<Column> {
        columns().into_iter().filter(|(name, _)| !names.contains(name)).collect()
    }

    /// The least there can be, with texts for ids, a dictionary of currencies and lists of lines.
    fn bare() -> Vec<Column> {
        let currencies: DictionaryArray<Int8Type> = ["KRW", "KRW"].into_iter().collect();
        vec![
            ("total", columns().swap_remove(2).1),
            ("id", Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef),
            ("currency", Arc::new(currencies)),
            ("lines", lists(vec![1, 2, 3], vec![1, 2])),
        ]
    }

    /// A table as a client sends it.
    fn messages(columns: Vec<Column>) -> Vec<FlightData> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        );
        let batches = futures_util::stream::iter([Ok(batch.unwrap())]);
        let encoder = FlightDataEncoderBuilder::new().with_dictionary_handling(DictionaryHandling::Resend);
        let messages = encoder.build(batches).try_collect::<Vec<_>>();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(messages).unwrap()
    }

    fn read(messages: &[FlightData]) -> Result<Vec<OrderBatch>, BadOrders> {
        let mut reader = OrderReader::new(ME);
        let mut batches = Vec::new();
        for message in messages {
            batches.extend(reader.take(message)?);
        }
        Ok(batches)
    }

    fn refused(columns: Vec<Column>) -> String {
        read(&messages(columns)).expect_err("it does not fit").to_string()
    }

    #[test]
    fn columns_become_orders() {
        let batches = read(&messages(columns())).unwrap();
        let orders: Vec<_> = batches[0].orders().collect();
        let first = &orders[0];
        assert_eq!((first.key, first.customer), (RequestId(u128::from_be_bytes([1; 16])), AccountId(3)));
        assert_eq!((first.total, first.currency.code(), first.place), (Amount(500), "KRW", Some(PlaceId(5))));
        assert_eq!(first.lines.iter().collect::<Vec<_>>(), [(ArticleId(10), 1)]);
        assert_eq!(
            (orders[1].coupon, orders[1].place, first.pay_later, orders[1].pay_later),
            (CouponId(9), None, true, false)
        );
        let batches = read(&messages(bare())).unwrap();
        let orders: Vec<_> = batches[0].orders().collect();
        assert_eq!((orders[0].key, orders[0].customer), (order_key(ME, "one"), ME));
        assert_eq!(orders[1].lines.iter().collect::<Vec<_>>(), [(ArticleId(2), 1), (ArticleId(3), 1)]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let texts = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        for (columns, said) in [
            (without(&["id"]), "no column `id`"),
            (without(&["total"]), "no column `total`"),
            (without(&["currency"]), "metadata"),
            (without(&["quantity"]), "either `article`"),
            (without(&["article", "quantity"]), "either `article`"),
            (with("lines", lists(vec![1, 2], vec![1, 1])), "either `article`"),
            (with("price", columns().swap_remove(2).1), "no column `price`"),
            (with("total", Arc::new(Int32Array::from(vec![1, 2]))), "must be int64"),
            (with("customer", Arc::new(Int64Array::from(vec![1, 2]))), "must be uint64"),
            (with("customer", Arc::new(UInt64Array::from(vec![Some(1), None]))), "`customer` has nulls"),
            (with("article", Arc::new(UInt32Array::from(vec![Some(1), None]))), "`article` has nulls"),
            (with("currency", texts(["KRW", "XXX"])), "does not know it"),
            (with("currency", texts(["KRW", ""])), "does not know it"),
            (with("id", texts(["a", ""])), "1 to 64 bytes"),
            (with("id", texts(["a", &"x".repeat(65)])), "1 to 64 bytes"),
        ] {
            let problem = refused(columns);
            assert!(problem.contains(said), "{problem}");
        }
        let long = "x".repeat(KEPT_BYTES);
        let currencies: DictionaryArray<Int8Type> = ["KRW", &long].into_iter().collect();
        assert!(refused(with("currency", Arc::new(currencies))).contains("a dictionary of"));
        let mut padded = messages(columns());
        padded[0].data_header = [&padded[0].data_header[..], &[0; KEPT_BYTES]].concat().into();
        assert!(read(&padded).unwrap_err().to_string().contains("a schema of"));
        let lines = |lists: ArrayRef| {
            let mut columns = without(&["article", "quantity"]);
            columns.push(("lines", lists));
            refused(columns)
        };
        assert!(lines(lists(vec![1], vec![1, 0])).contains("1 to 255 lines"));
        assert!(lines(lists(vec![1; 257], vec![1, 256])).contains("1 to 255 lines"));
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["x"; OrderBatch::ORDERS_MAX + 1]));
        let zeros: ArrayRef = Arc::new(UInt32Array::from(vec![0; OrderBatch::ORDERS_MAX + 1]));
        let totals: ArrayRef = Arc::new(Int64Array::from(vec![0; OrderBatch::ORDERS_MAX + 1]));
        let many = vec![
            ("id", Arc::clone(&ids)),
            ("total", totals),
            ("currency", ids),
            ("article", Arc::clone(&zeros)),
            ("quantity", zeros),
        ];
        assert!(refused(many).contains("at most 65536"));
        let mut twice = messages(columns());
        twice.insert(0, twice[0].clone());
        assert!(read(&twice).unwrap_err().to_string().contains("second schema"));
        assert!(read(&messages(columns())[1..]).unwrap_err().to_string().contains("must come first"));
    }

    /// Where the fuzzer begins (`fuzz/fuzz_targets/flight_orders.rs`). With `PUMASI_WRITE_SEEDS` set they are written anew.
    #[test]
    fn the_seeds_of_the_fuzzer_are_orders() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/flight_orders");
        for (name, columns) in [("columns", columns()), ("dictionary_and_lists", bare())] {
            let path = std::path::Path::new(folder).join(name);
            let expected = messages(columns);
            if std::env::var_os("PUMASI_WRITE_SEEDS").is_some() {
                let bytes: Vec<u8> =
                    expected.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }
            let bytes = std::fs::read(&path).unwrap();
            let (mut rest, mut found) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                found.push(FlightData::decode_length_delimited(&mut rest).unwrap());
            }
            let (seed, expected) = (read(&found).unwrap(), read(&expected).unwrap());
            assert!(seed == expected && seed[0].len() == 2, "{name}");
        }
    }

    /// Arrow's decoder panics where they do not.
    #[test]
    fn buffers_end_between_values() {
        let good = messages(bare());
        let header = &good.last().unwrap().data_header;
        // Of offsets and of articles, three of each; no buffer begins there and no column is as long.
        let length = 12_i64.to_le_bytes();
        let places: Vec<_> = (0..=header.len() - 8).filter(|at| header[*at..at + 8] == length).collect();
        assert_eq!(places.len(), 4);
        for at in places {
            let mut header = header.to_vec();
            header[at] -= 1;
            let mut bad = good.clone();
            bad.last_mut().unwrap().data_header = header.into();
            assert!(read(&bad).unwrap_err().to_string().contains("ends within a value"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever happens to the bytes of a good table: no panic, and no more orders than the bytes are worth.
        #[test]
        fn damaged_tables_are_refused_or_read(
            with_lists: bool,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in proptest::option::of(any::<prop::sample::Index>()),
            which in 0..4_usize,
            body: bool,
        ) {
            let currencies: DictionaryArray<Int8Type> = ["KRW", "EUR"].into_iter().collect();
            let mut columns = with("currency", Arc::new(currencies));
            if with_lists {
                columns.retain(|(name, _)| !["article", "quantity"].contains(name));
                columns.push(("lines", lists(vec![1, 2, 3], vec![1, 2])));
            }
            let mut messages = messages(columns);
            let count = messages.len();
            let message = &mut messages[which % count];
            let part = if body { &mut message.data_body } else { &mut message.data_header };
            let mut bytes = part.to_vec();
            for (at, value) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            *part = bytes.into();
            if let Ok(batches) = read(&messages) {
                let orders: usize = batches.iter().map(OrderBatch::len).sum();
                prop_assert!(orders <= 2, "{orders} orders");
            }
        }
    }
}
