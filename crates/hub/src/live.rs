//! How selling goes at this moment: orders by what came of them, and how long their answers took.
//!
//! Whole batches are counted, so that counting costs an order next to nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pumasi_core::OrderAnswer;

/// Latencies are those of the last so many seconds.
pub(crate) const WINDOW_S: u64 = 10;
/// Classes of latency: four for each power of two of microseconds, which is to within a fifth.
const CLASSES: usize = 27 * 4;

/// What is counted.
pub(crate) struct Live {
    began: Instant,
    counts: Mutex<Counts>,
    /// Whose turn it is to add up sales.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Counts {
    totals: Totals,
    /// One for each of the last seconds.
    seconds: [Second; WINDOW_S as usize],
}

/// Orders since the hub started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Placed, or placed before and answered once more.
    pub(crate) placed: u64,
    /// Refused, by the refusal's code.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// The orders that were answered in one second, by how long it took.
#[derive(Clone, Copy)]
struct Second {
    number: u64,
    classes: [u64; CLASSES],
}

impl Default for Second {
    fn default() -> Second {
        Second { number: 0, classes: [0; CLASSES] }
    }
}

/// How long answers took lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    /// Half of the orders took at most so long.
    pub(crate) p50: Duration,
    /// 99 of 100 took at most so long.
    pub(crate) p99: Duration,
}

/// The class of a latency.
fn class(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    // The power of two, and the two bits below its first.
    let power = micros.ilog2() as usize;
    let quarter = (micros >> (power - 2)) as usize & 3;
    (power * 4 + quarter).min(CLASSES - 1)
}

/// The longest latency of a class.
fn longest(class: usize) -> Duration {
    let (power, quarter) = (class / 4, class % 4);
    Duration::from_micros(((5 + quarter as u64) << power) / 4)
}

impl Live {
    pub(crate) fn new() -> Live {
        Live { began: Instant::now(), counts: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// A batch was answered, so long after it came.
    pub(crate) fn answered(&self, answers: &[OrderAnswer], took: Duration) {
        let mut refused: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut placed = 0;
        for answer in answers {
            match answer {
                OrderAnswer::Placed(_) => placed += 1,
                OrderAnswer::Refused(refusal) => *refused.entry(refusal.code()).or_default() += 1,
            }
        }
        let mut counts = self.counts();
        counts.totals.placed += placed;
        for (code, count) in refused {
            *counts.totals.refused.entry(code).or_default() += count;
        }
        let number = self.began.elapsed().as_secs();
        let second = &mut counts.seconds[(number % WINDOW_S) as usize];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.classes[class(took)] += answers.len() as u64;
    }

    /// Orders that did not get to the cell, and why.
    pub(crate) fn turned_away(&self, code: &'static str, orders: usize) {
        *self.counts().totals.refused.entry(code).or_default() += orders as u64;
    }

    /// What came of all orders, and how long those of the last [`WINDOW_S`] took; none if there were none.
    pub(crate) fn now(&self) -> (Totals, Option<Latency>) {
        let number = self.began.elapsed().as_secs();
        let counts = self.counts();
        let mut classes = [0; CLASSES];
        for second in counts.seconds.iter().filter(|second| second.number + WINDOW_S > number) {
            classes.iter_mut().zip(second.classes).for_each(|(sum, count)| *sum += count);
        }
        (counts.totals.clone(), latency(&classes))
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn latency(classes: &[u64; CLASSES]) -> Option<Latency> {
    let all: u64 = classes.iter().sum();
    let at = |percent: u64| {
        let mut left = (all * percent).div_ceil(100);
        let found = classes.iter().position(|count| {
            let here = left <= *count;
            left = left.saturating_sub(*count);
            here
        });
        longest(found.unwrap_or(CLASSES - 1))
    };
    (all > 0).then(|| Latency { p50: at(50), p99: at(99) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_core::OrderRefusal;
    use pumasi_types::OrderId;

    #[test]
    fn every_latency_is_in_a_class_that_ends_behind_it() {
        for micros in (0..2_000).chain((11..36).map(|power| (1 << power) + 12_345)) {
            let took = Duration::from_micros(micros);
            let end = longest(class(took));
            assert!(
                class(took) == CLASSES - 1
                    || (end > took
                        && end <= took.max(Duration::from_micros(4)) * 5 / 4 + Duration::from_micros(1)),
                "{took:?}: {end:?}"
            );
        }
        assert_eq!(class(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn orders_are_counted_by_what_came_of_them() {
        let live = Live::new();
        assert_eq!(live.now(), (Totals::default(), None));
        let placed = OrderAnswer::Placed(OrderId(1));
        let refused = OrderAnswer::Refused(OrderRefusal::OwnArticle);
        live.answered(&[placed; 98], Duration::from_millis(1));
        live.answered(&[refused, placed], Duration::from_millis(100));
        live.turned_away("overloaded", 7);
        let (totals, latency) = live.now();
        assert_eq!(totals.placed, 99);
        assert_eq!(totals.refused.into_iter().collect::<Vec<_>>(), [("overloaded", 7), ("own_article", 1)]);
        let Latency { p50, p99 } = latency.unwrap();
        assert!(p50 < Duration::from_micros(1_300) && p99 > Duration::from_millis(100), "{p50:?} {p99:?}");
    }
}
