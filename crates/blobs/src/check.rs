//! Looking after a store: what is in it, whether it is whole, and saving what is.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object_store::{ObjectStoreExt, path};
use pumasi_types::Hash;

use crate::BlobError;
use crate::epochs::{Bits, Condemned};
use crate::frame::{Entry, FRAME_TARGET, decode};
use crate::gc::Collected;
use crate::index::PackNumber;
use crate::manifest::Manifest;
use crate::pack::{Kind, PackIndex, Place};
use crate::store::{BlobStore, Loss, pack_path};
use crate::work::join;

/// How much is in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects.
    pub packs: u64,
    /// Different chunks, lists among them.
    pub chunks: u64,
    /// Blobs of several chunks; others are chunks themselves.
    pub manifests: u64,
    /// Bytes of all different chunks before compression, those not needed any more among them.
    pub unique_bytes: u64,
    /// Bytes of all objects.
    pub stored_bytes: u64,
    /// Bytes of the index, which is not needed to restore anything.
    pub index_bytes: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Packs looked at.
    pub packs: u64,
    /// Entries of them.
    pub entries: u64,
    /// Manifests of which every chunk was looked up.
    pub manifests: u64,
    /// Stored bytes that were read and verified; none unless asked for.
    pub bytes_read: u64,
    /// Everything that is wrong, each with object and name; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A pack that the index knows is gone.
    #[error("{object} is missing")]
    MissingPack {
        /// The pack, relative to the store.
        object: String,
    },
    /// A pack says nothing sensible of itself, or is cut.
    #[error("{object} is damaged: {fault}")]
    DamagedPack {
        /// The pack, relative to the store.
        object: String,
        /// What is wrong.
        fault: String,
    },
    /// A chunk or manifest is not what its name says.
    #[error("{name} in {object} is damaged")]
    DamagedEntry {
        /// The pack, relative to the store.
        object: String,
        /// The chunk, or the blob whose manifest it is.
        name: Hash,
    },
    /// An entry of a pack is not in the index.
    #[error("{name} in {object} is not in the index")]
    NotIndexed {
        /// The pack, relative to the store.
        object: String,
        /// The chunk, or the blob whose manifest it is.
        name: Hash,
    },
    /// A blob names a chunk that is not there.
    #[error("blob {blob} lacks its chunk {chunk}")]
    MissingChunk {
        /// The blob.
        blob: Hash,
        /// The chunk or list.
        chunk: Hash,
    },
    /// A blob's manifest or list cannot be read.
    #[error("blob {blob} cannot be read: {fault}")]
    UnreadableBlob {
        /// The blob.
        blob: Hash,
        /// What is wrong.
        fault: String,
    },
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Packs that were damaged: what was whole in them was written again, and they were moved to `damaged/`.
    pub packs_replaced: u64,
    /// Packs that were gone.
    pub packs_missing: u64,
    /// Chunks, lists and manifests that are lost. Putting the files that had them makes all whole again.
    pub entries_lost: u64,
    /// Blobs that are lost because of that. A lost blob of one chunk counts as a lost entry only.
    pub blobs_lost: Vec<Hash>,
}

/// Entries of a pack that were looked at.
pub(crate) struct Examined {
    /// What is as its name says.
    pub(crate) sound: Vec<(Entry, Bytes)>,
    /// Names of what is not.
    pub(crate) damaged: Vec<Hash>,
}

impl BlobStore {
    /// How much is in the store.
    ///
    /// # Errors
    /// [`BlobError::Index`].
    pub fn stats(&self) -> Result<Stats, BlobError> {
        let mut stats = Stats::default();
        for info in self.inner().index.packs().values() {
            stats.packs += 1;
            stats.stored_bytes += info.length;
            stats.unique_bytes += if info.kind == Kind::Chunks { info.raw } else { 0 };
        }
        (stats.chunks, stats.manifests) = self.inner().index.read()?.counts()?;
        stats.index_bytes =
            std::fs::metadata(self.inner().dir.join("index.redb")).map_or(0, |meta| meta.len());
        Ok(stats)
    }

    /// Bytes of all these blobs together, each counted as often as it comes: what users believe to have stored.
    ///
    /// # Errors
    /// [`BlobError::Index`]. What is not here counts nothing.
    pub async fn logical_bytes(&self, roots: impl Stream<Item = Hash>) -> Result<u64, BlobError> {
        let (mut roots, mut total) = (std::pin::pin!(roots), 0);
        while let Some(root) = roots.next().await {
            tokio::task::coop::consume_budget().await;
            total += self.size(&root)?.map_or(0, |size| size.0);
        }
        Ok(total)
    }

