//! Why a log refuses or stops.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_types::{CellId, Time};

use crate::damage::REMEDY;
use crate::{Damage, Epoch, Seq};

/// Why a log refused a request or stopped. Cloning keeps the source, so a stopped log can repeat it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// There is no room for more entries. Nothing was written and nothing is lost.
    #[error(
        "the disk is full: cannot set {bytes} bytes aside in {}; nothing acknowledged is lost: free space \
         or trim the log, then try again",
        path.display()
    )]
    DiskFull {
        /// The file that found no room.
        path: PathBuf,
        /// How many bytes it needs.
        bytes: u64,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A write or sync failed: the log takes no more entries until it is opened again.
    #[error(
        "the log stopped after a failed write and must be opened again (entries up to {durable} are durable): \
         {source}"
    )]
    Stopped {
        /// The last entry known to be durable.
        durable: Seq,
        /// The failure.
        source: Arc<LogError>,
    },
    /// Another process has the log open for writing.
    #[error("the log in {} is in use by {}; stop it first", dir.display(), holder_text(*holder))]
    Locked {
        /// The log's directory.
        dir: PathBuf,
        /// The process that says it holds the lock.
        holder: Option<u32>,
    },
    /// A writer with a newer epoch has taken over.
    #[error("a newer writer (epoch {newer}) took over from this one (epoch {own}); it must not continue")]
    Fenced {
        /// The epoch of this handle.
        own: Epoch,
        /// The epoch that fenced it.
        newer: Epoch,
    },
    /// Stored bytes are not what was written.
    #[error("{0}; {REMEDY}")]
    Damaged(Box<Damage>),
    /// A file of the sequence of segments is not there.
    #[error(
        "the log in {} lacks the segment file that holds entry {seq}: {evidence}; restore it from a backup \
         or a follower of the same cell and start again",
        dir.display()
    )]
    MissingSegment {
        /// The log's directory.
        dir: PathBuf,
        /// An entry that it must hold.
        seq: Seq,
        /// How we know.
        evidence: String,
    },
    /// The file belongs to another cell.
    #[error(
        "{} belongs to cell {found}, not to cell {expected}; point the hub to the right data folder",
        path.display()
    )]
    ForeignCell {
        /// The file.
        path: PathBuf,
        /// The cell being opened.
        expected: CellId,
        /// The cell in the file.
        found: CellId,
    },
    /// The file was written by a newer release.
    #[error(
        "{} has format version {found}, this program knows versions up to {known}; start a newer release",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// An entry must not be older than the one before it.
    #[error(
        "an entry stamped {time:?} cannot follow one stamped {head:?}: the clock ran backwards; stamp it with the later time"
    )]
    TimeRunsBackwards {
        /// The time submitted.
        time: Time,
        /// The time of the last entry.
        head: Time,
    },
    /// The payload does not fit into a segment.
    #[error("a payload of {bytes} bytes is too large: at most {bytes_max}; split it or use larger segments")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest allowed.
        bytes_max: u64,
    },
    /// The entries asked for are gone.
    #[error("entry {from} was trimmed: the log begins at {first}; start from a snapshot that is newer")]
    Trimmed {
        /// The entry asked for.
        from: Seq,
        /// The oldest entry kept.
        first: Seq,
    },
    /// Nobody submitted this entry.
    #[error("entry {seq} was never submitted: the last one is {head}")]
    NotSubmitted {
        /// The entry waited for.
        seq: Seq,
        /// The last entry submitted.
        head: Seq,
    },
    /// The options cannot work.
    #[error("a segment of {bytes} bytes is not possible: choose {min} to {max} bytes")]
    SegmentSize {
        /// The size asked for.
        bytes: u64,
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl LogError {
    /// Whether the system said that there is no such file.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Names the operation and the file of a system error.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { operation, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Like [`LogError::io`] where `bytes` were to be set aside: no room has its own name.
    pub(crate) fn room(
        operation: &'static str,
        path: &Path,
        bytes: u64,
    ) -> impl FnOnce(io::Error) -> LogError {
        move |source| {
            let path = path.to_owned();
            let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let source = Arc::new(source);
            if full {
                LogError::DiskFull { path, bytes, source }
            } else {
                LogError::Io { operation, path, source }
            }
        }
    }
}
