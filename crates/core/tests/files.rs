//! Files as a naive model has them, whatever is asked; what the store must keep, while everything changes; and that no
//! entry does too much.

#[path = "files/bounds.rs"]
mod bounds;
#[path = "common/mod.rs"]
mod common;
#[path = "files/downloads.rs"]
mod downloads;
#[path = "files/model.rs"]
mod model;
#[path = "files/others.rs"]
mod others;
#[path = "files/roots.rs"]
mod roots;
#[path = "files/unfiled.rs"]
mod unfiled;

use std::collections::BTreeMap;

use common::{BEGIN, ask, open};
use model::{Content, Model, Refused, Removed, Thing};
use proptest::prelude::*;
use pumasi_core::{
    About, Answer, Command, Condition, Done, FileKind, FilePut, FileView, Files, FilesCommand, FilesDone,
    Placed, STATE_VERSION, State, Totals, decode_state, encode_state,
};
use pumasi_types::{AccountId, ByteSize, Duration, FileId, FilePath, Hash, SpaceId, Time, VersionId};

pub(crate) const ANN: AccountId = AccountId(1);
/// What things are called; some names begin others, and '-' sorts before '/'.
const NAMES: [&str; 4] = ["a", "a-", "b", "ab"];

/// A state and its clock.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Time,
}

impl World {
    /// Two accounts, ann and bob.
    pub(crate) fn new() -> World {
        let mut world = World { state: State::new(), now: BEGIN };
        for name in ["ann", "bob"] {
            world.must(State::SYSTEM, open(name, &[]));
        }
        world
    }

    /// Does it, and everything that was put off.
    pub(crate) fn ask(&mut self, caller: AccountId, command: Command) -> Answer {
        let answer = self.state.apply(self.now, &[ask(caller, command)]).answers.remove(0);
        while self.state.is_behind() || self.state.next_due().is_some_and(|due| due <= self.now) {
            self.state.apply(self.now, &[]);
        }
        answer
    }

    pub(crate) fn files(&self) -> &Files {
        self.state.files()
    }

    pub(crate) fn file(&mut self, caller: AccountId, command: FilesCommand) -> Result<FilesDone, Refused> {
        match self.ask(caller, Command::Files(command)) {
            Ok(Done::Files(done)) => Ok(done),
            Ok(_) => Ok(FilesDone::Each(Vec::new())),
            Err(refusal) => Err(refusal.code()),
        }
    }

    #[track_caller]
    pub(crate) fn must(&mut self, caller: AccountId, command: Command) -> Done {
        self.ask(caller, command).expect("it is done")
    }

