//! Where webhooks may lead: a guard against requests that a hub is tricked into sending (SSRF).
//!
//! Whoever names a URL must not reach what only the hub can reach. So its name is looked up here, every address that it
//! has must be public, and the connection goes to one of these addresses and to no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use pumasi_core::Failure;

/// What operators allow besides HTTPS to public addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Private addresses, and this machine.
    pub(crate) private: bool,
    /// Without TLS.
    pub(crate) plain: bool,
}

/// A place that events can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they stand in the URL.
    pub(crate) authority: String,
    pub(crate) path: PathAndQuery,
}

/// A URL to which the hub sends nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url: {0}")]
pub(crate) struct BadTarget(&'static str);

impl Target {
    /// Reads a URL. An address in it is checked at once, names when they are looked up.
    pub(crate) fn parse(url: &str, allowed: Allowed) -> Result<Target, BadTarget> {
        let uri: Uri = url.parse().map_err(|_| BadTarget("it must look like https://HOST/PATH"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP && allowed.plain => false,
            _ => return Err(BadTarget("it must begin with https://, unless operators allow http://")),
        };
        let authority = uri.authority().ok_or(BadTarget("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(BadTarget("it must not have a user or a password: its secret proves who sends"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let has_port = authority.as_str() != authority.host();
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port => {
                if tls {
                    443
                } else {
                    80
                }
            }
            _ => return Err(BadTarget("its port is none")),
        };
        if host.is_empty() {
            return Err(BadTarget("it has no host"));
        }
        let is_private = host.parse().is_ok_and(|address| !is_public(address));
        if is_private && !allowed.private {
            return Err(BadTarget("it leads to a private address, which operators must allow"));
        }
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Ok(Target { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Its addresses now. One that is private spoils them all: its name is not meant for the public.
    pub(crate) async fn addresses(&self, allowed: Allowed) -> Result<Vec<SocketAddr>, Failure> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|_| Failure::NoAddress)?.collect();
        if found.is_empty() {
            return Err(Failure::NoAddress);
        }
        if !allowed.private && found.iter().any(|address| !is_public(address.ip())) {
            return Err(Failure::Forbidden);
        }
        Ok(found)
    }
}

/// Whether an address is anybody's: not this machine, its network, several at once, or reserved (IANA special-purpose
/// registries of IPv4 and IPv6, RFC 6890).
fn is_public(address: IpAddr) -> bool {
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

    const NOTHING: Allowed = Allowed { private: false, plain: false };

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
    fn urls_lead_only_where_they_may() {
        let good = Target::parse("https://shop.example/hooks?a=1", NOTHING).unwrap();
        assert_eq!((good.host.as_str(), good.port, good.path.as_str()), ("shop.example", 443, "/hooks?a=1"));
        let good = Target::parse("https://[2606:4700::1111]:8443", NOTHING).unwrap();
        assert_eq!((good.host.as_str(), good.port, good.path.as_str()), ("2606:4700::1111", 8443, "/"));
        for bad in [
            "http://shop.example/",
            "ftp://shop.example/",
            "file:///etc/passwd",
            "https://",
            "https:///path",
            "https://user:word@shop.example/",
            "https://shop.example:0/",
            "https://shop.example:99999/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/latest/meta-data",
            "shop.example",
            "/hooks",
            "https://[::ffff:10.0.0.1]/",
            "https://shop.example:/",
        ] {
            assert!(Target::parse(bad, NOTHING).is_err(), "{bad}");
        }
        let all = Allowed { private: true, plain: true };
        assert!(Target::parse("http://127.0.0.1:8080/", all).is_ok());
        assert!(Target::parse("http://10.0.0.1/", Allowed { private: false, plain: true }).is_err());
        assert!(Target::parse("http://shop.example/", Allowed { private: true, plain: false }).is_err());
    }

    #[tokio::test]
    async fn names_are_checked_when_they_are_looked_up() {
        // Forms of addresses that only the look-up understands, and a name that every machine knows.
        for host in ["localhost", "127.1", "0x7f.1", "2130706433"] {
            let target = Target::parse(&format!("https://{host}/"), NOTHING).unwrap();
            let found = target.addresses(NOTHING).await;
            assert!(matches!(found, Err(Failure::Forbidden | Failure::NoAddress)), "{host}: {found:?}");
        }
        let target = Target::parse("http://localhost:80/", Allowed { private: true, plain: true }).unwrap();
        assert!(target.addresses(Allowed { private: true, plain: true }).await.is_ok());
    }
}
