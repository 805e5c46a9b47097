"""Objects: bytes, headers and metadata that are put, read, replaced and deleted."""

import concurrent.futures
import datetime
import hashlib
import xml.etree.ElementTree

from checks import add, check, client_with, fetch, headers_of, refused, same, signer, status_of


@check
def object_write_to_nonexist_bucket(bucket):
    refused(404, "NoSuchBucket", bucket.another(made=False).put)


@check
def object_read_not_exist(bucket):
    refused(404, "NoSuchKey", bucket.get_object, Key="bar")


@check
def object_requestid_matches_header_on_error(bucket):
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket.name, "Key": "bar"})
    status, headers, body = fetch(url)
    same(status, 404)
    told = xml.etree.ElementTree.fromstring(body).findtext("RequestId")
    assert told, "no RequestId"
    same(headers["x-amz-request-id"], told)


def delete_many(operation):
    def delete(bucket):
        keys = ["key0", "key1", "key2"]
        named = {"Objects": [{"Key": key} for key in keys]}
        ask = getattr(bucket.fill(keys), operation)
        same(len(ask()["Contents"]), 3)
        # What is gone can be deleted again.
        for _ in range(2):
            done = bucket.delete_objects(Delete=named)
            same([one["Key"] for one in done["Deleted"]], keys)
            assert "Errors" not in done and "Contents" not in ask()

    return delete


def delete_too_many(operation):
    def delete(bucket):
        keys = [f"key-{n}" for n in range(1001)]
        bucket.fill(keys)
        pages = bucket.by.get_paginator(operation).paginate(Bucket=bucket.name)
        same(sum(len(page["Contents"]) for page in pages), 1001)
        refused(400, None, bucket.delete_objects, Delete={"Objects": [{"Key": key} for key in keys]})

    return delete


for name, operation in [("multi_object_delete", "list_objects"), ("multi_objectv2_delete", "list_objects_v2")]:
    add(name, delete_many(operation))
    add(f"{name}_key_limit", delete_too_many(operation))


@check
def versioning_concurrent_multi_object_delete(bucket):
    keys = [f"key_{n}" for n in range(5)]
    for _ in range(3):
        bucket.versioned().fill(keys)
    named = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in bucket.list_object_versions()["Versions"]]
    # The same bytes three times: each put is a version, and the last is what is there.
    same(len(named), 15)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        for done in pool.map(lambda _: bucket.delete_objects(Delete={"Objects": named}), range(5)):
            same(len(done["Deleted"]), 15)
            assert "Errors" not in done
    assert "Versions" not in bucket.list_object_versions()


@check
def object_head_zero_bytes(bucket):
    bucket.put(body=b"")
    same(bucket.head_object(Key="foo")["ContentLength"], 0)


@check
def object_write_check_etag(bucket):
    done = bucket.put()
    same((status_of(done), done["ETag"]), (200, f'"{hashlib.md5(b"bar").hexdigest()}"'))


@check
def object_write_cache_control(bucket):
    bucket.put(CacheControl="public, max-age=14400")
    same(headers_of(bucket.head_object(Key="foo"))["cache-control"], "public, max-age=14400")


@check
def object_write_expires(bucket):
    expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=6000)
    bucket.put(Expires=expires)
    same(bucket.head_object(Key="foo")["Expires"], expires)


@check
def object_write_read_update_read_delete(bucket):
    for body in [b"bar", b"soup"]:
        bucket.put(body=body)
        same(bucket.read(), body)
    bucket.delete_object(Key="foo")
    refused(404, "NoSuchKey", bucket.get_object, Key="foo")


@check
def object_write_file(bucket):
    # With `Expect: 100-continue`, as boto3 sends bodies.
    bucket.put()
    same(bucket.read(), b"bar")


