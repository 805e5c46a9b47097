//! A task's record, kept small because there are millions.

use pumasi_types::{Ending, Fuel, Hash};
use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not decided: waiting, running, or waiting for agreement.
    Open,
    /// Decided and successful.
    Succeeded,
    /// Decided and not successful.
    Failed,
    /// Its job ended first.
    Dropped,
}

/// One task of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Where it stands.
    pub state: TaskState,
    /// Runs that are with workers now.
    pub running: u8,
    /// Runs that it still needs and nobody has.
    pub(crate) queued: u8,
    /// Runs that were lost: worker gone, time-out, fault.
    pub losses: u8,
    /// How it ended, once decided.
    #[serde(with = "crate::codec::ending_code::or_none")]
    pub ending: Option<Ending>,
    /// What one run of it burnt, once decided.
    pub fuel: Fuel,
    /// Hash of its encoded output, once decided.
    pub result: Hash,
}

impl Task {
    pub(crate) const NEW: Task = Task {
        state: TaskState::Open,
        running: 0,
        queued: 0,
        losses: 0,
        ending: None,
        fuel: Fuel(0),
        result: Hash::ZERO,
    };

    /// A task of a job that ended before it was started.
    pub(crate) const DROPPED: Task = Task { state: TaskState::Dropped, ..Task::NEW };
}
