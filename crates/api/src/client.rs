//! A client of the hub's HTTP API that asks again when a connection breaks, without doing anything twice.

mod downloads;
mod files;
mod inputs;
mod plain;
mod results;
mod transfer;
mod upload;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RANGE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::{Connected, Connection as PoolConnection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pumasi_types::{Hash, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::{Channel, Endpoint};

use crate::tls::{self, Connection, DialError, Fingerprint, HubAddress, MachineIdentity, Pin};
use crate::wire::{ErrorBody, StoredBlob};

use self::transfer::{Sink, SourceError, upload};

pub use self::files::{ListOf, ReadFiles};
pub use self::inputs::JobInput;
pub use self::plain::{Download, TextAnswer};
pub use self::transfer::{Progress, Source, hash_source, part_path};
pub use self::upload::{Content, ReadSeek, UPLOAD_MIN, Upload, Uploaded};

/// Header that carries a [`RequestId`].
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest JSON answer that is read, in bytes.
pub const JSON_BYTES_MAX: u64 = 64 << 20;

/// How long a hub may be silent; longer than it holds back any answer.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Tries of one request.
const TRIES: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest error answer that is read, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// A secret that stands for an account. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }

    fn header(&self) -> HeaderValue {
        let text = format!("Bearer {}", self.0);
        let mut value = HeaderValue::try_from(text).expect("a token is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A text that cannot be a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token: expected 1 to 512 letters, digits and signs without spaces")]
pub struct ParseTokenError;

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Token, ParseTokenError> {
        let valid = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Token(text.to_owned())) } else { Err(ParseTokenError) }
    }
}

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke again and again.
    #[error("cannot reach the hub at {address}")]
    Unreachable {
        /// Where it should be.
        address: HubAddress,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The hub's certificate is not the pinned one.
    #[error("the hub at {address} shows the certificate {seen}, but {expected} is pinned")]
    Pinned {
        /// Where the hub is.
        address: HubAddress,
        /// Fingerprint that it should have.
        expected: Fingerprint,
        /// Fingerprint that it has.
        seen: Fingerprint,
    },
    /// The hub answered that it will not.
    #[error("{}", body.message)]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Code and reason.
        body: Box<ErrorBody>,
    },
    /// The answer is not what a hub says.
    #[error("the hub at {address} gave a strange answer to {request}: {problem}")]
    Protocol {
        /// Where the hub is.
        address: HubAddress,
        /// Method and path.
        request: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The bytes of a blob are not those that its name stands for.
    #[error(
        "blob {expected} was damaged on its way, or changed: the bytes that arrived have the hash {seen}"
    )]
    Damaged {
        /// Its name.
        expected: Hash,
        /// The hash of what arrived.
        seen: Hash,
    },
    /// An answer is longer than the caller wants to take.
    #[error("the answer to {request} is longer than {limit} bytes")]
    TooLarge {
        /// Method and path.
        request: String,
        /// The most bytes that are taken.
        limit: u64,
    },
    /// A file of this machine cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    Local {
        /// `read` or `write`.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ClientError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            ClientError::Unreachable { .. } => {
                "check the address and that the hub is running; `http://` is needed for a hub without TLS"
            }
            ClientError::Pinned { .. } => {
                "somebody may be between you and the hub. Ask its operator for the fingerprint, and only if it \
                 is this one log in again with it"
            }
            ClientError::Refused { status, body } => match status.as_u16() {
                401 => "log in with a valid token: `pumasi login HUB --token TOKEN`",
                402 => "ask for less, or get money: `pumasi account` shows what is there",
                403 => "use an account that may do this, or ask an operator",
                404 => "check the name or number",
                413 => "send less, or ask the operator to raise the limit",
                429 | 503 => "wait a moment and try again",
                507 if body.code == "disk_full" => "try again when its operator has made room",
                507 => {
                    "make room: remove something for good, `pumasi trash --empty`, or ask the operator for more"
                }
                500.. => "the hub itself failed: its log says more, ask its operator",
                _ => "change the request as the message says",
            },
            ClientError::Protocol { .. } => {
                "check that the address is a hub's and that both have the same version"
            }
            ClientError::Damaged { .. } => "try again; if it stays so, tell the hub's operator",
            ClientError::TooLarge { .. } => "allow more bytes, or fetch a smaller part",
            ClientError::Local { .. } => "check path, permissions and free space",
        }
    }

    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused { body, .. } => Some(&body.code),
            _ => None,
        }
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Opens the connections of the pool.
#[derive(Clone, Debug)]
struct Connector {
    address: HubAddress,
    pin: Pin,
    machine: Option<MachineIdentity>,
    alpn: &'static [u8],
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    /// Shared, so that it can be taken out of the chain of errors it ends up in.
    type Error = Arc<DialError>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { address, pin, machine, alpn } = self.clone();
        Box::pin(async move { Ok(TokioIo::new(tls::dial(&address, &pin, machine.as_ref(), alpn).await?)) })
    }
}