    /// Looks whether the store is whole: that all packs are there and say what the index says, and that every blob has
    /// its chunks; with `read_data` also that every byte is what it should be. Others can read and write meanwhile.
    ///
    /// # Errors
    /// Failures of the disk other than damage, which is told in the result.
    pub async fn check(&self, read_data: bool) -> Result<Checked, BlobError> {
        let _turn = self.inner().housekeeping.lock().await;
        let mut checked = Checked::default();
        let known: Vec<_> = self.inner().index.packs().clone().into_iter().collect();
        let found: HashMap<Hash, u64> = self.list_packs().await?.into_iter().collect();
        for (number, info) in known {
            let object = pack_path(&info.id).to_string();
            checked.packs += 1;
            let Some(length) = found.get(&info.id) else {
                self.damaged_mut().packs.insert(number, Loss::Missing);
                checked.problems.push(Problem::MissingPack { object });
                continue;
            };
            let index = match self.read_tail(&info.id, *length).await {
                Err(BlobError::DamagedPack { object, source }) => {
                    self.damaged_mut().packs.insert(number, Loss::Altered);
                    checked.problems.push(Problem::DamagedPack { object, fault: source.to_string() });
                    continue;
                }
                other => other?,
            };
            checked.entries += index.places.len() as u64;
            self.check_indexed(&object, &index, &mut checked)?;
            if read_data {
                checked.bytes_read += index.length;
                for name in self.examine(&info.id, index).await?.damaged {
                    self.damaged_mut().names.insert(name, None);
                    checked.problems.push(Problem::DamagedEntry { object: object.clone(), name });
                }
            }
        }
        self.check_blobs(&mut checked).await?;
        Ok(checked)
    }

    fn check_indexed(&self, object: &str, index: &PackIndex, checked: &mut Checked) -> Result<(), BlobError> {
        let reader = self.inner().index.read()?;
        for (entry, _) in &index.places {
            let known = match index.kind {
                Kind::Chunks => reader.chunk(&entry.name)?.is_some(),
                Kind::Manifests => reader.blob(&entry.name)?.is_some(),
            };
            if !known {
                checked.problems.push(Problem::NotIndexed { object: object.to_owned(), name: entry.name });
            }
        }
        Ok(())
    }

