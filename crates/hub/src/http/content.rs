//! Bytes of stored files as answers: whole or in part (RFC 9110, 13 and 14), for the API and for pages of links alike.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pumasi_types::{ByteSize, Hash};

use super::ApiError;
use crate::server::Hub;

/// What is to be answered.
pub(super) struct Content {
    /// Its bytes.
    pub(super) blob: Hash,
    /// How many.
    pub(super) size: ByteSize,
    /// Whether a part of it can be had.
    pub(super) in_parts: bool,
}

/// What a request wants of it.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The caller has it already.
    Nothing,
    Whole,
    Part(Range<u64>),
    /// A part that there is not.
    Beyond,
}

impl Content {
    /// The answer to a GET or HEAD with these headers. What is stored must not be taken for a page of this hub, whatever
    /// it is. The body ends early when the stored bytes are damaged.
    pub(super) async fn answer(
        &self,
        hub: &Hub,
        method: &Method,
        asked: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let tag = format!("\"{}\"", self.blob);
        let wanted = self.wanted(asked, &tag);
        let (status, length) = match &wanted {
            Wanted::Nothing => (StatusCode::NOT_MODIFIED, None),
            Wanted::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, None),
            Wanted::Whole => (StatusCode::OK, Some(self.size.0)),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range.end - range.start)),
        };
        let body = match &wanted {
            _ if method == Method::HEAD || length.is_none() => Body::empty(),
            Wanted::Part(range) => {
                Body::from_stream(hub.blobs.stream_range(&self.blob, range.clone()).await?)
            }
            _ => Body::from_stream(hub.blobs.stream(&self.blob).await?.1),
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let mut set = |name, value: String| {
            // All of these are digits and letters.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, tag);
        set(header::ACCEPT_RANGES, if self.in_parts { "bytes" } else { "none" }.to_owned());
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
        set(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned());
        set(header::CACHE_CONTROL, "private, no-cache".to_owned());
        if let Some(length) = length {
            set(header::CONTENT_LENGTH, length.to_string());
            set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
        }
        match wanted {
            Wanted::Part(Range { start, end }) => {
                set(header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, self.size.0))
            }
            Wanted::Beyond => set(header::CONTENT_RANGE, format!("bytes */{}", self.size.0)),
            Wanted::Nothing | Wanted::Whole => {}
        }
        Ok(response)
    }

    /// Whether the answer will hold bytes of it.
    pub(super) fn sends(&self, method: &Method, asked: &HeaderMap) -> bool {
        let wanted = self.wanted(asked, &format!("\"{}\"", self.blob));
        method == Method::GET && matches!(wanted, Wanted::Whole | Wanted::Part(_))
    }

    fn wanted(&self, asked: &HeaderMap, tag: &str) -> Wanted {
        let text = |name: header::HeaderName| asked.get(name)?.to_str().ok();
        let has = |list: &str| {
            list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
        };
        if text(header::IF_NONE_MATCH).is_some_and(has) {
            return Wanted::Nothing;
        }
        let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
        match text(header::RANGE).filter(|_| self.in_parts && same) {
            Some(range) => part(range, self.size.0),
            None => Wanted::Whole,
        }
    }
}

/// The one part that `Range` names. What is no range, or several, is passed over (RFC 9110, 14.2).
fn part(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let range = match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Some(last) => size.saturating_sub(last)..size,
            None => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..size,
            None => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
            _ => return Wanted::Whole,
        },
    };
    if range.is_empty() { Wanted::Beyond } else { Wanted::Part(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_part_or_is_passed_over() {
        let cases = [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-500", Wanted::Part(5..10)),
            ("bytes=9-18446744073709551615", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
        ];
        for (range, wanted) in cases {
            assert_eq!(part(range, 10), wanted, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Wanted::Beyond);
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let blob = Hash::of(b"x");
        let content = Content { blob, size: ByteSize(10), in_parts: true };
        let asked = |pairs: &[(header::HeaderName, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(name.clone(), value.parse().unwrap());
            }
            headers
        };
        let (tag, other) = (format!("\"{blob}\""), format!("\"{}\"", Hash::of(b"y")));
        let wanted = |pairs: &[(header::HeaderName, String)]| content.wanted(&asked(pairs), &tag);
        let range = (header::RANGE, "bytes=1-2".to_owned());
        assert_eq!(wanted(&[]), Wanted::Whole);
        assert_eq!(wanted(&[(header::IF_NONE_MATCH, format!("{other}, W/{tag}"))]), Wanted::Nothing);
        assert_eq!(wanted(&[(header::IF_NONE_MATCH, other.clone())]), Wanted::Whole);
        assert_eq!(wanted(&[range.clone(), (header::IF_RANGE, tag.clone())]), Wanted::Part(1..3));
        assert_eq!(wanted(&[range.clone(), (header::IF_RANGE, other)]), Wanted::Whole, "it changed");
        let whole = Content { in_parts: false, ..content };
        assert_eq!(whole.wanted(&asked(&[range]), &tag), Wanted::Whole);
    }
}
