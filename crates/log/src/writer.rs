//! The writer: takes encoded entries in order, writes neighbours together, syncs, and says so.
//!
//! Writing is a role, taken by holding the [`Tail`]. The writer thread takes it as soon as it wakes; a
//! thread that waits for durability takes it when the writer thread has not woken yet, which saves two
//! changes of threads on the way of a lone append.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::buffer::{AlignedBuf, Pool};
use crate::dir::{Dir, SegmentFile};
use crate::format::{BLOCK, SegmentHeader, seal_entry};
use crate::space::{Preparer, Space};
use crate::{LogError, Seq};

/// How much one write joins: entries and bytes (a single entry may be larger).
const JOINED_MAX: usize = 64;
const JOINED_BYTES_MAX: usize = 8 << 20;
/// How many bytes may wait before a submit blocks.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What the writer is asked to do.
pub(crate) enum Work {
    /// Write the encoded entry `seq` at `offset` of the current segment.
    Write { seq: Seq, offset: u64, entry: AlignedBuf },
    /// Go on in a new segment.
    Roll { space: Arc<Space>, header: SegmentHeader },
}

/// Where the next entry goes. Whoever holds it is the writer.
pub(crate) struct Tail {
    pub(crate) space: Arc<Space>,
    pub(crate) key: [u8; 32],
}

struct Queue {
    works: VecDeque<Work>,
    waiting_bytes: usize,
    /// Absent while somebody writes.
    tail: Option<Tail>,
    closing: bool,
}

/// What the handle, the writer thread and the zeroing thread share.
pub(crate) struct Writer {
    dir: Dir,
    queue: Mutex<Queue>,
    work: Condvar,
    done: Condvar,
    durable: AtomicU64,
    failed: OnceLock<LogError>,
    /// The segments, oldest first; each has its header.
    pub(crate) segments: Mutex<Vec<SegmentFile>>,
    pub(crate) pool: Pool,
    pub(crate) preparer: Preparer,
}

impl Writer {
    pub(crate) fn new(dir: Dir, tail: Tail, durable: Seq, segments: Vec<SegmentFile>) -> Writer {
        let preparer = Preparer::new(dir.clone(), tail.space.clone());
        let queue = Queue { works: VecDeque::new(), waiting_bytes: 0, tail: Some(tail), closing: false };
        Writer {
            dir,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            done: Condvar::new(),
            durable: AtomicU64::new(durable.0),
            failed: OnceLock::new(),
            segments: Mutex::new(segments),
            pool: Pool::default(),
            preparer,
        }
    }

