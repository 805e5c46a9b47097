//! Downloads of many files, which come in parts, and what their owners are told when they are over.

use pumasi_core::{
    About, Bounds, Brought, DownloadControl, DownloadReport, DownloadState, FetchedFile, FilesCommand,
};
use pumasi_types::{ByteSize, DownloadId, Duration, NoticeId, SpaceId};

use super::others::{BOB, download, pass, report, world};
use super::{ANN, World, blob, path};

/// Files of 5 bytes, with these names.
fn fetched<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<FetchedFile> {
    let file = |name| (path(name), blob(5), ByteSize(5), About::default());
    names.into_iter().map(file).collect()
}

fn part(from: u32, names: &[&str]) -> DownloadReport {
    DownloadReport::Part { from, files: fetched(names.iter().copied()), saved: ByteSize(1) }
}

fn done(names: &[&str]) -> DownloadReport {
    DownloadReport::Done { files: fetched(names.iter().copied()), saved: ByteSize(1) }
}

fn names(world: &World, space: SpaceId, folder: &str) -> Vec<String> {
    let walked = world.files().walk(space, folder, None, false, 10_000).items;
    walked.iter().map(|view| view.path.to_string()).collect()
}

fn brought(world: &World, id: DownloadId) -> (u32, u64, u64) {
    let Brought { files, bytes, saved } = world.files().download(id).expect("it is known").brought;
    (files, bytes.0, saved.0)
}

#[test]
fn many_files_come_in_parts_and_each_of_them_once() {
    let (mut world, space) = world();
    let id = download(&mut world, space, "in", false);
    assert_eq!(report(&mut world, id, DownloadReport::Started), None);
    assert_eq!(report(&mut world, id, part(0, &["x", "d/y"])), None);
    // The hub that was killed and does not know whether it had said so.
    assert_eq!(report(&mut world, id, part(0, &["x", "d/y"])), Some("wrong_state"));
    assert_eq!(report(&mut world, id, part(3, &["z"])), Some("wrong_state"));
    assert_eq!(
        (names(&world, space, "in/"), brought(&world, id)),
        (vec!["in/d/y".into(), "in/x".into()], (2, 10, 1))
    );
    let state = &world.files().download(id).expect("it is known").state;
    assert_eq!(state, &DownloadState::Running, "not before all are there");
    // Names are unique over all parts, and a file is no folder.
    assert_eq!(report(&mut world, id, part(2, &["x", "d"])), None);
    assert_eq!(report(&mut world, id, part(4, &["x/y"])), Some("not_a_folder"));
    assert_eq!(report(&mut world, id, done(&["x"])), None);
    assert_eq!(names(&world, space, "in/"), ["in/d (2)", "in/d/y", "in/x", "in/x (2)", "in/x (3)"]);
    assert_eq!(brought(&world, id), (5, 25, 3));
    assert!(matches!(world.files().download(id).expect("it is known").state, DownloadState::Done { .. }));
    assert_eq!(report(&mut world, id, part(5, &["late"])), Some("wrong_state"));
    world.state.sanity_check();
}

#[test]
fn a_part_has_so_many_files() {
    let (mut world, space) = world();
    let id = download(&mut world, space, "in", false);
    let all: Vec<String> = (0..=Bounds::FILES).map(|number| number.to_string()).collect();
    let files = |count: usize| fetched(all[..count].iter().map(String::as_str));
    let of = |count| DownloadReport::Part { from: 0, files: files(count), saved: ByteSize(0) };
    assert_eq!(report(&mut world, id, of(Bounds::FILES + 1)), Some("too_many"));
    assert_eq!(report(&mut world, id, of(Bounds::FILES)), None);
    assert_eq!(brought(&world, id).0 as usize, Bounds::FILES);
}

