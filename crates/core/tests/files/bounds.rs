//! No command makes the state grow without limit, and no entry does too much.

use pumasi_core::{
    About, Bounds, Command, DownloadReport, FileKind, FilePut, FilesCommand, FilesDone, STATE_VERSION, State,
    decode_state, encode_state,
};
use pumasi_types::{ByteSize, Duration, FileId, SpaceId, UploadId};

use super::common::ask;
use super::others::{download, report};
use super::{ANN, World, blob, file_put, path};

/// Files that one entry may erase at most: steps of what is due, and what a command does at once.
const ERASED: u64 = 3 << 12;

/// A space with so many files of one byte, in folders of a thousand, below `all`.
fn filled(keep: u64, files: u64) -> (World, SpaceId) {
    let mut world = World::new();
    let space = world.space(ANN, "ann", keep);
    world.claim(ANN, blob(0), 1);
    for folder in 0..files.div_ceil(1_000) {
        let put = |file: u64| file_put(&format!("all/{folder}/{file}"), blob(0), Default::default());
        let files = (0..1_000.min(files - folder * 1_000)).map(put).collect();
        world.file(ANN, FilesCommand::PutFiles { space, files }).expect("they are put");
    }
    (world, space)
}

fn used(world: &World, space: SpaceId) -> u64 {
    world.files().space(space).map_or(0, |space| space.used.0)
}

/// All invariants hold, and the state is the same when it was written and read.
fn check_and_read_back(world: &World) {
    world.state.sanity_check();
    let back = decode_state(STATE_VERSION, &encode_state(&world.state)).expect("encoded here");
    assert!(back == world.state, "what a snapshot does not have is made again");
}

/// Entries until nothing is behind; each erases a bounded part.
fn catch_up(world: &mut World, space: SpaceId) -> usize {
    let mut entries = 0;
    while world.state.is_behind() || world.state.next_due().is_some_and(|due| due <= world.now) {
        let before = used(world, space);
        world.state.apply(world.now, &[]);
        assert!(before - used(world, space) <= ERASED, "an entry does not erase everything");
        entries += 1;
    }
    entries
}

#[test]
fn a_large_folder_is_erased_little_by_little() {
    let count = 50_000;
    let (mut world, space) = filled(0, count);
    let removed = FilesCommand::Remove { space, paths: vec![path("all")], recursive: true, forever: true };
    world.state.apply(world.now, &[ask(ANN, Command::Files(removed))]);
    assert!(world.files().find(space, &path("all")).is_none(), "it is gone at once");
    assert!(used(&world, space) > count - ERASED);
    assert!(catch_up(&mut world, space) > 4);
    assert_eq!(used(&world, space), 0);
    world.state.sanity_check();
}

#[test]
fn the_trash_of_a_day_goes_little_by_little() {
    let count = 30_000;
    let (mut world, space) = filled(10, count);
    for folder in 0..count / 1_000 {
        let paths = (0..1_000).map(|file| path(&format!("all/{folder}/{file}"))).collect();
        let remove = FilesCommand::Remove { space, paths, recursive: false, forever: false };
        world.file(ANN, remove).expect("they are removed");
    }
    assert!(world.files().find(space, &path("all")).is_none(), "nothing lies in it");
    assert_eq!((used(&world, space), world.state.is_behind()), (count, false));
    world.now = world.now.after(Duration::from_secs(10));
    assert!(catch_up(&mut world, space) > 2);
    assert_eq!(used(&world, space), 0);
    world.state.sanity_check();
}

#[test]
fn a_space_whose_trash_is_large_goes_at_once() {
    let (mut world, space) = filled(10, 20_000);
    let remove = FilesCommand::Remove { space, paths: vec![path("all")], recursive: true, forever: false };
    world.file(ANN, remove).expect("it is removed");
    let gone = Command::Files(FilesCommand::RemoveSpace { space });
    assert!(world.state.apply(world.now, &[ask(ANN, gone)]).answers[0].is_ok());
    assert!(world.files().space(space).is_none() && world.state.is_behind());
    check_and_read_back(&world);
    world.must(State::SYSTEM, Command::Tick);
    world.state.sanity_check();
}

