//! Versions of objects, in spaces that keep what is overwritten and removed.
//!
//! | S3 | here |
//! |---|---|
//! | version | a content of a file; its id is the number of the content, which no other in the hub has |
//! | delete marker | a file in the trash; its id is `d` and the number of the file |
//!
//! A file that is put where one was removed is another file, so what lay at a key is the contents of the file that lies there
//! now, and behind them, for each file that was removed from there, its marker and its contents.

use std::collections::BTreeSet;
use std::fmt;

use pumasi_core::{Access, Bounds, FileKind, Files, FilesCommand, Placed, Version};
use pumasi_types::{AccountId, Duration, FileId, FilePath, SpaceId, Time, VersionId};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::about;
use crate::backend::Backend;
use crate::buckets::owner;
use crate::conditions::{strong, timestamp};
use crate::error;
use crate::gateway::{Gateway, find};
use crate::key::{Key, key_of};
use crate::listing::{Encoding, behind_all, folded_at, most};
use crate::objects::{EMPTY, Found};

/// What the id of a version names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VersionName {
    /// The only one, where nothing is kept.
    Null,
    /// A content.
    Content(VersionId),
    /// That a file was removed.
    Marker(FileId),
}

impl VersionName {
    /// # Errors
    /// `InvalidArgument` for what no version was ever called.
    pub(crate) fn of(text: &str) -> S3Result<VersionName> {
        let name = match text.strip_prefix('d') {
            _ if text == "null" => Some(VersionName::Null),
            Some(file) => file.parse().ok().map(VersionName::Marker),
            None => text.parse().ok().map(VersionName::Content),
        };
        name.ok_or_else(|| s3_error!(InvalidArgument, "'{text}' is not the id of a version"))
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionName::Null => f.write_str("null"),
            VersionName::Content(version) => write!(f, "{version}"),
            VersionName::Marker(file) => write!(f, "d{file}"),
        }
    }
}

/// Whether a bucket has versions: what is overwritten and deleted there is kept, for some time at least.
pub(crate) fn has_versions(files: &Files, space: SpaceId) -> bool {
    files.space(space).is_some_and(|space| space.keep > Duration(0))
}

/// The id of a version that was put, where there are versions.
pub(crate) fn told(placed: Placed, versioned: bool) -> Option<String> {
    placed.version.filter(|_| versioned).map(|version| VersionName::Content(version).to_string())
}

/// What a request for an object finds.
pub(crate) enum Looked {
    Object(Box<Found>),
    Marker(FileId),
    NoKey,
    NoVersion,
}

/// The file that lies at a path.
fn lies_at(files: &Files, space: SpaceId, path: &FilePath) -> Option<FileId> {
    let view = files.find(space, path)?;
    matches!(view.kind, FileKind::File(_)).then_some(view.id)
}

/// Whether a file was removed from a path.
fn was_at(files: &Files, space: SpaceId, path: &FilePath, file: FileId) -> bool {
    let removed = files.removed(space, file).map(|trashed| trashed.file);
    removed.is_some_and(|view| view.path == *path && matches!(view.kind, FileKind::File(_)))
}

/// The file of a content that lay at a path.
fn file_of(files: &Files, space: SpaceId, path: &FilePath, version: VersionId) -> Option<(FileId, Version)> {
    let lies = lies_at(files, space, path).and_then(|file| Some((file, files.version(file, version)?)));
    lies.or_else(|| {
        let file = files.removed_with(space, path, version)?;
        Some((file, files.version(file, version)?))
    })
}

/// Looks for an object, or for a version of it.
pub(crate) fn look(files: &Files, space: SpaceId, key: Option<&Key>, named: Option<VersionName>) -> Looked {
    let Some(key) = key else { return Looked::NoKey };
    let versioned = has_versions(files, space);
    let newest = find(files, space, key).map(|view| Box::new(Found::of(space, view, versioned)));
    let path = match (key, named) {
        (Key::File(path), _) => path,
        (Key::Folder(_), None | Some(VersionName::Null)) => {
            return newest.map_or(Looked::NoKey, Looked::Object);
        }
        (Key::Folder(_), Some(_)) => return Looked::NoVersion,
    };
    match named {
        None => match (newest, versioned) {
            (Some(found), _) => Looked::Object(found),
            (None, true) => {
                let last = files.removed_at(space, path, None).next();
                last.map_or(Looked::NoKey, |trashed| Looked::Marker(trashed.file.id))
            }
            (None, false) => Looked::NoKey,
        },
        Some(VersionName::Null) => newest.filter(|_| !versioned).map_or(Looked::NoVersion, Looked::Object),
        Some(VersionName::Marker(file)) => {
            if was_at(files, space, path, file) {
                Looked::Marker(file)
            } else {
                Looked::NoVersion
            }
        }
        Some(VersionName::Content(id)) => match file_of(files, space, path, id) {
            Some((_, version)) => {
                let is_old = newest.is_none_or(|newest| !newest.is_version(id));
                let id = Some(VersionName::Content(id));
                let (path, changed) = (path.clone(), version.put);
                Looked::Object(Box::new(Found { space, path, version: Some(version), changed, id, is_old }))
            }
            None => Looked::NoVersion,
        },
    }
}

