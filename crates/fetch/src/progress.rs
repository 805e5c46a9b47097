//! How far something is that is fetched or given, and the wish that it ends.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

/// How long telling trackers that we go may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(3);

/// How far it is; other threads may look, and may ask it to end.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that are here.
    pub got: AtomicU64,
    /// Bytes that there will be; nothing: not known.
    pub total: AtomicU64,
    /// Servers or peers that bytes come from.
    pub peers: AtomicU64,
    /// Bytes that were given to peers.
    pub given: AtomicU64,
    /// Whether it should end. Swarms listen to it as long as they have somebody to tell.
    stop: watch::Sender<bool>,
}

impl Progress {
    /// Ends it, and gives a swarm the time to tell its trackers. What knows nobody to tell goes on until it is dropped.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let left = tokio::time::timeout(GOODBYE + Duration::from_secs(1), self.stop.closed()).await;
        if left.is_err() {
            tracing::debug!("a swarm was not left in time");
        }
    }

    /// Whether somebody ended it.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn follow(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}
