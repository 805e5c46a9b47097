//! A job: its tasks, the queue of runs it needs, and its money.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pumasi_types::{
    AccountId, Amount, Duration, EngineTag, Fuel, Hash, HoldId, JobId, TaskIndex, Time, WorkerId,
};
use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Finding, Vote};
use super::index::{OpenTasks, Owners, Parts};
use super::task::{Task, TaskState};
use super::trust::{Check, Dispute};
use crate::{Checks, JobSpec};

/// Whether a job waits, runs or is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Waits for other jobs.
    Waiting {
        /// How many of them are not over.
        unfinished: u32,
    },
    /// Its tasks are given to workers.
    Active,
    /// It is over.
    Over {
        /// How it ended.
        outcome: JobOutcome,
        /// When.
        at: Time,
    },
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// Every task succeeded.
    Succeeded,
    /// Every task was decided, and some failed; or too many failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// Its deadline passed.
    Expired,
    /// Its budget did not cover one more task.
    OutOfBudget,
    /// A job that it waited for did not succeed.
    DependencyFailed,
}

/// How many tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// All of them.
    pub total: u32,
    /// Decided and successful.
    pub succeeded: u32,
    /// Decided and not.
    pub failed: u32,
    /// Runs that are with workers now.
    pub running: u64,
}

/// An order for computation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Who ordered and pays.
    pub owner: AccountId,
    /// What was ordered.
    pub spec: Arc<JobSpec>,
    /// What guests' clocks start from.
    pub clock: Time,
    /// Its budget while it is not over; then what it may still owe for findings that wait for a check.
    pub hold: HoldId,
    /// When it was ordered.
    pub submitted: Time,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks that were started, by index: the others take up nothing.
    pub(crate) tasks: Vec<Task>,
    /// The engine in short, for what is paid.
    pub(crate) engine: EngineTag,
    /// How many stand where.
    pub counts: JobCounts,
    /// What was paid for it.
    pub spent: Amount,
    /// Fuel of all paid runs together.
    pub fuel: Fuel,
    /// Decided tasks whose findings are not paid yet: they may be taken back.
    pub provisional: u32,
    /// How often a task's result was taken back, because its owner was caught.
    pub withdrawn: u32,
    /// What the provisional findings will be paid.
    pub(crate) owed: Amount,
    /// What is or was held for it: its budget, or less once it was reopened.
    pub(crate) funds: Amount,
    /// The most that one run may cost.
    pub(crate) cap: Amount,
    /// The part of the budget that started tasks may still cost.
    pub(crate) committed: Amount,
    /// Started tasks that need more runs, and owners who have a part in them and must not do them.
    pub(crate) again: OpenTasks,
    /// How many runs they need together.
    pub(crate) again_runs: u64,
    /// Whether there may be runs that idle workers have not been offered.
    pub(crate) news: bool,
    /// How many runs workers have, those of decided tasks included.
    pub(crate) holders: BTreeMap<WorkerId, u32>,
    /// Votes on open tasks that more than one finding decides.
    pub(crate) ballots: BTreeMap<TaskIndex, Ballot>,
    /// Whose votes these are, if records are kept: what one owner said is found when it is caught.
    pub(crate) voters: BTreeSet<(AccountId, TaskIndex)>,
    /// Hidden checks that are being made of decided tasks.
    pub(crate) checks: BTreeMap<TaskIndex, Check>,
    /// Open tasks whose first finding a check did not confirm.
    pub(crate) disputes: BTreeMap<TaskIndex, Dispute>,
    /// Average wall-clock time of a run; none before the first.
    pub(crate) mean_wall: Option<Duration>,
    /// Jobs that wait for this one.
    pub(crate) dependents: Vec<JobId>,
}

