//! The driver of the protocol machine: dials the hub, keeps the stream, and does what the machine wants.

use std::collections::VecDeque;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use pumasi_api::client::HubClient;
use pumasi_api::link::worker_link_client::WorkerLinkClient;
use pumasi_api::link::{FromHub, FromWorker};
use pumasi_api::tls::DialError;
use pumasi_types::Time;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use crate::inputs::{Inputs, OwnInput, PreparedJob, jittered};
use crate::runner::{Event, Runner};
use pumasi_protocol::{Input, Output, Protocol};

type In = Input<Arc<PreparedJob>, OwnInput>;
type Out = Output<Arc<PreparedJob>, OwnInput>;

/// Pause before the first new try to reach the hub; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A link that lasted so long was a good one: the next pause is the shortest again.
const GOOD_LINK: Duration = Duration::from_secs(10);
/// How long the hub may take to open a stream and welcome the worker.
const WELCOME_MAX: Duration = Duration::from_secs(15);
/// Messages between driver and stream.
const UNSENT: usize = 64;
/// The largest message that the hub may send, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Time for what was abandoned to end, be reported and acknowledged.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why a hub does not take this worker, now or later.
#[derive(Debug, thiserror::Error)]
pub enum LinkRefused {
    /// The token stands for nobody, or for somebody who may not lend machines.
    #[error("the hub refuses this worker; log in with the token of an account that has the role owner")]
    Token(#[source] Box<Status>),
    /// The hub's certificate is not the pinned one.
    #[error(
        "the hub is not the one that is pinned; somebody may be between you and the hub: ask its operator for \
         the fingerprint"
    )]
    Pin(#[source] Box<Status>),
}

/// The stream to the hub.
enum Stream {
    /// None before then.
    Waiting(Instant),
    Opening(BoxFuture<'static, Result<Streaming<FromHub>, Status>>),
    Open(Box<Streaming<FromHub>>),
}

/// What happens to a worker.
enum Happening {
    Opened(Result<Streaming<FromHub>, Status>),
    Heard(Result<Option<FromHub>, Status>),
    /// Threads finished runs.
    Ran(Option<Event>),
    /// What was prepared, fetched or uploaded beside the driver is done.
    Done(In),
    /// The owner's policy changed, or nobody watches it any more.
    Policy(bool),
    /// There is room for a message.
    Room,
    /// Time passed.
    Time,
    /// The owner wants to leave.
    Stop,
}

/// How far leaving has come.
#[derive(Clone, Copy)]
enum Leaving {
    No,
    /// What runs may finish until then.
    Finishing(Instant),
    /// What was ended is reported until then.
    Ending(Instant),
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) client: HubClient,
    pub(crate) inputs: Inputs,
    pub(crate) runner: Runner,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) settings: pumasi_protocol::Settings,
    /// Whether the owner lets the machine work.
    pub(crate) accept: watch::Receiver<bool>,
    /// Is told how many batches are under way.
    pub(crate) running: Arc<AtomicUsize>,
    /// How long runs may go on once the owner wants to leave.
    pub(crate) grace: Duration,
}

/// The driver.
pub(crate) struct Driver {
    parts: Parts,
    machine: Protocol<Arc<PreparedJob>, OwnInput>,
    /// When the machine's time began.
    began: Instant,
    stream: Stream,
    /// When the stream was last asked for.
    dialled: Instant,
    to: Option<mpsc::Sender<FromWorker>>,
    unsent: VecDeque<FromWorker>,
    pause: Duration,
    beside: JoinSet<In>,
    was_attached: bool,
    leaving: Leaving,
    left: bool,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Driver {
        let began = Instant::now();
        Driver {
            machine: Protocol::new(parts.settings.clone(), Time(0)),
            parts,
            began,
            stream: Stream::Waiting(began),
            dialled: began,
            to: None,
            unsent: VecDeque::new(),
            pause: PAUSE_MIN,
            beside: JoinSet::new(),
            was_attached: false,
            leaving: Leaving::No,
            left: false,
        }
    }

    /// Works until the first message on `stop`, then finishes what runs; the second one ends that too, and
    /// the third leaves at once.
    ///
    /// # Errors
    /// When the hub will never take this worker.
    pub(crate) async fn run(mut self, mut stop: mpsc::Receiver<()>) -> Result<(), LinkRefused> {
        let accepts = *self.parts.accept.borrow_and_update();
        self.step(Input::Accept(accepts));
        while !self.left {
            let happening = tokio::select! {
                Some(()) = stop.recv() => Happening::Stop,
                happening = self.next() => happening,
            };
            self.happened(happening)?;
            self.flush();
            self.parts.running.store(self.machine.running(), Ordering::Relaxed);
        }
        self.hang_up().await;
        Ok(())
    }

