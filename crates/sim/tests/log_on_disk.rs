//! The real log on a simulated disk: what it confirmed survives everything that a disk may do.
//!
//! `PUMASI_DISK_SEEDS=FIRST..END cargo test -p pumasi-sim --test log_on_disk` tells other stories.

mod common;

use std::path::{Path, PathBuf};

use common::{Dice, faults, seeds};
use pumasi_log::conformance::{self, Home};
use pumasi_log::{Entry, Epoch, FileLog, FileLogOptions, Log, LogError, Note, Seq, verify_on};
use pumasi_sim::disk::{FaultCounts, Faults, SimDisk};
use pumasi_types::{CellId, Time};

const DIR: &str = "/cell/log";

fn options(segment_bytes: u64) -> FileLogOptions {
    FileLogOptions { segment_bytes, background: false, ..FileLogOptions::new(CellId(3)) }
}

struct Simulated {
    disk: std::sync::Arc<dyn pumasi_log::Disk>,
    options: FileLogOptions,
}

impl Home for Simulated {
    fn open(&mut self) -> Result<Box<dyn Log>, LogError> {
        let opened = FileLog::open_on(self.disk.clone(), Path::new(DIR), self.options.clone())?;
        assert!(opened.notes.is_empty(), "{:?}", opened.notes);
        Ok(Box::new(opened.log))
    }
}

#[test]
fn the_log_conforms() {
    for (segment_bytes, background) in [(64 << 20, false), (10_000, false), (10_000, true)] {
        let options = FileLogOptions { background, ..options(segment_bytes) };
        conformance::suite(|| Simulated { disk: SimDisk::new(1).process(), options: options.clone() });
    }
}

