//! The worker link against workers that break, lie, vanish, return, repeat themselves or do not listen.

use std::time::Duration;

use crate::common::*;
use pumasi_api::client::HubClient;
use pumasi_api::link::{FromHub, FromWorker, Hello, Report, Status, from_worker};
use pumasi_api::wire;
use pumasi_types::Hash;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::{Code, Streaming};

const FUEL: u64 = 100_000_000;

fn fine(run: Run) -> Finding {
    Finding::printed(FUEL, &format!("{}", run.task))
}

/// Looks until it is as wanted.
async fn until(client: &HubClient, job: &wire::Job, wanted: impl Fn(&wire::Job) -> bool) -> wire::Job {
    let looking = async {
        loop {
            let now = show(client, job).await;
            if wanted(&now) {
                return now;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the job gets there")
}

#[tokio::test]
async fn only_owners_with_a_token_may_attach() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let first = || message(from_worker::Message::Hello(hello(1, 1)));
    let unknown = open_link(&hub.client("pumasi_nobody"), first()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated, "{unknown:?}");
    let nobody = HubClient::new(alice.address().clone(), alice.pin().clone(), None);
    assert_eq!(open_link(&nobody, first()).await.unwrap_err().code(), Code::Unauthenticated);
    let wrong = open_link(&alice, first()).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    assert!(wrong.message().contains("role owner"), "{wrong:?}");
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_sound_hello_ends() {
    let hub = TestHub::new().await;
    let bob = hub.owner("bob").await;
    let spoiled = |spoil: fn(&mut Hello)| {
        let mut hello = hello(1, 1);
        spoil(&mut hello);
        message(from_worker::Message::Hello(hello))
    };
    for (first, code) in [
        (FromWorker { message: None }, Code::InvalidArgument),
        (message(from_worker::Message::Status(Status::default())), Code::InvalidArgument),
        (spoiled(|hello| hello.machine_key = vec![1; 15]), Code::InvalidArgument),
        (spoiled(|hello| hello.name = "x".repeat(1000)), Code::InvalidArgument),
        (spoiled(|hello| hello.held_runs = vec![1; 100_001]), Code::InvalidArgument),
        (spoiled(|hello| hello.name.clear()), Code::FailedPrecondition),
        (spoiled(|hello| hello.cores = 0), Code::FailedPrecondition),
        (spoiled(|hello| hello.cores = u32::MAX), Code::FailedPrecondition),
        (spoiled(|hello| hello.engine = "\u{1b}[2J".to_owned()), Code::FailedPrecondition),
    ] {
        let (_to, from) = open_link(&bob, first).await.unwrap();
        let status = end_of(from).await;
        assert_eq!(status.code(), code, "{status:?}");
    }
    let workers: Vec<wire::Worker> = bob.get("/v1/workers").await.unwrap();
    assert_eq!(workers, []);
}

#[tokio::test]
async fn a_malformed_report_ends_the_link_and_counts_nothing() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 1, "10").await;
    let spoils: [fn(&mut Report); 5] = [
        |report| report.fuel.clear(),
        |report| report.endings[0] = 99,
        |report| report.results.truncate(31),
        |report| report.outputs.push(Vec::new()),
        |report| report.outputs[0] = vec![0; 20 << 10],
    ];
    for spoil in spoils {
        let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
        let run = worker.run().await;
        let mut report = worker.report_of(&[(run.run, fine(run))]);
        spoil(&mut report);
        worker.send(from_worker::Message::Report(report)).await;
        let status = worker.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert_eq!(show(&alice, &ordered).await.succeeded, 0);
    FakeWorker::attach(&bob, hello(1, 1)).await.work(1, fine).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
}

#[tokio::test]
async fn an_output_that_is_not_what_its_hash_says_is_a_fault() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 1, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let run = worker.run().await;
    let lie = Finding { result: Hash::of(b"something else"), ..fine(run) };
    assert_eq!(worker.report(&[(run.run, lie)]).await, Vec::<u64>::new());
    // Nothing was sent along, and no such blob was uploaded either.
    let run = worker.run().await;
    let absent = Finding { output: Vec::new(), result: Hash::of(b"never uploaded"), ..fine(run) };
    worker.report(&[(run.run, absent)]).await;
    let task: wire::Task = alice.get(&format!("/v1/jobs/{}/tasks/0", ordered.id)).await.unwrap();
    assert_eq!((task.state.as_str(), task.losses), ("open", 2));
    // A large output goes ahead as a blob.
    let run = worker.run().await;
    let large = Finding::printed(FUEL, &"x".repeat(40 << 10));
    put(&bob, &large.output).await;
    worker.report(&[(run.run, Finding { output: Vec::new(), ..large })]).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    assert_eq!(money(&bob).await.0, "0.10", "paid once");
    let stdout = alice.get_bytes(&format!("/v1/jobs/{}/tasks/0/stdout", ordered.id), 1 << 20).await.unwrap();
    assert_eq!(stdout.len(), 40 << 10);
}

#[tokio::test]
async fn an_output_that_is_longer_than_its_run_may_write_is_a_fault() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let mut order = job(put(&alice, MODULE).await, 1, "10");
    order.limits.output_bytes = Some(1_000);
    let ordered: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    let operator = hub.operator();
    let stored = async || operator.store_stats().await.unwrap().unique_bytes;
    let before = stored().await;
    // In its report, of which nothing is stored.
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let long = Finding::printed(FUEL, &"x".repeat(1_100));
    let run = worker.run().await;
    worker.report(&[(run.run, long.clone())]).await;
    assert_eq!(stored().await, before);
    // And ahead of it.
    let run = worker.run().await;
    put(&bob, &long.output).await;
    worker.report(&[(run.run, Finding { output: Vec::new(), ..long })]).await;
    let task: wire::Task = alice.get(&format!("/v1/jobs/{}/tasks/0", ordered.id)).await.unwrap();
    assert_eq!((task.state.as_str(), task.losses), ("open", 2));
    let output = alice.get_bytes(&format!("/v1/jobs/{}/tasks/0/output", ordered.id), 1 << 20).await;
    assert_eq!(refusal(output).1, "no_output");
    assert_eq!(money(&bob).await.0, "", "nothing is paid for it");
    // As long as it may be.
    let (run, before) = (worker.run().await, stored().await);
    worker.report(&[(run.run, Finding::printed(FUEL, &"y".repeat(1_000)))]).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    assert!(stored().await > before);
    let stdout = alice.get_bytes(&format!("/v1/jobs/{}/tasks/0/stdout", ordered.id), 1 << 20).await.unwrap();
    assert_eq!(stdout.len(), 1_000);
}

