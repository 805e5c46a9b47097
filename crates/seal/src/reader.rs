//! A file as it is when it is encrypted: made block by block while it is read, from anywhere, so that it lies nowhere.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::SealError;
use crate::header::HEADER;
use crate::seal::{BLOCK, BLOCK_EXTRA, Fingerprint, Seal};

/// Reads the encrypted form of a content. A content that was written to since its [`Seal`] was made is noticed when all is
/// read in one go, and always when it became shorter.
pub struct SealedReader<R> {
    plain: R,
    seal: Arc<Seal>,
    /// Where the next read begins, in the encrypted file.
    at: u64,
    /// The block that was made last, and its number.
    block: Vec<u8>,
    number: Option<u64>,
    /// What was read from the first block on, up to the number of a block; none once a block was passed over.
    seen: Option<(u64, Fingerprint)>,
}

impl<R: Read + Seek> SealedReader<R> {
    /// The encrypted form of `plain`, of which `seal` is made.
    pub fn new(plain: R, seal: Arc<Seal>) -> SealedReader<R> {
        let seen = Some((0, seal.fingerprint()));
        SealedReader { plain, seal, at: 0, block: Vec::new(), number: None, seen }
    }

    /// Makes a block.
    fn make(&mut self, number: u64) -> io::Result<()> {
        let (content, padded) = self.seal.block_length(number);
        let mut plain = vec![0; padded];
        self.plain.seek(SeekFrom::Start(number * BLOCK as u64))?;
        self.plain.read_exact(&mut plain[..content]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SealError::Moving.into(),
            _ => error,
        })?;
        match &mut self.seen {
            Some((next, fingerprint)) if *next == number => {
                fingerprint.update(&plain[..content]);
                *next += 1;
                let over = *next == self.seal.blocks();
                if over && fingerprint.finish() != self.seal.header().fingerprint() {
                    return Err(SealError::Moving.into());
                }
            }
            // A block that is made again.
            Some((next, _)) if number < *next => {}
            _ => self.seen = None,
        }
        self.block = self.seal.seal_block(number, &plain)?;
        self.number = Some(number);
        Ok(())
    }
}

impl<R: Read + Seek> Read for SealedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = match self.at.checked_sub(HEADER as u64) {
            // Before the header's end.
            None => &self.seal.header().as_bytes()[usize::try_from(self.at).unwrap_or(HEADER)..],
            Some(_) if self.at >= self.seal.sealed_length() => return Ok(0),
            Some(behind) => {
                let sealed_block = (BLOCK + BLOCK_EXTRA) as u64;
                let (number, inside) = (behind / sealed_block, behind % sealed_block);
                if self.number != Some(number) {
                    self.make(number)?;
                }
                self.block.get(usize::try_from(inside).unwrap_or(usize::MAX)..).unwrap_or_default()
            }
        };
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl<R> Seek for SealedReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let moved = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.seal.sealed_length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = moved.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
