//! A blob from a recipe: bytes that come, and ranges of blobs that their sender holds.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use pumasi_blobs::BlobError;
use pumasi_chunks::recipe::{Decoder, RecipeFault, Step};
use pumasi_types::{AccountId, Hash};

use crate::cell::CellError;
use crate::server::Hub;

/// Why a recipe makes no blob.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    #[error(transparent)]
    Recipe(#[from] RecipeFault),
    #[error("you do not hold {0}, from which the recipe copies: send its bytes instead")]
    NotHeld(Hash),
    #[error("the recipe copies from {0} what lies behind its end")]
    Beyond(Hash),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error("the recipe broke off before its end; send it again")]
    Body(axum::Error),
}

/// A recipe that is carried out.
struct Composing<B> {
    hub: Arc<Hub>,
    account: AccountId,
    decoder: Decoder,
    body: B,
    copying: Option<BoxStream<'static, Result<Bytes, BlobError>>>,
}

/// The bytes that a recipe of this account makes.
pub(crate) fn compose(
    hub: Arc<Hub>,
    account: AccountId,
    body: impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin,
) -> impl Stream<Item = Result<Bytes, ComposeError>> + Send {
    let composing = Composing { hub, account, decoder: Decoder::default(), body, copying: None };
    stream::try_unfold(composing, |mut composing| async move {
        Ok(composing.next().await?.map(|piece| (piece, composing)))
    })
}

impl<B: Stream<Item = Result<Bytes, axum::Error>> + Unpin> Composing<B> {
    async fn next(&mut self) -> Result<Option<Bytes>, ComposeError> {
        loop {
            if let Some(pieces) = &mut self.copying {
                match pieces.next().await.transpose()? {
                    Some(piece) => return Ok(Some(piece)),
                    None => self.copying = None,
                }
            }
            match self.decoder.step()? {
                Some(Step::Data(data)) => return Ok(Some(data)),
                Some(Step::Bases(bases)) => {
                    if let Some(base) = super::not_held(&self.hub.cell, self.account, &bases).await? {
                        return Err(ComposeError::NotHeld(base));
                    }
                }
                Some(Step::Copy { base, range }) => {
                    let size = self.hub.blobs.size(&base)?.ok_or(BlobError::NotFound { hash: base })?;
                    if range.end > size.0 {
                        return Err(ComposeError::Beyond(base));
                    }
                    self.copying = Some(self.hub.blobs.stream_range(&base, range).await?.boxed());
                }
                None => match self.body.next().await {
                    Some(bytes) => self.decoder.push(bytes.map_err(ComposeError::Body)?),
                    None => {
                        std::mem::take(&mut self.decoder).finish()?;
                        return Ok(None);
                    }
                },
            }
        }
    }
}
