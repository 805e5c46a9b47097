//! The simulated disk does what it says, and nothing worse.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use pumasi_log::Disk;
use pumasi_log::disk::{Lock, Mode};
use pumasi_sim::disk::{Faults, SimDisk};

const DIR: &str = "/d";

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

/// A disk with the durable file `a` of two pages of ones.
fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let process = disk.process();
    process.create_dir(Path::new(DIR)).unwrap();
    let file = process.open(&path("a"), Mode::CreateNew).unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.sync().unwrap();
    process.sync_dir(Path::new(DIR)).unwrap();
    disk
}

fn read(process: &dyn Disk, name: &str) -> Option<Vec<u8>> {
    let file = process.open(&path(name), Mode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn power_cycle(disk: &SimDisk) -> std::sync::Arc<dyn Disk> {
    disk.crash();
    disk.reboot();
    disk.process()
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_sectors_of_the_rest() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let disk = disk(seed);
        let process = disk.process();
        let file = process.open(&path("a"), Mode::Write).unwrap();
        file.write_all_at(&[2; 4096], 4096).unwrap();
        file.write_all_at(&[3; 4096], 4096).unwrap();
        assert_eq!(read(&*process, "a").unwrap()[4096..], [3; 4096]);
        let bytes = read(&*power_cycle(&disk), "a").unwrap();
        assert_eq!((&bytes[..4096], bytes.len()), (&[1; 4096][..], 8192));
        for sector in bytes[4096..].chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
        }
        seen.insert(
            bytes[4096..]
                .iter()
                .step_by(512)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .copied()
                .collect::<Vec<_>>(),
        );
        assert!(file.sync().is_err() && process.list(Path::new(DIR)).is_err(), "that process is dead");
    }
    for outcome in [vec![1], vec![2], vec![3], vec![1, 3], vec![1, 2, 3]] {
        assert!(seen.contains(&outcome), "{outcome:?} never happened");
    }
}

#[test]
fn names_are_durable_after_the_sync_of_their_directory_only() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        let process = disk.process();
        process.rename(&path("a"), &path("b")).unwrap();
        process.open(&path("c"), Mode::CreateNew).unwrap().sync().unwrap();
        assert_eq!(disk.files().len(), 2);
        let after = power_cycle(&disk);
        let there = |name| read(&*after, name).is_some();
        assert!(there("a") != there("b"), "a rename is whole");
        seen.insert((there("b"), there("c")));

        after.open(&path("d"), Mode::Create).unwrap();
        after.sync_dir(Path::new(DIR)).unwrap();
        assert!(read(&*power_cycle(&disk), "d").is_some());
    }
    assert_eq!(seen.len(), 4, "in any order: {seen:?}");
}

#[test]
fn a_failed_sync_is_told_once_to_each_opening_and_may_leave_a_cache_that_lies() {
    let mut lied = 0;
    for seed in 0..100 {
        let disk = disk(seed);
        let process = disk.process();
        let one = process.open(&path("a"), Mode::Write).unwrap();
        let other = process.open(&path("a"), Mode::Write).unwrap();
        one.write_all_at(&[2; 4096], 0).unwrap();
        disk.set_faults(Faults { sync_errors: 1, ..Faults::default() });
        assert!(one.sync().is_err());
        disk.set_faults(Faults::default());
        let cached = read(&*process, "a").unwrap()[0];
        assert!(other.sync().is_err() && one.sync().is_ok() && other.sync().is_ok());
        assert!(process.open(&path("a"), Mode::Write).unwrap().sync().is_ok());
        let held = read(&*power_cycle(&disk), "a").unwrap()[0];
        lied += u32::from(cached == 2 && held == 1);
    }
    assert!(lied > 10, "{lied}");
}

#[test]
fn a_kill_frees_locks_and_keeps_what_was_written() {
    let disk = disk(1);
    let process = disk.process();
    let file = process.open(&path("a"), Mode::Write).unwrap();
    file.write_all_at(&[2; 10], 0).unwrap();
    let lock = process.lock(&path("LOCK")).unwrap();
    assert!(matches!(lock, Lock::Taken(_)));
    assert!(matches!(process.lock(&path("LOCK")).unwrap(), Lock::Held(None)));
    disk.kill_in(1);
    assert!(process.list(Path::new(DIR)).is_err() && file.len().is_err());
    let process = disk.process();
    let again = process.lock(&path("LOCK")).unwrap();
    assert!(matches!(again, Lock::Taken(_)));
    drop(lock);
    assert!(matches!(process.lock(&path("LOCK")).unwrap(), Lock::Held(_)), "the dead free nothing");
    assert_eq!(read(&*process, "a").unwrap()[..11], [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = disk(1);
    let process = disk.process();
    disk.set_free(Some(3 * 4096 + 17));
    let file = process.open(&path("b"), Mode::CreateNew).unwrap();
    assert_eq!(file.write_vectored_at(&[IoSlice::new(&[5; 20_000])], 0).unwrap(), 12_288);
    let full = file.write_all_at(&[5; 10], 12_288).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(12_289).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(&[6; 12_288], 0).unwrap();
    process.remove(&path("a")).unwrap();
    file.allocate(5 * 4096).unwrap();
    assert_eq!(disk.counts().full, 3);
}

#[test]
fn bits_rot_where_nothing_hides_them() {
    let disk = disk(1);
    let at = disk.rot(&path("a"), 100..200).unwrap();
    let bytes = read(&*disk.process(), "a").unwrap();
    for (place, byte) in bytes.iter().enumerate() {
        assert_eq!((byte ^ 1).count_ones(), u32::from(place as u64 == at));
    }
    let process = disk.process();
    process.open(&path("a"), Mode::Write).unwrap().write_all_at(&[7], 5000).unwrap();
    assert_eq!(disk.rot(&path("a"), 4096..8192), None);
    assert_eq!(disk.rot(&path("a"), 8192..9000), None);
    assert_eq!(disk.rot(&path("z"), 0..1), None);
    assert_eq!(disk.counts().bits_flipped, 1);
}

#[test]
fn past_the_cache_only_whole_blocks_pass() {
    let disk = disk(1);
    let file = disk.process().open_direct(&path("a"), Mode::Write).unwrap();
    let room = vec![0; 3 * 4096];
    let start = room.as_ptr().align_offset(4096);
    file.write_all_at(&room[start..start + 4096], 4096).unwrap();
    for (from, length, offset) in [(start + 1, 4096, 0), (start, 512, 0), (start, 4096, 512)] {
        let refused = file.write_all_at(&room[from..from + length], offset).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_copy_goes_its_own_way() {
    let disk = disk(1);
    let copy = disk.copy(2);
    copy.process().open(&path("a"), Mode::Write).unwrap().set_len(1).unwrap();
    assert_eq!(disk.files(), [(path("a"), 8192)]);
    assert_eq!(copy.files(), [(path("a"), 1)]);
    assert_ne!(disk.trace(), copy.trace());
}
