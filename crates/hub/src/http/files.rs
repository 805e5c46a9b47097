//! Files and folders: look, put, move, copy, remove, and have back what was removed or overwritten.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_api::wire::files::{
    ClaimedFile, ClaimedFiles, Copied, CopyFile, EmptyTrash, Entries, Entry, FilePaths, FileResults,
    MakeFolder, MoveFile, Moved, PutFiles, RemoveFiles, Restore, Revert, Trash, Versions,
};
use pumasi_core::{Access, Bounds, Done, FileKind, FileView, FilesCommand, FilesDone, FilesRefusal, Page};
use pumasi_types::{FileId, FilePath};
use serde::Deserialize;

use super::ApiError;
use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use super::file_views as views;
use crate::access;
use crate::server::Hub;

/// Entries in one answer.
const ENTRIES_MAX: usize = 1_000;

/// Which file or folder.
#[derive(Deserialize)]
pub(super) struct PathQuery {
    #[serde(default)]
    pub(super) path: FilePath,
}

/// A page of a folder.
#[derive(Deserialize)]
pub(super) struct FolderQuery {
    #[serde(default)]
    path: FilePath,
    after: Option<String>,
    limit: Option<usize>,
}

/// A page of all that begins alike.
#[derive(Deserialize)]
pub(super) struct WalkQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    #[serde(default)]
    folded: bool,
    limit: Option<usize>,
}

fn no_file(path: &FilePath) -> FilesRefusal {
    FilesRefusal::NoFile { path: path.clone() }
}

fn page_of(limit: Option<usize>) -> usize {
    limit.unwrap_or(ENTRIES_MAX).clamp(1, ENTRIES_MAX)
}

/// A file or folder; the empty path is the space's root.
#[utoipa::path(get, path = "/v1/spaces/{space}/file", operation_id = "get_file",
    params(("space" = String, Path), ("path" = Option<String>, Query)),
    responses((status = 200, body = Entry), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn find(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(PathQuery { path }): Query<PathQuery>,
) -> Result<Json<Entry>, ApiError> {
    let wanted = path.clone();
    let look = move |files: &pumasi_core::Files, space| files.find(space, &wanted);
    let found = hub.in_space(caller.account, &space, Access::Read, look).await?;
    Ok(Json(views::entry(found.ok_or_else(|| no_file(&path))?)))
}

/// What lies in a folder, by name; a folder stands where its name and a `/` would.
#[utoipa::path(get, path = "/v1/spaces/{space}/files", operation_id = "list_folder",
    params(("space" = String, Path), ("path" = Option<String>, Query), ("after" = Option<String>, Query),
        ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Entries), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(query): Query<FolderQuery>,
) -> Result<Json<Entries>, ApiError> {
    let look = move |files: &pumasi_core::Files, space| {
        let folder = files.find(space, &query.path).ok_or_else(|| no_file(&query.path))?;
        match folder.kind {
            FileKind::File(_) => Err(FilesRefusal::NotAFolder { path: query.path }),
            FileKind::Folder(_) => Ok(files.list(folder.id, query.after.as_deref(), page_of(query.limit))),
        }
    };
    let page = hub.in_space(caller.account, &space, Access::Read, look).await??;
    Ok(Json(views::entries(page, name_of)))
}

/// Behind what a listing of a folder goes on after this entry.
pub(super) fn name_of(entry: &FileView) -> String {
    let name = entry.path.name().unwrap_or_default();
    match entry.kind {
        FileKind::File(_) => name.to_owned(),
        FileKind::Folder(_) => format!("{name}/"),
    }
}

/// Everything in a space whose path begins with `prefix`, at whatever depth, in the order of the paths' bytes; with
/// `folded`, what has a `/` behind the prefix is shown as one folder. Folders are shown if they were made to stay, and
/// stand where their path and a `/` would. A page can have fewer entries than asked for and still lead on.
#[utoipa::path(get, path = "/v1/spaces/{space}/walk", operation_id = "walk_files",
    params(("space" = String, Path), ("prefix" = Option<String>, Query), ("after" = Option<String>, Query),
        ("folded" = Option<bool>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Entries), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn walk(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(WalkQuery { prefix, after, folded, limit }): Query<WalkQuery>,
) -> Result<Json<Entries>, ApiError> {
    let look = move |files: &pumasi_core::Files, space| -> Page<FileView> {
        files.walk(space, &prefix, after.as_deref(), folded, page_of(limit))
    };
    let page = hub.in_space(caller.account, &space, Access::Read, look).await?;
    let behind = |entry: &FileView| match entry.kind {
        FileKind::File(_) => entry.path.to_string(),
        FileKind::Folder(_) => format!("{}/", entry.path),
    };
    Ok(Json(views::entries(page, behind)))
}

/// Gives files new contents that the caller holds, each on its own: some may be done and others not.
#[utoipa::path(post, path = "/v1/spaces/{space}/files", operation_id = "put_files",
    params(("space" = String, Path)), request_body = PutFiles,
    responses((status = 200, body = FileResults), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(body): Body<PutFiles>,
) -> Result<Json<FileResults>, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let paths = body.files.iter().map(|file| file.path.clone()).collect();
    let files = body.files.into_iter().map(views::file_put).collect();
    let placed = hub.put_files(caller.account, space, files, key.of(caller.account)).await?;
    views::results(paths, placed).map(Json)
}

