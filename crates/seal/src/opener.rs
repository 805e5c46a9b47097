//! From an encrypted file back to its content, in pieces as they arrive.

use std::io::Read;
use std::sync::Arc;

use crate::SealError;
use crate::header::HEADER;
use crate::seal::{BLOCK, BLOCK_EXTRA, Fingerprint, Seal};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Decrypts from front to back. What it hands out was encrypted with the key and stands in its place; that it is all, and one
/// content, is known when [`Opener::finish`] says so.
pub struct Opener {
    seal: Arc<Seal>,
    /// Bytes of the encrypted file that are done.
    at: u64,
    /// Bytes that came and are no whole block yet.
    pending: Vec<u8>,
    /// Bytes of the content that were handed out.
    plain: u64,
    fingerprint: Fingerprint,
}

impl Opener {
    /// From the first byte of an encrypted file on.
    pub fn new(seal: Arc<Seal>) -> Opener {
        let fingerprint = seal.fingerprint();
        Opener { seal, at: 0, pending: Vec::new(), plain: 0, fingerprint }
    }

    /// Goes on behind a content's beginning, which is read, as far as that has whole blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn behind(seal: Arc<Seal>, mut begun: impl Read, length: u64) -> std::io::Result<Opener> {
        let all = seal.length();
        let kept = if length >= all { all } else { length - length % BLOCK as u64 };
        let mut opener = Opener::new(seal);
        let mut piece = vec![0; PIECE];
        let mut left = kept;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            begun.read_exact(&mut piece[..want])?;
            opener.fingerprint.update(&piece[..want]);
            left -= want as u64;
        }
        opener.plain = kept;
        opener.at = if kept == 0 { 0 } else { opener.seal.cover(&(0..kept)).end };
        Ok(opener)
    }

    /// The byte of the encrypted file that is wanted next.
    pub fn wanted(&self) -> u64 {
        self.at + self.pending.len() as u64
    }

    /// How many bytes of the content are there.
    pub fn plain(&self) -> u64 {
        self.plain
    }

    /// Takes the next bytes; hands out those of the content that are whole now.
    ///
    /// # Errors
    /// When they are not what was encrypted, or more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        let mut opened = Vec::with_capacity(self.pending.len());
        loop {
            let rest = &self.pending[done..];
            let length = self.next_length();
            if rest.is_empty() || rest.len() < length {
                break;
            }
            if length == 0 {
                return Err(SealError::Changed);
            }
            match self.at {
                0 if rest[..HEADER] != self.seal.header().as_bytes()[..] => return Err(SealError::Changed),
                0 => {}
                at => {
                    let number = (at - HEADER as u64) / (BLOCK + BLOCK_EXTRA) as u64;
                    let content = self.seal.open_block(number, rest[..length].to_vec())?;
                    self.fingerprint.update(&content);
                    self.plain += content.len() as u64;
                    opened.extend_from_slice(&content);
                }
            }
            self.at += length as u64;
            done += length;
        }
        self.pending.drain(..done);
        Ok(opened)
    }

    /// How long the header or block is that comes next; 0 at the end.
    fn next_length(&self) -> usize {
        let Some(behind) = self.at.checked_sub(HEADER as u64) else { return HEADER };
        match self.seal.block_length(behind / (BLOCK + BLOCK_EXTRA) as u64) {
            (_, 0) => 0,
            (_, padded) => padded + BLOCK_EXTRA,
        }
    }

    /// Whether all of the content was there, and is the one that was encrypted. Padding behind it may be missing.
    ///
    /// # Errors
    /// When not.
    pub fn finish(&self) -> Result<(), SealError> {
        let whole = self.pending.is_empty() && self.at >= self.seal.content_end();
        let same =
            self.plain == self.seal.length() && self.fingerprint.finish() == self.seal.header().fingerprint();
        if whole && same { Ok(()) } else { Err(SealError::Changed) }
    }
}
