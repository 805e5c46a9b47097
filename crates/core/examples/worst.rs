//! Measures what unlucky or hostile pools cost the core: each line should stay far below a second.
//!
//! `cargo run --release -p pumasi-core --example worst`
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement needs a clock")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{Action, Applied, Command, JobSpec, Request, Role, State, WorkerSpec};
use pumasi_types::{AccountId, Amount, Currency, EngineId, Hash, Price, RunId, WorkerId};

const ALICE: AccountId = AccountId(1);

/// A pool of so many owners, and the runs that each worker was told to do.
struct Pool {
    state: State,
    runs: Vec<Vec<RunId>>,
}

impl Pool {
    fn new(owners: u64) -> Pool {
        let mut pool = Pool { state: State::new(), runs: Vec::new() };
        pool.apply(&[ask(State::SYSTEM, open("alice", &[Role::Researcher]))]);
        for owner in 0..owners {
            pool.apply(&[ask(State::SYSTEM, open(&format!("owner-{owner}"), &[Role::Owner]))]);
        }
        let issue = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1 << 60) };
        pool.apply(&[ask(State::SYSTEM, issue)]);
        pool
    }

    fn apply(&mut self, requests: &[Request]) -> Applied {
        let applied = self.state.apply(BEGIN, requests);
        assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
        for action in &applied.effects.actions {
            if let Action::Assign { worker, runs, .. } = action {
                let place = worker.0 as usize;
                self.runs.resize(self.runs.len().max(place + 1), Vec::new());
                self.runs[place].extend(runs.iter().map(|run| run.run));
            }
        }
        applied
    }

    fn attach(&mut self, owner: u64, spec: WorkerSpec) {
        self.apply(&[ask(AccountId(owner + 2), Command::AttachWorker(spec))]);
    }

    fn submit(&mut self, change: impl Fn(&mut JobSpec)) {
        let mut spec = job("job", 1, Amount(1 << 40));
        spec.limits.fuel.0 = 1_000;
        change(&mut spec);
        self.apply(&[ask(ALICE, Command::SubmitJob(Arc::new(spec)))]);
    }

    /// Reports at most `count` runs of a worker, in the order that `pick` takes them out.
    fn report(&mut self, worker: u64, count: usize, pick: impl Fn(&mut Vec<RunId>) -> RunId) -> usize {
        let Some(hand) = self.runs.get_mut(worker as usize) else { return 0 };
        let count = count.min(hand.len());
        let report = |run| {
            let mut report = success(run, Hash::ZERO);
            (report.fuel.0, report.wall.0) = (1_000, 10_000);
            report
        };
        let runs = (0..count).map(|_| report(pick(hand))).collect();
        let worker = WorkerId(worker);
        let owner = self.state.worker(worker).expect("attached").owner;
        if count > 0 {
            self.apply(&[ask(owner, Command::Report { worker, runs })]);
        }
        count
    }
}

fn first(hand: &mut Vec<RunId>) -> RunId {
    hand.remove(0)
}

fn measure(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let took: Duration = start.elapsed();
    println!("{took:>12.3?}  {what}");
}

fn old_engine(key: u128) -> WorkerSpec {
    WorkerSpec { engine: EngineId("wasmtime-47.0.0/1".into()), ..machine(key, 1) }
}

fn main() {
    let mut pool = Pool::new(1);
    (0..10_000).for_each(|key| pool.attach(0, old_engine(key)));
    pool.attach(0, machine(10_000, 1));
    pool.submit(|spec| spec.tasks = 10_000);
    measure("10,000 reports beside 10,000 idle machines that do not suit the job", || {
        while pool.report(10_001, 1, first) > 0 {}
    });

    let mut pool = Pool::new(1);
    for _ in 0..9_999 {
        pool.submit(|spec| (spec.priority, spec.bid) = (9, Price(0)));
    }
    pool.attach(0, machine(0, 1));
    pool.submit(|spec| spec.tasks = 1_000);
    measure("1,000 reports behind 9,999 more urgent jobs that do not suit the machine", || {
        while pool.report(1, 1, first) > 0 {}
    });

    let mut pool = Pool::new(1);
    (0..10_000).for_each(|key| pool.attach(0, machine(key, 1)));
    measure("1,000 small jobs for 10,000 idle machines", || (0..1_000).for_each(|_| pool.submit(|_| ())));

    let mut pool = Pool::new(1);
    pool.submit(|spec| spec.tasks = 8_000_000);
    pool.attach(0, machine(0, 4_096));
    while pool.runs[1].len() < 60_000 {
        pool.report(1, 4_000, |hand| hand.pop().expect("counted"));
    }
    measure("30,000 runs reported out of the middle of 60,000", || {
        let middle = |hand: &mut Vec<RunId>| hand.swap_remove(hand.len() / 2);
        pool.report(1, 30_000, middle);
    });
    measure("a machine with 60,000 runs comes back without any", || pool.attach(0, machine(0, 4_096)));

    let mut pool = Pool::new(2);
    pool.submit(|spec| (spec.tasks, spec.quorum, spec.max_losses) = (4_000_000, 2, 0));
    pool.attach(0, machine(0, 4_096));
    while pool.runs[1].len() < 60_000 {
        pool.report(1, 4_000, first);
    }
    measure("a machine with 60,000 runs of a quorum of two is lost for good", || {
        let lose = Command::LoseWorker { worker: WorkerId(1), link: 1 };
        pool.apply(&[ask(State::SYSTEM, lose)]);
    });

    let mut pool = Pool::new(100);
    pool.submit(|spec| (spec.tasks, spec.quorum) = (20_000, 5));
    (0..100).for_each(|owner| pool.attach(owner, machine(0, 2)));
    measure("20,000 tasks with a quorum of five among 100 owners", || {
        while (1..=100).map(|worker| pool.report(worker, 64, first)).sum::<usize>() > 0 {}
    });
    assert!(pool.state.jobs().values().all(|job| job.outcome().is_some()));

    let mut pool = Pool::new(1);
    (0..1_000).for_each(|key| pool.attach(0, machine(key, 8)));
    pool.submit(|spec| spec.tasks = 1_000_000);
    measure("1,000 jobs that go out to 1,000 busy machines are cancelled", || {
        for id in 2..1_002_u64 {
            pool.submit(|spec| spec.priority = 9);
            pool.attach(0, machine(1_000 + u128::from(id), 1));
            pool.apply(&[ask(ALICE, Command::CancelJob { job: pumasi_types::JobId(id) })]);
        }
    });
}
