//! What several tests need: small logs, crash images and a look into segment files.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pumasi_log::format::{BLOCK, ENTRY_HEADER, EntryHeader, SegmentHeader};
use pumasi_log::{Entry, FileLog, FileLogOptions, Log, LogError, Note, Opened, Seq};
use pumasi_types::{CellId, Time};

pub(crate) const CELL: CellId = CellId(9);

pub(crate) fn options(segment_bytes: u64) -> FileLogOptions {
    FileLogOptions { segment_bytes, ..FileLogOptions::new(CELL) }
}

pub(crate) fn open(dir: &Path) -> Result<Opened, LogError> {
    FileLog::open(dir, options(1 << 20))
}

/// A payload without zero bytes that differs for each entry.
pub(crate) fn payload(seq: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| ((seq as usize * 31 + i) % 255 + 1) as u8).collect()
}

/// Appends entries, one per size, each in its own write.
pub(crate) fn fill(log: &mut FileLog, sizes: &[usize]) {
    for &bytes in sizes {
        let seq = log.head().seq.next();
        log.submit(Time(seq.0), &payload(seq.0, bytes)).unwrap();
        log.wait(seq).unwrap();
    }
}

/// The files as a crash would leave them: copied while the log is open.
pub(crate) fn crash_image(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(dir, image.path());
    image
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        // The spare can vanish at any moment, and a crash keeps it or not.
        if path.extension().is_none_or(|extension| extension != "tmp") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A new log with entries of these sizes, as a crash would leave it.
pub(crate) fn crashed(sizes: &[usize], segment_bytes: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut log = FileLog::open(dir.path(), options(segment_bytes)).unwrap().log;
    fill(&mut log, sizes);
    crash_image(dir.path())
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    with_extension(dir, "log")
}

pub(crate) fn with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

pub(crate) fn segment_header(path: &Path) -> SegmentHeader {
    let mut block = [0; BLOCK as usize];
    File::open(path).unwrap().read_exact_at(&mut block, 0).unwrap();
    SegmentHeader::decode(&block).unwrap()
}

/// Where each entry of a segment begins, and how much room it takes.
pub(crate) fn places(path: &Path) -> Vec<(u64, EntryHeader)> {
    let (file, header) = (File::open(path).unwrap(), segment_header(path));
    let mut found = Vec::new();
    let mut at = BLOCK;
    let mut bytes = [0; ENTRY_HEADER];
    while at < header.bytes {
        file.read_exact_at(&mut bytes, at).unwrap();
        let Ok(entry) = EntryHeader::decode(&bytes, &header.key) else {
            break;
        };
        found.push((at, entry.clone()));
        at += entry.stored_bytes();
    }
    found
}

pub(crate) fn read_at(path: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

pub(crate) fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

pub(crate) fn flip_bit(path: &Path, at: u64, bit: u8) {
    let byte = read_at(path, at, 1)[0];
    write_at(path, at, &[byte ^ (1 << bit)]);
}

pub(crate) fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

pub(crate) fn entries(log: &FileLog, from: Seq) -> Result<Vec<Entry>, LogError> {
    log.read(from)?.collect()
}

/// Opens, checks that exactly the first `kept` entries of [`fill`] are there, appends one more, and
/// opens again; returns the notes of the first opening.
pub(crate) fn check_recovers(dir: &Path, sizes: &[usize], kept: usize) -> Vec<Note> {
    let opened = open(dir).unwrap();
    let mut log = opened.log;
    assert_eq!(log.head().seq, Seq(kept as u64));
    for (i, entry) in entries(&log, Seq(1)).unwrap().iter().enumerate() {
        assert_eq!(entry.payload, payload(i as u64 + 1, sizes[i]));
    }
    fill(&mut log, &[5000]);
    drop(log);
    let again = open(dir).unwrap();
    assert_eq!(again.notes, [], "what was cut once is gone");
    assert_eq!(entries(&again.log, Seq(1)).unwrap().len(), kept + 1);
    opened.notes
}
