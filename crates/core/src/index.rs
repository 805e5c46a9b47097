//! Finds numbered things by a hash of what they are called, among hundreds of millions, without ever stopping to grow.
//!
//! Extendible hashing (Fagin, Nievergelt, Pippenger and Strong, TODS 1979): a directory, by the first bits of the
//! hash, of small segments with open addressing; a segment that is full is split in two, which takes microseconds. A
//! slot has 32 bits of the hash and 32 of the number: whoever looks compares the key itself. Nobody walks through it, so
//! that nothing depends on its order.

use std::hint::black_box;

/// Slots of a segment.
const SLOTS: usize = 1 << 12;
/// Bits of the hash that choose a slot; those above choose the segment, and the lowest of these is always set, so
/// that no slot that is used is zero.
const SLOT_BITS: u32 = SLOTS.ilog2();
/// Numbers whose slots are loaded at once when many are added.
const AHEAD: usize = 32;
/// Bits that can choose a segment.
const DEPTH_MAX: u32 = 32 - SLOT_BITS - 1;

/// The index.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Segments by the first `depth` bits of the hash; a segment of less depth stands in several places.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Segment {
    /// How many first bits all its hashes share.
    depth: u32,
    used: usize,
    slots: Vec<u64>,
}

/// The hash of a key as the index uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

/// Both halves of a product, which mixes its factors (wyhash, Wang Yi 2019).
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl KeyHash {
    /// Of 64 bits that look random.
    pub(crate) fn new(bits: u64) -> KeyHash {
        KeyHash((bits >> 32) as u32 | 1 << SLOT_BITS)
    }

    /// Of a text. A seed that nobody can foresee keeps people from choosing texts that all lie at one place.
    pub(crate) fn of_text(seed: u64, text: &str) -> KeyHash {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
        let begin = seed ^ 0xa076_1d64_78bd_642f ^ text.len() as u64;
        let sum = words.fold(begin, |sum, word| fold(sum ^ word, seed ^ 0xe703_7ed1_a0b4_28db));
        KeyHash::new(fold(sum, 0x8ebc_6af0_9c88_c6e3))
    }

    fn slot(self, slots: usize) -> usize {
        self.0 as usize & (slots - 1)
    }

    fn of_slot(slot: u64) -> KeyHash {
        KeyHash((slot >> 32) as u32)
    }
}

impl Default for Index {
    fn default() -> Index {
        Index { directory: vec![0], depth: 0, segments: vec![Segment::new(0)], len: 0 }
    }
}

impl Segment {
    fn new(depth: u32) -> Segment {
        Segment { depth, used: 0, slots: vec![0; SLOTS] }
    }

    /// Whether three of four slots are used: of more, a search for what is not there would look at many (Knuth, volume
    /// 3, 6.4: 8.5 slots at three of four, 32.5 at seven of eight), and all segments are filled at the same time.
    fn is_full(&self) -> bool {
        self.used >= self.slots.len() / 4 * 3
    }

    fn insert(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = KeyHash::of_slot(slot).slot(self.slots.len());
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
        self.used += 1;
    }

    /// Removes the slot at a place and moves those behind it that a search would not find any more (Knuth, volume 3,
    /// algorithm 6.4R).
    fn remove(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let home = KeyHash::of_slot(slot).slot(self.slots.len());
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
        self.used -= 1;
    }
}

impl FromIterator<(KeyHash, u64)> for Index {
    /// Of numbers that are all different. Loads the slots of many at once, as they lie all over memory.
    fn from_iter<I: IntoIterator<Item = (KeyHash, u64)>>(all: I) -> Index {
        let (mut index, mut all) = (Index::default(), all.into_iter());
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            ahead.extend(all.by_ref().take(AHEAD));
            if ahead.is_empty() {
                return index;
            }
            black_box(ahead.iter().fold(0, |sum, (hash, _)| sum ^ index.touch(*hash)));
            ahead.drain(..).for_each(|(hash, number)| index.insert(hash, number));
        }
    }
}

impl Index {
    /// So many numbers can be put elsewhere without anybody waiting, when a seed is chosen.
    pub(crate) const FEW: usize = 1 << 12;

