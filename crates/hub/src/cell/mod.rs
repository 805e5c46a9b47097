//! A cell: the log, the state that the log makes, and the loop between them.

mod handle;
mod journal;
mod outbox;
mod replay;
mod sequencer;
mod snapshots;

pub(crate) use handle::{Cell, CellError};
pub use journal::{Journal, JournalError};
pub(crate) use outbox::{Letter, LinkSender, UNREAD};
pub(crate) use replay::restore;
pub(crate) use sequencer::{REQUEST_BYTES_MAX, Sequencer, SequencerOptions, now};
