//! Hashing and other work over many bytes, kept off the threads that serve requests.

use bytes::Bytes;
use pumasi_types::Hash;
use tokio::task::JoinHandle;

/// Bytes read, hashed or written at once.
pub(crate) const CHUNK: usize = 1 << 20;
/// Hashing so much takes about as long as handing it to another thread.
const INLINE_MAX: usize = 64 << 10;

pub(crate) async fn hash_of(bytes: Bytes) -> Hash {
    off_runtime(bytes.len(), move || Hash::of(&bytes)).await
}

pub(crate) async fn hash_on(mut hasher: blake3::Hasher, bytes: Bytes) -> blake3::Hasher {
    off_runtime(bytes.len(), move || {
        hasher.update(&bytes);
        hasher
    })
    .await
}

/// Runs work over `length` bytes, on another thread when it would keep this one from its other tasks.
pub(crate) async fn off_runtime<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match length <= INLINE_MAX {
        true => work(),
        false => join(tokio::task::spawn_blocking(work)).await,
    }
}

/// Waits for a task of ours; its panic goes on here.
pub(crate) async fn join<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
