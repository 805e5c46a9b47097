//! Puts of bytes that the store had already take as long as puts of new ones, so that nobody learns from the time what others
//! keep.
//!
//! Putting known bytes ends sooner: there is nothing to write. So a put of which the store knew a part waits, from when
//! its last byte came, as long as a put of that length lately took that was all new. New bytes wait for nothing. What a
//! download brought lies here as a whole before it is put, as do many small blobs of one request or report: that is timed
//! from its beginning, by its length.
//!
//! Whatever comes of a put comes after [`Disguise::settle`]: a claim, a report, a file. Otherwise it could be asked for
//! meanwhile, or what is left to do would be done while known bytes wait, and after new ones were written.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pumasi_blobs::Tally;

/// Lengths that are told apart: by their number of bits. What is left to write at the end of longer puts is as much as
/// at the end of these.
const CLASSES: usize = 25;
/// Times that are remembered of each class.
const REMEMBERED: usize = 64;
/// What is supposed while there are none: a little disk's time, and 100 MB/s.
const SUPPOSED: Duration = Duration::from_millis(15);
const SUPPOSED_PER_BYTE: Duration = Duration::from_nanos(10);
/// A blob takes as long as so many bytes, besides its own: its entry in the index.
const BLOB: u64 = 1 << 10;

/// How long puts of new bytes took lately, from their last byte on.
#[derive(Debug)]
pub(crate) struct Disguise {
    recent: Mutex<Vec<Recent>>,
    /// Whether long puts take longer the longer they are, because their bytes are all here when they begin.
    grows: bool,
}

#[derive(Clone, Debug, Default)]
struct Recent {
    /// Lengths, and how long they took.
    times: Vec<(u64, Duration)>,
    /// Which is replaced next.
    next: usize,
}

impl Disguise {
    /// Of puts that end soon after their last byte came.
    pub(crate) fn of_coming() -> Disguise {
        Disguise { recent: Mutex::new(vec![Recent::default(); CLASSES]), grows: false }
    }

    /// Of puts of what is here when they begin.
    pub(crate) fn of_whole() -> Disguise {
        Disguise { grows: true, ..Disguise::of_coming() }
    }

    /// Waits until a put of new bytes would be over; remembers how long that took if it was one.
    pub(crate) async fn settle(&self, last: &LastByte, put: &Tally) {
        let since = last.get();
        let random = getrandom::u32().unwrap_or_default();
        if let Some(usual) = self.wait(put, since.elapsed(), random) {
            tokio::time::sleep_until((since + usual).into()).await;
        }
    }

    /// How long a put takes that has taken so long by itself, or none if it waits for nothing: then that is remembered.
    fn wait(&self, put: &Tally, took: Duration, random: u32) -> Option<Duration> {
        // The empty blob is nobody's secret, and how soon it is put says nothing of others.
        if put.bytes == 0 {
            return None;
        }
        let length = put.bytes.saturating_add(put.blobs.saturating_mul(BLOB));
        // The lists of the chunks of a long blob are new bytes, too.
        if put.new_bytes < put.bytes {
            return Some(self.usual(length, random));
        }
        self.remember(length, took);
        None
    }

    fn remember(&self, bytes: u64, took: Duration) {
        let mut classes = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = &mut classes[class(bytes)];
        match recent.times.get_mut(recent.next) {
            Some(time) => *time = (bytes, took),
            None => recent.times.push((bytes, took)),
        }
        recent.next = (recent.next + 1) % REMEMBERED;
    }

    /// How long one of the last puts of about this length took that were all new, whichever `random` says.
    fn usual(&self, bytes: u64, random: u32) -> Duration {
        let classes = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let class = class(bytes);
        // Those of a neighbouring length are better than none.
        let near = [class, class.saturating_sub(1), (class + 1).min(CLASSES - 1)];
        let known = near.iter().map(|class| &classes[*class].times).find(|times| !times.is_empty());
        let (length, took) = match known {
            Some(times) => times[random as usize % times.len()],
            None => (1 << class, SUPPOSED + SUPPOSED_PER_BYTE * (1_u32 << class)),
        };
        let is_long = class == CLASSES - 1;
        if self.grows && is_long { took.mul_f64(bytes as f64 / length as f64) } else { took }
    }
}

/// The number of bits of a length.
fn class(bytes: u64) -> usize {
    ((u64::BITS - bytes.leading_zeros()) as usize).min(CLASSES - 1)
}

