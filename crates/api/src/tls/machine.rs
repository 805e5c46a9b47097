//! Who a machine is: a key that never leaves it, shown to hubs in a certificate that it makes itself.
//!
//! A token says whose machine it is; the handshake proves which one. So a token that was stolen cannot speak
//! for a machine that has joined already.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// What hubs know a machine by: the first 16 bytes of SHA-256 of its certificate's SubjectPublicKeyInfo in
/// DER (RFC 5280, 4.1.2.7).
pub type MachineKey = [u8; 16];

/// The machine key that a certificate stands for; none when it cannot be read.
pub fn machine_key(certificate: &CertificateDer<'_>) -> Option<MachineKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let digest = Sha256::digest(parsed.subject_public_key_info());
    digest[..16].try_into().ok()
}

/// Not a key that a machine can have.
#[derive(Debug, thiserror::Error)]
#[error("this is not a private key in PKCS #8")]
pub struct BadMachineKey(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A machine's key and certificate. Clones share them.
#[derive(Clone)]
pub struct MachineIdentity {
    certified: Arc<CertifiedKey>,
    machine_key: MachineKey,
}

impl MachineIdentity {
    /// A new private key (ECDSA on P-256) in PKCS #8, to be kept where only the machine can read it.
    pub fn generate() -> Vec<u8> {
        KeyPair::generate().expect("the operating system has random numbers").serialize_der()
    }

    /// The identity of the machine that has a private key in PKCS #8.
    ///
    /// # Errors
    /// When it is none, or none that TLS can use.
    pub fn new(pkcs8: &[u8]) -> Result<MachineIdentity, BadMachineKey> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let pair = KeyPair::try_from(&der).map_err(|error| BadMachineKey(error.into()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "pumasi machine");
        let made = params.self_signed(&pair).map_err(|error| BadMachineKey(error.into()))?;
        let certificate = made.der().clone();
        let key =
            any_supported_type(&PrivateKeyDer::Pkcs8(der)).map_err(|error| BadMachineKey(error.into()))?;
        let machine_key =
            machine_key(&certificate).ok_or_else(|| BadMachineKey("its certificate is unreadable".into()))?;
        Ok(MachineIdentity { certified: Arc::new(CertifiedKey::new(vec![certificate], key)), machine_key })
    }

    /// What hubs know it by.
    pub fn machine_key(&self) -> MachineKey {
        self.machine_key
    }

    /// What a TLS client shows.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

impl fmt::Debug for MachineIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineIdentity(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_one_machine() {
        let pkcs8 = MachineIdentity::generate();
        let machine = MachineIdentity::new(&pkcs8).unwrap();
        assert_eq!(MachineIdentity::new(&pkcs8).unwrap().machine_key(), machine.machine_key());
        let other = MachineIdentity::new(&MachineIdentity::generate()).unwrap();
        assert_ne!(other.machine_key(), machine.machine_key());
        for bad in [&b""[..], b"0123456789abcdef", &pkcs8[..pkcs8.len() - 1]] {
            assert!(MachineIdentity::new(bad).is_err());
        }
    }

    #[test]
    fn the_machine_key_is_that_of_the_public_key_alone() {
        // Any certificate of a key stands for the same machine; openssl gives the same digest for it:
        // openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl sha256
        let pair = KeyPair::generate().unwrap();
        let machine = MachineIdentity::new(&pair.serialize_der()).unwrap();
        let other = CertificateParams::new(["other.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
        assert_eq!(machine_key(other.der()), Some(machine.machine_key()));
        let info = rcgen::PublicKeyData::subject_public_key_info(&pair);
        assert_eq!(Sha256::digest(info)[..16], machine.machine_key());
        assert_eq!(machine_key(&CertificateDer::from(b"noise".to_vec())), None);
    }
}
