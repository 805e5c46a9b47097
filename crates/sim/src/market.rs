//! The market of a world: what its merchant and customers do, and what must hold of their orders.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{
    ArticleSpec, Command, Done, OrderAnswer, OrderBatch, OrderLines, OrderRefusal, OrderSpec, OrderState,
    OrderStep, Rate, ScanCode, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
};
use pumasi_types::{AccountId, Amount, ArticleId, Currency, Duration, OrderId, ParcelId, PlaceId, RequestId};

use crate::coupons::{self, Uses};
use crate::dice::Dice;
use crate::letters;
use crate::oracle::{Holds, require};

/// How many articles the merchant has; of those with even numbers nothing is ever lost or found.
const ARTICLES: u32 = 12;
/// Where goods lie.
const PLACES: u32 = 3;

fn usual_price(article: ArticleId) -> Amount {
    Amount(i64::from(article.0) * 1_000)
}

fn article(id: ArticleId, price: Amount, dice: &mut Dice) -> ArticleSpec {
    ArticleSpec {
        sku: format!("sku-{id}"),
        gtin: 0,
        title_ko: "물건".to_owned(),
        title_en: "thing".to_owned(),
        category: "things".to_owned(),
        price,
        currency: Currency::CREDIT,
        tax: Rate::new(dice.below(2_000) as u16).unwrap_or_default(),
        tracking: if id.0 == ARTICLES { Tracking::Untracked } else { Tracking::Counted },
        on_sale: true,
    }
}

fn any_article(dice: &mut Dice) -> ArticleId {
    ArticleId(dice.between(1, u64::from(ARTICLES)) as u32)
}

fn any_place(dice: &mut Dice) -> PlaceId {
    PlaceId(dice.between(1, u64::from(PLACES)) as u32)
}

/// What a merchant begins with, last things first.
pub(crate) fn opening(dice: &mut Dice) -> Vec<Command> {
    let articles = (1..=ARTICLES).map(ArticleId);
    let specs = articles.clone().map(|id| article(id, usual_price(id), dice)).collect();
    let stock = articles.map(|id| (id, any_place(dice), StockChange::Receive(dice.spread(1, 500) as u32)));
    vec![
        letters::put(None),
        coupons::put(true),
        Command::ChangeStock(stock.collect()),
        Command::PutArticles(specs),
        shop(dice),
    ]
}

fn shop(dice: &mut Dice) -> Command {
    let settle_at = if dice.once_in(2) { SettleAt::Placing } else { SettleAt::Shipping };
    let reservation = Duration::from_secs(dice.spread(1, 3_600));
    Command::SetShop(ShopTerms { settle_at, reservation, ..ShopTerms::default() })
}

/// What a merchant does now and then.
pub(crate) fn trade(merchant: AccountId, dice: &mut Dice) -> Option<Command> {
    if dice.once_in(12) {
        return Some(letters::attend(dice));
    }
    if !dice.once_in(3) {
        return Some(serve(merchant, dice));
    }
    let (id, place) = (any_article(dice), any_place(dice));
    let quantity = dice.spread(1, 200) as u32;
    Some(match dice.below(9) {
        0 => shop(dice),
        // A price that customers do not know yet.
        1 => Command::PutArticles(vec![article(id, Amount(dice.spread(1, 20_000) as i64), dice)]),
        2 => Command::PutArticles(vec![article(id, usual_price(id), dice)]),
        3 | 4 => Command::ChangeStock(vec![(id, place, StockChange::Receive(quantity))]),
        5 => {
            let to = any_place(dice);
            let goods = [(id, place, StockChange::Move { quantity, to }), (id, to, StockChange::Receive(1))];
            Command::ChangeStock(goods.to_vec())
        }
        8 => coupons::put(!dice.once_in(3)),
        6 if id.0 % 2 == 1 => {
            let change = match dice.below(2) {
                0 => StockChange::Count(quantity),
                _ => StockChange::Correct(dice.below(100) as i32 - 50),
            };
            Command::ChangeStock(vec![(id, place, change)])
        }
        _ => return None,
    })
}

