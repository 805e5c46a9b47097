//! The log's directory: names of its files, its lock, and changes that survive a crash.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Lock, Mode};
use crate::{LogError, Seq};

/// A segment file: its name only, nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) first: Seq,
    pub(crate) path: PathBuf,
}

/// The number in a name of 16 hexadecimal digits and `extension`.
pub(crate) fn numbered(path: &Path, extension: &str) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(extension)?;
    let plain = stem.len() == 16 && stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(stem, 16).ok() } else { None }
}

/// A directory on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

impl Dir {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: &Path) -> Dir {
        Dir { disk, path: path.to_owned() }
    }

    /// Creates the directory and makes its own name durable.
    pub(crate) fn create(&self) -> Result<(), LogError> {
        self.disk.create_dir(&self.path).map_err(LogError::io("create", &self.path))
    }

    /// Takes the exclusive right to write into the directory; ends when dropped or when the process dies.
    pub(crate) fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, LogError> {
        let path = self.join("LOCK");
        match self.disk.lock(&path).map_err(LogError::io("lock", &path))? {
            Lock::Taken(guard) => Ok(guard),
            Lock::Held(holder) => Err(LogError::Locked { dir: self.path.clone(), holder }),
        }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn segment_path(&self, first: Seq) -> PathBuf {
        self.join(&format!("{:016x}.log", first.0))
    }

    /// All files.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, LogError> {
        self.disk.list(&self.path).map_err(LogError::io("list", &self.path))
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentFile>, LogError> {
        let mut found = Vec::new();
        for path in self.files()? {
            if let Some(first) = numbered(&path, ".log") {
                found.push(SegmentFile { first: Seq(first), path });
            }
        }
        found.sort_by_key(|segment| segment.first);
        Ok(found)
    }

    /// Opens a file past the page cache where that is possible.
    pub(crate) fn open_direct(&self, path: &Path) -> Result<Box<dyn DiskFile>, LogError> {
        self.disk.open_direct(path, Mode::Write).map_err(LogError::io("open", path))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), LogError> {
        self.disk.remove(path).map_err(LogError::io("remove", path))
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.path).map_err(LogError::io("sync", &self.path))
    }

    /// Replaces the file `name` so that after a crash it is the old or the new one, whole.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let (temporary, path) = (self.join(&format!("{name}.tmp")), self.join(name));
        let room = bytes.len() as u64;
        let write = || {
            let file = self.disk.open(&temporary, Mode::Create)?;
            file.set_len(0)?;
            file.write_all_at(bytes, 0)?;
            file.sync()
        };
        write().map_err(LogError::room("write", &temporary, room))?;
        self.disk.rename(&temporary, &path).map_err(LogError::room("rename", &temporary, room))?;
        self.sync()
    }
}
