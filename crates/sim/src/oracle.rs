//! What must hold, checked by a second state that follows the log, and by what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pumasi_cell::Derived;
use pumasi_core::{
    Answer, Cause, Checks, Command, Done, JobSpec, OrderAnswer, State, Transfer, WebhookReport,
    decode_requests, encode_state,
};
use pumasi_log::{Head, Log, Seq};
use pumasi_types::{AccountId, Hash, JobId, OrderId, RequestId, RunId, TaskIndex, Time, TransferId};

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::files::Shelves;
use crate::hub;
use crate::judge::{Judge, Records};
use crate::left::Left;
use crate::letters::Letters;
use crate::market::Sales;
use crate::news::News;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What holds, or which promise was broken.
pub(crate) type Holds = Result<(), Violation>;

/// Whether `holds`; `broken` says which promise is not.
pub(crate) fn require(holds: bool, broken: impl FnOnce() -> String) -> Holds {
    if holds { Ok(()) } else { Err(Violation(broken())) }
}

/// A finding as the oracle compares them: ending, fuel, result.
pub(crate) type Finding = (u64, u64, Hash);

/// How many owners may be paid for a task: as many as agree, which are more than the quorum when records count
/// and owners disagreed, because others are asked as well until patience ends.
fn paid_max(spec: &JobSpec) -> usize {
    let quorum = usize::from(spec.quorum);
    match spec.checks {
        Checks::Off => quorum,
        // Whoever was believed first was paid, too.
        Checks::Hidden => quorum.max(2) + usize::from(spec.max_losses.max(3)) + 1,
    }
}

/// The second state and the books about it.
#[derive(Clone)]
pub(crate) struct Oracle {
    /// What the durable entries make.
    pub(crate) state: State,
    /// The last of them.
    pub(crate) head: Head,
    /// All settled transfers.
    transfers: Vec<Transfer>,
    /// How many of them were compared with the journal.
    journaled: usize,
    /// What the parties of orders were told.
    pub(crate) news: News,
    paid: BTreeSet<RunId>,
    /// Who was paid for a task.
    payees: BTreeMap<(JobId, TaskIndex), Vec<AccountId>>,
    /// Totals of accounts as the transfers make them.
    totals: BTreeMap<AccountId, i128>,
    /// What was answered to requests with ids.
    answers: BTreeMap<(AccountId, RequestId), Answer>,
    /// What was sold.
    pub(crate) sales: Sales,
    /// What orders left behind.
    left: Left,
    /// What webhooks were told.
    pub(crate) letters: Letters,
    /// What lies in spaces.
    pub(crate) shelves: Shelves,
    /// Which results may be believed.
    pub(crate) judge: Judge,
    /// Commands applied.
    pub(crate) commands: u64,
    /// Tasks paid for.
    pub(crate) paid_runs: u64,
}

impl Oracle {
    pub(crate) fn new() -> Oracle {
        Oracle {
            state: State::new(),
            head: Head::default(),
            transfers: Vec::new(),
            journaled: 0,
            news: News::default(),
            paid: BTreeSet::new(),
            payees: BTreeMap::new(),
            totals: BTreeMap::new(),
            answers: BTreeMap::new(),
            sales: Sales::default(),
            left: Left::default(),
            letters: Letters::default(),
            shelves: Shelves::default(),
            judge: Judge::default(),
            commands: 0,
            paid_runs: 0,
        }
    }

