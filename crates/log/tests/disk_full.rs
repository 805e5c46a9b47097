//! A really full disk: a small file system of its own, mounted in a child process.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use pumasi_log::{FileLog, Head, Log, LogError, Seq, SnapshotStore, verify};
use pumasi_types::Time;
use rustix::fs::FallocateFlags;

/// Runs the ignored test `name` of this file in a mount namespace with 4 MiB of tmpfs; says so and
/// returns when the system does not permit that.
fn on_a_small_disk(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let namespace = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--map-root-user", "sh", "-c", command]);
        unshare.env("PUMASI_LOG_TEST_DIR", dir.path()).env("TEST", std::env::current_exe().unwrap());
        unshare
    };
    let mount = "mount -t tmpfs -o size=4m none \"$PUMASI_LOG_TEST_DIR\"";
    if !namespace(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED {name}: this system does not permit to mount a small file system (unshare, mount)"
        );
        return;
    }
    let command = format!("{mount} && exec \"$TEST\" --exact {name} --ignored --nocapture");
    let output = namespace(&command).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn small_disk() -> PathBuf {
    PathBuf::from(std::env::var("PUMASI_LOG_TEST_DIR").unwrap())
}

/// Takes all room that is left.
fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    on_a_small_disk("full_disk_child");
}

#[test]
#[ignore = "a_full_disk_refuses_and_loses_nothing runs it on a small file system of its own"]
fn full_disk_child() {
    let dir = small_disk().join("log");
    let mut log = FileLog::open(&dir, options(1 << 20)).unwrap().log;
    let error = loop {
        let seq = log.head().seq.next().0;
        match log.submit(Time(seq), &payload(seq, 50_000)) {
            Ok(seq) => log.wait(seq).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::DiskFull { bytes: 1_048_576, .. }), "{error}");
    assert!(error.to_string().contains("nothing acknowledged is lost"), "{error}");
    let full = log.head();
    assert!(full.seq.0 > 40 && log.durable() == full.seq, "{full:?}");
    assert!(matches!(log.submit(Time(1000), &[1; 50_000]), Err(LogError::DiskFull { .. })), "it stays full");
    assert_eq!(log.head(), full);
    check(&log, full);

    let ballast = small_disk().join("ballast");
    fill_up(&ballast);
    let store = SnapshotStore::open(&small_disk()).unwrap();
    assert!(store.write(full, 1, |out| out.write_all(&[1; 100_000])).is_err());
    assert!(store.newest().unwrap().snapshot.is_none());
    assert!(with_extension(&small_disk(), "tmp").is_empty());
    // A restart on a full disk needs a block for the mark: it says so, and works with room again.
    drop(log);
    fill_up(&small_disk().join("ballast-2"));
    let refused = FileLog::open(&dir, options(1 << 20)).map(|_| ());
    assert!(matches!(refused, Err(LogError::DiskFull { .. })), "{refused:?}");
    fs::remove_file(&ballast).unwrap();
    fs::remove_file(small_disk().join("ballast-2")).unwrap();
    let mut log = FileLog::open(&dir, options(1 << 20)).unwrap().log;
    check(&log, full);

    // Trimming makes room, and the log goes on where it was.
    log.trim(Seq(full.seq.0 - 5)).unwrap();
    let seq = log.submit(Time(1000), &payload(full.seq.0 + 1, 50_000)).unwrap();
    log.wait(seq).unwrap();
    assert_eq!(seq, full.seq.next());
    assert!(verify(&dir).unwrap().is_sound());
}

fn check(log: &FileLog, head: Head) {
    let all = entries(log, Seq(1)).unwrap();
    assert_eq!(all.last().unwrap().head(), head);
    for entry in all {
        assert_eq!(entry.payload, payload(entry.seq.0, 50_000));
    }
}

#[test]
fn a_failed_write_stops_the_log_for_good() {
    on_a_small_disk("failed_write_child");
}

/// A write into preallocated room can only fail when the room is taken away, so that is done here.
#[test]
#[ignore = "a_failed_write_stops_the_log_for_good runs it on a small file system of its own"]
fn failed_write_child() {
    let dir = small_disk().join("log");
    let mut log = FileLog::open(&dir, options(2 << 20)).unwrap().log;
    for seq in 1..=5 {
        log.submit(Time(seq), &payload(seq, 50_000)).unwrap();
        log.wait(Seq(seq)).unwrap();
    }
    // The zeroing must be over, or it would take the room back.
    let segment = segments(&dir).remove(0);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, hole, 1 << 20, 1 << 20).unwrap();
    fill_up(&small_disk().join("ballast"));

    let errors: Vec<_> = std::iter::from_fn(|| {
        let seq = log.head().seq.next().0;
        let result = log.submit(Time(seq), &payload(seq, 50_000)).and_then(|seq| log.wait(seq));
        Some(result.err())
    })
    .skip_while(Option::is_none)
    .take(3)
    .flatten()
    .collect();
    let durable = log.durable();
    assert_eq!(errors.len(), 3, "once stopped, it stays stopped");
    for error in &errors {
        assert!(matches!(error, LogError::Stopped { durable: at, .. } if *at == durable), "{error}");
        assert_eq!(error.to_string(), errors[0].to_string());
    }
    assert!(log.trim(Seq(3)).is_err());
    assert!(log.submit(Time(1 << 20), b"with room again").is_err());
    fs::remove_file(small_disk().join("ballast")).unwrap();
    assert!(log.submit(Time(1 << 20), b"with room again").is_err(), "never tried again");
    assert!(log.wait(durable).is_ok(), "what was durable still is");
    assert_eq!(entries(&log, Seq(1)).unwrap().len() as u64, durable.0);
    drop(log);
    let log = FileLog::open(&dir, options(2 << 20)).unwrap().log;
    assert!(log.head().seq >= durable);
    assert!(entries(&log, Seq(1)).unwrap().len() as u64 >= durable.0);
}
