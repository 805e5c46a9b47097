//! JSON of feeds and of lists of orders.

use pumasi_types::{AccountId, EventId, OrderId, ParcelId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Order;

/// Most events in one answer.
pub const EVENTS_MAX: usize = 1_000;
/// Longest time that a request for events waits for the first, in seconds.
pub const WAIT_S_MAX: u64 = 60;

/// Events of a feed, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Feed {
    /// The events.
    pub events: Vec<FeedEvent>,
    /// What to ask for next as `after`: the last of these events, or what was asked for if there are none.
    #[schema(value_type = u64)]
    pub next: EventId,
    /// The newest event of the feed; 0: it has none. There are more events as long as it is larger than `next`.
    #[schema(value_type = u64)]
    pub last: EventId,
}

/// A step that an order took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedEvent {
    /// Its number, which stays: larger than those of all events before it. Who reads an event twice knows it by this.
    #[schema(value_type = u64)]
    pub id: EventId,
    /// `order.placed`, `order.paid`, `order.allocated`, `order.shipped`, `order.scanned`, `order.delivered`,
    /// `order.completed`, `order.cancelled`, `order.expired`, `order.return_requested`, `order.returned`,
    /// `order.return_refused`, `order.refunded`. More can come.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub time_ms: u64,
    /// The order.
    #[schema(value_type = u64)]
    pub order: OrderId,
    /// Where the order stands since.
    pub state: String,
    /// Id of the account that buys.
    #[schema(value_type = u64)]
    pub customer: AccountId,
    /// Id of the account that sells.
    #[schema(value_type = u64)]
    pub merchant: AccountId,
    /// The parcel that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub parcel: Option<ParcelId>,
    /// Id of the account that carries the parcel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub carrier: Option<AccountId>,
    /// What the carrier reported: an event code of the Universal Postal Union (M40).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<String>,
    /// What that means, as in an order's parcels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the order costs when it is placed or paid, what was paid out with a parcel, what went back to the customer;
    /// else 0. Carriers are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Currency code.
    pub currency: String,
    /// What to tell the customer; in a customer's feed only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// A text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// In Korean.
    pub ko: String,
    /// In English.
    pub en: String,
}

/// Orders, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orders {
    /// The orders.
    pub orders: Vec<Order>,
    /// What to ask for next as `before`; none when these were the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub next: Option<EventId>,
}
