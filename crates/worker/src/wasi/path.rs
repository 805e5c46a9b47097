//! Host functions that take a path.

use super::abi::{Answer, Errno, fdflags, oflags, rights};
use super::fd::{self, OpenNode};
use super::{Call, ENTRY_FUEL};

/// How a guest wants a file opened.
pub(super) struct OpenFlags {
    pub(super) oflags: u32,
    pub(super) rights: u64,
    pub(super) fdflags: u32,
}

impl OpenFlags {
    fn has(&self, flag: u32) -> bool {
        self.oflags & flag != 0
    }

    fn writes(&self) -> bool {
        self.rights & rights::FD_WRITE != 0
    }
}

pub(super) fn open(call: &mut Call<'_>, fd: u32, (at, len): (u32, u32), how: OpenFlags, to: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    if how.fdflags & !fdflags::ALL != 0 || (how.has(oflags::CREAT) && how.has(oflags::DIRECTORY)) {
        return Err(Errno::Inval.into());
    }
    call.guest.fds.check_free()?;
    // The number is stored last, so look now whether it can be.
    call.memory.put_u32(to, 0)?;
    let now = call.guest.now();
    let place = call.guest.tree()?.find(folder, &path)?;
    let node = match place.node {
        Some(_) if how.has(oflags::CREAT) && how.has(oflags::EXCL) => return Err(Errno::Exist.into()),
        Some(_) => {
            let tree = call.guest.tree()?;
            let node = tree.existing(&place)?;
            if tree.is_folder(node) {
                let changes = how.has(oflags::CREAT) || how.has(oflags::TRUNC) || how.writes();
                if changes && !how.has(oflags::DIRECTORY) {
                    return Err(Errno::Isdir.into());
                }
            } else if how.has(oflags::DIRECTORY) {
                return Err(Errno::Notdir.into());
            } else if (how.writes() || how.has(oflags::TRUNC)) && !tree.is_writable(node) {
                return Err(Errno::Rofs.into());
            } else if how.has(oflags::TRUNC) {
                tree.set_size(node, 0, now)?;
            }
            node
        }
        None if how.has(oflags::CREAT) => {
            let cost = call.guest.tree()?.cost_to_create(&place)?;
            call.guest.need_room(cost)?;
            call.guest.tree()?.create_file(&place, now)?
        }
        None => return Err(Errno::Noent.into()),
    };
    let tree = call.guest.tree()?;
    tree.open(node);
    let is_folder = tree.is_folder(node);
    let number = call.guest.fds.insert(OpenNode {
        node,
        is_folder,
        preopened: false,
        at: 0,
        append: how.fdflags & fdflags::APPEND != 0,
        readable: how.rights & rights::FD_READ != 0,
        writable: how.writes() && !is_folder,
        listed: None,
    })?;
    Ok(call.memory.put_u32(to, number)?)
}

pub(super) fn create_directory(call: &mut Call<'_>, fd: u32, at: u32, len: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let now = call.guest.now();
    let place = call.guest.tree()?.find(folder, &path)?;
    let cost = call.guest.tree()?.cost_to_create(&place)?;
    call.guest.need_room(cost)?;
    Ok(call.guest.tree()?.create_folder(&place, now)?)
}

pub(super) fn filestat_get(call: &mut Call<'_>, fd: u32, at: u32, len: u32, to: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let tree = call.guest.tree()?;
    let node = tree.existing(&tree.find(folder, &path)?)?;
    let stat = tree.stat(node);
    fd::put_stat(call, &stat, to)
}

pub(super) fn set_times(
    call: &mut Call<'_>,
    fd: u32,
    (at, len): (u32, u32),
    (access, change): (u64, u64),
    flags: u32,
) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let tree = call.guest.tree()?;
    let node = tree.existing(&tree.find(folder, &path)?)?;
    fd::set_node_times(call, node, (access, change), flags)
}

pub(super) fn remove_directory(call: &mut Call<'_>, fd: u32, at: u32, len: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let now = call.guest.now();
    let tree = call.guest.tree()?;
    let place = tree.find(folder, &path)?;
    Ok(tree.remove_folder(&place, now)?)
}

pub(super) fn unlink_file(call: &mut Call<'_>, fd: u32, at: u32, len: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let now = call.guest.now();
    let tree = call.guest.tree()?;
    let place = tree.find(folder, &path)?;
    Ok(tree.remove_file(&place, now)?)
}

pub(super) fn rename(call: &mut Call<'_>, from: (u32, u32, u32), to: (u32, u32, u32)) -> Answer {
    let (from_folder, to_folder) = (call.guest.fds.folder(from.0)?, call.guest.fds.folder(to.0)?);
    let from_path = call.path(from.1, from.2)?;
    let to_path = call.path(to.1, to.2)?;
    let now = call.guest.now();
    let tree = call.guest.tree()?;
    let from = tree.find(from_folder, &from_path)?;
    let to = tree.find(to_folder, &to_path)?;
    let moved = tree.subtree(tree.existing(&from)?);
    call.guest.spend(moved.len() as u64 * ENTRY_FUEL)?;
    let room = call.guest.room();
    match call.guest.tree()?.rename(&from, &to, &moved, room, now)? {
        Some(()) => Ok(()),
        None => Err(call.guest.output_too_large().into()),
    }
}

/// There are no links, so what exists is not one.
pub(super) fn readlink(call: &mut Call<'_>, fd: u32, at: u32, len: u32) -> Answer {
    let folder = call.guest.fds.folder(fd)?;
    let path = call.path(at, len)?;
    let tree = call.guest.tree()?;
    tree.existing(&tree.find(folder, &path)?)?;
    Err(Errno::Inval.into())
}

/// Links of either kind, which this file system does not have.
pub(super) fn unsupported(call: &mut Call<'_>, fd: u32, at: u32, len: u32) -> Answer {
    call.guest.fds.folder(fd)?;
    call.path(at, len)?;
    Err(Errno::Notsup.into())
}
