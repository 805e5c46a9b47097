//! A torrent from its swarm, in as many pieces as it takes.
//!
//! ```text
//! DIR/torrent   the description, once it is known
//! DIR/body      all files of the torrent behind each other, with holes for what is not wanted
//! DIR/have      its hash, and a bit for each piece that is there and durable
//! ```
//!
//! A piece comes whole from one peer, so that whoever sent a wrong one is known, and is not asked again. Peers come from
//! trackers only; every address is checked like that of a server. Nothing is given to anybody.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::digest;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::FetchError;
use crate::fetch::Progress;
use crate::peer::Peer;
use crate::torrent::{Magnet, Torrent};
use crate::tracker::Announce;

/// Peers that are spoken to at once.
const PEERS: usize = 30;
/// Bytes of pieces that are under way at once: each is in memory until it is whole.
const UNDER_WAY: u64 = 64 << 20;
/// How often trackers are asked.
const ASK_AGAIN: Duration = Duration::from_secs(120);
/// The same while no peer is known.
const ASK_SOON: Duration = Duration::from_secs(15);
/// How long a peer that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long nothing new may come before it is given up for now.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one piece may take.
const PIECE_PATIENCE: Duration = Duration::from_secs(120);
/// Peers that are asked for one piece at once, when there is nothing else to ask for.
const TAKERS: u8 = 3;

