//! Downloads: what the hub fetches while its user is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::downloads::{self as wire, NewDownload, WAIT_MS_MAX};
use pumasi_api::wire::market::WAIT_S_MAX;
use pumasi_core::{
    Access, Brought, Done, Download, DownloadControl, DownloadSource, DownloadSpec, DownloadState,
    FilesCommand, FilesDone, FilesRefusal, Refusal,
};
use pumasi_fetch::Magnet;
use pumasi_types::{AccountId, ByteSize, DownloadId, NoticeId};
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

fn ms(time: pumasi_types::Time) -> u64 {
    time.0 / 1_000_000
}

fn view(hub: &Hub, id: DownloadId, (download, space): Found) -> wire::Download {
    let Brought { files, bytes, saved } = download.brought;
    let over = download.over();
    let is_running = matches!(download.state, DownloadState::Running);
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
        over_ms: over.map(|(at, _)| ms(at)),
        files: (files > 0).then_some(files),
        saved_bytes: (files > 0).then_some(saved.0),
        reason: download.trouble.filter(|_| !is_running),
    };
    match download.state {
        DownloadState::Waiting(again) => view.again_ms = again.map(ms),
        DownloadState::Running => view.state = wire::DownloadState::Running,
        DownloadState::Paused => view.state = wire::DownloadState::Paused,
        DownloadState::Done { .. } => {
            view.state = wire::DownloadState::Done;
            (view.files, view.saved_bytes) = (Some(files), Some(saved.0));
            (view.got_bytes, view.total_bytes, view.peers) = (Some(bytes.0), Some(bytes.0), None);
        }
        DownloadState::Failed { .. } => view.state = wire::DownloadState::Failed,
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
    let done = control(&hub, caller.account, &key, id, DownloadControl::Cancel).await?;
    hub.downloads.give_up();
    Ok(done)
}

/// Which notices, and how long to wait for one.
#[derive(Deserialize)]
pub(super) struct NoticesQuery {
    after: Option<NoticeId>,
    limit: Option<usize>,
    wait_s: Option<u64>,
}

/// What became of the caller's downloads, in the order in which they were over: from behind what the caller says that it
/// knows, or what it said that it has seen. Whoever asks again with `next` as `after` comes by each of them; with `wait_s` the
/// answer waits so long for the first of them.
#[utoipa::path(get, path = "/v1/downloads/notices", operation_id = "read_download_notices",
    params(("after" = Option<u64>, Query), ("limit" = Option<u32>, Query), ("wait_s" = Option<u64>, Query)),
    responses((status = 200, body = wire::Notices)))]
pub(super) async fn notices(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<NoticesQuery>,
) -> Result<Json<wire::Notices>, ApiError> {
    let (account, limit) = (caller.account, query.limit.unwrap_or(100).clamp(1, PAGE));
    let until = Instant::now() + Duration::from_secs(query.wait_s.unwrap_or(0).min(WAIT_S_MAX));
    let mut over = hub.downloads.over();
    loop {
        over.mark_unchanged();
        let look = move |state: &pumasi_core::State| {
            let seen = state.files().downloads_seen(account);
            let after = query.after.unwrap_or(seen);
            let behind = state.files().downloads_over(account, after);
            let found = behind
                .take(limit + 1)
                .map(|(notice, id, download)| (notice, id, (download.clone(), space_name(state, download))));
            (seen, after, found.collect::<Vec<_>>())
        };
        let (seen, after, mut found) = hub.cell.read(look).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !found.is_empty() || left.is_zero() {
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().map_or(after, |(notice, ..)| *notice);
            let notices =
                found.into_iter().map(|(notice, id, found)| told(&hub, notice, id, found)).collect();
            return Ok(Json(wire::Notices { notices, next, more, seen }));
        }
        tokio::select! {
            _ = over.changed() => {}
            () = tokio::time::sleep(left) => {}
            () = hub.stopping() => {
                return Ok(Json(wire::Notices { notices: Vec::new(), next: after, more: false, seen }));
            }
        }
    }
}

fn told(hub: &Hub, notice: NoticeId, id: DownloadId, found: Found) -> wire::DownloadNotice {
    let is_done = matches!(found.0.state, DownloadState::Done { .. });
    let text = crate::downloads::notice(id, &found.0, &found.1);
    wire::DownloadNotice {
        id: notice,
        kind: if is_done { "download.done" } else { "download.failed" }.to_owned(),
        time_ms: found.0.over().map_or(0, |(at, _)| ms(at)),
        download: view(hub, id, found),
        notice: text,
    }
}

/// Says up to where the caller knows what became of its downloads: without `after` it is told what comes behind.
#[utoipa::path(post, path = "/v1/downloads/notices/seen", operation_id = "see_download_notices",
    request_body = wire::SeenNotices, responses((status = 204)))]
pub(super) async fn see(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::SeenNotices>,
) -> Result<StatusCode, ApiError> {
    let see = FilesCommand::SeeDownloads { last: body.last };
    hub.files(caller.account, key.of(caller.account), see).await?;
    Ok(StatusCode::NO_CONTENT)
}
