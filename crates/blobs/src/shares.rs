//! Who alone needs what of a store, and what several need: who saves how much by the others.

use std::collections::HashMap;

use pumasi_types::Hash;

use crate::BlobError;
use crate::epochs::Bits;
use crate::gc::Visit;
use crate::index::{Location, PackNumber};
use crate::store::BlobStore;

/// Needed by nobody so far; others are numbered from 1.
const NOBODY: u32 = 0;
/// Needed by more than one.
const SEVERAL: u32 = u32::MAX;

/// What one of several needs of a store. What is counted before compression has the lists of chunks in it, and each chunk
/// once, however often it comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes of all its blobs, each counted as often as it comes; what is not here counts nothing.
    pub logical_bytes: u64,
    /// Bytes, before compression, that none of the others needs: what could go with it.
    pub own_bytes: u64,
    /// Bytes, before compression, that others need as well.
    pub shared_bytes: u64,
}

impl Share {
    /// Bytes that need not be kept for this one alone, because others or it itself have the same.
    pub fn saved_bytes(&self) -> u64 {
        self.logical_bytes.saturating_sub(self.own_bytes)
    }
}

/// Who needs each entry. Eight bytes at most for each chunk of the store, and a bit for each that the one needs who is
/// asked.
#[derive(Debug, Default)]
struct Needs {
    needed_by: HashMap<PackNumber, Vec<u32>>,
    /// Of those who were asked so far; the last one is asked now.
    shares: Vec<Share>,
    /// What the last one was found to need.
    found: HashMap<PackNumber, Bits>,
}

impl Needs {
    fn ask_next(&mut self, logical_bytes: u64) {
        self.shares.push(Share { logical_bytes, ..Share::default() });
        self.found = HashMap::new();
    }
}

impl Visit for Needs {
    fn visit(&mut self, location: &Location) -> bool {
        if !self.found.entry(location.pack).or_default().set(location.place.ordinal) {
            return false;
        }
        let (entries, at) =
            (self.needed_by.entry(location.pack).or_default(), location.place.ordinal as usize);
        if entries.len() <= at {
            entries.resize(at + 1, NOBODY);
        }
        let (me, length) = (self.shares.len(), u64::from(location.place.length));
        if entries[at] == NOBODY {
            entries[at] = me as u32;
            self.shares[me - 1].own_bytes += length;
            return true;
        }
        if entries[at] != SEVERAL {
            let other = &mut self.shares[entries[at] as usize - 1];
            other.own_bytes -= length;
            other.shared_bytes += length;
            entries[at] = SEVERAL;
        }
        self.shares[me - 1].shared_bytes += length;
        true
    }
}

impl BlobStore {
    /// What each of several needs, who are given by all blobs that they need. Others can read and write meanwhile.
    ///
    /// # Errors
    /// Failures of the disk, damage that hides what a blob needs, and [`BlobError::Index`].
    pub async fn shares(&self, needs: &[Vec<Hash>]) -> Result<Vec<Share>, BlobError> {
        // Nothing moves meanwhile.
        let _turn = self.inner().housekeeping.lock().await;
        let mut all = Needs::default();
        for blobs in needs {
            let mut logical_bytes = 0;
            for blob in blobs {
                tokio::task::coop::consume_budget().await;
                logical_bytes += self.size(blob)?.map_or(0, |size| size.0);
            }
            all.ask_next(logical_bytes);
            for blob in blobs {
                self.walk_if_there(blob, &mut all).await?;
            }
        }
        Ok(all.shares)
    }
}
