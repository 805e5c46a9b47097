//! Files that only this process can read: encrypted under keys that never leave its memory.
//!
//! Each file has a key of its own, drawn when it is written, so the number of a chunk is a nonce that no
//! other text has (AES-256-GCM, NIST SP 800-38D). A chunk is [`CHUNK`] bytes and a tag; how many there are is
//! remembered beside the key, so a file that was cut, mixed up or changed is noticed. Removed when dropped.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Plain bytes of one chunk.
const CHUNK: usize = 256 << 10;

/// A file that nobody else can read.
#[derive(Debug)]
pub(super) struct SealedFile {
    path: PathBuf,
    len: usize,
    key: LessSafeKey,
}

impl SealedFile {
    /// Writes `bytes` to a file that does not exist yet.
    ///
    /// # Errors
    /// When it cannot be written; what was written is removed.
    pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<SealedFile> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let refused = |_| io::Error::other("the cipher refused");
        let key = UnboundKey::new(&AES_256_GCM, &secret).map_err(refused)?;
        let mut file = create_private(path)?;
        // From here on, dropping it removes the file.
        let sealed = SealedFile { path: path.to_owned(), len: bytes.len(), key: LessSafeKey::new(key) };
        let mut buffer = Vec::with_capacity(bytes.len().min(CHUNK) + AES_256_GCM.tag_len());
        for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
            buffer.clear();
            buffer.extend_from_slice(chunk);
            sealed.key.seal_in_place_append_tag(nonce(number), Aad::empty(), &mut buffer).map_err(refused)?;
            file.write_all(&buffer)?;
        }
        Ok(sealed)
    }

    /// The bytes that were written.
    ///
    /// # Errors
    /// When the file cannot be read or is not what was written.
    pub(super) fn read(&self) -> io::Result<Bytes> {
        self.read_range(0..self.len)
    }

    /// Some of the bytes that were written; those behind the end are left out.
    ///
    /// # Errors
    /// As [`SealedFile::read`].
    pub(super) fn read_range(&self, range: Range<usize>) -> io::Result<Bytes> {
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "its bytes were changed");
        let range = range.start.min(self.len)..range.end.min(self.len);
        let first = range.start / CHUNK;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start((first * (CHUNK + AES_256_GCM.tag_len())) as u64))?;
        let mut bytes = Vec::with_capacity(range.len());
        let mut buffer = Vec::new();
        let mut number = first;
        while number * CHUNK < range.end {
            let begin = number * CHUNK;
            let plain = CHUNK.min(self.len - begin);
            buffer.resize(plain + AES_256_GCM.tag_len(), 0);
            file.read_exact(&mut buffer).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => changed(),
                _ => error,
            })?;
            let opened = self.key.open_in_place(nonce(number), Aad::empty(), &mut buffer);
            let opened = opened.map_err(|_| changed())?;
            bytes.extend_from_slice(&opened[range.start.saturating_sub(begin)..plain.min(range.end - begin)]);
            number += 1;
        }
        Ok(bytes.into())
    }

    /// Length of its content, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a kept input");
        }
    }
}

/// The nonce of a chunk: files are far shorter than 2^64 chunks.
fn nonce(number: usize) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        b"a marker that must not be found ".iter().copied().cycle().take(len).collect()
    }

    #[test]
    fn what_is_written_is_read_and_not_found_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let path = dir.path().join(len.to_string());
            let sealed = SealedFile::write(&path, &text(len)).unwrap();
            assert_eq!(sealed.read().unwrap(), text(len));
            for range in [0..0, 0..1, 5..CHUNK + 5, CHUNK..2 * CHUNK, 2 * CHUNK - 1..9 * CHUNK] {
                let whole = text(len);
                let expected = &whole[range.start.min(len)..range.end.min(len)];
                assert_eq!(sealed.read_range(range.clone()).unwrap(), expected, "{range:?} of {len}");
            }
            let stored = std::fs::read(&path).unwrap();
            assert_eq!(stored.len(), len + len.div_ceil(CHUNK) * 16);
            assert!(!stored.windows(8).any(|part| part == b"a marker"));
            drop(sealed);
            assert!(!path.exists(), "it is erased with its last user");
        }
    }

    #[test]
    fn every_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let sealed = SealedFile::write(&path, &text(2 * CHUNK + 9)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut swapped = whole.clone();
        let (first, second) = swapped.split_at_mut(CHUNK + 16);
        first.swap_with_slice(&mut second[..CHUNK + 16]);
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let cut = |by: usize| whole[..whole.len() - by].to_vec();
        for bad in [swapped, flipped(0), flipped(CHUNK), flipped(whole.len() - 1), cut(1), cut(25), vec![]] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(sealed.read().unwrap_err().to_string(), "its bytes were changed");
        }
        // The same text again looks different: no two files share a key.
        let again = SealedFile::write(&dir.path().join("again"), &text(2 * CHUNK + 9)).unwrap();
        assert!(std::fs::read(again.path()).unwrap() != whole);
    }
}
