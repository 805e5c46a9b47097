//! Blobs kept on this machine: small ones in memory, large ones in files, both bounded.
//!
//! A file is named by its hash and checked whenever it is read, so it may be lost or damaged at any time
//! without harm, and writing it needs no waiting for the disk.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pumasi_types::Hash;

/// The largest blob that is kept in memory, in bytes.
const SMALL: usize = 64 << 10;
/// Bytes of small blobs that are kept.
const MEMORY_MAX: u64 = 64 << 20;

/// A blob on this machine. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Local {
    /// In memory.
    Memory(Bytes),
    /// In a file, which stays while this is held.
    File(Arc<BlobFile>),
}

/// A blob in a file.
#[derive(Debug)]
pub(crate) struct BlobFile {
    path: PathBuf,
    hash: Hash,
    len: u64,
    /// Set when it could not be read as it was written.
    is_bad: AtomicBool,
}

impl Local {
    /// Its bytes, checked against its hash.
    ///
    /// # Errors
    /// When the file cannot be read or is not what was written; it is not used again then.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let file = match self {
            Local::Memory(bytes) => return Ok(bytes.clone()),
            Local::File(file) => file,
        };
        let read = std::fs::read(&file.path).and_then(|bytes| match Hash::of(&bytes) == file.hash {
            true => Ok(bytes),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes were changed")),
        });
        match read {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => {
                file.is_bad.store(true, Ordering::Relaxed);
                let path = file.path.display();
                Err(io::Error::new(error.kind(), format!("cannot read {path}: {error}")))
            }
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Local::Memory(bytes) => bytes.len() as u64,
            Local::File(file) => file.len,
        }
    }
}

/// What was used, by when it was used last.
#[derive(Debug)]
struct Recent<T> {
    items: HashMap<Hash, (u64, T)>,
    order: BTreeMap<u64, Hash>,
    clock: u64,
    bytes: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { items: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0 }
    }
}

impl<T: Clone> Recent<T> {
    fn get(&mut self, hash: Hash) -> Option<T> {
        let (used, item) = self.items.get_mut(&hash)?;
        self.order.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.order.insert(self.clock, hash);
        Some(item.clone())
    }

    fn put(&mut self, hash: Hash, item: T, len: u64) {
        self.clock += 1;
        self.order.insert(self.clock, hash);
        self.items.insert(hash, (self.clock, item));
        self.bytes += len;
    }

    fn remove(&mut self, hash: Hash, len: impl Fn(&T) -> u64) -> Option<T> {
        let (used, item) = self.items.remove(&hash)?;
        self.order.remove(&used);
        self.bytes -= len(&item);
        Some(item)
    }
}

#[derive(Debug, Default)]
struct Kept {
    small: Recent<Bytes>,
    files: Recent<Arc<BlobFile>>,
}

/// The blobs kept on this machine. One process at a time uses a folder.
#[derive(Debug)]
pub(crate) struct BlobCache {
    dir: PathBuf,
    files_max: u64,
    kept: Mutex<Kept>,
    writes: AtomicU64,
}

