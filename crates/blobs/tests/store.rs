//! What a blob store promises, on real files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use proptest::prelude::*;
use pumasi_blobs::pack::PackFault;
use pumasi_blobs::{BlobError, BlobStore};
use pumasi_types::{ByteSize, Hash};
use tempfile::TempDir;

const UNLIMITED: ByteSize = ByteSize(u64::MAX);

fn open() -> (TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    (dir, store)
}

/// Bytes that differ everywhere, the same for the same seed.
fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn pieces(bytes: &Bytes, length: usize) -> impl Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let bytes = bytes.clone();
    let starts = (0..bytes.len()).step_by(length);
    stream::iter(starts.map(move |at| Ok(bytes.slice(at..bytes.len().min(at + length)))))
}

async fn read_stream(store: &BlobStore, hash: &Hash) -> Result<Vec<u8>, BlobError> {
    let (size, stream) = store.stream(hash).await?;
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    let bytes = pieces.concat();
    assert_eq!(bytes.len() as u64, size.0);
    Ok(bytes)
}

/// All regular files below `dir` but the lock.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(self::files(&entry.path())),
            false if entry.file_name() != "lock" => files.push(entry.path()),
            false => {}
        }
    }
    files.sort();
    files
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

fn is_damaged(result: Result<impl Sized, BlobError>, hash: &Hash, part_of_object: &str) -> bool {
    matches!(result, Err(BlobError::Damaged { hash: named, object })
        if named == *hash && object.contains(part_of_object))
}

#[tokio::test]
async fn blobs_of_all_lengths_come_back_by_every_way() {
    let (dir, store) = open();
    let lengths = [0, 1, 4095, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20];
    let blobs: Vec<Bytes> = lengths.iter().map(|n| noise(*n as u64, *n)).collect();
    for blob in &blobs {
        assert_eq!(store.put(blob.clone()).await.unwrap(), Hash::of(blob));
    }
    let packed: Vec<Bytes> = lengths.iter().map(|n| noise(1000 + *n as u64, *n)).collect();
    let hashes = store.put_many(packed.clone()).await.unwrap();
    assert_eq!(hashes, packed.iter().map(|blob| Hash::of(blob)).collect::<Vec<_>>());
    let streamed: Vec<Bytes> = lengths.iter().map(|n| noise(2000 + *n as u64, *n)).collect();
    for blob in &streamed {
        let (hash, size) = store.put_stream(pieces(blob, 70_000), UNLIMITED).await.unwrap();
        assert_eq!((hash, size), (Hash::of(blob), ByteSize(blob.len() as u64)));
    }
    drop(store);
    let store = BlobStore::open(dir.path()).unwrap();
    for blob in blobs.iter().chain(&packed).chain(&streamed) {
        let hash = Hash::of(blob);
        assert_eq!(store.size(&hash), Some(ByteSize(blob.len() as u64)));
        assert_eq!(store.get(&hash).await.unwrap(), blob);
        assert!(read_stream(&store, &hash).await.unwrap() == *blob);
    }
    let stranger = Hash::of(b"never stored");
    assert!(!store.contains(&stranger));
    assert!(matches!(store.get(&stranger).await, Err(BlobError::NotFound { hash }) if hash == stranger));
    assert!(matches!(store.stream(&stranger).await.map(drop), Err(BlobError::NotFound { .. })));
}

#[tokio::test]
async fn a_large_stream_goes_through_a_temporary_object() {
    let (dir, store) = open();
    let blob = noise(1, 64 << 20);
    let (hash, size) = store.put_stream(pieces(&blob, 300_000), ByteSize::mib(64)).await.unwrap();
    assert_eq!((hash, size), (Hash::of(&blob), ByteSize::mib(64)));
    let name = hash.to_string();
    assert_eq!(files(dir.path()), [dir.path().join("blobs").join(&name[..2]).join(&name)]);
    assert!(read_stream(&store, &hash).await.unwrap() == blob);
    let again = store.put_stream(pieces(&blob, 1 << 20), ByteSize::mib(64)).await.unwrap();
    assert_eq!(again, (hash, size));
    assert_eq!(files(dir.path()).len(), 1, "the second upload was dropped");
}

