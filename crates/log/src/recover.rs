//! Opening a log's directory: checks what is there, cuts a torn tail, refuses damage.

use std::path::PathBuf;
use std::sync::Arc;

use pumasi_types::CellId;

use crate::buffer::AlignedBuf;
use crate::dir::{Dir, SegmentFile};
use crate::disk::Mode;
use crate::format::{BLOCK, Mark, SegmentHeader};
use crate::space::Space;
use crate::walk::{Remains, Step, Walk};
use crate::writer::{Tail, begin_segment};
use crate::{Damage, Epoch, FileLogOptions, Head, LogError, Note, Seq, mark};

/// A log that is ready to be appended to.
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) epoch: Epoch,
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) tail: Tail,
    /// Header of the last segment.
    pub(crate) header: SegmentHeader,
    /// Where the next entry goes in the last segment.
    pub(crate) offset: u64,
    pub(crate) notes: Vec<Note>,
}

/// Recovers the log in `dir`, whose lock the caller holds.
pub(crate) fn recover(dir: &Dir, options: &FileLogOptions) -> Result<Recovered, LogError> {
    remove_temporaries(dir)?;
    let mark = mark::read(dir)?;
    if let Some(mark) = &mark {
        mark::check_cell(mark, dir, options.cell)?;
    }
    let segments = dir.segments()?;
    let mut segments = remove_trimmed(dir, segments, mark.as_ref())?;
    check_present(dir, &segments, mark.as_ref())?;
    let last = check_headers(dir, &segments, options.cell)?;
    let mut notes = Vec::new();
    let (header, offset, head, space) = match last {
        Some(walk) => reopen(dir, walk, mark.as_ref(), &mut notes)?,
        None => {
            let (header, file, space) = create_first(dir, options)?;
            segments.push(file);
            let head = header.prev;
            (header, BLOCK, head, space)
        }
    };
    let newest = mark.as_ref().map_or(Epoch(0), |mark| mark.epoch).max(head.epoch);
    let epoch = Epoch(newest.0.checked_add(1).ok_or_else(|| mark::no_epoch_left(dir))?);
    let first = segments[0].first;
    let (durable, durable_hash) = (head.seq, head.hash);
    mark::write(dir, &Mark { cell: options.cell, epoch, first, durable, durable_hash })?;
    let tail = Tail { space: Arc::new(space), key: header.key };
    Ok(Recovered { head, epoch, segments, tail, header, offset, notes })
}

fn remove_temporaries(dir: &Dir) -> Result<(), LogError> {
    for path in dir.files()? {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            dir.remove(&path)?;
        }
    }
    Ok(())
}

/// Finishes a trim that a crash interrupted.
fn remove_trimmed(
    dir: &Dir,
    segments: Vec<SegmentFile>,
    mark: Option<&Mark>,
) -> Result<Vec<SegmentFile>, LogError> {
    let first = mark.map_or(Seq::ZERO, |mark| mark.first);
    let (trimmed, kept): (Vec<_>, Vec<_>) = segments.into_iter().partition(|segment| segment.first < first);
    if !kept.is_empty() && !trimmed.is_empty() {
        // The mark may not be durable yet, and without it they would be missed.
        dir.sync()?;
        for segment in trimmed {
            dir.remove(&segment.path)?;
        }
    }
    Ok(kept)
}

