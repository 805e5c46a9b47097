//! Headers of segments, entries, snapshots, and the mark.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_log::format::{BLOCK, ENTRY_HEADER, EntryHeader, MARK, Mark, SNAPSHOT_HEADER, SegmentHeader, SnapshotHeader};

/// The bytes, cut or filled up with zeros.
fn array<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let length = data.len().min(N);
    bytes[..length].copy_from_slice(&data[..length]);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let segment = array::<{ BLOCK as usize }>(data);
    if let Ok(header) = SegmentHeader::decode(&segment) {
        let mut again = [0; BLOCK as usize];
        header.encode(&mut again);
        assert_eq!(again, segment);
    }
    let _ = EntryHeader::decode(&array::<ENTRY_HEADER>(data), &[0; 32]);
    if let Ok(mark) = Mark::decode(&array::<MARK>(data)) {
        assert_eq!(mark.encode(), array::<MARK>(data));
    }
    if let Ok(header) = SnapshotHeader::decode(&array::<SNAPSHOT_HEADER>(data)) {
        assert_eq!(header.encode(), array::<SNAPSHOT_HEADER>(data));
    }
});
