//! A store in a folder, without a hub: what `cargo xtask bench store` measures and the tests of crashes kill.
//!
//! ```text
//! store DIR put PATH        puts a file or folder, `-` for standard input; prints `file HASH` or `folder HASH`
//! store DIR get KIND HASH PATH                      to a path that is not there, `-` for standard output
//! store - limits            what one core of this machine can do at most, as `name value`
//! ```

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_blobs::listing::What;
use pumasi_blobs::{BlobStore, Options, tree};
use pumasi_types::ByteSize;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Bytes that are read at once.
const BLOCK: usize = 4 << 20;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(std::env::args().skip(1).collect()))
}

/// Hashing, cutting and hashing of each chunk, of 256 MiB in memory.
fn limits() -> Outcome {
    let mut noise = vec![0; 256 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let bytes = bytes::Bytes::from(noise);
    let rate = |begun: Instant| (bytes.len() as f64 / 1e6 / begun.elapsed().as_secs_f64()).round();
    let begun = Instant::now();
    std::hint::black_box(blake3::hash(&bytes));
    println!("blake3_mb_s {}", rate(begun));
    let begun = Instant::now();
    let chunks = std::hint::black_box(pumasi_blobs::chunker::cut(&bytes));
    println!("chunking_mb_s {}", rate(begun));
    let begun = Instant::now();
    for chunk in &chunks {
        std::hint::black_box(blake3::hash(chunk));
    }
    println!("blake3_of_chunks_mb_s {}", rate(begun));
    Ok(())
}

/// What comes by standard input, in blocks of up to 4 MiB.
fn standard_input() -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(io::stdin(), |input| async {
        let read = tokio::task::spawn_blocking(move || {
            let mut block = Vec::with_capacity(BLOCK);
            input.lock().take(BLOCK as u64).read_to_end(&mut block)?;
            io::Result::Ok((block, input))
        });
        let (block, input) = read.await.map_err(io::Error::other)??;
        Ok((!block.is_empty()).then(|| (block.into(), input)))
    })
}

async fn run(arguments: Vec<String>) -> Outcome {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (dir, rest) = arguments.split_first().ok_or("store DIR put|get …")?;
    if rest == ["limits"] {
        return limits();
    }
    let fsync = std::env::var_os("PUMASI_STORE_NO_FSYNC").is_none();
    let store = BlobStore::open_with(Path::new(dir), Options { fsync, ..Options::default() }).await?;
    match rest {
        ["put", "-"] => {
            let (hash, _) = store.put_stream(standard_input(), ByteSize(u64::MAX)).await?;
            println!("file {hash}");
        }
        ["get", "file", hash, "-"] => {
            let (_, mut pieces) = store.stream(&hash.parse()?).await?;
            let mut out = std::io::stdout().lock();
            while let Some(piece) = pieces.next().await {
                out.write_all(&piece?)?;
            }
            out.flush()?;
        }
        ["put", path] => {
            let stored = tree::put(&store, &PathBuf::from(path), |_| ()).await?;
            let kind = if stored.what == What::Folder { "folder" } else { "file" };
            println!("{kind} {}", stored.blob);
            eprintln!("{stored:?}");
        }
        ["get", kind, hash, path] => {
            let what = if *kind == "folder" { What::Folder } else { What::File };
            tree::get(&store, what, hash.parse()?, Path::new(path), |_| ()).await?;
        }
        _ => return Err("store DIR put PATH | get KIND HASH PATH".into()),
    }
    Ok(())
}
