//! Who gets which run: jobs by priority and age, workers by price, only what changed is looked at.
//!
//! A worker is given enough to keep its cores busy for a while, in chunks that shrink as the queue does
//! (guided self-scheduling: Polychronopoulos & Kuck 1987), so that the last tasks of a job are spread over
//! everybody. After every entry no worker has an idle core while a job has a run that it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use pumasi_types::{AccountId, Duration, JobId, Price, WorkerId};
use serde::{Deserialize, Serialize};

use super::worker::{Needs, Run};
use super::{Compute, Context, Job, JobOutcome};
use crate::effects::{Action, Assignment};
use crate::timers::Timer;

/// The place of a job among the ready ones: by falling priority, then by age.
type Rank = (i32, JobId);

/// Jobs with runs to give out, and workers that want some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Jobs with queued runs, and what they need, so that a worker passes by many that do not suit it.
    ready: BTreeMap<Rank, Needs>,
    /// Workers with idle cores, by rising price.
    hungry: BTreeSet<(Price, WorkerId)>,
    /// Workers that may be given work.
    willing: BTreeSet<WorkerId>,
    /// What this entry changed; empty between entries.
    changed_jobs: BTreeSet<Rank>,
    changed_workers: BTreeSet<WorkerId>,
}

impl Schedule {
    fn rank(id: JobId, job: &Job) -> Rank {
        (-i32::from(job.spec.priority), id)
    }

    pub(crate) fn sanity_check(&self, compute: &Compute) {
        let undone = !self.changed_jobs.is_empty() || !self.changed_workers.is_empty();
        assert!(!undone, "scheduling was left undone");
        let ready = compute.jobs.iter().filter(|(_, job)| job.has_queued_runs());
        let ready: BTreeMap<Rank, Needs> =
            ready.map(|(id, job)| (Schedule::rank(*id, job), Needs::of(&job.spec))).collect();
        assert_eq!(ready, self.ready, "jobs with queued runs");
        let hungry = compute.workers().filter(|(_, worker)| worker.is_hungry());
        let hungry: BTreeSet<_> = hungry.map(|(id, worker)| (worker.spec.ask, id)).collect();
        assert_eq!(hungry, self.hungry, "workers with idle cores");
        let willing = compute.workers().filter(|(_, worker)| worker.is_willing());
        assert_eq!(willing.map(|(id, _)| id).collect::<BTreeSet<_>>(), self.willing, "willing workers");
        for (_, id) in &self.hungry {
            let worker = compute.worker(*id).expect("it was just found");
            for ((_, job), _) in self.ready.iter().filter(|(_, needs)| worker.suits(needs)) {
                let starves = compute.jobs[job].has_run_for(worker.owner);
                assert!(!starves, "worker {id} is idle though job {job} has a run for it");
            }
        }
    }
}

impl Compute {
    /// A worker changed: it is looked at again once the entry is done.
    pub(super) fn touch_worker(&mut self, id: WorkerId) {
        self.schedule.changed_workers.insert(id);
    }

