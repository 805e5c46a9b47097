//! File descriptors and the host functions that take one.

use std::ops::Bound;

use super::abi::{Answer, Errno, FileType, Memory, Record, fdflags, rights};
use super::fs::{NodeId, Stat};
use super::{Call, ENTRY_FUEL, Guest};

/// The most descriptors open at once.
pub(crate) const FDS_MAX: usize = 1024;
/// The most buffers of one read or write, as POSIX's IOV_MAX.
pub(crate) const BUFFERS_MAX: u32 = 1024;
/// Size of a `dirent` without its name, in bytes.
const DIRENT_LEN: usize = 24;

/// An open file or folder.
pub(super) struct OpenNode {
    pub(super) node: NodeId,
    pub(super) is_folder: bool,
    /// Given to the guest at its start.
    pub(super) preopened: bool,
    /// Position of the next read or write, in bytes.
    pub(super) at: u64,
    pub(super) append: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The cookie after the last whole entry listed, and its name: a guest that removes what it lists
    /// still finds its place.
    pub(super) listed: Option<(u64, String)>,
}

/// What a descriptor stands for.
pub(super) enum Fd {
    /// Position of the next read.
    Stdin(usize),
    Stdout,
    Stderr,
    Node(OpenNode),
}

/// The open descriptors of a guest.
pub(super) struct FdTable(Vec<Option<Fd>>);

impl FdTable {
    /// stdin, stdout, stderr and the folder `/`.
    pub(super) fn new() -> FdTable {
        let root = OpenNode {
            node: NodeId::ROOT,
            is_folder: true,
            preopened: true,
            at: 0,
            append: false,
            readable: true,
            writable: false,
            listed: None,
        };
        FdTable(vec![Some(Fd::Stdin(0)), Some(Fd::Stdout), Some(Fd::Stderr), Some(Fd::Node(root))])
    }

