//! An owner's record: how far it is trusted, and the findings of it that are believed but not yet paid.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use pumasi_types::{AccountId, Amount, Duration, JobId, Price, RunId, TaskIndex, Time, WorkerId};
use serde::{Deserialize, Serialize};

/// What an owner's past says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing yet: a second owner must find the same.
    #[default]
    New,
    /// It agreed with trusted owners often enough: it is believed, and checked now and then.
    Proven,
    /// A finding of it was wrong: it gets no work.
    Caught,
}

/// Why the finding of an owner alone is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Trust {
    /// An operator answers for it.
    Vouched,
    /// It is proven.
    Proven,
}

/// The record of an account that lends machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// How it stands.
    pub standing: Standing,
    /// Whether an operator answers for it.
    pub vouched: bool,
    /// Findings that others confirmed, checks among them.
    pub agreed: u64,
    /// Findings that others outvoted.
    pub outvoted: u64,
    /// Hidden checks that confirmed its findings.
    pub passed: u64,
    /// Findings that were paid without a check, because nobody trusted could make one in time.
    pub lapsed: u64,
    /// Findings that were taken back, unpaid, when it was caught.
    pub withdrawn: u64,
    /// When it was caught.
    pub caught_at: Option<Time>,
    /// Whether the account is an operator's: it answers for itself.
    pub(crate) operator: bool,
    /// Agreements with trusted owners on its way to being proven.
    pub(crate) progress: u8,
    /// Checks passed since it last was outvoted.
    pub(crate) streak: u64,
    /// Checks that were drawn and could not be made yet.
    pub(crate) due: u8,
    /// Its machines that may be given work.
    pub(crate) willing: BTreeSet<WorkerId>,
    /// What it is not yet paid for.
    pub(crate) tab: Tab,
}

impl Owner {
    /// Agreements with trusted owners that make a new one proven.
    pub const PROVEN: u8 = 10;
    /// How long a finding waits for a check before one is made on purpose; after twice that it is paid.
    pub const CHECK_WINDOW: Duration = Duration::from_secs(3_600);
    /// One in so many findings of an owner that an operator answers for is checked.
    pub const CHECK_VOUCHED: u64 = 64;
    /// One in so many findings of a proven owner is checked at least.
    pub const CHECK_PROVEN: u64 = 10;
    /// One in so many agreements between new owners only is put before a trusted one.
    pub const CHECK_NEW: u64 = 4;
    /// Findings that may wait for a check at a time; with more an owner counts as new until some are paid.
    pub const TAB: usize = 100_000;
    /// Drawn checks that are remembered while none can be made.
    const DUE: u8 = 16;

    /// Whether an operator answers for it.
    pub fn is_vouched(&self) -> bool {
        self.standing != Standing::Caught && (self.vouched || self.operator)
    }

    /// Whether its finding alone is believed.
    pub fn is_trusted(&self) -> bool {
        self.trust().is_some()
    }

    /// Why that is believed, if it is.
    pub(crate) fn trust(&self) -> Option<Trust> {
        if self.is_vouched() {
            return Some(Trust::Vouched);
        }
        (self.standing == Standing::Proven).then_some(Trust::Proven)
    }

    /// What it will be paid once its findings are checked. Those that a check did not confirm are among them
    /// until that is settled, so that nobody learns of it before.
    pub fn unpaid(&self) -> Amount {
        Amount(self.tab.sum.0 + self.tab.disputed.values().map(|cost| cost.0).sum::<i64>())
    }

    /// How many of its findings wait for that.
    pub fn unpaid_findings(&self) -> usize {
        self.tab.entries.len() + self.tab.disputed.len()
    }

    /// How many of its findings others confirmed, as far as it may know: a good check counts when it is paid
    /// for, which is later where something before it is in doubt.
    pub fn agreed_openly(&self) -> u64 {
        self.agreed.saturating_sub(self.tab.passed.len() as u64)
    }

