//! The stored layout of entries and snapshots, byte by byte.
//!
//! Logs outlive programs. When a test of entries fails, old logs would be read wrongly or not at all: raise
//! `ENTRY_VERSION` in `src/codec.rs`, keep reading the old version, and only then write the new bytes here. Appending
//! a variant to an enum is no change of the bytes before it. When the test of snapshots fails, raise `STATE_VERSION`:
//! snapshots of another version are not read, as a whole log makes the same state.

#[path = "common/mod.rs"]
mod common;
#[path = "layout/files.rs"]
mod files;

use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{
    ArticleSpec, Checks, Command, CouponKind, CouponScope, CouponSpec, EventKind, Failure, InputFile,
    MarketTerms, OrderBatch, OrderLines, OrderSpec, OrderStep, Outcome, Party, Rate, Replay, Request, Role,
    RunReport, STATE_VERSION, ScanCode, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
    WebhookReport, WebhookSpec, decode_requests, decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Duration, Ending, EventId, Hash, HoldId, JobId,
    OrderId, ParcelId, PlaceId, RequestId, RunId, Time, Trap, WebhookId, WorkerId,
};

fn hash(byte: u8) -> Hash {
    Hash::from_bytes([byte; 32])
}

/// One request of every kind, with every optional part present in one of them and absent in another.
fn requests() -> Vec<(&'static str, Request)> {
    let mut full = job("full", 3, Amount(5_000_000));
    full.args = vec!["--each".to_owned(), "{input}".to_owned()];
    full.env = vec!["A=1".to_owned()];
    full.files = vec![InputFile { name: "db/a".to_owned(), hash: hash(2) }];
    (full.module, full.task_list) = (hash(1), Some(hash(3)));
    (full.quorum, full.priority, full.max_failures) = (2, -3, Some(1));
    (full.deadline, full.clock) = (Some(Time(BEGIN.0 + 1)), Some(Time(9)));
    full.after = vec![JobId(1), JobId(2)];
    let mut plain = job("plain", 1, Amount(2_000_000));
    (plain.module, plain.checks) = (hash(1), Checks::Hidden);
    let mut held = machine(u128::from(u64::MAX) + 1, 4);
    held.held = vec![RunId(7), RunId(300)];
    let end = |run, ending| RunReport { ending, ..success(RunId(run), hash(4)) };
    let reports = vec![
        success(RunId(1), hash(4)),
        end(2, Ending::Exited { code: 256 }),
        end(3, Ending::Trapped { trap: Trap::StackOverflow }),
        end(4, Ending::Faulted),
    ];
    let hub = State::SYSTEM;
    let alice = AccountId(1);
    let id = Some(RequestId(0xabc));
    let krw: Currency = "KRW".parse().expect("known");
    let roles = [Role::Researcher, Role::Owner, Role::Operator].into_iter().collect();
    let worker = WorkerId(1);
    let hold = HoldId(1);
    let open = Command::OpenAccount { name: "alice".to_owned(), roles, token: hash(5) };
    let amount = Amount(-1);
    let mut requests = vec![
        ("start", ask(hub, Command::Start)),
        ("tick", ask(hub, Command::Tick)),
        ("open account", Request { caller: hub, id, command: open }),
        ("add token", ask(alice, Command::AddToken { account: alice, token: hash(6) })),
        ("revoke token", ask(alice, Command::RevokeToken { token: hash(6) })),
        (
            "issue",
            ask(hub, Command::Issue { to: alice, currency: Currency::CREDIT, amount: Amount(1 << 40) }),
        ),
        ("transfer", ask(alice, Command::Transfer { to: AccountId(2), currency: krw, amount })),
        ("hold", ask(alice, Command::Hold { currency: krw, amount: Amount(5), expires: None })),
        ("expiring hold", ask(alice, Command::Hold { currency: krw, amount, expires: Some(BEGIN) })),
        ("settle", ask(alice, Command::Settle { hold, to: AccountId(2), amount: Amount(1) })),
        ("release", ask(alice, Command::Release { hold })),
        ("submit job", ask(alice, Command::SubmitJob(Arc::new(plain)))),
        ("submit full job", ask(alice, Command::SubmitJob(Arc::new(full)))),
        ("cancel job", ask(alice, Command::CancelJob { job: JobId(1) })),
        ("attach worker", ask(alice, Command::AttachWorker(held))),
        ("detach worker", ask(hub, Command::DetachWorker { worker, link: 1 })),
        ("lose worker", ask(hub, Command::LoseWorker { worker, link: 128 })),
        ("set worker", ask(alice, Command::SetWorker { worker, accepting: true, returned: vec![RunId(9)] })),
        ("report", ask(alice, Command::Report { worker, runs: reports })),
        ("draw", ask(hub, Command::Draw { seed: u128::MAX })),
        ("vouch", ask(hub, Command::Vouch { account: alice, vouched: true })),
    ];
    requests.extend(market());
    requests
}

