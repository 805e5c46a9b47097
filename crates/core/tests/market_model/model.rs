//! What a market is, told as plainly as can be: lists, maps and sums of 128 bits, and no thought of speed.

#[path = "coupons.rs"]
mod coupons;
#[path = "life.rs"]
mod life;
#[path = "ordering.rs"]
mod ordering;

use std::collections::BTreeMap;

pub(crate) use self::coupons::{Coupon, Kind, Scope};
use pumasi_core::{ScanCode, StockChange, Tracking};
use pumasi_types::{Currency, Duration, Time};

/// Reasons to refuse something, as stable codes; none: it must be done.
type Reasons = Vec<&'static str>;
/// Amount, fee in it, tax in it.
type Parts = (i128, i128, i128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Placed,
    Paid,
    Allocated,
    PartlyShipped,
    Shipped,
    Delivered,
    Completed,
    Cancelled,
    Expired,
    ReturnRequested,
    Returned,
    Refunded,
}

#[derive(Clone, Debug)]
pub(crate) struct Article {
    pub(crate) merchant: u64,
    pub(crate) sku: u8,
    pub(crate) category: &'static str,
    pub(crate) price: i64,
    pub(crate) currency: Currency,
    pub(crate) tax: u16,
    pub(crate) tracking: Tracking,
    pub(crate) on_sale: bool,
    /// Place, on hand, reserved; the first that was named, then the others by their numbers.
    pub(crate) places: Vec<(u32, i128, i128)>,
}

/// An order as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) caller: u64,
    pub(crate) customer: u64,
    pub(crate) currency: Currency,
    pub(crate) lines: Vec<(u32, u32)>,
    pub(crate) place: u32,
    pub(crate) pay_later: bool,
    pub(crate) total: i64,
    pub(crate) coupon: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) article: u32,
    pub(crate) quantity: u32,
    pub(crate) place: u32,
    pub(crate) shipped: u32,
    pub(crate) asked: u32,
    pub(crate) returned: u32,
    pub(crate) price: i128,
}

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) state: State,
    pub(crate) total: i128,
    pub(crate) held: i128,
    pub(crate) settled: Parts,
    pub(crate) refunded: Parts,
    pub(crate) due: Option<Time>,
    pub(crate) lines: Vec<Line>,
    /// Who carries it, whether it arrived, and what was reported of it last.
    pub(crate) parcels: Vec<(u64, bool, Option<ScanCode>)>,
    /// What made it cheaper; 0: nothing.
    pub(crate) coupon: u32,
    customer: u64,
    merchant: u64,
    currency: Currency,
    fee: i128,
    tax: i128,
    collectors: (u64, u64),
    returns_until: Time,
    /// When it was placed, in time without gaps.
    placed: Time,
}

/// A step as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) by: u64,
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<(u32, u32)>,
    pub(crate) carrier: u64,
    pub(crate) parcel: u32,
    pub(crate) amount: i64,
}

/// What was asked under which key, when, and what it was answered.
struct Asked {
    key: u128,
    wanted: Wanted,
    when: Time,
    answer: Result<u64, &'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Shop {
    at_once: bool,
    reservation: u64,
    completion: u64,
    returns: u64,
}

const DAY: u64 = 24 * 3600;
const NAMES: [&str; 11] =
    ["pay", "allocate", "ship", "deliver", "scan", "complete", "cancel", "ask", "accept", "refuse", "refund"];
const STOREFRONT: u64 = 5;

pub(crate) struct Model {
    pub(crate) now: Time,
    /// The time that passed, of which a minute counts at most between two entries.
    lived: Time,
    accounts: u64,
    /// Available and held.
    money: BTreeMap<(u64, Currency), (i128, i128)>,
    terms: Option<(u64, u64, u16)>,
    shops: BTreeMap<u64, Shop>,
    articles: Vec<Article>,
    pub(crate) coupons: BTreeMap<u32, Coupon>,
    last_coupon: u32,
    pub(crate) orders: BTreeMap<u64, Order>,
    pub(crate) last_order: u64,
    asked: Vec<Asked>,
    keys: u128,
}

impl Way {
    /// What is reported of a parcel: one code in four that it arrived.
    pub(crate) fn code(&self) -> ScanCode {
        let any = usize::from(self.amount.to_le_bytes()[0]);
        if any.is_multiple_of(4) { ScanCode::Emi } else { ScanCode::ALL[any % ScanCode::ALL.len()] }
    }

    pub(crate) fn restocks(&self) -> bool {
        self.carrier.is_multiple_of(2)
    }
}

impl Order {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Placed | State::Paid | State::Allocated | State::PartlyShipped)
    }

    /// Fee and tax in the first so much of its money.
    fn parts(&self, amount: i128) -> Parts {
        let both = self.fee + self.tax;
        let taken = if self.total == 0 { 0 } else { both * amount / self.total };
        let tax = if both == 0 { 0 } else { self.tax * taken / both };
        (amount, taken - tax, tax)
    }

    /// The part of the total that was shipped.
    fn worth_shipped(&self) -> i128 {
        let worth = |count: fn(&Line) -> u32| -> i128 {
            self.lines.iter().map(|line| line.price * i128::from(count(line))).sum()
        };
        let whole = worth(|line| line.quantity);
        if whole == 0 { 0 } else { self.total * worth(|line| line.shipped) / whole }
    }

    fn refundable(&self) -> i128 {
        self.settled.0 - self.refunded.0
    }
}

