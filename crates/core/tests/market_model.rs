//! The market against a model as plain as can be: what people own and ordered in lists and maps, sums of 128 bits.
//!
//! The model says which reasons there are to refuse something, not which one is found first; whatever has no reason
//! must be done.

#[path = "common/mod.rs"]
mod common;
#[path = "market_model/events.rs"]
mod events;
#[path = "common/kept.rs"]
mod kept;
#[path = "market_model/model.rs"]
mod model;

use std::collections::BTreeMap;

use common::{BEGIN, ask, open};
use kept::Kept;
use model::{Kind, Model, Scope, State as At};
use proptest::prelude::*;
use pumasi_core::{
    Answer, ArchivedOrder, ArticleSpec, Cause, Command, CouponKind, CouponScope, CouponSpec, Done,
    MarketTerms, OrderAnswer, OrderBatch, OrderLines, OrderSpec, OrderState, OrderStep, Rate, Request, Role,
    STATE_VERSION, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking, Transfer, decode_requests,
    decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Duration, OrderId, ParcelId, PlaceId, RequestId, Time,
    TransferId,
};

/// Who there is, from account 1 on; two sell, two carry, one orders for others, the rest buy and collect.
const ROLES: [&[Role]; 8] = [
    &[Role::Merchant],
    &[Role::Merchant],
    &[Role::Carrier],
    &[Role::Carrier],
    &[Role::Storefront],
    &[],
    &[],
    &[],
];
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug)]
enum Step {
    Money {
        from: u64,
        to: u64,
        currency: Currency,
        amount: i64,
    },
    Terms {
        fee_to: u64,
        tax_to: u64,
        fee: u16,
    },
    Shop {
        merchant: u64,
        at_once: bool,
        seconds: [u64; 3],
    },
    Article {
        merchant: u64,
        sku: u8,
        category: &'static str,
        price: i64,
        currency: Currency,
        tax: u16,
        tracking: Tracking,
        on_sale: bool,
    },
    Coupon {
        merchant: u64,
        code: u8,
        automatic: bool,
        kind: Kind,
        scope: Scope,
        /// From when until when, in seconds from a day ago.
        time: (u64, u64),
        uses: [Option<u32>; 2],
    },
    Stock {
        merchant: u64,
        article: u32,
        place: u32,
        change: StockChange,
    },
    Orders {
        caller: u64,
        orders: Vec<Wish>,
    },
    /// A step of an order: one that it is time for, or any.
    Go {
        order: u64,
        timely: bool,
        by: u64,
        way: u8,
        lines: Vec<(u8, u32)>,
        with: u64,
        amount: i64,
    },
    Wait {
        seconds: u64,
    },
    /// Two days with an entry every minute.
    Live,
    /// So many orders of nothing, so that those before are not the newest.
    Crowd,
}

/// An order as somebody wants it.
#[derive(Clone, Debug)]
struct Wish {
    /// The same as one of the last orders, or one that is new.
    again: Option<u8>,
    customer: u64,
    currency: Currency,
    lines: Vec<(u32, u32)>,
    place: u32,
    pay_later: bool,
    coupon: u32,
    /// How far the total is from the right one.
    off_by: i64,
}

/// The two sides, and what led there.
struct Trial {
    state: State,
    model: Model,
    log: Vec<(Time, Vec<u8>)>,
    kept: Kept,
    crowds: u128,
}

impl Trial {
    fn new() -> Trial {
        let model = Model::new(BEGIN, ROLES.len() as u64);
        let mut trial = Trial { state: State::new(), model, log: Vec::new(), kept: Kept::new(), crowds: 0 };
        for (i, roles) in ROLES.iter().enumerate() {
            let answer = trial.ask(State::SYSTEM, open(&format!("account-{}", i + 1), roles));
            assert!(answer.is_ok());
        }
        trial
    }

    fn ask(&mut self, caller: AccountId, command: Command) -> Answer {
        let mut payload = Vec::new();
        encode_request(&mut payload, &ask(caller, command));
        let requests = decode_requests(&payload).expect("encoded above");
        let before = self.state.clone();
        let mut applied = self.state.apply(self.model.now, &requests);
        let answer = applied.answers.remove(0);
        if answer.is_err() && before.next_due().is_none_or(|at| at > self.model.now) {
            assert!(before == self.state, "a refusal changed the state: {answer:?}");
        }
        self.kept.take(&applied.effects, &self.state);
        events::of_command(&requests[0].command, &answer, &applied.effects.events, &self.state);
        self.log.push((self.model.now, payload));
        answer
    }

