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
    let sum = live(&plan(1, 12, None));
    assert_eq!(sum.failures, []);
    assert!(
        sum.counts.orders > 500
            && sum.counts.cheaper_orders > 100
            && sum.counts.order_steps > 50
            && sum.counts.files > 1_000
            && sum.counts.letters > 100
            && sum.twice > 0
            && sum.counts.crashes > 20
            && sum.counts.runs > 1_000
            && sum.counts.catches > 0,
        "{sum:?}"
    );
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

/// What each sabotage is noticed by, in one of the first worlds: one of these.
#[test]
fn a_broken_hub_is_noticed() {
    let noticed = |sabotage: Sabotage| -> &[&str] {
        match sabotage {
            Sabotage::Hasty => &["was acknowledged, after the restart the log ends at"],
            Sabotage::Unlogged => &[
                "the log says None",
                "the hub's state differs from what the log makes",
                "all is said to be settled up to",
            ],
            Sabotage::WrongTime => &["the hub's state differs from what the log makes"],
            Sabotage::LyingDrive => &["the hub does not start on a sound disk"],
            Sabotage::ForgetsRequests => &["was told"],
            Sabotage::SendsTwice => &["was made and nobody asked for it"],
            Sabotage::MixesRuns => &["was caught and had said nothing wrong", "accepted a wrong result"],
            Sabotage::FirstResult => &["is another one now"],
            Sabotage::DeadClock => &["has not happened"],
        }
    };
    for sabotage in Sabotage::ALL {
        let sum = live(&plan(1, 60, Some(*sabotage)));
        let found: Vec<&str> = sum.failures.iter().map(|(_, violation)| violation.0.as_str()).collect();
        let expected = noticed(*sabotage);
        let is_known = |text: &&str| expected.iter().any(|known| text.contains(known));
        assert!(found.iter().any(is_known), "{sabotage}: {found:?}, not {expected:?}");
    }
}

#[test]
fn a_failing_world_is_made_smaller_and_still_fails() {
    let sabotage = Some(Sabotage::SendsTwice);
    let large = Scenario { minutes: 20, workers: 12, jobs: 8, ..Scenario::of(3) };
    let (small, violation) = shrink(&large, sabotage, &|_| {}).expect("it fails");
    assert!(small.workers < large.workers && small.steps.is_some(), "{small}");
    let again = run(&small, RunOptions { verbose: true, sabotage });
    assert_eq!(again.violation, Some(violation));
    assert!(!again.lines.is_empty());
}
