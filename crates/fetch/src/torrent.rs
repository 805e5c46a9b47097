//! What a torrent describes (BEP 3), and what a magnet link names (BEP 9): read here before anything else sees it.

use std::collections::BTreeMap;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use ring::digest;

use crate::bencode::Value;
use crate::name::safe_name;

/// The longest torrent file, in bytes.
pub const TORRENT_BYTES: usize = 16 << 20;
/// Files in one torrent.
const FILES: usize = 100_000;
/// Trackers that are asked.
const TRACKERS: usize = 20;
/// Names in the path of one file.
const DEPTH: usize = 32;
/// Bytes in one piece: its hash is known only when all of it is there.
const PIECE_BYTES: u64 = 64 << 20;

/// A torrent file that cannot be used, or a magnet link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTorrent(&'static str);

/// What a torrent describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torrent {
    /// SHA-1 of its description, by which peers know it.
    pub info_hash: [u8; 20],
    /// What it is called: its only file, or the folder of all.
    pub name: String,
    /// Its files by their numbers.
    pub files: Vec<TorrentFile>,
    /// Who knows its peers.
    pub trackers: Vec<String>,
    /// Whether only its trackers may know its peers (BEP 27).
    pub is_private: bool,
    /// Bytes in each piece but the last.
    pub(crate) piece_bytes: u64,
    /// SHA-1 of each piece.
    pub(crate) pieces: Vec<[u8; 20]>,
    /// Its description, as the hash is of it.
    pub(crate) info: Bytes,
}

/// A file in a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentFile {
    /// Names that lead nowhere else; below the torrent's own name when there are several files.
    pub names: Vec<String>,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it only fills up a piece (BEP 47).
    pub is_padding: bool,
}

impl Torrent {
    /// Reads a torrent file.
    ///
    /// # Errors
    /// When it is none, describes nothing that can be fetched, or is beyond a bound.
    pub fn parse(bytes: &[u8]) -> Result<Torrent, BadTorrent> {
        const NONE: BadTorrent = BadTorrent("it is not a torrent file");
        if bytes.len() > TORRENT_BYTES {
            return Err(BadTorrent("it is longer than 16 MiB"));
        }
        let value = Value::read(bytes).ok_or(NONE)?;
        let (info, place) = value.get("info").zip(value.place("info")).ok_or(NONE)?;
        let description = Bytes::copy_from_slice(&bytes[place]);
        let info_hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &description);
        let info_hash = info_hash.as_ref().try_into().map_err(|_| NONE)?;
        let Described { name, files, piece_bytes, pieces } = files(info)?;
        let mut trackers: Vec<String> = value.get("announce").and_then(Value::text).into_iter().collect();
        for tier in value.get("announce-list").and_then(Value::list).unwrap_or_default() {
            trackers.extend(tier.list().unwrap_or_default().iter().filter_map(Value::text));
        }
        let is_private = info.get("private").and_then(Value::int) == Some(1);
        let (trackers, info) = (some_of(trackers), description);
        Ok(Torrent { info_hash, name, files, trackers, is_private, piece_bytes, pieces, info })
    }

    /// The torrent as a file, with its trackers.
    pub fn file(&self) -> Vec<u8> {
        let mut file = b"d13:announce-listl".to_vec();
        for tracker in &self.trackers {
            file.extend_from_slice(format!("l{}:{tracker}e", tracker.len()).as_bytes());
        }
        file.extend_from_slice(b"e4:info");
        file.extend_from_slice(&self.info);
        file.push(b'e');
        file
    }

    /// Bytes of all its files, or of those with these numbers when some are given.
    ///
    /// # Errors
    /// When a number is none of a file.
    pub fn length(&self, numbers: &[u32]) -> Result<u64, BadTorrent> {
        Ok(self.chosen(numbers)?.iter().fold(0_u64, |sum, (_, file)| sum.saturating_add(file.length)))
    }

    /// Bytes of the same files, but each once and without padding: what giving back is reckoned from must not grow with what
    /// nobody wanted.
    pub(crate) fn content(&self, numbers: &[u32]) -> u64 {
        let chosen: BTreeMap<usize, &TorrentFile> =
            self.chosen(numbers).unwrap_or_default().into_iter().collect();
        chosen.values().filter(|file| !file.is_padding).map(|file| file.length).sum()
    }

    /// The files with these numbers, all but padding when none are given.
    ///
    /// # Errors
    /// When a number is none of a file.
    pub fn chosen(&self, numbers: &[u32]) -> Result<Vec<(usize, &TorrentFile)>, BadTorrent> {
        if numbers.is_empty() {
            let all = self.files.iter().enumerate();
            return Ok(all.filter(|(_, file)| !file.is_padding).collect());
        }
        let file = |number: &u32| {
            let number = *number as usize;
            self.files.get(number).map(|file| (number, file))
        };
        let chosen: Option<Vec<_>> = numbers.iter().map(file).collect();
        chosen.ok_or(BadTorrent("it has no file with a number as large as one of those that were asked for"))
    }
}

