//! One content's cipher: AES-256-GCM (NIST SP 800-38D) over blocks, under a key that follows from the content.
//!
//! A content's fingerprint is its BLAKE3, keyed; the cipher's key follows from that, so no two contents share one. The nonce of
//! a block is a keyed hash of the block and its place (as in SIV modes, RFC 5297): even if a file is written to while it is
//! encrypted, so that two contents come under one key, no two different texts get the same nonce but by a chance below 2^-40.

use std::fmt;
use std::io::Read;
use std::ops::Range;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::SealError;
use crate::header::{HEADER, Header};
use crate::key::Key;

/// Plain bytes of a block; the last one may have fewer.
pub const BLOCK: usize = 64 << 10;
/// Bytes that encryption adds to a block: nonce and tag.
pub const BLOCK_EXTRA: usize = NONCE_LEN + TAG;
/// The longest content, in bytes: 64 TiB.
pub const LENGTH_MAX: u64 = 1 << 46;
/// Shorter contents are padded to this length, in bytes.
pub const LEAST: u64 = 256;

const TAG: usize = 16;
/// Bytes that are hashed at once.
const PIECE: usize = 1 << 20;
/// An encrypted block, in bytes.
const SEALED_BLOCK: u64 = (BLOCK + BLOCK_EXTRA) as u64;

/// How long a content is after zeros were put behind it, so that its length tells little: Padmé (Nikitin et al., "Reducing
/// Metadata Leakage from Encrypted Files and Communication with PURBs", 2019). Beyond [`LEAST`] it adds at most 7 %, and less to
/// long ones.
pub fn padded(length: u64) -> u64 {
    let length = length.clamp(LEAST, LENGTH_MAX);
    let exponent = length.ilog2();
    let loose = (1 << (exponent - exponent.ilog2() - 1)) - 1;
    (length + loose) & !loose
}

/// How many bytes a content of this length has when it is encrypted.
pub fn sealed_length(length: u64) -> u64 {
    let padded = padded(length);
    HEADER as u64 + padded + padded.div_ceil(BLOCK as u64) * BLOCK_EXTRA as u64
}

/// Hashes a content to its fingerprint.
#[derive(Clone)]
pub(crate) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    pub(crate) fn new(key: &Key) -> Fingerprint {
        let secret = key.derive("pumasi 2026-11 seal: fingerprint of a content", &[]);
        Fingerprint(blake3::Hasher::new_keyed(&secret))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// Reads all there is; how many bytes that was.
    fn read(&mut self, mut content: impl Read) -> std::io::Result<u64> {
        let mut piece = vec![0; PIECE];
        let mut length = 0;
        loop {
            match content.read(&mut piece)? {
                0 => return Ok(length),
                read => {
                    self.update(&piece[..read]);
                    length += read as u64;
                }
            }
        }
    }
}

/// What encrypts and decrypts one content.
pub struct Seal {
    header: Header,
    length: u64,
    cipher: LessSafeKey,
    nonces: [u8; 32],
    fresh: Fingerprint,
}

impl Seal {
    /// For this content, which is read from here to its end.
    ///
    /// # Errors
    /// When it cannot be read, or has more than [`LENGTH_MAX`] bytes.
    pub fn of(key: &Key, content: impl Read) -> std::io::Result<Seal> {
        let mut fingerprint = Fingerprint::new(key);
        let length = fingerprint.read(content)?;
        if length > LENGTH_MAX {
            return Err(SealError::TooLong.into());
        }
        let header = Header::new(key, &fingerprint.finish(), length);
        Ok(Seal::new(key, header, length)?)
    }

    /// For the content that stands behind this header.
    ///
    /// # Errors
    /// When the header needs another key, or was not made with this one.
    pub fn open(key: &Key, header: &Header) -> Result<Seal, SealError> {
        let length = header.length(key)?;
        if length > LENGTH_MAX {
            return Err(SealError::Changed);
        }
        Seal::new(key, header.clone(), length)
    }