    /// Waits for the next thing to happen. Nothing is lost when this is dropped.
    async fn next(&mut self) -> Happening {
        let deadline = self.deadline();
        let Driver { stream, parts, to, unsent, beside, .. } = self;
        let to = to.as_ref().filter(|_| !unsent.is_empty());
        tokio::select! {
            happening = heard(stream) => happening,
            event = parts.events.recv() => Happening::Ran(event),
            Some(done) = beside.join_next(), if !beside.is_empty() => match done {
                Ok(input) => Happening::Done(input),
                Err(error) => {
                    tracing::error!(%error, "something done beside the driver failed");
                    Happening::Time
                }
            },
            () = room(to) => Happening::Room,
            accept = policy(&mut parts.accept) => Happening::Policy(accept),
            () = tokio::time::sleep_until(deadline.into()) => Happening::Time,
        }
    }

    /// When something is to be done even if nothing happens.
    fn deadline(&self) -> Instant {
        let tick = self.machine.next_tick().map(|at| self.began + Duration::from_nanos(at.0));
        let stream = match self.stream {
            Stream::Waiting(until) => Some(until),
            _ => (!self.machine.is_attached()).then(|| self.dialled + WELCOME_MAX),
        };
        let leaving = match self.leaving {
            Leaving::No => None,
            Leaving::Finishing(until) | Leaving::Ending(until) => Some(until),
        };
        let idle = Instant::now() + Duration::from_secs(3600);
        [tick, stream, leaving].into_iter().flatten().min().unwrap_or(idle)
    }

    fn happened(&mut self, happening: Happening) -> Result<(), LinkRefused> {
        match happening {
            Happening::Opened(Ok(stream)) => {
                self.stream = Stream::Open(Box::new(stream));
                self.step(Input::LinkUp);
            }
            Happening::Heard(Ok(Some(message))) => self.step(Input::Hub(message)),
            Happening::Heard(Ok(None)) => self.lost("the hub closed the link"),
            Happening::Opened(Err(status)) | Happening::Heard(Err(status)) => {
                let status = self.refused(status)?;
                self.lost(&chain(&status));
            }
            Happening::Ran(Some(Event { batch, runs, over })) => {
                if over {
                    self.parts.runner.forget(batch);
                }
                self.step(Input::Finished { batch, runs, over });
            }
            // The threads live as long as the runner; without them nothing finishes any more.
            Happening::Ran(None) => self.left = true,
            Happening::Done(input) => self.step(input),
            Happening::Policy(accept) => {
                tracing::info!(accept, "the owner's policy changed");
                self.step(Input::Accept(accept));
            }
            Happening::Room => {}
            Happening::Time => self.time_passed(),
            Happening::Stop => match self.leaving {
                Leaving::No => {
                    tracing::info!("leaving: what runs is finished, the rest given back");
                    self.leaving = Leaving::Finishing(Instant::now() + self.parts.grace);
                    self.step(Input::Leave);
                }
                Leaving::Finishing(_) => self.abandon(),
                Leaving::Ending(_) => self.left = true,
            },
        }
        Ok(())
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        match self.stream {
            Stream::Waiting(until) if until <= now => self.dial(),
            Stream::Opening(_) | Stream::Open(_)
                if !self.machine.is_attached() && self.dialled + WELCOME_MAX <= now =>
            {
                self.lost("the hub does not answer");
            }
            _ => {}
        }
        match self.leaving {
            Leaving::Finishing(until) if until <= now => self.abandon(),
            Leaving::Ending(until) if until <= now => {
                tracing::warn!(runs = self.machine.held(), "leaving without having reported all runs");
                self.left = true;
            }
            _ => self.step(Input::Tick),
        }
    }

    /// Ends what still runs.
    fn abandon(&mut self) {
        tracing::warn!(batches = self.machine.running(), "ending what still runs");
        self.leaving = Leaving::Ending(Instant::now() + LAST_WORDS);
        self.step(Input::Abandon);
    }

