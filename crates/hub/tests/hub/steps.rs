//! The life of an order over HTTP, step by step: who may take which, what comes of it, and what is refused.

use crate::common::*;
use crate::market::{Market, rice, with};
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire;
use pumasi_api::wire::market::{Order, OrderResult, OrderStepped, StepResult};
use serde_json::{Value, json};

/// One order of a market where merchants are paid when they ship.
struct Life {
    market: Market,
    carrier: HubClient,
    order: String,
}

impl Life {
    /// It is placed by alice.
    async fn of(order: &Value) -> Life {
        let market = Market::new().await;
        let terms = json!({"settle_at": "shipping"});
        let () = market.merchant.put("/v1/shop", &terms, None).await.unwrap();
        let carrier = market.hub.client(&market.hub.open("post", &["carrier"]).await);
        let placed: OrderResult = market.alice.post("/v1/orders", order, None).await.unwrap();
        let order = format!("/v1/orders/{}", placed.order.unwrap());
        Life { market, carrier, order }
    }

    async fn step(&self, who: &HubClient, step: &str, body: Value) -> Result<OrderStepped, ClientError> {
        who.post(&format!("{}/{step}", self.order), &body, None).await
    }

    async fn refused(&self, who: &HubClient, step: &str, body: Value) -> wire::ErrorBody {
        match self.step(who, step, body).await {
            Err(ClientError::Refused { body, .. }) => *body,
            other => panic!("{step}: expected a refusal, got {other:?}"),
        }
    }

    async fn show(&self) -> Order {
        self.market.alice.get(&self.order).await.unwrap()
    }

    async fn state(&self) -> String {
        self.show().await.state
    }
}

/// Rice, two, and a book, which come to ₩75,000.
fn basket() -> Value {
    json!({"currency": "KRW", "total": "75000", "pay": "later", "lines": [
        {"merchant": "shop", "sku": "rice", "quantity": 2}, {"merchant": "shop", "sku": "book", "quantity": 1}]})
}

#[tokio::test]
async fn an_order_lives_from_placing_to_refund() {
    let life = Life::of(&basket()).await;
    let Life { market, carrier, .. } = &life;
    let (alice, shop) = (&market.alice, &market.merchant);
    assert_eq!(life.state().await, "placed");
    assert!(life.show().await.due_ms.is_some(), "it expires unless it is paid");
    life.step(alice, "pay", json!({})).await.unwrap();
    life.step(shop, "allocate", json!({})).await.unwrap();
    let rice =
        json!({"carrier": "post", "tracking": "EE123456789KR", "lines": [{"sku": "rice", "quantity": 2}]});
    let first = life.step(shop, "ship", rice).await.unwrap();
    assert_eq!(first.parcel.map(|parcel| parcel.0), Some(1));
    let order = life.show().await;
    assert_eq!((order.state.as_str(), order.paid_out.as_str()), ("partly_shipped", "60000"));
    assert_eq!((order.lines[0].shipped, order.lines[1].shipped), (2, 0));
    let parcel = &order.parcels[0];
    assert_eq!((parcel.carrier.as_str(), parcel.tracking.as_str()), ("post", "EE123456789KR"));
    assert_eq!((parcel.lines[0].article.map(|id| id.0), parcel.lines[0].quantity), (Some(1), 2));
    assert_eq!(market.stock(1).await, (1, 0));
    // The rest goes with the merchant's own car.
    assert_eq!(life.step(shop, "ship", json!({})).await.unwrap().parcel.map(|parcel| parcel.0), Some(2));
    assert_eq!(life.refused(carrier, "deliver", json!({"parcel": 2})).await.code, "not_yours");
    life.step(carrier, "scan", json!({"parcel": 1, "code": "EDG"})).await.unwrap();
    let parcel = life.show().await.parcels.remove(0);
    assert_eq!((parcel.scan.as_deref(), parcel.status.as_deref()), (Some("EDG"), Some("out_for_delivery")));
    life.step(carrier, "scan", json!({"parcel": 1, "code": "EMI"})).await.unwrap();
    assert!(life.show().await.parcels[0].delivered_ms.is_some());
    assert_eq!(life.state().await, "shipped");
    assert!(life.show().await.due_ms.is_some(), "the other parcel is taken to have arrived some day");
    life.step(shop, "deliver", json!({"parcel": 2})).await.unwrap();
    let order = life.show().await;
    assert_eq!((order.state.as_str(), order.settled), ("delivered", true));
    assert!(order.returns_until_ms > order.due_ms && order.parcels[1].delivered_ms.is_some());
    life.step(alice, "return", json!({"lines": [{"article": 1, "quantity": 1}]})).await.unwrap();
    assert_eq!(
        (life.state().await, life.show().await.lines[0].to_return),
        ("return_requested".to_owned(), 1)
    );
    life.step(shop, "accept-return", json!({"restock": true})).await.unwrap();
    assert_eq!((life.state().await, market.stock(1).await), ("returned".to_owned(), (2, 0)));
    let refund = life.step(shop, "refund", json!({"amount": "30000"})).await.unwrap();
    assert!(refund.transfer.is_some());
    let order = life.show().await;
    assert_eq!(
        (order.state.as_str(), order.refunded.as_str(), order.lines[0].returned),
        ("refunded", "30000", 1)
    );
    assert_eq!(market.won("alice").await, "55000");
    assert_balanced(&market.hub.operator()).await;
}

