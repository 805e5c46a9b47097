//! Downloads from swarms: torrent files and magnet links.

use std::path::Path;
use std::sync::Arc;

use pumasi_core::{About, DownloadSource};
use pumasi_fetch::{Layout, Magnet, Progress, TORRENT_BYTES, Torrent};
use pumasi_types::{ByteSize, FilePath, Hash};

use super::delivery::{Delivery, Ready};
use super::origins::{Fetched, Listing, Note, Source};
use super::seeds::Seed;
use super::{Task, Trouble, alike, known};
use crate::Deduplicate;
use crate::server::Hub;

/// A file of a torrent that is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    number: u32,
    /// In the folder of the download.
    path: FilePath,
    size: ByteSize,
    /// Its bytes, if they are here.
    here: Option<Fetched>,
}

/// Where bytes are that came from a swarm.
struct Came<'a> {
    /// All files of the torrent behind each other, in the folder of the download.
    folder: &'a Path,
    layout: Layout,
    /// How many of them were here.
    saved: u64,
}

/// Fetches the chosen files of a torrent; those that are here are linked. What may be given to others: nothing, if nobody gave
/// anything of it.
pub(super) async fn bring(hub: &Hub, task: &Task<'_>, progress: &Progress) -> Result<Option<Seed>, Trouble> {
    let folder = hub.downloads.folder(task.id);
    let torrent = match &task.spec.source {
        DownloadSource::Torrent(blob) => read(hub, blob).await?,
        DownloadSource::Url(url) => {
            let magnet = Magnet::parse(url).map_err(|bad| Trouble::for_good(bad.to_string()))?;
            if let Some(wanted) = fetched_before(hub, task, magnet.info_hash).await {
                check_room(task, &wanted)?;
                return hand_over(hub, task, magnet.info_hash, wanted, None).await.map(|_| None);
            }
            hub.downloads.client.describe(&magnet, &folder).await?
        }
    };
    let torrent = Arc::new(torrent);
    let mut wanted = wanted(hub, task, &torrent).await?;
    check_room(task, &wanted)?;
    note_listing(hub, task, &torrent).await;
    let layout = torrent.layout();
    let chosen = missing(task, &mut wanted).iter().map(|(number, _)| *number as usize).collect::<Vec<_>>();
    // Pieces come whole, with what lies in them of files that nobody wants.
    check_bytes(task, "the pieces of its files", layout.bytes_of_pieces(chosen))?;
    let saved = alike::link(hub, task, &torrent, &folder, &mut missing(task, &mut wanted)).await?;
    let numbers: Vec<u32> = missing(task, &mut wanted).iter().map(|(number, _)| *number).collect();
    if !numbers.is_empty() {
        hub.downloads.client.fetch_torrent(&torrent, &numbers, &folder, progress).await?;
    }
    let came = Came { folder: &folder, layout, saved };
    let files = hand_over(hub, task, torrent.info_hash, wanted, Some(came)).await?;
    Ok((!numbers.is_empty()).then(|| Seed { torrent: Arc::unwrap_or_clone(torrent), files }))
}

/// The files whose bytes must come from somewhere: neither put already nor here, nor empty.
fn missing<'a>(task: &Task<'_>, wanted: &'a mut [Wanted]) -> Vec<alike::Missing<'a>> {
    let left = wanted.iter_mut().skip(task.brought.files as usize);
    let missing = left.filter(|file| file.here.is_none() && file.size.0 > 0);
    missing.map(|file| (file.number, &mut file.here)).collect()
}

/// Whether the files have room, those that lie there already among them.
fn check_room(task: &Task<'_>, wanted: &[Wanted]) -> Result<(), Trouble> {
    check_bytes(task, "its files", wanted.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size.0)))
}

/// Whether there is room for so many bytes.
fn check_bytes(task: &Task<'_>, of: &str, bytes: u64) -> Result<(), Trouble> {
    if bytes <= task.limit.0 {
        return Ok(());
    }
    let reason = format!("{of} have {}, and there is room for {}", ByteSize(bytes), task.limit);
    Err(Trouble { reason, again: task.brought.files > 0 })
}

/// The chosen files, with what is here of them because it was fetched before.
async fn wanted(hub: &Hub, task: &Task<'_>, torrent: &Torrent) -> Result<Vec<Wanted>, Trouble> {
    let chosen = torrent.chosen(&task.spec.files).map_err(|bad| Trouble::for_good(bad.to_string()))?;
    let numbers: Vec<u32> = chosen.iter().map(|(number, _)| *number as u32).collect();
    let here = here(hub, task, torrent.info_hash, torrent.is_private, &numbers).await;
    let files = numbers.into_iter().zip(chosen).zip(here);
    let file =
        |((number, (_, file)), here): ((u32, (usize, &pumasi_fetch::TorrentFile)), Option<Fetched>)| {
            let path: FilePath =
                file.names.join("/").parse().map_err(|bad| Trouble::for_good(format!("{bad}")))?;
            let size = ByteSize(file.length);
            Ok(Wanted { number, path, size, here: here.filter(|here| here.size == size) })
        };
    files.map(file).collect()
}

