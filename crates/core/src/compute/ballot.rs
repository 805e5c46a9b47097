//! Agreement: what independent owners say a task's result is.

use pumasi_types::{AccountId, Amount, Ending, Fuel, Hash, Price, RunId, WorkerId};
use serde::{Deserialize, Serialize};

/// What must be equal for two runs to agree: they are deterministic, so everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    #[serde(with = "crate::codec::ending_code")]
    pub(crate) ending: Ending,
    pub(crate) fuel: Fuel,
    pub(crate) result: Hash,
}

/// One owner's finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) owner: AccountId,
    pub(crate) worker: WorkerId,
    pub(crate) run: RunId,
    pub(crate) finding: Finding,
    pub(crate) price: Price,
    pub(crate) cost: Amount,
}

/// The votes on one task, and who is at work on another. Exists only while a task of a job with a quorum
/// above one is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) votes: Vec<Vote>,
    pub(crate) at_work: Vec<AccountId>,
}

impl Ballot {
    /// The owners who have voted or are about to.
    pub(crate) fn involved(&self) -> impl Iterator<Item = AccountId> {
        self.votes.iter().map(|vote| vote.owner).chain(self.at_work.iter().copied())
    }

    /// What all voters would be paid.
    pub(crate) fn cost(&self) -> i64 {
        self.votes.iter().map(|vote| vote.cost.0).sum()
    }

    /// How many votes the most common finding has.
    pub(crate) fn best(&self) -> u8 {
        let agreeing = |vote: &Vote| self.votes.iter().filter(|other| other.finding == vote.finding).count();
        self.votes.iter().map(agreeing).max().unwrap_or(0) as u8
    }

    /// Somebody is not at work on it any more.
    pub(crate) fn leaves(&mut self, owner: AccountId) {
        if let Some(place) = self.at_work.iter().position(|other| *other == owner) {
            self.at_work.swap_remove(place);
        }
    }
}