fn minus(a: Parts, b: Parts) -> Parts {
    (a.0 - b.0, a.1 - b.1, a.2 - b.2)
}

impl Model {
    /// Whether `by` may do what a customer may: a storefront, for those who neither sell, carry, operate nor collect.
    fn acts_for(&self, by: u64, customer: u64) -> bool {
        let collects = self.terms.is_some_and(|(fee_to, tax_to, _)| [fee_to, tax_to].contains(&customer));
        by == customer || by == STOREFRONT && customer >= STOREFRONT && !collects
    }

    pub(crate) fn new(now: Time, accounts: u64) -> Model {
        Model {
            now,
            lived: Time(0),
            accounts,
            money: BTreeMap::new(),
            terms: None,
            shops: BTreeMap::new(),
            articles: Vec::new(),
            coupons: BTreeMap::new(),
            last_coupon: 0,
            orders: BTreeMap::new(),
            last_order: 0,
            asked: Vec::new(),
            keys: 0,
        }
    }

    pub(crate) fn balance(&self, account: u64, currency: Currency) -> (i128, i128) {
        self.money.get(&(account, currency)).copied().unwrap_or_default()
    }

    fn add(&mut self, account: u64, currency: Currency, available: i128, held: i128) {
        let balance = self.money.entry((account, currency)).or_default();
        *balance = (balance.0 + available, balance.1 + held);
    }

    fn shop(&self, merchant: u64) -> Shop {
        let usual = Shop { at_once: false, reservation: 1_800, completion: 7 * DAY, returns: 14 * DAY };
        self.shops.get(&merchant).copied().unwrap_or(usual)
    }

    pub(crate) fn article(&self, id: u32) -> &Article {
        &self.articles[id as usize - 1]
    }

    fn article_mut(&mut self, id: u32) -> &mut Article {
        &mut self.articles[id as usize - 1]
    }

    fn after(&self, seconds: u64) -> Time {
        self.now.after(Duration::from_secs(seconds))
    }

