//! Torn tails are cut and kept; damage to what was acknowledged is named and stops the log.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use pumasi_log::format::{BLOCK, ENTRY_HEADER, Mark, seal_entry};
use pumasi_log::{Damage, FileLog, Log, LogError, Note, Seq, show, verify};
use pumasi_types::CellId;

const SIZES: [usize; 5] = [10, 4000, 0, 9000, 9500];

fn damage(result: Result<impl Sized, LogError>) -> Damage {
    match result {
        Err(LogError::Damaged(damage)) => *damage,
        Err(other) => panic!("expected damage, got: {other}"),
        Ok(_) => panic!("expected damage, it opened"),
    }
}

/// Tears the last entry in all ways that `tear` knows and checks that it alone is cut.
fn torn(tear: impl Fn(&Path, u64, u64)) {
    let image = crashed(&SIZES, 1 << 17);
    let segment = segments(image.path()).remove(0);
    let (offset, last) = places(&segment).pop().unwrap();
    let content = ENTRY_HEADER as u64 + u64::from(last.payload_bytes);
    for step in (0..=last.stored_bytes()).step_by(512) {
        let copied = crash_image(image.path());
        let segment = segments(copied.path()).remove(0);
        tear(&segment, offset, step);
        let left = segment_bytes_from(&segment, offset);
        let whole = left[..content as usize]
            == segment_bytes_from(&segments(image.path())[0], offset)[..content as usize];
        let report = verify(copied.path()).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.entries, if whole { 5 } else { 4 });
        let notes = check_recovers(copied.path(), &SIZES, if whole { 5 } else { 4 });
        let anything_left = !whole && left.iter().any(|&byte| byte != 0);
        assert_eq!(notes.len(), usize::from(anything_left), "step {step}: {notes:?}");
        assert_eq!(report.tail.is_some(), anything_left);
        if let Some(Note::TailCut { offset: at, seq, bytes, saved, .. }) = notes.first() {
            assert_eq!((*at, *seq), (offset, Seq(5)));
            let kept = fs::read(saved).unwrap();
            assert_eq!(kept.len() as u64, *bytes);
            assert_eq!(kept, left[..kept.len()]);
            assert!(left[kept.len()..].iter().all(|&byte| byte == 0), "nothing was thrown away");
            assert!(notes[0].to_string().contains("never acknowledged"));
        }
    }
}

/// What the segment holds from `offset` on, zeros beyond its end.
fn segment_bytes_from(path: &Path, offset: u64) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(1 << 17, 0);
    bytes.split_off(offset as usize)
}

#[test]
fn an_entry_written_only_up_to_some_sector_is_cut() {
    torn(|segment, offset, step| write_at(segment, offset + step, &vec![0; (12288 - step) as usize]));
}

#[test]
fn an_entry_written_only_from_some_sector_is_cut() {
    torn(|segment, offset, step| write_at(segment, offset, &vec![0; step as usize]));
}

#[test]
fn a_file_that_ends_within_the_last_entry_is_cut() {
    torn(|segment, offset, step| truncate(segment, offset + step));
}

#[test]
fn a_flipped_bit_in_the_last_entry_of_a_crash_is_cut() {
    let image = crashed(&SIZES, 1 << 17);
    let (offset, _) = places(&segments(image.path())[0]).pop().unwrap();
    for at in [0, 5, 36, 100, 119, 127, 128, 5000, 9627, 9628, 12287] {
        let copied = crash_image(image.path());
        flip_bit(&segments(copied.path())[0], offset + at, 3);
        let notes = check_recovers(copied.path(), &SIZES, 4);
        assert_eq!(notes.len(), 1, "at {at}");
    }
}

#[test]
fn a_flipped_bit_in_the_last_entry_after_an_orderly_end_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()).unwrap().log, &SIZES);
    let segment = segments(dir.path()).remove(0);
    let (offset, _) = places(&segment).pop().unwrap();
    flip_bit(&segment, offset + 200, 0);
    let found = damage(open(dir.path()));
    assert_eq!((found.offset, found.seq), (offset, Seq(5)));
    assert!(found.found.contains("'mark' says that entry 5 was durable"), "{found}");
    assert_eq!(verify(dir.path()).unwrap().problems.len(), 1);
}

