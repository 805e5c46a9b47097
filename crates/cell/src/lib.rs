//! One cell of a hub: the log, the state that the log makes, and the step between them.
//!
//! [`Cell::step`] takes a [`Batch`] of requests: encode, stamp, append, apply, write what is derived, wait until
//! all is durable, and only then let answers and messages out through an [`Outlet`]. Time and seeds come as
//! arguments and no thread in here decides anything, so that a hub's loop and a simulator drive the same steps.
//! [`restore()`] makes state from disk, [`SnapshotWork`] a snapshot without stopping the cell, and [`link`]
//! turns what workers say into requests.

mod archive;
mod cell;
mod derived;
mod error;
mod journal;
pub mod link;
mod outbox;
mod pipe;
mod restore;
mod snapshots;

pub use archive::{Archive, ArchiveError};
pub use cell::{Batch, Cell, ENTRY_BYTES, Look, REQUEST_BYTES_MAX, Settled};
pub use derived::Derived;
pub use error::CellFailure;
pub use journal::{Journal, JournalError, JournalReader, Kept};
pub use outbox::Outlet;
pub use restore::{Restored, restore};
pub use snapshots::SnapshotWork;
