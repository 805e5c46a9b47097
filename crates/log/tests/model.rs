//! Random appends, crashes, reopenings, reads and trims agree with a list in memory.

mod common;

use common::*;
use proptest::prelude::*;
use pumasi_log::{Entry, FileLog, Log, LogError, Seq, verify};
use pumasi_types::Time;

#[derive(Clone, Debug)]
enum Act {
    Submit { bytes: usize, later: u64 },
    Wait(prop::sample::Index),
    Read(prop::sample::Index),
    Trim(prop::sample::Index),
    Reopen,
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop_oneof![0..300usize, 3800..4200usize, 0..20_000usize];
    prop_oneof![
        8 => (bytes, 0..3u64).prop_map(|(bytes, later)| Act::Submit { bytes, later }),
        3 => any::<prop::sample::Index>().prop_map(Act::Wait),
        2 => any::<prop::sample::Index>().prop_map(Act::Read),
        1 => any::<prop::sample::Index>().prop_map(Act::Trim),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
    ]
}

struct Model {
    dir: tempfile::TempDir,
    log: Option<FileLog>,
    segment_bytes: u64,
    payloads: Vec<Vec<u8>>,
    waited: usize,
}

impl Model {
    fn log(&mut self) -> &mut FileLog {
        self.log.as_mut().unwrap()
    }

    fn place(&self, index: prop::sample::Index) -> Seq {
        Seq(index.index(self.payloads.len() + 1) as u64)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Submit { bytes, later } => {
                let seq = self.payloads.len() as u64 + 1;
                let (time, payload) = (Time(self.log().head().time.0 + later), payload(seq, bytes));
                assert_eq!(self.log().submit(time, &payload).unwrap(), Seq(seq));
                self.payloads.push(payload);
            }
            Act::Wait(index) => {
                let seq = self.place(index);
                self.log().wait(seq).unwrap();
                assert!(self.log().durable() >= seq);
                self.waited = self.waited.max(seq.0 as usize);
            }
            Act::Read(index) => {
                let from = self.place(index);
                self.check_read(from);
            }
            Act::Trim(index) => {
                let before = self.place(index);
                // What an earlier trim forgot stays forgotten.
                let bound = before.max(self.log().first());
                self.log().trim(before).unwrap();
                assert!(self.log().first() <= bound);
            }
            Act::Reopen => {
                let (head, first) = (self.log().head(), self.log().first());
                self.log = None;
                let spares = with_extension(self.dir.path(), "tmp");
                assert!(spares.is_empty(), "{spares:?}");
                let log = FileLog::open(self.dir.path(), options(self.segment_bytes)).unwrap().log;
                assert_eq!((log.head(), log.first()), (head, first));
                self.log = Some(log);
            }
            Act::Crash => {
                // Copying races with the writer, so let it come to rest; what it wrote may stay.
                let durable = self.log().head().seq;
                self.log().wait(durable).unwrap();
                let image = crash_image(self.dir.path());
                self.dir = image;
                let epoch = self.log().epoch();
                self.log = None;
                let log = FileLog::open(self.dir.path(), options(self.segment_bytes)).unwrap().log;
                assert_eq!(log.head().seq, durable);
                assert!(log.epoch() > epoch);
                self.log = Some(log);
            }
        }
    }

    fn check_read(&mut self, from: Seq) {
        let first = self.log().first();
        let all: Vec<Entry> = match self.log().read(from) {
            Err(LogError::Trimmed { .. }) => {
                assert!(from < first);
                return;
            }
            read => read.unwrap().collect::<Result<_, _>>().unwrap(),
        };
        let from = from.max(Seq(1));
        assert!(from >= first);
        assert!(all.len() + from.0 as usize > self.waited, "what was waited for can be read");
        for (i, entry) in all.iter().enumerate() {
            let seq = from.0 + i as u64;
            assert_eq!(entry.seq, Seq(seq));
            assert_eq!(entry.payload, self.payloads[seq as usize - 1]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list(acts in prop::collection::vec(act(), 1..60), blocks in 6..40u64) {
        let dir = tempfile::tempdir().unwrap();
        let segment_bytes = blocks * 4096;
        let log = FileLog::open(dir.path(), options(segment_bytes)).unwrap().log;
        let mut model = Model { dir, log: Some(log), segment_bytes, payloads: Vec::new(), waited: 0 };
        for act in acts {
            model.act(act);
        }
        let last = Seq(model.payloads.len() as u64);
        model.log().wait(last).unwrap();
        model.waited = last.0 as usize;
        let first = model.log().first();
        model.check_read(first);
        let report = verify(model.dir.path()).unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.problems);
        prop_assert_eq!(report.entries, last.0 + 1 - first.0);
    }
}
