//! Measures a cell that sells: memory, restart, replay, and how long orders wait while a snapshot is made.
//!
//! `cargo run --release -p pumasi-cell --example market [CUSTOMERS] [ARTICLES] [ORDERS]` prints lines `name value`. Files go
//! to a temporary folder (`TMPDIR`), about 400 bytes for each order. One customer in ten has money.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement needs a clock")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use pumasi_api::link::FromHub;
use pumasi_cell::{Batch, Cell, Derived, Outlet, Restored, restore};
use pumasi_core::{
    Answer, ArticleSpec, Command, Done, MarketTerms, OrderAnswer, OrderBatch, OrderLines, OrderSpec, Rate,
    Request, Role, SettleAt, ShopTerms, State, StockChange, Tracking,
};
use pumasi_log::{FileLog, FileLogOptions, SnapshotStore};
use pumasi_types::{
    AccountId, Amount, ArticleId, CellId, CouponId, Currency, Hash, PlaceId, RequestId, Time,
};

const SHOP: AccountId = AccountId(1);
const STORE: AccountId = AccountId(2);
/// Accounts before the first customer.
const OTHERS: u64 = 3;
const PRICE: Amount = Amount(1_000);
/// Orders of one request when as many as possible are placed.
const BATCH: u64 = 8_192;
/// Between two batches when orders come at a rate.
const BEAT: Duration = Duration::from_millis(5);

/// Counts orders that were placed.
#[derive(Default)]
struct Counter(u64);

impl Outlet for Counter {
    type Reply = ();
    type Link = ();
    type Waiter = ();

    fn answer(&mut self, (): (), answer: Answer) {
        if let Done::Orders(answers) = answer.unwrap() {
            assert!(
                answers.iter().all(|answer| matches!(answer, OrderAnswer::Placed(_))),
                "{:?}",
                answers[0]
            );
            self.0 += answers.len() as u64;
        }
    }

    fn send(&mut self, (): &(), _: FromHub) -> bool {
        true
    }

    fn over(&mut self, (): ()) {}
}

fn open(dir: &Path) -> Restored<FileLog> {
    let log = FileLog::open(&dir.join("log"), FileLogOptions::new(CellId(0))).unwrap().log;
    let snapshots = SnapshotStore::open(&dir.join("snapshots")).unwrap();
    restore(log, snapshots, Derived::open(dir).unwrap()).unwrap()
}

fn now() -> Time {
    Time(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64)
}

/// A number of this process's status, in MB: `VmRSS`, or `VmHWM` since it was last reset.
fn memory_mb(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A shop with customers and articles, and how far orders are.
struct Market {
    cell: Cell<FileLog, Counter>,
    counter: Counter,
    customers: u64,
    articles: u64,
    orders: u64,
}

impl Market {
    fn step(&mut self, caller: AccountId, command: Command) {
        let mut batch = Batch::default();
        batch.ask(Request { caller, id: None, command }, ());
        self.cell.step(now(), &mut || 7, &mut batch, &mut self.counter).unwrap();
    }

    fn build(&mut self) {
        let open = |name: &str, roles: &[Role]| Command::OpenAccount {
            name: name.to_owned(),
            roles: roles.iter().copied().collect(),
            token: Hash::of(name.as_bytes()),
        };
        self.step(State::SYSTEM, open("shop", &[Role::Merchant]));
        self.step(State::SYSTEM, open("store", &[Role::Storefront]));
        self.step(State::SYSTEM, open("taxes", &[]));
        let fee = Rate::new(300).unwrap();
        let terms = MarketTerms { fee_to: AccountId(3), tax_to: AccountId(3), fee };
        self.step(State::SYSTEM, Command::SetMarket(terms));
        self.step(SHOP, Command::SetShop(ShopTerms { settle_at: SettleAt::Placing, ..ShopTerms::default() }));
        for first in (0..self.customers).step_by(10_000) {
            let names = (first..self.customers.min(first + 10_000)).map(|n| format!("customer-{n:08}"));
            self.step(STORE, Command::OpenCustomers { names: names.collect() });
        }
        let amount = Amount(1_000_000_000);
        for first in (0..self.customers).step_by(100_000) {
            let mut batch = Batch::default();
            for customer in (first..self.customers.min(first + 100_000)).step_by(10) {
                let to = AccountId(OTHERS + 1 + customer);
                let issue = Command::Issue { to, currency: Currency::CREDIT, amount };
                batch.ask(Request { caller: State::SYSTEM, id: None, command: issue }, ());
            }
            self.cell.step(now(), &mut || 7, &mut batch, &mut self.counter).unwrap();
        }
        for first in (0..self.articles).step_by(10_000) {
            let numbers = first..self.articles.min(first + 10_000);
            self.step(SHOP, Command::PutArticles(numbers.clone().map(article).collect()));
            let stock = |n: u64| (ArticleId(n as u32 + 1), PlaceId(1), StockChange::Receive(1_000_000_000));
            self.step(SHOP, Command::ChangeStock(numbers.map(stock).collect()));
        }
    }

    /// So many orders of one line, each of another customer and article.
    fn place(&mut self, count: u64) {
        let mut batch = OrderBatch::with_capacity(count as usize);
        for _ in 0..count {
            self.orders += 1;
            // Spread by a multiplier without common factors.
            let at = self.orders.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let order = OrderSpec {
                key: RequestId(u128::from(self.orders)),
                customer: AccountId(OTHERS + 1 + at % (self.customers / 10) * 10),
                total: PRICE,
                currency: Currency::CREDIT,
                coupon: CouponId(0),
                place: None,
                pay_later: false,
                lines: OrderLines::default(),
            };
            batch.push(&order, [(ArticleId((at % self.articles) as u32 + 1), 1)].into_iter());
        }
        self.step(STORE, Command::PlaceOrders(batch));
    }

    /// Places orders at a rate as long as asked, and tells how long each batch took, in microseconds, since it was due.
    fn pace(&mut self, per_s: u64, mut go_on: impl FnMut() -> bool) -> Vec<u64> {
        let count = per_s * BEAT.as_micros() as u64 / 1_000_000;
        let (mut due, mut took) = (Instant::now(), Vec::new());
        while go_on() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.place(count);
            took.push(due.elapsed().as_micros() as u64);
            due += BEAT;
        }
        took
    }
}

