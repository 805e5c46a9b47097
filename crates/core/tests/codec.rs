//! Bytes of entries and snapshots: whatever is written is read back, and nothing that is read does harm.

#[path = "common/mod.rs"]
mod common;
#[path = "codec/files.rs"]
mod files;

use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use proptest::prelude::*;
use pumasi_core::{
    ArticleSpec, Checks, Command, CouponKind, CouponScope, CouponSpec, EventKind, Failure, InputFile,
    MarketTerms, OrderBatch, OrderLines, OrderSpec, OrderStep, Outcome, Party, Rate, Replay, Request, Role,
    RunReport, STATE_VERSION, ScanCode, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
    WebhookReport, WebhookSpec, decode_requests, decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, ByteSize, CouponId, Currency, Duration, Ending, EngineId, EventId, Fuel,
    Hash, HoldId, JobId, Limits, OrderId, ParcelId, PlaceId, Price, RequestId, RunId, Speed, Time, WebhookId,
    WorkerId,
};

/// Small, ordinary and extreme numbers.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX), Just(i64::MAX as u64), Just(1 << 63)]
}

fn amount() -> impl Strategy<Value = Amount> {
    number().prop_map(|n| Amount(n as i64))
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("A=1".to_owned()), ".{0,20}"]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..3)
}

fn runs() -> impl Strategy<Value = Vec<RunId>> {
    proptest::collection::vec(number().prop_map(RunId), 0..4)
}

fn currency() -> impl Strategy<Value = Currency> {
    prop_oneof![Just(Currency::CREDIT), Just("KRW".parse().expect("known"))]
}

fn report() -> impl Strategy<Value = RunReport> {
    let ending = prop::sample::select((0..1_024).filter_map(Ending::from_code).collect::<Vec<_>>());
    (number(), ending, number(), number(), hash()).prop_map(|(run, ending, fuel, wall, result)| RunReport {
        run: RunId(run),
        ending,
        fuel: Fuel(fuel),
        wall: Duration(wall),
        result,
    })
}

prop_compose! {
    fn job_spec()(
        name in text(), lists in (texts(), texts(), texts()), tasks in 0..40_u32, quorum in 0..9_u8,
        limits in (number(), number(), number(), number()), engine in text(), priority: i16,
        money in (number(), amount()), times in (proptest::option::of(number()), proptest::option::of(number())),
        losses: u8, failures in proptest::option::of(0..4_u32), list in proptest::option::of(hash()),
        after in proptest::collection::vec(0..5_u64, 0..3), seed: u64, checked: bool,
    ) -> Command {
        let mut spec = job(&name, tasks, money.1);
        (spec.args, spec.env) = (lists.0, lists.1);
        spec.files = lists.2.into_iter().map(|name| InputFile { name, hash: Hash::ZERO }).collect();
        spec.limits = Limits {
            fuel: Fuel(limits.0), memory: ByteSize(limits.1), wall: Duration(limits.2), output: ByteSize(limits.3),
        };
        (spec.quorum, spec.priority, spec.max_losses, spec.max_failures) = (quorum, priority, losses, failures);
        (spec.bid, spec.task_list, spec.seed) = (Price(money.0), list, seed);
        (spec.deadline, spec.clock) = (times.0.map(Time), times.1.map(Time));
        spec.checks = if checked { Checks::Hidden } else { Checks::Off };
        spec.after = after.into_iter().map(JobId).collect();
        if !engine.is_empty() {
            spec.engine = EngineId(engine);
        }
        Command::SubmitJob(Arc::new(spec))
    }
}

