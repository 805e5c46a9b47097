//! Proof of what was paid: the tree of settled transfers, its signed checkpoints and receipts from it.
//!
//! Folder `proof` in the data folder:
//!
//! | file | what |
//! |---|---|
//! | `key` | the private keys, the newest first; readable by its owner alone |
//! | `rotations` | how the keys followed each other, for everybody |
//! | `checkpoint` | the last checkpoint that was signed; never smaller or other than one signed before |
//! | `level-N` | the hashes of tile level N, 32 bytes each; derived from the journal of transfers |

mod builder;
mod keys;
mod levels;
mod witnesses;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pumasi_cell::{Journal, JournalError, Restored};
use pumasi_core::Transfer;
use pumasi_log::{Head, Log, LogError, Seq};
use pumasi_proof::{
    Checkpoint, Malformed, Note, ProofFile, TilePath, TreeHash, VerifierKey, prove_inclusion,
};
use pumasi_types::{Hash, TransferId};
use tokio::sync::watch;

pub(crate) use self::builder::{Builder, Source};
pub use self::keys::{KeyPair, ProofKeys};
pub(crate) use self::levels::Levels;
pub use self::witnesses::{ParseWitnessError, WitnessAddress};

/// Why transfers cannot be proven.
#[derive(Debug, thiserror::Error)]
pub enum ProofFailure {
    /// A file.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{} cannot be used: {problem}; restore it from a backup", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another origin than before.
    #[error(
        "this hub's proofs are of the origin '{is}', not '{wanted}': an origin is for ever; leave --origin out"
    )]
    OtherOrigin {
        /// What the key says.
        is: String,
        /// What was asked.
        wanted: String,
    },
    /// More was signed than there is.
    #[error(
        "a checkpoint of {signed} transfers was signed, but the log has only {settled}: it was restored from an \
         older backup or has lost entries, and going on would let two histories be signed. Restore the newer \
         log. If it is gone for good, move the folder {} away and start with a new --origin: whoever holds \
         receipts can check them with the old key", dir.display()
    )]
    SignedMore {
        /// Transfers in the last checkpoint.
        signed: u64,
        /// Transfers in the log.
        settled: u64,
        /// The folder of proofs.
        dir: PathBuf,
    },
    /// Another history than the one that was signed.
    #[error(
        "the log differs from the checkpoint of {signed} transfers that was signed: {difference}. Restore the log \
         that was signed. If it is gone for good, move the folder {} away and start with a new --origin", dir.display()
    )]
    Rewritten {
        /// Transfers in the last checkpoint.
        signed: u64,
        /// What differs.
        difference: String,
        /// The folder of proofs.
        dir: PathBuf,
    },
    /// A witness has seen more, or something else.
    #[error(
        "the witness {witness} has cosigned {seen}, but this hub's last checkpoint has {size} transfers: the data folder \
         was restored from an older backup, or another hub runs with the same key. Restore the newer folder. \
         If it is gone for good, start with a new --origin and tell everybody why"
    )]
    WitnessKnowsMore {
        /// Name of the witness.
        witness: String,
        /// What it has seen.
        seen: String,
        /// What this hub has.
        size: u64,
    },
    /// The hashes on disk are not those of the tree.
    #[error("the hashes in {} are damaged: stop the hub, remove the files level-*, and start it: they are made anew", dir.display())]
    DamagedLevels {
        /// The folder of proofs.
        dir: PathBuf,
    },
    /// The keys cannot be changed so.
    #[error("{0}")]
    Keys(String),
    /// The journal of transfers.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A text of ours that is not valid.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl ProofFailure {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProofFailure + use<> {
        let path = path.to_owned();
        move |source| ProofFailure::File { operation, path, source }
    }

    fn unusable(path: &Path, problem: impl std::fmt::Display) -> ProofFailure {
        ProofFailure::Unusable { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// A checkpoint as it is served.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// With all signatures.
    pub(crate) note: Note,
    /// What it says.
    pub(crate) checkpoint: Checkpoint,
}

/// Proofs for the gateways; cheap to clone.
#[derive(Clone)]
pub(crate) struct Prover {
    levels: Arc<Levels>,
    journal: Journal<Transfer>,
    published: watch::Receiver<Option<Arc<Published>>>,
    pub(crate) keys: Arc<[VerifierKey]>,
    pub(crate) rotations: Arc<str>,
}

impl Prover {
    /// The newest checkpoint; none in the first moments of a new hub.
    pub(crate) fn published(&self) -> Option<Arc<Published>> {
        self.published.borrow().clone()
    }

    /// The newest checkpoint once it covers this transfer, or the newest after `patience`.
    pub(crate) async fn covering(&self, transfer: TransferId, patience: Duration) -> Option<Arc<Published>> {
        let mut published = self.published.clone();
        let covers =
            |now: &Option<Arc<Published>>| now.as_ref().is_some_and(|now| now.checkpoint.size >= transfer.0);
        // Too late or never: the caller sees it in what there is.
        let _ = tokio::time::timeout(patience, published.wait_for(covers)).await;
        self.published()
    }

    /// The bytes of a tile of hashes, if the newest checkpoint needs it to be there.
    pub(crate) fn tile(&self, level: u8, path: &TilePath) -> Result<Option<Vec<u8>>, ProofFailure> {
        let size = self.published().map_or(0, |now| now.checkpoint.size);
        let there = TilePath::of_hashes(level, path.index, size);
        if there.is_none_or(|there| there.width < path.width) {
            return Ok(None);
        }
        self.levels.tile(level, path).map(Some)
    }

    /// A bundle of transfers, if the newest checkpoint needs it to be there.
    pub(crate) fn bundle(&self, path: &TilePath) -> Result<Option<Vec<u8>>, ProofFailure> {
        let size = self.published().map_or(0, |now| now.checkpoint.size);
        if TilePath::of_entries(path.index, size).is_none_or(|there| there.width < path.width) {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::from(path.width) * (2 + Transfer::RECORD_BYTES));
        self.journal.records(TransferId(path.first() + 1), path.width.into(), |record| {
            bytes.extend_from_slice(&(Transfer::RECORD_BYTES as u16).to_be_bytes());
            bytes.extend_from_slice(record);
        })?;
        Ok(Some(bytes))
    }

    /// The receipt of a transfer that `published` covers. The extra data is the transfer itself, so that the
    /// file can be checked alone, and the name of the engine, whose tag is in it.
    pub(crate) fn receipt(
        &self,
        transfer: &Transfer,
        engine: &str,
        published: &Published,
    ) -> Result<ProofFile, ProofFailure> {
        let (index, checkpoint) = (transfer.id.0 - 1, &published.checkpoint);
        let record = transfer.to_record();
        let file = ProofFile {
            extra: Some([&record[..], engine.as_bytes()].concat()),
            index,
            hashes: prove_inclusion(&*self.levels, index, checkpoint.size)?,
            checkpoint: published.note.clone(),
        };
        match file.verify_leaf(TreeHash::of_leaf(&record), checkpoint) {
            Ok(()) => Ok(file),
            Err(_) => Err(self.levels.damaged()),
        }
    }
}

/// The last entry whose transfers are in the tree: the extension line that binds the log.
pub fn bound_entry(checkpoint: &Checkpoint) -> Option<(Seq, Hash)> {
    checkpoint.extensions.iter().find_map(|line| Head::named_in(line))
}

/// Checks that what was signed before is still what the log says, and opens everything.
///
/// # Errors
/// When the log is not the one that was signed, or something cannot be read or written.
pub(crate) fn open<L: Log>(
    data: &Path,
    origin: Option<&str>,
    restored: &Restored<L>,
) -> Result<(Source, Option<Published>), ProofFailure> {
    let dir = data.join("proof");
    let keys = ProofKeys::open(data, origin)?;
    let signed = builder::read_checkpoint(&dir, &keys)?;
    let settled = restored.state.ledger().last_transfer().0;
    if let Some(signed) = &signed {
        let size = signed.checkpoint.size;
        if size > settled {
            return Err(ProofFailure::SignedMore { signed: size, settled, dir });
        }
        check_log(&restored.log, &signed.checkpoint).map_err(|difference| ProofFailure::Rewritten {
            signed: size,
            difference,
            dir: dir.clone(),
        })?;
    }
    let empty = Checkpoint { origin: String::new(), size: 0, root: TreeHash::empty(), extensions: vec![] };
    let checkpoint = signed.as_ref().map_or(&empty, |signed| &signed.checkpoint);
    let (levels, frontier) = Levels::open(&dir, checkpoint, &restored.derived.transfers)?;
    let source =
        Source { dir, keys, levels: Arc::new(levels), frontier, journal: restored.derived.transfers.clone() };
    Ok((source, signed))
}

/// Whether the log still has the entry that a checkpoint names. What was trimmed cannot be asked.
fn check_log<L: Log>(log: &L, checkpoint: &Checkpoint) -> Result<(), String> {
    let Some((seq, hash)) = bound_entry(checkpoint).filter(|(seq, _)| *seq > Seq::ZERO) else {
        return Ok(());
    };
    if seq > log.head().seq {
        return Err(format!("it names the entry {seq}, and the log ends at {}", log.head().seq));
    }
    if seq < log.first() {
        return Ok(());
    }
    let entry = log.read(seq).map_err(|error| error.to_string())?.next();
    match entry {
        Some(Ok(entry)) if entry.hash == hash => Ok(()),
        Some(Ok(entry)) => Err(format!("it names the hash {hash} for entry {seq}, which has {}", entry.hash)),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("it names the entry {seq}, which is not there")),
    }
}
