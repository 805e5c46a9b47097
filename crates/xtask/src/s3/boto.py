"""What boto3 finds at a hub: everything that docs/s3.md says is offered, and the refusals of what is not.

Arguments: endpoint, access key, secret key, access key and secret key of somebody else, certificate."""

import concurrent.futures
import hashlib
import io
import json
import os
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import ssl

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, KEY, SECRET, OTHER_KEY, OTHER_SECRET, CERTIFICATE = sys.argv[1:]


def client(key=KEY, secret=SECRET, **more):
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **more)
    return boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=key, aws_secret_access_key=secret,
                        region_name="us-east-1", verify=CERTIFICATE, config=config)


s3 = client()
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def refused(code, function, **arguments):
    try:
        function(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found}: {error}, not {code}"
        return error.response
    raise AssertionError(f"{function.__name__} was done, and should be refused with {code}")


def fill(bucket, keys):
    s3.create_bucket(Bucket=bucket)
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def empty(bucket):
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": one["Key"]} for one in page.get("Contents", [])]
        if keys:
            assert not s3.delete_objects(Bucket=bucket, Delete={"Objects": keys}).get("Errors")
    s3.delete_bucket(Bucket=bucket)


@check
def buckets_are_made_listed_and_removed():
    s3.create_bucket(Bucket="boto-one")
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket="boto-one")
    assert "boto-one" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket="boto-one")
    assert s3.get_bucket_location(Bucket="boto-one")["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket="boto-one")
    assert s3.get_bucket_acl(Bucket="boto-one")["Grants"][0]["Permission"] == "FULL_CONTROL"
    s3.delete_bucket(Bucket="boto-one")
    refused("404", s3.head_bucket, Bucket="boto-one")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="boto-one")


