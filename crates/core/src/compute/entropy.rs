//! Random decisions that a replay makes again: from a seed that the hub draws and logs.

use serde::{Deserialize, Serialize};

/// The seed that was drawn last, and how many numbers were taken so far.
///
/// The hub draws a fresh seed after reports have arrived and before they are applied, so nobody who
/// reports can foresee what is decided about it. Without a draw the count alone makes the numbers: they
/// are then foreseeable, but the same on every replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entropy {
    seed: u128,
    taken: u64,
}

impl Entropy {
    /// Numbers from here on follow from this seed.
    pub(crate) fn draw(&mut self, seed: u128) {
        self.seed = seed;
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.taken = self.taken.wrapping_add(1);
        let (low, high) = (self.seed as u64, (self.seed >> 64) as u64);
        mix(low ^ mix(high ^ mix(self.taken)))
    }

    /// A number below `count`, which is not 0. Its bias is below `count` in 2^64.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(count)) >> 64) as u64
    }

    /// True once in `count` times on average; always for 0 and 1.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count.max(1)) == 0
    }
}

/// The step of splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_splitmix64() {
        // The first two numbers of the reference implementation seeded with 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn chances_are_what_they_say_and_depend_on_the_whole_seed() {
        let mut entropy = Entropy::default();
        let hits = (0..100_000).filter(|_| entropy.one_in(10)).count();
        assert!((9_600..10_400).contains(&hits), "{hits} of 100000");
        assert!(entropy.one_in(1) && entropy.one_in(0));
        let first = |seed| {
            let mut entropy = Entropy::default();
            entropy.draw(seed);
            entropy.next()
        };
        assert!(first(1) != first(2) && first(1) != first(1 << 64) && first(1) == first(1));
    }
}
