//! The operations of S3 that are offered, each handed to the file that does it.

use std::sync::Arc;

use pumasi_core::{Access, Done, FileView, Files, FilesCommand, FilesDone, FilesRefusal, Placed};
use pumasi_types::{AccountId, SpaceId};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::backend::{Backend, Failure, Noted};
use crate::error;
use crate::key::Key;

/// Carries out the requests of S3's clients.
pub struct Gateway<B> {
    pub(crate) backend: Arc<B>,
}

impl<B> Clone for Gateway<B> {
    fn clone(&self) -> Gateway<B> {
        Gateway { backend: Arc::clone(&self.backend) }
    }
}

/// What a request is called in its answer, as `x-amz-request-id` and in errors; an extension of the request.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Whose request it is; set once its signature has proved right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) AccountId);

/// Whose request it is.
///
/// # Errors
/// `AccessDenied`: nobody is served without a name.
pub(crate) fn caller<T>(request: &S3Request<T>) -> S3Result<AccountId> {
    let caller = request.extensions.get::<Caller>();
    caller.map(|caller| caller.0).ok_or_else(|| s3_error!(AccessDenied, "sign the request"))
}

/// The space of a bucket, if the caller may do this there.
pub(crate) fn space_of(
    files: &Files,
    caller: AccountId,
    bucket: &str,
    needed: Access,
) -> Result<SpaceId, FilesRefusal> {
    let none = || FilesRefusal::NoSpace { space: bucket.to_owned() };
    let space = files.space_named(bucket).ok_or_else(none)?;
    files.check(caller, space, needed)?;
    Ok(space)
}

/// What lies at a key.
pub(crate) fn find(files: &Files, space: SpaceId, key: &Key) -> Option<FileView> {
    use pumasi_core::FileKind;
    match key {
        Key::File(path) => files.find(space, path).filter(|view| matches!(view.kind, FileKind::File(_))),
        Key::Folder(path) => {
            let first = files.walk(space, &format!("{path}/"), None, false, 1).items.into_iter().next();
            first.filter(|view| matches!(view.kind, FileKind::Folder(_)) && view.path == *path)
        }
    }
}

impl<B: Backend> Gateway<B> {
    /// A gateway to a hub.
    pub fn new(backend: B) -> Gateway<B> {
        Gateway { backend: Arc::new(backend) }
    }

    /// Looks at a bucket in which the caller may do this.
    pub(crate) async fn look_in<T: Send + 'static>(
        &self,
        caller: AccountId,
        bucket: &str,
        needed: Access,
        look: impl FnOnce(&Files, SpaceId) -> T + Send + 'static,
    ) -> S3Result<T> {
        let wanted = bucket.to_owned();
        let looked = self.backend.look(move |files| match space_of(files, caller, &wanted, needed) {
            Ok(space) => (Some(space), Ok(look(files, space))),
            Err(refusal) => (files.space_named(&wanted), Err(refusal)),
        });
        let (space, looked) = looked.await?;
        self.backend.note(Noted::Bucket { bucket, space, refused: looked.as_ref().err() });
        looked.map_err(error::files)
    }

    /// Has something done that answers nothing.
    pub(crate) async fn order(&self, caller: AccountId, command: FilesCommand) -> S3Result<()> {
        self.backend.ask(caller, command).await?;
        Ok(())
    }

    /// Has something done to files, each on its own.
    pub(crate) async fn ask_each(
        &self,
        caller: AccountId,
        command: FilesCommand,
    ) -> Result<Vec<Result<Placed, FilesRefusal>>, Failure> {
        match self.backend.ask(caller, command).await? {
            Done::Files(FilesDone::Each(each)) => Ok(each),
            other => Err(Failure::Broken(format!("unexpected answer {other:?}"))),
        }
    }

    /// The same for one file.
    pub(crate) async fn ask_one(&self, caller: AccountId, command: FilesCommand) -> S3Result<Placed> {
        let each = self.ask_each(caller, command).await?;
        let one = each.into_iter().next().ok_or_else(|| error::unexpected(&"nothing"))?;
        one.map_err(error::files)
    }
}

/// One line for each operation: its name in the trait, what it takes and answers.
macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident;)*) => {
        #[async_trait::async_trait]
        impl<B: Backend> S3 for Gateway<B> {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    let caller = caller(&request)?;
                    let id = request.extensions.get::<RequestId>().cloned();
                    self.$name(caller, request).await.map_err(|mut error| {
                        self.backend.note(Noted::Refused { code: error.code().as_str() });
                        if let Some(RequestId(id)) = id {
                            error.set_request_id(id);
                        }
                        error
                    })
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
    copy_object: CopyObjectInput => CopyObjectOutput;
    create_bucket: CreateBucketInput => CreateBucketOutput;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput;
    delete_object: DeleteObjectInput => DeleteObjectOutput;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput;
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput;
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput;
    get_object: GetObjectInput => GetObjectOutput;
    get_object_acl: GetObjectAclInput => GetObjectAclOutput;
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput;
    head_bucket: HeadBucketInput => HeadBucketOutput;
    head_object: HeadObjectInput => HeadObjectOutput;
    list_buckets: ListBucketsInput => ListBucketsOutput;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput;
    list_objects: ListObjectsInput => ListObjectsOutput;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output;
    list_parts: ListPartsInput => ListPartsOutput;
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput;
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput;
    put_object: PutObjectInput => PutObjectOutput;
    put_object_acl: PutObjectAclInput => PutObjectAclOutput;
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput;
    upload_part: UploadPartInput => UploadPartOutput;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput;
}
