//! Placing orders: the path that a sales day takes a million times a second.
//!
//! Orders of a batch are done one after another, each in two parts: a check that only reads, and, if nothing was wrong,
//! the change, which cannot fail. What the checks read lies all over memory, so a first pass over some orders loads it
//! for all of them at once: the processor waits for many loads at a time, but only once for each.

use std::hint::black_box;

use pumasi_types::{AccountId, Amount, ArticleId, CouponId, OrderId, ParcelId, PlaceId};

use super::Market;
use super::answer::{OrderAnswer, OrderRefusal};
use super::batch::{OrderBatch, OrderSpec};
use super::catalogue::{Article, MarketTerms, SettleAt, Shop};
use super::coupons::Cut;
use super::events::EventKind;
use super::feeds::{Feeds, News};
use super::orders::{Key, Line, NewOrder, OrderState, Outcome, content_of};
use crate::bounds::Bounds;
use crate::compute::Context;
use crate::index::KeyHash;
use crate::ledger::{Ledger, Purse, Sale};

/// Orders whose data is loaded at once.
const AHEAD: usize = 32;

/// What an order comes to.
struct Checked {
    merchant: AccountId,
    total: Amount,
    tax: Amount,
    fee: Amount,
    coupon: CouponId,
}

impl Market {
    /// Places the orders of a batch that `caller` sent; one answer for each. Whoever is no storefront orders for
    /// itself only.
    pub(crate) fn place_orders(
        &mut self,
        caller: AccountId,
        storefront: bool,
        batch: &OrderBatch,
        ctx: &mut Context<'_>,
    ) -> Vec<OrderAnswer> {
        let mut answers = Vec::with_capacity(batch.len());
        // Growing would move what is there, into memory that was never used.
        ctx.effects.transfers.reserve(batch.len());
        ctx.effects.events.reserve(batch.len());
        let mut room = if storefront { usize::MAX } else { self.orders.room(caller) };
        let mut orders = batch.iter();
        let (mut ahead, mut lines) = (Vec::with_capacity(AHEAD), Vec::new());
        loop {
            ahead.extend(orders.by_ref().take(AHEAD).map(|(order, bytes)| {
                let key = Key { caller, key: order.key, content: content_of(bytes) };
                (order, key, self.orders.hash(&key))
            }));
            if ahead.is_empty() {
                if !storefront {
                    self.orders.leave_room(caller, room);
                }
                return answers;
            }
            black_box(ahead.iter().fold(0, |sum, (order, _, hash)| sum ^ self.touch(order, *hash, ctx)));
            for (order, key, hash) in ahead.drain(..) {
                let answer = self.once(&key, hash).unwrap_or_else(|| {
                    // Neither is remembered: nothing would bound how many there are.
                    let customer = order.customer;
                    if caller != customer && !(storefront && self.only_buys(customer, ctx.ledger)) {
                        return OrderAnswer::Refused(OrderRefusal::NotYours);
                    }
                    if room == 0 {
                        return OrderAnswer::Refused(OrderRefusal::TooMany);
                    }
                    room -= 1;
                    match self.check(&order, &mut lines, ctx) {
                        Ok(checked) => {
                            OrderAnswer::Placed(self.place(&order, (&key, hash), &checked, &lines, ctx))
                        }
                        Err(refusal) => {
                            self.orders.refuse(hash, key, refusal);
                            OrderAnswer::Refused(refusal)
                        }
                    }
                });
                answers.push(answer);
            }
        }
    }

    /// Whether this account neither sells, carries, operates nor collects fees and taxes, so that a storefront may act
    /// for it.
    pub(super) fn only_buys(&self, account: AccountId, ledger: &Ledger) -> bool {
        let collects = |terms: MarketTerms| terms.fee_to == account || terms.tax_to == account;
        ledger.only_buys(account) && !self.terms().is_some_and(collects)
    }

    /// What this key was answered before.
    fn once(&self, key: &Key, hash: KeyHash) -> Option<OrderAnswer> {
        let (id, record) = self.orders.find(hash, key)?;
        Some(match record.outcome {
            _ if record.key.content != key.content => OrderAnswer::Refused(OrderRefusal::KeyConflict),
            Outcome::Refused(refusal) => OrderAnswer::Refused(refusal),
            Outcome::Order(_) => OrderAnswer::Placed(id),
        })
    }

    /// Loads what an order will need.
    fn touch(&self, order: &OrderSpec<'_>, hash: KeyHash, ctx: &Context<'_>) -> u64 {
        let articles = order.lines.iter().fold(0, |sum, (article, _)| {
            let price = self.catalogue.article(article).map_or(0, |article| article.price.0.cast_unsigned());
            sum ^ price ^ self.sales.touch(article)
        });
        articles
            ^ self.orders.touch(hash)
            ^ ctx.ledger.touch(order.customer)
            ^ self.feeds.touch(order.customer)
    }

