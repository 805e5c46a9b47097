//! What writers do in a space: put, make, move, copy and remove.

use pumasi_types::{AccountId, ByteSize, FileId, FilePath, Hash, SpaceId, Time};

use super::claims::Claims;
use super::links::Links;
use super::rooms::{Counted, Room};
use super::trash::Doom;
use super::tree::{Content, File, Folder, Packed, Tree, What};
use super::{About, Condition, Files, FilesDone, FilesRefusal, Placed};
use crate::Bounds;
use crate::timers::Timers;

/// A space that is being changed by somebody who may.
pub(super) struct Opened<'a> {
    pub(super) id: SpaceId,
    pub(super) space: Counted<'a>,
    pub(super) tree: &'a mut Tree,
    pub(super) links: &'a mut Links,
    pub(super) doomed: &'a mut Vec<Doom>,
    pub(super) claims: &'a mut Claims,
    pub(super) timers: &'a mut Timers,
    pub(super) now: Time,
}

/// A content that is about to lie somewhere.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) blob: Hash,
    pub(super) size: ByteSize,
    pub(super) by: AccountId,
    pub(super) about: Packed,
}

/// Something that is copied, with all in it: what comes before it in a list is above it.
pub(super) struct Original {
    name: String,
    /// The place of its folder in the list.
    folder: usize,
    /// Its content if it is a file; whether it stays if it is a folder.
    what: Result<Fresh, bool>,
}

impl Original {
    /// Bytes of what it says of itself.
    fn about(&self) -> u64 {
        self.what.as_ref().map_or(0, |fresh| fresh.about.len())
    }
}

impl Fresh {
    fn of(content: &Content, by: AccountId) -> Fresh {
        Fresh { blob: content.blob, size: content.size, by, about: content.about.clone() }
    }
}

