//! The pack format, version 1: many small blobs in one object, so that they cost one sync together.
//!
//! ```text
//! blob bytes, back to back
//! index: for each blob  hash [32]  length u32
//! trailer:              count u32  version u32  BLAKE3 of the index [32]  magic [8] "PUMAPACK"
//! ```
//!
//! Numbers are little-endian. A blob starts where the one before it ends, so offsets cannot disagree with
//! lengths. The pack's id is the hash of its index. Nothing else may be in the object: its length must be
//! the sum of its parts.

use std::collections::HashSet;
use std::ops::Range;

use pumasi_types::Hash;

/// Last bytes of every pack.
pub const MAGIC: [u8; 8] = *b"PUMAPACK";
/// The only version there is.
pub const VERSION: u32 = 1;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 48;
/// Bytes of one blob's place in the index.
pub const ENTRY_BYTES: usize = 36;
/// The most blobs one pack may hold; bounds the memory that reading a hostile pack can take.
pub const BLOBS_MAX: usize = 1 << 20;

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// Not even a trailer fits.
    #[error("it is only {0} bytes long, shorter than a trailer")]
    TooShort(u64),
    /// It does not end with [`MAGIC`]: cut off, or no pack.
    #[error("it does not end as a pack does: cut off, overwritten or no pack at all")]
    Magic,
    /// Written by a newer program.
    #[error("its format version is {0}, this program reads version {VERSION}")]
    Version(u32),
    /// No blobs, or more than [`BLOBS_MAX`].
    #[error("it claims {0} blobs, possible are 1 to {BLOBS_MAX}")]
    Count(u32),
    /// The parts do not add up to the whole.
    #[error("it is {found} bytes long, its parts add up to {expected}")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The index is not the one that the trailer names.
    #[error("its index was altered: the checksum differs")]
    Index,
    /// The index names a blob twice.
    #[error("its index names blob {0} twice")]
    Twice(Hash),
    /// The file is named after another pack.
    #[error("it is named after another pack, its own id is {0}")]
    Name(Hash),
}

/// Collects blobs and writes them as a pack.
#[derive(Debug, Default)]
pub struct PackWriter {
    body: Vec<u8>,
    index: Vec<u8>,
    blobs: Vec<(Hash, Range<u32>)>,
}

impl PackWriter {
    /// Appends a blob that is not in the pack yet. Returns false and does nothing when it does not fit:
    /// blobs take less than 4 GiB together, and are at most [`BLOBS_MAX`].
    pub fn push(&mut self, hash: Hash, bytes: &[u8]) -> bool {
        let start = self.blobs.last().map_or(0, |(_, range)| range.end);
        let end = u32::try_from(bytes.len()).ok().and_then(|length| start.checked_add(length));
        let Some(end) = end.filter(|_| self.blobs.len() < BLOBS_MAX) else { return false };
        self.body.extend_from_slice(bytes);
        self.index.extend_from_slice(hash.as_bytes());
        self.index.extend_from_slice(&(end - start).to_le_bytes());
        self.blobs.push((hash, start..end));
        true
    }

    /// Bytes of the blobs so far.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is nothing in it yet.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Closes the pack.
    pub fn finish(mut self) -> Pack {
        let id = Hash::of(&self.index);
        self.body.append(&mut self.index);
        self.body.extend_from_slice(&(self.blobs.len() as u32).to_le_bytes());
        self.body.extend_from_slice(&VERSION.to_le_bytes());
        self.body.extend_from_slice(id.as_bytes());
        self.body.extend_from_slice(&MAGIC);
        Pack { id, bytes: self.body, blobs: self.blobs }
    }
}

/// A finished pack.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its name.
    pub id: Hash,
    /// The whole object.
    pub bytes: Vec<u8>,
    /// Where each blob lies in it.
    pub blobs: Vec<(Hash, Range<u32>)>,
}

/// What the last [`TRAILER_BYTES`] of a pack say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The pack's id: the hash of its index.
    pub id: Hash,
    /// Bytes before the index, all of them blobs.
    pub body_len: u64,
    /// Bytes of the index.
    pub index_len: usize,
}

