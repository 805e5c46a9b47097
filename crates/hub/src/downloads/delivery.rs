//! Handing files over to the space where they are wanted, in entries of the log that have a bounded number of them.
//!
//! The cell counts what was put, in the same entry. So a hub that was killed goes on behind that, and nothing comes twice.

use std::path::Path;

use pumasi_blobs::{BlobError, Writer};
use pumasi_core::{
    Bounds, Brought, Command, DownloadReport, FetchedFile, FilesCommand, FilesRefusal, Refusal, State,
};
use pumasi_types::{ByteSize, DownloadId, Hash};

use super::origins::Note;
use super::{Task, Trouble, bytes, known};
use crate::chunks::LastByte;
use crate::server::Hub;

/// What is put into the store before it is made durable, in bytes: as long as it is not, nothing is collected.
const AT_ONCE: u64 = 1 << 30;

/// A file whose bytes are in the store.
pub(super) struct Ready {
    pub(super) file: FetchedFile,
    /// Whether its bytes were there and were not fetched.
    pub(super) was_here: bool,
    /// What is remembered of where it came from.
    pub(super) notes: Vec<Note>,
}

/// Files that are being handed over.
pub(super) struct Delivery<'a> {
    hub: &'a Hub,
    task: &'a Task<'a>,
    /// How many lie there.
    lying: u32,
    files: Vec<FetchedFile>,
    saved: u64,
    notes: Vec<Note>,
    /// What puts bytes into the store now, how many it was given, and when it began.
    writer: Option<(Writer, u64, LastByte)>,
    /// Blobs that were here.
    links: Vec<Hash>,
}

impl<'a> Delivery<'a> {
    /// Goes on behind what lies there.
    pub(super) fn new(hub: &'a Hub, task: &'a Task<'a>) -> Delivery<'a> {
        let Brought { files: lying, .. } = task.brought;
        let (files, notes, links) = (Vec::new(), Vec::new(), Vec::new());
        Delivery { hub, task, lying, files, saved: 0, notes, writer: None, links }
    }

    /// Counts bytes that were not fetched, of files that were partly here.
    pub(super) fn saved(&mut self, bytes: u64) {
        self.saved += bytes;
    }

    /// Puts so many bytes of a file from `start` on into the store; their name and their SHA-256.
    pub(super) async fn keep(
        &mut self,
        path: &Path,
        start: u64,
        length: u64,
    ) -> Result<(Hash, Hash), Trouble> {
        if self.writer.as_ref().is_some_and(|(_, given, _)| *given >= AT_ONCE) {
            self.make_durable().await?;
        }
        let begin = || (self.hub.blobs.writer(), 0, LastByte::now());
        let (writer, given, _) = self.writer.get_or_insert_with(begin);
        *given = given.saturating_add(length);
        bytes::keep(writer, path, start, length).await
    }

    async fn make_durable(&mut self) -> Result<(), Trouble> {
        if let Some((writer, _, begun)) = self.writer.take() {
            let tally = writer.finish().await?;
            // Whoever has it fetched what he guesses must not tell from the time whether somebody keeps it.
            self.hub.chunks.fetched.settle(&begun, &tally).await;
        }
        Ok(())
    }

    /// The next file.
    pub(super) async fn add(&mut self, ready: Ready) -> Result<(), Trouble> {
        if self.files.len() >= Bounds::FILES {
            let (from, files) = (self.lying, std::mem::take(&mut self.files));
            let (count, saved) = (files.len() as u32, ByteSize(std::mem::take(&mut self.saved)));
            self.report(DownloadReport::Part { from, files, saved }).await?;
            self.lying += count;
        }
        let Ready { file, was_here, notes } = ready;
        if was_here {
            self.saved += file.2.0;
            self.links.push(file.1);
        }
        self.files.push(file);
        self.notes.extend(notes);
        Ok(())
    }

    /// All are there.
    pub(super) async fn finish(mut self) -> Result<(), Trouble> {
        let files = std::mem::take(&mut self.files);
        let saved = ByteSize(self.saved);
        self.report(DownloadReport::Done { files, saved }).await
    }

    async fn report(&mut self, report: DownloadReport) -> Result<(), Trouble> {
        let (hub, task) = (self.hub, self.task);
        self.make_durable().await?;
        let linked = hub.blobs.link_many(&std::mem::take(&mut self.links)).await;
        linked.map_err(|error| match error {
            BlobError::NotFound { .. } => {
                Trouble { reason: "what was here went meanwhile".to_owned(), again: true }
            }
            error => Trouble::of_hub(&error),
        })?;
        // Before anybody sees that it is done, and asks for the same again.
        known::note(hub, task.by, std::mem::take(&mut self.notes)).await;
        tell(hub, task.id, report).await.map_err(|untold| untold.trouble(self.lying))
    }
}

/// Why the cell was not told.
pub(super) enum Untold {
    Refused(Refusal),
    Failed(crate::cell::CellError),
}

impl Untold {
    /// What becomes of a download of which so many files lie there.
    pub(super) fn trouble(self, lying: u32) -> Trouble {
        let refusal = match self {
            Untold::Refused(refusal) => refusal,
            Untold::Failed(error) => return Trouble::of_hub(&error),
        };
        let again = match &refusal {
            // Room can be made, and what came need not be fetched again. At first it is told at once.
            Refusal::Files(FilesRefusal::QuotaExceeded { .. }) => lying > 0,
            // Somebody paused it.
            Refusal::Files(FilesRefusal::WrongDownloadState { .. }) => true,
            _ => false,
        };
        let reason = match lying {
            0 => refusal.to_string(),
            1 => format!("one file lies there, and the next could not be put: {refusal}"),
            _ => format!("{lying} files lie there, and the next could not be put: {refusal}"),
        };
        Trouble { reason, again }
    }
}

/// Tells the cell what became of a download.
pub(super) async fn tell(hub: &Hub, download: DownloadId, report: DownloadReport) -> Result<(), Untold> {
    let command = Command::Files(FilesCommand::ReportDownload { download, report });
    match hub.cell.ask(State::SYSTEM, None, command).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(Untold::Refused(refusal)),
        Err(error) => Err(Untold::Failed(error)),
    }
}