/// What a request for a delete marker is told.
pub(crate) fn marked(key: &str, marker: FileId, asked: bool) -> S3Error {
    let mut error = match asked {
        true => s3_error!(MethodNotAllowed, "this version says that '{key}' was deleted"),
        false => s3_error!(NoSuchKey, "'{key}' was deleted"),
    };
    let id = http::HeaderValue::try_from(VersionName::Marker(marker).to_string());
    let mut headers = http::HeaderMap::new();
    headers.insert("x-amz-delete-marker", http::HeaderValue::from_static("true"));
    id.ok().map(|id| headers.insert("x-amz-version-id", id));
    error.set_headers(headers);
    error
}

/// What is done to delete something.
pub(crate) enum Deed {
    /// It is gone already, or goes with something else.
    Nothing,
    /// A file goes, for good or to the trash.
    Remove(FilePath),
    /// A folder does not stay any more.
    Release(FilePath),
    /// A version or a marker goes for good.
    Version(FilesCommand),
}

/// How a key, or a version of it, is deleted in a request that names all these versions.
///
/// # Errors
/// `NotImplemented` for markers that something came after.
pub(crate) fn deed(
    files: &Files,
    space: SpaceId,
    key: &Key,
    named: Option<VersionName>,
    all: &BTreeSet<VersionName>,
) -> S3Result<Deed> {
    let versioned = has_versions(files, space);
    let (path, named) = match (key, named) {
        (_, None) => return Ok(remove(files, space, key)),
        (Key::Folder(_), Some(VersionName::Null)) => return Ok(remove(files, space, key)),
        (_, Some(VersionName::Null)) if !versioned => return Ok(remove(files, space, key)),
        (Key::Folder(_), Some(_)) | (_, Some(VersionName::Null)) => return Ok(Deed::Nothing),
        (Key::File(path), Some(named)) => (path, named),
    };
    let VersionName::Marker(file) = named else {
        let VersionName::Content(version) = named else { return Ok(Deed::Nothing) };
        let found = file_of(files, space, path, version);
        let command = |(file, _)| Deed::Version(FilesCommand::RemoveVersion { space, file, version });
        return Ok(found.map_or(Deed::Nothing, command));
    };
    let goes = files.versions(file).iter().all(|version| all.contains(&VersionName::Content(version.id)));
    // It goes with the last of its versions.
    if goes || !was_at(files, space, path, file) {
        return Ok(Deed::Nothing);
    }
    let is_last = files.removed_at(space, path, None).next().is_some_and(|last| last.file.id == file);
    match is_last && lies_at(files, space, path).is_none() {
        true => Ok(Deed::Version(FilesCommand::Restore { space, file, to: None })),
        false => Err(error::not_offered("removing a delete marker that something came after")),
    }
}

fn remove(files: &Files, space: SpaceId, key: &Key) -> Deed {
    match (find(files, space, key), key) {
        (None, _) => Deed::Nothing,
        (Some(_), Key::File(path)) => Deed::Remove(path.clone()),
        (Some(_), Key::Folder(path)) => Deed::Release(path.clone()),
    }
}

/// A version or delete marker as it is listed.
struct Entry {
    key: String,
    name: VersionName,
    is_latest: bool,
    changed: Time,
    by: Option<AccountId>,
    /// Entity tag and length; none for a marker.
    content: Option<(String, u64)>,
}

