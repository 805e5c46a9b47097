//! Feeds: for each customer, merchant and carrier, the events of its orders in the order in which they came.
//!
//! Events of a feed are chained backwards (see [`Event`]). To go forwards from anywhere, every 1,024th event of each
//! feed is marked: whoever goes back from the first mark behind its place comes by all that it has not read yet.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, Amount, Currency, EventId, OrderId, ParcelId, Time};
use serde::{Deserialize, Serialize};

use super::Market;
use super::events::{Event, EventKind};
use super::orders::OrderState;
use super::parcels::OrderView;
use super::scan::{ParcelStatus, ScanCode};
use super::steps::{OrderStep, StepKind};
use crate::compute::Context;
use crate::effects::Done;
use crate::pages::Pages;

/// The newest event of a feed, and how many came since the last mark: in one word, because every customer has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tail(u64);

impl Tail {
    const BITS: u32 = 10;

    fn last(self) -> EventId {
        EventId(self.0 >> Tail::BITS)
    }

    fn since_mark(self) -> u64 {
        self.0 % FeedView::MARK
    }

    /// A feed ends with this event now; the one before, and whether this one is to be marked.
    fn add(&mut self, event: EventId) -> (EventId, bool) {
        let (before, since) = (self.last(), (self.since_mark() + 1) % FeedView::MARK);
        *self = Tail(event.0 << Tail::BITS | since);
        (before, since == 0)
    }
}

/// The feed of a merchant or a carrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feed {
    tail: Tail,
    marks: Vec<EventId>,
}

impl Feed {
    /// Adds an event; the one before it.
    fn add(&mut self, event: EventId) -> EventId {
        let (before, is_mark) = self.tail.add(event);
        if is_mark {
            self.marks.push(event);
        }
        before
    }

    pub(crate) fn view(&self) -> FeedView<'_> {
        FeedView { tail: self.tail, marks: &self.marks }
    }
}

/// Where a feed can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedView<'a> {
    tail: Tail,
    marks: &'a [EventId],
}

impl FeedView<'_> {
    /// Events from one mark to the next.
    pub const MARK: u64 = 1 << Tail::BITS;

    /// Its newest event; 0: it has none.
    pub fn last(&self) -> EventId {
        self.tail.last()
    }

    /// How many events it has.
    pub fn count(&self) -> u64 {
        self.marks.len() as u64 * FeedView::MARK + self.tail.since_mark()
    }

    /// Where its events after this one can be read: from each of these back to the one before it, the first back to
    /// `after`. At most `most` of them, each with at most [`FeedView::MARK`] events; none when there is nothing new.
    pub fn ends_after(&self, after: EventId, most: usize) -> Vec<EventId> {
        let first = self.marks.partition_point(|mark| *mark <= after);
        let marks = self.marks[first..].iter().copied();
        let last = Some(self.last()).filter(|last| *last > after && self.marks.last() != Some(last));
        marks.chain(last).take(most).collect()
    }
}

/// What happened, without what follows from everything that happened before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) order: OrderId,
    pub(crate) kind: EventKind,
    pub(crate) state: OrderState,
    pub(crate) parcel: ParcelId,
    pub(crate) scan: Option<ScanCode>,
    pub(crate) customer: AccountId,
    pub(crate) merchant: AccountId,
    pub(crate) carrier: AccountId,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
}

/// A step that an order took, as its parties are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    kind: EventKind,
    parcel: ParcelId,
    scan: Option<ScanCode>,
}

impl Taken {
    /// One that is not about a parcel.
    pub(crate) fn plain(kind: EventKind) -> Taken {
        Taken { kind, parcel: ParcelId(0), scan: None }
    }

    /// A parcel has arrived, though nobody said so.
    pub(crate) fn delivered(parcel: ParcelId) -> Taken {
        Taken { kind: EventKind::Delivered, parcel, scan: None }
    }

