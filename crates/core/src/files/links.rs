//! Links that let whoever has their secret read a file or folder.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, FileId, Hash, LinkId, SpaceId, Time};
use serde::{Deserialize, Serialize};

use super::space::Context;
use super::{Access, Files, FilesDone, FilesRefusal, Link};
use crate::timers::{Timer, Timers};
use crate::{Bounds, Refusal};

/// All links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
    by_secret: BTreeMap<Hash, LinkId>,
    by_file: BTreeSet<(FileId, LinkId)>,
    by_space: BTreeSet<(SpaceId, LinkId)>,
    last: LinkId,
}

impl Link {
    /// Whether nobody can use it any more.
    fn is_over(&self, now: Time) -> bool {
        self.left == Some(0) || self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(super) fn of_secret(&self, secret: &Hash) -> Option<(LinkId, &Link)> {
        let id = *self.by_secret.get(secret)?;
        Some((id, self.links.get(&id)?))
    }

    pub(super) fn of_space(&self, space: SpaceId) -> impl Iterator<Item = (LinkId, &Link)> {
        let ids = self.by_space.range((space, LinkId(0))..=(space, LinkId(u64::MAX)));
        ids.filter_map(|(_, id)| Some((*id, self.links.get(id)?)))
    }

    fn add(&mut self, link: Link) -> LinkId {
        self.last.0 += 1;
        let id = self.last;
        self.by_secret.insert(link.secret, id);
        self.by_file.insert((link.file, id));
        self.by_space.insert((link.space, id));
        self.links.insert(id, link);
        id
    }

    /// Forgets a link and its timer.
    pub(super) fn remove(&mut self, id: LinkId, timers: &mut Timers) {
        let Some(link) = self.links.remove(&id) else { return };
        self.by_secret.remove(&link.secret);
        self.by_file.remove(&(link.file, id));
        self.by_space.remove(&(link.space, id));
        link.expires.inspect(|expires| timers.clear(*expires, Timer::Link(id)));
    }

    fn of_file(&self, file: FileId) -> Vec<LinkId> {
        self.by_file.range((file, LinkId(0))..=(file, LinkId(u64::MAX))).map(|(_, id)| *id).collect()
    }

    /// The file is gone, and its links with it.
    pub(super) fn forget_file(&mut self, file: FileId, timers: &mut Timers) {
        self.of_file(file).into_iter().for_each(|id| self.remove(id, timers));
    }

    /// One file takes the place of another.
    pub(super) fn redirect(&mut self, from: FileId, to: FileId) {
        for id in self.of_file(from) {
            self.by_file.remove(&(from, id));
            self.by_file.insert((to, id));
            self.links.get_mut(&id).into_iter().for_each(|link| link.file = to);
        }
    }

    pub(super) fn sanity_check(&self, timers: &Timers, lies: impl Fn(FileId) -> bool) {
        let ends = self.links.iter().filter_map(|(id, link)| Some((link.expires?, Timer::Link(*id))));
        let set = timers.iter().filter(|(_, timer)| matches!(timer, Timer::Link(_)));
        assert_eq!(ends.collect::<BTreeSet<_>>(), set.collect(), "what rings for a link is its end");
        for (id, link) in &self.links {
            assert!(lies(link.file), "a link is to something");
            assert_eq!(self.by_secret.get(&link.secret), Some(id));
            assert!(self.by_file.contains(&(link.file, *id)) && self.by_space.contains(&(link.space, *id)));
        }
        let counts = [self.by_secret.len(), self.by_file.len(), self.by_space.len()];
        assert_eq!(counts, [self.links.len(); 3], "links are found in every way");
    }
}

impl Files {
    /// Adds a link, whose space and file are not checked yet.
    pub(super) fn add_link(
        &mut self,
        path: &pumasi_types::FilePath,
        link: Link,
        ctx: &mut Context<'_>,
    ) -> Result<FilesDone, Refusal> {
        let space = self.check(link.by, link.space, Access::Write)?;
        let found = self.tree.seek(space.root, path)?;
        let file = found.ok_or_else(|| FilesRefusal::NoFile { path: path.clone() })?;
        if self.links.of_secret(&link.secret).is_some() {
            return Err(Refusal::TokenTaken);
        }
        if self.links.of_space(link.space).count() >= Bounds::LINKS {
            let what = "links in a space".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::LINKS as u64 }.into());
        }
        if link.password.as_ref().is_some_and(|password| password.len() > Bounds::PASSWORD_BYTES) {
            return Err(Refusal::invalid("password", "is a hash that is too long"));
        }
        if link.left == Some(0) {
            return Err(Refusal::invalid("downloads", "must be at least 1"));
        }
        if link.expires.is_some_and(|at| at <= ctx.now || at > ctx.now.after(Bounds::HORIZON)) {
            return Err(Refusal::invalid("expires", "must lie in the future, ten years from now at most"));
        }
        let expires = link.expires;
        let id = self.links.add(Link { file, ..link });
        expires.inspect(|at| ctx.timers.set(*at, Timer::Link(id)));
        Ok(FilesDone::Link(id))
    }

    /// See [`FilesCommand::RemoveLink`](super::FilesCommand::RemoveLink).
    pub(super) fn remove_link(
        &mut self,
        caller: AccountId,
        id: LinkId,
        timers: &mut Timers,
    ) -> Result<(), FilesRefusal> {
        let link = self.links.get(id).ok_or(FilesRefusal::NoLink { link: id })?;
        if link.by != caller && self.check(caller, link.space, Access::Manage).is_err() {
            return Err(FilesRefusal::NoLink { link: id });
        }
        self.links.remove(id, timers);
        Ok(())
    }

    /// See [`FilesCommand::UseLink`](super::FilesCommand::UseLink).
    pub(super) fn use_link(&mut self, id: LinkId) -> Result<(), FilesRefusal> {
        let link = self.links.get(id).ok_or(FilesRefusal::NoLink { link: id })?;
        if link.is_over(self.now) || self.by_id(link.file).is_none() {
            return Err(FilesRefusal::LinkOver);
        }
        if let Some(link) = self.links.links.get_mut(&id) {
            link.used += 1;
            link.left = link.left.map(|left| left - 1);
        }
        Ok(())
    }

    /// The link's time has passed.
    pub(crate) fn end_link(&mut self, id: LinkId, timers: &mut Timers) {
        self.links.remove(id, timers);
    }

    /// The link with this hash of its secret, unless it is over or what it is to lies in the trash.
    pub fn link_of(&self, secret: &Hash) -> Option<(LinkId, &Link)> {
        let (id, link) = self.links.of_secret(secret)?;
        (!link.is_over(self.now) && self.by_id(link.file).is_some()).then_some((id, link))
    }

    /// A link, over or not.
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id)
    }

    /// The links in a space, over or not.
    pub fn links(&self, space: SpaceId) -> Vec<(LinkId, &Link)> {
        self.links.of_space(space).collect()
    }
}
