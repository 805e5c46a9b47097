//! Room for entries: preallocated segment files, zeroed in the background ahead of the writer.
//!
//! Overwriting blocks that were written before spares the file system a journal commit in the sync
//! that every append waits for.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::LogError;
use crate::buffer::AlignedBuf;
use crate::dir::Dir;
use crate::disk::{DiskFile, Mode};
use crate::format::BLOCK;

/// How much is zeroed in one write: the longest that an append may have to wait for one.
const STEP: u64 = 1 << 20;
/// How many steps share one sync.
const STEPS_PER_SYNC: u32 = 4;
/// How far the zeroing jumps ahead of a writer that caught up with it.
const JUMP: u64 = 16 << 20;

/// A segment file with all its room set aside.
pub(crate) struct Space {
    dir: Dir,
    pub(crate) file: Box<dyn DiskFile>,
    /// The same file, opened once more for the zeroing: a system tells the failure of a write once to each
    /// opening, and the zeroing's sync must not take it away from the sync that an entry waits for.
    zeros: Box<dyn DiskFile>,
    pub(crate) bytes: u64,
    path: Mutex<PathBuf>,
    progress: Mutex<Progress>,
    idle: Condvar,
}

/// Who may touch which bytes: the zeroing never goes below `written_to`, entries never meet `zeroing`.
#[derive(Default)]
struct Progress {
    written_to: u64,
    zeroed_to: u64,
    zeroing: Option<(u64, u64)>,
    unsynced_steps: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Space {
    /// Creates the file `path` with `bytes` of room.
    pub(crate) fn create(dir: &Dir, path: &Path, bytes: u64) -> Result<Space, LogError> {
        let file = dir.disk.open_direct(path, Mode::CreateNew);
        let file = file.map_err(LogError::room("create", path, bytes))?;
        let space = Space::over(dir, file, path, bytes, 0).and_then(|space| {
            // The log's own files leave room for its mark: a trim needs that most when the disk is full.
            space.allocate(bytes + BLOCK)?;
            space.file.set_len(bytes).map_err(LogError::io("shorten", path))?;
            Ok(space)
        });
        if space.is_err() {
            // Half a file is of no use, and on a full disk its room is needed.
            let _ = dir.disk.remove(path);
        }
        space
    }

    /// Opens the existing segment `path`, whose entries end at `written_to`, and restores its full room.
    pub(crate) fn open(dir: &Dir, path: &Path, bytes: u64, written_to: u64) -> Result<Space, LogError> {
        let space = Space::over(dir, dir.open_direct(path)?, path, bytes, written_to)?;
        space.allocate(bytes)?;
        Ok(space)
    }

    fn over(
        dir: &Dir,
        file: Box<dyn DiskFile>,
        path: &Path,
        bytes: u64,
        written_to: u64,
    ) -> Result<Space, LogError> {
        let zeros = dir.open_direct(path)?;
        let progress = Progress { written_to, zeroed_to: written_to, ..Progress::default() };
        let (path, progress, idle) = (Mutex::new(path.to_owned()), Mutex::new(progress), Condvar::new());
        Ok(Space { dir: dir.clone(), file, zeros, bytes, path, progress, idle })
    }

    /// Sets `bytes` aside.
    fn allocate(&self, bytes: u64) -> Result<(), LogError> {
        match self.file.allocate(bytes) {
            // Only writing tells whether there is room.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                while self.zero_step()? {}
                Ok(())
            }
            allocated => allocated.map_err(LogError::room("preallocate", &self.path(), self.bytes)),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        lock(&self.path).clone()
    }

    /// Renames the file.
    pub(crate) fn rename(&self, to: &Path) -> Result<(), LogError> {
        let mut path = lock(&self.path);
        self.dir.disk.rename(&path, to).map_err(LogError::io("rename", &path))?;
        to.clone_into(&mut path);
        Ok(())
    }

    /// Claims the bytes from `offset` to `end` for entries.
    pub(crate) fn claim(&self, offset: u64, end: u64) {
        let mut progress = lock(&self.progress);
        progress.written_to = progress.written_to.max(end);
        let mut met = false;
        while progress.zeroing.is_some_and(|(from, to)| from < end && offset < to) {
            met = true;
            progress = self.idle.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        if met {
            progress.zeroed_to = progress.zeroed_to.max(end + JUMP);
        }
    }

    /// Zeroes the next bytes that no entry has claimed; returns whether there are more.
    fn zero_step(&self) -> Result<bool, LogError> {
        let mut progress = lock(&self.progress);
        let from = progress.zeroed_to.max(progress.written_to);
        let more = from < self.bytes;
        if more {
            let to = (from + STEP).min(self.bytes);
            progress.zeroing = Some((from, to));
            drop(progress);
            let zeros = AlignedBuf::zeroed((to - from) as usize);
            let written = self.zeros.write_all_at(&zeros, from);
            progress = lock(&self.progress);
            progress.zeroing = None;
            self.idle.notify_all();
            written.map_err(LogError::room("write zeros to", &self.path(), self.bytes))?;
            progress.zeroed_to = progress.zeroed_to.max(to);
            progress.unsynced_steps += 1;
        }
        let sync = progress.unsynced_steps >= STEPS_PER_SYNC || !more && progress.unsynced_steps > 0;
        if sync {
            progress.unsynced_steps = 0;
            drop(progress);
            self.zeros.sync().map_err(LogError::io("sync", &self.path()))?;
        }
        Ok(more)
    }
}

enum Next {
    None,
    Asked,
    Ready(Arc<Space>),
    Failed,
}

struct State {
    next: Next,
    next_bytes: u64,
    to_zero: VecDeque<Arc<Space>>,
    /// Whether a thread does the helper's work.
    helped: bool,
    closing: bool,
}

/// A piece of the helper's work.
enum Job {
    /// Make a spare of so many bytes.
    Make(u64),
    /// Zero a little of the space that is first in line.
    Zero(Arc<Space>),
}

impl State {
    fn job(&self) -> Option<Job> {
        if matches!(self.next, Next::Asked) {
            return Some(Job::Make(self.next_bytes));
        }
        self.to_zero.front().cloned().map(Job::Zero)
    }
}

/// Prepares segment files before they are needed.
pub(crate) struct Preparer {
    dir: Dir,
    names: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
}

impl Preparer {
    pub(crate) fn new(dir: Dir, current: Arc<Space>) -> Preparer {
        let to_zero = VecDeque::from([current]);
        let state = State { next: Next::None, next_bytes: 0, to_zero, helped: false, closing: false };
        Preparer { dir, names: AtomicU64::new(0), state: Mutex::new(state), wake: Condvar::new() }
    }

    fn create(&self, bytes: u64) -> Result<Arc<Space>, LogError> {
        let name = self.names.fetch_add(1, Ordering::Relaxed);
        Space::create(&self.dir, &self.dir.join(&format!("next-{name}.tmp")), bytes).map(Arc::new)
    }

    /// Asks for a spare segment file, unless one is there or could not be made.
    pub(crate) fn ask(&self, bytes: u64) {
        let mut state = lock(&self.state);
        if matches!(state.next, Next::None) {
            state.next = Next::Asked;
            state.next_bytes = bytes;
            self.wake.notify_all();
        }
    }

    /// The spare segment file, or a new one.
    pub(crate) fn take(&self, bytes: u64) -> Result<Arc<Space>, LogError> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut state.next, Next::None) {
            Next::Ready(space) if space.bytes == bytes => return Ok(space),
            Next::Ready(space) => discard(&space),
            // The helper will find that it is too late and make the spare after this one.
            Next::Asked => state.next = Next::Asked,
            Next::None | Next::Failed => {}
        }
        drop(state);
        let space = match self.create(bytes) {
            // The helper may be taking up the last room just now.
            Err(LogError::DiskFull { .. }) => match self.being_made(bytes) {
                Some(spare) => return Ok(spare),
                None => self.create(bytes)?,
            },
            made => made?,
        };
        lock(&self.state).to_zero.push_back(space.clone());
        self.wake.notify_all();
        Ok(space)
    }

