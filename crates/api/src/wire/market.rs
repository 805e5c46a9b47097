//! JSON bodies of the market: what merchants sell, and what is ordered.

mod feeds;
mod live;
mod sales;
mod steps;

use std::borrow::Cow;
use std::fmt;

use pumasi_types::{AccountId, ArticleId, CouponId, OrderId, ParcelId, PlaceId};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::feeds::{EVENTS_MAX, Feed, FeedEvent, Notice, Orders, WAIT_S_MAX};
pub use self::live::{LiveArticle, LiveLatency, LiveOrders, LiveRevenue, MarketLive};
pub use self::sales::{Sales, SalesBy, SalesRow, SalesTotal};
pub use self::steps::{
    AcceptReturn, DeliverParcel, ListedStep, OrderStepped, RefundOrder, ReturnOrder, STEPS_MAX, ScanParcel,
    ShipOrder, SomeOf, Step, StepResult,
};

/// Items of one list at most: orders, articles, changes of stock.
pub const LIST_MAX: usize = 10_000;
/// Bytes of an order's id at most.
pub const ORDER_ID_BYTES_MAX: usize = 64;

/// An account: its id as a number, or its name as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Party {
    /// Its id.
    Id(u64),
    /// Its name.
    Name(String),
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Party, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Party;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an account: its id as a number, or its name as a text")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Party, E> {
                Ok(Party::Id(id))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Party, E> {
                Ok(Party::Name(name.to_owned()))
            }

            fn visit_string<E: de::Error>(self, name: String) -> Result<Party, E> {
                Ok(Party::Name(name))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// One object, or a list of [`LIST_MAX`] at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object, or a list of at most {LIST_MAX}")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == LIST_MAX {
                        return Err(de::Error::custom(format!("a list has at most {LIST_MAX} items")));
                    }
                    list.push(item);
                }
                Ok(OneOrMany::Many(list))
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(either: OneOrMany<T>) -> Vec<T> {
        match either {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// Opens accounts of customers, without roles and tokens; storefronts and operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomers {
    /// Their names, unique; lower-case letters, digits, `-`, `_`, `.`; at most 10,000 of them.
    pub names: Vec<String>,
}

/// Accounts that were opened. Their ids follow one another in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenedCustomers {
    /// The id of the first.
    #[schema(value_type = u64)]
    pub first: AccountId,
    /// How many.
    pub count: u32,
}

/// What the platform takes of sales; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarketTerms {
    /// Who gets the fees.
    pub fee_to: Party,
    /// Who gets the taxes, to hand them on.
    pub tax_to: Party,
    /// The fee, in basis points (parts of 10,000) of an order's total.
    pub fee_bp: u16,
}

/// How a merchant sells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShopTerms {
    /// When it is paid.
    pub settle_at: SettleAt,
    /// Seconds that stock is reserved for an order that is paid later; half an hour when absent.
    #[serde(default)]
    pub reservation_s: Option<u64>,
    /// Seconds after it arrived until an order is completed by itself; seven days when absent.
    #[serde(default)]
    pub completion_s: Option<u64>,
    /// Seconds after it arrived in which an order can be returned; fourteen days when absent.
    #[serde(default)]
    pub returns_s: Option<u64>,
}

/// When a merchant is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettleAt {
    /// When an order is placed and paid.
    Placing,
    /// When its parcels are on their way.
    Shipping,
}

/// An article to add, or to change: the SKU decides. Merchants only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewArticle {
    /// What the merchant calls it; unique among its articles.
    pub sku: String,
    /// Global Trade Item Number, 8 to 14 digits.
    #[serde(default)]
    pub gtin: Option<String>,
    /// Its title in Korean.
    #[serde(default)]
    pub title_ko: String,
    /// Its title in English.
    #[serde(default)]
    pub title_en: String,
    /// Where it stands among others, parts divided by `/`.
    #[serde(default)]
    pub category: String,
    /// What one costs, tax contained.
    pub price: String,
    /// Currency code.
    pub currency: String,
    /// Rate of the tax that the price contains, in basis points (1,000: a tenth on top of the net price).
    #[serde(default)]
    pub tax_bp: u16,
    /// Whether it is counted; `counted` when absent.
    #[serde(default)]
    pub tracking: Tracking,
    /// Whether it can be ordered; it can when absent.
    #[serde(default = "yes")]
    pub on_sale: bool,
}

fn yes() -> bool {
    true
}

/// Whether an article is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// There is always enough.
    Untracked,
    /// What is not there is not sold.
    #[default]
    Counted,
    /// So many more than there are can be sold, at each place.
    Backorder(u32),
}

/// An article that was added or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PutArticle {
    /// Its SKU.
    pub sku: String,
    /// Its id, which stays.
    #[schema(value_type = u32)]
    pub article: ArticleId,
}

/// An article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Article {
    /// Its id.
    #[schema(value_type = u32)]
    pub id: ArticleId,
    /// Name of the account that sells it.
    pub merchant: String,
    /// What the merchant calls it.
    pub sku: String,
    /// Global Trade Item Number.
    pub gtin: Option<String>,
    /// Its title in Korean.
    pub title_ko: String,
    /// Its title in English.
    pub title_en: String,
    /// Where it stands among others.
    pub category: String,
    /// What one costs, tax contained.
    pub price: String,
    /// Currency code.
    pub currency: String,
    /// Rate of the contained tax, in basis points.
    pub tax_bp: u16,
    /// Whether it is counted.
    pub tracking: Tracking,
    /// Whether it can be ordered.
    pub on_sale: bool,
    /// What lies where; for its merchant, storefronts and operators.
    pub stock: Option<Vec<Shelf>>,
}

