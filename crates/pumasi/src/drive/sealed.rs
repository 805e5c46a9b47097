//! Files that are encrypted on their way to the store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use pumasi_api::client::{Content, ReadSeek};
use pumasi_seal::{Key, Opener, Seal, SealError, SealedReader};
use pumasi_types::{FilePath, Hash};

use super::send::{Local, hash_reader};

/// A file of this machine in its encrypted form, made while it is read.
#[derive(Debug)]
pub(crate) struct SealedFile {
    local: Arc<Local>,
    path: FilePath,
    name: PathBuf,
    seal: Arc<Seal>,
}

impl SealedFile {
    /// The file at `path` of `local`, encrypted with `key`. Reads it once.
    pub(crate) fn new(local: Arc<Local>, path: &FilePath, key: &Key) -> Result<SealedFile, String> {
        let file = local.read(path).map_err(|error| error.line())?;
        let seal = Seal::of(key, file).map_err(|error| error.to_string())?;
        let name = local.name(path);
        Ok(SealedFile { local, path: path.clone(), name, seal: Arc::new(seal) })
    }

    /// What is said of it.
    pub(crate) fn seal(&self) -> &Arc<Seal> {
        &self.seal
    }

    /// The hash of the encrypted form.
    pub(crate) fn hash(&self) -> Result<Hash, String> {
        let hashed = self.open().and_then(|(mut reader, _)| hash_reader(&mut reader));
        hashed.map_err(|error| error.to_string())
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> io::Result<Bytes> {
        let (mut reader, length) = self.open()?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        reader.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Content for SealedFile {
    fn path(&self) -> &Path {
        &self.name
    }

    fn open(&self) -> io::Result<(Box<dyn ReadSeek>, u64)> {
        let file = self.local.read(&self.path).map_err(|error| io::Error::other(error.line()))?;
        let length = self.seal.sealed_length();
        Ok((Box::new(SealedReader::new(file, self.seal.clone())), length))
    }
}

/// The encrypted form of bytes, and what is said of them.
pub(crate) fn seal_bytes(key: &Key, plain: &[u8]) -> io::Result<(Bytes, Arc<Seal>)> {
    let seal = Arc::new(Seal::of(key, plain)?);
    let mut sealed = Vec::new();
    SealedReader::new(io::Cursor::new(plain), seal.clone()).read_to_end(&mut sealed)?;
    Ok((sealed.into(), seal))
}

/// The content of an encrypted file that is all here.
pub(crate) fn open_bytes(seal: &Arc<Seal>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut opener = Opener::new(seal.clone());
    let plain = opener.push(sealed)?;
    opener.finish()?;
    Ok(plain)
}
