//! Orders on their way: parcels, and how much of the money goes with each.

use pumasi_types::{AccountId, Amount, ArticleId, OrderId, ParcelId, Time};
use serde::{Deserialize, Serialize};

use super::Market;
use super::batch::OrderBatch;
use super::feeds::{Money, Taken};
use super::orders::{Line, Order, OrderState};
use super::scan::{ParcelStatus, ScanCode};
use crate::bounds::Bounds;
use crate::compute::Context;
use crate::effects::Done;
use crate::ledger::Purse;
use crate::state::Answer;
use crate::{Refusal, Role};

/// What goes on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// Who carries it: a carrier, or the merchant itself.
    pub carrier: AccountId,
    /// What the carrier calls it; may be empty.
    pub tracking: String,
    /// What is in it, and how many; none: all that is left.
    pub lines: Vec<(ArticleId, u32)>,
}

/// What became of an order after it was allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// How far each line of the order is.
    pub lines: Vec<Progress>,
    /// Its parcels; the first is number 1. Forgotten once it is completed and its key was forgotten.
    pub parcels: Vec<Parcel>,
    /// What went back of the money that was settled.
    pub refunded: Amount,
    /// Until when it can be returned, once it has arrived.
    pub returns_until: Time,
}

/// How far a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many were sent.
    pub shipped: u32,
    /// How many of them the customer wants to give back.
    pub asked: u32,
    /// How many the merchant has back.
    pub returned: u32,
}

/// What was sent at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Who carries it.
    pub carrier: AccountId,
    /// What the carrier calls it.
    pub tracking: Box<str>,
    /// How many of which of the order's lines.
    pub lines: Vec<(u8, u32)>,
    /// When it was sent, in log time.
    pub sent: Time,
    /// When it arrived.
    pub delivered: Option<Time>,
    /// What its carrier reported last of it.
    pub scan: Option<ScanCode>,
}

impl Course {
    /// What became of an order that has none.
    pub(super) fn of(view: &OrderView<'_>) -> Course {
        Course {
            lines: (0..view.lines.len()).map(|line| view.progress(line)).collect(),
            parcels: Vec::new(),
            refunded: view.refunded(),
            returns_until: view.returns_until(),
        }
    }
}

/// An order with all that is known of it.
#[derive(Clone, Copy, Debug)]
pub struct OrderView<'a> {
    /// The order.
    pub order: &'a Order,
    /// Its lines.
    pub lines: &'a [Line],
    /// What became of it; none as long as nothing was shipped or refunded, nor when it was completed so long ago that
    /// its key is forgotten: then all of it was shipped and settled, and nothing came back.
    pub course: Option<&'a Course>,
    /// When it does by itself what is next: it expires, is taken to have arrived, is completed, or its books are closed.
    pub due: Option<Time>,
}

