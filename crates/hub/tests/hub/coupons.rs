//! Coupons and promotions, over HTTP and Arrow Flight: put, listed, used, used up by a race, given back.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_flight::FlightDescriptor;
use arrow_flight::encode::FlightDataEncoderBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::wire::coupons::{Coupons, PutCoupon};
use pumasi_api::wire::market::{Order, OrderResult};
use pumasi_types::CouponId;
use serde_json::{Value, json};

use crate::common::*;
use crate::flight::exchange;
use crate::market::{Market, rice, with};

/// In so many hours.
fn in_hours(hours: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now + Duration::from_secs(hours * 3_600)).as_millis().try_into().unwrap()
}

fn tenth(code: &str) -> Value {
    json!({"code": code, "kind": {"percent_bp": 1000}, "ends_ms": in_hours(1)})
}

impl Market {
    async fn put(&self, coupons: &Value) -> Vec<PutCoupon> {
        self.merchant.put("/v1/coupons", coupons, None).await.unwrap()
    }

    async fn coupons(&self, query: &str) -> Coupons {
        self.merchant.get(&format!("/v1/coupons?{query}")).await.unwrap()
    }

    /// Alice orders rice with a coupon; her order, or why there is none.
    async fn rice_with(&self, code: &str, total: &str) -> Result<Order, (u16, String)> {
        let order = with(rice(1), json!({"coupon": code, "total": total}));
        match self.alice.post::<_, OrderResult>("/v1/orders", &order, None).await {
            Ok(placed) => Ok(self.alice.get(&format!("/v1/orders/{}", placed.order.unwrap())).await.unwrap()),
            refused => {
                let (status, code, _) = refusal(refused);
                Err((status, code))
            }
        }
    }
}

