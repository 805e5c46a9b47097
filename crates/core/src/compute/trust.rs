//! Trust in owners: who is believed alone, hidden checks of them, and what is taken back when one lied.
//!
//! `docs/trust.md` says why and how well. In short: a finding of a trusted owner decides a task at once. At
//! random, which nobody can foresee, another trusted owner computes it too. What a proven owner finds stays
//! unpaid on its *tab* until a later check is good. When a check disagrees, further owners decide; whoever
//! was wrong against a trusted owner is caught, and everything on its tab is computed again.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, Amount, Ending, JobId, RunId, TaskIndex, Time, WorkerId};
use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Finding, Vote};
use super::owner::{Owner, Standing, Trust, Unpaid};
use super::worker::Run;
use super::{Compute, Context, Job, TaskState};
use crate::effects::{Action, Done};
use crate::timers::Timer;

/// A hidden check of a decided task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// The run that makes it.
    pub(crate) run: RunId,
    /// The finding that was believed.
    pub(crate) vote: Vote,
    /// Its place on its owner's tab, unless it was paid at once.
    pub(crate) place: Option<u64>,
}

/// Whose finding a check did not confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub(crate) owner: AccountId,
    /// The place that its finding had on its tab: nothing behind it is paid before the dispute is over.
    pub(crate) place: Option<u64>,
}

/// How many findings of an owner are looked at to find one that can be checked.
const CANDIDATES: usize = 32;

impl Compute {
    /// The record of an owner; none before its first machine joined.
    pub(crate) fn owner(&self, id: AccountId) -> Option<&Owner> {
        self.owners.get(&id)
    }

    pub(crate) fn owners(&self) -> &BTreeMap<AccountId, Owner> {
        &self.owners
    }

    fn owner_mut(&mut self, id: AccountId) -> &mut Owner {
        self.owners.entry(id).or_default()
    }

    /// Whether one finding of this owner decides a task of this job, as far as the owner goes.
    pub(super) fn works_alone(&self, job: &Job, owner: AccountId) -> bool {
        let trusted = || self.owners.get(&owner).is_some_and(Owner::works_alone);
        !job.is_checked() || owner == job.owner || trusted()
    }

    /// How far an owner's word counts for more than its own pay in this job.
    pub(super) fn trust_in(&self, job: &Job, owner: AccountId) -> Option<Trust> {
        self.owners.get(&owner).filter(|_| owner != job.owner)?.trust()
    }

    /// An operator answers for an owner, or does not any more.
    pub(crate) fn vouch(&mut self, id: AccountId, vouched: bool, operator: bool) -> Done {
        let owner = self.owner_mut(id);
        owner.operator = operator;
        if vouched && owner.standing == Standing::Caught {
            (owner.standing, owner.caught_at) = (Standing::New, None);
        }
        owner.vouched = vouched;
        self.standing_changed(id);
        Done::Ok
    }

    /// An owner may be given more or less than before.
    pub(super) fn standing_changed(&mut self, id: AccountId) {
        let Some(owner) = self.owners.get(&id) else { return };
        let (barred, trust) = (owner.standing == Standing::Caught, owner.trust());
        for worker in self.machines_of(id) {
            if let Some(worker) = self.worker_mut(worker) {
                (worker.barred, worker.trust) = (barred, trust);
            }
            self.touch_worker(worker);
        }
        self.note_owner(id);
    }

    fn machines_of(&self, owner: AccountId) -> Vec<WorkerId> {
        self.machines.range((owner, 0)..=(owner, u128::MAX)).map(|(_, worker)| *worker).collect()
    }

    /// Believes the finding of an owner that works alone; perhaps somebody checks it.
    pub(super) fn believe(&mut self, job_id: JobId, task: TaskIndex, mut vote: Vote, ctx: &mut Context<'_>) {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        let (checked, ordered_it) = (job.is_checked(), vote.owner == job.owner);
        let vouched = self.owners.get(&vote.owner).is_some_and(Owner::is_vouched);
        let place = if !checked || ordered_it || vouched {
            self.pay(job_id, task, &vote, ctx);
            vote.paid = true;
            None
        } else {
            Some(self.put_on_tab(job_id, task, &vote, ctx))
        };
        self.decide(job_id, task, vote.finding);
        if checked && !ordered_it {
            self.perhaps_check(job_id, task, vote, place, ctx);
        }
        self.end_if_settled(job_id, ctx);
    }

