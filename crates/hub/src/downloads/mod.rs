//! Downloads: what the hub fetches while its user is away.
//!
//! The cell remembers what is to be fetched (`files` of the core). A manager looks there what can be begun, brings it, and
//! reports what became of it. What came of a file so far lies in `DIR/downloads/ID` until it is over, so that neither a
//! crash nor a pause costs more than the last second.

mod alike;
mod bytes;
mod delivery;
mod known;
mod manager;
mod notice;
mod origins;
mod seeds;
mod swarm;
mod web;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pumasi_blobs::BlobError;
use pumasi_core::{Brought, DownloadSpec};
use pumasi_fetch::address::Guard;
use pumasi_fetch::{BadUrl, Client, DhtOptions, Place, Progress, Seeding};
use pumasi_types::{AccountId, ByteSize, DownloadId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub(crate) use self::notice::notice;
use self::origins::Origins;
use crate::server::Hub;
use crate::{ServeError, ServeOptions};

/// How a hub fetches.
#[derive(Clone, Debug)]
pub struct DownloadOptions {
    /// Downloads that run at once.
    pub at_once: usize,
    /// Of one account.
    pub each: usize,
    /// How long one may be.
    pub limit: ByteSize,
    /// Private addresses, or this machine's, that they may come from besides public ones.
    pub from: Vec<SocketAddr>,
    /// Certificates of authorities that are trusted besides the system's, in PEM.
    pub roots: Option<PathBuf>,
    /// Nodes of the DHT to begin with, as `HOST:PORT`, the well-known ones when empty; none: the DHT is not asked.
    pub dht: Option<Vec<String>>,
    /// Bytes of a torrent that are given to peers for each that was fetched; 0: nothing is given.
    pub seed_ratio: f64,
    /// How long a torrent that is whole is given at most.
    pub seed_time: Duration,
    /// Bytes in a second that are given, of all torrents together; none: without bound.
    pub upload_limit: Option<ByteSize>,
    /// Where peers can connect to; none: nowhere.
    pub torrent_listen: Option<SocketAddr>,
}

impl Default for DownloadOptions {
    fn default() -> DownloadOptions {
        DownloadOptions {
            at_once: 16,
            each: 4,
            limit: ByteSize(100 << 30),
            from: Vec::new(),
            roots: None,
            dht: None,
            seed_ratio: 0.0,
            seed_time: Duration::from_secs(24 * 3_600),
            upload_limit: None,
            torrent_listen: None,
        }
    }
}

/// What runs, and how it is fetched.
pub(crate) struct Downloads {
    client: Client,
    dir: PathBuf,
    origins: Origins,
    running: Mutex<HashMap<DownloadId, Run>>,
    giving: Mutex<seeds::All>,
    /// Somebody changed something.
    wake: Notify,
    /// Somebody gave something up that may not run: what came of it is to be erased.
    given_up: AtomicBool,
    /// Counts what was over.
    over: watch::Sender<u64>,
}

/// A download that runs.
struct Run {
    owner: AccountId,
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

/// How far a download that runs is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    pub(crate) got: u64,
    /// None when it is not known.
    pub(crate) total: Option<u64>,
    pub(crate) peers: u64,
}

/// What is to be fetched.
struct Task<'a> {
    id: DownloadId,
    by: AccountId,
    spec: &'a DownloadSpec,
    /// How many bytes there is room for, with those that lie there.
    limit: ByteSize,
    /// What lies there.
    brought: Brought,
}

/// Why nothing was brought.
#[derive(Debug)]
struct Trouble {
    /// For people.
    reason: String,
    /// Whether it may work later.
    again: bool,
}

