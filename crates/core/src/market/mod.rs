//! The market machine: what merchants sell, what customers order, and what is paid for it.
//!
//! An order reserves its stock and takes its money in one step, or is refused and changes nothing. Stock that is
//! promised is never promised again: what a place can still send is what lies there less what is reserved.

mod answer;
mod archive;
mod batch;
mod catalogue;
mod coupons;
mod events;
mod feeds;
mod orders;
mod parcels;
mod place;
mod returns;
mod sales;
mod scan;
mod steps;
mod stock;
mod webhooks;

use std::collections::BTreeMap;

use pumasi_types::{
    AccountId, ArticleId, CouponId, Currency, EventId, Hour, OrderId, PlaceId, SalesId, Time, WebhookId,
};
use serde::{Deserialize, Serialize};

pub use self::answer::{OrderAnswer, OrderRefusal};
pub use self::archive::{ArchivePlace, Archived, ArchivedOrder};
pub use self::batch::{BadBatch, OrderBatch, OrderLines, OrderSpec};
use self::catalogue::Catalogue;
pub use self::catalogue::{Article, ArticleSpec, ArticleText, MarketTerms, Rate, SettleAt, ShopTerms};
use self::coupons::Coupons;
pub use self::coupons::{Coupon, CouponKind, CouponScope, CouponSpec};
pub use self::events::{Event, EventKind};
pub use self::feeds::FeedView;
use self::feeds::{Feed, Feeds};
use self::orders::Orders;
pub(crate) use self::orders::content_of;
pub use self::orders::{Line, Order, OrderState};
pub use self::parcels::{Course, OrderView, Parcel, Progress, Shipment};
use self::sales::Sales;
pub use self::sales::{Figure, SalesHour};
pub use self::scan::{BadScanCode, ParcelStatus, ScanCode};
pub use self::steps::{OrderStep, Party, StepKind};
pub use self::stock::{Shelf, StockChange, Tracking};
use self::webhooks::Webhooks;
pub use self::webhooks::{
    Disabled, EventKinds, Failure, Letter, Outcome, Replay, Webhook, WebhookReport, WebhookSpec,
};
use crate::effects::Effects;
use crate::refusal::in_list;
use crate::timers::Timers;
use crate::{Ledger, Refusal};

/// All that is sold and ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    catalogue: Catalogue,
    orders: Orders,
    coupons: Coupons,
    feeds: Feeds,
    sales: Sales,
    webhooks: Webhooks,
}

impl Market {
    /// Customers of forgotten coupons that leave in one entry.
    const LEAVING: usize = 1 << 12;
    /// Figures of sales that go to the journal with one entry.
    const FIGURES: usize = 1 << 12;

    /// What the platform takes; none as long as operators have not said it.
    pub fn terms(&self) -> Option<MarketTerms> {
        self.catalogue.terms()
    }

    /// How a merchant sells.
    pub fn shop(&self, merchant: AccountId) -> ShopTerms {
        self.catalogue.shop(merchant)
    }

    /// An article.
    pub fn article(&self, id: ArticleId) -> Option<&Article> {
        self.catalogue.article(id)
    }

    /// What people need to know of an article.
    pub fn text(&self, id: ArticleId) -> Option<&ArticleText> {
        self.catalogue.text(id)
    }

    /// A merchant's article by the name it has there.
    pub fn by_sku(&self, merchant: AccountId, sku: &str) -> Option<ArticleId> {
        self.catalogue.by_sku(merchant, sku)
    }

    /// All articles, in the order in which they came.
    pub fn articles(&self) -> impl ExactSizeIterator<Item = (ArticleId, &Article, &ArticleText)> {
        self.catalogue.iter()
    }

    /// An order that was placed and is remembered, and its lines.
    pub fn order(&self, id: OrderId) -> Option<(&Order, &[Line])> {
        self.orders.view(id).map(|view| (view.order, view.lines))
    }

