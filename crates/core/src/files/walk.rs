//! Finding and listing: by path, by id, by folder, and in the order of whole paths as S3 wants it.

use std::collections::btree_map;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use pumasi_types::{FileId, FilePath, SpaceId, VersionId};

use super::tree::{Folder, Tree};
use super::{FileView, Files, Page, Trashed, Version};

impl<T> Page<T> {
    /// The first ones.
    pub(super) fn of(items: impl Iterator<Item = T>, limit: usize) -> Page<T> {
        let mut items = items;
        let page: Vec<T> = items.by_ref().take(limit).collect();
        Page { more: items.next().is_some(), items: page }
    }

    fn nothing() -> Page<T> {
        Page { items: Vec::new(), more: false }
    }
}

/// A folder that is walked through.
struct Level<'a> {
    /// How much of the path so far leads to it, with its `/`.
    path: usize,
    left: btree_map::Range<'a, Arc<str>, FileId>,
}

impl<'a> Level<'a> {
    fn new(folder: &'a Folder, path: usize, after: &str) -> Level<'a> {
        let from = if after.is_empty() { Unbounded } else { Excluded(after) };
        Level { path, left: folder.children.range::<str, _>((from, Unbounded)) }
    }
}

impl Files {
    /// What lies at a path; the root too.
    pub fn find(&self, space: SpaceId, path: &FilePath) -> Option<FileView> {
        let root = self.spaces.get(&space)?.root;
        self.tree.view(self.tree.seek(root, path).ok()??, path.clone())
    }

    /// A file or folder by its id, wherever it lies, a root too; `None` for what is in the trash.
    pub fn by_id(&self, file: FileId) -> Option<(SpaceId, FileView)> {
        let space = self.tree.node(file)?.space;
        let (top, path) = self.tree.climb(file)?;
        let lies = self.spaces.get(&space)?.root == top;
        Some((space, self.tree.view(file, path).filter(|_| lies)?))
    }

    /// What lies in a folder, from the one behind `after` on, `limit` at most, in the order in which their paths are
    /// walked: files by their names, folders by theirs and a `/`. A name that is no longer there stands for a file; with a
    /// `/` behind it, for a folder.
    pub fn list(&self, folder: FileId, after: Option<&str>, limit: usize) -> Page<FileView> {
        let (Some(of), Some((_, path))) = (self.tree.folder(folder), self.tree.climb(folder)) else {
            return Page::nothing();
        };
        let as_folder = after.map(|after| format!("{after}/"));
        let after = match (&as_folder, after) {
            (Some(key), _) if of.children.contains_key(key.as_str()) => Some(key.as_str()),
            (_, after) => after,
        };
        let level = Level::new(of, 0, after.unwrap_or_default());
        let view = |(key, id): (&Arc<str>, &FileId)| {
            let name = key.strip_suffix('/').unwrap_or(key);
            self.tree.view(*id, path.join(name).ok()?)
        };
        Page::of(level.left.filter_map(view), limit)
    }

    /// Files of a space whose path begins with `prefix` (any text, not whole names only), in the order of their
    /// paths' bytes as S3 wants it, from the one behind `after` on, `limit` at most. With `folded`, what has a `/` behind
    /// the prefix is folded into one folder ("common prefix"). Folders that stay come as such, ordered as their path and
    /// `/`. Whoever goes on passes the last path, with a `/` behind that of a folder. If there is more, the page is not empty.
    pub fn walk(
        &self,
        space: SpaceId,
        prefix: &str,
        after: Option<&str>,
        folded: bool,
        limit: usize,
    ) -> Page<FileView> {
        let found = self.walker(space, prefix, after.unwrap_or_default(), folded);
        found.map_or_else(Page::nothing, |walker| Page::of(walker, limit.max(1)))
    }

