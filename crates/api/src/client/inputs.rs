//! Inputs of jobs, for the machines that run them and for whoever ordered them.

use std::ops::Range;

use bytes::Bytes;
use http::Method;
use pumasi_chunks::list::{self, Chunk, ENTRY_BYTES, PAGE};
use pumasi_types::{Hash, JobId};

use super::{Call, ClientError, HubClient};

/// A module, shared file, task list or task's file of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobInput {
    /// The job that names it.
    pub job: JobId,
    /// Its name.
    pub hash: Hash,
    /// Where in the job's task list the line begins that names it, in bytes, if it is a task's file.
    pub line: Option<u64>,
}

impl JobInput {
    fn path(&self, what: &str, query: &str) -> String {
        let JobInput { job, hash, line } = self;
        let line = line.map_or_else(String::new, |line| format!("&line={line}"));
        format!("/v1/jobs/{job}/inputs/{hash}{what}?{query}{line}")
    }
}

impl HubClient {
    /// All bytes of an input, at most `bytes_max`, checked against its name.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses, or the input is larger or damaged.
    pub async fn input(&self, input: &JobInput, bytes_max: u64) -> Result<Bytes, ClientError> {
        let bytes = self.get_bytes(&input.path("", ""), bytes_max).await?;
        let seen = Hash::of(&bytes);
        if seen == input.hash { Ok(bytes) } else { Err(ClientError::Damaged { expected: input.hash, seen }) }
    }

    /// Some bytes of an input, as they came: check them against the chunks that they are.
    ///
    /// # Errors
    /// As [`HubClient::input`]; when there are fewer.
    pub async fn input_range(&self, input: &JobInput, range: Range<u64>) -> Result<Bytes, ClientError> {
        let length = range.end.saturating_sub(range.start);
        let path = input.path("", &format!("from={}&length={length}", range.start));
        let bytes = self.get_bytes(&path, length).await?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(self
            .strange(&Call::new(Method::GET, &path), format!("{} bytes instead of {length}", bytes.len())))
    }

    /// The chunks of an input of at most `bytes_max` bytes, in their order.
    ///
    /// # Errors
    /// As [`HubClient::input`].
    pub async fn input_chunks(&self, input: &JobInput, bytes_max: u64) -> Result<Vec<Chunk>, ClientError> {
        let mut all = Vec::new();
        let mut end = 0;
        loop {
            let path = input.path("/chunks", &format!("from={end}"));
            let page = self.chunk_page(&path).await?;
            end += page.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>();
            if end > bytes_max {
                return Err(ClientError::TooLarge { request: format!("GET {path}"), limit: bytes_max });
            }
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// A page of a list of chunks.
    pub(super) async fn chunk_page(&self, path: &str) -> Result<Vec<Chunk>, ClientError> {
        let bytes = self.get_bytes(path, (PAGE * ENTRY_BYTES) as u64).await?;
        list::decode(&bytes).map_err(|fault| self.strange(&Call::new(Method::GET, path), fault.to_string()))
    }
}
