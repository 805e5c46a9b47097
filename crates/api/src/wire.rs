//! JSON bodies of the HTTP API, version 1.
//!
//! Money is a decimal text with a currency (`"12.5"`, `CRD`), so that no program rounds it. Times are
//! milliseconds since the Unix epoch, hashes 64 hexadecimal digits. Unknown fields in requests are refused:
//! a mistyped limit must not become a default.

pub mod access;
pub mod chunks;
pub mod coupons;
pub mod downloads;
pub mod files;
pub mod market;
pub mod results;
pub mod s3;
pub mod webhooks;

use pumasi_types::{AccountId, Ending, Hash, HoldId, JobId, OrderId, RunId, TaskIndex, TransferId, WorkerId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The engine that jobs are priced in when they name none: what the workers of this version run.
pub const ENGINE: &str = "wasmtime-48.0.8/c911e9e6";

/// Every error's body; the HTTP status says the kind, `code` is stable for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Stable short code, such as `not_enough_money`.
    pub code: String,
    /// What failed, on what object, and what helps.
    pub message: String,
    /// Which of a list it was, from 1; nothing of the list was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Where an order stands that a step was not for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The steps that the caller can take instead, as in `POST /v1/orders/{order}/STEP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possible: Option<Vec<String>>,
}

/// The hub as it presents itself; needs no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HubInfo {
    /// Always `pumasi`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Log time.
    pub time_ms: u64,
    /// SHA-256 of the hub's certificate, hexadecimal; empty without TLS.
    pub fingerprint: String,
    /// The longest file that can be put; hubs before this was told leave it out.
    #[serde(default)]
    pub max_upload_bytes: Option<u64>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its id.
    #[schema(value_type = u64)]
    pub id: AccountId,
    /// Its unique name.
    pub name: String,
    /// `researcher`, `owner`, `operator`, `auditor`, `merchant`, `storefront`, `carrier`.
    pub roles: Vec<String>,
    /// One per currency it ever had.
    pub balances: Vec<Balance>,
    /// Its record, once it lent a machine or was vouched for.
    #[serde(default)]
    pub record: Option<OwnerRecord>,
}

/// How far an owner of machines is trusted. What is being checked now is nowhere in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnerRecord {
    /// `new`: a second owner must find the same; `proven`: it is believed and checked now and then;
    /// `caught`: a finding of it was wrong, and it gets no work.
    pub standing: String,
    /// Whether an operator answers for it.
    pub vouched: bool,
    /// Agreements with trusted owners that a new one still needs to be proven.
    pub lacks: u8,
    /// Findings that others confirmed.
    pub agreed: u64,
    /// Findings that others outvoted.
    pub outvoted: u64,
    /// Findings that are believed and wait for a check before they are paid.
    pub unpaid_findings: u64,
    /// Credits that they will bring.
    pub unpaid: String,
    /// Findings that were paid unchecked, because nobody trusted could check them in time.
    pub lapsed: u64,
    /// Findings that were taken back unpaid.
    pub withdrawn: u64,
    /// When it was caught.
    pub caught_ms: Option<u64>,
}

/// Says whether the operator answers for an owner; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Vouch {
    /// Whether. An owner that was caught begins anew when this is true.
    pub vouched: bool,
}

/// What an account has in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// Currency code.
    pub currency: String,
    /// What it can spend.
    pub available: String,
    /// What is set aside.
    pub held: String,
}

/// Opens an account; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// Unique; lower-case letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// `researcher`, `owner`, `operator`, `auditor`, `merchant`, `storefront`, `carrier`.
    pub roles: Vec<String>,
}

/// An account and the token that stands for it. The token is shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenedAccount {
    /// Its id.
    #[schema(value_type = u64)]
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Keep it secret.
    pub token: String,
}

/// A new token for an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// Keep it secret.
    pub token: String,
}

/// Makes a token worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// The token itself.
    pub token: String,
}

/// Money for an account: `POST /v1/issue` (operators: new money) and `POST /v1/transfers` (the caller's).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Name or id of who gets it.
    pub to: String,
    /// Currency code; the compute credit when absent.
    #[serde(default = "credit")]
    pub currency: String,
    /// How much.
    pub amount: String,
}

fn credit() -> String {
    "CRD".to_owned()
}

/// The transfer that was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transferred {
    /// Its id.
    #[schema(value_type = u64)]
    pub transfer: TransferId,
}

/// Sets money of the caller aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// Currency code; the compute credit when absent.
    #[serde(default = "credit")]
    pub currency: String,
    /// How much.
    pub amount: String,
    /// When it is released by itself.
    pub expires_ms: Option<u64>,
}

/// The hold that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Its id.
    #[schema(value_type = u64)]
    pub hold: HoldId,
}

/// Pays a part of a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleHold {
    /// Name or id of who is paid.
    pub to: String,
    /// How much.
    pub amount: String,
}

