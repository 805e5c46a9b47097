//! Laying what was fetched where it was wanted, at most [`Bounds::FILES`](crate::Bounds::FILES) files at once.

use std::collections::BTreeSet;

use pumasi_types::{ByteSize, DownloadId, FilePath, Time};

use super::change::{Fresh, check_about};
use super::{Access, Brought, Condition, DownloadSpec, FetchedFile, Files, FilesRefusal, check_count};
use crate::Bounds;

/// The n-th name of a file that has a name which is taken.
fn numbered(path: &FilePath, n: u32) -> Option<FilePath> {
    let name = path.name()?;
    let (stem, end) = name.rfind('.').filter(|at| *at > 0).map_or((name, ""), |at| name.split_at(at));
    path.parent()?.join(&format!("{stem} ({n}){end}")).ok()
}

impl Files {
    /// Puts the next files of a download where they are wanted: all of them or none.
    pub(super) fn deliver(
        &mut self,
        id: DownloadId,
        files: &[FetchedFile],
        saved: ByteSize,
        now: Time,
    ) -> Result<(), FilesRefusal> {
        check_count(files.len())?;
        let download = self.downloads.get_mut(id).ok_or(FilesRefusal::NoDownload { download: id })?;
        let (by, spec) = (download.by, download.spec.clone());
        self.check(by, spec.space, Access::Write)?;
        let sum = files.iter().try_fold(0_u64, |sum, (_, _, size, _)| sum.checked_add(size.0));
        let bytes = ByteSize(sum.unwrap_or(u64::MAX));
        let paths = self.paths_for(&spec, files)?;
        let mut opened = self.open(spec.space)?;
        opened.quota_for(bytes, ByteSize(0))?;
        files.iter().try_for_each(|(.., about)| check_about(about))?;
        opened.room(paths.iter().map(|path| path.names().count() as u64).sum())?;
        for (path, (_, blob, size, about)) in paths.iter().zip(files) {
            let fresh = Fresh { blob: *blob, size: *size, by, about: about.into() };
            opened.place(path, Condition::Absent, fresh)?;
        }
        for (_, blob, size, _) in files {
            self.claims.add(by, (*blob, *size), false, now);
        }
        if let Some(download) = self.downloads.get_mut(id) {
            let Brought { files: lying, bytes: all, saved: before } = download.brought;
            download.brought = Brought {
                files: lying.saturating_add(files.len() as u32),
                bytes: ByteSize(all.0.saturating_add(bytes.0)),
                saved: ByteSize(before.0.saturating_add(saved.0)),
            };
            (download.tries, download.trouble) = (0, None);
        }
        Ok(())
    }

    /// Where fetched files come, each at a path where nothing is and nothing in the way.
    fn paths_for(&self, spec: &DownloadSpec, files: &[FetchedFile]) -> Result<Vec<FilePath>, FilesRefusal> {
        let root = self.root(spec.space)?;
        let (mut paths, mut taken) = (Vec::with_capacity(files.len()), BTreeSet::new());
        // Paths of folders that the files before make.
        let mut folders = BTreeSet::new();
        for (relative, ..) in files {
            let whole = if spec.named && files.len() == 1 {
                spec.path.clone()
            } else {
                let text = format!("{}/{relative}", spec.path);
                let long = || FilesRefusal::TooMany {
                    what: format!("bytes in the path of '{relative}'"),
                    limit: FilePath::BYTES as u64,
                };
                text.trim_matches('/').parse::<FilePath>().map_err(|_| long())?
            };
            let free = |path: &FilePath| -> Result<bool, FilesRefusal> {
                let own = !taken.contains(path) && !folders.contains(path);
                Ok(own && !path.is_root() && self.tree.seek(root, path)?.is_none())
            };
            let mut path = whole.clone();
            let mut n = 1;
            while !free(&path)? {
                n += 1;
                let next = numbered(&whole, n).filter(|_| n <= Bounds::FILES as u32);
                path = next.ok_or_else(|| FilesRefusal::Exists { path: whole.clone() })?;
            }
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| !folder.is_root()) {
                if taken.contains(&folder) {
                    return Err(FilesRefusal::NotAFolder { path: folder });
                }
                above = folder.parent();
                folders.insert(folder);
            }
            taken.insert(path.clone());
            paths.push(path);
        }
        Ok(paths)
    }
}