    #[track_caller]
    pub(crate) fn space(&mut self, maker: AccountId, name: &str, keep: u64) -> SpaceId {
        let keep = Duration::from_secs(keep);
        match self.file(maker, FilesCommand::CreateSpace { name: name.to_owned(), keep }) {
            Ok(FilesDone::Space(space)) => space,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn claim(&mut self, account: AccountId, blob: Hash, size: u64) {
        let blobs = vec![(blob, ByteSize(size))];
        self.must(State::SYSTEM, Command::Files(FilesCommand::Claim { account, blobs }));
    }

    /// Claims and puts a blob.
    pub(crate) fn put(
        &mut self,
        by: AccountId,
        space: SpaceId,
        path: &str,
        (blob, size): (Hash, u64),
    ) -> Result<Placed, Refused> {
        self.claim(by, blob, size);
        let files = vec![file_put(path, blob, Condition::Any)];
        match self.file(by, FilesCommand::PutFiles { space, files })? {
            FilesDone::Each(mut each) => each.remove(0).map_err(|refusal| refusal.code()),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn path(text: &str) -> FilePath {
    text.parse().expect("a path")
}

pub(crate) fn blob(number: u64) -> Hash {
    Hash::of(&number.to_le_bytes())
}

pub(crate) fn file_put(at: &str, blob: Hash, condition: Condition) -> FilePut {
    FilePut { path: path(at), blob, about: About::default(), condition }
}

#[derive(Clone, Debug)]
enum Step {
    Put { space: usize, path: String, blob: u64, condition: u8 },
    Make { space: usize, path: String },
    Release { space: usize, path: String },
    Remove { space: usize, path: String, recursive: bool, forever: bool },
    Move { space: usize, from: String, to: String, replace: bool },
    Copy { from_space: usize, from: String, to_space: usize, to: String, replace: bool },
    Restore { space: usize, which: prop::sample::Index, to: Option<String> },
    Empty { space: usize, which: Option<prop::sample::Index> },
    Revert { space: usize, path: String, which: prop::sample::Index },
    Cut { space: usize, trashed: bool, file: prop::sample::Index, which: prop::sample::Index },
    Wait { seconds: u64 },
}

fn some_path() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(&NAMES[..]);
    let names = prop_oneof![
        1 => Just(vec![]), 6 => proptest::collection::vec(name(), 1..2),
        8 => proptest::collection::vec(name(), 2..3), 4 => proptest::collection::vec(name(), 3..4),
    ];
    names.prop_map(|names| names.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let space = || 0..2_usize;
    prop_oneof![
        12 => (space(), some_path(), 0..5_u64, 0..4_u8)
            .prop_map(|(space, path, blob, condition)| Step::Put { space, path, blob, condition }),
        3 => (space(), some_path()).prop_map(|(space, path)| Step::Make { space, path }),
        2 => (space(), some_path()).prop_map(|(space, path)| Step::Release { space, path }),
        5 => (space(), some_path(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(space, path, recursive, forever)| Step::Remove { space, path, recursive, forever }),
        6 => (space(), some_path(), some_path(), any::<bool>())
            .prop_map(|(space, from, to, replace)| Step::Move { space, from, to, replace }),
        4 => (space(), some_path(), space(), some_path(), any::<bool>()).prop_map(
            |(from_space, from, to_space, to, replace)| Step::Copy { from_space, from, to_space, to, replace }
        ),
        3 => (space(), any::<prop::sample::Index>(), proptest::option::of(some_path()))
            .prop_map(|(space, which, to)| Step::Restore { space, which, to }),
        1 => (space(), proptest::option::of(any::<prop::sample::Index>()))
            .prop_map(|(space, which)| Step::Empty { space, which }),
        3 => (space(), some_path(), any::<prop::sample::Index>())
            .prop_map(|(space, path, which)| Step::Revert { space, path, which }),
        4 => (space(), any::<bool>(), any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(space, trashed, file, which)| Step::Cut { space, trashed, file, which }),
        2 => (1..60_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The machine beside the model.
struct Twins {
    world: World,
    ids: [SpaceId; 2],
    models: [Model; 2],
    /// What was sent, and how long it is.
    sent: BTreeMap<Hash, u64>,
}

impl Twins {
    /// One space keeps what is removed for a while, the other nothing; both are small.
    fn new() -> Twins {
        let mut world = World::new();
        let ids = [world.space(ANN, "ann", 100), world.space(ANN, "box", 0)];
        let quota = 400;
        for space in ids {
            let change = FilesCommand::ChangeSpace { space, keep: None, quota: Some(ByteSize(quota)) };
            world.must(State::SYSTEM, Command::Files(change));
        }
        let models = [Model::new(Duration::from_secs(100), quota), Model::new(Duration(0), quota)];
        Twins { world, ids, models, sent: BTreeMap::new() }
    }

    fn ask(&mut self, command: FilesCommand) -> Result<FilesDone, Refused> {
        self.world.file(ANN, command)
    }

    fn put(&mut self, at: usize, path: &str, number: u64, condition: u8) {
        let (blob, size) = (blob(number), number * 30);
        let condition = match (condition, self.newest(at, path)) {
            (1, _) => Condition::Absent,
            (2, version) => Condition::Version(version.unwrap_or(VersionId(1))),
            (3, _) => Condition::Version(VersionId(u64::MAX)),
            _ => Condition::Any,
        };
        self.world.claim(ANN, blob, size);
        self.sent.insert(blob, size);
        let expected = self.models[at].may_put(path, condition, blob, size);
        let before = self.world.files().find(self.ids[at], &self::path(path)).map(|view| view.id);
        let files = vec![file_put(path, blob, condition)];
        let Ok(FilesDone::Each(each)) = self.ask(FilesCommand::PutFiles { space: self.ids[at], files })
        else {
            panic!("a put is answered for each file");
        };
        match &each[..] {
            [Ok(Placed { file, version: Some(version) })] => {
                assert_eq!(expected, Ok(()));
                assert!(before.is_none_or(|before| before == *file), "a file keeps its id");
                let content = Content { version: *version, blob, size };
                self.models[at].put(path, *file, content, self.world.now);
            }
            [Err(refusal)] => assert_eq!(expected, Err(refusal.code())),
            other => panic!("{other:?}"),
        }
    }

    fn newest(&self, at: usize, path: &str) -> Option<VersionId> {
        match self.models[at].things.get(path)? {
            Thing::File { newest, .. } => Some(newest.version),
            Thing::Folder => None,
        }
    }

    fn remove(&mut self, at: usize, path: &str, recursive: bool, forever: bool) {
        let expected = self.models[at].remove(path, recursive);
        let paths = vec![self::path(path)];
        let remove = FilesCommand::Remove { space: self.ids[at], paths, recursive, forever };
        let Ok(FilesDone::Each(each)) = self.ask(remove) else { panic!("each is answered") };
        match (&each[..], expected) {
            ([Ok(placed)], Ok(removed)) => {
                assert_eq!(placed.version.is_none(), removed.is_folder);
                let model = &mut self.models[at];
                if !forever && model.keep.0 != 0 {
                    model.trash.insert(placed.file, Removed { at: self.world.now, ..removed });
                }
            }
            ([Err(refusal)], Err(expected)) => assert_eq!(refusal.code(), expected),
            other => panic!("{other:?}"),
        }
    }

    fn copy(&mut self, from: (usize, &str), to: (usize, &str), replace: bool) {
        let order = FilesCommand::Copy {
            from_space: self.ids[from.0],
            from: path(from.1),
            to_space: self.ids[to.0],
            to: path(to.1),
            replace,
            about: None,
        };
        let done = self.ask(order);
        let expected = self.models[from.0].original(from.1).and_then(|(things, is_folder)| {
            let model = &self.models[to.0];
            if let (false, Some(Thing::File { newest, .. })) = (is_folder, things.get("")) {
                let condition = if replace { Condition::Any } else { Condition::Absent };
                model.may_put(to.1, condition, newest.blob, newest.size)?;
            } else {
                let inside = from.1.is_empty() || to.1.starts_with(&format!("{}/", from.1));
                if from.0 == to.0 && from.1 != to.1 && inside {
                    return Err("into_itself");
                }
                model.may_lay(to.1, &things)?;
            }
            Ok(things)
        });
        match (done, expected) {
            (Ok(FilesDone::Copied { file, version, .. }), Ok(mut things)) => {
                if let (Some(version), Some(Thing::File { newest, .. })) = (version, things.get("")) {
                    let content = Content { version, ..newest.clone() };
                    return self.models[to.0].put(to.1, file, content, self.world.now);
                }
                // Copies have ids and versions of their own, which are as they are.
                for (rest, thing) in &mut things {
                    let Thing::File { id, newest, .. } = thing else { continue };
                    let at = path(&format!("{}{rest}", to.1));
                    let view = self.world.files().find(self.ids[to.0], &at).expect("it was copied");
                    assert_ne!(view.id, *id, "a copy is another file");
                    let FileKind::File(version) = view.kind else { panic!("a copy of a file is one") };
                    (*id, newest.version) = (view.id, version.id);
                }
                self.models[to.0].add(to.1, things);
            }
            (Err(refused), expected) => assert_eq!(expected.err(), Some(refused)),
            other => panic!("{other:?}"),
        }
    }

    fn change_trash(&mut self, at: usize, step: &Step) {
        let space = self.ids[at];
        let pick = |model: &Model, which: &prop::sample::Index| {
            let ids: Vec<FileId> = model.trash.keys().copied().chain([FileId(1 << 40)]).collect();
            *which.get(&ids)
        };
        match step {
            Step::Restore { which, to, .. } => {
                let file = pick(&self.models[at], which);
                let expected = self.models[at].restore(file, to.as_deref());
                let to = to.as_deref().map(path);
                let done = self.ask(FilesCommand::Restore { space, file, to });
                assert_eq!(done, expected.map(|_| FilesDone::Moved(file)));
            }
            Step::Empty { which, .. } => {
                let file = which.as_ref().map(|which| pick(&self.models[at], which));
                let expected = match file {
                    Some(file) => self.models[at].trash.remove(&file).map(drop).ok_or("not_in_trash"),
                    None => {
                        self.models[at].trash.clear();
                        Ok(())
                    }
                };
                assert_eq!(self.ask(FilesCommand::EmptyTrash { space, file }).map(drop), expected);
            }
            _ => {}
        }
    }

    fn revert(&mut self, at: usize, text: &str, which: &prop::sample::Index) {
        let mut versions = vec![VersionId(1 << 40)];
        if let Some(Thing::File { older, .. }) = self.models[at].things.get(text) {
            versions.extend(older.iter().map(|(_, content)| content.version));
        }
        let version = *which.get(&versions);
        let space = self.ids[at];
        let done = self.ask(FilesCommand::Revert { space, path: path(text), version });
        let view = self.world.files().find(space, &path(text));
        let new = match view.map(|view| view.kind) {
            Some(FileKind::File(version)) => version.id,
            _ => VersionId(0),
        };
        let expected = self.models[at].revert(text, version, new, self.world.now);
        assert_eq!(done.map(drop), expected);
    }

    /// Removes a version of a file that lies somewhere, or is in the trash; or one that is not there.
    fn cut(&mut self, at: usize, trashed: bool, file: &prop::sample::Index, which: &prop::sample::Index) {
        let model = &self.models[at];
        let of = |thing: &Thing| match thing {
            Thing::File { id, newest, older } => {
                let older = older.iter().map(|(_, content)| content.version);
                Some((*id, older.chain([newest.version, VersionId(1 << 40)]).collect::<Vec<_>>()))
            }
            Thing::Folder => None,
        };
        let lying = model.things.iter().filter_map(|(key, thing)| Some((Ok(key.clone()), of(thing)?)));
        let in_trash = model.trash.iter().filter(|(_, removed)| !removed.is_folder);
        let in_trash = in_trash.filter_map(|(id, removed)| Some((Err(*id), of(removed.things.get("")?)?)));
        let all: Vec<_> = if trashed { in_trash.collect() } else { lying.collect() };
        let Some((place, (file, versions))) = all.get(file.index(all.len().max(1))).cloned() else { return };
        let version = *which.get(&versions);
        let done = self.ask(FilesCommand::RemoveVersion { space: self.ids[at], file, version });
        let place = place.as_deref().map_err(|file| *file);
        assert_eq!(done.map(drop), self.models[at].cut(place, version));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put { space, path, blob, condition } => self.put(*space, path, *blob, *condition),
            Step::Make { space, path } => {
                let make = FilesCommand::MakeFolder { space: self.ids[*space], path: self::path(path) };
                assert_eq!(self.ask(make).map(drop), self.models[*space].make_folder(path));
            }
            Step::Release { space, path } => {
                let release = FilesCommand::ReleaseFolder { space: self.ids[*space], path: self::path(path) };
                assert_eq!(self.ask(release).map(drop), self.models[*space].release_folder(path));
            }
            Step::Remove { space, path, recursive, forever } => {
                self.remove(*space, path, *recursive, *forever);
            }
            Step::Move { space, from, to, replace } => {
                let expected = self.models[*space].rename(from, to, *replace, self.world.now);
                let (space, replace) = (self.ids[*space], *replace);
                let order = FilesCommand::Move { space, from: path(from), to: path(to), replace };
                assert_eq!(self.ask(order).map(drop), expected);
            }
            Step::Copy { from_space, from, to_space, to, replace } => {
                self.copy((*from_space, from), (*to_space, to), *replace);
            }
            Step::Restore { space, .. } | Step::Empty { space, .. } => self.change_trash(*space, step),
            Step::Revert { space, path, which } => self.revert(*space, path, which),
            Step::Cut { space, trashed, file, which } => self.cut(*space, *trashed, file, which),
            Step::Wait { seconds } => {
                self.world.now = self.world.now.after(Duration::from_secs(*seconds));
                self.world.must(State::SYSTEM, Command::Tick);
                self.models.iter_mut().for_each(|model| model.pass(self.world.now));
            }
        }
    }

    /// Everything that can be read is as the model has it.
    fn compare(&self) {
        let files = self.world.files();
        let lies = |blob: &Hash| self.models.iter().any(|model| model.has(blob));
        let unfiled = self.sent.iter().filter(|(blob, _)| !lies(blob)).map(|(_, size)| size).sum::<u64>();
        assert_eq!(files.unfiled(ANN).0, unfiled, "what was sent and lies nowhere counts");
        for (space, model) in self.ids.into_iter().zip(&self.models) {
            assert_eq!(files.space(space).map(|space| space.used.0), Some(model.used()));
            let mut folders = vec![String::new()];
            for (key, thing) in &model.things {
                folders.extend(key.match_indices('/').map(|(at, _)| key[..at].to_owned()));
                let Thing::File { id, newest, older } = thing else { continue };
                let view = files.find(space, &path(key)).expect("it is there");
                assert_eq!((view.id, files.by_id(*id)), (*id, Some((space, view.clone()))));
                assert_eq!(files.removed_with(space, &path(key), newest.version), None, "{key} is there");
                let versions: Vec<Content> = files
                    .versions(*id)
                    .into_iter()
                    .map(|version| Content { version: version.id, blob: version.blob, size: version.size.0 })
                    .collect();
                let expected: Vec<Content> = [newest]
                    .into_iter()
                    .chain(older.iter().rev().map(|(_, content)| content))
                    .cloned()
                    .collect();
                assert_eq!(versions, expected, "versions of {key}");
            }
            folders.sort();
            folders.dedup();
            for folder in folders {
                self.compare_folder(space, model, &folder);
            }
            let trash: Vec<(FileId, String)> = files
                .trash(space, None, 1_000)
                .items
                .into_iter()
                .map(|trashed| (trashed.file.id, trashed.file.path.to_string()))
                .collect();
            let mut expected: Vec<_> =
                model.trash.iter().map(|(id, removed)| (removed.at, *id, removed.path.clone())).collect();
            expected.sort_by_key(|(at, id, _)| std::cmp::Reverse((*at, *id)));
            for (_, _, path) in &expected {
                let from = |from| {
                    let removed = files.removed_at(space, &self::path(path), from);
                    removed.map(|trashed| trashed.file.id).collect::<Vec<FileId>>()
                };
                let there = expected.iter().filter(|(.., other)| other == path).map(|(_, id, _)| *id);
                let there: Vec<FileId> = there.filter(|id| !model.trash[id].is_folder).collect();
                assert_eq!(from(None), there, "what was removed from '{path}'");
                for (at, file) in there.iter().enumerate() {
                    assert_eq!(from(Some(*file)), there[at..], "from {file} on");
                    for version in files.versions(*file) {
                        let with = |path: &str| files.removed_with(space, &self::path(path), version.id);
                        assert_eq!((with(path), with("elsewhere")), (Some(*file), None), "its {version:?}");
                    }
                }
            }
            assert!(trash.into_iter().eq(expected.into_iter().map(|(_, id, path)| (id, path))));
        }
    }

    fn compare_folder(&self, space: SpaceId, model: &Model, folder: &str) {
        let files = self.world.files();
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = |key: &&String| key.starts_with(&prefix) && key.len() > prefix.len();
        let (mut totals, mut inner) = (Totals::default(), std::collections::BTreeSet::new());
        for key in model.things.keys().filter(below) {
            inner.extend(
                key[prefix.len()..].match_indices('/').map(|(at, _)| key[..prefix.len() + at].to_owned()),
            );
            if let Some(Thing::File { newest, .. }) = model.things.get(key) {
                totals.files += 1;
                totals.bytes.0 += newest.size;
            }
        }
        totals.folders = inner.len() as u64;
        let view = files.find(space, &path(folder)).expect("it is there");
        assert_eq!(view.kind, FileKind::Folder(totals), "sums of '{folder}'");
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = files.list(view.id, after.as_deref(), 2);
            listed.extend(page.items.iter().map(key_of));
            after = page.items.last().and_then(|view| view.path.name()).map(str::to_owned);
            if !page.more {
                break;
            }
        }
        let mut expected = model.walk(&prefix, &prefix, true);
        expected.retain(|key| *key != prefix);
        assert_eq!(listed, expected, "what lies in '{folder}'");
    }

    /// Walks in pages of this size.
    fn walk(&self, at: usize, prefix: &str, after: &str, folded: bool, limit: usize) {
        let (mut walked, mut last) = (Vec::new(), after.to_owned());
        loop {
            let page = self.world.files().walk(self.ids[at], prefix, Some(&last), folded, limit);
            assert!(page.items.len() <= limit);
            walked.extend(page.items.iter().map(key_of));
            last = page.items.last().map_or(last, key_of);
            if !page.more {
                break;
            }
            assert!(!page.items.is_empty(), "there is somewhere to go on");
        }
        let expected = self.models[at].walk(prefix, after, folded);
        assert_eq!(walked, expected, "from '{after}' on with '{prefix}', folded: {folded}");
        let removed = self.world.files().removed_paths(self.ids[at], prefix, Some(after), 1_000);
        assert_eq!(removed.items, self.models[at].removed_paths(prefix, after), "removed, behind '{after}'");
    }
}

/// The path, with a `/` behind that of a folder.
fn key_of(view: &FileView) -> String {
    match view.kind {
        FileKind::Folder(_) => format!("{}/", view.path),
        FileKind::File(_) => view.path.to_string(),
    }
}

fn look() -> impl Strategy<Value = (usize, String, String, bool, usize)> {
    let end = || prop::sample::select(vec!["", "/", "-", "a"]);
    (0..2_usize, some_path(), end(), some_path(), end(), any::<bool>(), 1..4_usize).prop_map(
        |(space, prefix, begins, after, ends, folded, limit)| {
            (space, prefix + begins, after + ends, folded, limit)
        },
    )
}

proptest! {
    #![proptest_config(common::cases())]

    #[test]
    fn files_are_as_a_naive_model_has_them(
        steps in proptest::collection::vec((step(), look()), 1..60)
    ) {
        let mut twins = Twins::new();
        for (step, (space, prefix, after, folded, limit)) in &steps {
            twins.step(step);
            twins.compare();
            twins.walk(*space, prefix, after, *folded, *limit);
            twins.world.state.sanity_check();
            let bytes = encode_state(&twins.world.state);
            prop_assert!(decode_state(STATE_VERSION, &bytes).expect("encoded above") == twins.world.state);
        }
    }
}
