//! Who may do what; links, uploads and downloads from their beginning to their end.

use pumasi_core::{
    About, Access, Bounds, Command, Condition, DownloadControl, DownloadReport, DownloadSource, DownloadSpec,
    DownloadState, FileKind, FilesCommand, FilesDone, State,
};
use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, Hash, LinkId, SpaceId, Time, UploadId, VersionId,
};

use super::common::open;
use super::model::Refused;
use super::{ANN, World, blob, file_put, path};

pub(super) const BOB: AccountId = AccountId(2);

/// A space of ann's with `a`, of blob 1 with 10 bytes, and `dir/b`.
pub(super) fn world() -> (World, SpaceId) {
    let mut world = World::new();
    let space = world.space(ANN, "ann", 1_000);
    world.put(ANN, space, "a", (blob(1), 10)).expect("it is put");
    world.put(ANN, space, "dir/b", (blob(2), 20)).expect("it is put");
    (world, space)
}

pub(super) fn pass(world: &mut World, span: Duration) {
    world.now = world.now.after(span);
    world.must(State::SYSTEM, Command::Tick);
    world.state.sanity_check();
}

/// Everything that somebody can ask of a space, with the right that it takes.
fn everything(space: SpaceId) -> Vec<(Access, FilesCommand)> {
    let a = || path("a");
    let spec = DownloadSpec {
        space,
        path: path("in"),
        named: false,
        source: DownloadSource::Url("https://example.com/".to_owned()),
        sha256: None,
        limit: ByteSize(1),
        files: Vec::new(),
    };
    let file = FileId(1 << 30);
    let link = FilesCommand::AddLink {
        space,
        path: a(),
        secret: blob(77),
        password: None,
        expires: None,
        downloads: None,
    };
    let copy = FilesCommand::Copy {
        from_space: space,
        from: a(),
        to_space: space,
        to: path("c"),
        replace: false,
        about: None,
    };
    vec![
        (Access::Read, FilesCommand::ClaimFiles { space, paths: vec![a()] }),
        (Access::Write, FilesCommand::PutFiles { space, files: vec![] }),
        (Access::Write, FilesCommand::MakeFolder { space, path: path("new") }),
        (Access::Write, FilesCommand::ReleaseFolder { space, path: path("new") }),
        (Access::Write, FilesCommand::Move { space, from: a(), to: a(), replace: false }),
        (Access::Write, copy),
        (Access::Write, FilesCommand::Remove { space, paths: vec![], recursive: false, forever: false }),
        (Access::Write, FilesCommand::Restore { space, file, to: None }),
        (Access::Write, FilesCommand::EmptyTrash { space, file: Some(file) }),
        (Access::Write, FilesCommand::Revert { space, path: a(), version: VersionId(1 << 30) }),
        (Access::Write, FilesCommand::RemoveVersion { space, file, version: VersionId(1 << 30) }),
        (Access::Write, link),
        (Access::Write, FilesCommand::BeginUpload { space, path: a(), about: About::default() }),
        (Access::Write, FilesCommand::AddDownload(spec)),
        (Access::Manage, FilesCommand::ChangeSpace { space, keep: Some(Duration(5)), quota: None }),
        (Access::Manage, FilesCommand::SetMember { space, account: ANN, access: Some(Access::Manage) }),
        (Access::Manage, FilesCommand::RemoveSpace { space }),
    ]
}

#[test]
fn each_right_is_enough_for_what_it_is_for_and_for_nothing_else() {
    for access in [None, Some(Access::Read), Some(Access::Write), Some(Access::Manage)] {
        let (mut world, space) = world();
        let account = BOB;
        world
            .file(ANN, FilesCommand::SetMember { space, account, access: Some(Access::Read) })
            .expect("made");
        world.file(ANN, FilesCommand::SetMember { space, account, access }).expect("changed");
        assert_eq!(world.files().spaces_of(BOB).count(), usize::from(access.is_some()));
        for (needed, command) in everything(space) {
            let before = world.state.clone();
            let refused = world.file(BOB, command.clone()).err();
            match access {
                None => assert_eq!(refused, Some("no_space"), "{command:?}"),
                Some(access) if access < needed => assert_eq!(refused, Some("no_access"), "{command:?}"),
                _ => assert!(!matches!(refused, Some("no_space" | "no_access")), "{command:?}: {refused:?}"),
            }
            assert!(refused.is_none() || before == world.state, "a refusal changes nothing: {command:?}");
        }
    }
}

