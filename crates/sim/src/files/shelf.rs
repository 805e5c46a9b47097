//! What lies in one space, as a flat map of paths: no folder is anything but what its files have in common, unless it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pumasi_core::{Access, Bounds, Condition};
use pumasi_types::{AccountId, ByteSize, FileId, FilePath, Hash, LinkId, Time, VersionId};

/// One content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) version: VersionId,
    pub(super) blob: Hash,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its number, once an answer told it.
    pub(super) id: Option<FileId>,
    pub(super) newest: Content,
    /// Those before it, the oldest first, and when each was overwritten.
    pub(super) older: Vec<(Time, Content)>,
    /// Links to it.
    pub(super) links: Vec<LinkId>,
}

impl File {
    /// All its contents, the newest first, as a listing of them has it.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        [self.newest].into_iter().chain(self.older.iter().rev().map(|(_, content)| *content))
    }

    /// Whether it has an older content of this number.
    pub(super) fn has_older(&self, version: VersionId) -> bool {
        self.older.iter().any(|(_, content)| content.version == version)
    }

    /// Gives it another content.
    fn write(&mut self, content: Content, now: Time, keeps: bool) {
        let before = std::mem::replace(&mut self.newest, content);
        self.supersede(before, now, keeps);
    }

    /// Keeps what was overwritten, if anything is lost with it.
    fn supersede(&mut self, before: Content, now: Time, keeps: bool) {
        if keeps && before.blob != self.newest.blob {
            self.older.push((now, before));
        }
        let over = self.older.len().saturating_sub(Bounds::VERSIONS);
        self.older.drain(..over);
    }

    /// Takes the place of another file, whose contents become older ones of its.
    fn absorb(&mut self, other: File, now: Time, keeps: bool) {
        self.links.extend(other.links);
        self.older.extend(other.older);
        self.older.sort_by_key(|(since, content)| (*since, content.version));
        self.supersede(other.newest, now, keeps);
    }

    /// Makes an older content its newest again, which gets another number.
    pub(super) fn revert(&mut self, version: VersionId, fresh: VersionId, now: Time, keeps: bool) {
        let Some(at) = self.older.iter().position(|(_, content)| content.version == version) else { return };
        let (_, content) = self.older.remove(at);
        self.write(Content { version: fresh, ..content }, now, keeps);
    }

    /// Loses one content; whether it had others.
    fn lose(&mut self, version: VersionId) -> bool {
        if self.newest.version != version {
            self.older.retain(|(_, content)| content.version != version);
            return true;
        }
        let before = self.older.pop();
        before.into_iter().for_each(|(_, content)| self.newest = content);
        before.is_some()
    }
}

/// Files and folders that are below one path, by what is behind it: nothing for what lies at the path itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Things {
    pub(super) files: Vec<(String, File)>,
    /// Those that stay.
    pub(super) folders: Vec<String>,
}

impl Things {
    /// What this is, if it is one file.
    pub(super) fn file(&self) -> Option<&File> {
        self.files.first().filter(|(rest, _)| rest.is_empty()).map(|(_, file)| file)
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut File> {
        self.files.first_mut().filter(|(rest, _)| rest.is_empty()).map(|(_, file)| file)
    }
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    File,
    Folder,
}

/// What lies in a space, and who may do what there.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// Whether what is removed or overwritten is kept.
    pub(super) keeps: bool,
    /// How many bytes it can hold.
    pub(super) quota: ByteSize,
    pub(super) members: BTreeMap<AccountId, Access>,
    pub(super) files: BTreeMap<String, File>,
    /// Folders that stay.
    pub(super) folders: BTreeSet<String>,
    /// What was removed, and where it was.
    pub(super) trash: BTreeMap<FileId, (FilePath, Things)>,
}

/// The keys of all that is in a folder.
fn inside(folder: &str) -> Range<String> {
    // What follows '/'.
    format!("{folder}/")..format!("{folder}0")
}

