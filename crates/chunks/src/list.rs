//! The chunks of a blob as they are listed for whoever may read it: 36 bytes each, in the order of their bytes.
//!
//! ```text
//! count times: name [32]  length u32
//! ```
//!
//! Numbers are little-endian. A list has no head: how many there are is told by its length.

use pumasi_types::Hash;

use crate::chunker::CHUNK_MAX;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 36;
/// The most chunks in one answer: about 4 GiB of a blob, of noise 128.
pub const PAGE: usize = 1 << 16;

/// A chunk by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// BLAKE3 of its bytes.
    pub name: Hash,
    /// How many they are.
    pub length: u32,
}

/// Why bytes are not a list of chunks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// Cut off.
    #[error("a list of chunks has {0} bytes, which is no multiple of {ENTRY_BYTES}")]
    Length(usize),
    /// No chunk is so long, or none has no bytes.
    #[error("a list names a chunk of {0} bytes; chunks have 1 to {CHUNK_MAX}")]
    Chunk(u32),
}

/// The form in which a list travels.
pub fn encode(chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.len() * ENTRY_BYTES);
    for chunk in chunks {
        bytes.extend_from_slice(chunk.name.as_bytes());
        bytes.extend_from_slice(&chunk.length.to_le_bytes());
    }
    bytes
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// A [`ListFault`] for whatever it cannot have written.
pub fn decode(bytes: &[u8]) -> Result<Vec<Chunk>, ListFault> {
    let entries = bytes.chunks_exact(ENTRY_BYTES);
    if !entries.remainder().is_empty() {
        return Err(ListFault::Length(bytes.len()));
    }
    let chunk = |entry: &[u8]| {
        let (name, length) = entry.split_first_chunk().ok_or(ListFault::Length(bytes.len()))?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| ListFault::Length(bytes.len()))?);
        match length as usize {
            1..=CHUNK_MAX => Ok(Chunk { name: Hash::from_bytes(*name), length }),
            _ => Err(ListFault::Chunk(length)),
        }
    };
    entries.map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_listed_is_read_and_nothing_else() {
        let chunks: Vec<Chunk> =
            (1..4).map(|n| Chunk { name: Hash::of(&[n]), length: 100 * u32::from(n) }).collect();
        let bytes = encode(&chunks);
        assert_eq!(decode(&bytes), Ok(chunks));
        assert_eq!(decode(&[]), Ok(Vec::new()));
        assert_eq!(decode(&bytes[1..]), Err(ListFault::Length(bytes.len() - 1)));
        let of_length = |length: u32| decode(&encode(&[Chunk { name: Hash::ZERO, length }]));
        assert_eq!(of_length(0), Err(ListFault::Chunk(0)));
        assert!(of_length(CHUNK_MAX as u32).is_ok());
        assert!(of_length(CHUNK_MAX as u32 + 1).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(chunks) = decode(&bytes) {
                prop_assert_eq!(encode(&chunks), bytes);
            }
        }
    }
}
