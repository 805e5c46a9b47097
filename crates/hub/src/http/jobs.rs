//! Jobs: list, look, cancel. Ordering one is in `submit`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_core::{Command, Refusal};
use pumasi_types::JobId;
use serde::Deserialize;

use super::extract::{Caller, IdempotencyKey, Path, Query};
use super::{ApiError, views, wait_for_job};
use crate::auth;
use crate::server::Hub;

/// Most jobs in one answer.
const JOBS_MAX: usize = 1_000;

/// Which jobs.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    before: Option<JobId>,
    limit: Option<usize>,
    #[serde(default)]
    all: bool,
}

/// How long to wait for the job.
#[derive(Deserialize)]
pub(super) struct WaitQuery {
    pub(super) wait_ms: Option<u64>,
}

/// A job, if it is the caller's to see.
pub(super) fn visible<'a>(
    state: &'a pumasi_core::State,
    caller: &auth::Caller,
    id: JobId,
) -> Result<&'a pumasi_core::Job, Refusal> {
    let job = state.job(id).ok_or(Refusal::NoJob { job: id })?;
    if job.owner != caller.account && !caller.is_operator() {
        return Err(Refusal::NotYours { what: format!("job {id}") });
    }
    Ok(job)
}

pub(super) async fn show(hub: &Hub, caller: auth::Caller, id: JobId) -> Result<Json<wire::Job>, ApiError> {
    let look =
        move |state: &pumasi_core::State| visible(state, &caller, id).map(|job| views::job(state, id, job));
    Ok(Json(hub.cell.read(look).await??))
}

/// The caller's jobs, newest first; operators see all with `all=true`.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs",
    params(("before" = Option<u64>, Query), ("limit" = Option<u32>, Query), ("all" = Option<bool>, Query)),
    responses((status = 200, body = wire::Jobs)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<wire::Jobs>, ApiError> {
    let everybodys = query.all && caller.is_operator();
    let limit = query.limit.unwrap_or(50).clamp(1, JOBS_MAX);
    let before = query.before.unwrap_or(JobId(u64::MAX));
    let look = move |state: &pumasi_core::State| {
        let older = state.jobs().range(..before).rev();
        let mine = older.filter(|(_, job)| everybodys || job.owner == caller.account);
        let jobs: Vec<_> = mine.take(limit).map(|(id, job)| views::job(state, *id, job)).collect();
        let next = jobs.last().filter(|_| jobs.len() == limit).map(|job| job.id);
        wire::Jobs { next, jobs }
    };
    Ok(Json(hub.cell.read(look).await?))
}

/// One job. With `wait_ms`, answers when it is over or that time has passed.
#[utoipa::path(get, path = "/v1/jobs/{job}", operation_id = "get_job",
    params(("job" = u64, Path), ("wait_ms" = Option<u64>, Query)),
    responses((status = 200, body = wire::Job)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(job): Path<JobId>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<wire::Job>, ApiError> {
    let now = show(&hub, caller.clone(), job).await?;
    if now.over || query.wait_ms.is_none() {
        return Ok(now);
    }
    wait_for_job(&hub, job, query.wait_ms).await?;
    show(&hub, caller, job).await
}

/// Ends a job; what is left of its budget is released.
#[utoipa::path(post, path = "/v1/jobs/{job}/cancel", operation_id = "cancel_job", params(("job" = u64, Path)),
    responses((status = 200, body = wire::Job), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn cancel(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(job): Path<JobId>,
) -> Result<Json<wire::Job>, ApiError> {
    hub.cell.ask(caller.account, key.of(caller.account), Command::CancelJob { job }).await??;
    show(&hub, caller, job).await
}
