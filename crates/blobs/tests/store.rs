//! What a blob store promises, on real files.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Unreliable, noise};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use proptest::prelude::*;
use pumasi_blobs::chunker::CHUNK_MAX;
use pumasi_blobs::pack::PackFault;
use pumasi_blobs::{BlobError, BlobStore, Options};
use pumasi_types::{ByteSize, Hash};
use tempfile::TempDir;

const UNLIMITED: ByteSize = ByteSize(u64::MAX);

async fn open() -> (TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    (dir, store)
}

/// What is no noise and repeats nothing: it is cut into chunks of 64 KiB.
fn letters(seed: u64, length: usize) -> Bytes {
    noise(seed, length).iter().map(|byte| byte & 0x7f).collect::<Vec<u8>>().into()
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

/// All regular files below `dir` but the lock and the index.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(self::files(&entry.path())),
            false if entry.file_name() != "lock" && entry.file_name() != "index.redb" => {
                files.push(entry.path())
            }
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
    let (dir, store) = open().await;
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
    let store = BlobStore::open(dir.path()).await.unwrap();
    for blob in blobs.iter().chain(&packed).chain(&streamed) {
        let hash = Hash::of(blob);
        assert_eq!(store.size(&hash).unwrap(), Some(ByteSize(blob.len() as u64)));
        assert_eq!(store.get(&hash).await.unwrap(), blob);
        assert!(read_stream(&store, &hash).await.unwrap() == *blob);
    }
    let stranger = Hash::of(b"never stored");
    assert!(!store.contains(&stranger).unwrap());
    assert!(matches!(store.get(&stranger).await, Err(BlobError::NotFound { hash }) if hash == stranger));
    assert!(matches!(store.stream(&stranger).await.map(drop), Err(BlobError::NotFound { .. })));
}

/// A stream without seams in its blocks, as long as wanted.
#[tokio::test]
async fn a_large_stream_is_cut_and_comes_back_in_any_range() {
    let (dir, store) = open().await;
    let blob = noise(1, 64 << 20);
    let (hash, size) = store.put_stream(pieces(&blob, 300_000), ByteSize::mib(64)).await.unwrap();
    assert_eq!((hash, size), (Hash::of(&blob), ByteSize::mib(64)));
    let packs = files(dir.path());
    assert!((5..=6).contains(&packs.len()), "4 of chunks, the rest of them, one of manifests: {packs:?}");
    assert!(read_stream(&store, &hash).await.unwrap() == blob);
    assert!(store.get(&hash).await.unwrap() == blob);
    let handed: Vec<Bytes> = store.stream(&hash).await.unwrap().1.try_collect().await.unwrap();
    assert!(handed.len() < 64, "what lies together is handed on together: {} pieces", handed.len());
    let again = store.put_stream(pieces(&blob, 1 << 20), ByteSize::mib(64)).await.unwrap();
    assert_eq!(again, (hash, size));
    assert_eq!(store.put(blob.clone()).await.unwrap(), hash, "it does not matter how it comes");
    assert_eq!(files(dir.path()), packs, "nothing was stored twice");
    for (start, end) in
        [(0, 1), (0, 0), (5, 4 << 20), (40_000_000, 40_300_000), (67_108_000, u64::MAX), (1 << 40, 1 << 41)]
    {
        let read: Vec<Bytes> =
            store.stream_range(&hash, start..end).await.unwrap().try_collect().await.unwrap();
        let clip = |at: u64| at.min(64 << 20) as usize;
        assert!(read.concat() == blob[clip(start)..clip(end)], "{start}..{end}");
        assert!(
            store.glance(&hash, start..end).await.unwrap() == blob[clip(start)..clip(end)],
            "{start}..{end}"
        );
    }
    // As chunks that are compressed, and as one that is the blob.
    for other in [letters(1, 1 << 20), noise(1, 5000)] {
        let hash = store.put(other.clone()).await.unwrap();
        for range in [0..10, 999_000..1_001_000, 4990..9000_u64] {
            let clip = |at: u64| (at as usize).min(other.len());
            let expected = &other[clip(range.start)..clip(range.end)];
            assert!(store.glance(&hash, range.clone()).await.unwrap() == expected, "{range:?}");
        }
    }
}