    /// A step that somebody asked for, and what it was answered.
    pub(crate) fn of(step: &OrderStep, done: &Done) -> Taken {
        let kind = match step.kind() {
            StepKind::Pay => EventKind::Paid,
            StepKind::Allocate => EventKind::Allocated,
            StepKind::Ship => EventKind::Shipped,
            StepKind::Deliver => EventKind::Delivered,
            StepKind::Complete => EventKind::Completed,
            StepKind::Cancel => EventKind::Cancelled,
            StepKind::RequestReturn => EventKind::ReturnRequested,
            StepKind::AcceptReturn => EventKind::Returned,
            StepKind::RefuseReturn => EventKind::ReturnRefused,
            StepKind::Refund => EventKind::Refunded,
            StepKind::Scan => EventKind::Scanned,
        };
        match (step, done) {
            (OrderStep::Scan { parcel, code }, _) if code.status() == ParcelStatus::Delivered => {
                Taken { kind: EventKind::Delivered, parcel: *parcel, scan: Some(*code) }
            }
            (OrderStep::Scan { parcel, code }, _) => Taken { kind, parcel: *parcel, scan: Some(*code) },
            (OrderStep::Deliver { parcel }, _) | (_, Done::Parcel(parcel)) => {
                Taken { kind, parcel: *parcel, scan: None }
            }
            _ => Taken::plain(kind),
        }
    }
}

/// Where the money of an order is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Money {
    held: Amount,
    settled: Amount,
    refunded: Amount,
}

impl Money {
    pub(crate) fn of(view: &OrderView<'_>) -> Money {
        Money { held: view.held(), settled: view.settled(), refunded: view.refunded() }
    }

    /// What a step of this kind was about that led from here to there.
    fn moved(self, to: Money, kind: EventKind, total: Amount) -> Amount {
        let refunded = to.refunded.0 - self.refunded.0;
        match kind {
            EventKind::Paid => total,
            EventKind::Shipped => Amount(to.settled.0 - self.settled.0),
            EventKind::Cancelled => Amount(self.held.0 - to.held.0 + refunded),
            EventKind::Refunded => Amount(refunded),
            _ => Amount::ZERO,
        }
    }
}

/// The feeds of customers and carriers; those of merchants lie with their terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feeds {
    last: EventId,
    /// By number of the account.
    customers: Pages<Tail>,
    /// The marks of the few customers that have any.
    marks: BTreeMap<AccountId, Vec<EventId>>,
    carriers: BTreeMap<AccountId, Feed>,
}

impl Feeds {
    /// Who carries what is not carried: the issuer, who has no part in any order.
    pub(crate) const NOBODY: AccountId = AccountId(0);

    pub(crate) fn last(&self) -> EventId {
        self.last
    }

    pub(crate) fn customer(&self, account: AccountId) -> FeedView<'_> {
        let tail = usize::try_from(account.0).ok().and_then(|at| self.customers.get(at));
        let marks = self.marks.get(&account).map_or(&[][..], Vec::as_slice);
        tail.map_or_else(FeedView::default, |tail| FeedView { tail: *tail, marks })
    }

    pub(crate) fn carrier(&self, account: AccountId) -> FeedView<'_> {
        self.carriers.get(&account).map(Feed::view).unwrap_or_default()
    }

    /// What an event of this customer reads first.
    pub(crate) fn touch(&self, customer: AccountId) -> u64 {
        let tail = usize::try_from(customer.0).ok().and_then(|at| self.customers.get(at));
        tail.map_or(0, |tail| tail.0)
    }

    /// There are so many accounts.
    pub(crate) fn know(&mut self, accounts: usize) {
        while self.customers.len() < accounts {
            self.customers.push(Tail::default());
        }
    }

    /// Tells all parties what happened.
    pub(crate) fn tell(&mut self, time: Time, news: &News, merchants: &mut Feed, events: &mut Vec<Event>) {
        let News { order, kind, state, parcel, scan, customer, merchant, carrier, amount, currency } = *news;
        let id = EventId(self.last.0 + 1);
        self.last = id;
        let tail = usize::try_from(customer.0).ok().and_then(|at| self.customers.get_mut(at));
        let (customer_prev, is_mark) = tail.map_or((EventId(0), false), |tail| tail.add(id));
        if is_mark {
            self.marks.entry(customer).or_default().push(id);
        }
        let merchant_prev = merchants.add(id);
        let carrier_prev = match carrier {
            Feeds::NOBODY => EventId(0),
            carrier => self.carriers.entry(carrier).or_default().add(id),
        };
        events.push(Event {
            id,
            time,
            order,
            kind,
            state,
            parcel,
            scan,
            customer,
            merchant,
            carrier,
            amount,
            currency,
            customer_prev,
            merchant_prev,
            carrier_prev,
        });
    }

    /// Panics unless every feed ends where events are. For tests; walks all of them.
    pub(crate) fn sanity_check<'a>(&'a self, merchants: impl Iterator<Item = &'a Feed>) {
        let customers = (0..self.customers.len() as u64).map(|at| self.customer(AccountId(at)));
        let views: Vec<_> = customers.chain(merchants.map(Feed::view)).collect();
        let carriers = self.carriers.values().map(Feed::view);
        for view in views.iter().copied().chain(carriers) {
            let last = view.marks.last().copied().unwrap_or_default();
            assert!(view.marks.is_sorted_by(|a, b| a < b) && last <= view.last() && view.last() <= self.last);
            assert_eq!(view.tail.since_mark() == 0, last == view.last(), "a feed is marked when it is full");
        }
        let customers: u64 = views[..self.customers.len()].iter().map(FeedView::count).sum();
        let merchants: u64 = views[self.customers.len()..].iter().map(FeedView::count).sum();
        assert_eq!(
            (customers, merchants),
            (self.last.0, self.last.0),
            "each event is a customer's and a merchant's"
        );
    }
}

