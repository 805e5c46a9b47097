//! A hub in memory, and a client that signs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use pumasi_core::{Command, Done, Files, FilesCommand, Refusal, Role, Roles, State};
use pumasi_s3::{Backend, Body, BoxError, Failure, Noted, Pieces, S3Service};
use pumasi_sigv4::Signer;
use pumasi_types::{AccountId, ByteSize, Hash, Time};

/// When everything happens, in nanoseconds.
const NOW: u64 = 1_700_000_000_000_000_000;

/// A hub in memory; the secret of each account is its name twice.
#[derive(Clone)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    state: State,
    time: u64,
    blobs: HashMap<Hash, Bytes>,
    /// What was noted of requests.
    noted: Vec<String>,
}

impl Memory {
    /// A hub with these accounts.
    pub(crate) fn new(accounts: &[&str]) -> Memory {
        let (state, blobs, noted) = (State::new(), HashMap::new(), Vec::new());
        let memory = Memory { inner: Arc::new(Mutex::new(Inner { state, time: NOW, blobs, noted })) };
        let open = |name: &str, roles: Roles| {
            let token = Hash::of(name.as_bytes());
            let command = Command::OpenAccount { name: name.to_owned(), roles, token };
            memory.apply(State::SYSTEM, command).expect("an account opens");
        };
        open("operator", Roles::from_iter(Role::ALL));
        accounts.iter().for_each(|name| open(name, Roles::default()));
        memory
    }

    /// Has something done.
    pub(crate) fn apply(&self, caller: AccountId, command: Command) -> Result<Done, Refusal> {
        let mut inner = self.inner.lock().expect("nobody panicked");
        inner.time += 1_000_000;
        let time = Time(inner.time);
        let request = pumasi_core::Request { caller, id: None, command };
        inner.state.apply(time, &[request]).answers.pop().expect("one answer")
    }

    pub(crate) fn account(&self, name: &str) -> AccountId {
        let inner = self.inner.lock().expect("nobody panicked");
        inner.state.ledger().account_named(name).expect("it was opened")
    }

    /// What was noted since it was asked last.
    pub(crate) fn noted(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().expect("nobody panicked").noted)
    }

    /// Forgets all bytes.
    pub(crate) fn lose_bytes(&self) {
        self.inner.lock().expect("nobody panicked").blobs.clear();
    }

    pub(crate) fn client(&self, account: &str) -> Client {
        let service = pumasi_s3::service(self.clone(), None);
        Client { service, signer: Signer { access_key: account.to_owned(), secret_key: account.repeat(2) } }
    }
}

impl Backend for Memory {
    async fn secret(&self, access_key: &str) -> Result<Option<String>, Failure> {
        let inner = self.inner.lock().expect("nobody panicked");
        Ok(inner.state.ledger().account_named(access_key).map(|_| access_key.repeat(2)))
    }

    async fn enter(&self, access_key: &str) -> Result<AccountId, Failure> {
        Ok(self.account(access_key))
    }

    fn note(&self, noted: Noted<'_>) {
        let text = match noted {
            Noted::Wants { operation, bucket, key } => {
                format!("{operation} {} {}", bucket.unwrap_or("-"), key.unwrap_or("-"))
            }
            Noted::Bucket { bucket, space, refused } => {
                let is_there = if space.is_some() { "is there" } else { "is not there" };
                format!("{bucket} {is_there}: {}", refused.map_or("let in", |refused| refused.code()))
            }
            Noted::Copies { key } => format!("copies {key}"),
            Noted::Refused { code } => format!("refused: {code}"),
        };
        self.inner.lock().expect("nobody panicked").noted.push(text);
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(look(self.inner.lock().expect("nobody panicked").state.files()))
    }

    async fn ask(&self, caller: AccountId, command: FilesCommand) -> Result<Done, Failure> {
        self.apply(caller, Command::Files(command)).map_err(Failure::Refused)
    }

