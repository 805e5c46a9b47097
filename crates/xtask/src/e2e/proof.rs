//! What a hub proves, checked by programs that nobody here wrote, by its own command line, and by witnesses.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pumasi_api::wire;
use pumasi_proof::{ProofFile, SignerKey};
use serde_json::{Value, json};

use super::mirror::Mirror;
use super::{Scene, example};
use crate::process::Guarded;
use crate::verifiers::{Verdict, Verifiers};

const ORIGIN: &str = "pool.example/pay";

fn verifiers() -> &'static Verifiers {
    Verifiers::get().expect("the verifiers can be installed")
}

/// A pool whose log has a name.
fn scene(owners: usize) -> Scene {
    Scene::with(owners, &["--link-grace", "1s", "--origin", ORIGIN, "--checkpoint-every", "100ms"])
}

/// The researcher pays so many tasks, until a checkpoint covers that; the job's number.
fn pay(scene: &Scene, tasks: u32) -> u64 {
    let tasks = tasks.to_string();
    let arguments = ["submit", &example("noop/noop.wasm"), "--tasks", &tasks, "--budget", "5", "--yes"];
    let job: wire::Job = scene.pool.ask(&scene.researcher, &arguments).expect("the job is taken");
    scene.succeed(&["job", &job.id.to_string(), "--wait", "--quiet"]);
    let statement: wire::Statement =
        scene.pool.ask(&scene.researcher, &["statement", "--limit", "1"]).expect("a statement");
    // A receipt comes when there is a checkpoint for it.
    scene.succeed(&["receipt", "get", &statement.lines[0].transfer.to_string()]);
    job.id.0
}

/// The hub's keys, the newest first.
fn keys(scene: &Scene) -> Vec<String> {
    scene.succeed(&["proof", "key", "--quiet"]).lines().map(str::to_owned).collect()
}