    /// How many numbers it knows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn segment(&self, hash: KeyHash) -> usize {
        // A shift by all 32 bits would be none.
        self.directory[(u64::from(hash.0) >> (32 - self.depth)) as usize] as usize
    }

    /// What a search will read first, to have it at hand when it comes.
    pub(crate) fn touch(&self, hash: KeyHash) -> u64 {
        let slots = &self.segments[self.segment(hash)].slots;
        slots[hash.slot(slots.len())]
    }

    /// The number of that hash for which `is_it` holds; `base` is at or below all numbers here, and less than 2^32
    /// below the last.
    pub(crate) fn find(&self, hash: KeyHash, base: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<u64> {
        let slots = &self.segments[self.segment(hash)].slots;
        let mut at = hash.slot(slots.len());
        loop {
            let slot = slots[at];
            if slot == 0 {
                return None;
            }
            if KeyHash::of_slot(slot) == hash {
                let number = whole(slot as u32, base);
                if is_it(number) {
                    return Some(number);
                }
            }
            at = (at + 1) & (slots.len() - 1);
        }
    }

    /// Adds a number, which must not be there.
    pub(crate) fn insert(&mut self, hash: KeyHash, number: u64) {
        let mut at = self.segment(hash);
        while self.segments[at].is_full() {
            self.split(hash);
            at = self.segment(hash);
        }
        self.segments[at].insert(slot_of(hash, number));
        self.len += 1;
    }

    /// Removes a number, if it is there.
    pub(crate) fn remove(&mut self, hash: KeyHash, number: u64) -> bool {
        let at = self.segment(hash);
        let segment = &mut self.segments[at];
        let wanted = slot_of(hash, number);
        let mut place = hash.slot(segment.slots.len());
        while segment.slots[place] != 0 {
            if segment.slots[place] == wanted {
                segment.remove(place);
                self.len -= 1;
                return true;
            }
            place = (place + 1) & (segment.slots.len() - 1);
        }
        false
    }

    /// Splits the segment of a hash by the next bit of its hashes.
    fn split(&mut self, hash: KeyHash) {
        let at = self.segment(hash);
        let depth = self.segments[at].depth + 1;
        if depth > DEPTH_MAX {
            // More than a billion, or many of one hash: it becomes twice as long.
            let slots = 2 * self.segments[at].slots.len();
            let old = std::mem::replace(&mut self.segments[at].slots, vec![0; slots]);
            self.segments[at].used = 0;
            old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.segments[at].insert(slot));
            return;
        }
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment; 2]).collect();
            self.depth = depth;
        }
        let (mut low, mut high) = (Segment::new(depth), Segment::new(depth));
        for slot in std::mem::take(&mut self.segments[at].slots).into_iter().filter(|slot| *slot != 0) {
            let half = if slot >> (64 - depth) & 1 == 0 { &mut low } else { &mut high };
            half.insert(slot);
        }
        self.segments[at] = low;
        let new = u32::try_from(self.segments.len()).expect("fewer segments than hashes");
        self.segments.push(high);
        // The places of the old segment lie together; the new one gets the second half of them.
        let span = 1 << (self.depth - depth);
        let first = ((u64::from(hash.0) >> (32 - depth)) as usize | 1) * span;
        self.directory[first..first + span].fill(new);
    }
}

/// The number whose last 32 bits these are, at or above `base`.
fn whole(low: u32, base: u64) -> u64 {
    base + u64::from(low.wrapping_sub(base as u32))
}

fn slot_of(hash: KeyHash, number: u64) -> u64 {
    u64::from(hash.0) << 32 | u64::from(number as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Spreads small numbers over all hashes, or over few, so that searches meet.
    fn hash(key: u64, narrow: bool) -> KeyHash {
        let bits = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        KeyHash::new(if narrow { bits & 0xffff_f3ff_0000_0000 | 0x0003 << 32 } else { bits })
    }

    #[test]
    fn many_orders_are_found_after_many_splits() {
        let mut index = Index::default();
        let base = u64::from(u32::MAX) - 1000;
        for key in 0..200_000 {
            index.insert(hash(key, false), base + key);
        }
        assert_eq!(index.len(), 200_000);
        assert!(index.segments.len() > 50, "{} segments", index.segments.len());
        for key in 0..200_000 {
            let order = base + key;
            assert_eq!(index.find(hash(key, false), base, |found| found == order), Some(order));
        }
        assert_eq!(index.find(hash(200_001, false), base, |order| order > base + 200_000), None);
    }

    #[test]
    fn one_hash_for_all_is_slow_and_right() {
        let mut index = Index::default();
        for order in 1..=5000 {
            index.insert(KeyHash::new(0), order);
        }
        assert_eq!(index.find(KeyHash::new(0), 1, |order| order == 4321), Some(4321));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_knows_what_is_not_removed(
            steps in proptest::collection::vec((0..600_u64, any::<bool>()), 1..3000), narrow: bool,
        ) {
            let (mut index, mut model, mut last) = (Index::default(), BTreeMap::new(), 0);
            for (key, add) in steps {
                let hash = hash(key, narrow);
                if let Some(order) = model.get(&key).copied() {
                    prop_assert_eq!(index.find(hash, 1, |found| found == order), Some(order));
                    if !add {
                        prop_assert!(index.remove(hash, order));
                        model.remove(&key);
                    }
                } else if add {
                    last += 1;
                    index.insert(hash, last);
                    model.insert(key, last);
                } else {
                    prop_assert!(!index.remove(hash, last + 1));
                }
            }
            prop_assert_eq!(index.len(), model.len());
            for (key, order) in model {
                prop_assert_eq!(index.find(hash(key, narrow), 1, |found| found == order), Some(order));
            }
        }
    }
}
