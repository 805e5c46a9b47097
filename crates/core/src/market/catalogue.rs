//! What merchants sell: articles, and on which terms.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, Amount, ArticleId, Currency, Duration, OrderId, PlaceId};
use serde::{Deserialize, Serialize};

use super::feeds::Feed;
use super::stock::{Shelf, Stock, Tracking};
use crate::Refusal;
use crate::bounds::Bounds;
use crate::index::{Index, KeyHash};
use crate::pages::Pages;

/// Parts of ten thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(u16);

impl Rate {
    /// Everything.
    pub const WHOLE: u16 = 10_000;

    /// A rate of so many parts of ten thousand; `None` above all of them.
    pub fn new(parts: u16) -> Option<Rate> {
        (parts <= Rate::WHOLE).then_some(Rate(parts))
    }

    /// Its parts of ten thousand.
    pub fn parts(self) -> u16 {
        self.0
    }

    /// That part of an amount that is not negative, rounded down.
    pub fn of(self, amount: Amount) -> Amount {
        part(amount, u64::from(self.0), u64::from(Rate::WHOLE))
    }

    /// The part that this rate, added to something, is of the sum: the tax in a price that contains it. Rounded down.
    pub fn contained_in(self, amount: Amount) -> Amount {
        part(amount, u64::from(self.0), u64::from(Rate::WHOLE) + u64::from(self.0))
    }
}

/// `amount × numerator / denominator`, rounded down; the numerator is at most the denominator, and both are small.
fn part(amount: Amount, numerator: u64, denominator: u64) -> Amount {
    let minor = u64::try_from(amount.0).unwrap_or(0);
    // Whole parts first, so that no product leaves 64 bits.
    let (whole, rest) = (minor / denominator, minor % denominator);
    Amount((whole * numerator + rest * numerator / denominator).cast_signed())
}

/// When a merchant is paid. The order of variants is part of the stored format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettleAt {
    /// When an order is paid.
    Placing,
    /// When its parcels are on their way, each for its part.
    #[default]
    Shipping,
}

/// What the platform takes, and where it and taxes go. Operators set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketTerms {
    /// Who gets the fees.
    pub fee_to: AccountId,
    /// Who gets the taxes, to hand them on.
    pub tax_to: AccountId,
    /// The fee, of an order's total.
    pub fee: Rate,
}

/// How a merchant sells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShopTerms {
    /// When it is paid.
    pub settle_at: SettleAt,
    /// How long stock is reserved for an order that is paid later, in log time.
    pub reservation: Duration,
    /// How long after it arrived an order is completed by itself, in log time.
    pub completion: Duration,
    /// How long after it arrived an order can be returned, in log time.
    pub returns: Duration,
}

impl Default for ShopTerms {
    fn default() -> ShopTerms {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        ShopTerms {
            settle_at: SettleAt::default(),
            reservation: Duration::from_secs(30 * 60),
            completion: days(7),
            returns: days(14),
        }
    }
}

/// A merchant: its terms, and its feed beside them, because each order of its asks for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shop {
    pub(crate) terms: ShopTerms,
    pub(crate) feed: Feed,
}

/// An article as its merchant describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArticleSpec {
    /// What the merchant calls it; unique among its articles.
    pub sku: String,
    /// The Global Trade Item Number (GS1 General Specifications), 8 to 14 digits; 0: none.
    pub gtin: u64,
    /// Its title in Korean.
    pub title_ko: String,
    /// Its title in English.
    pub title_en: String,
    /// Where it stands among others, parts divided by `/`.
    pub category: String,
    /// What one costs, tax contained.
    pub price: Amount,
    /// In which currency; it stays.
    pub currency: Currency,
    /// The rate of tax that the price contains.
    pub tax: Rate,
    /// Whether it is counted.
    pub tracking: Tracking,
    /// Whether it can be ordered.
    pub on_sale: bool,
}