    /// Whether an order can be placed, and what it comes to. Leaves its lines, one for each article, in `lines`.
    fn check(
        &self,
        order: &OrderSpec<'_>,
        lines: &mut Vec<Line>,
        ctx: &Context<'_>,
    ) -> Result<Checked, OrderRefusal> {
        let no_customer = OrderRefusal::NoCustomer { account: order.customer };
        let available = ctx.ledger.available(order.customer, order.currency).ok_or(no_customer)?;
        gather(order, lines)?;
        let merchant = self.for_sale(lines[0].article)?.merchant;
        if merchant == order.customer {
            return Err(OrderRefusal::OwnArticle);
        }
        let (mut total, mut tax) = (Amount::ZERO, Amount::ZERO);
        for line in &mut *lines {
            let (id, article) = (line.article, self.for_sale(line.article)?);
            if article.merchant != merchant {
                return Err(OrderRefusal::SeveralMerchants { article: id });
            }
            if article.currency != order.currency {
                return Err(OrderRefusal::OtherCurrency { article: id });
            }
            // Prices and quantities are bounded, so that their product fits.
            let amount = Amount(article.price.0 * i64::from(line.quantity));
            total = total.checked_add(amount).ok_or(OrderRefusal::TotalTooLarge)?;
            tax.0 += article.tax.contained_in(amount).0;
            line.price = article.price;
            let found = article.stock.find(order.place, line.quantity);
            line.place =
                found.map_err(|available| OrderRefusal::NotEnoughStock { article: id, available })?;
        }
        let mut coupon = CouponId(0);
        if let Some(cut) = self.coupons.best(order, merchant, lines, &self.catalogue, ctx.now)? {
            (coupon, total.0, tax) = (cut.coupon, total.0 - cut.off.0, self.tax_after(&cut, lines));
        }
        if total != order.total {
            return Err(OrderRefusal::OtherTotal { total });
        }
        if !order.pay_later && available < total {
            return Err(OrderRefusal::NotEnoughMoney { available });
        }
        // Taxes go first: of a price that is nearly all tax, the platform takes what is left.
        let fee = self.catalogue.fee().of(total).min(Amount(total.0 - tax.0));
        Ok(Checked { merchant, total, tax, fee, coupon })
    }

    /// Does what was checked.
    fn place(
        &mut self,
        order: &OrderSpec<'_>,
        (key, hash): (&Key, KeyHash),
        checked: &Checked,
        lines: &[Line],
        ctx: &mut Context<'_>,
    ) -> OrderId {
        let Checked { merchant, total, tax, fee, coupon } = *checked;
        for line in lines {
            if let Some(article) = self.catalogue.article_mut(line.article) {
                article.stock.reserve(line.place, line.quantity);
            }
        }
        let Market { catalogue, orders, feeds, coupons, sales, .. } = self;
        let Shop { terms: shop, feed } = catalogue.shop_mut(merchant);
        let settled = !order.pay_later && shop.settle_at == SettleAt::Placing;
        let state = if order.pay_later { OrderState::Placed } else { OrderState::Paid };
        let (customer, currency) = (order.customer, order.currency);
        if coupon.0 != 0 {
            coupons.take(coupon, customer);
        }
        let placed = ctx.now;
        let new = NewOrder { customer, merchant, total, tax, fee, currency, state, settled, placed, coupon };
        let id = orders.place_order(hash, *key, &new, lines);
        let news = News {
            order: id,
            kind: EventKind::Placed,
            state,
            parcel: ParcelId(0),
            scan: None,
            customer,
            merchant,
            carrier: Feeds::NOBODY,
            amount: total,
            currency,
        };
        feeds.tell(ctx.now, &news, feed, &mut ctx.effects.events);
        if !order.pay_later {
            sales.sold(merchant, lines, total);
        }
        if order.pay_later {
            orders.set_due(id, Some(ctx.now.after(shop.reservation)), ctx.timers);
        } else if settled {
            let (fee_to, tax_to) = catalogue.payees(merchant, id);
            let sale = Sale {
                order: id,
                payer: customer,
                payee: merchant,
                currency,
                amount: total,
                fee,
                fee_to,
                tax,
                tax_to,
            };
            ctx.ledger.sell(ctx.now, &sale, Purse::Available, &mut ctx.effects.transfers);
        } else {
            ctx.ledger.set_aside(customer, currency, total);
        }
        id
    }

    /// The tax in what is left of each line.
    fn tax_after(&self, cut: &Cut, lines: &[Line]) -> Amount {
        let left = |(line, off): (&Line, &Amount)| Amount(line.price.0 * i64::from(line.quantity) - off.0);
        let rate =
            |line: &Line| self.catalogue.article(line.article).map(|article| article.tax).unwrap_or_default();
        let goods = lines.iter().zip(&cut.lines);
        Amount(goods.map(|(line, off)| rate(line).contained_in(left((line, off))).0).sum())
    }

    fn for_sale(&self, id: ArticleId) -> Result<&Article, OrderRefusal> {
        let article = self.catalogue.article(id).filter(|article| article.on_sale);
        article.ok_or(OrderRefusal::NoArticle { article: id })
    }
}

/// The lines of an order, those of one article summed, in order of the articles.
fn gather(order: &OrderSpec<'_>, lines: &mut Vec<Line>) -> Result<(), OrderRefusal> {
    lines.clear();
    for (article, quantity) in order.lines.iter() {
        if quantity == 0 || quantity > Bounds::QUANTITY {
            return Err(OrderRefusal::BadQuantity { article });
        }
        lines.push(Line { article, quantity, place: PlaceId(0), price: Amount::ZERO });
    }
    if lines.len() > 1 {
        lines.sort_unstable_by_key(|line| line.article);
        lines.dedup_by(|line, before| {
            let same = line.article == before.article;
            if same {
                before.quantity += line.quantity;
            }
            same
        });
    }
    match lines.iter().find(|line| line.quantity > Bounds::QUANTITY) {
        Some(line) => Err(OrderRefusal::BadQuantity { article: line.article }),
        None => Ok(()),
    }
}
