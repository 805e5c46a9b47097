//! Names of a store without a hub: one small file per name in `DIR/names`, which says what was put under it.
//!
//! A hub keeps names in its log; these are for a store that somebody uses on one machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use pumasi_types::Hash;

use crate::BlobError;
use crate::folder;
use crate::listing::What;

/// What was put under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// File, folder or link.
    pub what: What,
    /// Its bytes, or its listing.
    pub blob: Hash,
}

/// Whether a text can be a name: 1 to 100 letters, digits, `.`, `_` and `-`, the first no dot.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=100).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.')
}

/// Whether this store has names at all: a hub's has none, and nothing in it may be taken for garbage because of that.
pub fn has_names(dir: &Path) -> bool {
    dir.join("names").is_dir()
}

/// Gives something a name; what had it before loses it. Durable when it returns.
///
/// # Errors
/// [`BlobError::Folder`] and [`BlobError::DiskFull`].
///
/// # Panics
/// When [`is_name`] says that it cannot be one.
pub fn set(dir: &Path, named: &Named) -> Result<(), BlobError> {
    assert!(is_name(&named.name), "{:?} is no name", named.name);
    let names = dir.join("names");
    fs::create_dir_all(&names).map_err(|e| BlobError::folder("create the folder", &names, e))?;
    let (path, draft) = (names.join(&named.name), names.join(format!(".{}.new", named.name)));
    let kind = named.what.word();
    File::create(&draft)
        .and_then(|mut file| {
            writeln!(file, "{kind} {}", named.blob)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|e| BlobError::folder("write", &path, e))?;
    folder::sync(&names)
}

/// Takes a name away; what it named goes with the next collection, if nothing else needs it. False when there is none.
///
/// # Errors
/// [`BlobError::Folder`].
pub fn remove(dir: &Path, name: &str) -> Result<bool, BlobError> {
    let path = dir.join("names").join(name);
    match is_name(name).then(|| fs::remove_file(&path)) {
        None => Ok(false),
        Some(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Some(removed) => removed.map(|()| true).map_err(|e| BlobError::folder("remove", &path, e)),
    }
}

/// All names, in their order.
///
/// # Errors
/// [`BlobError::Folder`] when one cannot be read, or is not what [`set`] writes.
pub fn all(dir: &Path) -> Result<Vec<Named>, BlobError> {
    let names = dir.join("names");
    if !has_names(dir) {
        return Ok(Vec::new());
    }
    let failed = |e| BlobError::folder("read", &names, e);
    let mut all = Vec::new();
    for entry in fs::read_dir(&names).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if !is_name(&name) {
            continue;
        }
        let text = fs::read_to_string(names.join(&name)).map_err(failed)?;
        let parsed = text.trim_end().split_once(' ').and_then(|(kind, blob)| {
            let what = [What::File, What::Folder, What::Link].into_iter().find(|what| what.word() == kind)?;
            Some((what, blob.parse().ok()?))
        });
        let (what, blob) = parsed.ok_or_else(|| {
            BlobError::folder("understand", names.join(&name), std::io::ErrorKind::InvalidData.into())
        })?;
        all.push(Named { name, what, blob });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
