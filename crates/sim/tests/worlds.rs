//! A short run of the simulator: worlds hold their promises, seeds repeat, and sabotage is found.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pumasi_sim::{Campaign, Kinds, RunOptions, Sabotage, Scenario, Sum, campaign, run, shrink};

fn plan(first: u64, seeds: u64, sabotage: Option<Sabotage>) -> Campaign {
    let time = Duration::from_secs(3600);
    Campaign { first, seeds, time, jobs: 2, sabotage, first_failure: sabotage.is_some() }
}

fn live(plan: &Campaign) -> Sum {
    campaign(plan, &AtomicBool::new(false), &|_| {})
}

#[test]
fn worlds_keep_their_promises() {
    let sum = live(&plan(1, 24, None));
    assert_eq!(sum.failures, []);
    assert!(sum.twice > 0 && sum.crashes > 20 && sum.runs > 1_000, "{sum:?}");
}

#[test]
fn a_seed_is_one_history_and_another_seed_another() {
    let small = Scenario { minutes: 15, workers: 8, jobs: 6, kinds: Kinds::ALL, ..Scenario::of(77) };
    let trace = |scenario: &Scenario| {
        let report = run(scenario, RunOptions::default());
        assert_eq!(report.violation, None, "{scenario}");
        report.trace
    };
    assert_eq!(trace(&small), trace(&small));
    assert_ne!(trace(&small), trace(&Scenario { seed: 78, ..small.clone() }));
}

#[test]
fn a_broken_hub_is_noticed_within_a_few_worlds() {
    for sabotage in [Sabotage::Hasty, Sabotage::Unlogged, Sabotage::WrongTime] {
        let sum = live(&plan(1, 10, Some(sabotage)));
        assert!(!sum.failures.is_empty(), "{sabotage:?} was not noticed in {} worlds", sum.worlds);
    }
}

#[test]
fn a_failing_world_is_made_smaller_and_still_fails() {
    let sabotage = Some(Sabotage::Unlogged);
    let large = Scenario { minutes: 20, workers: 12, jobs: 8, ..Scenario::of(3) };
    let (small, violation) = shrink(&large, sabotage, &|_| {}).expect("it fails");
    assert!(small.workers < large.workers && small.steps.is_some(), "{small}");
    let again = run(&small, RunOptions { verbose: true, sabotage });
    assert_eq!(again.violation, Some(violation));
    assert!(!again.lines.is_empty());
}
