//! How much an account may have in the store that no file has: what is on its way, what it sent lately, and what its jobs
//! were given.
//!
//! The state counts what was sent ([`Files::unfiled`](pumasi_core::Files::unfiled)). Inputs that nothing but jobs refers to
//! are added up whenever the store is looked through for a collection: a job keeps them longer than a claim lasts.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_blobs::BlobError;
use pumasi_core::FilesRefusal;
use pumasi_types::{AccountId, ByteSize};

use super::DriveError;
use crate::server::Hub;

/// After so many bytes of a stream the state is asked again how much there is besides.
const LOOK_AGAIN: u64 = 64 << 20;
/// Bytes that must come while one body is waited for.
const PACE: usize = 64 << 10;

/// What the state does not know.
#[derive(Default)]
pub(crate) struct UnfiledRoom {
    coming: Mutex<HashMap<AccountId, u64>>,
    of_jobs: Mutex<HashMap<AccountId, u64>>,
}

/// Bytes of an account that are on their way, until this is dropped.
pub(crate) struct Coming<'a> {
    hub: &'a Hub,
    account: AccountId,
    bytes: u64,
    /// How much there was besides, and up to how many of these bytes that counts.
    known: Option<(u64, u64)>,
}

/// Each change is complete before anything in it can panic.
fn lock(bytes: &Mutex<HashMap<AccountId, u64>>) -> MutexGuard<'_, HashMap<AccountId, u64>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnfiledRoom {
    /// Takes what jobs of each account keep that nothing else does, in bytes.
    pub(crate) fn jobs_keep(&self, bytes: HashMap<AccountId, u64>) {
        *lock(&self.of_jobs) = bytes;
    }
}

impl Hub {
    /// Begins to count what comes from an account.
    pub(crate) fn coming(&self, account: AccountId) -> Coming<'_> {
        Coming { hub: self, account, bytes: 0, known: None }
    }
}

impl Coming<'_> {
    /// So many more bytes come.
    ///
    /// # Errors
    /// When the account has too many then that lie in no file.
    pub(crate) async fn take(&mut self, bytes: u64) -> Result<(), DriveError> {
        let (room, limit) = (&self.hub.unfiled, self.hub.options.unfiled_limit);
        self.bytes += bytes;
        let coming = {
            let mut coming = lock(&room.coming);
            let coming = coming.entry(self.account).or_default();
            *coming += bytes;
            *coming
        };
        if let Some((besides, until)) = self.known
            && self.bytes <= until
            && besides.saturating_add(coming) <= limit.0
        {
            return Ok(());
        }
        let account = self.account;
        let sent = self.hub.cell.read(move |state| state.files().unfiled(account)).await?;
        let besides = sent.0.saturating_add(lock(&room.of_jobs).get(&account).copied().unwrap_or(0));
        self.known = Some((besides, self.bytes + LOOK_AGAIN));
        let coming = lock(&room.coming).get(&account).copied().unwrap_or(0);
        let held = ByteSize(besides.saturating_add(coming));
        if held <= limit { Ok(()) } else { Err(FilesRefusal::TooMuchUnfiled { held, limit }.into()) }
    }

    /// The body, which ends with an error when it is too much, or comes so slowly that others wait for it: what is being
    /// written keeps the store from being collected.
    pub(super) fn metered<E>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let pace = Pace::new(self.hub.options.body_patience);
        stream::try_unfold((self, body, pace), |(coming, mut body, mut pace)| async move {
            let piece = pace.wait_for(body.next()).await?;
            let Some(piece) = piece.transpose().map_err(Into::into)? else { return Ok(None) };
            pace.came(piece.len());
            coming.take(piece.len() as u64).await?;
            Ok(Some((piece, (coming, body, pace))))
        })
    }
}

/// Why a body is read no further.
#[derive(Debug, thiserror::Error)]
#[error("less than {PACE} bytes came in {patience:?}: send smaller parts, or over a faster connection")]
pub(crate) struct SlowBody {
    patience: Duration,
}

/// How long a sender may be waited for until [`PACE`] bytes have come; how long the store takes does not count.
struct Pace {
    patience: Duration,
    left: Duration,
    came: usize,
}

impl Pace {
    fn new(patience: Duration) -> Pace {
        Pace { patience, left: patience, came: 0 }
    }

    async fn wait_for<T>(&mut self, next: impl Future<Output = T>) -> Result<T, SlowBody> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.left, next).await;
        self.left = self.left.saturating_sub(began.elapsed());
        next.map_err(|_| SlowBody { patience: self.patience })
    }

    fn came(&mut self, bytes: usize) {
        self.came += bytes;
        if self.came >= PACE {
            *self = Pace::new(self.patience);
        }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut coming = lock(&self.hub.unfiled.coming);
        let left = coming.get(&self.account).map_or(0, |all| all.saturating_sub(self.bytes));
        match left {
            0 => drop(coming.remove(&self.account)),
            left => drop(coming.insert(self.account, left)),
        }
    }
}

/// What was wrong with a body comes out of the store as its error.
pub(super) fn refused(error: BlobError) -> DriveError {
    match error {
        BlobError::Body { source } => match source.downcast::<DriveError>() {
            Ok(error) => *error,
            Err(source) => BlobError::Body { source }.into(),
        },
        error => error.into(),
    }
}
