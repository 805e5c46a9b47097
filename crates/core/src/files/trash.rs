//! What was removed and overwritten, until its time has passed; and erasing, a bounded number of things at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use pumasi_types::{AccountId, FileId, FilePath, Hash, SpaceId, Time, VersionId};
use serde::{Deserialize, Serialize};

use super::change::Opened;
use super::claims::Claims;
use super::tree::{Content, Node, What};
use super::{Files, FilesRefusal, Page, Space, Trashed, UploadPart};
use crate::Bounds;
use crate::timers::{Timer, Timers};

/// What was removed from a space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Trash {
    entries: BTreeMap<FileId, Entry>,
    order: BTreeSet<(Time, FileId)>,
    /// Files by where they were and when they were removed. A snapshot does not have them: each entry says it.
    #[serde(skip)]
    paths: BTreeSet<(String, Time, FileId)>,
}

/// What a snapshot has of a trash.
#[derive(Deserialize)]
struct Stored {
    entries: BTreeMap<FileId, Entry>,
    order: BTreeSet<(Time, FileId)>,
}

impl From<Stored> for Trash {
    fn from(Stored { entries, order }: Stored) -> Trash {
        let paths = entries.iter().filter_map(|(file, entry)| entry.place(*file)).collect();
        Trash { entries, order, paths }
    }
}

/// How something came there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) removed: Time,
    pub(super) by: AccountId,
    /// Where it was.
    pub(super) path: FilePath,
    /// Whether it is a folder.
    pub(super) is_folder: bool,
}

impl Entry {
    /// Where a file was.
    fn place(&self, file: FileId) -> Option<(String, Time, FileId)> {
        (!self.is_folder).then(|| (self.path.as_str().to_owned(), self.removed, file))
    }
}

/// What is being erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Doom {
    /// It lies nowhere any more.
    Node(FileId),
    /// A whole trash.
    Trash(Trash),
    /// Parts of an upload of this account that is no more.
    Parts(AccountId, BTreeMap<u16, UploadPart>),
    /// All downloads into a space that is gone.
    Downloads(SpaceId),
}

impl Trash {
    pub(super) fn insert(&mut self, file: FileId, entry: Entry) {
        self.order.insert((entry.removed, file));
        self.paths.extend(entry.place(file));
        self.entries.insert(file, entry);
    }

    pub(super) fn get(&self, file: FileId) -> Option<&Entry> {
        self.entries.get(&file)
    }

    pub(super) fn remove(&mut self, file: FileId) -> Option<Entry> {
        let entry = self.entries.remove(&file)?;
        self.order.remove(&(entry.removed, file));
        entry.place(file).inspect(|place| _ = self.paths.remove(place));
        Some(entry)
    }

    /// What lies there longest, and since when.
    pub(super) fn first(&self) -> Option<(Time, FileId)> {
        self.order.first().copied()
    }

    fn pop_first(&mut self) -> Option<FileId> {
        let (_, file) = self.order.first().copied()?;
        self.remove(file);
        Some(file)
    }

    pub(super) fn sanity_check(&self) {
        let order = self.entries.iter().map(|(file, entry)| (entry.removed, *file));
        assert!(order.collect::<BTreeSet<_>>() == self.order, "the trash is in order");
        let paths = self.entries.iter().filter_map(|(file, entry)| entry.place(*file));
        assert!(paths.collect::<BTreeSet<_>>() == self.paths, "the trash knows where everything was");
    }

    pub(super) fn files(&self) -> impl Iterator<Item = FileId> {
        self.entries.keys().copied()
    }

