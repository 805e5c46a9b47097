//! The hub's certificate: self-made and kept in the data folder, or the operator's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), fingerprint })
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
