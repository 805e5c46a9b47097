//! What stands before the blocks of an encrypted file: which key opens it, and of which content it is. The same stands beside
//! the file as its label, so that nobody has to fetch the file to know how long it is.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::SealError;
use crate::key::{Key, KeyId};

/// Bytes of a header.
pub const HEADER: usize = 92;

const MAGIC: [u8; 8] = *b"PUMASISL";
const VERSION: u32 = 1;
/// What the check covers: all before it.
const CHECKED: usize = 60;

/// The beginning of an encrypted file, version 1 of docs/formats.md.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER],
}

impl Header {
    /// The header of a content with this fingerprint.
    pub(crate) fn new(key: &Key, fingerprint: &[u8; 32], length: u64) -> Header {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&key.id().0);
        bytes[20..52].copy_from_slice(fingerprint);
        let hidden = length ^ veil(key, fingerprint);
        bytes[52..CHECKED].copy_from_slice(&hidden.to_le_bytes());
        let check = check(key, &bytes);
        bytes[CHECKED..].copy_from_slice(check.as_bytes());
        Header { bytes }
    }

    /// Reads the header that bytes begin with.
    ///
    /// # Errors
    /// When there is none, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Header, SealError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(SealError::NotSealed)?;
        // Headers of other versions may have another length.
        match u32::from_le_bytes(*rest.first_chunk().ok_or(SealError::NotSealed)?) {
            VERSION => {}
            other => return Err(SealError::Version(other)),
        }
        let bytes = bytes.first_chunk::<HEADER>().ok_or(SealError::NotSealed)?;
        Ok(Header { bytes: *bytes })
    }

    /// As it stands before the blocks.
    pub fn as_bytes(&self) -> &[u8; HEADER] {
        &self.bytes
    }

    /// Which key opens the file.
    pub fn key(&self) -> KeyId {
        KeyId(self.part(12))
    }

    /// What the content's keyed hash is.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.part(20)
    }

    /// How many bytes the content has.
    ///
    /// # Errors
    /// When it needs another key, or was not made with this one.
    pub(crate) fn length(&self, key: &Key) -> Result<u64, SealError> {
        if self.key() != key.id() {
            return Err(SealError::OtherKey(self.key()));
        }
        // Compared in a time that does not depend on where they differ.
        if check(key, &self.bytes) != blake3::Hash::from_bytes(self.part(CHECKED)) {
            return Err(SealError::Changed);
        }
        Ok(u64::from_le_bytes(self.part(52)) ^ veil(key, &self.fingerprint()))
    }

    fn part<const N: usize>(&self, from: usize) -> [u8; N] {
        let mut part = [0; N];
        part.copy_from_slice(&self.bytes[from..from + N]);
        part
    }
}

/// What hides the length of a content: no two contents share it.
fn veil(key: &Key, fingerprint: &[u8; 32]) -> u64 {
    let veil = key.derive("pumasi 2026-11 seal: veil of a length", fingerprint);
    veil.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

fn check(key: &Key, bytes: &[u8; HEADER]) -> blake3::Hash {
    let secret = key.derive("pumasi 2026-11 seal: check of a header", &[]);
    blake3::keyed_hash(&secret, &bytes[..CHECKED])
}

/// As a file's label: base64url without padding.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes))
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header(key {})", self.key())
    }
}

impl FromStr for Header {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Header, SealError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::NotSealed)?;
        let header = Header::decode(&bytes)?;
        if bytes.len() == HEADER { Ok(header) } else { Err(SealError::NotSealed) }
    }
}
