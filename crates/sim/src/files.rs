//! The files of a world: what researchers do with their spaces, and what must hold of what they were told.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{
    About, Bounds, Command, Condition, Done, FileKind, FilePut, FilesCommand, FilesDone, Request, RootCursor,
    State,
};
use pumasi_types::{ByteSize, FileId, FilePath, Hash, SpaceId};

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

/// What somebody does with files; the last thing that was removed, and spaces, perhaps of somebody else.
pub(crate) fn wish(spaces: &[SpaceId], removed: &[FileId], dice: &mut Dice) -> Command {
    if spaces.is_empty() || dice.once_in(30) {
        // Nothing that is removed here goes by itself in the time of a world.
        let name = format!("space-{}", dice.below(1_000));
        return Command::Files(FilesCommand::CreateSpace { name, keep: Bounds::HORIZON });
    }
    let (space, from, to) = (*dice.pick(spaces), any_path(dice), any_path(dice));
    let replace = dice.once_in(2);
    Command::Files(match dice.below(14) {
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
    /// How many files were put.
    pub(crate) puts: u64,
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
        let (Command::Files(command), Done::Files(done)) = (command, done) else { return };
        match (command, done) {
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

/// What was removed by a command that is done.
pub(crate) fn removed(done: &FilesDone, command: &Command) -> Vec<FileId> {
    let (FilesDone::Each(each), Command::Files(FilesCommand::Remove { .. })) = (done, command) else {
        return Vec::new();
    };
    each.iter().flatten().map(|placed| placed.file).collect()
}