#[tokio::test]
async fn the_same_bytes_are_kept_once() {
    let (dir, store) = open();
    let blob = noise(1, 1000);
    store.put_many(vec![blob.clone(), noise(2, 5), blob.clone()]).await.unwrap();
    store.put(blob.clone()).await.unwrap();
    store.put_stream(pieces(&blob, 100), UNLIMITED).await.unwrap();
    store.put_many(vec![blob.clone(), noise(2, 5)]).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1, "one pack and nothing else");
    assert!(store.put_many(vec![]).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_large_blobs_are_cut_into_packs_and_objects() {
    let (dir, store) = open();
    let blobs: Vec<Bytes> = (0..40).map(|n| noise(n, 900 << 10)).chain([noise(99, 2 << 20)]).collect();
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    assert_eq!(files(&dir.path().join("packs")).len(), 3);
    assert_eq!(files(&dir.path().join("blobs")).len(), 1);
    for (hash, blob) in hashes.iter().zip(&blobs) {
        assert_eq!(store.get(hash).await.unwrap(), blob);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_puts_of_one_blob_agree() {
    let (dir, store) = open();
    let (small, large) = (noise(1, 3000), noise(2, 5 << 20));
    let tasks: Vec<_> = (0..48)
        .map(|n| {
            let (store, small, large) = (store.clone(), small.clone(), large.clone());
            tokio::spawn(async move {
                match n % 4 {
                    0 => store.put(small).await,
                    1 => store.put_many(vec![small, large]).await.map(|hashes| hashes[1]),
                    2 => store.put_stream(pieces(&large, 1 << 19), UNLIMITED).await.map(|put| put.0),
                    _ => store.put(large).await,
                }
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let expected = if n % 4 == 0 { &small } else { &large };
        assert_eq!(task.await.unwrap().unwrap(), Hash::of(expected));
    }
    assert_eq!(store.get(&Hash::of(&small)).await.unwrap(), small);
    assert!(read_stream(&store, &Hash::of(&large)).await.unwrap() == large);
    let left = files(dir.path());
    assert!(left.iter().all(|path| !path.to_str().unwrap().contains('#')), "{left:?}");
    assert!(files(&dir.path().join("incoming")).is_empty());
}

#[tokio::test]
async fn a_damaged_blob_is_named_and_putting_it_again_repairs_it() {
    let (dir, store) = open();
    let blob = noise(1, 3 << 20);
    let hash = store.put(blob.clone()).await.unwrap();
    let path = files(dir.path()).pop().unwrap();
    let name = hash.to_string();

    flip(&path, 2_500_000);
    assert!(store.contains(&hash), "nobody has looked yet");
    let (_, mut stream) = store.stream(&hash).await.unwrap();
    let mut received = 0;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => received += piece.len(),
            Err(error) => assert!(is_damaged(Err::<(), _>(error), &hash, &name)),
        }
    }
    assert!(received < blob.len(), "the last piece must not come out");
    assert!(is_damaged(store.get(&hash).await, &hash, &name));
    assert!(!store.contains(&hash), "a damaged blob does not count as stored");

    store.put(blob.clone()).await.unwrap();
    assert_eq!(store.get(&hash).await.unwrap(), blob);

    for length in [0, 1, (3 << 20) - 1, (3 << 20) + 1] {
        let mut bytes = blob.to_vec();
        bytes.resize(length, 0);
        fs::write(&path, bytes).unwrap();
        assert!(is_damaged(store.get(&hash).await, &hash, &name), "{length}");
        assert!(is_damaged(store.stream(&hash).await.map(drop), &hash, &name), "{length}");
    }
    fs::remove_file(&path).unwrap();
    assert!(is_damaged(store.get(&hash).await, &hash, &name));
    store.put_many(vec![blob.clone()]).await.unwrap();
    assert_eq!(store.get(&hash).await.unwrap(), blob);
}

#[tokio::test]
async fn a_damaged_blob_in_a_pack_is_named_and_repaired_for_good() {
    let (dir, store) = open();
    let blobs = vec![noise(1, 100), noise(2, 200), noise(3, 300)];
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    let pack = files(dir.path()).pop().unwrap();
    flip(&pack, 150);
    assert!(is_damaged(store.get(&hashes[1]).await, &hashes[1], ".pack"));
    let (_, stream) = store.stream(&hashes[1]).await.unwrap();
    assert!(is_damaged(stream.try_collect::<Vec<_>>().await, &hashes[1], ".pack"));
    for n in [0, 2] {
        assert_eq!(store.get(&hashes[n]).await.unwrap(), blobs[n], "its neighbours are whole");
    }
    store.put_many(vec![blobs[1].clone()]).await.unwrap();
    assert_eq!(store.get(&hashes[1]).await.unwrap(), blobs[1]);
    drop(store);
    let store = BlobStore::open(dir.path()).unwrap();
    assert_eq!(store.get(&hashes[1]).await.unwrap(), blobs[1], "the sound copy wins after a restart");

    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(250).unwrap();
    assert_eq!(store.get(&hashes[0]).await.unwrap(), blobs[0]);
    assert!(is_damaged(store.get(&hashes[2]).await, &hashes[2], ".pack"));
    assert!(is_damaged(store.stream(&hashes[2]).await.map(drop), &hashes[2], ".pack"));
}

#[tokio::test]
async fn a_pack_with_a_broken_footer_keeps_the_store_shut_and_is_named() {
    let (dir, store) = open();
    store.put_many(vec![noise(1, 100), noise(2, 200)]).await.unwrap();
    drop(store);
    let path = files(dir.path()).pop().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&path).unwrap();
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match BlobStore::open(dir.path()) {
            Err(BlobError::DamagedPack { object, source }) if object == format!("packs/{name}") => {
                Some(source)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    for end in [0, 47, 48, 100, whole.len() - 1] {
        assert!(open(&whole[..end]).is_some(), "cut to {end}");
    }
    for at in (300..whole.len()).step_by(7) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(open(&altered).is_some(), "byte {at}");
    }
    assert_eq!(open(&[&whole[..], b"x"].concat()), Some(PackFault::Magic));
    assert_eq!(open(&whole), None);

    let renamed = path.with_file_name(format!("{}.pack", Hash::of(b"another")));
    fs::rename(&path, renamed).unwrap();
    let error = BlobStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, BlobError::DamagedPack { source: PackFault::Name(_), .. }), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_is_removed_and_foreign_files_are_not() {
    let (dir, store) = open();
    let hash = store.put(noise(1, 10)).await.unwrap();
    let ids = store.put_many(vec![noise(2, 10)]).await.unwrap();
    drop(store);
    let name = hash.to_string();
    let folder = dir.path().join("blobs").join(&name[..2]);
    let pack = files(&dir.path().join("packs")).pop().unwrap();
    let leftovers = [
        folder.join(format!("{name}#1")),
        folder.join(format!("{name}#23")),
        PathBuf::from(format!("{}#1", pack.display())),
        dir.path().join("incoming/7"),
        dir.path().join("incoming/8#1"),
    ];
    let foreign = [
        folder.join("notes.txt"),
        folder.join("notes#1"),
        folder.join(name.to_uppercase()),
        dir.path().join("blobs/README"),
        dir.path().join("incoming/x"),
        dir.path().join("packs/x.pack"),
    ];
    for path in leftovers.iter().chain(&foreign) {
        fs::write(path, "half of something").unwrap();
    }
    let elsewhere = Hash::of(b"half of something");
    fs::write(folder.join(elsewhere.to_string()), "half of something").unwrap();
    let linked = Hash::of(b"linked");
    let folder = dir.path().join("blobs").join(&linked.to_string()[..2]);
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join(linked.to_string())).unwrap();

    let store = BlobStore::open(dir.path()).unwrap();
    assert!(leftovers.iter().all(|path| !path.exists()));
    assert!(foreign.iter().all(|path| path.exists()));
    assert!(store.contains(&hash) && store.contains(&ids[0]));
    assert!(!store.contains(&elsewhere), "a blob in the wrong folder is not one of ours");
    assert!(!store.contains(&linked), "a link is not one of ours");
}

#[tokio::test]
async fn an_upload_that_is_too_long_or_breaks_off_leaves_nothing() {
    let (dir, store) = open();
    for (length, limit) in [(11, 10), (3 << 20, 2 << 20), (1, 0)] {
        let error = store.put_stream(pieces(&noise(1, length), 1 << 18), ByteSize(limit)).await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: named } if named.0 == limit), "{error}");
        assert!(error.to_string().contains(&ByteSize(limit).to_string()), "{error}");
    }
    let body = pieces(&noise(1, 5 << 20), 1 << 18).chain(stream::iter([Err(std::io::Error::other("reset"))]));
    let error = store.put_stream(body, UNLIMITED).await.unwrap_err();
    assert!(matches!(error, BlobError::Body { .. }), "{error}");
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    let exact = noise(1, 2 << 20);
    store.put_stream(pieces(&exact, 1 << 18), ByteSize(2 << 20)).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_opened_once_and_may_have_any_name() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a #1 %2e%2e 품앗이?");
    let store = BlobStore::open(&dir).unwrap();
    assert!(matches!(BlobStore::open(&dir), Err(BlobError::InUse { .. })));
    let hash = store.clone().put(noise(1, 10)).await.unwrap();
    let (kept, _) = (store.clone(), drop(store));
    assert!(matches!(BlobStore::open(&dir), Err(BlobError::InUse { .. })), "a clone keeps it open");
    drop(kept);
    assert!(BlobStore::open(&dir).unwrap().contains(&hash));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(BlobStore::open(&file), Err(BlobError::Folder { .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    PutMany(Vec<u8>),
    PutStream(u8),
    Get(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..24).prop_map(Step::Put),
        prop::collection::vec(0_u8..24, 0..6).prop_map(Step::PutMany),
        (0_u8..24).prop_map(Step::PutStream),
        (0_u8..24).prop_map(Step::Get),
        Just(Step::Reopen),
    ]
}

/// The n-th blob of the model: lengths around what the store treats differently.
fn nth(n: u8) -> Bytes {
    let length = [0, 1, 100, 70_000, 1 << 20, (1 << 20) + 1][usize::from(n % 6)];
    noise(u64::from(n), length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn behaves_as_a_map(steps in prop::collection::vec(step(), 1..20)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let (dir, mut store) = open();
            let mut model = HashMap::new();
            for step in steps {
                match step {
                    Step::Put(n) => {
                        model.insert(store.put(nth(n)).await.unwrap(), nth(n));
                    }
                    Step::PutMany(many) => {
                        let blobs: Vec<Bytes> = many.iter().map(|n| nth(*n)).collect();
                        model.extend(store.put_many(blobs.clone()).await.unwrap().into_iter().zip(blobs));
                    }
                    Step::PutStream(n) => {
                        let (hash, _) = store.put_stream(pieces(&nth(n), 60_000), UNLIMITED).await.unwrap();
                        model.insert(hash, nth(n));
                    }
                    Step::Get(n) => {
                        let hash = Hash::of(&nth(n));
                        match model.get(&hash) {
                            Some(bytes) => assert_eq!(&store.get(&hash).await.unwrap(), bytes),
                            None => assert!(matches!(store.get(&hash).await, Err(BlobError::NotFound { .. }))),
                        }
                    }
                    Step::Reopen => {
                        drop(store);
                        store = BlobStore::open(dir.path()).unwrap();
                    }
                }
                for n in 0..24 {
                    let hash = Hash::of(&nth(n));
                    let expected = model.get(&hash).map(|bytes| ByteSize(bytes.len() as u64));
                    assert_eq!(store.size(&hash), expected);
                }
            }
        });
    }
}
