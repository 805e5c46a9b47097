//! Where webhooks may lead: a guard against requests that a hub is tricked into sending (SSRF).
//!
//! Which addresses are anybody's, `pumasi_fetch::address` says, as for what the hub fetches.

use std::net::SocketAddr;

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use pumasi_core::Failure;
use pumasi_fetch::address::{self, Guard, NoWay};

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
        let is_private = host.parse().is_ok_and(|address| !address::is_public(address));
        if is_private && !allowed.private {
            return Err(BadTarget("it leads to a private address, which operators must allow"));
        }
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Ok(Target { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Its addresses now. One that is private spoils them all: its name is not meant for the public.
    pub(crate) async fn addresses(&self, allowed: Allowed) -> Result<Vec<SocketAddr>, Failure> {
        let guard = Guard { private: allowed.private, open: Vec::new() };
        let found = address::resolve(&self.host, self.port, &guard).await;
        found.map_err(|no_way| match no_way {
            NoWay::Unknown => Failure::NoAddress,
            NoWay::Private => Failure::Forbidden,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Allowed = Allowed { private: false, plain: false };

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