/// A log, what it was given, and what it has confirmed.
struct Story {
    dice: Dice,
    disk: SimDisk,
    faults: Faults,
    options: FileLogOptions,
    log: Option<FileLog>,
    /// The payload of every entry.
    given: Vec<Vec<u8>>,
    /// How many of them it has confirmed; before the last write too.
    confirmed: u64,
    confirmed_before: u64,
    epoch: Epoch,
    life: u64,
    /// Nothing before may be asked for.
    trimmed: u64,
    /// Which file rotted, and where.
    rotten: Option<(PathBuf, u64)>,
    /// Whether a rotten end was cut or refused, which ends the story.
    over: bool,
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut dice = Dice(seed);
        let most = if dice.below(2) == 0 { 8 } else { 60 };
        let segment_bytes = 4096 * (2 + dice.below(most));
        Story {
            disk: SimDisk::new(seed),
            faults: if dice.below(4) == 0 { Faults::default() } else { faults(&mut dice) },
            dice,
            options: options(segment_bytes),
            log: None,
            given: Vec::new(),
            confirmed: 0,
            confirmed_before: 0,
            epoch: Epoch(0),
            life: 0,
            trimmed: 0,
            rotten: None,
            over: false,
        }
    }

    /// Tells the whole story; returns the disk's trace and what it did to the log.
    fn tell(mut self) -> (u64, FaultCounts) {
        for _ in 0..3 + self.dice.below(6) {
            self.live();
            if self.over {
                break;
            }
        }
        if !self.over {
            self.end();
        }
        (self.disk.trace(), self.disk.counts())
    }

    /// One life of a process: it opens the log, works, and ends in some way.
    fn live(&mut self) {
        self.disk.set_faults(self.faults);
        self.life = self.disk.life();
        match self.dice.below(8) {
            0 | 1 => self.disk.crash_in(1 + self.dice.below(25)),
            2 => self.disk.kill_in(1 + self.dice.below(25)),
            _ => {}
        }
        self.open();
        for _ in 0..self.dice.below(40) {
            if self.log.is_none() || self.over {
                break;
            }
            self.act();
        }
        match self.dice.below(4) {
            0 => self.disk.kill(),
            1 => self.disk.crash(),
            // An orderly end, as far as the disk permits.
            _ => self.log = None,
        }
        self.log = None;
        if !self.disk.is_off() && self.dice.below(3) == 0 {
            self.disk.crash();
        }
        self.disk.reboot();
        if self.dice.below(2) == 0 {
            self.disk.set_free(None);
        }
        if self.rotten.is_none() && self.dice.below(12) == 0 {
            self.rot();
        }
    }

    fn rot(&mut self) {
        let files = self.disk.files();
        if files.is_empty() {
            return;
        }
        let (path, bytes) = &files[self.dice.below(files.len() as u64) as usize];
        // Where something is, rather than in the empty room behind it.
        let range = 0..if self.dice.below(2) == 0 { *bytes } else { (*bytes).min(40_000) };
        self.rotten = self.disk.rot(path, range).map(|at| (path.clone(), at));
    }

    /// Opens the log and checks that what it confirmed is there.
    fn open(&mut self) {
        let opened = match FileLog::open_on(self.disk.process(), Path::new(DIR), self.options.clone()) {
            Ok(opened) => opened,
            Err(error) => return self.check_refusal(&error),
        };
        let log = opened.log;
        let head = log.head().seq.0;
        for Note::TailCut { seq, .. } in &opened.notes {
            assert_eq!(seq.0, head + 1);
        }
        if head < self.confirmed {
            // The last write of all, rotten, looks like one that was never finished: it is cut, and noted.
            let (path, _) = self
                .rotten
                .as_ref()
                .unwrap_or_else(|| panic!("{} was confirmed, {head} is there", self.confirmed));
            assert!(path.extension().is_some_and(|extension| extension == "log"), "{}", path.display());
            let cut = format!("{DIR}/cut-{}-", head + 1);
            let kept = self.disk.files().iter().any(|(path, _)| path.to_string_lossy().starts_with(&cut));
            assert!(kept, "the opening that cut it may have failed, but its remains are kept");
            assert!(head >= self.confirmed_before, "an earlier write was cut");
        }
        assert!(log.epoch() > self.epoch, "{:?} after {:?}", log.epoch(), self.epoch);
        assert!(head <= self.given.len() as u64, "nobody submitted {head}");
        self.epoch = log.epoch();
        self.given.truncate(head as usize);
        (self.confirmed, self.confirmed_before) = (head, head);
        self.log = Some(log);
        self.read();
    }

    /// Checks that an opening may fail like this.
    fn check_refusal(&mut self, error: &LogError) {
        match error {
            LogError::Io { .. } | LogError::DiskFull { .. } => {
                if self.disk.life() != self.life {
                    return;
                }
                // With a disk that works it must open.
                assert!(self.faults != Faults::default() || self.disk.counts().full > 0, "{error}");
            }
            LogError::Damaged(damage) => {
                let (path, at) =
                    self.rotten.as_ref().unwrap_or_else(|| panic!("nothing rotted, but {error}"));
                assert_eq!(&damage.segment, path, "{error}");
                assert!(damage.offset <= *at, "byte {at} is rotten: {error}");
                self.over = true;
            }
            other => panic!("{other}"),
        }
    }

    fn act(&mut self) {
        let log = self.log.as_mut().expect("the caller looked");
        match self.dice.below(21) {
            0..10 => self.submit(),
            10..15 => {
                let seq = Seq(self.dice.below(self.given.len() as u64 + 1));
                self.wait(seq);
            }
            15 => {
                let before = self.dice.below(self.given.len() as u64 + 2);
                match log.trim(Seq(before)) {
                    Ok(()) => {}
                    Err(error) => self.check_error(&error),
                }
                self.trimmed = self.trimmed.max(before);
            }
            16 => self.read(),
            17 => self.disk.set_free(Some(self.dice.below(10) * 8192)),
            18 => self.disk.set_free(None),
            19 => self.disk.crash_in(1 + self.dice.below(15)),
            _ => self.disk.kill_in(1 + self.dice.below(15)),
        }
    }

    fn submit(&mut self) {
        let log = self.log.as_mut().expect("the caller looked");
        let most = [300, 4200, 20_000][self.dice.below(3) as usize].min(log.payload_bytes_max() + 1);
        let payload: Vec<u8> = {
            let (bytes, first) = (self.dice.below(most), self.dice.below(255));
            (0..bytes).map(|i| ((first + i) % 255 + 1) as u8).collect()
        };
        let (head, time) = (log.head(), Time(log.head().time.0 + self.dice.below(3)));
        match log.submit(time, &payload) {
            Ok(seq) => {
                assert_eq!(seq, head.seq.next());
                self.given.push(payload);
            }
            Err(LogError::DiskFull { .. }) => {
                assert_eq!(log.head(), head, "a refusal takes no place");
                assert!(self.disk.counts().full > 0);
            }
            Err(error) => self.check_error(&error),
        }
    }

    fn wait(&mut self, seq: Seq) {
        let log = self.log.as_mut().expect("the caller looked");
        let before = log.durable();
        match log.wait(seq) {
            Ok(()) => {
                let durable = log.durable();
                assert!(durable >= seq);
                if durable > before {
                    (self.confirmed, self.confirmed_before) = (durable.0, before.0);
                }
            }
            Err(error) => {
                self.check_error(&error);
                self.check_stopped();
            }
        }
    }

    /// Once stopped, the log stays stopped, and what it confirmed stays confirmed.
    fn check_stopped(&mut self) {
        let log = self.log.as_mut().expect("the caller looked");
        let durable = log.durable();
        self.confirmed = self.confirmed.max(durable.0);
        for _ in 0..2 {
            let time = log.head().time;
            let refused = log.submit(time, b"too late").map(|_| ());
            assert!(matches!(&refused, Err(LogError::Stopped { durable: at, .. }) if *at == durable));
            let refused = log.wait(durable.next());
            assert!(matches!(&refused, Err(LogError::Stopped { durable: at, .. }) if *at == durable));
            assert!(log.trim(Seq(1)).is_err());
            assert!(log.wait(durable).is_ok(), "what was durable still is");
        }
    }

    /// Reads everything that is there.
    fn read(&mut self) {
        let log = self.log.as_ref().expect("the caller looked");
        let first = log.first();
        assert!(first.0 <= self.trimmed.max(1), "{first} is the first, but nobody trimmed that");
        let entries: Vec<Result<Entry, LogError>> = match log.read(first) {
            Ok(entries) => entries.collect(),
            Err(error) => panic!("{error}"),
        };
        let mut before: Option<Entry> = None;
        for (place, entry) in entries.into_iter().enumerate() {
            match entry {
                Ok(entry) => {
                    assert_eq!(entry.seq.0, first.0 + place as u64);
                    assert!(
                        entry.payload == self.given[entry.seq.0 as usize - 1],
                        "{} is another",
                        entry.seq
                    );
                    if let Some(before) = before {
                        assert_eq!(entry.prev, before.hash);
                        assert!(entry.time >= before.time && entry.epoch >= before.epoch);
                    }
                    before = Some(entry);
                }
                Err(error) => {
                    self.check_error(&error);
                    return;
                }
            }
        }
        let last = before.map_or(first.0 - 1, |entry| entry.seq.0);
        assert_eq!(last, log.durable().0, "all that is durable can be read");
    }

    /// Checks that an operation of an open log may fail like this.
    fn check_error(&mut self, error: &LogError) {
        match error {
            LogError::Stopped { source, .. } => self.check_error(source),
            LogError::Io { .. } | LogError::DiskFull { .. } => {
                let excused = self.disk.life() != self.life || self.faults != Faults::default();
                assert!(excused || self.disk.counts().full > 0, "{error}");
            }
            LogError::Damaged(_) => self.check_refusal(error),
            other => panic!("{other}"),
        }
    }

    /// In the end the disk works, and the log opens, takes an entry and is sound.
    fn end(&mut self) {
        self.disk.reboot();
        self.disk.set_faults(Faults::default());
        self.disk.set_free(None);
        self.faults = Faults::default();
        self.life = self.disk.life();
        self.open();
        if self.over {
            return;
        }
        let log = self.log.as_mut().expect("it must open");
        let seq = log.submit(log.head().time, b"the end").and_then(|seq| log.wait(seq).map(|()| seq));
        assert_eq!(seq.unwrap(), Seq(self.given.len() as u64 + 1));
        self.given.push(b"the end".to_vec());
        self.read();
        self.log = None;
        let report = verify_on(self.disk.process(), Path::new(DIR)).unwrap();
        match &self.rotten {
            None => assert!(report.is_sound(), "{:?}", report.problems),
            Some((path, _)) => {
                for problem in &report.problems {
                    assert!(
                        matches!(problem, LogError::Damaged(damage) if damage.segment == *path),
                        "{problem}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_was_confirmed_survives_everything() {
    let mut counts = FaultCounts::default();
    for seed in seeds(0..3000) {
        let told = std::panic::catch_unwind(|| Story::new(seed).tell());
        let Ok((trace, faults)) = told else {
            panic!("PUMASI_DISK_SEEDS={seed}..{} tells the story that failed", seed + 1);
        };
        counts += faults;
        if seed % 16 == 0 {
            assert_eq!(Story::new(seed).tell(), (trace, faults), "seed {seed}: twice the same story");
        }
    }
    println!("{counts:?}");
    if std::env::var_os("PUMASI_DISK_SEEDS").is_none() {
        // The log writes no page twice between syncs.
        for (kind, count) in counts.iter().filter(|(kind, _)| *kind != "pages_outdated") {
            assert!(count > 0, "no {kind}");
        }
    }
}

/// A log of five segments, of which entries 1 to 10 each fill a third.
fn five_segments() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096)).unwrap().log;
    for seq in 1..=10 {
        log.submit(Time(seq), &[seq as u8; 100]).unwrap();
        log.wait(Seq(seq)).unwrap();
    }
    drop(log);
    disk
}

/// Whatever stops a trim, and whatever stops the opening after it, the log opens and has what was kept.
#[test]
fn a_trim_may_stop_anywhere() {
    let full = five_segments();
    for seed in 0..4000 {
        let (disk, mut dice) = (full.copy(seed), Dice(seed));
        let opened = FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096));
        let mut log = opened.unwrap().log;
        disk.kill_in(1 + dice.below(14));
        let _ = log.trim(Seq(8));
        drop(log);
        disk.crash_in(1 + dice.below(30));
        drop(FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096)));
        disk.crash();
        disk.reboot();
        let log = FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096));
        let log = log.unwrap_or_else(|error| panic!("seed {seed}: {error}")).log;
        assert!(log.first() <= Seq(8) && log.head().seq == Seq(10));
        assert_eq!(log.read(Seq(8)).unwrap().map(Result::unwrap).count(), 3);
    }
}