    /// Asks for a stream.
    fn dial(&mut self) {
        let (to, messages) = mpsc::channel(UNSENT);
        let request = self.parts.client.authorize(ReceiverStream::new(messages));
        let mut client = WorkerLinkClient::new(self.parts.client.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        self.to = Some(to);
        self.dialled = Instant::now();
        self.stream =
            Stream::Opening(Box::pin(async move { client.attach(request).await.map(Response::into_inner) }));
    }

    /// The stream is gone, or given up; another is asked for after a pause.
    fn lost(&mut self, why: &str) {
        if self.machine.is_attached() && self.dialled.elapsed() >= GOOD_LINK {
            self.pause = PAUSE_MIN;
        }
        let pause = jittered(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let address = self.parts.client.address();
        tracing::warn!(hub = %address, again_ms = pause.as_millis() as u64, "no link: {why}");
        self.stream = Stream::Waiting(Instant::now() + pause);
        self.to = None;
        self.unsent.clear();
        self.step(Input::LinkDown);
    }

    /// Whether a failure is for good; if not it is handed back.
    fn refused(&self, status: Status) -> Result<Status, LinkRefused> {
        if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
            return Err(LinkRefused::Token(Box::new(status)));
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(&status);
        while let Some(error) = cause {
            let dial = error.downcast_ref::<Arc<DialError>>();
            // A worker that knows its hub waits for it to come back.
            if matches!(dial.map(|dial| &**dial), Some(DialError::WrongCertificate(_))) && !self.was_attached
            {
                return Err(LinkRefused::Pin(Box::new(status)));
            }
            cause = error.source();
        }
        Ok(status)
    }

    /// Tells the machine what happened and does what it wants.
    fn step(&mut self, input: In) {
        let mut inputs = VecDeque::from([input]);
        let mut out = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let now = Time(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            self.machine.step(now, input, &mut out);
            for output in out.drain(..) {
                self.carry_out(output, &mut inputs);
            }
        }
    }

    fn carry_out(&mut self, output: Out, inputs: &mut VecDeque<In>) {
        match output {
            Output::Send(message) => self.unsent.push_back(message),
            Output::CloseLink(error) => {
                self.lost(&error.to_string());
            }
            Output::Attached(worker) => {
                self.was_attached = true;
                tracing::info!(worker = worker.0, hub = %self.parts.client.address(), "joined");
            }
            Output::Prepare(spec) => match self.parts.inputs.prepare_now(&spec) {
                Some(result) => inputs.push_back(Input::Prepared { spec, result }),
                None => {
                    let source = self.parts.inputs.clone();
                    self.beside.spawn(async move {
                        let result = source.prepare(&spec).await;
                        if let Err(fault) = &result {
                            tracing::warn!(job = spec.id.0, "cannot run a job: {fault}");
                        }
                        Input::Prepared { spec, result }
                    });
                }
            },
            Output::Fetch { run, task, job } => match self.parts.inputs.own_now(&job, task) {
                Ok((own, None)) => inputs.push_back(Input::Fetched { run, result: Ok(own) }),
                Err(fault) => inputs.push_back(Input::Fetched { run, result: Err(fault) }),
                Ok((_, Some(_))) => {
                    let source = self.parts.inputs.clone();
                    self.beside.spawn(async move {
                        let result = source.own(&job, task).await;
                        Input::Fetched { run, result }
                    });
                }
            },
            Output::Start(batch) => self.parts.runner.execute(batch),
            Output::Recall { batch, unwanted } => {
                if let Some((finished, rest)) = self.parts.runner.recall(batch, &unwanted) {
                    inputs.push_back(Input::Finished { batch, runs: finished, over: false });
                    inputs.push_back(Input::Recalled { batch, runs: rest });
                }
            }
            Output::Halt(batch) => self.parts.runner.halt(batch),
            Output::Upload { run, hash, output } => {
                let source = self.parts.inputs.clone();
                self.beside.spawn(async move {
                    let result = source.upload(hash, output).await;
                    Input::Uploaded { run, result }
                });
            }
            Output::Left => self.left = true,
        }
    }

    /// Hands messages to the stream as far as there is room.
    fn flush(&mut self) {
        let Some(to) = &self.to else { return };
        while let Some(message) = self.unsent.pop_front() {
            match to.try_send(message) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(message)) => return self.unsent.push_front(message),
                // The stream ended; its other half says why.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.unsent.clear(),
            }
        }
    }

    /// Closes the stream once all is said.
    async fn hang_up(mut self) {
        let Stream::Open(mut stream) = self.stream else { return };
        let goodbye = async {
            if let Some(to) = self.to.take() {
                for message in self.unsent.drain(..) {
                    if to.send(message).await.is_err() {
                        return;
                    }
                }
            }
            while let Ok(Some(_)) = stream.message().await {}
        };
        // A hub that does not answer will notice by itself.
        let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
        tracing::info!("left");
    }
}

async fn heard(stream: &mut Stream) -> Happening {
    match stream {
        Stream::Waiting(_) => pending().await,
        Stream::Opening(opening) => Happening::Opened(opening.await),
        Stream::Open(stream) => Happening::Heard(stream.message().await),
    }
}

/// Waits until a message can be sent; for ever when there is none or nowhere to send it to.
async fn room(to: Option<&mpsc::Sender<FromWorker>>) {
    match to {
        // An error means that the stream ended, which its other half tells.
        Some(to) if !to.is_closed() => drop(to.reserve().await),
        _ => pending().await,
    }
}

/// Waits until the owner's policy changes; for ever when nobody watches it.
async fn policy(accept: &mut watch::Receiver<bool>) -> bool {
    match accept.changed().await {
        Ok(()) => *accept.borrow_and_update(),
        Err(_) => pending().await,
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