/// Makes a folder to stay even when nothing lies in it. One that is there stays from now on.
#[utoipa::path(post, path = "/v1/spaces/{space}/folders", operation_id = "make_folder",
    params(("space" = String, Path)), request_body = MakeFolder,
    responses((status = 200, body = Entry), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn make_folder(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(name): Path<String>,
    Body(MakeFolder { path }): Body<MakeFolder>,
) -> Result<Json<Entry>, ApiError> {
    let space = hub.open_space(caller.account, &name, Access::Write).await?;
    let command = FilesCommand::MakeFolder { space, path: path.clone() };
    hub.files(caller.account, key.of(caller.account), command).await?;
    let wanted = path.clone();
    let found = hub.cell.read(move |state| state.files().find(space, &wanted)).await?;
    Ok(Json(views::entry(found.ok_or_else(|| no_file(&path))?)))
}

/// Moves a file, or a folder with all that lies in it, within its space.
#[utoipa::path(post, path = "/v1/spaces/{space}/move", operation_id = "move_file",
    params(("space" = String, Path)), request_body = MoveFile,
    responses((status = 200, body = Moved), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn move_to(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(MoveFile { from, to, replace }): Body<MoveFile>,
) -> Result<Json<Moved>, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let command = FilesCommand::Move { space, from, to, replace };
    moved(hub.files(caller.account, key.of(caller.account), command).await?)
}

fn moved(done: Done) -> Result<Json<Moved>, ApiError> {
    match done {
        Done::Files(FilesDone::Moved(id)) => Ok(Json(Moved { id })),
        other => Err(unexpected(&other)),
    }
}

/// Copies a file, or a folder with at most 10,000 files and folders, into this space; newest contents only.
#[utoipa::path(post, path = "/v1/spaces/{space}/copy", operation_id = "copy_file",
    params(("space" = String, Path)), request_body = CopyFile,
    responses((status = 200, body = Copied), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn copy(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(CopyFile { from_space, from, to, replace }): Body<CopyFile>,
) -> Result<Json<Copied>, ApiError> {
    let to_space = hub.open_space(caller.account, &space, Access::Write).await?;
    let from_space = match from_space {
        Some(name) => {
            let opened = hub.open_space(caller.account, &name, Access::Read).await;
            access::reads(from.as_str());
            opened?
        }
        None => to_space,
    };
    let command = FilesCommand::Copy { from_space, from, to_space, to, replace, about: None };
    match hub.files(caller.account, key.of(caller.account), command).await? {
        Done::Files(FilesDone::Copied { file, count, .. }) => Ok(Json(Copied { id: file, count })),
        other => Err(unexpected(&other)),
    }
}

/// Removes files and folders, each on its own; they lie in the trash for as long as the space keeps things.
#[utoipa::path(post, path = "/v1/spaces/{space}/remove", operation_id = "remove_files",
    params(("space" = String, Path)), request_body = RemoveFiles,
    responses((status = 200, body = FileResults), (status = 403, body = wire::ErrorBody)))]
pub(super) async fn remove(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(RemoveFiles { paths, recursive, forever }): Body<RemoveFiles>,
) -> Result<Json<FileResults>, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let command = FilesCommand::Remove { space, paths: paths.clone(), recursive, forever };
    match hub.files(caller.account, key.of(caller.account), command).await? {
        Done::Files(FilesDone::Each(removed)) => views::results(paths, removed).map(Json),
        other => Err(unexpected(&other)),
    }
}

/// A page of the trash.
#[derive(Deserialize)]
pub(super) struct TrashQuery {
    after: Option<FileId>,
    limit: Option<usize>,
}

