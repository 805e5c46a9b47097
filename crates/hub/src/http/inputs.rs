//! Inputs of jobs: for machines that have runs of them, and for whoever ordered them.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use pumasi_api::wire;
use pumasi_core::{Job, Refusal};
use pumasi_types::{Hash, JobId};
use serde::Deserialize;

use super::ApiError;
use super::chunks::page;
use super::extract::{Caller, Path, Query};
use super::task_list::LINE_BYTES_MAX;
use crate::server::Hub;
use crate::{access, auth};

/// Which bytes of an input, and where the job names it.
#[derive(Deserialize)]
struct InputQuery {
    /// Where the line of the job's task list begins that names it, if it is a task's file.
    line: Option<u64>,
    #[serde(default)]
    from: u64,
    length: Option<u64>,
}

/// An input that the caller may read, and which bytes of it are wanted.
pub(super) struct Input {
    hash: Hash,
    from: u64,
    length: Option<u64>,
}

impl FromRequestParts<Arc<Hub>> for Input {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Input, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, hub).await?;
        let Path((job, hash)) = Path::<(JobId, String)>::from_request_parts(parts, hub).await?;
        let Query(InputQuery { line, from, length }) = Query::from_request_parts(parts, hub).await?;
        let hash = authorise(hub, caller, job, &hash, line).await?;
        Ok(Input { hash, from, length })
    }
}

/// A module, shared file, task list or task's file of a job. `line` is where the line that names a task's file begins in the
/// job's task list, in bytes. For the job's owner, operators, and accounts whose machines have a run of the job now.
#[utoipa::path(get, path = "/v1/jobs/{job}/inputs/{hash}", operation_id = "get_input",
    params(("job" = u64, Path), ("hash" = String, Path), ("line" = Option<u64>, Query),
        ("from" = Option<u64>, Query), ("length" = Option<u64>, Query)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Input { hash, from, length }: Input,
) -> Result<Response, ApiError> {
    let size = hub.blobs.size(&hash)?.ok_or(pumasi_blobs::BlobError::NotFound { hash })?;
    let (length, pieces) = match (from, length) {
        (0, None) => (size.0, hub.blobs.stream(&hash).await?.1.boxed()),
        (from, length) => {
            let end = length.map_or(size.0, |length| from.saturating_add(length)).min(size.0);
            (end.saturating_sub(from), hub.blobs.stream_range(&hash, from..end).await?.boxed())
        }
    };
    let sent = hub.metrics.input_bytes.clone();
    let pieces = pieces.inspect_ok(move |piece| {
        sent.inc_by(piece.len() as u64);
    });
    let headers = [
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    Ok((headers, HttpBody::from_stream(pieces)).into_response())
}

/// The chunks of an input from byte `from` on: 36 bytes each, name and length. For the same callers.
#[utoipa::path(get, path = "/v1/jobs/{job}/inputs/{hash}/chunks", operation_id = "list_input_chunks",
    params(("job" = u64, Path), ("hash" = String, Path), ("line" = Option<u64>, Query),
        ("from" = Option<u64>, Query)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn chunks(State(hub): State<Arc<Hub>>, input: Input) -> Result<Response, ApiError> {
    page(&hub, &input.hash, input.from).await
}

/// Where a job names a blob.
enum Named {
    /// In its order.
    ByOrder,
    /// In this task list, if anywhere.
    InList(Hash),
    Nowhere,
}

impl Named {
    fn look(job: &Job, hash: &Hash) -> Named {
        let spec = &job.spec;
        let is_ordered = spec.module == *hash
            || spec.task_list == Some(*hash)
            || spec.files.iter().any(|file| file.hash == *hash);
        match spec.task_list {
            _ if is_ordered => Named::ByOrder,
            Some(list) => Named::InList(list),
            None => Named::Nowhere,
        }
    }
}

/// The input, if the caller may read it: knowing its name is not enough.
async fn authorise(
    hub: &Hub,
    caller: auth::Caller,
    id: JobId,
    hash: &str,
    line: Option<u64>,
) -> Result<Hash, ApiError> {
    let hash: Hash =
        hash.parse().map_err(|error: pumasi_types::ParseHashError| ApiError::invalid(error.to_string()))?;
    let look = move |state: &pumasi_core::State| {
        let job = state.job(id).ok_or(Refusal::NoJob { job: id })?;
        let works = state.works_on(caller.account, id);
        match works || job.owner == caller.account || caller.is_operator() {
            true => Ok((Named::look(job, &hash), works)),
            // A job that somebody may not see looks as in all other places.
            false => Err(Refusal::NotYours { what: format!("job {id}") }),
        }
    };
    let (named, works) = hub.cell.read(look).await??;
    if works {
        // Its machines come with the same token.
        access::by_machine();
    }
    let is_named = match (named, line) {
        (Named::ByOrder, _) => true,
        (Named::InList(list), Some(line)) => names(hub, &list, line, &hash).await?,
        (Named::InList(_) | Named::Nowhere, _) => false,
    };
    let nowhere = || {
        let message = format!("job {id} names no input {hash} there");
        ApiError::not_found("no_input", message)
    };
    is_named.then_some(hash).ok_or_else(nowhere)
}

/// Whether a line of this task list begins there that names this file.
async fn names(hub: &Hub, list: &Hash, line: u64, file: &Hash) -> Result<bool, ApiError> {
    // With the line feed before it: text in the middle of a line is none.
    let before = u64::from(line > 0);
    let end = line.saturating_add(LINE_BYTES_MAX as u64 + 1);
    let pieces: Vec<_> = hub.blobs.stream_range(list, line - before..end).await?.try_collect().await?;
    let text = pieces.concat();
    let text = match (before, text.split_first()) {
        (0, _) => &text[..],
        (_, Some((b'\n', line))) => line,
        _ => return Ok(false),
    };
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = serde_json::from_slice::<wire::TaskLine>(line);
    Ok(line.is_ok_and(|line| line.file == Some(*file)))
}
