"""ListObjects and ListObjectsV2: delimiters, prefixes, pages, markers, owners."""

from checks import Bucket, add, check, client_with, refused, same

PLAIN = ["bar", "baz", "foo", "quxx"]
WITHOUT_A = ["bar", "baz", "cab", "foo"]
FOLDERS = ["foo/bar", "foo/baz", "quux"]
DEEP = ["b/a/c", "b/a/g", "b/a/r", "g"]

# What comes of one request, by either version: keys, what is asked, which keys and which common prefixes are found.
ONE_PAGE = {
    "delimiter_basic": (["foo/bar", "foo/bar/xyzzy", "quux/thud", "asdf"], {"Delimiter": "/"}, ["asdf"], ["foo/", "quux/"]),
    "delimiter_alt": (WITHOUT_A, {"Delimiter": "a"}, ["foo"], ["ba", "ca"]),
    "delimiter_percentage": (["b%ar", "b%az", "c%ab", "foo"], {"Delimiter": "%"}, ["foo"], ["b%", "c%"]),
    "delimiter_whitespace": (["b ar", "b az", "c ab", "foo"], {"Delimiter": " "}, ["foo"], ["b ", "c "]),
    "delimiter_dot": (["b.ar", "b.az", "c.ab", "foo"], {"Delimiter": "."}, ["foo"], ["b.", "c."]),
    "delimiter_unreadable": (WITHOUT_A, {"Delimiter": "\n"}, WITHOUT_A, []),
    "delimiter_empty": (WITHOUT_A, {"Delimiter": ""}, WITHOUT_A, []),
    "delimiter_none": (WITHOUT_A, {}, WITHOUT_A, []),
    "delimiter_not_exist": (WITHOUT_A, {"Delimiter": "/"}, WITHOUT_A, []),
    "delimiter_prefix_ends_with_delimiter": (["asdf/"], {"Delimiter": "/", "Prefix": "asdf/"}, ["asdf/"], []),
    "prefix_basic": (FOLDERS, {"Prefix": "foo/"}, ["foo/bar", "foo/baz"], []),
    "prefix_alt": (["bar", "baz", "foo"], {"Prefix": "ba"}, ["bar", "baz"], []),
    "prefix_empty": (FOLDERS, {"Prefix": ""}, FOLDERS, []),
    "prefix_none": (FOLDERS, {}, FOLDERS, []),
    "prefix_not_exist": (FOLDERS, {"Prefix": "d"}, [], []),
    "prefix_unreadable": (FOLDERS, {"Prefix": "\n"}, [], []),
    "prefix_delimiter_basic": (["foo/bar", "foo/baz/xyzzy", "quux/thud", "asdf"], {"Delimiter": "/", "Prefix": "foo/"},
                               ["foo/bar"], ["foo/baz/"]),
    "prefix_delimiter_alt": (["bar", "bazar", "cab", "foo"], {"Delimiter": "a", "Prefix": "ba"}, ["bar"], ["baza"]),
    "prefix_delimiter_prefix_not_exist": (DEEP, {"Delimiter": "d", "Prefix": "/"}, [], []),
    "prefix_delimiter_delimiter_not_exist": (DEEP, {"Delimiter": "z", "Prefix": "b"}, DEEP[:3], []),
    "prefix_delimiter_prefix_delimiter_not_exist": (DEEP, {"Delimiter": "z", "Prefix": "y"}, [], []),
    "maxkeys_zero": (PLAIN, {"MaxKeys": 0}, [], []),
    "maxkeys_none": (PLAIN, {}, PLAIN, []),
    "encoding_basic": (["foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b"], {"Delimiter": "/", "EncodingType": "url"},
                       ["asdf%2Bb"], ["foo%2B1/", "foo/", "quux%20ab/"]),
}

# The same for one version.
ONE_PAGE_V1 = {
    "delimiter_not_skip_special": (["0/"] + [f"0/{n}" for n in range(1000, 1999)] + ["1999", "1999#", "1999+", "2000"],
                                   {"Delimiter": "/"}, ["1999", "1999#", "1999+", "2000"], ["0/"]),
    "marker_none": (PLAIN, {}, PLAIN, []),
    "marker_empty": (PLAIN, {"Marker": ""}, PLAIN, []),
    "marker_unreadable": (PLAIN, {"Marker": "\n"}, PLAIN, []),
    "marker_not_in_list": (PLAIN, {"Marker": "blah"}, ["foo", "quxx"], []),
    "marker_after_list": (PLAIN, {"Marker": "zzz"}, [], []),
}
ONE_PAGE_V2 = {
    "continuationtoken_empty": (PLAIN, {"ContinuationToken": ""}, PLAIN, []),
    "startafter_unreadable": (PLAIN, {"StartAfter": "\n"}, PLAIN, []),
    "startafter_not_in_list": (PLAIN, {"StartAfter": "blah"}, ["foo", "quxx"], []),
    "startafter_after_list": (PLAIN, {"StartAfter": "zzz"}, [], []),
}