impl BlobCache {
    /// Opens a folder, which is made when it is missing; files that cannot be blobs are removed from it.
    pub(crate) fn open(dir: &Path, files_max: u64) -> io::Result<BlobCache> {
        std::fs::create_dir_all(dir)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let hash = entry.file_name().to_str().and_then(|name| name.parse::<Hash>().ok());
            let about = entry.metadata()?;
            match hash {
                Some(hash) if about.is_file() => {
                    found.push((about.modified()?, hash, about.len(), entry.path()));
                }
                _ if about.is_file() => std::fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        found.sort_unstable();
        let mut kept = Kept::default();
        for (_, hash, len, path) in found {
            let file = BlobFile { path, hash, len, is_bad: AtomicBool::new(false) };
            kept.files.put(hash, Arc::new(file), len);
        }
        let cache =
            BlobCache { dir: dir.to_owned(), files_max, kept: Mutex::new(kept), writes: AtomicU64::new(0) };
        cache.prune(&mut cache.kept());
        Ok(cache)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is complete before anything in it can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob that is kept.
    pub(crate) fn get(&self, hash: Hash) -> Option<Local> {
        let mut kept = self.kept();
        if let Some(bytes) = kept.small.get(hash) {
            return Some(Local::Memory(bytes));
        }
        let file = kept.files.get(hash)?;
        if file.is_bad.load(Ordering::Relaxed) {
            kept.files.remove(hash, |file| file.len);
            return None;
        }
        Some(Local::File(file))
    }

    /// Keeps a blob whose hash was checked; where it cannot be written to a file, it stays in memory while it
    /// is used.
    pub(crate) fn put(&self, hash: Hash, bytes: Bytes) -> Local {
        let len = bytes.len() as u64;
        if bytes.len() <= SMALL {
            let mut kept = self.kept();
            kept.small.remove(hash, |bytes| bytes.len() as u64);
            kept.small.put(hash, bytes.clone(), len);
            while kept.small.bytes > MEMORY_MAX {
                let Some((_, oldest)) = kept.small.order.first_key_value().map(|(at, hash)| (*at, *hash))
                else {
                    break;
                };
                kept.small.remove(oldest, |bytes| bytes.len() as u64);
            }
            return Local::Memory(bytes);
        }
        let path = self.dir.join(hash.to_string());
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{number}.tmp"));
        let written = std::fs::write(&temporary, &bytes).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep a blob on disk");
            // Also the remains may be out of reach; the next start removes them.
            let _ = std::fs::remove_file(&temporary);
            return Local::Memory(bytes);
        }
        let file = Arc::new(BlobFile { path, hash, len, is_bad: AtomicBool::new(false) });
        let mut kept = self.kept();
        kept.files.remove(hash, |file| file.len);
        kept.files.put(hash, Arc::clone(&file), len);
        self.prune(&mut kept);
        Local::File(file)
    }

    /// Removes the files that were not used for longest and that nobody holds, until the rest fits.
    fn prune(&self, kept: &mut Kept) {
        let mut oldest_first = kept.files.order.values().copied().collect::<Vec<_>>().into_iter();
        while kept.files.bytes > self.files_max {
            let Some(hash) = oldest_first.next() else { break };
            let is_held = kept.files.items.get(&hash).is_none_or(|(_, file)| Arc::strong_count(file) > 1);
            if is_held {
                continue;
            }
            if let Some(file) = kept.files.remove(hash, |file| file.len)
                && let Err(error) = std::fs::remove_file(&file.path)
            {
                tracing::warn!(path = %file.path.display(), %error, "cannot remove a kept blob");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(byte: u8, len: usize) -> (Hash, Bytes) {
        let bytes = Bytes::from(vec![byte; len]);
        (Hash::of(&bytes), bytes)
    }

    #[test]
    fn keeps_small_and_large_blobs_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        let ((small, a), (large, b)) = (blob(1, 10), blob(2, SMALL + 1));
        assert!(matches!(cache.put(small, a.clone()), Local::Memory(_)));
        assert!(matches!(cache.put(large, b.clone()), Local::File(_)));
        assert_eq!(cache.get(small).unwrap().read().unwrap(), a);
        assert_eq!(cache.get(large).unwrap().read().unwrap(), b);
        std::fs::write(dir.path().join("7.tmp"), b"left behind").unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        assert!(cache.get(small).is_none());
        assert_eq!(cache.get(large).unwrap().read().unwrap(), b);
        assert!(!dir.path().join("7.tmp").exists());
    }

    #[test]
    fn a_damaged_file_is_noticed_and_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        let (hash, bytes) = blob(3, SMALL + 1);
        let local = cache.put(hash, bytes.clone());
        std::fs::write(dir.path().join(hash.to_string()), b"something else").unwrap();
        let error = local.read().unwrap_err().to_string();
        assert!(error.contains("its bytes were changed"), "{error}");
        assert!(cache.get(hash).is_none());
        assert_eq!(cache.put(hash, bytes.clone()).read().unwrap(), bytes);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let each = SMALL + 1;
        let cache = BlobCache::open(dir.path(), 3 * each as u64).unwrap();
        let blobs: Vec<_> = (0..5).map(|byte| blob(byte, each)).collect();
        let held = cache.put(blobs[0].0, blobs[0].1.clone());
        cache.put(blobs[1].0, blobs[1].1.clone());
        cache.put(blobs[2].0, blobs[2].1.clone());
        assert!(cache.get(blobs[1].0).is_some());
        cache.put(blobs[3].0, blobs[3].1.clone());
        assert!(cache.get(blobs[2].0).is_none(), "it was used least recently and nobody holds it");
        assert!(cache.get(blobs[0].0).is_some() && cache.get(blobs[1].0).is_some());
        drop(held);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_the_copy_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(&dir.path().join("blobs"), 1 << 20).unwrap();
        std::fs::remove_dir(dir.path().join("blobs")).unwrap();
        let (hash, bytes) = blob(4, SMALL + 1);
        assert_eq!(cache.put(hash, bytes.clone()).read().unwrap(), bytes);
        assert!(cache.get(hash).is_none());
    }
}
