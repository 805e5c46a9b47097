//! Names as ids: what gateways remember of them, so that orders need no look at the state.
//!
//! An account's name and an article's SKU stand for the same id for ever, so that what was found once stays true. What
//! was not found is not remembered: it may come.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use pumasi_core::State;
use pumasi_types::{AccountId, ArticleId};

use crate::cell::{Cell, CellError};

/// What is known of names.
#[derive(Default)]
pub(crate) struct Directory(RwLock<Known>);

#[derive(Default)]
struct Known {
    accounts: HashMap<Box<str>, AccountId>,
    articles: HashMap<AccountId, HashMap<Box<str>, ArticleId>>,
    /// How many names that is.
    names: usize,
}

impl Directory {
    /// Names remembered at most; then all are looked up anew.
    const MOST: usize = 2_000_000;

    /// Reads names; those that are known to the batch in hand are in `found`.
    pub(crate) fn reader<'a>(&'a self, found: &'a Found) -> Reader<'a> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Reader { known, found, missing: Missing::default() }
    }

    /// Asks the state for names, remembers what there is and adds it to `found`.
    pub(crate) async fn look_up(
        &self,
        cell: &Cell,
        missing: Missing,
        found: &mut Found,
    ) -> Result<(), CellError> {
        let (accounts, articles) = cell.read(move |state| missing.answer(state)).await?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.names + accounts.len() + articles.len() > Self::MOST {
            *known = Known::default();
        }
        for (name, id) in accounts {
            if let Some(id) = id {
                known.names += usize::from(known.accounts.insert(name.clone(), id).is_none());
            }
            found.accounts.insert(name, id);
        }
        for ((merchant, sku), id) in articles {
            if let Some(id) = id {
                let of_merchant = known.articles.entry(merchant).or_default();
                let new = of_merchant.insert(sku.clone(), id).is_none();
                known.names += usize::from(new);
            }
            found.articles.insert((merchant, sku), id);
        }
        Ok(())
    }
}

/// What was looked up for one batch, also that there is nothing of a name.
#[derive(Default)]
pub(crate) struct Found {
    accounts: HashMap<Box<str>, Option<AccountId>>,
    articles: HashMap<(AccountId, Box<str>), Option<ArticleId>>,
}

/// Names that have to be looked up.
#[derive(Default)]
pub(crate) struct Missing {
    accounts: HashSet<Box<str>>,
    articles: HashSet<(AccountId, Box<str>)>,
}

type Answers = (Vec<(Box<str>, Option<AccountId>)>, Vec<((AccountId, Box<str>), Option<ArticleId>)>);

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.articles.is_empty()
    }

    fn answer(self, state: &State) -> Answers {
        let (ledger, market) = (state.ledger(), state.market());
        let account = |name: Box<str>| {
            let id = ledger.account_named(&name);
            (name, id)
        };
        let article = |(merchant, sku): (AccountId, Box<str>)| {
            let id = market.by_sku(merchant, &sku);
            ((merchant, sku), id)
        };
        (self.accounts.into_iter().map(account).collect(), self.articles.into_iter().map(article).collect())
    }
}

/// The directory, opened for one pass over a batch.
pub(crate) struct Reader<'a> {
    known: RwLockReadGuard<'a, Known>,
    found: &'a Found,
    missing: Missing,
}

impl Reader<'_> {
    /// The account of this name; none if there is none, or if that is not known yet.
    pub(crate) fn account(&mut self, name: &str) -> Option<AccountId> {
        if let Some(id) = self.known.accounts.get(name) {
            return Some(*id);
        }
        let found = self.found.accounts.get(name);
        if found.is_none() {
            self.missing.accounts.insert(name.into());
        }
        found.copied().flatten()
    }

    /// A merchant's article of this SKU; none if there is none, or if that is not known yet.
    pub(crate) fn article(&mut self, merchant: AccountId, sku: &str) -> Option<ArticleId> {
        if let Some(id) = self.known.articles.get(&merchant).and_then(|articles| articles.get(sku)) {
            return Some(*id);
        }
        let key = (merchant, Box::from(sku));
        let found = self.found.articles.get(&key).copied();
        if found.is_none() {
            self.missing.articles.insert(key);
        }
        found.flatten()
    }

    /// What has to be looked up before the pass is done again; empty when the pass was good.
    pub(crate) fn missing(self) -> Missing {
        self.missing
    }
}
