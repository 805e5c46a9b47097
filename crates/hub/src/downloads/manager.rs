//! Who is served when: begins downloads that wait for their turn, and ends those that nobody wants any more.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use pumasi_core::{
    Brought, Download, DownloadReport, DownloadSource, DownloadSpec, DownloadState, Files, State,
};
use pumasi_fetch::Progress;
use pumasi_types::{AccountId, ByteSize, DownloadId, Time};

use super::delivery::tell;
use super::seeds::Seed;
use super::{Run, Task, Trouble, is_magnet, seeds, swarm, web};
use crate::cell;
use crate::server::Hub;

/// How often it is looked whether one that waits to be tried again is due.
const TICK: Duration = Duration::from_secs(2);
/// How many looks lie between two that also find folders of downloads that are over.
const SWEEP: u32 = 300;
/// How often it is tried to remove a folder into which something may be written still, and the pause between two tries.
const REMOVE_TRIES: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// Fetches until the hub stops.
pub(super) async fn run(hub: &Arc<Hub>) {
    let mut looks = 0_u32;
    seeds::resume(hub);
    loop {
        let busy: HashMap<DownloadId, AccountId> =
            hub.downloads.running().iter().map(|(id, run)| (*id, run.owner)).collect();
        let (at_once, each) = (hub.options.downloads.at_once, hub.options.downloads.each);
        let look = move |state: &State| look(state.files(), &busy, cell::now(), (at_once, each));
        // When the cell has stopped there is nothing to fetch any more.
        let Ok(found) = hub.cell.read(look).await else { break };
        // At once, because a swarm takes leave of its trackers.
        join_all(found.ended.into_iter().map(|(id, keep)| end(hub, id, keep))).await;
        let is_given_up = hub.downloads.given_up.swap(false, Ordering::Relaxed);
        let is_due = is_given_up || looks.is_multiple_of(SWEEP);
        if is_due && sweep(hub).await.is_none() || seeds::check(hub).await.is_none() {
            break;
        }
        looks = looks.wrapping_add(1);
        for (id, download) in found.ready {
            begin(hub, id, download);
        }
        tokio::select! {
            () = hub.downloads.wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            () = hub.stopping() => break,
        }
    }
    let all: Vec<DownloadId> = hub.downloads.running().keys().copied().collect();
    let ended = join_all(all.into_iter().map(|id| end(hub, id, true)));
    tokio::join!(ended, seeds::stop(hub));
}

/// What a look found.
struct Found {
    /// What can be begun.
    ready: Vec<(DownloadId, Download)>,
    /// What is not wanted any more, and whether it may be wanted again.
    ended: Vec<(DownloadId, bool)>,
}

/// What is to be done, with so many at once, and so many of each account. Those asked for first come first.
fn look(
    files: &Files,
    busy: &HashMap<DownloadId, AccountId>,
    now: Time,
    (at_once, each): (usize, usize),
) -> Found {
    let ended = busy.keys().filter_map(|id| match files.download(*id).map(|download| &download.state) {
        Some(DownloadState::Paused) => Some((*id, true)),
        None => Some((*id, false)),
        // One that is over has said so itself, and ends by itself.
        Some(_) => None,
    });
    let mut counts: HashMap<AccountId, usize> = HashMap::new();
    busy.values().for_each(|owner| *counts.entry(*owner).or_default() += 1);
    let is_due = |download: &Download| match download.state {
        DownloadState::Waiting(until) => until.is_none_or(|until| until <= now),
        DownloadState::Running => true,
        _ => false,
    };
    let due = files.open_downloads().filter(|(id, download)| is_due(download) && !busy.contains_key(id));
    let mut due: Vec<_> = due.collect();
    due.sort_unstable_by_key(|(id, _)| *id);
    let turn = due.into_iter().filter(|(_, download)| {
        let count = counts.entry(download.by).or_default();
        *count += 1;
        *count <= each
    });
    let ready = turn.take(at_once.saturating_sub(busy.len())).map(|(id, download)| (id, download.clone()));
    Found { ready: ready.collect(), ended: ended.collect() }
}

fn begin(hub: &Arc<Hub>, id: DownloadId, download: Download) {
    let (owner, progress) = (download.by, Arc::new(Progress::default()));
    // The task waits for this lock before it takes itself out again.
    let mut running = hub.downloads.running();
    let task = tokio::spawn(serve(Arc::clone(hub), id, download, Arc::clone(&progress)));
    running.insert(id, Run { owner, progress, task });
}

