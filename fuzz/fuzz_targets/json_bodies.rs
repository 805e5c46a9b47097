//! Every JSON body that a client may send or a hub may answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_api::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let again = serde_json::to_vec(&value).expect("a body is plain values");
        assert_eq!(serde_json::from_slice::<T>(&again).expect("what was written can be read"), value);
    }
}

fuzz_target!(|data: &[u8]| {
    check::<wire::SubmitJob>(data);
    check::<wire::Payment>(data);
    check::<wire::NewHold>(data);
    check::<wire::SettleHold>(data);
    check::<wire::OpenAccount>(data);
    check::<wire::RevokeToken>(data);
    check::<wire::ErrorBody>(data);
    check::<wire::HubInfo>(data);
    check::<wire::Account>(data);
    check::<wire::OpenedAccount>(data);
    check::<wire::Statement>(data);
    check::<wire::Job>(data);
    check::<wire::Tasks>(data);
    check::<wire::Worker>(data);
    check::<wire::StoredBlob>(data);
});
