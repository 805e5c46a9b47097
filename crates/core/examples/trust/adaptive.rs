//! A model of BOINC's adaptive replication, to compare with.
//!
//! As the scheduler's `set_trust` (sched/sched_send.cpp) and the validator's `is_valid` (sched/validator.cpp)
//! of BOINC do it: a host that has had at least 10 valid results in a row (`consecutive_valid`) is believed
//! alone, except once in `consecutive_valid` times; other tasks need two equal results, and a third host when
//! they differ. Only results that were compared lengthen the row, and a wrong one ends it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use pumasi_types::{Duration, JobId, TaskIndex, Time};

use crate::common::BEGIN;
use crate::common::dice::Dice;
use crate::gang::{Figures, Gang, Setup, takes};

/// BOINC's `CONS_VALID_UNREPLICATED`.
const ROW: u64 = 10;
const JOB: JobId = JobId(1);
/// How long a host that gets nothing waits before it asks again.
const AGAIN: Duration = Duration::from_secs(60);

/// A task that was begun.
struct Begun {
    needs: usize,
    given: Vec<usize>,
    /// Who said what, and when.
    votes: Vec<(usize, bool, Time)>,
}

struct Model {
    now: Time,
    dice: Dice,
    gang: Gang,
    begun: Vec<Begun>,
    /// Tasks that need one more host.
    waiting: VecDeque<usize>,
    in_a_row: Vec<u64>,
    left: usize,
    figures: Figures,
}

/// Lets a pool work until everything is decided.
pub(crate) fn run(setup: &Setup) -> Figures {
    let mut model = Model {
        now: BEGIN,
        dice: Dice(setup.seed),
        gang: Gang::new(setup),
        begun: Vec::new(),
        waiting: VecDeque::new(),
        in_a_row: vec![0; setup.hosts],
        left: setup.tasks as usize,
        figures: Figures { tasks: u64::from(setup.tasks), ..Figures::default() },
    };
    let mut decided = 0;
    let mut events: BinaryHeap<Reverse<(Time, usize, Option<usize>)>> =
        (0..setup.hosts).map(|host| Reverse((BEGIN, host, None))).collect();
    while let Some(Reverse((at, host, task))) = events.pop() {
        model.now = at;
        decided += usize::from(task.is_some_and(|task| model.end(host, task)));
        if decided == setup.tasks as usize {
            break;
        }
        let next = model.give(host);
        let takes = if next.is_some() { takes(host, &mut model.dice) } else { AGAIN };
        events.push(Reverse((at.after(takes), host, next)));
    }
    model.figures.once_wrong = model.figures.wrong;
    model.figures
}

impl Model {
    /// What a host does next.
    fn give(&mut self, host: usize) -> Option<usize> {
        let other = self.waiting.iter().position(|task| !self.begun[*task].given.contains(&host));
        let task = match other.and_then(|place| self.waiting.remove(place)) {
            Some(task) => task,
            None if self.left == 0 => return None,
            None => self.begin(host),
        };
        self.begun[task].given.push(host);
        self.gang.is_given(host, JOB, TaskIndex(task as u32));
        Some(task)
    }

    fn begin(&mut self, host: usize) -> usize {
        let row = self.in_a_row[host];
        let trusted = row >= ROW && self.dice.below(row) > 0;
        let task = self.begun.len();
        self.left -= 1;
        self.begun.push(Begun { needs: if trusted { 1 } else { 2 }, given: Vec::new(), votes: Vec::new() });
        if !trusted {
            self.waiting.push_back(task);
        }
        task
    }

    /// A host reports. Whether that decides the task.
    fn end(&mut self, host: usize, task: usize) -> bool {
        self.figures.runs += 1;
        let lies = self.gang.lies(host, JOB, TaskIndex(task as u32), self.in_a_row[host] >= ROW);
        let begun = &mut self.begun[task];
        begun.votes.push((host, lies, self.now));
        if begun.votes.iter().filter(|vote| vote.1 == lies).count() < begun.needs {
            if begun.votes.len() == begun.given.len() && begun.votes.len() > 1 {
                self.waiting.push_back(task);
            }
            return false;
        }
        self.figures.wrong += u64::from(lies);
        for (voter, lied, at) in &begun.votes {
            let valid = *lied == lies;
            if begun.needs > 1 {
                self.in_a_row[*voter] = if valid { self.in_a_row[*voter] + 1 } else { 0 };
            }
            if valid && !self.gang.has(*voter) {
                self.figures.paid += 1;
                self.figures.waited.0 += self.now.0 - at.0;
            }
        }
        true
    }
}
