//! Manifests that proved right, so that a blob that is read often is hashed as a whole once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use pumasi_types::Hash;

/// Proofs that are remembered; they take 3 MiB or so.
const PROOFS: usize = 1 << 14;

/// The name of a blob, and the checksum of the manifest by which it was read.
pub(crate) type Proof = (Hash, Hash);

/// Which manifests name the chunks of their blobs. Chunks and lists are checked against their names at every read, so the
/// same manifest can never give other bytes. Another manifest of the same blob has another checksum, and proves itself.
#[derive(Debug, Default)]
pub(crate) struct Proved(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    proofs: HashSet<Proof>,
    /// Oldest first.
    order: VecDeque<Proof>,
}

impl Proved {
    /// Whether this was proved and is remembered.
    pub(crate) fn has(&self, proof: &Proof) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).proofs.contains(proof)
    }

    /// Remembers a proof, and forgets the oldest when there are many.
    pub(crate) fn add(&self, proof: Proof) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !memory.proofs.insert(proof) {
            return;
        }
        memory.order.push_back(proof);
        if memory.order.len() > PROOFS
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.proofs.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_when_there_are_many() {
        let proof = |n: usize| (Hash::of(&n.to_le_bytes()), Hash::ZERO);
        let proved = Proved::default();
        for n in 0..=PROOFS {
            proved.add(proof(n));
            proved.add(proof(n));
        }
        assert!(!proved.has(&proof(0)));
        assert!((1..=PROOFS).all(|n| proved.has(&proof(n))));
        assert!(!proved.has(&(proof(1).0, Hash::of(b"another manifest"))));
    }
}
