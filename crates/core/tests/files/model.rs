//! Spaces as people think of them: a flat map from paths to contents, slow and plain.

use std::collections::BTreeMap;

use pumasi_core::Condition;
use pumasi_types::{Duration, FileId, Hash, Time, VersionId};

/// One content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) version: VersionId,
    pub(crate) blob: Hash,
    pub(crate) size: u64,
}

/// What lies at a path: a file, or a folder that stays (whose path has a `/` behind it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Folder,
    File { id: FileId, newest: Content, older: Vec<(Time, Content)> },
}

/// Things by their paths.
pub(crate) type Things = BTreeMap<String, Thing>;

/// Something that was removed.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    pub(crate) at: Time,
    pub(crate) path: String,
    /// By what is behind the path: nothing for a file.
    pub(crate) things: Things,
    pub(crate) is_folder: bool,
}

/// A space.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) keep: Duration,
    pub(crate) quota: u64,
    pub(crate) things: Things,
    pub(crate) trash: BTreeMap<FileId, Removed>,
}

/// A refusal's code.
pub(crate) type Refused = &'static str;

fn sizes(things: &Things) -> u64 {
    let size = |thing: &Thing| match thing {
        Thing::Folder => 0,
        Thing::File { newest, older, .. } => {
            newest.size + older.iter().map(|(_, content)| content.size).sum::<u64>()
        }
    };
    things.values().map(size).sum()
}

/// Drops older versions whose time has passed.
fn expire(things: &mut Things, keep: Duration, now: Time) {
    for thing in things.values_mut() {
        if let Thing::File { older, .. } = thing {
            older.retain(|(since, _)| since.after(keep) > now);
        }
    }
}

impl Model {
    pub(crate) fn new(keep: Duration, quota: u64) -> Model {
        Model { keep, quota, things: Things::new(), trash: BTreeMap::new() }
    }

    pub(crate) fn used(&self) -> u64 {
        sizes(&self.things) + self.trash.values().map(|removed| sizes(&removed.things)).sum::<u64>()
    }

    /// Whether a content of something that lies here or in the trash has these bytes.
    pub(crate) fn has(&self, blob: &Hash) -> bool {
        let trash = self.trash.values().flat_map(|removed| removed.things.values());
        self.things.values().chain(trash).any(|thing| match thing {
            Thing::Folder => false,
            Thing::File { newest, older, .. } => {
                newest.blob == *blob || older.iter().any(|(_, content)| content.blob == *blob)
            }
        })
    }

    pub(crate) fn pass(&mut self, now: Time) {
        let keep = self.keep;
        self.trash.retain(|_, removed| removed.at.after(keep) > now);
        expire(&mut self.things, keep, now);
        self.trash.values_mut().for_each(|removed| expire(&mut removed.things, keep, now));
    }

