//! What an account sent and what lies in no file of its counts, until it does or is forgotten.

use pumasi_core::{
    Access, Bounds, Command, Condition, Done, DownloadReport, FilesCommand, Role, STATE_VERSION, State,
    decode_state, encode_state,
};
use pumasi_types::{AccountId, Amount, ByteSize, Currency, Duration, Ending, Hash, RunId, SpaceId};

use super::common::{job, machine, open, success};
use super::others::{BOB, begin, download, part, pass, report};
use super::{ANN, World, blob, file_put, path};

/// How much of ann's counts.
fn unfiled(world: &World) -> u64 {
    world.state.sanity_check();
    world.files().unfiled(ANN).0
}

fn remove(space: SpaceId, at: &str) -> FilesCommand {
    FilesCommand::Remove { space, paths: vec![path(at)], recursive: false, forever: true }
}

fn copy(space: SpaceId, from: &str, to: &str) -> FilesCommand {
    let (from, to) = (path(from), path(to));
    FilesCommand::Copy { from_space: space, from, to_space: space, to, replace: false, about: None }
}

fn join(world: &mut World, parts: &[Hash]) {
    let joined = FilesCommand::Joined { account: ANN, parts: parts.to_vec() };
    world.must(State::SYSTEM, Command::Files(joined));
}

#[test]
fn what_was_sent_counts_until_something_else_counts_it() {
    let mut world = World::new();
    let (space, keeping) = (world.space(ANN, "lab", 0), world.space(ANN, "archive", 1_000));
    let unfiled = |world: &World| {
        world.state.sanity_check();
        world.files().unfiled(ANN).0
    };
    world.claim(ANN, blob(1), 100);
    world.claim(ANN, blob(1), 100);
    assert_eq!(unfiled(&world), 100, "once");
    world.put(ANN, space, "a", (blob(1), 100)).expect("it is put");
    assert_eq!(unfiled(&world), 0, "the space's quota counts it");
    world.put(ANN, space, "a", (blob(2), 20)).expect("it is put");
    assert_eq!(unfiled(&world), 100, "nothing kept what was overwritten");
    world.put(ANN, keeping, "a", (blob(1), 100)).expect("it is put");
    world.put(ANN, keeping, "a", (blob(3), 3)).expect("it is put");
    assert_eq!(unfiled(&world), 0, "an older version is kept");
    let remove =
        |space| FilesCommand::Remove { space, paths: vec![path("a")], recursive: false, forever: true };
    world.file(ANN, remove(keeping)).expect("it is removed");
    assert_eq!(unfiled(&world), 103);
    // Whoever reads a file sent nothing.
    let share = FilesCommand::SetMember { space, account: BOB, access: Some(Access::Write) };
    world.file(ANN, share).expect("she shares it");
    world.file(BOB, FilesCommand::ClaimFiles { space, paths: vec![path("a")] }).expect("he reads it");
    assert_eq!(world.files().unfiled(BOB), ByteSize(0));
    // Parts count with the upload, then once more when it is given up.
    let upload = begin(&mut world, space);
    assert_eq!(part(&mut world, upload, 1, (blob(4), 1_000)), None);
    assert_eq!(part(&mut world, upload, 1, (blob(5), 2_000)), None);
    assert_eq!(unfiled(&world), 1_103);
    world.file(ANN, FilesCommand::AbortUpload { upload }).expect("it is given up");
    assert_eq!(unfiled(&world), 3_103);
    // What was put together counts as a whole.
    world.claim(ANN, blob(6), 3_000);
    let parts = vec![blob(4), blob(5), blob(99)];
    assert_eq!(world.file(ANN, FilesCommand::Joined { account: ANN, parts: parts.clone() }), Err("hub_only"));
    world.must(State::SYSTEM, Command::Files(FilesCommand::Joined { account: ANN, parts }));
    assert_eq!(unfiled(&world), 3_103);
    world.put(ANN, space, "big", (blob(6), 3_000)).expect("it is put");
    assert_eq!(unfiled(&world), 103);
    let before = encode_state(&world.state);
    assert_eq!(decode_state(STATE_VERSION, &before).expect("it is read").files().unfiled(ANN), ByteSize(103));
    pass(&mut world, Duration(Bounds::CLAIM.0 + Bounds::CLAIM_ROOT.0 - 1));
    assert_eq!(unfiled(&world), 103, "it is on the disk still");
    pass(&mut world, Duration(1));
    assert_eq!(unfiled(&world), 0);
}

