//! Which bytes the files of a folder had when they were last read: what is not changed since need not be read again.
//!
//! A journal in `$XDG_STATE_HOME/pumasi/hashes`, one for each folder. It only saves work: a line that is missing or broken
//! costs a read, and no line is believed of a file whose stamp is another now.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pumasi_seal::KeyId;
use pumasi_types::{FilePath, Hash};
use serde::{Deserialize, Serialize};

use super::scan::Stamp;
use crate::error::CliError;
use crate::profile::base_dir;

/// A file that was changed so short a time before it was read can be changed again without another stamp, in nanoseconds.
const TOO_NEW_NS: u128 = 50_000_000;
/// Lines beyond twice what is known from which on the journal is written anew.
const SLACK: usize = 1_000;

/// The journal of one folder.
pub(crate) struct Hashes {
    known: Mutex<Known>,
    journal: Mutex<File>,
}

/// By path, and the key that a file is encrypted with when it is sent: the hash is that of what is sent.
type Known = HashMap<(FilePath, Option<KeyId>), (Stamp, Hash)>;

#[derive(Serialize, Deserialize)]
struct Line {
    path: FilePath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    stamp: Stamp,
    hash: Hash,
}

/// The folder in which commands keep what they remember, readable by its owner only.
pub(crate) fn state_folder(name: &str) -> Result<PathBuf, CliError> {
    let folder = base_dir("XDG_STATE_HOME", ".local/state")?.join("pumasi").join(name);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(CliError::file("create", &folder))?;
    Ok(folder)
}

impl Hashes {
    /// What is known of a folder of this machine, or of the file at this path.
    pub(crate) fn of(root: &Path) -> Result<Hashes, CliError> {
        let root = fs::canonicalize(root).map_err(CliError::file("read", root))?;
        let name = Hash::of(root.as_os_str().as_encoded_bytes());
        let path = state_folder("hashes")?.join(format!("{name}.jsonl"));
        Hashes::open(&path)
    }

    /// What the journal at this path knows.
    pub(super) fn open(path: &Path) -> Result<Hashes, CliError> {
        let mut known = HashMap::new();
        let mut lines = 0;
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                lines += 1;
                // The last line may have been cut off.
                if let Ok(line) = serde_json::from_str::<Line>(&line) {
                    known.insert((line.path, line.key), (line.stamp, line.hash));
                }
            }
        }
        if lines > known.len() * 2 + SLACK {
            rewrite(path, &known).map_err(CliError::file("write", path))?;
        }
        let journal = OpenOptions::new().create(true).append(true).open(path);
        let journal = journal.map_err(CliError::file("write", path))?;
        Ok(Hashes { known: Mutex::new(known), journal: Mutex::new(journal) })
    }

    /// The hash of a file that has this stamp now, encrypted with this key.
    pub(crate) fn get(&self, path: &FilePath, key: Option<KeyId>, stamp: &Stamp) -> Option<Hash> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(path.clone(), key)).filter(|(then, _)| then == stamp).map(|(_, hash)| *hash)
    }

    /// Remembers the hash of a file that had this stamp before and after it was read from `begun` on.
    pub(crate) fn set(
        &self,
        path: &FilePath,
        key: Option<KeyId>,
        stamp: Stamp,
        hash: Hash,
        begun: SystemTime,
    ) {
        let begun = begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if begun >= u128::from(stamp.changed_ns) + TOO_NEW_NS {
            self.wrote(path, key, stamp, hash);
        }
    }

    /// Remembers the hash of a file that was just written.
    pub(crate) fn wrote(&self, path: &FilePath, key: Option<KeyId>, stamp: Stamp, hash: Hash) {
        let line = Line { path: path.clone(), key, stamp, hash };
        if let Ok(mut text) = serde_json::to_vec(&line) {
            // A broken line before this one ends here. What cannot be written is read again next time.
            text.insert(0, b'\n');
            text.push(b'\n');
            let _ = self.journal.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert((line.path, key), (stamp, hash));
    }
}

fn rewrite(path: &Path, known: &Known) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    let mut buffer = std::io::BufWriter::new(&mut file);
    for ((path, key), (stamp, hash)) in known {
        let line = Line { path: path.clone(), key: *key, stamp: *stamp, hash: *hash };
        serde_json::to_writer(&mut buffer, &line)?;
        buffer.write_all(b"\n")?;
    }
    buffer.flush()?;
    drop(buffer);
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(n: u64) -> Stamp {
        Stamp { size: n, modified_ns: 1, changed_ns: 1, inode: 1 }
    }

    #[test]
    fn what_was_read_is_known_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let (file, hash): (FilePath, _) = ("a\nb".parse().unwrap(), Hash::of(b"1"));
        let hashes = Hashes::open(&path).unwrap();
        hashes.set(&file, None, stamp(1), hash, SystemTime::now());
        let new = Stamp { changed_ns: u64::MAX, ..stamp(1) };
        hashes.set(&"new".parse().unwrap(), None, new, hash, SystemTime::now());
        // A crash in the middle of a line.
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"path\":".to_vec()].concat()).unwrap();
        let (key, sealed) = (Some(KeyId([1; 8])), Hash::of(b"sealed"));
        Hashes::open(&path).unwrap().set(&file, key, stamp(1), sealed, SystemTime::now());
        let hashes = Hashes::open(&path).unwrap();
        let get = |key, n| hashes.get(&file, key, &stamp(n));
        assert_eq!((get(None, 1), get(None, 2), get(key, 1)), (Some(hash), None, Some(sealed)));
        assert_eq!(hashes.get(&"new".parse().unwrap(), None, &new), None, "too new to be believed");
        for n in 0..3_000 {
            hashes.set(&file, None, stamp(n), hash, SystemTime::now());
        }
        drop(Hashes::open(&path).unwrap());
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 10, "old lines go");
        assert_eq!(Hashes::open(&path).unwrap().get(&file, None, &stamp(2_999)), Some(hash));
    }
}
