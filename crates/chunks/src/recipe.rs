//! How bytes are put together from what is sent and from ranges of blobs that the hub has.
//!
//! ```text
//! magic [4] "PURC"  version u8  count u8, then count times: name of a blob [32]
//! steps:  1, length u32, bytes            these bytes
//!         2, blob u8, from u64, length u64   this range of that blob of the head
//!         0                               the end
//! ```
//!
//! Numbers are little-endian. Whoever sends a recipe must be one who may read all blobs in its head, and learns nothing by
//! it: it refers to nothing else.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use pumasi_types::Hash;

/// First bytes of every recipe.
pub const MAGIC: [u8; 4] = *b"PURC";
/// The only version there is.
pub const VERSION: u8 = 1;
/// The most blobs that one recipe copies from.
pub const BASES_MAX: usize = 64;

const HEAD_BYTES: usize = 6;
const NAME_BYTES: usize = 32;
const END: u8 = 0;
const DATA: u8 = 1;
const COPY: u8 = 2;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The blobs that are copied from; always the first step.
    Bases(Vec<Hash>),
    /// Bytes that were sent; a run of them can come in several pieces, none of which is empty.
    Data(Bytes),
    /// Bytes of a blob of the head.
    Copy {
        /// Which.
        base: Hash,
        /// Which of its bytes; not empty.
        range: Range<u64>,
    },
}

/// Why bytes are not a recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeFault {
    /// No recipe.
    #[error("it does not begin as a recipe does")]
    Magic,
    /// Written by a newer program.
    #[error("the recipe's version is {0}, this program reads version {VERSION}")]
    Version(u8),
    /// Too many blobs.
    #[error("the recipe copies from {0} blobs; at most {BASES_MAX} are possible")]
    Bases(u8),
    /// No such step.
    #[error("the recipe has a step of kind {0}, which does not exist")]
    Kind(u8),
    /// A step that does nothing, or a range that does not exist.
    #[error("the recipe has a step of no bytes, or copies from a blob or a range that cannot be")]
    Range,
    /// Something follows its end.
    #[error("something follows the end of the recipe")]
    Rest,
    /// Cut off.
    #[error("the recipe ends too early: it was cut off")]
    Short,
}

/// Writes a recipe.
#[derive(Debug)]
pub struct Encoder {
    bytes: BytesMut,
    /// A copy that the next may continue: blob, where it begins and ends.
    copy: Option<(u8, Range<u64>)>,
}

impl Encoder {
    /// A recipe that copies from these blobs.
    ///
    /// # Panics
    /// When they are more than [`BASES_MAX`].
    pub fn new(bases: &[Hash]) -> Encoder {
        assert!(bases.len() <= BASES_MAX, "{} blobs to copy from", bases.len());
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + bases.len() * NAME_BYTES);
        bytes.put_slice(&MAGIC);
        bytes.put_slice(&[VERSION, bases.len() as u8]);
        bases.iter().for_each(|base| bytes.put_slice(base.as_bytes()));
        Encoder { bytes, copy: None }
    }

    /// These bytes come next; nothing when they are none.
    pub fn data(&mut self, data: &[u8]) {
        self.end_copy();
        for piece in data.chunks(u32::MAX as usize) {
            self.bytes.put_u8(DATA);
            self.bytes.put_u32_le(piece.len() as u32);
            self.bytes.put_slice(piece);
        }
    }

    /// These bytes of blob number `base` come next. Copies that follow each other become one.
    pub fn copy(&mut self, base: u8, range: Range<u64>) {
        match &mut self.copy {
            Some((before, copied)) if *before == base && copied.end == range.start => copied.end = range.end,
            _ => {
                self.end_copy();
                self.copy = Some((base, range));
            }
        }
    }

    fn end_copy(&mut self) {
        if let Some((base, range)) = self.copy.take().filter(|(_, range)| !range.is_empty()) {
            self.bytes.put_slice(&[COPY, base]);
            self.bytes.put_u64_le(range.start);
            self.bytes.put_u64_le(range.end - range.start);
        }
    }

    /// The whole recipe.
    pub fn finish(mut self) -> Bytes {
        self.end_copy();
        self.bytes.put_u8(END);
        self.bytes.freeze()
    }
}

