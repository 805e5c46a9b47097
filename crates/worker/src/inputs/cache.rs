//! Blobs kept on this machine while their jobs run: small ones in memory, large ones in sealed files, both
//! bounded.
//!
//! The files are encrypted under keys of this process alone and removed with their job, at eviction, or at
//! the next start: a stopped worker's disk tells nothing of what it worked on.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pumasi_types::{Hash, JobId};

use super::sealed::SealedFile;

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
    sealed: SealedFile,
    /// Set when it could not be read as it was written.
    is_bad: AtomicBool,
}

impl Local {
    /// Its bytes, just as they were put.
    ///
    /// # Errors
    /// When the file cannot be read or is not what was written; it is not used again then.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let file = match self {
            Local::Memory(bytes) => return Ok(bytes.clone()),
            Local::File(file) => file,
        };
        file.sealed.read().map_err(|error| {
            file.is_bad.store(true, Ordering::Relaxed);
            let path = file.sealed.path().display();
            io::Error::new(error.kind(), format!("cannot read {path}: {error}"))
        })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Local::Memory(bytes) => bytes.len() as u64,
            Local::File(file) => file.sealed.len(),
        }
    }
}

/// What was used, by when it was used last.
#[derive(Debug)]
struct Recent<T> {
    items: HashMap<Hash, Used<T>>,
    order: BTreeMap<u64, Hash>,
    clock: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Used<T> {
    at: u64,
    /// The last job that used it.
    by: JobId,
    item: T,
    len: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { items: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0 }
    }
}

impl<T: Clone> Recent<T> {
    fn get(&mut self, hash: Hash, by: JobId) -> Option<T> {
        let used = self.items.get_mut(&hash)?;
        self.order.remove(&used.at);
        self.clock += 1;
        (used.at, used.by) = (self.clock, by);
        self.order.insert(self.clock, hash);
        Some(used.item.clone())
    }

    fn put(&mut self, hash: Hash, by: JobId, item: T, len: u64) {
        self.remove(hash);
        self.clock += 1;
        self.order.insert(self.clock, hash);
        self.items.insert(hash, Used { at: self.clock, by, item, len });
        self.bytes += len;
    }

    fn remove(&mut self, hash: Hash) -> Option<T> {
        let used = self.items.remove(&hash)?;
        self.order.remove(&used.at);
        self.bytes -= used.len;
        Some(used.item)
    }

    /// Takes out what a job was the last to use.
    fn remove_of(&mut self, job: JobId) -> Vec<T> {
        let of_job = self.items.iter().filter(|(_, used)| used.by == job);
        let of_job: Vec<Hash> = of_job.map(|(hash, _)| *hash).collect();
        of_job.into_iter().filter_map(|hash| self.remove(hash)).collect()
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
    /// Opens a folder, which is made when it is missing; what another process left in it is removed.
    pub(crate) fn open(dir: &Path, files_max: u64) -> io::Result<BlobCache> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(dir)?,
        }
        Ok(BlobCache { dir: dir.to_owned(), files_max, kept: Mutex::default(), writes: AtomicU64::new(0) })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is complete before anything in it can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob that is kept, used by a job.
    pub(crate) fn get(&self, hash: Hash, by: JobId) -> Option<Local> {
        let mut kept = self.kept();
        if let Some(bytes) = kept.small.get(hash, by) {
            return Some(Local::Memory(bytes));
        }
        let file = kept.files.get(hash, by)?;
        if file.is_bad.load(Ordering::Relaxed) {
            kept.files.remove(hash);
            return None;
        }
        Some(Local::File(file))
    }

