//! The store itself: opening it, and what everybody does with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, GetRange, ObjectStore, path};
use pumasi_types::{ByteSize, Duration, Hash, Time};

use crate::BlobError;
use crate::ahead::{self, Runs};
use crate::bucket::Bucket;
use crate::cache::FrameCache;
use crate::commit::Commit;
use crate::epochs::Epochs;
use crate::folder;
use crate::index::{Index, Location, PackInfo, PackNumber};
use crate::ingest::Writer;
use crate::pack::{PackFault, PackIndex, TRAILER_BYTES, Trailer};
use crate::proved::Proved;
use crate::together::SmallPut;
use crate::turns::Turns;
use crate::work::join;

/// The end of a pack that is read at once, in the hope that the whole index is in it.
const TAIL_GUESS: u64 = 64 << 10;
/// Packs whose indexes are read at the same time when many are unknown.
const TAILS_AT_ONCE: usize = 8;

/// How a store is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a local folder's files are forced to disk before a put returns. Without it an acknowledged put survives
    /// the end of the process, but not that of the machine.
    pub fsync: bool,
    /// What was put or linked less long ago is not collected, whatever the roots say.
    pub grace: Duration,
    /// What time it is.
    pub clock: fn() -> Time,
    /// Where the packs of a new store lie; in its folder when none. One that there is knows it by itself.
    pub bucket: Option<Bucket>,
    /// A pack that the index does not know and that cannot be trusted is moved to `damaged/`, where otherwise the
    /// store does not open: for a repair.
    pub salvage: bool,
}

impl Default for Options {
    /// In a folder, forced to disk, a day of grace, the system's clock.
    fn default() -> Options {
        let grace = Duration::from_secs(24 * 3600);
        Options { fsync: true, grace, clock: system_time, bucket: None, salvage: false }
    }
}

async fn lock(dir: &Path) -> Result<File, BlobError> {
    let dir = dir.to_owned();
    join(tokio::task::spawn_blocking(move || folder::lock(&dir))).await
}

fn system_time() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Immutable bytes named by their hash. Cheap to clone; all clones are one store.
///
/// Its methods must be called inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) index: Index,
    pub(crate) commits: Turns<Commit>,
    pub(crate) small_puts: Turns<SmallPut>,
    pub(crate) proved: Proved,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) cache: FrameCache,
    /// Who goes on reading in which pack of a local folder.
    runs: Runs,
    /// Held by whoever may move what lies in packs, and by whoever needs it not to be moved. The number changes when something
    /// may have been.
    pub(crate) housekeeping: tokio::sync::Mutex<u64>,
    /// Whether the packs lie in a folder of this machine.
    pub(crate) is_local: bool,
    damaged: RwLock<Damaged>,
    /// Holds the lock on the folder.
    _lock: File,
}

/// What is known not to be readable: it counts as missing, so that storing it again repairs it.
#[derive(Debug, Default)]
pub(crate) struct Damaged {
    /// Chunks and blobs that once failed to read; and the packs, when they failed only because those were not there.
    pub(crate) names: HashMap<Hash, Option<BTreeSet<PackNumber>>>,
    /// Packs that are not there as they should be.
    pub(crate) packs: HashMap<PackNumber, Loss>,
}

/// What is wrong with a whole pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is not there, as far as its server or folder knows at that moment.
    Missing,
    /// It is cut or has another index: what can still be read of it says nothing of the rest.
    Altered,
}

impl Damaged {
    /// A read failed for what became of this pack, or for its bytes.
    pub(crate) fn failed(&mut self, name: Hash, pack: PackNumber) {
        let is_missing = self.packs.get(&pack) == Some(&Loss::Missing);
        let why = self.names.entry(name).or_insert_with(|| Some(BTreeSet::new()));
        match why {
            Some(missed) if is_missing => drop(missed.insert(pack)),
            // What is altered stays so when a pack comes back.
            _ => *why = None,
        }
    }

    /// A pack that was missing is there again, and what failed only for want of it.
    pub(crate) fn found(&mut self, pack: PackNumber) {
        self.packs.remove(&pack);
        self.names.retain(|_, why| match why {
            Some(missed) => !missed.remove(&pack) || !missed.is_empty(),
            None => true,
        });
    }
}

impl BlobStore {
    /// Opens the store in `dir`, made when there is none, with [`Options::default`].
    ///
    /// # Errors
    /// [`BlobError::InUse`] when another process has it open, [`BlobError::DamagedPack`] when a pack that the index
    /// does not know cannot be trusted, [`BlobError::Index`] and failures of the disk; with packs in a bucket
    /// [`BlobError::Bucket`], [`BlobError::Owned`], [`BlobError::Elsewhere`] and failures of its server.
    pub async fn open(dir: &Path) -> Result<BlobStore, BlobError> {
        BlobStore::open_with(dir, Options::default()).await
    }