/// What an order needs to know of an article: a cache line, so that looking at one waits for memory once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(align(64))]
pub struct Article {
    /// Who sells it.
    pub merchant: AccountId,
    /// What one costs, tax contained.
    pub price: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The rate of tax that the price contains.
    pub tax: Rate,
    /// Whether it can be ordered.
    pub on_sale: bool,
    /// What there is of it, and where.
    pub(crate) stock: Stock,
}

/// What people need to know of an article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArticleText {
    /// What the merchant calls it.
    pub sku: Box<str>,
    /// Its trade item number; 0: none.
    pub gtin: u64,
    /// Its title in Korean.
    pub title_ko: Box<str>,
    /// Its title in English.
    pub title_en: Box<str>,
    /// Where it stands among others.
    pub category: Box<str>,
}

/// All articles and terms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub(crate) struct Catalogue {
    /// From which order on which terms hold: an order keeps those under which it was placed.
    terms: Vec<(OrderId, MarketTerms)>,
    shops: BTreeMap<AccountId, Shop>,
    articles: Pages<Article>,
    texts: Pages<ArticleText>,
    /// Finds articles by merchant and SKU.
    #[serde(skip)]
    skus: Index,
    /// Unforeseeable once it is chosen; 0 before.
    seed: u64,
}

/// What a snapshot has of it.
#[derive(Deserialize)]
struct Stored {
    terms: Vec<(OrderId, MarketTerms)>,
    shops: BTreeMap<AccountId, Shop>,
    articles: Pages<Article>,
    texts: Pages<ArticleText>,
    seed: u64,
}

impl TryFrom<Stored> for Catalogue {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Catalogue, &'static str> {
        let Stored { terms, shops, articles, texts, seed } = stored;
        if articles.len() != texts.len() {
            return Err("articles must have a text each");
        }
        let mut catalogue = Catalogue { terms, shops, articles, texts, skus: Index::default(), seed };
        catalogue.build();
        Ok(catalogue)
    }
}

/// The index follows from the rest.
impl PartialEq for Catalogue {
    fn eq(&self, other: &Catalogue) -> bool {
        (&self.terms, &self.shops, &self.articles, &self.texts, self.seed)
            == (&other.terms, &other.shops, &other.articles, &other.texts, other.seed)
    }
}

impl Eq for Catalogue {}

impl Article {
    /// Whether it is counted.
    pub fn tracking(&self) -> Tracking {
        self.stock.tracking()
    }

    /// What lies where.
    pub fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.stock.shelves()
    }
}

impl Catalogue {
    /// How a merchant sells.
    pub(crate) fn shop(&self, merchant: AccountId) -> ShopTerms {
        self.shops.get(&merchant).map(|shop| shop.terms).unwrap_or_default()
    }

    /// A merchant's shop, to be changed.
    pub(crate) fn shop_mut(&mut self, merchant: AccountId) -> &mut Shop {
        self.shops.entry(merchant).or_default()
    }

    /// The feed of a merchant that has one.
    pub(crate) fn feed(&self, merchant: AccountId) -> Option<&Feed> {
        self.shops.get(&merchant).map(|shop| &shop.feed)
    }

