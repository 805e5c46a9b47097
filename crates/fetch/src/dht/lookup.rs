//! One way through the DHT (BEP 5): from the nodes that are known to those nearest to what is looked for.
//!
//! Nearness is the XOR of two numbers. Of one network only one node is asked: whoever has many addresses would otherwise
//! surround what is looked for.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::message::{Answer, Id};
use crate::address::{Guard, is_public};

/// Nodes that are nearest: what they do not know nobody knows.
pub(super) const NEAREST: usize = 8;
/// Nodes that are remembered during one way, the nearest ones.
const CANDIDATES: usize = 256;
/// Nodes that are asked on one way.
const ASKED: usize = 192;
/// Peers after which is not looked any further.
const PEERS: usize = 400;

/// A node, with its number if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: Option<Id>,
    pub(super) address: SocketAddr,
}

#[derive(Clone, Debug)]
enum State {
    New,
    Asked,
    Answered(Option<Vec<u8>>),
    Failed,
}

struct Candidate {
    address: SocketAddr,
    state: State,
}

/// A way, and how far it has come.
pub(super) struct Lookup<'a> {
    guard: &'a Guard,
    target: Id,
    v6: bool,
    /// Nodes to begin with, whose numbers are not known.
    first: VecDeque<SocketAddr>,
    /// By how far they are.
    candidates: BTreeMap<Id, Candidate>,
    seen: HashSet<SocketAddr>,
    networks: HashSet<IpAddr>,
    asked: usize,
    peers: HashSet<SocketAddr>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(guard: &'a Guard, target: Id, v6: bool) -> Lookup<'a> {
        Lookup {
            guard,
            target,
            v6,
            first: VecDeque::new(),
            candidates: BTreeMap::new(),
            seen: HashSet::new(),
            networks: HashSet::new(),
            asked: 0,
            peers: HashSet::new(),
        }
    }

    /// A node that may be asked, if it may.
    pub(super) fn add(&mut self, node: Node) {
        let Node { id, address } = node;
        // IPv4 in IPv6 belongs to the other half of the DHT.
        let fits = address.is_ipv6() == self.v6 && address.ip().to_canonical() == address.ip();
        if !fits || address.port() == 0 || !self.guard.lets(address) || !self.seen.insert(address) {
            return;
        }
        if is_public(address.ip()) && !self.networks.insert(network(address.ip())) {
            return;
        }
        let Some(id) = id else { return self.first.push_back(address) };
        self.candidates
            .entry(distance(&id, &self.target))
            .or_insert(Candidate { address, state: State::New });
        if self.candidates.len() > CANDIDATES {
            self.candidates.pop_last();
        }
    }

    /// Whom to ask next: the nearest that was not asked, as long as it would be among the nearest that answer.
    pub(super) fn next(&mut self) -> Option<Node> {
        if self.asked >= ASKED || self.peers.len() >= PEERS {
            return None;
        }
        if let Some(address) = self.first.pop_front() {
            self.asked += 1;
            return Some(Node { id: None, address });
        }
        let standing = |candidate: &&mut Candidate| !matches!(candidate.state, State::Failed);
        let target = self.target;
        let near = self.candidates.iter_mut();
        let mut near = near.filter(|(_, candidate)| standing(candidate)).take(NEAREST);
        let (far, candidate) = near.find(|(_, candidate)| matches!(candidate.state, State::New))?;
        candidate.state = State::Asked;
        self.asked += 1;
        Some(Node { id: Some(distance(far, &target)), address: candidate.address })
    }

    /// What a node that was asked answered, or that it did not; the peers that are new.
    pub(super) fn heard(&mut self, from: Node, answer: Option<Answer>) -> Vec<SocketAddr> {
        // Whoever has another number now is somebody else.
        let answer = answer.filter(|answer| from.id.is_none_or(|id| id == answer.id));
        let Some(Answer { id, nodes, peers, token }) = answer else {
            let known = from.id.and_then(|id| self.candidates.get_mut(&distance(&id, &self.target)));
            known.into_iter().for_each(|candidate| candidate.state = State::Failed);
            return Vec::new();
        };
        let fresh = || Candidate { address: from.address, state: State::New };
        let known = self.candidates.entry(distance(&id, &self.target)).or_insert_with(fresh);
        // A number that somebody else has already is not worth an answer.
        if known.address == from.address {
            known.state = State::Answered(token);
        }
        nodes.into_iter().for_each(|(id, address)| self.add(Node { id: Some(id), address }));
        let may = |peer: &SocketAddr| peer.port() != 0 && self.guard.lets(*peer);
        let fresh: Vec<_> = peers.into_iter().filter(may).collect();
        fresh.into_iter().filter(|peer| self.peers.insert(*peer)).collect()
    }

    /// The nodes that answered, the nearest first, with their tokens.
    pub(super) fn answered(&self) -> impl Iterator<Item = (Node, Option<&[u8]>)> {
        self.candidates.iter().filter_map(|(far, candidate)| match &candidate.state {
            State::Answered(token) => {
                let node = Node { id: Some(distance(far, &self.target)), address: candidate.address };
                Some((node, token.as_deref()))
            }
            _ => None,
        })
    }
}

