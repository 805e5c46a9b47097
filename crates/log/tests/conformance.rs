//! The file log passes the checks that every home must pass, with large and with small segments.

use std::path::PathBuf;

use pumasi_log::conformance::{self, Home};
use pumasi_log::{FileLog, FileLogOptions, Log, LogError};
use pumasi_types::CellId;

struct Files {
    _keep: tempfile::TempDir,
    dir: PathBuf,
    segment_bytes: u64,
}

impl Home for Files {
    fn open(&mut self) -> Result<Box<dyn Log>, LogError> {
        let options = FileLogOptions { segment_bytes: self.segment_bytes, ..FileLogOptions::new(CellId(3)) };
        FileLog::open(&self.dir, options).map(|opened| {
            assert!(opened.notes.is_empty(), "{:?}", opened.notes);
            Box::new(opened.log) as Box<dyn Log>
        })
    }
}

fn files(segment_bytes: u64) -> Files {
    let keep = tempfile::tempdir().unwrap();
    Files { dir: keep.path().join("log"), _keep: keep, segment_bytes }
}

#[test]
fn the_file_log_conforms() {
    conformance::suite(|| files(64 << 20));
}

#[test]
fn the_file_log_conforms_with_tiny_segments() {
    conformance::suite(|| files(10_000));
}
