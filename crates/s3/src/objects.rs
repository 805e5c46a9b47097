//! Objects: put, read, delete.

use std::ops::Range;

use futures_util::StreamExt;
use http_body::Frame;
use pumasi_core::{Access, Condition, FileKind, FilePut, FileView, FilesCommand, FilesRefusal, Version};
use pumasi_types::{AccountId, FilePath, Hash, SpaceId, Time};
use s3s::dto::*;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use crate::about::{self, described};
use crate::backend::Backend;
use crate::conditions::{self, Conditions, conditions, strong, timestamp};
use crate::digest::{Said, Seen, hex};
use crate::error;
use crate::gateway::{Gateway, find};
use crate::key::Key;

/// Keys in one request.
const DELETED: usize = 1_000;
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
}

impl Found {
    pub(crate) fn of(space: SpaceId, view: FileView) -> Found {
        match view.kind {
            FileKind::File(version) => {
                Found { space, path: view.path, changed: version.put, version: Some(version) }
            }
            FileKind::Folder(_) => Found { space, path: view.path, changed: view.changed, version: None },
        }
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
}

impl Piece {
    /// # Errors
    /// `InvalidRange`, `NotImplemented`.
    fn of(range: Option<s3s::dto::Range>, part: Option<i32>, found: &Found) -> S3Result<Piece> {
        let size = found.size();
        match (range, part) {
            (None, None) => Ok(Piece { range: None, length: size, named: None }),
            (Some(range), None) => {
                let bytes = range.check(size);
                let bytes = bytes.map_err(|_| s3_error!(InvalidRange, "the object has {size} bytes"))?;
                let named = Some(format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1));
                Ok(Piece { length: bytes.end - bytes.start, range: Some(bytes), named })
            }
            _ => Err(error::not_offered("reading by the number of a part")),
        }
    }
}

