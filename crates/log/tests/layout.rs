//! The stored bytes are those that the format's documentation promises. A change here needs a new version.

use bytes::Bytes;
use pumasi_log::format::{
    BLOCK, ENTRY_HEADER, EntryHeader, Malformed, Mark, SNAPSHOT_HEADER, SegmentHeader, SnapshotHeader,
    WIRE_HEADER, WireHeader, encode_entry, encode_wire, seal_entry,
};
use pumasi_log::{Entry, Epoch, Head, Seq};
use pumasi_types::{CellId, Hash, Time};

/// Hexadecimal lines of 32 bytes; lines of zeros are left out.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, line) in bytes.chunks(32).enumerate().filter(|(_, line)| line.iter().any(|&byte| byte != 0)) {
        let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{:4} {digits}\n", i * 32);
    }
    text
}

fn head() -> Head {
    Head { seq: Seq(0x1112), epoch: Epoch(0x21), time: Time(0x3132_3334), hash: Hash::from_bytes([0x44; 32]) }
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        cell: CellId(0x51),
        number: 0x61,
        bytes: 0x40_0000,
        prev: head(),
        created: Time(0x7172),
        key: [0x88; 32],
    }
}

#[test]
fn entries_travel_without_what_belongs_to_the_segment() {
    let mut stored = [0; 256];
    let head = encode_entry(&mut stored, CellId(0x51), &head(), Epoch(0x22), Time(0x3132_3335), b"pumasi");
    let (seq, epoch, time, hash) = (head.seq, head.epoch, head.time, head.hash);
    let payload = Bytes::from_static(b"pumasi");
    let entry = Entry { seq, epoch, time, prev: Hash::from_bytes([0x44; 32]), hash, payload };
    let mut wire = Vec::new();
    encode_wire(CellId(0x51), &entry, &mut wire);
    assert_eq!(wire[..WIRE_HEADER], stored[..WIRE_HEADER]);
    for bit in 0..=8 * wire.len() {
        let mut changed = wire.clone();
        if bit < 8 * wire.len() {
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        let (header, payload) = changed.split_first_chunk().unwrap();
        let read = WireHeader::decode(header).and_then(|header| header.with(payload.to_vec().into()));
        assert_eq!(read.ok(), (bit == 8 * wire.len()).then(|| entry.clone()), "bit {bit}");
    }
}

#[test]
fn segment_header() {
    let mut block = [0; BLOCK as usize];
    segment().encode(&mut block);
    assert_eq!(hex(&block), SEGMENT);
    assert_eq!(SegmentHeader::decode(&block), Ok(segment()));
}

#[test]
fn entry() {
    let mut bytes = vec![0; 160];
    let next = encode_entry(&mut bytes, CellId(0x51), &head(), Epoch(0x22), Time(0x3132_3335), b"pumasi");
    seal_entry(&mut bytes, Seq(0x1110), &[0x88; 32]);
    assert_eq!(hex(&bytes), ENTRY);
    let header: &[u8; ENTRY_HEADER] = bytes[..ENTRY_HEADER].try_into().unwrap();
    let decoded = EntryHeader::decode(header, &[0x88; 32]).unwrap();
    assert_eq!((decoded.head, decoded.payload_bytes, decoded.write_first), (next, 6, Seq(0x1110)));
    assert_eq!(decoded.stored_bytes(), BLOCK);
    let mut hashed = bytes[..72].to_vec();
    hashed.extend(b"pumasi");
    assert_eq!(next.hash, Hash::of(&hashed), "anyone with BLAKE3 can check an entry");
    assert!(EntryHeader::decode(header, &[0x89; 32]).is_err(), "an entry of another file is none of this");
}

#[test]
fn mark() {
    let mark = Mark {
        cell: CellId(0x51),
        epoch: Epoch(0x22),
        first: Seq(0x11),
        durable: Seq(0x1112),
        durable_hash: Hash::from_bytes([0x44; 32]),
    };
    assert_eq!(hex(&mark.encode()), MARK);
    assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
}

#[test]
fn snapshot_header() {
    let header = SnapshotHeader {
        state_version: 0x91,
        head: head(),
        body_bytes: 0xa1a2,
        body_hash: Hash::from_bytes([0xbb; 32]),
    };
    let bytes: [u8; SNAPSHOT_HEADER] = header.encode();
    assert_eq!(hex(&bytes), SNAPSHOT);
    assert_eq!(SnapshotHeader::decode(&bytes), Ok(header));
}

#[test]
fn a_newer_version_is_named() {
    let mut block = [0; BLOCK as usize];
    segment().encode(&mut block);
    block[8] = 2;
    let hash = Hash::of(&block[..4064]);
    block[4064..].copy_from_slice(hash.as_bytes());
    assert_eq!(SegmentHeader::decode(&block), Err(Malformed::Newer(2)));
}

#[test]
fn every_bit_of_a_header_counts() {
    let mut block = [0; BLOCK as usize];
    segment().encode(&mut block);
    for bit in 0..8 * BLOCK as usize {
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
        block[bit / 8] ^= 1 << (bit % 8);
    }
}

const SEGMENT: &str = "   0 50554d4153494c47010000005100000061000000000000000000400000000000
  32 1311000000000000210000000000000034333231000000004444444444444444
  64 4444444444444444444444444444444444444444444444447271000000000000
  96 8888888888888888888888888888888888888888888888888888888888888888
4064 39eaa337a332647a53c4095fa27797e182fc5d214b3582524a4403f10d64938c
";
const ENTRY: &str = "   0 50554d4501000000131100000000000022000000000000003533323100000000
  32 5100000006000000444444444444444444444444444444444444444444444444
  64 44444444444444446da60c127b7cdb2dbb8b3ece2144726d571cb8d8b7ed8e92
  96 ebf4967d66a69a39101100000000000000000000000000002fe72026d5ab3e01
 128 70756d6173690000000000000000000000000000000000000000000000000000
";
const MARK: &str = "   0 50554d4153494d4b010000005100000022000000000000001100000000000000
  32 1211000000000000444444444444444444444444444444444444444444444444
  64 4444444444444444d4ec7c8fc6f16fd77717031fd2712961be5a77af00768b58
  96 7fc5b0015459563e
";
const SNAPSHOT: &str = "   0 50554d415349534e010000009100000012110000000000002100000000000000
  32 3433323100000000444444444444444444444444444444444444444444444444
  64 4444444444444444a2a1000000000000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
  96 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb00000000000000000000000000000000
 224 8878734f313f81be5b23783613ca0fe04be5211200425a60cc7d1b832b625aaf
";