@check
def objects_keep_what_is_said_of_them():
    s3.create_bucket(Bucket="boto-objects")
    body = b"hello, \xeb\xac\xbc"
    put = s3.put_object(Bucket="boto-objects", Key="a b/\u00e9+&.txt", Body=body, ContentType="text/plain",
                        CacheControl="no-cache", ContentLanguage="ko", Metadata={"Colour": "blue"}, Tagging="a=1")
    assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest()
    got = s3.get_object(Bucket="boto-objects", Key="a b/\u00e9+&.txt", ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got["ContentType"] == "text/plain" and got["CacheControl"] == "no-cache"
    assert got["Metadata"] == {"colour": "blue"} and got["TagCount"] == 1 and got["ContentLanguage"] == "ko"
    assert got["ETag"] == put["ETag"] and got["ChecksumCRC32"] == put["ChecksumCRC32"]
    head = s3.head_object(Bucket="boto-objects", Key="a b/\u00e9+&.txt")
    assert head["ContentLength"] == len(body) and abs(head["LastModified"].timestamp() - time.time()) < 600
    assert s3.get_object_tagging(Bucket="boto-objects", Key="a b/\u00e9+&.txt")["TagSet"] == [{"Key": "a", "Value": "1"}]
    attributes = s3.get_object_attributes(Bucket="boto-objects", Key="a b/\u00e9+&.txt",
                                          ObjectAttributes=["ETag", "ObjectSize"])
    # Amazon writes this tag without quotation marks, s3s with them; clients take both.
    tag = attributes["ETag"].strip('"')
    assert attributes["ObjectSize"] == len(body) and tag == hashlib.md5(body).hexdigest(), attributes
    # Chunked with a trailer, signed chunks, and other checksums.
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
        try:
            s3.put_object(Bucket="boto-objects", Key="sum", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)
        except Exception as error:  # the package for it is not part of boto3
            assert "crt" in str(error).lower(), error
    old = client(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    old.put_object(Bucket="boto-objects", Key="old", Body=body)
    assert old.get_object(Bucket="boto-objects", Key="old")["Body"].read() == body
    s3.put_object(Bucket="boto-objects", Key="empty")
    assert s3.get_object(Bucket="boto-objects", Key="empty")["Body"].read() == b""
    refused("NoSuchKey", s3.get_object, Bucket="boto-objects", Key="none")
    refused("404", s3.head_object, Bucket="boto-objects", Key="none")
    empty("boto-objects")


@check
def ranges_and_conditions():
    fill("boto-ranges", ["0123456789"])
    get = lambda **more: s3.get_object(Bucket="boto-ranges", Key="0123456789", **more)
    for asked, body in [("bytes=0-0", b"0"), ("bytes=4-", b"456789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")]:
        part = get(Range=asked)
        assert part["Body"].read() == body and part["ResponseMetadata"]["HTTPStatusCode"] == 206, asked
    refused("InvalidRange", get, Range="bytes=10-12")
    tag = get()["ETag"]
    assert get(IfMatch=tag)["Body"].read() == b"0123456789"
    refused("PreconditionFailed", get, IfMatch='"x"')
    refused("304", get, IfNoneMatch=tag)
    refused("304", get, IfModifiedSince=time.time() + 3600)
    refused("PreconditionFailed", get, IfUnmodifiedSince=time.time() - 3600)
    put = lambda **more: s3.put_object(Bucket="boto-ranges", Key="new", Body=b"x", **more)
    put(IfNoneMatch="*")
    refused("PreconditionFailed", put, IfNoneMatch="*")
    refused("PreconditionFailed", put, IfMatch='"x"')
    put(IfMatch=s3.head_object(Bucket="boto-ranges", Key="new")["ETag"])
    # Of many who want to be the first, one is.
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        def first(n):
            try:
                s3.put_object(Bucket="boto-ranges", Key="race", Body=str(n).encode(), IfNoneMatch="*")
                return 1
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed", error
                return 0
        assert sum(pool.map(first, range(32))) == 1
    empty("boto-ranges")


@check
def listings():
    keys = sorted(["a", "a-b", "a.txt", "b/1", "b/2", "b/c/3", "d/", "e/f/g/h", "\u00e9", "z z+"])
    fill("boto-list", [key for key in keys if not key.endswith("/")])
    s3.put_object(Bucket="boto-list", Key="d/")
    keys.sort(key=str.encode)
    names = lambda page: [one["Key"] for one in page.get("Contents", [])]
    folds = lambda page: [one["Prefix"] for one in page.get("CommonPrefixes", [])]
    for function in [s3.list_objects, s3.list_objects_v2]:
        assert names(function(Bucket="boto-list")) == keys
        page = function(Bucket="boto-list", Delimiter="/")
        assert names(page) == ["a", "a-b", "a.txt", "z z+", "\u00e9"] and folds(page) == ["b/", "d/", "e/"]
        page = function(Bucket="boto-list", Delimiter="/", Prefix="b/")
        assert names(page) == ["b/1", "b/2"] and folds(page) == ["b/c/"]
        page = function(Bucket="boto-list", Delimiter="/", Prefix="d/")
        assert names(page) == ["d/"] and folds(page) == []
        assert names(function(Bucket="boto-list", Prefix="a")) == ["a", "a-b", "a.txt"]
        assert names(function(Bucket="boto-list", Prefix="none")) == []
    for operation in ["list_objects", "list_objects_v2"]:
        for size in [1, 3, 1000]:
            found, folded = [], []
            pages = s3.get_paginator(operation).paginate(Bucket="boto-list", PaginationConfig={"PageSize": size})
            for page in pages:
                found += names(page)
            assert found == keys, (operation, size, found)
            pages = s3.get_paginator(operation).paginate(Bucket="boto-list", Delimiter="/", PaginationConfig={"PageSize": size})
            for page in pages:
                folded += folds(page)
            assert folded == ["b/", "d/", "e/"], (operation, size, folded)
    assert names(s3.list_objects_v2(Bucket="boto-list", StartAfter="b/2")) == keys[keys.index("b/2") + 1:]
    owner = s3.list_objects_v2(Bucket="boto-list", FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    assert owner == s3.list_buckets()["Owner"]["ID"]
    page = s3.list_objects_v2(Bucket="boto-list", MaxKeys=0)
    assert page["KeyCount"] == 0 and not page["IsTruncated"]
    empty("boto-list")


@check
def copies_and_deletes():
    fill("boto-copy", ["k"])
    s3.create_bucket(Bucket="boto-copy-2")
    s3.put_object(Bucket="boto-copy", Key="k", Body=b"hello", Metadata={"a": "1"}, ContentType="text/a")
    s3.copy_object(Bucket="boto-copy-2", Key="dir/c", CopySource={"Bucket": "boto-copy", "Key": "k"})
    got = s3.get_object(Bucket="boto-copy-2", Key="dir/c")
    assert got["Body"].read() == b"hello" and got["Metadata"] == {"a": "1"} and got["ContentType"] == "text/a"
    s3.copy_object(Bucket="boto-copy", Key="k", CopySource={"Bucket": "boto-copy", "Key": "k"},
                   MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket="boto-copy", Key="k")["Metadata"] == {"b": "2"}
    refused("NoSuchKey", s3.copy_object, Bucket="boto-copy", Key="x", CopySource="boto-copy/none")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket="boto-copy")
    keys = [{"Key": key} for key in ["k", "none"]]
    deleted = s3.delete_objects(Bucket="boto-copy", Delete={"Objects": keys})
    assert [one["Key"] for one in deleted["Deleted"]] == ["k", "none"] and "Errors" not in deleted
    s3.delete_object(Bucket="boto-copy", Key="k")
    empty("boto-copy")
    empty("boto-copy-2")


@check
def uploads_in_parts():
    s3.create_bucket(Bucket="boto-parts")
    where = {"Bucket": "boto-parts", "Key": "big"}
    id = s3.create_multipart_upload(**where, Metadata={"a": "1"}, ContentType="text/big")["UploadId"]
    first, second = os.urandom(5 << 20), os.urandom(1 << 20)
    part = lambda n, body: s3.upload_part(**where, UploadId=id, PartNumber=n, Body=body)["ETag"]
    part(1, b"wrong")
    tags = [part(1, first), part(2, second)]
    assert [one["Size"] for one in s3.list_parts(**where, UploadId=id)["Parts"]] == [5 << 20, 1 << 20]
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket="boto-parts")["Uploads"]] == ["big"]
    parts = lambda list: {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in list]}
    complete = lambda list: s3.complete_multipart_upload(**where, UploadId=id, MultipartUpload=parts(list))
    refused("InvalidPart", complete, list=[(1, tags[1]), (2, tags[1])])
    refused("InvalidPartOrder", complete, list=[(2, tags[1]), (1, tags[0])])
    done = complete([(1, tags[0]), (2, tags[1])])
    digests = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
    assert done["ETag"] == '"%s-2"' % hashlib.md5(digests).hexdigest(), done
    got = s3.get_object(**where)
    assert got["Body"].read() == first + second and got["Metadata"] == {"a": "1"} and got["ContentType"] == "text/big"
    assert complete([(1, tags[0]), (2, tags[1])])["ETag"] == done["ETag"], "who did not hear of it asks again"
    id = s3.create_multipart_upload(**where)["UploadId"]
    copy = s3.upload_part_copy(**where, UploadId=id, PartNumber=1, CopySource="boto-parts/big",
                               CopySourceRange="bytes=0-5242879")["CopyPartResult"]["ETag"]
    assert copy == tags[0]
    s3.abort_multipart_upload(**where, UploadId=id)
    refused("NoSuchUpload", s3.list_parts, **where, UploadId=id)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        body = os.urandom(40 << 20)
        open(path, "wb").write(body)
        config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
        s3.upload_file(path, "boto-parts", "file", Config=config)
        s3.download_file("boto-parts", "file", path + ".back", Config=config)
        assert open(path + ".back", "rb").read() == body
        s3.copy({"Bucket": "boto-parts", "Key": "file"}, "boto-parts", "copy", Config=config)
        assert s3.head_object(Bucket="boto-parts", Key="copy")["ContentLength"] == len(body)
    empty("boto-parts")


