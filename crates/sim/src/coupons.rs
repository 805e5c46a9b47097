//! What the merchant of a world takes off its prices, and what must hold of it.

use std::collections::BTreeMap;

use pumasi_core::{Command, CouponKind, CouponScope, CouponSpec, Line, Order, OrderState, Rate, State};
use pumasi_types::{AccountId, Amount, ArticleId, CouponId, OrderId, Time};

use crate::dice::Dice;
use crate::oracle::{Holds, require};

/// Takes a tenth off everything, for few orders.
const COUPON: CouponId = CouponId(1);
/// Takes every third of an article off.
const PROMOTION: CouponId = CouponId(2);
/// What the promotion is for.
const PROMOTED: ArticleId = ArticleId(3);
/// How many orders can have the coupon.
const USES: usize = 25;
/// How many of each customer.
const USES_EACH: usize = 9;

/// Both, valid or over.
pub(crate) fn put(valid: bool) -> Command {
    // Later than a world lasts, in seconds since 1970.
    let ends = Time(if valid { 1_900_000_000_000_000_000 } else { 1 });
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

/// What both take off lines of these prices.
fn off(lines: &[(ArticleId, u32, Amount)]) -> [(CouponId, i64); 2] {
    let gross: i64 = lines.iter().map(|(_, quantity, price)| price.0 * i64::from(*quantity)).sum();
    let promoted = lines.iter().filter(|(article, ..)| *article == PROMOTED);
    let count: i64 = promoted.clone().map(|(_, quantity, _)| i64::from(*quantity)).sum();
    let price = promoted.map(|(.., price)| price.0).next().unwrap_or(0);
    [(COUPON, gross / 10), (PROMOTION, count / 3 * price)]
}

/// The coupon that a customer names, and what it believes that its order costs.
pub(crate) fn choose(lines: &[(ArticleId, u32, Amount)], dice: &mut Dice) -> (CouponId, Amount) {
    let gross: i64 = lines.iter().map(|(_, quantity, price)| price.0 * i64::from(*quantity)).sum();
    let [(_, tenth), (_, third)] = off(lines);
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
    coupon: BTreeMap<OrderId, AccountId>,
    /// How many orders were made cheaper.
    pub(crate) cheaper: u64,
}

impl Uses {
    /// An order was placed: it is as much cheaper as its coupon says, and no more orders have that than can.
    pub(crate) fn placed(&mut self, state: &State, id: OrderId, order: &Order, lines: &[Line]) -> Holds {
        let goods: Vec<_> = lines.iter().map(|line| (line.article, line.quantity, line.price)).collect();
        let gross: i64 = goods.iter().map(|(_, quantity, price)| price.0 * i64::from(*quantity)).sum();
        let expected = off(&goods).into_iter().find(|(coupon, _)| *coupon == order.coupon);
        let expected = expected.map_or(0, |(_, off)| off);
        require(gross - order.total.0 == expected, || {
            format!("coupon {} took {} off order {id}", order.coupon, gross - order.total.0)
        })?;
        self.cheaper += u64::from(order.coupon.0 != 0);
        if order.coupon != COUPON {
            return Ok(());
        }
        self.coupon.insert(id, order.customer);
        let given_up = [OrderState::Cancelled, OrderState::Expired];
        let state_of = |id: &OrderId| state.market().order(*id).map(|(order, _)| order.state);
        self.coupon.retain(|id, _| state_of(id).is_some_and(|state| !given_up.contains(&state)));
        let each = self.coupon.values().filter(|customer| **customer == order.customer).count();
        require(self.coupon.len() <= USES && each <= USES_EACH, || {
            format!("{} orders have coupon {COUPON}, {each} of account {}", self.coupon.len(), order.customer)
        })
    }
}
