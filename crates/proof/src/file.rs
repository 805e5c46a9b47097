//! Proof files: a leaf's place in a log, checked without any connection (C2SP tlog-proof).

use std::fmt;

use crate::text::{Malformed, decimal, from_base64, take_line, to_base64};
use crate::{Checkpoint, Note, TreeHash, Unproven, verify_inclusion};

const WHAT: &str = "proof file";
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves has no longer proofs.
const HASHES_MAX: usize = 64;

/// That a leaf is in a log's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    /// What the application adds. Nothing vouches for it unless the leaf's hash is made from it.
    pub extra: Option<Vec<u8>>,
    /// The leaf's place, from 0.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<TreeHash>,
    /// The signed checkpoint of the tree.
    pub checkpoint: Note,
}

impl ProofFile {
    /// Reads a proof file; nothing in it is checked yet.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<ProofFile, Malformed> {
        let mut rest = text;
        if take_line(WHAT, &mut rest)? != FIRST_LINE {
            return Err(Malformed::new(WHAT, format!("its first line must be '{FIRST_LINE}'")));
        }
        let mut line = take_line(WHAT, &mut rest)?;
        let mut extra = None;
        if let Some(data) = line.strip_prefix("extra ") {
            extra = Some(from_base64(WHAT, data)?);
            line = take_line(WHAT, &mut rest)?;
        }
        let index =
            line.strip_prefix("index ").ok_or_else(|| Malformed::new(WHAT, "no line says the index"))?;
        let index = decimal(WHAT, index)?;
        let mut hashes = Vec::new();
        loop {
            match take_line(WHAT, &mut rest)? {
                "" => break,
                _ if hashes.len() == HASHES_MAX => {
                    return Err(Malformed::new(WHAT, format!("it has more than {HASHES_MAX} hashes")));
                }
                hash => hashes.push(TreeHash::parse(hash)?),
            }
        }
        Ok(ProofFile { extra, index, hashes, checkpoint: Note::parse(rest)? })
    }

    /// What the checkpoint says; its signatures are another matter, see [`Policy`](crate::Policy).
    ///
    /// # Errors
    /// When the note's text is no checkpoint.
    pub fn claimed(&self) -> Result<Checkpoint, Malformed> {
        Checkpoint::parse(self.checkpoint.text())
    }

    /// Checks that a leaf with this hash is in the tree of the checkpoint.
    ///
    /// # Errors
    /// When the proof does not show it.
    pub fn verify_leaf(&self, leaf: TreeHash, checkpoint: &Checkpoint) -> Result<(), Unproven> {
        verify_inclusion(leaf, self.index, checkpoint.size, checkpoint.root, &self.hashes)
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