/// What lies in the trash of a space, the last first.
#[utoipa::path(get, path = "/v1/spaces/{space}/trash", operation_id = "list_trash",
    params(("space" = String, Path), ("after" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Trash), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn trash(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(TrashQuery { after, limit }): Query<TrashQuery>,
) -> Result<Json<Trash>, ApiError> {
    let look = move |files: &pumasi_core::Files, space| files.trash(space, after, page_of(limit));
    let page = hub.in_space(caller.account, &space, Access::Read, look).await?;
    let next = page.items.last().filter(|_| page.more).map(|last| last.file.id);
    Ok(Json(Trash { trash: page.items.into_iter().map(views::trashed).collect(), next }))
}

/// Takes something back out of the trash, to where it was or elsewhere.
#[utoipa::path(post, path = "/v1/spaces/{space}/trash/restore", operation_id = "restore_file",
    params(("space" = String, Path)), request_body = Restore,
    responses((status = 200, body = Moved), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn restore(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(Restore { id, to }): Body<Restore>,
) -> Result<Json<Moved>, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    let command = FilesCommand::Restore { space, file: id, to };
    moved(hub.files(caller.account, key.of(caller.account), command).await?)
}

/// Removes what lies in the trash for good: one thing, or all.
#[utoipa::path(post, path = "/v1/spaces/{space}/trash/empty", operation_id = "empty_trash",
    params(("space" = String, Path)), request_body = EmptyTrash,
    responses((status = 204), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn empty_trash(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(EmptyTrash { id }): Body<EmptyTrash>,
) -> Result<StatusCode, ApiError> {
    let space = hub.open_space(caller.account, &space, Access::Write).await?;
    hub.files(caller.account, key.of(caller.account), FilesCommand::EmptyTrash { space, file: id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All versions of a file, the newest first.
#[utoipa::path(get, path = "/v1/spaces/{space}/versions", operation_id = "list_versions",
    params(("space" = String, Path), ("path" = String, Query)),
    responses((status = 200, body = Versions), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn versions(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(space): Path<String>,
    Query(PathQuery { path }): Query<PathQuery>,
) -> Result<Json<Versions>, ApiError> {
    let look = move |files: &pumasi_core::Files, space| {
        let file = files.find(space, &path).ok_or_else(|| no_file(&path))?;
        match file.kind {
            FileKind::Folder(_) => Err(FilesRefusal::IsFolder { path }),
            FileKind::File(_) => Ok(files.versions(file.id)),
        }
    };
    let versions = hub.in_space(caller.account, &space, Access::Read, look).await??;
    Ok(Json(Versions { versions: versions.into_iter().map(views::version).collect() }))
}

/// Makes an older version of a file its newest again; what was the newest becomes an older one.
#[utoipa::path(post, path = "/v1/spaces/{space}/revert", operation_id = "revert_file",
    params(("space" = String, Path)), request_body = Revert,
    responses((status = 200, body = Entry), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn revert(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(name): Path<String>,
    Body(Revert { path, version }): Body<Revert>,
) -> Result<Json<Entry>, ApiError> {
    let space = hub.open_space(caller.account, &name, Access::Write).await?;
    let command = FilesCommand::Revert { space, path: path.clone(), version };
    hub.files(caller.account, key.of(caller.account), command).await?;
    let wanted = path.clone();
    let found = hub.cell.read(move |state| state.files().find(space, &wanted)).await?;
    Ok(Json(views::entry(found.ok_or_else(|| no_file(&path))?)))
}

/// Claims the blobs of files that the caller may read: for 48 hours it holds them, as if it had sent them.
#[utoipa::path(post, path = "/v1/spaces/{space}/claim", operation_id = "claim_files",
    params(("space" = String, Path)), request_body = FilePaths,
    responses((status = 200, body = ClaimedFiles), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn claim(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(space): Path<String>,
    Body(FilePaths { paths }): Body<FilePaths>,
) -> Result<Json<ClaimedFiles>, ApiError> {
    let opened = hub.open_space(caller.account, &space, Access::Read).await;
    access::reads_all(&paths);
    let space = opened?;
    let command = FilesCommand::ClaimFiles { space, paths: paths.clone() };
    let claimed = match hub.files(caller.account, key.of(caller.account), command).await? {
        Done::Files(FilesDone::Claimed(claimed)) if claimed.len() == paths.len() => claimed,
        other => return Err(unexpected(&other)),
    };
    let files = paths.into_iter().zip(claimed).map(|(path, claimed)| match claimed {
        Ok((blob, size)) => ClaimedFile { path, blob: Some(blob), size: Some(size.0), error: None },
        Err(refusal) => ClaimedFile { path, blob: None, size: None, error: Some(views::refused(refusal)) },
    });
    Ok(Json(ClaimedFiles { files: files.collect() }))
}

/// Refuses more paths than one request may name, before anything is looked up.
pub(super) fn not_too_many(paths: &[FilePath]) -> Result<(), FilesRefusal> {
    let limit = Bounds::FILES;
    match paths.len() > limit {
        true => Err(FilesRefusal::TooMany { what: "files in one request".to_owned(), limit: limit as u64 }),
        false => Ok(()),
    }
}
