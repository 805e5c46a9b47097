//! Asking trackers for peers: over HTTP (BEP 3, 7, 23) and UDP (BEP 15), at public addresses only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pumasi_types::ByteSize;
use tokio::net::UdpSocket;
use url::Url;

use crate::address::{self, canonical};
use crate::bencode::Value;
use crate::client::Client;
use crate::place::Place;

/// The longest answer, in bytes.
const ANSWER: ByteSize = ByteSize(1 << 20);
/// Peers of one answer.
const PEERS: usize = 200;
/// How long a UDP tracker may take, and how often it is asked.
const UDP_PATIENCE: Duration = Duration::from_secs(5);
const UDP_TRIES: usize = 3;
/// What opens a conversation with a UDP tracker.
const UDP_MAGIC: u64 = 0x0417_2710_1980;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announce {
    /// Which torrent.
    pub(crate) info_hash: [u8; 20],
    /// Who asks.
    pub(crate) peer_id: [u8; 20],
    /// Bytes that were given to peers, since this peer began.
    pub(crate) uploaded: u64,
    /// Bytes that came from peers, since this peer began.
    pub(crate) downloaded: u64,
    /// Bytes that are missing.
    pub(crate) left: u64,
    /// Why the tracker is asked.
    pub(crate) event: Event,
    /// Where peers can connect to; none: nowhere.
    pub(crate) port: Option<u16>,
}

/// Why a tracker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// For more peers.
    None,
    /// All is here now.
    Completed,
    /// For the first peers.
    Started,
    /// It is left; no peers are wanted.
    Stopped,
}

impl Event {
    /// Its number in UDP (BEP 15).
    fn number(self) -> u32 {
        match self {
            Event::None => 0,
            Event::Completed => 1,
            Event::Started => 2,
            Event::Stopped => 3,
        }
    }

    /// What stands for it in a query (BEP 3).
    fn query(self) -> &'static str {
        match self {
            Event::None => "",
            Event::Completed => "&event=completed",
            Event::Started => "&event=started",
            Event::Stopped => "&event=stopped",
        }
    }

    /// How many peers are wanted.
    fn wanted(self) -> usize {
        if self == Event::Stopped { 0 } else { PEERS }
    }
}

/// What a tracker tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) peers: Vec<SocketAddr>,
    /// How long it wants to be left alone.
    pub(crate) wait: Option<Duration>,
}

/// The port of `discard`, for who cannot be connected to: trackers want one.
const PORT: u16 = 9;

impl Client {
    /// The peers that a tracker knows, those only that may be connected to. All of its answer has a time: a tracker that sends
    /// a byte now and then would otherwise keep whoever asks for ever.
    ///
    /// # Errors
    /// Why it told none, for people.
    pub(crate) async fn peers(&self, tracker: &str, announce: &Announce) -> Result<Told, String> {
        let asked = async {
            match tracker.get(..4) {
                Some("udp:") => self.udp_peers(tracker, announce).await,
                _ => self.http_peers(tracker, announce).await,
            }
        };
        let told = tokio::time::timeout(self.options.tracker_patience, asked).await;
        let Told { peers, wait } = told.unwrap_or_else(|_| Err("it is too slow".to_owned()))?;
        let guard = self.guard();
        let peers = peers.into_iter().map(canonical).filter(|peer| peer.port() != 0 && guard.lets(*peer));
        Ok(Told { peers: peers.take(PEERS).collect(), wait })
    }

    async fn http_peers(&self, tracker: &str, announce: &Announce) -> Result<Told, String> {
        let place = Place::parse(tracker, self.guard()).map_err(|bad| bad.to_string())?;
        let query = place.query().map(|query| format!("{query}&")).unwrap_or_default();
        let Announce { info_hash, peer_id, uploaded, downloaded, left, event, port } = announce;
        let query = format!(
            "{query}info_hash={}&peer_id={}&port={}&uploaded={uploaded}&downloaded={downloaded}&left={left}&compact=1&numwant={}{}",
            escape(info_hash),
            escape(peer_id),
            port.unwrap_or(PORT),
            event.wanted(),
            event.query()
        );
        let answer =
            self.small(&place.with_query(&query), ANSWER).await.map_err(|error| error.to_string())?;
        told_by(&answer)
    }

