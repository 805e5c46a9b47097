//! Paths of tiles, and entry bundles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_proof::{TilePath, bundle, unbundle};

fuzz_target!(|data: &[u8]| {
    if let Ok(leaves) = unbundle(data) {
        assert_eq!(bundle(leaves).expect("each was short enough"), data);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = text.parse::<TilePath>() {
        assert_eq!(path.to_string(), text);
    }
});
