//! A line of a task list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_api::output::check_path;
use pumasi_api::wire::TaskLine;

fuzz_target!(|data: &[u8]| {
    if let Ok(line) = serde_json::from_slice::<TaskLine>(data) {
        let again = serde_json::to_vec(&line).expect("a line is plain values");
        assert_eq!(serde_json::from_slice::<TaskLine>(&again).expect("what was written can be read"), line);
        if check_path(&line.name).is_ok() {
            let path = std::path::Path::new(&line.name);
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            assert!(path.components().all(plain), "a checked path leads nowhere else");
        }
    }
});
