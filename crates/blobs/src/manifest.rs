//! Manifests, version 1: which chunks a blob consists of.
//!
//! ```text
//! magic [4] "PUMM"  version u16  level u16  rule u32  min u32  max u32  multiplier u32  addend u32
//! length of the blob u64  count u32
//! count times: name [32]  bytes of the blob u32
//! BLAKE3 of all before [32]
//! ```
//!
//! Numbers are little-endian. At level 0 the names are those of chunks. A blob of more than [`LIST_MAX`] chunks, or of 4 GiB
//! and more, has level 1: the names are those of lists, and a list is chunks in the same form, named by its own BLAKE3 and
//! stored as a chunk is. So the largest blob is 2^16 lists, at least 16 TiB, and nobody ever holds all its chunks in memory.

use pumasi_types::Hash;

use crate::chunker;

/// First bytes of every manifest.
pub const MAGIC: [u8; 4] = *b"PUMM";
/// The only version there is.
pub const VERSION: u16 = 1;
/// The most chunks of a list, and of a manifest of level 0.
pub const LIST_MAX: usize = 8192;
/// The most lists of a manifest.
pub const LISTS_MAX: usize = 1 << 16;
/// Bytes of one name with its length.
pub const PART_BYTES: usize = 36;
const HEAD_BYTES: usize = 40;
const CHECK_BYTES: usize = 32;

/// A chunk or list of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Of the chunk or the list.
    pub name: Hash,
    /// Bytes of the blob in it.
    pub length: u32,
}

/// What a blob consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whether `parts` are lists, not chunks.
    pub lists: bool,
    /// Bytes of the blob: the sum of `parts`.
    pub length: u64,
    /// In the order of their bytes.
    pub parts: Vec<Part>,
}

/// Why bytes are not a manifest or a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// Cut off, or no manifest.
    #[error("it does not begin as a manifest does, or is cut off")]
    Magic,
    /// Written by a newer program.
    #[error("its format version is {0}, this program reads version {VERSION}")]
    Version(u16),
    /// It was altered.
    #[error("its checksum differs: it was altered")]
    Check,
    /// A level that does not exist.
    #[error("it has level {0}, there are 0 and 1")]
    Level(u16),
    /// No parts, or too many.
    #[error("it claims {0} parts, more or fewer than possible")]
    Count(u64),
    /// The parts do not add up to the whole.
    #[error("its parts do not add up to its length")]
    Length,
}

impl Manifest {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.parts.len() * PART_BYTES + CHECK_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::from(self.lists).to_le_bytes());
        let bounds = [chunker::CHUNK_MIN as u32, chunker::CHUNK_MAX as u32];
        let rule = [chunker::RULE, bounds[0], bounds[1], chunker::MULTIPLIER, chunker::ADDEND];
        rule.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&encode_list(&self.parts));
        let check = Hash::of(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// What tells it from all others: the checksum at the end of its stored form.
    pub fn check(&self) -> Hash {
        let bytes = self.encode();
        Hash::from_bytes(*bytes.last_chunk().expect("it ends with its checksum"))
    }

    /// Reads the stored form. By which rule a blob was cut matters to nobody who reads it.
    ///
    /// # Errors
    /// A [`ManifestFault`] for whatever [`Manifest::encode`] cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestFault> {
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(ManifestFault::Magic)?;
        let (head, list) = body.split_first_chunk::<HEAD_BYTES>().ok_or(ManifestFault::Magic)?;
        if head[..4] != MAGIC {
            return Err(ManifestFault::Magic);
        }
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if u16_at(4) != VERSION {
            return Err(ManifestFault::Version(u16_at(4)));
        }
        if Hash::of(body).as_bytes() != check {
            return Err(ManifestFault::Check);
        }
        let lists = match u16_at(6) {
            0 => false,
            1 => true,
            level => return Err(ManifestFault::Level(level)),
        };
        let length = u64::from_le_bytes(head[28..36].try_into().expect("8 bytes"));
        let count = u32::from_le_bytes(head[36..40].try_into().expect("4 bytes")) as usize;
        let most = if lists { LISTS_MAX } else { LIST_MAX };
        if count > most || count * PART_BYTES != list.len() {
            return Err(ManifestFault::Count(count as u64));
        }
        let parts = decode_parts(list);
        match covered(&parts) == length {
            true => Ok(Manifest { lists, length, parts }),
            false => Err(ManifestFault::Length),
        }
    }
}

/// The stored form of a list, and of the names in a manifest.
pub fn encode_list(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.len() * PART_BYTES);
    for part in parts {
        bytes.extend_from_slice(part.name.as_bytes());
        bytes.extend_from_slice(&part.length.to_le_bytes());
    }
    bytes
}

