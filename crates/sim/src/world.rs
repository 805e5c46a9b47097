//! A world: one queue of events in simulated time, and everything that happens in it.

mod chaos;
mod hub;
mod net;
mod people;

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pumasi_api::link::{FromHub, FromWorker};
use pumasi_core::{Answer, Request};
use pumasi_types::{AccountId, Hash, Time, WorkerId};

use crate::client::{Client, Part};
use crate::counts::Counts;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::faults::{Kind, Tally};
use crate::hub::{Attempt, Hub, LinkNumber, Out};
use crate::machine::{Machine, Pending};
use crate::oracle::{Holds, Oracle, Violation};
use crate::sabotage::Sabotage;
use crate::scenario::Scenario;
use crate::tap::Tapped;
use crate::trace::Trace;
use crate::truth;

/// Nanoseconds.
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;
/// What hub clocks show when a world begins: some day in 2026.
const EPOCH: u64 = 1_790_000_000 * S;
/// How long a world may take to come to rest once faults have stopped.
const REST_MAX: u64 = 48 * 3_600 * S;

/// What happens at some time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker asks for a link.
    Dial { machine: usize, life: u64 },
    /// The hub sees a link being opened.
    Opened { link: LinkNumber },
    /// A message reaches the hub.
    HubHears { link: LinkNumber, message: FromWorker },
    /// A message reaches a worker.
    MachineHears { link: LinkNumber, message: FromHub },
    /// The hub learns that a link ended.
    HubLoses { link: LinkNumber },
    /// A worker learns that its link ended.
    MachineLoses { link: LinkNumber },
    /// A link that says nothing is looked at.
    Lease { life: u64, link: LinkNumber },
    /// A worker's grace is over.
    Lose { life: u64, worker: WorkerId, link: u64 },
    /// A worker's clock has come to what it waits for.
    Tick { machine: usize, life: u64, number: u64 },
    /// Something that a worker does beside is done.
    Done { machine: usize, life: u64, pending: Pending },
    /// A worker's process starts.
    Begin { machine: usize },
    /// A worker's owner pauses or resumes it.
    Pause { machine: usize, accept: bool },
    /// The hub's loop takes its next step.
    Step { life: u64 },
    /// What a step led to leaves the hub, now that the disk has it.
    Deliver { life: u64, out: Vec<Out> },
    /// Something is due in the state.
    Due { life: u64, number: u64 },
    /// The hub brings events to webhooks.
    Carry { life: u64 },
    /// The hub's process starts.
    HubStart,
    /// A client thinks of something.
    Think { client: usize },
    /// A client's request arrives at the hub.
    Arrives { attempt: Attempt, request: Request },
    /// An answer arrives at its client.
    Answered { attempt: Attempt, answer: Answer },
    /// A client has waited long enough.
    TimeOut { attempt: Attempt, tries: u64 },
    /// Something goes wrong.
    Chaos,
    /// What went wrong is over.
    Heal { kind: Kind },
}

/// An event in the queue: earlier ones first, of one moment those that were planned first.
struct Planned {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A link as the network sees it.
pub(crate) struct Wire {
    pub(crate) machine: usize,
    pub(crate) life: u64,
    /// When the last message of each direction arrives: a link keeps the order.
    pub(crate) to_hub: u64,
    pub(crate) to_machine: u64,
}

/// The world.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    pub(crate) events: u64,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    // The hub.
    pub(crate) disk: SimDisk,
    pub(crate) hub: Option<Hub>,
    pub(crate) hub_life: u64,
    pub(crate) is_stepping: bool,
    pub(crate) due: u64,
    /// What is due and the hub should have done, and since when that is known.
    pub(crate) overdue: Option<(Time, u64)>,
    pub(crate) segment_bytes: u64,
    pub(crate) snapshot_every: u64,
    pub(crate) trim: bool,
    pub(crate) blobs: BTreeSet<Hash>,
    pub(crate) tapped: Tapped,
    pub(crate) sabotage: Option<Sabotage>,
    /// What the hub's clock shows more than the world's, and how much it gains in 10,000 parts.
    pub(crate) clock_ahead: i128,
    pub(crate) clock_drift: i128,
    pub(crate) starts: u64,
    /// Which life of processes on the disk the hub is.
    pub(crate) disk_life: u64,
    // The network.
    pub(crate) wires: BTreeMap<LinkNumber, Wire>,
    pub(crate) links: u64,
    /// Broken links of which their machine has not heard.
    pub(crate) lost: BTreeMap<LinkNumber, usize>,
    pub(crate) net: Dice,
    pub(crate) delay: u64,
    pub(crate) cut_off: BTreeSet<usize>,
    pub(crate) slow_disk: bool,
    // The people and machines.
    pub(crate) machines: Vec<Machine>,
    pub(crate) ticks: Vec<(u64, u64)>,
    pub(crate) owners: u64,
    /// Which owner each machine has.
    pub(crate) owner_of: Vec<u64>,
    /// Whether the disk makes faults now, or is full.
    pub(crate) faulty_disk: bool,
    pub(crate) clients: Vec<Client>,
    pub(crate) accounts: Vec<AccountId>,
    pub(crate) chaos: Dice,
    pub(crate) draws: Dice,
    /// How those who are told take it.
    pub(crate) told: Dice,
    pub(crate) oracle: Oracle,
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) is_resting: bool,
}

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was made of.
    pub scenario: Scenario,
    /// Which promise was broken, if one was.
    pub violation: Option<Violation>,
    /// A hash over all that happened.
    pub trace: u64,
    /// Simulated time, in nanoseconds.
    pub simulated: u64,
    /// What happened in it.
    pub counts: Counts,
    /// The last lines of the trace.
    pub lines: Vec<String>,
}

