//! Collecting what nobody needs any more, while others write, and whatever moment a crash chooses.
//!
//! The caller names the **roots**: all blobs that files, links or jobs refer to. A collection
//!
//! 1. begins to **listen**: blobs that are acknowledged from now on, as put or as linked, are remembered;
//! 2. **marks** every entry that a root needs; also what was put or linked within the grace time (its pack was entered
//!    within it, or a durable touch says so);
//! 3. **condemns** what is not marked, in the packs worth rewriting: from now on no writer finds it, so whoever needs
//!    one of these chunks stores it again;
//! 4. waits until every **session** has ended that was open at that moment, because it may have found a chunk before;
//! 5. **rescues** what the blobs need that were acknowledged since 1, and then stops listening;
//! 6. **sweeps**: first packs of manifests, then packs of chunks: what is not condemned is written to a new pack, which
//!    is durable and entered before the old one is forgotten, durably, and only then removed.
//!
//! *Nothing that is needed is lost.* Take a chunk that is removed: it was condemned at 3 and not rescued at 5. Who could
//! need it? A blob of a root: then it was marked. A blob acknowledged within the grace time before 1: marked, too.
//! A blob acknowledged since: if its writer's session began before 3, it ended before 5, and the blob was rescued; if it
//! began after 3, it could not find the condemned chunk, and has stored its own copy, to which the index points since
//! (the sweep forgets a name only while it still lies in the pack that goes). A blob linked since: before 5 ends it is
//! rescued; later, linking it fails unless everything it needs is there and not condemned.
//!
//! *A crash leaves every blob whole or gone.* Condemning is only in memory. Old packs go after new ones are durable, so
//! a crash leaves at most some chunks twice. Packs that were forgotten but not removed are entered again at the next
//! opening, as new ones, which the grace time protects. A blob that was about to go can so come back; but its manifest
//! goes, durably, before the first of its chunks does, so what comes back is whole.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object_store::ObjectStoreExt;
use pumasi_types::{Hash, Time};

use crate::BlobError;
use crate::check::{Examined, examine};
use crate::commit::PACK_TARGET;
use crate::epochs::{Bits, Condemned, Verdict};
use crate::folder;
use crate::frame::Entry;
use crate::index::{Location, PackInfo, PackNumber};
use crate::manifest::Manifest;
use crate::pack::{Kind, PackFault, PackIndex};
use crate::packing::frames_of;
use crate::store::{BlobStore, pack_path};
use crate::work::join;

/// Packs smaller than this are put together when there are many.
const SMALL_PACK: u64 = 4 << 20;
/// So many small packs are many.
const MANY_SMALL: usize = 8;
/// Packs whose survivors are written before they are removed together.
const SWEPT_AT_ONCE: usize = 64;

/// What a collection found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Roots that were named.
    pub roots: u64,
    /// Roots that are not in the store, or cannot be read.
    pub missing_roots: u64,
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Stored bytes that were removed.
    pub bytes_removed: u64,
    /// Stored bytes that were written again because somebody needs them.
    pub bytes_rewritten: u64,
    /// Bytes of content that nobody needs, and which stay because their packs are mostly needed or new.
    pub dead_bytes_kept: u64,
}

/// What is needed in each pack.
#[derive(Debug, Default)]
struct Marks {
    bits: HashMap<PackNumber, Bits>,
    live_bytes: HashMap<PackNumber, u64>,
}

impl Marks {
    /// Marks an entry and tells whether it was not marked.
    fn mark(&mut self, location: &Location) -> bool {
        let is_new = self.bits.entry(location.pack).or_default().set(location.place.ordinal);
        if is_new {
            *self.live_bytes.entry(location.pack).or_default() += u64::from(location.place.length);
        }
        is_new
    }
}

/// What to do with what a blob needs.
pub(crate) trait Visit {
    /// Called for each entry; whether to go on to what it names.
    fn visit(&mut self, location: &Location) -> bool;
}

