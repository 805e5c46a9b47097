//! Results where they are wanted: in a folder of this machine, or in a space, where the hub puts them without them travelling.

use pumasi_api::client::HubClient;
use pumasi_api::wire::Job;
use pumasi_api::wire::results::PlacedResult;
use pumasi_types::{BadPath, FilePath, JobId, TaskIndex};
use serde::Serialize;

use super::results::{self, Fetched, Names};
use crate::drive::place::{Argument, Place};
use crate::drive::remote::absolute;
use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// What became of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Brought {
    /// They are here.
    Here(Fetched),
    /// They lie in a space.
    There(Delivered),
}

/// What was put into a space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Delivered {
    /// The job.
    pub(crate) job: JobId,
    /// The folder in the space.
    pub(crate) place: String,
    /// Files that were put.
    pub(crate) put: u64,
    /// Files that lay there already, just so.
    pub(crate) same: u64,
    /// Tasks without an output yet.
    pub(crate) undecided: usize,
    /// Tasks that failed; what they wrote before is put too.
    pub(crate) failed: usize,
}

/// Where results are wanted, and that they can go there.
pub(crate) async fn target(client: &HubClient, to: &std::path::Path) -> Result<Argument, CliError> {
    let to = Argument::of(to).map_err(|problem| CliError::usage(problem, "give FOLDER or SPACE:PATH"))?;
    if let Argument::Remote(place) = &to {
        client.space(place.space()).await.map_err(CliError::hub(format!("look at the space of {place}")))?;
    }
    Ok(to)
}

/// Brings the results of all tasks, or of some, where they are wanted.
pub(crate) async fn bring(
    client: &HubClient,
    out: &Output,
    job: &Job,
    only: Option<&[TaskIndex]>,
    to: &Argument,
) -> Result<Brought, CliError> {
    match to {
        Argument::Local(folder) => results::fetch(client, out, job, only, folder).await.map(Brought::Here),
        Argument::Remote(place) => deliver(client, out, job, only, place).await.map(Brought::There),
    }
}

async fn deliver(
    client: &HubClient,
    out: &Output,
    job: &Job,
    only: Option<&[TaskIndex]>,
    place: &Place,
) -> Result<Delivered, CliError> {
    let names = Names::read(client, job).await?;
    let tasks = results::list(client, job, only).await?;
    let mut delivered = Delivered { job: job.id, place: place.to_string(), ..Delivered::default() };
    delivered.undecided = tasks.iter().filter(|task| task.ending.is_none()).count();
    delivered.failed = tasks.iter().filter(|task| task.state == "failed").count();
    let mut placed = Vec::new();
    for task in tasks.iter().filter(|task| task.ending.is_some()) {
        let name: Result<FilePath, String> =
            names.of(task.index).parse().map_err(|error: BadPath| error.to_string());
        let path = name.and_then(|name| absolute(&place.path, &name));
        let path = path.map_err(|problem| CliError::usage(problem, "choose a shorter SPACE:PATH"))?;
        placed.push(PlacedResult { task: task.index, path });
    }
    let bar = Progress::start(out, "putting", Count::Things, placed.len() as u64);
    let put = client.put_results(place.space(), job.id, &placed, |done| bar.set(done as u64, "")).await;
    bar.clear();
    let put = put.map_err(CliError::hub(format!("put the results of job {} to {place}", job.id)))?;
    let (mut refused, mut first) = (0, None);
    for (placed, put) in placed.iter().zip(put) {
        (delivered.put, delivered.same) = (delivered.put + put.files, delivered.same + put.same);
        if let Some(error) = put.error {
            refused += 1;
            first.get_or_insert((placed.task, error));
        }
    }
    match first {
        None => Ok(delivered),
        Some((task, error)) => {
            let all = placed.len();
            let problem = format!(
                "{refused} of {all} results were not put to {place} as a whole; task {task}: {}",
                error.message
            );
            Err(CliError::Partly { problem, code: error.code })
        }
    }
}
