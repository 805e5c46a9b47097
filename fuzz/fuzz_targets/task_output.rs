//! The encoded output of a task, and where its parts lie.
#![no_main]

use std::ops::Range;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pumasi_api::output::TaskOutput;
use pumasi_api::output::parts::{Finder, Parts};

fn find(data: &[u8]) -> Option<Parts> {
    let mut finder = Finder::new(data.len() as u64);
    while let Some(Range { start, end }) = finder.wants() {
        finder.give(&data[start as usize..end as usize]).ok()?;
    }
    finder.finish().ok()
}

fuzz_target!(|data: &[u8]| {
    let decoded = TaskOutput::decode(Bytes::copy_from_slice(data)).ok();
    if let Some(output) = &decoded {
        assert_eq!(output.encode(), data, "there is one encoding of each output");
    }
    let cut = |at: &Range<u64>| &data[at.start as usize..at.end as usize];
    match (decoded, find(data)) {
        (Some(output), Some(parts)) => {
            assert!(output.stdout == cut(&parts.stdout) && output.stderr == cut(&parts.stderr));
            assert_eq!(output.files.len(), parts.files.len());
            for (file, (path, at)) in output.files.iter().zip(&parts.files) {
                assert!(file.path == *path && file.bytes == cut(at));
            }
        }
        (None, None) => {}
        (decoded, found) => panic!("decoded {decoded:?}, found {found:?}"),
    }
});