#[tokio::test]
async fn what_is_not_possible_says_what_is() {
    let life = Life::of(&basket()).await;
    let Life { market, carrier, .. } = &life;
    let (alice, shop) = (&market.alice, &market.merchant);
    let wrong = life.refused(shop, "ship", json!({})).await;
    assert_eq!((wrong.code.as_str(), wrong.state.as_deref()), ("wrong_state", Some("placed")));
    assert_eq!(wrong.possible, Some(vec!["cancel".to_owned()]));
    let wrong = life.refused(alice, "complete", json!({})).await;
    assert_eq!(wrong.possible, Some(vec!["pay".to_owned(), "cancel".to_owned()]));
    assert_eq!(life.refused(alice, "ship", json!({})).await.code, "not_yours");
    life.step(alice, "pay", json!({})).await.unwrap();
    life.step(shop, "allocate", json!({})).await.unwrap();
    let wrong = life.refused(alice, "cancel", json!({})).await;
    assert_eq!((wrong.state.as_deref(), wrong.possible), (Some("allocated"), Some(Vec::new())));
    for (step, body, code) in [
        ("ship", json!({"carrier": "nobody"}), "no_account"),
        ("ship", json!({"carrier": "alice"}), "invalid"),
        ("ship", json!({"tracking": "x".repeat(65)}), "invalid"),
        ("ship", json!({"lines": [{"sku": "coal", "quantity": 1}]}), "invalid"),
        ("ship", json!({"lines": [{"quantity": 1}]}), "invalid"),
        ("ship", json!({"lines": [{"sku": "rice", "article": 1, "quantity": 1}]}), "invalid"),
        ("ship", json!({"lines": [{"sku": "rice", "quantity": 0}]}), "invalid"),
        ("ship", json!({"lines": [{"sku": "rice", "quantity": 3}]}), "too_many"),
        ("ship", json!({"lines": [{"sku": "rice", "quantity": -1}]}), "invalid"),
        ("ship", json!({"box": 1}), "invalid"),
        ("ship", json!("all"), "invalid"),
        ("deliver", json!({"parcel": 1}), "wrong_state"),
        ("deliver", json!({}), "invalid"),
        ("refund", json!({"amount": "1"}), "wrong_state"),
        ("refund", json!({"amount": "1.5"}), "invalid"),
    ] {
        assert_eq!(life.refused(shop, step, body.clone()).await.code, code, "{step} {body}");
    }
    life.step(shop, "ship", json!({"carrier": "post"})).await.unwrap();
    for (who, step, body, status) in [
        (shop, "deliver", json!({"parcel": 0}), (404, "no_parcel")),
        (carrier, "deliver", json!({"parcel": 2}), (404, "no_parcel")),
        (shop, "scan", json!({"parcel": 1, "code": "EMC"}), (403, "not_yours")),
        (carrier, "scan", json!({"parcel": 1, "code": "EMQ"}), (400, "invalid")),
        (shop, "refund", json!({"amount": "75001"}), (409, "refund_too_large")),
        (shop, "refund", json!({"amount": "0"}), (400, "bad_amount")),
        (shop, "refund", json!({"amount": "-1"}), (400, "bad_amount")),
    ] {
        let (said, code, _) = refusal(life.step(who, step, body.clone()).await);
        assert_eq!((said, code.as_str()), status, "{step} {body}");
    }
    life.step(carrier, "deliver", json!({"parcel": 1})).await.unwrap();
    let again = refusal(life.step(carrier, "deliver", json!({"parcel": 1})).await);
    assert_eq!((again.0, again.1.as_str()), (409, "wrong_state"));
    // The merchant spent what it got.
    let money = json!({"to": "bob", "currency": "KRW", "amount": market.won("shop").await});
    let _: wire::Transferred = shop.post("/v1/transfers", &money, None).await.unwrap();
    let poor = refusal(life.step(shop, "refund", json!({"amount": "75000"})).await);
    assert_eq!((poor.0, poor.1.as_str()), (409, "refund_not_covered"));
}

