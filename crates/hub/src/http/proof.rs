//! Checkpoints and tiles for everybody, receipts for those who were part of it, the whole log for auditors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pumasi_api::wire;
use pumasi_core::{Cause, Refusal, Role, State as CellState};
use pumasi_log::{Entries, LogError, Seq, format};
use pumasi_proof::{TileKind, TilePath};
use pumasi_types::{CellId, EngineId, EngineTag, Time, TransferId};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::{Caller, Path, Query};
use super::{ApiError, Peer};
use crate::auth;
use crate::cell;
use crate::proof::{ProofFailure, Prover};
use crate::server::{Hub, neighbourhood};

/// How long a receipt may wait for its checkpoint.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(10);
/// Bytes of the log that are sent at once.
const LOG_CHUNK: usize = 256 << 10;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// Tiles never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

impl From<ProofFailure> for ApiError {
    fn from(error: ProofFailure) -> ApiError {
        ApiError::fault("storage", "read its proofs", &error)
    }
}

/// Somebody without a token, within the rate of those.
pub(super) struct Public;

impl FromRequestParts<Arc<Hub>> for Public {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Public, ApiError> {
        let Some(Peer(address)) = parts.extensions.get::<Peer>() else { return Ok(Public) };
        let taken = hub.public.take(neighbourhood(*address), Instant::now());
        taken.map(|()| Public).map_err(|wait| crate::server::Denied::TooMany(wait).into())
    }
}

fn prover(hub: &Hub) -> Result<&Prover, ApiError> {
    hub.prover.as_ref().ok_or_else(|| {
        ApiError::not_found("no_proofs", "this hub was started with --no-proofs: it proves nothing")
    })
}

fn needs_auditor(caller: &auth::Caller) -> Result<(), ApiError> {
    if caller.is_operator() {
        return Ok(());
    }
    caller.needs(Role::Auditor).map_err(|_: Refusal| {
        ApiError::forbidden(
            "the payments of all are for auditors: an operator can open an account with that role",
        )
    })
}

/// The newest checkpoint (C2SP tlog-checkpoint), cosigned by the hub's witnesses.
#[utoipa::path(get, path = "/checkpoint", operation_id = "get_checkpoint",
    responses((status = 200, content_type = "text/plain"),
    (status = 404, body = wire::ErrorBody)))]
pub(super) async fn checkpoint(
    State(hub): State<Arc<Hub>>,
    _: Public,
) -> Result<impl IntoResponse, ApiError> {
    let published = prover(&hub)?.published();
    let published = published.ok_or_else(|| {
        ApiError::not_found("no_checkpoint", "no checkpoint was signed yet: try again in a second")
    })?;
    let headers = [(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, published.note.to_string()))
}

/// A tile of hashes, for everybody; or of transfers (`entries`), for auditors (C2SP tlog-tiles).
#[utoipa::path(get, path = "/tile/{path}", operation_id = "get_tile", params(("path" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn tile(
    State(hub): State<Arc<Hub>>,
    _: Public,
    peer: Option<axum::Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let prover = prover(&hub)?.clone();
    let path: TilePath =
        uri.path()[1..].parse().map_err(|error| ApiError::not_found("no_tile", format!("{error}")))?;
    if path.kind == TileKind::Entries {
        let caller = hub.authenticate(&headers, peer.map(|peer| peer.0.0)).await?;
        needs_auditor(&caller)?;
    }
    let read = move || match path.kind {
        TileKind::Hashes { level } => prover.tile(level, &path),
        TileKind::Entries => prover.bundle(&path),
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(|error| ApiError::internal(&error))??;
    let bytes = bytes.ok_or_else(|| {
        ApiError::not_found("no_tile", format!("there is no {path} in the tree of the newest checkpoint"))
    })?;
    // What not everybody may see must not stay in a cache on the way.
    let cache =
        if path.kind == TileKind::Entries { "private, max-age=31536000, immutable" } else { FOR_EVER };
    Ok(([(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, cache)], bytes).into_response())
}

/// Who signs the checkpoints.
#[utoipa::path(get, path = "/v1/proof", operation_id = "get_proof",
    responses((status = 200, body = wire::ProofInfo)))]
pub(super) async fn info(State(hub): State<Arc<Hub>>, _: Public) -> Result<Json<wire::ProofInfo>, ApiError> {
    let prover = prover(&hub)?;
    Ok(Json(wire::ProofInfo {
        origin: prover.keys[0].name().to_owned(),
        keys: prover.keys.iter().map(ToString::to_string).collect(),
        rotations: prover.rotations.to_string(),
        size: prover.published().map_or(0, |now| now.checkpoint.size),
        audit_lag_ms: hub.options.audit_lag.as_millis() as u64,
    }))
}

