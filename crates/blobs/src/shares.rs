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
/// Chunks that are looked at in one turn, about; a collection that waits comes next.
const TURN: u64 = 8 << 10;
/// Bytes of a blob for each of its chunks, about.
const CHUNK: u64 = 64 << 10;
/// So often a count that a collection came into begins anew; the next time it lets none in, so that it ends.
const ANEW: u32 = 3;
/// So many blobs that could not be counted are named; others are only added up.
const NAMED: usize = 100;

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
    /// How many of its blobs are not here as a whole, or so damaged that nobody can tell what they need: these are counted as
    /// far as that is known.
    pub uncounted_blobs: u64,
}

impl Share {
    /// Bytes that need not be kept for this one alone, because others or it itself have the same.
    pub fn saved_bytes(&self) -> u64 {
        self.logical_bytes.saturating_sub(self.own_bytes)
    }
}

/// What several need, and what could not be counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    /// In the order in which they were given.
    pub each: Vec<Share>,
    /// Blobs that are not here as a whole or damaged, the first hundred.
    pub uncounted: Vec<Hash>,
}

/// Who needs each entry. Eight bytes at most for each chunk of the store, and a bit for each that the one needs who is
/// asked.
#[derive(Debug, Default)]
struct Needs {
    needed_by: HashMap<PackNumber, Vec<u32>>,
    /// Of those who were asked so far; the last one is asked now.
    shares: Vec<Share>,
    uncounted: Vec<Hash>,
    /// What the last one was found to need.
    found: HashMap<PackNumber, Bits>,
}

impl Needs {
    fn ask_next(&mut self) {
        self.shares.push(Share::default());
        self.found = HashMap::new();
    }

    /// The one who is asked.
    fn asked(&mut self) -> &mut Share {
        self.shares.last_mut().expect("somebody is asked")
    }

    fn not_counted(&mut self, blob: &Hash) {
        self.asked().uncounted_blobs += 1;
        if self.uncounted.len() < NAMED && !self.uncounted.contains(blob) {
            self.uncounted.push(*blob);
        }
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
    /// What each of several needs, who are given by all blobs that they need. Others can read and write meanwhile, and
    /// collections come in between.
    ///
    /// What is needed is told apart by where it lies, so nothing that was counted may be moved before the end. While it holds its
    /// turn nothing is; in between it lets others in who wait, and begins anew when one of them moved something. No collection
    /// has to wait for it to be safe: it only reads, as others do at any time.
    ///
    /// # Errors
    /// Failures of the disk other than damage, which is told in the result, and [`BlobError::Index`].
    pub async fn shares(&self, needs: &[Vec<Hash>]) -> Result<Shares, BlobError> {
        for _ in 0..ANEW {
            if let Some(shares) = self.count_shares(needs, TURN).await? {
                return Ok(shares);
            }
        }
        let shares = self.count_shares(needs, u64::MAX).await?;
        Ok(shares.expect("nothing is moved in a single turn"))
    }

    /// Counts in turns of so many chunks; none when something was moved between two of them.
    async fn count_shares(&self, needs: &[Vec<Hash>], turn: u64) -> Result<Option<Shares>, BlobError> {
        let mut moved = self.inner().housekeeping.lock().await;
        let (began, mut left, mut all) = (*moved, turn, Needs::default());
        for blobs in needs {
            all.ask_next();
            for blob in blobs {
                if left == 0 {
                    drop(moved);
                    // Whoever has waited for longer comes first.
                    moved = self.inner().housekeeping.lock().await;
                    if *moved != began {
                        return Ok(None);
                    }
                    left = turn;
                }
                tokio::task::coop::consume_budget().await;
                let size = self.size(blob)?.map_or(0, |size| size.0);
                left = left.saturating_sub(1 + size / CHUNK);
                all.asked().logical_bytes += size;
                let walked = self.walk_if_there(blob, &mut all).await;
                match walked {
                    Ok(true) => {}
                    Ok(false) | Err(BlobError::Damaged { .. }) => all.not_counted(blob),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some(Shares { each: all.shares, uncounted: all.uncounted }))
    }
}