/// When the last byte of a body came.
#[derive(Clone, Debug)]
pub(crate) struct LastByte(Arc<Mutex<Instant>>);

impl LastByte {
    /// A body that is there as a whole.
    pub(crate) fn now() -> LastByte {
        LastByte(Arc::new(Mutex::new(Instant::now())))
    }

    /// The body, and when its last piece so far came.
    pub(crate) fn of<S>(body: S) -> (Timed<S>, LastByte) {
        let last = LastByte::now();
        (Timed { body: Box::pin(body), last: last.clone() }, last)
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body whose pieces are timed.
pub(crate) struct Timed<S> {
    body: Pin<Box<S>>,
    last: LastByte,
}

impl<S: Stream<Item = Result<Bytes, E>>, E> Stream for Timed<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let polled = self.body.poll_next_unpin(cx);
        if matches!(polled, Poll::Ready(Some(_))) {
            *self.last.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn known_bytes_take_as_long_as_new_ones_and_new_ones_no_longer_than_they_do() {
        let disguise = Disguise::of_coming();
        let known = Tally { blobs: 1, bytes: 5_000, new_bytes: 4_096 };
        let begun = Instant::now();
        disguise.settle(&LastByte::now(), &known).await;
        assert!(begun.elapsed() >= SUPPOSED, "even before anything new was put");
        let new = Tally { new_bytes: 5_000, ..known };
        for took in [40, 60].map(Duration::from_millis) {
            assert_eq!(disguise.wait(&new, took, 0), None, "it waits for nothing");
        }
        let times = [0, 1, 2].map(|random| disguise.wait(&known, Duration::ZERO, random));
        assert_eq!(
            times,
            [40, 60, 40].map(|millis| Some(Duration::from_millis(millis))),
            "as varied as those"
        );
    }

    #[test]
    fn only_the_latest_times_count_and_each_length_has_its_own() {
        let disguise = Disguise::of_coming();
        for millis in 0..200 {
            disguise.remember(100, Duration::from_millis(millis));
        }
        disguise.remember(1 << 40, Duration::from_secs(9));
        let all: Vec<Duration> = (0..500).map(|random| disguise.usual(100, random)).collect();
        assert_eq!(all.iter().min(), Some(&Duration::from_millis(200 - REMEMBERED as u64)));
        assert_eq!(all.iter().max(), Some(&Duration::from_millis(199)));
        assert_eq!(disguise.usual(1 << 30, 7), Duration::from_secs(9), "the ends of long puts are alike");
        assert!(disguise.usual(1 << 15, 0) < Duration::from_secs(1));
    }

    #[test]
    fn many_small_blobs_take_longer_than_one_of_their_length() {
        let disguise = Disguise::of_whole();
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(30));
        let one = Tally { blobs: 1, bytes: 100_000, new_bytes: 100_000 };
        let many = Tally { blobs: 1_000, ..one };
        assert_eq!([disguise.wait(&one, short, 0), disguise.wait(&many, long, 0)], [None, None]);
        let known = |put: Tally| disguise.wait(&Tally { new_bytes: 99_900, ..put }, Duration::ZERO, 0);
        assert_eq!([known(one), known(many)], [Some(short), Some(long)]);
    }

    #[test]
    fn the_empty_blob_makes_no_others_look_quick() {
        let disguise = Disguise::of_coming();
        let empty = Tally { blobs: 1, bytes: 0, new_bytes: 0 };
        assert_eq!(disguise.wait(&empty, Duration::ZERO, 0), None);
        let known = disguise.wait(&Tally { bytes: 5, ..empty }, Duration::ZERO, 0);
        assert!(known.is_some_and(|usual| usual >= SUPPOSED), "{known:?}");
    }

    #[test]
    fn what_is_here_when_it_begins_takes_as_long_as_it_is() {
        let disguise = Disguise::of_whole();
        let supposed = |bytes: u32| SUPPOSED + SUPPOSED_PER_BYTE * bytes;
        assert_eq!(disguise.usual(3 << 24, 0), supposed(1 << 24) * 3);
        assert_eq!(disguise.usual(1_000, 0), supposed(1_024), "short ones wait for the disk");
        disguise.remember(1 << 28, Duration::from_secs(2));
        assert_eq!(disguise.usual(1 << 29, 0), Duration::from_secs(4));
        assert_eq!(disguise.usual(1 << 40, 0), Duration::from_secs(2 << 12));
    }
}
