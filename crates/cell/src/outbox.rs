//! Carrying out actions: what goes to which worker, and who waits for which job.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_api::link::{self, FromHub, from_hub};
use pumasi_core::{Action, Answer, Assignment, Done, Job, State};
use pumasi_types::{Duration, JobId, RunId, WorkerId};

/// Where a cell's answers and messages go.
pub trait Outlet {
    /// Who waits for an answer.
    type Reply;
    /// The hub's end of a worker's link; dropping it cuts the link off.
    type Link;
    /// Who waits until a job is over.
    type Waiter;

    /// An answer that is durable.
    fn answer(&mut self, reply: Self::Reply, answer: Answer);

    /// Sends a message to a worker; false when the worker does not read, so that its link has to go.
    fn send(&mut self, link: &Self::Link, message: FromHub) -> bool;

    /// The job that was waited for is over or gone.
    fn over(&mut self, waiter: Self::Waiter);

    /// Whether the waiter gave up.
    fn gave_up(&self, _waiter: &Self::Waiter) -> bool {
        false
    }

    /// An entry was applied: how many requests, bytes of payload and transfers it has.
    fn entered(&mut self, _requests: usize, _payload_bytes: usize, _transfers: usize) {}
}

/// Runs in one message at most, so that no message outgrows what a worker takes.
const RUNS_PER_MESSAGE: usize = 50_000;

/// The ends of all links, owned by the loop, so that order needs no lock.
pub(crate) struct Outbox<O: Outlet> {
    lease: Duration,
    /// Ordered, so that the same steps send the same messages in the same order.
    links: BTreeMap<WorkerId, Link<O::Link>>,
    waiting: BTreeMap<JobId, Vec<O::Waiter>>,
}

struct Link<L> {
    number: u64,
    end: L,
    /// Jobs that were described on this link and not taken back.
    jobs: BTreeSet<JobId>,
    /// When there are so many of them, those that are over are taken back.
    jobs_max: usize,
}

/// Jobs that a link knows before it is looked which of them are over.
const JOBS_KNOWN: usize = 64;

impl<O: Outlet> Outbox<O> {
    /// No links yet. Workers are told `lease`.
    pub(crate) fn new(lease: Duration) -> Outbox<O> {
        Outbox { lease, links: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// A worker attached: from now on its messages go here, the welcome first.
    pub(crate) fn attached(&mut self, answer: &Answer, end: O::Link, outlet: &mut O) {
        let Ok(Done::Attached { worker, link, unwanted }) = answer else { return };
        let welcome = link::Welcome {
            worker_id: worker.0,
            lease_ms: self.lease.as_millis(),
            unwanted_runs: unwanted.iter().map(|run| run.0).collect(),
        };
        let known = Link { number: *link, end, jobs: BTreeSet::new(), jobs_max: JOBS_KNOWN };
        self.links.insert(*worker, known);
        self.send(*worker, from_hub::Message::Welcome(welcome), outlet);
    }

    /// A link is gone, unless a newer one took its place.
    pub(crate) fn detached(&mut self, worker: WorkerId, number: u64) {
        if self.links.get(&worker).is_some_and(|link| link.number == number) {
            self.links.remove(&worker);
        }
    }

    /// Somebody waits for a job. Resolved at once when it is over or gone.
    pub(crate) fn wait_for(&mut self, state: &State, job: JobId, waiter: O::Waiter, outlet: &mut O) {
        if state.job(job).is_none_or(|job| job.outcome().is_some()) {
            return outlet.over(waiter);
        }
        let waiting = self.waiting.entry(job).or_default();
        waiting.retain(|other| !outlet.gave_up(other));
        waiting.push(waiter);
    }

    pub(crate) fn carry_out(&mut self, state: &State, actions: Vec<Action>, outlet: &mut O) {
        for action in actions {
            match action {
                Action::Assign { worker, job, runs } => self.assign(state, worker, job, &runs, outlet),
                Action::Stop { worker, runs } => self.stop(worker, &runs, outlet),
                Action::JobOver { job } => self.job_over(job, outlet),
                // Workers learn of it from the runs that they are given; nobody waits for it any more.
                Action::JobReopened { .. } => {}
            }
        }
    }

    fn assign(&mut self, state: &State, worker: WorkerId, id: JobId, runs: &[Assignment], outlet: &mut O) {
        let Some(job) = state.job(id) else { return };
        if self.links.get_mut(&worker).is_some_and(|link| link.jobs.insert(id)) {
            self.take_back(state, worker, outlet);
            self.send(worker, from_hub::Message::Job(describe(id, job)), outlet);
        }
        for runs in runs.chunks(RUNS_PER_MESSAGE) {
            let assign = link::Assign {
                job_id: id.0,
                runs: runs.iter().map(|given| given.run.0).collect(),
                tasks: runs.iter().map(|given| given.task.0).collect(),
            };
            self.send(worker, from_hub::Message::Assign(assign), outlet);
        }
    }

    fn stop(&mut self, worker: WorkerId, runs: &[RunId], outlet: &mut O) {
        for runs in runs.chunks(RUNS_PER_MESSAGE) {
            let stop = link::Stop { runs: runs.iter().map(|run| run.0).collect(), jobs: Vec::new() };
            self.send(worker, from_hub::Message::Stop(stop), outlet);
        }
    }

    /// Lets a worker forget jobs that are over, once it knows so many that this costs little beside telling
    /// it of them. At a job's end there may be a million workers that know it; their runs of it were stopped.
    fn take_back(&mut self, state: &State, worker: WorkerId, outlet: &mut O) {
        let Some(link) = self.links.get_mut(&worker) else { return };
        if link.jobs.len() < link.jobs_max {
            return;
        }
        let is_over = |id: &JobId| state.job(*id).is_none_or(|job| job.outcome().is_some());
        let over: Vec<u64> = link.jobs.extract_if(.., is_over).map(|id| id.0).collect();
        link.jobs_max = JOBS_KNOWN.max(link.jobs.len() * 2);
        if !over.is_empty() {
            let stop = link::Stop { runs: Vec::new(), jobs: over };
            self.send(worker, from_hub::Message::Stop(stop), outlet);
        }
    }

    fn job_over(&mut self, job: JobId, outlet: &mut O) {
        for waiter in self.waiting.remove(&job).unwrap_or_default() {
            outlet.over(waiter);
        }
    }

    /// Sends, or cuts off a worker that does not read. It comes back and tells what it has.
    fn send(&mut self, worker: WorkerId, message: from_hub::Message, outlet: &mut O) {
        let Some(link) = self.links.get(&worker) else { return };
        if !outlet.send(&link.end, FromHub { message: Some(message) }) {
            self.links.remove(&worker);
        }
    }
}

fn describe(id: JobId, job: &Job) -> link::Job {
    let spec = &job.spec;
    let file = |file: &pumasi_core::InputFile| link::File {
        name: file.name.clone(),
        hash: file.hash.as_bytes().to_vec(),
    };
    link::Job {
        job_id: id.0,
        module: spec.module.as_bytes().to_vec(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        files: spec.files.iter().map(file).collect(),
        task_list: spec.task_list.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default(),
        fuel: spec.limits.fuel.0,
        memory_bytes: spec.limits.memory.0,
        wall_ms: spec.limits.wall.as_millis(),
        output_bytes: spec.limits.output.0,
        clock_ns: job.clock.0,
        seed: spec.seed,
    }
}