/// Jobs and machines that are taken, so that the rest has something to work on.
fn sound() -> impl Strategy<Value = Command> {
    let orders = (1..6_u32, 1..3_u8, prop_oneof![Just(Fuel(u64::MAX)), Just(Fuel(1_000))], any::<bool>())
        .prop_map(|(tasks, quorum, fuel, checked)| {
            let mut spec = job("sound", tasks, Amount(1 << 40));
            (spec.quorum, spec.limits.fuel, spec.bid) = (quorum, fuel, Price(1));
            spec.checks = if checked { Checks::Hidden } else { Checks::Off };
            Command::SubmitJob(Arc::new(spec))
        });
    let machines = (any::<bool>(), runs()).prop_map(|(key, held)| {
        let mut spec = machine(u128::from(key), 3);
        (spec.ask, spec.held) = (Price(0), held);
        Command::AttachWorker(spec)
    });
    let reports = proptest::collection::vec((1..9_u64, 0..3_u8), 0..6).prop_map(|runs| Command::Report {
        worker: WorkerId(1),
        runs: runs.into_iter().map(|(run, kind)| success(RunId(run), Hash::from_bytes([kind; 32]))).collect(),
    });
    prop_oneof![orders, machines, reports]
}

fn rate() -> impl Strategy<Value = Rate> {
    (0..=Rate::WHOLE).prop_map(|parts| Rate::new(parts).expect("in range"))
}

fn article() -> impl Strategy<Value = ArticleSpec> {
    let tracking = prop_oneof![
        Just(Tracking::Untracked),
        Just(Tracking::Counted),
        any::<u32>().prop_map(Tracking::Backorder)
    ];
    let price = prop_oneof![4 => (0..5_i64).prop_map(Amount), 1 => amount()];
    let sku = prop_oneof![4 => "[ab]", 1 => text()];
    (sku, text(), price, currency(), rate(), tracking, any::<bool>()).prop_map(
        |(sku, text, price, currency, tax, tracking, on_sale)| ArticleSpec {
            sku,
            gtin: 0,
            title_ko: text.clone(),
            title_en: text.clone(),
            category: text,
            price,
            currency,
            tax,
            tracking,
            on_sale,
        },
    )
}

fn stock_change() -> impl Strategy<Value = (ArticleId, PlaceId, StockChange)> {
    let change = prop_oneof![
        any::<u32>().prop_map(StockChange::Receive),
        any::<u32>().prop_map(StockChange::Count),
        any::<i32>().prop_map(StockChange::Correct),
        (any::<u32>(), 0..3_u32).prop_map(|(quantity, to)| StockChange::Move { quantity, to: PlaceId(to) }),
    ];
    (0..4_u32, 0..3_u32, change)
        .prop_map(|(article, place, change)| (ArticleId(article), PlaceId(place), change))
}

fn orders() -> impl Strategy<Value = OrderBatch> {
    let quantity = prop_oneof![4 => 1..4_u32, 1 => any::<u32>()];
    let lines = proptest::collection::vec((0..4_u32, quantity), 1..4);
    let total = prop_oneof![4 => (0..20_i64).prop_map(Amount), 1 => amount()];
    let order = (0..20_u128, 0..4_u64, total, currency(), 0..4_u32, 0..3_u32, any::<bool>(), lines);
    proptest::collection::vec(order, 0..6).prop_map(|orders| {
        let mut batch = OrderBatch::default();
        for (key, customer, total, currency, coupon, place, pay_later, lines) in orders {
            let (key, customer, coupon) = (RequestId(key), AccountId(customer), CouponId(coupon));
            let place = Some(PlaceId(place)).filter(|place| place.0 != 0);
            let lines_of = OrderLines::default();
            let order =
                OrderSpec { key, customer, total, currency, coupon, place, pay_later, lines: lines_of };
            batch.push(&order, lines.into_iter().map(|(article, quantity)| (ArticleId(article), quantity)));
        }
        batch
    })
}

