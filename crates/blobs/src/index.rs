//! Where each blob lies; kept in memory.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use object_store::path::Path;
use pumasi_types::Hash;

/// Where the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own { length: u64 },
    Packed { pack: u32, start: u32, end: u32 },
}

/// An object and the bytes of it that are the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) object: Path,
    /// The whole object when it is not a pack.
    pub(crate) range: Range<u64>,
    packed: bool,
}

impl Location {
    pub(crate) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether the object can hold the blob when it is so long.
    pub(crate) fn fits(&self, object_len: u64) -> bool {
        if self.packed { object_len >= self.range.end } else { object_len == self.range.end }
    }
}

/// Every blob whose bytes are safely on disk.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: HashMap<Hash, Place>,
    packs: Vec<Hash>,
    /// Blobs that once failed to read: they count as missing, so that storing them again repairs them.
    damaged: HashSet<Hash>,
}

impl Index {
    pub(crate) fn insert_own(&mut self, hash: Hash, length: u64) {
        self.damaged.remove(&hash);
        self.places.insert(hash, Place::Own { length });
    }

    pub(crate) fn insert_pack(&mut self, id: Hash, blobs: &[(Hash, Range<u32>)]) {
        let pack = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs");
        self.packs.push(id);
        self.places.reserve(blobs.len());
        for (hash, range) in blobs {
            self.damaged.remove(hash);
            self.places.insert(*hash, Place::Packed { pack, start: range.start, end: range.end });
        }
    }

    pub(crate) fn mark_damaged(&mut self, hash: Hash) {
        self.damaged.insert(hash);
    }

    /// The length of a blob that can be read as far as is known.
    pub(crate) fn length(&self, hash: &Hash) -> Option<u64> {
        let sound = self.damaged.is_empty() || !self.damaged.contains(hash);
        self.places.get(hash).filter(|_| sound).map(|place| match *place {
            Place::Own { length } => length,
            Place::Packed { start, end, .. } => u64::from(end - start),
        })
    }

    /// Where a blob lies, even when it was found damaged.
    pub(crate) fn locate(&self, hash: &Hash) -> Option<Location> {
        self.places.get(hash).map(|place| match *place {
            Place::Own { length } => Location { object: own_path(hash), range: 0..length, packed: false },
            Place::Packed { pack, start, end } => Location {
                object: pack_path(&self.packs[pack as usize]),
                range: u64::from(start)..u64::from(end),
                packed: true,
            },
        })
    }
}

/// The object of a blob that has one of its own.
pub(crate) fn own_path(hash: &Hash) -> Path {
    let name = hash.to_string();
    Path::from_iter(["blobs", &name[..2], &name])
}

/// The object of a pack.
pub(crate) fn pack_path(id: &Hash) -> Path {
    Path::from_iter(["packs", &format!("{id}.pack")])
}
