//! All orders that are remembered, in the order in which they came, and found by their keys.
//!
//! This is also the memory of what was asked and answered: a refused order leaves a record as well. Records lie in
//! pages; a page is dropped when its last order is older than [`Bounds::REQUEST_MEMORY`], and then orders that are not
//! over move to a map of their own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, OrderId, PlaceId, RequestId, Time};
use serde::{Deserialize, Serialize};

use super::answer::OrderRefusal;
use super::archive::{ArchivePlace, Archived, ArchivedOrder};
use super::parcels::{Course, OrderView};
use crate::bounds::Bounds;
use crate::index::{Index, KeyHash, fold};
use crate::timers::{Timer, Timers};

/// Who asked what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Who sent the order.
    pub(crate) caller: AccountId,
    /// What it is called there.
    pub(crate) key: RequestId,
    /// What was asked, as 64 bits.
    pub(crate) content: u64,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: Key,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Refused(OrderRefusal),
    Order(Order),
}

/// An order that was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who buys.
    pub customer: AccountId,
    /// Who sells.
    pub merchant: AccountId,
    /// What it costs altogether, less what a coupon or a promotion takes off.
    pub total: Amount,
    /// The tax that is contained in it.
    pub tax: Amount,
    /// What the platform takes of it.
    pub fee: Amount,
    /// In which currency.
    pub currency: Currency,
    /// Where it stands.
    pub state: OrderState,
    /// Whether all of its money was paid out; before, parts of it may have been, with parcels.
    pub settled: bool,
    /// When it was placed, in log time.
    pub placed: Time,
    /// What made it cheaper than its lines; 0: nothing.
    pub coupon: CouponId,
    /// Where its lines begin in its page.
    lines_at: u32,
    lines: u8,
}

impl Order {
    /// The same, kept anywhere else than in a page.
    fn unplaced(self) -> Order {
        Order { lines_at: 0, ..self }
    }

    /// How many lines it has.
    pub(super) fn lines_count(&self) -> usize {
        usize::from(self.lines)
    }
}

/// Where an order stands. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Its stock is reserved; it waits for its money.
    Placed,
    /// Its money is held, or settled.
    Paid,
    /// Its merchant is getting it ready.
    Allocated,
    /// Some of it is under way; the rest is being got ready.
    PartlyShipped,
    /// All of it is under way, or has arrived in part.
    Shipped,
    /// It has arrived.
    Delivered,
    /// Everybody is content.
    Completed,
    /// It was given up before anything was shipped.
    Cancelled,
    /// Its money did not come in time.
    Expired,
    /// The customer wants to give it back.
    ReturnRequested,
    /// The merchant has it back.
    Returned,
    /// Some or all of its money went back.
    Refunded,
}

impl OrderState {
    /// All of them, in order of their numbers.
    pub const ALL: [OrderState; 12] = [
        OrderState::Placed,
        OrderState::Paid,
        OrderState::Allocated,
        OrderState::PartlyShipped,
        OrderState::Shipped,
        OrderState::Delivered,
        OrderState::Completed,
        OrderState::Cancelled,
        OrderState::Expired,
        OrderState::ReturnRequested,
        OrderState::Returned,
        OrderState::Refunded,
    ];

    /// Whether nothing more is to be done in it, but for what is due.
    fn is_last(self) -> bool {
        matches!(
            self,
            OrderState::Completed | OrderState::Cancelled | OrderState::Expired | OrderState::Refunded
        )
    }

    /// Whether something can have become of an order that stands there.
    fn may_have_course(self) -> bool {
        !matches!(self, OrderState::Placed | OrderState::Paid | OrderState::Allocated | OrderState::Expired)
    }

    /// Whether an order that stands there can do something by itself.
    fn may_have_due(self) -> bool {
        !matches!(
            self,
            OrderState::Paid
                | OrderState::Cancelled
                | OrderState::Expired
                | OrderState::ReturnRequested
                | OrderState::Returned
        )
    }

