//! Who gets which run: jobs by priority and age, workers by price, only what changed is looked at.
//!
//! A worker is given enough to keep its cores busy for a while, in chunks that shrink as the queue does
//! (guided self-scheduling: Polychronopoulos & Kuck 1987), so that the last tasks of a job are spread over
//! everybody. When nothing is left for the next entry, no worker has an idle core while a job has a run that
//! it may do. Everything is found in logarithmic time, however many jobs and workers do not suit each other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use pumasi_types::{AccountId, Duration, EngineId, JobId, RunId, TaskIndex, Time, WorkerId};
use serde::{Deserialize, Serialize};

use super::index::{HungryWorkers, Needs, Owners, Place, Rank, ReadyJobs};
use super::worker::Run;
use super::{Compute, Context, Job, JobOutcome, Worker};
use crate::JobSpec;
use crate::effects::{Action, Assignment};
use crate::timers::Timer;
use crate::tree::{Summary, Tree};

/// Jobs with runs to give out, and workers that want some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Jobs with queued runs.
    ready: BTreeMap<EngineId, ReadyJobs>,
    /// Workers with idle cores.
    hungry: BTreeMap<EngineId, HungryWorkers>,
    /// How many workers may be given work.
    willing: u64,
    /// Jobs whose queue or budget changed.
    changed_jobs: BTreeSet<Rank>,
    /// Workers that may want something.
    changed_workers: BTreeSet<WorkerId>,
    /// The last of them that was looked at, while they are too many for one entry.
    fed: Option<WorkerId>,
    /// Jobs that are over and whose runs workers still have.
    recalls: BTreeSet<JobId>,
    /// Workers that this entry changed; empty between entries.
    touched: Vec<WorkerId>,
    /// Runs that this entry took out of workers' hands; none between entries.
    taken: usize,
}

impl Schedule {
    /// Workers looked at and runs moved in one entry, so that none takes long; the next goes on.
    const STEPS: usize = 1 << 12;

    fn rank(id: JobId, job: &Job) -> Rank {
        (-i32::from(job.spec.priority), id)
    }

    /// Whether something is left for the next entry.
    fn is_behind(&self) -> bool {
        !self.changed_jobs.is_empty() || !self.changed_workers.is_empty() || !self.recalls.is_empty()
    }

    pub(super) fn nobody_is_willing(&mut self) {
        self.hungry.clear();
        self.willing = 0;
        self.changed_workers.clear();
    }

    /// The next changed worker, each in its turn however many there are.
    fn pop_changed_worker(&mut self) -> Option<WorkerId> {
        let behind = (self.fed.map_or(Unbounded, Excluded), Unbounded);
        let next = self.changed_workers.range(behind).next().or(self.changed_workers.first()).copied();
        next.inspect(|id| {
            self.changed_workers.remove(id);
        })
    }

