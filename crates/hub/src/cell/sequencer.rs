//! The sequencer: one loop that gathers commands, makes them durable, applies and answers them.
//!
//! Whatever arrived while an entry was being written makes the next entry (group commit), so the entries grow
//! with the load and a lone command never waits for company. The state is changed while the disk writes; no
//! answer, read or action leaves before the entry is durable, and if it cannot be made durable the cell
//! stops: the state in memory is ahead of the log then, and must not be seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use pumasi_core::{Action, Answer, Command, Done, Request, State, encode_request};
use pumasi_log::{FileLog, Head, Log, SnapshotStore};
use pumasi_types::{JobId, Time};
use tokio::sync::{mpsc, oneshot};

use super::handle::Cell;
use super::journal::Journal;
use super::outbox::{LinkSender, Outbox};
use super::replay::Restored;
use super::snapshots;
use crate::ServeError;
use crate::metrics::Metrics;

/// Looks at the state now, and delivers what it saw later.
pub(crate) type Look = Box<dyn FnOnce(&State) -> Box<dyn FnOnce() + Send> + Send>;

/// What the loop is asked to do.
pub(crate) enum Work {
    /// Do a command.
    Ask { request: Request, reply: oneshot::Sender<Answer> },
    /// Attach a worker whose messages go to `link`.
    Attach { request: Request, link: LinkSender, reply: oneshot::Sender<Answer> },
    /// Look at the state.
    Read(Look),
    /// Tell when a job is over.
    Await { job: JobId, reply: oneshot::Sender<()> },
    /// A snapshot was made up to here, or could not be made.
    Snapshot(Result<Head, ServeError>),
    /// Finish and stop.
    ShutDown(oneshot::Sender<()>),
}

/// How many pieces of work wait at most; more wait at the gateways.
const QUEUE: usize = 4096;
/// How many go into one entry at most.
const BATCH: usize = 1024;
/// Payload after which an entry is closed.
const ENTRY_BYTES: usize = 4 << 20;
/// The longest request that a gateway may let in, encoded: an entry of the log must have room for it behind
/// another that is not full yet.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;

/// What one entry is waited for by.
enum Reply {
    Answer(oneshot::Sender<Answer>),
    Attach(LinkSender, oneshot::Sender<Answer>),
}

/// The loop and all it owns.
pub(crate) struct Sequencer {
    log: FileLog,
    state: State,
    journal: Journal,
    snapshots: SnapshotStore,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    next_due: Arc<AtomicU64>,
    /// For the snapshot thread, which must not keep the loop alive.
    work: mpsc::WeakSender<Work>,
    lease: Duration,
    snapshot_every: u64,
    trim_log: bool,
    /// Payload bytes since the last snapshot; none while one is being made.
    since_snapshot: Option<u64>,
    snapshot: Head,
    payload: Vec<u8>,
}

/// What the loop needs to know besides what was restored.
pub(crate) struct SequencerOptions {
    pub(crate) lease: Duration,
    pub(crate) snapshot_every: u64,
    pub(crate) trim_log: bool,
    pub(crate) metrics: Arc<Metrics>,
}

