//! A file that grows is what was appended to it: for readers meanwhile, after a sync, and after a restart.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use pumasi_log::{Growing, RealDisk};

#[derive(Clone, Debug)]
enum Step {
    /// So many bytes, in records of this length.
    Append {
        bytes: usize,
        record: usize,
    },
    /// Goes on at another place: so many parts in a thousand of what there is.
    Elsewhere {
        at: usize,
        bytes: usize,
    },
    Read {
        from: usize,
        bytes: usize,
    },
    Sync,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop_oneof![4 => 0..5_000_usize, 2 => 0..700_000_usize, 1 => Just(262_144_usize)];
    prop_oneof![
        4 => (bytes(), 1..300_usize).prop_map(|(bytes, record)| Step::Append { bytes, record }),
        1 => (0..=1_000_usize, 1..5_000_usize).prop_map(|(at, bytes)| Step::Elsewhere { at, bytes }),
        4 => (0..1_000_usize, 1..400_000_usize).prop_map(|(from, bytes)| Step::Read { from, bytes }),
        1 => Just(Step::Sync),
        1 => Just(Step::Restart),
    ]
}

fn open(path: &Path, behind: bool) -> Growing {
    Growing::open(&RealDisk, path, behind).unwrap()
}

fn read(file: &Growing, from: usize, bytes: usize) -> Vec<u8> {
    let mut found = vec![0xee; bytes];
    file.read_exact_at(&mut found, from as u64).unwrap();
    found
}

fn try_steps(steps: &[Step], behind: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("growing");
    let mut file = open(&path, behind);
    let (mut model, mut end, mut byte) = (Vec::new(), 0, 0_u8);
    let mut some = |bytes: usize| -> Vec<u8> {
        let next = || {
            byte = byte.wrapping_mul(5).wrapping_add(17);
            byte
        };
        std::iter::repeat_with(next).take(bytes).collect()
    };
    for step in steps {
        match *step {
            Step::Append { bytes, record } => {
                let new = some(bytes);
                file.append(end as u64, new.chunks(record)).unwrap();
                model.resize(model.len().max(end + bytes), 0);
                model[end..end + bytes].copy_from_slice(&new);
                end += bytes;
            }
            Step::Elsewhere { at, bytes } => {
                let new = some(bytes);
                let at = model.len() * at / 1_000;
                file.append(at as u64, [&new].into_iter()).unwrap();
                model.resize(model.len().max(at + bytes), 0);
                model[at..at + bytes].copy_from_slice(&new);
                end = at + bytes;
            }
            Step::Read { from, bytes } => {
                let from = model.len() * from / 1_000;
                let bytes = bytes.min(model.len() - from);
                assert!(read(&file, from, bytes) == model[from..from + bytes], "{step:?}");
            }
            Step::Sync => file.sync().unwrap(),
            Step::Restart => {
                drop(file);
                let found = std::fs::read(&path).unwrap();
                assert!(found.len() >= model.len() && found[..model.len()] == model, "after a restart");
                assert!(found[model.len()..].iter().all(|byte| *byte == 0), "behind the end");
                file = open(&path, behind);
            }
        }
    }
    assert!(read(&file, 0, model.len()) == model, "at the end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn it_is_what_was_appended(steps in proptest::collection::vec(step(), 1..40), behind in any::<bool>()) {
        try_steps(&steps, behind);
    }
}

#[test]
fn readers_never_see_less_than_was_appended() {
    const RECORD: usize = 128;
    const RECORDS: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let file = open(&dir.path().join("growing"), true);
    let appended = AtomicU64::new(0);
    let record = |number: u64| {
        let mut record = [number as u8; RECORD];
        record[..8].copy_from_slice(&number.to_le_bytes());
        record
    };
    std::thread::scope(|scope| {
        for reader in 0..3_u64 {
            let (file, appended) = (&file, &appended);
            scope.spawn(move || {
                let mut known = 0;
                while known < RECORDS {
                    known = appended.load(Ordering::Acquire);
                    // The newest, and one long before.
                    for number in [known.saturating_sub(1), known / (reader + 2)] {
                        if number < known {
                            assert!(
                                read(file, number as usize * RECORD, RECORD) == record(number),
                                "{number}"
                            );
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            while appended.load(Ordering::Acquire) < RECORDS {
                file.sync().unwrap();
            }
        });
        for first in (0..RECORDS).step_by(500) {
            let records = first..first + 500;
            file.append(first * RECORD as u64, records.map(record)).unwrap();
            appended.store(first + 500, Ordering::Release);
        }
    });
}
