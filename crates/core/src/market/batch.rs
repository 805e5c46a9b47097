//! Orders as bytes: many of them, one behind the other, as gateways write and the log keeps them.
//!
//! Little-endian. An order is 48 bytes: key (16), customer (8), total that the customer was shown (8), currency (3),
//! number of lines (1), coupon (4; 0: none), place (4; 0: any), flags (4); then 8 bytes for each line: article (4),
//! quantity (4). The layout is fixed, so that reading an order is a few loads and making one allocates nothing.

use std::fmt;

use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, PlaceId, RequestId};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Bytes of an order before its lines.
const HEAD: usize = 48;
/// Bytes of a line.
const LINE: usize = 8;
/// The flag of an order that is paid later; its stock is reserved for so long as its merchant says.
const PAY_LATER: u32 = 1;

/// One order as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSpec<'a> {
    /// What the client calls it: the same key is one order, however often it is sent.
    pub key: RequestId,
    /// Who buys and pays.
    pub customer: AccountId,
    /// What the customer was shown and agreed to pay.
    pub total: Amount,
    /// In which currency.
    pub currency: Currency,
    /// A coupon that the customer has; 0: none.
    pub coupon: CouponId,
    /// From where it is to be sent; none: from wherever there is enough.
    pub place: Option<PlaceId>,
    /// Whether the money is only taken when the customer pays, in a step of its own.
    pub pay_later: bool,
    /// What is bought.
    pub lines: OrderLines<'a>,
}

/// The lines of an order: at least one, of an order that was read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderLines<'a>(&'a [[u8; LINE]]);

impl OrderLines<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none; never so in an order that was read from a batch.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Articles and how many of each, as they were asked for: an article may stand in several lines.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ArticleId, u32)> {
        self.0.iter().map(|[a, b, c, d, rest @ ..]| {
            (ArticleId(u32::from_le_bytes([*a, *b, *c, *d])), u32::from_le_bytes(*rest))
        })
    }
}

impl fmt::Debug for OrderLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Many orders.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OrderBatch {
    bytes: Vec<u8>,
    len: usize,
}

/// Bytes that are no orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("order {order} of the batch is malformed: {problem}")]
pub struct BadBatch {
    order: usize,
    problem: &'static str,
}

impl OrderBatch {
    /// Lines of one order at most.
    pub const LINES_MAX: usize = 255;
    /// Orders of one batch at most.
    pub const ORDERS_MAX: usize = 1 << 16;

    /// No orders yet; room for so many of one line.
    pub fn with_capacity(orders: usize) -> OrderBatch {
        OrderBatch { bytes: Vec::with_capacity(orders * (HEAD + LINE)), len: 0 }
    }

    /// How many orders there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes they are.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an order.
    ///
    /// # Panics
    /// Unless it has 1 to [`OrderBatch::LINES_MAX`] lines and the batch has room.
    pub fn push(&mut self, order: &OrderSpec<'_>, lines: impl ExactSizeIterator<Item = (ArticleId, u32)>) {
        let count = u8::try_from(lines.len()).ok().filter(|count| *count > 0).expect("1 to 255 lines");
        assert!(self.len < OrderBatch::ORDERS_MAX, "the batch is full");
        let mut head = [0; HEAD];
        head[..16].copy_from_slice(&order.key.0.to_le_bytes());
        head[16..24].copy_from_slice(&order.customer.0.to_le_bytes());
        head[24..32].copy_from_slice(&order.total.0.to_le_bytes());
        head[32..35].copy_from_slice(order.currency.code().as_bytes());
        head[35] = count;
        head[36..40].copy_from_slice(&order.coupon.0.to_le_bytes());
        head[40..44].copy_from_slice(&order.place.map_or(0, |place| place.0).to_le_bytes());
        head[44..].copy_from_slice(&if order.pay_later { PAY_LATER } else { 0 }.to_le_bytes());
        self.bytes.extend_from_slice(&head);
        for (article, quantity) in lines {
            self.bytes.extend_from_slice(&article.0.to_le_bytes());
            self.bytes.extend_from_slice(&quantity.to_le_bytes());
        }
        self.len += 1;
    }

    /// The orders, each with the bytes that it is made of.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OrderSpec<'_>, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            // A batch is checked when it is made.
            let (order, bytes, after) = take(rest).ok()?;
            rest = after;
            Some((order, bytes))
        })
    }

    /// The orders.
    pub fn orders(&self) -> impl Iterator<Item = OrderSpec<'_>> {
        self.iter().map(|(order, _)| order)
    }
}

/// Reads the first order; it, its bytes, and what is behind them.
fn take(bytes: &[u8]) -> Result<(OrderSpec<'_>, &[u8], &[u8]), &'static str> {
    let head: &[u8; HEAD] = bytes.first_chunk().ok_or("it ends too early")?;
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let end = HEAD + LINE * usize::from(head[35]);
    if end == HEAD {
        return Err("it has no lines");
    }
    if end > bytes.len() {
        return Err("its lines end too early");
    }
    let (order, rest) = bytes.split_at(end);
    let flags = word(44);
    if flags & !PAY_LATER != 0 {
        return Err("it has unknown flags");
    }
    let spec = OrderSpec {
        key: RequestId(u128::from_le_bytes(head[..16].try_into().expect("sixteen bytes"))),
        customer: AccountId(long(16)),
        total: Amount(long(24).cast_signed()),
        currency: Currency::from_code([head[32], head[33], head[34]]).ok_or("its currency is unknown")?,
        coupon: CouponId(word(36)),
        place: Some(PlaceId(word(40))).filter(|place| place.0 != 0),
        pay_later: flags & PAY_LATER != 0,
        lines: OrderLines(order[HEAD..].as_chunks().0),
    };
    Ok((spec, order, rest))
}

impl TryFrom<Vec<u8>> for OrderBatch {
    type Error = BadBatch;

    /// Checks that the bytes are orders from their beginning to their end.
    fn try_from(bytes: Vec<u8>) -> Result<OrderBatch, BadBatch> {
        let (mut rest, mut len) = (&bytes[..], 0);
        while !rest.is_empty() {
            let bad = |problem| BadBatch { order: len, problem };
            if len == OrderBatch::ORDERS_MAX {
                return Err(bad("there are too many before it"));
            }
            (_, _, rest) = take(rest).map_err(bad)?;
            len += 1;
        }
        Ok(OrderBatch { bytes, len })
    }
}

impl fmt::Debug for OrderBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.orders()).finish()
    }
}

impl Serialize for OrderBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for OrderBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OrderBatch, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = OrderBatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of orders")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<OrderBatch, E> {
                OrderBatch::try_from(bytes.to_vec()).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