/// The receipt of a transfer (C2SP tlog-proof): for payer, payee, auditors and operators.
#[utoipa::path(get, path = "/v1/receipts/{transfer}", operation_id = "get_receipt", params(("transfer" = u64, Path)),
    responses((status = 200, content_type = "text/plain"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn receipt(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(id): Path<TransferId>,
) -> Result<impl IntoResponse, ApiError> {
    let prover = prover(&hub)?.clone();
    if id.0 == 0 || id > hub.cell.settled().last {
        return Err(ApiError::not_found("no_transfer", format!("there is no transfer {id}")));
    }
    let journal = hub.derived.transfers.clone();
    let read = tokio::task::spawn_blocking(move || journal.read(id)).await;
    let transfer = read.map_err(|error| ApiError::internal(&error))??;
    if transfer.change_of(caller.account).is_none() {
        let refused = |_| ApiError::forbidden("a receipt is for payer, payees, auditors and operators");
        needs_auditor(&caller).map_err(refused)?;
    }
    let engine = match transfer.cause {
        Cause::Run { job, engine, .. } => {
            hub.cell.read(move |state| engine_name(state, job, engine)).await?.unwrap_or_default()
        }
        _ => String::new(),
    };
    let covering = prover.covering(id, CHECKPOINT_WAIT).await;
    let Some(published) = covering.filter(|now| now.checkpoint.size >= id.0) else {
        let message = format!("no checkpoint covers transfer {id} yet: the hub's own messages say why");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_checkpoint", message);
        return Err(error.retry_after(CHECKPOINT_WAIT));
    };
    let make = move || prover.receipt(&transfer, &engine, &published);
    let file = tokio::task::spawn_blocking(make).await.map_err(|error| ApiError::internal(&error))??;
    Ok(([(header::CONTENT_TYPE, TEXT)], file.to_string()))
}

/// The name behind an engine's tag: the job says it, or a machine that has it when the job is forgotten.
fn engine_name(state: &CellState, job: pumasi_types::JobId, tag: EngineTag) -> Option<String> {
    let known = EngineId(wire::ENGINE.to_owned());
    let jobs = state.job(job).into_iter().map(|job| &job.spec.engine);
    // Not more than can be looked through while the loop waits.
    let machines = state.workers().take(1_000).map(|(_, worker)| &worker.spec.engine);
    let mut all = jobs.chain([&known]).chain(machines);
    all.find(|engine| engine.tag() == tag).map(|engine| engine.0.clone())
}

/// From where on.
#[derive(Deserialize)]
pub(super) struct LogQuery {
    from: Option<u64>,
}

/// The entries of the log from `from` on, one behind the other, each as 104 bytes of header and its payload (see
/// docs/proof.md); for auditors. Ends with the last entry that was durable when it began, or for who is no operator with
/// the last one that was old enough.
#[utoipa::path(get, path = "/v1/log", operation_id = "read_log", params(("from" = Option<u64>, Query)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 410, body = wire::ErrorBody)))]
pub(super) async fn log(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    needs_auditor(&caller)?;
    let permit = Arc::clone(&hub.log_readers).try_acquire_owned().map_err(|_| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "too many auditors read the log now",
        )
        .retry_after(Duration::from_secs(2))
    })?;
    let from = Seq(query.from.unwrap_or(1).max(1));
    // By the log's own clock, which does not go back.
    let now = hub.cell.read(CellState::now).await?.max(cell::now());
    let lag = hub.options.audit_lag.as_nanos() as u64;
    let shown = if caller.is_operator() { Time(u64::MAX) } else { Time(now.0.saturating_sub(lag)) };
    let entries = match hub.cell.read_log(from).await? {
        Err(error @ LogError::Trimmed { .. }) => {
            return Err(ApiError::new(StatusCode::GONE, "trimmed", error.to_string()));
        }
        read => read.map_err(|error| ApiError::internal(&error))?,
    };
    let (chunks, body) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        send_entries(entries, shown, &chunks);
    });
    let body = Body::from_stream(ReceiverStream::new(body));
    Ok(([(header::CONTENT_TYPE, BYTES)], body).into_response())
}

/// Sends the entries that are not younger than this. Ends early when nobody listens any more.
fn send_entries(entries: Entries, shown: Time, to: &mpsc::Sender<Result<Bytes, LogError>>) {
    let mut chunk = Vec::with_capacity(LOG_CHUNK);
    for entry in entries.take_while(|entry| entry.as_ref().map_or(true, |entry| entry.time <= shown)) {
        let full = match &entry {
            Ok(entry) => {
                format::encode_wire(CellId(0), entry, &mut chunk);
                chunk.len() >= LOG_CHUNK
            }
            Err(error) => {
                tracing::error!("the log cannot be read to its end: {error}");
                true
            }
        };
        if full && to.blocking_send(Ok(std::mem::take(&mut chunk).into())).is_err() {
            return;
        }
        if let Err(error) = entry {
            // A body that breaks off tells the reader that there is more.
            let _ = to.blocking_send(Err(error));
            return;
        }
    }
    let _ = to.blocking_send(Ok(chunk.into()));
}