impl Client {
    /// The description of a torrent that a magnet link names, from its swarm; kept in `dir`.
    ///
    /// # Errors
    /// When no peer describes it.
    pub async fn describe(&self, magnet: &Magnet, dir: &Path) -> Result<Torrent, FetchError> {
        let path = dir.join("torrent");
        if let Ok(bytes) = fs::read(&path)
            && let Ok(torrent) = Torrent::parse(&bytes)
            && torrent.info_hash == magnet.info_hash
        {
            return Ok(Torrent { trackers: magnet.trackers.clone(), ..torrent });
        }
        let announce = Announce { info_hash: magnet.info_hash, peer_id: peer_id(), left: 1 };
        let peers = self.all_peers(&magnet.trackers, &announce).await;
        let found = peers?;
        let mut asked = JoinSet::new();
        for address in found.into_iter().take(PEERS) {
            asked.spawn(async move {
                let mut peer = Peer::connect(address, &announce.info_hash, &announce.peer_id).await?;
                let described = tokio::time::timeout(PIECE_PATIENCE, peer.description(&announce.info_hash));
                described.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
            });
        }
        let mut problem = "none of its trackers knows a peer".to_owned();
        while let Some(answer) = asked.join_next().await {
            match answer.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(info) => {
                    let bytes = [b"d4:info", info.as_slice(), b"e"].concat();
                    let torrent =
                        Torrent::parse(&bytes).map_err(|bad| FetchError::Torrent { problem: bad })?;
                    fs::create_dir_all(dir).and_then(|()| fs::write(&path, &bytes)).map_err(disk)?;
                    return Ok(Torrent { trackers: magnet.trackers.clone(), ..torrent });
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(FetchError::Peers { problem })
    }

    /// Fetches the chosen files of a torrent (all when none are) into `dir`; where all its bytes are.
    ///
    /// # Errors
    /// When nothing new comes for some time, and when the disk fails. What came stays.
    pub async fn fetch_torrent(
        &self,
        torrent: &Torrent,
        chosen: &[u32],
        dir: &Path,
        progress: &Progress,
    ) -> Result<PathBuf, FetchError> {
        let board = Arc::new(Board::open(torrent, chosen, dir).map_err(disk)?);
        progress.total.store(board.wanted(), Ordering::Relaxed);
        let (mut known, mut banned) = (HashMap::<SocketAddr, Instant>::new(), HashSet::new());
        let (mut talks, mut talking) = (JoinSet::new(), HashSet::new());
        let most = PEERS.min((UNDER_WAY / torrent.piece_bytes) as usize).max(1);
        let mut ask_at = Instant::now();
        let mut problem = "none of its trackers knows a peer".to_owned();
        loop {
            let (got, left) = board.got();
            progress.got.store(got, Ordering::Relaxed);
            progress.peers.store(talking.len() as u64, Ordering::Relaxed);
            if left == 0 {
                talks.abort_all();
                board.note().await.map_err(disk)?;
                return Ok(board.path.clone());
            }
            if board.last_news().elapsed() > PATIENCE {
                board.note().await.map_err(disk)?;
                return Err(FetchError::Peers { problem });
            }
            if Instant::now() >= ask_at {
                let announce = Announce { info_hash: torrent.info_hash, peer_id: board.own, left };
                match self.all_peers(&torrent.trackers, &announce).await {
                    Ok(found) => {
                        let now = Instant::now();
                        for peer in found {
                            known.entry(peer).or_insert(now);
                        }
                    }
                    Err(FetchError::Peers { problem: why }) if known.is_empty() => problem = why,
                    Err(_) => {}
                }
                ask_at = Instant::now() + if known.is_empty() { ASK_SOON } else { ASK_AGAIN };
            }
            for (address, due) in &known {
                let is_free = !banned.contains(address) && !talking.contains(address);
                if is_free && *due <= Instant::now() && talking.len() < most {
                    talking.insert(*address);
                    talks.spawn(talk(Arc::clone(&board), *address));
                }
            }
            tokio::select! {
                Some(ended) = talks.join_next() => {
                    let Ok((address, outcome)) = ended else { continue };
                    talking.remove(&address);
                    known.insert(address, Instant::now() + LEFT_ALONE);
                    match outcome {
                        Err(Broken::Liar) => drop(banned.insert(address)),
                        Err(Broken::Disk(error)) => return Err(disk(error)),
                        Err(Broken::Peer(error)) => problem = format!("{address}: {error}"),
                        Ok(()) => {}
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    /// The peers that all trackers know.
    async fn all_peers(
        &self,
        trackers: &[String],
        announce: &Announce,
    ) -> Result<HashSet<SocketAddr>, FetchError> {
        let asked =
            trackers.iter().map(|tracker| async move { (tracker, self.peers(tracker, announce).await) });
        let (mut found, mut problem) =
            (HashSet::new(), "it names no tracker, and others are not asked".to_owned());
        for (tracker, answer) in futures_util::future::join_all(asked).await {
            match answer {
                Ok(peers) if peers.is_empty() => problem = format!("{tracker} knows none that may be asked"),
                Ok(peers) => found.extend(peers),
                Err(why) => problem = format!("{tracker}: {why}"),
            }
        }
        if found.is_empty() { Err(FetchError::Peers { problem }) } else { Ok(found) }
    }
}

/// Why a talk with a peer ended.
enum Broken {
    /// It sent a wrong piece.
    Liar,
    Peer(io::Error),
    Disk(io::Error),
}

/// Asks a peer for pieces as long as it has some that are missing.
async fn talk(board: Arc<Board>, address: SocketAddr) -> (SocketAddr, Result<(), Broken>) {
    let outcome = async {
        let mut peer = Peer::connect(address, &board.info_hash, &board.own).await.map_err(Broken::Peer)?;
        let mut idle = Instant::now();
        loop {
            peer.unchoked().await.map_err(Broken::Peer)?;
            let Some(taken) = Taken::pick(&board, &peer) else {
                if board.got().1 == 0 || idle.elapsed() > LEFT_ALONE {
                    return Ok(());
                }
                peer.listen_for(Duration::from_millis(200)).await.map_err(Broken::Peer)?;
                continue;
            };
            let (piece, length) = (taken.piece, board.length(taken.piece));
            let asked = tokio::time::timeout(PIECE_PATIENCE, peer.piece(piece as u32, length)).await;
            let asked = asked.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(Broken::Peer)?;
            if let Some(bytes) = asked {
                board.keep(taken, bytes).await?;
                idle = Instant::now();
            }
        }
    };
    (address, outcome.await)
}

/// How a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unwanted,
    Missing,
    /// So many peers are asked for it.
    Asked(u8),
    Here,
}

/// Which pieces are here, and who is asked for which.
struct Board {
    info_hash: [u8; 20],
    own: [u8; 20],
    hashes: Vec<[u8; 20]>,
    piece_bytes: u64,
    total: u64,
    file: File,
    path: PathBuf,
    have: PathBuf,
    pieces: Mutex<Pieces>,
    noting: tokio::sync::Mutex<()>,
}

struct Pieces {
    states: Vec<State>,
    news: Instant,
    noted: Instant,
}

/// A piece that a peer is asked for; asked for no more when it is dropped.
struct Taken<'a> {
    board: &'a Board,
    piece: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let state = &mut self.board.pieces().states[self.piece];
        *state = match *state {
            State::Asked(count) if count > 1 => State::Asked(count - 1),
            State::Asked(_) => State::Missing,
            other => other,
        };
    }
}

impl Taken<'_> {
    /// A piece that the peer has: one that nobody is asked for, or, when all are, one that few are.
    fn pick<'a>(board: &'a Board, peer: &Peer) -> Option<Taken<'a>> {
        let mut pieces = board.pieces();
        let find = |wanted: &dyn Fn(State) -> bool, states: &[State]| {
            states.iter().enumerate().position(|(piece, state)| wanted(*state) && peer.has(piece))
        };
        let found = find(&|state| state == State::Missing, &pieces.states);
        let found = found.or_else(|| find(&|state| matches!(state, State::Asked(1..TAKERS)), &pieces.states));
        let piece = found?;
        let state = &mut pieces.states[piece];
        *state = if let State::Asked(count) = *state { State::Asked(count + 1) } else { State::Asked(1) };
        Some(Taken { board, piece })
    }
}

impl Board {
    /// What is here already counts, if it is of this torrent.
    fn open(torrent: &Torrent, chosen: &[u32], dir: &Path) -> io::Result<Board> {
        fs::create_dir_all(dir)?;
        let (path, have) = (dir.join("body"), dir.join("have"));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let total = torrent.files.iter().map(|file| file.length).sum();
        // Without its bytes a note says nothing.
        let is_whole = file.metadata()?.len() == total;
        file.set_len(total)?;
        let noted = if is_whole { fs::read(&have).unwrap_or_default() } else { Vec::new() };
        let bits = noted.strip_prefix(&torrent.info_hash).unwrap_or_default();
        let is_here =
            |piece: usize| bits.get(piece / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0);
        let mut states = vec![State::Unwanted; torrent.pieces.len()];
        let numbers: HashSet<usize> = chosen.iter().map(|number| *number as usize).collect();
        let mut start = 0;
        for (number, file) in torrent.files.iter().enumerate() {
            let is_wanted = if chosen.is_empty() { !file.is_padding } else { numbers.contains(&number) };
            let end = start + file.length;
            if is_wanted && file.length > 0 {
                let first = (start / torrent.piece_bytes) as usize;
                let last = ((end - 1) / torrent.piece_bytes) as usize;
                for (piece, state) in states.iter_mut().enumerate().take(last + 1).skip(first) {
                    *state = if is_here(piece) { State::Here } else { State::Missing };
                }
            }
            start = end;
        }
        let now = Instant::now();
        Ok(Board {
            info_hash: torrent.info_hash,
            own: peer_id(),
            hashes: torrent.pieces.clone(),
            piece_bytes: torrent.piece_bytes,
            total,
            file,
            path,
            have,
            pieces: Mutex::new(Pieces { states, news: now, noted: now }),
            noting: tokio::sync::Mutex::default(),
        })
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn length(&self, piece: usize) -> u32 {
        let start = piece as u64 * self.piece_bytes;
        self.piece_bytes.min(self.total - start) as u32
    }

    /// Bytes of all pieces that are wanted.
    fn wanted(&self) -> u64 {
        let (got, left) = self.got();
        got + left
    }

    /// Bytes of the wanted pieces that are here, and of those that are not.
    fn got(&self) -> (u64, u64) {
        let pieces = self.pieces();
        let sizes = pieces.states.iter().enumerate();
        sizes.fold((0, 0), |(got, left), (piece, state)| match state {
            State::Unwanted => (got, left),
            State::Here => (got + u64::from(self.length(piece)), left),
            State::Missing | State::Asked(_) => (got, left + u64::from(self.length(piece))),
        })
    }

    fn last_news(&self) -> Instant {
        self.pieces().news
    }

    /// Keeps a piece, if it is right.
    async fn keep(self: &Arc<Board>, taken: Taken<'_>, bytes: Vec<u8>) -> Result<(), Broken> {
        let (board, piece) = (Arc::clone(self), taken.piece);
        let kept = tokio::task::spawn_blocking(move || {
            let seen = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
            if seen.as_ref() != board.hashes[piece] {
                return Err(Broken::Liar);
            }
            board.file.write_all_at(&bytes, piece as u64 * board.piece_bytes).map_err(Broken::Disk)
        });
        kept.await.unwrap_or_else(|error| Err(Broken::Disk(io::Error::other(error))))?;
        let now = Instant::now();
        let is_due = {
            let mut pieces = self.pieces();
            pieces.states[piece] = State::Here;
            pieces.news = now;
            now.duration_since(pieces.noted) >= Duration::from_secs(1)
        };
        if is_due {
            self.note().await.map_err(Broken::Disk)?;
        }
        Ok(())
    }

    /// Makes what is here durable, and notes that it is.
    async fn note(self: &Arc<Board>) -> io::Result<()> {
        let _alone = self.noting.lock().await;
        let board = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let bits = {
                let mut pieces = board.pieces();
                pieces.noted = Instant::now();
                let mut bits = vec![0; pieces.states.len().div_ceil(8)];
                for (piece, _) in pieces.states.iter().enumerate().filter(|(_, state)| **state == State::Here)
                {
                    bits[piece / 8] |= 0x80 >> (piece % 8);
                }
                bits
            };
            board.file.sync_data()?;
            let new = board.have.with_extension("new");
            fs::write(&new, [&board.info_hash[..], &bits].concat())?;
            File::open(&new)?.sync_data()?;
            fs::rename(&new, &board.have)
        });
        noted.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Who we are in a swarm: somebody else each time.
fn peer_id() -> [u8; 20] {
    let mut id = *b"-PU0001-............";
    // Without randomness it is the same each time, which nobody minds.
    let _ = getrandom::fill(&mut id[8..]);
    id
}

fn disk(source: io::Error) -> FetchError {
    FetchError::Disk { operation: "write", source }
}