impl<'a> OrderView<'a> {
    /// Its parcels.
    pub fn parcels(&self) -> &'a [Parcel] {
        self.course.map_or(&[], |course| &course.parcels)
    }

    /// How far a line is.
    pub fn progress(&self, line: usize) -> Progress {
        match self.course {
            Some(course) => course.lines[line],
            None if self.order.state == OrderState::Completed => {
                Progress { shipped: self.lines[line].quantity, ..Progress::default() }
            }
            None => Progress::default(),
        }
    }

    /// Until when it can be returned, if it has arrived.
    pub fn returns_until(&self) -> Time {
        let completed = self.due.filter(|_| self.order.state == OrderState::Completed);
        self.course.map(|course| course.returns_until).or(completed).unwrap_or_default()
    }

    /// Whether what became of it follows from the order.
    pub(super) fn is_plain(&self) -> bool {
        let whole = |(at, line): (usize, &Line)| {
            let Progress { shipped, asked, returned } = self.progress(at);
            (shipped, asked, returned) == (line.quantity, 0, 0)
        };
        self.order.state == OrderState::Completed
            && self.order.settled
            && self.refunded() == Amount::ZERO
            && self.lines.iter().enumerate().all(whole)
    }

    /// What a coupon or a promotion takes off what its lines cost.
    pub fn discount(&self) -> Amount {
        if self.order.coupon.0 == 0 {
            return Amount::ZERO;
        }
        let worth = |line: &Line| line.price.0 * i64::from(line.quantity);
        Amount(self.lines.iter().map(worth).sum::<i64>() - self.order.total.0)
    }

    /// How many of a line its merchant still has to ship.
    pub fn to_ship(&self, line: usize) -> u32 {
        if self.order.state.is_open() { self.lines[line].quantity - self.progress(line).shipped } else { 0 }
    }

    /// The part of its total that its parcels are worth, rounded down.
    pub(super) fn share_of_shipped(&self) -> Amount {
        let Some(course) = self.course else { return Amount::ZERO };
        let whole: i128 = self.lines.iter().map(|line| line.worth_of(line.quantity)).sum();
        let shipped = self.lines.iter().zip(&course.lines);
        let worth = shipped.map(|(line, progress)| line.worth_of(progress.shipped)).sum();
        share(self.order.total, worth, whole)
    }

    /// What was paid out of its money.
    pub fn settled(&self) -> Amount {
        if self.order.settled { self.order.total } else { self.share_of_shipped() }
    }

    /// What went back of that.
    pub fn refunded(&self) -> Amount {
        self.course.map_or(Amount::ZERO, |course| course.refunded)
    }

    /// What is set aside for it in its customer's balance.
    pub fn held(&self) -> Amount {
        if self.order.state == OrderState::Placed || !self.order.state.is_open() {
            return Amount::ZERO;
        }
        Amount(self.order.total.0 - self.settled().0)
    }

    /// Panics unless what became of the order fits what was ordered.
    pub(super) fn sanity_check(&self, id: OrderId) {
        use OrderState::{Allocated, Delivered, PartlyShipped, Placed, Shipped};
        assert!(self.refunded() <= self.settled() && self.settled() <= self.order.total, "refunds of {id}");
        assert!(self.refunded().0 >= 0 && self.held().0 >= 0, "money of {id}");
        let waits = matches!(self.order.state, Placed | Allocated | PartlyShipped | Shipped | Delivered);
        assert!(!waits || self.due.is_some(), "order {id} waits for ever");
        let arrives = matches!(self.order.state, PartlyShipped | Shipped | Delivered);
        assert_eq!(
            self.order.state.is_open() && !self.parcels().is_empty(),
            self.order.state == PartlyShipped
        );
        assert!(!arrives || !self.parcels().is_empty(), "order {id} has parcels");
        let Some(course) = self.course else { return };
        assert_eq!(course.lines.len(), self.lines.len());
        for (at, (line, progress)) in self.lines.iter().zip(&course.lines).enumerate() {
            // The parcels of an order that comes back after long are forgotten.
            let in_parcels = course.parcels.iter().flat_map(|parcel| &parcel.lines);
            let sent = in_parcels.filter(|(of, _)| usize::from(*of) == at).map(|(_, n)| u64::from(*n)).sum();
            let shipped = u64::from(progress.shipped);
            assert!(course.parcels.is_empty() || shipped == sent, "line {at} of {id} is in parcels");
            assert!(progress.shipped <= line.quantity, "line {at} of {id} was ordered");
            assert!(u64::from(progress.asked) + u64::from(progress.returned) <= shipped, "line {at} of {id}");
            let asks = self.order.state == OrderState::ReturnRequested;
            assert!(asks || progress.asked == 0, "line {at} of {id} is to be returned");
        }
    }
}

impl Order {
    /// Fee and tax in the first so much of its money.
    ///
    /// Money that moves from one mark of the total to another takes what they differ by along, so that all movements
    /// together move what the order says, and none less than nothing: fee and tax together are rounded down first, then
    /// the tax of that.
    pub(super) fn parts(&self, amount: Amount) -> (Amount, Amount) {
        let both = i128::from(self.fee.0) + i128::from(self.tax.0);
        let taken = share(amount, both, i128::from(self.total.0));
        let tax = share(taken, i128::from(self.tax.0), both);
        (Amount(taken.0 - tax.0), tax)
    }
}

/// `amount × part / whole`, rounded down; nothing of nothing. The part is at most the whole.
pub(super) fn share(amount: Amount, part: i128, whole: i128) -> Amount {
    if whole == 0 {
        return Amount::ZERO;
    }
    // All three fit 64 bits: what lines are worth was checked to be an amount when they were ordered.
    let shared = i128::from(amount.0) * part / whole;
    Amount(i64::try_from(shared).expect("a part of an amount is an amount"))
}

