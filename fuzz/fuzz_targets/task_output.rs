//! The encoded output of a task.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pumasi_api::output::TaskOutput;

fuzz_target!(|data: &[u8]| {
    if let Ok(output) = TaskOutput::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(output.encode(), data, "there is one encoding of each output");
    }
});
