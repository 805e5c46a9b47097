//! Who may read and use which bytes: the only way from a hash to what it names.

use std::collections::{BTreeMap, VecDeque};

use pumasi_types::{AccountId, ByteSize, Duration, Hash, Time};
use serde::{Deserialize, Serialize};

use crate::Bounds;

/// All claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    held: BTreeMap<(AccountId, Hash), Claim>,
    /// By when they were made; one that was renewed stands there again.
    order: VecDeque<(Time, AccountId, Hash)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    size: ByteSize,
    made: Time,
}

/// How old a claim is before it is worth while to renew it.
const FRESH: Duration = Duration::from_secs(3600);

impl Claims {
    /// Makes or renews a claim.
    pub(super) fn add(&mut self, account: AccountId, blob: Hash, size: ByteSize, now: Time) {
        let claim = Claim { size, made: now };
        let before = self.held.get(&(account, blob)).filter(|claim| now.since(claim.made) < FRESH);
        if before.is_none() {
            self.held.insert((account, blob), claim);
            self.order.push_back((now, account, blob));
        }
    }

    /// How long a blob is that is claimed.
    pub(super) fn size(&self, account: AccountId, blob: &Hash, now: Time) -> Option<ByteSize> {
        let claim = self.held.get(&(account, *blob))?;
        (claim.made.after(Bounds::CLAIM) > now).then_some(claim.size)
    }

    /// Forgets a part of what was claimed too long ago; takes the steps that this took.
    pub(super) fn pass(&mut self, now: Time, steps: &mut usize) {
        while *steps > 0
            && self.is_due(now)
            && let Some((made, account, blob)) = self.order.pop_front()
        {
            *steps -= 1;
            let key = (account, blob);
            if self.held.get(&key).is_some_and(|claim| claim.made == made) {
                self.held.remove(&key);
            }
        }
    }

    /// Something was claimed so long ago that it is forgotten.
    pub(super) fn is_due(&self, now: Time) -> bool {
        let forgotten = |made: Time| made.after(Bounds::CLAIM).after(Bounds::CLAIM_ROOT) <= now;
        self.order.front().is_some_and(|(made, ..)| forgotten(*made))
    }

    /// What is claimed, or was until lately, from behind this one on.
    pub(super) fn behind(&self, last: Option<(AccountId, Hash)>) -> impl Iterator<Item = (AccountId, Hash)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        self.held.range((from, Unbounded)).map(|(key, _)| *key)
    }

    pub(super) fn sanity_check(&self) {
        assert!(self.order.iter().is_sorted_by_key(|(made, ..)| made), "claims are forgotten in order");
        let current = self.order.iter().filter(|(made, account, blob)| {
            self.held.get(&(*account, *blob)).is_some_and(|claim| claim.made == *made)
        });
        assert_eq!(current.count(), self.held.len(), "every claim is forgotten some day");
    }
}
