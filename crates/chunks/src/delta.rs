//! What of new bytes lies in blobs that their sender may read anyway, so that only the rest is sent.

use std::collections::HashMap;

use bytes::Bytes;
use pumasi_types::Hash;

use crate::list::Chunk;
use crate::recipe::{BASES_MAX, Encoder};

/// Chunks that are remembered at most: about 256 GiB of blobs, in some 300 MiB of memory.
const CHUNKS_MAX: usize = 4 << 20;

/// Where chunks lie in blobs that can be copied from.
#[derive(Debug, Default)]
pub struct Known {
    bases: Vec<Hash>,
    /// By name: number of the blob and offset in it.
    chunks: HashMap<Hash, (u8, u64)>,
}

/// Bytes written as a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// See [`crate::recipe`].
    pub recipe: Bytes,
    /// How many of the bytes are in it; the others are copied.
    pub sent: u64,
}

impl Known {
    /// Whether another blob can be added.
    pub fn has_room(&self) -> bool {
        self.bases.len() < BASES_MAX && self.chunks.len() < CHUNKS_MAX
    }

    /// Adds chunks of a blob, the first of which begins at `offset`; without [`Known::has_room`] nothing.
    pub fn add(&mut self, base: Hash, offset: u64, chunks: &[Chunk]) {
        let known = self.bases.iter().position(|known| *known == base);
        if known.is_none() && !self.has_room() {
            return;
        }
        let number = known.unwrap_or_else(|| {
            self.bases.push(base);
            self.bases.len() - 1
        }) as u8;
        let mut at = offset;
        for chunk in chunks {
            if self.chunks.len() >= CHUNKS_MAX {
                return;
            }
            self.chunks.entry(chunk.name).or_insert((number, at));
            at += u64::from(chunk.length);
        }
    }

    /// Writes bytes that were cut into chunks.
    pub fn recipe(&self, chunks: &[Bytes]) -> Delta {
        let mut encoder = Encoder::new(&self.bases);
        let mut sent = 0;
        for chunk in chunks {
            let found = match self.chunks.is_empty() {
                true => None,
                false => self.chunks.get(&Hash::of(chunk)),
            };
            match found {
                Some((base, from)) => encoder.copy(*base, *from..from + chunk.len() as u64),
                None => {
                    encoder.data(chunk);
                    sent += chunk.len() as u64;
                }
            }
        }
        Delta { recipe: encoder.finish(), sent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunker::cut;
    use crate::recipe::{Decoder, Step};

    fn chunks_of(bytes: &Bytes) -> Vec<Chunk> {
        let chunk = |bytes: Bytes| Chunk { name: Hash::of(&bytes), length: bytes.len() as u32 };
        cut(bytes).into_iter().map(chunk).collect()
    }

    fn noise(seed: u8, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    /// What is cut into chunks of 64 KiB.
    fn letters(seed: u8, length: usize) -> Bytes {
        noise(seed, length).iter().map(|byte| byte & 0x7f).collect::<Vec<u8>>().into()
    }

    #[test]
    fn only_what_changed_is_sent_and_the_rest_is_copied_in_few_steps() {
        let old = letters(1, 8 << 20);
        let mut new = old.to_vec();
        new.splice(3_000_000..3_000_000, *b"an insertion");
        let new = Bytes::from(new);
        let (name, mut known) = (Hash::of(&old), Known::default());
        let chunks = chunks_of(&old);
        let (first, second) = chunks.split_at(20);
        known.add(name, 0, first);
        known.add(name, first.iter().map(|chunk| u64::from(chunk.length)).sum(), second);
        let delta = known.recipe(&cut(&new));
        assert!(delta.sent < 1 << 20, "{} bytes were sent", delta.sent);
        let (mut decoder, mut again, mut copies) = (Decoder::default(), Vec::new(), 0);
        decoder.push(delta.recipe.clone());
        while let Some(step) = decoder.step().unwrap() {
            match step {
                Step::Bases(bases) => assert_eq!(bases, [name]),
                Step::Data(data) => again.extend_from_slice(&data),
                Step::Copy { range, .. } => {
                    copies += 1;
                    again.extend_from_slice(&old[range.start as usize..range.end as usize]);
                }
            }
        }
        assert!(again == new, "the same bytes");
        assert!(copies <= 3, "{copies} copies");
        assert!(delta.recipe.len() as u64 <= delta.sent + 1000);
    }

    #[test]
    fn who_knows_nothing_sends_everything() {
        let bytes = noise(2, 300_000);
        assert_eq!(Known::default().recipe(&cut(&bytes)).sent, 300_000);
        let mut known = Known::default();
        for number in 0..100_u8 {
            known.add(Hash::of(&[number]), 0, &[Chunk { name: Hash::of(&[number, 1]), length: 9 }]);
        }
        assert!(!known.has_room() && known.bases.len() == BASES_MAX && known.chunks.len() == BASES_MAX);
    }
}
