//! The journal of transfers, as a file of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_cell::Journal;
use pumasi_types::TransferId;

fuzz_target!(|data: &[u8]| {
    let dir = std::env::temp_dir().join(format!("pumasi-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder for files");
    let path = dir.join("transfers.journal");
    // Past the magic in half of all cases, where the records are.
    let whole = match data.split_first() {
        Some((first, rest)) if first % 2 == 0 => {
            let mut file = b"PUMASITJ\x03\0\0\0".to_vec();
            file.resize(128, 0);
            [&file, rest].concat()
        }
        _ => data.to_vec(),
    };
    std::fs::write(&path, &whole).expect("the folder can be written");
    if let Ok(journal) = Journal::open(&path) {
        for id in (0..=4).chain([u64::MAX, u64::MAX / 128, u64::MAX / 128 + 1]) {
            if let Ok(transfer) = journal.read(TransferId(id)) {
                assert_eq!(transfer.id, TransferId(id));
                journal.write(&[transfer.clone()]).expect("it can be written");
                assert_eq!(journal.read(TransferId(id)).expect("it was written"), transfer);
            }
        }
    }
});
