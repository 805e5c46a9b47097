//! The journals of transfers, events and sales, as files of any bytes.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use pumasi_cell::{Journal, Kept};
use pumasi_core::{Event, SalesHour, Transfer};
use pumasi_types::{EventId, SalesId, TransferId};

fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    // Past the header in half of all cases, where the records are.
    let with_header = first & 4 != 0;
    match first % 4 {
        0 => read_back::<Event>(rest, with_header, EventId),
        1 => read_back::<SalesHour>(rest, with_header, SalesId),
        _ => read_back::<Transfer>(rest, with_header, TransferId),
    }
});

fn read_back<T: Kept + Clone + PartialEq + Debug>(bytes: &[u8], with_header: bool, id: fn(u64) -> T::Id) {
    let dir = std::env::temp_dir().join(format!("pumasi-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder for files");
    let path = dir.join(T::NAME);
    let mut file = Vec::new();
    let record = T::BODY + 8;
    if with_header {
        file.extend_from_slice(T::MAGIC);
        file.extend_from_slice(&T::VERSIONS[0].to_le_bytes());
        file.resize(record, 0);
    }
    file.extend_from_slice(bytes);
    std::fs::write(&path, &file).expect("the folder can be written");
    let Ok(journal) = Journal::<T>::open(&path) else { return };
    let far = u64::MAX / record as u64;
    for number in (0..=4).chain([far, far + 1, u64::MAX]) {
        if let Ok(found) = journal.read(id(number)) {
            assert_eq!(T::number_of(found.id()), number);
            journal.write(&[found.clone()]).expect("it can be written");
            assert_eq!(journal.read(id(number)).expect("it was written"), found);
        }
    }
}
