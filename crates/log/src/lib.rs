//! The durable, append-only log of a cell: the only truth, synchronous and without a runtime.
//!
//! [`Log`] is what a sequencer needs; [`FileLog`] is its embedded home, a directory of segment files
//! whose bytes [`format`](mod@format) describes. [`conformance`] holds the checks that any other home
//! must pass. [`SnapshotStore`] keeps states that shorten a restart, [`verify()`] and [`show`] look at
//! a log without touching it.
//!
//! # Promises
//!
//! - What [`Log::wait`] confirmed survives a crash of the process, the kernel and the power.
//! - Every entry is checked when it is read: its own hash, its place, and the hash of the entry before.
//! - A failed write or sync stops the log for good; it is never tried again, because after a failed
//!   sync nobody knows what the disk holds (Rebello et al., "Can Applications Recover from fsync
//!   Failures?", USENIX ATC 2020).

mod buffer;
pub mod conformance;
mod damage;
mod dir;
mod direct;
pub mod disk;
mod error;
mod failure;
mod file;
pub mod format;
mod growing;
mod mark;
mod recover;
mod snapshot;
mod space;
mod sparse;
mod verify;
mod walk;
mod writer;

use bytes::Bytes;
use pumasi_types::{Hash, Time};

pub use damage::Damage;
pub use direct::DirectWriter;
pub use disk::{Disk, DiskFile, RealDisk, remedy};
pub use error::LogError;
pub use failure::FirstFailure;
pub use file::{FileLog, FileLogOptions, Note, Opened};
pub use growing::Growing;
pub use snapshot::{FoundSnapshot, Snapshot, SnapshotError, SnapshotFile, SnapshotStore};
pub use sparse::write_sparse;
pub use verify::{Report, SegmentReport, UnfinishedTail, show, show_on, verify, verify_on};

/// The place of an entry in its log, counted from 1; 0 stands before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);

    /// The place after this one.
    ///
    /// # Panics
    /// After 2^64 − 1 entries, which no log reaches.
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// The reign of one writer: every opening for writing gets a higher one, and its entries carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// What identifies an entry, and with it everything before: a position in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The entry's place; [`Seq::ZERO`] when the log is empty.
    pub seq: Seq,
    /// Whose entry it is.
    pub epoch: Epoch,
    /// When it was stamped.
    pub time: Time,
    /// The entry's hash; [`Hash::ZERO`] when the log is empty.
    pub hash: Hash,
}

impl Head {
    /// What a line begins with that names an entry.
    const LINE: &str = "pumasi-log ";

    /// Place and hash as a line of text, `pumasi-log SEQ HASH`: whoever signs it vouches for all up to there.
    pub fn to_line(&self) -> String {
        format!("{}{} {}", Head::LINE, self.seq, self.hash)
    }

    /// Place and hash in a line that [`Head::to_line`] wrote; `None` for any other line.
    pub fn named_in(line: &str) -> Option<(Seq, Hash)> {
        let (seq, hash) = line.strip_prefix(Head::LINE)?.split_once(' ')?;
        Some((Seq(seq.parse().ok()?), hash.parse().ok()?))
    }
}

/// One batch of commands in the log, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// Whose entry it is; never lower than that of the entry before.
    pub epoch: Epoch,
    /// When it was stamped; never before the entry before.
    pub time: Time,
    /// The hash of the entry before; [`Hash::ZERO`] for the first.
    pub prev: Hash,
    /// BLAKE3 over all of the above, the cell and the payload.
    pub hash: Hash,
    /// What the sequencer appended.
    pub payload: Bytes,
}

impl Entry {
    /// The position that the log is at after this entry.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, epoch: self.epoch, time: self.time, hash: self.hash }
    }
}

/// Entries in order, each checked before it is handed out; ends after the first error.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, LogError>> + Send>;

/// A durable log with one writer.
///
/// The handle is the writer: an opener with a newer epoch fences it, after which [`Log::submit`] or at
/// the latest [`Log::wait`] fails and nothing of it enters the log any more.
pub trait Log: Send {
    /// The last entry submitted, durable or not.
    fn head(&self) -> Head;

    /// The epoch that the entries of this handle carry.
    fn epoch(&self) -> Epoch;

    /// The last entry known to be durable.
    fn durable(&self) -> Seq;

    /// The oldest entry still kept; the place of the next entry when none is.
    fn first(&self) -> Seq;

    /// The largest payload that one entry can carry, in bytes.
    fn payload_bytes_max(&self) -> u64;

    /// Starts the append of one entry and returns its place; entries become durable in this order.
    ///
    /// Returns before the entry is durable. It only blocks while too many bytes wait to be written.
    ///
    /// # Errors
    /// Leaves the log as it was with [`LogError::TimeRunsBackwards`], [`LogError::TooLarge`] and
    /// [`LogError::DiskFull`]; any other error means that the log has stopped.
    fn submit(&mut self, time: Time, payload: &[u8]) -> Result<Seq, LogError>;

    /// Blocks until the entry at `seq`, and so all before it, is durable.
    ///
    /// # Errors
    /// [`LogError::NotSubmitted`] when there is no such entry; any other error means that the log has
    /// stopped and that the entry may or may not be there after the next start.
    fn wait(&mut self, seq: Seq) -> Result<(), LogError>;

    /// The entries from `from` to the last one durable now; none when `from` is beyond that.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] when `from` is older than [`Log::first`] ([`Seq::ZERO`] means the entry 1).
    fn read(&self, from: Seq) -> Result<Entries, LogError>;

    /// Allows the log to forget entries before `before`, as far as that is cheap.
    ///
    /// Never forgets `before` itself, nor the last durable entry's position, time and hash.
    ///
    /// # Errors
    /// When files cannot be removed; the log itself goes on.
    fn trim(&mut self, before: Seq) -> Result<(), LogError>;
}
