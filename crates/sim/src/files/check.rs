//! Whether the state has what was acknowledged and nothing else, and the store is told to keep all of it.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{DownloadSource, DownloadState, FileKind, FileView, Files, RootCursor, Space, State};
use pumasi_types::{Duration, FileId, Hash, SpaceId, VersionId};

use super::gateway::files_of;
use super::model::Shelves;
use super::shelf::{File, Shelf};
use super::size;
use crate::oracle::{Holds, require};

/// How much of a listing is asked for at once.
const PAGE: usize = 100;

/// The contents of a file, the newest first.
type Contents = Vec<(VersionId, Hash)>;

fn contents(file: &File) -> Contents {
    file.contents().map(|content| (content.version, content.blob)).collect()
}

fn contents_in(files: &Files, file: FileId) -> Contents {
    files.versions(file).iter().map(|version| (version.id, version.blob)).collect()
}

/// All that a walk through a space comes to.
fn walked(files: &Files, space: SpaceId) -> Vec<FileView> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = files.walk(space, "", after.as_deref(), false, PAGE);
        after = page.items.last().map(|view| match view.kind {
            FileKind::Folder(_) => format!("{}/", view.path),
            FileKind::File(_) => view.path.to_string(),
        });
        found.extend(page.items);
        if !page.more {
            return found;
        }
    }
}

/// Two maps are equal; the first key at which they are not is said.
fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: impl FnOnce() -> String,
    found: &BTreeMap<K, V>,
    told: &BTreeMap<K, V>,
) -> Holds {
    let differs = found.keys().chain(told.keys()).find(|key| found.get(*key) != told.get(*key));
    let Some(key) = differs else { return Ok(()) };
    require(false, || {
        format!("{}: at {key:?} there is {:?}, told was {:?}", what(), found.get(key), told.get(key))
    })
}

impl Shelves {
    /// What was acknowledged is there and nothing else, and the store is told to keep all of it.
    pub(crate) fn check(&self, state: &State) -> Holds {
        let files = state.files();
        require(files.spaces().keys().eq(self.spaces.keys()), || {
            let (found, told): (Vec<_>, Vec<_>) =
                (files.spaces().keys().collect(), self.spaces.keys().collect());
            format!("there are spaces {found:?}, told was {told:?}")
        })?;
        for ((id, space), shelf) in files.spaces().iter().zip(self.spaces.values()) {
            self.check_space(files, (*id, space), shelf)?;
            self.check_used(state, (*id, space), shelf)?;
            self.check_links(files, (*id, space), shelf)?;
        }
        self.check_uploads(files)?;
        self.check_downloads(files)?;
        self.check_roots(files)
    }

    fn check_space(&self, files: &Files, (id, space): (SpaceId, &Space), shelf: &Shelf) -> Holds {
        let what = || format!("space {}", space.name);
        same(what, &space.members, &shelf.members)?;
        require((space.quota, space.keep != Duration(0)) == (shelf.quota, shelf.keeps), || {
            let told = (shelf.quota, shelf.keeps);
            format!("{} holds {} and keeps for {:?}, told was {told:?}", what(), space.quota, space.keep)
        })?;
        let (mut found, mut folders) = (BTreeMap::new(), BTreeSet::new());
        for view in walked(files, id) {
            match view.kind {
                FileKind::File(_) => _ = found.insert(view.path.to_string(), contents_in(files, view.id)),
                FileKind::Folder(_) => _ = folders.insert(view.path.to_string()),
            }
        }
        let told = shelf.files.iter().map(|(path, file)| (path.clone(), contents(file)));
        same(what, &found, &told.collect())?;
        require(folders == shelf.folders, || {
            format!("{} keeps the folders {folders:?}, told was {:?}", what(), shelf.folders)
        })?;
        let (mut removed, mut after) = (BTreeMap::new(), None);
        loop {
            let page = files.trash(id, after, PAGE);
            after = page.items.last().map(|removed| removed.file.id);
            for thing in page.items {
                let (count, contents) = match thing.file.kind {
                    FileKind::Folder(totals) => (totals.files, Contents::new()),
                    FileKind::File(_) => (1, contents_in(files, thing.file.id)),
                };
                removed.insert(thing.file.id, (thing.file.path, count, contents));
            }
            if !page.more {
                break;
            }
        }
        let told = shelf.trash.iter().map(|(id, (path, things))| {
            let contents = things.file().map(contents).unwrap_or_default();
            (*id, (path.clone(), things.files.len() as u64, contents))
        });
        same(|| format!("the trash of {}", what()), &removed, &told.collect())
    }

