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


# Several conditions after each other, by clients that know them: what is asked, and which status is answered. `first` and
# `last` are the tags of the first and the last object that was put. Bodies count up where there are versions.

NO, NONE, BAD = (412, "PreconditionFailed"), (404, "NoSuchKey"), "badetag"
DELETE = "delete"


def in_order(versioned, *steps):
    def write(bucket):
        tags = {}
        if versioned:
            bucket.versioned()
        for number, step in enumerate(steps):
            if step is DELETE:
                bucket.delete_object(Key="foo")
                continue
            condition, wanted = step
            asked = {name: tags.get(value, value) for name, value in condition.items()}
            body = str(number).encode() if versioned else b""
            if wanted:
                refused(*wanted, bucket.put, body=body, **asked)
            else:
                tags["last"] = bucket.put(body=body, **asked)["ETag"]
                tags.setdefault("first", tags["last"])

    return write


def match(value, wanted=None):
    return {"IfMatch": value}, wanted


def none_match(value, wanted=None):
    return {"IfNoneMatch": value}, wanted


add("put_object_if_match", in_order(
    False, none_match("*"), none_match("*", NO), none_match("last", NO), none_match(BAD), match("last"), DELETE,
    match("*", NONE), match(BAD, NONE), none_match("last"), match("*"), match(BAD, NO), match("last")))
add("put_current_object_if_none_match", in_order(
    True, none_match("*"), ({}, None), none_match("*", NO), none_match("last", NO), none_match("first"), none_match(BAD),
    DELETE))
add("put_current_object_if_match", in_order(
    True, match("*", NONE), match(BAD, NONE), none_match("deadbeef"), match("*"), match(BAD, NO), match("first", NO),
    match("last")))
add("put_object_current_if_match", in_order(
    True, none_match("*"), none_match("*", NO), none_match("last", NO), match("last"), DELETE, match("*", NONE),
    match(BAD, NONE), none_match("last")))
