//! A worker of a world: the real protocol, a simulated engine, and how it cheats.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pumasi_api::link::{FromHub, FromWorker, Report, from_hub, from_worker};
use pumasi_protocol::{Batch, BatchId, Fault, Finished, Input, JobSpec, Output, Protocol, Ready, Settings};
use pumasi_types::{AccountId, ByteSize, Duration, Ending, EngineId, Fuel, Hash, Price, RunId, Speed, Time};

use crate::dice::{Dice, mix};
use crate::faults::Kind;
use crate::hub::LinkNumber;
use crate::oracle::Finding;
use crate::truth::{self, Product};

/// How an owner cheats, with all its machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Character {
    /// A wrong result once in so many runs; never for 0.
    pub(crate) lies: u64,
    /// Honest in the first so many runs of each machine.
    pub(crate) sleeps: u64,
    /// Honest until the hub trusts it.
    pub(crate) until_trusted: bool,
    /// Owners with the same number say the same wrong results; 0: it lies alone.
    pub(crate) gang: u64,
    /// A wrong fuel once in so many runs.
    pub(crate) fuel: u64,
    /// Reports of runs that are not its own, or again, once in so many messages.
    pub(crate) foreign: u64,
    /// Messages that are none, once in so many.
    pub(crate) garbage: u64,
}

impl Character {
    /// Which kind of fault its lies are.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            c if c.sleeps > 0 || c.until_trusted => Kind::Sleeper,
            c if c.gang > 0 => Kind::Collusion,
            c if c.lies > 0 => Kind::WrongResult,
            _ => Kind::WrongFuel,
        }
    }
}

/// What the machine did that the world wants to know.
pub(crate) enum Act {
    /// A message to the hub.
    Send(FromWorker),
    /// Close the link: the hub broke the protocol, as this worker sees it.
    Close,
    /// Something takes a while; the answer is for [`Machine::after`].
    Later(Duration, Pending),
    /// A wrong finding was said.
    Lied(u64, u32, Finding),
    /// A made-up finding was said, of whatever run.
    Forged(Finding),
    /// A message that is none was sent.
    Garbled,
    /// A fault of this worker was made.
    Faulted,
    /// An output is a blob at the hub now.
    Stored(Hash),
    /// It has left.
    Left,
}

/// What takes a while.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Prepared(Arc<JobSpec>),
    Fetched(RunId),
    Uploaded(RunId, Hash),
    /// A batch is done with the run it is at, unless that changed since.
    Ran(BatchId, u64),
}

/// A batch on a core: the runs not finished, the first of which it is at.
struct Running {
    job: u64,
    runs: Vec<Ready<()>>,
    at: usize,
    /// Counts up with each run, so that what was ended is not finished later.
    turn: u64,
    stopped: bool,
}

/// A machine of an owner.
pub(crate) struct Machine {
    pub(crate) owner: AccountId,
    pub(crate) character: Character,
    /// How much slower it is than usual.
    pub(crate) slowness: u64,
    settings: Settings,
    protocol: Protocol<u64, ()>,
    batches: BTreeMap<BatchId, Running>,
    pub(crate) link: Option<LinkNumber>,
    /// Counts the starts of its process.
    pub(crate) life: u64,
    pub(crate) is_on: bool,
    pub(crate) frozen_until: u64,
    /// Milliseconds until it dials again.
    pub(crate) pause: u64,
    /// How many of its runs it finished, for sleepers.
    finished: u64,
    /// Whether its owner is trusted, as everybody can see.
    pub(crate) is_trusted: bool,
    /// The newest run that it was given.
    newest: u64,
    faulty: u64,
    dice: Dice,
    /// Its clock goes by so many parts in 10,000 too fast, or too slow.
    pub(crate) drift: i64,
}

