//! Orders and what is sold, over HTTP: one, lists and streams of them, repeated, raced and malformed.

use crate::common::*;
use crate::market::{Market, rice, with};
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{
    Article, Articles, MarketTerms, OpenedCustomers, Order, OrderResult, OrderStatus, Orders, Party,
    PutArticle, SettleAt, ShopTerms,
};
use pumasi_types::ArticleId;
use serde_json::{Value, json};

#[tokio::test]
async fn an_order_is_placed_paid_and_seen_by_those_it_concerns() {
    let market = Market::new().await;
    let placed: OrderResult = market.alice.post("/v1/orders", &rice(2), None).await.unwrap();
    let id = placed.order.expect("it was placed");
    assert_eq!((placed.status, market.stock(1).await), (OrderStatus::Placed, (3, 2)));
    let path = format!("/v1/orders/{id}");
    let order: Order = market.alice.get(&path).await.unwrap();
    assert_eq!((order.state.as_str(), order.settled, order.lines[0].sku.as_str()), ("paid", true, "rice"));
    assert_eq!((order.total.as_str(), order.tax.as_str(), order.fee.as_str()), ("60000", "5454", "3000"));
    assert_eq!(market.merchant.get::<Order>(&path).await.unwrap(), order);
    assert_eq!(market.hub.operator().get::<Order>(&path).await.unwrap(), order);
    // Others cannot tell it from an order that never was.
    let rival = market.hub.client(&market.hub.open("rival", &["merchant"]).await);
    let strange = refusal(rival.get::<Order>(&path).await);
    let nowhere = refusal(rival.get::<Order>("/v1/orders/999").await);
    assert_eq!((strange.0, strange.1.as_str()), (nowhere.0, nowhere.1.as_str()));
    assert_eq!((market.won("alice").await.as_str(), market.won("shop").await.as_str()), ("40000", "51546"));
    let sent: OrderResult =
        market.mall.post("/v1/orders", &with(rice(1), json!({"customer": "bob"})), None).await.unwrap();
    market.mall.get::<Order>(&format!("/v1/orders/{}", sent.order.unwrap())).await.unwrap();
    assert_balanced(&market.hub.operator()).await;
}

#[tokio::test]
async fn the_clients_own_id_decides_by_whatever_way_it_comes() {
    let market = Market::new().await;
    let tea = |id: &str, quantity: u32| {
        json!({"id": id, "currency": "KRW", "total": (5_000 * quantity).to_string(),
            "lines": [{"article": 2, "quantity": quantity}]})
    };
    let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    for id in [uuid, "주문 1"] {
        let first: OrderResult = market.alice.post("/v1/orders", &tea(id, 1), None).await.unwrap();
        let again: OrderResult = market.alice.post("/v1/orders", &tea(id, 1), None).await.unwrap();
        let list: Vec<OrderResult> =
            market.alice.post("/v1/orders", &json!([tea(id, 1), tea(id, 2)]), None).await.unwrap();
        assert_eq!((&first, &first), (&again, &list[0]));
        assert_eq!(list[1].code.as_deref(), Some("order_conflict"));
        assert_eq!(
            refusal(market.alice.post::<_, OrderResult>("/v1/orders", &tea(id, 3), None).await).0,
            409
        );
    }
    // Without an id the header stands for it, and in a list each place of it.
    let key = Some(HubClient::new_request_id());
    let order = with(tea("", 1), json!({}));
    let mut order = order;
    order.as_object_mut().unwrap().remove("id");
    let one: OrderResult = market.alice.post("/v1/orders", &order, key).await.unwrap();
    assert_eq!(market.alice.post::<_, OrderResult>("/v1/orders", &order, key).await.unwrap(), one);
    let list = json!([order, order]);
    let many: Vec<OrderResult> = market.alice.post("/v1/orders", &list, key).await.unwrap();
    assert_eq!(market.alice.post::<_, Vec<OrderResult>>("/v1/orders", &list, key).await.unwrap(), many);
    assert!(many[0].order != many[1].order && many[0].order != one.order);
    assert_eq!(market.stock(2).await, (1000, 5));
}

