//! Peers from the DHT (BEP 5, 32), for torrents whose trackers are silent or missing.
//!
//! Each question goes out from a socket and under a number of its own that live as long as one way through the DHT: nobody
//! can follow what a hub looks for. Nobody is answered (BEP 43), and every address is checked before anything is sent there.
//! The last nodes that answered are kept in a file, a line with number and address for each.

mod lookup;
mod message;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::lookup::{Lookup, NEAREST, Node};
use self::message::{ANSWER_BYTES, Id, Ticket};
use crate::address::{self, Guard};
use crate::finding::{Found, News};

pub use self::message::named as dht_answer;

/// Nodes that are asked at once.
const AT_ONCE: usize = 8;
/// How long one way may take.
const WAY: Duration = Duration::from_secs(30);
/// Ways that are gone at once; others wait.
const WAYS: usize = 4;
/// Nodes that are kept for the next way, half of them of IPv4 and half of IPv6.
const KEPT: usize = 256;
/// Kept nodes that a way begins with.
const BEGIN: usize = 16;
/// The longest file of kept nodes that is read, in bytes.
const FILE_BYTES: u64 = 64 << 10;

/// How the DHT is asked.
#[derive(Clone, Debug)]
pub struct DhtOptions {
    /// Nodes to begin with, as `HOST:PORT`, while no other is known.
    pub bootstrap: Vec<String>,
    /// The file in which nodes are kept; none: they are forgotten with the process.
    pub file: Option<PathBuf>,
    /// How long a node may take to answer.
    pub patience: Duration,
}

impl Default for DhtOptions {
    /// The nodes that everybody begins with, and three seconds.
    fn default() -> DhtOptions {
        let well_known = [
            "router.bittorrent.com:6881",
            "dht.transmissionbt.com:6881",
            "dht.libtorrent.org:25401",
            "router.utorrent.com:6881",
        ];
        DhtOptions {
            bootstrap: well_known.map(str::to_owned).to_vec(),
            file: None,
            patience: Duration::from_secs(3),
        }
    }
}

/// What is known of the DHT.
pub(crate) struct Dht {
    options: DhtOptions,
    guard: Guard,
    ways: Arc<Semaphore>,
    /// Those that answered last come first.
    nodes: Mutex<Vec<Node>>,
    /// Held while they are written down: two that write at once would mix their lines.
    keeping: Mutex<()>,
}

/// The turn to search.
pub(crate) struct Turn(
    #[expect(dead_code, reason = "held as long as the search takes")] OwnedSemaphorePermit,
);

impl Dht {
    pub(crate) fn new(options: DhtOptions, guard: Guard) -> Dht {
        let nodes = Mutex::new(options.file.as_ref().map(kept).unwrap_or_default());
        Dht { options, guard, ways: Arc::new(Semaphore::new(WAYS)), nodes, keeping: Mutex::default() }
    }

    /// Waits until it is one's turn. Whoever does not want to wait any more leaves the queue.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        // It is never closed.
        Arc::clone(&self.ways).acquire_owned().await.ok().map(Turn)
    }

    /// Tells the peers of a torrent as they are found, and announces us as one of them if there is a port to connect to. How
    /// many nodes answered.
    pub(crate) async fn peers(&self, _turn: Turn, target: Id, port: Option<u16>, found: &Found) -> usize {
        let v4 = self.go(target, (Ipv4Addr::UNSPECIFIED, 0).into(), port, found);
        let v6 = self.go(target, (Ipv6Addr::UNSPECIFIED, 0).into(), port, found);
        let (v4, v6) = tokio::join!(v4, v6);
        // A machine without one of both is usual.
        let answered = v4.unwrap_or_default() + v6.unwrap_or_default();
        if answered > 0 {
            self.keep();
        }
        answered
    }

    /// Goes one way, from one kind of address.
    async fn go(&self, target: Id, from: SocketAddr, port: Option<u16>, found: &Found) -> io::Result<usize> {
        let mut way = Way {
            socket: UdpSocket::bind(from).await?,
            own: random()?,
            target,
            patience: self.options.patience,
            until: Instant::now() + WAY,
            asked: HashMap::new(),
        };
        let mut lookup = Lookup::new(&self.guard, target, from.is_ipv6());
        let near = beginning(&self.nodes(), from.is_ipv6());
        near.into_iter().for_each(|node| lookup.add(node));
        way.walk(&mut lookup, found).await?;
        if lookup.answered().count() < NEAREST {
            for address in self.first().await {
                lookup.add(Node { id: None, address });
            }
            way.walk(&mut lookup, found).await?;
        }
        if let Some(port) = port {
            way.announce(&lookup, port).await?;
        }
        let answered: Vec<Node> = lookup.answered().map(|(node, _)| node).collect();
        let count = answered.len();
        remember(&mut self.nodes(), answered);
        Ok(count)
    }

    /// The nodes that everybody begins with, as far as they may be asked.
    async fn first(&self) -> Vec<SocketAddr> {
        let looked_up = self.options.bootstrap.iter().map(|node| async move {
            let (host, port) = node.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let found = address::resolve(host, port.parse().ok()?, &self.guard).await;
            found.inspect_err(|problem| tracing::debug!("the node {node} of the DHT: {problem}")).ok()
        });
        futures_util::future::join_all(looked_up).await.into_iter().flatten().flatten().collect()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the nodes down. Without them the next start begins with those that everybody begins with.
    fn keep(&self) {
        let Some(path) = &self.options.file else { return };
        let line = |node: &Node| {
            let id = node.id?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            Some(format!("{id} {}\n", node.address))
        };
        let _alone = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = self.nodes().iter().filter_map(line).collect();
        let new = path.with_extension("new");
        if let Err(error) = fs::write(&new, lines).and_then(|()| fs::rename(&new, path)) {
            tracing::warn!("cannot keep the nodes of the DHT in {}: {error}", path.display());
        }
    }
}

