//! Putting: cut, hash, look up, compress, pack. Each step of it works on the next bytes while the others have the last.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use pumasi_types::{ByteSize, Duration, Hash};
use tokio::task::JoinHandle;

use crate::BlobError;
use crate::chunker::{Cutter, cut};
use crate::epochs::{Session, Verdict};
use crate::index::{IndexReader, Location};
use crate::manifest::{LIST_MAX, LISTS_MAX, Manifest, Part, encode_list};
use crate::packing::Packing;
use crate::store::BlobStore;
use crate::work::{join, off_runtime};

/// Bytes that are cut and hashed at once.
const BLOCK: usize = 4 << 20;
/// When manifests have grown to this, or blobs wait that many, everything so far is made durable.
const MANIFESTS_MAX: usize = 8 << 20;
const BLOBS_MAX: usize = 1 << 16;

/// What a writer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blobs that were put.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of them that were not in the store yet.
    pub new_bytes: u64,
}

/// Puts many things one after the other; nothing of it is acknowledged before [`Writer::finish`].
///
/// What it found in the store is not collected before it is finished or dropped.
#[derive(Debug)]
pub struct Writer {
    store: BlobStore,
    packing: Packing,
    pending: Pending,
    /// Everything that was put and is not acknowledged yet.
    blobs: Vec<Hash>,
    /// Those that were here before, so that the time at which they were put must be remembered.
    again: Vec<(Hash, Location)>,
    tally: Tally,
    /// Something on its way was lost, so nothing more can be acknowledged.
    is_broken: bool,
    _session: Session,
}

/// A chunk, and where the store has it already.
#[derive(Debug)]
struct Looked {
    name: Hash,
    bytes: Bytes,
    known: Option<Location>,
}

/// A blob that is cut, and where the store has its manifest already.
#[derive(Debug)]
pub(crate) struct Cut {
    id: Hash,
    length: u64,
    chunks: Vec<Looked>,
    known: Option<Location>,
}

/// What is carried from block to block of a stream.
#[derive(Default)]
struct Streaming {
    cutter: Cutter,
    whole: blake3::Hasher,
}

impl Writer {
    pub(crate) fn new(store: &BlobStore) -> Writer {
        Writer {
            store: store.clone(),
            packing: Packing::new(store),
            pending: Pending::default(),
            blobs: Vec::new(),
            again: Vec::new(),
            tally: Tally::default(),
            is_broken: false,
            _session: store.inner().epochs.begin(),
        }
    }

