//! What stories about disks share: their chances, their faults, and which are told.

use std::ops::Range;

use pumasi_sim::disk::Faults;

/// The chances of a story; SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// A rate of faults, often none.
    fn rate(&mut self) -> u64 {
        if self.below(3) == 0 { 10 + self.below(150) } else { 0 }
    }
}

pub(crate) fn faults(dice: &mut Dice) -> Faults {
    Faults {
        read_errors: dice.rate(),
        write_errors: dice.rate(),
        short_writes: dice.rate(),
        interruptions: dice.rate(),
        sync_errors: dice.rate(),
        name_errors: dice.rate(),
    }
}

/// The seeds to tell: those of the environment, or the usual ones.
pub(crate) fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("PUMASI_DISK_SEEDS") else { return usual };
    let (first, end) = text.split_once("..").expect("FIRST..END");
    first.parse().unwrap()..end.parse().unwrap()
}