impl<B: Backend> Gateway<B> {
    /// An object, if the caller may read it.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchBucket`, `AccessDenied`.
    pub(crate) async fn found(
        &self,
        caller: AccountId,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<Found> {
        if version.is_some_and(|version| version != "null") {
            return Err(s3_error!(NoSuchVersion, "objects have one version here, `null`"));
        }
        let wanted = Key::of_old(key);
        let look = move |files: &pumasi_core::Files, space| {
            wanted.and_then(|key| find(files, space, &key)).map(|view| Found::of(space, view))
        };
        let found = self.look_in(caller, bucket, Access::Read, look).await?;
        found.ok_or_else(|| s3_error!(NoSuchKey, "there is no object '{key}'"))
    }

    /// Stores the bytes of a body, which must be what its sender says.
    pub(crate) async fn take_in(
        &self,
        caller: AccountId,
        said: Said,
        body: Option<StreamingBlob>,
    ) -> S3Result<Stored> {
        let (digest, bytes) = said.watch(body);
        let (blob, _) = self.backend.store(caller, bytes, None).await?;
        Ok(Stored { blob, seen: said.check(digest)? })
    }

    /// Where an object is to be put, and what must lie there.
    pub(crate) async fn place(
        &self,
        caller: AccountId,
        bucket: &str,
        key: &Key,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<(SpaceId, Condition)> {
        let key = key.clone();
        let look = move |files: &pumasi_core::Files, space| (space, find(files, space, &key));
        let (space, there) = self.look_in(caller, bucket, Access::Write, look).await?;
        let version = there.and_then(|view| Found::of(space, view).version);
        let condition = conditions::for_put(if_match.as_ref(), if_none_match.as_ref(), version.as_ref())?;
        Ok((space, condition))
    }

    pub(crate) async fn put_object(
        &self,
        caller: AccountId,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let said = Said::by(&request.headers, request.trailing_headers);
        let mut input = request.input;
        about::refuse(&[("appending", input.write_offset_bytes.is_some_and(|offset| offset != 0))])?;
        let described = described!(input);
        let key = Key::of_new(&input.key)?;
        let (if_match, if_none_match) = (input.if_match.take(), input.if_none_match.take());
        let (space, condition) = self.place(caller, &input.bucket, &key, if_match, if_none_match).await?;
        let mut about = described.into_about()?;
        let path = match key {
            Key::File(path) => path,
            Key::Folder(path) => return self.put_folder(caller, space, path, input.body).await,
        };
        let stored = self.take_in(caller, said, input.body).await?;
        about::set_seen(&mut about, &stored.seen);
        let put = FilePut { path, blob: stored.blob, about, condition };
        self.ask_one(caller, FilesCommand::PutFiles { space, files: vec![put] }).await?;
        let sums = crate::digest::sums_of(stored.seen.sums.iter().map(|(name, sum)| (*name, sum.as_str())));
        Ok(S3Response::new(PutObjectOutput {
            e_tag: strong(hex(&stored.seen.md5)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..PutObjectOutput::default()
        }))
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
            tag_count: tag_count(&found),
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
        Ok(S3Response { status, ..S3Response::new(output) })
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
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: sums.filter(|_| wants(ObjectAttributes::CHECKSUM)),
            e_tag: strong(found.tag()).filter(|_| wants(ObjectAttributes::ETAG)),
            last_modified: Some(timestamp(found.changed)),
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
        about::refuse(&[
            ("conditions on what is deleted", input.if_match.is_some() || input.if_match_size.is_some()),
            ("versions", input.version_id.as_ref().is_some_and(|version| version != "null")),
        ])?;
        let mut results = self.delete(caller, &input.bucket, vec![input.key]).await?;
        results.pop().unwrap_or(Ok(()))?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
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
        let strange = delete.objects.iter().any(|one| {
            let versioned = one.version_id.as_ref().is_some_and(|version| version != "null");
            versioned || one.e_tag.is_some() || one.size.is_some() || one.last_modified_time.is_some()
        });
        about::refuse(&[("versions of, and conditions on, what is deleted", strange)])?;
        let keys: Vec<String> = delete.objects.into_iter().map(|one| one.key).collect();
        let results = self.delete(caller, &bucket, keys.clone()).await?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (key, result) in keys.into_iter().zip(results) {
            match result {
                Ok(()) if delete.quiet == Some(true) => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
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

    /// Deletes objects; what is not there is deleted already.
    async fn delete(
        &self,
        caller: AccountId,
        bucket: &str,
        keys: Vec<String>,
    ) -> S3Result<Vec<S3Result<()>>> {
        let look = move |files: &pumasi_core::Files, space| {
            let there = |key: String| Key::of_old(&key).filter(|key| find(files, space, key).is_some());
            (space, keys.into_iter().map(there).collect::<Vec<_>>())
        };
        let (space, keys) = self.look_in(caller, bucket, Access::Write, look).await?;
        let mut results: Vec<S3Result<()>> = keys.iter().map(|_| Ok(())).collect();
        let (mut paths, mut places) = (Vec::new(), Vec::new());
        for (n, key) in keys.iter().enumerate() {
            if let Some(Key::File(path)) = key {
                paths.push(path.clone());
                places.push(n);
            }
        }
        if !paths.is_empty() {
            let command = FilesCommand::Remove { space, paths, recursive: false, forever: false };
            for (n, result) in places.into_iter().zip(self.ask_each(caller, command).await?) {
                results[n] = gone(result.map(drop));
            }
        }
        // Folders come last: what lay in them is gone by then.
        for (n, key) in keys.into_iter().enumerate().rev() {
            if let Some(Key::Folder(path)) = key {
                results[n] = self.order(caller, FilesCommand::ReleaseFolder { space, path }).await;
            }
        }
        Ok(results)
    }
}

/// How many tags an object has, if it has some.
fn tag_count(found: &Found) -> Option<i32> {
    let count = about::tags_of(&found.version.as_ref()?.about).count();
    i32::try_from(count).ok().filter(|count| *count > 0)
}

/// What was not there any more is gone, too.
fn gone(result: Result<(), FilesRefusal>) -> S3Result<()> {
    match result {
        Err(FilesRefusal::NoFile { .. }) => Ok(()),
        other => other.map_err(error::files),
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
            output.checksum_crc32 = sums.checksum_crc32;
            output.checksum_crc32c = sums.checksum_crc32c;
            output.checksum_crc64nvme = sums.checksum_crc64nvme;
            output.checksum_sha1 = sums.checksum_sha1;
            output.checksum_sha256 = sums.checksum_sha256;
        }
    }
    Ok(output)
}
