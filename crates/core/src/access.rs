//! Who may do what: roles of accounts and tokens that stand for them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pumasi_types::{AccountId, Hash};
use serde::{Deserialize, Serialize};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Orders computations.
    Researcher,
    /// Lets machines join and is paid.
    Owner,
    /// Runs the hub: opens accounts, issues money, sees everything.
    Operator,
    /// Follows the whole log and checks it; changes nothing.
    Auditor,
    /// Sells goods.
    Merchant,
    /// Orders in customers' names.
    Storefront,
    /// Carries parcels.
    Carrier,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 7] = [
        Role::Researcher,
        Role::Owner,
        Role::Operator,
        Role::Auditor,
        Role::Merchant,
        Role::Storefront,
        Role::Carrier,
    ];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Researcher => "researcher",
            Role::Owner => "owner",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Merchant => "merchant",
            Role::Storefront => "storefront",
            Role::Carrier => "carrier",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        Role::ALL.into_iter().find(|role| role.to_string() == text).ok_or_else(|| {
            let known = Role::ALL.map(|role| role.to_string()).join(", ");
            format!("'{text}' is not a role: use one of {known}")
        })
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(u8);

impl Roles {
    /// Whether `role` is among them.
    pub fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// The roles, in order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        Roles(roles.into_iter().fold(0, |set, role| set | 1 << role as u8))
    }
}

/// Tokens by their hash; the tokens themselves are nowhere in the state or the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens(BTreeMap<Hash, AccountId>);

impl Tokens {
    pub(crate) fn account(&self, token: &Hash) -> Option<AccountId> {
        self.0.get(token).copied()
    }

    /// Whether the token was new.
    pub(crate) fn add(&mut self, token: Hash, account: AccountId) -> bool {
        let new = !self.0.contains_key(&token);
        if new {
            self.0.insert(token, account);
        }
        new
    }

    pub(crate) fn revoke(&mut self, token: &Hash) -> bool {
        self.0.remove(token).is_some()
    }
}
