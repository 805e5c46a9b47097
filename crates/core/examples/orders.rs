//! What customers, articles and orders cost the core, in memory and processor time.
//!
//! `cargo run --release -p pumasi-core --example orders [CUSTOMERS] [ARTICLES] [ROUNDS]`; a round is 524,288 orders.
//! Times are processor time, so that what else runs on the machine matters little.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement needs clock and files"
)]
#![allow(clippy::float_arithmetic, reason = "figures for people")]

use pumasi_core::{
    ArticleSpec, Command, Done, MarketTerms, OrderAnswer, OrderBatch, OrderLines, OrderSpec, OrderStep, Rate,
    Request, Role, STATE_VERSION, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
    decode_requests, decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Hash, OrderId, ParcelId, PlaceId, RequestId, Time,
};
use rustix::time::{ClockId, clock_gettime};

const MERCHANT: AccountId = AccountId(1);
const STOREFRONT: AccountId = AccountId(2);
const TAX: AccountId = AccountId(3);
const FIRST_CUSTOMER: u64 = 4;
const NOW: Time = Time(1_700_000_000_000_000_000);
/// Orders of a batch, which is an entry.
const BATCH: usize = 4096;
/// Batches of a round.
const BATCHES: usize = 128;
/// Requests, articles or customers of one of the entries that prepare.
const MANY: u64 = 10_000;

/// Processor time of this process, in nanoseconds.
fn clock() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// A line of the process's status, in bytes: `VmRSS` is what it has in memory, `VmHWM` the most it ever had.
fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("in KiB");
    kib * 1024.0
}

fn krw() -> Currency {
    "KRW".parse().expect("known")
}

fn ask(caller: AccountId, command: Command) -> Request {
    Request { caller, id: None, command }
}

fn done(state: &mut State, caller: AccountId, command: Command) -> Done {
    state.apply(NOW, &[ask(caller, command)]).answers.remove(0).expect("it is done")
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 33
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }
}

/// Which articles are bought how often.
enum Shape {
    Uniform(u64),
    /// Nine of ten orders begin with the same one.
    Hot(u64),
    /// By the share of each and all before it.
    Zipf(Vec<f64>),
}

impl Shape {
    fn zipf(articles: u64, exponent: f64) -> Shape {
        let mut sum = 0.0;
        let shares = (1..=articles).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Shape::Zipf(shares.collect())
    }

    fn pick(&self, dice: &mut Dice) -> ArticleId {
        let rank = match self {
            Shape::Uniform(articles) => dice.below(*articles),
            Shape::Hot(articles) => {
                if dice.below(10) < 9 {
                    0
                } else {
                    dice.below(*articles)
                }
            }
            Shape::Zipf(shares) => {
                let all = shares.last().copied().unwrap_or_default();
                let wanted = all * (dice.bits() >> 11) as f64 / (1_u64 << 53) as f64;
                shares.partition_point(|share| *share < wanted) as u64
            }
        };
        ArticleId(1 + rank as u32)
    }
}

fn open_customers(state: &mut State, customers: u64) {
    for begin in (0..customers).step_by(MANY as usize) {
        let numbers = begin..customers.min(begin + MANY);
        let names = numbers.clone().map(|customer| format!("c{customer}")).collect();
        done(state, STOREFRONT, Command::OpenCustomers { names });
        let issues = numbers.map(|customer| {
            let to = AccountId(FIRST_CUSTOMER + customer);
            ask(State::SYSTEM, Command::Issue { to, currency: krw(), amount: Amount(1 << 36) })
        });
        state.apply(NOW, &issues.collect::<Vec<_>>());
    }
}

fn put_articles(state: &mut State, articles: u64) {
    for begin in (0..articles).step_by(MANY as usize) {
        let numbers = begin..articles.min(begin + MANY);
        let specs = numbers.clone().map(|number| ArticleSpec {
            sku: format!("sku-{number}"),
            gtin: 4_006_381_333_931,
            title_ko: format!("우리 동네 사과 {number}"),
            title_en: format!("Apple of our place {number}"),
            category: "food/fruit".to_owned(),
            price: Amount(1000),
            currency: krw(),
            tax: Rate::new(1000).expect("in range"),
            tracking: Tracking::Counted,
            on_sale: true,
        });
        done(state, MERCHANT, Command::PutArticles(specs.collect()));
        let receive = StockChange::Receive(1_000_000_000);
        let stock = numbers.map(|number| (ArticleId(1 + number as u32), PlaceId(1), receive));
        done(state, MERCHANT, Command::ChangeStock(stock.collect()));
    }
}

