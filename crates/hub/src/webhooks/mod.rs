//! Webhooks: events that the hub brings to merchants and carriers, signed as Standard Webhooks say.
//!
//! The cell remembers how far each webhook is (`market/webhooks.rs` of the core). The [`Courier`] looks there what is to
//! be brought, brings it, and reports what came of it before it goes on: what was not reported is brought again.

mod courier;
mod post;
mod signature;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use pumasi_api::wire::market::FeedEvent;
use pumasi_core::{Event, Party};
use pumasi_types::Time;

pub(crate) use self::courier::Courier;
use self::target::Allowed;
use crate::feeds;

/// How a hub brings events to webhooks.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Whether they may have private addresses, and be on this machine.
    pub to_private: bool,
    /// Whether they may do without TLS.
    pub plain: bool,
    /// Certificates of authorities that are trusted besides the system's, in PEM.
    pub roots: Option<PathBuf>,
    /// How long after each try that failed the next one comes, more or less; after the last it is given up.
    pub retries: Vec<Duration>,
    /// How long a receiver may take until its answer begins, the connection included.
    pub patience: Duration,
}

impl Default for WebhookOptions {
    fn default() -> WebhookOptions {
        // The schedule that the specification gives as an example: ten tries in three days.
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let hours = |hours: u64| minutes(hours * 60);
        let mut retries = vec![Duration::from_secs(5), minutes(5), minutes(30)];
        retries.extend([2, 5, 10, 14, 20, 24].map(hours));
        // The specification says 15 to 30 s.
        let patience = Duration::from_secs(20);
        WebhookOptions { to_private: false, plain: false, roots: None, retries, patience }
    }
}

impl WebhookOptions {
    /// Where events may be sent.
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed { private: self.to_private, plain: self.plain }
    }
}

/// An event as it is sent: its type, when it happened, and the same as in the feed of whom it is sent to.
fn payload(event: &Event, party: Party) -> Vec<u8> {
    /// The payload that the specification recommends.
    #[derive(serde::Serialize)]
    struct Payload {
        #[serde(rename = "type")]
        kind: String,
        timestamp: String,
        data: FeedEvent,
    }

    let data = feeds::wire(event, party);
    let payload = Payload { kind: data.kind.clone(), timestamp: rfc3339(event.time), data };
    serde_json::to_vec(&payload).expect("an event is made of plain values")
}

/// A time as RFC 3339 has it.
fn rfc3339(time: Time) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}
