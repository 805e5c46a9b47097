//! Torrents from seeders that give all, some, or wrong pieces.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pumasi_fetch::address::Guard;
use pumasi_fetch::{Client, FetchError, Magnet, Options, Progress, Seeding, Torrent};
use tokio::net::UdpSocket;

use super::giving::Kept;
use super::seeder::{Seeder, Shared, compact, late_tracker, tracker, tracker_behind};
use super::server::{Server, Step, bytes, text};

fn client(open: &[SocketAddr]) -> Client {
    Client::new(Options { guard: Guard { private: false, open: open.to_vec() }, ..Options::default() })
        .unwrap()
}

async fn fetch(
    client: &Client,
    torrent: &Torrent,
    chosen: &[u32],
    dir: &Path,
) -> Result<Vec<u8>, FetchError> {
    let path = client.fetch_torrent(torrent, chosen, dir, &Progress::default()).await?;
    Ok(std::fs::read(path).unwrap())
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(
        &[("a.bin", &bytes(300_000, 1)), ("b/c.bin", &bytes(250_000, 2)), ("d", b"")],
        1 << 15,
    ))
}

#[tokio::test]
async fn whole_torrents_come_from_files_and_from_magnet_links() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let client = client(&[seeder.address, tracker.address]);
    let url = tracker.url("/announce?passkey=x");
    let dir = tempfile::tempdir().unwrap();
    let torrent = Torrent::parse(&shared.torrent(&url)).unwrap();
    assert!(fetch(&client, &torrent, &[], &dir.path().join("1")).await.unwrap() == shared.bytes);
    let asked = &tracker.seen()[0].path;
    assert!(
        asked.starts_with("/announce?passkey=x&info_hash=%") && asked.contains("&left=550000&"),
        "{asked}"
    );

    let magnet = Magnet::parse(&shared.magnet(&tracker.url("/"))).unwrap();
    let described = client.describe(&magnet, &dir.path().join("2")).await.unwrap();
    assert_eq!((described.info_hash, &described.files), (torrent.info_hash, &torrent.files));
    assert!(fetch(&client, &described, &[], &dir.path().join("2")).await.unwrap() == shared.bytes);
}

