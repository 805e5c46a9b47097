//! Opening a store's folder: lock it, clear what a crash left behind, find every blob.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pumasi_types::Hash;

use crate::BlobError;
use crate::index::{Index, own_path, pack_path};
use crate::pack::{PackFault, TRAILER_BYTES, Trailer};

/// Locks the folder against other processes for as long as the file lives.
pub(crate) fn lock(dir: &Path) -> Result<File, BlobError> {
    let is_new = !dir.exists();
    for folder in [dir.to_owned(), dir.join("blobs"), dir.join("packs"), dir.join("incoming")] {
        fs::create_dir_all(&folder).map_err(|e| BlobError::folder("create the folder", &folder, e))?;
    }
    if let (true, Some(parent)) = (is_new, dir.parent()) {
        sync(if parent == Path::new("") { Path::new(".") } else { parent })?;
    }
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| BlobError::folder("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BlobError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(BlobError::folder("lock", &path, e)),
    }
}

/// Reads which blobs a locked folder holds and removes unfinished uploads.
///
/// Files that this store did not name are left alone and ignored, as are symbolic links.
pub(crate) fn scan(dir: &Path) -> Result<Index, BlobError> {
    for (name, path) in files(&dir.join("incoming"))? {
        if name.split('#').all(is_number) {
            remove(&path)?;
        }
    }
    let mut index = Index::default();
    for (name, path) in files(&dir.join("packs"))? {
        let (stem, staged) = split_staged(&name);
        let Some(id) = stem.strip_suffix(".pack").and_then(parse_name) else { continue };
        if staged {
            remove(&path)?;
            continue;
        }
        read_pack(&path, id, &mut index)?;
    }
    // After the packs: an object of its own was stored to repair or replace what a pack holds.
    let blobs = dir.join("blobs");
    for entry in entries(&blobs)? {
        let kind = entry.file_type().map_err(|e| BlobError::folder("look at", entry.path(), e))?;
        if !kind.is_dir() {
            continue;
        }
        for (name, path) in files(&entry.path())? {
            let (stem, staged) = split_staged(&name);
            let Some(hash) =
                parse_name(stem).filter(|hash| dir.join(own_path(hash).as_ref()).parent() == path.parent())
            else {
                continue;
            };
            if staged {
                remove(&path)?;
                continue;
            }
            let length = fs::metadata(&path).map_err(|e| BlobError::folder("look at", &path, e))?.len();
            index.insert_own(hash, length);
        }
        sync(&entry.path())?;
    }
    for folder in [&blobs, &dir.join("packs"), &dir.join("incoming"), dir] {
        sync(folder)?;
    }
    Ok(index)
}

fn read_pack(path: &Path, id: Hash, index: &mut Index) -> Result<(), BlobError> {
    let failed = |e| BlobError::folder("read", path, e);
    let damaged = |source| BlobError::DamagedPack { object: pack_path(&id).to_string(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let at = length.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| damaged(PackFault::TooShort(length)))?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, at).map_err(failed)?;
    let trailer = Trailer::decode(&trailer, length).map_err(damaged)?;
    if trailer.id != id {
        return Err(damaged(PackFault::Name(trailer.id)));
    }
    let mut bytes = vec![0; trailer.index_len];
    file.read_exact_at(&mut bytes, trailer.body_len).map_err(failed)?;
    index.insert_pack(id, &trailer.decode_index(&bytes).map_err(damaged)?);
    Ok(())
}

/// A crash can leave names that are visible but not yet on disk; what the index lists must be durable.
fn sync(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| BlobError::folder("sync", folder, e))
}

fn remove(path: &Path) -> Result<(), BlobError> {
    fs::remove_file(path).map_err(|e| BlobError::folder("remove the unfinished upload", path, e))
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, BlobError> {
    let failed = |e| BlobError::folder("list", folder, e);
    fs::read_dir(folder).map_err(failed)?.collect::<io::Result<_>>().map_err(failed)
}

/// Regular files with readable names, in the order of their names.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, BlobError> {
    let mut files = Vec::new();
    for entry in entries(folder)? {
        let kind = entry.file_type().map_err(|e| BlobError::folder("look at", entry.path(), e))?;
        if let (true, Ok(name)) = (kind.is_file(), entry.file_name().into_string()) {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// `object_store` writes to `NAME#1`, `NAME#2`, … and renames to NAME at the end.
fn split_staged(name: &str) -> (&str, bool) {
    match name.rsplit_once('#') {
        Some((stem, number)) if is_number(number) => (stem, true),
        _ => (name, false),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Only the spelling that this store writes; upper-case digits would be a second name.
fn parse_name(name: &str) -> Option<Hash> {
    name.parse::<Hash>().ok().filter(|hash| hash.to_string() == name)
}