#[tokio::test]
async fn orders_of_others_cannot_be_touched_and_a_step_is_taken_once() {
    let life = Life::of(&with(rice(1), json!({"pay": "later"}))).await;
    let market = &life.market;
    let rival = market.hub.client(&market.hub.open("rival", &["merchant"]).await);
    for step in ["pay", "allocate", "complete", "cancel", "refuse-return", "ship", "return", "accept-return"]
    {
        let (status, _, _) = refusal(life.step(&rival, step, json!({})).await);
        assert!(matches!(status, 403 | 404), "{step}: {status}");
        let path = format!("/v1/orders/99/{step}");
        assert_eq!(
            refusal(rival.post::<_, OrderStepped>(&path, &json!({}), None).await).1,
            "no_order",
            "{step}"
        );
    }
    let refund = json!({"amount": "1"});
    assert_eq!(refusal(life.step(&rival, "refund", refund).await).1, "no_order");
    let named = json!({"lines": [{"sku": "rice", "quantity": 1}]});
    assert_eq!(refusal(life.step(&rival, "ship", named).await).1, "no_order");
    assert_eq!(refusal(life.step(&market.alice, "fly", json!({})).await).0, 404);
    // A storefront acts for every customer; the same request twice is one step.
    let key = Some(HubClient::new_request_id());
    let path = format!("{}/pay", life.order);
    for _ in 0..2 {
        let _: OrderStepped = market.mall.post(&path, &json!({}), key).await.unwrap();
    }
    assert_eq!(refusal(market.mall.post::<_, OrderStepped>(&path, &json!({}), None).await).1, "wrong_state");
    life.step(&market.alice, "cancel", json!({})).await.unwrap();
    assert_eq!((life.state().await.as_str(), market.won("alice").await.as_str()), ("cancelled", "100000"));
    assert_eq!(market.stock(1).await, (3, 0));
}

#[tokio::test]
async fn a_list_of_steps_is_taken_one_after_another_and_each_on_its_own() {
    let life = Life::of(&basket()).await;
    let Life { market, carrier, .. } = &life;
    life.step(&market.alice, "pay", json!({})).await.unwrap();
    let steps = json!([
        {"order": 1, "step": "allocate"},
        {"order": 1, "step": "ship", "carrier": "post", "lines": [{"sku": "rice", "quantity": 2}]},
        {"order": 999, "step": "allocate"},
        {"order": 1, "step": "ship", "lines": [{"sku": "moon", "quantity": 1}]},
        {"order": 1, "step": "ship"},
        {"order": 1, "step": "complete"},
        {"order": 1, "step": "refund", "amount": "1000"},
    ]);
    let key = Some(pumasi_types::RequestId(7));
    let results: Vec<StepResult> = market.merchant.post("/v1/orders/steps", &steps, key).await.unwrap();
    let codes: Vec<_> =
        results.iter().map(|result| result.error.as_ref().map(|error| error.code.as_str())).collect();
    assert_eq!(
        codes,
        [None, None, Some("no_order"), Some("invalid"), None, Some("not_yours"), None],
        "{results:?}"
    );
    let parcels: Vec<_> = results.iter().map(|result| result.stepped.parcel.map(|parcel| parcel.0)).collect();
    assert_eq!(parcels, [None, Some(1), None, None, Some(2), None, None]);
    assert!(results[6].stepped.transfer.is_some());
    // Sent again, nothing is done twice.
    let again: Vec<StepResult> = market.merchant.post("/v1/orders/steps", &steps, key).await.unwrap();
    assert_eq!(again, results);
    let order = life.show().await;
    assert_eq!((order.state.as_str(), order.parcels.len(), order.refunded.as_str()), ("shipped", 2, "1000"));
    let scans = json!([{"order": 1, "step": "scan", "parcel": 1, "code": "EMI"}]);
    let scanned: Vec<StepResult> = carrier.post("/v1/orders/steps", &scans, None).await.unwrap();
    assert_eq!(scanned[0].error, None);
    for (bad, says) in [
        (json!([{"order": 1, "step": "fly"}]), "unknown variant `fly`"),
        (json!([{"order": 1, "step": "ship", "wings": 2}]), "unknown field `wings`"),
        (json!([{"order": 1}]), "step"),
        (json!(vec![json!({"order": 1, "step": "pay"}); 1_001]), "at most 1000 steps"),
    ] {
        let refused = market.merchant.post::<_, Vec<StepResult>>("/v1/orders/steps", &bad, None).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}