    /// A job's queue or budget changed: it is looked at again once the entry is done.
    pub(super) fn touch_job(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            self.schedule.changed_jobs.insert(Schedule::rank(id, job));
        }
    }

    /// A job is over.
    pub(super) fn unschedule(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            let rank = Schedule::rank(id, job);
            self.schedule.ready.remove(&rank);
            self.schedule.changed_jobs.remove(&rank);
        }
    }

    /// Gives out what the entry made possible: jobs first, because they choose the cheapest worker.
    pub(crate) fn schedule(&mut self, ctx: &mut Context<'_>) {
        // A job that ends here frees workers, so there may be more to do after that.
        while !self.schedule.changed_jobs.is_empty() || !self.schedule.changed_workers.is_empty() {
            let workers = std::mem::take(&mut self.schedule.changed_workers);
            for id in &workers {
                self.note_worker(*id);
            }
            while let Some((_, id)) = self.schedule.changed_jobs.pop_first() {
                self.offer_job(id, ctx);
            }
            for id in workers {
                self.feed_worker(id, ctx);
            }
        }
    }

    /// Notes whether a worker takes work and wants some.
    fn note_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let (key, hungry, willing) = ((worker.spec.ask, id), worker.is_hungry(), worker.is_willing());
        put(&mut self.schedule.hungry, key, hungry);
        put(&mut self.schedule.willing, id, willing);
    }

    /// To be called before a worker's price changes, which is part of its place.
    pub(super) fn unnote_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker(id) {
            let key = (worker.spec.ask, id);
            self.schedule.hungry.remove(&key);
        }
    }

    /// Brings a changed job's place up to date; offers it to workers with idle cores if it has new runs.
    fn offer_job(&mut self, id: JobId, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_active()) else { return };
        let rank = Schedule::rank(id, job);
        let news = std::mem::take(&mut job.news);
        if !job.has_queued_runs() {
            self.schedule.ready.remove(&rank);
            if job.counts.running == 0 && !job.is_decided() {
                self.finish(id, JobOutcome::OutOfBudget, ctx);
            }
            return;
        }
        self.schedule.ready.entry(rank).or_insert_with(|| Needs::of(&job.spec));
        if !news {
            return;
        }
        let dearest = (job.spec.bid, WorkerId(u64::MAX));
        let mut nothing_for: BTreeSet<AccountId> = BTreeSet::new();
        let mut last = None;
        while let Some(key) = next_after(&self.schedule.hungry, last).filter(|key| *key <= dearest) {
            let Some(needs) = self.schedule.ready.get(&rank) else { return };
            if let Some(worker) = self.worker(key.1)
                && worker.suits(needs)
                && !nothing_for.contains(&worker.owner)
            {
                let owner = worker.owner;
                if !self.give(key.1, rank, ctx) {
                    nothing_for.insert(owner);
                }
            }
            last = Some(key);
        }
    }

    /// Gives a changed worker what it wants, of the first jobs that suit it. Nothing of a later job goes
    /// before more of an earlier one.
    fn feed_worker(&mut self, id: WorkerId, ctx: &mut Context<'_>) {
        let mut last = None;
        while let Some(worker) = self.worker(id).filter(|worker| worker.is_willing()) {
            let from = last.map_or(Unbounded, Excluded);
            let suiting = self.schedule.ready.range((from, Unbounded)).find(|(_, needs)| worker.suits(needs));
            let Some((rank, _)) = suiting else { return };
            let rank = *rank;
            let owner = worker.owner;
            if worker.appetite(&self.jobs[&rank.1]) == 0 {
                return;
            }
            self.give(id, rank, ctx);
            if self.jobs[&rank.1].has_run_for(owner) {
                return;
            }
            last = Some(rank);
        }
    }

    /// Gives a worker some runs of a ready job that suits it. Whether there were any for it.
    fn give(&mut self, worker_id: WorkerId, rank: Rank, ctx: &mut Context<'_>) -> bool {
        let willing = self.schedule.willing.len().max(1) as u64;
        let Some(job) = self.jobs.get_mut(&rank.1) else { return false };
        let Some(worker) = self.workers.get_mut(worker_id.0 as usize - 1) else { return false };
        let share = usize::try_from(job.queued_runs().div_ceil(2 * willing)).unwrap_or(usize::MAX);
        let count = share.max(worker.idle_cores()).min(worker.appetite(job));
        let mut runs = Vec::new();
        for task in job.take_runs(worker.owner, count) {
            self.last_run.0 += 1;
            let run = Run { job: rank.1, task, price: worker.spec.ask, given: ctx.now };
            worker.runs.insert(self.last_run, run);
            runs.push(Assignment { run: self.last_run, task });
        }
        if runs.is_empty() {
            return false;
        }
        let at = ctx.now.after(allowance(job.spec.limits.wall));
        if worker.overdue.is_none_or(|earliest| at < earliest) {
            if let Some(later) = worker.overdue.replace(at) {
                ctx.timers.clear(later, Timer::Overdue(worker_id));
            }
            ctx.timers.set(at, Timer::Overdue(worker_id));
        }
        if !job.has_queued_runs() {
            self.schedule.ready.remove(&rank);
        }
        ctx.effects.actions.push(Action::Assign { worker: worker_id, job: rank.1, runs });
        self.note_worker(worker_id);
        true
    }

    /// Runs of a worker may be overdue: those that are, are lost, and their worker is told.
    ///
    /// A run may wait behind older ones of the same worker, so the longest allowance up to it counts; how
    /// long that is changes when they end, so a run that waits is looked at again after its own allowance.
    pub(crate) fn check_overdue(&mut self, id: WorkerId, ctx: &mut Context<'_>) {
        let jobs = &self.jobs;
        let Some(worker) = self.workers.get_mut(id.0 as usize - 1) else { return };
        let (mut late, mut longest) = (Vec::new(), Duration(0));
        worker.overdue = None;
        for (run_id, run) in &worker.runs {
            let own = jobs.get(&run.job).map_or(Duration(0), |job| allowance(job.spec.limits.wall));
            longest = longest.max(own);
            if run.given.after(longest) <= ctx.now {
                late.push(*run_id);
                continue;
            }
            let at = Some(run.given.after(own)).filter(|at| *at > ctx.now).unwrap_or(ctx.now.after(own));
            worker.overdue = Some(worker.overdue.map_or(at, |earliest| earliest.min(at)));
        }
        if let Some(at) = worker.overdue {
            ctx.timers.set(at, Timer::Overdue(id));
        }
        if !late.is_empty() {
            self.touch_worker(id);
            self.lose_runs(id, &late, ctx);
            ctx.effects.actions.push(Action::Stop { worker: id, runs: late });
        }
    }
}

/// How long a worker may keep a run of this wall-clock limit before it counts as lost.
fn allowance(wall: Duration) -> Duration {
    Duration(wall.0.saturating_mul(3).saturating_add(Duration::from_secs(60).0))
}

/// The first element, or the one after `last`: walks a set that changes on the way.
fn next_after<K: Ord + Copy>(set: &BTreeSet<K>, last: Option<K>) -> Option<K> {
    set.range((last.map_or(Unbounded, Excluded), Unbounded)).next().copied()
}

/// Puts a key into a set or takes it out.
fn put<K: Ord>(set: &mut BTreeSet<K>, key: K, inside: bool) {
    if inside {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}
