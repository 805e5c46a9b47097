//! Messages of the DHT (BEP 5): questions are written, answers are read; addresses of both lengths (BEP 32).

use std::net::SocketAddr;

use crate::bencode::Value;
use crate::tracker::{compact_v4, compact_v6};

/// The number of a node, or of what is looked for: both lie in one space.
pub(super) type Id = [u8; 20];
/// What makes an answer the one to a question.
pub(super) type Ticket = [u8; 4];

/// The longest answer that is read, in bytes; it comes in one packet.
pub(super) const ANSWER_BYTES: usize = 4 << 10;
/// Nodes that are taken from one answer: a good one has eight.
const NODES: usize = 16;
/// Peers that are taken from one answer.
const PEERS: usize = 100;
/// The longest token that is given back, in bytes.
const TOKEN_BYTES: usize = 64;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: Id,
    /// Nodes that are nearer to what was asked for.
    pub(super) nodes: Vec<(Id, SocketAddr)>,
    pub(super) peers: Vec<SocketAddr>,
    /// What it wants to see again when something is announced.
    pub(super) token: Option<Vec<u8>>,
}

/// Asks for peers, or for nodes that may know some. We answer nobody, and say so (BEP 43).
pub(super) fn get_peers(ticket: Ticket, own: &Id, target: &Id) -> Vec<u8> {
    let arguments = [&b"d2:id20:"[..], own, b"9:info_hash20:", target, b"e"].concat();
    question(ticket, "get_peers", &arguments)
}

/// Says that peers find us at a port.
pub(super) fn announce(ticket: Ticket, own: &Id, target: &Id, port: u16, token: &[u8]) -> Vec<u8> {
    let behind = format!("4:porti{port}e5:token{}:", token.len());
    let arguments =
        [&b"d2:id20:"[..], own, b"12:implied_porti0e9:info_hash20:", target, behind.as_bytes(), token, b"e"];
    question(ticket, "announce_peer", &arguments.concat())
}

fn question(ticket: Ticket, name: &str, arguments: &[u8]) -> Vec<u8> {
    let name = format!("1:q{}:{name}", name.len());
    [&b"d1:a"[..], arguments, name.as_bytes(), b"2:roi1e1:t4:", &ticket, b"1:y1:qe"].concat()
}

/// Reads an answer to a question over IPv4, or over IPv6 if `v6`; which question it is to. No answer in it: the node cannot
/// answer. Questions to us, and what makes no sense, are nothing.
pub(super) fn read(bytes: &[u8], v6: bool) -> Option<(Ticket, Option<Answer>)> {
    let value = Value::read(bytes)?;
    let ticket = value.get("t")?.bytes()?.try_into().ok()?;
    match value.get("y")?.bytes()? {
        b"e" => Some((ticket, None)),
        b"r" => Some((ticket, answer(value.get("r")?, v6))),
        _ => None,
    }
}

fn answer(value: &Value<'_>, v6: bool) -> Option<Answer> {
    let id = value.get("id")?.bytes()?.try_into().ok()?;
    let (key, size) = if v6 { ("nodes6", 18) } else { ("nodes", 6) };
    let address = |bytes: &[u8]| {
        let found = if v6 { compact_v6(bytes) } else { compact_v4(bytes) };
        found.first().copied().filter(|_| bytes.len() == size)
    };
    let nodes = value.get(key).and_then(Value::bytes).unwrap_or_default();
    let node = |bytes: &[u8]| {
        let (id, place) = bytes.split_first_chunk::<20>()?;
        Some((*id, address(place)?))
    };
    let values = value.get("values").and_then(Value::list).unwrap_or_default();
    let token = value.get("token").and_then(Value::bytes).filter(|token| token.len() <= TOKEN_BYTES);
    Some(Answer {
        id,
        nodes: nodes.chunks(20 + size).take(NODES).filter_map(node).collect(),
        peers: values.iter().take(PEERS).filter_map(|peer| address(peer.bytes()?)).collect(),
        token: token.map(<[u8]>::to_vec),
    })
}

/// What an answer of a node names, over IPv4 and over IPv6: for tests of how it is read.
pub fn named(bytes: &[u8]) -> Vec<SocketAddr> {
    let answers = [false, true].map(|v6| read(bytes, v6).and_then(|(_, answer)| answer));
    let named = |answer: Answer| {
        let nodes = answer.nodes.into_iter().map(|(_, address)| address);
        nodes.chain(answer.peers).collect::<Vec<_>>()
    };
    answers.into_iter().flatten().flat_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_bencoded_with_sorted_keys() {
        let asked = get_peers(*b"tttt", b"iiiiiiiiiiiiiiiiiiii", b"hhhhhhhhhhhhhhhhhhhh");
        let expected = "d1:ad2:id20:iiiiiiiiiiiiiiiiiiii9:info_hash20:hhhhhhhhhhhhhhhhhhhhe1:q9:get_peers2:roi1e1:t4:tttt1:y1:qe";
        assert_eq!(String::from_utf8_lossy(&asked), expected);
        let said = announce(*b"tttt", b"iiiiiiiiiiiiiiiiiiii", b"hhhhhhhhhhhhhhhhhhhh", 6881, b"tok");
        let value = Value::read(&said).unwrap();
        let arguments = value.get("a").unwrap();
        assert_eq!(arguments.get("port").and_then(Value::int), Some(6881));
        assert_eq!(arguments.get("token").and_then(Value::bytes), Some(&b"tok"[..]));
        assert_eq!(value.get("ro").and_then(Value::int), Some(1));
    }

    #[test]
    fn answers_are_read_as_far_as_they_make_sense() {
        let node = [&[7; 20][..], &[1, 2, 3, 4, 0x1a, 0xe1]].concat();
        let nodes = [format!("5:nodes{}:", 26 * 40).as_bytes(), &node.repeat(40)].concat();
        let whole = [
            &b"d1:rd2:id20:iiiiiiiiiiiiiiiiiiii"[..],
            &nodes,
            b"5:token3:tok6:valuesl6:\x05\x06\x07\x08\x00\x505:short18:aaaaaaaaaaaaaaaaaai9eee1:t4:tttt1:y1:re",
        ];
        let (ticket, answer) = read(&whole.concat(), false).unwrap();
        let answer = answer.unwrap();
        assert_eq!((ticket, answer.id, answer.token.as_deref()), (*b"tttt", [b'i'; 20], Some(&b"tok"[..])));
        assert_eq!(answer.nodes, vec![([7; 20], "1.2.3.4:6881".parse().unwrap()); NODES], "and no more");
        assert_eq!(answer.peers, ["5.6.7.8:80".parse().unwrap()], "those of its kind");
        assert_eq!(read(b"d1:eli201e5:Errore1:t4:tttt1:y1:ee", false), Some((*b"tttt", None)));
        for bad in [
            &b"d1:rde1:t4:tttt1:y1:r"[..],
            b"d1:rd2:id20:iiiiiiiiiiiiiiiiiiiie1:t5:ttttt1:y1:re",
            b"d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t4:tttt1:y1:qe",
            b"d1:t4:tttte",
            b"",
        ] {
            assert_eq!(read(bad, false), None, "{}", String::from_utf8_lossy(bad));
        }
        // Without a number that is one it is no answer.
        assert_eq!(read(b"d1:rd2:id3:iiie1:t4:tttt1:y1:re", false), Some((*b"tttt", None)));
    }
}
