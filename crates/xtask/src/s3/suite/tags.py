"""Tags of objects."""

import random
import string

from checks import Bucket, add, check, client_with, headers_of, refused, same, status_of


def tags(*pairs):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in pairs]}


def numbered(count):
    return tags(*((str(n), str(n)) for n in range(count)))


def lengthy(key, value):
    """Ten tags with names and values of this length."""
    text = lambda length: "".join(random.choices(string.ascii_letters, k=length))
    return tags(*((text(key), text(value)) for _ in range(10)))


def told(bucket):
    return bucket.get_object_tagging(Key="k")["TagSet"]


def given(*sets):
    """An object gets these sets of tags, one after the other, and tells each."""

    def give(bucket: Bucket):
        bucket.put("k", b"tagged")
        for one in sets:
            same(status_of(bucket.put_object_tagging(Key="k", Tagging=one)), 200)
            by_key = lambda tag: tag["Key"]
            same(sorted(told(bucket), key=by_key), sorted(one["TagSet"], key=by_key))

    return give


def not_given(one):
    def give(bucket: Bucket):
        bucket.put("k", b"tagged")
        refused(400, "InvalidTag", bucket.put_object_tagging, Key="k", Tagging=one)
        same(told(bucket), [])

    return give


add("get_obj_tagging", given(numbered(2)))
add("put_max_tags", given(numbered(10)))
add("put_max_kvsize_tags", given(lengthy(128, 256)))
add("put_modify_tags", given(tags(("key", "val"), ("key2", "val2")), tags(("key3", "val3"))))
add("put_excess_tags", not_given(numbered(11)))
add("put_excess_key_tags", not_given(lengthy(129, 256)))
add("put_excess_val_tags", not_given(lengthy(128, 257)))


@check
def get_obj_head_tagging(bucket):
    bucket.put("k", b"tagged")
    bucket.put_object_tagging(Key="k", Tagging=numbered(2))
    same(headers_of(bucket.head_object(Key="k")).get("x-amz-tagging-count"), "2")


@check
def put_delete_tags(bucket):
    given(numbered(2))(bucket)
    same(status_of(bucket.delete_object_tagging(Key="k")), 204)
    same(told(bucket), [])


@check
def put_obj_with_tags(bucket):
    tagging = client_with("PutObject", {"x-amz-tagging": "foo=bar&bar"})
    bucket.seen_by(tagging).put("k", b"A" * 100)
    same(bucket.read("k"), b"A" * 100)
    same(told(bucket), tags(("bar", ""), ("foo", "bar"))["TagSet"])
