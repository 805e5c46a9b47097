//! The worker's side of the link as a machine without I/O: what happens goes in, what to do comes out.
//!
//! The driver delivers every output and tells what came of it. `J` is whatever it needs to run a job's
//! tasks, `F` whatever is a task's own; the machine only carries them, and drops them when they are not
//! needed any more. Runs are handed out in batches of one job, which one thread executes one after the
//! other, so that as many runs are under way as there are batches.
//!
//! Invariants: never more batches than cores; the memory limits of their jobs never sum up to more than the
//! worker's memory; a run is *held* from its assignment until its report is acknowledged, unless it is
//! given back or the hub does not want it any more, and every held run is queued, in a batch, being
//! uploaded or in exactly one report.

mod jobs;
mod reports;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use pumasi_api::link::{self, FromHub, FromWorker, from_hub, from_worker};
use pumasi_api::output::TaskOutput;
use pumasi_types::{
    ByteSize, Duration, EngineId, Fuel, Hash, JobId, Price, RunId, Speed, TaskIndex, Time, WorkerId,
};

use self::jobs::Jobs;
use self::reports::Reports;

pub use self::reports::Finished;
pub use self::spec::{Fault, JobSpec};

/// The largest encoded output that travels in a report; larger ones are uploaded before.
pub const INLINE_BYTES_MAX: usize = 16 << 10;
/// The most runs that a worker holds; the hub takes no more in one message either.
const HELD_MAX: usize = 100_000;
/// Bytes of results on their way to the hub beyond which nothing new starts.
const UNSENT_BYTES_MAX: usize = 64 << 20;
/// Runs per core whose own files are fetched ahead, beside [`AHEAD_MIN`].
const AHEAD_PER_CORE: usize = 4;
const AHEAD_MIN: usize = 128;
/// A batch that takes longer gives back what it has not started.
const BATCH_PATIENCE: Duration = Duration::from_millis(5);
/// What a lease counts as at least and at most, whatever the hub names.
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(3600);

/// What a worker is, as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Random number kept on the machine: the same machine joins as the same worker.
    pub machine_key: [u8; 16],
    /// What people call it.
    pub name: String,
    /// Runs at once.
    pub cores: u32,
    /// Memory for all runs together.
    pub memory: ByteSize,
    /// Calibrated speed of one core.
    pub speed: Speed,
    /// What it runs.
    pub engine: EngineId,
    /// The lowest price it works for.
    pub ask: Price,
}

/// Number of a batch, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// A run that can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready<F> {
    /// The run.
    pub run: RunId,
    /// Its task.
    pub task: TaskIndex,
    /// What is the task's own; none for jobs without a task list.
    pub file: Option<F>,
}

/// Runs for one thread, to be executed one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<J, F> {
    /// Its number.
    pub id: BatchId,
    /// What their tasks have in common.
    pub job: J,
    /// The runs.
    pub runs: Vec<Ready<F>>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Input<J, F> {
    /// A stream to the hub is open.
    LinkUp,
    /// The stream is gone.
    LinkDown,
    /// The hub says something.
    Hub(FromHub),
    /// A job can be run, or not.
    Prepared {
        /// As it was asked for.
        spec: Arc<JobSpec>,
        /// What runs it, or why nothing will.
        result: Result<J, Fault>,
    },
    /// What is a task's own is there, or not.
    Fetched {
        /// For which run it was asked.
        run: RunId,
        /// What is its own, or why it cannot be had.
        result: Result<F, Fault>,
    },
    /// Runs of a batch finished.
    Finished {
        /// The batch.
        batch: BatchId,
        /// What became of them.
        runs: Vec<Finished>,
        /// Whether the batch is over.
        over: bool,
    },
    /// A batch gave back what it had not started; it goes on with the run that it is at.
    Recalled {
        /// The batch.
        batch: BatchId,
        /// What it had not started.
        runs: Vec<Ready<F>>,
    },
    /// An output is stored as a blob at the hub, or cannot be.
    Uploaded {
        /// Whose.
        run: RunId,
        /// Why not.
        result: Result<(), Fault>,
    },
    /// Whether the owner lets the machine work now.
    Accept(bool),
    /// Finish what runs, give back the rest, and go.
    Leave,
    /// Time for leaving is up: end what still runs.
    Abandon,
    /// Time passed; see [`Protocol::next_tick`].
    Tick,
}

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Output<J, F> {
    /// Say this to the hub.
    Send(FromWorker),
    /// The hub broke the protocol: close the stream and open another after a while.
    CloseLink(LinkError),
    /// The hub knows this worker now.
    Attached(WorkerId),
    /// Get ready to run a job, then say [`Input::Prepared`].
    Prepare(Arc<JobSpec>),
    /// Get what is a task's own, then say [`Input::Fetched`].
    Fetch {
        /// The run it is for.
        run: RunId,
        /// Its task.
        task: TaskIndex,
        /// Its job.
        job: J,
    },
    /// Execute these, then say [`Input::Finished`].
    Start(Batch<J, F>),
    /// Take back what a batch has not started and say [`Input::Recalled`]; end the run that it is at when it
    /// is one of these. Nothing is expected of a batch that is over.
    Recall {
        /// The batch.
        batch: BatchId,
        /// Runs that nobody wants any more, ascending.
        unwanted: Arc<[RunId]>,
    },
    /// End the runs of a batch as soon as possible.
    Halt(BatchId),
    /// Store an encoded output as a blob, then say [`Input::Uploaded`].
    Upload {
        /// Whose it is.
        run: RunId,
        /// Its hash.
        hash: Hash,
        /// The output.
        output: Bytes,
    },
    /// Nothing is left to do: close the link and go.
    Left,
}