/// Files of a torrent that are here because they were fetched before; by anybody with `serve --deduplicate all`, if the
/// torrent is not a private one.
async fn here(
    hub: &Hub,
    task: &Task<'_>,
    info_hash: [u8; 20],
    is_private: bool,
    numbers: &[u32],
) -> Vec<Option<Fetched>> {
    let all = hub.options.deduplicate == Deduplicate::All && !is_private;
    let sources = numbers.iter().map(|number| Source::TorrentFile(info_hash, *number)).collect();
    known::here(hub, task.by, sources, all).await
}

/// All chosen files of a torrent that is known by its info-hash only, if all are here: then no peer is needed.
async fn fetched_before(hub: &Hub, task: &Task<'_>, info_hash: [u8; 20]) -> Option<Vec<Wanted>> {
    let all = hub.options.deduplicate == Deduplicate::All;
    let listings: Vec<Listing> =
        known::remembered(hub, task.by, vec![Source::Torrent(info_hash)], all).await.pop()?;
    let Listing { files, padding, private } = listings.first().copied()?;
    let numbers: Vec<u32> =
        if task.spec.files.is_empty() { (0..files).collect() } else { task.spec.files.clone() };
    let here = here(hub, task, info_hash, private, &numbers).await;
    let file = |(number, here): (u32, Option<Fetched>)| {
        let here = here?;
        Some(Wanted { number, path: here.name.parse().ok()?, size: here.size, here: Some(here) })
    };
    let count = numbers.len();
    let wanted: Vec<Wanted> = numbers.into_iter().zip(here).filter_map(file).collect();
    let padding = if task.spec.files.is_empty() { padding as usize } else { 0 };
    (wanted.len() + padding == count).then_some(wanted)
}

/// Remembers what a magnet link does not tell.
async fn note_listing(hub: &Hub, task: &Task<'_>, torrent: &Torrent) {
    let padding = torrent.files.iter().filter(|file| file.is_padding).count() as u32;
    let listing = Listing { files: torrent.files.len() as u32, padding, private: torrent.is_private };
    known::note(hub, task.by, vec![Note::of(&Source::Torrent(torrent.info_hash), &listing)]).await;
}

/// Hands all files over that do not lie there yet: those that are here as they are, others from what came. The numbers of all
/// files, and what they are, as far as that is known of those that lie there already.
async fn hand_over(
    hub: &Hub,
    task: &Task<'_>,
    info_hash: [u8; 20],
    wanted: Vec<Wanted>,
    came: Option<Came<'_>>,
) -> Result<Vec<(u32, Hash)>, Trouble> {
    let mut delivery = Delivery::new(hub, task);
    let lying = wanted.iter().take(task.brought.files as usize);
    let known = lying.filter_map(|file| Some((file.number, file.here.as_ref()?.blob)));
    let mut files: Vec<(u32, Hash)> = known.collect();
    if task.brought.files == 0 {
        delivery.saved(came.as_ref().map_or(0, |came| came.saved));
    }
    for file in wanted.into_iter().skip(task.brought.files as usize) {
        let Wanted { number, path, size, here } = file;
        let was_here = here.is_some();
        let (blob, sha256) = match (here, &came) {
            (Some(here), _) => (here.blob, here.sha256),
            (None, Some(came)) => {
                let start = came.layout.file(number as usize).start;
                let (blob, sum) = delivery.keep(&came.folder.join("body"), start, size.0).await?;
                (blob, Some(sum))
            }
            (None, None) => return Err(Trouble::of_hub(&"a file is neither here nor did it come")),
        };
        let fetched = Fetched {
            etag: String::new(),
            blob,
            size,
            sha256,
            name: path.to_string(),
            media_type: None,
            changed_s: None,
            space: task.spec.space,
            path: task.spec.path.join(path.as_str()).unwrap_or_default(),
        };
        let sum = sha256.map(|sum| Note::of(&Source::Sum(sum), &fetched));
        let notes = sum.into_iter().chain([Note::of(&Source::TorrentFile(info_hash, number), &fetched)]);
        let (notes, file) = (notes.collect(), (path, blob, size, About::default()));
        files.push((number, blob));
        delivery.add(Ready { file, was_here, notes }).await?;
    }
    delivery.finish().await?;
    Ok(files)
}

/// The torrent file that was handed over.
async fn read(hub: &Hub, blob: &Hash) -> Result<Torrent, Trouble> {
    let size = hub.blobs.size(blob).map_err(|error| Trouble::of_hub(&error))?;
    if size.is_some_and(|size| size.0 > TORRENT_BYTES as u64) {
        return Err(Trouble::for_good("it is longer than a torrent file can be"));
    }
    let bytes = hub.blobs.get(blob).await.map_err(|error| Trouble::of_hub(&error))?;
    // One of 16 MiB takes a while.
    let read = tokio::task::spawn_blocking(move || Torrent::parse(&bytes)).await;
    read.map_err(|error| Trouble::of_hub(&error))?.map_err(|bad| Trouble::for_good(bad.to_string()))
}