#[tokio::test]
async fn runs_of_others_and_repeated_reports_change_nothing() {
    let hub = TestHub::new().await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.owner("carol").await);
    let ordered = submit(&alice, 1, "10").await;
    let mut bobs = FakeWorker::attach(&bob, hello(1, 1)).await;
    let run = bobs.run().await;
    let mut carols = FakeWorker::attach(&carol, hello(1, 1)).await;
    let claims = [(run.run, fine(run)), (u64::MAX, fine(run)), (0, fine(run))];
    assert_eq!(carols.report(&claims).await, [run.run, u64::MAX, 0]);
    assert_eq!(show(&alice, &ordered).await.succeeded, 0);
    // The same run twice in one report, and the report again.
    let twice = [(run.run, fine(run)), (run.run, fine(run))];
    assert_eq!(bobs.report(&twice).await, [run.run]);
    assert_eq!(bobs.report(&twice).await, [run.run, run.run]);
    assert_eq!(bobs.report(&[]).await, Vec::<u64>::new());
    // More fuel than the limit is no finding.
    let second = submit(&alice, 1, "10").await;
    let run = bobs.run().await;
    let greedy = Finding::printed(1_000_000_001, "");
    assert_eq!(bobs.report(&[(run.run, greedy)]).await, [run.run]);
    assert_eq!(show(&alice, &second).await.succeeded, 0);
    assert_eq!((money(&bob).await.0.as_str(), money(&carol).await.0.as_str()), ("0.10", ""));
    assert_balanced(&hub.operator()).await;
}