/// How a hub broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A message of a kind that is not known here.
    #[error("the hub sent a message of an unknown kind; check that hub and worker have the same version")]
    UnknownMessage,
    /// Something else than a welcome came first, or a second welcome.
    #[error("the hub sent {what} out of turn; check that the address is a hub's")]
    OutOfTurn {
        /// What it sent.
        what: &'static str,
    },
    /// Columns of one message differ in length.
    #[error(
        "the hub assigned {runs} runs with {tasks} tasks; check that hub and worker have the same version"
    )]
    Columns {
        /// Length of one column.
        runs: usize,
        /// Length of the other.
        tasks: usize,
    },
    /// A hash that is not 32 bytes long.
    #[error("the hub sent job {job} whose {what} is not named by a hash")]
    NoHash {
        /// Which job.
        job: JobId,
        /// What should have been named.
        what: &'static str,
    },
    /// Runs of a job that it did not tell of.
    #[error("the hub assigned runs of job {job} without telling what it is")]
    UnknownJob {
        /// Which job.
        job: JobId,
    },
    /// A job has two meanings.
    #[error("the hub changed job {job} after it was given out")]
    JobChanged {
        /// Which job.
        job: JobId,
    },
    /// More runs than a worker takes.
    #[error("the hub assigned more than {HELD_MAX} runs")]
    TooManyRuns,
    /// More jobs than a worker remembers.
    #[error("the hub told of jobs that take more than {bytes_max} bytes to remember")]
    TooManyJobs {
        /// What the worker takes.
        bytes_max: usize,
    },
    /// A report that was not sent is acknowledged.
    #[error("the hub acknowledged report {acked}, the last one sent is {sent}")]
    AckAhead {
        /// What it said.
        acked: u64,
        /// What was sent.
        sent: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Down since then.
    Down(Time),
    /// Hello is said; there was no link since then.
    Greeting(Time),
    Up,
}

/// A batch under way.
#[derive(Debug)]
struct Running {
    job: JobId,
    memory: u64,
    started: Time,
    /// Runs of it that have neither finished nor come back.
    runs: usize,
    recalled: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Protocol<J, F> {
    settings: Settings,
    link: Link,
    lease: Duration,
    last_sent: Time,
    accepting: bool,
    leaving: bool,
    /// Whether the hub takes this worker for one that accepts work, and for one that leaves.
    told: (bool, bool),
    left: bool,
    jobs: Jobs<J, F>,
    /// Runs that the hub takes for this worker's, and their jobs.
    held: HashMap<RunId, JobId>,
    fetching: HashMap<RunId, (JobId, TaskIndex)>,
    batches: BTreeMap<BatchId, Running>,
    last_batch: u64,
    memory_used: u64,
    uploads: HashMap<RunId, Finished>,
    upload_bytes: usize,
    reports: Reports,
    refused: u64,
}

/// What one step leads to.
type Outputs<J, F> = Vec<Output<J, F>>;

impl<J: Clone, F> Protocol<J, F> {
    /// A worker that has no link yet and accepts work.
    pub fn new(settings: Settings, now: Time) -> Protocol<J, F> {
        Protocol {
            settings,
            link: Link::Down(now),
            lease: Duration::from_secs(30),
            last_sent: now,
            accepting: true,
            leaving: false,
            told: (true, false),
            left: false,
            jobs: Jobs::default(),
            held: HashMap::new(),
            fetching: HashMap::new(),
            batches: BTreeMap::new(),
            last_batch: 0,
            memory_used: 0,
            uploads: HashMap::new(),
            upload_bytes: 0,
            reports: Reports::default(),
            refused: 0,
        }
    }