#[test]
fn a_version_that_is_removed_for_good_counts_again() {
    let mut world = World::new();
    let space = world.space(ANN, "archive", 1_000);
    let first = world.put(ANN, space, "a", (blob(1), 100)).expect("it is put");
    let second = world.put(ANN, space, "a", (blob(2), 20)).expect("it is put");
    world.put(ANN, space, "a", (blob(3), 3)).expect("it is put");
    let newest = world.put(ANN, space, "a", (blob(4), 4)).expect("it is put").version;
    assert_eq!(world.files().unfiled(ANN), ByteSize(0));
    for (version, unfiled) in [(second.version, 20), (newest, 24), (first.version, 124)] {
        let remove = FilesCommand::RemoveVersion { space, file: first.file, version: version.expect("one") };
        world.file(ANN, remove).expect("it is removed");
        assert_eq!(world.files().unfiled(ANN), ByteSize(unfiled));
        world.state.sanity_check();
    }
}

#[test]
fn what_another_file_has_too_does_not_count() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    for at in ["a", "b"] {
        world.put(ANN, space, at, (blob(1), 100)).expect("it is put");
    }
    world.file(ANN, remove(space, "a")).expect("it is removed");
    assert_eq!(unfiled(&world), 0, "one of two equal ones is there");
    // As S3 renames.
    world.file(ANN, copy(space, "b", "c")).expect("it is copied");
    world.file(ANN, remove(space, "b")).expect("it is removed");
    assert_eq!(unfiled(&world), 0, "the copy is there");
    world.file(ANN, remove(space, "c")).expect("it is removed");
    assert_eq!(unfiled(&world), 100);
}

#[test]
fn what_is_put_again_where_it_lies_does_not_count() {
    let mut world = World::new();
    for (name, keep) in [("lab", 0), ("archive", 1_000)] {
        let space = world.space(ANN, name, keep);
        world.put(ANN, space, "a", (blob(1), 100)).expect("it is put");
        // What she claimed is forgotten, as it is between two backups.
        pass(&mut world, Duration(Bounds::CLAIM.0 + Bounds::CLAIM_ROOT.0));
        world.put(ANN, space, "a", (blob(1), 100)).expect("it is put again");
        assert_eq!(unfiled(&world), 0, "{name}");
    }
    let space = world.space(ANN, "parts", 0);
    let upload = begin(&mut world, space);
    assert_eq!(part(&mut world, upload, 1, (blob(2), 10)), None);
    pass(&mut world, Duration(Bounds::CLAIM.0 + Bounds::CLAIM_ROOT.0));
    assert_eq!(part(&mut world, upload, 1, (blob(2), 10)), None);
    assert_eq!(unfiled(&world), 0, "a part");
}

#[test]
fn what_was_fetched_counts_when_it_is_removed() {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 0);
    let id = download(&mut world, space, "in", false);
    let files = vec![(path("x"), blob(5), ByteSize(5), Default::default())];
    assert_eq!(report(&mut world, id, DownloadReport::Done { files, saved: ByteSize(0) }), None);
    assert_eq!(unfiled(&world), 0);
    world.file(ANN, remove(space, "in/x")).expect("it is removed");
    assert_eq!(unfiled(&world), 5);
}

#[test]
fn parts_of_uploads_that_a_space_takes_along_count_again() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    for number in 1..=20 {
        let upload = begin(&mut world, space);
        assert_eq!(part(&mut world, upload, 1, (blob(number), 100)), None);
        assert_eq!(part(&mut world, upload, 2, (blob(50), 1)), None);
    }
    assert_eq!(unfiled(&world), 0);
    world.file(ANN, FilesCommand::RemoveSpace { space }).expect("it goes");
    assert_eq!(unfiled(&world), 2_001);
}

#[test]
fn an_upload_of_many_parts_ends_little_by_little() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    let upload = begin(&mut world, space);
    let parts = 6_000;
    for number in 1..=parts {
        assert_eq!(part(&mut world, upload, number, (blob(u64::from(number)), 1)), None);
    }
    world.now = world.now.after(Bounds::UPLOAD_IDLE);
    // Claims that are fresh, so that they can be seen to count.
    for number in 1..=u64::from(parts) {
        let claim = FilesCommand::Claim { account: ANN, blobs: vec![(blob(number), ByteSize(1))] };
        world.state.apply(world.now, &[super::common::ask(State::SYSTEM, Command::Files(claim))]);
    }
    while world.state.is_behind() {
        world.state.apply(world.now, &[]);
    }
    assert!(world.files().upload(upload).is_none());
    let used = world.files().space(space).expect("it is there").used;
    assert_eq!((used, unfiled(&world)), (ByteSize(0), u64::from(parts)));

    let upload = begin(&mut world, space);
    for number in 1..=parts {
        assert_eq!(part(&mut world, upload, number, (blob(u64::from(number)), 1)), None);
    }
    assert_eq!(unfiled(&world), 0);
    let abort = Command::Files(FilesCommand::AbortUpload { upload });
    assert!(world.state.apply(world.now, &[super::common::ask(ANN, abort)]).answers[0].is_ok());
    assert_eq!(
        world.files().space(space).expect("it is there").used,
        ByteSize(0),
        "its room is back at once"
    );
    assert!((1..u64::from(parts)).contains(&unfiled(&world)), "its parts are erased little by little");
    world.must(State::SYSTEM, Command::Tick);
    assert_eq!(unfiled(&world), u64::from(parts));
}