/// Chunks of noise are long: who reads a bit of one after the other, as a mount and a peer of a torrent do, reads them once.
#[tokio::test]
async fn small_parts_of_a_large_chunk_are_read_once() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Unreliable::new());
    let server = Arc::new(objects.clone());
    let store = BlobStore::open_on(dir.path(), server, Options::default()).await.unwrap();
    let blob = noise(3, 6 << 20);
    let hash = store.put(blob.clone()).await.unwrap();
    let before = objects.operations();
    for start in (0..6 << 20).step_by(16 << 10) {
        let part = store.stream_range(&hash, start..start + (16 << 10)).await.unwrap();
        let part: Vec<Bytes> = part.try_collect().await.unwrap();
        assert!(part.concat() == blob[start as usize..start as usize + (16 << 10)], "at {start}");
    }
    let reads = objects.operations() - before;
    assert!(reads < 20, "{reads} reads for 6 chunks at most and their manifest");
}

/// Whoever takes the bytes slowly finds the next ones read, and never many of them.
#[tokio::test]
async fn what_comes_next_is_read_while_the_bytes_before_it_are_sent() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Unreliable::new());
    let server = Arc::new(objects.clone());
    let store = BlobStore::open_on(dir.path(), server, Options::default()).await.unwrap();
    let hash = store.put(noise(2, 12 << 20)).await.unwrap();
    let (_, mut pieces) = store.stream(&hash).await.unwrap();
    let before = objects.operations();
    let reads = || objects.operations() - before;
    for taken in 1..=3 {
        pieces.next().await.unwrap().unwrap();
        let read = async {
            while reads() < taken + 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        read.expect("what comes next is read before anybody asks for it");
        // So that all of it is there when the next piece is taken.
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(reads(), taken + 2, "no more is read than there is room for");
    }
}

