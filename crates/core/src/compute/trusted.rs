//! Machines of trusted owners, so that one which can make a check is found in logarithmic time.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, ByteSize, EngineId, JobId, Price, WorkerId};
use serde::{Deserialize, Serialize};

use super::owner::{Owner, Trust};
use super::schedule::remove;
use super::{Compute, Job, Worker};
use crate::JobSpec;
use crate::tree::{Summary, Tree};

/// The place of a machine: by its owner's kind of trust, then its owner.
pub(crate) type Seat = (Trust, AccountId, WorkerId);

/// How much a machine has to do already, and how much memory it has: the logarithms of both.
///
/// Machines of a class differ in their price only, as far as a search goes, so a summary that says how cheap they
/// are tells where one is. In a mixed tree almost every subtree has a cheap machine, an idle one and a large
/// one, and it takes a walk over all of them to find that none is all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Class {
    load: u32,
    memory: u32,
}

impl Class {
    fn of(worker: &Worker) -> Class {
        Class { load: Class::of_load(worker.load()), memory: Class::of_memory(worker.spec.memory) }
    }

    /// 0 for fewer than four runs per core, then one more for each doubling.
    fn of_load(load: u32) -> u32 {
        load.max(2).ilog2() - 1
    }

    fn of_memory(memory: ByteSize) -> u32 {
        memory.0.max(1).ilog2()
    }
}

/// Machines of trusted owners that may be given work, by engine and class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustedMachines(BTreeMap<EngineId, BTreeMap<Class, Machines>>);

/// Machines of a class.
type Machines = Tree<Seat, Spare, SpareOfMany>;

/// What a machine has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spare {
    ask: Price,
    memory: ByteSize,
}

/// The best of several machines in each respect.
#[derive(Clone, Debug)]
pub(crate) struct SpareOfMany {
    least_ask: Price,
    most_memory: ByteSize,
}

impl Summary<Spare> for SpareOfMany {
    fn of(spare: &Spare) -> SpareOfMany {
        SpareOfMany { least_ask: spare.ask, most_memory: spare.memory }
    }

    fn merge(&mut self, other: &SpareOfMany) {
        self.least_ask = self.least_ask.min(other.least_ask);
        self.most_memory = self.most_memory.max(other.most_memory);
    }
}

impl TrustedMachines {
    /// The first machine behind a seat, and not behind another, with what a job needs and with a load below
    /// this class.
    fn first_between(&self, job: &JobSpec, (after, end): (Seat, Seat), load_end: u32) -> Option<Seat> {
        let (bid, memory) = (job.bid, job.limits.memory);
        let least = Class::of_memory(memory);
        let suits = |class: &Class| class.load < load_end && class.memory >= least;
        let mut found = None;
        for (_, machines) in self.0.get(&job.engine)?.iter().filter(|(class, _)| suits(class)) {
            let first = machines.first_between(
                (Some(after), found.or(Some(end))),
                |many| many.least_ask <= bid && many.most_memory >= memory,
                |_, spare| spare.ask <= bid && spare.memory >= memory,
            );
            found = first.map(|(seat, _)| seat).or(found);
        }
        found
    }

    /// Brings a worker's seat up to date; `willing` is whether it may be given work.
    pub(super) fn note(&mut self, id: WorkerId, worker: &mut Worker, willing: bool) {
        let place = worker.trust.filter(|_| willing).map(|trust| (trust, Class::of(worker)));
        if worker.noted_trusted == place {
            return;
        }
        let (engine, owner) = (&worker.spec.engine, worker.owner);
        if let Some((trust, class)) = std::mem::replace(&mut worker.noted_trusted, place)
            && let Some(classes) = self.0.get_mut(engine)
        {
            remove(classes, &class, &(trust, owner, id));
            if classes.is_empty() {
                self.0.remove(engine);
            }
        }
        let Some((trust, class)) = place else { return };
        let spare = Spare { ask: worker.spec.ask, memory: worker.spec.memory };
        if !self.0.contains_key(engine) {
            self.0.insert(engine.clone(), BTreeMap::new());
        }
        if let Some(classes) = self.0.get_mut(engine) {
            classes.entry(class).or_default().insert((trust, owner, id), spare);
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
            let load_end = if urgent { u32::MAX } else { Worker::load_end(job, 2).next_power_of_two() };
            let load_end = Class::of_load(load_end);
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
        // No worker has the number 0, so this is before all of an owner's machines.
        let before = |owner| (trust, owner, WorkerId(0));
        let behind = |owner| (trust, owner, WorkerId(u64::MAX));
        let mut candidates = Self::CANDIDATES;
        for (mut after, end) in
            [(before(start), behind(AccountId(u64::MAX))), (before(AccountId(0)), before(start))]
        {
            // Owners that must not do it are passed by whole, and so are machines that this entry took away.
            while candidates > 0
                && let Some(seat) = self.trusted.first_between(&job.spec, (after, end), load_end)
            {
                candidates -= 1;
                let owner = seat.1;
                let record = self.owners.get(&owner).filter(|record| record.trust() == Some(trust));
                let last = record.and_then(|record| record.willing.last());
                let Some(last) = last.filter(|_| owner != job.owner && !not.contains(&owner)) else {
                    after = behind(owner);
                    continue;
                };
                let from = (trust, owner, WorkerId(draw % (last.0 + 1)));
                let drawn = self.trusted.first_between(&job.spec, (from, behind(owner)), load_end);
                let willing = |id: &WorkerId| self.worker(*id).is_some_and(Worker::is_willing);
                if let Some(id) = [drawn.unwrap_or(seat).2, seat.2].into_iter().find(willing) {
                    return Some(id);
                }
                after = seat;
            }
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
