//! What is given to peers: only what is here, only as much as is allowed, and by default nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use pumasi_fetch::address::Guard;
use pumasi_fetch::{Client, Options, Progress, Seeding, Source, Torrent};
use pumasi_types::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::seeder::{Seeder, Shared, tracker};
use super::server::{Server, bytes};

/// All bytes of a torrent, in memory.
pub(crate) struct Kept(pub(crate) Vec<u8>);

impl Source for Kept {
    fn read(&self, start: u64, length: u32) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let bytes = self.0.get(start as usize..start as usize + length as usize).map(<[u8]>::to_vec);
        Box::pin(async { bytes.ok_or(io::ErrorKind::NotFound.into()) })
    }
}

fn client(open: Vec<SocketAddr>, ratio: f64, limit: Option<u64>) -> Client {
    let seeding = Seeding { ratio, limit: limit.map(ByteSize) };
    Client::new(Options { guard: Guard { private: false, open }, seeding, ..Options::default() }).unwrap()
}

/// A client that can be connected to, and where.
async fn open_client(open: Vec<SocketAddr>, ratio: f64, limit: Option<u64>) -> (Arc<Client>, SocketAddr) {
    let client = client(open, ratio, limit);
    let address = client.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (Arc::new(client), address)
}

/// Two files of eight pieces each.
fn shared() -> Arc<Shared> {
    let half = 8 << 15;
    Arc::new(Shared::new(&[("a.bin", &bytes(half, 1)), ("b.bin", &bytes(half, 2))], 1 << 15))
}

fn torrent(shared: &Shared, tracker: &Server) -> Torrent {
    Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap()
}

/// The value of a key in what a tracker was asked.
fn said(tracker: &Server, key: &str) -> Vec<String> {
    let values = tracker.seen().into_iter().map(|asked| {
        let pairs = asked.path.split(['?', '&']).filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    });
    values.map(Option::unwrap_or_default).collect()
}

#[tokio::test]
async fn what_was_fetched_is_given_until_it_is_enough() {
    let shared = shared();
    let nobody = tracker(&[]).await;
    let (giver, address) = open_client(vec![nobody.address], 1.5, None).await;
    let first = torrent(&shared, &nobody);
    let (kept, progress) = (Arc::new(Kept(shared.bytes.clone())), Arc::new(Progress::default()));
    let seen = Arc::clone(&progress);
    let giving =
        tokio::spawn(async move { giver.seed(&first, &[], kept, Duration::from_secs(60), &seen).await });
    let known = tracker(&[address]).await;
    let total = shared.bytes.len() as u64;
    for round in 1..=2 {
        let dir = tempfile::tempdir().unwrap();
        let taker = client(vec![known.address, address], 0.0, None);
        let (described, far) = (torrent(&shared, &known), Progress::default());
        let outcome = taker.fetch_torrent(&described, &[], dir.path(), &far);
        // The second one gets half of it, and nobody else has the rest.
        let outcome =
            tokio::time::timeout(Duration::from_secs(if round == 1 { 60 } else { 4 }), outcome).await;
        assert_eq!(outcome.is_ok(), round == 1);
        if let Ok(got) = outcome {
            assert!(std::fs::read(got.unwrap()).unwrap() == shared.bytes);
        }
    }
    giving.await.unwrap().unwrap();
    let given = progress.given.load(Ordering::Relaxed);
    assert!(given >= total * 3 / 2 && given < total * 3 / 2 + (16 << 10), "{given} of {total}");
    assert_eq!(said(&nobody, "event"), ["started", "stopped"]);
    assert_eq!(said(&nobody, "left"), ["0", "0"]);
    assert_eq!(said(&nobody, "uploaded"), ["0".to_owned(), given.to_string()]);
    assert_eq!(said(&nobody, "port"), [address.port().to_string(), address.port().to_string()]);
    let taken = said(&known, "event");
    assert_eq!(taken[..3], ["started", "completed", "stopped"]);
    assert_eq!(said(&known, "downloaded")[2], total.to_string());
    assert_eq!(said(&known, "port")[0], "9", "it cannot be connected to");
}