    fn new(key: &Key, header: Header, length: u64) -> Result<Seal, SealError> {
        let fingerprint = header.fingerprint();
        let secret = key.derive("pumasi 2026-11 seal: key of a content", &fingerprint);
        let nonces = key.derive("pumasi 2026-11 seal: nonces of a content", &fingerprint);
        // The length of the key is the only thing that could be wrong.
        let cipher = UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| SealError::Changed)?;
        Ok(Seal { header, length, cipher: LessSafeKey::new(cipher), nonces, fresh: Fingerprint::new(key) })
    }

    /// What stands before the blocks.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes the content has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes the encrypted file has.
    pub fn sealed_length(&self) -> u64 {
        sealed_length(self.length)
    }

    /// Where in the encrypted file the content is over; behind that there is only padding.
    pub fn content_end(&self) -> u64 {
        self.cover(&(0..self.length)).end
    }

    /// Which bytes of the encrypted file are needed for these of the content, which must not end behind it.
    pub fn cover(&self, plain: &Range<u64>) -> Range<u64> {
        let edge = |block: u64| (HEADER as u64 + block * SEALED_BLOCK).min(self.sealed_length());
        let blocks = plain.start / BLOCK as u64..plain.end.div_ceil(BLOCK as u64);
        edge(blocks.start)..edge(blocks.end.max(blocks.start))
    }

    /// These bytes of the content, from the bytes of the encrypted file that [`Seal::cover`] named.
    ///
    /// # Errors
    /// When they are not what was encrypted.
    pub fn open_range(&self, plain: &Range<u64>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let covered = self.cover(plain);
        let first = plain.start / BLOCK as u64;
        if sealed.len() as u64 != covered.end - covered.start || plain.end > self.length {
            return Err(SealError::Changed);
        }
        let mut bytes = Vec::with_capacity(sealed.len());
        for (number, block) in (first..).zip(sealed.chunks(BLOCK + BLOCK_EXTRA)) {
            bytes.extend_from_slice(&self.open_block(number, block.to_vec())?);
        }
        let position = |at: u64| usize::try_from(at - first * BLOCK as u64).map_err(|_| SealError::Changed);
        bytes.truncate(position(plain.end.max(plain.start))?);
        Ok(bytes.split_off(position(plain.start)?))
    }

    /// Whether this is the content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_of(&self, content: impl Read) -> std::io::Result<bool> {
        let mut fingerprint = self.fingerprint();
        let length = fingerprint.read(content)?;
        Ok(length == self.length && fingerprint.finish() == self.header.fingerprint())
    }

    /// A hash of nothing yet that becomes the content's fingerprint.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fresh.clone()
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        padded(self.length).div_ceil(BLOCK as u64)
    }

    /// How many bytes of a block are content, and how many there are with the padding.
    pub(crate) fn block_length(&self, number: u64) -> (usize, usize) {
        let inside = |whole: u64| whole.saturating_sub(number.saturating_mul(BLOCK as u64)).min(BLOCK as u64);
        // At most a block, so both fit.
        let [content, padded] = [self.length, padded(self.length)].map(|whole| inside(whole) as usize);
        (content, padded)
    }

    /// Encrypts a padded block.
    pub(crate) fn seal_block(&self, number: u64, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let place = self.place(number);
        let hash = blake3::Hasher::new_keyed(&self.nonces).update(&place).update(plain).finalize();
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hash.as_bytes()[..NONCE_LEN]);
        let mut sealed = Vec::with_capacity(plain.len() + BLOCK_EXTRA);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.cipher.seal_in_place_separate_tag(nonce, Aad::from(place), &mut sealed[NONCE_LEN..]);
        sealed.extend_from_slice(tag.map_err(|_| SealError::TooLong)?.as_ref());
        Ok(sealed)
    }

    /// Decrypts a block; its content without the padding.
    pub(crate) fn open_block(&self, number: u64, mut sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let (content, padded) = self.block_length(number);
        if sealed.len() != padded + BLOCK_EXTRA || number >= self.blocks() {
            return Err(SealError::Changed);
        }
        let nonce = Nonce::try_assume_unique_for_key(&sealed[..NONCE_LEN]).map_err(|_| SealError::Changed)?;
        let aad = Aad::from(self.place(number));
        let opened = self.cipher.open_within(nonce, aad, &mut sealed, NONCE_LEN..);
        opened.map_err(|_| SealError::Changed)?;
        if sealed[content..padded].iter().any(|byte| *byte != 0) {
            return Err(SealError::Changed);
        }
        sealed.truncate(content);
        Ok(sealed)
    }

    /// Where a block stands: its number, and whether it is the last.
    fn place(&self, number: u64) -> [u8; 9] {
        let mut place = [0; 9];
        place[..8].copy_from_slice(&number.to_le_bytes());
        place[8] = u8::from(number + 1 == self.blocks());
        place
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("key", &self.header.key()).finish_non_exhaustive()
    }
}
