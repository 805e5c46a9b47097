//! Trailer and index of a pack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::pack::decode;

fuzz_target!(|data: &[u8]| {
    let Ok((_, index)) = decode(data) else { return };
    assert_eq!(index.length, data.len() as u64);
    for (entry, place) in &index.places {
        assert_eq!(entry.length, place.length);
        assert!(u64::from(place.start) + u64::from(place.stored) <= data.len() as u64);
        assert!(u64::from(place.offset) + u64::from(place.length) <= u64::from(place.raw));
    }
});
