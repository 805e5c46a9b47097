//! Writing packs: made durable, then entered in the index. Small writers at the same time share one pack.

use object_store::{ObjectStoreExt, PutPayload};
use pumasi_types::Hash;

use crate::BlobError;
use crate::folder;
use crate::frame::Frame;
use crate::pack::{Kind, PackWriter};
use crate::store::{BlobStore, pack_path};
use crate::turns::{Request, Turns};
use crate::work::join;

/// A pack is closed when its frames weigh so much; bounds what writing one takes in memory.
pub(crate) const PACK_TARGET: u64 = 16 << 20;
/// A pack of at least so many bytes goes past the page cache of a local folder: nobody is likely to read all of it soon.
const LARGE: u64 = 4 << 20;

/// Frames to be written.
#[derive(Debug)]
pub(crate) struct Commit {
    chunks: Vec<Frame>,
    manifests: Vec<Frame>,
}

impl Request for Commit {
    type Answer = ();

    const BATCH: u64 = PACK_TARGET;

    fn turns(store: &BlobStore) -> &Turns<Self> {
        &store.inner().commits
    }

    fn weight(&self) -> u64 {
        self.chunks.iter().chain(&self.manifests).map(Frame::weight).sum()
    }

    /// Manifests come after what they name, so that no crash leaves a blob that is not whole.
    async fn serve(store: &BlobStore, batch: &[Self]) -> Result<Vec<()>, BlobError> {
        let all = |frames: fn(&Self) -> &Vec<Frame>| batch.iter().flat_map(frames).cloned().collect();
        store.write_pack(Kind::Chunks, all(|one| &one.chunks)).await?;
        store.write_pack(Kind::Manifests, all(|one| &one.manifests)).await?;
        Ok(vec![(); batch.len()])
    }
}

impl BlobStore {
    /// Writes chunks and then manifests, together with what others want written now. Durable when it returns.
    pub(crate) async fn commit(&self, chunks: Vec<Frame>, manifests: Vec<Frame>) -> Result<(), BlobError> {
        if chunks.is_empty() && manifests.is_empty() {
            return Ok(());
        }
        self.in_turn(Commit { chunks, manifests }).await
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
        if self.inner().is_local && pack.index.length >= LARGE {
            let (dir, fsync, path) = (self.inner().dir.clone(), self.inner().options.fsync, object.clone());
            join(tokio::task::spawn_blocking(move || folder::write_large(&dir, &path, &pack.bytes, fsync)))
                .await?;
        } else {
            let payload = PutPayload::from_iter(pack.bytes);
            let written = self.inner().objects.put(&object, payload).await;
            written.map_err(|e| BlobError::object("write", &object, e))?;
        }
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
}
