//! Manifests and lists of chunks, also with the checksums of an honest writer: behind those lies are looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::manifest::{MAGIC, Manifest, PART_BYTES, VERSION, decode_list, encode_list};
use pumasi_types::Hash;

/// What is taken for a manifest adds up, and means the same when it is written again.
fn look(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.length, manifest.parts.iter().map(|part| u64::from(part.length)).sum::<u64>());
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

fn look_with_checksum(body: &[u8]) {
    look(&[body, &Hash::of(body).as_bytes()[..]].concat());
}

fuzz_target!(|data: &[u8]| {
    look(data);
    look_with_checksum(&[&MAGIC[..], data].concat());
    // A head that fits what follows: its level, and whether the length is right, are in the first byte.
    if let Some((head, list)) = data.split_first_chunk::<9>() {
        let list = &list[..list.len() / PART_BYTES * PART_BYTES];
        let parts = list.chunks_exact(PART_BYTES);
        let lengths = parts.map(|part| u64::from(u32::from_le_bytes(part[32..].try_into().unwrap())));
        let said = u64::from_le_bytes(head[1..].try_into().unwrap());
        let length: u64 = if head[0] & 2 == 0 { lengths.sum() } else { said };
        let mut body =
            [&MAGIC[..], &VERSION.to_le_bytes(), &u16::from(head[0] & 1).to_le_bytes(), &[0; 20]].concat();
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&((list.len() / PART_BYTES) as u32).to_le_bytes());
        body.extend_from_slice(list);
        look_with_checksum(&body);
    }
    let Some((length, list)) = data.split_first_chunk() else { return };
    if let Ok(parts) = decode_list(list, u32::from_le_bytes(*length)) {
        assert_eq!(encode_list(&parts), list);
    }
});
