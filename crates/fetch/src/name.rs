//! What a fetched file is called.

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use percent_encoding::percent_decode_str;

use crate::place::Place;

/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 255;
/// What a file is called whose server and URL say nothing.
const NAMELESS: &str = "download";

/// What a text from outside can be as the name of one file: neither empty, `.`, `..` nor longer than 255 bytes, and without
/// `/`, `\` and control characters. `None` when nothing is left of it.
pub fn safe_name(text: &str) -> Option<String> {
    let bad = |char: char| char == '/' || char == '\\' || char.is_control();
    let mut name: String = text.trim().chars().map(|char| if bad(char) { '_' } else { char }).collect();
    if name.len() > NAME_BYTES {
        // The end says what it is: `.tar.gz`.
        let end_at = name.len().saturating_sub(16);
        let end = (end_at..name.len()).find_map(|at| name.get(at..)).unwrap_or_default().to_owned();
        let most = NAME_BYTES - end.len();
        let start = (0..=most).rev().find_map(|at| name.get(..at)).unwrap_or_default();
        name = format!("{start}{end}");
    }
    let is_name = !matches!(name.as_str(), "" | "." | "..");
    is_name.then_some(name)
}

/// What a file is called: as its server says (RFC 6266), or as the URL ends.
pub(crate) fn name_of(headers: &HeaderMap, place: &Place) -> String {
    let said = headers
        .get(CONTENT_DISPOSITION)
        .and_then(|value| said_name(&String::from_utf8_lossy(value.as_bytes())));
    let in_url =
        || place.last_name().and_then(|name| safe_name(&percent_decode_str(name).decode_utf8_lossy()));
    said.or_else(in_url).unwrap_or_else(|| NAMELESS.to_owned())
}

/// The name in a `Content-Disposition`; `filename*` before `filename`. Paths are cut off: only the last name counts.
fn said_name(text: &str) -> Option<String> {
    let mut plain = None;
    for part in parameters(text) {
        let Some((key, value)) = part.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if key == "filename*" {
            // charset'language'percent-encoded (RFC 8187); every charset but UTF-8 is read as if it were that.
            let encoded = value.splitn(3, '\'').nth(2)?;
            return last_name(&percent_decode_str(encoded).decode_utf8_lossy());
        }
        if key == "filename" {
            plain = last_name(&unquoted(value));
        }
    }
    plain
}

fn last_name(path: &str) -> Option<String> {
    safe_name(path.rsplit(['/', '\\']).next().unwrap_or_default())
}

/// Divides at `;`, except in quotes.
fn parameters(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for char in text.chars() {
        match char {
            ';' if !quoted => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && char == '\\' && !escaped;
        part.push(char);
    }
    parts.push(part);
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    // Browsers send Windows paths unescaped: a backslash stays unless it stands before a quote.
    inner.replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(disposition: Option<&str>, url: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(text) = disposition {
            headers.insert(CONTENT_DISPOSITION, http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
        }
        name_of(&headers, &Place::parse(url, &crate::address::Guard::default()).unwrap())
    }

    #[test]
    fn names_come_from_the_server_or_the_url_and_lead_nowhere() {
        let url = "https://a.example/x/y%20z.iso?k=v";
        assert_eq!(named(None, url), "y z.iso");
        assert_eq!(named(None, "https://a.example/"), "download");
        assert_eq!(named(None, "https://a.example/..%2f..%2fetc%2fpasswd"), ".._.._etc_passwd");
        for (said, name) in [
            ("attachment; filename=a.txt", "a.txt"),
            ("attachment; filename=\"a; b.txt\"; x=1", "a; b.txt"),
            ("attachment; filename=\"../../etc/passwd\"", "passwd"),
            ("attachment; filename=\"C:\\\\temp\\\\a.txt\"", "a.txt"),
            ("attachment; filename=plain; filename*=UTF-8''%ED%92%88%EC%95%97%EC%9D%B4.txt", "품앗이.txt"),
            ("attachment; filename*=UTF-8''..%2F..%2Fa", "a"),
            ("attachment; filename=\"..\"", "y z.iso"),
            ("attachment", "y z.iso"),
        ] {
            assert_eq!(named(Some(said), url), name, "{said}");
        }
    }

    #[test]
    fn long_names_keep_their_ends() {
        let name = safe_name(&format!("{}.tar.gz", "물".repeat(200))).unwrap();
        assert!(name.len() <= 255 && name.ends_with("물.tar.gz"), "{name}");
        assert_eq!(safe_name("a\0b\nc"), Some("a_b_c".to_owned()));
        assert_eq!(safe_name(" . "), None);
    }
}
