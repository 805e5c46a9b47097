//! What one core of this machine can do at most with the store's hashing and cutting, as `name value` in MB/s, of 256 MiB
//! of noise in memory: `cargo xtask bench store` prints it beside what the store does.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;

fn main() {
    let mut noise = vec![0; 256 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let bytes = Bytes::from(noise);
    let rate = |begun: Instant| (bytes.len() as f64 / 1e6 / begun.elapsed().as_secs_f64()).round();
    let begun = Instant::now();
    black_box(blake3::hash(&bytes));
    println!("blake3_mb_s {}", rate(begun));
    let begun = Instant::now();
    let chunks = black_box(pumasi_blobs::chunker::cut(&bytes));
    println!("chunking_mb_s {}", rate(begun));
    let begun = Instant::now();
    for chunk in &chunks {
        black_box(blake3::hash(chunk));
    }
    println!("blake3_of_chunks_mb_s {}", rate(begun));
}
