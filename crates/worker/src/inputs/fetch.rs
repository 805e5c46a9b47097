//! Inputs from the hub: each once for the whole machine, and of large ones only the chunks that lie in no kept file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use pumasi_api::client::{ClientError, HubClient, JobInput};
use pumasi_chunks::list::Chunk;
use pumasi_types::Hash;
use tokio::sync::Semaphore;

use super::cache::{BlobCache, Local};
use super::persevering;

/// Blobs that are fetched at once.
const FETCHES: usize = 16;
/// Blobs up to this size are fetched whole and side by side, larger ones by their chunks and one after the other, in bytes.
const SIDE_BY_SIDE: u64 = 4 << 20;
/// Bytes that are asked for at once: so much is lost when a transfer breaks off.
const RANGE: u64 = 8 << 20;

/// Gets inputs and keeps them.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: HubClient,
    pub(super) cache: Arc<BlobCache>,
    fetches: Semaphore,
    large_fetches: Semaphore,
    /// Inputs that are on their way: whoever needs the same waits for it.
    under_way: Mutex<HashMap<Hash, Arc<tokio::sync::Mutex<()>>>>,
}

impl Fetcher {
    pub(super) fn new(client: HubClient, cache: BlobCache) -> Fetcher {
        Fetcher {
            client,
            cache: Arc::new(cache),
            fetches: Semaphore::new(FETCHES),
            large_fetches: Semaphore::new(1),
            under_way: Mutex::default(),
        }
    }

    /// An input of at most `bytes_max` bytes, from here or the hub.
    ///
    /// # Errors
    /// When the hub cannot be reached for long or refuses, or the input is larger or damaged.
    pub(super) async fn fetch(&self, input: JobInput, bytes_max: u64) -> Result<Local, ClientError> {
        if let Some(local) = self.kept(&input, bytes_max)? {
            return Ok(local);
        }
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(under_way.entry(input.hash).or_default())
        };
        let _turn = turn.lock().await;
        // Another run may have had the same input fetched meanwhile.
        if let Some(local) = self.kept(&input, bytes_max)? {
            return Ok(local);
        }
        let (bytes, chunks) = self.get(&input, bytes_max).await?;
        let cache = Arc::clone(&self.cache);
        let put = tokio::task::spawn_blocking(move || cache.put(input.hash, input.job, bytes, chunks));
        put.await.map_err(|error| broken(&self.client, &input, &error.to_string()))
    }

    fn kept(&self, input: &JobInput, bytes_max: u64) -> Result<Option<Local>, ClientError> {
        match self.cache.get(input.hash, input.job) {
            Some(local) if local.len() > bytes_max => Err(too_large(input, bytes_max)),
            local => Ok(local),
        }
    }

    /// The bytes from the hub, and the chunks of large ones.
    async fn get(&self, input: &JobInput, bytes_max: u64) -> Result<(Bytes, Vec<Chunk>), ClientError> {
        let small_max = bytes_max.min(SIDE_BY_SIDE);
        let first = {
            let _permit = self.fetches.acquire().await;
            persevering("fetch", input.hash, || self.client.input(input, small_max)).await
        };
        match first {
            Err(ClientError::TooLarge { .. }) if bytes_max > small_max => {
                let _permit = self.large_fetches.acquire().await;
                self.get_large(input, bytes_max).await
            }
            first => Ok((first?, Vec::new())),
        }
    }

    async fn get_large(&self, input: &JobInput, bytes_max: u64) -> Result<(Bytes, Vec<Chunk>), ClientError> {
        let list = || self.client.input_chunks(input, bytes_max);
        let chunks = persevering("list the chunks of", input.hash, list).await?;
        let length: u64 = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut next = 0;
        while next < chunks.len() {
            let (copied, at) = self.copy(&chunks[next..], bytes).await?;
            bytes = copied;
            next += at;
            let lacking = self.lacking(&chunks[next..]);
            let from = bytes.len() as u64;
            let lacking = &chunks[next..next + lacking];
            let wanted: u64 = lacking.iter().map(|chunk| u64::from(chunk.length)).sum();
            if wanted > 0 {
                bytes.extend_from_slice(&self.range(input, from..from + wanted, lacking).await?);
                next += lacking.len();
            }
        }
        let hashed = tokio::task::spawn_blocking(move || (Hash::of(&bytes), bytes)).await;
        let (seen, bytes) = hashed.map_err(|error| broken(&self.client, input, &error.to_string()))?;
        match seen == input.hash {
            true => Ok((bytes.freeze(), chunks)),
            false => Err(ClientError::Damaged { expected: input.hash, seen }),
        }
    }

    /// Appends the first of these chunks as long as they lie in kept files; how many did.
    async fn copy(&self, chunks: &[Chunk], mut bytes: BytesMut) -> Result<(BytesMut, usize), ClientError> {
        let mut copied = 0;
        for chunk in chunks {
            let Some(local) = self.cache.chunk(&chunk.name) else { break };
            let chunk = *chunk;
            let read = tokio::task::spawn_blocking(move || local.read(&chunk)).await;
            // What cannot be read here is fetched.
            let Ok(Some(read)) = read else { break };
            bytes.extend_from_slice(&read);
            copied += 1;
        }
        Ok((bytes, copied))
    }

    /// How many of these chunks are best asked for together: the first, which could not be copied, and those behind it that
    /// lie in no kept file.
    fn lacking(&self, chunks: &[Chunk]) -> usize {
        let (mut bytes, mut count) = (0, 0);
        for chunk in chunks {
            bytes += u64::from(chunk.length);
            if count > 0 && (bytes > RANGE || self.cache.chunk(&chunk.name).is_some()) {
                break;
            }
            count += 1;
        }
        count
    }

    /// Bytes of an input that are these chunks, each checked.
    async fn range(
        &self,
        input: &JobInput,
        range: Range<u64>,
        chunks: &[Chunk],
    ) -> Result<Bytes, ClientError> {
        let ask = || self.client.input_range(input, range.clone());
        let bytes = persevering("fetch", input.hash, ask).await?;
        let mut at = 0;
        for chunk in chunks {
            let end = at + chunk.length as usize;
            let seen = Hash::of(&bytes[at..end]);
            if seen != chunk.name {
                return Err(ClientError::Damaged { expected: chunk.name, seen });
            }
            at = end;
        }
        Ok(bytes)
    }
}

fn too_large(input: &JobInput, limit: u64) -> ClientError {
    ClientError::TooLarge { request: format!("input {}", input.hash), limit }
}

/// A thread of this worker that failed.
fn broken(client: &HubClient, input: &JobInput, problem: &str) -> ClientError {
    let request = format!("keep input {}", input.hash);
    ClientError::Protocol { address: client.address().clone(), request, problem: problem.to_owned() }
}
