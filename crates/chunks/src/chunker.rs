//! Where content is cut into chunks: at places that the content itself decides, so that an insertion moves few of them.
//!
//! 1. Pieces are cut by MinCDC with a hashed window of 4 bytes (Peters 2025): a piece ends at the place, 32 to 96 KiB behind
//!    its start, where the hash of the 4 bytes before is smallest. They are 64 KiB long on average.
//! 2. A piece is a chunk, but neighbours that look like noise ([`crate::noise`]) are joined: such a chunk ends at the end of
//!    the piece, 1.5 to 3 MiB behind its start, before which that hash is smallest, and at the last piece of the noise. Who edits
//!    noise, as pictures, archives and what is encrypted are, writes most of it anew; and nothing of it is compressed, so that
//!    each name of a chunk would count.
//!
//! Whatever changes here would cut the same content elsewhere, so that it is kept twice: the rule and its parameters stand
//! in every manifest (`pumasi_blobs::manifest`), and golden vectors pin it.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use mincdc::{Cdc, MinCdcHash4};

use crate::noise::looks_like_noise;

/// Chunks are at least so long, but for the last of a blob.
pub const CHUNK_MIN: usize = 32 << 10;
/// Chunks are at most so long. A blob that is no longer can still be more than one chunk.
pub const CHUNK_MAX: usize = 3 << 20;
/// The number of this rule in manifests: MinCDC with a hashed window of 4 bytes, noise joined. Rule 1 joined nothing.
pub const RULE: u32 = 2;
/// Multiplier of the hash of a window.
pub const MULTIPLIER: u32 = 0x915f_77f5;
/// Addend of the hash of a window.
pub const ADDEND: u32 = 0x3463_6463;

const CDC: MinCdcHash4 = MinCdcHash4::with_params(MULTIPLIER, ADDEND);
/// Bytes of a window.
const WINDOW: usize = 4;
/// Pieces are at most so long.
const PIECE_MAX: usize = 96 << 10;
/// Noise is joined to chunks of at least so many bytes: two of them are never one, so that neighbours are cut alike alone.
const JOINED_MIN: usize = CHUNK_MAX / 2;

/// Where the first piece of these bytes ends, when they are all there is or at least [`PIECE_MAX`].
fn first_end(bytes: &[u8]) -> usize {
    if bytes.len() <= CHUNK_MIN {
        return bytes.len();
    }
    let searched = CHUNK_MIN - WINDOW;
    searched + CDC.best_splitpoint(&bytes[searched..bytes.len().min(PIECE_MAX)])
}

/// Cuts a whole blob.
pub fn cut(bytes: &Bytes) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(bytes.len() / CHUNK_MAX + 1);
    let (mut joiner, mut at) = (Joiner::default(), 0);
    while at < bytes.len() {
        let end = at + first_end(&bytes[at..]);
        joiner.push(Piece { block: bytes.clone(), range: at..end }, &mut chunks);
        at = end;
    }
    joiner.end(&mut chunks);
    chunks
}

/// Cuts a blob that comes in blocks, just as [`cut`] cuts it whole.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The end of what came, which later bytes decide about; shorter than [`PIECE_MAX`].
    rest: Bytes,
    joiner: Joiner,
}

impl Cutter {
    /// Takes in the next block and returns the chunks that are settled by it.
    pub fn push(&mut self, block: &Bytes) -> Vec<Bytes> {
        let mut chunks = Vec::with_capacity(block.len() / CHUNK_MIN + 1);
        let mut at = 0;
        if !self.rest.is_empty() {
            // Only what lies around the seam is copied.
            let carried = self.rest.len();
            let seam = concat(&[&self.rest, &block[..block.len().min(PIECE_MAX)]]);
            let mut end = 0;
            while end < carried {
                if seam.len() - end < PIECE_MAX {
                    self.rest = seam.slice(end..);
                    return chunks;
                }
                let start = end;
                end += first_end(&seam[start..]);
                self.joiner.push(Piece { block: seam.clone(), range: start..end }, &mut chunks);
            }
            at = end - carried;
        }
        while block.len() - at >= PIECE_MAX {
            let end = at + first_end(&block[at..]);
            self.joiner.push(Piece { block: block.clone(), range: at..end }, &mut chunks);
            at = end;
        }
        self.rest = block.slice(at..);
        chunks
    }

