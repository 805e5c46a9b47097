//! One peer of a swarm (BEP 3, 9, 10, 11): asked for pieces and for a torrent's description, and given what it asks for, if
//! anything is given at all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::digest;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bencode::Value;
use crate::bits::Bits;
use crate::describe::{BlockRoom, Held};
use crate::doors::Caller;
use crate::giving::{Block, Share, Taker, send_all};
use crate::torrent::TORRENT_BYTES;
use crate::tracker::{compact_v4, compact_v6};

/// What is asked for at once, in bytes: what every peer answers.
pub(crate) const BLOCK: u32 = 16 << 10;
/// Blocks that are asked for before they came.
const AHEAD: usize = 64;
/// The longest message, in bytes: ten times the bitfield of as many pieces as a torrent can have.
const MESSAGE_BYTES: u32 = 1 << 20;
/// Pieces that a torrent can have: its file holds a hash of each.
const PIECES: usize = TORRENT_BYTES / 20;
/// How long a peer may take to take a connection and to greet.
const GREETING: Duration = Duration::from_secs(10);
/// How long a peer that owes us something may say nothing, and how long a message may take.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a peer may say nothing that owes us nothing: it shows every two minutes that it is there.
const IDLE: Duration = Duration::from_secs(150);
/// What greetings begin with.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// The numbers of ours for messages about descriptions, and about other peers.
const METADATA: u8 = 1;
const EXCHANGE: u8 = 2;
/// Messages that wait until they are sent.
const UNSENT: usize = 64;
/// Blocks that a peer may ask for before they came.
const ASKED_AHEAD: usize = 250;
/// Peers of which one peer may tell, in one message and altogether.
const TOLD_AT_ONCE: usize = 50;
const TOLD: usize = 500;

/// What a peer says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: [u8; 20],
    /// Whether it can be extended (BEP 10).
    pub(crate) extends: bool,
}

/// What is said of ourselves.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: [u8; 20],
    /// How many pieces there are, if that is known.
    pub(crate) pieces: Option<usize>,
    /// Where peers can connect to.
    pub(crate) port: Option<u16>,
    /// Whether the torrent's peers may be told of by anybody (BEP 27).
    pub(crate) exchanges: bool,
    /// Whether we want something.
    pub(crate) wants: bool,
    /// What is given; none: nothing.
    pub(crate) share: Option<Arc<Share>>,
    /// The description that is given with it.
    pub(crate) info: Bytes,
}

impl Ours {
    /// Of who knows nothing of a torrent but its hash.
    pub(crate) fn before_the_description(info_hash: [u8; 20], peer_id: [u8; 20]) -> Ours {
        Ours {
            info_hash,
            peer_id,
            pieces: None,
            port: None,
            exchanges: false,
            wants: true,
            share: None,
            info: Bytes::new(),
        }
    }
}

/// A peer that speaks of the same torrent.
pub(crate) struct Peer<R = OwnedReadHalf> {
    from: BufReader<R>,
    to: mpsc::Sender<Vec<u8>>,
    /// Sends what is said to it.
    sending: Option<JoinHandle<()>>,
    ours: Ours,
    taker: Option<Arc<Taker>>,
    /// Whether it gives nothing now.
    choked: bool,
    /// Which pieces it has.
    has: Bits,
    /// What it calls messages about descriptions, and how long the description is, if it has it.
    metadata: (Option<u8>, Option<usize>),
    extends: bool,
    greeted: bool,
    /// Other peers that it told of.
    told: Vec<SocketAddr>,
    count_told: usize,
    /// When it said something last.
    heard: Instant,
}

impl<R> Drop for Peer<R> {
    fn drop(&mut self) {
        self.sending.iter().for_each(JoinHandle::abort);
    }
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

/// A message as it is sent.
pub(crate) fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32 + 1).to_be_bytes();
    [&length[..], &[kind], payload].concat()
}