#[tokio::test]
async fn only_what_was_chosen_comes_and_only_once() {
    let shared = shared();
    let mut torrent = Torrent::parse(&shared.torrent("http://tracker.test/")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let few = Seeder::start(Arc::clone(&shared), 5, false).await;
    let rest = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[few.address, rest.address]).await;
    torrent.trackers = vec![tracker.url("/")];
    let client = client(&[few.address, rest.address, tracker.address]);
    let got = fetch(&client, &torrent, &[1], dir.path()).await.unwrap();
    assert!(got[300_000..550_000] == shared.bytes[300_000..550_000], "one peer left, another went on");
    assert!(got[..200_000].iter().all(|byte| *byte == 0), "the other file was not fetched");
    let given = rest.given.load(Ordering::SeqCst);
    assert!(given <= 18, "{given} blocks of 16 KiB for at most 9 pieces of 32 KiB");

    // What is here is not fetched again, by another process.
    let before = few.given.load(Ordering::SeqCst) + rest.given.load(Ordering::SeqCst);
    fetch(&client, &torrent, &[1], dir.path()).await.unwrap();
    assert_eq!(few.given.load(Ordering::SeqCst) + rest.given.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn wrong_pieces_are_thrown_away_and_whoever_sent_them_is_not_asked_again() {
    let shared = shared();
    let liar = Seeder::start(Arc::clone(&shared), usize::MAX, true).await;
    let honest = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[liar.address, honest.address]).await;
    let client = client(&[liar.address, honest.address, tracker.address]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(fetch(&client, &torrent, &[], dir.path()).await.unwrap() == shared.bytes);
    assert!(liar.given.load(Ordering::SeqCst) <= 2, "one piece");
    assert_eq!(liar.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn neither_trackers_nor_peers_lead_inside() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let magnet = Magnet::parse(&shared.magnet(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The tracker may be asked, but its peer is inside.
    let error = client(&[tracker.address]).describe(&magnet, dir.path()).await.unwrap_err();
    assert!(matches!(error, FetchError::Peers { .. }) && error.is_passing(), "{error}");
    assert_eq!((seeder.asked.load(Ordering::SeqCst), tracker.seen().len()), (0, 1));
    let error = client(&[seeder.address]).describe(&magnet, dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("private address"), "{error}");
    assert_eq!(tracker.seen().len(), 1, "it heard nothing more");
    let udp = Magnet { trackers: vec![format!("udp://127.0.0.1:{}", tracker.address.port())], ..magnet };
    let error = client(&[]).describe(&udp, dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("private address"), "{error}");
}

#[tokio::test]
async fn a_tracker_that_sends_a_byte_now_and_then_is_left() {
    let dripping = Server::start(|_| {
        let head = text("HTTP/1.1 200 OK\nContent-Length: 1000000\n\n");
        vec![head, Step::Forever(b"d".to_vec(), Duration::from_millis(20))]
    })
    .await;
    let guard = Guard { private: false, open: vec![dripping.address] };
    let options = Options { guard, tracker_patience: Duration::from_millis(300), ..Options::default() };
    let magnet = Magnet::parse(&shared().magnet(&dripping.url("/"))).unwrap();
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new(options).unwrap());
    let described = client.describe(&magnet, dir.path());
    let described = tokio::time::timeout(Duration::from_secs(20), described).await.expect("it ends");
    let error = described.unwrap_err();
    assert!(error.to_string().contains("it is too slow") && error.is_passing(), "{error}");
}

#[tokio::test]
async fn who_names_peers_that_know_nothing_keeps_out_nobody() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    // As many as are asked for a description, and nobody is there.
    let nowhere: Vec<SocketAddr> = (0..200).map(|n| SocketAddr::from(([127, 0, 1, n], 9))).collect();
    let liar = tracker(&nowhere).await;
    let late = late_tracker(&[seeder.address], Duration::from_millis(500)).await;
    let guard = Guard { private: true, open: Vec::new() };
    let client = Client::new(Options { guard, ..Options::default() }).unwrap();
    let magnet = Magnet::parse(&shared.magnet(&liar.url("/"))).unwrap();
    let magnet = Magnet { trackers: vec![liar.url("/"), late.url("/")], ..magnet };
    let dir = tempfile::tempdir().unwrap();
    client.describe(&magnet, &dir.path().join("1")).await.unwrap();
    assert_eq!(seeder.asked.load(Ordering::SeqCst), 1);
    // When nobody else is named, those behind them are asked as well.
    let last = tracker(&[&nowhere[..100], &[seeder.address]].concat()).await;
    let magnet = Magnet { trackers: vec![last.url("/")], ..magnet };
    client.describe(&magnet, &dir.path().join("2")).await.unwrap();
}

/// Why a tracker was asked, each time.
fn events(tracker: &Server) -> Vec<String> {
    let event = |path: &str| path.split_once("&event=").map(|(_, event)| event.to_owned());
    tracker.seen().iter().map(|asked| event(&asked.path).unwrap_or_default()).collect()
}

#[tokio::test]
async fn trackers_are_told_the_truth_about_the_end() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let client = client(&[seeder.address, tracker.address]);
    let dir = tempfile::tempdir().unwrap();
    fetch(&client, &torrent, &[1], dir.path()).await.unwrap();
    assert_eq!(events(&tracker), ["started", "stopped"], "a part is not all");
    fetch(&client, &torrent, &[], dir.path()).await.unwrap();
    assert_eq!(events(&tracker)[2..], ["started", "completed", "stopped"]);
}

#[tokio::test]
async fn whoever_stops_it_leaves_with_a_word() {
    let shared = shared();
    let nobody = tracker(&[]).await;
    let torrent = Torrent::parse(&shared.torrent(&nobody.url("/"))).unwrap();
    let client = client(&[nobody.address]);
    let (dir, progress) = (tempfile::tempdir().unwrap(), Progress::default());
    let fetching = client.fetch_torrent(&torrent, &[], dir.path(), &progress);
    let stopping = async {
        while nobody.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        progress.stop().await;
        assert_eq!(events(&nobody), ["started", "stopped"], "before whoever stopped it goes on");
    };
    let both = async { tokio::join!(fetching, stopping) };
    let (fetched, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("it ends");
    assert!(matches!(fetched, Err(FetchError::Stopped)) && progress.is_stopped(), "{fetched:?}");
}

/// A torrent whose one piece is as long as one may be: there is room for no other beside it.
fn long_piece() -> Arc<Shared> {
    Arc::new(Shared::new(&[("a.bin", &bytes(300_000, 1))], 64 << 20))
}

fn impatient(open: &[SocketAddr]) -> Client {
    let guard = Guard { private: false, open: open.to_vec() };
    let piece_patience = Duration::from_millis(200);
    Client::new(Options { guard, piece_patience, ..Options::default() }).unwrap()
}

#[tokio::test]
async fn a_peer_that_trickles_does_not_keep_a_long_piece_from_others() {
    let shared = long_piece();
    // Each of its nineteen blocks comes soon enough for a peer, and none before the good one must be done.
    let trickling = Seeder::slow(Arc::clone(&shared), Duration::from_secs(40)).await;
    let good = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let first = tracker(&[trickling.address]).await;
    let later = tracker_behind(&trickling, &[good.address]).await;
    let client = impatient(&[trickling.address, good.address, first.address, later.address]);
    let mut torrent = Torrent::parse(&shared.torrent(&first.url("/"))).unwrap();
    torrent.trackers.push(later.url("/"));
    let dir = tempfile::tempdir().unwrap();
    let got = fetch(&client, &torrent, &[], dir.path());
    let got = tokio::time::timeout(Duration::from_secs(30), got).await.expect("the good one has its turn");
    assert!(got.unwrap() == shared.bytes);
    let count = |seeder: &Seeder| (seeder.asked.load(Ordering::SeqCst), seeder.given.load(Ordering::SeqCst));
    assert_eq!((count(&trickling), count(&good)), ((1, 1), (1, 19)));
}

#[tokio::test]
async fn a_slow_peer_goes_on_as_long_as_nobody_waits() {
    let shared = long_piece();
    // A second, five times as long as one may take that others wait for.
    let slow = Seeder::slow(Arc::clone(&shared), Duration::from_millis(50)).await;
    let tracker = tracker(&[slow.address]).await;
    let client = impatient(&[slow.address, tracker.address]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let got = fetch(&client, &torrent, &[], dir.path());
    let got = tokio::time::timeout(Duration::from_secs(30), got).await.expect("it comes");
    assert!(got.unwrap() == shared.bytes);
    assert_eq!((slow.asked.load(Ordering::SeqCst), slow.given.load(Ordering::SeqCst)), (1, 19));
}

/// What a UDP tracker was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    event: u32,
    downloaded: u64,
    left: u64,
    wanted: u32,
    port: u16,
}

/// A tracker of UDP (BEP 15) that knows a peer of this torrent; where it is, and what it was told.
async fn udp_tracker(shared: &Shared, peer: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Said>>>) {
    const MAGIC: u64 = 0x0417_2710_1980;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, info_hash) = (socket.local_addr().unwrap(), shared.info_hash());
    let all: Arc<Mutex<Vec<Said>>> = Arc::default();
    let noted = Arc::clone(&all);
    tokio::spawn(async move {
        let mut buffer = [0; 200];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let packet = &buffer[..length];
            let long = |at: usize| u64::from_be_bytes(packet[at..at + 8].try_into().unwrap());
            let short = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            let (action, ticket) = (short(8), &packet[12..16]);
            let answer = if (length, action, long(0)) == (16, 0, MAGIC) {
                [&action.to_be_bytes()[..], ticket, b"conn", ticket].concat()
            } else if (length, action) == (98, 1) && packet[..8] == [&b"conn"[..], ticket].concat() {
                assert_eq!(packet[16..36], info_hash);
                let port = u16::from_be_bytes(packet[96..98].try_into().unwrap());
                let (event, wanted) = (short(80), short(92));
                let said = Said { event, downloaded: long(56), left: long(64), wanted, port };
                noted.lock().unwrap().push(said);
                let counts = [1_800_u32, 1, 1].map(u32::to_be_bytes).concat();
                [&action.to_be_bytes()[..], ticket, &counts, &compact(peer)].concat()
            } else {
                [&3_u32.to_be_bytes()[..], ticket, b"nobody opened that"].concat()
            };
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (address, all)
}

#[tokio::test]
async fn udp_trackers_are_told_of_begin_and_end() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let (tracker, told) = udp_tracker(&shared, seeder.address).await;
    let torrent = Torrent::parse(&shared.torrent(&format!("udp://{tracker}"))).unwrap();
    let (fetcher, dir) = (client(&[seeder.address, tracker]), tempfile::tempdir().unwrap());
    let got = fetch(&fetcher, &torrent, &[], dir.path());
    let got = tokio::time::timeout(Duration::from_secs(30), got).await.expect("it ends");
    assert!(got.unwrap() == shared.bytes);
    let total = shared.bytes.len() as u64;
    let said = |event, downloaded, left, wanted, port| Said { event, downloaded, left, wanted, port };
    // Started, completed and stopped, by who cannot be connected to.
    assert_eq!(
        *told.lock().unwrap(),
        [said(2, 0, total, 200, 9), said(1, total, 0, 200, 9), said(3, total, 0, 0, 9)]
    );

    // Who gives takes its leave when its time is over.
    let guard = Guard { private: false, open: vec![seeder.address, tracker] };
    let seeding = Seeding { ratio: 1.0, limit: None };
    let giver = Client::new(Options { guard, seeding, ..Options::default() }).unwrap();
    let port = giver.listen("127.0.0.1:0".parse().unwrap()).await.unwrap().port();
    let (kept, mut time) = (Arc::new(Kept(shared.bytes.clone())), Duration::from_millis(500));
    loop {
        let before = told.lock().unwrap().len();
        giver.seed(&torrent, &[], kept.clone(), time, &Progress::default()).await.unwrap();
        let said_now = told.lock().unwrap()[before..].to_vec();
        if said_now == [said(2, 0, 0, 200, port), said(3, 0, 0, 0, port)] {
            break;
        }
        // On a busy machine the time may be over before the tracker is told that it begins.
        assert!(time < Duration::from_secs(30), "{said_now:?}");
        time *= 2;
    }
}

#[tokio::test]
async fn peers_tell_of_others_and_do_not_lead_inside() {
    let shared = shared();
    let good = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let inside = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let telling = Seeder::telling(Arc::clone(&shared), &[inside.address, good.address]).await;
    let tracker = tracker(&[telling.address]).await;
    let client = client(&[telling.address, good.address, tracker.address]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let got = fetch(&client, &torrent, &[], dir.path());
    let got = tokio::time::timeout(Duration::from_secs(30), got).await.expect("it hears of the good one");
    assert!(got.unwrap() == shared.bytes);
    let asked = [&telling, &good, &inside].map(|seeder| seeder.asked.load(Ordering::SeqCst));
    assert_eq!(asked, [1, 1, 0]);
}

#[tokio::test]
async fn of_peers_of_a_private_torrent_nobody_tells_but_its_trackers() {
    let mut shared = Shared::new(&[("a", &bytes(300_000, 3))], 1 << 15);
    assert_eq!(shared.info.pop(), Some(b'e'));
    shared.info.extend(b"7:privatei1ee");
    let shared = Arc::new(shared);
    let told = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let telling = Seeder::telling(Arc::clone(&shared), &[told.address]).await;
    // Slow enough that there is time to ask the other one.
    let slow = Seeder::slow(Arc::clone(&shared), Duration::from_millis(50)).await;
    let tracker = tracker(&[telling.address, slow.address]).await;
    let client = client(&[told.address, telling.address, slow.address, tracker.address]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(fetch(&client, &torrent, &[], dir.path()).await.unwrap() == shared.bytes);
    let asked = [&telling, &slow, &told].map(|seeder| seeder.asked.load(Ordering::SeqCst));
    assert_eq!(asked, [1, 1, 0]);
}
