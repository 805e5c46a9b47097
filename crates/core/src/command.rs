//! Commands: everything that can be asked of the state.

use std::sync::Arc;

use pumasi_types::{
    AccountId, Amount, ArticleId, ByteSize, Currency, Duration, Ending, EngineId, Fuel, Hash, HoldId, JobId,
    Limits, OrderId, PlaceId, Price, RequestId, RunId, Speed, TaskIndex, Time, WebhookId, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::{
    ArticleSpec, CouponSpec, FilesCommand, MarketTerms, OrderBatch, OrderStep, Replay, Roles, ShopTerms,
    StockChange, WebhookReport, WebhookSpec,
};

/// One command of one caller, as it stands in an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks; the hub authenticated it. [`State::SYSTEM`](crate::State::SYSTEM) is the hub itself.
    pub caller: AccountId,
    /// What the client calls this request. The same id is done once and answered the same ever after.
    pub id: Option<RequestId>,
    /// What is asked.
    pub command: Command,
}

impl Request {
    /// How many orders it brings.
    pub(crate) fn orders(&self) -> usize {
        match &self.command {
            Command::PlaceOrders(batch) => batch.len(),
            _ => 0,
        }
    }

    /// How many blobs it claims.
    pub(crate) fn claims(&self) -> usize {
        match &self.command {
            Command::Files(FilesCommand::Claim { blobs, .. }) => blobs.len(),
            Command::Files(FilesCommand::ClaimFiles { paths, .. }) => paths.len(),
            Command::Files(FilesCommand::ReportDownload { report, .. }) => report.files().len(),
            _ => 0,
        }
    }
}

/// What can be asked. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The hub started: no worker is attached any more. Hub only.
    Start,
    /// Time passed: do what is due. Hub only.
    Tick,
    /// Opens an account. Operators only.
    OpenAccount {
        /// Unique; lower-case letters, digits, `-`, `_` and `.`.
        name: String,
        /// What it may do.
        roles: Roles,
        /// Hash of its first token.
        token: Hash,
    },
    /// Adds a token to an account. The account itself, or operators.
    AddToken {
        /// Whose.
        account: AccountId,
        /// Hash of the token.
        token: Hash,
    },
    /// Makes a token worthless. The account itself, or operators.
    RevokeToken {
        /// Hash of the token.
        token: Hash,
    },
    /// Puts money into circulation. Operators only.
    Issue {
        /// Who gets it.
        to: AccountId,
        /// Which currency.
        currency: Currency,
        /// How much; more than nothing.
        amount: Amount,
    },
    /// Moves the caller's money to another account.
    Transfer {
        /// Who gets it.
        to: AccountId,
        /// Which currency.
        currency: Currency,
        /// How much; more than nothing.
        amount: Amount,
    },
    /// Sets some of the caller's money aside.
    Hold {
        /// Which currency.
        currency: Currency,
        /// How much; more than nothing.
        amount: Amount,
        /// When it is released by itself.
        expires: Option<Time>,
    },
    /// Pays a part of a hold out. The hold's owner only.
    Settle {
        /// Which hold.
        hold: HoldId,
        /// Who is paid.
        to: AccountId,
        /// How much; at most what is left.
        amount: Amount,
    },
    /// Gives the rest of a hold back to its owner. The hold's owner only.
    Release {
        /// Which hold.
        hold: HoldId,
    },
    /// Orders a computation. Researchers only.
    SubmitJob(Arc<JobSpec>),
    /// Ends a job; what is left of its budget is released. Its owner, or operators.
    CancelJob {
        /// Which job.
        job: JobId,
    },
    /// A machine joins, or comes back. Owners only.
    AttachWorker(WorkerSpec),
    /// The link to a worker broke: it gets nothing new and keeps what it has. Hub only.
    DetachWorker {
        /// Which worker.
        worker: WorkerId,
        /// Which of its links; a newer one makes this void.
        link: u64,
    },
    /// A worker stayed away too long: its runs go to others. Hub only.
    LoseWorker {
        /// Which worker.
        worker: WorkerId,
        /// Which of its links; a newer one makes this void.
        link: u64,
    },
    /// A worker says whether it takes work, and gives back what it has not started. Its owner only.
    SetWorker {
        /// Which worker.
        worker: WorkerId,
        /// Whether it takes new work.
        accepting: bool,
        /// Runs that it gives back unstarted.
        returned: Vec<RunId>,
    },
    /// What became of runs. The worker's owner only.
    Report {
        /// Which worker.
        worker: WorkerId,
        /// The runs, in any order.
        runs: Vec<RunReport>,
    },
    /// Fresh randomness for the decisions that follow in this entry and later; the sequencer puts it before
    /// the other requests of every entry that holds a [`Command::Report`]. Hub only.
    Draw {
        /// Unforeseeable; from the operating system.
        seed: u128,
    },
    /// Says whether the operator answers for an owner of machines. One that was caught begins anew when it
    /// is vouched for. Operators only.
    Vouch {
        /// Whose machines.
        account: AccountId,
        /// Whether.
        vouched: bool,
    },
    /// Says what the platform takes of sales. Operators only.
    SetMarket(MarketTerms),
    /// Says how the caller sells. Merchants only.
    SetShop(ShopTerms),
    /// Adds articles, or changes those of the same SKUs: all of them or none. Merchants only.
    PutArticles(Vec<ArticleSpec>),
    /// Changes what there is of articles: all of it or nothing. Merchants only.
    ChangeStock(Vec<(ArticleId, PlaceId, StockChange)>),
    /// Places orders, each on its own: what is wrong with one does not touch the others.
    PlaceOrders(OrderBatch),
    /// Takes an order a step further. Its customer or a storefront, its merchant, or the carrier of a parcel.
    StepOrder {
        /// Which order.
        order: OrderId,
        /// What is done.
        step: OrderStep,
    },
    /// Opens accounts without roles and tokens: all of them or none. Storefronts, or operators.
    OpenCustomers {
        /// As of [`Command::OpenAccount`]; at most [`Bounds::CUSTOMERS`](crate::Bounds::CUSTOMERS).
        names: Vec<String>,
    },
    /// Adds coupons and promotions, or changes those of the same codes: all of them or none. Merchants only.
    PutCoupons(Vec<CouponSpec>),
    /// Says where the caller wants to be told of its events, as a merchant or as a carrier.
    SetWebhook(WebhookSpec),
    /// Takes a webhook away. Its owner.
    RemoveWebhook {
        /// Which.
        webhook: WebhookId,
    },
    /// Signs with a new secret from now on, and for [`Bounds::OLD_SECRET`](crate::Bounds::OLD_SECRET) with the one
    /// before as well. The webhook's owner.
    RenewWebhookSecret {
        /// Which.
        webhook: WebhookId,
    },
    /// Sends events again. The webhook's owner.
    ReplayWebhook {
        /// Which.
        webhook: WebhookId,
        /// Which events.
        replay: Replay,
    },
    /// How far webhooks were told. Hub only.
    ReportWebhooks(Vec<WebhookReport>),
    /// Something with files.
    Files(FilesCommand),
}

