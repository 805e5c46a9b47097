//! What becomes of runs: findings are counted and paid, losses are tried again.

use pumasi_types::{AccountId, Amount, Ending, Fuel, Hash, JobId, RunId, TaskIndex, WorkerId};

use super::ballot::{Finding, Vote};
use super::worker::Run;
use super::{Compute, Context, JobOutcome, TaskState, check_runs};
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
        self.change_worker(id);
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
        let Some(worker) = self.worker_mut(id) else { return false };
        let Some(run) = worker.take(report.run) else { return false };
        let (owner, ask) = (worker.owner, worker.spec.ask);
        let Some(job) = self.jobs.get_mut(&run.job) else { return false };
        if !job.is_active() || job.tasks[run.task.0 as usize].state != TaskState::Open {
            return false;
        }
        let over_limit = report.fuel > job.spec.limits.fuel;
        if over_limit || !report.ending.is_deterministic() {
            let ending = if over_limit { Ending::Faulted } else { report.ending };
            self.lost(id, run, ending, ctx);
            return !over_limit;
        }
        job.ended(owner, run.task);
        job.learn_wall(report.wall);
        let price = ask.min(job.spec.bid);
        // The fuel is within the limit, whose cost was checked to be in range at submission.
        let cost = price.cost(report.fuel).unwrap_or_else(|| job.run_cap());
        job.committed.0 -= job.run_cap().0;
        let finding = Finding { ending: report.ending, fuel: report.fuel, result: report.result };
        let vote = Vote { owner, worker: id, run: run.id, finding, price, cost };
        if let Some(worker) = self.worker_mut(id) {
            worker.failing = 0;
        }
        self.count(run.job, run.task, vote, ctx);
        true
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
        let ballot = job.ballots.entry(task).or_default();
        ballot.votes.push(vote);
        let (best, votes) = (ballot.best(), ballot.votes.len());
        job.committed.0 += vote.cost.0;
        if best >= quorum {
            let votes = ballot.votes.clone();
            for other in votes {
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
        if record.running + record.queued >= quorum - best {
            return;
        }
        let patience = usize::from(quorum) + usize::from(job.spec.max_losses);
        if votes < patience && job.affords(1) {
            job.committed.0 += job.run_cap().0;
            job.queue_again(task);
            self.touch_job(job_id);
        } else {
            self.undecidable(job_id, task, Ending::Faulted, ctx);
        }
    }

    /// Pays one verified run.
    fn pay(&mut self, job_id: JobId, task: TaskIndex, vote: &Vote, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.spent.0 += vote.cost.0;
        job.fuel.0 = job.fuel.0.saturating_add(vote.finding.fuel.0);
        if vote.cost > Amount::ZERO {
            let (run, worker, fuel, price) = (vote.run, vote.worker, vote.finding.fuel, vote.price);
            let cause = Cause::Run { job: job_id, task, run, worker, fuel, price };
            let journal = &mut ctx.effects.transfers;
            ctx.ledger
                .settle(ctx.now, job.hold, vote.owner, vote.cost, cause, journal)
                .expect("a job's hold covers what it committed");
        }
        if let Some(worker) = self.worker_mut(vote.worker) {
            worker.verified += 1;
            worker.earned.0 += vote.cost.0;
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
    fn lost(&mut self, id: WorkerId, run: Run, ending: Ending, ctx: &mut Context<'_>) {
        let Some(owner) = self.worker_mut(id).map(|worker| {
            worker.fails();
            worker.owner
        }) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        if !job.is_active() || job.tasks[run.task.0 as usize].state != TaskState::Open {
            return;
        }
        job.ended(owner, run.task);
        let max_losses = job.spec.max_losses;
        let task = job.task_mut(run.task);
        task.losses = task.losses.saturating_add(1);
        let too_often = task.losses > max_losses;
        job.queue_again(run.task);
        if too_often {
            self.undecidable(run.job, run.task, ending, ctx);
        } else {
            self.touch_job(run.job);
        }
    }

    /// These runs of a worker are lost.
    pub(super) fn lose_runs(&mut self, id: WorkerId, runs: &[RunId], ctx: &mut Context<'_>) {
        for run in runs {
            if let Some(run) = self.worker_mut(id).and_then(|worker| worker.take(*run)) {
                self.lost(id, run, Ending::Faulted, ctx);
            }
        }
    }

    /// These runs of a worker were never started: they go back without counting as lost.
    pub(super) fn give_back(&mut self, id: WorkerId, runs: &[RunId]) {
        for run in runs {
            let Some(worker) = self.worker_mut(id) else { return };
            let owner = worker.owner;
            let Some(run) = worker.take(*run) else { continue };
            let Some(job) = self.jobs.get_mut(&run.job) else { continue };
            if job.is_active() && job.tasks[run.task.0 as usize].state == TaskState::Open {
                job.ended(owner, run.task);
                job.queue_again(run.task);
                self.touch_job(run.job);
            }
        }
    }
}
