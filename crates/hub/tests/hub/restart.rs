//! Hubs that stop, crash, start on damaged folders or on a disk that is full.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::*;
use pumasi_api::client::HubClient;
use pumasi_api::link::{Hello, from_worker};
use pumasi_api::wire;
use pumasi_cell::CellFailure;
use pumasi_hub::{ServeError, start};
use pumasi_types::ByteSize;
use serde_json::{Value, json};

const FUEL: u64 = 100_000_000;

fn fine(run: Run) -> Finding {
    Finding::printed(FUEL, &format!("{}", run.task))
}

/// All that an operator can see, as JSON; links end with a hub and are left out.
async fn everything(hub: &TestHub) -> Vec<Value> {
    let operator = hub.operator();
    let mut seen = Vec::new();
    for path in ["/v1/accounts", "/v1/jobs?all=true", "/v1/books"] {
        seen.push(operator.get::<Value>(path).await.unwrap());
    }
    let accounts: Vec<wire::Account> = operator.get("/v1/accounts").await.unwrap();
    for account in &accounts {
        seen.push(operator.get(&format!("/v1/statement?limit=1000&account={}", account.name)).await.unwrap());
    }
    let jobs: wire::Jobs = operator.get("/v1/jobs?all=true").await.unwrap();
    for job in &jobs.jobs {
        seen.push(operator.get(&format!("/v1/jobs/{}/tasks?limit=10000", job.id)).await.unwrap());
    }
    seen
}

/// The token of an account that was opened before.
async fn again(hub: &TestHub, name: &str) -> HubClient {
    let path = format!("/v1/accounts/{name}/tokens");
    let token: wire::NewToken = hub.operator().post(&path, &json!({}), None).await.unwrap();
    hub.client(&token.token)
}

#[tokio::test]
async fn a_hub_restarted_in_the_middle_of_a_job_goes_on_with_it() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 6, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 6)).await;
    let mut runs = worker.runs(6).await;
    worker.report(&[(runs[0].run, fine(runs[0]))]).await;
    let before = everything(&hub).await;
    worker.vanish();
    let hub = hub.restarted().await;
    assert_eq!(everything(&hub).await, before);

    let (alice, bob) = (again(&hub, "alice").await, again(&hub, "bob").await);
    let held: Vec<u64> = runs.drain(1..).map(|run| run.run).collect();
    let mut worker = FakeWorker::attach(&bob, Hello { held_runs: held.clone(), ..hello(1, 6) }).await;
    assert_eq!(worker.welcome.unwanted_runs, Vec::<u64>::new(), "a restart takes nothing away");
    let findings: Vec<_> = held.iter().map(|run| (*run, Finding::printed(FUEL, "x"))).collect();
    assert_eq!(worker.report(&findings).await, Vec::<u64>::new());
    let done = wait(&alice, &ordered).await;
    assert_eq!((done.state.as_str(), done.spent.as_str()), ("succeeded", "0.60"));
    assert_eq!(money(&bob).await.0, "0.60");
    assert_balanced(&hub.operator()).await;
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged_and_pays_nothing_twice() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 4, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 4)).await;
    let runs = worker.runs(4).await;
    worker.report(&[(runs[0].run, fine(runs[0])), (runs[1].run, fine(runs[1]))]).await;
    let before = everything(&hub).await;
    // As the power would leave it: no snapshot, no farewell.
    let copied = hub.dir.path().join("copy");
    copy(hub.data(), &copied);
    let mut options = hub.options.clone();
    options.data = copied;
    let second = TestHub { dir: hub.dir.clone(), running: start(options.clone()).await.unwrap(), options };
    assert_eq!(everything(&second).await, before);
    // The worker was not acknowledged its second report by this hub: it tells again.
    let bob = again(&second, "bob").await;
    let all: Vec<u64> = runs.iter().map(|run| run.run).collect();
    let mut worker = FakeWorker::attach(&bob, Hello { held_runs: all.clone(), ..hello(1, 4) }).await;
    assert_eq!(worker.welcome.unwanted_runs, all[..2]);
    let findings: Vec<_> = runs.iter().map(|run| (run.run, fine(*run))).collect();
    assert_eq!(worker.report(&findings).await, all[..2]);
    let alice = again(&second, "alice").await;
    assert_eq!(wait(&alice, &ordered).await.spent, "0.40");
    assert_balanced(&second.operator()).await;
}

