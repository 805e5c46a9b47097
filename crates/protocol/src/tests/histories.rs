//! Random histories of a worker and a small model of a hub: no run is lost, none counts twice.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CORES: u32 = 3;
const MEMORY: ByteSize = ByteSize::mib(256);

/// What happens next; numbers pick one of what is there.
#[derive(Clone, Debug)]
enum Event {
    Assign {
        job: u64,
        count: u8,
    },
    Stop {
        pick: usize,
        count: u8,
    },
    StopJob {
        job: u64,
    },
    Prepared {
        fails: bool,
    },
    Fetched {
        pick: usize,
        fails: bool,
    },
    Execute {
        pick: usize,
        count: u8,
        output: usize,
    },
    Uploaded {
        pick: usize,
        fails: bool,
    },
    /// The hub reads so many messages.
    HubReads(u8),
    /// The hub acknowledges all reports that it read.
    HubAcks,
    LinkBreaks,
    Accept(bool),
    Wait {
        us: u64,
    },
}

fn events() -> impl Strategy<Value = Event> {
    let output = prop_oneof![4 => Just(0_usize), 1 => Just(100), 1 => Just(INLINE_BYTES_MAX + 1)];
    prop_oneof![
        6 => (1..5_u64, 1..60_u8).prop_map(|(job, count)| Event::Assign { job, count }),
        1 => (any::<usize>(), 1..4_u8).prop_map(|(pick, count)| Event::Stop { pick, count }),
        1 => (1..5_u64).prop_map(|job| Event::StopJob { job }),
        4 => proptest::bool::weighted(0.1).prop_map(|fails| Event::Prepared { fails }),
        8 => (any::<usize>(), proptest::bool::weighted(0.1))
            .prop_map(|(pick, fails)| Event::Fetched { pick, fails }),
        12 => (any::<usize>(), 1..60_u8, output)
            .prop_map(|(pick, count, output)| Event::Execute { pick, count, output }),
        4 => (any::<usize>(), proptest::bool::weighted(0.1))
            .prop_map(|(pick, fails)| Event::Uploaded { pick, fails }),
        6 => (1..5_u8).prop_map(Event::HubReads),
        4 => Just(Event::HubAcks),
        1 => Just(Event::LinkBreaks),
        1 => any::<bool>().prop_map(Event::Accept),
        4 => (0..20_000_u64).prop_map(|us| Event::Wait { us }),
    ]
}