    pub(crate) fn sanity_check(&self, compute: &Compute) {
        assert!(self.touched.is_empty() && self.taken == 0, "workers were not noted");
        for (id, job) in &compute.jobs {
            let is_due = self.changed_jobs.contains(&Schedule::rank(*id, job));
            let offered = !job.news || is_due || !job.is_active();
            assert!(offered, "job {id}: its runs were not offered");
            let (is_over, is_held) = (job.outcome().is_some(), !job.holders.is_empty());
            assert_eq!(self.recalls.contains(id), is_over && is_held, "job {id}: runs to be recalled");
        }
        let mut ready = BTreeMap::<EngineId, ReadyJobs>::new();
        for (id, job) in compute.jobs.iter().filter(|(_, job)| job.has_queued_runs()) {
            let rank = Schedule::rank(*id, job);
            if !self.changed_jobs.contains(&rank) {
                let jobs = ready.entry(job.spec.engine.clone()).or_default();
                jobs.insert(rank, Needs::of(&job.spec, job.barred()));
            }
        }
        let listed = self
            .ready
            .iter()
            .flat_map(|(engine, jobs)| jobs.iter().map(move |(rank, needs)| (engine, *rank, *needs)));
        let settled = listed.filter(|(_, rank, _)| !self.changed_jobs.contains(rank));
        let expected = ready
            .iter()
            .flat_map(|(engine, jobs)| jobs.iter().map(move |(rank, needs)| (engine, *rank, *needs)));
        assert!(settled.eq(expected), "jobs with queued runs");
        let (mut hungry, mut willing) = (BTreeMap::<EngineId, HungryWorkers>::new(), 0);
        for (id, worker) in compute.workers() {
            assert_eq!(worker.noted_hungry, worker.is_hungry(), "worker {id} has idle cores");
            assert_eq!(worker.noted_willing, worker.is_willing(), "worker {id} is willing");
            willing += u64::from(worker.is_willing());
            if worker.is_hungry() {
                let (place, idle) = worker.place(id);
                hungry.entry(worker.spec.engine.clone()).or_default().insert(place, idle);
            }
        }
        assert_eq!(hungry, self.hungry, "workers with idle cores");
        assert_eq!(willing, self.willing, "willing workers");
        if self.is_behind() {
            return;
        }
        for (engine, workers) in &self.hungry {
            for ((_, id), _) in workers.iter() {
                let worker = compute.worker(*id).expect("it was just found");
                let jobs = self.ready.get(engine).into_iter().flat_map(ReadyJobs::iter);
                for ((_, job), _) in jobs.filter(|(_, needs)| worker.suits(needs)) {
                    let (job_id, job) = (job, &compute.jobs[job]);
                    let starves = job.has_run_for(worker.owner, compute.works_alone(job, worker.owner));
                    assert!(!starves, "worker {id} is idle though job {job_id} has a run for it");
                }
            }
        }
    }
}

impl Compute {
    /// Whether scheduling is left for the next entry.
    pub(crate) fn is_behind(&self) -> bool {
        self.schedule.is_behind()
    }

    /// A worker changed: it is looked at again once the entry is done.
    pub(super) fn touch_worker(&mut self, id: WorkerId) {
        self.schedule.touched.push(id);
    }

    /// A run was taken out of a worker's hands, so that as many may be given out.
    pub(super) fn touch_run(&mut self) {
        self.schedule.taken += 1;
    }

