//! What goes wrong, when, and how it ends.

use super::{Event, MS, S, World};
use crate::disk::Faults;
use crate::faults::Kind;
use crate::hub::LinkNumber;
use crate::machine::Character;
use crate::oracle::Holds;
use pumasi_core::Done;
use pumasi_protocol::Input;

/// Kinds that are drawn one by one; the others come with those whom they concern.
const DRAWN: &[Kind] = &[
    Kind::HubKill,
    Kind::HubStop,
    Kind::PowerLoss,
    Kind::DiskFull,
    Kind::DiskError,
    Kind::SyncError,
    Kind::ClockAhead,
    Kind::ClockBack,
    Kind::SlowDisk,
    Kind::Partition,
    Kind::LinkReset,
    Kind::SlowNetwork,
    Kind::WorkerCrash,
    Kind::WorkerFreeze,
    Kind::WorkerLeave,
    Kind::WorkerPause,
];

impl World {
    /// Something goes wrong, and the next thing is planned.
    pub(crate) fn go_wrong(&mut self) -> Holds {
        if self.is_resting {
            return Ok(());
        }
        let wait = self.chaos.spread(2 * S, 240 * S);
        self.plan_in(wait, Event::Chaos);
        let kind = *self.chaos.pick(DRAWN);
        if !self.scenario.kinds.has(kind) {
            return Ok(());
        }
        self.trace.mark(&[kind as u64]);
        self.say(|| format!("fault: {kind}"));
        self.tally.made(kind);
        match kind {
            Kind::HubKill | Kind::HubStop | Kind::PowerLoss => return self.end_hub(kind),
            Kind::DiskFull | Kind::DiskError | Kind::SyncError => self.spoil_disk(kind),
            Kind::ClockAhead | Kind::ClockBack => self.jump(kind),
            Kind::SlowDisk => self.slow_disk = true,
            Kind::SlowNetwork => {
                self.delay = self.chaos.spread(100 * MS, 20 * S);
                self.tally.seen(kind);
            }
            Kind::Partition => self.partition(),
            Kind::LinkReset => self.reset_some(),
            _ => self.trouble_machine(kind),
        }
        let wait = self.chaos.spread(S, 180 * S);
        self.plan_in(wait, Event::Heal { kind });
        Ok(())
    }

    fn end_hub(&mut self, kind: Kind) -> Holds {
        if self.hub.is_none() {
            return Ok(());
        }
        match kind {
            Kind::HubKill if self.chaos.once_in(2) => {
                let operations = self.chaos.spread(1, 400);
                self.disk.kill_in(operations);
                Ok(())
            }
            Kind::HubKill => {
                self.disk.kill();
                self.tally.seen(kind);
                self.hub_died("killed")
            }
            Kind::HubStop => {
                self.tally.seen(kind);
                if let Some(hub) = &mut self.hub {
                    // As a stop does; a snapshot that cannot be made only makes the next start longer.
                    let made = hub.cell.snapshot_now();
                    self.say(|| format!("hub: stops, {:?}", made.map_err(|error| error.to_string())));
                }
                self.hub = None;
                if self.machine_stopped() {
                    return self.hub_died("ended in a stop");
                }
                self.disk.kill();
                self.hub_gone();
                Ok(())
            }
            _ if self.chaos.once_in(3) => {
                self.disk.crash();
                self.hub_died("the power went away")
            }
            _ => {
                let operations = self.chaos.spread(1, 400);
                self.disk.crash_in(operations);
                Ok(())
            }
        }
    }

    fn spoil_disk(&mut self, kind: Kind) {
        self.faulty_disk = true;
        let once_in = self.chaos.spread(5, 400);
        match kind {
            Kind::DiskFull => {
                let free = self.chaos.spread(4 << 10, 4 << 20);
                self.disk.set_free(Some(free));
            }
            Kind::SyncError => self.disk.set_faults(Faults { sync_errors: once_in, ..Faults::default() }),
            _ => self.disk.set_faults(Faults {
                read_errors: once_in,
                write_errors: once_in,
                short_writes: once_in / 2 + 1,
                interruptions: once_in / 2 + 1,
                sync_errors: 0,
                name_errors: once_in,
            }),
        }
    }

    pub(crate) fn disk_is_sound(&self) -> bool {
        !self.faulty_disk
    }

