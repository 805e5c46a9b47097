//! Ids as types, so that a job is never taken for a worker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind} id: expected a whole number")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

/// Defines an id: a number that the hub gave out, written as that number.
macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident($repr:ty), $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<$name, ParseIdError> {
                text.parse().map($name).map_err(|_| ParseIdError {
                    kind: $kind,
                    text: text.chars().take(40).collect(),
                })
            }
        }
    };
}

define_id!(
    /// Owns money. 0 is the issuer of each currency, whose negative balance is all the money there is.
    AccountId(u64), "account"
);
define_id!(
    /// A step that an order took: its place in the journal of events, counted from 1.
    EventId(u64), "event"
);
define_id!(
    /// Something that a merchant sells; counted from 1.
    ArticleId(u32), "article"
);
define_id!(
    /// A shard of a hub with its own log and state.
    CellId(u32), "cell"
);
define_id!(
    /// A coupon or a promotion; counted from 1. 0 stands for none.
    CouponId(u32), "coupon"
);
define_id!(
    /// Money set aside for one purpose.
    HoldId(u64), "hold"
);
define_id!(
    /// An order of goods: its place among all that were ever asked for, refused ones too, counted from 1.
    OrderId(u64), "order"
);
define_id!(
    /// A parcel of an order; counted from 1 in each order.
    ParcelId(u32), "parcel"
);
define_id!(
    /// Where goods lie, a warehouse or a store; a number that its merchant chose, from 1.
    PlaceId(u32), "place"
);
define_id!(
    /// An order for computation; counted from 1.
    JobId(u64), "job"
);
define_id!(
    /// Where an account wants to be told of its events; counted from 1.
    WebhookId(u32), "webhook"
);
define_id!(
    /// One attempt of a task on one worker; counted from 1 over all jobs.
    RunId(u64), "run"
);
define_id!(
    /// What was sold of an article in an hour; its place in the journal of sales, counted from 1.
    SalesId(u64), "sales"
);
define_id!(
    /// A task's place in its job, counted from 0.
    TaskIndex(u32), "task"
);
define_id!(
    /// A settled movement of money; its place in the journal of transfers, counted from 1.
    TransferId(u64), "transfer"
);
define_id!(
    /// A machine that joined; counted from 1.
    WorkerId(u64), "worker"
);

define_id!(
    /// Files that belong together, with their own root, members and quota; counted from 1.
    SpaceId(u32), "space"
);
define_id!(
    /// A file or a folder: it keeps its id wherever it is moved; counted from 1 over all spaces.
    FileId(u64), "file"
);
define_id!(
    /// One content that a file had; counted from 1 over all spaces.
    VersionId(u64), "version"
);
define_id!(
    /// A link that lets whoever has it read a file or a folder; counted from 1.
    LinkId(u64), "link"
);
define_id!(
    /// A file that comes in parts; counted from 1.
    UploadId(u64), "upload"
);
define_id!(
    /// Something that the hub fetches from elsewhere; counted from 1.
    DownloadId(u64), "download"
);
define_id!(
    /// What an account is told of a download that is over; counted from 1 over all accounts.
    NoticeId(u64), "notice"
);

/// What a client calls its own request, so that sending it twice does it once.
///
/// 128 bits that the client chose (or that were hashed from a text that it chose), scoped to its account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_id_names_its_kind() {
        let error = "x7".parse::<JobId>().unwrap_err();
        assert_eq!(error.to_string(), "'x7' is not a valid job id: expected a whole number");
        assert_eq!("7".parse::<JobId>().unwrap(), JobId(7));
    }
}