/// What a torrent says of its files.
struct Described {
    name: String,
    files: Vec<TorrentFile>,
    piece_bytes: u64,
    /// The SHA-1 of each piece.
    pieces: Vec<[u8; 20]>,
}

/// What the description of a torrent says, if it can be believed.
fn files(info: &Value<'_>) -> Result<Described, BadTorrent> {
    const STRANGE: BadTorrent = BadTorrent("its description is not one of version 1 of BitTorrent");
    let pieces = info.get("pieces").and_then(Value::bytes);
    let pieces = pieces
        .ok_or(BadTorrent("it has no description of version 1 of BitTorrent, and others are not read"))?;
    let piece_bytes =
        info.get("piece length").and_then(Value::int).and_then(|bytes| u64::try_from(bytes).ok());
    let piece_bytes = piece_bytes.filter(|bytes| (1..=PIECE_BYTES).contains(bytes)).ok_or(STRANGE)?;
    let name = info.get("name").and_then(Value::text).and_then(|name| safe_name(&name)).ok_or(STRANGE)?;
    let length = |value: &Value<'_>| value.get("length")?.int().and_then(|length| u64::try_from(length).ok());
    let files = match info.get("files") {
        None => {
            let length = length(info).ok_or(STRANGE)?;
            vec![TorrentFile { names: vec![name.clone()], length, is_padding: false }]
        }
        Some(list) => {
            let list = list.list().ok_or(STRANGE)?;
            if list.len() > FILES {
                return Err(BadTorrent("it has more than 100,000 files"));
            }
            let file = |value: &Value<'_>| {
                let path = value.get("path")?.list()?;
                let inner: Vec<String> =
                    path.iter().map(|name| safe_name(&name.text()?)).collect::<Option<_>>()?;
                if inner.is_empty() || inner.len() > DEPTH {
                    return None;
                }
                let attributes = value.get("attr").and_then(Value::bytes).unwrap_or_default();
                let names = std::iter::once(name.clone()).chain(inner).collect();
                Some(TorrentFile { names, length: length(value)?, is_padding: attributes.contains(&b'p') })
            };
            list.iter().map(file).collect::<Option<Vec<_>>>().ok_or(STRANGE)?
        }
    };
    let total = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.length)).ok_or(STRANGE)?;
    if files.is_empty() || pieces.len() as u64 != total.div_ceil(piece_bytes).saturating_mul(20) {
        return Err(STRANGE);
    }
    Ok(Described { name, files, piece_bytes, pieces: pieces.as_chunks().0.to_vec() })
}

/// What a magnet link names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// SHA-1 of the torrent's description.
    pub info_hash: [u8; 20],
    /// Who knows its peers.
    pub trackers: Vec<String>,
}

impl Magnet {
    /// Reads `magnet:?xt=urn:btih:…`.
    ///
    /// # Errors
    /// When it is none, or names none of version 1.
    pub fn parse(text: &str) -> Result<Magnet, BadTorrent> {
        let query = text.get(..8).filter(|start| start.eq_ignore_ascii_case("magnet:?")).and(text.get(8..));
        let query = query
            .filter(|_| text.len() <= 16 << 10)
            .ok_or(BadTorrent("it must look like magnet:?xt=urn:btih:…"))?;
        let (mut info_hash, mut trackers) = (None, Vec::new());
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value).decode_utf8_lossy();
            match key.split('.').next() {
                Some("xt") => info_hash = info_hash.or_else(|| hash_of(value.strip_prefix("urn:btih:")?)),
                Some("tr") => trackers.push(value.into_owned()),
                _ => {}
            }
        }
        let info_hash =
            info_hash.ok_or(BadTorrent("it names no torrent of version 1: it has no urn:btih:"))?;
        Ok(Magnet { info_hash, trackers: some_of(trackers) })
    }

    /// The same link with nothing in it but the hash: no tracker, peer or source that it names is asked unseen.
    pub fn bare(&self) -> String {
        format!("magnet:?xt=urn:btih:{}", hex(&self.info_hash))
    }
}

