//! Blobs kept on this machine while their jobs run: small ones in memory, large ones in sealed files, both
//! bounded.
//!
//! The files are encrypted under keys of this process alone and removed with their job, at eviction, or at
//! the next start: a stopped worker's disk tells nothing of what it worked on. Where the owner of the machine allows it,
//! some files stay when their job is over, sealed as before, so that a later job finds them, or chunks of them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pumasi_chunks::list::Chunk;
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
    /// Its chunks, if they are known.
    chunks: Vec<Chunk>,
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
    /// The last job that used it; none when that is over.
    by: Option<JobId>,
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
        (used.at, used.by) = (self.clock, Some(by));
        self.order.insert(self.clock, hash);
        Some(used.item.clone())
    }

    fn put(&mut self, hash: Hash, by: JobId, item: T, len: u64) {
        self.remove(hash);
        self.clock += 1;
        self.order.insert(self.clock, hash);
        self.items.insert(hash, Used { at: self.clock, by: Some(by), item, len });
        self.bytes += len;
    }

    fn remove(&mut self, hash: Hash) -> Option<T> {
        let used = self.items.remove(&hash)?;
        self.order.remove(&used.at);
        self.bytes -= used.len;
        Some(used.item)
    }

    /// What a job was the last to use.
    fn of(&self, job: JobId) -> Vec<Hash> {
        self.items.iter().filter(|(_, used)| used.by == Some(job)).map(|(hash, _)| *hash).collect()
    }

    /// Takes out what a job was the last to use.
    fn remove_of(&mut self, job: JobId) -> Vec<T> {
        self.of(job).into_iter().filter_map(|hash| self.remove(hash)).collect()
    }
}

#[derive(Debug, Default)]
struct Kept {
    small: Recent<Bytes>,
    files: Recent<Arc<BlobFile>>,
    /// In which file a chunk lies, and where.
    chunks: HashMap<Hash, (Hash, usize)>,
}

impl Kept {
    fn put_file(&mut self, hash: Hash, by: JobId, file: Arc<BlobFile>) {
        let mut at = 0;
        for chunk in &file.chunks {
            self.chunks.insert(chunk.name, (hash, at));
            at += chunk.length as usize;
        }
        let len = file.sealed.len();
        self.files.put(hash, by, file, len);
    }

    fn remove_file(&mut self, hash: Hash) -> Option<Arc<BlobFile>> {
        let file = self.files.remove(hash)?;
        for chunk in &file.chunks {
            // Another file may have the same chunk.
            if self.chunks.get(&chunk.name).is_some_and(|(blob, _)| *blob == hash) {
                self.chunks.remove(&chunk.name);
            }
        }
        Some(file)
    }
}

/// A chunk that lies in a kept file.
#[derive(Debug)]
pub(crate) struct LocalChunk {
    file: Arc<BlobFile>,
    at: usize,
}

impl LocalChunk {
    /// Its bytes; none when they are not what they should be.
    pub(crate) fn read(&self, chunk: &Chunk) -> Option<Bytes> {
        let bytes = self.file.sealed.read_range(self.at..self.at + chunk.length as usize).ok()?;
        (Hash::of(&bytes) == chunk.name).then_some(bytes)
    }
}

/// The blobs kept on this machine. One process at a time uses a folder.
#[derive(Debug)]
pub(crate) struct BlobCache {
    dir: PathBuf,
    files_max: u64,
    /// Bytes of files that stay when their jobs are over.
    idle_max: u64,
    kept: Mutex<Kept>,
    writes: AtomicU64,
}

