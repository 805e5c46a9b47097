//! Connections to servers that nobody vouches for, and one request over each.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pumasi_types::ByteSize;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::{self, Guard};
use crate::describe::BlockRoom;
use crate::dht::{Dht, DhtOptions};
use crate::doors::Doors;
use crate::error::FetchError;
use crate::giving::{Budget, Seeding};
use crate::peer::BLOCK;
use crate::place::{BadUrl, Place};
use crate::reply;
use crate::talk::PIECE_PATIENCE;
use crate::tls::{BadRoots, trusting};

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// How long one address may take to take a connection, before the next one is tried.
const CONNECT: Duration = Duration::from_secs(10);
/// What is read at once: also the longest head of an answer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// What is read at once of a connection that brings nothing but a file, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Bytes of descriptions that are under way at once, of all magnet links together; one may be beyond.
const DESCRIBING: usize = 64 << 20;

/// How is fetched.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where may be connected to besides public addresses.
    pub guard: Guard,
    /// Certificates of authorities that are trusted besides the system's, in PEM.
    pub roots: Option<PathBuf>,
    /// How long an answer may take until it begins, the connection included.
    pub patience: Duration,
    /// How long nothing may come.
    pub silence: Duration,
    /// What must come at least in each such time; a server that gives less keeps a place from others.
    pub pace: (ByteSize, Duration),
    /// Tries of which none brought anything new before this attempt is given up.
    pub tries: u32,
    /// How long the first pause between tries is; each is twice the one before.
    pub pause: Duration,
    /// How the DHT is asked for peers; none: it is not.
    pub dht: Option<DhtOptions>,
    /// How long a tracker may take for all of its answer.
    pub tracker_patience: Duration,
    /// How long a peer keeps its place that neither gives nor takes anything.
    pub peer_patience: Duration,
    /// How long one piece may take at first that another peer waits for.
    pub piece_patience: Duration,
    /// How much is given to peers.
    pub seeding: Seeding,
}

impl Default for Options {
    /// Public addresses only, half a minute for everything, 1 KiB/s at least; without the DHT, and nothing is given.
    fn default() -> Options {
        Options {
            guard: Guard::default(),
            roots: None,
            patience: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            pace: (ByteSize(64 << 10), Duration::from_secs(64)),
            tries: 5,
            pause: Duration::from_secs(1),
            dht: None,
            tracker_patience: Duration::from_secs(60),
            peer_patience: Duration::from_secs(300),
            piece_patience: PIECE_PATIENCE,
            seeding: Seeding::default(),
        }
    }
}

/// Fetches.
pub struct Client {
    tls: TlsConnector,
    pub(crate) options: Options,
    pub(crate) dht: Option<Arc<Dht>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) doors: Arc<Doors>,
    /// Room for descriptions that are under way.
    pub(crate) describing: Arc<BlockRoom>,
}

impl Client {
    /// A client that trusts the authorities of the system and those of its options.
    ///
    /// # Errors
    /// When the file of authorities cannot be used.
    pub fn new(options: Options) -> Result<Client, BadRoots> {
        let dht = options.dht.clone().map(|dht| Arc::new(Dht::new(dht, options.guard.clone())));
        let budget = Arc::new(Budget::new(options.seeding.limit));
        let describing = Arc::new(BlockRoom::new(DESCRIBING / BLOCK as usize));
        let tls = trusting(options.roots.as_deref())?;
        Ok(Client { tls, options, dht, budget, doors: Arc::default(), describing })
    }

    /// Where it may connect to besides public addresses.
    pub fn guard(&self) -> &Guard {
        &self.options.guard
    }

