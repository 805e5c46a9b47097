//! The pack format, version 2: frames of many chunks, or of many manifests, in one object that describes itself.
//!
//! ```text
//! frames, back to back: the entries' bytes, compressed by zstd where the stored length is below the raw one
//! index:   for each frame  stored length u32  raw length u32  entries u32
//!          for each entry  name [32]  length u32  (in packs of manifests also: bytes of the blob u64)
//! trailer: created u64 (ns since 1970)  nonce [16]  kind u32 (0 chunks, 1 manifests)  frames u32  entries u32
//!          version u32  id [32]  magic [8] "PUMAPACK"
//! ```
//!
//! Numbers are little-endian. A frame starts where the one before it ends, and so do entries in a frame, so offsets
//! cannot disagree with lengths. The id is the BLAKE3 of index and trailer up to it; because of the nonce no two packs
//! ever have the same, so a name that was deleted never comes back with other bytes behind it. Nothing else may be in
//! the object: its length must be the sum of its parts. The entries' own bytes are checked against their names (chunks)
//! or by their own checksum (manifests).

use bytes::Bytes;
use pumasi_types::{Hash, Time};

use crate::frame::{Entry, FRAME_MAX, Frame};

/// Last bytes of every pack.
pub const MAGIC: [u8; 8] = *b"PUMAPACK";
/// The version that is written. Version 1 kept whole blobs and was never released.
pub const VERSION: u32 = 2;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 80;
/// The most entries one pack may hold; bounds the memory that reading a hostile pack can take.
pub const ENTRIES_MAX: u32 = 1 << 20;
/// No pack is longer, so that 32 bits tell every place in it.
pub const PACK_MAX: u64 = 1 << 30;
const FRAME_BYTES: usize = 12;

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Chunks of content, and lists of chunks.
    Chunks,
    /// Manifests of blobs.
    Manifests,
}

impl Kind {
    fn entry_bytes(self) -> usize {
        match self {
            Kind::Chunks => 36,
            Kind::Manifests => 44,
        }
    }
}

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// Not even a trailer fits, or more than [`PACK_MAX`].
    #[error("it is {0} bytes long, no pack is")]
    Size(u64),
    /// It does not end with [`MAGIC`]: cut off, or no pack.
    #[error("it does not end as a pack does: cut off, overwritten or no pack at all")]
    Magic,
    /// Written by another program.
    #[error("its format version is {0}, this program reads version {VERSION}")]
    Version(u32),
    /// Neither chunks nor manifests.
    #[error("it is of kind {0}, there are 0 and 1")]
    Kind(u32),
    /// No entries or frames, or more than possible.
    #[error("it claims {0} entries or frames, possible are 1 to {ENTRIES_MAX}")]
    Count(u32),
    /// The parts do not add up to the whole.
    #[error("its parts do not add up to its {0} bytes")]
    Length(u64),
    /// The index or the trailer was altered.
    #[error("its index was altered: the checksum differs")]
    Index,
    /// The object is named after another pack.
    #[error("it is named after another pack, its own id is {0}")]
    Name(Hash),
    /// The bytes of entries are not what their names say.
    #[error("some of its {0} entries are not what their names say")]
    Entries(u32),
}

/// Collects frames and writes them as a pack.
#[derive(Debug)]
pub struct PackWriter {
    kind: Kind,
    body: Vec<Bytes>,
    body_len: u64,
    raw_len: u64,
    frames: Vec<u8>,
    entries: Vec<u8>,
    places: Vec<(Entry, Place)>,
    count: [u32; 2],
}

/// Where an entry lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte of the frame in the pack.
    pub start: u32,
    /// Bytes of the frame in the pack.
    pub stored: u32,
    /// Bytes of the frame when it is decompressed; equal to `stored` when it was not compressed.
    pub raw: u32,
    /// First byte of the entry in the decompressed frame.
    pub offset: u32,
    /// Bytes of the entry.
    pub length: u32,
    /// Which entry of the pack it is, from 0.
    pub ordinal: u32,
}

