//! Bounds and lists that are too large for a script: what one account and one worker can have at a time.

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{
    Action, Answer, ArticleSpec, Bounds, Command, CouponKind, CouponScope, CouponSpec, Done, OrderAnswer,
    OrderBatch, OrderLines, OrderRefusal, OrderSpec, OrderStep, Rate, Refusal, Request, Role, Shipment,
    State, Tracking,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Duration, Hash, JobId, OrderId, RequestId, RunId,
    WorkerId,
};

const ALICE: AccountId = AccountId(1);

/// Alice, who may do everything and has more than enough money.
fn opened() -> State {
    let mut state = State::new();
    let issue = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1 << 60) };
    let requests = [ask(State::SYSTEM, open("alice", &Role::ALL)), ask(State::SYSTEM, issue)];
    assert!(state.apply(BEGIN, &requests).answers.iter().all(Result::is_ok));
    state
}

#[test]
fn an_account_has_a_bounded_number_of_unfinished_jobs() {
    let mut state = opened();
    let spec = Arc::new(job("one of many", 1, Amount(1_000_000)));
    let submit = ask(ALICE, Command::SubmitJob(spec));
    let many = vec![submit.clone(); Bounds::JOBS as usize];
    assert!(state.apply(BEGIN, &many).answers.iter().all(Result::is_ok));
    let refused = &state.apply(BEGIN, std::slice::from_ref(&submit)).answers[0];
    assert!(matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "unfinished jobs"));
    let cancel = ask(ALICE, Command::CancelJob { job: JobId(7) });
    assert!(state.apply(BEGIN, &[cancel, submit]).answers.iter().all(Result::is_ok));
    state.sanity_check();
}

#[test]
fn a_worker_never_has_more_runs_than_it_can_name_in_one_message() {
    let mut state = opened();
    let mut spec = job("tiny tasks", 1_000_000, Amount(1 << 50));
    spec.limits.fuel.0 = 1_000;
    let requests = [
        ask(ALICE, Command::SubmitJob(Arc::new(spec))),
        ask(ALICE, Command::AttachWorker(machine(1, 4_096))),
    ];
    let mut applied = state.apply(BEGIN, &requests);
    for _ in 0..5 {
        let Some(Action::Assign { runs, .. }) = applied.effects.actions.first() else {
            panic!("no runs given: {:?}", applied.effects.actions)
        };
        let report = |run: RunId| {
            let mut report = success(run, Hash::ZERO);
            (report.fuel.0, report.wall.0) = (1_000, 1);
            report
        };
        let runs = runs.iter().map(|run| report(run.run)).collect();
        applied = state.apply(BEGIN, &[ask(ALICE, Command::Report { worker: WorkerId(1), runs })]);
        let running = state.worker(WorkerId(1)).expect("attached").running();
        assert!((4_096..=Bounds::RUNS).contains(&running), "{running} runs");
    }
    state.sanity_check();
}

const BOB: AccountId = AccountId(2);
const MALL: AccountId = AccountId(3);

/// Alice sells things that cost nothing; Bob buys, and the mall orders for him.
fn selling(articles: u32) -> State {
    let mut state = opened();
    let specs = (0..articles).map(|n| article(&n.to_string(), Currency::CREDIT)).collect();
    let requests = [
        ask(State::SYSTEM, open("bob", &[])),
        ask(State::SYSTEM, open("mall", &[Role::Storefront])),
        ask(ALICE, Command::PutArticles(specs)),
    ];
    assert!(state.apply(BEGIN, &requests).answers.iter().all(Result::is_ok));
    state
}

fn article(sku: &str, currency: Currency) -> ArticleSpec {
    ArticleSpec {
        sku: sku.to_owned(),
        gtin: 0,
        title_ko: "공짜".to_owned(),
        title_en: "free".to_owned(),
        category: "gifts".to_owned(),
        price: Amount::ZERO,
        currency,
        tax: Rate::new(0).expect("in range"),
        tracking: Tracking::Untracked,
        on_sale: true,
    }
}

/// Orders of all articles for somebody, so many of each.
fn orders(customer: AccountId, keys: std::ops::Range<u128>, articles: u32, quantity: u32) -> Command {
    let mut batch = OrderBatch::default();
    for key in keys {
        let order = OrderSpec {
            key: RequestId(key),
            customer,
            total: Amount::ZERO,
            currency: Currency::CREDIT,
            coupon: CouponId(0),
            place: None,
            pay_later: false,
            lines: OrderLines::default(),
        };
        batch.push(&order, (0..articles).map(|article| (ArticleId(article + 1), quantity)));
    }
    Command::PlaceOrders(batch)
}

fn one(state: &mut State, request: Request) -> Answer {
    state.apply(BEGIN, &[request]).answers.remove(0)
}

