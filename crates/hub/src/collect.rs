//! What the store must keep, and having it let go of the rest.
//!
//! Roots are named in pieces, between which everybody goes on. So the order matters: files first, because what a job names
//! was held by its owner before, and jobs are walked by their numbers, which only grow. What is put or linked meanwhile the
//! store keeps by itself, and what was put before and is not claimed yet for
//! [`ServeOptions::collect_grace`](crate::ServeOptions::collect_grace); see docs/store.md. If anything that may be needed
//! cannot be told, nothing is collected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_blobs::{BlobError, Collected};
use pumasi_core::{Job, RootCursor, State};
use pumasi_types::{AccountId, Hash, JobId, TaskIndex};
use serde::Deserialize;
use tokio::sync::watch;

use crate::drive::DriveError;
use crate::server::Hub;

/// Roots or tasks that are named in one look at the state.
const PIECE: usize = 1_000;
/// How long to wait before what could not be counted is counted again.
const COUNT_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// The longest line of a task list.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A collection that is under way, or was the last; and what came of it, once it is over.
type Course = watch::Receiver<Option<Result<Collected, String>>>;

/// Collects, one at a time.
#[derive(Default)]
pub(crate) struct Collector(Mutex<Option<Course>>);

impl Collector {
    /// Begins a collection, or joins the one that is under way.
    pub(crate) fn begin(&self, hub: &Arc<Hub>) -> Course {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(course) =
            last.as_ref().filter(|course| course.borrow().is_none() && course.has_changed().is_ok())
        {
            return course.clone();
        }
        let (done, course) = watch::channel(None);
        let hub = Arc::clone(hub);
        tokio::spawn(async move {
            let collected = collect(&hub).await;
            done.send_replace(Some(collected.map_err(|error| error.to_string())));
        });
        *last = Some(course.clone());
        course
    }
}

/// Collects again and again, until the hub stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    // What jobs keep is counted from the start on.
    while let Err(error) = roots(&hub).await {
        tracing::error!("what jobs keep was not counted: {error}");
        tokio::select! {
            () = tokio::time::sleep(COUNT_AGAIN) => {}
            () = hub.stopping() => return,
        }
    }
    let Some(every) = hub.options.collect_every.filter(|every| !every.is_zero()) else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = hub.stopping() => return,
        }
        let mut course = hub.collector.begin(&hub);
        tokio::select! {
            // What came of it stands in the log.
            _ = course.wait_for(Option::is_some) => {}
            () = hub.stopping() => return,
        }
    }
}

/// Has the store let go of what nothing refers to. Others go on meanwhile.
async fn collect(hub: &Hub) -> Result<Collected, DriveError> {
    let began = Instant::now();
    // Named only when the store has begun to listen to what is put meanwhile.
    let named = stream::once(roots(hub)).map_ok(|roots| stream::iter(roots).map(Ok)).try_flatten();
    let done = hub.blobs.collect_if(named).await;
    match &done {
        Ok(done) => tracing::info!(
            roots = done.roots,
            missing = done.missing_roots,
            removed_bytes = done.bytes_removed,
            rewritten_bytes = done.bytes_rewritten,
            took_ms = began.elapsed().as_millis() as u64,
            "the store was collected"
        ),
        Err(error) => tracing::error!("the store was not collected: {error}"),
    }
    done
}

/// Everything that something refers to, each once. 32 bytes of memory for each: the state takes more for whatever refers
/// to it.
async fn roots(hub: &Hub) -> Result<Vec<Hash>, DriveError> {
    let mut roots = Vec::new();
    let mut next = Some(RootCursor::default());
    while let Some(from) = next {
        let piece = hub.cell.read(move |state| state.files().roots(from, PIECE)).await?;
        roots.extend(piece.blobs);
        next = piece.next;
    }
    roots.sort_unstable();
    roots.dedup();
    let (mut inputs, mut lists) = (Vec::new(), Vec::new());
    let mut outputs = Vec::new();
    let mut next = Some((JobId(0), TaskIndex(0)));
    while let Some((job, task)) = next {
        let piece = hub.cell.read(move |state| of_jobs(state, job, task)).await?;
        outputs.extend(piece.outputs);
        inputs.extend(piece.inputs);
        lists.extend(piece.list);
        next = piece.next;
    }
    lists.sort_unstable();
    lists.dedup();
    for (owner, list) in lists {
        let mut named = Vec::new();
        files_of(hub, list, &mut named).await?;
        inputs.extend(named.into_iter().map(|file| (owner, file)));
    }
    inputs.sort_unstable();
    inputs.dedup();
    hub.unfiled.jobs_keep(kept_by_jobs(hub, &inputs, &roots).await?);
    roots.extend(outputs);
    roots.extend(inputs.into_iter().map(|(_, input)| input));
    roots.sort_unstable();
    roots.dedup();
    Ok(roots)
}

