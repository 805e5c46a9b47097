//! Reading a blob piece by piece, verified before the last piece is handed out.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_types::Hash;

use crate::BlobError;
use crate::index::Location;
use crate::store::BlobStore;
use crate::work::{CHUNK, hash_on};

/// A blob that is being streamed.
pub(crate) struct Reader {
    store: BlobStore,
    hash: Hash,
    location: Location,
    at: u64,
    /// Gone when the stream has ended.
    hasher: Option<blake3::Hasher>,
}

impl Reader {
    pub(crate) fn stream(
        store: BlobStore,
        hash: Hash,
        location: Location,
    ) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin + 'static {
        let (at, hasher) = (location.range.start, Some(blake3::Hasher::new()));
        stream::unfold(Reader { store, hash, location, at, hasher }, Reader::next).boxed()
    }

    async fn next(mut self) -> Option<(Result<Bytes, BlobError>, Reader)> {
        let hasher = self.hasher.take()?;
        let end = self.location.range.end.min(self.at + CHUNK as u64);
        let read = self.store.read(&self.hash, &self.location, self.at..end).await;
        let piece = match read {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error), self)),
        };
        let hasher = hash_on(hasher, piece.clone()).await;
        self.at = end;
        if end < self.location.range.end {
            self.hasher = Some(hasher);
            return Some((Ok(piece), self));
        }
        match Hash::from(hasher.finalize()) == self.hash {
            true if piece.is_empty() => None,
            true => Some((Ok(piece), self)),
            false => Some((Err(self.store.damaged(&self.hash, &self.location)), self)),
        }
    }
}
