//! The life of an order after it was placed: who may take which step when, and what comes of it.

use std::fmt;

use pumasi_types::{AccountId, Amount, ArticleId, OrderId, ParcelId};
use serde::{Deserialize, Serialize};

use super::Market;
use super::catalogue::SettleAt;
use super::events::EventKind;
use super::feeds::{Money, Taken};
use super::orders::{Order, OrderState};
use super::parcels::{OrderView, Shipment};
use super::scan::ScanCode;
use crate::Refusal;
use crate::bounds::Bounds;
use crate::compute::Context;
use crate::effects::Done;
use crate::ledger::{Purse, Sale};
use crate::state::Answer;

/// What can be done with an order. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStep {
    /// Its money is taken, which it was placed without. Its customer.
    Pay,
    /// It is being got ready, so that its customer cannot cancel it any more. Its merchant.
    Allocate,
    /// Some or all of it goes on its way; answered with the parcel's number. Its merchant.
    Ship(Shipment),
    /// A parcel has arrived; by itself long after the last was sent. Who carries it, or the merchant.
    Deliver {
        /// Which of the order's.
        parcel: ParcelId,
    },
    /// All is well; by itself some time after it arrived. Its customer, who also withdraws the wish to return it so.
    Complete,
    /// It is given up, or what is not shipped of it, and its money goes back. Its customer before it is allocated, its
    /// merchant until all is shipped.
    Cancel,
    /// The customer wants to give some of it back.
    RequestReturn {
        /// What, and how many; none: all that can be.
        lines: Vec<(ArticleId, u32)>,
    },
    /// The merchant has it back.
    AcceptReturn {
        /// What of it, and how many; none: all that was asked for.
        lines: Vec<(ArticleId, u32)>,
        /// Whether it lies again where it was sent from.
        restock: bool,
    },
    /// The merchant does not take it back.
    RefuseReturn,
    /// Money goes back to the customer: from the merchant, and in proportion from who got fee and tax.
    Refund {
        /// How much; at most what was settled and not refunded yet.
        amount: Amount,
    },
    /// A parcel was seen on its way; [`ScanCode::Emi`] delivers it. Who carries it.
    Scan {
        /// Which of the order's.
        parcel: ParcelId,
        /// What happened to it.
        code: ScanCode,
    },
}

/// What a step is called. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// [`OrderStep::Pay`].
    Pay,
    /// [`OrderStep::Allocate`].
    Allocate,
    /// [`OrderStep::Ship`].
    Ship,
    /// [`OrderStep::Deliver`].
    Deliver,
    /// [`OrderStep::Complete`].
    Complete,
    /// [`OrderStep::Cancel`].
    Cancel,
    /// [`OrderStep::RequestReturn`].
    RequestReturn,
    /// [`OrderStep::AcceptReturn`].
    AcceptReturn,
    /// [`OrderStep::RefuseReturn`].
    RefuseReturn,
    /// [`OrderStep::Refund`].
    Refund,
    /// [`OrderStep::Scan`].
    Scan,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepKind::Pay => "pay",
            StepKind::Allocate => "allocate",
            StepKind::Ship => "ship",
            StepKind::Deliver => "deliver",
            StepKind::Complete => "complete",
            StepKind::Cancel => "cancel",
            StepKind::RequestReturn => "request to return",
            StepKind::AcceptReturn => "accept the return of",
            StepKind::RefuseReturn => "refuse the return of",
            StepKind::Refund => "refund",
            StepKind::Scan => "scan",
        })
    }
}

impl OrderStep {
    /// What it is called.
    pub fn kind(&self) -> StepKind {
        match self {
            OrderStep::Pay => StepKind::Pay,
            OrderStep::Allocate => StepKind::Allocate,
            OrderStep::Ship(_) => StepKind::Ship,
            OrderStep::Deliver { .. } => StepKind::Deliver,
            OrderStep::Complete => StepKind::Complete,
            OrderStep::Cancel => StepKind::Cancel,
            OrderStep::RequestReturn { .. } => StepKind::RequestReturn,
            OrderStep::AcceptReturn { .. } => StepKind::AcceptReturn,
            OrderStep::RefuseReturn => StepKind::RefuseReturn,
            OrderStep::Refund { .. } => StepKind::Refund,
            OrderStep::Scan { .. } => StepKind::Scan,
        }
    }
}

/// Somebody's part in an order. The order of variants is part of the stored format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Who buys.
    Customer,
    /// Who sells.
    Merchant,
    /// Who carries one of its parcels.
    Carrier,
}

