//! Reaching a hub: its address, its pinned certificate, and the connection to it.

mod machine;

use std::fmt;
use std::net::Ipv6Addr;
use std::pin::Pin as Pinned;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::machine::{BadMachineKey, MachineIdentity, MachineKey, machine_key};

/// The port of a hub when an address names none.
pub const DEFAULT_PORT: u16 = 7878;
/// How long a connection may take, handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Application protocol of the JSON API (RFC 7301).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// Application protocol of the worker link (RFC 7301).
pub const ALPN_HTTP2: &[u8] = b"h2";

/// SHA-256 of a hub's end-entity certificate in DER, as other TLS tools print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }

    /// Compares without a branch on where the difference is.
    fn matches(&self, other: &Fingerprint) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a fingerprint: expected the 64 hexadecimal digits that the hub prints when it starts")]
pub struct ParseFingerprintError(String);

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// Digits of either case; colons between bytes, as OpenSSL prints them, are allowed.
    fn from_str(text: &str) -> Result<Fingerprint, ParseFingerprintError> {
        let error = || ParseFingerprintError(text.chars().take(100).collect());
        let digit = |c: char| c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(error);
        let digits =
            text.chars().filter(|c| *c != ':').take(65).map(digit).collect::<Result<Vec<u8>, _>>()?;
        if digits.len() != 64 {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Fingerprint(bytes))
    }
}

/// Which certificate a hub must show. Without effect on addresses with `http://`.
#[derive(Clone, Debug)]
pub enum Pin {
    /// Exactly this one.
    Known(Fingerprint),
    /// Any at first, which is written here once its owner has proved to have the key; then only that one.
    Learn(Arc<OnceLock<Fingerprint>>),
}

impl Pin {
    /// Trusts the first certificate that is seen.
    pub fn learn() -> Pin {
        Pin::Learn(Arc::default())
    }

    /// The fingerprint that is known or was learnt.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Pin::Known(fingerprint) => Some(*fingerprint),
            Pin::Learn(learnt) => learnt.get().copied(),
        }
    }

    fn check(&self, seen: Fingerprint) -> Result<(), rustls::Error> {
        match self.fingerprint() {
            Some(expected) if !expected.matches(&seen) => {
                Err(rustls::Error::Other(OtherError(Arc::new(WrongCertificate { expected, seen }))))
            }
            _ => Ok(()),
        }
    }
}

/// The hub shows another certificate than the pinned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub's certificate is {seen}, pinned is {expected}")]
pub struct WrongCertificate {
    /// Fingerprint that it should have.
    pub expected: Fingerprint,
    /// Fingerprint that it has.
    pub seen: Fingerprint,
}

/// Accepts the pinned certificate instead of asking authorities; host names and dates do not matter.
#[derive(Debug)]
struct Verifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Remembers a certificate whose key has just signed this handshake.
    fn proved(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let seen = Fingerprint::of(certificate);
        if let Pin::Learn(learnt) = &self.pin {
            learnt.get_or_init(|| seen);
        }
        self.pin.check(seen)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.pin.check(Fingerprint::of(end_entity))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = crypto::verify_tls12_signature(message, cert, dss, algorithms)?;
        self.proved(cert)?;
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = crypto::verify_tls13_signature(message, cert, dss, algorithms)?;
        self.proved(cert)?;
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS settings that accept the pinned certificate only, and show that of a machine if one is given.
pub fn client_config(pin: Pin, machine: Option<&MachineIdentity>) -> ClientConfig {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { pin, provider }));
    match machine {
        Some(machine) => config.with_client_cert_resolver(machine.resolver()),
        None => config.with_no_client_auth(),
    }
}

/// Where a hub listens: `host`, `host:port`, `https://host:port`, or `http://host:port` without TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubAddress {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl HubAddress {
    /// Host and port as they stand in a URL; IPv6 in brackets.
    pub fn authority(&self) -> String {
        let HubAddress { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// A text that is not the address of a hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a hub's address: expected host, host:port or https://host:port, like pool.example:7878"
)]
pub struct ParseAddressError(String);

