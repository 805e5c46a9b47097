//! JSON bodies of the access log: lines of its file, and answers with them.

use pumasi_types::{AccountId, JobId, LinkId, SpaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The way by which somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessBy {
    /// The hub's own API.
    Files,
    /// S3.
    S3,
    /// The page of a link.
    Link,
}

/// What somebody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessWhat {
    /// Bytes, or to hold them.
    Read,
    /// Names, sizes, versions, members.
    List,
    /// To open a link by its password.
    Open,
    /// To change something; here only when it was refused, as what was done is in the log of commands.
    Change,
    /// More accesses than had a line of their own: `times` says how many.
    More,
}

/// One access, or several within a minute that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AccessEntry {
    /// When, by the hub's clock.
    pub at_ms: u64,
    /// When the last of them was.
    pub until_ms: u64,
    /// How many they are.
    pub times: u64,
    /// Whose token or key it was; absent when nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub account: Option<AccountId>,
    /// The name of that; only in answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// The link that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub link: Option<LinkId>,
    /// From where: the other end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// By which way; absent when by several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AccessBy>,
    /// What was wanted.
    pub what: AccessWhat,
    /// The space or bucket, as it was named if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The number of the space, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub space_id: Option<SpaceId>,
    /// The job whose inputs or results were asked for, as `path` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub job: Option<JobId>,
    /// The path or key, or the folder of all that was asked for; cut when it is long. Of a job `inputs` or `results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The blob that was asked for by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Why it was refused, as the code of the error; absent when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Accesses, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessEntries {
    /// A page of them; it can have fewer than asked for, or none, and still lead on.
    pub entries: Vec<AccessEntry>,
    /// Give this as `before` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
