//! Snapshots are whole or absent; a damaged one gives way to the one before.

mod common;

use std::fs;
use std::io;

use common::{flip_bit, truncate, with_extension};
use pumasi_log::{Epoch, Head, Seq, SnapshotStore};
use pumasi_types::{Hash, Time};

fn head(seq: u64) -> Head {
    Head { seq: Seq(seq), epoch: Epoch(2), time: Time(seq * 10), hash: Hash::of(&seq.to_le_bytes()) }
}

fn write(store: &SnapshotStore, seq: u64) {
    let body = vec![seq as u8; 10_000];
    let file =
        store.write(head(seq), 7, |out| body.chunks(999).try_for_each(|part| out.write_all(part))).unwrap();
    assert_eq!(fs::metadata(file.path).unwrap().len(), file.bytes);
}

fn newest(store: &SnapshotStore) -> (Option<u64>, usize) {
    let found = store.newest().unwrap();
    let seq = found.snapshot.map(|snapshot| {
        let seq = snapshot.head.seq.0;
        assert_eq!((snapshot.head, snapshot.state_version), (head(seq), 7));
        assert_eq!(snapshot.body, vec![seq as u8; 10_000]);
        seq
    });
    (seq, found.notes.len())
}

#[test]
fn the_newest_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(&dir.path().join("snapshots")).unwrap();
    assert_eq!((newest(&store), store.covered().unwrap()), ((None, 0), Seq::ZERO));
    write(&store, 5);
    assert_eq!((newest(&store), store.covered().unwrap()), ((Some(5), 0), Seq::ZERO));
    for seq in [300, 70_000, 70_001] {
        write(&store, seq);
        assert_eq!(newest(&store), (Some(seq), 0));
    }
    assert_eq!(store.covered().unwrap(), Seq(70_000));
    assert_eq!(with_extension(&dir.path().join("snapshots"), "snap").len(), 2);
    store.write(head(70_002), 7, |_| Ok(())).unwrap();
    assert_eq!(store.newest().unwrap().snapshot.unwrap().body, "");
}

#[test]
fn a_damaged_newest_gives_way_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1);
    write(&store, 2);
    let path = with_extension(dir.path(), "snap").pop().unwrap();
    for at in (0..256).chain([256, 5000, 10_255]) {
        flip_bit(&path, at, (at % 8) as u8);
        assert_eq!(newest(&store), (Some(1), 1), "byte {at}");
        flip_bit(&path, at, (at % 8) as u8);
    }
    assert_eq!(newest(&store), (Some(2), 0));
    for length in [10_255, 5000, 256, 255, 8, 0] {
        truncate(&path, length);
        assert_eq!(newest(&store), (Some(1), 1), "{length} bytes");
    }
    let note = store.newest().unwrap().notes.remove(0);
    assert!(note.contains(path.to_str().unwrap()) && note.contains("cannot be used"), "{note}");
    fs::copy(with_extension(dir.path(), "snap").remove(0), &path).unwrap();
    assert!(store.newest().unwrap().notes[0].contains("its name says entry 2, its content entry 1"));
    truncate(&with_extension(dir.path(), "snap")[0], 3);
    assert_eq!(newest(&store), (None, 2));
}

#[test]
fn a_failed_or_interrupted_write_leaves_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1);
    let failed = store.write(head(2), 7, |out| {
        out.write_all(&[1; 3_000_000])?;
        Err(io::Error::other("the state would not be written"))
    });
    assert!(failed.unwrap_err().to_string().contains("the state would not be written"));
    assert_eq!(newest(&store), (Some(1), 0));
    assert!(with_extension(dir.path(), "tmp").is_empty());
    // What a crash leaves: a temporary file of any content.
    fs::write(dir.path().join("0000000000000003.tmp"), [9; 700]).unwrap();
    assert_eq!(newest(&store), (Some(1), 0));
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert!(with_extension(dir.path(), "tmp").is_empty());
    assert_eq!(newest(&store), (Some(1), 0));
}