#[test]
fn what_waits_to_be_erased_is_not_found_by_its_contents() {
    let (mut world, space) = filled(10, 5_000);
    // The last that is erased.
    let at = path("all/4/999");
    world.put(ANN, space, at.as_str(), (blob(1), 1)).expect("it is overwritten");
    world.now = world.now.after(Duration::from_secs(5));
    for folder in 0..5 {
        let paths = (0..1_000).map(|file| path(&format!("all/{folder}/{file}"))).collect();
        let remove = FilesCommand::Remove { space, paths, recursive: false, forever: false };
        world.file(ANN, remove).expect("they are removed");
    }
    let removed = world.files().removed_at(space, &at, None).next().expect("it was removed").file.id;
    let versions: Vec<_> = world.files().versions(removed).iter().map(|version| version.id).collect();
    let found = |world: &World| -> Vec<Option<FileId>> {
        versions.iter().map(|version| world.files().removed_with(space, &at, *version)).collect()
    };
    assert_eq!(found(&world), [Some(removed); 2], "an older version, too");
    check_and_read_back(&world);
    let empty = Command::Files(FilesCommand::EmptyTrash { space, file: None });
    assert!(world.state.apply(world.now, &[ask(ANN, empty)]).answers[0].is_ok());
    assert!(world.state.is_behind(), "it goes little by little");
    assert_eq!(found(&world), [None; 2]);
    check_and_read_back(&world);
    // The time of the older version passes meanwhile.
    world.now = world.now.after(Duration::from_secs(5));
    while world.state.is_behind() || world.state.next_due().is_some_and(|due| due <= world.now) {
        world.state.apply(world.now, &[]);
        check_and_read_back(&world);
    }
    assert_eq!(used(&world, space), 0);
}

#[test]
fn the_uploads_and_downloads_of_a_space_go_little_by_little() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 10);
    world.claim(ANN, blob(0), 1);
    for upload in 1..=20 {
        let begin = FilesCommand::BeginUpload { space, path: path("big"), about: Default::default() };
        world.file(ANN, begin).expect("it begins");
        let part = |number| {
            let put = FilesCommand::PutPart { upload: UploadId(upload), number, blob: blob(0), md5: [0; 16] };
            ask(ANN, Command::Files(put))
        };
        world.state.apply(world.now, &(1..=1_000).map(part).collect::<Vec<_>>());
    }
    let id = download(&mut world, space, "in", false);
    assert_eq!(used(&world, space), 20_000);
    let gone = Command::Files(FilesCommand::RemoveSpace { space });
    assert!(world.state.apply(world.now, &[ask(ANN, gone)]).answers[0].is_ok());
    assert!((1..=20).all(|upload| world.files().upload(UploadId(upload)).is_none()));
    let mut entries = 0;
    while world.state.is_behind() {
        world.state.apply(world.now, &[]);
        entries += 1;
    }
    assert!(entries >= 4, "{entries} entries");
    assert_eq!((world.files().download(id), world.state.next_due()), (None, None), "nothing rings for it");
    world.state.sanity_check();
}

#[test]
fn old_claims_go_little_by_little() {
    let mut world = World::new();
    for hundred in 0..100 {
        let blobs = (0..200).map(|number| (blob(hundred * 200 + number), ByteSize(1))).collect();
        world.must(State::SYSTEM, Command::Files(FilesCommand::Claim { account: ANN, blobs }));
    }
    world.now = world.now.after(Duration(Bounds::CLAIM.0 + Bounds::CLAIM_ROOT.0));
    let mut entries = 0;
    world.state.apply(world.now, &[]);
    while world.state.is_behind() {
        world.state.apply(world.now, &[]);
        entries += 1;
    }
    assert!(entries >= 4, "{entries} entries");
    assert_eq!(world.files().claimed(ANN, &blob(5)), None);
    world.state.sanity_check();
}

#[test]
fn a_file_has_so_many_older_versions() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 3_600);
    for number in 0..Bounds::VERSIONS as u64 + 20 {
        world.put(ANN, space, "a", (blob(number), 1)).expect("it is put");
    }
    let file = world.files().find(space, &path("a")).expect("it is there").id;
    assert_eq!(world.files().versions(file).len(), Bounds::VERSIONS + 1);
    assert_eq!(used(&world, space), Bounds::VERSIONS as u64 + 1);
    world.state.sanity_check();
}