    async fn store(
        &self,
        caller: AccountId,
        bytes: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    ) -> Result<(Hash, ByteSize), Failure> {
        let limit = ByteSize(64 << 20);
        let mut bytes = std::pin::pin!(bytes);
        let mut whole = BytesMut::new();
        while let Some(piece) = bytes.next().await {
            whole.extend_from_slice(&piece.map_err(Failure::Body)?);
            if whole.len() as u64 > limit.0 {
                return Err(Failure::TooLarge { limit });
            }
        }
        let put = (Hash::of(&whole), ByteSize(whole.len() as u64));
        self.inner.lock().expect("nobody panicked").blobs.insert(put.0, whole.freeze());
        let claim = FilesCommand::Claim { account: caller, blobs: vec![put] };
        self.apply(State::SYSTEM, Command::Files(claim)).map_err(Failure::Refused)?;
        Ok(put)
    }

    async fn join(
        &self,
        caller: AccountId,
        parts: Vec<(Hash, ByteSize)>,
    ) -> Result<(Hash, ByteSize), Failure> {
        let mut pieces = Vec::new();
        for (part, _) in parts {
            pieces.push(self.read(part, None).await?);
        }
        self.store(caller, stream::iter(pieces).flatten()).await
    }

    async fn claim(&self, caller: AccountId, blob: (Hash, ByteSize)) -> Result<(), Failure> {
        let claim = FilesCommand::Claim { account: caller, blobs: vec![blob] };
        self.apply(State::SYSTEM, Command::Files(claim)).map(drop).map_err(Failure::Refused)
    }

    async fn read(&self, blob: Hash, range: Option<Range<u64>>) -> Result<Pieces, Failure> {
        let bytes = self.inner.lock().expect("nobody panicked").blobs.get(&blob).cloned();
        let bytes = bytes.ok_or_else(|| Failure::Broken("bytes are missing".to_owned()))?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        let piece = bytes.slice(range.start as usize..range.end as usize);
        Ok(stream::iter([Ok(piece)]).boxed())
    }
}

/// As a signature wants it in a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// Where a key of the bucket `bucket` lies.
pub(crate) fn key_path(key: &str) -> String {
    format!("/bucket/{}", encoded(key).replace("%2F", "/"))
}

/// A text as it stood before it was written into XML.
pub(crate) fn unescaped(text: &str) -> String {
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    marks.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Somebody who speaks S3.
pub(crate) struct Client {
    pub(crate) service: S3Service,
    pub(crate) signer: Signer,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The first text in an element of this name.
    pub(crate) fn element(&self, name: &str) -> &str {
        self.elements(name).first().copied().unwrap_or("")
    }

    /// The texts in all elements of this name.
    pub(crate) fn elements(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = self.body.split(open.as_str()).skip(1);
        parts.map(|part| part.split(close.as_str()).next().expect("a part")).collect()
    }

    /// It was done; the answer.
    pub(crate) fn ok(self) -> Answer {
        assert!(self.status.is_success(), "{self:?}");
        self
    }

    /// It was not done, and why.
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.element("Code")), (status, code), "{self:?}");
    }
}

impl Client {
    /// A signed request that says nothing of its body. `to` is an encoded path, with a query whose parameters stand in order.
    pub(crate) fn signed(&self, method: &str, to: &str) -> http::request::Builder {
        let (path, query) = to.split_once('?').unwrap_or((to, ""));
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut request = Request::builder().method(method).uri(format!("http://hub:1{to}"));
        request = request.header("host", "hub:1");
        for (name, value) in self.signer.sign(method, "hub:1", path, query, &time) {
            request = request.header(name, value);
        }
        request
    }

    /// Sends a signed request.
    pub(crate) async fn send(
        &self,
        method: &str,
        to: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body: Bytes = body.into();
        let mut request = self.signed(method, to).header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Body::from(body)).expect("a request")).await
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let response = pumasi_s3::answer(&self.service, request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = BodyExt::collect(body).await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).expect("text"),
        }
    }

    pub(crate) async fn get(&self, to: &str) -> Answer {
        self.send("GET", to, &[], "").await
    }

    pub(crate) async fn put(&self, to: &str, body: impl Into<Bytes>) -> Answer {
        self.send("PUT", to, &[], body).await
    }

    pub(crate) async fn delete(&self, to: &str) -> Answer {
        self.send("DELETE", to, &[], "").await
    }
}
