//! The state and `apply`, the one way to change it.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, Amount, ByteSize, Hash, HoldId, JobId, RunId, Time, WorkerId};
use serde::{Deserialize, Serialize};

use crate::access::Tokens;
use crate::command::{Command, Request};
use crate::compute::{Compute, Context};
use crate::effects::{Cause, Done, Effects};
use crate::files;
use crate::ledger::Movement;
use crate::market::Market;
use crate::requests::{Requests, content_of};
use crate::timers::{Timer, Timers};
use crate::{Files, FilesCommand, Job, Ledger, Owner, Refusal, Role, Worker};

/// What a request is answered.
pub type Answer = Result<Done, Refusal>;

/// What one entry led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One answer per request, in order.
    pub answers: Vec<Answer>,
    /// Everything else.
    pub effects: Effects,
}

/// All that a cell knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    now: Time,
    tokens: Tokens,
    ledger: Ledger,
    compute: Compute,
    market: Market,
    files: Files,
    requests: Requests,
    timers: Timers,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// The caller of the hub's own commands; also the issuer of money.
    pub const SYSTEM: AccountId = Ledger::ISSUER;
    /// How much of what is due is done in one entry, so that none takes long; the rest stays due.
    const DUE_STEPS: usize = 1 << 12;
    /// The same for pages of orders, besides twice as many as come.
    const PAGES: usize = 1 << 2;

    /// The state before the first entry.
    pub fn new() -> State {
        State {
            now: Time(0),
            tokens: Tokens::default(),
            ledger: Ledger::new(),
            compute: Compute::default(),
            market: Market::default(),
            files: Files::default(),
            requests: Requests::default(),
            timers: Timers::default(),
        }
    }

    /// Applies one entry: what is due first, then each request, then the scheduling they led to.
    ///
    /// `time` is the entry's; it never runs backwards, because the sequencer stamps it so.
    pub fn apply(&mut self, time: Time, requests: &[Request]) -> Applied {
        self.now = self.now.max(time);
        let mut effects = Effects::default();
        self.do_what_is_due(&mut effects);
        // More than come, so that they never pile up.
        self.requests.pass(self.now, State::DUE_STEPS + 2 * requests.len());
        let orders: usize = requests.iter().map(Request::orders).sum();
        self.market.pass(self.now, State::PAGES + 2 * Market::pages(orders), &mut effects);
        let claims: usize = requests.iter().map(Request::claims).sum();
        self.files.pass(self.now, State::DUE_STEPS + 2 * claims, &mut self.timers);
        let answers = requests.iter().map(|request| self.answer(request, &mut effects)).collect();
        let (compute, mut ctx) = self.compute(&mut effects);
        compute.schedule(&mut ctx);
        Applied { answers, effects }
    }

    /// The compute machine and what it works on.
    fn compute<'a>(&'a mut self, effects: &'a mut Effects) -> (&'a mut Compute, Context<'a>) {
        let (ledger, timers) = (&mut self.ledger, &mut self.timers);
        (&mut self.compute, Context { now: self.now, ledger, timers, effects })
    }

    /// The market machine and what it works on.
    fn selling<'a>(&'a mut self, effects: &'a mut Effects) -> (&'a mut Market, Context<'a>) {
        let (ledger, timers) = (&mut self.ledger, &mut self.timers);
        (&mut self.market, Context { now: self.now, ledger, timers, effects })
    }

    fn do_what_is_due(&mut self, effects: &mut Effects) {
        let mut steps = State::DUE_STEPS;
        while steps > 0
            && let Some(timer) = self.timers.pop_due(self.now)
        {
            steps -= 1;
            let (compute, mut ctx) = self.compute(effects);
            match timer {
                Timer::Hold(hold) => {
                    // A hold that was released by hand has taken its timer along.
                    let released = ctx.ledger.release(hold, ctx.timers);
                    debug_assert!(released.is_ok());
                }
                Timer::Deadline(job) => compute.expire(job, &mut ctx),
                Timer::Overdue(worker) => compute.check_overdue(worker, &mut steps, &mut ctx),
                Timer::ForgetJob(job) => compute.forget(job, &mut ctx),
                Timer::Tab(owner) => compute.check_tab(owner, &mut steps, &mut ctx),
                Timer::Retry(worker) => compute.retry(worker),
                Timer::Order(order) => {
                    let (market, mut ctx) = self.selling(effects);
                    steps = steps.saturating_sub(market.fall_due(order, &mut ctx));
                }
                Timer::Coupon(coupon) => {
                    let (market, mut ctx) = self.selling(effects);
                    market.coupon_falls_due(coupon, &mut ctx);
                }
                Timer::Space(space) => self.files.expire(space, self.now, &mut steps, &mut self.timers),
                Timer::Link(link) => self.files.end_link(link, &mut self.timers),
                Timer::Upload(upload) => {
                    steps = steps.saturating_sub(self.files.end_upload(upload, &mut self.timers));
                }
                Timer::Download(download) => self.files.forget_download(download, &mut self.timers),
            }
        }
    }

    /// Answers a request, from memory if it was answered before.
    fn answer(&mut self, request: &Request, effects: &mut Effects) -> Answer {
        let Some(id) = request.id else { return self.carry_out(request, effects) };
        let (key, content) = ((request.caller, id), content_of(&request.command));
        if let Some(before) = self.requests.recall(key, content) {
            return before;
        }
        let answer = self.carry_out(request, effects);
        self.requests.remember(key, content, answer.clone());
        answer
    }

    fn carry_out(&mut self, request: &Request, effects: &mut Effects) -> Answer {
        let caller = request.caller;
        match &request.command {
            Command::Start => {
                self.hub_only(caller)?;
                self.compute.detach_all(self.now);
                Ok(Done::Ok)
            }
            Command::Tick => self.hub_only(caller).map(|()| Done::Ok),
            Command::Draw { seed } => {
                self.hub_only(caller)?;
                self.compute.draw(*seed);
                self.market.scatter(*seed as u64);
                self.ledger.scatter((*seed >> 64) as u64);
                Ok(Done::Ok)
            }
            Command::Vouch { account, vouched } => {
                self.needs(caller, Role::Operator)?;
                self.ledger.account(*account).ok_or(Refusal::NoAccount { account: *account })?;
                let operator = self.has_role(*account, Role::Operator);
                Ok(self.compute.vouch(*account, *vouched, operator))
            }
            Command::OpenAccount { .. }
            | Command::OpenCustomers { .. }
            | Command::AddToken { .. }
            | Command::RevokeToken { .. } => self.access(caller, &request.command),
            Command::Issue { .. }
            | Command::Transfer { .. }
            | Command::Hold { .. }
            | Command::Settle { .. }
            | Command::Release { .. } => self.money(caller, &request.command, effects),
            Command::SetMarket(_)
            | Command::SetShop(_)
            | Command::PutArticles(_)
            | Command::ChangeStock(_)
            | Command::PutCoupons(_)
            | Command::PlaceOrders(_)
            | Command::StepOrder { .. } => self.sales(caller, &request.command, effects),
            Command::SetWebhook(_)
            | Command::RemoveWebhook { .. }
            | Command::RenewWebhookSecret { .. }
            | Command::ReplayWebhook { .. }
            | Command::ReportWebhooks(_) => self.telling(caller, &request.command),
            Command::Files(command) => self.filing(caller, command),
            _ => self.computation(caller, &request.command, effects),
        }
    }

    fn access(&mut self, caller: AccountId, command: &Command) -> Answer {
        match command {
            Command::OpenAccount { name, roles, token } => {
                self.needs(caller, Role::Operator)?;
                if self.tokens.account(token).is_some() {
                    return Err(Refusal::TokenTaken);
                }
                let account = self.ledger.open_account(self.now, name, *roles)?;
                self.tokens.add(*token, account);
                self.market.know(self.ledger.accounts().len());
                Ok(Done::Account(account))
            }
            Command::OpenCustomers { names } => {
                if !self.has_role(caller, Role::Operator) {
                    self.needs(caller, Role::Storefront)?;
                }
                let first = self.ledger.open_customers(self.now, names)?;
                self.market.know(self.ledger.accounts().len());
                Ok(Done::Accounts { first, count: names.len() as u32 })
            }
            Command::AddToken { account, token } => {
                self.own_or_operator(caller, *account)?;
                self.ledger.account(*account).ok_or(Refusal::NoAccount { account: *account })?;
                if self.tokens.add(*token, *account) { Ok(Done::Ok) } else { Err(Refusal::TokenTaken) }
            }
            Command::RevokeToken { token } => {
                let account = self.tokens.account(token).ok_or(Refusal::NoToken)?;
                self.own_or_operator(caller, account)?;
                self.tokens.revoke(token);
                Ok(Done::Ok)
            }
            _ => Err(Refusal::HubOnly),
        }
    }

    fn money(&mut self, caller: AccountId, command: &Command, effects: &mut Effects) -> Answer {
        let (now, journal) = (self.now, &mut effects.transfers);
        match *command {
            Command::Issue { to, currency, amount } => {
                self.needs(caller, Role::Operator)?;
                let movement = Movement { payer: Ledger::ISSUER, payee: to, currency, amount };
                self.ledger.transfer(now, movement, Cause::Issue, journal).map(Done::Transfer)
            }
            Command::Transfer { to, currency, amount } => {
                self.not_the_issuer(caller)?;
                let movement = Movement { payer: caller, payee: to, currency, amount };
                self.ledger.transfer(now, movement, Cause::Transfer, journal).map(Done::Transfer)
            }
            Command::Hold { currency, amount, expires } => {
                let money = (currency, amount);
                self.ledger.hold_money(now, caller, money, expires, false, &mut self.timers).map(Done::Hold)
            }
            Command::Settle { hold, to, amount } => {
                self.own_free_hold(caller, hold)?;
                let cause = Cause::Settle { hold };
                let transfer = self.ledger.settle(now, hold, to, amount, cause, journal)?;
                if self.ledger.hold(hold).is_some_and(|hold| hold.left == Amount::ZERO) {
                    self.ledger.release(hold, &mut self.timers)?;
                }
                Ok(Done::Transfer(transfer))
            }
            Command::Release { hold } => {
                self.own_free_hold(caller, hold)?;
                self.ledger.release(hold, &mut self.timers).map(Done::Released)
            }
            _ => Err(Refusal::HubOnly),
        }
    }

    fn sales(&mut self, caller: AccountId, command: &Command, effects: &mut Effects) -> Answer {
        match command {
            Command::SetMarket(terms) => {
                self.needs(caller, Role::Operator)?;
                self.market.set_terms(*terms, &self.ledger).map(|()| Done::Ok)
            }
            Command::SetShop(terms) => {
                self.needs(caller, Role::Merchant)?;
                self.market.set_shop(caller, *terms).map(|()| Done::Ok)
            }
            Command::PutArticles(specs) => {
                self.needs(caller, Role::Merchant)?;
                self.market.put_articles(caller, specs).map(Done::Articles)
            }
            Command::ChangeStock(changes) => {
                self.needs(caller, Role::Merchant)?;
                self.market.change_stock(caller, changes).map(|()| Done::Ok)
            }
            Command::PutCoupons(specs) => {
                self.needs(caller, Role::Merchant)?;
                let (market, mut ctx) = self.selling(effects);
                market.put_coupons(caller, specs, &mut ctx).map(Done::Coupons)
            }
            Command::PlaceOrders(batch) => {
                let storefront = self.has_role(caller, Role::Storefront);
                let (market, mut ctx) = self.selling(effects);
                Ok(Done::Orders(market.place_orders(caller, storefront, batch, &mut ctx)))
            }
            Command::StepOrder { order, step } => {
                let storefront = self.has_role(caller, Role::Storefront);
                let (market, mut ctx) = self.selling(effects);
                market.step(caller, storefront, *order, step, &mut ctx)
            }
            _ => Err(Refusal::HubOnly),
        }
    }

    fn filing(&mut self, caller: AccountId, command: &FilesCommand) -> Answer {
        if Files::is_for_hub(command) {
            self.hub_only(caller)?;
        }
        let operator = self.has_role(caller, Role::Operator);
        let (now, ledger, timers) = (self.now, &self.ledger, &mut self.timers);
        self.files.carry_out(caller, operator, command, &mut files::Context { now, ledger, timers })
    }

    fn telling(&mut self, caller: AccountId, command: &Command) -> Answer {
        match command {
            Command::SetWebhook(spec) => {
                self.needs(caller, spec.role()?)?;
                self.market.set_webhook(caller, spec).map(Done::Webhook)
            }
            Command::RemoveWebhook { webhook } => {
                self.market.webhooks_mut().remove(caller, *webhook).map(|()| Done::Ok)
            }
            Command::RenewWebhookSecret { webhook } => {
                let renewed = self.market.webhooks_mut().renew_secret(caller, *webhook, self.now);
                renewed.map(|()| Done::Webhook(*webhook))
            }
            Command::ReplayWebhook { webhook, replay } => {
                let replayed = self.market.webhooks_mut().replay(caller, *webhook, *replay, self.now);
                replayed.map(|()| Done::Ok)
            }
            Command::ReportWebhooks(reports) => {
                self.hub_only(caller)?;
                self.market.follow_webhooks(reports, self.now);
                Ok(Done::Ok)
            }
            _ => Err(Refusal::HubOnly),
        }
    }

    fn computation(&mut self, caller: AccountId, command: &Command, effects: &mut Effects) -> Answer {
        match command {
            Command::SubmitJob(_) => self.needs(caller, Role::Researcher)?,
            Command::AttachWorker(_) | Command::SetWorker { .. } | Command::Report { .. } => {
                self.needs(caller, Role::Owner)?;
            }
            Command::DetachWorker { .. } | Command::LoseWorker { .. } => self.hub_only(caller)?,
            _ => {}
        }
        let operator = self.has_role(caller, Role::Operator);
        let (compute, mut ctx) = self.compute(effects);
        let ctx = &mut ctx;
        let mut kept = Vec::new();
        let answer = match command {
            Command::SubmitJob(spec) => compute.submit(caller, spec, ctx),
            Command::CancelJob { job } => compute.cancel(caller, operator, *job, ctx),
            Command::AttachWorker(spec) => compute.attach(caller, operator, spec, ctx),
            Command::DetachWorker { worker, link } => compute.detach(*worker, *link, ctx.now),
            Command::LoseWorker { worker, link } => Ok(compute.lose(*worker, *link, ctx)),
            Command::SetWorker { worker, accepting, returned } => {
                compute.set_worker(caller, *worker, *accepting, returned, ctx)
            }
            Command::Report { worker, runs } => compute.report(caller, *worker, runs, ctx).map(|reported| {
                kept = reported.1;
                reported.0
            }),
            _ => Err(Refusal::HubOnly),
        };
        if self.files.unfiled(caller).0 > 0 {
            // An output that a job keeps is the job's.
            self.files.count_elsewhere(caller, kept);
        }
        answer
    }

    fn hub_only(&self, caller: AccountId) -> Result<(), Refusal> {
        if caller == State::SYSTEM { Ok(()) } else { Err(Refusal::HubOnly) }
    }

    fn has_role(&self, account: AccountId, role: Role) -> bool {
        self.ledger.account(account).is_some_and(|a| a.roles().contains(role))
    }

    fn needs(&self, caller: AccountId, role: Role) -> Result<(), Refusal> {
        if self.has_role(caller, role) { Ok(()) } else { Err(Refusal::WrongRole { needed: role }) }
    }

    fn own_or_operator(&self, caller: AccountId, account: AccountId) -> Result<(), Refusal> {
        // Nobody gets a token that speaks for the hub itself.
        if account != State::SYSTEM && (caller == account || self.has_role(caller, Role::Operator)) {
            return Ok(());
        }
        Err(Refusal::NotYours { what: format!("account {account}") })
    }

    fn not_the_issuer(&self, caller: AccountId) -> Result<(), Refusal> {
        if caller == Ledger::ISSUER { Err(Refusal::invalid("payer", "cannot be the issuer")) } else { Ok(()) }
    }

    /// The hold must be the caller's, and not the budget of something.
    fn own_free_hold(&self, caller: AccountId, id: HoldId) -> Result<(), Refusal> {
        let hold = self.ledger.hold(id).ok_or(Refusal::NoHold { hold: id })?;
        if hold.owner != caller {
            return Err(Refusal::NotYours { what: format!("hold {id}") });
        }
        if hold.bound { Err(Refusal::HoldInUse { hold: id }) } else { Ok(()) }
    }

    /// Log time of the last entry.
    pub fn now(&self) -> Time {
        self.now
    }

    /// When something is due next; a [`Command::Tick`] then makes it happen.
    pub fn next_due(&self) -> Option<Time> {
        if self.is_behind() { Some(self.now) } else { self.timers.next() }
    }

    /// Whether something was too much for one entry: the next ones, of whatever kind, go on with it, so there should be
    /// one at once.
    pub fn is_behind(&self) -> bool {
        self.compute.is_behind() || self.market.is_behind() || self.files.is_behind()
    }

    /// Whose token has this hash.
    pub fn account_of_token(&self, token: &Hash) -> Option<AccountId> {
        self.tokens.account(token)
    }

    /// Accounts, balances and holds.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Articles, stock and orders.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Spaces and files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// All jobs that are not forgotten.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        self.compute.jobs()
    }

    /// One job.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.compute.job(id)
    }

    /// Whether a machine of this account has a run of this job: it needs its inputs.
    pub fn works_on(&self, account: AccountId, job: JobId) -> bool {
        self.compute.works_on(account, job)
    }

    /// How many bytes stdout, stderr and files of a run may have together, if a worker has it.
    pub fn output_limit(&self, worker: WorkerId, run: RunId) -> Option<ByteSize> {
        self.compute.output_limit(worker, run)
    }

    /// The record of an account that lends machines or is vouched for.
    pub fn owner(&self, id: AccountId) -> Option<&Owner> {
        self.compute.owner(id)
    }

    /// All records.
    pub fn owners(&self) -> &BTreeMap<AccountId, Owner> {
        self.compute.owners()
    }

    /// All workers that are not forgotten.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = (WorkerId, &Worker)> {
        self.compute.workers()
    }

    /// One worker.
    pub fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.compute.worker(id)
    }

    /// Panics unless every invariant holds. For tests, simulation and audits; walks the whole state.
    pub fn sanity_check(&self) {
        self.ledger.sanity_check(self.market.held());
        self.market.sanity_check(&self.timers);
        self.compute.sanity_check(&self.ledger);
        self.requests.sanity_check();
        self.files.sanity_check(&self.timers);
    }
}