/// A merchant, a storefront and an office for taxes, and what they have agreed on.
fn open_shop(state: &mut State) {
    for (name, role) in [("shop", Role::Merchant), ("front", Role::Storefront), ("tax", Role::Owner)] {
        let (roles, token) = ([role].into_iter().collect(), Hash::of(name.as_bytes()));
        done(state, State::SYSTEM, Command::OpenAccount { name: name.to_owned(), roles, token });
    }
    let fee = Rate::new(300).expect("in range");
    done(state, State::SYSTEM, Command::SetMarket(MarketTerms { fee_to: STOREFRONT, tax_to: TAX, fee }));
    settle_at(state, SettleAt::Placing);
}

fn settle_at(state: &mut State, settle_at: SettleAt) {
    done(state, MERCHANT, Command::SetShop(ShopTerms { settle_at, ..ShopTerms::default() }));
}

/// Orders of so many lines, as the log has them.
fn orders(customers: u64, shape: &Shape, lines: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    let batch = |dice: &mut Dice| {
        let mut batch = OrderBatch::with_capacity(BATCH);
        for _ in 0..BATCH {
            let order = OrderSpec {
                key: RequestId(u128::from(dice.bits()) << 64 | u128::from(dice.bits())),
                customer: AccountId(FIRST_CUSTOMER + dice.below(customers)),
                total: Amount(1000 * lines as i64),
                currency: krw(),
                coupon: CouponId(0),
                place: None,
                pay_later: false,
                lines: OrderLines::default(),
            };
            let bought: Vec<_> = (0..lines).map(|_| (shape.pick(dice), 1)).collect();
            batch.push(&order, bought.into_iter());
        }
        let mut payload = Vec::new();
        encode_request(&mut payload, &ask(STOREFRONT, Command::PlaceOrders(batch)));
        payload
    };
    (0..BATCHES).map(|_| batch(dice)).collect()
}

/// Nanoseconds an order to decode, and to apply. Adds those that were placed.
fn play(state: &mut State, payloads: &[Vec<u8>], placed: &mut Vec<OrderId>) -> (f64, f64) {
    let (mut decoding, mut applying) = (0.0, 0.0);
    for payload in payloads {
        let begin = clock();
        let requests = decode_requests(payload).expect("encoded above");
        let decoded = clock();
        let applied = state.apply(NOW, &requests);
        applying += clock() - decoded;
        decoding += decoded - begin;
        let Ok(Done::Orders(answers)) = &applied.answers[0] else { panic!("orders") };
        placed.extend(answers.iter().map(|answer| match answer {
            OrderAnswer::Placed(id) => *id,
            OrderAnswer::Refused(problem) => panic!("an order was refused: {problem}"),
        }));
    }
    let orders = (payloads.len() * BATCH) as f64;
    (decoding / orders, applying / orders)
}

/// Writes a snapshot, and lets another process restart from it.
fn snapshot(what: &str, state: &State) {
    let begin = clock();
    let body = encode_state(state);
    let (took, mb) = ((clock() - begin) / 1e9, body.len() as f64 / 1e6);
    println!("snapshot {what}: {mb:.0} MB, encoded in {took:.2} s, peak {:.0} MB", memory("VmHWM") / 1e6);
    let path = std::env::temp_dir().join(format!("pumasi-orders-{}", std::process::id()));
    std::fs::write(&path, &body).expect("room for the snapshot");
    drop(body);
    let program = std::env::current_exe().expect("it runs");
    let status = std::process::Command::new(program).arg("restart").arg(&path).status();
    std::fs::remove_file(&path).expect("written above");
    assert!(status.expect("it starts").success(), "a snapshot can be read");
}

