//! The files of a log with some bytes changed: it is refused, or holds what was written, and nothing else.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pumasi_log::{FileLog, FileLogOptions, Log, Seq, show, verify};
use pumasi_types::{CellId, Time};

/// What the log holds: several segments, and entries that span blocks.
const PAYLOADS: [usize; 6] = [10, 3900, 0, 9000, 9500, 700];

fn payload(n: usize) -> Vec<u8> {
    (0..PAYLOADS[n]).map(|i| (i * 31 + n) as u8).collect()
}

fn options() -> FileLogOptions {
    FileLogOptions { segment_bytes: 16 << 10, background: false, ..FileLogOptions::new(CellId(7)) }
}

/// Names and bytes of the files of a sound log that was closed.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = folder("whole");
        let mut log = FileLog::open(&dir, options()).expect("a new log").log;
        for n in 0..PAYLOADS.len() {
            let seq = log.submit(Time(n as u64 + 1), &payload(n)).expect("there is room");
            log.wait(seq).expect("it can be written");
        }
        drop(log);
        let names = fs::read_dir(&dir).expect("a folder").map(|file| file.expect("a file").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("a plain name")).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).expect("a file"))).collect()
    })
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pumasi-fuzz-{}", std::process::id())).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder for files");
    dir
}

/// Changes some bytes, or a file's length. Whether anything differs.
fn spoil(files: &mut [(String, Vec<u8>)], edits: &[u8]) {
    for edit in edits.chunks_exact(5) {
        let count = files.len();
        let bytes = &mut files[edit[0] as usize % count].1;
        let at = usize::from(u16::from_le_bytes([edit[2], edit[3]]));
        match edit[1] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.resize(bytes.len() + at, edit[4]),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= edit[4]),
        }
    }
}

fn check_entries(dir: &Path) {
    let Ok(entries) = show(dir, Seq(1)) else { return };
    for (n, entry) in entries.enumerate() {
        // A gap is an error, and what follows an error is nothing.
        let Ok(entry) = entry else { return };
        assert_eq!(entry.seq, Seq(n as u64 + 1));
        assert!(entry.payload[..] == payload(n), "entry {} is not what was written", n + 1);
    }
}

fuzz_target!(|edits: &[u8]| {
    let mut changed = files().to_vec();
    spoil(&mut changed, edits);
    let dir = folder("changed");
    for (name, bytes) in &changed {
        fs::write(dir.join(name), bytes).expect("the folder can be written");
    }
    let sound = verify(&dir).is_ok_and(|report| report.is_sound());
    check_entries(&dir);
    match FileLog::open(&dir, options()) {
        Err(error) => assert!(!sound, "verify sees nothing, but: {error}"),
        // Older segments are checked when they are read.
        Ok(opened) => {
            assert_eq!(opened.log.head().seq, Seq(PAYLOADS.len() as u64), "an entry was lost: {:?}", opened.notes);
            check_entries(&dir);
        }
    }
});