impl Job {
    pub(crate) fn new(owner: AccountId, spec: Arc<JobSpec>, hold: HoldId, now: Time, unfinished: u32) -> Job {
        Job {
            owner,
            clock: spec.clock.unwrap_or(now),
            hold,
            submitted: now,
            state: if unfinished > 0 { JobState::Waiting { unfinished } } else { JobState::Active },
            tasks: Vec::new(),
            engine: spec.engine.tag(),
            counts: JobCounts { total: spec.tasks, ..JobCounts::default() },
            spent: Amount::ZERO,
            fuel: Fuel(0),
            provisional: 0,
            withdrawn: 0,
            owed: Amount::ZERO,
            funds: spec.budget,
            // Submission checked that the cost of a whole quorum is in range.
            cap: spec.bid.cost(spec.limits.fuel).unwrap_or(Amount(i64::MAX)),
            committed: Amount::ZERO,
            again: OpenTasks::default(),
            again_runs: 0,
            news: true,
            holders: BTreeMap::new(),
            ballots: BTreeMap::new(),
            voters: BTreeSet::new(),
            checks: BTreeMap::new(),
            disputes: BTreeMap::new(),
            mean_wall: None,
            dependents: Vec::new(),
            spec,
        }
    }

    /// One task.
    pub fn task(&self, index: TaskIndex) -> Option<&Task> {
        let unstarted = || {
            let over = self.outcome().is_some();
            (index.0 < self.counts.total).then_some(if over { &Task::DROPPED } else { &Task::NEW })
        };
        self.tasks.get(index.0 as usize).or_else(unstarted)
    }

    /// All tasks from this one on.
    pub fn tasks_from(&self, first: TaskIndex) -> impl Iterator<Item = (TaskIndex, &Task)> {
        let indices = (first.0..self.counts.total).map(TaskIndex);
        indices.filter_map(|index| Some((index, self.task(index)?)))
    }

    /// Outputs that were reported for its tasks, those that no decision was taken on among them: of `limit` tasks at most,
    /// from this one on; and from which task on there may be more.
    pub fn outputs(&self, from: TaskIndex, limit: usize) -> (Vec<Hash>, Option<TaskIndex>) {
        let started = self.tasks.len();
        let first = (from.0 as usize).min(started);
        let end = first.saturating_add(limit).min(started);
        let decided = self.tasks[first..end].iter().map(|task| task.result);
        let voted = self.ballots.range(TaskIndex(first as u32)..TaskIndex(end as u32));
        let voted = voted.flat_map(|(_, ballot)| ballot.votes.iter().map(|vote| vote.finding.result));
        // Empty outputs are no blobs.
        let outputs = decided.chain(voted).filter(|output| *output != Hash::ZERO).collect();
        (outputs, (end < started).then_some(TaskIndex(end as u32)))
    }

    /// Whether this is among the outputs of a task.
    pub(crate) fn keeps(&self, task: TaskIndex, output: Hash) -> bool {
        let decided = self.tasks.get(task.0 as usize).is_some_and(|task| task.result == output);
        let is_voted = |ballot: &Ballot| ballot.votes.iter().any(|vote| vote.finding.result == output);
        decided || self.ballots.get(&task).is_some_and(is_voted)
    }

    /// How many tasks were not started.
    fn unstarted(&self) -> u32 {
        self.counts.total - self.tasks.len() as u32
    }

    pub(crate) fn task_mut(&mut self, index: TaskIndex) -> &mut Task {
        &mut self.tasks[index.0 as usize]
    }

