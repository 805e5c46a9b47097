//! What the kernel asks, one task for each question.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::drive::{Drive, Seen};
use super::trouble::Trouble;

/// How long the kernel believes what it was told.
const BELIEVED: Duration = Duration::from_secs(1);
/// What sizes are told in, in bytes.
const BLOCK: u32 = 4_096;
/// What `O_TRUNC` is on Linux.
const TRUNCATE: i32 = 0o1000;

/// A mounted folder.
pub(super) struct Mounted {
    pub(super) drive: Arc<Drive>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Mounted {
    fn attributes(&self) -> impl Fn(&Seen) -> FileAttr + Send + use<> {
        let (uid, gid, read_only) = (self.uid, self.gid, self.drive.read_only);
        move |seen| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(seen.modified_ns);
            let perm = if seen.folder || seen.executable { 0o755 } else { 0o644 };
            FileAttr {
                ino: INodeNo(seen.number),
                size: seen.size,
                blocks: seen.size.div_ceil(512),
                atime: time,
                mtime: time,
                ctime: time,
                crtime: time,
                kind: if seen.folder { FileType::Directory } else { FileType::RegularFile },
                perm: if read_only { perm & 0o555 } else { perm },
                nlink: 1,
                uid,
                gid,
                rdev: 0,
                blksize: BLOCK,
                flags: 0,
            }
        }
    }

    fn entry(&self, reply: ReplyEntry, work: impl Future<Output = Result<Seen, Trouble>> + Send + 'static) {
        let (attributes, drive) = (self.attributes(), self.drive.clone());
        self.runtime.spawn(async move {
            match work.await {
                Ok(seen) => {
                    drive.told(seen.number);
                    reply.entry(&BELIEVED, &attributes(&seen), Generation(0));
                }
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn attr(&self, reply: ReplyAttr, work: impl Future<Output = Result<Seen, Trouble>> + Send + 'static) {
        let attributes = self.attributes();
        self.runtime.spawn(async move {
            match work.await {
                Ok(seen) => reply.attr(&BELIEVED, &attributes(&seen)),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn empty(&self, reply: ReplyEmpty, work: impl Future<Output = Result<(), Trouble>> + Send + 'static) {
        self.runtime.spawn(async move {
            match work.await {
                Ok(()) => reply.ok(),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }
}

/// A name that files of the store can have.
fn text(name: &OsStr) -> Result<String, Errno> {
    name.to_str().map(str::to_owned).ok_or(Errno::EINVAL)
}

/// Answers with an error and returns, when there is one.
macro_rules! or_error {
    ($reply:ident, $value:expr) => {
        match $value {
            Ok(value) => value,
            Err(errno) => return $reply.error(errno),
        }
    };
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (drive, name) = (self.drive.clone(), or_error!(reply, text(name)));
        self.entry(reply, async move { drive.look_in(parent.0, &name).await });
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.drive.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let drive = self.drive.clone();
        self.attr(reply, async move { drive.look(ino.0).await });
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let drive = self.drive.clone();
        let modified = mtime.map(|time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let modified_ns = modified.map(|time| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        let executable = mode.map(|mode| mode & 0o100 != 0);
        self.attr(reply, async move { drive.change(ino.0, size, modified_ns, executable).await });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let (drive, name) = (self.drive.clone(), or_error!(reply, text(name)));
        self.entry(reply, async move { drive.make_folder(parent.0, &name).await });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (drive, name) = (self.drive.clone(), or_error!(reply, text(name)));
        self.empty(reply, async move { drive.remove(parent.0, &name, false).await });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (drive, name) = (self.drive.clone(), or_error!(reply, text(name)));
        self.empty(reply, async move { drive.remove(parent.0, &name, true).await });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let drive = self.drive.clone();
        let (name, newname) = (or_error!(reply, text(name)), or_error!(reply, text(newname)));
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Trouble::Unsupported.errno());
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        self.empty(
            reply,
            async move { drive.rename((parent.0, &name), (newparent.0, &newname), replace).await },
        );
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let drive = self.drive.clone();
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let truncate = writes && flags.0 & TRUNCATE != 0;
        self.runtime.spawn(async move {
            match drive.open(ino.0, writes, truncate).await {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let (drive, attributes) = (self.drive.clone(), self.attributes());
        let name = or_error!(reply, text(name));
        let executable = mode & !umask & 0o100 != 0;
        self.runtime.spawn(async move {
            match drive.create(parent.0, &name, executable).await {
                Ok((seen, handle)) => {
                    drive.told(seen.number);
                    let attr = attributes(&seen);
                    reply.created(&BELIEVED, &attr, Generation(0), FileHandle(handle), FopenFlags::empty());
                }
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let drive = self.drive.clone();
        self.runtime.spawn(async move {
            match drive.read(fh.0, offset, size as usize).await {
                Ok(bytes) => reply.data(&bytes),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (drive, data) = (self.drive.clone(), bytes::Bytes::copy_from_slice(data));
        self.runtime.spawn(async move {
            match drive.write(fh.0, offset, &data).await {
                Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let drive = self.drive.clone();
        self.empty(reply, async move { drive.store(fh.0).await });
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        let drive = self.drive.clone();
        self.empty(reply, async move { drive.store(fh.0).await });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let drive = self.drive.clone();
        self.empty(reply, async move { drive.close(fh.0).await });
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let drive = self.drive.clone();
        self.runtime.spawn(async move {
            match drive.open_folder(ino.0).await {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let folder = self.drive.folder(fh.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let dots = [".", ".."].map(|name| (ino.0, true, name.to_owned()));
        let all = dots.iter().chain(folder.iter()).enumerate().skip(from);
        for (index, (number, is_folder, name)) in all {
            let kind = if *is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(*number), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.drive.close_folder(fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let drive = self.drive.clone();
        self.runtime.spawn(async move {
            match drive.room().await {
                Ok((quota, used)) => {
                    let (blocks, free) =
                        (quota / u64::from(BLOCK), quota.saturating_sub(used) / u64::from(BLOCK));
                    reply.statfs(blocks, free, free, 0, 0, BLOCK, 255, BLOCK);
                }
                Err(trouble) => reply.error(trouble.errno()),
            }
        });
    }
}