/// Ends a download that runs.
async fn end(hub: &Hub, id: DownloadId, keep: bool) {
    let run = hub.downloads.running().remove(&id);
    if let Some(run) = run {
        run.progress.stop().await;
        run.task.abort();
        // An error means that it was ended, as it should be.
        let _ = run.task.await;
    }
    if !keep {
        remove(hub, id).await;
    }
}

/// Removes what came of a download.
async fn remove(hub: &Hub, id: DownloadId) {
    let folder = hub.downloads.folder(id);
    for left in (0..REMOVE_TRIES).rev() {
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            // A write that had begun ends after the task that began it, and may make a file anew.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && left > 0 => {
                tokio::time::sleep(REMOVE_PAUSE).await;
            }
            Err(error) => return tracing::warn!("cannot remove {}: {error}", folder.display()),
            Ok(()) => return,
        }
    }
}

/// Removes what is left of downloads that are over. `None` when the cell has stopped.
async fn sweep(hub: &Hub) -> Option<()> {
    let found = std::fs::read_dir(&hub.downloads.dir).into_iter().flatten().flatten();
    let mut here: HashSet<DownloadId> =
        found.filter_map(|item| item.file_name().to_str()?.parse().ok()).collect();
    let left = move |state: &State| {
        here.retain(|id| {
            let download = state.files().download(*id).map(|download| &download.state);
            !matches!(
                download,
                Some(DownloadState::Waiting(_) | DownloadState::Running | DownloadState::Paused)
            )
        });
        here
    };
    for id in hub.cell.read(left).await.ok()? {
        remove(hub, id).await;
    }
    Some(())
}

/// Brings a download, and reports what became of it; what it brought may then be given to others.
async fn serve(hub: Arc<Hub>, id: DownloadId, download: Download, progress: Arc<Progress>) {
    let started = match download.state {
        DownloadState::Running => true,
        _ => tell(&hub, id, DownloadReport::Started).await.is_ok(),
    };
    if started {
        let brought = bring(&hub, id, &download, &progress).await;
        // Whoever ended it knows.
        if brought.is_err() && progress.is_stopped() {
            return;
        }
        let keep = brought.as_ref().is_err_and(|trouble| trouble.again);
        match brought {
            Ok(seed) => {
                let given = progress.given.load(Ordering::Relaxed);
                seed.into_iter().for_each(|seed| seeds::begin(&hub, id, seed, given));
            }
            Err(Trouble { reason, again }) => {
                tracing::debug!("download {id} failed: {reason}");
                // Refused when somebody paused or cancelled it meanwhile: then nobody wants to know.
                let _ = tell(&hub, id, DownloadReport::Failed { reason, again }).await;
            }
        }
        if !keep {
            remove(&hub, id).await;
        }
    }
    hub.downloads.running().remove(&id);
    hub.downloads.over.send_modify(|count| *count += 1);
    hub.downloads.look();
}

async fn bring(
    hub: &Hub,
    id: DownloadId,
    download: &Download,
    progress: &Progress,
) -> Result<Option<Seed>, Trouble> {
    let Download { by, spec, brought, .. } = download;
    let limit = room(hub, spec, *brought).await?;
    let task = Task { id, by: *by, spec, limit, brought: *brought };
    match &spec.source {
        DownloadSource::Url(url) if !is_magnet(url) => {
            web::bring(hub, &task, url, progress).await.map(|()| None)
        }
        DownloadSource::Url(_) | DownloadSource::Torrent(_) => swarm::bring(hub, &task, progress).await,
    }
}

/// How many bytes there is room for, with those that lie there.
async fn room(hub: &Hub, spec: &DownloadSpec, brought: Brought) -> Result<ByteSize, Trouble> {
    let space = spec.space;
    let left = hub.cell.read(move |state| {
        state.files().space(space).map(|space| space.quota.0.saturating_sub(space.used.0))
    });
    let left = left.await.map_err(|error| Trouble::of_hub(&error))?;
    let left =
        left.ok_or_else(|| Trouble::for_good("the space where it should be put is not there any more"))?;
    if left == 0 && spec.limit.0 > 0 {
        let reason = "the space where it should be put is full: empty its trash, remove something, or ask an operator for more";
        // What came of many files is kept until there is room for the rest.
        return Err(Trouble { reason: reason.to_owned(), again: brought.files > 0 });
    }
    let room = left.saturating_add(brought.bytes.0);
    Ok(ByteSize(room.min(spec.limit.0).min(hub.options.downloads.limit.0)))
}
