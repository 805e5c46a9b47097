//! Starting and stopping a hub: listener, TLS, graceful drain, and the clocks that run beside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use pumasi_blobs::BlobStore;
use pumasi_core::{Command, Role, Roles, State};
use pumasi_types::{RequestId, WorkerId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::auth::{self, TokenMaker, Tokens};
use crate::cell::{self, Cell, Journal, Sequencer, SequencerOptions};
use crate::limits::RateLimit;
use crate::metrics::Metrics;
use crate::{ServeError, ServeOptions, http, tls};

/// Connections at once.
const CONNECTIONS: usize = 20_000;
/// How long a drain waits for requests under way.
const DRAIN: Duration = Duration::from_secs(10);
/// A worker that says nothing for so long has lost its link; it sends a heartbeat three times as often.
const LEASE: Duration = Duration::from_secs(30);

/// What all gateways share.
pub(crate) struct Hub {
    pub(crate) cell: Cell,
    pub(crate) blobs: BlobStore,
    pub(crate) journal: Journal,
    pub(crate) tokens: Tokens,
    pub(crate) token_maker: TokenMaker,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) requests: RateLimit<pumasi_types::AccountId>,
    pub(crate) strangers: RateLimit<std::net::IpAddr>,
    pub(crate) options: ServeOptions,
    pub(crate) fingerprint: String,
    pub(crate) lease: Duration,
    stopping: watch::Sender<bool>,
}

impl Hub {
    /// A worker's link ended: after the grace its runs go to others, unless it came back.
    pub(crate) async fn link_ended(self: &Arc<Self>, worker: WorkerId, link: u64) {
        self.tell(Command::DetachWorker { worker, link }).await;
        self.lose_later(worker, link);
    }

    fn lose_later(self: &Arc<Self>, worker: WorkerId, link: u64) {
        let hub = Arc::clone(self);
        let mut stopping = self.stopping.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(hub.options.link_grace) => {}
                // A hub that stops gives every worker a new grace when it starts.
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            hub.tell(Command::LoseWorker { worker, link }).await;
        });
    }

    /// Resolves when the hub is stopping.
    pub(crate) async fn stopping(&self) {
        // An error means that the hub is gone, which is the same.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// A command of the hub itself. If the cell stopped, everybody learns it from their own requests.
    async fn tell(&self, command: Command) {
        if let Ok(Err(refusal)) = self.cell.ask(State::SYSTEM, None, command).await {
            tracing::error!("the hub's own command was refused: {refusal}");
        }
    }

    /// Makes what is due happen.
    async fn tick(self: Arc<Self>) {
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.stopping() => return,
            }
            if self.cell.next_due() <= cell::now() && self.cell.stopped().is_none() {
                self.tell(Command::Tick).await;
            }
        }
    }

    /// First start: an operator whose token lies in the data folder. Every start: no worker is attached, and
    /// those with runs have a grace to come back.
    async fn open(self: &Arc<Self>) -> Result<(), ServeError> {
        let stopped = |error: cell::CellError| ServeError::Stopped(error.to_string());
        let known =
            self.cell.read(|state| state.ledger().account_named("operator")).await.map_err(stopped)?;
        if known.is_none() {
            let id = RequestId(1);
            let token = self.token_maker.make(Some(id));
            auth::write_secret(&self.options.data.join("operator.token"), token.as_bytes())?;
            let (name, roles) = ("operator".to_owned(), Roles::from_iter(Role::ALL));
            let command = Command::OpenAccount { name, roles, token: auth::hash_of(&token) };
            let answer = self.cell.ask(State::SYSTEM, Some(id), command).await.map_err(stopped)?;
            answer.map_err(|refusal| ServeError::Stopped(refusal.to_string()))?;
        }
        self.tell(Command::Start).await;
        let busy = |state: &State| {
            let busy = state.workers().filter(|(_, worker)| worker.running() > 0);
            busy.map(|(id, worker)| (id, worker.link)).collect::<Vec<_>>()
        };
        for (worker, link) in self.cell.read(busy).await.map_err(stopped)? {
            self.lose_later(worker, link);
        }
        Ok(())
    }
}