    /// A space counts the bytes of all that lies in it, and nothing else once what went is erased.
    fn check_used(&self, state: &State, (id, space): (SpaceId, &Space), shelf: &Shelf) -> Holds {
        let lying: u64 = shelf.contents().map(|content| size(&content.blob).0).sum();
        let uploads = state.files().uploads(id);
        let parts: u64 = uploads.iter().map(|(_, upload)| upload.size().0).sum();
        let (all, used) = (lying + parts, space.used.0);
        let is_right = if state.is_behind() { all <= used } else { all == used };
        require(is_right && space.used <= space.quota, || {
            format!("space {} says that it has {used} of {} bytes, it has {all}", space.name, space.quota)
        })
    }

    /// A link is to the file for which it was made, wherever that is now.
    fn check_links(&self, files: &Files, (id, space): (SpaceId, &Space), shelf: &Shelf) -> Holds {
        for (link, found) in files.links(id) {
            let told = self.links.get(&link).map(|told| (told.space, told.by, told.left));
            require(told == Some((found.space, found.by, found.left)), || {
                format!("link {link} of space {} is {found:?}, told was {told:?}", space.name)
            })?;
        }
        let lying = shelf.files.iter().map(|(path, file)| (Some(path.as_str()), file));
        let removed =
            shelf.trash.values().flat_map(|(_, things)| things.files.iter().map(|(_, file)| (None, file)));
        let links =
            lying.chain(removed).flat_map(|(path, file)| file.links.iter().map(move |link| (path, *link)));
        for (path, link) in links {
            let known = self.links.get(&link);
            if known.is_none_or(|known| known.expires.is_some_and(|expires| expires <= self.now)) {
                continue;
            }
            let found = files.link(link);
            let at = found.and_then(|link| files.by_id(link.file)).map(|(_, view)| view.path.to_string());
            require(found.is_some() && at.as_deref() == path, || {
                format!("link {link} of space {} is to {at:?} and not to {path:?}", space.name)
            })?;
        }
        Ok(())
    }

    /// Every upload has its parts, and none is given up before its time.
    fn check_uploads(&self, files: &Files) -> Holds {
        let uploads = files.spaces().keys().flat_map(|space| files.uploads(*space));
        let found: BTreeMap<_, _> = uploads
            .map(|(id, upload)| {
                let parts: BTreeMap<u16, Hash> =
                    upload.parts.iter().map(|(number, part)| (*number, part.blob)).collect();
                (id, (upload.space, upload.by, upload.path.clone(), parts))
            })
            .collect();
        let told =
            self.uploads.iter().filter(|(id, upload)| upload.ends > self.now || found.contains_key(id));
        let told = told
            .map(|(id, upload)| (*id, (upload.space, upload.by, upload.path.clone(), upload.parts.clone())));
        same(|| "uploads".to_owned(), &found, &told.collect())
    }

    /// Each file of a download was put once, and all of them before it is said to be done; its owner knows what became of it
    /// just when they said so.
    fn check_downloads(&self, files: &Files) -> Holds {
        for (id, download) in files.downloads() {
            let (seen, by) = (files.downloads_seen(download.by), download.by);
            let (least, most) = self.seen.get(&by).copied().unwrap_or_default();
            require((least..=most).contains(&seen), || {
                format!("account {by} knows of its downloads up to {seen}, told was {least} to {most}")
            })?;
            let files = download.brought.files;
            let told = self.downloads.get(id).map(|known| known.files);
            require(told == Some(files), || {
                format!("download {id} says that it put {files} files, and was told of {told:?}")
            })?;
            let is_done = matches!(download.state, DownloadState::Done { .. });
            require(!is_done || files == files_of(*id), || {
                format!("download {id} is done with {files} of {} files", files_of(*id))
            })?;
        }
        Ok(())
    }

    /// A walk over the roots in small pieces names all that somebody needs.
    fn check_roots(&self, files: &Files) -> Holds {
        let (mut roots, mut next) = (BTreeSet::new(), Some(RootCursor::default()));
        while let Some(from) = next {
            let piece = files.roots(from, PAGE);
            roots.extend(piece.blobs);
            next = piece.next;
        }
        let lying = self.spaces.values().flat_map(|shelf| shelf.contents()).map(|content| content.blob);
        let open = self.uploads.values().filter(|upload| upload.ends > self.now);
        let parts = open.flat_map(|upload| upload.parts.values().copied());
        let torrents = files.downloads().keys().filter_map(|id| match self.downloads.get(id)?.spec.source {
            DownloadSource::Torrent(torrent) => Some(torrent),
            DownloadSource::Url(_) => None,
        });
        let missing = lying.chain(parts).chain(torrents).find(|blob| !roots.contains(blob));
        require(missing.is_none(), || format!("the store may erase {missing:?}, which somebody keeps"))
    }
}
