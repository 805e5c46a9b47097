//! JSON bodies about results that go to other jobs or into spaces without passing through whoever ordered them.

use pumasi_types::{FilePath, Hash, JobId, TaskIndex};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ErrorBody;

/// Results in one request.
pub const RESULTS_MAX: usize = 1_000;

/// A part of what a task produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultPart {
    /// All of it, encoded, as its hash covers it.
    Output,
    /// What it wrote to standard output.
    Stdout,
    /// What it wrote to standard error.
    Stderr,
    /// A file that it left below /out, by its path there.
    File(String),
}

/// Claims parts of a job's results, so that they can be given to files and to other jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimResults {
    /// Which; at most 1,000.
    pub parts: Vec<WantedPart>,
}

/// A part of a task's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedPart {
    /// Of which task.
    #[schema(value_type = u32)]
    pub task: TaskIndex,
    /// Which part.
    pub part: ResultPart,
}

/// What was claimed, in the order of the request: of the first ones only when all would take too long; ask for the others
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedResults {
    /// One for each.
    pub parts: Vec<ClaimedPart>,
}

/// A part that the caller holds now for 48 hours, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedPart {
    /// Its name as a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub blob: Option<Hash>,
    /// How many bytes it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// Puts results of a job into a space: standard output as `PATH.out`, standard error, if there is any, as `PATH.err`, files
/// below `PATH.files/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutResults {
    /// Of which job; its owner only.
    #[schema(value_type = u64)]
    pub job: JobId,
    /// Which; at most 1,000.
    pub tasks: Vec<PlacedResult>,
}

/// Where a task's result is put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacedResult {
    /// Which task.
    #[schema(value_type = u32)]
    pub task: TaskIndex,
    /// The path of its files, without their endings.
    #[schema(value_type = String)]
    pub path: FilePath,
}

/// What came of it, in the order of the request: of the first ones only when all would take too long; ask for the others
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultsPut {
    /// One for each.
    pub tasks: Vec<ResultPut>,
}

/// A result whose files lie in the space now, or why not all of them do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultPut {
    /// Files that were put.
    pub files: u64,
    /// Files that lay there just so.
    pub same: u64,
    /// Why one of them could not be put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}