impl PoolConnection for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// A hub that requests are sent to. Clones share their connections.
#[derive(Clone)]
pub struct HubClient {
    address: HubAddress,
    pin: Pin,
    token: Option<Token>,
    machine: Option<MachineIdentity>,
    http: Client<Connector, Body>,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient")
            .field("address", &self.address)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

/// A request that can be sent more than once.
struct Call<'a> {
    method: Method,
    path: &'a str,
    json: Option<Bytes>,
    upload: Option<(&'a Source, Progress)>,
    request_id: Option<RequestId>,
    /// Which bytes of the answer, from the first to before the last.
    range: Option<std::ops::Range<u64>>,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str) -> Call<'a> {
        Call { method, path, json: None, upload: None, request_id: None, range: None }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A try that failed, and whether another may do better.
struct Failure {
    error: ClientError,
    /// Worth another try, after at least this long.
    again: Option<Duration>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure { error, again: None }
    }
}

/// Counts tries and waits between them.
struct Patience {
    tries_left: u32,
    pause: Duration,
}

impl Patience {
    fn new() -> Patience {
        Patience { tries_left: TRIES - 1, pause: PAUSE_FIRST }
    }

    /// Waits before the next try, or gives the failure back when there is none.
    async fn after(&mut self, failure: Failure) -> Result<(), ClientError> {
        match failure.again {
            Some(least) if self.tries_left > 0 => {
                tokio::time::sleep(self.pause.max(least).min(PAUSE_MAX)).await;
                self.tries_left -= 1;
                self.pause *= 2;
                Ok(())
            }
            _ => Err(failure.error),
        }
    }
}

impl HubClient {
    /// A client of the hub at `address`; without a token only what is open to all can be asked.
    ///
    /// Connects with the first request.
    pub fn new(address: HubAddress, pin: Pin, token: Option<Token>) -> HubClient {
        HubClient::with(address, pin, token, None)
    }

    /// The same client for a machine, which proves in each handshake who it is.
    pub fn for_machine(self, machine: MachineIdentity) -> HubClient {
        HubClient::with(self.address, self.pin, self.token, Some(machine))
    }

    fn with(
        address: HubAddress,
        pin: Pin,
        token: Option<Token>,
        machine: Option<MachineIdentity>,
    ) -> HubClient {
        let connector = Connector {
            address: address.clone(),
            pin: pin.clone(),
            machine: machine.clone(),
            alpn: tls::ALPN_HTTP1,
        };
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        HubClient { address, pin, token, machine, http }
    }

    /// Where the hub is.
    pub fn address(&self) -> &HubAddress {
        &self.address
    }

    /// Which certificate it must show.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// A fresh random id, so that a request is done once however often it is sent.
    pub fn new_request_id() -> RequestId {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        RequestId(u128::from_be_bytes(bytes))
    }

