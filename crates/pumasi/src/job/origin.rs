//! Where inputs are, and how the hub comes to have them from the caller: files of this machine are sent, what the hub has
//! already is claimed by naming it, and stays where it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pumasi_api::client::{HubClient, Source};
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::files::ClaimedFile;
use pumasi_api::wire::results::{ClaimedPart, ResultPart, WantedPart};
use pumasi_types::{Hash, JobId, TaskIndex};

use super::upload;
use crate::drive::place::Place;
use crate::error::CliError;
use crate::output::Output;

/// Files in one request.
const PAGE: usize = 1_000;

/// Where the bytes of an input are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file of this machine.
    Here(PathBuf),
    /// They were piped into this program.
    Piped(Bytes),
    /// In a space of the hub.
    Space(Place),
    /// In the hub, where the caller holds them under no name but their hash.
    Blob(Hash),
    /// A part of the result of a task of another job.
    Result(JobId, TaskIndex, ResultPart),
}

impl Origin {
    /// The bytes, if they are on this machine.
    pub(crate) fn source(&self) -> Option<Source> {
        match self {
            Origin::Here(path) => Some(Source::File(path.clone())),
            Origin::Piped(bytes) => Some(Source::Bytes(bytes.clone())),
            Origin::Space(_) | Origin::Blob(_) | Origin::Result(..) => None,
        }
    }
}

/// Bytes that are named by their hash, unless a file of this machine is called so.
pub(super) fn blob(text: &str) -> Option<Hash> {
    text.parse().ok().filter(|_| !Path::new(text).exists())
}

/// Sees to it that the caller holds all of these in the hub; their names, in order.
pub(crate) async fn ensure(
    client: &HubClient,
    out: &Output,
    origins: &[&Origin],
) -> Result<Vec<Hash>, CliError> {
    let mut names: Vec<Option<Hash>> = vec![None; origins.len()];
    let (mut here, mut sources, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    let mut spaces: BTreeMap<&str, Vec<(usize, &Place)>> = BTreeMap::new();
    let mut results: BTreeMap<JobId, Vec<(usize, WantedPart)>> = BTreeMap::new();
    for (at, origin) in origins.iter().enumerate() {
        match origin {
            Origin::Space(place) => spaces.entry(place.space()).or_default().push((at, place)),
            Origin::Blob(hash) => blobs.push((at, *hash)),
            Origin::Result(job, task, part) => {
                results.entry(*job).or_default().push((at, WantedPart { task: *task, part: part.clone() }));
            }
            Origin::Here(_) | Origin::Piped(_) => {
                here.push(at);
                sources.extend(origin.source());
            }
        }
    }
    // It is soon found out whether something of this is missing, before anything is sent.
    check_held(client, &blobs).await?;
    blobs.into_iter().for_each(|(at, hash)| names[at] = Some(hash));
    for (space, places) in spaces {
        for places in places.chunks(PAGE) {
            claim(client, space, places, &mut names).await?;
        }
    }
    for (job, parts) in results {
        claim_results(client, job, &parts, &mut names).await?;
    }
    let stored = upload::ensure(client, out, &sources).await?;
    here.into_iter().zip(stored).for_each(|(at, stored)| names[at] = Some(stored.hash));
    let missing = || CliError::usage("the hub has fewer files than it was given", "try again");
    names.into_iter().map(|name| name.ok_or_else(missing)).collect()
}

/// Asks whether the caller holds all of these: a hash alone gives a job nothing.
async fn check_held(client: &HubClient, blobs: &[(usize, Hash)]) -> Result<(), CliError> {
    let hashes: Vec<Hash> = blobs.iter().map(|(_, hash)| *hash).collect();
    if hashes.is_empty() {
        return Ok(());
    }
    let held = client.held(&hashes).await.map_err(CliError::hub("use stored bytes as inputs"))?;
    match hashes.iter().zip(held).find(|(_, held)| !held) {
        None => Ok(()),
        Some((hash, _)) => Err(CliError::usage(
            format!("{hash} cannot be an input: you hold no such bytes"),
            "`pumasi put FILE` sends them and prints their hash, which is good for 48 hours",
        )),
    }
}

/// Has the hub note that the caller may read files in a space, so that a job can be given them.
async fn claim(
    client: &HubClient,
    space: &str,
    places: &[(usize, &Place)],
    names: &mut [Option<Hash>],
) -> Result<(), CliError> {
    let paths = places.iter().map(|(_, place)| place.path.clone()).collect();
    let failed = CliError::hub(format!("use files of the space {space} as inputs"));
    let claimed = client.claim_files(space, paths, None).await.map_err(failed)?.files;
    for ((at, place), ClaimedFile { blob, error, .. }) in places.iter().zip(claimed) {
        names[*at] = Some(blob.ok_or_else(|| not_an_input(&place.to_string(), error))?);
    }
    Ok(())
}

/// Has the hub make parts of results what a job can be given.
async fn claim_results(
    client: &HubClient,
    job: JobId,
    parts: &[(usize, WantedPart)],
    names: &mut [Option<Hash>],
) -> Result<(), CliError> {
    let wanted: Vec<WantedPart> = parts.iter().map(|(_, part)| part.clone()).collect();
    let failed = CliError::hub(format!("use results of job {job} as inputs"));
    let claimed = client.claim_results(job, &wanted).await.map_err(failed)?;
    for ((at, part), ClaimedPart { blob, error, .. }) in parts.iter().zip(claimed) {
        let what = || format!("the result of task {} of job {job}", part.task);
        names[*at] = Some(blob.ok_or_else(|| not_an_input(&what(), error))?);
    }
    Ok(())
}

fn not_an_input(what: &str, error: Option<ErrorBody>) -> CliError {
    let problem = error.map_or_else(|| "the hub does not say why".to_owned(), |error| error.message);
    let hint = "`pumasi ls` shows what lies in your spaces, `pumasi tasks JOB` what a job has done";
    CliError::usage(format!("{what} cannot be an input: {problem}"), hint)
}