impl Sequencer {
    /// Starts the loop on a thread of its own.
    pub(crate) fn start(restored: Restored, options: SequencerOptions) -> std::io::Result<Cell> {
        let (work, queue) = mpsc::channel(QUEUE);
        let stopped = Arc::new(OnceLock::new());
        let next_due = Arc::new(AtomicU64::new(u64::MAX));
        let Restored { log, state, journal, snapshots, snapshot } = restored;
        let sequencer = Sequencer {
            log,
            state,
            journal,
            snapshots,
            outbox: Outbox::default(),
            metrics: options.metrics,
            next_due: Arc::clone(&next_due),
            work: work.downgrade(),
            lease: options.lease,
            snapshot_every: options.snapshot_every,
            trim_log: options.trim_log,
            since_snapshot: Some(0),
            snapshot,
            payload: Vec::new(),
        };
        let why = StopNote(Arc::clone(&stopped));
        thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(queue, &why))?;
        Ok(Cell { work, stopped, next_due })
    }

    fn run(mut self, mut queue: mpsc::Receiver<Work>, why: &StopNote) {
        let mut gathered = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut gathered, BATCH) > 0 {
            let mut batch = Batch::default();
            gathered.drain(..).for_each(|work| batch.take(work));
            if let Some(done) = batch.snapshot.take() {
                self.snapshot_done(done);
            }
            // Whoever waits for an answer must find the reason, so it is set before the batch is dropped.
            if let Err(error) = self.commit(&mut batch) {
                tracing::error!("the cell stopped: {error}");
                return why.set(error.to_string());
            }
            self.next_due.store(self.state.next_due().map_or(u64::MAX, |at| at.0), Ordering::Relaxed);
            self.snapshot_if_due();
            if let Some(reply) = batch.shut_down {
                why.set("it has shut down".to_owned());
                return self.finish(reply);
            }
        }
    }

    /// Makes a batch durable and part of the state, then lets its answers and actions out.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), ServeError> {
        let mut answers = Vec::with_capacity(batch.requests.len());
        let mut actions = Vec::new();
        let mut rest = batch.requests.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.encode(rest));
            self.enter(now, &mut answers, &mut actions)?;
            rest = later;
        }
        batch.seen.extend(batch.looks.drain(..).map(|look| look(&self.state)));
        self.log.wait(self.log.head().seq)?;
        self.deliver(&batch.requests, batch.replies.drain(..), answers);
        self.outbox.carry_out(&self.state, actions);
        batch.seen.drain(..).for_each(|deliver| deliver());
        for (job, reply) in batch.awaits.drain(..) {
            self.outbox.wait_for(&self.state, job, reply);
        }
        Ok(())
    }

    /// Encodes as many requests as one entry should hold, and says how many those are.
    fn encode(&mut self, requests: &[Request]) -> usize {
        self.payload.clear();
        let fitting = requests.iter().take_while(|request| {
            let room = self.payload.len() < ENTRY_BYTES;
            if room {
                encode_request(&mut self.payload, request);
            }
            room
        });
        fitting.count()
    }

    /// Logs and applies the encoded requests; the disk may still be writing when this returns.
    fn enter(
        &mut self,
        requests: &[Request],
        answers: &mut Vec<Answer>,
        actions: &mut Vec<Action>,
    ) -> Result<(), ServeError> {
        let time = now().max(self.log.head().time);
        self.log.submit(time, &self.payload)?;
        let applied = self.state.apply(time, requests);
        self.journal.write(&applied.effects.transfers)?;
        self.metrics.entry(requests.len(), self.payload.len(), applied.effects.transfers.len());
        if let Some(bytes) = &mut self.since_snapshot {
            *bytes += self.payload.len() as u64;
        }
        answers.extend(applied.answers);
        actions.extend(applied.effects.actions);
        Ok(())
    }

    fn deliver(&mut self, requests: &[Request], replies: impl Iterator<Item = Reply>, answers: Vec<Answer>) {
        for ((request, reply), answer) in requests.iter().zip(replies).zip(answers) {
            if let (Command::DetachWorker { worker, link }, Ok(Done::Ok)) = (&request.command, &answer) {
                self.outbox.detached(*worker, *link);
            }
            let reply = match reply {
                Reply::Answer(reply) => reply,
                Reply::Attach(link, reply) => {
                    self.outbox.attached(&answer, link, self.lease.as_millis() as u64);
                    reply
                }
            };
            // A caller that went away does not undo what it asked for.
            let _ = reply.send(answer);
        }
    }

    fn snapshot_if_due(&mut self) {
        if self.since_snapshot.is_none_or(|bytes| bytes < self.snapshot_every) {
            return;
        }
        let entries = match self.log.read(self.snapshot.seq.next()) {
            Ok(entries) => entries,
            Err(error) => return self.snapshot_done(Err(error.into())),
        };
        self.since_snapshot = None;
        let work = self.work.clone();
        let done = move |result| {
            if let Some(work) = work.upgrade() {
                // The loop is gone when this fails, and with it the need.
                let _ = work.blocking_send(Work::Snapshot(result));
            }
        };
        if let Err(source) = snapshots::follow(self.snapshots.clone(), self.journal.clone(), entries, done) {
            tracing::warn!("cannot start the snapshot thread: {source}");
            self.since_snapshot = Some(0);
        }
    }

    /// A failed snapshot is not the end: the log holds everything.
    fn snapshot_done(&mut self, done: Result<Head, ServeError>) {
        self.since_snapshot = Some(0);
        match done {
            Ok(head) => {
                self.snapshot = head;
                self.trim();
            }
            Err(error) => tracing::warn!("no snapshot: {error}"),
        }
    }

    fn trim(&mut self) {
        if !self.trim_log {
            return;
        }
        let trimmed = self.snapshots.covered().map_err(ServeError::from);
        if let Err(error) = trimmed.and_then(|seq| Ok(self.log.trim(seq.next())?)) {
            tracing::warn!("the log was not trimmed: {error}");
        }
    }

    /// The last snapshot makes the next start quick.
    fn finish(mut self, reply: oneshot::Sender<()>) {
        let head = self.log.head();
        if head.seq > self.snapshot.seq {
            match snapshots::write(&self.snapshots, &self.journal, &self.state, head) {
                Ok(()) => self.snapshot_done(Ok(head)),
                Err(error) => tracing::warn!("no snapshot: {error}; the next start replays the log"),
            }
        }
        drop(self.log);
        let _ = reply.send(());
    }
}

/// Everything that one turn of the loop takes on.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    replies: Vec<Reply>,
    looks: Vec<Look>,
    /// What the looks saw, delivered once it is durable.
    seen: Vec<Box<dyn FnOnce() + Send>>,
    awaits: Vec<(JobId, oneshot::Sender<()>)>,
    snapshot: Option<Result<Head, ServeError>>,
    shut_down: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, work: Work) {
        match work {
            Work::Ask { request, reply } => {
                self.requests.push(request);
                self.replies.push(Reply::Answer(reply));
            }
            Work::Attach { request, link, reply } => {
                self.requests.push(request);
                self.replies.push(Reply::Attach(link, reply));
            }
            Work::Read(look) => self.looks.push(look),
            Work::Await { job, reply } => self.awaits.push((job, reply)),
            Work::Snapshot(done) => self.snapshot = Some(done),
            Work::ShutDown(reply) => self.shut_down = Some(reply),
        }
    }
}

/// Why the loop stopped; says so even when it panics.
struct StopNote(Arc<OnceLock<Arc<str>>>);

impl StopNote {
    fn set(&self, reason: String) {
        // The first reason is the true one.
        let _ = self.0.set(reason.into());
    }
}

impl Drop for StopNote {
    fn drop(&mut self) {
        self.set("its loop failed unexpectedly; see the hub's log".to_owned());
    }
}

/// The clock of this machine. It may jump; the log's time does not run backwards.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use pumasi_log::FileLogOptions;
    use pumasi_types::CellId;

    use super::*;

    #[test]
    fn every_request_that_gateways_let_in_fits_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let log = FileLog::open(dir.path(), FileLogOptions::new(CellId(0))).unwrap().log;
        assert!(log.payload_bytes_max() >= (ENTRY_BYTES + REQUEST_BYTES_MAX) as u64);
    }
}
