//! Trees, proofs and tiles against the naive definition of RFC 6962.

use proptest::prelude::*;
use pumasi_proof::{
    Frontier, Malformed, Nodes, TileKind, TileNodes, TilePath, Tiles, TreeHash, bundle, prove_consistency,
    prove_inclusion, root, unbundle, verify_consistency, verify_inclusion,
};

/// RFC 6962, section 2.1, word for word.
fn naive(leaves: &[Vec<u8>]) -> TreeHash {
    match leaves {
        [] => TreeHash::empty(),
        [leaf] => TreeHash::of_leaf(leaf),
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            TreeHash::of_node(&naive(&leaves[..split]), &naive(&leaves[split..]))
        }
    }
}

/// RFC 6962, section 2.1.1.
fn naive_path(index: usize, leaves: &[Vec<u8>]) -> Vec<TreeHash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (naive_path(index, left), naive(right)),
        Some(index) => (naive_path(index, right), naive(left)),
    };
    path.push(other);
    path
}

/// RFC 6962, section 2.1.2.
fn naive_subproof(old: usize, leaves: &[Vec<u8>], complete: bool) -> Vec<TreeHash> {
    if old == leaves.len() {
        return if complete { Vec::new() } else { vec![naive(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, other) = match old.checked_sub(left.len()) {
        None | Some(0) => (naive_subproof(old, left, complete), naive(right)),
        Some(old) => (naive_subproof(old, right, false), naive(left)),
    };
    proof.push(other);
    proof
}

struct Leaves(Vec<Vec<u8>>);

impl Nodes for Leaves {
    type Error = std::convert::Infallible;

    fn node(&self, level: u8, index: u64) -> Result<TreeHash, Self::Error> {
        let from = (index << level) as usize;
        Ok(naive(&self.0[from..from + (1 << level)]))
    }
}

impl Tiles for &Leaves {
    type Error = Malformed;

    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Malformed> {
        let TileKind::Hashes { level } = path.kind else { unreachable!("only hashes are asked for") };
        let leaves = 1 << (8 * level);
        let hashes = (path.first()..path.first() + u64::from(path.width)).map(|i| {
            let from = i as usize * leaves;
            *naive(&self.0[from..from + leaves]).as_bytes()
        });
        Ok(hashes.flatten().collect())
    }
}

fn leaves(count: usize) -> Leaves {
    Leaves((0..count).map(|i| format!("leaf {i}").into_bytes()).collect())
}

#[test]
fn hashes_are_those_of_certificate_transparency() {
    let hex = |text: &str| {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<u8>>()
    };
    // The test data of the reference implementation of RFC 6962.
    let data =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];
    let leaves = Leaves(data.iter().map(|text| hex(text)).collect());
    for (size, expected) in roots {
        assert_eq!(root(&leaves, size).unwrap().as_bytes().to_vec(), hex(expected), "size {size}");
    }
}

#[test]
fn all_small_trees_are_proven_as_the_rfc_says_and_by_nothing_else() {
    let all = leaves(40);
    for size in 1..=all.0.len() {
        let tree = &all.0[..size];
        let root = naive(tree);
        for index in 0..size {
            let proof = prove_inclusion(&all, index as u64, size as u64).unwrap();
            assert_eq!(proof, naive_path(index, tree));
            let leaf = TreeHash::of_leaf(&all.0[index]);
            for other in 0..=size {
                let good = verify_inclusion(leaf, other as u64, size as u64, root, &proof).is_ok();
                assert_eq!(good, other == index, "leaf {index} of {size} claimed at {other}");
            }
        }
        for old in 0..=size {
            let proof = prove_consistency(&all, old as u64, size as u64).unwrap();
            if old > 0 {
                assert_eq!(proof, naive_subproof(old, tree, true));
            }
            let old_root = naive(&tree[..old]);
            verify_consistency(old as u64, old_root, size as u64, root, &proof).unwrap();
            let mut longer = proof.clone();
            longer.push(root);
            assert!(verify_consistency(old as u64, old_root, size as u64, root, &longer).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_consistency(old as u64, old_root, size as u64, root, shorter).is_err());
            }
            if old > 0 {
                let other = TreeHash::of_leaf(b"another history");
                assert!(verify_consistency(old as u64, other, size as u64, root, &proof).is_err());
                assert!(verify_consistency(old as u64, old_root, size as u64, other, &proof).is_err());
            }
        }
        assert!(verify_consistency(size as u64 + 1, root, size as u64, root, &[]).is_err());
    }
}

#[test]
fn tile_paths_are_those_of_the_specification() {
    let hashes = |level, index, width| TilePath { kind: TileKind::Hashes { level }, index, width };
    let good = [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(63, 999, 256), "tile/63/999"),
        (hashes(1, 1000, 256), "tile/1/x001/000"),
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (hashes(0, 273, 112), "tile/0/273.p/112"),
        (TilePath { kind: TileKind::Entries, index: 5, width: 1 }, "tile/entries/005.p/1"),
        (hashes(0, u64::MAX, 255), "tile/0/x018/x446/x744/x073/x709/x551/615.p/255"),
    ];
    for (path, text) in good {
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse::<TilePath>().unwrap(), path);
    }
    let bad = [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/data/000",
        "tile/0/000.p/1/2",
        "/tile/0/000",
        "tile/0/+01",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ];
    for text in bad {
        assert!(text.parse::<TilePath>().is_err(), "{text}");
    }
}

