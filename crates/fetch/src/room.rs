//! Room for the pieces of a torrent that are under way, each of which is in memory until it is whole.
//!
//! Of long pieces few have room at once, so that one slow peer could keep a place from all others. As long as another peer
//! waits for it, a piece may take only a few times as long as the one that came last. Who is cut off for that may be no slower
//! than the rest: each time the next one has twice as long, so that in the end something comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many times as long as the last piece one may take that others wait for.
const SLOWER: u32 = 4;
/// How often is looked whether somebody waits.
const LOOK: Duration = Duration::from_secs(1);

/// Places for pieces, and how long one may be kept.
pub(crate) struct Room {
    places: Semaphore,
    /// Peers that have something that is missing, and wait.
    waiting: AtomicUsize,
    /// How long a piece may take at least.
    least: Duration,
    /// How long one may take now, if others wait.
    patience: Mutex<Duration>,
}

/// Somebody who waits, as long as this is there.
pub(crate) struct Waiting<'a>(&'a Room);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    /// Room for so many pieces, of which each may take so long whoever waits.
    pub(crate) fn new(places: usize, least: Duration) -> Room {
        Room {
            places: Semaphore::new(places),
            waiting: AtomicUsize::new(0),
            least,
            patience: Mutex::new(least),
        }
    }

    /// A place, if one is free.
    pub(crate) fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Notes that somebody waits for a place.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Waits until a piece that begins now has taken too long: `most`, or less if others wait.
    pub(crate) async fn late(&self, most: Duration) {
        let begun = Instant::now();
        loop {
            let took = begun.elapsed();
            if took >= most || self.makes_room(took) {
                return;
            }
            let due = self.patience().saturating_sub(took);
            let look = if due.is_zero() { LOOK } else { due };
            tokio::time::sleep(look.min(most - took)).await;
        }
    }

    /// Whether a piece that has taken so long makes room for who waits. Of several that could, one does.
    fn makes_room(&self, took: Duration) -> bool {
        let mut patience = self.patience();
        let is_over = took >= *patience && self.waiting.load(Ordering::Relaxed) > 0;
        if is_over {
            *patience = patience.saturating_mul(2);
        }
        is_over
    }

    /// A piece came, and took so long.
    pub(crate) fn came(&self, took: Duration) {
        *self.patience() = took.saturating_mul(SLOWER).max(self.least);
    }

    fn patience(&self) -> MutexGuard<'_, Duration> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn who_is_far_slower_than_others_makes_room_for_them() {
        let room = Room::new(1, 120 * S);
        let place = room.take();
        assert!(place.is_some() && room.take().is_none());
        assert!(!room.makes_room(9_000 * S), "nobody waits");
        let waiting = room.wait();
        assert!(!room.makes_room(119 * S) && room.makes_room(120 * S));
        assert!(!room.makes_room(120 * S), "one made room, and that is enough");
        assert!(room.makes_room(240 * S) && !room.makes_room(479 * S), "each has twice as long");
        room.came(100 * S);
        assert!(!room.makes_room(399 * S) && room.makes_room(400 * S), "all are slow");
        room.came(S);
        assert!(!room.makes_room(119 * S) && room.makes_room(120 * S), "all are fast");
        drop(waiting);
        assert!(!room.makes_room(9_000 * S), "it left");
        drop(place);
        assert_eq!(room.free(), 1);
    }

    #[tokio::test]
    async fn only_who_waits_shortens_the_time_of_others() {
        let ends = async |room: &Room, most: Duration| {
            tokio::time::timeout(Duration::from_millis(300), room.late(most)).await.is_ok()
        };
        let room = Room::new(1, Duration::from_millis(20));
        assert!(!ends(&room, 60 * S).await);
        assert!(ends(&room, Duration::from_millis(40)).await, "nobody may take longer than that");
        let _waiting = room.wait();
        assert!(ends(&room, 60 * S).await);
    }
}
