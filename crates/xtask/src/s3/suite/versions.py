"""Buckets that keep what is overwritten and deleted: versions, delete markers, and their ids."""

import concurrent.futures
import os

from checks import Bucket, add, check, refused, same

MIB = 1 << 20


def put_many(bucket, count, key="k"):
    """Versions of an object, the oldest first: id and body of each."""
    bodies = [f"content {n}".encode() for n in range(count)]
    return [(bucket.put(key, body)["VersionId"], body) for body in bodies]


def put_in_parts(bucket, key):
    """An object that comes in two parts: its version, if that is told, and its body."""
    upload = {"Key": key, "UploadId": bucket.create_multipart_upload(Key=key)["UploadId"]}
    bodies = [os.urandom(5 * MIB), os.urandom(1000)]
    parts = [{"PartNumber": n, "ETag": bucket.upload_part(**upload, PartNumber=n, Body=body)["ETag"]}
             for n, body in enumerate(bodies, 1)]
    done = bucket.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return done.get("VersionId"), b"".join(bodies)


def versions(bucket):
    """Those that are listed, the oldest of the last key first: key and id."""
    listed = bucket.list_object_versions().get("Versions", [])
    return [(one["Key"], one["VersionId"]) for one in reversed(listed)]


def has_versions(bucket, kept, key="k"):
    """These versions are listed and read, and no others."""
    same(versions(bucket), [(key, id) for id, _ in kept])
    for id, body in kept:
        assert bucket.read(key, VersionId=id) == body, f"version {id} has other bytes"


def is_empty(bucket):
    listed = bucket.list_object_versions()
    same((listed.get("Versions", []), listed.get("DeleteMarkers", [])), ([], []))


def remove_each(bucket, kept, places, key="k"):
    """Removes versions one after the other, by their places among those that are left."""
    kept = list(kept)
    for place in places:
        id, body = kept.pop(place % len(kept))
        same(bucket.read(key, VersionId=id), body)
        bucket.delete_object(Key=key, VersionId=id)
        has_versions(bucket, kept, key)
    same(kept, [])


@check
def versioning_bucket_create_suspend(bucket):
    same(bucket.get_bucket_versioning().get("Status"), None)
    for status in ["Suspended", "Enabled", "Enabled", "Suspended"]:
        bucket.put_bucket_versioning(VersioningConfiguration={"Status": status})
        same(bucket.get_bucket_versioning()["Status"], status)


@check
def versioning_obj_create_read_remove(bucket):
    bucket.put_bucket_versioning(VersioningConfiguration={"MFADelete": "Disabled", "Status": "Enabled"})
    for first, step in [(-1, 0), (-1, 0), (0, 0), (1, 0), (4, -1), (3, 3)]:
        remove_each(bucket, put_many(bucket, 5), [first + step * n for n in range(5)])


@check
def versioning_obj_create_read_remove_head(bucket):
    kept = put_many(bucket.versioned(), 5)
    bucket.delete_object(Key="k", VersionId=kept.pop()[0])
    same(bucket.read("k"), kept[-1][1])
    gone = bucket.delete_object(Key="k")
    same(gone["DeleteMarker"], True)
    listed = bucket.list_object_versions()
    same(len(listed["Versions"]), len(kept))
    same([one["VersionId"] for one in listed["DeleteMarkers"]], [gone["VersionId"]])
    for id in [*(id for id, _ in kept), gone["VersionId"]]:
        bucket.delete_object(Key="k", VersionId=id)
    bucket.delete_bucket()


@check
def versioning_obj_plain_null_version_removal(bucket):
    bucket.put("k", b"plain")
    bucket.versioned().delete_object(Key="k", VersionId="null")
    refused(404, "NoSuchKey", bucket.read, key="k")
    is_empty(bucket)


@check
def versioning_obj_plain_null_version_overwrite(bucket):
    bucket.put("k", b"plain")
    newer = bucket.versioned().put("k", b"newer")["VersionId"]
    same(bucket.read("k"), b"newer")
    bucket.delete_object(Key="k", VersionId=newer)
    same(bucket.read("k"), b"plain")
    bucket.delete_object(Key="k", VersionId="null")
    refused(404, "NoSuchKey", bucket.read, key="k")
    is_empty(bucket)


def suspend(bucket):
    bucket.put_bucket_versioning(VersioningConfiguration={"Status": "Suspended"})


@check
def versioning_obj_plain_null_version_overwrite_suspended(bucket):
    bucket.put("k", b"plain")
    suspend(bucket.versioned())
    bucket.put("k", b"newer")
    same(bucket.read("k"), b"newer")
    same(versions(bucket), [("k", "null")])
    bucket.delete_object(Key="k", VersionId="null")
    refused(404, "NoSuchKey", bucket.read, key="k")
    same(versions(bucket), [])


@check
def versioning_obj_suspend_versions(bucket):
    """While they are suspended, what is put and deleted takes the place of the version `null` only."""
    kept = put_many(bucket.versioned(), 5)
    suspend(bucket)
    for body in [None, None, b"null 1", b"null 2", None, b"null 3", None]:
        bucket.delete_object(Key="k") if body is None else bucket.put("k", body)
    kept += put_many(bucket.versioned(), 3)
    remove_each(bucket, kept, range(8))


