//! The log applied again: each entry follows the one before, and is the one that the hub signed.

use std::collections::BTreeMap;

use pumasi_core::{State, Transfer};
use pumasi_log::{Head, Seq};
use pumasi_types::Hash;

use crate::{AuditError, Decoded, Finding};

/// The auditor's own state.
pub(crate) struct Replay {
    state: State,
    head: Head,
    /// Entries that checkpoints name.
    named: BTreeMap<Seq, Hash>,
}

impl Replay {
    pub(crate) fn new(state: State, head: Head) -> Replay {
        Replay { state, head, named: BTreeMap::new() }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// The last entry that a checkpoint names.
    pub(crate) fn signed(&self) -> Seq {
        self.named.last_key_value().map_or(Seq::ZERO, |(seq, _)| *seq)
    }

    /// A checkpoint names an entry.
    pub(crate) fn name(&mut self, seq: Seq, hash: Hash) -> Result<(), Finding> {
        let first = *self.named.entry(seq).or_insert(hash);
        if first == hash { Ok(()) } else { Err(Finding::TwoEntries { seq, first, second: hash }) }
    }

    /// Applies the next entry; the transfers that it settles.
    pub(crate) fn apply(&mut self, decoded: &Decoded) -> Result<Vec<Transfer>, AuditError> {
        let Decoded { entry, requests } = decoded;
        if entry.seq != self.head.seq.next() || entry.prev != self.head.hash {
            let (seq, audited) = (self.head.seq, self.head.hash);
            return Err(Finding::NotContinued { seq, audited, prev: entry.prev }.into());
        }
        if entry.time < self.head.time || entry.epoch < self.head.epoch {
            return Err(Finding::Backwards { seq: entry.seq }.into());
        }
        if let Some(named) = self.named.get(&entry.seq) {
            check_entry(entry.seq, entry.hash, *named)?;
        }
        let applied = self.state.apply(entry.time, requests);
        self.head = entry.head();
        Ok(applied.effects.transfers)
    }
}

pub(crate) fn check_entry(seq: Seq, found: Hash, named: Hash) -> Result<(), Finding> {
    if found == named { Ok(()) } else { Err(Finding::OtherEntry { seq, signed: named, found }) }
}
