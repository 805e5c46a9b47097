//! The hub's store, for operators: how much is in it, what each space needs of it, and letting go of what nobody needs.
//!
//! Never for members: what a space shares with others tells what others have (Harnik, Pinkas and Shulman-Peleg 2010).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_api::wire::files::{Collected, Collection, SpaceShare, StoreSpaces, StoreStats};
use pumasi_blobs::Share;
use pumasi_types::SpaceId;
use serde::Deserialize;
use tokio::sync::watch;

use super::extract::{Caller, Query};
use super::{ApiError, WAIT_MAX};
use crate::auth;
use crate::server::Hub;

/// Spaces in one answer.
const SPACES_MAX: usize = 1_000;

fn for_operators(caller: &auth::Caller) -> Result<(), ApiError> {
    match caller.is_operator() {
        true => Ok(()),
        false => Err(ApiError::forbidden("the hub's store is for operators")),
    }
}

/// How much the hub's store holds; operators only.
#[utoipa::path(get, path = "/v1/store", operation_id = "get_store",
    responses((status = 200, body = StoreStats), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn stats(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<StoreStats>, ApiError> {
    for_operators(&caller)?;
    let used =
        |state: &pumasi_core::State| state.files().spaces().values().map(|space| space.used.0).sum::<u64>();
    let logical_bytes = hub.cell.read(used).await?;
    let store = hub.blobs.clone();
    let stats = tokio::task::spawn_blocking(move || store.stats()).await;
    let stats = stats.map_err(|error| ApiError::internal(&error))??;
    Ok(Json(StoreStats {
        logical_bytes,
        unique_bytes: stats.unique_bytes,
        stored_bytes: stats.stored_bytes,
        index_bytes: stats.index_bytes,
        packs: stats.packs,
        chunks: stats.chunks,
        blobs: stats.manifests,
    }))
}

/// Removes from the hub's store what nothing refers to and what was not put within the last day; operators only. Others go
/// on meanwhile. Begins it, or joins one that is under way, and waits a minute at most: ask again while `done` is absent.
#[utoipa::path(post, path = "/v1/store/collect", operation_id = "collect_store",
    responses((status = 200, body = Collection), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn collect(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<Collection>, ApiError> {
    for_operators(&caller)?;
    let done = outcome(hub.collector.begin(&hub), "collect its store").await?;
    Ok(Json(Collection {
        done: done.map(|done| Collected {
            roots: done.roots,
            missing: done.missing_roots,
            packs_removed: done.packs_removed,
            bytes_removed: done.bytes_removed,
            bytes_rewritten: done.bytes_rewritten,
            dead_bytes_kept: done.dead_bytes_kept,
        }),
    }))
}

/// What came of it, if it is over within the time that a request may wait.
async fn outcome<T: Clone>(
    mut course: watch::Receiver<Option<Result<T, String>>>,
    task: &str,
) -> Result<Option<T>, ApiError> {
    let over = tokio::time::timeout(WAIT_MAX, course.wait_for(Option::is_some)).await;
    let Ok(over) = over else { return Ok(None) };
    let done = over.map_err(|error| ApiError::internal(&error))?.clone();
    let done = done.unwrap_or_else(|| Err("it came to no end".to_owned()));
    done.map(Some).map_err(|problem| ApiError::fault("storage", task, &problem))
}

/// Which count, and which page of it.
#[derive(Deserialize)]
pub(super) struct SpacesQuery {
    count: Option<u64>,
    after: Option<SpaceId>,
}

/// What each space in which something lies needs of the hub's store, and how much of it no other does; operators only. Begins
/// to count, or joins the count that is under way, and waits a minute at most: ask again with its `count` while `spaces` is
/// absent, and with `count` and `after` for the next page. What is lost or damaged is named in `uncounted`. After a count that
/// failed the next request begins another. Others go on meanwhile, and what they change may be counted or not.
#[utoipa::path(get, path = "/v1/store/spaces", operation_id = "list_store_spaces",
    params(("count" = Option<u64>, Query), ("after" = Option<u32>, Query)),
    responses((status = 200, body = StoreSpaces), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn spaces(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<SpacesQuery>,
) -> Result<Json<StoreSpaces>, ApiError> {
    for_operators(&caller)?;
    let count = hub.space_shares.count(&hub, query.count);
    let number = count.number;
    let Some(shares) = outcome(count.course, "count what spaces need of its store").await? else {
        return Ok(Json(StoreSpaces { count: number, spaces: None, uncounted: Vec::new(), next: None }));
    };
    let each = &shares.each;
    let first = query.after.map_or(0, |after| each.partition_point(|(space, _)| *space <= after));
    let end = each.len().min(first + SPACES_MAX);
    let next = (end < each.len()).then(|| each[end - 1].0);
    let uncounted = shares.uncounted.clone();
    let look = move |state: &pumasi_core::State| {
        let page = &shares.each[first..end];
        page.iter().filter_map(|(space, share)| space_share(state, *space, share)).collect::<Vec<_>>()
    };
    let spaces = hub.cell.read(look).await?;
    Ok(Json(StoreSpaces { count: number, spaces: Some(spaces), uncounted, next }))
}

/// What a space needs; none if it is gone.
fn space_share(state: &pumasi_core::State, id: SpaceId, share: &Share) -> Option<SpaceShare> {
    let space = state.files().space(id)?;
    let owner = state.ledger().account(space.maker);
    Some(SpaceShare {
        id,
        name: space.name.clone(),
        owner: space.maker,
        owner_name: owner.map(|owner| owner.name().to_owned()).unwrap_or_default(),
        logical_bytes: share.logical_bytes,
        own_bytes: share.own_bytes,
        shared_bytes: share.shared_bytes,
        saved_bytes: share.saved_bytes(),
        uncounted_blobs: share.uncounted_blobs,
    })
}
