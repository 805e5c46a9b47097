//! A store in a folder, without a hub: what `cargo xtask bench store` measures and the tests of crashes kill.
//!
//! ```text
//! store DIR put PATH        puts a file or folder; prints `file HASH` or `folder HASH`
//! store DIR get KIND HASH PATH
//! ```

use std::path::{Path, PathBuf};

use pumasi_blobs::listing::What;
use pumasi_blobs::{BlobStore, Options, tree};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(std::env::args().skip(1).collect()))
}

async fn run(arguments: Vec<String>) -> Outcome {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (dir, rest) = arguments.split_first().ok_or("store DIR put|get …")?;
    let fsync = std::env::var_os("PUMASI_STORE_NO_FSYNC").is_none();
    let store = BlobStore::open_with(Path::new(dir), Options { fsync, ..Options::default() }).await?;
    match rest {
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
