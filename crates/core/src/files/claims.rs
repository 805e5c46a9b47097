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
    /// How many contents of files and parts of uploads of the account have these bytes, as far as the claim saw them come:
    /// quotas count each of them.
    filed: u32,
    /// Something else counts its bytes: a larger blob, a job, or a file of somebody else.
    elsewhere: bool,
}

/// How old a claim is before it is worth while to renew it.
const FRESH: Duration = Duration::from_secs(3600);

impl Claim {
    /// Its bytes, if nothing else counts them.
    fn unfiled(&self) -> u128 {
        if self.filed == 0 && !self.elsewhere { u128::from(self.size.0) } else { 0 }
    }
}

impl Claims {
    /// All of a blob came from the account, or was fetched for it: makes or renews a claim. It counts unless it is filed.
    pub(super) fn send(&mut self, account: AccountId, (blob, size): (Hash, ByteSize), now: Time) {
        self.renew(account, (blob, size), false, now);
        self.change(account, blob, |claim| claim.elsewhere = false);
    }

    /// The account read a blob in a file, which counts it: for the account, if the content is its own.
    pub(super) fn read(&mut self, account: AccountId, (blob, size): (Hash, ByteSize), own: bool, now: Time) {
        self.renew(account, (blob, size), !own, now);
        if own {
            self.lies(account, blob);
        }
    }

    /// A content of the account has the bytes, which the claim may not have seen come.
    pub(super) fn lies(&mut self, account: AccountId, blob: Hash) {
        self.change(account, blob, |claim| claim.filed = claim.filed.max(1));
    }

    /// Makes a claim, whose bytes something else counts or not, or renews one; what counts its bytes stays.
    fn renew(&mut self, account: AccountId, (blob, size): (Hash, ByteSize), elsewhere: bool, now: Time) {
        let key = (account, blob);
        let before = self.held.get(&key).copied();
        if before.is_some_and(|claim| now.since(claim.made) < FRESH) {
            return;
        }
        let (filed, elsewhere) = before.map_or((0, elsewhere), |claim| (claim.filed, claim.elsewhere));
        let claim = Claim { size, made: now, filed, elsewhere };
        self.held.insert(key, claim);
        self.order.push_back((now, account, blob));
        self.recount(account, before.map_or(0, |claim| claim.unfiled()), claim.unfiled());
    }

    /// A content or a part of the account came; does nothing without a claim, as all these.
    pub(super) fn file(&mut self, account: AccountId, blob: Hash) {
        self.change(account, blob, |claim| claim.filed = claim.filed.saturating_add(1));
    }

    /// A content or a part of the account went; it may have come before the claim did.
    pub(super) fn unfile(&mut self, account: AccountId, blob: Hash) {
        self.change(account, blob, |claim| claim.filed = claim.filed.saturating_sub(1));
    }

    /// Something else counts the bytes from now on, until they are sent again.
    pub(super) fn count_elsewhere(&mut self, account: AccountId, blob: Hash) {
        self.change(account, blob, |claim| claim.elsewhere = true);
    }

    fn change(&mut self, account: AccountId, blob: Hash, change: impl FnOnce(&mut Claim)) {
        let Some(claim) = self.held.get_mut(&(account, blob)) else { return };
        let before = claim.unfiled();
        change(claim);
        let after = claim.unfiled();
        self.recount(account, before, after);
    }

    fn recount(&mut self, account: AccountId, before: u128, after: u128) {
        if before == after {
            return;
        }
        let unfiled = self.unfiled.entry(account).or_default();
        *unfiled = *unfiled - before + after;
        if *unfiled == 0 {
            self.unfiled.remove(&account);
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
            {
                self.recount(account, claim.unfiled(), 0);
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

    /// Panics unless every invariant holds; `lying` says how many contents and parts of an account have a blob.
    pub(super) fn sanity_check(&self, lying: &BTreeMap<(AccountId, Hash), u32>) {
        assert!(self.order.iter().is_sorted_by_key(|(made, ..)| made), "claims are forgotten in order");
        let current = self.order.iter().filter(|(made, account, blob)| {
            self.held.get(&(*account, *blob)).is_some_and(|claim| claim.made == *made)
        });
        assert_eq!(current.count(), self.held.len(), "every claim is forgotten some day");
        let mut unfiled: BTreeMap<AccountId, u128> = BTreeMap::new();
        for (key, claim) in &self.held {
            assert!(claim.filed <= lying.get(key).copied().unwrap_or_default(), "what is filed is there");
            *unfiled.entry(key.0).or_default() += claim.unfiled();
        }
        unfiled.retain(|_, bytes| *bytes > 0);
        assert_eq!(unfiled, self.unfiled, "what nothing else counts is counted here");
    }
}
