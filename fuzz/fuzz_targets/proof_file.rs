//! Proof files, up to the check of the leaf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_proof::{ProofFile, TreeHash};

fuzz_target!(|text: &str| {
    let Ok(file) = ProofFile::parse(text) else { return };
    assert_eq!(file.to_string(), text);
    if let Ok(checkpoint) = file.claimed() {
        let _ = file.verify_leaf(TreeHash::of_leaf(file.extra.as_deref().unwrap_or_default()), &checkpoint);
    }
});