    fn pass(&mut self, span: Duration) {
        self.model.pass(span);
        let effects = self.state.apply(self.model.now, &[]).effects;
        self.kept.take(&effects, &self.state);
        self.log.push((self.model.now, Vec::new()));
    }

    fn take(&mut self, step: &Step) {
        if !matches!(step, Step::Wait { .. } | Step::Live) {
            // An entry of the same time does what is due since the one before.
            self.model.pass(Duration(0));
        }
        match step {
            Step::Wait { seconds } => self.pass(Duration::from_secs(*seconds)),
            Step::Live => (0..48 * 60).for_each(|_| self.pass(MINUTE)),
            Step::Crowd => self.crowd(),
            Step::Orders { caller, orders } => self.order(*caller, orders),
            Step::Go { .. } => self.go(step),
            _ => {
                let (caller, command, reasons) = self.prepare(step);
                let answer = self.ask(AccountId(caller), command);
                agree(&answer, &reasons, step);
            }
        }
    }

    /// What merchants and operators do.
    fn prepare(&mut self, step: &Step) -> (u64, Command, Vec<&'static str>) {
        let model = &mut self.model;
        match *step {
            Step::Money { from, to, currency, amount } => {
                let (reasons, amount) = (model.pay(from, to, currency, amount), Amount(amount));
                let to = AccountId(to);
                let issue = Command::Issue { to, currency, amount };
                (from, if from == 0 { issue } else { Command::Transfer { to, currency, amount } }, reasons)
            }
            Step::Terms { fee_to, tax_to, fee } => {
                let reasons = model.set_terms(fee_to, tax_to, fee);
                let fee = Rate::new(fee).expect("in range");
                let terms = MarketTerms { fee_to: AccountId(fee_to), tax_to: AccountId(tax_to), fee };
                (0, Command::SetMarket(terms), reasons)
            }
            Step::Shop { merchant, at_once, seconds } => {
                let reasons = model.set_shop(merchant, at_once, seconds);
                let [reservation, completion, returns] = seconds.map(Duration::from_secs);
                let settle_at = if at_once { SettleAt::Placing } else { SettleAt::Shipping };
                let terms = ShopTerms { settle_at, reservation, completion, returns };
                (merchant, Command::SetShop(terms), reasons)
            }
            Step::Article { merchant, sku, category, price, currency, tax, tracking, on_sale } => {
                let places = Vec::new();
                let article = model::Article {
                    merchant,
                    sku,
                    category,
                    price,
                    currency,
                    tax,
                    tracking,
                    on_sale,
                    places,
                };
                let reasons = model.put(article);
                let spec = ArticleSpec {
                    sku: format!("sku-{sku}"),
                    gtin: 0,
                    title_ko: String::new(),
                    title_en: String::new(),
                    category: category.to_owned(),
                    price: Amount(price),
                    currency,
                    tax: Rate::new(tax).expect("in range"),
                    tracking,
                    on_sale,
                };
                (merchant, Command::PutArticles(vec![spec]), reasons)
            }
            Step::Coupon { .. } => self.prepare_coupon(step),
            Step::Stock { merchant, article, place, change } => {
                let reasons = model.change(merchant, article, place, change);
                (merchant, Command::ChangeStock(vec![(ArticleId(article), PlaceId(place), change)]), reasons)
            }
            _ => unreachable!("these have their own ways"),
        }
    }

