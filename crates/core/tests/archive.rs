//! What the archive keeps of an order: its bytes stay, and no others are taken for it.

#[path = "common/mod.rs"]
mod common;
#[path = "common/kept.rs"]
mod kept;

use common::{BEGIN, ask, open};
use kept::Kept;
use proptest::prelude::*;
use pumasi_core::{
    Archived, ArchivedOrder, ArticleSpec, Command, OrderBatch, OrderLines, OrderSpec, OrderState, OrderStep,
    Rate, Request, Role, Shipment, State, Tracking,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Duration, Hash, OrderId, ParcelId, RequestId, Time,
};

const SHOP: AccountId = AccountId(1);
const ALICE: AccountId = AccountId(2);

fn order(key: u64) -> OrderBatch {
    let mut batch = OrderBatch::default();
    let order = OrderSpec {
        key: RequestId(key.into()),
        customer: ALICE,
        total: Amount(900),
        currency: Currency::CREDIT,
        coupon: CouponId(0),
        place: None,
        pay_later: false,
        lines: OrderLines::default(),
    };
    batch.push(&order, [(ArticleId(1), 3)].into_iter());
    batch
}

/// The record of an order that was done, and of one that was cancelled, as they leave memory.
fn archived() -> Archived {
    let (mut state, mut kept) = (State::new(), Kept::new());
    let mut take = |time: Time, requests: &[Request]| {
        let applied = state.apply(time, requests);
        assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
        kept.take(&applied.effects, &state);
        applied.effects.archived
    };
    let article = ArticleSpec {
        sku: "pen".to_owned(),
        gtin: 0,
        title_ko: "연필".to_owned(),
        title_en: "pencil".to_owned(),
        category: "office".to_owned(),
        price: Amount(300),
        currency: Currency::CREDIT,
        tax: Rate::new(1_000).expect("in range"),
        tracking: Tracking::Untracked,
        on_sale: true,
    };
    let money = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1_000_000_000) };
    let shipment = Shipment { carrier: SHOP, tracking: "KR-7".to_owned(), lines: Vec::new() };
    let step = |by, order, step| ask(by, Command::StepOrder { order: OrderId(order), step });
    let mut requests = vec![
        ask(State::SYSTEM, open("shop", &[Role::Merchant])),
        ask(State::SYSTEM, open("alice", &[])),
        ask(State::SYSTEM, money),
        ask(SHOP, Command::PutArticles(vec![article])),
    ];
    requests.extend((1..=1_024).map(|key| ask(ALICE, Command::PlaceOrders(order(key)))));
    requests.extend([
        step(SHOP, 1, OrderStep::Allocate),
        step(SHOP, 1, OrderStep::Ship(shipment)),
        step(SHOP, 1, OrderStep::Deliver { parcel: ParcelId(1) }),
        step(ALICE, 1, OrderStep::Complete),
        step(SHOP, 2, OrderStep::Cancel),
    ]);
    take(BEGIN, &requests);
    let minutes = (1..).map(|minute| BEGIN.after(Duration::from_secs(60 * minute)));
    minutes.map(|time| take(time, &[])).find(|archived| !archived.orders().is_empty()).expect("they leave")
}

#[test]
fn records_keep_their_layout() {
    let archived = archived();
    let orders: Vec<OrderId> = archived.orders().iter().map(|(id, _)| *id).collect();
    assert_eq!(orders, [OrderId(1), OrderId(2)], "the others are not over");
    let from = archived.orders()[0].1.0;
    let first = &archived.bytes()[..(archived.orders()[1].1.0 - from) as usize];
    let read = ArchivedOrder::from_record(first).expect("a whole record");
    assert_eq!((read.id, read.sent_by, read.order.state), (OrderId(1), ALICE, OrderState::Completed));
    assert_eq!(&*read.view().parcels()[0].tracking, "KR-7");
    let hex: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    // Archives outlive programs: when this fails, raise the version in `src/market/archive.rs` and read both.
    assert_eq!(hex, include_str!("archived_order.hex").trim());
}

#[test]
fn a_flipped_bit_is_noticed() {
    let archived = archived();
    let from = archived.orders()[0].1.0;
    let mut record = archived.bytes()[..(archived.orders()[1].1.0 - from) as usize].to_vec();
    for bit in 0..record.len() * 8 {
        record[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ArchivedOrder::from_record(&record), None, "bit {bit}");
        record[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..record.len() {
        assert_eq!(ArchivedOrder::from_record(&record[..length]), None, "{length} bytes of it");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_even_behind_a_right_check(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((0..60_usize, any::<u8>()), 0..4),
        known: bool,
    ) {
        let mut record = match known {
            true => archived().bytes().to_vec(),
            false => [&(body.len() as u32 + 1).to_le_bytes()[..], &[7; 8], &[1], &body].concat(),
        };
        if known {
            let length = ArchivedOrder::record_bytes(record.first_chunk().expect("there are some"));
            record.truncate(length as usize - 8);
            for (at, byte) in changes {
                // The length stays.
                let at = 12 + at % (record.len() - 12);
                record[at] = byte;
            }
        }
        let check = Hash::of(&record);
        record.extend_from_slice(&check.as_bytes()[..8]);
        if let Some(read) = ArchivedOrder::from_record(&record) {
            let view = read.view();
            for line in 0..view.lines.len() {
                std::hint::black_box(view.progress(line));
            }
        }
    }
}
