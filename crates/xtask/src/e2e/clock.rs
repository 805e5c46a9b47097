//! A clock that jumps: log time never runs backwards, what is due happens, nothing crashes.

use std::time::{Duration, SystemTime};

use pumasi_api::wire;
use serde_json::{Value, json};

use super::{Scene, eventually, example, program};
use crate::faults::{Clock, Dice};
use crate::pool::{Pool, block_on};

/// Milliseconds since 1970, so many seconds from now.
fn from_now(seconds: u64) -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    (since + Duration::from_secs(seconds)).as_millis() as u64
}

fn held(scene: &Scene) -> String {
    let me: wire::Account = scene.pool.ask(&scene.researcher, &["account"]).expect("an account");
    me.balances[0].held.clone()
}

/// The times of all entries, in milliseconds.
fn log_times(scene: &Scene) -> Vec<u64> {
    let text = scene.succeed(&["log", "show", &scene.pool.data.to_string_lossy(), "--json"]);
    let time = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["time_ms"].as_u64();
    text.lines().map(|line| time(line).expect("a time")).collect()
}

#[test]
fn a_clock_that_jumps_back_and_forth_breaks_nothing() {
    let mut pool = Pool::prepare(&program(), &["--link-grace", "1s"]).expect("a pool");
    let Some(clock) = Clock::in_folder(pool.dir.path()) else {
        return println!("skipped: the package faketime is not installed");
    };
    pool.hub_env = clock.environment();
    pool.start_hub().expect("the hub starts");
    let mut scene = Scene::on(pool, 1);
    let run = |scene: &Scene| scene.succeed(&["run", &example("noop/noop.wasm"), "--budget", "5"]);
    run(&scene);
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let hold = json!({"amount": "3", "expires_ms": from_now(3600)});
    let _: wire::Held = block_on(client.post("/v1/holds", &hold, None)).expect("a hold");
    let module = pumasi_types::Hash::of(&std::fs::read(example("noop/noop.wasm")).expect("the example"));
    let body = json!({
        "module": module, "tasks": 1, "budget": "2", "limits": {"fuel": 1000}, "engine": "nobody-has-this",
        "deadline_ms": from_now(7200),
    });
    let late: wire::Job = block_on(client.post("/v1/jobs", &body, None)).expect("a job");

    clock.set(-86_400);
    let info: wire::HubInfo = block_on(client.get("/v1/hub")).expect("the hub");
    assert!(info.time_ms < from_now(0) - 86_000_000, "the library does not move the hub's clock");
    run(&scene);
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    for _ in 0..20 {
        clock.set(-i64::try_from(dice.below(1_000_000_000)).expect("it is small"));
        scene.succeed(&["account", "transfer", "operator", "0.01"]);
    }
    run(&scene);
    // A clock that is behind makes nothing happen early, and a restart finds its way from the log's time.
    assert_eq!((held(&scene).as_str(), scene.job(late.id.0).state.as_str()), ("5.00", "active"));
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    scene.pool.start_hub().expect("it starts with a clock that is behind the log");
    run(&scene);
    assert_eq!(held(&scene), "5.00");

    clock.set(4000);
    eventually("the hold ends", || held(&scene) == "2.00");
    assert_eq!(scene.job(late.id.0).state, "active");
    clock.set(8000);
    eventually("the job ends", || scene.job(late.id.0).state == "expired");
    assert_eq!(held(&scene), "0.00");
    clock.set(0);
    run(&scene);
    // Two centuries: what is far off is due too, and the next step back is as harmless.
    clock.set(6_000_000_000);
    scene.succeed(&["account", "transfer", "operator", "0.01"]);
    clock.set(0);
    run(&scene);
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    scene.pool.start_hub().expect("it starts");
    run(&scene);
    let times = log_times(&scene);
    assert!(times.is_sorted(), "log time ran backwards: {times:?}");
    let folder = scene.pool.data.to_string_lossy().into_owned();
    scene.succeed(&["log", "verify", &folder]);
    scene.check_books();
    scene.check_hub_log();
}
