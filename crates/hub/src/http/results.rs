//! Results that go to other jobs or into spaces without passing through whoever ordered them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::output::EMPTY;
use pumasi_api::output::parts::Parts;
use pumasi_api::wire::results::{
    ClaimResults, ClaimedPart, ClaimedResults, PlacedResult, PutResults, RESULTS_MAX, ResultPart, ResultPut,
    ResultsPut,
};
use pumasi_api::wire::{self, ErrorBody};
use pumasi_core::{About, Access, Bounds, Condition, FileKind, FilePut, Files, FilesRefusal, Refusal};
use pumasi_types::{AccountId, FilePath, Hash, JobId, SpaceId, TaskIndex, VersionId};

use super::extract::{Body, Caller, Path};
use super::tasks::no_output;
use super::{ApiError, file_views, views};
use crate::access;
use crate::limits::Share;
use crate::results::Piece;
use crate::server::Hub;

/// A request ends after so long, with what was done by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes and tasks that are worked on between two looks at the clock.
const ROUND_BYTES: u64 = 64 << 20;
const ROUND: usize = 100;
/// How often it is looked again, one time after the other, when others changed everything that was to be replaced.
const IN_VAIN: u32 = 8;

/// The label of a file that its writer encrypted.
const SEALED: &str = "sealed";

/// Where the output of a task is; none when it is empty.
type Output = Result<Option<Hash>, ApiError>;

/// Makes parts of the results of a job blobs that its owner holds for 48 hours, to give them to files and other jobs.
#[utoipa::path(post, path = "/v1/jobs/{job}/results", operation_id = "claim_results",
    params(("job" = u64, Path)), request_body = ClaimResults,
    responses((status = 200, body = ClaimedResults), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn claim(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(job): Path<JobId>,
    Body(ClaimResults { parts }): Body<ClaimResults>,
) -> Result<Json<ClaimedResults>, ApiError> {
    let _place = at_work(&hub, caller.account)?;
    let outputs = outputs(&hub, caller.account, job, parts.iter().map(|part| part.task).collect()).await?;
    let mut wanted = parts.into_iter().zip(outputs);
    let (mut claimed, until) = (Vec::new(), Instant::now() + PATIENCE);
    // Several parts of one output are mostly asked for one behind the other.
    let mut last: Option<(Hash, Parts)> = None;
    while claimed.is_empty() || Instant::now() < until {
        let mut round = Vec::new();
        let mut bytes = 0;
        while bytes < ROUND_BYTES
            && round.len() < ROUND
            && (round.is_empty() || Instant::now() < until)
            && let Some((part, output)) = wanted.next()
        {
            let piece = match output {
                Ok(output) => find(&hub, output, &part.part, &mut last).await,
                Err(error) => Err(error),
            };
            bytes += piece.as_ref().map_or(0, Piece::len);
            round.push(piece);
        }
        if round.is_empty() {
            break;
        }
        let pieces: Vec<Piece> = round.iter().filter_map(|piece| piece.as_ref().ok().cloned()).collect();
        let mut stored = hub.store_pieces(caller.account, &pieces).await?.into_iter();
        claimed.extend(round.into_iter().map(|piece| match piece.map(|_| stored.next()) {
            Ok(stored) => {
                let (blob, size) = stored.unzip();
                ClaimedPart { blob, size: size.map(|size| size.0), error: None }
            }
            Err(error) => ClaimedPart { blob: None, size: None, error: Some(error.into_body()) },
        }));
    }
    Ok(Json(ClaimedResults { parts: claimed }))
}

/// Puts results of a job of the caller's into a space, as `pumasi fetch` writes them. What lies there just so stays; of
/// two tasks with a file at one path only the first one's is put, and the other is refused as `same_path`.
#[utoipa::path(post, path = "/v1/spaces/{space}/results", operation_id = "put_results",
    params(("space" = String, Path)), request_body = PutResults,
    responses((status = 200, body = ResultsPut), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Body(PutResults { job, tasks }): Body<PutResults>,
) -> Result<Json<ResultsPut>, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let _place = at_work(&hub, caller.account)?;
    access::reads_results(job);
    let outputs = outputs(&hub, caller.account, job, tasks.iter().map(|task| task.task).collect()).await?;
    let mut wanted = tasks.into_iter().zip(outputs);
    let (mut done, until) = (Vec::new(), Instant::now() + PATIENCE);
    let mut taken = HashMap::new();
    while done.is_empty() || Instant::now() < until {
        let mut round = Round::default();
        while round.files.len() < Bounds::FILES
            && round.bytes < ROUND_BYTES
            && (round.tasks.is_empty() || Instant::now() < until)
            && let Some((task, output)) = wanted.next()
        {
            round.add(&hub, &task, output, &mut taken).await;
        }
        if round.tasks.is_empty() {
            break;
        }
        done.extend(round.put(&hub, caller.account, space).await?);
    }
    Ok(Json(ResultsPut { tasks: done }))
}

