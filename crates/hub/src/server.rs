//! Starting and stopping a hub: listener, TLS, graceful drain, and the clocks that run beside.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use pumasi_blobs::BlobStore;
use pumasi_cell::Derived;
use pumasi_core::{Command, Role, Roles, State};
use pumasi_types::{AccountId, RequestId, TransferId, WorkerId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::access::{self, AccessLog};
use crate::auth::{self, Caller, TokenMaker, Tokens};
use crate::cell::{self, Cell, Sequencer, SequencerOptions};
use crate::chunks::Chunks;
use crate::collect::{self, Collector};
use crate::directory::Directory;
use crate::downloads::Downloads;
use crate::drive::{LinkPasses, UnfiledRoom};
use crate::feeds::Waiters;
use crate::limits::{BodyRoom, RateLimit, Share, Shares, StreamRoom};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::orders::WaitingRoom;
use crate::proof::{self, Prover};
use crate::space_shares::Counter;
use crate::webhooks::Courier;
use crate::{ServeError, ServeOptions, idle, s3, tls};

/// Connections at once.
const CONNECTIONS: usize = 20_000;
/// The longest head of a request, in bytes.
const HEADERS_MAX: usize = 64 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a drain waits for requests under way.
const DRAIN: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is closed; no answer is held back as long.
const STANDSTILL: Duration = Duration::from_secs(90);
/// Streams of orders and exports that one account has open at once.
const STREAMS: usize = 64;
/// Task lists that are checked at once: each keeps a core busy.
const LIST_CHECKS: usize = 2;
/// Answers about sales that are added up at once: each keeps a core busy.
const SALES_SCANS: usize = 2;

/// Requests a second for checkpoints and tiles from one address.
const PUBLIC_PER_S: u32 = 1_000;
/// Auditors that read the log at once: each keeps a core busy.
const LOG_READERS: usize = 4;

/// What all gateways share.
pub(crate) struct Hub {
    pub(crate) cell: Cell,
    pub(crate) blobs: BlobStore,
    /// What the log makes besides the state.
    pub(crate) derived: Derived,
    pub(crate) tokens: Tokens,
    pub(crate) token_maker: TokenMaker,
    pub(crate) s3_keys: s3::Keys,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) requests: RateLimit<AccountId>,
    /// Requests without a known token.
    pub(crate) strangers: RateLimit<IpAddr>,
    pub(crate) options: ServeOptions,
    pub(crate) fingerprint: String,
    /// Requests for what everybody may see.
    pub(crate) public: RateLimit<IpAddr>,
    /// Proofs, unless they are switched off.
    pub(crate) prover: Option<Prover>,
    /// Permits to read the log.
    pub(crate) log_readers: Arc<Semaphore>,
    /// Permits to check a task list.
    pub(crate) list_checks: Semaphore,
    /// Permits to add up sales.
    pub(crate) sales_scans: Arc<Semaphore>,
    /// Names of accounts and articles.
    pub(crate) directory: Directory,
    /// Brings events to webhooks.
    pub(crate) courier: Courier,
    /// Fetches files from elsewhere.
    pub(crate) downloads: Downloads,
    /// Who waits for events.
    pub(crate) waiters: Arc<Waiters>,
    /// Where bodies of requests are read.
    pub(crate) body_room: BodyRoom,
    /// Streams of orders, answers and exports that accounts have open.
    pub(crate) streams: Shares<AccountId>,
    /// What becomes of messages in streams of orders.
    pub(crate) stream_room: StreamRoom,
    /// Where orders wait for the cell.
    pub(crate) waiting_room: WaitingRoom,
    /// How selling goes.
    pub(crate) live: Live,
    /// Who may pass through links that have a password.
    pub(crate) link_passes: LinkPasses,
    /// Lets the store go of what nothing refers to.
    pub(crate) collector: Collector,
    /// Remembers who read what of the store, and who was refused.
    pub(crate) access: AccessLog,
    /// Tells what each space needs of the store.
    pub(crate) space_shares: Counter,
    /// Transfers that send only what is lacking.
    pub(crate) chunks: Chunks,
    /// What accounts have in the store that no file has.
    pub(crate) unfiled: UnfiledRoom,
    stopping: watch::Sender<bool>,
}

impl Hub {
    /// A stream of this account's, until it is dropped; or what to say when it has too many.
    pub(crate) fn stream(&self, account: AccountId) -> Result<Share<AccountId>, String> {
        let too_many = || {
            format!("you have {STREAMS} streams of orders and exports open: end some, or send more over each")
        };
        self.streams.take(account, 1).ok_or_else(too_many)
    }

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
        self.open_operator().await?;
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

