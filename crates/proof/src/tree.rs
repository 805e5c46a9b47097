//! A growing tree of which only the right edge is kept.

use crate::{Nodes, TreeHash, peaks};

/// The roots of the perfect subtrees that a tree consists of: enough to append leaves and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One for each bit of the size, the largest first.
    peaks: Vec<TreeHash>,
}

impl Frontier {
    /// A tree without leaves.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// The right edge of a tree of `size` leaves whose nodes are known.
    ///
    /// # Errors
    /// When a node cannot be had.
    pub fn of<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Frontier, N::Error> {
        let peaks = peaks(size).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
        Ok(Frontier { size, peaks })
    }

    /// Puts a kept edge together again; `None` unless there is one peak for each bit of the size.
    pub fn from_parts(size: u64, peaks: Vec<TreeHash>) -> Option<Frontier> {
        (peaks.len() == size.count_ones() as usize).then_some(Frontier { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    pub fn peaks(&self) -> &[TreeHash] {
        &self.peaks
    }

    /// Appends a leaf and tells `completed` each node that is final now: its level above the leaves, its
    /// hash. The leaf itself comes first, at level 0.
    pub fn push(&mut self, leaf: TreeHash, mut completed: impl FnMut(u8, TreeHash)) {
        let mut node = leaf;
        completed(0, node);
        for level in 1..=self.size.trailing_ones() as u8 {
            let left = self.peaks.pop().expect("one peak for each bit of the size");
            node = TreeHash::of_node(&left, &node);
            completed(level, node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The hash of the tree.
    pub fn root(&self) -> TreeHash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return TreeHash::empty() };
        peaks.fold(last, |right, left| TreeHash::of_node(&left, &right))
    }
}
