//! The step: commands become durable, then part of the state, then answers and messages.

use std::sync::{Arc, Mutex, PoisonError};

use pumasi_core::{Action, Answer, Command, Request, State, encode_request};
use pumasi_log::{Head, Log, SnapshotStore};
use pumasi_types::{Duration, EventId, JobId, Time, TransferId, WorkerId};

use crate::outbox::{Outbox, Outlet};
use crate::snapshots::{self, SnapshotWork};
use crate::{CellFailure, Derived, Restored};

/// Payload after which an entry is closed, in bytes.
pub const ENTRY_BYTES: usize = 4 << 20;
/// The longest request that a gateway may let in, encoded, in bytes: an entry of the log must have room for
/// it behind another that is not full yet.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Looks at the state now, and delivers what it saw later.
pub type Look = Box<dyn FnOnce(&State) -> Box<dyn FnOnce() + Send> + Send>;

/// What is to be done once a request's entry is durable, besides answering it.
enum Then<L> {
    Nothing,
    /// From now on the worker's messages go here.
    Attach(L),
    /// No more messages to this link.
    Detach(WorkerId, u64),
}

/// Everything that one step takes on.
pub struct Batch<O: Outlet> {
    requests: Vec<Request>,
    replies: Vec<(Then<O::Link>, O::Reply)>,
    looks: Vec<Look>,
    /// What the looks saw, delivered once it is durable.
    seen: Vec<Box<dyn FnOnce() + Send>>,
    waiters: Vec<(JobId, O::Waiter)>,
}

impl<O: Outlet> Default for Batch<O> {
    fn default() -> Self {
        Batch {
            requests: Vec::new(),
            replies: Vec::new(),
            looks: Vec::new(),
            seen: Vec::new(),
            waiters: Vec::new(),
        }
    }
}

impl<O: Outlet> Batch<O> {
    /// Adds a request.
    pub fn ask(&mut self, request: Request, reply: O::Reply) {
        let then = match request.command {
            Command::DetachWorker { worker, link } => Then::Detach(worker, link),
            _ => Then::Nothing,
        };
        self.requests.push(request);
        self.replies.push((then, reply));
    }

    /// Adds a [`Command::AttachWorker`]: the link is known before anything is sent to the worker.
    pub fn attach(&mut self, request: Request, link: O::Link, reply: O::Reply) {
        self.requests.push(request);
        self.replies.push((Then::Attach(link), reply));
    }

    /// Adds a look at the state after all requests of the batch.
    pub fn look(&mut self, look: Look) {
        self.looks.push(look);
    }

    /// Adds somebody who waits until a job is over.
    pub fn wait_for(&mut self, job: JobId, waiter: O::Waiter) {
        self.waiters.push((job, waiter));
    }
}

/// How far everything is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The last durable entry.
    pub head: Head,
    /// The last transfer up to there: they are numbered from 1 without gaps, and the journal holds all up to
    /// this one.
    pub last: TransferId,
    /// The last event up to there; the same holds for them.
    pub last_event: EventId,
}

impl Settled {
    fn of(head: Head, state: &State) -> Settled {
        Settled { head, last: state.ledger().last_transfer(), last_event: state.market().last_event() }
    }
}

/// A cell at work.
pub struct Cell<L, O: Outlet> {
    log: L,
    state: State,
    derived: Derived,
    snapshots: SnapshotStore,
    outbox: Outbox<O>,
    settled: Arc<Mutex<Settled>>,
    /// Payload bytes since the last snapshot; none while one is being made.
    since_snapshot: Option<u64>,
    snapshot: Head,
    payload: Vec<u8>,
    entry: Vec<Request>,
    /// How many requests at the beginning of the entry are the cell's own.
    own: usize,
}

impl<L: Log, O: Outlet> Cell<L, O> {
    /// Goes on from what was restored. Workers that are silent for longer than `lease` lose their link.
    pub fn new(restored: Restored<L>, lease: Duration) -> Cell<L, O> {
        let Restored { log, state, derived, snapshots, snapshot, .. } = restored;
        let settled = Settled::of(log.head(), &state);
        Cell {
            log,
            state,
            derived,
            snapshots,
            outbox: Outbox::new(lease),
            settled: Arc::new(Mutex::new(settled)),
            since_snapshot: Some(0),
            snapshot,
            payload: Vec::new(),
            entry: Vec::new(),
            own: 0,
        }
    }

    /// Makes a batch durable and part of the state, then lets its answers and messages out.
    ///
    /// A batch without requests lets a state that [is behind](State::is_behind) go on with what was too much for
    /// one entry. `now` is the clock's time; it may jump, the log's time does not run backwards. `seed` own what nobody
    /// can foresee; every entry with reports begins with one, and the first of a process.
    ///
    /// # Errors
    /// The cell has stopped then: its state may be ahead of the log and must not be seen any more. What is
    /// still in the batch was not answered.
    pub fn step(
        &mut self,
        now: Time,
        seed: &mut dyn FnMut() -> u128,
        batch: &mut Batch<O>,
        outlet: &mut O,
    ) -> Result<(), CellFailure> {
        // What a snapshot's failed sync dropped is written again by the next start, and by nobody before.
        self.derived.check()?;
        let mut answers = Vec::with_capacity(batch.requests.len());
        let mut actions = Vec::new();
        let mut requests = std::mem::take(&mut batch.requests).into_iter();
        if requests.as_slice().is_empty() && self.state.is_behind() {
            self.form_tick();
            self.enter(now, &mut answers, &mut actions, outlet)?;
        }
        while !requests.as_slice().is_empty() {
            self.form(&mut requests, seed);
            self.enter(now, &mut answers, &mut actions, outlet)?;
        }
        batch.seen.extend(batch.looks.drain(..).map(|look| look(&self.state)));
        self.log.wait(self.log.head().seq)?;
        let settled = Settled::of(self.log.head(), &self.state);
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
        for ((then, reply), answer) in batch.replies.drain(..).zip(answers) {
            match then {
                Then::Nothing => {}
                Then::Attach(link) => self.outbox.attached(&answer, link, outlet),
                Then::Detach(..) if answer.is_err() => {}
                Then::Detach(worker, link) => self.outbox.detached(worker, link),
            }
            outlet.answer(reply, answer);
        }
        self.outbox.carry_out(&self.state, actions, outlet);
        batch.seen.drain(..).for_each(|deliver| deliver());
        for (job, waiter) in batch.waiters.drain(..) {
            self.outbox.wait_for(&self.state, job, waiter, outlet);
        }
        Ok(())
    }

