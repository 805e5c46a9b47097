"""What the checks share: clients, buckets of a check's own, and how an answer is compared."""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import secrets
import ssl
import threading
import urllib.error
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError


def read_arguments():
    reader = argparse.ArgumentParser(description="Checks an S3 service as Ceph's s3-tests do (docs/s3.md).")
    for name in ["endpoint", "key", "secret", "other_key", "other_secret", "certificate"]:
        reader.add_argument(name, nargs="?", default="", help="PEM file, or nothing" if name == "certificate" else None)
    reader.add_argument("--only", metavar="NAME", action="append", help="run this check, or those that match NAME*")
    reader.add_argument("--list", action="store_true", help="tell the names and run nothing")
    return reader.parse_args()


OPTIONS = read_arguments()
CHECKS = {}
ONE_AT_A_TIME = threading.Lock()  # boto3 makes clients on one thread at a time


def add(name, function):
    """Makes `function(bucket)` the check of this name, which is the public test's without `test_`."""
    assert name not in CHECKS, f"{name} is there twice"
    CHECKS[name] = function
    return function


def check(function):
    return add(function.__name__, function)


def client(key=None, secret=None, **more):
    """Another client; whatever `Config` takes may be given."""
    settings = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, "max_pool_connections": 64}
    with ONE_AT_A_TIME:
        return boto3.client(
            "s3", endpoint_url=OPTIONS.endpoint or "http://localhost", region_name="us-east-1",
            aws_access_key_id=key or OPTIONS.key or "none", aws_secret_access_key=secret or OPTIONS.secret or "none",
            verify=OPTIONS.certificate or None, config=Config(**{**settings, **more}))


s3 = client()
other = client(OPTIONS.other_key, OPTIONS.other_secret)
nobody = client(signature_version=UNSIGNED)
signer = client(signature_version="s3v4")  # presigned links by version 4 of signatures


def client_with(operation, headers=None, query=None, without=()):
    """A client whose requests for `operation` have other headers (or lack some), and more in their query."""

    def change(params, **_):
        params["headers"].update(headers or {})
        for name in without:
            params["headers"].pop(name, None)
        if query:
            params["url"] += ("&" if "?" in params["url"] else "?") + query

    changed = client()
    changed.meta.events.register(f"before-call.s3.{operation}", change)
    return changed


class Bucket:
    """A bucket, and every operation of a client with its name: `bucket.put_object(Key=…)`."""

    PREFIX, NUMBER = f"suite-{secrets.token_hex(3)}", itertools.count()

    def __init__(self, name, all_of_check, by=None):
        self.name, self.all_of_check, self.by = name, all_of_check, by or s3

    def __getattr__(self, operation):
        return functools.partial(getattr(self.by, operation), Bucket=self.name)

    def seen_by(self, somebody):
        """The same bucket by another client."""
        return Bucket(self.name, self.all_of_check, somebody)

    def another(self, made=True, name=None):
        """One more, which is removed after the check as well. Unless it is `made` there is only its name."""
        more = Bucket(name or f"{Bucket.PREFIX}-{next(Bucket.NUMBER)}", self.all_of_check)
        self.all_of_check.append(more)
        if made:
            more.create_bucket()
        return more

    def put(self, key="foo", body=b"bar", **more):
        return self.put_object(Key=key, Body=body, **more)

    def fill(self, keys):
        """An object for each key, whose bytes are its key. Keys that end with `/` have none here: they are folders."""
        one = lambda key: self.put(key, b"" if key.endswith("/") else key.encode())
        if len(keys) < 100:
            for key in keys:
                one(key)
        else:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(one, keys))
        return self

    def read(self, key="foo", **more):
        return self.get_object(Key=key, **more)["Body"].read()

    def keys(self):
        return [one["Key"] for one in self.list_objects_v2().get("Contents", [])]

    def versioned(self):
        self.put_bucket_versioning(VersioningConfiguration={"Status": "Enabled"})
        return self

    def copy_from(self, source, **more):
        """Copies `source`, the place of an object, to the key that is given."""
        return self.copy_object(CopySource=source, **more)

    def remove(self):
        """Removes everything that a check may have left, and the bucket."""
        for one in self.list_multipart_uploads().get("Uploads", []):
            self.abort_multipart_upload(Key=one["Key"], UploadId=one["UploadId"])
        for _ in range(10):
            page = self.list_object_versions()
            kept = page.get("Versions", []) + page.get("DeleteMarkers", [])
            # A marker that something came after goes with the last version before it, not by itself.
            gone = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in kept]
            if not gone:
                return self.delete_bucket()
            self.delete_objects(Delete={"Objects": gone, "Quiet": True})
        raise AssertionError(f"{self.name} does not become empty: {kept}")


@contextlib.contextmanager
def own_bucket():
    """A fresh bucket for a check. Whatever it made is removed afterwards."""
    made = []
    try:
        yield Bucket("", made).another()
    finally:
        for bucket in made:
            with contextlib.suppress(s3.exceptions.NoSuchBucket):
                bucket.seen_by(s3).remove()


def same(found, wanted, what="answer"):
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


def refused(status, code, call, **arguments):
    """Asserts that a call is answered by this error. Where `code` is None, any will do."""
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"].get("Code")
        wanted = status, found[1] if code is None else code
        assert found == wanted, f"{found}: {error}, not {wanted}"
        return error.response
    raise AssertionError(f"it was done, and should be refused with {code or status}")


def headers_of(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"]


def status_of(answer):
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def fetch(url, method="GET", body=None, headers=None):
    """A request without any client of S3: status, headers, body. Paths are taken below the endpoint."""
    trust = ssl.create_default_context(cafile=OPTIONS.certificate) if OPTIONS.certificate else None
    url = OPTIONS.endpoint + url if url.startswith("/") else url
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        answer = urllib.request.urlopen(request, context=trust)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read()
