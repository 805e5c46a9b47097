//! Writers that come at the same time are served together, by one of them at a time. Whoever is alone waits for nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::work::join;
use crate::{BlobError, BlobStore};

/// Those who wait for one kind of work.
#[derive(Debug)]
pub(crate) struct Turns<R: Request> {
    waiting: Mutex<VecDeque<(R, Done<R>)>>,
    /// Held by the task that works for all who wait.
    turn: tokio::sync::Mutex<()>,
}

type Done<R> = oneshot::Sender<Result<<R as Request>::Answer, BlobError>>;

/// Something asked of the store that costs about as much for many as for one.
pub(crate) trait Request: std::fmt::Debug + Send + Sync + Sized + 'static {
    type Answer: std::fmt::Debug + Send;

    /// A batch ends before it weighs more, unless one request alone does.
    const BATCH: u64;

    /// Where others of this kind wait.
    fn turns(store: &BlobStore) -> &Turns<Self>;

    fn weight(&self) -> u64;

    /// Does all of them or none; an answer for each, in order. What fails must be of the store, not of one of them.
    fn serve(
        store: &BlobStore,
        batch: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, BlobError>> + Send;
}

impl<R: Request> Default for Turns<R> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<R: Request> Turns<R> {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(R, Done<R>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_batch(&self) -> (Vec<R>, Vec<Done<R>>) {
        let mut waiting = self.queue();
        let mut weight = 0;
        let taken = waiting.iter().take_while(|(request, _)| {
            weight += request.weight();
            weight <= R::BATCH
        });
        let count = taken.count().max(1).min(waiting.len());
        waiting.drain(..count).unzip()
    }
}

/// Somebody's place in the queue.
struct Place<'a, R: Request> {
    turns: &'a Turns<R>,
    waits: bool,
}

impl<R: Request> Drop for Place<'_, R> {
    fn drop(&mut self) {
        if self.waits {
            self.turns.queue().retain(|(_, done)| !done.is_closed());
        }
    }
}

impl BlobStore {
    /// Has a request served, together with what others ask meanwhile. Who stops waiting takes back what has not begun.
    pub(crate) async fn in_turn<R: Request>(&self, request: R) -> Result<R::Answer, BlobError> {
        let mut place = Place { turns: R::turns(self), waits: true };
        let (done, answer) = oneshot::channel();
        place.turns.queue().push_back((request, done));
        // In a task of its own, so that whoever goes away takes nobody else's bytes along.
        let store = self.clone();
        let task = tokio::spawn(async move {
            let answers = store.serve_waiting::<R>().await;
            // Whoever has all answers may open the folder again.
            drop(store);
            answers.into_iter().for_each(|(done, result)| drop(done.send(result)));
        });
        let answer = answer.await;
        place.waits = false;
        match answer {
            Ok(result) => result,
            // Only a panic drops what waits.
            Err(_) => {
                join(task).await;
                unreachable!("a request is answered unless its writer panicked")
            }
        }
    }

    async fn serve_waiting<R: Request>(&self) -> Vec<(Done<R>, Result<R::Answer, BlobError>)> {
        let _turn = R::turns(self).turn.lock().await;
        let (batch, mut done) = R::turns(self).next_batch();
        if batch.is_empty() {
            return Vec::new();
        }
        match R::serve(self, &batch).await {
            Ok(answers) => done.into_iter().zip(answers.into_iter().map(Ok)).collect(),
            Err(error) if done.len() == 1 => vec![(done.remove(0), Err(error))],
            // Of the disk or the server, not of one of them: nobody tries again while all others wait.
            Err(error) => {
                let error = Arc::new(error);
                done.into_iter().map(|done| (done, Err(BlobError::Together(Arc::clone(&error))))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use crate::BlobStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn small_puts_that_come_while_others_are_served_share_a_pack() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).await.unwrap();
        let commits = &store.inner().commits;
        let turn = commits.turn.lock().await;
        let blobs: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; 1_000])).collect();
        let put = |blob: &Bytes| {
            let (store, blob) = (store.clone(), blob.clone());
            tokio::spawn(async move { store.put(blob).await })
        };
        let puts: Vec<_> = blobs.iter().map(put).collect();
        let all_wait = async {
            while commits.queue().len() < blobs.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all_wait).await.expect("all of them wait");
        drop(turn);
        for (put, blob) in puts.into_iter().zip(&blobs) {
            let hash = put.await.unwrap().unwrap();
            assert_eq!(store.get(&hash).await.unwrap(), blob);
        }
        assert_eq!(store.stats().unwrap().packs, 1);
    }
}
