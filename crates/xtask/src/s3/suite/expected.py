"""What of Ceph's s3-tests a hub does not do as S3 does: the answer that it gives instead, and why."""

import expected_more

PUBLIC = ("AccessControlListNotSupported", "lists of access are off: members and links say who may do what, in one place")
CEPH = "an extension of Ceph's, which S3 itself does not have"
CANNED = ["acl_canned_during_create", "acl_canned", "acl_canned_publicreadwrite", "acl_canned_authenticatedread"]
KINDS = ["private", "publicread", "publicreadwrite"]

# Checks that fail: part of the answer, or of the complaint about it, and the reason.
FAILURES = {
    # -- listing
    **dict.fromkeys(["bucket_list_delimiter_basic", "bucket_listv2_delimiter_basic"],
                    ("KeyConflict", "their keys `foo/bar` and `foo/bar/xyzzy`: a file is no folder")),
    **dict.fromkeys(["bucket_list_unordered", "bucket_listv2_unordered"], ("it was done", CEPH)),
    "bucket_list_prefix_unreadable":
        ("Prefix: '%0A'", "encoded, as the client asks for it and S3 documents; boto3 decodes it in version 2 only"),
    # -- buckets
    "account_usage": ("no QuotaMaxBuckets", CEPH),
    **dict.fromkeys(["head_bucket_usage", "bucket_head_extended"], ("x-rgw-object-count: None", CEPH)),
    "bucket_recreate_not_overriding":
        ("BucketAlreadyOwnedByYou", "as S3 answers in all regions but its first, and no object is touched"),
    **dict.fromkeys(["bucket_recreate_overwrite_acl", "bucket_recreate_new_acl"], PUBLIC),
    "list_buckets_anonymous": ("AccessDenied", "who has no key has no buckets, as S3 itself answers"),
    # -- access
    **dict.fromkeys([f"{what}_{acl}" for what in ["bucket", "object"] for acl in CANNED], PUBLIC),
    **dict.fromkeys([f"access_bucket_{bucket}_object_{object}" for bucket in KINDS for object in KINDS], PUBLIC),
    **dict.fromkeys([f"access_bucket_private_objectv2_{object}" for object in KINDS], PUBLIC),
    **dict.fromkeys(["access_bucket_private_object_private", "access_bucket_private_objectv2_private"],
                    ("(404, 'NoSuchBucket')", "a bucket that one is no member of looks like one that is not there")),
    **dict.fromkeys(["bucket_concurrent_set_canned_acl", "object_header_acl_grants", "bucket_header_acl_grants",
                     "bucket_list_objects_anonymous", "bucket_listv2_objects_anonymous", "object_raw_get",
                     "object_raw_get_bucket_gone", "object_raw_get_object_gone", "object_raw_get_bucket_acl",
                     "object_raw_get_object_acl", "object_raw_authenticated", "object_raw_authenticated_bucket_acl",
                     "object_raw_authenticated_object_acl", "object_delete_key_bucket_gone",
                     "object_anon_put_write_access"], PUBLIC),
    # -- objects
    "object_set_get_unicode_metadata": ("=?UTF-8?B?", "written as in mail (RFC 2047), as S3 itself does"),
    "versioning_concurrent_multi_object_delete":
        ("5, not 15", "putting the same bytes again keeps no older version of them, as nothing is lost"),
    # -- conditions
    "put_object_ifmatch_nonexisted_failed":
        ("(404, 'NoSuchKey')", "as S3 itself and the suite's newer `put_object_if_match` have it"),
    # -- copies
    "object_copy_not_owned_bucket": ("(404,", "a bucket that one is no member of looks like one that is not there"),
    "object_copy_not_owned_object_bucket": ("NotImplemented", PUBLIC[1]),
    "object_copy_canned_acl": PUBLIC,
    # -- multipart
    "list_multipart_upload_owner": PUBLIC,
    # -- attributes
    **dict.fromkeys([f"get_{what}object_attributes" for what in ["", "checksum_", "multipart_", "single_multipart_",
                                                                 "paginated_multipart_"]],
                    ("ETag: '\"", "this one tag S3 writes without quotation marks, and the library with them")),
    "get_versioned_object_attributes":
        ("NoSuchVersion", "putting the same bytes again keeps no older version of them, as nothing is lost"),
    "delete_marker_nonversioned": ("x-amz-delete-marker: None", "told where there is one"),
    "delete_marker_suspended": ("NotImplemented", expected_more.SUSPENDED[1]),
    **expected_more.FAILURES,
}

FORMS = ("AccessDenied", "forms in browsers: a presigned PUT does the same")
GRANTS = ("NotImplemented", PUBLIC[1])

# Patterns of public tests whose groups are not offered as a whole, so that there are no checks for them. What is
# answered instead is checked by `boto.py`.
NOT_OFFERED = {
    "post_object_*": FORMS,
    "lifecycle*": ("NotImplemented", "what a space keeps, and for how long, `pumasi space` says"),
    **dict.fromkeys(["logging_toggle", "bucket_logging_*"], ("NotImplemented", "the hub's access log is the hub's")),
    "delete_object*if_match*": ("NotImplemented", "S3 itself has it in its directory buckets only"),
    "*multipart_checksum_object_attributes": ("not told", "parts are checked when they come"),
    **dict.fromkeys(["bucket_acl_grant_*", "bucket_acl_no_grants", "bucket_acl_revoke_all", "object_acl",
                     "object_acl_write", "object_acl_writeacp", "object_acl_read", "object_acl_readacp",
                     "object_acl_full_control_*", "object_acl_canned_bucketowner*"], GRANTS),
    **expected_more.NOT_OFFERED,
}
