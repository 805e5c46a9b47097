//! Objects that come in parts.

use std::collections::BTreeMap;
use std::time::Duration;

use pumasi_core::{
    About, Access, Condition, Done, FileKind, FilePut, Files, FilesCommand, FilesDone, Upload, UploadPart,
    Version,
};
use pumasi_types::{AccountId, FilePath, SpaceId, UploadId, VersionId};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::about::{self, described};
use crate::backend::Backend;
use crate::buckets::{initiator, owner};
use crate::conditions::{strong, timestamp};
use crate::digest::{Said, hex, md5_of_hex, tag_of_parts, tell_sums};
use crate::error;
use crate::gateway::{Gateway, find};
use crate::key::Key;
use crate::objects::Stored;
use crate::versions::{self, VersionName};

/// What each part but the last has at least, in bytes, as in S3.
const PART_BYTES: u64 = 5 << 20;
/// Parts of an upload, and of an answer about it.
pub(crate) const PARTS: usize = 10_000;
const PARTS_TOLD: usize = 1_000;
/// How long an answer waits for an object to be put together before it begins with spaces, so that nobody's patience ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// An upload as its request names it: bucket, key, id.
type Named<'a> = (&'a str, &'a str, &'a str);

/// An object that is to be put together.
struct Whole {
    space: SpaceId,
    upload: UploadId,
    path: FilePath,
    about: About,
    condition: Condition,
    parts: Vec<UploadPart>,
    tag: String,
}

/// What an upload that a request names is.
enum Asked {
    /// It is under way.
    Open(SpaceId, UploadId, Box<Upload>, Option<Version>),
    /// It is not there; the object that lies at its key.
    Gone(Option<Version>),
}

impl Asked {
    /// What was made of the upload already, if its parts were these.
    fn finished(self, upload: &str, tag: &str) -> Option<Version> {
        match self {
            Asked::Gone(Some(version))
                if about::is_by_upload(&version, upload) && about::tag_of(&version) == tag =>
            {
                Some(version)
            }
            _ => None,
        }
    }
}

fn no_upload(id: &str) -> s3s::S3Error {
    s3_error!(NoSuchUpload, "there is no upload '{id}': it was finished, given up, or lay idle for too long")
}

/// Looks for an upload of the caller's.
fn asked(files: &Files, space: SpaceId, caller: AccountId, path: &FilePath, id: Option<UploadId>) -> Asked {
    let there = find(files, space, &Key::File(path.clone())).and_then(|view| match view.kind {
        FileKind::File(version) => Some(version),
        FileKind::Folder(_) => None,
    });
    let upload = id.and_then(|id| Some((id, files.upload(id)?)));
    let own = |upload: &Upload| upload.space == space && upload.path == *path && upload.by == caller;
    match upload.filter(|(_, upload)| own(upload)) {
        Some((id, upload)) => Asked::Open(space, id, Box::new(upload.clone()), there),
        None => Asked::Gone(there),
    }
}

impl<B: Backend> Gateway<B> {
    async fn asked(&self, caller: AccountId, (bucket, key, id): Named<'_>) -> S3Result<Asked> {
        let (path, id) = (Key::of_new(key)?.into_file()?, id.parse().ok());
        let look = move |files: &Files, space| asked(files, space, caller, &path, id);
        self.look_in(caller, bucket, Access::Write, look).await
    }

    pub(crate) async fn create_multipart_upload(
        &self,
        caller: AccountId,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut input = request.input;
        let about = described!(input).into_about()?;
        let path = Key::of_new(&input.key)?.into_file()?;
        let space = self.look_in(caller, &input.bucket, Access::Write, |_, space| space).await?;
        let id = match self.backend.ask(caller, FilesCommand::BeginUpload { space, path, about }).await? {
            Done::Files(FilesDone::Upload(id)) => id,
            other => return Err(error::unexpected(&other)),
        };
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id.to_string()),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    /// Stores a part.
    pub(crate) async fn take_part(
        &self,
        caller: AccountId,
        named: Named<'_>,
        number: i32,
        said: Said,
        body: Option<StreamingBlob>,
    ) -> S3Result<Stored> {
        let number = u16::try_from(number).ok().filter(|number| (1..=PARTS).contains(&usize::from(*number)));
        let number =
            number.ok_or_else(|| s3_error!(InvalidArgument, "parts are numbered from 1 to {PARTS}"))?;
        // Before all the bytes come.
        let Asked::Open(_, upload, ..) = self.asked(caller, named).await? else {
            return Err(no_upload(named.2));
        };
        let stored = self.take_in(caller, said, body).await?;
        let command = FilesCommand::PutPart { upload, number, blob: stored.blob, md5: stored.seen.md5 };
        self.order(caller, command).await?;
        Ok(stored)
    }

