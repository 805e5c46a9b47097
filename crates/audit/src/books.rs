//! The tree of transfers made anew, held against every checkpoint.

use std::collections::BTreeMap;

use pumasi_core::Transfer;
use pumasi_log::Seq;
use pumasi_proof::{Checkpoint, Frontier, Note, TreeHash};
use pumasi_types::Hash;

use crate::folder::Folder;
use crate::replay::Replay;
use crate::{AuditError, Finding};

/// An entry that was applied.
pub(crate) struct Settled {
    pub(crate) seq: Seq,
    pub(crate) hash: Hash,
    pub(crate) transfers: Vec<Transfer>,
}

/// What was seen so far: on disk, and as the right edge of the tree.
pub(crate) struct Books {
    pub(crate) folder: Folder,
    tree: Frontier,
    /// What all kept checkpoints claim, by the size of the tree.
    claims: BTreeMap<u64, TreeHash>,
}

impl Books {
    pub(crate) fn new(folder: Folder, tree: Frontier) -> Books {
        Books { folder, tree, claims: BTreeMap::new() }
    }

    /// How many transfers there are.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// How many checkpoints are kept.
    pub(crate) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// How many transfers were signed.
    pub(crate) fn signed(&self) -> u64 {
        self.claims.last_key_value().map_or(0, |(size, _)| *size)
    }

    /// A checkpoint claims a tree.
    pub(crate) fn claim(&mut self, checkpoint: &Checkpoint, note: &Note) -> Result<(), Finding> {
        let (size, second) = (checkpoint.size, checkpoint.root);
        let first = *self.claims.entry(size).or_insert(second);
        if first == second {
            return Ok(());
        }
        Err(Finding::Forked { size, first, second, note: note.to_string() })
    }

    /// Holds a claim about what is here already against it.
    pub(crate) fn check_kept(&self, size: u64) -> Result<(), AuditError> {
        if size <= self.size() {
            self.check_root(size, self.folder.root(size)?)?;
        }
        Ok(())
    }

    /// Keeps what an entry settled.
    pub(crate) fn book(&mut self, settled: &Settled) -> Result<(), AuditError> {
        self.folder.keep_entry(settled.seq, settled.hash)?;
        self.folder.keep_transfers(&settled.transfers)?;
        for transfer in &settled.transfers {
            self.tree.push(TreeHash::of_leaf(&transfer.to_record()), |_, _| ());
            if self.claims.contains_key(&self.tree.size()) {
                self.check_root(self.tree.size(), self.tree.root())?;
            }
        }
        Ok(())
    }

    fn check_root(&self, size: u64, made: TreeHash) -> Result<(), Finding> {
        match self.claims.get(&size) {
            Some(signed) if *signed != made => Err(Finding::OtherTree { size, signed: *signed, made }),
            _ => Ok(()),
        }
    }

    /// Makes everything durable.
    pub(crate) fn save(&mut self, replay: &Replay) -> Result<(), AuditError> {
        self.folder.save(replay.state(), replay.head(), &self.tree)
    }
}
