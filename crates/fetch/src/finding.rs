//! Who has it: the peers of one torrent that its trackers and the DHT know.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::Client;
use crate::tracker::{Announce, Told};

/// Where peers are told as soon as they are known.
pub(crate) type Found = mpsc::UnboundedSender<News>;

/// Peers that somebody knows.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) peers: Vec<SocketAddr>,
    /// The tracker that knows them, and us now.
    pub(crate) tracker: Option<Knowing>,
}

/// A tracker that knows us.
#[derive(Debug)]
pub(crate) struct Knowing {
    pub(crate) tracker: String,
    /// How long it wants to be left alone.
    pub(crate) wait: Option<Duration>,
}

/// Where is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) trackers: &'a [String],
    /// Whether the DHT is asked as well, if it is switched on.
    pub(crate) dht: bool,
}

impl Client {
    /// Asks everybody once. Why nobody is known to any tracker, if nobody is.
    pub(crate) async fn find(
        &self,
        sources: Sources<'_>,
        announce: &Announce,
        found: &Found,
    ) -> Option<String> {
        let trackers = sources.trackers.iter().map(|tracker| async move {
            let answer = self.peers(tracker, announce).await;
            if let Ok(Told { peers, wait }) = &answer {
                let knowing = Knowing { tracker: tracker.clone(), wait: *wait };
                // Who does not listen any more has found enough.
                let _ = found.send(News { peers: peers.clone(), tracker: Some(knowing) });
            }
            (tracker, answer)
        });
        let nodes = async {
            let dht = self.dht.clone().filter(|_| sources.dht)?;
            let (target, port, found) = (announce.info_hash, announce.port, found.clone());
            let turn = dht.turn().await?;
            // Whoever has found enough leaves, but a search that was begun goes to its end: the next one begins with what it
            // found.
            let search = tokio::spawn(async move { dht.peers(turn, target, port, &found).await });
            Some(search.await.unwrap_or(0))
        };
        let (answers, nodes) = tokio::join!(futures_util::future::join_all(trackers), nodes);
        let mut problem = "it names no tracker, and nothing else may be asked".to_owned();
        match nodes {
            None => {}
            Some(0) => problem = "no node of the DHT answers".to_owned(),
            Some(_) => problem = "neither its trackers nor the DHT know a peer".to_owned(),
        }
        let mut any = false;
        for (tracker, answer) in answers {
            match answer {
                Ok(Told { peers, .. }) => {
                    any |= !peers.is_empty();
                    if peers.is_empty() {
                        problem = format!("{tracker} knows none that may be asked");
                    }
                }
                Err(why) => problem = format!("{tracker}: {why}"),
            }
        }
        (!any).then_some(problem)
    }
}
