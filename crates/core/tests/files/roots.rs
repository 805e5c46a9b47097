//! What the store must keep is named by a walk over the roots, whatever happens between its pieces.

use std::collections::BTreeSet;

use pumasi_core::{Command, DownloadSource, DownloadSpec, FilesCommand, FilesDone, RootCursor, State};
use pumasi_types::{ByteSize, Duration, Hash, SpaceId};

use super::common::dice::Dice;
use super::{ANN, World, blob, file_put, path};

/// All that is referred to now, in one piece.
fn all(world: &World) -> BTreeSet<Hash> {
    let roots = world.files().roots(RootCursor::default(), usize::MAX);
    assert_eq!(roots.next, None);
    roots.blobs.into_iter().collect()
}

/// Something that moves references about.
fn change(world: &mut World, space: SpaceId, dice: &mut Dice) {
    let at = |dice: &mut Dice| path(&format!("{}/{}", dice.below(3), dice.below(4)));
    let (from, to) = (at(dice), at(dice));
    let number = dice.below(40);
    let command = match dice.below(14) {
        0..=2 => {
            world.claim(ANN, blob(number), 1);
            return;
        }
        3..=5 => {
            let files = vec![file_put(to.as_str(), blob(number), pumasi_core::Condition::Any)];
            FilesCommand::PutFiles { space, files }
        }
        6 => FilesCommand::ClaimFiles { space, paths: vec![from] },
        7 => FilesCommand::Move { space, from, to, replace: true },
        8 => FilesCommand::Copy { from_space: space, from, to_space: space, to, replace: true, about: None },
        9 => {
            let forever = dice.below(2) == 0;
            FilesCommand::Remove { space, paths: vec![from], recursive: true, forever }
        }
        10 => match world.files().trash(space, None, 1).items.first().map(|trashed| trashed.file.id) {
            Some(file) => FilesCommand::Restore { space, file, to: None },
            None => return,
        },
        11 => FilesCommand::BeginUpload { space, path: to, about: pumasi_core::About::default() },
        12 => {
            let Some(upload) = world.files().uploads(space).first().map(|(id, _)| *id) else { return };
            let number = 1 + dice.below(3) as u16;
            FilesCommand::PutPart { upload, number, blob: blob(dice.below(40)), md5: [0; 16] }
        }
        _ => {
            // Claims come to their end while others are fresh.
            world.now = world.now.after(Duration::from_secs(dice.below(3) * 3_600));
            world.must(State::SYSTEM, Command::Tick);
            return;
        }
    };
    let _ = world.file(ANN, command);
}

/// Something that moves contents of files about, of which nobody has claims.
fn stir(world: &mut World, space: SpaceId, dice: &mut Dice) {
    let mut at = || path(&format!("{}/{}", dice.below(3), dice.below(4)));
    let (from, to) = (at(), at());
    let command = match dice.below(8) {
        0..=3 => FilesCommand::Move { space, from, to, replace: true },
        4..=5 => {
            FilesCommand::Copy { from_space: space, from, to_space: space, to, replace: true, about: None }
        }
        6 => FilesCommand::Remove { space, paths: vec![from], recursive: true, forever: true },
        _ => match world.files().find(space, &from).map(|view| world.files().versions(view.id)) {
            Some(versions) if versions.len() > 1 => {
                FilesCommand::Revert { space, path: from, version: versions[1].id }
            }
            _ => return,
        },
    };
    let _ = world.file(ANN, command);
}

/// Walks over the roots while something changes between the pieces; what was there all the time and is not named.
fn missed(
    world: &mut World,
    space: SpaceId,
    dice: &mut Dice,
    change: fn(&mut World, SpaceId, &mut Dice),
) -> Vec<Hash> {
    let begun = world.now;
    let mut always = all(world);
    let (mut named, mut next) = (BTreeSet::new(), Some(RootCursor::default()));
    while let Some(from) = next {
        let roots = world.files().roots(from, 1 + dice.below(4) as usize);
        named.extend(roots.blobs);
        next = roots.next;
        if world.now.since(begun) < Duration::from_secs(20 * 3_600) {
            change(world, space, dice);
            // A claim that nobody can use any more is no reference that must stay.
            always = always.intersection(&all(world)).copied().collect();
        }
    }
    always.difference(&named).copied().collect()
}

