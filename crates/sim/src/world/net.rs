//! Links and machines: messages travel in order, late, or not at all when their link breaks.

use pumasi_api::link::{FromHub, FromWorker};
use pumasi_protocol::Input;

use super::{Event, MS, S, Wire, World};
use crate::faults::Kind;
use crate::hub::{LEASE, LinkNumber};
use crate::machine::{Act, Pending};
use crate::oracle::Holds;

/// A worker waits so long for its welcome.
const WELCOME_MAX: u64 = 30 * S;
/// The longest pause between two attempts to reach the hub, in milliseconds.
const PAUSE_MAX: u64 = 30_000;

impl World {
    fn travel(&mut self) -> u64 {
        let usual = self.net.spread(MS / 5, self.delay);
        usual + if self.net.once_in(200) { self.net.below(20 * self.delay) } else { 0 }
    }

    /// Whether a machine's process is there and awake; else when it will be.
    fn is_awake(&self, machine: usize, life: u64) -> Result<bool, u64> {
        let it = &self.machines[machine];
        if it.life != life || !it.is_on {
            return Ok(false);
        }
        if it.frozen_until > self.now { Err(it.frozen_until) } else { Ok(true) }
    }

    pub(crate) fn dial(&mut self, machine: usize, life: u64) {
        match self.is_awake(machine, life) {
            Ok(true) => {}
            Ok(false) => return,
            Err(until) => return self.plan(until, Event::Dial { machine, life }),
        }
        if self.machines[machine].link.is_some() {
            return;
        }
        self.links += 1;
        let link = LinkNumber(self.links);
        self.machines[machine].link = Some(link);
        let wire = Wire { machine, life, to_hub: self.now, to_machine: self.now };
        self.wires.insert(link, wire);
        if self.cut_off.contains(&machine) || self.hub.is_none() {
            // Nobody answers.
            self.tally.seen(Kind::Partition);
            return self.plan_in(5 * S, Event::MachineLoses { link });
        }
        let wait = self.travel();
        self.plan_in(wait, Event::Opened { link });
    }

    pub(crate) fn opened(&mut self, link: LinkNumber) {
        let Some(machine) = self.wires.get(&link).map(|wire| wire.machine) else { return };
        let (now, life) = (self.now, self.hub_life);
        let Some(hub) = &mut self.hub else {
            return self.plan_in(10 * MS, Event::MachineLoses { link });
        };
        hub.opened(now, link, self.machines[machine].owner);
        self.plan_in(LEASE.0, Event::Lease { life, link });
        self.happen_to(machine, Input::LinkUp);
        self.plan_in(
            WELCOME_MAX,
            Event::Tick { machine, life: self.machines[machine].life, number: u64::MAX },
        );
    }

    /// A worker says something.
    fn send_to_hub(&mut self, machine: usize, message: FromWorker) {
        let Some(link) = self.machines[machine].link else { return };
        let wait = self.travel();
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.to_hub = wire.to_hub.max(now + wait) + 1;
        let at = wire.to_hub;
        if self.cut_off.contains(&machine) {
            // A stream that lost a message is no stream any more.
            self.tally.seen(Kind::Partition);
            return self.reset_link(link);
        }
        self.plan(at, Event::HubHears { link, message });
    }

    /// The hub says something.
    pub(crate) fn send_to_machine(&mut self, link: LinkNumber, message: FromHub) {
        let wait = self.travel();
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.to_machine = wire.to_machine.max(now + wait) + 1;
        let (at, machine) = (wire.to_machine, wire.machine);
        if self.cut_off.contains(&machine) {
            self.tally.seen(Kind::Partition);
            return self.reset_link(link);
        }
        self.plan(at, Event::MachineHears { link, message });
    }

