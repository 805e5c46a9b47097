//! A pool of honest and lying owners on the real state, from the first machine to the last payment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use pumasi_core::{Action, Cause, Checks, Command, Done, Effects, Request, Role, Standing, State, TaskState};
use pumasi_types::{AccountId, Amount, Currency, Duration, JobId, RunId, TaskIndex, Time, WorkerId};

use crate::common::dice::Dice;
use crate::common::{BEGIN, ask, job, machine, open};
use crate::gang::{Figures, Gang, Scheme, Setup, report, result, takes};

const RESEARCHER: AccountId = AccountId(1);
/// Tasks of one job.
const JOB: u32 = 1_000;
/// Results that were paid after which a sleeper thinks that it is trusted, where nobody's record counts.
const SLEEPS: u64 = 10;

/// A run in a host's hands.
#[derive(Clone, Copy)]
struct Given {
    run: RunId,
    job: JobId,
    task: TaskIndex,
}

#[derive(Default)]
struct Host {
    hand: VecDeque<Given>,
    /// Whether its next event is planned.
    busy: bool,
}

pub(crate) struct Pool {
    pub(crate) state: State,
    setup: Setup,
    now: Time,
    dice: Dice,
    gang: Gang,
    hosts: Vec<Host>,
    events: BinaryHeap<Reverse<(Time, usize)>>,
    reported: BTreeMap<RunId, Time>,
    once_wrong: BTreeSet<(JobId, TaskIndex)>,
    figures: Figures,
}

/// Lets a pool work until everything is decided and paid.
pub(crate) fn run(setup: &Setup) -> Figures {
    let mut pool = Pool::new(setup);
    pool.order();
    pool.work();
    pool.settle();
    pool.state.sanity_check();
    pool.judge()
}

fn owner(host: usize) -> AccountId {
    AccountId(host as u64 + 2)
}