/// Reads a list whose chunks are to have `length` bytes together.
///
/// # Errors
/// A [`ManifestFault`] for whatever is not such a list.
pub fn decode_list(bytes: &[u8], length: u32) -> Result<Vec<Part>, ManifestFault> {
    let count = bytes.len() / PART_BYTES;
    if count == 0 || count > LIST_MAX || !bytes.len().is_multiple_of(PART_BYTES) {
        return Err(ManifestFault::Count(count as u64));
    }
    let parts = decode_parts(bytes);
    match covered(&parts) == u64::from(length) {
        true => Ok(parts),
        false => Err(ManifestFault::Length),
    }
}

fn decode_parts(bytes: &[u8]) -> Vec<Part> {
    let part = |bytes: &[u8]| {
        let (name, length) = bytes.split_first_chunk().expect("36 bytes");
        let length = u32::from_le_bytes(length.try_into().expect("the other 4"));
        Part { name: Hash::from_bytes(*name), length }
    };
    bytes.chunks_exact(PART_BYTES).map(part).collect()
}

fn covered(parts: &[Part]) -> u64 {
    parts.iter().map(|part| u64::from(part.length)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(lists: bool) -> Manifest {
        let part = |n: u8, length| Part { name: Hash::from_bytes([n; 32]), length };
        Manifest { lists, length: 100_003, parts: vec![part(1, 50_000), part(2, 50_000), part(1, 3)] }
    }

    /// Changing this snapshot makes every manifest on every disk unreadable: raise VERSION instead.
    #[test]
    fn layout_is_fixed() {
        let bytes = sample(false).encode();
        let lines: Vec<String> = bytes
            .chunks(20)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_noticed() {
        for lists in [false, true] {
            let whole = sample(lists);
            let bytes = whole.encode();
            assert_eq!(Manifest::decode(&bytes), Ok(whole));
            for at in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                assert!(Manifest::decode(&altered).is_err(), "byte {at}");
                assert!(Manifest::decode(&bytes[..at]).is_err(), "cut to {at}");
            }
        }
    }

    #[test]
    fn lies_with_honest_checksums_are_refused() {
        let forge = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sample(false).encode();
            bytes.truncate(bytes.len() - CHECK_BYTES);
            change(&mut bytes);
            let check = Hash::of(&bytes);
            bytes.extend_from_slice(check.as_bytes());
            Manifest::decode(&bytes)
        };
        assert_eq!(forge(&|_| ()), Ok(sample(false)));
        assert_eq!(forge(&|bytes| bytes[4] = 2), Err(ManifestFault::Version(2)));
        assert_eq!(forge(&|bytes| bytes[6] = 2), Err(ManifestFault::Level(2)));
        assert_eq!(forge(&|bytes| bytes[28] ^= 1), Err(ManifestFault::Length));
        assert_eq!(forge(&|bytes| bytes[39] = 0xff), Err(ManifestFault::Count(0xff00_0003)));
        assert_eq!(forge(&|bytes| bytes.extend_from_slice(&[0; 36])), Err(ManifestFault::Count(3)));
        let list = encode_list(&sample(true).parts);
        assert_eq!(decode_list(&list, 100_003), Ok(sample(true).parts));
        assert_eq!(decode_list(&list, 100_004), Err(ManifestFault::Length));
        assert_eq!(decode_list(&list[1..], 100_003), Err(ManifestFault::Count(2)));
        assert_eq!(decode_list(&[], 0), Err(ManifestFault::Count(0)));
    }

    /// A TiB, and the most that is promised, though all chunks are as short as can be.
    #[test]
    fn huge_blobs_have_manifests() {
        let shortest = (LIST_MAX * chunker::CHUNK_MIN) as u64;
        assert!(shortest <= u64::from(u32::MAX) - chunker::CHUNK_MAX as u64, "no list is shorter");
        let manifest = |length: u64| {
            let part = Part { name: Hash::from_bytes([7; 32]), length: shortest as u32 };
            Manifest { lists: true, length, parts: vec![part; length.div_ceil(shortest) as usize] }
        };
        for length in [1 << 40, 16 << 40] {
            let bytes = manifest(length).encode();
            assert!(bytes.len() < crate::frame::FRAME_MAX as usize, "it is stored as one entry");
            assert_eq!(Manifest::decode(&bytes), Ok(manifest(length)));
        }
        let beyond = manifest((16 << 40) + shortest).encode();
        assert_eq!(Manifest::decode(&beyond), Err(ManifestFault::Count(LISTS_MAX as u64 + 1)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::decode(&bytes);
            let _ = decode_list(&bytes, 7);
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&VERSION.to_le_bytes());
            framed.extend_from_slice(&bytes);
            let check = Hash::of(&framed);
            framed.extend_from_slice(check.as_bytes());
            let _ = Manifest::decode(&framed);
        }
    }
}