impl Trouble {
    fn for_good(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), again: false }
    }

    /// A fault of the hub itself: its log says more.
    fn of_hub(problem: &dyn std::fmt::Display) -> Trouble {
        Trouble { reason: crate::error::fault("keep what it fetched", problem), again: true }
    }

    /// The disk is full, which is no secret, and passes when somebody makes room.
    fn full(problem: &dyn std::fmt::Display) -> Trouble {
        tracing::error!("cannot keep what is fetched: {problem}");
        let reason = "the hub's disk is full: tell its operator, who makes room; then it goes on by itself";
        Trouble { reason: reason.to_owned(), again: true }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::full(&error),
            _ => Trouble::of_hub(&error),
        }
    }
}

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Trouble {
        match error.reason() {
            BlobError::DiskFull { .. } => Trouble::full(&error),
            _ => Trouble::of_hub(&error),
        }
    }
}

impl Downloads {
    /// What was begun lies in the data folder.
    pub(crate) fn open(options: &ServeOptions) -> Result<Downloads, ServeError> {
        let dir = options.data.join("downloads");
        std::fs::create_dir_all(&dir).map_err(ServeError::file("create", &dir))?;
        let path = dir.join("origins.redb");
        let unusable = |error: redb::Error| ServeError::file("use", &path)(std::io::Error::other(error));
        let origins = Origins::open(&path).map_err(unusable)?;
        let DownloadOptions { from: open, roots, dht, seed_ratio: ratio, upload_limit: limit, .. } =
            options.downloads.clone();
        let dht = dht.map(|nodes| {
            let well_known = DhtOptions::default();
            let bootstrap = if nodes.is_empty() { well_known.bootstrap } else { nodes };
            DhtOptions { bootstrap, file: Some(dir.join("dht.nodes")), ..well_known }
        });
        let client = Client::new(pumasi_fetch::Options {
            guard: Guard { private: false, open },
            roots,
            dht,
            seeding: Seeding { ratio, limit },
            ..pumasi_fetch::Options::default()
        });
        let bad =
            |bad: pumasi_fetch::BadRoots| ServeError::Certificate { path: bad.path, problem: bad.problem };
        let (running, giving) = (Mutex::default(), Mutex::default());
        let (wake, given_up, over) = (Notify::new(), AtomicBool::new(false), watch::Sender::new(0));
        Ok(Downloads { client: client.map_err(bad)?, dir, origins, running, giving, wake, given_up, over })
    }

    /// Lets peers connect, if they may.
    pub(crate) async fn listen(&self, options: &DownloadOptions) -> Result<(), ServeError> {
        let Some(address) = options.torrent_listen else { return Ok(()) };
        let listening = self.client.listen(address).await;
        let at = listening.map_err(|source| ServeError::Listen { address, source })?;
        tracing::info!("peers of torrents can connect to {at}");
        Ok(())
    }

    /// Fetches until the hub stops.
    pub(crate) async fn run(hub: Arc<Hub>) {
        manager::run(&hub).await;
    }

    /// Where a URL leads, if something may be fetched from there.
    pub(crate) fn place(&self, url: &str) -> Result<Place, BadUrl> {
        Place::parse(url, self.client.guard())
    }

    /// Somebody asked for a download, or changed one.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// Somebody gave a download up.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.look();
    }

    /// Changes whenever a download is over.
    pub(crate) fn over(&self) -> watch::Receiver<u64> {
        self.over.subscribe()
    }

    /// How far a download is, if it runs.
    pub(crate) fn how_far(&self, id: DownloadId) -> Option<Far> {
        let running = self.running();
        let progress = &running.get(&id)?.progress;
        let total = progress.total.load(Ordering::Relaxed);
        Some(Far {
            got: progress.got.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
            peers: progress.peers.load(Ordering::Relaxed),
        })
    }

    /// How many bytes of a download were given to peers; none: nothing is given of it now.
    pub(crate) fn given(&self, id: DownloadId) -> Option<u64> {
        let while_it_comes = || {
            let running = self.running();
            let given = running.get(&id)?.progress.given.load(Ordering::Relaxed);
            (given > 0).then_some(given)
        };
        seeds::given(&self.giving(), id).or_else(while_it_comes)
    }

    fn giving(&self) -> MutexGuard<'_, seeds::All> {
        self.giving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<DownloadId, Run>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a download keeps what came so far.
    fn folder(&self, id: DownloadId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}

/// Whether a URL names a torrent, and not a file of a web server.
pub(crate) fn is_magnet(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
}
