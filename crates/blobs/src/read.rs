//! Reading: from names to places to verified bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use object_store::ObjectStoreExt;
use pumasi_types::{ByteSize, Hash};
use tokio::task::JoinHandle;

use crate::BlobError;
use crate::cache::{Cached, Slot};
use crate::frame::decode;
use crate::index::{IndexReader, Location, PackNumber};
use crate::manifest::{Manifest, Part, decode_list};
use crate::pack::Place;
use crate::proved::Proof;
use crate::store::{BlobStore, Loss};
use crate::work::{join, off_runtime};

/// Stored bytes that are read at once.
const SPAN_STORED: u32 = 2 << 20;
/// Chunks that are read at once, whatever they compress to.
const SPAN_RAW: u64 = 8 << 20;
/// Spans that are read and checked at the same time.
const SPANS_AT_ONCE: usize = 3;
/// Reads after which something that moved all the time is given up.
const TRIES: usize = 4;

/// How a blob is stored.
pub(crate) enum Shape {
    /// As one chunk of its own name.
    Single(Location),
    /// As what a manifest names.
    Many(Manifest),
}

/// Chunks that lie behind each other in a pack.
struct Span {
    pack: PackNumber,
    stored: Range<u32>,
    /// What is wanted of each.
    chunks: Vec<(Hash, Place, Range<u32>)>,
}

impl BlobStore {
    /// The bytes of a blob, verified. It must fit into memory.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Damaged`] and failures of the disk.
    pub async fn get(&self, hash: &Hash) -> Result<Bytes, BlobError> {
        match self.shape(hash).await? {
            Shape::Single(_) => self.entry(hash, hash, |reader| reader.chunk(hash)).await,
            Shape::Many(manifest) => {
                let mut bytes = BytesMut::new();
                let mut pieces = self.pieces(*hash, manifest, None);
                while let Some(piece) = pieces.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                Ok(bytes.freeze())
            }
        }
    }