/// The same of the market.
fn market() -> Vec<(&'static str, Request)> {
    let merchant = AccountId(3);
    let krw: Currency = "KRW".parse().expect("known");
    let rate = |parts| Rate::new(parts).expect("in range");
    let terms = MarketTerms { fee_to: AccountId(1), tax_to: AccountId(2), fee: rate(300) };
    let shop = ShopTerms {
        settle_at: SettleAt::Placing,
        reservation: Duration::from_secs(600),
        completion: Duration::from_secs(700),
        returns: Duration::from_secs(800),
    };
    let article = |sku: &str, tracking| ArticleSpec {
        sku: sku.to_owned(),
        gtin: 4_006_381_333_931,
        title_ko: "연필".to_owned(),
        title_en: "pencil".to_owned(),
        category: "office/pens".to_owned(),
        price: Amount(1_000),
        currency: krw,
        tax: rate(1_000),
        tracking,
        on_sale: true,
    };
    let articles = vec![
        article("a", Tracking::Untracked),
        article("b", Tracking::Counted),
        article("c", Tracking::Backorder(5)),
    ];
    let to = PlaceId(2);
    let changes = [
        StockChange::Receive(100),
        StockChange::Count(90),
        StockChange::Move { quantity: 10, to },
        StockChange::Correct(-1),
    ];
    let changes = changes.map(|change| (ArticleId(2), PlaceId(1), change));
    let mut order = OrderSpec {
        key: RequestId(0xabc),
        customer: AccountId(2),
        total: Amount(3_000),
        currency: krw,
        coupon: CouponId(0),
        place: None,
        pay_later: false,
        lines: OrderLines::default(),
    };
    let mut batch = OrderBatch::default();
    batch.push(&order, [(ArticleId(2), 3)].into_iter());
    (order.key, order.coupon, order.place, order.pay_later) =
        (RequestId(u128::MAX), CouponId(7), Some(to), true);
    batch.push(&order, [(ArticleId(2), 1), (ArticleId(1), 2)].into_iter());
    let names = ["kim", "lee"];
    let mut requests = vec![
        ("set market", ask(State::SYSTEM, Command::SetMarket(terms))),
        ("set shop", ask(merchant, Command::SetShop(shop))),
        ("put articles", ask(merchant, Command::PutArticles(articles))),
        ("change stock", ask(merchant, Command::ChangeStock(changes.to_vec()))),
        ("place orders", ask(AccountId(2), Command::PlaceOrders(batch))),
    ];
    let lines = vec![(ArticleId(2), 3)];
    let (carrier, tracking) = (merchant, "1Z".to_owned());
    let steps = [
        OrderStep::Pay,
        OrderStep::Allocate,
        OrderStep::Ship(Shipment { carrier, tracking, lines: lines.clone() }),
        OrderStep::Deliver { parcel: ParcelId(1) },
        OrderStep::Complete,
        OrderStep::Cancel,
        OrderStep::RequestReturn { lines: Vec::new() },
        OrderStep::AcceptReturn { lines, restock: true },
        OrderStep::RefuseReturn,
        OrderStep::Refund { amount: Amount(100) },
        OrderStep::Scan { parcel: ParcelId(1), code: ScanCode::Edx },
    ];
    requests.extend(steps.map(|step| {
        let caller = if matches!(step, OrderStep::RequestReturn { .. }) { AccountId(2) } else { merchant };
        ("step order", ask(caller, Command::StepOrder { order: OrderId(1), step }))
    }));
    let names = names.map(str::to_owned).to_vec();
    requests.push(("open customers", ask(merchant, Command::OpenCustomers { names })));
    requests.push(("put coupons", ask(merchant, Command::PutCoupons(coupons()))));
    requests.extend(webhooks(merchant));
    requests.extend(files::requests());
    requests
}

