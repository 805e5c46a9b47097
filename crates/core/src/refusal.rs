//! Refusals: deterministic failures, recorded and answered like results.

use pumasi_types::{AccountId, Amount, Currency, EngineId, HoldId, JobId, RequestId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::Role;

/// Why a command was not done. Nothing changed.
///
/// The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The caller lacks the role.
    #[error("this needs the role {needed}: ask an operator for an account with it")]
    WrongRole {
        /// The role that it takes.
        needed: Role,
    },
    /// The object belongs to somebody else.
    #[error("{what} belongs to another account")]
    NotYours {
        /// Which object.
        what: String,
    },
    /// Only the hub itself may ask this.
    #[error("only the hub itself may do this")]
    HubOnly,
    /// The request id was used for something else.
    #[error("request id {id} was used before for a different request: choose a new id")]
    RequestConflict {
        /// The id.
        id: RequestId,
    },
    /// No such account.
    #[error("there is no account {account}")]
    NoAccount {
        /// Which.
        account: AccountId,
    },
    /// The name is taken.
    #[error("an account named '{name}' exists: choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The token is in use.
    #[error("this token is in use: make a new one")]
    TokenTaken,
    /// No such token.
    #[error("there is no such token")]
    NoToken,
    /// Not enough available money.
    #[error(
        "account {account} has {} {currency} available and needs {}: add money or lower the amount",
        currency.format_amount(*available), currency.format_amount(*needed)
    )]
    NotEnoughMoney {
        /// Whose money.
        account: AccountId,
        /// Which currency.
        currency: Currency,
        /// What it takes.
        needed: Amount,
        /// What is there.
        available: Amount,
    },
    /// An amount that is not positive or leaves the range of money.
    #[error("the amount must be more than nothing and within the range of money")]
    BadAmount,
    /// No such hold.
    #[error("there is no hold {hold}: it was settled, released or has expired")]
    NoHold {
        /// Which.
        hold: HoldId,
    },
    /// A hold that a job or an order owns.
    #[error("hold {hold} is the budget of a job: it is settled by verified tasks only")]
    HoldInUse {
        /// Which.
        hold: HoldId,
    },
    /// More than the hold has left.
    #[error("hold {hold} has only {} {currency} left", currency.format_amount(*left))]
    HoldTooSmall {
        /// Which.
        hold: HoldId,
        /// Which currency.
        currency: Currency,
        /// What is left.
        left: Amount,
    },
    /// A field of a command is out of bounds.
    #[error("{field} {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it and what is right.
        problem: String,
    },
    /// No such job.
    #[error("there is no job {job}")]
    NoJob {
        /// Which.
        job: JobId,
    },
    /// The job is over.
    #[error("job {job} is over: it cannot be changed any more")]
    JobOver {
        /// Which.
        job: JobId,
    },
    /// The budget does not cover a single task.
    #[error(
        "the budget of {} credits does not cover one task with its quorum or its check, which may cost up to {}: raise the budget, or lower the fuel limit, the bid or the quorum",
        Currency::CREDIT.format_amount(*budget), Currency::CREDIT.format_amount(*task)
    )]
    BudgetTooSmall {
        /// The budget.
        budget: Amount,
        /// The most that one task may cost.
        task: Amount,
    },
    /// A dependency has failed already.
    #[error("job {job}, which this job waits for, did not succeed")]
    DependencyFailed {
        /// Which.
        job: JobId,
    },
    /// No such worker.
    #[error("there is no worker {worker}")]
    NoWorker {
        /// Which.
        worker: WorkerId,
    },
    /// The worker's engine is not one that jobs are priced in.
    #[error("engine '{engine}' is not a valid engine id")]
    BadEngine {
        /// Which.
        engine: EngineId,
    },
}

impl Refusal {
    /// Shorthand for [`Refusal::Invalid`].
    pub(crate) fn invalid(field: &str, problem: impl Into<String>) -> Refusal {
        Refusal::Invalid { field: field.to_owned(), problem: problem.into() }
    }

    /// A stable code for programs, as it stands in the API's errors.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::WrongRole { .. } => "wrong_role",
            Refusal::NotYours { .. } => "not_yours",
            Refusal::HubOnly => "hub_only",
            Refusal::RequestConflict { .. } => "request_conflict",
            Refusal::NoAccount { .. } => "no_account",
            Refusal::NameTaken { .. } => "name_taken",
            Refusal::TokenTaken => "token_taken",
            Refusal::NoToken => "no_token",
            Refusal::NotEnoughMoney { .. } => "not_enough_money",
            Refusal::BadAmount => "bad_amount",
            Refusal::NoHold { .. } => "no_hold",
            Refusal::HoldInUse { .. } => "hold_in_use",
            Refusal::HoldTooSmall { .. } => "hold_too_small",
            Refusal::Invalid { .. } => "invalid",
            Refusal::NoJob { .. } => "no_job",
            Refusal::JobOver { .. } => "job_over",
            Refusal::BudgetTooSmall { .. } => "budget_too_small",
            Refusal::DependencyFailed { .. } => "dependency_failed",
            Refusal::NoWorker { .. } => "no_worker",
            Refusal::BadEngine { .. } => "bad_engine",
        }
    }
}
