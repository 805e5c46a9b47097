//! What each space needs of the store, and how much of it no other does: who saves how much.
//!
//! Counted when an operator asks, one count at a time, and kept until the next. The state is looked at in pieces, between
//! which everybody goes on, so what is put, moved or removed meanwhile may be counted or not. Only spaces are compared: what
//! jobs, downloads and claims refer to beside them is nobody's share. What cannot be counted because it is lost or damaged is
//! told with the rest; a count that fails is begun anew by whoever asks next. A count takes 64 bytes of memory at most for each version
//! of a file and each part of an upload, and eight for each chunk in the store; what is kept of it, 40 for each space.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pumasi_blobs::Share;
use pumasi_core::RootCursor;
use pumasi_types::{Hash, SpaceId};
use tokio::sync::watch;

use crate::drive::DriveError;
use crate::server::Hub;

/// Things that are looked at in one look at the state.
const PIECE: usize = 1_000;

/// What each space needs.
#[derive(Debug)]
pub(crate) struct SpaceShares {
    /// Of each in which something lies, by number.
    pub(crate) each: Vec<(SpaceId, Share)>,
    /// Blobs that could not be counted, the first of them.
    pub(crate) uncounted: Vec<Hash>,
}

/// A count that is under way, or is over; and what came of it then.
#[derive(Clone)]
pub(crate) struct Count {
    /// Which; later ones have higher numbers.
    pub(crate) number: u64,
    pub(crate) course: watch::Receiver<Option<Result<Arc<SpaceShares>, String>>>,
}

impl Count {
    fn is_under_way(&self) -> bool {
        self.course.borrow().is_none() && self.course.has_changed().is_ok()
    }

    /// Whether it serves somebody who knows of the count of this number, or of none.
    fn serves(&self, known: Option<u64>) -> bool {
        let is_told = matches!(&*self.course.borrow(), Some(Ok(_)));
        self.is_under_way() || is_told && known.is_some_and(|known| known <= self.number)
    }
}

/// Counts, one at a time.
#[derive(Default)]
pub(crate) struct Counter(Mutex<Option<Count>>);

impl Counter {
    /// The last count, if it is under way, or went well and is not older than the one that the caller knows of; else one that
    /// begins now.
    pub(crate) fn count(&self, hub: &Arc<Hub>, known: Option<u64>) -> Count {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = last.as_ref().filter(|count| count.serves(known)) {
            return count.clone();
        }
        let number = last.as_ref().map_or(0, |last| last.number) + 1;
        let (done, course) = watch::channel(None);
        let hub = Arc::clone(hub);
        tokio::spawn(async move {
            let counted = tokio::select! {
                counted = shares(&hub) => counted.map(Arc::new).map_err(|error| error.to_string()),
                () = hub.stopping() => Err("the hub stops".to_owned()),
            };
            if let Err(problem) = &counted {
                tracing::error!("what each space needs of the store was not counted: {problem}");
            }
            done.send_replace(Some(counted));
        });
        last.insert(Count { number, course }).clone()
    }
}

/// What each space needs. Others go on meanwhile.
async fn shares(hub: &Hub) -> Result<SpaceShares, DriveError> {
    let began = Instant::now();
    let mut needs: BTreeMap<SpaceId, Vec<Hash>> = BTreeMap::new();
    let mut next = Some(RootCursor::default());
    while let Some(from) = next {
        let piece = hub.cell.read(move |state| state.files().contents(from, PIECE)).await?;
        for (space, blob) in piece.blobs {
            needs.entry(space).or_default().push(blob);
        }
        next = piece.next;
    }
    let (spaces, needs): (Vec<SpaceId>, Vec<Vec<Hash>>) = needs.into_iter().unzip();
    let shares = hub.blobs.shares(&needs).await?;
    let took_ms = began.elapsed().as_millis() as u64;
    let uncounted = shares.uncounted.len();
    tracing::info!(
        spaces = spaces.len(),
        uncounted,
        took_ms,
        "what each space needs of the store was counted"
    );
    Ok(SpaceShares { each: spaces.into_iter().zip(shares.each).collect(), uncounted: shares.uncounted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_failed_serves_nobody() {
        let (done, course) = watch::channel(None);
        let count = Count { number: 7, course };
        assert!([None, Some(6), Some(7), Some(8)].into_iter().all(|known| count.serves(known)), "under way");
        done.send_replace(Some(Err("no disk".to_owned())));
        assert!([None, Some(6), Some(7), Some(8)].into_iter().all(|known| !count.serves(known)));
        done.send_replace(Some(Ok(Arc::new(SpaceShares { each: Vec::new(), uncounted: Vec::new() }))));
        let served = [None, Some(6), Some(7), Some(8)].map(|known| count.serves(known));
        assert_eq!(served, [false, true, true, false]);
        // Its task ended without a word.
        let (done, course) = watch::channel(None);
        drop(done);
        assert!(!Count { number: 7, course }.serves(Some(7)));
    }
}
