//! A bit for each piece, the first one highest, as peers write them (BEP 3). How many are set is always known.

/// A set of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    /// What is written there, but at most so many bits: those behind the last piece mean nothing.
    pub(crate) fn read(bytes: &[u8], most: usize) -> Bits {
        let mut bytes = bytes[..bytes.len().min(most.div_ceil(8))].to_vec();
        if bytes.len() * 8 > most
            && let Some(last) = bytes.last_mut()
        {
            *last &= !(0xff >> (most % 8));
        }
        let count = bytes.iter().map(|byte| byte.count_ones() as usize).sum();
        Bits { bytes, count }
    }

    /// As it is written, for so many pieces.
    pub(crate) fn write(&self, pieces: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(pieces.div_ceil(8), 0);
        bytes
    }

    pub(crate) fn has(&self, piece: usize) -> bool {
        self.bytes.get(piece / 8).is_some_and(|byte| byte & bit(piece) != 0)
    }

    /// How many are set.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Sets one; whether it was not.
    pub(crate) fn set(&mut self, piece: usize) -> bool {
        if self.bytes.len() <= piece / 8 {
            self.bytes.resize(piece / 8 + 1, 0);
        }
        let is_new = !self.has(piece);
        self.bytes[piece / 8] |= bit(piece);
        self.count += usize::from(is_new);
        is_new
    }

    /// Clears one; whether it was set.
    pub(crate) fn clear(&mut self, piece: usize) -> bool {
        let was_set = self.has(piece);
        if was_set {
            self.bytes[piece / 8] &= !bit(piece);
            self.count -= 1;
        }
        was_set
    }

    /// The first byte that is not empty, from this one on.
    pub(crate) fn first_byte(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len())
    }

    /// The first that is set in both, from this byte on.
    pub(crate) fn first_common(&self, other: &Bits, from: usize) -> Option<usize> {
        let (these, those) = (self.bytes.get(from..)?, other.bytes.get(from..)?);
        // Eight bytes at once as long as they have nothing in common.
        let words = these.as_chunks::<8>().0.iter().zip(those.as_chunks::<8>().0);
        let differ = |(this, that): &(&[u8; 8], &[u8; 8])| {
            u64::from_ne_bytes(**this) & u64::from_ne_bytes(**that) == 0
        };
        let skipped = words.take_while(differ).count() * 8;
        let common = these[skipped..].iter().zip(&those[skipped..]).map(|(this, that)| this & that);
        let (at, byte) = common.enumerate().find(|(_, byte)| *byte != 0)?;
        Some((from + skipped + at) * 8 + byte.leading_zeros() as usize)
    }
}

fn bit(piece: usize) -> u8 {
    0x80 >> (piece % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_counted_and_found() {
        let mut bits = Bits::read(&[0b1010_0000, 0xff, 0xff], 12);
        assert_eq!((bits.count(), bits.has(11), bits.has(12)), (6, true, false), "none behind the last");
        assert!(bits.set(1) && !bits.set(1) && bits.set(20));
        assert!(bits.clear(8) && !bits.clear(8) && !bits.clear(1_000));
        assert_eq!(bits.count(), 7);
        assert_eq!(bits.write(24), [0b1110_0000, 0b0111_0000, 0b0000_1000]);
        let other = Bits::read(&[0, 0b1001_0000, 0b0000_1000], 24);
        assert_eq!((bits.first_common(&other, 0), bits.first_common(&other, 2)), (Some(11), Some(20)));
        assert_eq!((bits.first_common(&Bits::default(), 0), bits.first_common(&other, 9)), (None, None));
        assert_eq!((other.first_byte(0), other.first_byte(2), other.first_byte(3)), (1, 2, 3));
        assert_eq!(Bits::read(&[0xff], 8).count(), 8);
        let (full, mut one) = (Bits::read(&[0xff; 30], 240), Bits::default());
        for piece in [239, 200, 127, 64, 63] {
            one.set(piece);
            assert_eq!((full.first_common(&one, 1), one.first_common(&full, 0)), (Some(piece), Some(piece)));
        }
    }
}