    /// The same, kept in another way.
    ///
    /// # Errors
    /// As [`BlobStore::open`].
    pub async fn open_with(dir: &Path, options: Options) -> Result<BlobStore, BlobError> {
        let lock = lock(dir).await?;
        if dir.join("blobs").is_dir() {
            return Err(BlobError::OldLayout { dir: dir.to_owned() });
        }
        if let Some(bucket) = Bucket::of(dir, options.bucket.as_ref())? {
            let objects = bucket.open(dir).await?;
            return BlobStore::start(dir, objects, options, lock, false).await;
        }
        folder::clear(dir)?;
        let objects = LocalFileSystem::new_with_prefix(dir)
            .map_err(|e| BlobError::object("open the folder", dir.display(), e))?
            .with_fsync(options.fsync);
        BlobStore::start(dir, Arc::new(objects), options, lock, true).await
    }

    /// A store whose packs lie in any object store; `dir` keeps its index and its lock. Only one may use them at a time.
    ///
    /// # Errors
    /// As [`BlobStore::open`].
    pub async fn open_on(
        dir: &Path,
        objects: Arc<dyn ObjectStore>,
        options: Options,
    ) -> Result<BlobStore, BlobError> {
        let lock = lock(dir).await?;
        BlobStore::start(dir, objects, options, lock, false).await
    }

    async fn start(
        dir: &Path,
        objects: Arc<dyn ObjectStore>,
        options: Options,
        lock: File,
        is_local: bool,
    ) -> Result<BlobStore, BlobError> {
        let path = dir.join("index.redb");
        let index = join(tokio::task::spawn_blocking(move || Index::open(&path))).await?;
        let inner = Inner {
            dir: dir.to_owned(),
            options,
            objects,
            index,
            commits: Turns::default(),
            small_puts: Turns::default(),
            proved: Proved::default(),
            epochs: Arc::default(),
            cache: FrameCache::default(),
            runs: Runs::default(),
            housekeeping: tokio::sync::Mutex::default(),
            is_local,
            damaged: RwLock::default(),
            _lock: lock,
        };
        let store = BlobStore(Arc::new(inner));
        store.enter_unknown().await?;
        Ok(store)
    }

    /// Enters the packs that the index does not know: a crash made it forget them, or it is a new index.
    async fn enter_unknown(&self) -> Result<(), BlobError> {
        let mut unknown = self.list_packs().await?;
        let known = self.note_missing(&unknown);
        unknown.retain(|(id, _)| !known.contains(id));
        let mut indexes = Vec::new();
        let mut reads = stream::iter(unknown)
            .map(|(id, length)| async move { (id, self.read_tail(&id, length).await) })
            .buffer_unordered(TAILS_AT_ONCE);
        while let Some((id, index)) = reads.next().await {
            match index {
                Err(BlobError::DamagedPack { .. }) if self.0.options.salvage => {
                    self.set_aside(&pack_path(&id)).await?
                }
                index => indexes.push((id, index?)),
            }
            if indexes.len() >= 256 {
                self.enter_off_runtime(std::mem::take(&mut indexes)).await?;
            }
        }
        self.enter_off_runtime(indexes).await
    }

    /// Remembers which packs that the index knows are not there as they should be. Returns all that it knows.
    pub(crate) fn note_missing(&self, found: &[(Hash, u64)]) -> HashSet<Hash> {
        let found: HashMap<Hash, u64> = found.iter().copied().collect();
        let packs = self.0.index.packs();
        let loss = |info: &PackInfo| match found.get(&info.id) {
            None => Some(Loss::Missing),
            Some(length) => (*length != info.length).then_some(Loss::Altered),
        };
        let lost = packs.iter().filter_map(|(number, info)| Some((*number, loss(info)?)));
        self.damaged_mut().packs = lost.collect();
        packs.values().map(|info| info.id).collect()
    }

    async fn enter_off_runtime(&self, mut packs: Vec<(Hash, PackIndex)>) -> Result<(), BlobError> {
        if packs.is_empty() {
            return Ok(());
        }
        // Of several copies the last one counts: it was stored because the ones before could not be read.
        packs.sort_by_key(|(_, index)| index.created);
        let store = self.clone();
        join(tokio::task::spawn_blocking(move || store.enter(&packs))).await
    }

    /// The packs that there are, and their lengths. What else lies there is none of ours.
    pub(crate) async fn list_packs(&self) -> Result<Vec<(Hash, u64)>, BlobError> {
        let folder = path::Path::from("packs");
        let mut objects = self.0.objects.list(Some(&folder));
        let mut packs = Vec::new();
        while let Some(object) = objects.next().await {
            let meta = object.map_err(|e| BlobError::object("list", &folder, e))?;
            let id = meta.location.filename().and_then(folder::pack_id);
            packs.extend(id.filter(|id| pack_path(id) == meta.location).map(|id| (id, meta.size)));
        }
        Ok(packs)
    }

