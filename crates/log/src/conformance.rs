//! The checks that every home of a log must pass.
//!
//! A home's own tests call [`suite`] with a way to make fresh, empty logs of it.

use pumasi_types::{Hash, Time};

use crate::{Entry, Head, Log, LogError, Seq};

/// One log somewhere, that can be opened again and again.
pub trait Home {
    /// Opens the log for writing with a new epoch, as a restarted or a second hub would.
    ///
    /// # Errors
    /// [`LogError::Locked`] is allowed as long as another handle is open; nothing else is.
    fn open(&mut self) -> Result<Box<dyn Log>, LogError>;
}

/// Runs all checks, each on a new log from `make`.
///
/// # Panics
/// When the home breaks a promise of [`Log`].
pub fn suite<H: Home>(mut make: impl FnMut() -> H) {
    empty_log(make());
    appends_and_reads(make());
    keeps_order_with_many_in_flight(make());
    reopens_with_a_newer_epoch(make());
    admits_one_writer(make());
    refuses_time_running_backwards(make());
    takes_every_size(make());
    trims(make());
    refuses_waiting_for_nothing(make());
}

fn open(home: &mut impl Home) -> Box<dyn Log> {
    home.open().unwrap_or_else(|error| panic!("the home must open: {error}"))
}

fn append(log: &mut dyn Log, time: u64, payload: &[u8]) -> Seq {
    let seq = log.submit(Time(time), payload).unwrap_or_else(|error| panic!("submit: {error}"));
    log.wait(seq).unwrap_or_else(|error| panic!("wait: {error}"));
    seq
}

fn entries(log: &dyn Log, from: Seq) -> Vec<Entry> {
    let entries = log.read(from).unwrap_or_else(|error| panic!("read: {error}"));
    entries.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("read: {error}"))
}

/// Checks that entries follow each other, and the last is the head.
fn check_chain(entries: &[Entry], log: &dyn Log) {
    for pair in entries.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.next());
        assert_eq!(pair[1].prev, pair[0].hash);
        assert!(pair[1].time >= pair[0].time && pair[1].epoch >= pair[0].epoch);
    }
    if let Some(last) = entries.last() {
        assert_eq!(last.head(), log.head());
    }
}

fn empty_log(mut home: impl Home) {
    let log = open(&mut home);
    assert_eq!(log.head(), Head::default());
    assert_eq!((log.first(), log.durable()), (Seq(1), Seq::ZERO));
    assert!(log.epoch().0 > 0, "0 is the epoch of nobody");
    assert!(entries(&*log, Seq::ZERO).is_empty());
    assert!(entries(&*log, Seq(1)).is_empty());
    assert!(entries(&*log, Seq(100)).is_empty());
}

fn appends_and_reads(mut home: impl Home) {
    let mut log = open(&mut home);
    for i in 1..=5u64 {
        let seq = append(&mut *log, 10 * i, format!("entry {i}").as_bytes());
        assert_eq!((seq, log.head().seq, log.durable()), (Seq(i), Seq(i), Seq(i)));
        assert_eq!(log.head().time, Time(10 * i));
    }
    let all = entries(&*log, Seq::ZERO);
    assert_eq!(all.len(), 5);
    assert_eq!((all[0].seq, all[0].prev), (Seq(1), Hash::ZERO));
    assert_eq!(all[2].payload, "entry 3");
    assert_eq!(all[4].epoch, log.epoch());
    check_chain(&all, &*log);
    assert_eq!(entries(&*log, Seq(4)), all[3..]);
}

fn keeps_order_with_many_in_flight(mut home: impl Home) {
    let mut log = open(&mut home);
    let mut last = Seq::ZERO;
    for i in 0..300u64 {
        let payload = i.to_le_bytes().repeat(1 + i as usize % 700);
        last = log.submit(Time(i / 7), &payload).unwrap_or_else(|error| panic!("submit: {error}"));
    }
    log.wait(last).unwrap_or_else(|error| panic!("wait: {error}"));
    assert_eq!(log.durable(), last);
    let all = entries(&*log, Seq(1));
    check_chain(&all, &*log);
    for (i, entry) in all.iter().enumerate() {
        assert_eq!(entry.payload[..8], (i as u64).to_le_bytes());
    }
    assert_eq!(all.len(), 300);
}