#[tokio::test]
async fn an_edit_stores_little_and_text_is_compressed() {
    let (dir, store) = open().await;
    let text: Vec<u8> = (0..2_000_000_u32).flat_map(|n| format!("{n} pumasi\n").into_bytes()).collect();
    let total = || files(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let mut writer = store.writer();
    let before = writer.put_many(vec![text.clone().into()]).await.unwrap()[0];
    let tally = writer.finish().await.unwrap();
    assert_eq!((tally.blobs, tally.bytes, tally.new_bytes), (1, text.len() as u64, text.len() as u64));
    let stored = total();
    assert!(stored < text.len() as u64 / 3, "{stored} of {}", text.len());
    let mut edited = text.clone();
    edited.splice(10_000_000..10_000_000, *b"one line more\n");
    let mut writer = store.writer();
    let after = writer.put_many(vec![edited.clone().into()]).await.unwrap()[0];
    let tally = writer.finish().await.unwrap();
    assert!(tally.new_bytes < 400_000, "{tally:?}");
    assert!(total() - stored < 250_000);
    assert!(store.get(&before).await.unwrap() == text && store.get(&after).await.unwrap() == edited);
}

#[tokio::test]
async fn the_same_bytes_are_kept_once() {
    let (dir, store) = open().await;
    let blob = noise(1, 1000);
    store.put_many(vec![blob.clone(), noise(2, 5), blob.clone()]).await.unwrap();
    store.put(blob.clone()).await.unwrap();
    store.put_stream(pieces(&blob, 100), UNLIMITED).await.unwrap();
    store.put_many(vec![blob.clone(), noise(2, 5)]).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1, "one pack and nothing else");
    assert!(store.put_many(vec![]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_each_needs_alone_is_told() {
    let (_dir, store) = open().await;
    let [shared, tail, other] =
        [(1, 2 << 20), (2, 1 << 20), (3, 1 << 20)].map(|(seed, length)| letters(seed, length));
    let first = store.put([&shared[..], &tail].concat().into()).await.unwrap();
    let second = store.put([&shared[..], &other].concat().into()).await.unwrap();
    let small = store.put(noise(4, 100)).await.unwrap();
    let needs = [vec![first, first], vec![second, small], vec![Hash::of(b"not here"), small], vec![]];
    let counted = store.shares(&needs).await.unwrap();
    assert_eq!(counted.uncounted, [Hash::of(b"not here")]);
    let shares = counted.each;
    assert_eq!(shares.iter().map(|share| share.uncounted_blobs).collect::<Vec<_>>(), [0, 0, 1, 0]);
    let logical: Vec<u64> = shares.iter().map(|share| share.logical_bytes).collect();
    assert_eq!(logical, [6 << 20, (3 << 20) + 100, 100, 0]);
    // Its end, the chunk in which that begins, and the list of its chunks.
    for share in &shares[..2] {
        assert!((1 << 20..(1 << 20) + 200_000).contains(&share.own_bytes), "{shares:?}");
    }
    assert_eq!((shares[2].own_bytes, shares[3].own_bytes), (0, 0), "the small one is needed twice");
    // Whoever shares the same shares as much of it; what one has twice is shared with nobody.
    assert_eq!(shares[1].shared_bytes, shares[0].shared_bytes + 100, "{shares:?}");
    assert!(shares[0].shared_bytes + shares[0].own_bytes < 3_200_000, "{shares:?}");
    assert_eq!((shares[2].shared_bytes, shares[3].shared_bytes), (100, 0));
    assert_eq!(shares[0].saved_bytes(), (6 << 20) - shares[0].own_bytes);
    let alone = store.shares(&[vec![first], vec![small]]).await.unwrap().each;
    assert!(alone[0].own_bytes >= 3 << 20 && alone[1].own_bytes == 100, "{alone:?}");
    // What several need is nobody's own, in whatever order they are asked.
    let all = store.shares(&[vec![second], vec![first], vec![first], vec![second]]).await.unwrap().each;
    assert!(all.iter().all(|share| share.own_bytes == 0), "{all:?}");
    // Its bytes, and one list of their chunks.
    assert!(all.iter().all(|share| (3 << 20..3_200_000).contains(&share.shared_bytes)), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_puts_of_one_blob_agree() {
    let (dir, store) = open().await;
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_blobs_that_come_at_the_same_time_go_together() {
    let (dir, store) = open().await;
    let blob = |n: u64| if n.is_multiple_of(4) { noise(0, 700) } else { noise(n, n as usize) };
    let puts: Vec<_> = (0..400)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put_small(blob(n)).await.unwrap() })
        })
        .collect();
    // Some of those who wait go away; the others' bytes do not go with them.
    puts.iter().skip(300).step_by(7).for_each(tokio::task::JoinHandle::abort);
    let (mut new, mut done) = (0, Vec::new());
    for (n, put) in (0..).zip(puts) {
        let Ok((hash, tally)) = put.await else { continue };
        assert_eq!((hash, tally.bytes), (Hash::of(&blob(n)), blob(n).len() as u64));
        new += u64::from(n.is_multiple_of(4) && tally.new_bytes > 0);
        done.push((n, hash));
    }
    assert!(done.len() >= 380 && new == 1, "{} are there; {new} times the same was new", done.len());
    assert!(store.stats().unwrap().packs < 100, "{:?}", store.stats().unwrap());
    drop(store);
    let store = BlobStore::open(dir.path()).await.unwrap();
    for (n, hash) in done {
        assert_eq!(store.get(&hash).await.unwrap(), blob(n));
    }
}

#[tokio::test]
async fn a_damaged_blob_is_named_and_putting_it_again_repairs_it() {
    let (dir, store) = open().await;
    let blob = noise(1, 12 << 20);
    let hash = store.put(blob.clone()).await.unwrap();
    let packs = files(dir.path());
    assert_eq!(packs.len(), 2);
    let path = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();

    flip(path, 2_500_000);
    assert!(store.contains(&hash).unwrap(), "nobody has looked yet");
    let (_, mut stream) = store.stream(&hash).await.unwrap();
    let mut received = 0;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => received += piece.len(),
            Err(error) => assert!(is_damaged(Err::<(), _>(error), &hash, ".pack")),
        }
    }
    assert!(received < blob.len(), "the last piece must not come out");
    assert!(is_damaged(store.get(&hash).await, &hash, ".pack"));
    assert!(!store.contains(&hash).unwrap(), "a damaged blob does not count as stored");

    let mut writer = store.writer();
    writer.put_many(vec![blob.clone()]).await.unwrap();
    let tally = writer.finish().await.unwrap();
    assert!(tally.new_bytes <= CHUNK_MAX as u64, "only the damaged chunk is stored again: {tally:?}");
    assert_eq!(store.get(&hash).await.unwrap(), blob);
    drop(store);
    let store = BlobStore::open(dir.path()).await.unwrap();
    assert_eq!(store.get(&hash).await.unwrap(), blob, "the sound copy wins after a restart");
    drop(store);
    fs::remove_file(dir.path().join("index.redb")).unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    assert_eq!(store.get(&hash).await.unwrap(), blob, "and when the index is made again");
}

