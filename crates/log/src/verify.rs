//! Looking at a log without touching it, also while a hub writes to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_types::{CellId, Time};

use crate::dir::{Dir, SegmentFile};
use crate::disk::{Disk, RealDisk};
use crate::format::{BLOCK, Mark};
use crate::recover::check_successor;
use crate::walk::{Step, Walk};
use crate::{Entries, Entry, Epoch, Head, LogError, Seq, mark};

/// What a complete scan of a log found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whose log it is; none when nothing says so.
    pub cell: Option<CellId>,
    /// The epoch of the last opening; none without a mark.
    pub epoch: Option<Epoch>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// How many good entries there are.
    pub entries: u64,
    /// How many bytes their payloads have.
    pub payload_bytes: u64,
    /// The oldest good entry.
    pub first: Option<Head>,
    /// The newest good entry.
    pub last: Option<Head>,
    /// What follows the newest entry without being one.
    pub tail: Option<UnfinishedTail>,
    /// Everything that is wrong; each says what can be done.
    pub problems: Vec<LogError>,
}

impl Report {
    /// Whether the log would open. An unfinished tail is no fault.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a scan found in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// Place of its first entry.
    pub first: Seq,
    /// How many good entries it has.
    pub entries: u64,
    /// How many bytes they take, with the segment's header.
    pub used_bytes: u64,
    /// How many bytes it has room for.
    pub bytes: u64,
    /// When the machine's clock said it was made.
    pub created: Time,
}

/// Bytes after the newest entry: one is being written now, or was when the hub stopped. The next
/// opening cuts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedTail {
    /// The segment.
    pub segment: PathBuf,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

/// Scans the whole log in `dir` and checks every hash. Changes nothing and takes no lock.
///
/// # Errors
/// When the directory or a file cannot be read. Damage is no error but part of the report.
pub fn verify(dir: &Path) -> Result<Report, LogError> {
    verify_on(Arc::new(RealDisk), dir)
}

/// [`verify()`] on any disk.
///
/// # Errors
/// As [`verify()`].
pub fn verify_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, LogError> {
    let (scan, mark) = Scan::begin(Dir::new(disk, dir))?;
    let mut report = Report { epoch: mark.as_ref().map(|mark| mark.epoch), ..Report::default() };
    report.cell = mark.as_ref().map(|mark| mark.cell);
    for event in scan {
        match event? {
            Event::Segment(segment, cell) => {
                report.cell.get_or_insert(cell);
                report.segments.push(segment);
            }
            Event::Entry(entry, end) => {
                report.entries += 1;
                report.payload_bytes += entry.payload.len() as u64;
                report.first.get_or_insert(entry.head());
                report.last = Some(entry.head());
                if let Some(segment) = report.segments.last_mut() {
                    segment.entries += 1;
                    segment.used_bytes = end;
                }
            }
            Event::Tail(tail) => report.tail = Some(tail),
            Event::Problem(problem) => report.problems.push(problem),
        }
    }
    Ok(report)
}

/// The entries of the log in `dir` from `from` on, for people. Changes nothing and takes no lock.
///
/// # Errors
/// When the directory cannot be read; the entries end with an error at the first damage.
pub fn show(dir: &Path, from: Seq) -> Result<Entries, LogError> {
    show_on(Arc::new(RealDisk), dir, from)
}

/// [`show`] on any disk.
///
/// # Errors
/// As [`show`].
pub fn show_on(disk: Arc<dyn Disk>, dir: &Path, from: Seq) -> Result<Entries, LogError> {
    let (scan, _) = Scan::begin(Dir::new(disk, dir))?;
    let first = scan.segments.last().map_or(Seq(1), |segment| segment.first);
    if from.max(Seq(1)) < first {
        return Err(LogError::Trimmed { from, first });
    }
    let mut failed = false;
    let entries = scan.filter_map(move |event| match event {
        Ok(Event::Entry(entry, _)) if entry.seq >= from => Some(Ok(entry)),
        Ok(Event::Problem(error)) | Err(error) => Some(Err(error)),
        Ok(_) => None,
    });
    Ok(Box::new(entries.take_while(move |entry| !std::mem::replace(&mut failed, entry.is_err()))))
}

enum Event {
    Segment(SegmentReport, CellId),
    /// A good entry and where it ends.
    Entry(Entry, u64),
    Tail(UnfinishedTail),
    Problem(LogError),
}

/// A walk through all segments that goes on after damage.
struct Scan {
    dir: Dir,
    cell: Option<CellId>,
    /// Still to be scanned, newest first.
    segments: Vec<SegmentFile>,
    walk: Option<Walk>,
    /// To be said before anything else, in order.
    said: Vec<Event>,
    /// What the mark says was durable.
    durable: Seq,
    done: bool,
}

