//! Files that come in parts.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, ByteSize, SpaceId, Time, UploadId};
use serde::{Deserialize, Serialize};

use super::change::{Fresh, check_about};
use super::space::Context;
use super::trash::Doom;
use super::{Access, FilePut, Files, FilesDone, FilesRefusal, Upload, UploadPart};
use crate::timers::{Timer, Timers};
use crate::{Bounds, Refusal};

/// All uploads that are not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uploads {
    all: BTreeMap<UploadId, Kept>,
    last: UploadId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    upload: Upload,
    /// When it is given up.
    ends: Time,
}

impl Upload {
    /// Its parts together.
    pub fn size(&self) -> ByteSize {
        ByteSize(self.parts.values().map(|part| part.size.0).sum())
    }
}

impl Uploads {
    pub(super) fn get(&self, id: UploadId) -> Option<&Upload> {
        self.all.get(&id).map(|kept| &kept.upload)
    }

    /// Those from this one on.
    pub(super) fn from(&self, first: UploadId) -> impl Iterator<Item = (UploadId, &Upload)> {
        self.all.range(first..).map(|(id, kept)| (*id, &kept.upload))
    }

    /// Forgets an upload and its timer.
    pub(super) fn remove(&mut self, id: UploadId, timers: &mut Timers) -> Option<Upload> {
        let kept = self.all.remove(&id)?;
        timers.clear(kept.ends, Timer::Upload(id));
        Some(kept.upload)
    }

    pub(super) fn sanity_check(&self, timers: &Timers) {
        for (id, kept) in &self.all {
            assert!(timers.has(kept.ends, Timer::Upload(*id)), "an upload is given up some day");
        }
    }
}

impl Files {
    /// See [`FilesCommand::BeginUpload`](super::FilesCommand::BeginUpload); its space is not checked yet.
    pub(super) fn begin_upload(
        &mut self,
        upload: Upload,
        ctx: &mut Context<'_>,
    ) -> Result<FilesDone, FilesRefusal> {
        self.check(upload.by, upload.space, Access::Write)?;
        check_about(&upload.about)?;
        if upload.path.is_root() {
            return Err(FilesRefusal::IsFolder { path: upload.path });
        }
        let mut space = self.spaces.get_mut(&upload.space).ok_or_else(|| no_space(upload.space))?;
        if space.uploads.len() >= Bounds::UPLOADS {
            let what = "uploads in a space that are not finished".to_owned();
            return Err(FilesRefusal::TooMany { what, limit: Bounds::UPLOADS as u64 });
        }
        self.uploads.last.0 += 1;
        let (id, ends) = (self.uploads.last, ctx.now.after(Bounds::UPLOAD_IDLE));
        space.uploads.insert(id);
        self.uploads.all.insert(id, Kept { upload, ends });
        ctx.timers.set(ends, Timer::Upload(id));
        Ok(FilesDone::Upload(id))
    }

    /// The caller's upload, if the caller may still write there.
    fn own_upload(&self, caller: AccountId, id: UploadId) -> Result<&Upload, FilesRefusal> {
        let own = self.uploads.get(id).filter(|upload| upload.by == caller);
        let upload = own.ok_or(FilesRefusal::NoUpload { upload: id })?;
        self.check(caller, upload.space, Access::Write)?;
        Ok(upload)
    }

    /// See [`FilesCommand::PutPart`](super::FilesCommand::PutPart); the size of the part is not known yet.
    pub(super) fn put_part(
        &mut self,
        caller: AccountId,
        id: UploadId,
        number: u16,
        part: UploadPart,
        ctx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let upload = self.own_upload(caller, id)?;
        if number == 0 || number > Bounds::PARTS {
            let problem = format!("must be from 1 to {}", Bounds::PARTS);
            return Err(Refusal::invalid("number of the part", problem));
        }
        let size = self.claims.size(caller, &part.blob, ctx.now);
        let size = size.ok_or(FilesRefusal::NotHeld { blob: part.blob })?;
        let (space, replaced) = (upload.space, upload.parts.get(&number).map(|part| part.size));
        let mut opened = self.open(space, ctx.timers)?;
        opened.quota_for(size, replaced.unwrap_or_default())?;
        opened.take(replaced.unwrap_or_default(), size);
        drop(opened);
        if let Some(kept) = self.uploads.all.get_mut(&id) {
            let before = kept.upload.parts.insert(number, UploadPart { size, ..part });
            // The quota counts what is a part, and no longer what was; first what goes, which the claim may not have seen come.
            before.into_iter().for_each(|before| self.claims.unfile(caller, before.blob));
            self.claims.file(caller, part.blob);
            ctx.timers.clear(kept.ends, Timer::Upload(id));
            kept.ends = ctx.now.after(Bounds::UPLOAD_IDLE);
            ctx.timers.set(kept.ends, Timer::Upload(id));
        }
        Ok(())
    }

