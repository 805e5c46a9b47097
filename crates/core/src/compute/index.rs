//! What the scheduler's trees hold, and know of many jobs, workers or tasks at once.

use pumasi_types::{AccountId, ByteSize, JobId, Price, TaskIndex, WorkerId};
use serde::{Deserialize, Serialize};

use crate::JobSpec;
use crate::tree::{Summary, Tree};

/// The place of a job among the ready ones: by falling priority, then by age.
pub(crate) type Rank = (i32, JobId);
/// The place of a worker among those with idle cores: by rising price.
pub(crate) type Place = (Price, WorkerId);
/// Jobs of one engine with queued runs.
pub(crate) type ReadyJobs = Tree<Rank, Needs, NeedsOfMany>;
/// Workers of one engine with idle cores.
pub(crate) type HungryWorkers = Tree<Place, Idle, IdleMany>;
/// Started tasks that need more runs, and owners who have a part in them.
pub(crate) type OpenTasks = Tree<TaskIndex, Owners, Parts>;

/// Up to six owners in order of their ids: as many as have a part in a task of the largest quorum that needs
/// one more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owners {
    ids: [AccountId; Owners::MOST],
    count: u8,
}

impl Owners {
    const MOST: usize = 6;

    pub(crate) fn iter(&self) -> impl Iterator<Item = AccountId> {
        self.ids.iter().copied().take(usize::from(self.count))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn contains(&self, owner: AccountId) -> bool {
        self.iter().any(|other| other == owner)
    }

    /// Whether there may be more than could be noted.
    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.count) == Owners::MOST
    }

    /// Keeps those who are among the others, too.
    fn keep(&mut self, others: &Owners) {
        *self = self.iter().filter(|owner| others.contains(*owner)).collect();
    }

    /// Notes an owner, so that the lowest ids stay when there are too many. Whether there was room.
    fn add(&mut self, owner: AccountId) -> bool {
        let count = usize::from(self.count);
        let at = self.ids[..count].partition_point(|other| *other < owner);
        if self.ids[..count].get(at) == Some(&owner) {
            return true;
        }
        let room = !self.is_full();
        if at < Owners::MOST {
            self.ids[at..].rotate_right(1);
            self.ids[at] = owner;
            self.count += u8::from(room);
        }
        room
    }
}

impl FromIterator<AccountId> for Owners {
    /// As many as there is room for: the lowest ids, in whatever order they come.
    fn from_iter<I: IntoIterator<Item = AccountId>>(owners: I) -> Owners {
        let mut lowest = Owners::default();
        owners.into_iter().for_each(|owner| {
            lowest.add(owner);
        });
        lowest
    }
}

/// Who has a part in several tasks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// In every one of them.
    pub(crate) in_all: Owners,
    /// Whether somebody has in any.
    pub(crate) any: bool,
}

impl Summary<Owners> for Parts {
    fn of(part: &Owners) -> Parts {
        Parts { in_all: *part, any: !part.is_empty() }
    }

    fn merge(&mut self, other: &Parts) {
        self.in_all.keep(&other.in_all);
        self.any |= other.any;
    }
}

/// What a job needs of a worker of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// An ask of at most this.
    pub(crate) bid: Price,
    /// At least so much memory.
    pub(crate) memory: ByteSize,
    /// None of these owners: they have a part in all it has to give.
    pub(crate) barred: Owners,
}

impl Needs {
    pub(crate) fn of(spec: &JobSpec, barred: Owners) -> Needs {
        Needs { bid: spec.bid, memory: spec.limits.memory, barred }
    }
}

/// The most and the least that any of several jobs needs.
#[derive(Clone, Debug)]
pub(crate) struct NeedsOfMany {
    pub(crate) highest_bid: Price,
    pub(crate) least_memory: ByteSize,
    /// Barred by all of them.
    pub(crate) barred: Owners,
}

impl Summary<Needs> for NeedsOfMany {
    fn of(needs: &Needs) -> NeedsOfMany {
        NeedsOfMany { highest_bid: needs.bid, least_memory: needs.memory, barred: needs.barred }
    }

    fn merge(&mut self, other: &NeedsOfMany) {
        self.highest_bid = self.highest_bid.max(other.highest_bid);
        self.least_memory = self.least_memory.min(other.least_memory);
        self.barred.keep(&other.barred);
    }
}

/// A worker with idle cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) memory: ByteSize,
    pub(crate) owner: AccountId,
}

/// What is known of several workers with idle cores.
#[derive(Clone, Debug)]
pub(crate) struct IdleMany {
    pub(crate) most_memory: ByteSize,
    /// Whose they are; none: they have too many owners to tell.
    pub(crate) owners: Option<Owners>,
}

impl Summary<Idle> for IdleMany {
    fn of(idle: &Idle) -> IdleMany {
        IdleMany { most_memory: idle.memory, owners: Some(Owners::from_iter([idle.owner])) }
    }

    fn merge(&mut self, other: &IdleMany) {
        self.most_memory = self.most_memory.max(other.most_memory);
        let both = self
            .owners
            .zip(other.owners)
            .and_then(|(mut owners, others)| others.iter().all(|owner| owners.add(owner)).then_some(owners));
        self.owners = both;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(ids: &[u64]) -> Owners {
        ids.iter().copied().map(AccountId).collect()
    }

    #[test]
    fn the_lowest_owners_stay_in_whatever_order_they_come() {
        for ids in [[4, 9, 2, 7, 2, 11, 6, 8], [9, 7, 4, 8, 6, 2, 9, 11], [2, 4, 6, 7, 8, 9, 11, 4]] {
            assert_eq!(owners(&ids), owners(&[2, 4, 6, 7, 8, 9]), "{ids:?}");
        }
        assert!(!owners(&[2, 4]).is_full() && owners(&[1, 2, 3, 4, 5, 6]).is_full());
        assert_eq!(owners(&[2, 4]).iter().collect::<Vec<_>>(), [AccountId(2), AccountId(4)]);
    }

    #[test]
    fn subtrees_of_tasks_share_owners_and_subtrees_of_workers_add_them_up() {
        let mut shared = Parts::of(&owners(&[1, 2, 3]));
        shared.merge(&Parts::of(&owners(&[2, 3, 4])));
        assert_eq!((shared.in_all, shared.any), (owners(&[2, 3]), true));
        shared.merge(&Parts::of(&owners(&[])));
        assert_eq!((shared.in_all, shared.any), (owners(&[]), true));
        let mut nobody = Parts::of(&owners(&[]));
        nobody.merge(&Parts::of(&owners(&[])));
        assert!(!nobody.any);
        let idle = |owner| IdleMany::of(&Idle { memory: ByteSize(owner), owner: AccountId(owner) });
        let mut many = idle(1);
        [6, 3, 5, 2, 4, 1].iter().for_each(|owner| many.merge(&idle(*owner)));
        assert_eq!((many.most_memory, many.owners), (ByteSize(6), Some(owners(&[1, 2, 3, 4, 5, 6]))));
        many.merge(&idle(7));
        assert_eq!((many.most_memory, many.owners), (ByteSize(7), None));
    }
}
