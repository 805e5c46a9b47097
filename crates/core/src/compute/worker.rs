//! A worker: a machine, its owner, and the runs it has.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, Amount, Duration, JobId, Price, RunId, TaskIndex, Time, WorkerId};
use serde::{Deserialize, Serialize};

use super::index::{Idle, Needs, Place};
use super::job::Job;
use super::owner::Trust;
use super::trusted::Class;
use crate::WorkerSpec;
use crate::bounds::Bounds;

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
    /// When its last link broke; when it joined, if none did.
    pub left: Time,
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
    /// Whether its owner was caught: it is given no work.
    pub barred: bool,
    /// Why its owner is trusted, if it is.
    pub(crate) trust: Option<Trust>,
    /// Failures since the last finding; a worker that only fails is given no work.
    pub(crate) failing: u8,
    /// Its runs, oldest first; all of jobs that are not over.
    pub(crate) runs: BTreeMap<RunId, Run>,
    /// When to look for overdue runs; a timer stands for that.
    pub(crate) overdue: Option<Time>,
    /// Whether the scheduler counts it among those that may be given work.
    pub(crate) noted_willing: bool,
    /// Whether the scheduler counts it among those with idle cores.
    pub(crate) noted_hungry: bool,
    /// Where those that can be asked for checks have it.
    pub(crate) noted_trusted: Option<(Trust, Class)>,
}

/// One attempt of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) job: JobId,
    pub(crate) task: TaskIndex,
    /// What its worker asked for when it was given; what it asks later is for later runs.
    pub(crate) price: Price,
    pub(crate) given: Time,
}

impl Worker {
    /// After so many failures in a row a worker gets no work until it joins anew or has rested.
    pub(super) const FAILING_MAX: u8 = 8;
    /// How long it rests then: what it lacked, a full disk or a hub out of reach, may be there again.
    pub(super) const REST: Duration = Duration::from_secs(300);
    /// Work that a worker is given ahead, so that it never waits for the hub.
    const AHEAD: Duration = Duration::from_millis(20);
    /// Runs per core that it is given ahead at most.
    const AHEAD_RUNS: u64 = 1024;
    /// Runs that it is given altogether at most, so that one message can name them all.
    const RUNS: u64 = 1 << 16;

    pub(crate) fn new(owner: AccountId, spec: WorkerSpec, now: Time) -> Worker {
        Worker {
            owner,
            spec,
            attached: false,
            accepting: false,
            left: now,
            link: 0,
            joined: now,
            verified: 0,
            lost: 0,
            outvoted: 0,
            earned: Amount::ZERO,
            barred: false,
            trust: None,
            failing: 0,
            runs: BTreeMap::new(),
            overdue: None,
            noted_willing: false,
            noted_hungry: false,
            noted_trusted: None,
        }
    }

    /// Its link broke, if it has one.
    pub(crate) fn detach(&mut self, now: Time) {
        if std::mem::take(&mut self.attached) {
            self.left = now;
        }
    }

    /// Whether nobody will miss it: it was away for long, and had nothing to do. What its owner earned and
    /// is trusted with is kept elsewhere; if it comes back it is a new worker.
    ///
    /// At the end of time everything was long ago, even what the scheduler has not noted yet.
    pub(crate) fn is_forgettable(&self, now: Time) -> bool {
        let known = self.verified > 0 || self.lost > 0 || self.outvoted > 0;
        let memory = if known { Bounds::WORKER_MEMORY } else { Bounds::STRANGER_MEMORY };
        let gone = !self.attached && self.runs.is_empty() && !self.noted_willing;
        gone && self.left.after(memory) <= now
    }

    /// How many runs it has now.
    pub fn running(&self) -> usize {
        self.runs.len()
    }

    /// Whether it may be given work at all.
    pub fn is_willing(&self) -> bool {
        self.attached && self.accepting && !self.barred && self.failing < Self::FAILING_MAX
    }

    /// Whether it may do a job of its engine with these needs.
    pub(crate) fn suits(&self, needs: &Needs) -> bool {
        let affordable = self.spec.ask <= needs.bid && needs.memory <= self.spec.memory;
        affordable && !needs.barred.contains(self.owner)
    }

    /// Where it stands among those with idle cores.
    pub(crate) fn place(&self, id: WorkerId) -> (Place, Idle) {
        ((self.spec.ask, id), Idle { memory: self.spec.memory, owner: self.owner })
    }

    /// Whether cores of it stand idle.
    pub(crate) fn is_hungry(&self) -> bool {
        self.is_willing() && self.idle_cores() > 0
    }

    /// How many cores have no run.
    pub(crate) fn idle_cores(&self) -> usize {
        (self.spec.cores as usize).saturating_sub(self.runs.len())
    }

    /// How many more runs of this job it should get now; it is not refilled before half is used up.
    pub(crate) fn appetite(&self, job: &Job) -> usize {
        let window = self.window(job);
        if self.runs.len() > window / 2 { 0 } else { window - self.runs.len() }
    }

    /// Whole runs per core that it has; more than any if it may have no more.
    pub(crate) fn load(&self) -> u32 {
        if self.runs.len() >= Self::RUNS as usize {
            return u32::MAX;
        }
        self.runs.len() as u32 / self.spec.cores
    }

    /// The load with which a worker has so many windows of runs of this job, and may not be asked for more.
    pub(crate) fn load_end(job: &Job, windows: u32) -> u32 {
        Self::runs_per_core(job) as u32 * windows
    }

    /// How many runs it should have while it works on this job.
    fn window(&self, job: &Job) -> usize {
        (u64::from(self.spec.cores) * Self::runs_per_core(job)).min(Self::RUNS) as usize
    }

    /// How many of this job each core should have: one that it works on, and a little ahead.
    fn runs_per_core(job: &Job) -> u64 {
        let ahead = match job.mean_wall {
            None => 1,
            Some(wall) => (Self::AHEAD.0 / wall.0.max(1)).clamp(1, Self::AHEAD_RUNS),
        };
        1 + ahead
    }
}
