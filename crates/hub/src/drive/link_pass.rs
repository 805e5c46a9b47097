//! Passwords of links: kept by a slow hash, guessed slowly, and asked once an hour.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use pumasi_types::{LinkId, Time};
use tokio::sync::Semaphore;

use crate::limits::RateLimit;

/// How long a password is good for, once it was given.
pub(crate) const PASS: Duration = Duration::from_secs(3600);
/// Slow hashes at once: each takes 19 MiB and keeps a core busy.
const HASHING: usize = 2;
/// Passwords a second that one neighbourhood may try at one link.
const GUESSES_EACH: u32 = 1;
/// Passwords a second that all may try at one link.
const GUESSES: u32 = 10;

/// Who may pass through links that have a password.
pub(crate) struct LinkPasses {
    /// Signs passes.
    key: [u8; 32],
    hashing: Semaphore,
    each: RateLimit<(LinkId, IpAddr)>,
    all: RateLimit<LinkId>,
}

/// Why a password was not looked at.
#[derive(Debug)]
pub(crate) enum NoCheck {
    /// Too many were tried: not before this time.
    TooMany(Duration),
    /// What is kept of it is none of this hub's.
    Broken(String),
}

impl LinkPasses {
    /// With this secret of the hub.
    pub(crate) fn new(key: [u8; 32]) -> LinkPasses {
        LinkPasses {
            key,
            hashing: Semaphore::new(HASHING),
            each: RateLimit::new(GUESSES_EACH),
            all: RateLimit::new(GUESSES),
        }
    }

    /// What is kept of a password: Argon2id with its salt and costs, as a PHC string. The same secret of the link makes
    /// the same again, so that a repeated request is the same request.
    pub(crate) async fn hash(&self, password: String, secret: &[u8; 32]) -> Result<String, NoCheck> {
        let salt = blake3::derive_key("pumasi 2026 salt of a link's password", secret);
        self.off_runtime(move || {
            Ok(Argon2::default().hash_password_with_salt(password.as_bytes(), &salt[..16])?.to_string())
        })
        .await
    }

    /// Whether a password is that of a link.
    pub(crate) async fn check(
        &self,
        link: LinkId,
        kept: &str,
        password: String,
        peer: IpAddr,
    ) -> Result<bool, NoCheck> {
        let now = Instant::now();
        self.each.take((link, peer), now).map_err(NoCheck::TooMany)?;
        self.all.take(link, now).map_err(NoCheck::TooMany)?;
        let kept = kept.to_owned();
        self.off_runtime(move || {
            match Argon2::default().verify_password(password.as_bytes(), kept.as_str()) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T, NoCheck> {
        let broken = |error: &dyn std::fmt::Display| NoCheck::Broken(error.to_string());
        let _permit = self.hashing.acquire().await.map_err(|error| broken(&error))?;
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| broken(&error))?;
        done.map_err(|error| broken(&error))
    }

    /// Says until when who gave the password need not give it again.
    pub(crate) fn pass(&self, link: LinkId, kept: &str, now: Time) -> String {
        let until = now.0.saturating_add(PASS.as_nanos() as u64);
        format!("{until}.{}", self.sign(link, kept, until).to_hex())
    }

    /// Whether a pass lets its holder through: of this link and password, and not too old.
    pub(crate) fn admits(&self, link: LinkId, kept: &str, pass: &str, now: Time) -> bool {
        let Some((until, mark)) = pass.split_once('.') else { return false };
        let (Ok(until), Ok(mark)) = (until.parse(), blake3::Hash::from_hex(mark)) else { return false };
        // Hashes compare in constant time.
        now.0 < until && mark == self.sign(link, kept, until)
    }

    fn sign(&self, link: LinkId, kept: &str, until: u64) -> blake3::Hash {
        let mut text = Vec::with_capacity(16 + kept.len());
        text.extend_from_slice(&link.0.to_le_bytes());
        text.extend_from_slice(&until.to_le_bytes());
        text.extend_from_slice(kept.as_bytes());
        blake3::keyed_hash(&self.key, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_the_password_of_the_link_passes() {
        let passes = LinkPasses::new([7; 32]);
        let kept = passes.hash("물개".to_owned(), &[1; 32]).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_eq!(kept, passes.hash("물개".to_owned(), &[1; 32]).await.unwrap());
        assert_ne!(kept, passes.hash("물개".to_owned(), &[2; 32]).await.unwrap(), "salted by the link");
        assert!(passes.check(LinkId(1), &kept, "물개".to_owned(), PEER).await.unwrap());
        assert!(!passes.check(LinkId(1), &kept, "물".to_owned(), PEER).await.unwrap());
        let third = passes.check(LinkId(1), &kept, "물개".to_owned(), PEER).await;
        assert!(matches!(third, Err(NoCheck::TooMany(_))), "{third:?}");
        assert!(
            passes.check(LinkId(2), &kept, "물개".to_owned(), PEER).await.unwrap(),
            "each link counts for itself"
        );
    }

    #[test]
    fn a_pass_is_for_one_link_one_password_and_an_hour() {
        let passes = LinkPasses::new([7; 32]);
        let pass = passes.pass(LinkId(1), "kept", Time(5));
        let hour = PASS.as_nanos() as u64;
        assert!(passes.admits(LinkId(1), "kept", &pass, Time(4 + hour)));
        assert!(!passes.admits(LinkId(1), "kept", &pass, Time(5 + hour)));
        assert!(!passes.admits(LinkId(2), "kept", &pass, Time(5)));
        assert!(!passes.admits(LinkId(1), "another", &pass, Time(5)));
        assert!(!LinkPasses::new([8; 32]).admits(LinkId(1), "kept", &pass, Time(5)));
        let longer = pass.replacen(&(5 + hour).to_string(), &(6 + hour).to_string(), 1);
        assert!(!passes.admits(LinkId(1), "kept", &longer, Time(5)));
        for bad in ["", ".", "1", "x.y", "99999999999999999999999.00"] {
            assert!(!passes.admits(LinkId(1), "kept", bad, Time(5)), "{bad}");
        }
    }
}
