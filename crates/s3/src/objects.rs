//! Objects: put, read, delete.

use std::ops::Range;

use futures_util::StreamExt;
use http_body::Frame;
use pumasi_core::{
    Access, Condition, Done, FileKind, FilePut, FileView, Files, FilesCommand, FilesRefusal, Placed, Refusal,
    Version,
};
use pumasi_types::{AccountId, FilePath, Hash, SpaceId, Time, VersionId};
use s3s::dto::*;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use crate::about::{self, described};
use crate::backend::{Backend, Failure};
use crate::conditions::{self, Conditions, conditions, strong, timestamp};
use crate::digest::{Said, Seen, hex, tell_sums};
use crate::error;
use crate::gateway::{Gateway, find};
use crate::key::Key;
use crate::uploads::parts_told;
use crate::versions::{self, Deed, Looked, VersionName};

/// Keys in one request, and versions of them that are removed at once.
const DELETED: usize = 1_000;
const CUTS_AT_ONCE: usize = 100;
/// The media type of folders, as s3fs writes it.
const FOLDER: &str = "application/x-directory";
/// The MD5 of nothing.
pub(crate) const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// An object that is there.
pub(crate) struct Found {
    pub(crate) space: SpaceId,
    pub(crate) path: FilePath,
    /// None for a folder.
    pub(crate) version: Option<Version>,
    pub(crate) changed: Time,
    /// What its version is called, where there are versions.
    pub(crate) id: Option<VersionName>,
    /// Whether it is not what lies at the key now.
    pub(crate) is_old: bool,
}

impl Found {
    pub(crate) fn of(space: SpaceId, view: FileView, versioned: bool) -> Found {
        let (version, changed) = match view.kind {
            FileKind::File(version) => (Some(version.clone()), version.put),
            FileKind::Folder(_) => (None, view.changed),
        };
        let id = version.as_ref().filter(|_| versioned).map(|version| VersionName::Content(version.id));
        Found { space, path: view.path, version, changed, id, is_old: false }
    }

    pub(crate) fn is_version(&self, id: VersionId) -> bool {
        self.version.as_ref().is_some_and(|version| version.id == id)
    }

    /// The id of its version as it is told.
    pub(crate) fn told_id(&self) -> Option<String> {
        self.id.map(|id| id.to_string())
    }

    pub(crate) fn tag(&self) -> String {
        self.version.as_ref().map_or_else(|| EMPTY.to_owned(), about::tag_of)
    }

    pub(crate) fn size(&self) -> u64 {
        self.version.as_ref().map_or(0, |version| version.size.0)
    }
}

/// Bytes that were stored.
pub(crate) struct Stored {
    pub(crate) blob: Hash,
    pub(crate) seen: Seen,
}

/// Which bytes are answered, and how the answer's header names them.
struct Piece {
    range: Option<Range<u64>>,
    length: u64,
    named: Option<String>,
    /// How many parts the object came in, where one was asked for.
    parts: Option<i32>,
}

impl Piece {
    /// # Errors
    /// `InvalidRange`, `InvalidPart`, `InvalidArgument`, `NotImplemented`.
    fn of(range: Option<s3s::dto::Range>, part: Option<i32>, found: &Found) -> S3Result<Piece> {
        let size = found.size();
        match (range, part) {
            (None, None) => Ok(Piece { range: None, length: size, named: None, parts: None }),
            (Some(range), None) => {
                let bytes = range.check(size);
                let bytes = bytes.map_err(|_| s3_error!(InvalidRange, "the object has {size} bytes"))?;
                Ok(Piece::some(bytes, size))
            }
            (None, Some(number)) => Piece::part(number, found),
            (Some(_), Some(_)) => Err(s3_error!(InvalidArgument, "ask for a range or for a part")),
        }
    }

