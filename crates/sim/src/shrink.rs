//! From a world that fails to the smallest one found that fails in the same way.

use crate::faults::Kind;
use crate::{RunOptions, Sabotage, Scenario, Violation, run};

/// Runs at most.
const TRIES: u32 = 400;

/// What two failures have in common: the text without its numbers.
fn class(violation: &Violation) -> String {
    let text: String = violation.0.chars().take_while(|c| *c != ':').collect();
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The smallest scenario found that still breaks the same promise, and how; none when `scenario` breaks none.
pub fn shrink(
    scenario: &Scenario,
    sabotage: Option<Sabotage>,
    tell: &dyn Fn(&Scenario),
) -> Option<(Scenario, Violation)> {
    let options = RunOptions { verbose: false, sabotage };
    let mut best = scenario.clone();
    let mut report = run(&best, options);
    let wanted = class(report.violation.as_ref()?);
    let mut tries = 0;
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            tries += 1;
            if tries > TRIES {
                break;
            }
            let tried = run(&candidate, options);
            if tried.violation.as_ref().is_some_and(|violation| class(violation) == wanted) {
                smaller = Some((candidate, tried));
                break;
            }
        }
        let Some((candidate, tried)) = smaller else { break };
        (best, report) = (candidate, tried);
        tell(&best);
    }
    let violation = report.violation?;
    // Nothing after the failure matters.
    best.steps = Some(report.counts.events + 1);
    Some((best, violation))
}

/// Smaller worlds, the most promising first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let present: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| scenario.kinds.has(*kind)).collect();
    // Half of the kinds at once, then one by one.
    if present.len() > 3 {
        for half in [&present[..present.len() / 2], &present[present.len() / 2..]] {
            let kinds = half.iter().fold(scenario.kinds, |kinds, kind| kinds.without(*kind));
            all.push(Scenario { kinds, ..scenario.clone() });
        }
    }
    for (less, least) in [(2, 1), (4, 3)] {
        let cut = |number: u64, least: u64| (number * least / less).max(1);
        all.push(Scenario { minutes: cut(scenario.minutes, least), ..scenario.clone() });
        all.push(Scenario { workers: cut(scenario.workers, least).max(3), ..scenario.clone() });
        all.push(Scenario { jobs: cut(scenario.jobs, least), ..scenario.clone() });
    }
    let without = |kind: &Kind| Scenario { kinds: scenario.kinds.without(*kind), ..scenario.clone() };
    all.extend(present.iter().map(without));
    all.retain(|candidate| candidate != scenario);
    all
}
