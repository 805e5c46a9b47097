//! What handlers take out of a request: the caller, the request id, a JSON body.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use pumasi_types::{AccountId, RequestId};
use serde::de::DeserializeOwned;

use super::{ApiError, Peer};
use crate::auth;
use crate::server::Hub;

/// The authenticated caller, within its rate.
pub(crate) struct Caller(pub(crate) auth::Caller);

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Caller, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let caller = match token {
            Some(token) => hub.tokens.resolve(&hub.cell, token).await?,
            None => None,
        };
        let Some(caller) = caller else {
            // Guessing tokens is slowed down per address.
            if let Some(Peer(address)) = parts.extensions.get::<Peer>().copied() {
                hub.strangers.take(address, Instant::now()).map_err(too_many)?;
            }
            let message = match token {
                Some(_) => "this token is not known: log in again with `pumasi login`",
                None => "a token is needed: send `Authorization: Bearer TOKEN`, or use `pumasi login`",
            };
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unknown_token", message));
        };
        hub.requests.take(caller.account, Instant::now()).map_err(too_many)?;
        Ok(Caller(caller))
    }
}

fn too_many(wait: std::time::Duration) -> ApiError {
    let message = format!("too many requests: try again in {} ms", wait.as_millis() + 1);
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(wait)
}

/// The client's own name for its request, as 128 bits of this caller's.
pub(crate) struct IdempotencyKey(Option<Vec<u8>>);

impl IdempotencyKey {
    /// The request id: nobody's key can meet another's.
    pub(crate) fn of(&self, caller: AccountId) -> Option<RequestId> {
        let key = self.0.as_ref()?;
        let mut hasher = blake3::Hasher::new_derive_key("pumasi 2026 request id");
        hasher.update(&caller.0.to_le_bytes());
        hasher.update(key);
        let bytes: [u8; 16] = hasher.finalize().as_bytes()[..16].try_into().expect("sixteen of 32 bytes");
        Some(RequestId(u128::from_le_bytes(bytes)))
    }
}

impl FromRequestParts<Arc<Hub>> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<IdempotencyKey, ApiError> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(IdempotencyKey(None)) };
        if key.is_empty() || key.len() > 200 {
            return Err(ApiError::invalid("Idempotency-Key must have 1 to 200 bytes"));
        }
        Ok(IdempotencyKey(Some(key.as_bytes().to_vec())))
    }
}

/// A JSON body whose faults are told like all others.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Body<T>, ApiError> {
        match axum::Json::<T>::from_request(request, hub).await {
            Ok(axum::Json(body)) => Ok(Body(body)),
            Err(JsonRejection::BytesRejection(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body is larger than {} bytes", super::BODY_BYTES);
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
            }
            Err(error) => Err(ApiError::new(error.status(), "invalid", error.body_text())),
        }
    }
}
