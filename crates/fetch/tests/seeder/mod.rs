//! A seeder and a tracker for tests, the one honest or not.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    most: usize,
    lies: bool,
}

impl Seeder {
    /// One that gives at most so many blocks, wrong ones if it `lies`.
    pub(crate) async fn start(shared: Arc<Shared>, most: usize, lies: bool) -> Seeder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seeder = Seeder { address, given: Arc::default(), asked: Arc::default(), most, lies };
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
        send(&mut stream, 1, &[]).await?;
        loop {
            let length = stream.read_u32().await.ok()? as usize;
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await.ok()?;
            match message.split_first() {
                Some((6, request)) => {
                    if self.given.fetch_add(1, Ordering::SeqCst) >= self.most {
                        return None;
                    }
                    let number =
                        |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap()) as usize;
                    let start = number(0) * shared.piece_bytes + number(4);
                    let mut block = shared.bytes[start..start + number(8)].to_vec();
                    block[0] ^= u8::from(self.lies);
                    send(&mut stream, 7, &[&request[..8], &block].concat()).await?;
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

async fn send(stream: &mut TcpStream, kind: u8, payload: &[u8]) -> Option<()> {
    let length = (payload.len() as u32 + 1).to_be_bytes();
    stream.write_all(&[&length[..], &[kind], payload].concat()).await.ok()
}

/// A tracker that knows these peers.
pub(crate) async fn tracker(peers: &[SocketAddr]) -> Server {
    let mut compact = Vec::new();
    for peer in peers {
        let SocketAddr::V4(peer) = peer else { panic!("an IPv4 address") };
        compact.extend(peer.ip().octets());
        compact.extend(peer.port().to_be_bytes());
    }
    let body = [format!("d8:intervali60e5:peers{}:", compact.len()).as_bytes(), &compact, b"e"].concat();
    Server::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        vec![Step::Send([head.as_bytes(), &body].concat())]
    })
    .await
}
