//! `pumasi audit` and `pumasi witness` against a real hub, and against one that begins its history anew.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Scene, example};
use crate::process::Guarded;

/// A pool whose hub signs often.
fn scene(arguments: &[&str]) -> Scene {
    Scene::with(2, &[&["--checkpoint-every", "100ms", "--audit-lag", "0s"], arguments].concat())
}

/// The researcher pays so many tasks.
fn pay(scene: &Scene, tasks: u32) {
    let tasks = tasks.to_string();
    scene.succeed(&[
        "run",
        &example("noop/noop.wasm"),
        "--tasks",
        &tasks,
        "--budget",
        "5",
        "--yes",
        "--quiet",
    ]);
}

/// The size of the newest checkpoint, once it covers all that was paid.
fn wait_for_checkpoint(scene: &Scene) -> u64 {
    let until = Instant::now() + Duration::from_secs(60);
    let client = scene.pool.client(&scene.pool.operator).expect("a client");
    let size = || {
        let info = crate::pool::block_on(client.get::<pumasi_api::wire::ProofInfo>("/v1/proof"));
        info.expect("the hub proves").size
    };
    let paid = last_transfer(scene);
    while size() < paid {
        assert!(Instant::now() < until, "the hub signed {} of {paid}", size());
        std::thread::sleep(Duration::from_millis(50));
    }
    size()
}

/// The number of the researcher's newest transfer.
fn last_transfer(scene: &Scene) -> u64 {
    let statement: pumasi_api::wire::Statement =
        scene.pool.ask(&scene.researcher, &["statement", "--limit", "1"]).expect("a statement");
    statement.lines.iter().map(|line| line.transfer.0).max().expect("something was paid")
}

/// What an auditor with this memory finds: exit code and result.
fn audit(scene: &Scene, token: &str, memory: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = scene.pool.cli(token);
    command.args(["audit", "--json", "--data"]).arg(memory).args(more);
    let output = command.output().expect("the binary runs");
    let result = serde_json::from_slice(&output.stdout);
    (output.status.code(), result.unwrap_or_else(|_| panic!("{}", super::stderr(&output))))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()));
}