    pub(crate) async fn upload_part(
        &self,
        caller: AccountId,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let said = Said::by(&request.headers, request.trailing_headers)?;
        let input = request.input;
        about::refuse(&[("keys of customers", input.sse_customer_key.is_some())])?;
        let named = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let stored = self.take_part(caller, named, input.part_number, said, input.body).await?;
        let mut output =
            UploadPartOutput { e_tag: strong(hex(&stored.seen.md5)), ..UploadPartOutput::default() };
        tell_sums!(output, stored.seen.told());
        Ok(S3Response::new(output))
    }

    pub(crate) async fn list_parts(
        &self,
        caller: AccountId,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let named = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let Asked::Open(_, _, upload, _) = self.asked(caller, named).await? else {
            return Err(no_upload(named.2));
        };
        let most = input.max_parts.and_then(|most| usize::try_from(most).ok()).unwrap_or(PARTS_TOLD);
        let most = most.min(PARTS_TOLD);
        let marker = input.part_number_marker.unwrap_or(0).max(0);
        let marker = u16::try_from(marker).unwrap_or(u16::MAX);
        let behind = upload.parts.range((std::ops::Bound::Excluded(marker), std::ops::Bound::Unbounded));
        let more = behind.clone().count() > most;
        let told: Vec<(&u16, &UploadPart)> = behind.take(most).collect();
        let next = told.last().filter(|_| more).map(|(number, _)| i32::from(**number));
        let part = |(number, part): (&u16, &UploadPart)| Part {
            e_tag: strong(hex(&part.md5)),
            last_modified: Some(timestamp(part.put)),
            part_number: Some(i32::from(*number)),
            size: i64::try_from(part.size.0).ok(),
            ..Part::default()
        };
        Ok(S3Response::new(ListPartsOutput {
            initiator: Some(initiator(caller)),
            // Nobody can go on behind nothing.
            is_truncated: Some(next.is_some()),
            max_parts: Some(most as i32),
            next_part_number_marker: next,
            owner: Some(owner(caller)),
            part_number_marker: Some(i32::from(marker)),
            parts: Some(told.into_iter().map(part).collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..ListPartsOutput::default()
        }))
    }

    pub(crate) async fn abort_multipart_upload(
        &self,
        caller: AccountId,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let named = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let Asked::Open(_, upload, ..) = self.asked(caller, named).await? else {
            return Err(no_upload(named.2));
        };
        self.order(caller, FilesCommand::AbortUpload { upload }).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(crate) async fn complete_multipart_upload(
        &self,
        caller: AccountId,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let listed = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let listed = listed_parts(listed)?;
        let named = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let tag = tag_of_parts(listed.iter().map(|(_, md5)| md5));
        let done = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            e_tag: strong(tag.clone()),
            location: Some(format!("/{}/{}", input.bucket, crate::key::encoded(&input.key))),
            ..CompleteMultipartUploadOutput::default()
        };
        let versioned = self.look_in(caller, named.0, Access::Write, versions::has_versions).await?;
        let told = move |mut done: CompleteMultipartUploadOutput, version: VersionId| {
            let version = versioned.then_some(VersionName::Content(version));
            done.version_id = version.map(|version| version.to_string());
            done
        };
        let (space, id, upload, there) = match self.asked(caller, named).await? {
            Asked::Open(space, id, upload, there) => (space, id, upload, there),
            // Who did not hear that it was finished asks again.
            gone => {
                let finished = gone.finished(named.2, &tag).ok_or_else(|| no_upload(named.2))?;
                return Ok(S3Response::new(told(done, finished.id)));
            }
        };
        let condition = crate::conditions::for_put(
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
            there.as_ref(),
        )?;
        let parts = chosen_parts(&listed, &upload.parts)?;
        let total: u64 = parts.iter().map(|part| part.size.0).sum();
        if input.mpu_object_size.is_some_and(|size| u64::try_from(size) != Ok(total)) {
            return Err(s3_error!(InvalidRequest, "the parts have {total} bytes together"));
        }
        let mut about = upload.about.clone();
        about::set_content(&mut about, tag.clone(), &[]);
        about::set_upload(&mut about, named.2);
        about::set_parts(&mut about, parts.iter().map(|part| part.size.0));
        let whole = Whole { space, upload: id, path: upload.path.clone(), about, condition, parts, tag };
        // It goes on when the client hangs up.
        let gateway = self.clone();
        let mut work = tokio::spawn(async move { gateway.put_together(caller, whole).await });
        let finished = |finished: Result<S3Result<VersionId>, tokio::task::JoinError>| match finished {
            Ok(result) => result,
            Err(error) => Err(s3_error!(InternalError, "the object could not be put together: {error}")),
        };
        if let Ok(result) = tokio::time::timeout(PATIENCE, &mut work).await {
            return Ok(S3Response::new(told(done, finished(result)?)));
        }
        let later = async move {
            let version = finished(work.await)?;
            Ok(told(done, version))
        };
        let output = CompleteMultipartUploadOutput {
            future: Some(Box::pin(later)),
            ..CompleteMultipartUploadOutput::default()
        };
        Ok(S3Response::new(output))
    }

    /// Makes one blob of the parts, and the object; its version.
    async fn put_together(&self, caller: AccountId, whole: Whole) -> S3Result<VersionId> {
        let parts = whole.parts.iter().map(|part| (part.blob, part.size)).collect();
        let (blob, _) = self.backend.join(caller, parts).await?;
        let Whole { space, upload, path, about, condition, tag, .. } = whole;
        let file = FilePut { path: path.clone(), blob, about, condition };
        match self.ask_one(caller, FilesCommand::FinishUpload { upload, file }).await {
            // Somebody asked twice at the same time, and the other was first.
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchUpload => {
                let look = move |files: &Files| asked(files, space, caller, &path, None);
                let finished = self.backend.look(look).await?.finished(&upload.to_string(), &tag);
                finished.map(|version| version.id).ok_or(error)
            }
            done => done?.version.ok_or_else(|| error::unexpected(&"no version")),
        }
    }
}

/// The parts that an object came in, at most so many behind the one that was told last; none when it came at once or does
/// not remember them.
pub(crate) fn parts_told(
    version: &Version,
    most: Option<i32>,
    marker: Option<i32>,
) -> Option<GetObjectAttributesParts> {
    let lengths = about::remembered_parts(version)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(PARTS_TOLD).min(PARTS_TOLD);
    let behind = marker.and_then(|marker| usize::try_from(marker).ok()).unwrap_or_default();
    let part = |(number, length): (i32, &u64)| ObjectPart {
        part_number: Some(number),
        size: i64::try_from(*length).ok(),
        ..ObjectPart::default()
    };
    let parts: Vec<ObjectPart> = (1..).zip(&lengths).skip(behind).take(most).map(part).collect();
    let more = behind + parts.len() < lengths.len();
    // Nobody can go on behind nothing.
    let next = parts.last().filter(|_| more).and_then(|part| part.part_number);
    Some(GetObjectAttributesParts {
        is_truncated: Some(next.is_some()),
        max_parts: i32::try_from(most).ok(),
        next_part_number_marker: next,
        part_number_marker: i32::try_from(behind).ok(),
        parts: Some(parts),
        total_parts_count: i32::try_from(lengths.len()).ok(),
    })
}

/// The parts that a request lists: number and MD5, in order.
fn listed_parts(listed: Vec<CompletedPart>) -> S3Result<Vec<(u16, [u8; 16])>> {
    if listed.is_empty() || listed.len() > PARTS {
        return Err(s3_error!(MalformedXML, "list 1 to {PARTS} parts"));
    }
    let mut parts: Vec<(u16, [u8; 16])> = Vec::with_capacity(listed.len());
    for part in listed {
        let number = part.part_number.and_then(|number| u16::try_from(number).ok());
        let number =
            number.ok_or_else(|| s3_error!(InvalidArgument, "parts are numbered from 1 to {PARTS}"))?;
        let tag = part.e_tag.ok_or_else(|| s3_error!(MalformedXML, "part {number} has no ETag"))?;
        let md5 = md5_of_hex(tag.value());
        let md5 = md5.ok_or_else(|| s3_error!(InvalidPart, "part {number} was not sent with this ETag"))?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            return Err(s3_error!(InvalidPartOrder, "part {number} stands behind one that comes after it"));
        }
        parts.push((number, md5));
    }
    Ok(parts)
}

/// The parts of an upload that are listed.
fn chosen_parts(listed: &[(u16, [u8; 16])], there: &BTreeMap<u16, UploadPart>) -> S3Result<Vec<UploadPart>> {
    let chosen = listed.iter().map(|(number, md5)| {
        let part = there.get(number).filter(|part| part.md5 == *md5).copied();
        part.ok_or_else(|| s3_error!(InvalidPart, "part {number} was not sent with this ETag"))
    });
    let chosen: Vec<UploadPart> = chosen.collect::<S3Result<_>>()?;
    let but_last = chosen.split_last().map_or(&[][..], |(_, before)| before);
    if but_last.iter().any(|part| part.size.0 < PART_BYTES) {
        return Err(s3_error!(EntityTooSmall, "all parts but the last have 5 MiB at least"));
    }
    Ok(chosen)
}