/// The same of webhooks.
fn webhooks(owner: AccountId) -> Vec<(&'static str, Request)> {
    let webhook = WebhookId(1);
    let spec = |webhook, kinds: &[EventKind]| {
        let (url, kinds) = ("https://shop.example/".to_owned(), kinds.to_vec());
        Command::SetWebhook(WebhookSpec { webhook, party: Party::Merchant, url, kinds })
    };
    let replay = |replay| ask(owner, Command::ReplayWebhook { webhook, replay });
    vec![
        ("set webhook", ask(owner, spec(None, &[]))),
        ("change webhook", ask(owner, spec(Some(webhook), &[EventKind::Placed, EventKind::Refunded]))),
        ("remove webhook", ask(owner, Command::RemoveWebhook { webhook: WebhookId(2) })),
        ("renew webhook secret", ask(owner, Command::RenewWebhookSecret { webhook })),
        ("replay one", replay(Replay::One(EventId(200)))),
        ("replay dead", replay(Replay::Dead)),
        ("replay since", replay(Replay::Since(EventId(0)))),
        ("report webhooks", ask(State::SYSTEM, Command::ReportWebhooks(vec![told(webhook)]))),
    ]
}

/// What came of some events, for every reason.
fn told(webhook: WebhookId) -> WebhookReport {
    use Failure::{Forbidden, NoAddress, NoConnection, NotTrusted, Status, TimedOut};
    let why = [Status(503), TimedOut, NoConnection, NotTrusted, NoAddress];
    let again = (2..).map(EventId).zip(why.map(|why| Outcome::Again { at: BEGIN, why }));
    let mut outcomes = vec![(EventId(1), Outcome::Dead { why: Forbidden })];
    outcomes.extend(again);
    outcomes.push((EventId(300), Outcome::Taken));
    WebhookReport { webhook, from: EventId(0), to: EventId(2), outcomes }
}

fn coupons() -> Vec<CouponSpec> {
    let coupon = |code: &str, kind, scope| CouponSpec {
        code: code.to_owned(),
        automatic: false,
        kind,
        scope,
        starts: BEGIN,
        ends: BEGIN.after(Duration::from_secs(60)),
        uses: Some(200),
        uses_each: Some(1),
    };
    let off = CouponKind::Amount { currency: Currency::CREDIT, off: Amount(500), at_least: Amount(2_000) };
    let category = CouponScope::Category("office".to_owned());
    let percent = coupon("a", CouponKind::Percent(Rate::new(1_000).expect("in range")), CouponScope::All);
    let free = CouponKind::BuyXGetY { buy: 2, free: 1 };
    vec![
        CouponSpec { automatic: true, uses: None, uses_each: None, ..percent },
        coupon("b", off, category),
        coupon("c", free, CouponScope::Articles(vec![ArticleId(4)])),
    ]
}