    /// A whole answer of at most `most` bytes: for what is small.
    ///
    /// # Errors
    /// As [`Client::fetch`], without tries.
    pub async fn small(&self, place: &Place, most: ByteSize) -> Result<Bytes, FetchError> {
        let (answer, place) = self.follow(place, &HeaderMap::new(), false).await?;
        let host = place.host();
        if !answer.status().is_success() {
            return Err(refused(&host, &answer));
        }
        let mut body = Body::Http(answer.into_body());
        let mut bytes = BytesMut::new();
        while let Some(data) = self.next(&mut body, &host, (bytes.len() as u64, None)).await? {
            if (bytes.len() + data.len()) as u64 > most.0 {
                return Err(FetchError::TooLarge { limit: most });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// The answer behind all redirects, and where it came from. Each of them is checked as the first URL was.
    pub(crate) async fn follow(
        &self,
        place: &Place,
        headers: &HeaderMap,
        downgrade: bool,
    ) -> Result<(Response<Incoming>, Place), FetchError> {
        let mut place = place.clone();
        if place.is_ftp() {
            return Err(FetchError::Url { url: place.to_string(), problem: BadUrl::Scheme });
        }
        for _ in 0..=REDIRECTS {
            let answer = self.ask(&place, headers).await?;
            let is_redirect = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let to = answer.headers().get(header::LOCATION).filter(|_| is_redirect);
            let Some(to) = to else { return Ok((answer, place)) };
            let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
            let next = place.redirected(&to, &self.options.guard, downgrade);
            place =
                next.map_err(|problem| FetchError::Url { url: to.chars().take(80).collect(), problem })?;
        }
        Err(FetchError::Redirects { most: REDIRECTS })
    }

    /// What one server answers.
    async fn ask(&self, place: &Place, headers: &HeaderMap) -> Result<Response<Incoming>, FetchError> {
        let patience = tokio::time::timeout(self.options.patience, self.ask_patiently(place, headers));
        patience.await.unwrap_or_else(|_| Err(FetchError::Slow { host: place.host() }))
    }

    async fn ask_patiently(
        &self,
        place: &Place,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, FetchError> {
        let host = place.host();
        let failed = |problem: &dyn std::fmt::Display| FetchError::Connection {
            host: place.host(),
            problem: problem.to_string(),
        };
        let stream = self.connect(&host, place.port()).await?;
        let (mut sender, connection) = if place.is_tls() {
            let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
            let stream = self.tls.connect(name, stream).await.map_err(|error| not_trusted(&host, &error))?;
            speak(Box::new(stream)).await
        } else {
            speak(Box::new(stream)).await
        }
        .map_err(|error| failed(&error))?;
        // It ends with the body, or when that is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to fetch from ended: {error}");
            }
        });
        let mut request = Request::get(place.target())
            .header(header::HOST, place.authority())
            .header(header::USER_AGENT, concat!("pumasi/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*")
            // The bytes as they are: only those have a length and a hash that can be compared.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(&error))?;
        request.headers_mut().extend(headers.clone());
        sender.send_request(request).await.map_err(|error| failed(&error))
    }

    /// A connection to one of the addresses that were checked.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let found = address::resolve(host, port, &self.options.guard).await;
        let addresses = found.map_err(|problem| FetchError::Host { host: host.to_owned(), problem })?;
        let mut problem = io::Error::from(io::ErrorKind::TimedOut);
        for address in addresses {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => problem = error,
                Err(_) => {}
            }
        }
        Err(FetchError::Connection { host: host.to_owned(), problem: problem.to_string() })
    }

    /// The next bytes of a body, if they come soon enough; `None` at its end.
    pub(crate) async fn next(
        &self,
        body: &mut Body,
        host: &str,
        (got, said): (u64, Option<u64>),
    ) -> Result<Option<Bytes>, FetchError> {
        let body = match body {
            Body::Http(body) => body,
            Body::Ftp(stream) => {
                let mut bytes = BytesMut::with_capacity(READ_BYTES);
                let read = tokio::time::timeout(self.options.silence, stream.read_buf(&mut bytes)).await;
                return match read.map_err(|_| FetchError::Slow { host: host.to_owned() })? {
                    Ok(count) => Ok((count > 0).then(|| bytes.freeze())),
                    Err(_) => Err(FetchError::Short { host: host.to_owned(), got, said }),
                };
            }
        };
        loop {
            let frame = tokio::time::timeout(self.options.silence, body.frame()).await;
            match frame.map_err(|_| FetchError::Slow { host: host.to_owned() })? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) => {
                    return Err(FetchError::Short { host: host.to_owned(), got, said });
                }
            }
        }
    }
}

/// Where the bytes of a file come from.
pub(crate) enum Body {
    Http(Incoming),
    Ftp(TcpStream),
}

/// Bytes both ways.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Spoken = (http1::SendRequest<Empty<Bytes>>, http1::Connection<TokioIo<Box<dyn Stream>>, Empty<Bytes>>);

async fn speak(stream: Box<dyn Stream>) -> Result<Spoken, hyper::Error> {
    http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await
}

fn not_trusted(host: &str, error: &io::Error) -> FetchError {
    let (host, problem) = (host.to_owned(), error.to_string());
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => FetchError::NotTrusted { host, problem },
        _ => FetchError::Connection { host, problem },
    }
}

/// An answer that brings nothing.
pub(crate) fn refused(host: &str, answer: &Response<Incoming>) -> FetchError {
    let status = answer.status().as_u16();
    FetchError::Status { host: host.to_owned(), status, wait_s: reply::wait_s(answer.headers()) }
}
