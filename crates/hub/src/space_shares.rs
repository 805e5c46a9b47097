//! What each space needs of the store, and how much of it no other does: who saves how much.
//!
//! Counted when an operator asks, one count at a time, and kept until the next. The state is looked at in pieces, between
//! which everybody goes on, so what is put, moved or removed meanwhile may be counted or not. Only spaces are compared: what
//! jobs, downloads and claims refer to beside them is nobody's share. A count takes 64 bytes of memory at most for each version
//! of a file and each part of an upload, and eight for each chunk in the store; what is kept of it, 32 for each space.

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

/// What each space needs in which something lies, by number.
pub(crate) type SpaceShares = Arc<[(SpaceId, Share)]>;

/// A count that is under way, or is over; and what came of it then.
#[derive(Clone)]
pub(crate) struct Count {
    /// Which; later ones have higher numbers.
    pub(crate) number: u64,
    pub(crate) course: watch::Receiver<Option<Result<SpaceShares, String>>>,
}

impl Count {
    fn is_under_way(&self) -> bool {
        self.course.borrow().is_none() && self.course.has_changed().is_ok()
    }
}

/// Counts, one at a time.
#[derive(Default)]
pub(crate) struct Counter(Mutex<Option<Count>>);

impl Counter {
    /// The last count, if it is under way or not older than the one that the caller knows of; else one that begins now.
    pub(crate) fn count(&self, hub: &Arc<Hub>, known: Option<u64>) -> Count {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |count: &&Count| known.is_some_and(|known| known <= count.number);
        if let Some(count) = last.as_ref().filter(|count| is_known(count) || count.is_under_way()) {
            return count.clone();
        }
        let number = last.as_ref().map_or(0, |last| last.number) + 1;
        let (done, course) = watch::channel(None);
        let hub = Arc::clone(hub);
        tokio::spawn(async move {
            let counted = tokio::select! {
                counted = shares(&hub) => counted.map_err(|error| error.to_string()),
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
    tracing::info!(spaces = spaces.len(), took_ms, "what each space needs of the store was counted");
    Ok(spaces.into_iter().zip(shares).collect())
}
