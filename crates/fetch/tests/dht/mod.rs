//! Peers from a little DHT of real sockets, some of whose nodes mean no good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pumasi_fetch::address::Guard;
use pumasi_fetch::{Client, DhtOptions, FetchError, Magnet, Options, Progress, Seeding, Torrent};
use tokio::net::UdpSocket;

use super::giving::Kept;
use super::seeder::{Seeder, Shared, compact, tracker};
use super::server::bytes;

type Id = [u8; 20];

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Silent,
    /// Answers some other question.
    WrongTicket,
    /// Answers from an address that was not asked.
    OtherSocket,
    /// Answers with more than fits, with half of it, and with what is no bencoding.
    Huge,
    Cut,
    Garbage,
    /// Has another number than the one under which it is known.
    Somebody,
    /// Answers with an error.
    Refusing,
}

/// A node of the DHT.
struct Node {
    id: Id,
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    /// How many questions came.
    asked: Arc<AtomicUsize>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Node {
    /// So far from what is looked for: the first byte of the difference.
    async fn bind(target: Id, far: u8) -> Node {
        Node::bind_at(Ipv4Addr::LOCALHOST.into(), target, far).await
    }

    /// The same, in the half of the DHT to which this address belongs.
    async fn bind_at(host: IpAddr, target: Id, far: u8) -> Node {
        let socket = Arc::new(UdpSocket::bind((host, 0)).await.unwrap());
        let mut id = target;
        id[0] ^= far;
        let address = socket.local_addr().unwrap();
        Node { id, address, socket, asked: Arc::default(), peers: Arc::default() }
    }

    fn serve(&self, manner: Manner, known: &[(Id, SocketAddr)]) {
        let (socket, asked, peers, id) =
            (Arc::clone(&self.socket), Arc::clone(&self.asked), Arc::clone(&self.peers), self.id);
        let host = self.address.ip();
        let (nodes_key, peer_head) = if host.is_ipv6() { ("6:nodes6", "18:") } else { ("5:nodes", "6:") };
        let nodes: Vec<u8> =
            known.iter().flat_map(|(id, address)| [&id[..], &compact(*address)].concat()).collect();
        tokio::spawn(async move {
            let other = UdpSocket::bind((host, 0)).await.unwrap();
            let mut buffer = vec![0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                assert!(find(question, b"2:roi1e").is_some(), "it says that it answers nobody");
                asked.fetch_add(1, Ordering::SeqCst);
                if let Some(at) = find(question, b"4:porti") {
                    assert!(find(question, b"5:token3:tok").is_some(), "the token comes back");
                    let text = String::from_utf8_lossy(&question[at + 7..at + 13]).into_owned();
                    let port: u16 = text.split('e').next().unwrap().parse().unwrap();
                    peers.lock().unwrap().push((host, port).into());
                }
                let at = find(question, b"1:t4:").unwrap() + 5;
                let mut ticket = question[at..at + 4].to_vec();
                let mut id = id;
                match manner {
                    Manner::Silent => continue,
                    Manner::WrongTicket => ticket.iter_mut().for_each(|byte| *byte ^= 0xff),
                    Manner::Somebody => id[19] ^= 1,
                    _ => {}
                }
                let values: Vec<u8> = {
                    let peers = peers.lock().unwrap();
                    peers.iter().flat_map(|peer| [peer_head.as_bytes(), &compact(*peer)].concat()).collect()
                };
                let mut answer = [
                    &b"d1:rd2:id20:"[..],
                    &id,
                    format!("{nodes_key}{}:", nodes.len()).as_bytes(),
                    &nodes,
                    b"5:token3:tok6:valuesl",
                    &values,
                    b"ee1:t4:",
                    &ticket,
                    b"1:y1:re",
                ]
                .concat();
                match manner {
                    Manner::Cut => answer.truncate(answer.len() - 1),
                    Manner::Huge => {
                        let padding = [&b"d1:a50000:"[..], &[b'x'; 50_000]].concat();
                        answer.splice(..1, padding);
                    }
                    Manner::Garbage => answer = vec![b'l'; 1_400],
                    Manner::Refusing => {
                        answer = [&b"d1:eli202e1:xe1:t4:"[..], &ticket, b"1:y1:ee"].concat();
                    }
                    _ => {}
                }
                let from_other = manner == Manner::OtherSocket;
                let sender = if from_other { &other } else { &*socket };
                sender.send_to(&answer, from).await.unwrap();
            }
        });
    }

    fn known(&self) -> (Id, SocketAddr) {
        (self.id, self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn dht(bootstrap: &[&Node], file: Option<&Path>) -> DhtOptions {
    DhtOptions {
        bootstrap: bootstrap.iter().map(|node| node.address.to_string()).collect(),
        file: file.map(Path::to_owned),
        // Those who answer on a busy machine are not late.
        patience: Duration::from_secs(3),
    }
}

fn client(open: Vec<SocketAddr>, dht: DhtOptions) -> Client {
    let guard = Guard { private: false, open };
    Client::new(Options { guard, dht: Some(dht), ..Options::default() }).unwrap()
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(&[("a.bin", &bytes(200_000, 1)), ("b", &bytes(70_000, 2))], 1 << 15))
}

fn bare(shared: &Shared) -> Magnet {
    Magnet { info_hash: shared.info_hash(), trackers: Vec::new() }
}

#[tokio::test]
async fn a_magnet_link_without_trackers_finds_its_peers() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let mut nodes = Vec::new();
    // Each knows the next two, which are nearer; only the nearest know the peer.
    for far in [0xff, 0x80, 0x40, 0x33, 0x20, 0x18, 0x10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0] {
        nodes.push(Node::bind(shared.info_hash(), far).await);
    }
    for (number, node) in nodes.iter().enumerate() {
        let next: Vec<_> = nodes.iter().skip(number + 1).take(2).map(Node::known).collect();
        node.serve(Manner::Honest, &next);
        if number + 2 >= nodes.len() {
            node.peers.lock().unwrap().push(seeder.address);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nodes");
    let mut open: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    open.push(seeder.address);
    let first = client(open.clone(), dht(&[&nodes[0]], Some(&file)));
    let torrent = first.describe(&bare(&shared), &dir.path().join("1")).await.unwrap();
    let got = first.fetch_torrent(&torrent, &[], &dir.path().join("1"), &Progress::default()).await.unwrap();
    assert!(std::fs::read(got).unwrap() == shared.bytes);
    assert!(nodes.iter().all(|node| node.asked() > 0), "all lie on the way");

    // Another process knows the way, without those that everybody begins with.
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&file).is_ok_and(|kept| kept.lines().count() == nodes.len()) {
        assert!(Instant::now() < until, "{:?}", std::fs::read_to_string(&file));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = nodes[0].asked();
    let second = client(open, dht(&[], Some(&file)));
    second.describe(&bare(&shared), &dir.path().join("2")).await.unwrap();
    assert_eq!(nodes[0].asked(), before, "the farthest is of no use any more");
}

/// Whether this machine has IPv6: some have not, and there is nothing to try there.
async fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok()
}

#[tokio::test]
async fn the_half_of_ipv6_has_its_own_way() {
    if !has_ipv6().await {
        return;
    }
    let shared = shared();
    let seeder = Seeder::start_v6(Arc::clone(&shared)).await;
    let mut nodes = Vec::new();
    for far in [0xff, 0x40, 0x10, 4, 1] {
        nodes.push(Node::bind_at(Ipv6Addr::LOCALHOST.into(), shared.info_hash(), far).await);
    }
    // Each knows the next one; only the nearest knows the peer.
    for (number, node) in nodes.iter().enumerate() {
        let next: Vec<_> = nodes.iter().skip(number + 1).take(1).map(Node::known).collect();
        node.serve(Manner::Honest, &next);
    }
    nodes[4].peers.lock().unwrap().push(seeder.address);
    // The other half knows nobody.
    let other = Node::bind(shared.info_hash(), 2).await;
    other.serve(Manner::Honest, &[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nodes");
    let mut open: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    open.extend([seeder.address, other.address]);
    let first = client(open.clone(), dht(&[&nodes[0], &other], Some(&file)));
    let torrent = first.describe(&bare(&shared), &dir.path().join("1")).await.unwrap();
    let got = first.fetch_torrent(&torrent, &[], &dir.path().join("1"), &Progress::default()).await.unwrap();
    assert!(std::fs::read(got).unwrap() == shared.bytes);

    // Nodes of both halves were asked, and are kept.
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&file).is_ok_and(|kept| kept.lines().count() == nodes.len() + 1) {
        assert!(Instant::now() < until, "{:?}", std::fs::read_to_string(&file));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = nodes[4].asked();
    let second = client(open, dht(&[], Some(&file)));
    second.describe(&bare(&shared), &dir.path().join("2")).await.unwrap();
    assert!(nodes[4].asked() > asked, "another process knows the way");
}

#[tokio::test]
async fn nodes_that_mean_no_good_lead_nowhere() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    for manner in [
        Manner::Silent,
        Manner::WrongTicket,
        Manner::OtherSocket,
        Manner::Huge,
        Manner::Cut,
        Manner::Garbage,
        Manner::Somebody,
        Manner::Refusing,
    ] {
        let target = shared.info_hash();
        let trap = Seeder::start(Arc::clone(&shared), 0, false).await;
        let (first, bad, good) =
            (Node::bind(target, 9).await, Node::bind(target, 1).await, Node::bind(target, 2).await);
        first.serve(Manner::Honest, &[bad.known(), good.known()]);
        bad.peers.lock().unwrap().push(trap.address);
        bad.serve(manner, &[]);
        good.peers.lock().unwrap().push(seeder.address);
        good.serve(Manner::Honest, &[]);
        let open = vec![first.address, bad.address, good.address, seeder.address, trap.address];
        let dir = tempfile::tempdir().unwrap();
        let client = client(open, dht(&[&first], None));
        client.describe(&bare(&shared), dir.path()).await.unwrap();
        assert_eq!(trap.asked.load(Ordering::SeqCst), 0, "{manner:?} is not believed");
        assert_eq!(bad.asked(), 1, "{manner:?} is asked once");
    }
}

#[tokio::test]
async fn the_dht_leads_neither_inside_nor_on_for_ever() {
    let shared = shared();
    let target = shared.info_hash();
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_inside = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let node = Node::bind(target, 9).await;
    let near = |n: u8| {
        let mut id = target;
        id[1] ^= n;
        (id, inside.local_addr().unwrap())
    };
    let other: SocketAddr = (Ipv4Addr::new(10, 0, 0, 1), 6_881).into();
    let mut known: Vec<_> = (0..100).map(near).collect();
    known[7].1 = other;
    node.serve(Manner::Honest, &known);
    node.peers.lock().unwrap().extend([peer_inside.address, other]);
    let dir = tempfile::tempdir().unwrap();
    let client = client(vec![node.address], dht(&[&node], None));
    let error = client.describe(&bare(&shared), dir.path()).await.unwrap_err();
    assert!(matches!(error, FetchError::Peers { .. }) && error.is_passing(), "{error}");
    assert!(error.to_string().contains("nor the DHT know a peer"), "{error}");
    assert_eq!(peer_inside.asked.load(Ordering::SeqCst), 0);
    let heard = inside.try_recv(&mut [0; 10]);
    assert!(heard.is_err(), "nothing was sent there");

    // Nor do the nodes to begin with.
    let client = super::dht::client(Vec::new(), dht(&[&node], None));
    let before = node.asked();
    let error = client.describe(&bare(&shared), dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("no node of the DHT answers"), "{error}");
    assert_eq!(node.asked(), before);
}

#[tokio::test]
async fn whoever_waits_for_a_search_and_leaves_is_not_searched_for() {
    let node = Node::bind([0; 20], 0).await;
    node.serve(Manner::Silent, &[]);
    let patience = Duration::from_millis(800);
    let client = client(vec![node.address], DhtOptions { patience, ..dht(&[&node], None) });
    let dir = tempfile::tempdir().unwrap();
    let magnets = (1..=12).map(|n| Magnet { info_hash: [n; 20], trackers: Vec::new() }).collect::<Vec<_>>();
    let describing = magnets.iter().map(|magnet| client.describe(magnet, dir.path()));
    let all = futures_util::future::join_all(describing);
    assert!(tokio::time::timeout(Duration::from_millis(300), all).await.is_err());
    tokio::time::sleep(patience * 3).await;
    assert_eq!(node.asked(), 4, "those that were begun");
}

#[tokio::test]
async fn private_torrents_are_not_looked_for() {
    let mut shared = Shared::new(&[("a", &bytes(100_000, 3))], 1 << 15);
    shared.info.pop();
    shared.info.extend(b"7:privatei1ee");
    let shared = Arc::new(shared);
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let node = Node::bind(shared.info_hash(), 1).await;
    node.serve(Manner::Honest, &[]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    assert!(torrent.is_private);
    let dir = tempfile::tempdir().unwrap();
    let client = client(vec![seeder.address, tracker.address, node.address], dht(&[&node], None));
    client.fetch_torrent(&torrent, &[], dir.path(), &Progress::default()).await.unwrap();
    assert_eq!(node.asked(), 0);
}

#[tokio::test]
async fn who_gives_is_found_by_the_dht() {
    found_by_the_dht(Ipv4Addr::LOCALHOST.into()).await;
}

#[tokio::test]
async fn who_gives_is_found_by_the_dht_of_ipv6() {
    if has_ipv6().await {
        found_by_the_dht(Ipv6Addr::LOCALHOST.into()).await;
    }
}

async fn found_by_the_dht(host: IpAddr) {
    let shared = shared();
    let node = Node::bind_at(host, shared.info_hash(), 1).await;
    node.serve(Manner::Honest, &[]);
    let guard = Guard { private: false, open: vec![node.address] };
    let seeding = Seeding { ratio: 1.0, limit: None };
    let options = Options { guard, dht: Some(dht(&[&node], None)), seeding, ..Options::default() };
    let giver = Arc::new(Client::new(options).unwrap());
    let address = giver.listen((host, 0).into()).await.unwrap();
    let torrent = Torrent::parse(&[b"d4:info", &shared.info[..], b"e"].concat()).unwrap();
    let source = Arc::new(Kept(shared.bytes.clone()));
    let giving = tokio::spawn(async move {
        let progress = Progress::default();
        giver.seed(&torrent, &[], source, Duration::from_secs(60), &progress).await.unwrap();
        progress.given.load(Ordering::Relaxed)
    });
    while node.peers.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*node.peers.lock().unwrap(), [address]);

    let taker = client(vec![node.address, address], dht(&[&node], None));
    let dir = tempfile::tempdir().unwrap();
    let torrent = taker.describe(&bare(&shared), dir.path()).await.unwrap();
    let got = taker.fetch_torrent(&torrent, &[], dir.path(), &Progress::default()).await.unwrap();
    assert!(std::fs::read(got).unwrap() == shared.bytes);
    assert_eq!(giving.await.unwrap(), shared.bytes.len() as u64, "as much as it may, and not more");
    let asked = node.peers.lock().unwrap().clone();
    assert_eq!(asked, [address], "who only takes is not announced");
}
