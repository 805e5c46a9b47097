//! The log's directory: names of its files, its lock, and changes that survive a crash.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::{LogError, Seq};

/// A segment file: its name only, nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) first: Seq,
    pub(crate) path: PathBuf,
}

pub(crate) fn segment_path(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{:016x}.log", first.0))
}

/// The number in a name of 16 hexadecimal digits and `extension`.
pub(crate) fn numbered(path: &Path, extension: &str) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(extension)?;
    let plain = stem.len() == 16 && stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(stem, 16).ok() } else { None }
}

/// The segments in `dir`, oldest first.
pub(crate) fn segments(dir: &Path) -> Result<Vec<SegmentFile>, LogError> {
    let mut found = Vec::new();
    for path in paths(dir)? {
        if let Some(first) = numbered(&path, ".log") {
            found.push(SegmentFile { first: Seq(first), path });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// All files in `dir`.
pub(crate) fn paths(dir: &Path) -> Result<Vec<PathBuf>, LogError> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        found.push(item.map_err(LogError::io("list", dir))?.path());
    }
    Ok(found)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(LogError::io("sync", dir))
}

/// Creates `dir` and makes its own name durable.
pub(crate) fn create(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(LogError::io("create", dir))?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => sync(parent),
        _ => Ok(()),
    }
}

/// Replaces the file `name` in `dir` so that after a crash it is the old or the new one, whole.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(name));
    let room = bytes.len() as u64;
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(LogError::room("write", &temporary, room))?;
    fs::rename(&temporary, &path).map_err(LogError::room("rename", &temporary, room))?;
    sync(dir)
}

/// Opens or creates a file for writing past the page cache where the file system allows that.
pub(crate) fn open_direct(path: &Path, create_new: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create_new);
    let direct = options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
    match direct {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            // Refused after the file was created, or before: either way an ordinary open finds it.
            options.create_new(false).create(create_new).open(path)
        }
        opened => opened,
    }
}

/// The exclusive right to write into a log's directory; ends when dropped or when the process dies.
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<DirLock, LogError> {
        let path = dir.join("LOCK");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(LogError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = (&file).take(20).read_to_string(&mut text).ok();
                let holder = holder.and_then(|_| text.trim().parse().ok());
                return Err(LogError::Locked { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(LogError::io("lock", &path)(error)),
        }
        // The process id only helps people: a full disk must not keep them from opening the log.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirLock { _file: file })
    }
}