/// Reads what a peer says first.
pub(crate) async fn read_greeting(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Greeting> {
    let mut bytes = [0; 68];
    in_time(GREETING, from.read_exact(&mut bytes)).await?;
    let field = |at: usize| bytes.get(at..at + 20)?.try_into().ok();
    let (info_hash, peer_id) = field(28).zip(field(48)).ok_or(strange("it does not greet"))?;
    if bytes[..20] != *PROTOCOL {
        return Err(strange("it speaks something else"));
    }
    Ok(Greeting { info_hash, peer_id, extends: bytes[25] & 0x10 != 0 })
}

fn greeting_of(ours: &Ours) -> Vec<u8> {
    let features = [0, 0, 0, 0, 0, 0x10, 0, 0];
    [PROTOCOL, &features[..], &ours.info_hash, &ours.peer_id].concat()
}

impl Peer {
    /// Connects and greets.
    pub(crate) async fn connect(address: SocketAddr, ours: Ours) -> io::Result<Peer> {
        let (stream, greeting) = in_time(GREETING, async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&greeting_of(&ours)).await?;
            let greeting = read_greeting(&mut stream).await?;
            Ok((stream, greeting))
        })
        .await?;
        Peer::begin(stream, greeting, ours).await
    }

    /// Greets a peer that connected to us.
    pub(crate) async fn welcome(caller: Caller, ours: Ours) -> io::Result<Peer> {
        let Caller { mut stream, greeting, .. } = caller;
        in_time(GREETING, stream.write_all(&greeting_of(&ours))).await?;
        Peer::begin(stream, greeting, ours).await
    }

    async fn begin(stream: TcpStream, greeting: Greeting, ours: Ours) -> io::Result<Peer> {
        if greeting.info_hash != ours.info_hash {
            return Err(strange("it speaks of something else"));
        }
        if greeting.peer_id == ours.peer_id {
            return Err(strange("it is ourselves"));
        }
        let (from, to) = stream.into_split();
        let (sender, said) = mpsc::channel(UNSENT);
        let taker = ours.share.as_ref().map(|share| share.add());
        let (bits, told) = ours.share.as_ref().map(|share| share.board().bits()).unwrap_or_default();
        let given = ours.share.clone().zip(taker.clone());
        let mut peer = Peer::of(from, sender, greeting.extends, ours);
        // It waits before anything is sent: pieces that come meanwhile may only be told of behind it (BEP 3).
        if bits.iter().any(|byte| *byte != 0) {
            peer.send(5, &bits).await?;
        }
        let sending = tokio::spawn(async move {
            if let Err(error) = send_all(to, said, given, told).await {
                tracing::debug!("sending to a peer ended: {error}");
            }
        });
        (peer.sending, peer.taker) = (Some(sending), taker);
        if peer.extends {
            peer.send(20, &[&[0], peer.hello().as_slice()].concat()).await?;
        }
        if peer.ours.wants {
            // We are interested.
            peer.send(2, &[]).await?;
        }
        Ok(peer)
    }
}

impl<R: AsyncRead + Unpin> Peer<R> {
    fn of(from: R, to: mpsc::Sender<Vec<u8>>, extends: bool, ours: Ours) -> Peer<R> {
        Peer {
            from: BufReader::new(from),
            to,
            sending: None,
            ours,
            taker: None,
            choked: true,
            has: Bits::default(),
            metadata: (None, None),
            extends,
            greeted: false,
            told: Vec::new(),
            count_told: 0,
            heard: Instant::now(),
        }
    }

    /// What it can ask us for.
    fn hello(&self) -> Vec<u8> {
        let exchange = if self.ours.exchanges { format!("6:ut_pexi{EXCHANGE}e") } else { String::new() };
        let size = match self.ours.share {
            Some(_) if !self.ours.info.is_empty() => format!("13:metadata_sizei{}e", self.ours.info.len()),
            _ => String::new(),
        };
        let port = self.ours.port.map(|port| format!("1:pi{port}e")).unwrap_or_default();
        format!("d1:md11:ut_metadatai{METADATA}e{exchange}e{size}{port}4:reqqi{ASKED_AHEAD}ee").into_bytes()
    }

    /// The pieces that it has.
    pub(crate) fn has(&self) -> &Bits {
        &self.has
    }

    /// Whether it lacks nothing.
    pub(crate) fn has_all(&self) -> bool {
        self.ours.pieces == Some(self.has.count())
    }

    /// Whether it gives nothing now.
    pub(crate) fn is_choked(&self) -> bool {
        self.choked
    }

    /// Whether it may be given anything.
    pub(crate) fn gives(&self) -> bool {
        self.taker.is_some()
    }

    /// Whether nothing reaches it any more: it takes nothing, or what it asked for cannot be read.
    pub(crate) fn is_deaf(&self) -> bool {
        self.sending.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Bytes that were given to it.
    pub(crate) fn took(&self) -> u64 {
        self.taker.as_ref().map_or(0, |taker| taker.took())
    }

    /// Whether it wants something that we give.
    pub(crate) fn takes(&self) -> bool {
        self.taker.as_ref().is_some_and(|taker| taker.wants())
    }

    /// The peers that it told of since this was asked last.
    pub(crate) fn told(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.told)
    }

