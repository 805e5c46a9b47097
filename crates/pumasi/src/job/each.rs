//! The files of which each is one task's input: of this machine, in a space of the hub, or results of another job.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use pumasi_api::client::HubClient;
use pumasi_api::wire::files::Entry;
use pumasi_api::wire::results::ResultPart;
use pumasi_api::wire::{Job, Task};
use pumasi_types::{FilePath, JobId};

use super::glob;
use super::origin::{self, Origin};
use super::plan::{PlannedTask, TASKS_MAX, checked, file_name, not_utf8};
use super::results::{self, Names};
use crate::drive::LINK;
use crate::drive::place::{Argument, Place};
use crate::drive::remote;
use crate::error::CliError;
use crate::output::Output;

/// A task for each file that these mean, in their order.
pub(crate) async fn files(client: &HubClient, named: &[PathBuf]) -> Result<Vec<PlannedTask>, CliError> {
    let mut files = Vec::new();
    for path in named {
        if let Some(hash) = path.to_str().and_then(origin::blob) {
            files.push(Origin::Blob(hash));
            continue;
        }
        let bad = |problem| CliError::usage(problem, "give FILES, SPACE:PATH or a hash");
        match Argument::of(path).map_err(bad)? {
            Argument::Local(path) => files.extend(glob::expand(&[path])?.into_iter().map(Origin::Here)),
            Argument::Remote(place) => {
                files.extend(there(client, &place).await?.into_iter().map(Origin::Space))
            }
        }
    }
    tasks(files)
}

/// A task for each task of another job that has succeeded, with what that wrote to standard output.
pub(crate) async fn of_results(
    client: &HubClient,
    out: &Output,
    id: JobId,
) -> Result<Vec<PlannedTask>, CliError> {
    let job = ask(client, id).await?;
    let names = Names::read(client, &job).await?;
    let tasks: Vec<Task> = results::list(client, &job, None).await?;
    let undecided = tasks.iter().filter(|task| task.ending.is_none()).count();
    if undecided > 0 {
        let problem = format!("{undecided} tasks of job {id} have no result yet");
        return Err(CliError::usage(problem, "wait for them: `pumasi job JOB --wait`"));
    }
    let failed = tasks.iter().filter(|task| task.state != "succeeded").count();
    if failed > 0 {
        out.warn(&format!("{failed} tasks of job {id} failed and are left out"));
    }
    let succeeded = tasks.iter().filter(|task| task.state == "succeeded");
    let task = |task: &Task| {
        let file = Some(Origin::Result(id, task.index, ResultPart::Stdout));
        Ok(PlannedTask { name: checked(names.of(task.index))?, file, arg: None })
    };
    succeeded.map(task).collect()
}

/// `[NAME=]JOB:TASK[:FILE]`: what a task of another job wrote to standard output, or a file that it left, and what it is
/// called below /in.
pub(crate) async fn result(client: &HubClient, text: &str) -> Result<(String, Origin), CliError> {
    let bad = |problem: String| {
        let hint = "give JOB:TASK for what it wrote to stdout, JOB:TASK:FILE for a file below its /out";
        CliError::usage(problem, hint)
    };
    let (job, rest) =
        text.split_once(':').ok_or_else(|| bad(format!("'{}' names no task", text.escape_debug())))?;
    let (name, job) = job.rsplit_once('=').map_or((None, job), |(name, job)| (Some(name), job));
    let id: JobId = job.parse().map_err(|_| bad(format!("'{}' is no job", job.escape_debug())))?;
    let job = ask(client, id).await?;
    let names = Names::read(client, &job).await?;
    // A task's own name may have colons.
    let mut ends = std::iter::once(rest.len()).chain(rest.rmatch_indices(':').map(|(at, _)| at));
    let found = ends.find_map(|end| Some((names.find(&rest[..end])?, rest.get(end + 1..))));
    let (task, file) = found.ok_or_else(|| bad(format!("job {id} has no task '{}'", rest.escape_debug())))?;
    let usual = match file {
        None => format!("{}.out", names.of(task)),
        Some(file) => file.rsplit('/').next().unwrap_or(file).to_owned(),
    };
    let part = file.map_or(ResultPart::Stdout, |file| ResultPart::File(file.to_owned()));
    Ok((checked(name.map_or(usual, str::to_owned))?, Origin::Result(id, task, part)))
}

async fn ask(client: &HubClient, id: JobId) -> Result<Job, CliError> {
    client.get(&format!("/v1/jobs/{id}")).await.map_err(CliError::hub(format!("show job {id}")))
}

