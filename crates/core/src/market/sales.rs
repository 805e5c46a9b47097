//! What was sold of each article in each hour of log time, UTC.
//!
//! An order counts once its money is taken. What is cancelled, returned or refunded counts against the hour in which
//! that happens. The figures of an hour that is over go to the journal of sales, in order of merchants and articles,
//! some with every entry; so the whole journal is in order of hours, merchants and articles.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use pumasi_types::{AccountId, Amount, ArticleId, Currency, Hour, SalesId};
use serde::{Deserialize, Serialize};

use super::catalogue::{self, Catalogue};
use super::orders::Line;
use super::parcels::{OrderView, share};
use crate::pages::Pages;

/// What was sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// How many, less those that were cancelled or came back.
    pub quantity: i64,
    /// What customers paid for them, tax contained, less what was given up or went back.
    pub revenue: Amount,
    /// In how many orders, less those of which none was shipped before they were cancelled.
    pub orders: i32,
}

impl AddAssign for Figure {
    /// Stops at the largest number; no hour comes near it.
    fn add_assign(&mut self, more: Figure) {
        self.quantity = self.quantity.saturating_add(more.quantity);
        self.revenue.0 = self.revenue.0.saturating_add(more.revenue.0);
        self.orders = self.orders.saturating_add(more.orders);
    }
}

/// What was sold of an article in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SalesHour {
    /// Its place in the journal of sales; 0: it is not there yet.
    pub id: SalesId,
    /// Which hour.
    pub hour: Hour,
    /// Who sells it.
    pub merchant: AccountId,
    /// Which article.
    pub article: ArticleId,
    /// The currency of the revenue.
    pub currency: Currency,
    /// What was sold.
    pub figure: Figure,
}

impl SalesHour {
    /// Length of [`SalesHour::to_record`].
    pub const RECORD_BYTES: usize = 48;

    /// The figures as bytes, little-endian: id, merchant, quantity, revenue (8 bytes each), hour, article, orders (4
    /// each), currency (3), a zero.
    pub fn to_record(&self) -> [u8; SalesHour::RECORD_BYTES] {
        let SalesHour { id, hour, merchant, article, currency, figure } = self;
        let mut record = [0; SalesHour::RECORD_BYTES];
        let words = [id.0, merchant.0, figure.quantity.cast_unsigned(), figure.revenue.0.cast_unsigned()];
        for (place, word) in record.as_chunks_mut().0.iter_mut().zip(words) {
            *place = u64::to_le_bytes(word);
        }
        let halves = [hour.0, article.0, figure.orders.cast_unsigned()];
        for (place, half) in record[32..].as_chunks_mut().0.iter_mut().zip(halves) {
            *place = u32::to_le_bytes(half);
        }
        record[44..47].copy_from_slice(currency.code().as_bytes());
        record
    }

    /// Reads what [`SalesHour::to_record`] wrote; `None` for any other bytes.
    pub fn from_record(record: &[u8; SalesHour::RECORD_BYTES]) -> Option<SalesHour> {
        let word = |at: usize| u64::from_le_bytes(record[8 * at..][..8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(record[4 * at..][..4].try_into().expect("four bytes"));
        let figure = Figure {
            quantity: word(2).cast_signed(),
            revenue: Amount(word(3).cast_signed()),
            orders: half(10).cast_signed(),
        };
        let read = SalesHour {
            id: SalesId(word(0)),
            hour: Hour(half(8)),
            merchant: AccountId(word(1)),
            article: ArticleId(half(9)),
            currency: std::str::from_utf8(&record[44..47]).ok()?.parse().ok()?,
            figure,
        };
        (record[47] == 0).then_some(read)
    }

    /// Where it stands among all figures.
    pub fn rank(&self) -> (Hour, AccountId, ArticleId) {
        (self.hour, self.merchant, self.article)
    }
}

/// What an article sold in the hour in which it was sold last: half a cache line, so that it never lies in two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(align(32))]
struct Running {
    /// None when its figures went to the journal.
    hour: Option<Hour>,
    figure: Figure,
}

/// The figures that are not in the journal yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sales {
    hour: Hour,
    /// For each article.
    running: Pages<Running>,
    /// What was sold in this hour.
    open: BTreeSet<(AccountId, ArticleId)>,
    /// The hour whose figures go to the journal now, and of what they are not there yet.
    closing_hour: Hour,
    closing: BTreeSet<(AccountId, ArticleId)>,
    /// Figures of that hour of articles that were sold since.
    overtaken: BTreeMap<ArticleId, Figure>,
    /// The last in the journal.
    last: SalesId,
}

impl Sales {
    /// Makes room for as many articles as there are.
    pub(crate) fn make_room(&mut self, articles: usize) {
        (self.running.len()..articles).for_each(|_| self.running.push(Running::default()));
    }