impl FromStr for HubAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<HubAddress, ParseAddressError> {
        let error = || ParseAddressError(text.chars().take(100).collect());
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(error()),
            None => (true, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if rest.parse::<Ipv6Addr>().is_ok() {
            (rest, None)
        } else if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(error)?;
            host.parse::<Ipv6Addr>().map_err(|_| error())?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(error)?) };
            (host, port)
        } else {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            if host.is_empty() || host.len() > 253 || !host.bytes().all(allowed) {
                return Err(error());
            }
            (host, port)
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().map_err(|_| error())?,
            Some(_) => return Err(error()),
        };
        Ok(HubAddress { tls, host: host.to_ascii_lowercase(), port })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers there, or the name is unknown.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// It took longer than [`CONNECT_TIMEOUT`].
    #[error("no answer within {} seconds", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// The certificate is not the pinned one.
    #[error(transparent)]
    WrongCertificate(#[from] WrongCertificate),
    /// The other side does not speak TLS as a hub does.
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
}

impl DialError {
    fn handshake(error: std::io::Error) -> DialError {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match rustls {
            Some(rustls::Error::Other(OtherError(other))) => match other.downcast_ref::<WrongCertificate>() {
                Some(wrong) => DialError::WrongCertificate(*wrong),
                None => DialError::Handshake(error),
            },
            _ => DialError::Handshake(error),
        }
    }
}

/// A connection to a hub, encrypted or, for tests and benches, plain.
#[derive(Debug)]
pub enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to a hub, as `machine` if one is given; `alpn` is [`ALPN_HTTP1`] or [`ALPN_HTTP2`].
///
/// # Errors
/// When nobody answers in time, the certificate is not the pinned one, or the other side speaks no TLS.
pub async fn dial(
    address: &HubAddress,
    pin: &Pin,
    machine: Option<&MachineIdentity>,
    alpn: &[u8],
) -> Result<Connection, DialError> {
    tokio::time::timeout(CONNECT_TIMEOUT, connect(address, pin, machine, alpn))
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

async fn connect(
    address: &HubAddress,
    pin: &Pin,
    machine: Option<&MachineIdentity>,
    alpn: &[u8],
) -> Result<Connection, DialError> {
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(DialError::Connect)?;
    tcp.set_nodelay(true).map_err(DialError::Connect)?;
    if !address.tls {
        return Ok(Connection::Plain(tcp));
    }
    let mut config = client_config(pin.clone(), machine);
    config.alpn_protocols = vec![alpn.to_vec()];
    // The pin is what counts; a name that DNS allows and TLS does not must not keep us from the hub.
    let name = ServerName::try_from(address.host.clone())
        .unwrap_or_else(|_| ServerName::try_from("hub.invalid").expect("a valid name"));
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    Ok(Connection::Tls(Box::new(tls.map_err(DialError::handshake)?)))
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pinned<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pinned::new(tcp).poll_read(cx, buf),
            Connection::Tls(tls) => Pinned::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pinned<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pinned::new(tcp).poll_write(cx, buf),
            Connection::Tls(tls) => Pinned::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pinned<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pinned::new(tcp).poll_write_vectored(cx, bufs),
            Connection::Tls(tls) => Pinned::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(tcp) => tcp.is_write_vectored(),
            Connection::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pinned::new(tcp).poll_flush(cx),
            Connection::Tls(tls) => Pinned::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(tcp) => Pinned::new(tcp).poll_shutdown(cx),
            Connection::Tls(tls) => Pinned::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> String {
        text.parse::<HubAddress>().map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    #[test]
    fn addresses_have_defaults() {
        for (text, expected) in [
            ("pool.example", "https://pool.example:7878"),
            ("Pool.Example:443", "https://pool.example:443"),
            ("https://pool.example:1/", "https://pool.example:1"),
            ("http://127.0.0.1", "http://127.0.0.1:7878"),
            ("::1", "https://[::1]:7878"),
            ("[::1]", "https://[::1]:7878"),
            ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ] {
            assert_eq!(address(text), expected);
            assert_eq!(address(expected), expected, "what is shown can be read again");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            ":7878",
            "https://",
            "ftp://a",
            "a:b",
            "a:",
            "a:70000",
            "a:+1",
            "a b",
            "user@a",
            "a/path",
            "a?b",
            "[::1",
            "[::1]7",
            "[a]:1",
            "1:2:3",
            "a\0",
            "ä.example",
            "https://https://a",
        ] {
            assert!(text.parse::<HubAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn fingerprints_read_as_openssl_writes_them() {
        let plain = Fingerprint::of(b"certificate").to_string();
        let pairs: Vec<_> =
            plain.as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).to_uppercase()).collect();
        assert_eq!(pairs.join(":").parse::<Fingerprint>().unwrap().to_string(), plain);
        assert_eq!(
            Fingerprint::of(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for text in ["", "ab", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
