//! What is proven, to whom it is shown, and when a hub must not start.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_core::Transfer;
use pumasi_hub::proof::{ProofKeys, WitnessAddress, bound_entry};
use pumasi_hub::start;
use pumasi_log::format::{WIRE_HEADER, WireHeader};
use pumasi_proof::{
    Checkpoint, Malformed, Note, Policy, ProofFile, TileNodes, TilePath, Tiles, TreeHash, VerifierKey,
    prove_consistency, root, unbundle, verify_consistency,
};
use pumasi_witness::{Store, Witness};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::common::{PATIENCE, TestHub, copy, options, refusal};

async fn issue(hub: &TestHub, count: usize) {
    let operator = hub.operator();
    for _ in 0..count {
        let body = json!({"to": "operator", "amount": "1"});
        let _: wire::Transferred = operator.post("/v1/issue", &body, None).await.unwrap();
    }
}

async fn text(client: &HubClient, path: &str) -> String {
    String::from_utf8(client.get_bytes(path, 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// The checkpoint once it covers so many transfers.
async fn checkpoint(hub: &TestHub, size: u64) -> (Note, Checkpoint) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = hub.raw("GET", "/checkpoint", &[], b"").await;
        if answer.status == 200 {
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            let note = Note::parse(&answer.body).unwrap();
            let checkpoint = Checkpoint::parse(note.text()).unwrap();
            if checkpoint.size >= size {
                return (note, checkpoint);
            }
        }
        assert!(std::time::Instant::now() < until, "no checkpoint of {size} in time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn vkey(hub: &TestHub) -> VerifierKey {
    let info: wire::ProofInfo = hub.operator().get("/v1/proof").await.unwrap();
    info.keys[0].parse().unwrap()
}

/// Tiles that were fetched before.
struct Fetched(std::collections::HashMap<TilePath, Vec<u8>>);

impl Tiles for &Fetched {
    type Error = Malformed;

    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Malformed> {
        Ok(self.0[path].clone())
    }
}

#[tokio::test]
async fn what_is_settled_is_proven_to_those_who_may_know() {
    let hub = TestHub::new().await;
    issue(&hub, 300).await;
    let (note, checkpoint) = checkpoint(&hub, 300).await;
    let key = vkey(&hub).await;
    let policy = Policy::of_logs(vec![key.clone()]);
    assert_eq!(policy.accept(&note).unwrap().checkpoint, checkpoint);
    let (operator, stranger) = (hub.operator(), hub.owner("stranger").await);
    let auditor = hub.client(&hub.open("auditor", &["auditor"]).await);
    // Tiles are for everybody, and are those of the signed tree.
    let mut fetched = Fetched(Default::default());
    for (level, index) in [(0, 0), (0, 1), (1, 0)] {
        let path = TilePath::of_hashes(level, index, 300).unwrap();
        let bytes = stranger.get_bytes(&format!("/{path}"), 8192).await.unwrap();
        fetched.0.insert(path, bytes.to_vec());
    }
    assert_eq!(root(&TileNodes::new(&fetched, 300), 300).unwrap(), checkpoint.root);
    for nowhere in
        ["/tile/0/002", "/tile/0/001", "/tile/0/001.p/45", "/tile/1/000", "/tile/2/000.p/1", "/tile/0/1"]
    {
        hub.raw("GET", nowhere, &[], b"").await.expect(404, "no_tile");
    }
    // Transfers are for auditors.
    let bundle = TilePath::of_entries(1, 300).unwrap();
    hub.raw("GET", &format!("/{bundle}"), &[], b"").await.expect(401, "unknown_token");
    assert_eq!(refusal(stranger.get_bytes(&format!("/{bundle}"), 1 << 20).await).0, 403);
    let bytes = auditor.get_bytes(&format!("/{bundle}"), 1 << 20).await.unwrap();
    let leaves = unbundle(&bytes).unwrap();
    let tile = &fetched.0[&TilePath::of_hashes(0, 1, 300).unwrap()];
    assert_eq!(leaves.len(), 44);
    for (leaf, hash) in leaves.iter().zip(tile.chunks(32)) {
        assert_eq!(TreeHash::of_leaf(leaf).as_bytes(), hash);
    }
    // Receipts are for those who paid or were paid.
    let receipt = ProofFile::parse(&text(&operator, "/v1/receipts/7").await).unwrap();
    let extra = receipt.extra.clone().unwrap();
    let accepted = policy.accept(&receipt.checkpoint).unwrap();
    receipt.verify_leaf(TreeHash::of_leaf(&extra[..Transfer::RECORD_BYTES]), &accepted.checkpoint).unwrap();
    let record = extra[..Transfer::RECORD_BYTES].try_into().unwrap();
    assert_eq!(Transfer::from_record(record).unwrap().id.0, 7);
    assert_eq!(text(&auditor, "/v1/receipts/7").await, receipt.to_string());
    assert_eq!(refusal(stranger.get_bytes("/v1/receipts/7", 1 << 20).await).0, 403);
    assert_eq!(refusal(operator.get_bytes("/v1/receipts/0", 1 << 20).await).1, "no_transfer");
    assert_eq!(refusal(operator.get_bytes("/v1/receipts/301", 1 << 20).await).1, "no_transfer");
}

#[tokio::test]
async fn auditors_read_the_log_that_checkpoints_name() {
    let hub = TestHub::new().await;
    issue(&hub, 3).await;
    let (_, checkpoint) = checkpoint(&hub, 3).await;
    let auditor = hub.client(&hub.open("auditor", &["auditor"]).await);
    let owner = hub.owner("owner").await;
    assert_eq!(refusal(owner.get_bytes("/v1/log", 1 << 20).await).0, 403);
    let bytes = auditor.get_bytes("/v1/log", 1 << 24).await.unwrap();
    let (seq, hash) = bound_entry(&checkpoint).unwrap();
    let (mut rest, mut prev, mut seen) = (&bytes[..], pumasi_types::Hash::ZERO, None);
    while let Some((header, after)) = rest.split_first_chunk::<WIRE_HEADER>() {
        let header = WireHeader::decode(header).unwrap();
        let (payload, after) = after.split_at(header.payload_bytes as usize);
        let entry = header.with(payload.to_vec().into()).unwrap();
        assert_eq!(entry.prev, prev);
        (rest, prev) = (after, entry.hash);
        if entry.seq == seq {
            seen = Some(entry.hash);
        }
    }
    assert!(rest.is_empty());
    assert_eq!(seen, Some(hash));
    let tail = auditor.get_bytes(&format!("/v1/log?from={seq}"), 1 << 24).await.unwrap();
    assert!(bytes.ends_with(&tail) && !tail.is_empty());
    assert!(auditor.get_bytes("/v1/log?from=1000000", 1 << 20).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_operators_read_what_the_log_has_just_taken_in() {
    let mut hub = TestHub::with(|options| options.audit_lag = Duration::from_secs(3_600)).await;
    issue(&hub, 3).await;
    let auditor = hub.open("auditor", &["auditor"]).await;
    let all = hub.operator().get_bytes("/v1/log", 1 << 24).await.unwrap();
    assert!(!all.is_empty());
    assert!(hub.client(&auditor).get_bytes("/v1/log", 1 << 24).await.unwrap().is_empty());
    let info: wire::ProofInfo = hub.client(&auditor).get("/v1/proof").await.unwrap();
    assert_eq!(info.audit_lag_ms, 3_600_000);
    hub.options.audit_lag = Duration::from_millis(300);
    let hub = hub.restarted().await;
    let client = hub.client(&auditor);
    let shown = async {
        while !client.get_bytes("/v1/log", 1 << 24).await.unwrap().starts_with(&all) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("it is shown in the end");
}

#[tokio::test]
async fn checkpoints_continue_each_other_over_restarts_and_damage() {
    let mut hub = TestHub::new().await;
    let mut before: Vec<Checkpoint> = Vec::new();
    for round in 1..=4_u64 {
        issue(&hub, 150).await;
        let (_, now) = checkpoint(&hub, 150 * round).await;
        let operator = hub.operator();
        for old in &before {
            let mut fetched = Fetched(Default::default());
            for (level, index) in (0..2).flat_map(|level| (0..3).map(move |index| (level, index))) {
                if let Some(path) = TilePath::of_hashes(level, index, now.size) {
                    let bytes = operator.get_bytes(&format!("/{path}"), 8192).await.unwrap();
                    fetched.0.insert(path, bytes.to_vec());
                }
            }
            let proof = prove_consistency(&TileNodes::new(&fetched, now.size), old.size, now.size).unwrap();
            verify_consistency(old.size, old.root, now.size, now.root, &proof).unwrap();
        }
        before.push(now);
        // Hashes are derived: they may be lost or damaged, and journal and level files cut short.
        let TestHub { dir, running, options } = hub;
        running.stop().await.unwrap();
        let level = options.data.join("proof/level-0");
        match round {
            1 => std::fs::remove_file(&level).unwrap(),
            2 => {
                let mut bytes = std::fs::read(&level).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                std::fs::write(&level, bytes).unwrap();
            }
            _ => std::fs::remove_file(options.data.join("transfers.journal")).unwrap(),
        }
        let running = start(options.clone()).await.unwrap();
        hub = TestHub { dir, running, options };
    }
}

/// Stops a hub, lets its data be changed, and tells why it does not start again.
async fn refused_start(hub: TestHub, change: impl FnOnce(&Path)) -> String {
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    change(&options.data);
    let error = start(options).await.err().expect("it must not start").to_string();
    drop(dir);
    error
}

#[tokio::test]
async fn a_hub_that_lost_what_it_signed_does_not_start() {
    let hub = TestHub::new().await;
    issue(&hub, 3).await;
    checkpoint(&hub, 3).await;
    let hub = hub.restarted().await;
    let backup = hub.dir.path().join("backup");
    copy(hub.data(), &backup);
    issue(&hub, 3).await;
    checkpoint(&hub, 6).await;
    let error = refused_start(hub, |data| {
        for name in ["log", "snapshots"] {
            std::fs::remove_dir_all(data.join(name)).unwrap();
            copy(&backup.join(name), &data.join(name));
        }
    });
    let error = error.await;
    assert!(error.contains("6 transfers was signed, but the log has only 3"), "{error}");
    assert!(error.contains("--origin"), "it says what to do: {error}");
}

#[tokio::test]
async fn a_hub_whose_log_is_another_does_not_start() {
    let hub = TestHub::new().await;
    issue(&hub, 3).await;
    checkpoint(&hub, 3).await;
    let other = TestHub::new().await;
    issue(&other, 5).await;
    other.running.stop().await.unwrap();
    let error = refused_start(hub, |data| {
        for name in ["log", "snapshots"] {
            std::fs::remove_dir_all(data.join(name)).unwrap();
            copy(&other.options.data.join(name), &data.join(name));
        }
    });
    let error = error.await;
    assert!(error.contains("the log differs from the checkpoint of 3 transfers"), "{error}");
}

#[tokio::test]
async fn a_crash_never_leaves_more_signed_than_there_is() {
    let hub = TestHub::new().await;
    for round in 0..3_u64 {
        issue(&hub, 20).await;
        let (_, now) = checkpoint(&hub, 1 + 20 * round).await;
        // As after a power cut: what the disk has at this moment, the log last.
        let crashed = hub.dir.path().join(format!("crashed{round}"));
        copy(&hub.data().join("proof"), &crashed.join("proof"));
        copy(hub.data(), &crashed.join("later"));
        copy(&crashed.join("later/log"), &crashed.join("log"));
        std::fs::remove_dir_all(crashed.join("later")).unwrap();
        let again = start(options(&crashed)).await.unwrap();
        assert!(again.settled().0 >= now.size);
        again.stop().await.unwrap();
    }
}

#[tokio::test]
async fn without_proofs_nothing_is_proven_and_later_everything() {
    let hub = TestHub::with(|options| options.proofs = false).await;
    issue(&hub, 5).await;
    hub.raw("GET", "/checkpoint", &[], b"").await.expect(404, "no_proofs");
    assert!(!hub.data().join("proof").exists());
    let TestHub { dir, running, mut options } = hub;
    running.stop().await.unwrap();
    options.proofs = true;
    options.origin = Some("example.com/pool".to_owned());
    let running = start(options.clone()).await.unwrap();
    let hub = TestHub { dir, running, options };
    let (_, now) = checkpoint(&hub, 5).await;
    assert_eq!(now.origin, "example.com/pool");
}

#[tokio::test]
async fn both_keys_sign_until_the_old_one_is_retired() {
    let hub = TestHub::new().await;
    issue(&hub, 1).await;
    let old = vkey(&hub).await;
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    let pair = ProofKeys::open(&options.data, None).unwrap().rotate().unwrap();
    assert_eq!(pair.old, old);
    let running = start(options.clone()).await.unwrap();
    let hub = TestHub { dir, running, options };
    issue(&hub, 1).await;
    let (note, _) = checkpoint(&hub, 2).await;
    for key in [&pair.old, &pair.new] {
        assert!(Policy::of_logs(vec![key.clone()]).accept(&note).is_ok());
    }
    let info: wire::ProofInfo = hub.operator().get("/v1/proof").await.unwrap();
    let rotations = pumasi_proof::Rotations::parse(&info.rotations).unwrap();
    assert_eq!(rotations.follow(&old), [pair.old.clone(), pair.new.clone()]);
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    ProofKeys::open(&options.data, None).unwrap().retire().unwrap();
    let running = start(options.clone()).await.unwrap();
    let hub = TestHub { dir, running, options };
    issue(&hub, 1).await;
    let (note, _) = checkpoint(&hub, 3).await;
    assert!(Policy::of_logs(vec![pair.old]).accept(&note).is_err());
    assert!(Policy::of_logs(vec![pair.new]).accept(&note).is_ok());
}

/// A witness on a port of its own; stops when the sender is dropped.
async fn witness(dir: &Path, logs: Vec<VerifierKey>) -> (VerifierKey, SocketAddr, oneshot::Sender<()>) {
    let store = Store::open(dir).unwrap();
    let key = store.key("witness.example/w").unwrap();
    let verifier = key.verifier().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let witness = Arc::new(Witness::new(key, logs, store));
    tokio::spawn(pumasi_witness::serve(listener, witness, async move { drop(stopped.await) }));
    (verifier, address, stop)
}

#[tokio::test]
async fn witnesses_cosign_and_stop_a_hub_that_went_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = ProofKeys::open(&data, Some("example.com/log")).unwrap().verifiers();
    let (key, address, _stop) = witness(&dir.path().join("witness"), log.clone()).await;
    let at = |address: SocketAddr| format!("{key}@http://{address}").parse::<WitnessAddress>().unwrap();
    let with_witness = |data: &Path| {
        let mut options = options(data);
        options.witnesses = vec![at(address)];
        options
    };
    let policy = format!("log {}\nwitness W {key}\nquorum W\n", log[0]);
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let running = start(with_witness(&data)).await.unwrap();
    let hub = TestHub { dir: tempfile::tempdir().unwrap().into(), running, options: with_witness(&data) };
    issue(&hub, 3).await;
    let (note, _) = checkpoint(&hub, 3).await;
    assert_eq!(policy.accept(&note).unwrap().witnesses.len(), 1);
    let hub = hub.restarted().await;
    let backup = dir.path().join("backup");
    copy(&data, &backup);
    issue(&hub, 3).await;
    let (note, now) = checkpoint(&hub, 6).await;
    assert_eq!(policy.accept(&note).unwrap().checkpoint, now);
    let receipt = ProofFile::parse(&text(&hub.operator(), "/v1/receipts/5").await).unwrap();
    policy.accept(&receipt.checkpoint).unwrap();
    hub.running.stop().await.unwrap();
    // The whole data folder restored from a backup: only the witness remembers.
    let error = start(with_witness(&backup)).await.err().expect("it must not start").to_string();
    assert!(error.contains("witness.example/w has cosigned 6 transfers"), "{error}");
    assert!(start(with_witness(&data)).await.is_ok(), "the newer folder is good");
}
