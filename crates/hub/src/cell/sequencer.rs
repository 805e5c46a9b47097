//! The sequencer: one loop that gathers commands and takes its cell from step to step.
//!
//! Whatever arrived while an entry was being written makes the next entry (group commit), so the entries grow
//! with the load and a lone command never waits for company. No answer, read or message leaves before the
//! entry is durable, and if it cannot be made durable the cell stops: the state in memory is ahead of the log
//! then, and must not be seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use pumasi_cell::{Batch, CellFailure, Look, Restored, SnapshotWork};
use pumasi_core::Request;
use pumasi_log::{Entries, FileLog, Head, Log, LogError, Seq};
use pumasi_types::{Duration as Span, EventId, JobId, Time};
use tokio::sync::{mpsc, oneshot, watch};

use super::handle::Cell;
use super::outlet::{Channels, LinkSender, Reply};
use crate::metrics::Metrics;

/// What the loop is asked to do.
pub(crate) enum Work {
    /// Do a command.
    Ask { request: Request, reply: Reply },
    /// Attach a worker whose messages go to `link`.
    Attach { request: Request, link: LinkSender, reply: Reply },
    /// Look at the state.
    Read(Look),
    /// Tell when a job is over.
    Await { job: JobId, reply: oneshot::Sender<()> },
    /// Read durable entries of the log.
    ReadLog { from: Seq, reply: oneshot::Sender<Result<Entries, LogError>> },
    /// A snapshot was made, or could not be made.
    Snapshot(Result<(Head, u64), CellFailure>),
    /// Finish and stop.
    ShutDown(oneshot::Sender<()>),
}

/// How many pieces of work wait at most; more wait at the gateways.
const QUEUE: usize = 4096;
/// How many go into one step at most.
const BATCH: usize = 1024;

/// The loop and all it owns.
pub(crate) struct Sequencer {
    cell: pumasi_cell::Cell<FileLog, Channels>,
    outlet: Channels,
    next_due: Arc<AtomicU64>,
    /// The last durable event.
    events: watch::Sender<EventId>,
    /// For the snapshot thread, which must not keep the loop alive.
    work: mpsc::WeakSender<Work>,
    snapshot_every: u64,
    trim_log: bool,
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
    pub(crate) fn start(restored: Restored<FileLog>, options: SequencerOptions) -> std::io::Result<Cell> {
        let (work, queue) = mpsc::channel(QUEUE);
        let stopped = Arc::new(OnceLock::new());
        let next_due = Arc::new(AtomicU64::new(u64::MAX));
        let lease = Span(u64::try_from(options.lease.as_nanos()).unwrap_or(u64::MAX));
        let cell = pumasi_cell::Cell::new(restored, lease);
        let settled = Arc::clone(cell.settled());
        let (events, last_event) = watch::channel(cell.state().market().last_event());
        let sequencer = Sequencer {
            cell,
            outlet: Channels(options.metrics),
            next_due: Arc::clone(&next_due),
            events,
            work: work.downgrade(),
            snapshot_every: options.snapshot_every,
            trim_log: options.trim_log,
        };
        let why = StopNote(Arc::clone(&stopped));
        thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(queue, &why))?;
        Ok(Cell { work, stopped, next_due, settled, last_event })
    }

    fn run(mut self, mut queue: mpsc::Receiver<Work>, why: &StopNote) {
        let mut gathered = Vec::with_capacity(BATCH);
        loop {
            // What was too much for one entry goes on at once, with whatever has come meanwhile.
            if self.cell.state().is_behind() {
                gathered.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH));
            } else if queue.blocking_recv_many(&mut gathered, BATCH) == 0 {
                return;
            }
            let mut batch = Batch::default();
            let mut shut_down = None;
            for work in gathered.drain(..) {
                match work {
                    Work::Ask { request, reply } => batch.ask(request, reply),
                    Work::Attach { request, link, reply } => batch.attach(request, link, reply),
                    Work::Read(look) => batch.look(look),
                    Work::Await { job, reply } => batch.wait_for(job, reply),
                    // A caller that went away wants nothing more.
                    Work::ReadLog { from, reply } => drop(reply.send(self.cell.log().read(from))),
                    Work::Snapshot(made) => self.snapshot_done(made),
                    Work::ShutDown(reply) => shut_down = Some(reply),
                }
            }
            // Whoever waits for an answer must find the reason, so it is set before the batch is dropped.
            if let Err(error) = self.cell.step(now(), &mut seed, &mut batch, &mut self.outlet) {
                tracing::error!("the cell stopped: {error}");
                return why.set(error.to_string());
            }
            let next_due = self.cell.state().next_due().map_or(u64::MAX, |at| at.0);
            self.next_due.store(next_due, Ordering::Relaxed);
            let last_event = self.cell.state().market().last_event();
            self.events.send_if_modified(|last| std::mem::replace(last, last_event) != last_event);
            self.snapshot_if_due();
            if let Some(reply) = shut_down {
                why.set("it has shut down".to_owned());
                return self.finish(reply);
            }
        }
    }

    fn snapshot_if_due(&mut self) {
        match self.cell.due_snapshot(self.snapshot_every) {
            Ok(None) => {}
            Ok(Some(work)) => self.make_snapshot(work),
            Err(error) => tracing::warn!("no snapshot: {error}"),
        }
    }

    /// Makes it on a thread of its own.
    fn make_snapshot(&mut self, snapshot: SnapshotWork) {
        let work = self.work.clone();
        let make = move || {
            let made = snapshot.run();
            if let Some(work) = work.upgrade() {
                // The loop is gone when this fails, and with it the need.
                let _ = work.blocking_send(Work::Snapshot(made));
            }
        };
        if let Err(source) = thread::Builder::new().name("snapshot".to_owned()).spawn(make) {
            tracing::warn!("cannot start the snapshot thread: {source}");
            self.cell.snapshot_done(None);
        }
    }

    /// A failed snapshot is not the end: the log holds everything.
    fn snapshot_done(&mut self, made: Result<(Head, u64), CellFailure>) {
        match made {
            Ok((head, bytes)) => {
                tracing::info!(seq = head.seq.0, bytes, "snapshot written");
                self.cell.snapshot_done(Some(head));
                self.trim();
            }
            Err(error) => {
                tracing::warn!("no snapshot: {error}");
                self.cell.snapshot_done(None);
            }
        }
    }

    fn trim(&mut self) {
        if self.trim_log
            && let Err(error) = self.cell.trim()
        {
            tracing::warn!("the log was not trimmed: {error}");
        }
    }

    /// The last snapshot makes the next start quick.
    fn finish(mut self, reply: oneshot::Sender<()>) {
        match self.cell.snapshot_now() {
            Ok(None) => {}
            Ok(Some((head, bytes))) => {
                tracing::info!(seq = head.seq.0, bytes, "snapshot written");
                self.trim();
            }
            Err(error) => tracing::warn!("no snapshot: {error}; the next start replays the log"),
        }
        drop(self.cell);
        let _ = reply.send(());
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

/// What nobody can foresee, from the operating system.
fn seed() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    u128::from_le_bytes(bytes)
}
