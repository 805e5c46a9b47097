//! The auditor: an outsider who follows a hub's whole log and believes nothing else.
//!
//! It keeps every checkpoint that it was ever shown, applies the log's entries to a state of its own, makes the
//! tree of transfers anew, and compares the two. What it has seen once it can hold against the hub: a hub that
//! rewrites its history and signs it again contradicts an older checkpoint or the hashes of entries in the
//! auditor's folder, and [`Auditor::locate`] tells the first entry and the first transfer that differ.
//!
//! There is no network in here, and nothing of the hub: whoever drives it brings checkpoints and entries.

mod compare;
mod finding;
mod folder;
mod reader;

use std::collections::BTreeMap;
use std::path::Path;

use pumasi_core::{Request, State, decode_requests};
use pumasi_log::{Entry, Head, Seq};
use pumasi_proof::{Accepted, Checkpoint, Frontier, Note, Policy, TreeHash};
use pumasi_types::{Hash, TransferId};

pub use self::compare::Comparison;
pub use self::finding::{AuditError, Finding};
pub use self::reader::Reader;

use self::folder::Folder;

/// An entry that arrived, decoded: the part of the work that needs no order.
#[derive(Debug)]
pub struct Decoded {
    entry: Entry,
    requests: Vec<Request>,
}

impl Decoded {
    /// Decodes an entry's requests.
    ///
    /// # Errors
    /// When they are not requests of a version that this program reads.
    pub fn new(entry: Entry) -> Result<Decoded, AuditError> {
        let requests = decode_requests(&entry.payload)
            .map_err(|source| Finding::Unreadable { seq: entry.seq, source })?;
        Ok(Decoded { entry, requests })
    }

    /// How many commands it holds.
    pub fn commands(&self) -> usize {
        self.requests.len()
    }
}

/// What a checkpoint claims, to be held against the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    root: TreeHash,
    /// The entry that it was made at, if it says so.
    log: Option<(Seq, Hash)>,
}

/// Follows one hub.
pub struct Auditor {
    folder: Folder,
    policy: Policy,
    state: State,
    head: Head,
    tree: Frontier,
    /// What all kept checkpoints claim, by the size of the tree.
    claims: BTreeMap<u64, Claim>,
    /// Entries that checkpoints name.
    named: BTreeMap<Seq, Hash>,
}

impl Auditor {
    /// Opens or makes an auditor's folder and goes on from where it was saved.
    ///
    /// # Errors
    /// When the folder cannot be used, or what it holds does not fit together.
    pub fn open(dir: &Path, policy: Policy) -> Result<Auditor, AuditError> {
        let (folder, saved) = Folder::open(dir)?;
        let mut auditor = Auditor {
            folder,
            policy,
            state: saved.state,
            head: saved.head,
            tree: saved.tree,
            claims: BTreeMap::new(),
            named: BTreeMap::new(),
        };
        for (path, note) in auditor.folder.checkpoints()? {
            let checkpoint = Checkpoint::parse(note.text())
                .map_err(|error| AuditError::Damaged { path, problem: error.to_string() })?;
            auditor.claim(&checkpoint, &note)?;
        }
        Ok(auditor)
    }

    /// The last entry that was audited.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How many transfers were audited.
    pub fn transfers(&self) -> u64 {
        self.tree.size()
    }

    /// How many checkpoints are kept.
    pub fn checkpoints(&self) -> usize {
        self.claims.len()
    }

    /// What the log makes, up to [`Auditor::head`].
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in a checkpoint: checks who signed it, keeps it for ever, and holds it against all others and
    /// against what was audited so far.
    ///
    /// # Errors
    /// When it is not signed as the policy asks, or contradicts what was seen before.
    pub fn take_checkpoint(&mut self, note: &Note) -> Result<Accepted, AuditError> {
        let accepted = self.policy.accept(note).map_err(Finding::NotAccepted)?;
        let checkpoint = &accepted.checkpoint;
        // First kept, then judged: a checkpoint that contradicts is the evidence.
        self.folder.keep_checkpoint(checkpoint, note)?;
        let audited = self.claims.last_key_value().map_or(0, |(size, _)| *size);
        self.claim(checkpoint, note)?;
        if checkpoint.size < audited {
            return Err(Finding::Shrunk { size: checkpoint.size, kept: audited }.into());
        }
        if checkpoint.size <= self.tree.size() {
            let root = self.folder.root(checkpoint.size)?;
            self.check_root(checkpoint.size, root)?;
        }
        if let Some((seq, hash)) = log_line(checkpoint).filter(|(seq, _)| *seq <= self.head.seq) {
            self.check_entry(seq, self.folder.entry_hash(seq)?, hash)?;
        }
        Ok(accepted)
    }

