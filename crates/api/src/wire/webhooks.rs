//! JSON bodies of webhooks: where events are sent, and what is sent there.

use pumasi_types::{EventId, WebhookId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where events are to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Begins with `https://`; what is sent there follows Standard Webhooks 1.0.0.
    pub url: String,
    /// Which types of events, such as `order.shipped`; all when absent or empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Whose events: the caller's as a merchant or as a carrier. Needed by who is both; it stays.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub party: Option<Seller>,
}

/// Whose events a webhook is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Seller {
    /// Those of who sells.
    Merchant,
    /// Those of who carries.
    Carrier,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Its number.
    #[schema(value_type = u32)]
    pub id: WebhookId,
    /// Where events are sent to.
    pub url: String,
    /// Which types of events.
    pub types: Vec<String>,
    /// Whose events.
    #[serde(rename = "as")]
    pub party: Seller,
    /// What its receiver checks signatures with, `whsec_` and base64; for its owner, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Up to which event everything was taken, waits, or is dead.
    #[schema(value_type = u64)]
    pub passed: EventId,
    /// How many events wait to be tried again.
    pub waiting: u32,
    /// How many events were given up.
    pub dead: u32,
    /// Since when it took nothing, if it did not take what came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<u64>,
    /// Why nothing is sent: `gone`, `failing`, `too_many_dead`. Put it again to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
}

/// The webhooks of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// All of them.
    pub webhooks: Vec<Webhook>,
}

/// An event that was given up, or waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Letter {
    /// Which event.
    #[schema(value_type = u64)]
    pub event: EventId,
    /// How often it was tried.
    pub tries: u8,
    /// When it was given up, or is tried next.
    pub at_ms: u64,
    /// Why it was not taken last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a webhook did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// What was given up, oldest first.
    pub dead: Vec<Letter>,
    /// What is tried again, oldest first.
    pub waiting: Vec<Letter>,
}

/// What is to be sent again: all that was given up, unless one of these says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// This event only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub event: Option<EventId>,
    /// Everything after this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub since: Option<EventId>,
}