impl Market {
    /// Tells an order's parties of a step that it took; before, its money was there.
    pub(super) fn tell(
        &mut self,
        id: OrderId,
        Taken { kind, parcel, scan }: Taken,
        before: Money,
        ctx: &mut Context<'_>,
    ) {
        let Market { catalogue, orders, feeds, .. } = self;
        let Some(view) = orders.view(id) else { return };
        let order = view.order;
        let sent = (parcel.0 as usize).checked_sub(1).and_then(|at| view.parcels().get(at));
        let news = News {
            order: id,
            kind,
            state: order.state,
            parcel,
            scan,
            customer: order.customer,
            merchant: order.merchant,
            carrier: sent.map_or(Feeds::NOBODY, |parcel| parcel.carrier),
            amount: before.moved(Money::of(&view), kind, order.total),
            currency: order.currency,
        };
        let feed = &mut catalogue.shop_mut(order.merchant).feed;
        feeds.tell(ctx.now, &news, feed, &mut ctx.effects.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Party;

    fn news(customer: u64) -> News {
        News {
            order: OrderId(1),
            kind: EventKind::Placed,
            state: OrderState::Paid,
            parcel: ParcelId(0),
            scan: None,
            customer: AccountId(customer),
            merchant: AccountId(9),
            carrier: AccountId(if customer == 1 { 8 } else { 0 }),
            amount: Amount(1),
            currency: Currency::CREDIT,
        }
    }

    /// Everything after `after`, as a reader finds it.
    fn read(feed: FeedView<'_>, events: &[Event], party: Party, after: EventId) -> Vec<EventId> {
        let (mut all, mut from) = (Vec::new(), after);
        loop {
            let ends = feed.ends_after(from, 2);
            let Some(last) = ends.last() else { return all };
            for end in &ends {
                let begin = all.len();
                let mut at = *end;
                while at > from {
                    all.push(at);
                    at = events[at.0 as usize - 1].before_of(party);
                }
                assert!((all.len() - begin) as u64 <= FeedView::MARK);
                all[begin..].reverse();
                from = *end;
            }
            assert_eq!(from, *last);
        }
    }

    #[test]
    fn feeds_are_read_forwards_from_anywhere() {
        let (mut feeds, mut merchant, mut events) = (Feeds::default(), Feed::default(), Vec::new());
        feeds.know(4);
        // One customer has most of them, another exactly as many as lie between two marks.
        for number in 0..7_000_u64 {
            let customer = if number % 3 == 0 && number / 3 < FeedView::MARK { 2 } else { 1 };
            feeds.tell(Time(number), &news(customer), &mut merchant, &mut events);
        }
        feeds.sanity_check(std::iter::once(&merchant));
        let views = [
            (Party::Customer, AccountId(1), feeds.customer(AccountId(1))),
            (Party::Customer, AccountId(2), feeds.customer(AccountId(2))),
            (Party::Customer, AccountId(3), feeds.customer(AccountId(3))),
            (Party::Merchant, AccountId(9), merchant.view()),
            (Party::Carrier, AccountId(8), feeds.carrier(AccountId(8))),
        ];
        for (party, account, view) in views {
            let of = events.iter().filter(|event| event.account_of(party) == account);
            let all: Vec<EventId> = of.map(|event| event.id).collect();
            assert_eq!(view.count(), all.len() as u64);
            for after in [0, 1, 2, 1_023, 1_024, 1_025, 3_000, 6_999, 7_000, 7_001, u64::MAX].map(EventId) {
                let expected: Vec<_> = all.iter().copied().filter(|id| *id > after).collect();
                assert_eq!(read(view, &events, party, after), expected, "{party:?} {account} after {after}");
            }
        }
    }
}
