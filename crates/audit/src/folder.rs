//! The auditor's folder: what was seen, so that it can be held against the hub later.
//!
//! `checkpoints/SIZE-HASH.note`: every checkpoint that was ever accepted. `entries.hashes`: 32 bytes for each
//! entry of the log, the first one's first. `transfers.journal`: the transfers that the log makes, in the
//! format of a hub's journal. `position/`: the state with the right edge of the tree, as a snapshot.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pumasi_cell::Journal;
use pumasi_core::{STATE_VERSION, State, Transfer, decode_state, write_state};
use pumasi_log::{Head, Seq, SnapshotStore};
use pumasi_proof::{Checkpoint, Frontier, Note, TreeHash};
use pumasi_types::{Hash, TransferId};

use crate::AuditError;

/// Length of an entry's hash, in bytes.
const HASH: usize = 32;
/// Hashes of entries that are gathered before they are written.
const ENTRIES_GATHERED: usize = 4096;
/// Transfers that are read at once.
const TRANSFERS_READ: u64 = 4096;

/// The folder, open.
pub(crate) struct Folder {
    dir: PathBuf,
    entries: File,
    /// Hashes that are not written yet, and the place of the first of them.
    gathered: (Seq, Vec<u8>),
    journal: Journal<Transfer>,
    position: SnapshotStore,
}

/// A checkpoint that was kept.
pub(crate) struct Kept {
    pub(crate) path: PathBuf,
    /// When it was first seen.
    pub(crate) at: SystemTime,
    pub(crate) note: Note,
}

/// Where an audit stopped.
pub(crate) struct Saved {
    pub(crate) state: State,
    pub(crate) head: Head,
    pub(crate) tree: Frontier,
}

impl Folder {
    pub(crate) fn open(dir: &Path) -> Result<(Folder, Saved), AuditError> {
        let checkpoints = dir.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        let path = dir.join("entries.hashes");
        let entries = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let folder = Folder {
            dir: dir.to_owned(),
            entries: entries.map_err(io_error("open", &path))?,
            gathered: (Seq::ZERO, Vec::new()),
            journal: Journal::open(&dir.join("transfers.journal"))?,
            position: SnapshotStore::open(&dir.join("position"))?,
        };
        let saved = folder.saved()?;
        Ok((folder, saved))
    }

    fn saved(&self) -> Result<Saved, AuditError> {
        let found = self.position.newest()?;
        let Some(snapshot) = found.snapshot else {
            return Ok(Saved { state: State::new(), head: Head::default(), tree: Frontier::new() });
        };
        let damaged = |problem: &str| AuditError::Damaged {
            path: self.dir.join("position"),
            problem: problem.to_owned(),
        };
        let (size, rest) = snapshot.body.split_first_chunk().ok_or_else(|| damaged("it is too short"))?;
        let size = u64::from_le_bytes(*size);
        let peaks = size.count_ones() as usize * TreeHash::BYTES;
        let (peaks, state) = rest.split_at_checked(peaks).ok_or_else(|| damaged("it is too short"))?;
        let peaks = peaks.as_chunks().0.iter().map(|hash| TreeHash::from_bytes(*hash)).collect();
        let tree = Frontier::from_parts(size, peaks).ok_or_else(|| damaged("the tree has no edge"))?;
        let state =
            decode_state(snapshot.state_version, state).map_err(|error| damaged(&error.to_string()))?;
        Ok(Saved { state, head: snapshot.head, tree })
    }

    pub(crate) fn save(&mut self, state: &State, head: Head, tree: &Frontier) -> Result<(), AuditError> {
        self.write_gathered()?;
        self.entries.sync_data().map_err(io_error("sync", &self.dir.join("entries.hashes")))?;
        self.journal.sync()?;
        self.position.write(head, STATE_VERSION, |out| {
            out.write_all(&tree.size().to_le_bytes())?;
            tree.peaks().iter().try_for_each(|peak| out.write_all(peak.as_bytes()))?;
            write_state(state, out)
        })?;
        Ok(())
    }

