//! Orders under full load on a hub that is killed again and again: every acknowledged order is there once, none is
//! half done, the books balance, and nothing was sold that was not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{Article, OrderResult, OrderStatus};
use pumasi_types::{Currency, RequestId};
use serde_json::{Value, json};

use super::customer::ask;
use super::{Dice, Plan};
use crate::Outcome;
use crate::pool::{Pool, block_on};

/// Programs that send lists of orders, each on a connection of its own.
const SENDERS: usize = 4;
/// Orders in a list.
const TOGETHER: usize = 100;
/// Accounts that orders are for, and won that each has: few run out of it.
const CUSTOMERS: u64 = 50;
const MONEY: i64 = 1_000_000_000;
/// Articles by their price in won, and how many there are of each: some run out.
const ARTICLES: [(i64, u32); 4] = [(1_100, 2_000_000), (5_500, 2_000), (330, 50), (99_999_999, 1_000_000)];

/// One order as it was sent, and what it was answered.
#[derive(Clone)]
struct Sent {
    customer: u64,
    article: usize,
    quantity: u32,
    answer: OrderResult,
}

/// A list of orders that was acknowledged.
struct List {
    body: Value,
    orders: Vec<Sent>,
}

/// What was done and found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kills: u32,
    pub(crate) placed: usize,
    pub(crate) refused: usize,
    /// Lists that two connections sent at once.
    pub(crate) twice: usize,
    seconds: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "hub killed {} times in {} s: {} orders placed and {} refused in lists of {TOGETHER}, of which {} were sent \
             by two connections at once; lost 0, done twice 0, half done 0, oversold 0; books balance",
            self.kills, self.seconds, self.placed, self.refused, self.twice
        )
    }
}

/// One round on a hub of its own.
///
/// # Errors
/// Whatever was lost, done twice, half done or sold without being there; the seed stands in the text.
pub(crate) fn campaign(program: &Path, plan: &Plan) -> Outcome<Report> {
    let mut pool = Pool::start(program, &["--snapshot-every", "256KiB", "--requests-per-s", "1000000"])?;
    round(&mut pool, plan).map_err(|error| {
        let place = pool.dir.path().display().to_string();
        pool.dir.disable_cleanup(true);
        let Plan { seed, kills } = plan;
        format!(
            "{error}\nthe hub is kept in {place}; again: cargo xtask faults --orders --kills {kills} --seed {seed}"
        )
        .into()
    })
}

fn round(pool: &mut Pool, plan: &Plan) -> Outcome<Report> {
    let mut dice = Dice::new(plan.seed);
    let report = amid(pool, Dice::new(dice.next()), |pool| {
        for _ in 0..plan.kills {
            std::thread::sleep(Duration::from_millis(dice.below(400)));
            pool.hub()?.kill()?;
            pool.start_hub()?;
        }
        Ok(())
    })?;
    Ok(Report { kills: plan.kills, ..report })
}

/// Full load while the hub has some trouble, after which it runs; then what was answered is held against what it has.
pub(crate) fn amid(
    pool: &mut Pool,
    mut dice: Dice,
    trouble: impl FnOnce(&mut Pool) -> Outcome,
) -> Outcome<Report> {
    let began = Instant::now();
    let market = Market::open(pool)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        // Connections belong to the sender's own runtime.
        let (client, second) = (pool.client(&market.mall)?, pool.client(&market.mall)?);
        let (stop, first) = (Arc::clone(&stop), market.first_customer);
        let dice = Dice::new(dice.next());
        senders
            .push(std::thread::spawn(move || Sender { client, second, dice, first, twice: 0 }.work(&stop)));
    }
    let troubled = trouble(pool);
    stop.store(true, Ordering::Relaxed);
    let mut report = Report::default();
    let mut lists = Vec::new();
    let senders: Vec<_> = senders.into_iter().map(|sender| sender.join()).collect();
    for sender in senders {
        match (sender.map_err(|_| "a sender panicked")?, &troubled) {
            (Ok((sent, twice)), _) => {
                report.twice += twice;
                lists.extend(sent);
            }
            // Nobody answers a sender after trouble that did not end.
            (Err(error), Err(trouble)) => return Err(format!("{trouble}; then {error}").into()),
            (Err(error), Ok(())) => return Err(error.into()),
        }
    }
    troubled?;
    // What a restart finds is the same again.
    for _ in 0..2 {
        block_on(market.check(pool, &lists))?;
        pool.hub()?.kill()?;
        pool.start_hub()?;
    }
    let all = || lists.iter().flat_map(|list| &list.orders);
    report.placed = all().filter(|order| order.answer.status == OrderStatus::Placed).count();
    report.refused = all().count() - report.placed;
    report.seconds = began.elapsed().as_secs();
    Ok(report)
}