    /// Puts blobs that are in memory. Returns their names in their order.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub async fn put_many(&mut self, blobs: Vec<Bytes>) -> Result<Vec<Hash>, BlobError> {
        Ok(self.put_each(blobs).await?.into_iter().map(|(hash, _)| hash).collect())
    }

    /// The same, with what was done for each.
    pub(crate) async fn put_each(&mut self, blobs: Vec<Bytes>) -> Result<Vec<(Hash, Tally)>, BlobError> {
        let (store, total) = (self.store.clone(), blobs.iter().map(Bytes::len).sum());
        let cuts = off_runtime(total, move || store.cut_all(&blobs)).await?;
        let mut stored = Vec::with_capacity(cuts.len());
        for cut in cuts {
            let before = std::mem::take(&mut self.tally);
            let hash = self.put_cut(cut).await?;
            stored.push((hash, self.tally));
            self.tally = Tally {
                blobs: before.blobs + self.tally.blobs,
                bytes: before.bytes + self.tally.bytes,
                new_bytes: before.new_bytes + self.tally.new_bytes,
            };
        }
        Ok(stored)
    }

    /// Puts a blob that was cut and looked up in this writer's session.
    pub(crate) async fn put_cut(&mut self, cut: Cut) -> Result<Hash, BlobError> {
        let mut parts = Parts::default();
        self.take_in(cut.chunks, &mut parts).await?;
        self.close(cut.id, cut.length, parts, cut.known).await?;
        Ok(cut.id)
    }

    /// Puts what a stream brings, up to `limit`.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] as soon as the limit is passed, [`BlobError::Body`] when the stream fails, else as
    /// [`Writer::finish`].
    pub async fn put_stream<E>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), BlobError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut blocks = Blocks { body: pin!(body.fuse()), rest: Bytes::new(), length: 0, limit };
        let first = blocks.next().await?.unwrap_or_default();
        let Some(mut next) = blocks.next().await? else {
            let length = ByteSize(first.len() as u64);
            return Ok((self.put_many(vec![first]).await?[0], length));
        };
        let mut parts = Parts::default();
        let mut running = self.store.spawn_block(Streaming::default(), first);
        // The block at hand is cut and hashed while the one after it is read.
        let streaming = loop {
            let following = blocks.next().await;
            let (streaming, chunks) = join(running).await?;
            self.take_in(chunks, &mut parts).await?;
            running = self.store.spawn_block(streaming, next);
            match following? {
                Some(block) => next = block,
                None => {
                    let (streaming, chunks) = join(running).await?;
                    self.take_in(chunks, &mut parts).await?;
                    break streaming;
                }
            }
        };
        let (store, cutter) = (self.store.clone(), streaming.cutter);
        let rest = off_runtime(BLOCK, move || store.look_up(cutter.finish())).await?;
        self.take_in(rest, &mut parts).await?;
        let (id, length) = (Hash::from(streaming.whole.finalize()), blocks.length);
        let known = self.store.known_blob(&id)?;
        self.close(id, length, parts, known).await?;
        Ok((id, ByteSize(length)))
    }

    /// Makes everything durable that was put.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`], [`BlobError::Object`], [`BlobError::Index`]: then nothing that was put is acknowledged,
    /// though parts of it may be stored.
    pub async fn finish(mut self) -> Result<Tally, BlobError> {
        self.make_durable().await?;
        Ok(self.tally)
    }

    async fn make_durable(&mut self) -> Result<(), BlobError> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(BlobError::Broken);
        }
        self.packing.flush().await?;
        self.pending.entered_all();
        let (store, again) = (self.store.clone(), std::mem::take(&mut self.again));
        if !again.is_empty() {
            join(tokio::task::spawn_blocking(move || store.touch(&again))).await?;
        }
        self.store.inner().epochs.acknowledge(&self.blobs);
        self.blobs.clear();
        self.is_broken = false;
        Ok(())
    }

    /// Hands on what is new among the chunks.
    async fn take_in(&mut self, chunks: Vec<Looked>, parts: &mut Parts) -> Result<(), BlobError> {
        for Looked { name, bytes, known } in chunks {
            let part = Part { name, length: bytes.len() as u32 };
            if parts.is_full_for(part) {
                let list = parts.close_list();
                let store = self.store.clone();
                for list in off_runtime(list.len(), move || store.look_up(vec![list])).await? {
                    self.take_in_one(list).await?;
                }
            }
            if parts.lists.len() >= LISTS_MAX {
                return Err(BlobError::TooLarge { limit: ByteSize(parts.covered) });
            }
            parts.push(part, known);
            self.take_in_one(Looked { name, bytes, known }).await?;
        }
        Ok(())
    }

    async fn take_in_one(&mut self, chunk: Looked) -> Result<(), BlobError> {
        if chunk.known.is_none() && self.pending.insert(chunk.name) {
            self.tally.new_bytes += chunk.bytes.len() as u64;
            // It stays so when that fails, or when the caller goes away in the middle of it.
            let was_broken = std::mem::replace(&mut self.is_broken, true);
            let entered = self.packing.chunk(chunk.name, chunk.bytes).await?;
            self.pending.entered(entered);
            self.is_broken = was_broken;
        }
        Ok(())
    }

    /// All chunks of a blob were taken in.
    async fn close(
        &mut self,
        id: Hash,
        length: u64,
        mut parts: Parts,
        known: Option<Location>,
    ) -> Result<(), BlobError> {
        self.tally.blobs += 1;
        self.tally.bytes += length;
        self.blobs.push(id);
        if let (true, [only]) = (parts.lists.is_empty(), parts.parts.as_slice()) {
            debug_assert_eq!(only.name, id);
            self.again.extend(parts.first_known.map(|location| (id, location)));
            return self.bound().await;
        }
        if !parts.lists.is_empty() && !parts.parts.is_empty() {
            let list = parts.close_list();
            let store = self.store.clone();
            for list in off_runtime(list.len(), move || store.look_up(vec![list])).await? {
                self.take_in_one(list).await?;
            }
        }
        match known {
            Some(location) => self.again.push((id, location)),
            None => {
                let lists = !parts.lists.is_empty();
                let parts = if lists { parts.lists } else { parts.parts };
                let manifest = Manifest { lists, length, parts }.encode();
                self.packing.manifest(id, length, manifest.into());
            }
        }
        self.bound().await
    }

    /// Makes what is put so far durable when it has become much.
    async fn bound(&mut self) -> Result<(), BlobError> {
        if self.packing.manifest_bytes() > MANIFESTS_MAX || self.blobs.len() >= BLOBS_MAX {
            self.make_durable().await?;
        }
        Ok(())
    }
}

