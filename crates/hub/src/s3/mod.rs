//! Clients of Amazon S3 as guests of the hub: their requests are told from others, and their keys are accounts' tokens.

mod guests;
mod keys;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pumasi_s3::{Denied, Failure, RequestId, S3Service, access_key, check_link, denied, is_for_s3};

use self::guests::Guests;
pub(crate) use self::keys::Keys;
use crate::access;
use crate::http::{ApiError, Peer};
use crate::server::{Hub, neighbourhood};

/// What a request is called in its answer. Clients tell it with what went wrong.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// What S3's clients speak to.
#[derive(Clone)]
pub(crate) struct Gate {
    hub: Arc<Hub>,
    service: S3Service,
}

impl Gate {
    pub(crate) fn new(hub: &Arc<Hub>) -> Gate {
        let service = pumasi_s3::service(Guests(Arc::clone(hub)), hub.options.s3_domain.clone());
        Gate { hub: Arc::clone(hub), service }
    }

    /// Whether a request with this access key, from there, may cost anything: whoever guesses keys is slowed down before.
    async fn admit(&self, key: Option<String>, peer: Option<IpAddr>) -> Result<(), Denied> {
        let too_many = |wait| Denied::Failed(Failure::TooMany(wait));
        let now = Instant::now();
        let count_stranger =
            || peer.map_or(Ok(()), |peer| self.hub.strangers.take(peer, now)).map_err(too_many);
        let Some(key) = key else {
            count_stranger()?;
            return Err(Denied::Unsigned);
        };
        let token = self.hub.s3_keys.token(&key);
        if self.hub.tokens.known(&token).is_some() {
            return Ok(());
        }
        peer.map_or(Ok(()), |peer| self.hub.strangers.check(peer, now)).map_err(too_many)?;
        match self.hub.tokens.look_up(&self.hub.cell, token).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                count_stranger()?;
                Err(Denied::UnknownKey)
            }
            Err(error) => Err(Denied::Failed(Failure::Unavailable(error.to_string()))),
        }
    }

    async fn answer(&self, mut request: Request) -> Response {
        let trail = self.hub.access.of_s3(&request);
        let mut number = [0; 8];
        // Without random bytes all are called 0, and are answered nevertheless.
        let _ = getrandom::fill(&mut number);
        let id = format!("{:016X}", u64::from_le_bytes(number));
        request.extensions_mut().insert(RequestId(id.clone()));
        let mut response = self.hub.access.follow(trail, self.answered(request)).await;
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    async fn answered(&self, request: Request) -> Response {
        let peer = request.extensions().get::<Peer>().map(|peer| neighbourhood(peer.0));
        let key = access_key(request.headers(), request.uri());
        let admitted = match check_link(request.uri()) {
            Ok(()) => self.admit(key, peer).await,
            bad => bad,
        };
        if let Err(why) = admitted {
            match why {
                Denied::Unsigned | Denied::Link => access::refused("AccessDenied"),
                Denied::UnknownKey => access::refused("InvalidAccessKeyId"),
                Denied::Failed(_) => {}
            }
            return denied(why).map(Body::new);
        }
        let has_body = !request.body().is_end_stream() && request.version() <= Version::HTTP_11;
        let request = request.map(pumasi_s3::Body::http_body_unsync);
        let mut response = match pumasi_s3::answer(&self.service, request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => ApiError::internal(&format!("{error:?}")).into_response(),
        };
        // A body that was refused unread ends its connection: the client must not send its next request there.
        if has_body && !response.status().is_success() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Hands on what is meant for S3; everything else goes its way.
pub(crate) async fn divert(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let domain = gate.hub.options.s3_domain.as_deref();
    if is_for_s3(request.headers(), request.uri(), domain) {
        gate.answer(request).await
    } else {
        next.run(request).await
    }
}