    fn jump(&mut self, kind: Kind) {
        let span = match self.chaos.below(10) {
            0 => self.chaos.spread(3_600 * S, 3 * 86_400 * S),
            1..=3 => self.chaos.spread(60 * S, 7_200 * S),
            _ => self.chaos.spread(MS, 60 * S),
        };
        let sign = if kind == Kind::ClockAhead { 1 } else { -1 };
        if kind == Kind::ClockAhead {
            self.tally.seen(kind);
        }
        self.clock_ahead += sign * i128::from(span);
        self.say(|| format!("clock: jumps by {} s", sign * i128::from(span / S)));
        self.plan_due();
    }

    fn partition(&mut self) {
        let count = self.chaos.spread(1, self.machines.len() as u64);
        for _ in 0..count {
            let machine = self.chaos.below(self.machines.len() as u64) as usize;
            self.cut_off.insert(machine);
        }
    }

    fn reset_some(&mut self) {
        let count = self.chaos.spread(1, 10);
        for _ in 0..count {
            let links: Vec<LinkNumber> = self.wires.keys().copied().collect();
            if !links.is_empty() {
                let link = *self.chaos.pick(&links);
                self.tally.seen(Kind::LinkReset);
                self.reset_link(link);
            }
        }
    }

    fn trouble_machine(&mut self, kind: Kind) {
        let machine = self.chaos.below(self.machines.len() as u64) as usize;
        if !self.machines[machine].is_on {
            return;
        }
        match kind {
            Kind::WorkerCrash => {
                self.tally.seen(kind);
                self.left(machine);
            }
            Kind::WorkerFreeze => {
                let span = self.chaos.spread(S, 300 * S);
                let frozen_until = &mut self.machines[machine].frozen_until;
                *frozen_until = (*frozen_until).max(self.now + span);
            }
            Kind::WorkerLeave => {
                self.tally.seen(kind);
                self.happen_to(machine, Input::Leave);
                if self.chaos.once_in(2) {
                    self.happen_to(machine, Input::Abandon);
                }
            }
            _ => {
                self.tally.seen(kind);
                self.pause(machine, false);
                let wait = self.chaos.spread(S, 600 * S);
                self.plan_in(wait, Event::Pause { machine, accept: true });
            }
        }
    }

    pub(crate) fn heal(&mut self, kind: Kind) {
        match kind {
            Kind::DiskFull | Kind::DiskError | Kind::SyncError => {
                self.disk.set_faults(Faults::default());
                self.disk.set_free(None);
                self.faulty_disk = false;
            }
            Kind::SlowDisk => self.slow_disk = false,
            Kind::SlowNetwork => self.delay = 20 * MS,
            Kind::Partition => self.cut_off.clear(),
            _ => {}
        }
    }

    /// From now on nothing goes wrong any more; what is wrong is mended.
    pub(crate) fn stop_faults(&mut self) {
        self.say(|| "faults stop".to_owned());
        self.is_resting = true;
        for kind in DRAWN {
            self.heal(*kind);
        }
        self.disk.cancel_stop();
        // Whoever sets the clock right never sets it before what the log says.
        let head = i128::from(self.oracle.head.time.0) - i128::from(self.hub_clock().0);
        self.clock_ahead += head.max(0);
        for machine in 0..self.machines.len() {
            self.machines[machine].set_faulty(0);
            self.machines[machine].slowness = 1;
            self.pause(machine, true);
        }
        self.plan_due();
    }

    /// At rest: everything is checked once more, by itself and against what clients were told.
    pub(crate) fn last_checks(&mut self) -> Holds {
        self.check_all(true)?;
        self.oracle.sales.check_stock(&self.oracle.state)?;
        for machine in &self.machines {
            let Character { lies, fuel, .. } = machine.character;
            let record = self.oracle.state.owner(machine.owner);
            let noticed = record.is_some_and(|owner| owner.outvoted > 0 || owner.caught_at.is_some());
            let mattered = noticed || self.oracle.judge.winners.contains(&machine.owner);
            if lies + fuel > 0 && mattered {
                self.tally.seen(machine.character.kind());
            }
        }
        for client in &self.clients {
            let Some(account) = client.account else { continue };
            let told: Vec<&Done> =
                client.record.iter().filter_map(|(_, _, answer)| answer.as_ref().ok()).collect();
            self.oracle.only_asked(account, &told)?;
            for (_, command, answer) in &client.record {
                self.oracle.stands(account, command, answer)?;
            }
        }
        Ok(())
    }
}
