//! A market in a real hub: people, articles and their stock.

use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{Article, PutArticle};
use pumasi_hub::ServeOptions;
use serde_json::{Value, json};

use crate::common::*;

/// A hub where a merchant sells rice, tea and a book, and two customers have ₩100,000 each.
pub(crate) struct Market {
    pub(crate) hub: TestHub,
    pub(crate) merchant: HubClient,
    pub(crate) mall: HubClient,
    pub(crate) alice: HubClient,
    pub(crate) tokens: [String; 2],
}

impl Market {
    pub(crate) async fn new() -> Market {
        Market::with(|_| ()).await
    }

    /// The same in a hub with other options.
    pub(crate) async fn with(choose: impl FnOnce(&mut ServeOptions)) -> Market {
        let hub = TestHub::with(choose).await;
        let merchant = hub.client(&hub.open("shop", &["merchant"]).await);
        let mall_token = hub.open("mall", &["storefront"]).await;
        let alice_token = hub.open("alice", &[]).await;
        hub.open("bob", &[]).await;
        for name in ["alice", "bob"] {
            let body = json!({"to": name, "currency": "KRW", "amount": "100000"});
            let _: wire::Transferred = hub.operator().post("/v1/issue", &body, None).await.unwrap();
        }
        let terms = json!({"fee_to": "operator", "tax_to": "operator", "fee_bp": 500});
        let () = hub.operator().put("/v1/market", &terms, None).await.unwrap();
        let () = merchant.put("/v1/shop", &json!({"settle_at": "placing"}), None).await.unwrap();
        let articles = json!([
            {"sku": "rice", "title_ko": "쌀 10kg", "title_en": "Rice, 10 kg", "category": "food/grain",
                "price": "30000", "currency": "KRW", "tax_bp": 1000},
            {"sku": "tea", "gtin": "4006381333931", "price": "5000", "currency": "KRW"},
            {"sku": "book", "price": "15000", "currency": "KRW", "tracking": "untracked"}
        ]);
        let put: Vec<PutArticle> = merchant.post("/v1/articles", &articles, None).await.unwrap();
        assert_eq!(put.iter().map(|one| one.article.0).collect::<Vec<_>>(), [1, 2, 3]);
        let stock = json!([
            {"sku": "rice", "place": 1, "change": {"receive": 3}},
            {"article": 2, "place": 1, "change": {"count": 1000}}
        ]);
        let () = merchant.post("/v1/stock", &stock, None).await.unwrap();
        let (alice, mall) = (hub.client(&alice_token), hub.client(&mall_token));
        Market { hub, merchant, mall, alice, tokens: [alice_token, mall_token] }
    }

    pub(crate) async fn stock(&self, article: u32) -> (u32, u32) {
        let article: Article = self.merchant.get(&format!("/v1/articles/{article}")).await.unwrap();
        let shelf = article.stock.unwrap()[0];
        (shelf.on_hand, shelf.reserved)
    }

    /// What an account has in won.
    pub(crate) async fn won(&self, name: &str) -> String {
        let account: wire::Account = self.hub.operator().get(&format!("/v1/accounts/{name}")).await.unwrap();
        account.balances.into_iter().find(|balance| balance.currency == "KRW").unwrap().available
    }

    /// Sends lines of JSON and returns what is answered.
    pub(crate) async fn stream(&self, body: &str) -> Vec<Value> {
        let bearer = format!("Bearer {}", self.tokens[1]);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/x-ndjson")];
        let answer = self.hub.raw("POST", "/v1/orders/stream", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        let lines = unchunk(&answer.body);
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// The bytes of a chunked body (RFC 9112, 7.1).
fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").expect("a chunk");
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).expect("a length"));
        if chunk.is_empty() {
            return whole;
        }
        whole += chunk;
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
    }
}

pub(crate) fn rice(quantity: u32) -> Value {
    let total = (30_000 * quantity).to_string();
    json!({"currency": "KRW", "total": total, "lines": [{"merchant": "shop", "sku": "rice", "quantity": quantity}]})
}

pub(crate) fn with(mut order: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    order.as_object_mut().unwrap().extend(fields);
    order
}
