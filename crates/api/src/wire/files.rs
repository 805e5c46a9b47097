//! JSON bodies of spaces and files.
//!
//! A space stands in a path of the API by its name, `~` for the caller's own (made when it is first used). Paths of files
//! are names joined by `/` without one at either end; the empty path is the root of a space. `modified_ns` is in
//! nanoseconds since the Unix epoch, all other times are in milliseconds.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, FileId, FilePath, Hash, LinkId, SpaceId, VersionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ErrorBody;

/// How the caller's own space is called in a path of the API, whatever its name.
pub const HOME: &str = "~";

/// What a member may do in a space; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// See and read.
    Read,
    /// Change, remove and share.
    Write,
    /// Say who is a member; remove the space.
    Manage,
}

/// A space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Space {
    /// Its number.
    #[schema(value_type = u32)]
    pub id: SpaceId,
    /// Its name, unique in the hub.
    pub name: String,
    /// When it was made.
    pub made_ms: u64,
    /// How long what is removed or overwritten can be had back; 0: it is gone at once.
    pub keep_ms: u64,
    /// How many bytes all its contents can have.
    pub quota_bytes: u64,
    /// How many they have, older versions, trash and parts of uploads included.
    pub used_bytes: u64,
    /// What the caller may do in it; nothing for an operator who is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Who may do what; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// A member of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its number.
    #[schema(value_type = u64)]
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub access: Access,
}

/// Spaces by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spaces {
    /// A page of them.
    pub spaces: Vec<Space>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub next: Option<SpaceId>,
}

/// Makes a space; the caller becomes its manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSpace {
    /// Lower-case letters, digits, `-`, `_` and `.`; the name of an account is that account's only.
    pub name: String,
    /// How long what is removed or overwritten can be had back, in milliseconds; 30 days when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
}

/// Changes a space; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSpace {
    /// See [`NewSpace`]; its managers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
    /// How many bytes it can hold; operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
}

/// Says what an account may do in a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMember {
    /// What.
    pub access: Access,
}

/// A file or a folder: `file` or `folder` tells which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Its number, which it keeps wherever it is moved.
    #[schema(value_type = u64)]
    pub id: FileId,
    /// Its path in its space; where it was, in the trash.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// When it last changed, by the hub's clock: its newest version came, or the folder was made.
    pub changed_ms: u64,
    /// A file, with its newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Version>,
    /// A folder, with its sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<Totals>,
}

/// One content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Its number.
    #[schema(value_type = u64)]
    pub version: VersionId,
    /// BLAKE3 of its bytes.
    #[schema(value_type = String)]
    pub blob: Hash,
    /// How many bytes.
    pub size: u64,
    /// When it came, by the hub's clock.
    pub put_ms: u64,
    /// Who put it, by its number.
    #[schema(value_type = u64)]
    pub by: AccountId,
    /// What it says of itself.
    #[serde(flatten)]
    pub about: About,
}

/// What a file says of itself, as its writer set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// When it was changed, by its writer's clock, in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<u64>,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// What else, such as `content-type`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What lies below a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Files in it and below.
    pub files: u64,
    /// Folders in it and below.
    pub folders: u64,
    /// Bytes of the newest versions.
    pub bytes: u64,
}

/// A page of files and folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entries {
    /// What is on it.
    pub entries: Vec<Entry>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// All versions of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// The newest first.
    pub versions: Vec<Version>,
}

/// Gives files new contents, each on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutFiles {
    /// At most 1,000.
    pub files: Vec<PutFile>,
}

/// A file's new content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PutFile {
    /// Its path; folders above it are made, and go again when nothing lies in them.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// BLAKE3 of its bytes, which the caller stored with `POST /v1/blobs` within the last 48 hours, or claimed.
    #[schema(value_type = String)]
    pub blob: Hash,
    /// When it was changed, by its writer's clock, in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<u64>,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// What else it says of itself; at most 8 KiB of names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What must lie there.
    #[serde(default, skip_serializing_if = "Condition::is_any")]
    pub condition: Condition,
}

/// What must lie at a path for a file to be put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Anything but a folder.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// A file with this newest version.
    #[schema(value_type = u64)]
    Version(VersionId),
}

impl Condition {
    fn is_any(&self) -> bool {
        *self == Condition::Any
    }
}

/// What came of each file of a list, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileResults {
    /// One for each.
    pub results: Vec<FileResult>,
}

/// What came of a file: its number and version, or why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileResult {
    /// Its path.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub id: Option<FileId>,
    /// Its newest version; none for a folder that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub version: Option<VersionId>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// Makes a folder to stay when nothing lies in it; those above it are there as long as something lies in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeFolder {
    /// Its path. One that is there is left alone.
    #[schema(value_type = String)]
    pub path: FilePath,
}

/// Moves a file, or a folder with all that lies in it, within its space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveFile {
    /// What.
    #[schema(value_type = String)]
    pub from: FilePath,
    /// Its new path, its name included.
    #[schema(value_type = String)]
    pub to: FilePath,
    /// Whether a file that lies there becomes an older version of it.
    #[serde(default)]
    pub replace: bool,
}

/// Copies a file or folder into the space that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyFile {
    /// From which space; the same when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_space: Option<String>,
    /// What; a folder with at most 10,000 files and folders.
    #[schema(value_type = String)]
    pub from: FilePath,
    /// The copy's path, its name included.
    #[schema(value_type = String)]
    pub to: FilePath,
    /// Whether a file that lies there is overwritten.
    #[serde(default)]
    pub replace: bool,
}

/// What was moved, restored or reverted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: FileId,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Copied {
    /// The copy's number.
    #[schema(value_type = u64)]
    pub id: FileId,
    /// How many files and folders it is, itself included.
    pub count: u64,
}