#[test]
fn tiles_of_a_tree_are_those_of_the_specification() {
    // "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width
    // 112, one full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1"
    let width = |level, index| TilePath::of_hashes(level, index, 70_000).map(|path| path.width);
    assert_eq!([width(0, 272), width(0, 273), width(0, 274)], [Some(256), Some(112), None]);
    assert_eq!([width(1, 0), width(1, 1), width(1, 2)], [Some(256), Some(17), None]);
    assert_eq!([width(2, 0), width(2, 1), width(3, 0), width(63, 0)], [Some(1), None, None, None]);
    assert_eq!(TilePath::of_hashes(1, 0, 256).unwrap().width, 1);
    assert_eq!(TilePath::of_entries(u64::MAX, u64::MAX), None);
}

#[test]
fn bundles_refuse_what_they_cannot_hold() {
    assert!(bundle([&[0; 65_535][..]]).is_ok());
    assert!(bundle([&[0; 65_536][..]]).is_err());
    assert!(unbundle(&[0]).is_err());
    assert!(unbundle(&[0, 2, 1]).is_err());
    assert!(unbundle(&[0; 2 * 257]).is_err());
    assert_eq!(unbundle(&[0; 2 * 256]).unwrap().len(), 256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tiles_frontier_and_naive_tree_agree(size in 1_usize..1500, index: prop::sample::Index, old: prop::sample::Index) {
        let all = leaves(size);
        let (index, old, size) = (index.index(size) as u64, old.index(size + 1) as u64, size as u64);
        let expected = naive(&all.0);
        let mut frontier = Frontier::new();
        let mut nodes = Vec::new();
        for leaf in &all.0 {
            frontier.push(TreeHash::of_leaf(leaf), |level, hash| nodes.push((level, hash)));
        }
        prop_assert_eq!(frontier.root(), expected);
        prop_assert_eq!(nodes.iter().filter(|(level, _)| *level == 3).count() as u64, size / 8);
        let tiles = TileNodes::new(&all, size);
        prop_assert_eq!(&Frontier::of(&tiles, size).unwrap(), &frontier);
        prop_assert_eq!(Frontier::from_parts(size, frontier.peaks().to_vec()), Some(frontier));
        let proof = prove_inclusion(&tiles, index, size).unwrap();
        prop_assert_eq!(&proof, &naive_path(index as usize, &all.0));
        let leaf = TreeHash::of_leaf(&all.0[index as usize]);
        prop_assert!(verify_inclusion(leaf, index, size, expected, &proof).is_ok());
        let proof = prove_consistency(&tiles, old, size).unwrap();
        prop_assert!(verify_consistency(old, naive(&all.0[..old as usize]), size, expected, &proof).is_ok());
    }

    #[test]
    fn a_changed_proof_proves_nothing(size in 2_usize..300, index: prop::sample::Index, hit: prop::sample::Index, bit in 0..256_usize) {
        let all = leaves(size);
        let (index, size) = (index.index(size) as u64, size as u64);
        let (root, leaf) = (naive(&all.0), TreeHash::of_leaf(&all.0[index as usize]));
        let mut proof = prove_inclusion(&all, index, size).unwrap();
        let hit = hit.index(proof.len());
        let mut bytes = *proof[hit].as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        proof[hit] = TreeHash::from_bytes(bytes);
        prop_assert!(verify_inclusion(leaf, index, size, root, &proof).is_err());
    }

    #[test]
    fn no_proof_panics(old: u64, size: u64, index: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let hashes: Vec<_> = hashes.into_iter().map(TreeHash::from_bytes).collect();
        let one = TreeHash::of_leaf(b"");
        prop_assert!(verify_inclusion(one, index, size, one, &hashes).is_err() || size == 1);
        prop_assert!(verify_consistency(old, one, size, one, &hashes).is_err() || old == size);
    }

    #[test]
    fn no_path_and_no_bundle_panics(text in ".{0,60}", path in "tile/(entries|[0-9]{1,2})(/x?[0-9]{3}){1,8}(\\.p/[0-9]{1,3})?", bytes: Vec<u8>) {
        let _ = text.parse::<TilePath>();
        if let Ok(parsed) = path.parse::<TilePath>() {
            prop_assert_eq!(parsed.to_string(), path);
        }
        if let Ok(leaves) = unbundle(&bytes) {
            prop_assert_eq!(bundle(leaves).unwrap(), bytes);
        }
    }
}
