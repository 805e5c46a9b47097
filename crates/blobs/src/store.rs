//! The store itself: put, get, stream.

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use futures_util::Stream;
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, path};
use pumasi_types::{ByteSize, Hash};

use crate::BlobError;
use crate::folder;
use crate::index::{Index, Location, own_path, pack_path};
use crate::pack::{Pack, PackWriter};
use crate::reader::Reader;
use crate::upload::Upload;
use crate::work::{hash_of, join, off_runtime};

/// A blob larger than this gets an object of its own even when it comes with many.
const PACKED_MAX: usize = 1 << 20;
/// A pack is closed when its blobs have grown to this; bounds what writing one takes in memory.
const PACK_TARGET: usize = 16 << 20;

/// Immutable bytes named by their hash, in a local folder. Cheap to clone; all clones are one store.
///
/// Its methods must be called inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: LocalFileSystem,
    index: RwLock<Index>,
    uploads: AtomicU64,
    /// Holds the lock on the folder.
    _lock: File,
}

/// Many blobs, sorted by how to store them.
struct Sorted {
    /// Of all, in the order they came.
    hashes: Vec<Hash>,
    packs: Vec<Pack>,
    single: Vec<(Hash, Bytes)>,
}

impl BlobStore {
    /// Opens the store in `dir`, which is created when missing. Unfinished uploads of a crash are removed.
    ///
    /// Blocks while it reads the folder: the index of every pack and the name of every blob.
    ///
    /// # Errors
    /// [`BlobError::InUse`] when another process has it open, [`BlobError::DamagedPack`] when a pack's index
    /// cannot be trusted, and failures of the disk.
    pub fn open(dir: &Path) -> Result<BlobStore, BlobError> {
        let lock = folder::lock(dir)?;
        let index = RwLock::new(folder::scan(dir)?);
        let objects = LocalFileSystem::new_with_prefix(dir)
            .map_err(|e| BlobError::object("open the folder", dir.display(), e))?
            .with_fsync(true);
        Ok(BlobStore(Arc::new(Inner { objects, index, uploads: AtomicU64::new(0), _lock: lock })))
    }

    /// Stores bytes and returns their name. Durable when it returns; stored bytes are not stored twice.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is kept.
    pub async fn put(&self, bytes: Bytes) -> Result<Hash, BlobError> {
        let hash = hash_of(bytes.clone()).await;
        self.put_named(hash, bytes).await?;
        Ok(hash)
    }

    pub(crate) async fn put_named(&self, hash: Hash, bytes: Bytes) -> Result<(), BlobError> {
        if self.contains(&hash) {
            return Ok(());
        }
        let (object, length) = (own_path(&hash), bytes.len() as u64);
        self.write(&object, bytes).await?;
        self.index_mut().insert_own(hash, length);
        Ok(())
    }

    /// Stores many small blobs at the price of one: new ones go into one pack with a single sync, except
    /// those above 1 MiB and what exceeds 16 MiB together. Returns the names in the order of `blobs`.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; some of the blobs may then be stored.
    pub async fn put_many(&self, blobs: Vec<Bytes>) -> Result<Vec<Hash>, BlobError> {
        let total = blobs.iter().map(Bytes::len).sum();
        let store = self.clone();
        let sorted = off_runtime(total, move || store.sort_out(blobs)).await;
        for pack in sorted.packs {
            self.write(&pack_path(&pack.id), pack.bytes.into()).await?;
            self.index_mut().insert_pack(pack.id, &pack.blobs);
        }
        for (hash, bytes) in sorted.single {
            self.put_named(hash, bytes).await?;
        }
        Ok(sorted.hashes)
    }