/// 20 bytes in hexadecimal, or in base 32 (RFC 4648).
fn hash_of(text: &str) -> Option<[u8; 20]> {
    let digit = |char: u8| match (text.len(), char.to_ascii_lowercase()) {
        (40, char) => (char as char).to_digit(16).map(u64::from),
        (32, char @ b'a'..=b'z') => Some(u64::from(char - b'a')),
        (32, char @ b'2'..=b'7') => Some(u64::from(char - b'2') + 26),
        _ => None,
    };
    let bits = if text.len() == 40 { 4 } else { 5 };
    let (mut hash, mut pending, mut count, mut at) = ([0; 20], 0_u64, 0, 0);
    for char in text.bytes() {
        pending = pending << bits | digit(char)?;
        count += bits;
        if count >= 8 {
            count -= 8;
            *hash.get_mut(at)? = (pending >> count) as u8;
            pending &= (1 << count) - 1;
            at += 1;
        }
    }
    (at == 20).then_some(hash)
}

fn some_of(trackers: Vec<String>) -> Vec<String> {
    let mut some: Vec<String> = Vec::new();
    for tracker in trackers {
        if some.len() < TRACKERS && tracker.len() <= 1_024 && !some.contains(&tracker) {
            some.push(tracker);
        }
    }
    some
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torrent(files: &str, pieces: usize) -> Vec<u8> {
        let mut bytes = format!(
            "d8:announce15:http://a.test/x4:infod{files}4:name3:dir12:piece lengthi16384e6:pieces{}:",
            pieces * 20
        )
        .into_bytes();
        bytes.extend(vec![b'h'; pieces * 20]);
        bytes.extend(b"7:privatei1eee");
        bytes
    }

    #[test]
    fn torrents_tell_what_is_in_them() {
        let bytes =
            torrent("5:filesld6:lengthi20000e4:pathl1:a5:b.txteed4:attr1:p6:lengthi1e4:pathl4:.padeee", 2);
        let read = Torrent::parse(&bytes).unwrap();
        assert_eq!(
            (read.name.as_str(), read.trackers.as_slice()),
            ("dir", &["http://a.test/x".to_owned()][..])
        );
        assert_eq!(read.files[0].names, ["dir", "a", "b.txt"]);
        assert_eq!(
            (read.length(&[]), read.length(&[1]), read.length(&[2]).is_err()),
            (Ok(20_000), Ok(1), true)
        );
        assert_eq!((read.content(&[]), read.content(&[0, 1, 0]), read.content(&[1])), (20_000, 20_000, 0));
        assert!(read.is_private);
        assert_eq!(Torrent::parse(&read.file()), Ok(read));
        let one = Torrent::parse(&torrent("6:lengthi0e", 0)).unwrap();
        assert_eq!((one.files.len(), one.files[0].names.as_slice()), (1, &["dir".to_owned()][..]));
    }

    #[test]
    fn torrents_that_lead_elsewhere_or_do_not_fit_together_are_refused() {
        for (files, pieces) in [
            ("5:filesld6:lengthi1e4:pathl2:..eee", 1),
            ("5:filesld6:lengthi1e4:pathl0:eee", 1),
            ("5:filesld6:lengthi1e4:pathleee", 1),
            ("5:filesld6:lengthi-1e4:pathl1:aeee", 1),
            (
                "5:filesld6:lengthi9223372036854775807e4:pathl1:aed6:lengthi9223372036854775807e4:pathl1:beed6:lengthi2e4:pathl1:ceee",
                1,
            ),
            ("5:filesle", 0),
            ("6:lengthi20000e", 1),
            ("6:lengthi20000e", 3),
            ("", 0),
        ] {
            assert!(Torrent::parse(&torrent(files, pieces)).is_err(), "{files}");
        }
        let slashes = Torrent::parse(&torrent("5:filesld6:lengthi1e4:pathl6:../../eee", 1)).unwrap();
        assert_eq!(slashes.files[0].names, ["dir", ".._.._"], "one name, whatever stands in it");
        for bad in [&b""[..], b"d4:infodee", b"hello", b"d4:info0:e"] {
            assert!(Torrent::parse(bad).is_err());
        }
    }

    #[test]
    fn magnets_name_a_hash_and_trackers() {
        let hex = "magnet:?xt=urn:btih:0123456789abcdef0123456789ABCDEF01234567&dn=x&tr=http%3A%2F%2Fa.test%2F&tr.1=udp://b.test:1&x.pe=10.0.0.1:1";
        let magnet = Magnet::parse(hex).unwrap();
        assert_eq!(magnet.trackers, ["http://a.test/", "udp://b.test:1"]);
        assert_eq!(magnet.bare(), "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567");
        let base32 = "magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH";
        assert_eq!(Magnet::parse(base32).unwrap().info_hash, magnet.info_hash);
        for bad in [
            "magnet:?xt=urn:btih:0123",
            "magnet:?dn=x",
            "http://a",
            "magnet:?xt=urn:btmh:1220",
            "magnet:?xt=urn:btih:zz23456789abcdef0123456789ABCDEF01234567",
        ] {
            assert!(Magnet::parse(bad).is_err(), "{bad}");
        }
    }
}