/// A full disk refuses, and with room again all goes on; also when the room ends within an opening.
#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for free in 0..12 {
        let disk = five_segments();
        disk.set_free(Some(free * 4096));
        let opened = FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096));
        if free == 0 {
            // The mark needs one block.
            assert!(matches!(opened, Err(LogError::DiskFull { .. })));
        } else {
            let mut log = opened.unwrap().log;
            let refused = loop {
                let head = log.head();
                match log.submit(Time(10), b"more") {
                    Ok(seq) => log.wait(seq).unwrap(),
                    Err(error) => break (error, head),
                }
            };
            assert!(
                matches!(refused, (LogError::DiskFull { .. }, head) if head == log.head()),
                "{refused:?}"
            );
            log.trim(Seq(5)).unwrap_or_else(|error| panic!("{free} blocks free: {error}"));
            let seq = log.submit(Time(10), b"after the trim").unwrap();
            log.wait(seq).unwrap();
        }
        disk.set_free(None);
        let mut log = FileLog::open_on(disk.process(), Path::new(DIR), options(3 * 4096)).unwrap().log;
        let seq = log.submit(Time(11), b"with room").unwrap();
        log.wait(seq).unwrap();
        assert!(verify_on(disk.process(), Path::new(DIR)).unwrap().is_sound());
    }
}
