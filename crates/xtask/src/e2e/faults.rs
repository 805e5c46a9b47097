//! Processes that die: nothing acknowledged is lost, nothing is paid twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pumasi_api::wire;
use pumasi_types::{Currency, TaskIndex};

use super::{Scene, eventually, example, program};
use crate::faults::{Dice, Plan, Proxy, Way, campaign, orders};

/// Submits a job of real work and returns its id.
fn submit(scene: &Scene, quorum: &str) -> u64 {
    let job: wire::Job = scene
        .pool
        .ask(
            &scene.researcher,
            &[
                "submit",
                &example("smith-waterman/sw.wasm"),
                "--each",
                &example("smith-waterman/queries/*0*.fasta"),
                "--in",
                &example("smith-waterman/targets.fasta"),
                "--quorum",
                quorum,
                "--budget",
                "500",
                "--yes",
            ],
        )
        .expect("the job is taken");
    job.id.0
}

fn wait_until(scene: &Scene, id: u64, reached: impl Fn(&wire::Job) -> bool) -> wire::Job {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let job = scene.job(id);
        if reached(&job) {
            return job;
        }
        assert!(Instant::now() < until, "the job does not get on: {job:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every task is paid to as many owners as its quorum says, or to one more who checked it, and to each once;
/// together that is what the job spent.
fn check_pay(scene: &Scene, job: &wire::Job) {
    let job = wait_until(scene, job.id.0, |job| job.provisional == 0 && job.doubted == 0);
    let (mut paid, mut sum) = (BTreeSet::new(), 0);
    for (n, owner) in scene.owners.iter().enumerate() {
        let statement: wire::Statement =
            scene.pool.ask(owner, &["statement", "--limit", "1000"]).expect("a statement");
        for line in statement.lines {
            let run = line.run.expect("owners are paid for runs only");
            assert!(paid.insert((run.task, n)), "owner {n} was paid twice for task {}", run.task);
            sum += minor(&line.amount);
        }
    }
    for task in 0..job.tasks {
        let count = paid.range((TaskIndex(task), 0)..=(TaskIndex(task), usize::MAX)).count();
        let quorum = usize::from(job.quorum);
        assert!((quorum..=quorum + 1).contains(&count), "task {task} was paid {count} times: {job:?}");
    }
    assert_eq!(sum, minor(&job.spent), "{job:?}");
    scene.check_books();
}

fn minor(amount: &str) -> i64 {
    Currency::CREDIT.parse_amount(amount).expect("an amount").0
}

#[test]
fn a_hub_that_is_killed_fifty_times_loses_nothing_and_does_nothing_twice() {
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let report = campaign(&program(), &Plan { seed, kills: 50 }).unwrap_or_else(|error| panic!("{error}"));
    println!("{report}");
    assert_eq!(report.hub_kills, 50);
    assert!(report.worker_kills > 0 && report.freezes > 0 && report.network_faults > 0, "{report}");
    assert!(report.transfers > 100 && report.jobs > 0 && report.runs_paid > 0, "{report}");
}

#[test]
fn orders_are_placed_once_and_whole_though_the_hub_is_killed_again_and_again() {
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let report =
        orders::campaign(&program(), &Plan { seed, kills: 12 }).unwrap_or_else(|error| panic!("{error}"));
    println!("{report}");
    assert_eq!(report.kills, 12);
    assert!(report.placed > 1_000 && report.refused > 0 && report.twice > 0, "{report}");
}

#[test]
fn a_worker_that_sleeps_longer_than_its_lease_is_replaced_and_comes_back() {
    let mut scene = Scene::with(2, &["--link-lease", "1s", "--link-grace", "500ms"]);
    let id = submit(&scene, "1");
    wait_until(&scene, id, |job| job.succeeded > 1);
    scene.workers[0].freeze().expect("it runs");
    eventually("the hub notices that a worker sleeps", || scene.attached() == 1);
    let before = scene.job(id).succeeded;
    wait_until(&scene, id, |job| job.succeeded > before || job.over);
    scene.workers[0].thaw().expect("it sleeps");
    eventually("the worker comes back", || scene.attached() == 2);
    let job = wait_until(&scene, id, |job| job.over);
    assert_eq!(job.state, "succeeded");
    check_pay(&scene, &job);
    assert!(scene.workers.iter_mut().all(crate::process::Guarded::is_alive), "workers outlive their sleep");
    scene.check_hub_log();
}

#[test]
fn a_worker_on_every_kind_of_bad_network_is_paid_once_for_what_it_did() {
    let mut scene = Scene::with(0, &["--link-lease", "1s", "--link-grace", "500ms"]);
    let proxy = Proxy::start(scene.pool.address.parse().expect("an address")).expect("a proxy starts");
    for (name, proxy) in [("near", None), ("far", Some(&proxy))] {
        let owner = scene.pool.open_account(name, "owner").expect("an account opens");
        scene.join_through(proxy, &owner, name);
        scene.owners.push(owner);
    }
    scene.pool.wait_for_workers(2).expect("workers join");
    let id = submit(&scene, "2");
    for way in [Way::Slow, Way::Cut, Way::Open, Way::Noisy, Way::Broken, Way::Open] {
        proxy.set(way);
        match way {
            Way::Cut | Way::Broken => {
                eventually("the hub notices that a worker is cut off", || scene.attached() == 1);
            }
            Way::Open => eventually("the worker comes back", || scene.attached() == 2),
            Way::Slow | Way::Noisy => std::thread::sleep(Duration::from_millis(1500)),
        }
    }
    let job = wait_until(&scene, id, |job| job.over);
    assert_eq!(job.state, "succeeded");
    check_pay(&scene, &job);
    scene.check_hub_log();
}

#[test]
fn a_killed_worker_costs_nobody_anything() {
    let mut scene = Scene::new(2);
    let owner = scene.owners[0].clone();
    scene.join(&owner, "second");
    scene.pool.wait_for_workers(3).expect("three workers");
    let id = submit(&scene, "2");
    wait_until(&scene, id, |job| job.succeeded > 3);
    scene.workers[2].kill().expect("it was alive");
    let job = wait_until(&scene, id, |job| job.over);
    assert_eq!(job.state, "succeeded");
    check_pay(&scene, &job);
}

#[test]
fn a_killed_hub_goes_on_where_it_was() {
    let mut scene = Scene::new(2);
    let id = submit(&scene, "2");
    for round in 1..=3 {
        wait_until(&scene, id, |job| job.succeeded >= 5 * round || job.over);
        scene.pool.hub().expect("a hub").kill().expect("it was alive");
        scene.pool.start_hub().expect("the hub starts again");
    }
    let job = wait_until(&scene, id, |job| job.over);
    assert_eq!(job.state, "succeeded");
    assert!(scene.workers.iter_mut().all(crate::process::Guarded::is_alive), "workers outlive their hub");
    check_pay(&scene, &job);
    let folder = scene.pool.dir.path().join("hub/log").to_string_lossy().into_owned();
    scene.succeed(&["log", "verify", &folder]);
}

#[test]
fn a_worker_that_disappears_is_replaced() {
    let mut scene = Scene::new(1);
    let owner = scene.owners[0].clone();
    let id = submit(&scene, "1");
    wait_until(&scene, id, |job| job.succeeded > 1);
    scene.workers[0].kill().expect("it was alive");
    scene.join(&owner, "replacement");
    let job = wait_until(&scene, id, |job| job.over);
    assert_eq!(job.state, "succeeded");
    check_pay(&scene, &job);
}

#[test]
fn cancelling_stops_the_work_and_returns_the_money() {
    let scene = Scene::new(1);
    let id = submit(&scene, "1");
    wait_until(&scene, id, |job| job.succeeded > 1);
    scene.succeed(&["cancel", &id.to_string()]);
    let job = scene.job(id);
    assert_eq!(job.state, "cancelled");
    let me: wire::Account = scene.pool.ask(&scene.researcher, &["account"]).expect("an account");
    assert_eq!(me.balances[0].held, "0.00", "nothing is held for a job that is over");
    scene.succeed(&["run", &example("noop/noop.wasm"), "--budget", "5"]);
    scene.check_books();
}
