//! Transfers that send only what is lacking: what is held, chunks, recipes, joins and proofs of possession.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pumasi_api::wire;
use pumasi_api::wire::chunks as bodies;
use pumasi_blobs::BlobError;
use pumasi_chunks::list::{self, Chunk, PAGE};
use pumasi_chunks::outline::SEGMENTS_MAX;
use pumasi_chunks::possession::LEAST;
use pumasi_types::{AccountId, ByteSize, Hash};
use serde::Deserialize;

use super::ApiError;
use super::extract::{Body, Caller, Path, Query, incoming};
use crate::chunks::{self, ComposeError, VALID};
use crate::drive::DriveError;
use crate::limits::Share;
use crate::options::Deduplicate;
use crate::server::Hub;

/// Blobs in one question.
const HELD_MAX: usize = 1_000;

/// From where on chunks are listed.
#[derive(Deserialize)]
pub(super) struct FromQuery {
    #[serde(default)]
    pub(super) from: u64,
}

/// Which of these blobs the caller holds.
#[utoipa::path(post, path = "/v1/blobs/held", operation_id = "held_blobs", request_body = bodies::AskHeld,
    responses((status = 200, body = bodies::Held)))]
pub(super) async fn held(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Body(body): Body<bodies::AskHeld>,
) -> Result<Json<bodies::Held>, ApiError> {
    if body.blobs.len() > HELD_MAX {
        return Err(ApiError::invalid(format!("blobs: at most {HELD_MAX} in one question")));
    }
    let sizes = chunks::held(&hub.cell, caller.account, &body.blobs).await?;
    Ok(Json(bodies::Held { sizes: sizes.into_iter().map(|size| size.map(|size| size.0)).collect() }))
}

/// The chunks of a blob that the caller holds, from byte `from` on: 36 bytes each, name and length.
#[utoipa::path(get, path = "/v1/blobs/{hash}/chunks", operation_id = "list_chunks",
    params(("hash" = String, Path), ("from" = Option<u64>, Query)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(hash): Path<String>,
    Query(query): Query<FromQuery>,
) -> Result<Response, ApiError> {
    let hash = parse(&hash)?;
    if chunks::not_held(&hub.cell, caller.account, &[hash]).await?.is_some() {
        return Err(BlobError::NotFound { hash }.into());
    }
    page(&hub, &hash, query.from).await
}

/// A page of the chunks of a blob.
pub(super) async fn page(hub: &Hub, hash: &Hash, from: u64) -> Result<Response, ApiError> {
    let chunks = hub.blobs.chunks(hash, from, PAGE).await?;
    let listed = |part: &pumasi_blobs::manifest::Part| Chunk { name: part.name, length: part.length };
    let page: Vec<Chunk> = chunks.iter().take(PAGE).map(listed).collect();
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, list::encode(&page)).into_response())
}

/// Stores what a recipe makes of bytes that it brings and of ranges of blobs that the caller holds. The caller holds the
/// result. Durable when it answers.
#[utoipa::path(post, path = "/v1/blobs/composed", operation_id = "compose_blob",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = wire::StoredBlob), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn compose(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<wire::StoredBlob>), ApiError> {
    let _place = place(&hub, caller.account)?;
    let body = incoming(&hub, request.into_body());
    let made = chunks::compose(Arc::clone(&hub), caller.account, body);
    let stored = hub.store(caller.account, made, hub.options.max_upload).await;
    let (hash, size) = stored.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(wire::StoredBlob { hash, size: size.0 })))
}

/// What is wrong with a recipe comes out of the store as what is wrong with a body.
fn refused(error: DriveError) -> ApiError {
    let source = match error {
        DriveError::Blob(BlobError::Body { source }) => source,
        error => return error.into(),
    };
    match source.downcast::<ComposeError>().map(|error| *error) {
        Ok(ComposeError::Cell(error)) => error.into(),
        Ok(ComposeError::Blob(error)) => error.into(),
        Ok(error @ ComposeError::NotHeld(_)) => {
            ApiError::new(StatusCode::CONFLICT, "not_held", error.to_string())
        }
        Ok(error @ ComposeError::Body(_)) => {
            ApiError::new(StatusCode::BAD_REQUEST, "broken_upload", error.to_string())
        }
        Ok(error) => ApiError::new(StatusCode::BAD_REQUEST, "bad_recipe", error.to_string()),
        Err(source) => DriveError::Blob(BlobError::Body { source }).into(),
    }
}

/// Puts blobs that the caller holds behind each other. Answers after some seconds at the latest; while it is not over,
/// ask the same again.
#[utoipa::path(post, path = "/v1/blobs/joined", operation_id = "join_blobs", request_body = bodies::JoinBlobs,
    responses((status = 201, body = bodies::Joined), (status = 202, body = bodies::Joined),
        (status = 409, body = wire::ErrorBody)))]
pub(super) async fn join(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Body(body): Body<bodies::JoinBlobs>,
) -> Result<(StatusCode, Json<bodies::Joined>), ApiError> {
    let (account, parts) = (caller.account, body.parts);
    if parts.len() > SEGMENTS_MAX {
        return Err(ApiError::invalid(format!("parts: at most {SEGMENTS_MAX}")));
    }
    let join = match hub.chunks.joins.find(account, &parts) {
        Some(join) => join,
        None => {
            let parts = sizes(&hub, account, parts).await?;
            hub.coming(account).take(0).await?;
            hub.chunks.joins.begin(&hub, account, parts, || place(&hub, account))?
        }
    };
    let Ok(ended) = tokio::time::timeout(hub.options.join_wait, join.ended()).await else {
        let joined = bodies::Joined { hash: None, size: join.size, done: join.done() };
        return Ok((StatusCode::ACCEPTED, Json(joined)));
    };
    match ended {
        Some(Ok((hash, size))) => {
            let joined = bodies::Joined { hash: Some(hash), size: size.0, done: size.0 };
            Ok((StatusCode::CREATED, Json(joined)))
        }
        Some(Err(error)) => Err(not_joined(&error)),
        None => Err(ApiError::internal(&"a join went away without an end")),
    }
}

