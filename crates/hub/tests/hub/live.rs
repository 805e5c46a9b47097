//! How selling goes, as those who watch it are told.

use pumasi_api::wire::market::{MarketLive, OrderResult, PutArticle};
use serde_json::json;

use crate::common::*;
use crate::market::{Market, rice, with};

#[tokio::test]
async fn sales_and_refusals_are_told_while_they_happen() {
    let market = Market::new().await;
    let tea = json!({"currency": "KRW", "total": "5000", "lines": [{"article": 2, "quantity": 1}]});
    let dear = with(tea.clone(), json!({"total": "1"}));
    let orders = json!([tea, tea, dear, {"currency": "KRW", "total": "0", "lines": []}]);
    let results: Vec<OrderResult> = market.alice.post("/v1/orders", &orders, None).await.unwrap();
    assert_eq!(results.iter().filter(|result| result.order.is_some()).count(), 2);
    let _: OrderResult =
        market.mall.post("/v1/orders", &with(rice(3), json!({"customer": "bob"})), None).await.unwrap();
    let all: MarketLive = market.hub.operator().get("/v1/market/live").await.unwrap();
    let counted = all.orders.clone().unwrap();
    assert_eq!((counted.placed, counted.refused.get("other_total")), (3, Some(&1)));
    let lately = all.latency.unwrap();
    assert!(lately.p50_ms > 0.0 && lately.p99_ms >= lately.p50_ms, "{lately:?}");
    assert_eq!((all.lines, all.quantity, all.revenue[0].amount.as_str()), (3, 5, "100000"));
    let top: Vec<_> = all.top.iter().map(|article| (article.sku.as_str(), article.quantity)).collect();
    assert_eq!(top, [("rice", 3), ("tea", 2)]);
    assert_eq!(
        (all.stock_outs, all.out_of_stock[0].sku.as_str(), all.top[1].available),
        (1, "rice", Some(998))
    );
    // A merchant sees its own, a list is as long as it was asked for, and others see nothing.
    let mine: MarketLive = market.merchant.get("/v1/market/live?top=1").await.unwrap();
    assert_eq!((mine.orders, mine.lines, mine.top.len(), mine.stock_outs), (None, 3, 1, 1));
    let rival = market.hub.client(&market.hub.open("rival", &["merchant"]).await);
    let theirs: MarketLive = rival.get("/v1/market/live").await.unwrap();
    assert_eq!((theirs.lines, theirs.top.len(), theirs.revenue.len()), (0, 0, 0));
    assert_eq!(refusal(rival.get::<MarketLive>("/v1/market/live?merchant=shop").await).0, 403);
    assert_eq!(refusal(market.alice.get::<MarketLive>("/v1/market/live").await).1, "wrong_role");
    let shops: MarketLive = market.hub.operator().get("/v1/market/live?merchant=rival").await.unwrap();
    assert_eq!((shops.lines, shops.orders), (0, all.orders));
}

#[tokio::test]
async fn more_figures_than_are_looked_at_at_once_add_up() {
    let market = Market::new().await;
    let article =
        |n: u32| json!({"sku": format!("x{n}"), "price": "1", "currency": "KRW", "tracking": "untracked"});
    let articles: Vec<_> = (0..5_000).map(article).collect();
    let _: Vec<PutArticle> = market.merchant.post("/v1/articles", &articles, None).await.unwrap();
    let order = |n: u32| {
        let lines: Vec<_> =
            (0..250).map(|line| json!({"article": 4 + 250 * n + line, "quantity": 1})).collect();
        json!({"currency": "KRW", "total": "250", "lines": lines})
    };
    let orders: Vec<_> = (0..20).map(order).collect();
    let results: Vec<OrderResult> = market.alice.post("/v1/orders", &orders, None).await.unwrap();
    assert!(results.iter().all(|result| result.order.is_some()), "{results:?}");
    let live: MarketLive = market.merchant.get("/v1/market/live?top=1000").await.unwrap();
    assert_eq!((live.quantity, live.revenue[0].amount.as_str(), live.top.len()), (5_000, "5000", 100));
}
