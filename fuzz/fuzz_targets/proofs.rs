//! Proofs and tiles as somebody who lies could put them together: nothing false is ever proven.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pumasi_proof::{
    Frontier, Malformed, TileNodes, TilePath, Tiles, TreeHash, prove_consistency, prove_inclusion, root,
    verify_consistency, verify_inclusion,
};

const LEAVES: u64 = 64;

/// Hashes of all nodes of a tree, and its roots at each size.
struct True {
    nodes: Vec<TreeHash>,
    roots: Vec<TreeHash>,
}

fn leaf(number: u64) -> TreeHash {
    TreeHash::of_leaf(&number.to_le_bytes())
}

static TRUE: LazyLock<True> = LazyLock::new(|| {
    let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
    let mut roots = vec![frontier.root()];
    for number in 0..LEAVES {
        frontier.push(leaf(number), |_, hash| nodes.push(hash));
        roots.push(frontier.root());
    }
    nodes.extend(&roots);
    True { nodes, roots }
});

/// Tiles of whatever length and content.
struct Lies<'a>(&'a [u8]);

impl Tiles for Lies<'_> {
    type Error = Malformed;

    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Malformed> {
        let honest = usize::from(path.width) * TreeHash::BYTES;
        let length = if self.0.first() == Some(&0) { self.0.len() } else { honest };
        Ok(self.0.iter().copied().cycle().take(length).collect())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[index, old, size, claim], rest)) = data.split_first_chunk() else { return };
    let True { nodes, roots } = &*TRUE;
    let size = u64::from(size) % LEAVES + 1;
    let (index, old) = (u64::from(index), u64::from(old) % (LEAVES + 1));
    let proof: Vec<TreeHash> = rest.iter().take(70).map(|at| nodes[usize::from(*at) % nodes.len()]).collect();
    let whole = roots[size as usize];
    let claimed = u64::from(claim) % LEAVES;
    if verify_inclusion(leaf(claimed), index, size, whole, &proof).is_ok() {
        assert_eq!(claimed, index, "another leaf is proven to be there");
    }
    let before = nodes[usize::from(claim) % nodes.len()];
    if verify_consistency(old, before, size, whole, &proof).is_ok() {
        assert_eq!(before, roots[old as usize], "another history is proven to be continued");
    }
    let Some((number, rest)) = rest.split_first_chunk() else { return };
    let size = u64::from_le_bytes(*number).max(1);
    let tiles = TileNodes::new(Lies(rest), size);
    // Each of them reads up to 64 tiles: one is enough for one input.
    match claim % 3 {
        0 => drop(root(&tiles, size)),
        1 => drop(prove_inclusion(&tiles, index % size, size)),
        _ => drop(prove_consistency(&tiles, old % size, size)),
    }
});
