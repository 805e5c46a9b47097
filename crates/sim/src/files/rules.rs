//! How each request about files must be answered, as far as that follows from the requests and answers before it.

use pumasi_core::{Access, Condition, FilesCommand, FilesRefusal};
use pumasi_types::{AccountId, LinkId, SpaceId, UploadId};

use super::model::{Shelves, Upload};
use super::shelf::{Shelf, There};
use crate::oracle::{Holds, require};

/// Done, or refused with this code.
pub(super) type Foreseen = Result<(), &'static str>;

/// It can be done or refused.
const UNCLEAR: Foreseen = Err("either");

/// Codes of refusals for what the model does not know: what names of spaces are taken, what is claimed, and bounds.
const UNFORESEEN: [&str; 5] = ["space_taken", "not_held", "too_many", "quota_exceeded", "wrong_state"];

/// What came of something, as it is foreseen.
pub(super) fn came<T>(told: &Result<T, FilesRefusal>) -> Foreseen {
    told.as_ref().map(|_| ()).map_err(FilesRefusal::code)
}

/// Whether something came out as it must.
pub(super) fn judge(what: impl FnOnce() -> String, came: Foreseen, foreseen: Foreseen) -> Holds {
    let is_clear = foreseen != UNCLEAR && !came.is_err_and(|code| UNFORESEEN.contains(&code));
    require(!is_clear || came == foreseen, || {
        format!("{} was answered {came:?} where {foreseen:?} is right", what())
    })
}