#[tokio::test]
async fn a_worker_that_vanishes_loses_its_runs_and_is_not_paid_for_them_later() {
    let hub = TestHub::with(|options| options.link_grace = Duration::from_millis(100)).await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.owner("carol").await);
    let ordered = submit(&alice, 1, "10").await;
    let mut bobs = FakeWorker::attach(&bob, hello(1, 1)).await;
    let run = bobs.run().await;
    bobs.vanish();
    let mut carols = FakeWorker::attach(&carol, hello(2, 1)).await;
    let again = carols.run().await;
    assert_eq!((again.task, again.run > run.run), (run.task, true));
    // Back after its lease, with a result.
    let mut bobs = FakeWorker::attach(&bob, Hello { held_runs: vec![run.run], ..hello(1, 1) }).await;
    assert_eq!(bobs.welcome.unwanted_runs, [run.run]);
    assert_eq!(bobs.report(&[(run.run, fine(run))]).await, [run.run]);
    assert_eq!(show(&alice, &ordered).await.succeeded, 0);
    assert_eq!(carols.report(&[(again.run, fine(again))]).await, Vec::<u64>::new());
    assert_eq!(wait(&alice, &ordered).await.spent, "0.10");
    assert_eq!((money(&bob).await.0.as_str(), money(&carol).await.0.as_str()), ("", "0.10"));
}

#[tokio::test]
async fn a_worker_that_reconnects_keeps_its_runs_and_is_paid_once() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 4, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 4)).await;
    let runs = worker.runs(4).await;
    // Reported, and gone before the acknowledgement was read.
    let report = worker.report_of(&[(runs[0].run, fine(runs[0]))]);
    worker.send(from_worker::Message::Report(report)).await;
    until(&alice, &ordered, |job| job.succeeded == 1).await;
    let id = worker.id;
    worker.vanish();
    let held: Vec<u64> = runs[..3].iter().map(|run| run.run).collect();
    let mut worker = FakeWorker::attach(&bob, Hello { held_runs: held, ..hello(1, 4) }).await;
    assert_eq!((worker.id, worker.welcome.unwanted_runs.as_slice()), (id, &[runs[0].run][..]));
    // The run that it did not hold never arrived: it is given out anew, and is no loss.
    let anew = worker.run().await;
    assert_eq!(anew.task, runs[3].task);
    assert_eq!(worker.report(&[(runs[0].run, fine(runs[0]))]).await, [runs[0].run], "was counted before");
    for run in [runs[1], runs[2], anew] {
        assert_eq!(worker.report(&[(run.run, fine(run))]).await, Vec::<u64>::new());
    }
    let done = wait(&alice, &ordered).await;
    assert_eq!((done.state.as_str(), done.spent.as_str()), ("succeeded", "0.40"));
    assert_eq!(money(&bob).await.0, "0.40");
    let workers: Vec<wire::Worker> = bob.get("/v1/workers").await.unwrap();
    assert_eq!((workers.len(), workers[0].lost), (1, 0));
}

#[tokio::test]
async fn a_newer_link_of_the_same_machine_ends_the_older() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let older = FakeWorker::attach(&bob, hello(1, 1)).await;
    let mut newer = FakeWorker::attach(&bob, hello(1, 1)).await;
    let status = older.end().await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let ordered = submit(&alice, 1, "10").await;
    newer.work(1, fine).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    let workers: Vec<wire::Worker> = bob.get("/v1/workers").await.unwrap();
    assert_eq!((workers.len(), workers[0].state.as_str()), (1, "idle"));
}

