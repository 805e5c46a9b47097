//! The hub's store, for operators: how much is in it, and letting go of what nobody needs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_api::wire::files::{Collected, Collection, StoreStats};

use super::extract::Caller;
use super::{ApiError, WAIT_MAX};
use crate::auth;
use crate::server::Hub;

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
    let mut course = hub.collector.begin(&hub);
    let over = tokio::time::timeout(WAIT_MAX, course.wait_for(Option::is_some)).await;
    let Ok(over) = over else { return Ok(Json(Collection { done: None })) };
    let done = over.map_err(|error| ApiError::internal(&error))?.clone();
    let done = done.unwrap_or_else(|| Err("it came to no end".to_owned()));
    let done = done.map_err(|problem| ApiError::fault("storage", "collect its store", &problem))?;
    Ok(Json(Collection {
        done: Some(Collected {
            roots: done.roots,
            missing: done.missing_roots,
            packs_removed: done.packs_removed,
            bytes_removed: done.bytes_removed,
            bytes_rewritten: done.bytes_rewritten,
            dead_bytes_kept: done.dead_bytes_kept,
        }),
    }))
}
