//! A torrent from its swarm, and back to it.
//!
//! A piece comes whole from one peer, so that whoever sent a wrong one is known, and is not asked again. Peers come from
//! trackers, the DHT and other peers, or connect by themselves; every address that is connected to is checked like that of a
//! server. Pieces that are here are given to others only as far as the operator allows it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::address::{canonical, party};
use crate::board::{Board, Source};
use crate::client::Client;
use crate::doors::{Caller, Door};
use crate::error::FetchError;
use crate::fetch::disk;
use crate::finding::{Found, Knowing, News, Sources};
use crate::giving::Share;
use crate::peer::{Ours, Peer};
use crate::progress::{GOODBYE, Progress};
use crate::room::Room;
use crate::talk::{Broken, Ended, Talk, piece_patience};
use crate::torrent::Torrent;
use crate::tracker::{Announce, Event};

/// Peers that are spoken to at once.
pub(crate) const PEERS: usize = 30;
/// Of these, peers of one party.
const PEERS_OF_ONE: usize = 3;
/// Peers that are remembered.
const KNOWN: usize = 2_000;
/// How often in a row a peer may be of no use before it is forgotten.
const FAILURES: u32 = 3;
/// Bytes of pieces that are under way at once, but one piece always is: each is in memory until it is whole.
const UNDER_WAY: u64 = 64 << 20;
/// How often is asked for peers.
const ASK_AGAIN: Duration = Duration::from_secs(120);
/// The same while no peer is known.
const ASK_SOON: Duration = Duration::from_secs(15);
/// The same while nothing is missing.
const ASK_SELDOM: Duration = Duration::from_secs(900);
/// How long each tracker is left alone at least, even if it failed, and at most, whatever it wishes.
const TRACKER_LEFT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// One time in so many the DHT is asked as well, while peers are known.
const DHT_EVERY: u64 = 5;
/// How long a peer that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long a peer that wants nothing is left alone.
const LEFT_IN_PEACE: Duration = Duration::from_secs(900);
/// How long nothing new may come before this try is given up.
const PATIENCE: Duration = Duration::from_secs(300);
impl Client {
    /// Fetches the chosen files of a torrent (all when none are) into `dir`; where all its bytes are. What is here is given to
    /// others meanwhile, as far as that is allowed.
    ///
    /// # Errors
    /// When nothing new comes for some time, when it was stopped, and when the disk fails. What came stays.
    pub async fn fetch_torrent(
        &self,
        torrent: &Torrent,
        chosen: &[u32],
        dir: &Path,
        progress: &Progress,
    ) -> Result<PathBuf, FetchError> {
        let _leaving = progress.follow();
        let board = Arc::new(Board::open(torrent, chosen, dir).map_err(disk("write"))?);
        let given = progress.given.load(Ordering::Relaxed);
        let mut swarm = Swarm::join(self, torrent, torrent.content(chosen), &board, given);
        let outcome = swarm.run(progress, None).await;
        board.note().await.map_err(disk("write"))?;
        swarm.leave().await;
        outcome?;
        Ok(board.path().unwrap_or(dir).to_owned())
    }

    /// Gives what was fetched to others: the chosen files of a torrent, which lie elsewhere now, until as much was given as is
    /// allowed, the time is over or what is given is not there any more. `progress.given` says how much was given before.
    ///
    /// # Errors
    /// When this machine fails, and when it was stopped.
    pub async fn seed(
        &self,
        torrent: &Torrent,
        chosen: &[u32],
        source: Arc<dyn Source>,
        time: Duration,
        progress: &Progress,
    ) -> Result<(), FetchError> {
        let _leaving = progress.follow();
        let board = Arc::new(Board::of_stored(torrent, chosen, source));
        let given = progress.given.load(Ordering::Relaxed);
        let mut swarm = Swarm::join(self, torrent, torrent.content(chosen), &board, given);
        let outcome = swarm.run(progress, Some(Instant::now() + time)).await;
        swarm.leave().await;
        outcome
    }
}

/// A peer that may be connected to.
struct Known {
    /// When it may be.
    due: Instant,
    /// How often in a row it was of no use.
    failures: u32,
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
    known: HashMap<SocketAddr, Known>,
    /// Parties that sent wrong pieces.
    banned: HashSet<SocketAddr>,
    talks: JoinSet<Ended>,
    talking: HashSet<SocketAddr>,
    /// Room for pieces that are under way.
    room: Arc<Room>,
    /// Trackers that know of us.
    trackers: HashSet<String>,
    /// When each tracker may be asked again.
    due: HashMap<String, Instant>,
    asked: u64,
    problem: String,
}