    /// The length of a blob and its bytes in order, verified while they are read: the last piece comes only
    /// after the whole has proved right, so a receiver that counts the length never accepts damaged bytes.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], and [`BlobError::Damaged`] when its manifest is; the stream ends with
    /// [`BlobError::Damaged`] when its bytes are.
    pub async fn stream(
        &self,
        hash: &Hash,
    ) -> Result<
        (ByteSize, impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin + 'static + use<>),
        BlobError,
    > {
        let (hash, store) = (*hash, self.clone());
        Ok(match self.shape(&hash).await? {
            Shape::Single(location) => {
                let read = async move { store.entry(&hash, &hash, |reader| reader.chunk(&hash)).await };
                let pieces = stream::once(read).filter(|piece| {
                    let is_empty = piece.as_ref().is_ok_and(Bytes::is_empty);
                    async move { !is_empty }
                });
                (ByteSize(location.place.length.into()), pieces.boxed())
            }
            Shape::Many(manifest) => (ByteSize(manifest.length), self.pieces(hash, manifest, None).boxed()),
        })
    }

    /// Some bytes of a blob, from `range.start` to `range.end` or its end. Each chunk is verified.
    ///
    /// # Errors
    /// As [`BlobStore::stream`].
    pub async fn stream_range(
        &self,
        hash: &Hash,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin + 'static + use<>, BlobError>
    {
        Ok(match self.shape(hash).await? {
            Shape::Single(location) => {
                let bytes = self.entry(hash, hash, |reader| reader.chunk(hash)).await?;
                let end = range.end.min(location.place.length.into()) as usize;
                let piece = (range.start < end as u64).then(|| Ok(bytes.slice(range.start as usize..end)));
                stream::iter(piece).boxed()
            }
            Shape::Many(manifest) => self.pieces(*hash, manifest, Some(range)).boxed(),
        })
    }

    /// Some bytes of a blob as they are stored, which nobody verified: for whoever compares them with what somebody claims to have,
    /// and would verify whole chunks for a few bytes in a thousand places. Fewer where the blob ends.
    ///
    /// # Errors
    /// As [`BlobStore::stream`].
    pub async fn glance(&self, hash: &Hash, range: Range<u64>) -> Result<Bytes, BlobError> {
        let manifest = match self.shape(hash).await? {
            Shape::Many(manifest) => manifest,
            Shape::Single(location) => {
                let only = Part { name: *hash, length: location.place.length };
                Manifest { lists: false, length: only.length.into(), parts: vec![only] }
            }
        };
        let mut plan = Plan::new(self.clone(), *hash, manifest, range);
        let mut bytes = BytesMut::new();
        while let Some(span) = plan.next().await? {
            for (name, place, wanted) in span.chunks {
                let first = place.start + place.offset;
                let stored = first + wanted.start..first + wanted.end;
                let is_plain = place.stored == place.raw;
                let location = Location { pack: span.pack, place };
                if is_plain && let Ok(plain) = self.read_span(&location, stored).await {
                    bytes.extend_from_slice(&plain);
                    continue;
                }
                let chunk = self.entry(hash, &name, |reader| reader.chunk(&name)).await?;
                bytes.extend_from_slice(&chunk[wanted.start as usize..wanted.end as usize]);
            }
        }
        Ok(bytes.freeze())
    }

    /// The chunks of a blob from the one in which byte `from` lies, at least `least` of them if there are so many, and at
    /// most 8,192 more. None behind its end.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Damaged`] when its manifest is, and failures of the disk.
    pub async fn chunks(&self, hash: &Hash, from: u64, least: usize) -> Result<Vec<Part>, BlobError> {
        let manifest = match self.shape(hash).await? {
            Shape::Many(manifest) => manifest,
            Shape::Single(location) => {
                let whole = Part { name: *hash, length: location.place.length };
                return Ok(Some(whole).filter(|whole| from < u64::from(whole.length)).into_iter().collect());
            }
        };
        let (mut chunks, mut at) = (Vec::new(), 0);
        for part in manifest.parts {
            let begin = at;
            at += u64::from(part.length);
            if at <= from {
                continue;
            }
            if chunks.len() >= least {
                break;
            }
            let list = if manifest.lists { self.list(hash, &part).await? } else { vec![part] };
            let ends = list.iter().scan(begin, |end, chunk| {
                *end += u64::from(chunk.length);
                Some(*end)
            });
            chunks.extend(ends.zip(&list).filter(|(end, _)| *end > from).map(|(_, chunk)| *chunk));
        }
        Ok(chunks)
    }

    /// How a blob is stored.
    pub(crate) async fn shape(&self, hash: &Hash) -> Result<Shape, BlobError> {
        let reader = self.inner().index.read()?;
        if reader.blob(hash)?.is_some() {
            return Ok(Shape::Many(self.manifest(hash).await?));
        }
        let single = reader.chunk(hash)?.map(Shape::Single);
        single.ok_or(BlobError::NotFound { hash: *hash })
    }

    pub(crate) async fn manifest(&self, hash: &Hash) -> Result<Manifest, BlobError> {
        let find = |reader: &IndexReader| Ok(reader.blob(hash)?.map(|(location, _)| location));
        let (location, bytes) = self.raw_entry(hash, hash, find).await?;
        Manifest::decode(&bytes).map_err(|_| self.found_damaged(hash, hash, &location))
    }

    pub(crate) async fn list(&self, blob: &Hash, part: &Part) -> Result<Vec<Part>, BlobError> {
        let bytes = self.entry(blob, &part.name, |reader| reader.chunk(&part.name)).await?;
        let location = self.inner().index.read()?.chunk(&part.name)?;
        decode_list(&bytes, part.length).map_err(|_| match location {
            Some(location) => self.found_damaged(blob, &part.name, &location),
            None => BlobError::NotFound { hash: *blob },
        })
    }

    /// A chunk or list, verified.
    async fn entry(
        &self,
        blob: &Hash,
        name: &Hash,
        find: impl Fn(&IndexReader) -> Result<Option<Location>, BlobError>,
    ) -> Result<Bytes, BlobError> {
        let (location, frame) = self.frame(blob, name, find).await?;
        let frame = frame.get().expect("it was read");
        if frame.chunk.get() == Some(name) {
            return Ok(frame.bytes.clone());
        }
        let (bytes, name) = (location.of(&frame.bytes), *name);
        let (is_right, bytes) = off_runtime(bytes.len(), move || (Hash::of(&bytes) == name, bytes)).await;
        if !is_right {
            return Err(self.found_damaged(blob, &name, &location));
        }
        if bytes.len() == frame.bytes.len() {
            // Set already is the same name.
            let _ = frame.chunk.set(name);
        }
        Ok(bytes)
    }

    /// An entry as it stands in its frame.
    async fn raw_entry(
        &self,
        blob: &Hash,
        name: &Hash,
        find: impl Fn(&IndexReader) -> Result<Option<Location>, BlobError>,
    ) -> Result<(Location, Bytes), BlobError> {
        let (location, frame) = self.frame(blob, name, find).await?;
        Ok((location, location.of(&frame.get().expect("it was read").bytes)))
    }

    /// The frame in which an entry lies. It stays in the cache for the neighbours.
    async fn frame(
        &self,
        blob: &Hash,
        name: &Hash,
        find: impl Fn(&IndexReader) -> Result<Option<Location>, BlobError>,
    ) -> Result<(Location, Slot), BlobError> {
        let mut tried = None;
        for _ in 0..TRIES {
            let location = find(&self.inner().index.read()?)?;
            let Some(location) = location else { return Err(BlobError::NotFound { hash: *blob }) };
            if tried == Some(location) {
                break;
            }
            tried = Some(location);
            let Place { start, stored, raw, .. } = location.place;
            let slot = self.inner().cache.slot(location.pack, start, raw);
            let frame = slot.get_or_try_init(|| async {
                let bytes = self.read_span(&location, start..start + stored).await?;
                let bytes = off_runtime(raw as usize, move || decode(&bytes, raw)).await.ok_or(None)?;
                Ok(Cached { bytes, chunk: OnceLock::new() })
            });
            match frame.await {
                Ok(_) => return Ok((location, slot)),
                // What was moved meanwhile is found at its new place.
                Err(None) => {}
                Err(Some(error)) => return Err(error),
            }
        }
        let location = tried.expect("tried at least once");
        Err(self.found_damaged(blob, name, &location))
    }

    /// Stored bytes of a pack; `Err(None)` when the pack is gone or cut.
    async fn read_span(&self, location: &Location, range: Range<u32>) -> Result<Bytes, Option<BlobError>> {
        let object = self.object_of(location).ok_or(None)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = (range.end - range.start) as usize;
        let loss = match self.read_object(&object, range.start.into()..range.end.into()).await {
            Ok(bytes) if bytes.len() == wanted => {
                self.found_there(location.pack);
                return Ok(bytes);
            }
            Ok(_) => Loss::Altered,
            // It has been tried for long enough already.
            Err(error) if error.is_passing() => return Err(Some(error)),
            // An object that is missing or was cut is damage, not a disk that fails to read.
            Err(error) => match self.inner().objects.head(&object).await {
                Ok(meta) if meta.size < u64::from(range.end) => Loss::Altered,
                Err(object_store::Error::NotFound { .. }) => Loss::Missing,
                _ => return Err(Some(error)),
            },
        };
        self.damaged_mut().packs.insert(location.pack, loss);
        Err(None)
    }

    /// A pack that was missing is there: its server had lost sight of it for a while. One in a folder may have been put
    /// back by hand, and only a repair tells whether as it was.
    fn found_there(&self, pack: PackNumber) {
        let is_local = self.inner().is_local;
        if !is_local && self.damaged().packs.get(&pack) == Some(&Loss::Missing) {
            self.damaged_mut().found(pack);
        }
    }

    /// Remembers that something cannot be read, and says so.
    pub(crate) fn found_damaged(&self, blob: &Hash, name: &Hash, location: &Location) -> BlobError {
        self.inner().cache.forget(location.pack, location.place.start);
        let mut damaged = self.damaged_mut();
        damaged.failed(*blob, location.pack);
        damaged.failed(*name, location.pack);
        drop(damaged);
        let object = self.object_of(location).map_or_else(|| "a pack".to_owned(), |path| path.to_string());
        BlobError::Damaged { hash: *blob, object }
    }

    /// The bytes of a blob of many chunks, verified; the whole too when all of it is wanted and that was never proved.
    /// At most two spans more than [`SPANS_AT_ONCE`] are in memory, however slowly they are taken.
    fn pieces(
        &self,
        blob: Hash,
        manifest: Manifest,
        range: Option<Range<u64>>,
    ) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin + 'static + use<> {
        let proof = range.is_none().then(|| (blob, manifest.check()));
        let whole = proof.filter(|proof| !self.inner().proved.has(proof));
        let whole = whole.map(|proof| Whole { proof, hashing: None });
        let length = manifest.length;
        let plan = Plan::new(self.clone(), blob, manifest, range.unwrap_or(0..u64::MAX));
        let store = self.clone();
        let spans = stream::unfold(Some(plan), |plan| async move {
            let mut plan = plan?;
            match plan.next().await {
                Ok(Some(span)) => Some((Ok(span), Some(plan))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let read = spans.map(move |span| {
            let store = store.clone();
            // In a task of its own, which begins at once: `buffered` does not look at what is new as long as it has
            // something to hand out, and meanwhile nothing would be read ahead.
            join(tokio::spawn(async move { store.span_bytes(&blob, span?).await }))
        });
        let state =
            Checking { spans: read.buffered(SPANS_AT_ONCE).boxed(), whole, left: length, failed: false };
        stream::unfold((state, self.clone()), |(mut state, store)| async move {
            let next = state.next(&store).await?;
            Some((stream::iter(next), (state, store)))
        })
        .flatten()
        .boxed()
    }

    /// The bytes of chunks that lie behind each other, each verified.
    async fn span_bytes(&self, blob: &Hash, span: Span) -> Result<Vec<Bytes>, BlobError> {
        if let [(name, place, wanted)] = span.chunks.as_slice()
            && wanted.len() < place.length as usize
        {
            // Whoever reads a part often reads the next part, too.
            let chunk = self.entry(blob, name, |reader| reader.chunk(name)).await?;
            return Ok(vec![chunk.slice(wanted.start as usize..wanted.end as usize)]);
        }
        let location = Location { pack: span.pack, place: span.chunks[0].1 };
        let read = self.read_span(&location, span.stored.clone()).await;
        let stored = match read {
            Ok(stored) => Some(stored),
            Err(Some(error)) => return Err(error),
            Err(None) => None,
        };
        if let Some(stored) = stored {
            let total = span.chunks.iter().map(|(_, place, _)| place.length as usize).sum();
            let (begin, chunks) = (span.stored.start, span.chunks.clone());
            if let Some(pieces) = off_runtime(total, move || checked(&stored, begin, &chunks)).await {
                return Ok(pieces);
            }
        }
        // Moved meanwhile, or damaged: one by one it turns out which.
        let mut pieces = Vec::with_capacity(span.chunks.len());
        for (name, _, wanted) in span.chunks {
            let chunk = self.entry(blob, &name, |reader| reader.chunk(&name)).await?;
            pieces.push(chunk.slice(wanted.start as usize..wanted.end as usize));
        }
        Ok(pieces)
    }
}

impl Location {
    /// This entry of its frame.
    fn of(&self, frame: &Bytes) -> Bytes {
        let Place { raw, offset, length, .. } = self.place;
        let entry = offset as usize..(offset + length) as usize;
        // A small file must not keep all its neighbours in memory.
        match length >= raw / 4 {
            true => frame.slice(entry),
            false => Bytes::copy_from_slice(&frame[entry]),
        }
    }
}

/// The chunks in these stored bytes, which begin at `begin` of their pack, in as few pieces as they lie in; `None` when one
/// is not what its name says.
fn checked(stored: &Bytes, begin: u32, chunks: &[(Hash, Place, Range<u32>)]) -> Option<Vec<Bytes>> {
    let mut pieces: Vec<(Bytes, Range<usize>)> = Vec::new();
    // The frame at hand: its start in the pack, the bytes in which it lies uncompressed, and where in those.
    let mut frame: Option<(u32, Bytes, usize)> = None;
    for (name, place, wanted) in chunks {
        let (bytes, at) = match frame.take() {
            Some((start, bytes, at)) if start == place.start => (bytes, at),
            _ => {
                let at = (place.start - begin) as usize;
                match place.stored == place.raw {
                    true => (stored.clone(), at),
                    false => (decode(&stored.slice(at..at + place.stored as usize), place.raw)?, 0),
                }
            }
        };
        let first = at + place.offset as usize;
        if Hash::of(&bytes[first..first + place.length as usize]) != *name {
            return None;
        }
        let wanted = first + wanted.start as usize..first + wanted.end as usize;
        match pieces.last_mut() {
            Some((same, piece)) if same.as_ptr() == bytes.as_ptr() && piece.end == wanted.start => {
                piece.end = wanted.end;
            }
            _ => pieces.push((bytes.clone(), wanted)),
        }
        frame = Some((place.start, bytes, at));
    }
    Some(pieces.into_iter().map(|(bytes, piece)| bytes.slice(piece)).collect())
}

/// Holds the last pieces back until the whole is verified.
struct Checking {
    spans: stream::BoxStream<'static, Result<Vec<Bytes>, BlobError>>,
    /// None when there is nothing to prove.
    whole: Option<Whole>,
    /// Bytes that are still to come.
    left: u64,
    failed: bool,
}

impl Checking {
    async fn next(&mut self, store: &BlobStore) -> Option<Vec<Result<Bytes, BlobError>>> {
        if self.failed {
            return None;
        }
        let pieces = match self.spans.next().await? {
            Ok(pieces) => pieces,
            Err(error) => {
                self.failed = true;
                return Some(vec![Err(error)]);
            }
        };
        self.left = self.left.saturating_sub(pieces.iter().map(|piece| piece.len() as u64).sum());
        if let Some(whole) = &mut self.whole
            && let Some(is_right) = whole.push(&pieces, self.left == 0).await
        {
            let proof = whole.proof;
            if !is_right {
                self.failed = true;
                return Some(vec![Err(store.found_wrong(&proof.0))]);
            }
            store.inner().proved.add(proof);
            self.whole = None;
        }
        Some(pieces.into_iter().map(Ok).collect())
    }
}

/// The hash of a whole blob, made of its pieces while they are sent.
struct Whole {
    proof: Proof,
    /// Has all pieces so far, or none has come.
    hashing: Option<JoinHandle<blake3::Hasher>>,
}

impl Whole {
    /// Hashes the next pieces, once those before are hashed; after the last ones it tells whether the whole is right.
    async fn push(&mut self, pieces: &[Bytes], are_last: bool) -> Option<bool> {
        let mut hasher = match self.hashing.take() {
            Some(hashing) => join(hashing).await,
            None => blake3::Hasher::new(),
        };
        let (length, pieces) = (pieces.iter().map(Bytes::len).sum(), pieces.to_vec());
        let hash = move || {
            for piece in &pieces {
                hasher.update(piece);
            }
            hasher
        };
        if !are_last {
            self.hashing = Some(tokio::task::spawn_blocking(hash));
            return None;
        }
        Some(Hash::from(off_runtime(length, hash).await.finalize()) == self.proof.0)
    }
}

impl BlobStore {
    /// All chunks are what their names say, but they are not this blob: somebody forged the manifest.
    fn found_wrong(&self, blob: &Hash) -> BlobError {
        let location = self.inner().index.read().and_then(|reader| reader.blob(blob));
        match location {
            Ok(Some((location, _))) => self.found_damaged(blob, blob, &location),
            _ => BlobError::NotFound { hash: *blob },
        }
    }
}

/// Which chunks are read next, and where they lie.
struct Plan {
    store: BlobStore,
    blob: Hash,
    lists: VecDeque<Part>,
    chunks: VecDeque<Part>,
    /// Bytes of the blob before the next list or chunk.
    at: u64,
    range: Range<u64>,
}

impl Plan {
    fn new(store: BlobStore, blob: Hash, manifest: Manifest, range: Range<u64>) -> Plan {
        let parts = manifest.parts.into();
        let (lists, chunks) =
            if manifest.lists { (parts, VecDeque::new()) } else { (VecDeque::new(), parts) };
        Plan { store, blob, lists, chunks, at: 0, range }
    }

    async fn next(&mut self) -> Result<Option<Span>, BlobError> {
        loop {
            self.skip();
            if !self.chunks.is_empty() || self.lists.is_empty() || self.at >= self.range.end {
                break;
            }
            let list = self.lists.pop_front().expect("not empty");
            self.chunks = self.store.list(&self.blob, &list).await?.into();
        }
        if self.chunks.is_empty() || self.at >= self.range.end {
            return Ok(None);
        }
        self.span().map(Some)
    }

    /// Passes over what lies before the range.
    fn skip(&mut self) {
        let parts = if self.chunks.is_empty() { &mut self.lists } else { &mut self.chunks };
        while let Some(part) = parts.front()
            && self.at + u64::from(part.length) <= self.range.start
        {
            self.at += u64::from(part.length);
            parts.pop_front();
        }
    }

    fn span(&mut self) -> Result<Span, BlobError> {
        let reader = self.store.inner().index.read()?;
        let mut span: Option<Span> = None;
        let mut raw = 0_u64;
        while let Some(part) = self.chunks.front().filter(|_| self.at < self.range.end) {
            let Some(Location { pack, place }) = reader.chunk(&part.name)? else {
                return Err(BlobError::NotFound { hash: self.blob });
            };
            let frame = place.start..place.start + place.stored;
            let length = u64::from(part.length);
            match &mut span {
                None => span = Some(Span { pack, stored: frame, chunks: Vec::new() }),
                Some(span) => {
                    let same_frame = span.chunks.last().is_some_and(|(_, last, _)| last.start == place.start);
                    let is_behind = same_frame || place.start == span.stored.end;
                    let is_small = |span: &Span| {
                        frame.end - span.stored.start <= SPAN_STORED && raw + length <= SPAN_RAW
                    };
                    if span.pack != pack || !is_behind || !is_small(span) {
                        break;
                    }
                    span.stored.end = frame.end;
                }
            }
            let wanted = self.range.start.saturating_sub(self.at) as u32
                ..(self.range.end - self.at).min(length) as u32;
            span.as_mut().expect("set above").chunks.push((part.name, place, wanted));
            raw += length;
            self.at += length;
            self.chunks.pop_front();
        }
        Ok(span.expect("there is a chunk"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packing;

    /// Enters a blob as somebody can who writes packs: these chunks, whatever its name.
    async fn enter(store: &BlobStore, blob: Hash, chunks: &[Bytes]) {
        let mut packing = Packing::new(store);
        let mut parts = Vec::new();
        for chunk in chunks {
            let part = Part { name: Hash::of(chunk), length: chunk.len() as u32 };
            packing.chunk(part.name, chunk.clone()).await.unwrap();
            parts.push(part);
        }
        let length = parts.iter().map(|part| u64::from(part.length)).sum();
        packing.manifest(blob, length, Manifest { lists: false, length, parts }.encode().into());
        packing.flush().await.unwrap();
    }

    async fn is_proved(store: &BlobStore, blob: &Hash) -> bool {
        let manifest = store.manifest(blob).await.unwrap();
        store.inner().proved.has(&(*blob, manifest.check()))
    }

    /// The bytes that a stream hands out, and how it ends.
    async fn taken(store: &BlobStore, blob: &Hash) -> (Vec<u8>, Option<BlobError>) {
        let (mut bytes, mut error) = (Vec::new(), None);
        let (_, mut pieces) = store.stream(blob).await.unwrap();
        while let Some(piece) = pieces.next().await {
            assert!(error.is_none(), "nothing comes after an error");
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(failed) => error = Some(failed),
            }
        }
        (bytes, error)
    }

    #[tokio::test]
    async fn a_manifest_proves_itself_once_and_another_of_the_same_name_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).await.unwrap();
        let mut whole = vec![0; 64 * 90_000];
        blake3::Hasher::new().finalize_xof().fill(&mut whole);
        let whole = Bytes::from(whole);
        let blob = Hash::of(&whole);
        let mut chunks: Vec<Bytes> = (0..64).map(|n| whole.slice(n * 90_000..(n + 1) * 90_000)).collect();
        enter(&store, blob, &chunks).await;
        let some = store.stream_range(&blob, 0..u64::MAX).await.unwrap();
        let some: Vec<_> = some.collect().await;
        assert!(some.iter().all(Result::is_ok));
        assert!(!is_proved(&store, &blob).await, "parts prove nothing of the whole");
        for _ in 0..2 {
            let (bytes, error) = taken(&store, &blob).await;
            assert!(bytes == whole && error.is_none(), "{error:?}");
            assert!(is_proved(&store, &blob).await);
        }
        // All chunks are there and sound, but this is not what the name says.
        chunks.swap(0, 1);
        enter(&store, blob, &chunks).await;
        for _ in 0..2 {
            let (bytes, error) = taken(&store, &blob).await;
            assert!(bytes.len() < whole.len(), "whoever counts bytes never has all of a forged blob");
            assert!(matches!(error, Some(BlobError::Damaged { hash, .. }) if hash == blob));
            assert!(matches!(store.get(&blob).await, Err(BlobError::Damaged { .. })));
            assert!(!is_proved(&store, &blob).await);
        }
        chunks.swap(0, 1);
        enter(&store, blob, &chunks).await;
        assert!(store.get(&blob).await.unwrap() == whole, "what was right stays right");
    }

    #[test]
    fn what_lies_together_is_one_piece_and_only_what_is_wanted_of_it() {
        let text = b"the same bytes once for everybody; ".repeat(100);
        let mut packed = Vec::with_capacity(text.len());
        zstd_safe::compress(&mut packed, &text, 3).unwrap();
        let plain = Bytes::from((0..200).collect::<Vec<u8>>());
        // Two plain frames, of two chunks and of one, and a compressed one of two.
        let stored = Bytes::from([&plain[..], &packed[..]].concat());
        let place = |start, stored: usize, raw: usize, offset, length| Place {
            start,
            stored: stored as u32,
            raw: raw as u32,
            offset,
            length,
            ordinal: 0,
        };
        let chunk = |bytes: &[u8], place: Place, wanted| (Hash::of(bytes), place, wanted);
        let chunks = [
            chunk(&plain[..70], place(1_000, 150, 150, 0, 70), 10..70),
            chunk(&plain[70..150], place(1_000, 150, 150, 70, 80), 0..80),
            chunk(&plain[150..], place(1_150, 50, 50, 0, 50), 0..50),
            chunk(&text[..300], place(1_200, packed.len(), text.len(), 0, 300), 0..300),
            chunk(&text[300..400], place(1_200, packed.len(), text.len(), 300, 100), 0..40),
        ];
        let pieces = checked(&stored, 1_000, &chunks).unwrap();
        assert_eq!(pieces, [plain.slice(10..), Bytes::copy_from_slice(&text[..340])]);
        for at in [0, 149, 199, 200] {
            let mut altered = stored.to_vec();
            altered[at] ^= 1;
            assert_eq!(checked(&altered.into(), 1_000, &chunks), None, "byte {at}");
        }
        let twice = [chunks[0].clone(), chunks[0].clone()];
        assert_eq!(checked(&stored, 1_000, &twice).unwrap(), [plain.slice(10..70), plain.slice(10..70)]);
    }
}