def found(page):
    return ([one["Key"] for one in page.get("Contents", [])],
            [one["Prefix"] for one in page.get("CommonPrefixes", [])])


def one_page(operation, keys, asked, wanted, prefixes):
    def ask(bucket: Bucket):
        page = getattr(bucket.fill(keys), operation)(**asked)
        same(found(page), (wanted, prefixes))
        same(page["IsTruncated"], False)
        same(page["MaxKeys"], asked.get("MaxKeys", 1000))
        # What was asked is told again; empty delimiters are not.
        same(page.get("Delimiter", ""), asked.get("Delimiter", ""))
        same("Delimiter" in page, asked.get("Delimiter", "") != "")
        for name in ["Prefix", "Marker"] if operation == "list_objects" else ["Prefix"]:
            same(page[name], asked.get(name, ""), name)
        for name in {"ContinuationToken", "StartAfter"} & set(asked):
            same(page[name], asked[name], name)
        if operation == "list_objects_v2":
            same(page["KeyCount"], len(wanted) + len(prefixes))

    return ask


for suffix, case in {**ONE_PAGE, **ONE_PAGE_V1}.items():
    add(f"bucket_list_{suffix}", one_page("list_objects", *case))
for suffix, case in {**ONE_PAGE, **ONE_PAGE_V2}.items():
    add(f"bucket_listv2_{suffix}", one_page("list_objects_v2", *case))

# Page after page: prefix, how many at once, and for each page what is found. Every page goes on where the one before ended.
BY_SLASH = {
    "delimiter_prefix": (["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"], [
        ("", 1, [(["asdf"], []), ([], ["boo/"]), ([], ["cquux/"])]),
        ("", 2, [(["asdf"], ["boo/"]), ([], ["cquux/"])]),
        ("boo/", 1, [(["boo/bar"], []), ([], ["boo/baz/"])]),
        ("boo/", 2, [(["boo/bar"], ["boo/baz/"])]),
    ]),
    "delimiter_prefix_underscore": (["_obj1_", "_under1/bar", "_under1/baz/xyzzy", "_under2/thud", "_under2/bla"], [
        ("", 1, [(["_obj1_"], []), ([], ["_under1/"]), ([], ["_under2/"])]),
        ("", 2, [(["_obj1_"], ["_under1/"]), ([], ["_under2/"])]),
        ("_under1/", 1, [(["_under1/bar"], []), ([], ["_under1/baz/"])]),
        ("_under1/", 2, [(["_under1/bar"], ["_under1/baz/"])]),
    ]),
}


def pages(operation, keys, rounds):
    here, there = {"list_objects": ("Marker", "NextMarker"),
                   "list_objects_v2": ("ContinuationToken", "NextContinuationToken")}[operation]

    def walk(bucket: Bucket):
        ask = getattr(bucket.fill(keys), operation)
        for prefix, size, wanted in rounds:
            mark = {} if operation == "list_objects_v2" else {"Marker": ""}
            for left, (names, prefixes) in zip(reversed(range(len(wanted))), wanted):
                page = ask(Delimiter="/", Prefix=prefix, MaxKeys=size, **mark)
                same(found(page), (names, prefixes), f"{prefix!r} by {size}")
                same(page["IsTruncated"], left > 0)
                same(there in page, left > 0, there)
                if operation == "list_objects" and left:
                    same(page[there], (prefixes or names)[-1])
                mark = {here: page.get(there, "")}

    return walk


for suffix, case in BY_SLASH.items():
    add(f"bucket_list_{suffix}", pages("list_objects", *case))
    add(f"bucket_listv2_{suffix}", pages("list_objects_v2", *case))


def two_pages(operation, after, keys, size):
    """A first page of this size, and all that comes behind its last key."""

    def ask(bucket: Bucket):
        function = getattr(bucket.fill(keys), operation)
        names = sorted(keys)
        page = function(MaxKeys=size)
        same((found(page), page["IsTruncated"]), ((names[:size], []), True))
        page = function(**{after: names[size - 1]})
        same((found(page), page["IsTruncated"]), ((names[size:], []), False))

    return ask