    /// Whether some of it can still be shipped.
    pub(crate) fn is_open(self) -> bool {
        use OrderState::{Allocated, Paid, PartlyShipped, Placed};
        matches!(self, Placed | Paid | Allocated | PartlyShipped)
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrderState::Placed => "placed",
            OrderState::Paid => "paid",
            OrderState::Allocated => "allocated",
            OrderState::PartlyShipped => "partly shipped",
            OrderState::Shipped => "shipped",
            OrderState::Delivered => "delivered",
            OrderState::Completed => "completed",
            OrderState::Cancelled => "cancelled",
            OrderState::Expired => "expired",
            OrderState::ReturnRequested => "to be returned",
            OrderState::Returned => "returned",
            OrderState::Refunded => "refunded",
        })
    }
}

/// So many of an article from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub article: ArticleId,
    /// How many.
    pub quantity: u32,
    /// From where.
    pub place: PlaceId,
    /// What one costs, tax contained, as it was when it was ordered.
    pub price: Amount,
}

impl Line {
    /// What so many of it cost.
    pub(super) fn worth_of(&self, quantity: u32) -> i128 {
        i128::from(self.price.0) * i128::from(quantity)
    }
}

/// What is known of an order when its place in the table is not yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewOrder {
    pub(crate) customer: AccountId,
    pub(crate) merchant: AccountId,
    pub(crate) total: Amount,
    pub(crate) tax: Amount,
    pub(crate) fee: Amount,
    pub(crate) currency: Currency,
    pub(crate) state: OrderState,
    pub(crate) settled: bool,
    pub(crate) placed: Time,
    pub(crate) coupon: CouponId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    records: Vec<Record>,
    lines: Vec<Line>,
    /// When the last of them came, by the table's clock.
    last: Time,
}

/// An order of a dropped page that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Old {
    record: Record,
    lines: Box<[Line]>,
    /// What the archive has of it.
    archived: ArchivePlace,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(crate) struct Orders {
    pages: VecDeque<Page>,
    /// The number of the first record in the first page.
    first: OrderId,
    /// Orders of dropped pages that are not over.
    old: BTreeMap<OrderId, Old>,
    /// What became of orders that are on their way, or were.
    courses: BTreeMap<OrderId, Course>,
    /// When orders do by themselves what is next.
    due: BTreeMap<OrderId, Time>,
    /// Log time without gaps, as [`Requests`](crate::requests::Requests) counts it.
    clock: Time,
    counted: Time,
    #[serde(skip)]
    index: Index,
    /// Unforeseeable; chosen while the table is empty.
    seed: u64,
    /// Where the next order that leaves goes.
    archived_to: ArchivePlace,
    quotas: Quotas,
}

/// What was remembered for callers that are no storefronts: each of them can ask for what costs memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Quotas {
    used: BTreeMap<AccountId, usize>,
    /// When they begin anew, by [`Orders::clock`].
    until: Time,
}

/// What a snapshot has of it.
#[derive(Deserialize)]
struct Stored {
    pages: VecDeque<Page>,
    first: OrderId,
    old: BTreeMap<OrderId, Old>,
    courses: BTreeMap<OrderId, Course>,
    due: BTreeMap<OrderId, Time>,
    clock: Time,
    counted: Time,
    seed: u64,
    archived_to: ArchivePlace,
    quotas: Quotas,
}

impl From<Stored> for Orders {
    fn from(stored: Stored) -> Orders {
        let Stored { pages, first, old, courses, due, clock, counted, seed, archived_to, quotas } = stored;
        let records = pages.iter().flat_map(|page| &page.records);
        let index = records.map(|record| hash_of(seed, &record.key)).zip(first.0..).collect();
        Orders { pages, first, old, courses, due, clock, counted, index, seed, archived_to, quotas }
    }
}