    /// What a pack says of itself.
    pub(crate) async fn read_tail(&self, id: &Hash, length: u64) -> Result<PackIndex, BlobError> {
        let object = pack_path(id);
        let damaged = |source| BlobError::DamagedPack { object: object.to_string(), source };
        if length < TRAILER_BYTES as u64 {
            return Err(damaged(PackFault::Size(length)));
        }
        let tail = self.read_object(&object, length.saturating_sub(TAIL_GUESS)..length).await?;
        let trailer = tail.last_chunk().ok_or_else(|| damaged(PackFault::Size(length)))?;
        let trailer = Trailer::decode(trailer, length).map_err(damaged)?;
        if trailer.id != *id {
            return Err(damaged(PackFault::Name(trailer.id)));
        }
        let wanted = trailer.index_len() + TRAILER_BYTES as u64;
        let tail = match wanted <= tail.len() as u64 {
            true => tail.slice(tail.len() - wanted as usize..),
            false => self.read_object(&object, length - wanted..length).await?,
        };
        trailer.decode_index(&tail[..tail.len() - TRAILER_BYTES]).map_err(damaged)
    }

    /// All frames of a pack as they are stored: nothing when all it holds is the empty blob, which no server gives a range of.
    pub(crate) async fn read_body(&self, id: &Hash, index: &PackIndex) -> Result<Bytes, BlobError> {
        match index.length - index.tail_len() {
            0 => Ok(Bytes::new()),
            body => self.read_object(&pack_path(id), 0..body).await,
        }
    }

    /// Reads a part of an object.
    pub(crate) async fn read_object(
        &self,
        object: &path::Path,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, BlobError> {
        let failed = |e| BlobError::object("read", object, e);
        if self.0.is_local {
            let (path, ahead) = (self.0.dir.join(object.as_ref()), self.0.runs.ahead(object, &range));
            let read = join(tokio::task::spawn_blocking(move || ahead::read(&path, range, ahead))).await;
            return read.map_err(|e| failed(local(object, e)));
        }
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
        self.0.objects.get_opts(object, options).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// Many things are put one after the other, and are durable together at the end.
    pub fn writer(&self) -> Writer {
        Writer::new(self)
    }

    /// Stores bytes and returns their name. Durable when it returns; stored bytes are not stored twice.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is acknowledged.
    pub async fn put(&self, bytes: Bytes) -> Result<Hash, BlobError> {
        Ok(self.put_many(vec![bytes]).await?[0])
    }

    /// Stores many blobs at the price of one. Returns the names in the order of `blobs`.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; some of the blobs may then be stored.
    pub async fn put_many(&self, blobs: Vec<Bytes>) -> Result<Vec<Hash>, BlobError> {
        let mut writer = self.writer();
        let hashes = writer.put_many(blobs).await?;
        writer.finish().await?;
        Ok(hashes)
    }

    /// Stores what a stream brings, up to `limit`, without holding it in memory. Durable when it returns.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] as soon as the limit is passed, [`BlobError::Body`] when the stream fails,
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is acknowledged.
    pub async fn put_stream<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), BlobError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut writer = self.writer();
        let put = writer.put_stream(body, limit).await?;
        writer.finish().await?;
        Ok(put)
    }

    /// The length of a blob, if it is here and was not found damaged.
    ///
    /// # Errors
    /// [`BlobError::Index`].
    pub fn size(&self, hash: &Hash) -> Result<Option<ByteSize>, BlobError> {
        let reader = self.0.index.read()?;
        let found = match reader.blob(hash)? {
            Some(found) => Some(found),
            None => reader.chunk(hash)?.map(|location| (location, location.place.length.into())),
        };
        Ok(found.filter(|(location, _)| self.is_sound(hash, location)).map(|(_, size)| ByteSize(size)))
    }

    /// Whether a blob is here and was not found damaged.
    ///
    /// # Errors
    /// [`BlobError::Index`].
    pub fn contains(&self, hash: &Hash) -> Result<bool, BlobError> {
        Ok(self.size(hash)?.is_some())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn now(&self) -> Time {
        (self.0.options.clock)()
    }

    /// Whether something can be read as far as is known.
    pub(crate) fn is_sound(&self, name: &Hash, location: &Location) -> bool {
        let damaged = self.damaged();
        (damaged.names.is_empty() || !damaged.names.contains_key(name))
            && (damaged.packs.is_empty() || !damaged.packs.contains_key(&location.pack))
    }

    pub(crate) fn damaged(&self) -> RwLockReadGuard<'_, Damaged> {
        self.0.damaged.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn damaged_mut(&self) -> RwLockWriteGuard<'_, Damaged> {
        self.0.damaged.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of a pack that the index knows.
    pub(crate) fn object_of(&self, location: &Location) -> Option<path::Path> {
        self.0.index.packs().get(&location.pack).map(|info| pack_path(&info.id))
    }
}

/// What a local folder reports, as its object store says it.
fn local(object: &path::Path, error: io::Error) -> object_store::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            object_store::Error::NotFound { path: object.to_string(), source: error.into() }
        }
        _ => object_store::Error::Generic { store: "LocalFileSystem", source: error.into() },
    }
}

/// The object of a pack.
pub(crate) fn pack_path(id: &Hash) -> path::Path {
    path::Path::from_iter(["packs", &format!("{id}.pack")])
}
