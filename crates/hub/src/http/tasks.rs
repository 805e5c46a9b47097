//! Tasks and their outputs.

use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pumasi_api::output::EMPTY;
use pumasi_api::output::parts::Streams;
use pumasi_api::wire;
use pumasi_types::{JobId, TaskIndex};
use serde::Deserialize;

use super::extract::{Caller, Path, Query};
use super::jobs::visible;
use super::{ApiError, views};
use crate::auth;
use crate::server::Hub;

/// Most tasks in one answer, and most that are looked at for it.
const TASKS_MAX: usize = 10_000;
const LOOKED_AT_MAX: usize = 100_000;

/// Which tasks.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    from: Option<TaskIndex>,
    limit: Option<usize>,
    state: Option<String>,
}

/// A job's tasks by index, all or those in one state. `next` leads on even where a page has none.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks", operation_id = "list_tasks",
    params(("job" = u64, Path), ("from" = Option<u32>, Query), ("limit" = Option<u32>, Query),
        ("state" = Option<String>, Query)),
    responses((status = 200, body = wire::Tasks)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(job): Path<JobId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<wire::Tasks>, ApiError> {
    let known = ["open", "succeeded", "failed", "dropped"];
    if query.state.as_deref().is_some_and(|state| !known.contains(&state)) {
        return Err(ApiError::invalid(format!("state: must be one of {}", known.join(", "))));
    }
    let limit = query.limit.unwrap_or(100).clamp(1, TASKS_MAX);
    let look = move |state: &pumasi_core::State| {
        let job = visible(state, &caller, job)?;
        let from = query.from.unwrap_or_default();
        let mut tasks = Vec::new();
        let mut next = None;
        for (looked_at, (index, task)) in job.tasks_from(from).enumerate() {
            if tasks.len() == limit || looked_at == LOOKED_AT_MAX {
                next = Some(index);
                break;
            }
            if query.state.as_deref().is_none_or(|wanted| wanted == views::task_state(task.state)) {
                tasks.push(views::task(index, task));
            }
        }
        Ok::<_, pumasi_core::Refusal>(wire::Tasks { tasks, next })
    };
    Ok(Json(hub.cell.read(look).await??))
}

async fn find(hub: &Hub, caller: auth::Caller, job: JobId, index: TaskIndex) -> Result<wire::Task, ApiError> {
    let look = move |state: &pumasi_core::State| {
        visible(state, &caller, job).map(|job| job.task(index).map(|task| views::task(index, task)))
    };
    let found = hub.cell.read(look).await??;
    found.ok_or_else(|| ApiError::not_found("no_task", format!("job {job} has no task {index}")))
}

/// One task.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks/{task}", operation_id = "get_task",
    params(("job" = u64, Path), ("task" = u32, Path)),
    responses((status = 200, body = wire::Task)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path((job, task)): Path<(JobId, TaskIndex)>,
) -> Result<Json<wire::Task>, ApiError> {
    find(&hub, caller, job, task).await.map(Json)
}

/// There is no output of a task that was not decided.
pub(super) fn no_output(job: JobId, task: &wire::Task) -> ApiError {
    let message = format!("task {} of job {job} has no output: it is {}", task.index, task.state);
    ApiError::not_found("no_output", message)
}

/// A part of a task's output: all of it when none is chosen.
async fn part(
    hub: &Hub,
    caller: auth::Caller,
    (job, task): (JobId, TaskIndex),
    choose: Option<fn(Streams) -> Range<u64>>,
) -> Result<Response, ApiError> {
    let found = find(hub, caller, job, task).await?;
    if found.ending.is_none() {
        return Err(no_output(job, &found));
    }
    let Some(output) = found.result else {
        let empty: &[u8] = if choose.is_none() { &EMPTY } else { &[] };
        return Ok(raw(empty.len() as u64, empty.into()));
    };
    let Some(choose) = choose else {
        let (size, pieces) = hub.blobs.stream(&output).await?;
        return Ok(raw(size.0, HttpBody::from_stream(pieces)));
    };
    let range = choose(hub.streams_of(&output).await?);
    let length = range.end - range.start;
    let pieces = hub.blobs.stream_range(&output, range).await?;
    Ok(raw(length, HttpBody::from_stream(pieces)))
}

fn raw(length: u64, body: HttpBody) -> Response {
    // Whatever a guest wrote must not be taken for a page of this hub.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, body).into_response()
}

/// A task's encoded output: stdout, stderr and files, as its hash covers them.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks/{task}/output", operation_id = "get_task_output",
    params(("job" = u64, Path), ("task" = u32, Path)),
    responses((status = 200, content_type = "application/octet-stream")))]
pub(super) async fn output(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(task): Path<(JobId, TaskIndex)>,
) -> Result<Response, ApiError> {
    part(&hub, caller, task, None).await
}

/// What a task wrote to stdout.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks/{task}/stdout", operation_id = "get_task_stdout",
    params(("job" = u64, Path), ("task" = u32, Path)),
    responses((status = 200, content_type = "application/octet-stream")))]
pub(super) async fn stdout(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(task): Path<(JobId, TaskIndex)>,
) -> Result<Response, ApiError> {
    part(&hub, caller, task, Some(|streams| streams.stdout)).await
}

/// What a task wrote to stderr.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks/{task}/stderr", operation_id = "get_task_stderr",
    params(("job" = u64, Path), ("task" = u32, Path)),
    responses((status = 200, content_type = "application/octet-stream")))]
pub(super) async fn stderr(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(task): Path<(JobId, TaskIndex)>,
) -> Result<Response, ApiError> {
    part(&hub, caller, task, Some(|streams| streams.stderr)).await
}
