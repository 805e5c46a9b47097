//! What a market is, told as plainly as can be: lists, maps and sums of 128 bits, and no thought of speed.

use std::collections::BTreeMap;

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
    pub(crate) price: i64,
    pub(crate) currency: Currency,
    pub(crate) tax: u16,
    pub(crate) tracking: Tracking,
    pub(crate) on_sale: bool,
    /// Place, on hand, reserved; in the order in which the places were first named.
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
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) article: u32,
    pub(crate) quantity: u32,
    pub(crate) place: u32,
    pub(crate) shipped: u32,
    pub(crate) asked: u32,
    pub(crate) returned: u32,
    price: i128,
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
    pub(crate) fn new(now: Time, accounts: u64) -> Model {
        Model {
            now,
            lived: Time(0),
            accounts,
            money: BTreeMap::new(),
            terms: None,
            shops: BTreeMap::new(),
            articles: Vec::new(),
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
        let due: Vec<u64> = self
            .orders
            .iter()
            .filter(|(_, order)| order.due.is_some_and(|due| due <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let order = self.orders.get_mut(&id).expect("just found");
            order.due = None;
            match order.state {
                State::Placed => {
                    order.state = State::Expired;
                    self.unreserve(id);
                }
                State::Delivered => self.complete(id),
                _ => {}
            }
        }
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
                None => places.push((place, on_hand, 0)),
            }
        }
        Reasons::new()
    }

    /// What these lines cost, as far as there are such articles.
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
        self.last_order += 1;
        let reasons = self.reasons_against(&wanted);
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
    fn summed(lines: &[(u32, u32)]) -> BTreeMap<u32, u64> {
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
        found.or(Some(wanted).filter(|_| *tracking == Tracking::Untracked))
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
        when(wanted.caller != STOREFRONT && wanted.caller != wanted.customer, "not_yours");
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
        let total = self.total(&wanted.lines);
        when(total > i128::from(i64::MAX), "total_too_large");
        when(total != i128::from(wanted.total), "other_total");
        let available = self.balance(wanted.customer, wanted.currency).0;
        when(!wanted.pay_later && available < total, "not_enough_money");
        reasons
    }

    fn place(&mut self, wanted: &Wanted) {
        let mut lines = Vec::new();
        let mut tax = 0;
        for (article, quantity) in Model::summed(&wanted.lines) {
            let place =
                self.source(article, wanted.place, quantity.into()).expect("it was looked for before");
            let Article { price, tax: rate, .. } = *self.article(article);
            let (price, rate) = (i128::from(price), i128::from(rate));
            tax += price * i128::from(quantity) * rate / (10_000 + rate);
            let quantity = u32::try_from(quantity).expect("a million at most");
            lines.push(Line { article, quantity, place, shipped: 0, asked: 0, returned: 0, price });
            self.reserve(article, place, quantity.into());
        }
        let total = self.total(&wanted.lines);
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
            customer: wanted.customer,
            merchant,
            currency: wanted.currency,
            fee: (total * i128::from(fee) / 10_000).min(total - tax),
            tax,
            collectors: (fee_to, tax_to),
            returns_until: Time(0),
            placed: self.lived,
        };
        self.orders.insert(self.last_order, order);
        if !wanted.pay_later {
            self.take_money(self.last_order);
        }
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

    fn complete(&mut self, id: u64) {
        let now = self.now;
        let order = self.orders.get_mut(&id).expect("known");
        order.state = State::Completed;
        order.due = Some(order.returns_until).filter(|until| *until > now);
        order.lines.iter_mut().for_each(|line| line.asked = 0);
    }

    /// Whether an order may have left: nothing will come of it, and its key is two days old.
    pub(crate) fn may_be_gone(&self, id: u64) -> bool {
        let Some(order) = self.orders.get(&id) else { return false };
        let is_last =
            matches!(order.state, State::Completed | State::Cancelled | State::Expired | State::Refunded);
        is_last && order.due.is_none() && self.lived.since(order.placed) >= Duration::from_secs(2 * DAY)
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.orders.remove(&id);
    }

    /// Some order: one that was placed, unless there is none.
    pub(crate) fn pick(&self, number: u64) -> u64 {
        let placed: Vec<u64> = self.orders.keys().copied().collect();
        // Now and then any number at all.
        if placed.is_empty() || number.is_multiple_of(16) {
            return number % 24;
        }
        // Young ones more often, so that they get far.
        let young = &placed[placed.len().saturating_sub(4)..];
        let among = if number.is_multiple_of(3) { &placed } else { young };
        among[(number / 48 % among.len() as u64) as usize]
    }

    /// Who does what with an order: something that it is time for, or anything by anybody.
    pub(crate) fn way(&self, id: u64, timely: bool, by: u64, way: u8) -> (u64, &'static str) {
        let any = (by, NAMES[usize::from(way) % NAMES.len()]);
        let Some(order) = self.orders.get(&id).filter(|_| timely) else { return any };
        let parties = [order.customer, order.merchant, STOREFRONT];
        let ways: Vec<_> = NAMES
            .iter()
            .flat_map(|name| parties.map(|by| (by, *name)))
            // Orders that are cancelled or refunded early do not get far.
            .filter(|(by, name)| self.is_time(order, *by, name))
            .filter(|(_, name)| (*name != "cancel" && *name != "refund") || way < 64)
            .collect();
        ways.get(usize::from(way) % ways.len().max(1)).copied().unwrap_or(any)
    }

    /// What suits the step: a parcel that is under way, somebody who carries.
    pub(crate) fn make_timely(&self, id: u64, way: &mut Way) {
        let Some(order) = self.orders.get(&id) else { return };
        let under_way = order.parcels.iter().position(|(_, arrived, _)| !arrived);
        way.parcel = under_way.map_or(way.parcel, |at| at as u32 + 1);
        way.carrier = if way.carrier < 6 { 3 + way.carrier % 2 } else { order.merchant };
        if way.amount > order.refundable().max(1) as i64 && way.amount < i64::MAX / 2 {
            way.amount = order.refundable().max(1) as i64;
        }
    }

    /// Lines by their place in the order.
    pub(crate) fn lines_of(&self, id: u64, lines: &[(u8, u32)]) -> Vec<(u32, u32)> {
        let article = |at: u8| match self.orders.get(&id) {
            Some(order) if at < 4 => order.lines[usize::from(at) % order.lines.len()].article,
            _ => u32::from(at),
        };
        lines.iter().map(|(at, quantity)| (article(*at), *quantity)).collect()
    }

    /// Whether it is the time for a step, and the caller's to take.
    fn is_time(&self, order: &Order, by: u64, name: &str) -> bool {
        use State::{
            Allocated, Completed, Delivered, Paid, PartlyShipped, Placed, Refunded, ReturnRequested,
            Returned, Shipped,
        };
        let buys = by == order.customer || by == STOREFRONT;
        let sells = by == order.merchant;
        let carries = order.parcels.iter().any(|(carrier, ..)| *carrier == by);
        if name == "scan" {
            return carries && matches!(order.state, PartlyShipped | Shipped);
        }
        let (buyer, seller): (&[State], &[State]) = match name {
            "pay" => (&[Placed], &[]),
            "allocate" => (&[], &[Paid]),
            "ship" => (&[], &[Allocated, PartlyShipped]),
            "deliver" => (&[], &[PartlyShipped, Shipped]),
            "complete" => (&[Delivered, ReturnRequested], &[]),
            "cancel" => (&[Placed, Paid], &[Placed, Paid, Allocated, PartlyShipped]),
            "ask" => (&[Delivered, Completed, Refunded], &[]),
            "accept" | "refuse" => (&[], &[ReturnRequested]),
            _ => (&[], &[Shipped, Delivered, Completed, ReturnRequested, Returned, Refunded]),
        };
        let brings = name == "deliver" && carries && seller.contains(&order.state);
        brings || (buys && buyer.contains(&order.state)) || (sells && seller.contains(&order.state))
    }

    /// Takes a step.
    pub(crate) fn go(&mut self, id: u64, way: &Way) -> Reasons {
        let Some(order) = self.orders.get(&id) else { return vec!["no_order"] };
        if !self.is_time(order, way.by, way.name) {
            return vec!["wrong_state", "not_yours"];
        }
        match way.name {
            "pay" => {
                if self.balance(order.customer, order.currency).0 < order.total {
                    return vec!["not_enough_money"];
                }
                self.take_money(id);
                Reasons::new()
            }
            "allocate" => {
                self.orders.get_mut(&id).expect("known").state = State::Allocated;
                Reasons::new()
            }
            "ship" => self.ship(id, way),
            "deliver" => self.deliver(id, way),
            "scan" => self.scan(id, way),
            "complete" | "refuse" => {
                self.complete(id);
                Reasons::new()
            }
            "cancel" => self.cancel(id),
            "ask" => self.ask_return(id, way),
            "accept" => self.accept(id, way),
            _ => self.refund(id, way.amount),
        }
    }

    /// How many of which line, when so many are left of each; reasons against it.
    fn chosen(order: &Order, asked: &[(u32, u32)], left: fn(&Line) -> u32) -> (Vec<u32>, Reasons) {
        if asked.is_empty() {
            return (order.lines.iter().map(left).collect(), Reasons::new());
        }
        let sums = Model::summed(asked);
        let mut reasons = Reasons::new();
        if asked.iter().any(|(_, quantity)| *quantity == 0) {
            reasons.push("invalid");
        }
        let most = |article: u32| order.lines.iter().find(|line| line.article == article).map_or(0, left);
        if sums.iter().any(|(article, quantity)| *quantity > u64::from(most(*article))) {
            reasons.push("too_many");
        }
        let of = |line: &Line| sums.get(&line.article).map_or(0, |sum| *sum as u32);
        (order.lines.iter().map(of).collect(), reasons)
    }

    fn ship(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders[&id].clone();
        let (counts, mut reasons) = Model::chosen(&order, &way.lines, |line| line.quantity - line.shipped);
        if way.carrier != order.merchant && way.carrier != 3 && way.carrier != 4 {
            reasons.push("invalid");
        }
        for (line, count) in order.lines.iter().zip(&counts) {
            let Article { tracking, places, .. } = self.article(line.article);
            let there = places.iter().find(|(place, ..)| *place == line.place).map_or(0, |shelf| shelf.1);
            if *tracking != Tracking::Untracked && line.place != 0 && there < i128::from(*count) {
                reasons.push("not_in_stock");
            }
        }
        if !reasons.is_empty() {
            return reasons;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let line = &mut self.orders.get_mut(&id).expect("known").lines[at];
            line.shipped += count;
            let (article, place) = (line.article, line.place);
            self.move_stock(article, place, -i128::from(count));
            self.reserve(article, place, -i128::from(count));
        }
        let order = self.orders.get_mut(&id).expect("known");
        order.parcels.push((way.carrier, false, None));
        let all = order.lines.iter().all(|line| line.shipped == line.quantity);
        order.state = if all { State::Shipped } else { State::PartlyShipped };
        let worth = order.worth_shipped();
        if order.settled.0 < worth {
            self.settle(id, worth);
        }
        Reasons::new()
    }

    /// What is counted comes or goes.
    fn move_stock(&mut self, article: u32, place: u32, by: i128) {
        let article = self.article_mut(article);
        if article.tracking != Tracking::Untracked
            && let Some(shelf) = article.places.iter_mut().find(|(at, ..)| *at == place)
        {
            shelf.1 += by;
        }
    }

    /// Only who carries a parcel reports of it, and one report delivers it.
    fn scan(&mut self, id: u64, way: &Way) -> Reasons {
        let parcels = &mut self.orders.get_mut(&id).expect("known").parcels;
        let Some(parcel) = parcels.get_mut((way.parcel as usize).wrapping_sub(1)) else {
            return vec!["no_parcel"];
        };
        if way.by != parcel.0 {
            return vec!["not_yours"];
        }
        if parcel.1 {
            return vec!["wrong_state"];
        }
        parcel.2 = Some(way.code());
        if way.code() == ScanCode::Emi { self.deliver(id, way) } else { Reasons::new() }
    }

    fn deliver(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders.get_mut(&id).expect("known");
        let Some(parcel) = order.parcels.get_mut((way.parcel as usize).wrapping_sub(1)) else {
            return vec!["no_parcel"];
        };
        let mut reasons = Reasons::new();
        if way.by != parcel.0 && way.by != order.merchant {
            reasons.push("not_yours");
        }
        if parcel.1 {
            reasons.push("wrong_state");
        }
        if reasons.is_empty() {
            parcel.1 = true;
            self.arrive(id);
        }
        reasons
    }

    fn arrive(&mut self, id: u64) {
        let shop = self.shop(self.orders[&id].merchant);
        let (completed, returns) = (self.after(shop.completion), self.after(shop.returns));
        let order = self.orders.get_mut(&id).expect("known");
        if order.state == State::Shipped && order.parcels.iter().all(|(_, arrived, _)| *arrived) {
            (order.state, order.due, order.returns_until) = (State::Delivered, Some(completed), returns);
        }
    }

    fn cancel(&mut self, id: u64) -> Reasons {
        let order = self.orders[&id].clone();
        assert!(order.is_open());
        let rest = order.total - order.worth_shipped();
        if order.state != State::Placed {
            if order.held > 0 {
                assert_eq!(order.held, rest);
                self.add(order.customer, order.currency, rest, -rest);
            } else if rest > 0 {
                let reasons = self.give_back(id, rest);
                if !reasons.is_empty() {
                    return reasons;
                }
            }
        }
        self.unreserve(id);
        let order = self.orders.get_mut(&id).expect("known");
        (order.held, order.due) = (0, None);
        order.state = if order.parcels.is_empty() { State::Cancelled } else { State::Shipped };
        self.arrive(id);
        Reasons::new()
    }

    fn ask_return(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders[&id].clone();
        let left = |line: &Line| line.shipped - line.returned;
        let (counts, mut reasons) = Model::chosen(&order, &way.lines, left);
        let paid_back = order.state == State::Refunded && order.refundable() == 0;
        if self.now >= order.returns_until || paid_back || order.lines.iter().all(|line| left(line) == 0) {
            reasons.push("returns_over");
        }
        if reasons.is_empty() {
            let order = self.orders.get_mut(&id).expect("known");
            (order.state, order.due) = (State::ReturnRequested, None);
            order.lines.iter_mut().zip(counts).for_each(|(line, count)| line.asked = count);
        }
        reasons
    }

    fn accept(&mut self, id: u64, way: &Way) -> Reasons {
        let (counts, reasons) = Model::chosen(&self.orders[&id], &way.lines, |line| line.asked);
        if !reasons.is_empty() {
            return reasons;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let line = &mut self.orders.get_mut(&id).expect("known").lines[at];
            (line.asked, line.returned) = (0, line.returned + count);
            let (article, place) = (line.article, line.place);
            if way.restocks() {
                self.move_stock(article, place, i128::from(count));
            }
        }
        let order = self.orders.get_mut(&id).expect("known");
        order.state = if order.refundable() == 0 { State::Refunded } else { State::Returned };
        Reasons::new()
    }

    fn refund(&mut self, id: u64, amount: i64) -> Reasons {
        let order = self.orders[&id].clone();
        let (amount, left) = (i128::from(amount), order.refundable());
        if amount <= 0 {
            return vec!["bad_amount"];
        }
        if amount > left {
            return vec!["refund_too_large"];
        }
        let reasons = self.give_back(id, amount);
        if !reasons.is_empty() {
            return reasons;
        }
        let open = self.after(self.shop(order.merchant).returns);
        let order = self.orders.get_mut(&id).expect("known");
        if amount == left || matches!(order.state, State::Returned | State::Refunded) {
            (order.state, order.due) = (State::Refunded, (amount < left).then_some(open));
            order.lines.iter_mut().for_each(|line| line.asked = 0);
        }
        Reasons::new()
    }
}
