"""Lists of access, and what those can do who have no key or another one."""

import concurrent.futures

from checks import add, check, client_with, nobody, other, refused, s3, same

EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
ANYBODY_KNOWN = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
CANNED = {"private": [], "public-read": [("READ", EVERYBODY)], "authenticated-read": [("READ", ANYBODY_KNOWN)],
          "public-read-write": [("READ", EVERYBODY), ("WRITE", EVERYBODY)]}


def granted(told):
    """What a list of access says, in any order."""
    return sorted((one["Permission"], one["Grantee"].get("ID") or one["Grantee"].get("URI")) for one in told["Grants"])


def check_canned(told, acl):
    me = s3.list_buckets()["Owner"]
    same(told["Owner"], me)
    same(granted(told), sorted([*CANNED[acl], ("FULL_CONTROL", me["ID"])]))


def canned_bucket(*lists):
    """A bucket that is made with a list of access, and given others."""

    def change(bucket):
        made = bucket.another(made=False)
        made.create_bucket(ACL=lists[0])
        check_canned(made.get_bucket_acl(), lists[0])
        for acl in lists[1:]:
            made.put_bucket_acl(ACL=acl)
            check_canned(made.get_bucket_acl(), acl)

    return change


def canned_object(*lists):
    def change(bucket):
        bucket.put(ACL=lists[0])
        check_canned(bucket.get_object_acl(Key="foo"), lists[0])
        for acl in lists[1:]:
            bucket.put_object_acl(Key="foo", ACL=acl)
            check_canned(bucket.get_object_acl(Key="foo"), acl)

    return change


for what, canned in [("bucket", canned_bucket), ("object", canned_object)]:
    add(f"{what}_acl_default", canned("private"))
    add(f"{what}_acl_canned_during_create", canned("public-read"))
    add(f"{what}_acl_canned", canned("public-read", "private"))
    add(f"{what}_acl_canned_publicreadwrite", canned("public-read-write"))
    add(f"{what}_acl_canned_authenticatedread", canned("authenticated-read"))
add("bucket_acl_canned_private_to_private", canned_bucket("private", "private"))


@check
def bucket_concurrent_set_canned_acl(bucket):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bucket.put_bucket_acl(ACL="public-read"), range(50)))


def with_grants(operation, make):
    """Gives somebody every right by headers, and reads the list of access."""

    def grant(bucket):
        me = other.list_buckets()["Owner"]["ID"]
        rights = ["read", "write", "read-acp", "write-acp", "full-control"]
        headers = {f"x-amz-grant-{right}": f"id={me}" for right in rights}
        told = make(bucket, client_with(operation, headers))
        same(granted(told), sorted((right.replace("-", "_").upper(), me) for right in rights))

    return grant


def make_object(bucket, giver):
    bucket.seen_by(giver).put()
    return bucket.get_object_acl(Key="foo")


def make_bucket(bucket, giver):
    made = bucket.another(made=False)
    made.seen_by(giver).create_bucket()
    return made.get_bucket_acl()


add("object_header_acl_grants", with_grants("PutObject", make_object))
add("bucket_header_acl_grants", with_grants("CreateBucket", make_bucket))


# Those without a key.

def list_public(operation):
    def ask(bucket):
        bucket.put_bucket_acl(ACL="public-read")
        getattr(bucket.seen_by(nobody), operation)()

    return ask


def list_private(operation):
    return lambda bucket: refused(403, "AccessDenied", getattr(bucket.seen_by(nobody), operation))


for name, operation in [("list", "list_objects"), ("listv2", "list_objects_v2")]:
    add(f"bucket_{name}_objects_anonymous", list_public(operation))
    add(f"bucket_{name}_objects_anonymous_fail", list_private(operation))


def raw(bucket_acl, object_acl, reader, gone=None, status=200, code=None, operation="get_object"):
    """Reads (or deletes) an object by somebody, after the object or bucket is `gone`."""

    def ask(bucket):
        there = bucket.another(made=False)
        there.create_bucket(ACL=bucket_acl)
        there.put(ACL=object_acl)
        if gone:
            there.delete_object(Key="foo")
        if gone == "bucket":
            there.delete_bucket()
        call = getattr(there.seen_by(reader), operation)
        if status == 200:
            call(Key="foo")
        else:
            refused(status, code, call, Key="foo")

    return ask


PUBLIC = ("public-read", "public-read")
for name, case in {
    "get": raw(*PUBLIC, nobody),
    "get_bucket_gone": raw(*PUBLIC, nobody, "bucket", 404, "NoSuchBucket"),
    "get_object_gone": raw(*PUBLIC, nobody, "object", 404, "NoSuchKey"),
    "get_bucket_acl": raw("private", "public-read", nobody),
    "get_object_acl": raw("public-read", "private", nobody, None, 403, "AccessDenied"),
    "authenticated": raw(*PUBLIC, s3),
    "authenticated_bucket_acl": raw("private", "public-read", s3),
    "authenticated_object_acl": raw("public-read", "private", s3),
}.items():
    add(f"object_raw_{name}", case)
add("object_delete_key_bucket_gone", raw(*PUBLIC, nobody, "bucket", 404, "NoSuchBucket", "delete_object"))


@check
def object_anon_put(bucket):
    bucket.put()
    refused(403, "AccessDenied", bucket.seen_by(nobody).put)
    same(bucket.read(), b"bar")


@check
def object_anon_put_write_access(bucket):
    open_to_all = bucket.another(made=False)
    open_to_all.create_bucket(ACL="public-read-write")
    open_to_all.seen_by(nobody).put()


# Somebody else, by what bucket and one of its two objects allow: what they can read of them, and where they can write.

def access(bucket_acl, object_acl, listing="list_objects"):
    def ask(bucket):
        bucket.put_bucket_acl(ACL=bucket_acl)
        bucket.put("foo", b"foocontent")
        bucket.put_object_acl(Key="foo", ACL=object_acl)
        bucket.put("bar", b"barcontent")
        theirs = bucket.seen_by(other)
        allowed = lambda is_allowed, call, **more: call(**more) if is_allowed else refused(403, None, call, **more)
        allowed(object_acl != "private", theirs.get_object, Key="foo")
        allowed(False, theirs.get_object, Key="bar")
        allowed(bucket_acl != "private", getattr(theirs, listing))
        for key in ["foo", "bar", "new"]:
            allowed(bucket_acl == "public-read-write", theirs.put, key=key)

    return ask


for bucket_acl in ["private", "public-read", "public-read-write"]:
    for object_acl in ["private", "public-read", "public-read-write"]:
        name = [acl.replace("-", "") for acl in (bucket_acl, object_acl)]
        add(f"access_bucket_{name[0]}_object_{name[1]}", access(bucket_acl, object_acl))
        if bucket_acl == "private":
            add(f"access_bucket_private_objectv2_{name[1]}", access(bucket_acl, object_acl, "list_objects_v2"))
