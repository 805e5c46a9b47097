//! Coupons and promotions: what makes an order cheaper, for whom, when, and how often.
//!
//! A customer names a coupon; a promotion applies by itself. They do not add up: an order gets the one that takes most
//! off it, and of some that take as much the oldest promotion, so that its customer keeps the coupon. The merchant pays
//! for it: total, fee and tax are of what is left. An order that is given up whole, or expires, gives its use back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, Time};
use serde::{Deserialize, Serialize};

use super::Market;
use super::answer::OrderRefusal;
use super::batch::OrderSpec;
use super::catalogue::{Catalogue, Rate};
use super::orders::Line;
use super::sales::spread;
use crate::Refusal;
use crate::bounds::Bounds;
use crate::compute::Context;
use crate::refusal::in_list;
use crate::timers::{Timer, Timers};

/// A coupon or a promotion as its merchant describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponSpec {
    /// What its merchant calls it, and customers type; unique among its coupons and promotions.
    pub code: String,
    /// Whether it is a promotion, which applies by itself.
    pub automatic: bool,
    /// What it takes off.
    pub kind: CouponKind,
    /// What it takes that off.
    pub scope: CouponScope,
    /// From when on it can be used, in log time.
    pub starts: Time,
    /// From when on it is over.
    pub ends: Time,
    /// How many orders can have it; none: any number.
    pub uses: Option<u32>,
    /// How many orders of one customer can have it; none: any number.
    pub uses_each: Option<u32>,
}

/// What a coupon takes off. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouponKind {
    /// A part of the price, rounded down for all that it is for together.
    Percent(Rate),
    /// So much, or the whole price where that is less.
    Amount {
        /// In which currency; orders in another one are none that it is for.
        currency: Currency,
        /// How much, in minor units.
        off: Amount,
        /// What the articles that it is for must cost together.
        at_least: Amount,
    },
    /// Of so many that are bought and so many more, the latter are free: the cheapest ones of the order, as often as
    /// there are so many.
    BuyXGetY {
        /// How many are paid for.
        buy: u32,
        /// How many more cost nothing.
        free: u32,
    },
}

/// Which of its merchant's articles a coupon is for. The order of variants is part of the stored format: append, never
/// reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouponScope {
    /// All of them.
    All,
    /// Those of a category and of the categories in it: `office` is for `office` and `office/pens`.
    Category(String),
    /// These.
    Articles(Vec<ArticleId>),
}

/// A coupon or a promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupon {
    /// Whose it is.
    pub merchant: AccountId,
    /// What it is; its articles are sorted.
    pub spec: CouponSpec,
    /// How many orders have it that were not given up whole and did not expire.
    pub used: u64,
    /// How many of each customer; only of those that are limited so.
    used_by: BTreeMap<AccountId, u32>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Coupons {
    all: BTreeMap<CouponId, Coupon>,
    codes: BTreeMap<(AccountId, Box<str>), CouponId>,
    /// Promotions that are not over: what each order of these merchants looks at.
    promotions: BTreeMap<AccountId, BTreeSet<CouponId>>,
    last: CouponId,
    /// Customers of coupons that were forgotten, who leave a few at a time.
    leaving: Vec<BTreeMap<AccountId, u32>>,
}

/// What an order gets.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) coupon: CouponId,
    /// What it takes off altogether.
    pub(crate) off: Amount,
    /// What of it is each line's; never more than the line costs.
    pub(crate) lines: Vec<Amount>,
}

impl CouponScope {
    fn has(&self, article: ArticleId, catalogue: &Catalogue) -> bool {
        match self {
            CouponScope::All => true,
            CouponScope::Category(category) => {
                let text = catalogue.text(article).and_then(|text| text.category.strip_prefix(&**category));
                text.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            CouponScope::Articles(articles) => articles.binary_search(&article).is_ok(),
        }
    }
}

impl Coupon {
    /// How many orders of a customer have it, if that is limited.
    pub fn used_by(&self, customer: AccountId) -> Option<u32> {
        self.spec.uses_each.map(|_| self.used_by.get(&customer).copied().unwrap_or(0))
    }

    /// Whether a customer's next order can have it, whatever is in it.
    fn is_usable(&self, coupon: CouponId, customer: AccountId, now: Time) -> Result<(), OrderRefusal> {
        let spec = &self.spec;
        if now < spec.starts {
            return Err(OrderRefusal::CouponNotYet { coupon, starts: spec.starts });
        }
        if now >= spec.ends {
            return Err(OrderRefusal::CouponOver { coupon });
        }
        if spec.uses.is_some_and(|uses| self.used >= u64::from(uses)) {
            return Err(OrderRefusal::CouponUsedUp { coupon });
        }
        match self.used_by(customer).zip(spec.uses_each) {
            Some((used, uses)) if used >= uses => Err(OrderRefusal::CouponUsed { coupon }),
            _ => Ok(()),
        }
    }

