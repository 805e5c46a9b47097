//! Keys for clients of S3.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_core::Command;

use super::ApiError;
use super::extract::{Body, Caller, IdempotencyKey};
use crate::server::Hub;

/// Makes a key with which a client of S3 speaks for the caller, about files only. It is shown only here.
#[utoipa::path(post, path = "/v1/s3-keys", operation_id = "make_s3_key",
    responses((status = 201, body = wire::s3::S3Key)))]
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
) -> Result<(StatusCode, Json<wire::s3::S3Key>), ApiError> {
    let id = key.of(caller.account);
    let access_key = hub.s3_keys.make(id);
    let command = Command::AddToken { account: caller.account, token: hub.s3_keys.token(&access_key) };
    hub.cell.ask(caller.account, id, command).await??;
    let secret_key = hub.s3_keys.secret(&access_key);
    Ok((StatusCode::CREATED, Json(wire::s3::S3Key { access_key, secret_key })))
}

/// Makes such a key worthless: one's own, or any for operators.
#[utoipa::path(post, path = "/v1/s3-keys/revoke", operation_id = "revoke_s3_key",
    request_body = wire::s3::RevokeS3Key, responses((status = 204)))]
pub(super) async fn revoke(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::s3::RevokeS3Key>,
) -> Result<StatusCode, ApiError> {
    let token = hub.s3_keys.token(&body.access_key);
    super::accounts::revoke(hub, caller, key, token).await
}