#[test]
fn what_is_referred_to_during_a_whole_walk_is_named_by_it() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let space = world.space(ANN, "ann", 3_600 * 24);
        (0..60).for_each(|_| change(&mut world, space, &mut dice));
        let missed = missed(&mut world, space, &mut dice, change);
        assert!(missed.is_empty(), "seed {seed}: {missed:?} could have been collected");
    }
}

#[test]
fn what_nobody_has_claims_of_any_more_is_named_wherever_it_is_moved() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let space = world.space(ANN, "ann", if seed % 2 == 0 { 0 } else { 3_600 * 24 * 30 });
        for number in 0..30 {
            let at = format!("{}/{}", dice.below(3), dice.below(4));
            world.put(ANN, space, &at, (blob(number), 1)).expect("it is put");
        }
        world.now = world.now.after(Duration::from_secs(73 * 3_600));
        world.must(State::SYSTEM, Command::Tick);
        let missed = missed(&mut world, space, &mut dice, stir);
        assert!(missed.is_empty(), "seed {seed}: {missed:?} could have been collected");
    }
}

#[test]
fn what_is_given_to_a_file_that_was_passed_is_named() {
    for copied in [false, true] {
        let mut world = World::new();
        let space = world.space(ANN, "ann", 0);
        for (at, number) in [("first", 1), ("last", 2)] {
            world.put(ANN, space, at, (blob(number), 1)).expect("it is put");
        }
        world.now = world.now.after(Duration::from_secs(73 * 3_600));
        world.must(State::SYSTEM, Command::Tick);
        // The root's folder and the first file.
        let begun = world.files().roots(RootCursor::default(), 2);
        assert_eq!(begun.blobs, [blob(1)]);
        let (from, to, last) = (path("last"), path("first"), vec![path("last")]);
        if copied {
            let (from_space, to_space) = (space, space);
            let copy = FilesCommand::Copy { from_space, from, to_space, to, replace: true, about: None };
            world.file(ANN, copy).expect("it is copied");
            let gone = FilesCommand::Remove { space, paths: last, recursive: false, forever: true };
            world.file(ANN, gone).expect("it is removed");
        } else {
            // The file that is moved keeps its id, so it is the one that takes what the other had.
            world.put(ANN, space, "first", (blob(3), 1)).expect("it is put");
            let keep = Some(Duration::from_secs(3_600));
            let change = FilesCommand::ChangeSpace { space, keep, quota: None };
            world.must(ANN, Command::Files(change));
            let (from, to) = (to, from);
            world.file(ANN, FilesCommand::Move { space, from, to, replace: true }).expect("it is moved");
        }
        let (mut named, mut next) = (Vec::new(), begun.next);
        while let Some(from) = next {
            let roots = world.files().roots(from, 1);
            named.extend(roots.blobs);
            next = roots.next;
        }
        assert!(named.contains(&blob(2)), "copied: {copied}");
    }
}

