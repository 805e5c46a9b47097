//! The files machine: spaces with members and quotas, trees of files with versions and trash, links, claims, uploads
//! and downloads.
//!
//! Nobody gets from a hash to bytes but through a claim (`claims.rs`). `tree.rs` is how files lie, `change.rs` what
//! writers do with them, `trash.rs` what becomes of what they removed, `rooms.rs` how much of all that an account has,
//! `walk.rs` how everything is found and listed, and `roots.rs` which bytes the store must keep.

mod change;
mod claims;
mod command;
mod delivery;
mod downloads;
mod links;
mod refusal;
mod rooms;
mod roots;
mod space;
mod trash;
mod tree;
mod uploads;
mod view;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, ByteSize, FileId, FilePath, Hash, SpaceId, Time, UploadId};
use serde::{Deserialize, Serialize};

use self::change::{CopyOrder, Fresh, Opened, check_about};
use self::claims::Claims;
use self::downloads::Downloads;
use self::links::Links;
use self::rooms::Spaces;
use self::trash::Doom;
use self::tree::Tree;
use self::uploads::Uploads;
use crate::effects::Done;
use crate::state::Answer;
use crate::timers::{Timer, Timers};
use crate::{Bounds, Refusal};

pub use command::{
    About, Access, Condition, DownloadControl, DownloadReport, DownloadSource, DownloadSpec, FetchedFile,
    FilePut, FilesCommand, FilesDone, Placed,
};
pub use refusal::FilesRefusal;
pub use roots::{Contents, RootCursor, Roots};
pub(crate) use space::Context;
pub use view::{
    Brought, Download, DownloadState, FileKind, FileView, Link, Page, Space, Totals, Trashed, Upload,
    UploadPart, Version,
};

/// All spaces and what lies in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Log time of the last entry.
    now: Time,
    spaces: Spaces,
    names: BTreeMap<String, SpaceId>,
    /// Spaces by who made them.
    made: BTreeSet<(AccountId, SpaceId)>,
    /// Spaces by their members.
    memberships: BTreeSet<(AccountId, SpaceId)>,
    last_space: SpaceId,
    tree: Tree,
    /// What lies nowhere any more and is erased little by little; the last first.
    doomed: Vec<Doom>,
    links: Links,
    claims: Claims,
    uploads: Uploads,
    downloads: Downloads,
}

impl Files {
    /// How much of what was removed for good is erased with a command, so that a little of it frees its room at once.
    const ERASED_AT_ONCE: usize = 1 << 10;

    /// Takes the time of an entry, and goes on with what was put off.
    pub(crate) fn pass(&mut self, now: Time, most: usize, timers: &mut Timers) {
        self.now = now;
        let mut steps = most;
        self.erase(&mut steps, timers);
        self.claims.pass(now, &mut steps);
    }