    /// Waits for the spare that the helper makes.
    fn being_made(&self, bytes: u64) -> Option<Arc<Space>> {
        let mut state = lock(&self.state);
        while state.helped && matches!(state.next, Next::Asked) {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut state.next, Next::None) {
            Next::Ready(space) if space.bytes == bytes => Some(space),
            other => {
                state.next = other;
                None
            }
        }
    }

    /// The helper's work until [`Preparer::close`]; an error means that the log must stop.
    pub(crate) fn run(&self) -> Result<(), LogError> {
        lock(&self.state).helped = true;
        let ended = self.help();
        lock(&self.state).helped = false;
        self.wake.notify_all();
        ended
    }

    fn help(&self) -> Result<(), LogError> {
        let mut state = lock(&self.state);
        while !state.closing {
            if let Some(job) = state.job() {
                drop(state);
                self.perform(job)?;
                state = lock(&self.state);
            } else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(())
    }

    /// One piece of the helper's work, if there is any.
    pub(crate) fn step(&self) -> Result<(), LogError> {
        let job = lock(&self.state).job();
        job.map_or(Ok(()), |job| self.perform(job))
    }

    fn perform(&self, job: Job) -> Result<(), LogError> {
        match job {
            Job::Make(bytes) => {
                let made = self.create(bytes);
                let mut state = lock(&self.state);
                // No room for a spare is no failure yet: the append that needs it will say so.
                state.next = match made {
                    Ok(space) => {
                        state.to_zero.push_back(space.clone());
                        Next::Ready(space)
                    }
                    Err(_) => Next::Failed,
                };
                self.wake.notify_all();
            }
            Job::Zero(space) => {
                if !space.zero_step()? {
                    lock(&self.state).to_zero.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Ends [`Preparer::run`] and removes the spare.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closing = true;
        if let Next::Ready(space) = std::mem::replace(&mut state.next, Next::Failed) {
            discard(&space);
        }
        self.wake.notify_all();
    }
}

/// Removes a spare; when that fails the next opening does.
fn discard(space: &Space) {
    let _ = space.dir.disk.remove(&space.path());
}