/// What leads to orders when a market is new: of alice, who is the first account, with somebody who comes next.
fn goods() -> Vec<Request> {
    let merchant = AccountId(2);
    let mut requests = vec![ask(State::SYSTEM, open("shop", &[Role::Merchant]))];
    // What was refused there for want of a role.
    let again = market().into_iter().map(|(_, request)| request.command);
    requests.extend(again.skip(2).take(2).map(|command| ask(merchant, command)));
    let mut batch = OrderBatch::default();
    for (key, pay_later) in [(1, false), (2, true)] {
        let order = OrderSpec {
            key: RequestId(key),
            customer: AccountId(1),
            total: Amount(0),
            currency: Currency::CREDIT,
            coupon: CouponId(0),
            place: None,
            pay_later,
            lines: OrderLines::default(),
        };
        batch.push(&order, [(ArticleId(4), 2)].into_iter());
    }
    let gift = ArticleSpec {
        sku: "gift".to_owned(),
        gtin: 0,
        title_ko: "선물".to_owned(),
        title_en: "gift".to_owned(),
        category: "gifts".to_owned(),
        price: Amount(0),
        currency: Currency::CREDIT,
        tax: Rate::default(),
        tracking: Tracking::Untracked,
        on_sale: true,
    };
    requests.push(ask(merchant, Command::PutArticles(vec![gift])));
    requests.extend(webhooks(merchant).into_iter().map(|(_, request)| request).filter(is_set_up));
    requests.push(ask(AccountId(1), Command::PlaceOrders(batch)));
    requests.push(ask(merchant, Command::PutCoupons(coupons())));
    requests.extend(cheaper());
    let shipment =
        Shipment { carrier: merchant, tracking: "KR-1".to_owned(), lines: vec![(ArticleId(4), 1)] };
    for step in [OrderStep::Allocate, OrderStep::Ship(shipment)] {
        // The orders of the test before this one were refused, but counted.
        requests.push(ask(merchant, Command::StepOrder { order: OrderId(3), step }));
    }
    requests.push(ask(State::SYSTEM, Command::ReportWebhooks(vec![told(WebhookId(1))])));
    requests
}

/// Whether it makes a webhook ready for what comes.
fn is_set_up(request: &Request) -> bool {
    matches!(request.command, Command::SetWebhook(_) | Command::RenewWebhookSecret { .. })
}

/// Pens of the same merchant for alice, one with a coupon.
fn cheaper() -> Vec<Request> {
    let (merchant, krw) = (AccountId(2), "KRW".parse().expect("known"));
    let issue = Command::Issue { to: AccountId(1), currency: krw, amount: Amount(10_000) };
    let mut spec = coupons().remove(1);
    spec.code = "d".to_owned();
    spec.kind = CouponKind::Amount { currency: krw, off: Amount(500), at_least: Amount(2_000) };
    let order = OrderSpec {
        key: RequestId(3),
        customer: AccountId(1),
        total: Amount(1_500),
        currency: krw,
        coupon: CouponId(4),
        place: None,
        pay_later: false,
        lines: OrderLines::default(),
    };
    let mut batch = OrderBatch::default();
    batch.push(&order, [(ArticleId(1), 2)].into_iter());
    vec![
        ask(State::SYSTEM, issue),
        ask(merchant, Command::PutCoupons(vec![spec])),
        ask(AccountId(1), Command::PlaceOrders(batch)),
    ]
}

