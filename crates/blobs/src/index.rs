//! Where everything lies: an embedded database beside the packs, which can always be made again from them.
//!
//! The packs are the truth. A pack is entered here when it is durable; what a crash made the database forget is
//! entered again when the store opens, from the packs' own indexes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pumasi_types::{Hash, Time};
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};

use crate::BlobError;
use crate::ahead;
use crate::pack::{Kind, PackIndex, Place};

/// Bytes of the database that are kept in memory at most.
const CACHE_BYTES: usize = 48 << 20;
/// A file longer than this is not fetched whole: it may not fit into the memory of the system.
const FETCH_MAX: u64 = 512 << 20;
/// A commit that is on disk for so many that are not: those are entered again from their packs after a crash.
const COMMITS_PER_SYNC: u32 = 32;
/// Bytes of a row of the large tables.
const ROW_BYTES: u64 = 64;
/// Bytes that the file may have besides twice its rows; with more it is made smaller when it is closed.
const SPARE: u64 = 128 << 10;

type ChunkTable = TableDefinition<'static, [u8; 32], [u8; 28]>;
type BlobTable = TableDefinition<'static, [u8; 32], [u8; 36]>;
/// Chunks and lists: where they lie.
const CHUNKS: ChunkTable = TableDefinition::new("chunks");
/// Blobs of several chunks: where the manifest lies, and how long the blob is.
const BLOBS: BlobTable = TableDefinition::new("blobs");
/// Packs by number.
const PACKS: TableDefinition<'static, u32, [u8; 72]> = TableDefinition::new("packs");
/// Blobs that were put or linked again though their bytes are old: when (ns since 1970).
const TOUCHED: TableDefinition<'static, [u8; 32], u64> = TableDefinition::new("touched");
/// Numbers about the index itself: `version`.
const ABOUT: TableDefinition<'static, &str, u64> = TableDefinition::new("about");
const VERSION: u64 = 1;

/// Number of a pack in this index; never given twice.
pub(crate) type PackNumber = u32;

/// A pack that the index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackInfo {
    pub(crate) id: Hash,
    pub(crate) kind: Kind,
    /// Bytes of the object.
    pub(crate) length: u64,
    /// Bytes of its entries.
    pub(crate) raw: u64,
    pub(crate) entries: u32,
    /// When it was written, as it says itself.
    pub(crate) created: Time,
    /// When this index learned of it: what it holds is protected from collection for the grace time after that.
    pub(crate) entered: Time,
}

/// Where something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackNumber,
    pub(crate) place: Place,
}

/// The index of a store. All its methods can block on the disk for a moment.
#[derive(Debug)]
pub(crate) struct Index {
    database: Database,
    packs: RwLock<HashMap<PackNumber, PackInfo>>,
    /// Held by whoever changes the index.
    writer: Mutex<Writing>,
    /// The latest time at which a known pack says to have been written, in nanoseconds.
    latest: AtomicU64,
    path: PathBuf,
}

impl Index {
    /// Opens the index, made when there is none. One that cannot be read is set aside as `index.broken`.
    pub(crate) fn open(path: &Path) -> Result<Index, BlobError> {
        match Index::try_open(path) {
            Err(
                redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::TableTypeMismatch { .. },
            ) => {}
            Err(redb::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {}
            other => return other.map_err(|e| BlobError::index("open", path, e)),
        }
        let aside = path.with_extension("broken");
        std::fs::rename(path, &aside).map_err(|e| BlobError::folder("set aside", path, e))?;
        Index::try_open(path).map_err(|e| BlobError::index("make", path, e))
    }

    fn try_open(path: &Path) -> Result<Index, redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let write = database.begin_write()?;
        {
            write.open_table(CHUNKS)?;
            write.open_table(BLOBS)?;
            write.open_table(TOUCHED)?;
            let mut about = write.open_table(ABOUT)?;
            let version = about.get("version")?.map(|value| value.value());
            match version {
                None => drop(about.insert("version", VERSION)?),
                Some(VERSION) => {}
                Some(other) => return Err(redb::Error::Corrupted(format!("index version {other}"))),
            }
        }
        let mut packs = HashMap::new();
        for row in write.open_table(PACKS)?.iter()? {
            let (number, info) = row?;
            packs.insert(number.value(), PackInfo::decode(&info.value()));
        }
        write.commit()?;
        let writing = Writing {
            unsynced: 0,
            ids: packs.iter().map(|(number, info): (&PackNumber, &PackInfo)| (info.id, *number)).collect(),
            last: packs.keys().copied().max().unwrap_or(0),
        };
        let latest = AtomicU64::new(packs.values().map(|info| info.created.0).max().unwrap_or(0));
        let (packs, writer) = (RwLock::new(packs), Mutex::new(writing));
        Ok(Index { database, packs, writer, latest, path: path.to_owned() })
    }

