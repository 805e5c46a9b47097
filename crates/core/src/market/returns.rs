//! Orders that come back, and their money.

use pumasi_types::{Amount, ArticleId, OrderId, TransferId};

use super::Market;
use super::orders::OrderState;
use super::parcels::{OrderView, chosen};
use crate::Refusal;
use crate::compute::Context;
use crate::effects::Done;
use crate::state::Answer;

/// What can still be refunded.
fn refundable(view: &OrderView<'_>) -> Amount {
    Amount(view.settled().0 - view.refunded().0)
}

impl Market {
    /// The customer wants to give some of it back.
    pub(super) fn request_return(
        &mut self,
        id: OrderId,
        lines: &[(ArticleId, u32)],
        ctx: &mut Context<'_>,
    ) -> Answer {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let in_time = ctx.now < view.returns_until();
        let all_is_back = view.order.state == OrderState::Refunded && refundable(&view) == Amount::ZERO;
        if !in_time || all_is_back {
            return Err(Refusal::ReturnsOver { order: id });
        }
        let left = |line| view.progress(line).shipped - view.progress(line).returned;
        let chosen = chosen(id, view.lines, lines, left)?;
        if chosen.is_empty() {
            return Err(Refusal::ReturnsOver { order: id });
        }
        if let Some((order, course)) = self.orders.course_mut(id) {
            order.state = OrderState::ReturnRequested;
            for (line, quantity) in chosen {
                course.lines[usize::from(line)].asked = quantity;
            }
        }
        self.orders.set_due(id, None, ctx.timers);
        Ok(Done::Ok)
    }

    /// The merchant has some of it back.
    pub(super) fn accept_return(&mut self, id: OrderId, lines: &[(ArticleId, u32)], restock: bool) -> Answer {
        let Market { catalogue, orders, sales, .. } = self;
        let view = orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let merchant = view.order.merchant;
        let chosen = chosen(id, view.lines, lines, |line| view.progress(line).asked)?;
        for (at, quantity) in chosen.iter().filter(|_| restock) {
            let line = view.lines[usize::from(*at)];
            if let Some(article) = catalogue.article_mut(line.article) {
                article.stock.take_back(line.place, *quantity);
            }
        }
        for (at, quantity) in &chosen {
            sales.returned(merchant, view.lines[usize::from(*at)].article, *quantity);
        }
        let is_paid_back = refundable(&view) == Amount::ZERO;
        if let Some((order, course)) = orders.course_mut(id) {
            order.state = if is_paid_back { OrderState::Refunded } else { OrderState::Returned };
            course.lines.iter_mut().for_each(|line| line.asked = 0);
            for (line, quantity) in chosen {
                course.lines[usize::from(line)].returned += quantity;
            }
        }
        Ok(Done::Ok)
    }

    /// Money of an order goes back. It is refunded when all did, or some after it was returned; then its books stay open
    /// for as long as goods can be returned.
    pub(super) fn refund(&mut self, id: OrderId, amount: Amount, ctx: &mut Context<'_>) -> Answer {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let (state, left) = (view.order.state, refundable(&view));
        let (merchant, currency, before) = (view.order.merchant, view.order.currency, view.refunded());
        if !amount.is_positive() {
            return Err(Refusal::BadAmount);
        }
        if amount > left {
            return Err(Refusal::RefundTooLarge { order: id, currency, left });
        }
        let transfer = self.send_back(id, amount, ctx)?;
        if let Some(view) = self.orders.view(id) {
            self.sales.refunded(&view, before);
        }
        let is_last = amount == left;
        if let Some((order, course)) = self.orders.course_mut(id)
            && (is_last || matches!(state, OrderState::Returned | OrderState::Refunded))
        {
            order.state = OrderState::Refunded;
            course.lines.iter_mut().for_each(|line| line.asked = 0);
            let until = Some(ctx.now.after(self.catalogue.shop(merchant).returns)).filter(|_| !is_last);
            self.orders.set_due(id, until, ctx.timers);
        }
        Ok(Done::Transfer(transfer))
    }

    /// Moves money of an order back to its customer.
    pub(super) fn send_back(
        &mut self,
        id: OrderId,
        amount: Amount,
        ctx: &mut Context<'_>,
    ) -> Result<TransferId, Refusal> {
        let view = self.orders.view(id).ok_or(Refusal::NoOrder { order: id })?;
        let before = view.refunded();
        let sale = self.sale(id, view.order, before, Amount(before.0 + amount.0));
        let transfer = ctx.ledger.refund(ctx.now, &sale, &mut ctx.effects.transfers)?;
        if let Some((_, course)) = self.orders.course_mut(id) {
            course.refunded.0 += amount.0;
        }
        Ok(transfer)
    }
}
