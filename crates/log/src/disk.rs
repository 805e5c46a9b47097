//! The disk as logs, snapshots and journals use it: a seam behind which a simulator puts one that fails.
//!
//! [`RealDisk`] is the machine's own. Promises are POSIX's, no more: bytes are durable after
//! [`DiskFile::sync`], names after [`Disk::sync_dir`]; before that a crash may keep, lose or tear them.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pumasi_types::Time;
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// An existing file, to be read, mostly from its beginning to its end.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A file to be read and written, which is made when there is none.
    Create,
    /// A new file, to be read and written; one that exists is an error.
    CreateNew,
}

/// A lock that was asked for.
pub enum Lock {
    /// It is held as long as this guard lives, at most as long as the process.
    Taken(Box<dyn Any + Send + Sync>),
    /// Somebody else has it: the process that says so, when one does.
    Held(Option<u32>),
}

/// What to do about a failure of a file that is made again from the log, as the end of a sentence; nothing when the
/// system's own words must do.
pub fn remedy(failure: &io::Error) -> &'static str {
    match failure.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; the disk is full: nothing acknowledged is lost: free space, then start again"
        }
        _ => "",
    }
}

/// A disk with its directories, and what else a file needs from its machine.
///
/// Every error is the system's; [`ErrorKind::StorageFull`] and [`ErrorKind::QuotaExceeded`] mean that there
/// is no room.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens the file `path`.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;

    /// Opens the file `path` past the page cache where the system allows that.
    ///
    /// Then what is read is what the device holds, also after a failed sync, and every offset, length and
    /// address in memory must be a multiple of [`BLOCK`](crate::format::BLOCK).
    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;

    /// All files in `dir`, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Renames a file, replacing any other of the new name: after a crash it is one or the other.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates `dir` and what is missing above it, and makes their names durable, also when others made them.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes durable what was created, renamed and removed in `dir`.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Asks for the lock that the file `path` stands for, and makes the file when there is none.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// The machine's clock, for dates that only people read.
    fn now(&self) -> Time;

    /// 32 bytes that nobody can guess, for a new file.
    fn key(&self) -> io::Result<[u8; 32]>;
}

/// An open file of a [`Disk`].
#[allow(clippy::missing_errors_doc, reason = "said at the disk")]
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads bytes at `offset` into `buffer` and returns how many; 0 only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes the slices one after another at `offset` and returns how many bytes it took.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Makes what was written, and the file's length, durable. Of what a failed sync covered, nobody knows
    /// what the disk holds.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }

    /// Cuts the file or extends it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Sets room for the first `bytes` aside and makes the file at least that long;
    /// [`ErrorKind::Unsupported`] where the file system cannot.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` as far as the file goes and returns how far.
    fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Fills `buffer` from `offset`; [`ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buffer.len();
        match self.read_full_at(buffer, offset)? {
            filled if filled == length => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes all slices one after another at `offset`.
    fn write_all_vectored_at(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write_vectored_at(slices, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_vectored_at(&mut [IoSlice::new(bytes)], offset)
    }
}

/// A file read or written from one place on, for everything that wants [`Read`] or [`Write`].
#[derive(Debug)]
pub struct Sequential<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl<'a> Sequential<'a> {
    /// Begins at the byte `at` of `file`.
    pub fn new(file: &'a dyn DiskFile, at: u64) -> Sequential<'a> {
        Sequential { file, at }
    }
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Sequential<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_vectored_at(&[IoSlice::new(bytes)], self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// What an opening for each mode asks of the system.
fn options(mode: Mode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != Mode::Read);
    options.create(mode == Mode::Create).create_new(mode == Mode::CreateNew);
    options
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let file = options(mode).open(path)?;
        if mode == Mode::Read {
            // Only advice: without it reading is slower.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        Ok(Box::new(file))
    }

    fn open_direct(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        match options(mode).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                // Refused after the file was created, or before: either way an ordinary opening finds it.
                self.open(path, if mode == Mode::CreateNew { Mode::Create } else { mode })
            }
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|item| item.map(|item| item.path())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let parent = match dir.parent() {
            None => return Ok(()),
            Some(parent) if parent == Path::new("") => Path::new("."),
            Some(parent) => parent,
        };
        if !dir.is_dir() {
            if !parent.is_dir() {
                self.create_dir(parent)?;
            }
            match fs::create_dir(dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
                made => made?,
            }
        }
        match self.sync_dir(parent) {
            // Who may not look into the parent did not make the directory in it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = options(Mode::Create).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = (&file).take(20).read_to_string(&mut text);
                return Ok(Lock::Held(read.ok().and_then(|_| text.trim().parse().ok())));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The process id only helps people: a full disk must not keep them from taking the lock.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock::Taken(Box::new(file)))
    }

    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    fn key(&self) -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(key)
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, slices, offset)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(ErrorKind::Unsupported.into()),
            allocated => Ok(allocated?),
        }
    }
}