/// What lies at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shelf {
    /// Which place.
    #[schema(value_type = u32)]
    pub place: PlaceId,
    /// How many are there.
    pub on_hand: u32,
    /// How many of them are promised.
    pub reserved: u32,
}

/// A page of articles, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Articles {
    /// The articles; there may be none on a page that is not the last.
    pub articles: Vec<Article>,
    /// Give this as `after` to read on; none at the end.
    #[schema(value_type = Option<u32>)]
    pub next: Option<ArticleId>,
}

/// A change of what there is of an article; its merchant only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStock {
    /// The article's id.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    pub article: Option<ArticleId>,
    /// Its SKU, when no id is given.
    #[serde(default)]
    pub sku: Option<String>,
    /// Where: a number from 1 that the merchant chooses.
    #[schema(value_type = u32)]
    pub place: PlaceId,
    /// What changes.
    pub change: StockChange,
}

/// How stock changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StockChange {
    /// So many more came.
    Receive(u32),
    /// So many are there, as was counted.
    Count(u32),
    /// So many went to another place.
    Move {
        /// How many.
        quantity: u32,
        /// Where to.
        #[schema(value_type = u32)]
        to: PlaceId,
    },
    /// So many more, or fewer, than was thought.
    Correct(i32),
}

/// An order to place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// The caller's own id for it, 1 to 64 bytes: sent again, it is the same order. A UUID is the same order in
    /// whatever form it is sent, here or as 16 bytes over Arrow Flight. When absent, `Idempotency-Key` and the place in
    /// the list stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who buys and pays; the caller when absent. Others than the caller need the role storefront.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Party>,
    /// Currency code.
    pub currency: String,
    /// What the customer was shown and agreed to pay.
    pub total: String,
    /// The code of a coupon that the customer has. Of it and the merchant's promotions, the one that takes most off
    /// applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<String>,
    /// From where it is to be sent; from wherever there is enough when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub place: Option<PlaceId>,
    /// When it is paid; `now` when absent.
    #[serde(default)]
    pub pay: Pay,
    /// What is bought: 1 to 255 lines of one merchant's articles.
    pub lines: Vec<NewLine>,
}

/// When an order is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pay {
    /// When it is placed.
    #[default]
    Now,
    /// In a step of its own; until then its stock is reserved for as long as its merchant says.
    Later,
}

/// So many of an article, named by its id, or by its merchant and SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    /// The article's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub article: Option<ArticleId>,
    /// Who sells it, when no id is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Party>,
    /// What its merchant calls it, when no id is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// How many.
    pub quantity: u32,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderResult {
    /// Whether it was placed.
    pub status: OrderStatus,
    /// Its number, if it was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub order: Option<OrderId>,
    /// Why not: a stable short code, such as `not_enough_stock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<Cow<'static, str>>,
    /// Why not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether an order was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// It was.
    Placed,
    /// It was not, and nothing changed.
    Refused,
}

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: OrderId,
    /// Name of the account that buys.
    pub customer: String,
    /// Name of the account that sells.
    pub merchant: String,
    /// Where it stands: `placed`, `paid`, `allocated`, `partly_shipped`, `shipped`, `delivered`, `completed`,
    /// `cancelled`, `expired`, `return_requested`, `returned`, `refunded`.
    pub state: String,
    /// Currency code.
    pub currency: String,
    /// What it costs altogether, less the discount.
    pub total: String,
    /// What a coupon or a promotion takes off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<String>,
    /// The number of that coupon or promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub coupon: Option<CouponId>,
    /// The tax that is contained in it.
    pub tax: String,
    /// What the platform takes of it.
    pub fee: String,
    /// Whether all of its money was paid to its merchant.
    pub settled: bool,
    /// How much of it was, so far.
    pub paid_out: String,
    /// How much of that went back to its customer.
    pub refunded: String,
    /// When it was placed.
    pub placed_ms: u64,
    /// When it does by itself what is next: it expires, is taken to have arrived, or is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// Until when it can be returned, once it has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_until_ms: Option<u64>,
    /// What is bought, one line for each article.
    pub lines: Vec<OrderLine>,
    /// What was sent of it; the first is number 1. Forgotten two days after all is over.
    pub parcels: Vec<Parcel>,
}

/// So many of an article from one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    /// The article.
    #[schema(value_type = u32)]
    pub article: ArticleId,
    /// What its merchant calls it.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// What one costs, as it was when it was ordered.
    pub price: String,
    /// From where; 0: nowhere, it is not counted.
    #[schema(value_type = u32)]
    pub place: PlaceId,
    /// How many were sent.
    pub shipped: u32,
    /// How many of them the customer wants to give back.
    pub to_return: u32,
    /// How many the merchant has back.
    pub returned: u32,
}

/// What was sent at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Parcel {
    /// Its number, from 1 in each order.
    #[schema(value_type = u32)]
    pub parcel: ParcelId,
    /// Name of the account that carries it.
    pub carrier: String,
    /// What the carrier calls it; may be empty.
    pub tracking: String,
    /// When it was sent.
    pub sent_ms: u64,
    /// When it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_ms: Option<u64>,
    /// What its carrier reported last: an event code of the Universal Postal Union (M40).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<String>,
    /// What that means: `accepted`, `in_transit`, `customs`, `at_delivery_office`, `out_for_delivery`,
    /// `delivery_attempted`, `ready_to_collect`, `delivered`, `returned_to_sender`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What is in it.
    pub lines: Vec<SomeOf>,
}