#[tokio::test]
async fn each_order_of_a_list_stands_alone() {
    let market = Market::new().await;
    let tea = json!({"customer": "bob", "currency": "KRW", "total": "5000", "lines": [{"article": 2, "quantity": 1}]});
    let line = |fields: Value| with(tea.clone(), json!({ "lines": [fields] }));
    let cases = [
        (tea.clone(), None),
        (with(tea.clone(), json!({"customer": "nobody"})), Some("no_account")),
        (with(tea.clone(), json!({"customer": 999})), Some("no_account")),
        (with(tea.clone(), json!({"total": "4999"})), Some("other_total")),
        (with(tea.clone(), json!({"total": "5000.5"})), Some("invalid")),
        (with(tea.clone(), json!({"total": "99999999999999999999"})), Some("invalid")),
        (with(tea.clone(), json!({"currency": "ABC"})), Some("invalid")),
        (with(tea.clone(), json!({"currency": "EUR", "total": "50"})), Some("other_currency")),
        (with(tea.clone(), json!({"coupon": "ten"})), Some("no_coupon")),
        (with(tea.clone(), json!({"coupon": ""})), Some("no_coupon")),
        (with(tea.clone(), json!({"place": 9})), Some("not_enough_stock")),
        (with(tea.clone(), json!({"id": ""})), Some("invalid")),
        (with(tea.clone(), json!({"id": "x".repeat(65)})), Some("invalid")),
        (with(tea.clone(), json!({"lines": []})), Some("invalid")),
        (line(json!({"article": 2, "quantity": 0})), Some("bad_quantity")),
        (line(json!({"article": 2, "quantity": u32::MAX})), Some("bad_quantity")),
        (line(json!({"article": 77, "quantity": 1})), Some("no_article")),
        (line(json!({"sku": "tea", "quantity": 1})), Some("invalid")),
        (line(json!({"merchant": "shop", "sku": "coffee", "quantity": 1})), Some("no_article")),
        (line(json!({"merchant": "nobody", "sku": "tea", "quantity": 1})), Some("no_account")),
        (line(json!({"merchant": "shop", "sku": "tea", "quantity": 1})), None),
        (with(tea.clone(), json!({"pay": "later"})), None),
    ];
    let orders: Vec<_> = cases.iter().map(|(order, _)| order).collect();
    let results: Vec<OrderResult> = market.mall.post("/v1/orders", &orders, None).await.unwrap();
    assert_eq!(results.len(), cases.len());
    for (result, (order, code)) in results.iter().zip(&cases) {
        assert_eq!(result.code.as_deref(), *code, "{order}: {result:?}");
        assert_eq!(result.order.is_some(), code.is_none(), "{order}");
    }
    // Alone they are refused with a status, and a customer cannot order for others.
    assert_eq!(refusal(market.alice.post::<_, OrderResult>("/v1/orders", &tea, None).await).0, 403);
    let poor = rice(3);
    let _: OrderResult = market.alice.post("/v1/orders", &poor, None).await.unwrap();
    let broke = json!({"currency": "KRW", "total": "15000", "lines": [{"article": 3, "quantity": 1}]});
    assert_eq!(refusal(market.alice.post::<_, OrderResult>("/v1/orders", &broke, None).await).0, 402);
    assert_eq!(market.stock(2).await, (1000, 3));
    assert_balanced(&market.hub.operator()).await;
}

#[tokio::test]
async fn a_name_that_comes_later_is_found_then() {
    let market = Market::new().await;
    let order = json!({"customer": "carol", "currency": "KRW", "total": "0",
        "lines": [{"merchant": "shop", "sku": "gift", "quantity": 1}]});
    let place = || market.mall.post::<_, OrderResult>("/v1/orders", &order, None);
    assert_eq!(refusal(place().await).1, "no_article");
    let gift = json!({"sku": "gift", "price": "0", "currency": "KRW", "tracking": "untracked"});
    let _: Vec<PutArticle> = market.merchant.post("/v1/articles", &gift, None).await.unwrap();
    assert_eq!(refusal(place().await).1, "no_account");
    let names = json!({"names": ["carol", "dave"]});
    let opened: OpenedCustomers = market.mall.post("/v1/customers", &names, None).await.unwrap();
    assert_eq!(opened.count, 2);
    place().await.unwrap();
    let again = refusal(market.mall.post::<_, OpenedCustomers>("/v1/customers", &names, None).await);
    assert_eq!((again.0, again.1.as_str()), (409, "name_taken"));
    assert_eq!(refusal(market.alice.post::<_, OpenedCustomers>("/v1/customers", &names, None).await).0, 403);
}

