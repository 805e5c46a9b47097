//! Frames that were read lately, because small files that lie together are read together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::index::PackNumber;

/// Frames that are kept; with frames of 256 KiB they take 16 MiB.
const FRAMES: usize = 64;

type Slot = Arc<OnceCell<Bytes>>;

/// The last frames that were read, uncompressed. Whoever wants one that is just being read waits for it.
#[derive(Debug, Default)]
pub(crate) struct FrameCache(Mutex<VecDeque<((PackNumber, u32), Slot)>>);

impl FrameCache {
    /// The place for a frame, which may be empty.
    pub(crate) fn slot(&self, pack: PackNumber, start: u32) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().position(|(key, _)| *key == (pack, start));
        let entry = match found.and_then(|at| slots.remove(at)) {
            Some(entry) => entry,
            None => ((pack, start), Slot::default()),
        };
        let slot = entry.1.clone();
        slots.push_front(entry);
        slots.truncate(FRAMES);
        slot
    }

    /// Forgets a frame that was not what it should be.
    pub(crate) fn forget(&self, pack: PackNumber, start: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(key, _)| *key != (pack, start));
    }
}
