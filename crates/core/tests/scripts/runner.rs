//! Carries out the lines of a script and tells what happened.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Context};
use pumasi_core::{
    Action, Answer, Applied, Cause, Checks, Command, Done, JobOutcome, JobSpec, JobState, Request, Role,
    RunReport, STATE_VERSION, Standing, State, TaskState, Transfer, WorkerSpec, decode_requests,
    decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, Currency, Duration, Ending, EngineId, Fuel, Hash, HoldId, JobId, Price, RequestId,
    RunId, Time, Trap, WorkerId,
};

use crate::common::{self, BEGIN};
use crate::kept::Kept;

#[path = "coupons.rs"]
mod coupons;
#[path = "files.rs"]
mod files;
#[path = "market.rs"]
mod market;
#[path = "webhooks.rs"]
mod webhooks;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A hub as its clients see it, driven by hand.
pub(crate) struct Pool {
    state: State,
    now: Time,
    /// Every entry so far, as the log would keep it.
    log: Vec<(Time, Vec<u8>)>,
    /// What the entries led to.
    kept: Kept,
    /// Workers by what people call them.
    workers: BTreeMap<String, WorkerId>,
    /// What each worker was last told to do.
    runs: BTreeMap<WorkerId, Vec<RunId>>,
}

impl Pool {
    /// A hub that nobody has used.
    pub(crate) fn new() -> Pool {
        Pool {
            state: State::new(),
            now: BEGIN,
            log: Vec::new(),
            kept: Kept::new(),
            workers: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Sends one request as an entry of its own; tells the answer and everything that followed.
    fn ask(&mut self, caller: AccountId, args: &mut Args<'_>, command: Command) -> Outcome<String> {
        let caller = match args.take_key("by") {
            Some(name) => self.account(name)?,
            None => caller,
        };
        let id = args.take_key("request").map(|word| {
            let digits = Hash::of(word.as_bytes()).as_bytes()[..16].try_into().expect("16 of 32 bytes");
            RequestId(u128::from_be_bytes(digits))
        });
        args.reject_next()?;
        let mut payload = Vec::new();
        encode_request(&mut payload, &Request { caller, id, command });
        let before = self.state.clone();
        let applied = self.state.apply(self.now, &decode_requests(&payload)?);
        if id.is_none() && applied.answers.iter().all(Result::is_err) {
            assert!(before == self.state, "a refusal changes nothing");
        }
        self.log.push((self.now, payload));
        self.kept.take(&applied.effects, &self.state);
        self.tell(&applied)
    }

    /// What an entry led to, in plain words.
    fn tell(&mut self, applied: &Applied) -> Outcome<String> {
        let mut text = String::new();
        for answer in &applied.answers {
            writeln!(text, "{}", self.tell_answer(answer))?;
        }
        for transfer in &applied.effects.transfers {
            writeln!(text, "money: {}", self.tell_transfer(transfer))?;
        }
        for action in &applied.effects.actions {
            writeln!(text, "hub: {}", self.tell_action(action))?;
        }
        Ok(text)
    }

    fn tell_answer(&mut self, answer: &Answer) -> String {
        match answer {
            Err(refusal) => format!("refused ({}): {refusal}", refusal.code()),
            Ok(Done::Ok) => "done".into(),
            Ok(Done::Account(account)) => format!("account {account}"),
            Ok(Done::Accounts { first, count }) => format!("{count} accounts from {first} on"),
            Ok(Done::Hold(hold)) => format!("hold {hold}"),
            Ok(Done::Transfer(transfer)) => format!("transfer {transfer}"),
            Ok(Done::Released(amount)) => format!("released {}", credits(*amount)),
            Ok(Done::Job(job)) => format!("job {job}"),
            Ok(Done::Articles(articles)) => {
                format!("articles {}", list(articles, |article| article.to_string()))
            }
            Ok(Done::Coupons(coupons)) => format!("coupons {}", list(coupons, |coupon| coupon.to_string())),
            Ok(Done::Orders(answers)) => self.tell_orders(answers),
            Ok(Done::Webhook(webhook)) => format!("webhook {webhook}"),
            Ok(Done::Files(done)) => self.tell_files(done),
            Ok(Done::Parcel(parcel)) => format!("parcel {parcel}"),
            Ok(Done::Attached { worker, link, unwanted }) => {
                if let Some(spec) = self.state.worker(*worker).map(|worker| &worker.spec) {
                    self.workers.insert(spec.name.clone(), *worker);
                }
                let unwanted = list(unwanted, |run| run.to_string());
                let drop =
                    if unwanted.is_empty() { String::new() } else { format!(", drop runs {unwanted}") };
                format!("worker {worker}, link {link}{drop}")
            }
            Ok(Done::Reported { refused }) if refused.is_empty() => "report taken".into(),
            Ok(Done::Reported { refused }) => {
                format!("report taken, but not of runs {}", list(refused, |run| run.to_string()))
            }
        }
    }

    fn tell_transfer(&self, transfer: &Transfer) -> String {
        let Transfer { payer, payee, currency, amount, .. } = *transfer;
        let why = match transfer.cause {
            Cause::Issue => "new money".into(),
            Cause::Transfer => "as asked".into(),
            Cause::Settle { hold } => format!("out of hold {hold}"),
            Cause::Run { job, task, run, worker, .. } => {
                format!("run {run} of job {job}, task {task}, on {}", self.worker_name(worker))
            }
            Cause::Sale { order, fee, fee_to, tax, tax_to, .. } => {
                let (fee, tax) = (currency.format_amount(fee), currency.format_amount(tax));
                format!("order {order}; {fee} to {}, {tax} to {}", self.name(fee_to), self.name(tax_to))
            }
            Cause::Refund { order, fee, fee_to, tax, tax_to, .. } => {
                let (fee, tax) = (currency.format_amount(fee), currency.format_amount(tax));
                format!(
                    "back of order {order}; {fee} from {}, {tax} from {}",
                    self.name(fee_to),
                    self.name(tax_to)
                )
            }
        };
        let amount = currency.format_amount(amount);
        format!("{} pays {} {amount} {currency} ({why})", self.name(payer), self.name(payee))
    }

    fn tell_action(&mut self, action: &Action) -> String {
        match action {
            Action::Assign { worker, job, runs } => {
                self.runs.entry(*worker).or_default().extend(runs.iter().map(|run| run.run));
                let runs = list(runs, |run| format!("{} (task {})", run.run, run.task));
                format!("{}, do of job {job} runs {runs}", self.worker_name(*worker))
            }
            Action::Stop { worker, runs } => {
                self.runs.entry(*worker).or_default().retain(|run| !runs.contains(run));
                format!("{}, stop runs {}", self.worker_name(*worker), list(runs, |run| run.to_string()))
            }
            Action::JobReopened { job } => format!("job {job} is open again"),
            Action::JobOver { job } => {
                let outcome = self.state.job(*job).and_then(|job| job.outcome());
                format!("job {job} {}", outcome.map_or("is over", outcome_words))
            }
        }
    }

    fn account(&self, name: &str) -> Outcome<AccountId> {
        if name == "hub" {
            return Ok(State::SYSTEM);
        }
        Ok(self.state.ledger().account_named(name).ok_or_else(|| format!("no account '{name}'"))?)
    }

    fn name(&self, account: AccountId) -> &str {
        self.state.ledger().account(account).map_or("nobody", |account| account.name())
    }

    fn worker(&self, name: &str) -> Outcome<WorkerId> {
        match self.workers.get(name) {
            Some(worker) => Ok(*worker),
            None => name.parse().map_err(|_| format!("no worker '{name}'").into()),
        }
    }

    fn worker_name(&self, worker: WorkerId) -> &str {
        self.state.worker(worker).map_or("nobody", |worker| &worker.spec.name)
    }

    fn owner(&self, worker: WorkerId) -> AccountId {
        self.state.worker(worker).map_or(State::SYSTEM, |worker| worker.owner)
    }

    fn run_line(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        match name {
            "vouch" => {
                let account = self.account(next(args, "for whom")?)?;
                let vouched = args.next_pos() != Some("off");
                self.ask(State::SYSTEM, args, Command::Vouch { account, vouched })
            }
            "open" | "customers" | "token" | "revoke" | "whose" => self.access(name, args),
            "issue" | "transfer" | "hold" | "settle" | "release" => self.money(name, args),
            "submit" | "cancel" => self.order(name, args),
            "attach" | "detach" | "lose" | "pause" | "resume" | "return" | "report" => self.work(name, args),
            "market" | "shop" | "article" | "stock" | "order" | "fill" => self.sell(name, args),
            "coupon" => self.put_coupon(args),
            "pay" | "allocate" | "ship" | "deliver" | "complete" | "cancel_order" | "ask_return"
            | "take_return" | "refuse_return" | "refund" | "scan" => self.go_on(name, args),
            "space" | "member" | "quota" | "keep" | "remove_space" | "claim" | "link" | "use_link" => {
                self.organise(name, args)
            }
            "put" | "mkdir" | "mv" | "cp" | "rm" | "undo" | "empty" | "revert" | "read" | "cut" => {
                self.file(name, args)
            }
            "hook" | "unhook" | "renew" | "replay" | "told" => self.hook(name, args),
            "wait" => {
                self.now = self.now.after(duration(next(args, "how long")?)?);
                self.ask(State::SYSTEM, args, Command::Tick)
            }
            "live" => {
                let end = self.now.after(duration(next(args, "how long")?)?);
                while self.now < end {
                    self.now = self.now.after(Duration::from_secs(60)).min(end);
                    let effects = self.state.apply(self.now, &[]).effects;
                    self.kept.take(&effects, &self.state);
                    self.log.push((self.now, Vec::new()));
                }
                self.ask(State::SYSTEM, args, Command::Tick)
            }
            "tick" => self.ask(State::SYSTEM, args, Command::Tick),
            "draw" => {
                let seed = next(args, "seed")?.parse()?;
                self.ask(State::SYSTEM, args, Command::Draw { seed })
            }
            "start" => self.ask(State::SYSTEM, args, Command::Start),
            _ => self.look(name, args),
        }
    }

    fn access(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let first = next(args, "name")?;
        let token = |word: &str| Hash::of(word.as_bytes());
        match name {
            "open" => {
                let word = token(args.take_key("token").unwrap_or(first));
                let mut roles = Vec::new();
                while let Some(role) = args.next_pos() {
                    roles.push(role.parse::<Role>()?);
                }
                let command = Command::OpenAccount {
                    name: first.into(),
                    roles: roles.into_iter().collect(),
                    token: word,
                };
                self.ask(State::SYSTEM, args, command)
            }
            "customers" => {
                let by = self.account(first)?;
                let mut names = Vec::new();
                while let Some(name) = args.next_pos() {
                    names.push(name.to_owned());
                }
                self.ask(by, args, Command::OpenCustomers { names })
            }
            "token" => {
                let account = self.account(first)?;
                let token = token(next(args, "token")?);
                self.ask(account, args, Command::AddToken { account, token })
            }
            "revoke" => {
                let account = self.account(first)?;
                let token = token(next(args, "token")?);
                self.ask(account, args, Command::RevokeToken { token })
            }
            _ => {
                let account = self.state.account_of_token(&token(first));
                Ok(account.map_or("nobody's", |account| self.name(account)).to_owned())
            }
        }
    }

    fn money(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let currency: Currency = args.take_key("currency").unwrap_or("CRD").parse()?;
        let who = self.account(next(args, "whose")?)?;
        match name {
            "issue" => {
                let amount = currency.parse_amount(next(args, "amount")?)?;
                self.ask(State::SYSTEM, args, Command::Issue { to: who, currency, amount })
            }
            "transfer" => {
                let to = next(args, "to whom")?;
                let to = self.account(to).or_else(|_| to.parse())?;
                let amount = currency.parse_amount(next(args, "amount")?)?;
                self.ask(who, args, Command::Transfer { to, currency, amount })
            }
            "hold" => {
                let amount = currency.parse_amount(next(args, "amount")?)?;
                let expires = args.take_key("for").map(duration).transpose()?;
                let expires = expires.map(|span| self.now.after(span));
                self.ask(who, args, Command::Hold { currency, amount, expires })
            }
            "settle" => {
                let hold: HoldId = next(args, "hold")?.parse()?;
                let to = self.account(next(args, "to whom")?)?;
                let amount = currency.parse_amount(next(args, "amount")?)?;
                self.ask(who, args, Command::Settle { hold, to, amount })
            }
            _ => {
                let hold: HoldId = next(args, "hold")?.parse()?;
                self.ask(who, args, Command::Release { hold })
            }
        }
    }

    fn order(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let owner = self.account(next(args, "whose")?)?;
        if name == "cancel" {
            let job: JobId = next(args, "job")?.parse()?;
            return self.ask(owner, args, Command::CancelJob { job });
        }
        let mut spec = common::job(next(args, "name")?, 1, credit("100")?);
        job_settings(&mut spec, args, self.now)?;
        self.ask(owner, args, Command::SubmitJob(Arc::new(spec)))
    }

    fn work(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        if name == "attach" {
            let owner = self.account(next(args, "whose")?)?;
            let spec = machine_settings(args)?;
            return self.ask(owner, args, Command::AttachWorker(spec));
        }
        let worker = self.worker(next(args, "worker")?)?;
        let owner = self.owner(worker);
        let link = self.state.worker(worker).map_or(0, |worker| worker.link);
        let link = args.take_key("link").map(str::parse).transpose()?.unwrap_or(link);
        match name {
            "detach" => self.ask(State::SYSTEM, args, Command::DetachWorker { worker, link }),
            "lose" => {
                self.runs.remove(&worker);
                self.ask(State::SYSTEM, args, Command::LoseWorker { worker, link })
            }
            "report" => {
                let drawn = args.take_key("check");
                let runs = self.reports(worker, args)?;
                if let Some(drawn) = drawn {
                    self.draw_for(owner, &Command::Report { worker, runs: runs.clone() }, drawn)?;
                }
                self.ask(owner, args, Command::Report { worker, runs })
            }
            _ => {
                let mut returned: Vec<RunId> = Vec::new();
                while let Some(run) = args.next_pos() {
                    returned.push(run.parse()?);
                }
                let accepting =
                    name == "resume" || (name == "return" && args.take_key("then") != Some("pause"));
                self.runs.entry(worker).or_default().retain(|run| !returned.contains(run));
                self.ask(owner, args, Command::SetWorker { worker, accepting, returned })
            }
        }
    }

    /// Draws a seed with which a report leads to so many more checks.
    fn draw_for(&mut self, owner: AccountId, report: &Command, checks: &str) -> Outcome<()> {
        let request = |caller, command| Request { caller, id: None, command };
        let wanted: usize = checks.parse()?;
        let draw = |seed| request(State::SYSTEM, Command::Draw { seed });
        let seed = (0..10_000).find(|seed| {
            let mut state = self.state.clone();
            let before = doubts(&state);
            state.apply(self.now, &[draw(*seed), request(owner, report.clone())]);
            doubts(&state) == before + wanted
        });
        let seed = seed.ok_or("no seed leads to that")?;
        let mut payload = Vec::new();
        encode_request(&mut payload, &draw(seed));
        self.state.apply(self.now, &decode_requests(&payload)?);
        self.log.push((self.now, payload));
        Ok(())
    }

    /// The named runs, or all that the worker has, with one and the same finding.
    fn reports(&mut self, worker: WorkerId, args: &mut Args<'_>) -> Outcome<Vec<RunReport>> {
        let mut runs: Vec<RunId> = Vec::new();
        while let Some(run) = args.next_pos() {
            match run {
                "all" => runs.extend(self.runs.get(&worker).into_iter().flatten()),
                run => runs.push(run.parse()?),
            }
        }
        self.runs.entry(worker).or_default().retain(|run| !runs.contains(run));
        let ending = ending(args.take_key("ending").unwrap_or("exit-0"))?;
        let fuel = args.take_key("fuel").map(fuel).transpose()?.unwrap_or(Fuel(500_000_000));
        let wall = args.take_key("wall").map(duration).transpose()?.unwrap_or(Duration::from_secs(10));
        let result = Hash::of(args.take_key("result").unwrap_or("right").as_bytes());
        Ok(runs.into_iter().map(|run| RunReport { run, ending, fuel, wall, result }).collect())
    }

    fn look(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let text = match name {
            "books" => self.look_at_books(),
            "account" => self.look_at_account(next(args, "account")?)?,
            "statement" => self.look_at_statement(next(args, "account")?)?,
            "job" => self.look_at_job(next(args, "job")?.parse()?)?,
            "tasks" => self.look_at_tasks(next(args, "job")?.parse()?)?,
            "goods" => self.look_at_goods(next(args, "merchant")?)?,
            "coupons" => self.look_at_coupons(next(args, "merchant")?)?,
            "sales" => self.look_at_sales()?,
            "hooks" => self.look_at_webhooks()?,
            "spaces" | "ls" | "trash" | "versions" | "links" => self.look_at_files(name, args)?,
            "feed" => self.look_at_feed(next(args, "party")?, next(args, "account")?)?,
            "see" => self.look_at_order(next(args, "order")?.parse()?)?,
            "owner" => self.look_at_owner(next(args, "owner")?)?,
            "worker" => self.look_at_worker(next(args, "worker")?)?,
            "due" => match self.state.next_due() {
                None => "nothing is due".into(),
                Some(at) => format!("in {}", span(at.since(self.now))),
            },
            _ => return Err(format!("unknown line '{name}'").into()),
        };
        args.reject_next()?;
        Ok(text)
    }

    fn look_at_books(&self) -> String {
        let mut text = String::new();
        for (currency, books) in self.state.ledger().books() {
            let amount =
                |minor: i128| currency.format_amount(Amount(i64::try_from(minor).unwrap_or(i64::MAX)));
            let balance = if books.sum == 0 { "balanced" } else { "NOT BALANCED" };
            let (issued, held) = (amount(books.issued), amount(books.held));
            let _ = writeln!(text, "{currency}: {issued} in circulation, {held} of it held, {balance}");
        }
        text
    }

    fn look_at_account(&self, name: &str) -> Outcome<String> {
        let account = self.state.ledger().account(self.account(name)?).ok_or("no such account")?;
        let roles = list(&account.roles().iter().collect::<Vec<_>>(), |role| role.to_string());
        let mut text = format!("{name} ({})", if roles.is_empty() { "no role" } else { &roles });
        for (currency, balance) in account.balances() {
            let amount = |amount| currency.format_amount(amount);
            write!(text, "; {} {currency} available", amount(balance.available))?;
            if balance.held.is_positive() {
                write!(text, ", {} held", amount(balance.held))?;
            }
        }
        Ok(text)
    }

    /// Follows the chain of an account's transfers backwards, as a statement does.
    fn look_at_statement(&self, name: &str) -> Outcome<String> {
        let id = self.account(name)?;
        let account = self.state.ledger().account(id).ok_or("no such account")?;
        let mut text = String::new();
        for (currency, balance) in account.balances() {
            let mut at = balance.last_transfer;
            while at.0 > 0 {
                let transfer = &self.kept.transfers[at.0 as usize - 1];
                assert_eq!((transfer.id, transfer.currency), (at, currency), "the journal has no gaps");
                writeln!(text, "{at}: {}", self.tell_transfer(transfer))?;
                at = transfer.before_of(id);
            }
        }
        Ok(if text.is_empty() { "no transfers".into() } else { text })
    }

    fn look_at_job(&self, id: JobId) -> Outcome<String> {
        let Some(job) = self.state.job(id) else { return Ok(format!("job {id} is unknown")) };
        let state = match &job.state {
            JobState::Waiting { unfinished } => format!("waits for {unfinished} jobs"),
            JobState::Active => "is active".into(),
            JobState::Over { outcome, .. } => outcome_words(*outcome).into(),
        };
        let counts = &job.counts;
        let mut trust = String::new();
        for (count, what) in [
            (job.provisional as usize, "not paid yet"),
            (job.doubts(), "doubted"),
            (job.withdrawn as usize, "taken back"),
        ] {
            if count > 0 {
                write!(trust, "; {count} {what}")?;
            }
        }
        let waits = if job.waits_for_another_owner() { "; waits for another owner" } else { "" };
        Ok(format!(
            "{} {state}: of {} tasks {} succeeded, {} failed; {} runs with workers; spent {} of {}{trust}{waits}",
            job.spec.name,
            counts.total,
            counts.succeeded,
            counts.failed,
            counts.running,
            credits(job.spent),
            credits(job.spec.budget)
        ))
    }

    fn look_at_tasks(&self, id: JobId) -> Outcome<String> {
        let job = self.state.job(id).ok_or("no such job")?;
        let mut text = String::new();
        for (index, task) in job.tasks_from(pumasi_types::TaskIndex(0)) {
            let state = match task.state {
                TaskState::Open => "open",
                TaskState::Succeeded => "succeeded",
                TaskState::Failed => "failed",
                TaskState::Dropped => "dropped",
            };
            write!(text, "task {index} {state}")?;
            if let Some(ending) = task.ending {
                let result = if task.result == Hash::of(b"right") { "right" } else { "other" };
                write!(text, " ({ending}, {result} result)")?;
            }
            if task.losses > 0 {
                write!(text, ", lost {} times", task.losses)?;
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    fn look_at_owner(&self, name: &str) -> Outcome<String> {
        let owner = self.state.owner(self.account(name)?).ok_or("no such owner")?;
        let standing = match owner.standing {
            Standing::New => format!("new, {} agreements from proven", owner.lacks_to_be_proven()),
            Standing::Proven => "proven".into(),
            Standing::Caught => "caught".into(),
        };
        let mut text = format!("{name}: {standing}{}", if owner.vouched { ", vouched for" } else { "" });
        for (count, what) in [
            (owner.agreed, "agreed"),
            (owner.outvoted, "outvoted"),
            (owner.passed, "checks passed"),
            (owner.lapsed, "paid unchecked"),
            (owner.withdrawn, "taken back"),
        ] {
            if count > 0 {
                write!(text, "; {count} {what}")?;
            }
        }
        if owner.unpaid_findings() > 0 {
            write!(text, "; {} to be paid for {}", credits(owner.unpaid()), owner.unpaid_findings())?;
        }
        Ok(text)
    }

    fn look_at_worker(&self, name: &str) -> Outcome<String> {
        let worker = self.state.worker(self.worker(name)?).ok_or("no such worker")?;
        let link = if worker.attached { "attached" } else { "detached" };
        let willing = if worker.is_willing() { "takes work" } else { "takes no work" };
        Ok(format!(
            "{name} of {}: {link}, {willing}; has {} runs; verified {}, lost {}, outvoted {}, earned {}",
            self.name(worker.owner),
            worker.running(),
            worker.verified,
            worker.lost,
            worker.outvoted,
            credits(worker.earned)
        ))
    }
}

impl goldenscript::Runner for Pool {
    type Command = goldenscript::Command;

    fn run(&mut self, line: &goldenscript::Command, _: &Context) -> Outcome<String> {
        let text = self.run_line(&line.name, &mut line.consume_args())?;
        self.state.sanity_check();
        let restored = decode_state(STATE_VERSION, &encode_state(&self.state))?;
        assert!(restored == self.state, "a snapshot restores the state");
        Ok(text)
    }

    fn end_script(&mut self) -> Outcome<()> {
        let (mut state, mut kept) = (State::new(), Kept::new());
        for (time, payload) in &self.log {
            let effects = state.apply(*time, &decode_requests(payload)?).effects;
            kept.take(&effects, &state);
        }
        assert!(state == self.state && kept == self.kept, "a replay leads to the same");
        Ok(())
    }
}

/// Checks and disputes that are not over.
fn doubts(state: &State) -> usize {
    state.jobs().values().map(|job| job.doubts()).sum()
}

type Args<'a> = ArgumentConsumer<'a>;

fn next<'a>(args: &mut Args<'a>, what: &str) -> Outcome<&'a str> {
    Ok(args.next_pos().ok_or_else(|| format!("{what}?"))?)
}

fn job_settings(spec: &mut JobSpec, args: &mut Args<'_>, now: Time) -> Outcome<()> {
    // `by` and `request` belong to every line.
    for key in
        ["tasks", "quorum", "losses", "failures", "priority", "budget", "bid", "fuel", "memory", "wall"]
    {
        let Some(value) = args.take_key(key) else { continue };
        match key {
            "tasks" => spec.tasks = value.parse()?,
            "quorum" => spec.quorum = value.parse()?,
            "losses" => spec.max_losses = value.parse()?,
            "failures" => spec.max_failures = Some(value.parse()?),
            "priority" => spec.priority = value.parse()?,
            "budget" => spec.budget = credit(value)?,
            "bid" => spec.bid = Price(credit(value)?.0.unsigned_abs()),
            "fuel" => spec.limits.fuel = fuel(value)?,
            "memory" => spec.limits.memory = value.parse()?,
            _ => spec.limits.wall = duration(value)?,
        }
    }
    if let Some(engine) = args.take_key("engine") {
        spec.engine = EngineId(engine.into());
    }
    if args.take_key("checks") == Some("hidden") {
        spec.checks = Checks::Hidden;
    }
    if let Some(span) = args.take_key("deadline") {
        spec.deadline = Some(now.after(duration(span)?));
    }
    if let Some(jobs) = args.take_key("after") {
        spec.after = jobs.split('/').map(str::parse).collect::<Result<_, _>>()?;
    }
    for (key, texts) in [("arg", &mut spec.args), ("env", &mut spec.env)] {
        texts.extend(args.take_key(key).map(str::to_owned));
    }
    for name in args.take_key("files").into_iter().flat_map(|names| names.split(',')) {
        spec.files.push(pumasi_core::InputFile { name: name.into(), hash: Hash::ZERO });
    }
    Ok(())
}

/// The same name is the same machine.
fn machine_settings(args: &mut Args<'_>) -> Outcome<WorkerSpec> {
    let name = next(args, "name")?;
    let key = name.bytes().fold(0_u128, |key, byte| key << 8 | u128::from(byte));
    let mut spec = WorkerSpec { name: name.into(), ..common::machine(key, 1) };
    if let Some(cores) = args.take_key("cores") {
        spec.cores = cores.parse()?;
    }
    if let Some(ask) = args.take_key("ask") {
        spec.ask = Price(credit(ask)?.0.unsigned_abs());
    }
    if let Some(memory) = args.take_key("memory") {
        spec.memory = memory.parse()?;
    }
    if let Some(engine) = args.take_key("engine") {
        spec.engine = EngineId(engine.into());
    }
    if let Some(runs) = args.take_key("held") {
        spec.held = runs.split('/').map(str::parse).collect::<Result<_, _>>()?;
    }
    Ok(spec)
}

fn credit(text: &str) -> Outcome<Amount> {
    Ok(Currency::CREDIT.parse_amount(text)?)
}

fn credits(amount: Amount) -> String {
    Currency::CREDIT.format_amount(amount)
}

/// Standard core-seconds, or `all` there is.
fn fuel(text: &str) -> Outcome<Fuel> {
    if text == "all" {
        return Ok(Fuel(u64::MAX));
    }
    Ok(Fuel(credit(text)?.0.unsigned_abs() * 1_000))
}

/// `10s`, `5m`, `2h`, `3d`, `7ns`, or `forever`.
fn duration(text: &str) -> Outcome<Duration> {
    if text == "forever" {
        return Ok(Duration(u64::MAX));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse()?;
    let seconds = match &text[digits.len()..] {
        "ns" => return Ok(Duration(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        unit => return Err(format!("unknown unit '{unit}'").into()),
    };
    Ok(Duration::from_secs(number * seconds))
}

fn span(time: Duration) -> String {
    let seconds = time.0 / 1_000_000_000;
    match seconds {
        0 => format!("{}ns", time.0),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

fn ending(text: &str) -> Outcome<Ending> {
    Ok(match text {
        "trap" => Ending::Trapped { trap: Trap::Unreachable },
        "out-of-fuel" => Ending::OutOfFuel,
        "out-of-memory" => Ending::OutOfMemory,
        "timeout" => Ending::TimedOut,
        "fault" => Ending::Faulted,
        _ => Ending::Exited { code: text.strip_prefix("exit-").ok_or("no such ending")?.parse()? },
    })
}

fn outcome_words(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Succeeded => "succeeded",
        JobOutcome::Failed => "failed",
        JobOutcome::Cancelled => "was cancelled",
        JobOutcome::Expired => "missed its deadline",
        JobOutcome::OutOfBudget => "ran out of budget",
        JobOutcome::DependencyFailed => "cannot start, because a job before it did not succeed",
    }
}

fn list<T>(items: &[T], word: impl Fn(&T) -> String) -> String {
    items.iter().map(word).collect::<Vec<_>>().join(" ")
}
