//! TLS both ways: the hub's certificate, self-made or the operator's own, and those that machines show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_api::tls::{MachineKey, machine_key};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, CryptoProvider};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};

use crate::auth::write_secret;
use crate::{ServeError, ServeOptions};

/// What the listener needs, and what clients pin.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, hexadecimal.
    pub(crate) fingerprint: String,
}

/// Loads the certificate, or makes one that clients pin.
pub(crate) fn load(options: &ServeOptions) -> Result<Tls, ServeError> {
    let (certificate, key) = match &options.certificate {
        Some((certificate, key)) => (certificate.clone(), key.clone()),
        None => self_made(&options.data)?,
    };
    let bad = |problem: String| ServeError::Certificate { path: certificate.clone(), problem };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(error.to_string()))?;
    let first = chain.first().ok_or_else(|| bad("there is no certificate in it".to_owned()))?;
    let fingerprint = Sha256::digest(first).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::from_pem_file(&key)
        .map_err(|error| ServeError::Certificate { path: key.clone(), problem: error.to_string() })?;
    let provider = Arc::new(crypto::ring::default_provider());
    let machines = Arc::new(Machines(Arc::clone(&provider)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(machines).with_single_cert(chain, key))
        .map_err(|error| bad(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), fingerprint })
}

/// Asks whoever connects for a certificate, takes any, and none as well: what counts is that the other side
/// has its key, which the handshake proves. People and programs have no need of one.
#[derive(Debug)]
struct Machines(Arc<CryptoProvider>);

impl ClientCertVerifier for Machines {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a connection proved of the machine at its other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PeerMachine {
    /// It has no TLS, so nothing can be proved and nothing is asked for.
    Unproved,
    /// It showed no certificate that can be read.
    Unknown,
    /// It has the key of this machine.
    Proved(MachineKey),
}

impl PeerMachine {
    /// The machine at the other end of a handshake that is over.
    pub(crate) fn of(connection: &ServerConnection) -> PeerMachine {
        let shown = connection.peer_certificates().and_then(|chain| machine_key(chain.first()?));
        shown.map_or(PeerMachine::Unknown, PeerMachine::Proved)
    }

    /// Whether it may call itself the machine with this key.
    pub(crate) fn may_be(self, claimed: &[u8]) -> bool {
        match self {
            PeerMachine::Unproved => true,
            PeerMachine::Unknown => false,
            PeerMachine::Proved(key) => key == claimed,
        }
    }
}

fn self_made(data: &Path) -> Result<(PathBuf, PathBuf), ServeError> {
    let (certificate, key) = (data.join("tls.cert.pem"), data.join("tls.key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let made = rcgen::generate_simple_self_signed(["pumasi-hub".to_owned(), "localhost".to_owned()])
        .map_err(|error| ServeError::Certificate { path: certificate.clone(), problem: error.to_string() })?;
    write_secret(&key, made.signing_key.serialize_pem().as_bytes())?;
    write_secret(&certificate, made.cert.pem().as_bytes())?;
    Ok((certificate, key))
}
