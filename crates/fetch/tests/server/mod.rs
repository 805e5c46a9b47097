//! A web server for tests that does what it is told, whatever it says it does.
#![allow(dead_code, reason = "two test programs use it, each a part of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// How many came before.
    pub(crate) number: usize,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// From where a range is asked for.
    pub(crate) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// A part of an answer; behind the last one the connection is closed.
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Waits until this is not zero.
    Until(Arc<AtomicUsize>),
    /// Sends this until nobody listens, with a pause between.
    Forever(Vec<u8>, Duration),
}

pub(crate) fn text(text: &str) -> Step {
    Step::Send(text.replace('\n', "\r\n").into_bytes())
}

/// A server that lives as long as the test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Server {
        Server::behind(None, answer).await
    }

    pub(crate) async fn behind(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Server { address: listener.local_addr().unwrap(), scheme, seen: Arc::default() };
        let (shared, answer) = (server.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls, answer) = (shared.clone(), tls.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    match tls {
                        None => shared.serve(stream, &*answer).await,
                        Some(tls) => shared.serve(tls.accept(stream).await.ok()?, &*answer).await,
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        answer: &(dyn Fn(&Asked) -> Vec<Step> + Send + Sync),
    ) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let asked = {
            let mut seen = self.seen.lock().unwrap();
            let number = seen.len();
            seen.push(Asked { number, path, headers });
            seen.last()?.clone()
        };
        for step in answer(&asked) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.ok()?,
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Until(count) => {
                    while count.load(Ordering::SeqCst) == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                Step::Forever(bytes, pause) => loop {
                    stream.write_all(&bytes).await.ok()?;
                    stream.flush().await.ok()?;
                    tokio::time::sleep(pause).await;
                },
            }
            stream.flush().await.ok()?;
        }
        stream.shutdown().await.ok()
    }
}

/// What a good server answers about a file: pieces of this version, nothing to whoever has it.
pub(crate) fn good(asked: &Asked, body: &[u8], etag: &str) -> (String, Vec<u8>) {
    if asked.header("if-none-match").is_some_and(|known| known.contains(etag)) {
        return (format!("HTTP/1.1 304 -\r\netag: {etag}\r\n\r\n"), Vec::new());
    }
    let same = asked.header("if-range").is_none_or(|version| version == etag);
    match asked.from().filter(|from| same && *from < body.len()) {
        Some(from) => {
            let (last, total) = (body.len() - 1, body.len());
            let head = format!(
                "HTTP/1.1 206 -\r\netag: {etag}\r\ncontent-range: bytes {from}-{last}/{total}\r\ncontent-length: {}\r\n\r\n",
                total - from
            );
            (head, body[from..].to_vec())
        }
        None => {
            let length = body.len();
            (format!("HTTP/1.1 200 -\r\netag: {etag}\r\ncontent-length: {length}\r\n\r\n"), body.to_vec())
        }
    }
}

/// The same as steps, with only so many bytes of the body.
pub(crate) fn up_to(answer: (String, Vec<u8>), most: usize) -> Vec<Step> {
    let (head, mut body) = answer;
    body.truncate(most);
    vec![Step::Send(head.into_bytes()), Step::Send(body)]
}

/// Bytes that do not repeat.
pub(crate) fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}