    /// For many questions in a row.
    pub(crate) fn read(&self) -> Result<IndexReader, BlobError> {
        let open = || -> Result<IndexReader, redb::Error> {
            let read = self.database.begin_read()?;
            Ok(IndexReader {
                chunks: read.open_table(CHUNKS)?,
                blobs: read.open_table(BLOBS)?,
                touched: read.open_table(TOUCHED)?,
                path: self.path.clone(),
            })
        };
        open().map_err(|e| self.failed("read", e))
    }

    /// Has the system read the whole file in order, for whoever goes to read `bytes` of content, unless it has more than these.
    /// Rows lie in it in the order of hashes: neighbours in a folder would each be looked up in another place of the disk.
    pub(crate) fn fetch_for(&self, bytes: u64) {
        // Only to be faster: looking something up says what is wrong with the file.
        let Ok(file) = File::open(&self.path) else { return };
        let length = file.metadata().map_or(0, |meta| meta.len());
        if length <= bytes.min(FETCH_MAX) {
            ahead::fetch(&file, 0..length);
        }
    }

    pub(crate) fn packs(&self) -> RwLockReadGuard<'_, HashMap<PackNumber, PackInfo>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn packs_mut(&self) -> RwLockWriteGuard<'_, HashMap<PackNumber, PackInfo>> {
        self.packs.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters packs that are durable. What they hold wins over older copies, never over newer ones.
    pub(crate) fn enter(&self, packs: &[(Hash, PackIndex)], now: Time) -> Result<(), BlobError> {
        let mut writing = self.writing();
        let sync = writing.unsynced + 1 >= COMMITS_PER_SYNC;
        let mut entered = Vec::with_capacity(packs.len());
        for (id, index) in packs {
            if !writing.ids.contains_key(id) {
                let number = writing.last.checked_add(1).expect("fewer than 2^32 packs");
                writing.last = number;
                writing.ids.insert(*id, number);
                entered.push((number, PackInfo::new(*id, index, now), index));
            }
        }
        let commit = || -> Result<(), redb::Error> {
            let mut write = self.database.begin_write()?;
            write.set_durability(if sync { Durability::Immediate } else { Durability::None })?;
            for (number, info, index) in &entered {
                write.open_table(PACKS)?.insert(number, info.encode())?;
                self.enter_places(&write, *number, index)?;
            }
            Ok(write.commit()?)
        };
        if let Err(error) = commit() {
            for (_, info, _) in &entered {
                writing.ids.remove(&info.id);
            }
            return Err(self.failed("write", error));
        }
        writing.unsynced = if sync { 0 } else { writing.unsynced + 1 };
        let latest = entered.iter().map(|(_, info, _)| info.created.0).max().unwrap_or(0);
        self.latest.fetch_max(latest, Ordering::SeqCst);
        self.packs_mut().extend(entered.into_iter().map(|(number, info, _)| (number, info)));
        Ok(())
    }

    /// A time for a new pack: later than all that are known, whatever the clock says, because of several copies the
    /// latest counts.
    pub(crate) fn time_for_new(&self, now: Time) -> Time {
        now.max(Time(self.latest.load(Ordering::SeqCst).saturating_add(1)))
    }

    fn enter_places(
        &self,
        write: &redb::WriteTransaction,
        pack: PackNumber,
        index: &PackIndex,
    ) -> Result<(), redb::Error> {
        let packs = self.packs();
        let is_newer = |old: &Location| packs.get(&old.pack).is_some_and(|info| info.created > index.created);
        // In the order of the tree they touch each page once.
        let mut places: Vec<_> = index.places.iter().collect();
        places.sort_unstable_by_key(|(entry, _)| *entry.name.as_bytes());
        let mut chunks = write.open_table(CHUNKS)?;
        let mut blobs = write.open_table(BLOBS)?;
        for (entry, place) in places {
            let (name, location) = (entry.name.as_bytes(), Location { pack, place: *place });
            match index.kind {
                Kind::Chunks => {
                    let old = chunks.insert(name, location.encode())?.map(|old| old.value());
                    if let Some(old) = old.filter(|old| is_newer(&Location::decode(old))) {
                        chunks.insert(name, old)?;
                    }
                }
                Kind::Manifests => {
                    let old = blobs.insert(name, encode_blob(&location, entry.size))?.map(|old| old.value());
                    if let Some(old) = old.filter(|old| is_newer(&decode_blob(old).0)) {
                        blobs.insert(name, old)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Remembers durably that these blobs were put or linked now.
    pub(crate) fn touch(&self, blobs: &[Hash], now: Time) -> Result<(), BlobError> {
        if blobs.is_empty() {
            return Ok(());
        }
        self.change(|write| {
            let mut touched = write.open_table(TOUCHED)?;
            for blob in blobs {
                touched.insert(blob.as_bytes(), now.0)?;
            }
            Ok(())
        })
    }

    /// Forgets touches from before a time.
    pub(crate) fn forget_touches(&self, before: Time) -> Result<(), BlobError> {
        self.change(|write| Ok(write.open_table(TOUCHED)?.retain(|_, at| at >= before.0)?))
    }

    /// Forgets packs, and what is still said to lie in them among the names given.
    pub(crate) fn forget(
        &self,
        packs: &[PackNumber],
        chunks: &[Hash],
        blobs: &[Hash],
    ) -> Result<(), BlobError> {
        self.change(|write| {
            let mut table = write.open_table(CHUNKS)?;
            for name in chunks {
                let place = table.get(name.as_bytes())?.map(|row| Location::decode(&row.value()));
                if place.is_some_and(|place| packs.contains(&place.pack)) {
                    table.remove(name.as_bytes())?;
                }
            }
            let mut table = write.open_table(BLOBS)?;
            for name in blobs {
                let place = table.get(name.as_bytes())?.map(|row| decode_blob(&row.value()).0);
                if place.is_some_and(|place| packs.contains(&place.pack)) {
                    table.remove(name.as_bytes())?;
                }
            }
            let mut table = write.open_table(PACKS)?;
            for pack in packs {
                table.remove(pack)?;
            }
            Ok(())
        })?;
        let gone: HashSet<PackNumber> = packs.iter().copied().collect();
        self.packs_mut().retain(|number, _| !gone.contains(number));
        self.writing().ids.retain(|_, number| !gone.contains(number));
        Ok(())
    }

    /// Makes everything entered so far durable.
    pub(crate) fn sync(&self) -> Result<(), BlobError> {
        self.change(|_| Ok(()))
    }

    /// A change that is on disk when this returns.
    fn change(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), BlobError> {
        let mut writing = self.writing();
        let commit = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            change(&write)?;
            Ok(write.commit()?)
        };
        commit().map_err(|e| self.failed("write", e))?;
        writing.unsynced = 0;
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, operation: &'static str, error: impl Into<redb::Error>) -> BlobError {
        BlobError::index(operation, &self.path, error.into())
    }
}

impl Index {
    /// Whether most of the file is pages that commits left behind. Rows fill two thirds of a tree's pages or so.
    fn is_mostly_empty(&self) -> Result<bool, BlobError> {
        let (chunks, blobs) = self.read()?.counts()?;
        let rows = ROW_BYTES * (chunks + blobs);
        let file = std::fs::metadata(&self.path).map_err(|e| BlobError::folder("look at", &self.path, e))?;
        Ok(file.len() > 2 * rows + SPARE)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // What could not be written is entered again from the packs at the next opening, and a file that could not be
        // made smaller is as good as before.
        let _ = self.sync();
        if self.is_mostly_empty().unwrap_or(false) {
            let _ = self.database.compact();
        }
    }
}

/// What whoever changes the index has to know.
#[derive(Debug)]
struct Writing {
    /// Commits that are not on disk yet.
    unsynced: u32,
    /// Numbers of all packs.
    ids: HashMap<Hash, PackNumber>,
    /// The largest number ever given.
    last: PackNumber,
}

impl PackInfo {
    fn new(id: Hash, index: &PackIndex, entered: Time) -> PackInfo {
        let (kind, length, raw, created) = (index.kind, index.length, index.raw, index.created);
        PackInfo { id, kind, length, raw, entries: index.places.len() as u32, created, entered }
    }

    fn encode(&self) -> [u8; 72] {
        let mut row = [0; 72];
        row[..32].copy_from_slice(self.id.as_bytes());
        let kind = u64::from(self.kind == Kind::Manifests);
        let numbers =
            [kind << 32 | u64::from(self.entries), self.length, self.raw, self.created.0, self.entered.0];
        for (field, number) in row[32..].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        row
    }

    fn decode(row: &[u8; 72]) -> PackInfo {
        let number = |n: usize| u64::from_le_bytes(row[32 + 8 * n..40 + 8 * n].try_into().expect("8 bytes"));
        PackInfo {
            id: Hash::from_bytes(row[..32].try_into().expect("32 bytes")),
            kind: if number(0) >> 32 == 0 { Kind::Chunks } else { Kind::Manifests },
            entries: number(0) as u32,
            length: number(1),
            raw: number(2),
            created: Time(number(3)),
            entered: Time(number(4)),
        }
    }
}

impl Location {
    fn encode(&self) -> [u8; 28] {
        let Place { start, stored, raw, offset, length, ordinal } = self.place;
        let mut row = [0; 28];
        for (field, number) in
            row.chunks_exact_mut(4).zip([self.pack, start, stored, raw, offset, length, ordinal])
        {
            field.copy_from_slice(&number.to_le_bytes());
        }
        row
    }

    fn decode(row: &[u8; 28]) -> Location {
        let number = |n: usize| u32::from_le_bytes(row[4 * n..4 * n + 4].try_into().expect("4 bytes"));
        let [start, stored, raw, offset, length, ordinal] = [1, 2, 3, 4, 5, 6].map(number);
        Location { pack: number(0), place: Place { start, stored, raw, offset, length, ordinal } }
    }
}

fn encode_blob(location: &Location, size: u64) -> [u8; 36] {
    let mut row = [0; 36];
    row[..28].copy_from_slice(&location.encode());
    row[28..].copy_from_slice(&size.to_le_bytes());
    row
}

fn decode_blob(row: &[u8; 36]) -> (Location, u64) {
    let (location, size) = row.split_first_chunk().expect("28 of 36 bytes");
    (Location::decode(location), u64::from_le_bytes(size.try_into().expect("the other 8")))
}

/// Answers questions about the state of the index at one moment.
pub(crate) struct IndexReader {
    chunks: ReadOnlyTable<[u8; 32], [u8; 28]>,
    blobs: ReadOnlyTable<[u8; 32], [u8; 36]>,
    touched: ReadOnlyTable<[u8; 32], u64>,
    path: PathBuf,
}

impl IndexReader {
    /// Where a chunk lies.
    pub(crate) fn chunk(&self, name: &Hash) -> Result<Option<Location>, BlobError> {
        let row = self.chunks.get(name.as_bytes()).map_err(|e| self.failed(e))?;
        Ok(row.map(|row| Location::decode(&row.value())))
    }

    /// Where the manifest of a blob of several chunks lies, and the blob's length.
    pub(crate) fn blob(&self, name: &Hash) -> Result<Option<(Location, u64)>, BlobError> {
        let row = self.blobs.get(name.as_bytes()).map_err(|e| self.failed(e))?;
        Ok(row.map(|row| decode_blob(&row.value())))
    }

    /// When a blob was last touched.
    pub(crate) fn touched(&self, name: &Hash) -> Result<Option<Time>, BlobError> {
        let row = self.touched.get(name.as_bytes()).map_err(|e| self.failed(e))?;
        Ok(row.map(|row| Time(row.value())))
    }

    /// All blobs that were touched, and when.
    pub(crate) fn all_touched(&self) -> impl Iterator<Item = Result<(Hash, Time), BlobError>> + '_ {
        let rows = self.touched.iter();
        let (rows, error) = match rows {
            Ok(rows) => (Some(rows), None),
            Err(error) => (None, Some(Err(self.failed(error)))),
        };
        let row = |row: Result<
            (redb::AccessGuard<'_, [u8; 32]>, redb::AccessGuard<'_, u64>),
            redb::StorageError,
        >| {
            row.map(|(name, at)| (Hash::from_bytes(name.value()), Time(at.value())))
                .map_err(|e| self.failed(e))
        };
        error.into_iter().chain(rows.into_iter().flatten().map(row))
    }

    /// How many chunks and how many manifests there are.
    pub(crate) fn counts(&self) -> Result<(u64, u64), BlobError> {
        let chunks = self.chunks.len().map_err(|e| self.failed(e))?;
        Ok((chunks, self.blobs.len().map_err(|e| self.failed(e))?))
    }

    /// All chunks and where they lie.
    pub(crate) fn all_chunks(&self, mut each: impl FnMut(Hash, Location)) -> Result<(), BlobError> {
        for row in self.chunks.iter().map_err(|e| self.failed(e))? {
            let (name, row) = row.map_err(|e| self.failed(e))?;
            each(Hash::from_bytes(name.value()), Location::decode(&row.value()));
        }
        Ok(())
    }

    /// All blobs of several chunks, where their manifests lie and how long they are.
    pub(crate) fn all_blobs(&self, mut each: impl FnMut(Hash, Location, u64)) -> Result<(), BlobError> {
        for row in self.blobs.iter().map_err(|e| self.failed(e))? {
            let (name, row) = row.map_err(|e| self.failed(e))?;
            let (location, size) = decode_blob(&row.value());
            each(Hash::from_bytes(name.value()), location, size);
        }
        Ok(())
    }

    fn failed(&self, error: impl Into<redb::Error>) -> BlobError {
        BlobError::index("read", &self.path, error.into())
    }
}