#[tokio::test]
async fn packs_that_are_cut_or_missing_are_named_and_neighbours_are_whole() {
    let (dir, store) = open().await;
    let blobs = vec![noise(1, 30_000), noise(2, 30_000), noise(3, 30_000)];
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    let other = store.put(noise(4, 1000)).await.unwrap();
    let pack = files(dir.path()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let whole = fs::read(&pack).unwrap();
    flip(&pack, 40_000);
    assert!(is_damaged(store.get(&hashes[1]).await, &hashes[1], ".pack"));
    let (_, stream) = store.stream(&hashes[1]).await.unwrap();
    assert!(is_damaged(stream.try_collect::<Vec<_>>().await, &hashes[1], ".pack"));
    for n in [0, 2] {
        assert_eq!(store.get(&hashes[n]).await.unwrap(), blobs[n], "its neighbours are whole");
    }
    drop(store);
    for harm in ["cut", "removed"] {
        let store = BlobStore::open(dir.path()).await.unwrap();
        match harm {
            "cut" => fs::write(&pack, &whole[..50_000]).unwrap(),
            _ => fs::remove_file(&pack).unwrap(),
        }
        for hash in &hashes {
            assert!(is_damaged(store.get(hash).await, hash, ".pack"), "{harm}");
        }
        assert_eq!(store.get(&other).await.unwrap(), noise(4, 1000));
    }
    let store = BlobStore::open(dir.path()).await.unwrap();
    assert!(is_damaged(store.get(&hashes[0]).await, &hashes[0], ".pack"), "a restart forgets nothing");
    store.put_many(blobs.clone()).await.unwrap();
    for (hash, blob) in hashes.iter().zip(&blobs) {
        assert_eq!(&store.get(hash).await.unwrap(), blob, "putting it again repairs it");
    }
}

#[tokio::test]
async fn an_unknown_pack_with_a_broken_footer_keeps_the_store_shut_and_is_named() {
    let (dir, store) = open().await;
    store.put_many(vec![noise(1, 100), noise(2, 200)]).await.unwrap();
    drop(store);
    let path = files(dir.path()).pop().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&path).unwrap();
    let open = async |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_file(dir.path().join("index.redb"));
        match BlobStore::open(dir.path()).await {
            Err(BlobError::DamagedPack { object, source }) if object == format!("packs/{name}") => {
                Some(source)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    for end in [0, 47, 80, 100, whole.len() - 1] {
        assert!(open(&whole[..end]).await.is_some(), "cut to {end}");
    }
    for at in (300..whole.len()).step_by(23) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(open(&altered).await.is_some(), "byte {at}");
    }
    assert_eq!(open(&[&whole[..], b"x"].concat()).await, Some(PackFault::Magic));
    assert_eq!(open(&whole).await, None);

    let renamed = path.with_file_name(format!("{}.pack", Hash::of(b"another")));
    fs::rename(&path, renamed).unwrap();
    let error = BlobStore::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, BlobError::DamagedPack { source: PackFault::Name(_), .. }), "{error}");
}

/// The index is derived: whatever happens to it, the packs tell it all again.
#[tokio::test]
async fn a_missing_cut_or_altered_index_is_made_again() {
    let (dir, store) = open().await;
    let blobs: Vec<Bytes> = (0..40).map(|n| noise(n, 10_000 * n as usize)).collect();
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    drop(store);
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).unwrap();
    for harm in ["removed", "cut", "empty", "overwritten", "noise"] {
        match harm {
            "removed" => fs::remove_file(&index).unwrap(),
            "cut" => fs::write(&index, &whole[..whole.len() / 2]).unwrap(),
            "empty" => fs::write(&index, []).unwrap(),
            "overwritten" => fs::write(&index, [&[0; 4096], &whole[4096..]].concat()).unwrap(),
            _ => fs::write(&index, noise(9, whole.len())).unwrap(),
        }
        let store = BlobStore::open(dir.path()).await.unwrap_or_else(|error| panic!("{harm}: {error:?}"));
        for (hash, blob) in hashes.iter().zip(&blobs) {
            assert!(store.get(hash).await.unwrap() == blob, "{harm}");
        }
        drop(store);
        let _ = fs::remove_file(dir.path().join("index.broken"));
    }
}