@check
def versioning_obj_create_versions_remove_all(bucket):
    remove_each(bucket, put_many(bucket.versioned(), 10), range(10))


@check
def versioning_obj_create_versions_remove_special_names(bucket):
    bucket.versioned()
    for key in ["_testobj", "_", ":", " "]:
        remove_each(bucket, put_many(bucket, 10, key), range(10), key)


@check
def versioning_obj_create_overwrite_multipart(bucket):
    kept = [put_in_parts(bucket.versioned(), "k") for _ in range(3)]
    has_versions(bucket, kept)
    remove_each(bucket, kept, range(3))


@check
def versioning_obj_list_marker(bucket):
    first, second = put_many(bucket.versioned(), 5, "k"), put_many(bucket, 5, "k-1")
    same(versions(bucket), [("k-1", id) for id, _ in second] + [("k", id) for id, _ in first])
    for key, kept in [("k", first), ("k-1", second)]:
        same([bucket.read(key, VersionId=id) for id, _ in kept], [body for _, body in kept])


@check
def versioning_copy_obj_version(bucket):
    kept = put_many(bucket.versioned(), 3)
    source = {"Bucket": bucket.name, "Key": "k"}
    for target in [bucket, bucket.another()]:
        for n, (id, body) in enumerate(kept):
            target.copy_from({**source, "VersionId": id}, Key=f"copy-{n}")
            same(target.read(f"copy-{n}"), body)
    target.copy_from(source, Key="newest")
    same(target.read("newest"), kept[-1][1])


def removed_twice(with_marker):
    """Versions, and a marker if there is one, are deleted; who does it again is not told otherwise."""

    def remove(bucket: Bucket):
        ids = [id for id, _ in put_many(bucket.versioned(), 2)]
        if with_marker:
            bucket.delete_object(Key="k")
            markers = bucket.list_object_versions()["DeleteMarkers"]
            same(len(markers), 1)
            ids.append(markers[0]["VersionId"])
        for _ in range(2):
            for id in ids:
                bucket.delete_object(Key="k", VersionId=id)
            is_empty(bucket)

    return remove


add("versioning_multi_object_delete", removed_twice(False))
add("versioning_multi_object_delete_with_marker", removed_twice(True))


@check
def versioning_multi_object_delete_with_marker_create(bucket):
    """Deleting what was never there leaves a marker."""
    id = bucket.versioned().delete_object(Key="k")["VersionId"]
    markers = bucket.list_object_versions()["DeleteMarkers"]
    same([(one["Key"], one["VersionId"]) for one in markers], [("k", id)])


def made_public(named):
    """Who may do what with a version is changed for that version, the newest unless one is named."""

    def make(bucket: Bucket):
        ids = [id for id, _ in put_many(bucket.versioned(), 3)]
        id = ids[1 if named else -1]
        rights = lambda **version: [(one["Permission"], one["Grantee"].get("ID"))
                                    for one in bucket.get_object_acl(Key="k", **version)["Grants"]]
        owner = bucket.get_object_acl(Key="k", VersionId=id)["Owner"]["ID"]
        same(rights(VersionId=id), [("FULL_CONTROL", owner)])
        bucket.put_object_acl(Key="k", ACL="public-read", **({"VersionId": id} if named else {}))
        same(sorted(right for right, _ in rights(VersionId=id)), ["FULL_CONTROL", "READ"])
        if named:
            bucket.put("k", b"")
            same(rights(), [("FULL_CONTROL", owner)])

    return make


add("versioned_object_acl", made_public(True))
add("versioned_object_acl_no_version_specified", made_public(False))


def all_at_once(pool, function, items):
    return [pool.submit(function, item) for item in items]


def put_one(bucket):
    return lambda n: bucket.put("k", f"data {n}".encode())


def remove_one(bucket):
    return lambda version: bucket.delete_object(Key=version[0], VersionId=version[1])


@check
def versioned_concurrent_object_create_concurrent_remove(bucket):
    bucket.versioned()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        for _ in range(5):
            for one in all_at_once(pool, put_one(bucket), range(5)):
                one.result()
            found = versions(bucket)
            same(len(found), 5)
            for one in all_at_once(pool, remove_one(bucket), found):
                one.result()
            is_empty(bucket)


@check
def versioned_concurrent_object_create_and_remove(bucket):
    bucket.versioned()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        jobs = []
        for _ in range(3):
            jobs += all_at_once(pool, put_one(bucket), range(3))
            jobs += all_at_once(pool, remove_one(bucket), versions(bucket))
        for one in jobs:
            one.result()
        for one in all_at_once(pool, remove_one(bucket), versions(bucket)):
            one.result()
    is_empty(bucket)


def ids_are_told(put):
    """What is put into a bucket with versions is told its id, elsewhere none: as long as there were none, or while they are
    suspended."""

    def tell(bucket: Bucket):
        id = put(bucket.versioned())
        same(versions(bucket), [("k", id)])
        same(put(bucket.another()), None)
        suspended = bucket.another()
        suspend(suspended)
        same(put(suspended), None)

    return tell


add("versioning_bucket_atomic_upload_return_version_id", ids_are_told(lambda bucket: bucket.put("k").get("VersionId")))
add("versioning_bucket_multipart_upload_return_version_id", ids_are_told(lambda bucket: put_in_parts(bucket, "k")[0]))
