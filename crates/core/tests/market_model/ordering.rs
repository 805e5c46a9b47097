//! Orders as they are placed: once for each key, and for every reason against them.

use std::collections::BTreeMap;

use pumasi_core::Tracking;
use pumasi_types::{Duration, Time};

use super::{Article, Asked, DAY, Line, Model, Order, Reasons, State, Wanted};

impl Model {
    /// What these lines cost without coupons, as far as there are such articles.
    pub(crate) fn total(&self, lines: &[(u32, u32)]) -> i128 {
        let price =
            |id: u32| self.articles.get((id as usize).wrapping_sub(1)).map_or(0, |article| article.price);
        lines.iter().map(|(article, quantity)| i128::from(price(*article)) * i128::from(*quantity)).sum()
    }

    /// A new key, or one that the caller used a little while ago.
    pub(crate) fn key(&mut self, caller: u64, again: Option<u8>) -> u128 {
        let recent = |time: &Time| self.lived.since(*time) < Duration::from_secs(2 * DAY);
        let mut used = self.asked.iter().rev().filter(|asked| asked.wanted.caller == caller);
        if let Some(asked) =
            again.and_then(|again| used.nth(again.into())).filter(|asked| recent(&asked.when))
        {
            return asked.key;
        }
        self.keys += 1;
        self.keys
    }

    /// Takes an order that was answered so.
    pub(crate) fn order(&mut self, key: u128, wanted: Wanted, answer: Result<u64, &'static str>) {
        let same = |asked: &&Asked| (asked.wanted.caller, asked.key) == (wanted.caller, key);
        if let Some(before) = self.asked.iter().find(same) {
            let expected = if before.wanted == wanted { before.answer } else { Err("order_conflict") };
            assert_eq!(answer, expected, "the same key again: {wanted:?}");
            return;
        }
        let reasons = self.reasons_against(&wanted);
        if !self.acts_for(wanted.caller, wanted.customer) {
            assert_eq!(answer, Err("not_yours"), "not remembered: {wanted:?}");
            return;
        }
        self.last_order += 1;
        match answer {
            Ok(id) => {
                assert!(reasons.is_empty(), "placed in spite of {reasons:?}: {wanted:?}");
                assert_eq!(id, self.last_order);
                self.place(&wanted);
            }
            Err(code) => {
                assert!(reasons.contains(&code), "refused as {code}, not as {reasons:?}: {wanted:?}")
            }
        }
        self.asked.push(Asked { key, wanted, when: self.lived, answer });
    }

    /// How many of each article, in the order of their numbers.
    pub(super) fn summed(lines: &[(u32, u32)]) -> BTreeMap<u32, u64> {
        let mut sums = BTreeMap::new();
        for (article, quantity) in lines {
            *sums.entry(*article).or_default() += u64::from(*quantity);
        }
        sums
    }

    /// From where so many can be sent: the place that is wanted, or the first that has enough.
    fn source(&self, article: u32, wanted: u32, quantity: i128) -> Option<u32> {
        let Article { tracking, places, .. } = self.article(article);
        let suits = |(place, on_hand, reserved): &&(u32, i128, i128)| {
            let enough = match tracking {
                Tracking::Untracked => true,
                Tracking::Counted => on_hand - reserved >= quantity,
                Tracking::Backorder(more) => on_hand + i128::from(*more) - reserved >= quantity,
            };
            enough && (wanted == 0 || wanted == *place)
        };
        let found = places.iter().find(suits).map(|(place, ..)| *place);
        found.or(Some(0).filter(|_| *tracking == Tracking::Untracked))
    }

    fn reasons_against(&self, wanted: &Wanted) -> Reasons {
        let mut reasons = Reasons::new();
        let mut when = |is_so: bool, code| {
            if is_so {
                reasons.push(code);
            }
        };
        let sums = Model::summed(&wanted.lines);
        let for_sale =
            |id: u32| self.articles.get((id as usize).wrapping_sub(1)).filter(|article| article.on_sale);
        let articles: Vec<_> = sums.keys().filter_map(|id| for_sale(*id)).collect();
        let bad = |quantity: u64| quantity == 0 || quantity > 1_000_000;
        when(wanted.customer == 0 || wanted.customer > self.accounts, "no_account");
        when(wanted.lines.iter().any(|(_, n)| *n == 0) || sums.values().any(|n| bad(*n)), "bad_quantity");
        when(articles.len() < sums.len(), "no_article");
        when(articles.iter().any(|article| article.merchant != articles[0].merchant), "several_merchants");
        when(articles.iter().any(|article| article.merchant == wanted.customer), "own_article");
        when(articles.iter().any(|article| article.currency != wanted.currency), "other_currency");
        let lacks = |(id, n): (&u32, &u64)| {
            for_sale(*id).is_some() && self.source(*id, wanted.place, i128::from(*n)).is_none()
        };
        when(sums.iter().any(lacks), "not_enough_stock");
        when(self.total(&wanted.lines) > i128::from(i64::MAX), "total_too_large");
        let (against, _) = self.discount(wanted);
        against.into_iter().for_each(|code| when(true, code));
        let total = self.price(wanted);
        when(total != i128::from(wanted.total), "other_total");
        let available = self.balance(wanted.customer, wanted.currency).0;
        when(!wanted.pay_later && available < total, "not_enough_money");
        reasons
    }

    fn place(&mut self, wanted: &Wanted) {
        let mut lines = Vec::new();
        let mut tax = 0;
        let (coupon, off) = self.discount(wanted).1.unwrap_or_default();
        for (at, (article, quantity)) in Model::summed(&wanted.lines).into_iter().enumerate() {
            let place =
                self.source(article, wanted.place, quantity.into()).expect("it was looked for before");
            let Article { price, tax: rate, .. } = *self.article(article);
            let (price, rate) = (i128::from(price), i128::from(rate));
            let paid = price * i128::from(quantity) - off.get(at).copied().unwrap_or(0);
            tax += paid * rate / (10_000 + rate);
            let quantity = u32::try_from(quantity).expect("a million at most");
            lines.push(Line { article, quantity, place, shipped: 0, asked: 0, returned: 0, price });
            self.reserve(article, place, quantity.into());
        }
        let total = self.price(wanted);
        let merchant = self.article(lines[0].article).merchant;
        let (fee_to, tax_to, fee) = self.terms.unwrap_or((merchant, merchant, 0));
        let shop = self.shop(merchant);
        let order = Order {
            state: State::Placed,
            total,
            held: 0,
            settled: (0, 0, 0),
            refunded: (0, 0, 0),
            due: wanted.pay_later.then(|| self.after(shop.reservation)),
            lines,
            parcels: Vec::new(),
            coupon,
            customer: wanted.customer,
            merchant,
            currency: wanted.currency,
            fee: (total * i128::from(fee) / 10_000).min(total - tax),
            tax,
            collectors: (fee_to, tax_to),
            returns_until: Time(0),
            placed: self.lived,
        };
        if let Some(coupon) = self.coupons.get_mut(&coupon) {
            coupon.spent.push((wanted.customer, self.last_order));
        }
        self.orders.insert(self.last_order, order);
        if !wanted.pay_later {
            self.take_money(self.last_order);
        }
    }
}