/// Removes files and folders, each on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveFiles {
    /// At most 1,000.
    #[schema(value_type = Vec<String>)]
    pub paths: Vec<FilePath>,
    /// Whether a folder goes with what lies in it; else it must be empty.
    #[serde(default)]
    pub recursive: bool,
    /// Whether it goes for good and not to the trash.
    #[serde(default)]
    pub forever: bool,
}

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trashed {
    /// What, with the path where it was.
    #[serde(flatten)]
    pub entry: Entry,
    /// When it was removed.
    pub removed_ms: u64,
    /// By whom, by its number.
    #[schema(value_type = u64)]
    pub removed_by: AccountId,
}

/// What lies in the trash, the last first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trash {
    /// A page of it.
    pub trash: Vec<Trashed>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub next: Option<FileId>,
}

/// Takes something back out of the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// What.
    #[schema(value_type = u64)]
    pub id: FileId,
    /// Where to; where it was when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub to: Option<FilePath>,
}

/// Empties the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyTrash {
    /// Of this only; of all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub id: Option<FileId>,
}

/// Makes an older version of a file its newest again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// Which file.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// Which version.
    #[schema(value_type = u64)]
    pub version: VersionId,
}

/// Names files of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilePaths {
    /// At most 1,000.
    #[schema(value_type = Vec<String>)]
    pub paths: Vec<FilePath>,
}

/// The blobs of files that the caller claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedFiles {
    /// One for each, in the order of the request.
    pub files: Vec<ClaimedFile>,
}

/// The blob of a file, or why it was not claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedFile {
    /// Which file.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// Its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub blob: Option<Hash>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why it was not claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// Lets whoever has its secret read a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// What; the link follows it when it is moved. The empty path: the whole space.
    #[schema(value_type = String)]
    pub path: FilePath,
    /// What must be known besides; 1 to 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// When it ends; never by itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How many downloads it is good for; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads: Option<u32>,
}

/// A link that was made. Its secret is shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeLink {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: LinkId,
    /// Its page below the hub's address: `/s/SECRET`.
    pub page: String,
}

/// A link, as its space's writers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: LinkId,
    /// To which file or folder.
    #[schema(value_type = u64)]
    pub file: FileId,
    /// Where that lies now; none when it lies in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<FilePath>,
    /// Who made it, by its number.
    #[schema(value_type = u64)]
    pub by: AccountId,
    /// Whether a password is needed.
    pub password: bool,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How many downloads are left, if they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
    /// How often it was used.
    pub used: u64,
}

/// The links of a space, by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// A page of them.
    pub links: Vec<Link>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub next: Option<LinkId>,
}

/// Blobs that were stored together, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredBlobs {
    /// One for each.
    pub blobs: Vec<super::StoredBlob>,
}

/// How much the store holds; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreStats {
    /// Bytes of all that is referred to, each time it is.
    pub logical_bytes: u64,
    /// Bytes of all different chunks before compression, those not needed any more among them.
    pub unique_bytes: u64,
    /// Bytes of all packs on disk.
    pub stored_bytes: u64,
    /// Bytes of the index beside them.
    pub index_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Different chunks.
    pub chunks: u64,
    /// Blobs of several chunks.
    pub blobs: u64,
}

/// What spaces need of the store; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreSpaces {
    /// Which count this is: give it as `count` to wait for the end of it, and to read on in it.
    pub count: u64,
    /// A page of the spaces in which something lies, by number; absent while it is counted: ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spaces: Option<Vec<SpaceShare>>,
    /// Blobs of any space that are lost, or so damaged that nobody can tell what they need; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub uncounted: Vec<Hash>,
    /// Give this as `after` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub next: Option<SpaceId>,
}

/// What a space needs of the store. Own and shared bytes are counted before compression, each chunk once, with the lists
/// of chunks that long files need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpaceShare {
    /// Its number.
    #[schema(value_type = u32)]
    pub id: SpaceId,
    /// Its name.
    pub name: String,
    /// The account that made it.
    #[schema(value_type = u64)]
    pub owner: AccountId,
    /// The name of that.
    pub owner_name: String,
    /// Bytes of all that lies in it, each time it does: versions, the trash and parts of uploads.
    pub logical_bytes: u64,
    /// Bytes that no other space needs.
    pub own_bytes: u64,
    /// Bytes that other spaces need as well.
    pub shared_bytes: u64,
    /// Bytes that need not be kept for it alone, because others or it itself have the same: all but its own.
    pub saved_bytes: u64,
    /// How many of its blobs are lost or damaged, so that not all of what they need is counted.
    #[serde(default)]
    pub uncounted_blobs: u64,
}

/// A collection; operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collection {
    /// What it did; absent while it is under way: ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Collected>,
}

/// What a collection did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Blobs that something refers to, some named several times.
    pub roots: u64,
    /// How many of those the store does not have or cannot read: look with `pumasi store check`.
    pub missing: u64,
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Stored bytes that were removed.
    pub bytes_removed: u64,
    /// Stored bytes that were written again because somebody needs them.
    pub bytes_rewritten: u64,
    /// Bytes that nobody needs and that stay because their packs are mostly needed, or new.
    pub dead_bytes_kept: u64,
}

/// The frame of one blob among many in a body: its length in eight bytes, little-endian, and then its bytes.
pub const FRAME_LENGTH_BYTES: usize = 8;
/// The largest body with many blobs, and the largest blob in it, in bytes.
pub const MANY_BYTES: usize = 8 << 20;
/// Blobs in such a body.
pub const MANY_BLOBS: usize = 1_000;
/// In place of a length, for a file that could not be read.
pub const FRAME_MISSING: u64 = u64::MAX;