impl Visit for Marks {
    fn visit(&mut self, location: &Location) -> bool {
        self.mark(location)
    }
}

/// Takes back what was condemned.
struct Rescue<'a>(&'a BlobStore, HashSet<(PackNumber, u32)>);

impl Visit for Rescue<'_> {
    fn visit(&mut self, location: &Location) -> bool {
        self.0.inner().epochs.rescue(location);
        self.1.insert((location.pack, location.place.ordinal))
    }
}

/// Looks whether anything is about to go.
struct IsCondemned(Verdict, bool);

impl Visit for IsCondemned {
    fn visit(&mut self, location: &Location) -> bool {
        self.1 |= self.0.is_condemned(location);
        !self.1
    }
}

impl BlobStore {
    /// Declares that somebody refers to a stored blob from now on: until the next collection is given it as a root, it
    /// is protected as if it had just been put. Durable when it returns.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] when it is not here, or is being collected: then it must be put again.
    pub async fn link(&self, hash: &Hash) -> Result<(), BlobError> {
        self.link_many(std::slice::from_ref(hash)).await
    }

    /// The same of many blobs, at the price of one.
    ///
    /// # Errors
    /// As [`BlobStore::link`]; then some of them may be protected.
    pub async fn link_many(&self, hashes: &[Hash]) -> Result<(), BlobError> {
        let _session = self.inner().epochs.begin();
        let mut found = Vec::with_capacity(hashes.len());
        for hash in hashes {
            tokio::task::coop::consume_budget().await;
            let verdict = self.inner().epochs.verdict();
            let location = {
                let reader = self.inner().index.read()?;
                match reader.blob(hash)? {
                    Some((location, _)) => Some(location),
                    None => reader.chunk(hash)?,
                }
            };
            let sound = location.filter(|location| self.is_sound(hash, location));
            let location = sound.ok_or(BlobError::NotFound { hash: *hash })?;
            if !self.inner().epochs.acknowledge(&[*hash]) && verdict.is_any() {
                // Nobody listens any more: what was condemned goes for sure, or has gone.
                let mut look = IsCondemned(verdict, false);
                self.walk(hash, &mut look).await?;
                if look.1 {
                    return Err(BlobError::NotFound { hash: *hash });
                }
            }
            found.push((*hash, location));
        }
        let store = self.clone();
        join(tokio::task::spawn_blocking(move || store.touch(&found))).await?;
        // A collection that has begun since then listens, and waits for this session.
        self.inner().epochs.acknowledge(hashes);
        Ok(())
    }

    /// Removes what no root needs and what was neither put nor linked within the grace time. Others can read and write
    /// meanwhile; a second collection waits for the first.
    ///
    /// # Errors
    /// Failures of the disk and [`BlobError::Index`]; what was needed is all there, what was not is partly gone.
    pub async fn collect(&self, roots: impl Stream<Item = Hash>) -> Result<Collected, BlobError> {
        self.collect_if(roots.map(Ok)).await
    }

    /// The same for roots that may fail to be named: then nothing is removed. From its beginning on, before it asks for the
    /// first root, nothing is removed that is put or linked.
    ///
    /// # Errors
    /// As [`BlobStore::collect`], and what the roots fail with.
    pub async fn collect_if<E: From<BlobError>>(
        &self,
        roots: impl Stream<Item = Result<Hash, E>>,
    ) -> Result<Collected, E> {
        let mut moved = self.inner().housekeeping.lock().await;
        // Said before, because whoever waits for this may go away in the middle; taken back when nothing was.
        *moved += 1;
        self.inner().epochs.listen();
        let result = self.collect_listening(roots).await;
        self.inner().epochs.acquit();
        if matches!(&result, Ok(done) if done.packs_removed == 0) {
            *moved -= 1;
        }
        result
    }