    fn put_on_tab(&mut self, job_id: JobId, task: TaskIndex, vote: &Vote, ctx: &mut Context<'_>) -> u64 {
        let job = self.jobs.get_mut(&job_id).expect("the caller found it");
        let Vote { run, worker, price, cost, .. } = *vote;
        job.owed.0 += cost.0;
        job.provisional += 1;
        let tab = &mut self.owner_mut(vote.owner).tab;
        let place = tab.add(Unpaid { job: job_id, task, run, worker, price, cost, at: ctx.now });
        if tab.alarm.is_none() {
            let at = ctx.now.after(Owner::CHECK_WINDOW);
            tab.alarm = Some(at);
            ctx.timers.set(at, Timer::Tab(vote.owner));
        }
        place
    }

    /// Draws whether a believed finding is checked, and makes up for a check that could not be made before.
    fn perhaps_check(
        &mut self,
        job: JobId,
        task: TaskIndex,
        vote: Vote,
        place: Option<u64>,
        ctx: &mut Context<'_>,
    ) {
        let Some(owner) = self.owners.get(&vote.owner) else { return };
        let (one_in, due) = (owner.check_one_in(), owner.due);
        // Taken in any case: an owner sees the numbers of its runs, and must not see a gap where a check is made.
        let number = self.next_run();
        // A failure that would end the job is not left to one owner.
        let ends_it = self.jobs.get(&job).is_some_and(Job::has_failed_too_often);
        if ends_it || self.entropy.one_in(one_in) {
            if !self.start_check(number, (job, task), vote, place, ctx) {
                self.owner_mut(vote.owner).put_off();
            }
        } else if due > 0 {
            // Which finding it is must stay a surprise: a check that is due is of any unpaid one.
            let made = match place {
                None => self.start_check(number, (job, task), vote, None, ctx),
                Some(_) => self.check_any(number, vote.owner, ctx),
            };
            if made {
                self.owner_mut(vote.owner).due -= 1;
            }
        }
    }

    /// Checks one of the findings on an owner's tab. Whether somebody could.
    fn check_any(&mut self, number: RunId, owner: AccountId, ctx: &mut Context<'_>) -> bool {
        let Some(tab) = self.owners.get(&owner).map(|owner| &owner.tab) else { return false };
        let places = tab.entries.first_key_value().zip(tab.entries.last_key_value());
        let Some((first, last)) = places.map(|(first, last)| (*first.0, *last.0)) else { return false };
        let from = first + self.entropy.below(last - first + 1);
        let tab = &self.owners[&owner].tab;
        let entries = tab.entries.range(from..).chain(tab.entries.range(..from)).take(CANDIDATES);
        let open = |id| self.jobs.get(&id).filter(|job| job.is_active());
        let mut checkable = entries.filter_map(|(place, unpaid)| {
            let finding = open(unpaid.job)?.finding(unpaid.task)?;
            (!tab.was_asked(*place)).then_some((*place, *unpaid, finding))
        });
        let Some((place, unpaid, finding)) = checkable.next() else { return false };
        let Unpaid { job, task, run, worker, price, cost, .. } = unpaid;
        let vote = Vote { owner, worker, run, finding, price, cost, trust: Some(Trust::Proven), paid: false };
        self.start_check(number, (job, task), vote, Some(place), ctx)
    }

