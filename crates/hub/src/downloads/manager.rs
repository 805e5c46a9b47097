//! Who is served when: begins downloads that wait for their turn, and ends those that nobody wants any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pumasi_core::{
    Command, Download, DownloadReport, DownloadSource, DownloadSpec, DownloadState, Files, FilesCommand,
    State,
};
use pumasi_fetch::Progress;
use pumasi_types::{AccountId, ByteSize, DownloadId, Time};

use super::{Brought, Run, Trouble, is_magnet, seeds, swarm, web};
use crate::cell;
use crate::server::Hub;

/// How often it is looked whether one that waits to be tried again is due.
const TICK: Duration = Duration::from_secs(2);
/// How many looks lie between two that also find folders of downloads that are over.
const SWEEP: u32 = 300;

/// Fetches until the hub stops.
pub(super) async fn run(hub: &Arc<Hub>) {
    let mut looks = 0_u32;
    seeds::resume(hub);
    loop {
        let is_due = looks.is_multiple_of(SWEEP);
        if is_due && sweep(hub).await.is_none() || seeds::check(hub).await.is_none() {
            break;
        }
        looks = looks.wrapping_add(1);
        let busy: HashMap<DownloadId, AccountId> =
            hub.downloads.running().iter().map(|(id, run)| (*id, run.owner)).collect();
        let (at_once, each) = (hub.options.downloads.at_once, hub.options.downloads.each);
        let look = move |state: &State| look(state.files(), &busy, cell::now(), (at_once, each));
        // When the cell has stopped there is nothing to fetch any more.
        let Ok(found) = hub.cell.read(look).await else { break };
        for (id, keep) in found.ended {
            end(hub, id, keep).await;
        }
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
    for id in all {
        end(hub, id, true).await;
    }
    seeds::stop(hub).await;
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
        Some(DownloadState::Waiting(_) | DownloadState::Running) => None,
        Some(DownloadState::Paused) => Some((*id, true)),
        Some(DownloadState::Done { .. } | DownloadState::Failed { .. }) | None => Some((*id, false)),
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
    match tokio::fs::remove_dir_all(&folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", folder.display());
        }
        _ => {}
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

/// Brings a download, and reports what became of it.
async fn serve(hub: Arc<Hub>, id: DownloadId, download: Download, progress: Arc<Progress>) {
    let started = match download.state {
        DownloadState::Running => true,
        _ => report(&hub, id, DownloadReport::Started).await.is_ok(),
    };
    if started {
        let brought = match bring(&hub, id, &download, &progress).await {
            Ok(Brought { files, saved, seed }) => {
                let told = report(&hub, id, DownloadReport::Done { files, saved }).await;
                if let Some(seed) = seed.filter(|_| told.is_ok()) {
                    seeds::begin(&hub, id, seed, progress.given.load(Ordering::Relaxed));
                }
                told
            }
            Err(trouble) => Err(trouble),
        };
        let keep = brought.as_ref().is_err_and(|trouble| trouble.again);
        if let Err(Trouble { reason, again }) = brought {
            tracing::debug!("download {id} failed: {reason}");
            // Refused when somebody paused or cancelled it meanwhile: then nobody wants to know.
            let _ = report(&hub, id, DownloadReport::Failed { reason, again }).await;
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
) -> Result<Brought, Trouble> {
    let Download { by, spec, .. } = download;
    let limit = room(hub, spec).await?;
    let task = web::Task { id, by: *by, spec, limit };
    match &spec.source {
        DownloadSource::Url(url) if !is_magnet(url) => web::bring(hub, &task, url, progress).await,
        DownloadSource::Url(_) | DownloadSource::Torrent(_) => swarm::bring(hub, &task, progress).await,
    }
}

/// How many bytes there is room for.
async fn room(hub: &Hub, spec: &DownloadSpec) -> Result<ByteSize, Trouble> {
    let space = spec.space;
    let left = hub.cell.read(move |state| {
        state.files().space(space).map(|space| space.quota.0.saturating_sub(space.used.0))
    });
    let left = left.await.map_err(|error| Trouble::of_hub(&error))?;
    let left =
        left.ok_or_else(|| Trouble::for_good("the space where it should be put is not there any more"))?;
    match left.min(spec.limit.0).min(hub.options.downloads.limit.0) {
        0 if spec.limit.0 > 0 => Err(Trouble::for_good(
            "the space where it should be put is full: empty its trash, remove something, or ask an operator for more",
        )),
        room => Ok(ByteSize(room)),
    }
}

/// Tells the cell what became of a download.
async fn report(hub: &Hub, download: DownloadId, report: DownloadReport) -> Result<(), Trouble> {
    let command = Command::Files(FilesCommand::ReportDownload { download, report });
    match hub.cell.ask(State::SYSTEM, None, command).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(Trouble::for_good(refusal.to_string())),
        Err(error) => Err(Trouble::of_hub(&error)),
    }
}
