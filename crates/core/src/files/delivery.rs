//! Laying what was fetched where it was wanted, at most [`Bounds::FILES`](crate::Bounds::FILES) files at once.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_types::{ByteSize, DownloadId, FileId, FilePath, Time};

use super::change::{Fresh, check_about};
use super::rooms::Room;
use super::tree::{Packed, Tree};
use super::{Access, Brought, Condition, DownloadSpec, FetchedFile, Files, FilesRefusal, check_count};
use crate::Bounds;
use crate::timers::Timers;

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
        (now, timers): (Time, &mut Timers),
    ) -> Result<(), FilesRefusal> {
        check_count(files.len())?;
        let download = self.downloads.get_mut(id).ok_or(FilesRefusal::NoDownload { download: id })?;
        let (by, spec) = (download.by, download.spec.clone());
        self.check(by, spec.space, Access::Write)?;
        let sum = files.iter().try_fold(0_u64, |sum, (_, _, size, _)| sum.checked_add(size.0));
        let bytes = ByteSize(sum.unwrap_or(u64::MAX));
        let paths = self.paths_for(&spec, files)?;
        let mut opened = self.open(spec.space, timers)?;
        opened.quota_for(bytes, ByteSize(0))?;
        files.iter().try_for_each(|(.., about)| check_about(about))?;
        let things = paths.iter().map(|path| path.names().count() as u64).sum();
        let abouts: Vec<Packed> = files.iter().map(|(.., about)| about.into()).collect();
        opened.room(Room { things, about: abouts.iter().map(Packed::len).sum() })?;
        for ((path, (_, blob, size, _)), about) in paths.iter().zip(files).zip(abouts) {
            // The claim comes first, so that it sees the file come.
            opened.claims.send(by, (*blob, *size), now);
            let fresh = Fresh { blob: *blob, size: *size, by, about };
            opened.place(path, Condition::Absent, fresh)?;
        }
        drop(opened);
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
        let mut places = Places::new(&self.tree, self.root(spec.space)?);
        let whole = |relative: &FilePath| {
            if spec.named && files.len() == 1 {
                return Ok(spec.path.clone());
            }
            let text = format!("{}/{relative}", spec.path);
            text.trim_matches('/').parse().map_err(|_| FilesRefusal::TooMany {
                what: format!("bytes in the path of '{relative}'"),
                limit: FilePath::BYTES as u64,
            })
        };
        files.iter().map(|(relative, ..)| places.take(&whole(relative)?)).collect()
    }
}

/// Where the files of one command come.
struct Places<'a> {
    tree: &'a Tree,
    root: FileId,
    taken: BTreeSet<FilePath>,
    /// Paths of folders that the files before make.
    folders: BTreeSet<FilePath>,
    /// The last number that a file got, by the path that it would have had.
    numbers: BTreeMap<FilePath, u32>,
    /// How many numbers may be tried yet.
    left: usize,
}

impl Places<'_> {
    fn new(tree: &Tree, root: FileId) -> Places<'_> {
        let (taken, folders) = (BTreeSet::new(), BTreeSet::new());
        Places { tree, root, taken, folders, numbers: BTreeMap::new(), left: Bounds::NAMES_TRIED }
    }

    fn is_free(&self, path: &FilePath) -> Result<bool, FilesRefusal> {
        let own = !self.taken.contains(path) && !self.folders.contains(path);
        Ok(own && !path.is_root() && self.tree.seek(self.root, path)?.is_none())
    }

    /// This path, or the next one with a number that is free.
    fn free(&mut self, whole: &FilePath) -> Result<FilePath, FilesRefusal> {
        if self.is_free(whole)? {
            return Ok(whole.clone());
        }
        let mut n = self.numbers.get(whole).copied().unwrap_or(1);
        let exists = || FilesRefusal::Exists { path: whole.clone() };
        loop {
            n += 1;
            self.left = self.left.checked_sub(1).ok_or_else(exists)?;
            let path = numbered(whole, n).ok_or_else(exists)?;
            if self.is_free(&path)? {
                self.numbers.insert(whole.clone(), n);
                return Ok(path);
            }
        }
    }

    /// Takes a place for a file.
    fn take(&mut self, whole: &FilePath) -> Result<FilePath, FilesRefusal> {
        let path = self.free(whole)?;
        let mut above = path.parent();
        while let Some(folder) = above.filter(|folder| !folder.is_root()) {
            if self.taken.contains(&folder) {
                return Err(FilesRefusal::NotAFolder { path: folder });
            }
            above = folder.parent();
            self.folders.insert(folder);
        }
        self.taken.insert(path.clone());
        Ok(path)
    }
}
