//! The tree of each space: folders and files that keep their ids wherever they are moved, and sums up to the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use pumasi_types::{AccountId, ByteSize, FileId, FilePath, Hash, SpaceId, Time, VersionId};
use serde::{Deserialize, Serialize};

use super::{About, FileKind, FileView, FilesRefusal, Totals, Version};
use crate::table::Table;

/// All files and folders of all spaces, those in the trash and those that are being erased too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub(super) struct Tree {
    nodes: Table<Node>,
    last_version: VersionId,
    /// Files that lie nowhere, as they were removed themselves or are being erased, by their contents. A snapshot does not
    /// have them: each file says it.
    #[serde(skip)]
    loose: BTreeMap<VersionId, FileId>,
}

/// A file or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) space: SpaceId,
    /// Its folder; 0 for roots, for what was put into the trash itself, and for what is being erased.
    pub(super) parent: FileId,
    /// Its name, and a `/` behind that of a folder: in the order of keys, a listing is in the order of whole paths.
    pub(super) key: Arc<str>,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Folder(Folder),
    File(File),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folder {
    /// By their keys. A snapshot does not have them: each of them names its folder.
    #[serde(skip)]
    pub(super) children: BTreeMap<Arc<str>, FileId>,
    /// Of all below.
    #[serde(skip)]
    pub(super) totals: Totals,
    pub(super) reach: Reach,
    pub(super) made: Time,
    /// Whether it stays when nothing lies in it.
    pub(super) stays: bool,
}

/// How far anything below a folder ever reached, so that moving it makes no path too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reach {
    /// Bytes of the longest path from the folder.
    bytes: u16,
    /// Names of the deepest.
    names: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) newest: Content,
    /// Those before it, the oldest first, and when each was overwritten.
    pub(super) older: Vec<(Time, Content)>,
}

/// A [`Version`] as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) id: VersionId,
    pub(super) blob: Hash,
    pub(super) size: ByteSize,
    pub(super) put: Time,
    pub(super) by: AccountId,
    pub(super) about: Packed,
}

/// An [`About`] as its bytes; most say little or nothing, and a map of few labels takes half a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "About", into = "About")]
pub(super) struct Packed(Box<[u8]>);

impl From<About> for Packed {
    fn from(about: About) -> Packed {
        Packed::from(&about)
    }
}

impl From<&About> for Packed {
    fn from(about: &About) -> Packed {
        if *about == About::default() {
            return Packed::default();
        }
        let bytes = postcard::to_stdvec(about).expect("it serialises into a growing buffer");
        Packed(bytes.into_boxed_slice())
    }
}

impl From<Packed> for About {
    fn from(packed: Packed) -> About {
        packed.unpacked()
    }
}

impl Packed {
    /// Its bytes.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn unpacked(&self) -> About {
        postcard::from_bytes(&self.0).unwrap_or_default()
    }
}

impl Content {
    pub(super) fn view(&self) -> Version {
        Version {
            id: self.id,
            blob: self.blob,
            size: self.size,
            put: self.put,
            by: self.by,
            about: self.about.unpacked(),
        }
    }
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.files += other.files;
        self.folders += other.folders;
        self.bytes.0 += other.bytes.0;
    }

    fn subtract(&mut self, other: Totals) {
        self.files -= other.files;
        self.folders -= other.folders;
        self.bytes.0 -= other.bytes.0;
    }
}

impl Folder {
    pub(super) fn new(made: Time, stays: bool) -> Folder {
        Folder { children: BTreeMap::new(), totals: Totals::default(), reach: Reach::default(), made, stays }
    }

    /// What lies in it under a name.
    fn child(&self, name: &str) -> Option<FileId> {
        self.children.get(name).or_else(|| self.children.get(format!("{name}/").as_str())).copied()
    }
}

impl File {
    /// All of its contents, the newest last.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Content> {
        self.older.iter().map(|(_, content)| content).chain([&self.newest])
    }
}