/// Reads a snapshot as a restart does.
fn restart(path: &str) {
    let body = std::fs::read(path).expect("a snapshot");
    let begin = clock();
    let state = decode_state(STATE_VERSION, &body).expect("written by this program");
    let took = (clock() - begin) / 1e9;
    let peak = memory("VmHWM") / 1e6;
    drop(body);
    println!("  read in {took:.2} s, {:.0} MB in memory, peak {peak:.0} MB", memory("VmRSS") / 1e6);
    assert!(state.ledger().last_transfer().0 > 0);
}

/// Nanoseconds an order to take it from there to its end; each step is a request of its own.
fn live(state: &mut State, orders: &[OrderId]) -> f64 {
    let shipment = Shipment { carrier: MERCHANT, tracking: "KR0123456789".to_owned(), lines: Vec::new() };
    let steps = [
        (MERCHANT, OrderStep::Allocate),
        (MERCHANT, OrderStep::Ship(shipment)),
        (MERCHANT, OrderStep::Deliver { parcel: ParcelId(1) }),
        (STOREFRONT, OrderStep::Complete),
    ];
    let mut took = 0.0;
    for (caller, step) in &steps {
        for orders in orders.chunks(BATCH) {
            let request = |order| ask(*caller, Command::StepOrder { order, step: step.clone() });
            let requests: Vec<Request> = orders.iter().map(|order| request(*order)).collect();
            let begin = clock();
            let applied = state.apply(NOW, &requests);
            took += clock() - begin;
            assert!(applied.answers.iter().all(Result::is_ok));
        }
    }
    took / orders.len() as f64
}

fn main() {
    if let Some("restart") = std::env::args().nth(1).as_deref() {
        return restart(&std::env::args().nth(2).expect("the path of a snapshot"));
    }
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a whole number"));
    let (customers, articles) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(10_000));
    let rounds = args.next().unwrap_or(3);
    let (mut state, mut dice) = (State::new(), Dice(1));
    done(&mut state, State::SYSTEM, Command::Draw { seed: 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 });
    open_shop(&mut state);

    let (before, begin) = (memory("VmRSS"), clock());
    open_customers(&mut state, customers);
    let (bytes, took) = (memory("VmRSS") - before, clock() - begin);
    println!("customers: {:.0} bytes, {:.0} ns each", bytes / customers as f64, took / customers as f64);
    let before = memory("VmRSS");
    put_articles(&mut state, articles);
    println!("articles: {:.0} bytes each", (memory("VmRSS") - before) / articles as f64);

    snapshot("without orders", &state);
    let shapes = [
        ("uniform", Shape::Uniform(articles)),
        ("zipf 1.1", Shape::zipf(articles, 1.1)),
        ("90% on one", Shape::Hot(articles)),
    ];
    let before = memory("VmRSS");
    let mut placed = Vec::new();
    for round in 0..rounds {
        for lines in [1, 3, 10] {
            for (name, shape) in &shapes {
                let payloads = orders(customers, shape, lines, &mut dice);
                let bytes = payloads.iter().map(Vec::len).sum::<usize>() as f64;
                let (decoding, applying) = play(&mut state, &payloads, &mut placed);
                println!(
                    "round {round}, {lines} lines, {name}: decode {decoding:.0} + apply {applying:.0} ns, {:.2} M a second, {:.0} bytes in the log",
                    1e3 / (decoding + applying),
                    bytes / (payloads.len() * BATCH) as f64
                );
            }
        }
    }
    let count = placed.len();
    println!("orders of all shapes: {:.0} bytes each", (memory("VmRSS") - before) / count as f64);
    snapshot(&format!("with {count} orders"), &state);

    settle_at(&mut state, SettleAt::Shipping);
    for round in 0..rounds {
        placed.clear();
        let payloads = orders(customers, &shapes[0].1, 1, &mut dice);
        let (decoding, applying) = play(&mut state, &payloads, &mut placed);
        let each = decoding + applying + live(&mut state, &placed);
        println!("life {round}, placed to completed: {each:.0} ns, {:.2} M a second", 1e3 / each);
    }
}
