//! What the hub fetches from elsewhere while who wants it is away.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{AccountId, DownloadId, Duration, Hash, NoticeId, SpaceId, Time};
use serde::{Deserialize, Serialize};

use super::space::Context;
use super::{
    Access, Brought, Download, DownloadControl, DownloadReport, DownloadSource, DownloadSpec, DownloadState,
    Files, FilesDone, FilesRefusal,
};
use crate::timers::{Timer, Timers};
use crate::{Bounds, Refusal};

/// All downloads that are not forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Downloads {
    all: BTreeMap<DownloadId, Download>,
    /// Those that are not over, by who asked.
    open: BTreeSet<(AccountId, DownloadId)>,
    /// Those that are, by who asked, in the order in which they were over.
    over: BTreeMap<AccountId, BTreeMap<NoticeId, DownloadId>>,
    by_space: BTreeSet<(SpaceId, DownloadId)>,
    last: DownloadId,
    last_notice: NoticeId,
    /// Up to where accounts know what became of theirs.
    seen: BTreeMap<AccountId, NoticeId>,
}

impl Download {
    /// Since when it is over, and by which notice its owner is told; none: it is not.
    pub fn over(&self) -> Option<(Time, NoticeId)> {
        match self.state {
            DownloadState::Done { at, notice } | DownloadState::Failed { at, notice } => Some((at, notice)),
            DownloadState::Waiting(_) | DownloadState::Running | DownloadState::Paused => None,
        }
    }
}

/// When a download is forgotten that was over then.
fn forgotten(at: Time) -> Time {
    at.after(Bounds::DOWNLOAD_MEMORY)
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
        self.take_back(id, (download.by, download.over()), timers);
    }

    /// It is not over any more, if it was: nobody is told of it, and nothing rings.
    fn take_back(
        &mut self,
        id: DownloadId,
        (by, over): (AccountId, Option<(Time, NoticeId)>),
        timers: &mut Timers,
    ) {
        let Some((at, notice)) = over else { return };
        timers.clear(forgotten(at), Timer::Download(id));
        if let Some(of_account) = self.over.get_mut(&by) {
            of_account.remove(&notice);
            if of_account.is_empty() {
                self.over.remove(&by);
            }
        }
    }

    /// Forgets one of those into a space; whether there was one.
    pub(super) fn remove_one_of(&mut self, space: SpaceId, timers: &mut Timers) -> bool {
        let mut of_space = self.by_space.range((space, DownloadId(0))..=(space, DownloadId(u64::MAX)));
        let first = of_space.next().map(|(_, id)| *id);
        first.inspect(|id| self.remove(*id, timers)).is_some()
    }

    /// Says how a download is now.
    fn turn(&mut self, id: DownloadId, state: DownloadState, timers: &mut Timers) {
        let Some(download) = self.all.get_mut(&id) else { return };
        let (by, before) = (download.by, download.over());
        download.state = state;
        let now = download.over();
        self.take_back(id, (by, before), timers);
        let Some((at, notice)) = now else {
            self.open.insert((by, id));
            return;
        };
        timers.set(forgotten(at), Timer::Download(id));
        self.open.remove(&(by, id));
        let over = self.over.entry(by).or_default();
        over.insert(notice, id);
        if over.len() > Bounds::DOWNLOADS_OVER
            && let Some((_, first)) = over.first_key_value()
        {
            let first = *first;
            self.remove(first, timers);
        }
    }

    /// A new notice.
    fn notice(&mut self) -> NoticeId {
        self.last_notice.0 += 1;
        self.last_notice
    }

    /// See [`FilesCommand::SeeDownloads`](super::FilesCommand::SeeDownloads).
    pub(super) fn see(&mut self, account: AccountId, last: NoticeId) {
        let (seen, last) = (self.seen_by(account), last.min(self.last_notice));
        if last > seen {
            self.seen.insert(account, last);
        }
    }

    fn seen_by(&self, account: AccountId) -> NoticeId {
        self.seen.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, id: DownloadId) -> Option<&mut Download> {
        self.all.get_mut(&id)
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
            let over = download.over();
            assert_eq!(self.open.contains(&(download.by, *id)), over.is_none());
            assert!(self.by_space.contains(&(download.spec.space, *id)), "it is found by its space");
            let Some((at, notice)) = over else { continue };
            assert!(timers.has(forgotten(at), Timer::Download(*id)), "it is forgotten some day");
            assert_eq!(self.over[&download.by].get(&notice), Some(id), "its owner is told");
        }
        assert!(self.open.iter().all(|(_, id)| self.all.contains_key(id)), "an open download is there");
        let over: usize = self.over.values().map(BTreeMap::len).sum();
        assert_eq!(self.open.len() + over, self.all.len());
        let last = self.over.values().flat_map(BTreeMap::keys).chain(self.seen.values()).max();
        assert!(last.is_none_or(|last| *last <= self.last_notice), "a notice is given once");
        assert_eq!(self.by_space.len(), self.all.len());
    }
}

