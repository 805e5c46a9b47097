//! The bytes of a log on disk, format version 1. All numbers are little-endian and unsigned.
//!
//! # The directory
//!
//! | file | what |
//! |---|---|
//! | `LOCK` | holds an exclusive `flock` while a writer has the log open; its text is the writer's process id |
//! | `mark` | epoch, oldest segment and a position known to be durable; replaced atomically |
//! | `SSSSSSSSSSSSSSSS.log` | a segment, named by its first entry's place in 16 hexadecimal digits |
//! | `next-N.tmp` | a segment being prepared; removed at the next opening |
//! | `cut-SEQ-N.bin` | bytes that a restart cut from the tail: the remains of entry SEQ, which was never acknowledged |
//!
//! # A segment
//!
//! One header block of 4096 bytes, then entries, each beginning at a multiple of 4096 and followed by
//! zeros up to the next one, then zeros to the end. The file is preallocated and its blocks are
//! written with zeros ahead of the entries. No block is ever written twice with entries, so a torn
//! write cannot hurt what was acknowledged before.
//!
//! ## Segment header
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `PUMASILG` |
//! | 8..12 | format version, 1 |
//! | 12..16 | cell |
//! | 16..24 | number of the segment, counted from 0 since the log began |
//! | 24..32 | size of the segment, header included |
//! | 32..40 | place of its first entry |
//! | 40..48 | epoch of the entry before it, 0 for none |
//! | 48..56 | time of the entry before it |
//! | 56..88 | hash of the entry before it |
//! | 88..96 | time of the segment's creation, from the machine's clock; for people only |
//! | 96..128 | key: random, known only to this file |
//! | 128..4064 | zeros |
//! | 4064..4096 | BLAKE3 of bytes 0..4064 |
//!
//! ## Entry
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `PUME` |
//! | 4..8 | format version, 1 |
//! | 8..16 | place (seq) |
//! | 16..24 | epoch |
//! | 24..32 | time, nanoseconds since 1970 |
//! | 32..36 | cell |
//! | 36..40 | payload length n in bytes |
//! | 40..72 | hash of the entry before it, zeros for the first |
//! | 72..104 | hash: BLAKE3 of bytes 0..72 followed by the payload |
//! | 104..112 | place of the first entry of the same write: all before it were durable when this was written |
//! | 112..120 | zeros |
//! | 120..128 | first 8 bytes of BLAKE3, keyed with the segment's key, of bytes 0..120 |
//! | 128..128+n | payload |
//!
//! The entry's hash is its checksum and the link of the chain. The keyed checksum makes the length
//! trustworthy before the payload is read, and tells an entry from a payload that imitates one: a
//! client may store anything, but does not know the key.
//!
//! # Restart
//!
//! The bytes after the last good entry were never acknowledged if nothing proves otherwise: they are
//! saved to a `cut-` file and zeroed. Proof is a later entry that names a first place of its write
//! beyond the bad entry, or a `mark` that names a later durable position. Then the log refuses to
//! open. Without a `mark`, the epoch is recovered from the entries and the last segment's tail is
//! judged by the entries alone.
//!
//! ## Mark
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `PUMASIMK` |
//! | 8..12 | format version, 1 |
//! | 12..16 | cell |
//! | 16..24 | epoch of the last opening |
//! | 24..32 | first place of the oldest segment; older files are left over from a trim |
//! | 32..40 | place of an entry known to be durable, when the log was last opened or closed |
//! | 40..72 | its hash |
//! | 72..104 | BLAKE3 of bytes 0..72 |
//!
//! # Snapshot
//!
//! `SSSSSSSSSSSSSSSS.snap`, named by the place of the last entry in it, replaced atomically.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `PUMASISN` |
//! | 8..12 | format version, 1 |
//! | 12..16 | version of the state, given by its owner |
//! | 16..24 | place of the last entry in it |
//! | 24..32 | its epoch |
//! | 32..40 | its time |
//! | 40..72 | its hash |
//! | 72..80 | length of the body in bytes |
//! | 80..112 | BLAKE3 of the body |
//! | 112..224 | zeros |
//! | 224..256 | BLAKE3 of bytes 0..224 |
//! | 256.. | body |

use bytes::Bytes;
use pumasi_types::{CellId, Hash, Time};

use crate::{Entry, Epoch, Head, Seq};

/// The newest format version, and the only one so far.
pub const VERSION: u32 = 1;
/// Unit of writing: entries and headers begin at multiples of this, in bytes.
pub const BLOCK: u64 = 4096;
/// Length of an entry's header, in bytes.
pub const ENTRY_HEADER: usize = 128;
/// Length of a mark, in bytes.
pub const MARK: usize = 104;
/// Length of a snapshot's header, in bytes.
pub const SNAPSHOT_HEADER: usize = 256;

