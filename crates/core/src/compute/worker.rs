//! A worker: a machine, its owner, and the runs it has.

use std::collections::VecDeque;

use pumasi_types::{AccountId, Amount, Duration, JobId, RunId, TaskIndex, Time};
use serde::{Deserialize, Serialize};

use super::job::Job;
use crate::WorkerSpec;

/// A machine that joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Who is paid for it.
    pub owner: AccountId,
    /// As it presented itself last.
    pub spec: WorkerSpec,
    /// Whether it has a link.
    pub attached: bool,
    /// Whether it takes new work.
    pub accepting: bool,
    /// The number of its newest link, counted from 1.
    pub link: u64,
    /// When it first joined.
    pub joined: Time,
    /// Runs of it that counted.
    pub verified: u64,
    /// Runs it lost or failed at.
    pub lost: u64,
    /// Runs whose finding others outvoted.
    pub outvoted: u64,
    /// What its owner was paid for it.
    pub earned: Amount,
    /// Losses since the last finding; a worker that only fails is given no work.
    pub(crate) failing: u8,
    /// Its runs, oldest first.
    pub(crate) runs: VecDeque<Run>,
    /// When its oldest run is overdue, while a timer stands for that.
    pub(crate) overdue: Option<Time>,
}

/// One attempt of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) job: JobId,
    pub(crate) task: TaskIndex,
    pub(crate) given: Time,
}

impl Worker {
    /// After so many losses in a row a worker gets no work until it joins anew.
    const FAILING_MAX: u8 = 8;
    /// Work that a worker is given ahead, so that it never waits for the hub.
    const AHEAD: Duration = Duration::from_millis(20);
    /// Runs per core that it is given ahead at most.
    const AHEAD_RUNS: u64 = 1024;

    pub(crate) fn new(owner: AccountId, spec: WorkerSpec, now: Time) -> Worker {
        Worker {
            owner,
            spec,
            attached: false,
            accepting: false,
            link: 0,
            joined: now,
            verified: 0,
            lost: 0,
            outvoted: 0,
            earned: Amount::ZERO,
            failing: 0,
            runs: VecDeque::new(),
            overdue: None,
        }
    }

    /// How many runs it has now.
    pub fn running(&self) -> usize {
        self.runs.len()
    }

    /// Whether it may be given work at all.
    pub fn is_willing(&self) -> bool {
        self.attached && self.accepting && self.failing < Self::FAILING_MAX
    }

    /// Whether it may do this job's tasks.
    pub(crate) fn suits(&self, job: &Job) -> bool {
        self.spec.ask <= job.spec.bid
            && job.spec.limits.memory <= self.spec.memory
            && self.spec.engine == job.spec.engine
    }

    /// How many runs it should have while it works on this job: all cores busy, and a little ahead.
    pub(crate) fn window(&self, job: &Job) -> usize {
        let cores = u64::from(self.spec.cores);
        let ahead = match job.mean_wall {
            None => 1,
            Some(wall) => (Self::AHEAD.0 / wall.0.max(1)).clamp(1, Self::AHEAD_RUNS),
        };
        (cores * (1 + ahead)) as usize
    }

    /// Its place of a run.
    fn place(&self, run: RunId) -> Option<usize> {
        self.runs.binary_search_by_key(&run, |r| r.id).ok()
    }

    pub(crate) fn has(&self, run: RunId) -> bool {
        self.place(run).is_some()
    }

    pub(crate) fn take(&mut self, run: RunId) -> Option<Run> {
        let place = self.place(run)?;
        self.runs.remove(place)
    }

    pub(crate) fn fails(&mut self) {
        self.lost += 1;
        self.failing = self.failing.saturating_add(1);
    }
}
