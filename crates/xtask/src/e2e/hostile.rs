//! Peers that send garbage, flood, lie about sizes or never read: the hub stays up, answers honest clients,
//! and its memory stays bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use pumasi_api::link::worker_link_client::WorkerLinkClient;
use pumasi_api::link::{FromHub, FromWorker, Hello, Report, Status, from_hub, from_worker};
use pumasi_api::wire;
use serde_json::json;

use super::http2::{self, Attach};
use super::{Scene, eventually, stderr};
use crate::faults::Dice;
use crate::pool::block_on;
use crate::process::resident_bytes;

/// What a hub may need beyond what it had before an attack. An honest hub at rest needs about 30 MiB.
const GROWTH_MAX: u64 = 400 << 20;

/// A hub that says nothing for so long waits for the attacker.
const SILENCE: Duration = Duration::from_millis(100);

/// A hub under attack.
struct Target {
    scene: Scene,
    before: u64,
}

impl Target {
    /// Without TLS, so that attackers get at what is behind it.
    fn plain() -> Target {
        Target::with(&["--no-tls", "--link-grace", "1s", "--requests-per-s", "100000"])
    }

    fn with(arguments: &[&str]) -> Target {
        let mut scene = Scene::with(0, arguments);
        let before = resident_bytes(scene.pool.hub().expect("a hub").id());
        Target { scene, before }
    }

