//! Tags of objects.

use pumasi_types::AccountId;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use crate::about;
use crate::backend::Backend;
use crate::gateway::Gateway;

impl<B: Backend> Gateway<B> {
    pub(crate) async fn get_object_tagging(
        &self,
        caller: AccountId,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = request.input;
        let found = self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        let version_id = found.told_id();
        let about = found.version.map(|version| version.about).unwrap_or_default();
        let tag =
            |(name, value): (&str, &str)| Tag { key: Some(name.to_owned()), value: Some(value.to_owned()) };
        let tag_set = about::tags_of(&about).map(tag).collect();
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id }))
    }

    pub(crate) async fn put_object_tagging(
        &self,
        caller: AccountId,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let input = request.input;
        let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        let tags: Vec<(String, String)> = input.tagging.tag_set.into_iter().map(pair).collect();
        let object = (input.bucket.as_str(), input.key.as_str(), input.version_id.as_deref());
        self.rewrite(caller, object, |about| about::set_tags(about, tags.clone())).await?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    pub(crate) async fn delete_object_tagging(
        &self,
        caller: AccountId,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let input = request.input;
        let object = (input.bucket.as_str(), input.key.as_str(), input.version_id.as_deref());
        self.rewrite(caller, object, |about| about::set_tags(about, Vec::new())).await?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }
}
