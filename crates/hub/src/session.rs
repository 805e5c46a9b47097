//! Callers who stay: their streams end when their token is revoked, or the hub stops.

use std::net::IpAddr;

use http::HeaderMap;
use pumasi_types::Hash;
use tokio::sync::{mpsc, watch};

use crate::auth::{self, Caller};
use crate::server::{Denied, Hub};

/// A caller whose stream lasts.
pub(crate) struct Session {
    pub(crate) caller: Caller,
    token: Hash,
    revocations: watch::Receiver<u64>,
}

/// Why a stream must end before its caller wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Over {
    #[error("the token was revoked")]
    Revoked,
    #[error("the hub is stopping")]
    Stopping,
}

impl Session {
    /// As [`Hub::authenticate`].
    pub(crate) async fn begin(
        hub: &Hub,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Session, Denied> {
        let token = auth::bearer(headers).map(auth::hash_of).unwrap_or_default();
        // Before the token is looked at: a revocation in between must be noticed.
        let revocations = hub.tokens.revocations();
        Ok(Session { caller: hub.authenticate(headers, peer).await?, token, revocations })
    }

    /// Lets a stream be read until it or the session ends, or nobody takes any more what was read; says why when it had
    /// to end.
    pub(crate) async fn read<T, E: From<Over>>(
        self,
        hub: &Hub,
        to: &mpsc::Sender<Result<T, E>>,
        reading: impl Future<Output = Result<(), E>>,
    ) {
        let ended = tokio::select! {
            ended = reading => ended,
            over = self.over(hub) => Err(over.into()),
            () = to.closed() => return,
        };
        if let Err(error) = ended {
            // Nobody reads it when this fails.
            let _ = to.send(Err(error)).await;
        }
    }

    /// Resolves when the stream must end.
    pub(crate) async fn over(mut self, hub: &Hub) -> Over {
        tokio::select! {
            () = self.revoked(hub) => Over::Revoked,
            () = hub.stopping() => Over::Stopping,
        }
    }

    /// Resolves when the token stands for nobody any more.
    async fn revoked(&mut self, hub: &Hub) {
        // Errors mean that the hub or its cell is gone, which ends the stream in other ways.
        while self.revocations.changed().await.is_ok() {
            if let Ok(None) = hub.tokens.look_up(&hub.cell, self.token).await {
                return;
            }
        }
        std::future::pending().await
    }
}