    /// Nothing more comes: the chunks that are left.
    pub fn finish(mut self) -> Vec<Bytes> {
        let (mut chunks, mut at) = (Vec::new(), 0);
        while at < self.rest.len() {
            let end = at + first_end(&self.rest[at..]);
            self.joiner.push(Piece { block: self.rest.clone(), range: at..end }, &mut chunks);
            at = end;
        }
        self.joiner.end(&mut chunks);
        chunks
    }
}

/// Some bytes of a block, so that neighbours in it can be joined without being copied.
#[derive(Debug)]
struct Piece {
    block: Bytes,
    range: Range<usize>,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }

    /// The hash of the window before its end: among the ends of pieces the smallest is best, as it is within a piece.
    fn key(&self) -> u32 {
        let window =
            self.bytes().last_chunk::<WINDOW>().map_or(u32::MAX, |window| u32::from_le_bytes(*window));
        window.wrapping_mul(MULTIPLIER).wrapping_add(ADDEND)
    }
}

/// Makes chunks of pieces.
#[derive(Debug, Default)]
struct Joiner {
    /// Pieces that look like noise and follow each other, shorter together than [`CHUNK_MAX`].
    noise: VecDeque<Piece>,
    length: usize,
}

impl Joiner {
    fn push(&mut self, piece: Piece, chunks: &mut Vec<Bytes>) {
        if !looks_like_noise(&[piece.bytes()]) {
            self.end(chunks);
            chunks.push(piece.block.slice(piece.range));
            return;
        }
        if self.length + piece.range.len() > CHUNK_MAX {
            let count = self.best_end();
            self.join(count, chunks);
        }
        self.length += piece.range.len();
        self.noise.push_back(piece);
    }

    /// The noise is over.
    fn end(&mut self, chunks: &mut Vec<Bytes>) {
        self.join(self.noise.len(), chunks);
    }

    /// After how many pieces a chunk ends, when there are so many that another makes it too long.
    fn best_end(&self) -> usize {
        let (mut best, mut length) = ((u32::MAX, self.noise.len()), 0);
        for (number, piece) in self.noise.iter().enumerate() {
            length += piece.range.len();
            if length >= JOINED_MIN && piece.key() < best.0 {
                best = (piece.key(), number + 1);
            }
        }
        best.1
    }

    /// Makes a chunk of the first pieces, if there are any.
    fn join(&mut self, count: usize, chunks: &mut Vec<Bytes>) {
        let pieces: Vec<Piece> = self.noise.drain(..count).collect();
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return };
        self.length -= pieces.iter().map(|piece| piece.range.len()).sum::<usize>();
        // Neighbours but where blocks meet.
        let is_whole = pieces.iter().all(|piece| piece.block.as_ptr() == first.block.as_ptr());
        chunks.push(match is_whole {
            true => first.block.slice(first.range.start..last.range.end),
            false => concat(&pieces.iter().map(Piece::bytes).collect::<Vec<_>>()),
        });
    }
}