impl Node {
    pub(super) fn name(&self) -> &str {
        self.key.strip_suffix('/').unwrap_or(&self.key)
    }

    pub(super) fn folder(&self) -> Option<&Folder> {
        match &self.what {
            What::Folder(folder) => Some(folder),
            What::File(_) => None,
        }
    }

    pub(super) fn file(&self) -> Option<&File> {
        match &self.what {
            What::File(file) => Some(file),
            What::Folder(_) => None,
        }
    }

    fn folder_mut(&mut self) -> Option<&mut Folder> {
        match &mut self.what {
            What::Folder(folder) => Some(folder),
            What::File(_) => None,
        }
    }

    /// Itself and all below.
    pub(super) fn totals(&self) -> Totals {
        match &self.what {
            What::Folder(folder) => Totals { folders: folder.totals.folders + 1, ..folder.totals },
            What::File(file) => Totals { files: 1, folders: 0, bytes: file.newest.size },
        }
    }

    /// How far it reaches from the folder it lies in.
    fn reach(&self) -> Reach {
        let own = self.name().len();
        let below = self.folder().map(|folder| folder.reach).unwrap_or_default();
        let bytes = if below.bytes == 0 { own } else { own + 1 + usize::from(below.bytes) };
        Reach { bytes: bytes.try_into().unwrap_or(u16::MAX), names: below.names.saturating_add(1) }
    }

    /// Whether it and all below have paths when this is its own.
    pub(super) fn fits(&self, path: &FilePath) -> Result<(), FilesRefusal> {
        let Some(below) = self.folder().map(|folder| folder.reach) else { return Ok(()) };
        let (bytes, names) = (path.as_str().len() + 1 + usize::from(below.bytes), path.names().count());
        let too_long = |what: &str, limit: usize| {
            let what = format!("{what} in the path of something below '{path}'");
            Err(FilesRefusal::TooMany { what, limit: limit as u64 })
        };
        if bytes > FilePath::BYTES {
            return too_long("bytes", FilePath::BYTES);
        }
        if names + usize::from(below.names) > FilePath::DEPTH {
            return too_long("names", FilePath::DEPTH);
        }
        Ok(())
    }

    pub(super) fn kind(&self) -> FileKind {
        match &self.what {
            What::Folder(folder) => FileKind::Folder(folder.totals),
            What::File(file) => FileKind::File(file.newest.view()),
        }
    }

    pub(super) fn changed(&self) -> Time {
        match &self.what {
            What::Folder(folder) => folder.made,
            What::File(file) => file.newest.put,
        }
    }
}

