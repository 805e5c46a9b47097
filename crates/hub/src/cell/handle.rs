//! How gateways talk to a cell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pumasi_cell::Settled;
use pumasi_core::{Answer, Command, Request, State};
use pumasi_log::{Entries, LogError, Seq};
use pumasi_types::{AccountId, EventId, JobId, RequestId, Time};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::outlet::{LinkSender, Reply};
use super::sequencer::Work;

/// The cell took no command: it stopped, or is stopping.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the hub takes no commands: {0}")]
pub(crate) struct CellError(pub(crate) Arc<str>);

/// Sees how far a cell is.
pub(crate) struct Follow {
    settled: Arc<Mutex<Settled>>,
    stopped: Arc<std::sync::OnceLock<Arc<str>>>,
}

impl Follow {
    /// How far everything is durable.
    pub(crate) fn settled(&self) -> Settled {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more will be settled.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }
}

/// A handle on a cell; cheap to clone.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(super) work: mpsc::Sender<Work>,
    pub(super) stopped: Arc<std::sync::OnceLock<Arc<str>>>,
    /// When something is due next, in nanoseconds; `u64::MAX`: never.
    pub(super) next_due: Arc<AtomicU64>,
    pub(super) settled: Arc<Mutex<Settled>>,
    pub(super) last_event: watch::Receiver<EventId>,
}

impl Cell {
    /// Hands a command over; its answer comes once it is durable.
    pub(crate) async fn send(&self, request: Request) -> Result<oneshot::Receiver<Answer>, CellError> {
        self.send_with(request, None).await
    }

    /// The same for a command that takes room, which is free again once it is answered.
    pub(crate) async fn send_with(
        &self,
        request: Request,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Answer>, CellError> {
        let (to, answer) = oneshot::channel();
        self.put(Work::Ask { request, reply: Reply { to, room } }).await?;
        Ok(answer)
    }

    /// Asks and waits for the durable answer.
    pub(crate) async fn ask(
        &self,
        caller: AccountId,
        id: Option<RequestId>,
        command: Command,
    ) -> Result<Answer, CellError> {
        let answer = self.send(Request { caller, id, command }).await?;
        answer.await.map_err(|_| self.why_stopped())
    }

    /// A worker attaches: its link is known before anything is sent to it.
    pub(crate) async fn attach(&self, request: Request, link: LinkSender) -> Result<Answer, CellError> {
        let (to, answer) = oneshot::channel();
        self.put(Work::Attach { request, link, reply: Reply { to, room: None } }).await?;
        answer.await.map_err(|_| self.why_stopped())
    }

    /// Looks at the state. The answer holds only what is durable; `look` must be quick, the loop waits.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, CellError> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |state: &State| {
            let value = look(state);
            Box::new(move || drop(reply.send(value))) as Box<dyn FnOnce() + Send>
        });
        self.put(Work::Read(look)).await?;
        answer.await.map_err(|_| self.why_stopped())
    }

    /// Resolves when the job is over, or at once when it is not there.
    pub(crate) async fn job_over(&self, job: JobId) -> Result<(), CellError> {
        let (reply, over) = oneshot::channel();
        self.put(Work::Await { job, reply }).await?;
        over.await.map_err(|_| self.why_stopped())
    }

    pub(crate) fn next_due(&self) -> Time {
        Time(self.next_due.load(Ordering::Relaxed))
    }

    /// How far everything is durable.
    pub(crate) fn settled(&self) -> Settled {
        self.follow().settled()
    }

    /// Follows the last durable event; closed when the cell stops.
    pub(crate) fn events(&self) -> watch::Receiver<EventId> {
        self.last_event.clone()
    }

    /// The durable entries from `from` on.
    pub(crate) async fn read_log(&self, from: Seq) -> Result<Result<Entries, LogError>, CellError> {
        let (reply, answer) = oneshot::channel();
        self.put(Work::ReadLog { from, reply }).await?;
        answer.await.map_err(|_| self.why_stopped())
    }

    /// The same for somebody who must not keep the loop alive.
    pub(crate) fn follow(&self) -> Follow {
        Follow { settled: Arc::clone(&self.settled), stopped: Arc::clone(&self.stopped) }
    }

    /// Why it stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<CellError> {
        self.stopped.get().cloned().map(CellError)
    }

    /// Finishes what was handed over, makes a snapshot and stops.
    pub(crate) async fn shut_down(&self) {
        let (reply, done) = oneshot::channel();
        if self.put(Work::ShutDown(reply)).await.is_ok() {
            // An error means that the loop is gone already.
            let _ = done.await;
        }
    }

    async fn put(&self, work: Work) -> Result<(), CellError> {
        self.work.send(work).await.map_err(|_| self.why_stopped())
    }

    /// Why there is no answer.
    pub(crate) fn why_stopped(&self) -> CellError {
        self.stopped().unwrap_or_else(|| CellError("its loop ended; see the hub's log".into()))
    }
}
