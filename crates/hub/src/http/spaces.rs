//! Spaces: who has them, what they hold, and who may do what in them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_api::wire::files::{ChangeSpace, NewSpace, SetMember, Space, Spaces};
use pumasi_core::{Access, Done, FilesCommand, FilesDone, FilesRefusal};
use pumasi_types::{ByteSize, Duration, SpaceId};
use serde::Deserialize;

use super::ApiError;
use super::accounts::{resolve, unexpected};
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use super::file_views::{self as views, access_of};
use crate::drive::{HOME, KEEP};
use crate::server::Hub;
use crate::{access, auth};

/// Spaces in one answer.
const SPACES_MAX: usize = 1_000;

/// Which spaces.
#[derive(Deserialize)]
pub(super) struct SpacesQuery {
    #[serde(default)]
    all: bool,
    after: Option<SpaceId>,
}

/// The caller's spaces, by number and without their members; its own is among them once it was used. Operators see all
/// with `all=true`.
#[utoipa::path(get, path = "/v1/spaces", operation_id = "list_spaces",
    params(("all" = Option<bool>, Query), ("after" = Option<u32>, Query)),
    responses((status = 200, body = Spaces)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<SpacesQuery>,
) -> Result<Json<Spaces>, ApiError> {
    if query.all && !caller.is_operator() {
        return Err(ApiError::forbidden("only operators may see all spaces"));
    }
    let account = caller.account;
    let look = move |state: &pumasi_core::State| {
        let first = SpaceId(query.after.map_or(0, |after| after.0.saturating_add(1)));
        let view = |(id, space): (SpaceId, &_)| views::space_of_many(account, id, space);
        let (mut spaces, more): (Vec<Space>, bool) = match query.all {
            true => {
                let mut all = state.files().spaces().range(first..).map(|(id, space)| (*id, space));
                let page = all.by_ref().take(SPACES_MAX).map(view).collect();
                (page, all.next().is_some())
            }
            false => {
                let mut own = state.files().spaces_of(account).filter(|(id, _)| *id >= first);
                let page = own.by_ref().take(SPACES_MAX).map(view).collect();
                (page, own.next().is_some())
            }
        };
        spaces.sort_by_key(|space| space.id);
        let next = spaces.last().filter(|_| more).map(|last| last.id);
        Spaces { spaces, next }
    };
    Ok(Json(hub.cell.read(look).await?))
}

/// Makes a space; the caller becomes its manager.
#[utoipa::path(post, path = "/v1/spaces", operation_id = "make_space", request_body = NewSpace,
    responses((status = 201, body = Space), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<NewSpace>,
) -> Result<(StatusCode, Json<Space>), ApiError> {
    let keep = body.keep_ms.map_or(KEEP, Duration::from_millis);
    let command = FilesCommand::CreateSpace { name: body.name, keep };
    match hub.files(caller.account, key.of(caller.account), command).await? {
        Done::Files(FilesDone::Space(space)) => Ok((StatusCode::CREATED, show(&hub, &caller, space).await?)),
        other => Err(unexpected(&other)),
    }
}

async fn show(hub: &Hub, caller: &auth::Caller, id: SpaceId) -> Result<Json<Space>, ApiError> {
    let account = caller.account;
    let look = move |state: &pumasi_core::State| {
        state.files().space(id).map(|space| views::space(state, account, id, space))
    };
    let found = hub.cell.read(look).await?;
    found.map(Json).ok_or_else(|| FilesRefusal::NoSpace { space: id.to_string() }.into())
}

/// The space of a name whose record the caller may see or change: operators may with every one that is there.
async fn record(hub: &Hub, caller: &auth::Caller, name: String, needed: Access) -> Result<SpaceId, ApiError> {
    if caller.is_operator() && name != HOME {
        let wanted = name.clone();
        if let Some(space) = hub.cell.read(move |state| state.files().space_named(&wanted)).await? {
            access::looked(&name, Some(space), None);
            return Ok(space);
        }
    }
    Ok(hub.open_space(caller.account, &name, needed).await?)
}

/// A space, for its members and operators. `~` is the caller's own, made when it is first used.
#[utoipa::path(get, path = "/v1/spaces/{space}", operation_id = "get_space", params(("space" = String, Path)),
    responses((status = 200, body = Space), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(name): Path<String>,
) -> Result<Json<Space>, ApiError> {
    let space = record(&hub, &caller, name, Access::Read).await?;
    show(&hub, &caller, space).await
}

/// Changes a space: its managers how long things are kept, operators its quota.
#[utoipa::path(put, path = "/v1/spaces/{space}", operation_id = "change_space", params(("space" = String, Path)),
    request_body = ChangeSpace,
    responses((status = 200, body = Space), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn change(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(name): Path<String>,
    Body(body): Body<ChangeSpace>,
) -> Result<Json<Space>, ApiError> {
    let space = record(&hub, &caller, name, Access::Read).await?;
    let keep = body.keep_ms.map(Duration::from_millis);
    let command = FilesCommand::ChangeSpace { space, keep, quota: body.quota_bytes.map(ByteSize) };
    hub.files(caller.account, key.of(caller.account), command).await?;
    show(&hub, &caller, space).await
}

/// Removes a space in which nothing lies any more; its trash goes too. Its managers.
#[utoipa::path(delete, path = "/v1/spaces/{space}", operation_id = "remove_space", params(("space" = String, Path)),
    responses((status = 204), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn remove(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let space = hub.open_space(caller.account, &name, Access::Read).await?;
    hub.files(caller.account, key.of(caller.account), FilesCommand::RemoveSpace { space }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what an account may do in a space. Its managers.
#[utoipa::path(put, path = "/v1/spaces/{space}/members/{account}", operation_id = "set_member",
    params(("space" = String, Path), ("account" = String, Path)), request_body = SetMember,
    responses((status = 200, body = Space), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn set_member(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path((name, account)): Path<(String, String)>,
    Body(body): Body<SetMember>,
) -> Result<Json<Space>, ApiError> {
    let space = hub.open_space(caller.account, &name, Access::Read).await?;
    let account = resolve(&hub, &account).await?;
    let access = Some(access_of(body.access));
    let command = FilesCommand::SetMember { space, account, access };
    hub.files(caller.account, key.of(caller.account), command).await?;
    show(&hub, &caller, space).await
}

/// Takes an account out of a space, whose record is shown as it is then. Its managers; whoever leaves by himself.
#[utoipa::path(delete, path = "/v1/spaces/{space}/members/{account}", operation_id = "remove_member",
    params(("space" = String, Path), ("account" = String, Path)),
    responses((status = 200, body = Space), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn remove_member(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path((name, account)): Path<(String, String)>,
) -> Result<Json<Space>, ApiError> {
    let space = hub.open_space(caller.account, &name, Access::Read).await?;
    let account = resolve(&hub, &account).await?;
    let command = FilesCommand::SetMember { space, account, access: None };
    hub.files(caller.account, key.of(caller.account), command).await?;
    show(&hub, &caller, space).await
}
