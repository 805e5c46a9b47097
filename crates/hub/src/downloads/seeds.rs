//! What is given back of torrents that were fetched: out of the store, until enough was given or the time is over.
//!
//! ```text
//! DIR/downloads/seeds/ID.torrent   what the download ID fetched
//! DIR/downloads/seeds/ID.json      which blob each of its files is, how much was given, and until when it is
//! ```
//!
//! Who cancels a download ends this as well, and so does a file that is not stored any more. So many are given at once; others
//! wait as what lies in the folder until one ends.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::{BoxFuture, join_all};
use pumasi_blobs::{BlobError, BlobStore};
use pumasi_core::{DownloadState, State};
use pumasi_fetch::{Progress, Source, Torrent};
use pumasi_types::{DownloadId, Hash, Time};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::cell;
use crate::server::Hub;

/// How often it is noted how much was given.
const NOTED: Duration = Duration::from_secs(30);
/// Torrents that are given at once: each keeps its description in memory, up to 30 connections, and asks its trackers.
const AT_ONCE: usize = 64;

/// What a torrent brought.
pub(super) struct Seed {
    pub(super) torrent: Torrent,
    /// The numbers of its files that were fetched, and what they are.
    pub(super) files: Vec<(u32, Hash)>,
}

/// A torrent that is given.
pub(super) struct Giving {
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

/// Torrents that are given.
#[derive(Default)]
pub(super) struct All {
    now: HashMap<DownloadId, Giving>,
    /// Those that ended and could not be removed: what lies in the folder of them does not wait.
    left: HashSet<DownloadId>,
    /// The hub stops: none begins any more.
    stopping: bool,
}

impl All {
    /// Those that can begin, of some that lie in the folder.
    fn next(&self, mut found: Vec<DownloadId>) -> Vec<DownloadId> {
        found.sort_unstable();
        found.retain(|id| !self.now.contains_key(id) && !self.left.contains(id));
        found.truncate(if self.stopping { 0 } else { AT_ONCE.saturating_sub(self.now.len()) });
        found
    }
}

/// What stands in `ID.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    files: Vec<(u32, Hash)>,
    given: u64,
    until: Time,
}

/// Where a file of a torrent lies: from one of its bytes to another.
struct Place {
    start: u64,
    end: u64,
    blob: Hash,
}

/// The files of a torrent, in the store.
struct Stored {
    blobs: BlobStore,
    places: Vec<Place>,
}

impl Stored {
    fn new(blobs: &BlobStore, seed: &Seed) -> Stored {
        let kept: HashMap<u32, Hash> = seed.files.iter().copied().collect();
        let (mut places, mut start) = (Vec::new(), 0);
        for (number, file) in seed.torrent.files.iter().enumerate() {
            let end = start + file.length;
            if file.length > 0
                && let Some(blob) = kept.get(&(number as u32))
            {
                places.push(Place { start, end, blob: *blob });
            }
            start = end;
        }
        Stored { blobs: blobs.clone(), places }
    }
}

impl Source for Stored {
    fn read(&self, start: u64, length: u32) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let end = start + u64::from(length);
            let mut bytes = Vec::with_capacity(length as usize);
            let first = self.places.partition_point(|place| place.end <= start);
            for place in self.places.iter().skip(first).take_while(|place| place.start < end) {
                let range = start.max(place.start) - place.start..end.min(place.end) - place.start;
                let mut pieces = self.blobs.stream_range(&place.blob, range).await.map_err(unread)?;
                while let Some(piece) = pieces.try_next().await.map_err(unread)? {
                    bytes.extend_from_slice(&piece);
                }
            }
            let is_all = bytes.len() == length as usize;
            if is_all { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }
}

/// What is not stored any more is told from what cannot be read now.
fn unread(error: BlobError) -> io::Error {
    let is_gone = matches!(error, BlobError::NotFound { .. });
    io::Error::new(if is_gone { io::ErrorKind::NotFound } else { io::ErrorKind::Other }, error)
}

fn folder(hub: &Hub) -> PathBuf {
    hub.downloads.dir.join("seeds")
}

fn write(hub: &Hub, id: DownloadId, note: &Note) -> io::Result<()> {
    let path = folder(hub).join(format!("{id}.json"));
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(note)?)?;
    std::fs::rename(&new, &path)
}

fn remove(hub: &Hub, id: DownloadId) {
    for kind in ["json", "torrent"] {
        let path = folder(hub).join(format!("{id}.{kind}"));
        match std::fs::remove_file(&path) {
            // What is not there need not be removed.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", path.display());
                hub.downloads.giving().left.insert(id);
            }
            _ => {}
        }
    }
}

/// Begins to give what a download brought, of which some was given while it came; if anything is to be given.
pub(super) fn begin(hub: &Arc<Hub>, id: DownloadId, seed: Seed, given: u64) {
    let options = &hub.options.downloads;
    if options.seed_ratio <= 0.0 {
        return;
    }
    let time = pumasi_types::Duration::from_millis(options.seed_time.as_millis() as u64);
    let note = Note { files: seed.files.clone(), given, until: cell::now().after(time) };
    let path = folder(hub);
    let kept = std::fs::create_dir_all(&path)
        .and_then(|()| std::fs::write(path.join(format!("{id}.torrent")), seed.torrent.file()))
        .and_then(|()| write(hub, id, &note));
    if let Err(error) = kept {
        tracing::warn!("download {id} is given only until the next start: {error}");
    }
    start(hub, id, seed, note);
}