    /// Files that were removed from a path, the last first; from this one on, if it is one of them.
    fn removed_at<'a>(&'a self, path: &str, from: Option<FileId>) -> impl Iterator<Item = FileId> + use<'a> {
        let place = |file| self.get(file).filter(|entry| entry.path.as_str() == path)?.place(file);
        let end = |time, file| (path.to_owned(), time, file);
        let last = from.and_then(place).unwrap_or_else(|| end(Time(u64::MAX), FileId(u64::MAX)));
        self.paths.range(end(Time(0), FileId(0))..=last).rev().map(|(.., file)| *file)
    }

    /// From where files were removed, each path once, in the order of the paths' bytes, from the one behind `after` on.
    fn paths(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = &str> {
        let behind = |path: &str| Excluded((path.to_owned(), Time(u64::MAX), FileId(u64::MAX)));
        let begin = match after.filter(|after| *after >= prefix) {
            Some(after) => behind(after),
            None => Included((prefix.to_owned(), Time(0), FileId(0))),
        };
        let next = move |begin| self.paths.range((begin, Unbounded)).next().map(|(path, ..)| path.as_str());
        let all = std::iter::successors(next(begin), move |last| next(behind(last)));
        let prefix = prefix.to_owned();
        all.take_while(move |path| path.starts_with(&prefix))
    }
}

impl Space {
    /// A content that lay here is gone.
    fn let_go(&mut self, content: &Content, claims: &mut Claims) {
        self.used.0 -= content.size.0;
        self.about -= content.about.len();
        claims.unfile(content.by, content.blob);
    }

    /// Whether what is removed or overwritten here is gone at once.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.keep.0 == 0
    }

    /// Sets the timer for what is kept here longest.
    pub(super) fn wind(&mut self, id: SpaceId, timers: &mut Timers) {
        let oldest = self.older.first().map(|(since, ..)| *since);
        let removed = self.trash.first().map(|(since, _)| since);
        let first = oldest.into_iter().chain(removed).min();
        let due = first.map(|first| first.after(self.keep));
        if due != self.due {
            self.due.inspect(|before| timers.clear(*before, Timer::Space(id)));
            due.inspect(|due| timers.set(*due, Timer::Space(id)));
            self.due = due;
        }
    }
}

impl Opened<'_> {
    /// Takes something that was detached out of sight: into the trash, or for good.
    pub(super) fn discard(&mut self, file: FileId, path: FilePath, by: AccountId, forever: bool) {
        if forever || self.space.keeps_nothing() {
            self.doomed.push(Doom::Node(file));
        } else {
            let is_folder = self.tree.folder(file).is_some();
            self.space.trash.insert(file, Entry { removed: self.now, by, path, is_folder });
        }
    }

    /// Keeps a content that was overwritten as an older version of a file, or not, if nothing is lost with it.
    pub(super) fn supersede(&mut self, file: FileId, before: Content) {
        let newest = self.tree.file(file).map(|file| (file.newest.blob, file.newest.by));
        let same = newest.is_some_and(|(blob, _)| blob == before.blob);
        if same || self.space.keeps_nothing() {
            self.space.let_go(&before, self.claims);
            if newest == Some((before.blob, before.by)) {
                // The claim may be younger than the one that goes: then it takes that for the one that stays.
                self.claims.lies(before.by, before.blob);
            }
            return;
        }
        self.space.older.insert((self.now, file, before.id));
        if let Some(node) = self.tree.file_mut(file) {
            node.older.push((self.now, before));
        }
        self.limit_versions(file);
    }

    /// Drops the oldest versions of a file beyond the bound.
    pub(super) fn limit_versions(&mut self, file: FileId) {
        let Some(node) = self.tree.file_mut(file) else { return };
        let over = node.older.len().saturating_sub(Bounds::VERSIONS);
        for (since, content) in node.older.drain(..over) {
            self.space.older.remove(&(since, file, content.id));
            self.space.let_go(&content, self.claims);
        }
    }

    /// See [`FilesCommand::Restore`](super::FilesCommand::Restore).
    pub(super) fn restore(&mut self, file: FileId, to: Option<&FilePath>) -> Result<FileId, FilesRefusal> {
        let entry = self.space.trash.get(file).ok_or(FilesRefusal::NotInTrash { file })?;
        let path = to.unwrap_or(&entry.path).clone();
        if self.tree.seek(self.space.root, &path)?.is_some() {
            return Err(FilesRefusal::Exists { path });
        }
        self.tree.node(file).map_or(Ok(()), |node| node.fits(&path))?;
        self.room_for(&path)?;
        self.space.trash.remove(file);
        self.lay(file, &path);
        Ok(file)
    }

    /// See [`FilesCommand::EmptyTrash`](super::FilesCommand::EmptyTrash).
    pub(super) fn empty_trash(&mut self, file: Option<FileId>) -> Result<(), FilesRefusal> {
        match file {
            Some(file) => {
                self.space.trash.remove(file).ok_or(FilesRefusal::NotInTrash { file })?;
                self.doomed.push(Doom::Node(file));
            }
            None => self.doomed.push(Doom::Trash(std::mem::take(&mut self.space.trash))),
        }
        Ok(())
    }

    /// See [`FilesCommand::Revert`](super::FilesCommand::Revert).
    pub(super) fn revert(
        &mut self,
        by: AccountId,
        path: &FilePath,
        version: VersionId,
    ) -> Result<(), FilesRefusal> {
        let file = self.tree.file_at(self.space.root, path)?;
        let cut = self.tree.cut(file, version);
        let (since, content) = cut.ok_or_else(|| FilesRefusal::NoVersion { path: path.clone(), version })?;
        self.space.older.remove(&(since, file, version));
        let (id, now) = (self.tree.version(), self.now);
        // First what goes: the claim may not have seen it come.
        self.claims.unfile(content.by, content.blob);
        self.claims.file(by, content.blob);
        let before = self.tree.write(file, Content { id, put: now, by, ..content });
        before.into_iter().for_each(|before| self.supersede(file, before));
        Ok(())
    }
}

