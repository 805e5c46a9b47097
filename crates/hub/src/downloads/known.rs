//! What was fetched before and is here, for those who may have it.

use pumasi_core::{Access, FileKind, Files, State};
use pumasi_types::AccountId;
use serde::de::DeserializeOwned;

use super::origins::{Fetched, Note, Source};
use crate::server::Hub;

/// Files that are looked for in one look at the state.
const PIECE: usize = 1_000;

/// What is remembered of each source: what the account fetched itself, and with `all` what others did. Whether it may have
/// that is not asked yet.
pub(super) async fn remembered<T: DeserializeOwned + Send + 'static>(
    hub: &Hub,
    account: AccountId,
    sources: Vec<Source>,
    all: bool,
) -> Vec<Vec<T>> {
    let (origins, count) = (hub.downloads.origins.clone(), sources.len());
    let looked = tokio::task::spawn_blocking(move || origins.of(&sources, account, all));
    let problem = match looked.await {
        Ok(Ok(found)) => return found,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!("cannot look up what was fetched before: {problem}");
    std::iter::repeat_with(Vec::new).take(count).collect()
}

/// What was fetched before from each source that an account may have now, and that is in the store; the first that is.
/// With `all`, whoever shows that the source has it for him may have what others fetched.
pub(super) async fn here(
    hub: &Hub,
    account: AccountId,
    sources: Vec<Source>,
    all: bool,
) -> Vec<Option<Fetched>> {
    let remembered: Vec<Vec<Fetched>> = remembered(hub, account, sources, all).await;
    let count = remembered.len();
    let numbered = remembered.into_iter().enumerate();
    let mut found: Vec<(usize, Fetched)> =
        numbered.flat_map(|(at, each)| each.into_iter().map(move |one| (at, one))).collect();
    if !all {
        found = allowed(hub, account, found).await;
    }
    let blobs = hub.blobs.clone();
    let stored = tokio::task::spawn_blocking(move || {
        let mut here: Vec<Option<Fetched>> = std::iter::repeat_with(|| None).take(count).collect();
        for (at, one) in found {
            // What cannot be looked up is fetched, and that tells what is wrong.
            if here[at].is_none() && blobs.contains(&one.blob).unwrap_or(false) {
                here[at] = Some(one);
            }
        }
        here
    });
    stored.await.unwrap_or_default()
}

/// All that was fetched before from one source and that an account may have now, whether it is in the store or not.
pub(super) async fn versions(hub: &Hub, account: AccountId, source: Source, all: bool) -> Vec<Fetched> {
    let found = remembered(hub, account, vec![source], all).await.pop().unwrap_or_default();
    if all {
        return found;
    }
    let numbered = found.into_iter().map(|one| (0, one)).collect();
    allowed(hub, account, numbered).await.into_iter().map(|(_, one)| one).collect()
}

/// Those that an account may have.
async fn allowed(hub: &Hub, account: AccountId, found: Vec<(usize, Fetched)>) -> Vec<(usize, Fetched)> {
    let mut allowed = Vec::with_capacity(found.len());
    let mut left = found.into_iter().peekable();
    while left.peek().is_some() {
        let piece: Vec<(usize, Fetched)> = left.by_ref().take(PIECE).collect();
        let look = move |state: &State| {
            let may_have = |(_, one): &(usize, Fetched)| may_have(state.files(), account, one);
            piece.into_iter().filter(may_have).collect::<Vec<_>>()
        };
        // Without an answer it is fetched, and that tells what is wrong.
        allowed.extend(hub.cell.read(look).await.unwrap_or_default());
    }
    allowed
}

/// Whether an account holds these bytes, or may read them where they were put.
fn may_have(files: &Files, account: AccountId, one: &Fetched) -> bool {
    let lies_there = || {
        files.check(account, one.space, Access::Read).is_ok()
            && files.find(one.space, &one.path).is_some_and(
                |found| matches!(found.kind, FileKind::File(version) if version.blob == one.blob),
            )
    };
    files.claimed(account, &one.blob).is_some() || lies_there()
}

/// Remembers what an account fetched.
pub(super) async fn note(hub: &Hub, account: AccountId, notes: Vec<Note>) {
    let origins = hub.downloads.origins.clone();
    let noted = tokio::task::spawn_blocking(move || origins.note(account, &notes)).await;
    let problem = match noted {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!("cannot remember what was fetched: {problem}");
}
