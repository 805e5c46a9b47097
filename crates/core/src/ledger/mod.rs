//! The ledger machine: accounts, double entry in two phases, and nothing ever negative or lost.
//!
//! Each balance has an available and a held part. A *hold* moves money from available to held; *settle*
//! pays from the held part to somebody's available part and is a [`Transfer`]; *release* gives back. All
//! balances of a currency, the issuer's included, add up to zero at every moment.

mod account;
mod names;
mod sale;

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, Amount, Currency, HoldId, Time, TransferId};
use serde::{Deserialize, Serialize};

use self::account::Accounts;
pub use self::account::{Account, Balance};
pub(crate) use self::sale::{Purse, Sale};
use crate::bounds::Bounds;
use crate::effects::{Cause, Transfer};
use crate::refusal::in_list;
use crate::timers::{Timer, Timers};
use crate::{Refusal, Roles};

/// Money set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose money.
    pub owner: AccountId,
    /// Which currency.
    pub currency: Currency,
    /// What is left of it.
    pub left: Amount,
    /// When it is released by itself.
    pub expires: Option<Time>,
    /// Whether a job or an order owns it: nobody settles or releases it by hand.
    pub bound: bool,
}

/// All accounts, their balances and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: Accounts,
    holds: BTreeMap<HoldId, Hold>,
    last_hold: HoldId,
    last_transfer: TransferId,
}

impl Ledger {
    /// The account whose negative balances are all the money in circulation.
    pub const ISSUER: AccountId = AccountId(0);

    pub(crate) fn new() -> Ledger {
        Ledger {
            accounts: Accounts::new(),
            holds: BTreeMap::new(),
            last_hold: HoldId(0),
            last_transfer: TransferId(0),
        }
    }