impl Opened<'_> {
    fn content(&mut self, fresh: Fresh) -> Content {
        let Fresh { blob, size, by, about } = fresh;
        // The quota counts its bytes from now on.
        self.claims.file(by, blob);
        self.space.about += about.len();
        Content { id: self.tree.version(), blob, size, put: self.now, by, about }
    }

    /// Whether so many bytes more have room when some go.
    pub(super) fn quota_for(&self, needed: ByteSize, freed: ByteSize) -> Result<(), FilesRefusal> {
        let quota = self.space.quota;
        let left = ByteSize(quota.0.saturating_sub(self.space.used.0 - freed.0));
        if needed <= left || needed <= freed {
            return Ok(());
        }
        Err(FilesRefusal::QuotaExceeded { quota, left, needed })
    }

    /// Whether there may be so much more.
    pub(super) fn room(&self, more: Room) -> Result<(), FilesRefusal> {
        let Room { things, about } = self.space.others();
        let too_many = |what: &str, limit: u64| Err(FilesRefusal::TooMany { what: what.to_owned(), limit });
        if more.things > 0 && (things + self.space.things).saturating_add(more.things) > Bounds::THINGS {
            return too_many(
                "files and folders in the spaces of one account, their trash included",
                Bounds::THINGS,
            );
        }
        if more.about > 0 && (about + self.space.about).saturating_add(more.about) > Bounds::ABOUT_EACH {
            return too_many(
                "bytes of what files in the spaces of one account say of themselves",
                Bounds::ABOUT_EACH,
            );
        }
        Ok(())
    }

    /// Whether there may be something at a path, with the folders above it.
    pub(super) fn room_for(&self, path: &FilePath) -> Result<(), FilesRefusal> {
        self.room(Room { things: path.names().count() as u64, about: 0 })
    }

    /// Lays something that lies nowhere at a path where nothing is in the way.
    pub(super) fn lay(&mut self, file: FileId, path: &FilePath) {
        let (folder, made) = self.tree.make_way(self.space.root, path, self.now);
        self.space.things += made;
        self.tree.rename(file, path.name().unwrap_or_default());
        self.tree.attach(file, folder);
    }

    /// Gives the file at a path a new content, if what is there is as it must be.
    pub(super) fn place(
        &mut self,
        path: &FilePath,
        condition: Condition,
        fresh: Fresh,
    ) -> Result<Placed, FilesRefusal> {
        let path_of = || path.clone();
        let Some(id) = self.tree.seek(self.space.root, path)? else {
            if matches!(condition, Condition::Version(_)) {
                return Err(FilesRefusal::Changed { path: path_of() });
            }
            self.quota_for(fresh.size, ByteSize(0))?;
            self.room(Room { things: path.names().count() as u64, about: fresh.about.len() })?;
            return Ok(self.place_new(path, fresh));
        };
        let file = self.tree.file(id).ok_or_else(|| FilesRefusal::IsFolder { path: path_of() })?;
        match condition {
            Condition::Absent => return Err(FilesRefusal::Exists { path: path_of() }),
            Condition::Version(version) if version != file.newest.id => {
                return Err(FilesRefusal::Changed { path: path_of() });
            }
            _ => {}
        }
        let goes = self.space.keeps_nothing() || file.newest.blob == fresh.blob;
        let (freed, said) = match goes {
            true => (file.newest.size, file.newest.about.len()),
            false => (ByteSize(0), 0),
        };
        self.quota_for(fresh.size, freed)?;
        self.room(Room { things: 0, about: fresh.about.len().saturating_sub(said) })?;
        let content = self.content(fresh);
        let (version, size) = (content.id, content.size);
        let before = self.tree.write(id, content);
        before.into_iter().for_each(|before| self.supersede(id, before));
        self.space.used.0 += size.0;
        Ok(Placed { file: id, version: Some(version) })
    }

    fn place_new(&mut self, path: &FilePath, fresh: Fresh) -> Placed {
        let newest = self.content(fresh);
        let version = Some(newest.id);
        self.space.used.0 += newest.size.0;
        self.space.things += 1;
        let file = self.tree.add(self.id, "", What::File(File { newest, older: Vec::new() }));
        self.lay(file, path);
        Placed { file, version }
    }

    /// See [`FilesCommand::MakeFolder`](super::FilesCommand::MakeFolder).
    pub(super) fn make_folder(&mut self, path: &FilePath) -> Result<(), FilesRefusal> {
        match self.tree.seek(self.space.root, path)? {
            Some(id) if self.tree.folder(id).is_none() => {
                return Err(FilesRefusal::NotAFolder { path: path.clone() });
            }
            Some(id) => self.tree.set_stays(id, true),
            None => {
                self.room_for(path)?;
                let folder = self.tree.add(self.id, "", What::Folder(Folder::new(self.now, true)));
                self.space.things += 1;
                self.lay(folder, path);
            }
        }
        Ok(())
    }

    /// See [`FilesCommand::ReleaseFolder`](super::FilesCommand::ReleaseFolder).
    pub(super) fn release_folder(&mut self, path: &FilePath) -> Result<(), FilesRefusal> {
        match self.tree.seek(self.space.root, path)? {
            None => {}
            Some(id) if self.tree.folder(id).is_none() => {
                return Err(FilesRefusal::NotAFolder { path: path.clone() });
            }
            // A space's own folder stays whatever happens, and so does a copy of it.
            Some(id) if id == self.space.root => {}
            Some(id) => {
                self.tree.set_stays(id, false);
                self.space.things -= self.prune(id);
            }
        }
        Ok(())
    }

    /// Forgets folders from this one up that are of no use any more; how many.
    pub(super) fn prune(&mut self, folder: FileId) -> u64 {
        let mut pruned = 0;
        let mut at = folder;
        while let Some(above) = self.tree.prune(at) {
            self.links.forget_file(at, self.timers);
            (at, pruned) = (above, pruned + 1);
        }
        pruned
    }

    /// See [`FilesCommand::Remove`](super::FilesCommand::Remove), of one path.
    pub(super) fn remove(
        &mut self,
        by: AccountId,
        path: &FilePath,
        recursive: bool,
        forever: bool,
    ) -> Result<Placed, FilesRefusal> {
        if path.is_root() {
            return Err(FilesRefusal::IsFolder { path: path.clone() });
        }
        let found = self.tree.seek(self.space.root, path)?;
        let file = found.ok_or_else(|| FilesRefusal::NoFile { path: path.clone() })?;
        if !recursive && self.tree.folder(file).is_some_and(|folder| !folder.children.is_empty()) {
            return Err(FilesRefusal::FolderNotEmpty { path: path.clone() });
        }
        let version = self.tree.file(file).map(|file| file.newest.id);
        let folder = self.tree.detach(file);
        self.space.things -= self.prune(folder);
        self.discard(file, path.clone(), by, forever);
        Ok(Placed { file, version })
    }

    /// See [`FilesCommand::Move`](super::FilesCommand::Move).
    pub(super) fn rename(
        &mut self,
        by: AccountId,
        from: &FilePath,
        to: &FilePath,
        replace: bool,
    ) -> Result<FileId, FilesRefusal> {
        let root = self.space.root;
        let found = self.tree.seek(root, from)?;
        let file = found.ok_or_else(|| FilesRefusal::NoFile { path: from.clone() })?;
        let is_folder = self.tree.folder(file).is_some();
        if from == to && !from.is_root() {
            return Ok(file);
        }
        if from.is_root() || (is_folder && to.is_below(from)) {
            return Err(FilesRefusal::IntoItself { path: from.clone() });
        }
        let there = self.tree.seek(root, to)?;
        if let Some(there) = there {
            let overwritten = replace && !is_folder;
            match self.tree.file(there) {
                None if !is_folder => return Err(FilesRefusal::IsFolder { path: to.clone() }),
                Some(_) if overwritten => {}
                _ => return Err(FilesRefusal::Exists { path: to.clone() }),
            }
        }
        self.tree.node(file).map_or(Ok(()), |node| node.fits(to))?;
        self.room_for(to)?;
        let folder = self.tree.detach(file);
        if let Some(there) = there {
            self.tree.detach(there);
        }
        self.lay(file, to);
        if let Some(there) = there {
            self.absorb(by, file, there);
        }
        self.space.things -= self.prune(folder);
        Ok(file)
    }

    /// Somebody gives a content of one file to another. A walk over the roots may be past the one and never come to the other,
    /// so the contents become claims, to which it comes last.
    fn hand_over(&mut self, by: AccountId, content: &Content) {
        self.claims.read(by, (content.blob, content.size), content.by == by, self.now);
    }

    /// Makes what was at a file's new place, and lies nowhere now, older versions of it.
    fn absorb(&mut self, by: AccountId, file: FileId, there: FileId) {
        self.links.redirect(there, file);
        self.space.things -= 1;
        let Some(What::File(other)) = self.tree.forget(there).map(|node| node.what) else { return };
        if file < there {
            other.contents().for_each(|content| self.hand_over(by, content));
        }
        for (since, content) in other.older {
            self.space.older.remove(&(since, there, content.id));
            self.space.older.insert((since, file, content.id));
            if let Some(own) = self.tree.file_mut(file) {
                own.older.push((since, content));
            }
        }
        if let Some(own) = self.tree.file_mut(file) {
            own.older.sort_by_key(|(since, content)| (*since, content.id));
        }
        self.supersede(file, other.newest);
        self.limit_versions(file);
    }

    /// Adds a copy of a folder with all in it; the copy.
    fn add_copies(&mut self, originals: Vec<Original>, to: &FilePath) -> Option<FileId> {
        let mut made: Vec<FileId> = Vec::with_capacity(originals.len());
        for Original { name, folder, what } in originals {
            let what = match what {
                Ok(fresh) => {
                    self.space.used.0 += fresh.size.0;
                    What::File(File { newest: self.content(fresh), older: Vec::new() })
                }
                Err(stays) => What::Folder(Folder::new(self.now, stays)),
            };
            let copy = self.tree.add(self.id, &name, what);
            self.space.things += 1;
            match made.get(folder) {
                Some(folder) => self.tree.attach(copy, *folder),
                None => self.lay(copy, to),
            }
            made.push(copy);
        }
        made.first().copied()
    }
}