    /// Takes in what happened at `now`, a clock that never goes back, and adds what to do to `out`.
    pub fn step(&mut self, now: Time, input: Input<J, F>, out: &mut Outputs<J, F>) {
        match input {
            Input::LinkUp => self.link_up(now, out),
            Input::LinkDown => self.link_down(now),
            Input::Hub(message) => {
                if let Err(error) = self.hear(now, message, out) {
                    self.link_down(now);
                    out.push(Output::CloseLink(error));
                }
            }
            Input::Prepared { spec, result } => {
                for (run, fault) in self.jobs.prepared(now, &spec, result) {
                    self.faulted(now, run, fault);
                }
            }
            Input::Fetched { run, result } => self.fetched(now, run, result),
            Input::Finished { batch, runs, over } => self.finished(now, batch, runs, over, out),
            Input::Recalled { batch, runs } => self.recalled(now, batch, runs, out),
            Input::Uploaded { run, result } => self.uploaded(now, run, result),
            Input::Accept(accepting) => self.accept(now, accepting, out),
            Input::Leave => {
                self.leaving = true;
                self.give_back(now, true, out);
            }
            Input::Abandon => out.extend(self.batches.keys().map(|batch| Output::Halt(*batch))),
            Input::Tick => self.jobs.evict(now),
        }
        self.go_on(now, out);
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn next_tick(&self) -> Option<Time> {
        let recall = |running: &Running| {
            (running.runs > 1 && !running.recalled).then(|| running.started.after(BATCH_PATIENCE))
        };
        let is_up = self.link == Link::Up;
        let report = self.reports.due().filter(|_| is_up);
        let heartbeat = is_up.then(|| self.last_sent.after(self.heartbeat()));
        let recalls = self.batches.values().filter_map(recall);
        recalls.chain(report).chain(heartbeat).chain(self.jobs.eviction()).min()
    }

    /// Whether the hub knows this worker on the present link.
    pub fn is_attached(&self) -> bool {
        self.link == Link::Up
    }

    /// Runs that are held now.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Batches under way.
    pub fn running(&self) -> usize {
        self.batches.len()
    }

    /// Runs whose report the hub did not count, so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn heartbeat(&self) -> Duration {
        Duration(self.lease.0 / 3)
    }

    fn send(&mut self, now: Time, message: from_worker::Message, out: &mut Outputs<J, F>) {
        self.last_sent = now;
        out.push(Output::Send(FromWorker { message: Some(message) }));
    }

    fn send_status(&mut self, now: Time, returned: Vec<RunId>, out: &mut Outputs<J, F>) {
        let (accepting, leaving) = (self.accepting && !self.leaving, self.leaving);
        let status = link::Status {
            accepting,
            leaving,
            returned_runs: returned.iter().map(|run| run.0).collect(),
            changed: self.told != (accepting, leaving),
        };
        self.told = (accepting, leaving);
        self.send(now, from_worker::Message::Status(status), out);
    }

    fn link_up(&mut self, now: Time, out: &mut Outputs<J, F>) {
        self.link_down(now);
        if let Link::Down(since) = self.link {
            self.link = Link::Greeting(since);
        }
        let mut held_runs: Vec<u64> = self.held.keys().map(|run| run.0).collect();
        held_runs.sort_unstable();
        let Settings { machine_key, name, cores, memory, speed, engine, ask } = &self.settings;
        let hello = link::Hello {
            machine_key: machine_key.to_vec(),
            name: name.clone(),
            cores: *cores,
            memory_bytes: memory.0,
            speed: speed.0,
            engine: engine.0.clone(),
            ask_price: ask.0,
            held_runs,
        };
        self.send(now, from_worker::Message::Hello(hello), out);
    }

