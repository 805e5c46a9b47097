//! Bit flips and missing packs: found, named, and repaired as far as anything is left.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::noise;
use futures_util::{TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use pumasi_blobs::{BlobError, BlobStore, Options, Problem};
use pumasi_types::Hash;

fn packs(dir: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> =
        fs::read_dir(dir.join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    packs
}

fn name(path: &Path) -> String {
    format!("packs/{}", path.file_name().unwrap().to_str().unwrap())
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_flipped_bit_is_found_and_named_and_the_rest_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let blobs: Vec<Bytes> = (0..30).map(|n| noise(n, 20_000)).collect();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    drop(store);
    let [pack] = packs(dir.path()).try_into().unwrap();
    let whole = fs::read(&pack).unwrap();
    let body = 600_000;
    for at in (0..whole.len() as u64).step_by(whole.len() / 25) {
        flip(&pack, at);
        let store = BlobStore::open(dir.path()).await.unwrap();
        let found = store.check(true).await.unwrap().problems;
        match at < body {
            true => {
                let hash = hashes[(at / 20_000) as usize];
                assert_eq!(found, [Problem::DamagedEntry { object: name(&pack), name: hash }], "byte {at}");
                assert!(found[0].to_string().contains(&hash.to_string()));
                assert!(!store.contains(&hash).unwrap(), "it does not count as stored any more");
            }
            false => assert!(
                matches!(&found[..], [Problem::DamagedPack { object, .. }] if *object == name(&pack)),
                "byte {at}: {found:?}"
            ),
        }
        drop(store);
        fs::write(&pack, &whole).unwrap();
    }

    flip(&pack, 50_000);
    let store = BlobStore::open(dir.path()).await.unwrap();
    assert_eq!(store.check(false).await.unwrap().problems, [], "without the data this cannot be seen");
    let repaired = store.repair().await.unwrap();
    assert_eq!((repaired.packs_replaced, repaired.entries_lost, repaired.packs_missing), (1, 1, 0));
    assert_eq!(store.check(true).await.unwrap().problems, []);
    for (n, (hash, blob)) in hashes.iter().zip(&blobs).enumerate() {
        match store.get(hash).await {
            Ok(found) => assert_eq!(&found, blob),
            Err(error) => assert!(n == 2 && matches!(error, BlobError::NotFound { .. }), "{n}: {error}"),
        }
    }
    assert!(dir.path().join("damaged").join(pack.file_name().unwrap()).exists());
    store.put(blobs[2].clone()).await.unwrap();
    assert_eq!(store.get(&hashes[2]).await.unwrap(), blobs[2]);
}

#[tokio::test]
async fn missing_and_cut_packs_are_named_and_what_they_held_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let large = noise(1, 64 << 20);
    let hash = store.put(large.clone()).await.unwrap();
    let small = store.put(noise(2, 100)).await.unwrap();
    let other = noise(3, 1 << 20);
    let sound = store.put(other.clone()).await.unwrap();
    drop(store);
    let all = packs(dir.path());
    let (gone, cut) = (all[all.len() - 1].clone(), all[all.len() - 2].clone());
    fs::remove_file(&gone).unwrap();
    fs::File::options().write(true).open(&cut).unwrap().set_len(1 << 20).unwrap();

    let store = BlobStore::open(dir.path()).await.unwrap();
    let found = store.check(false).await.unwrap().problems;
    assert!(found.contains(&Problem::MissingPack { object: name(&gone) }), "{found:?}");
    assert!(
        found.iter().any(|one| matches!(one, Problem::DamagedPack { object, .. } if *object == name(&cut)))
    );
    assert!(found.iter().any(|one| matches!(one, Problem::MissingChunk { blob, .. } if *blob == hash)));
    assert!(matches!(store.get(&hash).await, Err(BlobError::Damaged { .. })));
    let refused = store.collect(stream::iter([sound, small])).await.unwrap();
    assert_eq!(refused.packs_removed, 0, "all is within the grace time");

    let repaired = store.repair().await.unwrap();
    assert_eq!((repaired.packs_replaced, repaired.packs_missing), (1, 1));
    assert_eq!(repaired.blobs_lost, [hash]);
    assert!(repaired.entries_lost > 10, "{repaired:?}");
    assert_eq!(store.check(true).await.unwrap().problems, []);
    assert!(matches!(store.get(&hash).await, Err(BlobError::NotFound { .. })));
    assert_eq!(store.get(&sound).await.unwrap(), other);
    assert_eq!(store.get(&small).await.unwrap(), noise(2, 100));
    let mut writer = store.writer();
    assert_eq!(writer.put_many(vec![large.clone()]).await.unwrap(), [hash]);
    let tally = writer.finish().await.unwrap();
    assert!(tally.new_bytes < 56 << 20, "what was left is used: {tally:?}");
    assert!(store.get(&hash).await.unwrap() == large);
}

/// Neighbours are read one after the other, so that what comes next is fetched ahead: no damage may hide in that, nor stay.
#[tokio::test]
async fn a_pack_that_is_cut_moved_or_put_back_while_it_is_read_on_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let blobs: Vec<Bytes> = (0..160).map(|n| noise(n, 30_000)).collect();
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    let [pack] = packs(dir.path()).try_into().unwrap();
    let whole = fs::read(&pack).unwrap();
    let aside = dir.path().join("aside");
    let is_whole = async |n: usize| store.get(&hashes[n]).await.map(|found| found == blobs[n]);
    // Frames of eight.
    for n in 0..40 {
        assert!(is_whole(n).await.unwrap(), "{n}");
    }
    fs::File::options().write(true).open(&pack).unwrap().set_len(80 * 30_000).unwrap();
    for n in 40..96 {
        match is_whole(n).await {
            Ok(whole) => assert!(n < 80 && whole, "{n}"),
            Err(BlobError::Damaged { object, .. }) => {
                assert!(n >= 80 && object == name(&pack), "{n}: {object}")
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    fs::write(&pack, &whole).unwrap();
    for n in 80..104 {
        assert!(is_whole(n).await.unwrap(), "{n}");
    }
    fs::rename(&pack, &aside).unwrap();
    assert!(matches!(is_whole(104).await, Err(BlobError::Damaged { .. })));
    fs::rename(&aside, &pack).unwrap();
    for n in 104..128 {
        assert!(is_whole(n).await.unwrap(), "{n}");
    }
    flip(&pack, 130 * 30_000);
    assert_eq!(store.repair().await.unwrap().entries_lost, 1);
    for n in 128..160 {
        match is_whole(n).await {
            Ok(whole) => assert!(n != 130 && whole, "{n}"),
            Err(error) => assert!(n == 130 && matches!(error, BlobError::NotFound { .. }), "{n}: {error}"),
        }
    }
}

#[tokio::test]
async fn what_failed_only_for_want_of_a_pack_is_sound_when_that_is_there_again() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let store = BlobStore::open_on(dir.path(), objects.clone(), Options::default()).await.unwrap();
    let large = noise(1, 12 << 20);
    let hash = store.put(large.clone()).await.unwrap();
    let packs: Vec<_> = objects.list(Some(&"packs".into())).try_collect().await.unwrap();
    let chunks = packs.into_iter().max_by_key(|pack| pack.size).unwrap().location;
    let whole = objects.get(&chunks).await.unwrap().bytes().await.unwrap();

    objects.delete(&chunks).await.unwrap();
    assert!(matches!(store.get(&hash).await, Err(BlobError::Damaged { .. })));
    assert!(matches!(store.link(&hash).await, Err(BlobError::NotFound { .. })));
    objects.put(&chunks, PutPayload::from_bytes(whole.clone())).await.unwrap();
    assert!(store.get(&hash).await.unwrap() == large);
    store.link(&hash).await.unwrap();

    let mut altered = whole.to_vec();
    altered[100] ^= 1;
    objects.put(&chunks, PutPayload::from(altered)).await.unwrap();
    assert!(matches!(store.get(&hash).await, Err(BlobError::Damaged { .. })));
    objects.delete(&chunks).await.unwrap();
    assert!(matches!(store.get(&hash).await, Err(BlobError::Damaged { .. })));
    objects.put(&chunks, PutPayload::from_bytes(whole)).await.unwrap();
    assert!(store.get(&hash).await.unwrap() == large);
    assert!(!store.contains(&hash).unwrap(), "it failed for another reason, too");
    store.put(large).await.unwrap();
    store.link(&hash).await.unwrap();
}

#[tokio::test]
async fn one_pack_that_is_there_again_says_nothing_of_another_nor_of_one_that_is_cut() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let store = BlobStore::open_on(dir.path(), objects.clone(), Options::default()).await.unwrap();
    let large = noise(1, 64 << 20);
    let hash = store.put(large.clone()).await.unwrap();
    let end = large.len() as u64 - 10..large.len() as u64;
    let ends = async |range| store.stream_range(&hash, range).await.unwrap().try_collect::<Vec<_>>().await;
    let mut packs: Vec<_> = objects.list(Some(&"packs".into())).try_collect().await.unwrap();
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.size));
    let mut away = Vec::new();
    for pack in packs.into_iter().filter(|pack| pack.size > 1 << 20) {
        away.push((pack.location.clone(), objects.get(&pack.location).await.unwrap().bytes().await.unwrap()));
        objects.delete(&pack.location).await.unwrap();
    }
    assert!(away.len() > 1, "it lies in several packs");
    assert!(ends(0..10).await.is_err() && ends(end.clone()).await.is_err());
    // The one with the end comes back.
    let mut last = None;
    for (at, (location, bytes)) in away.iter().enumerate() {
        objects.put(location, PutPayload::from_bytes(bytes.clone())).await.unwrap();
        if ends(end.clone()).await.is_ok() {
            last = Some(at);
            break;
        }
        objects.delete(location).await.unwrap();
    }
    away.remove(last.expect("the end lies in one of them"));
    assert!(matches!(store.link(&hash).await, Err(BlobError::NotFound { .. })), "the rest is missing");
    for (location, bytes) in &away {
        objects.put(location, PutPayload::from_bytes(bytes.clone())).await.unwrap();
    }
    assert!(store.get(&hash).await.unwrap() == large);
    store.link(&hash).await.unwrap();

    for (location, bytes) in &away {
        objects.put(location, PutPayload::from_bytes(bytes.slice(..bytes.len() - (1 << 20)))).await.unwrap();
    }
    // Each time the store learns of one of them, and a put stores again what that held.
    for _ in &away {
        assert!(matches!(store.get(&hash).await, Err(BlobError::Damaged { .. })));
        let begin = ends(0..10).await.unwrap().concat();
        assert!(begin[..] == large[..10], "what lies before the cut can be read");
        store.put(large.clone()).await.unwrap();
    }
    assert!(store.get(&hash).await.unwrap() == large);
    store.link(&hash).await.unwrap();
}

