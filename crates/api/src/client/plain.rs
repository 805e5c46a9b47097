//! Answers that are no JSON: texts of other protocols, and streams without an end that is known before.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::{Call, ClientError, HubClient};

/// The longest text that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What a server said, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its content type; empty when it names none.
    pub content_type: String,
    /// Its text; bytes that are no UTF-8 are replaced.
    pub body: String,
}

/// An answer that comes piece by piece.
pub struct Download {
    pub(super) client: HubClient,
    /// None when nothing was asked for.
    pub(super) body: Option<Incoming>,
}

impl Download {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// When the connection breaks or the hub breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        match &mut self.body {
            None => Ok(None),
            Some(body) => self.client.next_chunk(body).await.map_err(|failure| failure.error),
        }
    }
}

impl HubClient {
    /// Sends a text once, and returns the answer whatever its status.
    ///
    /// # Errors
    /// When the server cannot be reached or says more than anybody needs.
    pub async fn post_text(&self, path: &str, text: String) -> Result<TextAnswer, ClientError> {
        let call = Call::new(Method::POST, path);
        let request = Request::post(format!("http://{}{path}", self.address.authority()))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
        let request = request.map_err(|error| self.strange(&call, format!("it cannot be sent: {error}")))?;
        let response =
            self.http.request(request).await.map_err(|error| self.no_answer(error, &call).error)?;
        let (parts, body) = response.into_parts();
        let body = self.read_all(&call, body, TEXT_BYTES_MAX).await.map_err(|failure| failure.error)?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(TextAnswer {
            status: parts.status.as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Asks for what is at `path`, of any length.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses.
    pub async fn stream(&self, path: &str) -> Result<Download, ClientError> {
        Ok(Download { client: self.clone(), body: Some(self.open(&Call::new(Method::GET, path)).await?) })
    }
}
