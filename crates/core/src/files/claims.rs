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
    /// Bytes of claims that nothing else counts, by account; of accounts that have some.
    unfiled: BTreeMap<AccountId, u128>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    size: ByteSize,
    made: Time,
    /// Nothing else counts its bytes: no quota of a space, no larger blob, no job.
    is_unfiled: bool,
}

/// How old a claim is before it is worth while to renew it.
const FRESH: Duration = Duration::from_secs(3600);

impl Claims {
    /// Makes or renews a claim. One that is renewed stays filed or not, as it was.
    pub(super) fn add(
        &mut self,
        account: AccountId,
        (blob, size): (Hash, ByteSize),
        is_unfiled: bool,
        now: Time,
    ) {
        let before = self.held.get(&(account, blob)).copied();
        if before.is_some_and(|claim| now.since(claim.made) < FRESH) {
            return;
        }
        let is_unfiled = before.map_or(is_unfiled, |claim| claim.is_unfiled);
        self.held.insert((account, blob), Claim { size, made: now, is_unfiled });
        self.order.push_back((now, account, blob));
        if is_unfiled {
            self.uncount(account, before.map_or(ByteSize(0), |claim| claim.size));
            self.count(account, size);
        }
    }

    /// From now on something else counts the bytes of a claim, or nothing does any more; does nothing without the claim.
    pub(super) fn set_unfiled(&mut self, account: AccountId, blob: Hash, is_unfiled: bool) {
        let Some(claim) = self.held.get_mut(&(account, blob)).filter(|claim| claim.is_unfiled != is_unfiled)
        else {
            return;
        };
        claim.is_unfiled = is_unfiled;
        let size = claim.size;
        match is_unfiled {
            true => self.count(account, size),
            false => self.uncount(account, size),
        }
    }

    fn count(&mut self, account: AccountId, size: ByteSize) {
        if size.0 > 0 {
            *self.unfiled.entry(account).or_default() += u128::from(size.0);
        }
    }

    fn uncount(&mut self, account: AccountId, size: ByteSize) {
        if let Some(unfiled) = self.unfiled.get_mut(&account) {
            *unfiled -= u128::from(size.0);
            if *unfiled == 0 {
                self.unfiled.remove(&account);
            }
        }
    }

    /// Bytes that are claimed by an account and that nothing else counts.
    pub(super) fn unfiled(&self, account: AccountId) -> ByteSize {
        let unfiled = self.unfiled.get(&account).copied().unwrap_or_default();
        ByteSize(u64::try_from(unfiled).unwrap_or(u64::MAX))
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
            if self.held.get(&key).is_some_and(|claim| claim.made == made)
                && let Some(claim) = self.held.remove(&key)
                && claim.is_unfiled
            {
                self.uncount(account, claim.size);
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
        let mut unfiled: BTreeMap<AccountId, u128> = BTreeMap::new();
        for ((account, _), claim) in
            self.held.iter().filter(|(_, claim)| claim.is_unfiled && claim.size.0 > 0)
        {
            *unfiled.entry(*account).or_default() += u128::from(claim.size.0);
        }
        assert_eq!(unfiled, self.unfiled, "what nothing else counts is counted here");
    }
}
