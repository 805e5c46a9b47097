//! What this gateway needs of a hub.

use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use pumasi_core::{Done, Files, FilesCommand, FilesRefusal, Refusal};
use pumasi_types::{AccountId, ByteSize, Hash, SpaceId};

/// Any error, as those of streams are.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a blob in order, verified.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// What happens to a request whose signature is right, for whoever keeps a record of it.
#[derive(Clone, Copy, Debug)]
pub enum Noted<'a> {
    /// What it is for.
    Wants {
        /// The operation, as S3 calls it.
        operation: &'a str,
        /// The bucket, if it names one.
        bucket: Option<&'a str>,
        /// The key, if it names one.
        key: Option<&'a str>,
    },
    /// Its caller was let into a bucket, or was not.
    Bucket {
        /// Which.
        bucket: &'a str,
        /// The space of that name, if there is one.
        space: Option<SpaceId>,
        /// Why not.
        refused: Option<&'a FilesRefusal>,
    },
    /// An object is copied from the bucket that was looked at last.
    Copies {
        /// Its key.
        key: &'a str,
    },
    /// It is not done.
    Refused {
        /// The code of the error.
        code: &'a str,
    },
}

/// A hub, as this gateway needs it.
pub trait Backend: Send + Sync + 'static {
    /// The secret key of an access key, if that was not revoked.
    fn secret(&self, access_key: &str) -> impl Future<Output = Result<Option<String>, Failure>> + Send;

    /// Whose access key it is: asked once for each request whose signature is right, and counted against its account's
    /// rate.
    fn enter(&self, access_key: &str) -> impl Future<Output = Result<AccountId, Failure>> + Send;

    /// Takes note of something, at once: by the task that answers the request.
    fn note(&self, _: Noted<'_>) {}

    /// Looks at the files. `look` must be quick: everybody waits for it.
    fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Failure>> + Send;

    /// Has something done in an account's name, durably.
    fn ask(
        &self,
        caller: AccountId,
        command: FilesCommand,
    ) -> impl Future<Output = Result<Done, Failure>> + Send;

    /// Stores bytes, as many as anybody may send, and claims them for the account: what is asked after it finds them claimed.
    fn store(
        &self,
        caller: AccountId,
        bytes: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    ) -> impl Future<Output = Result<(Hash, ByteSize), Failure>> + Send;

    /// Puts blobs that the account holds behind each other and claims the whole for it: once for all who ask at the same
    /// time, so that the time it takes tells nothing of what others keep.
    fn join(
        &self,
        caller: AccountId,
        parts: Vec<(Hash, ByteSize)>,
    ) -> impl Future<Output = Result<(Hash, ByteSize), Failure>> + Send;

    /// Claims for the account a blob that it may read by a file.
    fn claim(
        &self,
        caller: AccountId,
        blob: (Hash, ByteSize),
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The bytes of a blob that the caller may read by a file.
    fn read(
        &self,
        blob: Hash,
        range: Option<Range<u64>>,
    ) -> impl Future<Output = Result<Pieces, Failure>> + Send;
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not possible, or not for this caller.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller asks too often.
    #[error("too many requests: try again in {} ms", .0.as_millis() + 1)]
    TooMany(Duration),
    /// More bytes than can be put.
    #[error("a file can have {limit}: send less")]
    TooLarge {
        /// How many can.
        limit: ByteSize,
    },
    /// The bytes that were sent ended too early, or are not those that were announced.
    #[error("the body broke off: {0}")]
    Body(BoxError),
    /// The bytes came so slowly that nobody waited for the rest.
    #[error("{0}")]
    Slow(String),
    /// The hub's disk is full.
    #[error("the hub's disk is full: tell its operator, and send it again later")]
    Full,
    /// The hub takes nothing now.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of the hub itself, which its log tells.
    #[error("{0}")]
    Broken(String),
}