impl Default for Orders {
    fn default() -> Orders {
        Stored {
            pages: VecDeque::new(),
            first: OrderId(1),
            old: BTreeMap::new(),
            courses: BTreeMap::new(),
            due: BTreeMap::new(),
            clock: Time(0),
            counted: Time(0),
            seed: 0,
            archived_to: ArchivePlace::FIRST,
            quotas: Quotas::default(),
        }
        .into()
    }
}

/// The index follows from the rest.
impl PartialEq for Orders {
    fn eq(&self, other: &Orders) -> bool {
        let all =
            |orders: &Orders| (orders.first, orders.clock, orders.counted, orders.seed, orders.archived_to);
        all(self) == all(other)
            && self.pages == other.pages
            && (&self.old, &self.courses, &self.due, &self.quotas)
                == (&other.old, &other.courses, &other.due, &other.quotas)
    }
}

impl Eq for Orders {}

/// Where a key is looked for. The seed keeps clients from choosing keys that all lie at one place.
fn hash_of(seed: u64, key: &Key) -> KeyHash {
    let (low, high) = (key.key.0 as u64, (key.key.0 >> 64) as u64);
    let caller = key.caller.0.wrapping_mul(0xd6e8_feb8_6659_fd93);
    KeyHash::new(fold(fold(low ^ seed, high ^ caller ^ 0xa076_1d64_78bd_642f), seed ^ 0xe703_7ed1_a0b4_28db))
}

/// What an order asks for, as 64 bits: two different orders of one key must only differ by mistake, so nobody gains by
/// making two of the same.
pub(crate) fn content_of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    debug_assert!(rest.is_empty(), "orders are made of words");
    words
        .iter()
        .fold(bytes.len() as u64, |sum, word| fold(sum ^ u64::from_le_bytes(*word), 0xe703_7ed1_a0b4_28db))
}

/// Page and place of a number that is still in a page, when the first there is this.
fn place(first: OrderId, id: OrderId) -> Option<(usize, usize)> {
    let at = usize::try_from(id.0.checked_sub(first.0)?).ok()?;
    Some((at / Orders::PAGE, at % Orders::PAGE))
}

impl Orders {
    /// Records of a page.
    pub(super) const PAGE: usize = 1 << 10;

    /// The number that the next order gets.
    pub(crate) fn next(&self) -> OrderId {
        let before = self.pages.len().saturating_sub(1) * Orders::PAGE;
        OrderId(self.first.0 + (before + self.pages.back().map_or(0, |page| page.records.len())) as u64)
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What a search for this key reads first.
    pub(crate) fn touch(&self, hash: KeyHash) -> u64 {
        self.index.touch(hash)
    }

    /// Where a key is looked for.
    pub(crate) fn hash(&self, key: &Key) -> KeyHash {
        hash_of(self.seed, key)
    }

    /// Lets nobody foresee where keys lie from now on, if there are none yet.
    pub(crate) fn scatter(&mut self, seed: u64) {
        if self.index.len() == 0 {
            self.seed = seed;
        }
    }

    /// What came of a key.
    pub(crate) fn find(&self, hash: KeyHash, key: &Key) -> Option<(OrderId, &Record)> {
        let is_it = |number| {
            self.record(OrderId(number))
                .is_some_and(|record| record.key.key == key.key && record.key.caller == key.caller)
        };
        let id = OrderId(self.index.find(hash, self.first.0, is_it)?);
        Some((id, self.record(id)?))
    }

    fn record(&self, id: OrderId) -> Option<&Record> {
        let (page, at) = place(self.first, id)?;
        self.pages.get(page)?.records.get(at)
    }

    /// An order and its lines.
    pub(crate) fn get(&self, id: OrderId) -> Option<(&Record, &[Line])> {
        let Some((page, at)) = place(self.first, id) else {
            return self.old.get(&id).map(|old| (&old.record, &old.lines[..]));
        };
        let page = self.pages.get(page)?;
        let record = page.records.get(at)?;
        Some((record, page.lines_of(record)))
    }

    /// An order and all that is known of it.
    pub(crate) fn view(&self, id: OrderId) -> Option<OrderView<'_>> {
        match self.get(id)? {
            (Record { outcome: Outcome::Order(order), .. }, lines) => Some(self.view_of(id, order, lines)),
            _ => None,
        }
    }