#[tokio::test]
async fn a_pack_that_keeps_the_store_shut_is_moved_aside_for_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let kept = store.put(noise(1, 1000)).await.unwrap();
    drop(store);
    let foreign = dir.path().join(format!("packs/{}.pack", Hash::of(b"no pack")));
    fs::write(&foreign, noise(5, 5000)).unwrap();
    assert!(matches!(BlobStore::open(dir.path()).await, Err(BlobError::DamagedPack { .. })));
    let options = Options { salvage: true, ..Options::default() };
    let store = BlobStore::open_with(dir.path(), options).await.unwrap();
    assert!(!foreign.exists() && dir.path().join("damaged").join(foreign.file_name().unwrap()).exists());
    assert_eq!(store.repair().await.unwrap(), Default::default());
    assert_eq!(store.get(&kept).await.unwrap(), noise(1, 1000));
}

#[tokio::test]
async fn folders_come_back_as_they_were() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use pumasi_blobs::listing::What;
    use pumasi_blobs::tree;

    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir_all(from.join("a/empty")).unwrap();
    fs::write(from.join("a/file"), noise(1, 100)).unwrap();
    fs::write(from.join("large"), noise(2, 9 << 20)).unwrap();
    fs::write(from.join("nothing"), []).unwrap();
    fs::write(from.join("품앗이 '\n"), b"odd").unwrap();
    fs::write(from.join(std::ffi::OsStr::from_bytes(b"not \xff text")), b"odd").unwrap();
    std::os::unix::fs::symlink("../../elsewhere", from.join("a/link")).unwrap();
    fs::set_permissions(from.join("a/file"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();

    let store = BlobStore::open(&dir.path().join("store")).await.unwrap();
    let stored = tree::put(&store, &from, |_| ()).await.unwrap();
    assert_eq!((stored.what, stored.files, stored.skipped), (What::Folder, 6, 1));
    let again = tree::put(&store, &from, |_| ()).await.unwrap();
    assert_eq!((again.blob, again.tally.new_bytes), (stored.blob, 0));
    let to = dir.path().join("to");
    tree::get(&store, What::Folder, stored.blob, &to, |_| ()).await.unwrap();
    fs::remove_file(from.join("socket")).unwrap();
    let look = |top: &Path| {
        let output = std::process::Command::new("find")
            .current_dir(top)
            .args([".", "-printf", "%P %y %m %T@ %l\n"])
            .output()
            .unwrap();
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        // Times of links are not kept, nor that of the top.
        lines.retain(|line| !line.contains(" l 777 ") && !line.starts_with(' '));
        lines.sort();
        lines
    };
    // Removing the socket changed the time of the top alone.
    assert_eq!(look(&from), look(&to));
    for file in ["a/file", "large", "nothing", "품앗이 '\n"] {
        assert!(fs::read(from.join(file)).unwrap() == fs::read(to.join(file)).unwrap(), "{file}");
    }
    assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("../../elsewhere"));
    let full = tree::get(&store, What::Folder, stored.blob, &to, |_| ()).await.unwrap_err();
    assert!(full.to_string().contains("write into"), "{full}");
    let file = store.put(noise(7, 50)).await.unwrap();
    let wrong = tree::get(&store, What::Folder, file, &dir.path().join("x"), |_| ()).await;
    assert!(matches!(wrong, Err(BlobError::Listing { .. })));
}

