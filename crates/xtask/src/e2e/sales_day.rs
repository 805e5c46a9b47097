//! A small sales day of real data: the hub and a slow market in another language come to the same; and when somebody
//! tampers with one balance, that is found.

use pumasi_api::wire;
use serde_json::json;

use super::program;
use crate::pool::block_on;
use crate::sales_day::{Options, SalesDay};

#[test]
fn a_second_market_comes_to_the_same_and_notices_a_changed_balance() {
    let mut day = SalesDay::open(program(), &Options::small()).expect("the market opens");
    day.play().expect("the day is played");
    let verdict = day.judge().expect("both markets agree");
    assert!(verdict.contains("are equal"), "{verdict}");
    // One won that nobody told the second market of.
    let operator = day.pool.client(&day.pool.operator).expect("a client");
    let won = json!({"to": "fees", "currency": "KRW", "amount": "1"});
    let _: wire::Transferred = block_on(operator.post("/v1/issue", &won, None)).expect("it is issued");
    let verdict = day.judge().expect_err("that won is too many").to_string();
    assert!(
        verdict.contains("available and held of fees") && verdict.contains("2 disagreements"),
        "{verdict}"
    );
}
