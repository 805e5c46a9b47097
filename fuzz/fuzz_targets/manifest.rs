//! Manifests and lists of chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::manifest::{Manifest, decode_list, encode_list};

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.length, manifest.parts.iter().map(|part| u64::from(part.length)).sum::<u64>());
    }
    let Some((length, list)) = data.split_first_chunk() else { return };
    if let Ok(parts) = decode_list(list, u32::from_le_bytes(*length)) {
        assert_eq!(encode_list(&parts), list);
    }
});
