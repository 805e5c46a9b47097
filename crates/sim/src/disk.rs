//! A disk in memory that fails as real ones do, as its seed decides.
//!
//! [`SimDisk`] is the machine's side: it takes the power away, damages bits, fills up and counts.
//! [`SimDisk::process`] is what the code under test gets: a [`Disk`]. Nothing here asks a clock, a thread or
//! the system, so the same seed and the same calls give the same disk and the same [`SimDisk::trace`].
//!
//! # What a loss of power leaves
//!
//! Of each page of 4096 bytes written since the last sync of its file: the old content, the new one, one
//! written between, or sectors of 512 bytes of all of them. A length not synced is the old or the new one.
//! Of the creations, renames and removals since the last sync of their directory: the first so many, or any
//! of them (POSIX promises no order; "All File Systems Are Not Created Equal", OSDI 2014, found none).
//! A rename is whole in itself. Directories are durable once made.
//!
//! # What a failed sync leaves
//!
//! Each page that it covered is durable, or waits for the next sync, or is forgotten, or stays in the cache
//! as if it were durable until the power goes ("Can Applications Recover from fsync Failures?", USENIX ATC
//! 2020). Every opening of the file hears of it once.

mod content;
mod faults;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pumasi_log::disk::{Lock, Mode};
use pumasi_log::{Disk, DiskFile};
use pumasi_types::Time;

use content::{Content, PAGE};

use crate::dice::Dice;

pub use faults::{FaultCounts, Faults};

/// What stops.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Machine,
    Processes,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inode(u64);

/// A change of names that no sync has made durable yet.
#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf, Inode),
    Remove(PathBuf, Inode),
}

impl NameChange {
    /// The path whose directory must be synced.
    fn path(&self) -> &Path {
        match self {
            NameChange::Create(path, _) | NameChange::Rename(_, path, _) | NameChange::Remove(path, _) => {
                path
            }
        }
    }

