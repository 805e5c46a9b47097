//! Words of the domain as types: ids, money, time, hashes and units.
//!
//! Nothing here decides anything; it only makes it impossible to add seconds to credits.

mod hash;
mod id;
mod money;
mod path;
mod task;
mod time;
mod units;

pub use hash::{Hash, ParseHashError};
pub use id::{
    AccountId, ArticleId, CellId, CouponId, DownloadId, EventId, FileId, HoldId, JobId, LinkId, NoticeId,
    OrderId, ParcelId, ParseIdError, PlaceId, RequestId, RunId, SalesId, SpaceId, TaskIndex, TransferId,
    UploadId, VersionId, WebhookId, WorkerId,
};
pub use money::{Amount, Currency, MoneyError, Price};
pub use path::{BadPath, FilePath};
pub use task::{Ending, Limits, Trap};
pub use time::{Duration, Hour, Time};
pub use units::{ByteSize, EngineId, EngineTag, Fuel, ParseUnitError, Speed};