    fn some(bytes: Range<u64>, size: u64) -> Piece {
        let named = Some(format!("bytes {}-{}/{size}", bytes.start, bytes.end.saturating_sub(1)));
        Piece { length: bytes.end - bytes.start, range: Some(bytes), named, parts: None }
    }

    /// A part of an object as it came; what came at once is one.
    fn part(number: i32, found: &Found) -> S3Result<Piece> {
        let size = found.size();
        let parts = found.version.as_ref().map_or(Some(vec![size]), about::parts_of);
        let parts = parts
            .ok_or_else(|| error::not_offered("parts of this object, which it does not know any more"))?;
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let Some((at, length)) = at.and_then(|at| Some((at, *parts.get(at)?))) else {
            let message = format!("the object came in {} parts", parts.len());
            return Err(error::custom("InvalidPartNumber", http::StatusCode::RANGE_NOT_SATISFIABLE, message));
        };
        if let [_] = parts[..] {
            // An empty one has no range that could be named.
            return Ok(if size == 0 {
                Piece { range: None, length: 0, named: None, parts: None }
            } else {
                Piece::some(0..size, size)
            });
        }
        let begin: u64 = parts[..at].iter().sum();
        Ok(Piece { parts: i32::try_from(parts.len()).ok(), ..Piece::some(begin..begin + length, size) })
    }
}