    async fn udp_peers(&self, tracker: &str, announce: &Announce) -> Result<Told, String> {
        let url = Url::parse(tracker).map_err(|_| "it must look like udp://HOST:PORT")?;
        let (host, port) = url.host_str().zip(url.port()).ok_or("it must look like udp://HOST:PORT")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = address::resolve(host, port, self.guard()).await;
        let to = *found.map_err(|problem| problem.to_string())?.first().ok_or("it has no address")?;
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let failed = |error: std::io::Error| error.to_string();
        let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        let ticket = u32::from_be_bytes([
            announce.peer_id[16],
            announce.peer_id[17],
            announce.peer_id[18],
            announce.peer_id[19],
        ]);
        let hello = [&UDP_MAGIC.to_be_bytes()[..], &0_u32.to_be_bytes(), &ticket.to_be_bytes()].concat();
        let connection = asked(&socket, &hello, 0, ticket).await?;
        let connection = connection.get(..8).ok_or("its answer is too short")?;
        let question = [
            connection,
            &1_u32.to_be_bytes(),
            &ticket.to_be_bytes(),
            &announce.info_hash,
            &announce.peer_id,
            &announce.downloaded.to_be_bytes(),
            &announce.left.to_be_bytes(),
            &announce.uploaded.to_be_bytes(),
            &announce.event.number().to_be_bytes(),
            &0_u32.to_be_bytes(),
            &ticket.to_be_bytes(),
            &(announce.event.wanted() as u32).to_be_bytes(),
            &announce.port.unwrap_or(PORT).to_be_bytes(),
        ]
        .concat();
        let answer = asked(&socket, &question, 1, ticket).await?;
        // How long to wait, and how many there are that lack something and that lack nothing (BEP 15).
        let (head, peers) = answer.split_first_chunk::<12>().ok_or("its answer is too short")?;
        let [a, b, c, d, ..] = *head;
        let wait = Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into());
        let peers = if to.is_ipv4() { compact_v4(peers) } else { compact_v6(peers) };
        Ok(Told { peers, wait: Some(wait) })
    }
}

/// What a UDP tracker answers behind its head.
async fn asked(socket: &UdpSocket, question: &[u8], action: u32, ticket: u32) -> Result<Vec<u8>, String> {
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..UDP_TRIES {
        socket.send(question).await.map_err(|error| error.to_string())?;
        let Ok(received) = tokio::time::timeout(UDP_PATIENCE, socket.recv(&mut buffer)).await else {
            continue;
        };
        let answer = &buffer[..received.map_err(|error| error.to_string())?];
        let expected = [action.to_be_bytes(), ticket.to_be_bytes()].concat();
        match answer.split_at_checked(8) {
            Some((head, rest)) if head == expected => return Ok(rest.to_vec()),
            Some((head, rest)) if head[..4] == 3_u32.to_be_bytes() && head[4..] == expected[4..] => {
                return Err(String::from_utf8_lossy(rest).chars().take(200).collect());
            }
            _ => {}
        }
    }
    Err("it does not answer".to_owned())
}

/// Peers in the answer of an HTTP tracker, whatever may be connected to.
///
/// # Errors
/// Why it told none, for people.
pub fn peers_of(answer: &[u8]) -> Result<Vec<SocketAddr>, String> {
    told_by(answer).map(|told| told.peers)
}

fn told_by(answer: &[u8]) -> Result<Told, String> {
    let value = Value::read(answer).ok_or("its answer is not bencoded")?;
    if let Some(reason) = value.get("failure reason").and_then(Value::text) {
        return Err(reason.chars().take(200).collect());
    }
    let mut peers = match value.get("peers") {
        Some(Value::Bytes(bytes)) => compact_v4(bytes),
        Some(Value::List(list)) => list.iter().filter_map(peer_of).collect(),
        _ => Vec::new(),
    };
    peers.extend(value.get("peers6").and_then(Value::bytes).map(compact_v6).unwrap_or_default());
    let seconds = |key| value.get(key)?.int().and_then(|seconds| u64::try_from(seconds).ok());
    let wait = seconds("interval").max(seconds("min interval")).map(Duration::from_secs);
    Ok(Told { peers, wait })
}