/// What lay at a key, the newest first; found while it is listed, as it may be much. From a file on that was removed, if one is
/// given.
fn entries<'a>(
    files: &'a Files,
    space: SpaceId,
    text: &'a str,
    from: Option<FileId>,
) -> impl Iterator<Item = Entry> + use<'a> {
    let entry = move |name, changed, by, content| Entry {
        key: text.to_owned(),
        name,
        is_latest: false,
        changed,
        by,
        content,
    };
    let versioned = has_versions(files, space);
    let content = move |version: Version| {
        let name = if versioned { VersionName::Content(version.id) } else { VersionName::Null };
        let content = Some((about::tag_of(&version), version.size.0));
        entry(name, version.put, Some(version.by), content)
    };
    let (folder, path) = match Key::of_old(text) {
        Some(Key::Folder(path)) => (find(files, space, &Key::Folder(path)), None),
        Some(Key::File(path)) => (None, Some(path)),
        None => (None, None),
    };
    let folder = folder.map(|view| entry(VersionName::Null, view.changed, None, Some((EMPTY.to_owned(), 0))));
    let lies = path.as_ref().filter(|_| from.is_none()).and_then(|path| lies_at(files, space, path));
    let lying = lies.into_iter().flat_map(move |file| files.versions(file)).map(content);
    let removed = path.map(|path| files.removed_at(space, &path, from)).into_iter().flatten();
    let removed = removed.flat_map(move |trashed| {
        let id = trashed.file.id;
        let marker = entry(VersionName::Marker(id), trashed.removed, Some(trashed.by), None);
        [marker].into_iter().chain(files.versions(id).into_iter().map(content))
    });
    let all = folder.into_iter().chain(lying).chain(removed).enumerate();
    all.map(move |(at, entry)| Entry { is_latest: at == 0 && from.is_none(), ..entry })
}

/// What lay at a key, behind a version of it that was told; all if it is not there any more.
fn behind<'a>(
    files: &'a Files,
    space: SpaceId,
    text: &'a str,
    told: Option<VersionName>,
) -> impl Iterator<Item = Entry> + use<'a> {
    let path = match Key::of_old(text) {
        Some(Key::File(path)) => Some(path),
        _ => None,
    };
    let from = path.zip(told).and_then(|(path, told)| match told {
        VersionName::Marker(file) => Some(file).filter(|file| was_at(files, space, &path, *file)),
        VersionName::Content(version) => files.removed_with(space, &path, version),
        VersionName::Null => None,
    });
    let at = told.and_then(|told| {
        // It lies in the first file that is looked at, so this is short.
        let most = 2 + Bounds::VERSIONS;
        entries(files, space, text, from).take(most).position(|entry| entry.name == told)
    });
    let from = from.filter(|_| at.is_some());
    entries(files, space, text, from).skip(at.map_or(0, |at| at + 1))
}

/// What is to be listed.
struct Wanted {
    prefix: String,
    delimiter: Option<String>,
    /// The last key or prefix that was told, and the last version of it.
    after: Option<(String, Option<VersionName>)>,
    most: usize,
}

/// What is there of it.
#[derive(Default)]
struct Listed {
    entries: Vec<Entry>,
    prefixes: Vec<String>,
    /// Where it goes on, if there is more.
    next: Option<(String, Option<VersionName>)>,
}

impl Wanted {
    /// Keys from behind the last one that was told: as many as can be told, and one more; and whether there are others.
    fn keys(&self, files: &Files, space: SpaceId) -> (BTreeSet<String>, bool) {
        let limit = self.most + 1;
        let is_folded = |key: &str| self.folded(key).is_some_and(|prefix| prefix == key);
        let after = self.after.as_ref().map(|(key, _)| match is_folded(key) {
            true => behind_all(key),
            false => key.clone(),
        });
        let lying = files.walk(space, &self.prefix, after.as_deref(), false, limit);
        let removed = files.removed_paths(space, &self.prefix, after.as_deref(), limit);
        let lying_keys: Vec<String> = lying.items.iter().map(key_of).collect();
        // Behind where the one ends the other may have more.
        let ends = [
            lying_keys.last().filter(|_| lying.more).cloned(),
            removed.items.last().filter(|_| removed.more).cloned(),
        ];
        let mut keys: BTreeSet<String> = lying_keys.into_iter().chain(removed.items).collect();
        for end in ends.into_iter().flatten() {
            keys.retain(|key| *key <= end);
        }
        if let Some((key, Some(_))) = &self.after {
            keys.insert(key.clone());
        }
        (keys, lying.more || removed.more)
    }

