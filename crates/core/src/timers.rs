//! What is due when, in log time.

use std::collections::BTreeSet;

use pumasi_types::{
    AccountId, CouponId, DownloadId, HoldId, JobId, LinkId, OrderId, SpaceId, Time, UploadId, WorkerId,
};
use serde::{Deserialize, Serialize};

/// Something that happens by itself when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// A hold expires.
    Hold(HoldId),
    /// A job's deadline passes.
    Deadline(JobId),
    /// Runs of a worker may be overdue.
    Overdue(WorkerId),
    /// A finished job is forgotten.
    ForgetJob(JobId),
    /// Findings of an owner may have waited too long for a check.
    Tab(AccountId),
    /// A worker that only failed is tried again.
    Retry(WorkerId),
    /// An order does by itself what is next: it expires, is completed, or is over.
    Order(OrderId),
    /// A coupon is over, or is forgotten.
    Coupon(CouponId),
    /// Something that was removed or overwritten in a space was kept for long enough.
    Space(SpaceId),
    /// A link ends.
    Link(LinkId),
    /// An upload lay idle for too long.
    Upload(UploadId),
    /// A download that is over is forgotten.
    Download(DownloadId),
}

/// Timers in the order in which they are due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, when: Time, timer: Timer) {
        self.0.insert((when, timer));
    }

    pub(crate) fn clear(&mut self, when: Time, timer: Timer) {
        self.0.remove(&(when, timer));
    }

    /// Whether this is due then.
    pub(crate) fn has(&self, when: Time, timer: Timer) -> bool {
        self.0.contains(&(when, timer))
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, Timer)> {
        self.0.iter().copied()
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(when, _)| *when)
    }

    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (when, _) = self.0.first()?;
        if *when > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
