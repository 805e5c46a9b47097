//! Buckets: spaces by another name.

use pumasi_core::{Access, FilesCommand, FilesRefusal, Refusal};
use pumasi_types::{AccountId, Duration};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::about;
use crate::backend::{Backend, Failure};
use crate::conditions::timestamp;
use crate::error;
use crate::gateway::Gateway;

/// Buckets in one answer.
const BUCKETS: usize = 1_000;

/// Who may do what is said by the members of a space: lists of access are off, and only what they would say anyway is taken.
/// Nothing is granted to anybody by a header.
///
/// # Errors
/// `AccessControlListNotSupported`.
pub(crate) fn check_acl(acl: Option<&str>, grants: bool) -> S3Result<()> {
    match acl {
        None | Some("" | "private" | "bucket-owner-full-control" | "bucket-owner-read") if !grants => Ok(()),
        _ => Err(s3_error!(
            AccessControlListNotSupported,
            "lists of access are off: `pumasi share` lets others read, `pumasi space` has members"
        )),
    }
}

/// Refuses the list of access of a request, and what it grants by headers.
macro_rules! check_grants {
    ($input:ident) => {
        check_acl(
            $input.acl.as_ref().map(|acl| acl.as_str()),
            $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write.is_some()
                || $input.grant_write_acp.is_some(),
        )
    };
}

/// An account as S3 shows owners.
pub(crate) fn owner(account: AccountId) -> Owner {
    Owner { display_name: Some(account.to_string()), id: Some(account.to_string()) }
}

/// An account as S3 shows those who began an upload.
pub(crate) fn initiator(account: AccountId) -> Initiator {
    Initiator { display_name: Some(account.to_string()), id: Some(account.to_string()) }
}

/// What the list of access of anything says.
fn grants(account: AccountId) -> Option<Grants> {
    let owner = owner(account);
    let grantee = Grantee {
        display_name: owner.display_name,
        email_address: None,
        id: owner.id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Some(Permission::from_static(Permission::FULL_CONTROL));
    Some(vec![Grant { grantee: Some(grantee), permission }])
}

/// Names that S3 gives to buckets: 3 to 63 lower-case letters, digits, `-` and `.`, not an address. Each of the labels
/// between the dots begins and ends with a letter or a digit, as those of hosts do.
fn is_bucket_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(is_plain))
            && label.bytes().all(|byte| is_plain(byte) || byte == b'-')
    };
    (3..=63).contains(&name.len())
        && name.split('.').all(is_label)
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

impl<B: Backend> Gateway<B> {
    pub(crate) async fn create_bucket(
        &self,
        caller: AccountId,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let input = request.input;
        about::refuse(&[("object lock", input.object_lock_enabled_for_bucket == Some(true))])?;
        check_grants!(input)?;
        let name = input.bucket;
        if !is_bucket_name(&name) {
            return Err(s3_error!(InvalidBucketName, "'{name}' cannot be the name of a bucket"));
        }
        let command = FilesCommand::CreateSpace { name: name.clone(), keep: Duration(0) };
        match self.backend.ask(caller, command).await {
            Ok(_) => {
                let location = Some(format!("/{name}"));
                Ok(S3Response::new(CreateBucketOutput { location }))
            }
            Err(Failure::Refused(Refusal::Files(refusal @ FilesRefusal::SpaceTaken { .. }))) => {
                match self.look_in(caller, &name, Access::Manage, |_, _| ()).await {
                    Ok(()) => Err(s3_error!(BucketAlreadyOwnedByYou, "you have the bucket '{name}' already")),
                    Err(_) => Err(error::files(refusal)),
                }
            }
            Err(failure) => Err(failure.into()),
        }
    }

