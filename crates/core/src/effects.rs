//! What an entry leads to: answers for its callers, transfers for the journal, actions for the hub.

use pumasi_types::{
    AccountId, Amount, Currency, EngineTag, Fuel, HoldId, JobId, Price, RunId, TaskIndex, Time, TransferId,
    WorkerId,
};
use serde::{Deserialize, Serialize};

/// What a command that was done answers.
///
/// The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// It was done.
    Ok,
    /// The account that was opened.
    Account(AccountId),
    /// The hold that was made.
    Hold(HoldId),
    /// The transfer that was settled.
    Transfer(TransferId),
    /// What was released.
    Released(Amount),
    /// The job that was ordered.
    Job(JobId),
    /// The worker that is attached.
    Attached {
        /// Its id.
        worker: WorkerId,
        /// The number of this link.
        link: u64,
        /// Runs it holds that are not its own any more.
        unwanted: Vec<RunId>,
    },
    /// The report was taken.
    Reported {
        /// Runs in it that were not the worker's any more: not counted, not paid.
        refused: Vec<RunId>,
    },
}

/// Everything that an entry leads to besides answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Settled movements of money, in order; their ids have no gaps.
    pub transfers: Vec<Transfer>,
    /// What the hub must do once the entry is durable.
    pub actions: Vec<Action>,
}

/// What the hub must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send runs to a worker.
    Assign {
        /// To whom.
        worker: WorkerId,
        /// Tasks of which job.
        job: JobId,
        /// The runs.
        runs: Vec<Assignment>,
    },
    /// Tell a worker to drop runs.
    Stop {
        /// Whom.
        worker: WorkerId,
        /// Which.
        runs: Vec<RunId>,
    },
    /// Tell every worker that knows this job that it is over, and everybody who waits for it.
    JobOver {
        /// Which.
        job: JobId,
    },
    /// Tell everybody who believed that this job was over that some of its tasks are computed again.
    JobReopened {
        /// Which.
        job: JobId,
    },
}

/// One run that a worker is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The run.
    pub run: RunId,
    /// Its task.
    pub task: TaskIndex,
}

/// A settled movement of money, the record of what was paid for.
///
/// `payer_prev` and `payee_prev` chain the transfers of each account in each currency backwards, so that a
/// statement needs no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its place in the journal, from 1 without gaps.
    pub id: TransferId,
    /// Log time.
    pub time: Time,
    /// Who paid.
    pub payer: AccountId,
    /// Who was paid.
    pub payee: AccountId,
    /// Which currency.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// What for.
    pub cause: Cause,
    /// The payer's transfer before this one in this currency; 0: none.
    pub payer_prev: TransferId,
    /// The payee's transfer before this one in this currency; 0: none.
    pub payee_prev: TransferId,
}

/// What a transfer was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// New money.
    Issue,
    /// Asked for by the payer.
    Transfer,
    /// A part of a hold, asked for by its owner.
    Settle {
        /// Which hold.
        hold: HoldId,
    },
    /// A verified run of a task.
    Run {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// The run.
        run: RunId,
        /// The worker that did it.
        worker: WorkerId,
        /// What it burnt.
        fuel: Fuel,
        /// At which price.
        price: Price,
        /// What its fuel is comparable for.
        engine: EngineTag,
    },
}
