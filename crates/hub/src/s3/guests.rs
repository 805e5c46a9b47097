//! The hub as the gateway for S3 needs it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pumasi_blobs::BlobError;
use pumasi_core::{Command, Done, Files, FilesCommand, FilesRefusal};
use pumasi_s3::{Backend, BoxError, Failure, Noted, Pieces};
use pumasi_types::{AccountId, ByteSize, Hash};

use crate::access;
use crate::auth::Caller;
use crate::cell::CellError;
use crate::drive::{DriveError, SlowBody};
use crate::error::fault;
use crate::server::Hub;

/// After so long one of the objects that are put together may be ready.
const JOIN_PAUSE: Duration = Duration::from_secs(5);

/// The hub for its guests.
pub(super) struct Guests(pub(super) Arc<Hub>);

impl Guests {
    /// Whose access key it is, if it was not revoked.
    async fn caller(&self, access_key: &str) -> Result<Option<Caller>, Failure> {
        let token = self.0.s3_keys.token(access_key);
        match self.0.tokens.known(&token) {
            Some(caller) => Ok(Some(caller)),
            None => self.0.tokens.look_up(&self.0.cell, token).await.map_err(stopped),
        }
    }
}

impl Backend for Guests {
    async fn secret(&self, access_key: &str) -> Result<Option<String>, Failure> {
        Ok(self.caller(access_key).await?.map(|_| self.0.s3_keys.secret(access_key)))
    }

    async fn enter(&self, access_key: &str) -> Result<AccountId, Failure> {
        let caller = self.caller(access_key).await?;
        // Revoked since its signature was looked at.
        let caller = caller.ok_or_else(|| Failure::Refused(pumasi_core::Refusal::NoToken))?;
        access::called_by(caller.account);
        self.0.requests.take(caller.account, Instant::now()).map_err(Failure::TooMany)?;
        Ok(caller.account)
    }

    fn note(&self, noted: Noted<'_>) {
        match noted {
            Noted::Wants { operation, bucket, key } => access::wants(operation, bucket, key),
            Noted::Bucket { bucket, space, refused } => {
                access::looked(bucket, space, refused.map(FilesRefusal::code));
            }
            Noted::Copies { key } => access::reads(key),
            Noted::Refused { code } => access::refused(code),
        }
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.0.cell.read(move |state| look(state.files())).await.map_err(stopped)
    }

    async fn ask(&self, caller: AccountId, command: FilesCommand) -> Result<Done, Failure> {
        let answer = self.0.cell.ask(caller, None, Command::Files(command)).await.map_err(stopped)?;
        answer.map_err(Failure::Refused)
    }

    async fn store(
        &self,
        caller: AccountId,
        bytes: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    ) -> Result<(Hash, ByteSize), Failure> {
        // Something is asked next, which finds the claim: both go into the log together.
        let stored = self.0.store_ahead(caller, bytes, self.0.options.max_upload).await;
        stored.map(|(stored, _)| stored).map_err(not_stored)
    }

    async fn join(
        &self,
        caller: AccountId,
        parts: Vec<(Hash, ByteSize)>,
    ) -> Result<(Hash, ByteSize), Failure> {
        let place = || self.0.chunks.places.take(caller, 1).ok_or(Failure::TooMany(JOIN_PAUSE));
        let join = self.0.chunks.joins.begin(&self.0, caller, parts, place)?;
        match join.ended().await {
            Some(Ok(whole)) => Ok(whole),
            Some(Err(error)) => Err(not_joined(&error)),
            None => Err(Failure::Broken(fault("put that object together", &"its join went away"))),
        }
    }

    async fn claim(&self, caller: AccountId, blob: (Hash, ByteSize)) -> Result<(), Failure> {
        self.0.blobs.link(&blob.0).await.map_err(failed)?;
        self.0.claim(caller, vec![blob]).await.map_err(not_stored)
    }

    async fn read(&self, blob: Hash, range: Option<Range<u64>>) -> Result<Pieces, Failure> {
        fn boxed(pieces: impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static) -> Pieces {
            pieces.map(|piece| piece.map_err(BoxError::from)).boxed()
        }
        match range {
            None => self.0.blobs.stream(&blob).await.map(|(_, pieces)| boxed(pieces)),
            Some(range) => self.0.blobs.stream_range(&blob, range).await.map(boxed),
        }
        .map_err(failed)
    }
}

fn not_stored(error: DriveError) -> Failure {
    match error {
        DriveError::Refused(refusal) => Failure::Refused(refusal),
        DriveError::Cell(error) => stopped(error),
        DriveError::Blob(error) => failed(error),
        strange @ DriveError::Strange(_) => Failure::Broken(fault("store that object", &strange)),
    }
}

/// The same of a failure that others were told, too.
fn not_joined(error: &DriveError) -> Failure {
    match error {
        DriveError::Blob(error) if matches!(error.reason(), BlobError::DiskFull { .. }) => Failure::Full,
        DriveError::Blob(error) if !error.is_passing() => {
            Failure::Broken(fault("put that object together", error))
        }
        error => Failure::Unavailable(fault("put that object together", error)),
    }
}

fn stopped(error: CellError) -> Failure {
    Failure::Unavailable(error.to_string())
}

fn failed(error: BlobError) -> Failure {
    match error {
        BlobError::TooLarge { limit } => Failure::TooLarge { limit },
        BlobError::Body { source } => match source.downcast_ref::<SlowBody>() {
            Some(slow) => Failure::Slow(slow.to_string()),
            None => Failure::Body(source),
        },
        error if matches!(error.reason(), BlobError::DiskFull { .. }) => {
            tracing::error!("{error}");
            Failure::Full
        }
        error if error.is_passing() => {
            Failure::Unavailable(fault("reach the server that keeps its objects", &error))
        }
        error => Failure::Broken(fault("read or write that object", &error)),
    }
}