#[tokio::test]
async fn runs_of_workers_that_do_not_come_back_after_a_restart_go_to_others() {
    let hub = TestHub::with(|options| options.link_grace = Duration::from_millis(200)).await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 1, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    worker.run().await;
    let hub = hub.restarted().await;
    hub.owner("carol").await;
    let mut other = FakeWorker::attach(&again(&hub, "carol").await, hello(2, 1)).await;
    other.work(1, fine).await;
    assert_eq!(wait(&again(&hub, "alice").await, &ordered).await.state, "succeeded");
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_ends_long_waits() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let ordered = submit(&alice, 1, "10").await;
    let waits = tokio::spawn({
        let (alice, ordered) = (alice.clone(), ordered.clone());
        async move {
            let path = format!("/v1/jobs/{}?wait_ms=60000", ordered.id);
            alice.get::<wire::Job>(&path).await
        }
    });
    // Requests that race with the stop are done and answered, or not done.
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let pays = tokio::spawn({
        let alice = alice.clone();
        async move {
            let mut paid = 0;
            loop {
                let pay = json!({"to": "operator", "amount": "0.01"});
                let one = alice.post::<_, wire::Transferred>("/v1/transfers", &pay, None);
                match tokio::time::timeout(PATIENCE, one).await {
                    Ok(Ok(_)) => paid += 1,
                    _ => return paid,
                }
                tell.send_replace(paid);
            }
        }
    });
    // The long wait began before these.
    let some = tokio::time::timeout(PATIENCE, told.wait_for(|paid| *paid > 20));
    some.await.expect("some are done in time").expect("it goes on");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let TestHub { dir, running, mut options } = hub;
    options.listen = running.address();
    let stopped = tokio::time::timeout(Duration::from_secs(9), running.stop()).await;
    stopped.expect("long before the drain runs out").unwrap();
    assert!(!waits.await.unwrap().expect("it was answered").over);
    let paid: u32 = pays.await.unwrap();
    assert!(paid > 0);
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    let statement: wire::Statement =
        hub.operator().get("/v1/statement?limit=1000&account=alice").await.unwrap();
    let transfers = statement.lines.iter().filter(|line| line.cause == "transfer").count() as u32;
    // The last one may have been done without its answer arriving.
    assert!(transfers == paid || transfers == paid + 1, "{transfers} {paid}");
}

