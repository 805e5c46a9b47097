//! A seeder and a tracker for tests, the one honest or not.
#![allow(dead_code, reason = "two test programs use it, each a part of it")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Server, Step};

fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().try_into().unwrap()
}

/// A folder as a torrent.
pub(crate) struct Shared {
    pub(crate) info: Vec<u8>,
    /// All files behind each other.
    pub(crate) bytes: Vec<u8>,
    piece_bytes: usize,
}

impl Shared {
    /// A folder `dir` with these files.
    pub(crate) fn new(files: &[(&str, &[u8])], piece_bytes: usize) -> Shared {
        let mut info = "d5:filesl".to_owned();
        for (path, bytes) in files {
            write!(info, "d6:lengthi{}e4:pathl", bytes.len()).unwrap();
            path.split('/').for_each(|name| write!(info, "{}:{name}", name.len()).unwrap());
            info += "ee";
        }
        let bytes = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<u8>>();
        let pieces: Vec<u8> = bytes.chunks(piece_bytes).flat_map(sha1).collect();
        write!(info, "e4:name3:dir12:piece lengthi{piece_bytes}e6:pieces{}:", pieces.len()).unwrap();
        let info = [info.as_bytes(), &pieces, b"e"].concat();
        Shared { info, bytes, piece_bytes }
    }

    pub(crate) fn info_hash(&self) -> [u8; 20] {
        sha1(&self.info)
    }

    /// The torrent file.
    pub(crate) fn torrent(&self, tracker: &str) -> Vec<u8> {
        [format!("d8:announce{}:{tracker}4:info", tracker.len()).as_bytes(), &self.info, b"e"].concat()
    }

    pub(crate) fn magnet(&self, tracker: &str) -> String {
        let hash = self.info_hash().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!("magnet:?xt=urn:btih:{hash}&tr={tracker}")
    }
}

/// Gives pieces to whoever asks.
#[derive(Clone)]
pub(crate) struct Seeder {
    pub(crate) address: SocketAddr,
    /// Blocks that it gave.
    pub(crate) given: Arc<AtomicUsize>,
    /// Connections that were made to it.
    pub(crate) asked: Arc<AtomicUsize>,
    manner: Manner,
}

/// How a seeder behaves.
#[derive(Clone, Default)]
struct Manner {
    /// Blocks that it gives.
    most: usize,
    lies: bool,
    /// How long it waits before each block.
    pause: Duration,
    /// What it says of other peers (BEP 11), to whoever does not get anything of it then.
    told: Option<Vec<u8>>,
}

impl Seeder {
    /// One that gives at most so many blocks, wrong ones if it `lies`.
    pub(crate) async fn start(shared: Arc<Shared>, most: usize, lies: bool) -> Seeder {
        Seeder::with("127.0.0.1:0", shared, Manner { most, lies, ..Manner::default() }).await
    }

    /// One of IPv6.
    pub(crate) async fn start_v6(shared: Arc<Shared>) -> Seeder {
        Seeder::with("[::1]:0", shared, Manner { most: usize::MAX, ..Manner::default() }).await
    }

    /// One that waits before each block.
    pub(crate) async fn slow(shared: Arc<Shared>, pause: Duration) -> Seeder {
        let manner = Manner { most: usize::MAX, pause, ..Manner::default() };
        Seeder::with("127.0.0.1:0", shared, manner).await
    }

    /// One that gives nothing, and tells of others.
    pub(crate) async fn telling(shared: Arc<Shared>, of: &[SocketAddr]) -> Seeder {
        let of = |v6: bool| {
            let kind = of.iter().filter(|peer| peer.is_ipv6() == v6);
            kind.flat_map(|peer| compact(*peer)).collect::<Vec<u8>>()
        };
        let (v4, v6) = (of(false), of(true));
        let heads = [format!("d5:added{}:", v4.len()), format!("6:added6{}:", v6.len())];
        let told = [heads[0].as_bytes(), &v4, heads[1].as_bytes(), &v6, b"e"].concat();
        Seeder::with("127.0.0.1:0", shared, Manner { told: Some(told), ..Manner::default() }).await
    }

