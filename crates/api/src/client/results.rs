//! Results that go to other jobs or into spaces without passing through the caller.

use http::Method;
use pumasi_types::JobId;

use super::{Call, ClientError, HubClient, escape};
use crate::wire::results::{
    ClaimResults, ClaimedPart, ClaimedResults, PlacedResult, PutResults, RESULTS_MAX, ResultPut, ResultsPut,
    WantedPart,
};

/// # Errors
/// All as [`HubClient::post`].
impl HubClient {
    /// Makes parts of the results of a job of the caller's blobs that it holds for 48 hours; each on its own.
    pub async fn claim_results(
        &self,
        job: JobId,
        parts: &[WantedPart],
    ) -> Result<Vec<ClaimedPart>, ClientError> {
        let path = format!("/v1/jobs/{job}/results");
        let mut claimed = Vec::with_capacity(parts.len());
        while let Some(rest) = parts.get(claimed.len()..).filter(|rest| !rest.is_empty()) {
            let page = rest[..rest.len().min(RESULTS_MAX)].to_vec();
            let most = page.len();
            let answer: ClaimedResults = self.post(&path, &ClaimResults { parts: page }, None).await?;
            self.as_many(&path, answer.parts.len(), most)?;
            claimed.extend(answer.parts);
        }
        Ok(claimed)
    }

    /// Puts results of a job of the caller's into a space; each on its own. `told` hears how many are done.
    pub async fn put_results(
        &self,
        space: &str,
        job: JobId,
        tasks: &[PlacedResult],
        told: impl Fn(usize),
    ) -> Result<Vec<ResultPut>, ClientError> {
        let path = format!("/v1/spaces/{}/results", escape(space));
        let mut put = Vec::with_capacity(tasks.len());
        while let Some(rest) = tasks.get(put.len()..).filter(|rest| !rest.is_empty()) {
            let page = rest[..rest.len().min(RESULTS_MAX)].to_vec();
            let most = page.len();
            let answer: ResultsPut = self.post(&path, &PutResults { job, tasks: page }, None).await?;
            self.as_many(&path, answer.tasks.len(), most)?;
            put.extend(answer.tasks);
            told(put.len());
        }
        Ok(put)
    }

    /// An answer of nothing would be asked for for ever.
    fn as_many(&self, path: &str, got: usize, most: usize) -> Result<(), ClientError> {
        match got {
            0 => Err(self.strange(&Call::new(Method::POST, path), "it did nothing".to_owned())),
            got if got > most => {
                Err(self.strange(&Call::new(Method::POST, path), format!("{got} answers to {most}")))
            }
            _ => Ok(()),
        }
    }
}