    /// Agreements with trusted owners that it still lacks to be proven.
    pub fn lacks_to_be_proven(&self) -> u8 {
        if self.standing == Standing::New { Self::PROVEN.saturating_sub(self.progress) } else { 0 }
    }

    /// Whether a task may be left to it alone now.
    pub(crate) fn works_alone(&self) -> bool {
        self.is_vouched() || (self.is_trusted() && self.tab.entries.len() < Self::TAB)
    }

    /// One in how many of its findings is checked.
    pub(crate) fn check_one_in(&self) -> u64 {
        if self.is_vouched() {
            return Self::CHECK_VOUCHED;
        }
        self.streak.saturating_add(2).min(Self::CHECK_PROVEN)
    }

    /// A check was drawn and cannot be made.
    pub(crate) fn put_off(&mut self) {
        self.due = (self.due + 1).min(Self::DUE);
    }

    /// Somebody trusted agreed with it. Whether that makes it proven.
    pub(crate) fn progresses(&mut self) -> bool {
        if self.standing != Standing::New {
            return false;
        }
        self.progress += 1;
        if self.progress >= Self::PROVEN {
            (self.standing, self.progress, self.streak) = (Standing::Proven, 0, 0);
        }
        self.standing == Standing::Proven
    }
}

/// A finding that is believed and not paid: its cost stays in the job's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unpaid {
    pub(crate) job: JobId,
    pub(crate) task: TaskIndex,
    pub(crate) run: RunId,
    pub(crate) worker: WorkerId,
    pub(crate) price: Price,
    pub(crate) cost: Amount,
    pub(crate) at: Time,
}

/// The unpaid findings of an owner, oldest first. A place is never used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tab {
    pub(crate) entries: BTreeMap<u64, Unpaid>,
    /// What is never paid, because its owner was wrong, and was not taken back yet.
    pub(crate) void: BTreeMap<u64, Unpaid>,
    /// Places whose check or dispute is not over; those of disputes have no entry.
    pub(crate) doubted: BTreeSet<u64>,
    /// Of these, those of disputes, and what each would be paid.
    disputed: BTreeMap<u64, Amount>,
    /// Places whose check was good, while something before them is doubted.
    passed: BTreeSet<u64>,
    /// Everything up to this place is before a good check, and to be paid.
    good: u64,
    sum: Amount,
    last: u64,
    /// When to look whether they have waited too long; a timer stands for that.
    pub(crate) alarm: Option<Time>,
}

impl Tab {
    /// Its place.
    pub(crate) fn add(&mut self, unpaid: Unpaid) -> u64 {
        self.last += 1;
        self.sum.0 += unpaid.cost.0;
        self.entries.insert(self.last, unpaid);
        self.last
    }

    pub(crate) fn remove(&mut self, place: u64) -> Option<Unpaid> {
        let unpaid = self.entries.remove(&place)?;
        self.sum.0 -= unpaid.cost.0;
        Some(unpaid)
    }

    /// Whether a check of this place is being made, disputed or was good.
    pub(crate) fn was_asked(&self, place: u64) -> bool {
        place <= self.good || self.doubted.contains(&place) || self.passed.contains(&place)
    }

    /// A check did not confirm this place: it is not to be paid with the others any more.
    pub(crate) fn dispute(&mut self, place: u64) {
        if let Some(unpaid) = self.remove(place) {
            self.disputed.insert(place, unpaid.cost);
        } else if self.void.remove(&place).is_some() {
            self.doubted.remove(&place);
            self.close();
        }
    }

    /// The check or dispute of this place is over.
    pub(crate) fn undoubt(&mut self, place: u64) {
        self.doubted.remove(&place);
        self.disputed.remove(&place);
    }

    /// A check of this place was good.
    pub(crate) fn pass(&mut self, place: u64) {
        self.undoubt(place);
        if !self.void.contains_key(&place) {
            self.passed.insert(place);
        }
    }