    pub(crate) async fn delete_bucket(
        &self,
        caller: AccountId,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        // The trash goes with its space; in S3 what is left of deleted objects is in the way.
        let look = |files: &pumasi_core::Files, space| (space, files.removed_paths(space, "", None, 1));
        let (space, left) = self.look_in(caller, &request.input.bucket, Access::Manage, look).await?;
        if !left.items.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "versions of deleted objects are left: delete them first"));
        }
        self.order(caller, FilesCommand::RemoveSpace { space }).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(crate) async fn head_bucket(
        &self,
        caller: AccountId,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.look_in(caller, &request.input.bucket, Access::Read, |_, _| ()).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    pub(crate) async fn list_buckets(
        &self,
        caller: AccountId,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let (prefix, after) = (request.input.prefix, request.input.continuation_token);
        let most = request.input.max_buckets.and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(BUCKETS).clamp(1, BUCKETS);
        let wanted = prefix.clone().unwrap_or_default();
        let look = move |files: &pumasi_core::Files| {
            let spaces = files.spaces_of(caller).map(|(_, space)| (space.name.clone(), space.made));
            spaces.filter(|(name, _)| name.starts_with(&wanted)).collect::<Vec<_>>()
        };
        let mut spaces = self.backend.look(look).await?;
        spaces.sort();
        spaces.retain(|(name, _)| after.as_ref().is_none_or(|after| name > after));
        let more = spaces.len() > most;
        spaces.truncate(most);
        let next = spaces.last().filter(|_| more).map(|(name, _)| name.clone());
        let bucket = |(name, made)| Bucket {
            creation_date: Some(timestamp(made)),
            name: Some(name),
            ..Bucket::default()
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(spaces.into_iter().map(bucket).collect()),
            continuation_token: next,
            owner: Some(owner(caller)),
            prefix,
        }))
    }

    pub(crate) async fn get_bucket_location(
        &self,
        caller: AccountId,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.look_in(caller, &request.input.bucket, Access::Read, |_, _| ()).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    pub(crate) async fn get_bucket_ownership_controls(
        &self,
        caller: AccountId,
        request: S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
        self.look_in(caller, &request.input.bucket, Access::Read, |_, _| ()).await?;
        let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
        let rules = vec![OwnershipControlsRule { object_ownership }];
        let ownership_controls = Some(OwnershipControls { rules });
        Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls }))
    }

    pub(crate) async fn get_bucket_acl(
        &self,
        caller: AccountId,
        request: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        self.look_in(caller, &request.input.bucket, Access::Read, |_, _| ()).await?;
        let output = GetBucketAclOutput { grants: grants(caller), owner: Some(owner(caller)) };
        Ok(S3Response::new(output))
    }

    pub(crate) async fn put_bucket_acl(
        &self,
        caller: AccountId,
        request: S3Request<PutBucketAclInput>,
    ) -> S3Result<S3Response<PutBucketAclOutput>> {
        let input = request.input;
        self.look_in(caller, &input.bucket, Access::Write, |_, _| ()).await?;
        about::refuse(&[("lists of grants", input.access_control_policy.is_some())])?;
        check_grants!(input)?;
        Ok(S3Response::new(PutBucketAclOutput::default()))
    }

    pub(crate) async fn get_object_acl(
        &self,
        caller: AccountId,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let input = request.input;
        self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        let (grants, owner) = (grants(caller), Some(owner(caller)));
        Ok(S3Response::new(GetObjectAclOutput { grants, owner, ..GetObjectAclOutput::default() }))
    }

    pub(crate) async fn put_object_acl(
        &self,
        caller: AccountId,
        request: S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let input = request.input;
        self.found(caller, &input.bucket, &input.key, input.version_id.as_deref()).await?;
        about::refuse(&[("lists of grants", input.access_control_policy.is_some())])?;
        check_grants!(input)?;
        Ok(S3Response::new(PutObjectAclOutput::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_named_as_in_s3() {
        for good in ["abc", "a.b-c", "1bucket", "192.168.5.400"] {
            assert!(is_bucket_name(good), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["ab", "Abc", "a_b", "-abc", "abc-", "a..b", "a.-b", "a-.b", "192.168.5.4", ".abc", &long]
        {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }
}
