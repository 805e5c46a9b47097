//! Frames that were read lately, because small files that lie together are read together, and parts of large ones in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use pumasi_types::Hash;
use tokio::sync::OnceCell;

use crate::index::PackNumber;

/// Bytes of frames that are kept at most, but for a last one.
const BYTES: u64 = 16 << 20;

type Key = (PackNumber, u32);
pub(crate) type Slot = Arc<OnceCell<Cached>>;

/// A frame that was read, uncompressed.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) bytes: Bytes,
    /// The chunk that all of it is, once that was checked.
    pub(crate) chunk: OnceLock<Hash>,
}

/// The last frames that were read. Whoever wants one that is just being read waits for it.
#[derive(Debug, Default)]
pub(crate) struct FrameCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// With the bytes of each, the one that was wanted last at the front.
    slots: VecDeque<(Key, u32, Slot)>,
    bytes: u64,
}

impl FrameCache {
    /// The place for a frame of so many bytes, which may be empty.
    pub(crate) fn slot(&self, pack: PackNumber, start: u32, bytes: u32) -> Slot {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.slots.iter().position(|(key, ..)| *key == (pack, start));
        let entry = match found.and_then(|at| kept.slots.remove(at)) {
            Some(entry) => entry,
            None => {
                kept.bytes += u64::from(bytes);
                ((pack, start), bytes, Slot::default())
            }
        };
        let slot = entry.2.clone();
        kept.slots.push_front(entry);
        while kept.bytes > BYTES && kept.slots.len() > 1 {
            let oldest = kept.slots.pop_back().map_or(0, |(_, bytes, _)| bytes);
            kept.bytes -= u64::from(oldest);
        }
        slot
    }

    /// Forgets a frame that was not what it should be.
    pub(crate) fn forget(&self, pack: PackNumber, start: u32) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.slots.retain(|(key, ..)| *key != (pack, start));
        kept.bytes = kept.slots.iter().map(|(_, bytes, _)| u64::from(*bytes)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frames_are_kept_as_far_as_they_have_room() {
        let cache = FrameCache::default();
        let first = cache.slot(1, 0, 2 << 20);
        assert!(Arc::ptr_eq(&first, &cache.slot(1, 0, 2 << 20)));
        for pack in 2..8 {
            cache.slot(pack, 0, 2 << 20);
        }
        assert!(Arc::ptr_eq(&first, &cache.slot(1, 0, 2 << 20)), "eight fit");
        let second = cache.slot(2, 0, 2 << 20);
        for pack in 9..15 {
            cache.slot(pack, 0, 2 << 20);
        }
        cache.slot(15, 0, 2 << 20);
        assert!(Arc::ptr_eq(&second, &cache.slot(2, 0, 2 << 20)));
        assert!(!Arc::ptr_eq(&first, &cache.slot(1, 0, 2 << 20)), "it was wanted longest ago");
        cache.forget(2, 0);
        assert!(!Arc::ptr_eq(&second, &cache.slot(2, 0, 2 << 20)));
        let huge = cache.slot(20, 0, 1 << 30);
        assert!(Arc::ptr_eq(&huge, &cache.slot(20, 0, 1 << 30)), "the last one is kept, whatever its length");
        let kept = cache.0.lock().unwrap();
        assert_eq!((kept.slots.len(), kept.bytes), (1, 1 << 30));
    }
}
