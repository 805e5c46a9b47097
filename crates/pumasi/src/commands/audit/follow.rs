//! The hub's log on its way through three stages: downloaded, decoded, applied.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pumasi_api::client::{ClientError, HubClient};
use pumasi_audit::{AuditError, Auditor, Decoded, Finding, Reader};
use pumasi_log::Seq;
use pumasi_proof::Accepted;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::failed;
use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// Pieces that may wait between two stages.
const WAITING: usize = 8;
/// How much work an end without farewell may cost.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// A checkpoint and the log up to it.
pub(super) struct Round {
    /// The checkpoint and who signed it.
    pub(super) accepted: Accepted,
    /// What was applied.
    pub(super) applied: Applied,
}

/// What was applied in one go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Applied {
    pub(super) entries: u64,
    pub(super) commands: u64,
    pub(super) took: Duration,
}

impl Applied {
    /// Commands a second; 0 when nothing was applied.
    pub(super) fn commands_per_s(&self) -> f64 {
        if self.commands == 0 { 0.0 } else { self.commands as f64 / self.took.as_secs_f64() }
    }
}

/// Entries as they come from the hub.
struct Incoming {
    batches: mpsc::Receiver<Result<Vec<Decoded>, AuditError>>,
    download: JoinHandle<Result<(), ClientError>>,
    decoding: JoinHandle<Result<(), AuditError>>,
}

impl Incoming {
    /// Asks for the log from an entry on. Both stages end when this is dropped.
    fn start(client: &HubClient, from: Seq) -> Incoming {
        let (chunks, incoming) = mpsc::channel(WAITING);
        let (decoded, batches) = mpsc::channel(WAITING);
        let download = tokio::spawn(download(client.clone(), from, chunks));
        let decoding = tokio::task::spawn_blocking(move || decode(incoming, &decoded));
        Incoming { batches, download, decoding }
    }

    /// The next entries; none at the log's end.
    async fn next(&mut self) -> Result<Result<Option<Vec<Decoded>>, Box<Finding>>, CliError> {
        let batch = match self.batches.recv().await {
            Some(batch) => batch.map(Some),
            None => {
                let downloaded = joined((&mut self.download).await);
                downloaded.map_err(CliError::hub("read the hub's log"))?;
                joined((&mut self.decoding).await).map(|()| None)
            }
        };
        found(batch)
    }
}

/// What a stage came to; its panic is ours.
fn joined<T>(result: Result<T, JoinError>) -> T {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Takes a finding out of the errors.
fn found<T>(result: Result<T, AuditError>) -> Result<Result<T, Box<Finding>>, CliError> {
    match result {
        Err(AuditError::Found(finding)) => Ok(Err(finding)),
        result => result.map(Ok).map_err(failed),
    }
}

async fn download(client: HubClient, from: Seq, to: mpsc::Sender<Bytes>) -> Result<(), ClientError> {
    let mut download = client.stream(&format!("/v1/log?from={from}")).await?;
    while let Some(bytes) = download.next().await? {
        if to.send(bytes).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn decode(
    mut chunks: mpsc::Receiver<Bytes>,
    to: &mpsc::Sender<Result<Vec<Decoded>, AuditError>>,
) -> Result<(), AuditError> {
    let mut reader = Reader::default();
    while let Some(bytes) = chunks.blocking_recv() {
        reader.push(&bytes);
        let batch = decode_all(&mut reader);
        let last = batch.is_err();
        if to.blocking_send(batch).is_err() || last {
            break;
        }
    }
    reader.finish()
}

fn decode_all(reader: &mut Reader) -> Result<Vec<Decoded>, AuditError> {
    let mut batch = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        batch.push(Decoded::new(entry)?);
    }
    Ok(batch)
}

/// Applies all that is new, and saves. What was signed longer than `lag` ago must be there.
pub(super) async fn apply_new(
    client: &HubClient,
    auditor: &mut Auditor,
    lag: Duration,
    out: &Output,
) -> Result<Result<Applied, Box<Finding>>, CliError> {
    let started = Instant::now();
    let (from, total) = (auditor.head().seq, auditor.signed().0);
    let progress = Progress::start(out, "audit", Count::Things, total);
    let mut incoming = Incoming::start(client, from.next());
    let mut applied = Applied::default();
    let mut saved = Instant::now();
    loop {
        let batch = match incoming.next().await? {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(finding) => return Ok(Err(finding)),
        };
        if let Err(finding) = found(auditor.apply(&batch))? {
            return Ok(Err(finding));
        }
        applied.entries += batch.len() as u64;
        applied.commands += batch.iter().map(|decoded| decoded.commands() as u64).sum::<u64>();
        applied.took = started.elapsed();
        progress.set(auditor.head().seq.0, &format!("{:.0} commands/s", applied.commands_per_s()));
        if saved.elapsed() >= SAVE_EVERY {
            auditor.save().map_err(failed)?;
            saved = Instant::now();
        }
    }
    progress.finish("");
    if let Err(finding) = found(auditor.check_complete(lag))? {
        return Ok(Err(finding));
    }
    if applied.entries > 0 {
        auditor.save().map_err(failed)?;
    }
    Ok(Ok(applied))
}

/// Reads the whole log again, and tells what differs first from what was audited.
pub(super) async fn locate(
    client: &HubClient,
    auditor: &Auditor,
    out: &Output,
) -> Result<Option<Finding>, CliError> {
    let mut incoming = Incoming::start(client, Seq(1));
    let mut comparison = auditor.locate();
    let progress = Progress::start(out, "compare", Count::Things, auditor.head().seq.0);
    loop {
        let batch = match incoming.next().await? {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(finding) => return Ok(Some(*finding)),
        };
        for decoded in &batch {
            if let Some(finding) = comparison.take(decoded).map_err(failed)? {
                progress.clear();
                return Ok(Some(finding));
            }
        }
        progress.set(comparison.head().seq.0, "");
    }
    progress.clear();
    comparison.end().map_err(failed)
}
