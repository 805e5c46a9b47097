//! What one core of this machine can do at most with the store's hashing, cutting and compressing, as `name value` in MB/s, of
//! bytes in memory: `cargo xtask bench store` prints it beside what the store does.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter};

/// Bytes of text that are compressed together, as in the store's frames.
const FRAME: usize = 256 << 10;
/// The level of the store's frames.
const LEVEL: i32 = 3;

fn main() {
    let mut noise = vec![0; 256 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let text = text(&noise[..8 << 20]);
    let bytes = Bytes::from(noise);
    let rate = |length: usize, begun: Instant| (length as f64 / 1e6 / begun.elapsed().as_secs_f64()).round();
    let begun = Instant::now();
    black_box(blake3::hash(&bytes));
    println!("blake3_mb_s {}", rate(bytes.len(), begun));
    let begun = Instant::now();
    let chunks = black_box(pumasi_blobs::chunker::cut(&bytes));
    println!("chunking_mb_s {}", rate(bytes.len(), begun));
    let begun = Instant::now();
    for chunk in &chunks {
        black_box(blake3::hash(chunk));
    }
    println!("blake3_of_chunks_mb_s {}", rate(bytes.len(), begun));
    let begun = Instant::now();
    let compressed = compress(&text);
    println!("zstd_mb_s {}", rate(text.len(), begun));
    println!("zstd_ratio {:.2}", text.len() as f64 / compressed as f64);
}

/// A line with a number for each two bytes of noise: it compresses about as sources do.
fn text(noise: &[u8]) -> Vec<u8> {
    let (pairs, _) = noise.as_chunks::<2>();
    pairs.iter().flat_map(|pair| format!("{} items\n", u16::from_le_bytes(*pair)).into_bytes()).collect()
}

/// How long a text is when its frames are compressed.
fn compress(text: &[u8]) -> usize {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).expect("a level that zstd has");
    let mut stored = Vec::with_capacity(zstd_safe::compress_bound(FRAME));
    let frames = text.chunks(FRAME);
    frames.map(|frame| context.compress2(&mut stored, frame).expect("there is room")).sum()
}
