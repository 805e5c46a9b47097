//! A file that grows at its end, a million records a second: what was appended waits in memory until there are whole
//! pieces, which go past the page cache, for a page there costs more than all else about a record.
//!
//! What waits is read from memory, so that readers never see less than was appended. A crash loses it: these files
//! are derived from the log, which a restart applies again.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::buffer::AlignedBuf;
use crate::disk::{Disk, DiskFile, Mode};
use crate::failure::FirstFailure;
use crate::format::BLOCK;

/// Bytes that are written at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the disk at most; then whoever appends waits too.
const WAITING: usize = 16;
/// Written pieces that stay at hand, because what is new is read most.
const RECENT: usize = 32;

/// Bytes of the file that will not change any more.
struct Piece {
    begin: u64,
    bytes: AlignedBuf,
    /// So many of them are in the file already: whole blocks.
    written: usize,
}

/// The end of the file as it is in memory.
struct Tail {
    /// Whole pieces without gaps between them; the last `waiting` are not written yet.
    whole: VecDeque<Arc<Piece>>,
    waiting: usize,
    /// Where `filling` begins, at a boundary of blocks.
    begin: u64,
    filling: AlignedBuf,
    filled: usize,
    /// So much of it is in the file.
    flushed: usize,
    /// Why nothing more can be written.
    failed: FirstFailure,
    closing: bool,
}

struct Shared {
    /// Past the page cache where the system allows that.
    writes: Box<dyn DiskFile>,
    reads: Box<dyn DiskFile>,
    tail: Mutex<Tail>,
    /// Something waits for the writer, or it is to end.
    work: Condvar,
    /// The writer has written something, or failed.
    done: Condvar,
    /// Whether a thread writes what is appended.
    behind: bool,
}

/// The file; its thread, if it has one, ends with it.
pub struct Growing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Growing {
    /// Opens or creates it. With `behind` a thread writes what is appended; without, whoever appends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(disk: &dyn Disk, path: &Path, behind: bool) -> io::Result<Growing> {
        // The other opening finds it then.
        let reads = disk.open(path, Mode::Create)?;
        let writes = disk.open_direct(path, Mode::Write)?;
        let tail = Tail {
            whole: VecDeque::new(),
            waiting: 0,
            begin: 0,
            filling: AlignedBuf::zeroed(PIECE),
            filled: 0,
            flushed: 0,
            failed: FirstFailure::default(),
            closing: false,
        };
        let (work, done) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { writes, reads, tail: Mutex::new(tail), work, done, behind });
        let thread = if behind {
            let shared = Arc::clone(&shared);
            Some(
                std::thread::Builder::new()
                    .name("journal".to_owned())
                    .spawn(move || shared.write_behind())?,
            )
        } else {
            None
        };
        Ok(Growing { shared, thread })
    }

    /// The file itself, for its header.
    pub fn file(&self) -> &dyn DiskFile {
        &*self.shared.reads
    }

    /// Appends at a place, which is where the last ones ended; anywhere else what lies behind it is written over.
    ///
    /// # Errors
    /// When the disk refuses now, or has refused what was appended before.
    pub fn append<B: AsRef<[u8]>>(&self, place: u64, all: impl Iterator<Item = B>) -> io::Result<()> {
        let shared = &*self.shared;
        let mut tail = shared.lock();
        tail.failed.check()?;
        if place != tail.end() {
            tail = shared.flush(tail)?;
            tail.begin_at(place, &*shared.reads)?;
        }
        for one in all {
            let mut bytes = one.as_ref();
            while !bytes.is_empty() {
                bytes = tail.fill(bytes);
                if tail.filled == PIECE {
                    tail.turn();
                    shared.work.notify_one();
                    while shared.behind && tail.waiting > WAITING {
                        tail.failed.check()?;
                        tail = shared.wait(tail);
                    }
                }
            }
        }
        if !shared.behind {
            drop(shared.flush(tail)?);
        }
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// As [`Growing::append`].
    pub fn sync(&self) -> io::Result<()> {
        drop(self.shared.flush(self.shared.lock())?);
        self.shared.writes.sync()
    }

    /// Fills the buffer from a place on.
    ///
    /// # Errors
    /// When the file ends before, or the disk refuses.
    pub fn read_exact_at(&self, buffer: &mut [u8], place: u64) -> io::Result<()> {
        let held = self.shared.lock().copy(buffer, place);
        // Pieces leave memory after they were written, so that the rest is in the file.
        let (before, rest) = buffer.split_at_mut(held.start);
        self.shared.reads.read_exact_at(before, place)?;
        let behind = &mut rest[held.len()..];
        self.shared.reads.read_exact_at(behind, place.saturating_add(held.end as u64))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let mut tail = self.shared.lock();
        tail.closing = true;
        // What cannot be written now is written by the next start.
        drop(self.shared.flush(tail));
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take() {
            // Nobody is left who could be told of its panic.
            let _ = thread.join();
        }
    }
}