    /// Follows one durable entry.
    pub(crate) fn follow(
        &mut self,
        head: Head,
        payload: &[u8],
        truth: &dyn Fn(u64, u32) -> Finding,
    ) -> Holds {
        require(head.seq == self.head.seq.next(), || {
            format!("entry {} follows entry {}", head.seq, self.head.seq)
        })?;
        let requests =
            decode_requests(payload).map_err(|error| Violation(format!("entry {}: {error}", head.seq)))?;
        self.commands += requests.len() as u64;
        let has_report = requests.iter().any(|request| matches!(request.command, Command::Report { .. }));
        require(!has_report || matches!(requests[0].command, Command::Draw { .. }), || {
            format!("entry {} has a report and begins without a draw", head.seq)
        })?;
        let records = Records::of(&self.state, &requests);
        let placed = self.sales.placed() as usize;
        let applied = self.state.apply(head.time, &requests);
        self.head = head;
        self.shelves.pass(self.state.now());
        let mut steps = Vec::new();
        for (request, answer) in requests.iter().zip(&applied.answers) {
            let key = request.id.map(|id| (request.caller, id));
            // What is asked again is answered from memory.
            let is_new = key.is_none_or(|key| !self.answers.contains_key(&key));
            if let Command::StepOrder { order, .. } = request.command
                && is_new
                && answer.is_ok()
            {
                steps.push(order);
            }
            if let Some(key) = key {
                self.answered(key, answer)?;
            }
            if let Ok(done) = answer {
                self.sales.follow(&self.state, request.caller, &request.command, done)?;
                self.letters.follow(&self.state, &request.command, done);
            }
            if is_new {
                self.shelves.follow(request, answer)?;
            }
            self.judge.reported(&self.state, &records, (request, answer), truth)?;
        }
        let expected = self.sales.since(placed).iter().copied().chain(steps);
        self.news.follow(expected.collect(), &applied.effects.events)?;
        self.left.follow(&applied.effects, &self.state)?;
        self.judge.assigned(&applied.effects.actions);
        applied.effects.transfers.iter().try_for_each(|transfer| self.settled(transfer))?;
        self.judge.standings(&self.state)?;
        self.check_books()
    }

    fn answered(&mut self, key: (AccountId, RequestId), answer: &Answer) -> Holds {
        match self.answers.get(&key) {
            Some(_) if matches!(answer, Err(pumasi_core::Refusal::RequestConflict { .. })) => Ok(()),
            Some(before) => require(before == answer, || {
                format!("request {} of account {} was answered {before:?}, then {answer:?}", key.1.0, key.0)
            }),
            None => {
                self.answers.insert(key, answer.clone());
                Ok(())
            }
        }
    }

    /// A client got this answer.
    pub(crate) fn told(&self, caller: AccountId, id: RequestId, answer: &Answer) -> Holds {
        if matches!(answer, Err(pumasi_core::Refusal::RequestConflict { .. })) {
            return Ok(());
        }
        let logged = self.answers.get(&(caller, id));
        require(logged == Some(answer), || {
            format!("account {caller} was told {answer:?} to request {}, the log says {logged:?}", id.0)
        })
    }

    fn settled(&mut self, transfer: &Transfer) -> Holds {
        let next = TransferId(self.transfers.len() as u64 + 1);
        require(transfer.id == next, || format!("transfer {} is number {next}", transfer.id))?;
        self.transfers.push(*transfer);
        for (account, change) in transfer.legs() {
            *self.totals.entry(account).or_default() += i128::from(change.0);
        }
        let Cause::Run { job, task, run, fuel, price, .. } = transfer.cause else { return Ok(()) };
        self.paid_runs += 1;
        require(self.paid.insert(run), || format!("run {run} was paid twice"))?;
        let payees = self.payees.entry((job, task)).or_default();
        require(!payees.contains(&transfer.payee), || {
            format!("task {task} of job {job} was paid twice to account {}", transfer.payee)
        })?;
        payees.push(transfer.payee);
        require(price.cost(fuel) == Some(transfer.amount), || format!("run {run} was paid another price"))?;
        let Some(record) = self.state.job(job) else {
            return Err(Violation(format!("run {run} of job {job}, which is not there, was paid")));
        };
        require(fuel <= record.spec.limits.fuel && price <= record.spec.bid, || {
            format!("run {run} was paid more than job {job} bid")
        })?;
        let most = paid_max(&record.spec);
        require(self.payees[&(job, task)].len() <= most, || {
            format!("task {task} of job {job} was paid to more than {most} owners")
        })?;
        self.judge.paid(&self.state, transfer, (job, task))
    }