#[tokio::test]
async fn snapshots_while_it_runs_and_a_trimmed_log_restore_the_same() {
    let hub = TestHub::with(|options| {
        options.snapshot_every = ByteSize(4_000);
        options.trim_log = true;
    })
    .await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let mut worker = FakeWorker::attach(&bob, hello(1, 4)).await;
    for _ in 0..10 {
        let ordered = submit(&alice, 20, "10.00").await;
        worker.work(20, fine).await;
        assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
        let cancelled = submit(&alice, 1, "1").await;
        let path = format!("/v1/jobs/{}/cancel", cancelled.id);
        let _: wire::Job = alice.post(&path, &json!({}), None).await.unwrap();
        // Whatever was assigned of it is of no use any more.
        worker = {
            worker.vanish();
            FakeWorker::attach(&bob, hello(1, 4)).await
        };
    }
    let snapshots = hub.data().join("snapshots");
    let count = || files(&snapshots).len();
    assert!(count() >= 1, "snapshots were made while it ran");
    let before = everything(&hub).await;
    worker.vanish();
    let hub = hub.restarted().await;
    assert_eq!(everything(&hub).await, before);
    assert_eq!(count(), 2);

    // The newest is damaged: the one before and more of the log make the same state.
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    let newest = files(&snapshots).pop().unwrap();
    flip(&newest, 300);
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    assert_eq!(everything(&hub).await, before);
    assert_balanced(&hub.operator()).await;
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

async fn start_error(hub: TestHub, spoil: impl FnOnce(&Path)) -> ServeError {
    let TestHub { dir: _dir, running, options } = hub;
    running.stop().await.unwrap();
    spoil(&options.data);
    match start(options).await {
        Ok(_) => panic!("it must not start"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_damaged_log_is_refused_with_segment_and_offset() {
    let hub = TestHub::new().await;
    hub.researcher("alice", "100").await;
    let error = start_error(hub, |data| {
        let log =
            files(&data.join("log")).into_iter().find(|path| path.extension().is_some_and(|e| e == "log"));
        fs::remove_dir_all(data.join("snapshots")).unwrap();
        flip(&log.unwrap(), 2 * 4096 + 130);
    })
    .await;
    let text = error.to_string();
    for part in ["0000000000000001.log", "8192", "backup"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_history_is_refused() {
    let other = TestHub::new().await;
    other.researcher("mallory", "999").await;
    let (other_dir, other_data) = (other.dir.clone(), other.data().to_owned());
    other.running.stop().await.unwrap();
    let hub = TestHub::new().await;
    for name in ["alice", "bob", "carol", "dave"] {
        hub.researcher(name, "1").await;
    }
    let error = start_error(hub, |data| {
        fs::remove_dir_all(data.join("snapshots")).unwrap();
        copy(&other_data.join("snapshots"), &data.join("snapshots"));
        copy(&other_data, &data.join("elsewhere"));
        fs::copy(other_data.join("transfers.journal"), data.join("transfers.journal")).unwrap();
    })
    .await;
    assert!(matches!(error, ServeError::Cell(CellFailure::ForeignSnapshot { .. })), "{error}");
    assert!(error.to_string().contains("snapshots"), "{error}");
    drop(other_dir);
}

#[tokio::test]
async fn a_log_that_is_older_than_its_snapshot_is_refused() {
    let hub = TestHub::new().await;
    let copied = hub.dir.path().join("old");
    copy(hub.data(), &copied);
    hub.researcher("alice", "1").await;
    let error = start_error(hub, |data| {
        fs::remove_dir_all(data.join("log")).unwrap();
        copy(&copied.join("log"), &data.join("log"));
    })
    .await;
    assert!(matches!(error, ServeError::Cell(CellFailure::LogBehindSnapshot { .. })), "{error}");
}

#[tokio::test]
async fn a_lost_journal_is_made_anew_from_the_log() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    for _ in 0..5 {
        let pay = json!({"to": "operator", "amount": "1"});
        let _: wire::Transferred = alice.post("/v1/transfers", &pay, None).await.unwrap();
    }
    let before = everything(&hub).await;
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    fs::remove_file(options.data.join("transfers.journal")).unwrap();
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    assert_eq!(everything(&hub).await, before);
}

#[tokio::test]
async fn a_lost_operator_token_is_replaced_and_a_half_made_folder_finished() {
    let hub = TestHub::new().await;
    let old = hub.operator_token();
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    fs::remove_file(options.data.join("operator.token")).unwrap();
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    assert_ne!(hub.operator_token(), old);
    hub.operator().get::<wire::Account>("/v1/me").await.unwrap();
    let mode = fs::metadata(hub.data().join("operator.token")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);

    // A first start that broke off after its secrets were written.
    let (secret, token) = (hub.data().join("token.secret"), hub.data().join("operator.token"));
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let options = options_in(&dir);
    fs::create_dir_all(options.data.join("log")).unwrap();
    fs::copy(secret, options.data.join("token.secret")).unwrap();
    fs::copy(token, options.data.join("operator.token")).unwrap();
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    hub.operator().get::<wire::Account>("/v1/me").await.unwrap();
}

fn options_in(dir: &tempfile::TempDir) -> pumasi_hub::ServeOptions {
    options(&dir.path().join("data"))
}

#[tokio::test]
async fn two_hubs_do_not_share_a_folder_or_an_address() {
    let hub = TestHub::new().await;
    let error = start(hub.options.clone()).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let mut options = options_in(&dir);
    options.listen = hub.address();
    let error = start(options).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("--listen"), "{error}");
}

/// Runs an ignored test of this file with a small file system of its own under PUMASI_TEST_DIR; says so and
/// returns when the system does not permit that.
fn on_a_small_disk(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let namespace = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--map-root-user", "sh", "-c", command]);
        unshare.env("PUMASI_TEST_DIR", dir.path()).env("TEST", std::env::current_exe().unwrap());
        unshare
    };
    let mount = "mount -t tmpfs -o size=160m none \"$PUMASI_TEST_DIR\"";
    if !namespace(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {name}: this system does not permit to mount a small file system");
        return;
    }
    let output =
        namespace(&format!("{mount} && exec \"$TEST\" --exact {name} --ignored --nocapture")).output();
    let output = output.unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_full_disk_refuses_clearly_and_loses_nothing() {
    on_a_small_disk("restart::full_disk_child");
}

#[tokio::test]
#[ignore = "a_full_disk_refuses_clearly_and_loses_nothing runs it on a small file system of its own"]
async fn full_disk_child() {
    let disk = std::path::PathBuf::from(std::env::var("PUMASI_TEST_DIR").unwrap());
    let mut options = options(&disk.join("data"));
    options.snapshot_every = ByteSize(u64::MAX);
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    let alice = hub.researcher("alice", "1000000").await;
    let token: wire::NewToken = alice.post("/v1/accounts/alice/tokens", &json!({}), None).await.unwrap();
    let ordered = submit(&alice, 1, "10").await;
    let mut worker = FakeWorker::attach(&hub.owner("bob").await, hello(1, 1)).await;
    let run = worker.run().await;

    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    // Blobs have no room, which is told as such; the rest goes on while the log's segment has room.
    let bearer = format!("Bearer {}", token.token);
    let headers = [("authorization", bearer.as_str())];
    hub.raw("POST", "/v1/blobs", &headers, &[5; 200_000]).await.expect(507, "disk_full");
    let report = worker.report_of(&[(run.run, fine(run))]);
    worker.send(from_worker::Message::Report(report)).await;
    assert_eq!(worker.end().await.code(), tonic::Code::Unavailable, "its output has no room");
    let mut paid = 0;
    let refused = loop {
        // A hold with much text in it would be refused; many jobs with long arguments fill the log.
        let order = json!({
            "module": ordered.module, "tasks": 1, "budget": "10", "checks": "off",
            "args": ["x".repeat(120_000)],
        });
        let answer = hub.json(&token.token, "POST", "/v1/jobs", &order.to_string()).await;
        if answer.status != 201 {
            break answer;
        }
        paid += 1;
        assert!(paid < 2_000, "the disk never fills up");
    };
    refused.expect(503, "hub_stopped");
    assert!(refused.body.contains("disk is full") && refused.body.contains("free space"), "{refused:?}");
    assert!(paid > 100, "{paid}");
    hub.json(&token.token, "GET", "/v1/me", "").await.expect(503, "hub_stopped");
    hub.raw("GET", "/healthz", &[], b"").await.expect(503, "hub_stopped");
    let TestHub { dir, running, options } = hub;
    assert!(matches!(running.stop().await, Err(ServeError::Stopped(_))));

    fs::remove_file(&ballast).unwrap();
    let hub = TestHub { dir, running: start(options.clone()).await.unwrap(), options };
    let jobs: wire::Jobs = hub.operator().get("/v1/jobs?all=true&limit=1000").await.unwrap();
    assert!(jobs.jobs.len() > paid, "{} of {paid}", jobs.jobs.len());
    let bob = again(&hub, "bob").await;
    let mut worker = FakeWorker::attach(&bob, Hello { held_runs: vec![run.run], ..hello(1, 1) }).await;
    assert_eq!(worker.report(&[(run.run, fine(run))]).await, Vec::<u64>::new());
    assert_balanced(&hub.operator()).await;
}
