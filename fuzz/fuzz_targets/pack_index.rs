//! Trailer and index of a pack of blobs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::pack::{TRAILER_BYTES, Trailer};

fuzz_target!(|data: &[u8]| {
    let Some((rest, trailer)) = data.split_last_chunk::<TRAILER_BYTES>() else { return };
    let Ok(trailer) = Trailer::decode(trailer, data.len() as u64) else { return };
    assert!(trailer.index_len <= rest.len());
    let index = &rest[rest.len() - trailer.index_len..];
    if let Ok(blobs) = trailer.decode_index(index) {
        assert!(blobs.iter().all(|(_, range)| range.start <= range.end && u64::from(range.end) <= trailer.body_len));
    }
});
