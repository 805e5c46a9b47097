//! An account and its balances.

use pumasi_types::{Amount, Currency, Time, TransferId};
use serde::{Deserialize, Serialize};

use crate::Roles;

/// Owns money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What people call it; unique.
    pub name: String,
    /// What it may do.
    pub roles: Roles,
    /// When it was opened, in log time.
    pub opened: Time,
    /// One per currency it ever touched: almost always one, so a list beats a map.
    balances: Vec<(Currency, Balance)>,
}

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

impl Account {
    pub(crate) fn new(name: String, roles: Roles, opened: Time) -> Account {
        Account { name, roles, opened, balances: Vec::new() }
    }

    /// Its balance in `currency`.
    pub fn balance(&self, currency: Currency) -> Balance {
        self.balances.iter().find(|(c, _)| *c == currency).map(|(_, balance)| *balance).unwrap_or_default()
    }

    /// All its balances.
    pub fn balances(&self) -> impl Iterator<Item = (Currency, Balance)> {
        self.balances.iter().copied()
    }

    pub(crate) fn balance_mut(&mut self, currency: Currency) -> &mut Balance {
        let place = self.balances.iter().position(|(c, _)| *c == currency).unwrap_or_else(|| {
            self.balances.push((currency, Balance::default()));
            self.balances.len() - 1
        });
        &mut self.balances[place].1
    }
}