#[test]
fn a_flipped_bit_in_the_middle_stops_the_log_and_is_named() {
    let image = crashed(&SIZES, 1 << 17);
    let before = fs::read(&segments(image.path())[0]).unwrap();
    let (offset, entry) = places(&segments(image.path())[0])[3].clone();
    let header = 0..ENTRY_HEADER as u64;
    for at in header.chain((128..entry.stored_bytes()).step_by(97)) {
        let copied = crash_image(image.path());
        let segment = segments(copied.path()).remove(0);
        flip_bit(&segment, offset + at, (at % 8) as u8);
        let found = damage(open(copied.path()));
        assert_eq!((&found.segment, found.offset, found.seq), (&segment, offset, Seq(4)), "at {at}: {found}");
        assert!(found.expected != found.found);
        let report = verify(copied.path()).unwrap();
        assert_eq!(report.entries, 4, "the scan goes on behind the damage");
        assert_eq!(report.last.unwrap().seq, Seq(5));
        let problems: Vec<_> = report.problems.iter().map(LogError::to_string).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let place = format!("{} is damaged at byte {offset} (entry 4)", segment.display());
        assert!(problems[0].contains(&place) && problems[0].contains("restore this file"), "{problems:?}");
        flip_bit(&segment, offset + at, (at % 8) as u8);
        assert_eq!(fs::read(&segment).unwrap(), before, "refusing changes nothing");
    }
}

#[test]
fn damage_in_an_older_segment_is_found_when_it_is_read() {
    let image = crashed(&[3000; 12], 5 * BLOCK);
    assert_eq!(segments(image.path()).len(), 3);
    let segment = segments(image.path()).remove(1);
    for (place, at) in [(0, 300), (3, 4095)] {
        let copied = crash_image(image.path());
        let segment = copied.path().join(segment.file_name().unwrap());
        let offset = places(&segment)[place].0;
        flip_bit(&segment, offset + at, 7);
        let log = open(copied.path()).unwrap().log;
        let found = damage(entries(&log, Seq(1)));
        assert_eq!((&found.segment, found.offset, found.seq), (&segment, offset, Seq(5 + place as u64)));
        assert_eq!(entries(&log, Seq(9)).unwrap().len(), 4, "later segments can still be read");
        let read: Vec<_> = show(copied.path(), Seq(1)).unwrap().collect();
        assert_eq!(read.len(), 5 + place, "as far as it is good, then the error");
        assert!(read.last().unwrap().is_err());
        let report = verify(copied.path()).unwrap();
        assert_eq!((report.problems.len(), report.entries), (1, 11));
    }
}

#[test]
fn a_damaged_segment_header_is_named() {
    let image = crashed(&SIZES, 1 << 17);
    for at in [0, 9, 20, 90, 4000, 4090] {
        let copied = crash_image(image.path());
        let segment = segments(copied.path()).remove(0);
        flip_bit(&segment, at, 1);
        let found = damage(open(copied.path()));
        assert_eq!((&found.segment, found.offset), (&segment, 0));
        assert_eq!(verify(copied.path()).unwrap().problems.len(), 1);
    }
    truncate(&segments(image.path())[0], 1000);
    assert!(damage(open(image.path())).found.contains("1000 bytes"));
}

/// Makes all entries from `first` on one write, as a group commit does.
fn join(segment: &Path, first: usize) {
    let key = segment_header(segment).key;
    let places = places(segment);
    for (offset, _) in &places[first..] {
        let mut bytes = read_at(segment, *offset, ENTRY_HEADER);
        seal_entry(&mut bytes, places[first].1.head.seq, &key);
        write_at(segment, *offset, &bytes);
    }
}