/// A worker's machine, what it asked its driver for, and a hub.
struct World {
    now: Time,
    machine: Protocol<u64, u64>,
    prepares: Vec<Arc<JobSpec>>,
    fetches: Vec<RunId>,
    batches: BTreeMap<BatchId, Vec<Ready<u64>>>,
    uploads: Vec<RunId>,
    /// Messages that the hub has not read yet.
    wire: Vec<FromWorker>,
    /// Runs that the hub takes for the worker's.
    owned: BTreeSet<RunId>,
    /// Every run that was ever assigned and how often its report counted.
    counted: BTreeMap<RunId, u32>,
    /// Runs that were stopped, or came back.
    excused: BTreeSet<RunId>,
    /// Those that were stopped.
    stopped: BTreeSet<RunId>,
    announced: BTreeSet<u64>,
    last_run: u64,
    read_report: u64,
    recalls: Vec<BatchId>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            now: Time(0),
            machine: Protocol::new(settings(CORES, MEMORY), Time(0)),
            prepares: Vec::new(),
            fetches: Vec::new(),
            batches: BTreeMap::new(),
            uploads: Vec::new(),
            wire: Vec::new(),
            owned: BTreeSet::new(),
            counted: BTreeMap::new(),
            excused: BTreeSet::new(),
            stopped: BTreeSet::new(),
            announced: BTreeSet::new(),
            last_run: 0,
            read_report: 0,
            recalls: Vec::new(),
        };
        world.connect();
        world
    }

    fn step(&mut self, input: Input<u64, u64>) {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        self.machine.sanity_check();
        for output in out {
            match output {
                Output::Send(message) => {
                    if let Some(from_worker::Message::Report(report)) = &message.message {
                        let stopped = report.runs.iter().find(|run| self.stopped.contains(&RunId(**run)));
                        assert_eq!(stopped, None, "a stopped run is reported");
                    }
                    self.wire.push(message);
                }
                Output::Prepare(spec) => self.prepares.push(spec),
                Output::Fetch { run, .. } => self.fetches.push(run),
                Output::Start(batch) => {
                    assert!(!batch.runs.is_empty());
                    self.batches.insert(batch.id, batch.runs);
                }
                Output::Recall { batch, .. } => self.recalls.push(batch),
                Output::Upload { run, .. } => self.uploads.push(run),
                Output::CloseLink(error) => panic!("an honest hub was left: {error}"),
                Output::Attached(_) | Output::Halt(_) => {}
                Output::Left => panic!("it left unasked"),
            }
        }
        assert!(self.batches.len() <= CORES as usize);
        while let Some(batch) = self.recalls.pop() {
            let Some(runs) = self.batches.get_mut(&batch) else { continue };
            let back = runs.split_off(1.min(runs.len()));
            self.step(Input::Recalled { batch, runs: back });
        }
    }

    fn hear(&mut self, message: from_hub::Message) {
        self.step(Input::Hub(from_hub(message)));
    }

    fn connect(&mut self) {
        self.wire.clear();
        self.announced.clear();
        self.read_report = 0;
        self.step(Input::LinkUp);
        let hello = self.wire.remove(0);
        let Some(from_worker::Message::Hello(hello)) = hello.message else { panic!("no hello first") };
        let held: BTreeSet<RunId> = hello.held_runs.into_iter().map(RunId).collect();
        let unwanted_runs = held.difference(&self.owned).map(|run| run.0).collect();
        self.excused.extend(self.owned.difference(&held));
        self.owned.retain(|run| held.contains(run));
        self.hear(from_hub::Message::Welcome(link::Welcome {
            worker_id: 1,
            lease_ms: 30_000,
            unwanted_runs,
        }));
    }

    fn assign(&mut self, id: u64, count: u8) {
        if self.announced.insert(id) {
            self.step(Input::Hub(job(JobId(id), ByteSize::mib(64 * id), id.is_multiple_of(2))));
        }
        let runs: Vec<u64> = (self.last_run + 1..=self.last_run + u64::from(count)).collect();
        self.last_run += u64::from(count);
        self.owned.extend(runs.iter().copied().map(RunId));
        self.counted.extend(runs.iter().map(|run| (RunId(*run), 0)));
        let tasks = runs.iter().map(|run| *run as u32).collect();
        self.hear(from_hub::Message::Assign(link::Assign { job_id: id, runs, tasks }));
    }

    fn execute(&mut self, pick: usize, count: u8, output: usize) {
        let Some(batch) = picked(&self.batches.keys().copied().collect::<Vec<_>>(), pick) else { return };
        let runs = self.batches.get_mut(&batch).expect("it was picked");
        let wall = Duration(u64::from(count) * 1_000);
        let finished: Vec<Finished> = runs
            .drain(..usize::from(count).min(runs.len()))
            .map(|ready| done(ready.run, wall, output))
            .collect();
        let over = runs.is_empty();
        if over {
            self.batches.remove(&batch);
        }
        self.step(Input::Finished { batch, runs: finished, over });
    }

    fn hub_reads(&mut self, count: usize) {
        let count = count.min(self.wire.len());
        for message in self.wire.drain(..count) {
            match message.message.expect("never empty") {
                from_worker::Message::Hello(_) => panic!("a second hello"),
                from_worker::Message::Report(report) => {
                    assert_eq!(report.report_id, self.read_report + 1, "reports are numbered in order");
                    self.read_report = report.report_id;
                    for run in report.runs.into_iter().map(RunId) {
                        if self.owned.remove(&run) {
                            *self.counted.get_mut(&run).expect("it was assigned") += 1;
                        } else {
                            assert!(self.excused.contains(&run), "run {run} is reported twice on one link");
                        }
                    }
                }
                from_worker::Message::Status(status) => {
                    for run in status.returned_runs.into_iter().map(RunId) {
                        if self.owned.remove(&run) {
                            self.excused.insert(run);
                        } else {
                            assert!(self.excused.contains(&run), "run {run} comes back after its report");
                        }
                    }
                }
            }
        }
    }

    fn ack(&mut self) {
        if self.read_report > 0 {
            let ack = link::Ack { report_id: self.read_report, refused_runs: Vec::new() };
            self.hear(from_hub::Message::Ack(ack));
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Assign { job, count } => self.assign(job, count),
            Event::Stop { pick, count } => {
                let owned: Vec<RunId> = self.owned.iter().copied().collect();
                let Some(first) = picked(&owned, pick) else { return };
                let runs: Vec<RunId> = self.owned.range(first..).take(usize::from(count)).copied().collect();
                self.owned.retain(|run| !runs.contains(run));
                self.excused.extend(&runs);
                self.stopped.extend(&runs);
                let runs = runs.into_iter().map(|run| run.0).collect();
                self.hear(from_hub::Message::Stop(link::Stop { runs, jobs: Vec::new() }));
            }
            Event::StopJob { job } => {
                // The model does not know which run is whose job's; naming an idle job must harm nobody.
                let idle = self.owned.is_empty() && self.announced.remove(&job);
                if idle {
                    self.hear(from_hub::Message::Stop(link::Stop { runs: Vec::new(), jobs: vec![job] }));
                }
            }
            Event::Prepared { fails } => {
                if let Some(spec) = self.prepares.pop() {
                    let result = if fails { Err(Fault::here("no disk")) } else { Ok(spec.id.0) };
                    self.step(Input::Prepared { spec, result });
                }
            }
            Event::Fetched { pick, fails } => {
                if let Some(run) = picked(&self.fetches, pick) {
                    self.fetches.retain(|other| *other != run);
                    let result = if fails { Err(Fault::here("no file")) } else { Ok(run.0) };
                    self.step(Input::Fetched { run, result });
                }
            }
            Event::Execute { pick, count, output } => self.execute(pick, count, output),
            Event::Uploaded { pick, fails } => {
                if let Some(run) = picked(&self.uploads, pick) {
                    self.uploads.retain(|other| *other != run);
                    let result = if fails { Err(Fault::here("refused")) } else { Ok(()) };
                    self.step(Input::Uploaded { run, result });
                }
            }
            Event::HubReads(count) => self.hub_reads(usize::from(count)),
            Event::HubAcks => self.ack(),
            Event::LinkBreaks => {
                self.step(Input::LinkDown);
                self.connect();
            }
            Event::Accept(accept) => self.step(Input::Accept(accept)),
            Event::Wait { us } => {
                self.now = self.now.after(Duration(us * 1_000));
                self.step(Input::Tick);
            }
        }
    }

    /// Lets everything come to its end.
    fn finish(&mut self) {
        self.happens(Event::Accept(true));
        for _ in 0..10_000 {
            if self.machine.held() == 0 && self.wire.is_empty() {
                break;
            }
            self.happens(Event::Prepared { fails: false });
            self.happens(Event::Fetched { pick: 0, fails: false });
            self.happens(Event::Execute { pick: 0, count: 59, output: 0 });
            self.happens(Event::Uploaded { pick: 0, fails: false });
            self.happens(Event::Wait { us: 1_000 });
            self.hub_reads(usize::MAX);
            self.ack();
        }
        assert_eq!(self.machine.held(), 0, "runs are still held");
        assert_eq!(self.machine.running(), self.batches.len());
        assert!(self.owned.is_empty(), "the hub still waits for {:?}", self.owned);
        for (run, times) in &self.counted {
            let expected = u32::from(!self.excused.contains(run));
            assert_eq!(*times, expected, "run {run} counted {times} times");
        }
    }
}

fn picked<T: Copy>(items: &[T], pick: usize) -> Option<T> {
    items.get(pick.checked_rem(items.len())?).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_counts_once_unless_excused(events in prop::collection::vec(events(), 1..200)) {
        let mut world = World::new();
        events.into_iter().for_each(|event| world.happens(event));
        world.finish();
    }
}