#[test]
fn a_file_made_of_a_claim_that_ended_meanwhile_is_named() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 0);
    for number in 0..10 {
        world.put(ANN, space, &format!("old/{number}"), (blob(number), 1)).expect("it is put");
    }
    world.now = world.now.after(Duration::from_secs(47 * 3_600));
    let last = blob(99);
    // Long ago, somebody sent it, and it is put while the walk is among the claims already.
    let roots = world.files().roots(RootCursor::default(), 12);
    world.claim(ANN, last, 1);
    world.now = world.now.after(Duration::from_secs(47 * 3_600 + 3_500));
    let files = vec![file_put("new", last, pumasi_core::Condition::Any)];
    assert!(matches!(
        world.file(ANN, FilesCommand::PutFiles { space, files }),
        Ok(FilesDone::Each(each)) if each[0].is_ok()
    ));
    world.now = world.now.after(Duration::from_secs(3_600 * 10));
    world.must(State::SYSTEM, Command::Tick);
    assert_eq!(world.files().claimed(ANN, &last), None, "nobody can use the claim any more");
    let (mut named, mut next) = (roots.blobs, roots.next);
    while let Some(from) = next {
        let roots = world.files().roots(from, 1);
        named.extend(roots.blobs);
        next = roots.next;
    }
    assert!(named.contains(&last));
}

#[test]
fn parts_torrents_and_the_trash_are_roots() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 3_600 * 24 * 30);
    world.put(ANN, space, "a", (blob(1), 1)).expect("it is put");
    world.put(ANN, space, "a", (blob(2), 1)).expect("it is put");
    let paths = vec![path("a")];
    world
        .file(ANN, FilesCommand::Remove { space, paths, recursive: false, forever: false })
        .expect("removed");
    let about = pumasi_core::About::default();
    let Ok(FilesDone::Upload(upload)) =
        world.file(ANN, FilesCommand::BeginUpload { space, path: path("b"), about })
    else {
        panic!("it begins")
    };
    for number in 3..6 {
        world.claim(ANN, blob(number), 1);
        let part = FilesCommand::PutPart { upload, number: number as u16, blob: blob(number), md5: [0; 16] };
        world.file(ANN, part).expect("it is a part");
    }
    world.claim(ANN, blob(6), 1);
    let spec = DownloadSpec {
        space,
        path: path("in"),
        named: false,
        source: DownloadSource::Torrent(blob(6)),
        sha256: None,
        limit: ByteSize(1),
        files: Vec::new(),
    };
    world.file(ANN, FilesCommand::AddDownload(spec)).expect("it is ordered");
    // All claims are gone, and the upload is not.
    world.now = world.now.after(Duration::from_secs(4 * 24 * 3_600));
    world.must(State::SYSTEM, Command::Tick);
    for limit in 1..9 {
        let (mut named, mut next) = (Vec::new(), Some(RootCursor::default()));
        while let Some(from) = next {
            let roots = world.files().roots(from, limit);
            named.extend(roots.blobs);
            next = roots.next;
        }
        named.sort();
        let mut expected: Vec<Hash> = (1..7).map(blob).collect();
        expected.sort();
        assert_eq!(named, expected, "in pieces of {limit}");
    }
}

#[test]
fn what_lies_in_spaces_is_told_once_in_pieces_of_any_size() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let spaces = [world.space(ANN, "ann", 3_600 * 24), world.space(ANN, "two", 3_600 * 24)];
        for _ in 0..120 {
            let space = spaces[dice.below(2) as usize];
            change(&mut world, space, &mut dice);
        }
        let whole = world.files().contents(RootCursor::default(), usize::MAX);
        assert_eq!(whole.next, None, "seed {seed}");
        for limit in 1..6 {
            let (mut told, mut next) = (Vec::new(), Some(RootCursor::default()));
            while let Some(from) = next {
                let piece = world.files().contents(from, limit);
                told.extend(piece.blobs);
                next = piece.next;
            }
            assert_eq!(told, whole.blobs, "seed {seed} in pieces of {limit}");
        }
        let all = all(&world);
        assert!(whole.blobs.iter().all(|(_, blob)| all.contains(blob)), "seed {seed}: they are roots");
        for space in spaces {
            let lie = whole.blobs.iter().filter(|(of, _)| *of == space).count();
            let used = world.files().space(space).map(|space| space.used);
            assert_eq!(Some(ByteSize(lie as u64)), used, "seed {seed}: each blob has one byte");
        }
    }
}
