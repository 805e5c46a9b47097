//! Machines that are not what a job or a hub asked for: another engine, another machine's name, a lying size.

use std::collections::VecDeque;
use std::time::Duration;

use pumasi_api::client::HubClient;
use pumasi_api::link::worker_link_client::WorkerLinkClient;
use pumasi_api::link::{Ack, Assign, FromHub, FromWorker, Hello, Report, from_hub, from_worker};
use pumasi_api::tls::MachineIdentity;
use pumasi_api::wire;
use pumasi_types::{Currency, Fuel, Hash, Price};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{Scene, eventually, example};
use crate::pool::block_on;

/// A worker that says what a test wants.
struct Stranger {
    to: mpsc::Sender<FromWorker>,
    from: Streaming<FromHub>,
    assigned: VecDeque<Assign>,
}

/// No answer within this is none.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stranger {
    async fn attach(client: &HubClient, hello: Hello) -> Result<Stranger, Status> {
        let (to, messages) = mpsc::channel(8);
        let first = FromWorker { message: Some(from_worker::Message::Hello(hello)) };
        to.send(first).await.expect("it is open");
        let messages = stream_of(messages);
        let mut link = WorkerLinkClient::new(client.channel());
        let mut from = link.attach(client.authorize(messages)).await?.into_inner();
        let welcome = from.message().await?.and_then(|first| first.message);
        assert!(matches!(welcome, Some(from_hub::Message::Welcome(_))), "{welcome:?}");
        Ok(Stranger { to, from, assigned: VecDeque::new() })
    }

    /// Reports and waits for the acknowledgement; takes note of what it is given meanwhile.
    async fn report(&mut self, report: Report) -> Ack {
        let message = FromWorker { message: Some(from_worker::Message::Report(report)) };
        self.to.send(message).await.expect("the link is open");
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.from.message()).await.expect("an answer");
            match heard.expect("the link is open").and_then(|heard| heard.message) {
                Some(from_hub::Message::Ack(ack)) => return ack,
                Some(from_hub::Message::Assign(assign)) => self.assigned.push_back(assign),
                Some(_) => {}
                None => panic!("the hub ended the link"),
            }
        }
    }
}

fn stream_of(mut messages: mpsc::Receiver<FromWorker>) -> impl futures_util::Stream<Item = FromWorker> {
    futures_util::stream::poll_fn(move |context| messages.poll_recv(context))
}

fn identity() -> MachineIdentity {
    MachineIdentity::new(&MachineIdentity::generate()).expect("a key that was just made")
}

fn hello_of(machine: &MachineIdentity, engine: &str) -> Hello {
    Hello {
        machine_key: machine.machine_key().to_vec(),
        name: "stranger".to_owned(),
        cores: 64,
        memory_bytes: 64 << 30,
        speed: 10_000_000_000,
        engine: engine.to_owned(),
        ..Hello::default()
    }
}

async fn submit(scene: &Scene, engine: Option<&str>) -> wire::Job {
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let bytes = std::fs::read(example("noop/noop.wasm")).expect("the example");
    let module = Hash::of(&bytes);
    let source = pumasi_api::client::Source::Bytes(bytes.into());
    client.put_blob(&source, module, std::sync::Arc::new(|_| ())).await.expect("it is stored");
    let body = serde_json::json!({
        "module": module, "tasks": 3, "quorum": 2, "budget": "5", "engine": engine,
        "limits": {"fuel": 1_000_000},
    });
    client.post("/v1/jobs", &body, None).await.expect("it is taken")
}

/// A report on fifty runs, as if all had been computed.
fn claims(report_id: u64, first: u64) -> Report {
    Report {
        report_id,
        runs: (first..first + 50).collect(),
        endings: vec![0; 50],
        fuel: vec![1; 50],
        wall_ns: vec![1; 50],
        results: Hash::of(b"").as_bytes().repeat(50),
        outputs: vec![Vec::new(); 50],
        ..Report::default()
    }
}