#[tokio::test]
async fn a_customer_names_a_coupon_and_its_merchant_sees_how_often() {
    let market = Market::new().await;
    assert_eq!(market.rice_with("ten", "27000").await, Err((404, "no_coupon".to_owned())));
    let amount = json!({"amount": {"currency": "KRW", "off": "500", "at_least": "2000"}});
    let third = json!({"buy_x_get_y": {"buy": 2, "free": 1}});
    let put = json!([
        tenth("ten"),
        {"code": "less", "kind": amount, "scope": {"category": "food"}, "ends_ms": in_hours(1), "uses": 7},
        {"code": "teas", "automatic": true, "kind": third, "scope": {"articles": [2]}, "ends_ms": in_hours(1)},
        with(tenth("later"), json!({"starts_ms": in_hours(1), "ends_ms": in_hours(2)})),
    ]);
    let ids = market.put(&put).await;
    assert_eq!(ids.iter().map(|put| put.coupon.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let order = market.rice_with("ten", "27000").await.unwrap();
    assert_eq!((order.total.as_str(), order.discount.as_deref()), ("27000", Some("3000")));
    // What is paid contains the tax: 27,000 / 11.
    assert_eq!((order.tax.as_str(), order.fee.as_str(), order.coupon), ("2454", "1350", Some(CouponId(1))));
    let order = market.rice_with("less", "29500").await.unwrap();
    assert_eq!(order.discount.as_deref(), Some("500"));
    for (code, total, expected) in [
        ("ten", "30000", (409, "other_total")),
        ("later", "27000", (409, "coupon_not_yet")),
        ("teas", "27000", (404, "no_coupon")),
        ("TEN", "27000", (404, "no_coupon")),
    ] {
        let (status, reason) = market.rice_with(code, total).await.unwrap_err();
        assert_eq!((status, reason.as_str()), expected, "{code}");
    }
    // A promotion applies by itself.
    let teas = json!({"currency": "KRW", "total": "10000", "lines": [{"article": 2, "quantity": 3}]});
    market.alice.post::<_, OrderResult>("/v1/orders", &teas, None).await.unwrap();

    let page = market.coupons("limit=3").await;
    let used: Vec<_> = page.coupons.iter().map(|one| (one.is.code.as_str(), one.used, one.is.uses)).collect();
    assert_eq!(used, [("later", 0, None), ("less", 1, Some(7)), ("teas", 1, None)]);
    assert_eq!(page.next.as_deref(), Some("teas"));
    let rest = market.coupons("after=teas").await;
    assert_eq!((rest.coupons.len(), rest.coupons[0].id, rest.next), (1, CouponId(1), None));
    // What was read can be put again, and changes nothing.
    let again: Vec<_> = page.coupons.iter().map(|one| &one.is).collect();
    market.put(&json!(again)).await;
    assert_eq!(market.coupons("limit=3").await, page);
    let seen: Coupons = market.mall.get("/v1/coupons?merchant=shop&limit=3").await.unwrap();
    assert_eq!(seen, page);
    assert_eq!(refusal(market.alice.get::<Coupons>("/v1/coupons?merchant=shop").await).0, 403);
    assert_eq!(
        refusal(market.alice.put::<_, Vec<PutCoupon>>("/v1/coupons", &tenth("mine"), None).await).0,
        403
    );
    assert_balanced(&market.hub.operator()).await;
}

#[tokio::test]
async fn what_is_no_coupon_is_refused_by_its_number() {
    let market = Market::new().await;
    let kind = |kind: Value| with(tenth("x"), json!({ "kind": kind }));
    let amount = |currency: &str, off: &str| kind(json!({"amount": {"currency": currency, "off": off}}));
    for bad in [
        kind(json!({"percent_bp": 0})),
        kind(json!({"percent_bp": 10_001})),
        kind(json!({"buy_x_get_y": {"buy": 1, "free": 0}})),
        amount("KRW", "0"),
        amount("KRW", "-5"),
        amount("KRW", "0.5"),
        amount("ABC", "5"),
        with(tenth(""), json!({})),
        with(tenth("x"), json!({"uses": 0})),
        with(tenth("x"), json!({"starts_ms": in_hours(2)})),
        with(tenth("x"), json!({"ends_ms": u64::MAX})),
        with(tenth("x"), json!({"scope": {"articles": []}})),
        with(tenth("x"), json!({"scope": {"category": ""}})),
    ] {
        let list = json!([tenth("good"), bad]);
        let answer = market.merchant.put::<_, Vec<PutCoupon>>("/v1/coupons", &list, None).await;
        let (status, code, message) = refusal(answer);
        assert_eq!((status, code.as_str()), (400, "invalid"), "{bad}");
        assert!(message.starts_with("number 2 of the list: "), "{message}");
    }
    let strange = with(tenth("x"), json!({"scope": {"articles": [99]}}));
    let answer = market.merchant.put::<_, Vec<PutCoupon>>("/v1/coupons", &strange, None).await;
    assert_eq!(refusal(answer).1, "no_article");
    assert_eq!(market.coupons("").await.coupons, [], "all of a list or none");
}

#[tokio::test]
async fn the_last_use_is_had_once_and_comes_back() {
    let market = Market::new().await;
    market.put(&with(tenth("last"), json!({"uses": 1}))).await;
    let order = json!({"customer": "bob", "currency": "KRW", "total": "4500", "coupon": "last",
        "lines": [{"article": 2, "quantity": 1}]});
    let list: Vec<_> = (0..50).map(|_| &order).collect();
    let race = || async {
        let sends = (0..8).map(|_| market.mall.post::<_, Vec<OrderResult>>("/v1/orders", &list, None));
        let all = futures_util::future::join_all(sends).await;
        let (placed, refused): (Vec<_>, Vec<_>) =
            all.into_iter().flat_map(Result::unwrap).partition(|result| result.order.is_some());
        assert_eq!((placed.len(), refused.len()), (1, 399));
        assert!(refused.iter().all(|result| result.code.as_deref() == Some("coupon_used_up")));
        assert_eq!(refused[0].message.as_deref(), Some("coupon 'last' is used up"));
        placed[0].order.unwrap()
    };
    let first = race().await;
    let cancel = format!("/v1/orders/{first}/cancel");
    let _: Value = market.mall.post(&cancel, &json!({}), None).await.unwrap();
    assert_eq!(market.coupons("").await.coupons[0].used, 0);
    let second = race().await;
    assert!(second > first);
    assert_eq!((market.coupons("").await.coupons[0].used, market.won("bob").await.as_str()), (1, "95500"));
    let bobs: Order = market.mall.get(&format!("/v1/orders/{second}")).await.unwrap();
    assert_eq!(bobs.discount.as_deref(), Some("500"));
    let Market { hub, merchant: _, mall: _, alice: _, tokens } = market;
    let hub = hub.restarted().await;
    let mall = hub.client(&tokens[1]);
    let again: Vec<OrderResult> = mall.post("/v1/orders", &list, None).await.unwrap();
    assert!(again.iter().all(|result| result.code.as_deref() == Some("coupon_used_up")));
    assert_balanced(&hub.operator()).await;
}

#[tokio::test]
async fn a_table_names_a_coupon_by_its_number() {
    let market = Market::new().await;
    let below = json!({"amount": {"currency": "KRW", "off": "500", "at_least": "20000"}});
    market.put(&json!([tenth("ten"), with(tenth("below"), json!({ "kind": below }))])).await;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
        ("total", Arc::new(Int64Array::from(vec![4_500, 5_000, 5_000, 4_500]))),
        ("currency", Arc::new(StringArray::from(vec!["KRW"; 4]))),
        ("article", Arc::new(UInt32Array::from(vec![2; 4]))),
        ("quantity", Arc::new(UInt32Array::from(vec![1; 4]))),
        ("coupon", Arc::new(UInt32Array::from(vec![Some(1), None, Some(9), Some(2)]))),
    ];
    let table = RecordBatch::try_from_iter(columns).unwrap();
    let descriptor = FlightDescriptor::new_path(vec!["orders".to_owned()]);
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
    let messages: Vec<_> = encoder.build(stream::iter([Ok(table)])).try_collect().await.unwrap();
    let mut answers = exchange(&market.alice, stream::iter(messages)).await.unwrap();
    let answer = answers.next().await.unwrap().unwrap();
    let codes: Vec<_> = answer.column_by_name("code").unwrap().as_string::<i32>().iter().collect();
    assert_eq!(codes, [None, None, Some("no_coupon"), Some("coupon_below")]);
    let detail = answer.column_by_name("detail").unwrap().as_primitive::<Int64Type>();
    assert_eq!((detail.value(2), detail.value(3)), (9, 20_000));
    assert_eq!(market.coupons("").await.coupons[1].used, 1);
}