#[tokio::test]
async fn a_closed_index_takes_little_more_than_its_rows() {
    const BLOBS: u64 = 20_000;
    const ROW_BYTES: u64 = 64;
    let (dir, store) = open().await;
    for first in (0..BLOBS).step_by(1_000) {
        let mut writer = store.writer();
        writer.put_many((first..first + 1_000).map(|n| noise(n, 40)).collect()).await.unwrap();
        writer.finish().await.unwrap();
    }
    let index = dir.path().join("index.redb");
    let opened = fs::metadata(&index).unwrap().len();
    drop(store);
    let closed = fs::metadata(&index).unwrap().len();
    assert!(closed < opened && closed < 2 * BLOBS * ROW_BYTES, "{opened} bytes while open, {closed} after");
    let store = BlobStore::open(dir.path()).await.unwrap();
    for n in (0..BLOBS).step_by(997) {
        assert_eq!(read_stream(&store, &Hash::of(&noise(n, 40))).await.unwrap(), noise(n, 40));
    }
}

#[tokio::test]
async fn what_a_crash_left_is_removed_and_foreign_files_are_not() {
    let (dir, store) = open().await;
    let hash = store.put(noise(1, 10)).await.unwrap();
    let ids = store.put_many(vec![noise(2, 10)]).await.unwrap();
    drop(store);
    let pack = files(&dir.path().join("packs")).pop().unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let leftovers = [pack.with_file_name(format!("{name}#1")), pack.with_file_name(format!("{name}#23"))];
    let foreign = [
        pack.with_file_name("notes.txt"),
        pack.with_file_name("notes#1"),
        pack.with_file_name("x.pack"),
        pack.with_file_name(name.to_uppercase()),
        dir.path().join("README"),
    ];
    for path in leftovers.iter().chain(&foreign) {
        fs::write(path, "half of something").unwrap();
    }
    let store = BlobStore::open(dir.path()).await.unwrap();
    assert!(leftovers.iter().all(|path| !path.exists()));
    assert!(foreign.iter().all(|path| path.exists()));
    assert!(store.contains(&hash).unwrap() && store.contains(&ids[0]).unwrap());
}

#[tokio::test]
async fn an_upload_that_is_too_long_or_breaks_off_leaves_nothing() {
    let (_dir, store) = open().await;
    for (length, limit) in [(11, 10), (3 << 20, 2 << 20), (1, 0)] {
        let error = store.put_stream(pieces(&noise(1, length), 1 << 18), ByteSize(limit)).await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: named } if named.0 == limit), "{error}");
        assert!(error.to_string().contains(&ByteSize(limit).to_string()), "{error}");
    }
    let body = pieces(&noise(1, 5 << 20), 1 << 18).chain(stream::iter([Err(std::io::Error::other("reset"))]));
    let error = store.put_stream(body, UNLIMITED).await.unwrap_err();
    assert!(matches!(error, BlobError::Body { .. }), "{error}");
    let exact = noise(1, 2 << 20);
    store.put_stream(pieces(&exact, 1 << 18), ByteSize(2 << 20)).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_opened_once_and_may_have_any_name() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a #1 %2e%2e 품앗이?");
    let store = BlobStore::open(&dir).await.unwrap();
    assert!(matches!(BlobStore::open(&dir).await, Err(BlobError::InUse { .. })));
    let hash = store.clone().put(noise(1, 10)).await.unwrap();
    let (kept, _) = (store.clone(), drop(store));
    assert!(matches!(BlobStore::open(&dir).await, Err(BlobError::InUse { .. })), "a clone keeps it open");
    drop(kept);
    assert!(BlobStore::open(&dir).await.unwrap().contains(&hash).unwrap());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(BlobStore::open(&file).await, Err(BlobError::Folder { .. })));
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
            let (dir, mut store) = open().await;
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
                        store = BlobStore::open(dir.path()).await.unwrap();
                    }
                }
                for n in 0..24 {
                    let hash = Hash::of(&nth(n));
                    let expected = model.get(&hash).map(|bytes| ByteSize(bytes.len() as u64));
                    assert_eq!(store.size(&hash).unwrap(), expected);
                }
            }
        });
    }
}

#[tokio::test]
async fn more_blobs_than_wait_for_their_acknowledgement_are_all_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let blobs: Vec<Bytes> = (0..70_000_u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    for new_bytes in [280_000, 0] {
        let mut writer = store.writer();
        for some in blobs.chunks(1_000) {
            writer.put_many(some.to_vec()).await.unwrap();
        }
        let tally = writer.finish().await.unwrap();
        assert_eq!((tally.blobs, tally.bytes, tally.new_bytes), (70_000, 280_000, new_bytes));
    }
    assert!(blobs.iter().all(|blob| store.contains(&Hash::of(blob)).unwrap()));
    assert!(store.check(true).await.unwrap().problems.is_empty());
}
