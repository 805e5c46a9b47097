//! Files of this machine and files of a space: brought there, brought back, kept the same.

pub(crate) mod below;
pub(crate) mod hashes;
pub(crate) mod place;
pub(crate) mod receive;
pub(crate) mod remote;
pub(crate) mod report;
pub(crate) mod scan;
pub(crate) mod sealed;
pub(crate) mod send;
pub(crate) mod sync;

/// The label of a file that stands for a symbolic link: what that leads to. Such a file has no bytes.
pub(crate) const LINK: &str = "symlink";
/// The label of a file that is encrypted: the header of its bytes.
pub(crate) const SEALED: &str = "sealed";

/// Whether a label stays when other bytes take the place of a file's: not what tells of the bytes themselves, such as the tag
/// and the checksums that S3 keeps there.
pub(crate) fn outlives_bytes(label: &str) -> bool {
    !matches!(label, LINK | SEALED | "etag" | "s3-parts" | "s3-upload")
        && !label.starts_with("x-amz-checksum-")
}
