//! Where content is cut into chunks: at places that the content itself decides, so that an insertion moves few of them.
//!
//! The rule is MinCDC with a hashed window of 4 bytes (Peters 2025): a chunk ends at the place, 32 to 96 KiB behind its
//! start, where the hash of the 4 bytes before is smallest. Chunks are 64 KiB long on average and never outside of these
//! bounds, but for the last. Whatever changes here would cut the same content elsewhere, so that it is kept twice: the
//! rule and its parameters stand in every manifest (`pumasi_blobs::manifest`), and golden vectors pin it.

use bytes::{Bytes, BytesMut};
use mincdc::{Cdc, MinCdcHash4};

/// Chunks are at least so long, but for the last of a blob.
pub const CHUNK_MIN: usize = 32 << 10;
/// Chunks are at most so long. A blob that is no longer can still be more than one chunk.
pub const CHUNK_MAX: usize = 96 << 10;
/// The number of this rule in manifests: MinCDC with a hashed window of 4 bytes.
pub const RULE: u32 = 1;
/// Multiplier of the hash of a window.
pub const MULTIPLIER: u32 = 0x915f_77f5;
/// Addend of the hash of a window.
pub const ADDEND: u32 = 0x3463_6463;

const CDC: MinCdcHash4 = MinCdcHash4::with_params(MULTIPLIER, ADDEND);
/// Bytes of a window.
const WINDOW: usize = 4;

/// Where the first chunk of these bytes ends, when they are all there is or at least [`CHUNK_MAX`].
fn first_end(bytes: &[u8]) -> usize {
    if bytes.len() <= CHUNK_MIN {
        return bytes.len();
    }
    let searched = CHUNK_MIN - WINDOW;
    searched + CDC.best_splitpoint(&bytes[searched..bytes.len().min(CHUNK_MAX)])
}

/// Cuts a whole blob.
pub fn cut(bytes: &Bytes) -> Vec<Bytes> {
    let (mut chunks, mut at) = (Vec::with_capacity(bytes.len() / CHUNK_MIN + 1), 0);
    while at < bytes.len() {
        let end = at + first_end(&bytes[at..]);
        chunks.push(bytes.slice(at..end));
        at = end;
    }
    chunks
}

/// Cuts a blob that comes in blocks, just as [`cut`] cuts it whole.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The end of what came, which later bytes decide about; shorter than [`CHUNK_MAX`].
    rest: Bytes,
}

impl Cutter {
    /// Takes in the next block and returns the chunks that are settled by it.
    pub fn push(&mut self, block: &Bytes) -> Vec<Bytes> {
        let mut chunks = Vec::with_capacity(block.len() / CHUNK_MIN + 1);
        let mut at = 0;
        if !self.rest.is_empty() {
            // Only what lies around the seam is copied.
            let carried = self.rest.len();
            let seam = join(&self.rest, &block[..block.len().min(CHUNK_MAX)]);
            let mut end = 0;
            while end < carried {
                if seam.len() - end < CHUNK_MAX {
                    self.rest = seam.slice(end..);
                    return chunks;
                }
                let start = end;
                end += first_end(&seam[start..]);
                chunks.push(seam.slice(start..end));
            }
            at = end - carried;
        }
        while block.len() - at >= CHUNK_MAX {
            let end = at + first_end(&block[at..]);
            chunks.push(block.slice(at..end));
            at = end;
        }
        self.rest = block.slice(at..);
        chunks
    }

    /// Nothing more comes: the chunks that are left, at most three.
    pub fn finish(self) -> Vec<Bytes> {
        cut(&self.rest)
    }
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(first.len() + second.len());
    joined.extend_from_slice(first);
    joined.extend_from_slice(second);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pumasi_types::Hash;

    use super::*;

    fn noise(seed: u64, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    fn lengths(chunks: &[Bytes]) -> Vec<usize> {
        chunks.iter().map(Bytes::len).collect()
    }

    /// Cutting elsewhere would keep everything twice that is stored already: make a new rule instead.
    #[test]
    fn golden_vectors() {
        let text: Vec<u8> = (0..60_000_u32).flat_map(|n| format!("{n} pumasi\n").into_bytes()).collect();
        let ramp: Vec<u8> = (0..400_000_u32).map(|n| (n / 1000) as u8).collect();
        let samples = [noise(1, 500_000), text.into(), vec![0; 300_000].into(), ramp.into()];
        let cuts: Vec<Vec<usize>> = samples.iter().map(|bytes| lengths(&cut(bytes))).collect();
        insta::assert_debug_snapshot!(cuts);
        let many = cut(&noise(2, 16 << 20));
        let ends = lengths(&many).iter().map(|length| length.to_string()).collect::<Vec<_>>().join(" ");
        insta::assert_snapshot!(format!("{} chunks {}", many.len(), Hash::of(ends.as_bytes())));
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let before = noise(3, 8 << 20);
        let mut after = before.to_vec();
        after.splice(4_000_000..4_000_000, *b"inserted");
        let names = |bytes: &Bytes| cut(bytes).iter().map(|chunk| Hash::of(chunk)).collect::<Vec<_>>();
        let (old, new) = (names(&before), names(&after.into()));
        let added = new.iter().filter(|name| !old.contains(name)).count();
        assert!((1..=8).contains(&added), "{added} of {} chunks are new", new.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_are_cut_as_the_whole(
            seed in 0_u64..4, length in 0_usize..600_000, block in 1_usize..250_000, dull in any::<bool>(),
        ) {
            let bytes = if dull { vec![7; length].into() } else { noise(seed, length) };
            let mut cutter = Cutter::default();
            let mut chunks = Vec::new();
            for start in (0..length).step_by(block) {
                chunks.extend(cutter.push(&bytes.slice(start..length.min(start + block))));
            }
            chunks.extend(cutter.finish());
            prop_assert_eq!(lengths(&chunks), lengths(&cut(&bytes)));
            prop_assert_eq!(chunks.concat(), bytes);
            for chunk in &chunks {
                prop_assert!(chunk.len() <= CHUNK_MAX);
            }
            for chunk in chunks.iter().rev().skip(1) {
                prop_assert!(chunk.len() >= CHUNK_MIN);
            }
        }
    }
}