    /// Loads what counting an article's sale will need.
    pub(crate) fn touch(&self, article: ArticleId) -> u64 {
        let running = catalogue::place(article).and_then(|at| self.running.get(at));
        running.map_or(0, |running| running.figure.quantity.cast_unsigned())
    }

    /// Counts what was sold of an article, or came back.
    pub(crate) fn count(&mut self, merchant: AccountId, article: ArticleId, change: Figure) {
        let Some(running) = catalogue::place(article).and_then(|at| self.running.get_mut(at)) else { return };
        if running.hour != Some(self.hour) {
            if running.hour.is_some() {
                self.overtaken.insert(article, running.figure);
            }
            *running = Running { hour: Some(self.hour), figure: Figure::default() };
            self.open.insert((merchant, article));
        }
        running.figure += change;
    }

    /// Counts what an order is paid for.
    pub(crate) fn sold(&mut self, merchant: AccountId, lines: &[Line], total: Amount) {
        let whole: i64 = lines.iter().map(|line| line.price.0 * i64::from(line.quantity)).sum();
        if whole == total.0 {
            for line in lines {
                let revenue = Amount(line.price.0 * i64::from(line.quantity));
                self.count(merchant, line.article, sale(line, revenue));
            }
            return;
        }
        for (line, revenue) in lines.iter().zip(spread(total, lines, |at| lines[at].quantity)) {
            self.count(merchant, line.article, sale(line, revenue));
        }
    }

    /// Counts that so much of an order is given up with the rest of its money.
    pub(crate) fn given_up(&mut self, view: &OrderView<'_>, rest: Amount) {
        let revenues = spread(rest, view.lines, |at| view.to_ship(at));
        for (at, (line, revenue)) in view.lines.iter().zip(revenues).enumerate() {
            let left = view.to_ship(at);
            let orders = if left == line.quantity { -1 } else { 0 };
            let change = Figure { quantity: -i64::from(left), revenue: Amount(-revenue.0), orders };
            if change != Figure::default() {
                self.count(view.order.merchant, line.article, change);
            }
        }
    }

    /// Counts what went back of an order's money since so much of it had. What was not shipped was given up before,
    /// and counted then.
    pub(crate) fn refunded(&mut self, view: &OrderView<'_>, before: Amount) {
        let given_up = if view.order.settled { view.order.total.0 - view.share_of_shipped().0 } else { 0 };
        let spread = |refunded: Amount| {
            spread(Amount(refunded.0 - given_up), view.lines, |at| view.progress(at).shipped)
        };
        let (before, after) = (spread(before), spread(view.refunded()));
        for (line, (before, after)) in view.lines.iter().zip(before.zip(after)) {
            let change = Figure { revenue: Amount(before.0 - after.0), ..Figure::default() };
            self.count(view.order.merchant, line.article, change);
        }
    }

    /// Counts what the merchant has back of a line.
    pub(crate) fn returned(&mut self, merchant: AccountId, article: ArticleId, quantity: u32) {
        let change = Figure { quantity: -i64::from(quantity), ..Figure::default() };
        self.count(merchant, article, change);
    }

    /// An hour begins when a time in it is seen first.
    pub(crate) fn turn(&mut self, hour: Hour, catalogue: &Catalogue, out: &mut Vec<SalesHour>) {
        if hour <= self.hour {
            return;
        }
        // There were hardly any entries since the hour before: no ticks, though it was behind.
        self.close(usize::MAX, catalogue, out);
        (self.closing, self.closing_hour) = (std::mem::take(&mut self.open), self.hour);
        self.hour = hour;
    }

