//! Listings of folders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::listing::{decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(entries) = decode(data) {
        assert!(entries.iter().all(|entry| !entry.name.contains(&b'/') && entry.name != b".."));
        assert_eq!(encode(entries), data);
    }
});