    /// Has a decided task of a job that is not over computed by somebody trusted. Whether that could be.
    fn start_check(
        &mut self,
        run: RunId,
        (job_id, task): (JobId, TaskIndex),
        vote: Vote,
        place: Option<u64>,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(job) = self.jobs.get(&job_id) else { return false };
        let can = job.is_active() && job.affords(1) && !job.checks.contains_key(&task);
        let Some(worker) = (if can { self.pick(job_id, &[vote.owner], false, Trust::Proven) } else { None })
        else {
            return false;
        };
        self.hand_out(run, worker, job_id, task, ctx);
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.committed.0 += job.cap.0;
            job.checks.insert(task, Check { run, vote, place });
        }
        if let Some(place) = place {
            self.owner_mut(vote.owner).tab.doubted.insert(place);
        }
        // What it costs may have been wanted for tasks that were not started.
        self.touch_job(job_id);
        true
    }

    /// An open task that waits for another owner is given to a trusted one, if there is one for it.
    pub(super) fn prefer_trusted(&mut self, job_id: JobId, task: TaskIndex, ctx: &mut Context<'_>) -> bool {
        let Some(job) = self.jobs.get(&job_id).filter(|job| job.is_active() && job.makes_records()) else {
            return false;
        };
        let queued = job.task(task).is_some_and(|task| task.queued > 0);
        let asked = |ballot: &&Ballot| queued && (job.is_checked() || ballot.oath.is_some());
        let Some(ballot) = job.ballots.get(&task).filter(asked) else { return false };
        let urgent = job.disputes.contains_key(&task) || ballot.oath.is_some() || ballot.is_contested();
        let (involved, oath): (Vec<AccountId>, _) =
            (ballot.involved().collect(), ballot.oath.unwrap_or(Trust::Proven));
        let Some(worker) = self.pick(job_id, &involved, urgent, oath) else { return false };
        let Some(owner) = self.worker(worker).map(|worker| worker.owner) else { return false };
        let run = self.next_run();
        self.hand_out(run, worker, job_id, task, ctx);
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.start_chosen(owner, task);
        }
        self.touch_job(job_id);
        true
    }

    /// What becomes of a check.
    pub(super) fn check_ended(&mut self, job_id: JobId, task: TaskIndex, vote: Vote, ctx: &mut Context<'_>) {
        let Some(check) = self.take_check(job_id, task) else { return };
        if check.vote.finding != vote.finding {
            self.dispute(job_id, task, check, vote, ctx);
            return;
        }
        self.pay(job_id, task, &vote, ctx);
        self.owner_mut(vote.owner).agreed += 1;
        let suspect = self.owner_mut(check.vote.owner);
        suspect.agreed += 1;
        suspect.passed += 1;
        suspect.streak += 1;
        if let Some(place) = check.place {
            suspect.tab.pass(place);
            self.close_tab(check.vote.owner, ctx);
        }
        self.end_if_settled(job_id, ctx);
    }

    /// A check ended without a finding: somebody else makes it, now or later.
    pub(super) fn check_failed(&mut self, job_id: JobId, task: TaskIndex, ctx: &mut Context<'_>) {
        let Some(check) = self.take_check(job_id, task) else { return };
        let number = self.next_run();
        if !self.start_check(number, (job_id, task), check.vote, check.place, ctx) {
            self.drop_doubt(Dispute { owner: check.vote.owner, place: check.place }, ctx);
        }
        self.end_if_settled(job_id, ctx);
    }

    /// A check whose run is not with a worker any more; its part of the budget is free again.
    fn take_check(&mut self, job_id: JobId, task: TaskIndex) -> Option<Check> {
        let job = self.jobs.get_mut(&job_id)?;
        let check = job.checks.remove(&task)?;
        job.free(job.cap);
        self.touch_job(job_id);
        Some(check)
    }

    /// A finding is not doubted any more without having been confirmed: a check is due.
    pub(super) fn drop_doubt(&mut self, doubt: Dispute, ctx: &mut Context<'_>) {
        let owner = self.owner_mut(doubt.owner);
        if owner.standing != Standing::Caught {
            owner.put_off();
        }
        if let Some(place) = doubt.place {
            owner.tab.undoubt(place);
            self.close_tab(doubt.owner, ctx);
        }
    }

    /// A check did not confirm a finding: the task is open again, and owners must agree.
    fn dispute(&mut self, job_id: JobId, task: TaskIndex, check: Check, vote: Vote, ctx: &mut Context<'_>) {
        let first = check.vote;
        if let Some(place) = check.place {
            self.owner_mut(first.owner).tab.dispute(place);
        }
        let job = self.jobs.get_mut(&job_id).expect("a job has its checks");
        if !first.paid {
            job.owe_less(first.cost);
            job.provisional -= 1;
        }
        job.undecide(task);
        job.disputes.insert(task, Dispute { owner: first.owner, place: check.place });
        // It may have been caught at something else meanwhile.
        let caught = self.owners.get(&first.owner).is_some_and(|owner| owner.standing == Standing::Caught);
        if !caught {
            job.vote(task, first);
        }
        job.vote(task, vote);
        self.touch_job(job_id);
        self.want_more(job_id, task, ctx);
    }

    /// The dispute about a task is decided.
    pub(super) fn dispute_decided(&mut self, dispute: Dispute, won: bool, ctx: &mut Context<'_>) {
        let Some(place) = dispute.place else { return };
        let tab = &mut self.owner_mut(dispute.owner).tab;
        if tab.doubted.contains(&place) && won {
            tab.pass(place);
        }
        tab.undoubt(place);
        self.close_tab(dispute.owner, ctx);
    }

    /// How far somebody must be trusted who is asked, too, before owners who agree are believed.
    ///
    /// Where owners disagree, somebody could be caught: that needs the word of one who is vouched for, if any
    /// can be asked. New owners who agree among themselves are put before a trusted one now and then.
    pub(super) fn wants_oath(&mut self, job_id: JobId, task: TaskIndex, finding: Finding) -> Option<Trust> {
        let job = self.jobs.get(&job_id).filter(|job| job.makes_records() && job.affords(1))?;
        let ballot = job.ballots.get(&task).filter(|ballot| ballot.oath.is_none())?;
        let contested = ballot.is_contested();
        let lacks = [Trust::Vouched, Trust::Proven].map(|oath| !ballot.is_sworn(finding, oath));
        let by_its_owner = ballot.votes_for(finding).any(|vote| vote.owner == job.owner);
        let new_ones = job.is_checked() && lacks[1] && !by_its_owner;
        let involved: Vec<AccountId> = ballot.involved().collect();
        let asks = contested || (new_ones && self.entropy.one_in(Owner::CHECK_NEW));
        let oaths = [(Trust::Vouched, contested && lacks[0]), (Trust::Proven, asks && lacks[1])];
        let mut wanted = oaths.into_iter().filter(|(_, lacks)| *lacks).map(|(oath, _)| oath);
        wanted.find(|oath| self.pick(job_id, &involved, true, *oath).is_some())
    }

    /// Agreement makes and breaks records. To be called with the ballot that decided a task.
    pub(super) fn keep_records(
        &mut self,
        job_id: JobId,
        ballot: &Ballot,
        finding: Finding,
        ctx: &mut Context<'_>,
    ) {
        let Some(job) = self.jobs.get(&job_id).filter(|job| job.makes_records()) else { return };
        let ordered_by = job.owner;
        let trusted: Vec<AccountId> =
            ballot.votes_for(finding).filter(|vote| vote.trust.is_some()).map(|vote| vote.owner).collect();
        for vote in &ballot.votes {
            let backed = trusted.iter().any(|other| *other != vote.owner);
            let owner = self.owner_mut(vote.owner);
            if vote.finding == finding {
                owner.agreed += 1;
                if backed && vote.owner != ordered_by && owner.progresses() {
                    self.standing_changed(vote.owner);
                }
                continue;
            }
            owner.outvoted += 1;
            (owner.progress, owner.streak) = (0, 0);
            if ballot.is_sworn(finding, Trust::Vouched) {
                self.catch(vote.owner, ctx);
            } else if !trusted.is_empty() && !self.owner_mut(vote.owner).is_vouched() {
                self.distrust(vote.owner, ctx);
            }
        }
    }

    /// An owner was wrong: it gets no work, and what it is not yet paid for is computed again.
    fn catch(&mut self, id: AccountId, ctx: &mut Context<'_>) {
        let owner = self.owner_mut(id);
        (owner.standing, owner.caught_at, owner.vouched) = (Standing::Caught, Some(ctx.now), false);
        self.take_all_back(id, ctx);
    }

    /// Proven owners found that an owner was wrong, and nobody who is vouched for could be asked: it begins
    /// anew. It is not barred, because proven owners who work together could have an honest one barred so.
    fn distrust(&mut self, id: AccountId, ctx: &mut Context<'_>) {
        self.owner_mut(id).standing = Standing::New;
        self.take_all_back(id, ctx);
    }

    /// What an owner is not paid for yet is computed again, and its votes do not count. If it was caught, its
    /// runs are stopped, too.
    fn take_all_back(&mut self, id: AccountId, ctx: &mut Context<'_>) {
        let owner = self.owner_mut(id);
        owner.due = 0;
        let before = owner.tab.void.len();
        let confirmed = owner.tab.make_void();
        owner.withdrawn += (owner.tab.void.len() - before) as u64;
        self.pay_tab(id, &confirmed, ctx);
        self.standing_changed(id);
        if self.owner_mut(id).standing == Standing::Caught {
            for worker in self.machines_of(id) {
                self.stop_all(worker, ctx);
            }
        }
        for job_id in self.unfinished.iter().copied().collect::<Vec<_>>() {
            let tasks = self.jobs.get_mut(&job_id).map(|job| job.void_votes(id)).unwrap_or_default();
            for task in tasks {
                self.want_more(job_id, task, ctx);
            }
        }
        self.take_back(id, &mut { Self::TAKEN_AT_ONCE }, ctx);
    }

    /// How many findings are taken back in the very entry in which their owner was caught; the rest follows in
    /// the next ones.
    const TAKEN_AT_ONCE: usize = 1 << 10;

    /// Takes back what is void. Whether that is all.
    fn take_back(&mut self, id: AccountId, steps: &mut usize, ctx: &mut Context<'_>) -> bool {
        let tab = &mut self.owner_mut(id).tab;
        let mut by_job: BTreeMap<JobId, Vec<Unpaid>> = BTreeMap::new();
        for unpaid in tab.take_void(*steps) {
            *steps -= 1;
            by_job.entry(unpaid.job).or_default().push(unpaid);
        }
        let all = tab.void.is_empty();
        if !all {
            self.go_on_with_tab(id, ctx);
        }
        for (job, unpaid) in by_job {
            self.withdraw(job, &unpaid, ctx);
        }
        all
    }

    /// Has an owner's tab looked at again at once.
    fn go_on_with_tab(&mut self, id: AccountId, ctx: &mut Context<'_>) {
        if let Some(later) = self.owner_mut(id).tab.alarm.replace(ctx.now) {
            ctx.timers.clear(later, Timer::Tab(id));
        }
        ctx.timers.set(ctx.now, Timer::Tab(id));
    }

    /// Takes all runs out of a worker's hands; others do them.
    fn stop_all(&mut self, id: WorkerId, ctx: &mut Context<'_>) {
        let Some(worker) = self.worker(id) else { return };
        let runs: Vec<RunId> = worker.runs.keys().copied().collect();
        if !runs.is_empty() {
            self.give_back(id, &runs, ctx);
            ctx.effects.actions.push(Action::Stop { worker: id, runs });
        }
    }

    /// Findings of a job were taken back: their tasks are open again, and the job is, if it was over.
    fn withdraw(&mut self, id: JobId, unpaid: &[Unpaid], ctx: &mut Context<'_>) {
        let open = self.job(id).is_some_and(Job::is_active) || self.reopen(id, ctx);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.withdrawn += unpaid.len() as u32;
        job.provisional -= unpaid.len() as u32;
        job.owe_less(Amount(unpaid.iter().map(|unpaid| unpaid.cost.0).sum()));
        for unpaid in unpaid {
            job.undecide(unpaid.task);
        }
        if !open {
            for unpaid in unpaid {
                job.task_mut(unpaid.task).state = TaskState::Dropped;
            }
            self.release_unowed(id, ctx);
            return;
        }
        let mut hopeless = Vec::new();
        let too_late = job.spec.deadline.is_some_and(|at| at <= ctx.now);
        for unpaid in unpaid {
            if job.checks.remove(&unpaid.task).is_some() {
                job.adopt(unpaid.task);
            } else if job.affords(1) && !too_late {
                job.queue_one_more(unpaid.task);
            } else {
                hopeless.push(unpaid.task);
            }
        }
        self.touch_job(id);
        for task in hopeless {
            self.undecidable(id, task, Ending::Faulted, ctx);
        }
    }

    /// Pays what a good check makes payable; what is too much for one entry follows in the next ones.
    fn close_tab(&mut self, id: AccountId, ctx: &mut Context<'_>) {
        self.owner_mut(id).tab.close();
        self.pay_good(id, &mut { Self::PAID_AT_ONCE }, ctx);
    }

    /// How many findings are paid in the very entry of a good check, of which there may be many.
    const PAID_AT_ONCE: usize = 1 << 6;

    /// Pays findings before a good check. Whether these are all.
    fn pay_good(&mut self, id: AccountId, steps: &mut usize, ctx: &mut Context<'_>) -> bool {
        let tab = &mut self.owner_mut(id).tab;
        let unpaid = tab.take_good(*steps);
        *steps -= unpaid.len();
        let all = !tab.has_good();
        if !all {
            self.go_on_with_tab(id, ctx);
        }
        self.pay_tab(id, &unpaid, ctx);
        all
    }

    fn pay_tab(&mut self, owner: AccountId, unpaid: &[Unpaid], ctx: &mut Context<'_>) {
        for Unpaid { job: job_id, task, run, worker, price, cost, .. } in unpaid.iter().copied() {
            let Some(job) = self.jobs.get_mut(&job_id) else { continue };
            job.provisional -= 1;
            let Some(finding) = job.finding(task) else {
                job.owe_less(cost);
                self.touch_job(job_id);
                continue;
            };
            job.owed.0 -= cost.0;
            let vote =
                Vote { owner, worker, run, finding, price, cost, trust: Some(Trust::Proven), paid: false };
            self.pay(job_id, task, &vote, ctx);
            if self.jobs[&job_id].outcome().is_some() {
                self.release_unowed(job_id, ctx);
            }
        }
    }

    /// Findings of an owner may have waited too long, or not all that is due was done.
    ///
    /// At most so many steps are taken, and counted off; the rest is due at once.
    pub(crate) fn check_tab(&mut self, id: AccountId, steps: &mut usize, ctx: &mut Context<'_>) {
        let window = Owner::CHECK_WINDOW;
        let Some(owner) = self.owners.get_mut(&id) else { return };
        owner.tab.alarm = None;
        if !self.take_back(id, steps, ctx) || !self.pay_good(id, steps, ctx) {
            return;
        }
        let Some(owner) = self.owners.get(&id) else { return };
        let Some(oldest) = owner.tab.entries.values().next().map(|unpaid| unpaid.at) else { return };
        let mut next = oldest.after(window);
        if next <= ctx.now {
            next = ctx.now.after(window);
            let waits = !owner.tab.doubted.is_empty();
            let number = self.next_run();
            if !waits && !self.check_any(number, id, ctx) {
                next = self.pay_unchecked(id, steps, ctx);
            }
        }
        let tab = &mut self.owner_mut(id).tab;
        if !tab.entries.is_empty() {
            tab.alarm = Some(next);
            ctx.timers.set(next, Timer::Tab(id));
        }
    }

    /// Pays what nobody could check for twice the window; when to look again.
    fn pay_unchecked(&mut self, id: AccountId, steps: &mut usize, ctx: &mut Context<'_>) -> Time {
        let due = |unpaid: &Unpaid| unpaid.at.after(Owner::CHECK_WINDOW).after(Owner::CHECK_WINDOW);
        let owner = self.owner_mut(id);
        let mut entries = owner.tab.entries.iter().take(*steps + 1).enumerate();
        let waits = entries.find(|(count, (_, unpaid))| count == steps || due(unpaid) > ctx.now);
        let (end, next) =
            waits.map_or((u64::MAX, ctx.now), |(_, (place, unpaid))| (*place, due(unpaid).max(ctx.now)));
        let unpaid = owner.tab.take(..end);
        *steps -= unpaid.len();
        owner.lapsed += unpaid.len() as u64;
        self.pay_tab(id, &unpaid, ctx);
        next
    }

    /// What a run in a worker's hands is for.
    pub(super) fn purpose(&self, id: RunId, run: &Run) -> Purpose {
        let Some(job) = self.jobs.get(&run.job) else { return Purpose::Nothing };
        if job.task(run.task).is_some_and(|task| task.state == TaskState::Open) {
            Purpose::Finding
        } else if job.checks.get(&run.task).is_some_and(|check| check.run == id) {
            Purpose::Check
        } else {
            Purpose::Nothing
        }
    }

    /// Panics unless records agree with machines, jobs and the timers' promises.
    pub(super) fn check_records(&self) {
        let mut owed: BTreeMap<JobId, (i64, u32)> = BTreeMap::new();
        for (id, owner) in &self.owners {
            owner.tab.sanity_check(*id);
            let caught = owner.standing == Standing::Caught;
            assert!(!caught || owner.tab.entries.is_empty(), "owner {id} is caught and has a tab");
            for worker in self.machines_of(*id) {
                let worker = self.worker(worker).expect("machines are workers");
                assert_eq!((worker.barred, worker.trust), (caught, owner.trust()), "machines of owner {id}");
                assert!(!caught || worker.runs.is_empty(), "owner {id} is caught and has runs");
            }
            let willing = self.workers().filter(|(_, w)| w.owner == *id && w.is_willing());
            assert!(willing.map(|(id, _)| id).eq(owner.willing.iter().copied()), "machines of owner {id}");
            for unpaid in owner.tab.entries.values().chain(owner.tab.void.values()) {
                let job = &self.jobs[&unpaid.job];
                assert!(job.finding(unpaid.task).is_some(), "job {}: unpaid and undecided", unpaid.job);
                let sums = owed.entry(unpaid.job).or_default();
                *sums = (sums.0 + unpaid.cost.0, sums.1 + 1);
            }
        }
        self.check_trusted();
        for (id, job) in &self.jobs {
            assert_eq!(owed.remove(id).unwrap_or_default(), (job.owed.0, job.provisional), "job {id}: owed");
        }
        self.check_doubts();
    }

    /// Panics unless each doubted place of a tab has one check or dispute, and checks are made by others.
    fn check_doubts(&self) {
        let makers: BTreeMap<RunId, AccountId> = self
            .workers()
            .flat_map(|(_, worker)| worker.runs.keys().map(|run| (*run, worker.owner)))
            .collect();
        let mut doubts: BTreeSet<(AccountId, u64)> = BTreeSet::new();
        for (id, job) in &self.jobs {
            for check in job.checks.values() {
                let (owner, place) = (check.vote.owner, check.place);
                let doubted = place.is_none_or(|place| self.owners[&owner].tab.doubted.contains(&place));
                assert!(doubted, "job {id}: a check that its owner's tab does not know");
                let maker = makers.get(&check.run).copied();
                let fit = maker.is_some_and(|maker| maker != owner && maker != job.owner);
                assert!(fit, "job {id}: run {} checks owner {owner} and is {maker:?}'s", check.run);
            }
            let checks = job.checks.values().map(|check| (check.vote.owner, check.place));
            let disputes = job.disputes.values().map(|dispute| (dispute.owner, dispute.place));
            let places = checks.chain(disputes).filter_map(|(owner, place)| Some((owner, place?)));
            for doubt in places {
                assert!(doubts.insert(doubt), "job {id}: doubted twice: {doubt:?}");
            }
        }
        // Else nothing behind such a place would ever be paid.
        for (id, owner) in &self.owners {
            let known = |place: &u64| doubts.contains(&(*id, *place));
            assert!(owner.tab.doubted.iter().all(known), "owner {id}: doubted and not checked");
        }
    }
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An open task needs its finding.
    Finding,
    /// It checks a decided task.
    Check,
    /// Nobody needs it any more.
    Nothing,
}
