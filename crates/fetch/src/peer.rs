//! One peer of a swarm (BEP 3, 9, 10): asked for pieces and for a torrent's description, given nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ring::digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::bencode::Value;
use crate::torrent::TORRENT_BYTES;

/// What is asked for at once, in bytes: what every peer answers.
pub(crate) const BLOCK: u32 = 16 << 10;
/// Blocks that are asked for before they came.
const AHEAD: usize = 64;
/// The longest message, in bytes: a bitfield of as many pieces as a torrent can have.
const MESSAGE_BYTES: u32 = 1 << 20;
/// How long a peer may take to take a connection and to greet.
const GREETING: Duration = Duration::from_secs(10);
/// How long a peer may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may keep us waiting until it gives anything.
const CHOKED: Duration = Duration::from_secs(120);
/// What greetings begin with.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// The number of ours for messages about descriptions.
const METADATA: u8 = 1;

/// A peer that speaks of the same torrent.
pub(crate) struct Peer {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    /// Whether it gives nothing now.
    choked: bool,
    /// Which pieces it has: a bit for each, the first one highest.
    has: Vec<u8>,
    /// What it calls messages about descriptions, and how long the description is.
    metadata: Option<(u8, usize)>,
    extends: bool,
}

/// What a peer says that matters here.
enum Message {
    Block { piece: u32, start: u32, bytes: Vec<u8> },
    Metadata { piece: usize, bytes: Vec<u8> },
    Other,
}

