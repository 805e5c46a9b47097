//! Bringing files to the hub: only those that the caller does not hold there yet, several at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{HubClient, Source, UPLOAD_MIN, Upload, hash_source};
use pumasi_api::wire::StoredBlob;
use pumasi_types::{ByteSize, Hash};

use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// Bytes from which on an upload is worth a message.
const WORTH_SAYING: u64 = 1 << 20;
/// Uploads at once.
const SENT_AT_ONCE: usize = 4;

/// Sees to it that the hub has all sources; their hashes and sizes, in order.
pub(crate) async fn ensure(
    client: &HubClient,
    out: &Output,
    sources: &[Source],
) -> Result<Vec<StoredBlob>, CliError> {
    let blobs = hash_all(sources).await?;
    let distinct: HashMap<Hash, (&Source, u64)> =
        blobs.iter().zip(sources).map(|(blob, source)| (blob.hash, (source, blob.size))).collect();
    let distinct: Vec<(Hash, (&Source, u64))> = distinct.into_iter().collect();
    let names: Vec<Hash> = distinct.iter().map(|(hash, _)| *hash).collect();
    let held = client.held(&names).await.map_err(CliError::hub("ask for stored files"))?;
    let lacking = distinct.into_iter().zip(held).filter(|(_, held)| !held);
    let lacking: Vec<(Hash, &Source, u64)> =
        lacking.map(|((hash, (source, size)), _)| (hash, source, size)).collect();
    if !lacking.is_empty() {
        send(client, out, lacking).await?;
    }
    Ok(blobs)
}

async fn hash_all(sources: &[Source]) -> Result<Vec<StoredBlob>, CliError> {
    let mut blobs = Vec::with_capacity(sources.len());
    for source in sources {
        let name = describe(source);
        let size = match source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File(path) => {
                let file = std::fs::metadata(path).map_err(CliError::file("read", path))?;
                if file.is_dir() {
                    let problem = format!("{} is a folder", path.display());
                    return Err(CliError::usage(problem, "name the files in it, or pack it with tar"));
                }
                file.len()
            }
        };
        let hash = hash_source(source).await.map_err(CliError::hub(format!("hash {name}")))?;
        blobs.push(StoredBlob { hash, size });
    }
    Ok(blobs)
}

async fn send(client: &HubClient, out: &Output, lacking: Vec<(Hash, &Source, u64)>) -> Result<(), CliError> {
    let total = lacking.iter().map(|(_, _, size)| size).sum();
    let files = lacking.len();
    let bar = Progress::start(out, "uploading", Count::Bytes, total);
    let done = Arc::new(AtomicU64::new(0));
    let sent = stream::iter(lacking)
        .map(|(hash, source, size)| {
            let (bar, done) = (bar.clone(), done.clone());
            let mine = AtomicU64::new(0);
            // A repeated upload counts from 0 again: only what it moved since the last word is added.
            let tell = Arc::new(move |now: u64| {
                let before = mine.swap(now, Ordering::Relaxed);
                let all = done.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
                bar.set(all.wrapping_add(now).wrapping_sub(before), "");
            });
            async move {
                let failed = CliError::hub(format!("upload {}", describe(source)));
                let sent = match size >= UPLOAD_MIN {
                    true => client.upload(source, &Upload::new(tell)).await.map(|sent| sent.hash),
                    false => client.put_blob(source, hash, tell).await.map(|stored| stored.hash),
                };
                match sent.map_err(failed)? {
                    sent if sent == hash => Ok(()),
                    _ => Err(changed(source)),
                }
            }
        })
        .buffer_unordered(SENT_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await;
    bar.clear();
    sent?;
    if total >= WORTH_SAYING {
        let s = if files == 1 { "" } else { "s" };
        out.note(&format!("uploaded {files} file{s}, {}", ByteSize(total)));
    }
    Ok(())
}

/// What is sent must be what was hashed, because the job names it so.
fn changed(source: &Source) -> CliError {
    let problem = format!("{} was changed while it was sent", describe(source));
    CliError::usage(problem, "try again when nobody writes to it")
}

fn describe(source: &Source) -> String {
    match source {
        Source::Bytes(bytes) => ByteSize(bytes.len() as u64).to_string(),
        Source::File(path) => path.display().to_string(),
    }
}
