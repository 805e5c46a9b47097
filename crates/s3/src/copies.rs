//! Objects made of others: no byte travels.

use futures_util::{StreamExt, TryStreamExt};
use pumasi_core::{About, Condition, Done, FilePut, FilesCommand, FilesDone};
use pumasi_types::{AccountId, ByteSize, Hash, SpaceId};
use s3s::dto::*;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use crate::about::{self, described};
use crate::backend::{Backend, Noted};
use crate::conditions::{Conditions, strong};
use crate::digest::Said;
use crate::error;
use crate::gateway::Gateway;
use crate::key::Key;
use crate::objects::Found;
use crate::versions;

/// How often something that others change at the same time is tried.
const TRIES: usize = 4;

/// The conditions on what is copied.
macro_rules! source_conditions {
    ($input:ident) => {
        Conditions {
            matches: $input.copy_source_if_match.take(),
            differs: $input.copy_source_if_none_match.take(),
            changed_since: $input.copy_source_if_modified_since.take(),
            unchanged_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}

impl<B: Backend> Gateway<B> {
    /// What is copied, if the caller may read it and it is as wanted.
    pub(crate) async fn source(
        &self,
        caller: AccountId,
        source: &CopySource,
        conditions: &Conditions,
    ) -> S3Result<Found> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(error::not_offered("access points"));
        };
        let found = self.found(caller, bucket, key, version_id.as_deref()).await;
        self.backend.note(Noted::Copies { key });
        let found = found?;
        conditions.check_copied(&found.tag(), found.changed)?;
        Ok(found)
    }

    /// Claims the bytes of an object for its reader, so that they can be given to another; what they are.
    async fn claim(&self, caller: AccountId, found: &Found) -> S3Result<(Hash, ByteSize)> {
        if let (true, Some(version)) = (found.is_old, &found.version) {
            // Only what lies at a path can be claimed by it.
            let old = (version.blob, version.size);
            self.backend.claim(caller, old).await?;
            return Ok(old);
        }
        let command = FilesCommand::ClaimFiles { space: found.space, paths: vec![found.path.clone()] };
        match self.backend.ask(caller, command).await? {
            Done::Files(FilesDone::Claimed(each)) => {
                let one = each.into_iter().next().ok_or_else(|| error::unexpected(&"nothing"))?;
                one.map_err(error::files)
            }
            other => Err(error::unexpected(&other)),
        }
    }

    pub(crate) async fn copy_object(
        &self,
        caller: AccountId,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let mut input = request.input;
        let conditions = source_conditions!(input);
        let (described, key) = (described!(input), Key::of_new(&input.key)?);
        let replaces = is_replaced(input.metadata_directive.as_ref().map(|directive| directive.as_str()))?;
        let new_tags = is_replaced(input.tagging_directive.as_ref().map(|directive| directive.as_str()))?;
        let wanted = described.into_about()?;
        for _ in 0..TRIES {
            let found = self.source(caller, &input.copy_source, &conditions).await?;
            let (space, _, versioned) = self.place(caller, &input.bucket, &key, None, None).await?;
            let (Some(version), Key::File(path)) = (&found.version, &key) else {
                return self.copy_folder(caller, &found, space, &key).await;
            };
            let is_itself = found.space == space && found.path == *path && !found.is_old;
            if is_itself && !replaces && !new_tags {
                return Err(s3_error!(
                    InvalidRequest,
                    "an object copied onto itself must be given other metadata"
                ));
            }
            if self.claim(caller, &found).await?.0 != version.blob {
                continue;
            }
            let about = about_copy(&version.about, wanted.clone(), replaces, new_tags)?;
            let put = FilePut { path: path.clone(), blob: version.blob, about, condition: Condition::Any };
            let placed = self.ask_one(caller, FilesCommand::PutFiles { space, files: vec![put] }).await?;
            let mut copied = copied(found.tag());
            copied.output.copy_source_version_id = found.told_id();
            copied.output.version_id = versions::told(placed, versioned);
            return Ok(copied);
        }
        Err(s3_error!(OperationAborted, "others change the source all the time: try again"))
    }

    /// Folders have nothing but a name.
    async fn copy_folder(
        &self,
        caller: AccountId,
        found: &Found,
        space: SpaceId,
        key: &Key,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        match (&found.version, key) {
            (None, Key::Folder(path)) => {
                self.order(caller, FilesCommand::MakeFolder { space, path: path.clone() }).await?;
                Ok(copied(found.tag()))
            }
            (None, Key::File(_)) => Err(s3_error!(InvalidArgument, "the copy of a folder must end with `/`")),
            (Some(_), _) => Err(s3_error!(InvalidArgument, "the copy of a file cannot end with `/`")),
        }
    }

    /// Changes what an object says of itself: bucket, key, and its version if one is named.
    pub(crate) async fn rewrite(
        &self,
        caller: AccountId,
        (bucket, key, version): (&str, &str, Option<&str>),
        change: impl Fn(&mut About) -> S3Result<()>,
    ) -> S3Result<()> {
        let path = Key::of_new(key)?;
        for _ in 0..TRIES {
            let found = self.found(caller, bucket, key, version).await?;
            about::refuse(&[("other tags for older versions", found.is_old)])?;
            let Some(version) = &found.version else { return Err(error::not_offered("tags of folders")) };
            if self.claim(caller, &found).await?.0 != version.blob {
                continue;
            }
            let mut about = version.about.clone();
            change(&mut about)?;
            let condition = Condition::Version(version.id);
            let put = FilePut { path: path.path().clone(), blob: version.blob, about, condition };
            let command = FilesCommand::PutFiles { space: found.space, files: vec![put] };
            match self.ask_one(caller, command).await {
                Err(error) if *error.code() == s3s::S3ErrorCode::PreconditionFailed => {}
                done => return done.map(drop),
            }
        }
        Err(s3_error!(OperationAborted, "others change the object all the time: try again"))
    }

    pub(crate) async fn upload_part_copy(
        &self,
        caller: AccountId,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let mut input = request.input;
        let conditions = source_conditions!(input);
        about::refuse(&[("keys of customers", input.sse_customer_key.is_some())])?;
        let found = self.source(caller, &input.copy_source, &conditions).await?;
        let version = found.version.as_ref();
        let version = version.ok_or_else(|| s3_error!(InvalidRequest, "a folder has no bytes"))?;
        let range = match &input.copy_source_range {
            None => None,
            Some(text) => {
                let range = s3s::dto::Range::parse(text).ok();
                let range = range.filter(|range| matches!(range, s3s::dto::Range::Int { last: Some(_), .. }));
                let range =
                    range.ok_or_else(|| s3_error!(InvalidArgument, "write the range as bytes=0-9"))?;
                let s3s::dto::Range::Int { first, last } = range else {
                    return Err(error::unexpected(&range));
                };
                let last = last.filter(|last| *last < version.size.0);
                let last = last.ok_or_else(|| s3_error!(InvalidRange, "the source has {}", version.size))?;
                Some(first..last + 1)
            }
        };
        let pieces = self.backend.read(version.blob, range).await?;
        let body = Body::http_body_unsync(http_body_util::StreamBody::new(
            pieces.map_ok(http_body::Frame::data).boxed(),
        ));
        let number = input.part_number;
        let target = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let stored = self.take_part(caller, target, number, Said::default(), Some(body.into())).await?;
        let result = CopyPartResult {
            e_tag: strong(crate::digest::hex(&stored.seen.md5)),
            last_modified: Some(about::now()),
            ..CopyPartResult::default()
        };
        let output =
            UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() };
        Ok(S3Response::new(output))
    }
}

/// Whether something of the original is to be replaced.
fn is_replaced(directive: Option<&str>) -> S3Result<bool> {
    match directive {
        None | Some("" | "COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(s3_error!(InvalidArgument, "'{other}' is no directive: write COPY or REPLACE")),
    }
}

/// What a copy says of itself.
fn about_copy(original: &About, wanted: About, replaces: bool, new_tags: bool) -> S3Result<About> {
    let pairs = |about: &About| {
        about::tags_of(about).map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let tags = pairs(if new_tags { &wanted } else { original });
    let mut about = if replaces { about::with_content_of(wanted, original) } else { original.clone() };
    about::set_tags(&mut about, tags)?;
    Ok(about)
}

fn copied(tag: String) -> S3Response<CopyObjectOutput> {
    let result = CopyObjectResult {
        e_tag: strong(tag),
        last_modified: Some(about::now()),
        ..CopyObjectResult::default()
    };
    S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() })
}
