//! Limits: what one caller may ask for in a second, and what one and all of them may have at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pumasi_types::AccountId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Token buckets (as in RFC 2698's single-rate form): `rate` a second, bursts of two seconds' worth.
pub(crate) struct RateLimit<K> {
    rate: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl<K: Eq + Hash> RateLimit<K> {
    /// Full buckets are forgotten when there are more than this.
    const MOST: usize = 10_000;

    pub(crate) fn new(per_second: u32) -> RateLimit<K> {
        // None at all would lock everybody out, the operator included.
        RateLimit { rate: f64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Takes one from the caller's bucket, or says how long to wait.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.draw(key, 1.0, now)
    }

    /// Whether one could be taken, or how long to wait.
    pub(crate) fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.draw(key, 0.0, now)
    }

    fn draw(&self, key: K, cost: f64, now: Instant) -> Result<(), Duration> {
        let burst = self.rate * 2.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > Self::MOST {
            let refilled =
                |bucket: &Bucket| bucket.left + (now - bucket.at).as_secs_f64() * self.rate >= burst;
            buckets.retain(|_, bucket| !refilled(bucket));
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: burst, at: now });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        *bucket = Bucket { left: (bucket.left + gained).min(burst), at: now };
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.rate));
        }
        bucket.left -= cost;
        Ok(())
    }
}

/// What callers have of something at once, each so many at most.
pub(crate) struct Shares<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// What a caller has, until it is dropped.
pub(crate) struct Share<K: Eq + Hash> {
    key: K,
    count: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    pub(crate) fn new(most: usize) -> Shares<K> {
        Shares { most, taken: Arc::default() }
    }

    /// So many more for this caller; none when that would be too many.
    pub(crate) fn take(&self, key: K, count: usize) -> Option<Share<K>> {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&key).copied().unwrap_or(0);
        let sum = own.checked_add(count).filter(|sum| *sum <= self.most)?;
        all.insert(key, sum);
        Some(Share { key, count, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&self.key).map_or(0, |own| own.saturating_sub(self.count));
        match all.get_mut(&self.key).filter(|_| left > 0) {
            Some(own) => *own = left,
            None => drop(all.remove(&self.key)),
        }
    }
}

/// Room for the bodies of requests that are being read, in bytes.
pub(crate) struct BodyRoom {
    all: Arc<Semaphore>,
    each: Shares<AccountId>,
}

/// Why there is no room for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("too many bodies of your requests are on their way: send them one after the other")]
    ForYou,
    #[error("too many requests are on their way to this hub: try again later")]
    ForAll,
}

impl BodyRoom {
    /// Bodies of all accounts.
    const ALL: usize = 256 << 20;
    /// Bodies of one account.
    const EACH: usize = 64 << 20;
    /// How long a request waits for room.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> BodyRoom {
        BodyRoom { all: Arc::new(Semaphore::new(Self::ALL)), each: Shares::new(Self::EACH) }
    }

    /// Room for so many bytes, until it is dropped.
    pub(crate) async fn enter(
        &self,
        caller: AccountId,
        bytes: usize,
    ) -> Result<(Share<AccountId>, OwnedSemaphorePermit), NoRoom> {
        let share = self.each.take(caller, bytes).ok_or(NoRoom::ForYou)?;
        let bytes = u32::try_from(bytes).map_err(|_| NoRoom::ForAll)?;
        let entered = Arc::clone(&self.all).acquire_many_owned(bytes);
        match tokio::time::timeout(Self::PATIENCE, entered).await {
            Ok(permit) => Ok((share, permit.expect("the room is never closed"))),
            Err(_) => Err(NoRoom::ForAll),
        }
    }
}

/// Room for what becomes of messages in streams of orders, in bytes. Who finds none waits, and is not read from meanwhile.
pub(crate) struct StreamRoom {
    /// On the way to the cell, of all accounts: it takes what comes, whatever the senders do.
    all: Semaphore,
    /// Until the answers are taken, of each account: who does not take them holds nobody else up.
    each: Mutex<HashMap<AccountId, Weak<Semaphore>>>,
}

impl StreamRoom {
    /// Of all accounts.
    const ALL: usize = 256 << 20;
    /// Of one account.
    const EACH: usize = 64 << 20;
    /// A copy of a message, its orders and their answers are so many times as long as the message at most.
    const FOLD: usize = 4;

