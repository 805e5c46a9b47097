//! The files machine: spaces with members and quotas, trees of files with versions and trash, links, claims, uploads
//! and downloads.

mod command;
mod refusal;

use std::collections::BTreeMap;

use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, FilePath, Hash, LinkId, SpaceId, Time, UploadId,
    VersionId,
};
use serde::{Deserialize, Serialize};

pub use command::{
    About, Access, Condition, DownloadControl, DownloadReport, DownloadSource, DownloadSpec, FilePut,
    FilesCommand, FilesDone, Placed,
};
pub use refusal::FilesRefusal;

/// All spaces and what lies in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    spaces: BTreeMap<SpaceId, Space>,
}

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
        /// How many files.
        files: u32,
        /// How many bytes.
        bytes: ByteSize,
        /// How many of them were not fetched because they were there.
        saved: ByteSize,
    },
    /// It cannot be had.
    Failed {
        /// When that was clear.
        at: Time,
        /// Why.
        reason: String,
    },
}

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there is more.
    pub more: bool,
}

impl Files {
    /// A space.
    pub fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(&id)
    }

    /// The space of a name.
    pub fn space_named(&self, _name: &str) -> Option<SpaceId> {
        todo!()
    }

    /// The spaces of which an account is a member.
    pub fn spaces_of(&self, _account: AccountId) -> impl Iterator<Item = (SpaceId, &Space)> {
        self.spaces.iter().map(|(id, space)| (*id, space))
    }

    /// All spaces, in the order of their ids.
    pub fn spaces(&self) -> &BTreeMap<SpaceId, Space> {
        &self.spaces
    }

    /// Whether an account may do this there; what it is refused otherwise.
    pub fn check(
        &self,
        _account: AccountId,
        _space: SpaceId,
        _needed: Access,
    ) -> Result<&Space, FilesRefusal> {
        todo!()
    }

    /// What lies at a path; the root too.
    pub fn find(&self, _space: SpaceId, _path: &FilePath) -> Option<FileView> {
        todo!()
    }

    /// A file or folder by its id, wherever it lies; `None` for what is in the trash.
    pub fn by_id(&self, _file: FileId) -> Option<(SpaceId, FileView)> {
        todo!()
    }

    /// What lies in a folder, by name, from the one behind `after` on, `limit` at most.
    pub fn list(&self, _folder: FileId, _after: Option<&str>, _limit: usize) -> Page<FileView> {
        todo!()
    }

    /// Files of a space whose path begins with `prefix` (any text, not whole names only), in the order of their
    /// paths' bytes as S3 wants it, from the one behind `after` on. With `folded`, what has a `/` behind the prefix is
    /// folded into one folder ("common prefix"). Folders that were made to stay come as such, ordered as their path and `/`.
    /// No more than `limit` are looked at.
    pub fn walk(
        &self,
        _space: SpaceId,
        _prefix: &str,
        _after: Option<&str>,
        _folded: bool,
        _limit: usize,
    ) -> Page<FileView> {
        todo!()
    }

    /// All versions of a file, the newest first.
    pub fn versions(&self, _file: FileId) -> Vec<Version> {
        todo!()
    }

    /// What is in a space's trash, the last first, from behind the one that was removed as `after` on.
    pub fn trash(&self, _space: SpaceId, _after: Option<FileId>, _limit: usize) -> Page<Trashed> {
        todo!()
    }

    /// The blob is claimed by the account now: it may read it, and give it to files and jobs. How long it is.
    pub fn claimed(&self, _account: AccountId, _blob: &Hash) -> Option<ByteSize> {
        todo!()
    }

    /// The link with this hash of its secret, unless it is over.
    pub fn link_of(&self, _secret: &Hash) -> Option<(LinkId, &Link)> {
        todo!()
    }

    /// The links in a space.
    pub fn links(&self, _space: SpaceId) -> Vec<(LinkId, &Link)> {
        todo!()
    }

    /// An upload.
    pub fn upload(&self, _id: UploadId) -> Option<&Upload> {
        todo!()
    }

    /// The uploads of a space, by path and id.
    pub fn uploads(&self, _space: SpaceId) -> Vec<(UploadId, &Upload)> {
        todo!()
    }

    /// A download.
    pub fn download(&self, _id: DownloadId) -> Option<&Download> {
        todo!()
    }

    /// All downloads that are not forgotten.
    pub fn downloads(&self) -> &BTreeMap<DownloadId, Download> {
        todo!()
    }

    /// Blobs that something refers to, piece by piece: pass the last one's `next` as `from`. Nothing that is referred
    /// to during the whole walk is left out, whatever changes between the pieces.
    pub fn roots(&self, _from: RootCursor, _limit: usize) -> Roots {
        todo!()
    }
}

/// Where a walk over the roots is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootCursor(pub(crate) u64, pub(crate) u64);

/// A piece of the roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Blobs that are referred to; some come several times.
    pub blobs: Vec<Hash>,
    /// Where to go on; `None`: these were the last.
    pub next: Option<RootCursor>,
}
