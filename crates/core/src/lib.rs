//! The machines of Pumasi: ledger, compute and market, as one pure state that log entries change.
//!
//! [`State::apply`] is the only way the state changes, and the log is the only truth: a restart, a
//! follower, an audit and a simulation all call it with the same entries and get the same state, the same
//! answers and the same [`Effects`]. There is no clock, randomness, file, socket or thread in this crate;
//! `clippy.toml` and `Cargo.toml` see to it.
//!
//! Entry points: [`State`] (what to call), [`Command`] (what can be asked), [`Refusal`] (what can be
//! answered instead), [`Effects`] (what the hub has to do afterwards).

mod access;
mod bounds;
mod codec;
mod command;
mod compute;
mod effects;
mod files;
#[cfg(test)]
mod growth;
mod index;
mod ledger;
mod market;
mod pages;
mod record;
mod refusal;
mod requests;
mod state;
mod table;
mod timers;
mod tree;

pub use access::{Role, Roles};
pub use bounds::Bounds;
pub use codec::{
    CodecError, STATE_VERSION, decode_requests, decode_state, encode_request, encode_state, write_state,
};
pub use command::{Checks, Command, InputFile, JobSpec, Request, RunReport, WorkerSpec};
pub use compute::{Job, JobCounts, JobOutcome, JobState, Owner, Standing, Task, TaskState, Worker};
pub use effects::{Action, Assignment, Cause, Done, Effects, Transfer};
pub use files::{
    About, Access, Brought, Condition, Contents, Download, DownloadControl, DownloadReport, DownloadSource,
    DownloadSpec, DownloadState, FetchedFile, FileKind, FilePut, FileView, Files, FilesCommand, FilesDone,
    FilesRefusal, Link, Page, Placed, RootCursor, Roots as BlobRoots, Space, Totals, Trashed, Upload,
    UploadPart, Version,
};
pub use ledger::{Account, Balance, Books, Hold, Ledger};
pub use market::{
    ArchivePlace, Archived, ArchivedOrder, Article, ArticleSpec, ArticleText, BadBatch, BadScanCode, Coupon,
    CouponKind, CouponScope, CouponSpec, Course, Disabled, Event, EventKind, EventKinds, Failure, FeedView,
    Figure, Letter, Line, Market, MarketTerms, Order, OrderAnswer, OrderBatch, OrderLines, OrderRefusal,
    OrderSpec, OrderState, OrderStep, OrderView, Outcome, Parcel, ParcelStatus, Party, Progress, Rate,
    Replay, SalesHour, ScanCode, SettleAt, Shelf, Shipment, ShopTerms, StepKind, StockChange, Tracking,
    Webhook, WebhookReport, WebhookSpec,
};
pub use refusal::Refusal;
pub use state::{Answer, Applied, State};
