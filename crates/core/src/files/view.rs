//! What is known of spaces and files, as it is read from outside.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{
    AccountId, ByteSize, Duration, FileId, FilePath, Hash, NoticeId, SpaceId, Time, UploadId, VersionId,
};
use serde::{Deserialize, Serialize};

use super::trash::Trash;
use super::{About, Access, DownloadSpec};

/// Files that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Unique among all spaces.
    pub name: String,
    /// When it was made.
    pub made: Time,
    /// See [`FilesCommand::CreateSpace`].
    pub keep: Duration,
    /// How many bytes all its contents can have.
    pub quota: ByteSize,
    /// How many they have, older versions, trash and parts of uploads included.
    pub used: ByteSize,
    /// Who may do what.
    pub members: BTreeMap<AccountId, Access>,
    /// Who made it; the home of an account is the space of its name that it made.
    pub maker: AccountId,
    /// Its folder without a name.
    pub root: FileId,
    /// How many files and folders it has, trash included, roots not.
    pub(super) things: u64,
    /// Bytes of what all its contents say of themselves.
    pub(super) about: u64,
    pub(super) trash: Trash,
    /// Older versions by when they were overwritten.
    pub(super) older: BTreeSet<(Time, FileId, VersionId)>,
    /// Uploads that are not finished.
    pub(super) uploads: BTreeSet<UploadId>,
    /// When its timer rings.
    pub(super) due: Option<Time>,
}

/// A file or folder as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// Which.
    pub id: FileId,
    /// Its path in its space; where it was, in the trash.
    pub path: FilePath,
    /// What it is.
    pub kind: FileKind,
    /// When this last changed, in log time: the newest version came, or the folder was made.
    pub changed: Time,
}

/// A file with its content, or a folder with its sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Folder(Totals),
    /// A file, with its newest version.
    File(Version),
}

/// What lies below a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files in it and below.
    pub files: u64,
    /// Folders in it and below.
    pub folders: u64,
    /// Bytes of the newest versions.
    pub bytes: ByteSize,
}

/// One content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which.
    pub id: VersionId,
    /// Its bytes.
    pub blob: Hash,
    /// How many.
    pub size: ByteSize,
    /// When it came, in log time.
    pub put: Time,
    /// Who put it.
    pub by: AccountId,
    /// What it says of itself.
    pub about: About,
}

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// What, with the path where it was.
    pub file: FileView,
    /// When it was removed.
    pub removed: Time,
    /// By whom.
    pub by: AccountId,
}

/// A link, as its maker sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// In which space.
    pub space: SpaceId,
    /// To what; gone when that is removed.
    pub file: FileId,
    /// Who made it.
    pub by: AccountId,
    /// The hash of its secret.
    pub secret: Hash,
    /// See [`FilesCommand::AddLink`].
    pub password: Option<String>,
    /// When it ends.
    pub expires: Option<Time>,
    /// How many downloads are left, if they are counted.
    pub left: Option<u32>,
    /// How often it was used.
    pub used: u64,
}

/// A file that comes in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// In which space.
    pub space: SpaceId,
    /// At which path.
    pub path: FilePath,
    /// Who began it.
    pub by: AccountId,
    /// When.
    pub begun: Time,
    /// What it will say of itself.
    pub about: About,
    /// What came so far, by number.
    pub parts: BTreeMap<u16, UploadPart>,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    /// Its bytes.
    pub blob: Hash,
    /// How many.
    pub size: ByteSize,
    /// The MD5 of its bytes.
    pub md5: [u8; 16],
    /// When it came.
    pub put: Time,
}

/// Something that the hub fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Who asked.
    pub by: AccountId,
    /// When.
    pub asked: Time,
    /// For what.
    pub spec: DownloadSpec,
    /// How it is.
    pub state: DownloadState,
    /// How often it was tried and failed since its owner last wanted it, or something of it was put.
    pub tries: u32,
    /// What of it was put.
    pub brought: Brought,
    /// Why it failed the last time, for people; none when its owner wanted it again since.
    pub trouble: Option<String>,
}

/// What a download put so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// How many files, the first ones.
    pub files: u32,
    /// How many bytes.
    pub bytes: ByteSize,
    /// How many of them were not fetched because they were there.
    pub saved: ByteSize,
}

/// How a download is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownloadState {
    /// It waits for its turn; from this time on, if it was tried before.
    Waiting(Option<Time>),
    /// The hub fetches it.
    Running,
    /// Until its owner wants it again.
    Paused,
    /// It lies in its space.
    Done {
        /// When it was.
        at: Time,
        /// By which its owner is told.
        notice: NoticeId,
    },
    /// It cannot be had.
    Failed {
        /// When that was clear.
        at: Time,
        /// By which its owner is told.
        notice: NoticeId,
    },
}

/// A piece of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there is more.
    pub more: bool,
}