/// How many of which lines were asked for, in the order of the lines: all that `left` says when none are named.
pub(super) fn chosen(
    id: OrderId,
    lines: &[Line],
    asked: &[(ArticleId, u32)],
    left: impl Fn(usize) -> u32,
) -> Result<Vec<(u8, u32)>, Refusal> {
    if asked.len() > OrderBatch::LINES_MAX {
        return Err(Refusal::invalid("lines", "must be at most 255"));
    }
    let mut counts = vec![0_u32; lines.len()];
    for (article, quantity) in asked {
        if *quantity == 0 {
            return Err(Refusal::invalid("quantity", "must be 1 at least"));
        }
        let at = lines.iter().position(|line| line.article == *article);
        let most = at.map_or(0, &left);
        let too_many = Refusal::TooManyOfArticle { order: id, article: *article, left: most };
        let count = at.map(|at| &mut counts[at]).ok_or(too_many.clone())?;
        *count = count.checked_add(*quantity).filter(|sum| *sum <= most).ok_or(too_many)?;
    }
    if asked.is_empty() {
        counts.iter_mut().enumerate().for_each(|(at, count)| *count = left(at));
    }
    let chosen = (0..=u8::MAX).zip(counts).filter(|(_, count)| *count > 0);
    Ok(chosen.collect())
}

impl Market {
    /// Sends a parcel, and pays for what is in it.
    pub(super) fn ship(&mut self, id: OrderId, shipment: &Shipment, ctx: &mut Context<'_>) -> Answer {
        let Market { catalogue, orders, .. } = self;
        let view = orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        check(shipment, &view, ctx)?;
        let chosen = chosen(id, view.lines, &shipment.lines, |at| view.to_ship(at))?;
        for (at, needed) in &chosen {
            let Line { article, place, .. } = view.lines[usize::from(*at)];
            let stock = catalogue.article(article).map(|article| &article.stock);
            if let Some(on_hand) = stock.and_then(|stock| stock.lacks(place, *needed)) {
                return Err(Refusal::NotInStock { article, place, needed: *needed, on_hand });
            }
        }
        for (at, quantity) in &chosen {
            let Line { article, place, .. } = view.lines[usize::from(*at)];
            if let Some(article) = catalogue.article_mut(article) {
                article.stock.ship(place, *quantity);
            }
        }
        let before = view.settled();
        let Some((order, course)) = orders.course_mut(id) else { return Err(Refusal::NoOrder { order: id }) };
        order.state = OrderState::PartlyShipped;
        for (at, quantity) in &chosen {
            course.lines[usize::from(*at)].shipped += quantity;
        }
        let tracking = shipment.tracking.as_str().into();
        let (carrier, sent) = (shipment.carrier, ctx.now);
        course.parcels.push(Parcel { carrier, tracking, lines: chosen, sent, delivered: None, scan: None });
        let parcel = ParcelId(course.parcels.len() as u32);
        self.settle_shipped(id, before, ctx);
        Ok(Done::Parcel(parcel))
    }

    /// Pays for what was shipped since so much was settled; all of it when nothing is left to ship.
    fn settle_shipped(&mut self, id: OrderId, before: Amount, ctx: &mut Context<'_>) {
        let Some(view) = self.orders.view(id) else { return };
        let all = (0..view.lines.len()).all(|line| view.to_ship(line) == 0);
        let sale = self.sale(id, view.order, before, view.settled());
        ctx.ledger.sell(ctx.now, &sale, Purse::Held, &mut ctx.effects.transfers);
        if !all {
            return self.wait_to_be_shipped(id, ctx);
        }
        if let Some(order) = self.orders.get_mut(id) {
            order.settled = true;
        }
        self.all_is_sent(id, ctx);
    }

    /// An order has some time left to be shipped.
    pub(super) fn wait_to_be_shipped(&mut self, id: OrderId, ctx: &mut Context<'_>) {
        self.orders.set_due(id, Some(ctx.now.after(Bounds::SHIPPING)), ctx.timers);
    }

    /// Nothing more is sent of an order: it has only to arrive.
    pub(super) fn all_is_sent(&mut self, id: OrderId, ctx: &mut Context<'_>) {
        self.enter(id, OrderState::Shipped);
        self.orders.set_due(id, Some(ctx.now.after(Bounds::ARRIVAL)), ctx.timers);
        self.arrive(id, ctx);
    }

