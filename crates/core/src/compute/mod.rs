//! The compute machine: jobs of many tasks, the workers that run them, and who is paid.
//!
//! A *task* needs as many agreeing *findings* of independent owners as its job's quorum and their records
//! say. Each attempt is a *run* on one worker. `running + queued` runs of an open, started task are always just what its
//! agreement still lacks, and the job's budget covers the most they can cost; so a verified run can always
//! be paid, and no run is made that nobody needs.

mod ballot;
mod check;
mod entropy;
mod index;
mod job;
mod owner;
mod report;
mod schedule;
mod task;
mod trust;
mod trusted;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pumasi_types::{AccountId, Amount, Currency, JobId, RunId, Time, WorkerId};
use serde::{Deserialize, Serialize};

use self::entropy::Entropy;
pub use self::job::{Job, JobCounts, JobOutcome, JobState};
use self::owner::Roster;
pub use self::owner::{Owner, Standing};
use self::schedule::Schedule;
pub use self::task::{Task, TaskState};
use self::trusted::TrustedMachines;
pub use self::worker::Worker;
use crate::bounds::Bounds;
use crate::effects::{Action, Done, Effects};
use crate::ledger::Ledger;
use crate::table::Table;
use crate::timers::{Timer, Timers};
use crate::{JobSpec, Refusal, WorkerSpec};

/// What the compute machine works on besides its own state.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) timers: &'a mut Timers,
    pub(crate) effects: &'a mut Effects,
}

/// All jobs and workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compute {
    jobs: BTreeMap<JobId, Job>,
    workers: Table<Worker>,
    /// The last worker of which it was looked whether it can be forgotten.
    looked_at: WorkerId,
    machines: BTreeMap<(AccountId, u128), WorkerId>,
    schedule: Schedule,
    /// Records of accounts that lend machines or are vouched for.
    owners: BTreeMap<AccountId, Owner>,
    /// Owners with willing machines that an operator answers for.
    vouched: Roster,
    /// Other trusted owners with willing machines.
    proven: Roster,
    /// Machines of both.
    trusted: TrustedMachines,
    /// Jobs that are not over.
    unfinished: BTreeSet<JobId>,
    /// How many of an account are not over.
    unfinished_of: BTreeMap<AccountId, u32>,
    last_job: JobId,
    last_run: RunId,
    entropy: Entropy,
}

