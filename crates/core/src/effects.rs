//! What an entry leads to: answers for its callers, transfers for the journal, actions for the hub.

use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, EngineTag, Fuel, HoldId, JobId, OrderId, ParcelId,
    Price, RunId, TaskIndex, Time, TransferId, WebhookId, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::{Archived, Event, FilesDone, OrderAnswer, SalesHour};

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
    /// The articles that were added or changed, in the order of the request.
    Articles(Vec<ArticleId>),
    /// What came of each order, in the order of the batch.
    Orders(Vec<OrderAnswer>),
    /// The parcel that was sent.
    Parcel(ParcelId),
    /// The accounts that were opened, in the order of the request: their ids follow one another.
    Accounts {
        /// The first.
        first: AccountId,
        /// How many.
        count: u32,
    },
    /// The coupons that were added or changed, in the order of the request.
    Coupons(Vec<CouponId>),
    /// The webhook that was made or changed.
    Webhook(WebhookId),
    /// What came of a command of files.
    Files(FilesDone),
}

/// Everything that an entry leads to besides answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Settled movements of money, in order; their ids have no gaps.
    pub transfers: Vec<Transfer>,
    /// Steps that orders took, in order; their ids have no gaps.
    pub events: Vec<Event>,
    /// Orders that leave memory, for the archive.
    pub archived: Archived,
    /// What was sold in hours that are over, in order; the ids have no gaps.
    pub sales: Vec<SalesHour>,
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
    /// An order of goods, or a part of it. The payee gets the amount without fee and tax.
    Sale {
        /// Which order.
        order: OrderId,
        /// What the platform gets of the amount.
        fee: Amount,
        /// Who gets it.
        fee_to: AccountId,
        /// That account's transfer before this one in this currency; 0: none, or there is no fee.
        fee_prev: TransferId,
        /// What is tax of the amount.
        tax: Amount,
        /// Who hands it on.
        tax_to: AccountId,
        /// That account's transfer before this one in this currency; 0: none, or there is no tax.
        tax_prev: TransferId,
    },
    /// Money of an order that goes back the way it came. The payee, who bought, gets the amount; the payer, who sold,
    /// gives it without fee and tax; these come from who got them.
    Refund {
        /// Which order.
        order: OrderId,
        /// What the platform gives of the amount.
        fee: Amount,
        /// Who gives it.
        fee_to: AccountId,
        /// That account's transfer before this one in this currency; 0: none, or there is no fee.
        fee_prev: TransferId,
        /// What is tax of the amount.
        tax: Amount,
        /// Who gives it.
        tax_to: AccountId,
        /// That account's transfer before this one in this currency; 0: none, or there is no tax.
        tax_prev: TransferId,
    },
}

impl Transfer {
    /// Who gains or loses how much by it, the payer first; an account can stand there several times.
    pub fn legs(&self) -> impl Iterator<Item = (AccountId, Amount)> {
        let (fee, tax, back) = match self.cause {
            Cause::Sale { fee, fee_to, tax, tax_to, .. } => ((fee_to, fee), (tax_to, tax), false),
            Cause::Refund { fee, fee_to, tax, tax_to, .. } => ((fee_to, fee), (tax_to, tax), true),
            _ => ((self.payee, Amount::ZERO), (self.payee, Amount::ZERO), false),
        };
        let net = self.amount.0 - fee.1.0 - tax.1.0;
        // A refund is a sale backwards: the side of the merchant is the net one.
        let (given, taken) = if back { (net, self.amount.0) } else { (self.amount.0, net) };
        let sides = [(self.payer, Amount(-given)), (self.payee, Amount(taken))];
        let parts = [fee, tax].into_iter().filter(|(_, part)| *part != Amount::ZERO);
        let signed = move |part: Amount| if back { Amount(-part.0) } else { part };
        sides.into_iter().chain(parts.map(move |(of, part)| (of, signed(part))))
    }

    /// What an account gained by it, or lost; `None` when it has no part in it.
    pub fn change_of(&self, account: AccountId) -> Option<Amount> {
        let mine = self.legs().filter(|(of, _)| *of == account);
        mine.map(|(_, amount)| amount).reduce(|sum, amount| Amount(sum.0 + amount.0))
    }

    /// The transfer of an account before this one in this currency; 0: none, or it has no part in this one.
    pub fn before_of(&self, account: AccountId) -> TransferId {
        match self.cause {
            _ if account == self.payer => self.payer_prev,
            _ if account == self.payee => self.payee_prev,
            Cause::Sale { fee_to, fee_prev, fee, .. } | Cause::Refund { fee_to, fee_prev, fee, .. }
                if account == fee_to && fee != Amount::ZERO =>
            {
                fee_prev
            }
            Cause::Sale { tax_to, tax_prev, .. } | Cause::Refund { tax_to, tax_prev, .. }
                if account == tax_to =>
            {
                tax_prev
            }
            _ => TransferId(0),
        }
    }
}