    /// Keeps a blob whose hash was checked for a job; where it cannot be written to a file, it stays in
    /// memory while it is used.
    pub(crate) fn put(&self, hash: Hash, by: JobId, bytes: Bytes) -> Local {
        let len = bytes.len() as u64;
        if bytes.len() <= SMALL {
            let mut kept = self.kept();
            kept.small.put(hash, by, bytes.clone(), len);
            while kept.small.bytes > MEMORY_MAX {
                let Some(oldest) = kept.small.order.first_key_value().map(|(_, hash)| *hash) else { break };
                kept.small.remove(oldest);
            }
            return Local::Memory(bytes);
        }
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(number.to_string());
        let sealed = match SealedFile::write(&path, &bytes) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot keep an input on disk");
                return Local::Memory(bytes);
            }
        };
        let file = Arc::new(BlobFile { sealed, is_bad: AtomicBool::new(false) });
        let mut kept = self.kept();
        kept.files.put(hash, by, Arc::clone(&file), len);
        let evicted = self.prune(&mut kept);
        drop(kept);
        drop(evicted);
        Local::File(file)
    }

    /// Lets go of what a job was the last to use; files are removed once nobody holds them.
    pub(crate) fn forget(&self, job: JobId) {
        let mut kept = self.kept();
        let gone = (kept.small.remove_of(job), kept.files.remove_of(job));
        drop(kept);
        drop(gone);
    }

    /// Takes out the files that were not used for longest and that nobody holds, until the rest fits.
    fn prune(&self, kept: &mut Kept) -> Vec<Arc<BlobFile>> {
        let mut evicted = Vec::new();
        let mut oldest_first = kept.files.order.values().copied().collect::<Vec<_>>().into_iter();
        while kept.files.bytes > self.files_max {
            let Some(hash) = oldest_first.next() else { break };
            let is_held = kept.files.items.get(&hash).is_none_or(|used| Arc::strong_count(&used.item) > 1);
            if !is_held {
                evicted.extend(kept.files.remove(hash));
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn blob(byte: u8, len: usize) -> (Hash, Bytes) {
        let bytes = Bytes::from(vec![byte; len]);
        (Hash::of(&bytes), bytes)
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn keeps_small_and_large_blobs_but_not_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        let ((small, a), (large, b)) = (blob(1, 10), blob(2, SMALL + 1));
        assert!(matches!(cache.put(small, JOB, a.clone()), Local::Memory(_)));
        assert!(matches!(cache.put(large, JOB, b.clone()), Local::File(_)));
        assert_eq!(cache.get(small, JOB).unwrap().read().unwrap(), a);
        assert_eq!(cache.get(large, JOB).unwrap().read().unwrap(), b);
        // As if the process had been killed.
        std::mem::forget(cache);
        assert_eq!(files(dir.path()), 1);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        assert!(cache.get(small, JOB).is_none() && cache.get(large, JOB).is_none());
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn a_jobs_blobs_go_with_it_unless_another_uses_them() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        let ((small, a), (large, b), (shared, c)) = (blob(1, 10), blob(2, SMALL + 1), blob(3, SMALL + 1));
        cache.put(small, JOB, a);
        let held = cache.put(large, JOB, b.clone());
        cache.put(shared, JOB, c);
        assert!(cache.get(shared, JobId(2)).is_some());
        cache.forget(JOB);
        assert!(cache.get(small, JOB).is_none() && cache.get(large, JOB).is_none());
        assert_eq!(held.read().unwrap(), b, "a run that goes on still reads it");
        assert_eq!(files(dir.path()), 2);
        drop(held);
        assert_eq!(files(dir.path()), 1);
        cache.forget(JobId(2));
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn a_damaged_file_is_noticed_and_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20).unwrap();
        let (hash, bytes) = blob(3, SMALL + 1);
        let local = cache.put(hash, JOB, bytes.clone());
        std::fs::write(dir.path().join("0"), b"something else").unwrap();
        let error = local.read().unwrap_err().to_string();
        assert!(error.contains("its bytes were changed"), "{error}");
        assert!(cache.get(hash, JOB).is_none());
        assert_eq!(cache.put(hash, JOB, bytes.clone()).read().unwrap(), bytes);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let each = SMALL + 1;
        let cache = BlobCache::open(dir.path(), 3 * each as u64).unwrap();
        let blobs: Vec<_> = (0..5).map(|byte| blob(byte, each)).collect();
        let put = |n: usize| cache.put(blobs[n].0, JOB, blobs[n].1.clone());
        let has = |n: usize| cache.get(blobs[n].0, JOB).is_some();
        let held = put(0);
        put(1);
        put(2);
        assert!(has(1));
        put(3);
        assert!(!has(2), "it was used least recently and nobody holds it");
        assert!(has(0) && has(1));
        drop(held);
        assert_eq!(files(dir.path()), 3);
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_the_copy_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(&dir.path().join("blobs"), 1 << 20).unwrap();
        std::fs::remove_dir(dir.path().join("blobs")).unwrap();
        let (hash, bytes) = blob(4, SMALL + 1);
        assert_eq!(cache.put(hash, JOB, bytes.clone()).read().unwrap(), bytes);
        assert!(cache.get(hash, JOB).is_none());
    }
}
