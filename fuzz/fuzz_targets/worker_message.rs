//! What a worker says on its link, and what becomes of it in the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use pumasi_api::link::FromWorker;
use pumasi_cell::link::{self, Heard};
use pumasi_core::{Request, decode_requests, encode_request};
use pumasi_types::{AccountId, WorkerId};

const OWNER: AccountId = AccountId(7);
const WORKER: WorkerId = WorkerId(9);

fn check(request: Request) {
    let mut entry = Vec::new();
    encode_request(&mut entry, &request);
    assert_eq!(decode_requests(&entry).expect("what was written can be read"), [request]);
}

fuzz_target!(|data: &[u8]| {
    let Ok(message) = FromWorker::decode(data) else { return };
    if let Ok(request) = link::hello(OWNER, message.clone()) {
        check(request);
    }
    match link::hear(OWNER, WORKER, message) {
        Ok(Heard::Ask(request)) => check(request),
        Ok(Heard::Report(mut reported)) => {
            let carried = reported.carried().map(|bytes| pumasi_types::Hash::of(bytes)).collect();
            reported.doubt(carried, |hash| hash.as_bytes()[0] % 2 == 0);
            check(reported.request(OWNER, WORKER));
        }
        Ok(Heard::Heartbeat) | Err(_) => {}
    }
});