    async fn collect_listening<E: From<BlobError>>(
        &self,
        roots: impl Stream<Item = Result<Hash, E>>,
    ) -> Result<Collected, E> {
        let mut done = Collected::default();
        let now = self.now();
        let packs: HashMap<PackNumber, PackInfo> = self.inner().index.packs().clone();
        let mut marks = Marks::default();
        let mut roots = std::pin::pin!(roots);
        while let Some(root) = roots.next().await {
            done.roots += 1;
            done.missing_roots += u64::from(!self.walk_if_there(&root?, &mut marks).await?);
        }
        Ok(self.let_go(done, marks, now, packs).await?)
    }

    /// Removes what is not marked, nor young.
    async fn let_go(
        &self,
        mut done: Collected,
        mut marks: Marks,
        now: Time,
        packs: HashMap<PackNumber, PackInfo>,
    ) -> Result<Collected, BlobError> {
        let grace = self.inner().options.grace;
        // Touches are not renewed before half of the grace time is over.
        let is_young = move |at: Time| grace.0 > 0 && now.since(at).0 < grace.0.saturating_add(grace.0 / 2);
        for blob in self.young(&packs, is_young).await? {
            self.walk_if_there(&blob, &mut marks).await?;
        }
        let victims = choose(&packs, &marks, is_young, &mut done);
        if victims.is_empty() {
            self.inner().epochs.stop_listening();
            return Ok(done);
        }
        self.condemn(&victims, &packs, &marks);
        self.inner().epochs.settle().await;
        // Whoever was acknowledged while this one was rescued is rescued in the next round.
        let mut rescue = Rescue(self, HashSet::new());
        while let Some(heard) = self.inner().epochs.stop_listening() {
            for blob in heard {
                self.walk_if_there(&blob, &mut rescue).await?;
            }
        }
        drop(marks);
        for kind in [Kind::Manifests, Kind::Chunks] {
            let of_kind: Vec<_> =
                victims.iter().filter(|number| packs[*number].kind == kind).copied().collect();
            // All manifests at once: none of them may survive the first chunk that goes.
            let at_once = if kind == Kind::Manifests { of_kind.len().max(1) } else { SWEPT_AT_ONCE };
            for some in of_kind.chunks(at_once) {
                self.sweep(kind, some, &packs, &mut done).await?;
            }
            if self.inner().is_local && self.inner().options.fsync {
                let folder = self.inner().dir.join("packs");
                join(tokio::task::spawn_blocking(move || folder::sync(&folder))).await?;
            }
        }
        let store = self.clone();
        let before = Time(now.0.saturating_sub(grace.0.saturating_mul(2)));
        join(tokio::task::spawn_blocking(move || store.inner().index.forget_touches(before))).await?;
        Ok(done)
    }

    /// What was put or linked so lately that it stays.
    async fn young(
        &self,
        packs: &HashMap<PackNumber, PackInfo>,
        is_young: impl Fn(Time) -> bool + Copy + Send + 'static,
    ) -> Result<Vec<Hash>, BlobError> {
        let store = self.clone();
        let touched = tokio::task::spawn_blocking(move || -> Result<Vec<Hash>, BlobError> {
            let (reader, mut young) = (store.inner().index.read()?, Vec::new());
            for touched in reader.all_touched() {
                let (blob, at) = touched?;
                young.extend(is_young(at).then_some(blob));
            }
            Ok(young)
        });
        let mut young = join(touched).await?;
        for info in packs.values().filter(|info| info.kind == Kind::Manifests && is_young(info.entered)) {
            let index = self.read_tail(&info.id, info.length).await?;
            young.extend(index.places.iter().map(|(entry, _)| entry.name));
        }
        Ok(young)
    }

