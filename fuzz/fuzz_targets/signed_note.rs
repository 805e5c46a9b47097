//! Signed notes, what they carry, and the keys and policies that judge them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_proof::{AddCheckpoint, Checkpoint, Note, Policy, Rotations, VerifierKey};

fuzz_target!(|data: &[u8]| {
    let _ = Policy::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(request) = AddCheckpoint::parse(text) {
        assert_eq!(request.to_string(), text);
    }
    if let Ok(rotations) = Rotations::parse(text) {
        assert_eq!(Rotations::parse(&rotations.to_string()), Ok(rotations));
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