    pub(crate) fn is_folder(&self, path: &str) -> bool {
        path.is_empty()
            || self.things.range(format!("{path}/")..).next().is_some_and(|(key, _)| below(key, path))
    }

    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.things.contains_key(path)
    }

    /// A file lies where a folder would have to be.
    fn way(&self, path: &str) -> Result<(), Refused> {
        let blocked = path.match_indices('/').any(|(at, _)| self.is_file(&path[..at]));
        if blocked { Err("not_a_folder") } else { Ok(()) }
    }

    /// Takes everything at and below a path, by what is behind the path.
    fn take(&mut self, path: &str) -> Things {
        let keys: Vec<String> =
            self.things.keys().filter(|key| *key == path || below(key, path)).cloned().collect();
        let taken = keys.into_iter().filter_map(|key| self.things.remove_entry(&key));
        taken.map(|(key, thing)| (key[path.len()..].to_owned(), thing)).collect()
    }

    fn lay(&mut self, path: &str, things: Things) {
        self.things.extend(things.into_iter().map(|(rest, thing)| (format!("{path}{rest}"), thing)));
    }

    fn file_mut(&mut self, path: &str) -> Option<(&mut Content, &mut Vec<(Time, Content)>)> {
        match self.things.get_mut(path) {
            Some(Thing::File { newest, older, .. }) => Some((newest, older)),
            _ => None,
        }
    }

    /// The file at a path, for what needs one.
    fn file(&self, path: &str) -> Result<&Thing, Refused> {
        self.way(path)?;
        match self.things.get(path) {
            Some(thing) => Ok(thing),
            None if self.is_folder(path) => Err("is_folder"),
            None => Err("no_file"),
        }
    }

    /// Whether a content may be put there.
    pub(crate) fn may_put(
        &self,
        path: &str,
        condition: Condition,
        blob: Hash,
        size: u64,
    ) -> Result<(), Refused> {
        self.way(path)?;
        if self.is_folder(path) {
            return Err("is_folder");
        }
        let there = match self.things.get(path) {
            Some(Thing::File { newest, .. }) => Some(newest),
            _ => None,
        };
        match (condition, there) {
            (Condition::Absent, Some(_)) => return Err("exists"),
            (Condition::Version(version), there) if there.is_none_or(|there| there.version != version) => {
                return Err("changed");
            }
            _ => {}
        }
        let goes = there.filter(|there| self.keep.0 == 0 || there.blob == blob);
        let freed = goes.map_or(0, |there| there.size);
        if size > freed && self.used() - freed + size > self.quota { Err("quota_exceeded") } else { Ok(()) }
    }

    pub(crate) fn put(&mut self, path: &str, id: FileId, content: Content, now: Time) {
        let keeps = self.keep.0 != 0;
        if let Some((newest, older)) = self.file_mut(path) {
            let before = std::mem::replace(newest, content);
            if keeps && before.blob != newest.blob {
                older.push((now, before));
            }
        } else {
            self.things.insert(path.to_owned(), Thing::File { id, newest: content, older: Vec::new() });
        }
    }

    pub(crate) fn make_folder(&mut self, path: &str) -> Result<(), Refused> {
        self.way(path)?;
        if self.is_file(path) {
            return Err("not_a_folder");
        }
        if !path.is_empty() {
            self.things.insert(format!("{path}/"), Thing::Folder);
        }
        Ok(())
    }

    pub(crate) fn release_folder(&mut self, path: &str) -> Result<(), Refused> {
        self.way(path)?;
        if self.is_file(path) {
            return Err("not_a_folder");
        }
        self.things.remove(&format!("{path}/"));
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &str, recursive: bool) -> Result<Removed, Refused> {
        if path.is_empty() {
            return Err("is_folder");
        }
        self.way(path)?;
        let is_folder = self.is_folder(path);
        if !is_folder && !self.is_file(path) {
            return Err("no_file");
        }
        let more = self.things.keys().any(|key| below(key, path) && key.len() > path.len() + 1);
        if more && !recursive {
            return Err("folder_not_empty");
        }
        let things = self.take(path);
        Ok(Removed { at: Time(0), path: path.to_owned(), things, is_folder })
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, replace: bool, now: Time) -> Result<(), Refused> {
        self.way(from)?;
        let is_folder = self.is_folder(from);
        if !is_folder && !self.is_file(from) {
            return Err("no_file");
        }
        if from == to && !from.is_empty() {
            return Ok(());
        }
        if from.is_empty() || (is_folder && below(&format!("{to}/"), from)) {
            return Err("into_itself");
        }
        self.way(to)?;
        if self.is_folder(to) {
            return Err(if is_folder { "exists" } else { "is_folder" });
        }
        if self.is_file(to) && (is_folder || !replace) {
            return Err("exists");
        }
        let before = self.take(to).remove("");
        let things = self.take(from);
        self.lay(to, things);
        if let Some(Thing::File { newest, older: others, .. }) = before
            && let Some((own, older)) = self.file_mut(to)
        {
            let own_blob = own.blob;
            older.extend(others);
            older.sort_by_key(|(since, content)| (*since, content.version));
            if newest.blob != own_blob {
                older.push((now, newest));
            }
            if self.keep.0 == 0 {
                self.file_mut(to).into_iter().for_each(|(_, older)| older.clear());
            }
        }
        Ok(())
    }

    /// What a copy of something consists of, newest contents only.
    pub(crate) fn original(&self, from: &str) -> Result<(Things, bool), Refused> {
        self.way(from)?;
        let is_folder = self.is_folder(from);
        if !is_folder && !self.is_file(from) {
            return Err("no_file");
        }
        let mut things = self.clone().take(from);
        if from.is_empty() {
            things = things.into_iter().map(|(key, thing)| (format!("/{key}"), thing)).collect();
            things.insert("/".to_owned(), Thing::Folder);
        }
        for thing in things.values_mut() {
            if let Thing::File { older, .. } = thing {
                older.clear();
            }
        }
        Ok((things, is_folder))
    }

    pub(crate) fn may_lay(&self, to: &str, things: &Things) -> Result<(), Refused> {
        self.way(to)?;
        if self.is_folder(to) || self.is_file(to) {
            return Err("exists");
        }
        let size = sizes(things);
        if size > 0 && self.used() + size > self.quota { Err("quota_exceeded") } else { Ok(()) }
    }

    pub(crate) fn add(&mut self, to: &str, things: Things) {
        self.lay(to, things);
    }

    pub(crate) fn restore(&mut self, file: FileId, to: Option<&str>) -> Result<String, Refused> {
        let removed = self.trash.get(&file).ok_or("not_in_trash")?;
        let to = to.unwrap_or(&removed.path).to_owned();
        self.way(&to)?;
        if self.is_folder(&to) || self.is_file(&to) {
            return Err("exists");
        }
        if let Some(removed) = self.trash.remove(&file) {
            self.lay(&to, removed.things);
        }
        Ok(to)
    }

    pub(crate) fn revert(
        &mut self,
        path: &str,
        version: VersionId,
        new: VersionId,
        now: Time,
    ) -> Result<(), Refused> {
        self.file(path)?;
        let Some((newest, older)) = self.file_mut(path) else { return Err("no_file") };
        let at = older.iter().position(|(_, content)| content.version == version).ok_or("no_version")?;
        let (_, content) = older.remove(at);
        let before = std::mem::replace(newest, Content { version: new, ..content });
        if before.blob != newest.blob {
            older.push((now, before));
        }
        Ok(())
    }

    /// Removes a content of the file at a path, or of one that was put into the trash itself.
    pub(crate) fn cut(&mut self, place: Result<&str, FileId>, version: VersionId) -> Result<(), Refused> {
        let things = match place {
            Ok(_) => &mut self.things,
            Err(file) => &mut self.trash.get_mut(&file).ok_or("no_version")?.things,
        };
        let key = place.unwrap_or("");
        let Some(Thing::File { newest, older, .. }) = things.get_mut(key) else { return Err("no_version") };
        if newest.version != version {
            let at = older.iter().position(|(_, content)| content.version == version).ok_or("no_version")?;
            older.remove(at);
        } else if let Some((_, before)) = older.pop() {
            *newest = before;
        } else {
            things.remove(key);
            place.err().map(|file| self.trash.remove(&file));
        }
        Ok(())
    }

    /// Where files were removed that are in the trash, each path once.
    pub(crate) fn removed_paths(&self, prefix: &str, after: &str) -> Vec<String> {
        let files = self.trash.values().filter(|removed| !removed.is_folder).map(|removed| &removed.path);
        let mut paths: Vec<String> =
            files.filter(|path| path.starts_with(prefix) && path.as_str() > after).cloned().collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Paths as they are walked: those of folders that stay with a `/` behind them.
    pub(crate) fn walk(&self, prefix: &str, after: &str, folded: bool) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.things.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
            let key = match key[prefix.len()..].find('/').filter(|_| folded) {
                Some(at) => key[..=prefix.len() + at].to_owned(),
                None => key.clone(),
            };
            if found.last() != Some(&key) && key != after {
                found.push(key);
            }
        }
        found
    }
}

/// Whether a key is of something below a path, or the path's own as a folder.
fn below(key: &str, path: &str) -> bool {
    path.is_empty() || key.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}
