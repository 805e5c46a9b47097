//! Spaces: who may do what in them, how much they hold, and how long what is removed there is kept.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, ByteSize, Duration, Hash, SpaceId, Time};

use super::change::Opened;
use super::trash::{Doom, Trash};
use super::tree::{Folder, What};
use super::{Access, Files, FilesDone, FilesRefusal, Space};
use crate::timers::Timers;
use crate::{Bounds, Ledger, Refusal};

/// What the machine works with.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) ledger: &'a Ledger,
    pub(crate) timers: &'a mut Timers,
}

fn no_space(space: SpaceId) -> FilesRefusal {
    FilesRefusal::NoSpace { space: space.to_string() }
}

fn check_keep(keep: Duration) -> Result<(), Refusal> {
    if keep <= Bounds::HORIZON {
        return Ok(());
    }
    Err(Refusal::invalid("keep", "must be ten years at most"))
}

/// As an account's name, and it may start with a digit as long as it is no number: S3's buckets do.
fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    if starts_well && !is_number && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    let problem = "must be 1 to 64 lower-case letters, digits, '-', '_' or '.', start with a letter or digit and not be a number";
    Err(Refusal::invalid("space name", problem))
}

impl Opened<'_> {
    /// Counts bytes that go and bytes that come.
    pub(super) fn take(&mut self, gone: ByteSize, come: ByteSize) {
        self.space.used = ByteSize(self.space.used.0 - gone.0 + come.0);
    }
}