@check
def object_write_with_chunked_transfer_encoding(bucket):
    chunked = client_with("PutObject", {"Transfer-Encoding": "chunked"}, without=["Content-Length"])
    same(status_of(bucket.seen_by(chunked).put()), 200)
    same(bucket.read(), b"bar")


@check
def object_put_authenticated(bucket):
    same(status_of(bucket.put()), 200)


# Metadata.

def metadata(*values):
    """Puts one value after the other, and reads it back each time."""

    def rewrite(bucket):
        for value in values:
            bucket.put(Metadata={"meta1": value})
            same(bucket.get_object(Key="foo")["Metadata"], {"meta1": value})

    return rewrite


add("object_set_get_metadata_none_to_good", metadata("mymeta"))
add("object_set_get_metadata_none_to_empty", metadata(""))
add("object_set_get_metadata_overwrite_to_empty", metadata("oldmeta", ""))


@check
def object_set_get_unicode_metadata(bucket):
    bucket.seen_by(client_with("PutObject", {"x-amz-meta-meta1": "Hello World\u00e9"})).put()
    same(bucket.head_object(Key="foo")["Metadata"], {"meta1": "Hello World\u00e9"})


def unreadable(value):
    return lambda bucket: refused(400, None, bucket.put, Metadata={"meta1": value})


add("object_set_get_non_utf8_metadata", unreadable("\x04mymeta"))
add("object_set_get_metadata_empty_to_unreadable_prefix", unreadable("\x04w"))
add("object_set_get_metadata_empty_to_unreadable_suffix", unreadable("h\x04"))
add("object_set_get_metadata_empty_to_unreadable_infix", unreadable("h\x04w"))


@check
def object_metadata_replaced_on_put(bucket):
    bucket.put(Metadata={"meta1": "bar"})
    bucket.put()
    same(bucket.get_object(Key="foo")["Metadata"], {})


# Reading by links, and by those who have no key.

@check
def object_raw_response_headers(bucket):
    bucket.put()
    wanted = {"content-type": "foo/bar", "content-disposition": "bla", "content-language": "esperanto",
              "content-encoding": "aaa", "cache-control": "no-cache"}
    asked = {"Response" + name.title().replace("-", ""): value for name, value in wanted.items()}
    told = headers_of(bucket.get_object(Key="foo", ResponseExpires="Thu, 01 Jan 1970 00:02:03 GMT", **asked))
    same({name: told.get(name) for name in wanted}, wanted)
    same(told["expires"], "Thu, 01 Jan 1970 00:02:03 GMT")


@check
def object_raw_authenticated_bucket_gone(bucket):
    bucket.put()
    bucket.delete_object(Key="foo")
    bucket.delete_bucket()
    refused(404, "NoSuchBucket", bucket.get_object, Key="foo")


@check
def object_raw_authenticated_object_gone(bucket):
    bucket.put()
    bucket.delete_object(Key="foo")
    refused(404, "NoSuchKey", bucket.get_object, Key="foo")


def link(operation, method, seconds, wanted):
    """A signed link that is good for this many seconds, if S3 allows as many."""

    def follow(bucket):
        bucket.put()
        place = {"Bucket": bucket.name, "Key": "foo"}
        url = signer.generate_presigned_url(operation, Params=place, ExpiresIn=seconds, HttpMethod=method)
        status, _, body = fetch(url, method, b"foo" if method == "PUT" else None)
        same(status, wanted)
        assert wanted != 200 or body == b"bar"

    return follow


add("object_raw_get_x_amz_expires_not_expired", link("get_object", "GET", 100_000, 200))
add("object_raw_get_x_amz_expires_out_range_zero", link("get_object", "GET", 0, 403))
add("object_raw_get_x_amz_expires_out_max_range", link("get_object", "GET", 609_901, 403))
add("object_raw_get_x_amz_expires_out_positive_range", link("get_object", "GET", -7, 403))
add("object_raw_put_authenticated_expired", link("put_object", "PUT", -1000, 403))
