//! Writing below a folder of this machine and nowhere else: no link that lies in it is ever followed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pumasi_types::{FilePath, Hash};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::scan::{PART, Stamp, nanoseconds};
use crate::error::CliError;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder below which files are written. Whoever names it may name a link to it; from there on none is followed.
#[derive(Debug)]
pub(crate) struct Below {
    root: OwnedFd,
    path: PathBuf,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// A file.
    File(Stamp),
    /// A folder.
    Folder,
    /// A link, device, pipe or socket.
    Other,
}

impl Below {
    /// Opens a folder, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Below, CliError> {
        std::fs::create_dir_all(path).map_err(CliError::file("create", path))?;
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| CliError::file("open", path)(error.into()))?;
        Ok(Below { root, path: path.to_owned() })
    }

    /// How a path below it is called on this machine.
    pub(crate) fn name(&self, path: &FilePath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(path.as_str()) }
    }

    /// What lies at a path; nothing also when a folder above it is missing or is none.
    pub(crate) fn look(&self, path: &FilePath) -> Result<Option<There>, CliError> {
        let looked = self.parent(path, false).and_then(|(parent, name)| {
            rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
        });
        match looked {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => There::File(Stamp {
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
                    changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
                    inode: stat.st_ino,
                }),
                FileType::Directory => There::Folder,
                _ => There::Other,
            })),
            Err(error) if nothing_there(&error) => Ok(None),
            Err(error) => Err(self.failed("read", path)(error)),
        }
    }

    /// Makes a folder and those above it.
    pub(crate) fn make_folder(&self, path: &FilePath) -> Result<(), CliError> {
        self.descend(path, true).map(drop).map_err(self.failed("create", path))
    }

    /// Opens a file for reading.
    pub(crate) fn read(&self, path: &FilePath) -> Result<File, CliError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.parent(path, false)
            .and_then(|(parent, name)| Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?))
            .map(File::from)
            .map_err(self.failed("read", path))
    }

    /// Opens what there is so far of a file that is being fetched, to go on with it; folders above it are made.
    pub(crate) fn part(&self, path: &FilePath) -> Result<File, CliError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || {
            let (parent, name) = self.parent(path, true)?;
            let file = rustix::fs::openat(&parent, part_name(name), flags, Mode::from_raw_mode(0o666))?;
            let file = File::from(file);
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("something that is no file has the name of its beginning"));
            }
            Ok(file)
        };
        open().map_err(self.failed("write", path))
    }

    /// The part is whole: it takes the place of what lies at the path, unless that is a folder.
    pub(crate) fn finish(&self, path: &FilePath) -> Result<(), CliError> {
        self.parent(path, false)
            .and_then(|(parent, name)| Ok(rustix::fs::renameat(&parent, part_name(name), &parent, name)?))
            .map_err(self.failed("write", path))
    }

    /// Returns when all that was written below it is on the disk.
    pub(crate) fn sync(&self) -> Result<(), CliError> {
        rustix::fs::syncfs(&self.root).map_err(|error| CliError::file("write", &self.path)(error.into()))
    }

    /// A folder that cannot be synced, as one on a disk that fails.
    #[cfg(test)]
    pub(crate) fn failing(path: &Path) -> Below {
        let root = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Below { root, path: path.to_owned() }
    }

    /// Forgets a part.
    pub(crate) fn drop_part(&self, path: &FilePath) {
        if let Ok((parent, name)) = self.parent(path, false) {
            // A part that stays is only a file too many, and the next fetch of it begins with it.
            let _ = rustix::fs::unlinkat(&parent, part_name(name), AtFlags::empty());
        }
    }

    /// Makes a symbolic link in place of a file or link.
    pub(crate) fn link(&self, path: &FilePath, target: &str) -> Result<(), CliError> {
        let make = || {
            let (parent, name) = self.parent(path, true)?;
            match rustix::fs::unlinkat(&parent, part_name(name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            rustix::fs::symlinkat(target, &parent, part_name(name))?;
            Ok(rustix::fs::renameat(&parent, part_name(name), &parent, name)?)
        };
        make().map_err(self.failed("write", path))
    }

    /// Renames a file in its folder, if nothing has the new name.
    pub(crate) fn rename(&self, path: &FilePath, to: &FilePath) -> Result<(), CliError> {
        let rename = || {
            let (from, name) = self.parent(path, false)?;
            let (parent, new) = self.parent(to, true)?;
            Ok(rustix::fs::renameat_with(&from, name, &parent, new, rustix::fs::RenameFlags::NOREPLACE)?)
        };
        rename().map_err(self.failed("rename", path))
    }

    /// Removes a file or link, or a folder in which nothing lies.
    pub(crate) fn remove(&self, path: &FilePath, folder: bool) -> Result<(), CliError> {
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let removed = self
            .parent(path, false)
            .and_then(|(parent, name)| Ok(rustix::fs::unlinkat(&parent, name, flags)?));
        match removed {
            Err(error) if !nothing_there(&error) => Err(self.failed("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// The open folder in which a path lies, and the path's last name.
    fn parent<'a>(&self, path: &'a FilePath, make: bool) -> io::Result<(OwnedFd, &'a str)> {
        let name = path.name().ok_or_else(|| io::Error::other("a file needs a name"))?;
        let parent = path.parent().unwrap_or_default();
        Ok((self.descend(&parent, make)?, name))
    }

    fn descend(&self, path: &FilePath, make: bool) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        for name in path.names() {
            at = match rustix::fs::openat(&at, name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                        // Another transfer was quicker.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(&at, name, FOLDER, Mode::empty())?
                }
                Err(Errno::NOTDIR | Errno::LOOP) if make => {
                    let problem = format!("'{name}' in it is a link or a file, and no folder");
                    return Err(io::Error::other(problem));
                }
                opened => opened?,
            };
        }
        Ok(at)
    }

    fn failed(&self, operation: &'static str, path: &FilePath) -> impl FnOnce(io::Error) -> CliError + use<> {
        let path = self.name(path);
        move |source| CliError::File { operation, path, source }
    }
}

/// Gives a file the time and the right to be run that it had where it came from.
pub(crate) fn dress(file: &File, modified_ns: Option<u64>, executable: bool) -> io::Result<()> {
    let mode = rustix::fs::fstat(file)?.st_mode & 0o777;
    // Who may read it may run it.
    let wanted = if executable { mode | ((mode & 0o444) >> 2) } else { mode & !0o111 };
    if wanted != mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(wanted))?;
    }
    if let Some(modified) = modified_ns {
        let seconds = i64::try_from(modified / 1_000_000_000).unwrap_or(i64::MAX);
        let nanoseconds = i64::try_from(modified % 1_000_000_000).unwrap_or(0);
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        };
        rustix::fs::futimens(file, &times)?;
    }
    Ok(())
}

