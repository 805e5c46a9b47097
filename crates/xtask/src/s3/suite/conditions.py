"""Conditions on reading and writing: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since."""

import datetime

from checks import add, check, client_with, refused, same

LONG_AGO, LATER = "Sat, 29 Oct 1994 19:43:31 GMT", "Sat, 29 Oct 2100 19:43:31 GMT"
WRONG = '"ABCORZ"'


def get(status, code, **condition):
    """Reads under a condition. The tag of what is there stands where it says `tag`."""

    def read(bucket):
        tag = bucket.put()["ETag"]
        asked = {name: tag if value == "tag" else value for name, value in condition.items()}
        if status == 200:
            same(bucket.read(**asked), b"bar")
        else:
            answer = refused(status, code, bucket.get_object, Key="foo", **asked)
            assert status != 304 or answer["Error"]["Message"] == "Not Modified", answer

    return read


add("get_object_ifmatch_good", get(200, None, IfMatch="tag"))
add("get_object_ifmatch_failed", get(412, "PreconditionFailed", IfMatch=WRONG))
add("get_object_ifnonematch_good", get(304, None, IfNoneMatch="tag"))
add("get_object_ifnonematch_failed", get(200, None, IfNoneMatch="ABCORZ"))
add("get_object_ifmodifiedsince_good", get(200, None, IfModifiedSince=LONG_AGO))
add("get_object_ifunmodifiedsince_good", get(412, "PreconditionFailed", IfUnmodifiedSince=LONG_AGO))
add("get_object_ifunmodifiedsince_failed", get(200, None, IfUnmodifiedSince=LATER))


@check
def get_object_ifmodifiedsince_failed(bucket):
    bucket.put()
    then = bucket.head_object(Key="foo")["LastModified"]
    for since in [then, then + datetime.timedelta(seconds=1)]:
        refused(304, None, bucket.get_object, Key="foo", IfModifiedSince=since)


def put(name, value, was_there, is_done):
    """Writes under a condition, as a header that no client has read. The tag of what is there stands where it says `tag`,
    without quotation marks."""

    def write(bucket):
        tag = bucket.put()["ETag"].strip('"') if was_there else None
        careful = bucket.seen_by(client_with("PutObject", {name: tag if value == "tag" else value}))
        if is_done:
            careful.put(body=b"zar")
            same(bucket.read(), b"zar")
            return
        refused(412, "PreconditionFailed", careful.put, body=b"zar")
        if was_there:
            same(bucket.read(), b"bar")
        else:
            refused(404, "NoSuchKey", bucket.get_object, Key="foo")

    return write


add("put_object_ifmatch_good", put("If-Match", "tag", True, True))
add("put_object_ifmatch_failed", put("If-Match", WRONG, True, False))
add("put_object_ifmatch_overwrite_existed_good", put("If-Match", "*", True, True))
add("put_object_ifmatch_nonexisted_failed", put("If-Match", "*", False, False))
add("put_object_ifnonmatch_good", put("If-None-Match", "ABCORZ", True, True))
add("put_object_ifnonmatch_failed", put("If-None-Match", "tag", True, False))
add("put_object_ifnonmatch_nonexisted_good", put("If-None-Match", "*", False, True))
add("put_object_ifnonmatch_overwrite_existed_failed", put("If-None-Match", "*", True, False))