/// Settled movements of an account, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statement {
    /// Currency code.
    pub currency: String,
    /// What it can spend now.
    pub available: String,
    /// What is set aside now.
    pub held: String,
    /// The movements.
    pub lines: Vec<StatementLine>,
    /// Give this as `before` to read on; none at the end.
    #[schema(value_type = Option<u64>)]
    pub next: Option<TransferId>,
}

/// One settled movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementLine {
    /// The transfer.
    #[schema(value_type = u64)]
    pub transfer: TransferId,
    /// When.
    pub time_ms: u64,
    /// Positive: received; negative: paid.
    pub amount: String,
    /// The other account's name.
    pub other: String,
    /// `issue`, `transfer`, `settle`, `run` or `sale`.
    pub cause: String,
    /// For `run`: what was computed.
    pub run: Option<PaidRun>,
    /// For `sale`: which order.
    #[schema(value_type = Option<u64>)]
    pub order: Option<OrderId>,
}

/// The run that was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaidRun {
    /// The job.
    #[schema(value_type = u64)]
    pub job: JobId,
    /// The task.
    #[schema(value_type = u32)]
    pub task: TaskIndex,
    /// The run.
    #[schema(value_type = u64)]
    pub run: RunId,
    /// The worker.
    #[schema(value_type = u64)]
    pub worker: WorkerId,
    /// Fuel burnt.
    pub fuel: u64,
    /// Credits per standard core-second.
    pub price: String,
}

/// All money of one currency; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Books {
    /// Currency code.
    pub currency: String,
    /// Money in circulation.
    pub issued: String,
    /// The part of it that is set aside.
    pub held: String,
    /// All balances added up, in minor units: zero, or the books are broken.
    pub sum_minor: i64,
    /// Whether the sum is zero.
    pub balanced: bool,
}

/// Orders a computation; researchers only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitJob {
    /// What to call it.
    #[serde(default)]
    pub name: String,
    /// BLAKE3 of the WebAssembly module, stored before with `POST /v1/blobs`.
    #[schema(value_type = String)]
    pub module: Hash,
    /// Arguments; `{index}`, `{name}`, `{input}` and `{arg}` stand for a task's own.
    #[serde(default)]
    pub args: Vec<String>,
    /// `NAME=VALUE`, with the same place-holders.
    #[serde(default)]
    pub env: Vec<String>,
    /// Files that all tasks share, by path below /in.
    #[serde(default)]
    pub files: Vec<InputFile>,
    /// BLAKE3 of the task list, a stored blob of JSON lines, one [`TaskLine`] for each task.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub task_list: Option<Hash>,
    /// How many tasks; with a task list it must have as many lines.
    pub tasks: u32,
    /// What one run may use.
    #[serde(default)]
    pub limits: Limits,
    /// Engine id the job is priced in; the hub's own version when absent.
    #[serde(default)]
    pub engine: Option<String>,
    /// How many independent owners must agree; 1 when absent.
    #[serde(default = "one")]
    pub quorum: u8,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i16,
    /// Most credits per standard core-second; 1 when absent.
    #[serde(default)]
    pub bid: Option<String>,
    /// Most credits altogether.
    pub budget: String,
    /// When it ends, finished or not.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// How many runs of a task may be lost (worker gone, time-out) before it fails; 10 when absent.
    #[serde(default)]
    pub max_losses: Option<u8>,
    /// How many tasks may fail before the job is given up.
    #[serde(default)]
    pub max_failures: Option<u32>,
    /// Jobs that must succeed first.
    #[serde(default)]
    #[schema(value_type = Vec<u64>)]
    pub after: Vec<JobId>,
    /// Where guests' random bytes come from.
    #[serde(default)]
    pub seed: u64,
    /// What guests' clocks start from; the time of submission when absent.
    #[serde(default)]
    pub clock_ms: Option<u64>,
    /// Whether owners' records decide how often results are computed; `hidden` when absent.
    #[serde(default)]
    pub checks: Checks,
}

/// Whether a job relies on owners' records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checks {
    /// Results of new owners are computed twice, those of trusted owners checked at random.
    #[default]
    Hidden,
    /// Every owner is believed: for machines that all belong to the researcher.
    Off,
}

fn one() -> u8 {
    1
}

/// What one run may use; each has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Fuel; 10^10 when absent (ten standard core-seconds).
    pub fuel: Option<u64>,
    /// Bytes of linear memory; 512 MiB when absent.
    pub memory_bytes: Option<u64>,
    /// Milliseconds; 600,000 when absent.
    pub wall_ms: Option<u64>,
    /// Bytes of stdout, stderr and /out together; 64 MiB when absent.
    pub output_bytes: Option<u64>,
}

