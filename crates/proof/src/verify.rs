//! Proofs checked (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use crate::TreeHash;

/// A proof that does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The leaf is not in the tree, or the proof is for another one.
    #[error("the leaf at index {index} is not proven to be in the tree of {size} leaves with hash {root}")]
    Inclusion {
        /// Which leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// Its hash.
        root: TreeHash,
    },
    /// The one tree does not continue the other, or the proof is for others.
    #[error("the tree of {size} leaves is not proven to continue the tree of {old} leaves")]
    Consistency {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        size: u64,
    },
}

/// Checks that the leaf with hash `leaf` stands at `index` in the tree of `size` leaves with hash `root`.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_inclusion(
    leaf: TreeHash,
    index: u64,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), Unproven> {
    let proven = fold_inclusion(leaf, index, size, proof) == Some(root);
    if proven { Ok(()) } else { Err(Unproven::Inclusion { index, size, root }) }
}

/// The root that the proof leads to; `None` when it is too short or too long.
fn fold_inclusion(leaf: TreeHash, index: u64, size: u64, proof: &[TreeHash]) -> Option<TreeHash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = TreeHash::of_node(sibling, &hash);
            if node & 1 == 0 {
                // It has no sibling on these levels.
                let up = node.trailing_zeros();
                (node, last) = (node >> up, last >> up);
            }
        } else {
            hash = TreeHash::of_node(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// Checks that the tree of `size` leaves with hash `root` begins with the tree of `old` leaves with hash
/// `old_root`.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_consistency(
    old: u64,
    old_root: TreeHash,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), Unproven> {
    let proven = match old {
        0 => proof.is_empty() && old_root == TreeHash::empty() && (size > 0 || root == old_root),
        _ if old == size => proof.is_empty() && old_root == root,
        _ => fold_consistency(old, old_root, size, proof) == Some((old_root, root)),
    };
    if proven { Ok(()) } else { Err(Unproven::Consistency { old, size }) }
}

/// The roots of both trees that the proof leads to; `None` when it is too short or too long.
fn fold_consistency(
    old: u64,
    old_root: TreeHash,
    size: u64,
    proof: &[TreeHash],
) -> Option<(TreeHash, TreeHash)> {
    if old > size {
        return None;
    }
    let (mut node, mut last) = (old - 1, size - 1);
    let up = node.trailing_ones();
    (node, last) = (node >> up, last >> up);
    // A perfect older tree is itself the first node.
    let (start, rest) =
        if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().map(|(h, t)| (*h, t))? };
    let (mut before, mut after) = (start, start);
    for sibling in rest {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            before = TreeHash::of_node(sibling, &before);
            after = TreeHash::of_node(sibling, &after);
            if node & 1 == 0 {
                let up = node.trailing_zeros();
                (node, last) = (node >> up, last >> up);
            }
        } else {
            after = TreeHash::of_node(&after, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some((before, after))
}
