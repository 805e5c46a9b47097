//! Why something was not done with files.

use pumasi_types::{ByteSize, DownloadId, FileId, FilePath, Hash, LinkId, UploadId, VersionId};
use serde::{Deserialize, Serialize};

use super::Access;

/// Why a command of files was not done. Nothing changed. The order of variants is part of the stored format: append,
/// never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FilesRefusal {
    /// No such space, or the caller is no member of it: both look alike.
    #[error("there is no space {space} that you can see: `pumasi space ls` lists yours")]
    NoSpace {
        /// Its name or number.
        space: String,
    },
    /// The name of a space is in use.
    #[error("a space named '{name}' exists: choose another name")]
    SpaceTaken {
        /// The name.
        name: String,
    },
    /// The member may not do this.
    #[error("this needs the right to {needed} in this space: ask one of its managers")]
    NoAccess {
        /// What it takes.
        needed: Access,
    },
    /// Something lies in the space still.
    #[error("something lies in the space still: remove it first")]
    SpaceNotEmpty,
    /// A space needs somebody who manages it.
    #[error("this is the last manager of the space: make somebody else a manager first")]
    LastManager,
    /// Nothing at this path.
    #[error("there is no '{path}'")]
    NoFile {
        /// Which.
        path: FilePath,
    },
    /// A folder lies there, where a file is needed.
    #[error("'{path}' is a folder")]
    IsFolder {
        /// Which.
        path: FilePath,
    },
    /// A file lies there, where a folder is needed.
    #[error("'{path}' is a file and not a folder")]
    NotAFolder {
        /// Which.
        path: FilePath,
    },
    /// Something lies there already.
    #[error("'{path}' is there already: choose another name, or say that it is to be replaced")]
    Exists {
        /// Which.
        path: FilePath,
    },
    /// The condition does not hold.
    #[error("'{path}' was changed by somebody else meanwhile: look at it again")]
    Changed {
        /// Which.
        path: FilePath,
    },
    /// A folder that something lies in.
    #[error("the folder '{path}' is not empty: remove it with all that lies in it, or empty it first")]
    FolderNotEmpty {
        /// Which.
        path: FilePath,
    },
    /// A folder cannot lie in itself.
    #[error("'{path}' cannot be moved or copied into itself")]
    IntoItself {
        /// Which.
        path: FilePath,
    },
    /// Neither sent, nor proven, nor read by the caller lately.
    #[error("you do not hold the bytes {blob}: send them first")]
    NotHeld {
        /// Which.
        blob: Hash,
    },
    /// It does not fit.
    #[error(
        "the space has {left} of its {quota} left and this needs {needed}: empty its trash, remove something, or ask an operator for more"
    )]
    QuotaExceeded {
        /// What it may hold.
        quota: ByteSize,
        /// What is left.
        left: ByteSize,
        /// What it takes.
        needed: ByteSize,
    },
    /// Beyond a bound.
    #[error("{what}: at most {limit}")]
    TooMany {
        /// What there would be too many of.
        what: String,
        /// How many there can be.
        limit: u64,
    },
    /// Nothing like this in the trash.
    #[error("there is no file {file} in the trash of this space")]
    NotInTrash {
        /// Which.
        file: FileId,
    },
    /// No such version.
    #[error("'{path}' has no version {version}")]
    NoVersion {
        /// Of which file.
        path: FilePath,
        /// Which.
        version: VersionId,
    },
    /// No such link, or not the caller's.
    #[error("there is no link {link} of yours")]
    NoLink {
        /// Which.
        link: LinkId,
    },
    /// The link is used up or its time has passed.
    #[error("this link is over")]
    LinkOver,
    /// No such upload of the caller's.
    #[error("there is no upload {upload} of yours: it was finished, given up, or lay idle for too long")]
    NoUpload {
        /// Which.
        upload: UploadId,
    },
    /// No such download of the caller's.
    #[error("there is no download {download} of yours")]
    NoDownload {
        /// Which.
        download: DownloadId,
    },
    /// What was asked does not go with the state of the download.
    #[error("download {download} is {state}")]
    WrongDownloadState {
        /// Which.
        download: DownloadId,
        /// Its state.
        state: String,
    },
    /// Too much was sent that lies nowhere.
    #[error(
        "you sent {held} that lie in no file, of at most {limit}: put them into files, or wait: they are forgotten three days \
         after they came, inputs of jobs with their job"
    )]
    TooMuchUnfiled {
        /// How much it would be.
        held: ByteSize,
        /// How much it may be.
        limit: ByteSize,
    },
}

impl FilesRefusal {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            FilesRefusal::NoSpace { .. } => "no_space",
            FilesRefusal::SpaceTaken { .. } => "space_taken",
            FilesRefusal::NoAccess { .. } => "no_access",
            FilesRefusal::SpaceNotEmpty => "space_not_empty",
            FilesRefusal::LastManager => "last_manager",
            FilesRefusal::NoFile { .. } => "no_file",
            FilesRefusal::IsFolder { .. } => "is_folder",
            FilesRefusal::NotAFolder { .. } => "not_a_folder",
            FilesRefusal::Exists { .. } => "exists",
            FilesRefusal::Changed { .. } => "changed",
            FilesRefusal::FolderNotEmpty { .. } => "folder_not_empty",
            FilesRefusal::IntoItself { .. } => "into_itself",
            FilesRefusal::NotHeld { .. } => "not_held",
            FilesRefusal::QuotaExceeded { .. } => "quota_exceeded",
            FilesRefusal::TooMany { .. } => "too_many",
            FilesRefusal::NotInTrash { .. } => "not_in_trash",
            FilesRefusal::NoVersion { .. } => "no_version",
            FilesRefusal::NoLink { .. } => "no_link",
            FilesRefusal::LinkOver => "link_over",
            FilesRefusal::NoUpload { .. } => "no_upload",
            FilesRefusal::NoDownload { .. } => "no_download",
            FilesRefusal::WrongDownloadState { .. } => "wrong_state",
            FilesRefusal::TooMuchUnfiled { .. } => "unfiled_limit",
        }
    }
}