fn reopens_with_a_newer_epoch(mut home: impl Home) {
    let mut log = open(&mut home);
    append(&mut *log, 1, b"first");
    // Submitted and not waited for: an orderly end writes it out all the same.
    log.submit(Time(2), b"second").unwrap_or_else(|error| panic!("submit: {error}"));
    let (head, epoch) = (log.head(), log.epoch());
    drop(log);
    let mut log = open(&mut home);
    assert_eq!((log.head(), log.durable()), (head, Seq(2)));
    assert!(log.epoch() > epoch);
    append(&mut *log, 2, b"third");
    let all = entries(&*log, Seq(1));
    assert_eq!(
        all.iter().map(|entry| &entry.payload[..]).collect::<Vec<_>>(),
        [&b"first"[..], b"second", b"third"]
    );
    assert_eq!((all[1].epoch, all[2].epoch), (epoch, log.epoch()));
    check_chain(&all, &*log);
}

/// Compare and append: of two handles, only the newer may add entries.
fn admits_one_writer(mut home: impl Home) {
    let mut old = open(&mut home);
    append(&mut *old, 1, b"by the old one");
    let mut new = match home.open() {
        Ok(new) => new,
        Err(LogError::Locked { .. }) => {
            append(&mut *old, 2, b"still the only one");
            return;
        }
        Err(error) => panic!("a second opener is fenced out or fences the first: {error}"),
    };
    assert!(new.epoch() > old.epoch());
    append(&mut *new, 2, b"by the new one");
    let refused = old.submit(Time(3), b"too late").and_then(|seq| old.wait(seq));
    assert!(matches!(refused, Err(LogError::Fenced { .. })), "{refused:?}");
    append(&mut *new, 4, b"by the new one again");
    let all = entries(&*new, Seq(1));
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|entry| entry.payload != "too late"));
    check_chain(&all, &*new);
}

fn refuses_time_running_backwards(mut home: impl Home) {
    let mut log = open(&mut home);
    append(&mut *log, 7, b"a");
    let refused = log.submit(Time(6), b"b");
    assert!(matches!(refused, Err(LogError::TimeRunsBackwards { .. })), "{refused:?}");
    drop(log);
    let mut log = open(&mut home);
    let refused = log.submit(Time(6), b"b");
    assert!(matches!(refused, Err(LogError::TimeRunsBackwards { .. })), "{refused:?}");
    assert_eq!(append(&mut *log, 7, b"c"), Seq(2), "a refusal takes no place");
}

fn takes_every_size(mut home: impl Home) {
    let mut log = open(&mut home);
    let max = usize::try_from(log.payload_bytes_max()).unwrap_or(usize::MAX);
    let sizes = [0, 1, 3967, 3968, 3969, 4096, 100_000, 3 << 20, max.min(3 << 20)];
    let sizes: Vec<_> = sizes.into_iter().filter(|&size| size <= max).collect();
    for (i, &size) in sizes.iter().enumerate() {
        append(&mut *log, i as u64, &vec![i as u8 + 1; size]);
    }
    if max <= 64 << 20 {
        let refused = log.submit(Time(100), &vec![1; max + 1]);
        assert!(matches!(refused, Err(LogError::TooLarge { .. })), "{:?}", refused.is_ok());
    }
    append(&mut *log, 100, b"after a refusal");
    for (i, (entry, &size)) in entries(&*log, Seq(1)).iter().zip(&sizes).enumerate() {
        assert_eq!(entry.payload.len(), size);
        assert!(entry.payload.iter().all(|&byte| byte == i as u8 + 1));
    }
    check_chain(&entries(&*log, Seq(1)), &*log);
}

fn trims(mut home: impl Home) {
    let mut log = open(&mut home);
    for i in 1..=50u64 {
        append(&mut *log, i, &[i as u8; 3000]);
    }
    let all = entries(&*log, Seq(1));
    log.trim(Seq(30)).unwrap_or_else(|error| panic!("trim: {error}"));
    let first = log.first();
    assert!(first <= Seq(30), "{first} was to be kept");
    assert_eq!(entries(&*log, first), all[first.0 as usize - 1..]);
    if first > Seq(1) {
        let refused = log.read(Seq(first.0 - 1)).map(|_| ());
        assert!(matches!(refused, Err(LogError::Trimmed { .. })), "{refused:?}");
    }
    // More than there is: the position, time and hash of the last entry stay known.
    log.trim(Seq(1000)).unwrap_or_else(|error| panic!("trim: {error}"));
    let (first, head) = (log.first(), log.head());
    assert!(first <= head.seq.next());
    drop(log);
    let mut log = open(&mut home);
    assert_eq!((log.first(), log.head()), (first, head));
    assert_eq!(append(&mut *log, 50, b"next"), Seq(51));
    check_chain(&entries(&*log, first), &*log);
}

fn refuses_waiting_for_nothing(mut home: impl Home) {
    let mut log = open(&mut home);
    log.wait(Seq::ZERO).unwrap_or_else(|error| panic!("the empty log is durable: {error}"));
    let refused = log.wait(Seq(1));
    assert!(matches!(refused, Err(LogError::NotSubmitted { .. })), "{refused:?}");
}
