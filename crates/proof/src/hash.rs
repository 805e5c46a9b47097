//! SHA-256 hashes of leaves and nodes (RFC 6962, section 2.1).

use std::fmt;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

use crate::text::{Malformed, from_base64, to_base64};

/// The hash of a leaf, of a node or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

/// Bytes that SHA-256 takes in at once, and the state that it begins with (FIPS 180-4, section 5.3.3).
const BLOCK: usize = 64;
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Blocks of the messages that are padded in one piece: nodes, and transfers with room to spare.
const SHORT: usize = 4;

/// SHA-256 of a byte and what follows it.
///
/// A hub hashes a leaf and a node for each transfer: padded here and compressed in one call, that takes a tenth less
/// time than a hasher that takes pieces in.
fn sha256(first: u8, rest: &[&[u8]]) -> [u8; 32] {
    let length = 1 + rest.iter().map(|part| part.len()).sum::<usize>();
    // Behind the message stand a byte 0x80, zeros, and its length in bits (section 5.1.1).
    let blocks = (length + 9).div_ceil(BLOCK);
    if blocks > SHORT {
        let hasher = Sha256::new().chain_update([first]);
        return rest.iter().fold(hasher, Digest::chain_update).finalize().into();
    }
    let mut padded = [[0; BLOCK]; SHORT];
    let bytes = padded.as_flattened_mut();
    bytes[0] = first;
    let mut at = 1;
    for part in rest {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes[at] = 0x80;
    let end = blocks * BLOCK;
    bytes[end - 8..end].copy_from_slice(&(8 * length as u64).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &padded[..blocks]);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

impl TreeHash {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// The hash of a tree without leaves: SHA-256 of nothing.
    pub fn empty() -> TreeHash {
        TreeHash(Sha256::digest([]).into())
    }

    /// The hash of a leaf: SHA-256 of a zero byte and its bytes.
    pub fn of_leaf(leaf: &[u8]) -> TreeHash {
        TreeHash(sha256(0, &[leaf]))
    }

    /// The hash of a node: SHA-256 of a one byte and the hashes of its children.
    pub fn of_node(left: &TreeHash, right: &TreeHash) -> TreeHash {
        TreeHash(sha256(1, &[&left.0, &right.0]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_hashed_as_the_library_does() {
        let bytes: Vec<u8> = (0..=255).cycle().take(400).collect();
        for length in 0..bytes.len() {
            let whole = Sha256::new().chain_update([7]).chain_update(&bytes[..length]).finalize();
            assert_eq!(sha256(7, &[&bytes[..length / 2], &bytes[length / 2..length]]), whole[..], "{length}");
        }
    }
}