#[test]
fn a_folder_that_is_too_large_is_not_copied_at_once() {
    let (mut world, space) = filled(0, Bounds::COPIED + 1);
    let copy = |from: &str, to: &str| {
        let (from, to) = (path(from), path(to));
        FilesCommand::Copy { from_space: space, from, to_space: space, to, replace: false, about: None }
    };
    assert_eq!(world.file(ANN, copy("all", "two")), Err("too_many"));
    let copied = world.file(ANN, copy("all/0", "two/0"));
    assert!(matches!(copied, Ok(FilesDone::Copied { count: 1_001, .. })), "{copied:?}");
    let view = world.files().find(space, &path("two")).expect("it is there");
    assert!(matches!(view.kind, FileKind::Folder(totals) if totals.files == 1_000 && totals.folders == 1));
}

#[test]
fn files_that_say_much_of_themselves_are_not_copied_at_once() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 0);
    world.claim(ANN, blob(0), 1);
    let labels = [("a".to_owned(), "x".repeat(Bounds::ABOUT_BYTES - 1))].into();
    let about = About { labels, ..About::default() };
    let count = Bounds::COPIED_ABOUT / Bounds::ABOUT_BYTES as u64;
    for file in 0..=count {
        let put =
            FilePut { about: about.clone(), ..file_put(&format!("all/{file}"), blob(0), Default::default()) };
        world.file(ANN, FilesCommand::PutFiles { space, files: vec![put] }).expect("it is put");
    }
    let copy = |from: &str, to: &str| {
        let (from, to) = (path(from), path(to));
        FilesCommand::Copy { from_space: space, from, to_space: space, to, replace: false, about: None }
    };
    assert_eq!(world.file(ANN, copy("all", "two")), Err("too_many"));
    assert!(world.file(ANN, copy("all/0", "one")).is_ok());
    let paths = (0..10).map(|file| path(&format!("all/{file}"))).collect();
    let remove = FilesCommand::Remove { space, paths, recursive: false, forever: true };
    world.file(ANN, remove).expect("some are removed");
    assert!(world.file(ANN, copy("all", "two")).is_ok());
}

#[test]
fn what_was_removed_from_one_path_again_and_again_takes_no_longer_to_page_through() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 3_600);
    let count = 20_000;
    world.claim(ANN, blob(0), 1);
    for _ in 0..count {
        let files = vec![file_put("often", blob(0), Default::default())];
        let remove =
            FilesCommand::Remove { space, paths: vec![path("often")], recursive: false, forever: false };
        let asked = [FilesCommand::PutFiles { space, files }, remove];
        world.state.apply(world.now, &asked.map(|command| ask(ANN, Command::Files(command))));
    }
    for at in ["never", "once"] {
        world.put(ANN, space, at, (blob(0), 1)).expect("it is put");
    }
    let paths = vec![path("once")];
    let remove = FilesCommand::Remove { space, paths, recursive: false, forever: false };
    world.file(ANN, remove).expect("it is removed");
    let first = world.files().removed_at(space, &path("often"), None).last().expect("it was removed").file;
    let FileKind::File(version) = first.kind else { panic!("it is a file") };
    // So often that looking at all that was removed would take minutes.
    for _ in 0..2_000 {
        let page = world.files().removed_paths(space, "", None, 1);
        assert_eq!((page.items, page.more), (vec!["often".to_owned()], true));
        let last = world.files().removed_paths(space, "", Some("often"), 1);
        assert_eq!((last.items, last.more), (vec!["once".to_owned()], false));
        assert!(world.files().removed_at(space, &path("often"), None).next().is_some());
        assert_eq!(world.files().removed_with(space, &path("often"), version.id), Some(first.id));
        let behind = world.files().removed_at(space, &path("often"), Some(first.id));
        assert_eq!(behind.count(), 1, "a page begins where the last one ended");
    }
    assert_eq!(world.files().removed_at(space, &path("often"), None).count(), count);
}