/// Of orders with even numbers nothing is shipped or given up, so that it is known what they reserve.
fn odd(order: OrderId) -> OrderId {
    OrderId(order.0 | 1)
}

/// A few articles, or none, which stands for all.
fn some_lines(dice: &mut Dice) -> Vec<(ArticleId, u32)> {
    (0..dice.below(3)).map(|_| (any_article(dice), dice.spread(1, 10) as u32)).collect()
}

/// What a merchant does about an order, whether or not it is its turn.
fn serve(merchant: AccountId, dice: &mut Dice) -> Command {
    let parcel = ParcelId(dice.between(1, 3) as u32);
    let step = match dice.below(14) {
        0..=1 => OrderStep::Allocate,
        2..=5 => {
            OrderStep::Ship(Shipment { carrier: merchant, tracking: String::new(), lines: some_lines(dice) })
        }
        6..=7 => OrderStep::Deliver { parcel },
        8 => OrderStep::Cancel,
        9 => OrderStep::AcceptReturn { lines: some_lines(dice), restock: dice.once_in(2) },
        10 => OrderStep::RefuseReturn,
        11..=12 => OrderStep::Scan { parcel, code: *dice.pick(&ScanCode::ALL) },
        _ => OrderStep::Refund { amount: Amount(dice.spread(1, 100_000) as i64) },
    };
    Command::StepOrder { order: odd(OrderId(dice.spread(1, 300))), step }
}

/// What a customer does about one of its orders, or the one beside it, which may be somebody else's.
pub(crate) fn follow_up(orders: &[OrderId], dice: &mut Dice) -> Command {
    let step = match dice.below(6) {
        0..=2 => OrderStep::Pay,
        3 => OrderStep::Complete,
        4 => OrderStep::Cancel,
        _ => OrderStep::RequestReturn { lines: some_lines(dice) },
    };
    Command::StepOrder { order: odd(*dice.pick(orders)), step }
}

/// Orders of a customer; `keys` are those it used.
pub(crate) fn shopping(customer: AccountId, keys: &mut Vec<RequestId>, dice: &mut Dice) -> Command {
    let mut batch = OrderBatch::default();
    for _ in 0..dice.spread(1, 20) {
        let lines: Vec<(ArticleId, u32)> =
            (0..dice.spread(1, 5)).map(|_| (any_article(dice), dice.spread(1, 30) as u32)).collect();
        let goods: Vec<_> = lines.iter().map(|(id, quantity)| (*id, *quantity, usual_price(*id))).collect();
        let (coupon, total) = coupons::choose(&goods, dice);
        // A key that was used before stands for the same order, or is an error.
        let key = match keys.is_empty() || !dice.once_in(12) {
            true => RequestId(u128::from(dice.roll()) << 64 | u128::from(dice.roll())),
            false => *dice.pick(keys),
        };
        keys.push(key);
        let order = OrderSpec {
            key,
            customer: if dice.once_in(50) { AccountId(1) } else { customer },
            total,
            currency: Currency::CREDIT,
            coupon,
            place: dice.once_in(3).then(|| any_place(dice)),
            pay_later: dice.once_in(4),
            lines: OrderLines::default(),
        };
        batch.push(&order, lines.into_iter());
    }
    Command::PlaceOrders(batch)
}

/// What is known of orders from the log alone.
#[derive(Clone, Default)]
pub(crate) struct Sales {
    /// What each key was answered first.
    answers: BTreeMap<(AccountId, RequestId), OrderAnswer>,
    /// Keys of orders that their caller could not order at all, which are not remembered.
    not_theirs: BTreeSet<(AccountId, RequestId)>,
    placed: Vec<OrderId>,
    /// How often an order was taken a step further.
    pub(crate) steps: u64,
    pub(crate) uses: Uses,
    /// How many of each article ever came in.
    received: BTreeMap<ArticleId, u64>,
}

