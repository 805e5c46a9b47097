//! What the hub fetches from elsewhere while who wants it is away.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, ByteSize, DownloadId, Duration, FilePath, Hash, SpaceId, Time};
use serde::{Deserialize, Serialize};

use super::change::{Fresh, check_about};
use super::space::Context;
use super::{
    About, Access, Condition, Download, DownloadControl, DownloadReport, DownloadSource, DownloadSpec,
    DownloadState, Files, FilesDone, FilesRefusal,
};
use crate::timers::{Timer, Timers};
use crate::{Bounds, Refusal};

/// All downloads that are not forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Downloads {
    all: BTreeMap<DownloadId, Download>,
    /// Those that are not over, by who asked.
    open: BTreeSet<(AccountId, DownloadId)>,
    by_space: BTreeSet<(SpaceId, DownloadId)>,
    last: DownloadId,
}

/// Files that were fetched, as they are reported.
type Fetched = [(FilePath, Hash, ByteSize, About)];

impl Download {
    /// When it is forgotten; none: it is not over.
    fn forgotten(&self) -> Option<Time> {
        match self.state {
            DownloadState::Done { at, .. } | DownloadState::Failed { at, .. } => {
                Some(at.after(Bounds::DOWNLOAD_MEMORY))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for DownloadState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DownloadState::Waiting(_) => "waiting",
            DownloadState::Running => "running",
            DownloadState::Paused => "paused",
            DownloadState::Done { .. } => "done",
            DownloadState::Failed { .. } => "failed",
        })
    }
}

impl Downloads {
    fn remove(&mut self, id: DownloadId, timers: &mut Timers) {
        let Some(download) = self.all.remove(&id) else { return };
        self.open.remove(&(download.by, id));
        self.by_space.remove(&(download.spec.space, id));
        download.forgotten().inspect(|at| timers.clear(*at, Timer::Download(id)));
    }

    /// Says how a download is now.
    fn turn(&mut self, id: DownloadId, state: DownloadState, timers: &mut Timers) {
        let Some(download) = self.all.get_mut(&id) else { return };
        download.forgotten().inspect(|at| timers.clear(*at, Timer::Download(id)));
        download.state = state;
        match download.forgotten() {
            Some(at) => {
                timers.set(at, Timer::Download(id));
                self.open.remove(&(download.by, id));
            }
            None => drop(self.open.insert((download.by, id))),
        }
    }

    fn check_count(&self, account: AccountId) -> Result<(), FilesRefusal> {
        let open = self.open.range((account, DownloadId(0))..=(account, DownloadId(u64::MAX)));
        if open.count() < Bounds::DOWNLOADS {
            return Ok(());
        }
        let what = "downloads of an account that are not over".to_owned();
        Err(FilesRefusal::TooMany { what, limit: Bounds::DOWNLOADS as u64 })
    }

    /// The torrents of those behind this one.
    pub(super) fn torrents(&self, last: DownloadId) -> impl Iterator<Item = (DownloadId, Option<Hash>)> {
        self.all.range(DownloadId(last.0.saturating_add(1))..).map(|(id, download)| {
            let torrent = match download.spec.source {
                DownloadSource::Torrent(torrent) => Some(torrent),
                DownloadSource::Url(_) => None,
            };
            (*id, torrent)
        })
    }

    pub(super) fn sanity_check(&self, timers: &Timers) {
        for (id, download) in &self.all {
            let forgotten = download.forgotten();
            assert_eq!(self.open.contains(&(download.by, *id)), forgotten.is_none());
            assert!(self.by_space.contains(&(download.spec.space, *id)), "it is found by its space");
            assert!(
                forgotten.is_none_or(|at| timers.has(at, Timer::Download(*id))),
                "it is forgotten some day"
            );
        }
        assert!(self.open.iter().all(|(_, id)| self.all.contains_key(id)), "an open download is there");
        assert_eq!(self.by_space.len(), self.all.len());
    }
}

/// How long a download waits that failed so often.
fn pause_after(tries: u32) -> Duration {
    let pause = Bounds::DOWNLOAD_AGAIN.0.saturating_mul(1 << tries.saturating_sub(1).min(20));
    Duration(pause.min(Bounds::DOWNLOAD_PAUSE.0))
}

/// The n-th name of a file that has a name which is taken.
fn numbered(path: &FilePath, n: u32) -> Option<FilePath> {
    let name = path.name()?;
    let (stem, end) = name.rfind('.').filter(|at| *at > 0).map_or((name, ""), |at| name.split_at(at));
    path.parent()?.join(&format!("{stem} ({n}){end}")).ok()
}

