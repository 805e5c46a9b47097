//! The files that there must be, from what was asked and answered alone.

use std::collections::BTreeMap;

use pumasi_core::{
    Access, Answer, Bounds, Command, Done, DownloadControl, DownloadReport, DownloadSpec, FilePut,
    FilesCommand, FilesDone, FilesRefusal, Placed, Refusal, Request,
};
use pumasi_types::{
    AccountId, DownloadId, Duration, FileId, FilePath, Hash, LinkId, NoticeId, SpaceId, Time, UploadId,
    VersionId,
};

use super::rules::{came, judge};
use super::shelf::{Content, Shelf};
use crate::oracle::{Holds, Violation, require};

/// The files that there must be.
#[derive(Clone, Default)]
pub(crate) struct Shelves {
    /// Log time of the last entry that was followed.
    pub(super) now: Time,
    /// Contents are numbered one after the other, and nobody is told all numbers.
    last_version: VersionId,
    pub(super) spaces: BTreeMap<SpaceId, Shelf>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) uploads: BTreeMap<UploadId, Upload>,
    pub(super) downloads: BTreeMap<DownloadId, Fetching>,
    /// Up to which notice accounts know what became of their downloads: at least, and at most.
    pub(super) seen: BTreeMap<AccountId, (NoticeId, NoticeId)>,
    /// There are so many notices at least: a download that failed often enough gives one, too, and nobody is told.
    notices: u64,
    /// How many files were put.
    pub(crate) puts: u64,
}

/// A link that nobody removed. It may be gone with its time, or with what it is to.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) space: SpaceId,
    pub(super) by: AccountId,
    /// Whether it is to a file, which knows of it then, or to a folder.
    to_file: bool,
    pub(super) expires: Option<Time>,
    /// How often it can be used yet.
    pub(super) left: Option<u32>,
}

/// A file that comes in parts.
#[derive(Clone)]
pub(super) struct Upload {
    pub(super) space: SpaceId,
    pub(super) path: FilePath,
    pub(super) by: AccountId,
    /// When it is given up.
    pub(super) ends: Time,
    pub(super) parts: BTreeMap<u16, Hash>,
}

/// What is known of a download by whoever was told what became of it.
#[derive(Clone)]
pub(super) struct Fetching {
    pub(super) by: AccountId,
    pub(super) spec: DownloadSpec,
    /// Files that lie there.
    pub(super) files: u32,
}

impl Shelves {
    /// An entry of this time was applied.
    pub(crate) fn pass(&mut self, now: Time) {
        self.now = now;
    }

    /// A request of it that is not asked again was answered.
    pub(crate) fn follow(&mut self, request: &Request, answer: &Answer) -> Holds {
        let Command::Files(command) = &request.command else { return Ok(()) };
        let told = match answer {
            Ok(_) => Ok(()),
            Err(Refusal::Files(refusal)) => Err(refusal.code()),
            Err(_) => return Ok(()),
        };
        let what = || format!("{command:?} of account {}", request.caller);
        judge(what, told, self.foresee(request.caller, command))?;
        match answer {
            Ok(Done::Files(done)) => self.answered(request.caller, command, done),
            Ok(_) => self.done(request.caller, command),
            Err(_) => Ok(()),
        }
    }

    fn open(&mut self, space: SpaceId) -> Result<&mut Shelf, Violation> {
        let gone = || Violation(format!("space {space} is gone, and something was done in it"));
        self.spaces.get_mut(&space).ok_or_else(gone)
    }

    fn next_version(&mut self) -> VersionId {
        self.last_version.0 += 1;
        self.last_version
    }

    /// A file was given a content; its answer may say which.
    fn place(&mut self, space: SpaceId, path: &str, blob: Hash, placed: Option<Placed>) -> Holds {
        let (version, now) = (self.next_version(), self.now);
        let shelf = self.open(space)?;
        shelf.place(path, Content { version, blob }, now);
        let Some(placed) = placed else { return Ok(()) };
        require(placed.version == Some(version), || {
            format!("'{path}' was put into space {space} as {placed:?}, its version is {version}")
        })?;
        shelf.files.get_mut(path).map_or(Ok(()), |file| name(&mut file.id, placed.file))
    }

    fn put(&mut self, space: SpaceId, file: &FilePut, told: &Result<Placed, FilesRefusal>) -> Holds {
        let foreseen = self.open(space)?.may_put(&file.path, file.condition);
        judge(|| format!("{file:?} in space {space}"), came(told), foreseen)?;
        let Ok(placed) = told else { return Ok(()) };
        self.puts += 1;
        self.place(space, file.path.as_str(), file.blob, Some(*placed))
    }

