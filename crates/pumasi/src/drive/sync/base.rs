//! What a folder here and one in a space had when they were the same for the last time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use pumasi_types::{FilePath, Hash};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::plan::{Content, View};
use crate::drive::below::Below;
use crate::drive::hashes::state_folder;
use crate::drive::place::Place;
use crate::error::CliError;

/// What was the same, remembered in `$XDG_STATE_HOME/pumasi/sync`. One command at a time has it.
pub(crate) struct Base {
    path: PathBuf,
    kept: Kept,
    _lock: File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// For people who look into the file.
    about: String,
    files: View,
}

impl Base {
    /// What is remembered of this folder and this place of this hub.
    pub(crate) fn open(folder: &Path, hub: &str, place: &Place) -> Result<Base, CliError> {
        let whole = std::fs::canonicalize(folder).map_err(CliError::file("read", folder))?;
        let about = format!("{} and {place} of {hub}", whole.display());
        let name = [whole.as_os_str().as_encoded_bytes(), about.as_bytes()].join(&0);
        let path = state_folder("sync")?.join(format!("{}.json", Hash::of(&name)));
        let lock_path = path.with_extension("lock");
        let failed = || CliError::file("write", &lock_path);
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(failed())?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(CliError::Busy { path: folder.to_owned() }),
            locked => locked.map_err(|error| failed()(error.into()))?,
        }
        let kept = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| CliError::Content {
                path: path.clone(),
                problem: format!("{error}; without it nothing is taken for removed, so it can be deleted"),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(CliError::file("read", &path)(error)),
        };
        Ok(Base { path, kept: Kept { about, ..kept }, _lock: lock })
    }

    /// What both had.
    pub(crate) fn view(&self) -> &View {
        &self.kept.files
    }

    /// Both have this now.
    pub(crate) fn set(&mut self, path: FilePath, content: Content) {
        self.kept.files.insert(path, content);
    }

    /// Neither has anything there now.
    pub(crate) fn forget(&mut self, path: &FilePath) {
        self.kept.files.remove(path);
    }

    /// Writes it, whole or not at all, when all that was written to the folder is on the disk: a file that a power cut emptied
    /// must not look as if somebody had changed it here.
    pub(crate) fn save(&mut self, folder: &Below) -> Result<(), CliError> {
        folder.sync()?;
        // A folder is the same on both sides when something in it is, whoever made it.
        let above: Vec<FilePath> = self.kept.files.keys().flat_map(folders_above).collect();
        self.kept.files.extend(above.into_iter().map(|folder| (folder, Content::Folder)));
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(std::io::BufWriter::new(&mut file), &self.kept)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)
        };
        write().map(drop).map_err(CliError::file("write", &self.path))
    }
}

/// The folders that a path lies in, without the root.
pub(crate) fn folders_above(path: &FilePath) -> Vec<FilePath> {
    let up = |path: &FilePath| path.parent().filter(|parent| !parent.is_root());
    std::iter::successors(up(path), up).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_that_is_not_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.json");
        let lock = File::create(dir.path().join("base.lock")).unwrap();
        let mut base = Base { path: path.clone(), kept: Kept::default(), _lock: lock };
        base.set("a".parse().unwrap(), Content::Folder);
        let below = Below::open(dir.path()).unwrap();
        base.save(&below).unwrap();
        let before = std::fs::read(&path).unwrap();
        base.set("b/c".parse().unwrap(), Content::Folder);
        assert!(base.save(&Below::failing(dir.path())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before, "as if nothing had been done");
        base.save(&below).unwrap();
        let kept: Kept = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let paths: Vec<String> = kept.files.keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["a", "b", "b/c"]);
    }

    #[test]
    fn all_folders_above_a_file() {
        let above: Vec<_> =
            folders_above(&"a/b/c".parse().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(above, ["a/b", "a"]);
        assert!(folders_above(&"a".parse().unwrap()).is_empty());
    }
}
