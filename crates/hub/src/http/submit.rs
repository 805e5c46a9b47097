//! Ordering a job: what only the hub can check, because the state has no bytes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::StreamExt;
use pumasi_api::wire;
use pumasi_blobs::BlobError;
use pumasi_core::{Checks, Command, Done, InputFile, JobSpec, Role};
use pumasi_types::{
    AccountId, Amount, ByteSize, Currency, Duration, EngineId, Fuel, Hash, Limits, Price, Time,
};

use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Query};
use super::jobs::{WaitQuery, show};
use super::task_list::{self, Named, TaskListCheck};
use super::{ApiError, wait_for_job};
use crate::chunks::not_held;
use crate::server::Hub;

/// The largest module.
const MODULE_MAX: ByteSize = ByteSize::mib(64);
/// A task list of this size is checked where it is.
const INLINE_MAX: ByteSize = ByteSize(64 << 10);
/// How many runs of a task may be lost when nobody says.
const MAX_LOSSES: u8 = 10;

/// Orders a computation. With `wait_ms`, answers when it is over or that time has passed.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "submit_job",
    params(("wait_ms" = Option<u64>, Query)), request_body = wire::SubmitJob,
    responses((status = 201, body = wire::Job), (status = 402, body = wire::ErrorBody)))]
pub(super) async fn submit(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Query(query): Query<WaitQuery>,
    Body(body): Body<wire::SubmitJob>,
) -> Result<(StatusCode, Json<wire::Job>), ApiError> {
    caller.needs(Role::Researcher)?;
    check_blobs(&hub, caller.account, &body).await?;
    let command = Command::SubmitJob(Arc::new(job_spec(body)?));
    let job = match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Job(job) => job,
        other => return Err(unexpected(&other)),
    };
    wait_for_job(&hub, job, query.wait_ms).await?;
    Ok((StatusCode::CREATED, show(&hub, caller, job).await?))
}

/// Everything that the job names must be there before it is taken, and held by who orders it: machines that run it will
/// read it.
async fn check_blobs(hub: &Hub, owner: AccountId, job: &wire::SubmitJob) -> Result<(), ApiError> {
    let files = job.files.iter().map(|file| (file.name.as_str(), file.hash));
    let list = job.task_list.map(|list| ("task_list", list));
    let named: Vec<_> = std::iter::once(("module", job.module)).chain(files).chain(list).collect();
    let blobs: Vec<Hash> = named.iter().map(|(_, blob)| *blob).collect();
    if let Some(missing) = not_held(&hub.cell, owner, &blobs).await? {
        let what = named.iter().find(|(_, blob)| *blob == missing).map_or("file", |(what, _)| *what);
        return Err(not_stored(what, &missing));
    }
    let module = stored(hub, "module", &job.module)?;
    if module > MODULE_MAX {
        return Err(ApiError::invalid(format!("module {} is {module}: at most {MODULE_MAX}", job.module)));
    }
    // The hub never runs or compiles a guest; this only catches the wrong file early.
    let (_, mut pieces) = hub.blobs.stream(&job.module).await?;
    let begin = pieces.next().await.transpose()?.unwrap_or_default();
    if !begin.starts_with(b"\0asm\x01\0\0\0") {
        let message =
            format!("blob {} is not a WebAssembly module: it does not start with \\0asm 1", job.module);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_module", message));
    }
    for file in &job.files {
        stored(hub, &file.name, &file.hash)?;
    }
    match job.task_list {
        Some(list) => check_task_list(hub, owner, list, job.tasks).await,
        None => Ok(()),
    }
}

async fn check_task_list(hub: &Hub, owner: AccountId, list: Hash, tasks: u32) -> Result<(), ApiError> {
    let size = stored(hub, "task_list", &list)?;
    if size > task_list::BYTES_MAX {
        let most = task_list::BYTES_MAX;
        return Err(ApiError::invalid(format!("task_list {list} is {size}: at most {most}")));
    }
    let _permit = hub.list_checks.acquire().await.map_err(|error| ApiError::internal(&error))?;
    let mut check = TaskListCheck::new(tasks);
    let (_, mut pieces) = hub.blobs.stream(&list).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        // Short ones are done sooner than handed over.
        let work = move || check.piece(&piece).map(|named| (named, check));
        let (named, seen) = match size <= INLINE_MAX {
            true => work()?,
            false => {
                tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))??
            }
        };
        check = seen;
        check_named(hub, owner, &named).await?;
    }
    check_named(hub, owner, check.end()?.as_slice()).await
}

/// Files of a task list must be held by who orders the job, as those of the order itself.
async fn check_named(hub: &Hub, owner: AccountId, named: &[Named]) -> Result<(), ApiError> {
    let mut files: Vec<Hash> = named.iter().map(|named| named.file).collect();
    files.sort_unstable();
    files.dedup();
    let mut missing = not_held(&hub.cell, owner, &files).await?;
    if missing.is_none() {
        // What is held is kept, unless the disk lost it.
        let (store, files) = (hub.blobs.clone(), files);
        let look = move || -> Result<Option<Hash>, BlobError> {
            for file in files {
                if !store.contains(&file)? {
                    return Ok(Some(file));
                }
            }
            Ok(None)
        };
        missing = tokio::task::spawn_blocking(look).await.map_err(|error| ApiError::internal(&error))??;
    }
    match named.iter().find(|named| Some(named.file) == missing) {
        Some(Named { line, file }) => Err(not_stored(&format!("task_list, line {line}"), file)),
        None => Ok(()),
    }
}

fn stored(hub: &Hub, what: &str, hash: &Hash) -> Result<ByteSize, ApiError> {
    hub.blobs.size(hash)?.ok_or_else(|| not_stored(what, hash))
}

fn not_stored(what: &str, hash: &Hash) -> ApiError {
    let message = format!("{what}: you hold no blob {hash}: put it first with `POST /v1/blobs`");
    ApiError::new(StatusCode::CONFLICT, "no_blob", message)
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
        checks: match body.checks {
            wire::Checks::Hidden => Checks::Hidden,
            wire::Checks::Off => Checks::Off,
        },
    })
}
