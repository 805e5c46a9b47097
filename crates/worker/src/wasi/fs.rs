//! A file system in memory: `/in` shared and read-only, `/out` and `/tmp` of the run alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use pumasi_api::output::{self, OutputFile, PATH_LEN_MAX, PathError};

use super::abi::{Errno, FileType};
use super::{Halt, InFile};

/// What a file or folder counts beside its bytes and the length of its path, so that empty ones are bounded.
pub(crate) const NODE_BYTES: u64 = 256;

/// A file or folder; its number + 1 is the inode that guests see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The folder `/`.
    pub(super) const ROOT: NodeId = NodeId(0);

    /// The number that guests see.
    pub(super) fn inode(self) -> u64 {
        u64::from(self.0) + 1
    }
}

enum Content {
    Folder(BTreeMap<String, NodeId>),
    /// Written by the guest.
    File(Vec<u8>),
    /// An input, shared with other runs.
    Input(Bytes),
}

struct Node {
    content: Content,
    parent: NodeId,
    /// Length of the path below the root, in bytes.
    path_len: usize,
    /// Nanoseconds since 1970 in the guest's time.
    modified: u64,
    /// Open file descriptors.
    opened: u32,
    /// Whether a folder still names it.
    linked: bool,
    /// Whether it and what is below it may change.
    writable: bool,
}

impl Node {
    /// What it counts against the output limit.
    fn counted(&self) -> u64 {
        match &self.content {
            _ if !self.writable => 0,
            Content::File(bytes) => NODE_BYTES + self.path_len as u64 + bytes.len() as u64,
            Content::Folder(_) | Content::Input(_) => NODE_BYTES + self.path_len as u64,
        }
    }
}

/// What a guest learns of a file.
pub(super) struct Stat {
    pub(super) inode: u64,
    pub(super) file_type: FileType,
    pub(super) size: u64,
    pub(super) modified: u64,
}

/// Where a path leads.
pub(super) struct Place<'a> {
    folder: NodeId,
    /// The last name; none when the path ends in `.` or `..`.
    name: Option<&'a str>,
    /// What is there.
    pub(super) node: Option<NodeId>,
    /// The path ends in a slash, so only a folder will do.
    as_folder: bool,
}

/// All files and folders that a run sees.
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    used: u64,
}

impl Tree {
    /// The tree that every run starts with.
    pub(super) fn new(inputs: &[InFile], now: u64) -> Result<Tree, Halt> {
        let root = Node {
            content: Content::Folder(BTreeMap::new()),
            parent: NodeId::ROOT,
            path_len: 0,
            modified: now,
            opened: 0,
            linked: true,
            writable: false,
        };
        let mut tree = Tree { nodes: vec![Some(root)], free: Vec::new(), used: 0 };
        let folder = || Content::Folder(BTreeMap::new());
        let input = tree.link(NodeId::ROOT, "in", folder(), false, now);
        for name in ["out", "tmp"] {
            let top = tree.link(NodeId::ROOT, name, folder(), true, now);
            tree.used -= tree.node(top).counted();
        }
        for file in inputs {
            let clash =
                || Halt::Host(format!("input file '{}' clashes with another; rename one", file.name()));
            let (mut parent, mut rest) = (input, file.name());
            while let Some((name, below)) = rest.split_once('/') {
                parent = match tree.child(parent, name).map_err(|_| clash())? {
                    Some(node) => node,
                    None => tree.link(parent, name, folder(), false, now),
                };
                rest = below;
            }
            if tree.child(parent, rest).map_err(|_| clash())?.is_some() {
                return Err(clash());
            }
            tree.link(parent, rest, Content::Input(file.bytes().clone()), false, now);
        }
        Ok(tree)
    }

