//! Downloads: what the hub fetches while its user is away.
//!
//! The cell remembers what is to be fetched (`files` of the core). A manager looks there what can be begun, brings it, and
//! reports what became of it. What came of a file so far lies in `DIR/downloads/ID` until it is over, so that neither a
//! crash nor a pause costs more than the last second.

mod bytes;
mod manager;
mod origins;
mod swarm;
mod web;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pumasi_core::About;
use pumasi_fetch::address::Guard;
use pumasi_fetch::{BadUrl, Client, Place, Progress};
use pumasi_types::{AccountId, ByteSize, DownloadId, FilePath, Hash};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

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
}

impl Default for DownloadOptions {
    fn default() -> DownloadOptions {
        let limit = ByteSize(100 << 30);
        DownloadOptions { at_once: 16, each: 4, limit, from: Vec::new(), roots: None }
    }
}

/// What runs, and how it is fetched.
pub(crate) struct Downloads {
    client: Client,
    dir: PathBuf,
    origins: Origins,
    running: Mutex<HashMap<DownloadId, Run>>,
    /// Somebody changed something.
    wake: Notify,
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

/// What was brought.
struct Brought {
    files: Vec<(FilePath, Hash, ByteSize, About)>,
    /// Bytes that were here.
    saved: ByteSize,
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
}

impl Downloads {
    /// What was begun lies in the data folder.
    pub(crate) fn open(options: &ServeOptions) -> Result<Downloads, ServeError> {
        let dir = options.data.join("downloads");
        std::fs::create_dir_all(&dir).map_err(ServeError::file("create", &dir))?;
        let path = dir.join("origins.redb");
        let unusable = |error: redb::Error| ServeError::file("use", &path)(std::io::Error::other(error));
        let origins = Origins::open(&path).map_err(unusable)?;
        let DownloadOptions { from: open, roots, .. } = options.downloads.clone();
        let guard = Guard { private: false, open };
        let client = Client::new(pumasi_fetch::Options { guard, roots, ..pumasi_fetch::Options::default() });
        let bad =
            |bad: pumasi_fetch::BadRoots| ServeError::Certificate { path: bad.path, problem: bad.problem };
        let (running, wake, over) = (Mutex::default(), Notify::new(), watch::Sender::new(0));
        Ok(Downloads { client: client.map_err(bad)?, dir, origins, running, wake, over })
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