/// The last entry and the number of transfers in a hub's data folder.
fn head(scene: &Scene, data: &Path) -> u64 {
    let output = scene.cli(&["log", "verify", data.to_str().expect("text"), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    number(&report["last"], "seq")
}

#[test]
fn an_auditor_tells_where_a_hub_that_begins_its_history_anew_differs() {
    let mut scene = scene(&[]);
    let auditor = scene.pool.open_account("auditor", "auditor").expect("an account opens");
    let memory = scene.path("memory");
    pay(&scene, 30);
    wait_for_checkpoint(&scene);
    let (code, first) = audit(&scene, &auditor, &memory, &[]);
    assert_eq!((code, &first["sound"]), (Some(0), &Value::Bool(true)), "{first}");
    assert!(number(&first, "transfers") >= 30 && number(&first, "new_commands") > 30, "{first}");
    let (_, second) = audit(&scene, &auditor, &memory, &[]);
    assert!(number(&second, "new_entries") < number(&first, "new_entries"), "only what is new: {second}");
    // Not everybody may read what all others paid.
    let refused =
        scene.pool.cli(&scene.researcher).args(["audit", "--data"]).arg(scene.path("other")).output();
    assert_eq!(refused.expect("the binary runs").status.code(), Some(4));

    // An operator keeps a copy of the folder, lets time go by, and takes the copy again.
    let (data, copied) = (scene.path("hub"), scene.path("copy"));
    scene.pool.hub().expect("it runs").stop(Duration::from_secs(60)).expect("it stops");
    copy(&data, &copied);
    let (kept, paid) = (head(&scene, &copied), {
        scene.pool.start_hub().expect("it starts");
        scene.pool.wait_for_workers(2).expect("workers come back");
        last_transfer(&scene)
    });
    pay(&scene, 20);
    wait_for_checkpoint(&scene);
    let (code, before) = audit(&scene, &auditor, &memory, &[]);
    assert_eq!(code, Some(0), "{before}");
    scene.pool.hub().expect("it runs").stop(Duration::from_secs(60)).expect("it stops");
    copy(&copied, &data);
    scene.pool.start_hub().expect("it starts with its own old key and checkpoint");
    scene.pool.wait_for_workers(2).expect("workers come back");
    pay(&scene, 40);
    wait_for_checkpoint(&scene);

    let (code, after) = audit(&scene, &auditor, &memory, &[]);
    assert_eq!((code, &after["sound"]), (Some(1), &Value::Bool(false)), "{after}");
    assert_eq!(number(&after["rewritten"], "entry"), kept + 1, "{after}");
    assert_eq!(number(&after["rewritten"], "transfer"), paid + 1, "{after}");
    // Who has no memory sees nothing: everything is signed by the right key.
    let (code, fresh) = audit(&scene, &auditor, &scene.path("fresh"), &[]);
    assert_eq!((code, &fresh["sound"]), (Some(0), &Value::Bool(true)), "{fresh}");
}

#[test]
fn an_auditor_waits_for_what_a_hub_shows_later_and_an_operator_does_not() {
    let scene = Scene::with(2, &["--checkpoint-every", "100ms"]);
    let auditor = scene.pool.open_account("auditor", "auditor").expect("an account opens");
    pay(&scene, 5);
    let signed = wait_for_checkpoint(&scene);
    let (code, later) = audit(&scene, &auditor, &scene.path("later"), &[]);
    assert_eq!((code, &later["sound"]), (Some(0), &Value::Bool(true)), "{later}");
    assert_eq!((number(&later, "transfers"), number(&later, "lag_ms")), (0, 7_200_000), "{later}");
    assert!(number(&later["checkpoint"], "size") >= signed, "{later}");
    let (code, now) = audit(&scene, &scene.pool.operator, &scene.path("now"), &[]);
    assert_eq!((code, &now["sound"]), (Some(0), &Value::Bool(true)), "{now}");
    assert!(number(&now, "transfers") >= signed, "{now}");
}

/// `pumasi witness` as a process; its key and address.
fn witness(scene: &Scene, log: &str) -> (String, String, Guarded) {
    let mut command = Command::new(super::program());
    command.args(["witness", "--name", "witness.example", "--log", log, "--listen", "127.0.0.1:0", "--json"]);
    command.arg("--data").arg(scene.path("witness")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut witness = Guarded::spawn(&mut command).expect("a witness starts");
    let mut line = String::new();
    BufReader::new(witness.stdout().expect("piped")).read_line(&mut line).expect("it says where it is");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    let text = |name: &str| said[name].as_str().expect("text").to_owned();
    (text("key"), text("address"), witness)
}

fn policy(scene: &Scene, log: &str, witness: &str) -> PathBuf {
    scene.file("policy", format!("log {log}\nwitness W {witness}\nquorum W\n").as_bytes()).into()
}

#[test]
fn a_witness_does_not_follow_a_hub_that_begins_its_history_anew() {
    let mut scene = scene(&[]);
    let auditor = scene.pool.open_account("auditor", "auditor").expect("an account opens");
    let log = scene.succeed(&["proof", "key", "--quiet"]).trim().to_owned();
    let (key, address, _witness) = witness(&scene, &log);
    let data = scene.path("hub");
    let policy = policy(&scene, &log, &key);
    let policy = ["--policy", policy.to_str().expect("text")];
    scene.pool.hub().expect("it runs").stop(Duration::from_secs(60)).expect("it stops");
    let copied = scene.path("copy");
    copy(&data, &copied);
    scene.pool.restart_hub(&["--witness", &format!("{key}@{address}")]).expect("it starts");
    scene.pool.wait_for_workers(2).expect("workers come back");
    pay(&scene, 20);
    wait_for_checkpoint(&scene);
    let (code, good) = audit(&scene, &auditor, &scene.path("memory"), &policy);
    assert_eq!((code, &good["witnesses"][0]), (Some(0), &Value::from("witness.example")), "{good}");

    scene.pool.hub().expect("it runs").kill().expect("it was alive");
    copy(&copied, &data);
    let refused = scene.pool.start_hub().expect_err("its own witness knows more").to_string();
    assert!(refused.contains("the witness witness.example has cosigned"), "{refused}");
    // An operator who asks no witness any more can go on; whoever asks for one notices.
    scene.pool.forget_arguments(2);
    scene.pool.start_hub().expect("it starts");
    scene.pool.wait_for_workers(2).expect("workers come back");
    pay(&scene, 40);
    wait_for_checkpoint(&scene);
    let (code, fresh) = audit(&scene, &auditor, &scene.path("fresh"), &policy);
    assert_eq!((code, &fresh["sound"]), (Some(1), &Value::Bool(false)), "{fresh}");
    assert!(fresh["problem"].as_str().is_some_and(|text| text.contains("quorum")), "{fresh}");
}
