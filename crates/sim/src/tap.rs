//! A log that shows what goes into it to whoever checks the hub.

use std::sync::{Arc, Mutex, PoisonError};

use pumasi_log::{Entries, Epoch, FileLog, Head, Log, LogError, Seq};
use pumasi_types::Time;

use crate::sabotage::Sabotage;

/// What was submitted: head after it and payload.
pub(crate) type Tapped = Arc<Mutex<Vec<(Head, Vec<u8>)>>>;

/// The hub's log, watched.
pub(crate) struct TapLog {
    log: FileLog,
    tapped: Tapped,
    sabotage: Option<Sabotage>,
    submitted: u64,
}

impl TapLog {
    pub(crate) fn new(log: FileLog, tapped: Tapped, sabotage: Option<Sabotage>) -> TapLog {
        TapLog { log, tapped, sabotage, submitted: 0 }
    }
}

/// Takes what was submitted since the last time.
pub(crate) fn take(tapped: &Tapped) -> Vec<(Head, Vec<u8>)> {
    std::mem::take(&mut *tapped.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Log for TapLog {
    fn head(&self) -> Head {
        self.log.head()
    }

    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    fn durable(&self) -> Seq {
        self.log.durable()
    }

    fn first(&self) -> Seq {
        self.log.first()
    }

    fn payload_bytes_max(&self) -> u64 {
        self.log.payload_bytes_max()
    }

    fn submit(&mut self, time: Time, payload: &[u8]) -> Result<Seq, LogError> {
        self.submitted += 1;
        let hundredth = self.submitted.is_multiple_of(100);
        if hundredth && self.sabotage == Some(Sabotage::Unlogged) {
            return Ok(self.log.head().seq);
        }
        let late = u64::from(hundredth && self.sabotage == Some(Sabotage::WrongTime));
        let seq = self.log.submit(Time(time.0 + late), payload)?;
        let mut tapped = self.tapped.lock().unwrap_or_else(PoisonError::into_inner);
        tapped.push((self.log.head(), payload.to_vec()));
        Ok(seq)
    }

    fn wait(&mut self, seq: Seq) -> Result<(), LogError> {
        if self.sabotage == Some(Sabotage::Hasty) && !seq.0.is_multiple_of(20) {
            return Ok(());
        }
        self.log.wait(seq)
    }

    fn read(&self, from: Seq) -> Result<Entries, LogError> {
        self.log.read(from)
    }

    fn trim(&mut self, before: Seq) -> Result<(), LogError> {
        self.log.trim(before)
    }
}