impl Compute {
    pub(crate) fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    pub(crate) fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    pub(crate) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(id.0)
    }

    pub(crate) fn workers(&self) -> impl ExactSizeIterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (WorkerId(id), worker))
    }

    pub(crate) fn works_on(&self, account: AccountId, job: JobId) -> bool {
        let holders = self.jobs.get(&job).map(|job| job.holders.keys());
        holders.is_some_and(|mut ids| {
            ids.any(|id| self.worker(*id).is_some_and(|worker| worker.owner == account))
        })
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(id.0)
    }

    /// The worker, if it is `owner`'s.
    fn own_worker(&mut self, owner: AccountId, id: WorkerId) -> Result<&mut Worker, Refusal> {
        let worker = self.worker_mut(id).ok_or(Refusal::NoWorker { worker: id })?;
        if worker.owner != owner {
            return Err(Refusal::NotYours { what: format!("worker {id}") });
        }
        Ok(worker)
    }

    /// Later random decisions follow from this seed.
    pub(crate) fn draw(&mut self, seed: u128) {
        self.entropy.draw(seed);
    }

    pub(crate) fn submit(
        &mut self,
        owner: AccountId,
        spec: &Arc<JobSpec>,
        ctx: &mut Context<'_>,
    ) -> Result<Done, Refusal> {
        spec.check(ctx.now)?;
        let mut unfinished = 0;
        for before in &spec.after {
            match self.jobs.get(before).map(|job| (job.owner, job.outcome())) {
                None => return Err(Refusal::NoJob { job: *before }),
                Some((other, _)) if other != owner => {
                    return Err(Refusal::NotYours { what: format!("job {before}") });
                }
                Some((_, None)) => unfinished += 1,
                Some((_, Some(JobOutcome::Succeeded))) => {}
                Some((_, Some(_))) => return Err(Refusal::DependencyFailed { job: *before }),
            }
        }
        if self.unfinished_of.get(&owner).is_some_and(|jobs| *jobs >= Bounds::JOBS) {
            let most = Bounds::JOBS;
            let problem = format!("must be {most} at most at a time: order one job of many tasks instead");
            return Err(Refusal::invalid("unfinished jobs", problem));
        }
        let budget = (Currency::CREDIT, spec.budget);
        let hold = ctx.ledger.hold_money(ctx.now, owner, budget, None, true, ctx.timers)?;
        *self.unfinished_of.entry(owner).or_default() += 1;
        self.last_job.0 += 1;
        let id = self.last_job;
        self.unfinished.insert(id);
        for before in &spec.after {
            let before = self.jobs.get_mut(before).expect("looked up above");
            if before.outcome().is_none() {
                before.dependents.push(id);
            }
        }
        if let Some(at) = spec.deadline {
            ctx.timers.set(at, Timer::Deadline(id));
        }
        self.jobs.insert(id, Job::new(owner, Arc::clone(spec), hold, ctx.now, unfinished));
        self.touch_job(id);
        Ok(Done::Job(id))
    }

    pub(crate) fn cancel(
        &mut self,
        caller: AccountId,
        operator: bool,
        id: JobId,
        ctx: &mut Context<'_>,
    ) -> Result<Done, Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::NoJob { job: id })?;
        if job.owner != caller && !operator {
            return Err(Refusal::NotYours { what: format!("job {id}") });
        }
        if job.outcome().is_some() {
            return Err(Refusal::JobOver { job: id });
        }
        self.finish(id, JobOutcome::Cancelled, ctx);
        Ok(Done::Ok)
    }

    /// A deadline passed.
    pub(crate) fn expire(&mut self, id: JobId, ctx: &mut Context<'_>) {
        match self.jobs.get(&id).filter(|job| job.outcome().is_none()) {
            None => {}
            // Only checks were missing.
            Some(job) if job.is_decided() => self.finish(id, job.natural_outcome(), ctx),
            Some(_) => self.finish(id, JobOutcome::Expired, ctx),
        }
    }

    pub(crate) fn forget(&mut self, id: JobId, ctx: &mut Context<'_>) {
        match self.jobs.get(&id) {
            Some(job) if job.outcome().is_none() => {}
            Some(job) if job.provisional > 0 => {
                ctx.timers.set(ctx.now.after(Bounds::JOB_MEMORY), Timer::ForgetJob(id));
            }
            _ => {
                self.recall_all(id, ctx);
                self.jobs.remove(&id);
            }
        }
    }

    /// Takes the runs of a job that is over back at once.
    fn recall_all(&mut self, id: JobId, ctx: &mut Context<'_>) {
        let mut steps = usize::MAX;
        self.recall(id, &mut steps, ctx);
    }

    /// Ends a job if nothing is left to find out about it.
    fn end_if_settled(&mut self, id: JobId, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.is_active()) else { return };
        if job.doubts() == 0 && (job.is_decided() || job.has_failed_too_often()) {
            self.finish(id, job.natural_outcome(), ctx);
        } else {
            self.touch_job(id);
        }
    }

    /// A job that is over keeps only what it owes for findings that wait for a check.
    fn release_unowed(&mut self, id: JobId, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.funds = Amount(job.spent.0 + job.owed.0);
        if job.provisional > 0 {
            ctx.ledger.release_but(job.hold, job.owed).expect("a job that owes has it in its hold");
        } else {
            ctx.ledger.release(job.hold, ctx.timers).expect("a job that is not settled has its hold");
        }
    }

    /// Opens a job again of which findings were taken back, with its owner's money up to its budget.
    /// Whether it is open: one that was given up stays so.
    fn reopen(&mut self, id: JobId, ctx: &mut Context<'_>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let JobState::Over { at, .. } = job.state else { return false };
        if !job.ended_by_itself() {
            return false;
        }
        // What workers still have of it is of before.
        self.recall_all(id, ctx);
        let job = self.jobs.get_mut(&id).expect("looked up above");
        let missing = Amount(job.spec.budget.0 - job.funds.0);
        let added = ctx.ledger.refill(job.hold, missing).expect("a job that owes has its hold");
        job.funds.0 += added.0;
        job.state = JobState::Active;
        *self.unfinished_of.entry(job.owner).or_default() += 1;
        self.unfinished.insert(id);
        ctx.timers.clear(at.after(Bounds::JOB_MEMORY), Timer::ForgetJob(id));
        if let Some(deadline) = job.spec.deadline.filter(|at| *at > ctx.now) {
            ctx.timers.set(deadline, Timer::Deadline(id));
        }
        ctx.effects.actions.push(Action::JobReopened { job: id });
        self.touch_job(id);
        true
    }

    /// Ends a job, and every job that waited for its success if there is none.
    fn finish(&mut self, id: JobId, outcome: JobOutcome, ctx: &mut Context<'_>) {
        let mut ending = vec![(id, outcome)];
        while let Some((id, outcome)) = ending.pop() {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.outcome().is_none()) else { continue };
            let doubts = job.end(outcome, ctx.now);
            self.unfinished.remove(&id);
            if let Some(jobs) = self.unfinished_of.get_mut(&job.owner) {
                *jobs -= 1;
            }
            let deadline = job.spec.deadline;
            let dependents = std::mem::take(&mut job.dependents);
            self.release_unowed(id, ctx);
            if let Some(at) = deadline {
                ctx.timers.clear(at, Timer::Deadline(id));
            }
            ctx.timers.set(ctx.now.after(Bounds::JOB_MEMORY), Timer::ForgetJob(id));
            ctx.effects.actions.push(Action::JobOver { job: id });
            self.unschedule(id);
            for doubt in doubts {
                self.drop_doubt(doubt, ctx);
            }
            for dependent in dependents {
                if outcome != JobOutcome::Succeeded {
                    ending.push((dependent, JobOutcome::DependencyFailed));
                } else if let Some(job) = self.jobs.get_mut(&dependent)
                    && let JobState::Waiting { unfinished } = &mut job.state
                {
                    *unfinished -= 1;
                    if *unfinished == 0 {
                        job.state = JobState::Active;
                    }
                    self.touch_job(dependent);
                }
            }
        }
    }

    pub(crate) fn attach(
        &mut self,
        owner: AccountId,
        operator: bool,
        spec: &WorkerSpec,
        ctx: &mut Context<'_>,
    ) -> Result<Done, Refusal> {
        spec.check()?;
        let record = self.owners.entry(owner).or_default();
        let newly_operator = std::mem::replace(&mut record.operator, operator) != operator;
        let (barred, trust) = (record.standing == Standing::Caught, record.trust());
        let id = match self.machines.get(&(owner, spec.machine_key)) {
            Some(id) => *id,
            None => {
                self.forget_worker(ctx.now);
                self.forget_worker(ctx.now);
                let id = WorkerId(self.workers.push(Worker::new(owner, spec.clone(), ctx.now)));
                self.machines.insert((owner, spec.machine_key), id);
                id
            }
        };
        self.touch_worker(id);
        self.unnote_worker(id);
        let mut held = spec.held.clone();
        held.sort_unstable();
        held.dedup();
        let worker = self.worker_mut(id).expect("found or made above");
        // What one engine began another must not finish: their fuel and results do not compare.
        let same_engine = worker.spec.engine == spec.engine;
        let (runs, keeps) = (&worker.runs, |run: &RunId| same_engine && held.binary_search(run).is_ok());
        let never_arrived: Vec<RunId> = runs.keys().copied().filter(|run| !keeps(run)).collect();
        let unwanted = held.iter().copied().filter(|run| !same_engine || !runs.contains_key(run)).collect();
        worker.spec = WorkerSpec { held: Vec::new(), ..spec.clone() };
        (worker.attached, worker.accepting, worker.failing) = (true, true, 0);
        (worker.barred, worker.trust) = (barred, trust);
        worker.link += 1;
        let link = worker.link;
        if newly_operator {
            self.standing_changed(owner);
        }
        self.give_back(id, &never_arrived, ctx);
        Ok(Done::Attached { worker: id, link, unwanted })
    }

    /// The hub started: every link is gone.
    pub(crate) fn detach_all(&mut self, now: Time) {
        for (_, worker) in self.workers.iter_mut() {
            worker.detach(now);
            (worker.noted_willing, worker.noted_hungry, worker.noted_trusted) = (false, false, None);
        }
        self.owners.values_mut().for_each(|owner| owner.willing.clear());
        (self.vouched, self.proven) = Default::default();
        self.trusted.clear();
        self.schedule.nobody_is_willing();
    }

    /// Looks at the next of all workers, and forgets it if it was away for long.
    ///
    /// Each newcomer looks at two: so machines that come once and never again, under however many keys, cannot
    /// fill the memory, and no entry takes long to find them.
    fn forget_worker(&mut self, now: Time) {
        let id = self.workers.next_after(self.looked_at.0).or_else(|| self.workers.next_after(0));
        let Some((id, worker)) = id.and_then(|id| Some((id, self.workers.get(id)?))) else { return };
        self.looked_at = WorkerId(id);
        if worker.is_forgettable(now) {
            self.machines.remove(&(worker.owner, worker.spec.machine_key));
            self.workers.remove(id);
        }
    }

    pub(crate) fn detach(&mut self, id: WorkerId, link: u64, now: Time) -> Result<Done, Refusal> {
        let worker = self.worker(id).ok_or(Refusal::NoWorker { worker: id })?;
        if worker.link == link {
            self.detached(id, now);
        }
        Ok(Done::Ok)
    }

    fn detached(&mut self, id: WorkerId, now: Time) {
        self.touch_worker(id);
        if let Some(worker) = self.worker_mut(id) {
            worker.detach(now);
        }
    }

    pub(crate) fn lose(&mut self, id: WorkerId, link: u64, ctx: &mut Context<'_>) -> Done {
        // A stranger's machine can be forgotten within its grace when the clock leaps ahead: nothing is left to lose.
        let Some(worker) = self.worker(id).filter(|worker| worker.link == link) else { return Done::Ok };
        let runs: Vec<RunId> = worker.runs.keys().copied().collect();
        self.detached(id, ctx.now);
        self.lose_runs(id, &runs, ctx);
        Done::Ok
    }

    pub(crate) fn set_worker(
        &mut self,
        owner: AccountId,
        id: WorkerId,
        accepting: bool,
        returned: &[RunId],
        ctx: &mut Context<'_>,
    ) -> Result<Done, Refusal> {
        check_runs(returned.len())?;
        self.own_worker(owner, id)?.accepting = accepting;
        self.touch_worker(id);
        self.give_back(id, returned, ctx);
        Ok(Done::Ok)
    }

    /// Panics unless every rule of the machine holds. For tests; walks everything.
    pub(crate) fn sanity_check(&self, ledger: &Ledger) {
        let open = |(_, job): &(&JobId, &Job)| job.outcome().is_none();
        let found = self.jobs.iter().filter(open).map(|(id, _)| *id);
        assert_eq!(found.collect::<BTreeSet<_>>(), self.unfinished, "unfinished jobs");
        for (owner, count) in &self.unfinished_of {
            let found = self.unfinished.iter().filter(|id| self.jobs[id].owner == *owner).count();
            assert_eq!(found, *count as usize, "unfinished jobs of account {owner}");
        }
        let mut holders = BTreeMap::<JobId, BTreeMap<WorkerId, u32>>::new();
        let mut running = BTreeMap::<JobId, u64>::new();
        assert_eq!(self.machines.len(), self.workers.len(), "machines are workers");
        for (id, worker) in self.workers() {
            assert_eq!(self.machines.get(&(worker.owner, worker.spec.machine_key)), Some(&id));
            for (run_id, run) in &worker.runs {
                let job = self.jobs.get(&run.job).unwrap_or_else(|| panic!("run {run_id} of no job"));
                assert!(*run_id <= self.last_run && run.price <= job.spec.bid, "run {run_id}");
                *holders.entry(run.job).or_default().entry(id).or_default() += 1;
                let open = job.tasks[run.task.0 as usize].state == TaskState::Open;
                *running.entry(run.job).or_default() += u64::from(open);
            }
        }
        for (id, job) in &self.jobs {
            job.sanity_check(*id);
            assert_eq!(holders.remove(id).unwrap_or_default(), job.holders, "job {id}: runs with workers");
            assert_eq!(running.remove(id).unwrap_or(0), job.counts.running, "job {id}: runs that count");
            match ledger.hold(job.hold) {
                Some(hold) => {
                    let owes = job.outcome().is_none() || job.provisional > 0;
                    assert!(owes, "job {id} is over, owes nothing and holds money");
                    assert_eq!(hold.left.0, job.funds.0 - job.spent.0, "job {id}: hold");
                    let over = job.outcome().is_some();
                    assert!(!over || hold.left == job.owed, "job {id} is over and holds more than it owes");
                }
                None => assert!(job.outcome().is_some() && job.provisional == 0, "job {id} lost its hold"),
            }
        }
        self.check_records();
        self.schedule.sanity_check(self);
    }
}

pub(crate) fn check_runs(count: usize) -> Result<(), Refusal> {
    if count > Bounds::RUNS {
        return Err(Refusal::invalid("runs", format!("must be {} at most in one message", Bounds::RUNS)));
    }
    Ok(())
}