add("bucket_list_many", two_pages("list_objects", "Marker", ["foo", "bar", "baz"], 2))
add("bucket_listv2_many", two_pages("list_objects_v2", "StartAfter", ["foo", "bar", "baz"], 2))
add("bucket_list_maxkeys_one", two_pages("list_objects", "Marker", PLAIN, 1))
add("bucket_listv2_maxkeys_one", two_pages("list_objects_v2", "StartAfter", PLAIN, 1))


@check
def basic_key_count(bucket):
    same(bucket.fill("01234").list_objects_v2()["KeyCount"], 5)


def owners(are_told, **asked):
    def ask(bucket: Bucket):
        listed = bucket.fill(FOLDERS).list_objects_v2(**asked)["Contents"]
        same(["Owner" in one for one in listed], [are_told] * 3)

    return ask


add("bucket_listv2_fetchowner_notempty", owners(True, FetchOwner=True))
add("bucket_listv2_fetchowner_defaultempty", owners(False))
add("bucket_listv2_fetchowner_empty", owners(False, FetchOwner=False))


@check
def bucket_listv2_continuationtoken(bucket):
    token = bucket.fill(PLAIN).list_objects_v2(MaxKeys=1)["NextContinuationToken"]
    page = bucket.list_objects_v2(ContinuationToken=token)
    same((found(page), page["IsTruncated"], page["ContinuationToken"]), ((PLAIN[1:], []), False, token))


@check
def bucket_listv2_both_continuationtoken_startafter(bucket):
    token = bucket.fill(PLAIN).list_objects_v2(StartAfter="bar", MaxKeys=1)["NextContinuationToken"]
    page = bucket.list_objects_v2(StartAfter="bar", ContinuationToken=token)
    same((found(page), page["IsTruncated"]), ((PLAIN[2:], []), False))
    same((page["ContinuationToken"], page["StartAfter"]), (token, "bar"))


@check
def bucket_list_maxkeys_invalid(bucket):
    odd = bucket.fill(PLAIN).seen_by(client_with("ListObjects", query="max-keys=blah"))
    refused(400, "InvalidArgument", odd.list_objects)


def unordered(operation, after):
    """An extension of Ceph's: keys in any order, for which there can be no delimiter."""

    def ask(bucket: Bucket):
        plain = ["ado", "bot", "cob", "dog", "emu", "fez", "gnu", "hex", "xix", "yak", "zoo"]
        below = [f"abc/{name}" for name in ["ink", "jet", "kin", "lax", "mux"]]
        any_order = client_with({"list_objects": "ListObjects", "list_objects_v2": "ListObjectsV2"}[operation],
                                query="allow-unordered=true")
        function = getattr(bucket.fill(plain + below).seen_by(any_order), operation)
        keys = lambda **more: found(function(**more))[0]
        same(sorted(keys()), sorted(plain + below))
        same(sorted(keys(Prefix="abc/")), below)
        first = keys(MaxKeys=6)
        second = keys(MaxKeys=6, **{after: first[-1]})
        same((len(first), len(second), set(first) & set(second)), (6, 6, set()))
        refused(400, "InvalidArgument", function, Delimiter="/")

    return ask


add("bucket_list_unordered", unordered("list_objects", "Marker"))
add("bucket_listv2_unordered", unordered("list_objects_v2", "StartAfter"))


def same_data(listing, keys, names):
    """What a listing tells of each object is what the object itself does, whose headers have whole seconds."""

    def compare(bucket: Bucket):
        for one in getattr(bucket.fill(keys), listing[0])()[listing[1]]:
            told = bucket.head_object(Key=one["Key"])
            one["LastModified"] = one["LastModified"].replace(microsecond=0)
            same({name: told[name] for name in names}, {name: one[name] for name in names})
            same((told["ContentLength"], bucket.get_object_acl(Key=one["Key"])["Owner"]), (one["Size"], one["Owner"]))

    return compare


add("bucket_list_return_data", same_data(("list_objects", "Contents"), PLAIN, ["ETag", "LastModified"]))


@check
def bucket_list_return_data_versioning(bucket):
    versions = ("list_object_versions", "Versions")
    same_data(versions, PLAIN, ["ETag", "LastModified", "VersionId"])(bucket.versioned())