impl BlobCache {
    /// Opens a folder, which is made when it is missing; what another process left in it is removed.
    pub(crate) fn open(dir: &Path, files_max: u64, idle_max: u64) -> io::Result<BlobCache> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(dir)?,
        }
        let (kept, writes) = (Mutex::default(), AtomicU64::new(0));
        Ok(BlobCache { dir: dir.to_owned(), files_max, idle_max, kept, writes })
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
            kept.remove_file(hash);
            return None;
        }
        Some(Local::File(file))
    }

    /// A chunk that lies in a kept file.
    pub(crate) fn chunk(&self, name: &Hash) -> Option<LocalChunk> {
        let kept = self.kept();
        let (blob, at) = kept.chunks.get(name)?;
        let file = Arc::clone(&kept.files.items.get(blob)?.item);
        Some(LocalChunk { file, at: *at })
    }

    /// Keeps a blob whose hash was checked for a job, and whose chunks are these if they are known; where it cannot be
    /// written to a file, it stays in memory while it is used.
    pub(crate) fn put(&self, hash: Hash, by: JobId, bytes: Bytes, chunks: Vec<Chunk>) -> Local {
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
        let file = Arc::new(BlobFile { sealed, chunks, is_bad: AtomicBool::new(false) });
        let mut kept = self.kept();
        kept.put_file(hash, by, Arc::clone(&file));
        let evicted = self.prune(&mut kept);
        drop(kept);
        drop(evicted);
        Local::File(file)
    }

    /// Lets go of what a job was the last to use, but for files that may stay; files are removed once nobody holds them.
    pub(crate) fn forget(&self, job: JobId) {
        let mut kept = self.kept();
        let small = kept.small.remove_of(job);
        for hash in kept.files.of(job) {
            if let Some(used) = kept.files.items.get_mut(&hash) {
                used.by = None;
            }
        }
        let files = self.prune_idle(&mut kept);
        drop(kept);
        drop((small, files));
    }

    /// Takes out files whose jobs are over, those that were not used for longest first, until the rest may stay.
    fn prune_idle(&self, kept: &mut Kept) -> Vec<Arc<BlobFile>> {
        let oldest_first: Vec<Hash> = kept.files.order.values().copied().collect();
        let idle = |kept: &Kept, hash: &Hash| {
            kept.files.items.get(hash).filter(|used| used.by.is_none()).map(|used| used.len)
        };
        let mut bytes: u64 = oldest_first.iter().filter_map(|hash| idle(kept, hash)).sum();
        let mut gone = Vec::new();
        for hash in oldest_first {
            if bytes <= self.idle_max {
                break;
            }
            if let Some(len) = idle(kept, &hash) {
                bytes -= len;
                gone.extend(kept.remove_file(hash));
            }
        }
        gone
    }

    /// Takes out the files that were not used for longest and that nobody holds, until the rest fits.
    fn prune(&self, kept: &mut Kept) -> Vec<Arc<BlobFile>> {
        let mut evicted = Vec::new();
        let mut oldest_first = kept.files.order.values().copied().collect::<Vec<_>>().into_iter();
        while kept.files.bytes > self.files_max {
            let Some(hash) = oldest_first.next() else { break };
            let is_held = kept.files.items.get(&hash).is_none_or(|used| Arc::strong_count(&used.item) > 1);
            if !is_held {
                evicted.extend(kept.remove_file(hash));
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
        let cache = BlobCache::open(dir.path(), 1 << 20, 0).unwrap();
        let ((small, a), (large, b)) = (blob(1, 10), blob(2, SMALL + 1));
        assert!(matches!(cache.put(small, JOB, a.clone(), Vec::new()), Local::Memory(_)));
        assert!(matches!(cache.put(large, JOB, b.clone(), Vec::new()), Local::File(_)));
        assert_eq!(cache.get(small, JOB).unwrap().read().unwrap(), a);
        assert_eq!(cache.get(large, JOB).unwrap().read().unwrap(), b);
        // As if the process had been killed.
        std::mem::forget(cache);
        assert_eq!(files(dir.path()), 1);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20, 0).unwrap();
        assert!(cache.get(small, JOB).is_none() && cache.get(large, JOB).is_none());
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn a_jobs_blobs_go_with_it_unless_another_uses_them() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20, 0).unwrap();
        let ((small, a), (large, b), (shared, c)) = (blob(1, 10), blob(2, SMALL + 1), blob(3, SMALL + 1));
        cache.put(small, JOB, a, Vec::new());
        let held = cache.put(large, JOB, b.clone(), Vec::new());
        cache.put(shared, JOB, c, Vec::new());
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
        let cache = BlobCache::open(dir.path(), 1 << 20, 0).unwrap();
        let (hash, bytes) = blob(3, SMALL + 1);
        let local = cache.put(hash, JOB, bytes.clone(), Vec::new());
        std::fs::write(dir.path().join("0"), b"something else").unwrap();
        let error = local.read().unwrap_err().to_string();
        assert!(error.contains("its bytes were changed"), "{error}");
        assert!(cache.get(hash, JOB).is_none());
        assert_eq!(cache.put(hash, JOB, bytes.clone(), Vec::new()).read().unwrap(), bytes);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let each = SMALL + 1;
        let cache = BlobCache::open(dir.path(), 3 * each as u64, 0).unwrap();
        let blobs: Vec<_> = (0..5).map(|byte| blob(byte, each)).collect();
        let put = |n: usize| cache.put(blobs[n].0, JOB, blobs[n].1.clone(), Vec::new());
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
    fn files_stay_when_their_job_is_over_as_far_as_the_owner_allows() {
        let dir = tempfile::tempdir().unwrap();
        let each = SMALL + 1;
        let cache = BlobCache::open(dir.path(), 1 << 20, 2 * each as u64).unwrap();
        let blobs: Vec<_> = (0..4).map(|byte| blob(byte, each)).collect();
        for (hash, bytes) in &blobs[..3] {
            cache.put(*hash, JOB, bytes.clone(), Vec::new());
        }
        cache.put(blobs[3].0, JobId(2), blobs[3].1.clone(), Vec::new());
        cache.put(blob(9, 10).0, JOB, blob(9, 10).1, Vec::new());
        cache.forget(JOB);
        assert_eq!(files(dir.path()), 3, "the oldest of three goes, the other job's stays");
        assert!(cache.get(blob(9, 10).0, JOB).is_none(), "small ones go");
        assert!(cache.get(blobs[0].0, JobId(3)).is_none());
        assert!(cache.get(blobs[1].0, JobId(3)).is_some(), "a later job has it at once");
        cache.forget(JobId(2));
        cache.forget(JobId(3));
        assert_eq!(files(dir.path()), 2);
        assert!(cache.get(blobs[2].0, JobId(4)).is_none(), "it was used least recently");
    }

    #[test]
    fn chunks_are_found_in_the_files_that_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(dir.path(), 1 << 20, 0).unwrap();
        let (first, second) = (blob(1, 40_000).1, blob(2, 50_000).1);
        let whole: Bytes = [first.as_ref(), &second].concat().into();
        let chunk = |bytes: &Bytes| Chunk { name: Hash::of(bytes), length: bytes.len() as u32 };
        let chunks = vec![chunk(&first), chunk(&second)];
        cache.put(Hash::of(&whole), JOB, whole, chunks.clone());
        for (chunk, bytes) in chunks.iter().zip([first, second]) {
            assert_eq!(cache.chunk(&chunk.name).unwrap().read(chunk).unwrap(), bytes);
        }
        let local = cache.chunk(&chunks[0].name).unwrap();
        std::fs::write(dir.path().join("0"), b"something else").unwrap();
        assert_eq!(local.read(&chunks[0]), None, "damage is no chunk");
        drop(local);
        cache.forget(JOB);
        assert!(cache.chunk(&chunks[1].name).is_none());
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_the_copy_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(&dir.path().join("blobs"), 1 << 20, 0).unwrap();
        std::fs::remove_dir(dir.path().join("blobs")).unwrap();
        let (hash, bytes) = blob(4, SMALL + 1);
        assert_eq!(cache.put(hash, JOB, bytes.clone(), Vec::new()).read().unwrap(), bytes);
        assert!(cache.get(hash, JOB).is_none());
    }
}
