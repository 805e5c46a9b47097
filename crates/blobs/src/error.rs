//! What can go wrong with a blob, and what to do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_types::{ByteSize, Hash};

use crate::listing::ListingFault;
use crate::pack::PackFault;

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No blob of this name was ever stored here.
    #[error("blob {hash} is not in this store; put it first")]
    NotFound {
        /// The blob asked for.
        hash: Hash,
    },
    /// What is on disk is not what was stored. Storing the same bytes again repairs the blob.
    #[error(
        "blob {hash} is damaged: {object} is missing, cut or altered; restore that file from a backup, or put \
         the same bytes again"
    )]
    Damaged {
        /// The blob asked for.
        hash: Hash,
        /// The object that should hold it, relative to the store's folder.
        object: String,
    },
    /// A pack that the index does not know says nothing sensible of itself, so the store does not open.
    #[error(
        "pack {object} is damaged; restore it from a backup, or run `pumasi store repair` to save what is whole"
    )]
    DamagedPack {
        /// The pack, relative to the store's folder.
        object: String,
        /// What is wrong with it.
        source: PackFault,
    },
    /// The upload is longer than its limit; nothing of it was kept.
    #[error("the upload is larger than the {limit} allowed; split it or ask the operator for a higher limit")]
    TooLarge {
        /// The most that was allowed.
        limit: ByteSize,
    },
    /// The body of an upload broke off; nothing of it was kept.
    #[error("the upload broke off before its end; send it again")]
    Body {
        /// What its sender or the network reported.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk or the quota is full; nothing of the blob was kept and all others are untouched.
    #[error("no space left to write {object}; free space on the disk of the store, then send it again")]
    DiskFull {
        /// What was being written.
        object: String,
        /// What the operating system reported.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What failed for all that were to be written together.
    #[error(transparent)]
    Together(Arc<BlobError>),
    /// The folder holds a store that a development version of this program made.
    #[error("the store in {} has the layout of an earlier development version; move it away and put its files again", dir.display())]
    OldLayout {
        /// The store's folder.
        dir: PathBuf,
    },
    /// A blob that should be the listing of a folder is none.
    #[error("blob {hash} is not the listing of a folder; fetch it as a file")]
    Listing {
        /// The blob.
        hash: Hash,
        /// What is wrong with it.
        source: ListingFault,
    },
    /// An earlier failure of this writer lost something that it had taken in.
    #[error(
        "an earlier part of this could not be written, so none of it is stored for sure; put all of it again"
    )]
    Broken,
    /// Another process has this store open.
    #[error("the blob store in {} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The folder of the store cannot be prepared or read.
    #[error("cannot {operation} {}; check that the folder exists, is yours and is on a healthy disk", path.display())]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system reported.
        source: io::Error,
    },
    /// The index beside the packs cannot be read or written.
    #[error(
        "cannot {operation} the index {}; check its disk and start again: if that does not help, remove the file and it \
         is made again from the packs", path.display()
    )]
    Index {
        /// What was tried.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database reported.
        source: Box<redb::Error>,
    },
    /// The place in S3 cannot be used at all.
    #[error("cannot keep packs in {place}: {problem}")]
    Bucket {
        /// Its address.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The place in S3 belongs to the store of another folder.
    #[error(
        "the packs in {place} belong to another store than the one in {}: give it a place of its own; if that other \
         store is gone for good, remove the object `owner` there, and this one takes the packs over",
        dir.display()
    )]
    Owned {
        /// Its address.
        place: String,
        /// The folder of this store.
        dir: PathBuf,
    },
    /// The packs of this store lie somewhere else than where it was opened.
    #[error(
        "the packs of the store in {} lie in {packs}, not in {place}: open it without a place; docs/store.md tells how \
         packs are moved",
        dir.display()
    )]
    Elsewhere {
        /// The folder of this store.
        dir: PathBuf,
        /// Where they lie.
        packs: String,
        /// Where they were said to lie.
        place: String,
    },
    /// Reading or writing an object failed for another reason.
    #[error(
        "cannot {operation} {object}; check the disk of the store and the rights on its folder, or the S3 server that \
         keeps its packs and the rights of its key, then do it again"
    )]
    Object {
        /// What was tried.
        operation: &'static str,
        /// The object, relative to the store's folder or place.
        object: String,
        /// What the storage reported.
        source: object_store::Error,
    },
}

impl BlobError {
    /// The failure itself, also when it came to several at once.
    pub fn reason(&self) -> &BlobError {
        match self {
            BlobError::Together(error) => error.reason(),
            error => error,
        }
    }

    /// Whether it is the server of a bucket that cannot be reached now: the same thing may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(
            self.reason(),
            BlobError::Object { source: object_store::Error::Generic { store: "S3", .. }, .. }
        )
    }

    /// Names what failed, and tells a full disk from the rest.
    pub(crate) fn object(
        operation: &'static str,
        object: impl ToString,
        source: object_store::Error,
    ) -> BlobError {
        let object = object.to_string();
        match is_disk_full(&source) {
            true => BlobError::DiskFull { object, source: source.into() },
            false => BlobError::Object { operation, object, source },
        }
    }

    pub(crate) fn index(operation: &'static str, path: &Path, source: redb::Error) -> BlobError {
        let path = path.to_owned();
        let full = matches!(&source, redb::Error::Io(error) if is_disk_full(error));
        match full {
            true => BlobError::DiskFull { object: path.display().to_string(), source: source.into() },
            false => BlobError::Index { operation, path, source: source.into() },
        }
    }

    pub(crate) fn folder(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> BlobError {
        let path = path.into();
        match is_disk_full(&source) {
            true => BlobError::DiskFull { object: path.display().to_string(), source: source.into() },
            false => BlobError::Folder { operation, path, source },
        }
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}
