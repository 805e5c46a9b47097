//! The files of a world: what researchers do with their spaces, and what must hold of what they were told.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{
    About, Bounds, Command, Condition, Done, DownloadControl, DownloadReport, DownloadSource, DownloadSpec,
    DownloadState, FetchedFile, FileKind, FilePut, FilesCommand, FilesDone, Request, RootCursor, State,
};
use pumasi_types::{ByteSize, DownloadId, FileId, FilePath, Hash, SpaceId};

use crate::dice::Dice;
use crate::oracle::{Holds, require};

/// How many different blobs there are.
const BLOBS: u64 = 60;
/// How many names a folder can have.
const NAMES: u64 = 4;

fn blob(number: u64) -> Hash {
    Hash::of(&number.to_le_bytes())
}

/// The blobs of a world know their sizes.
fn size(blob: &Hash) -> ByteSize {
    ByteSize(u64::from(blob.as_bytes()[0]) * 1_000)
}

fn any_path(dice: &mut Dice) -> FilePath {
    let names = (0..dice.between(1, 3)).map(|_| dice.below(NAMES).to_string());
    names.collect::<Vec<_>>().join("/").parse().unwrap_or_default()
}

fn put(dice: &mut Dice) -> FilePut {
    let condition = if dice.once_in(4) { Condition::Absent } else { Condition::Any };
    FilePut { path: any_path(dice), blob: blob(dice.below(BLOBS)), about: About::default(), condition }
}

/// What somebody has: spaces, perhaps with somebody else, what was removed from them, and what the hub fetches into them.
#[derive(Default)]
pub(crate) struct Belongings {
    spaces: Vec<SpaceId>,
    removed: Vec<FileId>,
    downloads: Vec<DownloadId>,
}

impl Belongings {
    /// A command of theirs was done.
    pub(crate) fn told(&mut self, command: &Command, done: &FilesDone) {
        match (command, done) {
            (_, FilesDone::Space(space)) => self.spaces.push(*space),
            (_, FilesDone::Download(download)) => self.downloads.push(*download),
            (Command::Files(FilesCommand::Remove { .. }), FilesDone::Each(each)) => {
                self.removed.extend(each.iter().flatten().map(|placed| placed.file));
            }
            _ => {}
        }
    }
}

/// What somebody does about what the hub fetches.
fn fetch(space: SpaceId, downloads: &[DownloadId], dice: &mut Dice) -> FilesCommand {
    if downloads.is_empty() || dice.once_in(2) {
        return FilesCommand::AddDownload(DownloadSpec {
            space,
            path: any_path(dice),
            named: false,
            source: DownloadSource::Url("https://example.com/".to_owned()),
            sha256: None,
            limit: ByteSize(u64::MAX),
            files: Vec::new(),
        });
    }
    let control = match dice.below(5) {
        0 => DownloadControl::Cancel,
        1..=2 => DownloadControl::Pause,
        _ => DownloadControl::Resume,
    };
    FilesCommand::ControlDownload { download: *dice.pick(downloads), control }
}

/// What somebody does with files.
pub(crate) fn wish(own: &Belongings, dice: &mut Dice) -> Command {
    let Belongings { spaces, removed, downloads } = own;
    if spaces.is_empty() || dice.once_in(30) {
        // Nothing that is removed here goes by itself in the time of a world.
        let name = format!("space-{}", dice.below(1_000));
        return Command::Files(FilesCommand::CreateSpace { name, keep: Bounds::HORIZON });
    }
    let (space, from, to) = (*dice.pick(spaces), any_path(dice), any_path(dice));
    let replace = dice.once_in(2);
    Command::Files(match dice.below(16) {
        0..=5 => {
            let files = (0..dice.spread(1, 40)).map(|_| put(dice)).collect();
            FilesCommand::PutFiles { space, files }
        }
        6..=7 => FilesCommand::Move { space, from, to, replace },
        8 => {
            let to_space = *dice.pick(spaces);
            FilesCommand::Copy { from_space: space, from, to_space, to, replace, about: None }
        }
        9..=10 => {
            let (recursive, forever) = (dice.once_in(2), dice.once_in(4));
            FilesCommand::Remove { space, paths: vec![from, to], recursive, forever }
        }
        11 => FilesCommand::MakeFolder { space, path: to },
        14..=15 => fetch(space, downloads, dice),
        12 if !removed.is_empty() => {
            let to = dice.once_in(2).then_some(to);
            FilesCommand::Restore { space, file: *dice.pick(removed), to }
        }
        _ => FilesCommand::ClaimFiles { space, paths: vec![from, to] },
    })
}

