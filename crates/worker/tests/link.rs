//! A worker on a real socket, with hubs that are honest, break, talk nonsense or do not want it.

mod common;

use std::sync::Arc;

use common::*;
use pumasi_api::client::HubClient;
use pumasi_api::link::{self, FromHub, from_hub, from_worker};
use pumasi_api::output::TaskOutput;
use pumasi_api::tls::{Fingerprint, Pin};
use pumasi_types::{Ending, Hash};
use pumasi_worker::{JoinError, JoinOptions, LinkRefused};

#[tokio::test]
async fn runs_tasks_with_their_inputs_and_leaves_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let worker = Worker::start(&hub, dir.path());
    let (mut link, held) = hub.welcome(&[]).await;
    assert!(held.is_empty());
    let (a, b) = (hub.blobs.put("alpha\n"), hub.blobs.put(vec![b'b'; 200_000]));
    let lines = format!(
        "{{\"name\":\"a.txt\",\"file\":\"{a}\",\"arg\":\"x\"}}\n{{\"name\":\"b.txt\",\"file\":\"{b}\"}}\n{{\"name\":\"c\"}}\n"
    );
    let echo = job(1, hub.blobs.put(wasm(ECHO)));
    link.say(from_hub::Message::Job(link::Job {
        args: ["{index}", "{name}", "{input}", "[{arg}]"].map(str::to_owned).to_vec(),
        files: vec![link::File { name: "shared/data".into(), hash: a.as_bytes().to_vec() }],
        task_list: hub.blobs.put(lines).as_bytes().to_vec(),
        ..echo
    }))
    .await;
    link.assign(1, &[11, 12, 13], &[0, 1, 2]).await;
    let results = link.results(3).await;
    assert!(results.values().all(|result| result.ending.is_success()), "{results:?}");
    assert_eq!(results[&11].stdout(), "task\x000\0a.txt\0/in/a.txt\0[x]\0alpha\n");
    assert_eq!(results[&13].stdout(), "task\x002\0c\0\0[]\0");
    assert!(results[&12].output.is_empty(), "too large for a report");
    let uploaded = hub.blobs.get(results[&12].hash).expect("it was uploaded before");
    let output = TaskOutput::decode(uploaded).unwrap();
    assert!(output.stdout.ends_with(&[b'b'; 200_000]) && output.stdout.len() < 200_100);

    worker.stop();
    let Some(from_worker::Message::Status(status)) = link.hear().await else { panic!("no status") };
    assert!(status.leaving && !status.accepting && status.changed);
    assert_eq!(link.hear().await, None, "the stream ends");
    drop(link);
    worker.ended().await.unwrap();
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// What a machine was sent once it has for all runs, and, if its owner lets it, for the next job: that is sent what changed.
#[tokio::test]
async fn a_large_input_travels_once_and_a_changed_one_by_its_chunks() {
    for idle_max in [0, 64 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = FakeHub::start().await;
        let _worker = Worker::with(JoinOptions {
            cores: Some(2),
            memory: Some("256MiB".parse().unwrap()),
            idle_inputs_max: pumasi_types::ByteSize(idle_max),
            ..JoinOptions::new(hub.client(TOKEN), dir.path())
        });
        let (mut link, _) = hub.welcome(&[]).await;
        let noop = hub.blobs.put(wasm(NOOP));
        // No noise, whose chunks are long.
        let mut bytes: Vec<u8> = noise(1, 9 << 20).iter().map(|byte| byte & 0x7f).collect();
        let (shared, own) = (hub.blobs.put(bytes.clone()), hub.blobs.put(noise(2, 6 << 20)));
        let lines: String = (0..6).map(|n| format!("{{\"name\":\"{n}\",\"file\":\"{own}\"}}\n")).collect();
        let file = |hash: Hash| vec![link::File { name: "shared".into(), hash: hash.as_bytes().to_vec() }];
        let task_list = hub.blobs.put(lines).as_bytes().to_vec();
        let first = link::Job { files: file(shared), task_list, ..job(1, noop) };
        link.say(from_hub::Message::Job(first)).await;
        link.assign(1, &[1, 2, 3, 4, 5, 6], &[0, 1, 2, 3, 4, 5]).await;
        let results = link.results(6).await;
        assert!(results.values().all(|result| result.ending.is_success()), "{results:?}");
        assert_eq!((hub.blobs.sent(shared), hub.blobs.sent(own)), (9 << 20, 6 << 20));
        link.say(from_hub::Message::Stop(link::Stop { runs: Vec::new(), jobs: vec![1] })).await;
        let kept = || std::fs::read_dir(dir.path().join("inputs")).unwrap().count();
        while idle_max == 0 && kept() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        bytes.splice(4_000_000..4_000_000, *b"an insertion");
        let length = bytes.len() as u64;
        let changed = hub.blobs.put(bytes);
        link.say(from_hub::Message::Job(link::Job { files: file(changed), ..job(2, noop) })).await;
        link.assign(2, &[7], &[0]).await;
        assert!(link.results(1).await[&7].ending.is_success());
        match idle_max {
            0 => assert_eq!(hub.blobs.sent(changed), length, "nothing stays unless the owner allows it"),
            _ => assert!((12..1 << 20).contains(&hub.blobs.sent(changed)), "{}", hub.blobs.sent(changed)),
        }
    }
}

