"""What the Python package s3fs finds at a hub, which pandas and others read through.

Arguments: endpoint, access key, secret key, certificate."""

import os
import sys
import tempfile

import s3fs

endpoint, key, secret, certificate = sys.argv[1:]
files = s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=endpoint, client_kwargs={"verify": certificate},
                          config_kwargs={"s3": {"addressing_style": "path"}})
files.mkdir("fsspec")
with files.open("fsspec/a/b.txt", "w") as file:
    file.write("hello")
assert files.cat("fsspec/a/b.txt") == b"hello"
assert files.ls("fsspec") == ["fsspec/a"] and files.find("fsspec") == ["fsspec/a/b.txt"]
body = os.urandom(12 << 20)
with files.open("fsspec/big", "wb", block_size=5 << 20) as file:
    file.write(body)
assert files.info("fsspec/big")["size"] == len(body)
with files.open("fsspec/big", "rb") as file:
    file.seek(7 << 20)
    assert file.read(1000) == body[7 << 20:(7 << 20) + 1000]
files.copy("fsspec/big", "fsspec/copy")
files.mv("fsspec/copy", "fsspec/moved")
assert sorted(files.ls("fsspec")) == ["fsspec/a", "fsspec/big", "fsspec/moved"]
with tempfile.TemporaryDirectory() as folder:
    files.get("fsspec/moved", folder + "/back")
    assert open(folder + "/back", "rb").read() == body
files.rm("fsspec", recursive=True)
assert not files.exists("fsspec")
print("ok")
