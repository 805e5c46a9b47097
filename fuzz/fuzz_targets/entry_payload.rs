//! The requests of a log entry, and the state of a snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_core::{STATE_VERSION, decode_requests, decode_state, encode_request};

fuzz_target!(|data: &[u8]| {
    if let Ok(requests) = decode_requests(data) {
        let mut again = Vec::new();
        requests.iter().for_each(|request| encode_request(&mut again, request));
        assert_eq!(decode_requests(&again).expect("what was written can be read"), requests);
    }
    let _ = decode_state(STATE_VERSION, data);
});