    pub(crate) fn hub_hears(&mut self, link: LinkNumber, message: FromWorker) {
        if !self.wires.contains_key(&link) {
            return;
        }
        let now = self.now;
        let Some(hub) = &mut self.hub else { return };
        let mut doubted = Vec::new();
        let heard = hub.hear(now, link, message, &mut self.blobs, &mut doubted);
        if !doubted.is_empty() {
            self.tally.seen(Kind::ForeignRuns);
        }
        if let Err(why) = heard {
            self.tally.seen(Kind::Garbage);
            self.say(|| format!("hub: ends link {}: {why}", link.0));
            self.end_link(link);
        }
        self.wake_hub();
    }

    pub(crate) fn machine_hears(&mut self, link: LinkNumber, message: FromHub) -> Holds {
        let Some((machine, life)) = self.wires.get(&link).map(|wire| (wire.machine, wire.life)) else {
            return Ok(());
        };
        match self.is_awake(machine, life) {
            Ok(false) => {}
            Ok(true) if self.machines[machine].link != Some(link) => {}
            Ok(true) => {
                let mut acts = Vec::new();
                self.machines[machine].hear(self.now, message, &mut acts);
                self.act(machine, acts);
            }
            Err(until) => {
                self.tally.seen(Kind::WorkerFreeze);
                self.plan(until, Event::MachineHears { link, message });
            }
        }
        Ok(())
    }

    /// The hub ends a link; the worker learns of it when everything before has arrived.
    pub(crate) fn end_link(&mut self, link: LinkNumber) {
        self.hub_loses(link);
        let wait = self.travel();
        if let Some(wire) = self.wires.get(&link) {
            let at = wire.to_machine.max(self.now + wait) + 2;
            self.plan(at, Event::MachineLoses { link });
        }
    }

    /// A link breaks; both sides learn of it, each in its time, and nothing more arrives.
    pub(crate) fn reset_link(&mut self, link: LinkNumber) {
        let Some(wire) = self.wires.remove(&link) else { return };
        let (to_hub, to_machine) = (self.net.spread(MS, 40 * S), self.net.spread(MS, 40 * S));
        self.plan_in(to_hub, Event::HubLoses { link });
        // The wire is gone: the machine is told by its own number of the link.
        self.wires.remove(&link);
        let machine = wire.machine;
        self.lost.insert(link, machine);
        self.plan_in(to_machine, Event::MachineLoses { link });
    }

    pub(crate) fn hub_loses(&mut self, link: LinkNumber) {
        let Some(hub) = &mut self.hub else { return };
        if let Some(gone) = hub.ended(link) {
            self.lose_later(gone.worker, gone.link);
        }
        self.wake_hub();
    }

    pub(crate) fn machine_loses(&mut self, link: LinkNumber) {
        let wired = self.wires.remove(&link).map(|wire| wire.machine);
        let Some(machine) = wired.or_else(|| self.lost.remove(&link)) else { return };
        if self.machines[machine].link != Some(link) {
            return;
        }
        self.machines[machine].link = None;
        self.lost.remove(&link);
        let frozen = self.machines[machine].frozen_until.saturating_sub(self.now);
        if self.machines[machine].is_on {
            self.happen_to(machine, Input::LinkDown);
            self.dial_later(machine, frozen);
        }
    }

    fn dial_later(&mut self, machine: usize, wait: u64) {
        let (pause, life) = (self.machines[machine].pause, self.machines[machine].life);
        self.machines[machine].pause = (pause * 2).min(PAUSE_MAX);
        let pause = self.net.between(pause / 2, pause) * MS;
        self.plan_in(wait + pause, Event::Dial { machine, life });
    }

    pub(crate) fn happen_to(&mut self, machine: usize, input: Input<u64, ()>) {
        let mut acts = Vec::new();
        self.machines[machine].happen(self.now, input, &mut acts);
        self.act(machine, acts);
    }