fn peer_of(value: &Value<'_>) -> Option<SocketAddr> {
    // Names of hosts are not looked up.
    let address: IpAddr = value.get("ip")?.text()?.parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(value.get("port")?.int()?).ok()?))
}

pub(crate) fn compact_v4(bytes: &[u8]) -> Vec<SocketAddr> {
    let peers = bytes.as_chunks::<6>().0.iter();
    peers
        .map(|[a, b, c, d, high, low]| {
            (Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])).into()
        })
        .collect()
}

pub(crate) fn compact_v6(bytes: &[u8]) -> Vec<SocketAddr> {
    let peer = |peer: &[u8; 18]| {
        let (address, port) = peer.split_first_chunk::<16>()?;
        Some((Ipv6Addr::from(*address), u16::from_be_bytes(port.try_into().ok()?)).into())
    };
    bytes.as_chunks::<18>().0.iter().filter_map(peer).collect()
}

/// All bytes as they stand in a query.
fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_in_all_forms() {
        let mut answer = b"d5:peers6:\x7f\0\0\x01\x1a\xe16:peers618:".to_vec();
        answer.extend([0x20, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]);
        answer.push(b'e');
        assert_eq!(
            peers_of(&answer).unwrap(),
            ["127.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()]
        );
        let list = b"d5:peersld2:ip7:1.2.3.44:porti5eed2:ip9:localhost4:porti5eeee";
        assert_eq!(peers_of(list).unwrap(), ["1.2.3.4:5".parse().unwrap()]);
        assert_eq!(peers_of(b"d14:failure reason4:gonee").unwrap_err(), "gone");
        assert!(peers_of(b"<html>").is_err());
        for (said, wait) in [
            (&b"d8:intervali1800e12:min intervali900ee"[..], Some(1_800)),
            (b"d8:intervali60e12:min intervali900ee", Some(900)),
            (b"d8:intervali-1ee", None),
            (b"de", None),
        ] {
            assert_eq!(told_by(said).unwrap().wait, wait.map(Duration::from_secs));
        }
    }

    /// Answers as a UDP tracker that wants to be left alone for half an hour, or not at all.
    async fn udp_tracker(answers: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut asked = [0; 200];
            while let Ok((_, from)) = socket.recv_from(&mut asked).await {
                let head = &asked[8..16];
                let answer = if head[3] == 0 {
                    [head, b"conn-id!"].concat()
                } else {
                    let counts = [1_800_u32, 1, 1].map(u32::to_be_bytes).concat();
                    [head, &counts, &[1, 2, 3, 4, 0x1a, 0xe1]].concat()
                };
                if answers {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn udp_trackers_tell_how_long_to_wait_and_have_no_longer_themselves() {
        let guard = address::Guard { private: true, open: Vec::new() };
        let tracker_patience = Duration::from_millis(500);
        let options = crate::client::Options { guard, tracker_patience, ..Default::default() };
        let client = Client::new(options).unwrap();
        let (info_hash, peer_id, event) = ([1; 20], [2; 20], Event::Started);
        let announce =
            Announce { info_hash, peer_id, uploaded: 0, downloaded: 0, left: 1, event, port: None };
        let told = client.peers(&format!("udp://{}", udp_tracker(true).await), &announce).await.unwrap();
        let peers = vec!["1.2.3.4:6881".parse().unwrap()];
        assert_eq!(told, Told { peers, wait: Some(Duration::from_secs(1_800)) });
        let silent = format!("udp://{}", udp_tracker(false).await);
        let silent = client.peers(&silent, &announce);
        let silent = tokio::time::timeout(Duration::from_secs(4), silent).await.expect("it ends");
        assert_eq!(silent.unwrap_err(), "it is too slow");
    }
}
