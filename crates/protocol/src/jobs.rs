//! Jobs that the hub told of, their queued runs, and which of them go next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use pumasi_types::{ByteSize, Duration, Ending, JobId, RunId, TaskIndex, Time};

use crate::spec::{Fault, JobSpec};
use crate::{LinkError, Ready};

/// Memory for what the hub says of jobs, in bytes; a hub that says more is left and asked anew.
const SPEC_BYTES_MAX: usize = 64 << 20;
/// Jobs with module and inputs in memory at once.
const PREPARED_MAX: usize = 16;
/// How long a job without runs stays prepared.
const IDLE: Duration = Duration::from_secs(60);
/// Work that one batch should carry, so that handing it over costs little beside it.
const BATCH_TIME: Duration = Duration(500_000);
/// Work that is not worth the waking of a second thread.
const SPLIT_TIME: Duration = Duration(50_000);
/// The most runs of a batch.
const BATCH_RUNS_MAX: usize = 256;

/// How far a job's common part is.
#[derive(Debug)]
enum Stage<J> {
    Known,
    Preparing,
    Prepared(J),
    Refused(Fault),
}

#[derive(Debug)]
struct Entry<J, F> {
    spec: Arc<JobSpec>,
    /// Whether the hub told of it on this link.
    announced: bool,
    stage: Stage<J>,
    /// Runs whose job or own file is still missing.
    waiting: VecDeque<(RunId, TaskIndex)>,
    /// Runs that can start.
    ready: VecDeque<Ready<F>>,
    /// Runs whose own file is on its way.
    fetching: usize,
    batches: usize,
    mean_wall: Option<Duration>,
    used: Time,
    in_line: bool,
}

impl<J, F> Entry<J, F> {
    fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.ready.is_empty() || self.fetching > 0 || self.batches > 0
    }

    /// Whether its tasks have lines, and perhaps files, of their own.
    fn fetches(&self) -> bool {
        self.spec.task_list.is_some()
    }

    fn is_in_memory(&self) -> bool {
        matches!(self.stage, Stage::Preparing | Stage::Prepared(_))
    }
}

/// The jobs of a link, and the line of those with queued runs.
#[derive(Debug)]
pub(crate) struct Jobs<J, F> {
    entries: HashMap<JobId, Entry<J, F>>,
    /// Jobs with runs that wait or are ready; each has its turn.
    line: VecDeque<JobId>,
    spec_bytes: usize,
    in_memory: usize,
    /// Runs that are ready or whose file is on its way, of jobs whose tasks have files of their own.
    ahead: usize,
    /// When to look for prepared jobs that nothing needs; none while nothing is prepared.
    eviction: Option<Time>,
}

impl<J, F> Default for Jobs<J, F> {
    fn default() -> Self {
        Jobs {
            entries: HashMap::new(),
            line: VecDeque::new(),
            spec_bytes: 0,
            in_memory: 0,
            ahead: 0,
            eviction: None,
        }
    }
}

impl<J: Clone, F> Jobs<J, F> {
    /// The hub tells of a job.
    pub(crate) fn announce(&mut self, now: Time, spec: JobSpec) -> Result<(), LinkError> {
        if let Some(entry) = self.entries.get_mut(&spec.id) {
            if *entry.spec == spec {
                entry.announced = true;
                return Ok(());
            }
            if entry.announced || entry.in_line || entry.fetching > 0 {
                return Err(LinkError::JobChanged { job: spec.id });
            }
            // Another hub at the same address: its jobs have nothing to do with the old one's.
            self.in_memory -= usize::from(entry.is_in_memory());
            self.spec_bytes = self.spec_bytes - entry.spec.footprint() + spec.footprint();
            (entry.stage, entry.mean_wall) = (Stage::Known, None);
            (entry.spec, entry.announced) = (Arc::new(spec), true);
            return Ok(());
        }
        self.spec_bytes += spec.footprint();
        if self.spec_bytes > SPEC_BYTES_MAX {
            self.spec_bytes -= spec.footprint();
            return Err(LinkError::TooManyJobs { bytes_max: SPEC_BYTES_MAX });
        }
        let entry = Entry {
            announced: true,
            stage: Stage::Known,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            fetching: 0,
            batches: 0,
            mean_wall: None,
            used: now,
            in_line: false,
            spec: Arc::new(spec),
        };
        self.entries.insert(entry.spec.id, entry);
        Ok(())
    }