    /// An account.
    pub fn account(&self, id: AccountId) -> Option<Account<'_>> {
        self.accounts.get(id)
    }

    /// The account of that name.
    pub fn account_named(&self, name: &str) -> Option<AccountId> {
        self.accounts.named(name)
    }

    /// All accounts in order of their ids.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = Account<'_>> {
        let account = |at| self.accounts.get(AccountId(at as u64)).expect("below their number");
        (0..self.accounts.len()).map(account)
    }

    /// A hold that is still there.
    pub fn hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// The id of the newest transfer; also how many there are.
    pub fn last_transfer(&self) -> TransferId {
        self.last_transfer
    }

    fn balance_mut(&mut self, id: AccountId, currency: Currency) -> Result<&mut Balance, Refusal> {
        self.accounts.balance_mut(id, currency).ok_or(Refusal::NoAccount { account: id })
    }

    /// Lets nobody foresee where accounts' names lie.
    pub(crate) fn scatter(&mut self, seed: u64) {
        self.accounts.scatter(seed);
    }

    /// Whether so many more accounts can be opened.
    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        if self.accounts.len() + more > Bounds::ACCOUNTS {
            return Err(Refusal::invalid(
                "account",
                "cannot be opened: this cell has as many as it can keep",
            ));
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || name.len() > 64 || !name.chars().all(allowed) {
            let problem =
                "must be 1 to 64 lower-case letters, digits, '-', '_' or '.', and start with a letter";
            return Err(Refusal::invalid("account name", problem));
        }
        match self.accounts.named(name) {
            Some(_) => Err(Refusal::NameTaken { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    pub(crate) fn open_account(&mut self, now: Time, name: &str, roles: Roles) -> Result<AccountId, Refusal> {
        self.check_room(1)?;
        self.check_name(name)?;
        Ok(self.accounts.open(name, roles, now))
    }

    /// Opens an account without roles for each name, or none; the first. Their ids follow one another.
    pub(crate) fn open_customers(&mut self, now: Time, names: &[String]) -> Result<AccountId, Refusal> {
        if names.is_empty() || names.len() > Bounds::CUSTOMERS {
            let problem = format!("must be 1 to {}", Bounds::CUSTOMERS);
            return Err(Refusal::invalid("number of names", problem));
        }
        self.check_room(names.len())?;
        let mut new = BTreeSet::new();
        in_list(names, |name| {
            self.check_name(name)?;
            if new.insert(name) { Ok(()) } else { Err(Refusal::NameTaken { name: name.clone() }) }
        })?;
        let first = AccountId(self.accounts.len() as u64);
        for name in names {
            self.accounts.open(name, Roles::default(), now);
        }
        Ok(first)
    }

    /// Moves available money. The issuer may go below zero; nobody else.
    pub(crate) fn transfer(
        &mut self,
        now: Time,
        movement: Movement,
        cause: Cause,
        journal: &mut Vec<Transfer>,
    ) -> Result<TransferId, Refusal> {
        let Movement { payer, payee, currency, amount } = movement;
        if !amount.is_positive() {
            return Err(Refusal::BadAmount);
        }
        if payer == payee {
            return Err(Refusal::invalid("payee", "must be another account than the payer"));
        }
        let from = self.account(payer).ok_or(Refusal::NoAccount { account: payer })?.balance(currency);
        self.account(payee).ok_or(Refusal::NoAccount { account: payee })?;
        if payer != Ledger::ISSUER && from.available < amount {
            return Err(Refusal::NotEnoughMoney {
                account: payer,
                currency,
                needed: amount,
                available: from.available,
            });
        }
        // All the money there is fits into one amount, so what any account receives fits its balance.
        let left = from.available.checked_sub(amount).filter(|left| *left >= Amount(-i64::MAX));
        let left = left.ok_or(Refusal::BadAmount)?;
        self.balance_mut(payer, currency)?.available = left;
        self.credit(now, movement, cause, journal)
    }

    /// Sets available money aside.
    pub(crate) fn hold_money(
        &mut self,
        now: Time,
        owner: AccountId,
        money: (Currency, Amount),
        expires: Option<Time>,
        bound: bool,
        timers: &mut Timers,
    ) -> Result<HoldId, Refusal> {
        let (currency, amount) = money;
        if !amount.is_positive() {
            return Err(Refusal::BadAmount);
        }
        if expires.is_some_and(|at| at <= now || at > now.after(Bounds::HORIZON)) {
            return Err(Refusal::invalid("expiry", "must lie in the future and within ten years"));
        }
        let account = self.account(owner).ok_or(Refusal::NoAccount { account: owner })?;
        let available = account.balance(currency).available;
        if available < amount {
            return Err(Refusal::NotEnoughMoney { account: owner, currency, needed: amount, available });
        }
        let balance = self.balance_mut(owner, currency)?;
        balance.available.0 -= amount.0;
        balance.held.0 += amount.0;
        self.last_hold.0 += 1;
        self.holds.insert(self.last_hold, Hold { owner, currency, left: amount, expires, bound });
        if let Some(at) = expires {
            timers.set(at, Timer::Hold(self.last_hold));
        }
        Ok(self.last_hold)
    }

    /// Pays a part of a hold to somebody. Paying the hold's own owner is allowed: it is a release that is
    /// recorded, as when researchers compute on their own machines.
    pub(crate) fn settle(
        &mut self,
        now: Time,
        id: HoldId,
        payee: AccountId,
        amount: Amount,
        cause: Cause,
        journal: &mut Vec<Transfer>,
    ) -> Result<TransferId, Refusal> {
        if !amount.is_positive() {
            return Err(Refusal::BadAmount);
        }
        let hold = self.holds.get(&id).ok_or(Refusal::NoHold { hold: id })?;
        let (payer, currency, left) = (hold.owner, hold.currency, hold.left);
        self.account(payee).ok_or(Refusal::NoAccount { account: payee })?;
        if left < amount {
            return Err(Refusal::HoldTooSmall { hold: id, currency, left });
        }
        let hold = self.holds.get_mut(&id).ok_or(Refusal::NoHold { hold: id })?;
        hold.left.0 -= amount.0;
        self.balance_mut(payer, currency)?.held.0 -= amount.0;
        self.credit(now, Movement { payer, payee, currency, amount }, cause, journal)
    }

    /// Gives back all of a hold but `keep`.
    pub(crate) fn release_but(&mut self, id: HoldId, keep: Amount) -> Result<(), Refusal> {
        let hold = self.holds.get_mut(&id).ok_or(Refusal::NoHold { hold: id })?;
        let (owner, currency) = (hold.owner, hold.currency);
        let given_back = hold.left.0 - keep.0;
        if given_back < 0 || keep.0 < 0 {
            return Err(Refusal::HoldTooSmall { hold: id, currency, left: hold.left });
        }
        hold.left = keep;
        let balance = self.balance_mut(owner, currency)?;
        balance.held.0 -= given_back;
        balance.available.0 += given_back;
        Ok(())
    }

    /// Adds up to `amount` of its owner's available money to a hold. How much it was.
    pub(crate) fn refill(&mut self, id: HoldId, amount: Amount) -> Result<Amount, Refusal> {
        let hold = self.holds.get(&id).ok_or(Refusal::NoHold { hold: id })?;
        let (owner, currency) = (hold.owner, hold.currency);
        let balance = self.balance_mut(owner, currency)?;
        let added = amount.min(balance.available).max(Amount::ZERO);
        balance.available.0 -= added.0;
        balance.held.0 += added.0;
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.left.0 += added.0;
        }
        Ok(added)
    }

    /// Gives back what is left of a hold and ends it.
    pub(crate) fn release(&mut self, id: HoldId, timers: &mut Timers) -> Result<Amount, Refusal> {
        let hold = self.holds.remove(&id).ok_or(Refusal::NoHold { hold: id })?;
        if let Some(at) = hold.expires {
            timers.clear(at, Timer::Hold(id));
        }
        let balance = self.balance_mut(hold.owner, hold.currency)?;
        balance.held.0 -= hold.left.0;
        balance.available.0 += hold.left.0;
        Ok(hold.left)
    }

    /// The second half of every movement: the payee's side and the journal.
    fn credit(
        &mut self,
        time: Time,
        movement: Movement,
        cause: Cause,
        journal: &mut Vec<Transfer>,
    ) -> Result<TransferId, Refusal> {
        let Movement { payer, payee, currency, amount } = movement;
        let id = TransferId(self.last_transfer.0 + 1);
        let from = self.balance_mut(payer, currency)?;
        let payer_prev = std::mem::replace(&mut from.last_transfer, id);
        let to = self.balance_mut(payee, currency)?;
        to.available.0 += amount.0;
        let payee_prev = match std::mem::replace(&mut to.last_transfer, id) {
            own if payer == payee && own == id => payer_prev,
            before => before,
        };
        self.last_transfer = id;
        journal.push(Transfer { id, time, payer, payee, currency, amount, cause, payer_prev, payee_prev });
        Ok(id)
    }

    /// All money per currency: what was issued, and whether the books balance to zero.
    pub fn books(&self) -> BTreeMap<Currency, Books> {
        let mut books: BTreeMap<Currency, Books> = BTreeMap::new();
        for account in self.accounts() {
            for (currency, balance) in account.balances() {
                let sums = books.entry(currency).or_default();
                let total = i128::from(balance.available.0) + i128::from(balance.held.0);
                sums.sum += total;
                if account.id() == Ledger::ISSUER {
                    sums.issued = -total;
                } else {
                    sums.held += i128::from(balance.held.0);
                }
            }
        }
        books
    }

    /// Panics unless every rule of the ledger holds, when orders hold so much of accounts' money. For tests and
    /// audits; walks everything.
    pub(crate) fn sanity_check(&self, mut held: BTreeMap<(AccountId, Currency), i64>) {
        for (currency, books) in self.books() {
            assert_eq!(books.sum, 0, "the books of {currency} do not balance");
        }
        for (id, hold) in &self.holds {
            assert!(hold.left.0 >= 0, "hold {id} is negative");
            *held.entry((hold.owner, hold.currency)).or_default() += hold.left.0;
        }
        self.accounts.sanity_check();
        for account in self.accounts() {
            let id = account.id();
            for (currency, balance) in account.balances() {
                let expected = held.remove(&(id, currency)).unwrap_or(0);
                assert_eq!(balance.held.0, expected, "account {id} holds other than its holds in {currency}");
                let may_be_negative = id == Ledger::ISSUER;
                assert!(
                    may_be_negative || balance.available.0 >= 0,
                    "account {id} is below zero in {currency}"
                );
                assert!(balance.last_transfer <= self.last_transfer);
            }
        }
        held.retain(|_, amount| *amount != 0);
        assert!(held.is_empty(), "holds without an account: {held:?}");
    }
}

/// From whom to whom how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Movement {
    pub(crate) payer: AccountId,
    pub(crate) payee: AccountId,
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
}

/// Sums over all accounts of one currency, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// All balances added up: zero, always.
    pub sum: i128,
    /// Money in circulation.
    pub issued: i128,
    /// The part of it that is set aside in holds.
    pub held: i128,
}
