//! Refusals: deterministic failures, recorded and answered like results.

use pumasi_types::{
    AccountId, Amount, ArticleId, Currency, EngineId, HoldId, JobId, OrderId, ParcelId, PlaceId, RequestId,
    WebhookId, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::market::{OrderState, StepKind};
use crate::{FilesRefusal, Role};

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
    /// No such article of the caller's.
    #[error("you have no article {article}")]
    NoOwnArticle {
        /// Which.
        article: ArticleId,
    },
    /// One thing of a list was wrong, so nothing of it was done.
    #[error("number {number} of the list: {problem}")]
    InList {
        /// Which one, from 1.
        number: u32,
        /// What is wrong with it.
        problem: Box<Refusal>,
    },
    /// No such order, or it was over long ago.
    #[error("there is no order {order}, or it was over long ago")]
    NoOrder {
        /// Which.
        order: OrderId,
    },
    /// The order is in another state than the step is for.
    #[error("order {order} is {state}, so that you cannot {step} it; {}", and_now(possible))]
    WrongState {
        /// Which order.
        order: OrderId,
        /// Where it stands.
        state: OrderState,
        /// What was asked.
        step: StepKind,
        /// What the caller can do instead.
        possible: Vec<StepKind>,
    },
    /// The order has no such parcel.
    #[error("order {order} has no parcel {parcel}")]
    NoParcel {
        /// Which order.
        order: OrderId,
        /// Which parcel.
        parcel: ParcelId,
    },
    /// The parcel has arrived before.
    #[error("parcel {parcel} of order {order} is delivered already")]
    ParcelDelivered {
        /// Which order.
        order: OrderId,
        /// Which parcel.
        parcel: ParcelId,
    },
    /// More than the order has left for this step.
    #[error("order {order} has {left} of article {article} left for this")]
    TooManyOfArticle {
        /// Which order.
        order: OrderId,
        /// Of what.
        article: ArticleId,
        /// How many it can be.
        left: u32,
    },
    /// What is to be shipped is not there.
    #[error(
        "{needed} of article {article} are to be shipped from place {place}, where {on_hand} are: correct the stock, or ship fewer"
    )]
    NotInStock {
        /// What.
        article: ArticleId,
        /// From where.
        place: PlaceId,
        /// How many.
        needed: u32,
        /// How many are there.
        on_hand: u32,
    },
    /// Nothing of the order can be returned any more.
    #[error("order {order} cannot be returned any more, but its merchant can still refund it")]
    ReturnsOver {
        /// Which order.
        order: OrderId,
    },
    /// More than what was settled and not refunded yet.
    #[error("of order {order}, {} {currency} at most can be refunded", currency.format_amount(*left))]
    RefundTooLarge {
        /// Which order.
        order: OrderId,
        /// Which currency.
        currency: Currency,
        /// What can be.
        left: Amount,
    },
    /// Somebody who was paid for the order has not enough to give it back.
    #[error(
        "account {account} must give back {} {currency}, and has less available: it needs money first",
        currency.format_amount(*needed)
    )]
    RefundNotCovered {
        /// Who.
        account: AccountId,
        /// Which currency.
        currency: Currency,
        /// How much it must give.
        needed: Amount,
    },
    /// No such webhook of the caller's.
    #[error("you have no webhook {webhook}")]
    NoWebhook {
        /// Which.
        webhook: WebhookId,
    },
    /// Something with files.
    #[error(transparent)]
    Files(#[from] FilesRefusal),
}

/// What can be done, as the end of a sentence.
fn and_now(possible: &[StepKind]) -> String {
    if possible.is_empty() {
        return "there is nothing that you can do with it now".to_owned();
    }
    let words: Vec<String> = possible.iter().map(StepKind::to_string).collect();
    format!("you can {} it", words.join(" or "))
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
            Refusal::NoOwnArticle { .. } => "no_article",
            Refusal::InList { problem, .. } => problem.code(),
            Refusal::NoOrder { .. } => "no_order",
            Refusal::WrongState { .. } | Refusal::ParcelDelivered { .. } => "wrong_state",
            Refusal::NoParcel { .. } => "no_parcel",
            Refusal::TooManyOfArticle { .. } => "too_many",
            Refusal::NotInStock { .. } => "not_in_stock",
            Refusal::ReturnsOver { .. } => "returns_over",
            Refusal::RefundTooLarge { .. } => "refund_too_large",
            Refusal::RefundNotCovered { .. } => "refund_not_covered",
            Refusal::NoWebhook { .. } => "no_webhook",
            Refusal::Files(refusal) => refusal.code(),
        }
    }
}

/// Asks for each of a list whether it is right; says which is not.
pub(crate) fn in_list<'a, T>(
    list: &'a [T],
    mut check: impl FnMut(&'a T) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    (1..).zip(list).try_for_each(|(number, item)| {
        check(item).map_err(|problem| Refusal::InList { number, problem: Box::new(problem) })
    })
}
