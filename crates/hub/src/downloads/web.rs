//! Downloads from web and FTP servers.

use std::io;

use futures_util::TryStreamExt;
use pumasi_core::{About, DownloadSpec, FileKind, Files};
use pumasi_fetch::{FetchError, Fetched, Part, Place, Progress, Wanted};
use pumasi_types::{AccountId, ByteSize, DownloadId, FilePath, Hash, Time};
use sha2::{Digest, Sha256};

use super::bytes::bytes_of;
use super::{Brought, Trouble, origins};
use crate::Deduplicate;
use crate::server::Hub;

/// What is to be fetched.
pub(super) struct Task<'a> {
    pub(super) id: DownloadId,
    pub(super) by: AccountId,
    pub(super) spec: &'a DownloadSpec,
    /// How many bytes there is room for.
    pub(super) limit: ByteSize,
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Trouble {
        match error {
            FetchError::Disk { operation, source } => {
                Trouble::of_hub(&format!("{operation} the part that came: {source}"))
            }
            error => Trouble { again: error.is_passing(), reason: error.to_string() },
        }
    }
}

/// Fetches a file, or finds that it is here.
pub(super) async fn bring(
    hub: &Hub,
    task: &Task<'_>,
    url: &str,
    progress: &Progress,
) -> Result<Brought, Trouble> {
    let place = hub.downloads.place(url);
    let place = place.map_err(|bad| Trouble::for_good(bad.to_string()))?;
    let of_hub = |error: io::Error| Trouble::of_hub(&error);
    let mut part = Part::open(&hub.downloads.folder(task.id)).await.map_err(of_hub)?;
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
            return linked(hub, task, &wanted.place, found).await;
        }
        // It went meanwhile.
        wanted.known.clear();
        client.fetch(&wanted, &mut part, progress).await?;
    }
    let size = ByteSize(part.len());
    let stored = hub.blobs.put_stream(bytes_of(&part.body(), 0, size.0), size).await;
    let (blob, size) = stored.map_err(|error| Trouble::of_hub(&error))?;
    let origin = part.origin();
    let fetched = origins::Fetched {
        etag: origin.etag.clone().unwrap_or_default(),
        blob,
        size,
        name: origin.name.clone(),
        media_type: origin.media_type.clone(),
        changed_s: origin.changed_s,
        space: task.spec.space,
        path: path_of(task.spec, &origin.name)?,
    };
    note(hub, task, &wanted.place, &fetched).await;
    brought(task, fetched, ByteSize(0))
}

/// Bytes that are here already: the server says that it still has this version.
async fn linked(
    hub: &Hub,
    task: &Task<'_>,
    place: &Place,
    found: origins::Fetched,
) -> Result<Brought, Trouble> {
    if let Some(expected) = task.spec.sha256 {
        let stream = hub.blobs.stream(&found.blob).await.map_err(|error| Trouble::of_hub(&error))?.1;
        let hasher = stream.try_fold(Sha256::new(), |mut hasher, bytes| async move {
            hasher.update(&bytes);
            Ok(hasher)
        });
        let seen = Hash::from_bytes(hasher.await.map_err(|error| Trouble::of_hub(&error))?.finalize().into());
        if seen != expected {
            let error = FetchError::Sha256 { expected: expected.to_string(), seen: seen.to_string() };
            return Err(error.into());
        }
    }
    let found = origins::Fetched { space: task.spec.space, path: path_of(task.spec, &found.name)?, ..found };
    note(hub, task, place, &found).await;
    let saved = found.size;
    brought(task, found, saved)
}

fn brought(task: &Task<'_>, fetched: origins::Fetched, saved: ByteSize) -> Result<Brought, Trouble> {
    let modified = fetched.changed_s.and_then(|seconds| seconds.checked_mul(1_000_000_000)).map(Time);
    let labels = fetched.media_type.into_iter().map(|kind| ("content-type".to_owned(), kind)).collect();
    let about = About { modified, executable: false, labels };
    let name = if task.spec.named { task.spec.path.name().unwrap_or(&fetched.name) } else { &fetched.name };
    let path = name.parse().map_err(|bad| Trouble::for_good(format!("{bad}")))?;
    Ok(Brought { files: vec![(path, fetched.blob, fetched.size, about)], saved, seed: None })
}

/// Where a file of this name is put.
fn path_of(spec: &DownloadSpec, name: &str) -> Result<FilePath, Trouble> {
    if spec.named {
        return Ok(spec.path.clone());
    }
    spec.path.join(name).map_err(|bad| Trouble::for_good(bad.to_string()))
}

/// What was fetched from there before and can be had by the caller now.
async fn known(hub: &Hub, task: &Task<'_>, place: &Place) -> Vec<origins::Fetched> {
    let all = hub.options.deduplicate == Deduplicate::All;
    let found = hub.downloads.origins.of(&place.to_string(), task.by, all);
    let found = found.unwrap_or_else(|error| {
        tracing::warn!("cannot look up what was fetched before: {error}");
        Vec::new()
    });
    let by = task.by;
    let look = move |state: &pumasi_core::State| {
        // With `all`, whoever is given the same version by the server may have what another fetched.
        let may_have = |one: &origins::Fetched| all || may_have(state.files(), by, one);
        found.into_iter().filter(may_have).collect()
    };
    // Without an answer it is fetched, and that tells what is wrong.
    hub.cell.read(look).await.unwrap_or_default()
}

/// Whether an account holds these bytes, or may read them where they were put.
fn may_have(files: &Files, account: AccountId, one: &origins::Fetched) -> bool {
    let lies_there = || {
        files.check(account, one.space, pumasi_core::Access::Read).is_ok()
            && files.find(one.space, &one.path).is_some_and(
                |found| matches!(found.kind, FileKind::File(version) if version.blob == one.blob),
            )
    };
    files.claimed(account, &one.blob).is_some() || lies_there()
}

/// Remembers which version this was, if the server names it.
async fn note(hub: &Hub, task: &Task<'_>, place: &Place, fetched: &origins::Fetched) {
    if fetched.etag.is_empty() {
        return;
    }
    if let Err(error) = hub.downloads.origins.note(&place.to_string(), task.by, fetched) {
        tracing::warn!("cannot remember what was fetched: {error}");
    }
}
