//! Coupons and promotions, told as plainly: who used what is a list.

use pumasi_types::{Currency, Duration, Time};

use super::{DAY, Model, Reasons, Wanted};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parts of ten thousand.
    Percent(u16),
    Amount(Currency, i64, i64),
    Free(u32, u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Category(&'static str),
    Articles(Vec<u32>),
}

#[derive(Clone, Debug)]
pub(crate) struct Coupon {
    pub(crate) merchant: u64,
    pub(crate) code: u8,
    pub(crate) automatic: bool,
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) starts: Time,
    pub(crate) ends: Time,
    pub(crate) uses: Option<u32>,
    pub(crate) each: Option<u32>,
    /// Who used it for which order.
    pub(crate) spent: Vec<(u64, u64)>,
}

impl Model {
    /// Adds or changes a coupon; its number.
    pub(crate) fn put_coupon(&mut self, coupon: Coupon) -> Reasons {
        let same = |other: &&mut Coupon| (other.merchant, other.code) == (coupon.merchant, coupon.code);
        let nothing = match coupon.kind {
            Kind::Percent(parts) => parts == 0,
            Kind::Amount(_, off, _) => off <= 0,
            Kind::Free(buy, free) => buy == 0 || free == 0,
        };
        let own = |id: &u32| {
            *id >= 1 && *id as usize <= self.articles.len() && self.article(*id).merchant == coupon.merchant
        };
        let mut reasons = Reasons::new();
        match &coupon.scope {
            Scope::Articles(ids) if ids.is_empty() => reasons.push("invalid"),
            Scope::Articles(ids) if !ids.iter().all(own) => reasons.push("no_article"),
            _ => {}
        }
        let never = coupon.uses == Some(0) || coupon.each == Some(0) || coupon.starts >= coupon.ends;
        let before = self.coupons.values_mut().find(same);
        let other =
            |before: &&mut Coupon| !before.spent.is_empty() && before.each.is_some() != coupon.each.is_some();
        if nothing || never || before.as_ref().is_some_and(other) {
            reasons.push("invalid");
        }
        if reasons.is_empty() {
            match before {
                Some(before) => *before = Coupon { spent: before.spent.clone(), ..coupon },
                None => {
                    self.last_coupon += 1;
                    self.coupons.insert(self.last_coupon, coupon);
                }
            }
        }
        reasons
    }

    /// Coupons that were over for thirty days are forgotten.
    pub(super) fn forget_coupons(&mut self) {
        let now = self.now;
        self.coupons.retain(|_, coupon| now < coupon.ends.after(Duration::from_secs(30 * DAY)));
    }

    /// An order that may have used one is given up.
    pub(super) fn give_coupon_back(&mut self, order: u64) {
        self.coupons.values_mut().for_each(|coupon| coupon.spent.retain(|(_, of)| *of != order));
    }

    /// Reasons why an order cannot use a coupon.
    fn against(&self, coupon: &Coupon, wanted: &Wanted) -> Reasons {
        let mut reasons = Reasons::new();
        let spent = |by: Option<u64>| {
            coupon.spent.iter().filter(|(customer, _)| by.is_none_or(|by| by == *customer)).count()
        };
        if self.now < coupon.starts {
            reasons.push("coupon_not_yet");
        }
        if self.now >= coupon.ends {
            reasons.push("coupon_over");
        }
        if coupon.uses.is_some_and(|uses| spent(None) >= uses as usize) {
            reasons.push("coupon_used_up");
        }
        if coupon.each.is_some_and(|uses| spent(Some(wanted.customer)) >= uses as usize) {
            reasons.push("coupon_used");
        }
        let goods: Vec<_> = self.goods(coupon, wanted).into_iter().filter(|(_, count)| *count > 0).collect();
        let worth: i128 = goods.iter().map(|(price, count)| price * count).sum();
        let count: i128 = goods.iter().map(|(_, count)| count).sum();
        if goods.is_empty() {
            reasons.push("coupon_not_for_these");
        }
        match coupon.kind {
            Kind::Amount(currency, ..) if currency != wanted.currency => reasons.push("coupon_not_for_these"),
            Kind::Amount(_, _, at_least) if worth < i128::from(at_least) => reasons.push("coupon_below"),
            Kind::Free(buy, free) if count < i128::from(buy) + i128::from(free) => {
                reasons.push("coupon_too_few");
            }
            _ => {}
        }
        reasons
    }

