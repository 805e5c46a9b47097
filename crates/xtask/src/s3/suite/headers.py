"""Requests as they are written: checksums, lengths, dates, signatures, and who waits for `100 Continue`."""

import base64
import hashlib
import http.client
import re
import socket
import ssl
import urllib.parse
from email.utils import formatdate

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from checks import OPTIONS, Bucket, add, check, client_with, refused, same

# What is no part of a signature.
UNSIGNED = {"Authorization", "Content-Length", "Expect"}


def connect():
    """A connection to the hub, and the host as requests name it."""
    url = urllib.parse.urlsplit(OPTIONS.endpoint)
    plain = socket.create_connection((url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]), timeout=30)
    if url.scheme == "http":
        return plain, url.netloc
    trust = ssl.create_default_context(cafile=OPTIONS.certificate or None)
    return trust.wrap_socket(plain, server_hostname=url.hostname), url.netloc


def write(method, path, headers, body=b""):
    """Sends these bytes and no others: status and code of the answer, or of the first answer before it."""
    link, host = connect()
    with link:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        link.sendall("".join(line + "\r\n" for line in [*lines, ""]).encode() + body)
        if "100-continue" in headers.values():
            return int(link.recv(1024).split()[1]), None
        answer = http.client.HTTPResponse(link, method=method)
        answer.begin()
        code = re.search(rb"<Code>(.*?)</Code>", answer.read())
        return answer.status, code and code[1].decode()


def send(method, path, changes, body=b""):
    """Sends a signed request whose headers are changed so; None leaves one out."""
    signed = {name: value for name, value in changes.items() if name not in UNSIGNED and value is not None}
    request = AWSRequest(method, OPTIONS.endpoint + path, data=body, headers=signed)
    S3SigV4Auth(Credentials(OPTIONS.key, OPTIONS.secret), "s3", "us-east-1").add_auth(request)
    headers = {"Content-Length": str(len(body)), "Connection": "close", **dict(request.headers.items()), **changes}
    return write(method, path, {name: value for name, value in headers.items() if value is not None}, body)


def in_base64(data):
    return base64.b64encode(data).decode()


OTHER_MD5 = in_base64(hashlib.md5(b"something else").digest())

# How headers of a put are changed, and what is answered: status, and code if it tells something.
OBJECTS = {
    "bad_md5_invalid_short": ({"Content-MD5": in_base64(b"no MD5")}, 400, "InvalidDigest"),
    "bad_md5_bad": ({"Content-MD5": OTHER_MD5}, 400, "BadDigest"),
    "bad_md5_empty": ({"Content-MD5": ""}, 400, "InvalidDigest"),
    "bad_md5_none": ({"Content-MD5": None}, 200, None),
    "bad_expect_mismatch": ({"Expect": "200"}, 200, None),
    "bad_expect_empty": ({"Expect": ""}, 200, None),
    "bad_expect_none": ({"Expect": None}, 200, None),
    "bad_contentlength_empty": ({"Content-Length": ""}, 400, None),
    "bad_contentlength_negative": ({"Content-Length": "-1"}, 400, None),
    "bad_contentlength_none": ({"Content-Length": None}, 411, "MissingContentLength"),
    "bad_contenttype_invalid": ({"Content-Type": "text/plain"}, 200, None),
    "bad_contenttype_empty": ({"Content-Type": ""}, 200, None),
    "bad_contenttype_none": ({"Content-Type": None}, 200, None),
    "bad_authorization_empty": ({"Authorization": ""}, 403, None),
    "bad_authorization_none": ({"Authorization": None}, 403, None),
}
BUCKETS = {
    "contentlength_none": ({"Content-Length": None}, 200, None),
    "bad_expect_mismatch": ({"Expect": "200"}, 200, None),
    "bad_expect_empty": ({"Expect": ""}, 200, None),
    "bad_contentlength_empty": ({"Content-Length": ""}, 400, None),
    "bad_contentlength_negative": ({"Content-Length": "-1"}, 400, None),
    "bad_contentlength_none": ({"Content-Length": None}, 200, None),
    "bad_authorization_empty": ({"Authorization": ""}, 403, "AccessDenied"),
    "bad_authorization_none": ({"Authorization": None}, 403, "AccessDenied"),
}


def answered(found, status, code):
    same(found, (status, code or found[1]))


def put_object(changes, status, code):
    def put(bucket: Bucket):
        answered(send("PUT", f"/{bucket.name}/k", changes, b"bar"), status, code)
        if status == 200:
            same(bucket.read("k"), b"bar")
            bucket.put("k", b"again")
        else:
            refused(404, "NoSuchKey", bucket.read, key="k")

    return put


def make_bucket(changes, status, code):
    def make(bucket: Bucket):
        more = bucket.another(made=False)
        answered(send("PUT", f"/{more.name}", changes), status, code)
        if status == 200:
            more.head_bucket()
        else:
            refused(404, None, more.head_bucket)

    return make


for suffix, case in OBJECTS.items():
    add(f"object_create_{suffix}", put_object(*case))
for suffix, case in BUCKETS.items():
    add(f"bucket_create_{suffix}", make_bucket(*case))


def dated(date):
    """Clients that are told a `Date` sign by it, and send no `X-Amz-Date` (botocore does)."""

    def put(bucket: Bucket):
        headers = {"Date": date and formatdate(usegmt=True), "X-Amz-Date": formatdate(usegmt=True)}
        bucket.seen_by(client_with("PutObject", headers)).put("k", b"bar")
        same(bucket.read("k"), b"bar")

    return put


add("object_create_date_and_amz_date", dated(True))
add("object_create_amz_date_and_no_date", dated(""))


@check
def object_acl_create_contentlength_none(bucket):
    bucket.put("k")
    answered(send("PUT", f"/{bucket.name}/k?acl=", {"Content-Length": None, "x-amz-acl": "public-read"}), 200, None)


@check
def bucket_put_bad_canned_acl(bucket):
    refused(400, None, bucket.put_bucket_acl, ACL="public-ready")


# `100_continue` is no name that a function can have.
def waits_for_100(bucket: Bucket):
    """Whoever may not write is told so before the bytes come; others are told to go on."""
    ask = lambda: write("PUT", f"/{bucket.name}/k", {"Content-Length": "123", "Expect": "100-continue"})
    answered(ask(), 403, None)
    bucket.put_bucket_acl(ACL="public-read-write")
    answered(ask(), 100, None)


add("100_continue", waits_for_100)