impl Party {
    /// What it may do with an order that stands there.
    fn can(self, state: OrderState) -> &'static [StepKind] {
        use OrderState as At;
        use StepKind::{
            AcceptReturn, Allocate, Cancel, Complete, Deliver, Pay, Refund, RefuseReturn, RequestReturn,
            Scan, Ship,
        };
        match (state, self) {
            (At::Placed, Party::Customer) => &[Pay, Cancel],
            (At::Placed, Party::Merchant) | (At::Paid, Party::Customer) => &[Cancel],
            (At::Paid, Party::Merchant) => &[Allocate, Cancel],
            (At::Allocated, Party::Merchant) => &[Ship, Cancel],
            (At::PartlyShipped, Party::Merchant) => &[Ship, Deliver, Cancel],
            (At::PartlyShipped | At::Shipped, Party::Carrier) => &[Scan, Deliver],
            (At::Shipped, Party::Merchant) => &[Deliver, Refund],
            (At::Delivered, Party::Customer) => &[Complete, RequestReturn],
            (At::Completed | At::Refunded, Party::Customer) => &[RequestReturn],
            (At::ReturnRequested, Party::Customer) => &[Complete],
            (At::ReturnRequested, Party::Merchant) => &[AcceptReturn, RefuseReturn, Refund],
            (At::Delivered | At::Completed | At::Returned | At::Refunded, Party::Merchant) => &[Refund],
            _ => &[],
        }
    }

    /// Whether it may ever do this.
    fn may(self, step: StepKind) -> bool {
        match step {
            StepKind::Pay | StepKind::Complete | StepKind::RequestReturn => self == Party::Customer,
            StepKind::Cancel => self != Party::Carrier,
            StepKind::Deliver => self != Party::Customer,
            StepKind::Scan => self == Party::Carrier,
            _ => self == Party::Merchant,
        }
    }
}

/// What a caller is to an order.
fn parties(caller: AccountId, acts_for_customer: bool, view: &OrderView<'_>) -> Vec<Party> {
    let is = |party: &Party| match party {
        Party::Customer => acts_for_customer || caller == view.order.customer,
        Party::Merchant => caller == view.order.merchant,
        Party::Carrier => view.parcels().iter().any(|parcel| parcel.carrier == caller),
    };
    [Party::Customer, Party::Merchant, Party::Carrier].into_iter().filter(is).collect()
}

impl Market {
    /// Takes an order a step further.
    pub(crate) fn step(
        &mut self,
        caller: AccountId,
        storefront: bool,
        id: OrderId,
        step: &OrderStep,
        ctx: &mut Context<'_>,
    ) -> Answer {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let (kind, state) = (step.kind(), view.order.state);
        let acts = storefront && self.only_buys(view.order.customer, ctx.ledger);
        let parties = parties(caller, acts, &view);
        if parties.is_empty() {
            // Nobody learns which orders others have.
            return Err(Refusal::NoOrder { order: id });
        }
        if !parties.iter().any(|party| party.may(kind)) {
            return Err(Refusal::NotYours { what: format!("the right to {kind} order {id}") });
        }
        if !parties.iter().any(|party| party.can(state).contains(&kind)) {
            let possible = parties.iter().flat_map(|party| party.can(state)).copied().collect();
            return Err(Refusal::WrongState { order: id, state, step: kind, possible });
        }
        let money = Money::of(&view);
        let done = match step {
            OrderStep::Pay => self.pay(id, ctx)?,
            OrderStep::Allocate => {
                self.wait_to_be_shipped(id, ctx);
                self.enter(id, OrderState::Allocated)
            }
            OrderStep::Ship(shipment) => self.ship(id, shipment, ctx)?,
            OrderStep::Deliver { parcel } => self.deliver(id, caller, *parcel, ctx)?,
            OrderStep::Complete => self.complete(id, ctx),
            OrderStep::Cancel => self.cancel(id, ctx)?,
            OrderStep::RequestReturn { lines } => self.request_return(id, lines, ctx)?,
            OrderStep::AcceptReturn { lines, restock } => self.accept_return(id, lines, *restock)?,
            OrderStep::RefuseReturn => self.complete(id, ctx),
            OrderStep::Refund { amount } => self.refund(id, *amount, ctx)?,
            OrderStep::Scan { parcel, code } => self.scan(id, caller, *parcel, *code, ctx)?,
        };
        self.tell(id, Taken::of(step, &done), money, ctx);
        self.orders.leave(id, &mut ctx.effects.archived);
        Ok(done)
    }

    /// An order does by itself what is next; how many lines or parcels that touched.
    pub(crate) fn fall_due(&mut self, id: OrderId, ctx: &mut Context<'_>) -> usize {
        self.orders.set_due(id, None, ctx.timers);
        let view = self.orders.view(id);
        let touched = view.map_or(0, |view| view.lines.len().max(view.parcels().len()));
        match view.map(|view| *view.order) {
            Some(Order { state: OrderState::Placed, coupon, customer, .. }) => {
                self.unreserve(id);
                self.coupons.give_back(coupon, customer);
                self.enter(id, OrderState::Expired);
                self.tell(id, Taken::plain(EventKind::Expired), Money::default(), ctx);
            }
            Some(Order { state: OrderState::Allocated | OrderState::PartlyShipped, .. }) => {
                self.give_up_shipping(id, ctx);
            }
            Some(Order { state: OrderState::Shipped, .. }) => self.take_as_arrived(id, ctx),
            Some(Order { state: OrderState::Delivered, .. }) => {
                self.complete(id, ctx);
                self.tell(id, Taken::plain(EventKind::Completed), Money::default(), ctx);
            }
            // Its books were open until now.
            _ => {}
        }
        self.orders.leave(id, &mut ctx.effects.archived);
        touched
    }

