//! One talk with a peer of a swarm: it is asked for pieces, and given what it asks for, as long as one of both is of use.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::board::{Board, NotKept, Taken};
use crate::finding::{Found, News};
use crate::peer::Peer;
use crate::room::Room;

/// How long a peer may keep us waiting until it gives anything.
const CHOKED: Duration = Duration::from_secs(120);
/// How long a peer keeps its place that has nothing that is missing.
const OF_NO_USE: Duration = Duration::from_secs(60);
/// How long one piece may take at least, and how many bytes must come in a second when it is a long one.
pub(crate) const PIECE_PATIENCE: Duration = Duration::from_secs(120);
const PIECE_PACE: u64 = 8 << 10;
/// How long is listened to a peer that nothing is asked of, before it is looked again what could be.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a piece of so many bytes may take.
pub(crate) fn piece_patience(bytes: u64) -> Duration {
    Duration::from_secs(bytes / PIECE_PACE).max(PIECE_PATIENCE)
}

/// What a talk is about.
pub(crate) struct Talk {
    pub(crate) board: Arc<Board>,
    pub(crate) found: Found,
    /// Room for pieces that are under way.
    pub(crate) room: Arc<Room>,
    /// How long a peer keeps its place that neither gives nor takes anything.
    pub(crate) patience: Duration,
}

/// How a talk ended.
pub(crate) struct Ended {
    pub(crate) address: SocketAddr,
    /// Whether a piece came, or something was given.
    pub(crate) of_use: bool,
    pub(crate) outcome: Result<(), Broken>,
}

/// Why a talk ended.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It sent a wrong piece.
    Liar,
    Peer(io::Error),
    Disk(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Peer(error)
    }
}

/// Since when a peer is of no use, and in which way.
struct Since {
    choked: Instant,
    nothing_missing: Instant,
    /// Since it neither gave nor took anything; how much it had taken then.
    idle: Instant,
    took: u64,
    gave: bool,
}

impl Since {
    fn now() -> Since {
        let now = Instant::now();
        Since { choked: now, nothing_missing: now, idle: now, took: 0, gave: false }
    }
}

impl Talk {
    /// Speaks with a peer until it is of no use any more.
    pub(crate) async fn with(
        self,
        address: SocketAddr,
        peer: impl Future<Output = io::Result<Peer>>,
    ) -> Ended {
        let mut since = Since::now();
        let outcome = match peer.await {
            Ok(peer) => self.go_on(peer, &mut since).await,
            Err(error) => Err(error.into()),
        };
        Ended { address, of_use: since.gave || since.took > 0, outcome }
    }

    /// Asks for pieces as long as it has some that are missing, and stays as long as it wants some that are here.
    async fn go_on(&self, mut peer: Peer, since: &mut Since) -> Result<(), Broken> {
        *since = Since::now();
        loop {
            let told = peer.told();
            if !told.is_empty() {
                // Who does not listen any more has found enough.
                let _ = self.found.send(News { peers: told, tracker: None });
            }
            if peer.is_deaf() {
                return Err(io::Error::from(ErrorKind::BrokenPipe).into());
            }
            if peer.took() > since.took {
                (since.took, since.idle) = (peer.took(), Instant::now());
            }
            if since.idle.elapsed() > self.patience {
                return Ok(());
            }
            if self.board.got().1 == 0 {
                if !peer.gives() || peer.has_all() && !peer.takes() {
                    return Ok(());
                }
                peer.listen_for(Duration::from_secs(5).min(self.patience)).await?;
                continue;
            }
            if peer.is_choked() {
                if since.choked.elapsed() > CHOKED && !peer.takes() {
                    return Err(io::Error::from(ErrorKind::TimedOut).into());
                }
                // What it has that is missing shows when it gives.
                since.nothing_missing = Instant::now();
                peer.listen_for(Duration::from_secs(1)).await?;
                continue;
            }
            since.choked = Instant::now();
            if !self.take_one(&mut peer, since).await? {
                if since.nothing_missing.elapsed() > OF_NO_USE && !peer.takes() {
                    return Ok(());
                }
                peer.listen_for(PAUSE).await?;
            }
        }
    }

    /// Asks for a piece, if it has one that is missing, or waits a little for room; whether it has.
    async fn take_one(&self, peer: &mut Peer, since: &mut Since) -> Result<bool, Broken> {
        let Some(taken) = self.board.pick(peer.has()) else { return Ok(false) };
        let Some(_place) = self.room.take() else {
            // Others may be asked for it as long as this one waits for us.
            drop(taken);
            (since.nothing_missing, since.idle) = (Instant::now(), Instant::now());
            let _waiting = self.room.wait();
            peer.listen_for(PAUSE).await?;
            return Ok(true);
        };
        if self.take(peer, taken).await? {
            (since.idle, since.gave) = (Instant::now(), true);
        }
        since.nothing_missing = Instant::now();
        Ok(true)
    }

    /// Asks for this piece; whether it came. Who takes too long is left alone for a while: somebody else gets its place.
    async fn take(&self, peer: &mut Peer, taken: Taken<'_>) -> Result<bool, Broken> {
        let length = self.board.length(taken.piece);
        let begun = Instant::now();
        let asked = tokio::select! {
            asked = peer.piece(taken.piece as u32, length) => asked?,
            () = self.room.late(piece_patience(length.into())) => {
                return Err(io::Error::new(ErrorKind::TimedOut, "its piece takes too long").into());
            }
        };
        let Some(bytes) = asked else { return Ok(false) };
        let took = begun.elapsed();
        self.board.keep(taken, bytes).await.map_err(|not| match not {
            NotKept::Wrong => Broken::Liar,
            NotKept::Disk(error) => Broken::Disk(error),
        })?;
        self.room.came(took);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pieces_may_take_long() {
        assert_eq!(piece_patience(256 << 10), Duration::from_secs(120));
        assert_eq!(piece_patience(64 << 20), Duration::from_secs(8_192));
    }
}
