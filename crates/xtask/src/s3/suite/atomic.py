"""Objects that are read and written at the same time: what is found is one of them, whole."""

from checks import Bucket, add, check, client, refused, same

MIB = 1 << 20


class Letters:
    """So many times one letter, as a file. When its last bytes are about to be sent, `meanwhile` happens, once."""

    def __init__(self, letter, size, meanwhile=None):
        self.letter, self.size, self.meanwhile = letter.encode(), size, meanwhile
        self.at, self.is_sent = 0, False

    def read(self, most=-1):
        left = self.size - self.at
        count = left if most is None or most < 0 else min(most, left)
        self.at += count
        # Clients read it before as well, for checksums.
        if self.meanwhile and self.is_sent and count and self.at == self.size:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return self.letter * count

    def seek(self, to, whence=0):
        self.at = [0, self.at, self.size][whence] + to
        return self.at

    def tell(self):
        return self.at


def send(bucket, operation, body: Letters, **arguments):
    """Has a client send these letters over a connection of its own."""
    sender = client()

    def begin(**_):
        body.is_sent = True

    sender.meta.events.register("before-send.s3", begin)
    answer = getattr(bucket.seen_by(sender), operation)(Key="k", Body=body, **arguments)
    assert body.meanwhile is None, "it was sent, and nothing happened meanwhile"
    return answer


def holds(bucket, letter, size):
    found = bucket.read("k")
    assert found == letter.encode() * size, f"{len(found)} bytes, of {set(found)}: not {size} times {letter}"


def a_reader_gets_what_was_there(size):
    def read(bucket: Bucket):
        bucket.put("k", b"A" * size)
        body = bucket.get_object(Key="k")["Body"]
        begin = body.read(MIB // 4)
        bucket.put("k", b"B" * size)
        assert begin + body.read() == b"A" * size, "the reader got something of what came later"
        holds(bucket, "B", size)

    return read


def nothing_is_seen_before_all_came(size, **conditions):
    def write(bucket: Bucket):
        bucket.put("k", b"A" * size)
        holds(bucket, "A", size)
        send(bucket, "put_object", Letters("B", size, lambda: holds(bucket, "A", size)), **conditions)
        holds(bucket, "B", size)

    return write


def who_ends_last_wins(size):
    def write(bucket: Bucket):
        bucket.put("k", b"")
        send(bucket, "put_object", Letters("B", size, lambda: bucket.put("k", b"A" * size)))
        holds(bucket, "B", size)

    return write


for n in [1, 4, 8]:
    add(f"atomic_read_{n}mb", a_reader_gets_what_was_there(n * MIB))
    add(f"atomic_write_{n}mb", nothing_is_seen_before_all_came(n * MIB))
    add(f"atomic_dual_write_{n}mb", who_ends_last_wins(n * MIB))
add("atomic_conditional_write_1mb", nothing_is_seen_before_all_came(MIB, IfMatch="*"))


@check
def atomic_dual_conditional_write_1mb(bucket):
    """Of two who want to replace the same object, the one who ends first does, though the other began before."""
    first = bucket.put("k", b"A" * MIB)["ETag"].strip('"')
    late = Letters("C", MIB, lambda: bucket.put("k", b"B" * MIB, IfMatch=first))
    refused(412, "PreconditionFailed", send, bucket=bucket, operation="put_object", body=late, IfMatch=first)
    holds(bucket, "B", MIB)


@check
def atomic_write_bucket_gone(bucket):
    gone = Letters("A", MIB, bucket.delete_bucket)
    refused(404, "NoSuchBucket", send, bucket=bucket, operation="put_object", body=gone)


@check
def atomic_multipart_upload_write(bucket):
    """An upload in parts that is begun and given up changes nothing."""
    bucket.put("k", b"bar")
    upload = bucket.create_multipart_upload(Key="k")["UploadId"]
    same(bucket.read("k"), b"bar")
    bucket.abort_multipart_upload(Key="k", UploadId=upload)
    same(bucket.read("k"), b"bar")


@check
def multipart_resend_first_finishes_last(bucket):
    """Of two who send the same part, the one who ends last has sent it. The public test lists the part by the tags of both,
    one after the other; this one lists each number once, as S3 wants them in ascending order."""
    upload = {"UploadId": bucket.create_multipart_upload(Key="k")["UploadId"]}
    part = {**upload, "PartNumber": 1}
    slow = Letters("A", 8, lambda: bucket.upload_part(Key="k", Body=b"B" * 8, **part))
    tag = send(bucket, "upload_part", slow, **part)["ETag"]
    bucket.complete_multipart_upload(Key="k", **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    holds(bucket, "A", 8)