#[test]
fn a_torn_joined_write_is_cut_from_its_first_hole_on() {
    let image = crashed(&SIZES, 1 << 17);
    let segment = segments(image.path()).remove(0);
    join(&segment, 2);
    let (offset, _) = places(&segment)[3];
    write_at(&segment, offset, &[0; 4096]);
    assert_eq!(verify(image.path()).unwrap().problems.len(), 0);
    let notes = check_recovers(image.path(), &SIZES, 3);
    let [Note::TailCut { seq, bytes, .. }] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((*seq, *bytes), (Seq(4), 6 * BLOCK), "the entry behind the hole goes with it");
}

#[test]
fn a_payload_that_imitates_an_entry_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap().log;
    fill(&mut log, &SIZES);
    // An attacker's own log, whose bytes are stored as a payload so that they fall on block boundaries.
    let other = crashed(&[10; 20], 1 << 20);
    let mut forged = vec![1; 4096 - ENTRY_HEADER];
    forged.extend(read_at(&segments(other.path())[0], 6 * BLOCK, 15 * BLOCK as usize));
    log.submit(log.head().time, &forged).unwrap();
    log.wait(Seq(6)).unwrap();
    let image = crash_image(dir.path());
    let segment = segments(image.path()).remove(0);
    flip_bit(&segment, places(&segment)[5].0 + 50, 0);
    assert_eq!(check_recovers(image.path(), &SIZES, 5).len(), 1);
}

#[test]
fn a_missing_segment_is_named() {
    let image = crashed(&[3000; 12], 5 * BLOCK);
    for (gone, seq) in [(0, 1), (1, 8)] {
        let copied = crash_image(image.path());
        fs::remove_file(&segments(copied.path())[gone]).unwrap();
        let Err(LogError::MissingSegment { seq: found, .. }) = open(copied.path()).map(|_| ()) else {
            panic!("segment {gone} is missing");
        };
        assert_eq!(found, Seq(seq));
        assert_eq!(verify(copied.path()).unwrap().problems.len(), 1);
    }
    // The newest: only an orderly end knows that it must be there.
    drop(open(image.path()).unwrap());
    fs::remove_file(&segments(image.path())[2]).unwrap();
    assert!(damage(open(image.path())).found.contains("entry 12 was durable"));
    for segment in segments(image.path()) {
        fs::remove_file(segment).unwrap();
    }
    assert!(matches!(open(image.path()).map(|_| ()), Err(LogError::MissingSegment { .. })));
}

#[test]
fn swapped_and_foreign_files_are_named() {
    let image = crashed(&[3000; 12], 5 * BLOCK);
    let names = segments(image.path());
    let aside = image.path().join("aside");
    fs::rename(&names[0], &aside).unwrap();
    fs::rename(&names[1], &names[0]).unwrap();
    fs::rename(&aside, &names[1]).unwrap();
    assert!(damage(open(image.path())).found.contains("renamed or swapped"));

    let image = crashed(&SIZES, 1 << 17);
    let other = pumasi_log::FileLogOptions { cell: CellId(10), ..options(1 << 20) };
    for with_mark in [true, false] {
        if !with_mark {
            fs::remove_file(image.path().join("mark")).unwrap();
        }
        let refused = FileLog::open(image.path(), other.clone()).map(|_| ());
        let Err(LogError::ForeignCell { expected: CellId(10), found: CELL, .. }) = refused else {
            panic!("{refused:?}");
        };
    }
    // A segment of another log of the same cell, put in the place of a real one.
    let (one, two) = (crashed(&[3000; 12], 5 * BLOCK), crashed(&[2000; 12], 5 * BLOCK));
    fs::copy(&segments(two.path())[1], &segments(one.path())[1]).unwrap();
    let log = open(one.path()).unwrap().log;
    assert!(damage(entries(&log, Seq(1))).expected.contains("a segment that follows entry 4"));
}

#[test]
fn a_newer_format_is_not_touched() {
    let image = crashed(&SIZES, 1 << 17);
    let segment = segments(image.path()).remove(0);
    let mut block = read_at(&segment, 0, 4096);
    block[8] = 2;
    let hash = pumasi_types::Hash::of(&block[..4064]);
    block[4064..].copy_from_slice(hash.as_bytes());
    write_at(&segment, 0, &block);
    assert!(matches!(open(image.path()).map(|_| ()), Err(LogError::NewerFormat { found: 2, known: 1, .. })));
}