/// How far two numbers are; and what lies so far from a number.
fn distance(left: &Id, right: &Id) -> Id {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// The network of an address: what one party usually has.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !0xff).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8) -> Id {
        let mut id = [0; 20];
        id[0] = first;
        id
    }

    fn node(first: u8, address: &str) -> Node {
        Node { id: Some(id(first)), address: address.parse().unwrap() }
    }

    #[test]
    fn the_nearest_are_asked_until_none_is_nearer() {
        let guard = Guard::default();
        let mut lookup = Lookup::new(&guard, id(0), false);
        lookup.add(node(0x40, "1.0.4.1:1"));
        lookup.add(node(0x20, "1.0.2.1:1"));
        let first = lookup.next().unwrap();
        assert_eq!(first, node(0x20, "1.0.2.1:1"));
        let near = |n: u8| (id(n), SocketAddr::from(([2, 0, n, 1], 1)));
        let answer = Answer {
            id: id(0x20),
            nodes: (1..=8).map(near).collect(),
            peers: vec!["9.9.9.9:9".parse().unwrap(), "10.0.0.1:9".parse().unwrap()],
            token: Some(b"t".to_vec()),
        };
        assert_eq!(lookup.heard(first, Some(answer)), ["9.9.9.9:9".parse().unwrap()], "none inside");
        let mut asked = Vec::new();
        while let Some(next) = lookup.next() {
            asked.push(next.id.unwrap()[0]);
            let token = None;
            let known = Answer { id: next.id.unwrap(), nodes: Vec::new(), peers: Vec::new(), token };
            lookup.heard(next, Some(known));
        }
        assert_eq!(asked, [1, 2, 3, 4, 5, 6, 7, 8], "those behind the nearest eight are not asked");
        assert_eq!(lookup.answered().count(), 9);
    }

    #[test]
    fn nobody_leads_inside_astray_or_on_for_ever() {
        let guard = Guard::default();
        let mut lookup = Lookup::new(&guard, id(0), false);
        for bad in ["127.0.0.1:1", "10.0.0.1:1", "1.0.0.1:0", "[2606:4700::1]:1", "[::ffff:1.0.0.1]:1"] {
            lookup.add(node(1, bad));
        }
        assert_eq!(lookup.next(), None);
        lookup.add(node(1, "1.0.0.1:1"));
        lookup.add(node(2, "1.0.0.2:1"));
        assert_eq!(lookup.next(), Some(node(1, "1.0.0.1:1")));
        assert_eq!(lookup.next(), None, "one of each network");
        // Somebody else under this number: it failed.
        let other = Answer {
            id: id(9),
            nodes: vec![(id(3), "1.3.3.3:3".parse().unwrap())],
            peers: Vec::new(),
            token: None,
        };
        assert!(lookup.heard(node(1, "1.0.0.1:1"), Some(other)).is_empty());
        assert_eq!((lookup.next(), lookup.answered().count()), (None, 0));

        let mut endless = Lookup::new(&guard, id(0), false);
        endless.add(node(0xff, "1.0.0.1:1"));
        let (mut asked, mut n) = (0, 0xff_ff_ff_u32);
        while let Some(next) = endless.next() {
            asked += 1;
            let closer = |step: u32| {
                let [_, a, b, c] = (n - step).to_be_bytes();
                let mut id = [0; 20];
                id[1..4].copy_from_slice(&[a, b, c]);
                (id, SocketAddr::from(([2, b, c, 1], 1)))
            };
            let nodes = (1..=16).map(closer).collect();
            n -= 16;
            endless.heard(next, Some(Answer { id: next.id.unwrap(), nodes, peers: Vec::new(), token: None }));
        }
        assert_eq!(asked, ASKED);
    }
}