/// A hub that was started.
pub struct Running {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<GracefulShutdown>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 of its certificate, hexadecimal; empty without TLS.
    pub fn fingerprint(&self) -> &str {
        &self.hub.fingerprint
    }

    /// Takes no new connections, answers what is under way, makes a snapshot and stops.
    ///
    /// # Errors
    /// When the cell had stopped before: what it could not make durable was not acknowledged.
    pub async fn stop(self) -> Result<(), ServeError> {
        let failed = self.hub.cell.stopped();
        self.hub.stopping.send_replace(true);
        if let Ok(connections) = self.accepting.await
            && tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err()
        {
            tracing::info!("some connections were still open after the drain");
        }
        self.hub.cell.shut_down().await;
        match failed {
            Some(error) => Err(ServeError::Stopped(error.0.to_string())),
            None => Ok(()),
        }
    }
}

/// Starts a hub and returns once it listens.
///
/// # Errors
/// When the data folder cannot be used, is damaged, or the address is taken.
pub async fn start(options: ServeOptions) -> Result<Running, ServeError> {
    std::fs::create_dir_all(&options.data).map_err(ServeError::file("create", &options.data))?;
    let tls = if options.tls { Some(tls::load(&options)?) } else { None };
    let metrics = Arc::new(Metrics::new());
    // The cell first: its lock on the log keeps a second hub away from everything else.
    let dir = options.data.clone();
    let restored = tokio::task::spawn_blocking(move || cell::restore(&dir)).await;
    let restored = restored.map_err(|error| ServeError::Stopped(error.to_string()))??;
    let blobs = BlobStore::open(&options.data.join("blobs"))?;
    let journal = restored.journal.clone();
    let sequencer = SequencerOptions {
        lease: LEASE,
        snapshot_every: options.snapshot_every.0,
        trim_log: options.trim_log,
        metrics: Arc::clone(&metrics),
    };
    let cell = Sequencer::start(restored, sequencer).map_err(|source| ServeError::File {
        operation: "start a thread for",
        path: options.data.clone(),
        source,
    })?;
    let hub = Arc::new(Hub {
        cell,
        blobs,
        journal,
        tokens: Tokens::default(),
        token_maker: TokenMaker::open(&options.data)?,
        metrics,
        requests: RateLimit::new(options.requests_per_s),
        strangers: RateLimit::new(20),
        fingerprint: tls.as_ref().map(|tls| tls.fingerprint.clone()).unwrap_or_default(),
        lease: LEASE,
        stopping: watch::Sender::new(false),
        options,
    });
    hub.open().await?;
    tokio::spawn(Arc::clone(&hub).tick());
    let listen = |source| ServeError::Listen { address: hub.options.listen, source };
    let listener = TcpListener::bind(hub.options.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config));
    let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&hub)));
    Ok(Running { hub, address, accepting })
}

/// Runs a hub until `stop` resolves, then drains it.
///
/// # Errors
/// As [`start`] and [`Running::stop`].
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(&Running),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let running = start(options).await?;
    ready(&running);
    stop.await;
    tracing::info!("stopping");
    running.stop().await
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, hub: Arc<Hub>) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = http::router(&hub);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.stopping() => return graceful,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: those under way will give some back.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let service = router.clone().layer(axum::Extension(http::Peer(peer.ip())));
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{error}");
            }
            match tls {
                None => connection(stream, service, watcher).await,
                Some(tls) => {
                    let handshake = tokio::time::timeout(Duration::from_secs(10), tls.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        connection::<tokio_rustls::server::TlsStream<TcpStream>>(stream, service, watcher)
                            .await;
                    }
                }
            }
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    service: axum::Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(15));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(256)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    let served =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!("connection ended: {error}");
    }
}
