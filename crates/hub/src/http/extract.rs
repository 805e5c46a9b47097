//! What handlers take out of a request: the caller, the request id, a JSON body.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::{Stream, TryStreamExt};
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
        let caller = hub.authenticate(&parts.headers, peer).await?;
        parts.extensions.insert(caller.clone());
        Ok(Caller(caller))
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        match denied {
            Denied::Cell(error) => error.into(),
            Denied::TooMany(wait) => ApiError::too_many(denied.to_string()).retry_after(wait),
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

/// The type that a body says it has, without its parameters (RFC 9110, 8.3.1).
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.split(';').next().unwrap_or_default().trim()
}

/// A body that is stored as it comes, its bytes counted.
pub(super) fn incoming(
    hub: &Hub,
    body: axum::body::Body,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + use<> {
    let received = hub.metrics.received_bytes.clone();
    body.into_data_stream().inspect_ok(move |piece| {
        received.inc_by(piece.len() as u64);
    })
}

/// How many bytes a JSON body may have at a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyMax(pub(super) usize);

/// A JSON body whose faults are told like all others; behind the [`Caller`] in a handler's arguments.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Body<T>, ApiError> {
        let (parts, body) = request.into_parts();
        let kind = media_type(&parts.headers).to_ascii_lowercase();
        if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
            let message = "the body must be JSON: send `Content-Type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message));
        }
        let bytes = read(&parts, body, hub).await?;
        match axum::Json::<T>::from_bytes(&bytes) {
            Ok(axum::Json(body)) => Ok(Body(body)),
            Err(error) => Err(ApiError::invalid(error.body_text())),
        }
    }
}

/// The bytes of a body; behind the [`Caller`] in a handler's arguments.
pub(crate) struct RawBody(pub(crate) Bytes);

impl FromRequest<Arc<Hub>> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<RawBody, ApiError> {
        let (parts, body) = request.into_parts();
        read(&parts, body, hub).await.map(RawBody)
    }
}

/// Reads a body when there is room for it, and while it comes soon enough.
async fn read(parts: &Parts, body: axum::body::Body, hub: &Hub) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = "the body is too large: send less at once";
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let (Some(caller), Some(BodyMax(most))) =
        (parts.extensions.get::<auth::Caller>(), parts.extensions.get().copied())
    else {
        return Err(ApiError::internal(&"a route for bodies must know its callers and have a bound"));
    };
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced: Option<usize> = announced.and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = announced.unwrap_or(most);
    if bytes > most {
        return Err(too_large());
    }
    let _room = hub.body_room.enter(caller.account, bytes).await?;
    let patience = hub.options.body_patience;
    let Ok(read) = tokio::time::timeout(patience, axum::body::to_bytes(body, most)).await else {
        let message = format!(
            "the body did not come within {} s: send less at once, or over a faster connection",
            patience.as_secs_f32()
        );
        return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message));
    };
    read.map_err(|error| match std::error::Error::source(&error) {
        Some(source) if source.is::<http_body_util::LengthLimitError>() => too_large(),
        _ => ApiError::invalid(format!("the body broke off: {error}")),
    })
}
