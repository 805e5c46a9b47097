//! Owners who work together against the pool, and when they lie: always the same wrong result.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::RunReport;
use pumasi_types::{Duration, Ending, Fuel, Hash, JobId, RunId, TaskIndex};

use crate::common::dice::Dice;

/// What a pool is put to, and by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) scheme: Scheme,
    pub(crate) kind: Kind,
    /// Owners, each with one machine.
    pub(crate) hosts: usize,
    /// How many of them an operator answers for; none of these lies.
    pub(crate) vouched: usize,
    /// How many of them work together.
    pub(crate) liars: usize,
    pub(crate) tasks: u32,
    pub(crate) seed: u64,
}

/// How results are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// So many owners must agree, whoever they are.
    Quorum(u8),
    /// BOINC's adaptive replication, as `adaptive.rs` models it.
    Adaptive,
    /// Owners' records and hidden checks.
    Hidden,
}

/// When the gang lies. All of them confirm what one of them said, and know at once who has which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// At once and always.
    Always,
    /// Always from when they are believed alone; where nobody is, from the tenth result that was paid.
    Sleepers,
    /// On one to ten in a hundred tasks: the most careful of them only where all others do, too.
    Occasional,
    /// Only where two of them have the same task.
    Sybils,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) tasks: u64,
    /// Tasks whose result is wrong in the end.
    pub(crate) wrong: u64,
    /// Tasks whose result was wrong at some time, when the researcher might have fetched it.
    pub(crate) once_wrong: u64,
    /// Tasks without a result.
    pub(crate) failed: u64,
    /// Runs that were reported.
    pub(crate) runs: u64,
    /// Runs of honest owners that were paid, and how long that took after the report altogether.
    pub(crate) paid: u64,
    pub(crate) waited: Duration,
    /// Of the gang, how many were caught.
    pub(crate) caught: u64,
    /// Honest owners who were caught.
    pub(crate) wronged: u64,
}

/// The gang, and what its members tell each other.
pub(crate) struct Gang {
    kind: Kind,
    seed: u64,
    members: BTreeSet<usize>,
    /// How many of them have or had a run of a task.
    in_hand: BTreeMap<(JobId, TaskIndex), u32>,
    told: BTreeSet<(JobId, TaskIndex)>,
}

impl Gang {
    /// Members are drawn among those whom nobody answers for: the first hosts are vouched for.
    pub(crate) fn new(setup: &Setup) -> Gang {
        let mut dice = Dice(setup.seed ^ 0x6a6e_6761);
        let mut others: Vec<usize> = (setup.vouched..setup.hosts).collect();
        let mut members = BTreeSet::new();
        while members.len() < setup.liars && !others.is_empty() {
            members.insert(others.swap_remove(dice.below(others.len() as u64) as usize));
        }
        Gang { kind: setup.kind, seed: setup.seed, members, in_hand: BTreeMap::new(), told: BTreeSet::new() }
    }

    pub(crate) fn has(&self, host: usize) -> bool {
        self.members.contains(&host)
    }

    /// A host is given a task.
    pub(crate) fn is_given(&mut self, host: usize, job: JobId, task: TaskIndex) {
        if self.has(host) {
            *self.in_hand.entry((job, task)).or_default() += 1;
        }
    }

    /// Whether a host lies about a task; `trusted` is whether it may hope to be believed alone.
    pub(crate) fn lies(&mut self, host: usize, job: JobId, task: TaskIndex, trusted: bool) -> bool {
        if !self.has(host) {
            return false;
        }
        let place = (job, task);
        let lies = self.told.contains(&place)
            || match self.kind {
                Kind::Always => true,
                Kind::Sleepers => trusted,
                Kind::Occasional => {
                    let percent = 1 + host as u64 % 10;
                    Dice(self.seed ^ job.0 << 32 ^ u64::from(task.0)).below(100) < percent
                }
                Kind::Sybils => self.in_hand.get(&place).is_some_and(|count| *count > 1),
            };
        if lies {
            self.told.insert(place);
        }
        lies
    }
}

/// The hash of a task's true result, and of the gang's.
pub(crate) fn result(job: JobId, task: TaskIndex, lie: bool) -> Hash {
    let mut bytes = [if lie { 13 } else { 7 }; 32];
    bytes[..8].copy_from_slice(&job.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&task.0.to_le_bytes());
    Hash::from_bytes(bytes)
}

/// What a host reports.
pub(crate) fn report(run: RunId, result: Hash, wall: Duration) -> RunReport {
    let (ending, fuel) = (Ending::Exited { code: 0 }, Fuel(Fuel::PER_CORE_SECOND.0 / 2));
    RunReport { run, ending, fuel, wall, result }
}

/// How long a host takes for a run: it is up to three times as fast as others, and varies by a fifth.
pub(crate) fn takes(host: usize, dice: &mut Dice) -> Duration {
    let pace = 40_000 + (host as u64 * 7_919) % 80_000;
    Duration::from_millis(pace * 9 / 10 + dice.below(pace / 5))
}