    fn remove(
        &mut self,
        space: SpaceId,
        path: &FilePath,
        (recursive, forever): (bool, bool),
        told: &Result<Placed, FilesRefusal>,
    ) -> Holds {
        let shelf = self.open(space)?;
        let what = || format!("removing '{path}' from space {space}");
        judge(what, came(told), shelf.may_remove(path, recursive))?;
        let Ok(placed) = told else { return Ok(()) };
        let mut things = shelf.take(path);
        let version = things.file().map(|file| file.newest.version);
        require(placed.version == version, || format!("{} gave {placed:?}, not {version:?}", what()))?;
        things.file_mut().map_or(Ok(()), |file| name(&mut file.id, placed.file))?;
        if shelf.keeps && !forever {
            shelf.trash.insert(placed.file, (path.clone(), things));
        }
        Ok(())
    }

    /// Something was done that answers what came of it.
    fn answered(&mut self, caller: AccountId, command: &FilesCommand, done: &FilesDone) -> Holds {
        use FilesCommand as Ask;
        match (command, done) {
            (Ask::CreateSpace { keep, .. }, FilesDone::Space(id)) => {
                let members = BTreeMap::from([(caller, Access::Manage)]);
                let (keeps, quota) = (*keep != Duration(0), Bounds::QUOTA);
                let shelf = Shelf { keeps, quota, members, ..Shelf::default() };
                let before = self.spaces.insert(*id, shelf);
                require(before.is_none(), || format!("space {id} was made twice"))
            }
            (Ask::PutFiles { space, files }, FilesDone::Each(each)) => {
                files.iter().zip(each).try_for_each(|(file, told)| self.put(*space, file, told))
            }
            (Ask::Remove { space, paths, recursive, forever }, FilesDone::Each(each)) => {
                let how = (*recursive, *forever);
                paths.iter().zip(each).try_for_each(|(path, told)| self.remove(*space, path, how, told))
            }
            (Ask::ClaimFiles { space, paths }, FilesDone::Claimed(each)) => {
                let shelf = self.open(*space)?;
                paths.iter().zip(each).try_for_each(|(path, told)| {
                    let file = shelf.file_at(path);
                    let what = || format!("claiming '{path}' in space {space}");
                    judge(what, came(told), file.map(|_| ()))?;
                    let (blob, told) =
                        (file.map(|file| file.newest.blob), told.as_ref().map(|(blob, _)| *blob));
                    require(told.is_err() || told.ok() == blob.ok(), || {
                        format!("{} gave {told:?}, not {blob:?}", what())
                    })
                })
            }
            (Ask::Move { space, from, to, .. }, FilesDone::Moved(file)) if from != to => {
                self.moved(*space, (from, to), *file)
            }
            (Ask::Copy { .. }, FilesDone::Copied { file, version, .. }) => {
                self.copied(command, Placed { file: *file, version: *version })
            }
            (Ask::Restore { space, file, to }, FilesDone::Moved(moved)) => {
                let now = self.now;
                let shelf = self.open(*space)?;
                if let Some((path, things)) = shelf.trash.remove(file) {
                    shelf.lay(to.as_ref().unwrap_or(&path), things, now);
                }
                require(file == moved, || format!("{file} was restored as {moved}"))
            }
            _ => self.began(caller, command, done),
        }
    }

    /// Something began, or is over, that has a number of its own.
    fn began(&mut self, caller: AccountId, command: &FilesCommand, done: &FilesDone) -> Holds {
        use FilesCommand as Ask;
        match (command, done) {
            (Ask::AddLink { space, path, expires, downloads, .. }, FilesDone::Link(id)) => {
                let file = self.open(*space)?.files.get_mut(path.as_str());
                let to_file = file.map(|file| file.links.push(*id)).is_some();
                let (expires, left) = (*expires, *downloads);
                self.links.insert(*id, Link { space: *space, by: caller, to_file, expires, left });
            }
            (Ask::BeginUpload { space, path, .. }, FilesDone::Upload(id)) => {
                let (space, path, ends) = (*space, path.clone(), self.now.after(Bounds::UPLOAD_IDLE));
                self.uploads.insert(*id, Upload { space, path, by: caller, ends, parts: BTreeMap::new() });
            }
            (Ask::FinishUpload { upload, file }, FilesDone::Each(each)) => {
                let Some(space) = self.uploads.get(upload).map(|upload| upload.space) else { return Ok(()) };
                for told in each {
                    self.put(space, file, told)?;
                    if told.is_ok() {
                        self.uploads.remove(upload);
                    }
                }
            }
            (Ask::AddDownload(spec), FilesDone::Download(id)) => {
                self.downloads.insert(*id, Fetching { by: caller, spec: spec.clone(), files: 0 });
            }
            _ => {}
        }
        Ok(())
    }

    fn moved(&mut self, space: SpaceId, (from, to): (&FilePath, &FilePath), file: FileId) -> Holds {
        let now = self.now;
        let shelf = self.open(space)?;
        let mut things = shelf.take(from);
        things.file_mut().map_or(Ok(()), |moved| name(&mut moved.id, file))?;
        shelf.lay(to, things, now);
        Ok(())
    }

