//! Rate limits: a token bucket per caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

#[cfg(test)]
mod tests {
    use super::*;

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