impl Shelf {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }

    /// Whether something lies in a folder.
    pub(super) fn is_filled(&self, folder: &FilePath) -> bool {
        let inside = inside(folder.as_str());
        self.files.range(inside.clone()).next().is_some() || self.folders.range(inside).next().is_some()
    }

    /// What lies at a path, unless a file is in the way.
    pub(super) fn there(&self, path: &FilePath) -> Result<There, &'static str> {
        let mut above = std::iter::successors(path.parent(), FilePath::parent);
        if above.any(|folder| self.files.contains_key(folder.as_str())) {
            return Err("not_a_folder");
        }
        Ok(if self.files.contains_key(path.as_str()) {
            There::File
        } else if self.folders.contains(path.as_str()) || self.is_filled(path) {
            There::Folder
        } else {
            There::Nothing
        })
    }

    /// The file at a path.
    pub(super) fn file_at(&self, path: &FilePath) -> Result<&File, &'static str> {
        match self.there(path)? {
            There::Nothing => Err("no_file"),
            There::Folder => Err("is_folder"),
            There::File => self.files.get(path.as_str()).ok_or("no_file"),
        }
    }

    /// Whether a file may be put at a path.
    pub(super) fn may_put(&self, path: &FilePath, condition: Condition) -> Result<(), &'static str> {
        match (self.there(path)?, condition) {
            (There::Nothing, Condition::Version(_)) => Err("changed"),
            (There::Nothing, _) | (There::File, Condition::Any) => Ok(()),
            (There::Folder, _) => Err("is_folder"),
            (There::File, Condition::Absent) => Err("exists"),
            (There::File, Condition::Version(version)) => {
                let newest = self.file_at(path)?.newest.version;
                if newest == version { Ok(()) } else { Err("changed") }
            }
        }
    }

    /// Whether what lies at a path may be removed.
    pub(super) fn may_remove(&self, path: &FilePath, recursive: bool) -> Result<(), &'static str> {
        match self.there(path)? {
            There::Nothing => Err("no_file"),
            There::Folder if !recursive && self.is_filled(path) => Err("folder_not_empty"),
            _ => Ok(()),
        }
    }

    /// Whether something may be moved.
    pub(super) fn may_move(&self, from: &FilePath, to: &FilePath, replace: bool) -> Result<(), &'static str> {
        let is_folder = match self.there(from)? {
            There::Nothing => return Err("no_file"),
            what => what == There::Folder,
        };
        if from == to {
            return Ok(());
        }
        if is_folder && to.is_below(from) {
            return Err("into_itself");
        }
        match self.there(to)? {
            There::Nothing => Ok(()),
            There::Folder if !is_folder => Err("is_folder"),
            There::File if replace && !is_folder => Ok(()),
            _ => Err("exists"),
        }
    }

    /// Gives the file at a path a content, or puts one there.
    pub(super) fn place(&mut self, path: &str, content: Content, now: Time) {
        match self.files.get_mut(path) {
            Some(file) => file.write(content, now, self.keeps),
            None => {
                let file = File { id: None, newest: content, older: Vec::new(), links: Vec::new() };
                self.files.insert(path.to_owned(), file);
            }
        }
    }

    /// What lies at and below a path.
    pub(super) fn below(&self, path: &FilePath) -> Things {
        let (path, inside) = (path.as_str(), inside(path.as_str()));
        let rest = |key: &str| key[path.len()..].to_owned();
        let files = self.files.get_key_value(path).into_iter().chain(self.files.range(inside.clone()));
        let folders = self.folders.get(path).into_iter().chain(self.folders.range(inside));
        Things {
            files: files.map(|(key, file)| (rest(key), file.clone())).collect(),
            folders: folders.map(|key| rest(key)).collect(),
        }
    }

    /// Takes away what lies at and below a path.
    pub(super) fn take(&mut self, path: &FilePath) -> Things {
        let things = self.below(path);
        for (rest, _) in &things.files {
            self.files.remove(&format!("{path}{rest}"));
        }
        for rest in &things.folders {
            self.folders.remove(&format!("{path}{rest}"));
        }
        things
    }

    /// Lays something at a path where nothing is, or a file in the place of another.
    pub(super) fn lay(&mut self, path: &FilePath, things: Things, now: Time) {
        let mut things = things;
        if let Some(file) = things.file_mut()
            && let Some(there) = self.files.remove(path.as_str())
        {
            file.absorb(there, now, self.keeps);
        }
        self.files.extend(things.files.into_iter().map(|(rest, file)| (format!("{path}{rest}"), file)));
        self.folders.extend(things.folders.into_iter().map(|rest| format!("{path}{rest}")));
    }

    /// The file that has a content, if it lies here or was put into the trash itself.
    pub(super) fn with(&self, version: VersionId) -> Option<&File> {
        let removed = self.trash.values().filter_map(|(_, things)| things.file());
        self.files
            .values()
            .chain(removed)
            .find(|file| file.contents().any(|content| content.version == version))
    }

    /// Forgets one content of a file that lies here or was put into the trash itself, and the file with its last.
    pub(super) fn lose(&mut self, version: VersionId) {
        let has = |file: &File| file.contents().any(|content| content.version == version);
        let path = self.files.iter().find(|(_, file)| has(file)).map(|(path, _)| path.clone());
        if let Some(path) = path {
            if self.files.get_mut(&path).is_some_and(|file| !file.lose(version)) {
                self.files.remove(&path);
            }
            return;
        }
        let is_gone = |things: &mut Things| {
            let file = things.file_mut().filter(|file| has(file));
            file.is_some_and(|file| !file.lose(version))
        };
        self.trash.retain(|_, (_, things)| !is_gone(things));
    }

    /// All contents of all that lies here and in the trash.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        let removed = self.trash.values().flat_map(|(_, things)| things.files.iter().map(|(_, file)| file));
        self.files.values().chain(removed).flat_map(|file| file.contents())
    }
}
