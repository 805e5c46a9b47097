//! How many orders a second `apply` takes on one core: `cargo run --release --example orders [CUSTOMERS] [ARTICLES]`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement needs a clock")]
#![allow(clippy::float_arithmetic, reason = "figures for people")]

use std::time::Instant;

use pumasi_core::{
    ArticleSpec, Command, Done, MarketTerms, OrderAnswer, OrderBatch, OrderLines, OrderSpec, OrderStep, Rate,
    Request, Role, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, Currency, Hash, OrderId, ParcelId, PlaceId, RequestId, Time,
};

const MERCHANT: AccountId = AccountId(1);
const STOREFRONT: AccountId = AccountId(2);
const BATCH: usize = 4096;

fn ask(state: &mut State, caller: AccountId, command: Command) -> Done {
    let now = Time(1_700_000_000_000_000_000);
    let mut applied = state.apply(now, &[Request { caller, id: None, command }]);
    applied.answers.remove(0).expect("it is done")
}

/// How long a part of the work took.
fn tell(what: &str, count: usize, took: std::time::Duration) {
    let (rate, each) = (count as f64 / took.as_secs_f64(), took.as_nanos() as f64 / count as f64);
    println!("{what}, {rate:.0} a second, {each:.0} ns each");
}

/// A market with so many customers, who have money, and articles, of which there are enough.
fn market(customers: u64, articles: u32) -> State {
    let mut state = State::new();
    for (name, role) in [("shop", Role::Merchant), ("front", Role::Storefront), ("tax", Role::Owner)] {
        let (roles, token) = ([role].into_iter().collect(), Hash::of(name.as_bytes()));
        ask(&mut state, State::SYSTEM, Command::OpenAccount { name: name.to_owned(), roles, token });
    }
    let begin = Instant::now();
    for customer in 0..customers {
        let name = format!("c{customer}");
        let token = Hash::of(name.as_bytes());
        let open = Command::OpenAccount { name, roles: [].into_iter().collect(), token };
        let Done::Account(to) = ask(&mut state, State::SYSTEM, open) else { panic!("an account") };
        ask(&mut state, State::SYSTEM, Command::Issue { to, currency: krw(), amount: Amount(1 << 36) });
    }
    println!("{customers} customers in {:.1?}", begin.elapsed());
    let fee = Rate::new(300).expect("in range");
    let terms = MarketTerms { fee_to: STOREFRONT, tax_to: AccountId(3), fee };
    ask(&mut state, State::SYSTEM, Command::SetMarket(terms));
    let specs = (0..articles).map(|n| ArticleSpec {
        sku: format!("sku-{n}"),
        gtin: 0,
        title_ko: "사과".to_owned(),
        title_en: "apple".to_owned(),
        category: "food/fruit".to_owned(),
        price: Amount(1000),
        currency: krw(),
        tax: Rate::new(1000).expect("in range"),
        tracking: Tracking::Counted,
        on_sale: true,
    });
    ask(&mut state, MERCHANT, Command::PutArticles(specs.collect()));
    let stock = (1..=articles).map(|n| (ArticleId(n), PlaceId(1), StockChange::Receive(1_000_000_000)));
    ask(&mut state, MERCHANT, Command::ChangeStock(stock.collect()));
    state
}

fn krw() -> Currency {
    "KRW".parse().expect("known")
}

/// Batches of orders by anybody for anything.
struct Crowd {
    customers: u64,
    articles: u32,
    dice: u64,
    number: u128,
}

impl Crowd {
    fn roll(&mut self, end: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.dice) * u128::from(end)) >> 64) as u64
    }

    fn batch(&mut self) -> OrderBatch {
        let mut batch = OrderBatch::with_capacity(BATCH);
        for _ in 0..BATCH {
            self.number += 1;
            let order = OrderSpec {
                key: RequestId(self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
                customer: AccountId(4 + self.roll(self.customers)),
                total: Amount(1000),
                currency: krw(),
                coupon: 0,
                place: None,
                pay_later: false,
                lines: OrderLines::default(),
            };
            let line = (ArticleId(1 + self.roll(u64::from(self.articles)) as u32), 1);
            batch.push(&order, [line].into_iter());
        }
        batch
    }
}

/// Places a batch; what was placed.
fn place(state: &mut State, batch: OrderBatch) -> impl Iterator<Item = OrderId> {
    let Done::Orders(answers) = ask(state, STOREFRONT, Command::PlaceOrders(batch)) else {
        panic!("answers")
    };
    answers.into_iter().filter_map(|answer| match answer {
        OrderAnswer::Placed(id) => Some(id),
        OrderAnswer::Refused(_) => None,
    })
}

/// One step of many orders, each a request of its own in one entry.
fn step(state: &mut State, caller: AccountId, orders: &[OrderId], step: &OrderStep) {
    let command = |order| Command::StepOrder { order, step: step.clone() };
    let requests: Vec<Request> =
        orders.iter().map(|order| Request { caller, id: None, command: command(*order) }).collect();
    let applied = state.apply(Time(1_700_000_000_000_000_000), &requests);
    assert!(applied.answers.iter().all(Result::is_ok));
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let customers: u64 = args.next().unwrap_or(1_000_000);
    let articles = args.next().map_or(10_000, |n| u32::try_from(n).expect("a small number"));
    let mut state = market(customers, articles);
    let mut crowd = Crowd { customers, articles, dice: 1, number: 0 };
    let shop = ShopTerms { settle_at: SettleAt::Placing, ..ShopTerms::default() };
    ask(&mut state, MERCHANT, Command::SetShop(shop));
    for round in 0..8 {
        let batches: Vec<OrderBatch> = (0..250).map(|_| crowd.batch()).collect();
        let (count, begin) = (250 * BATCH, Instant::now());
        let placed: usize = batches.into_iter().map(|batch| place(&mut state, batch).count()).sum();
        tell(&format!("round {round}: {placed} of {count} placed"), count, begin.elapsed());
    }
    // Whole lives, of which each step comes a batch after the one before.
    ask(&mut state, MERCHANT, Command::SetShop(ShopTerms { settle_at: SettleAt::Shipping, ..shop }));
    let shipment = Shipment { carrier: MERCHANT, tracking: "KR0123456789".to_owned(), lines: Vec::new() };
    let steps = [
        (MERCHANT, OrderStep::Allocate),
        (MERCHANT, OrderStep::Ship(shipment)),
        (MERCHANT, OrderStep::Deliver { parcel: ParcelId(1) }),
        (STOREFRONT, OrderStep::Complete),
    ];
    for round in 0..3 {
        let batches: Vec<OrderBatch> = (0..50).map(|_| crowd.batch()).collect();
        let (count, begin) = (50 * BATCH, Instant::now());
        let orders: Vec<OrderId> =
            batches.into_iter().flat_map(|batch| place(&mut state, batch).collect::<Vec<_>>()).collect();
        for (caller, of) in &steps {
            orders.chunks(BATCH).for_each(|orders| step(&mut state, *caller, orders, of));
        }
        let lived = orders.len();
        tell(&format!("lives {round}: {lived} of {count} placed to completed"), count, begin.elapsed());
    }
}