    fn link_down(&mut self, now: Time) {
        self.link = match self.link {
            Link::Up => Link::Down(now),
            Link::Down(since) | Link::Greeting(since) => Link::Down(since),
        };
        self.reports.unsend(now);
        self.jobs.forget_link();
    }

    /// Takes in what the hub says.
    fn hear(&mut self, now: Time, message: FromHub, out: &mut Outputs<J, F>) -> Result<(), LinkError> {
        use from_hub::Message as M;
        let message = message.message.ok_or(LinkError::UnknownMessage)?;
        let what = match &message {
            M::Welcome(_) => "a welcome",
            M::Job(_) => "a job",
            M::Assign(_) => "runs",
            M::Stop(_) => "a stop",
            M::Ack(_) => "an acknowledgement",
        };
        match (self.link, message) {
            // What was on its way when the link was given up.
            (Link::Down(_), _) => Ok(()),
            (Link::Greeting(_), M::Welcome(welcome)) => {
                self.welcomed(now, welcome, out);
                Ok(())
            }
            (Link::Up, M::Job(job)) => self.jobs.announce(now, JobSpec::from_link(job)?),
            (Link::Up, M::Assign(assign)) => self.assigned(now, assign, out),
            (Link::Up, M::Stop(stop)) => {
                self.stop(stop, out);
                Ok(())
            }
            (Link::Up, M::Ack(ack)) => {
                for run in self.reports.acked(ack.report_id)? {
                    self.held.remove(&run);
                }
                self.refused += ack.refused_runs.len() as u64;
                Ok(())
            }
            (Link::Greeting(_) | Link::Up, _) => Err(LinkError::OutOfTurn { what }),
        }
    }

    fn welcomed(&mut self, now: Time, welcome: link::Welcome, out: &mut Outputs<J, F>) {
        self.link = Link::Up;
        self.lease = Duration::from_millis(welcome.lease_ms).clamp(LEASE_MIN, LEASE_MAX);
        out.push(Output::Attached(WorkerId(welcome.worker_id)));
        self.drop_runs(welcome.unwanted_runs.into_iter().map(RunId).collect(), out);
        // A hub takes whoever attaches for one that accepts.
        self.told = (true, false);
        if self.leaving || !self.accepting {
            self.give_back(now, true, out);
        }
    }

    fn assigned(
        &mut self,
        now: Time,
        assign: link::Assign,
        out: &mut Outputs<J, F>,
    ) -> Result<(), LinkError> {
        let job = JobId(assign.job_id);
        let link::Assign { runs, tasks, .. } = assign;
        if runs.len() != tasks.len() {
            return Err(LinkError::Columns { runs: runs.len(), tasks: tasks.len() });
        }
        if !self.jobs.is_announced(job) {
            return Err(LinkError::UnknownJob { job });
        }
        if self.held.len().saturating_add(runs.len()) > HELD_MAX {
            return Err(LinkError::TooManyRuns);
        }
        let pairs = runs.into_iter().map(RunId).zip(tasks.into_iter().map(TaskIndex));
        // A run that is held already is not started twice.
        let fresh: Vec<_> = pairs
            .filter(|(run, _)| match self.held.entry(*run) {
                Entry::Occupied(_) => false,
                Entry::Vacant(place) => {
                    place.insert(job);
                    true
                }
            })
            .collect();
        if self.leaving || !self.accepting {
            let returned: Vec<RunId> = fresh.into_iter().map(|(run, _)| run).collect();
            returned.iter().for_each(|run| {
                self.held.remove(run);
            });
            self.send_status(now, returned, out);
            return Ok(());
        }
        match self.jobs.refused(job, self.settings.memory) {
            Some(fault) => fresh.into_iter().for_each(|(run, _)| self.faulted(now, run, fault.clone())),
            None => self.jobs.enqueue(job, fresh),
        }
        Ok(())
    }

    fn stop(&mut self, stop: link::Stop, out: &mut Outputs<J, F>) {
        let jobs: HashSet<JobId> = stop.jobs.into_iter().map(JobId).collect();
        let mut runs: Vec<RunId> = stop.runs.into_iter().map(RunId).collect();
        if !jobs.is_empty() {
            runs.extend(self.held.iter().filter(|(_, job)| jobs.contains(job)).map(|(run, _)| *run));
        }
        self.drop_runs(runs, out);
        jobs.into_iter().for_each(|job| self.jobs.over(job));
    }