/// A place among those for whom results are taken apart, which may take long.
fn at_work(hub: &Hub, account: AccountId) -> Result<Share<AccountId>, ApiError> {
    let too_many =
        || ApiError::too_many("too many requests for your results are at work: wait for some of them");
    hub.chunks.places.take(account, 1).ok_or_else(too_many)
}

/// The outputs of some tasks of a job of this account.
async fn outputs(
    hub: &Hub,
    account: AccountId,
    id: JobId,
    tasks: Vec<TaskIndex>,
) -> Result<Vec<Output>, ApiError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    if tasks.len() > RESULTS_MAX {
        return Err(ApiError::invalid(format!("at most {RESULTS_MAX} results in one request")));
    }
    let look = move |state: &pumasi_core::State| {
        let job = state.job(id).ok_or(Refusal::NoJob { job: id })?;
        if job.owner != account {
            return Err(Refusal::NotYours { what: format!("job {id}") });
        }
        let found = |index: TaskIndex| (index, job.task(index).map(|task| views::task(index, task)));
        Ok(tasks.into_iter().map(found).collect::<Vec<_>>())
    };
    let found = hub.cell.read(look).await??.into_iter();
    let output = |(index, task): (TaskIndex, Option<wire::Task>)| match task {
        None => Err(ApiError::not_found("no_task", format!("job {id} has no task {index}"))),
        Some(task) if task.ending.is_none() => Err(no_output(id, &task)),
        Some(task) => Ok(task.result),
    };
    Ok(found.map(output).collect())
}

/// Where a part of an output lies.
async fn find(
    hub: &Hub,
    output: Option<Hash>,
    part: &ResultPart,
    last: &mut Option<(Hash, Parts)>,
) -> Result<Piece, ApiError> {
    let no_part =
        |path: &str| ApiError::not_found("no_file", format!("the task left no file '{path}' in /out"));
    let Some(output) = output else {
        return match part {
            ResultPart::Output => Ok(Piece::Known(&EMPTY)),
            ResultPart::Stdout | ResultPart::Stderr => Ok(Piece::Known(b"")),
            ResultPart::File(path) => Err(no_part(path)),
        };
    };
    if *part == ResultPart::Output {
        let size = hub.blobs.size(&output)?.ok_or(pumasi_blobs::BlobError::NotFound { hash: output })?;
        return Ok(Piece::Stored(output, 0..size.0));
    }
    let path = match part {
        ResultPart::Output => "",
        ResultPart::Stdout => return Ok(Piece::Stored(output, hub.streams_of(&output).await?.stdout)),
        ResultPart::Stderr => return Ok(Piece::Stored(output, hub.streams_of(&output).await?.stderr)),
        ResultPart::File(path) => path,
    };
    if last.as_ref().is_none_or(|(known, _)| *known != output) {
        *last = Some((output, hub.parts_of(&output).await?));
    }
    let range = last.as_ref().and_then(|(_, parts)| parts.file(path));
    range.map(|range| Piece::Stored(output, range)).ok_or_else(|| no_part(path))
}

