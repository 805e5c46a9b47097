//! A job: its tasks, the queue of runs it needs, and its money.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pumasi_types::{AccountId, Amount, Duration, Fuel, HoldId, JobId, TaskIndex, Time};
use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Finding};
use super::task::{Task, TaskState};
use crate::JobSpec;

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
    /// Its budget while it is not over.
    pub hold: HoldId,
    /// When it was ordered.
    pub submitted: Time,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks by index.
    pub tasks: Vec<Task>,
    /// How many stand where.
    pub counts: JobCounts,
    /// What was paid for it.
    pub spent: Amount,
    /// Fuel of all paid runs together.
    pub fuel: Fuel,
    /// The part of the budget that started tasks may still cost.
    pub(crate) committed: Amount,
    /// Tasks below this index were started.
    pub(crate) fresh: u32,
    /// Runs needed by tasks that were started, by an owner that must not do them (0: anybody may).
    pub(crate) again: BTreeMap<AccountId, VecDeque<TaskIndex>>,
    /// How many runs are in `again`.
    pub(crate) again_runs: u64,
    /// Votes on open tasks, when the quorum is above one.
    pub(crate) ballots: BTreeMap<TaskIndex, Ballot>,
    /// Average wall-clock time of a run; none before the first.
    pub(crate) mean_wall: Option<Duration>,
    /// Jobs that wait for this one.
    pub(crate) dependents: Vec<JobId>,
}

impl Job {
    /// How many queued runs are looked at for one that an owner may do.
    const SEARCH: usize = 64;

    pub(crate) fn new(owner: AccountId, spec: Arc<JobSpec>, hold: HoldId, now: Time, unfinished: u32) -> Job {
        Job {
            owner,
            clock: spec.clock.unwrap_or(now),
            hold,
            submitted: now,
            state: if unfinished > 0 { JobState::Waiting { unfinished } } else { JobState::Active },
            tasks: vec![Task::NEW; spec.tasks as usize],
            counts: JobCounts { total: spec.tasks, ..JobCounts::default() },
            spent: Amount::ZERO,
            fuel: Fuel(0),
            committed: Amount::ZERO,
            fresh: 0,
            again: BTreeMap::new(),
            again_runs: 0,
            ballots: BTreeMap::new(),
            mean_wall: None,
            dependents: Vec::new(),
            spec,
        }
    }