    /// Remembers what a checkpoint says.
    fn claim(&mut self, checkpoint: &Checkpoint, note: &Note) -> Result<(), AuditError> {
        let claim = Claim { root: checkpoint.root, log: log_line(checkpoint) };
        if let Some((seq, hash)) = claim.log {
            let named = *self.named.entry(seq).or_insert(hash);
            if named != hash {
                return Err(Finding::TwoEntries { seq, first: named, second: hash }.into());
            }
        }
        let size = checkpoint.size;
        let kept = self.claims.entry(size).or_insert(claim);
        if kept.root != checkpoint.root {
            let (first, second) = (kept.root, checkpoint.root);
            let note = note.to_string();
            return Err(Finding::Forked { size, first, second, note }.into());
        }
        Ok(())
    }

    /// Applies the entry after [`Auditor::head`] and holds it against all checkpoints.
    ///
    /// # Errors
    /// When it does not continue the log that was audited so far, cannot be applied, or a checkpoint says
    /// otherwise.
    pub fn apply(&mut self, decoded: &Decoded) -> Result<(), AuditError> {
        let Decoded { entry, requests } = decoded;
        if entry.seq != self.head.seq.next() || entry.prev != self.head.hash {
            let (seq, audited) = (self.head.seq, self.head.hash);
            return Err(Finding::NotContinued { seq, audited, prev: entry.prev }.into());
        }
        if entry.time < self.head.time || entry.epoch < self.head.epoch {
            return Err(Finding::Backwards { seq: entry.seq }.into());
        }
        if let Some(named) = self.named.get(&entry.seq) {
            self.check_entry(entry.seq, entry.hash, *named)?;
        }
        let applied = self.state.apply(entry.time, requests);
        self.folder.keep_entry(entry.seq, entry.hash)?;
        self.folder.keep_transfers(&applied.effects.transfers)?;
        self.head = entry.head();
        for transfer in &applied.effects.transfers {
            self.tree.push(TreeHash::of_leaf(&transfer.to_record()), |_, _| ());
            if self.claims.contains_key(&self.tree.size()) {
                self.check_root(self.tree.size(), self.tree.root())?;
            }
        }
        Ok(())
    }

    fn check_root(&self, size: u64, made: TreeHash) -> Result<(), Finding> {
        match self.claims.get(&size) {
            Some(claim) if claim.root != made => Err(Finding::OtherTree { size, signed: claim.root, made }),
            _ => Ok(()),
        }
    }

    fn check_entry(&self, seq: Seq, found: Hash, named: Hash) -> Result<(), Finding> {
        if found == named { Ok(()) } else { Err(Finding::OtherEntry { seq, signed: named, found }) }
    }

    /// The hub's log is at its end: it must hold all that the hub signed.
    ///
    /// # Errors
    /// When a checkpoint says that there is more.
    pub fn check_complete(&self) -> Result<(), AuditError> {
        let signed = self.claims.last_key_value().map_or(0, |(size, _)| *size);
        let named = self.signed();
        if signed > self.tree.size() || named > self.head.seq {
            let (transfers, entries) = (self.tree.size(), self.head.seq);
            return Err(Finding::Incomplete { signed, named, transfers, entries }.into());
        }
        Ok(())
    }

    /// The entry up to which the hub has signed its log; zero when no checkpoint names one.
    pub fn signed(&self) -> Seq {
        self.named.last_key_value().map_or(Seq::ZERO, |(seq, _)| *seq)
    }

    /// Makes the position durable, so that the next audit goes on from here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&mut self) -> Result<(), AuditError> {
        self.folder.save(&self.state, self.head, &self.tree)
    }

    /// The hash of the leaf of a transfer that was audited.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn leaf(&self, transfer: TransferId) -> Result<TreeHash, AuditError> {
        Ok(TreeHash::of_leaf(&self.folder.transfer(transfer)?.to_record()))
    }
}

/// The extension line `pumasi-log SEQ HASH`: at which entry of the log a checkpoint was made.
fn log_line(checkpoint: &Checkpoint) -> Option<(Seq, Hash)> {
    let rest = checkpoint.extensions.iter().find_map(|line| line.strip_prefix("pumasi-log "))?;
    let (seq, hash) = rest.split_once(' ')?;
    Some((Seq(seq.parse().ok()?), hash.parse().ok()?))
}

#[cfg(test)]
mod tests;