#[tokio::test]
async fn what_is_lost_of_a_folder_is_named_and_the_rest_comes_back() {
    use pumasi_blobs::listing::What;
    use pumasi_blobs::tree::{self, Lost};

    let dir = tempfile::tempdir().unwrap();
    let (at, from, to) = (dir.path().join("store"), dir.path().join("from"), dir.path().join("to"));
    let files = [("lost/large", 1, 9 << 20), ("lost/small", 2, 20_000), ("a", 3, 3 << 20), ("lost/b", 4, 30)];
    fs::create_dir_all(from.join("lost")).unwrap();
    for (name, seed, length) in files {
        fs::write(from.join(name), noise(seed, length)).unwrap();
    }
    let store = BlobStore::open(&at).await.unwrap();
    for (_, seed, length) in &files[..2] {
        store.put(noise(*seed, *length)).await.unwrap();
    }
    // The smallest has the list of the large one's chunks, and stays: of that one it is found out while it is written.
    let broken = packs(&at).split_off(1);
    let stored = tree::put(&store, &from, |_| ()).await.unwrap();
    drop(store);
    broken.iter().for_each(|pack| flip(pack, 10));
    let store = BlobStore::open(&at).await.unwrap();
    let mut lost = tree::get(&store, What::Folder, stored.blob, &to, |_| ()).await.unwrap();
    lost.sort_by(|a, b| a.path.cmp(&b.path));
    let [Lost { path: large, error }, Lost { path: small, .. }] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!((large, small), (&to.join("lost/large"), &to.join("lost/small")));
    assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
    assert!(!large.exists() && !small.exists(), "nothing is there by halves");
    for (name, seed, length) in &files[2..] {
        assert!(fs::read(to.join(name)).unwrap() == noise(*seed, *length), "{name}");
    }
    // By itself it is refused, and takes the place of nothing.
    let alone = dir.path().join("alone");
    let refused = tree::get(&store, What::File, Hash::of(&noise(1, 9 << 20)), &alone, |_| ()).await;
    assert!(refused.is_err() && !alone.exists(), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_counted_is_named_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let broken = store.put(noise(1, 9 << 20)).await.unwrap();
    let sound = store.put(noise(2, 20_000)).await.unwrap();
    drop(store);
    // The list of its chunks lies alone in the smallest.
    flip(&packs(dir.path())[0], 10);
    let store = BlobStore::open(dir.path()).await.unwrap();
    for known in [false, true] {
        let shares = store.shares(&[vec![broken, sound], vec![sound]]).await.unwrap();
        assert_eq!(shares.uncounted, [broken], "known to be damaged: {known}");
        let told: Vec<_> =
            shares.each.iter().map(|share| (share.uncounted_blobs, share.shared_bytes)).collect();
        assert_eq!(told, [(1, 20_000), (0, 20_000)]);
    }
}

#[tokio::test]
async fn holes_come_back_as_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use pumasi_blobs::listing::What;
    use pumasi_blobs::tree;

    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    // One that is written whole and one that is written in pieces; both end with a hole.
    for (name, length) in [("small", 1 << 20), ("large", 16 << 20)] {
        let file = fs::File::create(from.join(name)).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&noise(1, 20_000), length / 2 + 7).unwrap();
    }
    let store = BlobStore::open(&dir.path().join("store")).await.unwrap();
    let stored = tree::put(&store, &from, |_| ()).await.unwrap();
    tree::get(&store, What::Folder, stored.blob, &to, |_| ()).await.unwrap();
    for name in ["small", "large"] {
        assert!(fs::read(from.join(name)).unwrap() == fs::read(to.join(name)).unwrap(), "{name}");
        let bytes = fs::metadata(to.join(name)).unwrap().blocks() * 512;
        assert!(bytes < 256 << 10, "{name}: {bytes} bytes are on disk");
    }
}