/// Results that are put together.
#[derive(Default)]
struct Round {
    tasks: Vec<ResultPut>,
    /// Of which task, where to, and what.
    files: Vec<(usize, FilePath, Piece)>,
    bytes: u64,
}

impl Round {
    /// Adds the files of a task, but for those whose path another one took before it: of what several tasks write to one
    /// path all but one would be lost.
    async fn add(
        &mut self,
        hub: &Hub,
        task: &PlacedResult,
        output: Output,
        taken: &mut HashMap<FilePath, TaskIndex>,
    ) {
        let (mut put, number) = (ResultPut::default(), self.tasks.len());
        match files(hub, task, output).await {
            Ok(files) => {
                for (path, piece) in files {
                    match taken.entry(path.clone()) {
                        Entry::Occupied(first) if *first.get() != task.task => {
                            note(&mut put, Some(same_path(&path, *first.get(), task.task)));
                        }
                        entry => {
                            entry.or_insert(task.task);
                            self.bytes += piece.len();
                            self.files.push((number, path, piece));
                        }
                    }
                }
            }
            Err(error) => put.error = Some(error.into_body()),
        }
        self.tasks.push(put);
    }

    async fn put(mut self, hub: &Hub, caller: AccountId, space: SpaceId) -> Result<Vec<ResultPut>, ApiError> {
        for files in self.files.chunks(Bounds::FILES) {
            let pieces: Vec<Piece> = files.iter().map(|(.., piece)| piece.clone()).collect();
            let stored = hub.store_pieces(caller, &pieces).await?;
            let named = files.iter().zip(stored);
            let wanted = named.map(|((task, path, _), (blob, _))| (*task, path.clone(), blob)).collect();
            put_plain(hub, (caller, space), wanted, &mut self.tasks).await?;
        }
        Ok(self.tasks)
    }
}

/// A file of a task, with the number of that in its round: where to, and what.
type Wanted = (usize, FilePath, Hash);

/// Those that can be put at once: the first of each path; and the others.
fn first_of_each(wanted: Vec<Wanted>) -> (Vec<Wanted>, Vec<Wanted>) {
    let mut paths = HashSet::with_capacity(wanted.len());
    wanted.into_iter().partition(|(_, path, _)| paths.insert(path.clone()))
}

/// Puts files of tasks, and notes what became of each. A file is put only in place of what was looked at, so that what
/// somebody encrypts meanwhile stays; what changed since is looked at again, as the same results may be put twice at once.
/// Several for one path are put one after the other, each in place of the one before.
async fn put_plain(
    hub: &Hub,
    (caller, space): (AccountId, SpaceId),
    mut wanted: Vec<Wanted>,
    tasks: &mut [ResultPut],
) -> Result<(), ApiError> {
    let mut in_vain = 0;
    while !wanted.is_empty() {
        let (now, later) = first_of_each(wanted);
        let named: Vec<(FilePath, Hash)> = now.iter().map(|(_, path, blob)| (path.clone(), *blob)).collect();
        let look = move |state: &pumasi_core::State| -> Vec<There> {
            named.iter().map(|(path, blob)| lies(state.files(), space, path, blob)).collect()
        };
        let found = hub.cell.read(look).await?;
        let (mut lacking, mut files) = (Vec::new(), Vec::new());
        for ((task, path, blob), there) in now.into_iter().zip(found) {
            let condition = match there {
                There::Same => {
                    tasks[task].same += 1;
                    continue;
                }
                There::Sealed => {
                    note(&mut tasks[task], Some(sealed(&path)));
                    continue;
                }
                There::Plain(version) => Condition::Version(version),
                There::Nothing => Condition::Absent,
            };
            files.push(FilePut { path: path.clone(), blob, about: About::default(), condition });
            lacking.push((task, path, blob));
        }
        let count = files.len();
        let placed = match files.is_empty() {
            true => Vec::new(),
            false => hub.put_files(caller, space, files, None).await?,
        };
        let mut again = Vec::new();
        for (file, placed) in lacking.into_iter().zip(placed) {
            match placed {
                Err(FilesRefusal::Changed { .. } | FilesRefusal::Exists { .. }) if in_vain < IN_VAIN => {
                    again.push(file);
                }
                placed => note(&mut tasks[file.0], placed.err().map(file_views::refused)),
            }
        }
        in_vain = if again.is_empty() || again.len() < count { 0 } else { in_vain + 1 };
        // Behind those for the same paths.
        again.extend(later);
        wanted = again;
    }
    Ok(())
}

