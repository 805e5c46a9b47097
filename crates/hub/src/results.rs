//! Results of tasks, taken apart within the hub: a part becomes a blob that the owner of the job holds, so that files and
//! other jobs can have it and nobody has to carry it.

use std::ops::Range;

use bytes::Bytes;
use futures_util::TryStreamExt;
use pumasi_api::output::parts::{Finder, Parts, Streams};
use pumasi_api::output::{DecodeError, Problem};
use pumasi_blobs::BlobError;
use pumasi_core::Bounds;
use pumasi_types::{AccountId, ByteSize, Hash};

use crate::drive::DriveError;
use crate::server::Hub;

/// Pieces up to this size are stored together, in bytes.
const SMALL: u64 = 256 << 10;
/// Bytes that are stored together.
const TOGETHER: usize = 8 << 20;

/// Some bytes of an output.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Of a stored one.
    Stored(Hash, Range<u64>),
    /// Of one that is not stored, because it is empty.
    Known(&'static [u8]),
}

/// Why the parts of an output cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartsError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl Piece {
    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Piece::Stored(_, range) => range.end.saturating_sub(range.start),
            Piece::Known(bytes) => bytes.len() as u64,
        }
    }
}

impl Hub {
    /// Where the parts of a stored output lie. Reads little of it.
    pub(crate) async fn parts_of(&self, output: &Hash) -> Result<Parts, PartsError> {
        let size = self.blobs.size(output)?.ok_or(BlobError::NotFound { hash: *output })?;
        let mut finder = Finder::new(size.0);
        while let Some(wanted) = finder.wants() {
            finder.give(&self.piece(output, wanted).await?)?;
        }
        Ok(finder.finish()?)
    }

    /// Where the streams of a stored output lie, whatever files are behind them.
    pub(crate) async fn streams_of(&self, output: &Hash) -> Result<Streams, PartsError> {
        let size = self.blobs.size(output)?.ok_or(BlobError::NotFound { hash: *output })?;
        let mut finder = Finder::new(size.0);
        loop {
            if let Some(streams) = finder.streams() {
                return Ok(streams);
            }
            let wanted = finder.wants().ok_or(DecodeError { problem: Problem::Truncated })?;
            finder.give(&self.piece(output, wanted).await?)?;
        }
    }

    async fn piece(&self, output: &Hash, range: Range<u64>) -> Result<Bytes, BlobError> {
        let pieces: Vec<Bytes> = self.blobs.stream_range(output, range).await?.try_collect().await?;
        Ok(pieces.concat().into())
    }

    /// Stores pieces of outputs as blobs, which the caller holds then; their names and lengths, in their order.
    pub(crate) async fn store_pieces(
        &self,
        caller: AccountId,
        pieces: &[Piece],
    ) -> Result<Vec<(Hash, ByteSize)>, DriveError> {
        let (mut stored, mut small) = (Vec::with_capacity(pieces.len()), Vec::new());
        let mut bytes = 0;
        for piece in pieces {
            let content = match piece {
                Piece::Known(bytes) => Bytes::from_static(bytes),
                Piece::Stored(output, range) if piece.len() <= SMALL => {
                    self.piece(output, range.clone()).await?
                }
                Piece::Stored(output, range) => {
                    stored.extend(self.store_many(caller, std::mem::take(&mut small)).await?);
                    bytes = 0;
                    let body = self.blobs.stream_range(output, range.clone()).await?;
                    stored.push(self.store(caller, body, ByteSize(piece.len())).await?);
                    continue;
                }
            };
            if small.len() == Bounds::FILES || bytes + content.len() > TOGETHER {
                stored.extend(self.store_many(caller, std::mem::take(&mut small)).await?);
                bytes = 0;
            }
            bytes += content.len();
            small.push(content);
        }
        stored.extend(self.store_many(caller, small).await?);
        Ok(stored)
    }
}