    fn inode(&self) -> Inode {
        match self {
            NameChange::Create(_, inode) | NameChange::Rename(_, _, inode) | NameChange::Remove(_, inode) => {
                *inode
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        let unname = |names: &mut BTreeMap<PathBuf, Inode>, path: &Path, inode: Inode| {
            // The name may be another file's by now, when the change before this one was lost.
            if names.get(path) == Some(&inode) {
                names.remove(path);
            }
        };
        match self {
            NameChange::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to, inode) => {
                unname(names, from, *inode);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove(path, inode) => unname(names, path, *inode),
        }
    }
}

/// Everything behind the lock.
#[derive(Clone, Debug)]
struct Machine {
    dice: Dice,
    faults: Faults,
    counts: FaultCounts,
    files: BTreeMap<Inode, Content>,
    /// How many openings of each file there are.
    open: BTreeMap<Inode, u64>,
    last_inode: u64,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    now: Time,
    /// Whether syncs do nothing.
    lies: bool,
    /// Which life of processes this is: those of former ones are dead.
    life: u64,
    off: bool,
    operations: u64,
    /// The operation in which something stops, and what.
    stop_at: Option<(u64, Stop)>,
    trace: u64,
    recorded: Option<Vec<String>>,
}

/// A simulated disk with its machine. Clones are the same disk; [`SimDisk::copy`] makes another.
#[derive(Clone, Debug)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
}

fn gone() -> io::Error {
    io::Error::other("the simulated machine stopped")
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn absent() -> io::Error {
    ErrorKind::NotFound.into()
}

impl SimDisk {
    /// An empty disk without faults whose chances `seed` decides.
    pub fn new(seed: u64) -> SimDisk {
        let machine = Machine {
            dice: Dice::new(seed),
            faults: Faults::default(),
            counts: FaultCounts::default(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            last_inode: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            dirs: BTreeSet::new(),
            locks: BTreeSet::new(),
            capacity: None,
            now: Time(0),
            lies: false,
            life: 0,
            off: false,
            operations: 0,
            stop_at: None,
            trace: 0,
            recorded: None,
        };
        SimDisk { machine: Arc::new(Mutex::new(machine)) }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a process that is started now has it; all it does fails after [`SimDisk::kill`] or a crash.
    pub fn process(&self) -> Arc<dyn Disk> {
        Arc::new(Process { disk: self.clone(), life: self.machine().life })
    }

    /// Another disk in the same state whose chances `seed` decides; cheap, for they share pages until one of
    /// them writes.
    pub fn copy(&self, seed: u64) -> SimDisk {
        let machine = Machine { dice: Dice::new(seed), ..self.machine().clone() };
        SimDisk { machine: Arc::new(Mutex::new(machine)) }
    }

    /// A copy that makes no faults any more, for a look at what is there.
    pub fn sound_copy(&self, seed: u64) -> SimDisk {
        let copy = self.copy(seed);
        copy.set_faults(Faults::default());
        copy.set_free(None);
        copy.cancel_stop();
        copy
    }

    /// Looks at what is there through handles that are open, while nothing fails or stops.
    pub fn at_peace<T>(&self, look: impl FnOnce() -> T) -> T {
        let (faults, stop_at, operations) = {
            let machine = self.machine();
            (machine.faults, machine.stop_at, machine.operations)
        };
        self.set_faults(Faults::default());
        self.cancel_stop();
        let seen = look();
        let mut machine = self.machine();
        let done = machine.operations - operations;
        machine.faults = faults;
        machine.stop_at = stop_at.map(|(at, what)| (at + done, what));
        seen
    }

    /// Sets which operations fail from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.machine().faults = faults;
    }

    /// Leaves `bytes` of free room on the disk from now on; any number when none.
    pub fn set_free(&self, bytes: Option<u64>) {
        let mut machine = self.machine();
        machine.capacity = bytes.map(|bytes| machine.used() + bytes);
    }

    /// Sets the machine's clock, which only dates files.
    pub fn set_now(&self, now: Time) {
        self.machine().now = now;
    }

    /// Ends all processes: their locks are free, what they wrote is still in the cache.
    pub fn kill(&self) {
        self.machine().stop(Stop::Processes);
    }

    /// Ends all processes in the `operations`-th operation from now, 1 being the next.
    pub fn kill_in(&self, operations: u64) {
        self.stop_in(operations, Stop::Processes);
    }

    /// Takes the power away: nothing works until [`SimDisk::reboot`].
    pub fn crash(&self) {
        self.machine().stop(Stop::Machine);
    }

    /// Takes the power away in the `operations`-th operation from now, 1 being the next.
    pub fn crash_in(&self, operations: u64) {
        self.stop_in(operations, Stop::Machine);
    }

    fn stop_in(&self, operations: u64, what: Stop) {
        let mut machine = self.machine();
        machine.stop_at = Some((machine.operations + operations, what));
    }

    /// What was to stop goes on after all.
    pub fn cancel_stop(&self) {
        self.machine().stop_at = None;
    }

    /// From now on a sync does nothing, as with a drive whose cache lies.
    pub fn lie(&self) {
        self.machine().lies = true;
    }

    /// Whether the power is away.
    pub fn is_off(&self) -> bool {
        self.machine().off
    }

    /// Which life of processes this is: a kill and a crash begin another one.
    pub fn life(&self) -> u64 {
        self.machine().life
    }

    /// Gives the power back. What the crash left is there; processes must be started anew.
    pub fn reboot(&self) {
        let mut machine = self.machine();
        (machine.off, machine.stop_at) = (false, None);
    }

    /// Lets a bit rot among the bytes `range` of the file `path`; returns the byte's place.
    ///
    /// None when there is no such byte, or when a cache hides it because it was not synced.
    pub fn rot(&self, path: &Path, range: std::ops::Range<u64>) -> Option<u64> {
        let mut machine = self.machine();
        let inode = *machine.names.get(path)?;
        let at = range.start + machine.dice.below(range.end.checked_sub(range.start)?);
        let bit = (machine.dice.roll() % 8) as u8;
        machine.files.get_mut(&inode)?.flip(at, bit).then_some(())?;
        machine.counts.bits_flipped += 1;
        Some(at)
    }

    /// All files and their lengths in bytes, in the order of their names.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let machine = self.machine();
        machine.names.iter().map(|(path, inode)| (path.clone(), machine.files[inode].len())).collect()
    }

    /// The faults made so far.
    pub fn counts(&self) -> FaultCounts {
        self.machine().counts
    }

    /// How many operations processes asked for.
    pub fn operations(&self) -> u64 {
        self.machine().operations
    }

    /// A hash over every operation with its operands and its outcome: equal histories have equal ones.
    pub fn trace(&self) -> u64 {
        self.machine().trace
    }

    /// Begins to keep a line of text about every operation, or returns those kept so far.
    pub fn record(&self) -> Vec<String> {
        self.machine().recorded.replace(Vec::new()).unwrap_or_default()
    }
}

impl Machine {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode].room()).sum()
    }

    /// How many of `lacking` bytes of room there are.
    fn free(&mut self, lacking: u64) -> u64 {
        match self.capacity {
            Some(capacity) if lacking > 0 => {
                let free = capacity.saturating_sub(self.used()) / PAGE as u64 * PAGE as u64;
                self.counts.full += u64::from(free < lacking);
                free.min(lacking)
            }
            _ => lacking,
        }
    }

    fn stop(&mut self, what: Stop) {
        match what {
            Stop::Machine => self.crash(),
            Stop::Processes => {
                self.counts.kills += 1;
                self.end_processes();
            }
        }
    }

    fn end_processes(&mut self) {
        self.life += 1;
        self.stop_at = None;
        self.locks.clear();
        self.open.clear();
        self.forget_unnamed();
    }

    fn crash(&mut self) {
        self.counts.crashes += 1;
        self.off = true;
        let prefix = self.dice.once_in(2).then(|| self.dice.below(self.changes.len() as u64 + 1));
        for (place, change) in std::mem::take(&mut self.changes).iter().enumerate() {
            let kept = prefix.map_or_else(|| self.dice.once_in(2), |count| (place as u64) < count);
            if kept {
                self.counts.names_kept += 1;
                change.apply(&mut self.durable_names);
            } else {
                self.counts.names_lost += 1;
            }
        }
        self.names = self.durable_names.clone();
        self.end_processes();
        for content in self.files.values_mut() {
            content.crash(&mut self.dice, &mut self.counts);
        }
    }

    /// Forgets the files that no name and no opening can reach any more.
    fn forget_unnamed(&mut self) {
        let named: BTreeSet<Inode> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .chain(self.open.keys())
            .copied()
            .chain(self.changes.iter().map(NameChange::inode))
            .collect();
        self.files.retain(|inode, _| named.contains(inode));
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(absent)
    }

    fn content(&mut self, inode: Inode) -> io::Result<&mut Content> {
        self.files.get_mut(&inode).ok_or_else(absent)
    }

    fn open(&mut self, path: &Path, mode: Mode) -> io::Result<(Inode, u64)> {
        let inode = match (self.names.get(path), mode) {
            (Some(_), Mode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => *inode,
            (None, Mode::Read | Mode::Write) => return Err(absent()),
            (None, Mode::Create | Mode::CreateNew) => {
                if !path.parent().is_some_and(|dir| self.dirs.contains(dir)) {
                    return Err(absent());
                }
                self.last_inode += 1;
                let inode = Inode(self.last_inode);
                self.files.insert(inode, Content::default());
                self.change(NameChange::Create(path.to_owned(), inode));
                inode
            }
        };
        Ok((inode, self.content(inode)?.failures))
    }

    fn write(&mut self, inode: Inode, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut take = bytes.len();
        if take > 1 && self.dice.once_in(self.faults.short_writes) {
            self.counts.short_writes += 1;
            // A device takes whole blocks, and writes past the cache must go on at one.
            take = (self.dice.below(take as u64) as usize / PAGE * PAGE).max(PAGE.min(take));
        }
        let end = offset + take as u64;
        let lacking = self.content(inode)?.room_lacking(end);
        let missing = lacking - self.free(lacking);
        if missing > 0 {
            let fits = (end.next_multiple_of(PAGE as u64) - missing).saturating_sub(offset);
            take = take.min(usize::try_from(fits).unwrap_or(usize::MAX));
            if take == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
        }
        let fails = self.dice.once_in(self.faults.write_errors);
        if fails {
            take = self.dice.below(take as u64 + 1) as usize;
        }
        self.content(inode)?.write(offset, &bytes[..take]);
        if fails {
            self.counts.write_errors += 1;
            return Err(broken());
        }
        Ok(take)
    }

    fn allocate(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        if self.dice.once_in(self.faults.write_errors) {
            self.counts.write_errors += 1;
            return Err(broken());
        }
        let lacking = self.content(inode)?.room_lacking(bytes);
        if self.free(lacking) < lacking {
            return Err(ErrorKind::StorageFull.into());
        }
        self.content(inode)?.allocate(bytes);
        Ok(())
    }

    fn sync(&mut self, inode: Inode, told: &AtomicU64) -> io::Result<()> {
        if self.lies {
            return Ok(());
        }
        let fails = self.dice.once_in(self.faults.sync_errors);
        // Not through `content`, because the dice are needed besides it.
        let content = self.files.get_mut(&inode).ok_or_else(absent)?;
        if fails {
            self.counts.sync_errors += 1;
            content.fail_sync(&mut self.dice, &mut self.counts);
        }
        if told.swap(content.failures, Ordering::Relaxed) < content.failures {
            return Err(broken());
        }
        content.sync();
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if !self.dirs.contains(dir) {
            return Err(absent());
        }
        for change in std::mem::take(&mut self.changes) {
            if change.path().parent() == Some(dir) {
                change.apply(&mut self.durable_names);
            } else {
                self.changes.push(change);
            }
        }
        self.forget_unnamed();
        Ok(())
    }

    fn interrupt(&mut self) -> io::Result<()> {
        if self.dice.once_in(self.faults.interruptions) {
            self.counts.interruptions += 1;
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn fail_names(&mut self) -> io::Result<()> {
        if self.dice.once_in(self.faults.name_errors) {
            self.counts.name_errors += 1;
            return Err(broken());
        }
        Ok(())
    }

    fn trace(&mut self, word: u64) {
        self.trace = (self.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn trace_bytes(&mut self, bytes: &[u8]) {
        self.trace(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.trace(u64::from_le_bytes(word));
        }
    }
}

/// What a process can see of the disk.
#[derive(Clone, Debug)]
struct Process {
    disk: SimDisk,
    life: u64,
}

impl Process {
    /// Does one operation, unless the machine stops before it or in it; says so in the trace.
    fn operate<T>(
        &self,
        name: &'static str,
        object: &Path,
        operands: [u64; 2],
        operation: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut machine = self.disk.machine();
        if machine.off || machine.life != self.life {
            return Err(gone());
        }
        machine.operations += 1;
        let now = machine.operations;
        let stop = machine.stop_at.and_then(|(at, what)| (at == now).then_some(what));
        // It stops before the operation or after it; the process does not hear of it either way.
        let before = stop.filter(|_| machine.dice.once_in(2));
        if let Some(what) = before {
            machine.stop(what);
            return Err(gone());
        }
        let result = operation(&mut machine);
        machine.trace_bytes(name.as_bytes());
        machine.trace_bytes(object.as_os_str().as_encoded_bytes());
        machine.trace(operands[0]);
        machine.trace(operands[1]);
        machine.trace(result.as_ref().err().map_or(0, |error| 1 + error.kind() as u64));
        if let Some(recorded) = &mut machine.recorded {
            let outcome = result.as_ref().err().map_or("done".to_owned(), ToString::to_string);
            recorded.push(format!("{name} {} {operands:?}: {outcome}", object.display()));
        }
        if let Some(what) = stop {
            machine.stop(what);
            // Before the result, which may be an opening or a lock that wants the machine when dropped.
            drop(machine);
            return Err(gone());
        }
        result
    }

    fn open_file(&self, path: &Path, mode: Mode, past_cache: bool) -> io::Result<Box<dyn DiskFile>> {
        self.operate("open", path, [mode as u64, u64::from(past_cache)], |machine| {
            machine.fail_names()?;
            let (inode, failures) = machine.open(path, mode)?;
            *machine.open.entry(inode).or_default() += 1;
            let told = AtomicU64::new(failures);
            let (process, path) = (self.clone(), path.to_owned());
            Ok(Box::new(OpenFile { process, path, inode, past_cache, told }) as Box<dyn DiskFile>)
        })
    }
}

impl Disk for Process {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, mode, false)
    }

    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, mode, true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.operate("list", dir, [0, 0], |machine| {
            machine.fail_names()?;
            if !machine.dirs.contains(dir) {
                return Err(absent());
            }
            let inside = |path: &&PathBuf| path.parent() == Some(dir);
            let mut found: Vec<_> = machine.names.keys().filter(inside).cloned().collect();
            // Directories have no order.
            for place in (1..found.len()).rev() {
                found.swap(place, machine.dice.below(place as u64 + 1) as usize);
            }
            Ok(found)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate("rename", to, [0, 0], |machine| {
            machine.fail_names()?;
            let inode = machine.inode(from)?;
            machine.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate("remove", path, [0, 0], |machine| {
            machine.fail_names()?;
            let inode = machine.inode(path)?;
            machine.change(NameChange::Remove(path.to_owned(), inode));
            Ok(())
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate("create_dir", dir, [0, 0], |machine| {
            machine.fail_names()?;
            machine.dirs.extend(dir.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate("sync_dir", dir, [0, 0], |machine| {
            machine.fail_names()?;
            machine.sync_dir(dir)
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.operate("lock", path, [0, 0], |machine| {
            machine.fail_names()?;
            machine.open(path, Mode::Create)?;
            if !machine.locks.insert(path.to_owned()) {
                return Ok(Lock::Held(None));
            }
            let held = HeldLock { process: self.clone(), path: path.to_owned() };
            Ok(Lock::Taken(Box::new(held) as Box<dyn Any + Send + Sync>))
        })
    }

    fn now(&self) -> Time {
        self.disk.machine().now
    }

    fn key(&self) -> io::Result<[u8; 32]> {
        let mut machine = self.disk.machine();
        let mut key = [0; 32];
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&machine.dice.roll().to_le_bytes()));
        Ok(key)
    }
}

/// Frees a lock when dropped, if its process still lives.
struct HeldLock {
    process: Process,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut machine = self.process.disk.machine();
        if machine.life == self.process.life {
            machine.locks.remove(&self.path);
        }
    }
}

/// One opening of a file.
#[derive(Debug)]
struct OpenFile {
    process: Process,
    /// What it was called when it was opened.
    path: PathBuf,
    inode: Inode,
    past_cache: bool,
    /// Of how many failed syncs this opening has heard.
    told: AtomicU64,
}

impl OpenFile {
    /// Past the cache, only whole blocks at whole blocks' places can be read and written.
    fn check_aligned(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = |number: u64| number.is_multiple_of(PAGE as u64);
        if self.past_cache
            && !(aligned(offset) && aligned(bytes.len() as u64) && aligned(bytes.as_ptr() as u64))
        {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut machine = self.process.disk.machine();
        if machine.life == self.process.life
            && let Some(count) = machine.open.get_mut(&self.inode)
        {
            *count -= 1;
            if *count == 0 {
                machine.open.remove(&self.inode);
            }
        }
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_aligned(buffer, offset)?;
        self.process.operate("read", &self.path, [offset, buffer.len() as u64], |machine| {
            machine.interrupt()?;
            if machine.dice.once_in(machine.faults.read_errors) {
                machine.counts.read_errors += 1;
                return Err(broken());
            }
            Ok(machine.content(self.inode)?.read(offset, buffer, self.past_cache))
        })
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut at = offset;
        for slice in slices {
            self.check_aligned(slice, at)?;
            at += slice.len() as u64;
        }
        let bytes = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        self.process.operate("write", &self.path, [offset, bytes.len() as u64], |machine| {
            machine.trace_bytes(&bytes);
            machine.interrupt()?;
            machine.write(self.inode, &bytes, offset)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.process.operate("sync", &self.path, [0, 0], |machine| machine.sync(self.inode, &self.told))
    }

    fn len(&self) -> io::Result<u64> {
        self.process.operate("len", &self.path, [0, 0], |machine| Ok(machine.content(self.inode)?.len()))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.process.operate("set_len", &self.path, [bytes, 0], |machine| {
            machine.content(self.inode)?.set_len(bytes);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.process
            .operate("allocate", &self.path, [bytes, 0], |machine| machine.allocate(self.inode, bytes))
    }
}
