//! A crowd: many owners' mixed machines that come and go, and many researchers' mixed jobs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use pumasi_core::{Checks, Command, Done, JobSpec, Request, State, WorkerSpec};
use pumasi_types::{AccountId, Amount, ByteSize, EngineId, Hash, Price, RunId, Time, WorkerId};

use crate::common::dice::Dice;
use crate::common::{ask, job, machine};
use crate::pool::{Pool, RESEARCHER, found, owner};

/// The engine of every tenth machine and job.
const OLD_ENGINE: &str = "wasmtime-47.0.0/1";
/// What reaches the hub within so many nanoseconds makes one entry.
const WINDOW_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// A machine of the crowd.
pub(crate) fn mixed_machine(key: u64, dice: &mut Dice) -> WorkerSpec {
    let mut spec = machine(u128::from(key), dice.one_of(&[1, 2, 4, 4, 8, 16]));
    spec.memory = ByteSize::mib(dice.one_of(&[512, 1_024, 2_048, 3_000, 4_096, 8_192, 16_384]));
    spec.ask = Price(500_000 + dice.below(1_000) * 1_000);
    if dice.below(10) == 0 {
        spec.engine = EngineId(OLD_ENGINE.to_owned());
    }
    spec
}

/// A job of the crowd, of at most so many tasks. Three of four have owners checked if any do.
fn mixed_job(most: u64, checks: Checks, now: Time, dice: &mut Dice) -> JobSpec {
    let magnitude = 10_u64.pow(dice.below(u64::from(most.max(10).ilog10()) + 1) as u32);
    let tasks = (dice.below(magnitude) + 1).min(most);
    let mut spec = job("job", tasks as u32, Amount::ZERO);
    spec.limits.fuel.0 = 1_000_000_000;
    spec.limits.memory = ByteSize::mib(dice.one_of(&[64, 64, 256, 1_024, 2_048, 4_096]));
    spec.quorum = dice.one_of(&[1, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
    spec.checks = dice.one_of(&[checks, checks, checks, Checks::Off]);
    spec.priority = dice.one_of(&[0, 0, 0, 1, 2, 5]);
    // Now and then a bid below what anybody asks for.
    spec.bid = Price(400_000 + dice.below(1_400) * 1_000);
    let cap = spec.bid.cost(spec.limits.fuel).expect("in range").0;
    let tight = dice.below(20) == 0;
    let each = if tight { cap / 20 + 1 } else { cap * 4 };
    spec.budget = Amount((each * tasks as i64).max(cap * 8));
    if dice.below(10) == 0 {
        spec.deadline = Some(Time(now.0 + (600 + dice.below(3_600)) * SECOND_NS));
    }
    if dice.below(10) == 0 {
        spec.engine = EngineId(OLD_ENGINE.to_owned());
    }
    spec
}

/// What a machine does next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It ends as many runs as it has cores.
    Work,
    /// The hub takes it for lost.
    Lose,
    /// It comes back.
    Return,
}

/// The crowd at work.
pub(crate) struct Crowd {
    pub(crate) pool: Pool,
    checks: Checks,
    dice: Dice,
    specs: Vec<(AccountId, WorkerSpec)>,
    /// Whether a machine has its next event in `events`.
    busy: Vec<bool>,
    links: Vec<u64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Tasks that were ordered.
    pub(crate) ordered: u64,
    pub(crate) jobs: u64,
    pub(crate) detached: u64,
    pub(crate) lost: u64,
}

impl Crowd {
    /// Of each hundred owners one is vouched for.
    pub(crate) fn new(workers: u64, owners: u64, checks: Checks) -> Crowd {
        let mut dice = Dice(1);
        let mut specs = vec![(State::SYSTEM, machine(0, 1))];
        for key in 1..=workers {
            specs.push((owner(dice.below(owners)), mixed_machine(key, &mut dice)));
        }
        let mut pool = Pool::new(owners, workers as usize);
        pool.vouch_for_some(owners);
        Crowd {
            pool,
            checks,
            dice,
            specs,
            busy: vec![false; workers as usize + 1],
            links: vec![1; workers as usize + 1],
            events: BinaryHeap::with_capacity(workers as usize),
            ordered: 0,
            jobs: 0,
            detached: 0,
            lost: 0,
        }
    }

    pub(crate) fn join(&mut self) {
        for worker in 1..self.specs.len() {
            let (owner, spec) = self.specs[worker].clone();
            let id = self.pool.attach(owner, spec);
            assert_eq!(id, WorkerId(worker as u64), "workers are numbered as they join");
        }
    }

    /// Orders and works until so many tasks were ordered and nothing more can be done.
    pub(crate) fn run(&mut self, tasks: u64) {
        // Jobs large and small wait at any time, more tasks than machines by far.
        let waiting = (tasks / 4).max(1);
        loop {
            while self.ordered < tasks && self.ordered < self.decided() + waiting {
                self.order(tasks);
            }
            if self.events.is_empty() && self.ordered < tasks {
                self.order(tasks);
            } else if self.events.is_empty() {
                return self.cancel_the_rest();
            } else {
                self.entry();
            }
        }
    }

    /// What is left when nobody works any more suits nobody: bids below every ask, no third owner.
    fn cancel_the_rest(&mut self) {
        let jobs = self.pool.state.jobs().iter().filter(|(_, job)| job.outcome().is_none());
        let jobs: Vec<_> = jobs.map(|(id, _)| *id).collect();
        for job in jobs {
            self.pool.one(RESEARCHER, Command::CancelJob { job });
        }
    }

    fn order(&mut self, tasks: u64) {
        let most = (tasks / 10).min(tasks - self.ordered).max(1);
        let spec = mixed_job(most, self.checks, self.pool.now, &mut self.dice);
        self.ordered += u64::from(spec.tasks);
        self.jobs += 1;
        self.pool.one(RESEARCHER, Command::SubmitJob(Arc::new(spec)));
        self.rouse();
    }

    /// About how many tasks are decided.
    fn decided(&self) -> u64 {
        self.pool.reported * 10 / 14
    }

    /// Machines that were given something begin to work.
    fn rouse(&mut self) {
        let roused = std::mem::take(&mut self.pool.roused);
        for worker in roused {
            self.begin(worker);
        }
    }

    fn begin(&mut self, worker: WorkerId) {
        let place = worker.0 as usize;
        if !self.busy[place] && !self.pool.hands[place].is_empty() {
            let takes = (30 + self.dice.below(60)) * SECOND_NS + self.dice.below(SECOND_NS);
            self.plan(worker, takes, Event::Work);
        }
    }

    fn plan(&mut self, worker: WorkerId, after_ns: u64, event: Event) {
        self.busy[worker.0 as usize] = true;
        self.events.push(Reverse((self.pool.now.0 + after_ns, worker.0, event)));
    }

    /// Everything that happens within a window makes one entry.
    fn entry(&mut self) {
        let next = self.events.peek().map_or(u64::MAX, |Reverse((at, _, _))| *at);
        let due = self.pool.state.next_due().map_or(u64::MAX, |due| due.0);
        self.pool.now.0 = self.pool.now.0.max(next.min(due));
        let until = self.pool.now.0 + WINDOW_NS;
        let (mut requests, mut workers) = (Vec::new(), Vec::new());
        while requests.len() < 1_024
            && let Some(Reverse((at, worker, event))) = self.events.peek().copied()
            && at <= until
        {
            self.events.pop();
            let worker = WorkerId(worker);
            self.busy[worker.0 as usize] = false;
            if let Some(request) = self.happen(worker, event) {
                requests.push(request);
                workers.push(worker);
            }
        }
        if requests.is_empty() {
            requests.push(ask(State::SYSTEM, Command::Tick));
        }
        let before: Vec<usize> =
            workers.iter().map(|worker| self.pool.hands[worker.0 as usize].len()).collect();
        let answers = self.pool.apply(&requests).answers;
        for ((worker, before), answer) in workers.iter().zip(before).zip(&answers) {
            if let Ok(Done::Attached { worker, link, unwanted }) = answer {
                self.links[worker.0 as usize] = *link;
                let hand = &mut self.pool.hands[worker.0 as usize];
                // Whatever was given by this very entry lies behind what it had.
                let new = hand.split_off(before.min(hand.len()));
                hand.retain(|given| unwanted.binary_search(&given.run).is_err());
                hand.extend(new);
            }
            self.begin(*worker);
        }
        self.rouse();
    }

    fn happen(&mut self, worker: WorkerId, event: Event) -> Option<Request> {
        let place = worker.0 as usize;
        let link = self.links[place];
        match event {
            Event::Work if self.dice.below(500) == 0 => {
                self.detached += 1;
                // Four of five are back soon.
                let (after, next) =
                    if self.dice.below(5) == 0 { (60, Event::Lose) } else { (20, Event::Return) };
                self.plan(worker, after * SECOND_NS, next);
                Some(ask(State::SYSTEM, Command::DetachWorker { worker, link }))
            }
            Event::Work => {
                let cores = self.specs[place].1.cores as usize;
                let given: Vec<_> = {
                    let hand = &mut self.pool.hands[place];
                    hand.drain(..cores.min(hand.len())).collect()
                };
                let mut runs: Vec<_> = given.iter().map(found).collect();
                if self.dice.below(2_000) == 0
                    && let Some(first) = runs.first_mut()
                {
                    first.result = Hash::of(b"a lie");
                }
                self.pool.reported += runs.len() as u64;
                let owner = self.specs[place].0;
                (!runs.is_empty()).then(|| ask(owner, Command::Report { worker, runs }))
            }
            Event::Lose => {
                self.lost += 1;
                self.plan(worker, 600 * SECOND_NS, Event::Return);
                Some(ask(State::SYSTEM, Command::LoseWorker { worker, link }))
            }
            Event::Return => {
                let (owner, mut spec) = self.specs[place].clone();
                let held: Vec<RunId> = self.pool.hands[place].iter().map(|given| given.run).collect();
                spec.held = held;
                Some(ask(owner, Command::AttachWorker(spec)))
            }
        }
    }
}