impl Machine {
    pub(crate) fn new(seed: u64, number: u64, owner: AccountId, character: Character) -> Machine {
        let mut dice = Dice::of(mix(seed, 2), number);
        let settings = Settings {
            machine_key: (u128::from(mix(seed, number)) << 64 | u128::from(number)).to_le_bytes(),
            name: format!("machine-{number}"),
            cores: dice.spread(1, 8) as u32,
            memory: ByteSize::mib(1024 * dice.between(1, 4)),
            speed: Speed(1_000_000_000),
            engine: EngineId("sim/1".to_owned()),
            ask: Price(Price::ONE_CREDIT.0 * dice.between(1, 4) / 4),
        };
        let protocol = Protocol::new(settings.clone(), Time(0));
        Machine {
            owner,
            character,
            slowness: 1,
            settings,
            protocol,
            batches: BTreeMap::new(),
            link: None,
            life: 0,
            is_on: false,
            frozen_until: 0,
            pause: 500,
            finished: 0,
            is_trusted: false,
            newest: 1,
            faulty: 0,
            dice,
            drift: 0,
        }
    }

    /// Its process starts, and knows nothing of before.
    pub(crate) fn start(&mut self, now: u64) {
        self.life += 1;
        self.is_on = true;
        self.protocol = Protocol::new(self.settings.clone(), self.clock(now));
        self.batches.clear();
        self.link = None;
        self.pause = 500;
    }

    /// How often preparing or fetching fails: once in so many.
    pub(crate) fn set_faulty(&mut self, once_in: u64) {
        self.faulty = once_in;
    }

    /// Its own clock, which never goes back.
    fn clock(&self, now: u64) -> Time {
        let off = i128::from(now) * i128::from(self.drift) / 10_000;
        Time(u64::try_from(i128::from(now) + off).unwrap_or(0))
    }

    /// When the world's clock shows it wants a tick.
    pub(crate) fn next_tick(&self, now: u64) -> Option<u64> {
        let at = self.protocol.next_tick()?;
        let wait = at.since(self.clock(now)).0;
        Some(now + (i128::from(wait) * 10_000 / i128::from(10_000 + self.drift)) as u64 + 1)
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.protocol.is_attached()
    }

    pub(crate) fn held(&self) -> usize {
        self.protocol.held()
    }