/// Chunks on their way into packs, and those that the index has known for a moment only: what was looked up before that
/// is still on its way here.
#[derive(Debug, Default)]
struct Pending {
    names: HashSet<Hash>,
    /// By pack, oldest first.
    entered: VecDeque<Vec<Hash>>,
}

impl Pending {
    /// Packs whose names are kept: much more than is ever looked up ahead.
    const PACKS: usize = 4;

    /// Whether it was not on its way yet.
    fn insert(&mut self, name: Hash) -> bool {
        self.names.insert(name)
    }

    /// The index knows these now.
    fn entered(&mut self, names: Vec<Hash>) {
        if names.is_empty() {
            return;
        }
        self.entered.push_back(names);
        if self.entered.len() > Pending::PACKS {
            for name in self.entered.pop_front().unwrap_or_default() {
                self.names.remove(&name);
            }
        }
    }

    /// The index knows all of them now.
    fn entered_all(&mut self) {
        let known: HashSet<Hash> = self.entered.iter().flatten().copied().collect();
        let rest = self.names.difference(&known).copied().collect();
        self.entered(rest);
    }
}

/// The parts of a blob so far.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    lists: Vec<Part>,
    covered: u64,
    /// Bytes of the blob in `parts`.
    length: u32,
    /// Where the first chunk was, if it was here.
    first_known: Option<Location>,
}

impl Parts {
    /// Whether a list ends before this one: it has a number of chunks at most, and as many bytes as its own part can tell.
    fn is_full_for(&self, part: Part) -> bool {
        self.parts.len() == LIST_MAX || self.length.checked_add(part.length).is_none()
    }

    fn push(&mut self, part: Part, known: Option<Location>) {
        if self.covered == 0 && self.parts.is_empty() {
            self.first_known = known;
        }
        self.covered += u64::from(part.length);
        self.length += part.length;
        self.parts.push(part);
    }

    /// Makes a list of the chunks so far and returns it, to be stored.
    fn close_list(&mut self) -> Bytes {
        let parts = std::mem::take(&mut self.parts);
        let list = Bytes::from(encode_list(&parts));
        self.lists.push(Part { name: Hash::of(&list), length: std::mem::take(&mut self.length) });
        list
    }
}

/// Pieces of any length as blocks of about the same.
struct Blocks<S> {
    body: S,
    rest: Bytes,
    length: u64,
    limit: ByteSize,
}

impl<S, E> Blocks<std::pin::Pin<&mut futures_util::stream::Fuse<S>>>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let mut block = BytesMut::new();
        loop {
            if self.rest.is_empty() {
                match self.body.next().await {
                    None => return Ok((!block.is_empty()).then(|| block.freeze())),
                    Some(piece) => self.rest = piece.map_err(|e| BlobError::Body { source: e.into() })?,
                }
                self.length = self.length.saturating_add(self.rest.len() as u64);
                if self.length > self.limit.0 {
                    return Err(BlobError::TooLarge { limit: self.limit });
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(BLOCK - block.len()));
            if block.is_empty() && piece.len() >= BLOCK / 2 {
                return Ok(Some(piece));
            }
            block.extend_from_slice(&piece);
            if block.len() == BLOCK {
                return Ok(Some(block.freeze()));
            }
        }
    }
}

