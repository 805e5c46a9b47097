//! Agreement: what independent owners say a task's result is.

use pumasi_types::{AccountId, Amount, Ending, Fuel, Hash, Price, RunId, WorkerId};
use serde::{Deserialize, Serialize};

use super::owner::Trust;

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
    /// How far its owner was trusted when it voted; not at all if it ordered the job itself.
    pub(crate) trust: Option<Trust>,
    /// Whether it was paid when it was believed at first.
    pub(crate) paid: bool,
}

/// The votes on one open task, and who is at work on another. A task that one finding decides has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballot {
    /// How many owners must agree.
    pub(crate) needs: u8,
    /// How far one of them must be trusted at least.
    pub(crate) oath: Option<Trust>,
    pub(crate) votes: Vec<Vote>,
    pub(crate) at_work: Vec<AccountId>,
}

impl Ballot {
    pub(crate) fn new(needs: u8) -> Ballot {
        Ballot { needs, oath: None, votes: Vec::new(), at_work: Vec::new() }
    }

    /// The owners who have voted or are about to.
    pub(crate) fn involved(&self) -> impl Iterator<Item = AccountId> {
        self.votes.iter().map(|vote| vote.owner).chain(self.at_work.iter().copied())
    }

    /// What all voters would be paid that were not.
    pub(crate) fn cost(&self) -> i64 {
        self.votes.iter().filter(|vote| !vote.paid).map(|vote| vote.cost.0).sum()
    }

    /// The votes for a finding.
    pub(crate) fn votes_for(&self, finding: Finding) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(move |vote| vote.finding == finding)
    }

    /// Whether an owner who is trusted so far found this.
    pub(crate) fn is_sworn(&self, finding: Finding, oath: Trust) -> bool {
        self.votes_for(finding).any(|vote| vote.trust.is_some_and(|trust| trust <= oath))
    }

    /// Whether owners found different things.
    pub(crate) fn is_contested(&self) -> bool {
        self.votes.windows(2).any(|pair| pair[0].finding != pair[1].finding)
    }

    /// How many more votes a finding needs.
    fn lacks_for(&self, finding: Finding) -> u8 {
        let votes = self.votes_for(finding).count() as u8;
        let oath = self.oath.is_some_and(|oath| !self.is_sworn(finding, oath));
        self.needs.saturating_sub(votes).max(u8::from(oath))
    }

    /// How many more votes it needs at least.
    pub(crate) fn lacks(&self) -> u8 {
        self.votes.iter().map(|vote| self.lacks_for(vote.finding)).min().unwrap_or(self.needs)
    }

    /// The finding that enough owners agree on.
    pub(crate) fn winner(&self) -> Option<Finding> {
        self.votes.iter().map(|vote| vote.finding).find(|finding| self.lacks_for(*finding) == 0)
    }

    /// Somebody is not at work on it any more.
    pub(crate) fn leaves(&mut self, owner: AccountId) {
        if let Some(place) = self.at_work.iter().position(|other| *other == owner) {
            self.at_work.swap_remove(place);
        }
    }
}