/// Refuses to compile when a command is added and forgotten here.
fn number(command: &Command) -> usize {
    match command {
        Command::Start => 0,
        Command::Tick => 1,
        Command::OpenAccount { .. } => 2,
        Command::AddToken { .. } => 3,
        Command::RevokeToken { .. } => 4,
        Command::Issue { .. } => 5,
        Command::Transfer { .. } => 6,
        Command::Hold { .. } => 7,
        Command::Settle { .. } => 8,
        Command::Release { .. } => 9,
        Command::SubmitJob(_) => 10,
        Command::CancelJob { .. } => 11,
        Command::AttachWorker(_) => 12,
        Command::DetachWorker { .. } => 13,
        Command::LoseWorker { .. } => 14,
        Command::SetWorker { .. } => 15,
        Command::Report { .. } => 16,
        Command::Draw { .. } => 17,
        Command::Vouch { .. } => 18,
        Command::SetMarket(_) => 19,
        Command::SetShop(_) => 20,
        Command::PutArticles(_) => 21,
        Command::ChangeStock(_) => 22,
        Command::PlaceOrders(_) => 23,
        Command::StepOrder { .. } => 24,
        Command::OpenCustomers { .. } => 25,
        Command::PutCoupons(_) => 26,
        Command::SetWebhook(_) => 27,
        Command::RemoveWebhook { .. } => 28,
        Command::RenewWebhookSecret { .. } => 29,
        Command::ReplayWebhook { .. } => 30,
        Command::ReportWebhooks(_) => 31,
        Command::Files(_) => 32,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Layout of [`requests`], each in an entry of its own; long runs of one byte as `..xN..`.
fn shortened(bytes: &[u8]) -> String {
    let groups = bytes.chunk_by(|a, b| a == b);
    let words = groups.map(|group| match group.len() {
        8.. => format!("({:02x}x{})", group[0], group.len()),
        _ => hex(group),
    });
    words.collect()
}

#[test]
fn entries_keep_their_layout() {
    let mut table = String::new();
    let mut numbers = Vec::new();
    for (name, request) in requests() {
        let mut payload = Vec::new();
        encode_request(&mut payload, &request);
        assert_eq!(usize::from(payload[3 + 2 * usize::from(request.id.is_some())]), number(&request.command));
        numbers.push(number(&request.command));
        assert_eq!(decode_requests(&payload).expect("encoded above"), [request]);
        table += &format!("{name}: {}\n", shortened(&payload));
    }
    numbers.dedup();
    assert!(numbers.iter().copied().eq(0..=32), "a request of every kind");
    assert_eq!(table, include_str!("layout.txt"), "see the head of this file");
}

/// Entries of version 1 are as now, but for jobs: these did not say whether owners are checked, and were not.
#[test]
fn entries_before_checks_are_read() {
    for (name, mut request) in requests() {
        let mut payload = Vec::new();
        encode_request(&mut payload, &request);
        payload[0] = 1;
        if let Command::SubmitJob(spec) = &mut request.command {
            payload.pop();
            Arc::make_mut(spec).checks = Checks::Off;
        }
        let twice = [&payload[..], &payload[1..]].concat();
        assert_eq!(decode_requests(&twice).expect(name), [request.clone(), request]);
    }
}

#[test]
fn snapshots_keep_their_layout() {
    let mut state = State::new();
    let requests: Vec<Request> = requests().into_iter().map(|(_, request)| request).collect();
    state.apply(BEGIN, &requests);
    // A job in the middle of its life, so that there are runs, votes, timers and remembered answers.
    let alice = AccountId(1);
    let mut spec = job("live", 3, Amount(9_000_000));
    (spec.module, spec.quorum, spec.deadline) = (hash(1), 2, Some(Time(BEGIN.0 + 5)));
    let report = Command::Report { worker: WorkerId(2), runs: vec![success(RunId(1), hash(4))] };
    let live = [
        ask(alice, Command::Hold { currency: Currency::CREDIT, amount: Amount(7), expires: None }),
        ask(alice, Command::SubmitJob(Arc::new(spec))),
        ask(alice, Command::AttachWorker(machine(2, 1))),
    ];
    assert!(state.apply(BEGIN, &live).answers.iter().all(Result::is_ok));
    assert!(state.apply(BEGIN, &[ask(alice, report)]).answers[0].is_ok());
    // Orders in the middle of theirs: one is shipped, one waits for its money.
    assert!(state.apply(BEGIN, &goods()).answers.iter().all(Result::is_ok));
    // Files in every place where they can be.
    assert!(state.apply(BEGIN, &files::lying()).answers.iter().all(Result::is_ok));
    // Somebody with money in two currencies, and somebody without any.
    let currency = "KRW".parse().expect("known");
    let customers = [
        ask(State::SYSTEM, Command::Issue { to: alice, currency, amount: Amount(3) }),
        ask(State::SYSTEM, Command::OpenCustomers { names: vec!["kim".to_owned()] }),
    ];
    assert!(state.apply(BEGIN, &customers).answers.iter().all(Result::is_ok));
    state.sanity_check();
    let bytes = encode_state(&state);
    assert!(decode_state(STATE_VERSION, &bytes).expect("encoded above") == state);
    assert_eq!(
        (bytes.len(), Hash::of(&bytes).short().as_str()),
        (4271, "0fc9d144"),
        "see the head of this file; when only what commands do has changed, write the new hash here"
    );
}

#[test]
fn other_versions_are_refused_by_name() {
    let mut payload = Vec::new();
    encode_request(&mut payload, &ask(State::SYSTEM, Command::Tick));
    payload[0] += 1;
    let error = decode_requests(&payload).expect_err("a later version");
    assert_eq!(
        error.to_string(),
        "entry has version 3, this program reads version 2: use the program that wrote it"
    );
    let error = decode_state(STATE_VERSION + 1, &encode_state(&State::new())).expect_err("a later version");
    let later = format!("snapshot has version {}", STATE_VERSION + 1);
    assert!(error.to_string().starts_with(&later), "{error}");
}
