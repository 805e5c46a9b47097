//! URLs that something is fetched from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::address::Guard;
use crate::name::name_of;

/// The longest URL, in bytes.
const URL_BYTES: usize = 4_096;

/// A URL that something may be fetched from, as far as it can be said before its name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Url);

/// A URL that nothing is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL with a host.
    #[error("it must look like https://HOST/PATH")]
    Form,
    /// Another scheme than `http`, `https` and `ftp`, or one that does not belong there.
    #[error("only http://, https:// and ftp:// are fetched, and ftp:// only where it is named itself")]
    Scheme,
    /// It holds a user or a password.
    #[error("it must not hold a user or a password: the hub would keep them")]
    Secret,
    /// It leads to this machine or its network.
    #[error("it leads to a private address, which operators must allow")]
    Private,
    /// It leads from HTTPS to plain HTTP, where anybody on the way can change the bytes.
    #[error("it leads from https:// to http://; give the file's SHA-256 if that is what you want")]
    Downgrade,
}

impl Place {
    /// Reads a URL; an address in it must be one that the guard lets. What stands behind `#` is left out.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn parse(text: &str, guard: &Guard) -> Result<Place, BadUrl> {
        if text.len() > URL_BYTES {
            return Err(BadUrl::Form);
        }
        Place::check(Url::parse(text).map_err(|_| BadUrl::Form)?, guard)
    }

    /// What a file from here is called as long as no server says more.
    pub fn file_name(&self) -> String {
        name_of(&HeaderMap::new(), self)
    }

    /// Where a redirect from here leads. From HTTPS to plain HTTP only if `downgrade`.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub(crate) fn redirected(&self, to: &str, guard: &Guard, downgrade: bool) -> Result<Place, BadUrl> {
        let next = self.0.join(to).map_err(|_| BadUrl::Form)?;
        if next.as_str().len() > URL_BYTES {
            return Err(BadUrl::Form);
        }
        let next = Place::check(next, guard)?;
        if next.is_ftp() {
            return Err(BadUrl::Scheme);
        }
        if self.is_tls() && !next.is_tls() && !downgrade {
            return Err(BadUrl::Downgrade);
        }
        Ok(next)
    }

    fn check(mut url: Url, guard: &Guard) -> Result<Place, BadUrl> {
        if !matches!(url.scheme(), "http" | "https" | "ftp") {
            return Err(BadUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Secret);
        }
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(Host::Domain(name)) if !name.is_empty() => None,
            _ => return Err(BadUrl::Form),
        };
        if url.port() == Some(0) {
            return Err(BadUrl::Form);
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if address.is_some_and(|address| !guard.lets(SocketAddr::new(address, port))) {
            return Err(BadUrl::Private);
        }
        url.set_fragment(None);
        if url.scheme() == "ftp" {
            return Place::check_ftp(url);
        }
        Ok(Place(url))
    }

    /// A file of an FTP server: its path becomes part of a line there.
    fn check_ftp(mut url: Url) -> Result<Place, BadUrl> {
        // How it is transferred is not for the URL to say (RFC 1738, 3.2.2).
        if let Some((path, kind)) = url.path().rsplit_once(';')
            && kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("type="))
        {
            let path = path.to_owned();
            url.set_path(&path);
        }
        let place = Place(url);
        let path = place.ftp_path();
        // The end of a line, the end of a text, and what Telnet takes for a command.
        let breaks = path.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0 | 0xff));
        let is_file = !path.is_empty() && !path.ends_with(b"/") && place.query().is_none();
        if is_file && !breaks { Ok(place) } else { Err(BadUrl::Form) }
    }

    pub(crate) fn is_ftp(&self) -> bool {
        self.0.scheme() == "ftp"
    }

    /// Its path as an FTP server sees it, from the folder in which everybody begins.
    pub(crate) fn ftp_path(&self) -> Vec<u8> {
        let path = self.0.path();
        percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Its name, or its address without brackets.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Host and port as they stand in a request.
    pub(crate) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Path and query.
    pub(crate) fn target(&self) -> String {
        let query = self.0.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", self.0.path())
    }

    /// The last name in its path, as it stands there.
    pub(crate) fn last_name(&self) -> Option<&str> {
        self.0.path_segments()?.next_back().filter(|name| !name.is_empty())
    }

    /// The same with this query instead of its own, which the caller has encoded.
    pub fn with_query(&self, query: &str) -> Place {
        let mut url = self.0.clone();
        url.set_query(Some(query));
        Place(url)
    }

    /// Its query, as it stands there.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_only_where_they_may() {
        let good = Place::parse("https://files.example/a%20b/c.iso?x=1#part", &Guard::default()).unwrap();
        assert_eq!((good.host().as_str(), good.port()), ("files.example", 443));
        assert_eq!((good.target().as_str(), good.last_name()), ("/a%20b/c.iso?x=1", Some("c.iso")));
        let good = Place::parse("ftp://files.example/pub/a%20b.iso;type=I", &Guard::default()).unwrap();
        assert_eq!((good.port(), good.ftp_path().as_slice()), (21, &b"pub/a b.iso"[..]));
        let good = Place::parse("http://[2606:4700::1111]:8080", &Guard::default()).unwrap();
        assert_eq!((good.host().as_str(), good.port()), ("2606:4700::1111", 8080));
        assert_eq!((good.authority().as_str(), good.target().as_str()), ("[2606:4700::1111]:8080", "/"));
        for (bad, why) in [
            ("ftp://files.example/", BadUrl::Form),
            ("ftp://files.example/folder/", BadUrl::Form),
            ("ftp://files.example/a%0d%0aDELE%20b", BadUrl::Form),
            ("ftp://files.example/a%00", BadUrl::Form),
            ("ftp://files.example/a?b", BadUrl::Form),
            ("ftp://user:word@files.example/a", BadUrl::Secret),
            ("ftp://127.0.0.1/a", BadUrl::Private),
            ("file:///etc/passwd", BadUrl::Scheme),
            ("gopher://files.example/", BadUrl::Scheme),
            ("https://", BadUrl::Form),
            ("files.example", BadUrl::Form),
            ("https://user:word@files.example/", BadUrl::Secret),
            ("https://files.example:0/", BadUrl::Form),
            ("http://127.0.0.1/", BadUrl::Private),
            // Forms that mean the same to whoever connects.
            ("http://127.1/", BadUrl::Private),
            ("http://0x7f.0.0.1/", BadUrl::Private),
            ("http://2130706433/", BadUrl::Private),
            ("http://017700000001/", BadUrl::Private),
            ("http://%31%32%37.0.0.1/", BadUrl::Private),
            ("http://①②⑦.⓪.⓪.①/", BadUrl::Private),
            ("http://[::1]/", BadUrl::Private),
            ("http://[::ffff:10.0.0.1]/", BadUrl::Private),
            ("http://169.254.169.254/latest/meta-data", BadUrl::Private),
            ("http:\\\\10.0.0.1\\", BadUrl::Private),
        ] {
            assert_eq!(Place::parse(bad, &Guard::default()), Err(why), "{bad}");
        }
        assert!(Place::parse("http://127.0.0.1:8080/", &Guard { private: true, open: Vec::new() }).is_ok());
        assert!(
            Place::parse(&format!("https://files.example/{}", "a".repeat(5_000)), &Guard::default()).is_err()
        );
    }

    #[test]
    fn redirects_are_checked_like_urls() {
        let from = Place::parse("https://files.example/a/b", &Guard::default()).unwrap();
        let to = |text: &str, downgrade| {
            from.redirected(text, &Guard::default(), downgrade).map(|to| to.to_string())
        };
        assert_eq!(to("c", false).unwrap(), "https://files.example/a/c");
        assert_eq!(to("/c?d", false).unwrap(), "https://files.example/c?d");
        assert_eq!(to("//mirror.example/c", false).unwrap(), "https://mirror.example/c");
        assert_eq!(to("http://mirror.example/c", false), Err(BadUrl::Downgrade));
        assert_eq!(to("http://mirror.example/c", true).unwrap(), "http://mirror.example/c");
        assert_eq!(to("http://10.0.0.1/", true), Err(BadUrl::Private));
        assert_eq!(to("//[fd00::1]/", false), Err(BadUrl::Private));
        assert_eq!(to("file:///etc/passwd", false), Err(BadUrl::Scheme));
        assert_eq!(to("ftp://mirror.example/c", true), Err(BadUrl::Scheme));
        assert_eq!(to("https://a:b@mirror.example/", false), Err(BadUrl::Secret));
    }
}