#[tokio::test]
async fn many_short_runs_come_back_in_few_reports() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let _worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    link.say(from_hub::Message::Job(job(1, hub.blobs.put(wasm(NOOP))))).await;
    link.assign(1, &[1], &[0]).await;
    let first = link.results(1).await.remove(&1).unwrap();
    assert_eq!((first.ending, &first.output[..]), (Ending::Exited { code: 0 }, &[][..]));
    assert_eq!(first.hash, TaskOutput::default().result_hash());
    let runs: Vec<u64> = (2..2_002).collect();
    link.assign(1, &runs, &(1..2_001).collect::<Vec<u32>>()).await;
    let results = link.results(2_000).await;
    assert!(results.values().all(|result| result == &first), "the same task costs the same");
}

#[tokio::test]
async fn a_lost_link_loses_no_run_and_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let _worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    let (noop, endless) = (hub.blobs.put(wasm(NOOP)), hub.blobs.put(wasm(ENDLESS)));
    link.say(from_hub::Message::Job(job(1, noop))).await;
    link.say(from_hub::Message::Job(link::Job { fuel: u64::MAX, ..job(2, endless) })).await;
    link.assign(2, &[7], &[0]).await;
    link.assign(1, &[1, 2], &[0, 1]).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(link.report().await.runs);
    }
    drop(link);

    // Run 1 had become durable; run 2 is reported again, and 7 still runs.
    let (mut link, held) = hub.welcome(&[1]).await;
    assert_eq!(held, [1, 2, 7]);
    let again = link.results(1).await;
    assert_eq!(again.keys().collect::<Vec<_>>(), [&2]);
    link.say(from_hub::Message::Stop(link::Stop { runs: vec![7], jobs: Vec::new() })).await;

    // The core that it kept is free again, and nothing is said of it.
    link.say(from_hub::Message::Job(job(1, noop))).await;
    link.assign(1, &[21, 22, 23], &[0, 1, 2]).await;
    let mut runs: Vec<u64> = link.results(3).await.into_keys().collect();
    runs.sort_unstable();
    assert_eq!(runs, [21, 22, 23]);
    drop(link);
    let (_link, held) = hub.welcome(&[]).await;
    assert_eq!(held, [0_u64; 0]);
}