impl Tree {
    pub(super) fn node(&self, id: FileId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    pub(super) fn folder(&self, id: FileId) -> Option<&Folder> {
        self.node(id)?.folder()
    }

    pub(super) fn file(&self, id: FileId) -> Option<&File> {
        self.node(id)?.file()
    }

    /// A file, to be changed; its contents only while it lies somewhere, but for [`Tree::write`] and [`Tree::cut`].
    pub(super) fn file_mut(&mut self, id: FileId) -> Option<&mut File> {
        match &mut self.nodes.get_mut(id.0)?.what {
            What::File(file) => Some(file),
            What::Folder(_) => None,
        }
    }

    pub(super) fn nodes(&self) -> &Table<Node> {
        &self.nodes
    }

    /// The file that lies nowhere and has this content.
    pub(super) fn loose(&self, version: VersionId) -> Option<FileId> {
        self.loose.get(&version).copied()
    }

    /// Lets a file that lies nowhere be found by its contents.
    fn index(&mut self, id: FileId) {
        let Some(file) = self.nodes.get(id.0).and_then(Node::file) else { return };
        self.loose.extend(file.contents().map(|content| (content.id, id)));
    }

    /// Lets it no longer be found by them.
    fn unindex(&mut self, id: FileId) {
        let Some(file) = self.nodes.get(id.0).and_then(Node::file) else { return };
        file.contents().for_each(|content| _ = self.loose.remove(&content.id));
    }

    /// All files that lie nowhere, by their contents.
    fn all_loose(&self) -> BTreeMap<VersionId, FileId> {
        let loose = self.nodes.iter().filter(|(_, node)| node.parent == FileId(0));
        let files = loose.filter_map(|(id, node)| Some((FileId(id), node.file()?)));
        files.flat_map(|(id, file)| file.contents().map(move |content| (content.id, id))).collect()
    }

    /// A new version's id.
    pub(super) fn version(&mut self) -> VersionId {
        self.last_version.0 += 1;
        self.last_version
    }

    /// Adds something that lies nowhere yet; a file is attached at once, so it is not indexed.
    pub(super) fn add(&mut self, space: SpaceId, name: &str, what: What) -> FileId {
        let key = key_of(name, matches!(what, What::Folder(_)));
        FileId(self.nodes.push(Node { space, parent: FileId(0), key, what }))
    }

    /// Forgets something that lies nowhere and in which nothing lies.
    pub(super) fn forget(&mut self, id: FileId) -> Option<Node> {
        self.unindex(id);
        self.nodes.remove(id.0)
    }

    /// What lies at a path from a folder on; a file on the way is in the way.
    pub(super) fn seek(&self, from: FileId, path: &FilePath) -> Result<Option<FileId>, FilesRefusal> {
        let (text, mut at, mut begin) = (path.as_str(), from, 0);
        while let Some(end) = text[begin..].find('/').map(|length| begin + length) {
            let Some(folder) = self.folder(at) else { return Ok(None) };
            match folder.children.get(&text[begin..=end]) {
                Some(child) => at = *child,
                None if folder.children.contains_key(&text[begin..end]) => {
                    let path = text[..end].parse().unwrap_or_default();
                    return Err(FilesRefusal::NotAFolder { path });
                }
                None => return Ok(None),
            }
            begin = end + 1;
        }
        if path.is_root() {
            return Ok(Some(from));
        }
        Ok(self.folder(at).and_then(|folder| folder.child(&text[begin..])))
    }

    /// The file at a path from a folder on.
    pub(super) fn file_at(&self, from: FileId, path: &FilePath) -> Result<FileId, FilesRefusal> {
        let found = self.seek(from, path)?.ok_or_else(|| FilesRefusal::NoFile { path: path.clone() })?;
        match self.file(found) {
            Some(_) => Ok(found),
            None => Err(FilesRefusal::IsFolder { path: path.clone() }),
        }
    }

    /// The topmost thing above something, itself if it lies nowhere, and its path from there.
    pub(super) fn climb(&self, id: FileId) -> Option<(FileId, FilePath)> {
        let (mut top, mut names) = (id, Vec::new());
        let mut node = self.node(top)?;
        while node.parent != FileId(0) {
            names.push(node.name());
            top = node.parent;
            node = self.node(top)?;
        }
        names.reverse();
        Some((top, names.join("/").parse().ok()?))
    }

    /// Changes all folders from this one up.
    fn upwards(&mut self, from: FileId, mut change: impl FnMut(&mut Folder)) {
        let mut at = from;
        while let Some(node) = self.nodes.get_mut(at.0) {
            at = node.parent;
            node.folder_mut().into_iter().for_each(&mut change);
        }
    }

    /// Lays something that lies nowhere into a folder, which must not have its name.
    pub(super) fn attach(&mut self, id: FileId, parent: FileId) {
        self.unindex(id);
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        node.parent = parent;
        let (key, totals, mut reach) = (node.key.clone(), node.totals(), node.reach());
        if let Some(folder) = self.nodes.get_mut(parent.0).and_then(Node::folder_mut) {
            folder.children.insert(key, id);
        }
        self.upwards(parent, |folder| folder.totals.add(totals));
        let mut at = parent;
        while let Some(node) = self.nodes.get_mut(at.0) {
            let Some(folder) = node.folder_mut() else { return };
            let known = folder.reach;
            folder.reach = Reach { bytes: known.bytes.max(reach.bytes), names: known.names.max(reach.names) };
            if folder.reach == known {
                return;
            }
            reach = node.reach();
            at = node.parent;
        }
    }

    /// Takes something out of its folder, which stays even if it is empty now.
    pub(super) fn detach(&mut self, id: FileId) -> FileId {
        let Some(node) = self.nodes.get_mut(id.0) else { return FileId(0) };
        let parent = std::mem::take(&mut node.parent);
        let (key, totals) = (node.key.clone(), node.totals());
        if let Some(folder) = self.nodes.get_mut(parent.0).and_then(Node::folder_mut) {
            folder.children.remove(&key);
        }
        self.upwards(parent, |folder| folder.totals.subtract(totals));
        self.index(id);
        parent
    }

    /// Takes the first thing out of a folder that lies nowhere.
    pub(super) fn shed(&mut self, id: FileId) -> Option<FileId> {
        let folder = self.nodes.get_mut(id.0)?.folder_mut()?;
        let (_, child) = folder.children.pop_first()?;
        let node = self.nodes.get_mut(child.0)?;
        node.parent = FileId(0);
        let totals = node.totals();
        if let Some(folder) = self.nodes.get_mut(id.0).and_then(Node::folder_mut) {
            folder.totals.subtract(totals);
        }
        self.index(child);
        Some(child)
    }

    /// Forgets a folder in which nothing lies any more, unless it stays; the folder above.
    pub(super) fn prune(&mut self, at: FileId) -> Option<FileId> {
        let node = self.node(at).filter(|node| node.parent != FileId(0))?;
        node.folder().filter(|folder| folder.children.is_empty() && !folder.stays)?;
        let above = self.detach(at);
        self.forget(at);
        Some(above)
    }

    /// The folder in which something of this path lies, made with those above it where they are not there; how many were
    /// made. No file may be in the way.
    pub(super) fn make_way(&mut self, root: FileId, path: &FilePath, now: Time) -> (FileId, u64) {
        let names: Vec<&str> = path.names().collect();
        let Some((_, above)) = names.split_last() else { return (root, 0) };
        let Some(space) = self.node(root).map(|node| node.space) else { return (root, 0) };
        let (mut at, mut made) = (root, 0);
        for name in above {
            at = match self.folder(at).and_then(|folder| folder.child(name)) {
                Some(child) => child,
                None => {
                    let child = self.add(space, name, What::Folder(Folder::new(now, false)));
                    self.attach(child, at);
                    made += 1;
                    child
                }
            };
        }
        (at, made)
    }

    /// Gives something that lies nowhere another name.
    pub(super) fn rename(&mut self, id: FileId, name: &str) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.key = key_of(name, node.folder().is_some());
        }
    }

    /// Says whether a folder stays when nothing lies in it.
    pub(super) fn set_stays(&mut self, id: FileId, stays: bool) {
        if let Some(folder) = self.nodes.get_mut(id.0).and_then(Node::folder_mut) {
            folder.stays = stays;
        }
    }

    /// Gives a file a new content; the one before.
    pub(super) fn write(&mut self, id: FileId, content: Content) -> Option<Content> {
        let (version, size) = (content.id, content.size);
        let file = self.file_mut(id)?;
        let before = std::mem::replace(&mut file.newest, content);
        let parent = self.node(id)?.parent;
        if parent == FileId(0) {
            self.loose.remove(&before.id);
            self.loose.insert(version, id);
        }
        self.upwards(parent, |folder| folder.totals.bytes.0 = folder.totals.bytes.0 - before.size.0 + size.0);
        Some(before)
    }

    /// Takes an older content out of a file, with when it was overwritten.
    pub(super) fn cut(&mut self, id: FileId, version: VersionId) -> Option<(Time, Content)> {
        let older = &mut self.file_mut(id)?.older;
        let at = older.iter().position(|(_, content)| content.id == version)?;
        let cut = older.remove(at);
        self.loose.remove(&version);
        Some(cut)
    }

    pub(super) fn view(&self, id: FileId, path: FilePath) -> Option<FileView> {
        let node = self.node(id)?;
        Some(FileView { id, path, kind: node.kind(), changed: node.changed() })
    }

    /// Panics unless each folder has what says that it lies in it, and their sums, and what lies nowhere is found.
    pub(super) fn sanity_check(&self) {
        for (id, node) in self.nodes.iter() {
            let Some(folder) = node.folder() else {
                assert!(!node.key.ends_with('/'), "a file's key is its name");
                continue;
            };
            let mut totals = Totals::default();
            for (key, child) in &folder.children {
                let child = self.node(*child).expect("what lies in a folder is there");
                assert!(child.key == *key && child.parent == FileId(id), "it lies where it says");
                assert_eq!(child.space, node.space, "a folder is of one space");
                totals.add(child.totals());
                let reach = child.reach();
                assert!(reach.bytes <= folder.reach.bytes && reach.names <= folder.reach.names);
            }
            assert_eq!(totals, folder.totals, "folder {id} knows its sums");
        }
        let lies = |node: &Node| {
            let folder = self.folder(node.parent);
            node.parent == FileId(0) || folder.is_some_and(|folder| folder.children.contains_key(&node.key))
        };
        assert!(self.nodes.iter().all(|(_, node)| lies(node)), "everything lies in its folder");
        assert!(self.all_loose() == self.loose, "files that lie nowhere are found by their contents");
    }
}

