//! An upload whose hash is known only at its end.

use std::error::Error;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use pumasi_types::{ByteSize, Hash};

use crate::BlobError;
use crate::index::own_path;
use crate::store::BlobStore;
use crate::work::{CHUNK, hash_on};

/// Bytes on their way in. Short ones stay in memory, others go to a temporary object.
pub(crate) struct Upload {
    store: BlobStore,
    object: Path,
    parts: Option<Box<dyn MultipartUpload>>,
    hasher: blake3::Hasher,
    buffer: BytesMut,
    length: u64,
}

impl Upload {
    pub(crate) fn new(store: &BlobStore) -> Upload {
        Upload {
            store: store.clone(),
            object: store.temporary(),
            parts: None,
            hasher: blake3::Hasher::new(),
            buffer: BytesMut::new(),
            length: 0,
        }
    }

    /// Takes in the whole body.
    pub(crate) async fn receive<E>(
        &mut self,
        mut body: Pin<&mut impl Stream<Item = Result<Bytes, E>>>,
        limit: ByteSize,
    ) -> Result<(), BlobError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(|e| BlobError::Body { source: e.into() })?;
            self.length = self.length.saturating_add(piece.len() as u64);
            if self.length > limit.0 {
                return Err(BlobError::TooLarge { limit });
            }
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(CHUNK - self.buffer.len()));
                self.buffer.extend_from_slice(&part);
                if self.buffer.len() == CHUNK {
                    self.write().await?;
                }
            }
        }
        Ok(())
    }

    /// Moves the buffer to the temporary object, which is created when needed.
    async fn write(&mut self) -> Result<(), BlobError> {
        let failed = |e| BlobError::object("write", &self.object, e);
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(self.store.objects().put_multipart(&self.object).await.map_err(failed)?),
        };
        let part = self.buffer.split().freeze();
        self.hasher = hash_on(std::mem::take(&mut self.hasher), part.clone()).await;
        parts.put_part(part.into()).await.map_err(failed)
    }

    /// Gives what was received its name.
    pub(crate) async fn finish(mut self) -> Result<(Hash, ByteSize), BlobError> {
        let length = ByteSize(self.length);
        if self.parts.is_none() {
            return Ok((self.store.put(self.buffer.freeze()).await?, length));
        }
        if let Err(error) = self.write().await {
            self.abort().await;
            return Err(error);
        }
        let hash = Hash::from(self.hasher.finalize());
        if self.store.contains(&hash) {
            self.abort().await;
            return Ok((hash, length));
        }
        let mut parts = self.parts.take().expect("looked at above");
        if let Err(error) = parts.complete().await {
            let error = BlobError::object("write", &self.object, error);
            let _ = parts.abort().await;
            return Err(error);
        }
        let named = own_path(&hash);
        if let Err(error) = self.store.objects().rename(&self.object, &named).await {
            // What a failed removal leaves is removed at the next open; the first error is the one to report.
            let _ = self.store.objects().delete(&self.object).await;
            return Err(BlobError::object("write", &named, error));
        }
        self.store.index_mut().insert_own(hash, length.0);
        Ok((hash, length))
    }

    /// Removes what was received. What a failed removal leaves is removed at the next open.
    pub(crate) async fn abort(mut self) {
        if let Some(mut parts) = self.parts.take() {
            let _ = parts.abort().await;
        }
    }
}