/// Notes a file that was put, or the first reason why one was not.
fn note(task: &mut ResultPut, error: Option<ErrorBody>) {
    match error {
        None => task.files += 1,
        Some(error) => drop(task.error.get_or_insert(error)),
    }
}

/// What lies where a file is to be put.
enum There {
    /// That file.
    Same,
    /// One that was encrypted: a plain one must not take its place unasked.
    Sealed,
    /// Any other file.
    Plain(VersionId),
    /// Nothing; a folder is told of by the put.
    Nothing,
}

fn lies(files: &Files, space: SpaceId, path: &FilePath, blob: &Hash) -> There {
    match files.find(space, path).map(|view| view.kind) {
        Some(FileKind::File(version)) if version.blob == *blob => There::Same,
        Some(FileKind::File(version)) if version.about.labels.contains_key(SEALED) => There::Sealed,
        Some(FileKind::File(version)) => There::Plain(version.id),
        Some(FileKind::Folder(_)) | None => There::Nothing,
    }
}

fn sealed(path: &FilePath) -> ErrorBody {
    let problem = format!(
        "'{path}' is encrypted, and the result is not: choose another folder, or remove it; fetched and put from where its key \
         is, it stays encrypted"
    );
    ApiError::new(StatusCode::CONFLICT, "exists", problem).into_body()
}

fn same_path(path: &FilePath, first: TaskIndex, second: TaskIndex) -> ErrorBody {
    let problem = format!(
        "'{path}' is where task {first} and task {second} both have a file, and task {first} was named first: give each task \
         a path of its own"
    );
    ApiError::new(StatusCode::CONFLICT, "same_path", problem).into_body()
}

/// The files that a result is in a space.
async fn files(hub: &Hub, task: &PlacedResult, output: Output) -> Result<Vec<(FilePath, Piece)>, ApiError> {
    let at = |suffix: &str| -> Result<FilePath, ApiError> {
        format!("{}.{suffix}", task.path).parse().map_err(|error: pumasi_types::BadPath| {
            ApiError::invalid(format!("path of task {}: {error}", task.task))
        })
    };
    let Some(output) = output? else { return Ok(vec![(at("out")?, Piece::Known(b""))]) };
    let parts = hub.parts_of(&output).await?;
    let mut files = vec![(at("out")?, Piece::Stored(output, parts.stdout))];
    if !parts.stderr.is_empty() {
        files.push((at("err")?, Piece::Stored(output, parts.stderr)));
    }
    for (path, range) in parts.files {
        files.push((at(&format!("files/{path}"))?, Piece::Stored(output, range)));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_for_one_path_the_first_comes_first() {
        let wanted = |all: &[(usize, &str)]| -> Vec<Wanted> {
            all.iter().map(|(task, path)| (*task, path.parse().unwrap(), Hash::ZERO)).collect()
        };
        let (now, later) = first_of_each(wanted(&[(0, "a"), (1, "b"), (2, "a"), (3, "a"), (4, "c")]));
        assert_eq!((now, later), (wanted(&[(0, "a"), (1, "b"), (4, "c")]), wanted(&[(2, "a"), (3, "a")])));
        let (now, later) = first_of_each(wanted(&[(2, "a"), (3, "a")]));
        assert_eq!((now, later), (wanted(&[(2, "a")]), wanted(&[(3, "a")])));
    }
}
