//! The embedded home of a log: segment files in a local directory.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use pumasi_types::{CellId, Time};

use crate::dir::{Dir, SegmentFile};
use crate::disk::{Disk, RealDisk};
use crate::format::{BLOCK, ENTRY_HEADER, Mark, SegmentHeader, blocks, encode_entry};
use crate::recover::{self, check_successor, new_header};
use crate::walk::{Step, Walk};
use crate::writer::{Work, Writer};
use crate::{Entries, Entry, Epoch, Head, Log, LogError, Seq, mark};

/// Smallest and largest size of a segment, in bytes.
const SEGMENT_BYTES_MIN: u64 = 2 * BLOCK;
const SEGMENT_BYTES_MAX: u64 = 16 << 30;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct FileLogOptions {
    /// Whose log it is.
    pub cell: CellId,
    /// Size of new segments in bytes, rounded up to whole blocks; 8 KiB to 16 GiB, normally 64 MiB.
    ///
    /// It bounds the size of an entry and is the unit in which disk space is taken and given back.
    pub segment_bytes: u64,
    /// Whether threads of the log write and prepare segments ahead of need; normally so.
    ///
    /// Without them all is done by the caller of [`Log::submit`] and [`Log::wait`], so that the order of what
    /// the disk is asked for depends on the calls alone, as a simulation needs it.
    pub background: bool,
}

impl FileLogOptions {
    /// The normal options for `cell`.
    pub fn new(cell: CellId) -> FileLogOptions {
        FileLogOptions { cell, segment_bytes: 64 << 20, background: true }
    }
}

/// Something that the operator should hear about, though the log is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The last write before a crash was incomplete and was cut.
    TailCut {
        /// The segment.
        segment: PathBuf,
        /// Where the cut begins, in bytes.
        offset: u64,
        /// The entry that was not complete; its place is free again.
        seq: Seq,
        /// How many bytes were cut.
        bytes: u64,
        /// The file that keeps them.
        saved: PathBuf,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note::TailCut { segment, offset, seq, bytes, saved } = self;
        write!(
            f,
            "cut {bytes} bytes at byte {offset} of {}: entry {seq} was being written when the hub stopped \
             and was never acknowledged; its remains are kept in {}",
            segment.display(),
            saved.display()
        )
    }
}

/// A log that was opened, and what there is to say about it.
pub struct Opened {
    /// The log.
    pub log: FileLog,
    /// What happened on the way.
    pub notes: Vec<Note>,
}

/// A log in a directory of the local file system. Dropping it writes out what was submitted.
pub struct FileLog {
    dir: Dir,
    options: FileLogOptions,
    writer: Arc<Writer>,
    threads: Vec<JoinHandle<()>>,
    head: Head,
    epoch: Epoch,
    /// Header of the segment that the next entry goes to.
    header: SegmentHeader,
    /// Where it goes.
    offset: u64,
    /// The newest position that the file `mark` names as durable.
    marked: Head,
    /// Held as long as the log is open.
    _lock: Box<dyn Any + Send + Sync>,
}

impl FileLog {
    /// Opens the log in `dir` for writing, with a new epoch; creates it when there is none.
    ///
    /// Checks every segment's header and all of the last segment; entries of older segments are checked
    /// when they are read. A torn tail is cut and noted.
    ///
    /// # Errors
    /// When another process has it open, when anything acknowledged is damaged or missing, when the
    /// directory belongs to another cell or a newer release, or when the disk is full.
    pub fn open(dir: &Path, options: FileLogOptions) -> Result<Opened, LogError> {
        FileLog::open_on(Arc::new(RealDisk), dir, options)
    }