impl Shelves {
    /// What lies in a space, for somebody who may do this there.
    pub(super) fn check_access(
        &self,
        account: AccountId,
        space: SpaceId,
        needed: Access,
    ) -> Result<&Shelf, &'static str> {
        let shelf = self.spaces.get(&space).ok_or("no_space")?;
        match shelf.members.get(&account) {
            None => Err("no_space"),
            Some(access) if *access < needed => Err("no_access"),
            Some(_) => Ok(shelf),
        }
    }

    fn manages(&self, account: AccountId, space: SpaceId) -> bool {
        self.check_access(account, space, Access::Manage).is_ok()
    }

    /// How a request must be answered. What it says of each of its files comes later.
    pub(super) fn foresee(&self, caller: AccountId, command: &FilesCommand) -> Foreseen {
        use FilesCommand as Ask;
        let writes = |space: &SpaceId| self.check_access(caller, *space, Access::Write);
        match command {
            Ask::PutFiles { space, .. } | Ask::Remove { space, .. } | Ask::BeginUpload { space, .. } => {
                writes(space).map(drop)
            }
            Ask::AddDownload(spec) => writes(&spec.space).map(drop),
            Ask::ClaimFiles { space, .. } => self.check_access(caller, *space, Access::Read).map(drop),
            Ask::MakeFolder { space, path } | Ask::ReleaseFolder { space, path } => {
                let there = writes(space)?.there(path)?;
                if there == There::File { Err("not_a_folder") } else { Ok(()) }
            }
            Ask::Move { space, from, to, replace } => writes(space)?.may_move(from, to, *replace),
            Ask::Copy { .. } => self.foresee_copy(caller, command),
            Ask::Restore { space, file, to } => {
                let shelf = writes(space)?;
                let (path, _) = shelf.trash.get(file).ok_or("not_in_trash")?;
                let there = shelf.there(to.as_ref().unwrap_or(path))?;
                if there == There::Nothing { Ok(()) } else { Err("exists") }
            }
            Ask::EmptyTrash { space, file } => {
                let trash = &writes(space)?.trash;
                if file.is_none_or(|file| trash.contains_key(&file)) { Ok(()) } else { Err("not_in_trash") }
            }
            Ask::Revert { space, path, version } => {
                let file = writes(space)?.file_at(path)?;
                if file.has_older(*version) { Ok(()) } else { Err("no_version") }
            }
            Ask::RemoveVersion { space, file, version } => {
                match writes(space)?.with(*version).map(|file| file.id) {
                    // It came with a folder or a download, and nobody was told its number.
                    Some(None) => UNCLEAR,
                    Some(id) if id == Some(*file) => Ok(()),
                    _ => Err("no_version"),
                }
            }
            Ask::AddLink { space, path, .. } => {
                if writes(space)?.there(path)? == There::Nothing {
                    Err("no_file")
                } else {
                    Ok(())
                }
            }
            Ask::RemoveSpace { space } => {
                let shelf = self.check_access(caller, *space, Access::Manage)?;
                if shelf.is_empty() { Ok(()) } else { Err("space_not_empty") }
            }
            // Operators change how much it can hold without being let in; who is one is not known here.
            Ask::ChangeSpace { keep: None, quota: Some(_), .. } => UNCLEAR,
            Ask::ChangeSpace { space, .. } => self.check_access(caller, *space, Access::Manage).map(drop),
            Ask::SetMember { space, account, access } => {
                self.foresee_member(caller, *space, (*account, *access))
            }
            _ => self.foresee_of_id(caller, command),
        }
    }

    fn foresee_copy(&self, caller: AccountId, command: &FilesCommand) -> Foreseen {
        let FilesCommand::Copy { from_space, from, to_space, to, replace, .. } = command else {
            return UNCLEAR;
        };
        let source = self.check_access(caller, *from_space, Access::Read)?;
        let shelf = self.check_access(caller, *to_space, Access::Write)?;
        match source.there(from)? {
            There::Nothing => Err("no_file"),
            There::File => shelf.may_put(to, if *replace { Condition::Any } else { Condition::Absent }),
            There::Folder if from_space == to_space && to != from && to.is_below(from) => Err("into_itself"),
            There::Folder if shelf.there(to)? == There::Nothing => Ok(()),
            There::Folder => Err("exists"),
        }
    }

    fn foresee_member(
        &self,
        caller: AccountId,
        space: SpaceId,
        (account, access): (AccountId, Option<Access>),
    ) -> Foreseen {
        let leaves = caller == account && access.is_none();
        let shelf = self.check_access(caller, space, if leaves { Access::Read } else { Access::Manage })?;
        let is_other = |(member, has): (&AccountId, &Access)| *member != account && *has == Access::Manage;
        let is_managed = access == Some(Access::Manage) || shelf.members.iter().any(is_other);
        if is_managed { Ok(()) } else { Err("last_manager") }
    }

    /// Of what has a number of its own.
    fn foresee_of_id(&self, caller: AccountId, command: &FilesCommand) -> Foreseen {
        use FilesCommand as Ask;
        match command {
            Ask::RemoveLink { link: id } => {
                let link = self.links.get(id).ok_or("no_link")?;
                if link.by != caller && !self.manages(caller, link.space) {
                    return Err("no_link");
                }
                if self.has_link(*id) { Ok(()) } else { UNCLEAR }
            }
            Ask::UseLink { link: id } => {
                let link = self.links.get(id).ok_or("no_link")?;
                if !self.has_link(*id) || !self.is_linked(*id) {
                    return UNCLEAR;
                }
                if link.left == Some(0) { Err("link_over") } else { Ok(()) }
            }
            Ask::PutPart { upload, .. } | Ask::FinishUpload { upload, .. } => {
                let own = self.upload(*upload)?;
                if own.by != caller {
                    return Err("no_upload");
                }
                if own.ends <= self.now {
                    return UNCLEAR;
                }
                self.check_access(caller, own.space, Access::Write).map(drop)
            }
            Ask::AbortUpload { upload } => {
                let known = self.upload(*upload)?;
                if known.by != caller && !self.manages(caller, known.space) {
                    return Err("no_upload");
                }
                if known.ends <= self.now { UNCLEAR } else { Ok(()) }
            }
            Ask::ControlDownload { download, .. } => {
                let known = self.downloads.get(download).ok_or("no_download")?;
                if known.by != caller && !self.manages(caller, known.spec.space) {
                    return Err("no_download");
                }
                // It may be over long ago, or go with its space.
                UNCLEAR
            }
            Ask::ReportDownload { .. } => UNCLEAR,
            _ => Ok(()),
        }
    }

    fn upload(&self, upload: UploadId) -> Result<&Upload, &'static str> {
        self.uploads.get(&upload).ok_or("no_upload")
    }

    /// Whether a link is surely there: to a file that is there or in the trash, and its time has not come.
    fn has_link(&self, id: LinkId) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        let Some(shelf) = self.spaces.get(&link.space) else { return false };
        let mut removed = shelf.trash.values().flat_map(|(_, things)| &things.files);
        let is_kept = self.is_linked(id) || removed.any(|(_, file)| file.links.contains(&id));
        is_kept && link.expires.is_none_or(|expires| expires > self.now)
    }

    /// Whether a link is to a file that lies in its space.
    pub(super) fn is_linked(&self, id: LinkId) -> bool {
        let shelf = self.links.get(&id).and_then(|link| self.spaces.get(&link.space));
        shelf.is_some_and(|shelf| shelf.files.values().any(|file| file.links.contains(&id)))
    }
}