fn coupon() -> impl Strategy<Value = CouponSpec> {
    let kind = prop_oneof![
        rate().prop_map(CouponKind::Percent),
        (currency(), amount(), amount()).prop_map(|(currency, off, at_least)| CouponKind::Amount {
            currency,
            off,
            at_least
        }),
        (0..3_u32, any::<u32>()).prop_map(|(buy, free)| CouponKind::BuyXGetY { buy, free: free % 4 }),
        (any::<u32>(), any::<u32>()).prop_map(|(buy, free)| CouponKind::BuyXGetY { buy, free }),
    ];
    let scope = prop_oneof![
        2 => Just(CouponScope::All),
        1 => text().prop_map(CouponScope::Category),
        1 => proptest::collection::vec(0..4_u32, 0..3)
            .prop_map(|ids| CouponScope::Articles(ids.into_iter().map(ArticleId).collect())),
    ];
    let time = || prop_oneof![3 => Just(BEGIN), 2 => Just(BEGIN.after(Duration::from_secs(600))), 1 => number().prop_map(Time)];
    let uses = || proptest::option::of(0..4_u32);
    let code = prop_oneof![4 => "[ab]", 1 => text()];
    (code, any::<bool>(), kind, scope, time(), time(), uses(), uses()).prop_map(
        |(code, automatic, kind, scope, starts, ends, uses, uses_each)| CouponSpec {
            code,
            automatic,
            kind,
            scope,
            starts,
            ends,
            uses,
            uses_each,
        },
    )
}

fn sales() -> impl Strategy<Value = Command> {
    let settle_at = prop_oneof![Just(SettleAt::Placing), Just(SettleAt::Shipping)];
    let accounts = || (0..5_u64).prop_map(AccountId);
    prop_oneof![
        1 => (accounts(), accounts(), rate())
            .prop_map(|(fee_to, tax_to, fee)| Command::SetMarket(MarketTerms { fee_to, tax_to, fee })),
        1 => (settle_at, number(), number(), number()).prop_map(|(settle_at, reservation, after, returns)| {
            let (completion, returns) = (Duration(after), Duration(returns));
            Command::SetShop(ShopTerms { settle_at, reservation: Duration(reservation), completion, returns })
        }),
        2 => proptest::collection::vec(article(), 0..3).prop_map(Command::PutArticles),
        2 => proptest::collection::vec(stock_change(), 0..3).prop_map(Command::ChangeStock),
        2 => proptest::collection::vec(coupon(), 0..3).prop_map(Command::PutCoupons),
        6 => orders().prop_map(Command::PlaceOrders),
        12 => (0..12_u64, step()).prop_map(|(order, step)| Command::StepOrder { order: OrderId(order), step }),
    ]
}

fn step() -> impl Strategy<Value = OrderStep> {
    let quantity = prop_oneof![8 => 1..3_u32, 1 => any::<u32>()];
    let line = (0..4_u32, quantity).prop_map(|(article, quantity)| (ArticleId(article), quantity));
    let lines = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(line, 0..4)].boxed();
    let carrier = (0..4_u64).prop_map(AccountId);
    let ship = (carrier, text(), lines.clone())
        .prop_map(|(carrier, tracking, lines)| OrderStep::Ship(Shipment { carrier, tracking, lines }));
    prop_oneof![
        1 => Just(OrderStep::Pay),
        2 => Just(OrderStep::Allocate),
        3 => ship,
        3 => (0..4_u32).prop_map(|parcel| OrderStep::Deliver { parcel: ParcelId(parcel) }),
        1 => Just(OrderStep::Complete),
        1 => Just(OrderStep::Cancel),
        1 => lines.clone().prop_map(|lines| OrderStep::RequestReturn { lines }),
        1 => (lines, any::<bool>()).prop_map(|(lines, restock)| OrderStep::AcceptReturn { lines, restock }),
        1 => Just(OrderStep::RefuseReturn),
        1 => amount().prop_map(|amount| OrderStep::Refund { amount }),
        2 => (0..4_u32, 0..ScanCode::ALL.len()).prop_map(|(parcel, code)| {
            OrderStep::Scan { parcel: ParcelId(parcel), code: ScanCode::ALL[code] }
        }),
    ]
}

