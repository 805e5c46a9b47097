//! Bytes on their way: sources that can be read again, sinks that can be written again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pumasi_types::Hash;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{Body, ClientError};

/// Bytes of a file that are read at once.
const CHUNK: usize = 256 << 10;

/// Is told how many bytes have gone over the wire; starts again from 0 when a transfer is repeated.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Where the bytes of an upload come from. A file is read anew when the upload is repeated.
#[derive(Clone, Debug)]
pub enum Source {
    /// Memory.
    Bytes(Bytes),
    /// A file.
    File(PathBuf),
}

/// Reading the source of an upload failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct SourceError(pub(super) std::io::Error);

/// The bytes of an upload as a body, and how many there are.
pub(super) async fn upload(
    source: &Source,
    progress: Progress,
    sent: Arc<AtomicU64>,
) -> Result<(Body, u64), ClientError> {
    let (reader, len) = Reader::open(source).await?;
    let tell = move |chunk: &Bytes| {
        let len = chunk.len() as u64;
        progress(sent.fetch_add(len, Ordering::Relaxed) + len);
    };
    let chunks = stream::unfold((reader, tell), |(mut reader, tell)| async move {
        let chunk = reader.next().await.transpose()?;
        chunk.iter().for_each(&tell);
        let frame = chunk.map(Frame::data).map_err(|error| std::io::Error::other(SourceError(error)));
        Some((frame, (reader, tell)))
    });
    Ok((StreamBody::new(chunks).boxed_unsync(), len))
}

/// Reads a source piece by piece.
enum Reader {
    Bytes(Bytes),
    File(tokio::fs::File, u64),
}

impl Reader {
    async fn open(source: &Source) -> Result<(Reader, u64), ClientError> {
        match source {
            Source::Bytes(bytes) => Ok((Reader::Bytes(bytes.clone()), bytes.len() as u64)),
            Source::File(path) => {
                let local = |source| ClientError::Local { verb: "read", path: path.clone(), source };
                let file = tokio::fs::File::open(path).await.map_err(local)?;
                let len = file.metadata().await.map_err(local)?.len();
                Ok((Reader::File(file, len), len))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        match self {
            Reader::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Reader::Bytes(bytes) => Ok(Some(bytes.split_to(bytes.len().min(CHUNK)))),
            Reader::File(_, 0) => Ok(None),
            Reader::File(file, left) => {
                let want = usize::try_from(*left).unwrap_or(CHUNK).min(CHUNK);
                let mut chunk = BytesMut::with_capacity(want);
                let got = file.take(want as u64).read_buf(&mut chunk).await?;
                if got == 0 {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        "it became shorter while it was read",
                    ));
                }
                *left -= got as u64;
                Ok(Some(chunk.freeze()))
            }
        }
    }
}

/// The name of a source's bytes as a blob.
///
/// # Errors
/// When it cannot be read.
pub async fn hash_source(source: &Source) -> Result<Hash, ClientError> {
    let mut hasher = blake3::Hasher::new();
    let (mut reader, _) = Reader::open(source).await?;
    loop {
        match (reader.next().await, source) {
            (Ok(Some(chunk)), _) => {
                hasher.update(&chunk);
            }
            (Ok(None), _) | (Err(_), Source::Bytes(_)) => return Ok(hasher.finalize().into()),
            (Err(source), Source::File(path)) => {
                return Err(ClientError::Local { verb: "read", path: path.clone(), source });
            }
        }
    }
}

/// Where a download goes; can start again.
pub(super) enum Sink {
    Memory(BytesMut),
    File(tokio::fs::File, PathBuf),
}

impl Sink {
    pub(super) async fn restart(&mut self) -> Result<(), ClientError> {
        match self {
            Sink::Memory(bytes) => bytes.clear(),
            Sink::File(file, path) => {
                file.set_len(0).await.map_err(|source| unwritten(path, source))?;
                file.rewind().await.map_err(|source| unwritten(path, source))?;
            }
        }
        Ok(())
    }

    pub(super) async fn write(&mut self, chunk: &[u8]) -> Result<(), ClientError> {
        match self {
            Sink::Memory(bytes) => {
                bytes.extend_from_slice(chunk);
                Ok(())
            }
            Sink::File(file, path) => file.write_all(chunk).await.map_err(|source| unwritten(path, source)),
        }
    }

    pub(super) async fn finish(&mut self) -> Result<(), ClientError> {
        match self {
            Sink::Memory(_) => Ok(()),
            Sink::File(file, path) => file.flush().await.map_err(|source| unwritten(path, source)),
        }
    }
}

fn unwritten(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::Local { verb: "write", path: path.to_owned(), source }
}

/// Where a file is written before it is complete: beside it, so that it can be renamed.
pub fn part_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}