fn part_name(name: &str) -> String {
    // A name may have 255 bytes: of a longer one its hash stands for it.
    if name.len() + PART.len() < FilePath::NAME_BYTES {
        return format!(".{name}{PART}");
    }
    let hash = Hash::of(name.as_bytes());
    format!(".{hash}{PART}")
}

fn nothing_there(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|code| errno == Some(code.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn path(text: &str) -> FilePath {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "untouched").unwrap();
        let below = Below::open(&inside).unwrap();
        symlink(&outside, inside.join("way")).unwrap();
        symlink(outside.join("file"), inside.join("file")).unwrap();
        symlink(outside.join("file"), inside.join(part_name("b"))).unwrap();

        assert!(below.part(&path("way/new")).is_err() && below.make_folder(&path("way/deep/er")).is_err());
        assert!(below.part(&path("b")).is_err(), "not even through a part that was prepared");
        assert!(below.read(&path("way/file")).is_err() && below.read(&path("file")).is_err());
        assert_eq!(below.look(&path("way/file")).unwrap(), None);
        below.remove(&path("way/file"), false).unwrap();
        below.part(&path("file")).unwrap().write_all(b"new").unwrap();
        below.finish(&path("file")).unwrap();
        assert!(inside.join("file").symlink_metadata().unwrap().is_file(), "the link itself was replaced");
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn a_file_gets_its_time_and_its_rights() {
        let dir = tempfile::tempdir().unwrap();
        let below = Below::open(dir.path()).unwrap();
        let long = path(&format!("a/{}", "x".repeat(255)));
        dress(&below.part(&long).unwrap(), Some(1_234_567_890_123_456_789), true).unwrap();
        below.finish(&long).unwrap();
        let metadata = std::fs::metadata(below.name(&long)).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_234_567_890, 123_456_789));
        assert_ne!(metadata.mode() & 0o100, 0);
        dress(&below.read(&long).unwrap(), None, false).unwrap();
        assert_eq!(std::fs::metadata(below.name(&long)).unwrap().mode() & 0o111, 0);
        below.link(&long, "nowhere").unwrap();
        assert_eq!(below.look(&long).unwrap(), Some(There::Other));
    }
}
