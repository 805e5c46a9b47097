//! Carrying out actions: what goes to which worker, and who waits for which job.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use pumasi_api::link::{self, FromHub, from_hub};
use pumasi_core::{Action, Answer, Assignment, Done, Job, State};
use pumasi_types::{JobId, RunId, WorkerId};
use tokio::sync::{mpsc, oneshot};

/// Messages to one worker that wait at most: more than the largest worker can be given at once.
pub(crate) const UNREAD: usize = 20_000;
/// Bytes of messages to one worker after which it counts as one that does not read.
const UNREAD_BYTES: usize = 64 << 20;

/// A message on its way to a worker.
pub(crate) struct Letter {
    pub(crate) message: FromHub,
    /// What it adds to the unread bytes; whoever takes it off the queue takes these away.
    pub(crate) bytes: usize,
}

/// Where messages for one link go. A worker that does not read them is cut off, not waited for.
pub(crate) struct LinkSender {
    to: mpsc::Sender<Letter>,
    unread_bytes: Arc<AtomicUsize>,
    _alive: oneshot::Sender<Infallible>,
}

/// Resolves when the outbox has dropped its end of a link: a worker whose messages go nowhere must notice
/// and come back.
pub(crate) type CutOff = oneshot::Receiver<Infallible>;

impl LinkSender {
    pub(crate) fn new(to: mpsc::Sender<Letter>, unread_bytes: Arc<AtomicUsize>) -> (LinkSender, CutOff) {
        let (alive, cut_off) = oneshot::channel();
        (LinkSender { to, unread_bytes, _alive: alive }, cut_off)
    }

    /// Whether the worker reads well enough that this can be sent.
    fn send(&self, message: FromHub) -> bool {
        let bytes = message.encoded_len();
        let before = self.unread_bytes.fetch_add(bytes, Ordering::Relaxed);
        before <= UNREAD_BYTES && self.to.try_send(Letter { message, bytes }).is_ok()
    }
}

/// Runs in one message at most, so that no message outgrows what a worker takes.
const RUNS_PER_MESSAGE: usize = 50_000;

/// The ends of all links, owned by the loop, so that order needs no lock.
#[derive(Default)]
pub(super) struct Outbox {
    links: HashMap<WorkerId, Link>,
    waiting: HashMap<JobId, Vec<oneshot::Sender<()>>>,
}

struct Link {
    number: u64,
    end: LinkSender,
    /// Jobs that were described on this link.
    jobs: HashSet<JobId>,
}

impl Outbox {
    /// A worker attached: from now on its messages go here, the welcome first.
    pub(super) fn attached(&mut self, answer: &Answer, end: LinkSender, lease_ms: u64) {
        let Ok(Done::Attached { worker, link, unwanted }) = answer else { return };
        let welcome = link::Welcome {
            worker_id: worker.0,
            lease_ms,
            unwanted_runs: unwanted.iter().map(|run| run.0).collect(),
        };
        self.links.insert(*worker, Link { number: *link, end, jobs: HashSet::new() });
        self.send(*worker, from_hub::Message::Welcome(welcome));
    }

    /// A link is gone, unless a newer one took its place.
    pub(super) fn detached(&mut self, worker: WorkerId, number: u64) {
        if self.links.get(&worker).is_some_and(|link| link.number == number) {
            self.links.remove(&worker);
        }
    }

    /// Somebody waits for a job. Resolved at once when it is over or gone.
    pub(super) fn wait_for(&mut self, state: &State, job: JobId, reply: oneshot::Sender<()>) {
        if state.job(job).is_none_or(|job| job.outcome().is_some()) {
            // Nobody waits any more when this fails.
            let _ = reply.send(());
            return;
        }
        let waiting = self.waiting.entry(job).or_default();
        waiting.retain(|other| !other.is_closed());
        waiting.push(reply);
    }

    pub(super) fn carry_out(&mut self, state: &State, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Assign { worker, job, runs } => self.assign(state, worker, job, &runs),
                Action::Stop { worker, runs } => self.stop(worker, &runs),
                Action::JobOver { job } => self.job_over(state, job),
            }
        }
    }

    fn assign(&mut self, state: &State, worker: WorkerId, id: JobId, runs: &[Assignment]) {
        let Some(job) = state.job(id) else { return };
        if self.links.get_mut(&worker).is_some_and(|link| link.jobs.insert(id)) {
            self.send(worker, from_hub::Message::Job(describe(id, job)));
        }
        for runs in runs.chunks(RUNS_PER_MESSAGE) {
            let assign = link::Assign {
                job_id: id.0,
                runs: runs.iter().map(|given| given.run.0).collect(),
                tasks: runs.iter().map(|given| given.task.0).collect(),
            };
            self.send(worker, from_hub::Message::Assign(assign));
        }
    }

    fn stop(&mut self, worker: WorkerId, runs: &[RunId]) {
        for runs in runs.chunks(RUNS_PER_MESSAGE) {
            let stop = link::Stop { runs: runs.iter().map(|run| run.0).collect(), jobs: Vec::new() };
            self.send(worker, from_hub::Message::Stop(stop));
        }
    }

    fn job_over(&mut self, state: &State, job: JobId) {
        // Where every task is decided, nobody has a run of it.
        let undecided = state.job(job).is_none_or(|j| j.counts.succeeded + j.counts.failed < j.counts.total);
        let knew = |(id, link): (&WorkerId, &mut Link)| link.jobs.remove(&job).then_some(*id);
        let knowing: Vec<WorkerId> = self.links.iter_mut().filter_map(knew).collect();
        for worker in knowing.into_iter().filter(|_| undecided) {
            let stop = link::Stop { runs: Vec::new(), jobs: vec![job.0] };
            self.send(worker, from_hub::Message::Stop(stop));
        }
        for reply in self.waiting.remove(&job).unwrap_or_default() {
            let _ = reply.send(());
        }
    }

    /// Sends, or cuts off a worker that does not read. It comes back and tells what it has.
    fn send(&mut self, worker: WorkerId, message: from_hub::Message) {
        let Some(link) = self.links.get(&worker) else { return };
        if !link.end.send(FromHub { message: Some(message) }) {
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