    fn prepare_coupon(&mut self, step: &Step) -> (u64, Command, Vec<&'static str>) {
        let Step::Coupon { merchant, code, automatic, kind, scope, time, uses } = step.clone() else {
            unreachable!("it is one")
        };
        let yesterday = Time(self.model.now.0 - DAY.0);
        let [starts, ends] = [time.0, time.1].map(|at| yesterday.after(Duration::from_secs(at)));
        let [uses, each] = uses;
        let spec = CouponSpec {
            code: format!("code-{code}"),
            automatic,
            kind: match kind {
                Kind::Percent(parts) => CouponKind::Percent(Rate::new(parts).expect("in range")),
                Kind::Amount(currency, off, at_least) => {
                    CouponKind::Amount { currency, off: Amount(off), at_least: Amount(at_least) }
                }
                Kind::Free(buy, free) => CouponKind::BuyXGetY { buy, free },
            },
            scope: match &scope {
                Scope::All => CouponScope::All,
                Scope::Category(category) => CouponScope::Category((*category).to_owned()),
                Scope::Articles(ids) => CouponScope::Articles(ids.iter().copied().map(ArticleId).collect()),
            },
            starts,
            ends,
            uses,
            uses_each: each,
        };
        let spent = Vec::new();
        let coupon =
            model::Coupon { merchant, code, automatic, kind, scope, starts, ends, uses, each, spent };
        (merchant, Command::PutCoupons(vec![spec]), self.model.put_coupon(coupon))
    }

    fn crowd(&mut self) {
        let mut batch = OrderBatch::default();
        for _ in 0..1_100 {
            self.crowds += 1;
            let order = OrderSpec {
                key: RequestId(1_000_000 + self.crowds),
                customer: AccountId(6),
                total: Amount(0),
                currency: Currency::CREDIT,
                coupon: CouponId(0),
                place: None,
                pay_later: false,
                lines: OrderLines::default(),
            };
            batch.push(&order, [(ArticleId(0), 1)].into_iter());
            self.model.last_order += 1;
        }
        assert!(self.ask(AccountId(6), Command::PlaceOrders(batch)).is_ok());
    }

    fn order(&mut self, caller: u64, wishes: &[Wish]) {
        let mut batch = OrderBatch::default();
        let mut expected = Vec::new();
        for wish in wishes {
            let key = self.model.key(caller, wish.again);
            let mut order = model::Wanted {
                caller,
                customer: wish.customer,
                currency: wish.currency,
                lines: wish.lines.clone(),
                place: wish.place,
                pay_later: wish.pay_later,
                total: 0,
                coupon: wish.coupon,
            };
            let total = self.model.price(&order).checked_add(wish.off_by.into());
            order.total = total.and_then(|total| i64::try_from(total).ok()).unwrap_or(i64::MAX);
            let spec = OrderSpec {
                key: RequestId(key),
                customer: AccountId(order.customer),
                total: Amount(order.total),
                currency: order.currency,
                coupon: CouponId(order.coupon),
                place: Some(PlaceId(order.place)).filter(|place| place.0 > 0),
                pay_later: order.pay_later,
                lines: OrderLines::default(),
            };
            batch.push(&spec, order.lines.iter().map(|(article, quantity)| (ArticleId(*article), *quantity)));
            expected.push((key, order));
        }
        let Ok(Done::Orders(answers)) = self.ask(AccountId(caller), Command::PlaceOrders(batch)) else {
            panic!("orders are answered one by one")
        };
        for ((key, order), answer) in expected.into_iter().zip(answers) {
            let answer = match answer {
                OrderAnswer::Placed(id) => Ok(id.0),
                OrderAnswer::Refused(refusal) => Err(refusal.code()),
            };
            self.model.order(key, order, answer);
        }
    }

