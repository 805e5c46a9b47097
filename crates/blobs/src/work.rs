//! Hashing and other work over many bytes, kept off the threads that serve requests.

use tokio::task::JoinHandle;

/// Handling so many bytes takes about as long as handing them to another thread.
const INLINE_MAX: usize = 64 << 10;

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
    task.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // Only the end of the runtime cancels it, and with it the caller.
        Err(_) => panic!("the runtime ended while the store was at work"),
    })
}