    /// Time passes, and what is due is done.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.lived = self.lived.after(span.min(Duration::from_secs(60)));
        self.forget_coupons();
        // What one thing leads to may be due at once, too.
        while self.next_due() {}
    }

    /// What is due is done, once each; whether anything was.
    fn next_due(&mut self) -> bool {
        let dues = self.orders.iter().filter_map(|(id, order)| order.due.map(|due| (due, *id)));
        let mut due: Vec<(Time, u64)> = dues.filter(|(due, _)| *due <= self.now).collect();
        // A merchant's money may be enough for the first only.
        due.sort_unstable();
        for (_, id) in due.iter().copied() {
            let order = self.orders.get_mut(&id).expect("just found");
            order.due = None;
            match order.state {
                State::Placed => {
                    order.state = State::Expired;
                    self.unreserve(id);
                    self.give_coupon_back(id);
                }
                State::Allocated | State::PartlyShipped => {
                    let refused = !self.cancel(id).is_empty();
                    let again = self.after(DAY);
                    let due = &mut self.orders.get_mut(&id).expect("just found").due;
                    *due = if refused { Some(again) } else { *due };
                }
                State::Shipped => {
                    order.parcels.iter_mut().for_each(|(_, arrived, _)| *arrived = true);
                    self.arrive(id);
                }
                State::Delivered => self.complete(id),
                _ => {}
            }
        }
        !due.is_empty()
    }

    pub(crate) fn pay(&mut self, from: u64, to: u64, currency: Currency, amount: i64) -> Reasons {
        let mut reasons = Reasons::new();
        let available = self.balance(from, currency).0;
        if amount <= 0 {
            reasons.push("bad_amount");
        }
        if from == to {
            reasons.push("invalid");
        }
        if from != 0 && available < i128::from(amount) {
            reasons.push("not_enough_money");
        }
        if from == 0 && available - i128::from(amount) < -i128::from(i64::MAX) {
            reasons.push("bad_amount");
        }
        if reasons.is_empty() {
            self.add(from, currency, -i128::from(amount), 0);
            self.add(to, currency, i128::from(amount), 0);
        }
        reasons
    }

    pub(crate) fn set_terms(&mut self, fee_to: u64, tax_to: u64, fee: u16) -> Reasons {
        self.terms = Some((fee_to, tax_to, fee));
        Reasons::new()
    }

    pub(crate) fn set_shop(&mut self, merchant: u64, at_once: bool, seconds: [u64; 3]) -> Reasons {
        let [reservation, completion, returns] = seconds;
        self.shops.insert(merchant, Shop { at_once, reservation, completion, returns });
        Reasons::new()
    }

    pub(crate) fn put(&mut self, article: Article) -> Reasons {
        let same = |other: &&mut Article| (other.merchant, other.sku) == (article.merchant, article.sku);
        match self.articles.iter_mut().find(same) {
            Some(before) if before.currency != article.currency => return vec!["invalid"],
            Some(before) => *before = Article { places: before.places.clone(), ..article },
            None => self.articles.push(article),
        }
        Reasons::new()
    }

    pub(crate) fn change(&mut self, merchant: u64, article: u32, place: u32, change: StockChange) -> Reasons {
        let known = article >= 1 && article as usize <= self.articles.len();
        if !known || self.article(article).merchant != merchant {
            return vec!["no_article"];
        }
        let places = &mut self.article_mut(article).places;
        let there = |places: &[(u32, i128, i128)], place| {
            places.iter().find(|(at, ..)| *at == place).map_or(0, |(_, on_hand, _)| *on_hand)
        };
        let mut after = vec![(place, there(places, place))];
        match change {
            StockChange::Receive(more) => after[0].1 += i128::from(more),
            StockChange::Count(count) => after[0].1 = i128::from(count),
            StockChange::Correct(by) => after[0].1 += i128::from(by),
            StockChange::Move { quantity, to } => {
                after[0].1 -= i128::from(quantity);
                after.push((to.0, there(places, to.0) + i128::from(quantity)));
            }
        }
        let moves = after.len() == 2;
        let moves_nowhere = moves && after[0].0 == after[1].0;
        let promised = |(at, _, reserved): &(u32, i128, i128)| (*at == place).then_some(*reserved);
        let moves_promised = moves
            && places.iter().find_map(promised).is_some_and(|reserved| after[0].1 < reserved)
            && { matches!(change, StockChange::Move { quantity, .. } if quantity > 0) };
        if moves_nowhere || moves_promised || after.iter().any(|(place, on_hand)| *place == 0 || *on_hand < 0)
        {
            return vec!["invalid"];
        }
        for (place, on_hand) in after {
            match places.iter_mut().find(|(at, ..)| *at == place) {
                Some(shelf) => shelf.1 = on_hand,
                None => {
                    places.push((place, on_hand, 0));
                    places[1..].sort_unstable();
                }
            }
        }
        Reasons::new()
    }

    fn reserve(&mut self, article: u32, place: u32, by: i128) {
        if place == 0 {
            return;
        }
        let places = &mut self.article_mut(article).places;
        match places.iter_mut().find(|(at, ..)| *at == place) {
            Some(shelf) => shelf.2 += by,
            None => places.push((place, 0, by)),
        }
    }

    /// Gives free what is not shipped.
    fn unreserve(&mut self, id: u64) {
        for line in self.orders[&id].lines.clone() {
            self.reserve(line.article, line.place, i128::from(line.shipped) - i128::from(line.quantity));
        }
    }

    fn take_money(&mut self, id: u64) {
        let order = self.orders.get_mut(&id).expect("known");
        let (customer, merchant, currency, total) =
            (order.customer, order.merchant, order.currency, order.total);
        (order.state, order.due, order.held) = (State::Paid, None, total);
        self.add(customer, currency, -total, total);
        if self.shop(merchant).at_once {
            self.settle(id, total);
        }
    }

    /// Pays out of what is held until so much was settled.
    fn settle(&mut self, id: u64, until: i128) {
        let order = self.orders.get_mut(&id).expect("known");
        let (amount, fee, tax) = minus(order.parts(until), order.settled);
        order.settled = order.parts(until);
        order.held -= amount;
        let (customer, merchant, currency) = (order.customer, order.merchant, order.currency);
        let (fee_to, tax_to) = order.collectors;
        assert!(amount >= fee + tax && fee >= 0 && tax >= 0, "no part is less than nothing");
        self.add(customer, currency, 0, -amount);
        self.add(merchant, currency, amount - fee - tax, 0);
        self.add(fee_to, currency, fee, 0);
        self.add(tax_to, currency, tax, 0);
    }

    /// Gives so much back, if everybody who has to give has it.
    fn give_back(&mut self, id: u64, amount: i128) -> Reasons {
        let order = &self.orders[&id];
        let after = order.parts(order.refunded.0 + amount);
        let (_, fee, tax) = minus(after, order.refunded);
        let (fee_to, tax_to) = order.collectors;
        let currency = order.currency;
        let changes =
            [(order.customer, amount), (order.merchant, fee + tax - amount), (fee_to, -fee), (tax_to, -tax)];
        let change_of = |who| -> i128 { changes.iter().filter(|(of, _)| *of == who).map(|(_, by)| by).sum() };
        let lacks = |(who, _): &(u64, i128)| {
            change_of(*who) < 0 && self.balance(*who, currency).0 + change_of(*who) < 0
        };
        if changes.iter().any(lacks) {
            return vec!["refund_not_covered"];
        }
        for (who, by) in changes {
            self.add(who, currency, by, 0);
        }
        self.orders.get_mut(&id).expect("known").refunded = after;
        Reasons::new()
    }
}
