//! Bytes on their way in: their MD5, which is an object's tag, and the checksums that their sender gave.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Result, TrailingHeaders, s3_error};

use crate::backend::BoxError;

/// The headers of checksums.
const HEADERS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// What the sender says of the bytes.
#[derive(Default)]
pub(crate) struct Said {
    md5: Option<String>,
    /// By header, in the order of [`HEADERS`].
    sums: [Option<String>; 5],
    /// Which of them come behind the bytes.
    behind: [bool; 5],
    trailers: Option<TrailingHeaders>,
}

/// What the bytes are.
pub(crate) struct Seen {
    pub(crate) md5: [u8; 16],
    /// The checksums that their sender gave, all of them right, by header.
    pub(crate) sums: Vec<(&'static str, String)>,
}

impl Seen {
    /// The checksums as they are told.
    pub(crate) fn told(&self) -> Checksum {
        sums_of(self.sums.iter().map(|(name, sum)| (*name, sum.as_str())))
    }
}

/// Tells checksums in an answer, whose fields are called alike.
macro_rules! tell_sums {
    ($output:ident, $sums:expr) => {{
        let sums = $sums;
        $output.checksum_crc32 = sums.checksum_crc32;
        $output.checksum_crc32c = sums.checksum_crc32c;
        $output.checksum_crc64nvme = sums.checksum_crc64nvme;
        $output.checksum_sha1 = sums.checksum_sha1;
        $output.checksum_sha256 = sums.checksum_sha256;
    }};
}
pub(crate) use tell_sums;

/// Looks at bytes while they pass.
#[derive(Clone)]
pub(crate) struct Digest(Arc<Mutex<Hashers>>);

struct Hashers {
    md5: Md5,
    sums: ChecksumHasher,
}

impl Said {
    /// What the headers of a request say, and what they promise to say behind its body.
    ///
    /// # Errors
    /// `MissingContentLength` when they say nothing of its length: bytes that were sent without it were not read, and would
    /// be kept as none.
    pub(crate) fn by(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> S3Result<Said> {
        if !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(s3_error!(MissingContentLength, "say how long the body is: Content-Length"));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let promised = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let is_promised = |name: &str| promised.split(',').any(|one| one.trim() == name);
        Ok(Said {
            md5: text("content-md5").map(str::to_owned),
            sums: HEADERS.map(|name| text(name).map(str::to_owned)),
            behind: HEADERS.map(is_promised),
            trailers,
        })
    }

    /// Looks at the bytes of a body.
    pub(crate) fn watch(
        &self,
        body: Option<StreamingBlob>,
    ) -> (Digest, impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static + use<>) {
        let wants: [bool; 5] = std::array::from_fn(|n| self.behind[n] || self.sums[n].is_some());
        let sums = ChecksumHasher {
            crc32: wants[0].then(Crc32::new),
            crc32c: wants[1].then(Crc32c::new),
            crc64nvme: wants[2].then(Crc64Nvme::new),
            sha1: wants[3].then(Sha1::new),
            sha256: wants[4].then(Sha256::new),
        };
        let digest = Digest(Arc::new(Mutex::new(Hashers { md5: Md5::new(), sums })));
        let looking = digest.clone();
        let body = futures_util::stream::iter(body).flatten();
        let bytes = body.inspect(move |piece| {
            if let Ok(piece) = piece {
                let mut hashers = looking.0.lock().unwrap_or_else(PoisonError::into_inner);
                hashers.md5.update(piece);
                hashers.sums.update(piece);
            }
        });
        (digest, bytes)
    }

    /// What the bytes are, once all have passed.
    ///
    /// # Errors
    /// `BadDigest` when they are not what their sender says, `InvalidDigest` when that cannot be read.
    pub(crate) fn check(mut self, digest: Digest) -> S3Result<Seen> {
        let fresh = Hashers { md5: Md5::new(), sums: ChecksumHasher::default() };
        let mut hashers = digest.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Hashers { md5, sums } = std::mem::replace(&mut *hashers, fresh);
        let md5: [u8; 16] = md5.finalize();
        if let Some(said) = &self.md5 {
            let said = STANDARD.decode(said).ok().filter(|bytes| bytes.len() == md5.len());
            let said = said.ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not an MD5 in base64"))?;
            if said != md5 {
                return Err(s3_error!(BadDigest, "the bytes are not those that Content-MD5 was made of"));
            }
        }
        if let Some(trailers) = self.trailers.take().and_then(|trailers| trailers.take()) {
            for (name, sum) in HEADERS.iter().zip(&mut self.sums) {
                let behind = trailers.get(*name).and_then(|value| value.to_str().ok());
                *sum = behind.map(str::to_owned).or(sum.take());
            }
        }
        let found = by_header(sums.finalize());
        let mut right = Vec::new();
        for ((name, said), found) in HEADERS.into_iter().zip(self.sums).zip(found) {
            match (said, found) {
                (Some(said), Some(found)) if said == found => right.push((name, said)),
                (Some(_), _) => {
                    return Err(s3_error!(BadDigest, "the bytes are not those that {name} was made of"));
                }
                (None, Some(_)) => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "{name} was promised behind the body and is not there"
                    ));
                }
                (None, None) => {}
            }
        }
        Ok(Seen { md5, sums: right })
    }
}

/// Checksums in the order of [`HEADERS`].
fn by_header(sums: Checksum) -> [Option<String>; 5] {
    [
        sums.checksum_crc32,
        sums.checksum_crc32c,
        sums.checksum_crc64nvme,
        sums.checksum_sha1,
        sums.checksum_sha256,
    ]
}

/// The checksums among some labels or headers.
pub(crate) fn sums_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Checksum {
    let mut sums = Checksum::default();
    for (name, value) in labels {
        let slot = match HEADERS.iter().position(|header| *header == name) {
            Some(0) => &mut sums.checksum_crc32,
            Some(1) => &mut sums.checksum_crc32c,
            Some(2) => &mut sums.checksum_crc64nvme,
            Some(3) => &mut sums.checksum_sha1,
            Some(4) => &mut sums.checksum_sha256,
            _ => continue,
        };
        *slot = Some(value.to_owned());
    }
    sums
}

/// Whether a label is a checksum, which is true of one content only.
pub(crate) fn is_sum(label: &str) -> bool {
    HEADERS.contains(&label)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}

/// The tag of an object that came in parts, as S3 makes it.
pub(crate) fn tag_of_parts<'a>(parts: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> String {
    let count = parts.len();
    let mut whole = Md5::new();
    parts.for_each(|part| whole.update(part));
    format!("{}-{count}", hex(&whole.finalize()))
}

/// Bytes of 32 hexadecimal digits.
pub(crate) fn md5_of_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
