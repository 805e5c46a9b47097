//! Frames: chunks that are compressed together, because many small ones compress badly alone.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use pumasi_chunks::chunker::CHUNK_MIN;
use pumasi_chunks::noise::looks_like_noise;
use pumasi_types::Hash;
use zstd_safe::{CCtx, CParameter, DCtx};

/// A frame with chunks of small files is closed before they exceed this together: what reading one of them must decompress.
pub(crate) const FRAME_TARGET: usize = 256 << 10;
/// One of other chunks: large files are read in order, and compress better together.
const LARGE_TARGET: usize = 1 << 20;
/// No frame is longer than this, uncompressed; bounds what a hostile pack can make a reader allocate.
pub(crate) const FRAME_MAX: u32 = 4 << 20;
/// Measured on a tree of sources and documents, with frames of 256 KiB: 1: 195 MB, 2: 188, 3: 186, 4: 179 at a third of the speed.
const LEVEL: i32 = 3;
/// One thing that a pack holds, as its index names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of the chunk, or of the blob whose manifest this is.
    pub name: Hash,
    /// Bytes of it in its frame.
    pub length: u32,
    /// Bytes of the blob when it is a manifest, else the same as `length`.
    pub size: u64,
}

/// Entries on their way into a frame.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) raw: usize,
    /// Whether a small file lies in it, or the end of a large one.
    has_small: bool,
}

impl Batch {
    pub(crate) fn push(&mut self, entry: Entry, bytes: Bytes) {
        debug_assert_eq!(entry.length as usize, bytes.len());
        self.raw += bytes.len();
        self.has_small |= bytes.len() < CHUNK_MIN;
        self.entries.push(entry);
        self.parts.push(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether so many bytes more belong into the next frame.
    pub(crate) fn is_full_for(&self, length: usize) -> bool {
        let has_small = self.has_small || length < CHUNK_MIN;
        !self.is_empty() && self.raw + length > if has_small { FRAME_TARGET } else { LARGE_TARGET }
    }
}

/// A frame as it goes into a pack.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What is stored, in order.
    pub(crate) stored: Vec<Bytes>,
    /// Bytes of `stored`; equal to `raw` when it is not compressed.
    pub(crate) stored_len: u32,
    /// Bytes of all its entries.
    pub(crate) raw_len: u32,
    pub(crate) entries: Vec<Entry>,
}

impl Frame {
    /// How much of a pack it takes: what is stored, and never less than a quarter of what that decompresses to, nor than
    /// its part of the index, so that a pack that is read whole fits into memory.
    pub(crate) fn weight(&self) -> u64 {
        u64::from(self.stored_len.max(self.raw_len / 4)) + 64 * self.entries.len() as u64
    }
}

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new({
        let mut context = CCtx::create();
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).expect("a level that zstd has");
        context
    });
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Compresses what is worth it. Takes time: about 1 ms for what compresses.
pub(crate) fn encode(batch: Batch) -> Frame {
    let raw_len = u32::try_from(batch.raw).ok().filter(|raw| *raw <= FRAME_MAX).expect("a frame is bounded");
    let plain =
        |batch: Batch| Frame { stored: batch.parts, stored_len: raw_len, raw_len, entries: batch.entries };
    if batch.raw == 0 || looks_like_noise(&batch.parts) {
        return plain(batch);
    }
    let mut raw = BytesMut::with_capacity(batch.raw);
    batch.parts.iter().for_each(|part| raw.extend_from_slice(part));
    // Less than a 32nd saved is not worth the time to read it back.
    let mut stored = Vec::with_capacity(batch.raw - batch.raw / 32);
    match COMPRESSOR.with_borrow_mut(|context| context.compress2(&mut stored, &raw)) {
        Ok(length) if length < batch.raw => Frame {
            stored: vec![Bytes::from(stored)],
            stored_len: length as u32,
            raw_len,
            entries: batch.entries,
        },
        // It did not fit into what was offered.
        _ => plain(batch),
    }
}

/// The bytes of a frame's entries; `None` when they are not what was stored.
pub(crate) fn decode(stored: &Bytes, raw_len: u32) -> Option<Bytes> {
    if stored.len() == raw_len as usize {
        return Some(stored.clone());
    }
    if raw_len > FRAME_MAX {
        return None;
    }
    let mut raw = Vec::with_capacity(raw_len as usize);
    let length = DECOMPRESSOR.with_borrow_mut(|context| context.decompress(&mut raw, stored)).ok()?;
    (length == raw_len as usize).then(|| Bytes::from(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(parts: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        for part in parts {
            let entry = Entry { name: Hash::of(part), length: part.len() as u32, size: part.len() as u64 };
            batch.push(entry, Bytes::copy_from_slice(part));
        }
        batch
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_pays_is_compressed_and_comes_back() {
        let text = b"the same bytes once for everybody; ".repeat(1000);
        let noise = noise(70_000);
        for (parts, smaller) in [
            (vec![text.as_slice(), b"x", b""], true),
            (vec![noise.as_slice()], false),
            (vec![&text[..300], &noise[..300]], true),
            (vec![b"".as_slice()], false),
            (vec![&[0; 4096]], true),
        ] {
            let frame = encode(batch(&parts));
            assert_eq!(frame.raw_len as usize, parts.concat().len());
            assert_eq!(frame.stored_len < frame.raw_len, smaller, "{} bytes", frame.raw_len);
            let stored = Bytes::from(frame.stored.concat());
            assert_eq!(stored.len(), frame.stored_len as usize);
            assert_eq!(decode(&stored, frame.raw_len).unwrap(), parts.concat());
        }
    }

    #[test]
    fn chunks_of_large_files_have_large_frames() {
        let filled = |lengths: &[usize]| {
            let mut batch = Batch::default();
            for (number, length) in lengths.iter().cycle().enumerate() {
                if batch.is_full_for(*length) {
                    return (number, batch.raw);
                }
                let entry = Entry { name: Hash::ZERO, length: *length as u32, size: *length as u64 };
                batch.push(entry, vec![0; *length].into());
            }
            unreachable!("it is full some time")
        };
        assert_eq!(filled(&[64 << 10]), (16, 1 << 20));
        assert_eq!(filled(&[1000]), (262, 262_000));
        assert_eq!(filled(&[64 << 10, 64 << 10, 1000]).1, (192 << 10) + 1000, "one small file is enough");
        assert_eq!(filled(&[2 << 20]), (1, 2 << 20), "noise has a frame of its own");
        let mut batch = Batch::default();
        batch.push(Entry { name: Hash::ZERO, length: 500_000, size: 500_000 }, vec![0; 500_000].into());
        assert!(batch.is_full_for(1000) && !batch.is_full_for(500_000));
    }

    #[test]
    fn other_bytes_or_lengths_are_refused() {
        let frame = encode(batch(&[&b"pumasi ".repeat(500)]));
        let stored = Bytes::from(frame.stored.concat());
        for raw in [0, 1, frame.raw_len - 1, frame.raw_len + 1, FRAME_MAX + 1, u32::MAX] {
            assert_eq!(decode(&stored, raw), None, "{raw}");
        }
        assert_eq!(decode(&stored.slice(..10), frame.raw_len), None);
        assert_eq!(decode(&Bytes::from(noise(100)), 200), None);
    }
}