    /// Hashes all, packs the small ones that are new and sets the others aside.
    fn sort_out(&self, blobs: Vec<Bytes>) -> Sorted {
        let hashes: Vec<Hash> = blobs.iter().map(|blob| Hash::of(blob)).collect();
        let (mut packs, mut single, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let mut pack = PackWriter::default();
        for (hash, blob) in hashes.iter().zip(blobs) {
            if self.contains(hash) || !seen.insert(*hash) {
                continue;
            }
            // What replaces a damaged blob must win over it at the next open: objects of their own do.
            if blob.len() > PACKED_MAX || self.index().locate(hash).is_some() {
                single.push((*hash, blob));
                continue;
            }
            if pack.body_len() + blob.len() > PACK_TARGET || !pack.push(*hash, &blob) {
                packs.push(std::mem::take(&mut pack).finish());
                assert!(pack.push(*hash, &blob), "an empty pack takes a small blob");
            }
        }
        if !pack.is_empty() {
            packs.push(pack.finish());
        }
        Sorted { hashes, packs, single }
    }

    /// Stores what a stream brings, up to `limit`, without holding it in memory. Durable when it returns.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] as soon as the limit is passed, [`BlobError::Body`] when the stream fails,
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is kept.
    pub async fn put_stream<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), BlobError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut upload = Upload::new(self);
        match upload.receive(pin!(body), limit).await {
            // A caller that goes away now must not leave the upload behind under its temporary name.
            Ok(()) => join(tokio::spawn(upload.finish())).await,
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// The bytes of a blob, verified.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Damaged`] and failures of the disk.
    pub async fn get(&self, hash: &Hash) -> Result<Bytes, BlobError> {
        let location = self.locate(hash)?;
        let bytes = self.read(hash, &location, location.range.clone()).await?;
        match hash_of(bytes.clone()).await == *hash {
            true => Ok(bytes),
            false => Err(self.damaged(hash, &location)),
        }
    }

    /// The length of a blob and its bytes in order, verified while they are read: the last piece comes only
    /// after the whole has proved right, so a receiver that counts the length never accepts damaged bytes.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], and [`BlobError::Damaged`] when the object's length is wrong; the stream ends
    /// with [`BlobError::Damaged`] when its bytes are.
    pub async fn stream(
        &self,
        hash: &Hash,
    ) -> Result<
        (ByteSize, impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin + 'static + use<>),
        BlobError,
    > {
        let location = self.locate(hash)?;
        let meta = self.0.objects.head(&location.object).await;
        self.check(hash, &location, meta.map(|meta| meta.size))?;
        let length = location.length();
        Ok((ByteSize(length), Reader::stream(self.clone(), *hash, location)))
    }

    /// The length of a blob, if it is here and was not found damaged.
    pub fn size(&self, hash: &Hash) -> Option<ByteSize> {
        self.index().length(hash).map(ByteSize)
    }

    /// Whether a blob is here and was not found damaged.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.size(hash).is_some()
    }

    fn locate(&self, hash: &Hash) -> Result<Location, BlobError> {
        self.index().locate(hash).ok_or(BlobError::NotFound { hash: *hash })
    }

    /// Whether the object that should hold a blob is there and has the right length.
    fn check(
        &self,
        hash: &Hash,
        location: &Location,
        object_len: object_store::Result<u64>,
    ) -> Result<(), BlobError> {
        match object_len {
            Ok(length) if location.fits(length) => Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(self.damaged(hash, location)),
            Err(error) => Err(BlobError::object("look at", &location.object, error)),
        }
    }

    /// Reads a part of the object that holds a blob.
    pub(crate) async fn read(
        &self,
        hash: &Hash,
        location: &Location,
        range: Range<u64>,
    ) -> Result<Bytes, BlobError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions::new().with_range(Some(range));
        let failure = match self.0.objects.get_opts(&location.object, options).await {
            Ok(found) => {
                self.check(hash, location, Ok(found.meta.size))?;
                match found.bytes().await {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // An object that was cut is damage, not a disk that fails to read.
        let meta = self.0.objects.head(&location.object).await;
        self.check(hash, location, meta.map(|meta| meta.size))?;
        Err(BlobError::object("read", &location.object, failure))
    }

    /// Writes an object, synced with its folder, and only then gives it its name.
    async fn write(&self, object: &path::Path, bytes: Bytes) -> Result<(), BlobError> {
        let written = self.0.objects.put(object, bytes.into()).await;
        written.map(drop).map_err(|e| BlobError::object("write", object, e))
    }

    /// A name under incoming/ that no other upload of this process uses.
    pub(crate) fn temporary(&self) -> path::Path {
        let number = self.0.uploads.fetch_add(1, Ordering::Relaxed);
        path::Path::from_iter(["incoming", &number.to_string()])
    }

    pub(crate) fn objects(&self) -> &LocalFileSystem {
        &self.0.objects
    }

    pub(crate) fn damaged(&self, hash: &Hash, location: &Location) -> BlobError {
        self.index_mut().mark_damaged(*hash);
        BlobError::Damaged { hash: *hash, object: location.object.to_string() }
    }

    // Each change of the index is one insertion, so a panic elsewhere cannot leave it half-changed.
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
