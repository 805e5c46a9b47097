//! Machines of trusted owners, so that one which can make a check is found in logarithmic time.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, ByteSize, EngineId, JobId, Price, WorkerId};
use serde::{Deserialize, Serialize};

use super::index::{Needs, Owners};
use super::owner::{Owner, Trust};
use super::schedule::remove;
use super::{Compute, Job, Worker};
use crate::tree::{Summary, Tree};

/// The place of a machine: by its owner's kind of trust, then its owner.
pub(crate) type Seat = (Trust, AccountId, WorkerId);

/// Machines of trusted owners that may be given work, by engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustedMachines(BTreeMap<EngineId, Tree<Seat, Spare, SpareOfMany>>);

/// What a machine has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spare {
    ask: Price,
    memory: ByteSize,
    /// Whole runs per core that it has already.
    load: u32,
}

/// The best of several machines in each respect.
#[derive(Clone, Debug)]
pub(crate) struct SpareOfMany {
    least_ask: Price,
    most_memory: ByteSize,
    least_load: u32,
}

impl Summary<Spare> for SpareOfMany {
    fn of(spare: &Spare) -> SpareOfMany {
        SpareOfMany { least_ask: spare.ask, most_memory: spare.memory, least_load: spare.load }
    }

    fn merge(&mut self, other: &SpareOfMany) {
        self.least_ask = self.least_ask.min(other.least_ask);
        self.most_memory = self.most_memory.max(other.most_memory);
        self.least_load = self.least_load.min(other.least_load);
    }
}

impl TrustedMachines {
    /// The first machine behind a seat with what a job needs and with less than this load.
    fn first_after(&self, engine: &EngineId, after: Seat, needs: &Needs, load_end: u32) -> Option<Seat> {
        let (bid, memory) = (needs.bid, needs.memory);
        let found = self.0.get(engine)?.first_after(
            Some(after),
            |many| many.least_ask <= bid && many.most_memory >= memory && many.least_load < load_end,
            |_, spare| spare.ask <= bid && spare.memory >= memory && spare.load < load_end,
        );
        found.map(|(seat, _)| seat)
    }

    /// Brings a worker's seat up to date; `willing` is whether it may be given work.
    pub(super) fn note(&mut self, id: WorkerId, worker: &mut Worker, willing: bool) {
        let seat = worker.trust.filter(|_| willing).map(|trust| (trust, worker.load()));
        if worker.noted_trusted == seat {
            return;
        }
        let before = std::mem::replace(&mut worker.noted_trusted, seat).map(|(trust, _)| trust);
        let engine = &worker.spec.engine;
        if let Some(trust) = before.filter(|before| seat.map(|(trust, _)| trust) != Some(*before)) {
            remove(&mut self.0, engine, &(trust, worker.owner, id));
        }
        let Some((trust, load)) = seat else { return };
        let (seat, spare) =
            ((trust, worker.owner, id), Spare { ask: worker.spec.ask, memory: worker.spec.memory, load });
        match self.0.get_mut(engine) {
            Some(machines) => drop(machines.insert(seat, spare)),
            None => drop(self.0.insert(engine.clone(), Tree::from_iter([(seat, spare)]))),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Panics unless it is what the workers say.
    pub(super) fn sanity_check<'a>(&self, workers: impl Iterator<Item = (WorkerId, &'a Worker)>) {
        let mut expected = TrustedMachines::default();
        for (id, worker) in workers {
            let mut copy = Worker { noted_trusted: None, ..worker.clone() };
            expected.note(id, &mut copy, worker.is_willing());
            assert_eq!(copy.noted_trusted, worker.noted_trusted, "worker {id} has a seat");
        }
        assert_eq!(&expected, self, "machines of trusted owners");
    }
}

