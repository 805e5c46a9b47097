//! Domain to wire: how the state looks in JSON.

use pumasi_api::wire::{self, market};
use pumasi_core::{
    Account, Article, ArticleText, Checks, Job, JobOutcome, JobState, Line, OrderState, OrderView, Owner,
    Parcel, Progress, Standing, State, StepKind, Task, TaskState, Tracking, Worker,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, Currency, Hash, JobId, OrderId, ParcelId, Price, TaskIndex, Time, WorkerId,
};

pub(super) fn credits(amount: Amount) -> String {
    Currency::CREDIT.format_amount(amount)
}

pub(super) fn price(price: Price) -> String {
    credits(price.as_amount())
}

pub(super) fn account_name(state: &State, id: AccountId) -> String {
    state.ledger().account(id).map_or_else(|| id.to_string(), |account| account.name().to_owned())
}

pub(super) fn account(state: &State, account: Account<'_>) -> wire::Account {
    let balance = |(currency, balance): (Currency, pumasi_core::Balance)| wire::Balance {
        currency: currency.code().to_owned(),
        available: currency.format_amount(balance.available),
        held: currency.format_amount(balance.held),
    };
    wire::Account {
        id: account.id(),
        name: account.name().to_owned(),
        roles: account.roles().iter().map(|role| role.to_string()).collect(),
        balances: account.balances().map(balance).collect(),
        record: state.owner(account.id()).map(record),
    }
}

fn record(owner: &Owner) -> wire::OwnerRecord {
    let standing = match owner.standing {
        Standing::New => "new",
        Standing::Proven => "proven",
        Standing::Caught => "caught",
    };
    wire::OwnerRecord {
        standing: standing.to_owned(),
        vouched: owner.is_vouched(),
        lacks: owner.lacks_to_be_proven(),
        agreed: owner.agreed_openly(),
        outvoted: owner.outvoted,
        unpaid_findings: owner.unpaid_findings() as u64,
        unpaid: credits(owner.unpaid()),
        lapsed: owner.lapsed,
        withdrawn: owner.withdrawn,
        caught_ms: owner.caught_at.map(|at| at.0 / 1_000_000),
    }
}

fn job_state(state: &JobState) -> &'static str {
    match state {
        JobState::Waiting { .. } => "waiting",
        JobState::Active => "active",
        JobState::Over { outcome, .. } => match outcome {
            JobOutcome::Succeeded => "succeeded",
            JobOutcome::Failed => "failed",
            JobOutcome::Cancelled => "cancelled",
            JobOutcome::Expired => "expired",
            JobOutcome::OutOfBudget => "out_of_budget",
            JobOutcome::DependencyFailed => "dependency_failed",
        },
    }
}

pub(super) fn job(state: &State, id: JobId, job: &Job) -> wire::Job {
    let over_ms = match job.state {
        JobState::Over { at, .. } => Some(at.0 / 1_000_000),
        _ => None,
    };
    wire::Job {
        id,
        name: job.spec.name.clone(),
        owner: account_name(state, job.owner),
        state: job_state(&job.state).to_owned(),
        over: over_ms.is_some(),
        tasks: job.counts.total,
        succeeded: job.counts.succeeded,
        failed: job.counts.failed,
        running: job.counts.running,
        quorum: job.spec.quorum,
        checks: match job.spec.checks {
            Checks::Hidden => wire::Checks::Hidden,
            Checks::Off => wire::Checks::Off,
        },
        provisional: job.provisional,
        doubted: job.doubts() as u32,
        withdrawn: job.withdrawn,
        waits_for: job.waits_for_another_owner().then(|| "another_owner".to_owned()),
        budget: credits(job.spec.budget),
        spent: credits(job.spent),
        fuel: job.fuel.0,
        bid: price(job.spec.bid),
        engine: job.spec.engine.0.clone(),
        module: job.spec.module,
        task_list: job.spec.task_list,
        submitted_ms: job.submitted.0 / 1_000_000,
        over_ms,
    }
}

pub(super) fn task_state(state: TaskState) -> &'static str {
    match state {
        TaskState::Open => "open",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Dropped => "dropped",
    }
}

pub(super) fn task(index: TaskIndex, task: &Task) -> wire::Task {
    let empty = [Hash::ZERO, pumasi_api::output::EMPTY_HASH];
    wire::Task {
        index,
        state: task_state(task.state).to_owned(),
        running: task.running,
        losses: task.losses,
        ending: task.ending,
        reason: task.ending.map(|ending| ending.to_string()),
        fuel: task.fuel.0,
        result: Some(task.result).filter(|hash| !empty.contains(hash)),
    }
}

pub(super) fn worker(state: &State, id: WorkerId, worker: &Worker) -> wire::Worker {
    let doing = match worker.running() {
        _ if worker.barred => "barred",
        _ if !worker.attached => "away",
        _ if !worker.accepting => "paused",
        _ if !worker.is_willing() => "failing",
        0 => "idle",
        _ => "working",
    };
    wire::Worker {
        id,
        name: worker.spec.name.clone(),
        owner: account_name(state, worker.owner),
        state: doing.to_owned(),
        cores: worker.spec.cores,
        memory_bytes: worker.spec.memory.0,
        speed: worker.spec.speed.0,
        engine: worker.spec.engine.0.clone(),
        ask: price(worker.spec.ask),
        runs: worker.running() as u64,
        verified: worker.verified,
        lost: worker.lost,
        outvoted: worker.outvoted,
        earned: credits(worker.earned),
    }
}

