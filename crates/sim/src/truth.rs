//! What tasks really result in: a function of the job's seed and the task, as computation is.

use bytes::Bytes;
use pumasi_api::output;
use pumasi_types::{Duration, Ending, Fuel, Hash};

use crate::dice::{Dice, mix};
use crate::oracle::Finding;

/// The most fuel that any task burns; jobs allow more.
pub(crate) const FUEL_MAX: u64 = 1_000_000_000;

/// What a task produces.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) ending: Ending,
    pub(crate) fuel: Fuel,
    pub(crate) output: Bytes,
    pub(crate) result: Hash,
}

/// What a task of the job with this seed produces on every honest machine.
pub(crate) fn product(job: u64, task: u32) -> Product {
    made(mix(job, u64::from(task)))
}

/// What a liar says instead: the same for all who share `lie`.
pub(crate) fn wrong(job: u64, task: u32, lie: u64) -> Product {
    let truth = product(job, task);
    let other = made(mix(mix(job, u64::from(task)), lie));
    // The cheapest lie of all, a success without having computed, has the right fuel of nothing.
    let fuel = if lie.is_multiple_of(2) { truth.fuel } else { other.fuel };
    if (other.ending, other.result) == (truth.ending, truth.result) {
        let output = Bytes::from(lie.to_le_bytes().to_vec());
        return Product { ending: truth.ending, fuel, result: Hash::of(&output), output };
    }
    Product { fuel, ..other }
}

fn made(number: u64) -> Product {
    let mut dice = Dice::new(number);
    let ending = match dice.below(100) {
        0..=92 => Ending::Exited { code: 0 },
        93..=95 => Ending::Exited { code: 1 + dice.below(3) as u32 },
        96..=97 => Ending::from_code(1).expect("the first trap"),
        _ => Ending::OutOfFuel,
    };
    let fuel = Fuel(1 + dice.below(FUEL_MAX));
    let output = match dice.below(100) {
        0..=59 => Bytes::new(),
        60..=98 => Bytes::from(dice.roll().to_le_bytes().to_vec()),
        _ => Bytes::from(dice.roll().to_le_bytes().repeat(17 << 7)),
    };
    let result = if output.is_empty() { output::EMPTY_HASH } else { Hash::of(&output) };
    Product { ending, fuel, output, result }
}

/// What the oracle compares.
pub(crate) fn finding(product: &Product) -> Finding {
    (product.ending.to_code(), product.fuel.0, product.result)
}

/// How long a run takes on a machine of usual speed.
pub(crate) fn wall(job: u64, dice: &mut Dice) -> Duration {
    let mean = Dice::of(job, 7).spread(50, 120_000);
    Duration::from_millis(dice.between(mean / 2, mean * 3 / 2).max(1))
}
