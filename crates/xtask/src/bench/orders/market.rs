//! The market that is measured: one merchant, many articles, customers with money, a storefront that orders for them.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{OpenedCustomers, PutArticle};
use serde_json::json;

use crate::Outcome;
use crate::pool::Pool;

/// What one article costs, in won.
pub(super) const PRICE: i64 = 1_100;
/// Requests at once while the market is set up.
const AT_ONCE: usize = 64;
/// Articles in one request.
const TOGETHER: usize = 5_000;

/// A market on a hub that runs.
pub(super) struct Market {
    pub(super) operator: HubClient,
    pub(super) merchant: HubClient,
    /// The storefront's.
    pub(super) client: HubClient,
    pub(super) token: String,
    /// Ids of the customers: this one and as many behind it as there are.
    pub(super) first_customer: u64,
    pub(super) customers: u32,
    pub(super) articles: u32,
}

impl Market {
    /// Opens accounts and shop, fills the shelves, gives every customer money.
    pub(super) async fn open(pool: &Pool, customers: u32, articles: u32) -> Outcome<Market> {
        let operator = pool.client(&pool.operator)?;
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
        let numbers: Vec<u32> = (1..=articles).collect();
        for some in numbers.chunks(TOGETHER) {
            let article = |n: &u32| json!({"sku": n.to_string(), "price": PRICE.to_string(), "currency": "KRW", "tax_bp": 1000});
            let put: Vec<_> = some.iter().map(article).collect();
            let put: Vec<PutArticle> = merchant.post("/v1/articles", &put, None).await?;
            if put.iter().zip(some).any(|(put, number)| put.article.0 != *number) {
                return Err("articles have other numbers than were expected".into());
            }
            let stock = |n: &u32| json!({"article": n, "place": 1, "change": {"count": 2_000_000_000}});
            let () = merchant.post("/v1/stock", &some.iter().map(stock).collect::<Vec<_>>(), None).await?;
        }
        let first_customer = taxes.id.0 + 1;
        open_customers(&operator, first_customer, customers).await?;
        let (client, token) = (pool.client(&mall.token)?, mall.token);
        Ok(Market { operator, merchant, client, token, first_customer, customers, articles })
    }
}

/// Opens so many accounts, and gives each of them money.
async fn open_customers(operator: &HubClient, first: u64, count: u32) -> Outcome {
    let began = std::time::Instant::now();
    let numbers: Vec<u32> = (0..count).collect();
    let mut next = first;
    for some in numbers.chunks(10_000) {
        let names: Vec<_> = some.iter().map(|n| format!("customer-{n}")).collect();
        let opened: OpenedCustomers =
            operator.post("/v1/customers", &json!({ "names": names }), None).await?;
        if opened.first.0 != next {
            return Err("customers have other numbers than were expected".into());
        }
        next += some.len() as u64;
    }
    let given = stream::iter(0..u64::from(count)).map(Ok).try_for_each_concurrent(AT_ONCE, async |n| {
        let money = json!({"to": (first + n).to_string(), "currency": "KRW", "amount": "1000000000000"});
        operator.post::<_, wire::Transferred>("/v1/issue", &money, None).await.map(drop)
    });
    given.await?;
    println!("{count} customers with money after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Numbers that look random, the same in every run (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Default)]
pub(super) struct Numbers(u64);

impl From<u64> for Numbers {
    fn from(seed: u64) -> Numbers {
        Numbers(seed)
    }
}

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many, from 0.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(count)) >> 64) as u32
    }
}

/// Which articles are ordered how often.
#[derive(Clone)]
pub(super) enum Popularity {
    /// All alike.
    Uniform,
    /// The n-th most popular as often as n to the power of -1.1 says: the shares of each and all before it.
    Zipf(Arc<[f64]>),
    /// Nine of ten orders begin with the same one.
    Hot,
}

impl Popularity {
    /// Zipf's law for so many articles.
    pub(super) fn zipf(articles: u32) -> Popularity {
        let mut sum = 0.0;
        let shares = (1..=articles).map(|rank| {
            sum += f64::from(rank).powf(-1.1);
            sum
        });
        Popularity::Zipf(shares.collect())
    }

    /// The article of an order's n-th line, from 0.
    pub(super) fn pick(&self, line: u32, articles: u32, numbers: &mut Numbers) -> u32 {
        match self {
            Popularity::Zipf(shares) => {
                let all = shares.last().copied().unwrap_or_default();
                let wanted = all * (numbers.next() >> 11) as f64 / (1_u64 << 53) as f64;
                shares.partition_point(|share| *share < wanted) as u32
            }
            Popularity::Hot if line == 0 && numbers.below(10) < 9 => 0,
            _ => numbers.below(articles),
        }
    }
}
