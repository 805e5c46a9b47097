//! Links: who has the secret of one may read a file or folder. Their pages are in `pages`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pumasi_api::wire;
use pumasi_api::wire::files::{Links, MadeLink, NewLink};
use pumasi_core::{Access, Done, Files, FilesCommand, FilesDone};
use pumasi_types::{Hash, LinkId, Time};
use serde::Deserialize;

use super::ApiError;
use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use super::file_views::{self as views, MS};
use crate::drive::NoCheck;
use crate::server::Hub;

/// Bytes of a secret in a link: 192 bits, which nobody guesses.
const SECRET_BYTES: usize = 24;
/// The longest password of a link, in bytes.
pub(super) const PASSWORD_BYTES: usize = 128;

/// Links in one answer.
const LINKS_MAX: usize = 1_000;

/// A page of links.
#[derive(Deserialize)]
pub(super) struct LinksQuery {
    after: Option<LinkId>,
}

/// The links of a space, by number; for its writers.
#[utoipa::path(get, path = "/v1/spaces/{space}/links", operation_id = "list_links",
    params(("space" = String, Path), ("after" = Option<u64>, Query)),
    responses((status = 200, body = Links), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(query): Query<LinksQuery>,
) -> Result<Json<Links>, ApiError> {
    let look = move |files: &Files, space| {
        let mut links = files.links(space);
        links.sort_unstable_by_key(|(id, _)| *id);
        let path = |file| files.by_id(file).map(|(_, file)| file.path);
        let mut left = links.into_iter().filter(|(id, _)| query.after.is_none_or(|after| *id > after));
        let view = |(id, link): (LinkId, &pumasi_core::Link)| views::link(id, link, path(link.file));
        let links: Vec<_> = left.by_ref().take(LINKS_MAX).map(view).collect();
        let next = left.next().and_then(|_| links.last()).map(|last| last.id);
        Links { links, next }
    };
    Ok(Json(hub.in_space(caller.account, &space, Access::Write, look).await?))
}

/// Lets whoever has a secret read a file, or a folder with all that lies in it, at the page that this answers.
#[utoipa::path(post, path = "/v1/spaces/{space}/links", operation_id = "make_link", params(("space" = String, Path)),
    request_body = NewLink,
    responses((status = 201, body = MadeLink), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(NewLink { path, password, expires_ms, downloads }): Body<NewLink>,
) -> Result<(StatusCode, Json<MadeLink>), ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let id = key.of(caller.account);
    // The same request makes the same secret and keeps the same of the password.
    let bytes = hub.token_maker.secret("pumasi 2026 secrets of links", id);
    let secret = URL_SAFE_NO_PAD.encode(&bytes[..SECRET_BYTES]);
    let password = match password {
        Some(password) if password.is_empty() || password.len() > PASSWORD_BYTES => {
            return Err(ApiError::invalid(format!("password must have 1 to {PASSWORD_BYTES} bytes")));
        }
        Some(password) => Some(hub.link_passes.hash(password, &bytes).await?),
        None => None,
    };
    let expires = expires_ms.map(|ms| Time(ms.saturating_mul(MS)));
    let hash = Hash::of(secret.as_bytes());
    let command = FilesCommand::AddLink { space, path, secret: hash, password, expires, downloads };
    match hub.files(caller.account, id, command).await? {
        Done::Files(FilesDone::Link(id)) => {
            Ok((StatusCode::CREATED, Json(MadeLink { id, page: format!("/s/{secret}") })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Ends a link. Who made it, and managers of its space.
#[utoipa::path(delete, path = "/v1/spaces/{space}/links/{link}", operation_id = "remove_link",
    params(("space" = String, Path), ("link" = u64, Path)),
    responses((status = 204), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn remove(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path((space, link)): Path<(String, LinkId)>,
) -> Result<StatusCode, ApiError> {
    hub.open_space(caller.account, &space, Access::Read).await?;
    hub.files(caller.account, key.of(caller.account), FilesCommand::RemoveLink { link }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<NoCheck> for ApiError {
    fn from(error: NoCheck) -> ApiError {
        match error {
            NoCheck::TooMany(wait) => ApiError::too_many("too many passwords were tried").retry_after(wait),
            NoCheck::Broken(problem) => ApiError::fault("internal", "look at a password", &problem),
        }
    }
}