    /// An order that is remembered, and what became of it.
    pub fn view(&self, id: OrderId) -> Option<OrderView<'_>> {
        self.orders.view(id)
    }

    /// Who sent an order that is remembered: its customer, or a storefront.
    pub fn sent_by(&self, id: OrderId) -> Option<AccountId> {
        self.orders.get(id).map(|(record, _)| record.key.caller)
    }

    /// A coupon or a promotion.
    pub fn coupon(&self, id: CouponId) -> Option<&Coupon> {
        self.coupons.get(id)
    }

    /// A merchant's coupon or promotion by its code.
    pub fn by_code(&self, merchant: AccountId, code: &str) -> Option<CouponId> {
        self.coupons.by_code(merchant, code)
    }

    /// A merchant's coupons and promotions whose codes come after this one, in the order of their codes.
    pub fn coupons_of(&self, merchant: AccountId, after: &str) -> impl Iterator<Item = (CouponId, &Coupon)> {
        self.coupons.of(merchant, after)
    }

    /// The feed of an account in one of its parts.
    pub fn feed(&self, party: Party, account: AccountId) -> FeedView<'_> {
        match party {
            Party::Customer => self.feeds.customer(account),
            Party::Merchant => self.catalogue.feed(account).map(Feed::view).unwrap_or_default(),
            Party::Carrier => self.feeds.carrier(account),
        }
    }

    /// The newest event; also how many there are.
    pub fn last_event(&self) -> EventId {
        self.feeds.last()
    }

    /// All webhooks.
    pub fn webhooks(&self) -> impl Iterator<Item = (WebhookId, &Webhook)> {
        self.webhooks.iter()
    }

    /// A webhook.
    pub fn webhook(&self, id: WebhookId) -> Option<&Webhook> {
        self.webhooks.get(id)
    }

    pub(crate) fn webhooks_mut(&mut self) -> &mut Webhooks {
        &mut self.webhooks
    }

    /// Makes a webhook that begins with the next event of the caller's feed, or changes one.
    pub(crate) fn set_webhook(
        &mut self,
        caller: AccountId,
        spec: &WebhookSpec,
    ) -> Result<WebhookId, Refusal> {
        let newest = self.feed(spec.party, caller).last();
        self.webhooks.set(caller, spec, newest)
    }

    /// Follows what the hub says of webhooks.
    pub(crate) fn follow_webhooks(&mut self, reports: &[WebhookReport], now: Time) {
        let newest = self.last_event();
        reports.iter().for_each(|report| self.webhooks.report(report, newest, now));
    }

    /// There are so many accounts, each of which can be a customer.
    pub(crate) fn know(&mut self, accounts: usize) {
        self.feeds.know(accounts);
    }

    /// What the archive has of an order that is remembered beyond its key: its parcels, which memory has not any more.
    pub fn archived(&self, id: OrderId) -> ArchivePlace {
        self.orders.archived(id)
    }

    /// Where the archive ends.
    pub fn archived_to(&self) -> ArchivePlace {
        self.orders.archived_to()
    }

    /// The last figures in the journal of sales.
    pub fn last_sales(&self) -> SalesId {
        self.sales.last()
    }

    /// Figures that are not in the journal of sales yet, in order of hours, merchants and articles, of one merchant or
    /// of all, behind `after`.
    pub fn running_sales(
        &self,
        merchant: Option<AccountId>,
        after: Option<(Hour, AccountId, ArticleId)>,
    ) -> impl Iterator<Item = SalesHour> {
        self.sales.iter(&self.catalogue, merchant, after)
    }

    pub(crate) fn set_terms(&mut self, terms: MarketTerms, ledger: &Ledger) -> Result<(), Refusal> {
        for account in [terms.fee_to, terms.tax_to] {
            if account == Ledger::ISSUER || ledger.account(account).is_none() {
                return Err(Refusal::NoAccount { account });
            }
        }
        self.catalogue.set_terms(self.orders.next(), terms);
        Ok(())
    }

    pub(crate) fn set_shop(&mut self, merchant: AccountId, terms: ShopTerms) -> Result<(), Refusal> {
        self.catalogue.set_shop(merchant, terms)
    }

    /// Adds or changes articles: all or none.
    pub(crate) fn put_articles(
        &mut self,
        merchant: AccountId,
        specs: &[ArticleSpec],
    ) -> Result<Vec<ArticleId>, Refusal> {
        let mut new = BTreeMap::new();
        in_list(specs, |spec| self.catalogue.check(merchant, spec, &mut new))?;
        let articles = specs.iter().map(|spec| self.catalogue.put(merchant, spec)).collect();
        self.sales.make_room(self.catalogue.len());
        Ok(articles)
    }

    /// Changes stock: all of it or nothing.
    pub(crate) fn change_stock(
        &mut self,
        merchant: AccountId,
        changes: &[(ArticleId, PlaceId, StockChange)],
    ) -> Result<(), Refusal> {
        let mut changed = BTreeMap::new();
        in_list(changes, |(id, place, change)| {
            let stock = match changed.get_mut(id) {
                Some(stock) => stock,
                None => {
                    let article = self.catalogue.article(*id).filter(|article| article.merchant == merchant);
                    let article = article.ok_or(Refusal::NoOwnArticle { article: *id })?;
                    changed.entry(*id).or_insert_with(|| article.stock.clone())
                }
            };
            stock.change(*place, *change)
        })?;
        for (id, stock) in changed {
            if let Some(article) = self.catalogue.article_mut(id) {
                article.stock = stock;
            }
        }
        Ok(())
    }

    /// Counts time for the memory of orders' keys and for the figures of sales; `most` pages of keys are dropped.
    pub(crate) fn pass(&mut self, now: Time, most: usize, effects: &mut Effects) {
        self.orders.pass(now, most, &mut effects.archived);
        self.coupons.pass(Market::LEAVING);
        self.sales.turn(now.hour(), &self.catalogue, &mut effects.sales);
        self.sales.close(Market::FIGURES, &self.catalogue, &mut effects.sales);
    }

    /// Pages that so many orders fill.
    pub(crate) fn pages(orders: usize) -> usize {
        orders / Orders::PAGE
    }

    /// Whether what is over was too much for one entry.
    pub(crate) fn is_behind(&self) -> bool {
        self.sales.is_behind()
    }

    /// Lets nobody foresee where keys and SKUs lie.
    pub(crate) fn scatter(&mut self, seed: u64) {
        self.orders.scatter(seed);
        self.catalogue.scatter(seed);
    }

    /// What orders hold of customers' money.
    pub(crate) fn held(&self) -> BTreeMap<(AccountId, Currency), i64> {
        let mut held = BTreeMap::new();
        for (_, view) in self.orders.iter().filter(|(_, view)| view.held().is_positive()) {
            *held.entry((view.order.customer, view.order.currency)).or_default() += view.held().0;
        }
        held
    }

    pub(crate) fn sanity_check(&self, timers: &Timers) {
        self.catalogue.sanity_check();
        self.orders.sanity_check(timers);
        self.feeds.sanity_check(self.catalogue.feeds());
        self.sales.sanity_check(self.catalogue.len());
        self.webhooks.sanity_check(self.last_event());
        let mut reserved: BTreeMap<(ArticleId, PlaceId), u64> = BTreeMap::new();
        let mut used: BTreeMap<CouponId, u64> = BTreeMap::new();
        for (id, view) in self.orders.iter() {
            view.sanity_check(id);
            if !matches!(view.order.state, OrderState::Cancelled | OrderState::Expired) {
                *used.entry(view.order.coupon).or_default() += 1;
            }
            let lines = view.lines.iter().enumerate().filter(|(_, line)| line.place.0 != 0);
            for (at, line) in lines.filter(|(at, _)| view.to_ship(*at) > 0) {
                *reserved.entry((line.article, line.place)).or_default() += u64::from(view.to_ship(at));
            }
        }
        self.coupons.sanity_check(&used, timers);
        for (id, article, _) in self.catalogue.iter() {
            for shelf in article.stock.shelves() {
                let expected = reserved.remove(&(id, shelf.place)).unwrap_or(0);
                assert_eq!(u64::from(shelf.reserved), expected, "article {id} at {}", shelf.place);
            }
        }
        assert!(reserved.is_empty(), "orders reserve what is not there: {reserved:?}");
    }
}
