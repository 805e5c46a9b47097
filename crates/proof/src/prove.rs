//! Proofs made from the nodes of a tree (RFC 6962, sections 2.1.1 and 2.1.2).

use crate::{Frontier, TreeHash};

/// Where the nodes of a tree are found.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error;

    /// The root of the perfect subtree over the leaves `index · 2^level` to `(index + 1) · 2^level`, all of
    /// which the tree has.
    ///
    /// # Errors
    /// When it cannot be read.
    fn node(&self, level: u8, index: u64) -> Result<TreeHash, Self::Error>;
}

/// Level and index of the perfect subtrees that a tree of `size` leaves consists of, the largest first.
pub fn peaks(size: u64) -> impl Iterator<Item = (u8, u64)> {
    let levels = (0..64_u8).rev().filter(move |level| size >> level & 1 == 1);
    levels.map(move |level| (level, (size >> level) - 1))
}

/// The hash of the first `size` leaves.
///
/// # Errors
/// When a node cannot be had.
pub fn root<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<TreeHash, N::Error> {
    Ok(Frontier::of(nodes, size)?.root())
}

/// The inclusion proof of the leaf at `index` in the tree of the first `size` leaves, from the leaf's sibling
/// up to the root's child.
///
/// # Panics
/// Unless `index` is below `size`.
///
/// # Errors
/// When a node cannot be had.
pub fn prove_inclusion<N: Nodes + ?Sized>(
    nodes: &N,
    index: u64,
    size: u64,
) -> Result<Vec<TreeHash>, N::Error> {
    assert!(index < size, "leaf {index} is not in a tree of {size}");
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of the first `old` leaves is the beginning of the tree of the first `size`.
/// Empty when `old` is 0 or `size`.
///
/// # Panics
/// When `old` is above `size`.
///
/// # Errors
/// When a node cannot be had.
pub fn prove_consistency<N: Nodes + ?Sized>(
    nodes: &N,
    old: u64,
    size: u64,
) -> Result<Vec<TreeHash>, N::Error> {
    assert!(old <= size, "a tree of {size} leaves cannot continue one of {old}");
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    // The verifier knows the old tree's own hash, but not that of a part of it.
    if from > 0 {
        proof.push(range(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `leaves`, which are at least 2: where RFC 6962 splits them.
fn split(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The hash over some leaves that are a node of the RFC's recursion: the part from `from` on of a tree that
/// ends at `to`, where `from` is a multiple of the largest perfect subtree in between.
fn range<N: Nodes + ?Sized>(nodes: &N, from: u64, to: u64) -> Result<TreeHash, N::Error> {
    let mut hashes = Vec::new();
    for (level, index) in peaks(to - from) {
        hashes.push(nodes.node(level, index + (from >> level))?);
    }
    let mut hashes = hashes.into_iter().rev();
    let last = hashes.next().expect("a range has leaves");
    Ok(hashes.fold(last, |right, left| TreeHash::of_node(&left, &right)))
}
