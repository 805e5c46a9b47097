//! Small blobs that are put at the same time go together: cut, packed, made durable and entered as one.

use bytes::Bytes;
use pumasi_types::Hash;

use crate::turns::{Request, Turns};
use crate::{BlobError, BlobStore, Tally};

/// A small blob to store.
#[derive(Debug)]
pub(crate) struct SmallPut(Bytes);

/// Blobs that go together at most, whatever their size.
const BLOBS: u64 = 1_000;

impl Request for SmallPut {
    type Answer = (Hash, Tally);

    const BATCH: u64 = 8 << 20;

    fn turns(store: &BlobStore) -> &Turns<Self> {
        &store.inner().small_puts
    }

    fn weight(&self) -> u64 {
        (self.0.len() as u64).max(Self::BATCH / BLOBS)
    }

    async fn serve(store: &BlobStore, batch: &[Self]) -> Result<Vec<Self::Answer>, BlobError> {
        let mut writer = store.writer();
        let stored = writer.put_each(batch.iter().map(|SmallPut(blob)| blob.clone()).collect()).await?;
        writer.finish().await?;
        Ok(stored)
    }
}

impl BlobStore {
    /// Stores a blob that is small, together with what others put so meanwhile; its name, and what was new of it. Durable
    /// when it returns.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is acknowledged.
    pub async fn put_small(&self, blob: Bytes) -> Result<(Hash, Tally), BlobError> {
        self.in_turn(SmallPut(blob)).await
    }
}
