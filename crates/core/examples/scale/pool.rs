//! A hub reduced to what the core sees of it: entries through their encoding, and the runs it was told to send.

use std::collections::VecDeque;
use std::time::Duration;

use pumasi_core::{
    Action, Applied, Command, Done, Request, Role, RunReport, State, WorkerSpec, decode_requests,
    encode_request,
};
use pumasi_types::{
    AccountId, Amount, Currency, Ending, Fuel, Hash, JobId, RunId, TaskIndex, Time, WorkerId,
};

use crate::common::{BEGIN, ask, open};

/// A run that a worker was told to do.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) run: RunId,
    pub(crate) job: JobId,
    pub(crate) task: TaskIndex,
}

/// How long entries took, in nanoseconds.
#[derive(Default)]
pub(crate) struct Times(Vec<u64>);

impl Times {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_nanos() as u64);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total_s(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64 / 1e9
    }

    /// Microseconds within which so many thousandths of the entries were done.
    pub(crate) fn quantile_us(&self, thousandths: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * thousandths / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(place).map_or(0.0, |nanos| *nanos as f64 / 1000.0)
    }
}

/// The state, its log time, and what became of its actions.
pub(crate) struct Pool {
    pub(crate) state: State,
    pub(crate) now: Time,
    /// What each worker was told to do and has not reported, by its id; the first place is empty.
    pub(crate) hands: Vec<VecDeque<Given>>,
    /// Workers that were given runs since somebody looked.
    pub(crate) roused: Vec<WorkerId>,
    pub(crate) times: Times,
    pub(crate) decoding: Duration,
    /// Runs given out.
    pub(crate) assigned: u64,
    /// Runs reported.
    pub(crate) reported: u64,
    /// Jobs that ended.
    pub(crate) over: u64,
    pub(crate) transfers: u64,
}

impl Pool {
    /// A pool with a rich researcher, who is account 1, and so many owners, who follow.
    pub(crate) fn new(owners: u64, workers: usize) -> Pool {
        let mut pool = Pool {
            state: State::new(),
            now: BEGIN,
            hands: vec![VecDeque::new(); workers + 1],
            roused: Vec::new(),
            times: Times::default(),
            decoding: Duration::ZERO,
            assigned: 0,
            reported: 0,
            over: 0,
            transfers: 0,
        };
        pool.one(State::SYSTEM, open("researcher", &[Role::Researcher]));
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 61) };
        pool.one(State::SYSTEM, issue);
        for owner in 0..owners {
            pool.one(State::SYSTEM, open(&format!("owner-{owner}"), &[Role::Owner]));
        }
        pool
    }

    /// Of each hundred owners an operator answers for one.
    pub(crate) fn vouch_for_some(&mut self, owners: u64) {
        for number in (0..owners).step_by(100) {
            self.one(State::SYSTEM, Command::Vouch { account: owner(number), vouched: true });
        }
    }

    /// Applies one entry, as a restart would: decoded from its bytes.
    pub(crate) fn apply(&mut self, requests: &[Request]) -> Applied {
        let mut payload = Vec::new();
        requests.iter().for_each(|request| encode_request(&mut payload, request));
        let start = processor_time();
        let requests = decode_requests(&payload).expect("encoded above");
        self.decoding += processor_time().saturating_sub(start);
        let start = processor_time();
        let applied = self.state.apply(self.now, &requests);
        self.times.add(processor_time().saturating_sub(start));
        self.transfers += applied.effects.transfers.len() as u64;
        for action in &applied.effects.actions {
            match action {
                Action::Assign { worker, job, runs } => {
                    self.assigned += runs.len() as u64;
                    let given = runs.iter().map(|run| Given { run: run.run, job: *job, task: run.task });
                    self.hands[worker.0 as usize].extend(given);
                    self.roused.push(*worker);
                }
                Action::Stop { worker, runs } => {
                    self.hands[worker.0 as usize].retain(|given| !runs.contains(&given.run));
                }
                Action::JobOver { .. } => self.over += 1,
                Action::JobReopened { .. } => self.over -= 1,
            }
        }
        applied
    }

    /// Applies an entry of one request, which must be done.
    pub(crate) fn one(&mut self, caller: AccountId, command: Command) -> Done {
        let mut applied = self.apply(&[ask(caller, command)]);
        applied.answers.remove(0).expect("done")
    }

    /// Lets the state finish what is due and what it put off to later entries. How many entries that took.
    pub(crate) fn settle(&mut self) -> usize {
        let mut entries = 0;
        while self.state.next_due().is_some_and(|due| due <= self.now) {
            self.one(State::SYSTEM, Command::Tick);
            entries += 1;
        }
        entries
    }

    pub(crate) fn attach(&mut self, owner: AccountId, spec: WorkerSpec) -> WorkerId {
        match self.one(owner, Command::AttachWorker(spec)) {
            Done::Attached { worker, .. } => worker,
            other => panic!("a machine that attached was answered {other:?}"),
        }
    }

    pub(crate) fn owner(&self, worker: WorkerId) -> AccountId {
        self.state.worker(worker).expect("attached").owner
    }

    /// The report of a worker's oldest runs, all successful; none if it has no runs.
    pub(crate) fn report(&mut self, worker: WorkerId, count: usize) -> Option<Request> {
        let hand = &mut self.hands[worker.0 as usize];
        let runs: Vec<RunReport> = hand.drain(..count.min(hand.len())).map(|given| found(&given)).collect();
        self.reported += runs.len() as u64;
        let owner = self.owner(worker);
        (!runs.is_empty()).then(|| ask(owner, Command::Report { worker, runs }))
    }

    /// Bytes that the hands take up, which are not the state's.
    pub(crate) fn own_bytes(&self) -> usize {
        let hands = self.hands.iter().map(|hand| hand.capacity() * size_of::<Given>() + 16);
        hands.sum::<usize>() + self.hands.len() * size_of::<VecDeque<Given>>()
    }

    /// Forgets what was measured so far.
    pub(crate) fn begin(&mut self) {
        self.times.clear();
        self.decoding = Duration::ZERO;
        (self.assigned, self.reported, self.over, self.transfers) = (0, 0, 0, 0);
    }
}

/// The account that pays for everything.
pub(crate) const RESEARCHER: AccountId = AccountId(1);

/// The account of an owner, counted from 0.
pub(crate) fn owner(number: u64) -> AccountId {
    AccountId(number + 2)
}

/// The finding that every honest worker reports.
pub(crate) fn found(given: &Given) -> RunReport {
    let mut result = [7; 32];
    result[..8].copy_from_slice(&given.job.0.to_le_bytes());
    result[8..12].copy_from_slice(&given.task.0.to_le_bytes());
    RunReport {
        run: given.run,
        ending: Ending::Exited { code: 0 },
        fuel: Fuel(1_000_000),
        wall: pumasi_types::Duration::from_secs(60),
        result: Hash::from_bytes(result),
    }
}

/// Processor time that this thread has taken, in the kernel and outside.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Resident memory of this process (proc(5), statm: pages of 4 KiB).
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