@check
def links_that_are_signed():
    fill("boto-links", ["k"])
    trust = ssl.create_default_context(cafile=CERTIFICATE) if CERTIFICATE else None

    def fetch(url, method="GET", body=None):
        request = urllib.request.Request(url, data=body, method=method)
        return urllib.request.urlopen(request, context=trust).read()

    signer = client(signature_version="s3v4")
    link = lambda operation, **more: signer.generate_presigned_url(operation, Params={"Bucket": "boto-links", "Key": "k"}, **more)
    assert fetch(link("get_object")) == b"k"
    fetch(link("put_object"), "PUT", b"new")
    assert fetch(link("get_object")) == b"new"
    short = link("get_object", ExpiresIn=1)
    time.sleep(2.5)
    for url in [short, link("get_object").replace("boto-links/k", "boto-links/x"), ENDPOINT + "/boto-links/k"]:
        try:
            fetch(url)
            raise AssertionError(f"{url} was answered")
        except urllib.error.HTTPError as error:
            assert error.code in (401, 403, 404), error
            assert error.code == 403 or url.startswith(ENDPOINT + "/boto-links/k"), error
    empty("boto-links")


@check
def strangers_are_kept_out():
    fill("boto-mine", ["k"])
    other = client(OTHER_KEY, OTHER_SECRET)
    refused("NoSuchBucket", other.get_object, Bucket="boto-mine", Key="k")
    refused("NoSuchBucket", other.put_object, Bucket="boto-mine", Key="k", Body=b"x")
    refused("NoSuchBucket", other.list_objects_v2, Bucket="boto-mine")
    refused("BucketAlreadyExists", other.create_bucket, Bucket="boto-mine")
    assert "boto-mine" not in [bucket["Name"] for bucket in other.list_buckets()["Buckets"]]
    refused("SignatureDoesNotMatch", client(KEY, OTHER_SECRET).list_buckets)
    refused("InvalidAccessKeyId", client("PUMASINOSUCHKEY", SECRET).list_buckets)
    refused("AccessDenied", client(signature_version="s3").list_buckets)  # version 2
    empty("boto-mine")