    /// Everything up to the last good check before the first doubt is to be paid.
    pub(crate) fn close(&mut self) {
        let doubt = self.doubted.first().copied().unwrap_or(u64::MAX);
        if let Some(last) = self.passed.range(..doubt).next_back().copied() {
            self.passed = self.passed.split_off(&(last + 1));
            self.good = last;
        }
    }

    /// Takes out the first of what is to be paid.
    pub(crate) fn take_good(&mut self, most: usize) -> Vec<Unpaid> {
        let places: Vec<u64> = self.entries.range(..=self.good).take(most).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Whether something is to be paid.
    pub(crate) fn has_good(&self) -> bool {
        self.entries.first_key_value().is_some_and(|(place, _)| *place <= self.good)
    }

    /// Takes entries out.
    pub(crate) fn take(&mut self, places: impl RangeBounds<u64>) -> Vec<Unpaid> {
        let places: Vec<u64> = self.entries.range(places).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Makes everything void but what a good check of its own confirmed, which is taken out. Places go on behind
    /// the last.
    pub(crate) fn make_void(&mut self) -> Vec<Unpaid> {
        let mut good = std::mem::take(&mut self.entries);
        let mut void = good.split_off(&(self.good + 1));
        let passed: Vec<Unpaid> = self.passed.iter().filter_map(|place| void.remove(place)).collect();
        self.void.append(&mut void);
        self.doubted.retain(|place| self.void.contains_key(place));
        self.disputed.clear();
        self.passed.clear();
        (self.good, self.sum) = (0, Amount::ZERO);
        good.into_values().chain(passed).collect()
    }

    /// Takes out the first of what is void.
    pub(crate) fn take_void(&mut self, most: usize) -> Vec<Unpaid> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((place, unpaid)) = self.void.pop_first()
        {
            self.doubted.remove(&place);
            taken.push(unpaid);
        }
        self.close();
        taken
    }

    pub(crate) fn sanity_check(&self, owner: AccountId) {
        let sum: i64 = self.entries.values().map(|unpaid| unpaid.cost.0).sum();
        assert_eq!(sum, self.sum.0, "owner {owner}: sum of its tab");
        assert!(self.entries.last_key_value().is_none_or(|(place, _)| *place <= self.last));
        let idle = self.entries.is_empty() && self.void.is_empty();
        assert!(idle || self.alarm.is_some(), "owner {owner}: nobody looks at its tab");
        assert!(self.passed.is_disjoint(&self.doubted), "owner {owner}: passed and doubted");
        let known = |place: &u64| self.doubted.contains(place) && !self.entries.contains_key(place);
        assert!(self.disputed.keys().all(known), "owner {owner}: disputed and not in doubt");
        assert!(
            self.doubted.first().is_none_or(|place| *place > self.good),
            "owner {owner}: paid and doubted"
        );
        let doubt = self.doubted.first().copied().unwrap_or(u64::MAX);
        assert!(self.passed.first().is_none_or(|place| *place > doubt), "owner {owner}: tab not closed");
    }
}

/// A set of owners out of which one is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster {
    pub(crate) list: Vec<AccountId>,
    places: BTreeMap<AccountId, usize>,
}

impl Roster {
    /// Puts an owner in or takes it out.
    pub(crate) fn put(&mut self, owner: AccountId, inside: bool) {
        match (self.places.get(&owner).copied(), inside) {
            (None, true) => {
                self.places.insert(owner, self.list.len());
                self.list.push(owner);
            }
            (Some(place), false) => {
                self.places.remove(&owner);
                self.list.swap_remove(place);
                if let Some(moved) = self.list.get(place) {
                    self.places.insert(*moved, place);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn sanity_check(&self, expected: &BTreeSet<AccountId>) {
        assert_eq!(&self.places.keys().copied().collect::<BTreeSet<_>>(), expected, "trusted owners");
        assert_eq!(self.places.len(), self.list.len());
        assert!(self.places.iter().all(|(owner, place)| self.list.get(*place) == Some(owner)));
    }
}