    /// From here on nobody finds what is not marked in these packs.
    fn condemn(&self, victims: &[PackNumber], packs: &HashMap<PackNumber, PackInfo>, marks: &Marks) {
        let mut condemned = Condemned::new();
        for number in victims {
            let (mut bits, marked) = (Bits::default(), marks.bits.get(number));
            for ordinal in 0..packs[number].entries {
                if !marked.is_some_and(|marked| marked.has(ordinal)) {
                    bits.set(ordinal);
                }
            }
            condemned.insert(*number, bits);
        }
        self.inner().epochs.condemn(condemned);
    }

    /// Visits what a blob needs; whether all of it is there.
    pub(crate) async fn walk_if_there(&self, blob: &Hash, visit: &mut impl Visit) -> Result<bool, BlobError> {
        // A blob of one chunk is found without waiting for anything, and others want this thread between many of them.
        tokio::task::coop::consume_budget().await;
        match self.walk(blob, visit).await {
            Ok(()) => Ok(true),
            Err(BlobError::NotFound { .. }) => Ok(false),
            // What it needs cannot be told, so nothing may go before it is repaired.
            Err(error) => Err(error),
        }
    }

    /// Visits everything that a blob needs: its manifest, lists and chunks, or the one chunk that it is.
    async fn walk(&self, blob: &Hash, visit: &mut impl Visit) -> Result<(), BlobError> {
        let not_found = BlobError::NotFound { hash: *blob };
        let reader = self.inner().index.read()?;
        let Some((location, _)) = reader.blob(blob)? else {
            visit.visit(&reader.chunk(blob)?.ok_or(not_found)?);
            return Ok(());
        };
        if !visit.visit(&location) {
            return Ok(());
        }
        let Manifest { lists, parts, .. } = self.manifest(blob).await?;
        let mut whole = true;
        for part in parts {
            let location = reader.chunk(&part.name)?;
            whole &= location.is_some();
            let Some(location) = location else { continue };
            if visit.visit(&location) && lists {
                for part in self.list(blob, &part).await? {
                    let location = reader.chunk(&part.name)?;
                    whole &= location.is_some();
                    location.iter().for_each(|location| {
                        visit.visit(location);
                    });
                }
            }
        }
        if whole { Ok(()) } else { Err(not_found) }
    }

    /// Writes again what is needed of these packs, then removes them.
    pub(crate) async fn sweep(
        &self,
        kind: Kind,
        victims: &[PackNumber],
        packs: &HashMap<PackNumber, PackInfo>,
        done: &mut Collected,
    ) -> Result<(), BlobError> {
        let (mut kept, mut kept_len) = (Vec::new(), 0);
        let (mut removed, mut names) = (Vec::new(), Vec::new());
        for number in victims {
            let info = &packs[number];
            if self.damaged().packs.contains_key(number) {
                // Not there as it should be: only a repair may decide what becomes of what it held. A manifest that
                // stays would name chunks that go.
                match kind {
                    Kind::Chunks => continue,
                    Kind::Manifests => return Err(damaged_pack(info)),
                }
            }
            let index = self.read_tail(&info.id, info.length).await?;
            let condemned = self.inner().epochs.condemned_in(*number);
            let survivors = match self.survivors(*number, info, &index, &condemned).await {
                // It stays as it is, for a repair.
                Err(BlobError::DamagedPack { .. }) if kind == Kind::Chunks => continue,
                other => other?,
            };
            for (entry, bytes) in survivors {
                kept_len += bytes.len() as u64;
                kept.push((entry, bytes));
                if kept_len >= PACK_TARGET {
                    done.bytes_rewritten += kept_len;
                    self.write_again(kind, std::mem::take(&mut kept)).await?;
                    kept_len = 0;
                }
            }
            removed.push(*number);
            names.extend(index.places.iter().map(|(entry, _)| entry.name));
        }
        done.bytes_rewritten += kept_len;
        self.write_again(kind, kept).await?;
        let (store, forgotten) = (self.clone(), removed.clone());
        join(tokio::task::spawn_blocking(move || {
            let (chunks, blobs): (&[Hash], &[Hash]) = match kind {
                Kind::Chunks => (&names, &[]),
                Kind::Manifests => (&[], &names),
            };
            store.inner().index.forget(&forgotten, chunks, blobs)
        }))
        .await?;
        for number in removed {
            let (object, length) = (pack_path(&packs[&number].id), packs[&number].length);
            match self.inner().objects.delete(&object).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(BlobError::object("remove", &object, error)),
            }
            done.packs_removed += 1;
            done.bytes_removed += length;
        }
        Ok(())
    }

    pub(crate) async fn write_again(
        &self,
        kind: Kind,
        entries: Vec<(Entry, Bytes)>,
    ) -> Result<(), BlobError> {
        let frames = join(frames_of(entries)).await;
        self.write_pack(kind, frames).await
    }

    /// What is needed of a pack, verified.
    async fn survivors(
        &self,
        number: PackNumber,
        info: &PackInfo,
        index: &PackIndex,
        condemned: &Bits,
    ) -> Result<Vec<(Entry, Bytes)>, BlobError> {
        let wanted: Vec<_> = {
            let reader = self.inner().index.read()?;
            let mut wanted = Vec::new();
            for (entry, place) in &index.places {
                let location = match info.kind {
                    Kind::Chunks => reader.chunk(&entry.name)?,
                    Kind::Manifests => reader.blob(&entry.name)?.map(|(location, _)| location),
                };
                // What lies elsewhere, too, is read there.
                if !condemned.has(place.ordinal) && location == Some(Location { pack: number, place: *place })
                {
                    wanted.push((entry.clone(), *place));
                }
            }
            wanted
        };
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.read_body(&info.id, index).await?;
        let kind = info.kind;
        let Examined { sound, damaged } =
            join(tokio::task::spawn_blocking(move || examine(&stored, kind, wanted))).await;
        if damaged.is_empty() { Ok(sound) } else { Err(damaged_pack(info)) }
    }
}