/// The files that a place in a space means: itself, all below a folder, or what its pattern stands for; in order.
async fn there(client: &HubClient, place: &Place) -> Result<Vec<Place>, CliError> {
    let found = match remote::find(client, place).await? {
        Some(_) => remote::below(client, place).await?,
        None if glob::is_pattern(place.path.as_str().as_bytes()) => matching(client, place).await?,
        // Says that it is not there.
        None => vec![remote::must_find(client, place).await?],
    };
    let mut files: Vec<FilePath> = found.into_iter().filter(is_file).map(|entry| entry.path).collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::usage(
            format!("there is no file at {place}"),
            "`pumasi ls` shows what there is",
        ));
    }
    Ok(files.into_iter().map(|path| place.at(path)).collect())
}

/// Stored links have no bytes.
fn is_file(entry: &Entry) -> bool {
    entry.file.as_ref().is_some_and(|file| !file.about.labels.contains_key(LINK))
}

/// What lies where a pattern leads, folder by folder as on this machine.
async fn matching(client: &HubClient, pattern: &Place) -> Result<Vec<Entry>, CliError> {
    let mut found: Vec<Entry> =
        remote::find(client, &pattern.at(FilePath::root())).await?.into_iter().collect();
    for name in pattern.path.names() {
        let mut deeper = Vec::new();
        for folder in found.iter().filter(|entry| entry.folder.is_some()) {
            if glob::is_pattern(name.as_bytes()) {
                let lies = remote::list(client, &pattern.at(folder.path.clone())).await?;
                deeper.extend(lies.into_iter().filter(|entry| {
                    entry.path.name().is_some_and(|own| glob::stands_for(name.as_bytes(), own.as_bytes()))
                }));
            } else if let Ok(path) = folder.path.join(name) {
                deeper.extend(remote::find(client, &pattern.at(path)).await?);
            }
        }
        found = deeper;
    }
    Ok(found)
}

/// Tasks named as their files, or, where two files are named alike, as their paths.
fn tasks(files: Vec<Origin>) -> Result<Vec<PlannedTask>, CliError> {
    if files.len() > TASKS_MAX {
        return Err(CliError::usage("there are too many files", "split them over several jobs"));
    }
    let mut names = files.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        names = files.iter().map(path_name).collect::<Result<_, _>>()?;
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(CliError::usage(format!("--each names {name} twice"), "name each file once"));
    }
    let task = |(name, file)| Ok(PlannedTask { name: checked(name)?, file: Some(file), arg: None });
    names.into_iter().zip(files).map(task).collect()
}

fn name(file: &Origin) -> Result<String, CliError> {
    match file {
        Origin::Here(path) => file_name(path),
        Origin::Space(place) => Ok(place.path.name().unwrap_or_default().to_owned()),
        Origin::Blob(hash) => Ok(hash.to_string()),
        Origin::Piped(_) | Origin::Result(..) => Ok(String::new()),
    }
}

/// The path without what leads out of a folder.
fn path_name(file: &Origin) -> Result<String, CliError> {
    let path = match file {
        Origin::Here(path) => path,
        Origin::Space(place) => Path::new(place.path.as_str()),
        Origin::Blob(_) | Origin::Piped(_) | Origin::Result(..) => return name(file),
    };
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str().ok_or_else(|| not_utf8(path))),
        _ => None,
    });
    Ok(parts.collect::<Result<Vec<_>, _>>()?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Result<Vec<String>, String> {
        let origin = |text: &&str| match text.parse() {
            Ok(Argument::Remote(place)) => Origin::Space(place),
            _ => Origin::Here(PathBuf::from(text)),
        };
        let tasks = tasks(files.iter().map(origin).collect()).map_err(|error| error.to_string())?;
        Ok(tasks.into_iter().map(|task| task.name).collect())
    }

    #[test]
    fn tasks_are_named_as_their_files() {
        assert_eq!(names(&["a/x.fa", "b/y.fa"]).unwrap(), ["x.fa", "y.fa"]);
        assert_eq!(names(&["/a/x.fa", "../b/x.fa", "z"]).unwrap(), ["a/x.fa", "b/x.fa", "z"]);
        assert_eq!(names(&["lab:a/x.fa", "y.fa"]).unwrap(), ["x.fa", "y.fa"]);
        assert_eq!(names(&["lab:a/x.fa", "b/x.fa"]).unwrap(), ["a/x.fa", "b/x.fa"]);
        assert_eq!(names(&["a/x", "./a/x"]).unwrap_err(), "--each names a/x twice");
        assert_eq!(names(&["lab:x", ":x"]).unwrap_err(), "--each names x twice");
        assert!(names(&[".."]).is_err());
        assert!(names(&["a\nb"]).is_err());
    }
}