/// A finished pack.
#[derive(Debug)]
pub struct Pack {
    /// Its name.
    pub id: Hash,
    /// Its bytes, in order.
    pub bytes: Vec<Bytes>,
    /// What it holds and where.
    pub index: PackIndex,
}

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// Chunks or manifests.
    pub kind: Kind,
    /// When it was written, by the clock of who wrote it.
    pub created: Time,
    /// Bytes of the object.
    pub length: u64,
    /// Bytes of all entries.
    pub raw: u64,
    /// Every entry and where it lies.
    pub places: Vec<(Entry, Place)>,
}

impl PackIndex {
    /// Bytes of the index and the trailer.
    pub fn tail_len(&self) -> u64 {
        self.length
            - self.places.last().map_or(0, |(_, place)| u64::from(place.start) + u64::from(place.stored))
    }
}

impl PackWriter {
    /// An empty pack.
    pub fn new(kind: Kind) -> PackWriter {
        let (body, frames, entries, places) = Default::default();
        PackWriter { kind, body, body_len: 0, raw_len: 0, frames, entries, places, count: [0; 2] }
    }

    /// Bytes of all frames so far.
    pub fn body_len(&self) -> u64 {
        self.body_len
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        let start = u32::try_from(self.body_len).expect("packs are closed long before");
        let (stored, raw) = (frame.stored_len, frame.raw_len);
        for number in [stored, raw, frame.entries.len() as u32] {
            self.frames.extend_from_slice(&number.to_le_bytes());
        }
        let mut offset = 0;
        for entry in frame.entries {
            let (length, ordinal) = (entry.length, self.places.len() as u32);
            self.entries.extend_from_slice(entry.name.as_bytes());
            self.entries.extend_from_slice(&length.to_le_bytes());
            if self.kind == Kind::Manifests {
                self.entries.extend_from_slice(&entry.size.to_le_bytes());
            }
            self.places.push((entry, Place { start, stored, raw, offset, length, ordinal }));
            offset += length;
        }
        self.count[0] += 1;
        self.count[1] = self.places.len() as u32;
        self.body_len += u64::from(stored);
        self.raw_len += u64::from(raw);
        self.body.extend(frame.stored);
    }

    /// The pack, to be named by its id.
    pub fn finish(self, created: Time, nonce: [u8; 16]) -> Pack {
        let mut tail = self.frames;
        tail.extend_from_slice(&self.entries);
        tail.extend_from_slice(&created.0.to_le_bytes());
        tail.extend_from_slice(&nonce);
        let kind = u32::from(self.kind == Kind::Manifests);
        for number in [kind, self.count[0], self.count[1], VERSION] {
            tail.extend_from_slice(&number.to_le_bytes());
        }
        let id = Hash::of(&tail);
        tail.extend_from_slice(id.as_bytes());
        tail.extend_from_slice(&MAGIC);
        let length = self.body_len + tail.len() as u64;
        let mut bytes = self.body;
        bytes.push(tail.into());
        let (kind, raw, places) = (self.kind, self.raw_len, self.places);
        Pack { id, bytes, index: PackIndex { kind, created, length, raw, places } }
    }
}

/// The end of a pack: what is needed to find its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The pack's name.
    pub id: Hash,
    kind: Kind,
    created: Time,
    frames: u32,
    entries: u32,
    signed: [u8; TRAILER_BYTES - 40],
    pack_len: u64,
}

