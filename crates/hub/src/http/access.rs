//! The access log, for operators, and for who manages a space the part that is about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_api::wire::access::{AccessEntries, AccessEntry};
use pumasi_core::Access;
use serde::Deserialize;

use super::ApiError;
use super::extract::{Caller, Query};
use crate::access::{NotRead, Which};
use crate::auth;
use crate::drive::HOME;
use crate::server::Hub;

/// Entries in one answer.
const ENTRIES_MAX: usize = 1_000;

/// Which page of which accesses.
#[derive(Deserialize)]
pub(super) struct AccessQuery {
    space: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// Who read and listed what, and who was refused, the newest first: in a space for who manages it, everywhere for operators.
/// A page can have fewer entries than asked for, or none, and still lead on.
#[utoipa::path(get, path = "/v1/store/access", operation_id = "list_access",
    params(("space" = Option<String>, Query), ("before" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = AccessEntries), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<AccessQuery>,
) -> Result<Json<AccessEntries>, ApiError> {
    let which = match query.space {
        Some(name) => of_space(&hub, &caller, name).await?,
        None if caller.is_operator() => Which::All,
        None => {
            let message = "only operators may see all accesses: name a space that you manage, `space=NAME`";
            return Err(ApiError::forbidden(message));
        }
    };
    let limit = query.limit.unwrap_or(ENTRIES_MAX).clamp(1, ENTRIES_MAX);
    let (entries, next) = hub.access.page(caller.account, which, query.before, limit).await?;
    let name = move |state: &pumasi_core::State| {
        entries.into_iter().map(|entry| named(state, entry)).collect::<Vec<_>>()
    };
    Ok(Json(AccessEntries { entries: hub.cell.read(name).await?, next }))
}

/// The accesses to the space of a name that the caller may see.
async fn of_space(hub: &Hub, caller: &auth::Caller, name: String) -> Result<Which, ApiError> {
    if !caller.is_operator() || name == HOME {
        return Ok(Which::Of(hub.open_space(caller.account, &name, Access::Manage).await?));
    }
    let wanted = name.clone();
    let space = hub.cell.read(move |state| state.files().space_named(&wanted)).await?;
    Ok(space.map_or(Which::Named(name), Which::Of))
}

/// An entry with the names of today for its numbers.
fn named(state: &pumasi_core::State, entry: AccessEntry) -> AccessEntry {
    let account = entry.account.and_then(|account| state.ledger().account(account));
    let space = entry.space_id.and_then(|space| state.files().space(space));
    AccessEntry {
        account_name: account.map(|account| account.name().to_owned()),
        space: space.map(|space| space.name.clone()).or(entry.space),
        ..entry
    }
}

impl From<NotRead> for ApiError {
    fn from(error: NotRead) -> ApiError {
        match error {
            NotRead::Off => ApiError::not_found("no_access_log", error.to_string()),
            NotRead::Busy => ApiError::too_many(error.to_string()).retry_after(std::time::Duration::ZERO),
            NotRead::File(_) => ApiError::fault("storage", "read its access log", &error),
        }
    }
}
