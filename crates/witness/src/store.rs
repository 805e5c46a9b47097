//! What a witness must never forget: its key, and the latest checkpoint of each log that it cosigned.
//!
//! One file for each log, replaced whole: written beside, synced, renamed, the folder synced. So a witness that
//! is killed at any moment has either the old checkpoint or the new one, and has signed nothing that it does not
//! remember.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pumasi_proof::{Checkpoint, Note, SignerKey, TreeHash, Use};
use pumasi_types::Hash;

/// Inconsistent checkpoints that are kept at most: the first ones tell the story.
const EVIDENCE_MAX: u64 = 1000;

/// Why a witness cannot remember.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what a witness wrote.
    #[error("{} is not what a witness wrote ({problem}): restore it from a backup; without it the witness could cosign a second history", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another witness runs on the same folder.
    #[error("{} is in use by another witness: end that one first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// A folder that remembers.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    latest: BTreeMap<String, (u64, TreeHash)>,
    evidence: u64,
    /// Keeps others out as long as it is open.
    _lock: File,
}

impl Store {
    /// Opens or makes a folder. Nobody else may use it at the same time.
    ///
    /// # Errors
    /// When it cannot be used, is in use, or holds something else.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        for folder in [dir.to_owned(), dir.join("logs"), dir.join("evidence")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(io_error("create", &folder))?;
        }
        let path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(io_error("open", &path))?;
        if lock.try_lock().is_err() {
            return Err(StoreError::InUse { path: dir.to_owned() });
        }
        let mut latest = BTreeMap::new();
        for path in files(&dir.join("logs"))? {
            // What a kill left behind was never signed.
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
                continue;
            }
            let checkpoint = read_checkpoint(&path)?;
            latest.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
        }
        let evidence = files(&dir.join("evidence"))?.len() as u64;
        Ok(Store { dir: dir.to_owned(), latest, evidence, _lock: lock })
    }

    /// The key of this witness; made from random bytes the first time.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is of another name.
    pub fn key(&self, name: &str) -> Result<SignerKey, StoreError> {
        let path = self.dir.join("witness.key");
        let damaged = |problem: String| StoreError::Damaged { path: path.clone(), problem };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let key = SignerKey::from_secret(text.trim()).map_err(|error| damaged(error.to_string()))?;
                let verifier = key.verifier();
                if verifier.usage() != Use::Cosignature || verifier.name() != name {
                    return Err(damaged(format!("it is the key of '{}', not of '{name}'", verifier.name())));
                }
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|error| StoreError::Io {
                    operation: "draw random bytes for",
                    path: path.clone(),
                    source: error.into(),
                })?;
                let key = SignerKey::from_seed(name, Use::Cosignature, seed)
                    .map_err(|error| damaged(error.to_string()))?;
                replace(&path, format!("{}\n", key.to_secret()).as_bytes())?;
                Ok(key)
            }
            Err(source) => Err(StoreError::Io { operation: "read", path, source }),
        }
    }

    /// Size and hash of the tree of a log that was cosigned last.
    pub fn latest(&self, origin: &str) -> Option<(u64, TreeHash)> {
        self.latest.get(origin).copied()
    }

    /// Remembers a checkpoint durably, before it is signed.
    pub(crate) fn keep(&mut self, checkpoint: &Checkpoint, note: &Note) -> Result<(), StoreError> {
        let head = (checkpoint.size, checkpoint.root);
        if self.latest.get(&checkpoint.origin) == Some(&head) {
            return Ok(());
        }
        let name = format!("{}.checkpoint", Hash::of(checkpoint.origin.as_bytes()));
        replace(&self.dir.join("logs").join(name), note.to_string().as_bytes())?;
        self.latest.insert(checkpoint.origin.clone(), head);
        Ok(())
    }

    /// Keeps a request that shows a second history of a log, signed by the log itself.
    pub(crate) fn keep_evidence(&mut self, body: &str) -> Result<(), StoreError> {
        let path = self.dir.join("evidence").join(Hash::of(body.as_bytes()).to_string());
        if self.evidence >= EVIDENCE_MAX || path.exists() {
            return Ok(());
        }
        self.evidence += 1;
        replace(&path, body.as_bytes())
    }
}

fn read_checkpoint(path: &Path) -> Result<Checkpoint, StoreError> {
    let text = fs::read_to_string(path).map_err(io_error("read", path))?;
    let note = Note::parse(&text).and_then(|note| Checkpoint::parse(note.text()));
    note.map_err(|error| StoreError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    entries.map(|entry| Ok(entry.map_err(io_error("read", dir))?.path())).collect()
}

/// Puts bytes in the place of a file, durably and as a whole, for its owner's eyes only.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(io_error("write", path))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}
