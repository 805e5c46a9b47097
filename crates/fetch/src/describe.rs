//! The description of a torrent, from its swarm (BEP 9).
//!
//! ```text
//! DIR/torrent   the description, once it is known
//! ```

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::FetchError;
use crate::fetch::disk;
use crate::finding::{News, Sources};
use crate::peer::{Ours, Peer};
use crate::swarm::{PEERS, peer_id};
use crate::talk::PIECE_PATIENCE;
use crate::torrent::{Magnet, Torrent};
use crate::tracker::{Announce, Event};

/// Peers that are asked for a description, and those of them that somebody may name at once, while others are still asked who
/// has it: peers which know nothing must not keep out those that do.
const DESCRIBERS: usize = 200;
const OF_ONE: usize = 50;

/// Room for descriptions that are under way, in blocks: many peers may say that theirs is the longest. Those that hold some of
/// it and wait for more would wait for each other, so one of them always goes on without.
#[derive(Debug)]
pub(crate) struct BlockRoom {
    blocks: Semaphore,
    beyond: Semaphore,
}

/// What one description takes of it.
#[derive(Debug, Default)]
pub(crate) struct Held<'a> {
    blocks: Vec<SemaphorePermit<'a>>,
    beyond: Option<SemaphorePermit<'a>>,
}

impl BlockRoom {
    pub(crate) fn new(blocks: usize) -> BlockRoom {
        BlockRoom { blocks: Semaphore::new(blocks), beyond: Semaphore::new(1) }
    }

    /// Waits until there is room for one more block.
    pub(crate) async fn take<'a>(&'a self, held: &mut Held<'a>) -> io::Result<()> {
        if held.beyond.is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            block = self.blocks.acquire() => held.blocks.push(block.map_err(io::Error::other)?),
            beyond = self.beyond.acquire() => held.beyond = Some(beyond.map_err(io::Error::other)?),
        }
        Ok(())
    }

    /// How many blocks have room.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.blocks.available_permits()
    }
}

impl Client {
    /// The description of a torrent that a magnet link names, from its swarm; kept in `dir`.
    ///
    /// # Errors
    /// When no peer describes it.
    pub async fn describe(&self, magnet: &Magnet, dir: &Path) -> Result<Torrent, FetchError> {
        let path = dir.join("torrent");
        let kept = path.clone();
        let known =
            aside(move || Ok(fs::read(kept).ok().and_then(|bytes| Torrent::parse(&bytes).ok()))).await?;
        if let Some(torrent) = known.filter(|torrent| torrent.info_hash == magnet.info_hash) {
            return Ok(Torrent { trackers: magnet.trackers.clone(), ..torrent });
        }
        let info = self.description(magnet).await?;
        let dir = dir.to_owned();
        let torrent = aside(move || {
            let bytes = [b"d4:info", info.as_slice(), b"e"].concat();
            let torrent = Torrent::parse(&bytes).map_err(|problem| FetchError::Torrent { problem })?;
            fs::create_dir_all(dir).and_then(|()| fs::write(path, bytes)).map_err(disk("write"))?;
            Ok(torrent)
        });
        Ok(Torrent { trackers: magnet.trackers.clone(), ..torrent.await? })
    }

    /// What the first peer that describes it says.
    async fn description(&self, magnet: &Magnet) -> Result<Vec<u8>, FetchError> {
        let (announce, ours) = introduction(magnet);
        let (found, mut heard) = mpsc::unbounded_channel();
        let mut finding =
            pin!(self.find(Sources { trackers: &magnet.trackers, dht: true }, &announce, &found));
        let (mut asked, mut known, mut waiting) = (JoinSet::new(), HashSet::new(), VecDeque::new());
        let mut behind: Vec<SocketAddr> = Vec::new();
        let (mut is_finding, mut problem) = (true, "none of its peers describes it".to_owned());
        loop {
            let mut is_new = |peer: &SocketAddr| known.len() < DESCRIBERS && known.insert(*peer);
            while let Ok(News { mut peers, .. }) = heard.try_recv() {
                behind.extend(peers.drain(OF_ONE.min(peers.len())..));
                waiting.extend(peers.into_iter().filter(&mut is_new));
            }
            if !is_finding && waiting.is_empty() {
                waiting.extend(behind.drain(..).filter(&mut is_new));
            }
            while asked.len() < PEERS
                && let Some(address) = waiting.pop_front()
            {
                let (ours, room) = (ours.clone(), Arc::clone(&self.describing));
                asked.spawn(async move {
                    let mut peer = Peer::connect(address, ours).await?;
                    let described = tokio::time::timeout(PIECE_PATIENCE, peer.description(&room));
                    described.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
                });
            }
            if !is_finding && asked.is_empty() {
                return Err(FetchError::Peers { problem });
            }
            tokio::select! {
                Some(answer) = asked.join_next() => match answer.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(info) => return Ok(info),
                    Err(error) => problem = error.to_string(),
                },
                why = &mut finding, if is_finding => {
                    is_finding = false;
                    problem = why.filter(|_| known.is_empty()).unwrap_or(problem);
                }
                // Peers are told while others are still asked for some.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }
}

/// What is said of ourselves to trackers and to peers, when nothing but a magnet link is known.
fn introduction(magnet: &Magnet) -> (Announce, Ours) {
    let (info_hash, peer_id) = (magnet.info_hash, peer_id());
    let announce = Announce {
        info_hash,
        peer_id,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: Event::Started,
        port: None,
    };
    (announce, Ours::before_the_description(info_hash, peer_id))
}

/// Works beside everything else: to read a description of 16 MiB takes a while.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(disk("read")(io::Error::other(error))))
}
