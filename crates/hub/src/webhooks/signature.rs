//! Secrets and signatures of webhooks, as Standard Webhooks 1.0.0 has them.
//!
//! The specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
//! No secret is kept: each follows from a key in the data folder, the webhook's id and which of its secrets it is, so
//! that nobody who reads the log can sign.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pumasi_types::{Time, WebhookId};
use ring::hmac;

use crate::{ServeError, auth};

/// What all secrets of a hub follow from.
pub(crate) struct SecretKey([u8; 32]);

/// What a webhook signs with, and its receiver checks with.
pub(crate) struct Secret(Vec<u8>);

/// What stands before a secret where people see it.
const PREFIX: &str = "whsec_";

impl SecretKey {
    /// Reads the key from the data folder, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<SecretKey, ServeError> {
        auth::open_secret(&dir.join("webhook.secret")).map(SecretKey)
    }

    /// The secret of a webhook, counted from 1.
    pub(crate) fn secret(&self, webhook: WebhookId, number: u32) -> Secret {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(b"pumasi webhook secret\0")
            .update(&webhook.0.to_le_bytes())
            .update(&number.to_le_bytes());
        Secret(hasher.finalize().as_bytes().to_vec())
    }

    /// The secrets that sign now, the newest first.
    pub(crate) fn signing(
        &self,
        webhook: WebhookId,
        number: u32,
        before_until: Time,
        now: Time,
    ) -> Vec<Secret> {
        let before = number.checked_sub(1).filter(|_| now < before_until);
        let numbers = [Some(number), before];
        numbers.into_iter().flatten().map(|number| self.secret(webhook, number)).collect()
    }
}

impl Secret {
    /// The value of `webhook-signature` for this secret. `id` and `seconds` must be the other headers' values.
    pub(crate) fn sign(&self, id: &str, seconds: u64, payload: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut signed = hmac::Context::with_key(&key);
        signed.update(format!("{id}.{seconds}.").as_bytes());
        signed.update(payload);
        format!("v1,{}", STANDARD.encode(signed.sign()))
    }
}

/// As its owner is shown it.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that all libraries of the specification are tested with.
    #[test]
    fn signs_as_the_specification_says() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secret = Secret(STANDARD.decode(&text[PREFIX.len()..]).unwrap());
        assert_eq!(secret.to_string(), text);
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_webhook_has_secrets_of_its_own_that_stay() {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::open(dir.path()).unwrap();
        let text = |webhook, number| key.secret(WebhookId(webhook), number).to_string();
        let again = SecretKey::open(dir.path()).unwrap().secret(WebhookId(1), 1).to_string();
        assert_eq!(text(1, 1), again);
        let other = SecretKey::open(tempfile::tempdir().unwrap().path()).unwrap();
        let all = [text(1, 1), text(1, 2), text(2, 1), other.secret(WebhookId(1), 1).to_string()];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        // 24 to 64 bytes, says the specification.
        assert_eq!(STANDARD.decode(&all[0][PREFIX.len()..]).unwrap().len(), 32);
    }
}
