//! Snapshots on a simulated disk are whole or absent, and one that was written stays.

mod common;

use std::io::ErrorKind;
use std::path::Path;

use common::{Dice, faults, seeds};
use pumasi_log::{Epoch, Head, Seq, SnapshotStore};
use pumasi_sim::disk::{FaultCounts, Faults, SimDisk};
use pumasi_types::{Hash, Time};

const DIR: &str = "/cell/snapshots";

fn head(seq: u64) -> Head {
    Head { seq: Seq(seq), epoch: Epoch(2), time: Time(seq), hash: Hash::of(&seq.to_le_bytes()) }
}

/// The state after entry `seq`, of a size of its own.
fn body(seq: u64) -> Vec<u8> {
    (0..seq * 7919 % 30_000).map(|i| ((seq + i) % 255) as u8).collect()
}

/// Checks that the newest snapshot is good and at least `written`; returns it.
fn check(store: &SnapshotStore, written: u64, attempted: u64, rotten: bool) {
    let found = store.newest().expect("the disk works");
    let seq = found.snapshot.as_ref().map_or(0, |snapshot| snapshot.head.seq.0);
    if let Some(snapshot) = found.snapshot {
        assert_eq!((snapshot.head, snapshot.state_version), (head(seq), 7));
        assert!(snapshot.body == body(seq), "{seq} is another");
    }
    assert!(seq <= attempted);
    assert!(found.notes.is_empty() || rotten, "{:?}", found.notes);
    // One rotten file costs one snapshot at most, and says so.
    assert!(seq >= written || !found.notes.is_empty(), "{written} was written, {seq} is there");
    assert!(store.covered().expect("the disk works") <= Seq(seq), "a log trimmed there suits the state");
}

fn tell(seed: u64) -> (u64, FaultCounts) {
    let (mut dice, disk) = (Dice(seed), SimDisk::new(seed));
    let usual = if dice.below(4) == 0 { Faults::default() } else { faults(&mut dice) };
    let (mut written, mut attempted, mut rotten) = (0, 0, false);
    for _ in 0..3 + dice.below(6) {
        disk.set_faults(usual);
        match dice.below(4) {
            0 => disk.crash_in(1 + dice.below(40)),
            1 => disk.kill_in(1 + dice.below(40)),
            2 => disk.set_free(Some(dice.below(20) * 4096)),
            _ => disk.set_free(None),
        }
        if let Ok(store) = SnapshotStore::open_on(disk.process(), Path::new(DIR)) {
            for _ in 0..dice.below(6) {
                attempted += 1 + dice.below(3);
                let body = body(attempted);
                let file = store.write(head(attempted), 7, |out| {
                    body.chunks(999).try_for_each(|part| out.write_all(part))
                });
                if file.is_ok() {
                    written = attempted;
                }
            }
        }
        if dice.below(2) == 0 {
            disk.crash();
        } else {
            disk.kill();
        }
        disk.reboot();
        disk.set_faults(Faults::default());
        disk.set_free(None);
        if !rotten && dice.below(6) == 0 {
            let files = disk.files();
            if !files.is_empty() {
                let (path, bytes) = &files[dice.below(files.len() as u64) as usize];
                rotten = *bytes > 0 && disk.rot(path, 0..*bytes).is_some();
            }
        }
        match SnapshotStore::open_on(disk.process(), Path::new(DIR)) {
            Ok(store) => check(&store, written, attempted, rotten),
            Err(error) => panic!("the disk works, but {error}"),
        }
    }
    (disk.trace(), disk.counts())
}

#[test]
fn snapshots_are_whole_or_absent() {
    let mut counts = FaultCounts::default();
    for seed in seeds(0..1000) {
        let Ok((trace, faults)) = std::panic::catch_unwind(|| tell(seed)) else {
            panic!("PUMASI_DISK_SEEDS={seed}..{} tells the story that failed", seed + 1);
        };
        counts += faults;
        if seed % 16 == 0 {
            assert_eq!(tell(seed), (trace, faults), "seed {seed}: twice the same story");
        }
    }
    println!("{counts:?}");
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_older_one() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open_on(disk.process(), Path::new(DIR)).unwrap();
    store.write(head(5), 7, |out| out.write_all(&body(5))).unwrap();
    assert!(store.write(head(6), 7, |_| Err(ErrorKind::Other.into())).is_err());
    check(&store, 5, 5, false);
    assert_eq!(disk.files().len(), 1, "its remains are removed");
}
