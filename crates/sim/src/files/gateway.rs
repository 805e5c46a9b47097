//! What the hub does with files by itself: it sees bytes come, fetches files, and lets visitors in.

use pumasi_core::{
    About, Bounds, Command, DownloadReport, DownloadSource, DownloadSpec, DownloadState, FetchedFile,
    FilesCommand, Request, State,
};
use pumasi_types::{ByteSize, DownloadId, Hash, LinkId};

use super::{BLOBS, blob, size};
use crate::dice::Dice;

/// What the gateway saw come before it hands a request on: the bytes of its files and parts, and what it put together of
/// parts.
pub(crate) fn seen(state: &State, request: &Request) -> Vec<Command> {
    let Command::Files(command) = &request.command else { return Vec::new() };
    let account = request.caller;
    let (blobs, joined): (Vec<Hash>, Vec<Hash>) = match command {
        FilesCommand::PutFiles { files, .. } => (files.iter().map(|file| file.blob).collect(), Vec::new()),
        FilesCommand::PutPart { blob, .. } => (vec![*blob], Vec::new()),
        // Some name a torrent that they never sent.
        FilesCommand::AddDownload(DownloadSpec { source: DownloadSource::Torrent(torrent), .. })
            if torrent.as_bytes()[0] < 128 =>
        {
            (vec![*torrent], Vec::new())
        }
        FilesCommand::FinishUpload { upload, file } => {
            let parts = state.files().upload(*upload).into_iter().flat_map(|upload| upload.parts.values());
            let parts = parts.map(|part| part.blob).filter(|part| *part != file.blob);
            (vec![file.blob], parts.collect())
        }
        _ => return Vec::new(),
    };
    let blobs = blobs.into_iter().map(|blob| (blob, size(&blob))).collect();
    let mut done = vec![Command::Files(FilesCommand::Claim { account, blobs })];
    if !joined.is_empty() {
        done.push(Command::Files(FilesCommand::Joined { account, parts: joined }));
    }
    done
}

/// Somebody comes with the secret of a link, which may be over.
pub(crate) fn visit(state: &State, dice: &mut Dice) -> Option<Command> {
    let files = state.files();
    let links = files.spaces().keys().flat_map(|space| files.links(*space)).map(|(link, _)| link);
    let links: Vec<LinkId> = links.collect();
    if links.is_empty() {
        return None;
    }
    Some(Command::Files(FilesCommand::UseLink { link: *dice.pick(&links) }))
}

/// How many files a download has; some have more than an entry of the log takes.
pub(super) fn files_of(download: DownloadId) -> u32 {
    let dice = u32::from(Hash::of(&download.0.to_le_bytes()).as_bytes()[0]);
    if dice < 16 { 2_000 + dice } else { dice % 40 }
}

/// A file of a download: no other download has one of its name.
fn fetched(download: DownloadId, number: u32) -> FetchedFile {
    let path = format!("fetched-{download}/{number}").parse().unwrap_or_default();
    let blob = blob((download.0 + u64::from(number)) % BLOBS);
    (path, blob, size(&blob), About::default())
}

/// What the hub reports next of what it fetches, as it does that looks at the state: perhaps what it has reported already.
pub(crate) fn report(state: &State, dice: &mut Dice) -> Option<Command> {
    let open: Vec<_> = state.files().open_downloads().collect();
    if open.is_empty() {
        return None;
    }
    let (download, known) = *dice.pick(&open);
    let (lying, all) = (known.brought.files, files_of(download));
    let report = match known.state {
        DownloadState::Paused => return None,
        DownloadState::Waiting(_) => DownloadReport::Started,
        _ if dice.once_in(8) => {
            DownloadReport::Failed { reason: "no answer".to_owned(), again: !dice.once_in(4) }
        }
        _ => {
            // A hub that does not know whether it was heard says it again.
            let from = if dice.once_in(6) { lying.saturating_sub(dice.spread(1, 40) as u32) } else { lying };
            let some = if all > 1_000 { Bounds::FILES as u32 } else { dice.spread(1, 40) as u32 };
            let to = all.min(from + some);
            let files: Vec<FetchedFile> = (from..to).map(|number| fetched(download, number)).collect();
            let saved = ByteSize(0);
            if to == all && from == lying {
                DownloadReport::Done { files, saved }
            } else {
                DownloadReport::Part { from, files, saved }
            }
        }
    };
    Some(Command::Files(FilesCommand::ReportDownload { download, report }))
}