impl<'a> Swarm<'a> {
    /// Joins it, for so many bytes that are wanted.
    fn join(
        client: &'a Client,
        torrent: &'a Torrent,
        content: u64,
        board: &Arc<Board>,
        given: u64,
    ) -> Swarm<'a> {
        let most = (content as f64 * client.options.seeding.ratio) as u64;
        let share = (most > 0).then(|| Arc::new(Share::new(board, &client.budget, given, most)));
        let (found, heard) = mpsc::unbounded_channel();
        let (door, callers) = client.doors.add(torrent.info_hash);
        let pieces = (UNDER_WAY / torrent.piece_bytes).clamp(1, PEERS as u64) as usize;
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
            room: Arc::new(Room::new(pieces, client.options.piece_patience)),
            trackers: HashSet::new(),
            due: HashMap::new(),
            asked: 0,
            problem: "nobody knows a peer".to_owned(),
        }
    }

    /// Goes on until all that is wanted is here, or it is stopped; with an end until enough was given, or the time has come.
    async fn run(&mut self, progress: &Progress, end: Option<Instant>) -> Result<(), FetchError> {
        progress.total.store(self.board.wanted(), Ordering::Relaxed);
        let mut asking: Option<BoxFuture<'a, Option<String>>> = None;
        let (mut ask_at, mut stop) = (Instant::now(), progress.follow());
        loop {
            self.show(progress);
            if self.is_over(end)? {
                return Ok(());
            }
            if self.board.is_late() {
                self.board.note().await.map_err(disk("write"))?;
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
                Some(Ok(ended)) = self.talks.join_next() => self.ended(ended)?,
                () = stopped(&mut stop) => return Err(FetchError::Stopped),
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
        let Some(end) = end else {
            let is_late = self.board.last_news().elapsed() > self.patience();
            return match self.board.got().1 {
                0 => Ok(true),
                _ if is_late => Err(FetchError::Peers { problem: std::mem::take(&mut self.problem) }),
                _ => Ok(false),
            };
        };
        let has_given = self.share.as_ref().is_none_or(|share| share.is_spent() || share.is_gone());
        Ok(has_given || Instant::now() >= end)
    }

    /// How long nothing new may come: not less than a piece may take that is under way.
    fn patience(&self) -> Duration {
        let piece = if self.board.is_asking() { self.torrent.piece_bytes } else { 0 };
        PATIENCE.max(piece_patience(piece))
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
        let (now, dht) = (Instant::now(), is_due && !self.torrent.is_private);
        let all = &self.torrent.trackers;
        let due = all.iter().filter(|tracker| self.due.get(*tracker).is_none_or(|due| *due <= now));
        let trackers: Vec<String> = due.cloned().collect();
        if trackers.is_empty() && !all.is_empty() && !dht {
            return std::future::ready(None).boxed();
        }
        self.due.extend(trackers.iter().map(|tracker| (tracker.clone(), now + TRACKER_LEFT.0)));
        let (client, announce, found) = (self.client, self.announce(event), self.found.clone());
        async move { client.find(Sources { trackers: &trackers, dht }, &announce, &found).await }.boxed()
    }

    fn note(&mut self, News { peers, tracker }: News) {
        let (now, guard) = (Instant::now(), self.client.guard());
        if let Some(Knowing { tracker, wait }) = tracker {
            let wait = wait.unwrap_or(ASK_AGAIN).clamp(TRACKER_LEFT.0, TRACKER_LEFT.1);
            self.due.insert(tracker.clone(), now + wait);
            self.trackers.insert(tracker);
        }
        let may =
            |peer: &SocketAddr| peer.port() != 0 && guard.lets(*peer) && !self.banned.contains(&party(*peer));
        let peers: Vec<SocketAddr> = peers.into_iter().map(canonical).filter(may).collect();
        let is_full = self.known.len() + peers.len() > KNOWN;
        let failed = self
            .known
            .iter()
            .filter(|(peer, known)| is_full && known.failures > 0 && !self.talking.contains(*peer));
        let mut failed: Vec<SocketAddr> = failed.map(|(peer, _)| *peer).collect();
        for peer in peers {
            if self.known.len() >= KNOWN && !self.known.contains_key(&peer) {
                let Some(failed) = failed.pop() else { continue };
                self.known.remove(&failed);
            }
            self.known.entry(peer).or_insert(Known { due: now, failures: 0 });
        }
    }

    fn ours(&self) -> Ours {
        Ours {
            info_hash: self.torrent.info_hash,
            peer_id: self.peer_id,
            pieces: Some(self.board.count()),
            port: self.port(),
            exchanges: !self.torrent.is_private,
            wants: self.board.got().1 > 0,
            share: self.share.clone(),
            info: self.torrent.info.clone(),
        }
    }

    /// Whether somebody may be spoken to: there is a place, and others of the same party have not too many.
    fn has_place_for(&self, address: SocketAddr) -> bool {
        let its = party(address);
        self.talking.len() < PEERS
            && !self.banned.contains(&its)
            && !self.talking.contains(&address)
            && self.talking.iter().filter(|other| party(**other) == its).count() < PEERS_OF_ONE
    }

    fn talk(&self) -> Talk {
        Talk {
            board: Arc::clone(&self.board),
            found: self.found.clone(),
            room: Arc::clone(&self.room),
            patience: self.client.options.peer_patience,
        }
    }

    /// Connects to peers that are known.
    fn connect(&mut self) {
        let now = Instant::now();
        let due = self.known.iter().filter(|(peer, known)| known.due <= now && self.has_place_for(**peer));
        let due: Vec<SocketAddr> = due.map(|(peer, _)| *peer).take(PEERS).collect();
        for address in due {
            if self.has_place_for(address) {
                self.talking.insert(address);
                self.talks.spawn(self.talk().with(address, Peer::connect(address, self.ours())));
            }
        }
    }

    /// Speaks with a peer that connected to us.
    fn welcome(&mut self, caller: Caller) {
        let address = caller.address;
        if self.has_place_for(address) {
            self.talking.insert(address);
            self.talks.spawn(self.talk().with(address, Peer::welcome(caller, self.ours())));
        }
    }

    fn ended(&mut self, Ended { address, of_use, outcome }: Ended) -> Result<(), FetchError> {
        self.talking.remove(&address);
        // Who has all comes back by itself when it wants something.
        let is_done = outcome.is_ok() && self.board.got().1 == 0;
        if let Some(known) = self.known.get_mut(&address) {
            known.due = Instant::now() + if is_done { LEFT_IN_PEACE } else { LEFT_ALONE };
            known.failures = if of_use || is_done { 0 } else { known.failures + 1 };
            if known.failures >= FAILURES {
                self.known.remove(&address);
            }
        }
        match outcome {
            Err(Broken::Liar) => drop(self.banned.insert(party(address))),
            Err(Broken::Disk(error)) => return Err(disk("write")(error)),
            Err(Broken::Peer(error)) => self.problem = format!("{address}: {error}"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Tells the trackers that know of us that we go, and that all came, if it did.
    async fn leave(&mut self) {
        self.talks.abort_all();
        while let Ok(news) = self.heard.try_recv() {
            self.note(news);
        }
        let swarm = &*self;
        // Whoever wanted a part only has not completed it.
        let is_whole = self.board.came() > 0 && self.board.got().0 == self.board.total();
        let whole = is_whole.then_some(Event::Completed);
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

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can stop it any more, and that nobody waits for it either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Who we are in a swarm: somebody else each time.
pub(crate) fn peer_id() -> [u8; 20] {
    let mut id = *b"-PU0001-............";
    // Without randomness it is the same each time, which nobody minds.
    let _ = getrandom::fill(&mut id[8..]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Options;

    fn torrent() -> Torrent {
        let info = b"d4:infod6:lengthi4e4:name1:a12:piece lengthi4e6:pieces20:hhhhhhhhhhhhhhhhhhhhee";
        Torrent { trackers: vec!["http://a.test/".to_owned()], ..Torrent::parse(info).unwrap() }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn news(peers: impl Iterator<Item = SocketAddr>) -> News {
        News { peers: peers.collect(), tracker: None }
    }

    /// Public addresses of as many parties.
    fn peers(from: u32, count: u32) -> impl Iterator<Item = SocketAddr> {
        (from..from + count).map(|n| SocketAddr::from(((0x0100_0000 + n).to_be_bytes(), 1)))
    }

    fn failed(address: SocketAddr) -> Ended {
        let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Ended { address, of_use: false, outcome: Err(error.into()) }
    }

    /// A swarm that is joined, but does nothing by itself.
    fn with_swarm(test: impl FnOnce(&mut Swarm<'_>)) {
        let (torrent, dir) = (torrent(), tempfile::tempdir().unwrap());
        let client = Client::new(Options::default()).unwrap();
        let board = Arc::new(Board::open(&torrent, &[], dir.path()).unwrap());
        test(&mut Swarm::join(&client, &torrent, 4, &board, 0));
    }

    #[test]
    fn a_party_has_three_places_and_is_banned_as_a_whole() {
        with_swarm(|swarm| {
            swarm.talking.extend((1..=3).map(|n| at(&format!("[2606:4700::{n}]:1"))));
            assert!(!swarm.has_place_for(at("[2606:4700::ffff:4]:9")), "the same network");
            assert!(swarm.has_place_for(at("[2606:4700:1::4]:9")));
            swarm.ended(Ended { outcome: Err(Broken::Liar), ..failed(at("1.2.3.4:5")) }).unwrap();
            assert!(!swarm.has_place_for(at("1.2.3.4:6")), "from another port");
            assert!(swarm.has_place_for(at("1.2.3.5:5")));
            swarm.note(news(["1.2.3.4:7", "[::ffff:1.2.3.4]:7", "1.2.3.5:7"].map(at).into_iter()));
            assert_eq!(swarm.known.keys().collect::<Vec<_>>(), [&at("1.2.3.5:7")]);
            // Addresses that operators allowed stand for themselves.
            swarm.ended(Ended { outcome: Err(Broken::Liar), ..failed(at("127.0.0.1:5")) }).unwrap();
            assert!(swarm.has_place_for(at("127.0.0.1:6")) && !swarm.has_place_for(at("127.0.0.1:5")));
        });
    }

    #[test]
    fn peers_of_no_use_make_room_for_others() {
        with_swarm(|swarm| {
            swarm.note(news(peers(0, KNOWN as u32)));
            let [bad, better] = [0, 1].map(|n| peers(n, 1).next().unwrap());
            let new = peers(5_000, 1).next().unwrap();
            swarm.note(news([new].into_iter()));
            assert!(!swarm.known.contains_key(&new), "there is no room");
            swarm.ended(failed(bad)).unwrap();
            swarm.ended(Ended { of_use: true, ..failed(better) }).unwrap();
            swarm.note(news([better, new].into_iter()));
            assert!(swarm.known.contains_key(&new) && !swarm.known.contains_key(&bad));
            assert!(swarm.known.contains_key(&better) && swarm.known.len() == KNOWN);
            for times in 1..=FAILURES {
                assert!(swarm.known.contains_key(&new), "{times}");
                swarm.ended(failed(new)).unwrap();
            }
            assert!(!swarm.known.contains_key(&new), "it is forgotten");
        });
    }

    #[test]
    fn trackers_are_left_alone_as_long_as_they_wish() {
        with_swarm(|swarm| {
            let tracker = swarm.torrent.trackers[0].clone();
            let left_alone = |swarm: &Swarm<'_>| {
                let left = swarm.due[&tracker] - Instant::now();
                // What passed meanwhile is less than a minute.
                left.as_secs().div_ceil(60)
            };
            drop(swarm.ask());
            assert_eq!(left_alone(swarm), 1, "whatever it answers");
            for (wish, minutes) in [(Some(1_800), 30), (Some(1), 1), (Some(1 << 40), 60), (None, 2)] {
                let wait = wish.map(Duration::from_secs);
                let knowing = Knowing { tracker: tracker.clone(), wait };
                swarm.note(News { peers: Vec::new(), tracker: Some(knowing) });
                assert_eq!(left_alone(swarm), minutes);
                let before = swarm.due[&tracker];
                drop(swarm.ask());
                assert_eq!(swarm.due[&tracker], before, "it is not asked now");
            }
        });
    }

    #[test]
    fn a_place_is_not_room_for_a_piece() {
        with_swarm(|swarm| {
            assert_eq!(swarm.room.free(), PEERS);
            swarm.talking.extend(peers(0, PEERS as u32 - 1));
            assert!(swarm.has_place_for(at("1.1.1.1:1")));
        });
        let torrent = Torrent { piece_bytes: UNDER_WAY, ..torrent() };
        let (client, dir) = (Client::new(Options::default()).unwrap(), tempfile::tempdir().unwrap());
        let board = Arc::new(Board::open(&torrent, &[], dir.path()).unwrap());
        let mut swarm = Swarm::join(&client, &torrent, 4, &board, 0);
        assert_eq!(swarm.room.free(), 1);
        swarm.talking.insert(at("1.1.1.1:1"));
        assert!(swarm.has_place_for(at("1.1.1.2:1")), "who takes shuts nobody out");
    }
}
