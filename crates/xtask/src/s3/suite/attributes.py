"""GetObjectAttributes: what an object and its parts are, without its bytes; and what is told of delete markers."""

import base64
import hashlib

from botocore.exceptions import ClientError

from checks import add, check, headers_of, refused, same
from multipart import KEY, PART, Upload, upload

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def told_of(bucket, size, key="foo", **more):
    """All attributes, of which size and class must be right."""
    told = bucket.get_object_attributes(Key=key, ObjectAttributes=ALL, **more)
    same((told["ObjectSize"], told["StorageClass"], "DeleteMarker" in told), (size, "STANDARD", False))
    return told


@check
def get_object_attributes(bucket):
    tag = bucket.put()["ETag"].strip('"')
    told = told_of(bucket, 3)
    same(("ObjectParts" in told, "VersionId" in told), (False, False))
    same(told["ETag"], tag, "ETag")


@check
def get_versioned_object_attributes(bucket):
    version = bucket.versioned().put()["VersionId"]
    same(told_of(bucket, 3)["VersionId"], version)
    bucket.put()
    same(told_of(bucket, 3, VersionId=version)["VersionId"], version)


@check
def get_checksum_object_attributes(bucket):
    body = b"A" * 1024
    wanted = base64.b64encode(hashlib.sha256(body).digest()).decode()
    done = bucket.put(body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=wanted)
    same(done["ChecksumSHA256"], wanted)
    told = told_of(bucket, len(body))
    same((told["Checksum"]["ChecksumSHA256"], "ObjectParts" in told), (wanted, False))
    same(told["ETag"], done["ETag"].strip('"'), "ETag")


def parts_told(count, *pages):
    """An object of so many parts is told page by page: where each begins, how many it has at most, and what it tells."""

    def ask(bucket):
        _, done, _ = upload(bucket, KEY, count * PART).complete()
        for behind, most, numbers in pages:
            asked = {"PartNumberMarker": behind, "MaxParts": most} if most else {}
            told = told_of(bucket, count * PART, KEY, **asked)
            parts = told["ObjectParts"]
            same(parts["TotalPartsCount"], count)
            same([(one["PartNumber"], one["Size"]) for one in parts["Parts"]], [(number, PART) for number in numbers])
            same(parts["IsTruncated"], numbers[-1] < count)
            if most:
                same((parts["PartNumberMarker"], parts["MaxParts"]), (behind, most))
            if parts["IsTruncated"]:
                same(parts["NextPartNumberMarker"], numbers[-1])
        same(told["ETag"], done["ETag"].strip('"'), "ETag")

    return ask


add("get_multipart_object_attributes", parts_told(3, (0, None, [1, 2, 3])))
add("get_single_multipart_object_attributes", parts_told(1, (0, None, [1])))
add("get_paginated_multipart_object_attributes", parts_told(4, (1, 1, [2]), (2, 10, [3, 4])))


@check
def upload_part_copy_percent_encoded_key(bucket):
    bucket.put("anyfilename%25.txt", b"foo")
    bucket.put("anyfile.txt", b"foo")
    begun = Upload(bucket, "anyfile.txt")
    refused(404, "NoSuchKey", begun.copy, source={"Bucket": bucket.name, "Key": "anyfilename%.txt"})
    same(bucket.read("anyfile.txt"), b"foo")


def marker(versions, wanted):
    """What is told of a key whose object was deleted."""

    def ask(bucket):
        for status in versions:
            bucket.put()
            bucket.put_bucket_versioning(VersioningConfiguration={"Status": status})
        bucket.put()
        bucket.delete_object(Key="foo")
        try:
            bucket.head_object(Key="foo")
        except ClientError as error:
            same(headers_of(error.response).get("x-amz-delete-marker"), wanted, "x-amz-delete-marker")
            return
        raise AssertionError("it is there")

    return ask


add("delete_marker_nonversioned", marker([], "false"))
add("delete_marker_versioned", marker(["Enabled"], "true"))
add("delete_marker_suspended", marker(["Enabled", "Suspended"], "true"))
