//! A file as segments: groups of neighbouring chunks, each with a name of its own, so that what was sent of a large file
//! needs not be sent again when a transfer breaks off.
//!
//! Segments end where chunks end. So they are cut as the whole is cut, and a file that becomes longer in the middle keeps
//! most of its chunks in its segments.

use bytes::Bytes;
use pumasi_types::Hash;

use crate::chunker::Cutter;

/// A segment ends with the chunk that makes it so long, in bytes, in files that are not huge.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The most segments of a file.
pub const SEGMENTS_MAX: usize = 1 << 15;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// BLAKE3 of them.
    pub hash: Hash,
}

/// What a file consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// BLAKE3 of all bytes.
    pub hash: Hash,
    /// How many there are.
    pub length: u64,
    /// Its segments, which follow each other; none of an empty file.
    pub segments: Vec<Segment>,
}

/// Makes the outline of a file that is read once.
#[derive(Debug)]
pub struct Outliner {
    cutter: Cutter,
    whole: blake3::Hasher,
    segment: blake3::Hasher,
    /// Where the segment at hand began, and how long it is.
    begun: u64,
    length: u64,
    segment_bytes: u64,
    segments: Vec<Segment>,
}

/// How long the segments of a file of so many bytes are: never more than [`SEGMENTS_MAX`] of them.
fn segment_bytes(length: u64) -> u64 {
    let mut bytes = SEGMENT_BYTES;
    while bytes < length.div_ceil(SEGMENTS_MAX as u64) {
        bytes *= 2;
    }
    bytes
}

impl Outliner {
    /// For a file that has so many bytes.
    pub fn new(length: u64) -> Outliner {
        Outliner {
            cutter: Cutter::default(),
            whole: blake3::Hasher::new(),
            segment: blake3::Hasher::new(),
            begun: 0,
            length: 0,
            segment_bytes: segment_bytes(length),
            segments: Vec::new(),
        }
    }

    /// The next bytes.
    pub fn push(&mut self, block: &Bytes) {
        self.whole.update(block);
        for chunk in self.cutter.push(block) {
            self.chunk(&chunk);
        }
    }

    /// There are no more.
    pub fn finish(mut self) -> Outline {
        for chunk in std::mem::take(&mut self.cutter).finish() {
            self.chunk(&chunk);
        }
        if self.length > 0 {
            self.close();
        }
        Outline { hash: self.whole.finalize().into(), length: self.begun, segments: self.segments }
    }

    fn chunk(&mut self, chunk: &Bytes) {
        self.segment.update(chunk);
        self.length += chunk.len() as u64;
        if self.length >= self.segment_bytes {
            self.close();
        }
    }

    fn close(&mut self) {
        let segment =
            Segment { offset: self.begun, length: self.length, hash: self.segment.finalize().into() };
        self.segments.push(segment);
        self.begun += self.length;
        self.length = 0;
        self.segment.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunker::cut;

    fn noise(length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"outline").finalize_xof().fill(&mut bytes);
        bytes.into()
    }

    fn outline(bytes: &Bytes, block: usize) -> Outline {
        let mut outliner = Outliner::new(bytes.len() as u64);
        for at in (0..bytes.len()).step_by(block) {
            outliner.push(&bytes.slice(at..bytes.len().min(at + block)));
        }
        outliner.finish()
    }

    #[test]
    fn segments_follow_each_other_and_end_where_chunks_end() {
        let bytes = noise((40 << 20) + 17);
        let outline = outline(&bytes, 1 << 20);
        assert_eq!((outline.hash, outline.length), (Hash::of(&bytes), bytes.len() as u64));
        assert_eq!(outline.segments.len(), 3);
        let mut chunks = Vec::new();
        let mut end = 0;
        for segment in &outline.segments {
            assert_eq!(segment.offset, end);
            end += segment.length;
            let part = bytes.slice(segment.offset as usize..end as usize);
            assert_eq!(segment.hash, Hash::of(&part));
            chunks.extend(cut(&part));
        }
        assert_eq!(end, outline.length);
        assert_eq!(chunks, cut(&bytes), "a segment is cut as the whole is");
        assert_eq!(super::tests::outline(&bytes, 77_777), outline, "whatever the blocks are");
    }

    #[test]
    fn small_and_huge_files_have_segments_too() {
        assert_eq!(outline(&Bytes::new(), 1).segments, []);
        assert_eq!(outline(&noise(5), 5).segments.len(), 1);
        for length in [0, 1 << 30, 1 << 40, 1 << 44, u64::MAX / 2] {
            assert!(length.div_ceil(segment_bytes(length)) <= SEGMENTS_MAX as u64, "{length}");
        }
        assert_eq!(segment_bytes(1 << 39), SEGMENT_BYTES);
    }
}