    /// Whether something is put off still.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_erasing() || self.claims.is_due(self.now)
    }

    /// Does what is asked.
    pub(crate) fn carry_out(
        &mut self,
        caller: AccountId,
        operator: bool,
        command: &FilesCommand,
        ctx: &mut Context<'_>,
    ) -> Answer {
        use FilesCommand as Ask;
        let done = match command {
            Ask::CreateSpace { .. }
            | Ask::ChangeSpace { .. }
            | Ask::RemoveSpace { .. }
            | Ask::SetMember { .. } => self.organise(caller, operator, command, ctx),
            Ask::Claim { account, blobs } => self.claim(*account, blobs, ctx),
            Ask::Joined { account, parts } => {
                self.count_elsewhere(*account, parts.iter().copied());
                Ok(Done::Ok)
            }
            Ask::ClaimFiles { space, paths } => self.claim_files(caller, *space, paths),
            Ask::AddLink { space, path, secret, password, expires, downloads } => {
                let link = Link {
                    space: *space,
                    file: FileId(0),
                    by: caller,
                    secret: *secret,
                    password: password.clone(),
                    expires: *expires,
                    left: *downloads,
                    used: 0,
                };
                self.add_link(path, link, ctx).map(Done::Files)
            }
            Ask::RemoveLink { link } => {
                self.remove_link(caller, *link, ctx.timers)?;
                Ok(Done::Ok)
            }
            Ask::UseLink { link } => {
                self.use_link(*link)?;
                Ok(Done::Ok)
            }
            Ask::BeginUpload { .. }
            | Ask::PutPart { .. }
            | Ask::FinishUpload { .. }
            | Ask::AbortUpload { .. } => self.assemble(caller, command, ctx),
            Ask::AddDownload(spec) => self.add_download(caller, spec, ctx).map(Done::Files),
            Ask::ControlDownload { download, control } => {
                self.control_download(caller, *download, *control, ctx.timers)?;
                Ok(Done::Ok)
            }
            Ask::ReportDownload { download, report } => {
                self.report_download(*download, report, ctx)?;
                Ok(Done::Ok)
            }
            Ask::SeeDownloads { last } => {
                self.downloads.see(caller, *last);
                Ok(Done::Ok)
            }
            Ask::Copy { from_space, from, to_space, to, replace, about } => {
                self.check(caller, *from_space, Access::Read)?;
                self.check(caller, *to_space, Access::Write)?;
                let (from_space, to_space, replace) = (*from_space, *to_space, *replace);
                let about = about.as_ref();
                let done = self.copy(
                    caller,
                    &CopyOrder { from_space, from, to_space, to, replace, about },
                    ctx.timers,
                )?;
                self.wind(to_space, ctx.timers);
                Ok(Done::Files(done))
            }
            _ => self.write(caller, command, ctx),
        };
        let mut steps = Files::ERASED_AT_ONCE;
        self.erase(&mut steps, ctx.timers);
        done
    }

    /// Whether only the hub may ask this.
    pub(crate) fn is_for_hub(command: &FilesCommand) -> bool {
        matches!(
            command,
            FilesCommand::Claim { .. }
                | FilesCommand::UseLink { .. }
                | FilesCommand::ReportDownload { .. }
                | FilesCommand::Joined { .. }
        )
    }

    fn organise(
        &mut self,
        caller: AccountId,
        operator: bool,
        command: &FilesCommand,
        ctx: &mut Context<'_>,
    ) -> Answer {
        match command {
            FilesCommand::CreateSpace { name, keep } => {
                return self.create_space(caller, name, *keep, ctx).map(Done::Files);
            }
            FilesCommand::ChangeSpace { space, keep, quota } => {
                self.change_space((caller, operator), *space, (*keep, *quota), ctx.timers)?;
            }
            FilesCommand::RemoveSpace { space } => self.remove_space(caller, *space, ctx.timers)?,
            FilesCommand::SetMember { space, account, access } => {
                self.set_member(caller, *space, *account, *access, ctx)?;
            }
            _ => return Err(Refusal::HubOnly),
        }
        Ok(Done::Ok)
    }

    fn assemble(&mut self, caller: AccountId, command: &FilesCommand, ctx: &mut Context<'_>) -> Answer {
        match command {
            FilesCommand::BeginUpload { space, path, about } => {
                let upload = Upload {
                    space: *space,
                    path: path.clone(),
                    by: caller,
                    begun: ctx.now,
                    about: about.clone(),
                    parts: BTreeMap::new(),
                };
                return Ok(Done::Files(self.begin_upload(upload, ctx)?));
            }
            FilesCommand::PutPart { upload, number, blob, md5 } => {
                let part = UploadPart { blob: *blob, size: ByteSize(0), md5: *md5, put: ctx.now };
                self.put_part(caller, *upload, *number, part, ctx)?;
            }
            FilesCommand::FinishUpload { upload, file } => {
                return self.finish_upload(caller, *upload, file, ctx).map(Done::Files);
            }
            FilesCommand::AbortUpload { upload } => self.abort_upload(caller, *upload, ctx.timers)?,
            _ => return Err(Refusal::HubOnly),
        }
        Ok(Done::Ok)
    }

    /// What writers do in one space.
    fn write(&mut self, caller: AccountId, command: &FilesCommand, ctx: &mut Context<'_>) -> Answer {
        use FilesCommand as Ask;
        let space = match command {
            Ask::PutFiles { space, .. }
            | Ask::MakeFolder { space, .. }
            | Ask::ReleaseFolder { space, .. }
            | Ask::Move { space, .. }
            | Ask::Remove { space, .. }
            | Ask::Restore { space, .. }
            | Ask::EmptyTrash { space, .. }
            | Ask::Revert { space, .. }
            | Ask::RemoveVersion { space, .. } => *space,
            _ => return Err(Refusal::HubOnly),
        };
        self.check(caller, space, Access::Write)?;
        if let Ask::PutFiles { files, .. } = command {
            check_count(files.len())?;
            let mut opened = self.open(space, ctx.timers)?;
            let placed = files.iter().map(|file| opened.put(caller, file)).collect();
            opened.space.wind(space, opened.timers);
            return Ok(Done::Files(FilesDone::Each(placed)));
        }
        let mut opened = self.open(space, ctx.timers)?;
        let done = opened.change(caller, command)?;
        opened.space.wind(space, opened.timers);
        Ok(done.map_or(Done::Ok, Done::Files))
    }

    fn claim(&mut self, account: AccountId, blobs: &[(Hash, ByteSize)], ctx: &Context<'_>) -> Answer {
        ctx.ledger.account(account).ok_or(Refusal::NoAccount { account })?;
        for (blob, size) in blobs {
            self.claims.send(account, (*blob, *size), ctx.now);
        }
        Ok(Done::Ok)
    }

    /// Something else counts the bytes of these claims from now on: a larger blob, or a job.
    pub(crate) fn count_elsewhere(&mut self, account: AccountId, blobs: impl IntoIterator<Item = Hash>) {
        blobs.into_iter().for_each(|blob| self.claims.count_elsewhere(account, blob));
    }

    fn claim_files(&mut self, caller: AccountId, space: SpaceId, paths: &[FilePath]) -> Answer {
        self.check(caller, space, Access::Read)?;
        check_count(paths.len())?;
        let root = self.root(space)?;
        let claim = |path: &FilePath| {
            let file = self.tree.file_at(root, path)?;
            let content = self.tree.file(file).map(|file| &file.newest);
            let content = content.ok_or_else(|| FilesRefusal::NoFile { path: path.clone() })?;
            let claimed = (content.blob, content.size);
            self.claims.read(caller, claimed, content.by == caller, self.now);
            Ok(claimed)
        };
        Ok(Done::Files(FilesDone::Claimed(paths.iter().map(claim).collect())))
    }

    /// The blob is claimed by the account now: it may read it, and give it to files and jobs. How long it is.
    pub fn claimed(&self, account: AccountId, blob: &Hash) -> Option<ByteSize> {
        self.claims.size(account, blob, self.now)
    }

    /// Bytes that an account sent and that count nowhere else: they lie in no file that it put since, in no upload, and in no
    /// blob that was put together of them; until its claims of them are forgotten.
    pub fn unfiled(&self, account: AccountId) -> ByteSize {
        self.claims.unfiled(account)
    }

    /// Panics unless every invariant holds. Walks everything.
    pub(crate) fn sanity_check(&self, timers: &Timers) {
        self.tree.sanity_check();
        self.spaces.sanity_check();
        self.claims.sanity_check(&self.lying());
        self.uploads.sanity_check(timers);
        self.downloads.sanity_check(timers);
        self.links.sanity_check(timers, |file| self.tree.node(file).is_some());
        assert_eq!(self.names.len(), self.spaces.len(), "names of spaces are unique");
        let made = self.spaces.iter().map(|(id, space)| (space.maker, *id));
        assert_eq!(self.made, made.collect(), "spaces are found by who made them");
        let members = |(id, space): (&SpaceId, &Space)| {
            let id = *id;
            space.members.keys().map(move |member| (*member, id)).collect::<Vec<_>>()
        };
        let memberships = self.spaces.iter().flat_map(members);
        assert_eq!(self.memberships, memberships.collect(), "spaces are found by their members");
        for (id, upload) in self.uploads.from(UploadId(0)) {
            let space = self.spaces.get(&upload.space);
            assert!(space.is_some_and(|space| space.uploads.contains(&id)), "an upload is of a space");
        }
        let mut sums: BTreeMap<SpaceId, (u64, u64, u64)> = BTreeMap::new();
        for (_, node) in self.tree.nodes().iter() {
            let (things, bytes, about) = sums.entry(node.space).or_default();
            *things += 1;
            for content in node.file().into_iter().flat_map(|file| file.contents()) {
                (*bytes, *about) = (*bytes + content.size.0, *about + content.about.len());
            }
        }
        for (id, space) in self.spaces.iter() {
            let (things, bytes, about) = sums.remove(id).unwrap_or_default();
            assert_eq!(about, space.about, "space {id} knows how much its files say of themselves");
            let parts = space.uploads.iter().filter_map(|id| self.upload(*id)).map(|upload| upload.size().0);
            assert_eq!(ByteSize(bytes + parts.sum::<u64>()), space.used, "space {id} knows what it holds");
            // The root does not count.
            assert_eq!(things, space.things + 1, "space {id} knows how much lies in it");
            self.sanity_check_space(*id, space, timers);
        }
        assert!(sums.is_empty() || self.is_erasing(), "everything is of a space");
    }

    /// How many contents and parts of each account have each blob.
    fn lying(&self) -> BTreeMap<(AccountId, Hash), u32> {
        let files = self.tree.nodes().iter().filter_map(|(_, node)| node.file());
        let contents = files.flat_map(|file| file.contents()).map(|content| (content.by, content.blob));
        let uploads = self.uploads.from(UploadId(0)).map(|(_, upload)| upload);
        let parts = uploads.flat_map(|upload| upload.parts.values().map(|part| (upload.by, part.blob)));
        let mut lying = BTreeMap::new();
        contents.chain(parts).chain(self.doomed_parts()).for_each(|key| *lying.entry(key).or_default() += 1);
        lying
    }

    fn sanity_check_space(&self, id: SpaceId, space: &Space, timers: &Timers) {
        assert_eq!(self.names.get(&space.name), Some(&id));
        assert!(space.members.values().any(|access| *access == Access::Manage), "somebody manages it");
        assert!(space.due.is_none_or(|due| timers.has(due, Timer::Space(id))));
        assert!(space.due.is_some() || space.older.is_empty(), "older versions go some day");
        assert!(space.uploads.iter().all(|upload| self.upload(*upload).is_some()));
        space.trash.sanity_check();
        for file in space.trash.files() {
            assert!(self.tree.node(file).is_some_and(|node| node.parent.0 == 0), "the trash lies nowhere");
        }
        for (since, file, version) in &space.older {
            let older = self.tree.file(*file).map(|file| &file.older);
            let kept = older
                .is_some_and(|older| older.iter().any(|(at, content)| at == since && content.id == *version));
            assert!(kept, "an older version is there until its time");
        }
    }
}

