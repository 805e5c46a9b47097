//! Whom we trust when we connect to anybody's server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

/// A file of authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the authorities in {}: {problem}", path.display())]
pub struct BadRoots {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Speaks HTTP/1.1 over TLS with servers that the system's authorities vouch for, or those in a PEM file.
///
/// # Errors
/// When the file cannot be read or holds something else than certificates.
pub fn trusting(roots: Option<&Path>) -> Result<TlsConnector, BadRoots> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if let Some(path) = roots {
        let bad = |problem: String| BadRoots { path: path.to_owned(), problem };
        let own: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        for certificate in own.map_err(|error| bad(error.to_string()))? {
            store.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
    }
    if store.is_empty() {
        tracing::warn!("this system trusts no authorities: servers with https cannot be spoken to");
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