impl Tail {
    fn end(&self) -> u64 {
        self.begin + self.filled as u64
    }

    /// Goes on at another place, when everything is written.
    fn begin_at(&mut self, place: u64, file: &dyn DiskFile) -> io::Result<()> {
        self.whole.clear();
        self.begin = place - place % BLOCK;
        self.filled = (place - self.begin) as usize;
        self.flushed = self.filled;
        let before = &mut self.filling[..self.filled];
        // A gap is zeros.
        before.fill(0);
        file.read_full_at(before, self.begin).map(drop)
    }

    /// Takes as many bytes as there is room for; the others.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.filled));
        self.filling[self.filled..][..now.len()].copy_from_slice(now);
        self.filled += now.len();
        later
    }

    /// The piece that is full waits to be written; another begins, in memory that was used before.
    fn turn(&mut self) {
        let old = if self.whole.len() - self.waiting > RECENT { self.whole.pop_front() } else { None };
        let spare = old.and_then(Arc::into_inner).map(|piece| piece.bytes);
        let next = spare.unwrap_or_else(|| AlignedBuf::zeroed(PIECE));
        let bytes = std::mem::replace(&mut self.filling, next);
        self.whole.push_back(Arc::new(Piece { begin: self.begin, bytes, written: block(self.flushed) }));
        self.waiting += 1;
        self.begin += PIECE as u64;
        (self.filled, self.flushed) = (0, 0);
    }

    /// The first piece that is not written.
    fn next(&self) -> Option<Arc<Piece>> {
        let first = self.whole.len() - self.waiting;
        self.whole.get(first).cloned()
    }

    /// Fills those bytes of a buffer, which begins at a place, that are in memory; which ones these are.
    fn copy(&self, buffer: &mut [u8], place: u64) -> Range<usize> {
        let filling = (self.begin, &self.filling[..self.filled]);
        let whole = self.whole.iter().map(|piece| (piece.begin, &*piece.bytes));
        let length = buffer.len() as u64;
        let within = |at: u64| at.saturating_sub(place).min(length) as usize;
        let first = self.whole.front().map_or(self.begin, |piece| piece.begin);
        let held = within(first)..within(self.end());
        for (begin, bytes) in whole.chain([filling]) {
            let part = within(begin)..within(begin + bytes.len() as u64);
            if !part.is_empty() {
                let from = (place + part.start as u64 - begin) as usize;
                buffer[part.clone()].copy_from_slice(&bytes[from..][..part.len()]);
            }
        }
        held
    }
}

/// The boundary of blocks at or before a place.
fn block(at: usize) -> usize {
    at - at % BLOCK as usize
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, tail: MutexGuard<'a, Tail>) -> MutexGuard<'a, Tail> {
        self.done.wait(tail).unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, piece: &Piece) -> io::Result<()> {
        self.writes.write_all_at(&piece.bytes[piece.written..], piece.begin + piece.written as u64)
    }

    /// What the thread does.
    fn write_behind(&self) {
        let mut tail = self.lock();
        while tail.failed.check().is_ok() {
            if let Some(piece) = tail.next() {
                drop(tail);
                let written = self.write(&piece);
                drop(piece);
                tail = self.lock();
                match written {
                    Ok(()) => tail.waiting -= 1,
                    Err(error) => drop(tail.failed.note(error)),
                }
                self.done.notify_all();
            } else if tail.closing {
                return;
            } else {
                tail = self.work.wait(tail).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Writes everything there is now, also a block that is not full. What is appended while it waits is not waited for.
    fn flush<'a>(&self, mut tail: MutexGuard<'a, Tail>) -> io::Result<MutexGuard<'a, Tail>> {
        let until = tail.end();
        while let Some(piece) = tail.next().filter(|piece| piece.begin < until) {
            tail.failed.check()?;
            if self.behind {
                tail = self.wait(tail);
            } else {
                self.write(&piece)?;
                tail.waiting -= 1;
            }
        }
        if tail.begin < until && tail.flushed < tail.filled {
            let Tail { begin, filling, filled, flushed, .. } = &mut *tail;
            let end = filled.next_multiple_of(BLOCK as usize);
            let behind = &mut filling[*filled..end];
            behind.fill(0);
            // What a later start wrote there is good, should this one not get as far.
            self.reads.read_full_at(behind, *begin + *filled as u64)?;
            let from = block(*flushed);
            self.writes.write_all_at(&filling[from..end], *begin + from as u64)?;
            tail.flushed = tail.filled;
        }
        Ok(tail)
    }
}
