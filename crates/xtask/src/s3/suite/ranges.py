"""Ranges of an object, conditions on the source of a copy, and keys that cannot be read."""

import os

from checks import Bucket, add, check, headers_of, refused, same, status_of

TEXT = b"elevenbytes"
MIB = 1 << 20

# A body, what is asked of it, and the first and last byte that are answered.
RANGES = {
    "ranged_request_response_code": (TEXT, "bytes=4-7", (4, 7)),
    "ranged_request_skip_leading_bytes_response_code": (TEXT, "bytes=4-", (4, 10)),
    "ranged_request_return_trailing_bytes_response_code": (TEXT, "bytes=-7", (4, 10)),
    "ranged_big_request_response_code": (os.urandom(8 * MIB), f"bytes={3 * MIB}-{5 * MIB}", (3 * MIB, 5 * MIB)),
}


def some_of(body, asked, ends):
    def read(bucket: Bucket):
        bucket.put("k", body)
        answer = bucket.get_object(Key="k", Range=asked)
        first, last = ends
        assert answer["Body"].read() == body[first:last + 1], f"{asked}: other bytes"
        same((status_of(answer), headers_of(answer)["content-range"]), (206, f"bytes {first}-{last}/{len(body)}"))

    return read


def none_of(body):
    def read(bucket: Bucket):
        bucket.put("k", body)
        refused(416, "InvalidRange", bucket.get_object, Key="k", Range="bytes=40-50")

    return read


for name, case in RANGES.items():
    add(name, some_of(*case))
add("ranged_request_invalid_range", none_of(TEXT))
add("ranged_request_empty_object", none_of(b""))


def copy_if(condition, tag, is_done):
    """Copies an object under a condition on its tag, which is the object's own unless another is given."""

    def copy(bucket: Bucket):
        own = bucket.put("k", b"bar")["ETag"]
        copy = {"Key": "copy", "CopySource": f"{bucket.name}/k", condition: tag or own}
        if is_done:
            bucket.copy_object(**copy)
            same(bucket.read("copy"), b"bar")
        else:
            refused(412, "PreconditionFailed", bucket.copy_object, **copy)
            refused(404, "NoSuchKey", bucket.read, key="copy")

    return copy


add("copy_object_ifmatch_good", copy_if("CopySourceIfMatch", None, True))
add("copy_object_ifmatch_failed", copy_if("CopySourceIfMatch", "NotThisOne", False))
add("copy_object_ifnonematch_good", copy_if("CopySourceIfNoneMatch", None, False))
add("copy_object_ifnonematch_failed", copy_if("CopySourceIfNoneMatch", "NotThisOne", True))


@check
def object_read_unreadable(bucket):
    refused(400, None, bucket.get_object, Key="\xae\x8a-")
