//! Who alone needs what of a store, and what several need: who saves how much by the others.

use std::collections::{HashMap, HashSet};

use pumasi_types::Hash;

use crate::BlobError;
use crate::gc::Visit;
use crate::index::{Location, PackNumber};
use crate::store::BlobStore;

/// Needed by nobody so far; others are numbered from 1.
const NOBODY: u32 = 0;
/// Needed by more than one.
const SEVERAL: u32 = u32::MAX;

/// What one of several needs of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes of all its blobs, each counted as often as it comes; what is not here counts nothing.
    pub logical_bytes: u64,
    /// Bytes, before compression, that none of the others needs: what could go with it.
    pub own_bytes: u64,
}

/// Who needs each entry. Four bytes for each chunk of the store.
#[derive(Debug, Default)]
struct Needs {
    needed_by: HashMap<PackNumber, Vec<u32>>,
    /// Of those who were asked so far; the last one is asked now.
    shares: Vec<Share>,
}

impl Visit for Needs {
    fn visit(&mut self, location: &Location) -> bool {
        let (entries, at) =
            (self.needed_by.entry(location.pack).or_default(), location.place.ordinal as usize);
        if entries.len() <= at {
            entries.resize(at + 1, NOBODY);
        }
        let (me, length) = (self.shares.len(), u64::from(location.place.length));
        match entries[at] {
            NOBODY => {
                entries[at] = me as u32;
                self.shares[me - 1].own_bytes += length;
                true
            }
            known if known as usize == me => false,
            // What it names is needed by several, too, but it may have been the last one who said so.
            SEVERAL => true,
            other => {
                entries[at] = SEVERAL;
                self.shares[other as usize - 1].own_bytes -= length;
                true
            }
        }
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
                logical_bytes += self.size(blob)?.map_or(0, |size| size.0);
            }
            all.shares.push(Share { logical_bytes, own_bytes: 0 });
            for blob in blobs.iter().collect::<HashSet<_>>() {
                self.walk_if_there(blob, &mut all).await?;
            }
        }
        Ok(all.shares)
    }
}
