//! Orders leave memory while the power fails: whatever the disk lost, the next start has every one of them.

use std::path::Path;
use std::sync::Arc;

use pumasi_api::link::FromHub;
use pumasi_cell::{Batch, Cell, Derived, Outlet, Restored, restore};
use pumasi_core::{
    Answer, ArticleSpec, Command, OrderBatch, OrderLines, OrderSpec, OrderState, OrderStep, Rate, Request,
    Role, Shipment, State, Tracking,
};
use pumasi_log::{Disk, FileLog, FileLogOptions, SnapshotStore};
use pumasi_sim::disk::SimDisk;
use pumasi_types::{
    AccountId, Amount, ArticleId, CellId, CouponId, Currency, Duration, Hash, OrderId, ParcelId, RequestId,
    Time,
};

const SHOP: AccountId = AccountId(1);
const ALICE: AccountId = AccountId(2);
const BEGIN: Time = Time(1_700_000_000_000_000_000);
/// Three pages of the table of orders.
const ORDERS: u64 = 3 * 1_024;
const MINUTES: u64 = 2 * 24 * 60;

/// Nobody listens.
struct Nobody;

impl Outlet for Nobody {
    type Reply = ();
    type Link = ();
    type Waiter = ();

    fn answer(&mut self, (): (), answer: Answer) {
        assert!(answer.is_ok(), "{answer:?}");
    }

    fn send(&mut self, (): &(), _: FromHub) -> bool {
        true
    }

    fn over(&mut self, (): ()) {}
}

fn open(disk: &SimDisk) -> Restored<FileLog> {
    let process: Arc<dyn Disk> = disk.process();
    let options = FileLogOptions { background: false, ..FileLogOptions::new(CellId(0)) };
    let opened = FileLog::open_on(Arc::clone(&process), Path::new("/hub/log"), options).expect("a sound log");
    let derived = Derived::open_on(&*process, Path::new("/hub")).expect("sound files");
    let snapshots = SnapshotStore::open_on(process, Path::new("/hub/snapshots")).expect("sound snapshots");
    restore(opened.log, snapshots, derived).expect("it is restored")
}

fn ask(caller: AccountId, command: Command) -> Request {
    Request { caller, id: None, command }
}

/// Steps at a time; whether the disk took it.
fn step(cell: &mut Cell<FileLog, Nobody>, now: Time, requests: Vec<Request>) -> bool {
    let mut batch = Batch::default();
    requests.into_iter().for_each(|request| batch.ask(request, ()));
    cell.step(now, &mut || 1, &mut batch, &mut Nobody).is_ok()
}

/// Orders of which a third was cancelled, and a third shipped and completed.
fn sell(cell: &mut Cell<FileLog, Nobody>) {
    let open = |name: &str, roles: &[Role]| {
        let (name, roles, token) =
            (name.to_owned(), roles.iter().copied().collect(), Hash::of(name.as_bytes()));
        ask(State::SYSTEM, Command::OpenAccount { name, roles, token })
    };
    let article = ArticleSpec {
        sku: "pen".to_owned(),
        gtin: 0,
        title_ko: "연필".to_owned(),
        title_en: "pencil".to_owned(),
        category: "office".to_owned(),
        price: Amount(300),
        currency: Currency::CREDIT,
        tax: Rate::default(),
        tracking: Tracking::Untracked,
        on_sale: true,
    };
    let mut batch = OrderBatch::default();
    for key in 1..=ORDERS {
        let order = OrderSpec {
            key: RequestId(key.into()),
            customer: ALICE,
            total: Amount(300),
            currency: Currency::CREDIT,
            coupon: CouponId(0),
            place: None,
            pay_later: false,
            lines: OrderLines::default(),
        };
        batch.push(&order, [(ArticleId(1), 1)].into_iter());
    }
    let money = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1_000_000_000) };
    let mut requests = vec![
        open("shop", &[Role::Merchant]),
        open("alice", &[]),
        ask(State::SYSTEM, money),
        ask(SHOP, Command::PutArticles(vec![article])),
        ask(ALICE, Command::PlaceOrders(batch)),
    ];
    let shipment = Shipment { carrier: SHOP, tracking: "KR-7".to_owned(), lines: Vec::new() };
    for order in (1..=ORDERS).map(OrderId) {
        let mut step = |by, step| requests.push(ask(by, Command::StepOrder { order, step }));
        match order.0 % 3 {
            0 => step(SHOP, OrderStep::Cancel),
            1 => {
                step(SHOP, OrderStep::Allocate);
                step(SHOP, OrderStep::Ship(shipment.clone()));
                step(SHOP, OrderStep::Deliver { parcel: ParcelId(1) });
                step(ALICE, OrderStep::Complete);
            }
            _ => {}
        }
    }
    assert!(step(cell, BEGIN, requests), "the disk is sound");
}