/// A job as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What people call it.
    pub name: String,
    /// The WebAssembly module.
    pub module: Hash,
    /// Arguments behind the program name; `{index}`, `{name}`, `{input}` and `{arg}` stand for a task's own.
    pub args: Vec<String>,
    /// `NAME=VALUE`, with the same place-holders.
    pub env: Vec<String>,
    /// Files under /in that all tasks share.
    pub files: Vec<InputFile>,
    /// The blob that lists each task's own input; none when tasks differ by their index only.
    pub task_list: Option<Hash>,
    /// How many tasks.
    pub tasks: u32,
    /// What one run may use.
    pub limits: Limits,
    /// The engine whose fuel the job is priced in.
    pub engine: EngineId,
    /// How many independent owners must agree on each result; at least 1.
    pub quorum: u8,
    /// Higher goes first.
    pub priority: i16,
    /// The highest price it pays.
    pub bid: Price,
    /// The most it may cost altogether.
    pub budget: Amount,
    /// When it ends, finished or not.
    pub deadline: Option<Time>,
    /// How many runs of a task may be lost before the task fails.
    pub max_losses: u8,
    /// How many tasks may fail before the job is given up; none: all are tried.
    pub max_failures: Option<u32>,
    /// Jobs that must succeed first.
    pub after: Vec<JobId>,
    /// Where guests' random bytes come from.
    pub seed: u64,
    /// What guests' clocks start from; the time of submission when none is given.
    pub clock: Option<Time>,
    /// Whether owners' records decide how often its results are computed.
    pub checks: Checks,
}

/// Whether a job relies on owners' records. The order of variants is part of the stored format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checks {
    /// With a quorum of one, new owners' findings need a second owner's, and trusted owners' are checked now
    /// and then; with any quorum, agreement makes and disagreement breaks owners' records.
    #[default]
    Hidden,
    /// Every owner is believed, and nobody's record changes: for machines that all belong to the researcher.
    Off,
}

/// A file that a task finds under /in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path below /in.
    pub name: String,
    /// Its bytes.
    pub hash: Hash,
}

/// A machine as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// Random number kept on the machine; the same owner and key are the same worker.
    pub machine_key: u128,
    /// What people call it.
    pub name: String,
    /// Runs at once.
    pub cores: u32,
    /// Memory for all runs together.
    pub memory: ByteSize,
    /// Calibrated speed of one core.
    pub speed: Speed,
    /// What it runs.
    pub engine: EngineId,
    /// The lowest price it works for, and what it is paid.
    pub ask: Price,
    /// Runs it still has from an earlier link.
    pub held: Vec<RunId>,
}

/// What became of one run, as its worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Which run.
    pub run: RunId,
    /// How it ended.
    #[serde(with = "crate::codec::ending_code")]
    pub ending: Ending,
    /// What it burnt.
    pub fuel: Fuel,
    /// How long it took.
    pub wall: Duration,
    /// Hash of its encoded output.
    pub result: Hash,
}

impl JobSpec {
    /// The task indices of the job.
    pub fn task_indices(&self) -> impl Iterator<Item = TaskIndex> {
        (0..self.tasks).map(TaskIndex)
    }
}