/// Checks that the segments that the mark promises are there.
fn check_present(dir: &Dir, segments: &[SegmentFile], mark: Option<&Mark>) -> Result<(), LogError> {
    let Some(mark) = mark else {
        return Ok(());
    };
    let missing =
        |seq, evidence: String| Err(LogError::MissingSegment { dir: dir.path.clone(), seq, evidence });
    match segments.first() {
        Some(oldest) if oldest.first != mark.first => {
            missing(mark.first, format!("the oldest file begins with entry {}", oldest.first))
        }
        None if mark.durable > Seq::ZERO => {
            missing(mark.durable, "there is no segment file at all".to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks the headers of all segments and that none is missing between them; returns the last one.
fn check_headers(dir: &Dir, segments: &[SegmentFile], cell: CellId) -> Result<Option<Walk>, LogError> {
    let mut last: Option<Walk> = None;
    for segment in segments {
        let walk = Walk::open(dir, &segment.path, segment.first, Some(cell))?;
        if let Some(before) = last {
            check_successor(dir, &before.header, &walk)?;
        }
        last = Some(walk);
    }
    Ok(last)
}

/// Checks that a segment is the next one after `before`, as far as headers tell.
pub(crate) fn check_successor(dir: &Dir, before: &SegmentHeader, next: &Walk) -> Result<(), LogError> {
    if next.header.number == before.number + 1 {
        return Ok(());
    }
    Err(LogError::MissingSegment {
        dir: dir.path.clone(),
        seq: Seq(next.header.prev.seq.0),
        evidence: format!(
            "segment number {} (from entry {}) is followed by number {} (from entry {})",
            before.number,
            before.first(),
            next.header.number,
            next.header.first()
        ),
    })
}

/// Walks through the last segment, cuts what was never acknowledged and opens it for writing.
fn reopen(
    dir: &Dir,
    mut walk: Walk,
    mark: Option<&Mark>,
    notes: &mut Vec<Note>,
) -> Result<(SegmentHeader, u64, Head, Space), LogError> {
    let bad = loop {
        check_marked(&walk, mark)?;
        match walk.step()? {
            Step::Entry(_) => {}
            Step::Blank => break None,
            Step::Bad(damage) => break Some(damage),
        }
    };
    let remains = walk.remains()?;
    if let Some(damage) = acknowledged(&walk, bad, &remains, mark) {
        return Err(LogError::Damaged(Box::new(damage)));
    }
    if remains.data_end > walk.offset {
        notes.push(cut(dir, &mut walk, remains.data_end)?);
    }
    let space = Space::open(dir, &walk.path, walk.header.bytes, walk.offset)?;
    // A killed writer may have left entries that no sync made durable; from now on they count as such.
    space.file.sync().map_err(LogError::io("sync", &walk.path))?;
    Ok((walk.header, walk.offset, walk.prev, space))
}

/// Checks that the entry that the mark names is the one that it saw.
fn check_marked(walk: &Walk, mark: Option<&Mark>) -> Result<(), LogError> {
    let Some(mark) = mark else {
        return Ok(());
    };
    if walk.prev.seq != mark.durable || walk.prev.hash == mark.durable_hash {
        return Ok(());
    }
    Err(LogError::Damaged(Box::new(Damage {
        segment: walk.path.clone(),
        offset: walk.offset,
        seq: mark.durable,
        expected: format!("the entry before to have hash {}, as the file 'mark' says", mark.durable_hash),
        found: format!("hash {}: files of different logs were mixed", walk.prev.hash),
    })))
}

/// The damage, when what stands at the walk's place was durable once.
fn acknowledged(walk: &Walk, bad: Option<Damage>, remains: &Remains, mark: Option<&Mark>) -> Option<Damage> {
    let marked = mark.is_some_and(|mark| mark.durable > walk.prev.seq);
    if remains.proof.is_none() && !marked {
        return None;
    }
    let mut damage = bad.unwrap_or_else(|| walk.nothing_here());
    let evidence = match (remains.proof, mark) {
        (Some((offset, seq)), _) => format!("entry {seq} at byte {offset} is intact and was written later"),
        (None, Some(mark)) => format!("the file 'mark' says that entry {} was durable", mark.durable),
        (None, None) => return None,
    };
    damage.found = format!("{} ({evidence})", damage.found);
    Some(damage)
}

/// Saves the bytes from the walk's place to `end` and zeroes them.
fn cut(dir: &Dir, walk: &mut Walk, end: u64) -> Result<Note, LogError> {
    let (seq, offset, segment) = (walk.prev.seq.next(), walk.offset, walk.path.clone());
    let bytes = end - offset;
    let saved = unused_name(dir, seq)?;
    let save = |data: &[u8]| {
        let file = dir.disk.open(&saved, Mode::CreateNew)?;
        file.write_all_at(data, 0)?;
        file.sync()
    };
    save(walk.raw(end)?).map_err(LogError::room("save the cut tail to", &saved, bytes))?;
    dir.sync()?;
    let file = dir.open_direct(&segment)?;
    let length = file.len().map_err(LogError::io("inspect", &segment))?;
    // A file that ends within a block cannot be written past the page cache up to its end.
    let zero = || {
        if length < end {
            file.set_len(end)?;
        }
        let zeros = AlignedBuf::zeroed((bytes as usize).min(1 << 20));
        let mut at = offset;
        while at < end {
            let step = (end - at).min(zeros.len() as u64) as usize;
            file.write_all_at(&zeros[..step], at)?;
            at += step as u64;
        }
        file.sync()
    };
    zero().map_err(LogError::io("zero the cut tail of", &segment))?;
    Ok(Note::TailCut { segment, offset, seq, bytes, saved })
}

fn unused_name(dir: &Dir, seq: Seq) -> Result<PathBuf, LogError> {
    let files = dir.files()?;
    let name = |n: u32| dir.join(&format!("cut-{seq}-{n}.bin"));
    Ok((1..).map(name).find(|path| !files.contains(path)).unwrap_or_else(|| name(0)))
}

/// Makes the first segment of a new log.
fn create_first(
    dir: &Dir,
    options: &FileLogOptions,
) -> Result<(SegmentHeader, SegmentFile, Space), LogError> {
    let header = new_header(dir, options.cell, 0, options.segment_bytes, Head::default())?;
    let space = Space::create(dir, &dir.join("next-first.tmp"), options.segment_bytes)?;
    begin_segment(&space, &header)?;
    let path = dir.segment_path(header.first());
    space.rename(&path)?;
    dir.sync()?;
    Ok((header, SegmentFile { first: Seq(1), path }, space))
}

/// The header of a segment that follows `prev`.
pub(crate) fn new_header(
    dir: &Dir,
    cell: CellId,
    number: u64,
    bytes: u64,
    prev: Head,
) -> Result<SegmentHeader, LogError> {
    let key = dir.disk.key().map_err(LogError::io("draw random bytes for a segment in", &dir.path))?;
    let created = dir.disk.now();
    Ok(SegmentHeader { cell, number, bytes, prev, created, key })
}