/// A shop, and those who order there.
struct Market {
    shop: String,
    mall: String,
    first_customer: u64,
}

impl Market {
    fn open(pool: &Pool) -> Outcome<Market> {
        let operator = pool.client(&pool.operator)?;
        block_on(async {
            let open = async |name: &str, roles: &[&str]| {
                let account = json!({"name": name, "roles": roles});
                operator.post::<_, wire::OpenedAccount>("/v1/accounts", &account, None).await
            };
            let (shop, mall) = (open("shop", &["merchant"]).await?, open("mall", &["storefront"]).await?);
            let (fees, taxes) = (open("fees", &[]).await?, open("taxes", &[]).await?);
            let terms = json!({"fee_to": fees.id.0, "tax_to": taxes.id.0, "fee_bp": 300});
            let () = operator.put("/v1/market", &terms, None).await?;
            let merchant = pool.client(&shop.token)?;
            let () = merchant.put("/v1/shop", &json!({"settle_at": "placing"}), None).await?;
            for (n, (price, count)) in ARTICLES.iter().enumerate() {
                let article = json!({"sku": n.to_string(), "price": price.to_string(), "currency": "KRW",
                    "tax_bp": 1000});
                let _: Value = merchant.post("/v1/articles", &[article], None).await?;
                let stock = json!({"article": n + 1, "place": 1, "change": {"receive": count}});
                let () = merchant.post("/v1/stock", &[stock], None).await?;
            }
            let first_customer = taxes.id.0 + 1;
            let names: Vec<_> = (0..CUSTOMERS).map(|n| format!("customer-{n}")).collect();
            let _: Value = operator.post("/v1/customers", &json!({ "names": names }), None).await?;
            for id in first_customer..first_customer + CUSTOMERS {
                let money = json!({"to": id.to_string(), "currency": "KRW", "amount": MONEY.to_string()});
                let _: Value = operator.post("/v1/issue", &money, None).await?;
            }
            Ok(Market { shop: shop.token, mall: mall.token, first_customer })
        })
    }

