//! What can be asked of the files machine.

use std::collections::BTreeMap;

use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, FilePath, Hash, LinkId, NoticeId, SpaceId, Time,
    UploadId, VersionId,
};
use serde::{Deserialize, Serialize};

/// What can be asked of files. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesCommand {
    /// Makes a space; the caller becomes its manager. Answers [`FilesDone::Space`].
    CreateSpace {
        /// Unique among all spaces; as an account's name. The name of an account is that account's only.
        name: String,
        /// How long what is removed or overwritten can be had back; nothing: it is gone at once.
        keep: Duration,
    },
    /// Changes a space. Its managers; the quota, operators only.
    ChangeSpace {
        /// Which.
        space: SpaceId,
        /// See [`FilesCommand::CreateSpace`].
        keep: Option<Duration>,
        /// Bytes of all its contents together, older versions and trash included.
        quota: Option<ByteSize>,
    },
    /// Removes a space in which nothing lies any more; its trash goes too. Its managers.
    RemoveSpace {
        /// Which.
        space: SpaceId,
    },
    /// Says what somebody may do in a space. Its managers; whoever leaves by himself. The last manager stays.
    SetMember {
        /// Which.
        space: SpaceId,
        /// Who.
        account: AccountId,
        /// What; nothing: not a member any more.
        access: Option<Access>,
    },
    /// Notes that the hub saw all bytes of these blobs come from an account, or had it prove that it has them: for
    /// [`Bounds::CLAIM`](crate::Bounds::CLAIM) it may give them to files and jobs and read them. Hub only.
    Claim {
        /// Whose.
        account: AccountId,
        /// Which, and how long they are.
        blobs: Vec<(Hash, ByteSize)>,
    },
    /// Claims the blobs of files that the caller may read. Answers [`FilesDone::Claimed`].
    ClaimFiles {
        /// Where.
        space: SpaceId,
        /// Which; at most [`Bounds::FILES`](crate::Bounds::FILES).
        paths: Vec<FilePath>,
    },
    /// Gives files new contents, each on its own. Answers [`FilesDone::Each`]. Writers.
    PutFiles {
        /// Where.
        space: SpaceId,
        /// At most [`Bounds::FILES`](crate::Bounds::FILES).
        files: Vec<FilePut>,
    },
    /// Makes a folder that stays even when nothing lies in it, or makes one stay that is there; those above it that are
    /// not there are made, and go with it. Writers.
    MakeFolder {
        /// Where.
        space: SpaceId,
        /// Which.
        path: FilePath,
    },
    /// Moves a file or a folder with all that lies in it, within its space. Answers [`FilesDone::Moved`]. Writers.
    Move {
        /// Where.
        space: SpaceId,
        /// What.
        from: FilePath,
        /// Its new path.
        to: FilePath,
        /// Whether a file that lies there is overwritten, and so becomes an older version; a folder never is.
        replace: bool,
    },
    /// Copies a file, or a folder with at most [`Bounds::COPIED`](crate::Bounds::COPIED) files and folders in it, newest
    /// contents only. Answers [`FilesDone::Copied`]. Readers of the one, writers of the other.
    Copy {
        /// From which space.
        from_space: SpaceId,
        /// What.
        from: FilePath,
        /// To which space.
        to_space: SpaceId,
        /// Its path.
        to: FilePath,
        /// Whether a file that lies there is overwritten.
        replace: bool,
        /// What the copy says of itself instead of what the original does, for a file.
        about: Option<About>,
    },
    /// Removes files and folders, each on its own. Answers [`FilesDone::Each`]. Writers.
    Remove {
        /// Where.
        space: SpaceId,
        /// Which; at most [`Bounds::FILES`](crate::Bounds::FILES).
        paths: Vec<FilePath>,
        /// Whether a folder goes with what lies in it; else it must be empty.
        recursive: bool,
        /// Whether it goes for good and not to the trash.
        forever: bool,
    },
    /// Takes something back out of the trash, to where it was or elsewhere. Answers [`FilesDone::Moved`]. Writers.
    Restore {
        /// Where.
        space: SpaceId,
        /// What.
        file: FileId,
        /// Its path; where it was when none is given.
        to: Option<FilePath>,
    },
    /// Empties the trash of one thing, or of all. Writers.
    EmptyTrash {
        /// Where.
        space: SpaceId,
        /// What; all when none is given.
        file: Option<FileId>,
    },
    /// Makes an older version of a file its newest again. Writers.
    Revert {
        /// Where.
        space: SpaceId,
        /// Which file.
        path: FilePath,
        /// Which version.
        version: VersionId,
    },
    /// Lets whoever has a secret read a file or folder. Answers [`FilesDone::Link`]. Writers.
    AddLink {
        /// Where.
        space: SpaceId,
        /// What; the link follows it when it is moved.
        path: FilePath,
        /// The hash of the secret.
        secret: Hash,
        /// What the hub made of a password, by a slow hash of its choice.
        password: Option<String>,
        /// When it ends.
        expires: Option<Time>,
        /// How many downloads it is good for.
        downloads: Option<u32>,
    },
    /// Ends a link. Who made it, and managers of its space.
    RemoveLink {
        /// Which.
        link: LinkId,
    },
    /// Counts a download through a link, or refuses it because the link is over. Hub only.
    UseLink {
        /// Which.
        link: LinkId,
    },
    /// Begins a file that comes in parts. Answers [`FilesDone::Upload`]. Writers.
    BeginUpload {
        /// Where.
        space: SpaceId,
        /// Its path.
        path: FilePath,
        /// What it will say of itself.
        about: About,
    },
    /// A part came; a part of the same number is replaced. Its blob must be claimed. Who began it.
    PutPart {
        /// Of which file.
        upload: UploadId,
        /// Its number, from 1 to [`Bounds::PARTS`](crate::Bounds::PARTS).
        number: u16,
        /// Its bytes.
        blob: Hash,
        /// The MD5 of its bytes.
        md5: [u8; 16],
    },
    /// The file is whole: the hub put its parts together to a blob that the caller has claimed. Answers
    /// [`FilesDone::Each`] with one. Who began it.
    FinishUpload {
        /// Which.
        upload: UploadId,
        /// The file; its path is the upload's.
        file: FilePut,
    },
    /// Gives a file that comes in parts up. Who began it, and managers of its space.
    AbortUpload {
        /// Which.
        upload: UploadId,
    },
    /// Has the hub fetch something from elsewhere. Answers [`FilesDone::Download`]. Writers.
    AddDownload(DownloadSpec),
    /// Pauses, goes on with or ends a download. Who asked for it, and managers of its space.
    ControlDownload {
        /// Which.
        download: DownloadId,
        /// What.
        control: DownloadControl,
    },
    /// What became of a download; a claim of its blobs comes with it. Hub only.
    ReportDownload {
        /// Which.
        download: DownloadId,
        /// What became of it.
        report: DownloadReport,
    },
    /// Undoes [`FilesCommand::MakeFolder`]: the folder goes once nothing lies in it, maybe now. One that is not there, or
    /// that would not have stayed, is left alone. Writers.
    ReleaseFolder {
        /// Where.
        space: SpaceId,
        /// Which.
        path: FilePath,
    },
    /// The caller knows what became of its downloads, up to this notice.
    SeeDownloads {
        /// The last one that it was told.
        last: NoticeId,
    },
    /// The hub put these blobs together to one that the account has claimed: their bytes count once, as its. Hub only.
    Joined {
        /// Whose.
        account: AccountId,
        /// Which.
        parts: Vec<Hash>,
    },
    /// Removes one content of a file for good, also of one that was put into the trash itself. The newest gives way to the
    /// one before it; with its only one the file goes, and nothing is kept of it. Writers.
    RemoveVersion {
        /// Where.
        space: SpaceId,
        /// Of which file.
        file: FileId,
        /// Which.
        version: VersionId,
    },
}

