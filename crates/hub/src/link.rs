//! The worker link: one gRPC stream per worker, its messages turned into commands.
//!
//! Everything a worker sends is doubted: sizes are bounded, outputs must have the hash they claim, and a run
//! that is not the worker's changes nothing. Reports are pipelined: the next is read while the last becomes
//! durable, and acknowledgements go out in order.
//!
//! A report whose outputs came along goes on when they are stored, and no sooner than if the store had had none of them
//! ([`crate::chunks::Disguise`]): its owner must not tell from the acknowledgement, the next runs or the task's state whether
//! somebody else had the same. What it says meanwhile is read, and reports without outputs overtake it.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_api::link::worker_link_server::WorkerLink;
use pumasi_api::link::{FromHub, FromWorker, from_worker};
use pumasi_blobs::BlobError;
use pumasi_cell::link::{self, BadMessage, Heard, Reported};
use pumasi_core::{Answer, Done, Request as Ask, Role, State};
use pumasi_types::{AccountId, Hash, RunId, WorkerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tonic::{Request, Response, Status, Streaming};

use crate::cell::{CellError, Letter, LinkSender, UNREAD};
use crate::chunks::{self, LastByte};
use crate::http::{LINK_MESSAGE_BYTES, Peer};
use crate::server::{Denied, Hub};
use crate::session::{Over, Session};
use crate::tls::PeerMachine;

/// Reports of one worker that wait for the log at most.
const PIPELINE: usize = 64;
/// What the reports of one worker whose outputs are being stored take in memory at most, in bytes: as much as one message.
const STORING_BYTES: usize = LINK_MESSAGE_BYTES;
/// What a run of a report takes besides its output.
const RUN_BYTES: usize = 128;
/// What the encoding of an output without files adds to it in bytes, with room to spare; what it adds for a file, runs count
/// as output.
const HEAD: u64 = 64;
/// How long a worker may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);

/// The gRPC service.
pub(crate) struct Gateway(pub(crate) Arc<Hub>);

#[tonic::async_trait]
impl WorkerLink for Gateway {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<FromHub, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let hub = Arc::clone(&self.0);
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let machine = request.extensions().get().copied().unwrap_or(PeerMachine::Unknown);
        let session = Session::begin(&hub, request.metadata().as_ref(), peer).await.map_err(denied)?;
        session
            .caller
            .needs(Role::Owner)
            .map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        let (to, messages) = mpsc::channel(UNREAD);
        let messages = Arc::new(Mutex::new(messages));
        let unread_bytes = Arc::new(AtomicUsize::new(0));
        let (unread, lease) = (Arc::clone(&messages), hub.options.link_lease);
        let (end, ended) = oneshot::channel();
        let from = request.into_inner();
        let adding = Arc::clone(&unread_bytes);
        tokio::spawn(async move {
            let owner = session.caller.account;
            let stranger = Stranger { hub, session, machine };
            match stranger.serve(from, to, adding).await {
                Err(status) => {
                    tracing::info!(owner = owner.0, "link ended: {}", status.message());
                    // The worker may be gone.
                    let _ = end.send(status);
                }
                // A worker that said goodbye is not kept waiting for the end.
                Ok(()) => drop(end),
            }
            // A worker may keep its end open and read nothing; what it has not read by then it never will.
            tokio::time::sleep(lease).await;
            let mut unread = lock(&unread);
            unread.close();
            while unread.try_recv().is_ok() {}
        });
        let messages = stream::poll_fn(move |cx| lock(&messages).poll_recv(cx)).map(move |letter: Letter| {
            unread_bytes.fetch_sub(letter.bytes, Ordering::Relaxed);
            Ok(letter.message)
        });
        // Why the link ended comes last, when nobody can send anything else any more.
        let end = stream::once(ended).filter_map(|status| async { status.ok().map(Err) });
        Ok(Response::new(Box::pin(messages.chain(end))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn denied(denied: Denied) -> Status {
    match &denied {
        Denied::NoToken | Denied::UnknownToken => Status::unauthenticated(denied.to_string()),
        Denied::TooMany(_) => Status::resource_exhausted(denied.to_string()),
        Denied::Cell(error) => unavailable(error),
    }
}

pub(crate) fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// What waits for the store and the log: reports to acknowledge in order.
struct Pending {
    report_id: u64,
    handed_in: oneshot::Receiver<Waiting>,
}

/// What is answered about a report that was handed in.
type Waiting = oneshot::Receiver<Answer>;

/// A stream whose worker has not said who it is.
struct Stranger {
    hub: Arc<Hub>,
    session: Session,
    /// What its connection proved.
    machine: PeerMachine,
}

/// Whose stream it is.
#[derive(Clone)]
struct Link {
    hub: Arc<Hub>,
    owner: AccountId,
    worker: WorkerId,
}

/// One worker's stream.
struct Reader {
    link: Link,
    acks: mpsc::Sender<Pending>,
    /// Memory for what is being stored.
    room: Arc<Semaphore>,
    /// Reports whose outputs are being stored. They end with the reader: what did not reach the cell was not read.
    storing: JoinSet<Result<(), Status>>,
}

impl Stranger {
    async fn serve(
        self,
        mut from: Streaming<FromWorker>,
        to: mpsc::Sender<Letter>,
        unread_bytes: Arc<AtomicUsize>,
    ) -> Result<(), Status> {
        let first = tokio::time::timeout(HELLO, from.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no Hello within ten seconds"))??;
        let Stranger { hub, session, machine } = self;
        let owner = session.caller.account;
        let first = first.unwrap_or_default();
        check_machine(&first, machine)?;
        let ask = link::hello(owner, first).map_err(misbehaved)?;
        let (end, cut_off) = LinkSender::new(to.clone(), unread_bytes);
        let (worker, number) = match hub.cell.attach(ask, end).await.map_err(unavailable)? {
            Ok(Done::Attached { worker, link, .. }) => (worker, link),
            Ok(_) => return Err(Status::internal("unexpected answer")),
            Err(refusal) => return Err(Status::failed_precondition(refusal.to_string())),
        };
        hub.metrics.links.inc();
        let (acks, pending) = mpsc::channel(PIPELINE);
        let lease = hub.options.link_lease;
        let mut acknowledging = tokio::spawn(acknowledge(pending, to, lease));
        let mut reader = Reader::new(Link { hub: Arc::clone(&hub), owner, worker }, acks);
        let ended = tokio::select! {
            ended = reader.read(&mut from) => ended,
            _ = cut_off => Err(Status::unavailable(
                "this link was cut off: its worker does not read, has a newer link, or the hub stopped",
            )),
            over = session.over(&hub) => Err(over.into()),
        };
        drop(reader);
        // What was read is acknowledged, or its worker does not read.
        if tokio::time::timeout(lease, &mut acknowledging).await.is_err() {
            acknowledging.abort();
        }
        hub.metrics.links.dec();
        hub.link_ended(worker, number).await;
        ended
    }
}

/// Over TLS a machine has the key that it is known by, so that a stolen token cannot speak for it.
fn check_machine(first: &FromWorker, machine: PeerMachine) -> Result<(), Status> {
    match &first.message {
        Some(from_worker::Message::Hello(hello)) if !machine.may_be(&hello.machine_key) => {
            Err(Status::failed_precondition(
                "machine_key is not that of the certificate on this connection; use a worker of this \
                 version, and give each machine a data folder of its own",
            ))
        }
        _ => Ok(()),
    }
}

impl From<Over> for Status {
    fn from(over: Over) -> Status {
        match over {
            Over::Revoked => Status::unauthenticated(over.to_string()),
            Over::Stopping => unavailable(over),
        }
    }
}

impl Reader {
    fn new(link: Link, acks: mpsc::Sender<Pending>) -> Reader {
        Reader { link, acks, room: Arc::new(Semaphore::new(STORING_BYTES)), storing: JoinSet::new() }
    }

    /// Until the worker ends its stream, or has to; what it said before is with the cell then.
    async fn read(&mut self, from: &mut Streaming<FromWorker>) -> Result<(), Status> {
        let ended = self.take_in(from).await;
        while let Some(stored) = self.storing.join_next().await {
            well(stored)?;
        }
        ended
    }

    async fn take_in(&mut self, from: &mut Streaming<FromWorker>) -> Result<(), Status> {
        while let Some(message) = self.next(from).await? {
            match link::hear(self.link.owner, self.link.worker, message).map_err(misbehaved)? {
                Heard::Heartbeat => {}
                Heard::Ask(ask) => self.link.ask(ask).await?,
                Heard::Report(report) => self.report(report).await?,
            }
        }
        Ok(())
    }

    /// What the worker says next. Fails when it falls silent, or an output that it sent cannot be stored.
    async fn next(&mut self, from: &mut Streaming<FromWorker>) -> Result<Option<FromWorker>, Status> {
        let silent = tokio::time::Instant::now() + self.link.hub.options.link_lease;
        loop {
            tokio::select! {
                message = tokio::time::timeout_at(silent, from.message()) => {
                    return message.map_err(|_| Status::deadline_exceeded("the worker fell silent"))?;
                }
                Some(stored) = self.storing.join_next() => well(stored)?,
            }
        }
    }

    /// Hands a report on, at once when no outputs came along. It has its place among the acknowledgements already.
    async fn report(&mut self, report: Reported) -> Result<(), Status> {
        let (to, handed_in) = oneshot::channel();
        let pending = Pending { report_id: report.id, handed_in };
        self.acks.send(pending).await.map_err(|_| Status::aborted("the worker is gone"))?;
        let outputs: usize = report.carried().map(Bytes::len).sum();
        if outputs == 0 {
            return self.link.hand_in(report, Vec::new(), to).await;
        }
        let weight = (outputs + RUN_BYTES * report.runs.len()).min(STORING_BYTES) as u32;
        // Room is free when a report was handed in, so that how soon the next one is read tells nothing either.
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(unavailable)?;
        self.storing.spawn(self.link.clone().store(report, room, to));
        Ok(())
    }
}

/// How the storing of a report ended.
fn well(stored: Result<Result<(), Status>, JoinError>) -> Result<(), Status> {
    stored.map_err(|error| Status::internal(format!("storing the outputs of a report broke off: {error}")))?
}

impl Link {
    /// Waits until it is durable: whoever says too much of this waits for it alone.
    async fn ask(&self, ask: Ask) -> Result<(), Status> {
        let answer = self.hub.cell.send(ask).await.map_err(unavailable)?.await;
        answer
            .map_err(unavailable)?
            .map(drop)
            .map_err(|refusal| Status::failed_precondition(refusal.to_string()))
    }

    /// Stores the outputs that came along and hands the report on, no sooner than if all of them had been new.
    async fn store(
        self,
        mut report: Reported,
        _room: OwnedSemaphorePermit,
        to: oneshot::Sender<Waiting>,
    ) -> Result<(), Status> {
        for run in self.cut(&mut report).await.map_err(unavailable)? {
            tracing::warn!(worker = self.worker.0, run = run.0, "output is longer than its run may write");
        }
        let carried: Vec<Bytes> = report.carried().cloned().collect();
        let (begun, mut writer) = (LastByte::now(), self.hub.blobs.writer());
        let stored = writer.put_many(carried).await.map_err(storage)?;
        let tally = writer.finish().await.map_err(storage)?;
        self.hub.chunks.together.settle(&begun, &tally).await;
        self.hand_in(report, stored, to).await
    }

    /// Gives a report to the cell, with the hashes of the outputs that came along.
    async fn hand_in(
        &self,
        mut report: Reported,
        stored: Vec<Hash>,
        to: oneshot::Sender<Waiting>,
    ) -> Result<(), Status> {
        for run in self.doubt(&mut report, stored).await.map_err(unavailable)? {
            tracing::warn!(worker = self.worker.0, run = run.0, "output is not what its hash says");
        }
        self.hub.metrics.reported_runs.inc_by(report.runs.len() as u64);
        let ask = report.request(self.owner, self.worker);
        let answer = self.hub.cell.send(ask).await.map_err(unavailable)?;
        // When this fails the worker does not read acknowledgements, and the report counts all the same.
        let _ = to.send(answer);
        Ok(())
    }

    /// The runs whose outputs came along and are longer than theirs can be: nothing of them is stored.
    async fn cut(&self, report: &mut Reported) -> Result<Vec<RunId>, CellError> {
        // Most are short enough for any run, and nobody waits for a look at the state.
        let long: Vec<(RunId, u64)> = report.lengths().filter(|(_, length)| *length > HEAD).collect();
        let mut cut: HashSet<(RunId, u64)> = HashSet::new();
        for long in long.chunks(chunks::LOOKED_AT) {
            let (long, worker) = (long.to_vec(), self.worker);
            let look = move |state: &State| -> Vec<(RunId, u64)> {
                let is_long = |(run, length): &(RunId, u64)| {
                    // A run that is not the worker's changes nothing.
                    let most = state.output_limit(worker, *run);
                    most.is_some_and(|limit| *length > limit.0.saturating_add(HEAD))
                };
                long.into_iter().filter(is_long).collect()
            };
            cut.extend(self.hub.cell.read(look).await?);
        }
        Ok(report.cut(|run, length| cut.contains(&(run, length))))
    }

    /// The runs whose outputs are not what their hashes say. What was not sent along must have come from the worker's own
    /// account before: nobody reports as his what he only knows the name of. Nor is it longer than an output of the run can
    /// be: from then on it counts as the job's, and not for who sent it.
    async fn doubt(&self, report: &mut Reported, stored: Vec<Hash>) -> Result<Vec<RunId>, CellError> {
        let uploaded: Vec<(RunId, Hash)> = report.uploaded().collect();
        let mut held: HashSet<(RunId, Hash)> = HashSet::with_capacity(uploaded.len());
        for uploaded in uploaded.chunks(chunks::LOOKED_AT) {
            let (uploaded, owner, worker) = (uploaded.to_vec(), self.owner, self.worker);
            let look = move |state: &State| -> Vec<(RunId, Hash)> {
                let fits = |(run, blob): &(RunId, Hash)| {
                    let size = state.files().claimed(owner, blob)?;
                    // A run that is not the worker's changes nothing.
                    let most = state.output_limit(worker, *run).map(|limit| limit.0.saturating_add(HEAD));
                    most.is_none_or(|most| size.0 <= most).then_some((*run, *blob))
                };
                uploaded.iter().filter_map(fits).collect()
            };
            held.extend(self.hub.cell.read(look).await?);
        }
        Ok(report.doubt(stored, |run, blob| held.contains(&(run, *blob))))
    }
}

/// A full disk is the hub's trouble, not the worker's: it keeps the report and comes back.
fn storage(error: BlobError) -> Status {
    tracing::error!("cannot store a task's output: {error}");
    Status::unavailable("the hub cannot store outputs now; try again")
}

/// Acknowledges reports in order, until a worker does not read for a lease's time.
async fn acknowledge(mut pending: mpsc::Receiver<Pending>, to: mpsc::Sender<Letter>, lease: Duration) {
    while let Some(Pending { report_id, handed_in }) = pending.recv().await {
        // Its outputs could not be stored, or the cell stopped.
        let Ok(answer) = handed_in.await else { return };
        // The cell stopped, or a report was refused as a whole: what did not count is not acknowledged.
        let Some(message) = answer.await.ok().and_then(|answer| link::ack(report_id, &answer)) else {
            return;
        };
        // Short, and as many as the worker's own messages: their number is bound enough.
        let letter = Letter { message, bytes: 0 };
        let sent = tokio::time::timeout(lease, to.send(letter)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

fn misbehaved(error: BadMessage) -> Status {
    Status::invalid_argument(error.to_string())
}
