//! Downloads of a hub: what it fetches while its user is away.

use pumasi_types::{DownloadId, NoticeId, RequestId};

use super::{ClientError, HubClient};
use crate::wire::downloads::{Download, Downloads, NewDownload, Notices, SeenNotices};

/// What changes something takes a request id: with the same id it is done once; without one it gets a fresh one.
///
/// # Errors
/// All as [`HubClient::get`] and [`HubClient::post`].
impl HubClient {
    /// Has the hub fetch something.
    pub async fn add_download(
        &self,
        new: &NewDownload,
        id: Option<RequestId>,
    ) -> Result<Download, ClientError> {
        self.post("/v1/downloads", new, id).await
    }

    /// A download of the caller's; waits until it is over, at most `wait_ms` (see
    /// [`WAIT_MS_MAX`](crate::wire::downloads::WAIT_MS_MAX)).
    pub async fn download_state(&self, download: DownloadId, wait_ms: u64) -> Result<Download, ClientError> {
        self.get(&format!("/v1/downloads/{download}?wait_ms={wait_ms}")).await
    }

    /// The caller's downloads behind one of them.
    pub async fn downloads(&self, after: Option<DownloadId>) -> Result<Downloads, ClientError> {
        let after = after.map(|after| format!("?after={after}")).unwrap_or_default();
        self.get(&format!("/v1/downloads{after}")).await
    }

    /// Stops a download, to go on later.
    pub async fn pause_download(&self, download: DownloadId) -> Result<(), ClientError> {
        self.post(&format!("/v1/downloads/{download}/pause"), &(), None).await
    }

    /// Goes on with a download, or tries again what failed.
    pub async fn resume_download(&self, download: DownloadId) -> Result<(), ClientError> {
        self.post(&format!("/v1/downloads/{download}/resume"), &(), None).await
    }

    /// Gives a download up, or forgets one that is over.
    pub async fn cancel_download(&self, download: DownloadId) -> Result<(), ClientError> {
        self.delete(&format!("/v1/downloads/{download}"), None).await
    }

    /// What became of the caller's downloads, behind a notice or behind what it has seen; waits for the first of them.
    pub async fn download_notices(
        &self,
        after: Option<NoticeId>,
        wait_s: u64,
    ) -> Result<Notices, ClientError> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        self.get(&format!("/v1/downloads/notices?wait_s={wait_s}{after}")).await
    }

    /// Says up to where the caller knows what became of its downloads.
    pub async fn see_download_notices(&self, last: NoticeId) -> Result<(), ClientError> {
        self.post("/v1/downloads/notices/seen", &SeenNotices { last }, None).await
    }
}