    /// Runs that nobody wants any more end without a report.
    fn drop_runs(&mut self, unwanted: Vec<RunId>, out: &mut Outputs<J, F>) {
        // What is already reported is held until the hub has taken note of the report.
        let on_their_way: HashSet<RunId> = self.reports.on_their_way().collect();
        let mut affected = HashSet::new();
        let mut runs = HashSet::new();
        for run in unwanted.into_iter().filter(|run| !on_their_way.contains(run)) {
            if let Some(job) = self.held.remove(&run) {
                affected.insert(job);
                runs.insert(run);
            }
        }
        if runs.is_empty() {
            return;
        }
        self.jobs.forget(&runs);
        self.reports.forget(&runs);
        self.fetching.retain(|run, (job, _)| {
            let keep = !runs.contains(run);
            if !keep {
                self.jobs.fetched(*job, None);
            }
            keep
        });
        self.uploads.retain(|run, finished| {
            let keep = !runs.contains(run);
            self.upload_bytes -= if keep { 0 } else { finished.output.len() };
            keep
        });
        let mut unwanted: Vec<RunId> = runs.into_iter().collect();
        unwanted.sort_unstable();
        let unwanted: Arc<[RunId]> = unwanted.into();
        let batches = self.batches.iter_mut().filter(|(_, running)| affected.contains(&running.job));
        for (batch, running) in batches {
            running.recalled = true;
            out.push(Output::Recall { batch: *batch, unwanted: Arc::clone(&unwanted) });
        }
    }

    fn accept(&mut self, now: Time, accepting: bool, out: &mut Outputs<J, F>) {
        if self.accepting != accepting {
            self.accepting = accepting;
            self.give_back(now, !accepting, out);
        }
    }

    /// Tells the hub whether work is wanted, and gives back what has not started if not.
    fn give_back(&mut self, now: Time, everything: bool, out: &mut Outputs<J, F>) {
        if self.link != Link::Up {
            return;
        }
        let mut returned = Vec::new();
        if everything {
            returned.extend(self.jobs.queued());
            returned.extend(self.fetching.keys());
            returned.sort_unstable();
            for (_, (job, _)) in self.fetching.drain() {
                self.jobs.fetched(job, None);
            }
            self.jobs.forget(&returned.iter().copied().collect());
            returned.iter().for_each(|run| {
                self.held.remove(run);
            });
            for (batch, running) in self.batches.iter_mut().filter(|(_, running)| running.runs > 1) {
                running.recalled = true;
                out.push(Output::Recall { batch: *batch, unwanted: Arc::default() });
            }
        }
        self.send_status(now, returned, out);
    }

    fn fetched(&mut self, now: Time, run: RunId, result: Result<F, Fault>) {
        // A run that was stopped or given back meanwhile is not known any more.
        let Some((job, task)) = self.fetching.remove(&run) else { return };
        match result {
            Ok(file) => self.jobs.fetched(job, Some(Ready { run, task, file: Some(file) })),
            Err(fault) => {
                self.jobs.fetched(job, None);
                self.faulted(now, run, fault);
            }
        }
    }

    fn finished(
        &mut self,
        now: Time,
        batch: BatchId,
        runs: Vec<Finished>,
        over: bool,
        out: &mut Outputs<J, F>,
    ) {
        let Some(running) = self.batches.get_mut(&batch) else { return };
        let job = running.job;
        running.runs = running.runs.saturating_sub(runs.len());
        if let Some(mean) = runs.iter().map(|run| run.wall.0 / runs.len() as u64).reduce(u64::saturating_add)
        {
            self.jobs.learn_wall(job, Duration(mean));
        }
        if over {
            self.memory_used -= running.memory;
            self.batches.remove(&batch);
            self.jobs.batch_over(now, job);
        }
        for finished in runs {
            if !self.held.contains_key(&finished.run) {
                continue;
            }
            if finished.output.len() <= INLINE_BYTES_MAX {
                self.reports.add(now, finished);
                continue;
            }
            let Finished { run, result: hash, output, .. } = finished.clone();
            self.upload_bytes += output.len();
            if let Some(earlier) = self.uploads.insert(run, finished) {
                self.upload_bytes -= earlier.output.len();
            }
            out.push(Output::Upload { run, hash, output });
        }
    }

