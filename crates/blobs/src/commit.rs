//! Writing packs: made durable, then entered in the index. Small writers at the same time share one pack.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use object_store::{ObjectStoreExt, PutPayload};
use pumasi_types::Hash;
use tokio::sync::oneshot;

use crate::BlobError;
use crate::folder;
use crate::frame::Frame;
use crate::pack::{Kind, PackWriter};
use crate::store::{BlobStore, pack_path};
use crate::work::join;

/// A pack is closed when its frames weigh so much; bounds what writing one takes in memory.
pub(crate) const PACK_TARGET: u64 = 16 << 20;

/// Those who wait for the end of what they wrote to become durable.
#[derive(Debug, Default)]
pub(crate) struct Committer {
    queue: Mutex<VecDeque<Request>>,
    /// Held by the task that writes for all who wait.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Request {
    chunks: Vec<Frame>,
    manifests: Vec<Frame>,
    done: Done,
}

type Done = oneshot::Sender<Result<(), BlobError>>;

impl Request {
    fn length(&self) -> u64 {
        self.chunks.iter().chain(&self.manifests).map(Frame::weight).sum()
    }
}

impl BlobStore {
    /// Writes chunks and then manifests, together with what others want written now. Durable when it returns.
    pub(crate) async fn commit(&self, chunks: Vec<Frame>, manifests: Vec<Frame>) -> Result<(), BlobError> {
        if chunks.is_empty() && manifests.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.queue().push_back(Request { chunks, manifests, done });
        // In a task of its own, so that whoever goes away takes nobody else's bytes along.
        let store = self.clone();
        let task = tokio::spawn(async move {
            let answers = store.commit_waiting().await;
            // Whoever has all answers may open the folder again.
            drop(store);
            answers.into_iter().for_each(|(done, result)| drop(done.send(result)));
        });
        match answer.await {
            Ok(result) => result,
            // Only a panic drops the request.
            Err(_) => {
                join(task).await;
                unreachable!("a request is answered unless its writer panicked")
            }
        }
    }

    async fn commit_waiting(&self) -> Vec<(Done, Result<(), BlobError>)> {
        let _turn = self.inner().committer.turn.lock().await;
        let mut batch = Vec::new();
        {
            let mut queue = self.queue();
            let mut length = 0;
            while let Some(next) = queue.front() {
                length += next.length();
                if !batch.is_empty() && length > PACK_TARGET {
                    break;
                }
                batch.extend(queue.pop_front());
            }
        }
        if batch.len() > 1 {
            let all = |frames: fn(&Request) -> &Vec<Frame>| batch.iter().flat_map(frames).cloned().collect();
            let written = self.write_both(all(|one| &one.chunks), all(|one| &one.manifests)).await;
            if written.is_ok() {
                return batch.into_iter().map(|one| (one.done, Ok(()))).collect();
            }
        }
        // Each alone: what is wrong with one is told to that one.
        let mut answers = Vec::with_capacity(batch.len());
        for one in batch {
            answers.push((one.done, self.write_both(one.chunks, one.manifests).await));
        }
        answers
    }

    /// Manifests come after what they name, so that no crash leaves a blob that is not whole.
    async fn write_both(&self, chunks: Vec<Frame>, manifests: Vec<Frame>) -> Result<(), BlobError> {
        self.write_pack(Kind::Chunks, chunks).await?;
        self.write_pack(Kind::Manifests, manifests).await
    }

    /// Writes a pack and enters it. Durable when it returns.
    pub(crate) async fn write_pack(&self, kind: Kind, frames: Vec<Frame>) -> Result<(), BlobError> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).expect("the operating system has random numbers");
        let mut writer = PackWriter::new(kind);
        frames.into_iter().for_each(|frame| writer.push(frame));
        let pack = writer.finish(self.inner().index.time_for_new(self.now()), nonce);
        let object = pack_path(&pack.id);
        // The index needs room here wherever the pack goes.
        let here = if self.inner().is_local { pack.index.length } else { 0 };
        folder::check_room(&self.inner().dir, &object, here)?;
        let payload = PutPayload::from_iter(pack.bytes);
        let written = self.inner().objects.put(&object, payload).await;
        written.map_err(|e| BlobError::object("write", &object, e))?;
        let (store, id, index) = (self.clone(), pack.id, pack.index);
        join(tokio::task::spawn_blocking(move || store.enter(&[(id, index)]))).await
    }

    pub(crate) fn enter(&self, packs: &[(Hash, crate::pack::PackIndex)]) -> Result<(), BlobError> {
        self.inner().index.enter(packs, self.now())?;
        let mut damaged = self.damaged_mut();
        if !damaged.names.is_empty() {
            // What was stored again is whole again.
            for (entry, _) in packs.iter().flat_map(|(_, index)| &index.places) {
                damaged.names.remove(&entry.name);
            }
        }
        Ok(())
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Request>> {
        self.inner().committer.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
