//! Bounds that are too large for a script: what one account and one worker can have at a time.

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{Action, Bounds, Command, Refusal, Role, State};
use pumasi_types::{AccountId, Amount, Currency, Hash, JobId, RunId, WorkerId};

const ALICE: AccountId = AccountId(1);

/// Alice, who may do everything and has more than enough money.
fn opened() -> State {
    let mut state = State::new();
    let issue = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1 << 60) };
    let requests = [ask(State::SYSTEM, open("alice", &Role::ALL)), ask(State::SYSTEM, issue)];
    assert!(state.apply(BEGIN, &requests).answers.iter().all(Result::is_ok));
    state
}

#[test]
fn an_account_has_a_bounded_number_of_unfinished_jobs() {
    let mut state = opened();
    let spec = Arc::new(job("one of many", 1, Amount(1_000_000)));
    let submit = ask(ALICE, Command::SubmitJob(spec));
    let many = vec![submit.clone(); Bounds::JOBS as usize];
    assert!(state.apply(BEGIN, &many).answers.iter().all(Result::is_ok));
    let refused = &state.apply(BEGIN, std::slice::from_ref(&submit)).answers[0];
    assert!(matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "unfinished jobs"));
    let cancel = ask(ALICE, Command::CancelJob { job: JobId(7) });
    assert!(state.apply(BEGIN, &[cancel, submit]).answers.iter().all(Result::is_ok));
    state.sanity_check();
}

#[test]
fn a_worker_never_has_more_runs_than_it_can_name_in_one_message() {
    let mut state = opened();
    let mut spec = job("tiny tasks", 1_000_000, Amount(1 << 50));
    spec.limits.fuel.0 = 1_000;
    let requests = [
        ask(ALICE, Command::SubmitJob(Arc::new(spec))),
        ask(ALICE, Command::AttachWorker(machine(1, 4_096))),
    ];
    let mut applied = state.apply(BEGIN, &requests);
    for _ in 0..5 {
        let Some(Action::Assign { runs, .. }) = applied.effects.actions.first() else {
            panic!("no runs given: {:?}", applied.effects.actions)
        };
        let report = |run: RunId| {
            let mut report = success(run, Hash::ZERO);
            (report.fuel.0, report.wall.0) = (1_000, 1);
            report
        };
        let runs = runs.iter().map(|run| report(run.run)).collect();
        applied = state.apply(BEGIN, &[ask(ALICE, Command::Report { worker: WorkerId(1), runs })]);
        let running = state.worker(WorkerId(1)).expect("attached").running();
        assert!((4_096..=Bounds::RUNS).contains(&running), "{running} runs");
    }
    state.sanity_check();
}
