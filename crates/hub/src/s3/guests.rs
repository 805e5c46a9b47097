//! The hub as the gateway for S3 needs it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pumasi_blobs::BlobError;
use pumasi_core::{Command, Done, Files, FilesCommand};
use pumasi_s3::{Backend, BoxError, Failure, Pieces};
use pumasi_types::{AccountId, ByteSize, Hash};

use crate::auth::Caller;
use crate::cell::CellError;
use crate::drive::DriveError;
use crate::error::fault;
use crate::server::Hub;

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

    /// Stores bytes that the caller's own parts have already, so that the time it takes tells nothing of what others keep.
    async fn put_together(
        &self,
        caller: AccountId,
        bytes: impl Stream<Item = Result<Bytes, BoxError>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), DriveError> {
        let put = self.0.blobs.put_stream(bytes, limit).await?;
        self.0.claim(caller, vec![put]).await?;
        Ok(put)
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
        self.0.requests.take(caller.account, Instant::now()).map_err(Failure::TooMany)?;
        Ok(caller.account)
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
        limit: Option<ByteSize>,
    ) -> Result<(Hash, ByteSize), Failure> {
        let stored = match limit {
            // Something is asked next, which finds the claim: both go into the log together.
            None => {
                let stored = self.0.store_ahead(caller, bytes, self.0.options.max_upload).await;
                stored.map(|(stored, _)| stored)
            }
            Some(limit) => self.put_together(caller, bytes, limit).await,
        };
        stored.map_err(|error| match error {
            DriveError::Refused(refusal) => Failure::Refused(refusal),
            DriveError::Cell(error) => stopped(error),
            DriveError::Blob(error) => failed(error),
            strange @ DriveError::Strange(_) => Failure::Broken(fault("store that object", &strange)),
        })
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

fn stopped(error: CellError) -> Failure {
    Failure::Unavailable(error.to_string())
}

fn failed(error: BlobError) -> Failure {
    match error {
        BlobError::TooLarge { limit } => Failure::TooLarge { limit },
        BlobError::Body { source } => Failure::Body(source),
        BlobError::DiskFull { .. } => {
            tracing::error!("{error}");
            Failure::Full
        }
        error => Failure::Broken(fault("read or write that object", &error)),
    }
}