fn telling() -> impl Strategy<Value = Command> {
    let webhook = || (0..4_u32).prop_map(WebhookId);
    let event = || prop_oneof![8 => 0..20_u64, 1 => number()].prop_map(EventId);
    let party = (0..3_usize).prop_map(|at| [Party::Customer, Party::Merchant, Party::Carrier][at]);
    let url = prop_oneof![3 => Just("https://shop.example/".to_owned()), 1 => text()];
    let kinds = proptest::sample::subsequence(EventKind::ALL.to_vec(), 0..4);
    let replay = (0..3_u8, event()).prop_map(|(way, event)| match way {
        0 => Replay::One(event),
        1 => Replay::Dead,
        _ => Replay::Since(event),
    });
    let why = || any::<u16>().prop_map(Failure::Status);
    let outcome = prop_oneof![
        Just(Outcome::Taken),
        (number(), why()).prop_map(|(at, why)| Outcome::Again { at: Time(at), why }),
        why().prop_map(|why| Outcome::Dead { why }),
    ];
    let outcomes = proptest::collection::vec((event(), outcome), 0..6);
    let report = (webhook(), event(), event(), outcomes)
        .prop_map(|(webhook, from, to, outcomes)| WebhookReport { webhook, from, to, outcomes });
    prop_oneof![
        4 => (proptest::option::of(webhook()), party, url, kinds)
            .prop_map(|(webhook, party, url, kinds)| WebhookSpec { webhook, party, url, kinds })
            .prop_map(Command::SetWebhook),
        1 => webhook().prop_map(|webhook| Command::RemoveWebhook { webhook }),
        1 => webhook().prop_map(|webhook| Command::RenewWebhookSecret { webhook }),
        2 => (webhook(), replay).prop_map(|(webhook, replay)| Command::ReplayWebhook { webhook, replay }),
        6 => proptest::collection::vec(report, 0..3).prop_map(Command::ReportWebhooks),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let account = || (0..4_u64).prop_map(AccountId);
    let worker = || prop_oneof![0..4_u64, Just(u64::MAX)].prop_map(WorkerId);
    let hold = || number().prop_map(HoldId);
    let fields = (any::<u128>(), text(), any::<u32>(), (number(), number(), number()), text(), runs());
    let attach = fields.prop_map(|(key, name, cores, (memory, speed, ask), engine, held)| {
        let mut spec = machine(key, cores);
        (spec.name, spec.memory, spec.speed) = (name, ByteSize(memory), Speed(speed));
        (spec.engine, spec.ask, spec.held) = (EngineId(engine), Price(ask), held);
        Command::AttachWorker(spec)
    });
    let open = (text(), hash()).prop_map(|(name, token)| {
        let roles = Role::ALL.into_iter().collect();
        Command::OpenAccount { name, roles, token }
    });
    let money = || (account(), currency(), amount());
    let expires = proptest::option::of(number().prop_map(Time));
    prop_oneof![
        12 => sound(),
        10 => sales(),
        6 => telling(),
        12 => files::filing(),
        1 => Just(Command::Start),
        1 => Just(Command::Tick),
        1 => any::<u128>().prop_map(|seed| Command::Draw { seed }),
        1 => (account(), any::<bool>()).prop_map(|(account, vouched)| Command::Vouch { account, vouched }),
        1 => open,
        1 => proptest::collection::vec(text(), 0..4).prop_map(|names| Command::OpenCustomers { names }),
        1 => (account(), hash()).prop_map(|(account, token)| Command::AddToken { account, token }),
        1 => hash().prop_map(|token| Command::RevokeToken { token }),
        1 => money().prop_map(|(to, currency, amount)| Command::Issue { to, currency, amount }),
        1 => money().prop_map(|(to, currency, amount)| Command::Transfer { to, currency, amount }),
        1 => (currency(), amount(), expires)
            .prop_map(|(currency, amount, expires)| Command::Hold { currency, amount, expires }),
        1 => (hold(), account(), amount()).prop_map(|(hold, to, amount)| Command::Settle { hold, to, amount }),
        1 => hold().prop_map(|hold| Command::Release { hold }),
        2 => job_spec(),
        1 => (0..6_u64).prop_map(|job| Command::CancelJob { job: JobId(job) }),
        2 => attach,
        1 => (worker(), 0..4_u64).prop_map(|(worker, link)| Command::DetachWorker { worker, link }),
        1 => (worker(), 0..4_u64).prop_map(|(worker, link)| Command::LoseWorker { worker, link }),
        1 => (worker(), any::<bool>(), runs())
            .prop_map(|(worker, accepting, returned)| Command::SetWorker { worker, accepting, returned }),
        2 => (worker(), proptest::collection::vec(report(), 0..4))
            .prop_map(|(worker, runs)| Command::Report { worker, runs }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let id = proptest::option::of((0..3_u128).prop_map(RequestId));
    (0..4_u64, id, command()).prop_map(|(caller, id, command)| Request {
        caller: AccountId(caller),
        id,
        command,
    })
}

fn encode(requests: &[Request]) -> Vec<u8> {
    let mut payload = Vec::new();
    requests.iter().for_each(|request| encode_request(&mut payload, request));
    payload
}

/// Two accounts that may do everything.
fn opened() -> State {
    let mut state = State::new();
    for name in ["ann", "bob"] {
        state.apply(BEGIN, &[ask(State::SYSTEM, open(name, &Role::ALL))]);
    }
    let issue =
        |to| Command::Issue { to: AccountId(to), currency: Currency::CREDIT, amount: Amount(1 << 60) };
    state.apply(BEGIN, &[ask(State::SYSTEM, issue(1)), ask(State::SYSTEM, issue(2))]);
    state
}

proptest! {
    #![proptest_config(common::cases())]

    #[test]
    fn requests_are_read_back_as_they_were(requests in proptest::collection::vec(request(), 0..8)) {
        prop_assert_eq!(decode_requests(&encode(&requests)).expect("encoded above"), requests);
    }

    /// Whatever is asked, at whatever time, nothing panics, and a replay with a restart leads to the same.
    #[test]
    fn hostile_requests_do_no_harm(
        entries in proptest::collection::vec((number(), proptest::collection::vec(request(), 0..5)), 0..30)
    ) {
        let (mut state, mut twin) = (opened(), opened());
        let mut now = BEGIN;
        for (step, requests) in &entries {
            // Mostly small steps, for a jump to the end of time leaves nothing to happen after it.
            now = now.after(Duration(if *step < u64::MAX { step % 100_000_000_000 } else { *step }));
            let before = state.clone();
            let nothing_due = before.now() == now && before.next_due().is_none_or(|at| at > now);
            let applied = state.apply(now, requests);
            state.sanity_check();
            prop_assert_eq!(&applied, &twin.apply(now, &decode_requests(&encode(requests)).expect("encoded")));
            if let ([request], [Err(_)], true) = (&requests[..], &applied.answers[..], nothing_due) {
                prop_assert!(request.id.is_some() || before == state, "a refusal changed the state");
            }
            twin = decode_state(STATE_VERSION, &encode_state(&twin)).expect("encoded above");
            prop_assert!(twin == state);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_state(STATE_VERSION, &bytes);
        for version in [1, 2] {
            let versioned: Vec<u8> = std::iter::once(version).chain(bytes.iter().copied()).collect();
            let _ = decode_requests(&versioned);
        }
    }

    #[test]
    fn damaged_bytes_are_decoded_or_refused(
        requests in proptest::collection::vec(request(), 1..6), place: prop::sample::Index, byte: u8, cut: bool
    ) {
        let mut state = opened();
        state.apply(BEGIN, &requests);
        let (mut entry, mut snapshot) = (encode(&requests), encode_state(&state));
        for bytes in [&mut entry, &mut snapshot] {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if cut {
                bytes.truncate(place);
            }
        }
        let _ = decode_requests(&entry);
        let read = decode_state(STATE_VERSION, &snapshot);
        prop_assert!(!cut || read.is_err(), "a snapshot is not whole without its end");
    }
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    // Caller 0, no id, a report of worker 1 with 2^62 runs, and then nothing.
    let mut payload = vec![2, 0, 0, 16, 1];
    payload.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    assert!(decode_requests(&payload).is_err());
}

#[test]
fn a_snapshot_with_something_behind_it_is_refused() {
    let mut bytes = encode_state(&State::new());
    bytes.push(0);
    assert!(decode_state(STATE_VERSION, &bytes).is_err());
}
