"""Uploads in parts, and parts that are copied."""

import os

from checks import add, check, headers_of, other, refused, s3, same

KEY = "mymultipart"
MIB = 1 << 20
PART = 5 * MIB


class Upload:
    """An upload under way: its id, the bytes sent so far, and what completes it."""

    def __init__(self, bucket, key=KEY, **about):
        self.bucket, self.key, self.body, self.parts = bucket, key, b"", []
        self.id = bucket.create_multipart_upload(Key=key, **about)["UploadId"]

    def where(self):
        return {"Key": self.key, "UploadId": self.id}

    def part(self, body, again=False):
        """Sends the next part, and once more where that is asked for."""
        number = len(self.parts) + 1
        for _ in range(2 if again else 1):
            tag = self.bucket.upload_part(**self.where(), PartNumber=number, Body=body)["ETag"]
        self.parts.append({"PartNumber": number, "ETag": tag.strip('"')})
        self.body += body

    def copy(self, source, **more):
        """The next part is the bytes of an object, or a range of them."""
        number = len(self.parts) + 1
        done = self.bucket.upload_part_copy(**self.where(), PartNumber=number, CopySource=source, **more)
        self.parts.append({"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]})

    def finish(self, parts=None):
        return self.bucket.complete_multipart_upload(**self.where(), MultipartUpload={"Parts": parts or self.parts})

    def complete(self):
        """Completes it; the bytes, and the upload for more."""
        done = self.finish()
        return self.body, done, self


def upload(bucket, key, size, part=PART, again=(), **about):
    """An upload whose parts have all been sent, the numbers (from 0) in `again` twice."""
    sending = Upload(bucket, key, **about)
    for number, start in enumerate(range(0, size, part)):
        sending.part(os.urandom(min(part, size - start)), number in again)
    return sending


def check_object(bucket, body, about=None):
    """The object at KEY has these bytes, at once and by ranges."""
    told = bucket.get_object(Key=KEY)
    same(told["ContentLength"], len(body))
    same({name: told[name] for name in about or {}}, about or {})
    assert told["Body"].read() == body, "other bytes"
    for step in [1_000_000, 10_000_000]:
        for start in range(0, len(body), step):
            piece = bucket.read(KEY, Range=f"bytes={start}-{min(start + step, len(body)) - 1}")
            assert piece == body[start:start + step], f"other bytes at {start}"


ABOUT = {"Metadata": {"foo": "bar"}, "ContentType": "text/bla"}


@check
def multipart_upload_empty(bucket):
    begun = Upload(bucket)
    refused(400, "MalformedXML", bucket.complete_multipart_upload, **begun.where())


@check
def multipart_upload_small(bucket):
    _, _, done = upload(bucket, KEY, 1).complete()
    same(bucket.get_object(Key=KEY)["ContentLength"], 1)
    done.finish()


@check
def multipart_upload(bucket):
    body, _, done = upload(bucket, KEY, 16 * MIB, **ABOUT).complete()
    done.finish()
    check_object(bucket, body, ABOUT)
    same(bucket.keys(), [KEY])


@check
def multipart_upload_resend_part(bucket):
    for again in [[0], [1], [2], [1, 2], [0, 1, 2]]:
        body, _, _ = upload(bucket, KEY, 11 * MIB, again=again, **ABOUT).complete()
        check_object(bucket, body, ABOUT)


SIZES = [5 * MIB, 5 * MIB + 100 * 1024, 5 * MIB + 600 * 1024, 10 * MIB + 100 * 1024, 10 * MIB + 600 * 1024, 10 * MIB]


@check
def multipart_upload_multiple_sizes(bucket):
    for size in SIZES:
        upload(bucket, KEY, size).complete()
        same(bucket.head_object(Key=KEY)["ContentLength"], size)


@check
def multipart_upload_size_too_small(bucket):
    small = upload(bucket, KEY, 100 * 1024, part=10 * 1024)
    refused(400, "EntityTooSmall", small.finish)


@check
def multipart_upload_contents(bucket):
    same_again = os.urandom(PART)
    sending = Upload(bucket)
    for _ in range(3):
        sending.part(same_again)
    sending.part(b"123" * MIB)
    body, _, _ = sending.complete()
    assert bucket.read(KEY) == body == same_again * 3 + b"123" * MIB, "other bytes"


@check
def multipart_upload_overwrite_existing_object(bucket):
    bucket.put(KEY, b"12345" * MIB)
    body, _, _ = upload(bucket, KEY, 2 * PART).complete()
    assert bucket.read(KEY) == body, "other bytes"


@check
def multipart_upload_missing_part(bucket):
    sending = upload(bucket, KEY, 1)
    refused(400, "InvalidPart", sending.finish, parts=[{**sending.parts[0], "PartNumber": 9999}])


@check
def multipart_upload_incorrect_etag(bucket):
    sending = upload(bucket, KEY, 1)
    refused(400, "InvalidPart", sending.finish, parts=[{"PartNumber": 1, "ETag": "f" * 32}])


@check
def abort_multipart_upload(bucket):
    sending = upload(bucket, KEY, 10 * MIB)
    bucket.abort_multipart_upload(**sending.where())
    same(bucket.keys(), [])
    assert "Uploads" not in bucket.list_multipart_uploads()
    told = headers_of(bucket.head_bucket())
    same((told.get("x-rgw-bytes-used", "0"), told.get("x-rgw-object-count", "0")), ("0", "0"))


@check
def abort_multipart_upload_not_found(bucket):
    bucket.put(KEY)
    refused(404, "NoSuchUpload", bucket.abort_multipart_upload, Key=KEY, UploadId="56788")


@check
def list_multipart_upload(bucket):
    begun = [upload(bucket, key, size) for key, size in [(KEY, 5 * MIB), (KEY, 6 * MIB), (KEY + "2", 5 * MIB)]]
    listed = {(one["Key"], one["UploadId"]) for one in bucket.list_multipart_uploads()["Uploads"]}
    same(listed, {(one.key, one.id) for one in begun})


@check
def list_multipart_upload_owner(bucket):
    bucket.put_bucket_acl(ACL="public-read-write")
    both = [(one.list_buckets()["Owner"], Upload(bucket.seen_by(one), key).id) for one, key in [(s3, "1"), (other, "2")]]
    for somebody in [s3, other]:
        uploads = bucket.seen_by(somebody).list_multipart_uploads()["Uploads"]
        same([(one["Owner"], one["UploadId"]) for one in uploads], both)
        same([one["Initiator"] for one in uploads], [owner for owner, _ in both])


# Parts that are copied.

def copied(source, key, target, size, version=None):
    """Makes an object of the first bytes of another, part by part."""
    place = {"Bucket": source.name, "Key": key, **({"VersionId": version} if version else {})}
    sending = Upload(target)
    for start in range(0, size, PART):
        sending.copy(place, CopySourceRange=f"bytes={start}-{min(start + PART, size) - 1}")
    sending.finish()


@check
def multipart_copy_small(bucket):
    body, target = os.urandom(7 * MIB), bucket.another()
    bucket.put(body=body)
    copied(bucket, "foo", target, 1)
    same(target.read(KEY), body[:1])


def refused_range(status, code, ranges):
    def copy(bucket):
        bucket.put("source", b"12345")
        begun = Upload(bucket, "dest")
        for wanted in ranges:
            place = {"Bucket": bucket.name, "Key": "source"}
            refused(status, code, begun.copy, source=place, CopySourceRange=wanted)

    return copy


add("multipart_copy_invalid_range", refused_range(416, "InvalidRange", ["bytes=0-21"]))
add("multipart_copy_improper_range", refused_range(400, "InvalidArgument", [
    "0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5"]))


@check
def multipart_copy_without_range(bucket):
    target = bucket.another()
    bucket.put("source", b"0123456789")
    sending = Upload(target)
    sending.copy({"Bucket": bucket.name, "Key": "source"})
    sending.finish()
    same(target.read(KEY), b"0123456789")


@check
def multipart_copy_special_names(bucket):
    target = bucket.another()
    for key in [" ", "_", "__", "?versionId"]:
        bucket.put(key, b"the bytes of " + key.encode())
        copied(bucket, key, target, 13 + len(key))
        same(target.read(KEY), b"the bytes of " + key.encode())


@check
def multipart_copy_multiple_sizes(bucket):
    body, target = os.urandom(12 * MIB), bucket.another()
    bucket.put(body=body)
    for size in SIZES:
        copied(bucket, "foo", target, size)
        assert target.read(KEY) == body[:size], f"other bytes of {size}"


@check
def multipart_copy_versioned(bucket):
    target = bucket.another()
    assert "Status" not in bucket.get_bucket_versioning()
    bodies = {bucket.versioned().put(body=body)["VersionId"]: body for body in (os.urandom(11 * MIB) for _ in range(3))}
    same({one["VersionId"] for one in bucket.list_object_versions()["Versions"]}, set(bodies))
    for version, body in bodies.items():
        copied(bucket, "foo", target, len(body), version)
        assert target.read(KEY) == body, f"other bytes of {version}"