/// The receipts of a job in a folder.
fn receipts(scene: &Scene, job: u64, folder: &str) -> Vec<PathBuf> {
    let folder = scene.path(folder);
    scene.succeed(&["receipt", "get", "--job", &job.to_string(), "--out", text(&folder)]);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Exit code and result of `pumasi receipt verify`, which gets no hub, no token and no network to ask.
fn verify(scene: &Scene, path: &Path, trust: &[&str]) -> (bool, Vec<Value>) {
    let mut command = Command::new(super::program());
    command.env_clear().args(["receipt", "verify", text(path), "--json"]).args(trust);
    let output = command.current_dir(scene.pool.dir.path()).output().expect("the binary runs");
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{lines}");
    let values = serde_json::Deserializer::from_str(&lines).into_iter::<Value>();
    (output.status.success(), values.collect::<Result<_, _>>().expect("JSON"))
}

fn mirror(scene: &Scene, name: &str) -> Mirror {
    let auditor =
        scene.pool.open_account(&format!("auditor-of-{name}"), "auditor").expect("an account opens");
    Mirror::fetch(&scene.pool.client(&auditor).expect("a client"), scene.path(name))
}

fn assert_good(verdicts: [Verdict; 2], size: u64) {
    for verdict in verdicts {
        assert_eq!(verdict, Ok(format!("ok: {size} entries")));
    }
}

#[test]
fn others_programs_check_the_log_and_notice_four_kinds_of_damage() {
    let scene = scene(2);
    pay(&scene, 400);
    let vkey = &keys(&scene)[0];
    let old = mirror(&scene, "old");
    pay(&scene, 200);
    let good = mirror(&scene, "good");
    let size = good.checkpoint().size;
    assert!(
        old.checkpoint().size > 256 && size > old.checkpoint().size,
        "{} and {size}",
        old.checkpoint().size
    );
    let olds = [old.path("checkpoint")];
    assert_good(verifiers().log(&good.0, vkey, &olds), size);
    let tile = |begins: &str| {
        let mut tiles = good.tiles().into_iter().map(|tile| tile.to_string());
        tiles.rfind(|tile| tile.starts_with(begins)).expect("there are such tiles")
    };
    for name in [tile("tile/entries/"), tile("tile/0/"), tile("tile/1/"), "tile/0/000".to_owned()] {
        let damaged = good.damaged(scene.path(&name.replace('/', "-")), &name);
        for verdict in verifiers().log(&damaged.0, vkey, &[]) {
            verdict.expect_err(&name);
        }
    }
    // What the hub itself signed looks good alone. Only what somebody kept shows that it is another history.
    let key = std::fs::read_to_string(scene.path("hub/proof/key")).expect("the hub's own key");
    let key = SignerKey::from_secret(key.trim()).expect("a key");
    let fork = good.rewritten(&scene.path("fork"), 100, 0, &key);
    let rewrite = good.rewritten(&scene.path("rewrite"), 3, 50, &key);
    for (forged, entries) in [(fork, size), (rewrite, size + 50)] {
        assert_good(verifiers().log(&forged.0, vkey, &[]), entries);
        for kept in [&good, &old] {
            for verdict in verifiers().log(&forged.0, vkey, &[kept.path("checkpoint")]) {
                let problem = verdict.expect_err("another history");
                assert!(problem.contains("fork"), "{problem}");
            }
        }
    }
}

#[test]
fn receipts_of_a_job_hold_here_and_elsewhere() {
    let scene = scene(2);
    let job = pay(&scene, 50);
    let vkey = &keys(&scene)[0];
    let files = receipts(&scene, job, "receipts");
    let folder = scene.path("receipts");
    let (good, said) = verify(&scene, &folder, &["--key", vkey]);
    assert!(good, "{said:?}");
    let spent: f64 = scene.job(job).spent.parse().expect("a number");
    let amount = |one: &Value| one["receipt"]["amount"].as_str().and_then(|text| text.parse::<f64>().ok());
    let sum: f64 = said.iter().map(|one| amount(one).expect("a number")).sum();
    assert!((sum - spent).abs() < 1e-9, "receipts of {sum}, spent {spent}");
    assert!(said.iter().all(|one| one["receipt"]["run"]["job"] == job), "{said:?}");
    assert_eq!(said[0]["receipt"]["engine"], scene.job(job).engine);
    // aics-tlog checks one of them, with the leaf from the log itself.
    let mirror = mirror(&scene, "mirror");
    let receipt = ProofFile::parse(&std::fs::read_to_string(&files[0]).expect("a file")).expect("a receipt");
    let leaf = scene.file("leaf", &mirror.leaf(receipt.index));
    let size = receipt.claimed().expect("a checkpoint").size;
    let verdict = verifiers().receipt(&files[0], Path::new(&leaf), vkey);
    assert_eq!(verdict, Ok(format!("ok: entry {} of {size}", receipt.index)));
    // One bit of the amount, and nobody believes it any more.
    let mut forged = receipt;
    forged.extra.as_mut().expect("the transfer")[32] ^= 1;
    let path = scene.file("forged.tlog-proof", forged.to_string().as_bytes());
    let leaf = scene.file("forged-leaf", &forged.extra.as_ref().expect("the transfer")[..120]);
    verifiers().receipt(Path::new(&path), Path::new(&leaf), vkey).expect_err("another amount");
    let (good, said) = verify(&scene, Path::new(&path), &["--key", vkey]);
    assert!(
        !good && said[0]["problem"].as_str().is_some_and(|text| text.contains("does not hold")),
        "{said:?}"
    );
    // Owners have receipts of what they were paid, and nobody those of others.
    let statement: wire::Statement = scene.pool.ask(&scene.owners[0], &["statement"]).expect("a statement");
    let id = statement.lines[0].transfer.to_string();
    let get = |token: &str| scene.pool.cli(token).args(["receipt", "get", &id]).output().expect("it runs");
    assert!(get(&scene.owners[0]).status.success());
    assert_eq!(get(&scene.owners[1]).status.code(), Some(4));
}

/// A witness of the package aics-witness that knows the log by these keys.
fn foreign_witness(scene: &Scene, vkeys: &[String]) -> (String, String, Guarded) {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let config = json!({
        "witness": {
            "name": "witness.example/foreign", "listen": format!("127.0.0.1:{port}"),
            "db": "witness.db", "key_file": "witness.key",
        },
        "logs": [{ "origin": ORIGIN, "vkeys": vkeys, "extension_lines": true }],
    });
    std::fs::create_dir_all(scene.path("foreign")).expect("a folder");
    let config = scene.file("foreign/witness.json", config.to_string().as_bytes());
    let command = |verb: &str| {
        let mut command = Command::new(verifiers().python());
        command.args(["-m", "aics_witness", verb, "--config", &config]).stderr(Stdio::null());
        command
    };
    let output = command("init").output().expect("python runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let vkey = said.split_whitespace().find(|word| word.starts_with("witness.example/foreign+"));
    let vkey = vkey.unwrap_or_else(|| panic!("init printed {said}")).to_owned();
    let witness = Guarded::spawn(command("serve").stdout(Stdio::null())).expect("a witness starts");
    let until = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the witness does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    (vkey, format!("http://127.0.0.1:{port}"), witness)
}

/// A witness of ours on a thread, for as long as the test runs.
fn own_witness(scene: &Scene, vkeys: &[String]) -> (String, String) {
    let store = pumasi_witness::Store::open(&scene.path("own")).expect("a store");
    let key = store.key("witness.example/own").expect("a key");
    let logs = vkeys.iter().map(|key| key.parse().expect("a key")).collect();
    let vkey = key.verifier().to_string();
    let witness = std::sync::Arc::new(pumasi_witness::Witness::new(key, logs, store));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("a socket option");
    std::thread::spawn(move || {
        crate::pool::block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            pumasi_witness::serve(listener, witness, std::future::pending()).await
        })
    });
    (vkey, format!("http://{address}"))
}

