//! What proofs cost on this machine: prints lines of a name and a figure. Run by `cargo xtask bench proof`.

use std::hint::black_box;
use std::time::Instant;

use pumasi_proof::{
    Checkpoint, Frontier, Nodes, Note, Policy, ProofFile, SignerKey, TreeHash, Use, prove_inclusion,
};

/// Bytes of a settled transfer.
const LEAF_BYTES: usize = 120;
/// Checkpoints and receipts that are measured.
const TIMES: usize = 2_000;

/// All nodes, level by level above the leaves.
struct Tree {
    levels: [Vec<TreeHash>; 64],
}

impl Nodes for Tree {
    type Error = std::convert::Infallible;

    fn node(&self, level: u8, index: u64) -> Result<TreeHash, Self::Error> {
        Ok(self.levels[usize::from(level)][index as usize])
    }
}

/// Time on a processor so far, in nanoseconds: what others do on this machine does not count
/// (Linux, Documentation/scheduler/sched-stats.rst).
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn leaf(number: u64) -> [u8; LEAF_BYTES] {
    let mut leaf = [0; LEAF_BYTES];
    leaf[..8].copy_from_slice(&number.to_le_bytes());
    leaf
}

/// The nanoseconds that half of some calls stay below, and the longest of them.
fn nanoseconds(mut call: impl FnMut(usize)) -> (u128, u128) {
    let mut all: Vec<u128> = (0..TIMES)
        .map(|n| {
            let started = Instant::now();
            call(n);
            started.elapsed().as_nanos()
        })
        .collect();
    all.sort_unstable();
    (all[TIMES / 2], all[TIMES - 1])
}

fn signed(tree: &Frontier, key: &SignerKey, witnesses: &[SignerKey]) -> Note {
    let checkpoint = Checkpoint {
        origin: key.verifier().name().to_owned(),
        size: tree.size(),
        root: tree.root(),
        extensions: vec![format!("pumasi-log 1 {}", "0".repeat(64))],
    };
    let mut note = Note::new(checkpoint.to_string()).expect("a checkpoint is a note's text");
    note.add(key.sign(note.text(), 1_700_000_000));
    witnesses.iter().for_each(|witness| note.add(witness.sign(note.text(), 1_700_000_000)));
    note
}

fn main() {
    let leaves: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let mut tree = Tree { levels: [const { Vec::new() }; 64] };
    let mut frontier = Frontier::new();
    let started = cpu_ns();
    for number in 0..leaves {
        frontier.push(TreeHash::of_leaf(&leaf(number)), |level, hash| {
            tree.levels[usize::from(level)].push(hash);
        });
    }
    println!("leaves {leaves}");
    println!("leaf_cpu_ns {:.1}", (cpu_ns() - started) as f64 / leaves as f64);

    let key = SignerKey::from_seed("pool.example/pay", Use::Note, [1; 32]).expect("a good name");
    let (p50, max) = nanoseconds(|_| {
        black_box(signed(black_box(&frontier), &key, &[]).to_string());
    });
    println!("checkpoint_p50_us {:.1}", p50 as f64 / 1e3);
    println!("checkpoint_max_us {:.1}", max as f64 / 1e3);

    for count in [0_u8, 3] {
        let witness = |n| SignerKey::from_seed(&format!("witness.example/{n}"), Use::Cosignature, [n; 32]);
        let witnesses: Vec<_> = (2..2 + count).map(|n| witness(n).expect("a good name")).collect();
        let mut policy = format!("log {}\n", key.verifier());
        for (n, witness) in witnesses.iter().enumerate() {
            policy += &format!("witness W{n} {}\n", witness.verifier());
        }
        let members: String = (0..count).map(|n| format!(" W{n}")).collect();
        policy += &if count == 0 {
            "quorum none\n".to_owned()
        } else {
            format!("group G all{members}\nquorum G\n")
        };
        let policy = Policy::parse(policy.as_bytes()).expect("a policy");
        let note = signed(&frontier, &key, &witnesses);
        let number = |n: usize| n as u64 * (leaves / TIMES as u64).max(1) % leaves;
        let file = |n| {
            let hashes = prove_inclusion(&tree, number(n), leaves).unwrap_or_else(|never| match never {});
            let extra = Some(leaf(number(n)).to_vec());
            ProofFile { extra, index: number(n), hashes, checkpoint: note.clone() }
        };
        let texts: Vec<String> = (0..TIMES).map(|n| file(n).to_string()).collect();
        let (p50, max) = nanoseconds(|n| {
            let file = ProofFile::parse(&texts[n]).expect("a proof file");
            let accepted = policy.accept(&file.checkpoint).expect("signed by all");
            let leaf = TreeHash::of_leaf(file.extra.as_deref().expect("the leaf"));
            file.verify_leaf(leaf, &accepted.checkpoint).expect("a good proof");
        });
        println!("receipt_bytes_{count}_witnesses {}", texts[TIMES / 2].len());
        println!("verify_p50_us_{count}_witnesses {:.1}", p50 as f64 / 1e3);
        println!("verify_max_us_{count}_witnesses {:.1}", max as f64 / 1e3);
    }
}