    /// The feeds of all merchants.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.shops.values().map(|shop| &shop.feed)
    }

    /// What the platform takes of the next order.
    pub(crate) fn terms(&self) -> Option<MarketTerms> {
        self.terms.last().map(|(_, terms)| *terms)
    }

    /// The terms of this and later orders.
    pub(crate) fn set_terms(&mut self, from: OrderId, terms: MarketTerms) {
        self.terms.pop_if(|(before, _)| *before == from);
        self.terms.push((from, terms));
    }

    /// The platform's part of the next order.
    pub(crate) fn fee(&self) -> Rate {
        self.terms().map(|terms| terms.fee).unwrap_or_default()
    }

    /// Who gets fees and taxes of an order; the merchant itself if it was placed before terms were set.
    pub(crate) fn payees(&self, merchant: AccountId, order: OrderId) -> (AccountId, AccountId) {
        let count = self.terms.partition_point(|(from, _)| *from <= order);
        let terms = count.checked_sub(1).map(|last| self.terms[last].1);
        terms.map_or((merchant, merchant), |terms| (terms.fee_to, terms.tax_to))
    }

    pub(crate) fn set_shop(&mut self, merchant: AccountId, terms: ShopTerms) -> Result<(), Refusal> {
        if terms.reservation > Bounds::RESERVATION {
            return Err(Refusal::invalid("reservation", "must be at most 30 days"));
        }
        if terms.completion.max(terms.returns) > Bounds::AFTER_SALES {
            return Err(Refusal::invalid("completion and returns", "must be at most 366 days"));
        }
        self.shop_mut(merchant).terms = terms;
        Ok(())
    }

    pub(crate) fn article(&self, id: ArticleId) -> Option<&Article> {
        self.articles.get(place(id)?)
    }

    pub(crate) fn article_mut(&mut self, id: ArticleId) -> Option<&mut Article> {
        self.articles.get_mut(place(id)?)
    }

    /// How many articles there are.
    pub(crate) fn len(&self) -> usize {
        self.articles.len()
    }

    /// What people need to know of it.
    pub(crate) fn text(&self, id: ArticleId) -> Option<&ArticleText> {
        self.texts.get(place(id)?)
    }

    pub(crate) fn by_sku(&self, merchant: AccountId, sku: &str) -> Option<ArticleId> {
        let is_it = |number| {
            let id = ArticleId(number as u32);
            let text = self.text(id).is_some_and(|text| *text.sku == *sku);
            text && self.article(id).is_some_and(|article| article.merchant == merchant)
        };
        self.skus.find(self.hash(merchant, sku), 0, is_it).map(|number| ArticleId(number as u32))
    }

    /// Where the article of a merchant and SKU is looked for.
    fn hash(&self, merchant: AccountId, sku: &str) -> KeyHash {
        KeyHash::of_text(self.seed ^ merchant.0.wrapping_mul(0xd6e8_feb8_6659_fd93), sku)
    }

    fn build(&mut self) {
        let hashed = self.iter().map(|(id, article, text)| (self.hash(article.merchant, &text.sku), id));
        self.skus = hashed.map(|(hash, id)| (hash, u64::from(id.0))).collect();
    }

    /// Lets nobody foresee where SKUs lie, if that was not done and there are few.
    pub(crate) fn scatter(&mut self, seed: u64) {
        if self.seed == 0 && self.articles.len() <= Index::FEW {
            self.seed = seed;
            self.build();
        }
    }

    /// All articles, in the order in which they came.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ArticleId, &Article, &ArticleText)> {
        let there = "articles have a text each";
        (0..self.articles.len()).map(move |at| {
            let (article, text) = (self.articles.get(at), self.texts.get(at));
            (ArticleId(at as u32 + 1), article.expect(there), text.expect(there))
        })
    }

    /// Whether an article can be added or changed so, behind `new` ones of the same list, by their SKU.
    pub(crate) fn check<'a>(
        &self,
        merchant: AccountId,
        spec: &'a ArticleSpec,
        new: &mut BTreeMap<&'a str, Currency>,
    ) -> Result<(), Refusal> {
        check(spec)?;
        let known = self.by_sku(merchant, &spec.sku).and_then(|id| self.article(id));
        let before = known.map(|article| article.currency).or_else(|| new.get(spec.sku.as_str()).copied());
        match before {
            Some(before) if before != spec.currency => {
                Err(Refusal::invalid("currency", "of an article stays: use another SKU"))
            }
            None if self.articles.len() + new.len() >= Bounds::ARTICLES => {
                Err(Refusal::invalid("article", "cannot be added: this cell has as many as it can keep"))
            }
            None => {
                new.insert(&spec.sku, spec.currency);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds an article that was checked, or changes the merchant's article of this SKU; stock stays as it is.
    pub(crate) fn put(&mut self, merchant: AccountId, spec: &ArticleSpec) -> ArticleId {
        let text = ArticleText {
            sku: spec.sku.as_str().into(),
            gtin: spec.gtin,
            title_ko: spec.title_ko.as_str().into(),
            title_en: spec.title_en.as_str().into(),
            category: spec.category.as_str().into(),
        };
        let ArticleSpec { price, currency, tax, tracking, on_sale, .. } = *spec;
        let known = self.by_sku(merchant, &spec.sku);
        if let Some((id, at)) = known.and_then(|id| Some((id, place(id)?)))
            && let (Some(article), Some(old)) = (self.articles.get_mut(at), self.texts.get_mut(at))
        {
            (article.price, article.tax, article.on_sale) = (price, tax, on_sale);
            article.stock.set_tracking(tracking);
            *old = text;
            return id;
        }
        let stock = Stock::new(tracking);
        self.articles.push(Article { merchant, price, currency, tax, on_sale, stock });
        let id = ArticleId(self.articles.len() as u32);
        self.skus.insert(self.hash(merchant, &text.sku), u64::from(id.0));
        self.texts.push(text);
        id
    }

    pub(crate) fn sanity_check(&self) {
        assert!(self.terms.is_sorted_by(|a, b| a.0 < b.0), "terms follow each other");
        assert_eq!((self.articles.len(), self.skus.len()), (self.texts.len(), self.texts.len()));
        for (id, article, text) in self.iter() {
            assert_eq!(self.by_sku(article.merchant, &text.sku), Some(id), "an article is found by its SKU");
            assert!(article.price.0 >= 0);
        }
    }
}

/// Where an article's records are.
pub(super) fn place(id: ArticleId) -> Option<usize> {
    Some(id.0.checked_sub(1)? as usize)
}

fn check(spec: &ArticleSpec) -> Result<(), Refusal> {
    let text = |field: &str, text: &str, most: usize| {
        if text.len() > most || text.chars().any(char::is_control) {
            let problem = format!("must be at most {most} bytes without control characters");
            return Err(Refusal::invalid(field, problem));
        }
        Ok(())
    };
    text("sku", &spec.sku, 64)?;
    if spec.sku.is_empty() {
        return Err(Refusal::invalid("sku", "must not be empty"));
    }
    text("title_ko", &spec.title_ko, 300)?;
    text("title_en", &spec.title_en, 300)?;
    text("category", &spec.category, 200)?;
    if !is_gtin(spec.gtin) {
        return Err(Refusal::invalid("gtin", "must be 8 to 14 digits of which the last is the check digit"));
    }
    if spec.price.0 < 0 || spec.price > Bounds::PRICE {
        return Err(Refusal::invalid("price", "must be nothing or more, and at most 10^12 minor units"));
    }
    Ok(())
}

/// Whether it is none, or ends with the check digit of GS1 General Specifications 7.9.
fn is_gtin(gtin: u64) -> bool {
    let digits = |mut rest: u64| {
        std::iter::from_fn(move || {
            let digit = rest % 10;
            rest /= 10;
            Some(digit)
        })
    };
    let sum: u64 =
        digits(gtin).zip([1, 3].into_iter().cycle()).take(14).map(|(digit, weight)| digit * weight).sum();
    gtin == 0 || (gtin < 100_000_000_000_000 && sum.is_multiple_of(10))
}

/// A place whose number its merchant chose.
pub(crate) fn is_place(place: PlaceId) -> bool {
    place.0 != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trade_item_numbers_end_with_their_check_digit() {
        // GS1's own example, an EAN-13 and an EAN-8.
        for good in [0, 614_141_999_996, 4_006_381_333_931, 96_385_074] {
            assert!(is_gtin(good), "{good}");
        }
        for bad in [614_141_999_997, 4_006_381_333_932, 100_000_000_000_000] {
            assert!(!is_gtin(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_rounded_down(amount in 0..=i64::MAX, parts in 0..=Rate::WHOLE) {
            let rate = Rate::new(parts).expect("in range");
            let of = i128::from(amount) * i128::from(parts) / 10_000;
            prop_assert_eq!(i128::from(rate.of(Amount(amount)).0), of);
            let contained = i128::from(amount) * i128::from(parts) / (10_000 + i128::from(parts));
            prop_assert_eq!(i128::from(rate.contained_in(Amount(amount)).0), contained);
        }
    }
}