    /// [`FileLog::open`] on any disk.
    ///
    /// # Errors
    /// As [`FileLog::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: FileLogOptions) -> Result<Opened, LogError> {
        let (min, max) = (SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        if !(min..=max).contains(&options.segment_bytes) {
            return Err(LogError::SegmentSize { bytes: options.segment_bytes, min, max });
        }
        let options = FileLogOptions { segment_bytes: blocks(options.segment_bytes), ..options };
        let dir = Dir::new(disk, dir);
        dir.create()?;
        let lock = dir.lock()?;
        let found = recover::recover(&dir, &options)?;
        let writer = Arc::new(Writer::new(dir.clone(), found.tail, found.head.seq, found.segments));
        let mut log = FileLog {
            dir,
            options,
            writer,
            threads: Vec::new(),
            head: found.head,
            epoch: found.epoch,
            header: found.header,
            offset: found.offset,
            marked: found.head,
            _lock: lock,
        };
        if log.options.background {
            log.spawn_threads()?;
        }
        Ok(Opened { log, notes: found.notes })
    }

    fn spawn_threads(&mut self) -> Result<(), LogError> {
        self.spawn("log-writer", |writer| writer.run())?;
        self.spawn("log-zeroer", |writer| {
            if let Err(error) = writer.preparer.run() {
                writer.fail(error);
            }
        })
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Writer) + Send + 'static) -> Result<(), LogError> {
        let writer = self.writer.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&writer));
        self.threads.push(thread.map_err(LogError::io("start a thread for", &self.dir.path))?);
        Ok(())
    }

    /// The cell whose log this is.
    pub fn cell(&self) -> CellId {
        self.options.cell
    }

    fn mark(&self, first: Seq, durable: &Head) -> Mark {
        Mark {
            cell: self.options.cell,
            epoch: self.epoch,
            first,
            durable: durable.seq,
            durable_hash: durable.hash,
        }
    }

    fn segments(&self) -> Vec<SegmentFile> {
        self.writer.segments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Log for FileLog {
    fn head(&self) -> Head {
        self.head
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn durable(&self) -> Seq {
        self.writer.durable()
    }

    fn first(&self) -> Seq {
        self.segments().first().map_or(Seq(1), |segment| segment.first)
    }

    fn payload_bytes_max(&self) -> u64 {
        (self.options.segment_bytes - BLOCK).min(u64::from(u32::MAX)) - ENTRY_HEADER as u64
    }

    fn submit(&mut self, time: Time, payload: &[u8]) -> Result<Seq, LogError> {
        self.writer.check()?;
        if time < self.head.time {
            return Err(LogError::TimeRunsBackwards { time, head: self.head.time });
        }
        let (bytes, bytes_max) = (payload.len() as u64, self.payload_bytes_max());
        if bytes > bytes_max {
            return Err(LogError::TooLarge { bytes, bytes_max });
        }
        let stored = blocks(ENTRY_HEADER as u64 + bytes);
        let mut roll = None;
        if self.offset + stored > self.header.bytes {
            let bytes = self.options.segment_bytes;
            let header = new_header(&self.dir, self.options.cell, self.header.number + 1, bytes, self.head)?;
            let space = self.writer.preparer.take(bytes)?;
            roll = Some(Work::Roll { space, header: header.clone() });
            self.header = header;
            self.offset = BLOCK;
        }
        let mut entry = self.writer.pool.take(stored as usize);
        let head = encode_entry(&mut entry, self.options.cell, &self.head, self.epoch, time, payload);
        entry[ENTRY_HEADER + payload.len()..].fill(0);
        let (seq, offset) = (head.seq, self.offset);
        self.writer.push(roll.into_iter().chain([Work::Write { seq, offset, entry }]))?;
        self.head = head;
        self.offset += stored;
        // Early enough that the next segment is zeroed before it is needed, late enough that a log that
        // hardly grows takes no second segment.
        if self.offset > self.header.bytes / 4 {
            self.writer.preparer.ask(self.options.segment_bytes);
        }
        if !self.options.background
            && let Err(error) = self.writer.preparer.step()
        {
            self.writer.fail(error);
        }
        Ok(seq)
    }

    fn wait(&mut self, seq: Seq) -> Result<(), LogError> {
        if seq > self.head.seq {
            self.writer.check()?;
            return Err(LogError::NotSubmitted { seq, head: self.head.seq });
        }
        self.writer.wait(seq)
    }

    fn read(&self, from: Seq) -> Result<Entries, LogError> {
        let from = from.max(Seq(1));
        let last = self.durable();
        let segments = self.segments();
        let first = segments.first().map_or(Seq(1), |segment| segment.first);
        if from < first {
            return Err(LogError::Trimmed { from, first });
        }
        let start = segments.partition_point(|segment| segment.first <= from) - 1;
        let segments = segments[start..].iter().rev().cloned().collect();
        let cell = self.options.cell;
        Ok(Box::new(Reader { dir: self.dir.clone(), cell, segments, walk: None, from, last }))
    }

    fn trim(&mut self, before: Seq) -> Result<(), LogError> {
        self.writer.check()?;
        let segments = self.segments();
        // The last segment whose entries are durable stays: it knows the log's position.
        let before = before.min(self.durable());
        let gone = segments.windows(2).take_while(|pair| pair[1].first <= before).count();
        if gone == 0 {
            return Ok(());
        }
        let first = segments[gone].first;
        let head = Walk::open(&self.dir, &segments[gone].path, first, Some(self.options.cell))?.header.prev;
        if head.seq > self.marked.seq {
            self.marked = head;
        }
        mark::write(&self.dir, &self.mark(first, &self.marked))?;
        self.writer.segments.lock().unwrap_or_else(PoisonError::into_inner).drain(..gone);
        for segment in &segments[..gone] {
            self.dir.remove(&segment.path)?;
        }
        self.dir.sync()
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        if !self.options.background {
            // What fails has stopped the log, as it would a thread.
            let _ = self.writer.wait(self.head.seq);
        }
        self.writer.close();
        self.writer.preparer.close();
        for thread in self.threads.drain(..) {
            // A panic in it has already stopped the log.
            let _ = thread.join();
        }
        // Once more, for a spare that was being made.
        self.writer.preparer.close();
        if self.writer.check().is_ok() && self.durable() == self.head.seq {
            // Only sharpens the next opening's eye for lost entries, so a failure here loses nothing.
            let _ = mark::write(&self.dir, &self.mark(self.first(), &self.head));
        }
    }
}

/// Entries up to a durable one, across segments.
struct Reader {
    dir: Dir,
    cell: CellId,
    /// Still to be read, newest first.
    segments: Vec<SegmentFile>,
    walk: Option<Walk>,
    /// The next entry to hand out.
    from: Seq,
    /// The last one.
    last: Seq,
}

impl Reader {
    fn advance(&mut self) -> Result<Entry, LogError> {
        loop {
            let next = self.segments.last().map(|segment| segment.first);
            match &mut self.walk {
                Some(walk) if next != Some(walk.prev.seq.next()) => match walk.step()? {
                    Step::Entry(entry) if entry.seq < self.from => {}
                    Step::Entry(entry) => return Ok(entry),
                    Step::Blank => return Err(LogError::Damaged(Box::new(walk.nothing_here()))),
                    Step::Bad(damage) => return Err(LogError::Damaged(Box::new(damage))),
                },
                _ => self.next_segment()?,
            }
        }
    }

    fn next_segment(&mut self) -> Result<(), LogError> {
        let Some(segment) = self.segments.pop() else {
            let evidence = "the files end before it".to_owned();
            return Err(LogError::MissingSegment { dir: self.dir.path.clone(), seq: self.from, evidence });
        };
        let walk = Walk::open(&self.dir, &segment.path, segment.first, Some(self.cell));
        let walk = walk.map_err(|error| {
            // Nothing but a trim removes segments of an open log.
            let first = self.segments.last().map_or(self.last.next(), |segment| segment.first);
            if error.is_absence() { LogError::Trimmed { from: self.from, first } } else { error }
        })?;
        if let Some(before) = &self.walk {
            check_successor(&self.dir, &before.header, &walk)?;
            if walk.header.prev != before.prev {
                return Err(LogError::Damaged(Box::new(walk.broken_link(&before.prev))));
            }
        }
        self.walk = Some(walk);
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.from > self.last {
            return None;
        }
        let entry = self.advance();
        // After an error there is nothing more to say.
        self.from = entry.as_ref().map_or(Seq(u64::MAX), |entry| entry.seq.next());
        Some(entry)
    }
}
