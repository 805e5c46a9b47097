//! Golden scripts: what people and machines ask of a hub, and what it answers, in plain words.
//!
//! After every line the whole state is checked, written and read back; at the end of a script everything is
//! replayed from its encoded entries. `UPDATE_GOLDENFILES=1` writes the scripts' outputs anew.

mod common;
#[path = "common/kept.rs"]
mod kept;
#[path = "scripts/runner.rs"]
mod runner;

/// One test per script, and one that no script is forgotten.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/", stringify!($name), ".txt");
                goldenscript::run(&mut runner::Pool::new(), path).expect("the script runs");
            }
        )*

        #[test]
        fn every_script_is_run() {
            let mut known = vec![$(concat!(stringify!($name), ".txt")),*];
            known.sort_unstable();
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
            let files = std::fs::read_dir(folder).expect("the folder is there");
            let mut found: Vec<String> =
                files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
            found.retain(|name| name.ends_with(".txt"));
            found.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

scripts! {
    accounts customers tokens rights
    transfers holds books exactly_once limits_of_money
    stock orders orders_refused orders_once pay_later coupons promotions coupons_back
    places steps steps_refused parcels arrives never_shipped scans cancel_orders returns orders_leave feeds sales webhooks
    first_job quorum owners_apart disagreement loser_unpaid hopeless_disagreement failing_tasks
    losses unfit_workers overdue reattach detach_and_lose stale_link pause_and_return
    cancel deadline dependencies priorities budgets mismatch prices
    new_owner new_owners_agree becoming_proven check_passes sleeper_caught proven_liars checker_outvoted sybils
    sybils_and_proven vouching
    check_window check_budget withdrawn_too_late withdrawn_unaffordable
    files files_trash files_shared files_moved
    late_and_wrong_reports self_computed forgetting restart bad_orders
}
