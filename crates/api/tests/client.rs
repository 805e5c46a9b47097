//! The client against hubs that break connections, lie, refuse, or are somebody else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pumasi_api::client::{ClientError, HubClient, Progress, Source, Token, escape, hash_source};
use pumasi_api::tls::{Fingerprint, HubAddress, Pin};
use pumasi_api::wire::{HubInfo, Transferred};
use pumasi_types::{Hash, RequestId, TransferId};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the pretended hub does with a request.
#[derive(Clone)]
enum Reply {
    /// Reads it whole, then closes without an answer.
    Close,
    /// Reads it whole, then answers these bytes; closes when they promise more.
    Raw(Vec<u8>),
    /// Answers after the head of the request, before its body was read, and closes.
    Early(Vec<u8>),
}

fn ok(body: &[u8]) -> Reply {
    answer("200 OK", "", body)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Reply {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Reply::Raw(bytes)
}

/// Promises `len` bytes and sends fewer.
fn truncated(len: usize, body: &[u8]) -> Reply {
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    Reply::Raw(bytes)
}

#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Gives its replies in order, the last one again and again.
struct Hub {
    address: HubAddress,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hub {
    async fn start(replies: Vec<Reply>, tls: Option<Arc<ServerConfig>>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = HubAddress { tls: tls.is_some(), host: "127.0.0.1".to_owned(), port };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let requests = seen.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (requests, replies, tls) = (requests.clone(), replies.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, &requests, &replies).await,
                        Some(config) => match TlsAcceptor::from(config).accept(tcp).await {
                            Ok(stream) => serve(stream, &requests, &replies).await,
                            Err(_) => Some(()),
                        },
                    }
                });
            }
        });
        Hub { address, seen }
    }

    async fn plain(replies: Vec<Reply>) -> (Hub, HubClient) {
        let hub = Hub::start(replies, None).await;
        let client = hub.client(Pin::learn());
        (hub, client)
    }

    fn client(&self, pin: Pin) -> HubClient {
        HubClient::new(self.address.clone(), pin, Some("secret".parse::<Token>().unwrap()))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &Mutex<Vec<Seen>>,
    replies: &Mutex<VecDeque<Reply>>,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let mut request = Seen { head: String::from_utf8(head).unwrap(), body: Vec::new() };
        let reply = {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 { replies.pop_front()? } else { replies.front()?.clone() }
        };
        if let Reply::Early(bytes) = reply {
            requests.lock().unwrap().push(request);
            stream.write_all(&bytes).await.ok()?;
            stream.flush().await.ok()?;
            // A hub that drains what it refuses, so that its answer is not lost in a reset.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            return None;
        }
        let len = request.header("content-length").map_or(0, |len| len.parse().unwrap());
        request.body.resize(len, 0);
        stream.read_exact(&mut request.body).await.ok()?;
        let head_only = request.head.starts_with("HEAD");
        requests.lock().unwrap().push(request);
        let Reply::Raw(bytes) = reply else {
            return None;
        };
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let promised: usize = Seen { head: text, body: Vec::new() }.header("content-length")?.parse().ok()?;
        stream.write_all(if head_only { &bytes[..end] } else { &bytes }).await.ok()?;
        stream.flush().await.ok()?;
        if !head_only && promised > bytes.len() - end {
            return None;
        }
    }
}

fn quiet() -> Progress {
    Arc::new(|_| {})
}

const INFO: &[u8] = br#"{"name":"pumasi","version":"1","time_ms":1,"fingerprint":""}"#;

