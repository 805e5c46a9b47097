//! The access log of the shared store: who read and listed what, and who was refused, also of what jobs keep in it; what is
//! changed stands in the log of commands.
//!
//! ```text
//! request ── trail: who, what, where, why not ──► table of the minute ── once a minute ──► disk: access.log, access.log.1
//! ```
//!
//! It is never the truth of anything, and nothing waits for it: an access is an entry of a small table, which is bounded
//! whoever comes, and what cannot be written is lost and counted. A crash loses the last minute.

mod disk;
mod table;
mod trail;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use pumasi_api::wire::access::{AccessEntry, AccessWhat};
use pumasi_types::{AccountId, ByteSize, SpaceId};

use self::disk::{Disk, Page};
use self::table::Table;
use self::trail::Trail;
pub(crate) use self::trail::{
    Refused, by_machine, called_by, came_by, looked, reads, reads_all, reads_results, refused, wants,
};
use crate::ServeError;
use crate::cell;
use crate::http::Peer;
use crate::limits::Shares;
use crate::metrics::Metrics;
use crate::server::Hub;

/// How long what is alike becomes one line.
const MINUTE: Duration = Duration::from_secs(60);
/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Remembers accesses, unless it is switched off.
pub(crate) struct AccessLog(Option<Kept>);

struct Kept {
    table: Mutex<Table>,
    disk: Arc<tokio::sync::Mutex<Disk>>,
    /// Accounts that read it: each one page at a time.
    readers: Shares<AccountId>,
    lines: Counter,
    lost: Counter,
}

/// Which accesses.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    All,
    /// To what lies in a space.
    Of(SpaceId),
    /// To what was called so, whether there is such a space or not.
    Named(String),
}

/// Why the log was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRead {
    #[error("this hub keeps no access log: its operator starts it with `--access-log-size`")]
    Off,
    #[error("you read the access log already: read it page by page")]
    Busy,
    #[error("cannot read the access log: {0}")]
    File(#[from] io::Error),
}

impl AccessLog {
    /// Opens the log in the data folder, where it takes up to `size`; none: there is none.
    pub(crate) fn open(
        dir: &Path,
        size: Option<ByteSize>,
        metrics: &Metrics,
    ) -> Result<AccessLog, ServeError> {
        let Some(size) = size else { return Ok(AccessLog(None)) };
        let disk = Disk::open(dir, size).map_err(ServeError::file("open the access log in", dir))?;
        Ok(AccessLog(Some(Kept {
            table: Mutex::default(),
            disk: Arc::new(tokio::sync::Mutex::new(disk)),
            readers: Shares::new(1),
            lines: metrics.access_lines.clone(),
            lost: metrics.access_lost.clone(),
        })))
    }

    /// The trail of a request of S3.
    pub(crate) fn of_s3(&self, request: &Request) -> Option<Trail> {
        self.0.as_ref().map(|_| Trail::of_s3(request, address_of(request)))
    }

    /// Has a request answered, and takes in what became of it.
    pub(crate) async fn follow(
        &self,
        trail: Option<Trail>,
        answering: impl Future<Output = Response>,
    ) -> Response {
        let (Some(kept), Some(trail)) = (&self.0, trail) else { return answering.await };
        let trail = Arc::new(trail);
        let response = trail.follow(answering).await;
        let code = response.extensions().get::<Refused>().map(|refused| refused.0);
        let told = trail.told(response.status(), code);
        if !told.is_empty() {
            let (visitor, now_ms) = (trail.visitor(), cell::now().0 / MS);
            let mut table = kept.table();
            told.into_iter().for_each(|entry| table.add(entry, visitor, now_ms));
        }
        response
    }

    /// Writes what was seen so far.
    async fn flush(&self) {
        self.write(Table::flush).await;
    }

    /// Writes everything, and begins a new minute.
    pub(crate) async fn turn(&self) {
        self.write(Table::turn).await;
    }

    async fn write(&self, take: fn(&mut Table) -> Vec<AccessEntry>) {
        let Some(kept) = &self.0 else { return };
        let mut disk = Arc::clone(&kept.disk).lock_owned().await;
        // Only now, so that lines come in their order.
        let lines = take(&mut kept.table());
        if lines.is_empty() {
            return;
        }
        let all = lines.len();
        let written = tokio::task::spawn_blocking(move || disk.write(&lines)).await.unwrap_or(0);
        kept.lines.inc_by(written as u64);
        kept.lost.inc_by((all - written) as u64);
    }

    /// Up to `limit` of the accesses that were noted before the position `before`, the newest first; and the position behind
    /// which there may be more.
    pub(crate) async fn page(
        &self,
        reader: AccountId,
        which: Which,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page, NotRead> {
        let kept = self.0.as_ref().ok_or(NotRead::Off)?;
        let _one = kept.readers.take(reader, 1).ok_or(NotRead::Busy)?;
        self.flush().await;
        let disk = Arc::clone(&kept.disk).lock_owned().await;
        let read =
            tokio::task::spawn_blocking(move || disk.page(before, limit, |entry| which.takes(entry))).await;
        Ok(read.map_err(io::Error::other)??)
    }
}

impl Kept {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Which {
    fn takes(&self, entry: &AccessEntry) -> bool {
        match self {
            Which::All => true,
            Which::Of(space) => entry.space_id == Some(*space),
            Which::Named(name) => entry.space.as_ref() == Some(name),
        }
    }
}

/// An entry that tells nothing yet.
fn blank(what: AccessWhat) -> AccessEntry {
    AccessEntry {
        at_ms: 0,
        until_ms: 0,
        times: 0,
        account: None,
        account_name: None,
        link: None,
        address: None,
        by: None,
        what,
        space: None,
        space_id: None,
        job: None,
        path: None,
        blob: None,
        refused: None,
    }
}

fn address_of(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(IpAddr::from([0; 4]), |peer| peer.0)
}

/// Notes what becomes of requests for files, blobs, links, the store, and inputs and results of jobs.
pub(crate) async fn watch(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let trail = hub.access.0.as_ref().and_then(|_| Trail::of(&request, address_of(&request)));
    hub.access.follow(trail, next.run(request)).await
}

/// Writes the log once a minute, until the hub stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(MINUTE) => hub.access.turn().await,
            () = hub.stopping() => return,
        }
    }
}