    /// A job is over: its runs are dropped, and nothing of it will be assigned again.
    pub(crate) fn over(&mut self, job: JobId) {
        let Some(entry) = self.entries.get_mut(&job) else { return };
        entry.announced = false;
        if !entry.is_busy() {
            self.in_memory -= usize::from(entry.is_in_memory());
            self.spec_bytes -= entry.spec.footprint();
            self.entries.remove(&job);
        }
    }

    /// The link is gone: the next one tells of jobs anew.
    pub(crate) fn forget_link(&mut self) {
        let spec_bytes = &mut self.spec_bytes;
        self.entries.retain(|_, entry| {
            entry.announced = false;
            let keep = entry.is_busy() || entry.is_in_memory();
            *spec_bytes -= if keep { 0 } else { entry.spec.footprint() };
            keep
        });
    }

    pub(crate) fn is_announced(&self, job: JobId) -> bool {
        self.entries.get(&job).is_some_and(|entry| entry.announced)
    }

    /// Why the runs of a job cannot be done by a worker with so much memory, if that is known.
    pub(crate) fn refused(&self, job: JobId, memory: ByteSize) -> Option<Fault> {
        let entry = self.entries.get(&job)?;
        match &entry.stage {
            Stage::Refused(fault) => Some(fault.clone()),
            _ => entry.spec.refusal(memory),
        }
    }

    pub(crate) fn enqueue(&mut self, job: JobId, runs: Vec<(RunId, TaskIndex)>) {
        let Some(entry) = self.entries.get_mut(&job) else { return };
        if runs.is_empty() {
            return;
        }
        match &entry.stage {
            Stage::Prepared(_) if !entry.fetches() => {
                entry.ready.extend(runs.into_iter().map(|(run, task)| Ready { run, task, file: None }));
            }
            _ => entry.waiting.extend(runs),
        }
        if !std::mem::replace(&mut entry.in_line, true) {
            self.line.push_back(job);
        }
    }

    /// Queued runs, in no particular order.
    pub(crate) fn queued(&self) -> impl Iterator<Item = RunId> {
        self.line.iter().filter_map(|job| self.entries.get(job)).flat_map(|entry| {
            let waiting = entry.waiting.iter().map(|(run, _)| *run);
            waiting.chain(entry.ready.iter().map(|ready| ready.run))
        })
    }

    /// Drops queued runs.
    pub(crate) fn forget(&mut self, runs: &HashSet<RunId>) {
        for job in &self.line {
            let Some(entry) = self.entries.get_mut(job) else { continue };
            entry.waiting.retain(|(run, _)| !runs.contains(run));
            let before = entry.ready.len();
            entry.ready.retain(|ready| !runs.contains(&ready.run));
            if entry.fetches() {
                self.ahead -= before - entry.ready.len();
            }
        }
        self.tidy_line();
    }

    /// Takes jobs without queued runs out of the line.
    fn tidy_line(&mut self) {
        let entries = &mut self.entries;
        self.line.retain(|job| {
            entries.get_mut(job).is_some_and(|entry| {
                entry.in_line = !entry.waiting.is_empty() || !entry.ready.is_empty();
                entry.in_line
            })
        });
    }

    /// A job in the line that is to be prepared now, if there is room for one.
    pub(crate) fn next_to_prepare(&mut self, now: Time) -> Option<Arc<JobSpec>> {
        let is_known = |job: &&JobId| self.entries.get(job).is_some_and(|e| matches!(e.stage, Stage::Known));
        let job = *self.line.iter().find(is_known)?;
        if self.in_memory >= PREPARED_MAX && !self.evict_oldest() {
            return None;
        }
        let entry = self.entries.get_mut(&job)?;
        entry.stage = Stage::Preparing;
        entry.used = now;
        self.in_memory += 1;
        Some(Arc::clone(&entry.spec))
    }

    fn evict_oldest(&mut self) -> bool {
        let idle = self.entries.values_mut().filter(|entry| !entry.is_busy() && entry.is_in_memory());
        let Some(oldest) = idle.min_by_key(|entry| (entry.used, entry.spec.id)) else { return false };
        oldest.stage = Stage::Known;
        self.in_memory -= 1;
        true
    }

