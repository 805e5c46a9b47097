//! Many worlds, one after the other on each of some threads, and what they add up to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::faults::Kind;
use crate::{Counts, Report, RunOptions, Sabotage, Scenario, Violation, run};

/// Each world of so many is run twice, to compare the traces.
const TWICE: u64 = 16;

/// So many worlds must make every kind of fault.
const COVERING: u64 = 100;

/// Which worlds to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first seed; others follow it.
    pub first: u64,
    /// How many worlds at most.
    pub seeds: u64,
    /// For how long at most.
    pub time: Duration,
    /// Threads.
    pub jobs: u64,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Whether to end at the first failure.
    pub first_failure: bool,
}

/// What the worlds of a campaign add up to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Worlds that were run to their end.
    pub worlds: u64,
    /// Worlds that were run twice.
    pub twice: u64,
    /// Simulated time, in nanoseconds; second runs do not count.
    pub simulated: u128,
    /// The same of worlds of at least 50 machines.
    pub simulated_50: u128,
    /// Time of cores that they took, in nanoseconds.
    pub busy: u128,
    /// The same of worlds of at least 50 machines.
    pub busy_50: u128,
    /// What happened in them.
    pub counts: Counts,
    /// Worlds in which a promise was broken.
    pub failures: Vec<(Scenario, Violation)>,
}

impl Sum {
    fn add(&mut self, report: &Report, took: Duration) {
        self.worlds += 1;
        self.simulated += u128::from(report.simulated);
        self.busy += took.as_nanos();
        if report.scenario.workers >= 50 {
            self.simulated_50 += u128::from(report.simulated);
            self.busy_50 += took.as_nanos();
        }
        self.counts += &report.counts;
        if let Some(violation) = &report.violation {
            self.failures.push((report.scenario.clone(), violation.clone()));
        }
    }

    /// Simulated hours per hour of one core.
    pub fn speed(&self) -> f64 {
        self.simulated as f64 / (self.busy as f64).max(1.0)
    }

    /// The same of worlds of at least 50 machines.
    pub fn speed_50(&self) -> f64 {
        self.simulated_50 as f64 / (self.busy_50 as f64).max(1.0)
    }

    /// Kinds of faults that were made and never seen to matter, or not even made.
    pub fn uncovered(&self) -> Vec<Kind> {
        let uncovered = |kind: &Kind| {
            let (made, seen) = self.counts.tally.of(*kind);
            made == 0 || seen == 0
        };
        Kind::ALL.iter().copied().filter(uncovered).collect()
    }

    /// Whether a kind of fault is missing though there were worlds enough for all.
    pub fn is_incomplete(&self) -> bool {
        self.worlds >= COVERING && !self.uncovered().is_empty()
    }
}

/// How long this thread has had a core, where the system tells: other programs do not count then.
fn busy(started: &Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| started.elapsed(), Duration::from_nanos)
}

/// Runs the worlds until there are enough, time is up or `stop` is set. `progress` is called now and then.
pub fn campaign(plan: &Campaign, stop: &AtomicBool, progress: &(dyn Fn(&Sum) + Sync)) -> Sum {
    let started = Instant::now();
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let lock = || sum.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while started.elapsed() < plan.time && !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.seeds {
                return;
            }
            let scenario = Scenario::of(plan.first.wrapping_add(number));
            let options = RunOptions { verbose: false, sabotage: plan.sabotage };
            let begun = busy(&started);
            let mut report = run(&scenario, options);
            let took = busy(&started).saturating_sub(begun);
            let twice = number.is_multiple_of(TWICE);
            if twice && report.violation.is_none() && run(&scenario, options).trace != report.trace {
                report.violation =
                    Some(Violation("a second run of the same seed went another way".to_owned()));
            }
            let mut sum = lock();
            sum.twice += u64::from(twice);
            sum.add(&report, took);
            progress(&sum);
            if plan.first_failure && !sum.failures.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(work);
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