/// What the store had at one moment, whole as far as is known, and not about to be collected.
pub(crate) struct Known<'a> {
    store: &'a BlobStore,
    /// Older than what the index says.
    verdict: Verdict,
    index: IndexReader,
}

impl Known<'_> {
    /// Cuts a blob and looks all of it up. One that is a single chunk is hashed once.
    pub(crate) fn cut(&self, blob: &Bytes) -> Result<Cut, BlobError> {
        let mut chunks = cut(blob);
        if chunks.is_empty() {
            chunks.push(Bytes::new());
        }
        let chunks = self.look_up(chunks)?;
        let (id, known) = match chunks.as_slice() {
            [only] => (only.name, None),
            _ => {
                let id = Hash::of(blob);
                (id, self.blob(&id)?)
            }
        };
        Ok(Cut { id, length: blob.len() as u64, chunks, known })
    }

    fn look_up(&self, chunks: Vec<Bytes>) -> Result<Vec<Looked>, BlobError> {
        let look = |bytes: Bytes| -> Result<Looked, BlobError> {
            let name = Hash::of(&bytes);
            let known = self.index.chunk(&name)?.filter(|location| self.is_sure(&name, location));
            Ok(Looked { name, known, bytes })
        };
        chunks.into_iter().map(look).collect()
    }

    fn blob(&self, id: &Hash) -> Result<Option<Location>, BlobError> {
        let location = self.index.blob(id)?.map(|(location, _)| location);
        Ok(location.filter(|location| self.is_sure(id, location)))
    }

    fn is_sure(&self, name: &Hash, location: &Location) -> bool {
        !self.verdict.is_condemned(location) && self.store.is_sound(name, location)
    }
}

impl BlobStore {
    fn cut_all(&self, blobs: &[Bytes]) -> Result<Vec<Cut>, BlobError> {
        let known = self.what_is_known()?;
        blobs.iter().map(|blob| known.cut(blob)).collect()
    }

    /// Cuts and hashes a block, on the one core the chunks of it, on the other the whole.
    fn spawn_block(
        &self,
        streaming: Streaming,
        block: Bytes,
    ) -> JoinHandle<Result<(Streaming, Vec<Looked>), BlobError>> {
        let Streaming { mut cutter, mut whole } = streaming;
        let (store, same) = (self.clone(), block.clone());
        tokio::spawn(async move {
            let hashing = tokio::task::spawn_blocking(move || {
                whole.update(&same);
                whole
            });
            let cutting = tokio::task::spawn_blocking(move || {
                let chunks = cutter.push(&block);
                (cutter, store.look_up(chunks))
            });
            let (cutter, chunks) = join(cutting).await;
            let whole = join(hashing).await;
            Ok((Streaming { cutter, whole }, chunks?))
        })
    }

    fn look_up(&self, chunks: Vec<Bytes>) -> Result<Vec<Looked>, BlobError> {
        self.what_is_known()?.look_up(chunks)
    }

    fn known_blob(&self, id: &Hash) -> Result<Option<Location>, BlobError> {
        self.what_is_known()?.blob(id)
    }

    /// What a writer can rely on at this moment.
    pub(crate) fn what_is_known(&self) -> Result<Known<'_>, BlobError> {
        let verdict = self.inner().epochs.verdict();
        Ok(Known { store: self, verdict, index: self.inner().index.read()? })
    }

    /// Remembers that these were put or linked now, as far as nothing says so yet.
    pub(crate) fn touch(&self, blobs: &[(Hash, Location)]) -> Result<(), BlobError> {
        let (now, grace) = (self.now(), self.inner().options.grace);
        if grace.0 == 0 {
            return Ok(());
        }
        // Half of the grace time stays even if nothing is written for the other half.
        let is_old = |at| now.since(at) > Duration(grace.0 / 2);
        let reader = self.inner().index.read()?;
        let mut touch = Vec::new();
        for (blob, location) in blobs {
            let entered = self.inner().index.packs().get(&location.pack).map(|info| info.entered);
            if entered.is_none_or(is_old) && reader.touched(blob)?.is_none_or(is_old) {
                touch.push(*blob);
            }
        }
        self.inner().index.touch(&touch, now)
    }
}