    /// Makes sure that there is an operator, and that the data folder holds a token of theirs: whoever has
    /// lost it removes the file and starts again.
    async fn open_operator(&self) -> Result<(), ServeError> {
        let path = self.options.data.join("operator.token");
        let known =
            self.cell.read(|state| state.ledger().account_named("operator")).await.map_err(stopped)?;
        // The same token again if a first start broke off between the file and the account.
        let id = known.is_none().then_some(RequestId(1));
        if known.is_some() && path.exists() {
            return Ok(());
        }
        let token = self.token_maker.make(id);
        auth::write_secret(&path, token.as_bytes())?;
        let token = auth::hash_of(&token);
        let command = match known {
            Some(account) => Command::AddToken { account, token },
            None => {
                let roles = Roles::from_iter(Role::ALL);
                Command::OpenAccount { name: "operator".to_owned(), roles, token }
            }
        };
        let answer = self.cell.ask(State::SYSTEM, id, command).await.map_err(stopped)?;
        answer.map(drop).map_err(|refusal| ServeError::Stopped(refusal.to_string()))
    }

    /// Who is calling, if their token is known and they keep to their rate.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Caller, Denied> {
        let now = Instant::now();
        let peer = peer.map(neighbourhood);
        let token = auth::bearer(headers).map(auth::hash_of);
        let mut caller = token.and_then(|token| self.tokens.known(&token));
        if let (None, Some(token)) = (&caller, token) {
            // Guessing tokens is slowed down before it costs a look at the state.
            peer.map_or(Ok(()), |peer| self.strangers.check(peer, now)).map_err(Denied::TooMany)?;
            caller = self.tokens.look_up(&self.cell, token).await.map_err(Denied::Cell)?;
        }
        let Some(caller) = caller else {
            peer.map_or(Ok(()), |peer| self.strangers.take(peer, now)).map_err(Denied::TooMany)?;
            return Err(if token.is_some() { Denied::UnknownToken } else { Denied::NoToken });
        };
        access::called_by(caller.account);
        self.requests.take(caller.account, now).map_err(Denied::TooMany)?;
        Ok(caller)
    }
}

fn stopped(error: cell::CellError) -> ServeError {
    ServeError::Stopped(error.to_string())
}

/// What one stranger can easily call their own: an IPv4 address, or 2^64 of IPv6 (RFC 6177).
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        },
    }
}

/// Why a request was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("a token is needed: send `Authorization: Bearer TOKEN`, or use `pumasi login`")]
    NoToken,
    #[error("this token is not known: log in again with `pumasi login`")]
    UnknownToken,
    #[error("too many requests: try again in {} ms", .0.as_millis() + 1)]
    TooMany(Duration),
    #[error(transparent)]
    Cell(cell::CellError),
}

/// A hub that was started.
pub struct Running {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<GracefulShutdown>,
    /// The thread that makes checkpoints.
    builder: Option<std::thread::JoinHandle<()>>,
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

    /// The last transfer that is durable; all up to it are in the journal.
    pub fn settled(&self) -> TransferId {
        self.hub.cell.settled().last
    }