impl Trailer {
    /// Reads the trailer of a pack that is `pack_len` bytes long.
    ///
    /// # Errors
    /// A [`PackFault`] for whatever [`PackWriter`] cannot have written.
    pub fn decode(trailer: &[u8; TRAILER_BYTES], pack_len: u64) -> Result<Trailer, PackFault> {
        let (count, rest) = trailer.split_first_chunk().expect("4 of 48 bytes");
        let (version, rest) = rest.split_first_chunk().expect("4 of 44 bytes");
        let (id, magic) = rest.split_first_chunk().expect("32 of 40 bytes");
        if magic != MAGIC {
            return Err(PackFault::Magic);
        }
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(PackFault::Version(version));
        }
        let count = u32::from_le_bytes(*count);
        if count == 0 || count as usize > BLOBS_MAX {
            return Err(PackFault::Count(count));
        }
        let index_len = count as usize * ENTRY_BYTES;
        let tail = (index_len + TRAILER_BYTES) as u64;
        let body_len =
            pack_len.checked_sub(tail).ok_or(PackFault::Length { found: pack_len, expected: tail })?;
        Ok(Trailer { id: Hash::from_bytes(*id), body_len, index_len })
    }

    /// Reads the index that this trailer names: each blob and where it lies in the pack.
    ///
    /// # Errors
    /// A [`PackFault`] for whatever [`PackWriter`] cannot have written.
    pub fn decode_index(&self, index: &[u8]) -> Result<Vec<(Hash, Range<u32>)>, PackFault> {
        if Hash::of(index) != self.id {
            return Err(PackFault::Index);
        }
        let mut blobs = Vec::with_capacity(index.len() / ENTRY_BYTES);
        let mut seen = HashSet::with_capacity(blobs.capacity());
        let mut end = 0_u64;
        for entry in index.chunks_exact(ENTRY_BYTES) {
            let (hash, length) = entry.split_first_chunk().expect("32 of 36 bytes");
            let length = u32::from_le_bytes(length.try_into().expect("the other 4"));
            let hash = Hash::from_bytes(*hash);
            if !seen.insert(hash) {
                return Err(PackFault::Twice(hash));
            }
            let start = end;
            end += u64::from(length);
            if end > self.body_len || end > u64::from(u32::MAX) {
                break;
            }
            blobs.push((hash, start as u32..end as u32));
        }
        if end != self.body_len || end > u64::from(u32::MAX) {
            let tail = (self.index_len + TRAILER_BYTES) as u64;
            return Err(PackFault::Length { found: self.body_len + tail, expected: end + tail });
        }
        Ok(blobs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a whole pack in memory, as `folder` does from a file.
    fn decode(pack: &[u8]) -> Result<Vec<(Hash, Range<u32>)>, PackFault> {
        let (rest, trailer) = pack.split_last_chunk().ok_or(PackFault::TooShort(pack.len() as u64))?;
        let trailer = Trailer::decode(trailer, pack.len() as u64)?;
        trailer.decode_index(&rest[rest.len() - trailer.index_len..])
    }

    fn sample() -> Vec<u8> {
        let mut pack = PackWriter::default();
        for blob in [b"pumasi".as_slice(), b"", b"\xed\x92\x88\xec\x95\x97\xec\x9d\xb4"] {
            assert!(pack.push(Hash::of(blob), blob));
        }
        pack.finish().bytes
    }

    /// Changing this snapshot makes every pack on every disk unreadable: raise VERSION instead.
    #[test]
    fn layout_is_fixed() {
        let lines: Vec<String> = sample()
            .chunks(16)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        70 75 6d 61 73 69 ed 92 88 ec 95 97 ec 9d b4 db
        32 aa b3 72 25 e2 45 b8 34 ee 86 39 50 7e 90 00
        7b f4 ba 21 8f 77 32 26 af 34 65 3a 00 fe e6 06
        00 00 00 af 13 49 b9 f5 f9 a1 a6 a0 40 4d ea 36
        dc c9 49 9b cb 25 c9 ad c1 12 b7 cc 9a 93 ca e4
        1f 32 62 00 00 00 00 3a c1 d5 4e 42 b5 d3 3a 3a
        f7 06 67 69 1d b1 4f 10 71 96 a3 dc ec 4c 59 36
        c6 3e a7 77 c2 53 8e 09 00 00 00 03 00 00 00 01
        00 00 00 1e a1 0c 05 fb 96 ff 45 e0 2a dc 00 0c
        54 ba d0 a4 c2 24 c7 de 64 02 5b 10 70 be fc 5d
        b1 1d 5b 50 55 4d 41 50 41 43 4b
        ");
    }

    #[test]
    fn every_altered_byte_of_the_footer_is_noticed() {
        let pack = sample();
        let body = 15;
        assert_eq!(decode(&pack).unwrap().last().unwrap().1, 6..body as u32);
        for at in body..pack.len() {
            let mut damaged = pack.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
        for end in 0..pack.len() {
            assert!(decode(&pack[..end]).is_err(), "cut to {end}");
        }
    }

    /// Puts `index` and honest checksums behind `body` bytes.
    fn forge(body: usize, index: &[u8], count: u32, version: u32) -> Vec<u8> {
        let mut pack = vec![0; body];
        pack.extend_from_slice(index);
        pack.extend_from_slice(&count.to_le_bytes());
        pack.extend_from_slice(&version.to_le_bytes());
        pack.extend_from_slice(Hash::of(index).as_bytes());
        pack.extend_from_slice(&MAGIC);
        pack
    }

    #[test]
    fn lies_with_honest_checksums_are_refused() {
        let entry = |hash: u8, length: u32| [[hash; 32].as_slice(), &length.to_le_bytes()].concat();
        let two = [entry(1, 2), entry(2, 3)].concat();
        assert_eq!(decode(&forge(5, &two, 2, 1)).unwrap().len(), 2);
        assert_eq!(decode(&forge(5, &two, 2, 2)), Err(PackFault::Version(2)));
        assert_eq!(decode(&forge(0, &[], 0, 1)), Err(PackFault::Count(0)));
        assert_eq!(decode(&forge(5, &two, u32::MAX, 1)), Err(PackFault::Count(u32::MAX)));
        assert_eq!(decode(&forge(5, &two, 3, 1)), Err(PackFault::Length { found: 125, expected: 156 }));
        assert_eq!(decode(&forge(6, &two, 2, 1)), Err(PackFault::Length { found: 126, expected: 125 }));
        let huge = [entry(1, u32::MAX), entry(2, u32::MAX)].concat();
        assert!(matches!(decode(&forge(5, &huge, 2, 1)), Err(PackFault::Length { .. })));
        let twice = [entry(1, 2), entry(1, 3)].concat();
        assert_eq!(decode(&forge(5, &twice, 2, 1)), Err(PackFault::Twice(Hash::from_bytes([1; 32]))));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..8,
        ) {
            let _ = decode(&bytes);
            let _ = decode(&forge(0, &bytes, count, VERSION));
        }
    }
}
