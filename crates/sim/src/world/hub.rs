//! The life of the hub: its steps, its ends, its starts, and what is checked at each.

use std::sync::PoisonError;

use pumasi_cell::CellFailure;
use pumasi_core::{Answer, Command};
use pumasi_log::{Log, LogError, Note};
use pumasi_types::WorkerId;

use super::{Event, MS, S, World};
use crate::disk::Faults;
use crate::faults::Kind;
use crate::files;
use crate::hub::{self, GRACE, Hub, LEASE, LinkNumber, Out, Reply};
use crate::oracle::{Holds, Violation, require};
use crate::sabotage::Sabotage;
use crate::tap;

/// The hub looks for what is due this often.
const TICK: u64 = 100 * MS;
/// What is due happens within this time while the hub runs.
const LATE_MAX: u64 = 60 * S;
/// Steps between comparisons of the hub's state with the oracle's.
const COMPARE: u64 = 100;
/// Steps between walks through everything.
const WALK: u64 = 1_000;

impl World {
    /// The hub has something to do.
    pub(crate) fn wake_hub(&mut self) {
        let is_asked = self.hub.as_ref().is_some_and(|hub| hub.is_asked);
        if is_asked && !self.is_stepping {
            self.is_stepping = true;
            self.plan_in(20_000, Event::Step { life: self.hub_life });
        }
    }

    /// One step of the hub's loop; what it leads to leaves once the disk has it.
    pub(crate) fn step(&mut self, life: u64) -> Holds {
        if life != self.hub_life {
            return Ok(());
        }
        let clock = self.hub_clock();
        let Some(hub) = &mut self.hub else { return Ok(()) };
        self.steps += 1;
        if hub.cell.log().head().time > clock {
            self.tally.seen(Kind::ClockBack);
        }
        let draws = &mut self.draws;
        let mut seed = || u128::from(draws.roll()) << 64 | u128::from(draws.roll());
        let stepped = hub.step(clock, &mut seed);
        if self.machine_stopped() {
            return self.hub_died("ended in a step");
        }
        let out = match stepped {
            Ok(out) => out,
            Err(error) => return self.hub_failed(&error),
        };
        self.follow()?;
        let took = self.disk_time();
        self.plan_in(took, Event::Deliver { life, out });
        self.keep_house()
    }

    fn disk_time(&mut self) -> u64 {
        if self.slow_disk {
            self.tally.seen(Kind::SlowDisk);
            return self.net.spread(10 * MS, 4 * S);
        }
        self.net.spread(MS / 10, 5 * MS)
    }

    /// The oracle follows what became durable.
    fn follow(&mut self) -> Holds {
        let truth = World::truth();
        for (head, payload) in tap::take(&self.tapped) {
            self.trace
                .mark(&[u64::from_le_bytes(head.hash.as_bytes()[..8].try_into().expect("eight bytes"))]);
            self.oracle.follow(head, &payload, &truth)?;
        }
        let Some(hub) = &self.hub else { return Ok(()) };
        let settled = *hub.cell.settled().lock().unwrap_or_else(PoisonError::into_inner);
        let (head, last) = (self.oracle.head, self.oracle.state.ledger().last_transfer());
        require((settled.head, settled.last) == (head, last), || {
            format!("all is said to be settled up to {settled:?}, not transfer {last} at entry {}", head.seq)
        })?;
        self.oracle.state.sanity_check();
        if self.steps.is_multiple_of(WALK) {
            self.check_all(false)?;
        } else if self.steps.is_multiple_of(COMPARE) {
            self.oracle.compare(hub.cell.state(), "the hub's state")?;
        }
        Ok(())
    }

    /// Snapshots and trimming, which may fail and change nothing then.
    fn keep_house(&mut self) -> Holds {
        let Some(hub) = &mut self.hub else { return Ok(()) };
        let kept = hub.keep_house(self.snapshot_every, self.trim);
        if self.machine_stopped() {
            return self.hub_died("ended in a snapshot");
        }
        match kept {
            Ok(None) => {}
            Ok(Some(head)) => self.say(|| format!("hub: snapshot at {}", head.seq)),
            Err(error) => {
                self.saw_disk_error();
                self.say(|| format!("hub: no snapshot: {error}"));
                // The loop hears of it as of any other work.
                self.hub.iter_mut().for_each(|hub| hub.is_asked = true);
                self.wake_hub();
            }
        }
        Ok(())
    }