    /// Something happened to it.
    pub(crate) fn happen(&mut self, now: u64, input: Input<u64, ()>, acts: &mut Vec<Act>) {
        let mut inputs = std::collections::VecDeque::from([input]);
        let mut out = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.protocol.step(self.clock(now), input, &mut out);
            for output in out.drain(..) {
                self.carry_out(output, &mut inputs, acts);
            }
        }
    }

    /// The hub says something.
    pub(crate) fn hear(&mut self, now: u64, message: FromHub, acts: &mut Vec<Act>) {
        if let Some(from_hub::Message::Assign(assign)) = &message.message {
            self.newest = assign.runs.iter().copied().fold(self.newest, u64::max);
        }
        self.happen(now, Input::Hub(message), acts);
    }

    fn carry_out(
        &mut self,
        output: Output<u64, ()>,
        inputs: &mut std::collections::VecDeque<Input<u64, ()>>,
        acts: &mut Vec<Act>,
    ) {
        match output {
            Output::Send(message) => self.send(message, acts),
            Output::CloseLink(_) => acts.push(Act::Close),
            Output::Attached(_) => self.pause = 500,
            Output::Prepare(spec) => {
                let took = Duration::from_millis(self.dice.spread(1, 4_000));
                acts.push(Act::Later(took, Pending::Prepared(spec)));
            }
            Output::Fetch { run, .. } => {
                let took = Duration::from_millis(self.dice.spread(1, 1_000));
                acts.push(Act::Later(took, Pending::Fetched(run)));
            }
            Output::Start(batch) => self.start_batch(batch, acts),
            Output::Recall { batch, unwanted } => self.recall(batch, &unwanted, inputs, acts),
            Output::Halt(batch) => {
                if let Some(running) = self.batches.get_mut(&batch) {
                    running.stopped = true;
                    running.turn += 1;
                    acts.push(Act::Later(Duration::from_millis(1), Pending::Ran(batch, running.turn)));
                }
            }
            Output::Upload { run, hash, .. } => {
                let took = Duration::from_millis(self.dice.spread(1, 2_000));
                acts.push(Act::Later(took, Pending::Uploaded(run, hash)));
            }
            Output::Left => acts.push(Act::Left),
        }
    }

    /// What took a while is done.
    pub(crate) fn after(&mut self, now: u64, pending: Pending, acts: &mut Vec<Act>) {
        match pending {
            Pending::Prepared(spec) => {
                let result = self.faulted(acts).map_or(Ok(spec.seed), Err);
                self.happen(now, Input::Prepared { spec, result }, acts);
            }
            Pending::Fetched(run) => {
                let result = self.faulted(acts).map_or(Ok(()), Err);
                self.happen(now, Input::Fetched { run, result }, acts);
            }
            Pending::Uploaded(run, hash) => {
                let result = self.faulted(acts).map_or(Ok(()), Err);
                if result.is_ok() {
                    acts.push(Act::Stored(hash));
                }
                self.happen(now, Input::Uploaded { run, result }, acts);
            }
            Pending::Ran(batch, turn) => self.ran(now, batch, turn, acts),
        }
    }

    fn faulted(&mut self, acts: &mut Vec<Act>) -> Option<Fault> {
        self.dice.once_in(self.faulty).then(|| {
            acts.push(Act::Faulted);
            Fault::here("the simulated disk of this worker is full")
        })
    }

    fn start_batch(&mut self, batch: Batch<u64, ()>, acts: &mut Vec<Act>) {
        let Batch { id, job, runs } = batch;
        let took = self.wall(job);
        self.batches.insert(id, Running { job, runs, at: 0, turn: 0, stopped: false });
        acts.push(Act::Later(took, Pending::Ran(id, 0)));
    }

    fn wall(&mut self, job: u64) -> Duration {
        Duration(truth::wall(job, &mut self.dice).0.saturating_mul(self.slowness))
    }

    /// A run came to its end.
    fn ran(&mut self, now: u64, id: BatchId, turn: u64, acts: &mut Vec<Act>) {
        let Some(running) = self.batches.get_mut(&id).filter(|running| running.turn == turn) else { return };
        let (ready, job, stopped) = (running.runs[running.at].clone(), running.job, running.stopped);
        running.at += 1;
        running.turn += 1;
        let (turn, over) = (running.turn, running.at >= running.runs.len());
        running.stopped = running.stopped && over;
        let finished = if stopped { self.ended(ready.run) } else { self.finish(job, &ready, acts) };
        if over {
            self.batches.remove(&id);
        } else {
            let took = self.wall(job);
            acts.push(Act::Later(took, Pending::Ran(id, turn)));
        }
        self.happen(now, Input::Finished { batch: id, runs: vec![finished], over }, acts);
    }

    /// A run that was ended from outside.
    fn ended(&self, run: RunId) -> Finished {
        let (ending, fault) = (Ending::Faulted, Some("ended".into()));
        let result = pumasi_api::output::EMPTY_HASH;
        Finished { run, ending, fuel: Fuel(0), wall: Duration(0), result, output: Bytes::new(), fault }
    }

    fn finish(&mut self, job: u64, ready: &Ready<()>, acts: &mut Vec<Act>) -> Finished {
        self.finished += 1;
        let (run, task) = (ready.run, ready.task.0);
        let wall = truth::wall(job, &mut self.dice);
        if self.dice.once_in(500) {
            let result = pumasi_api::output::EMPTY_HASH;
            let (ending, output) = (Ending::TimedOut, Bytes::new());
            return Finished { run, ending, fuel: Fuel(0), wall, result, output, fault: None };
        }
        let Product { ending, fuel, output, result } = self.say(job, task, acts);
        Finished { run, ending, fuel, wall, result, output, fault: None }
    }

    /// What it says of a task, which may be wrong.
    fn say(&mut self, job: u64, task: u32, acts: &mut Vec<Act>) -> Product {
        let mut product = truth::product(job, task);
        let Character { lies, sleeps, until_trusted, gang, fuel, .. } = self.character;
        if self.finished > sleeps && (self.is_trusted || !until_trusted) {
            // A gang lies about the same tasks, or it would betray itself.
            let lies_here = if gang > 0 {
                lies > 0 && mix(mix(job, u64::from(task)), gang).is_multiple_of(lies)
            } else {
                self.dice.once_in(lies)
            };
            if lies_here {
                let lie = if gang > 0 { gang } else { 1_000 + self.owner.0 };
                product = truth::wrong(job, task, lie);
            }
            if self.dice.once_in(fuel) {
                product.fuel = Fuel(match self.dice.below(3) {
                    0 => product.fuel.0 / 2,
                    1 => product.fuel.0 + 1,
                    _ => u64::MAX - self.dice.below(1_000),
                });
            }
        }
        let finding = truth::finding(&product);
        if finding != truth::finding(&truth::product(job, task)) {
            acts.push(Act::Lied(job, task, finding));
        }
        product
    }

    fn recall(
        &mut self,
        id: BatchId,
        unwanted: &[RunId],
        inputs: &mut std::collections::VecDeque<Input<u64, ()>>,
        acts: &mut Vec<Act>,
    ) {
        let Some(running) = self.batches.get_mut(&id) else { return };
        let rest = running.runs.split_off(running.at + 1);
        if unwanted.binary_search(&running.runs[running.at].run).is_ok() {
            running.stopped = true;
            running.turn += 1;
            acts.push(Act::Later(Duration::from_millis(1), Pending::Ran(id, running.turn)));
        }
        inputs.push_back(Input::Recalled { batch: id, runs: rest });
    }

    /// Sends a message, and what a liar sends besides.
    fn send(&mut self, message: FromWorker, acts: &mut Vec<Act>) {
        let is_hello = matches!(message.message, Some(from_worker::Message::Hello(_)));
        acts.push(Act::Send(message));
        if is_hello {
            return;
        }
        if self.dice.once_in(self.character.foreign) {
            let forged = self.forge(acts);
            acts.push(Act::Send(forged));
        }
        if self.dice.once_in(self.character.garbage) {
            let garbage = match self.dice.below(3) {
                0 => FromWorker { message: None },
                1 => FromWorker { message: Some(from_worker::Message::Hello(Default::default())) },
                _ => {
                    let report = Report { runs: vec![1, 2], endings: vec![99], ..Report::default() };
                    FromWorker { message: Some(from_worker::Message::Report(report)) }
                }
            };
            acts.push(Act::Garbled);
            acts.push(Act::Send(garbage));
        }
    }

    /// A report of runs that are others', made up, or were reported before.
    fn forge(&mut self, acts: &mut Vec<Act>) -> FromWorker {
        let count = self.dice.between(1, 4);
        let newest = self.newest;
        let mut report = Report { report_id: 0, ..Report::default() };
        for _ in 0..count {
            let run = match self.dice.below(3) {
                0 => newest.saturating_sub(self.dice.below(500)),
                1 => self.dice.roll(),
                _ => newest.saturating_add(self.dice.below(40)).saturating_sub(20),
            };
            let fuel = self.dice.below(truth::FUEL_MAX);
            let (ending, result) = (Ending::Exited { code: 0 }.to_code(), pumasi_api::output::EMPTY_HASH);
            acts.push(Act::Forged((ending, fuel, result)));
            report.runs.push(run);
            report.endings.push(ending);
            report.fuel.push(fuel);
            report.wall_ns.push(1);
            report.results.extend_from_slice(result.as_bytes());
        }
        FromWorker { message: Some(from_worker::Message::Report(report)) }
    }
}