/// How long a download waits that failed so often.
fn pause_after(tries: u32) -> Duration {
    let pause = Bounds::DOWNLOAD_AGAIN.0.saturating_mul(1 << tries.saturating_sub(1).min(20));
    Duration(pause.min(Bounds::DOWNLOAD_PAUSE.0))
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
        let (spec, brought) = (spec.clone(), Brought::default());
        let space = spec.space;
        let download = Download { by, asked: ctx.now, spec, state, tries: 0, brought, trouble: None };
        self.downloads.all.insert(id, download);
        self.downloads.open.insert((by, id));
        self.downloads.by_space.insert((space, id));
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
                if let Some(download) = self.downloads.get_mut(id) {
                    (download.tries, download.trouble) = (0, None);
                }
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
                let reason: String = reason.chars().take(Bounds::NAME_BYTES).collect();
                if let Some(download) = self.downloads.get_mut(id) {
                    (download.tries, download.trouble) = (tries, Some(reason));
                }
                if *again && tries < Bounds::DOWNLOAD_TRIES {
                    DownloadState::Waiting(Some(ctx.now.after(pause_after(tries))))
                } else {
                    DownloadState::Failed { at: ctx.now, notice: self.downloads.notice() }
                }
            }
            DownloadReport::Part { from, .. } if *from != download.brought.files => {
                let state = format!("at its file {}", download.brought.files);
                return Err(FilesRefusal::WrongDownloadState { download: id, state });
            }
            DownloadReport::Part { files, saved, .. } => {
                return self.deliver(id, files, *saved, (ctx.now, ctx.timers));
            }
            DownloadReport::Done { files, saved } => {
                self.deliver(id, files, *saved, (ctx.now, &mut *ctx.timers))?;
                DownloadState::Done { at: ctx.now, notice: self.downloads.notice() }
            }
        };
        self.downloads.turn(id, state, ctx.timers);
        Ok(())
    }

    /// It was over long ago.
    pub(crate) fn forget_download(&mut self, id: DownloadId, timers: &mut Timers) {
        self.downloads.remove(id, timers);
    }

    /// A download.
    pub fn download(&self, id: DownloadId) -> Option<&Download> {
        self.downloads.all.get(&id)
    }

    /// The downloads of an account that are over, in the order in which they were, from behind a notice on.
    pub fn downloads_over(
        &self,
        account: AccountId,
        after: NoticeId,
    ) -> impl Iterator<Item = (NoticeId, DownloadId, &Download)> {
        let first = NoticeId(after.0.saturating_add(1));
        let over = self.downloads.over.get(&account).into_iter().flat_map(move |over| over.range(first..));
        over.filter_map(|(notice, id)| Some((*notice, *id, self.downloads.all.get(id)?)))
    }

    /// Up to where an account knows what became of its downloads.
    pub fn downloads_seen(&self, account: AccountId) -> NoticeId {
        self.downloads.seen_by(account)
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