    /// Everything that can be checked while the hub runs.
    pub(crate) fn check_all(&mut self, thorough: bool) -> Holds {
        let Some(hub) = &self.hub else { return Ok(()) };
        self.oracle.compare(hub.cell.state(), "the hub's state")?;
        self.oracle.check_all(&World::truth())?;
        if thorough {
            self.oracle.check_journal(&self.disk, true)?;
            self.oracle.check_left(&self.disk)?;
            let segment_bytes = self.segment_bytes;
            self.oracle.check_replay(&self.disk, segment_bytes, true)?;
        }
        Ok(())
    }

    /// The hub's loop stopped by itself.
    fn hub_failed(&mut self, error: &CellFailure) -> Holds {
        self.saw_disk_error();
        let full = matches!(error, CellFailure::Log(LogError::DiskFull { .. }))
            || error.to_string().contains("no space");
        if full {
            self.tally.seen(Kind::DiskFull);
        }
        self.say(|| format!("hub: stopped: {error}"));
        self.disk.kill();
        self.hub_gone();
        Ok(())
    }

    fn saw_disk_error(&mut self) {
        let counts = self.disk.counts();
        if counts.sync_errors > 0 {
            self.tally.seen(Kind::SyncError);
        }
        if counts.read_errors + counts.write_errors + counts.name_errors > 0 {
            self.tally.seen(Kind::DiskError);
        }
        if counts.full > 0 {
            self.tally.seen(Kind::DiskFull);
        }
    }

    /// Whether the hub's process is dead, or its machine without power.
    pub(crate) fn machine_stopped(&self) -> bool {
        self.disk.is_off() || self.disk.life() != self.disk_life
    }

    /// The hub's process or machine ended.
    pub(crate) fn hub_died(&mut self, why: &'static str) -> Holds {
        self.crashes += 1;
        self.tally.seen(if self.disk.is_off() { Kind::PowerLoss } else { Kind::HubKill });
        self.say(|| format!("hub: {why}"));
        self.hub_gone();
        Ok(())
    }

    /// All links of the hub are gone, and it is started again after a while.
    pub(crate) fn hub_gone(&mut self) {
        self.hub = None;
        self.hub_life += 1;
        self.is_stepping = false;
        // What was not confirmed may be in the log or not.
        tap::take(&self.tapped);
        let links: Vec<LinkNumber> = self.wires.keys().copied().collect();
        for link in links {
            self.reset_link(link);
        }
        let wait = self.chaos.spread(100 * MS, 60 * S);
        self.plan_in(wait, Event::HubStart);
    }