    /// Holds what was answered against what the hub has.
    async fn check(&self, pool: &Pool, lists: &[List]) -> Outcome {
        let mall = pool.client(&self.mall)?;
        let mut numbers = BTreeSet::new();
        let (mut spent, mut sold) = (BTreeMap::<u64, i64>::new(), [0_u64; ARTICLES.len()]);
        for list in lists {
            let again: Vec<OrderResult> = mall.post("/v1/orders", &list.body, None).await?;
            for (order, now) in list.orders.iter().zip(&again) {
                if order.answer != *now {
                    return Err(
                        format!("an order was answered {:?}, and is now {now:?}", order.answer).into()
                    );
                }
                let Some(number) = now.order else { continue };
                if !numbers.insert(number) {
                    return Err(format!("order {number} stands for two").into());
                }
                *spent.entry(order.customer).or_default() +=
                    ARTICLES[order.article].0 * i64::from(order.quantity);
                sold[order.article] += u64::from(order.quantity);
            }
        }
        let merchant = pool.client(&self.shop)?;
        for (n, (sold, (_, there))) in sold.iter().zip(ARTICLES).enumerate() {
            let article: Article = merchant.get(&format!("/v1/articles/{}", n + 1)).await?;
            let shelf =
                article.stock.and_then(|stock| stock.into_iter().next()).ok_or("no stock is shown")?;
            if u64::from(shelf.reserved) != *sold || shelf.on_hand != there || shelf.reserved > there {
                return Err(format!("of article {} {sold} of {there} were sold: {shelf:?}", n + 1).into());
            }
        }
        let operator = pool.client(&pool.operator)?;
        for customer in self.first_customer..self.first_customer + CUSTOMERS {
            let path = format!(
                "/v1/statement?currency=KRW&limit=1&account=customer-{}",
                customer - self.first_customer
            );
            let statement: wire::Statement = operator.get(&path).await?;
            let (has, held) = (won(&statement.available)?, won(&statement.held)?);
            let expected = MONEY - spent.get(&customer).copied().unwrap_or_default();
            if (has, held) != (expected, 0) || has < 0 {
                return Err(
                    format!("customer {customer} has {has} and {held} set aside, not {expected}").into()
                );
            }
        }
        let books: Vec<wire::Books> = operator.get("/v1/books").await?;
        if books.is_empty() || books.iter().any(|line| !line.balanced) {
            return Err(format!("the books do not balance: {books:?}").into());
        }
        Ok(())
    }
}

fn won(text: &str) -> Outcome<i64> {
    Ok("KRW".parse::<Currency>()?.parse_amount(text)?.0)
}

/// Sends lists of orders, each until it is answered.
struct Sender {
    client: HubClient,
    /// For lists that are sent twice at once.
    second: HubClient,
    dice: Dice,
    /// The first customer.
    first: u64,
    twice: usize,
}

impl Sender {
    fn work(mut self, stop: &AtomicBool) -> Result<(Vec<List>, usize), String> {
        block_on(async {
            let mut lists = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                lists.push(self.send().await?);
            }
            Ok((lists, self.twice))
        })
    }

    async fn send(&mut self) -> Result<List, String> {
        let mut wanted = Vec::new();
        let body: Vec<Value> = (0..TOGETHER).map(|_| self.order(&mut wanted)).collect();
        let body = Value::Array(body);
        let key = RequestId(u128::from(self.dice.next()) << 64 | u128::from(self.dice.next()));
        let twice = self.dice.percent(20);
        let (first, second) = tokio::join!(ask(&self.client, "/v1/orders", &body, key), async {
            match twice {
                true => Some(ask(&self.second, "/v1/orders", &body, key).await),
                false => None,
            }
        });
        let (answer, _) = first?;
        if let Some(second) = second {
            let (second, _) = second?;
            if second != answer {
                return Err(format!("one list was answered {answer:?} and {second:?}"));
            }
            self.twice += 1;
        }
        let answers: Vec<OrderResult> =
            serde_json::from_value(answer?).map_err(|error| format!("a strange answer: {error}"))?;
        let orders = wanted.into_iter().zip(answers);
        let orders = orders.map(|((customer, article, quantity), answer)| Sent {
            customer,
            article,
            quantity,
            answer,
        });
        Ok(List { body, orders: orders.collect() })
    }

    fn order(&mut self, wanted: &mut Vec<(u64, usize, u32)>) -> Value {
        let customer = self.first + self.dice.below(CUSTOMERS);
        // Most want the first one; few can pay the last.
        let article = if self.dice.percent(70) { 0 } else { self.dice.below(ARTICLES.len() as u64) as usize };
        let quantity = 1 + self.dice.below(3) as u32;
        wanted.push((customer, article, quantity));
        let id = format!("{:016x}{:016x}", self.dice.next(), self.dice.next());
        let total = ARTICLES[article].0 * i64::from(quantity);
        json!({"id": id, "customer": customer, "currency": "KRW", "total": total.to_string(),
            "lines": [{"article": article + 1, "quantity": quantity}]})
    }
}