impl Trailer {
    /// Reads the last bytes of an object that is `pack_len` bytes long.
    ///
    /// # Errors
    /// A [`PackFault`] for whatever [`PackWriter`] cannot have written.
    pub fn decode(bytes: &[u8; TRAILER_BYTES], pack_len: u64) -> Result<Trailer, PackFault> {
        if bytes[TRAILER_BYTES - 8..] != MAGIC {
            return Err(PackFault::Magic);
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        if u32_at(36) != VERSION {
            return Err(PackFault::Version(u32_at(36)));
        }
        if pack_len > PACK_MAX {
            return Err(PackFault::Size(pack_len));
        }
        let kind = match u32_at(24) {
            0 => Kind::Chunks,
            1 => Kind::Manifests,
            other => return Err(PackFault::Kind(other)),
        };
        let (frames, entries) = (u32_at(28), u32_at(32));
        if let Some(wrong) = [frames, entries].into_iter().find(|count| *count == 0 || *count > ENTRIES_MAX) {
            return Err(PackFault::Count(wrong));
        }
        let id = Hash::from_bytes(bytes[40..72].try_into().expect("32 bytes"));
        let created = Time(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")));
        let signed = bytes[..40].try_into().expect("40 bytes");
        let trailer = Trailer { id, kind, created, frames, entries, signed, pack_len };
        match trailer.index_len() + TRAILER_BYTES as u64 <= pack_len {
            true => Ok(trailer),
            false => Err(PackFault::Length(pack_len)),
        }
    }

    /// Bytes of the index, which ends where the trailer begins.
    pub fn index_len(&self) -> u64 {
        u64::from(self.frames) * FRAME_BYTES as u64 + u64::from(self.entries) * self.kind.entry_bytes() as u64
    }

    /// Reads the index that this trailer names.
    ///
    /// # Errors
    /// A [`PackFault`] for whatever [`PackWriter`] cannot have written.
    pub fn decode_index(&self, index: &[u8]) -> Result<PackIndex, PackFault> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(index).update(&self.signed);
        if Hash::from(hasher.finalize()) != self.id || index.len() as u64 != self.index_len() {
            return Err(PackFault::Index);
        }
        let broken = PackFault::Length(self.pack_len);
        let (frames, entries) = index.split_at(self.frames as usize * FRAME_BYTES);
        let mut entries = entries.chunks_exact(self.kind.entry_bytes());
        let mut places = Vec::with_capacity(self.entries as usize);
        let (mut start, mut total) = (0_u64, 0_u64);
        for frame in frames.chunks_exact(FRAME_BYTES) {
            let number = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("4 bytes"));
            let (stored, raw, count) = (number(0), number(4), number(8));
            let mut offset = 0_u32;
            for _ in 0..count {
                let entry = self.decode_entry(entries.next().ok_or_else(|| broken.clone())?);
                let (length, ordinal) = (entry.length, places.len() as u32);
                let end = offset.checked_add(length).filter(|end| *end <= raw);
                places.push((entry, Place { start: start as u32, stored, raw, offset, length, ordinal }));
                offset = end.ok_or_else(|| broken.clone())?;
            }
            if offset != raw || stored > raw || raw > FRAME_MAX {
                return Err(broken);
            }
            total += u64::from(raw);
            start += u64::from(stored);
        }
        let length = start + self.index_len() + TRAILER_BYTES as u64;
        if length != self.pack_len || places.len() != self.entries as usize {
            return Err(broken);
        }
        Ok(PackIndex { kind: self.kind, created: self.created, length, raw: total, places })
    }

    fn decode_entry(&self, bytes: &[u8]) -> Entry {
        let name = Hash::from_bytes(bytes[..32].try_into().expect("32 bytes"));
        let length = u32::from_le_bytes(bytes[32..36].try_into().expect("4 bytes"));
        let size = match self.kind {
            Kind::Chunks => u64::from(length),
            Kind::Manifests => u64::from_le_bytes(bytes[36..44].try_into().expect("8 bytes")),
        };
        Entry { name, length, size }
    }
}

