"""Copies of objects, within a bucket and between buckets, with and without versions."""

import os

from checks import add, check, other, refused, same
from multipart import upload

SOURCE, TARGET = "foo123bar", "bar321foo"


def place(bucket, key=SOURCE, **more):
    return {"Bucket": bucket.name, "Key": key, **more}


@check
def object_copy_zero_size(bucket):
    bucket.put(SOURCE, b"")
    bucket.copy(CopySource=place(bucket), Key=TARGET)
    same(bucket.get_object(Key=TARGET)["ContentLength"], 0)


@check
def object_copy_16m(bucket):
    body = os.urandom(16 << 20)
    bucket.put(SOURCE, body)
    bucket.copy(CopySource=place(bucket), Key=TARGET)
    assert bucket.read(TARGET) == body, "other bytes"


@check
def object_copy_same_bucket(bucket):
    bucket.put(SOURCE, b"foo")
    bucket.copy(CopySource=place(bucket), Key=TARGET)
    same(bucket.read(TARGET), b"foo")


@check
def object_copy_verify_contenttype(bucket):
    bucket.put(SOURCE, b"foo", ContentType="text/bla")
    bucket.copy(CopySource=place(bucket), Key=TARGET)
    same(bucket.read(TARGET), b"foo")
    same(bucket.head_object(Key=TARGET)["ContentType"], "text/bla")


@check
def object_copy_to_itself(bucket):
    bucket.put(SOURCE, b"foo")
    refused(400, "InvalidRequest", bucket.copy, CopySource=place(bucket), Key=SOURCE)


@check
def object_copy_to_itself_with_metadata(bucket):
    bucket.put(SOURCE, b"foo")
    bucket.copy_from(place(bucket), Key=SOURCE, Metadata={"foo": "bar"}, MetadataDirective="REPLACE")
    same(bucket.get_object(Key=SOURCE)["Metadata"], {"foo": "bar"})


@check
def object_copy_diff_bucket(bucket):
    bucket.put(SOURCE, b"foo")
    second = bucket.another()
    second.copy(CopySource=place(bucket), Key=TARGET)
    same(second.read(TARGET), b"foo")


@check
def object_copy_not_owned_bucket(bucket):
    bucket.put(SOURCE, b"foo")
    theirs = bucket.another(made=False).seen_by(other)
    theirs.create_bucket()
    try:
        refused(403, None, theirs.copy, CopySource=place(bucket), Key=TARGET)
    finally:
        theirs.delete_bucket()


@check
def object_copy_not_owned_object_bucket(bucket):
    bucket.put(SOURCE, b"foo")
    owner, somebody = bucket.get_bucket_acl()["Owner"], other.list_buckets()["Owner"]["ID"]
    grant = {"Grantee": {"ID": somebody, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
    bucket.put_bucket_acl(AccessControlPolicy={"Owner": owner, "Grants": [grant]})
    bucket.seen_by(other).copy(CopySource=place(bucket), Key=TARGET)


@check
def object_copy_canned_acl(bucket):
    bucket.put(SOURCE, b"foo")
    bucket.copy_from(place(bucket), Key=TARGET, ACL="public-read")
    bucket.seen_by(other).get_object(Key=TARGET)


def with_metadata(new):
    """Copies bytes with their metadata, or with `new`."""

    def copy(bucket):
        for size in [3, 1 << 20]:
            old = {"Metadata": {"key1": "value1", "key2": "value2"}, "ContentType": "audio/ogg"}
            bucket.put(SOURCE, bytes(size), **old)
            bucket.copy_from(place(bucket), Key=TARGET, **({"MetadataDirective": "REPLACE", **new} if new else {}))
            told = bucket.get_object(Key=TARGET)
            same({name: told[name] for name in old}, new or old)
            same(told["ContentLength"], size)

    return copy


add("object_copy_retaining_metadata", with_metadata({}))
add("object_copy_replacing_metadata", with_metadata(
    {"Metadata": {"key3": "value3", "key2": "value2"}, "ContentType": "audio/mpeg"}))


@check
def object_copy_bucket_not_found(bucket):
    source = {"Bucket": bucket.name + "-fake", "Key": SOURCE}
    refused(404, None, bucket.copy, CopySource=source, Key=TARGET)
    refused(404, "NoSuchBucket", bucket.copy_from, source=source, Key=TARGET)


@check
def object_copy_key_not_found(bucket):
    refused(404, None, bucket.copy, CopySource=place(bucket), Key=TARGET)
    refused(404, "NoSuchKey", bucket.copy_from, source=place(bucket), Key=TARGET)


# Versions.

def round_of_copies(bucket, wanted):
    """Copies the object at SOURCE within its bucket, its copy once more, into another bucket with versions and one without,
    and back. Each must be as `wanted(object)` says."""
    versions, plain = bucket.another().versioned(), bucket.another()
    first = place(bucket, VersionId=bucket.head_object(Key=SOURCE)["VersionId"])
    bucket.copy_from(first, Key="copy")
    second = place(bucket, "copy", VersionId=bucket.head_object(Key="copy")["VersionId"])
    bucket.copy_from(second, Key="copy of copy")
    versions.copy_from(first, Key="versions")
    plain.copy_from(first, Key="plain")
    bucket.copy_from(place(plain, "plain"), Key="back")
    for there, key in [(bucket, "copy"), (bucket, "copy of copy"), (versions, "versions"), (plain, "plain"),
                       (bucket, "back")]:
        wanted(there.get_object(Key=key))


@check
def object_copy_versioned_bucket(bucket):
    bucket.versioned().put(SOURCE, bytes(5))
    round_of_copies(bucket, lambda told: same((told["Body"].read(), told["ContentLength"]), (bytes(5), 5)))


@check
def object_copy_versioned_url_encoding(bucket):
    version = bucket.versioned().put("foo?bar", b"")["VersionId"]
    bucket.head_object(Key="foo?bar")
    bucket.copy_from(place(bucket, "foo?bar", VersionId=version), Key="bar&foo")
    bucket.head_object(Key="bar&foo")


@check
def object_copy_versioning_multipart_upload(bucket):
    about = {"Metadata": {"foo": "bar"}, "ContentType": "text/bla"}
    body, _, _ = upload(bucket.versioned(), SOURCE, 11 << 20, **about).complete()

    def wanted(told):
        assert told["Body"].read() == body, "other bytes"
        same({name: told[name] for name in about}, about)

    round_of_copies(bucket, wanted)
