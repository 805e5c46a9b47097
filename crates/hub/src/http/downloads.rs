//! Downloads: what the hub fetches while its user is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::downloads::{self as wire, NewDownload, WAIT_MS_MAX};
use pumasi_core::{
    Access, Done, Download, DownloadControl, DownloadSource, DownloadSpec, DownloadState, FilesCommand,
    FilesDone, FilesRefusal, Refusal,
};
use pumasi_fetch::Magnet;
use pumasi_types::{AccountId, ByteSize, DownloadId};
use serde::Deserialize;

use super::ApiError;
use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use crate::downloads::is_magnet;
use crate::server::Hub;

/// Downloads in one answer.
const PAGE: usize = 1_000;

/// Which downloads.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    after: Option<DownloadId>,
}

/// How long to wait.
#[derive(Deserialize)]
pub(super) struct WaitQuery {
    wait_ms: Option<u64>,
}

/// A download and the name of its space, as the state has them.
type Found = (Download, String);

fn find(state: &pumasi_core::State, caller: AccountId, id: DownloadId) -> Result<Found, Refusal> {
    let files = state.files();
    let may_see = |download: &&Download| {
        download.by == caller || files.check(caller, download.spec.space, Access::Manage).is_ok()
    };
    let found = files.download(id).filter(may_see).ok_or(FilesRefusal::NoDownload { download: id })?;
    Ok((found.clone(), space_name(state, found)))
}

fn space_name(state: &pumasi_core::State, download: &Download) -> String {
    let space = download.spec.space;
    state.files().space(space).map_or_else(|| space.to_string(), |space| space.name.clone())
}

fn view(hub: &Hub, id: DownloadId, (download, space): Found) -> wire::Download {
    let ms = |time: pumasi_types::Time| time.0 / 1_000_000;
    let DownloadSpec { path, named, source, .. } = download.spec;
    let far = hub.downloads.how_far(id);
    let mut view = wire::Download {
        id,
        source: match source {
            DownloadSource::Url(url) => url,
            DownloadSource::Torrent(blob) => format!("torrent:{blob}"),
        },
        space,
        path,
        named,
        asked_ms: ms(download.asked),
        state: wire::DownloadState::Waiting,
        again_ms: None,
        got_bytes: far.map(|far| far.got),
        total_bytes: far.and_then(|far| far.total),
        peers: far.map(|far| far.peers),
        given_bytes: hub.downloads.given(id),
        over_ms: None,
        files: None,
        saved_bytes: None,
        reason: None,
    };
    match download.state {
        DownloadState::Waiting(again) => view.again_ms = again.map(ms),
        DownloadState::Running => view.state = wire::DownloadState::Running,
        DownloadState::Paused => view.state = wire::DownloadState::Paused,
        DownloadState::Done { at, files, bytes, saved } => {
            view.state = wire::DownloadState::Done;
            (view.over_ms, view.files) = (Some(ms(at)), Some(files));
            (view.got_bytes, view.total_bytes) = (Some(bytes.0), Some(bytes.0));
            (view.saved_bytes, view.peers) = (Some(saved.0), None);
        }
        DownloadState::Failed { at, reason } => {
            view.state = wire::DownloadState::Failed;
            (view.over_ms, view.reason) = (Some(ms(at)), Some(reason));
        }
    }
    view
}

/// What a request asks for, as far as that can be said before it is begun.
fn source(hub: &Hub, new: &NewDownload) -> Result<DownloadSource, ApiError> {
    match (&new.url, new.torrent) {
        (Some(url), None) if is_magnet(url) => {
            Magnet::parse(url).map_err(|bad| ApiError::invalid(format!("url: {bad}")))?;
            Ok(DownloadSource::Url(url.clone()))
        }
        (Some(url), None) => {
            let checked = hub.downloads.place(url).map(drop);
            checked.map_err(|bad| ApiError::invalid(format!("url: {bad}")))?;
            Ok(DownloadSource::Url(url.clone()))
        }
        (None, Some(blob)) => Ok(DownloadSource::Torrent(blob)),
        _ => Err(ApiError::invalid("give either `url` or `torrent`")),
    }
}