/// Where an order stands, for programs.
pub(crate) fn order_state(state: OrderState) -> &'static str {
    match state {
        OrderState::Placed => "placed",
        OrderState::Paid => "paid",
        OrderState::Allocated => "allocated",
        OrderState::PartlyShipped => "partly_shipped",
        OrderState::Shipped => "shipped",
        OrderState::Delivered => "delivered",
        OrderState::Completed => "completed",
        OrderState::Cancelled => "cancelled",
        OrderState::Expired => "expired",
        OrderState::ReturnRequested => "return_requested",
        OrderState::Returned => "returned",
        OrderState::Refunded => "refunded",
    }
}

/// A step of an order, as it stands at the end of its path.
pub(super) fn step(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Pay => "pay",
        StepKind::Allocate => "allocate",
        StepKind::Ship => "ship",
        StepKind::Deliver => "deliver",
        StepKind::Complete => "complete",
        StepKind::Cancel => "cancel",
        StepKind::RequestReturn => "return",
        StepKind::AcceptReturn => "accept-return",
        StepKind::RefuseReturn => "refuse-return",
        StepKind::Refund => "refund",
        StepKind::Scan => "scan",
    }
}

/// Parts of what is listed, which are lines, parcels' lines and shelves, after which a page ends: the loop waits while
/// they are looked at.
pub(super) const PARTS: usize = 20_000;

/// How many parts an order has.
pub(super) fn parts(view: &OrderView<'_>) -> usize {
    view.lines.len() + view.parcels().iter().map(|parcel| 1 + parcel.lines.len()).sum::<usize>()
}

/// An order and what became of it.
pub(super) fn order(state: &State, id: OrderId, view: OrderView<'_>) -> market::Order {
    let (market, order) = (state.market(), view.order);
    let money = |amount| order.currency.format_amount(amount);
    let ms = |time: Time| time.0 / 1_000_000;
    let line = |(at, line): (usize, &Line)| {
        let Progress { shipped, asked, returned } = view.progress(at);
        market::OrderLine {
            article: line.article,
            sku: market.text(line.article).map_or_else(String::new, |text| text.sku.to_string()),
            quantity: line.quantity,
            price: money(line.price),
            place: line.place,
            shipped,
            to_return: asked,
            returned,
        }
    };
    let content = |(line, quantity): &(u8, u32)| {
        let article = view.lines.get(usize::from(*line)).map(|line| line.article);
        // The order's own lines tell its SKU: there can be far more of these.
        market::SomeOf { article, sku: None, quantity: *quantity }
    };
    let parcel = |(number, parcel): (u32, &Parcel)| market::Parcel {
        parcel: ParcelId(number),
        carrier: account_name(state, parcel.carrier),
        tracking: parcel.tracking.to_string(),
        sent_ms: ms(parcel.sent),
        delivered_ms: parcel.delivered.map(ms),
        scan: parcel.scan.map(|scan| scan.code().to_owned()),
        status: parcel.scan.map(|scan| scan.status().word().to_owned()),
        lines: parcel.lines.iter().map(content).collect(),
    };
    let coupon = Some(order.coupon).filter(|coupon| coupon.0 != 0);
    market::Order {
        id,
        customer: account_name(state, order.customer),
        merchant: account_name(state, order.merchant),
        state: order_state(order.state).to_owned(),
        currency: order.currency.code().to_owned(),
        total: money(order.total),
        discount: coupon.map(|_| money(view.discount())),
        coupon,
        tax: money(order.tax),
        fee: money(order.fee),
        settled: order.settled,
        paid_out: money(view.settled()),
        refunded: money(view.refunded()),
        placed_ms: ms(order.placed),
        due_ms: view
            .due
            .filter(|_| {
                matches!(order.state, OrderState::Placed | OrderState::Shipped | OrderState::Delivered)
            })
            .map(ms),
        returns_until_ms: Some(ms(view.returns_until())).filter(|until| *until > 0),
        lines: view.lines.iter().enumerate().map(line).collect(),
        parcels: (1..).zip(view.parcels()).map(parcel).collect(),
    }
}

/// An article; what lies where only if that is to be `counted`.
pub(super) fn article(
    state: &State,
    (id, article, text): (ArticleId, &Article, &ArticleText),
    counted: bool,
) -> market::Article {
    let shelf = |shelf: &pumasi_core::Shelf| market::Shelf {
        place: shelf.place,
        on_hand: shelf.on_hand,
        reserved: shelf.reserved,
    };
    market::Article {
        id,
        merchant: account_name(state, article.merchant),
        sku: text.sku.to_string(),
        gtin: (text.gtin != 0).then(|| format!("{:08}", text.gtin)),
        title_ko: text.title_ko.to_string(),
        title_en: text.title_en.to_string(),
        category: text.category.to_string(),
        price: article.currency.format_amount(article.price),
        currency: article.currency.code().to_owned(),
        tax_bp: article.tax.parts(),
        tracking: match article.tracking() {
            Tracking::Untracked => market::Tracking::Untracked,
            Tracking::Counted => market::Tracking::Counted,
            Tracking::Backorder(more) => market::Tracking::Backorder(more),
        },
        on_sale: article.on_sale,
        stock: counted.then(|| article.shelves().map(shelf).collect()),
    }
}