fn key_of(name: &str, folder: bool) -> Arc<str> {
    if folder { format!("{name}/").into() } else { name.into() }
}

/// What a snapshot has of a tree.
#[derive(Deserialize)]
struct Stored {
    nodes: Table<Node>,
    last_version: VersionId,
}

impl TryFrom<Stored> for Tree {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Tree, &'static str> {
        let Stored { nodes, last_version } = stored;
        let mut tree = Tree { nodes, last_version, loose: BTreeMap::new() };
        let ids: Vec<FileId> = tree.nodes.iter().map(|(id, _)| FileId(id)).collect();
        for id in &ids {
            tree.lay(*id)?;
        }
        for id in ids {
            tree.count(id)?;
        }
        tree.loose = tree.all_loose();
        Ok(tree)
    }
}

impl Tree {
    /// Lets its folder know of it.
    fn lay(&mut self, id: FileId) -> Result<(), &'static str> {
        let Some(node) = self.node(id) else { return Ok(()) };
        if node.key.ends_with('/') != node.folder().is_some() {
            return Err("only folders have a / behind their names");
        }
        let (parent, key, space) = (node.parent, node.key.clone(), node.space);
        if parent == FileId(0) {
            return Ok(());
        }
        let folder = self.nodes.get_mut(parent.0).filter(|node| node.space == space);
        let folder = folder.and_then(Node::folder_mut).ok_or("a file lies in a folder of its space")?;
        match folder.children.insert(key, id) {
            None => Ok(()),
            Some(_) => Err("names in a folder are different"),
        }
    }

    /// Counts it in the folders above.
    fn count(&mut self, id: FileId) -> Result<(), &'static str> {
        let Some(node) = self.node(id) else { return Ok(()) };
        let own = match &node.what {
            What::Folder(_) => Totals { folders: 1, ..Totals::default() },
            What::File(file) => Totals { files: 1, folders: 0, bytes: file.newest.size },
        };
        let mut at = node.parent;
        // One more than names: the root has none.
        for _ in 0..=FilePath::DEPTH {
            let Some(node) = self.nodes.get_mut(at.0) else { return Ok(()) };
            at = node.parent;
            let Some(folder) = node.folder_mut() else { continue };
            let bytes = folder.totals.bytes.0.checked_add(own.bytes.0).ok_or("sizes are in range")?;
            folder.totals.bytes = ByteSize(bytes);
            folder.totals.files += own.files;
            folder.totals.folders += own.folders;
        }
        Err("folders do not lie in themselves")
    }
}
