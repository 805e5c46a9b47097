//! The store's own folder: its lock, and what a crash left behind in a local folder of packs.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use pumasi_log::{DirectWriter, RealDisk};
use pumasi_types::Hash;

use crate::BlobError;

/// So much of the disk is left free, for the index: a database whose disk is full has to be opened anew.
const ROOM_FOR_INDEX: u64 = 16 << 20;

/// Makes the folder and locks it against other processes for as long as the file lives.
pub(crate) fn lock(dir: &Path) -> Result<File, BlobError> {
    let is_new = !dir.exists();
    for folder in [dir.to_owned(), dir.join("packs")] {
        fs::create_dir_all(&folder).map_err(|e| BlobError::folder("create the folder", &folder, e))?;
    }
    if let (true, Some(parent)) = (is_new, dir.parent()) {
        sync(if parent == Path::new("") { Path::new(".") } else { parent })?;
    }
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| BlobError::folder("create", &path, e))?;
    // What a store that was just dropped had under way ends in a moment.
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(e)) => return Err(BlobError::folder("lock", &path, e)),
        }
    }
    Err(BlobError::InUse { dir: dir.to_owned() })
}

/// Removes unfinished packs of a local folder. `object_store` writes to `NAME#1`, `NAME#2`, … and renames at the end.
pub(crate) fn clear(dir: &Path) -> Result<(), BlobError> {
    let packs = dir.join("packs");
    for entry in fs::read_dir(&packs).map_err(|e| BlobError::folder("list", &packs, e))? {
        let entry = entry.map_err(|e| BlobError::folder("list", &packs, e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some((stem, number)) = name.rsplit_once('#') else { continue };
        if pack_id(stem).is_some() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|e| BlobError::folder("remove the unfinished pack", &path, e))?;
        }
    }
    // A crash can leave names that are visible but not yet on disk; what the index lists must be durable.
    sync(&packs)?;
    sync(dir)
}

/// Writes a large object, first under a name that [`clear`] removes after a crash. Nothing is left of what cannot be written.
pub(crate) fn write_large(
    dir: &Path,
    object: &object_store::path::Path,
    bytes: &[Bytes],
    fsync: bool,
) -> Result<(), BlobError> {
    let path = dir.join(object.as_ref());
    let unfinished = dir.join(format!("{object}#1"));
    let write = || {
        let mut writer = DirectWriter::create(&RealDisk, &unfinished)?;
        bytes.iter().try_for_each(|part| writer.write(part))?;
        let file = writer.finish()?;
        if fsync {
            file.sync()?;
        }
        fs::rename(&unfinished, &path)
    };
    write().map_err(|e| {
        // The first failure says more than one to remove what it left.
        let _ = fs::remove_file(&unfinished);
        BlobError::folder("write", object.as_ref(), e)
    })?;
    match (fsync, path.parent()) {
        (true, Some(folder)) => sync(folder),
        _ => Ok(()),
    }
}

/// Makes what happened to the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| BlobError::folder("sync", folder, e))
}

/// The pack that an object is named after. Only the spelling that this store writes; upper-case digits would be
/// a second name.
pub(crate) fn pack_id(name: &str) -> Option<Hash> {
    let name = name.strip_suffix(".pack")?;
    name.parse::<Hash>().ok().filter(|hash| hash.to_string() == name)
}

/// Whether the disk takes so many bytes and still has room for the index.
pub(crate) fn check_room(
    dir: &Path,
    object: &object_store::path::Path,
    length: u64,
) -> Result<(), BlobError> {
    // Where the system does not tell, writing will.
    let Ok(disk) = rustix::fs::statvfs(dir) else { return Ok(()) };
    match disk.f_bavail.saturating_mul(disk.f_frsize) >= length + ROOM_FOR_INDEX {
        true => Ok(()),
        false => {
            let source = io::Error::from(io::ErrorKind::StorageFull).into();
            Err(BlobError::DiskFull { object: object.to_string(), source })
        }
    }
}
