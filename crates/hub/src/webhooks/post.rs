//! Sending one event to one webhook over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pumasi_core::Failure;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::{Allowed, Target};
use crate::{ServeError, WebhookOptions};

/// How much of an answer is read so that its connection can be used again; what it says is ignored.
const BODY_BYTES: usize = 16 << 10;
/// How long that may take.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// The longest head of an answer, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// The longest wait that a receiver may ask for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is sent.
pub(super) struct Message {
    /// The same however often it is tried.
    pub(super) id: String,
    /// When it is tried, in seconds since 1970.
    pub(super) seconds: u64,
    /// All signatures, divided by spaces.
    pub(super) signatures: String,
    pub(super) body: Bytes,
}

/// It was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTaken {
    pub(super) why: Failure,
    /// How long the receiver wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl From<Failure> for NotTaken {
    fn from(why: Failure) -> NotTaken {
        NotTaken { why, wait: None }
    }
}

/// Sends events.
pub(crate) struct Sender {
    tls: TlsConnector,
    pub(crate) allowed: Allowed,
    patience: Duration,
}

impl Sender {
    /// Trusts the authorities that the system trusts, and those in the options' file.
    pub(crate) fn new(options: &WebhookOptions) -> Result<Sender, ServeError> {
        let tls = pumasi_fetch::trusting(options.roots.as_deref())
            .map_err(|bad| ServeError::Certificate { path: bad.path, problem: bad.problem })?;
        let patience = options.patience;
        Ok(Sender { tls, allowed: options.allowed(), patience })
    }

    async fn connect(&self, target: &Target) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let addresses = target.addresses(self.allowed).await?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|_| Failure::NoConnection)?;
        // Small messages, each waited for.
        let _ = stream.set_nodelay(true);
        if !target.tls {
            return speak(stream).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Failure::NotTrusted)?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_)) => Failure::NotTrusted,
                _ => Failure::NoConnection,
            }
        })?;
        speak(stream).await
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    let shaken = builder.max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|_| Failure::NoConnection)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a webhook's connection ended: {error}");
        }
    });
    Ok(sender)
}

/// A connection to a webhook that is used as long as it can be.
pub(super) struct Line<'a> {
    sender: &'a Sender,
    target: &'a Target,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(sender: &'a Sender, target: &'a Target) -> Line<'a> {
        Line { sender, target, open: None }
    }

    /// Sends an event; an answer of 200 to 299 takes it, whatever it says. Redirects are not followed.
    pub(super) async fn post(&mut self, message: &Message) -> Result<(), NotTaken> {
        let answered = tokio::time::timeout(self.sender.patience, self.ask(message)).await;
        let (line, answer) = answered.map_err(|_| Failure::TimedOut)??;
        let (status, wait) = (answer.status(), wait_of(&answer));
        if tokio::time::timeout(BODY_PATIENCE, ends_soon(answer.into_body())).await == Ok(true) {
            self.open = Some(line);
        }
        if status.is_success() {
            return Ok(());
        }
        Err(NotTaken { why: Failure::Status(status.as_u16()), wait })
    }

    /// What is answered, and the connection on which its body comes.
    async fn ask(
        &mut self,
        message: &Message,
    ) -> Result<(SendRequest<Full<Bytes>>, http::Response<Incoming>), Failure> {
        let mut line = match self.open.take().filter(|line| !line.is_closed()) {
            Some(line) => line,
            None => self.sender.connect(self.target).await?,
        };
        line.ready().await.map_err(|_| Failure::NoConnection)?;
        let answer = line.send_request(self.request(message)).await.map_err(|_| Failure::NoConnection)?;
        Ok((line, answer))
    }

    fn request(&self, message: &Message) -> Request<Full<Bytes>> {
        Request::post(self.target.path.clone())
            .header(header::HOST, &self.target.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("pumasi/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.seconds)
            .header("webhook-signature", &message.signatures)
            .body(Full::new(message.body.clone()))
            .expect("host and path stood in a URL, and the rest is ours")
    }
}

/// How long a receiver that has too much wants to be left alone (RFC 9110, 10.2.3), in seconds; dates are not read.
fn wait_of(answer: &http::Response<Incoming>) -> Option<Duration> {
    let busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let text = answer.headers().get(header::RETRY_AFTER).filter(|_| busy).map(HeaderValue::to_str)?;
    let seconds: u64 = text.ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Whether a body ends before it has become too long.
async fn ends_soon(mut body: Incoming) -> bool {
    let mut left = BODY_BYTES;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}
