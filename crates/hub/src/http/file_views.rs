//! Spaces and files as the API shows them, and what it says of them as commands.

use std::collections::BTreeMap;

use pumasi_api::wire::files as wire;
use pumasi_core::{
    About, Access, Condition, FileKind, FilePut, FileView, FilesRefusal, Link, Page, Placed, Refusal, Space,
    State, Trashed, Version,
};
use pumasi_types::{AccountId, FilePath, LinkId, SpaceId, Time};

use super::ApiError;

/// Nanoseconds of a millisecond.
pub(super) const MS: u64 = 1_000_000;

/// A space as this caller sees it, without its members.
pub(super) fn space_of_many(caller: AccountId, id: SpaceId, space: &Space) -> wire::Space {
    wire::Space {
        id,
        name: space.name.clone(),
        made_ms: space.made.0 / MS,
        keep_ms: space.keep.0 / MS,
        quota_bytes: space.quota.0,
        used_bytes: space.used.0,
        access: space.members.get(&caller).copied().map(access),
        members: Vec::new(),
    }
}

/// A space as this caller sees it.
pub(super) fn space(state: &State, caller: AccountId, id: SpaceId, space: &Space) -> wire::Space {
    let name_of = |account| state.ledger().account(account).map(|account| account.name().to_owned());
    let member = |(account, is): (&AccountId, &Access)| wire::Member {
        account: *account,
        name: name_of(*account).unwrap_or_default(),
        access: access(*is),
    };
    let members = space.members.iter().map(member).collect();
    wire::Space { members, ..space_of_many(caller, id, space) }
}

pub(super) fn access(access: Access) -> wire::Access {
    match access {
        Access::Read => wire::Access::Read,
        Access::Write => wire::Access::Write,
        Access::Manage => wire::Access::Manage,
    }
}

pub(super) fn access_of(access: wire::Access) -> Access {
    match access {
        wire::Access::Read => Access::Read,
        wire::Access::Write => Access::Write,
        wire::Access::Manage => Access::Manage,
    }
}

pub(super) fn entry(view: FileView) -> wire::Entry {
    let (file, folder) = match view.kind {
        FileKind::File(newest) => (Some(version(newest)), None),
        FileKind::Folder(sums) => {
            let sums = wire::Totals { files: sums.files, folders: sums.folders, bytes: sums.bytes.0 };
            (None, Some(sums))
        }
    };
    wire::Entry { id: view.id, path: view.path, changed_ms: view.changed.0 / MS, file, folder }
}

pub(super) fn version(version: Version) -> wire::Version {
    let About { modified, executable, labels } = version.about;
    wire::Version {
        version: version.id,
        blob: version.blob,
        size: version.size.0,
        put_ms: version.put.0 / MS,
        by: version.by,
        about: wire::About { modified_ns: modified.map(|time| time.0), executable, labels },
    }
}

pub(super) fn trashed(trashed: Trashed) -> wire::Trashed {
    wire::Trashed { entry: entry(trashed.file), removed_ms: trashed.removed.0 / MS, removed_by: trashed.by }
}

/// A page of a listing. `next` of an entry is what the listing goes on behind.
pub(super) fn entries(page: Page<FileView>, next: impl Fn(&FileView) -> String) -> wire::Entries {
    let next = page.items.last().filter(|_| page.more).map(next);
    wire::Entries { entries: page.items.into_iter().map(entry).collect(), next }
}

pub(super) fn link(id: LinkId, link: &Link, path: Option<FilePath>) -> wire::Link {
    wire::Link {
        id,
        file: link.file,
        path,
        by: link.by,
        password: link.password.is_some(),
        expires_ms: link.expires.map(|time| time.0 / MS),
        left: link.left,
        used: link.used,
    }
}

/// What came of each file.
pub(super) fn results(
    paths: Vec<FilePath>,
    placed: Vec<Result<Placed, FilesRefusal>>,
) -> Result<wire::FileResults, ApiError> {
    if paths.len() != placed.len() {
        return Err(ApiError::internal(&"the cell did not answer for each file"));
    }
    let result = |(path, placed): (FilePath, Result<Placed, FilesRefusal>)| match placed {
        Ok(Placed { file, version }) => wire::FileResult { path, id: Some(file), version, error: None },
        Err(refusal) => wire::FileResult { path, id: None, version: None, error: Some(refused(refusal)) },
    };
    Ok(wire::FileResults { results: paths.into_iter().zip(placed).map(result).collect() })
}

/// A refusal of one of a list.
pub(super) fn refused(refusal: FilesRefusal) -> pumasi_api::wire::ErrorBody {
    ApiError::from(Refusal::Files(refusal)).into_body()
}

/// A file as it is put.
pub(super) fn file_put(file: wire::PutFile) -> FilePut {
    let wire::PutFile { path, blob, modified_ns, executable, labels, condition } = file;
    let condition = match condition {
        wire::Condition::Any => Condition::Any,
        wire::Condition::Absent => Condition::Absent,
        wire::Condition::Version(version) => Condition::Version(version),
    };
    FilePut { path, blob, about: about(modified_ns, executable, labels), condition }
}

/// What a file says of itself.
pub(super) fn about(modified_ns: Option<u64>, executable: bool, labels: BTreeMap<String, String>) -> About {
    About { modified: modified_ns.map(Time), executable, labels }
}