/// Reads what a whole pack in memory says of itself.
///
/// # Errors
/// A [`PackFault`] for whatever [`PackWriter`] cannot have written.
pub fn decode(pack: &[u8]) -> Result<(Hash, PackIndex), PackFault> {
    let (rest, trailer) = pack.split_last_chunk().ok_or(PackFault::Size(pack.len() as u64))?;
    let trailer = Trailer::decode(trailer, pack.len() as u64)?;
    let index = trailer.decode_index(&rest[rest.len() - trailer.index_len() as usize..])?;
    Ok((trailer.id, index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Batch, encode};

    fn frame(parts: &[&[u8]], size: u64) -> Frame {
        let mut batch = Batch::default();
        for part in parts {
            let length = part.len() as u32;
            let size = if size == 0 { u64::from(length) } else { size };
            batch.push(Entry { name: Hash::of(part), length, size }, Bytes::copy_from_slice(part));
        }
        encode(batch)
    }

    fn sample(kind: Kind) -> Vec<u8> {
        let mut pack = PackWriter::new(kind);
        let size = if kind == Kind::Manifests { 1 << 40 } else { 0 };
        pack.push(frame(&[b"pumasi", b"", "품앗이".as_bytes()], size));
        pack.push(frame(&[&[b'='; 100]], size));
        let pack = pack.finish(Time(1_700_000_000_000_000_000), [7; 16]);
        let bytes = pack.bytes.concat();
        assert_eq!(decode(&bytes).unwrap(), (pack.id, pack.index));
        bytes
    }

    /// Changing these snapshots makes every pack on every disk unreadable: raise VERSION instead.
    #[test]
    fn layout_is_fixed() {
        for kind in [Kind::Chunks, Kind::Manifests] {
            let lines: Vec<String> = sample(kind)
                .chunks(16)
                .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
                .collect();
            insta::assert_snapshot!(format!("layout_{kind:?}"), lines.join("\n"));
        }
    }

    #[test]
    fn every_altered_byte_of_the_footer_and_every_cut_is_noticed() {
        for kind in [Kind::Chunks, Kind::Manifests] {
            let pack = sample(kind);
            let places = decode(&pack).unwrap().1.places;
            let last = places.last().unwrap().1;
            assert!(last.stored < last.raw && places[0].1.stored == places[0].1.raw);
            for at in (last.start + last.stored) as usize..pack.len() {
                let mut damaged = pack.clone();
                damaged[at] ^= 1;
                assert!(decode(&damaged).is_err(), "byte {at}");
            }
            for end in 0..pack.len() {
                assert!(decode(&pack[..end]).is_err(), "cut to {end}");
            }
            assert!(decode(&[b"x", &pack[..]].concat()).is_err(), "a byte too many");
        }
    }

    /// Puts `index` and honest checksums behind `body` bytes.
    fn forge(body: usize, index: &[u8], kind: u32, frames: u32, entries: u32, version: u32) -> Vec<u8> {
        let mut tail = index.to_vec();
        tail.extend_from_slice(&[0; 24]);
        for number in [kind, frames, entries, version] {
            tail.extend_from_slice(&number.to_le_bytes());
        }
        let id = Hash::of(&tail);
        tail.extend_from_slice(id.as_bytes());
        tail.extend_from_slice(&MAGIC);
        [vec![0; body], tail].concat()
    }

    #[test]
    fn lies_with_honest_checksums_are_refused() {
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let entry = |length: u32| [[1; 32].as_slice(), &length.to_le_bytes()].concat();
        let fault = |pack: &[u8]| decode(pack).unwrap_err();
        let two = [numbers(&[5, 5, 2]), entry(2), entry(3)].concat();
        assert_eq!(decode(&forge(5, &two, 0, 1, 2, 2)).unwrap().1.places.len(), 2);
        assert_eq!(fault(&forge(5, &two, 0, 1, 2, 1)), PackFault::Version(1));
        assert_eq!(fault(&forge(5, &two, 2, 1, 2, 2)), PackFault::Kind(2));
        assert_eq!(fault(&forge(0, &[], 0, 0, 0, 2)), PackFault::Count(0));
        assert_eq!(fault(&forge(5, &two, 0, 1, u32::MAX, 2)), PackFault::Count(u32::MAX));
        for (body, index, frames, entries) in [
            (6, two.clone(), 1, 2),
            (5, two, 1, 3),
            (5, [numbers(&[5, 5, 1]), entry(2), entry(3)].concat(), 1, 2),
            (5, [numbers(&[5, 5, 3]), entry(2), entry(3)].concat(), 1, 2),
            (5, [numbers(&[5, 6, 2]), entry(2), entry(3)].concat(), 1, 2),
            (5, [numbers(&[5, 4, 2]), entry(1), entry(3)].concat(), 1, 2),
            (5, [numbers(&[5, 5, 2]), entry(u32::MAX), entry(6)].concat(), 1, 2),
            (5, [numbers(&[5, FRAME_MAX + 1, 1]), entry(FRAME_MAX + 1)].concat(), 1, 1),
        ] {
            let pack = forge(body, &index, 0, frames, entries, 2);
            assert!(matches!(fault(&pack), PackFault::Length(_)), "{:?}", decode(&pack));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            body in 0_usize..100, kind in 0_u32..3, frames in 0_u32..4, entries in 0_u32..6,
        ) {
            let _ = decode(&bytes);
            let _ = decode(&forge(body, &bytes, kind, frames, entries, VERSION));
        }
    }
}