    async fn check_blobs(&self, checked: &mut Checked) -> Result<(), BlobError> {
        let mut blobs = Vec::new();
        self.inner().index.read()?.all_blobs(|blob, _, _| blobs.push(blob))?;
        for blob in blobs {
            checked.manifests += 1;
            match self.missing_of(&blob).await {
                Ok(missing) => checked
                    .problems
                    .extend(missing.into_iter().map(|chunk| Problem::MissingChunk { blob, chunk })),
                Err(BlobError::NotFound { .. }) => {}
                Err(error @ BlobError::Damaged { .. }) => {
                    checked.problems.push(Problem::UnreadableBlob { blob, fault: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The chunks and lists of a blob that the index does not know, or that were found damaged.
    async fn missing_of(&self, blob: &Hash) -> Result<Vec<Hash>, BlobError> {
        let Manifest { lists, parts, .. } = self.manifest(blob).await?;
        let reader = self.inner().index.read()?;
        let is_there = |name: &Hash| -> Result<bool, BlobError> {
            Ok(reader.chunk(name)?.is_some_and(|location| self.is_sound(name, &location)))
        };
        let mut missing = Vec::new();
        for part in parts {
            if !is_there(&part.name)? {
                missing.push(part.name);
            } else if lists {
                for part in self.list(blob, &part).await? {
                    if !is_there(&part.name)? {
                        missing.push(part.name);
                    }
                }
            }
        }
        Ok(missing)
    }

    /// Reads a whole pack and verifies every entry.
    async fn examine(&self, id: &Hash, index: PackIndex) -> Result<Examined, BlobError> {
        let stored = self.read_body(id, &index).await?;
        Ok(join(tokio::task::spawn_blocking(move || examine(&stored, index.kind, index.places))).await)
    }

    /// Saves what is whole: writes it again where a pack is damaged, forgets what is lost, and blobs that lack chunks.
    /// Reads every byte. Damaged packs are moved to `damaged/`; remove them when nothing better can be done with them.
    ///
    /// # Errors
    /// Failures of the disk other than damage; it can be begun again.
    pub async fn repair(&self) -> Result<Repaired, BlobError> {
        let mut moved = self.inner().housekeeping.lock().await;
        *moved += 1;
        let mut repaired = Repaired::default();
        let found = self.list_packs().await?;
        self.note_missing(&found);
        let found: HashMap<Hash, u64> = found.into_iter().collect();
        let known: Vec<_> = self.inner().index.packs().clone().into_iter().collect();
        let (mut bad, mut aside) = (Vec::new(), Vec::new());
        for (number, info) in known {
            let Some(length) = found.get(&info.id) else {
                repaired.packs_missing += 1;
                bad.push(number);
                continue;
            };
            match self.read_tail(&info.id, *length).await {
                Ok(index) => {
                    let examined = self.examine(&info.id, index).await?;
                    if examined.damaged.is_empty() {
                        continue;
                    }
                    self.write_again(info.kind, examined.sound).await?;
                }
                Err(BlobError::DamagedPack { .. }) => {}
                Err(error) => return Err(error),
            }
            repaired.packs_replaced += 1;
            bad.push(number);
            aside.push(pack_path(&info.id));
        }
        repaired.entries_lost = self.forget_packs(&bad).await?;
        for object in aside {
            self.set_aside(&object).await?;
        }
        *self.damaged_mut() = Default::default();
        self.drop_broken_blobs(&mut repaired).await?;
        Ok(repaired)
    }

    /// Forgets packs and all that still is said to lie in them. Returns how many entries those are.
    async fn forget_packs(&self, packs: &[PackNumber]) -> Result<u64, BlobError> {
        if packs.is_empty() {
            return Ok(0);
        }
        let bad: HashSet<PackNumber> = packs.iter().copied().collect();
        let (mut chunks, mut blobs) = (Vec::new(), Vec::new());
        let reader = self.inner().index.read()?;
        reader.all_chunks(|name, location| chunks.extend(bad.contains(&location.pack).then_some(name)))?;
        reader.all_blobs(|name, location, _| blobs.extend(bad.contains(&location.pack).then_some(name)))?;
        drop(reader);
        self.inner().index.forget(packs, &chunks, &blobs)?;
        Ok((chunks.len() + blobs.len()) as u64)
    }

    /// Moves a pack that cannot be trusted out of the way.
    pub(crate) async fn set_aside(&self, object: &path::Path) -> Result<(), BlobError> {
        let name = object.filename().expect("a pack has a name");
        let aside = path::Path::from_iter(["damaged", name]);
        let moved = self.inner().objects.rename(object, &aside).await;
        moved.map_err(|e| BlobError::object("set aside", object, e))
    }

    /// Removes the manifests of blobs that lack chunks.
    async fn drop_broken_blobs(&self, repaired: &mut Repaired) -> Result<(), BlobError> {
        let mut blobs = Vec::new();
        self.inner().index.read()?.all_blobs(|blob, location, _| blobs.push((blob, location)))?;
        let (mut condemned, mut packs) = (Condemned::new(), BTreeSet::new());
        for (blob, location) in blobs {
            let is_whole = match self.missing_of(&blob).await {
                Ok(missing) => missing.is_empty(),
                Err(BlobError::NotFound { .. } | BlobError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if !is_whole {
                condemned.entry(location.pack).or_insert_with(Bits::default).set(location.place.ordinal);
                packs.insert(location.pack);
                repaired.blobs_lost.push(blob);
            }
        }
        if packs.is_empty() {
            return Ok(());
        }
        let packs: Vec<PackNumber> = packs.into_iter().collect();
        let known = self.inner().index.packs().clone();
        self.inner().epochs.condemn(condemned);
        let swept = self.sweep(Kind::Manifests, &packs, &known, &mut Collected::default()).await;
        self.inner().epochs.acquit();
        swept
    }
}

/// Decompresses and verifies entries of a pack whose frames are `stored`.
pub(crate) fn examine(stored: &Bytes, kind: Kind, places: Vec<(Entry, Place)>) -> Examined {
    let mut examined = Examined { sound: Vec::new(), damaged: Vec::new() };
    let mut frame: Option<(u32, Option<Bytes>)> = None;
    for (entry, place) in places {
        let raw = match frame.take() {
            Some((start, raw)) if start == place.start => raw,
            _ => {
                decode(&stored.slice(place.start as usize..(place.start + place.stored) as usize), place.raw)
            }
        };
        let bytes =
            raw.as_ref().map(|raw| raw.slice(place.offset as usize..(place.offset + place.length) as usize));
        let is_sound = |bytes: &Bytes| match kind {
            Kind::Chunks => Hash::of(bytes) == entry.name,
            Kind::Manifests => Manifest::decode(bytes).is_ok(),
        };
        match bytes.filter(is_sound) {
            // A frame that is mostly dead must not stay in memory for a little of it.
            Some(bytes) if bytes.len() < FRAME_TARGET / 4 => {
                examined.sound.push((entry, Bytes::copy_from_slice(&bytes)));
            }
            Some(bytes) => examined.sound.push((entry, bytes)),
            None => examined.damaged.push(entry.name),
        }
        frame = Some((place.start, raw));
    }
    examined
}