#[test]
fn only_the_hub_says_what_it_saw() {
    let (mut world, _) = world();
    let claim = FilesCommand::Claim { account: BOB, blobs: vec![(blob(1), ByteSize(10))] };
    let report = FilesCommand::ReportDownload { download: DownloadId(1), report: DownloadReport::Started };
    for command in [claim, FilesCommand::UseLink { link: LinkId(1) }, report] {
        assert_eq!(world.file(BOB, command), Err("hub_only"));
    }
    assert_eq!(world.files().claimed(BOB, &blob(1)), None);
}

#[test]
fn nobody_gets_from_a_hash_to_bytes() {
    let (mut world, ann) = world();
    let bob = world.space(BOB, "bob", 0);
    let put = |world: &mut World| {
        let files = vec![file_put("mine", blob(1), Condition::Any)];
        let Ok(FilesDone::Each(each)) = world.file(BOB, FilesCommand::PutFiles { space: bob, files }) else {
            panic!("each is answered")
        };
        each[0].as_ref().map(|placed| placed.file).map_err(|refusal| refusal.code())
    };
    assert_eq!(put(&mut world), Err("not_held"), "bob knows the name of ann's bytes, and that is all");
    assert_eq!(
        world.file(BOB, FilesCommand::ClaimFiles { space: ann, paths: vec![path("a")] }),
        Err("no_space")
    );
    let member = FilesCommand::SetMember { space: ann, account: BOB, access: Some(Access::Read) };
    world.file(ANN, member).expect("bob may read");
    assert_eq!(put(&mut world), Err("not_held"), "that he may read them is not enough without reading");
    let paths = vec![path("a"), path("dir"), path("none")];
    let Ok(FilesDone::Claimed(claimed)) = world.file(BOB, FilesCommand::ClaimFiles { space: ann, paths })
    else {
        panic!("each is answered")
    };
    let codes: Vec<_> =
        claimed.iter().map(|claim| claim.as_ref().map_err(|refusal| refusal.code())).collect();
    assert_eq!(codes, [Ok(&(blob(1), ByteSize(10))), Err("is_folder"), Err("no_file")]);
    assert!(put(&mut world).is_ok());
    pass(&mut world, Bounds::CLAIM);
    assert_eq!(world.files().claimed(BOB, &blob(1)), None, "claims end");
    assert_eq!(put(&mut world), Err("not_held"));
}

#[test]
fn a_name_of_an_account_is_that_accounts_only() {
    let mut world = World::new();
    let make = |name: &str| FilesCommand::CreateSpace { name: name.to_owned(), keep: Duration(0) };
    assert_eq!(world.file(BOB, make("ann")), Err("space_taken"));
    let carol = world.space(BOB, "carol", 0);
    world.must(State::SYSTEM, open("carol", &[]));
    let home = |world: &World, account| world.files().home(AccountId(account), "carol");
    assert_eq!((home(&world, 3), home(&world, 2)), (None, Some(carol)), "what bob made is not carol's home");
    let space = world.space(ANN, "ann", 0);
    assert_eq!(world.files().home(ANN, "ann"), Some(space));
    for bad in ["", "-a", "A", "a b", "7", "a/b", &"x".repeat(65)] {
        assert_eq!(world.file(ANN, make(bad)), Err("invalid"), "{bad:?}");
    }
    world.space(ANN, "7a.b-c_d", 0);
}

#[test]
fn somebody_always_manages_a_space() {
    let (mut world, space) = world();
    let set = |account, access| FilesCommand::SetMember { space, account, access };
    for access in [None, Some(Access::Read), Some(Access::Write)] {
        assert_eq!(world.file(ANN, set(ANN, access)), Err("last_manager"));
    }
    world.file(ANN, set(BOB, Some(Access::Manage))).expect("bob manages it too");
    world.file(ANN, set(ANN, None)).expect("ann leaves");
    assert_eq!(world.file(ANN, set(ANN, Some(Access::Manage))), Err("no_space"));
    assert_eq!(world.file(BOB, set(AccountId(9), Some(Access::Read))), Err("no_account"));
    assert_eq!(world.file(BOB, FilesCommand::RemoveSpace { space }), Err("space_not_empty"));
}

