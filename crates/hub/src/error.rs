//! Why a hub cannot start or go on, and what others are told of its faults.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pumasi_blobs::BlobError;
use pumasi_cell::CellFailure;

use crate::proof::ProofFailure;

/// Why a hub cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The cell: its log, its snapshots or its journal.
    #[error("cannot restore the state: {0}")]
    Cell(#[from] CellFailure),
    /// The proofs of what was paid.
    #[error(transparent)]
    Proof(#[from] ProofFailure),
    /// The blobs.
    #[error("cannot open the blob store: {0}")]
    Blobs(#[from] BlobError),
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

/// What callers are told when the hub itself is at fault, while it was to do something: what is wrong stands in its
/// log, under a number, because it may tell of files and of other people.
pub(crate) fn fault(task: &str, problem: &dyn Display) -> String {
    let mut number = [0; 4];
    // Without random bytes the number is 0, and the log has the time.
    let _ = getrandom::fill(&mut number);
    let number = u32::from_le_bytes(number);
    tracing::error!("fault {number:08x}: cannot {task}: {problem}");
    format!("the hub could not {task}: tell its operator that it was fault {number:08x}")
}