/// What the gateway saw come before it hands a request on: the bytes of its files.
pub(crate) fn seen(request: &Request) -> Option<Command> {
    let Command::Files(FilesCommand::PutFiles { files, .. }) = &request.command else { return None };
    let blobs = files.iter().map(|file| (file.blob, size(&file.blob))).collect();
    Some(Command::Files(FilesCommand::Claim { account: request.caller, blobs }))
}

/// Something that was removed: where it was, and its files by what is behind that.
type Removed = (FilePath, Vec<(String, Hash)>);

/// The files that there must be, from what was asked and answered alone.
#[derive(Clone, Default)]
pub(crate) struct Shelves {
    files: BTreeMap<SpaceId, BTreeMap<String, Hash>>,
    trash: BTreeMap<FileId, Removed>,
    downloads: BTreeMap<DownloadId, Fetching>,
    /// How many files were put.
    pub(crate) puts: u64,
}

/// What is known of a download by whoever was told what became of it.
#[derive(Clone)]
struct Fetching {
    spec: DownloadSpec,
    /// Files that lie there.
    files: u32,
}

/// How many files a download has; some have more than an entry of the log takes.
fn files_of(download: DownloadId) -> u32 {
    let dice = u32::from(Hash::of(&download.0.to_le_bytes()).as_bytes()[0]);
    if dice < 16 { 2_000 + dice } else { dice % 40 }
}

/// A file of a download: no other download has one of its name.
fn fetched(download: DownloadId, number: u32) -> FetchedFile {
    let path = format!("fetched-{download}/{number}").parse().unwrap_or_default();
    let blob = blob((download.0 + u64::from(number)) % BLOBS);
    (path, blob, size(&blob), About::default())
}

/// What the hub reports next of what it fetches, as it does that looks at the state: perhaps what it has reported already.
pub(crate) fn report(state: &State, dice: &mut Dice) -> Option<Command> {
    let open: Vec<_> = state.files().open_downloads().collect();
    if open.is_empty() {
        return None;
    }
    let (download, known) = *dice.pick(&open);
    let (lying, all) = (known.brought.files, files_of(download));
    let report = match known.state {
        DownloadState::Paused => return None,
        DownloadState::Waiting(_) => DownloadReport::Started,
        _ if dice.once_in(8) => {
            DownloadReport::Failed { reason: "no answer".to_owned(), again: !dice.once_in(4) }
        }
        _ => {
            // A hub that does not know whether it was heard says it again.
            let from = if dice.once_in(6) { lying.saturating_sub(dice.spread(1, 40) as u32) } else { lying };
            let some = if all > 1_000 { Bounds::FILES as u32 } else { dice.spread(1, 40) as u32 };
            let to = all.min(from + some);
            let files: Vec<FetchedFile> = (from..to).map(|number| fetched(download, number)).collect();
            let saved = ByteSize(0);
            if to == all && from == lying {
                DownloadReport::Done { files, saved }
            } else {
                DownloadReport::Part { from, files, saved }
            }
        }
    };
    Some(Command::Files(FilesCommand::ReportDownload { download, report }))
}