const SEGMENT_MAGIC: [u8; 8] = *b"PUMASILG";
const MARK_MAGIC: [u8; 8] = *b"PUMASIMK";
const SNAPSHOT_MAGIC: [u8; 8] = *b"PUMASISN";
const ENTRY_MAGIC: [u8; 4] = *b"PUME";
/// The part of an entry's header that its hash covers, in bytes.
const HASHED: usize = 72;

/// Why bytes are not the structure they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They were written by a newer release: the version they name.
    Newer(u32),
    /// They are damaged.
    Wrong {
        /// What they should say.
        expected: String,
        /// What they say.
        found: String,
    },
}

impl Malformed {
    fn wrong(expected: impl Into<String>, found: impl Into<String>) -> Malformed {
        Malformed::Wrong { expected: expected.into(), found: found.into() }
    }
}

/// `bytes` rounded up to whole blocks.
pub const fn blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    out[at..at + N].copy_from_slice(&bytes);
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

/// Checks magic, version and the BLAKE3 of everything before the last 32 bytes.
fn check_sealed(bytes: &[u8], magic: [u8; 8]) -> Result<(), Malformed> {
    if bytes[..8] != magic {
        return Err(Malformed::wrong(
            format!("the magic '{}'", magic.escape_ascii()),
            format!("'{}'", bytes[..8].escape_ascii()),
        ));
    }
    let body = bytes.len() - 32;
    let (expected, found) = (Hash::of(&bytes[..body]), Hash::from_bytes(get(bytes, body)));
    if expected != found {
        return Err(Malformed::wrong(
            format!("a header with checksum {}", expected.short()),
            format!("checksum {}", found.short()),
        ));
    }
    // Every version keeps magic, version and checksum at their places, so the version can be trusted.
    let version = get_u32(bytes, 8);
    if version > VERSION {
        return Err(Malformed::Newer(version));
    }
    if version != VERSION {
        return Err(Malformed::wrong(format!("format version {VERSION}"), version.to_string()));
    }
    Ok(())
}

fn seal(bytes: &mut [u8], magic: [u8; 8]) {
    put(bytes, 0, magic);
    put(bytes, 8, VERSION.to_le_bytes());
    let body = bytes.len() - 32;
    let hash = Hash::of(&bytes[..body]);
    put(bytes, body, *hash.as_bytes());
}

/// What the first block of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The cell whose log this is.
    pub cell: CellId,
    /// Number of the segment since the log began, from 0.
    pub number: u64,
    /// Size of the segment, header included, in bytes.
    pub bytes: u64,
    /// The entry before the segment's first; empty for the first segment.
    pub prev: Head,
    /// When the machine's clock said it was made.
    pub created: Time,
    /// Key of the checksums of its entries' headers.
    pub key: [u8; 32],
}

impl SegmentHeader {
    /// The place of the segment's first entry.
    pub fn first(&self) -> Seq {
        self.prev.seq.next()
    }

    /// Writes the header block into `out`, which must be one zeroed block.
    pub fn encode(&self, out: &mut [u8]) {
        put(out, 12, self.cell.0.to_le_bytes());
        put(out, 16, self.number.to_le_bytes());
        put(out, 24, self.bytes.to_le_bytes());
        put(out, 32, self.first().0.to_le_bytes());
        put(out, 40, self.prev.epoch.0.to_le_bytes());
        put(out, 48, self.prev.time.0.to_le_bytes());
        put(out, 56, *self.prev.hash.as_bytes());
        put(out, 88, self.created.0.to_le_bytes());
        put(out, 96, self.key);
        seal(out, SEGMENT_MAGIC);
    }

    /// Reads a header block.
    ///
    /// # Errors
    /// When the block is damaged or newer than this program.
    pub fn decode(block: &[u8; BLOCK as usize]) -> Result<SegmentHeader, Malformed> {
        check_sealed(block, SEGMENT_MAGIC)?;
        let first = get_u64(block, 32);
        let Some(before) = first.checked_sub(1) else {
            return Err(Malformed::wrong("a first entry of 1 or more", "0"));
        };
        let prev = Head {
            seq: Seq(before),
            epoch: Epoch(get_u64(block, 40)),
            time: Time(get_u64(block, 48)),
            hash: Hash::from_bytes(get(block, 56)),
        };
        Ok(SegmentHeader {
            cell: CellId(get_u32(block, 12)),
            number: get_u64(block, 16),
            bytes: get_u64(block, 24),
            prev,
            created: Time(get_u64(block, 88)),
            key: get(block, 96),
        })
    }
}

/// What the first 128 bytes of an entry say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// Place, epoch, time and hash of the entry.
    pub head: Head,
    /// The cell whose entry this is.
    pub cell: CellId,
    /// Length of the payload in bytes.
    pub payload_bytes: u32,
    /// The hash of the entry before.
    pub prev: Hash,
    /// Place of the first entry of the same write.
    pub write_first: Seq,
}