    /// Bytes that count against the output limit.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("ids of nodes are dropped with them")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("ids of nodes are dropped with them")
    }

    fn folder(&self, id: NodeId) -> Result<&BTreeMap<String, NodeId>, Errno> {
        match &self.node(id).content {
            Content::Folder(entries) => Ok(entries),
            _ => Err(Errno::Notdir),
        }
    }

    fn folder_mut(&mut self, id: NodeId) -> &mut BTreeMap<String, NodeId> {
        match &mut self.node_mut(id).content {
            Content::Folder(entries) => entries,
            _ => unreachable!("only folders have entries"),
        }
    }

    fn child(&self, folder: NodeId, name: &str) -> Result<Option<NodeId>, Errno> {
        Ok(self.folder(folder)?.get(name).copied())
    }

    /// Whether it is a folder.
    pub(super) fn is_folder(&self, id: NodeId) -> bool {
        matches!(self.node(id).content, Content::Folder(_))
    }

    /// Whether it may be changed.
    pub(super) fn is_writable(&self, id: NodeId) -> bool {
        self.node(id).writable
    }

    /// The folder that it is in; the root is in itself.
    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).parent
    }

    /// Names and nodes in a folder, in byte order.
    pub(super) fn entries(&self, id: NodeId) -> Result<&BTreeMap<String, NodeId>, Errno> {
        self.folder(id)
    }

    /// What a guest learns of it.
    pub(super) fn stat(&self, id: NodeId) -> Stat {
        let node = self.node(id);
        let (file_type, size) = match &node.content {
            Content::Folder(_) => (FileType::Directory, 0),
            Content::File(bytes) => (FileType::RegularFile, bytes.len()),
            Content::Input(bytes) => (FileType::RegularFile, bytes.len()),
        };
        Stat { inode: id.inode(), file_type, size: size as u64, modified: node.modified }
    }

    /// Follows `path` from a folder, which it cannot leave.
    pub(super) fn find<'a>(&self, from: NodeId, path: &'a str) -> Result<Place<'a>, Errno> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.starts_with('/') {
            return Err(Errno::Notcapable);
        }
        let as_folder = path.ends_with('/');
        let mut way = vec![from];
        let mut names = path.split('/').filter(|name| !matches!(*name, "" | ".")).peekable();
        while let Some(name) = names.next() {
            let folder = *way.last().ok_or(Errno::Notcapable)?;
            let entries = self.folder(folder)?;
            if name == ".." {
                way.pop();
                if way.is_empty() {
                    return Err(Errno::Notcapable);
                }
                continue;
            }
            output::check_name(name).map_err(|error| match error {
                PathError::TooLong => Errno::Nametoolong,
                PathError::Control | PathError::Escapes => Errno::Ilseq,
            })?;
            let node = entries.get(name).copied();
            if names.peek().is_none() && !path.ends_with("/.") {
                return Ok(Place { folder, name: Some(name), node, as_folder });
            }
            way.push(node.ok_or(Errno::Noent)?);
        }
        let here = *way.last().ok_or(Errno::Notcapable)?;
        self.folder(here)?;
        Ok(Place { folder: here, name: None, node: Some(here), as_folder: true })
    }

    /// What is at a place.
    pub(super) fn existing(&self, place: &Place<'_>) -> Result<NodeId, Errno> {
        let node = place.node.ok_or(Errno::Noent)?;
        if place.as_folder && !self.is_folder(node) { Err(Errno::Notdir) } else { Ok(node) }
    }

    /// Where a new name can be put: the folder, the name, and what the new node will count.
    fn vacant<'a>(&self, place: &Place<'a>) -> Result<(NodeId, &'a str, u64), Errno> {
        if place.node.is_some() {
            return Err(Errno::Exist);
        }
        let name = place.name.ok_or(Errno::Exist)?;
        let folder = self.node(place.folder);
        if !folder.writable {
            return Err(Errno::Rofs);
        }
        if !folder.linked {
            return Err(Errno::Noent);
        }
        let path_len = folder.path_len + 1 + name.len();
        if path_len > PATH_LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        Ok((place.folder, name, NODE_BYTES + path_len as u64))
    }

    /// Checks that a file or folder can be made at a place, and says what it will count.
    pub(super) fn cost_to_create(&self, place: &Place<'_>) -> Result<u64, Errno> {
        self.vacant(place).map(|(_, _, cost)| cost)
    }

    /// Makes an empty file at a place.
    pub(super) fn create_file(&mut self, place: &Place<'_>, now: u64) -> Result<NodeId, Errno> {
        if place.as_folder {
            return Err(Errno::Isdir);
        }
        let (folder, name, _) = self.vacant(place)?;
        Ok(self.link(folder, name, Content::File(Vec::new()), true, now))
    }

    /// Makes an empty folder at a place.
    pub(super) fn create_folder(&mut self, place: &Place<'_>, now: u64) -> Result<(), Errno> {
        let (folder, name, _) = self.vacant(place)?;
        self.link(folder, name, Content::Folder(BTreeMap::new()), true, now);
        Ok(())
    }

    fn link(&mut self, parent: NodeId, name: &str, content: Content, writable: bool, now: u64) -> NodeId {
        let path_len = self.node(parent).path_len + 1 + name.len();
        let node = Node { content, parent, path_len, modified: now, opened: 0, linked: true, writable };
        self.used += node.counted();
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.nodes.push(None);
                NodeId(self.nodes.len() as u32 - 1)
            }
        };
        self.nodes[id.0 as usize] = Some(node);
        self.folder_mut(parent).insert(name.to_owned(), id);
        self.node_mut(parent).modified = now;
        id
    }

    fn unlink(&mut self, parent: NodeId, name: &str, now: u64) {
        if let Some(id) = self.folder_mut(parent).remove(name) {
            self.node_mut(id).linked = false;
            self.drop_if_unused(id);
        }
        self.node_mut(parent).modified = now;
    }

    fn drop_if_unused(&mut self, id: NodeId) {
        let node = self.node(id);
        if !node.linked && node.opened == 0 {
            self.used -= node.counted();
            self.nodes[id.0 as usize] = None;
            self.free.push(id);
        }
    }

    /// Keeps a node while a descriptor has it open.
    pub(super) fn open(&mut self, id: NodeId) {
        self.node_mut(id).opened += 1;
    }

    /// Undoes one [`Tree::open`].
    pub(super) fn close(&mut self, id: NodeId) {
        self.node_mut(id).opened -= 1;
        self.drop_if_unused(id);
    }

    /// The folder and name of what is at a place, when it may be removed.
    fn removable<'a>(&self, place: &Place<'a>) -> Result<(NodeId, &'a str, NodeId), Errno> {
        let node = self.existing(place)?;
        // Neither `.` nor the folder that a descriptor stands for has a name here.
        let name = place.name.ok_or(Errno::Inval)?;
        if !self.node(place.folder).writable {
            return Err(Errno::Rofs);
        }
        Ok((place.folder, name, node))
    }

    /// Removes a file.
    pub(super) fn remove_file(&mut self, place: &Place<'_>, now: u64) -> Result<(), Errno> {
        let (folder, name, node) = self.removable(place)?;
        if self.is_folder(node) {
            return Err(Errno::Isdir);
        }
        self.unlink(folder, name, now);
        Ok(())
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&mut self, place: &Place<'_>, now: u64) -> Result<(), Errno> {
        let (folder, name, node) = self.removable(place)?;
        if !self.folder(node)?.is_empty() {
            return Err(Errno::Notempty);
        }
        self.unlink(folder, name, now);
        Ok(())
    }

    /// A node and everything below it.
    pub(super) fn subtree(&self, top: NodeId) -> Vec<NodeId> {
        let mut nodes = vec![top];
        let mut next = 0;
        while let Some(id) = nodes.get(next) {
            if let Content::Folder(entries) = &self.node(*id).content {
                nodes.extend(entries.values());
            }
            next += 1;
        }
        nodes
    }

    /// Gives what is at `from` the name `to`; `moved` is its [`Tree::subtree`].
    ///
    /// `room` is how many more bytes may count, for paths can become longer. None when it does not suffice.
    pub(super) fn rename(
        &mut self,
        from: &Place<'_>,
        to: &Place<'_>,
        moved: &[NodeId],
        room: u64,
        now: u64,
    ) -> Result<Option<()>, Errno> {
        let (old_folder, old_name, node) = self.removable(from)?;
        let new_name = to.name.ok_or(Errno::Inval)?;
        if to.as_folder && !self.is_folder(node) {
            return Err(Errno::Notdir);
        }
        if to.node == Some(node) {
            return Ok(Some(()));
        }
        if moved.contains(&to.folder) {
            return Err(Errno::Inval);
        }
        match to.node {
            None => {
                self.vacant(to)?;
            }
            Some(_) if !self.node(to.folder).writable => return Err(Errno::Rofs),
            Some(old) => match (self.is_folder(node), self.is_folder(old)) {
                (false, true) => return Err(Errno::Isdir),
                (true, false) => return Err(Errno::Notdir),
                (true, true) if !self.folder(old)?.is_empty() => return Err(Errno::Notempty),
                _ => {}
            },
        }
        let old_len = self.node(node).path_len;
        let new_len = self.node(to.folder).path_len + 1 + new_name.len();
        let longest = moved.iter().map(|id| self.node(*id).path_len).max().unwrap_or(old_len);
        if longest - old_len + new_len > PATH_LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        if new_len.saturating_sub(old_len) as u64 * moved.len() as u64 > room {
            return Ok(None);
        }
        if to.node.is_some() {
            self.unlink(to.folder, new_name, now);
        }
        self.folder_mut(old_folder).remove(old_name);
        self.folder_mut(to.folder).insert(new_name.to_owned(), node);
        for id in moved {
            self.used -= self.node(*id).counted();
            let path_len = &mut self.node_mut(*id).path_len;
            *path_len = *path_len - old_len + new_len;
            self.used += self.node(*id).counted();
        }
        self.node_mut(node).parent = to.folder;
        self.node_mut(old_folder).modified = now;
        self.node_mut(to.folder).modified = now;
        Ok(Some(()))
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, id: NodeId) -> Result<&[u8], Errno> {
        match &self.node(id).content {
            Content::Folder(_) => Err(Errno::Isdir),
            Content::File(bytes) => Ok(bytes),
            Content::Input(bytes) => Ok(bytes),
        }
    }

    /// Cuts or fills a file with zeros to a size; the caller has checked that there is room.
    pub(super) fn set_size(&mut self, id: NodeId, size: usize, now: u64) -> Result<(), Errno> {
        let node = self.node_mut(id);
        let Content::File(bytes) = &mut node.content else { return Err(Errno::Rofs) };
        let old = bytes.len();
        bytes.resize(size, 0);
        if size < old / 2 {
            bytes.shrink_to_fit();
        }
        node.modified = now;
        self.used = self.used - old as u64 + size as u64;
        Ok(())
    }

    /// Overwrites a file's bytes; the caller has made it long enough.
    pub(super) fn overwrite(&mut self, id: NodeId, at: usize, from: &[u8]) -> Result<(), Errno> {
        let Content::File(bytes) = &mut self.node_mut(id).content else { return Err(Errno::Rofs) };
        bytes.get_mut(at..at + from.len()).ok_or(Errno::Overflow)?.copy_from_slice(from);
        Ok(())
    }

    /// Sets the time of the last change.
    pub(super) fn set_modified(&mut self, id: NodeId, time: u64) -> Result<(), Errno> {
        let node = self.node_mut(id);
        if !node.writable {
            return Err(Errno::Rofs);
        }
        node.modified = time;
        Ok(())
    }

    /// Takes the files below `/out`, in byte order of their paths.
    pub(super) fn into_output(mut self) -> Vec<OutputFile> {
        let Ok(Some(out)) = self.child(NodeId::ROOT, "out") else { return Vec::new() };
        let mut files = Vec::new();
        let mut waiting = vec![(String::new(), out)];
        while let Some((path, id)) = waiting.pop() {
            match std::mem::replace(&mut self.node_mut(id).content, Content::File(Vec::new())) {
                Content::Folder(entries) => waiting.extend(entries.into_iter().map(|(name, id)| {
                    let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                    (path, id)
                })),
                Content::File(bytes) => files.push(OutputFile { path, bytes: bytes.into() }),
                Content::Input(bytes) => files.push(OutputFile { path, bytes }),
            }
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        files
    }
}
