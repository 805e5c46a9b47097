//! Blobs: upload as a stream, download verified.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pumasi_api::wire;
use pumasi_types::Hash;

use super::ApiError;
use super::extract::{Caller, Path};
use crate::server::Hub;

/// Stores the body and answers its hash. Durable when it answers.
#[utoipa::path(post, path = "/v1/blobs", operation_id = "put_blob",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = wire::StoredBlob), (status = 413, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(_): Caller,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<wire::StoredBlob>), ApiError> {
    let limit = hub.options.max_upload;
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit.0) {
        return Err(pumasi_blobs::BlobError::TooLarge { limit }.into());
    }
    let body = request.into_body().into_data_stream();
    let (hash, size) = hub.blobs.put_stream(body, limit).await?;
    Ok((StatusCode::CREATED, Json(wire::StoredBlob { hash, size: size.0 })))
}

/// A blob's bytes; HEAD tells its length. The body ends early when the stored bytes are damaged.
#[utoipa::path(get, path = "/v1/blobs/{hash}", operation_id = "get_blob", params(("hash" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(_): Caller,
    method: Method,
    Path(hash): Path<String>,
) -> Result<Response, ApiError> {
    let hash: Hash =
        hash.parse().map_err(|error: pumasi_types::ParseHashError| ApiError::invalid(error.to_string()))?;
    if method == Method::HEAD {
        let size = hub.blobs.size(&hash)?.ok_or(pumasi_blobs::BlobError::NotFound { hash })?;
        return Ok([(header::CONTENT_LENGTH, size.0)].into_response());
    }
    let (size, stream) = hub.blobs.stream(&hash).await?;
    let headers = [
        (header::CONTENT_LENGTH, size.0.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}