    async fn with(at: &str, shared: Arc<Shared>, manner: Manner) -> Seeder {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seeder = Seeder { address, given: Arc::default(), asked: Arc::default(), manner };
        let served = seeder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seeder, shared) = (served.clone(), Arc::clone(&shared));
                seeder.asked.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move { seeder.serve(stream, &shared).await });
            }
        });
        seeder
    }

    async fn serve(&self, mut stream: TcpStream, shared: &Shared) -> Option<()> {
        let mut greeting = [0; 68];
        stream.read_exact(&mut greeting).await.ok()?;
        greeting[48..].copy_from_slice(b"-TEST00-aaaaaaaaaaaa");
        stream.write_all(&greeting).await.ok()?;
        let count = shared.bytes.len().div_ceil(shared.piece_bytes);
        let hello = format!("d1:md11:ut_metadatai7ee13:metadata_sizei{}ee", shared.info.len());
        send(&mut stream, 20, &[&[0], hello.as_bytes()].concat()).await?;
        send(&mut stream, 5, &vec![0xff; count.div_ceil(8)]).await?;
        if self.manner.told.is_none() {
            send(&mut stream, 1, &[]).await?;
        }
        loop {
            let length = stream.read_u32().await.ok()? as usize;
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await.ok()?;
            match message.split_first() {
                Some((6, request)) => {
                    if self.given.fetch_add(1, Ordering::SeqCst) >= self.manner.most {
                        return None;
                    }
                    tokio::time::sleep(self.manner.pause).await;
                    let number =
                        |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap()) as usize;
                    let start = number(0) * shared.piece_bytes + number(4);
                    let mut block = shared.bytes[start..start + number(8)].to_vec();
                    block[0] ^= u8::from(self.manner.lies);
                    send(&mut stream, 7, &[&request[..8], &block].concat()).await?;
                }
                Some((20, [0, hello @ ..])) => {
                    if let Some(told) = &self.manner.told {
                        send(&mut stream, 20, &[&[exchange(hello)], told.as_slice()].concat()).await?;
                    }
                }
                Some((20, [7, request @ ..])) => {
                    let text = String::from_utf8_lossy(request);
                    let piece: usize =
                        text.strip_prefix("d8:msg_typei0e5:piecei")?.strip_suffix("ee")?.parse().ok()?;
                    let end = ((piece + 1) << 14).min(shared.info.len());
                    let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{}ee", shared.info.len());
                    let bytes = [&[1], head.as_bytes(), &shared.info[piece << 14..end]].concat();
                    send(&mut stream, 20, &bytes).await?;
                }
                _ => {}
            }
        }
    }
}

/// What whoever says this calls messages about other peers; two, as it usually is, if it wants none.
fn exchange(hello: &[u8]) -> u8 {
    let hello = String::from_utf8_lossy(hello);
    let number = hello.split_once("6:ut_pexi").and_then(|(_, rest)| rest.split_once('e')?.0.parse().ok());
    number.unwrap_or(2)
}

async fn send(stream: &mut TcpStream, kind: u8, payload: &[u8]) -> Option<()> {
    let length = (payload.len() as u32 + 1).to_be_bytes();
    stream.write_all(&[&length[..], &[kind], payload].concat()).await.ok()
}

/// An address as trackers, nodes and peers write it.
pub(crate) fn compact(address: SocketAddr) -> Vec<u8> {
    let host = match address {
        SocketAddr::V4(address) => address.ip().octets().to_vec(),
        SocketAddr::V6(address) => address.ip().octets().to_vec(),
    };
    [host, address.port().to_be_bytes().to_vec()].concat()
}

/// What a tracker answers that knows these peers.
pub(crate) fn known(peers: &[SocketAddr]) -> Step {
    assert!(peers.iter().all(SocketAddr::is_ipv4), "IPv4 addresses");
    let peers: Vec<u8> = peers.iter().flat_map(|peer| compact(*peer)).collect();
    let body = [format!("d8:intervali60e5:peers{}:", peers.len()).as_bytes(), &peers, b"e"].concat();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    Step::Send([head.as_bytes(), &body].concat())
}

/// A tracker that knows these peers.
pub(crate) async fn tracker(peers: &[SocketAddr]) -> Server {
    let peers = peers.to_vec();
    Server::start(move |_| vec![known(&peers)]).await
}

/// The same, but it takes its time.
pub(crate) async fn late_tracker(peers: &[SocketAddr], time: Duration) -> Server {
    let peers = peers.to_vec();
    Server::start(move |_| vec![Step::Wait(time), known(&peers)]).await
}

/// The same, but it waits until a seeder is asked for something.
pub(crate) async fn tracker_behind(seeder: &Seeder, peers: &[SocketAddr]) -> Server {
    let (given, peers) = (Arc::clone(&seeder.given), peers.to_vec());
    Server::start(move |_| vec![Step::Until(Arc::clone(&given)), known(&peers)]).await
}