fn answers(answer: Answer) -> Vec<OrderAnswer> {
    match answer {
        Ok(Done::Orders(answers)) => answers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_remembered_of_a_caller_is_bounded_but_for_storefronts() {
    let mut state = selling(1);
    let most = Bounds::ORDERS_EACH as u128;
    for first in (0..most).step_by(50_000) {
        let placed = answers(one(&mut state, ask(BOB, orders(BOB, first..first + 50_000, 1, 1))));
        assert!(placed.iter().all(|answer| matches!(answer, OrderAnswer::Placed(_))));
    }
    let too_many = OrderAnswer::Refused(OrderRefusal::TooMany);
    assert_eq!(answers(one(&mut state, ask(BOB, orders(BOB, most..most + 2, 1, 1)))), [too_many, too_many]);
    // Nor does he fill memory with what he may not order at all.
    let not_his = answers(one(&mut state, ask(BOB, orders(MALL, most..most + 1, 1, 1))));
    assert_eq!(not_his, [OrderAnswer::Refused(OrderRefusal::NotYours)]);
    // What was answered before is answered the same, and storefronts have no such bound.
    let again = answers(one(&mut state, ask(BOB, orders(BOB, 7..8, 1, 1))));
    assert!(matches!(again[0], OrderAnswer::Placed(_)));
    let by_mall = answers(one(&mut state, ask(MALL, orders(BOB, most..most + 1, 1, 1))));
    assert_eq!(by_mall[0], OrderAnswer::Placed(OrderId(most as u64 + 1)), "what was refused has no number");
    let mut now = BEGIN;
    for _ in 0..Bounds::REQUEST_MEMORY.0 / Bounds::REQUEST_GAP.0 + 1 {
        now = now.after(Bounds::REQUEST_GAP);
        state.apply(now, &[]);
    }
    let later = state.apply(now, &[ask(BOB, orders(BOB, most..most + 1, 1, 1))]).answers.remove(0);
    assert!(matches!(answers(later)[0], OrderAnswer::Placed(_)), "after two days there is room again");
    state.sanity_check();
}

#[test]
fn storefronts_order_for_nobody_who_sells() {
    let mut state = selling(1);
    assert!(one(&mut state, ask(State::SYSTEM, open("carol", &[Role::Merchant]))).is_ok());
    let carol = AccountId(4);
    let refused = answers(one(&mut state, ask(MALL, orders(carol, 1..2, 1, 1))));
    assert_eq!(refused, [OrderAnswer::Refused(OrderRefusal::NotYours)]);
    assert!(matches!(
        answers(one(&mut state, ask(carol, orders(carol, 1..2, 1, 1))))[0],
        OrderAnswer::Placed(OrderId(1))
    ));
    let cancel = Command::StepOrder { order: OrderId(1), step: OrderStep::Cancel };
    assert_eq!(one(&mut state, ask(MALL, cancel)), Err(Refusal::NoOrder { order: OrderId(1) }));
}

#[test]
fn a_list_gives_a_new_article_one_currency() {
    let mut state = selling(1);
    let won = "KRW".parse().expect("known");
    let both = vec![article("new", won), article("new", Currency::CREDIT)];
    let refused = one(&mut state, ask(ALICE, Command::PutArticles(both))).expect_err("two currencies");
    assert!(refused.to_string().contains("number 2 of the list: currency"), "{refused}");
    let twice = vec![article("new", won), article("new", won)];
    assert_eq!(
        one(&mut state, ask(ALICE, Command::PutArticles(twice))),
        Ok(Done::Articles(vec![ArticleId(2), ArticleId(2)]))
    );
}

#[test]
fn the_parcels_of_an_order_have_a_bounded_number_of_lines() {
    let mut state = selling(255);
    assert!(matches!(
        answers(one(&mut state, ask(BOB, orders(BOB, 1..2, 255, 10))))[0],
        OrderAnswer::Placed(_)
    ));
    let step = |step| ask(ALICE, Command::StepOrder { order: OrderId(1), step });
    assert!(one(&mut state, step(OrderStep::Allocate)).is_ok());
    let lines: Vec<_> = (1..=255).map(|article| (ArticleId(article), 1)).collect();
    let shipment = Shipment { carrier: ALICE, tracking: String::new(), lines };
    for _ in 0..Bounds::PARCEL_LINES / 255 {
        assert!(one(&mut state, step(OrderStep::Ship(shipment.clone()))).is_ok());
    }
    let refused = one(&mut state, step(OrderStep::Ship(shipment))).expect_err("too many lines");
    assert!(refused.to_string().contains("1024 lines"), "{refused}");
    let rest = Shipment { carrier: ALICE, tracking: String::new(), lines: Vec::new() };
    assert!(one(&mut state, step(OrderStep::Ship(rest))).is_ok(), "what is left can go at once");
    state.sanity_check();
}

#[test]
fn a_shop_has_a_bounded_number_of_coupons() {
    let mut state = selling(1);
    let put = |codes: std::ops::Range<usize>| {
        let coupon = |code: usize| CouponSpec {
            code: code.to_string(),
            automatic: false,
            kind: CouponKind::Percent(Rate::new(100).expect("in range")),
            scope: CouponScope::All,
            starts: BEGIN,
            ends: BEGIN.after(Duration::from_secs(60)),
            uses: None,
            uses_each: None,
        };
        ask(ALICE, Command::PutCoupons(codes.map(coupon).collect()))
    };
    assert!(one(&mut state, put(0..Bounds::COUPONS_EACH)).is_ok());
    let more = Bounds::COUPONS_EACH..Bounds::COUPONS_EACH + 1;
    let refused = one(&mut state, put(more)).expect_err("one too many");
    assert!(refused.to_string().contains(&Bounds::COUPONS_EACH.to_string()), "{refused}");
    assert!(one(&mut state, put(7..8)).is_ok(), "what is there can still be changed");
    state.sanity_check();
}
