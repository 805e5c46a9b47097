//! Why a cell cannot start or go on.

use pumasi_core::CodecError;
use pumasi_log::{LogError, Seq, SnapshotError};

use crate::{ArchiveError, JournalError};

/// Why a cell cannot start or go on. What it could not make durable was never answered.
#[derive(Debug, thiserror::Error)]
pub enum CellFailure {
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The snapshots.
    #[error("cannot use the snapshots: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A journal.
    #[error("cannot use a journal: {0}")]
    Journal(#[from] JournalError),
    /// The archive.
    #[error("cannot use the archive of orders: {0}")]
    Archive(#[from] ArchiveError),
    /// An entry or snapshot that this program cannot read.
    #[error("cannot replay entry {seq} of the log: {source}")]
    Replay {
        /// Which entry; 0 is the snapshot.
        seq: Seq,
        /// Why not.
        source: CodecError,
    },
    /// Another version wrote the newest snapshot, and the log does not make its state anew.
    #[error(
        "the log begins at entry {first}, so the state cannot be made anew from it, and the newest {source}, or restore \
         a log that was never trimmed"
    )]
    OtherVersion {
        /// The oldest entry in the log.
        first: Seq,
        /// Which version.
        source: CodecError,
    },
    /// The log and its snapshots do not belong together.
    #[error(
        "the newest snapshot ends at entry {snapshot}, but the log ends at {log}: restore the log from a backup"
    )]
    LogBehindSnapshot {
        /// Where the snapshot ends.
        snapshot: Seq,
        /// Where the log ends.
        log: Seq,
    },
    /// The snapshot is of another history than the log.
    #[error(
        "the state after entry {seq} does not continue with the log: move the folder `snapshots` away and start \
         again, or restore log and snapshots from the same backup"
    )]
    ForeignSnapshot {
        /// The last entry in the state.
        seq: Seq,
    },
}