    /// Lets go of modules and inputs that nothing needed for a while, when it is time to look for them.
    pub(crate) fn evict(&mut self, now: Time) {
        if self.eviction.is_none_or(|at| at > now) {
            return;
        }
        for entry in self.entries.values_mut() {
            if matches!(entry.stage, Stage::Prepared(_)) && !entry.is_busy() && now.since(entry.used) >= IDLE
            {
                entry.stage = Stage::Known;
                self.in_memory -= 1;
            }
        }
        self.eviction = (self.in_memory > 0).then(|| now.after(Duration(IDLE.0 / 4)));
    }

    /// When [`Jobs::evict`] should be called.
    pub(crate) fn eviction(&self) -> Option<Time> {
        self.eviction
    }

    /// A job's common part is there, or never will be: then the runs that waited for it are handed back.
    pub(crate) fn prepared(
        &mut self,
        now: Time,
        spec: &Arc<JobSpec>,
        result: Result<J, Fault>,
    ) -> Vec<(RunId, Fault)> {
        let Some(entry) = self.entries.get_mut(&spec.id) else { return Vec::new() };
        if !Arc::ptr_eq(&entry.spec, spec) || !matches!(entry.stage, Stage::Preparing) {
            return Vec::new();
        }
        entry.used = now;
        match result {
            Ok(prepared) => {
                if !entry.fetches() {
                    let waiting = std::mem::take(&mut entry.waiting);
                    let ready = waiting.into_iter().map(|(run, task)| Ready { run, task, file: None });
                    entry.ready.extend(ready);
                }
                entry.stage = Stage::Prepared(prepared);
                self.eviction.get_or_insert(now.after(IDLE));
                Vec::new()
            }
            Err(fault) => {
                self.in_memory -= 1;
                let waiting = std::mem::take(&mut entry.waiting);
                // What failed here may work the next time; what is wrong with the job stays wrong.
                entry.stage = match fault.ending {
                    Ending::BadModule => Stage::Refused(fault.clone()),
                    _ => Stage::Known,
                };
                self.tidy_line();
                waiting.into_iter().map(|(run, _)| (run, fault.clone())).collect()
            }
        }
    }

    /// A run whose own file is to be fetched now, with its job; `ahead_max` runs are fetched ahead.
    pub(crate) fn next_to_fetch(&mut self, ahead_max: usize) -> Option<(J, JobId, RunId, TaskIndex)> {
        if self.ahead >= ahead_max {
            return None;
        }
        for place in 0..self.line.len() {
            let id = self.line[place];
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let Stage::Prepared(job) = &entry.stage else { continue };
            if !entry.fetches() {
                continue;
            }
            let job = job.clone();
            let Some((run, task)) = entry.waiting.pop_front() else { continue };
            entry.fetching += 1;
            self.ahead += 1;
            if entry.waiting.is_empty() && entry.ready.is_empty() {
                entry.in_line = false;
                self.line.remove(place);
            }
            return Some((job, id, run, task));
        }
        None
    }

    /// A run's own file is there; none: the run is not wanted any more or failed.
    pub(crate) fn fetched(&mut self, job: JobId, ready: Option<Ready<F>>) {
        let Some(entry) = self.entries.get_mut(&job) else { return };
        entry.fetching -= 1;
        match ready {
            Some(ready) => {
                entry.ready.push_back(ready);
                if !std::mem::replace(&mut entry.in_line, true) {
                    self.line.push_back(job);
                }
            }
            None => self.ahead -= 1,
        }
    }

    /// The runs that go next on a free core of `cores`, if `memory` suffices for one of them.
    pub(crate) fn next_batch(&mut self, memory: u64, cores: u32) -> Option<(Arc<JobSpec>, J, Vec<Ready<F>>)> {
        for place in 0..self.line.len() {
            let id = self.line[place];
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let Stage::Prepared(job) = &entry.stage else { continue };
            if entry.ready.is_empty() {
                continue;
            }
            if entry.spec.limits.memory.0 > memory {
                // Later ones must not overtake, or a large run could wait for ever.
                return None;
            }
            let job = job.clone();
            let count = batch_len(entry.ready.len(), entry.mean_wall, cores);
            let runs: Vec<Ready<F>> = entry.ready.drain(..count).collect();
            entry.batches += 1;
            if entry.fetches() {
                self.ahead -= count;
            }
            let found = (Arc::clone(&entry.spec), job, runs);
            entry.in_line = !entry.waiting.is_empty() || !entry.ready.is_empty();
            let stays = entry.in_line;
            self.line.remove(place);
            if stays {
                self.line.push_back(id);
            }
            return Some(found);
        }
        None
    }