#[tokio::test]
async fn a_silent_worker_is_cut_off_and_one_with_heartbeats_is_not() {
    let hub = TestHub::with(|options| {
        options.link_lease = Duration::from_millis(1_000);
        options.link_grace = Duration::from_millis(50);
    })
    .await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.owner("carol").await);
    let ordered = submit(&alice, 1, "10").await;
    let mut silent = FakeWorker::attach(&bob, hello(1, 1)).await;
    assert_eq!(silent.welcome.lease_ms, 1_000);
    let run = silent.run().await;
    let mut lively = FakeWorker::attach(&carol, hello(2, 1)).await.beating();
    assert_eq!(silent.end().await.code(), Code::DeadlineExceeded);
    let again = lively.run().await;
    assert_eq!(again.task, run.task);
    sleep(Duration::from_millis(1_300)).await;
    assert_eq!(lively.report(&[(again.run, fine(again))]).await, Vec::<u64>::new());
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    let workers: Vec<wire::Worker> = carol.get("/v1/workers").await.unwrap();
    assert_eq!(workers[0].state, "idle", "its heartbeats kept it, and paused nothing whatever else they say");
}

#[tokio::test]
async fn a_worker_pauses_and_gives_back_what_it_has_not_started() {
    let hub = TestHub::new().await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.owner("carol").await);
    let ordered = submit(&alice, 2, "10").await;
    let mut bobs = FakeWorker::attach(&bob, hello(1, 2)).await;
    let runs = bobs.runs(2).await;
    let leaving = Status { leaving: true, changed: true, returned_runs: vec![runs[1].run], accepting: true };
    bobs.status(leaving).await;
    let mut carols = FakeWorker::attach(&carol, hello(2, 1)).await;
    assert_eq!(carols.run().await.task, runs[1].task);
    bobs.report(&[(runs[0].run, fine(runs[0]))]).await;
    let workers: Vec<wire::Worker> = bob.get("/v1/workers").await.unwrap();
    assert_eq!((workers[0].state.as_str(), workers[0].lost), ("paused", 0));
    assert_eq!(show(&alice, &ordered).await.succeeded, 1);
    let unheard = Status { changed: true, returned_runs: vec![1; 100_001], ..Status::default() };
    bobs.status(unheard).await;
    assert_eq!(bobs.end().await.code(), Code::InvalidArgument);
}

/// A link whose worker hardly takes more than it reads.
async fn deaf(
    hub: &TestHub,
    client: &HubClient,
    hello: Hello,
) -> (mpsc::Sender<FromWorker>, Streaming<FromHub>) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", hub.address())).unwrap();
    let channel = channel.initial_stream_window_size(65_535).connect_lazy();
    open_link_on(client, channel, message(from_worker::Message::Hello(hello))).await.unwrap()
}

async fn until_away(client: &HubClient) {
    let away = async {
        loop {
            let workers: Vec<wire::Worker> = client.get("/v1/workers").await.unwrap();
            if workers.first().is_some_and(|worker| worker.state == "away") {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, away).await.expect("the hub gives the link up");
}

#[tokio::test]
async fn a_worker_that_never_reads_is_cut_off_and_blocks_nobody() {
    let hub = TestHub::with(|options| {
        options.link_lease = Duration::from_millis(1_500);
        options.link_grace = Duration::from_millis(50);
    })
    .await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "1000").await, hub.owner("bob").await, hub.owner("carol").await);
    let (to, unread) = deaf(&hub, &bob, hello(1, 1)).await;
    // Empty reports are acknowledged; the acknowledgements pile up until the link is given up.
    let flood = tokio::spawn(async move {
        for report_id in 1.. {
            let report = from_worker::Message::Report(Report { report_id, ..Report::default() });
            if to.send(message(report)).await.is_err() {
                return;
            }
        }
    });
    // Meanwhile the others work as ever.
    let ordered = submit(&alice, 100, "1000").await;
    let mut carols = FakeWorker::attach(&carol, hello(2, 4)).await.beating();
    carols.work(100, fine).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    until_away(&bob).await;
    flood.abort();
    drop(unread);
}

