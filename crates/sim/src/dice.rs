//! Sources of chance: one for each part of a world, so that what one part does not move another's.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): all that is asked of it is to be small, fast and repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The dice of the part `part` of the world `seed`.
    pub(crate) fn of(seed: u64, part: u64) -> Dice {
        Dice(mix(seed, part))
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias is far below anything that a campaign could notice.
        ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64
    }

    /// Once in `n` times on average; never when that is 0, and then without a roll.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number from `low` to `high` whose order of magnitude is evenly spread: many small, few large ones.
    pub(crate) fn spread(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2());
        let scale = self.below(doublings + 1) as u32;
        let from = low.max(1) << scale;
        self.between(from.min(high), (from * 2).min(high))
    }

    /// One of `choices`, which are not empty.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// A number that looks random and depends on both.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    Dice(a ^ b.wrapping_mul(0xd6e8_feb8_6659_fd93)).roll()
}