    /// What it takes off these lines, whose prices are known and whose sum is an amount.
    fn cut(
        &self,
        coupon: CouponId,
        currency: Currency,
        lines: &[Line],
        catalogue: &Catalogue,
    ) -> Result<Cut, OrderRefusal> {
        let suits = |line: &&Line| self.spec.scope.has(line.article, catalogue);
        // What is not for it counts as none.
        let counts: Vec<u32> =
            lines.iter().map(|line| if suits(&line) { line.quantity } else { 0 }).collect();
        let goods = || lines.iter().zip(counts.iter().copied());
        let fits = match self.spec.kind {
            CouponKind::Amount { currency: own, .. } => own == currency,
            _ => true,
        };
        if !fits || counts.iter().all(|count| *count == 0) {
            return Err(OrderRefusal::CouponNotForThese { coupon });
        }
        let worth = Amount(goods().map(|(line, count)| line.price.0 * i64::from(count)).sum());
        let lines: Vec<Amount> = match self.spec.kind {
            CouponKind::Percent(rate) => spread(rate.of(worth), lines, |at| counts[at]).collect(),
            CouponKind::Amount { at_least, .. } if worth < at_least => {
                return Err(OrderRefusal::CouponBelow { coupon, at_least, currency });
            }
            CouponKind::Amount { off, .. } => spread(off.min(worth), lines, |at| counts[at]).collect(),
            CouponKind::BuyXGetY { buy, free } => {
                let group = u64::from(buy) + u64::from(free);
                let groups = goods().map(|(_, count)| u64::from(count)).sum::<u64>() / group;
                if groups == 0 {
                    return Err(OrderRefusal::CouponTooFew { coupon, at_least: group });
                }
                cheapest(groups * u64::from(free), goods())
            }
        };
        Ok(Cut { coupon, off: Amount(lines.iter().map(|off| off.0).sum()), lines })
    }
}

/// What so many of the cheapest cost, by lines.
fn cheapest<'a>(mut free: u64, goods: impl Iterator<Item = (&'a Line, u32)>) -> Vec<Amount> {
    let goods: Vec<_> = goods.collect();
    let mut order: Vec<usize> = (0..goods.len()).collect();
    order.sort_by_key(|at| goods[*at].0.price);
    let mut lines = vec![Amount::ZERO; goods.len()];
    for at in order {
        let (line, count) = goods[at];
        let taken = free.min(u64::from(count));
        free -= taken;
        lines[at] = Amount(line.price.0 * taken.cast_signed());
    }
    lines
}

impl Coupons {
    pub(crate) fn get(&self, id: CouponId) -> Option<&Coupon> {
        self.all.get(&id)
    }

    /// A merchant's coupons and promotions whose codes come after this one.
    pub(crate) fn of(
        &self,
        merchant: AccountId,
        after: &str,
    ) -> impl Iterator<Item = (CouponId, &Coupon)> + use<'_> {
        let from = Bound::Excluded((merchant, after.into()));
        let own = self.codes.range((from, Bound::Unbounded));
        own.take_while(move |((of, _), _)| *of == merchant).filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    pub(crate) fn by_code(&self, merchant: AccountId, code: &str) -> Option<CouponId> {
        self.codes.get(&(merchant, code.into())).copied()
    }

    /// What makes an order cheaper, if anything does; why not, if that is the coupon that it names.
    pub(crate) fn best(
        &self,
        order: &OrderSpec<'_>,
        merchant: AccountId,
        lines: &[Line],
        catalogue: &Catalogue,
        now: Time,
    ) -> Result<Option<Cut>, OrderRefusal> {
        if order.coupon.0 == 0 && self.promotions.is_empty() {
            return Ok(None);
        }
        let cut = |id: CouponId, coupon: &Coupon| {
            coupon.is_usable(id, order.customer, now)?;
            coupon.cut(id, order.currency, lines, catalogue)
        };
        let named = match order.coupon {
            CouponId(0) => None,
            id => {
                let own = |coupon: &&Coupon| coupon.merchant == merchant && !coupon.spec.automatic;
                let coupon = self.get(id).filter(own).ok_or(OrderRefusal::NoCoupon { coupon: id })?;
                Some(cut(id, coupon)?)
            }
        };
        let promotions = self.promotions.get(&merchant).into_iter().flatten();
        let suitable = promotions.filter_map(|id| cut(*id, self.get(*id)?).ok());
        let some = suitable.chain(named).filter(|cut| cut.off.is_positive());
        Ok(some.reduce(|best, cut| if cut.off > best.off { cut } else { best }))
    }