    /// A lazy gRPC channel to the hub for the worker link. Call it inside a tokio runtime.
    pub fn channel(&self) -> Channel {
        let connector = Connector {
            address: self.address.clone(),
            pin: self.pin.clone(),
            machine: self.machine.clone(),
            alpn: tls::ALPN_HTTP2,
        };
        // The scheme is http because the connector, not tonic, speaks TLS.
        Endpoint::from_shared(format!("http://{}", self.address.authority()))
            .expect("an address is a valid authority")
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector)
    }

    /// Puts the token on a gRPC request.
    pub fn authorize<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            let value = format!("Bearer {}", token.0);
            let value = value.parse().expect("a token is visible ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Asks for the JSON at `path`.
    ///
    /// # Errors
    /// When the hub cannot be reached, refuses, or answers something else than a `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let call = Call::new(Method::GET, path);
        self.parse(&call, self.collect(&call, JSON_BYTES_MAX).await?)
    }

    /// Asks for the bytes at `path`, at most `bytes_max`.
    ///
    /// # Errors
    /// When the hub cannot be reached, refuses, or has more to say.
    pub async fn get_bytes(&self, path: &str, bytes_max: u64) -> Result<Bytes, ClientError> {
        self.collect(&Call::new(Method::GET, path), bytes_max).await
    }

    /// Sends `body` as JSON; with the same id it is done once. Without an id it gets a fresh one.
    ///
    /// # Errors
    /// When the hub cannot be reached, refuses, or answers something else than a `T`. After
    /// [`ClientError::Unreachable`] it may have been done: ask again with the same id to find out.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        request_id: Option<RequestId>,
    ) -> Result<T, ClientError> {
        self.send_json(Method::POST, path, body, request_id).await
    }

    /// The same with PUT: sets what is at `path`.
    ///
    /// # Errors
    /// As [`HubClient::post`].
    pub async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        request_id: Option<RequestId>,
    ) -> Result<T, ClientError> {
        self.send_json(Method::PUT, path, body, request_id).await
    }

    /// Takes away what is at `path`; with the same id once.
    ///
    /// # Errors
    /// As [`HubClient::post`].
    pub async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: Option<RequestId>,
    ) -> Result<T, ClientError> {
        self.send_json(Method::DELETE, path, &(), request_id).await
    }

    async fn send_json<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        request_id: Option<RequestId>,
    ) -> Result<T, ClientError> {
        let mut call = Call::new(method, path);
        call.json = Some(self.json(&call, body)?);
        call.request_id = Some(request_id.unwrap_or_else(Self::new_request_id));
        self.parse(&call, self.collect(&call, JSON_BYTES_MAX).await?)
    }

    /// Whether the caller holds the blob: it sent or claimed it within the last 48 hours.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses to say.
    pub async fn has_blob(&self, hash: Hash) -> Result<bool, ClientError> {
        let path = format!("/v1/blobs/{hash}");
        match self.collect(&Call::new(Method::HEAD, &path), 0).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores bytes whose hash is `expected` (see [`hash_source`]) as a blob.
    ///
    /// # Errors
    /// When the source cannot be read, the hub cannot be reached or refuses, or the hub got other bytes.
    pub async fn put_blob(
        &self,
        source: &Source,
        expected: Hash,
        progress: Progress,
    ) -> Result<StoredBlob, ClientError> {
        let call = Call { upload: Some((source, progress)), ..Call::new(Method::POST, "/v1/blobs") };
        let stored: StoredBlob = self.parse(&call, self.collect(&call, JSON_BYTES_MAX).await?)?;
        if stored.hash == expected {
            Ok(stored)
        } else {
            Err(ClientError::Damaged { expected, seen: stored.hash })
        }
    }

    /// Fetches a blob of at most `bytes_max` bytes and checks its hash.
    ///
    /// # Errors
    /// When the hub cannot be reached or has no such blob, or it is larger or damaged.
    pub async fn get_blob(
        &self,
        hash: Hash,
        bytes_max: u64,
        progress: Progress,
    ) -> Result<Bytes, ClientError> {
        let mut sink = Sink::Memory(BytesMut::new());
        self.download(hash, &mut sink, bytes_max, &progress).await?;
        match sink {
            Sink::Memory(bytes) => Ok(bytes.freeze()),
            Sink::File(..) => unreachable!("the sink is memory"),
        }
    }

    /// Fetches a blob into a file, which appears complete and checked or not at all; says how long it is.
    ///
    /// # Errors
    /// As [`HubClient::get_blob`], and when the file cannot be written.
    pub async fn get_blob_to(&self, hash: Hash, path: &Path, progress: Progress) -> Result<u64, ClientError> {
        let part = part_path(path);
        let local = |source| ClientError::Local { verb: "write", path: path.to_owned(), source };
        let file = tokio::fs::File::create(&part).await.map_err(local)?;
        let mut sink = Sink::File(file, part.clone());
        let result = match self.download(hash, &mut sink, u64::MAX, &progress).await {
            Ok(len) => tokio::fs::rename(&part, path).await.map(|()| len).map_err(local),
            Err(error) => Err(error),
        };
        if result.is_err() {
            // What failed is more telling than that its remains could not be removed.
            let _ = tokio::fs::remove_file(&part).await;
        }
        result
    }

    async fn download(
        &self,
        hash: Hash,
        sink: &mut Sink,
        bytes_max: u64,
        progress: &Progress,
    ) -> Result<u64, ClientError> {
        let path = format!("/v1/blobs/{hash}");
        let call = Call::new(Method::GET, &path);
        let mut patience = Patience::new();
        loop {
            match self.try_download(&call, hash, sink, bytes_max, progress).await {
                Ok(len) => return Ok(len),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    async fn try_download(
        &self,
        call: &Call<'_>,
        hash: Hash,
        sink: &mut Sink,
        bytes_max: u64,
        progress: &Progress,
    ) -> Result<u64, Failure> {
        sink.restart().await?;
        let mut body = self.try_send(call).await?.into_body();
        let mut hasher = blake3::Hasher::new();
        let mut len = 0;
        while let Some(chunk) = self.next_chunk(&mut body).await? {
            len += chunk.len() as u64;
            if len > bytes_max {
                return Err(ClientError::TooLarge { request: call.name(), limit: bytes_max }.into());
            }
            hasher.update(&chunk);
            sink.write(&chunk).await?;
            progress(len);
        }
        sink.finish().await?;
        let seen = Hash::from(hasher.finalize());
        if seen == hash { Ok(len) } else { Err(ClientError::Damaged { expected: hash, seen }.into()) }
    }

    /// Sends a call until it is answered, and leaves the answer to be read.
    async fn open(&self, call: &Call<'_>) -> Result<Incoming, ClientError> {
        let mut patience = Patience::new();
        loop {
            match self.try_send(call).await {
                Ok(response) => return Ok(response.into_body()),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    /// Sends a call until it is answered, and reads the whole answer.
    async fn collect(&self, call: &Call<'_>, bytes_max: u64) -> Result<Bytes, ClientError> {
        let mut patience = Patience::new();
        loop {
            match self.try_collect(call, bytes_max).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    async fn try_collect(&self, call: &Call<'_>, bytes_max: u64) -> Result<Bytes, Failure> {
        let response = self.try_send(call).await?;
        self.read_all(call, response.into_body(), bytes_max).await
    }

    async fn read_all(&self, call: &Call<'_>, mut body: Incoming, bytes_max: u64) -> Result<Bytes, Failure> {
        let too_large = || ClientError::TooLarge { request: call.name(), limit: bytes_max };
        if body.size_hint().lower() > bytes_max {
            return Err(too_large().into());
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next_chunk(&mut body).await? {
            if (all.len() + chunk.len()) as u64 > bytes_max {
                return Err(too_large().into());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    async fn next_chunk(&self, body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
            match frame {
                Err(elapsed) => return Err(self.broken(elapsed)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(self.broken(error)),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Sends a call once; an answer with an error status is a failure.
    async fn try_send(&self, call: &Call<'_>) -> Result<Response<Incoming>, Failure> {
        let sent = Arc::new(AtomicU64::new(0));
        let request = self.request(call, &sent).await?;
        let response = self.http.request(request);
        tokio::pin!(response);
        let mut before = 0;
        let answer = loop {
            match tokio::time::timeout(SILENCE_MAX, &mut response).await {
                Ok(answer) => break answer.map_err(|error| self.no_answer(error, call))?,
                Err(elapsed) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == before {
                        return Err(self.broken(elapsed));
                    }
                    before = now;
                }
            }
        };
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(call, answer).await) }
    }

    async fn request(&self, call: &Call<'_>, sent: &Arc<AtomicU64>) -> Result<Request<Body>, ClientError> {
        let uri = format!("http://{}{}", self.address.authority(), call.path);
        let mut request = Request::builder().method(call.method.clone()).uri(uri);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if let Some(id) = call.request_id {
            request = request.header(IDEMPOTENCY_KEY, id.to_string());
        }
        if let Some(range) = &call.range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let body = match (&call.upload, &call.json) {
            (Some((source, progress)), _) => {
                let (body, len) = upload(source, progress.clone(), sent.clone()).await?;
                request =
                    request.header(CONTENT_LENGTH, len).header(CONTENT_TYPE, "application/octet-stream");
                body
            }
            (None, Some(json)) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::new(json.clone()).map_err(|never| match never {}).boxed_unsync()
            }
            (None, None) => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        };
        request.body(body).map_err(|error| self.strange(call, format!("it cannot be sent: {error}")))
    }

    /// Reads why the hub will not.
    async fn refusal(&self, call: &Call<'_>, response: Response<Incoming>) -> Failure {
        let (parts, body) = response.into_parts();
        let text = self.read_all(call, body, ERROR_BYTES_MAX).await.unwrap_or_default();
        let body = serde_json::from_slice(&text).unwrap_or_else(|_| ErrorBody {
            code: format!("http_{}", parts.status.as_u16()),
            message: format!("{} was answered with {}", call.name(), parts.status),
            number: None,
            state: None,
            possible: None,
        });
        let again = match parts.status.as_u16() {
            429 | 502 | 503 | 504 => Some(retry_after(&parts.headers)),
            _ => None,
        };
        Failure { error: ClientError::Refused { status: parts.status, body: Box::new(body) }, again }
    }

    fn no_answer(&self, error: legacy::Error, call: &Call<'_>) -> Failure {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(dial) = error.downcast_ref::<Arc<DialError>>() {
                return self.no_connection(dial.clone());
            }
            // The source of an upload failed, not the hub.
            let local = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let local = local.and_then(|inner| inner.downcast_ref::<SourceError>());
            if let (Some(local), Some((Source::File(path), _))) = (local, &call.upload) {
                let source = std::io::Error::new(local.0.kind(), local.0.to_string());
                return ClientError::Local { verb: "read", path: path.clone(), source }.into();
            }
            cause = error.source();
        }
        self.broken(error)
    }

    fn no_connection(&self, error: Arc<DialError>) -> Failure {
        let address = self.address.clone();
        match *error {
            DialError::WrongCertificate(wrong) => {
                ClientError::Pinned { address, expected: wrong.expected, seen: wrong.seen }.into()
            }
            DialError::Handshake(_) => ClientError::Unreachable { address, source: Box::new(error) }.into(),
            DialError::Connect(_) | DialError::TimedOut => self.broken(error),
        }
    }

    /// A connection that broke: the next may hold.
    fn broken(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        let error = ClientError::Unreachable { address: self.address.clone(), source: source.into() };
        Failure { error, again: Some(Duration::ZERO) }
    }

    fn parse<T: DeserializeOwned>(&self, call: &Call<'_>, bytes: Bytes) -> Result<T, ClientError> {
        // Endpoints without an answer send no bytes, which are read as JSON's nothing.
        let json: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(json).map_err(|error| self.strange(call, error.to_string()))
    }

    /// A body as JSON.
    fn json<B: Serialize>(&self, call: &Call<'_>, body: &B) -> Result<Bytes, ClientError> {
        let json = serde_json::to_vec(body).map(Bytes::from);
        json.map_err(|error| self.strange(call, format!("the request cannot be written as JSON: {error}")))
    }

    /// What no hub says.
    fn strange(&self, call: &Call<'_>, problem: String) -> ClientError {
        ClientError::Protocol { address: self.address.clone(), request: call.name(), problem }
    }
}

/// A text as one segment of a path or one value of a query (RFC 3986, section 2).
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// How long the hub asks to wait, in whole seconds (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