impl Opened<'_> {
    /// See [`FilesCommand::RemoveVersion`](super::FilesCommand::RemoveVersion).
    pub(super) fn remove_version(&mut self, file: FileId, version: VersionId) -> Result<(), FilesRefusal> {
        let (top, path) = self.tree.climb(file).unwrap_or_default();
        let no_version = || FilesRefusal::NoVersion { path: path.clone(), version };
        let is_here = top == self.space.root || self.space.trash.get(file).is_some();
        let of = self.tree.file_mut(file).filter(|_| is_here);
        let of = of.ok_or_else(no_version)?;
        if of.newest.id != version {
            let (since, content) = self.tree.cut(file, version).ok_or_else(no_version)?;
            self.space.older.remove(&(since, file, version));
            self.space.let_go(&content, self.claims);
        } else if let Some((since, before)) = of.older.pop() {
            self.space.older.remove(&(since, file, before.id));
            let gone = self.tree.write(file, before);
            gone.into_iter().for_each(|gone| self.space.let_go(&gone, self.claims));
        } else {
            self.space.trash.remove(file);
            let folder = self.tree.detach(file);
            self.space.things -= self.prune(folder);
            self.doomed.push(Doom::Node(file));
        }
        Ok(())
    }
}

impl Files {
    /// Files that were removed from a path of a space and are in its trash, the last first; from this one on, if it is one
    /// of them.
    pub fn removed_at<'a>(
        &'a self,
        space: SpaceId,
        path: &FilePath,
        from: Option<FileId>,
    ) -> impl Iterator<Item = Trashed> + use<'a> {
        let trash = self.spaces.get(&space).map(|space| &space.trash);
        let files = trash.map(|trash| {
            let files = trash.removed_at(path.as_str(), from);
            files.filter_map(move |file| self.trashed(trash, file))
        });
        files.into_iter().flatten()
    }

    /// The file that was removed from a path of a space and has this content; found by the content, however much was
    /// removed from there.
    pub fn removed_with(&self, space: SpaceId, path: &FilePath, version: VersionId) -> Option<FileId> {
        let file = self.tree.loose(version)?;
        let entry = self.spaces.get(&space)?.trash.get(file)?;
        (entry.path == *path).then_some(file)
    }

    /// Something that was put into the trash of a space itself.
    pub fn removed(&self, space: SpaceId, file: FileId) -> Option<Trashed> {
        self.trashed(&self.spaces.get(&space)?.trash, file)
    }

    /// From where files of a space were removed that are in its trash, each path once, in the order of the paths' bytes as
    /// [`Files::walk`] has it: those that begin with `prefix`, from behind `after` on, `limit` at most. One step for each
    /// path, however much was removed from there.
    pub fn removed_paths(
        &self,
        space: SpaceId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Page<String> {
        let trash = self.spaces.get(&space).map(|space| &space.trash);
        let paths = trash.into_iter().flat_map(|trash| trash.paths(prefix, after));
        Page::of(paths.map(str::to_owned), limit)
    }

    fn trashed(&self, trash: &Trash, file: FileId) -> Option<Trashed> {
        let entry = trash.get(file)?;
        let file = self.tree.view(file, entry.path.clone())?;
        Some(Trashed { file, removed: entry.removed, by: entry.by })
    }

    /// See [`Files::trash`]; of a space that is there.
    pub(super) fn trash_of(&self, space: &Space, after: Option<FileId>, limit: usize) -> Page<Trashed> {
        let trash = &space.trash;
        let last = after.and_then(|file| Some((trash.get(file)?.removed, file)));
        let behind = match last {
            Some(last) => trash.order.range(..last),
            None => trash.order.range(..),
        };
        Page::of(behind.rev().filter_map(|(_, file)| self.trashed(trash, *file)), limit)
    }

    /// Lets go what was kept in a space for long enough; takes the steps that this took.
    pub(crate) fn expire(&mut self, id: SpaceId, now: Time, steps: &mut usize, timers: &mut Timers) {
        let Some(mut space) = self.spaces.get_mut(&id) else { return };
        // It has just rung.
        space.due = None;
        while *steps > 0
            && let Some((since, file)) = space.trash.first()
            && since.after(space.keep) <= now
        {
            *steps -= 1;
            space.trash.remove(file);
            self.doomed.push(Doom::Node(file));
        }
        while *steps > 0
            && let Some((since, file, version)) = space.older.first().copied()
            && since.after(space.keep) <= now
        {
            *steps -= 1;
            space.older.pop_first();
            let Some((_, content)) = self.tree.cut(file, version) else { continue };
            space.let_go(&content, &mut self.claims);
        }
        space.wind(id, timers);
    }

    /// Erases a part of what is doomed; takes the steps that this took.
    pub(super) fn erase(&mut self, steps: &mut usize, timers: &mut Timers) {
        while *steps > 0
            && let Some(doom) = self.doomed.last_mut()
        {
            *steps -= 1;
            match doom {
                Doom::Trash(trash) => match trash.pop_first() {
                    Some(file) => self.doomed.push(Doom::Node(file)),
                    None => drop(self.doomed.pop()),
                },
                Doom::Parts(by, parts) => match parts.pop_first() {
                    Some((_, part)) => self.claims.unfile(*by, part.blob),
                    None => drop(self.doomed.pop()),
                },
                Doom::Downloads(space) => {
                    if !self.downloads.remove_one_of(*space, timers) {
                        self.doomed.pop();
                    }
                }
                Doom::Node(file) => {
                    let file = *file;
                    if let Some(child) = self.tree.shed(file) {
                        self.doomed.push(Doom::Node(child));
                    } else {
                        self.doomed.pop();
                        self.erase_one(file, timers);
                    }
                }
            }
        }
    }

    fn erase_one(&mut self, id: FileId, timers: &mut Timers) {
        let Some(Node { space, what, .. }) = self.tree.forget(id) else { return };
        self.links.forget_file(id, timers);
        let file = match what {
            What::File(file) => Some(file),
            What::Folder(_) => None,
        };
        let mut space = self.spaces.get_mut(&space);
        space.iter_mut().for_each(|space| space.things -= 1);
        let Some(file) = file else { return };
        for content in file.contents() {
            match &mut space {
                Some(space) => space.let_go(content, &mut self.claims),
                None => self.claims.unfile(content.by, content.blob),
            }
        }
        let Some(mut space) = space else { return };
        for (since, content) in &file.older {
            space.older.remove(&(*since, id, content.id));
        }
    }

    /// Parts of uploads that are not erased yet, and whose they were.
    pub(super) fn doomed_parts(&self) -> impl Iterator<Item = (AccountId, Hash)> {
        let parts = self.doomed.iter().filter_map(|doom| match doom {
            Doom::Parts(by, parts) => Some((*by, parts)),
            _ => None,
        });
        parts.flat_map(|(by, parts)| parts.values().map(move |part| (by, part.blob)))
    }

    /// Something waits to be erased.
    pub(super) fn is_erasing(&self) -> bool {
        !self.doomed.is_empty()
    }
}