#[tokio::test]
async fn nonsense_costs_the_link_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let _worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    let noop = hub.blobs.put(wasm(NOOP));
    link.to.send(Ok(FromHub { message: None })).await.unwrap();
    assert_eq!(link.hear().await, None);

    let (mut link, _) = hub.welcome(&[]).await;
    link.say(from_hub::Message::Job(job(1, noop))).await;
    link.assign(1, &[1, 2], &[0]).await;
    assert_eq!(link.hear().await, None);

    let mut link = hub.link().await;
    link.hello().await;
    link.say(from_hub::Message::Ack(link::Ack::default())).await;
    assert_eq!(link.hear().await, None);

    let (mut link, _) = hub.welcome(&[]).await;
    link.say(from_hub::Message::Job(job(1, noop))).await;
    link.assign(1, &[5], &[0]).await;
    assert!(link.results(1).await[&5].ending.is_success());
}

#[tokio::test]
async fn runs_that_cannot_be_done_end_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let _worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    let noop = hub.blobs.put(wasm(NOOP));
    let damaged = hub.blobs.put("as it was");
    hub.blobs.replace(damaged, b"something else");
    let strange =
        wasm(r#"(module (import "env" "f" (func)) (memory (export "memory") 1) (func (export "_start")))"#);
    let file = |name: &str| link::File { name: name.into(), hash: damaged.as_bytes().to_vec() };
    let shared = |name: &str| link::File { name: name.into(), hash: noop.as_bytes().to_vec() };
    let lines = hub.blobs.put("{\"name\":\"../up\"}\n{\"name\":\"x\",\"wat\":1}\n");
    let own_file = format!("{{\"name\":\"../up\",\"file\":\"{noop}\"}}\n");
    let jobs = [
        (job(1, Hash::of(b"nowhere")), Ending::Faulted, "there is no blob"),
        (link::Job { files: vec![file("a")], ..job(2, noop) }, Ending::Faulted, "damaged"),
        (link::Job { files: vec![shared("../a")], ..job(3, noop) }, Ending::BadModule, "'..'"),
        (link::Job { files: vec![shared("a"), shared("a/b")], ..job(4, noop) }, Ending::BadModule, "clash"),
        (link::Job { memory_bytes: 1 << 40, ..job(5, noop) }, Ending::Faulted, "this worker has 256 MiB"),
        (link::Job { wall_ms: u64::MAX, ..job(6, noop) }, Ending::BadModule, "30 days"),
        (link::Job { output_bytes: u64::MAX, ..job(7, noop) }, Ending::BadModule, "no worker takes more"),
        (link::Job { args: vec!["a\0b".into()], ..job(8, noop) }, Ending::BadModule, "NUL"),
        (job(9, hub.blobs.put(strange)), Ending::BadModule, "imports 'env' 'f'"),
        (job(10, hub.blobs.put("not wasm")), Ending::BadModule, "not valid"),
        (
            link::Job { task_list: hub.blobs.put(own_file).as_bytes().to_vec(), ..job(11, noop) },
            Ending::BadModule,
            "'..'",
        ),
    ];
    for (job, ending, reason) in jobs {
        let id = job.job_id;
        link.say(from_hub::Message::Job(job)).await;
        link.assign(id, &[id], &[0]).await;
        let result = link.results(1).await.remove(&id).unwrap();
        let fault = result.fault.unwrap_or_default();
        assert!(result.ending == ending && fault.contains(reason), "job {id}: {} {fault}", result.ending);
    }
    link.say(from_hub::Message::Job(link::Job { task_list: lines.as_bytes().to_vec(), ..job(12, noop) }))
        .await;
    link.assign(12, &[100, 101, 102], &[0, 1, 9]).await;
    let results = link.results(3).await;
    assert!(results[&100].ending.is_success(), "a name is only a name while no file has it");
    assert!(results[&101].fault.as_ref().unwrap().contains("line 1"), "{results:?}");
    assert!(results[&102].fault.as_ref().unwrap().contains("none for task 9"), "{results:?}");
}

