"""Buckets: making, naming, listing and removing them, and who may see them."""

import datetime

from botocore.exceptions import ClientError

from checks import (Bucket, add, check, client, client_with, headers_of, nobody, other, OPTIONS, refused, s3, same,
                    status_of)


@check
def bucket_list_empty(bucket):
    assert "Contents" not in bucket.list_objects()


@check
def bucket_list_distinct(bucket):
    bucket.another().put("asdf")
    same(bucket.keys(), [])


@check
def bucket_head(bucket):
    same(status_of(bucket.head_bucket()), 200)


@check
def bucket_create_delete(bucket):
    bucket.delete_bucket()
    refused(404, "NoSuchBucket", bucket.delete_bucket)


@check
def bucket_delete_nonempty(bucket):
    bucket.put()
    refused(409, "BucketNotEmpty", bucket.delete_bucket)


def not_there(operation, code="NoSuchBucket"):
    return lambda bucket: refused(404, code, getattr(bucket.another(made=False), operation))


add("bucket_notexist", not_there("list_objects"))
add("bucketv2_notexist", not_there("list_objects_v2"))
add("bucket_delete_notexist", not_there("delete_bucket"))
add("bucket_head_notexist", not_there("head_bucket", None))


def bad_name(name):
    def make(bucket):
        refused(400, "InvalidBucketName", bucket.another(made=False, name=name).create_bucket)

    return make


for name, bad in [("bad_starts_nonalpha", f"_{Bucket.PREFIX}"), ("bad_short_one", "a"), ("bad_short_two", "aa"),
                  ("bad_ip", "192.168.5.123"), ("dns_underscore", "foo_bar"), ("dns_dash_at_end", "foo-"),
                  ("dns_dot_dot", "foo..bar"), ("dns_dot_dash", "foo.-bar"), ("dns_dash_dot", "foo-.bar")]:
    add(f"bucket_create_naming_{name}", bad_name(bad))


def good_name(name):
    def make(bucket):
        same(bucket.another(made=False, name=name).create_bucket()["ResponseMetadata"]["HTTPStatusCode"], 200)

    return make


def long_name(length, mark):
    """A name of this many bytes, of which each check has its own."""
    return f"{Bucket.PREFIX}-{mark}".ljust(length, "a")


for length in [60, 61, 62, 63]:
    add(f"bucket_create_naming_good_long_{length}", good_name(long_name(length, "long")))
add("bucket_create_naming_dns_long", good_name(long_name(63, "dns")))
for name, good in [("starts_alpha", f"a{Bucket.PREFIX}-foo"), ("starts_digit", f"0{Bucket.PREFIX}-foo"),
                   ("contains_period", f"{Bucket.PREFIX}-aaa.111"), ("contains_hyphen", f"{Bucket.PREFIX}-aaa-111")]:
    add(f"bucket_create_naming_good_{name}", good_name(good))


@check
def bucket_list_long_name(bucket):
    long = bucket.another(name=long_name(61, "list"))
    same(long.keys(), [])


@check
def bucket_create_exists(bucket):
    # In its first region S3 lets one do it again, and in no other.
    try:
        bucket.create_bucket()
    except ClientError:
        refused(409, "BucketAlreadyOwnedByYou", bucket.create_bucket)


@check
def bucket_create_exists_nonowner(bucket):
    refused(409, "BucketAlreadyExists", bucket.seen_by(other).create_bucket)


@check
def bucket_recreate_not_overriding(bucket):
    keys = ["mykey1", "mykey2"]
    bucket.fill(keys)
    bucket.create_bucket()
    same(bucket.keys(), keys)


@check
def bucket_recreate_overwrite_acl(bucket):
    public = bucket.another(made=False)
    public.create_bucket(ACL="public-read")
    refused(409, "BucketAlreadyExists", public.create_bucket)


@check
def bucket_recreate_new_acl(bucket):
    refused(409, "BucketAlreadyExists", bucket.create_bucket, ACL="public-read")


@check
def bucket_get_location(bucket):
    same(bucket.get_bucket_location()["LocationConstraint"], None)


@check
def buckets_create_then_list(bucket):
    made = {bucket.another().name for _ in range(5)}
    names = {one["Name"] for one in s3.list_buckets()["Buckets"]}
    assert made <= names, f"{made - names} are not listed"


@check
def buckets_list_ctime(bucket):
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    made = [bucket.another().name for _ in range(5)]
    times = [one["CreationDate"] for one in s3.list_buckets()["Buckets"] if one["Name"] in made]
    same(len(times), 5)
    assert all(time > yesterday for time in times), times


@check
def list_buckets_anonymous(_):
    same(nobody.list_buckets()["Buckets"], [])


@check
def list_buckets_invalid_auth(_):
    refused(403, "InvalidAccessKeyId", client("aaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb").list_buckets)


@check
def list_buckets_bad_auth(_):
    refused(403, "SignatureDoesNotMatch", client(OPTIONS.key, "bbbbbbbbbbbbbbbb").list_buckets)


@check
def bucket_create_special_key_names(bucket):
    names = [" ", '"', "$", "%", "&", "'", "<", ">", "_", "_ ", "_ _", "__"]
    bucket.fill(names)
    same(bucket.keys(), names)
    for name in names:
        same(bucket.read(name).decode(), name)
        bucket.put_object_acl(Key=name, ACL="private")


@check
def bucket_list_special_prefix(bucket):
    bucket.fill(["_bla/1", "_bla/2", "_bla/3", "_bla/4", "abcd"])
    same(len(bucket.keys()), 5)
    same(bucket.list_objects_v2(Prefix="_bla/")["KeyCount"], 4)


# What Ceph's gateway tells besides.

@check
def account_usage(_):
    told = []
    usage = client_with("ListBuckets", query="usage")
    usage.meta.events.register("after-call.s3.ListBuckets", lambda http_response, **_: told.append(http_response.content))
    usage.list_buckets()
    assert b"<QuotaMaxBuckets>" in told[0], "no QuotaMaxBuckets"


@check
def head_bucket_usage(bucket):
    bucket.put()
    same(headers_of(bucket.head_bucket()).get("x-rgw-object-count"), "1", "x-rgw-object-count")
    same(headers_of(bucket.head_bucket()).get("x-rgw-bytes-used"), "3", "x-rgw-bytes-used")


@check
def bucket_head_extended(bucket):
    for keys, bytes in [([], 0), (["foo", "bar", "baz"], 9)]:
        told = headers_of(bucket.fill(keys).head_bucket())
        same(told.get("x-rgw-object-count"), str(len(keys)), "x-rgw-object-count")
        same(told.get("x-rgw-bytes-used"), str(bytes), "x-rgw-bytes-used")