    fn check_books(&self) -> Holds {
        for (currency, books) in self.state.ledger().books() {
            require(books.sum == 0, || format!("the books of {currency} sum up to {}", books.sum))?;
        }
        Ok(())
    }

    /// Everything about a state that claims to be at the oracle's head.
    pub(crate) fn compare(&mut self, state: &State, what: &str) -> Holds {
        if *state != self.state {
            let (theirs, mine) = (encode_state(state), encode_state(&self.state));
            let at = theirs.iter().zip(&mine).position(|(a, b)| a != b);
            return Err(Violation(format!(
                "{what} differs from what the log makes at entry {}: {} and {} bytes, first at {at:?}",
                self.head.seq,
                theirs.len(),
                mine.len()
            )));
        }
        Ok(())
    }

    /// Brings events to webhooks, as the hub does whose state is up to date.
    pub(crate) fn carry(&mut self, now: Time, dice: &mut Dice) -> Vec<WebhookReport> {
        let Oracle { state, news, letters, .. } = self;
        let enabled = state.market().webhooks().filter(|(_, webhook)| webhook.disabled.is_none());
        enabled.filter_map(|webhook| letters.bring(state, webhook, news.all(), now, dice)).collect()
    }

    /// Walks everything.
    pub(crate) fn check_all(&mut self, truth: &dyn Fn(u64, u32) -> Finding) -> Holds {
        self.state.sanity_check();
        self.news.check(&self.state)?;
        self.letters.check(&self.state, self.news.all())?;
        self.shelves.check(&self.state)?;
        self.judge.judge_all(&self.state, truth)?;
        for account in self.state.ledger().accounts() {
            let total: i128 = account.balances().map(|(_, balance)| i128::from(balance.total().0)).sum();
            let expected = self.totals.get(&account.id()).copied().unwrap_or_default();
            require(total == expected, || {
                format!("account {} has {total}, its transfers make {expected}", account.id())
            })?;
        }
        Ok(())
    }

    /// The journals hold every settled transfer and every event; those that were compared before, again when `anew`.
    pub(crate) fn check_journal(&mut self, disk: &SimDisk, anew: bool) -> Holds {
        let from = if anew { 0 } else { self.journaled };
        let copy = disk.sound_copy(0);
        let process = copy.process();
        let derived = Derived::open_on(&*process, Path::new("/hub"));
        let Derived { transfers: journal, events, .. } =
            derived.map_err(|error| Violation(error.to_string()))?;
        self.news.check_journal(&events, anew)?;
        for transfer in &self.transfers[from..] {
            let read = journal.read(transfer.id);
            require(read.as_ref().ok() == Some(transfer), || {
                format!("transfer {} in the journal: {read:?}, settled: {transfer:?}", transfer.id)
            })?;
        }
        self.journaled = self.transfers.len();
        Ok(())
    }

    /// Nothing that orders left behind is lost, in memory and in the files.
    pub(crate) fn check_left(&self, disk: &SimDisk) -> Holds {
        self.left.check(&self.state, self.sales.since(0), &self.transfers)?;
        self.left.check_files(disk)
    }

    /// After a restart: what was durable is in the log and its state, and what else came is followed.
    pub(crate) fn after_restart(
        &mut self,
        log: &impl Log,
        state: &State,
        truth: &dyn Fn(u64, u32) -> Finding,
    ) -> Holds {
        let head = log.head();
        require(head.seq >= self.head.seq, || {
            format!(
                "entry {} was acknowledged, after the restart the log ends at {}",
                self.head.seq, head.seq
            )
        })?;
        if head.seq == self.head.seq {
            require(head.hash == self.head.hash, || format!("entry {} is another one now", head.seq))?;
        } else {
            let entries = log.read(self.head.seq.next());
            for entry in entries.map_err(|error| Violation(format!("the log after a restart: {error}")))? {
                let entry = entry.map_err(|error| Violation(format!("the log after a restart: {error}")))?;
                require(entry.prev == self.head.hash, || {
                    format!(
                        "entry {} does not follow the entry {} that was acknowledged",
                        entry.seq, self.head.seq
                    )
                })?;
                self.follow(entry.head(), &entry.payload, truth)?;
            }
        }
        self.compare(state, "the restored state")
    }

