//! Who gets which run: jobs by priority and age, workers by price, only what changed is looked at.
//!
//! A worker is given enough to keep its cores busy for [`Worker::window`], in chunks that shrink as the
//! queue does (guided self-scheduling: Polychronopoulos & Kuck 1987), so that the last tasks of a job are
//! spread over everybody.

use std::collections::BTreeSet;

use pumasi_types::{Duration, JobId, Price, RunId, Time, WorkerId};
use serde::{Deserialize, Serialize};

use super::worker::Run;
use super::{Compute, Context, Job, JobOutcome, Worker};
use crate::effects::{Action, Assignment};
use crate::timers::Timer;

/// Jobs with runs to give out, and workers that want some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// By falling priority, then by age.
    ready: BTreeSet<(i32, JobId)>,
    /// By rising price.
    hungry: BTreeSet<(Price, WorkerId)>,
    /// Workers that may be given work.
    willing: u64,
    /// What this entry changed; empty between entries.
    changed_jobs: BTreeSet<JobId>,
    changed_workers: BTreeSet<WorkerId>,
}

impl Schedule {
    /// The place of a job among the ready ones.
    fn rank(id: JobId, job: &Job) -> (i32, JobId) {
        (-i32::from(job.spec.priority), id)
    }

    pub(crate) fn sanity_check(&self, compute: &Compute) {
        assert!(
            self.changed_jobs.is_empty() && self.changed_workers.is_empty(),
            "scheduling was left undone"
        );
        for (id, job) in &compute.jobs {
            let ready = self.ready.contains(&Schedule::rank(*id, job));
            assert_eq!(ready, job.has_queued_runs(), "job {id}: ready");
        }
        for (id, worker) in compute.workers() {
            let hungry = self.hungry.contains(&(worker.spec.ask, id));
            assert_eq!(hungry, worker.is_hungry(), "worker {id}: hungry");
        }
        let willing = compute.workers.iter().filter(|worker| worker.is_willing()).count();
        assert_eq!(self.willing, willing as u64, "number of willing workers");
    }
}

impl Worker {
    /// Whether a new job should look at it: it has less than two runs per core.
    fn is_hungry(&self) -> bool {
        self.is_willing() && self.runs.len() < 2 * self.spec.cores as usize
    }

    /// How many more runs of this job it should get now; it is not refilled before half is used up.
    fn appetite(&self, job: &Job) -> usize {
        let window = self.window(job);
        if self.runs.len() > window / 2 { 0 } else { window - self.runs.len() }
    }
}