impl Opened<'_> {
    fn put(&mut self, by: AccountId, file: &FilePut) -> Result<Placed, FilesRefusal> {
        let size = self.claims.size(by, &file.blob, self.now);
        let size = size.ok_or(FilesRefusal::NotHeld { blob: file.blob })?;
        check_about(&file.about)?;
        let fresh = Fresh { blob: file.blob, size, by, about: (&file.about).into() };
        self.place(&file.path, file.condition, fresh)
    }

    fn change(&mut self, by: AccountId, command: &FilesCommand) -> Result<Option<FilesDone>, FilesRefusal> {
        use FilesCommand as Ask;
        match command {
            Ask::MakeFolder { path, .. } => self.make_folder(path)?,
            Ask::ReleaseFolder { path, .. } => self.release_folder(path)?,
            Ask::Move { from, to, replace, .. } => {
                return self.rename(by, from, to, *replace).map(|file| Some(FilesDone::Moved(file)));
            }
            Ask::Remove { paths, recursive, forever, .. } => {
                check_count(paths.len())?;
                let removed = paths.iter().map(|path| self.remove(by, path, *recursive, *forever));
                return Ok(Some(FilesDone::Each(removed.collect())));
            }
            Ask::Restore { file, to, .. } => {
                return self.restore(*file, to.as_ref()).map(|file| Some(FilesDone::Moved(file)));
            }
            Ask::EmptyTrash { file, .. } => self.empty_trash(*file)?,
            Ask::Revert { path, version, .. } => self.revert(by, path, *version)?,
            Ask::RemoveVersion { file, version, .. } => self.remove_version(*file, *version)?,
            _ => {}
        }
        Ok(None)
    }
}

/// Whether one command may name so many files.
fn check_count(count: usize) -> Result<(), FilesRefusal> {
    if count <= Bounds::FILES {
        return Ok(());
    }
    let what = "files of one request".to_owned();
    Err(FilesRefusal::TooMany { what, limit: Bounds::FILES as u64 })
}
