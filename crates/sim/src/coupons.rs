//! What the merchant of a world takes off its prices, and what must hold of it.

use std::collections::BTreeMap;

use pumasi_core::{Command, CouponKind, CouponScope, CouponSpec, Line, Order, OrderState, Rate, State};
use pumasi_types::{AccountId, Amount, ArticleId, CouponId, OrderId, Time};

use crate::dice::Dice;
use crate::oracle::{Holds, require};

/// The coupon of a merchant that never was without, which takes a tenth off everything, for few orders.
const COUPON: CouponId = CouponId(1);
/// What the promotion is for, which takes every third off.
const PROMOTED: ArticleId = ArticleId(3);
/// How many orders can have the coupon.
const USES: usize = 25;
/// How many of each customer.
const USES_EACH: usize = 9;

/// Both, valid or over.
pub(crate) fn put(valid: bool) -> Command {
    // Long after a world ends, and shortly before one begins, so that it is not forgotten at once.
    let ends = Time(if valid { 1_900_000_000_000_000_000 } else { 1_789_000_000_000_000_000 });
    let tenth = CouponKind::Percent(Rate::new(1_000).unwrap_or_default());
    let coupon = CouponSpec {
        code: "tenth".to_owned(),
        automatic: false,
        kind: tenth,
        scope: CouponScope::All,
        starts: Time(0),
        ends,
        uses: Some(USES as u32),
        uses_each: Some(USES_EACH as u32),
    };
    let promotion = CouponSpec {
        code: "third".to_owned(),
        automatic: true,
        kind: CouponKind::BuyXGetY { buy: 2, free: 1 },
        scope: CouponScope::Articles(vec![PROMOTED]),
        uses: None,
        uses_each: None,
        ..coupon
    };
    Command::PutCoupons(vec![coupon, promotion])
}

fn gross(lines: &[(ArticleId, u32, Amount)]) -> i64 {
    lines.iter().map(|(_, quantity, price)| price.0 * i64::from(*quantity)).sum()
}

/// What coupon and promotion take off lines of these prices.
fn off(lines: &[(ArticleId, u32, Amount)]) -> [i64; 2] {
    let promoted = lines.iter().filter(|(article, ..)| *article == PROMOTED);
    let count: i64 = promoted.clone().map(|(_, quantity, _)| i64::from(*quantity)).sum();
    let price = promoted.map(|(.., price)| price.0).next().unwrap_or(0);
    [gross(lines) / 10, count / 3 * price]
}

/// The coupon that a customer names, and what it believes that its order costs.
pub(crate) fn choose(lines: &[(ArticleId, u32, Amount)], dice: &mut Dice) -> (CouponId, Amount) {
    let (gross, [tenth, third]) = (gross(lines), off(lines));
    // Some do not know of the promotion, and some believe in one that is over.
    let third = if dice.once_in(8) { 0 } else { third };
    match dice.once_in(5) {
        true => (COUPON, Amount(gross - tenth.max(third))),
        false => (CouponId(0), Amount(gross - third)),
    }
}

/// Who has the coupon, from the log alone.
#[derive(Clone, Default)]
pub(crate) struct Uses {
    /// By coupon; a promotion is for everybody.
    known: BTreeMap<CouponId, Option<BTreeMap<OrderId, AccountId>>>,
    /// How many orders were made cheaper.
    pub(crate) cheaper: u64,
}

impl Uses {
    /// The merchant put both.
    pub(crate) fn put(&mut self, ids: &[CouponId]) {
        for (id, has_uses) in ids.iter().zip([true, false]) {
            self.known.entry(*id).or_insert_with(|| has_uses.then(BTreeMap::new));
        }
    }

    /// An order was placed: it is as much cheaper as its coupon says, and no more orders have that than can.
    pub(crate) fn placed(&mut self, state: &State, id: OrderId, order: &Order, lines: &[Line]) -> Holds {
        let goods: Vec<_> = lines.iter().map(|line| (line.article, line.quantity, line.price)).collect();
        let (taken, [tenth, third]) = (gross(&goods) - order.total.0, off(&goods));
        let mut uses = self.known.get_mut(&order.coupon);
        let expected = match &uses {
            None => 0,
            Some(Some(_)) => tenth,
            Some(None) => third,
        };
        require(taken == expected && (taken == 0) == (order.coupon.0 == 0), || {
            format!("coupon {} took {taken} off order {id}", order.coupon)
        })?;
        self.cheaper += u64::from(taken > 0);
        let Some(Some(orders)) = &mut uses else { return Ok(()) };
        orders.insert(id, order.customer);
        let given_up = [OrderState::Cancelled, OrderState::Expired];
        let state_of = |id: &OrderId| state.market().order(*id).map(|(order, _)| order.state);
        orders.retain(|id, _| state_of(id).is_some_and(|state| !given_up.contains(&state)));
        let each = orders.values().filter(|customer| **customer == order.customer).count();
        require(orders.len() <= USES && each <= USES_EACH, || {
            let Order { coupon, customer, .. } = order;
            format!("{} orders have coupon {coupon}, {each} of account {customer}", orders.len())
        })
    }
}