    /// An open descriptor.
    pub(super) fn get(&self, fd: u32) -> Result<&Fd, Errno> {
        self.0.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    fn get_mut(&mut self, fd: u32) -> Result<&mut Fd, Errno> {
        self.0.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// An open file or folder.
    fn node(&self, fd: u32) -> Result<&OpenNode, Errno> {
        match self.get(fd)? {
            Fd::Node(open) => Ok(open),
            _ => Err(Errno::Spipe),
        }
    }

    /// An open file.
    fn file_mut(&mut self, fd: u32) -> Result<&mut OpenNode, Errno> {
        match self.get_mut(fd)? {
            Fd::Node(open) if open.is_folder => Err(Errno::Isdir),
            Fd::Node(open) => Ok(open),
            _ => Err(Errno::Spipe),
        }
    }

    /// The folder that paths of a call start from.
    pub(super) fn folder(&self, fd: u32) -> Result<NodeId, Errno> {
        match self.get(fd)? {
            Fd::Node(open) if open.is_folder => Ok(open.node),
            _ => Err(Errno::Notdir),
        }
    }

    fn first_free(&self) -> usize {
        self.0.iter().position(Option::is_none).unwrap_or(self.0.len())
    }

    /// Whether one more can be opened.
    pub(super) fn check_free(&self) -> Result<(), Errno> {
        if self.first_free() < FDS_MAX { Ok(()) } else { Err(Errno::Mfile) }
    }

    /// Opens one at the lowest free number.
    pub(super) fn insert(&mut self, open: OpenNode) -> Result<u32, Errno> {
        self.check_free()?;
        let number = self.first_free();
        if number == self.0.len() {
            self.0.push(None);
        }
        self.0[number] = Some(Fd::Node(open));
        Ok(number as u32)
    }
}

pub(super) fn advise(call: &mut Call<'_>, fd: u32) -> Answer {
    call.guest.fds.node(fd)?;
    Ok(())
}

pub(super) fn sync(call: &mut Call<'_>, fd: u32) -> Answer {
    call.guest.fds.get(fd)?;
    Ok(())
}

pub(super) fn not_a_socket(call: &mut Call<'_>, fd: u32) -> Answer {
    call.guest.fds.get(fd)?;
    Err(Errno::Notsock.into())
}

pub(super) fn close(call: &mut Call<'_>, fd: u32) -> Answer {
    call.guest.fds.get(fd)?;
    close_node(call.guest, fd)
}

fn close_node(guest: &mut Guest, fd: u32) -> Answer {
    if let Some(Fd::Node(open)) = guest.fds.0[fd as usize].take()
        && !open.preopened
    {
        guest.tree()?.close(open.node);
    }
    Ok(())
}

pub(super) fn renumber(call: &mut Call<'_>, from: u32, to: u32) -> Answer {
    call.guest.fds.get(from)?;
    call.guest.fds.get(to)?;
    if from != to {
        close_node(call.guest, to)?;
        call.guest.fds.0[to as usize] = call.guest.fds.0[from as usize].take();
    }
    Ok(())
}

pub(super) fn fdstat_get(call: &mut Call<'_>, fd: u32, to: u32) -> Answer {
    let (file_type, flags, base) = match call.guest.fds.get(fd)? {
        Fd::Stdin(_) => (FileType::Unknown, 0, rights::FD_READ | rights::POLL),
        Fd::Stdout | Fd::Stderr => (FileType::Unknown, 0, rights::FD_WRITE | rights::POLL),
        Fd::Node(open) if open.is_folder => (FileType::Directory, 0, rights::DIRECTORY),
        Fd::Node(open) => {
            let read = if open.readable { rights::FD_READ } else { 0 };
            let write = if open.writable { rights::FD_WRITE | rights::FILE_CHANGE } else { 0 };
            let append = if open.append { fdflags::APPEND } else { 0 };
            (FileType::RegularFile, append, rights::FILE | read | write)
        }
    };
    let inheriting = if file_type == FileType::Directory { rights::ALL } else { 0 };
    let record = Record::<24>::new()
        .with(0, [file_type as u8])
        .with(2, (flags as u16).to_le_bytes())
        .with(8, base.to_le_bytes())
        .with(16, inheriting.to_le_bytes());
    Ok(call.memory.put(to, &record.0)?)
}

pub(super) fn fdstat_set_flags(call: &mut Call<'_>, fd: u32, flags: u32) -> Answer {
    if flags & !fdflags::ALL != 0 {
        return Err(Errno::Inval.into());
    }
    if let Fd::Node(open) = call.guest.fds.get_mut(fd)? {
        open.append = flags & fdflags::APPEND != 0;
    }
    Ok(())
}

/// Rights can only be given up.
pub(super) fn set_rights(call: &mut Call<'_>, fd: u32, base: u64) -> Answer {
    if let Fd::Node(open) = call.guest.fds.get_mut(fd)? {
        open.readable &= base & rights::FD_READ != 0;
        open.writable &= base & rights::FD_WRITE != 0;
    }
    Ok(())
}

/// Stores a `filestat`.
pub(super) fn put_stat(call: &mut Call<'_>, stat: &Stat, to: u32) -> Answer {
    let record = Record::<64>::new()
        .with(0, 1_u64.to_le_bytes())
        .with(8, stat.inode.to_le_bytes())
        .with(16, [stat.file_type as u8])
        .with(24, 1_u64.to_le_bytes())
        .with(32, stat.size.to_le_bytes())
        .with(40, stat.modified.to_le_bytes())
        .with(48, stat.modified.to_le_bytes())
        .with(56, stat.modified.to_le_bytes());
    Ok(call.memory.put(to, &record.0)?)
}

pub(super) fn filestat_get(call: &mut Call<'_>, fd: u32, to: u32) -> Answer {
    let stat = match call.guest.fds.get(fd)? {
        Fd::Node(open) => {
            let node = open.node;
            call.guest.tree()?.stat(node)
        }
        _ => Stat { inode: 0, file_type: FileType::Unknown, size: 0, modified: call.guest.spec.clock.0 },
    };
    put_stat(call, &stat, to)
}

/// Sets the time of the last change; that of the last access is not kept.
pub(super) fn set_node_times(call: &mut Call<'_>, node: NodeId, times: (u64, u64), flags: u32) -> Answer {
    const ACCESS: u32 = 1 | 2;
    const CHANGE: u32 = 4;
    const CHANGE_NOW: u32 = 8;
    let change = flags & (CHANGE | CHANGE_NOW);
    if flags & !15 != 0 || flags & ACCESS == ACCESS || change == CHANGE | CHANGE_NOW {
        return Err(Errno::Inval.into());
    }
    let time = match change {
        CHANGE => times.1,
        CHANGE_NOW => call.guest.now(),
        _ => return Ok(()),
    };
    Ok(call.guest.tree()?.set_modified(node, time)?)
}

pub(super) fn set_times(call: &mut Call<'_>, fd: u32, access: u64, change: u64, flags: u32) -> Answer {
    let node = call.guest.fds.node(fd)?.node;
    set_node_times(call, node, (access, change), flags)
}

/// Gives a file that is open for writing a size.
fn resize(guest: &mut Guest, node: NodeId, size: u64) -> Answer {
    let old = guest.tree()?.bytes(node)?.len() as u64;
    let growth = size.saturating_sub(old);
    guest.need_room(growth)?;
    guest.spend_bytes(growth)?;
    let now = guest.now();
    let size = usize::try_from(size).map_err(|_| Errno::Overflow)?;
    Ok(guest.tree()?.set_size(node, size, now)?)
}

pub(super) fn set_size(call: &mut Call<'_>, fd: u32, size: u64) -> Answer {
    let open = call.guest.fds.file_mut(fd)?;
    if !open.writable {
        return Err(Errno::Inval.into());
    }
    let node = open.node;
    resize(call.guest, node, size)
}

pub(super) fn allocate(call: &mut Call<'_>, fd: u32, from: u64, len: u64) -> Answer {
    let open = call.guest.fds.file_mut(fd)?;
    if !open.writable {
        return Err(Errno::Badf.into());
    }
    let node = open.node;
    let size = from.checked_add(len).ok_or(Errno::Overflow)?;
    let old = call.guest.tree()?.bytes(node)?.len() as u64;
    if size > old { resize(call.guest, node, size) } else { Ok(()) }
}

pub(super) fn prestat_get(call: &mut Call<'_>, fd: u32, to: u32) -> Answer {
    match call.guest.fds.get(fd)? {
        Fd::Node(open) if open.preopened => Ok(call.memory.put(to, &[0, 0, 0, 0, 1, 0, 0, 0])?),
        _ => Err(Errno::Badf.into()),
    }
}

pub(super) fn prestat_dir_name(call: &mut Call<'_>, fd: u32, to: u32, len: u32) -> Answer {
    match call.guest.fds.get(fd)? {
        Fd::Node(open) if open.preopened && len >= 1 => Ok(call.memory.put(to, b"/")?),
        Fd::Node(open) if open.preopened => Err(Errno::Nametoolong.into()),
        _ => Err(Errno::Badf.into()),
    }
}

/// Bytes in a list of buffers, which are paid for by their number.
fn buffers_len(call: &mut Call<'_>, list: u32, count: u32) -> Answer<u64> {
    if count > BUFFERS_MAX {
        return Err(Errno::Inval.into());
    }
    call.guest.spend(u64::from(count) * ENTRY_FUEL)?;
    let mut sum = 0;
    for n in 0..count {
        sum += u64::from(call.memory.iovec(list, n)?.1);
    }
    Ok(sum)
}

/// What a read of a file starts from.
fn from_position(bytes: &[u8], at: u64) -> &[u8] {
    usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[])
}

/// Fills buffers from `source` as far as it goes; it is at least `wanted` bytes long.
fn scatter(memory: &mut Memory<'_>, source: &[u8], list: u32, wanted: usize) -> Result<(), Errno> {
    let mut rest = &source[..wanted];
    let mut n = 0;
    while !rest.is_empty() {
        let (at, len) = memory.iovec(list, n)?;
        let (now, later) = rest.split_at(rest.len().min(len as usize));
        memory.put(at, now)?;
        (rest, n) = (later, n + 1);
    }
    Ok(())
}

/// Reads from a file or stdin; the number of bytes read.
fn read_from(call: &mut Call<'_>, fd: u32, at: Option<u64>, list: u32, count: u32) -> Answer<usize> {
    let buffers = buffers_len(call, list, count)?;
    let (node, at) = match call.guest.fds.get(fd)? {
        Fd::Stdin(position) if at.is_none() => (None, *position as u64),
        Fd::Node(open) if open.is_folder => return Err(Errno::Isdir.into()),
        Fd::Node(open) if open.readable => (Some(open.node), at.unwrap_or(open.at)),
        Fd::Stdin(_) => return Err(Errno::Spipe.into()),
        _ => return Err(Errno::Badf.into()),
    };
    let available = match node {
        None => call.guest.spec.stdin.len(),
        Some(node) => call.guest.tree()?.bytes(node)?.len(),
    };
    let wanted = buffers.min((available as u64).saturating_sub(at));
    call.guest.spend_bytes(wanted)?;
    let source = match node {
        None => &call.guest.spec.stdin,
        Some(node) => call.guest.tree.as_ref().expect("an open file is in it").bytes(node)?,
    };
    let wanted = wanted as usize;
    scatter(&mut call.memory, from_position(source, at), list, wanted)?;
    Ok(wanted)
}

pub(super) fn read(call: &mut Call<'_>, fd: u32, list: u32, count: u32, to: u32) -> Answer {
    let len = read_from(call, fd, None, list, count)?;
    call.memory.put_u32(to, len as u32)?;
    match call.guest.fds.get_mut(fd)? {
        Fd::Stdin(at) => *at += len,
        Fd::Node(open) => open.at += len as u64,
        Fd::Stdout | Fd::Stderr => {}
    }
    Ok(())
}

pub(super) fn pread(call: &mut Call<'_>, fd: u32, list: u32, count: u32, at: u64, to: u32) -> Answer {
    let len = read_from(call, fd, Some(at), list, count)?;
    Ok(call.memory.put_u32(to, len as u32)?)
}

/// Bytes to write from a list of buffers, all of which are in memory.
fn check_buffers(call: &mut Call<'_>, list: u32, count: u32) -> Answer<u64> {
    let len = buffers_len(call, list, count)?;
    if len > u64::from(u32::MAX) {
        return Err(Errno::Inval.into());
    }
    for n in 0..count {
        let (at, len) = call.memory.iovec(list, n)?;
        call.memory.bytes(at, len)?;
    }
    Ok(len)
}

/// Appends buffers to stdout or stderr; what goes beyond the output limit is cut and ends the run.
fn write_stream(call: &mut Call<'_>, is_stdout: bool, list: u32, count: u32) -> Answer<u64> {
    let len = check_buffers(call, list, count)?;
    let room = call.guest.room();
    call.guest.spend_bytes(len.min(room))?;
    let stream = if is_stdout { &mut call.guest.stdout } else { &mut call.guest.stderr };
    let mut left = len.min(room);
    for n in 0..count {
        let (at, len) = call.memory.iovec(list, n)?;
        let fits = left.min(u64::from(len)) as u32;
        stream.extend_from_slice(call.memory.bytes(at, fits)?);
        left -= u64::from(fits);
    }
    if len > room { Err(call.guest.output_too_large().into()) } else { Ok(len) }
}

/// Writes buffers to a file that is open for it; their length and the position after them.
fn write_file(call: &mut Call<'_>, (node, at): (NodeId, u64), list: u32, count: u32) -> Answer<(u64, u64)> {
    let len = check_buffers(call, list, count)?;
    let end = at.checked_add(len).ok_or(Errno::Overflow)?;
    call.guest.spend_bytes(len)?;
    let size = call.guest.tree()?.bytes(node)?.len() as u64;
    if len > 0 {
        resize(call.guest, node, end.max(size))?;
        let mut at = usize::try_from(at).map_err(|_| Errno::Overflow)?;
        for n in 0..count {
            let (from, len) = call.memory.iovec(list, n)?;
            let bytes = call.memory.bytes(from, len)?;
            call.guest.tree()?.overwrite(node, at, bytes)?;
            at += bytes.len();
        }
    }
    Ok((len, end))
}

pub(super) fn write(call: &mut Call<'_>, fd: u32, list: u32, count: u32, to: u32) -> Answer {
    let len = match call.guest.fds.get(fd)? {
        Fd::Stdout => write_stream(call, true, list, count)?,
        Fd::Stderr => write_stream(call, false, list, count)?,
        Fd::Node(open) if open.writable => {
            let (node, at) = (open.node, open.at);
            let at = if open.append { call.guest.tree()?.bytes(node)?.len() as u64 } else { at };
            let (len, end) = write_file(call, (node, at), list, count)?;
            call.guest.fds.file_mut(fd)?.at = end;
            len
        }
        _ => return Err(Errno::Badf.into()),
    };
    Ok(call.memory.put_u32(to, len as u32)?)
}

pub(super) fn pwrite(call: &mut Call<'_>, fd: u32, list: u32, count: u32, at: u64, to: u32) -> Answer {
    let len = match call.guest.fds.get(fd)? {
        Fd::Node(open) if open.writable => {
            let node = open.node;
            write_file(call, (node, at), list, count)?.0
        }
        Fd::Stdout | Fd::Stderr => return Err(Errno::Spipe.into()),
        _ => return Err(Errno::Badf.into()),
    };
    Ok(call.memory.put_u32(to, len as u32)?)
}

pub(super) fn seek(call: &mut Call<'_>, fd: u32, offset: i64, whence: u32, to: u32) -> Answer {
    let open = call.guest.fds.file_mut(fd)?;
    let (node, at) = (open.node, open.at);
    let start = match whence {
        0 => 0,
        1 => at,
        2 => call.guest.tree()?.bytes(node)?.len() as u64,
        _ => return Err(Errno::Inval.into()),
    };
    let at = start.checked_add_signed(offset).ok_or(Errno::Inval)?;
    call.memory.put_u64(to, at)?;
    call.guest.fds.file_mut(fd)?.at = at;
    Ok(())
}

pub(super) fn tell(call: &mut Call<'_>, fd: u32, to: u32) -> Answer {
    let at = call.guest.fds.file_mut(fd)?.at;
    Ok(call.memory.put_u64(to, at)?)
}

/// `fd_readdir`: `.`, `..`, then names in byte order. A cookie is the place of the next entry.
pub(super) fn readdir(call: &mut Call<'_>, fd: u32, buffer: u32, len: u32, cookie: u64, to: u32) -> Answer {
    let node = call.guest.fds.folder(fd)?;
    call.memory.bytes(buffer, len)?;
    call.guest.tree()?;
    let guest = &mut *call.guest;
    let tree = guest.tree.as_ref().expect("built just now");
    let entries = tree.entries(node)?;
    let listed = match guest.fds.node(fd)? {
        OpenNode { listed: Some((at, name)), .. } if *at == cookie => Some(name.as_str()),
        _ => None,
    };
    let (from, skip) = match listed {
        Some(name) => (Bound::Excluded(name), 0),
        None => (Bound::Unbounded, usize::try_from(cookie.saturating_sub(2)).unwrap_or(usize::MAX)),
    };
    let dots = [(".", node), ("..", tree.parent(node))];
    let dots = dots.into_iter().skip(usize::try_from(cookie).unwrap_or(2).min(2));
    let names = entries.range::<str, _>((from, Bound::Unbounded)).skip(skip);
    let names = names.map(|(name, id)| (name.as_str(), *id));
    let (mut used, mut next, mut last) = (0, cookie, None);
    for (name, id) in dots.chain(names) {
        next += 1;
        let record = Record::<DIRENT_LEN>::new()
            .with(0, next.to_le_bytes())
            .with(8, id.inode().to_le_bytes())
            .with(16, (name.len() as u32).to_le_bytes())
            .with(20, [tree.stat(id).file_type as u8]);
        let space = call.memory.bytes_mut(buffer, len)?;
        let is_whole = DIRENT_LEN + name.len() <= space.len() - used;
        for part in [&record.0[..], name.as_bytes()] {
            let part = &part[..part.len().min(space.len() - used)];
            space[used..used + part.len()].copy_from_slice(part);
            used += part.len();
        }
        if !is_whole {
            break;
        }
        last = Some((next, name));
    }
    let looked_at = (skip.min(entries.len()) as u64).saturating_add(next - cookie);
    if let Some((next, name)) = last
        && let Fd::Node(open) = guest.fds.get_mut(fd)?
    {
        open.listed = (next > 2).then(|| (next, name.to_owned()));
    }
    guest.spend(looked_at * ENTRY_FUEL)?;
    guest.spend_bytes(used as u64)?;
    Ok(call.memory.put_u32(to, used as u32)?)
}