#[test]
fn names_that_are_taken_are_not_tried_without_end() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 0);
    world.claim(ANN, blob(0), 1);
    let names = |count: u32| {
        let number = |n: u32| if n == 1 { "x".to_owned() } else { format!("x ({n})") };
        (1..=count).map(number).map(|name| format!("in/{name}")).collect::<Vec<_>>()
    };
    let put = |world: &mut World, names: &[String]| {
        for names in names.chunks(1_000) {
            let files = names.iter().map(|name| file_put(name, blob(0), Default::default())).collect();
            world.file(ANN, FilesCommand::PutFiles { space, files }).expect("they are put");
        }
    };
    let fetched = |count: usize, name: &str| {
        let file = (path(name), blob(5), ByteSize(5), About::default());
        DownloadReport::Part { from: 0, files: vec![file; count], saved: ByteSize(0) }
    };
    let id = download(&mut world, space, "in", false);
    // A number is tried once for all files of a name.
    put(&mut world, &names(900));
    assert_eq!(report(&mut world, id, fetched(1_000, "x")), None);
    let last = world.files().find(space, &path("in/x (1900)"));
    assert!(last.is_some(), "the next thousand are taken");
    put(&mut world, &names(Bounds::NAMES_TRIED as u32 + 1));
    let id = download(&mut world, space, "in", false);
    assert_eq!(report(&mut world, id, fetched(1, "x")), Some("exists"));
    assert_eq!(report(&mut world, id, fetched(1, "y")), None);
}

#[test]
fn no_move_makes_a_path_too_long() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 100);
    let name = "n".repeat(250);
    let deep = [name.as_str(); 3].join("/");
    world.put(ANN, space, &format!("d/{deep}"), (blob(1), 1)).expect("it is put");
    world.put(ANN, space, &format!("{name}/x"), (blob(1), 1)).expect("it is put");
    let order =
        |from: &str, to: &str| FilesCommand::Move { space, from: path(from), to: path(to), replace: false };
    assert_eq!(world.file(ANN, order("d", &format!("{name}/{}", "e".repeat(30)))), Err("too_many"));
    world.file(ANN, order("d", &format!("{name}/e"))).expect("it fits");
    let whole = world.files().walk(space, "", None, false, 10).items;
    assert!(whole.iter().any(|view| view.path.as_str() == format!("{name}/e/{deep}")));
    // Neither does anything else that lays a folder somewhere.
    let paths = vec![path(&format!("{name}/e"))];
    let removed = world.file(ANN, FilesCommand::Remove { space, paths, recursive: true, forever: false });
    let Ok(FilesDone::Each(each)) = removed else { panic!("it is removed") };
    let file = each[0].as_ref().expect("it was there").file;
    let to = Some(path(&format!("{name}/{}", "e".repeat(30))));
    assert_eq!(world.file(ANN, FilesCommand::Restore { space, file, to }), Err("too_many"));
    world.file(ANN, FilesCommand::Restore { space, file, to: None }).expect("it fits");
}

#[test]
fn one_request_names_so_many_files() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 0);
    let paths = vec![path("a"); Bounds::FILES + 1];
    let files = vec![file_put("a", blob(1), Default::default()); Bounds::FILES + 1];
    let claim = FilesCommand::ClaimFiles { space, paths: paths.clone() };
    let remove = FilesCommand::Remove { space, paths, recursive: false, forever: false };
    for command in [FilesCommand::PutFiles { space, files }, claim, remove] {
        assert_eq!(world.file(ANN, command), Err("too_many"));
    }
}

#[test]
fn an_account_makes_so_many_spaces() {
    let mut world = World::new();
    let make = |number: usize| {
        let keep = Duration(0);
        Command::Files(FilesCommand::CreateSpace { name: format!("space-{number}"), keep })
    };
    let answers =
        world.state.apply(world.now, &(0..=Bounds::SPACES).map(|n| ask(ANN, make(n))).collect::<Vec<_>>());
    assert!(answers.answers[..Bounds::SPACES].iter().all(Result::is_ok));
    assert_eq!(answers.answers[Bounds::SPACES].as_ref().map_err(|refusal| refusal.code()), Err("too_many"));
}