#[test]
fn witnesses_of_two_makers_cosign_and_a_policy_can_ask_for_both() {
    let mut scene = scene(2);
    pay(&scene, 20);
    let vkeys = keys(&scene);
    let (theirs, their_url, mut their_process) = foreign_witness(&scene, &vkeys);
    let (ours, our_url) = own_witness(&scene, &vkeys);
    let witnesses = [format!("{theirs}@{their_url}"), format!("{ours}@{our_url}")];
    let arguments = ["--witness", &witnesses[0], "--witness", &witnesses[1]];
    scene.pool.restart_hub(&arguments).expect("the hub starts again");
    scene.pool.wait_for_workers(2).expect("workers come back");
    let job = pay(&scene, 20);
    receipts(&scene, job, "receipts");
    let policy = |threshold: &str| {
        let lines = format!(
            "log {}\nwitness THEIRS {theirs}\nwitness OURS {ours}\ngroup BOTH {threshold} THEIRS OURS\nquorum BOTH\n",
            vkeys[0]
        );
        scene.file(&format!("policy-{threshold}"), lines.as_bytes())
    };
    let (all, any) = (policy("all"), policy("any"));
    let (good, said) = verify(&scene, &scene.path("receipts"), &["--policy", &all]);
    assert!(
        good && said.iter().all(|one| one["witnesses"].as_array().is_some_and(|all| all.len() == 2)),
        "{said:?}"
    );
    // The same in the eyes of aics-tlog.
    let witnessed = mirror(&scene, "mirror");
    let size = witnessed.checkpoint().size;
    let checkpoint = witnessed.path("checkpoint");
    let verdict = verifiers().cosigned(&checkpoint, &vkeys[0], 2, &[&theirs, &ours]);
    assert_eq!(verdict, Ok(format!("ok: {size} entries")));
    assert_good(verifiers().log(&witnessed.0, &vkeys[0], &[]), size);
    // Their feeder gets cosignatures of our witness, and none for another history.
    let feed = |mirror: &Mirror| verifiers().feed(&mirror.0, &our_url, &ours);
    assert_eq!(feed(&witnessed), Ok(format!("ok: {size} entries cosigned")));
    let key = std::fs::read_to_string(scene.path("hub/proof/key")).expect("the hub's own key");
    let key = SignerKey::from_secret(key.trim()).expect("a key");
    for (name, appended) in [("fork", 0), ("rewrite", 5)] {
        let forged = witnessed.rewritten(&scene.path(name), 3, appended, &key);
        let problem = feed(&forged).expect_err("another history");
        assert!(problem.contains("WitnessRejected") || problem.contains("WitnessConflict"), "{problem}");
    }
    // One of them goes away: who asks for both does not believe what comes after.
    their_process.kill().expect("it was alive");
    let job = pay(&scene, 5);
    receipts(&scene, job, "later");
    let (good, said) = verify(&scene, &scene.path("later"), &["--policy", &all]);
    assert!(!good && said[0]["problem"].as_str().is_some_and(|text| text.contains("quorum")), "{said:?}");
    assert!(verify(&scene, &scene.path("later"), &["--policy", &any]).0);
}

#[test]
fn a_new_key_is_believed_because_the_old_one_signed_it() {
    let mut scene = scene(2);
    let first = pay(&scene, 5);
    receipts(&scene, first, "first");
    let old = keys(&scene).remove(0);
    let data = scene.path("hub");
    let change = |scene: &mut Scene, verb: &str| {
        let pair: Value =
            scene.pool.ask(&scene.researcher, &["proof", verb, "--data", text(&data)]).expect(verb);
        scene.pool.restart_hub(&[]).expect("the hub starts again");
        scene.pool.wait_for_workers(2).expect("workers come back");
        pair["new"].as_str().expect("a key").to_owned()
    };
    let new = change(&mut scene, "rotate-key");
    assert_eq!(keys(&scene), [new.clone(), old.clone()]);
    let between = pay(&scene, 5);
    receipts(&scene, between, "between");
    for key in [&old, &new] {
        assert!(verify(&scene, &scene.path("between"), &["--key", key]).0, "both sign");
    }
    assert_eq!(change(&mut scene, "retire-key"), new);
    let last = pay(&scene, 5);
    receipts(&scene, last, "last");
    assert!(verify(&scene, &scene.path("last"), &["--key", &new]).0);
    assert!(!verify(&scene, &scene.path("last"), &["--key", &old]).0, "the old key is gone");
    let rotations = scene.file("rotations", scene.succeed(&["proof", "rotations"]).as_bytes());
    let trust = ["--key", &old, "--rotations", &rotations];
    assert!(verify(&scene, &scene.path("last"), &trust).0, "but it leads to the new one");
    let backwards = ["--key", &new, "--rotations", &rotations];
    assert!(!verify(&scene, &scene.path("first"), &backwards).0, "the new one does not lead back");
    let mirror = mirror(&scene, "mirror");
    assert_good(verifiers().log(&mirror.0, &new, &[]), mirror.checkpoint().size);
}