    /// An order stands there now.
    pub(super) fn enter(&mut self, id: OrderId, state: OrderState) -> Done {
        if let Some(order) = self.orders.get_mut(id) {
            order.state = state;
        }
        Done::Ok
    }

    fn pay(&mut self, id: OrderId, ctx: &mut Context<'_>) -> Answer {
        let order = *self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?.order;
        let Order { customer, merchant, currency, total, .. } = order;
        let available = ctx.ledger.available(customer, currency).unwrap_or_default();
        if available < total {
            return Err(Refusal::NotEnoughMoney { account: customer, currency, needed: total, available });
        }
        self.orders.set_due(id, None, ctx.timers);
        let at_once = self.catalogue.shop(merchant).settle_at == SettleAt::Placing;
        if at_once {
            let sale = self.sale(id, &order, Amount::ZERO, total);
            ctx.ledger.sell(ctx.now, &sale, Purse::Available, &mut ctx.effects.transfers);
        } else {
            ctx.ledger.set_aside(customer, currency, total);
        }
        if let Some(view) = self.orders.view(id) {
            self.sales.sold(merchant, view.lines, total);
        }
        if let Some(order) = self.orders.get_mut(id) {
            (order.state, order.settled) = (OrderState::Paid, at_once);
        }
        Ok(Done::Ok)
    }

    /// Completes an order. As long as its merchant said, it can still be returned.
    fn complete(&mut self, id: OrderId, ctx: &mut Context<'_>) -> Done {
        if let Some((order, course)) = self.orders.course_mut(id) {
            order.state = OrderState::Completed;
            course.lines.iter_mut().for_each(|line| line.asked = 0);
            let until = Some(course.returns_until).filter(|until| *until > ctx.now);
            self.orders.set_due(id, until, ctx.timers);
        }
        Done::Ok
    }

    /// Gives up what is not shipped, and all its money back.
    fn cancel(&mut self, id: OrderId, ctx: &mut Context<'_>) -> Answer {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let (order, partly) = (*view.order, !view.parcels().is_empty());
        let rest = Amount(order.total.0 - view.share_of_shipped().0);
        match order.state {
            OrderState::Placed => {}
            _ if order.settled && rest.is_positive() => {
                self.send_back(id, rest, ctx)?;
            }
            _ if order.settled => {}
            _ => ctx.ledger.give_back(order.customer, order.currency, rest),
        }
        if let Some(view) = self.orders.view(id).filter(|_| order.state != OrderState::Placed) {
            self.sales.given_up(&view, rest);
        }
        self.unreserve(id);
        if partly {
            self.all_is_sent(id, ctx);
            return Ok(Done::Ok);
        }
        self.orders.set_due(id, None, ctx.timers);
        self.coupons.give_back(order.coupon, order.customer);
        Ok(self.enter(id, OrderState::Cancelled))
    }

    /// What its merchant did not ship for so long is given up, as soon as the merchant has what was paid for it.
    fn give_up_shipping(&mut self, id: OrderId, ctx: &mut Context<'_>) {
        let Some(money) = self.orders.view(id).map(|view| Money::of(&view)) else { return };
        match self.cancel(id, ctx) {
            Ok(_) => self.tell(id, Taken::plain(EventKind::Cancelled), money, ctx),
            Err(_) => {
                self.orders.set_due(id, Some(ctx.now.after(Bounds::SHIPPING_AGAIN)), ctx.timers);
            }
        }
    }

    /// Takes back the promise of what is not shipped.
    fn unreserve(&mut self, id: OrderId) {
        let Market { catalogue, orders, .. } = self;
        let Some(view) = orders.view(id) else { return };
        for (at, line) in view.lines.iter().enumerate() {
            if let Some(article) = catalogue.article_mut(line.article) {
                article.stock.unreserve(line.place, view.to_ship(at));
            }
        }
    }

    /// The movement of an order's money between two marks: see [`Order::parts`].
    pub(super) fn sale(&self, id: OrderId, order: &Order, from: Amount, to: Amount) -> Sale {
        let (before, after) = (order.parts(from), order.parts(to));
        let (fee_to, tax_to) = self.catalogue.payees(order.merchant, id);
        Sale {
            order: id,
            payer: order.customer,
            payee: order.merchant,
            currency: order.currency,
            amount: Amount(to.0 - from.0),
            fee: Amount(after.0.0 - before.0.0),
            fee_to,
            tax: Amount(after.1.0 - before.1.0),
            tax_to,
        }
    }
}