#[tokio::test]
async fn a_post_is_sent_again_with_the_same_key() {
    let (hub, client) = Hub::plain(vec![Reply::Close, Reply::Close, ok(br#"{"transfer":7}"#)]).await;
    let answer: Transferred = client.post("/v1/transfers", &"x", None).await.unwrap();
    assert_eq!(answer.transfer, TransferId(7));
    let keys: Vec<_> = hub.seen().iter().map(|s| s.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 3);
    assert_eq!((&keys[0], &keys[0]), (&keys[1], &keys[2]));
    let _: Transferred = client.post("/v1/transfers", &"x", None).await.unwrap();
    assert_ne!(hub.seen()[3].header("idempotency-key").unwrap(), keys[0], "another request, another key");
    let _: Transferred = client.post("/v1/transfers", &"x", Some(RequestId(1))).await.unwrap();
    assert_eq!(hub.seen()[4].header("idempotency-key").unwrap(), format!("{:032x}", 1));
    assert_eq!(hub.seen()[4].header("authorization").unwrap(), "Bearer secret");
    assert_eq!(hub.seen()[4].body, b"\"x\"");
}

#[tokio::test]
async fn tries_are_bounded() {
    let (hub, client) = Hub::plain(vec![Reply::Close]).await;
    let error = client.get::<HubInfo>("/v1/hub").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(hub.seen().len(), 5);
}

#[tokio::test]
async fn a_busy_hub_is_asked_again_and_a_refusal_is_not() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", b"");
    let (hub, client) = Hub::plain(vec![busy, ok(INFO)]).await;
    client.get::<HubInfo>("/v1/hub").await.unwrap();
    assert_eq!(hub.seen().len(), 2);

    let body = br#"{"code":"not_enough_money","message":"account a has 1 and needs 2"}"#;
    let (hub, client) = Hub::plain(vec![answer("402 Payment Required", "", body)]).await;
    let error = client.post::<_, ()>("/v1/issue", &1, None).await.unwrap_err();
    assert_eq!(error.to_string(), "account a has 1 and needs 2");
    assert_eq!(error.code(), Some("not_enough_money"));
    assert_eq!(hub.seen().len(), 1);

    let (_hub, client) = Hub::plain(vec![answer("404 Not Found", "", b"<html>")]).await;
    let error = client.get::<HubInfo>("/v1/hub").await.unwrap_err();
    assert_eq!(error.code(), Some("http_404"));
    assert_eq!(error.to_string(), "GET /v1/hub was answered with 404 Not Found");
}

#[tokio::test]
async fn a_strange_answer_is_named() {
    let (_hub, client) = Hub::plain(vec![ok(b"[]")]).await;
    let error = client.get::<HubInfo>("/v1/hub").await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol { request, .. } if request == "GET /v1/hub"), "{error}");
}