    fn go(&mut self, step: &Step) {
        let Step::Go { order, timely, by, way, lines, with, amount } = step else { return };
        let id = self.model.pick(*order);
        let (by, name) = self.model.way(id, *timely, *by, *way);
        let lines = self.model.lines_of(id, lines);
        let step_of = |lines: Vec<(u32, u32)>| -> Vec<(ArticleId, u32)> {
            lines.into_iter().map(|(article, quantity)| (ArticleId(article), quantity)).collect()
        };
        let mut wanted =
            model::Way { by, name, lines, carrier: *with, parcel: *with as u32 % 4, amount: *amount };
        if *timely {
            self.model.make_timely(id, &mut wanted);
        }
        let lines = step_of(wanted.lines.clone());
        let order_step = match name {
            "pay" => OrderStep::Pay,
            "allocate" => OrderStep::Allocate,
            "ship" => {
                let carrier = AccountId(wanted.carrier);
                OrderStep::Ship(Shipment { carrier, tracking: "x".to_owned(), lines })
            }
            "deliver" => OrderStep::Deliver { parcel: ParcelId(wanted.parcel) },
            "scan" => OrderStep::Scan { parcel: ParcelId(wanted.parcel), code: wanted.code() },
            "complete" => OrderStep::Complete,
            "cancel" => OrderStep::Cancel,
            "ask" => OrderStep::RequestReturn { lines },
            "accept" => OrderStep::AcceptReturn { lines, restock: wanted.restocks() },
            "refuse" => OrderStep::RefuseReturn,
            _ => OrderStep::Refund { amount: Amount(wanted.amount) },
        };
        let answer = self.ask(AccountId(by), Command::StepOrder { order: OrderId(id), step: order_step });
        let is_gone = answer.as_ref().is_err_and(|refusal| refusal.code() == "no_order");
        if is_gone && self.model.may_be_gone(id) {
            return self.model.forget(id);
        }
        let reasons = self.model.go(id, &wanted);
        agree(&answer, &reasons, step);
    }

    /// Both sides say the same of everything.
    fn compare(&self) {
        self.state.sanity_check();
        for account in 0..=ROLES.len() as u64 {
            for currency in currencies() {
                let found =
                    self.state.ledger().account(AccountId(account)).expect("opened").balance(currency);
                let found = (i128::from(found.available.0), i128::from(found.held.0));
                assert_eq!(found, self.model.balance(account, currency), "account {account} in {currency}");
            }
        }
        for (id, article, _) in self.state.market().articles() {
            let found =
                article.shelves().map(|shelf| (shelf.place.0, shelf.on_hand.into(), shelf.reserved.into()));
            assert_eq!(found.collect::<Vec<_>>(), self.model.article(id.0).places, "article {id}");
        }
        self.compare_coupons();
        for (id, order) in &self.model.orders {
            let in_memory = self.state.market().view(OrderId(*id));
            assert!(in_memory.is_some() || self.model.may_be_gone(*id), "order {id} is gone");
            let archived = self.kept.archived(OrderId(*id));
            let view = in_memory.or_else(|| archived.as_ref().map(ArchivedOrder::view));
            let view = view.expect("what memory has not any more is in the archive");
            assert_eq!(state_of(view.order.state), order.state, "order {id}");
            assert_eq!(i128::from(view.order.total.0), order.total, "order {id}");
            assert_eq!(i128::from(view.settled().0), order.settled.0, "order {id}");
            assert_eq!(i128::from(view.refunded().0), order.refunded.0, "order {id}");
            assert_eq!(i128::from(view.held().0), order.held, "order {id}");
            assert_eq!(view.due, order.due, "order {id}");
            assert_eq!(view.order.coupon.0, order.coupon, "order {id}");
            let gross: i128 = order.lines.iter().map(|line| line.price * i128::from(line.quantity)).sum();
            assert_eq!(i128::from(view.discount().0), gross - order.total, "order {id}");
            // The parcels of what was completed long ago are in the archive.
            let before = archived.as_ref().filter(|_| view.parcels().is_empty());
            let found = before.map_or(view.parcels(), |archived| archived.view().parcels()).iter();
            let parcels = found.map(|parcel| (parcel.carrier.0, parcel.delivered.is_some(), parcel.scan));
            assert_eq!(parcels.collect::<Vec<_>>(), order.parcels, "order {id}");
            for (at, line) in order.lines.iter().enumerate() {
                let progress = view.progress(at);
                let found = (view.lines[at].article.0, view.lines[at].quantity, view.lines[at].place.0);
                assert_eq!(found, (line.article, line.quantity, line.place), "order {id}");
                let found = (progress.shipped, progress.asked, progress.returned);
                assert_eq!(found, (line.shipped, line.asked, line.returned), "order {id}");
            }
        }
        self.check_sales();
        let restored = decode_state(STATE_VERSION, &encode_state(&self.state)).expect("encoded here");
        assert!(restored == self.state, "a snapshot restores the state");
    }