impl Compute {
    /// A machine of a trusted owner that can do a run of this job: one that is vouched for if there is any,
    /// else a proven one's if that is trust enough. Those with much to do are passed over unless it is urgent.
    ///
    /// Owners are drawn and not machines, so that many machines do not make it likelier to check a friend.
    pub(super) fn pick(
        &mut self,
        job_id: JobId,
        not: &[AccountId],
        urgent: bool,
        oath: Trust,
    ) -> Option<WorkerId> {
        let draws = [self.entropy.next(), self.entropy.next()];
        let job = self.jobs.get(&job_id)?;
        let kinds = [(Trust::Vouched, &self.vouched), (Trust::Proven, &self.proven)];
        kinds.into_iter().filter(|(trust, _)| *trust <= oath).find_map(|(trust, roster)| {
            let start = roster.list.get((draws[0] % roster.list.len().max(1) as u64) as usize)?;
            let load_end = if urgent { u32::MAX } else { Worker::load_end(job, 2) };
            self.machine_from(job, (trust, *start), not, load_end, draws[1])
        })
    }

    /// A machine of the first owner of a kind who has one, beginning with `start` and going round.
    fn machine_from(
        &self,
        job: &Job,
        (trust, start): (Trust, AccountId),
        not: &[AccountId],
        load_end: u32,
        draw: u64,
    ) -> Option<WorkerId> {
        let needs = Needs::of(&job.spec, Owners::default());
        let first = |after| self.trusted.first_after(&job.spec.engine, after, &needs, load_end);
        // No worker has the number 0, so this is before all of an owner's machines.
        let before = |owner| (trust, owner, WorkerId(0));
        let (mut after, mut round) = (before(start), 0);
        // Owners that must not do it are passed by whole, and so are machines that this entry took away.
        for _ in 0..Self::CANDIDATES {
            let Some(seat) = first(after).filter(|seat| seat.0 == trust && (round == 0 || seat.1 < start))
            else {
                if round == 1 {
                    return None;
                }
                (after, round) = (before(AccountId(0)), 1);
                continue;
            };
            let owner = seat.1;
            let record = self.owners.get(&owner).filter(|record| record.trust() == Some(trust));
            let last = record.and_then(|record| record.willing.last());
            let Some(last) = last.filter(|_| owner != job.owner && !not.contains(&owner)) else {
                after = (trust, owner, WorkerId(u64::MAX));
                continue;
            };
            let drawn = first((trust, owner, WorkerId(draw % (last.0 + 1)))).filter(|other| other.1 == owner);
            let willing = |id: &WorkerId| self.worker(*id).is_some_and(Worker::is_willing);
            if let Some(id) = [drawn.unwrap_or(seat).2, seat.2].into_iter().find(willing) {
                return Some(id);
            }
            after = seat;
        }
        None
    }

    /// How many owners and machines are looked at to find one.
    const CANDIDATES: usize = 32;

    /// Notes whether an owner can be asked for checks.
    pub(super) fn note_owner(&mut self, id: AccountId) {
        let Some(owner) = self.owners.get(&id) else { return };
        let trust = owner.trust().filter(|_| !owner.willing.is_empty());
        self.vouched.put(id, trust == Some(Trust::Vouched));
        self.proven.put(id, trust == Some(Trust::Proven));
    }

    /// Notes that a worker takes work, or does not any more.
    pub(super) fn note_willing(&mut self, owner: AccountId, worker: WorkerId, willing: bool) {
        let record = self.owners.entry(owner).or_default();
        let before = record.willing.is_empty();
        if willing {
            record.willing.insert(worker);
        } else {
            record.willing.remove(&worker);
        }
        if before != record.willing.is_empty() {
            self.note_owner(owner);
        }
    }

    /// Panics unless owners and machines are noted as they are.
    pub(super) fn check_trusted(&self) {
        let can = |trust| {
            let can = |owner: &&Owner| owner.trust() == Some(trust) && !owner.willing.is_empty();
            self.owners.iter().filter(|(_, owner)| can(owner)).map(|(id, _)| *id).collect()
        };
        self.vouched.sanity_check(&can(Trust::Vouched));
        self.proven.sanity_check(&can(Trust::Proven));
        self.trusted.sanity_check(self.workers());
    }
}
