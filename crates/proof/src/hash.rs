//! SHA-256 hashes of leaves and nodes (RFC 6962, section 2.1).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::text::{Malformed, from_base64, to_base64};

/// The hash of a leaf, of a node or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// The hash of a tree without leaves: SHA-256 of nothing.
    pub fn empty() -> TreeHash {
        TreeHash(Sha256::digest([]).into())
    }

    /// The hash of a leaf: SHA-256 of a zero byte and its bytes.
    pub fn of_leaf(leaf: &[u8]) -> TreeHash {
        TreeHash(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
    }

    /// The hash of a node: SHA-256 of a one byte and the hashes of its children.
    pub fn of_node(left: &TreeHash, right: &TreeHash) -> TreeHash {
        TreeHash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// The root of the perfect subtree over nodes of one level.
    ///
    /// # Panics
    /// Unless their number is a power of two.
    pub fn of_subtree(nodes: &[TreeHash]) -> TreeHash {
        assert!(nodes.len().is_power_of_two(), "{} nodes are no perfect subtree", nodes.len());
        let mut level = nodes.to_vec();
        while level.len() > 1 {
            level = level.chunks_exact(2).map(|pair| TreeHash::of_node(&pair[0], &pair[1])).collect();
        }
        level[0]
    }

    /// Wraps bytes that are a hash.
    pub const fn from_bytes(bytes: [u8; TreeHash::BYTES]) -> TreeHash {
        TreeHash(bytes)
    }

    /// The bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; TreeHash::BYTES] {
        &self.0
    }

    /// Reads what `Display` wrote: standard base64 (RFC 4648, section 4).
    ///
    /// # Errors
    /// When the text is not base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<TreeHash, Malformed> {
        let bytes = from_base64("hash", text)?;
        let bytes = bytes.try_into().map_err(|_| Malformed::new("hash", "must be 32 bytes in base64"))?;
        Ok(TreeHash(bytes))
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_base64(&self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
