"""What of Ceph's s3-tests a hub does not do as S3 does: the answer that it gives instead, and why."""

import expected_more

# Checks that fail: part of the answer, or of the complaint about it, and the reason.
FAILURES = {
    # -- listing
    **dict.fromkeys(["bucket_list_delimiter_basic", "bucket_listv2_delimiter_basic"],
                    ("KeyConflict", "their keys `foo/bar` and `foo/bar/xyzzy`: a file is no folder")),
}

# Patterns of public tests whose groups are not offered as a whole, so that there are no checks for them. What is
# answered instead is checked by `boto.py`.
NOT_OFFERED = {
    "lifecycle*": ("NotImplemented", "what a space keeps, and for how long, `pumasi space` says"),
}

# The second half of the list.
FAILURES |= expected_more.FAILURES
NOT_OFFERED |= expected_more.NOT_OFFERED