    /// Nobody said that the last parcels arrived: they are taken to be there.
    pub(super) fn take_as_arrived(&mut self, id: OrderId, ctx: &mut Context<'_>) {
        let Some(view) = self.orders.view(id) else { return };
        let under_way = |(_, parcel): &(u32, &Parcel)| parcel.delivered.is_none();
        let numbers = (1..).zip(view.parcels()).filter(under_way).map(|(number, _)| ParcelId(number));
        for parcel in numbers.collect::<Vec<_>>() {
            if let Some((_, course)) = self.orders.course_mut(id) {
                course.parcels[parcel.0 as usize - 1].delivered = Some(ctx.now);
            }
            self.arrive(id, ctx);
            self.tell(id, Taken::delivered(parcel), Money::default(), ctx);
        }
    }

    /// A parcel has arrived.
    pub(super) fn deliver(
        &mut self,
        id: OrderId,
        caller: AccountId,
        number: ParcelId,
        ctx: &mut Context<'_>,
    ) -> Answer {
        let merchant = self.orders.view(id).is_some_and(|view| view.order.merchant == caller);
        let at = self.under_way(id, number, |carrier| carrier == caller || merchant)?;
        if let Some((_, course)) = self.orders.course_mut(id) {
            course.parcels[at].delivered = Some(ctx.now);
        }
        self.arrive(id, ctx);
        Ok(Done::Ok)
    }

    /// Its carrier saw a parcel.
    pub(super) fn scan(
        &mut self,
        id: OrderId,
        caller: AccountId,
        number: ParcelId,
        code: ScanCode,
        ctx: &mut Context<'_>,
    ) -> Answer {
        let at = self.under_way(id, number, |carrier| carrier == caller)?;
        if let Some((_, course)) = self.orders.course_mut(id) {
            course.parcels[at].scan = Some(code);
        }
        if code.status() == ParcelStatus::Delivered {
            return self.deliver(id, caller, number, ctx);
        }
        Ok(Done::Ok)
    }

    /// The place of a parcel that has not arrived and that the caller may say something of.
    fn under_way(
        &self,
        id: OrderId,
        number: ParcelId,
        may: impl Fn(AccountId) -> bool,
    ) -> Result<usize, Refusal> {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let at = (number.0 as usize).checked_sub(1).filter(|at| *at < view.parcels().len());
        let at = at.ok_or(Refusal::NoParcel { order: id, parcel: number })?;
        let Parcel { carrier, delivered, .. } = view.parcels()[at];
        if !may(carrier) {
            return Err(Refusal::NotYours { what: format!("parcel {number} of order {id}") });
        }
        if delivered.is_some() {
            return Err(Refusal::ParcelDelivered { order: id, parcel: number });
        }
        Ok(at)
    }

    /// An order has arrived when all of it was shipped and every parcel was delivered.
    pub(super) fn arrive(&mut self, id: OrderId, ctx: &mut Context<'_>) {
        let Some((order, course)) = self.orders.course_mut(id) else { return };
        if order.state != OrderState::Shipped
            || course.parcels.iter().any(|parcel| parcel.delivered.is_none())
        {
            return;
        }
        let shop = self.catalogue.shop(order.merchant);
        order.state = OrderState::Delivered;
        course.returns_until = ctx.now.after(shop.returns);
        self.orders.set_due(id, Some(ctx.now.after(shop.completion)), ctx.timers);
    }
}

/// Whether an order can be shipped so, whatever is in the parcel.
fn check(shipment: &Shipment, view: &OrderView<'_>, ctx: &Context<'_>) -> Result<(), Refusal> {
    let account = ctx.ledger.account(shipment.carrier);
    let carries = account.is_some_and(|account| account.roles().contains(Role::Carrier));
    if !carries && shipment.carrier != view.order.merchant {
        let problem = "must be an account with the role carrier, or the merchant itself";
        return Err(Refusal::invalid("carrier", problem));
    }
    if shipment.tracking.len() > Bounds::TRACKING_BYTES || shipment.tracking.chars().any(char::is_control) {
        return Err(Refusal::invalid("tracking", "must be at most 64 bytes without control characters"));
    }
    if view.parcels().len() == Bounds::PARCELS {
        return Err(Refusal::invalid("parcel", "cannot be added: an order has 255 at most"));
    }
    let lines: usize = view.parcels().iter().map(|parcel| parcel.lines.len()).sum();
    if lines + shipment.lines.len() > Bounds::PARCEL_LINES {
        let problem = "cannot be added: the parcels of an order have 1024 lines together at most";
        return Err(Refusal::invalid("parcel", problem));
    }
    Ok(())
}
