//! Names as ids: what gateways remember of them, so that orders need no look at the state.
//!
//! An account's name and an article's SKU stand for the same id for ever, so that what was found once stays true. A
//! coupon's code can stand for a later one when the one before is forgotten: the later has the larger number. What was
//! not found is not remembered: it may come.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use pumasi_core::State;
use pumasi_types::{AccountId, ArticleId, CouponId};

use crate::cell::{Cell, CellError};

/// What is known of names.
#[derive(Default)]
pub(crate) struct Directory(RwLock<Known>);

#[derive(Default)]
struct Known {
    accounts: HashMap<Box<str>, AccountId>,
    articles: HashMap<AccountId, HashMap<Box<str>, ArticleId>>,
    /// Who sells articles that were ordered with coupons.
    sellers: HashMap<ArticleId, AccountId>,
    coupons: HashMap<AccountId, HashMap<Box<str>, CouponId>>,
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
        let Answers { accounts, articles, coupons } = cell.read(move |state| missing.answer(state)).await?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.names + accounts.len() + articles.len() + 2 * coupons.len() > Self::MOST {
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
        for ((article, code), coupon) in coupons {
            if let Some((merchant, id)) = coupon {
                known.names += usize::from(known.sellers.insert(article, merchant).is_none());
                known.know_coupon(merchant, &code, id);
            }
            found.coupons.insert((article, code), coupon.map(|(_, id)| id));
        }
        Ok(())
    }

    /// Remembers coupons that were put just now.
    pub(crate) fn know_coupons<'a>(
        &self,
        merchant: AccountId,
        coupons: impl Iterator<Item = (&'a str, CouponId)>,
    ) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        coupons.for_each(|(code, id)| known.know_coupon(merchant, code, id));
    }
}

impl Known {
    fn know_coupon(&mut self, merchant: AccountId, code: &str, id: CouponId) {
        match self.coupons.entry(merchant).or_default().entry(code.into()) {
            // What was looked up before the code stood for another one may come late.
            Entry::Occupied(mut known) => *known.get_mut() = id.max(*known.get()),
            Entry::Vacant(new) => {
                new.insert(id);
                self.names += 1;
            }
        }
    }
}

/// What was looked up for one batch, also that there is nothing of a name.
#[derive(Default)]
pub(crate) struct Found {
    accounts: HashMap<Box<str>, Option<AccountId>>,
    articles: HashMap<(AccountId, Box<str>), Option<ArticleId>>,
    coupons: HashMap<(ArticleId, Box<str>), Option<CouponId>>,
}

/// Names that have to be looked up.
#[derive(Default)]
pub(crate) struct Missing {
    accounts: HashSet<Box<str>>,
    articles: HashSet<(AccountId, Box<str>)>,
    /// Coupons of whoever sells an article.
    coupons: HashSet<(ArticleId, Box<str>)>,
}

/// Names, and what each stands for.
type Answered<N, T> = Vec<(N, Option<T>)>;

/// What names stand for.
struct Answers {
    accounts: Answered<Box<str>, AccountId>,
    articles: Answered<(AccountId, Box<str>), ArticleId>,
    coupons: Answered<(ArticleId, Box<str>), (AccountId, CouponId)>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.articles.is_empty() && self.coupons.is_empty()
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
        let coupon = |(article, code): (ArticleId, Box<str>)| {
            let merchant = market.article(article).map(|article| article.merchant);
            let id = merchant.and_then(|merchant| Some((merchant, market.by_code(merchant, &code)?)));
            ((article, code), id)
        };
        Answers {
            accounts: self.accounts.into_iter().map(account).collect(),
            articles: self.articles.into_iter().map(article).collect(),
            coupons: self.coupons.into_iter().map(coupon).collect(),
        }
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

    /// The coupon of this code of whoever sells an article; none if there is none, or if that is not known yet.
    pub(crate) fn coupon(&mut self, article: ArticleId, code: &str) -> Option<CouponId> {
        let merchant = self.known.sellers.get(&article);
        if let Some(id) = merchant.and_then(|merchant| self.known.coupons.get(merchant)?.get(code)) {
            return Some(*id);
        }
        let key = (article, Box::from(code));
        let found = self.found.coupons.get(&key).copied();
        if found.is_none() {
            self.missing.coupons.insert(key);
        }
        found.flatten()
    }

    /// What has to be looked up before the pass is done again; empty when the pass was good.
    pub(crate) fn missing(self) -> Missing {
        self.missing
    }
}