#[tokio::test]
async fn the_last_one_is_sold_once() {
    let market = Market::new().await;
    let order = with(rice(1), json!({"customer": "bob"}));
    let list: Vec<_> = (0..50).map(|_| &order).collect();
    let sends = (0..8).map(|_| market.mall.post::<_, Vec<OrderResult>>("/v1/orders", &list, None));
    let all: Vec<_> =
        futures_util::future::join_all(sends).await.into_iter().flat_map(Result::unwrap).collect();
    let placed = all.iter().filter(|result| result.order.is_some()).count();
    assert_eq!((placed, all.len(), market.stock(1).await), (3, 400, (3, 3)));
    // The same list from two connections at once is the same orders.
    let teas: Vec<_> = (0..200)
        .map(|n| {
            json!({"id": format!("tea {n}"), "customer": "bob", "currency": "KRW", "total": "0",
            "lines": [{"article": 2, "quantity": 1}]})
        })
        .collect();
    let post = || market.mall.post::<_, Vec<OrderResult>>("/v1/orders", &teas, None);
    let (one, two) = tokio::join!(post(), post());
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn lines_of_json_are_answered_line_by_line() {
    let market = Market::new().await;
    let tea = json!({"customer": "bob", "currency": "KRW", "total": "5000", "lines": [{"article": 2, "quantity": 1}]});
    let dear = with(tea.clone(), json!({"total": "1"}));
    let body = format!("{tea}\n\n  {dear}\r\nnonsense\n{{\"currency\": \"KRW\"}}\n{tea}");
    let answers = market.stream(&body).await;
    let codes: Vec<_> = answers.iter().map(|answer| answer["code"].as_str().unwrap_or("placed")).collect();
    assert_eq!(codes, ["placed", "other_total", "invalid", "invalid", "placed"]);
    // More than fits anywhere at once, read back while it is written.
    let many = format!("{}\n", with(tea, json!({"total": "1"}))).repeat(20_000);
    let answers = market.stream(&many).await;
    assert_eq!(answers.len(), 20_000);
    assert!(answers.iter().all(|answer| answer["code"] == "other_total"));
    let answers = market.stream(&"x".repeat(200_000)).await;
    assert_eq!((answers.len(), &answers[0]["code"]), (1, &json!("too_large")));
    market.hub.json(&market.tokens[1], "POST", "/v1/orders/stream", "{}").await.expect(415, "invalid");
}

#[tokio::test]
async fn hostile_lists_are_refused_as_a_whole() {
    let market = Market::new().await;
    let order = r#"{"currency":"KRW","total":"0","lines":[]}"#;
    let long = format!("[{}{order}]", format!("{order},").repeat(10_000));
    for body in [
        "",
        "null",
        "7",
        "\"x\"",
        "[",
        "[null]",
        "[[]]",
        "{}",
        &"[".repeat(100_000),
        &long,
        r#"{"currency":"KRW","total":"0","lines":[{"article":-1,"quantity":1}]}"#,
        r#"{"currency":"KRW","total":"0","lines":[{"article":1,"quantity":-1}]}"#,
        r#"{"currency":"KRW","total":"0","lines":[{"article":1,"quantity":4294967296}]}"#,
        r#"{"currency":"KRW","total":0,"lines":[]}"#,
        r#"{"currency":"KRW","total":"0","lines":[],"price":"0"}"#,
        r#"{"customer":1.5,"currency":"KRW","total":"0","lines":[]}"#,
    ] {
        let answer = market.hub.json(&market.tokens[0], "POST", "/v1/orders", body).await;
        assert_eq!(answer.status, 400, "{} {answer:?}", &body[..body.len().min(80)]);
    }
    let huge = format!("[{order}{}", " ".repeat(5 << 20));
    market.hub.json(&market.tokens[0], "POST", "/v1/orders", &huge).await.expect(413, "too_large");
    let none: Vec<OrderResult> = market.alice.post("/v1/orders", &json!([]), None).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn articles_are_listed_page_by_page_and_stock_is_the_merchants() {
    let market = Market::new().await;
    let mut names = Vec::new();
    let mut path = "/v1/articles?merchant=shop&limit=2".to_owned();
    loop {
        let page: Articles = market.alice.get(&path).await.unwrap();
        assert!(page.articles.iter().all(|article| article.stock.is_none() && article.merchant == "shop"));
        names.extend(page.articles.into_iter().map(|article| article.sku));
        let Some(next) = page.next else { break };
        path = format!("/v1/articles?merchant=shop&limit=2&after={next}");
    }
    assert_eq!(names, ["rice", "tea", "book"]);
    let none: Articles = market.alice.get("/v1/articles?merchant=mall&after=4294967295").await.unwrap();
    assert_eq!((none.articles.len(), none.next), (0, None));
    let tea: Article = market.mall.get("/v1/articles/2").await.unwrap();
    assert_eq!(
        (tea.gtin.as_deref(), tea.stock.map(|shelves| shelves.len())),
        (Some("4006381333931"), Some(1))
    );
    assert_eq!(refusal(market.alice.get::<Article>("/v1/articles/9").await).1, "no_article");

    let rival = market.hub.client(&market.hub.open("rival", &["merchant"]).await);
    let steal = json!({"article": 1, "place": 1, "change": {"correct": -1}});
    assert_eq!(refusal(rival.post::<_, ()>("/v1/stock", &steal, None).await).0, 404);
    assert_eq!(refusal(market.mall.post::<_, ()>("/v1/stock", &steal, None).await).1, "wrong_role");
    // One wrong item, and nothing of the list is done.
    let list = json!([{"sku": "tea", "place": 1, "change": {"receive": 5}},
        {"sku": "rice", "place": 1, "change": {"move": {"quantity": 4, "to": 2}}}]);
    let (status, _, message) = refusal(market.merchant.post::<_, ()>("/v1/stock", &list, None).await);
    assert!(status == 400 && message.contains("number 2"), "{message}");
    assert_eq!(market.stock(2).await, (1000, 0));
    for (wrong, code) in [
        (json!({"sku": "", "price": "1", "currency": "KRW"}), "invalid"),
        (json!({"sku": "x", "price": "-1", "currency": "KRW"}), "invalid"),
        (json!({"sku": "x", "price": "1", "currency": "KRW", "gtin": "4006381333932"}), "invalid"),
        (json!({"sku": "x", "price": "1", "currency": "KRW", "tax_bp": 10_001}), "invalid"),
        (json!({"sku": "tea", "price": "1", "currency": "EUR"}), "invalid"),
    ] {
        let refused = market.merchant.post::<_, Vec<PutArticle>>("/v1/articles", &json!([wrong]), None).await;
        let (status, said, message) = refusal(refused);
        assert_eq!((status, said.as_str()), (400, code), "{wrong}: {message}");
    }
    let mine: Articles = market.merchant.get("/v1/articles?sku=tea").await.unwrap();
    let theirs: Articles = rival.get("/v1/articles?sku=tea&merchant=shop").await.unwrap();
    assert_eq!((mine.articles[0].id, theirs.articles[0].id), (ArticleId(2), ArticleId(2)));
    assert!(mine.articles[0].stock.is_some() && theirs.articles[0].stock.is_none());
    assert!(rival.get::<Articles>("/v1/articles?sku=tea").await.unwrap().articles.is_empty());
    let fees: MarketTerms = rival.get("/v1/market").await.unwrap();
    assert_eq!((fees.fee_to, fees.fee_bp), (Party::Name("operator".to_owned()), 500));
    let terms: ShopTerms = rival.get("/v1/shop?merchant=shop").await.unwrap();
    assert_eq!((terms.settle_at, terms.returns_s), (SettleAt::Placing, Some(14 * 24 * 3600)));
    let terms = json!({"fee_to": "operator", "tax_to": 999, "fee_bp": 1});
    assert_eq!(refusal(market.hub.operator().put::<_, ()>("/v1/market", &terms, None).await).0, 404);
    assert_eq!(refusal(market.merchant.put::<_, ()>("/v1/market", &terms, None).await).1, "wrong_role");
    let shop = json!({"settle_at": "shipping", "reservation_s": u64::MAX});
    assert_eq!(refusal(market.merchant.put::<_, ()>("/v1/shop", &shop, None).await).0, 400);
}

#[tokio::test]
async fn a_storefront_is_every_customer() {
    let market = Market::new().await;
    let ordered: OrderResult = market.alice.post("/v1/orders", &rice(1), None).await.unwrap();
    let path = format!("/v1/orders/{}", ordered.order.unwrap());
    let own: Order = market.alice.get(&path).await.unwrap();
    assert_eq!(market.mall.get::<Order>(&path).await.unwrap(), own);
    let list: Orders = market.mall.get("/v1/orders?customer=alice").await.unwrap();
    assert_eq!(list.orders, [own]);
    for step in ["allocate", "ship", "deliver"] {
        let body = if step == "deliver" { json!({"parcel": 1}) } else { json!({}) };
        let _: Value = market.merchant.post(&format!("{path}/{step}"), &body, None).await.unwrap();
    }
    let some = json!({"lines": [{"sku": "rice", "quantity": 1}]});
    let _: Value = market.mall.post(&format!("{path}/return"), &some, None).await.unwrap();
    assert_eq!(market.mall.get::<Order>(&path).await.unwrap().lines[0].to_return, 1);
    // Who is neither a storefront nor its customer or merchant sees nothing of it.
    let bob = market.hub.client(&market.hub.open("carol", &["merchant", "carrier"]).await);
    assert_eq!(refusal(bob.get::<Order>(&path).await).0, 404);
}