fn article(number: u64) -> ArticleSpec {
    ArticleSpec {
        sku: format!("SKU-{number:08}"),
        gtin: 0,
        title_ko: format!("상품 {number:08}"),
        title_en: format!("Article {number:08}"),
        category: format!("category/{}", number % 100),
        price: PRICE,
        currency: Currency::CREDIT,
        tax: Rate::new(1_000).unwrap(),
        tracking: Tracking::Counted,
        on_sale: true,
    }
}

fn tell(when: &str, mut took: Vec<u64>) {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!("{when}_p50_us {}", at(0.5));
    println!("{when}_p99_us {}", at(0.99));
    println!("{when}_p999_us {}", at(0.999));
    println!("{when}_max_us {}", at(1.0));
    println!("{when}_batches {}", took.len());
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>().unwrap());
    let mut next = |otherwise| numbers.next().unwrap_or(otherwise);
    let (customers, articles, orders) = (next(10_000_000), next(1_000_000), next(4_000_000));
    let dir = tempfile::tempdir().unwrap();
    let lease = pumasi_types::Duration::from_secs(10);
    let start = |restored| {
        let cell = Cell::new(restored, lease);
        Market { cell, counter: Counter::default(), customers, articles, orders: 0 }
    };
    let mut market = start(open(dir.path()));
    let before = Instant::now();
    market.build();
    println!("built_s {:.1}", before.elapsed().as_secs_f64());
    println!("state_rss_mb {}", memory_mb("VmRSS"));
    let before = Instant::now();
    let (_, bytes) = market.cell.snapshot_now().unwrap().unwrap();
    println!("snapshot_mb {}", bytes >> 20);
    println!("snapshot_written_s {:.1}", before.elapsed().as_secs_f64());
    drop(market);

    let before = Instant::now();
    let mut market = start(open(dir.path()));
    println!("restart_s {:.1}", before.elapsed().as_secs_f64());
    println!("restarted_rss_mb {}", memory_mb("VmRSS"));
    let before = Instant::now();
    while market.orders < orders {
        market.place(BATCH);
    }
    let (placed, took) = (market.orders, before.elapsed().as_secs_f64());
    println!("placed_per_s {:.0}", placed as f64 / took);
    println!("with_orders_rss_mb {}", memory_mb("VmRSS"));
    drop(market);
    let before = Instant::now();
    let restored = open(dir.path());
    let took = before.elapsed().as_secs_f64();
    println!("restart_and_replay_s {took:.1}");
    println!("replayed_entries {}", restored.replayed);
    println!("replayed_orders {placed}");

    let mut market = start(restored);
    market.orders = placed;
    let per_s = 200_000;
    let until = Instant::now() + Duration::from_secs(10);
    tell("calm", market.pace(per_s, || Instant::now() < until));
    reset_peak();
    let work = market.cell.due_snapshot(0).unwrap().unwrap();
    let before = Instant::now();
    let making = std::thread::spawn(move || work.run().unwrap());
    let took = market.pace(per_s, || !making.is_finished());
    println!("snapshot_made_s {:.1}", before.elapsed().as_secs_f64());
    println!("both_states_peak_mb {}", memory_mb("VmHWM"));
    making.join().unwrap();
    tell("snapshot", took);
    println!("orders {}", market.counter.0 + placed);
}