    /// One more order has it.
    pub(crate) fn take(&mut self, id: CouponId, customer: AccountId) {
        if let Some(coupon) = self.all.get_mut(&id) {
            coupon.used += 1;
            if coupon.spec.uses_each.is_some() {
                *coupon.used_by.entry(customer).or_default() += 1;
            }
        }
    }

    /// An order that had it, if it had one, is given up.
    pub(crate) fn give_back(&mut self, id: CouponId, customer: AccountId) {
        // Forgotten ones stay forgotten: a number is given once.
        let Some(coupon) = self.all.get_mut(&id) else { return };
        coupon.used -= 1;
        if let Some(used) = coupon.used_by.get_mut(&customer) {
            *used -= 1;
            if *used == 0 {
                coupon.used_by.remove(&customer);
            }
        }
    }

    /// Whether they can be added or changed so.
    pub(crate) fn check(
        &self,
        merchant: AccountId,
        specs: &[CouponSpec],
        catalogue: &Catalogue,
        now: Time,
    ) -> Result<(), Refusal> {
        let current = self.promotions.get(&merchant);
        let mut promotions = current.map_or(0, BTreeSet::len);
        let from = (merchant, Box::default());
        let mut own = self.codes.range(from..).take_while(|((owner, _), _)| *owner == merchant).count();
        let mut count = self.all.len();
        in_list(specs, |spec| {
            check(merchant, spec, catalogue, now)?;
            let before = self.by_code(merchant, &spec.code);
            if let Some(before) = before.and_then(|id| self.get(id))
                && before.used > 0
                && before.spec.uses_each.is_some() != spec.uses_each.is_some()
            {
                // Who used it was counted for all orders, or for none.
                let problem = "cannot be added or removed once a coupon was used: use another code";
                return Err(Refusal::invalid("uses_each", problem));
            }
            let is_current = before.zip(current).is_some_and(|(id, current)| current.contains(&id));
            promotions += usize::from(spec.automatic && !is_current);
            count += usize::from(before.is_none());
            own += usize::from(before.is_none());
            if promotions > Bounds::PROMOTIONS {
                return Err(Refusal::invalid("promotion", "cannot be added: a shop has 32 at a time"));
            }
            if own > Bounds::COUPONS_EACH {
                return Err(Refusal::invalid("coupon", "cannot be added: a shop has 10000 at most"));
            }
            if count > Bounds::COUPONS {
                let problem = "cannot be added: this cell has as many as it can keep";
                return Err(Refusal::invalid("coupon", problem));
            }
            Ok(())
        })
    }

    /// Adds one that was checked, or changes the merchant's one of this code; its uses stay.
    pub(crate) fn put(
        &mut self,
        merchant: AccountId,
        spec: &CouponSpec,
        now: Time,
        timers: &mut Timers,
    ) -> CouponId {
        let mut spec = spec.clone();
        if let CouponScope::Articles(articles) = &mut spec.scope {
            articles.sort_unstable();
            articles.dedup();
        }
        let id = self.by_code(merchant, &spec.code).unwrap_or_else(|| {
            self.last.0 += 1;
            self.codes.insert((merchant, spec.code.as_str().into()), self.last);
            self.last
        });
        self.retire(id, merchant);
        timers.set(spec.ends, Timer::Coupon(id));
        if spec.automatic && now < spec.ends {
            self.promotions.entry(merchant).or_default().insert(id);
        }
        let new = |spec| Coupon { merchant, spec, used: 0, used_by: BTreeMap::new() };
        if let Some(coupon) = self.all.get_mut(&id) {
            let before = std::mem::replace(&mut coupon.spec, spec);
            for at in [before.ends, before.ends.after(Bounds::COUPON_MEMORY)] {
                if at != coupon.spec.ends {
                    timers.clear(at, Timer::Coupon(id));
                }
            }
        } else {
            self.all.insert(id, new(spec));
        }
        id
    }

    /// Orders do not look at it any more.
    fn retire(&mut self, id: CouponId, merchant: AccountId) {
        if let Some(current) = self.promotions.get_mut(&merchant) {
            current.remove(&id);
            if current.is_empty() {
                self.promotions.remove(&merchant);
            }
        }
    }

    /// One is over; some time later it is forgotten.
    pub(crate) fn fall_due(&mut self, id: CouponId, now: Time, timers: &mut Timers) {
        let Some(coupon) = self.all.get(&id) else { return };
        let (merchant, until) = (coupon.merchant, coupon.spec.ends.after(Bounds::COUPON_MEMORY));
        self.retire(id, merchant);
        if now < until {
            timers.set(until, Timer::Coupon(id));
        } else if let Some(coupon) = self.all.remove(&id) {
            self.codes.remove(&(merchant, coupon.spec.code.into()));
            self.leaving.push(coupon.used_by);
        }
    }

