//! What one writer has on its way into packs: frames being filled, being compressed, being written.

use std::collections::VecDeque;

use bytes::Bytes;
use pumasi_types::Hash;
use tokio::task::JoinHandle;

use crate::BlobError;
use crate::commit::PACK_TARGET;
use crate::frame::{Batch, Entry, Frame, encode};
use crate::pack::Kind;
use crate::store::BlobStore;
use crate::work::join;

/// Frames that are compressed at the same time; more than two keep both cores busy while one is handed on.
const COMPRESSING: usize = 4;
/// Packs that are written at the same time.
const WRITING: usize = 2;

/// Chunks and manifests on their way.
#[derive(Debug)]
pub(crate) struct Packing {
    store: BlobStore,
    batch: Batch,
    compressing: VecDeque<JoinHandle<Frame>>,
    ready: Vec<Frame>,
    ready_len: u64,
    writing: VecDeque<JoinHandle<Result<Vec<Hash>, BlobError>>>,
    manifests: Vec<(Entry, Bytes)>,
    manifest_bytes: usize,
}

impl Packing {
    pub(crate) fn new(store: &BlobStore) -> Packing {
        Packing {
            store: store.clone(),
            batch: Batch::default(),
            compressing: VecDeque::new(),
            ready: Vec::new(),
            ready_len: 0,
            writing: VecDeque::new(),
            manifests: Vec::new(),
            manifest_bytes: 0,
        }
    }

    /// Takes a new chunk. Returns the names of those that the index has learned of since.
    pub(crate) async fn chunk(&mut self, name: Hash, bytes: Bytes) -> Result<Vec<Hash>, BlobError> {
        let mut entered = Vec::new();
        if self.batch.is_full_for(bytes.len()) {
            self.close_frame();
        }
        let length = bytes.len() as u32;
        self.batch.push(Entry { name, length, size: u64::from(length) }, bytes);
        while self.compressing.len() > COMPRESSING {
            self.next_frame().await;
        }
        if self.ready_len >= PACK_TARGET {
            self.start_pack();
            while self.writing.len() > WRITING {
                entered.extend(self.next_pack().await?);
            }
        }
        Ok(entered)
    }

    /// Takes a new manifest. It stays in memory until all chunks before it are durable.
    pub(crate) fn manifest(&mut self, id: Hash, size: u64, bytes: Bytes) {
        self.manifest_bytes += bytes.len();
        self.manifests.push((Entry { name: id, length: bytes.len() as u32, size }, bytes));
    }

    pub(crate) fn manifest_bytes(&self) -> usize {
        self.manifest_bytes
    }

    /// Makes everything durable and enters it: chunks first, then manifests.
    pub(crate) async fn flush(&mut self) -> Result<(), BlobError> {
        self.close_frame();
        while !self.compressing.is_empty() {
            self.next_frame().await;
        }
        while !self.writing.is_empty() {
            self.next_pack().await?;
        }
        self.manifest_bytes = 0;
        let manifests = frames_of(std::mem::take(&mut self.manifests));
        self.ready_len = 0;
        self.store.commit(std::mem::take(&mut self.ready), join(manifests).await).await
    }

    fn close_frame(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.compressing.push_back(tokio::task::spawn_blocking(move || encode(batch)));
        }
    }

    async fn next_frame(&mut self) {
        if let Some(frame) = self.compressing.pop_front() {
            let frame = join(frame).await;
            self.ready_len += frame.weight();
            self.ready.push(frame);
        }
    }

    fn start_pack(&mut self) {
        let (store, frames) = (self.store.clone(), std::mem::take(&mut self.ready));
        self.ready_len = 0;
        self.writing.push_back(tokio::spawn(async move {
            let names = frames.iter().flat_map(|frame| &frame.entries).map(|entry| entry.name).collect();
            store.write_pack(Kind::Chunks, frames).await?;
            Ok(names)
        }));
    }

    async fn next_pack(&mut self) -> Result<Vec<Hash>, BlobError> {
        match self.writing.pop_front() {
            Some(pack) => join(pack).await,
            None => Ok(Vec::new()),
        }
    }
}

/// Packs entries into frames and compresses them.
pub(crate) fn frames_of(entries: Vec<(Entry, Bytes)>) -> JoinHandle<Vec<Frame>> {
    tokio::task::spawn_blocking(move || {
        let (mut frames, mut batch) = (Vec::new(), Batch::default());
        for (entry, bytes) in entries {
            if batch.is_full_for(bytes.len()) {
                frames.push(encode(std::mem::take(&mut batch)));
            }
            batch.push(entry, bytes);
        }
        if !batch.is_empty() {
            frames.push(encode(batch));
        }
        frames
    })
}