    fn view_of<'a>(&'a self, id: OrderId, order: &'a Order, lines: &'a [Line]) -> OrderView<'a> {
        // Not looked for where there cannot be any: maps of a million orders are slow.
        let course = if order.state.may_have_course() { self.courses.get(&id) } else { None };
        let due = if order.state.may_have_due() { self.due.get(&id).copied() } else { None };
        OrderView { order, lines, course, due }
    }

    /// An order, to be changed.
    pub(crate) fn get_mut(&mut self, id: OrderId) -> Option<&mut Order> {
        let record = match place(self.first, id) {
            Some((page, at)) => self.pages.get_mut(page)?.records.get_mut(at)?,
            None => &mut self.old.get_mut(&id)?.record,
        };
        match &mut record.outcome {
            Outcome::Order(order) => Some(order),
            Outcome::Refused(_) => None,
        }
    }

    /// An order and what became of it, to be changed; none if it is not there.
    pub(crate) fn course_mut(&mut self, id: OrderId) -> Option<(&mut Order, &mut Course)> {
        let view = self.view(id)?;
        if view.course.is_none() {
            let course = Course::of(&view);
            self.courses.insert(id, course);
        }
        let course = self.courses.get_mut(&id)?;
        // As `get_mut`, which would take the courses along.
        let record = match place(self.first, id) {
            Some((page, at)) => self.pages.get_mut(page)?.records.get_mut(at)?,
            None => &mut self.old.get_mut(&id)?.record,
        };
        match &mut record.outcome {
            Outcome::Order(order) => Some((order, course)),
            Outcome::Refused(_) => None,
        }
    }

    /// How many orders of this caller, which is no storefront, are still remembered, refused ones too.
    pub(crate) fn room(&self, caller: AccountId) -> usize {
        let used = self.quotas.used.get(&caller).copied().unwrap_or(0);
        Bounds::ORDERS_EACH.saturating_sub(used)
    }

    /// So many are still remembered from now on.
    pub(crate) fn leave_room(&mut self, caller: AccountId, room: usize) {
        let used = Bounds::ORDERS_EACH - room;
        if used > 0 {
            self.quotas.used.insert(caller, used);
        }
    }

    /// Lets an order do by itself what is next then, or not at all.
    pub(crate) fn set_due(&mut self, id: OrderId, when: Option<Time>, timers: &mut Timers) {
        let before = match when {
            Some(at) => self.due.insert(id, at),
            None => self.due.remove(&id),
        };
        if let Some(at) = before {
            timers.clear(at, Timer::Order(id));
        }
        if let Some(at) = when {
            timers.set(at, Timer::Order(id));
        }
    }

    /// Whether nothing will come of an order any more, so that it need not be remembered for its own sake.
    fn is_over(&self, id: OrderId, order: &Order) -> bool {
        order.state.is_last() && !self.due.contains_key(&id)
    }

    /// Forgets of an order whose key was forgotten before what nothing will come of: all of it when it is over. What is
    /// forgotten goes to the archive.
    pub(crate) fn leave(&mut self, id: OrderId, archived: &mut Archived) {
        if id >= self.first {
            return;
        }
        let Some(view) = self.view(id) else { return };
        let (over, plain) = (self.is_over(id, view.order), view.is_plain());
        if !over && !plain {
            return;
        }
        let Some(before) = self.old.get(&id).map(|old| old.archived) else { return };
        // An order that was plain when it was archived and is again says the same.
        if !plain || before.is_none() {
            let place = self.archive(id, before, archived);
            if let Some(old) = self.old.get_mut(&id) {
                old.archived = place;
            }
        }
        if over {
            self.old.remove(&id);
        }
        self.courses.remove(&id);
    }

    /// Puts an order, as it stands, into the archive, which has what it was `before`; where.
    fn archive(&mut self, id: OrderId, before: ArchivePlace, archived: &mut Archived) -> ArchivePlace {
        let place = self.archived_to;
        let Some((Record { key, outcome: Outcome::Order(order) }, lines)) = self.get(id) else {
            return before;
        };
        let left = ArchivedOrder {
            id,
            sent_by: key.caller,
            order: order.unplaced(),
            lines: lines.to_vec(),
            course: self.courses.get(&id).cloned(),
            before,
        };
        self.archived_to = archived.add(place, &left);
        place
    }

    /// What the archive has of an order that is remembered beyond its key.
    pub(crate) fn archived(&self, id: OrderId) -> ArchivePlace {
        self.old.get(&id).map_or(ArchivePlace::NONE, |old| old.archived)
    }

    /// Where the archive ends.
    pub(crate) fn archived_to(&self) -> ArchivePlace {
        self.archived_to
    }

    /// Remembers an order that was placed; its number.
    pub(crate) fn place_order(
        &mut self,
        hash: KeyHash,
        key: Key,
        order: &NewOrder,
        lines: &[Line],
    ) -> OrderId {
        let page = self.page();
        let lines_at = u32::try_from(page.lines.len()).expect("a page has few lines");
        page.lines.extend_from_slice(lines);
        let NewOrder { customer, merchant, total, tax, fee, currency, state, settled, placed, coupon } =
            *order;
        let lines = u8::try_from(lines.len()).expect("an order has few lines");
        let order = Order {
            customer,
            merchant,
            total,
            tax,
            fee,
            currency,
            state,
            settled,
            placed,
            coupon,
            lines_at,
            lines,
        };
        self.remember(hash, Record { key, outcome: Outcome::Order(order) })
    }

    /// Remembers why an order was refused.
    pub(crate) fn refuse(&mut self, hash: KeyHash, key: Key, refusal: OrderRefusal) {
        self.remember(hash, Record { key, outcome: Outcome::Refused(refusal) });
    }

    /// The page that the next order goes to.
    fn page(&mut self) -> &mut Page {
        if self.pages.back().is_none_or(|page| page.records.len() == Orders::PAGE) {
            // As many lines as the page before has: orders of one hour are alike.
            let before =
                self.pages.back().map_or(Orders::PAGE, |page| page.lines.len() + page.lines.len() / 16);
            let (records, lines) = (Vec::with_capacity(Orders::PAGE), Vec::with_capacity(before));
            self.pages.push_back(Page { records, lines, last: self.clock });
        }
        self.pages.back_mut().expect("it was made if there was none")
    }

    fn remember(&mut self, hash: KeyHash, record: Record) -> OrderId {
        let (id, clock) = (self.next(), self.clock);
        let page = self.page();
        page.records.push(record);
        page.last = clock;
        self.index.insert(hash, id.0);
        id
    }

    /// Counts the time until `now`, and drops pages that are too old, `most` at most.
    pub(crate) fn pass(&mut self, now: Time, most: usize, archived: &mut Archived) {
        self.clock = self.clock.after(now.since(self.counted).min(Bounds::REQUEST_GAP));
        self.counted = now;
        if self.clock >= self.quotas.until {
            self.quotas = Quotas { used: BTreeMap::new(), until: self.clock.after(Bounds::REQUEST_MEMORY) };
        }
        for _ in 0..most {
            // The last page may still be filled.
            let is_old = |page: &Page| {
                page.records.len() == Orders::PAGE && page.last.after(Bounds::REQUEST_MEMORY) <= self.clock
            };
            if !self.pages.front().is_some_and(is_old) {
                break;
            }
            self.drop_page(archived);
        }
    }

    fn drop_page(&mut self, archived: &mut Archived) {
        // What leaves is read from its page as long as that is there.
        let Some(count) = self.pages.front().map(|page| page.records.len() as u64) else { return };
        for id in (self.first.0..self.first.0 + count).map(OrderId) {
            let Some(record) = self.record(id).copied() else { continue };
            self.index.remove(hash_of(self.seed, &record.key), id.0);
            let Some(view) = self.view(id) else { continue };
            let (over, plain) = (self.is_over(id, view.order), view.is_plain());
            let lines = if over { Box::default() } else { view.lines.into() };
            let mut place = ArchivePlace::NONE;
            if over || plain {
                place = self.archive(id, place, archived);
                self.courses.remove(&id);
            }
            if !over {
                self.old.insert(id, Old { record, lines, archived: place });
            }
        }
        self.pages.pop_front();
        self.first.0 += count;
    }

    /// All orders that were placed and are remembered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OrderId, OrderView<'_>)> {
        let in_pages = self
            .pages
            .iter()
            .flat_map(|page| page.records.iter().map(|record| (record, page.lines_of(record))));
        let numbered = (self.first.0..).map(OrderId).zip(in_pages);
        let old = self.old.iter().map(|(id, old)| (*id, (&old.record, &old.lines[..])));
        old.chain(numbered).filter_map(|(id, (record, lines))| match &record.outcome {
            Outcome::Order(order) => Some((id, self.view_of(id, order, lines))),
            Outcome::Refused(_) => None,
        })
    }

    /// Panics unless every order is found by its key, and what is kept for orders is kept for those that there are.
    pub(crate) fn sanity_check(&self, timers: &Timers) {
        let records = self.pages.iter().flat_map(|page| &page.records);
        let mut count = 0;
        for (number, record) in (self.first.0..).zip(records) {
            let found = self.find(self.hash(&record.key), &record.key);
            assert_eq!(found.map(|(id, _)| id.0), Some(number), "an order is found by its key");
            count += 1;
        }
        assert_eq!(self.len(), count, "the index knows as many orders as there are");
        let whole = |page: &Page| page.records.len() == Orders::PAGE;
        assert!(self.pages.iter().rev().skip(1).all(whole), "only the last page has room");
        assert!(self.old.keys().all(|id| *id < self.first), "old orders are older than all pages");
        let state = |id: &OrderId| self.view(*id).map(|view| view.order.state);
        let can_go_on = |id| state(id).is_some_and(OrderState::may_have_course);
        assert!(self.courses.keys().all(can_go_on), "what became of an order is kept with it");
        let can_be_due = |id| state(id).is_some_and(OrderState::may_have_due);
        assert!(self.due.keys().all(can_be_due), "what is due of an order is kept with it");
        for (id, old) in &self.old {
            let Outcome::Order(order) = &old.record.outcome else { panic!("{id} was refused") };
            assert!(old.archived < self.archived_to, "the archive has what it has of {id}");
            let parcels = self.courses.get(id).map_or(0, |course| course.parcels.len());
            assert!(old.archived.is_none() || parcels == 0, "the archive has the parcels of {id}");
            assert!(!self.is_over(*id, order), "old order {id} is over");
        }
        assert!(
            self.due.iter().all(|(id, at)| timers.has(*at, Timer::Order(*id))),
            "what is due has its timer"
        );
    }
}

impl Page {
    fn lines_of(&self, record: &Record) -> &[Line] {
        match record.outcome {
            Outcome::Order(order) => {
                // An old record's place says nothing: its lines are kept with it.
                let from = order.lines_at as usize;
                &self.lines[from..from + usize::from(order.lines)]
            }
            Outcome::Refused(_) => &[],
        }
    }
}