impl Shelves {
    /// The files at and below a path, by what is behind it.
    fn below(&self, space: SpaceId, path: &FilePath) -> Vec<(String, Hash)> {
        let files = self.files.get(&space).into_iter().flatten();
        let below = files.filter(|(key, _)| {
            key.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        below.map(|(key, blob)| (key[path.as_str().len()..].to_owned(), *blob)).collect()
    }

    fn lay(&mut self, space: SpaceId, path: &FilePath, files: Vec<(String, Hash)>) {
        let shelf = self.files.entry(space).or_default();
        shelf.extend(files.into_iter().map(|(rest, blob)| (format!("{path}{rest}"), blob)));
    }

    fn take(&mut self, space: SpaceId, path: &FilePath) -> Vec<(String, Hash)> {
        let files = self.below(space, path);
        let shelf = self.files.entry(space).or_default();
        for (rest, _) in &files {
            shelf.remove(&format!("{path}{rest}"));
        }
        files
    }

    /// A request that is not asked again was done.
    pub(crate) fn follow(&mut self, command: &Command, done: &Done) {
        let Command::Files(command) = command else { return };
        let Done::Files(done) = done else { return self.follow_download(command) };
        match (command, done) {
            (FilesCommand::AddDownload(spec), FilesDone::Download(id)) => {
                self.downloads.insert(*id, Fetching { spec: spec.clone(), files: 0 });
            }
            (FilesCommand::PutFiles { space, files }, FilesDone::Each(each)) => {
                for (file, _) in files.iter().zip(each).filter(|(_, placed)| placed.is_ok()) {
                    self.puts += 1;
                    self.files.entry(*space).or_default().insert(file.path.to_string(), file.blob);
                }
            }
            (FilesCommand::Remove { space, paths, forever, .. }, FilesDone::Each(each)) => {
                for (path, placed) in paths.iter().zip(each) {
                    let Ok(placed) = placed else { continue };
                    let files = self.take(*space, path);
                    if !forever {
                        self.trash.insert(placed.file, (path.clone(), files));
                    }
                }
            }
            (FilesCommand::Move { space, from, to, .. }, _) if from != to => {
                let files = self.take(*space, from);
                self.lay(*space, to, files);
            }
            (FilesCommand::Copy { from_space, from, to_space, to, .. }, _) => {
                let files = self.below(*from_space, from);
                self.lay(*to_space, to, files);
            }
            (FilesCommand::Restore { space, file, to }, _) => {
                if let Some((path, files)) = self.trash.remove(file) {
                    self.lay(*space, to.as_ref().unwrap_or(&path), files);
                }
            }
            _ => {}
        }
    }

    /// What the hub said of a download, or its owner wanted, was noted.
    fn follow_download(&mut self, command: &FilesCommand) {
        match command {
            FilesCommand::ControlDownload { download, control: DownloadControl::Cancel } => {
                self.downloads.remove(download);
            }
            FilesCommand::ReportDownload {
                download,
                report: DownloadReport::Part { files, .. } | DownloadReport::Done { files, .. },
            } => {
                let Some(known) = self.downloads.get_mut(download) else { return };
                let shelf = self.files.entry(known.spec.space).or_default();
                for (path, blob, ..) in files {
                    let whole = format!("{}/{path}", known.spec.path);
                    shelf.insert(whole.trim_start_matches('/').to_owned(), *blob);
                }
                known.files += files.len() as u32;
                self.puts += files.len() as u64;
            }
            _ => {}
        }
    }

    /// Each file of a download was put once, and all of them before it is said to be done.
    fn check_downloads(&self, state: &State) -> Holds {
        for (id, download) in state.files().downloads() {
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

    /// What was acknowledged is there and nothing else, and the store is told to keep all of it.
    pub(crate) fn check(&self, state: &State) -> Holds {
        let files = state.files();
        for (id, space) in files.spaces() {
            let (mut found, mut after) = (BTreeMap::new(), None);
            loop {
                let page = files.walk(*id, "", after.as_deref(), false, 100);
                for view in &page.items {
                    let FileKind::File(version) = &view.kind else { continue };
                    found.insert(view.path.to_string(), version.blob);
                }
                after = page.items.last().map(|view| match view.kind {
                    FileKind::Folder(_) => format!("{}/", view.path),
                    FileKind::File(_) => view.path.to_string(),
                });
                if !page.more {
                    break;
                }
            }
            let expected = self.files.get(id).cloned().unwrap_or_default();
            require(found == expected, || {
                format!("space {} has {found:?}, its members were told {expected:?}", space.name)
            })?;
            let sizes: u64 = found.values().map(|blob| size(blob).0).sum();
            require(sizes <= space.used.0 && space.used <= space.quota, || {
                format!(
                    "space {} says that it has {} of {}, its files {sizes}",
                    space.name, space.used, space.quota
                )
            })?;
        }
        self.check_downloads(state)?;
        let (mut roots, mut next) = (BTreeSet::new(), Some(RootCursor::default()));
        while let Some(from) = next {
            let piece = files.roots(from, 100);
            roots.extend(piece.blobs);
            next = piece.next;
        }
        let trash = self.trash.values().flat_map(|(_, files)| files.iter().map(|(_, blob)| blob));
        let mut needed = self.files.values().flat_map(BTreeMap::values).chain(trash);
        require(needed.all(|blob| roots.contains(blob)), || {
            "the store may erase what somebody keeps".to_owned()
        })
    }
}