    fn compare_coupons(&self) {
        for (id, coupon) in &self.model.coupons {
            let found = self.state.market().coupon(CouponId(*id)).expect("it is not forgotten");
            assert_eq!((found.merchant.0, found.used), (coupon.merchant, coupon.spent.len() as u64));
            for customer in 1..=ROLES.len() as u64 {
                let by_customer = coupon.spent.iter().filter(|(by, _)| *by == customer).count();
                let expected = coupon.each.map(|_| by_customer as u32);
                assert_eq!(found.used_by(AccountId(customer)), expected, "coupon {id}");
            }
        }
        let found: usize = (1..3).map(|id| self.state.market().coupons_of(AccountId(id), "").count()).sum();
        assert_eq!(found, self.model.coupons.len());
    }

    /// What was sold is what customers paid or have set aside for it, less what went back.
    fn check_sales(&self) {
        let mut paid: BTreeMap<(AccountId, Currency), i128> = BTreeMap::new();
        let mut add = |of, amount| *paid.entry(of).or_default() += amount;
        for transfer in &self.kept.transfers {
            let (amount, currency) = (i128::from(transfer.amount.0), transfer.currency);
            match transfer.cause {
                Cause::Sale { .. } => add((transfer.payee, currency), amount),
                Cause::Refund { .. } => add((transfer.payer, currency), -amount),
                _ => {}
            }
        }
        let orders = self.model.orders.keys().filter_map(|id| self.state.market().view(OrderId(*id)));
        orders.for_each(|view| add((view.order.merchant, view.order.currency), i128::from(view.held().0)));
        for sold in self.kept.sales.iter().copied().chain(self.state.market().running_sales(None, None)) {
            add((sold.merchant, sold.currency), -i128::from(sold.figure.revenue.0));
        }
        assert!(paid.values().all(|left| *left == 0), "{paid:?} more was paid than sold");
    }

    /// A replay leads to the same, and every statement adds up.
    fn finish(&self) {
        let (mut state, mut kept) = (State::new(), Kept::new());
        for (time, payload) in &self.log {
            let requests: Vec<Request> = decode_requests(payload).expect("encoded here");
            let effects = state.apply(*time, &requests).effects;
            kept.take(&effects, &state);
        }
        assert!(state == self.state && kept == self.kept, "a replay leads to the same");
        events::altogether(&kept.events, &state);
        let journal = &self.kept.transfers;
        let is_numbered = |(i, transfer): (usize, &Transfer)| transfer.id == TransferId(i as u64 + 1);
        assert!(journal.iter().enumerate().all(is_numbered));
        for account in state.ledger().accounts() {
            let id = account.id();
            for (currency, balance) in account.balances() {
                let (mut total, mut at) = (0_i128, balance.last_transfer);
                while at.0 > 0 {
                    let transfer = &journal[at.0 as usize - 1];
                    let change = transfer.change_of(id).expect("a chain has its account's transfers only");
                    assert!(transfer.id == at && transfer.currency == currency);
                    assert_eq!(Transfer::from_record(&transfer.to_record()), Some(*transfer));
                    total += i128::from(change.0);
                    at = transfer.before_of(id);
                }
                assert_eq!(total, i128::from(balance.total().0), "statement of account {id} in {currency}");
            }
        }
    }
}

/// What has no reason against it is done; what has one is refused for one.
fn agree(answer: &Answer, reasons: &[&str], step: &Step) {
    match answer {
        Ok(_) => assert!(reasons.is_empty(), "done in spite of {reasons:?}: {step:?}"),
        Err(refusal) => {
            let code = refusal.code();
            assert!(reasons.contains(&code), "refused as {code} ({refusal}), not as {reasons:?}: {step:?}");
        }
    }
}

fn state_of(state: OrderState) -> At {
    match state {
        OrderState::Placed => At::Placed,
        OrderState::Paid => At::Paid,
        OrderState::Allocated => At::Allocated,
        OrderState::PartlyShipped => At::PartlyShipped,
        OrderState::Shipped => At::Shipped,
        OrderState::Delivered => At::Delivered,
        OrderState::Completed => At::Completed,
        OrderState::Cancelled => At::Cancelled,
        OrderState::Expired => At::Expired,
        OrderState::ReturnRequested => At::ReturnRequested,
        OrderState::Returned => At::Returned,
        OrderState::Refunded => At::Refunded,
    }
}

