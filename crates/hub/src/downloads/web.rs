//! Downloads from web and FTP servers.

use std::io;

use pumasi_core::{About, DownloadSpec};
use pumasi_fetch::{FetchError, Fetched, Part, Place, Progress, Wanted};
use pumasi_types::{ByteSize, FilePath, Time};

use super::delivery::{Delivery, Ready};
use super::origins::{self, Note, Source};
use super::{Task, Trouble, known};
use crate::Deduplicate;
use crate::server::Hub;

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Trouble {
        match error {
            FetchError::Disk { operation, source } => {
                io::Error::new(source.kind(), format!("{operation} the part that came: {source}")).into()
            }
            error => Trouble { again: error.is_passing(), reason: error.to_string() },
        }
    }
}

/// Fetches a file, or finds that it is here.
pub(super) async fn bring(hub: &Hub, task: &Task<'_>, url: &str, progress: &Progress) -> Result<(), Trouble> {
    let place = hub.downloads.place(url);
    let place = place.map_err(|bad| Trouble::for_good(bad.to_string()))?;
    let mut part = Part::open(&hub.downloads.folder(task.id)).await?;
    if part.is_empty()
        && let Some(found) = with_sum(hub, task, &place).await
    {
        return hand_over(Delivery::new(hub, task), task, &place, found, true).await;
    }
    let known = if part.is_empty() { known(hub, task, &place).await } else { Vec::new() };
    let mut wanted = Wanted {
        place,
        sha256: task.spec.sha256.map(|hash| *hash.as_bytes()),
        limit: task.limit,
        known: known.iter().map(|one| one.etag.clone()).collect(),
    };
    let client = &hub.downloads.client;
    if let Fetched::Known(etag) = client.fetch(&wanted, &mut part, progress).await? {
        let found = known.into_iter().find(|one| one.etag == etag);
        if let Some(found) = found.filter(|found| found.size <= task.limit)
            && hub.blobs.link(&found.blob).await.is_ok()
        {
            check_sum(task.spec, &found)?;
            return hand_over(Delivery::new(hub, task), task, &wanted.place, found, true).await;
        }
        // It went meanwhile.
        wanted.known.clear();
        client.fetch(&wanted, &mut part, progress).await?;
    }
    let size = ByteSize(part.len());
    let mut delivery = Delivery::new(hub, task);
    let (blob, sha256) = delivery.keep(&part.body(), 0, size.0).await?;
    let origin = part.origin();
    let fetched = origins::Fetched {
        etag: origin.etag.clone().unwrap_or_default(),
        blob,
        size,
        sha256: Some(sha256),
        name: origin.name.clone(),
        media_type: origin.media_type.clone(),
        changed_s: origin.changed_s,
        space: task.spec.space,
        path: FilePath::root(),
    };
    hand_over(delivery, task, &wanted.place, fetched, false).await
}

/// Hands a file over that is in the store, and remembers where it came from and where it was put.
async fn hand_over(
    mut delivery: Delivery<'_>,
    task: &Task<'_>,
    place: &Place,
    fetched: origins::Fetched,
    was_here: bool,
) -> Result<(), Trouble> {
    let fetched =
        origins::Fetched { space: task.spec.space, path: path_of(task.spec, &fetched.name)?, ..fetched };
    // Without an entity tag nothing names the version that came from there.
    let url = (!fetched.etag.is_empty()).then(|| Note::of(&Source::Url(place.to_string()), &fetched));
    let sum = fetched.sha256.map(|sum| Note::of(&Source::Sum(sum), &fetched));
    let notes = url.into_iter().chain(sum).collect();
    let modified = fetched.changed_s.and_then(|seconds| seconds.checked_mul(1_000_000_000)).map(Time);
    let labels = fetched.media_type.into_iter().map(|kind| ("content-type".to_owned(), kind)).collect();
    let about = About { modified, executable: false, labels };
    let name = if task.spec.named { task.spec.path.name().unwrap_or(&fetched.name) } else { &fetched.name };
    let path = name.parse().map_err(|bad| Trouble::for_good(format!("{bad}")))?;
    let file = (path, fetched.blob, fetched.size, about);
    delivery.add(Ready { file, was_here, notes }).await?;
    delivery.finish().await
}

/// Where a file of this name is put.
fn path_of(spec: &DownloadSpec, name: &str) -> Result<FilePath, Trouble> {
    if spec.named {
        return Ok(spec.path.clone());
    }
    spec.path.join(name).map_err(|bad| Trouble::for_good(bad.to_string()))
}

/// Bytes with the SHA-256 that is wanted, which the caller fetched before: then no server need be asked for them. Never what
/// others fetched: whoever knows a hash has shown nothing.
async fn with_sum(hub: &Hub, task: &Task<'_>, place: &Place) -> Option<origins::Fetched> {
    let sum = task.spec.sha256?;
    let found = known::here(hub, task.by, vec![Source::Sum(sum)], false).await.pop()??;
    let fits = found.size <= task.limit && hub.blobs.link(&found.blob).await.is_ok();
    // Which version the server has is not asked.
    fits.then(|| origins::Fetched { etag: String::new(), name: place.file_name(), ..found })
}

/// What was fetched from there before and can be had by the caller now. What others fetched under the same version, too, with
/// `serve --deduplicate all`: the server gives it to the caller as well.
async fn known(hub: &Hub, task: &Task<'_>, place: &Place) -> Vec<origins::Fetched> {
    let all = hub.options.deduplicate == Deduplicate::All;
    let found = known::versions(hub, task.by, Source::Url(place.to_string()), all).await;
    // Of what was fetched before these were noted nobody knows whether it is what is wanted.
    let can_be = |one: &origins::Fetched| task.spec.sha256.is_none() || one.sha256.is_some();
    found.into_iter().filter(can_be).collect()
}

/// Whether bytes that are here are those that are wanted.
fn check_sum(spec: &DownloadSpec, found: &origins::Fetched) -> Result<(), Trouble> {
    match (spec.sha256, found.sha256) {
        (Some(expected), Some(seen)) if seen != expected => {
            Err(FetchError::Sha256 { expected: expected.to_string(), seen: seen.to_string() }.into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_so_and_other_faults_have_a_number() {
        let trouble =
            |kind: io::ErrorKind| Trouble::from(FetchError::Disk { operation: "write", source: kind.into() });
        let full = trouble(io::ErrorKind::StorageFull);
        assert!(full.again && full.reason.contains("disk is full"), "{full:?}");
        let other = trouble(io::ErrorKind::PermissionDenied);
        assert!(other.again && other.reason.contains("fault "), "{other:?}");
    }
}
