//! Small blobs that are put at the same time go together: cut, packed, made durable and entered as one. Whoever is alone
//! waits for nobody.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pumasi_types::Hash;
use tokio::sync::oneshot;

use crate::work::join;
use crate::{BlobError, BlobStore, Tally};

/// Blobs, and bytes of them, that go together at most.
const BLOBS: usize = 1_000;
const BYTES: usize = 8 << 20;

/// Those who wait for the store to take their small blobs.
#[derive(Debug, Default)]
pub(crate) struct Together {
    queue: Mutex<VecDeque<(Bytes, Done)>>,
    /// Held by the task that puts for all who wait.
    turn: tokio::sync::Mutex<()>,
}

type Stored = Result<(Hash, Tally), BlobError>;
type Done = oneshot::Sender<Stored>;

impl BlobStore {
    /// Stores a blob that is small, together with what others put so meanwhile; its name, and what was new of it. Durable
    /// when it returns.
    ///
    /// # Errors
    /// [`BlobError::DiskFull`] and other failures of the disk; then nothing is acknowledged.
    pub async fn put_small(&self, blob: Bytes) -> Result<(Hash, Tally), BlobError> {
        let (done, answer) = oneshot::channel();
        self.small().push_back((blob, done));
        // In a task of its own, so that whoever goes away takes nobody else's bytes along.
        let store = self.clone();
        let task = tokio::spawn(async move {
            let answers = store.put_waiting().await;
            // Whoever has all answers may open the folder again.
            drop(store);
            answers.into_iter().for_each(|(done, result)| drop(done.send(result)));
        });
        match answer.await {
            Ok(result) => result,
            // Only a panic drops what waits.
            Err(_) => {
                join(task).await;
                unreachable!("a blob is answered for unless its writer panicked")
            }
        }
    }

    async fn put_waiting(&self) -> Vec<(Done, Stored)> {
        let _turn = self.inner().together.turn.lock().await;
        let mut batch = Vec::new();
        {
            let (mut queue, mut bytes) = (self.small(), 0);
            while let Some((blob, _)) = queue.front() {
                bytes += blob.len();
                if batch.len() >= BLOBS || (!batch.is_empty() && bytes > BYTES) {
                    break;
                }
                batch.extend(queue.pop_front());
            }
        }
        if batch.len() > 1
            && let Ok(stored) = self.put_each(batch.iter().map(|(blob, _)| blob.clone()).collect()).await
        {
            return batch.into_iter().zip(stored).map(|((_, done), stored)| (done, Ok(stored))).collect();
        }
        // Each alone: what is wrong with one is told to that one.
        let mut answers = Vec::with_capacity(batch.len());
        for (blob, done) in batch {
            answers.push((done, self.put_each(vec![blob]).await.map(|stored| stored[0])));
        }
        answers
    }

    async fn put_each(&self, blobs: Vec<Bytes>) -> Result<Vec<(Hash, Tally)>, BlobError> {
        let mut writer = self.writer();
        let stored = writer.put_each(blobs).await?;
        writer.finish().await?;
        Ok(stored)
    }

    fn small(&self) -> MutexGuard<'_, VecDeque<(Bytes, Done)>> {
        self.inner().together.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