    /// A copy of the disk, opened by somebody else, makes the same state: from the newest snapshot, and when
    /// `whole` from the first entry on.
    pub(crate) fn check_replay(&mut self, disk: &SimDisk, segment_bytes: u64, whole: bool) -> Holds {
        let copy = disk.sound_copy(0);
        copy.kill();
        let (restored, _) = hub::open(&copy, segment_bytes)
            .map_err(|error| Violation(format!("a copy of the disk: {error}")))?;
        self.compare(&restored.state, "a snapshot with the entries after it")?;
        if whole && restored.log.first() <= Seq(1) {
            let mut state = State::new();
            let entries = restored.log.read(Seq(1));
            for entry in entries.map_err(|error| Violation(format!("the whole log: {error}")))? {
                let entry = entry.map_err(|error| Violation(format!("the whole log: {error}")))?;
                let requests = decode_requests(&entry.payload);
                state.apply(entry.time, &requests.map_err(|error| Violation(error.to_string()))?);
            }
            self.compare(&state, "a replay of the whole log")?;
        }
        Ok(())
    }

    /// What happened in a client's name is what it asked for and was told, once each.
    pub(crate) fn only_asked(&self, account: AccountId, told: &[&Done]) -> Holds {
        let was_told = |done: &Done| told.contains(&done);
        let orders = told.iter().filter_map(|done| match done {
            Done::Orders(answers) => Some(answers),
            _ => None,
        });
        let orders: BTreeSet<OrderId> = orders.flatten().filter_map(OrderAnswer::placed).collect();
        // A merchant gives back what its customers ask back.
        let unasked = |cause| matches!(cause, Cause::Run { .. } | Cause::Issue | Cause::Refund { .. });
        let asked = |transfer: &&Transfer| !unasked(transfer.cause);
        let made = self.transfers.iter().filter(|transfer| transfer.payer == account).filter(asked);
        for transfer in made {
            if let Cause::Sale { order, .. } = transfer.cause {
                require(orders.contains(&order), || {
                    format!("account {account} paid for order {order} and nobody asked for it")
                })?;
                continue;
            }
            require(was_told(&Done::Transfer(transfer.id)), || {
                format!("transfer {} of account {account} was made and nobody asked for it", transfer.id)
            })?;
        }
        for (id, _) in self.state.jobs().iter().filter(|(_, job)| job.owner == account) {
            require(was_told(&Done::Job(*id)), || {
                format!("job {id} of account {account} was ordered and nobody asked for it")
            })?;
        }
        Ok(())
    }

    /// What a client was told long ago still stands.
    pub(crate) fn stands(&self, caller: AccountId, command: &Command, answer: &Answer) -> Holds {
        match (command, answer) {
            (Command::SubmitJob(spec), Ok(Done::Job(id))) => match self.state.job(*id) {
                // Jobs are forgotten a month after their end.
                None => Ok(()),
                Some(job) => require(job.owner == caller && job.spec == *spec, || {
                    format!("job {id} of account {caller} is another one now")
                }),
            },
            (Command::Transfer { to, amount, .. }, Ok(Done::Transfer(id))) => {
                let settled = self.transfers.get(id.0 as usize - 1);
                require(
                    settled.is_some_and(|t| t.payer == caller && t.payee == *to && t.amount == *amount),
                    || format!("transfer {id} of account {caller} is {settled:?}"),
                )
            }
            _ => Ok(()),
        }
    }
}