/// Has a run that never ends under way as run 1 of job 1, on one of two cores.
async fn endless(hub: &FakeHub, link: &mut Link) {
    let endless = hub.blobs.put(wasm(ENDLESS));
    link.say(from_hub::Message::Job(link::Job { fuel: u64::MAX, ..job(1, endless) })).await;
    link.say(from_hub::Message::Job(link::Job { fuel: 1_000, ..job(2, endless) })).await;
    // The first result shows that the module is loaded, the second that run 1 was started before.
    link.assign(2, &[100], &[0]).await;
    assert_eq!(link.results(1).await[&100].ending, Ending::OutOfFuel);
    link.assign(1, &[1], &[0]).await;
    link.assign(2, &[101], &[0]).await;
    assert_eq!(link.results(1).await[&101].fuel, 1_000);
}

#[tokio::test]
async fn leaving_gives_back_the_rest_and_ends_what_does_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let worker = Worker::with(JoinOptions {
        cores: Some(2),
        memory: Some("64MiB".parse().unwrap()),
        grace: std::time::Duration::from_millis(100),
        ..JoinOptions::new(hub.client(TOKEN), dir.path())
    });
    let (mut link, _) = hub.welcome(&[]).await;
    endless(&hub, &mut link).await;
    link.assign(1, &[2, 3, 4], &[1, 2, 3]).await;
    worker.stop();
    let (mut returned, mut ended) = (Vec::new(), Vec::new());
    while let Some(message) = link.hear().await {
        match message {
            from_worker::Message::Status(status) => {
                assert!(status.leaving && !status.accepting);
                returned.extend(status.returned_runs);
            }
            from_worker::Message::Report(report) => {
                assert!(report.endings.iter().all(|code| *code == Ending::Faulted.to_code()));
                ended.extend(report.runs);
                link.ack(report.report_id).await;
            }
            from_worker::Message::Hello(_) => panic!("a second hello"),
        }
    }
    assert!(ended.contains(&1) && returned.contains(&3) && returned.contains(&4), "{returned:?} {ended:?}");
    let mut all = [returned, ended].concat();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4], "each run once");
    drop(link);
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn an_impatient_owner_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    endless(&hub, &mut link).await;
    worker.stop();
    worker.stop();
    // The report is never acknowledged.
    assert_eq!(link.report().await.runs, [1]);
    worker.stop();
    drop(link);
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_ends_the_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let hub = FakeHub::start().await;
    let options = JoinOptions { cores: Some(1), ..JoinOptions::new(hub.client("stranger"), dir.path()) };
    let error = Worker::with(options).ended().await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(LinkRefused::Token(_))), "{error}");
}

#[tokio::test]
async fn a_hub_with_another_certificate_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let pin = Pin::Known(Fingerprint::of(b"another certificate"));
    let client = HubClient::new(address, pin, Some(TOKEN.parse().unwrap()));
    let options = JoinOptions { cores: Some(1), ..JoinOptions::new(client, dir.path()) };
    let error = Worker::with(options).ended().await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(LinkRefused::Pin(_))), "{error}");
}

#[tokio::test]
async fn a_data_folder_serves_one_worker() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let _first = Worker::start(&hub, dir.path());
    let (_link, _) = hub.welcome(&[]).await;
    let error = Worker::start(&hub, dir.path()).ended().await.unwrap_err();
    assert!(matches!(error, JoinError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_machine_is_known_again_and_waits_for_its_hub() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let worker = Worker::start(&hub, dir.path());
        // The first link ends without a welcome.
        drop(hub.link().await);
        let mut link = hub.link().await;
        let hello = link.hello().await;
        assert_eq!((hello.cores, hello.memory_bytes, hello.speed), (2, 256 << 20, 2_000_000_000));
        keys.push(hello.machine_key);
        worker.stop();
        drop(link);
        worker.ended().await.unwrap();
    }
    assert_eq!(keys[0].len(), 16);
    assert_eq!(keys[0], keys[1]);
}