fn currencies() -> [Currency; 2] {
    ["CRD", "KRW"].map(|code| code.parse().expect("known"))
}

fn currency() -> impl Strategy<Value = Currency> {
    prop_oneof![5 => Just(currencies()[0]), 1 => Just(currencies()[1])]
}

fn wish() -> impl Strategy<Value = Wish> {
    let quantity = prop_oneof![12 => 1..4_u32, 1 => Just(0), 1 => 900_000..1_100_000_u32];
    let lines = proptest::collection::vec((1..6_u32, quantity), 1..=4);
    let again = prop_oneof![8 => Just(None), 1 => (0..4_u8).prop_map(Some)];
    let off_by = prop_oneof![14 => Just(0), 1 => -2..3_i64];
    let place = prop_oneof![16 => Just(0), 4 => 1..3_u32, 1 => 1_000..1_002_u32];
    let customer = prop_oneof![9 => 5..9_u64, 1 => 0..10_u64];
    let coupon = prop_oneof![3 => Just(0), 2 => 0..6_u32];
    (again, customer, currency(), lines, place, proptest::bool::weighted(0.3), coupon, off_by).prop_map(
        |(again, customer, currency, lines, place, pay_later, coupon, off_by)| Wish {
            again,
            customer,
            currency,
            lines,
            place,
            pay_later,
            coupon,
            off_by,
        },
    )
}

fn coupon() -> impl Strategy<Value = Step> {
    let percent = prop_oneof![3 => 0..=10_000_u16, 1 => Just(10_000)];
    let kind = prop_oneof![
        percent.prop_map(Kind::Percent),
        (currency(), 0..30_i64, 0..60_i64)
            .prop_map(|(currency, off, least)| Kind::Amount(currency, off, least)),
        (0..3_u32, 0..3_u32).prop_map(|(buy, free)| Kind::Free(buy, free)),
    ];
    let scope = prop_oneof![
        2 => Just(Scope::All),
        1 => prop::sample::select(vec!["a", "a/b", "ab"]).prop_map(Scope::Category),
        2 => proptest::collection::vec(1..6_u32, 0..4).prop_map(Scope::Articles),
    ];
    let day = DAY.0 / 1_000_000_000;
    let starts = prop_oneof![6 => Just(0), 1 => 0..2 * day];
    let ends = prop_oneof![4 => Just(9 * day), 2 => day..day + 300, 1 => 0..2 * day];
    let uses = || prop_oneof![2 => Just(None), 4 => (1..3_u32).prop_map(Some), 1 => Just(Some(0))];
    (1..3_u64, 0..2_u8, any::<bool>(), kind, scope, (starts, ends), [uses(), uses()]).prop_map(
        |(merchant, code, automatic, kind, scope, time, uses)| Step::Coupon {
            merchant,
            code,
            automatic,
            kind,
            scope,
            time,
            uses,
        },
    )
}