    pub(crate) fn start_hub(&mut self) -> Holds {
        if self.hub.is_some() {
            return Ok(());
        }
        if self.disk.is_off() {
            self.disk.reboot();
        }
        self.starts += 1;
        self.disk.set_now(self.hub_clock());
        if self.scenario.kinds.has(Kind::BitRot) && self.starts > 1 && !self.is_resting {
            self.rot()?;
        }
        // Power goes in restarts too.
        if self.scenario.kinds.has(Kind::PowerLoss) && !self.is_resting && self.chaos.once_in(6) {
            let operations = self.chaos.spread(1, 200);
            self.disk.crash_in(operations);
            self.tally.made(Kind::PowerLoss);
        }
        self.disk_life = self.disk.life();
        let opened = hub::open(&self.disk, self.segment_bytes);
        if self.machine_stopped() {
            drop(opened);
            return self.hub_died("ended in a start");
        }
        let (restored, notes) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.start_failed(&error),
        };
        for note in &notes {
            self.say(|| format!("hub: {note}"));
        }
        let oracle = &mut self.oracle;
        self.disk.at_peace(|| oracle.after_restart(&restored.log, &restored.state, &World::truth()))?;
        if self.starts > 1 {
            self.oracle.check_all(&World::truth())?;
            self.oracle.check_journal(&self.disk, true)?;
            self.oracle.check_left(&self.disk)?;
        }
        let replayed = restored.replayed;
        self.say(|| format!("hub: started, {replayed} entries replayed"));
        let hub = Hub::start(restored, self.tapped.clone(), self.sabotage, self.starts - 1);
        self.overdue = None;
        for gone in hub.busy() {
            self.lose_later(gone.worker, gone.link);
        }
        self.hub = Some(hub);
        self.plan_in(S, Event::Carry { life: self.hub_life });
        if self.clients[0].account.is_none() {
            self.open_operator();
        }
        self.wake_hub();
        Ok(())
    }

    /// A start may fail while the disk does; on a sound disk it must not.
    fn start_failed(&mut self, error: &CellFailure) -> Holds {
        let is_sound = self.disk_is_sound();
        self.saw_disk_error();
        self.say(|| format!("hub: cannot start: {error}"));
        require(!is_sound, || format!("the hub does not start on a sound disk: {error}"))?;
        self.disk.kill();
        // Its operator looks after the disk.
        self.disk.set_faults(Faults::default());
        self.disk.set_free(None);
        self.faulty_disk = false;
        self.hub_gone();
        Ok(())
    }

    /// A bit rots on a copy of the disk: it is noticed, or changes nothing.
    fn rot(&mut self) -> Holds {
        for _ in 0..3 {
            let files: Vec<_> = self.disk.files().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
            if files.is_empty() {
                return Ok(());
            }
            let (path, bytes) = self.chaos.pick(&files).clone();
            let at = self.chaos.below(bytes);
            let copy = self.disk.sound_copy(at);
            copy.kill();
            let Some(at) = copy.rot(&path, at..at + 1) else { continue };
            self.tally.made(Kind::BitRot);
            self.say(|| format!("disk: a bit rots in byte {at} of {}", path.display()));
            match hub::open(&copy, self.segment_bytes) {
                Err(error) => {
                    self.tally.seen(Kind::BitRot);
                    self.say(|| format!("disk: noticed: {error}"));
                }
                Ok((restored, notes)) => {
                    let cut = notes.iter().any(|note| matches!(note, Note::TailCut { .. }));
                    let behind = restored.log.head().seq < self.oracle.head.seq;
                    if cut && behind {
                        // The last write before a crash cannot be told from one that was never complete.
                        self.tally.seen(Kind::BitRot);
                        require(restored.log.head().seq.next() == self.oracle.head.seq, || {
                            format!(
                                "a bit rotted in byte {at} of {}: more than the last entry was cut",
                                path.display()
                            )
                        })?;
                        continue;
                    }
                    let mut oracle = self.oracle.clone();
                    oracle.after_restart(&restored.log, &restored.state, &World::truth()).map_err(
                        |Violation(text)| {
                            Violation(format!("a bit rotted in byte {at} of {}: {text}", path.display()))
                        },
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The hub brings events to webhooks, fetches files and lets visitors in, and reports on the way to the log what came
    /// of it.
    pub(crate) fn carry(&mut self, life: u64) {
        if life != self.hub_life || self.hub.is_none() {
            return;
        }
        let clock = self.hub_clock();
        let reports = self.oracle.carry(clock, &mut self.told);
        let fetched = files::report(&self.oracle.state, &mut self.told);
        let visit = files::visit(&self.oracle.state, &mut self.told);
        let Some(hub) = &mut self.hub else { return };
        if !reports.is_empty() {
            hub.tell(Command::ReportWebhooks(reports));
        }
        fetched.into_iter().chain(visit).for_each(|command| hub.attempt(command));
        self.wake_hub();
        let wait = self.told.spread(S, 300 * S);
        self.plan_in(wait, Event::Carry { life });
    }

    /// Something may be due in the state: the hub looks every 100 ms.
    pub(crate) fn plan_due(&mut self) {
        let Some(hub) = &self.hub else { return };
        let Some(due) = hub.cell.state().next_due() else { return };
        // The hub's clock may go faster than the world's.
        let wait = due.since(self.hub_clock()).0.min(LATE_MAX / 2);
        let at = (self.now + wait).next_multiple_of(TICK);
        self.due += 1;
        self.plan(at.max(self.now + 1), Event::Due { life: self.hub_life, number: self.due });
    }

    pub(crate) fn something_due(&mut self, life: u64, number: u64) {
        if life != self.hub_life || number != self.due {
            return;
        }
        let clock = self.hub_clock();
        let Some(hub) = &mut self.hub else { return };
        match hub.cell.state().next_due() {
            Some(due) if due <= clock && !hub.breaks_late(Sabotage::DeadClock) => {
                hub.tell(Command::Tick);
                self.wake_hub();
            }
            _ => self.plan_due(),
        }
    }

    /// What is due happens soon, whatever the hub's clock did.
    pub(crate) fn is_on_time(&mut self) -> Holds {
        let clock = self.hub_clock();
        let due = self.hub.as_ref().and_then(|hub| hub.cell.state().next_due());
        let Some(due) = due.filter(|due| *due <= clock) else {
            self.overdue = None;
            return Ok(());
        };
        // What is due later than before is something else: it happened meanwhile.
        let before = self.overdue.filter(|(at, _)| due <= *at);
        let (_, since) = *self.overdue.insert(before.unwrap_or((due, self.now)));
        require(self.now <= since + LATE_MAX, || format!("what was due at {due:?} has not happened"))
    }

    /// What a step led to leaves the hub.
    pub(crate) fn deliver(&mut self, life: u64, out: Vec<Out>) -> Holds {
        if life != self.hub_life {
            return Ok(());
        }
        self.is_stepping = false;
        for out in out {
            match out {
                Out::Answer(reply, answer) => self.reply(reply, answer)?,
                Out::Message(link, message) => self.send_to_machine(link, message),
                Out::Over(attempt, job) => self.job_over(attempt, job)?,
            }
        }
        let cut = self.hub.as_mut().map(Hub::cut_off).unwrap_or_default();
        for link in cut {
            self.end_link(link);
        }
        self.plan_due();
        self.wake_hub();
        Ok(())
    }

    fn reply(&mut self, reply: Reply, answer: Answer) -> Holds {
        match reply {
            Reply::Client(attempt) => self.send_answer(attempt, answer),
            Reply::Attach(link) => {
                let Some(hub) = &mut self.hub else { return Ok(()) };
                if !hub.attached(link, &answer) {
                    self.end_link(link);
                }
            }
            Reply::Report(link, id) => match pumasi_cell::link::ack(id, &answer) {
                Some(message) => {
                    if let Ok(pumasi_core::Done::Reported { refused }) = &answer
                        && !refused.is_empty()
                    {
                        self.tally.seen(Kind::ForeignRuns);
                    }
                    self.send_to_machine(link, message);
                }
                None => self.end_link(link),
            },
            Reply::Status(link) if answer.is_err() => self.end_link(link),
            Reply::Status(_) | Reply::Try => {}
            Reply::Own => {
                return require(answer.is_ok(), || format!("the hub's own command was refused: {answer:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn lose_later(&mut self, worker: WorkerId, link: u64) {
        self.plan_in(GRACE.0, Event::Lose { life: self.hub_life, worker, link });
    }

    pub(crate) fn lose(&mut self, life: u64, worker: WorkerId, link: u64) {
        if life != self.hub_life {
            return;
        }
        if let Some(hub) = &mut self.hub {
            hub.tell(Command::LoseWorker { worker, link });
            self.wake_hub();
        }
    }

    /// A link on which nothing was said for the lease's time ends.
    pub(crate) fn lease(&mut self, life: u64, link: LinkNumber) {
        if life != self.hub_life {
            return;
        }
        let Some(heard) = self.hub.as_ref().and_then(|hub| hub.heard(link)) else { return };
        match heard + LEASE.0 {
            until if until > self.now => self.plan(until, Event::Lease { life, link }),
            _ => self.end_link(link),
        }
    }
}
