//! The whole path of a job: ordered, computed by workers of different owners, verified, paid, read.

use crate::common::*;
use pumasi_api::output::TaskOutput;
use pumasi_api::wire;
use pumasi_types::Ending;
use serde_json::json;

const FUEL: u64 = 250_000_000;

#[tokio::test]
async fn a_job_is_computed_and_paid_to_the_last_credit() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let ordered = submit(&alice, 3, "10").await;
    assert_eq!((ordered.state.as_str(), ordered.tasks), ("active", 3));
    assert_eq!(money(&alice).await, ("90.00".into(), "10.00".into()));

    let mut worker = FakeWorker::attach(&bob, hello(1, 2)).await;
    let waits = tokio::spawn({
        let (alice, ordered) = (alice.clone(), ordered.clone());
        async move { wait(&alice, &ordered).await }
    });
    worker.work(3, |run| Finding::printed(FUEL, &format!("task {}\n", run.task))).await;
    assert_eq!((worker.jobs.len(), worker.jobs[0].fuel), (1, 1_000_000_000));

    let done = waits.await.unwrap();
    assert_eq!((done.state.as_str(), done.succeeded, done.spent.as_str()), ("succeeded", 3, "0.75"));
    assert_eq!(money(&bob).await, ("0.75".into(), "0.00".into()));
    assert_eq!(money(&alice).await, ("99.25".into(), "0.00".into()));
    assert_balanced(&hub.operator()).await;

    let statement: wire::Statement = bob.get("/v1/statement").await.unwrap();
    assert_eq!((statement.lines.len(), statement.next), (3, None));
    let line = &statement.lines[0];
    assert_eq!((line.amount.as_str(), line.other.as_str(), line.cause.as_str()), ("0.25", "alice", "run"));
    assert_eq!(line.run.as_ref().unwrap().fuel, FUEL);

    let path = format!("/v1/jobs/{}/tasks/1", ordered.id);
    assert_eq!(alice.get_bytes(&format!("{path}/stdout"), 100).await.unwrap(), "task 1\n");
    assert_eq!(alice.get_bytes(&format!("{path}/stderr"), 100).await.unwrap(), "");
    let output = alice.get_bytes(&format!("{path}/output"), 1000).await.unwrap();
    assert_eq!(TaskOutput::decode(output).unwrap().stdout, "task 1\n");
    let tasks: wire::Tasks = alice.get(&format!("/v1/jobs/{}/tasks?limit=2", ordered.id)).await.unwrap();
    assert_eq!((tasks.tasks.len(), tasks.next.unwrap().0), (2, 2));
    let workers: Vec<wire::Worker> = bob.get("/v1/workers").await.unwrap();
    assert_eq!((workers[0].verified, workers[0].earned.as_str()), (3, "0.75"));
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn two_owners_must_agree_and_both_are_paid() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let module = put(&alice, MODULE).await;
    let order = wire::SubmitJob { quorum: 2, ..job(module, 2, "10") };
    let ordered: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    let (bob, carol, dave) = (hub.owner("bob").await, hub.owner("carol").await, hub.owner("dave").await);
    let mut bobs = FakeWorker::attach(&bob, hello(1, 4)).await;
    // A second machine of the same owner gets nothing of the same tasks.
    let mut second = FakeWorker::attach(&bob, hello(2, 4)).await;
    bobs.work(2, |_| Finding::printed(FUEL, "yes")).await;
    assert_eq!(show(&alice, &ordered).await.succeeded, 0, "one owner is not enough");
    second.report(&[]).await;
    assert_eq!(second.waiting(), 0);
    let mut carols = FakeWorker::attach(&carol, hello(3, 4)).await;
    // Carol lies about task 1, so that a third owner must be asked.
    let answer = |run: Run| Finding::printed(FUEL, if run.task == 1 { "no" } else { "yes" });
    carols.work(2, answer).await;
    assert_eq!(show(&alice, &ordered).await.succeeded, 1);
    FakeWorker::attach(&dave, hello(4, 4)).await.work(1, |_| Finding::printed(FUEL, "yes")).await;
    let done = wait(&alice, &ordered).await;
    assert_eq!((done.state.as_str(), done.spent.as_str()), ("succeeded", "1.00"));
    for (client, earned) in [(&bob, "0.50"), (&carol, "0.25"), (&dave, "0.25")] {
        assert_eq!(money(client).await.0, earned);
    }
    let path = format!("/v1/jobs/{}/tasks/1/stdout", ordered.id);
    assert_eq!(alice.get_bytes(&path, 100).await.unwrap(), "yes");
    assert_balanced(&hub.operator()).await;
}

#[tokio::test]
async fn failing_tasks_are_paid_and_told_and_cancelled_jobs_give_their_money_back() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.owner("bob").await);
    let mut worker = FakeWorker::attach(&bob, hello(1, 1)).await;
    let failing = submit(&alice, 1, "10").await;
    worker.work(1, |_| Finding { ending: Ending::Exited { code: 3 }, ..Finding::printed(FUEL, "") }).await;
    assert_eq!(wait(&alice, &failing).await.state, "failed");
    let task: wire::Task = alice.get(&format!("/v1/jobs/{}/tasks/0", failing.id)).await.unwrap();
    assert_eq!(task.reason.as_deref(), Some("exit code 3"));

    let long = submit(&alice, 5, "10").await;
    let run = worker.run().await;
    let path = format!("/v1/jobs/{}/cancel", long.id);
    let cancelled: wire::Job = alice.post(&path, &json!({}), None).await.unwrap();
    assert_eq!(cancelled.state, "cancelled");
    assert_eq!(money(&alice).await, ("99.75".into(), "0.00".into()));
    assert_eq!(worker.report(&[(run.run, Finding::printed(FUEL, ""))]).await, [run.run], "too late");
    assert!(worker.stopped.contains(&run.run), "its worker was told");
    let again = refusal(alice.post::<_, wire::Job>(&path, &json!({}), None).await);
    assert_eq!((again.0, again.1.as_str()), (409, "job_over"));
    assert_balanced(&hub.operator()).await;
}

#[tokio::test]
async fn a_task_list_gives_each_task_its_own() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let module = put(&alice, MODULE).await;
    let file = put(&alice, b"input").await;
    let lines: String = (0..3000).map(|i| format!("{{\"name\":\"{i}.fa\",\"file\":\"{file}\"}}\n")).collect();
    assert!(lines.len() > 128 << 10, "more than is checked in one go");
    let list = put(&alice, lines.as_bytes()).await;
    let order = wire::SubmitJob { task_list: Some(list), ..job(module, 3000, "10") };
    let ordered: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    assert_eq!(ordered.task_list, Some(list));
    let short = wire::SubmitJob { tasks: 2999, ..order };
    let (status, _, text) = refusal(alice.post::<_, wire::Job>("/v1/jobs", &short, None).await);
    assert!(status == 400 && text.contains("more lines"), "{text}");
}