    fn walker<'a>(
        &'a self,
        space: SpaceId,
        prefix: &'a str,
        after: &str,
        folded: bool,
    ) -> Option<impl Iterator<Item = FileView> + 'a> {
        let (base, name) = prefix.rfind('/').map_or(("", prefix), |at| prefix.split_at(at + 1));
        let path: FilePath = base.strip_suffix('/').unwrap_or(base).parse().ok()?;
        let at = self.tree.seek(self.spaces.get(&space)?.root, &path).ok()??;
        let folder = self.tree.folder(at).filter(|_| base != "/")?;
        let rest = match after.strip_prefix(base) {
            Some(rest) if rest < name => "",
            Some(rest) if !rest.starts_with(name) => return None,
            Some(rest) => rest,
            None if after > base => return None,
            None => "",
        };
        let from = if rest.is_empty() { Included(name) } else { Excluded(rest) };
        let first = Level { path: base.len(), left: folder.children.range::<str, _>((from, Unbounded)) };
        let mut walker =
            Walker { tree: &self.tree, path: base.to_owned(), levels: vec![first], name, folded };
        // A folder that stays and whose path is the whole prefix is the first.
        let itself = folder.stays && !base.is_empty() && name.is_empty() && after < base;
        let mut begin = itself.then(|| self.tree.view(at, path)).flatten();
        match rest.find('/').map(|at| &rest[..=at]) {
            Some(inner) if folded && inner != rest => {
                // What is folded comes again if any of it is behind.
                let prefix = format!("{base}{inner}");
                let left = !self.walk(space, &prefix, Some(after), false, 1).items.is_empty();
                let child = folder.children.get(inner).filter(|_| left);
                begin = child.and_then(|id| self.tree.view(*id, prefix.trim_end_matches('/').parse().ok()?));
            }
            Some(_) if !folded => walker.go_down(folder, rest),
            _ => {}
        }
        Some(begin.into_iter().chain(walker))
    }

    /// All versions of a file, the newest first.
    pub fn versions(&self, file: FileId) -> Vec<Version> {
        let file = self.tree.file(file);
        let contents = file.into_iter().flat_map(|file| file.contents());
        let mut versions: Vec<Version> = contents.map(|content| content.view()).collect();
        versions.reverse();
        versions
    }

    /// A version of a file.
    pub fn version(&self, file: FileId, version: VersionId) -> Option<Version> {
        let mut contents = self.tree.file(file)?.contents();
        contents.find(|content| content.id == version).map(|content| content.view())
    }

    /// What is in a space's trash, the last first, from behind the one that was removed as `after` on; from the
    /// beginning when that is not there any more.
    pub fn trash(&self, space: SpaceId, after: Option<FileId>, limit: usize) -> Page<Trashed> {
        let space = self.spaces.get(&space);
        space.map_or_else(Page::nothing, |space| self.trash_of(space, after, limit))
    }
}

/// Goes through all below a folder in the order of paths.
struct Walker<'a> {
    tree: &'a Tree,
    /// Up to the last thing that was looked at.
    path: String,
    levels: Vec<Level<'a>>,
    /// How names in the first folder begin.
    name: &'a str,
    folded: bool,
}

impl<'a> Walker<'a> {
    /// Goes to where the rest of a path leads.
    fn go_down(&mut self, folder: &'a Folder, rest: &str) {
        let (mut folder, mut rest) = (folder, rest);
        while let Some((key, below)) = rest.find('/').map(|at| rest.split_at(at + 1)) {
            let child = folder.children.get(key).and_then(|id| self.tree.folder(*id));
            let Some(child) = child else { return };
            self.path.push_str(key);
            self.levels.push(Level::new(child, self.path.len(), below));
            (folder, rest) = (child, below);
        }
    }
}

impl Iterator for Walker<'_> {
    type Item = FileView;

    fn next(&mut self) -> Option<FileView> {
        loop {
            let first = self.levels.len() == 1;
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path);
            let Some((key, id)) = level.left.next() else {
                self.levels.pop();
                continue;
            };
            if first && !key.starts_with(self.name) {
                return None;
            }
            self.path.push_str(key);
            if let Some(folder) = self.tree.folder(*id).filter(|_| !self.folded) {
                self.levels.push(Level::new(folder, self.path.len(), ""));
                if !folder.stays {
                    continue;
                }
            }
            let path = self.path.strip_suffix('/').unwrap_or(&self.path);
            return self.tree.view(*id, path.parse().ok()?);
        }
    }
}