    fn folded<'a>(&self, key: &'a str) -> Option<&'a str> {
        folded_at(key, &self.prefix, self.delimiter.as_deref()?)
    }

    fn list(&self, files: &Files, space: SpaceId) -> Listed {
        let (keys, more) = self.keys(files, space);
        let mut listed = Listed::default();
        let mut last = None;
        for key in keys {
            if let Some(prefix) = self.folded(&key) {
                if listed.prefixes.last().is_some_and(|told| told == prefix) {
                    continue;
                }
                if listed.entries.len() + listed.prefixes.len() >= self.most {
                    return Listed { next: last, ..listed };
                }
                listed.prefixes.push(prefix.to_owned());
                last = Some((prefix.to_owned(), None));
                continue;
            }
            let told = self.after.as_ref().filter(|(after, _)| *after == key).and_then(|(_, name)| *name);
            for entry in behind(files, space, &key, told) {
                if listed.entries.len() + listed.prefixes.len() >= self.most {
                    return Listed { next: last, ..listed };
                }
                last = Some((key.clone(), Some(entry.name)));
                listed.entries.push(entry);
            }
        }
        Listed { next: last.filter(|_| more), ..listed }
    }
}

impl<B: Backend> Gateway<B> {
    pub(crate) async fn get_bucket_versioning(
        &self,
        caller: AccountId,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let versioned = self.look_in(caller, &request.input.bucket, Access::Read, has_versions).await?;
        let enabled = BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        let status = versioned.then_some(enabled);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    pub(crate) async fn put_bucket_versioning(
        &self,
        caller: AccountId,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let PutBucketVersioningInput { bucket, versioning_configuration: wanted, .. } = request.input;
        let mfa = wanted.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED);
        let status = wanted.status.as_ref().map(BucketVersioningStatus::as_str);
        about::refuse(&[
            ("a second factor for deleting", mfa),
            (
                "suspending versions, as older ones would go at once (`pumasi space` says how long they are kept)",
                status == Some(BucketVersioningStatus::SUSPENDED),
            ),
        ])?;
        if status != Some(BucketVersioningStatus::ENABLED) {
            return Err(s3_error!(MalformedXML, "versions can be Enabled"));
        }
        let look = |files: &Files, space| (space, has_versions(files, space));
        let (space, versioned) = self.look_in(caller, &bucket, Access::Manage, look).await?;
        if !versioned {
            let keep = Some(Bounds::HORIZON);
            self.order(caller, FilesCommand::ChangeSpace { space, keep, quota: None }).await?;
        }
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(crate) async fn list_object_versions(
        &self,
        caller: AccountId,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let marker = input.version_id_marker.as_deref().filter(|text| !text.is_empty());
        let marker = marker.map(VersionName::of).transpose()?;
        let wanted = Wanted {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|text| !text.is_empty()),
            after: input.key_marker.clone().filter(|text| !text.is_empty()).map(|key| (key, marker)),
            most: most(input.max_keys)?,
        };
        let most = wanted.most as i32;
        let look = move |files: &Files, space| wanted.list(files, space);
        let listed = self.look_in(caller, &input.bucket, Access::Read, look).await?;
        let (next_key, next_version) = listed.next.unzip();
        let (versions, markers) = split(listed.entries, encoding, caller);
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.text(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.filter(|text| !text.is_empty()).map(|text| encoding.text(text)),
            key_marker: Some(encoding.text(input.key_marker.unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            max_keys: Some(most),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|text| encoding.text(text)),
            next_version_id_marker: next_version.flatten().map(|name| name.to_string()),
            versions: Some(versions),
            delete_markers: Some(markers),
            common_prefixes: encoding.prefixes(listed.prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectVersionsOutput::default()
        }))
    }
}

/// Versions and markers as S3 writes them.
fn split(
    entries: Vec<Entry>,
    encoding: Encoding,
    caller: AccountId,
) -> (Vec<ObjectVersion>, Vec<DeleteMarkerEntry>) {
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for entry in entries {
        let (is_latest, owner) = (Some(entry.is_latest), Some(owner(entry.by.unwrap_or(caller))));
        let (key, last_modified) = (Some(encoding.text(entry.key)), Some(timestamp(entry.changed)));
        let version_id = Some(entry.name.to_string());
        match entry.content {
            None => markers.push(DeleteMarkerEntry { is_latest, key, last_modified, owner, version_id }),
            Some((tag, size)) => versions.push(ObjectVersion {
                e_tag: strong(tag),
                is_latest,
                key,
                last_modified,
                owner,
                size: i64::try_from(size).ok(),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                version_id,
                ..ObjectVersion::default()
            }),
        }
    }
    (versions, markers)
}