/// How a world is run besides its scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Whether to keep the last lines of the trace.
    pub verbose: bool,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

/// Runs a world to its end.
pub fn run(scenario: &Scenario, options: RunOptions) -> Report {
    let mut world = World::new(scenario.clone(), options);
    // A panic of the code under test is a finding like any other.
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let violation = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let place = PLACE.with(RefCell::take);
            Some(Violation(format!("panic at {place}: {}", panic_text(&*panic))))
        }
    };
    let disk_trace = world.disk.trace();
    world.trace.mark(&[disk_trace]);
    Report {
        scenario: scenario.clone(),
        violation,
        trace: world.trace.hash(),
        simulated: world.now,
        counts: Counts {
            events: world.events,
            steps: world.steps,
            commands: world.oracle.commands,
            runs: world.oracle.paid_runs,
            orders: world.oracle.sales.placed(),
            cheaper_orders: world.oracle.sales.uses.cheaper,
            order_steps: world.oracle.sales.steps,
            letters: world.oracle.letters.count(),
            files: world.oracle.shelves.puts,
            deceived: world.oracle.judge.deceived.len() as u64,
            believed: world.oracle.judge.believed,
            standing_lies: world.oracle.judge.standing_lies(&world.oracle.state, &World::truth()),
            catches: world.oracle.judge.catches,
            crashes: world.crashes,
            tally: world.tally.clone(),
            disk: world.disk.counts(),
        },
        lines: world.trace.lines(),
    }
}

