//! The auditor: an outsider who follows a hub's whole log and believes nothing else.
//!
//! It keeps every checkpoint that it was ever shown, applies the log's entries to a state of its own, makes the
//! tree of transfers anew, and compares the two. What it has seen once it can hold against the hub: a hub that
//! rewrites its history and signs it again contradicts an older checkpoint or the hashes of entries in the
//! auditor's folder, and [`Auditor::locate`] tells the first entry and the first transfer that differ.
//!
//! There is no network in here, and nothing of the hub: whoever drives it brings checkpoints and entries.

mod books;
mod compare;
mod finding;
mod folder;
mod reader;
mod replay;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use pumasi_core::{Command, Request, State, decode_requests};
use pumasi_log::{Entry, Head, Seq};
use pumasi_proof::{Accepted, Checkpoint, Note, Policy, TreeHash};
use pumasi_types::{Hash, TransferId};

pub use self::compare::Comparison;
pub use self::finding::{AuditError, Finding};
pub use self::reader::Reader;

use self::books::{Books, Settled};
use self::folder::{Folder, Kept};
use self::replay::Replay;

/// Entries whose transfers may wait for the tree.
const BOOKED_LATER: usize = 64;

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

    /// How many commands it holds; a report counts once for each run that it reports.
    pub fn commands(&self) -> usize {
        let count = |request: &Request| match &request.command {
            Command::Report { runs, .. } => runs.len(),
            _ => 1,
        };
        self.requests.iter().map(count).sum()
    }
}

/// Follows one hub.
pub struct Auditor {
    policy: Policy,
    replay: Replay,
    books: Books,
    /// What was signed, and when this auditor was first shown it.
    signed: BTreeMap<(u64, Seq), SystemTime>,
}

impl Auditor {
    /// Opens or makes an auditor's folder and goes on from where it was saved.
    ///
    /// # Errors
    /// When the folder cannot be used, or what it holds does not fit together.
    pub fn open(dir: &Path, policy: Policy) -> Result<Auditor, AuditError> {
        let (folder, saved) = Folder::open(dir)?;
        let kept = folder.checkpoints()?;
        let (replay, books) = (Replay::new(saved.state, saved.head), Books::new(folder, saved.tree));
        let mut auditor = Auditor { policy, replay, books, signed: BTreeMap::new() };
        for Kept { path, at, note } in kept {
            let checkpoint = Checkpoint::parse(note.text())
                .map_err(|error| AuditError::Damaged { path, problem: error.to_string() })?;
            auditor.claim(&checkpoint, &note, at)?;
        }
        Ok(auditor)
    }

    /// The last entry that was audited.
    pub fn head(&self) -> Head {
        self.replay.head()
    }

    /// How many transfers were audited.
    pub fn transfers(&self) -> u64 {
        self.books.size()
    }

    /// How many checkpoints are kept.
    pub fn checkpoints(&self) -> usize {
        self.books.claims()
    }

    /// What the log makes, up to [`Auditor::head`].
    pub fn state(&self) -> &State {
        self.replay.state()
    }

    /// The entry up to which the hub has signed its log; zero when no checkpoint names one.
    pub fn signed(&self) -> Seq {
        self.replay.signed()
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
        self.books.folder.keep_checkpoint(checkpoint, note)?;
        let signed_before = self.books.signed();
        self.claim(checkpoint, note, SystemTime::now())?;
        if checkpoint.size < signed_before {
            return Err(Finding::Shrunk { size: checkpoint.size, kept: signed_before }.into());
        }
        self.books.check_kept(checkpoint.size)?;
        if let Some((seq, hash)) = bound_entry(checkpoint).filter(|(seq, _)| *seq <= self.head().seq) {
            replay::check_entry(seq, self.books.folder.entry_hash(seq)?, hash)?;
        }
        Ok(accepted)
    }

    /// Remembers what a checkpoint says.
    fn claim(&mut self, checkpoint: &Checkpoint, note: &Note, at: SystemTime) -> Result<(), Finding> {
        let line = bound_entry(checkpoint);
        let named = line.map_or(Seq::ZERO, |(seq, _)| seq);
        self.signed.entry((checkpoint.size, named)).or_insert(at);
        if let Some((seq, hash)) = line {
            self.replay.name(seq, hash)?;
        }
        self.books.claim(checkpoint, note)
    }

    /// Applies the entries after [`Auditor::head`] and holds them against all checkpoints. After an error the
    /// auditor is good for [`Auditor::locate`] only.
    ///
    /// # Errors
    /// When one does not continue the log that was audited so far, or a checkpoint says otherwise.
    pub fn apply(&mut self, entries: &[Decoded]) -> Result<(), AuditError> {
        let Auditor { replay, books, .. } = self;
        // What the entries do and what follows from it for the tree take about equally long.
        let (settled, settling) = mpsc::sync_channel(BOOKED_LATER);
        thread::scope(|scope| {
            let booking = scope.spawn(move || settling.into_iter().try_for_each(|one| books.book(&one)));
            let replayed = entries.iter().try_for_each(|decoded| {
                let transfers = replay.apply(decoded)?;
                // Nobody takes it when the books have an error, which comes first then.
                let _ = settled.send(Settled { seq: decoded.entry.seq, hash: decoded.entry.hash, transfers });
                Ok(())
            });
            drop(settled);
            booking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            replayed
        })
    }

    /// The hub's log is at its end: it must hold all that this auditor was shown a checkpoint of so long ago.
    ///
    /// # Errors
    /// When a checkpoint says that there is more.
    pub fn check_complete(&self, lag: Duration) -> Result<(), AuditError> {
        // A clock that was set back makes no checkpoint old.
        let is_due = |at: &SystemTime| at.elapsed().is_ok_and(|age| age >= lag);
        let due = self.signed.iter().filter(|(_, at)| is_due(at)).map(|(claim, _)| *claim);
        let (signed, named) =
            due.fold((0, Seq::ZERO), |most, (size, seq)| (most.0.max(size), most.1.max(seq)));
        if signed > self.transfers() || named > self.head().seq {
            let (transfers, entries) = (self.transfers(), self.head().seq);
            return Err(Finding::Incomplete { signed, named, transfers, entries }.into());
        }
        Ok(())
    }

    /// Makes the position durable, so that the next audit goes on from here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&mut self) -> Result<(), AuditError> {
        self.books.save(&self.replay)
    }

    /// The hash of the leaf of a transfer that was audited.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn leaf(&self, transfer: TransferId) -> Result<TreeHash, AuditError> {
        Ok(TreeHash::of_leaf(&self.books.folder.transfer(transfer)?.to_record()))
    }
}

/// At which entry of the log a checkpoint was made.
fn bound_entry(checkpoint: &Checkpoint) -> Option<(Seq, Hash)> {
    checkpoint.extensions.iter().find_map(|line| Head::named_in(line))
}

#[cfg(test)]
mod tests;