/// The nodes of one kind that a way begins with.
fn beginning(nodes: &[Node], v6: bool) -> Vec<Node> {
    nodes.iter().filter(|node| node.address.is_ipv6() == v6).take(BEGIN).copied().collect()
}

/// Puts the nodes that answered before all others, for which there is less room then. Each kind has its own half, so that the
/// many nodes of IPv4 do not displace those of IPv6.
fn remember(nodes: &mut Vec<Node>, answered: Vec<Node>) {
    nodes.retain(|known| answered.iter().all(|node| node.address != known.address));
    nodes.splice(..0, answered);
    let mut room = [KEPT / 2; 2];
    nodes.retain(|node| {
        let room = &mut room[usize::from(node.address.is_ipv6())];
        let fits = *room > 0;
        *room = room.saturating_sub(1);
        fits
    });
}

/// The nodes in a file; what cannot be read is none.
fn kept(path: &PathBuf) -> Vec<Node> {
    use std::io::Read;
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let node = |line: &str| {
        let (id, address) = line.split_once(' ')?;
        let byte = |at: usize| u8::from_str_radix(id.get(at * 2..at * 2 + 2)?, 16).ok();
        let id: Vec<u8> = (0..20).map(byte).collect::<Option<_>>()?;
        Some(Node { id: Some(id.try_into().ok()?), address: address.parse().ok()? })
    };
    text.lines().filter_map(node).take(KEPT).collect()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Questions under way from one socket.
struct Way {
    socket: UdpSocket,
    own: Id,
    target: Id,
    patience: Duration,
    until: Instant,
    asked: HashMap<Ticket, (Node, Instant)>,
}

impl Way {
    /// Goes on until nobody nearer is known, or the time is over.
    async fn walk(&mut self, lookup: &mut Lookup<'_>, found: &Found) -> io::Result<()> {
        let mut buffer = vec![0; ANSWER_BYTES];
        loop {
            while self.asked.len() < AT_ONCE
                && let Some(node) = lookup.next()
            {
                let ticket = random()?;
                let question = message::get_peers(ticket, &self.own, &self.target);
                if self.socket.send_to(&question, node.address).await.is_ok() {
                    self.asked.insert(ticket, (node, Instant::now() + self.patience));
                } else {
                    lookup.heard(node, None);
                }
            }
            let Some(due) = self.asked.values().map(|(_, due)| *due).min() else { return Ok(()) };
            if Instant::now() >= self.until {
                self.asked.clear();
                return Ok(());
            }
            if let Some((ticket, answer)) = self.answer(&mut buffer, due.min(self.until)).await
                && let Some((node, _)) = self.asked.remove(&ticket)
            {
                let peers = lookup.heard(node, answer);
                if !peers.is_empty() {
                    // Who does not listen any more has found enough.
                    let _ = found.send(News { peers, tracker: None });
                }
            }
            let now = Instant::now();
            let late = |(ticket, (_, due)): (&Ticket, &(Node, Instant))| (*due <= now).then_some(*ticket);
            let late: Vec<Ticket> = self.asked.iter().filter_map(late).collect();
            for ticket in late {
                if let Some((node, _)) = self.asked.remove(&ticket) {
                    lookup.heard(node, None);
                }
            }
        }
    }

    /// The next packet, if it is an answer of a node that was asked, to the question that it was asked.
    async fn answer(&self, buffer: &mut [u8], due: Instant) -> Option<(Ticket, Option<message::Answer>)> {
        let received = tokio::time::timeout_at(due, self.socket.recv_from(buffer)).await.ok()?;
        // An error is told of some packet that was sent before: its node will be late.
        let (length, from) = received.ok()?;
        let v6 = from.is_ipv6();
        let (ticket, answer) = message::read(buffer.get(..length)?, v6)?;
        let (node, _) = self.asked.get(&ticket)?;
        let same = (node.address.ip(), node.address.port()) == (from.ip(), from.port());
        same.then_some((ticket, answer))
    }

    /// Tells the nearest nodes that we are a peer.
    async fn announce(&mut self, lookup: &Lookup<'_>, port: u16) -> io::Result<()> {
        for (node, token) in lookup.answered().take(NEAREST) {
            let Some(token) = token else { continue };
            let ticket = random()?;
            let said = message::announce(ticket, &self.own, &self.target, port, token);
            // A node that does not hear it is one of eight.
            let _ = self.socket.send_to(&said, node.address).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_kind_do_not_displace_those_of_the_other() {
        let v4 = |n: u16| Node { id: Some([4; 20]), address: (Ipv4Addr::from_bits(n.into()), 1).into() };
        let v6 = |n: u16| Node { id: Some([6; 20]), address: (Ipv6Addr::from_bits(n.into()), 1).into() };
        let mut nodes = Vec::new();
        remember(&mut nodes, (0..20).map(v6).collect());
        remember(&mut nodes, (0..192).map(v4).collect());
        remember(&mut nodes, (100..292).map(v4).collect());
        assert_eq!((nodes.len(), nodes[0]), (KEPT / 2 + 20, v4(100)));
        assert_eq!(beginning(&nodes, true), (0..16).map(v6).collect::<Vec<_>>());
        assert_eq!(beginning(&nodes, false), (100..116).map(v4).collect::<Vec<_>>());
    }
}
