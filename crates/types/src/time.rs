//! Log time: nanoseconds since the Unix epoch, as stamped by a sequencer.

use serde::{Deserialize, Serialize};

/// A moment, in nanoseconds since 1970-01-01T00:00:00Z without leap seconds; ends in the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A span of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub u64);

/// A whole hour of time, UTC, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(pub u32);

impl Hour {
    /// How long it is.
    pub const LENGTH: Duration = Duration::from_secs(3600);

    /// When it begins.
    pub fn begin(self) -> Time {
        Time(u64::from(self.0).saturating_mul(Hour::LENGTH.0))
    }
}

impl Time {
    /// The hour in which it is.
    pub fn hour(self) -> Hour {
        // The end of time is five million hours away.
        Hour((self.0 / Hour::LENGTH.0) as u32)
    }

    /// The moment `span` later; the end of time when that is beyond it.
    pub fn after(self, span: Duration) -> Time {
        Time(self.0.saturating_add(span.0))
    }

    /// How long it is since `earlier`; nothing when that is in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// Whole milliseconds.
    pub const fn from_millis(ms: u64) -> Duration {
        Duration(ms.saturating_mul(1_000_000))
    }

    /// Whole seconds.
    pub const fn from_secs(s: u64) -> Duration {
        Duration(s.saturating_mul(1_000_000_000))
    }

    /// Whole milliseconds in it, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl From<Duration> for std::time::Duration {
    fn from(span: Duration) -> std::time::Duration {
        std::time::Duration::from_nanos(span.0)
    }
}
