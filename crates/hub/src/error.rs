//! Why a hub cannot start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pumasi_blobs::BlobError;
use pumasi_core::CodecError;
use pumasi_log::{LogError, Seq, SnapshotError};

use crate::cell::JournalError;

/// Why a hub cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log.
    #[error("cannot open the log: {0}")]
    Log(#[from] LogError),
    /// The snapshots.
    #[error("cannot use the snapshots: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The blobs.
    #[error("cannot open the blob store: {0}")]
    Blobs(#[from] BlobError),
    /// The journal.
    #[error("cannot open the journal of transfers: {0}")]
    Journal(#[from] JournalError),
    /// An entry or snapshot that this program cannot read.
    #[error("cannot replay entry {seq} of the log: {source}")]
    Replay {
        /// Which entry; 0 is the snapshot.
        seq: Seq,
        /// Why not.
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
    /// A file of the data folder.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificate.
    #[error("cannot use the certificate {}: {problem}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cell stopped while the hub was running.
    #[error("the hub stopped: {0}")]
    Stopped(String),
}

impl ServeError {
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServeError {
        let path = path.to_owned();
        move |source| ServeError::File { operation, path, source }
    }
}
