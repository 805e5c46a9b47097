//! Trailer and index of a pack, also with the id that an honest writer reckons: behind it lies are looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_blobs::pack::{MAGIC, VERSION, decode};
use pumasi_types::Hash;

/// What is taken for a pack lies within itself.
fn look(pack: &[u8]) {
    let Ok((_, index)) = decode(pack) else { return };
    assert_eq!(index.length, pack.len() as u64);
    for (entry, place) in &index.places {
        assert_eq!(entry.length, place.length);
        assert!(u64::from(place.start) + u64::from(place.stored) <= pack.len() as u64);
        assert!(u64::from(place.offset) + u64::from(place.length) <= u64::from(place.raw));
    }
}

fuzz_target!(|data: &[u8]| {
    look(data);
    // How many frames and entries of which kind, behind so many bytes; the rest is the index, cut or filled up with zeros.
    let Some((&[frames, entries, kind, low, high], index)) = data.split_first_chunk() else { return };
    let (frames, entries, kind) = (u32::from(frames), u32::from(entries), u32::from(kind & 1));
    let mut tail = index.to_vec();
    tail.resize((frames * 12 + entries * (36 + 8 * kind)) as usize, 0);
    tail.extend_from_slice(&[0; 24]);
    for number in [kind, frames, entries, VERSION] {
        tail.extend_from_slice(&number.to_le_bytes());
    }
    let id = Hash::of(&tail);
    let body = vec![0_u8; usize::from(u16::from_le_bytes([low, high]))];
    look(&[&body[..], &tail, id.as_bytes(), &MAGIC].concat());
});