impl<B: Backend> Gateway<B> {
    /// An object or a version of it, if the caller may read it.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `NoSuchBucket`, `AccessDenied`, and `MethodNotAllowed` for delete markers.
    pub(crate) async fn found(
        &self,
        caller: AccountId,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<Found> {
        let (wanted, named) = (Key::of_old(key), version.map(VersionName::of).transpose()?);
        let look = move |files: &Files, space| versions::look(files, space, wanted.as_ref(), named);
        match self.look_in(caller, bucket, Access::Read, look).await? {
            Looked::Object(found) => Ok(*found),
            Looked::Marker(file) => Err(versions::marked(key, file, named.is_some())),
            Looked::NoKey => Err(s3_error!(NoSuchKey, "there is no object '{key}'")),
            Looked::NoVersion => Err(s3_error!(NoSuchVersion, "there is no such version of '{key}'")),
        }
    }

    /// Stores the bytes of a body, which must be what its sender says.
    pub(crate) async fn take_in(
        &self,
        caller: AccountId,
        said: Said,
        body: Option<StreamingBlob>,
    ) -> S3Result<Stored> {
        let (digest, bytes) = said.watch(body);
        let (blob, _) = self.backend.store(caller, bytes).await?;
        Ok(Stored { blob, seen: said.check(digest)? })
    }

    /// Where an object is to be put, what must lie there, and whether there are versions.
    pub(crate) async fn place(
        &self,
        caller: AccountId,
        bucket: &str,
        key: &Key,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<(SpaceId, Condition, bool)> {
        let key = key.clone();
        let look = move |files: &Files, space| {
            (space, find(files, space, &key), versions::has_versions(files, space))
        };
        let (space, there, versioned) = self.look_in(caller, bucket, Access::Write, look).await?;
        let version = there.and_then(|view| Found::of(space, view, versioned).version);
        let condition = conditions::for_put(if_match.as_ref(), if_none_match.as_ref(), version.as_ref())?;
        Ok((space, condition, versioned))
    }

    pub(crate) async fn put_object(
        &self,
        caller: AccountId,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        check_whole(&request.uri)?;
        let said = Said::by(&request.headers, request.trailing_headers)?;
        let mut input = request.input;
        about::refuse(&[("appending", input.write_offset_bytes.is_some_and(|offset| offset != 0))])?;
        let described = described!(input);
        let key = Key::of_new(&input.key)?;
        let (if_match, if_none_match) = (input.if_match.take(), input.if_none_match.take());
        let (space, condition, versioned) =
            self.place(caller, &input.bucket, &key, if_match, if_none_match).await?;
        let mut about = described.into_about()?;
        let path = match key {
            Key::File(path) => path,
            Key::Folder(path) => return self.put_folder(caller, space, path, input.body).await,
        };
        let stored = self.take_in(caller, said, input.body).await?;
        about::set_seen(&mut about, &stored.seen);
        let put = FilePut { path, blob: stored.blob, about, condition };
        let placed = self.ask_one(caller, FilesCommand::PutFiles { space, files: vec![put] }).await?;
        let mut output = PutObjectOutput {
            e_tag: strong(hex(&stored.seen.md5)),
            version_id: versions::told(placed, versioned),
            ..PutObjectOutput::default()
        };
        tell_sums!(output, stored.seen.told());
        Ok(S3Response::new(output))
    }

    /// A folder that stays, which S3 knows as an empty object.
    async fn put_folder(
        &self,
        caller: AccountId,
        space: SpaceId,
        path: FilePath,
        body: Option<StreamingBlob>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let mut bytes = futures_util::stream::iter(body).flatten();
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| s3_error!(IncompleteBody, "the body broke off: {error}"))?;
            if !piece.is_empty() {
                return Err(s3_error!(InvalidArgument, "'{path}/' is the key of a folder: it has no bytes"));
            }
        }
        self.order(caller, FilesCommand::MakeFolder { space, path }).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: strong(EMPTY), ..PutObjectOutput::default() }))
    }

    pub(crate) async fn get_object(
        &self,
        caller: AccountId,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let mut input = request.input;
        let found = self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        let conditions: Conditions = conditions!(input);
        conditions.check_read(&found.tag(), found.changed)?;
        let piece = Piece::of(input.range, input.part_number, &found)?;
        let body = match &found.version {
            None => Body::empty(),
            Some(version) => {
                let pieces = self.backend.read(version.blob, piece.range.clone()).await?;
                Body::http_body_unsync(http_body_util::StreamBody::new(
                    pieces.map(|piece| piece.map(Frame::data)),
                ))
            }
        };
        let head = head(&found, input.checksum_mode.is_some() && piece.range.is_none(), &piece)?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: head.accept_ranges,
            body: Some(body.into()),
            cache_control: head.cache_control,
            checksum_crc32: head.checksum_crc32,
            checksum_crc32c: head.checksum_crc32c,
            checksum_crc64nvme: head.checksum_crc64nvme,
            checksum_sha1: head.checksum_sha1,
            checksum_sha256: head.checksum_sha256,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            content_length: head.content_length,
            content_range: head.content_range,
            content_type: head.content_type,
            e_tag: head.e_tag,
            expires: head.expires,
            last_modified: head.last_modified,
            metadata: head.metadata,
            parts_count: head.parts_count,
            tag_count: tag_count(&found),
            version_id: head.version_id,
            ..GetObjectOutput::default()
        }))
    }

    pub(crate) async fn head_object(
        &self,
        caller: AccountId,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let mut input = request.input;
        let found = self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        let conditions: Conditions = conditions!(input);
        conditions.check_read(&found.tag(), found.changed)?;
        let piece = Piece::of(input.range, input.part_number, &found)?;
        let output = head(&found, input.checksum_mode.is_some() && piece.range.is_none(), &piece)?;
        let is_part = piece.range.is_some();
        let status = is_part.then_some(http::StatusCode::PARTIAL_CONTENT);
        let mut response = S3Response { status, ..S3Response::new(output) };
        // The library knows it of GetObject only.
        if let Some(count) = tag_count(&found) {
            response.headers.insert("x-amz-tagging-count", http::HeaderValue::from(count));
        }
        Ok(response)
    }

    pub(crate) async fn get_object_attributes(
        &self,
        caller: AccountId,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = request.input;
        let found = self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        // Clients send them in one header or in several.
        let wanted: Vec<&str> =
            input.object_attributes.iter().flat_map(|one| one.as_str().split(',')).collect();
        let wants = |what: &str| wanted.iter().any(|one| one.trim() == what);
        let sums = found.version.as_ref().map(|version| about::told(&version.about).sums);
        let version = found.version.as_ref().filter(|_| wants(ObjectAttributes::OBJECT_PARTS));
        let parts =
            version.and_then(|version| parts_told(version, input.max_parts, input.part_number_marker));
        Ok(S3Response::new(GetObjectAttributesOutput {
            version_id: found.told_id(),
            checksum: sums.filter(|_| wants(ObjectAttributes::CHECKSUM)),
            e_tag: strong(found.tag()).filter(|_| wants(ObjectAttributes::ETAG)),
            last_modified: Some(timestamp(found.changed)),
            object_parts: parts,
            object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| found.size() as i64),
            storage_class: wants(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            ..GetObjectAttributesOutput::default()
        }))
    }

    pub(crate) async fn delete_object(
        &self,
        caller: AccountId,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let conditions = input.if_match.is_some() || input.if_match_size.is_some();
        about::refuse(&[("conditions on what is deleted", conditions)])?;
        let mut results = self.delete(caller, &input.bucket, vec![(input.key, input.version_id)]).await?;
        let gone = results.pop().unwrap_or_else(|| Ok(Gone::default()))?;
        let output = DeleteObjectOutput {
            delete_marker: gone.is_marker.then_some(true),
            version_id: gone.version,
            ..DeleteObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(crate) async fn delete_objects(
        &self,
        caller: AccountId,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        if delete.objects.is_empty() || delete.objects.len() > DELETED {
            return Err(s3_error!(MalformedXML, "name 1 to {DELETED} objects"));
        }
        let strange = delete
            .objects
            .iter()
            .any(|one| one.e_tag.is_some() || one.size.is_some() || one.last_modified_time.is_some());
        about::refuse(&[("conditions on what is deleted", strange)])?;
        let keys: Vec<_> = delete.objects.into_iter().map(|one| (one.key, one.version_id)).collect();
        let results = self.delete(caller, &bucket, keys.clone()).await?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ((key, version_id), result) in keys.into_iter().zip(results) {
            match result {
                Ok(_) if delete.quiet == Some(true) => {}
                Ok(Gone { version, is_marker }) => deleted.push(DeletedObject {
                    delete_marker: is_marker.then_some(true),
                    delete_marker_version_id: version.filter(|_| is_marker),
                    key: Some(key),
                    version_id,
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    version_id,
                }),
            }
        }
        let output = DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    /// Deletes objects, or versions of them; what is not there is deleted already.
    async fn delete(
        &self,
        caller: AccountId,
        bucket: &str,
        keys: Vec<(String, Option<String>)>,
    ) -> S3Result<Vec<S3Result<Gone>>> {
        let names: Vec<S3Result<Option<VersionName>>> =
            keys.iter().map(|(_, version)| version.as_deref().map(VersionName::of).transpose()).collect();
        let all = names.iter().filter_map(|name| name.as_ref().ok().copied().flatten()).collect();
        let look = move |files: &Files, space| {
            let deeds = keys.into_iter().zip(names).map(|((key, version), name)| {
                let (key, name) = (Key::of_old(&key), name?);
                let deed =
                    key.map_or(Ok(Deed::Nothing), |key| versions::deed(files, space, &key, name, &all))?;
                let is_marker = matches!(name, Some(VersionName::Marker(_)));
                Ok((deed, Gone { version, is_marker }))
            });
            (space, versions::has_versions(files, space), deeds.collect::<Vec<S3Result<_>>>())
        };
        let (space, versioned, deeds) = self.look_in(caller, bucket, Access::Write, look).await?;
        let (mut removed, mut cut, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        let mut results: Vec<S3Result<Gone>> = Vec::with_capacity(deeds.len());
        for (n, deed) in deeds.into_iter().enumerate() {
            results.push(deed.map(|(deed, gone)| {
                match deed {
                    Deed::Nothing => {}
                    Deed::Remove(path) => removed.push((n, path)),
                    Deed::Release(path) => folders.push((n, path)),
                    Deed::Version(command) => cut.push((n, command)),
                }
                gone
            }));
        }
        if !removed.is_empty() {
            let (places, paths): (Vec<usize>, Vec<FilePath>) = removed.into_iter().unzip();
            let command = FilesCommand::Remove { space, paths, recursive: false, forever: false };
            for (n, result) in places.into_iter().zip(self.ask_each(caller, command).await?) {
                results[n] = gone(result, versioned);
            }
        }
        // They are handed over in their order, and go into the log together.
        let cuts =
            cut.into_iter().map(|(n, command)| async move { (n, self.backend.ask(caller, command).await) });
        let mut cuts = futures_util::stream::iter(cuts).buffered(CUTS_AT_ONCE);
        while let Some((n, result)) = cuts.next().await {
            if let Err(error) = cut_away(result) {
                results[n] = Err(error);
            }
        }
        // Folders come last: what lay in them is gone by then.
        for (n, path) in folders.into_iter().rev() {
            let released = self.order(caller, FilesCommand::ReleaseFolder { space, path }).await;
            results[n] = released.map(|()| Gone::default());
        }
        Ok(results)
    }
}

/// A part that names its upload or its number only, not both, must not take the place of a whole object.
///
/// # Errors
/// `InvalidArgument`.
fn check_whole(uri: &http::Uri) -> S3Result<()> {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let is_part = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        name == "uploadId" || name == "partNumber"
    };
    match pairs.any(is_part) {
        true => Err(s3_error!(InvalidArgument, "a part is named by uploadId and partNumber, both of them")),
        false => Ok(()),
    }
}

/// How many tags an object has, if it has some.
fn tag_count(found: &Found) -> Option<i32> {
    let count = about::tags_of(&found.version.as_ref()?.about).count();
    i32::try_from(count).ok().filter(|count| *count > 0)
}

/// What was deleted.
#[derive(Default)]
struct Gone {
    /// The version that went, or the delete marker that came or went.
    version: Option<String>,
    is_marker: bool,
}

/// What was not there any more is gone, too.
fn gone(result: Result<Placed, FilesRefusal>, versioned: bool) -> S3Result<Gone> {
    match result {
        Ok(placed) if versioned => {
            Ok(Gone { version: Some(VersionName::Marker(placed.file).to_string()), is_marker: true })
        }
        Ok(_) | Err(FilesRefusal::NoFile { .. }) => Ok(Gone::default()),
        Err(refusal) => Err(error::files(refusal)),
    }
}

/// The same for a version, or a marker.
fn cut_away(result: Result<Done, Failure>) -> S3Result<()> {
    use FilesRefusal::{NoVersion, NotInTrash};
    match result {
        Ok(_) | Err(Failure::Refused(Refusal::Files(NoVersion { .. } | NotInTrash { .. }))) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// What is told of an object before its bytes.
fn head(found: &Found, with_sums: bool, piece: &Piece) -> S3Result<HeadObjectOutput> {
    let length = i64::try_from(piece.length).map_err(|error| s3_error!(InternalError, "{error}"))?;
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(length),
        content_range: piece.named.clone(),
        content_type: Some(FOLDER.to_owned()),
        e_tag: strong(found.tag()),
        last_modified: Some(timestamp(found.changed)),
        parts_count: piece.parts,
        version_id: found.told_id(),
        ..HeadObjectOutput::default()
    };
    if let Some(version) = &found.version {
        let about::Told { described, sums, .. } = about::told(&version.about);
        output.cache_control = described.cache_control;
        output.content_disposition = described.content_disposition;
        output.content_encoding = described.content_encoding;
        output.content_language = described.content_language;
        output.content_type = described.content_type;
        output.expires = described.expires;
        output.metadata = described.metadata;
        if with_sums {
            tell_sums!(output, sums);
        }
    }
    Ok(output)
}
