//! The disk's own source of chance, so that what else happens in a simulation does not move its faults.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): all that is asked of it is to be small, fast and repeatable.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The bias is far below anything that a campaign could notice.
        ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64
    }

    /// Once in `n` times on average; never when that is 0, and then without a roll.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}