impl EntryHeader {
    /// How much of the segment the entry takes, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        blocks(ENTRY_HEADER as u64 + u64::from(self.payload_bytes))
    }

    /// Reads an entry's header whose checksum holds.
    ///
    /// # Errors
    /// When the bytes are not an entry of this segment.
    pub fn decode(bytes: &[u8; ENTRY_HEADER], key: &[u8; 32]) -> Result<EntryHeader, Malformed> {
        if bytes[..4] != ENTRY_MAGIC {
            return Err(Malformed::wrong(
                format!("an entry (magic '{}')", ENTRY_MAGIC.escape_ascii()),
                format!("'{}'", bytes[..4].escape_ascii()),
            ));
        }
        let (expected, found) = (entry_checksum(bytes, key), get::<8>(bytes, 120));
        if expected != found {
            return Err(Malformed::wrong(
                format!("an entry header with checksum {:016x}", u64::from_be_bytes(expected)),
                format!("checksum {:016x}", u64::from_be_bytes(found)),
            ));
        }
        let version = get_u32(bytes, 4);
        if version != VERSION {
            return Err(Malformed::wrong(format!("entry version {VERSION}"), version.to_string()));
        }
        Ok(EntryHeader {
            head: Head {
                seq: Seq(get_u64(bytes, 8)),
                epoch: Epoch(get_u64(bytes, 16)),
                time: Time(get_u64(bytes, 24)),
                hash: Hash::from_bytes(get(bytes, 72)),
            },
            cell: CellId(get_u32(bytes, 32)),
            payload_bytes: get_u32(bytes, 36),
            prev: Hash::from_bytes(get(bytes, 40)),
            write_first: Seq(get_u64(bytes, 104)),
        })
    }
}

fn entry_checksum(header: &[u8], key: &[u8; 32]) -> [u8; 8] {
    get(blake3::keyed_hash(key, &header[..120]).as_bytes(), 0)
}

/// The hash of an entry from the first bytes of its header and its payload.
pub fn entry_hash(header: &[u8], payload: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..HASHED]).update(payload);
    hasher.finalize().into()
}

/// Writes the entry that follows `prev` into `out` (zeroed beyond the payload) and returns its head.
///
/// [`seal_entry`] must follow before the entry is stored.
///
/// # Panics
/// When `out` has no room for header and payload, or the payload has 4 GiB or more.
pub fn encode_entry(
    out: &mut [u8],
    cell: CellId,
    prev: &Head,
    epoch: Epoch,
    time: Time,
    payload: &[u8],
) -> Head {
    let length = u32::try_from(payload.len()).expect("the caller limits payloads to less than 4 GiB");
    let seq = prev.seq.next();
    out[..ENTRY_HEADER].fill(0);
    put(out, 0, ENTRY_MAGIC);
    put(out, 4, VERSION.to_le_bytes());
    put(out, 8, seq.0.to_le_bytes());
    put(out, 16, epoch.0.to_le_bytes());
    put(out, 24, time.0.to_le_bytes());
    put(out, 32, cell.0.to_le_bytes());
    put(out, 36, length.to_le_bytes());
    put(out, 40, *prev.hash.as_bytes());
    let hash = entry_hash(out, payload);
    put(out, 72, *hash.as_bytes());
    out[ENTRY_HEADER..ENTRY_HEADER + payload.len()].copy_from_slice(payload);
    Head { seq, epoch, time, hash }
}

/// Says which write an encoded entry belongs to, and seals its header.
pub fn seal_entry(out: &mut [u8], write_first: Seq, key: &[u8; 32]) {
    put(out, 104, write_first.0.to_le_bytes());
    let checksum = entry_checksum(out, key);
    put(out, 120, checksum);
}

/// Length in bytes of what [`encode_wire`] writes before the payload.
pub const WIRE_HEADER: usize = 104;

/// Appends an entry as others read it: the part of its header that does not depend on where it is stored
/// (bytes 0..104), then its payload.
pub fn encode_wire(cell: CellId, entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + ENTRY_HEADER + entry.payload.len(), 0);
    let prev = Head { seq: Seq(entry.seq.0 - 1), hash: entry.prev, ..Head::default() };
    encode_entry(&mut out[start..], cell, &prev, entry.epoch, entry.time, &entry.payload);
    out.drain(start + WIRE_HEADER..start + ENTRY_HEADER);
}

/// The first bytes of an entry as [`encode_wire`] writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireHeader {
    bytes: [u8; WIRE_HEADER],
    /// The cell whose entry this is.
    pub cell: CellId,
    /// Length of the payload that follows, in bytes.
    pub payload_bytes: u32,
}