#[tokio::test]
async fn two_that_fetch_give_each_other_what_the_other_lacks() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let dir = tempfile::tempdir().unwrap();
    let seeded = tracker(&[seeder.address]).await;
    // Each has one half; afterwards nobody else is there.
    for (name, chosen) in [("0", [0]), ("1", [1])] {
        let client = client(vec![seeder.address, seeded.address], 0.0, None);
        let torrent = torrent(&shared, &seeded);
        client.fetch_torrent(&torrent, &chosen, &dir.path().join(name), &Progress::default()).await.unwrap();
    }
    let given_by_seeder = seeder.given.load(Ordering::SeqCst);
    let (mut both, mut places) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        places.push(free.local_addr().unwrap());
    }
    let meeting = tracker(&places).await;
    for (number, place) in places.iter().enumerate() {
        let open = [&places[..], &[meeting.address]].concat();
        let client = client(open, 4.0, None);
        client.listen(*place).await.unwrap();
        let (torrent, dir) = (torrent(&shared, &meeting), dir.path().join(number.to_string()));
        both.push(tokio::spawn(async move {
            let progress = Progress::default();
            let got = client.fetch_torrent(&torrent, &[], &dir, &progress).await.unwrap();
            // As a hub: it stays, for who is not as far.
            let kept = Arc::new(Kept(std::fs::read(&got).unwrap()));
            let stays = Duration::from_secs(3);
            client.seed(&torrent, &[], kept, stays, &progress).await.unwrap();
            (std::fs::read(got).unwrap(), progress.given.load(Ordering::Relaxed))
        }));
    }
    for one in both {
        let (got, given) = tokio::time::timeout(Duration::from_secs(60), one).await.unwrap().unwrap();
        assert!(got == shared.bytes);
        assert!(given >= (8 << 15), "half of it: {given}");
    }
    assert_eq!(seeder.given.load(Ordering::SeqCst), given_by_seeder);
}

/// A peer that says what it likes.
struct Raw(TcpStream);

impl Raw {
    /// Connects as soon as the torrent is given.
    async fn connect(address: SocketAddr, shared: &Shared) -> Raw {
        let until = Instant::now() + Duration::from_secs(10);
        let greeting = [&b"\x13BitTorrent protocol"[..], &[0; 8], &shared.info_hash(), &[b'r'; 20]].concat();
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&greeting).await.unwrap();
            if stream.read_exact(&mut [0; 68]).await.is_ok() {
                return Raw(stream);
            }
            assert!(Instant::now() < until, "nobody greets");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn say(&mut self, kind: u8, payload: &[u8]) {
        let length = (payload.len() as u32 + 1).to_be_bytes();
        self.0.write_all(&[&length[..], &[kind], payload].concat()).await.unwrap();
    }

    async fn ask(&mut self, piece: u32, start: u32, length: u32) {
        self.say(6, &[piece.to_be_bytes(), start.to_be_bytes(), length.to_be_bytes()].concat()).await;
    }