impl Compute {
    /// To be called before a worker changes: it is looked at again once the entry is done.
    pub(super) fn change_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let (key, willing) = ((worker.spec.ask, id), worker.is_willing());
        if self.schedule.changed_workers.insert(id) {
            self.schedule.hungry.remove(&key);
            self.schedule.willing -= u64::from(willing);
        }
    }

    /// A job's queue or state changed.
    pub(super) fn touch_job(&mut self, id: JobId) {
        self.schedule.changed_jobs.insert(id);
    }

    /// Gives out what the entry made possible.
    pub(crate) fn schedule(&mut self, ctx: &mut Context<'_>) {
        let workers = std::mem::take(&mut self.schedule.changed_workers);
        for id in &workers {
            self.schedule.willing += u64::from(self.worker(*id).is_some_and(Worker::is_willing));
        }
        while let Some(id) = self.schedule.changed_jobs.pop_first() {
            self.settle_job(id, ctx);
        }
        for id in workers {
            self.feed_worker(id, ctx);
        }
    }

    /// Brings a changed job's place up to date; offers it to hungry workers if it became ready.
    fn settle_job(&mut self, id: JobId, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let rank = Schedule::rank(id, job);
        if !job.has_queued_runs() {
            self.schedule.ready.remove(&rank);
            if job.is_active() && !job.is_decided() && job.counts.running == 0 && job.committed.0 == 0 {
                self.finish(id, JobOutcome::OutOfBudget, ctx);
            }
            return;
        }
        self.schedule.ready.insert(rank);
        let dearest = (job.spec.bid, WorkerId(u64::MAX));
        let mut next = None;
        while let Some(key) = after(&self.schedule.hungry, next).filter(|key| *key <= dearest) {
            if self.give(key.1, id, ctx) && !self.jobs[&id].has_queued_runs() {
                self.schedule.ready.remove(&rank);
                return;
            }
            next = Some(key);
        }
    }

    /// Gives a changed worker what it wants and notes whether it wants more.
    fn feed_worker(&mut self, id: WorkerId, ctx: &mut Context<'_>) {
        let Some(worker) = self.worker(id) else { return };
        if worker.is_willing() {
            let mut next = None;
            while let Some(rank) = after(&self.schedule.ready, next) {
                if self.give(id, rank.1, ctx) && !self.jobs[&rank.1].has_queued_runs() {
                    self.schedule.ready.remove(&rank);
                }
                next = Some(rank);
            }
        }
        self.note_hunger(id);
    }

    fn note_hunger(&mut self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let (key, hungry) = ((worker.spec.ask, id), worker.is_hungry());
        if hungry {
            self.schedule.hungry.insert(key);
        } else {
            self.schedule.hungry.remove(&key);
        }
    }

    /// Gives a worker some runs of a job. Whether it got any.
    fn give(&mut self, worker_id: WorkerId, job_id: JobId, ctx: &mut Context<'_>) -> bool {
        let willing = self.schedule.willing.max(1);
        let Some(job) = self.jobs.get_mut(&job_id) else { return false };
        let Some(worker) = self.workers.get_mut(worker_id.0 as usize - 1) else { return false };
        if !worker.suits(job) {
            return false;
        }
        let share = job.queued_runs().div_ceil(2 * willing).max(1);
        let count = (worker.appetite(job) as u64).min(share);
        let mut runs = Vec::new();
        for _ in 0..count {
            let Some(task) = job.take_run(worker.owner) else { break };
            self.last_run.0 += 1;
            worker.runs.push_back(Run { id: self.last_run, job: job_id, task, given: ctx.now });
            runs.push(Assignment { run: self.last_run, task });
        }
        if runs.is_empty() {
            return false;
        }
        if worker.overdue.is_none() {
            let at = ctx.now.after(allowance(job));
            worker.overdue = Some(at);
            ctx.timers.set(at, Timer::Overdue(worker_id));
        }
        ctx.effects.actions.push(Action::Assign { worker: worker_id, job: job_id, runs });
        self.note_hunger(worker_id);
        true
    }

    /// A worker's oldest run may be overdue: those that are, are lost, and their worker is told.
    pub(crate) fn check_overdue(&mut self, id: WorkerId, ctx: &mut Context<'_>) {
        let jobs = &self.jobs;
        let due = |run: &Run| jobs.get(&run.job).map_or(Time(0), |job| run.given.after(allowance(job)));
        let Some(worker) = self.workers.get_mut(id.0 as usize - 1) else { return };
        let late: Vec<RunId> =
            worker.runs.iter().filter(|run| due(run) <= ctx.now).map(|run| run.id).collect();
        worker.overdue = worker.runs.iter().map(due).filter(|at| *at > ctx.now).min();
        if let Some(at) = worker.overdue {
            ctx.timers.set(at, Timer::Overdue(id));
        }
        if !late.is_empty() {
            self.change_worker(id);
            self.lose_runs(id, &late, ctx);
            ctx.effects.actions.push(Action::Stop { worker: id, runs: late });
        }
    }
}

/// How long a worker may keep a run of this job before it counts as lost: it may wait behind others.
fn allowance(job: &Job) -> Duration {
    Duration(job.spec.limits.wall.0.saturating_mul(3).saturating_add(Duration::from_secs(60).0))
}

/// The first element, or the one after `last`: walks a set that changes on the way.
fn after<K: Ord + Copy>(set: &BTreeSet<K>, last: Option<K>) -> Option<K> {
    use std::ops::Bound::{Excluded, Unbounded};
    set.range((last.map_or(Unbounded, Excluded), Unbounded)).next().copied()
}