    /// Whether it is over, and how.
    pub fn outcome(&self) -> Option<JobOutcome> {
        match self.state {
            JobState::Over { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Whether its tasks are given to workers.
    pub fn is_active(&self) -> bool {
        self.state == JobState::Active
    }

    /// Whether one finding decides a task if its owner is trusted.
    pub(crate) fn is_checked(&self) -> bool {
        self.spec.is_checked()
    }

    /// Whether it looks at owners' records and changes them.
    pub(crate) fn makes_records(&self) -> bool {
        self.spec.checks == Checks::Hidden
    }

    /// Whether more tasks failed than it bears.
    pub(crate) fn has_failed_too_often(&self) -> bool {
        self.spec.max_failures.is_some_and(|most| self.counts.failed > most)
    }

    /// How many checks are being made or disputed.
    pub fn doubts(&self) -> usize {
        self.checks.len() + self.disputes.len()
    }

    /// Whether started tasks wait for an owner who has no part in them yet, and nothing else goes on or was
    /// decided so far.
    pub fn waits_for_another_owner(&self) -> bool {
        let decided = self.counts.succeeded + self.counts.failed > 0;
        let nobody_else_came = self.counts.running == 0 || (self.is_checked() && !decided);
        self.is_active() && nobody_else_came && !self.again.is_empty()
    }

    /// Whether the budget covers `runs` more runs at their most expensive.
    pub(crate) fn affords(&self, runs: u8) -> bool {
        let uncommitted = Amount(self.funds.0 - self.spent.0 - self.committed.0 - self.owed.0);
        self.cap.checked_mul(u64::from(runs)).is_some_and(|cost| cost <= uncommitted)
    }

    /// Whether it can start a task that was not started before.
    pub(crate) fn has_fresh(&self) -> bool {
        self.unstarted() > 0 && self.affords(self.spec.runs_affordable())
    }

    /// Whether there is a run to give out to somebody.
    pub(crate) fn has_queued_runs(&self) -> bool {
        self.is_active() && (!self.again.is_empty() || self.has_fresh())
    }

    /// Whether there is a run that `owner` may do.
    pub(crate) fn has_run_for(&self, owner: AccountId, alone: bool) -> bool {
        self.is_active() && (self.has_fresh() || self.again_after(None, owner, alone).is_some())
    }

    /// About how many runs wait to be given out.
    pub(crate) fn queued_runs(&self) -> u64 {
        self.again_runs + u64::from(self.unstarted()) * u64::from(self.spec.quorum)
    }

    /// Owners who have a part in all that is queued.
    pub(crate) fn barred(&self) -> Owners {
        if self.has_fresh() {
            Owners::default()
        } else {
            self.again.summary().map(|parts| parts.in_all).unwrap_or_default()
        }
    }

    /// The next started task that needs a run and that `owner` has no part in yet. One that nobody has a part
    /// in needs a second owner if this one does not work `alone`.
    fn again_after(&self, after: Option<TaskIndex>, owner: AccountId, alone: bool) -> Option<TaskIndex> {
        let may_take_up = alone || !self.is_checked() || self.affords(1);
        let is_other = |task: &TaskIndex, part: &Owners| {
            if part.is_empty() {
                return may_take_up;
            }
            let is_part = part.is_full() && self.involved(*task).any(|other| other == owner);
            !is_part && !part.contains(owner)
        };
        let may_hold = |parts: &Parts| !parts.in_all.contains(owner) && (may_take_up || parts.any);
        let found = self.again.first_after(after, may_hold, is_other);
        found.map(|(task, _)| task)
    }

    /// Takes up to `count` runs that `owner` may do out of the queue, tasks that were started first. In a
    /// checked job a task needs a second owner if this one does not work `alone`.
    pub(crate) fn take_runs(&mut self, owner: AccountId, alone: bool, count: usize) -> Vec<TaskIndex> {
        let runs = if self.is_checked() && !alone { 2 } else { self.spec.quorum };
        let mut taken: Vec<TaskIndex> = Vec::new();
        while taken.len() < count
            && let Some(task) = self.again_after(taken.last().copied(), owner, alone)
        {
            self.unlist(task);
            if runs > 1 && !self.ballots.contains_key(&task) {
                self.double(task);
            }
            self.start_run(owner, task);
            taken.push(task);
        }
        while taken.len() < count && self.has_fresh() {
            let task = TaskIndex(self.tasks.len() as u32);
            self.tasks.push(Task { queued: runs, ..Task::NEW });
            self.committed.0 += self.cap.0 * i64::from(runs);
            self.again_runs += u64::from(runs);
            if runs > 1 {
                self.ballots.insert(task, Ballot::new(runs));
            }
            self.start_run(owner, task);
            taken.push(task);
        }
        taken
    }

    /// An unlisted task that one finding would decide needs two.
    fn double(&mut self, index: TaskIndex) {
        self.ballots.insert(index, Ballot::new(2));
        self.committed.0 += self.cap.0;
        self.task_mut(index).queued += 1;
        self.again_runs += 1;
    }

    /// A queued run of a task goes to an owner who was chosen for it.
    pub(crate) fn start_chosen(&mut self, owner: AccountId, index: TaskIndex) {
        self.unlist(index);
        self.start_run(owner, index);
    }

    /// One queued run of an unlisted task goes to a worker.
    fn start_run(&mut self, owner: AccountId, index: TaskIndex) {
        let task = self.task_mut(index);
        task.queued -= 1;
        task.running += 1;
        self.again_runs -= 1;
        self.counts.running += 1;
        if let Some(ballot) = self.ballots.get_mut(&index) {
            ballot.at_work.push(owner);
        }
        self.list(index);
    }

    /// A worker has so many runs more.
    pub(crate) fn hand_out(&mut self, worker: WorkerId, runs: usize) {
        *self.holders.entry(worker).or_default() += runs as u32;
    }

    /// A worker has a run less.
    pub(crate) fn take_back(&mut self, worker: WorkerId) {
        if let Entry::Occupied(mut held) = self.holders.entry(worker) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    /// A run ended with a finding. It took up the most it could cost; what it did cost is booked apart.
    pub(crate) fn run_ended(&mut self, task: TaskIndex) {
        self.task_mut(task).running -= 1;
        self.counts.running -= 1;
        self.free(self.cap);
    }

    /// Counts the finding of a run that ended. The ballot then stands so; it has one vote if it had none.
    pub(crate) fn vote(&mut self, task: TaskIndex, vote: Vote) -> &mut Ballot {
        self.committed.0 += if vote.paid { 0 } else { vote.cost.0 };
        if self.makes_records() {
            self.voters.insert((vote.owner, task));
        }
        // The owner's part in the task stays, so the task stays in its place in `again`.
        let ballot = self.ballots.entry(task).or_insert_with(|| Ballot::new(2));
        ballot.leaves(vote.owner);
        ballot.votes.push(vote);
        ballot
    }

    /// Takes an owner's votes on open tasks away; which tasks they were.
    pub(crate) fn void_votes(&mut self, owner: AccountId) -> Vec<TaskIndex> {
        let own = (owner, TaskIndex(0))..=(owner, TaskIndex(u32::MAX));
        let tasks: Vec<TaskIndex> = self.voters.extract_if(own, |_| true).map(|(_, task)| task).collect();
        for task in &tasks {
            self.unlist(*task);
            if let Some(ballot) = self.ballots.get_mut(task) {
                let before = ballot.cost();
                ballot.votes.retain(|vote| vote.owner != owner);
                let freed = Amount(before - ballot.cost());
                self.free(freed);
            }
            self.list(*task);
        }
        tasks
    }

    /// How many more runs an open task needs than are made or queued.
    pub(crate) fn lacks(&self, task: TaskIndex) -> u8 {
        let lacks = self.ballots.get(&task).map_or(1, Ballot::lacks);
        let record = &self.tasks[task.0 as usize];
        lacks.saturating_sub(record.running + record.queued)
    }

    /// A run ended without a finding: somebody shall do it anew.
    pub(crate) fn run_returned(&mut self, owner: AccountId, task: TaskIndex) {
        self.unlist(task);
        self.task_mut(task).running -= 1;
        self.counts.running -= 1;
        if let Some(ballot) = self.ballots.get_mut(&task) {
            ballot.leaves(owner);
        }
        let untouched = |ballot: &Ballot| ballot.votes.is_empty() && ballot.at_work.is_empty();
        if self.is_checked() && self.ballots.get(&task).is_some_and(untouched) {
            // Who takes it up next decides anew how many owners it needs.
            self.ballots.remove(&task);
            let queued = std::mem::take(&mut self.task_mut(task).queued);
            self.again_runs -= u64::from(queued);
            self.free(Amount(self.cap.0 * i64::from(queued)));
        }
        self.queue_unlisted(task);
    }

    /// Asks for one more run of a started task, which the budget must afford.
    pub(crate) fn queue_one_more(&mut self, task: TaskIndex) {
        self.unlist(task);
        self.committed.0 += self.cap.0;
        self.queue_unlisted(task);
    }

    /// A decided task is open again: nothing of its result is left, and it has no runs yet.
    pub(crate) fn undecide(&mut self, index: TaskIndex) {
        let task = self.task_mut(index);
        let losses = task.losses;
        let before = std::mem::replace(task, Task { losses, ..Task::NEW });
        match before.state {
            TaskState::Succeeded => self.counts.succeeded -= 1,
            TaskState::Failed => self.counts.failed -= 1,
            TaskState::Open | TaskState::Dropped => {}
        }
    }

    /// The run that checks a decided task becomes the run of the task, which is open again.
    pub(crate) fn adopt(&mut self, task: TaskIndex) {
        self.task_mut(task).running += 1;
        self.counts.running += 1;
    }

    /// What a decided task was found to be.
    pub(crate) fn finding(&self, task: TaskIndex) -> Option<Finding> {
        let task = self.task(task)?;
        task.ending.map(|ending| Finding { ending, fuel: task.fuel, result: task.result })
    }

    fn queue_unlisted(&mut self, task: TaskIndex) {
        self.task_mut(task).queued += 1;
        self.again_runs += 1;
        self.news = true;
        self.list(task);
    }

    /// Puts a task that needs runs where workers find it.
    fn list(&mut self, task: TaskIndex) {
        if self.task_mut(task).queued > 0 {
            let some = self.involved(task).collect();
            self.again.insert(task, some);
        }
    }

    /// Takes a task away from where workers find it: before who is involved in it changes.
    fn unlist(&mut self, task: TaskIndex) {
        if self.task_mut(task).queued > 0 {
            self.again.remove(&task);
        }
    }

    fn involved(&self, task: TaskIndex) -> impl Iterator<Item = AccountId> {
        self.ballots.get(&task).into_iter().flat_map(Ballot::involved)
    }

    /// Frees a part of the budget that was committed.
    pub(crate) fn free(&mut self, amount: Amount) {
        self.make_room(|job| job.committed.0 -= amount.0);
    }

    /// Frees a part of the budget that was owed, and will not be paid.
    pub(crate) fn owe_less(&mut self, amount: Amount) {
        self.make_room(|job| job.owed.0 -= amount.0);
    }

    /// What the budget affords now may be news to workers.
    fn make_room(&mut self, free: impl FnOnce(&mut Job)) {
        let before = (self.has_fresh(), self.affords(1));
        free(self);
        self.news |= before != (self.has_fresh(), self.affords(1));
    }

    /// Decides a task: nobody else is needed for it, and its part of the budget is free again.
    pub(crate) fn decide(&mut self, index: TaskIndex, finding: Finding) {
        self.unlist(index);
        let ballot = self.ballots.remove(&index);
        for vote in ballot.iter().flat_map(|ballot| &ballot.votes) {
            self.voters.remove(&(vote.owner, index));
        }
        let votes = ballot.map_or(0, |ballot| ballot.cost());
        let task = self.task_mut(index);
        let (running, queued) = (std::mem::take(&mut task.running), std::mem::take(&mut task.queued));
        let success = finding.ending.is_success();
        task.state = if success { TaskState::Succeeded } else { TaskState::Failed };
        task.ending = Some(finding.ending);
        task.fuel = finding.fuel;
        task.result = finding.result;
        self.counts.running -= u64::from(running);
        self.again_runs -= u64::from(queued);
        self.free(Amount(self.cap.0 * i64::from(running + queued) + votes));
        *(if success { &mut self.counts.succeeded } else { &mut self.counts.failed }) += 1;
    }

    /// How it ends when nothing is left to find out.
    pub(crate) fn natural_outcome(&self) -> JobOutcome {
        if self.counts.failed == 0 { JobOutcome::Succeeded } else { JobOutcome::Failed }
    }

    /// Whether it is over because all its tasks were decided.
    pub(crate) fn ended_by_itself(&self) -> bool {
        self.is_decided() && matches!(self.outcome(), Some(JobOutcome::Succeeded | JobOutcome::Failed))
    }

    /// Ends the job: whatever is open is dropped. What was in doubt stays so.
    pub(crate) fn end(&mut self, outcome: JobOutcome, at: Time) -> Vec<Dispute> {
        if !self.is_decided() {
            for task in self.tasks.iter_mut().filter(|task| task.state == TaskState::Open) {
                *task = Task { state: TaskState::Dropped, losses: task.losses, ..Task::NEW };
            }
        }
        self.again = OpenTasks::default();
        self.again_runs = 0;
        self.news = false;
        self.ballots.clear();
        self.voters.clear();
        let checks = std::mem::take(&mut self.checks).into_values();
        let disputes = std::mem::take(&mut self.disputes).into_values();
        let doubts = checks.map(|check| Dispute { owner: check.vote.owner, place: check.place });
        let doubts = doubts.chain(disputes).collect();
        self.counts.running = 0;
        self.committed = Amount::ZERO;
        self.state = JobState::Over { outcome, at };
        doubts
    }

    /// Learns how long a run took: an exponential average over about eight runs.
    pub(crate) fn learn_wall(&mut self, wall: Duration) {
        self.mean_wall = Some(match self.mean_wall {
            None => wall,
            Some(mean) => Duration(mean.0 - mean.0 / 8 + wall.0 / 8),
        });
    }

    /// Whether every task is decided.
    pub(crate) fn is_decided(&self) -> bool {
        self.counts.succeeded + self.counts.failed == self.counts.total
    }

    /// Panics unless the job's own rules hold.
    pub(crate) fn sanity_check(&self, id: JobId) {
        let mut counts = JobCounts { total: self.spec.tasks, ..JobCounts::default() };
        let mut again = OpenTasks::default();
        let (mut again_runs, mut committed) = (0, 0);
        for (index, task) in self.spec.task_indices().zip(&self.tasks) {
            counts.running += u64::from(task.running);
            counts.succeeded += u32::from(task.state == TaskState::Succeeded);
            counts.failed += u32::from(task.state == TaskState::Failed);
            again_runs += u64::from(task.queued);
            if task.queued > 0 {
                again.insert(index, self.involved(index).collect());
            }
            committed += self.check_task(id, index, task);
        }
        let votes = self.ballots.iter().flat_map(|(task, ballot)| {
            ballot.votes.iter().filter(|_| self.makes_records()).map(|vote| (vote.owner, *task))
        });
        assert_eq!(votes.collect::<BTreeSet<_>>(), self.voters, "job {id}: whose votes");
        assert_eq!(again, self.again, "job {id}: places of queued runs");
        assert_eq!(again_runs, self.again_runs, "job {id}: number of queued runs");
        let held: u64 = self.holders.values().map(|runs| u64::from(*runs)).sum();
        assert!(held >= self.counts.running + self.checks.len() as u64, "job {id}: runs with workers");
        assert_eq!(counts, self.counts, "job {id}: counts");
        assert_eq!(committed, self.committed.0, "job {id}: committed money");
        let bound = self.spent.0 + self.committed.0 + self.owed.0;
        assert!(bound <= self.funds.0 && self.funds <= self.spec.budget, "job {id}: budget exceeded");
        let settled = self.is_decided() && self.doubts() == 0;
        assert!(!(self.is_active() && settled), "job {id} should be over");
    }

    /// Panics unless a task's runs are those that it lacks; what the job has committed for it.
    fn check_task(&self, id: JobId, index: TaskIndex, task: &Task) -> i64 {
        let ballot = self.ballots.get(&index);
        let (check, cap) = (self.checks.get(&index), self.cap.0);
        if !self.is_active() || task.state != TaskState::Open {
            assert!(ballot.is_none(), "job {id}: ballot of decided task {index}");
            assert_eq!(task.queued + task.running, 0, "job {id}: runs of decided task {index}");
            assert!(!self.disputes.contains_key(&index), "job {id}: dispute of decided task {index}");
            assert!(check.is_none() || (self.is_checked() && self.is_active()), "job {id}: check of {index}");
            assert!(check.is_none_or(|check| self.finding(index) == Some(check.vote.finding)));
            return check.map_or(0, |_| cap);
        }
        assert!(check.is_none(), "job {id}: check of open task {index}");
        let lacks = ballot.map_or(1, Ballot::lacks);
        assert_eq!(task.running + task.queued, lacks, "job {id}: runs that task {index} needs");
        assert!(ballot.is_some() || self.spec.quorum == 1, "job {id}: no ballot of task {index}");
        if let Some(ballot) = ballot {
            let owners: BTreeSet<AccountId> = ballot.involved().collect();
            let involved = ballot.involved().count();
            assert_eq!(owners.len(), involved, "job {id}: an owner counts twice for task {index}");
            let running = usize::from(task.running);
            assert_eq!(ballot.at_work.len(), running, "job {id}: ballot of task {index}");
        }
        cap * i64::from(lacks) + ballot.map_or(0, Ballot::cost)
    }
}