    /// Whether the connection ends soon.
    async fn is_left(&mut self) -> bool {
        let heard = async { while self.0.read(&mut [0; 1 << 10]).await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(Duration::from_secs(10), heard).await.is_ok()
    }

    /// The next message of this kind; none when the connection ends before, or nothing comes.
    async fn hear(&mut self, wanted: u8) -> Option<Vec<u8>> {
        let heard = async {
            loop {
                let length = self.0.read_u32().await.ok()? as usize;
                let mut message = vec![0; length];
                self.0.read_exact(&mut message).await.ok()?;
                if message.first() == Some(&wanted) {
                    return Some(message.split_off(1));
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(3), heard).await.ok()?
    }
}

#[tokio::test]
async fn only_what_is_here_is_given_to_whoever_has_a_place() {
    let shared = shared();
    let nobody = tracker(&[]).await;
    let (giver, address) = open_client(vec![nobody.address], 100.0, None).await;
    let described = torrent(&shared, &nobody);
    // Only the first file is here.
    let kept = Arc::new(Kept(shared.bytes[..8 << 15].to_vec()));
    tokio::spawn(async move {
        giver.seed(&described, &[0], kept, Duration::from_secs(60), &Progress::default()).await
    });
    while nobody.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(said(&nobody, "left"), [(8 << 15).to_string()], "it is no seed");
    let mut good = Raw::connect(address, &shared).await;
    assert_eq!(good.hear(5).await.unwrap(), [0xff, 0]);
    // Without a place it gets nothing, and nobody is angry.
    good.ask(0, 0, 16 << 10).await;
    good.say(2, &[]).await;
    assert_eq!(good.hear(1).await, Some(Vec::new()), "now it has one");
    good.ask(3, 1 << 14, 16 << 10).await;
    let start = (3 << 15) + (1 << 14);
    let block = good.hear(7).await.unwrap();
    assert!(
        block[..8] == [0, 0, 0, 3, 0, 0, 0x40, 0] && block[8..] == shared.bytes[start..start + (16 << 10)]
    );

    for (piece, start, length) in [
        (8, 0, 16 << 10),
        (99, 0, 1),
        (u32::MAX, u32::MAX, u32::MAX),
        (0, 1 << 15, 1),
        (0, u32::MAX, 1),
        (0, 0, (1 << 15) + 1),
        (0, 0, 0),
    ] {
        let mut bad = Raw::connect(address, &shared).await;
        bad.say(2, &[]).await;
        bad.hear(1).await.unwrap();
        bad.ask(piece, start, length).await;
        assert_eq!(bad.hear(7).await, None, "{piece} {start} {length}");
    }
    // Who asks for a torrent that is not given hears nothing.
    let mut stranger = TcpStream::connect(address).await.unwrap();
    stranger.write_all(&[&b"\x13BitTorrent protocol"[..], &[0; 48]].concat()).await.unwrap();
    assert_eq!(stranger.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn nothing_is_given_unless_it_is_allowed() {
    let shared = shared();
    // It gives little, so that the client stays.
    let nobody = tracker(&[]).await;
    let (client, address) = open_client(vec![nobody.address], 0.0, None).await;
    let described = torrent(&shared, &nobody);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let fetching =
        tokio::spawn(async move { client.fetch_torrent(&described, &[], &path, &Progress::default()).await });
    while nobody.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(said(&nobody, "port"), ["9"], "it says that it cannot be connected to");
    let mut taker = Raw::connect(address, &shared).await;
    taker.say(2, &[]).await;
    taker.ask(0, 0, 16 << 10).await;
    assert_eq!(taker.hear(1).await, None, "it gives nobody a place");
    fetching.abort();
}

#[tokio::test]
async fn the_limit_of_bytes_in_a_second_holds() {
    let shared = shared();
    let nobody = tracker(&[]).await;
    let (giver, address) = open_client(vec![nobody.address], 1.0, Some(256 << 10)).await;
    let described = torrent(&shared, &nobody);
    let kept = Arc::new(Kept(shared.bytes.clone()));
    tokio::spawn(async move {
        giver.seed(&described, &[], kept, Duration::from_secs(60), &Progress::default()).await
    });
    let known = tracker(&[address]).await;
    let (dir, began) = (tempfile::tempdir().unwrap(), Instant::now());
    let taker = client(vec![known.address, address], 0.0, None);
    taker.fetch_torrent(&torrent(&shared, &known), &[], dir.path(), &Progress::default()).await.unwrap();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500), "512 KiB at 256 KiB/s took {took:?}");
}

/// A client that gives all of a torrent, where, and its tracker.
async fn giver(options: Options, shared: &Shared) -> (Arc<Client>, SocketAddr, Torrent) {
    let nobody = tracker(&[]).await;
    let seeding = Seeding { ratio: 100.0, limit: None };
    let guard = Guard { private: false, open: vec![nobody.address] };
    let client = Client::new(Options { guard, seeding, ..options }).unwrap();
    let address = client.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (Arc::new(client), address, torrent(shared, &nobody))
}

#[tokio::test]
async fn who_neither_gives_nor_takes_keeps_no_place() {
    let shared = shared();
    let options = Options { peer_patience: Duration::from_secs(2), ..Options::default() };
    let (giver, address, described) = giver(options, &shared).await;
    let kept = Arc::new(Kept(shared.bytes.clone()));
    tokio::spawn(async move {
        giver.seed(&described, &[], kept, Duration::from_secs(60), &Progress::default()).await
    });
    let (mut idle, mut taker) = (Raw::connect(address, &shared).await, Raw::connect(address, &shared).await);
    idle.say(2, &[]).await;
    taker.say(2, &[]).await;
    taker.hear(1).await.unwrap();
    for _ in 0..12 {
        taker.ask(0, 0, 16 << 10).await;
        assert!(taker.hear(7).await.is_some(), "who takes stays");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(idle.is_left().await, "it only says that it wants something");
    assert!(taker.is_left().await, "it takes nothing any more");
}

/// All bytes of a torrent, which cannot be read any more.
struct Lost(io::ErrorKind);

impl Source for Lost {
    fn read(&self, _: u64, _: u32) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async { Err(self.0.into()) })
    }
}

#[tokio::test]
async fn what_cannot_be_given_keeps_nobody() {
    let shared = shared();
    for (kind, is_over) in [(io::ErrorKind::Other, false), (io::ErrorKind::NotFound, true)] {
        let (giver, address, described) = giver(Options::default(), &shared).await;
        let progress = Arc::new(Progress::default());
        let seen = Arc::clone(&progress);
        let giving = tokio::spawn(async move {
            let lost = Arc::new(Lost(kind));
            giver.seed(&described, &[], lost, Duration::from_secs(60), &seen).await
        });
        let mut taker = Raw::connect(address, &shared).await;
        taker.say(2, &[]).await;
        taker.hear(1).await.unwrap();
        taker.ask(0, 0, 16 << 10).await;
        assert!(taker.is_left().await, "{kind}: nothing can be sent to it any more");
        let until = Instant::now() + Duration::from_secs(10);
        while progress.peers.load(Ordering::Relaxed) > 0 && !giving.is_finished() {
            assert!(Instant::now() < until, "{kind}: it keeps its place");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ended = tokio::time::timeout(Duration::from_secs(if is_over { 10 } else { 1 }), giving).await;
        assert_eq!(ended.is_ok(), is_over, "{kind}: only what is gone is given no more");
    }
}

#[tokio::test]
async fn whoever_stops_giving_tells_how_much_it_gave() {
    let shared = shared();
    let nobody = tracker(&[]).await;
    let (giver, address) = open_client(vec![nobody.address], 100.0, None).await;
    let (described, progress) = (torrent(&shared, &nobody), Arc::new(Progress::default()));
    let (kept, seen) = (Arc::new(Kept(shared.bytes.clone())), Arc::clone(&progress));
    tokio::spawn(async move { giver.seed(&described, &[], kept, Duration::from_secs(60), &seen).await });
    let mut taker = Raw::connect(address, &shared).await;
    taker.say(2, &[]).await;
    taker.hear(1).await.unwrap();
    taker.ask(0, 0, 16 << 10).await;
    taker.hear(7).await.unwrap();
    progress.stop().await;
    assert_eq!(said(&nobody, "event"), ["started", "stopped"]);
    assert_eq!(said(&nobody, "uploaded")[1], (16 << 10).to_string());
}
