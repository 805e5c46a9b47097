//! Receipts made by hand: a good one, and each way in which one can be bad.

use pumasi_proof::{Frontier, Note, SignerKey, Use, VerifierKey};
use pumasi_types::{Currency, Fuel, JobId, Price, RunId, TaskIndex, Time, WorkerId};

use super::*;

const ENGINE: &str = "wasmtime-48.0.8/c911e9e6";

fn signer() -> SignerKey {
    SignerKey::from_seed("pool.example/pay", Use::Note, [7; 32]).unwrap()
}

fn policy() -> Policy {
    Policy::of_logs(vec![signer().verifier().clone()])
}

/// The third of three transfers.
fn transfer() -> Transfer {
    let cause = Cause::Run {
        job: JobId(7),
        task: TaskIndex(12),
        run: RunId(90),
        worker: WorkerId(4),
        fuel: Fuel(2_500_000_000),
        price: Price(500_000),
        engine: EngineId(ENGINE.to_owned()).tag(),
    };
    Transfer {
        id: TransferId(3),
        time: Time(1_700_000_000_000_000_000),
        payer: AccountId(2),
        payee: AccountId(5),
        currency: Currency::CREDIT,
        amount: Amount(1_250_000),
        cause,
        payer_prev: TransferId(0),
        payee_prev: TransferId(0),
    }
}

/// Its receipt from a log of three leaves, of which it is the last.
fn receipt(transfer: &Transfer, engine: &str) -> ProofFile {
    let mut frontier = Frontier::default();
    let mut hashes = Vec::new();
    for leaf in [&b"one"[..], b"two", &transfer.to_record()] {
        frontier.push(TreeHash::of_leaf(leaf), |_, hash| hashes.push(hash));
    }
    let checkpoint = Checkpoint {
        origin: "pool.example/pay".to_owned(),
        size: 3,
        root: frontier.root(),
        extensions: vec![format!("pumasi-log 9 {}", pumasi_types::Hash::ZERO)],
    };
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.add(signer().sign(note.text(), 0));
    let left = TreeHash::of_node(&TreeHash::of_leaf(b"one"), &TreeHash::of_leaf(b"two"));
    ProofFile {
        extra: Some([&transfer.to_record()[..], engine.as_bytes()].concat()),
        index: 2,
        hashes: vec![left],
        checkpoint: note,
    }
}

fn verified(file: &ProofFile) -> Result<Accepted, ReceiptError> {
    Receipt::parse(&file.to_string())?.verify(&policy())
}

#[test]
fn a_good_receipt_says_everything_that_matters() {
    let file = receipt(&transfer(), ENGINE);
    let accepted = verified(&file).unwrap();
    assert_eq!((accepted.logs[0].key.name(), accepted.checkpoint.size), ("pool.example/pay", 3));
    let said = serde_json::to_value(Receipt::parse(&file.to_string()).unwrap().said()).unwrap();
    let expected = serde_json::json!({
        "transfer": 3, "time_ms": 1_700_000_000_000_u64, "from": 2, "to": 5,
        "currency": "CRD", "amount": "1.25", "cause": "run", "engine": ENGINE,
        "run": {
            "job": 7, "task": 12, "run": 90, "worker": 4, "fuel": 2_500_000_000_u64, "price": "0.50",
        },
        "log": {
            "origin": "pool.example/pay", "index": 2, "size": 3, "entry": 9,
            "root": accepted.checkpoint.root.to_string(),
        },
    });
    assert_eq!(said, expected);
    let nameless = receipt(&transfer(), "");
    verified(&nameless).unwrap();
    let said = Receipt::parse(&nameless.to_string()).unwrap().said();
    assert!(said.engine.unwrap().starts_with("the one with tag "));
}

#[test]
fn whatever_was_changed_is_noticed() {
    let good = receipt(&transfer(), ENGINE);
    let problem = |file: &ProofFile| verified(file).expect_err("it does not hold").to_string();
    let mut changed = good.clone();
    changed.extra.as_mut().unwrap()[32] ^= 1;
    assert!(problem(&changed).contains("does not hold this transfer"), "the amount");
    let mut changed = good.clone();
    changed.extra.as_mut().unwrap().extend(b"x");
    assert!(problem(&changed).contains("the engine was"), "the engine's name");
    let mut changed = good.clone();
    changed.hashes.clear();
    assert!(problem(&changed).contains("does not hold this transfer"), "the proof");
    let mut changed = good.clone();
    changed.index = 1;
    assert!(problem(&changed).contains("does not hold this transfer"), "the place");
    let text = good.checkpoint.to_string().replacen("\n3\n", "\n4\n", 1);
    let changed = ProofFile { checkpoint: Note::parse(&text).unwrap(), ..good.clone() };
    assert!(problem(&changed).contains("is wrong"), "the checkpoint");
    let changed = ProofFile { extra: None, ..good.clone() };
    assert!(problem(&changed).contains("not a receipt"), "no transfer");
    let changed = ProofFile { extra: Some(vec![255; 200]), ..good };
    assert!(problem(&changed).contains("not a receipt"), "no transfer at all");
}

#[test]
fn what_the_hub_itself_signed_must_make_sense() {
    let problem = |transfer: &Transfer| verified(&receipt(transfer, ENGINE)).err().unwrap().to_string();
    let dear = Transfer { amount: Amount(1_250_001), ..transfer() };
    assert_eq!(problem(&dear), "1.250001 was paid for a run that costs 1.25");
    let elsewhere = Transfer { id: TransferId(4), ..transfer() };
    assert_eq!(problem(&elsewhere), "transfer 4 cannot be leaf 2 of the log");
    assert!(problem(&Transfer { id: TransferId(0), ..transfer() }).contains("cannot be leaf"));
}

#[test]
fn only_keys_that_are_trusted_count() {
    let receipt = Receipt::parse(&receipt(&transfer(), ENGINE).to_string()).unwrap();
    let key = |name: &str, seed| {
        let key = SignerKey::from_seed(name, Use::Note, [seed; 32]).unwrap();
        Policy::of_logs(vec![key.verifier().clone()])
    };
    let problem = |policy: &Policy| receipt.verify(policy).err().unwrap().to_string();
    assert!(problem(&key("pool.example/pay", 8)).contains("known key"));
    assert!(problem(&key("other.example/pay", 7)).contains("no key of the log"));
    let witness = SignerKey::from_seed("w", Use::Cosignature, [1; 32]).unwrap();
    let quorum = format!("log {}\nwitness W {}\nquorum W\n", signer().verifier(), witness.verifier());
    let strict = Policy::parse(quorum.as_bytes()).unwrap();
    assert!(problem(&strict).contains("not the quorum"));
    let mut file = self::receipt(&transfer(), ENGINE);
    file.checkpoint.add(witness.sign(file.checkpoint.text(), 1_700_000_001));
    let accepted = Receipt::parse(&file.to_string()).unwrap().verify(&strict).unwrap();
    let witnessed: Vec<&VerifierKey> = accepted.witnesses.iter().map(|one| &one.key).collect();
    assert_eq!(witnessed, [witness.verifier()]);
}
