//! What the head of an answer says about version, piece and patience.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, RETRY_AFTER};

/// How much younger an answer must be than its content, so that the content's time names one version of it (RFC 9110,
/// 8.8.2.2, with room for clocks that differ).
const SETTLED: Duration = Duration::from_secs(60);

/// Whether an entity tag promises the same bytes, and not only something alike (RFC 9110, 8.8.3).
pub fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|tag| tag.bytes().all(|byte| byte > b' ' && byte != b'"' && byte != 0x7f))
}

/// The entity tag, if it is strong.
pub(crate) fn strong_etag(headers: &HeaderMap) -> Option<String> {
    text(headers, ETAG).filter(|etag| etag.len() <= 1_024 && is_strong(etag)).map(str::to_owned)
}

/// When the content changed, if that names one version of it.
pub(crate) fn strong_date(headers: &HeaderMap) -> Option<String> {
    let (said, at) = (text(headers, LAST_MODIFIED)?, date(headers, DATE)?);
    let changed = httpdate::parse_http_date(said).ok()?;
    (at.duration_since(changed).ok()? >= SETTLED).then(|| said.to_owned())
}

/// When the content changed, as far as its server knows; seconds since 1970.
pub(crate) fn changed_s(headers: &HeaderMap) -> Option<u64> {
    let changed = date(headers, LAST_MODIFIED)?;
    Some(changed.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// How long the server wants to be left alone (RFC 9110, 10.2.3), in seconds.
pub(crate) fn wait_s(headers: &HeaderMap) -> Option<u64> {
    let said = text(headers, RETRY_AFTER)?.trim();
    said.parse().ok().or_else(|| {
        let until = httpdate::parse_http_date(said).ok()?;
        Some(until.duration_since(SystemTime::now()).unwrap_or_default().as_secs())
    })
}

/// A piece of a body: from its first byte to the one behind its last, of so many in all, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) total: Option<u64>,
}

/// Which piece is sent (RFC 9110, 14.4); `None` when that is not said, or makes no sense.
pub(crate) fn piece(headers: &HeaderMap) -> Option<Piece> {
    let (range, total) = text(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: Option<u64> = if total == "*" { None } else { Some(total.parse().ok()?) };
    let end = last.checked_add(1)?;
    (first < end && total.is_none_or(|total| end <= total)).then_some(Piece { first, end, total })
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_promises_the_same_bytes_is_strong() {
        assert!(is_strong("\"abc\"") && is_strong("\"\""));
        for weak in ["W/\"abc\"", "abc", "\"a\"b\"", "\"", "", "\"a b\""] {
            assert!(!is_strong(weak), "{weak}");
        }
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = "Sun, 06 Nov 1994 08:50:30 GMT";
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(strong_date(&with(&[(LAST_MODIFIED, old), (DATE, now)])), None);
        assert_eq!(strong_date(&with(&[(LAST_MODIFIED, old)])), None);
        assert_eq!(strong_date(&with(&[(LAST_MODIFIED, old), (DATE, later)])), Some(old.to_owned()));
        assert_eq!(changed_s(&with(&[(LAST_MODIFIED, old)])), Some(784_111_777));
    }

    #[test]
    fn pieces_that_make_no_sense_are_none() {
        let piece = |text: &str| piece(&with(&[(CONTENT_RANGE, text)]));
        assert_eq!(piece("bytes 5-9/10"), Some(Piece { first: 5, end: 10, total: Some(10) }));
        assert_eq!(piece("bytes 5-9/*"), Some(Piece { first: 5, end: 10, total: None }));
        for bad in [
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes */10",
            "items 5-9/10",
            "bytes 5-18446744073709551615/*",
            "bytes -5--1/3",
        ] {
            assert_eq!(piece(bad), None, "{bad}");
        }
        assert_eq!(wait_s(&with(&[(RETRY_AFTER, "7")])), Some(7));
        assert_eq!(wait_s(&with(&[(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT")])), Some(0));
        assert_eq!(wait_s(&with(&[(RETRY_AFTER, "soon")])), None);
    }
}