    /// Takes and encodes as many requests as one entry should hold.
    fn form(&mut self, requests: &mut std::vec::IntoIter<Request>, seed: &mut dyn FnMut() -> u128) {
        self.payload.clear();
        self.entry.clear();
        // The first entry of a process begins with one as well, so that nobody foresees what its tables use.
        let draws = |request: &Request| matches!(request.command, Command::Report { .. } | Command::Start);
        if requests.as_slice().iter().any(draws) {
            let command = Command::Draw { seed: seed() };
            self.add(Request { caller: State::SYSTEM, id: None, command });
        }
        self.own = self.entry.len();
        while self.payload.len() < ENTRY_BYTES
            && let Some(request) = requests.next()
        {
            self.add(request);
        }
    }

    /// An entry of the cell's own, for work that was left.
    fn form_tick(&mut self) {
        self.payload.clear();
        self.entry.clear();
        self.add(Request { caller: State::SYSTEM, id: None, command: Command::Tick });
        self.own = self.entry.len();
    }

    fn add(&mut self, request: Request) {
        encode_request(&mut self.payload, &request);
        self.entry.push(request);
    }

    /// Logs and applies the entry that was formed; the disk may still be writing when this returns.
    fn enter(
        &mut self,
        now: Time,
        answers: &mut Vec<Answer>,
        actions: &mut Vec<Action>,
        outlet: &mut O,
    ) -> Result<(), CellFailure> {
        let time = now.max(self.log.head().time);
        self.log.submit(time, &self.payload)?;
        let applied = self.state.apply(time, &self.entry);
        self.derived.write(&applied.effects)?;
        outlet.entered(self.entry.len() - self.own, self.payload.len(), applied.effects.transfers.len());
        if let Some(bytes) = &mut self.since_snapshot {
            *bytes += self.payload.len() as u64;
        }
        answers.extend(applied.answers.into_iter().skip(self.own));
        actions.extend(applied.effects.actions);
        Ok(())
    }

    /// The state. After a step all of it is durable.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// How far everything is durable, kept up to date.
    pub fn settled(&self) -> &Arc<Mutex<Settled>> {
        &self.settled
    }

    /// A snapshot to be made, if `every` bytes of payload were logged since the last one and none is being made.
    /// What comes of it goes to [`Cell::snapshot_done`].
    ///
    /// # Errors
    /// When the log cannot be read; the cell goes on.
    pub fn due_snapshot(&mut self, every: u64) -> Result<Option<SnapshotWork>, CellFailure> {
        if self.since_snapshot.is_none_or(|bytes| bytes < every) {
            return Ok(None);
        }
        self.since_snapshot = Some(0);
        let entries = self.log.read(self.snapshot.seq.next())?;
        self.since_snapshot = None;
        Ok(Some(SnapshotWork::new(self.snapshots.clone(), self.derived.clone(), entries)))
    }

    /// A snapshot was made up to here; none: it could not be made. The next is due after as many bytes again,
    /// because the log holds everything.
    pub fn snapshot_done(&mut self, made: Option<Head>) {
        self.since_snapshot = Some(0);
        self.snapshot = made.unwrap_or(self.snapshot);
    }

    /// Lets the log forget what all kept snapshots contain.
    ///
    /// # Errors
    /// When snapshots or log cannot be looked at or trimmed; the cell goes on.
    pub fn trim(&mut self) -> Result<(), CellFailure> {
        let covered = self.snapshots.covered()?;
        Ok(self.log.trim(covered.next())?)
    }

    /// Makes a last snapshot of what came after the one before, so that the next start is quick, and returns
    /// where it ends and how many bytes it has; none when nothing came.
    ///
    /// # Errors
    /// When it cannot be written; the next start replays the log.
    pub fn snapshot_now(&mut self) -> Result<Option<(Head, u64)>, CellFailure> {
        let head = self.log.head();
        if head.seq <= self.snapshot.seq {
            return Ok(None);
        }
        let bytes = snapshots::write(&self.snapshots, &self.derived, &self.state, head)?;
        self.snapshot_done(Some(head));
        Ok(Some((head, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use pumasi_log::{FileLog, FileLogOptions};
    use pumasi_types::CellId;

    use super::*;

    #[test]
    fn every_request_that_gateways_let_in_fits_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let log = FileLog::open(dir.path(), FileLogOptions::new(CellId(0))).unwrap().log;
        assert!(log.payload_bytes_max() >= (ENTRY_BYTES + REQUEST_BYTES_MAX) as u64);
    }
}
