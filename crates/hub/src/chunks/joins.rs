//! Large blobs put together from parts: longer work than a request may last, so it goes on when nobody waits, and whoever
//! asks the same again waits for the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_core::{Bounds, FilesCommand, State};
use pumasi_types::{AccountId, ByteSize, Hash};
use tokio::sync::watch;

use crate::drive::DriveError;
use crate::limits::Share;
use crate::server::Hub;

/// How long the end of a join is remembered for who asks again.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How a join ended.
pub(crate) type Ended = Result<(Hash, ByteSize), Arc<DriveError>>;

/// Joins under way and those that ended lately, by account and parts.
#[derive(Default)]
pub(crate) struct Joins(Mutex<HashMap<Hash, Arc<Join>>>);

/// One of them.
pub(crate) struct Join {
    /// Bytes of all parts.
    pub(crate) size: u64,
    done: AtomicU64,
    ended: watch::Sender<Option<(Instant, Ended)>>,
}

impl Join {
    /// How many bytes were read.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) -> Option<Ended> {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.ok()?;
        ended.as_ref().map(|(_, ended)| ended.clone())
    }

    /// Failures are told once and not kept.
    fn is_kept(&self, now: Instant) -> bool {
        match &*self.ended.borrow() {
            None => true,
            Some((_, Err(_))) => false,
            Some((at, Ok(_))) => now.saturating_duration_since(*at) < REMEMBERED,
        }
    }
}

/// What stands for the parts of an account.
fn key(account: AccountId, parts: &[Hash]) -> Hash {
    let mut key = blake3::Hasher::new();
    key.update(&account.0.to_le_bytes());
    for part in parts {
        key.update(part.as_bytes());
    }
    key.finalize().into()
}

impl Joins {
    /// The join of these parts, if it is under way or has ended lately.
    pub(crate) fn find(&self, account: AccountId, parts: &[Hash]) -> Option<Arc<Join>> {
        let (mut joins, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        joins.retain(|_, join| join.is_kept(now));
        joins.get(&key(account, parts)).cloned()
    }

    /// Begins to put parts together that the account holds, if nobody did meanwhile, in a place among those at work.
    ///
    /// # Errors
    /// When there is no place.
    pub(crate) fn begin<E>(
        &self,
        hub: &Arc<Hub>,
        account: AccountId,
        parts: Vec<(Hash, ByteSize)>,
        place: impl FnOnce() -> Result<Share<AccountId>, E>,
    ) -> Result<Arc<Join>, E> {
        let names: Vec<Hash> = parts.iter().map(|(name, _)| *name).collect();
        let key = key(account, &names);
        let mut joins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(join) = joins.get(&key).filter(|join| join.is_kept(Instant::now())) {
            return Ok(Arc::clone(join));
        }
        let place = place()?;
        let size = parts.iter().map(|(_, size)| size.0).sum();
        let join = Arc::new(Join { size, done: AtomicU64::new(0), ended: watch::Sender::new(None) });
        joins.insert(key, Arc::clone(&join));
        drop(joins);
        let (hub, working) = (Arc::clone(hub), Arc::clone(&join));
        tokio::spawn(async move {
            let ended = put_together(&hub, account, names, &working).await;
            working.ended.send_replace(Some((Instant::now(), ended.map_err(Arc::new))));
            drop(place);
        });
        Ok(join)
    }
}

async fn put_together(
    hub: &Hub,
    account: AccountId,
    parts: Vec<Hash>,
    join: &Join,
) -> Result<(Hash, ByteSize), DriveError> {
    let (store, named) = (hub.blobs.clone(), parts.clone());
    let pieces = stream::iter(named)
        .then(move |part| {
            let store = store.clone();
            async move { store.stream(&part).await.map(|(_, pieces)| pieces) }
        })
        .try_flatten()
        .inspect_ok(|piece| {
            join.done.fetch_add(piece.len() as u64, Ordering::Relaxed);
        });
    let whole = hub.store_held(account, pieces.boxed(), ByteSize(join.size)).await?;
    let parts: Vec<Hash> = parts.into_iter().filter(|part| *part != whole.0).collect();
    for parts in parts.chunks(Bounds::FILES) {
        let joined = FilesCommand::Joined { account, parts: parts.to_vec() };
        hub.files(State::SYSTEM, None, joined).await?;
    }
    Ok(whole)
}
