//! HTTP to the server of a bucket: connections that are kept, over TLS where its address says so, and no endless wait.

use std::error::Error;
use std::io;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use pumasi_fetch::BadRoots;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long it may take until a server is connected to.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a request may take until its answer begins: time for a whole pack over 4 Mbit/s.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// How long a body may stand still.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Connections to a server that are kept though nothing goes over them, and for how long.
const IDLE_CONNECTIONS: usize = 16;
const IDLE_MAX: Duration = Duration::from_secs(20);
/// The longest answer that is a document, in bytes: a page of 1,000 names has a third of a MiB.
const DOCUMENT_MAX: usize = 8 << 20;

/// Makes the client of a server.
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    /// Trusts the authorities of the system, and those in a file.
    pub(super) fn trusting(roots: Option<&Path>) -> Result<Connector, BadRoots> {
        pumasi_fetch::trusting(roots).map(Connector)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(self.clone());
        Ok(HttpClient::new(Server(client)))
    }
}

/// A connection, with TLS or without.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for S {}

impl Connection for Box<dyn Line> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Line>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move {
            let dialed = timeout(CONNECT_MAX, dial(&tls, &uri)).await;
            let line = dialed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten();
            line.map(TokioIo::new).map_err(|e| {
                let server = uri.authority().map_or("its server", |authority| authority.as_str());
                io::Error::new(e.kind(), format!("cannot connect to {server}: {e}"))
            })
        })
    }
}

async fn dial(tls: &TlsConnector, uri: &Uri) -> io::Result<Box<dyn Line>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if is_plain {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// A server cannot write on a condition. It is no trouble that passes, so it is asked only once.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server {server} does not write on the condition that nothing is there (If-None-Match: it answers 501)"
)]
pub(super) struct Unconditional {
    server: String,
}

impl Unconditional {
    /// The reason of a failure, if this is it.
    pub(super) fn behind(error: &object_store::Error) -> Option<&Unconditional> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// A server that speaks S3.
#[derive(Debug)]
struct Server(Client<Connector, HttpRequestBody>);

#[async_trait]
impl HttpService for Server {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let condition = request.headers().contains_key(header::IF_NONE_MATCH).then(|| request.uri().clone());
        let answer = timeout(ANSWER_MAX, self.0.request(request)).await.map_err(again)?.map_err(again)?;
        let (mut head, body) = answer.into_parts();
        if head.status == StatusCode::NOT_IMPLEMENTED
            && let Some(uri) = condition
        {
            let server = uri.authority().map_or_else(String::new, |authority| authority.to_string());
            return Err(HttpError::new(HttpErrorKind::Unknown, Unconditional { server }));
        }
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            // The object ends before: what is asked for is not there, and is not a server's trouble that passes.
            head.status = StatusCode::NOT_FOUND;
        }
        if !is_document(&head.headers) {
            return Ok(HttpResponse::from_parts(head, HttpResponseBody::new(patient(body))));
        }
        // A document that breaks off is asked for again as a whole; objects are read on from where they were.
        let whole = timeout(SILENCE_MAX, Limited::new(body, DOCUMENT_MAX).collect()).await;
        let whole = whole.map_err(again)?.map_err(again)?.to_bytes();
        Ok(HttpResponse::from_parts(head, whole.into()))
    }
}

/// Whether an answer tells of objects or of what is wrong, where others are an object.
fn is_document(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let without_charset = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    without_charset.trim_ascii().to_ascii_lowercase().ends_with(b"/xml")
}

/// A body that fails when it stands still.
fn patient(body: Incoming) -> impl Body<Data = Bytes, Error = HttpError> + Send + Sync {
    StreamBody::new(stream::try_unfold(body, |mut body| async move {
        match timeout(SILENCE_MAX, body.frame()).await.map_err(again)? {
            None => Ok::<_, HttpError>(None),
            Some(frame) => Ok(Some((frame.map_err(again)?, body))),
        }
    }))
}

/// What went wrong on the way. Whether the request was carried out does not matter: it can be sent again.
fn again(error: impl Into<Box<dyn Error + Send + Sync>>) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Request, error.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    use object_store::{GetOptions, GetRange, ObjectStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::Bucket;
    use super::*;
    use crate::BlobError;

    /// The bucket `packs` of a server.
    fn packs(server: &str) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_bucket_name("packs")
            .with_endpoint(server)
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_allow_http(true)
            .with_http_connector(Connector::trusting(None).unwrap())
    }

    #[tokio::test]
    async fn what_lies_behind_the_end_of_an_object_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut line, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            assert!(line.read(&mut asked).await.unwrap() > 0);
            let answer = b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n";
            line.write_all(answer).await.unwrap();
        });
        let objects = packs(&server).build().unwrap();
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(10..20)));
        let error = objects.get_opts(&"a.pack".into(), options).await.map(drop).unwrap_err();
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
    }

    /// A server of one object, which has the length of a store's id. It knows no conditions.
    async fn unconditional(listener: TcpListener) {
        let mut object = None;
        loop {
            let (mut line, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            let (head, body) = loop {
                assert!(line.read_buf(&mut asked).await.unwrap() > 0);
                let text = std::str::from_utf8(&asked).unwrap();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && (head.starts_with("GET") || body.len() == 32)
                {
                    break (head.to_ascii_lowercase(), body.to_owned());
                }
            };
            let (status, sent) = match head.starts_with("get") {
                true => object.clone().map_or(("404 Not Found", String::new()), |object| ("200 OK", object)),
                false if head.contains("if-none-match") => ("501 Not Implemented", String::new()),
                false => {
                    object = Some(body);
                    ("200 OK", String::new())
                }
            };
            let length = sent.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\netag: \"1\"\r\n\
                 last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{sent}"
            );
            line.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_without_conditions_is_named_at_once_and_taken_only_by_who_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(unconditional(listener));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("packs")).unwrap();
        let bucket: Bucket = "s3://packs".parse().unwrap();
        let builder = packs(&format!("http://{address}"));
        let objects = Arc::new(builder.clone().build().unwrap());
        let error = bucket.claim(objects, dir.path()).await.map(drop).unwrap_err();
        assert!(matches!(error, BlobError::Bucket { .. }), "{error:?}");
        let told = error.to_string();
        assert!(
            told.contains(&address.to_string()) && told.contains("AWS_CONDITIONAL_PUT=disabled"),
            "{told}"
        );

        let objects = builder.with_conditional_put(S3ConditionalPut::Disabled).build().unwrap();
        bucket.claim(Arc::new(objects), dir.path()).await.unwrap();
    }
}
