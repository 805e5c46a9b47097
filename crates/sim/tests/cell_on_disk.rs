//! A cell whose disk refuses to make the journal of transfers durable: it stops, and the next start has everything.

use std::path::Path;
use std::sync::Arc;

use pumasi_api::link::FromHub;
use pumasi_cell::{Batch, Cell, Derived, Outlet, Restored, restore};
use pumasi_core::{Answer, Command, Request, Role, Roles, State};
use pumasi_log::{Disk, FileLog, FileLogOptions, SnapshotStore};
use pumasi_sim::disk::{Faults, SimDisk};
use pumasi_types::{AccountId, Amount, CellId, Currency, Duration, Hash, Time, TransferId};

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
    let derived = Derived::open_on(&*process, Path::new("/hub")).expect("sound journals");
    let snapshots = SnapshotStore::open_on(process, Path::new("/hub/snapshots")).expect("sound snapshots");
    restore(opened.log, snapshots, derived).expect("it is restored")
}

/// Steps with so many payments.
fn pay(cell: &mut Cell<FileLog, Nobody>, times: u64) -> Result<(), pumasi_cell::CellFailure> {
    let mut batch = Batch::default();
    for _ in 0..times {
        let issue = Command::Issue { to: AccountId(1), currency: Currency::CREDIT, amount: Amount(1) };
        batch.ask(Request { caller: State::SYSTEM, id: None, command: issue }, ());
    }
    cell.step(Time(1_700_000_000_000_000_000), &mut || 1, &mut batch, &mut Nobody)
}

#[test]
fn a_journal_that_could_not_be_synced_stops_the_cell() {
    // What is left of the pages of a failed sync differs from seed to seed.
    for seed in 0..16 {
        let disk = SimDisk::new(seed);
        let mut cell = Cell::new(open(&disk), Duration::from_secs(10));
        let mut batch = Batch::default();
        let roles = Roles::from_iter([Role::Researcher]);
        let open_account = Command::OpenAccount { name: "alice".to_owned(), roles, token: Hash::ZERO };
        batch.ask(Request { caller: State::SYSTEM, id: None, command: open_account }, ());
        cell.step(Time(1), &mut || 1, &mut batch, &mut Nobody).expect("the disk is sound");
        pay(&mut cell, 100).expect("the disk is sound");
        let snapshot = cell.due_snapshot(0).expect("the log can be read").expect("it is due");
        disk.set_faults(Faults { sync_errors: 1, ..Faults::default() });
        assert!(snapshot.run().is_err(), "no snapshot relies on what may be lost");
        disk.set_faults(Faults::default());
        cell.snapshot_done(None);
        let refused = pay(&mut cell, 1).expect_err("the journal is in doubt").to_string();
        assert!(refused.contains("start the hub again"), "{refused}");
        drop(cell);
        disk.kill();
        let restored = open(&disk);
        assert_eq!(restored.state.ledger().last_transfer(), TransferId(100));
        for id in 1..=100 {
            restored.derived.transfers.read(TransferId(id)).expect("the start wrote it again");
        }
    }
}