fn concat(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
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

    /// What is no noise and repeats nothing.
    fn letters(seed: u64, length: usize) -> Bytes {
        noise(seed, length).iter().map(|byte| byte & 0x7f).collect::<Vec<u8>>().into()
    }

    fn lengths(chunks: &[Bytes]) -> Vec<usize> {
        chunks.iter().map(Bytes::len).collect()
    }

    /// Cutting elsewhere would keep everything twice that is stored already: make a new rule instead.
    #[test]
    fn golden_vectors() {
        let text: Vec<u8> = (0..60_000_u32).flat_map(|n| format!("{n} pumasi\n").into_bytes()).collect();
        let ramp: Vec<u8> = (0..400_000_u32).map(|n| (n / 1000) as u8).collect();
        let between = [&text[..200_000], &noise(4, 5 << 20), &text[..100_000], &noise(5, 5_000)].concat();
        let samples =
            [noise(1, 5_000_000), text.into(), vec![0; 300_000].into(), ramp.into(), between.into()];
        let cuts: Vec<Vec<usize>> = samples.iter().map(|bytes| lengths(&cut(bytes))).collect();
        insta::assert_debug_snapshot!(cuts);
        let many = [noise(2, 64 << 20), letters(2, 16 << 20)].map(|bytes| {
            let ends = lengths(&cut(&bytes)).iter().map(|length| length.to_string()).collect::<Vec<_>>();
            format!("{} chunks {}", ends.len(), Hash::of(ends.join(" ").as_bytes()))
        });
        insta::assert_snapshot!(many.join("\n"));
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        for (before, most) in [(letters(3, 8 << 20), 8), (noise(3, 48 << 20), 5)] {
            let mut after = before.to_vec();
            after.splice(4_000_000..4_000_000, *b"inserted");
            let names = |bytes: &Bytes| cut(bytes).iter().map(|chunk| Hash::of(chunk)).collect::<Vec<_>>();
            let (old, new) = (names(&before), names(&after.into()));
            let added = new.iter().filter(|name| !old.contains(name)).count();
            assert!((1..=most).contains(&added), "{added} of {} chunks are new", new.len());
        }
    }

    #[test]
    fn noise_is_joined_and_nothing_else() {
        let (noisy, plain) = (noise(6, 9 << 20), letters(6, 1 << 20));
        let all = Bytes::from([&plain[..], &noisy, &plain].concat());
        let chunks = cut(&all);
        let (joined, others): (Vec<&Bytes>, Vec<&Bytes>) =
            chunks.iter().partition(|chunk| looks_like_noise(&[chunk]));
        assert!(joined.len() <= 6 && joined.iter().all(|chunk| chunk.len() <= CHUNK_MAX), "{}", joined.len());
        assert!(others.len() > 20 && others.iter().all(|chunk| chunk.len() <= PIECE_MAX));
        let common = cut(&noisy).iter().filter(|chunk| chunks.contains(chunk)).count();
        assert!(common >= 1, "noise is found again between other things");
        assert_eq!(cut(&noisy.slice(..1_900_000)).len(), 1, "one chunk, which needs no manifest");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_are_cut_as_the_whole(
            parts in prop::collection::vec((0_u8..3, 1_usize..5_000_000), 0..4), block in 1_usize..5_000_000, seed in 0_u64..4,
        ) {
            let block = block.max(1000);
            let part = |(kind, length): &(u8, usize)| match kind {
                0 => vec![7; *length].into(),
                1 => letters(seed, *length),
                _ => noise(seed, *length),
            };
            let bytes = Bytes::from(parts.iter().map(part).collect::<Vec<_>>().concat());
            let mut cutter = Cutter::default();
            let mut chunks = Vec::new();
            for start in (0..bytes.len()).step_by(block) {
                chunks.extend(cutter.push(&bytes.slice(start..bytes.len().min(start + block))));
            }
            chunks.extend(cutter.finish());
            prop_assert_eq!(lengths(&chunks), lengths(&cut(&bytes)));
            prop_assert!(chunks.concat() == bytes);
            for chunk in &chunks {
                prop_assert!(chunk.len() <= CHUNK_MAX);
            }
            for chunk in chunks.iter().rev().skip(1) {
                prop_assert!(chunk.len() >= CHUNK_MIN);
            }
            // Neighbours of the whole are cut alike alone: a file is sent in such segments.
            let (first, second) = chunks.split_at(chunks.len() / 2);
            let apart = [first, second].map(|some| cut(&some.concat().into())).concat();
            prop_assert_eq!(lengths(&apart), lengths(&chunks));
        }
    }
}
