//! What handlers take out of a request: the caller, the request id, a JSON body.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use pumasi_types::{AccountId, RequestId};
use serde::de::DeserializeOwned;

use super::{ApiError, Peer};
use crate::auth;
use crate::orders::request_id;
use crate::server::{Denied, Hub};

/// The authenticated caller, within its rate.
pub(crate) struct Caller(pub(crate) auth::Caller);

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Caller, ApiError> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Caller(hub.authenticate(&parts.headers, peer).await?))
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        match denied {
            Denied::Cell(error) => error.into(),
            Denied::TooMany(wait) => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", denied.to_string())
                    .retry_after(wait)
            }
            Denied::NoToken | Denied::UnknownToken => {
                ApiError::new(StatusCode::UNAUTHORIZED, "unknown_token", denied.to_string())
            }
        }
    }
}

/// Parameters of the path, whose faults are told like all others.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Hub>> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Path<T>, ApiError> {
        let found = extract::Path::<T>::from_request_parts(parts, hub).await;
        found.map(|extract::Path(value)| Path(value)).map_err(|error| ApiError::invalid(error.body_text()))
    }
}

/// Parameters of the query, whose faults are told like all others.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Hub>> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Query<T>, ApiError> {
        let found = extract::Query::<T>::from_request_parts(parts, hub).await;
        found.map(|extract::Query(value)| Query(value)).map_err(|error| ApiError::invalid(error.body_text()))
    }
}

/// The client's own name for its request, as 128 bits of this caller's.
pub(crate) struct IdempotencyKey(Option<Vec<u8>>);

impl IdempotencyKey {
    /// The request id: nobody's key can meet another's.
    pub(crate) fn of(&self, caller: AccountId) -> Option<RequestId> {
        Some(request_id(caller, &[self.0.as_ref()?]))
    }

    /// The same for one item of a list that has this key.
    pub(crate) fn of_item(&self, caller: AccountId, item: u64) -> Option<RequestId> {
        Some(request_id(caller, &[self.0.as_ref()?, b"\0", &item.to_le_bytes()]))
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
                let message = "the body is too large: send less at once";
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let message = "the body must be JSON: send `Content-Type: application/json`";
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message))
            }
            Err(error) => Err(ApiError::invalid(error.body_text())),
        }
    }
}