impl Pool {
    fn new(setup: &Setup) -> Pool {
        let mut pool = Pool {
            state: State::new(),
            setup: *setup,
            now: BEGIN,
            dice: Dice(setup.seed),
            gang: Gang::new(setup),
            hosts: Vec::new(),
            events: BinaryHeap::new(),
            reported: BTreeMap::new(),
            once_wrong: BTreeSet::new(),
            figures: Figures::default(),
        };
        pool.one(State::SYSTEM, open("researcher", &[Role::Researcher]));
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 61) };
        pool.one(State::SYSTEM, issue);
        for host in 0..setup.hosts {
            pool.one(State::SYSTEM, open(&format!("owner-{host}"), &[Role::Owner]));
            if host < setup.vouched {
                pool.one(State::SYSTEM, Command::Vouch { account: owner(host), vouched: true });
            }
            let attached = pool.one(owner(host), Command::AttachWorker(machine(host as u128, 1)));
            let id = WorkerId(host as u64 + 1);
            assert!(matches!(attached, Done::Attached { worker, .. } if worker == id), "numbered in order");
            pool.hosts.push(Host::default());
        }
        pool
    }

    fn order(&mut self) {
        let mut left = self.setup.tasks;
        while left > 0 {
            let tasks = left.min(JOB);
            let mut spec = job("job", tasks, Amount(i64::from(tasks) * 10_000_000));
            spec.limits.wall = Duration::from_secs(24 * 3600);
            (spec.quorum, spec.checks) = match self.setup.scheme {
                Scheme::Quorum(owners) => (owners, Checks::Off),
                _ => (1, Checks::Hidden),
            };
            self.one(RESEARCHER, Command::SubmitJob(Arc::new(spec)));
            left -= tasks;
        }
    }

    fn one(&mut self, caller: AccountId, command: Command) -> Done {
        self.apply(&[ask(caller, command)])
    }

    /// Applies an entry, whose last request must be done, and what the state puts off.
    fn apply(&mut self, requests: &[Request]) -> Done {
        let mut applied = self.state.apply(self.now, requests);
        self.carry_out(&applied.effects);
        while self.state.is_behind() {
            let applied = self.state.apply(self.now, &[ask(State::SYSTEM, Command::Tick)]);
            self.carry_out(&applied.effects);
        }
        applied.answers.pop().expect("an entry has requests").expect("done")
    }

    fn carry_out(&mut self, effects: &Effects) {
        for action in &effects.actions {
            match action {
                Action::Assign { worker, job, runs } => {
                    let host = worker.0 as usize - 1;
                    for run in runs {
                        self.gang.is_given(host, *job, run.task);
                        self.hosts[host].hand.push_back(Given { run: run.run, job: *job, task: run.task });
                    }
                    self.plan(host);
                }
                Action::Stop { worker, runs } => {
                    self.hosts[worker.0 as usize - 1].hand.retain(|given| !runs.contains(&given.run));
                }
                Action::JobOver { .. } | Action::JobReopened { .. } => {}
            }
        }
        for transfer in &effects.transfers {
            let Cause::Run { run, .. } = transfer.cause else { continue };
            if !self.gang.has(transfer.payee.0 as usize - 2) {
                self.figures.paid += 1;
                self.figures.waited.0 += self.now.0 - self.reported[&run].0;
            }
        }
    }

    /// A host that has something to do ends it after a while.
    fn plan(&mut self, host: usize) {
        if !self.hosts[host].busy && !self.hosts[host].hand.is_empty() {
            self.hosts[host].busy = true;
            let at = self.now.after(takes(host, &mut self.dice));
            self.events.push(Reverse((at, host)));
        }
    }

    /// Until nobody has anything to do.
    fn work(&mut self) {
        while let Some(Reverse((at, host))) = self.events.pop() {
            self.now = at;
            self.hosts[host].busy = false;
            if let Some(given) = self.hosts[host].hand.pop_front() {
                self.end(host, given);
            }
            self.plan(host);
        }
    }

    /// A host reports a run.
    fn end(&mut self, host: usize, Given { run, job, task }: Given) {
        let lies = self.gang.lies(host, job, task, self.is_trusted(host));
        let report = report(run, result(job, task, lies), Duration::from_secs(60));
        self.figures.runs += 1;
        self.reported.insert(run, self.now);
        let seed = u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll());
        let worker = WorkerId(host as u64 + 1);
        self.apply(&[
            ask(State::SYSTEM, Command::Draw { seed }),
            ask(owner(host), Command::Report { worker, runs: vec![report] }),
        ]);
        if self.found(job, task) == Some(true) {
            self.once_wrong.insert((job, task));
        }
    }

    /// Whether an owner may hope that its word alone counts, as it can see itself.
    fn is_trusted(&self, host: usize) -> bool {
        if self.setup.scheme == Scheme::Hidden {
            return self.state.owner(owner(host)).is_some_and(|owner| owner.standing == Standing::Proven);
        }
        self.state.worker(WorkerId(host as u64 + 1)).is_some_and(|worker| worker.verified >= SLEEPS)
    }

    /// Lets time pass until the last run is paid.
    fn settle(&mut self) {
        let end = self.now.after(Duration::from_secs(24 * 3600));
        while self.is_open() {
            let due = self.state.next_due().filter(|due| *due <= end).expect("what is open ends by itself");
            self.now = self.now.max(due);
            self.one(State::SYSTEM, Command::Tick);
            self.work();
        }
    }

    fn is_open(&self) -> bool {
        let unpaid = self.state.owners().values().any(|owner| owner.unpaid_findings() > 0);
        unpaid || self.state.jobs().values().any(|job| job.outcome().is_none())
    }

    /// Whether the result of a task is wrong; nothing while it has none.
    fn found(&self, job: JobId, task: TaskIndex) -> Option<bool> {
        let found = self.state.job(job)?.task(task).filter(|task| task.state == TaskState::Succeeded)?;
        Some(found.result != result(job, task, false))
    }

    fn judge(mut self) -> Figures {
        for (id, job) in self.state.jobs() {
            for task in job.spec.task_indices() {
                self.figures.tasks += 1;
                match self.found(*id, task) {
                    Some(wrong) => self.figures.wrong += u64::from(wrong),
                    None => self.figures.failed += 1,
                }
            }
        }
        self.figures.once_wrong = self.once_wrong.len() as u64;
        for host in 0..self.setup.hosts {
            let caught =
                self.state.owner(owner(host)).is_some_and(|owner| owner.standing == Standing::Caught);
            let which =
                if self.gang.has(host) { &mut self.figures.caught } else { &mut self.figures.wronged };
            *which += u64::from(caught);
        }
        self.figures
    }
}