#[test]
fn a_download_goes_on_once_there_is_room_again() {
    let (mut world, space) = world();
    let quota = |bytes| FilesCommand::ChangeSpace { space, keep: None, quota: Some(ByteSize(bytes)) };
    world.file(pumasi_core::State::SYSTEM, quota(42)).expect("an operator does");
    let id = download(&mut world, space, "in", false);
    assert_eq!(report(&mut world, id, part(0, &["a", "b"])), None);
    assert_eq!(report(&mut world, id, part(2, &["c", "d"])), Some("quota_exceeded"));
    let reason = "2 files lie there".to_owned();
    assert_eq!(report(&mut world, id, DownloadReport::Failed { reason: reason.clone(), again: true }), None);
    let known = world.files().download(id).expect("it is known");
    assert!(matches!(known.state, DownloadState::Waiting(Some(_))), "{known:?}");
    assert_eq!((known.trouble.as_ref(), known.tries, known.brought.files), (Some(&reason), 1, 2));
    world.file(pumasi_core::State::SYSTEM, quota(60)).expect("an operator does");
    let resume = FilesCommand::ControlDownload { download: id, control: DownloadControl::Resume };
    world.file(ANN, resume).expect("it goes on");
    assert_eq!(world.files().download(id).expect("it is known").trouble, None);
    assert_eq!(report(&mut world, id, done(&["c", "d"])), None);
    assert_eq!(names(&world, space, "in/"), ["in/a", "in/b", "in/c", "in/d"]);
}

/// Numbers of the notices behind one, and of the downloads that they are about.
fn notices(world: &World, after: u64) -> Vec<(u64, u64)> {
    let over = world.files().downloads_over(ANN, NoticeId(after));
    over.map(|(notice, id, _)| (notice.0, id.0)).collect()
}

#[test]
fn owners_are_told_in_order_what_is_over() {
    let (mut world, space) = world();
    let ids: Vec<DownloadId> = (0..3).map(|_| download(&mut world, space, "in", false)).collect();
    let failed = |again| DownloadReport::Failed { reason: "no answer".to_owned(), again };
    assert_eq!(report(&mut world, ids[1], failed(true)), None);
    assert_eq!(notices(&world, 0), [], "it is tried again");
    assert_eq!(report(&mut world, ids[2], done(&["x"])), None);
    assert_eq!(report(&mut world, ids[0], failed(false)), None);
    assert_eq!(notices(&world, 0), [(1, 3), (2, 1)]);
    assert_eq!(notices(&world, 1), [(2, 1)]);
    assert_eq!(world.files().downloads_over(BOB, NoticeId(0)).count(), 0);

    // Nobody has seen what was not told yet, and what was seen stays seen.
    for (last, seen) in [(1, 1), (0, 1), (77, 2)] {
        world.file(ANN, FilesCommand::SeeDownloads { last: NoticeId(last) }).expect("it is noted");
        assert_eq!(world.files().downloads_seen(ANN), NoticeId(seen));
    }
    assert_eq!(world.files().downloads_seen(BOB), NoticeId(0));

    // What is wanted again is not over, and is told again when it is.
    let resume = FilesCommand::ControlDownload { download: ids[0], control: DownloadControl::Resume };
    world.file(ANN, resume).expect("it goes on");
    assert_eq!(notices(&world, 0), [(1, 3)]);
    assert_eq!(report(&mut world, ids[0], done(&["x"])), None);
    assert_eq!(notices(&world, 0), [(1, 3), (3, 1)]);
    world.state.sanity_check();
    pass(&mut world, Duration(Bounds::DOWNLOAD_MEMORY.0));
    assert_eq!(notices(&world, 0), [], "it is forgotten");
}

#[test]
fn so_many_that_are_over_are_remembered() {
    let (mut world, space) = world();
    for _ in 0..Bounds::DOWNLOADS_OVER + 5 {
        let id = download(&mut world, space, "in", false);
        let failed = DownloadReport::Failed { reason: String::new(), again: false };
        assert_eq!(report(&mut world, id, failed), None);
    }
    let over = notices(&world, 0);
    assert_eq!((over.len(), over[0]), (Bounds::DOWNLOADS_OVER, (6, 6)));
    world.state.sanity_check();
}
