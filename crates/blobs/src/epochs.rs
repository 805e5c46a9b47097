//! Who is writing while a collection runs: what keeps collected and just used content apart, see [`crate::gc`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use pumasi_types::Hash;
use tokio::sync::Notify;

use crate::index::{Location, PackNumber};

/// One bit for each entry of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit and tells whether it was not set.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        let (word, mask) = (bit as usize / 64, 1 << (bit % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & mask == 0;
        self.0[word] |= mask;
        is_new
    }

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.0.get(bit as usize / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    pub(crate) fn clear(&mut self, bit: u32) {
        if let Some(word) = self.0.get_mut(bit as usize / 64) {
            *word &= !(1 << (bit % 64));
        }
    }
}

/// Entries that a collection is about to remove, by pack.
pub(crate) type Condemned = HashMap<PackNumber, Bits>;

/// What was condemned at one moment, but for what is rescued later.
///
/// Whoever relies on what the index says takes this first, then looks at the index: if a collection ends in between, the
/// one still knows what it removed, or the other does not know it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict(Arc<RwLock<Condemned>>);

impl Verdict {
    pub(crate) fn is_condemned(&self, location: &Location) -> bool {
        let condemned = self.0.read().unwrap_or_else(PoisonError::into_inner);
        condemned.get(&location.pack).is_some_and(|bits| bits.has(location.place.ordinal))
    }

    /// Whether anything is.
    pub(crate) fn is_any(&self) -> bool {
        !self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn change(&self) -> RwLockWriteGuard<'_, Condemned> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions of writers, and what a collection has to know of them.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    state: Mutex<State>,
    ended: Notify,
    verdict: RwLock<Verdict>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the next session.
    next: u64,
    /// Sessions that have not ended.
    open: BTreeSet<u64>,
    /// Blobs acknowledged since the collection that runs began; none when nothing is to be rescued any more.
    recent: Option<Vec<Hash>>,
}

/// One session of a writer: what it found in the store stays there until it ends.
#[derive(Debug)]
pub(crate) struct Session {
    epochs: Arc<Epochs>,
    number: u64,
}

impl Epochs {
    pub(crate) fn begin(self: &Arc<Epochs>) -> Session {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number);
        Session { epochs: Arc::clone(self), number }
    }

    /// These blobs are about to be acknowledged, as put or as linked. False when a collection no longer listens.
    pub(crate) fn acknowledge(&self, blobs: &[Hash]) -> bool {
        match &mut self.state().recent {
            Some(recent) => {
                recent.extend_from_slice(blobs);
                true
            }
            None => false,
        }
    }

    /// A collection begins: what is acknowledged from now on is remembered for it.
    pub(crate) fn listen(&self) {
        self.state().recent = Some(Vec::new());
    }

    /// Nothing more is heard, if nothing was since the last time; else that.
    pub(crate) fn stop_listening(&self) -> Option<Vec<Hash>> {
        let mut state = self.state();
        match state.recent.as_mut().map(std::mem::take) {
            Some(recent) if !recent.is_empty() => Some(recent),
            _ => {
                state.recent = None;
                None
            }
        }
    }

    /// Nobody finds these any more, so whoever needs one of them stores it again.
    pub(crate) fn condemn(&self, condemned: Condemned) {
        self.replace(Verdict(Arc::new(RwLock::new(condemned))));
    }

    /// Takes one back that turned out to be used.
    pub(crate) fn rescue(&self, location: &Location) {
        if let Some(bits) = self.verdict().change().get_mut(&location.pack) {
            bits.clear(location.place.ordinal);
        }
    }

    /// The collection is over.
    pub(crate) fn acquit(&self) {
        self.replace(Verdict::default());
        self.state().recent = None;
    }

    /// What is condemned now.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, verdict: Verdict) {
        *self.verdict.write().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// What is condemned in a pack.
    pub(crate) fn condemned_in(&self, pack: PackNumber) -> Bits {
        self.verdict().change().get(&pack).cloned().unwrap_or_default()
    }

    /// Waits until every session that is open now has ended; those that begin later do not matter.
    pub(crate) async fn settle(&self) {
        let barrier = self.state().next;
        loop {
            // Registered before looking, so that no end is missed.
            let ended = self.ended.notified();
            if self.state().open.first().is_none_or(|oldest| *oldest >= barrier) {
                return;
            }
            ended.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.epochs.state().open.remove(&self.number);
        self.epochs.ended.notify_waiters();
    }
}