#[test]
fn parts_that_a_file_was_not_made_of_count_again() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    let upload = begin(&mut world, space);
    for (number, size) in [(1, 100), (2, 20), (3, 3)] {
        assert_eq!(part(&mut world, upload, number, (blob(size), size)), None);
    }
    world.claim(ANN, blob(9), 103);
    join(&mut world, &[blob(100), blob(3)]);
    let finish = FilesCommand::FinishUpload { upload, file: file_put("big", blob(9), Condition::Any) };
    world.file(ANN, finish).expect("it is finished");
    assert_eq!(unfiled(&world), 20);
}

#[test]
fn what_is_sent_again_after_something_else_counted_it_counts() {
    let mut world = World::new();
    for wait in [0, 2] {
        world.claim(ANN, blob(1), 100);
        assert_eq!(unfiled(&world), 100, "after {wait} hours");
        join(&mut world, &[blob(1)]);
        assert_eq!(unfiled(&world), 0);
        world.now = world.now.after(Duration::from_secs(3_600 * 2));
    }
    world.claim(ANN, blob(1), 100);
    let space = world.space(ANN, "lab", 0);
    world.put(ANN, space, "a", (blob(1), 100)).expect("it is put");
    world.claim(ANN, blob(1), 100);
    assert_eq!(unfiled(&world), 0, "it lies in a file");
}

#[test]
fn whoever_reads_an_own_file_anew_has_it_counted_when_it_is_removed() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    world.put(ANN, space, "a", (blob(1), 100)).expect("it is put");
    world.put(ANN, space, "b", (blob(2), 10)).expect("it is put");
    pass(&mut world, Duration::from_secs(4 * 24 * 3_600));
    world.file(ANN, FilesCommand::ClaimFiles { space, paths: vec![path("a")] }).expect("she reads it");
    assert_eq!(unfiled(&world), 0);
    for at in ["a", "b"] {
        world.file(ANN, remove(space, at)).expect("it is removed");
    }
    assert_eq!(unfiled(&world), 100, "nobody keeps the other one");
}

#[test]
fn an_output_is_its_jobs_only_if_the_job_keeps_it() {
    let mut world = World::new();
    let krw = Currency::CREDIT;
    world.must(State::SYSTEM, open("cho", &[Role::Researcher]));
    world.must(State::SYSTEM, open("dan", &[Role::Owner]));
    let (cho, dan) = (AccountId(3), AccountId(4));
    let amount = Amount(50_000_000);
    world.must(State::SYSTEM, Command::Issue { to: cho, currency: krw, amount });
    world.must(cho, Command::SubmitJob(std::sync::Arc::new(job("job", 3, Amount(9_000_000)))));
    let Done::Attached { worker, .. } = world.must(dan, Command::AttachWorker(machine(1, 4))) else {
        panic!("it is attached")
    };
    let mut count = |run, ending| {
        world.claim(dan, blob(run), 100);
        let mut report = success(RunId(run), blob(run));
        report.ending = ending;
        world.must(dan, Command::Report { worker, runs: vec![report] });
        world.state.sanity_check();
        world.files().unfiled(dan).0
    };
    assert_eq!(count(1, Ending::Exited { code: 0 }), 0);
    assert_eq!(count(2, Ending::Exited { code: 1 }), 0, "what failed tasks left is kept, too");
    assert_eq!(count(3, Ending::Faulted), 100, "no job keeps it");
    assert_eq!(count(900, Ending::Exited { code: 0 }), 200, "it is not his run");
    assert!(world.state.output_limit(worker, RunId(4)).is_some_and(|limit| limit.0 > 0));
    assert_eq!(world.state.output_limit(worker, RunId(1)), None, "he has it no more");
}