    pub(crate) fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// The error that stopped the log, if one did.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Stops the log for good.
    pub(crate) fn fail(&self, source: LogError) {
        let mut queue = self.lock();
        let _ = self.failed.set(LogError::Stopped { durable: self.durable(), source: Arc::new(source) });
        queue.works.clear();
        self.work.notify_all();
        self.done.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over work; blocks while too much waits.
    pub(crate) fn push(&self, works: impl IntoIterator<Item = Work>) -> Result<(), LogError> {
        let mut queue = self.lock();
        while queue.waiting_bytes > WAITING_BYTES_MAX && self.failed.get().is_none() {
            queue = self.help(queue);
        }
        self.check()?;
        for work in works {
            queue.waiting_bytes += work.bytes();
            queue.works.push_back(work);
        }
        self.work.notify_one();
        Ok(())
    }

    /// Blocks until `seq` is durable.
    pub(crate) fn wait(&self, seq: Seq) -> Result<(), LogError> {
        let mut queue = self.lock();
        while self.durable() < seq {
            self.check()?;
            queue = self.help(queue);
        }
        Ok(())
    }

    /// Takes the role of the writer once, or waits until whoever has it has done something.
    fn help<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        match queue.take() {
            Some((tail, works)) => {
                drop(queue);
                self.perform(tail, works);
                self.lock()
            }
            None => self.done.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The writer thread: works until [`Writer::close`] and the queue is empty, or until a failure.
    pub(crate) fn run(&self) {
        let mut queue = self.lock();
        while self.failed.get().is_none() {
            if let Some((tail, works)) = queue.take() {
                drop(queue);
                self.perform(tail, works);
                queue = self.lock();
            } else if queue.closing && queue.works.is_empty() {
                return;
            } else {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Lets the writer thread end when all is written.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
    }

    fn perform(&self, mut tail: Tail, works: Vec<Work>) {
        // If a bug makes this thread panic, nobody may wait for it for ever.
        let abandoned = Abandoned(self);
        let bytes: usize = works.iter().map(Work::bytes).sum();
        let result = self.carry_out(&mut tail, works);
        std::mem::forget(abandoned);
        match result {
            Ok(durable) => {
                let mut queue = self.lock();
                if let Some(seq) = durable {
                    self.durable.store(seq.0, Ordering::Release);
                }
                queue.tail = Some(tail);
                queue.waiting_bytes -= bytes;
                if !queue.works.is_empty() {
                    self.work.notify_one();
                }
                self.done.notify_all();
            }
            Err(error) => self.fail(error),
        }
    }

    /// Does what one [`Queue::take`] gave; returns the last entry that became durable.
    fn carry_out(&self, tail: &mut Tail, works: Vec<Work>) -> Result<Option<Seq>, LogError> {
        let mut entries = Vec::with_capacity(works.len());
        for work in works {
            match work {
                Work::Roll { space, header } => self.roll(tail, space, &header)?,
                Work::Write { seq, offset, entry } => entries.push((seq, offset, entry)),
            }
        }
        let (Some(&(first, offset, _)), Some(&(last, ..))) = (entries.first(), entries.last()) else {
            return Ok(None);
        };
        for (_, _, entry) in &mut entries {
            seal_entry(entry, first, &tail.key);
        }
        let bytes: usize = entries.iter().map(|(_, _, entry)| entry.len()).sum();
        tail.space.claim(offset, offset + bytes as u64);
        let mut slices: Vec<_> = entries.iter().map(|(_, _, entry)| IoSlice::new(entry)).collect();
        let space = &tail.space;
        let written = space.file.write_all_vectored_at(&mut slices, offset);
        written.map_err(LogError::room("write to", &space.path(), 0))?;
        space.file.sync().map_err(LogError::io("sync", &space.path()))?;
        for (_, _, entry) in entries {
            self.pool.give_back(entry);
        }
        Ok(Some(last))
    }

    fn roll(&self, tail: &mut Tail, space: Arc<Space>, header: &SegmentHeader) -> Result<(), LogError> {
        let path = self.dir.segment_path(header.first());
        begin_segment(&space, header)?;
        space.rename(&path)?;
        self.dir.sync()?;
        *tail = Tail { space, key: header.key };
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.push(SegmentFile { first: header.first(), path });
        Ok(())
    }
}

/// Makes the header of a segment durable.
pub(crate) fn begin_segment(space: &Space, header: &SegmentHeader) -> Result<(), LogError> {
    let mut block = AlignedBuf::zeroed(BLOCK as usize);
    header.encode(&mut block);
    space.claim(0, BLOCK);
    let written = space.file.write_all_at(&block, 0).and_then(|()| space.file.sync());
    written.map_err(LogError::room("write the header of", &space.path(), space.bytes))
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Write { entry, .. } => entry.len(),
            Work::Roll { .. } => 0,
        }
    }
}

impl Queue {
    /// The role of the writer and what to do in it: a roll, or neighbouring entries to join.
    fn take(&mut self) -> Option<(Tail, Vec<Work>)> {
        if self.works.is_empty() {
            return None;
        }
        let tail = self.tail.take()?;
        let (mut works, mut bytes) = (Vec::new(), 0);
        while let Some(work) = self.works.front() {
            let roll = matches!(work, Work::Roll { .. });
            bytes += work.bytes();
            let enough = works.len() >= JOINED_MAX || bytes > JOINED_BYTES_MAX;
            if !works.is_empty() && (roll || enough) {
                break;
            }
            works.extend(self.works.pop_front());
        }
        Some((tail, works))
    }
}

/// Fails the log when dropped.
struct Abandoned<'a>(&'a Writer);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let source = io::Error::other("the writer panicked");
        self.0.fail(LogError::io("write to", &self.0.dir.path)(source));
    }
}