#[tokio::test]
async fn assignments_that_are_not_read_cut_the_link_too() {
    let hub = TestHub::with(|options| options.link_grace = Duration::from_millis(50)).await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "10000").await, hub.owner("bob").await, hub.owner("carol").await);
    let (_to, mut unread) = deaf(&hub, &bob, hello(1, 4000)).await;
    let module = put(&alice, MODULE).await;
    let mut order = job(module, 1, "1");
    // 70 MB of descriptions, more than one worker may leave unread.
    order.args = vec!["x".repeat(120_000)];
    let orders = 600;
    for _ in 0..orders {
        let _: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    }
    until_away(&bob).await;
    // All of it goes to somebody who reads.
    let mut carols = FakeWorker::attach(&carol, hello(2, 4)).await;
    carols.work(orders, fine).await;
    assert_eq!(money(&carol).await.0, "60.00");
    // Whoever begins to read learns that they were cut off.
    assert!(matches!(unread.message().await, Ok(Some(_))));
    assert_eq!(end_of(unread).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_worker_that_reads_is_not_cut_off_however_much_it_is_given_at_once() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "10000").await, hub.owner("bob").await);
    let order = job(put(&alice, MODULE).await, 1, "1");
    let orders = 1_500;
    for _ in 0..orders {
        let _: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    }
    let mut worker = FakeWorker::attach(&bob, hello(1, 4096)).await;
    let runs = worker.runs(orders).await;
    let findings: Vec<_> = runs.iter().map(|run| (run.run, fine(*run))).collect();
    assert_eq!(worker.report(&findings).await, Vec::<u64>::new());
    assert_eq!(money(&bob).await.0, "150.00");
}

#[tokio::test]
async fn a_flood_of_messages_from_one_worker_leaves_room_for_others() {
    let hub = TestHub::new().await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "1000").await, hub.owner("bob").await, hub.owner("carol").await);
    let (to, mut from) = FakeWorker::attach(&bob, hello(1, 1)).await.into_parts();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let flood = tokio::spawn(async move {
        let mut accepting = false;
        while !*stopped.borrow() {
            accepting = !accepting;
            let status = Status { accepting: false, changed: accepting, ..Status::default() };
            to.send(message(from_worker::Message::Status(status))).await.unwrap();
        }
    });
    let reads = tokio::spawn(async move { while let Ok(Some(FromHub { .. })) = from.message().await {} });
    let ordered = submit(&alice, 100, "1000").await;
    let mut carols = FakeWorker::attach(&carol, hello(2, 1)).await;
    carols.work(100, fine).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    stop.send(true).unwrap();
    flood.await.unwrap();
    reads.abort();
}

#[tokio::test]
async fn a_revoked_token_ends_the_links_it_opened() {
    let hub = TestHub::new().await;
    let token = hub.open("bob", &["owner"]).await;
    let bob = hub.client(&token);
    let other: wire::NewToken = bob.post("/v1/accounts/bob/tokens", &json!({}), None).await.unwrap();
    let worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let mut kept = FakeWorker::attach(&hub.client(&other.token), hello(2, 1)).await;
    let () = bob.post("/v1/tokens/revoke", &json!({"token": token}), None).await.unwrap();
    assert_eq!(worker.end().await.code(), Code::Unauthenticated);
    assert_eq!(kept.report(&[]).await, Vec::<u64>::new(), "other tokens go on");
    assert_eq!(refusal(bob.get::<wire::Account>("/v1/me").await).0, 401);
}

#[tokio::test]
async fn a_hub_that_stops_tells_its_workers_and_acknowledges_what_it_read() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    submit(&alice, 1, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let run = worker.run().await;
    worker.report(&[(run.run, fine(run))]).await;
    let started = std::time::Instant::now();
    hub.running.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(9), "it did not wait for the drain to run out");
    assert_eq!(worker.end().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_only_its_link() {
    let hub = TestHub::new().await;
    let bob = hub.owner("bob").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let huge = Report { faults: vec!["x".repeat(1 << 20); 9], ..Report::default() };
    worker.send(from_worker::Message::Report(huge)).await;
    assert_eq!(worker.end().await.code(), Code::OutOfRange);
    worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    assert_eq!(worker.report(&[]).await, Vec::<u64>::new());
}
