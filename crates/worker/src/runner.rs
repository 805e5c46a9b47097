//! Executes batches of runs, one thread per core.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use pumasi_api::output::TaskOutput;
use pumasi_types::{Duration, Ending, Fuel, Hash, RunId};
use tokio::sync::mpsc;

use crate::engine::{Engine, RunOutcome, StopFlag};
use crate::inputs::{OwnInput, PreparedJob};
use pumasi_protocol::{Batch, BatchId, Fault, Finished, Ready};

/// Results of a batch are handed on after so much work at the latest, once the run that it is at ends.
const HAND_ON: Duration = Duration(1_000_000);
/// Stack of a thread, in bytes; the engine needs half of it.
const STACK: usize = 4 << 20;
/// Niceness of threads that must not be in anybody's way (setpriority(2)).
const NICE: i32 = 10;

/// What threads tell.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) batch: BatchId,
    pub(crate) runs: Vec<Finished>,
    /// Whether the batch is over.
    pub(crate) over: bool,
}

/// A batch that a thread works on, and what others may do to it meanwhile.
struct Work {
    batch: Batch<Arc<PreparedJob>, OwnInput>,
    /// Runs that were begun or taken back.
    next: AtomicUsize,
    stop: StopFlag,
    finished: Mutex<Vec<Finished>>,
}

impl Work {
    fn finished(&self) -> MutexGuard<'_, Vec<Finished>> {
        // Nothing panics while it holds this.
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Arc<Work>>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds this.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads that execute runs.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    live: HashMap<BatchId, Arc<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Runner {
    /// Starts a thread for each core. What finishes is told through the receiver.
    pub(crate) fn start(
        engine: &Engine,
        cores: u32,
        nice: bool,
    ) -> std::io::Result<(Runner, mpsc::Receiver<Event>)> {
        let (events, told) = mpsc::channel(2 * cores as usize);
        let mut runner = Runner { shared: Arc::default(), live: HashMap::new(), threads: Vec::new() };
        for core in 0..cores {
            let (shared, engine, events) = (Arc::clone(&runner.shared), engine.clone(), events.clone());
            let thread = std::thread::Builder::new().name(format!("run-{core}")).stack_size(STACK);
            let handle = thread.spawn(move || {
                if nice {
                    lower_priority();
                }
                while let Some(work) = next(&shared) {
                    execute(&engine, &work, &events);
                }
            });
            // When this one cannot start, dropping the runner ends the others.
            runner.threads.push(handle?);
        }
        Ok((runner, told))
    }

    /// Hands a batch to a thread.
    pub(crate) fn execute(&mut self, batch: Batch<Arc<PreparedJob>, OwnInput>) {
        let finished = Mutex::new(Vec::with_capacity(batch.runs.len()));
        let id = batch.id;
        let work = Arc::new(Work { batch, next: AtomicUsize::new(0), stop: StopFlag::default(), finished });
        self.live.insert(id, Arc::clone(&work));
        self.shared.queue().work.push_back(work);
        self.shared.filled.notify_one();
    }

    /// Takes back what a batch has not begun, and what it has finished; ends the run that it is at when it is
    /// one of `unwanted`, which ascend.
    pub(crate) fn recall(
        &self,
        batch: BatchId,
        unwanted: &[RunId],
    ) -> Option<(Vec<Finished>, Vec<Ready<OwnInput>>)> {
        let work = self.live.get(&batch)?;
        let runs = &work.batch.runs;
        let begun = work.next.swap(runs.len(), Ordering::AcqRel).min(runs.len());
        // Since nothing else begins in this batch any more, the flag can only meet the run that it is for.
        let current = begun.checked_sub(1).map(|at| runs[at].run);
        if current.is_some_and(|run| unwanted.binary_search(&run).is_ok()) {
            work.stop.set();
        }
        Some((std::mem::take(&mut *work.finished()), runs[begun..].to_vec()))
    }

    /// Ends the run that a batch is at, and those after it that were not taken back.
    pub(crate) fn halt(&self, batch: BatchId) {
        if let Some(work) = self.live.get(&batch) {
            work.stop.set();
        }
    }

    /// Lets go of a batch that is over.
    pub(crate) fn forget(&mut self, batch: BatchId) {
        self.live.remove(&batch);
    }
}

impl Drop for Runner {
    /// Ends what runs; the threads end by themselves soon after.
    fn drop(&mut self) {
        self.live.values().for_each(|work| work.stop.set());
        self.shared.queue().closed = true;
        self.shared.filled.notify_all();
    }
}

fn next(shared: &Shared) -> Option<Arc<Work>> {
    let mut queue = shared.queue();
    loop {
        if queue.closed {
            return None;
        }
        if let Some(work) = queue.work.pop_front() {
            return Some(work);
        }
        queue = shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(unix)]
fn lower_priority() {
    // On Linux this is the thread's own priority. Without it the runs are only less polite.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "cannot lower the priority of runs");
    }
}

#[cfg(not(unix))]
fn lower_priority() {
    tracing::warn!(NICE, "the priority of runs cannot be lowered on this system");
}

/// Executes a batch and tells what came of it.
fn execute(engine: &Engine, work: &Work, events: &mpsc::Sender<Event>) {
    let Batch { id, job, runs } = &work.batch;
    let mut unheard = Duration(0);
    loop {
        let at = work.next.fetch_add(1, Ordering::AcqRel);
        let Some(ready) = runs.get(at) else { break };
        let done = run(engine, job, ready, &work.stop);
        unheard = Duration(unheard.0.saturating_add(done.wall.0));
        let mut finished = work.finished();
        finished.push(done);
        if unheard >= HAND_ON && at + 1 < runs.len() {
            unheard = Duration(0);
            let runs = std::mem::take(&mut *finished);
            drop(finished);
            // Nobody listens when the worker is gone.
            let _ = events.blocking_send(Event { batch: *id, runs, over: false });
        }
    }
    let runs = std::mem::take(&mut *work.finished());
    let _ = events.blocking_send(Event { batch: *id, runs, over: true });
}

/// One run, from its inputs to its encoded output.
fn run(engine: &Engine, job: &PreparedJob, ready: &Ready<OwnInput>, stop: &StopFlag) -> Finished {
    // The engine does not panic; if it does after all, that must cost this run only.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let spec = job.run_spec(ready.task, ready.file.as_ref())?;
        Ok(encode(ready.run, engine.run(job.module(), spec, stop)))
    }));
    let fault = match ran {
        Ok(Ok(finished)) => return finished,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::here("the worker itself failed on this run; its log says more"),
    };
    Finished {
        run: ready.run,
        ending: fault.ending,
        fuel: Fuel(0),
        wall: Duration(0),
        result: TaskOutput::default().result_hash(),
        output: Bytes::new(),
        fault: Some(fault.reason.into()),
    }
}

/// The outcome as it is reported; what a run left that did not end by itself is dropped.
fn encode(run: RunId, outcome: RunOutcome) -> Finished {
    let RunOutcome { ending, fuel, wall, mut output, reason } = outcome;
    if !ending.is_deterministic() {
        output = TaskOutput::default();
    }
    let (result, output) = match output.is_empty() {
        true => (output.result_hash(), Bytes::new()),
        false => {
            let encoded = output.encode();
            (Hash::of(&encoded), encoded.into())
        }
    };
    let fault = match ending {
        Ending::Faulted | Ending::BadModule => reason.map(Into::into),
        _ => None,
    };
    Finished { run, ending, fuel, wall, result, output, fault }
}
