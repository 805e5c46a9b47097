//! What lies in a folder of this machine: files, links and empty folders, without following any link.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pumasi_types::FilePath;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// How files are called that another command is writing; they are passed over.
pub(crate) const PART: &str = ".pumasi-part";

/// Tells whether a file was changed since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    /// When its content changed, in nanoseconds since the Unix epoch; 0 when that was before.
    pub(crate) modified_ns: u64,
    /// When anything of it changed: this cannot be set back as the other can.
    pub(crate) changed_ns: u64,
    /// Which file it is, on its disk.
    pub(crate) inode: u64,
}

impl Stamp {
    /// The stamp of a file.
    pub(crate) fn of(file: &Metadata) -> Stamp {
        Stamp {
            size: file.len(),
            modified_ns: nanoseconds(file.mtime(), file.mtime_nsec()),
            changed_ns: nanoseconds(file.ctime(), file.ctime_nsec()),
            inode: file.ino(),
        }
    }
}

/// A time of the system in nanoseconds since the Unix epoch; 0 when it is before.
pub(crate) fn nanoseconds(seconds: i64, rest: impl TryInto<u64>) -> u64 {
    let whole = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(rest.try_into().unwrap_or(0))
}

/// A file, link or folder below the one that was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path below that folder; empty for a single file that was scanned.
    pub(crate) path: FilePath,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File {
        /// Whether it was changed since.
        stamp: Stamp,
        /// Whether anybody may run it.
        executable: bool,
    },
    /// A symbolic link, with what it leads to.
    Link(String),
    /// A folder, and whether nothing lies in it.
    Folder {
        /// Nothing, not even what is passed over.
        empty: bool,
    },
}

/// All that lies in a folder, and what cannot be taken along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// Folders before what lies in them, siblings by name.
    pub(crate) found: Vec<Found>,
    /// What is left out, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// Something that cannot be taken along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Where.
    pub(crate) path: PathBuf,
    /// Why.
    pub(crate) why: String,
}

impl Scan {
    /// Looks at a file, or at a folder with all below. The link that `root` itself may be is followed: it was named.
    pub(crate) fn of(root: &Path) -> Result<Scan, CliError> {
        let metadata = fs::metadata(root).map_err(CliError::file("read", root))?;
        let mut scan = Scan::default();
        if metadata.is_dir() {
            scan.folder(root, &FilePath::root())?;
        } else if metadata.is_file() {
            scan.file(FilePath::root(), &metadata);
        } else {
            return Err(CliError::usage(
                format!("{} is neither a file nor a folder", root.display()),
                "give files, folders or `-` for standard input",
            ));
        }
        Ok(scan)
    }

    fn file(&mut self, path: FilePath, metadata: &Metadata) {
        let stamp = Stamp::of(metadata);
        self.bytes += stamp.size;
        let kind = Kind::File { stamp, executable: metadata.mode() & 0o111 != 0 };
        self.found.push(Found { path, kind });
    }

    fn folder(&mut self, dir: &Path, path: &FilePath) -> Result<(), CliError> {
        let read = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match read {
            Ok(entries) => entries,
            Err(error) if path.is_root() => return Err(CliError::file("read", dir)(error)),
            Err(error) => {
                self.leave_out(dir, error.to_string());
                return Ok(());
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        if !path.is_root() {
            let kind = Kind::Folder { empty: entries.is_empty() };
            self.found.push(Found { path: path.clone(), kind });
        }
        for entry in entries {
            let (name, below) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str() else {
                self.leave_out(&below, "its name is not UTF-8: rename it".to_owned());
                continue;
            };
            if name.ends_with(PART) {
                continue;
            }
            let joined = match path.join(name) {
                Ok(joined) => joined,
                Err(error) => {
                    self.leave_out(&below, error.to_string());
                    continue;
                }
            };
            match entry.metadata() {
                Err(error) => self.leave_out(&below, error.to_string()),
                Ok(metadata) if metadata.is_dir() => self.folder(&below, &joined)?,
                Ok(metadata) if metadata.is_file() => self.file(joined, &metadata),
                Ok(metadata) if metadata.is_symlink() => self.link(&below, joined),
                Ok(_) => self.leave_out(&below, "it is a device, pipe or socket".to_owned()),
            }
        }
        Ok(())
    }

    fn link(&mut self, link: &Path, path: FilePath) {
        match fs::read_link(link).map(|target| target.to_str().map(str::to_owned)) {
            Ok(Some(target)) => self.found.push(Found { path, kind: Kind::Link(target) }),
            Ok(None) => self.leave_out(link, "what it leads to is not UTF-8".to_owned()),
            Err(error) => self.leave_out(link, error.to_string()),
        }
    }

    fn leave_out(&mut self, path: &Path, why: String) {
        self.left_out.push(LeftOut { path: path.to_owned(), why });
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_is_found_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/empty")).unwrap();
        fs::write(root.join("a/file"), "12").unwrap();
        fs::write(root.join(format!("half{PART}")), "").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink("../secret", root.join("a/link")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"\xff")), "odd").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let scan = Scan::of(&root).unwrap();
        let seen: Vec<_> = scan
            .found
            .iter()
            .map(|found| match &found.kind {
                Kind::File { stamp, .. } => format!("{} {}", found.path, stamp.size),
                Kind::Link(target) => format!("{} -> {target}", found.path),
                Kind::Folder { empty } => format!("{}/ {empty}", found.path),
            })
            .collect();
        assert_eq!(seen, ["a/ false", "a/empty/ true", "a/file 2", "a/link -> ../secret", "out -> .."]);
        assert_eq!((scan.bytes, scan.left_out.len()), (2, 2), "{:?}", scan.left_out);
        assert_eq!(Scan::of(&root.join("a/file")).unwrap().found[0].path, FilePath::root());
        assert!(Scan::of(&root.join("missing")).is_err() && Scan::of(&root.join("pipe")).is_err());
    }
}
