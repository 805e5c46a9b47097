//! What a witness is asked and when it agrees (C2SP tlog-witness).

use std::fmt;

use crate::text::{Malformed, decimal, take_line};
use crate::{Checkpoint, Note, NoteError, TreeHash, Unproven, VerifierKey, verify_consistency};

const WHAT: &str = "add-checkpoint request";
/// Most lines of a consistency proof that a request may have.
const HASHES_MAX: usize = 63;

/// A request to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness is thought to have cosigned last; 0 for none.
    pub old: u64,
    /// That the new tree continues that one.
    pub proof: Vec<TreeHash>,
    /// The new checkpoint, signed by its log.
    pub checkpoint: Note,
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// The request is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// This witness does not know the log.
    #[error("no key of the log '{origin}' is known to this witness: its operator must add one")]
    UnknownLog {
        /// What the checkpoint calls it.
        origin: String,
    },
    /// Not signed by a known key of the log.
    #[error(transparent)]
    NotSigned(#[from] NoteError),
    /// The old size is larger than the new one.
    #[error("the old size {old} is above that of the checkpoint, {size}")]
    OldAboveNew {
        /// What the request says.
        old: u64,
        /// What the checkpoint says.
        size: u64,
    },
    /// The witness has cosigned another tree last.
    #[error("the last checkpoint cosigned has {size} leaves")]
    Conflict {
        /// Its size: ask again with a proof from there.
        size: u64,
    },
    /// Another tree of the same size has been cosigned: the log shows two histories.
    #[error("a tree of {size} leaves with another hash has been cosigned: the log shows two histories")]
    Fork {
        /// The size of both.
        size: u64,
    },
    /// The proof does not show that the new tree continues the old one.
    #[error(transparent)]
    Unproven(#[from] Unproven),
}

impl WitnessRefusal {
    /// The HTTP status that stands for it.
    pub fn status(&self) -> u16 {
        match self {
            WitnessRefusal::Malformed(_) | WitnessRefusal::OldAboveNew { .. } => 400,
            WitnessRefusal::NotSigned(_) => 403,
            WitnessRefusal::UnknownLog { .. } => 404,
            WitnessRefusal::Conflict { .. } | WitnessRefusal::Fork { .. } => 409,
            WitnessRefusal::Unproven(_) => 422,
        }
    }
}

impl AddCheckpoint {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(body: &str) -> Result<AddCheckpoint, Malformed> {
        let mut rest = body;
        let first = take_line(WHAT, &mut rest)?;
        let old = first
            .strip_prefix("old ")
            .ok_or_else(|| Malformed::new(WHAT, "it must begin with 'old SIZE'"))?;
        let old = decimal(WHAT, old)?;
        let mut proof = Vec::new();
        loop {
            match take_line(WHAT, &mut rest)? {
                "" => break,
                _ if proof.len() == HASHES_MAX => {
                    return Err(Malformed::new(WHAT, format!("it has more than {HASHES_MAX} hashes")));
                }
                hash => proof.push(TreeHash::parse(hash)?),
            }
        }
        Ok(AddCheckpoint { old, proof, checkpoint: Note::parse(rest)? })
    }

    /// Whether a witness may cosign. `keys` are those of all logs that it knows; `latest` tells size and hash
    /// of the last tree of a log that it cosigned, if any.
    ///
    /// Whoever gets `Ok` must keep the checkpoint durably as the latest before it signs, and must not ask for
    /// another of the same log in between.
    ///
    /// # Errors
    /// In the order of the specification: unknown log, not signed, sizes, history.
    pub fn check<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
        latest: impl FnOnce(&str) -> Option<(u64, TreeHash)>,
    ) -> Result<Checkpoint, WitnessRefusal> {
        let new = Checkpoint::parse(self.checkpoint.text())?;
        let keys: Vec<&VerifierKey> = keys.into_iter().filter(|key| key.name() == new.origin).collect();
        if keys.is_empty() {
            return Err(WitnessRefusal::UnknownLog { origin: new.origin });
        }
        self.checkpoint.verify(keys)?;
        if self.old > new.size {
            return Err(WitnessRefusal::OldAboveNew { old: self.old, size: new.size });
        }
        let (size, root) = latest(&new.origin).unwrap_or_else(|| (0, TreeHash::empty()));
        if self.old != size {
            return Err(WitnessRefusal::Conflict { size });
        }
        if size == new.size && root != new.root {
            return Err(WitnessRefusal::Fork { size });
        }
        verify_consistency(size, root, new.size, new.root, &self.proof)?;
        Ok(new)
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
