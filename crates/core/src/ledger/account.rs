//! Accounts as ten million of them fit into memory: what payments need dense and first, the rest apart.

use pumasi_types::{AccountId, Amount, Currency, Time, TransferId};
use serde::{Deserialize, Serialize};

use super::names::Names;
use crate::pages::Pages;
use crate::{Role, Roles};

/// What an account has in one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What it can spend.
    pub available: Amount,
    /// What is set aside in holds.
    pub held: Amount,
    /// Its newest transfer; 0: none. [`Transfer`](crate::Transfer) leads on to the ones before.
    pub last_transfer: TransferId,
}

impl Balance {
    /// Available and held together.
    pub fn total(&self) -> Amount {
        // Both parts came out of one amount of money in circulation, so their sum is in range.
        Amount(self.available.0 + self.held.0)
    }
}

/// The money of an account in one currency: half a cache line, which no payment reads more of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(align(32))]
struct Pocket {
    balance: Balance,
    /// None as long as the account never touched money.
    currency: Option<Currency>,
    /// The number of the account's next pocket among the further ones, from 1; 0: none.
    next: u32,
}

/// What is seldom asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Profile {
    opened: Time,
    roles: Roles,
}

/// All accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub(super) struct Accounts {
    /// The currency that each account touched first: almost always its only one.
    first: Pages<Pocket>,
    /// The further currencies of few accounts, in the order in which they came.
    further: Pages<Pocket>,
    profiles: Pages<Profile>,
    names: Names,
}

/// What a snapshot has of them.
#[derive(Deserialize)]
struct Stored {
    first: Pages<Pocket>,
    further: Pages<Pocket>,
    profiles: Pages<Profile>,
    names: Names,
}

impl TryFrom<Stored> for Accounts {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Accounts, &'static str> {
        let Stored { first, further, profiles, names } = stored;
        if first.len() != profiles.len() || first.len() != names.len() {
            return Err("accounts must have a balance, a profile and a name each");
        }
        // Whoever follows them comes to an end, because they rise.
        let rises = |at: usize, pocket: &Pocket| {
            let next = pocket.next as usize;
            next == 0 || (next > at && next <= further.len())
        };
        if !first.iter().all(|pocket| rises(0, pocket))
            || !(1..).zip(further.iter()).all(|(at, p)| rises(at, p))
        {
            return Err("further balances must follow one another");
        }
        Ok(Accounts { first, further, profiles, names })
    }
}

impl Accounts {
    /// The issuer alone.
    pub(super) fn new() -> Accounts {
        let (first, further, profiles, names) = Default::default();
        let mut accounts = Accounts { first, further, profiles, names };
        accounts.open("pumasi", Roles::from_iter([Role::Operator]), Time(0));
        accounts
    }

    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    pub(super) fn get(&self, id: AccountId) -> Option<Account<'_>> {
        let at = usize::try_from(id.0).ok()?;
        Some(Account { accounts: self, at, first: self.first.get(at)? })
    }

    pub(super) fn named(&self, name: &str) -> Option<AccountId> {
        self.names.find(name).map(|at| AccountId(at as u64))
    }

    /// Opens an account whose name is new.
    pub(super) fn open(&mut self, name: &str, roles: Roles, opened: Time) -> AccountId {
        let id = AccountId(self.len() as u64);
        self.first.push(Pocket::default());
        self.profiles.push(Profile { opened, roles });
        self.names.push(name);
        id
    }

    /// The balance of an account, to be changed; in a currency that is new to it, an empty one.
    pub(super) fn balance_mut(&mut self, id: AccountId, currency: Currency) -> Option<&mut Balance> {
        let Accounts { first, further, .. } = self;
        let pocket = first.get_mut(usize::try_from(id.0).ok()?)?;
        if *pocket.currency.get_or_insert(currency) == currency {
            return Some(&mut pocket.balance);
        }
        let (mut last, mut next) = (0, pocket.next as usize);
        while next != 0 {
            let found = further.get(next - 1)?;
            if found.currency == Some(currency) {
                return further.get_mut(next - 1).map(|pocket| &mut pocket.balance);
            }
            (last, next) = (next, found.next as usize);
        }
        further.push(Pocket { currency: Some(currency), ..Pocket::default() });
        let new = further.len();
        let before = if last == 0 { pocket } else { further.get_mut(last - 1)? };
        before.next = u32::try_from(new).expect("accounts are bounded, and currencies are few");
        further.get_mut(new - 1).map(|pocket| &mut pocket.balance)
    }

    /// What a payment of an account reads first.
    pub(super) fn touch(&self, id: AccountId) -> u64 {
        let Ok(at) = usize::try_from(id.0) else { return 0 };
        let roles = self.profiles.get(at).map_or(0, |profile| profile.opened.0);
        self.first.get(at).map_or(0, |pocket| pocket.balance.last_transfer.0) ^ roles
    }

    /// Lets nobody foresee where names lie.
    pub(super) fn scatter(&mut self, seed: u64) {
        self.names.scatter(seed);
    }

    /// Panics unless every account is found by its name and every further balance is somebody's.
    pub(super) fn sanity_check(&self) {
        let ids = (0..self.len() as u64).map(AccountId);
        let mut balances = 0;
        for account in ids.filter_map(|id| self.get(id)) {
            let found = self.named(account.name());
            assert_eq!(found, Some(account.id()), "an account is found by its name");
            balances += account.balances().count();
        }
        let empty = self.first.iter().filter(|pocket| pocket.currency.is_none()).count();
        assert_eq!(balances + empty, self.first.len() + self.further.len(), "every balance is somebody's");
        self.names.sanity_check();
    }
}

/// Owns money.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    accounts: &'a Accounts,
    at: usize,
    first: &'a Pocket,
}

impl<'a> Account<'a> {
    /// Its id.
    pub fn id(self) -> AccountId {
        AccountId(self.at as u64)
    }

    /// What people call it; unique.
    pub fn name(self) -> &'a str {
        self.accounts.names.get(self.at)
    }

    /// What it may do.
    pub fn roles(self) -> Roles {
        self.accounts.profiles.get(self.at).map(|profile| profile.roles).unwrap_or_default()
    }

    /// When it was opened, in log time.
    pub fn opened(self) -> Time {
        self.accounts.profiles.get(self.at).map(|profile| profile.opened).unwrap_or_default()
    }

    /// Its balance in `currency`.
    pub fn balance(self, currency: Currency) -> Balance {
        self.balances().find(|(of, _)| *of == currency).map(|(_, balance)| balance).unwrap_or_default()
    }

    /// All its balances, in the order in which it came to the currencies.
    pub fn balances(self) -> impl Iterator<Item = (Currency, Balance)> + 'a {
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let pocket = next?;
            next = (pocket.next as usize).checked_sub(1).and_then(|at| self.accounts.further.get(at));
            Some((pocket.currency?, pocket.balance))
        })
    }
}