/// Bytes of inputs that nothing but jobs refers to, by who ordered them; `others` is in order.
async fn kept_by_jobs(
    hub: &Hub,
    inputs: &[(AccountId, Hash)],
    others: &[Hash],
) -> Result<HashMap<AccountId, u64>, DriveError> {
    let mut bytes: HashMap<AccountId, u64> = HashMap::new();
    for inputs in inputs.chunks(PIECE) {
        for (owner, input) in inputs.iter().filter(|(_, input)| others.binary_search(input).is_err()) {
            let size = hub.blobs.size(input)?.unwrap_or_default();
            *bytes.entry(*owner).or_default() += size.0;
        }
        tokio::task::yield_now().await;
    }
    Ok(bytes)
}

/// Some of what jobs refer to.
#[derive(Default)]
struct Piece {
    outputs: Vec<Hash>,
    /// Inputs with who ordered the job.
    inputs: Vec<(AccountId, Hash)>,
    /// A list whose files are named in it, with the same.
    list: Option<(AccountId, Hash)>,
    next: Option<(JobId, TaskIndex)>,
}

/// What the first job from this one on refers to: its inputs with its first tasks, and then more of its tasks.
fn of_jobs(state: &State, from: JobId, task: TaskIndex) -> Piece {
    let Some((id, job)) = state.jobs().range(from..).next() else { return Piece::default() };
    let task = if *id == from { task } else { TaskIndex(0) };
    let (outputs, more) = job.outputs(task, PIECE);
    let next = Some(more.map_or((JobId(id.0.saturating_add(1)), TaskIndex(0)), |task| (*id, task)));
    if task > TaskIndex(0) {
        return Piece { outputs, next, ..Piece::default() };
    }
    let inputs = inputs_of(job).map(|input| (job.owner, input)).collect();
    Piece { outputs, inputs, list: job.spec.task_list.map(|list| (job.owner, list)), next }
}

fn inputs_of(job: &Job) -> impl Iterator<Item = Hash> {
    let spec = &job.spec;
    let shared = spec.files.iter().map(|file| file.hash);
    [spec.module].into_iter().chain(spec.task_list).chain(shared)
}

/// A line of a task list, as far as it matters here.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    file: Option<Hash>,
}

/// Adds what a task list names.
async fn files_of(hub: &Hub, list: Hash, roots: &mut Vec<Hash>) -> Result<(), DriveError> {
    let mut pieces = match hub.blobs.stream(&list).await {
        Ok((_, pieces)) => pieces,
        // It is lost, and with it what its tasks were.
        Err(BlobError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut begun: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.next().await {
        begun.extend_from_slice(&piece?);
        let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        named_in(&begun[..whole], roots);
        begun.drain(..whole);
        if begun.len() > LINE_BYTES_MAX {
            // Such a list was never taken for a job.
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    named_in(&begun, roots);
    Ok(())
}

/// What these lines name. They were checked when the job was ordered.
fn named_in(lines: &[u8], roots: &mut Vec<Hash>) {
    let lines = lines.split(|byte| *byte == b'\n');
    roots.extend(lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()?.file));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_list_names_its_files() {
        let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
        let list = format!(
            "{{\"name\":\"x\",\"file\":\"{a}\"}}\n{{\"name\":\"y\"}}\n{{\"file\":\"{b}\",\"name\":\"z\"}}"
        );
        let mut roots = Vec::new();
        named_in(list.as_bytes(), &mut roots);
        assert_eq!(roots, [a, b]);
    }
}
