//! A disk that is really full: a small tmpfs that only a child process can see.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use futures_util::stream;
use pumasi_blobs::{BlobError, BlobStore};
use pumasi_types::{ByteSize, Hash};

/// Tells the child where its small disk is mounted.
const DISK: &str = "PUMASI_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_reported_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64m pumasi-test \"$1\" && shift && exec \"$@\"";
    let unshare = |command: &mut Command| {
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(folder.path()).status()
    };
    if !unshare(Command::new("unshare").stderr(std::process::Stdio::null()))
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: this machine does not let us mount a tmpfs in a namespace of our own");
        return;
    }
    let child = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "on_a_small_disk", "--ignored", "--nocapture"])
        .env(DISK, folder.path())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the mount was the child's alone");
}

fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn staged(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { staged(&path) } else { path.to_str().unwrap().contains('#').into() })
        .sum()
}

#[ignore = "run by a_full_disk_is_reported_and_harms_nothing in a namespace of its own"]
#[tokio::test]
async fn on_a_small_disk() {
    let dir = std::env::var_os(DISK).expect("set by the parent test");
    let dir = Path::new(&dir);
    let store = BlobStore::open(dir).await.unwrap();
    let mut kept = Vec::new();
    let full = loop {
        assert!(kept.len() < 100, "64 MiB cannot take 100 blobs of 1 MiB");
        let blob = noise(kept.len() as u64, 1 << 20);
        match store.put(blob.clone()).await {
            Ok(hash) => kept.push((hash, blob)),
            Err(error) => break error,
        }
    };
    let refused = noise(kept.len() as u64, 1 << 20);
    assert!(matches!(&full, BlobError::DiskFull { object, .. } if object.starts_with("packs/")), "{full}");
    assert!(full.to_string().contains("free space"), "{full}");
    assert!(kept.len() > 30, "{}", kept.len());

    let many = store.put_many((200..210).map(|n| noise(n, 100 << 10)).collect()).await.unwrap_err();
    assert!(matches!(&many, BlobError::DiskFull { .. }), "{many}");
    let body = stream::iter((300..340).map(|n| Ok::<_, std::io::Error>(noise(n, 1 << 20))));
    let streamed = store.put_stream(body, ByteSize::mib(64)).await.unwrap_err();
    assert!(matches!(&streamed, BlobError::DiskFull { .. }), "{streamed}");

    assert_eq!(staged(dir), 0, "nothing half-written stays on the full disk");
    drop(store);
    // Others write to that disk, too: to its last byte.
    let ballast = dir.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    drop(file);
    let store = BlobStore::open(dir).await.expect("a full disk can be opened");
    assert!(!store.contains(&Hash::of(&refused)).unwrap());
    for (hash, blob) in &kept {
        assert_eq!(store.get(hash).await.unwrap(), blob);
    }
    assert!(matches!(store.put(refused.clone()).await, Err(BlobError::DiskFull { .. })));

    std::fs::remove_file(ballast).unwrap();
    let freed = kept.pop().unwrap().0;
    let pack = largest(&dir.join("packs"));
    std::fs::remove_file(pack).unwrap();
    assert_eq!(
        store.put(noise(1000, 100 << 10)).await.unwrap(),
        Hash::of(&noise(1000, 100 << 10)),
        "it goes on where there is space"
    );
    drop((store, freed));
}

fn largest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}
