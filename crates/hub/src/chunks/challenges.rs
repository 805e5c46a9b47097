//! Challenges that were drawn and not answered: each good for one account, one blob, one minute and one answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_blobs::{BlobError, BlobStore};
use pumasi_chunks::possession::{self, Challenge, SLICE_BYTES};
use pumasi_types::{AccountId, Hash};
use tokio::sync::Semaphore;

/// How long a challenge can be answered.
pub(crate) const VALID: Duration = Duration::from_secs(60);
/// Every answer is answered so long after it came, whether the blob is there or not.
const ANSWERED_AFTER: Duration = Duration::from_secs(1);
/// Open challenges of one account, and of all.
const EACH: usize = 64;
const ALL: usize = 16 << 10;
/// Answers that are checked at once: each reads all over the disk.
const CHECKED_AT_ONCE: usize = 4;
/// Slices of one answer that are read at once.
const READ_AT_ONCE: usize = 8;

/// The open challenges.
pub(crate) struct Challenges {
    open: Mutex<HashMap<[u8; 32], (Challenge, Instant)>>,
    checks: Semaphore,
}

impl Default for Challenges {
    fn default() -> Challenges {
        Challenges { open: Mutex::default(), checks: Semaphore::new(CHECKED_AT_ONCE) }
    }
}

impl Challenges {
    /// Draws one; none when too many are open.
    pub(crate) fn draw(
        &self,
        account: AccountId,
        blob: Hash,
        length: u64,
        now: Instant,
    ) -> Option<Challenge> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, (_, until)| *until > now);
        let own = open.values().filter(|(challenge, _)| challenge.account == account).count();
        if own >= EACH || open.len() >= ALL {
            return None;
        }
        let challenge = Challenge { nonce, account, blob, length };
        open.insert(nonce, (challenge, now + VALID));
        Some(challenge)
    }

    /// Takes the challenge that somebody answers.
    pub(crate) fn take(
        &self,
        nonce: &Hash,
        account: AccountId,
        blob: &Hash,
        now: Instant,
    ) -> Option<Challenge> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Who answers in another's name does not use the other's up.
        let is_theirs =
            |(challenge, _): &(Challenge, Instant)| challenge.account == account && challenge.blob == *blob;
        open.get(nonce.as_bytes()).filter(|open| is_theirs(open))?;
        let (challenge, until) = open.remove(nonce.as_bytes())?;
        (until > now).then_some(challenge)
    }

    /// Whether the blob is here and the answer right. The same time goes by in any case: what takes longer is not proven.
    pub(crate) async fn check(&self, store: &BlobStore, challenge: &Challenge, answer: &Hash) -> bool {
        let until = tokio::time::Instant::now() + ANSWERED_AFTER;
        let checked = tokio::time::timeout_at(until, async {
            let _place = self.checks.acquire().await;
            let right = right_answer(store, challenge).await?;
            Ok::<_, BlobError>(right.is_some_and(|right| possession::is_same(&right, answer)))
        });
        let is_right = match checked.await {
            Ok(Ok(is_right)) => is_right,
            Ok(Err(error)) => {
                tracing::warn!(blob = %challenge.blob.short(), "cannot check an answer: {error}");
                false
            }
            Err(_) => false,
        };
        tokio::time::sleep_until(until).await;
        is_right
    }
}

/// What whoever has the blob answers; nothing when it is not here, or has another length.
async fn right_answer(store: &BlobStore, challenge: &Challenge) -> Result<Option<Hash>, BlobError> {
    let blob = challenge.blob;
    if store.size(&blob)?.is_none_or(|size| size.0 != challenge.length) {
        return Ok(None);
    }
    let mut slices = stream::iter(challenge.offsets())
        // Bytes that are damaged make the answer wrong, so that the client sends its own.
        .map(|offset| store.glance(&blob, offset..offset + SLICE_BYTES))
        .buffered(READ_AT_ONCE);
    let mut answer = challenge.answer();
    while let Some(slice) = slices.try_next().await? {
        answer.slice(&slice);
    }
    Ok(Some(answer.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_good_once_for_its_account_and_blob_and_for_a_minute() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let (alice, bob, blob) = (AccountId(1), AccountId(2), Hash::of(b"blob"));
        let drawn = challenges.draw(alice, blob, 5, now).unwrap();
        let nonce = Hash::from_bytes(drawn.nonce);
        assert_eq!(challenges.take(&nonce, bob, &blob, now), None);
        assert_eq!(challenges.take(&nonce, alice, &Hash::ZERO, now), None);
        assert_eq!(challenges.take(&Hash::ZERO, alice, &blob, now), None);
        assert_eq!(challenges.take(&nonce, alice, &blob, now), Some(drawn));
        assert_eq!(challenges.take(&nonce, alice, &blob, now), None, "once");
        let late = Hash::from_bytes(challenges.draw(alice, blob, 5, now).unwrap().nonce);
        assert_eq!(challenges.take(&late, alice, &blob, now + VALID), None);
    }

    #[test]
    fn nobody_has_too_many_open() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let draw = |account, now| challenges.draw(AccountId(account), Hash::ZERO, 5, now).is_some();
        assert!((0..EACH).all(|_| draw(1, now)) && !draw(1, now));
        assert!(draw(2, now), "others have their own");
        assert!(draw(1, now + VALID), "old ones are forgotten");
    }
}