/// What a member may do in a space; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// See and read.
    Read,
    /// Change, remove and share.
    Write,
    /// Say who is a member; remove the space.
    Manage,
}

/// A file's new content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePut {
    /// Its path; folders above it that are not there are made, and go again when nothing lies in them.
    pub path: FilePath,
    /// Its bytes; the caller must have claimed them.
    pub blob: Hash,
    /// What it says of itself.
    pub about: About,
    /// What must be there for it to be done.
    pub condition: Condition,
}

/// What must lie at a path for a file to be put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Anything but a folder.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// A file with this newest version.
    Version(VersionId),
}

/// What a file says of itself, as its writer set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// When it was changed, by its writer's clock.
    pub modified: Option<Time>,
    /// Whether it is a program.
    pub executable: bool,
    /// What else: media type, S3's entity tag and headers. At most [`Bounds::ABOUT_BYTES`](crate::Bounds::ABOUT_BYTES)
    /// of names and values together.
    pub labels: BTreeMap<String, String>,
}

/// What the hub is to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadSpec {
    /// Where it is put.
    pub space: SpaceId,
    /// The folder, or the file when one file is fetched and `named` is set.
    pub path: FilePath,
    /// Whether `path` is the file itself.
    pub named: bool,
    /// From where.
    pub source: DownloadSource,
    /// The SHA-256 that the fetched file must have.
    pub sha256: Option<Hash>,
    /// How long it may be altogether.
    pub limit: ByteSize,
    /// Which files of a torrent, by their number from 0; all when none are given.
    pub files: Vec<u32>,
}

