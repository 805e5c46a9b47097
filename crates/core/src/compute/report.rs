//! What becomes of runs: findings are counted and paid, losses are tried again.

use pumasi_types::{AccountId, Amount, ByteSize, Ending, Fuel, Hash, JobId, RunId, TaskIndex, WorkerId};

use super::ballot::{Ballot, Finding, Vote};
use super::trust::{Dispute, Purpose};
use super::worker::{Run, Worker};
use super::{Compute, Context, check_runs};
use crate::effects::{Cause, Done};
use crate::timers::Timer;
use crate::{Refusal, RunReport};

impl Compute {
    /// Takes in what a worker reports; besides the answer, the results that their jobs keep.
    pub(crate) fn report(
        &mut self,
        owner: AccountId,
        id: WorkerId,
        reports: &[RunReport],
        ctx: &mut Context<'_>,
    ) -> Result<(Done, Vec<Hash>), Refusal> {
        check_runs(reports.len())?;
        self.own_worker(owner, id)?;
        self.touch_worker(id);
        let (mut refused, mut kept) = (Vec::new(), Vec::new());
        for report in reports {
            let run = self.run_of(id, report.run);
            if !self.report_one(id, report, ctx) {
                refused.push(report.run);
            } else if run.is_some_and(|run| self.keeps(&run, report.result)) {
                kept.push(report.result);
            }
        }
        Ok((Done::Reported { refused }, kept))
    }

    /// A run that a worker has.
    fn run_of(&self, id: WorkerId, run: RunId) -> Option<Run> {
        self.worker(id)?.runs.get(&run).copied()
    }

    /// How long the output of a run that a worker has can be, its encoding apart.
    pub(crate) fn output_limit(&self, id: WorkerId, run: RunId) -> Option<ByteSize> {
        let run = self.run_of(id, run)?;
        Some(self.jobs.get(&run.job)?.spec.limits.output)
    }

    /// Whether the job of a run keeps this as a result of its task, decided or not.
    fn keeps(&self, run: &Run, result: Hash) -> bool {
        self.jobs.get(&run.job).is_some_and(|job| job.keeps(run.task, result))
    }

    /// Whether the report counted.
    fn report_one(&mut self, id: WorkerId, report: &RunReport, ctx: &mut Context<'_>) -> bool {
        let Some((owner, run)) = self.take(id, report.run) else { return false };
        let purpose = self.purpose(report.run, &run);
        let Some(job) = self.jobs.get_mut(&run.job).filter(|_| purpose != Purpose::Nothing) else {
            return false;
        };
        if report.fuel > job.spec.limits.fuel {
            self.lost(id, (&run, purpose), Ending::Faulted, ctx);
            return false;
        }
        if !report.ending.is_deterministic() {
            self.lost(id, (&run, purpose), report.ending, ctx);
            return true;
        }
        job.learn_wall(report.wall);
        // Neither price nor fuel is above the job's, whose cost was checked to be in range at submission.
        let cost = run.price.cost(report.fuel).unwrap_or(job.cap);
        let finding = Finding { ending: report.ending, fuel: report.fuel, result: report.result };
        let trust = self.trust_in(&self.jobs[&run.job], owner);
        let (price, paid) = (run.price, false);
        let vote = Vote { owner, worker: id, run: report.run, finding, price, cost, trust, paid };
        if let Some(worker) = self.worker_mut(id) {
            worker.failing = 0;
        }
        match purpose {
            Purpose::Check => self.check_ended(run.job, run.task, vote, ctx),
            _ => self.count(run.job, run.task, vote, ctx),
        }
        true
    }

    /// Takes a run out of its worker's hands; with the worker's owner.
    fn take(&mut self, id: WorkerId, run: RunId) -> Option<(AccountId, Run)> {
        let worker = self.worker_mut(id)?;
        let (owner, run) = (worker.owner, worker.runs.remove(&run)?);
        self.touch_run();
        if let Some(job) = self.jobs.get_mut(&run.job) {
            job.take_back(id);
        }
        Some((owner, run))
    }

    /// Counts a finding; decides the task once enough owners agree.
    fn count(&mut self, job_id: JobId, task: TaskIndex, vote: Vote, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.run_ended(task);
        let lone = job.spec.quorum == 1 && !job.ballots.contains_key(&task);
        if lone && self.works_alone(&self.jobs[&job_id], vote.owner) {
            self.believe(job_id, task, vote, ctx);
            return;
        }
        // An owner that is not trusted any more needs a second one, though its task was given to it alone.
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.vote(task, vote);
        match job.ballots[&task].winner() {
            Some(finding) => match self.wants_oath(job_id, task, finding) {
                None => self.agree(job_id, task, finding, ctx),
                oath => {
                    if let Some(ballot) = self.ballot_mut(job_id, task) {
                        ballot.oath = oath;
                    }
                    self.want_more(job_id, task, ctx);
                }
            },
            None => self.want_more(job_id, task, ctx),
        }
    }

    fn ballot_mut(&mut self, job: JobId, task: TaskIndex) -> Option<&mut Ballot> {
        self.jobs.get_mut(&job)?.ballots.get_mut(&task)
    }

    /// Enough owners agree: they are paid, and their records and the others' change.
    fn agree(&mut self, job_id: JobId, task: TaskIndex, finding: Finding, ctx: &mut Context<'_>) {
        let ballot = self.jobs[&job_id].ballots[&task].clone();
        for vote in &ballot.votes {
            if vote.finding == finding {
                self.pay(job_id, task, vote, ctx);
            } else if let Some(worker) = self.worker_mut(vote.worker) {
                worker.outvoted += 1;
            }
        }
        let dispute = self.decide(job_id, task, finding);
        self.keep_records(job_id, &ballot, finding, ctx);
        if let Some(dispute) = dispute {
            let won = ballot.votes_for(finding).any(|vote| vote.owner == dispute.owner);
            self.dispute_decided(dispute, won, ctx);
        }
        self.end_if_settled(job_id, ctx);
    }

