//! What several tests of the store need: bytes, and an object store that fails when it is told to.
#![allow(dead_code, reason = "no test needs all of it")]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Bytes that differ everywhere, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Objects in memory that outlive the store on them, as those of a remote service do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unreliable(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    objects: InMemory,
    /// Changes that still succeed before all fail, as if the process had ended; negative: no end.
    changes_left: AtomicI64,
    /// Of so many operations one fails; 0: none.
    fail_one_in: AtomicU64,
    operations: AtomicU64,
    delay_ms: AtomicU64,
}

impl Unreliable {
    pub(crate) fn new() -> Unreliable {
        let store = Unreliable::default();
        store.fail_after(None);
        store
    }

    /// Everything that changes objects fails after so many more that succeed.
    pub(crate) fn fail_after(&self, changes: Option<u32>) {
        self.0.changes_left.store(changes.map_or(-1, i64::from), Ordering::SeqCst);
    }

    /// Of so many operations one fails.
    pub(crate) fn fail_one_in(&self, operations: u64) {
        self.0.fail_one_in.store(operations, Ordering::SeqCst);
    }

    /// Each operation takes so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// How often it was asked for something.
    pub(crate) fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::SeqCst)
    }

    async fn operation(&self, is_change: bool) -> Result<()> {
        let failed = || object_store::Error::Generic { store: "test", source: "made to fail".into() };
        let delay = self.0.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let number = self.0.operations.fetch_add(1, Ordering::SeqCst);
        let one_in = self.0.fail_one_in.load(Ordering::SeqCst);
        if one_in > 0 && number % one_in == one_in - 1 {
            return Err(failed());
        }
        if is_change {
            let take = |left: i64| if left > 0 { Some(left - 1) } else { None };
            match self.0.changes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
                Ok(_) => {}
                Err(0) => return Err(failed()),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object store that fails when it is told to")
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(&self, at: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.operation(true).await?;
        self.0.objects.put_opts(at, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.operation(false).await?;
        self.0.objects.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.objects.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let allowed = at.then(move |path| {
            let store = store.clone();
            async move {
                store.operation(true).await?;
                path
            }
        });
        self.0.objects.delete_stream(allowed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.operation(true).await?;
        self.0.objects.copy_opts(from, to, options).await
    }
}