    /// One task.
    pub fn task(&self, index: TaskIndex) -> Option<&Task> {
        self.tasks.get(index.0 as usize)
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

    /// The most that one run may cost.
    pub(crate) fn run_cap(&self) -> Amount {
        // Submission checked that the cost of a whole quorum is in range.
        self.spec.bid.cost(self.spec.limits.fuel).unwrap_or(Amount(i64::MAX))
    }

    /// What the budget has left for tasks that were not started.
    fn uncommitted(&self) -> Amount {
        Amount(self.spec.budget.0 - self.spent.0 - self.committed.0)
    }

    /// Whether the budget covers `runs` more runs at their most expensive.
    pub(crate) fn affords(&self, runs: u8) -> bool {
        self.run_cap().checked_mul(u64::from(runs)).is_some_and(|cost| cost <= self.uncommitted())
    }

    /// Whether there is a run to give out to somebody.
    pub(crate) fn has_queued_runs(&self) -> bool {
        self.is_active()
            && (!self.again.is_empty() || (self.fresh < self.counts.total && self.affords(self.spec.quorum)))
    }

    /// About how many runs wait to be given out.
    pub(crate) fn queued_runs(&self) -> u64 {
        self.again_runs + u64::from(self.counts.total - self.fresh) * u64::from(self.spec.quorum)
    }

    /// Takes a run out of the queue that `owner` may do, tasks that were begun first.
    pub(crate) fn take_run(&mut self, owner: AccountId) -> Option<TaskIndex> {
        if let Some(task) = self.take_again(owner) {
            return Some(task);
        }
        if self.fresh == self.counts.total || !self.affords(self.spec.quorum) {
            return None;
        }
        let task = TaskIndex(self.fresh);
        let others = self.spec.quorum - 1;
        self.fresh += 1;
        self.committed.0 += self.run_cap().0 * i64::from(self.spec.quorum);
        self.started(owner, task);
        if others > 0 {
            let queue = self.again.entry(owner).or_default();
            queue.extend(std::iter::repeat_n(task, usize::from(others)));
            self.again_runs += u64::from(others);
            self.task_mut(task).queued = others;
        }
        Some(task)
    }

    fn take_again(&mut self, owner: AccountId) -> Option<TaskIndex> {
        let mut found = None;
        for (excluded, queue) in self.again.iter_mut().filter(|(excluded, _)| **excluded != owner) {
            for _ in 0..queue.len().min(Self::SEARCH) {
                let task = queue.pop_front().expect("the loop is as long as the queue at most");
                if self.ballots.get(&task).is_some_and(|ballot| ballot.involves(owner)) {
                    queue.push_back(task);
                } else {
                    found = Some((*excluded, task));
                    break;
                }
            }
            if found.is_some() {
                break;
            }
        }
        let (excluded, task) = found?;
        if self.again.get(&excluded).is_some_and(VecDeque::is_empty) {
            self.again.remove(&excluded);
        }
        self.again_runs -= 1;
        self.task_mut(task).queued -= 1;
        self.started(owner, task);
        Some(task)
    }

    fn started(&mut self, owner: AccountId, task: TaskIndex) {
        self.task_mut(task).running += 1;
        self.counts.running += 1;
        if self.spec.quorum > 1 {
            self.ballots.entry(task).or_default().at_work.push(owner);
        }
    }

    /// A run left its worker's hands, with a finding or without.
    pub(crate) fn ended(&mut self, owner: AccountId, task: TaskIndex) {
        self.task_mut(task).running -= 1;
        self.counts.running -= 1;
        if let Some(ballot) = self.ballots.get_mut(&task) {
            ballot.leaves(owner);
        }
    }

    /// Puts one more run of a started task into the queue.
    pub(crate) fn queue_again(&mut self, task: TaskIndex) {
        let ballot = self.ballots.get(&task);
        let first =
            ballot.and_then(|b| b.votes.first().map(|vote| vote.owner).or(b.at_work.first().copied()));
        self.again.entry(first.unwrap_or_default()).or_default().push_back(task);
        self.again_runs += 1;
        self.task_mut(task).queued += 1;
    }

    /// Decides a task: nobody else is needed for it, and its part of the budget is free again.
    pub(crate) fn decide(&mut self, index: TaskIndex, state: TaskState, finding: Finding) {
        self.unqueue(index);
        let cap = self.run_cap().0;
        let voted: i64 =
            self.ballots.remove(&index).map_or(0, |b| b.votes.iter().map(|vote| vote.cost.0).sum());
        let task = self.task_mut(index);
        let running = std::mem::take(&mut task.running);
        task.state = state;
        task.ending = Some(finding.ending);
        task.fuel = finding.fuel;
        task.result = finding.result;
        self.counts.running -= u64::from(running);
        self.committed.0 -= cap * i64::from(running) + voted;
        match state {
            TaskState::Succeeded => self.counts.succeeded += 1,
            TaskState::Failed => self.counts.failed += 1,
            TaskState::Open | TaskState::Dropped => {}
        }
    }

    /// Takes every queued run of a task out of the queue, and its cost out of the commitments.
    fn unqueue(&mut self, task: TaskIndex) {
        let queued = std::mem::take(&mut self.task_mut(task).queued);
        if queued == 0 {
            return;
        }
        self.committed.0 -= self.run_cap().0 * i64::from(queued);
        self.again_runs -= u64::from(queued);
        self.again.retain(|_, queue| {
            queue.retain(|other| *other != task);
            !queue.is_empty()
        });
    }

    /// Ends the job: whatever is open is dropped.
    pub(crate) fn end(&mut self, outcome: JobOutcome, at: Time) {
        if !self.is_decided() {
            for task in self.tasks.iter_mut().filter(|task| task.state == TaskState::Open) {
                *task = Task { state: TaskState::Dropped, losses: task.losses, ..Task::NEW };
            }
        }
        self.again.clear();
        self.again_runs = 0;
        self.ballots.clear();
        self.counts.running = 0;
        self.committed = Amount::ZERO;
        self.state = JobState::Over { outcome, at };
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
        let mut queued: BTreeMap<TaskIndex, u8> = BTreeMap::new();
        for (excluded, queue) in &self.again {
            assert!(!queue.is_empty(), "job {id}: empty queue of runs not for {excluded}");
            queue.iter().for_each(|task| *queued.entry(*task).or_default() += 1);
        }
        let mut committed = 0;
        let cap = self.run_cap().0;
        for (index, task) in self.spec.task_indices().zip(&self.tasks) {
            counts.running += u64::from(task.running);
            counts.succeeded += u32::from(task.state == TaskState::Succeeded);
            counts.failed += u32::from(task.state == TaskState::Failed);
            assert_eq!(task.queued, queued.remove(&index).unwrap_or(0), "job {id}: queue of task {index}");
            let ballot = self.ballots.get(&index);
            if !self.is_active() || task.state != TaskState::Open {
                assert!(ballot.is_none(), "job {id}: ballot of decided task {index}");
                assert_eq!(task.queued + task.running, 0, "job {id}: runs of decided task {index}");
                continue;
            }
            let best = ballot.map_or(0, Ballot::best);
            if index.0 < self.fresh {
                let needed = self.spec.quorum - best;
                assert_eq!(task.running + task.queued, needed, "job {id}: runs that task {index} needs");
                committed += cap * i64::from(needed);
                committed += ballot.map_or(0, |b| b.votes.iter().map(|vote| vote.cost.0).sum());
            } else {
                assert!(!task.is_started() && ballot.is_none(), "job {id}: task {index} is not started");
            }
            if let Some(ballot) = ballot {
                let mut owners: Vec<_> = ballot.votes.iter().map(|vote| vote.owner).collect();
                owners.extend(&ballot.at_work);
                owners.sort_unstable();
                owners.dedup();
                let involved = ballot.votes.len() + ballot.at_work.len();
                assert_eq!(owners.len(), involved, "job {id}: an owner counts twice for task {index}");
                assert_eq!(
                    ballot.at_work.len(),
                    usize::from(task.running),
                    "job {id}: ballot of task {index}"
                );
            }
        }
        assert!(queued.is_empty(), "job {id}: queued runs of no task");
        let again_runs: usize = self.again.values().map(VecDeque::len).sum();
        assert_eq!(again_runs as u64, self.again_runs, "job {id}: number of queued runs");
        assert_eq!(counts, self.counts, "job {id}: counts");
        assert_eq!(committed, self.committed.0, "job {id}: committed money");
        assert!(self.spent.0 + self.committed.0 <= self.spec.budget.0, "job {id}: budget exceeded");
    }
}