    /// Whether figures wait for the journal.
    pub(crate) fn is_behind(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Hands over figures of the hour that is over, `most` at most.
    pub(crate) fn close(&mut self, most: usize, catalogue: &Catalogue, out: &mut Vec<SalesHour>) {
        for _ in 0..most {
            let Some((merchant, article)) = self.closing.pop_first() else { return };
            let running = catalogue::place(article).and_then(|at| self.running.get_mut(at));
            let overtaken = self.overtaken.remove(&article);
            let figure = overtaken.or_else(|| running.map(std::mem::take).map(|running| running.figure));
            let currency = catalogue.article(article).map(|article| article.currency);
            let (Some(figure), Some(currency)) = (figure, currency) else { continue };
            if figure != Figure::default() {
                self.last.0 += 1;
                let (id, hour) = (self.last, self.closing_hour);
                out.push(SalesHour { id, hour, merchant, article, currency, figure });
            }
        }
    }

    /// The last in the journal.
    pub(crate) fn last(&self) -> SalesId {
        self.last
    }

    /// Figures that are not in the journal yet, in order, of one merchant or of all, behind `after`.
    pub(crate) fn iter<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        merchant: Option<AccountId>,
        after: Option<(Hour, AccountId, ArticleId)>,
    ) -> impl Iterator<Item = SalesHour> + 'a {
        let hours = [(self.closing_hour, &self.closing), (self.hour, &self.open)];
        let of_hour = move |(hour, set): (Hour, &'a BTreeSet<(AccountId, ArticleId)>)| {
            let first = (merchant.unwrap_or_default(), ArticleId(0));
            let last = (merchant.unwrap_or(AccountId(u64::MAX)), ArticleId(u32::MAX));
            let from = match after {
                Some(after) if after.0 > hour => last,
                Some(after) if after.0 == hour => {
                    first.max((after.1, ArticleId(after.2.0.saturating_add(1))))
                }
                _ => first,
            };
            let range = if from <= last { Some(set.range(from..=last)) } else { None };
            range.into_iter().flatten().map(move |(merchant, article)| (hour, *merchant, *article))
        };
        hours.into_iter().flat_map(of_hour).filter_map(move |(hour, merchant, article)| {
            let running = self.running.get(catalogue::place(article)?)?;
            let figure = match running.hour {
                Some(at) if at == hour => running.figure,
                _ => *self.overtaken.get(&article)?,
            };
            let currency = catalogue.article(article)?.currency;
            Some(SalesHour { id: SalesId(0), hour, merchant, article, currency, figure })
        })
    }

    /// Panics unless just the articles that were sold have figures.
    pub(crate) fn sanity_check(&self, articles: usize) {
        assert_eq!(self.running.len(), articles, "every article can be sold");
        let open: BTreeSet<ArticleId> = self.open.iter().map(|(_, article)| *article).collect();
        let closing: BTreeSet<ArticleId> = self.closing.iter().map(|(_, article)| *article).collect();
        for (number, running) in (1..).zip(self.running.iter()) {
            let article = ArticleId(number);
            assert_eq!(running.hour == Some(self.hour), open.contains(&article), "sales of {article} now");
            let waits = running.hour.is_some_and(|hour| hour == self.closing_hour && hour != self.hour);
            assert_eq!(
                waits || self.overtaken.contains_key(&article),
                closing.contains(&article),
                "sales of {article} before"
            );
        }
    }
}

fn sale(line: &Line, revenue: Amount) -> Figure {
    Figure { quantity: i64::from(line.quantity), revenue, orders: 1 }
}

/// An amount divided among lines in proportion to what so many of each are worth; the parts are the whole. It is at most
/// what all are worth.
pub(super) fn spread(
    amount: Amount,
    lines: &[Line],
    quantity: impl Fn(usize) -> u32,
) -> impl Iterator<Item = Amount> {
    let worths: Vec<i128> = (0..).zip(lines).map(|(at, line)| line.worth_of(quantity(at))).collect();
    let whole: i128 = worths.iter().sum();
    let marks = worths.into_iter().scan(0, |sum, worth| {
        *sum += worth;
        Some(*sum)
    });
    marks.scan(Amount::ZERO, move |given, mark| {
        let until = share(amount, mark, whole);
        let part = Amount(until.0 - given.0);
        *given = until;
        Some(part)
    })
}
