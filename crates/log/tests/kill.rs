//! A killed writer loses nothing that it acknowledged.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::*;
use pumasi_log::{FileLog, Log, Seq, verify};
use pumasi_types::Time;

const KILLS: u64 = 24;

/// Appends for ever and prints each entry when it is durable; run in a process of its own.
#[test]
#[ignore = "nothing_acknowledged_is_lost runs it in a process of its own, and kills it"]
fn child() {
    let dir = std::env::var("PUMASI_LOG_TEST_DIR").unwrap();
    let mut log = FileLog::open(Path::new(&dir), options(300_000)).unwrap().log;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nopened").unwrap();
    loop {
        let seq = log.head().seq.next().0;
        // Some alone, some several in flight.
        let last = (seq..=seq + seq % 5).fold(Seq(0), |_, seq| {
            log.submit(Time(seq), &payload(seq, (seq as usize * 577) % 30_000)).unwrap()
        });
        log.wait(last).unwrap();
        writeln!(out, "{last}").unwrap();
        if seq.is_multiple_of(97) && seq > 200 {
            log.trim(Seq(seq - 200)).unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut cuts, mut epoch) = (0, 0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("PUMASI_LOG_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.by_ref().find(|line| line == "opened").expect("the child opens the log");
        // Moments spread over opening, rolling and zeroing.
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_micros((round * 7919) % 60_000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in lines {
            if let Ok(seq) = line.parse::<u64>() {
                acknowledged = seq;
            }
        }
        killer.join().unwrap();
        let report = verify(dir.path()).unwrap();
        assert!(report.is_sound(), "round {round}: {:?}", report.problems);
        if round % 3 == 2 {
            // The others are recovered by the next child.
            let opened = FileLog::open(dir.path(), options(300_000)).unwrap();
            cuts += opened.notes.len();
            let log = opened.log;
            assert!(log.epoch().0 > epoch);
            epoch = log.epoch().0;
            assert!(log.head().seq.0 >= acknowledged, "round {round}: {acknowledged} was acknowledged");
            for entry in entries(&log, log.first()).unwrap() {
                let seq = entry.seq.0;
                assert_eq!(entry.payload, payload(seq, (seq as usize * 577) % 30_000));
            }
        }
    }
    assert!(acknowledged > 100, "the children got something done: {acknowledged}, {cuts} tails cut");
}
