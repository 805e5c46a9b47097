//! The bytes of files: read one, read many, and put one with its bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::wire;
use pumasi_api::wire::files::{FRAME_MISSING, FilePaths, FileResult};
use pumasi_blobs::{BlobError, BlobStore};
use pumasi_core::{Access, Condition, FileKind, FilePut, Files, FilesRefusal, Placed};
use pumasi_types::{ByteSize, FilePath, SpaceId, VersionId};
use serde::Deserialize;

use super::ApiError;
use super::blobs::upload_limit;
use super::content::Content;
use super::extract::{self, Caller, IdempotencyKey, Path, Query};
use super::file_views as views;
use super::files::not_too_many;
use crate::access;
use crate::server::Hub;

/// Which bytes.
#[derive(Deserialize)]
pub(super) struct ContentQuery {
    path: FilePath,
    version: Option<VersionId>,
}

/// The content of a file, or of one of its versions.
pub(super) fn content_of(
    files: &Files,
    space: SpaceId,
    path: &FilePath,
    version: Option<VersionId>,
) -> Result<Content, FilesRefusal> {
    let file = files.find(space, path).ok_or_else(|| FilesRefusal::NoFile { path: path.clone() })?;
    let FileKind::File(newest) = file.kind else {
        return Err(FilesRefusal::IsFolder { path: path.clone() });
    };
    let found = match version.filter(|version| *version != newest.id) {
        None => newest,
        Some(version) => {
            let older = files.version(file.id, version);
            older.ok_or_else(|| FilesRefusal::NoVersion { path: path.clone(), version })?
        }
    };
    Ok(Content { blob: found.blob, size: found.size, in_parts: true })
}

/// The bytes of a file, of its newest version when none is named; whole or a part. The body ends early when the stored
/// bytes are damaged.
#[utoipa::path(get, path = "/v1/spaces/{space}/content", operation_id = "read_file",
    params(("space" = String, Path), ("path" = String, Query), ("version" = Option<u64>, Query),
        ("range" = Option<String>, Header)),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(ContentQuery { path, version }): Query<ContentQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let look = move |files: &Files, space| content_of(files, space, &path, version);
    let content = hub.in_space(caller.account, &space, Access::Read, look).await??;
    content.answer(&hub, &method, &headers).await
}

/// The bytes of many small files in one answer, in the order in which they were asked for: each as its length in eight
/// bytes, little-endian, and its bytes; all bits set in place of the length of one that is not there.
#[utoipa::path(post, path = "/v1/spaces/{space}/read", operation_id = "read_files",
    params(("space" = String, Path)), request_body = FilePaths,
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn read_many(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    extract::Body(FilePaths { paths }): extract::Body<FilePaths>,
) -> Result<Response, ApiError> {
    not_too_many(&paths)?;
    let paths = Arc::new(paths);
    let wanted = Arc::clone(&paths);
    let look = move |files: &Files, space| {
        let content = |path| content_of(files, space, path, None).ok();
        wanted.iter().map(content).collect::<Vec<_>>()
    };
    let looked = hub.in_space(caller.account, &space, Access::Read, look).await;
    access::reads_all(&paths);
    let contents = looked?;
    let store = hub.blobs.clone();
    let framed = stream::iter(contents).then(move |content| frame(store.clone(), content));
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, Body::from_stream(framed.try_flatten())).into_response())
}

/// One file among many.
async fn frame(
    store: BlobStore,
    content: Option<Content>,
) -> Result<impl futures_util::Stream<Item = Result<Bytes, BlobError>>, BlobError> {
    let Some(Content { blob, .. }) = content else {
        let missing = Bytes::copy_from_slice(&FRAME_MISSING.to_le_bytes());
        return Ok(stream::iter([Ok(missing)]).left_stream());
    };
    let (size, bytes) = store.stream(&blob).await?;
    let length = Bytes::copy_from_slice(&size.0.to_le_bytes());
    Ok(stream::iter([Ok(length)]).chain(bytes).right_stream())
}

/// What a file says of itself, and what must lie at its path.
#[derive(Deserialize)]
pub(super) struct PutQuery {
    path: FilePath,
    modified_ns: Option<u64>,
    #[serde(default)]
    executable: bool,
    /// Only if nothing lies there.
    #[serde(default)]
    absent: bool,
    /// Only over a file with this newest version.
    over: Option<VersionId>,
}

/// Stores the body as the new content of a file, in one request. Durable when it answers.
#[utoipa::path(put, path = "/v1/spaces/{space}/content", operation_id = "put_file",
    params(("space" = String, Path), ("path" = String, Query), ("modified_ns" = Option<u64>, Query),
        ("executable" = Option<bool>, Query), ("absent" = Option<bool>, Query), ("over" = Option<u64>, Query)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = FileResult), (status = 507, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Query(query): Query<PutQuery>,
    request: axum::extract::Request,
) -> Result<Json<FileResult>, ApiError> {
    let condition = match (query.absent, query.over) {
        (false, None) => Condition::Any,
        (true, None) => Condition::Absent,
        (false, Some(version)) => Condition::Version(version),
        (true, Some(_)) => return Err(ApiError::invalid("give `absent` or `over`, not both")),
    };
    let limit = upload_limit(&hub, request.headers())?;
    let named = extract::media_type(request.headers());
    let mut labels = BTreeMap::new();
    if !named.is_empty() && named != "application/octet-stream" {
        labels.insert("content-type".to_owned(), named.to_owned());
    }
    let look = |files: &Files, space| (space, files.space(space).map(|space| (space.quota, space.used)));
    let (space, room) = hub.in_space(caller.account, &space, Access::Write, look).await?;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok().map(ByteSize));
    if let (Some((quota, used)), Some(needed)) = (room, announced)
        && needed > quota
    {
        // What can never fit need not come; whether the rest does, the state decides when it is there.
        let left = ByteSize(quota.0.saturating_sub(used.0));
        return Err(FilesRefusal::QuotaExceeded { quota, left, needed }.into());
    }
    let body = extract::incoming(&hub, request.into_body());
    let ((blob, _), _) = hub.store_ahead(caller.account, body, limit).await?;
    let about = views::about(query.modified_ns, query.executable, labels);
    let file = FilePut { path: query.path.clone(), blob, about, condition };
    let Placed { file, version } = hub.put(caller.account, space, file, key.of(caller.account)).await?;
    Ok(Json(FileResult { path: query.path, id: Some(file), version, error: None }))
}