impl Scan {
    fn begin(dir: Dir) -> Result<(Scan, Option<Mark>), LogError> {
        let (mark, mut segments, mut said) = consistent(&dir)?;
        if let Some(mark) = &mark {
            segments.retain(|segment| segment.first >= mark.first);
            let oldest = segments.first().map(|segment| segment.first);
            if oldest != Some(mark.first) && (oldest.is_some() || mark.durable > Seq::ZERO) {
                let evidence = oldest.map_or_else(
                    || "there is no segment file at all".to_owned(),
                    |oldest| format!("the oldest file begins with entry {oldest}"),
                );
                let dir = dir.path.clone();
                said.push(Event::Problem(LogError::MissingSegment { dir, seq: mark.first, evidence }));
            }
        }
        segments.reverse();
        let durable = mark.as_ref().map_or(Seq::ZERO, |mark| mark.durable);
        let cell = mark.as_ref().map(|mark| mark.cell);
        let done = segments.is_empty();
        Ok((Scan { dir, cell, segments, walk: None, said, durable, done }, mark))
    }

    /// Goes to the next segment; the scan ends when there is none.
    fn next_segment(&mut self) {
        let Some(segment) = self.segments.pop() else {
            self.done = true;
            return;
        };
        let before = self.walk.take();
        let walk = match Walk::open(&self.dir, &segment.path, segment.first, self.cell) {
            Ok(walk) => walk,
            Err(error) => {
                // A hub may trim its oldest segments while we look.
                if before.is_some() || !error.is_absence() {
                    self.said.push(Event::Problem(error));
                }
                return;
            }
        };
        self.cell.get_or_insert(walk.header.cell);
        let report = SegmentReport {
            path: walk.path.clone(),
            first: walk.header.first(),
            entries: 0,
            used_bytes: BLOCK,
            bytes: walk.header.bytes,
            created: walk.header.created,
        };
        self.said.push(Event::Segment(report, walk.header.cell));
        if let Some(before) = before {
            if let Err(error) = check_successor(&self.dir, &before.header, &walk) {
                self.said.push(Event::Problem(error));
            } else if walk.header.prev != before.prev {
                let damage = walk.broken_link(&before.prev);
                self.said.push(Event::Problem(LogError::Damaged(Box::new(damage))));
            }
        }
        self.walk = Some(walk);
    }

    /// The next event of the segment at hand; none at its end.
    fn step(&mut self) -> Result<Option<Event>, LogError> {
        let next = self.segments.last().map(|segment| segment.first);
        let Some(walk) = &mut self.walk else {
            return Ok(None);
        };
        if next == Some(walk.prev.seq.next()) {
            return Ok(None);
        }
        let mut looked = false;
        loop {
            let damage = match walk.step()? {
                Step::Entry(entry) => return Ok(Some(Event::Entry(entry, walk.offset))),
                Step::Blank => walk.nothing_here(),
                Step::Bad(damage) => damage,
            };
            let remains = walk.remains()?;
            let lost = next.is_some() || remains.proof.is_some() || walk.prev.seq < self.durable;
            let (offset, bytes) = (walk.offset, remains.data_end - walk.offset);
            if !looked && (lost || bytes > 0) {
                // Look again: a hub may have been writing here.
                looked = true;
                walk.refresh();
                continue;
            }
            if !lost {
                let segment = walk.path.clone();
                self.walk = None;
                return Ok((bytes > 0).then_some(Event::Tail(UnfinishedTail { segment, offset, bytes })));
            }
            match remains.later {
                Some((later, header)) => walk.resume_at(later, &header),
                None => {
                    self.walk = None;
                    // Said once: nothing else that the mark promised would be found either.
                    self.durable = Seq::ZERO;
                }
            }
            return Ok(Some(Event::Problem(LogError::Damaged(Box::new(damage)))));
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Event, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if !self.said.is_empty() {
                return Some(Ok(self.said.remove(0)));
            }
            if self.done {
                return None;
            }
            match self.step() {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => self.next_segment(),
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The mark, the segments, and what is wrong with the mark.
type Consistent = (Option<Mark>, Vec<SegmentFile>, Vec<Event>);

/// The mark and the segments of one moment, though a hub may be trimming or opening the log.
fn consistent(dir: &Dir) -> Result<Consistent, LogError> {
    loop {
        let before = mark::read(dir);
        let segments = dir.segments()?;
        match (before, mark::read(dir)) {
            (Ok(before), Ok(after)) if before == after => return Ok((after, segments, Vec::new())),
            (Ok(_), Ok(_)) => {}
            (Err(_), Err(error @ LogError::Io { .. })) => return Err(error),
            (Err(_), Err(error)) => return Ok((None, segments, vec![Event::Problem(error)])),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => {}
        }
    }
}
