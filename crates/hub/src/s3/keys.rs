//! Keys of S3's clients. An access key is a name; what belongs to it is made from it and the hub's own secret, so that
//! neither log nor state has anything that signs.

use std::path::Path;

use pumasi_types::{Hash, RequestId};

use crate::ServeError;
use crate::auth::{open_secret, random};

/// How all access keys begin.
const PREFIX: &str = "PUMASI";
/// Characters behind it, of 5 bits each.
const CHARACTERS: usize = 20;
/// Bytes of a secret key.
const SECRET_BYTES: usize = 30;

/// Makes keys, and knows them again.
pub(crate) struct Keys {
    secret: [u8; 32],
}

impl Keys {
    /// Reads the secret from the data folder, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Keys, ServeError> {
        Ok(Keys { secret: open_secret(&dir.join("s3.secret"))? })
    }

    /// An access key for this request, or a random one.
    pub(crate) fn make(&self, id: Option<RequestId>) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let bytes = match id {
            Some(id) => self.derive("access key", &id.0.to_le_bytes()),
            None => random(),
        };
        let letters = bytes.iter().take(CHARACTERS).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        PREFIX.chars().chain(letters).collect()
    }

    /// The secret key of an access key.
    pub(crate) fn secret(&self, access_key: &str) -> String {
        use base64::Engine;
        let bytes = self.derive("secret key", access_key.as_bytes());
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes[..SECRET_BYTES])
    }

    /// What the state keeps of an access key. It is the hash of no text that anybody knows, so none opens the rest of the
    /// hub.
    pub(crate) fn token(&self, access_key: &str) -> Hash {
        Hash::from_bytes(self.derive("token", access_key.as_bytes()))
    }

    fn derive(&self, purpose: &str, of: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(purpose.as_bytes()).update(b"\0").update(of);
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_again_from_the_hubs_secret_only() {
        let keys = Keys { secret: [1; 32] };
        let key = keys.make(Some(RequestId(7)));
        assert_eq!(key, keys.make(Some(RequestId(7))), "a repeated request gets the same");
        assert!(
            key.len() == 26 && key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()),
            "{key}"
        );
        assert_ne!(keys.make(None), keys.make(None));
        let secret = keys.secret(&key);
        assert_eq!(secret.len(), 40);
        let other = Keys { secret: [2; 32] };
        assert!(other.secret(&key) != secret && other.token(&key) != keys.token(&key));
        assert_ne!(keys.token(&key), Hash::of(secret.as_bytes()), "a secret key is no token");
    }
}