/// A walk through much takes long, and is not far ahead of what is put.
#[tokio::test]
async fn what_changes_before_its_turn_is_put_as_it_is_then() {
    use std::os::unix::fs::PermissionsExt;

    use pumasi_blobs::listing::What;
    use pumasi_blobs::tree;

    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("a")).unwrap();
    // More than is read ahead.
    for n in 0..40 {
        fs::File::create(from.join(format!("a/{n}"))).unwrap().set_len(1 << 20).unwrap();
    }
    let last = from.join("b");
    fs::write(&last, b"last").unwrap();
    let change = |mode| fs::set_permissions(&last, fs::Permissions::from_mode(mode)).unwrap();
    change(0o600);
    let store = BlobStore::open(&dir.path().join("store")).await.unwrap();
    let stored = tree::put(&store, &from, |_| change(0o640)).await.unwrap();
    tree::get(&store, What::Folder, stored.blob, &to, |_| ()).await.unwrap();
    assert_eq!(fs::metadata(to.join("b")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_is_named() {
    struct Broken;

    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("its other end is gone"))
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).await.unwrap();
    let name = Path::new("standard input");
    let error = pumasi_blobs::tree::put_from(&store, name, || Ok(Broken), |_| ()).await.unwrap_err();
    assert!(matches!(&error, BlobError::Folder { operation: "read", path, .. } if path == name), "{error}");
}