    /// Takes no new connections, answers what is under way, makes a snapshot and stops.
    ///
    /// # Errors
    /// When the cell had stopped before: what it could not make durable was not acknowledged.
    pub async fn stop(self) -> Result<(), ServeError> {
        self.hub.stopping.send_replace(true);
        if let Ok(connections) = self.accepting.await
            && tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err()
        {
            tracing::info!("some connections were still open after the drain");
        }
        self.hub.access.turn().await;
        let failed = self.hub.cell.stopped();
        self.hub.cell.shut_down().await;
        if let Some(builder) = self.builder {
            // Its last checkpoint covers everything; a panic of its own has been told.
            let _ = tokio::task::spawn_blocking(|| builder.join()).await;
        }
        // The last tasks let go of the data folder, so that it can be opened again at once.
        let freed = async {
            while Arc::strong_count(&self.hub) > 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
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
    create_private(&options.data).map_err(ServeError::file("create", &options.data))?;
    let listen = |source| ServeError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let metrics = Arc::new(Metrics::new());
    // The cell first: its lock on the log keeps a second hub away from everything else.
    let dir = options.data.clone();
    let restored = tokio::task::spawn_blocking(move || cell::restore(&dir)).await;
    let restored = restored.map_err(|error| ServeError::Stopped(error.to_string()))??;
    let tls = if options.tls { Some(tls::load(&options)?) } else { None };
    let token_maker = TokenMaker::open(&options.data)?;
    let s3_keys = s3::Keys::open(&options.data)?;
    let courier = Courier::open(&options)?;
    let link_passes = LinkPasses::new(token_maker.key("pumasi 2026 passes through links"));
    let grace = pumasi_types::Duration::from_millis(
        u64::try_from(options.collect_grace.as_millis()).unwrap_or(u64::MAX),
    );
    let bucket = options.store_at.clone();
    let kept = pumasi_blobs::Options { grace, bucket, ..pumasi_blobs::Options::default() };
    let blobs = BlobStore::open_with(&options.data.join("blobs"), kept).await?;
    let access = AccessLog::open(&options.data, options.access_log_size, &metrics)?;
    let downloads = Downloads::open(&options)?;
    downloads.listen(&options.downloads).await?;
    let derived = restored.derived.clone();
    let (builder, prover) = if options.proofs {
        let (source, signed) = proof::open(&options.data, options.origin.as_deref(), &restored)?;
        let (mut builder, prover) = proof::Builder::new(source, signed, &options);
        builder.ask_witnesses().await?;
        (Some(builder), Some(prover))
    } else {
        (None, None)
    };
    let sequencer = SequencerOptions {
        lease: options.link_lease,
        snapshot_every: options.snapshot_every.0,
        trim_log: options.trim_log,
        metrics: Arc::clone(&metrics),
    };
    let cell = Sequencer::start(restored, sequencer).map_err(|source| ServeError::File {
        operation: "start a thread for",
        path: options.data.clone(),
        source,
    })?;
    let builder = builder.map(|builder| builder.start(cell.follow())).transpose();
    let builder = builder.map_err(ServeError::file("start a thread for", &options.data))?;
    let hub = Arc::new(Hub {
        cell,
        prover,
        blobs,
        derived,
        tokens: Tokens::default(),
        token_maker,
        s3_keys,
        metrics,
        requests: RateLimit::new(options.requests_per_s),
        strangers: RateLimit::new(20),
        public: RateLimit::new(PUBLIC_PER_S),
        log_readers: Arc::new(Semaphore::new(LOG_READERS)),
        fingerprint: tls.as_ref().map(|tls| tls.fingerprint.clone()).unwrap_or_default(),
        list_checks: Semaphore::new(LIST_CHECKS),
        sales_scans: Arc::new(Semaphore::new(SALES_SCANS)),
        directory: Directory::default(),
        courier,
        downloads,
        waiters: Arc::default(),
        body_room: BodyRoom::new(),
        streams: Shares::new(STREAMS),
        stream_room: StreamRoom::new(),
        waiting_room: WaitingRoom::new(),
        live: Live::new(),
        link_passes,
        collector: Collector::default(),
        access,
        space_shares: Counter::default(),
        chunks: Chunks::new(),
        unfiled: UnfiledRoom::default(),
        stopping: watch::Sender::new(false),
        options,
    });
    hub.open().await?;
    tokio::spawn(Arc::clone(&hub).tick());
    tokio::spawn(Courier::run(Arc::clone(&hub)));
    tokio::spawn(collect::run(Arc::clone(&hub)));
    tokio::spawn(Downloads::run(Arc::clone(&hub)));
    tokio::spawn(access::run(Arc::clone(&hub)));
    tokio::spawn(Arc::clone(&hub.waiters).serve(hub.cell.clone()));
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config));
    let router = crate::http::router(&hub);
    let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&hub), router));
    Ok(Running { hub, address, accepting, builder })
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

/// Creates the data folder for its owner alone, who may open it to others later.
fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    hub: Arc<Hub>,
    router: axum::Router,
) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
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
        let service = router.clone().layer(axum::Extension(crate::http::Peer(peer.ip())));
        let (acceptor, watcher, hub) = (acceptor.clone(), graceful.watcher(), Arc::clone(&hub));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{error}");
            }
            match acceptor {
                None => {
                    let service = service.layer(axum::Extension(tls::PeerMachine::Unproved));
                    connection(stream, service, watcher).await;
                }
                Some(acceptor) => {
                    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
                    let shaken = tokio::select! {
                        shaken = handshake => shaken,
                        () = hub.stopping() => return,
                    };
                    if let Ok(Ok(stream)) = shaken {
                        let machine = tls::PeerMachine::of(stream.get_ref().1);
                        let service = service.layer(axum::Extension(machine));
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
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(15))
        .max_buf_size(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(256)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    let (stream, moves) = idle::Watched::new(stream);
    let served =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    tokio::select! {
        served = watcher.watch(served) => {
            if let Err(error) = served {
                tracing::debug!("connection ended: {error}");
            }
        }
        () = idle::standstill(moves, STANDSTILL) => tracing::debug!("connection ended: nothing moved on it"),
    }
}
