//! Ordering a job: what only the hub can check, because the state has no bytes.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use pumasi_api::{output, wire};
use pumasi_core::{Command, Done, InputFile, JobSpec};
use pumasi_types::{Amount, ByteSize, Currency, Duration, EngineId, Fuel, Hash, Limits, Price, Time};

use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey};
use super::jobs::{WaitQuery, show};
use super::{ApiError, wait_for_job};
use crate::server::Hub;

/// The largest module and task list.
const MODULE_MAX: ByteSize = ByteSize::mib(64);
const TASK_LIST_MAX: ByteSize = ByteSize(2 << 30);
/// How many runs of a task may be lost when nobody says.
const MAX_LOSSES: u8 = 10;

/// Orders a computation. With `wait_ms`, answers when it is over or that time has passed.
#[utoipa::path(post, path = "/v1/jobs", params(("wait_ms" = Option<u64>, Query)), request_body = wire::SubmitJob,
    responses((status = 201, body = wire::Job), (status = 402, body = wire::ErrorBody)))]
pub(super) async fn submit(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Query(query): Query<WaitQuery>,
    Body(body): Body<wire::SubmitJob>,
) -> Result<(StatusCode, Json<wire::Job>), ApiError> {
    check_blobs(&hub, &body).await?;
    let command = Command::SubmitJob(Arc::new(job_spec(body)?));
    let job = match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Job(job) => job,
        other => return Err(unexpected(&other)),
    };
    wait_for_job(&hub, job, query.wait_ms).await?;
    Ok((StatusCode::CREATED, show(&hub, caller, job).await?))
}

/// Everything that the job names must be there before it is taken.
async fn check_blobs(hub: &Hub, job: &wire::SubmitJob) -> Result<(), ApiError> {
    let module = stored(hub, "module", &job.module)?;
    if module > MODULE_MAX {
        return Err(ApiError::invalid(format!("module {} is {module}: at most {MODULE_MAX}", job.module)));
    }
    // The hub never runs or compiles a guest; this only catches the wrong file early.
    if !hub.blobs.get(&job.module).await?.starts_with(b"\0asm\x01\0\0\0") {
        let message =
            format!("blob {} is not a WebAssembly module: it does not start with \\0asm 1", job.module);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_module", message));
    }
    for file in &job.files {
        stored(hub, &file.name, &file.hash)?;
    }
    let Some(list) = job.task_list else { return Ok(()) };
    let size = stored(hub, "task_list", &list)?;
    if size > TASK_LIST_MAX {
        return Err(ApiError::invalid(format!("task_list {list} is {size}: at most {TASK_LIST_MAX}")));
    }
    let lines = hub.blobs.get(&list).await?;
    let tasks = job.tasks;
    let checked = tokio::task::spawn_blocking(move || check_task_list(&lines, tasks)).await;
    let files = checked.map_err(|error| ApiError::invalid(error.to_string()))??;
    for file in files {
        stored(hub, "a file of the task list", &file)?;
    }
    Ok(())
}

fn stored(hub: &Hub, what: &str, hash: &Hash) -> Result<ByteSize, ApiError> {
    hub.blobs.size(hash).ok_or_else(|| {
        let message = format!("{what}: blob {hash} is not in the store: put it first with `POST /v1/blobs`");
        ApiError::new(StatusCode::CONFLICT, "no_blob", message)
    })
}

/// Checks each line of a task list and returns the files that it names.
fn check_task_list(lines: &Bytes, tasks: u32) -> Result<HashSet<Hash>, ApiError> {
    let mut files = HashSet::new();
    let mut count = 0_u64;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        count += 1;
        let bad = |problem: String| ApiError::invalid(format!("task_list, line {count}: {problem}"));
        let line: wire::TaskLine = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        if let Some(file) = line.file {
            output::check_path(&line.name)
                .map_err(|error| bad(format!("the name '{}' is no path: {error}", line.name)))?;
            files.insert(file);
        }
        if count > u64::from(tasks) {
            break;
        }
    }
    if count != u64::from(tasks) {
        return Err(ApiError::invalid(format!(
            "tasks is {tasks}, but the task list has {count} lines or more"
        )));
    }
    Ok(files)
}

fn credits(field: &str, text: &str) -> Result<Amount, ApiError> {
    Currency::CREDIT.parse_amount(text).map_err(|error| ApiError::invalid(format!("{field}: {error}")))
}

fn job_spec(body: wire::SubmitJob) -> Result<JobSpec, ApiError> {
    let usual = Limits::default();
    let limits = Limits {
        fuel: body.limits.fuel.map_or(usual.fuel, Fuel),
        memory: body.limits.memory_bytes.map_or(usual.memory, ByteSize),
        wall: body.limits.wall_ms.map_or(usual.wall, Duration::from_millis),
        output: body.limits.output_bytes.map_or(usual.output, ByteSize),
    };
    let bid = match &body.bid {
        None => Price::ONE_CREDIT,
        Some(text) => {
            let price = credits("bid", text)?;
            Price(u64::try_from(price.0).map_err(|_| ApiError::invalid("bid: must not be negative"))?)
        }
    };
    let moment = |ms: u64| Time(ms.saturating_mul(1_000_000));
    let name = if body.name.is_empty() { format!("job-{}", &body.module.short()) } else { body.name };
    Ok(JobSpec {
        name,
        module: body.module,
        args: body.args,
        env: body.env,
        files: body.files.into_iter().map(|file| InputFile { name: file.name, hash: file.hash }).collect(),
        task_list: body.task_list,
        tasks: body.tasks,
        limits,
        engine: body.engine.map_or_else(|| EngineId(wire::ENGINE.to_owned()), EngineId),
        quorum: body.quorum,
        priority: body.priority,
        bid,
        budget: credits("budget", &body.budget)?,
        deadline: body.deadline_ms.map(moment),
        max_losses: body.max_losses.unwrap_or(MAX_LOSSES),
        max_failures: body.max_failures,
        after: body.after,
        seed: body.seed,
        clock: body.clock_ms.map(moment),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, tasks: u32) -> Result<usize, String> {
        let files = check_task_list(&Bytes::copy_from_slice(text.as_bytes()), tasks);
        files.map(|files| files.len()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_task_list_must_have_a_sound_line_for_each_task() {
        let hash = Hash::of(b"x");
        let good = format!("{{\"name\":\"a\",\"file\":\"{hash}\"}}\n{{\"name\":\"b\",\"arg\":\"1\"}}\n");
        assert_eq!(check(&good, 2), Ok(1));
        assert!(check(&good, 1).is_err());
        assert!(check(&good, 3).is_err());
        assert!(check("{\"name\":\"a\",\"typo\":1}\n", 1).is_err());
        assert!(check("not json\n", 1).is_err());
        let escaping = format!("{{\"name\":\"../a\",\"file\":\"{hash}\"}}\n");
        assert!(check(&escaping, 1).unwrap_err().contains("no path"));
    }
}
