//! JSON bodies of downloads: what the hub fetches while its user is away.

use pumasi_types::{DownloadId, FilePath, Hash, NoticeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::files::HOME;
use super::market::Notice;

/// How long a request can wait for a download to be over, in milliseconds.
pub const WAIT_MS_MAX: u64 = 60_000;

/// What the hub is to fetch: give `url` or `torrent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDownload {
    /// `https://…`, `http://…`, `ftp://…` or `magnet:?…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// BLAKE3 of a torrent file, which the caller stored with `POST /v1/blobs`, or claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub torrent: Option<Hash>,
    /// The name of the space where it is put; the caller's own, `~`, when absent.
    #[serde(default = "home")]
    pub space: String,
    /// The folder in which it is put; the root when absent.
    #[serde(default)]
    #[schema(value_type = String)]
    pub path: FilePath,
    /// Whether `path` is the file itself, and not the folder in which it gets its own name; for one file only.
    #[serde(default)]
    pub named: bool,
    /// The SHA-256 that the file must have, in hexadecimal; for one file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sha256: Option<Hash>,
    /// How many bytes it may have altogether; as many as the hub allows when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Which files of a torrent, by their numbers from 0; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<u32>,
}

fn home() -> String {
    HOME.to_owned()
}

/// How a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// It waits for its turn, or to be tried again.
    Waiting,
    /// The hub fetches it.
    Running,
    /// Until its owner wants it again.
    Paused,
    /// It lies in its space.
    Done,
    /// It cannot be had.
    Failed,
}

impl DownloadState {
    /// Whether nothing more happens by itself.
    pub fn is_over(self) -> bool {
        matches!(self, DownloadState::Done | DownloadState::Failed)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DownloadState::Waiting => "waiting",
            DownloadState::Running => "running",
            DownloadState::Paused => "paused",
            DownloadState::Done => "done",
            DownloadState::Failed => "failed",
        }
    }
}

/// Something that the hub fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Download {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: DownloadId,
    /// From where: a URL, or `torrent:` and the BLAKE3 of a torrent file.
    pub source: String,
    /// The name of the space where it is put.
    pub space: String,
    /// The folder or file where it is put.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// Whether `path` is the file itself.
    pub named: bool,
    /// When it was asked for.
    pub asked_ms: u64,
    /// How it is.
    pub state: DownloadState,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
    /// Bytes that came so far, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got_bytes: Option<u64>,
    /// Bytes that there will be, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Servers or peers that bytes come from, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<u64>,
    /// Bytes of a torrent that were given to other peers, while some are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_bytes: Option<u64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_ms: Option<u64>,
    /// How many of its files lie there: many come little by little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// How many of its bytes were in the store already and were not fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_bytes: Option<u64>,
    /// Why it cannot be had, or why it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The caller's downloads, the first asked for first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Downloads {
    /// A page of them.
    pub downloads: Vec<Download>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub next: Option<DownloadId>,
}

/// A download that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadNotice {
    /// Its number: a later notice has a larger one.
    #[schema(value_type = u64)]
    pub id: NoticeId,
    /// `download.done` or `download.failed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the download was over.
    pub time_ms: u64,
    /// The download.
    pub download: Download,
    /// What can be shown to people.
    pub notice: Notice,
}

/// What became of the caller's downloads, in the order in which they were over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notices {
    /// Some of them.
    pub notices: Vec<DownloadNotice>,
    /// Give this as `after` to read on.
    #[schema(value_type = u64)]
    pub next: NoticeId,
    /// Whether there is more now.
    pub more: bool,
    /// Up to where the caller said that it has seen them.
    #[schema(value_type = u64)]
    pub seen: NoticeId,
}

/// Up to where the caller has seen what became of its downloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenNotices {
    /// The last notice that it has seen.
    #[schema(value_type = u64)]
    pub last: NoticeId,
}