/// Every order is in memory, in the archive, or both.
fn check(restored: &Restored<FileLog>) {
    let (market, archive) = (restored.state.market(), &restored.derived.archive);
    for id in (1..=ORDERS).map(OrderId) {
        let left = archive.read(id, market.archived_to()).expect("a sound archive");
        let state = market.view(id).map(|view| view.order.state);
        let parcels = left.as_ref().map(|order| order.view().parcels().len());
        match (id.0 % 3, state) {
            (0, None) => assert_eq!(left.map(|order| order.order.state), Some(OrderState::Cancelled)),
            (1, None) => assert_eq!(parcels, Some(1), "order {id}"),
            (1, Some(OrderState::Completed)) => {
                let in_memory = market.view(id).map_or(0, |view| view.parcels().len());
                assert!(in_memory == 1 || parcels == Some(1), "the parcels of order {id}");
                assert_eq!(in_memory == 0, !market.archived(id).is_none(), "order {id}");
            }
            (_, state) => assert!(state.is_some(), "order {id} is lost"),
        }
    }
    let figures = market.last_sales().0;
    let sold = (1..=figures).map(|id| restored.derived.sales.read(pumasi_types::SalesId(id)).expect("there"));
    assert_eq!(sold.map(|sold| sold.figure.quantity).sum::<i64>(), (ORDERS - ORDERS / 3) as i64);
}

#[test]
fn orders_that_left_survive_whatever_a_crash_takes() {
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let mut cell = Cell::new(open(&disk), Duration::from_secs(10));
        sell(&mut cell);
        let mut minute = 0;
        while minute < MINUTES - 1 {
            minute += 1;
            let now = BEGIN.after(Duration::from_secs(60 * minute));
            assert!(step(&mut cell, now, vec![ask(State::SYSTEM, Command::Tick)]), "the disk is sound");
        }
        // Now pages are dropped with each entry, and the power fails somewhere among them; some snapshots come between.
        disk.crash_in(1 + seed * 10);
        let mut went_on = true;
        while went_on && minute < MINUTES + 60 {
            minute += 1;
            let now = BEGIN.after(Duration::from_secs(60 * minute));
            went_on = step(&mut cell, now, vec![ask(State::SYSTEM, Command::Tick)]);
            if went_on && seed % 2 == 0 {
                let work = cell.due_snapshot(0).ok().flatten();
                cell.snapshot_done(work.and_then(|work| work.run().ok()).map(|(head, _)| head));
            }
        }
        drop(cell);
        disk.cancel_stop();
        if disk.is_off() {
            disk.reboot();
        } else {
            disk.crash();
            disk.reboot();
        }
        let restored = open(&disk);
        check(&restored);
        // And it goes on.
        let mut cell = Cell::new(restored, Duration::from_secs(10));
        for later in 1..=9 {
            let now = BEGIN.after(Duration::from_secs(60 * (minute + later)));
            assert!(step(&mut cell, now, vec![ask(State::SYSTEM, Command::Tick)]), "the disk is sound");
        }
        assert!(cell.state().market().archived_to() > pumasi_core::ArchivePlace::FIRST, "some left");
        drop(cell);
        disk.crash();
        disk.reboot();
        check(&open(&disk));
    }
}