#[test]
fn only_operators_say_how_much_a_space_holds() {
    let (mut world, space) = world();
    let change = FilesCommand::ChangeSpace { space, keep: None, quota: Some(ByteSize(35)) };
    assert_eq!(world.file(ANN, change.clone()), Err("wrong_role"));
    world.file(State::SYSTEM, change).expect("an operator does");
    assert_eq!(world.put(ANN, space, "c", (blob(6), 6)), Err("quota_exceeded"));
    world.put(ANN, space, "c", (blob(3), 5)).expect("it fits");
    assert_eq!(world.put(ANN, space, "c", (blob(4), 5)), Err("quota_exceeded"), "versions count");
    world.put(ANN, space, "c", (blob(3), 5)).expect("the same again takes nothing");
    let remove = FilesCommand::Remove { space, paths: vec![path("a")], recursive: false, forever: false };
    world.file(ANN, remove).expect("it is removed");
    assert_eq!(world.put(ANN, space, "c", (blob(4), 5)), Err("quota_exceeded"), "the trash counts");
    world.file(ANN, FilesCommand::EmptyTrash { space, file: None }).expect("it is emptied");
    world.put(ANN, space, "c", (blob(4), 5)).expect("there is room at once");
}

pub(super) fn link(
    world: &mut World,
    at: &str,
    expires: Option<Time>,
    downloads: Option<u32>,
) -> Result<LinkId, Refused> {
    let space = world.files().space_named("ann").expect("it is there");
    let (secret, password) = (Hash::of(at.as_bytes()), None);
    let add = FilesCommand::AddLink { space, path: path(at), secret, password, expires, downloads };
    match world.file(ANN, add)? {
        FilesDone::Link(link) => Ok(link),
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_end_and_follow_what_they_are_to() {
    let (mut world, space) = world();
    let of = |world: &World, at: &str| world.files().link_of(&Hash::of(at.as_bytes())).map(|(id, _)| id);
    let later = world.now.after(Duration::from_secs(100));
    let two = link(&mut world, "a", None, Some(2)).expect("it is made");
    let timed = link(&mut world, "dir/b", Some(later), None).expect("it is made");
    assert_eq!(link(&mut world, "a", None, None), Err("token_taken"), "a secret is of one link");
    assert_eq!(link(&mut world, "none", None, None), Err("no_file"));
    let now = world.now;
    assert_eq!(link(&mut world, "dir", Some(now), None), Err("invalid"));
    for code in [None, None, Some("link_over")] {
        assert_eq!(world.file(State::SYSTEM, FilesCommand::UseLink { link: two }).err(), code);
    }
    assert_eq!((of(&world, "a"), world.files().links(space).len()), (None, 2), "its maker still sees it");
    let (from, to) = (path("dir"), path("moved"));
    world.file(ANN, FilesCommand::Move { space, from, to, replace: false }).expect("it is moved");
    assert_eq!(of(&world, "dir/b"), Some(timed), "it follows");
    let paths = vec![path("moved")];
    let remove = FilesCommand::Remove { space, paths, recursive: true, forever: false };
    world.file(ANN, remove).expect("it is removed");
    assert_eq!(of(&world, "dir/b"), None, "nothing in the trash is shown");
    assert_eq!(world.file(State::SYSTEM, FilesCommand::UseLink { link: timed }), Err("link_over"));
    let file = world.files().trash(space, None, 1).items[0].file.id;
    world.file(ANN, FilesCommand::Restore { space, file, to: None }).expect("it is back");
    assert_eq!(of(&world, "dir/b"), Some(timed));
    pass(&mut world, Duration::from_secs(100));
    assert_eq!((of(&world, "dir/b"), world.files().link(timed)), (None, None), "its time has passed");
    assert_eq!(world.file(BOB, FilesCommand::RemoveLink { link: two }), Err("no_link"));
    world.file(ANN, FilesCommand::RemoveLink { link: two }).expect("it is removed");
}

#[test]
fn a_link_to_what_is_overwritten_by_a_move_shows_the_new() {
    let (mut world, space) = world();
    link(&mut world, "a", None, None).expect("it is made");
    let (from, to) = (path("dir/b"), path("a"));
    world.file(ANN, FilesCommand::Move { space, from, to, replace: true }).expect("it is moved");
    let (_, link) = world.files().link_of(&Hash::of(b"a")).expect("it goes on");
    let (_, view) = world.files().by_id(link.file).expect("it is there");
    assert!(matches!(view.kind, FileKind::File(version) if version.blob == blob(2)));
    assert_eq!(world.files().versions(view.id).len(), 2, "what was there is an older version");
    assert!(world.files().find(space, &path("dir")).is_none());
    world.state.sanity_check();
}

pub(super) fn begin(world: &mut World, space: SpaceId) -> UploadId {
    match world.file(ANN, FilesCommand::BeginUpload { space, path: path("big"), about: About::default() }) {
        Ok(FilesDone::Upload(upload)) => upload,
        other => panic!("{other:?}"),
    }
}

pub(super) fn part(
    world: &mut World,
    upload: UploadId,
    number: u16,
    (blob, size): (Hash, u64),
) -> Option<Refused> {
    world.claim(ANN, blob, size);
    world.file(ANN, FilesCommand::PutPart { upload, number, blob, md5: [7; 16] }).err()
}

#[test]
fn parts_become_a_file() {
    let (mut world, space) = world();
    let used = |world: &World| world.files().space(space).expect("it is there").used.0;
    let upload = begin(&mut world, space);
    assert_eq!(part(&mut world, upload, 0, (blob(3), 5)), Some("invalid"));
    for (number, size) in [(1, 100), (2, 200), (1, 150)] {
        assert_eq!(part(&mut world, upload, number, (blob(size), size)), None);
    }
    assert_eq!(used(&world), 30 + 350, "a part that is sent again is replaced");
    assert_eq!(
        world.file(ANN, FilesCommand::PutPart { upload, number: 3, blob: blob(9), md5: [0; 16] }),
        Err("not_held")
    );
    assert_eq!(world.file(BOB, FilesCommand::AbortUpload { upload }), Err("no_upload"));
    let finish =
        |condition| FilesCommand::FinishUpload { upload, file: file_put("big", blob(350), condition) };
    let done = |world: &mut World, condition| match world.file(ANN, finish(condition)) {
        Ok(FilesDone::Each(each)) => each[0].as_ref().map(|_| ()).map_err(|refusal| refusal.code()),
        other => panic!("{other:?}"),
    };
    assert_eq!(done(&mut world, Condition::Any), Err("not_held"));
    world.claim(ANN, blob(350), 350);
    assert_eq!(done(&mut world, Condition::Version(VersionId(1))), Err("changed"));
    assert_eq!(used(&world), 380, "nothing came of it");
    assert_eq!(done(&mut world, Condition::Absent), Ok(()));
    assert_eq!((used(&world), world.files().upload(upload)), (380, None));
    assert_eq!(part(&mut world, upload, 1, (blob(3), 5)), Some("no_upload"));
    world.state.sanity_check();
}

#[test]
fn an_upload_that_lies_idle_is_given_up() {
    let (mut world, space) = world();
    let upload = begin(&mut world, space);
    part(&mut world, upload, 1, (blob(3), 5));
    pass(&mut world, Duration(Bounds::UPLOAD_IDLE.0 - 1));
    assert_eq!(part(&mut world, upload, 2, (blob(4), 5)), None);
    pass(&mut world, Duration(Bounds::UPLOAD_IDLE.0 - 1));
    assert_eq!(world.files().uploads(space).len(), 1, "it is not idle");
    pass(&mut world, Duration(1));
    assert_eq!(world.files().upload(upload), None);
    assert_eq!(world.files().space(space).map(|space| space.used), Some(ByteSize(30)));
}

pub(super) fn download(world: &mut World, space: SpaceId, at: &str, named: bool) -> DownloadId {
    let spec = DownloadSpec {
        space,
        path: path(at),
        named,
        source: DownloadSource::Url("https://example.com/".to_owned()),
        sha256: None,
        limit: ByteSize(1_000),
        files: Vec::new(),
    };
    match world.file(ANN, FilesCommand::AddDownload(spec)) {
        Ok(FilesDone::Download(download)) => download,
        other => panic!("{other:?}"),
    }
}

pub(super) fn report(world: &mut World, download: DownloadId, report: DownloadReport) -> Option<Refused> {
    world.file(State::SYSTEM, FilesCommand::ReportDownload { download, report }).err()
}

fn fetched(names: &[&str]) -> DownloadReport {
    let file = |name: &&str| (path(name), blob(5), ByteSize(5), About::default());
    DownloadReport::Done { files: names.iter().map(file).collect(), saved: ByteSize(2) }
}

#[test]
fn what_was_fetched_lies_where_it_was_wanted() {
    let (mut world, space) = world();
    let id = download(&mut world, space, "dir", false);
    assert_eq!(world.files().open_downloads().count(), 1);
    assert_eq!(report(&mut world, id, DownloadReport::Started), None);
    assert_eq!(
        report(&mut world, id, fetched(&["b", "sub/b", "b", "c.tar.gz", "c.tar.gz", ".x", ".x"])),
        None
    );
    let walked = world.files().walk(space, "dir/", None, false, 100).items;
    let names: Vec<&str> = walked.iter().map(|view| view.path.as_str()).collect();
    let expected = [
        "dir/.x",
        "dir/.x (2)",
        "dir/b",
        "dir/b (2)",
        "dir/b (3)",
        "dir/c.tar (2).gz",
        "dir/c.tar.gz",
        "dir/sub/b",
    ];
    assert_eq!(names, expected);
    assert_eq!(world.files().claimed(ANN, &blob(5)), Some(ByteSize(5)), "who wanted it may read it");
    assert_eq!(report(&mut world, id, fetched(&["b"])), Some("wrong_state"), "it is done once");
    let named = download(&mut world, space, "one", true);
    assert_eq!(report(&mut world, named, fetched(&["whatever"])), None);
    assert!(world.files().find(space, &path("one")).is_some());
    assert_eq!(world.files().open_downloads().count(), 0);
    pass(&mut world, Bounds::DOWNLOAD_MEMORY);
    assert!(world.files().downloads().is_empty(), "it is forgotten");
}

#[test]
fn what_does_not_fit_is_refused_as_a_whole() {
    let (mut world, space) = world();
    let quota = FilesCommand::ChangeSpace { space, keep: None, quota: Some(ByteSize(39)) };
    world.file(State::SYSTEM, quota).expect("an operator does");
    let id = download(&mut world, space, "in", false);
    let before = world.state.clone();
    assert_eq!(report(&mut world, id, fetched(&["a", "b"])), Some("quota_exceeded"));
    let in_the_way = download(&mut world, space, "a", false);
    assert_eq!(report(&mut world, in_the_way, fetched(&["b"])), Some("not_a_folder"));
    assert_eq!(report(&mut world, id, fetched(&["x", "x/y"])), Some("not_a_folder"));
    assert!(world.files().find(space, &path("in")).is_none());
    assert_eq!(before.files().space(space), world.files().space(space));
}

#[test]
fn a_download_is_tried_again_and_given_up() {
    let (mut world, space) = world();
    let id = download(&mut world, space, "in", false);
    let failed = |again| DownloadReport::Failed { reason: "no answer".to_owned(), again };
    let state = |world: &World| world.files().download(id).map(|download| download.state.clone());
    let mut waits = Vec::new();
    loop {
        assert_eq!(report(&mut world, id, DownloadReport::Started), None);
        assert_eq!(report(&mut world, id, failed(true)), None);
        match state(&world) {
            Some(DownloadState::Waiting(Some(at))) => waits.push(at.since(world.now).0 / 1_000_000_000),
            Some(DownloadState::Failed { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((waits.len() as u32 + 1, &waits[..4]), (Bounds::DOWNLOAD_TRIES, &[30, 60, 120, 240][..]));
    assert_eq!(waits.last(), Some(&3_600));
    let control = |control| FilesCommand::ControlDownload { download: id, control };
    assert_eq!(world.file(BOB, control(DownloadControl::Resume)), Err("no_download"));
    assert_eq!(world.file(ANN, control(DownloadControl::Pause)), Err("wrong_state"));
    world.file(ANN, control(DownloadControl::Resume)).expect("it is wanted again");
    assert_eq!(state(&world), Some(DownloadState::Waiting(None)));
    world.file(ANN, control(DownloadControl::Pause)).expect("it waits");
    assert_eq!(report(&mut world, id, fetched(&["a"])), Some("wrong_state"), "it is paused");
    world.file(ANN, control(DownloadControl::Resume)).expect("it goes on");
    assert_eq!(report(&mut world, id, failed(false)), None);
    assert!(matches!(state(&world), Some(DownloadState::Failed { .. })));
    world.file(ANN, control(DownloadControl::Cancel)).expect("it is forgotten");
    assert_eq!(state(&world), None);
    world.state.sanity_check();
}

#[test]
fn a_space_takes_along_what_is_of_it() {
    let (mut world, space) = world();
    link(&mut world, "a", Some(Time(u64::MAX - 1)), None).expect_err("it is beyond the horizon");
    let later = world.now.after(Duration::from_secs(500));
    let link = link(&mut world, "a", Some(later), None).expect("it is made");
    let upload = begin(&mut world, space);
    part(&mut world, upload, 1, (blob(3), 5));
    let id = download(&mut world, space, "in", false);
    let paths = vec![path("a"), path("dir")];
    let remove = FilesCommand::Remove { space, paths, recursive: true, forever: false };
    world.file(ANN, remove).expect("they are removed");
    world.file(ANN, FilesCommand::RemoveSpace { space }).expect("it goes");
    let files = world.files();
    assert!(files.link(link).is_none() && files.upload(upload).is_none() && files.download(id).is_none());
    assert_eq!((files.space_named("ann"), files.spaces_of(ANN).count()), (None, 0));
    assert_eq!(world.state.next_due(), None, "nothing rings for it");
    world.state.sanity_check();
    let again = world.space(ANN, "ann", 0);
    assert!(again > space, "an id is never given twice");
}

#[test]
fn a_group_is_who_let_somebody_in() {
    let mut world = World::new();
    let space = world.space(ANN, "lab", 0);
    world.claim(ANN, blob(1), 100);
    assert!(world.files().group_claims(ANN, &blob(1)));
    assert!(!world.files().group_claims(BOB, &blob(1)));
    let share = |access| FilesCommand::SetMember { space, account: BOB, access };
    world.file(ANN, share(Some(Access::Manage))).expect("she shares it");
    assert!(world.files().group_claims(BOB, &blob(1)));
    assert!(!world.files().group_claims(BOB, &blob(2)));
    world.claim(BOB, blob(2), 100);
    assert!(
        !world.files().group_claims(ANN, &blob(2)),
        "he was not asked whether he wants to be in her space"
    );
    world.file(ANN, FilesCommand::SetMember { space, account: ANN, access: None }).expect("she leaves");
    assert!(!world.files().group_claims(BOB, &blob(1)), "she shares nothing with him any more");
    world
        .file(BOB, FilesCommand::SetMember { space, account: ANN, access: Some(Access::Read) })
        .expect("back");
    assert!(world.files().group_claims(BOB, &blob(1)));
    pass(&mut world, Bounds::CLAIM);
    assert!(!world.files().group_claims(BOB, &blob(1)), "she does not hold it any more");
}

#[test]
fn nothing_rings_for_a_link_whose_file_went() {
    let (mut world, space) = world();
    let later = world.now.after(Duration::from_secs(3_600 * 24 * 365));
    for at in ["a", "dir/b", "dir"] {
        link(&mut world, at, Some(later), None).expect("it is made");
    }
    assert_eq!(world.state.next_due(), Some(later));
    let paths = vec![path("a"), path("dir/b")];
    let remove = FilesCommand::Remove { space, paths, recursive: true, forever: true };
    world.file(ANN, remove).expect("they are removed, and the folder with what lay in it");
    assert_eq!((world.files().links(space).len(), world.state.next_due()), (0, None));
    world.state.sanity_check();
}
