//! What becomes of runs: findings are counted and paid, losses are tried again.

use pumasi_types::{AccountId, Amount, Ending, Fuel, Hash, JobId, RunId, TaskIndex, WorkerId};

use super::ballot::{Finding, Vote};
use super::worker::Run;
use super::{Compute, Context, Job, JobOutcome, TaskState, check_runs};
use crate::effects::{Cause, Done};
use crate::{Refusal, RunReport};

impl Compute {
    pub(crate) fn report(
        &mut self,
        owner: AccountId,
        id: WorkerId,
        reports: &[RunReport],
        ctx: &mut Context<'_>,
    ) -> Result<Done, Refusal> {
        check_runs(reports.len())?;
        self.own_worker(owner, id)?;
        self.touch_worker(id);
        let mut refused = Vec::new();
        for report in reports {
            if !self.report_one(id, report, ctx) {
                refused.push(report.run);
            }
        }
        Ok(Done::Reported { refused })
    }

    /// Whether the report counted.
    fn report_one(&mut self, id: WorkerId, report: &RunReport, ctx: &mut Context<'_>) -> bool {
        let Some((owner, run)) = self.take(id, report.run) else { return false };
        let Some(job) = self.job_with_open(&run) else { return false };
        if report.fuel > job.spec.limits.fuel {
            self.lost(id, &run, Ending::Faulted, ctx);
            return false;
        }
        if !report.ending.is_deterministic() {
            self.lost(id, &run, report.ending, ctx);
            return true;
        }
        job.run_ended(run.task);
        job.learn_wall(report.wall);
        // Neither price nor fuel is above the job's, whose cost was checked to be in range at submission.
        let cost = run.price.cost(report.fuel).unwrap_or(job.cap);
        let finding = Finding { ending: report.ending, fuel: report.fuel, result: report.result };
        let vote = Vote { owner, worker: id, run: report.run, finding, price: run.price, cost };
        if let Some(worker) = self.worker_mut(id) {
            worker.failing = 0;
        }
        self.count(run.job, run.task, vote, ctx);
        true
    }

    /// Takes a run out of its worker's hands; with the worker's owner.
    fn take(&mut self, id: WorkerId, run: RunId) -> Option<(AccountId, Run)> {
        let worker = self.worker_mut(id)?;
        let (owner, run) = (worker.owner, worker.runs.remove(&run)?);
        if let Some(job) = self.jobs.get_mut(&run.job) {
            job.take_back(id);
        }
        Some((owner, run))
    }

    /// The job of a run whose task is not decided yet.
    fn job_with_open(&mut self, run: &Run) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&run.job)?;
        job.task(run.task).is_some_and(|task| task.state == TaskState::Open).then_some(job)
    }

    /// Counts a finding; decides the task once enough owners agree.
    fn count(&mut self, job_id: JobId, task: TaskIndex, vote: Vote, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        let quorum = job.spec.quorum;
        if quorum == 1 {
            self.pay(job_id, task, &vote, ctx);
            self.decided(job_id, task, vote.finding, ctx);
            return;
        }
        let (best, votes) = job.vote(task, vote);
        if best >= quorum {
            for other in job.ballots[&task].votes.clone() {
                if other.finding == vote.finding {
                    self.pay(job_id, task, &other, ctx);
                } else if let Some(worker) = self.worker_mut(other.worker) {
                    worker.outvoted += 1;
                }
            }
            self.decided(job_id, task, vote.finding, ctx);
            return;
        }
        let record = &job.tasks[task.0 as usize];
        let lacking = record.running + record.queued < quorum - best;
        let patience = usize::from(quorum) + usize::from(job.spec.max_losses);
        if lacking && (votes >= patience || !job.affords(1)) {
            self.undecidable(job_id, task, Ending::Faulted, ctx);
            return;
        }
        if lacking {
            job.queue_one_more(task);
        }
        self.touch_job(job_id);
    }

    /// Pays one verified run.
    fn pay(&mut self, job_id: JobId, task: TaskIndex, vote: &Vote, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.spent.0 += vote.cost.0;
        job.fuel.0 = job.fuel.0.saturating_add(vote.finding.fuel.0);
        if vote.cost > Amount::ZERO {
            let (run, worker, fuel, price) = (vote.run, vote.worker, vote.finding.fuel, vote.price);
            // A short hash at each payment costs less than keeping it in every snapshot.
            let engine = job.spec.engine.tag();
            let cause = Cause::Run { job: job_id, task, run, worker, fuel, price, engine };
            let journal = &mut ctx.effects.transfers;
            ctx.ledger
                .settle(ctx.now, job.hold, vote.owner, vote.cost, cause, journal)
                .expect("a job's hold covers what it committed");
        }
        if let Some(worker) = self.worker_mut(vote.worker) {
            worker.verified += 1;
            worker.earned.0 = worker.earned.0.saturating_add(vote.cost.0);
        }
    }

    fn decided(&mut self, job_id: JobId, task: TaskIndex, finding: Finding, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        let success = finding.ending.is_success();
        job.decide(task, if success { TaskState::Succeeded } else { TaskState::Failed }, finding);
        let too_many = job.spec.max_failures.is_some_and(|most| job.counts.failed > most);
        if job.is_decided() || too_many {
            let outcome = if job.counts.failed == 0 { JobOutcome::Succeeded } else { JobOutcome::Failed };
            self.finish(job_id, outcome, ctx);
        } else {
            self.touch_job(job_id);
        }
    }

    /// A task is given up without agreement on a finding.
    fn undecidable(&mut self, job: JobId, task: TaskIndex, ending: Ending, ctx: &mut Context<'_>) {
        self.decided(job, task, Finding { ending, fuel: Fuel(0), result: Hash::ZERO }, ctx);
    }

    /// A run is lost: its task is tried again, unless it was lost too often.
    fn lost(&mut self, id: WorkerId, run: &Run, ending: Ending, ctx: &mut Context<'_>) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.lost += 1;
        // That a run took too long may be the job's fault: it does not make the worker unfit.
        if ending == Ending::Faulted {
            worker.failing = worker.failing.saturating_add(1);
        }
        let owner = worker.owner;
        let Some(job) = self.job_with_open(run) else { return };
        job.run_returned(owner, run.task);
        let max_losses = job.spec.max_losses;
        let task = job.task_mut(run.task);
        task.losses = task.losses.saturating_add(1);
        if task.losses > max_losses {
            self.undecidable(run.job, run.task, ending, ctx);
        } else {
            self.touch_job(run.job);
        }
    }

    /// These runs of a worker are lost.
    pub(super) fn lose_runs(&mut self, id: WorkerId, runs: &[RunId], ctx: &mut Context<'_>) {
        for run in runs {
            if let Some((_, run)) = self.take(id, *run)
                && self.job_with_open(&run).is_some()
            {
                self.lost(id, &run, Ending::Faulted, ctx);
            }
        }
    }

    /// These runs of a worker were never started: they go back without counting as lost.
    pub(super) fn give_back(&mut self, id: WorkerId, runs: &[RunId]) {
        for run in runs {
            if let Some((owner, run)) = self.take(id, *run)
                && let Some(job) = self.job_with_open(&run)
            {
                job.run_returned(owner, run.task);
                self.touch_job(run.job);
            }
        }
    }
}