    /// All kept checkpoints.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Kept>, AuditError> {
        let dir = self.dir.join("checkpoints");
        let mut notes = Vec::new();
        for file in fs::read_dir(&dir).map_err(io_error("read", &dir))? {
            let path = file.map_err(io_error("read", &dir))?.path();
            if path.extension().is_none_or(|extension| extension != "note") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
            let at =
                fs::metadata(&path).and_then(|file| file.modified()).map_err(io_error("look at", &path))?;
            match Note::parse(&text) {
                Ok(note) => notes.push(Kept { path, at, note }),
                Err(error) => return Err(AuditError::Damaged { path, problem: error.to_string() }),
            }
        }
        notes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(notes)
    }

    /// Keeps a checkpoint durably.
    pub(crate) fn keep_checkpoint(&self, checkpoint: &Checkpoint, note: &Note) -> Result<(), AuditError> {
        let dir = self.dir.join("checkpoints");
        let text = note.to_string();
        let name = format!("{:020}-{}.note", checkpoint.size, Hash::of(note.text().as_bytes()).short());
        let (path, new) = (dir.join(&name), dir.join(format!("{name}.new")));
        if path.exists() {
            return Ok(());
        }
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&dir)?.sync_all()
        };
        write().map_err(io_error("write", &path))
    }

    /// Keeps the hash of the entry after the one kept last.
    pub(crate) fn keep_entry(&mut self, seq: Seq, hash: Hash) -> Result<(), AuditError> {
        let (first, hashes) = &mut self.gathered;
        if hashes.is_empty() {
            *first = seq;
        }
        hashes.extend_from_slice(hash.as_bytes());
        if hashes.len() >= ENTRIES_GATHERED * HASH { self.write_gathered() } else { Ok(()) }
    }

    fn write_gathered(&mut self) -> Result<(), AuditError> {
        let (first, hashes) = &mut self.gathered;
        if hashes.is_empty() {
            return Ok(());
        }
        let place = (first.0 - 1) * HASH as u64;
        let written = self.entries.write_all_at(hashes, place);
        written.map_err(io_error("write", &self.dir.join("entries.hashes")))?;
        hashes.clear();
        Ok(())
    }

    /// The hash of an entry that was audited.
    pub(crate) fn entry_hash(&self, seq: Seq) -> Result<Hash, AuditError> {
        let (first, hashes) = &self.gathered;
        if let Some(place) = seq.0.checked_sub(first.0).filter(|_| !hashes.is_empty()) {
            let from = place as usize * HASH;
            if let Some((hash, _)) = hashes.get(from..).and_then(|rest| rest.split_first_chunk()) {
                return Ok(Hash::from_bytes(*hash));
            }
        }
        let mut hash = [0; HASH];
        let read = self.entries.read_exact_at(&mut hash, (seq.0 - 1) * HASH as u64);
        read.map_err(io_error("read", &self.dir.join("entries.hashes")))?;
        Ok(Hash::from_bytes(hash))
    }

    pub(crate) fn keep_transfers(&self, transfers: &[Transfer]) -> Result<(), AuditError> {
        Ok(self.journal.write(transfers)?)
    }

    /// A transfer that was audited.
    pub(crate) fn transfer(&self, id: TransferId) -> Result<Transfer, AuditError> {
        Ok(self.journal.read(id)?)
    }

    /// The root of the tree of the first `size` transfers.
    pub(crate) fn root(&self, size: u64) -> Result<TreeHash, AuditError> {
        let mut tree = Frontier::new();
        while tree.size() < size {
            let count = (size - tree.size()).min(TRANSFERS_READ) as usize;
            let mut leaves = Vec::with_capacity(count);
            let first = TransferId(tree.size() + 1);
            self.journal.records(first, count, |record| leaves.push(TreeHash::of_leaf(record)))?;
            leaves.into_iter().for_each(|leaf| tree.push(leaf, |_, _| ()));
        }
        Ok(tree.root())
    }
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { operation, path, source }
}
