"""More of the list in `expected.py`: versions, tags, headers, and groups that are not offered as a whole."""

SUSPENDED = ("NotImplemented", "versions are not suspended: what a space keeps, and for how long, `pumasi space` says")
NULL = ("it was done", "what was put before there were versions has a number like all others, and is not called `null`")
PUBLIC = ("AccessControlListNotSupported", "lists of access are off: members and links say who may do what")

FAILURES = {
    # -- versions
    "versioning_bucket_create_suspend": SUSPENDED,
    "versioning_obj_suspend_versions": SUSPENDED,
    "versioning_obj_plain_null_version_overwrite_suspended": SUSPENDED,
    "versioning_bucket_atomic_upload_return_version_id": SUSPENDED,
    "versioning_bucket_multipart_upload_return_version_id": SUSPENDED,
    "versioning_obj_plain_null_version_removal": NULL,
    "versioning_obj_plain_null_version_overwrite": NULL,
    "versioning_multi_object_delete_with_marker_create":
        ("KeyError: 'VersionId'", "deleting what is not there leaves no marker: a marker is a file in the trash"),
    "versioned_object_acl": PUBLIC,
    "versioned_object_acl_no_version_specified": PUBLIC,
    # -- headers
    "100_continue": PUBLIC,
    "object_acl_create_contentlength_none": PUBLIC,
    # -- ranges
    "object_read_unreadable": ("NoSuchKey", "the key is text that can be read, once the client has written it as UTF-8"),
}

POLICIES = ("NotImplemented", "members and links say who may do what, in one place")
ENCRYPTION = ("NotImplemented", "it would be a lie: the store does not encrypt")

NOT_OFFERED = {
    "set_cors": ("NotImplemented", "not what a hub is for"),
    "cors_*": ("NotImplemented", "not what a hub is for"),
    "set_bucket_tagging": ("NotImplemented", "not what a hub is for"),
    "object_lock_*": ("NotImplemented", "not what a hub is for"),
    **dict.fromkeys(["encrypted_transfer_*", "encryption_*", "sse_*", "put_obj_enc_conflict_*", "*_bucket_encryption_*"],
                    ENCRYPTION),
    **dict.fromkeys(["bucket_policy*", "bucketv2_policy*", "*_bucket_policy_status", "user_policy",
                     "multipart_upload_on_a_bucket_with_policy", "*_tags_acl_public", "delete_tags_obj_public",
                     "*_public_block", "block_public_*", "ignore_public_acls"], POLICIES),
    "*_aws2": ("AccessDenied", "signatures of version 2 are old: all clients know version 4"),
}