/// From where something is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownloadSource {
    /// `http:`, `https:` or `magnet:`.
    Url(String),
    /// A torrent file that the caller has claimed.
    Torrent(Hash),
}

/// What can be asked of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadControl {
    /// Stop, to go on later.
    Pause,
    /// Go on, or try again what failed.
    Resume,
    /// Give it up, or forget one that is over.
    Cancel,
}

/// What became of a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownloadReport {
    /// It was given a try: from now on it runs.
    Started,
    /// All of it is there: these files, the last ones, lie in the store. Files of the same names get a number.
    Done {
        /// The files, at most [`Bounds::FILES`](crate::Bounds::FILES).
        files: Vec<FetchedFile>,
        /// How many of the bytes were there already and were not fetched.
        saved: ByteSize,
    },
    /// It cannot be had.
    Failed {
        /// Why, for people.
        reason: String,
        /// Whether it may work later.
        again: bool,
    },
    /// Some of many files are there and are put; more come. Done once: refused when other files come next.
    Part {
        /// How many files of this download were put before.
        from: u32,
        /// The next ones, at most [`Bounds::FILES`](crate::Bounds::FILES).
        files: Vec<FetchedFile>,
        /// As in [`DownloadReport::Done`].
        saved: ByteSize,
    },
}

/// A file that was fetched: its path in the folder of its download, its bytes, how many, and what it says of itself.
pub type FetchedFile = (FilePath, Hash, ByteSize, About);

impl DownloadReport {
    /// The files that it brings.
    pub(crate) fn files(&self) -> &[FetchedFile] {
        match self {
            DownloadReport::Done { files, .. } | DownloadReport::Part { files, .. } => files,
            DownloadReport::Started | DownloadReport::Failed { .. } => &[],
        }
    }
}

/// What a command of files answers. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesDone {
    /// The space that was made.
    Space(SpaceId),
    /// What came of each file, in the order of the request.
    Each(Vec<Result<Placed, super::FilesRefusal>>),
    /// The blobs that were claimed, in the order of the request.
    Claimed(Vec<Result<(Hash, ByteSize), super::FilesRefusal>>),
    /// The file or folder that has another path now.
    Moved(FileId),
    /// The file or folder that was made; how many files and folders it holds, itself included.
    Copied {
        /// The copy.
        file: FileId,
        /// Its version, if it is a file.
        version: Option<VersionId>,
        /// How many.
        count: u64,
    },
    /// The link that was made.
    Link(LinkId),
    /// The upload that began.
    Upload(UploadId),
    /// The download that was ordered.
    Download(DownloadId),
}

/// A file that was put, or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which.
    pub file: FileId,
    /// Its newest version; none when a folder was removed.
    pub version: Option<VersionId>,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Manage => "manage",
        })
    }
}