    /// See [`FilesCommand::FinishUpload`](super::FilesCommand::FinishUpload).
    pub(super) fn finish_upload(
        &mut self,
        caller: AccountId,
        id: UploadId,
        file: &FilePut,
        ctx: &mut Context<'_>,
    ) -> Result<FilesDone, Refusal> {
        let upload = self.own_upload(caller, id)?;
        if file.path != upload.path {
            return Err(Refusal::invalid("path", "must be that of the upload"));
        }
        let (space, parts) = (upload.space, upload.size());
        let size = self.claims.size(caller, &file.blob, ctx.now);
        let placed = size.ok_or(FilesRefusal::NotHeld { blob: file.blob }).and_then(|size| {
            check_about(&file.about)?;
            let fresh = Fresh { blob: file.blob, size, by: caller, about: (&file.about).into() };
            // The file takes the place of its parts, if it comes at all.
            let mut opened = self.open(space, ctx.timers)?;
            opened.take(parts, ByteSize(0));
            let placed = opened.place(&file.path, file.condition, fresh);
            if placed.is_err() {
                opened.take(ByteSize(0), parts);
            }
            placed
        });
        if placed.is_ok() {
            // Parts that the file was not made of count again.
            self.drop_upload(id, ctx.timers);
            self.wind(space, ctx.timers);
        }
        Ok(FilesDone::Each(vec![placed]))
    }

    /// See [`FilesCommand::AbortUpload`](super::FilesCommand::AbortUpload).
    pub(super) fn abort_upload(
        &mut self,
        caller: AccountId,
        id: UploadId,
        timers: &mut Timers,
    ) -> Result<(), FilesRefusal> {
        let upload = self.uploads.get(id).ok_or(FilesRefusal::NoUpload { upload: id })?;
        if upload.by != caller && self.check(caller, upload.space, Access::Manage).is_err() {
            return Err(FilesRefusal::NoUpload { upload: id });
        }
        self.end_upload(id, timers);
        Ok(())
    }

    /// It is given up; the steps that this took. The room of its parts comes back at once, and they are erased little by
    /// little.
    pub(crate) fn end_upload(&mut self, id: UploadId, timers: &mut Timers) -> usize {
        let Some(upload) = self.uploads.get(id) else { return 0 };
        let (space, size, parts) = (upload.space, upload.size(), upload.parts.len());
        self.spaces.get_mut(&space).into_iter().for_each(|mut space| space.used.0 -= size.0);
        self.drop_upload(id, timers);
        parts
    }

    /// An upload is no more; its parts are erased little by little.
    fn drop_upload(&mut self, id: UploadId, timers: &mut Timers) {
        let Some(upload) = self.uploads.remove(id, timers) else { return };
        self.spaces.get_mut(&upload.space).into_iter().for_each(|mut space| _ = space.uploads.remove(&id));
        self.doomed.push(Doom::Parts(upload.by, upload.parts));
    }

    /// An upload.
    pub fn upload(&self, id: UploadId) -> Option<&Upload> {
        self.uploads.get(id)
    }

    /// The uploads of a space, by path and id.
    pub fn uploads(&self, space: SpaceId) -> Vec<(UploadId, &Upload)> {
        let ids = self.spaces.get(&space).into_iter().flat_map(|space| &space.uploads);
        let mut uploads: Vec<_> = ids.filter_map(|id| Some((*id, self.uploads.get(*id)?))).collect();
        uploads.sort_by_key(|(id, upload)| (&upload.path, *id));
        uploads
    }
}

fn no_space(space: SpaceId) -> FilesRefusal {
    FilesRefusal::NoSpace { space: space.to_string() }
}