impl Files {
    /// A space, to be changed by somebody who may.
    pub(super) fn open<'a>(
        &'a mut self,
        id: SpaceId,
        timers: &'a mut Timers,
    ) -> Result<Opened<'a>, FilesRefusal> {
        let Files { now, spaces, tree, links, doomed, claims, .. } = self;
        let space = spaces.get_mut(&id).ok_or_else(|| no_space(id))?;
        Ok(Opened { id, space, tree, links, doomed, claims, timers, now: *now })
    }

    pub(super) fn root(&self, id: SpaceId) -> Result<pumasi_types::FileId, FilesRefusal> {
        self.spaces.get(&id).map(|space| space.root).ok_or_else(|| no_space(id))
    }

    /// Sets the timer of a space anew.
    pub(super) fn wind(&mut self, id: SpaceId, timers: &mut Timers) {
        self.spaces.get_mut(&id).into_iter().for_each(|mut space| space.wind(id, timers));
    }

    /// Whether an account may do this there; what it is refused otherwise. Whoever is no member is told that there is no
    /// such space.
    pub fn check(&self, account: AccountId, space: SpaceId, needed: Access) -> Result<&Space, FilesRefusal> {
        let found = self.spaces.get(&space).ok_or_else(|| no_space(space))?;
        match found.members.get(&account) {
            None => Err(no_space(space)),
            Some(access) if *access < needed => Err(FilesRefusal::NoAccess { needed }),
            Some(_) => Ok(found),
        }
    }

    /// See [`FilesCommand::CreateSpace`](super::FilesCommand::CreateSpace).
    pub(super) fn create_space(
        &mut self,
        maker: AccountId,
        name: &str,
        keep: Duration,
        ctx: &Context<'_>,
    ) -> Result<FilesDone, Refusal> {
        check_name(name)?;
        check_keep(keep)?;
        let of_account = ctx.ledger.account_named(name);
        if self.names.contains_key(name) || of_account.is_some_and(|account| account != maker) {
            return Err(FilesRefusal::SpaceTaken { name: name.to_owned() }.into());
        }
        let made = self.made.range((maker, SpaceId(0))..=(maker, SpaceId(u32::MAX)));
        if made.count() >= Bounds::SPACES {
            let what = "spaces that one account makes".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::SPACES as u64 }.into());
        }
        self.last_space.0 += 1;
        let id = self.last_space;
        // Nothing is ever removed from a root, nor it from its space.
        let root = self.tree.add(id, "", What::Folder(Folder::new(ctx.now, true)));
        let space = Space {
            name: name.to_owned(),
            made: ctx.now,
            keep,
            quota: Bounds::QUOTA,
            used: ByteSize(0),
            members: BTreeMap::from([(maker, Access::Manage)]),
            maker,
            root,
            things: 0,
            about: 0,
            trash: Trash::default(),
            older: BTreeSet::new(),
            uploads: BTreeSet::new(),
            due: None,
        };
        self.spaces.insert(id, space);
        self.names.insert(name.to_owned(), id);
        self.made.insert((maker, id));
        self.memberships.insert((maker, id));
        Ok(FilesDone::Space(id))
    }

    /// See [`FilesCommand::ChangeSpace`](super::FilesCommand::ChangeSpace).
    pub(super) fn change_space(
        &mut self,
        (caller, operator): (AccountId, bool),
        id: SpaceId,
        (keep, quota): (Option<Duration>, Option<ByteSize>),
        timers: &mut Timers,
    ) -> Result<(), Refusal> {
        if keep.is_some() || !operator {
            self.check(caller, id, Access::Manage)?;
        }
        if quota.is_some() && !operator {
            return Err(Refusal::WrongRole { needed: crate::Role::Operator });
        }
        keep.map_or(Ok(()), check_keep)?;
        let mut space = self.spaces.get_mut(&id).ok_or_else(|| no_space(id))?;
        space.keep = keep.unwrap_or(space.keep);
        space.quota = quota.unwrap_or(space.quota);
        space.wind(id, timers);
        Ok(())
    }

    /// See [`FilesCommand::RemoveSpace`](super::FilesCommand::RemoveSpace).
    pub(super) fn remove_space(
        &mut self,
        caller: AccountId,
        id: SpaceId,
        timers: &mut Timers,
    ) -> Result<(), FilesRefusal> {
        let root = self.check(caller, id, Access::Manage)?.root;
        if self.tree.folder(root).is_some_and(|folder| !folder.children.is_empty()) {
            return Err(FilesRefusal::SpaceNotEmpty);
        }
        let links: Vec<_> = self.links.of_space(id).map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.links.remove(link, timers));
        let Some(space) = self.spaces.remove(&id) else { return Ok(()) };
        space.due.inspect(|due| timers.clear(*due, crate::timers::Timer::Space(id)));
        self.names.remove(&space.name);
        self.made.remove(&(space.maker, id));
        for member in space.members.keys() {
            self.memberships.remove(&(*member, id));
        }
        // Uploads have many parts, and downloads may be many: they go little by little, as what lies in the trash does.
        for upload in &space.uploads {
            let upload = self.uploads.remove(*upload, timers);
            self.doomed.extend(upload.map(|upload| Doom::Parts(upload.by, upload.parts)));
        }
        self.doomed.extend([Doom::Downloads(id), Doom::Trash(space.trash)]);
        self.tree.forget(root);
        Ok(())
    }

    /// See [`FilesCommand::SetMember`](super::FilesCommand::SetMember).
    pub(super) fn set_member(
        &mut self,
        caller: AccountId,
        id: SpaceId,
        account: AccountId,
        access: Option<Access>,
        ctx: &Context<'_>,
    ) -> Result<(), Refusal> {
        let leaves = caller == account && access.is_none();
        let space = self.check(caller, id, if leaves { Access::Read } else { Access::Manage })?;
        ctx.ledger.account(account).ok_or(Refusal::NoAccount { account })?;
        let managers = space.members.iter().filter(|(_, access)| **access == Access::Manage);
        let others = managers.filter(|(member, _)| **member != account).count();
        if access != Some(Access::Manage) && others == 0 {
            return Err(FilesRefusal::LastManager.into());
        }
        if space.members.len() >= Bounds::MEMBERS && !space.members.contains_key(&account) {
            let what = "members of a space".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::MEMBERS as u64 }.into());
        }
        let Some(mut space) = self.spaces.get_mut(&id) else { return Ok(()) };
        match access {
            Some(access) => {
                space.members.insert(account, access);
                self.memberships.insert((account, id));
            }
            None => {
                space.members.remove(&account);
                self.memberships.remove(&(account, id));
            }
        }
        Ok(())
    }

    /// A space.
    pub fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(&id)
    }

    /// The space of a name.
    pub fn space_named(&self, name: &str) -> Option<SpaceId> {
        self.names.get(name).copied()
    }

    /// The home of an account that has this name: not every space of its name is, as an account may be opened later
    /// than a space.
    pub fn home(&self, account: AccountId, name: &str) -> Option<SpaceId> {
        self.space_named(name).filter(|id| self.made.contains(&(account, *id)))
    }

    /// The spaces of which an account is a member.
    pub fn spaces_of(&self, account: AccountId) -> impl Iterator<Item = (SpaceId, &Space)> {
        let own = self.memberships.range((account, SpaceId(0))..=(account, SpaceId(u32::MAX)));
        own.filter_map(|(_, id)| Some((*id, self.spaces.get(id)?)))
    }

    /// Whether the account itself claimed a blob lately, or a member of a space of its who made it and so let the account in.
    /// Other members were perhaps never asked whether they share anything with it. [`Bounds::GROUP`] makers are asked.
    pub fn group_claims(&self, account: AccountId, blob: &Hash) -> bool {
        let spaces = self.spaces_of(account).map(|(_, space)| space);
        let makers = spaces.filter(|space| space.members.contains_key(&space.maker)).map(|space| space.maker);
        let asked: BTreeSet<AccountId> = makers.take(Bounds::GROUP).chain([account]).collect();
        asked.into_iter().any(|member| self.claimed(member, blob).is_some())
    }

    /// All spaces, in the order of their ids.
    pub fn spaces(&self) -> &BTreeMap<SpaceId, Space> {
        &self.spaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FilePut, FilesCommand};

    const ANN: AccountId = AccountId(1);

    fn ask(files: &mut Files, command: &FilesCommand) -> Result<(), &'static str> {
        let (ledger, mut timers) = (Ledger::new(), Timers::default());
        let mut ctx = Context { now: Time(1), ledger: &ledger, timers: &mut timers };
        match files.carry_out(ANN, false, command, &mut ctx) {
            Ok(crate::effects::Done::Files(FilesDone::Each(each))) => {
                each.into_iter().try_for_each(|one| one.map(drop).map_err(|refusal| refusal.code()))
            }
            done => done.map(drop).map_err(|refusal| refusal.code()),
        }
    }

    #[test]
    fn what_an_account_has_in_all_its_spaces_is_bounded() {
        let mut files = Files::default();
        for name in ["one", "two"] {
            let make = FilesCommand::CreateSpace { name: name.to_owned(), keep: Duration(0) };
            ask(&mut files, &make).expect("it is made");
        }
        let (one, two) = (SpaceId(1), SpaceId(2));
        files.claims.send(ANN, (Hash::ZERO, ByteSize(1)), Time(1));
        let put = |path: &str, label: usize| {
            let labels = BTreeMap::from([("a".to_owned(), "x".repeat(label))]);
            let about = crate::About { labels, ..crate::About::default() };
            let path = path.parse().expect("a path");
            let file = FilePut { path, blob: Hash::ZERO, about, condition: crate::Condition::Any };
            FilesCommand::PutFiles { space: two, files: vec![file] }
        };
        let set = |files: &mut Files, things: u64, about: u64| {
            let mut space = files.spaces.get_mut(&one).expect("it is there");
            (space.things, space.about) = (things, about);
        };
        set(&mut files, Bounds::THINGS - 2, 0);
        assert_eq!(ask(&mut files, &put("a/b/c", 0)), Err("too_many"));
        assert_eq!(ask(&mut files, &put("a/b", 100)), Ok(()));
        assert_eq!(ask(&mut files, &put("c", 0)), Err("too_many"));
        set(&mut files, Bounds::THINGS, 0);
        assert_eq!(ask(&mut files, &put("a/b", 100)), Ok(()), "it takes nothing more");
        set(&mut files, 0, Bounds::ABOUT_EACH - 200);
        assert_eq!(ask(&mut files, &put("d", 100)), Err("too_many"));
        assert_eq!(ask(&mut files, &put("a/b", 150)), Ok(()), "what was said before goes");
        let copy = FilesCommand::Copy {
            from_space: two,
            from: "a".parse().expect("a path"),
            to_space: two,
            to: "copy".parse().expect("a path"),
            replace: false,
            about: None,
        };
        assert_eq!(ask(&mut files, &copy), Err("too_many"));
        set(&mut files, 0, 0);
        assert_eq!(ask(&mut files, &copy), Ok(()));
    }
}