    /// Runs of a batch took so long, on average.
    pub(crate) fn learn_wall(&mut self, job: JobId, wall: Duration) {
        if let Some(entry) = self.entries.get_mut(&job) {
            let mean = entry.mean_wall.map_or(wall.0, |mean| mean.0 / 4 * 3 + wall.0 / 4);
            entry.mean_wall = Some(Duration(mean));
        }
    }

    /// A batch of the job is over, or these runs of it did not start.
    pub(crate) fn batch_over(&mut self, now: Time, job: JobId) {
        if let Some(entry) = self.entries.get_mut(&job) {
            entry.batches -= 1;
            entry.used = now;
        }
    }

    /// Runs that were in a batch and did not start go first in their job's queue.
    pub(crate) fn requeue(&mut self, job: JobId, runs: Vec<Ready<F>>) {
        let Some(entry) = self.entries.get_mut(&job) else { return };
        if runs.is_empty() {
            return;
        }
        if entry.fetches() {
            self.ahead += runs.len();
        }
        for ready in runs.into_iter().rev() {
            entry.ready.push_front(ready);
        }
        if !std::mem::replace(&mut entry.in_line, true) {
            self.line.push_front(job);
        }
    }

    /// Panics unless the counters and the line agree with the entries. For tests.
    #[cfg(test)]
    pub(crate) fn sanity_check(&self) {
        let in_memory = self.entries.values().filter(|entry| entry.is_in_memory()).count();
        assert_eq!(self.in_memory, in_memory);
        assert!(in_memory <= PREPARED_MAX);
        let bytes: usize = self.entries.values().map(|entry| entry.spec.footprint()).sum();
        assert_eq!(self.spec_bytes, bytes);
        let fetchers = self.entries.values().filter(|entry| entry.fetches());
        let ahead: usize = fetchers.map(|entry| entry.ready.len() + entry.fetching).sum();
        assert_eq!(self.ahead, ahead);
        let in_line: HashSet<JobId> = self.line.iter().copied().collect();
        assert_eq!(in_line.len(), self.line.len(), "a job stands in line twice");
        for (id, entry) in &self.entries {
            assert_eq!(entry.in_line, in_line.contains(id));
            assert_eq!(entry.in_line, !entry.waiting.is_empty() || !entry.ready.is_empty());
        }
    }
}

/// How many of `ready` runs one thread is handed at once.
fn batch_len(ready: usize, mean_wall: Option<Duration>, cores: u32) -> usize {
    // Of a job that is new here nobody knows whether its runs are short.
    let Some(wall) = mean_wall else { return 1 };
    let runs_in = |span: Duration| usize::try_from(span.0 / wall.0.max(1)).unwrap_or(usize::MAX);
    let share = ready.div_ceil(2 * cores.max(1) as usize);
    runs_in(BATCH_TIME).min(share.max(runs_in(SPLIT_TIME))).clamp(1, BATCH_RUNS_MAX).min(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_carry_half_a_millisecond_and_leave_work_for_others() {
        let us = |us: u64| Some(Duration(us * 1_000));
        for (ready, wall, cores, expected) in [
            (1_000, None, 2, 1),
            (1_000, us(5), 2, 100),
            (1_000, us(1), 2, 250),
            (10_000, Some(Duration(0)), 2, 256),
            (100, us(5), 2, 25),
            (8, us(5), 2, 8),
            (20, us(5), 4, 10),
            (1_000, us(400), 2, 1),
            (1_000, us(60_000_000), 2, 1),
            (3, us(1), 2, 3),
        ] {
            assert_eq!(batch_len(ready, wall, cores), expected, "{ready} {wall:?} {cores}");
        }
    }
}