    fn recalled(&mut self, now: Time, batch: BatchId, mut runs: Vec<Ready<F>>, out: &mut Outputs<J, F>) {
        let Some(running) = self.batches.get_mut(&batch) else { return };
        running.runs = running.runs.saturating_sub(runs.len());
        let job = running.job;
        runs.retain(|ready| self.held.contains_key(&ready.run));
        if (self.leaving || !self.accepting) && self.link == Link::Up {
            let returned: Vec<RunId> = runs.into_iter().map(|ready| ready.run).collect();
            returned.iter().for_each(|run| {
                self.held.remove(run);
            });
            if !returned.is_empty() {
                self.send_status(now, returned, out);
            }
        } else {
            self.jobs.requeue(job, runs);
        }
    }

    fn uploaded(&mut self, now: Time, run: RunId, result: Result<(), Fault>) {
        let Some(mut finished) = self.uploads.remove(&run) else { return };
        self.upload_bytes -= finished.output.len();
        match result {
            Ok(()) => {
                finished.output = Bytes::new();
                self.reports.add(now, finished);
            }
            Err(fault) => self.faulted(now, run, fault),
        }
    }

    /// A run ends without having produced anything.
    fn faulted(&mut self, now: Time, run: RunId, fault: Fault) {
        let finished = Finished {
            run,
            ending: fault.ending,
            fuel: Fuel(0),
            wall: Duration(0),
            result: TaskOutput::default().result_hash(),
            output: Bytes::new(),
            fault: Some(fault.reason.into()),
        };
        self.reports.add(now, finished);
    }

    /// Does what became possible or due.
    fn go_on(&mut self, now: Time, out: &mut Outputs<J, F>) {
        if self.may_start(now) {
            self.prepare(now, out);
            self.start(now, out);
        }
        for (batch, running) in &mut self.batches {
            if running.runs > 1 && !running.recalled && running.started.after(BATCH_PATIENCE) <= now {
                running.recalled = true;
                out.push(Output::Recall { batch: *batch, unwanted: Arc::default() });
            }
        }
        if self.link == Link::Up {
            // While something runs, more will finish soon; else there is nothing to wait for.
            while self.reports.is_due(now) || self.batches.is_empty() {
                let Some(report) = self.reports.take() else { break };
                self.send(now, from_worker::Message::Report(report), out);
            }
            if self.last_sent.after(self.heartbeat()) <= now {
                self.send_status(now, Vec::new(), out);
            }
        }
        if self.leaving && !self.left && self.held.is_empty() && self.batches.is_empty() {
            self.left = true;
            out.push(Output::Left);
        }
    }

    /// Whether new work may start: not while it would be for nobody, or the hub cannot take what is done.
    fn may_start(&self, now: Time) -> bool {
        let is_lost = match self.link {
            Link::Up => false,
            Link::Down(since) | Link::Greeting(since) => since.after(self.lease) <= now,
        };
        let unsent = self.reports.weight().saturating_add(self.upload_bytes);
        self.accepting && !self.leaving && !is_lost && unsent < UNSENT_BYTES_MAX
    }

    fn prepare(&mut self, now: Time, out: &mut Outputs<J, F>) {
        while let Some(spec) = self.jobs.next_to_prepare(now) {
            out.push(Output::Prepare(spec));
        }
        let ahead_max = AHEAD_MIN + AHEAD_PER_CORE * self.settings.cores as usize;
        while let Some((job, id, run, task)) = self.jobs.next_to_fetch(ahead_max) {
            self.fetching.insert(run, (id, task));
            out.push(Output::Fetch { run, task, job });
        }
    }

    fn start(&mut self, now: Time, out: &mut Outputs<J, F>) {
        let cores = self.settings.cores;
        while self.batches.len() < cores as usize {
            let memory = self.settings.memory.0 - self.memory_used;
            let Some((spec, job, runs)) = self.jobs.next_batch(memory, cores) else { break };
            self.last_batch += 1;
            let id = BatchId(self.last_batch);
            let memory = spec.limits.memory.0;
            self.memory_used += memory;
            let running = Running { job: spec.id, memory, started: now, runs: runs.len(), recalled: false };
            self.batches.insert(id, running);
            out.push(Output::Start(Batch { id, job, runs }));
        }
    }
}
