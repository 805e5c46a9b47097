//! Bodies of many blobs.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pumasi_api::frames::{frame, unframe};
use pumasi_api::wire::files::MANY_BLOBS;

fuzz_target!(|data: &[u8]| {
    if let Ok(blobs) = unframe(Bytes::copy_from_slice(data)) {
        assert!(blobs.len() <= MANY_BLOBS);
        assert_eq!(frame(&blobs), data);
    }
});