impl WireHeader {
    /// Reads the bytes before a payload; whether they are true shows [`WireHeader::with`].
    ///
    /// # Errors
    /// When they are no entry's.
    pub fn decode(bytes: &[u8; WIRE_HEADER]) -> Result<WireHeader, Malformed> {
        if bytes[..4] != ENTRY_MAGIC {
            return Err(Malformed::wrong("an entry of a log", format!("'{}'", bytes[..4].escape_ascii())));
        }
        match get_u32(bytes, 4) {
            VERSION => {
                let (cell, payload_bytes) = (CellId(get_u32(bytes, 32)), get_u32(bytes, 36));
                Ok(WireHeader { bytes: *bytes, cell, payload_bytes })
            }
            newer => Err(Malformed::Newer(newer)),
        }
    }

    /// The entry, if its hash is that of header and payload.
    ///
    /// # Errors
    /// When it is not: the entry was changed.
    pub fn with(&self, payload: Bytes) -> Result<Entry, Malformed> {
        let bytes = &self.bytes;
        let (stated, hash) = (Hash::from_bytes(get(bytes, 72)), entry_hash(bytes, &payload));
        if stated != hash || payload.len() as u64 != u64::from(self.payload_bytes) {
            return Err(Malformed::wrong(format!("an entry with hash {stated}"), format!("hash {hash}")));
        }
        Ok(Entry {
            seq: Seq(get_u64(bytes, 8)),
            epoch: Epoch(get_u64(bytes, 16)),
            time: Time(get_u64(bytes, 24)),
            prev: Hash::from_bytes(get(bytes, 40)),
            hash,
            payload,
        })
    }
}

/// What the file `mark` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The cell whose log this is.
    pub cell: CellId,
    /// Epoch of the last opening.
    pub epoch: Epoch,
    /// First place of the oldest segment.
    pub first: Seq,
    /// An entry known to be durable.
    pub durable: Seq,
    /// Its hash.
    pub durable_hash: Hash,
}

impl Mark {
    /// The bytes of the file.
    pub fn encode(&self) -> [u8; MARK] {
        let mut out = [0; MARK];
        put(&mut out, 12, self.cell.0.to_le_bytes());
        put(&mut out, 16, self.epoch.0.to_le_bytes());
        put(&mut out, 24, self.first.0.to_le_bytes());
        put(&mut out, 32, self.durable.0.to_le_bytes());
        put(&mut out, 40, *self.durable_hash.as_bytes());
        seal(&mut out, MARK_MAGIC);
        out
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When they are damaged or newer than this program.
    pub fn decode(bytes: &[u8; MARK]) -> Result<Mark, Malformed> {
        check_sealed(bytes, MARK_MAGIC)?;
        Ok(Mark {
            cell: CellId(get_u32(bytes, 12)),
            epoch: Epoch(get_u64(bytes, 16)),
            first: Seq(get_u64(bytes, 24)),
            durable: Seq(get_u64(bytes, 32)),
            durable_hash: Hash::from_bytes(get(bytes, 40)),
        })
    }
}

/// What the first 256 bytes of a snapshot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Version of the state in the body, given by its owner.
    pub state_version: u32,
    /// The last entry that the state contains.
    pub head: Head,
    /// Length of the body in bytes.
    pub body_bytes: u64,
    /// BLAKE3 of the body.
    pub body_hash: Hash,
}

impl SnapshotHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; SNAPSHOT_HEADER] {
        let mut out = [0; SNAPSHOT_HEADER];
        put(&mut out, 12, self.state_version.to_le_bytes());
        put(&mut out, 16, self.head.seq.0.to_le_bytes());
        put(&mut out, 24, self.head.epoch.0.to_le_bytes());
        put(&mut out, 32, self.head.time.0.to_le_bytes());
        put(&mut out, 40, *self.head.hash.as_bytes());
        put(&mut out, 72, self.body_bytes.to_le_bytes());
        put(&mut out, 80, *self.body_hash.as_bytes());
        seal(&mut out, SNAPSHOT_MAGIC);
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this program.
    pub fn decode(bytes: &[u8; SNAPSHOT_HEADER]) -> Result<SnapshotHeader, Malformed> {
        check_sealed(bytes, SNAPSHOT_MAGIC)?;
        Ok(SnapshotHeader {
            state_version: get_u32(bytes, 12),
            head: Head {
                seq: Seq(get_u64(bytes, 16)),
                epoch: Epoch(get_u64(bytes, 24)),
                time: Time(get_u64(bytes, 32)),
                hash: Hash::from_bytes(get(bytes, 40)),
            },
            body_bytes: get_u64(bytes, 72),
            body_hash: Hash::from_bytes(get(bytes, 80)),
        })
    }
}
