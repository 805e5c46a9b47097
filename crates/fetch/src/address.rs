//! Which addresses are anybody's: a guard against requests that this machine is tricked into sending (SSRF).
//!
//! Whoever names a host must not reach what only this machine can reach. So its name is looked up here, every address that
//! it has must be public, and the connection goes to one of these addresses and to no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why nothing is sent to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// Its name has no address.
    #[error("its name has no address")]
    Unknown,
    /// One of its addresses is not public.
    #[error("it leads to a private address, which operators must allow")]
    Private,
}

/// Where may be connected to besides public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// To all private addresses, and to this machine.
    pub private: bool,
    /// To these.
    pub open: Vec<SocketAddr>,
}

impl Guard {
    /// Whether may be connected there.
    pub fn lets(&self, address: SocketAddr) -> bool {
        self.private || is_public(address.ip()) || self.open.contains(&address)
    }
}

/// The addresses of a host now. One that is not allowed spoils them all: its name is not meant for the public.
///
/// # Errors
/// [`NoWay::Unknown`] and [`NoWay::Private`].
pub async fn resolve(host: &str, port: u16, guard: &Guard) -> Result<Vec<SocketAddr>, NoWay> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found.map_err(|_| NoWay::Unknown)?.collect();
    if found.is_empty() {
        return Err(NoWay::Unknown);
    }
    if !found.iter().all(|address| guard.lets(*address)) {
        return Err(NoWay::Private);
    }
    Ok(found)
}

/// What stands for all addresses of whoever has this one: a public IPv4 address, or the network of an IPv6 one, in which
/// everybody has 2^64 addresses. Others, which operators allowed one by one, stand for themselves.
pub(crate) fn party(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !is_public(ip) => address,
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), 0),
        IpAddr::V6(v6) => SocketAddr::new(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(), 0),
    }
}

/// The same address in its own form: IPv4 in IPv6 is IPv4, as whoever connects to a socket of both kinds is not.
pub(crate) fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// Whether an address is anybody's: not this machine, its network, several at once, or reserved (IANA special-purpose
/// registries of IPv4 and IPv6, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private, loopback, link-local, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224.., ..) | (169, 254, _) | (192, 168, _) => true,
        (172, 16..=31, _) => true,
        // Shared between customers of a provider (RFC 6598).
        (100, 64..=127, _) => true,
        // Protocol assignments, documentation, the relay of 6to4, benchmarks.
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (198, 18..=19, _) => true,
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // IPv4 in IPv6: mapped, and translated by NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 (RFC 3056) leads to the IPv4 address in it.
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        // Only this eighth of all addresses was given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_a_hub_can_reach_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.9.9",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_party_is_known_at_all_its_addresses() {
        let party = |text: &str| party(canonical(text.parse().unwrap()));
        assert_eq!(party("1.2.3.4:5"), party("[::ffff:1.2.3.4]:6"));
        assert_ne!(party("1.2.3.4:5"), party("1.2.3.5:5"));
        assert_eq!(party("[2606:4700::1]:5"), party("[2606:4700::ffff:1]:6"));
        assert_ne!(party("[2606:4700::1]:5"), party("[2606:4700:0:1::1]:5"));
        assert_ne!(party("127.0.0.1:5"), party("127.0.0.1:6"), "one that was allowed");
    }

    #[tokio::test]
    async fn names_are_checked_when_they_are_looked_up() {
        // Forms of addresses that only the look-up understands, and a name that every machine knows.
        for host in ["localhost", "127.1", "0x7f.1", "2130706433"] {
            let found = resolve(host, 443, &Guard::default()).await;
            assert!(found.is_err(), "{host}: {found:?}");
        }
        assert!(resolve("localhost", 80, &Guard { private: true, open: Vec::new() }).await.is_ok());
        let guard = Guard { private: false, open: vec!["127.0.0.1:80".parse().unwrap()] };
        assert!(resolve("127.0.0.1", 80, &guard).await.is_ok());
        assert_eq!(resolve("127.0.0.1", 81, &guard).await, Err(NoWay::Private));
    }
}