fn setting() -> impl Strategy<Value = Step> {
    let tracking = prop_oneof![
        Just(Tracking::Untracked),
        Just(Tracking::Counted),
        Just(Tracking::Counted),
        (0..3_u32).prop_map(Tracking::Backorder)
    ];
    let rate = || prop_oneof![3 => Just(0), 3 => 0..3_000_u16, 1 => 9_000..=10_000_u16];
    let price = prop_oneof![1 => Just(0), 6 => 1..40_i64, 1 => 1..1_000_000_000_000_i64];
    let merchant = || 1..3_u64;
    let span = || prop_oneof![1 => Just(0), 5 => 1..300_u64, 1 => Just(4 * 24 * 3600)];
    let change = prop_oneof![
        5 => (1..20_u32).prop_map(StockChange::Receive),
        3 => (0..4_u32).prop_map(StockChange::Count),
        1 => (-6..6_i32).prop_map(StockChange::Correct),
        1 => (0..8_u32, 0..3_u32).prop_map(|(quantity, to)| StockChange::Move { quantity, to: PlaceId(to) }),
    ];
    let text = prop::sample::select(vec!["", "a", "a/b", "ab"]);
    let article =
        (merchant(), 0..3_u8, text, price, currency(), rate(), tracking, proptest::bool::weighted(0.9));
    prop_oneof![
        1 => (1..9_u64, 1..9_u64, rate()).prop_map(|(fee_to, tax_to, fee)| Step::Terms { fee_to, tax_to, fee }),
        2 => (merchant(), any::<bool>(), [span(), span(), span()])
            .prop_map(|(merchant, at_once, seconds)| Step::Shop { merchant, at_once, seconds }),
        4 => article.prop_map(|(merchant, sku, category, price, currency, tax, tracking, on_sale)| {
            Step::Article { merchant, sku, category, price, currency, tax, tracking, on_sale }
        }),
        5 => coupon(),
        5 => (merchant(), 0..6_u32, prop_oneof![6 => 1..3_u32, 1 => Just(0)], change)
            .prop_map(|(merchant, article, place, change)| Step::Stock { merchant, article, place, change }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop_oneof![2 => Just(Vec::new()), 3 => proptest::collection::vec((0..5_u8, 0..4_u32), 1..3)];
    let amount = prop_oneof![6 => 1..60_i64, 1 => -1..1_i64, 2 => Just(i64::MAX), 1 => any::<i64>()];
    let go = (any::<u64>(), proptest::bool::weighted(0.85), 0..9_u64, any::<u8>(), lines, 0..9_u64, amount);
    let caller = prop_oneof![3 => Just(5_u64), 3 => 6..9_u64, 1 => 1..5_u64];
    // Who was paid spends it, so that it is missing when it has to go back.
    let money = prop_oneof![2 => Just(0_u64), 3 => 1..5_u64, 1 => 5..9_u64];
    prop_oneof![
        3 => setting(),
        2 => (money, 1..9_u64, currency(), prop_oneof![4 => 1..12_i64, 4 => 1..400_i64, 1 => Just(1_i64 << 50)])
            .prop_map(|(from, to, currency, amount)| Step::Money { from, to, currency, amount }),
        5 => (caller, proptest::collection::vec(wish(), 1..3))
            .prop_map(|(caller, orders)| Step::Orders { caller, orders }),
        16 => go.prop_map(|(order, timely, by, way, lines, with, amount)| {
            Step::Go { order, timely, by, way, lines, with, amount }
        }),
        1 => prop_oneof![4 => 0..400_u64, 4 => Just(24 * 3600), 1 => Just(31 * 24 * 3600)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A market in which something can be bought, and what happens there.
fn history() -> impl Strategy<Value = Vec<Step>> {
    let crd = currencies()[0];
    let begin = move || {
        let article = |(n, tracking)| Step::Article {
            merchant: 1 + n / 4,
            sku: (n % 4) as u8,
            category: ["a", "a/b", "ab", ""][n as usize % 4],
            price: 7 + 5 * n as i64,
            currency: crd,
            tax: 1_000,
            tracking,
            on_sale: true,
        };
        let kinds = [
            Tracking::Counted,
            Tracking::Counted,
            Tracking::Backorder(4),
            Tracking::Untracked,
            Tracking::Counted,
        ];
        let articles = (0_u64..).zip(kinds).map(article);
        let stock = |n: u32| Step::Stock {
            merchant: if n <= 4 { 1 } else { 2 },
            article: n,
            place: 1,
            change: StockChange::Receive(10),
        };
        let money = (5..9).map(|to| Step::Money { from: 0, to, currency: crd, amount: 1_000 });
        let terms = Step::Terms { fee_to: 3, tax_to: 4, fee: 333 };
        articles.chain((1..=5).filter(|n| *n != 4).map(stock)).chain(money).chain([terms]).collect::<Vec<_>>()
    };
    let long = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![Step::Crowd, Step::Live])];
    let steps = || proptest::collection::vec(step(), 1..60);
    (steps(), long, steps()).prop_map(move |(before, long, after)| {
        begin().into_iter().chain(before).chain(long).chain(after).collect()
    })
}

proptest! {
    #![proptest_config(common::cases())]

    #[test]
    fn the_market_does_what_a_plain_model_does(steps in history()) {
        let mut trial = Trial::new();
        for step in &steps {
            trial.take(step);
            trial.compare();
        }
        trial.finish();
    }
}