#[tokio::test]
async fn answers_are_bounded() {
    let (_hub, client) = Hub::plain(vec![truncated(1 << 40, b"x")]).await;
    let error = client.get_bytes("/v1/x", 1000).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 1000, .. }), "{error:?}");

    let (_hub, client) = Hub::plain(vec![ok(b"hello")]).await;
    let error = client.get_bytes("/v1/x", 4).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 4, .. }), "{error:?}");
    assert_eq!(client.get_bytes("/v1/x", 5).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_truncated_blob_is_fetched_again() {
    let blob = b"ACGT".repeat(50_000);
    let hash = Hash::of(&blob);
    let (hub, client) = Hub::plain(vec![truncated(blob.len(), &blob[..100_000]), ok(&blob)]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    assert_eq!(client.get_blob_to(hash, &path, quiet()).await.unwrap(), blob.len() as u64);
    assert_eq!(std::fs::read(&path).unwrap(), blob);
    assert_eq!(hub.seen().len(), 2);

    let (_hub, client) = Hub::plain(vec![truncated(blob.len(), &blob[..100_000])]).await;
    let path = dir.path().join("never");
    let error = client.get_blob_to(hash, &path, quiet()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no half file stays");
}

#[tokio::test]
async fn a_damaged_blob_is_refused() {
    let (hub, client) = Hub::plain(vec![ok(b"other bytes")]).await;
    let dir = tempfile::tempdir().unwrap();
    let hash = Hash::of(b"bytes");
    let error = client.get_blob_to(hash, &dir.path().join("blob"), quiet()).await.unwrap_err();
    assert!(matches!(error, ClientError::Damaged { expected, .. } if expected == hash), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let error = client.get_blob(hash, 5, quiet()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 5, .. }), "{error:?}");
    assert_eq!(hub.seen().len(), 2, "neither is asked for again");
}

#[tokio::test]
async fn an_upload_is_repeated_from_its_start() {
    let blob = b"ACGT".repeat(200_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    std::fs::write(&path, &blob).unwrap();
    let source = Source::File(path);
    let hash = hash_source(&source).await.unwrap();
    assert_eq!(hash, Hash::of(&blob));
    let stored = format!(r#"{{"hash":"{hash}","size":800000}}"#);
    let (hub, client) = Hub::plain(vec![Reply::Close, ok(stored.as_bytes())]).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let stored =
        client.put_blob(&source, hash, Arc::new(move |n| tell.lock().unwrap().push(n))).await.unwrap();
    assert_eq!((stored.hash, stored.size), (hash, 800_000));
    assert!(hub.seen().iter().all(|seen| seen.body == blob));
    let told = told.lock().unwrap();
    assert_eq!(told.iter().filter(|n| **n == 800_000).count(), 2, "each try counts from 0: {told:?}");
}

#[tokio::test]
async fn a_hub_that_got_other_bytes_is_noticed() {
    let stored = format!(r#"{{"hash":"{}","size":1}}"#, Hash::of(b"other"));
    let (_hub, client) = Hub::plain(vec![ok(stored.as_bytes())]).await;
    let source = Source::Bytes(Bytes::from_static(b"bytes"));
    let error = client.put_blob(&source, Hash::of(b"bytes"), quiet()).await.unwrap_err();
    assert!(matches!(error, ClientError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn an_oversized_upload_is_refused_before_it_ends() {
    let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (_hub, client) = Hub::plain(vec![Reply::Early(refusal.to_vec())]).await;
    let source = Source::Bytes(Bytes::from(vec![0; 32 << 20]));
    let error = client.put_blob(&source, Hash::ZERO, quiet()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status, .. } if status == 413), "{error:?}");
}

#[tokio::test]
async fn a_missing_file_is_not_the_hubs_fault() {
    let (hub, client) = Hub::plain(vec![Reply::Close]).await;
    let source = Source::File("/nonexistent/file".into());
    let error = client.put_blob(&source, Hash::ZERO, quiet()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/file");
    assert!(hub.seen().is_empty());
}

#[tokio::test]
async fn whether_a_blob_is_there() {
    let (_hub, client) = Hub::plain(vec![ok(b""), answer("404 Not Found", "", b"")]).await;
    assert!(client.has_blob(Hash::ZERO).await.unwrap());
    assert!(!client.has_blob(Hash::ZERO).await.unwrap());
}

#[test]
fn names_cannot_leave_their_place_in_a_path() {
    assert_eq!(escape("lab-1_a.b~"), "lab-1_a.b~");
    assert_eq!(escape("../a?b=c&d#é"), "..%2Fa%3Fb%3Dc%26d%23%C3%A9");
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", "secret".parse::<Token>().unwrap()), "Token(…)");
    for text in ["", "a b", "a\nb", "é", &"x".repeat(513)] {
        assert!(text.parse::<Token>().is_err(), "{text:?}");
    }
}

struct Identity {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// A fresh certificate, used with its own key or, by an impostor, with another.
fn identity(own_key: bool) -> Identity {
    let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let key = if own_key { made.signing_key.serialize_der() } else { other.serialize_der() };
    let key = PrivateKeyDer::try_from(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let fingerprint = Fingerprint::of(made.cert.der());
    let certified = Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Identity { config: Arc::new(config), fingerprint }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_is_accepted() {
    let (own, other) = (identity(true), identity(true));
    let hub = Hub::start(vec![ok(INFO)], Some(own.config)).await;
    hub.client(Pin::Known(own.fingerprint)).get::<HubInfo>("/v1/hub").await.unwrap();
    assert_eq!(hub.seen().len(), 1);
    let error = hub.client(Pin::Known(other.fingerprint)).get::<HubInfo>("/v1/hub").await.unwrap_err();
    match error {
        ClientError::Pinned { expected, seen, .. } => {
            assert_eq!((expected, seen), (other.fingerprint, own.fingerprint));
        }
        error => panic!("{error:?}"),
    }
    assert_eq!(hub.seen().len(), 1, "the token was not sent");
}

#[tokio::test]
async fn the_first_certificate_is_learnt() {
    let (own, other) = (identity(true), identity(true));
    let hub = Hub::start(vec![ok(INFO)], Some(own.config)).await;
    let pin = Pin::learn();
    hub.client(pin.clone()).get::<HubInfo>("/v1/hub").await.unwrap();
    assert_eq!(pin.fingerprint(), Some(own.fingerprint));
    let impostor = Hub::start(vec![ok(INFO)], Some(other.config)).await;
    let error = impostor.client(pin).get::<HubInfo>("/v1/hub").await.unwrap_err();
    assert!(matches!(error, ClientError::Pinned { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let impostor = identity(false);
    let hub = Hub::start(vec![ok(INFO)], Some(impostor.config)).await;
    for pin in [Pin::Known(impostor.fingerprint), Pin::learn()] {
        let known = pin.fingerprint();
        let error = hub.client(pin.clone()).get::<HubInfo>("/v1/hub").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        assert_eq!(pin.fingerprint(), known, "nothing is learnt from an impostor");
    }
    assert!(hub.seen().is_empty());
}
