//! Documents on their way in: they are what their senders' checksums say, or nothing is done. The library hands on what stands
//! in them, and looks at no checksum.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use s3s::dto::StreamingBlob;
use s3s::{Body, HttpRequest, S3Error};

use crate::backend::BoxError;
use crate::digest::Said;

/// Parameters of requests with documents. The checksums of a list of parts are those of the object that is made of them.
const DOCUMENTS: [&str; 4] = ["acl", "delete", "tagging", "versioning"];

/// What is wrong with a document, once it has come.
#[derive(Clone, Default)]
pub(crate) struct Doubt(Arc<Mutex<Option<S3Error>>>);

impl Doubt {
    fn tell(&self, error: S3Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn take(&self) -> Option<S3Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How long the document is that comes with a request, as it is: what comes in chunks has its checksums in them.
fn document_length(request: &HttpRequest) -> Option<u64> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let query = request.uri().query()?;
    let mut names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let is_in_chunks = text("x-amz-content-sha256").is_some_and(|kind| kind.starts_with("STREAMING-"));
    let length = text("content-length")?.parse().ok()?;
    (names.any(|name| DOCUMENTS.contains(&name)) && !is_in_chunks && length > 0).then_some(length)
}

/// Lets the document of a request be checked while it is read: it ends by an error when it is not what its sender says.
pub(crate) fn watched(request: HttpRequest) -> (HttpRequest, Doubt) {
    let doubt = Doubt::default();
    let Some(mut left) = document_length(&request) else { return (request, doubt) };
    let Ok(said) = Said::by(request.headers(), None) else { return (request, doubt) };
    let (head, body) = request.into_parts();
    let (digest, bytes) = said.watch(Some(StreamingBlob::from(body)));
    let (mut said, told) = (Some(said), doubt.clone());
    let checked = bytes.map(move |piece: Result<Bytes, BoxError>| {
        let piece = piece?;
        left = left.saturating_sub(piece.len() as u64);
        let said = if left == 0 { said.take() } else { None };
        if let Some(Err(error)) = said.map(|said| said.check(digest.clone())) {
            let text = error.to_string();
            told.tell(error);
            return Err(BoxError::from(text));
        }
        Ok(Frame::data(piece))
    });
    let body = Body::http_body_unsync(http_body_util::StreamBody::new(checked));
    (HttpRequest::from_parts(head, body), doubt)
}