/// What of a recipe is read next.
#[derive(Debug, Clone, Copy)]
enum Part {
    Head,
    Names(u8),
    Kind,
    DataHead,
    Data(u32),
    Copy,
    End,
}

/// Reads a recipe that comes in pieces, without holding more of it than a head.
#[derive(Debug)]
pub struct Decoder {
    /// What was handed over and not read yet.
    rest: Bytes,
    /// The beginning of something that is longer than what came.
    begun: Vec<u8>,
    part: Part,
    bases: Vec<Hash>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { rest: Bytes::new(), begun: Vec::new(), part: Part::Head, bases: Vec::new() }
    }
}

impl Decoder {
    /// Hands the next bytes over, when [`Decoder::step`] wants more.
    pub fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.rest.is_empty(), "the bytes before are not read yet");
        self.rest = bytes;
    }

    /// What comes next; none when more bytes are needed, or at the end.
    ///
    /// # Errors
    /// A [`RecipeFault`] for whatever [`Encoder`] cannot have written.
    pub fn step(&mut self) -> Result<Option<Step>, RecipeFault> {
        loop {
            match self.part {
                Part::Head => {
                    let Some([a, b, c, d, version, count]) = self.take() else { return Ok(None) };
                    if [a, b, c, d] != MAGIC {
                        return Err(RecipeFault::Magic);
                    }
                    if version != VERSION {
                        return Err(RecipeFault::Version(version));
                    }
                    if usize::from(count) > BASES_MAX {
                        return Err(RecipeFault::Bases(count));
                    }
                    self.part = Part::Names(count);
                }
                Part::Names(0) => {
                    self.part = Part::Kind;
                    return Ok(Some(Step::Bases(self.bases.clone())));
                }
                Part::Names(left) => {
                    let Some(name) = self.take() else { return Ok(None) };
                    self.bases.push(Hash::from_bytes(name));
                    self.part = Part::Names(left - 1);
                }
                Part::Kind => {
                    let Some([kind]) = self.take() else { return Ok(None) };
                    self.part = match kind {
                        END => Part::End,
                        DATA => Part::DataHead,
                        COPY => Part::Copy,
                        kind => return Err(RecipeFault::Kind(kind)),
                    };
                }
                Part::DataHead => {
                    let Some(length) = self.take() else { return Ok(None) };
                    self.part = match u32::from_le_bytes(length) {
                        0 => return Err(RecipeFault::Range),
                        length => Part::Data(length),
                    };
                }
                Part::Data(_) if self.rest.is_empty() => return Ok(None),
                Part::Data(left) => {
                    let piece = self.rest.split_to(self.rest.len().min(left as usize));
                    let left = left - piece.len() as u32;
                    self.part = if left == 0 { Part::Kind } else { Part::Data(left) };
                    return Ok(Some(Step::Data(piece)));
                }
                Part::Copy => {
                    let Some(copy) = self.take::<17>() else { return Ok(None) };
                    self.part = Part::Kind;
                    return self.copy(copy).map(Some);
                }
                Part::End if self.rest.is_empty() => return Ok(None),
                Part::End => return Err(RecipeFault::Rest),
            }
        }
    }

    fn copy(&self, [base, numbers @ ..]: [u8; 17]) -> Result<Step, RecipeFault> {
        let (mut from, mut length) = ([0; 8], [0; 8]);
        from.copy_from_slice(&numbers[..8]);
        length.copy_from_slice(&numbers[8..]);
        let from = u64::from_le_bytes(from);
        let end = from.checked_add(u64::from_le_bytes(length)).filter(|end| *end > from);
        let base = self.bases.get(usize::from(base));
        let (Some(base), Some(end)) = (base, end) else { return Err(RecipeFault::Range) };
        Ok(Step::Copy { base: *base, range: from..end })
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`RecipeFault::Short`] when the end was not seen.
    pub fn finish(self) -> Result<(), RecipeFault> {
        match self.part {
            Part::End => Ok(()),
            _ => Err(RecipeFault::Short),
        }
    }

    /// The next `N` bytes, once they are all there.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let more = (N - self.begun.len()).min(self.rest.len());
        self.begun.extend_from_slice(&self.rest.split_to(more));
        let taken = self.begun.as_slice().try_into().ok()?;
        self.begun.clear();
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a recipe in pieces of so many bytes; runs of bytes come as one.
    fn read(recipe: &Bytes, piece: usize) -> Result<Vec<Step>, RecipeFault> {
        let (mut decoder, mut steps) = (Decoder::default(), Vec::<Step>::new());
        for at in (0..recipe.len()).step_by(piece) {
            decoder.push(recipe.slice(at..recipe.len().min(at + piece)));
            while let Some(step) = decoder.step()? {
                match (steps.last_mut(), step) {
                    (Some(Step::Data(before)), Step::Data(data)) => {
                        *before = [before.as_ref(), &data].concat().into();
                    }
                    (_, step) => steps.push(step),
                }
            }
        }
        decoder.finish()?;
        Ok(steps)
    }

    fn sample() -> (Bytes, Vec<Step>) {
        let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
        let mut encoder = Encoder::new(&[a, b]);
        encoder.data(b"sent");
        encoder.copy(0, 10..20);
        encoder.copy(0, 20..35);
        encoder.copy(1, 35..36);
        encoder.data(b"");
        encoder.data(b"and more");
        let steps = vec![
            Step::Bases(vec![a, b]),
            Step::Data("sent".into()),
            Step::Copy { base: a, range: 10..35 },
            Step::Copy { base: b, range: 35..36 },
            Step::Data("and more".into()),
        ];
        (encoder.finish(), steps)
    }

    #[test]
    fn a_recipe_is_read_as_it_was_written_however_it_comes() {
        let (recipe, steps) = sample();
        for piece in 1..=recipe.len() {
            assert_eq!(read(&recipe, piece).as_ref(), Ok(&steps), "pieces of {piece}");
        }
        for end in 0..recipe.len() {
            assert!(read(&recipe.slice(..end), 7).is_err(), "cut to {end}");
        }
        assert_eq!(read(&Encoder::new(&[]).finish(), 3), Ok(vec![Step::Bases(Vec::new())]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (recipe, _) = sample();
        let forge = |at: usize, byte: u8| {
            let mut bytes = recipe.to_vec();
            bytes[at] = byte;
            read(&bytes.into(), 16).unwrap_err()
        };
        assert_eq!(forge(0, b'X'), RecipeFault::Magic);
        assert_eq!(forge(4, 2), RecipeFault::Version(2));
        assert_eq!(forge(5, 65), RecipeFault::Bases(65));
        let steps = HEAD_BYTES + 2 * NAME_BYTES;
        assert_eq!(forge(steps, 9), RecipeFault::Kind(9));
        assert_eq!(forge(steps + 1, 0), RecipeFault::Range, "no bytes are sent");
        let copy = steps + 5 + 4;
        assert_eq!(forge(copy + 1, 2), RecipeFault::Range, "no such blob");
        assert_eq!(forge(copy + 10, 0), RecipeFault::Range, "nothing is copied");
        let mut far = recipe.to_vec();
        far[copy + 2..copy + 18].fill(0xff);
        assert_eq!(read(&far.into(), 16), Err(RecipeFault::Range), "beyond all numbers");
        let longer: Bytes = [recipe.as_ref(), b"\0"].concat().into();
        assert_eq!(read(&longer, 1000), Err(RecipeFault::Rest));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_recipe_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..20_usize) {
            let _ = read(&bytes.clone().into(), piece);
            let framed = [&b"PURC\x01\x01"[..], &[7; 32], &bytes].concat();
            let _ = read(&framed.into(), piece);
        }
    }
}