/// Why parts could not be put together, as all are told who asked for it.
fn not_joined(error: &DriveError) -> ApiError {
    let task = "put the parts together";
    match error {
        DriveError::Blob(error) => match error.reason() {
            BlobError::DiskFull { .. } => ApiError::disk_full(error),
            BlobError::NotFound { .. } => {
                ApiError::new(StatusCode::CONFLICT, "not_held", "a part is here no more: send it again")
            }
            _ if error.is_passing() => ApiError::store_away(error),
            _ => ApiError::fault("join_failed", task, error),
        },
        DriveError::Refused(refusal) => ApiError::from(refusal.clone()),
        error => ApiError::fault("join_failed", task, error),
    }
}

/// The parts with their lengths, if the caller holds all of them and they are not too long together.
async fn sizes(hub: &Hub, account: AccountId, parts: Vec<Hash>) -> Result<Vec<(Hash, ByteSize)>, ApiError> {
    let sizes = chunks::held(&hub.cell, account, &parts).await?;
    let mut sized = Vec::with_capacity(parts.len());
    let mut total = 0_u64;
    for (part, size) in parts.into_iter().zip(sizes) {
        let Some(size) = size else {
            let message = format!("you do not hold the part {part}: send its bytes first");
            return Err(ApiError::new(StatusCode::CONFLICT, "not_held", message));
        };
        total = total.saturating_add(size.0);
        sized.push((part, size));
    }
    let limit = hub.options.max_upload;
    if total > limit.0 { Err(BlobError::TooLarge { limit }.into()) } else { Ok(sized) }
}

/// Draws a challenge about a blob, whether it is stored or not. Only where the operator lets what others stored be linked.
#[utoipa::path(post, path = "/v1/blobs/{hash}/challenge", operation_id = "challenge_possession",
    params(("hash" = String, Path)), request_body = bodies::AskChallenge,
    responses((status = 200, body = bodies::Challenge), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn challenge(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(hash): Path<String>,
    Body(body): Body<bodies::AskChallenge>,
) -> Result<Json<bodies::Challenge>, ApiError> {
    let blob = parse(&hash)?;
    if hub.options.deduplicate == Deduplicate::Account {
        let message = "this hub links nothing that others stored: send the bytes";
        return Err(ApiError::new(StatusCode::CONFLICT, "own_only", message));
    }
    if body.length < LEAST {
        return Err(ApiError::invalid(format!("length: blobs of less than {} are sent", ByteSize(LEAST))));
    }
    let drawn = hub.chunks.challenges.draw(caller.account, blob, body.length, Instant::now());
    let drawn = drawn.ok_or_else(|| ApiError::too_many("too many challenges are open: answer some first"))?;
    Ok(Json(bodies::Challenge {
        nonce: Hash::from_bytes(drawn.nonce),
        account: caller.account,
        valid_ms: VALID.as_millis() as u64,
    }))
}

/// Takes the answer to a challenge. Answers after a second, whatever it found; the caller holds the blob if it is stored
/// and the answer is right.
#[utoipa::path(post, path = "/v1/blobs/{hash}/proof", operation_id = "prove_possession",
    params(("hash" = String, Path)), request_body = bodies::Possession,
    responses((status = 200, body = bodies::Linked), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn prove(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(hash): Path<String>,
    Body(body): Body<bodies::Possession>,
) -> Result<Json<bodies::Linked>, ApiError> {
    let blob = parse(&hash)?;
    let (challenges, now) = (&hub.chunks.challenges, Instant::now());
    let challenge = challenges.take(&body.nonce, caller.account, &blob, now).ok_or_else(|| {
        let message = "this challenge is not open: ask for another, and answer it once within a minute";
        ApiError::new(StatusCode::CONFLICT, "no_challenge", message)
    })?;
    // Asked before, whatever the answer is worth: otherwise one that is right of stored bytes would take longer than others.
    let is_shared = is_shared(&hub, caller.account, blob).await?;
    let may_link = challenges.check(&hub.blobs, &challenge, &body.answer).await && is_shared;
    // Unless it has just been collected.
    let linked = may_link && hub.blobs.link(&blob).await.is_ok();
    if linked {
        hub.claim(caller.account, vec![(blob, ByteSize(challenge.length))]).await?;
    }
    Ok(Json(bodies::Linked { linked }))
}

/// Whether this hub links a blob for an account that has shown to have it.
async fn is_shared(hub: &Hub, account: AccountId, blob: Hash) -> Result<bool, ApiError> {
    match hub.options.deduplicate {
        Deduplicate::Account => Ok(false),
        Deduplicate::Group => {
            Ok(hub.cell.read(move |state| state.files().group_claims(account, &blob)).await?)
        }
        Deduplicate::All => Ok(true),
    }
}

fn parse(hash: &str) -> Result<Hash, ApiError> {
    hash.parse().map_err(|error: pumasi_types::ParseHashError| ApiError::invalid(error.to_string()))
}

/// A place for work that is more than its request's length tells.
fn place(hub: &Hub, account: AccountId) -> Result<Share<AccountId>, ApiError> {
    let too_many = || ApiError::too_many("too many of your uploads are put together: wait for some of them");
    hub.chunks.places.take(account, 1).ok_or_else(too_many)
}
