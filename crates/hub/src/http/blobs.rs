//! Blobs: upload as a stream or by the hundred, download verified, for who holds them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use pumasi_api::frames::unframe;
use pumasi_api::wire::{self, files::StoredBlobs};
use pumasi_core::FilesRefusal;
use pumasi_types::{ByteSize, Hash, ParseHashError};

use super::ApiError;
use super::content::Content;
use super::extract::{Caller, Path, RawBody, incoming};
use crate::drive::DriveError;
use crate::server::Hub;

/// Stores the body and answers its hash. The caller holds it then for 48 hours: it may read it, and give it to files and
/// jobs. Durable when it answers.
#[utoipa::path(post, path = "/v1/blobs", operation_id = "put_blob",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = wire::StoredBlob), (status = 413, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<wire::StoredBlob>), ApiError> {
    let limit = upload_limit(&hub, request.headers())?;
    let body = incoming(&hub, request.into_body());
    let (hash, size) = hub.store(caller.account, body, limit).await?;
    Ok((StatusCode::CREATED, Json(wire::StoredBlob { hash, size: size.0 })))
}

/// How long an upload may be; what is announced to be longer is refused before it comes.
pub(super) fn upload_limit(hub: &Hub, headers: &HeaderMap) -> Result<ByteSize, ApiError> {
    let limit = hub.options.max_upload;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match announced.is_some_and(|length: u64| length > limit.0) {
        true => Err(pumasi_blobs::BlobError::TooLarge { limit }.into()),
        false => Ok(limit),
    }
}

/// Stores many small blobs at the price of one. The body is one after the other, each as its length in eight bytes,
/// little-endian, and its bytes; at most 1,000 blobs and 8 MiB.
#[utoipa::path(post, path = "/v1/blobs/many", operation_id = "put_blobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = StoredBlobs), (status = 413, body = wire::ErrorBody)))]
pub(super) async fn put_many(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<StoredBlobs>), ApiError> {
    let blobs = unframe(body).map_err(ApiError::invalid)?;
    let stored = hub.store_many(caller.account, blobs).await?;
    let blobs = stored.into_iter().map(|(hash, size)| wire::StoredBlob { hash, size: size.0 }).collect();
    Ok((StatusCode::CREATED, Json(StoredBlobs { blobs })))
}

/// A blob's bytes for who holds it, or a part of them; HEAD tells its length. The body ends early when the stored bytes
/// are damaged.
#[utoipa::path(get, path = "/v1/blobs/{hash}", operation_id = "get_blob",
    params(("hash" = String, Path), ("range" = Option<String>, Header)),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    method: Method,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let blob: Hash = hash.parse().map_err(|error: ParseHashError| ApiError::invalid(error.to_string()))?;
    let size = hub.held(caller.account, blob).await.map_err(not_held)?;
    Content { blob, size, in_parts: true }.answer(&hub, &method, &headers).await
}

/// What is not there and what others have look alike.
fn not_held(error: DriveError) -> ApiError {
    match error {
        DriveError::Refused(pumasi_core::Refusal::Files(FilesRefusal::NotHeld { blob })) => {
            let message = format!(
                "you do not hold blob {blob}: send it with `POST /v1/blobs`, or claim a file that has it with \
                 `POST /v1/spaces/SPACE/claim`; results of jobs are at `/v1/jobs/JOB/tasks/TASK/output`"
            );
            ApiError::not_found("no_blob", message)
        }
        error => error.into(),
    }
}