fn strange(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Peer {
    /// Connects and greets.
    pub(crate) async fn connect(
        address: SocketAddr,
        info_hash: &[u8; 20],
        own: &[u8; 20],
    ) -> io::Result<Peer> {
        in_time(GREETING, async {
            let (from, mut to) = TcpStream::connect(address).await?.into_split();
            // It can be extended (BEP 10).
            let features = [0, 0, 0, 0, 0, 0x10, 0, 0];
            to.write_all(&[PROTOCOL, &features[..], info_hash, own].concat()).await?;
            let mut from = BufReader::new(from);
            let mut greeting = [0; 68];
            from.read_exact(&mut greeting).await?;
            if &greeting[..20] != PROTOCOL || &greeting[28..48] != info_hash {
                return Err(strange("it speaks of something else"));
            }
            let extends = greeting[25] & 0x10 != 0;
            let mut peer = Peer { from, to, choked: true, has: Vec::new(), metadata: None, extends };
            if extends {
                let hello = format!("d1:md11:ut_metadatai{METADATA}eee");
                peer.extended(0, hello.as_bytes()).await?;
            }
            // We are interested.
            peer.send(2, &[]).await?;
            Ok(peer)
        })
        .await
    }

    /// Whether it has a piece.
    pub(crate) fn has(&self, piece: usize) -> bool {
        self.has.get(piece / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0)
    }

    /// The description of the torrent.
    pub(crate) async fn description(&mut self, info_hash: &[u8; 20]) -> io::Result<Vec<u8>> {
        let (id, length) = loop {
            match self.metadata {
                Some(found) => break found,
                None if self.extends => drop(self.listen().await?),
                None => return Err(strange("it cannot describe the torrent")),
            }
        };
        let mut all = vec![0; length];
        for piece in 0..length.div_ceil(BLOCK as usize) {
            self.extended(id, format!("d8:msg_typei0e5:piecei{piece}ee").as_bytes()).await?;
            let start = piece * BLOCK as usize;
            let end = (start + BLOCK as usize).min(length);
            loop {
                match self.listen().await? {
                    Message::Metadata { piece: came, bytes }
                        if came == piece && bytes.len() == end - start =>
                    {
                        all[start..end].copy_from_slice(&bytes);
                        break;
                    }
                    Message::Metadata { .. } => return Err(strange("it does not describe the torrent")),
                    _ => {}
                }
            }
        }
        let seen = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &all);
        if seen.as_ref() == info_hash { Ok(all) } else { Err(strange("it describes something else")) }
    }

    /// Listens until it gives something, or `limit` has passed.
    pub(crate) async fn unchoked(&mut self) -> io::Result<()> {
        in_time(CHOKED, async {
            while self.choked {
                self.listen().await?;
            }
            Ok(())
        })
        .await
    }

    /// Listens for a while: it may say that it has more.
    pub(crate) async fn listen_for(&mut self, while_: Duration) -> io::Result<()> {
        // A message that is cut in two by the end of this time would be lost: only its begin is waited for.
        match tokio::time::timeout(while_, self.from.get_ref().readable()).await {
            Ok(ready) => {
                ready?;
                self.listen().await.map(drop)
            }
            Err(_) if !self.from.buffer().is_empty() => self.listen().await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// A whole piece, unchecked. `None` when it stopped giving.
    pub(crate) async fn piece(&mut self, piece: u32, length: u32) -> io::Result<Option<Vec<u8>>> {
        let mut all = vec![0; length as usize];
        let count = length.div_ceil(BLOCK) as usize;
        let (mut asked, mut came) = (0_usize, vec![false; count]);
        let mut left = count;
        while left > 0 {
            while asked < count && asked - (count - left) < AHEAD {
                let start = asked as u32 * BLOCK;
                let size = BLOCK.min(length - start);
                let request = [piece.to_be_bytes(), start.to_be_bytes(), size.to_be_bytes()].concat();
                self.send(6, &request).await?;
                asked += 1;
            }
            match self.listen().await? {
                Message::Block { piece: of, start, bytes } if of == piece => {
                    let block = (start / BLOCK) as usize;
                    let expected = BLOCK.min(length.saturating_sub(start)) as usize;
                    if !start.is_multiple_of(BLOCK) || block >= count || bytes.len() != expected {
                        return Err(strange("it sends what was not asked for"));
                    }
                    if !std::mem::replace(&mut came[block], true) {
                        all[start as usize..start as usize + expected].copy_from_slice(&bytes);
                        left -= 1;
                    }
                }
                _ if self.choked => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(all))
    }

    async fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = (payload.len() as u32 + 1).to_be_bytes();
        in_time(SILENCE, self.to.write_all(&[&length[..], &[kind], payload].concat())).await
    }

    async fn extended(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.send(20, &[&[kind], payload].concat()).await
    }

    /// The next message; those about its own state are noted.
    async fn listen(&mut self) -> io::Result<Message> {
        let (kind, payload) = loop {
            let length = in_time(SILENCE, self.from.read_u32()).await?;
            if length > MESSAGE_BYTES {
                return Err(strange("its message is too long"));
            }
            if length > 0 {
                let mut message = vec![0; length as usize];
                in_time(SILENCE, self.from.read_exact(&mut message)).await?;
                let payload = message.split_off(1);
                break (message[0], payload);
            }
        };
        let number = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        match kind {
            0 => self.choked = true,
            1 => self.choked = false,
            4 => {
                let piece = number(0).ok_or(strange("its message is too short"))? as usize;
                if piece / 8 >= MESSAGE_BYTES as usize {
                    return Err(strange("it has a piece that cannot be"));
                }
                if self.has.len() <= piece / 8 {
                    self.has.resize(piece / 8 + 1, 0);
                }
                self.has[piece / 8] |= 0x80 >> (piece % 8);
            }
            5 => self.has = payload,
            7 => {
                let head = number(0).zip(number(4)).ok_or(strange("its message is too short"))?;
                return Ok(Message::Block { piece: head.0, start: head.1, bytes: payload[8..].to_vec() });
            }
            20 => return self.heard_extended(&payload),
            _ => {}
        }
        Ok(Message::Other)
    }

    fn heard_extended(&mut self, payload: &[u8]) -> io::Result<Message> {
        let Some((kind, body)) = payload.split_first() else { return Ok(Message::Other) };
        if *kind == 0 {
            let hello = Value::read(body);
            let id = hello.as_ref().and_then(|hello| hello.get("m")?.get("ut_metadata")?.int());
            let length = hello.as_ref().and_then(|hello| hello.get("metadata_size")?.int());
            let id = id.and_then(|id| u8::try_from(id).ok()).filter(|id| *id > 0);
            let length = length.and_then(|length| usize::try_from(length).ok());
            let fits = |length: &usize| (1..=TORRENT_BYTES).contains(length);
            self.metadata = id.zip(length.filter(fits));
            if self.metadata.is_none() {
                self.extends = false;
            }
        } else if *kind == METADATA {
            // A dictionary, and the bytes behind it.
            let (head, bytes) = Value::read_first(body).ok_or(strange("its message makes no sense"))?;
            let piece = head.get("piece").and_then(Value::int).and_then(|piece| usize::try_from(piece).ok());
            if head.get("msg_type").and_then(Value::int) == Some(1)
                && let Some(piece) = piece
            {
                return Ok(Message::Metadata { piece, bytes: bytes.to_vec() });
            }
            return Err(strange("it does not describe the torrent"));
        }
        Ok(Message::Other)
    }
}
