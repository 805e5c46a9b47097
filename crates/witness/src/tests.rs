//! What a witness cosigns, what it refuses, and that it never forgets.

use pumasi_proof::{Checkpoint, Frontier, Nodes, Note, TreeHash, Use, prove_consistency};

use super::*;

/// A log that lives in memory: its leaves' hashes.
struct Log {
    key: SignerKey,
    leaves: Vec<TreeHash>,
}

impl Nodes for Log {
    type Error = std::convert::Infallible;

    fn node(&self, level: u8, index: u64) -> Result<TreeHash, Self::Error> {
        let (from, width) = ((index << level) as usize, 1_usize << level);
        let mut tree = Frontier::new();
        self.leaves[from..from + width].iter().for_each(|leaf| tree.push(*leaf, |_, _| ()));
        Ok(tree.root())
    }
}

impl Log {
    /// `history` tells apart what different logs of one key hold from leaf 5 on.
    fn new(size: u64, history: &str) -> Log {
        let leaf = |i| if i < 5 { format!("leaf {i}") } else { format!("leaf {i} {history}") };
        let leaves = (0..size).map(|i| TreeHash::of_leaf(leaf(i).as_bytes())).collect();
        let key = SignerKey::from_seed("log.example", Use::Note, [7; 32]).unwrap();
        Log { key, leaves }
    }

    /// A request to cosign all leaves after `old` were cosigned.
    fn request(&self, old: u64) -> String {
        let size = self.leaves.len() as u64;
        let root = pumasi_proof::root(self, size).unwrap();
        let checkpoint = Checkpoint { origin: "log.example".to_owned(), size, root, extensions: Vec::new() };
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        note.add(self.key.sign(note.text(), 0));
        let proof = if old <= size { prove_consistency(self, old, size).unwrap() } else { Vec::new() };
        AddCheckpoint { old, proof, checkpoint: note }.to_string()
    }
}

fn witness(dir: &std::path::Path) -> Witness {
    let store = Store::open(dir).unwrap();
    let key = store.key("witness.example").unwrap();
    Witness::new(key, vec![Log::new(0, "").key.verifier().clone()], store)
}

fn refused(witness: &Witness, body: &str) -> u16 {
    match witness.cosign(body, 1_700_000_000) {
        Err(NotCosigned::Refused(refusal)) => refusal.status(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_growing_log_is_cosigned_and_a_forked_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let key = {
        let witness = witness(dir.path());
        let (small, large) = (Log::new(6, "a"), Log::new(11, "a"));
        let signature = witness.cosign(&small.request(0), 1_700_000_000).unwrap();
        let mut note = AddCheckpoint::parse(&small.request(0)).unwrap().checkpoint;
        note.add(signature);
        let signed = note.verify([witness.key()]).unwrap();
        assert_eq!(signed[0].time_s, Some(1_700_000_000));
        assert_eq!(refused(&witness, &large.request(0)), 409, "its old size is not the latest");
        witness.cosign(&large.request(6), 1_700_000_001).unwrap();
        witness.key().clone()
    };
    // Killed and started again: it still knows.
    let witness = witness(dir.path());
    assert_eq!(*witness.key(), key);
    assert_eq!(refused(&witness, &Log::new(6, "a").request(6)), 409, "the log must not shrink");
    assert_eq!(refused(&witness, &Log::new(11, "b").request(11)), 409, "another tree of this size");
    assert_eq!(refused(&witness, &Log::new(20, "b").request(11)), 422, "a second history");
    let evidence = std::fs::read_dir(dir.path().join("evidence")).unwrap().count();
    assert_eq!(evidence, 2, "both second histories are kept");
    witness.cosign(&Log::new(11, "a").request(11), 1_700_000_002).unwrap();
    witness.cosign(&Log::new(20, "a").request(11), 1_700_000_003).unwrap();
}

#[test]
fn strangers_and_nonsense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let witness = witness(dir.path());
    assert_eq!(refused(&witness, "nonsense"), 400);
    let mut other = Log::new(6, "a");
    other.key = SignerKey::from_seed("log.example", Use::Note, [8; 32]).unwrap();
    assert_eq!(refused(&witness, &other.request(0)), 403, "signed by another key");
    let unknown = Log::new(6, "a").request(0).replace("log.example", "other.example");
    assert_eq!(refused(&witness, &unknown), 404);
    assert_eq!(refused(&witness, &Log::new(6, "a").request(7)), 400, "old above new");
}

#[test]
fn a_checkpoint_that_cannot_be_remembered_is_not_cosigned() {
    let dir = tempfile::tempdir().unwrap();
    let witness = witness(dir.path());
    // A folder in the place of the file that is about to be written.
    let name = format!("{}.new", pumasi_types::Hash::of(b"log.example"));
    std::fs::create_dir(dir.path().join("logs").join(name)).unwrap();
    let error = witness.cosign(&Log::new(6, "a").request(0), 1).unwrap_err();
    assert!(matches!(error, NotCosigned::Store(StoreError::Io { operation: "write", .. })), "{error:?}");
    assert_eq!(refused(&witness, &Log::new(9, "a").request(6)), 409, "the witness still is at 0");
}

#[test]
fn a_folder_serves_one_witness_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = witness(dir.path());
    assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
    first.cosign(&Log::new(6, "a").request(0), 1).unwrap();
    drop(first);
    let path = std::fs::read_dir(dir.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, "half a checkp").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Damaged { .. })));
}
