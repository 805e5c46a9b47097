//! A torrent from its swarm, and back to it.
//!
//! ```text
//! DIR/torrent   the description, once it is known
//! ```
//!
//! A piece comes whole from one peer, so that whoever sent a wrong one is known, and is not asked again. Peers come from
//! trackers, the DHT and other peers, or connect by themselves; every address that is connected to is checked like that of a
//! server. Pieces that are here are given to others only as far as the operator allows it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::address::is_public;
use crate::board::{Board, NotKept, Source};
use crate::client::Client;
use crate::doors::{Caller, Door};
use crate::error::FetchError;
use crate::fetch::Progress;
use crate::finding::{Found, News, Sources};
use crate::giving::Share;
use crate::peer::{Ours, Peer};
use crate::torrent::{Magnet, Torrent};
use crate::tracker::{Announce, Event};

/// Peers that are spoken to at once.
const PEERS: usize = 30;
/// Of these, peers at one address that connected to us.
const PEERS_OF_ONE: usize = 3;
/// Peers that are remembered, and that are asked for a description.
const KNOWN: usize = 2_000;
const DESCRIBERS: usize = 200;
/// Bytes of pieces that are under way at once: each is in memory until it is whole.
const UNDER_WAY: u64 = 64 << 20;
/// How often trackers are asked.
const ASK_AGAIN: Duration = Duration::from_secs(120);
/// The same while no peer is known.
const ASK_SOON: Duration = Duration::from_secs(15);
/// The same while nothing is missing.
const ASK_SELDOM: Duration = Duration::from_secs(900);
/// One time in so many the DHT is asked as well, while peers are known.
const DHT_EVERY: u64 = 5;
/// How long a peer that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long a peer that wants nothing is left alone.
const LEFT_IN_PEACE: Duration = Duration::from_secs(900);
/// How long nothing new may come before this try is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one piece may take.
const PIECE_PATIENCE: Duration = Duration::from_secs(120);
/// How long a peer may keep us waiting until it gives anything.
const CHOKED: Duration = Duration::from_secs(120);
/// How long telling trackers that it is over may take.
const GOODBYE: Duration = Duration::from_secs(3);

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
        let info = self.description(magnet).await?;
        let bytes = [b"d4:info", info.as_slice(), b"e"].concat();
        let torrent = Torrent::parse(&bytes).map_err(|problem| FetchError::Torrent { problem })?;
        fs::create_dir_all(dir).and_then(|()| fs::write(&path, &bytes)).map_err(disk)?;
        Ok(Torrent { trackers: magnet.trackers.clone(), ..torrent })
    }

    /// What the first peer that describes it says.
    async fn description(&self, magnet: &Magnet) -> Result<Vec<u8>, FetchError> {
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
        let ours = Ours {
            info_hash,
            peer_id,
            port: None,
            exchanges: false,
            wants: true,
            share: None,
            info: Bytes::new(),
        };
        let (found, mut heard) = mpsc::unbounded_channel();
        let mut finding =
            pin!(self.find(Sources { trackers: &magnet.trackers, dht: true }, &announce, &found));
        let (mut asked, mut known, mut waiting) = (JoinSet::new(), HashSet::new(), VecDeque::new());
        let (mut is_finding, mut problem) = (true, "none of its peers describes it".to_owned());
        loop {
            while let Ok(News { peers, .. }) = heard.try_recv() {
                let new = peers.into_iter().filter(|peer| known.len() < DESCRIBERS && known.insert(*peer));
                waiting.extend(new);
            }
            while asked.len() < PEERS
                && let Some(address) = waiting.pop_front()
            {
                let ours = ours.clone();
                asked.spawn(async move {
                    let mut peer = Peer::connect(address, ours).await?;
                    let described = tokio::time::timeout(PIECE_PATIENCE, peer.description());
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

    /// Fetches the chosen files of a torrent (all when none are) into `dir`; where all its bytes are. What is here is given to
    /// others meanwhile, as far as that is allowed.
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
        let mut swarm = Swarm::join(self, torrent, &board, progress.given.load(Ordering::Relaxed));
        let outcome = swarm.run(progress, None).await;
        board.note().await.map_err(disk)?;
        swarm.leave().await;
        outcome?;
        Ok(board.path().unwrap_or(dir).to_owned())
    }

    /// Gives what was fetched to others: the chosen files of a torrent, which lie elsewhere now, until as much was given as is
    /// allowed or the time is over. `progress.given` says how much was given before.
    ///
    /// # Errors
    /// When this machine fails.
    pub async fn seed(
        &self,
        torrent: &Torrent,
        chosen: &[u32],
        source: Arc<dyn Source>,
        time: Duration,
        progress: &Progress,
    ) -> Result<(), FetchError> {
        let board = Arc::new(Board::of_stored(torrent, chosen, source));
        let mut swarm = Swarm::join(self, torrent, &board, progress.given.load(Ordering::Relaxed));
        let outcome = swarm.run(progress, Some(Instant::now() + time)).await;
        swarm.leave().await;
        outcome
    }
}

/// A swarm that we are a part of.
struct Swarm<'a> {
    client: &'a Client,
    torrent: &'a Torrent,
    board: Arc<Board>,
    share: Option<Arc<Share>>,
    peer_id: [u8; 20],
    /// Bytes that were given before.
    given: u64,
    found: Found,
    heard: mpsc::UnboundedReceiver<News>,
    callers: mpsc::Receiver<Caller>,
    _door: Door,
    /// When each may be connected to.
    known: HashMap<SocketAddr, Instant>,
    banned: HashSet<SocketAddr>,
    talks: JoinSet<(SocketAddr, Result<(), Broken>)>,
    talking: HashSet<SocketAddr>,
    /// Trackers that know of us.
    trackers: HashSet<String>,
    asked: u64,
    problem: String,
}

impl<'a> Swarm<'a> {
    fn join(client: &'a Client, torrent: &'a Torrent, board: &Arc<Board>, given: u64) -> Swarm<'a> {
        let ratio = client.options.seeding.ratio;
        // As much as it says, of what is wanted here.
        let most = (board.wanted() as f64 * ratio) as u64;
        let share = (most > 0).then(|| Arc::new(Share::new(board, &client.budget, given, most)));
        let (found, heard) = mpsc::unbounded_channel();
        let (door, callers) = client.doors.add(torrent.info_hash);
        Swarm {
            client,
            torrent,
            board: Arc::clone(board),
            share,
            peer_id: peer_id(),
            given,
            found,
            heard,
            callers,
            _door: door,
            known: HashMap::new(),
            banned: HashSet::new(),
            talks: JoinSet::new(),
            talking: HashSet::new(),
            trackers: HashSet::new(),
            asked: 0,
            problem: "nobody knows a peer".to_owned(),
        }
    }

    /// Goes on until all that is wanted is here; with an end until enough was given, or the time has come.
    async fn run(&mut self, progress: &Progress, end: Option<Instant>) -> Result<(), FetchError> {
        progress.total.store(self.board.wanted(), Ordering::Relaxed);
        let mut asking: Option<BoxFuture<'a, Option<String>>> = None;
        let mut ask_at = Instant::now();
        loop {
            self.show(progress);
            if self.is_over(end)? {
                self.talks.abort_all();
                return Ok(());
            }
            if asking.is_none() && Instant::now() >= ask_at {
                asking = Some(self.ask());
            }
            self.share.iter().for_each(|share| share.turn());
            self.connect();
            tokio::select! {
                Some(problem) = OptionFuture::from(asking.as_mut()), if asking.is_some() => {
                    asking = None;
                    ask_at = Instant::now() + self.pause();
                    self.problem = problem.unwrap_or(std::mem::take(&mut self.problem));
                }
                Some(news) = self.heard.recv() => self.note(news),
                Some(caller) = self.callers.recv() => self.welcome(caller),
                Some(Ok((address, outcome))) = self.talks.join_next() => self.ended(address, outcome)?,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    fn show(&self, progress: &Progress) {
        progress.got.store(self.board.got().0, Ordering::Relaxed);
        progress.peers.store(self.talking.len() as u64, Ordering::Relaxed);
        progress
            .given
            .store(self.share.as_ref().map_or(self.given, |share| share.given()), Ordering::Relaxed);
    }

    fn is_over(&mut self, end: Option<Instant>) -> Result<bool, FetchError> {
        match end {
            None if self.board.got().1 == 0 => Ok(true),
            None if self.board.last_news().elapsed() > PATIENCE => {
                Err(FetchError::Peers { problem: std::mem::take(&mut self.problem) })
            }
            None => Ok(false),
            Some(end) => {
                Ok(Instant::now() >= end || self.share.as_ref().is_none_or(|share| share.is_spent()))
            }
        }
    }

    /// What is said to trackers.
    fn announce(&self, event: Event) -> Announce {
        let here = self.board.got();
        Announce {
            info_hash: self.torrent.info_hash,
            peer_id: self.peer_id,
            uploaded: self.share.as_ref().map_or(0, |share| share.given().saturating_sub(self.given)),
            downloaded: self.board.came(),
            // Whoever gives a part only is no seed.
            left: if here.1 > 0 { here.1 } else { self.board.total() - here.0 },
            event,
            port: self.port(),
        }
    }

    /// Where peers can connect to, as long as that is of use to them.
    fn port(&self) -> Option<u16> {
        self.share.as_ref().and_then(|_| self.client.doors.port())
    }

    /// How long nobody is asked again.
    fn pause(&self) -> Duration {
        match (self.board.got().1, self.known.is_empty()) {
            (0, _) => ASK_SELDOM,
            (_, true) => ASK_SOON,
            (_, false) => ASK_AGAIN,
        }
    }

    fn ask(&mut self) -> BoxFuture<'a, Option<String>> {
        let event = if self.asked == 0 { Event::Started } else { Event::None };
        let is_due = self.pause() != ASK_AGAIN || self.asked.is_multiple_of(DHT_EVERY);
        self.asked += 1;
        let sources = Sources { trackers: &self.torrent.trackers, dht: is_due && !self.torrent.is_private };
        let (client, announce, found) = (self.client, self.announce(event), self.found.clone());
        async move { client.find(sources, &announce, &found).await }.boxed()
    }

    fn note(&mut self, News { peers, tracker }: News) {
        self.trackers.extend(tracker);
        let (now, guard) = (Instant::now(), self.client.guard());
        for peer in peers.into_iter().filter(|peer| peer.port() != 0 && guard.lets(*peer)) {
            if self.known.len() < KNOWN {
                self.known.entry(peer).or_insert(now);
            }
        }
    }

    fn ours(&self) -> Ours {
        Ours {
            info_hash: self.torrent.info_hash,
            peer_id: self.peer_id,
            port: self.port(),
            exchanges: !self.torrent.is_private,
            wants: self.board.got().1 > 0,
            share: self.share.clone(),
            info: self.torrent.info.clone(),
        }
    }

    fn has_room(&self) -> bool {
        let most = PEERS.min((UNDER_WAY / self.torrent.piece_bytes) as usize).max(1);
        self.talking.len() < most
    }

    /// Connects to peers that are known.
    fn connect(&mut self) {
        let now = Instant::now();
        let due = self.known.iter().filter(|(peer, due)| {
            **due <= now && !self.banned.contains(*peer) && !self.talking.contains(*peer)
        });
        let due: Vec<SocketAddr> = due.map(|(peer, _)| *peer).take(PEERS).collect();
        for address in due {
            if !self.has_room() {
                return;
            }
            let (board, ours, found) = (Arc::clone(&self.board), self.ours(), self.found.clone());
            self.talking.insert(address);
            self.talks.spawn(async move {
                let peer = Peer::connect(address, ours).await;
                (address, talk(&board, peer, &found).await)
            });
        }
    }

    /// Speaks with a peer that connected to us.
    fn welcome(&mut self, caller: Caller) {
        let address = caller.address;
        let same = |peer: &&SocketAddr| peer.ip() == address.ip();
        let is_one_too_many = is_public(address.ip().to_canonical())
            && (self.talking.iter().filter(same).count() >= PEERS_OF_ONE
                || self.banned.iter().any(|peer| same(&peer)));
        if is_one_too_many || !self.has_room() || !self.talking.insert(address) {
            return;
        }
        let (board, ours, found) = (Arc::clone(&self.board), self.ours(), self.found.clone());
        self.talks.spawn(async move {
            let peer = Peer::welcome(caller, ours).await;
            (address, talk(&board, peer, &found).await)
        });
    }

    fn ended(&mut self, address: SocketAddr, outcome: Result<(), Broken>) -> Result<(), FetchError> {
        self.talking.remove(&address);
        // Who has all comes back by itself when it wants something.
        let is_done = outcome.is_ok() && self.board.got().1 == 0;
        if let Some(due) = self.known.get_mut(&address) {
            *due = Instant::now() + if is_done { LEFT_IN_PEACE } else { LEFT_ALONE };
        }
        match outcome {
            Err(Broken::Liar) => drop(self.banned.insert(address)),
            Err(Broken::Disk(error)) => return Err(disk(error)),
            Err(Broken::Peer(error)) => self.problem = format!("{address}: {error}"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Tells the trackers that know of us that we go, and that all came, if it did.
    async fn leave(&mut self) {
        while let Ok(news) = self.heard.try_recv() {
            self.note(news);
        }
        let swarm = &*self;
        let whole = (self.board.came() > 0 && self.board.got().1 == 0).then_some(Event::Completed);
        let told = swarm.trackers.iter().map(|tracker| async move {
            for event in whole.into_iter().chain([Event::Stopped]) {
                if let Err(problem) = swarm.client.peers(tracker, &swarm.announce(event)).await {
                    tracing::debug!("{tracker} was not told that we go: {problem}");
                }
            }
        });
        let told = futures_util::future::join_all(told);
        if tokio::time::timeout(GOODBYE, told).await.is_err() {
            tracing::debug!("a tracker was not told that we go: it is slow");
        }
    }
}

/// Why a talk with a peer ended.
enum Broken {
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

/// Asks a peer for pieces as long as it has some that are missing, and stays as long as it wants some that are here.
async fn talk(board: &Arc<Board>, peer: io::Result<Peer>, found: &Found) -> Result<(), Broken> {
    let mut peer = peer?;
    let (mut idle, mut choked) = (Instant::now(), Instant::now());
    let is_given = peer.gives();
    loop {
        let told = peer.told();
        if !told.is_empty() {
            // Who does not listen any more has found enough.
            let _ = found.send(News { peers: told, tracker: None });
        }
        if board.got().1 == 0 {
            return if is_given { give(board, peer).await } else { Ok(()) };
        }
        if peer.is_choked() {
            if choked.elapsed() > CHOKED && !peer.takes() {
                return Err(io::Error::from(ErrorKind::TimedOut).into());
            }
            peer.listen_for(Duration::from_secs(1)).await?;
            continue;
        }
        choked = Instant::now();
        let Some(taken) = board.pick(|piece| peer.has(piece)) else {
            if idle.elapsed() > LEFT_ALONE && !peer.takes() {
                return Ok(());
            }
            peer.listen_for(Duration::from_millis(200)).await?;
            continue;
        };
        let length = board.length(taken.piece);
        let asked = tokio::time::timeout(PIECE_PATIENCE, peer.piece(taken.piece as u32, length)).await;
        if let Some(bytes) = asked.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))? {
            board.keep(taken, bytes).await.map_err(|not| match not {
                NotKept::Wrong => Broken::Liar,
                NotKept::Disk(error) => Broken::Disk(error),
            })?;
            idle = Instant::now();
        }
    }
}

/// Stays with a peer that may want something, as long as it lacks some.
async fn give(board: &Board, mut peer: Peer) -> Result<(), Broken> {
    while peer.takes() || !peer.has_all(board.count()) {
        peer.hear().await?;
    }
    Ok(())
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
