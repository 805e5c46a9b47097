//! Machines that come and are never seen again do not fill the memory; those that work are remembered.

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{Action, Applied, Command, Done, Request, Role, State};
use pumasi_types::{AccountId, Amount, Currency, Duration, Hash, RunId, Time, WorkerId};

const RESEARCHER: AccountId = AccountId(1);
const OWNER: AccountId = AccountId(2);
const STRANGER: AccountId = AccountId(3);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Pool {
    state: State,
    now: Time,
}

impl Pool {
    fn new() -> Pool {
        let mut pool = Pool { state: State::new(), now: BEGIN };
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 50) };
        pool.apply(&[
            ask(State::SYSTEM, open("ann", &[Role::Researcher])),
            ask(State::SYSTEM, open("bob", &[Role::Owner])),
            ask(State::SYSTEM, open("mallory", &[Role::Owner])),
            ask(State::SYSTEM, issue),
        ]);
        pool
    }

    fn apply(&mut self, requests: &[Request]) -> Applied {
        let applied = self.state.apply(self.now, requests);
        assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
        applied
    }

    fn attach(&mut self, owner: AccountId, key: u128) -> (WorkerId, u64) {
        let applied = self.apply(&[ask(owner, Command::AttachWorker(machine(key, 1)))]);
        match &applied.answers[0] {
            Ok(Done::Attached { worker, link, .. }) => (*worker, *link),
            other => panic!("a machine that attached was answered {other:?}"),
        }
    }

    fn detach(&mut self, (worker, link): (WorkerId, u64)) {
        self.apply(&[ask(State::SYSTEM, Command::DetachWorker { worker, link })]);
    }

    /// Machines under ever new keys, ten seconds each.
    fn flood(&mut self, keys: std::ops::Range<u128>) {
        for key in keys {
            let attached = self.attach(STRANGER, key);
            self.now = self.now.after(Duration::from_secs(10));
            self.detach(attached);
        }
        self.state.sanity_check();
    }

    /// Gives a task to whoever is there, and returns its run.
    fn order(&mut self) -> RunId {
        let mut spec = job("job", 1, Amount(10_000_000));
        spec.limits.wall = Duration::from_secs(2 * 3600);
        let applied = self.apply(&[ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)))]);
        match &applied.effects.actions[..] {
            [Action::Assign { runs, .. }] => runs[0].run,
            other => panic!("an order led to {other:?}"),
        }
    }
}

#[test]
fn a_flood_of_machine_keys_is_forgotten() {
    let mut pool = Pool::new();
    let resident = pool.attach(OWNER, 0);
    pool.flood(0..3_000);
    // What came within the last hour is remembered, and about as much again is not looked at yet.
    let kept = pool.state.workers().len();
    assert!((360..1_000).contains(&kept), "{kept} workers are remembered");
    assert!(pool.state.worker(resident.0).is_some_and(|worker| worker.attached), "who is there stays");
    let (again, _) = pool.attach(STRANGER, 0);
    assert!(again.0 > 3_000, "a number is never given twice");
}

#[test]
fn who_worked_is_remembered_for_a_month() {
    let mut pool = Pool::new();
    let worker = pool.attach(OWNER, 7);
    let run = pool.order();
    let report = Command::Report { worker: worker.0, runs: vec![success(run, Hash::of(b"result"))] };
    pool.apply(&[ask(OWNER, report)]);
    pool.detach(worker);
    pool.now = pool.now.after(Duration(DAY.0 * 29));
    pool.flood(0..100);
    assert_eq!(pool.attach(OWNER, 7).0, worker.0);
    pool.detach((worker.0, worker.1 + 1));
    pool.now = pool.now.after(Duration(DAY.0 * 31));
    pool.flood(100..200);
    assert!(pool.state.worker(worker.0).is_none());
    assert_ne!(pool.attach(OWNER, 7).0, worker.0);
    pool.state.sanity_check();
}

#[test]
fn who_has_runs_is_never_forgotten() {
    let mut pool = Pool::new();
    let worker = pool.attach(OWNER, 7);
    let run = pool.order();
    pool.detach(worker);
    // Longer than a stranger is remembered, and not so long that the run is overdue.
    pool.now = pool.now.after(Duration::from_secs(3_700));
    pool.flood(0..10);
    let report = Command::Report { worker: worker.0, runs: vec![success(run, Hash::of(b"result"))] };
    let applied = pool.apply(&[ask(OWNER, report)]);
    assert_eq!(applied.effects.transfers.len(), 1);
}
