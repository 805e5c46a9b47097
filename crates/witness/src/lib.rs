//! A witness: somebody independent who cosigns a log's checkpoint only if it continues the one before.
//!
//! A hub that signs two histories can show each to somebody else; it cannot get both cosigned by one witness.
//! Whoever asks for a quorum of witnesses therefore sees the same history as everybody who does.
//!
//! [`Witness`] decides, [`Store`] remembers durably before anything is signed, [`serve`] speaks C2SP
//! tlog-witness. It depends on nothing of the hub's: only on what a log publishes.

mod service;
mod store;

pub use service::serve;
pub use store::{Store, StoreError};

use std::sync::{Mutex, MutexGuard, PoisonError};

use pumasi_proof::{AddCheckpoint, NoteSignature, SignerKey, VerifierKey, WitnessRefusal};

/// Cosigns for the logs that it knows.
#[derive(Debug)]
pub struct Witness {
    key: SignerKey,
    logs: Vec<VerifierKey>,
    /// Held from the look at the latest checkpoint until the new one is durable.
    store: Mutex<Store>,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// The request is refused.
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    /// The witness could not remember what it was about to sign.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Witness {
    /// A witness with this key, which must be one for cosignatures, that knows these logs.
    pub fn new(key: SignerKey, logs: Vec<VerifierKey>, store: Store) -> Witness {
        Witness { key, logs, store: Mutex::new(store) }
    }

    /// The key that its cosignatures are checked with.
    pub fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The keys of the logs that it knows.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// Cosigns a checkpoint at `time_s`, seconds since 1970. What it cosigned is durable before it returns.
    ///
    /// # Errors
    /// When the request is none, the log is unknown, the checkpoint does not continue the latest one (it is
    /// kept as evidence then), or the disk refuses.
    pub fn cosign(&self, body: &str, time_s: u64) -> Result<NoteSignature, NotCosigned> {
        let request = AddCheckpoint::parse(body).map_err(WitnessRefusal::from)?;
        let mut store = self.store();
        let checked = request.check(&self.logs, |origin| store.latest(origin));
        match checked {
            Ok(checkpoint) => {
                store.keep(&checkpoint, &request.checkpoint)?;
                Ok(self.key.sign(request.checkpoint.text(), time_s))
            }
            Err(refusal) => {
                if matches!(refusal, WitnessRefusal::Fork { .. } | WitnessRefusal::Unproven(_)) {
                    store.keep_evidence(body)?;
                }
                Err(refusal.into())
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // The map in memory changes only after the disk did, so a panic leaves it whole.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