impl Files {
    /// See [`FilesCommand::AddDownload`](super::FilesCommand::AddDownload).
    pub(super) fn add_download(
        &mut self,
        by: AccountId,
        spec: &DownloadSpec,
        ctx: &Context<'_>,
    ) -> Result<FilesDone, Refusal> {
        self.check(by, spec.space, Access::Write)?;
        if spec.named && spec.path.is_root() {
            return Err(FilesRefusal::IsFolder { path: spec.path.clone() }.into());
        }
        match &spec.source {
            DownloadSource::Url(url) if url.is_empty() || url.len() > Bounds::SOURCE_BYTES => {
                let problem = format!("must have 1 to {} bytes", Bounds::SOURCE_BYTES);
                return Err(Refusal::invalid("source", problem));
            }
            DownloadSource::Torrent(blob) if self.claims.size(by, blob, ctx.now).is_none() => {
                return Err(FilesRefusal::NotHeld { blob: *blob }.into());
            }
            _ => {}
        }
        if spec.files.len() > Bounds::FILES {
            let what = "files of a torrent that are chosen".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::FILES as u64 }.into());
        }
        self.downloads.check_count(by)?;
        self.downloads.last.0 += 1;
        let id = self.downloads.last;
        let state = DownloadState::Waiting(None);
        let download = Download { by, asked: ctx.now, spec: spec.clone(), state, tries: 0 };
        self.downloads.all.insert(id, download);
        self.downloads.open.insert((by, id));
        self.downloads.by_space.insert((spec.space, id));
        Ok(FilesDone::Download(id))
    }

    /// See [`FilesCommand::ControlDownload`](super::FilesCommand::ControlDownload).
    pub(super) fn control_download(
        &mut self,
        caller: AccountId,
        id: DownloadId,
        control: DownloadControl,
        timers: &mut Timers,
    ) -> Result<(), FilesRefusal> {
        let download = self.downloads.all.get(&id).ok_or(FilesRefusal::NoDownload { download: id })?;
        let manages = || self.check(caller, download.spec.space, Access::Manage).is_ok();
        if download.by != caller && !manages() {
            return Err(FilesRefusal::NoDownload { download: id });
        }
        let (by, state) = (download.by, &download.state);
        match (control, state) {
            (DownloadControl::Cancel, _) => self.downloads.remove(id, timers),
            (DownloadControl::Pause, DownloadState::Waiting(_) | DownloadState::Running) => {
                self.downloads.turn(id, DownloadState::Paused, timers);
            }
            (
                DownloadControl::Resume,
                DownloadState::Paused | DownloadState::Failed { .. } | DownloadState::Waiting(Some(_)),
            ) => {
                if matches!(state, DownloadState::Failed { .. }) {
                    self.downloads.check_count(by)?;
                }
                self.downloads.turn(id, DownloadState::Waiting(None), timers);
                self.downloads.all.get_mut(&id).into_iter().for_each(|download| download.tries = 0);
            }
            _ => {
                return Err(FilesRefusal::WrongDownloadState { download: id, state: state.to_string() });
            }
        }
        Ok(())
    }

    /// See [`FilesCommand::ReportDownload`](super::FilesCommand::ReportDownload).
    pub(super) fn report_download(
        &mut self,
        id: DownloadId,
        report: &DownloadReport,
        ctx: &mut Context<'_>,
    ) -> Result<(), FilesRefusal> {
        let download = self.downloads.all.get(&id).ok_or(FilesRefusal::NoDownload { download: id })?;
        if !matches!(download.state, DownloadState::Waiting(_) | DownloadState::Running) {
            let state = download.state.to_string();
            return Err(FilesRefusal::WrongDownloadState { download: id, state });
        }
        let state = match report {
            DownloadReport::Started => DownloadState::Running,
            DownloadReport::Failed { reason, again } => {
                let tries = download.tries + 1;
                let again = *again && tries < Bounds::DOWNLOAD_TRIES;
                self.downloads.all.get_mut(&id).into_iter().for_each(|download| download.tries = tries);
                if again {
                    DownloadState::Waiting(Some(ctx.now.after(pause_after(tries))))
                } else {
                    let reason = reason.chars().take(Bounds::NAME_BYTES).collect();
                    DownloadState::Failed { at: ctx.now, reason }
                }
            }
            DownloadReport::Done { files, saved } => {
                if files.len() > Bounds::FILES {
                    let what = "files of a download".to_owned();
                    return Err(FilesRefusal::TooMany { what, limit: Bounds::FILES as u64 });
                }
                let (by, spec) = (download.by, download.spec.clone());
                let bytes = self.place_fetched(by, &spec, files, ctx.now)?;
                let files = files.len() as u32;
                DownloadState::Done { at: ctx.now, files, bytes, saved: *saved }
            }
        };
        self.downloads.turn(id, state, ctx.timers);
        Ok(())
    }

    /// Puts what was fetched where it was wanted: all of it or nothing. How many bytes they are.
    fn place_fetched(
        &mut self,
        by: AccountId,
        spec: &DownloadSpec,
        files: &Fetched,
        now: Time,
    ) -> Result<ByteSize, FilesRefusal> {
        self.check(by, spec.space, Access::Write)?;
        let sum = files.iter().try_fold(0_u64, |sum, (_, _, size, _)| sum.checked_add(size.0));
        let bytes = ByteSize(sum.unwrap_or(u64::MAX));
        let paths = self.paths_for(spec, files)?;
        let mut opened = self.open(spec.space)?;
        opened.quota_for(bytes, ByteSize(0))?;
        files.iter().try_for_each(|(.., about)| check_about(about))?;
        opened.room(paths.iter().map(|path| path.names().count() as u64).sum())?;
        for (path, (_, blob, size, about)) in paths.iter().zip(files) {
            let fresh = Fresh { blob: *blob, size: *size, by, about: about.into() };
            opened.place(path, Condition::Absent, fresh)?;
        }
        for (_, blob, size, _) in files {
            self.claims.add(by, (*blob, *size), false, now);
        }
        Ok(bytes)
    }

    /// Where fetched files come, each at a path where nothing is and nothing in the way.
    fn paths_for(&self, spec: &DownloadSpec, files: &Fetched) -> Result<Vec<FilePath>, FilesRefusal> {
        let root = self.root(spec.space)?;
        let (mut paths, mut taken) = (Vec::with_capacity(files.len()), BTreeSet::new());
        // Paths of folders that the files before make.
        let mut folders = BTreeSet::new();
        for (relative, ..) in files {
            let whole = if spec.named && files.len() == 1 {
                spec.path.clone()
            } else {
                let text = format!("{}/{relative}", spec.path);
                let long = || FilesRefusal::TooMany {
                    what: format!("bytes in the path of '{relative}'"),
                    limit: FilePath::BYTES as u64,
                };
                text.trim_matches('/').parse::<FilePath>().map_err(|_| long())?
            };
            let free = |path: &FilePath| -> Result<bool, FilesRefusal> {
                let own = !taken.contains(path) && !folders.contains(path);
                Ok(own && !path.is_root() && self.tree.seek(root, path)?.is_none())
            };
            let mut path = whole.clone();
            let mut n = 1;
            while !free(&path)? {
                n += 1;
                let next = numbered(&whole, n).filter(|_| n <= Bounds::FILES as u32);
                path = next.ok_or_else(|| FilesRefusal::Exists { path: whole.clone() })?;
            }
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| !folder.is_root()) {
                if taken.contains(&folder) {
                    return Err(FilesRefusal::NotAFolder { path: folder });
                }
                above = folder.parent();
                folders.insert(folder);
            }
            taken.insert(path.clone());
            paths.push(path);
        }
        Ok(paths)
    }

    /// It was over long ago.
    pub(crate) fn forget_download(&mut self, id: DownloadId, timers: &mut Timers) {
        self.downloads.remove(id, timers);
    }

    /// Their space goes.
    pub(super) fn forget_downloads_of(&mut self, space: SpaceId, timers: &mut Timers) {
        let of_space = self.downloads.by_space.range((space, DownloadId(0))..=(space, DownloadId(u64::MAX)));
        let ids: Vec<DownloadId> = of_space.map(|(_, id)| *id).collect();
        ids.into_iter().for_each(|id| self.downloads.remove(id, timers));
    }

    /// A download.
    pub fn download(&self, id: DownloadId) -> Option<&Download> {
        self.downloads.all.get(&id)
    }

    /// All downloads that are not forgotten.
    pub fn downloads(&self) -> &BTreeMap<DownloadId, Download> {
        &self.downloads.all
    }

    /// Those that are not over, by who asked for them.
    pub fn open_downloads(&self) -> impl Iterator<Item = (DownloadId, &Download)> {
        self.downloads.open.iter().filter_map(|(_, id)| Some((*id, self.downloads.all.get(id)?)))
    }
}