    fn owner(&self) -> String {
        self.scene.pool.open_account("owner", "owner").expect("an account opens")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.scene.pool.address).expect("the hub accepts");
        // An attacker does not wait for ever either.
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a socket");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a socket");
        stream
    }

    /// Sends bytes, and nothing else; what the hub says to it until it hangs up or falls silent.
    fn throw(&self, bytes: &[u8]) -> Vec<u8> {
        Target::throw_at(self.connect(), bytes)
    }

    /// A connection on which HTTP/2 is spoken, with nothing asked yet.
    fn greet(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&http2::preface()).expect("the hub listens");
        let mut said = [0; 4096];
        let mut length = stream.read(&mut said).expect("the hub says its settings");
        stream.write_all(&http2::greeting()).expect("the hub listens");
        let greeted = http2::GREETED;
        while !said[..length].windows(greeted.len()).any(|part| part == greeted) {
            length += stream.read(&mut said[length..]).expect("the hub answers a greeting");
        }
        stream
    }

    fn throw_at(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
        stream.set_read_timeout(Some(SILENCE)).expect("a socket");
        // The hub may have had enough before the end.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Sends one HTTP/1.1 request as it is; the status of its answer, none when the hub hangs up instead.
    fn status(&self, request: &[u8]) -> Option<u16> {
        let mut stream = self.connect();
        let _ = stream.write_all(request);
        let mut line = [0; 12];
        stream.read_exact(&mut line).ok()?;
        std::str::from_utf8(&line).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// An honest client is answered, and memory and stderr are as they should be.
    fn check(&mut self) {
        let growth = self.growth();
        println!("the hub grew by {} MiB", growth >> 20);
        assert!(growth < GROWTH_MAX, "the hub grew by {} MiB", growth >> 20);
        let began = Instant::now();
        let output = self.scene.cli(&["account"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(began.elapsed() < Duration::from_secs(30), "answered after {:?}", began.elapsed());
        assert!(self.scene.pool.hub().expect("a hub").is_alive());
        self.scene.check_hub_log();
    }

    fn growth(&mut self) -> u64 {
        resident_bytes(self.scene.pool.hub().expect("a hub").id()).saturating_sub(self.before)
    }
}

fn noise(dice: &mut Dice, most: u64) -> Vec<u8> {
    (0..=dice.below(most)).map(|_| dice.next() as u8).collect()
}

#[test]
fn garbage_instead_of_a_handshake_or_a_request() {
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    for mut target in [Target::with(&[]), Target::plain()] {
        for _ in 0..50 {
            target.throw(&noise(&mut dice, 2000));
        }
        // TLS records that are as long as can be said, of every type, and a ClientHello that breaks off.
        for kind in [0x14, 0x15, 0x16, 0x17, 0x80, 0xff] {
            let record = [&[kind, 3, 1, 0xff, 0xff][..], &noise(&mut dice, 70_000)].concat();
            target.throw(&record);
        }
        target.throw(&[0x16, 3, 1, 0x02, 0, 1, 0, 0xff, 0xff, 3, 3]);
        target.throw(b"GET / HTTP/1.1\r\n\r\n");
        target.throw(b"\0");
        target.throw(b"");
        target.check();
    }
}

#[test]
fn http2_that_begins_well_and_goes_wrong() {
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut target = Target::plain();
    let said = target.throw(&[http2::preface(), http2::get_document()].concat());
    assert!(String::from_utf8_lossy(&said).contains("Pumasi hub"), "these frames are none: {said:?}");
    for _ in 0..100 {
        let mut bytes = http2::preface();
        for _ in 0..dice.below(20) {
            let payload = noise(&mut dice, 300);
            bytes.extend(http2::frame(
                dice.below(12) as u8,
                dice.next() as u8,
                dice.below(6) as u32,
                &payload,
            ));
        }
        target.throw(&bytes);
    }
    for attack in http2::attacks() {
        target.throw(&attack);
        target.check();
    }
}

#[test]
fn worker_messages_that_lie_about_their_size() {
    let mut target = Target::plain();
    let attach = Attach { token: target.owner() };
    for message in http2::lying_messages() {
        Target::throw_at(target.greet(), &attach.with(1, &message));
    }
    target.check();
    // Many streams, each in the middle of the longest message there can be.
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = target.greet();
        let begun = [&[0, 0, 0x7f, 0xff, 0xff][..], &vec![0x3a; 3 << 20]].concat();
        let _ = stream.write_all(&attach.with(1, &begun));
        held.push(stream);
    }
    eventually("the hub reads them", || target.growth() > 100 << 20);
    target.check();
}

/// What a worker may say, without end.
fn endless(
    first: Hello,
    then: impl Fn(u64) -> from_worker::Message + Send + 'static,
    count: u64,
) -> impl futures_util::Stream<Item = FromWorker> + Send + 'static {
    let hello = FromWorker { message: Some(from_worker::Message::Hello(first)) };
    let rest = (0..count).map(move |n| FromWorker { message: Some(then(n)) });
    futures_util::stream::iter(std::iter::once(hello).chain(rest))
}

fn hello(key: u64) -> Hello {
    let machine_key = [key.to_le_bytes(), [7; 8]].concat();
    Hello {
        machine_key,
        name: format!("machine-{key}"),
        cores: 1,
        memory_bytes: 1 << 30,
        speed: 1_000_000_000,
        engine: wire::ENGINE.to_owned(),
        ..Hello::default()
    }
}

/// Runs a worker that says so much, and counts what the hub answers until the link ends.
async fn chatter(
    client: &pumasi_api::client::HubClient,
    messages: impl futures_util::Stream<Item = FromWorker> + Send + 'static,
) -> (u64, u64) {
    let (mut acks, mut refused) = (0, 0);
    let attached = WorkerLinkClient::new(client.channel()).attach(client.authorize(messages)).await;
    let Ok(answer) = attached else { return (acks, refused) };
    let mut from = answer.into_inner();
    while let Some(Ok(FromHub { message })) = from.next().await {
        if let Some(from_hub::Message::Ack(ack)) = message {
            acks += 1;
            refused += ack.refused_runs.len() as u64;
        }
    }
    (acks, refused)
}

#[test]
fn floods_of_heartbeats_foreign_reports_and_attaches() {
    let mut target = Target::plain();
    let owner = target.owner();
    let client = target.scene.pool.client(&owner).expect("a client");
    block_on(async {
        let beat = |n: u64| {
            from_worker::Message::Status(Status {
                accepting: n.is_multiple_of(2),
                changed: n.is_multiple_of(64),
                ..Status::default()
            })
        };
        chatter(&client, endless(hello(1), beat, 100_000)).await;
        let foreign = |n: u64| {
            from_worker::Message::Report(Report {
                report_id: n + 1,
                runs: (0..100).map(|run| n * 7919 + run).collect(),
                endings: vec![0; 100],
                fuel: vec![1; 100],
                wall_ns: vec![1; 100],
                results: vec![9; 3200],
                ..Report::default()
            })
        };
        let (acks, refused) = chatter(&client, endless(hello(2), foreign, 1000)).await;
        assert_eq!((acks, refused), (1000, 100_000), "none of these runs is this worker's");
        for few in (0..1000_u64).collect::<Vec<_>>().chunks(50) {
            let links =
                few.iter().map(|n| chatter(&client, endless(hello(10 + n % 3), |_| unreachable!(), 0)));
            futures_util::future::join_all(links).await;
        }
    });
    target.check();
    let statement: wire::Statement = target.scene.pool.ask(&owner, &["statement"]).expect("a statement");
    assert!(statement.lines.is_empty(), "nothing was earned");
}

#[test]
fn ten_thousand_connections_that_say_nothing_or_read_nothing() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = limit.unwrap_or(u64::MAX).saturating_sub(500).min(10_000);
    for mut target in [Target::with(&[]), Target::plain()] {
        let mut idle = Vec::new();
        for n in 0..room / 2 {
            let mut stream = target.connect();
            match n % 4 {
                0 => {}
                // One byte of a handshake or of a request.
                1 => drop(stream.write_all(&[0x16])),
                2 => drop(stream.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: h\r\nx: ")),
                // Asks for much and reads none of it.
                _ => drop(
                    stream.write_all("GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n".repeat(50).as_bytes()),
                ),
            }
            idle.push(stream);
        }
        target.check();
    }
}

#[test]
fn requests_that_lie_or_lead_astray() {
    let mut target = Target::plain();
    let token = target.scene.researcher.clone();
    let request = |line: &str, headers: &str, body: &[u8]| {
        let head = format!("{line} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    };
    let json = |path: &str, body: &[u8]| {
        let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        request(&format!("POST {path}"), &headers, body)
    };
    let is_refused = |status: Option<u16>| matches!(status, Some(400..=431) | None);
    let nested = [b"{\"to\":".to_vec(), b"[".repeat(500_000)].concat();
    let wide = format!("{{\"to\":\"a\",\"amount\":\"{}\"}}", "9".repeat(900_000));
    let numbers = format!("{{\"expires_ms\":1e{},\"amount\":\"1\"}}", "9".repeat(1000));
    for (path, body) in [
        ("/v1/transfers", nested.as_slice()),
        ("/v1/transfers", wide.as_bytes()),
        ("/v1/holds", numbers.as_bytes()),
        ("/v1/jobs", &b"{\"module\":".repeat(50_000)),
        ("/v1/transfers", b"{\"to\":\"\xff\xfe\",\"amount\":\"1\"}"),
        ("/v1/transfers", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
    ] {
        let status = target.status(&json(path, body));
        assert!(is_refused(status), "{path} answered {status:?}");
    }
    // A body that claims to be compressed is read as it is, so that no bomb goes off.
    let gzip = "content-encoding: gzip\r\ncontent-type: application/json\r\ncontent-length: 10\r\n";
    assert!(is_refused(target.status(&request("POST /v1/transfers", gzip, b"\x1f\x8b\x08\0\0\0\0\0\0\x03"))));
    for path in [
        "/v1/blobs/../../operator.token",
        "/v1/blobs/..%2f..%2foperator.token",
        "/v1/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/blobs/%00",
        "/v1/blobs//etc/passwd",
        "/v1/accounts/..%2f..",
        "//v1/blobs",
        "/v1/jobs/18446744073709551616",
        "/v1/jobs/-1/tasks/0",
    ] {
        let status = target.status(&request(&format!("GET {path}"), "", b""));
        assert!(is_refused(status), "{path} answered {status:?}");
    }
    let flood: String = (0..3000).map(|n| format!("x-{n}: {}\r\n", "y".repeat(100))).collect();
    assert!(is_refused(target.status(&request("GET /v1/me", &flood, b""))));
    let long = format!("GET /{}", "a".repeat(100_000));
    assert!(is_refused(target.status(&request(&long, "", b""))));
    check_uploads(&target, request);
    check_guessing(&target);
    target.check();
}

/// Uploads that are shorter or longer than they said leave nothing behind.
fn check_uploads(target: &Target, request: impl Fn(&str, &str, &[u8]) -> Vec<u8>) {
    let short = request("POST /v1/blobs", "content-length: 1000000\r\n", &[7; 5000]);
    target.throw(&short);
    let negative = request("POST /v1/blobs", "content-length: -1\r\n", &[7; 5000]);
    assert!(matches!(target.status(&negative), Some(400..500) | None));
    let both = request("POST /v1/blobs", "content-length: 5\r\ntransfer-encoding: chunked\r\n", b"zz\r\nabc");
    target.throw(&both);
    let chunk = request("POST /v1/blobs", "transfer-encoding: chunked\r\n", b"ffffffffffffffff\r\nabc");
    target.throw(&chunk);
    let huge = request("POST /v1/blobs", "content-length: 99999999999999\r\n", b"abc");
    assert_eq!(target.status(&huge), Some(413));
    let blobs = target.scene.pool.data.join("blobs");
    super::eventually("broken uploads are forgotten", || {
        let names = std::fs::read_dir(blobs.join("packs")).expect("a folder");
        names.flatten().all(|name| !name.file_name().to_string_lossy().contains('#'))
    });
}

/// Whoever guesses tokens is slowed down; whoever has one is not.
fn check_guessing(target: &Target) {
    let guess = |n: u32| {
        let token = format!("pumasi_{n:064x}");
        target.status(
            format!("GET /v1/me HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes(),
        )
    };
    let answers: Vec<_> = (0..200).map(guess).collect();
    assert!(answers.iter().all(|status| matches!(status, Some(401 | 429))), "{answers:?}");
    assert!(answers.contains(&Some(429)), "two hundred guesses are not slowed down");
    let client = target.scene.pool.client(&target.scene.researcher).expect("a client");
    let pay = json!({"to": "operator", "amount": "0.01"});
    let _: wire::Transferred = block_on(client.post("/v1/transfers", &pay, None)).expect("it has a token");
}