thread_local! {
    /// Where the last panic of this thread came from.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets panics be reported as findings, with their place, instead of being printed.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with(|last| last.replace(place));
    }));
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl World {
    fn new(scenario: Scenario, options: RunOptions) -> World {
        let seed = scenario.seed;
        let mut dice = Dice::of(seed, 10);
        let owners = (scenario.workers * 2 / 3).clamp(3, 30);
        let researchers = dice.between(1, 4);
        let disk = SimDisk::new(Dice::of(seed, 11).roll());
        if options.sabotage == Some(Sabotage::LyingDrive) {
            disk.lie();
        }
        let mut world = World {
            now: 0,
            queue: BinaryHeap::new(),
            planned: 0,
            events: 0,
            trace: Trace::new(options.verbose),
            tally: Tally::default(),
            disk,
            hub: None,
            hub_life: 0,
            is_stepping: false,
            due: 0,
            overdue: None,
            segment_bytes: dice.spread(64 << 10, 2 << 20),
            snapshot_every: dice.spread(2 << 10, 256 << 10),
            trim: dice.once_in(2),
            blobs: BTreeSet::new(),
            tapped: Tapped::default(),
            sabotage: options.sabotage,
            clock_ahead: 0,
            clock_drift: 0,
            starts: 0,
            disk_life: 0,
            wires: BTreeMap::new(),
            links: 0,
            lost: BTreeMap::new(),
            net: Dice::of(seed, 12),
            delay: 20 * MS,
            cut_off: BTreeSet::new(),
            slow_disk: false,
            machines: Vec::new(),
            ticks: vec![(0, 0); scenario.workers as usize],
            owners,
            owner_of: Vec::new(),
            faulty_disk: false,
            clients: vec![Client::new(seed, 0, Part::Operator, 0)],
            accounts: Vec::new(),
            chaos: Dice::of(seed, 13),
            draws: Dice::of(seed, 14),
            told: Dice::of(seed, 15),
            oracle: Oracle::new(),
            steps: 0,
            crashes: 0,
            is_resting: false,
            scenario,
        };
        for number in 0..researchers {
            let jobs = world.scenario.jobs.div_ceil(researchers);
            world.clients.push(Client::new(seed, number + 1, Part::Researcher, jobs));
        }
        world.clients.push(Client::new(seed, researchers + 1, Part::Merchant, 0));
        world.clients[0].open_all(owners, researchers);
        world.people();
        world
    }

    /// Plans an event.
    pub(crate) fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, number: self.planned, event }));
    }

    pub(crate) fn plan_in(&mut self, wait: u64, event: Event) {
        self.plan(self.now.saturating_add(wait), event);
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.say(self.now, line);
    }

    /// What the hub's clock shows.
    pub(crate) fn hub_clock(&self) -> Time {
        let now = i128::from(self.now);
        let shown = i128::from(EPOCH) + now + now * self.clock_drift / 10_000 + self.clock_ahead;
        Time(u64::try_from(shown.max(0)).unwrap_or(u64::MAX))
    }

    pub(crate) fn truth() -> impl Fn(u64, u32) -> crate::oracle::Finding {
        |job, task| truth::finding(&truth::product(job, task))
    }

    /// Lives through the scenario, then comes to rest.
    fn live(&mut self) -> Holds {
        self.plan(0, Event::HubStart);
        self.plan_in(30 * S, Event::Chaos);
        let end = self.scenario.minutes * 60 * S;
        while let Some(Reverse(planned)) = self.queue.pop() {
            if self.scenario.steps.is_some_and(|steps| self.events >= steps) {
                return Ok(());
            }
            self.now = self.now.max(planned.at);
            if self.now >= end && !self.is_resting {
                self.stop_faults();
            }
            if self.events.is_multiple_of(64) {
                self.is_on_time()?;
            }
            if self.is_resting && self.events.is_multiple_of(64) {
                if self.is_at_rest() {
                    return self.last_checks();
                }
                if self.now > end + REST_MAX {
                    return Err(Violation(format!("the world does not come to rest: {}", self.unrest())));
                }
            }
            self.events += 1;
            self.trace.mark(&[self.now, self.events]);
            self.happen(planned.event)?;
        }
        Err(Violation("nothing is left to happen".to_owned()))
    }

    fn happen(&mut self, event: Event) -> Holds {
        match event {
            Event::Dial { machine, life } => self.dial(machine, life),
            Event::Opened { link } => self.opened(link),
            Event::HubHears { link, message } => self.hub_hears(link, message),
            Event::MachineHears { link, message } => return self.machine_hears(link, message),
            Event::HubLoses { link } => self.hub_loses(link),
            Event::MachineLoses { link } => self.machine_loses(link),
            Event::Lease { life, link } => self.lease(life, link),
            Event::Lose { life, worker, link } => self.lose(life, worker, link),
            Event::Tick { machine, life, number } => self.tick(machine, life, number),
            Event::Done { machine, life, pending } => self.done(machine, life, pending),
            Event::Begin { machine } => self.begin(machine),
            Event::Pause { machine, accept } => self.pause(machine, accept),
            Event::Step { life } => return self.step(life),
            Event::Deliver { life, out } => return self.deliver(life, out),
            Event::Due { life, number } => self.something_due(life, number),
            Event::Carry { life } => self.carry(life),
            Event::HubStart => return self.start_hub(),
            Event::Think { client } => self.think(client),
            Event::Arrives { attempt, request } => self.arrives(attempt, request),
            Event::Answered { attempt, answer } => return self.answered(attempt, &answer),
            Event::TimeOut { attempt, tries } => self.timed_out(attempt, tries),
            Event::Chaos => return self.go_wrong(),
            Event::Heal { kind } => self.heal(kind),
        }
        Ok(())
    }

    /// Whether all that was asked for is done, and said.
    fn is_at_rest(&self) -> bool {
        let Some(hub) = &self.hub else { return false };
        let state = hub.cell.state();
        self.clients.iter().all(Client::is_done)
            && state.jobs().values().all(|job| job.outcome().is_some())
            && state.workers().all(|(_, worker)| worker.running() == 0)
            && self.machines.iter().all(|machine| !machine.is_on || machine.held() == 0)
    }

    /// What keeps it from rest.
    fn unrest(&self) -> String {
        let Some(hub) = &self.hub else { return "the hub is down".to_owned() };
        let state = hub.cell.state();
        let open: Vec<String> = state
            .jobs()
            .iter()
            .filter(|(_, job)| job.outcome().is_none())
            .map(|(id, job)| {
                let spec = &job.spec;
                format!("job {id} {:?} {:?} quorum {} bid {}", job.state, job.counts, spec.quorum, spec.bid.0)
            })
            .collect();
        let held: Vec<String> = self
            .machines
            .iter()
            .enumerate()
            .filter(|(_, machine)| machine.is_on && (machine.held() > 0 || !machine.is_attached()))
            .map(|(number, machine)| {
                format!("machine {number} holds {} attached {}", machine.held(), machine.is_attached())
            })
            .collect();
        let busy: Vec<String> = state
            .workers()
            .filter(|(_, worker)| worker.running() > 0 || !worker.is_willing())
            .map(|(id, worker)| {
                format!(
                    "worker {id} runs {} willing {} attached {} accepting {} lost {} verified {}",
                    worker.running(),
                    worker.is_willing(),
                    worker.attached,
                    worker.accepting,
                    worker.lost,
                    worker.verified
                )
            })
            .collect();
        let waiting = self.clients.iter().filter(|client| !client.is_done()).count();
        format!("{}; {}; {}; {waiting} clients wait", open.join(", "), held.join(", "), busy.join(", "))
    }
}