/// A file under /in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its path below /in.
    pub name: String,
    /// BLAKE3 of its bytes.
    #[schema(value_type = String)]
    pub hash: Hash,
}

/// One line of a task list: what is a task's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskLine {
    /// What people call the task; stands for `{name}`, and is the file's name under /in.
    pub name: String,
    /// BLAKE3 of the task's own file: on stdin, and at /in/NAME, which stands for `{input}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub file: Option<Hash>,
    /// Stands for `{arg}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg: Option<String>,
}

/// A job and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    #[schema(value_type = u64)]
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// Name of the account that pays.
    pub owner: String,
    /// `waiting`, `active`, `succeeded`, `failed`, `cancelled`, `expired`, `out_of_budget`, `dependency_failed`.
    pub state: String,
    /// Whether it is over.
    pub over: bool,
    /// All tasks.
    pub tasks: u32,
    /// Decided and successful.
    pub succeeded: u32,
    /// Decided and not.
    pub failed: u32,
    /// Runs with workers now.
    pub running: u64,
    /// Independent owners that must agree.
    pub quorum: u8,
    /// Whether owners' records count.
    #[serde(default)]
    pub checks: Checks,
    /// Decided tasks whose results wait for a check of their owner: they may be taken back.
    #[serde(default)]
    pub provisional: u32,
    /// How many of its results are being checked or disputed now.
    #[serde(default)]
    pub doubted: u32,
    /// How often a result was taken back, because its owner was caught.
    #[serde(default)]
    pub withdrawn: u32,
    /// `another_owner` when its results wait for an owner who has no part in them yet.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Most credits altogether.
    pub budget: String,
    /// Credits paid.
    pub spent: String,
    /// Fuel of all paid runs.
    pub fuel: u64,
    /// Most credits per standard core-second.
    pub bid: String,
    /// Engine that it is priced in.
    pub engine: String,
    /// BLAKE3 of its module.
    #[schema(value_type = String)]
    pub module: Hash,
    /// BLAKE3 of its task list.
    #[schema(value_type = Option<String>)]
    pub task_list: Option<Hash>,
    /// When it was ordered.
    pub submitted_ms: u64,
    /// When it was over.
    pub over_ms: Option<u64>,
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Give this as `before` to read on.
    #[schema(value_type = Option<u64>)]
    pub next: Option<JobId>,
}

/// A task and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its place in the job.
    #[schema(value_type = u32)]
    pub index: TaskIndex,
    /// `open`, `succeeded`, `failed`, `dropped`.
    pub state: String,
    /// Runs with workers now.
    pub running: u8,
    /// Runs that were lost.
    pub losses: u8,
    /// How it ended.
    #[schema(value_type = Option<Object>)]
    pub ending: Option<Ending>,
    /// The same in words.
    pub reason: Option<String>,
    /// Fuel of one run.
    pub fuel: u64,
    /// BLAKE3 of its encoded output; none for an empty output.
    #[schema(value_type = Option<String>)]
    pub result: Option<Hash>,
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tasks {
    /// The tasks, by index.
    pub tasks: Vec<Task>,
    /// Give this as `from` to read on.
    #[schema(value_type = Option<u32>)]
    pub next: Option<TaskIndex>,
}

/// A machine that joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its id.
    #[schema(value_type = u64)]
    pub id: WorkerId,
    /// What people call it.
    pub name: String,
    /// Name of the account that is paid.
    pub owner: String,
    /// `working`, `idle`, `paused`, `failing`, `barred` (its owner was caught) or `away`.
    pub state: String,
    /// Runs at once.
    pub cores: u32,
    /// Memory for all runs together.
    pub memory_bytes: u64,
    /// Fuel a second on one core.
    pub speed: u64,
    /// What it runs.
    pub engine: String,
    /// Credits per standard core-second.
    pub ask: String,
    /// Runs it has now.
    pub runs: u64,
    /// Runs that counted.
    pub verified: u64,
    /// Runs it lost.
    pub lost: u64,
    /// Runs that others outvoted.
    pub outvoted: u64,
    /// Credits its owner was paid for it.
    pub earned: String,
}

/// A blob that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredBlob {
    /// Its name: BLAKE3 of its bytes.
    #[schema(value_type = String)]
    pub hash: Hash,
    /// How many bytes.
    pub size: u64,
}

/// What checks a hub's proofs; needs no token. A verifier must get the first key in another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofInfo {
    /// What the log is called.
    pub origin: String,
    /// The public keys that sign now, the newest first (C2SP vkeys).
    pub keys: Vec<String>,
    /// How the keys followed each other: signed notes with an empty line between them.
    pub rotations: String,
    /// How many transfers the newest checkpoint covers.
    pub size: u64,
    /// How old an entry of the log is before auditors may read it, in milliseconds.
    #[serde(default)]
    pub audit_lag_ms: u64,
}