#[test]
fn a_machine_of_another_engine_gets_no_task_and_confirms_none() {
    let mut scene = Scene::with(1, &["--link-grace", "1s", "--link-lease", "90s"]);
    let token = scene.pool.open_account("stranger", "owner").expect("an account opens");
    let machine = identity();
    let client = scene.pool.client(&token).expect("a client").for_machine(machine.clone());
    let job = block_on(async {
        let other = hello_of(&machine, "wasmtime-1.0.0/00000000");
        let mut stranger = Stranger::attach(&client, other).await.expect("it may join");
        let job = submit(&scene, None).await;
        eventually("the first owner is done", || {
            let workers: Vec<wire::Worker> = scene.pool.ask(&scene.pool.operator, &["workers"]).unwrap();
            let held: u64 = workers.iter().map(|worker| worker.runs).sum();
            held == 0 && scene.job(job.id.0).running == 0
        });
        // It is fast, cheap and idle, two of three findings are missing, and it claims to have them all.
        for report_id in 1..=3 {
            let refused = stranger.report(claims(report_id, 0)).await.refused_runs;
            assert_eq!(refused.len(), 50, "a run of another engine was counted");
        }
        assert!(stranger.assigned.is_empty(), "it was given {:?}", stranger.assigned);
        assert_eq!(scene.job(job.id.0).succeeded, 0, "one owner is no quorum of two");
        job
    });
    let owner = scene.pool.open_account("second", "owner").expect("an account opens");
    scene.join(&owner, "second");
    eventually("two owners of one engine agree", || scene.job(job.id.0).over);
    assert_eq!(scene.job(job.id.0).state, "succeeded");
    let earned: wire::Statement = scene.pool.ask(&token, &["statement"]).expect("a statement");
    assert!(earned.lines.is_empty(), "{earned:?}");
    check_receipts(&scene, &owner, &scene.job(job.id.0));
}

/// What was paid says for which engine, how much fuel and which price, and the three make the amount.
fn check_receipts(scene: &Scene, owner: &str, job: &wire::Job) {
    let paid: wire::Statement = scene.pool.ask(owner, &["statement"]).expect("a statement");
    assert_eq!(paid.lines.len(), 3, "{paid:?}");
    for line in paid.lines {
        let run = line.run.expect("a run was paid");
        let minor = |text: &str| Currency::CREDIT.parse_amount(text).expect("an amount");
        assert_eq!(run.job, job.id);
        assert!(run.fuel > 0);
        let cost = Price(minor(&run.price).0.cast_unsigned()).cost(Fuel(run.fuel));
        assert_eq!(cost, Some(minor(&line.amount)), "{run:?}");
    }
}

#[test]
fn a_job_for_another_engine_waits_for_its_machine() {
    let scene = Scene::new(1);
    let engine = "wasmtime-1.0.0/00000000";
    let job = block_on(submit(&scene, Some(engine)));
    let token = scene.pool.open_account("stranger", "owner").expect("an account opens");
    let machine = identity();
    let client = scene.pool.client(&token).expect("a client").for_machine(machine.clone());
    // Other work is done meanwhile, by the machine that could have taken this too.
    scene.succeed(&["run", &example("noop/noop.wasm"), "--budget", "5"]);
    assert_eq!(scene.job(job.id.0).running, 0);
    block_on(async {
        let mut stranger = Stranger::attach(&client, hello_of(&machine, engine)).await.expect("it may join");
        // What it is given comes before the answer.
        stranger.report(claims(1, 1000)).await;
        let given: usize = stranger.assigned.iter().map(|assign| assign.runs.len()).sum();
        assert_eq!(given, 3, "{:?}", stranger.assigned);
    });
}

#[test]
fn a_stolen_token_is_no_machine() {
    let scene = Scene::new(1);
    // The thief has the token and knows the machine's name, which no secret is.
    let key = std::fs::read(scene.pool.dir.path().join("worker0/machine.key")).expect("its key");
    let machine = MachineIdentity::new(&key).expect("its key");
    let thief = scene.pool.client(&scene.owners[0]).expect("a client");
    let workers = || -> Vec<wire::Worker> { scene.pool.ask(&scene.pool.operator, &["workers"]).unwrap() };
    let engine = workers()[0].engine.clone();
    for client in [thief.clone(), thief.for_machine(identity())] {
        let refused = block_on(Stranger::attach(&client, hello_of(&machine, &engine)));
        let status = refused.err().expect("it cannot prove the machine's key");
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("certificate"), "{status}");
    }
    // The machine itself was not disturbed.
    assert_eq!(workers().len(), 1);
    scene.succeed(&["run", &example("noop/noop.wasm"), "--budget", "5"]);
    assert_eq!(workers()[0].lost, 0);
    scene.check_hub_log();
}

#[test]
fn a_hub_could_not_run_a_guest() {
    let mut tree = crate::build::cargo();
    tree.args(["tree", "--package", "pumasi-hub", "--edges", "normal", "--prefix", "none", "--offline"]);
    let output = tree.output().expect("cargo runs");
    let needs = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && needs.contains("pumasi-core"), "{output:?}");
    for engine in ["wasmtime", "cranelift", "wasmi", "wasmer", "pumasi-worker"] {
        assert!(!needs.contains(engine), "the hub needs {engine}: {needs}");
    }
}
