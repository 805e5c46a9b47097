//! Downloads from swarms: torrent files and magnet links.

use pumasi_core::{About, Bounds, DownloadSource};
use pumasi_fetch::{Magnet, Progress, TORRENT_BYTES, Torrent};
use pumasi_types::{ByteSize, FilePath, Hash};

use super::bytes::bytes_of;
use super::seeds::Seed;
use super::web::Task;
use super::{Brought, Trouble};
use crate::server::Hub;

/// Fetches the chosen files of a torrent.
pub(super) async fn bring(hub: &Hub, task: &Task<'_>, progress: &Progress) -> Result<Brought, Trouble> {
    let folder = hub.downloads.folder(task.id);
    let client = &hub.downloads.client;
    let torrent = match &task.spec.source {
        DownloadSource::Url(url) => {
            let magnet = Magnet::parse(url).map_err(|bad| Trouble::for_good(bad.to_string()))?;
            client.describe(&magnet, &folder).await?
        }
        DownloadSource::Torrent(blob) => read(hub, blob).await?,
    };
    let numbers = &task.spec.files;
    let chosen = torrent.chosen(numbers).map_err(|bad| Trouble::for_good(bad.to_string()))?;
    let length = chosen.iter().fold(0_u64, |sum, (_, file)| sum.saturating_add(file.length));
    if length > task.limit.0 {
        let (length, limit) = (ByteSize(length), task.limit);
        return Err(Trouble::for_good(format!("its files have {length}, and there is room for {limit}")));
    }
    if chosen.len() > Bounds::FILES {
        let (count, most) = (chosen.len(), Bounds::FILES);
        let reason =
            format!("it has {count} files, and one download brings {most} at most: choose some of them");
        return Err(Trouble::for_good(reason));
    }
    let body = client.fetch_torrent(&torrent, numbers, &folder, progress).await?;
    let (mut files, mut kept) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
    for (number, file) in chosen {
        let start = torrent.files[..number].iter().map(|before| before.length).sum();
        let size = ByteSize(file.length);
        let stored = hub.blobs.put_stream(bytes_of(&body, start, size.0), size).await;
        let (blob, stored) = stored.map_err(|error| Trouble::of_hub(&error))?;
        if stored != size {
            return Err(Trouble::of_hub(&"what came of a torrent is shorter than it was"));
        }
        let path: Result<FilePath, _> = file.names.join("/").parse();
        let path = path.map_err(|bad| Trouble::for_good(bad.to_string()))?;
        files.push((path, blob, size, About::default()));
        kept.push((number as u32, blob));
    }
    Ok(Brought { files, saved: ByteSize(0), seed: Some(Seed { torrent, files: kept }) })
}

/// The torrent file that was handed over.
async fn read(hub: &Hub, blob: &Hash) -> Result<Torrent, Trouble> {
    let size = hub.blobs.size(blob).map_err(|error| Trouble::of_hub(&error))?;
    if size.is_some_and(|size| size.0 > TORRENT_BYTES as u64) {
        return Err(Trouble::for_good("it is longer than a torrent file can be"));
    }
    let bytes = hub.blobs.get(blob).await.map_err(|error| Trouble::of_hub(&error))?;
    Torrent::parse(&bytes).map_err(|bad| Trouble::for_good(bad.to_string()))
}