    /// Has the runs made that a task still lacks, unless there were too many or money is short.
    pub(super) fn want_more(&mut self, job_id: JobId, task: TaskIndex, ctx: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let lacks = job.lacks(task);
        let Some(ballot) = job.ballots.get(&task).filter(|_| lacks > 0) else {
            self.touch_job(job_id);
            return;
        };
        // A dispute is about somebody's standing: it is not given up for want of patience with losses.
        let losses = if job.is_checked() { job.spec.max_losses.max(3) } else { job.spec.max_losses };
        let patience = usize::from(ballot.needs) + usize::from(losses);
        if ballot.votes.len() >= patience || !job.affords(lacks) {
            self.undecidable(job_id, task, Ending::Faulted, ctx);
            return;
        }
        for _ in 0..lacks {
            job.queue_one_more(task);
        }
        self.requeued(job_id, task, ctx);
    }

    /// A task has a queued run again that a trusted owner should do rather than others.
    fn requeued(&mut self, job_id: JobId, task: TaskIndex, ctx: &mut Context<'_>) {
        self.touch_job(job_id);
        if self.prefer_trusted(job_id, task, ctx) {
            return;
        }
        let asked = |ballot: &&mut Ballot| ballot.oath.is_some() && ballot.at_work.is_empty();
        let Some(ballot) = self.ballot_mut(job_id, task).filter(asked) else { return };
        // Nobody so trusted is left to ask: enough owners who agree are believed as they would have been.
        ballot.oath = None;
        if let Some(finding) = ballot.winner() {
            self.agree(job_id, task, finding, ctx);
        }
    }

    /// Pays one verified run.
    pub(super) fn pay(&mut self, job_id: JobId, task: TaskIndex, vote: &Vote, ctx: &mut Context<'_>) {
        if vote.paid {
            return;
        }
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.spent.0 += vote.cost.0;
        job.fuel.0 = job.fuel.0.saturating_add(vote.finding.fuel.0);
        if vote.cost > Amount::ZERO {
            let (run, worker, fuel, price) = (vote.run, vote.worker, vote.finding.fuel, vote.price);
            let engine = job.engine;
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

    /// Decides a task. The dispute about it, if there was one.
    pub(super) fn decide(&mut self, job_id: JobId, task: TaskIndex, finding: Finding) -> Option<Dispute> {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        job.decide(task, finding);
        job.disputes.remove(&task)
    }

    /// A task is given up without agreement on a finding.
    pub(super) fn undecidable(&mut self, job: JobId, task: TaskIndex, ending: Ending, ctx: &mut Context<'_>) {
        let dispute = self.decide(job, task, Finding { ending, fuel: Fuel(0), result: Hash::ZERO });
        if let Some(dispute) = dispute {
            self.drop_doubt(dispute, ctx);
        }
        self.end_if_settled(job, ctx);
    }

    /// A run is lost: its task is tried again, unless it was lost too often.
    fn lost(&mut self, id: WorkerId, run: (&Run, Purpose), ending: Ending, ctx: &mut Context<'_>) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.lost += 1;
        // That a run took too long may be the job's fault: it does not make the worker unfit.
        if ending == Ending::Faulted {
            worker.failing = worker.failing.saturating_add(1);
            if worker.failing == Worker::FAILING_MAX {
                ctx.timers.set(ctx.now.after(Worker::REST), Timer::Retry(id));
            }
        }
        let owner = worker.owner;
        let (Run { job: job_id, task: index, .. }, purpose) = (*run.0, run.1);
        if purpose == Purpose::Check {
            self.check_failed(job_id, index, ctx);
            return;
        }
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        job.run_returned(owner, index);
        let max_losses = job.spec.max_losses;
        let task = job.task_mut(index);
        task.losses = task.losses.saturating_add(1);
        if task.losses > max_losses {
            self.undecidable(job_id, index, ending, ctx);
        } else {
            self.requeued(job_id, index, ctx);
        }
    }

    /// A worker that only failed has rested: it is tried with some work, and rests again if that fails too.
    pub(crate) fn retry(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.failing = worker.failing.min(Worker::FAILING_MAX - 1);
            self.touch_worker(id);
        }
    }

    /// These runs of a worker are lost.
    pub(super) fn lose_runs(&mut self, id: WorkerId, runs: &[RunId], ctx: &mut Context<'_>) {
        for run_id in runs {
            if let Some((_, run)) = self.take(id, *run_id) {
                let purpose = self.purpose(*run_id, &run);
                if purpose != Purpose::Nothing {
                    self.lost(id, (&run, purpose), Ending::Faulted, ctx);
                }
            }
        }
    }

    /// These runs of a worker were never started: they go back without counting as lost.
    pub(super) fn give_back(&mut self, id: WorkerId, runs: &[RunId], ctx: &mut Context<'_>) {
        for run_id in runs {
            let Some((owner, run)) = self.take(id, *run_id) else { continue };
            match self.purpose(*run_id, &run) {
                Purpose::Nothing => {}
                Purpose::Check => self.check_failed(run.job, run.task, ctx),
                Purpose::Finding => {
                    if let Some(job) = self.jobs.get_mut(&run.job) {
                        job.run_returned(owner, run.task);
                    }
                    self.requeued(run.job, run.task, ctx);
                }
            }
        }
    }
}