    /// Price and number of each article of an order, in the order of their numbers; none of what a coupon is not for.
    fn goods(&self, coupon: &Coupon, wanted: &Wanted) -> Vec<(i128, i128)> {
        let suits = |id: u32| match &coupon.scope {
            Scope::All => true,
            Scope::Category(category) => {
                let own = self.article(id).category;
                own == *category || own.starts_with(&format!("{category}/"))
            }
            Scope::Articles(ids) => ids.contains(&id),
        };
        let known = |id: &u32| *id >= 1 && *id as usize <= self.articles.len();
        let sums = Model::summed(&wanted.lines).into_iter().filter(|(id, _)| known(id));
        let counted = |(id, count): (u32, u64)| {
            (i128::from(self.article(id).price), if suits(id) { i128::from(count) } else { 0 })
        };
        sums.map(counted).collect()
    }

    /// What a coupon takes off each article of an order.
    fn off(&self, coupon: &Coupon, wanted: &Wanted) -> Vec<i128> {
        let goods = self.goods(coupon, wanted);
        let worth: i128 = goods.iter().map(|(price, count)| price * count).sum();
        let whole = match coupon.kind {
            Kind::Percent(parts) => worth * i128::from(parts) / 10_000,
            Kind::Amount(_, off, _) => worth.min(off.into()),
            Kind::Free(buy, free) => {
                let count: i128 = goods.iter().map(|(_, count)| count).sum();
                let mut left = count / (i128::from(buy) + i128::from(free)) * i128::from(free);
                let mut off = vec![0; goods.len()];
                let mut cheap: Vec<usize> = (0..goods.len()).collect();
                cheap.sort_by_key(|at| (goods[*at].0, *at));
                for at in cheap {
                    let (price, count) = goods[at];
                    off[at] = price * count.min(left);
                    left -= count.min(left);
                }
                return off;
            }
        };
        let until = |at: usize| -> i128 {
            let seen: i128 = goods[..at].iter().map(|(price, count)| price * count).sum();
            if worth == 0 { 0 } else { whole * seen / worth }
        };
        (0..goods.len()).map(|at| until(at + 1) - until(at)).collect()
    }

    /// Reasons against the coupon that an order names, and what is best for it: a coupon, and what that takes off each
    /// article.
    pub(super) fn discount(&self, wanted: &Wanted) -> (Reasons, Option<(u32, Vec<i128>)>) {
        let merchant = wanted
            .lines
            .iter()
            .min()
            .and_then(|(id, _)| Some(self.articles.get((*id as usize).checked_sub(1)?)?.merchant));
        let Some(merchant) = merchant else { return (Reasons::new(), None) };
        let own = |coupon: &&Coupon| coupon.merchant == merchant;
        let mut reasons = Reasons::new();
        let mut best: Option<(u32, Vec<i128>)> = None;
        let promotions = self.coupons.iter().filter(|(_, coupon)| coupon.automatic && own(coupon));
        let mut some: Vec<(u32, &Coupon)> = promotions.map(|(id, coupon)| (*id, coupon)).collect();
        some.retain(|(_, coupon)| self.against(coupon, wanted).is_empty());
        if wanted.coupon > 0 {
            match self.coupons.get(&wanted.coupon).filter(own).filter(|coupon| !coupon.automatic) {
                Some(coupon) => {
                    reasons = self.against(coupon, wanted);
                    some.push((wanted.coupon, coupon));
                }
                None => reasons.push("no_coupon"),
            }
        }
        for (id, coupon) in some {
            let off = self.off(coupon, wanted);
            let before = best.as_ref().map_or(0, |(_, off)| off.iter().sum());
            if off.iter().sum::<i128>() > before {
                best = Some((id, off));
            }
        }
        (reasons, best)
    }

    /// What an order costs, as far as there are such articles.
    pub(crate) fn price(&self, wanted: &Wanted) -> i128 {
        let off = self.discount(wanted).1.map_or(0, |(_, off)| off.iter().sum());
        self.total(&wanted.lines) - off
    }
}