/// Whether what a file says of itself is short enough.
pub(super) fn check_about(about: &About) -> Result<(), FilesRefusal> {
    let bytes: usize = about.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= Bounds::ABOUT_BYTES {
        return Ok(());
    }
    let what = "bytes of what a file says of itself".to_owned();
    Err(FilesRefusal::TooMany { what, limit: Bounds::ABOUT_BYTES as u64 })
}

/// From where to where something is copied.
pub(super) struct CopyOrder<'a> {
    pub(super) from_space: SpaceId,
    pub(super) from: &'a FilePath,
    pub(super) to_space: SpaceId,
    pub(super) to: &'a FilePath,
    pub(super) replace: bool,
    pub(super) about: Option<&'a About>,
}

impl Files {
    /// See [`FilesCommand::Copy`](super::FilesCommand::Copy), for somebody who may.
    pub(super) fn copy(
        &mut self,
        by: AccountId,
        order: &CopyOrder<'_>,
        timers: &mut Timers,
    ) -> Result<FilesDone, FilesRefusal> {
        let CopyOrder { from_space, from, to_space, to, .. } = *order;
        order.about.map_or(Ok(()), check_about)?;
        let root = self.root(from_space)?;
        let found = self.tree.seek(root, from)?;
        let file = found.ok_or_else(|| FilesRefusal::NoFile { path: from.clone() })?;
        if let Some(content) = self.tree.file(file).map(|file| file.newest.clone()) {
            return self.copy_file(by, (file, &content), order, timers);
        }
        let totals = self.tree.folder(file).map(|folder| folder.totals).unwrap_or_default();
        let count = totals.files + totals.folders + 1;
        if count > Bounds::COPIED + 1 {
            let what = "files and folders that are copied at once".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::COPIED });
        }
        if from_space == to_space && to != from && to.is_below(from) {
            return Err(FilesRefusal::IntoItself { path: from.clone() });
        }
        let there = self.tree.seek(self.root(to_space)?, to)?;
        if there.is_some() {
            return Err(FilesRefusal::Exists { path: to.clone() });
        }
        self.tree.node(file).map_or(Ok(()), |node| node.fits(to))?;
        let originals = self.originals(file, by)?;
        let mut opened = self.open(to_space, timers)?;
        opened.quota_for(totals.bytes, ByteSize(0))?;
        let about = originals.iter().map(Original::about).sum();
        opened.room(Room { things: count + to.names().count() as u64, about })?;
        let copy = opened.add_copies(originals, to);
        let file = copy.ok_or_else(|| FilesRefusal::NoFile { path: from.clone() })?;
        Ok(FilesDone::Copied { file, version: None, count })
    }

    /// Copies one file, which has this content.
    fn copy_file(
        &mut self,
        by: AccountId,
        (original, content): (FileId, &Content),
        order: &CopyOrder<'_>,
        timers: &mut Timers,
    ) -> Result<FilesDone, FilesRefusal> {
        let CopyOrder { to_space, to, replace, about, .. } = *order;
        let mut fresh = Fresh::of(content, by);
        about.into_iter().for_each(|about| fresh.about = about.into());
        let condition = if replace { Condition::Any } else { Condition::Absent };
        let mut opened = self.open(to_space, timers)?;
        let Placed { file, version } = opened.place(to, condition, fresh)?;
        if file < original {
            opened.hand_over(by, content);
        }
        Ok(FilesDone::Copied { file, version, count: 1 })
    }

    /// A folder with all in it.
    fn originals(&self, folder: FileId, by: AccountId) -> Result<Vec<Original>, FilesRefusal> {
        let (mut originals, mut waiting) = (Vec::new(), vec![(folder, usize::MAX)]);
        let mut about = 0;
        while let Some((id, folder)) = waiting.pop() {
            let Some(node) = self.tree.node(id) else { continue };
            let at = originals.len();
            let what = match &node.what {
                What::File(file) => {
                    about += file.newest.about.len();
                    Ok(Fresh::of(&file.newest, by))
                }
                What::Folder(of) => {
                    waiting.extend(of.children.values().rev().map(|child| (*child, at)));
                    Err(of.stays)
                }
            };
            if about > Bounds::COPIED_ABOUT {
                let what = "bytes of what files that are copied at once say of themselves".to_owned();
                return Err(FilesRefusal::TooMany { what, limit: Bounds::COPIED_ABOUT });
            }
            originals.push(Original { name: node.name().to_owned(), folder, what });
        }
        Ok(originals)
    }
}
