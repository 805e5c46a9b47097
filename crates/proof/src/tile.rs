//! Tiles: how a tree and its leaves are served as files that never change (C2SP tlog-tiles).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;

use crate::text::{Malformed, decimal};
use crate::{Nodes, TreeHash};

/// Hashes in a full tile, and leaves in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Levels of the tree in one level of tiles.
const TILE_LEVELS: u8 = 8;
const WHAT: &str = "tile path";

/// What a tile has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of subtrees of `256^level` leaves.
    Hashes {
        /// 0 to 63; 0 are the hashes of leaves.
        level: u8,
    },
    /// The leaves themselves.
    Entries,
}

/// Which tile; written as `tile/0/x001/234` or `tile/entries/x001/234.p/17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// What is in it.
    pub kind: TileKind,
    /// Its place among those of its kind.
    pub index: u64,
    /// How many hashes or leaves; 1 to [`TILE_WIDTH`], of which less is a partial tile.
    pub width: u16,
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = Malformed;

    fn from_str(path: &str) -> Result<TilePath, Malformed> {
        let malformed = || Malformed::new(WHAT, "it must look like tile/LEVEL/xNNN/NNN[.p/WIDTH]");
        let rest = path.strip_prefix("tile/").ok_or_else(malformed)?;
        let (kind, rest) = rest.split_once('/').ok_or_else(malformed)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => match decimal(WHAT, level)? {
                level @ 0..64 => TileKind::Hashes { level: level as u8 },
                _ => return Err(malformed()),
            },
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((number, width)) => match decimal(WHAT, width)? {
                width @ 1..256 => (number, width as u16),
                _ => return Err(malformed()),
            },
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            let group: u64 = digits.parse().map_err(|_| malformed())?;
            index =
                index.checked_mul(1000).and_then(|index| index.checked_add(group)).ok_or_else(malformed)?;
        }
        // What is written otherwise (an x missing, zeros too many) is another path, and there is none.
        let tile = TilePath { kind, index, width };
        if tile.to_string() == path { Ok(tile) } else { Err(malformed()) }
    }
}

impl TilePath {
    /// The tile of hashes at a place in the tree of `size` leaves, as wide as it is there; `None` where there
    /// is none.
    pub fn of_hashes(level: u8, index: u64, size: u64) -> Option<TilePath> {
        let hashes = size.checked_shr(u32::from(level) * u32::from(TILE_LEVELS)).unwrap_or(0);
        TilePath::of(TileKind::Hashes { level }, index, hashes)
    }

    /// The bundle of leaves at a place in the log of `size` leaves; `None` where there is none.
    pub fn of_entries(index: u64, size: u64) -> Option<TilePath> {
        TilePath::of(TileKind::Entries, index, size)
    }

    fn of(kind: TileKind, index: u64, count: u64) -> Option<TilePath> {
        let from = index.checked_mul(u64::from(TILE_WIDTH)).filter(|from| *from < count)?;
        let width = (count - from).min(u64::from(TILE_WIDTH)) as u16;
        Some(TilePath { kind, index, width })
    }

    /// The place of its first hash or leaf among those of its kind and level.
    ///
    /// # Panics
    /// For an index that no tree reaches; none that [`TilePath::of_hashes`] gave.
    pub fn first(&self) -> u64 {
        self.index * u64::from(TILE_WIDTH)
    }
}

/// Where tiles of hashes are found.
pub trait Tiles {
    /// Why a tile cannot be had.
    type Error: From<Malformed>;

    /// The bytes of a tile.
    ///
    /// # Errors
    /// When it cannot be had.
    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Self::Error>;
}

/// The nodes of a tree that is known by its tiles; keeps those that it has seen.
#[derive(Debug)]
pub struct TileNodes<T> {
    tiles: T,
    size: u64,
    seen: RefCell<BTreeMap<(u8, u64), Vec<TreeHash>>>,
}

impl<T: Tiles> TileNodes<T> {
    /// The tree of the first `size` leaves.
    pub fn new(tiles: T, size: u64) -> TileNodes<T> {
        TileNodes { tiles, size, seen: RefCell::default() }
    }

    fn load(&self, level: u8, index: u64) -> Result<Vec<TreeHash>, T::Error> {
        let path = TilePath::of_hashes(level, index, self.size)
            .ok_or_else(|| Malformed::new("tile", "the tree is not so large"))?;
        let bytes = self.tiles.tile(&path)?;
        if bytes.len() != usize::from(path.width) * TreeHash::BYTES {
            let problem = format!("{path} has {} bytes instead of {}", bytes.len(), path.width * 32);
            return Err(Malformed::new("tile", problem).into());
        }
        let hashes = bytes.as_chunks().0;
        Ok(hashes.iter().map(|hash| TreeHash::from_bytes(*hash)).collect())
    }
}

impl<T: Tiles> Nodes for TileNodes<T> {
    type Error = T::Error;

    fn node(&self, level: u8, index: u64) -> Result<TreeHash, T::Error> {
        let (tile_level, height) = (level / TILE_LEVELS, level % TILE_LEVELS);
        let from = index << height;
        let tile = from / u64::from(TILE_WIDTH);
        let mut seen = self.seen.borrow_mut();
        let hashes = match seen.entry((tile_level, tile)) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(place) => place.insert(self.load(tile_level, tile)?),
        };
        let within = (from % u64::from(TILE_WIDTH)) as usize;
        let part = hashes.get(within..within + (1 << height));
        part.map(TreeHash::of_subtree)
            .ok_or_else(|| Malformed::new("tile", "it is too short for the tree").into())
    }
}

/// Writes leaves as a bundle: each behind its length, two bytes, the higher first.
///
/// # Errors
/// When a leaf is longer than 65,535 bytes.
pub fn bundle<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    for leaf in leaves {
        let length = u16::try_from(leaf.len());
        let length =
            length.map_err(|_| Malformed::new("entry bundle", "a leaf is longer than 65535 bytes"))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    Ok(bytes)
}

/// Reads the leaves of a bundle, of which there are [`TILE_WIDTH`] at most.
///
/// # Errors
/// When the bytes are not a bundle.
pub fn unbundle(mut bytes: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let malformed = |problem| Malformed::new("entry bundle", problem);
    let mut leaves = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("it ends within a leaf"))?;
        if leaves.len() == usize::from(TILE_WIDTH) {
            return Err(malformed("it has more than 256 leaves"));
        }
        leaves.push(leaf);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(leaves) } else { Err(malformed("it ends within a length")) }
}