/// Goes on to give what lies in the folder and is not given, as far as there is room.
pub(super) fn resume(hub: &Arc<Hub>) {
    let found = std::fs::read_dir(folder(hub)).into_iter().flatten().flatten();
    let ids = found.filter_map(|item| item.file_name().to_str()?.strip_suffix(".json")?.parse().ok());
    let found: Vec<DownloadId> = ids.collect();
    let next = hub.downloads.giving().next(found);
    for id in next {
        match read(hub, id).filter(|_| hub.options.downloads.seed_ratio > 0.0) {
            Some((seed, note)) => start(hub, id, seed, note),
            None => remove(hub, id),
        }
    }
}

fn read(hub: &Hub, id: DownloadId) -> Option<(Seed, Note)> {
    let path = folder(hub).join(id.to_string());
    let note: Note = serde_json::from_slice(&std::fs::read(path.with_extension("json")).ok()?).ok()?;
    let torrent = Torrent::parse(&std::fs::read(path.with_extension("torrent")).ok()?).ok()?;
    Some((Seed { torrent, files: note.files.clone() }, note))
}

fn start(hub: &Arc<Hub>, id: DownloadId, seed: Seed, note: Note) {
    let progress = Arc::new(Progress::default());
    progress.given.store(note.given, Ordering::Relaxed);
    // The task waits for this lock before it takes itself out again.
    let mut all = hub.downloads.giving();
    // Another one that ended may have made this one begin, too.
    if all.next(vec![id]).is_empty() {
        return;
    }
    let task = tokio::spawn(give(Arc::clone(hub), id, seed, note, Arc::clone(&progress)));
    all.now.insert(id, Giving { progress, task });
}

async fn give(hub: Arc<Hub>, id: DownloadId, seed: Seed, mut note: Note, progress: Arc<Progress>) {
    let numbers: Vec<u32> = seed.files.iter().map(|(number, _)| *number).collect();
    let source = Arc::new(Stored::new(&hub.blobs, &seed));
    let time = Duration::from_nanos(note.until.0.saturating_sub(cell::now().0));
    {
        let client = &hub.downloads.client;
        let mut giving = pin!(client.seed(&seed.torrent, &numbers, source, time, &progress));
        loop {
            tokio::select! {
                outcome = &mut giving => {
                    tracing::debug!("download {id} was given: {outcome:?}");
                    break;
                }
                () = tokio::time::sleep(NOTED) => {
                    note.given = progress.given.load(Ordering::Relaxed);
                    if let Err(error) = write(&hub, id, &note) {
                        tracing::warn!("cannot note how much of download {id} was given: {error}");
                    }
                }
            }
        }
    }
    if progress.is_stopped() {
        return;
    }
    remove(&hub, id);
    hub.downloads.giving().now.remove(&id);
    resume(&hub);
}

/// Ends what is given of downloads that were cancelled or forgotten. `None` when the cell has stopped.
pub(super) async fn check(hub: &Arc<Hub>) -> Option<()> {
    let given: Vec<DownloadId> = hub.downloads.giving().now.keys().copied().collect();
    if given.is_empty() {
        return Some(());
    }
    let gone = move |state: &State| {
        let is_done = |id: &DownloadId| {
            let download = state.files().download(*id);
            download.is_some_and(|download| matches!(download.state, DownloadState::Done { .. }))
        };
        given.into_iter().filter(|id| !is_done(id)).collect::<Vec<_>>()
    };
    let gone = hub.cell.read(gone).await.ok()?;
    let forget = || gone.iter().for_each(|id| remove(hub, *id));
    // Before they end, so that nobody takes them for some that wait, and behind it, as they may have noted what was given.
    forget();
    join_all(gone.iter().map(|id| end(hub, *id))).await;
    forget();
    if !gone.is_empty() {
        resume(hub);
    }
    Some(())
}

/// Ends all until the hub starts again.
pub(super) async fn stop(hub: &Hub) {
    let all: Vec<DownloadId> = {
        let mut all = hub.downloads.giving();
        // One that ends by itself meanwhile makes room for nobody.
        all.stopping = true;
        all.now.keys().copied().collect()
    };
    // At once, because each takes leave of its trackers.
    let given = join_all(all.iter().map(|id| end(hub, *id))).await;
    for (id, given) in all.into_iter().zip(given) {
        if let Some(given) = given
            && let Some((_, note)) = read(hub, id)
            && let Err(error) = write(hub, id, &Note { given, ..note })
        {
            tracing::warn!("cannot note how much of download {id} was given: {error}");
        }
    }
}

/// Ends one; how much of it was given.
async fn end(hub: &Hub, id: DownloadId) -> Option<u64> {
    let Giving { progress, task } = hub.downloads.giving().now.remove(&id)?;
    progress.stop().await;
    task.abort();
    // An error means that it was ended, as it should be.
    let _ = task.await;
    Some(progress.given.load(Ordering::Relaxed))
}

/// How much of a download was given, if it is given now.
pub(super) fn given(all: &All, id: DownloadId) -> Option<u64> {
    Some(all.now.get(&id)?.progress.given.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_waits_begins_as_far_as_there_is_room_until_the_hub_stops() {
        let found = || (0..=AT_ONCE as u64).rev().map(DownloadId).collect::<Vec<_>>();
        let mut all = All::default();
        assert_eq!(all.next(found()).len(), AT_ONCE);
        let giving = Giving { progress: Arc::default(), task: tokio::spawn(async {}) };
        all.now.insert(DownloadId(0), giving);
        // It ended, and its files are there still: it would end again and again.
        all.left.insert(DownloadId(2));
        let next = all.next(found());
        assert_eq!(next[..2], [DownloadId(1), DownloadId(3)]);
        assert_eq!(next.len(), AT_ONCE - 1);
        assert!(all.next(vec![DownloadId(2)]).is_empty());
        all.stopping = true;
        assert!(all.next(found()).is_empty());
    }
}