fn damaged_pack(info: &PackInfo) -> BlobError {
    BlobError::DamagedPack {
        object: pack_path(&info.id).to_string(),
        source: PackFault::Entries(info.entries),
    }
}

/// The packs worth rewriting: of manifests, all with one that nobody needs; of chunks, those that are mostly dead, and
/// small ones if there are many.
fn choose(
    packs: &HashMap<PackNumber, PackInfo>,
    marks: &Marks,
    is_young: impl Fn(Time) -> bool,
    done: &mut Collected,
) -> Vec<PackNumber> {
    let mut victims = Vec::new();
    for kind in [Kind::Chunks, Kind::Manifests] {
        let mut small = Vec::new();
        let mut chosen = Vec::new();
        for (number, info) in packs.iter().filter(|(_, info)| info.kind == kind && !is_young(info.entered)) {
            let live = marks.live_bytes.get(number).copied().unwrap_or(0);
            let marked = marks.bits.get(number);
            let all = (0..info.entries).all(|ordinal| marked.is_some_and(|marked| marked.has(ordinal)));
            let worth = match kind {
                _ if marked.is_none() => true,
                Kind::Chunks => live * 2 < info.raw,
                Kind::Manifests => !all,
            };
            match worth {
                true => chosen.push(*number),
                false if info.length < SMALL_PACK => small.push(*number),
                false => done.dead_bytes_kept += info.raw.saturating_sub(live),
            }
        }
        if small.len() + chosen.len() >= MANY_SMALL && small.len() > 1 {
            chosen.extend(small);
        } else {
            let dead = |number: &PackNumber| {
                packs[number].raw.saturating_sub(marks.live_bytes.get(number).copied().unwrap_or(0))
            };
            done.dead_bytes_kept += small.iter().map(dead).sum::<u64>();
        }
        // What frees space without taking any comes first; then old ones, so that what was put together stays together.
        chosen.sort_by_key(|number| (marks.live_bytes.contains_key(number), packs[number].created));
        victims.extend(chosen);
    }
    victims
}