@check
def what_is_not_offered_is_refused():
    fill("boto-not", ["k"])
    where = {"Bucket": "boto-not", "Key": "k"}
    refused("NotImplemented", s3.put_object, **where, Body=b"", ServerSideEncryption="AES256")
    refused("AccessControlListNotSupported", s3.put_object, **where, Body=b"", ACL="public-read")
    refused("InvalidStorageClass", s3.put_object, **where, Body=b"", StorageClass="GLACIER")
    refused("NotImplemented", s3.put_bucket_versioning, Bucket="boto-not",
            VersioningConfiguration={"Status": "Suspended"})
    refused("NoSuchVersion", s3.get_object, **where, VersionId="1")
    refused("InvalidPartNumber", s3.get_object, **where, PartNumber=2)
    refused("NotImplemented", s3.put_bucket_policy, Bucket="boto-not", Policy=json.dumps({}))
    for what in ["bucket_cors", "bucket_lifecycle_configuration", "bucket_logging", "bucket_policy_status",
                 "bucket_encryption", "bucket_tagging", "public_access_block", "object_lock_configuration"]:
        refused("NotImplemented", getattr(s3, f"get_{what}"), Bucket="boto-not")
    refused("NotImplemented", s3.create_bucket, Bucket="boto-locked", ObjectLockEnabledForBucket=True)
    refused("NotImplemented", s3.put_object_legal_hold, **where, LegalHold={"Status": "ON"})
    refused("NotImplemented", s3.put_object_retention, **where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": 2e9})
    refused("NotImplemented", s3.put_object, **where, Body=b"", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    refused("NotImplemented", s3.put_object, **where, Body=b"", ServerSideEncryption="aws:kms", SSEKMSKeyId="k")
    refused("NotImplemented", s3.delete_object, **where, IfMatch='"x"')
    refused("KeyConflict", s3.put_object, Bucket="boto-not", Key="k/under", Body=b"")
    refused("InvalidArgument", s3.put_object, Bucket="boto-not", Key="a//b", Body=b"")
    assert s3.get_object(**where)["Body"].read() == b"k"
    empty("boto-not")


@check
def versions():
    s3.create_bucket(Bucket="boto-versions")
    s3.put_bucket_versioning(Bucket="boto-versions", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="boto-versions")["Status"] == "Enabled"
    where = {"Bucket": "boto-versions", "Key": "a/k"}
    first = s3.put_object(**where, Body=b"one")["VersionId"]
    second = s3.put_object(**where, Body=b"two")["VersionId"]
    assert s3.get_object(**where, VersionId=first)["Body"].read() == b"one"
    assert s3.head_object(**where)["VersionId"] == second
    gone = s3.delete_object(**where)
    assert gone["DeleteMarker"]
    refused("NoSuchKey", s3.get_object, **where)
    error = refused("405", s3.head_object, **where, VersionId=gone["VersionId"])
    assert error["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    listed = s3.list_object_versions(Bucket="boto-versions", Prefix="a/")
    assert [one["VersionId"] for one in listed["Versions"]] == [second, first]
    assert [(one["VersionId"], one["IsLatest"]) for one in listed["DeleteMarkers"]] == [(gone["VersionId"], True)]
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket="boto-versions", PaginationConfig={"PageSize": 1})
    assert sum(len(page.get("Versions", [])) + len(page.get("DeleteMarkers", [])) for page in pages) == 3
    s3.delete_object(**where, VersionId=gone["VersionId"])
    assert s3.get_object(**where)["Body"].read() == b"two"
    copy = s3.copy_object(Bucket="boto-versions", Key="copy", CopySource={**where, "VersionId": first})
    assert copy["CopySourceVersionId"] == first
    assert s3.get_object(Bucket="boto-versions", Key="copy")["Body"].read() == b"one"
    s3.delete_object(**where, VersionId=second)
    assert s3.get_object(**where)["Body"].read() == b"one"
    s3.delete_object(**where)
    s3.put_object(**where, Body=b"three")
    resource = boto3.resource(
        "s3", endpoint_url=ENDPOINT, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        region_name="us-east-1", verify=CERTIFICATE, config=Config(s3={"addressing_style": "path"}))
    resource.Bucket("boto-versions").object_versions.delete()
    listed = s3.list_object_versions(Bucket="boto-versions")
    assert "Versions" not in listed and "DeleteMarkers" not in listed, listed
    s3.delete_bucket(Bucket="boto-versions")


failed = 0
for one in CHECKS:
    try:
        one()
        print(f"ok      {one.__name__}")
    except Exception as error:
        failed += 1
        line = traceback.extract_tb(error.__traceback__)[1].lineno
        print(f"FAILED  {one.__name__}, line {line}: {type(error).__name__}: {error}")
sys.exit(1 if failed else 0)