impl Sales {
    /// Follows a command that was done.
    pub(crate) fn follow(
        &mut self,
        state: &State,
        caller: AccountId,
        command: &Command,
        done: &Done,
    ) -> Holds {
        match (command, done) {
            (Command::ChangeStock(changes), Done::Ok) => {
                for (article, _, change) in changes {
                    if let StockChange::Receive(more) = change {
                        *self.received.entry(*article).or_default() += u64::from(*more);
                    }
                }
                Ok(())
            }
            (Command::PutCoupons(_), Done::Coupons(ids)) => {
                self.uses.put(ids);
                Ok(())
            }
            (Command::StepOrder { .. }, _) => {
                self.steps += 1;
                Ok(())
            }
            (Command::PlaceOrders(batch), Done::Orders(answers)) => {
                require(batch.len() == answers.len(), || "a batch got another number of answers".to_owned())?;
                let mut orders = batch.orders().zip(answers);
                orders.try_for_each(|(order, answer)| self.answered(state, caller, &order, *answer))
            }
            _ => Ok(()),
        }
    }

    /// The orders that were placed after the first so many.
    pub(crate) fn since(&self, first: usize) -> &[OrderId] {
        &self.placed[first..]
    }

    /// How many orders were placed.
    pub(crate) fn placed(&self) -> u64 {
        self.placed.len() as u64
    }

    fn answered(
        &mut self,
        state: &State,
        caller: AccountId,
        order: &OrderSpec<'_>,
        answer: OrderAnswer,
    ) -> Holds {
        match self.answers.get(&(caller, order.key)) {
            None if answer == OrderAnswer::Refused(OrderRefusal::NotYours) => {
                self.not_theirs.insert((caller, order.key));
                require(order.customer != caller, || format!("account {caller} may not order for itself"))
            }
            Some(_) if answer == OrderAnswer::Refused(OrderRefusal::KeyConflict) => Ok(()),
            Some(before) => require(*before == answer, || {
                format!("order {} of account {caller} was answered {before:?}, then {answer:?}", order.key)
            }),
            None => {
                self.answers.insert((caller, order.key), answer);
                let OrderAnswer::Placed(id) = answer else { return Ok(()) };
                require(order.customer == caller, || format!("account {caller} ordered for somebody else"))?;
                let placed = state.market().order(id).filter(|(placed, _)| placed.total == order.total);
                require(placed.is_some(), || format!("order {id} is not what was asked for"))?;
                self.placed.push(id);
                placed.map_or(Ok(()), |(order, lines)| self.uses.placed(state, id, order, lines))
            }
        }
    }

    /// A client was told this of orders: it is what the log says.
    pub(crate) fn told(&self, caller: AccountId, batch: &OrderBatch, answers: &[OrderAnswer]) -> Holds {
        batch.orders().zip(answers).try_for_each(|(order, answer)| {
            let logged = self.answers.get(&(caller, order.key));
            let is_fleeting = match answer {
                OrderAnswer::Refused(OrderRefusal::KeyConflict) => true,
                OrderAnswer::Refused(OrderRefusal::NotYours) => {
                    self.not_theirs.contains(&(caller, order.key))
                }
                _ => false,
            };
            require(logged == Some(answer) || is_fleeting, || {
                format!(
                    "account {caller} was told {answer:?} to order {}, the log says {logged:?}",
                    order.key
                )
            })
        })
    }

    /// Of what is never lost or found, no more was sold than came in.
    pub(crate) fn check_stock(&self, state: &State) -> Holds {
        let mut sold: BTreeMap<ArticleId, u64> = BTreeMap::new();
        let there = self.placed.iter().filter_map(|id| Some((id, state.market().order(*id)?)));
        for (id, (order, lines)) in there {
            if order.state != OrderState::Expired && id.0.is_multiple_of(2) {
                lines
                    .iter()
                    .for_each(|line| *sold.entry(line.article).or_default() += u64::from(line.quantity));
            }
        }
        let counted = |article: &ArticleId| article.0.is_multiple_of(2) && article.0 != ARTICLES;
        sold.iter().filter(|(article, _)| counted(article)).try_for_each(|(article, sold)| {
            let received = self.received.get(article).copied().unwrap_or(0);
            require(*sold <= received, || {
                format!("{sold} of article {article} were sold, {received} came in")
            })
        })
    }
}