    pub(crate) fn new() -> StreamRoom {
        StreamRoom { all: Semaphore::new(Self::ALL), each: Mutex::default() }
    }

    /// The room that all streams of an account have together.
    pub(crate) fn of(&self, account: AccountId) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = each.get(&account).and_then(Weak::upgrade) {
            return own;
        }
        // Who has no stream any more.
        each.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(Self::EACH));
        each.insert(account, Arc::downgrade(&own));
        own
    }

    /// Waits for room for a message of so many bytes: in its account's own, until its answers are taken, and in that of
    /// all, until its orders are with the cell.
    pub(crate) async fn enter(
        &self,
        own: &Arc<Semaphore>,
        bytes: usize,
    ) -> (OwnedSemaphorePermit, SemaphorePermit<'_>) {
        let bytes = bytes.saturating_mul(Self::FOLD).min(Self::EACH) as u32;
        // In this order: nobody has room among all and waits for somebody who does not read.
        let own = Arc::clone(own).acquire_many_owned(bytes).await.expect("the room is never closed");
        (own, self.all.acquire_many(bytes).await.expect("the room is never closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_share_and_what_is_given_back_can_be_had_again() {
        let shares = Shares::new(3);
        let (two, one) = (shares.take("a", 2).unwrap(), shares.take("a", 1).unwrap());
        assert!(shares.take("a", 1).is_none() && shares.take("b", 4).is_none());
        assert!(shares.take("b", usize::MAX).is_none());
        let _others = shares.take("b", 3).unwrap();
        drop(two);
        let two = shares.take("a", 2).unwrap();
        assert!(shares.take("a", 1).is_none());
        drop((one, two));
        assert!(shares.taken.lock().unwrap().get("a").is_none(), "who has nothing is forgotten");
        assert!(shares.take("a", 3).is_some());
    }

    #[tokio::test]
    async fn who_does_not_read_answers_waits_and_holds_nobody_else_up() {
        let room = StreamRoom::new();
        let (idle, busy) = (room.of(AccountId(1)), room.of(AccountId(2)));
        let enter = |own: Arc<Semaphore>| {
            let room = &room;
            async move { tokio::time::timeout(Duration::from_millis(20), room.enter(&own, 8 << 20)).await.ok() }
        };
        // Answers of an account fill its own room, by whatever stream they come.
        let (one, _) = enter(Arc::clone(&idle)).await.unwrap();
        let (_two, _) = enter(room.of(AccountId(1))).await.unwrap();
        assert!(enter(Arc::clone(&idle)).await.is_none());
        for _ in 0..20 {
            assert!(enter(Arc::clone(&busy)).await.is_some());
        }
        drop(one);
        let (_one, way) = enter(idle).await.unwrap();
        // What is on its way to the cell fills the room of all.
        let others = [3, 4, 5, 6].map(|account| room.of(AccountId(account)));
        let mut ways = Vec::new();
        for own in &others {
            for _ in 0..2 {
                ways.extend(enter(Arc::clone(own)).await);
            }
        }
        assert_eq!(ways.len(), 7);
        drop(way);
        assert!(enter(busy).await.is_some());
        // A message that is longer than any can be waits for all, not for ever.
        drop(ways);
        assert!(room.enter(&others[0], usize::MAX).await.0.num_permits() == StreamRoom::EACH);
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_rules() {
        let limit = RateLimit::new(10);
        let start = Instant::now();
        assert!((0..20).all(|_| limit.take("a", start).is_ok()));
        let wait = limit.take("a", start).unwrap_err();
        assert!(limit.take("b", start).is_ok(), "others have their own");
        assert!(limit.take("a", start + wait).is_ok());
        assert!(limit.take("a", start + wait).is_err());
        assert!(limit.check("a", start + wait).is_err());
    }

    #[test]
    fn looking_takes_nothing_and_no_rate_is_not_for_ever() {
        let limit = RateLimit::new(0);
        let start = Instant::now();
        assert!((0..10).all(|_| limit.check("a", start).is_ok()));
        assert!(limit.take("a", start).is_ok() && limit.take("a", start).is_ok());
        assert!(limit.take("a", start).unwrap_err() <= Duration::from_secs(1));
    }
}