    fn copied(&mut self, command: &FilesCommand, copy: Placed) -> Holds {
        let FilesCommand::Copy { from_space, from, to_space, to, .. } = command else { return Ok(()) };
        let originals = self.open(*from_space)?.below(from);
        if let Some(file) = originals.file() {
            return self.place(*to_space, to.as_str(), file.newest.blob, Some(copy));
        }
        for (rest, file) in &originals.files {
            self.place(*to_space, &format!("{to}{rest}"), file.newest.blob, None)?;
        }
        let folders = originals.folders.iter().map(|rest| format!("{to}{rest}"));
        self.open(*to_space)?.folders.extend(folders);
        Ok(())
    }

    /// Something was done that answers nothing else.
    fn done(&mut self, caller: AccountId, command: &FilesCommand) -> Holds {
        use FilesCommand as Ask;
        let now = self.now;
        match command {
            Ask::RemoveSpace { space } => {
                self.spaces.remove(space);
                self.links.retain(|_, link| link.space != *space);
                self.uploads.retain(|_, upload| upload.space != *space);
            }
            Ask::ChangeSpace { space, keep, quota } => {
                let shelf = self.open(*space)?;
                shelf.keeps = keep.map_or(shelf.keeps, |keep| keep != Duration(0));
                shelf.quota = quota.unwrap_or(shelf.quota);
            }
            Ask::SetMember { space, account, access } => {
                let members = &mut self.open(*space)?.members;
                match access {
                    Some(access) => members.insert(*account, *access),
                    None => members.remove(account),
                };
            }
            Ask::MakeFolder { space, path } => {
                self.open(*space)?.folders.insert(path.to_string());
            }
            Ask::ReleaseFolder { space, path } => {
                self.open(*space)?.folders.remove(path.as_str());
            }
            Ask::EmptyTrash { space, file } => {
                let trash = &mut self.open(*space)?.trash;
                match file {
                    Some(file) => drop(trash.remove(file)),
                    None => trash.clear(),
                }
            }
            Ask::Revert { space, path, version } => {
                let fresh = self.next_version();
                let shelf = self.open(*space)?;
                let keeps = shelf.keeps;
                let file = shelf.files.get_mut(path.as_str());
                file.into_iter().for_each(|file| file.revert(*version, fresh, now, keeps));
            }
            Ask::RemoveVersion { space, version, .. } => self.open(*space)?.lose(*version),
            Ask::PutPart { upload, number, blob, .. } => {
                let Some(known) = self.uploads.get_mut(upload) else { return Ok(()) };
                known.parts.insert(*number, *blob);
                known.ends = now.after(Bounds::UPLOAD_IDLE);
            }
            Ask::AbortUpload { upload } => drop(self.uploads.remove(upload)),
            Ask::RemoveLink { link } => drop(self.links.remove(link)),
            Ask::UseLink { link } => return self.visited(*link),
            Ask::ControlDownload { download, control: DownloadControl::Cancel } => {
                self.downloads.remove(download);
            }
            Ask::ReportDownload { download, report } => return self.fetched(*download, report),
            Ask::SeeDownloads { last } => self.see(caller, *last),
            _ => {}
        }
        Ok(())
    }

    /// Somebody was let in through a link.
    fn visited(&mut self, id: LinkId) -> Holds {
        let is_linked = self.is_linked(id);
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let is_over = link.left == Some(0) || link.expires.is_some_and(|expires| expires <= now);
        require(!is_over && (is_linked || !link.to_file), || {
            format!("somebody was let in through link {id}, which is over")
        })?;
        link.left = link.left.map(|left| left - 1);
        Ok(())
    }

    /// Somebody knows now what became of their downloads, up to a notice that there may not be yet.
    fn see(&mut self, account: AccountId, last: NoticeId) {
        let given = last.min(NoticeId(self.notices));
        let (least, most) = self.seen.entry(account).or_default();
        (*least, *most) = (given.max(*least), last.max(*most));
    }

    /// What the hub said of a download was noted.
    fn fetched(&mut self, download: DownloadId, report: &DownloadReport) -> Holds {
        let is_over =
            matches!(report, DownloadReport::Done { .. } | DownloadReport::Failed { again: false, .. });
        self.notices += u64::from(is_over);
        let (DownloadReport::Part { files, .. } | DownloadReport::Done { files, .. }) = report else {
            return Ok(());
        };
        let Some(known) = self.downloads.get_mut(&download) else { return Ok(()) };
        known.files += files.len() as u32;
        let (by, space, folder) = (known.by, known.spec.space, known.spec.path.clone());
        let may = self.check_access(by, space, Access::Write).map(drop);
        require(may.is_ok(), || format!("download {download} put files where its owner is refused {may:?}"))?;
        self.puts += files.len() as u64;
        files.iter().try_for_each(|(path, blob, ..)| {
            let whole = format!("{folder}/{path}");
            self.place(space, whole.trim_start_matches('/'), *blob, None)
        })
    }
}

/// A file has this number, and always had.
fn name(known: &mut Option<FileId>, told: FileId) -> Holds {
    let before = known.replace(told);
    require(before.is_none_or(|before| before == told), || format!("file {before:?} is called {told} now"))
}