    /// Lets customers of forgotten coupons leave, `most` at most.
    pub(crate) fn pass(&mut self, most: usize) {
        for _ in 0..most {
            let Some(customers) = self.leaving.last_mut() else { break };
            if customers.pop_first().is_none() {
                self.leaving.pop();
            }
        }
    }

    /// Panics unless coupons, codes, promotions and timers fit each other, and uses were counted: `used` says how many
    /// orders that are remembered have which.
    pub(crate) fn sanity_check(&self, used: &BTreeMap<CouponId, u64>, timers: &Timers) {
        assert_eq!(self.codes.len(), self.all.len(), "a coupon has a code");
        for ((merchant, code), id) in &self.codes {
            let coupon = &self.all[id];
            assert_eq!((coupon.merchant, &*coupon.spec.code), (*merchant, &**code), "coupon {id}");
        }
        for (id, Coupon { merchant, spec, used: count, used_by }) in &self.all {
            assert!(*id <= self.last);
            let due = [spec.ends, spec.ends.after(Bounds::COUPON_MEMORY)];
            assert!(due.iter().any(|at| timers.has(*at, Timer::Coupon(*id))), "coupon {id} is forgotten");
            assert!(*count >= used.get(id).copied().unwrap_or(0), "coupon {id} is counted");
            let by = used_by.values().map(|used| u64::from(*used)).sum::<u64>();
            assert_eq!(by, if spec.uses_each.is_some() { *count } else { 0 }, "customers of coupon {id}");
            assert!(used_by.values().all(|used| *used > 0));
            let current = self.promotions.get(merchant).is_some_and(|current| current.contains(id));
            assert!(!current || spec.automatic, "coupon {id} does not apply by itself");
        }
        let promotions = self.promotions.values();
        assert!(promotions.clone().all(|current| !current.is_empty()));
        assert!(promotions.flatten().all(|id| self.all.contains_key(id)), "promotions are there");
    }
}

/// Whether one can be described so.
fn check(merchant: AccountId, spec: &CouponSpec, catalogue: &Catalogue, now: Time) -> Result<(), Refusal> {
    if spec.code.is_empty() || spec.code.len() > 64 || spec.code.chars().any(char::is_control) {
        return Err(Refusal::invalid("code", "must be 1 to 64 bytes without control characters"));
    }
    if spec.starts >= spec.ends || spec.ends > now.after(Bounds::HORIZON) {
        return Err(Refusal::invalid("ends", "must be later than starts, and within ten years"));
    }
    if spec.uses == Some(0) || spec.uses_each == Some(0) {
        return Err(Refusal::invalid("uses and uses_each", "must be 1 at least, or none for any number"));
    }
    match spec.kind {
        CouponKind::Percent(rate) if rate.parts() == 0 => {
            return Err(Refusal::invalid("percent", "must be more than nothing"));
        }
        CouponKind::Amount { off, at_least, .. } if !off.is_positive() || at_least.0 < 0 => {
            return Err(Refusal::invalid("off", "must be more than nothing, and at_least nothing or more"));
        }
        CouponKind::BuyXGetY { buy, free } if buy.min(free) == 0 || buy.max(free) > Bounds::QUANTITY => {
            return Err(Refusal::invalid("buy and free", "must be 1 to 1000000"));
        }
        _ => {}
    }
    match &spec.scope {
        CouponScope::All => Ok(()),
        CouponScope::Category(category) if category.is_empty() || category.len() > 200 => {
            Err(Refusal::invalid("category", "must be 1 to 200 bytes"))
        }
        CouponScope::Category(_) => Ok(()),
        CouponScope::Articles(articles)
            if articles.is_empty() || articles.len() > Bounds::COUPON_ARTICLES =>
        {
            Err(Refusal::invalid("articles", "must be 1 to 1000"))
        }
        CouponScope::Articles(articles) => articles.iter().try_for_each(|id| {
            let own = catalogue.article(*id).is_some_and(|article| article.merchant == merchant);
            if own { Ok(()) } else { Err(Refusal::NoOwnArticle { article: *id }) }
        }),
    }
}

impl Market {
    /// Adds or changes coupons and promotions: all or none.
    pub(crate) fn put_coupons(
        &mut self,
        merchant: AccountId,
        specs: &[CouponSpec],
        ctx: &mut Context<'_>,
    ) -> Result<Vec<CouponId>, Refusal> {
        self.coupons.check(merchant, specs, &self.catalogue, ctx.now)?;
        Ok(specs.iter().map(|spec| self.coupons.put(merchant, spec, ctx.now, ctx.timers)).collect())
    }

    /// A coupon is over, or forgotten.
    pub(crate) fn coupon_falls_due(&mut self, id: CouponId, ctx: &mut Context<'_>) {
        self.coupons.fall_due(id, ctx.now, ctx.timers);
    }
}
