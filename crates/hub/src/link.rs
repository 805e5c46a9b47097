//! The worker link: one gRPC stream per worker, its messages turned into commands.
//!
//! Everything a worker sends is doubted: sizes are bounded, outputs must have the hash they claim, and a run
//! that is not the worker's changes nothing. Reports are pipelined: the next is read while the last becomes
//! durable, and acknowledgements go out in order.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_api::link::worker_link_server::WorkerLink;
use pumasi_api::link::{self, Ack, FromHub, FromWorker, Hello, Report, from_hub, from_worker};
use pumasi_api::output;
use pumasi_blobs::BlobError;
use pumasi_core::{Answer, Bounds, Command, Done, Request as Ask, Role, RunReport, WorkerSpec};
use pumasi_types::{
    AccountId, ByteSize, Duration as Span, Ending, EngineId, Fuel, Hash, Price, RunId, Speed, WorkerId,
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::auth;
use crate::cell::{Letter, LinkSender, UNREAD};
use crate::http::Peer;
use crate::server::{Denied, Hub};

/// Reports of one worker that wait for the log at most.
const PIPELINE: usize = 64;
/// Runs in one report at most.
const REPORT_RUNS_MAX: usize = 16 << 10;
/// How long a worker may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// The largest output that travels inside a report.
const INLINE_BYTES: usize = 16 << 10;

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
        let headers = request.metadata().as_ref();
        let token = auth::bearer(headers).map(auth::hash_of).unwrap_or_default();
        let revocations = hub.tokens.revocations();
        let caller = hub.authenticate(headers, peer).await.map_err(denied)?;
        caller.needs(Role::Owner).map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        let (to, messages) = mpsc::channel(UNREAD);
        let messages = Arc::new(Mutex::new(messages));
        let unread_bytes = Arc::new(AtomicUsize::new(0));
        let (unread, lease) = (Arc::clone(&messages), hub.options.link_lease);
        let (end, ended) = oneshot::channel();
        let from = request.into_inner();
        let adding = Arc::clone(&unread_bytes);
        tokio::spawn(async move {
            let stranger = Stranger { hub, owner: caller.account, token, revocations };
            if let Err(status) = stranger.serve(from, to, adding).await {
                tracing::info!(owner = caller.account.0, "link ended: {}", status.message());
                // The worker may be gone.
                let _ = end.send(status);
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

fn denied(denied: Denied) -> Status {
    match &denied {
        Denied::NoToken | Denied::UnknownToken => Status::unauthenticated(denied.to_string()),
        Denied::TooMany(_) => Status::resource_exhausted(denied.to_string()),
        Denied::Cell(error) => unavailable(error),
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// What waits for the log: reports to acknowledge in order.
struct Pending {
    report_id: u64,
    answer: oneshot::Receiver<Answer>,
}

/// A stream whose worker has not said who it is.
struct Stranger {
    hub: Arc<Hub>,
    owner: AccountId,
    token: Hash,
    revocations: watch::Receiver<u64>,
}

/// One worker's stream.
struct Link {
    hub: Arc<Hub>,
    owner: AccountId,
    worker: WorkerId,
    acks: mpsc::Sender<Pending>,
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
        let Some(from_worker::Message::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let Stranger { hub, owner, token, revocations } = self;
        let ask = Ask { caller: owner, id: None, command: Command::AttachWorker(worker_spec(hello)?) };
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
        let link = Link { hub: Arc::clone(&hub), owner, worker, acks };
        let ended = tokio::select! {
            ended = link.read(&mut from) => ended,
            _ = cut_off => Err(Status::unavailable(
                "this link was cut off: its worker does not read, has a newer link, or the hub stopped",
            )),
            () = revoked(&hub, token, revocations) => Err(Status::unauthenticated("the token was revoked")),
            () = hub.stopping() => Err(Status::unavailable("the hub is stopping")),
        };
        drop(link);
        // What was read is acknowledged, or its worker does not read.
        if tokio::time::timeout(lease, &mut acknowledging).await.is_err() {
            acknowledging.abort();
        }
        hub.metrics.links.dec();
        hub.link_ended(worker, number).await;
        ended
    }
}

/// Resolves when the token stands for nobody any more.
async fn revoked(hub: &Hub, token: Hash, mut revocations: watch::Receiver<u64>) {
    // Errors mean that the hub or its cell is gone, which ends the link in other ways.
    while revocations.changed().await.is_ok() {
        if let Ok(None) = hub.tokens.look_up(&hub.cell, token).await {
            return;
        }
    }
    std::future::pending().await
}

impl Link {
    async fn read(&self, from: &mut Streaming<FromWorker>) -> Result<(), Status> {
        loop {
            let message = tokio::time::timeout(self.hub.options.link_lease, from.message()).await;
            let message = message.map_err(|_| Status::deadline_exceeded("the worker fell silent"))??;
            let Some(message) = message else { return Ok(()) };
            match message.message {
                Some(from_worker::Message::Report(report)) => self.report(report).await?,
                Some(from_worker::Message::Status(status)) => self.status(status).await?,
                Some(from_worker::Message::Hello(_)) | None => {
                    return Err(Status::invalid_argument("a message that does not belong here"));
                }
            }
        }
    }

    /// Waits until it is durable: whoever says too much of this waits for it alone.
    async fn status(&self, status: link::Status) -> Result<(), Status> {
        if !status.changed && status.returned_runs.is_empty() {
            return Ok(());
        }
        if status.returned_runs.len() > Bounds::RUNS {
            return Err(too_many_runs(Bounds::RUNS));
        }
        let returned = status.returned_runs.into_iter().map(RunId).collect();
        let accepting = status.accepting && !status.leaving;
        let answer = self.send(Command::SetWorker { worker: self.worker, accepting, returned }).await?.await;
        answer
            .map_err(unavailable)?
            .map(drop)
            .map_err(|refusal| Status::failed_precondition(refusal.to_string()))
    }

    async fn report(&self, report: Report) -> Result<(), Status> {
        let report_id = report.report_id;
        let runs = self.check(report).await?;
        self.hub.metrics.reported_runs.inc_by(runs.len() as u64);
        let answer = self.send(Command::Report { worker: self.worker, runs }).await?;
        self.acks.send(Pending { report_id, answer }).await.map_err(|_| Status::aborted("the worker is gone"))
    }

    async fn send(&self, command: Command) -> Result<oneshot::Receiver<Answer>, Status> {
        self.hub.cell.send(Ask { caller: self.owner, id: None, command }).await.map_err(unavailable)
    }

    /// Stores the outputs that came along; a run whose output is not what it claims counts as failed.
    async fn check(&self, report: Report) -> Result<Vec<RunReport>, Status> {
        let (mut runs, outputs) = decode_report(report)?;
        let carried: Vec<Bytes> = outputs.iter().filter(|bytes| !bytes.is_empty()).cloned().collect();
        let mut hashes = self.hub.blobs.put_many(carried).await.map_err(storage)?.into_iter();
        for (run, output) in runs.iter_mut().zip(&outputs) {
            let stored = match output.is_empty() {
                false => hashes.next() == Some(run.result),
                true => run.result == output::EMPTY_HASH || self.hub.blobs.contains(&run.result),
            };
            if !stored && run.ending.is_deterministic() {
                tracing::warn!(worker = self.worker.0, run = run.run.0, "output is not what its hash says");
                run.ending = Ending::Faulted;
            }
        }
        Ok(runs)
    }
}

/// A full disk is the hub's trouble, not the worker's: it keeps the report and comes back.
fn storage(error: BlobError) -> Status {
    tracing::error!("cannot store a task's output: {error}");
    Status::unavailable("the hub cannot store outputs now; try again")
}

/// Acknowledges reports in order, until a worker does not read for a lease's time.
async fn acknowledge(mut pending: mpsc::Receiver<Pending>, to: mpsc::Sender<Letter>, lease: Duration) {
    while let Some(Pending { report_id, answer }) = pending.recv().await {
        let refused_runs = match answer.await {
            Ok(Ok(Done::Reported { refused })) => refused.iter().map(|run| run.0).collect(),
            // The cell stopped, or a report was refused as a whole: what did not count is not acknowledged.
            Ok(_) | Err(_) => return,
        };
        let ack = from_hub::Message::Ack(Ack { report_id, refused_runs });
        // Short, and as many as the worker's own messages: their number is bound enough.
        let letter = Letter { message: FromHub { message: Some(ack) }, bytes: 0 };
        let sent = tokio::time::timeout(lease, to.send(letter)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

fn too_many_runs(most: usize) -> Status {
    Status::invalid_argument(format!("a message names more than {most} runs"))
}

/// What is refused here never gets into the log.
fn worker_spec(hello: Hello) -> Result<WorkerSpec, Status> {
    let key: [u8; 16] = hello
        .machine_key
        .try_into()
        .map_err(|_| Status::invalid_argument("machine_key must have 16 bytes"))?;
    if hello.held_runs.len() > Bounds::RUNS {
        return Err(too_many_runs(Bounds::RUNS));
    }
    if hello.name.len() > Bounds::NAME_BYTES || hello.engine.len() > Bounds::NAME_BYTES {
        let message = format!("name and engine must have at most {} bytes", Bounds::NAME_BYTES);
        return Err(Status::invalid_argument(message));
    }
    Ok(WorkerSpec {
        machine_key: u128::from_le_bytes(key),
        name: hello.name,
        cores: hello.cores,
        memory: ByteSize(hello.memory_bytes),
        speed: Speed(hello.speed),
        engine: EngineId(hello.engine),
        ask: Price(hello.ask_price),
        held: hello.held_runs.into_iter().map(RunId).collect(),
    })
}

/// Columns to rows; outputs are as many as runs then.
fn decode_report(report: Report) -> Result<(Vec<RunReport>, Vec<Bytes>), Status> {
    let count = report.runs.len();
    if count > REPORT_RUNS_MAX {
        return Err(too_many_runs(REPORT_RUNS_MAX));
    }
    let columns = [report.endings.len(), report.fuel.len(), report.wall_ns.len(), report.results.len() / 32];
    if columns.iter().any(|len| *len != count) || !report.results.len().is_multiple_of(32) {
        return Err(Status::invalid_argument("the columns of a report differ in length"));
    }
    let outputs = match report.outputs.len() {
        0 => vec![Bytes::new(); count],
        len if len == count => report.outputs.into_iter().map(Bytes::from).collect(),
        _ => return Err(Status::invalid_argument("the columns of a report differ in length")),
    };
    if outputs.iter().any(|output: &Bytes| output.len() > INLINE_BYTES) {
        return Err(Status::invalid_argument("an output in a report is larger than 16 KiB"));
    }
    let mut runs = Vec::with_capacity(count);
    for (at, result) in report.results.chunks_exact(32).enumerate() {
        let ending = Ending::from_code(report.endings[at])
            .ok_or_else(|| Status::invalid_argument("a report has an unknown ending"))?;
        runs.push(RunReport {
            run: RunId(report.runs[at]),
            ending,
            fuel: Fuel(report.fuel[at]),
            wall: Span(report.wall_ns[at]),
            result: Hash::from_bytes(result.try_into().expect("chunks of 32 bytes")),
        });
    }
    Ok((runs, outputs))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn report(runs: usize) -> Report {
        Report {
            report_id: 1,
            runs: vec![7; runs],
            endings: vec![0; runs],
            fuel: vec![5; runs],
            wall_ns: vec![9; runs],
            results: vec![0; 32 * runs],
            ..Report::default()
        }
    }

    #[test]
    fn columns_must_have_one_length() {
        assert_eq!(decode_report(report(3)).unwrap().0.len(), 3);
        let spoil: [fn(&mut Report); 7] = [
            |r| r.runs.push(1),
            |r| r.endings.clear(),
            |r| r.fuel.push(1),
            |r| r.wall_ns.clear(),
            |r| r.results.push(1),
            |r| r.outputs.push(Vec::new()),
            |r| r.endings[1] = u64::MAX,
        ];
        for spoil in spoil {
            let mut bad = report(3);
            spoil(&mut bad);
            assert!(decode_report(bad).is_err());
        }
    }

    #[test]
    fn an_output_too_large_for_a_report_is_refused() {
        let mut bad = report(1);
        bad.outputs = vec![vec![0; INLINE_BYTES + 1]];
        assert!(decode_report(bad).is_err());
    }

    #[test]
    fn too_many_runs_are_refused() {
        assert!(decode_report(report(REPORT_RUNS_MAX)).is_ok());
        assert!(decode_report(report(REPORT_RUNS_MAX + 1)).is_err());
    }

    fn any_report() -> impl Strategy<Value = Report> {
        let codes = prop_oneof![
            0..9_u64,
            (0..9_u64, any::<u32>()).prop_map(|(k, d)| k | u64::from(d) << 8),
            any::<u64>()
        ];
        let numbers = || vec(any::<u64>(), 0..4);
        let outputs = vec(vec(any::<u8>(), 0..50), 0..4);
        (numbers(), vec(codes, 0..4), numbers(), numbers(), vec(any::<u8>(), 0..130), outputs).prop_map(
            |(runs, endings, fuel, wall_ns, results, outputs)| Report {
                report_id: 1,
                runs,
                endings,
                fuel,
                wall_ns,
                results,
                outputs,
                faults: Vec::new(),
            },
        )
    }

    proptest! {
        #[test]
        fn no_report_panics_and_what_is_taken_is_whole(report in any_report(), fit in any::<bool>()) {
            let mut report = report;
            if fit {
                report.results.resize(32 * report.runs.len(), 7);
                report.endings.resize(report.runs.len(), 0);
                report.fuel.resize(report.runs.len(), 1);
                report.wall_ns.resize(report.runs.len(), 1);
            }
            let count = report.runs.len();
            if let Ok((runs, outputs)) = decode_report(report.clone()) {
                prop_assert_eq!((runs.len(), outputs.len()), (count, count));
                for (at, run) in runs.iter().enumerate() {
                    prop_assert_eq!(run.run.0, report.runs[at]);
                    prop_assert_eq!(run.ending.to_code(), report.endings[at]);
                    prop_assert_eq!(run.result.as_bytes().as_slice(), &report.results[32 * at..32 * at + 32]);
                }
            }
        }

        #[test]
        fn no_bytes_on_the_link_panic(bytes in vec(any::<u8>(), 0..200)) {
            let Ok(message) = FromWorker::decode(bytes.as_slice()) else { return Ok(()) };
            match message.message {
                Some(from_worker::Message::Hello(hello)) => drop(worker_spec(hello)),
                Some(from_worker::Message::Report(report)) => drop(decode_report(report)),
                _ => {}
            }
        }
    }
}