#[test]
fn a_lost_mark_is_recovered_and_a_damaged_one_named() {
    let image = crashed(&SIZES, 1 << 17);
    let epoch = open(image.path()).unwrap().log.epoch();
    let path = image.path().join("mark");
    flip_bit(&path, 20, 0);
    assert_eq!(damage(open(image.path())).segment, path);
    fs::remove_file(&path).unwrap();
    let opened = open(image.path()).unwrap();
    assert!(opened.log.epoch() >= epoch, "from the entries");
    assert_eq!(entries(&opened.log, Seq(1)).unwrap().len(), 5);
}

#[test]
fn verify_works_beside_a_hub_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap().log;
    fill(&mut log, &SIZES);
    let image = crash_image(dir.path());
    let listing = |dir: &Path| {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let before = listing(image.path());
    let report = verify(image.path()).unwrap();
    assert_eq!(listing(image.path()), before);
    assert!(report.is_sound() && report.tail.is_none());
    assert_eq!((report.entries, report.payload_bytes), (5, SIZES.iter().sum::<usize>() as u64));
    assert_eq!((report.first.unwrap().seq, report.last.unwrap()), (Seq(1), log.head()));
    assert_eq!((report.cell, report.epoch), (Some(CELL), Some(log.epoch())));
    assert_eq!((report.segments.len(), report.segments[0].used_bytes), (1, 11 * BLOCK));
    // Beside a busy writer: never a false alarm.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..40).for_each(|_| fill(&mut log, &[3000, 60_000, 100])));
        while !writer.is_finished() {
            let report = verify(dir.path()).unwrap();
            assert!(report.is_sound(), "{:?}", report.problems);
        }
    });
    assert_eq!(show(dir.path(), Seq(120)).unwrap().count(), 6);
}

#[test]
fn a_second_hub_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let refused = open(dir.path()).map(|_| ());
    let Err(LogError::Locked { holder: Some(holder), .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(holder, std::process::id());
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn an_interrupted_trim_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = FileLog::open(dir.path(), options(5 * BLOCK)).unwrap().log;
    fill(&mut log, &[3000; 12]);
    let image = crash_image(dir.path());
    log.trim(Seq(9)).unwrap();
    fs::copy(dir.path().join("mark"), image.path().join("mark")).unwrap();
    fs::remove_file(&segments(image.path())[0]).unwrap();
    assert!(verify(image.path()).unwrap().is_sound());
    let log = open(image.path()).unwrap().log;
    assert_eq!((log.first(), segments(image.path()).len()), (Seq(9), 1));
}

#[test]
fn hostile_files_do_not_panic() {
    let image = crashed(&SIZES, 1 << 17);
    for (name, bytes) in
        [("zzzz.log", &b"x"[..]), ("00000000000000ff.snap", b""), ("+000000000000001.log", b"")]
    {
        fs::write(image.path().join(name), bytes).unwrap();
    }
    assert_eq!(open(image.path()).unwrap().log.head().seq, Seq(5), "strangers are ignored");
    fs::write(image.path().join("0000000000000000.log"), b"").unwrap();
    fs::write(image.path().join("ffffffffffffffff.log"), vec![0; 5000]).unwrap();
    assert!(open(image.path()).is_err());
    assert!(!verify(image.path()).unwrap().is_sound());
    let mark = Mark {
        cell: CELL,
        epoch: pumasi_log::Epoch(u64::MAX),
        first: Seq(u64::MAX),
        durable: Seq(u64::MAX),
        durable_hash: pumasi_types::Hash::ZERO,
    };
    fs::write(image.path().join("mark"), mark.encode()).unwrap();
    assert!(open(image.path()).is_err());
    let _ = verify(image.path()).unwrap();
    let _ = show(image.path(), Seq(u64::MAX)).map(Iterator::count);
}