    /// The description of the torrent. It takes room as it comes, so that no peer takes any by what it says.
    pub(crate) async fn description(&mut self, room: &BlockRoom) -> io::Result<Vec<u8>> {
        let (id, length) = loop {
            match self.metadata {
                (Some(id), Some(length)) => break (id, length),
                _ if self.extends && !self.greeted => drop(self.listen(SILENCE).await?),
                _ => return Err(strange("it cannot describe the torrent")),
            }
        };
        let (mut all, mut held) = (Vec::new(), Held::default());
        for piece in 0..length.div_ceil(BLOCK as usize) {
            room.take(&mut held).await?;
            self.extended(id, format!("d8:msg_typei0e5:piecei{piece}ee").as_bytes()).await?;
            let expected = (length - all.len()).min(BLOCK as usize);
            loop {
                match self.listen(SILENCE).await? {
                    Message::Metadata { piece: came, bytes } if came == piece && bytes.len() == expected => {
                        all.extend_from_slice(&bytes);
                        break;
                    }
                    Message::Metadata { .. } => return Err(strange("it does not describe the torrent")),
                    _ => {}
                }
            }
        }
        let seen = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &all);
        let is_right = seen.as_ref() == self.ours.info_hash;
        if is_right { Ok(all) } else { Err(strange("it describes something else")) }
    }

    /// Listens to what it says next, but for a while only.
    pub(crate) async fn listen_for(&mut self, while_: Duration) -> io::Result<()> {
        // A message that is cut in two by the end of this time would be lost: only its begin is waited for.
        match tokio::time::timeout(while_, self.from.fill_buf()).await {
            Ok(begun) => {
                begun?;
                self.listen(SILENCE).await.map(drop)
            }
            Err(_) if self.heard.elapsed() > IDLE => Err(io::ErrorKind::TimedOut.into()),
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
            match self.listen(SILENCE).await? {
                Message::Block { piece: of, start, bytes } if of == piece => {
                    let block = (start / BLOCK) as usize;
                    let expected = BLOCK.min(length.saturating_sub(start)) as usize;
                    if !start.is_multiple_of(BLOCK) || block >= count || bytes.len() != expected {
                        return Err(strange("it sends what was not asked for"));
                    }
                    if !std::mem::replace(&mut came[block], true) {
                        all[start as usize..start as usize + expected].copy_from_slice(&bytes);
                        left -= 1;
                        self.taker.iter().for_each(|taker| taker.note_gave(bytes.len() as u64));
                    }
                }
                _ if self.choked => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(all))
    }

    async fn send(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let sent = self.to.send(message(kind, payload));
        in_time(SILENCE, async { sent.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)) }).await
    }

    async fn extended(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.send(20, &[&[kind], payload].concat()).await
    }

    /// The next message; those about its own state and its wishes are noted.
    async fn listen(&mut self, patience: Duration) -> io::Result<Message> {
        let length = in_time(patience, self.from.read_u32()).await?;
        self.heard = Instant::now();
        if length > MESSAGE_BYTES {
            return Err(strange("its message is too long"));
        }
        // A sign of life.
        if length == 0 {
            return Ok(Message::Other);
        }
        let mut message = vec![0; length as usize];
        in_time(SILENCE, self.from.read_exact(&mut message)).await?;
        let payload = message.split_off(1);
        match message[0] {
            0 => self.choked = true,
            1 => self.choked = false,
            kind @ (2 | 3) => self.taker.iter().for_each(|taker| taker.set_wants(kind == 2)),
            4 => {
                let piece = number(&payload, 0)? as usize;
                if piece >= self.ours.pieces.unwrap_or(PIECES) {
                    return Err(strange("it has a piece that cannot be"));
                }
                self.has.set(piece);
            }
            5 => self.has = Bits::read(&payload, self.ours.pieces.unwrap_or(PIECES)),
            kind @ (6 | 8) => self.heard_wish(kind, &payload)?,
            7 => {
                let (piece, start) = (number(&payload, 0)?, number(&payload, 4)?);
                return Ok(Message::Block { piece, start, bytes: payload[8..].to_vec() });
            }
            20 => return self.heard_extended(&payload).await,
            _ => {}
        }
        Ok(Message::Other)
    }

    /// It wants a block, or does not want it any more.
    fn heard_wish(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let block =
            Block { piece: number(payload, 0)?, start: number(payload, 4)?, length: number(payload, 8)? };
        match (&self.ours.share, &self.taker) {
            (Some(share), Some(taker)) if kind == 6 => taker.ask(share.board(), block).map_err(strange),
            (Some(_), Some(taker)) => {
                taker.cancel(block);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn heard_extended(&mut self, payload: &[u8]) -> io::Result<Message> {
        let Some((kind, body)) = payload.split_first() else { return Ok(Message::Other) };
        match *kind {
            0 => {
                self.greeted = true;
                self.metadata = abilities(body);
            }
            METADATA => return self.heard_metadata(body).await,
            EXCHANGE if self.ours.exchanges => {
                let room = TOLD_AT_ONCE.min(TOLD.saturating_sub(self.count_told));
                let peers: Vec<_> = exchanged(body).into_iter().take(room).collect();
                self.count_told += peers.len();
                self.told.extend(peers);
            }
            _ => {}
        }
        Ok(Message::Other)
    }

    /// A part of the description, or the wish for one.
    async fn heard_metadata(&mut self, body: &[u8]) -> io::Result<Message> {
        // A dictionary, and the bytes behind it.
        let (head, bytes) = Value::read_first(body).ok_or(strange("its message makes no sense"))?;
        let kind = head.get("msg_type").and_then(Value::int).ok_or(strange("its message makes no sense"))?;
        if !(0..=2).contains(&kind) {
            // Kinds that nobody knows yet are no fault (BEP 9).
            return Ok(Message::Other);
        }
        let piece = head.get("piece").and_then(Value::int).and_then(|piece| usize::try_from(piece).ok());
        let piece = piece.ok_or(strange("its message makes no sense"))?;
        match kind {
            0 => {
                self.describe(piece).await?;
                Ok(Message::Other)
            }
            1 => Ok(Message::Metadata { piece, bytes: bytes.to_vec() }),
            _ => Err(strange("it does not describe the torrent")),
        }
    }

    /// Gives a part of the description, or says that there is none.
    async fn describe(&self, piece: usize) -> io::Result<()> {
        let Some(id) = self.metadata.0 else { return Ok(()) };
        let info = &self.ours.info;
        let parts = info.len().div_ceil(BLOCK as usize);
        let part = info.chunks(BLOCK as usize).nth(piece);
        let (Some(taker), Some(part)) = (&self.taker, part) else {
            return self.extended(id, format!("d8:msg_typei2e5:piecei{piece}ee").as_bytes()).await;
        };
        if taker.note_described() > parts.saturating_mul(2) {
            return Err(strange("it asks for the description again and again"));
        }
        let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{}ee", info.len());
        self.extended(id, &[head.as_bytes(), part].concat()).await
    }
}

fn number(payload: &[u8], at: usize) -> io::Result<u32> {
    let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or(strange("its message is too short"))
}

/// What a peer calls messages about descriptions, and how long the description is, if it has it (BEP 9, 10).
fn abilities(hello: &[u8]) -> (Option<u8>, Option<usize>) {
    let hello = Value::read(hello);
    let id = hello.as_ref().and_then(|hello| hello.get("m")?.get("ut_metadata")?.int());
    let length = hello.as_ref().and_then(|hello| hello.get("metadata_size")?.int());
    let id = id.and_then(|id| u8::try_from(id).ok()).filter(|id| *id > 0);
    let length = length.and_then(|length| usize::try_from(length).ok());
    (id, length.filter(|length| (1..=TORRENT_BYTES).contains(length)))
}

/// The peers of which a peer tells (BEP 11).
fn exchanged(body: &[u8]) -> Vec<SocketAddr> {
    let Some(value) = Value::read(body) else { return Vec::new() };
    let added = |key, read: fn(&[u8]) -> Vec<SocketAddr>| {
        value.get(key).and_then(Value::bytes).map(read).unwrap_or_default()
    };
    let mut peers = added("added", compact_v4);
    peers.extend(added("added6", compact_v6));
    peers
}

/// Listens to what a peer says behind its greeting, until that ends or makes no sense: for tests of how it is read. How many
/// messages made sense.
pub async fn messages_of(said: &[u8]) -> usize {
    let (to, mut sent) = mpsc::channel(UNSENT);
    let ours = Ours { exchanges: true, ..Ours::before_the_description([0; 20], [0; 20]) };
    let mut peer = Peer::of(said, to, true, ours);
    let mut count = 0;
    while peer.listen(SILENCE).await.is_ok() {
        count += 1;
        while sent.try_recv().is_ok() {}
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_makes_no_sense_ends_a_talk() {
        let extended = |kind: u8, body: &[u8]| message(20, &[&[kind], body].concat());
        let good = [
            message(5, &[0xff]),
            vec![0; 4],
            message(1, &[]),
            message(4, &7_u32.to_be_bytes()),
            message(6, &[0; 12]),
            message(99, b"unknown"),
            extended(0, b"d1:md11:ut_metadatai3eee"),
            extended(METADATA, b"d8:msg_typei0e5:piecei0ee"),
            extended(METADATA, b"d8:msg_typei7ee"),
            extended(EXCHANGE, b"d5:added6:\x01\x02\x03\x04\x00\x50e"),
        ];
        let said = good.concat();
        assert_eq!(messages_of(&said).await, 10);
        for bad in [
            message(4, &[0; 3]),
            message(4, &[0xff; 4]),
            message(7, &[0; 7]),
            message(6, &[0; 11]),
            extended(METADATA, b"d8:msg_typei0ee"),
            extended(METADATA, b"d5:piecei0ee"),
            extended(METADATA, b"i1e"),
            b"\xff\xff\xff\xff\x05".to_vec(),
        ] {
            assert_eq!(messages_of(&[&said, &bad[..], &said].concat()).await, 10, "{bad:02x?}");
        }
        assert_eq!(messages_of(&[&said[..], b"\0\0\0\x09\x05"].concat()).await, 10, "cut off");
    }

    #[tokio::test]
    async fn what_came_already_is_heard_at_once() {
        let (to, _sent) = mpsc::channel(UNSENT);
        let ours = Ours { pieces: Some(9), ..Ours::before_the_description([0; 20], [0; 20]) };
        let (mut said, from) = tokio::io::duplex(1 << 10);
        let mut peer = Peer::of(from, to, true, ours);
        let bytes = [message(5, &[0xff, 0xff]), vec![0; 4], message(1, &[])].concat();
        said.write_all(&bytes).await.unwrap();
        let (began, while_) = (Instant::now(), Duration::from_secs(2));
        peer.listen_for(while_).await.unwrap();
        assert!(peer.has_all() && peer.is_choked(), "bits behind the last piece mean nothing");
        // A sign of life is all that it says; nobody waits for more.
        peer.listen_for(while_).await.unwrap();
        peer.listen_for(while_).await.unwrap();
        assert!(!peer.is_choked() && began.elapsed() < while_);
        peer.listen_for(Duration::from_millis(100)).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "it says nothing");
    }

    #[tokio::test]
    async fn who_says_that_its_description_is_long_takes_no_room_by_that() {
        let info = vec![7; 40_000];
        let info_hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &info).as_ref().try_into().unwrap();
        let said = |length: usize, parts: usize| {
            let hello = format!("d1:md11:ut_metadatai3ee13:metadata_sizei{length}ee");
            let mut said = message(20, &[&[0], hello.as_bytes()].concat());
            for (piece, part) in info.chunks(BLOCK as usize).enumerate().take(parts) {
                let head = format!("d8:msg_typei1e5:piecei{piece}ee");
                said.extend(message(20, &[&[METADATA], head.as_bytes(), part].concat()));
            }
            said
        };
        let ours = Ours::before_the_description(info_hash, [0; 20]);
        let room = BlockRoom::new(4);
        let (to, _sent) = mpsc::channel(UNSENT);
        let long = said(TORRENT_BYTES, 0);
        let (mut silent, from) = tokio::io::duplex(1 << 20);
        silent.write_all(&long).await.unwrap();
        let mut liar = Peer::of(from, to.clone(), true, ours.clone());
        let lying = liar.description(&room);
        let good = said(info.len(), 3);
        let mut honest = Peer::of(&good[..], to, true, ours.clone());
        let described = tokio::time::timeout(Duration::from_secs(5), async {
            tokio::select! {
                biased;
                _ = lying => panic!("it says nothing"),
                described = honest.description(&room) => described.unwrap(),
            }
        });
        assert_eq!(described.await.unwrap(), info);
        assert_eq!(room.free(), 4, "all room is free again");
        // Though there is too little for it, one goes on.
        let (to, _sent) = mpsc::channel(UNSENT);
        let (mut alone, room) = (Peer::of(&good[..], to, true, ours), BlockRoom::new(1));
        let described = tokio::time::timeout(Duration::from_secs(5), alone.description(&room));
        assert_eq!(described.await.expect("it waits for nobody").unwrap(), info);
    }

    #[test]
    fn peers_that_others_tell_of_are_read() {
        let body = b"d5:added12:\x01\x02\x03\x04\x00\x50\x05\x06\x07\x08\x1a\xe16:added60:e";
        assert_eq!(exchanged(body), ["1.2.3.4:80".parse().unwrap(), "5.6.7.8:6881".parse().unwrap()]);
        assert_eq!(exchanged(b"le"), []);
    }
}