    /// A job's queue or budget changed: it is looked at again once the entry is done.
    pub(super) fn touch_job(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            self.schedule.changed_jobs.insert(Schedule::rank(id, job));
        }
    }

    /// A job is over: nobody gets more of it, and what workers have of it is taken back.
    pub(super) fn unschedule(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            let rank = Schedule::rank(id, job);
            remove(&mut self.schedule.ready, &job.spec.engine, &rank);
            self.schedule.changed_jobs.remove(&rank);
            if !job.holders.is_empty() {
                self.schedule.recalls.insert(id);
            }
        }
    }

    /// Gives out what the entry made possible: jobs first, because they choose the cheapest worker.
    ///
    /// What is too much for one entry is left for the next ones.
    pub(crate) fn schedule(&mut self, ctx: &mut Context<'_>) {
        // As much as comes in can always be done, besides what is left from before.
        let mut steps =
            Schedule::STEPS + 2 * self.schedule.touched.len() + std::mem::take(&mut self.schedule.taken);
        loop {
            for id in std::mem::take(&mut self.schedule.touched) {
                self.note_worker(id);
                self.schedule.changed_workers.insert(id);
            }
            if steps == 0 || !self.schedule.is_behind() {
                break;
            }
            // A job that ends here frees workers, so there may be more to do after that.
            if let Some(id) = self.schedule.recalls.first().copied() {
                self.recall(id, &mut steps, ctx);
            } else if let Some((_, id)) = self.schedule.changed_jobs.pop_first() {
                self.offer_job(id, &mut steps, ctx);
            } else if let Some(id) = self.schedule.pop_changed_worker() {
                self.feed_worker(id, &mut steps, ctx);
                self.schedule.fed = Some(id);
            }
        }
        if !self.schedule.is_behind() {
            self.schedule.fed = None;
        }
    }

    /// Notes whether a worker takes work and wants some.
    fn note_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(id.0) else { return };
        let (willing, hungry) = (worker.is_willing(), worker.is_hungry());
        self.schedule.willing += u64::from(willing);
        let (owner, before) = (worker.owner, std::mem::replace(&mut worker.noted_willing, willing));
        self.schedule.willing -= u64::from(before);
        if before != willing {
            self.note_willing(owner, id, willing);
        }
        let Some(worker) = self.workers.get_mut(id.0) else { return };
        self.trusted.note(id, worker, willing);
        if std::mem::replace(&mut worker.noted_hungry, hungry) == hungry {
            return;
        }
        let (place, idle) = worker.place(id);
        if !hungry {
            remove(&mut self.schedule.hungry, &worker.spec.engine, &place);
        } else if let Some(workers) = self.schedule.hungry.get_mut(&worker.spec.engine) {
            workers.insert(place, idle);
        } else {
            let workers = HungryWorkers::from_iter([(place, idle)]);
            self.schedule.hungry.insert(worker.spec.engine.clone(), workers);
        }
    }

    /// To be called before what a worker presents itself as changes, which is part of its place.
    pub(super) fn unnote_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(id.0) else { return };
        self.trusted.note(id, worker, false);
        if std::mem::take(&mut worker.noted_hungry) {
            remove(&mut self.schedule.hungry, &worker.spec.engine, &worker.place(id).0);
        }
    }

    /// Brings a job's place among the ready ones up to date.
    fn note_job(&mut self, rank: Rank) {
        let Some(job) = self.jobs.get(&rank.1) else { return };
        let (engine, ready) = (&job.spec.engine, &mut self.schedule.ready);
        if !job.has_queued_runs() {
            return remove(ready, engine, &rank);
        }
        let needs = Needs::of(&job.spec, job.barred());
        match ready.get_mut(engine) {
            Some(jobs) if jobs.get(&rank) == Some(&needs) => {}
            Some(jobs) => drop(jobs.insert(rank, needs)),
            None => drop(ready.insert(engine.clone(), ReadyJobs::from_iter([(rank, needs)]))),
        }
    }

    /// Takes runs of a job that is over out of its workers' hands, so that they are free for others.
    pub(super) fn recall(&mut self, id: JobId, steps: &mut usize, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        while *steps > 0
            && let Some((worker_id, held)) = job.holders.pop_first()
        {
            let Some(worker) = self.workers.get_mut(worker_id.0) else { continue };
            let runs: Vec<RunId> =
                worker.runs.extract_if(.., |_, run| run.job == id).map(|(id, _)| id).collect();
            debug_assert_eq!(runs.len(), held as usize);
            *steps = steps.saturating_sub(1 + runs.len());
            self.schedule.touched.push(worker_id);
            ctx.effects.actions.push(Action::Stop { worker: worker_id, runs });
        }
        if job.holders.is_empty() {
            self.schedule.recalls.remove(&id);
        }
    }

    /// Brings a changed job's place up to date; offers it to workers with idle cores if it has new runs.
    fn offer_job(&mut self, id: JobId, steps: &mut usize, ctx: &mut Context<'_>) {
        *steps = steps.saturating_sub(1);
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_active()) else { return };
        let (rank, spec) = (Schedule::rank(id, job), std::sync::Arc::clone(&job.spec));
        let news = std::mem::take(&mut job.news);
        let at_an_end = job.counts.running == 0 && job.doubts() == 0 && !job.is_decided();
        if at_an_end && !job.has_queued_runs() {
            return self.finish(id, JobOutcome::OutOfBudget, ctx);
        }
        self.note_job(rank);
        if !news {
            return;
        }
        let mut nothing_for: BTreeSet<AccountId> = BTreeSet::new();
        let mut last = None;
        while self.jobs[&id].has_queued_runs()
            && let Some((place, owner)) = self.next_hungry(&spec, last, &nothing_for)
        {
            if *steps == 0 {
                self.jobs.get_mut(&id).expect("it was just found").news = true;
                self.schedule.changed_jobs.insert(rank);
                return;
            }
            if !self.give(place.1, rank, steps, ctx) {
                nothing_for.insert(owner);
            }
            last = Some(place);
        }
    }

    /// The cheapest worker behind `last` that suits a job and is of none of these owners.
    fn next_hungry(
        &self,
        spec: &JobSpec,
        last: Option<Place>,
        nothing_for: &BTreeSet<AccountId>,
    ) -> Option<(Place, AccountId)> {
        let memory = spec.limits.memory;
        let all_barred = |owners: &Owners| owners.iter().all(|owner| nothing_for.contains(&owner));
        let found = self.schedule.hungry.get(&spec.engine)?.first_after(
            last,
            |many| many.most_memory >= memory && !many.owners.as_ref().is_some_and(all_barred),
            |_, idle| idle.memory >= memory && !nothing_for.contains(&idle.owner),
        );
        found.filter(|(place, _)| place.0 <= spec.bid).map(|(place, idle)| (place, idle.owner))
    }

    /// Gives a changed worker what it wants, of the first jobs that suit it. Nothing of a later job goes
    /// before more of an earlier one.
    fn feed_worker(&mut self, id: WorkerId, steps: &mut usize, ctx: &mut Context<'_>) {
        let mut last = None;
        loop {
            *steps = steps.saturating_sub(1);
            let Some(worker) = self.worker(id).filter(|worker| worker.is_willing()) else { return };
            let Some(jobs) = self.schedule.ready.get(&worker.spec.engine) else { return };
            let (owner, ask, memory) = (worker.owner, worker.spec.ask, worker.spec.memory);
            let suiting = jobs.first_after(
                last,
                |many| many.highest_bid >= ask && many.least_memory <= memory && !many.barred.contains(owner),
                |_, needs| worker.suits(needs),
            );
            let Some((rank, _)) = suiting else { return };
            if worker.appetite(&self.jobs[&rank.1]) == 0 {
                return;
            }
            self.give(id, rank, steps, ctx);
            let job = &self.jobs[&rank.1];
            if job.has_run_for(owner, self.works_alone(job, owner)) {
                return;
            }
            last = Some(rank);
        }
    }

    /// Gives a worker some runs of a ready job that suits it. Whether there were any for it.
    fn give(&mut self, worker_id: WorkerId, rank: Rank, steps: &mut usize, ctx: &mut Context<'_>) -> bool {
        let willing = self.schedule.willing.max(1);
        let Some(owner) = self.worker(worker_id).map(|worker| worker.owner) else { return false };
        let alone = self.jobs.get(&rank.1).is_some_and(|job| self.works_alone(job, owner));
        let Some(job) = self.jobs.get_mut(&rank.1) else { return false };
        let Some(worker) = self.workers.get_mut(worker_id.0) else { return false };
        let share = usize::try_from(job.queued_runs().div_ceil(2 * willing)).unwrap_or(usize::MAX);
        let count = share.max(worker.idle_cores()).min(worker.appetite(job));
        let mut runs = Vec::new();
        for task in job.take_runs(owner, alone, count) {
            // As `next_run` does, which would borrow all of it.
            self.last_run.0 += 1;
            let run = Run { job: rank.1, task, price: worker.spec.ask, given: ctx.now };
            worker.runs.insert(self.last_run, run);
            runs.push(Assignment { run: self.last_run, task });
        }
        *steps = steps.saturating_sub(1 + runs.len());
        if runs.is_empty() {
            return false;
        }
        job.hand_out(worker_id, runs.len());
        worker.expect_by(worker_id, ctx.now.after(allowance(job.spec.limits.wall)), ctx);
        let partners_wanted: Vec<TaskIndex> =
            if alone { Vec::new() } else { runs.iter().map(|run| run.task).collect() };
        ctx.effects.actions.push(Action::Assign { worker: worker_id, job: rank.1, runs });
        // While there are tasks to start, its place stays as it is.
        if !job.has_fresh() {
            self.note_job(rank);
        }
        self.note_worker(worker_id);
        *steps = steps.saturating_sub(2 * partners_wanted.len());
        for task in partners_wanted {
            self.prefer_trusted(rank.1, task, ctx);
        }
        true
    }

    /// The number of a new run.
    pub(super) fn next_run(&mut self) -> RunId {
        self.last_run.0 += 1;
        self.last_run
    }

    /// Gives a worker a new run of a task, whatever else it has.
    pub(super) fn hand_out(
        &mut self,
        id: RunId,
        worker_id: WorkerId,
        job_id: JobId,
        task: TaskIndex,
        ctx: &mut Context<'_>,
    ) {
        let mut wall = Duration(0);
        if let Some(job) = self.jobs.get_mut(&job_id) {
            wall = job.spec.limits.wall;
            job.hand_out(worker_id, 1);
        }
        if let Some(worker) = self.worker_mut(worker_id) {
            let run = Run { job: job_id, task, price: worker.spec.ask, given: ctx.now };
            worker.runs.insert(id, run);
            worker.expect_by(worker_id, ctx.now.after(allowance(wall)), ctx);
        }
        let runs = vec![Assignment { run: id, task }];
        ctx.effects.actions.push(Action::Assign { worker: worker_id, job: job_id, runs });
        self.touch_worker(worker_id);
        self.note_worker(worker_id);
    }

    /// Runs of a worker may be overdue: those that are, are lost, and their worker is told.
    ///
    /// A run may wait behind older ones of the same worker, so the longest allowance up to it counts; how
    /// long that is changes when they end, so a run that waits is looked at again after its own allowance.
    ///
    /// At most so many steps are taken, and counted off; the rest is due at once.
    pub(crate) fn check_overdue(&mut self, id: WorkerId, steps: &mut usize, ctx: &mut Context<'_>) {
        let jobs = &self.jobs;
        let Some(worker) = self.workers.get_mut(id.0) else { return };
        let (mut late, mut longest) = (Vec::new(), Duration(0));
        worker.overdue = None;
        for (run_id, run) in &worker.runs {
            if late.len() > *steps {
                worker.overdue = Some(ctx.now);
                break;
            }
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
        *steps = steps.saturating_sub(late.len());
        if !late.is_empty() {
            self.touch_worker(id);
            self.lose_runs(id, &late, ctx);
            ctx.effects.actions.push(Action::Stop { worker: id, runs: late });
        }
    }
}

impl Worker {
    /// Has its runs looked at at this time, or earlier if that is planned.
    fn expect_by(&mut self, id: WorkerId, at: Time, ctx: &mut Context<'_>) {
        if self.overdue.is_none_or(|earliest| at < earliest) {
            if let Some(later) = self.overdue.replace(at) {
                ctx.timers.clear(later, Timer::Overdue(id));
            }
            ctx.timers.set(at, Timer::Overdue(id));
        }
    }
}

/// How long a worker may keep a run of this wall-clock limit before it counts as lost.
fn allowance(wall: Duration) -> Duration {
    Duration(wall.0.saturating_mul(3).saturating_add(Duration::from_secs(60).0))
}

/// Takes an entry out of one of several trees, and the tree with the last of its entries.
pub(super) fn remove<N: Ord, K: Ord + Copy, V, S: Summary<V>>(
    trees: &mut BTreeMap<N, Tree<K, V, S>>,
    name: &N,
    key: &K,
) {
    if let Some(tree) = trees.get_mut(name) {
        tree.remove(key);
        if tree.is_empty() {
            trees.remove(name);
        }
    }
}