    /// Does what a machine wants, and plans its next tick.
    fn act(&mut self, machine: usize, acts: Vec<Act>) {
        let life = self.machines[machine].life;
        for act in acts {
            match act {
                Act::Send(message) => self.send_to_hub(machine, message),
                Act::Close => {
                    if let Some(link) = self.machines[machine].link {
                        self.say(|| format!("machine {machine}: closes its link"));
                        self.wires.remove(&link);
                        self.plan_in(MS, Event::HubLoses { link });
                        self.machines[machine].link = None;
                        self.dial_later(machine, 0);
                    }
                }
                Act::Later(took, pending) => self.plan_in(took.0, Event::Done { machine, life, pending }),
                Act::Lied(job, task, finding) => {
                    let it = &self.machines[machine];
                    self.tally.made(it.character.kind());
                    self.oracle.judge.lie(job, task, finding, it.owner);
                }
                Act::Forged(finding) => {
                    self.tally.made(Kind::ForeignRuns);
                    self.oracle.judge.forge(finding, self.machines[machine].owner);
                }
                Act::Garbled => self.tally.made(Kind::Garbage),
                Act::Faulted => {
                    self.tally.made(Kind::WorkerFault);
                    self.tally.seen(Kind::WorkerFault);
                }
                Act::Stored(hash) => {
                    self.blobs.insert(hash);
                }
                Act::Left => self.left(machine),
            }
        }
        self.plan_tick(machine);
    }

    fn plan_tick(&mut self, machine: usize) {
        let it = &self.machines[machine];
        let Some(at) = it.next_tick(self.now) else { return };
        let (planned, number) = self.ticks[machine];
        // An earlier tick looks again.
        if planned > self.now && planned <= at {
            return;
        }
        self.ticks[machine] = (at, number + 1);
        self.plan(at, Event::Tick { machine, life: it.life, number: number + 1 });
    }

    pub(crate) fn tick(&mut self, machine: usize, life: u64, number: u64) {
        match self.is_awake(machine, life) {
            Ok(true) => {}
            Ok(false) => return,
            Err(until) => {
                self.tally.seen(Kind::WorkerFreeze);
                return self.plan(until, Event::Tick { machine, life, number });
            }
        }
        if number == u64::MAX {
            // Was there a welcome?
            if let Some(link) = self.machines[machine].link
                && !self.machines[machine].is_attached()
            {
                self.reset_link(link);
            }
            return;
        }
        if number == self.ticks[machine].1 {
            self.happen_to(machine, Input::Tick);
        }
    }

    pub(crate) fn done(&mut self, machine: usize, life: u64, pending: Pending) {
        match self.is_awake(machine, life) {
            Ok(false) => {}
            Err(until) => self.plan(until, Event::Done { machine, life, pending }),
            Ok(true) => {
                let is_upload = matches!(pending, Pending::Uploaded(..));
                if is_upload && (self.hub.is_none() || self.cut_off.contains(&machine)) {
                    // It tries again until the hub is there.
                    return self.plan_in(2 * S, Event::Done { machine, life, pending });
                }
                let owner = self.machines[machine].owner;
                let record = self.oracle.state.owner(owner);
                self.machines[machine].is_trusted = record.is_some_and(pumasi_core::Owner::is_trusted);
                let mut acts = Vec::new();
                self.machines[machine].after(self.now, pending, &mut acts);
                self.act(machine, acts);
            }
        }
    }

    pub(crate) fn begin(&mut self, machine: usize) {
        self.machines[machine].start(self.now);
        let life = self.machines[machine].life;
        self.say(|| format!("machine {machine}: starts"));
        self.plan_in(10 * MS, Event::Dial { machine, life });
    }

    pub(crate) fn pause(&mut self, machine: usize, accept: bool) {
        if self.machines[machine].is_on {
            self.happen_to(machine, Input::Accept(accept));
        }
    }

    /// A machine's process has ended, in order or not.
    pub(crate) fn left(&mut self, machine: usize) {
        self.machines[machine].is_on = false;
        self.machines[machine].life += 1;
        if let Some(link) = self.machines[machine].link.take() {
            self.wires.remove(&link);
            let wait = self.net.spread(MS, 20 * S);
            self.plan_in(wait, Event::HubLoses { link });
        }
        let wait = self.chaos.spread(S, 300 * S);
        self.plan_in(wait, Event::Begin { machine });
    }
}