/// Has the hub fetch something; it is done, or not, whether the caller waits or not.
#[utoipa::path(post, path = "/v1/downloads", operation_id = "add_download", request_body = NewDownload,
    responses((status = 201, body = wire::Download), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn add(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<NewDownload>,
) -> Result<(StatusCode, Json<wire::Download>), ApiError> {
    let source = source(&hub, &body)?;
    let is_web = matches!(&source, DownloadSource::Url(url) if !is_magnet(url));
    if !is_web && (body.sha256.is_some() || body.named) {
        return Err(ApiError::invalid("sha256, named: a torrent checks its own pieces, and names its files"));
    }
    if is_web && !body.files.is_empty() {
        return Err(ApiError::invalid("files: only a torrent has several"));
    }
    if body.named && body.path.is_root() {
        return Err(ApiError::invalid("path: the root of a space is no file"));
    }
    let limit = hub.options.downloads.limit;
    let spec = DownloadSpec {
        space: hub.open_space(caller.account, &body.space, Access::Write).await?,
        path: body.path,
        named: body.named,
        source,
        sha256: body.sha256,
        limit: body.limit_bytes.map_or(limit, |bytes| ByteSize(bytes).min(limit)),
        files: body.files,
    };
    let done = hub.files(caller.account, key.of(caller.account), FilesCommand::AddDownload(spec)).await?;
    let Done::Files(FilesDone::Download(id)) = done else { return Err(unexpected(&done)) };
    hub.downloads.look();
    let account = caller.account;
    let found = hub.cell.read(move |state| find(state, account, id)).await??;
    Ok((StatusCode::CREATED, Json(view(&hub, id, found))))
}

/// The caller's downloads, the first asked for first.
#[utoipa::path(get, path = "/v1/downloads", operation_id = "list_downloads",
    params(("after" = Option<u64>, Query)), responses((status = 200, body = wire::Downloads)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<wire::Downloads>, ApiError> {
    let after = query.after.unwrap_or(DownloadId(0));
    let look = move |state: &pumasi_core::State| {
        let behind = state.files().downloads().range(DownloadId(after.0.saturating_add(1))..);
        let own = behind.filter(|(_, download)| download.by == caller.account);
        let found =
            own.take(PAGE + 1).map(|(id, download)| (*id, (download.clone(), space_name(state, download))));
        found.collect::<Vec<_>>()
    };
    let mut found = hub.cell.read(look).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|(id, _)| *id);
    let downloads = found.into_iter().map(|(id, found)| view(&hub, id, found)).collect();
    Ok(Json(wire::Downloads { downloads, next }))
}

/// A download of the caller's, or into a space that it manages. With `wait_ms` it is answered once that is over, or after
/// this time, a minute at most.
#[utoipa::path(get, path = "/v1/downloads/{download}", operation_id = "get_download",
    params(("download" = u64, Path), ("wait_ms" = Option<u64>, Query)),
    responses((status = 200, body = wire::Download), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(id): Path<DownloadId>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<wire::Download>, ApiError> {
    let wait = Duration::from_millis(query.wait_ms.unwrap_or(0).min(WAIT_MS_MAX));
    let until = Instant::now() + wait;
    let mut over = hub.downloads.over();
    loop {
        over.mark_unchanged();
        let found = hub.cell.read(move |state| find(state, caller.account, id)).await??;
        let view = view(&hub, id, found);
        let left = until.saturating_duration_since(Instant::now());
        if view.state.is_over() || left.is_zero() {
            return Ok(Json(view));
        }
        tokio::select! {
            _ = over.changed() => {}
            () = tokio::time::sleep(left) => {}
            () = hub.stopping() => return Ok(Json(view)),
        }
    }
}

async fn control(
    hub: &Hub,
    caller: AccountId,
    key: &IdempotencyKey,
    download: DownloadId,
    control: DownloadControl,
) -> Result<StatusCode, ApiError> {
    hub.files(caller, key.of(caller), FilesCommand::ControlDownload { download, control }).await?;
    hub.downloads.look();
    Ok(StatusCode::NO_CONTENT)
}

/// Stops a download, to go on later.
#[utoipa::path(post, path = "/v1/downloads/{download}/pause", operation_id = "pause_download",
    params(("download" = u64, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn pause(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(id): Path<DownloadId>,
) -> Result<StatusCode, ApiError> {
    control(&hub, caller.account, &key, id, DownloadControl::Pause).await
}

/// Goes on with a download, or tries again what failed.
#[utoipa::path(post, path = "/v1/downloads/{download}/resume", operation_id = "resume_download",
    params(("download" = u64, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn resume(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(id): Path<DownloadId>,
) -> Result<StatusCode, ApiError> {
    control(&hub, caller.account, &key, id, DownloadControl::Resume).await
}

/// Gives a download up, or forgets one that is over.
#[utoipa::path(delete, path = "/v1/downloads/{download}", operation_id = "cancel_download",
    params(("download" = u64, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn cancel(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(id): Path<DownloadId>,
) -> Result<StatusCode, ApiError> {
    control(&hub, caller.account, &key, id, DownloadControl::Cancel).await
}
