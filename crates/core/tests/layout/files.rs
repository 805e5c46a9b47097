//! Requests about files, of every kind.

use std::collections::BTreeMap;

use pumasi_core::{
    About, Access, Command, Condition, DownloadControl, DownloadReport, DownloadSource, DownloadSpec,
    FetchedFile, FilePut, FilesCommand, Request, State,
};
use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, FilePath, Hash, LinkId, NoticeId, SpaceId, Time,
    UploadId, VersionId,
};

use super::common::{BEGIN, ask};
use super::hash;

const ALICE: AccountId = AccountId(1);
const SPACE: SpaceId = SpaceId(1);

fn path(text: &str) -> FilePath {
    text.parse().expect("a path")
}

fn about() -> About {
    let labels = BTreeMap::from([("etag".to_owned(), "7".to_owned())]);
    About { modified: Some(Time(9)), executable: true, labels }
}

fn put(at: &str, condition: Condition) -> FilePut {
    FilePut { path: path(at), blob: hash(1), about: About::default(), condition }
}

fn download(source: DownloadSource) -> FilesCommand {
    FilesCommand::AddDownload(DownloadSpec {
        space: SPACE,
        path: path("in"),
        named: true,
        source,
        sha256: Some(hash(4)),
        limit: ByteSize(300),
        files: vec![0, 200],
    })
}

fn fetched() -> Vec<FetchedFile> {
    vec![(path("x"), hash(1), ByteSize(300), about())]
}

/// In the order of their kinds; those of one kind one behind the other.
fn commands() -> Vec<(&'static str, FilesCommand)> {
    let (space, download_id, upload) = (SPACE, DownloadId(1), UploadId(1));
    let report = |report| FilesCommand::ReportDownload { download: download_id, report };
    let link = |password: Option<String>, expires, downloads| FilesCommand::AddLink {
        space,
        path: path("dir/a"),
        secret: hash(5),
        password,
        expires,
        downloads,
    };
    let file = put("big", Condition::Version(VersionId(300)));
    let copy = |about| FilesCommand::Copy {
        from_space: space,
        from: path("dir"),
        to_space: SpaceId(2),
        to: path("copy"),
        replace: true,
        about,
    };
    vec![
        ("create space", FilesCommand::CreateSpace { name: "home".to_owned(), keep: Duration(300) }),
        (
            "change space",
            FilesCommand::ChangeSpace { space, keep: Some(Duration(400)), quota: Some(ByteSize(5)) },
        ),
        ("remove space", FilesCommand::RemoveSpace { space: SpaceId(2) }),
        ("set member", FilesCommand::SetMember { space, account: AccountId(2), access: Some(Access::Write) }),
        ("unset member", FilesCommand::SetMember { space, account: AccountId(2), access: None }),
        ("claim", FilesCommand::Claim { account: ALICE, blobs: vec![(hash(1), ByteSize(300))] }),
        ("claim files", FilesCommand::ClaimFiles { space, paths: vec![path("dir/a"), FilePath::root()] }),
        (
            "put files",
            FilesCommand::PutFiles {
                space,
                files: vec![
                    put("dir/a", Condition::Any),
                    FilePut { about: about(), ..put("b", Condition::Absent) },
                ],
            },
        ),
        ("make folder", FilesCommand::MakeFolder { space, path: path("empty") }),
        ("move", FilesCommand::Move { space, from: path("a"), to: path("b"), replace: true }),
        ("copy", copy(None)),
        ("copy anew", copy(Some(about()))),
        ("remove", FilesCommand::Remove { space, paths: vec![path("no")], recursive: true, forever: false }),
        ("restore", FilesCommand::Restore { space, file: FileId(300), to: None }),
        ("restore elsewhere", FilesCommand::Restore { space, file: FileId(300), to: Some(path("c")) }),
        ("empty trash", FilesCommand::EmptyTrash { space, file: None }),
        ("revert", FilesCommand::Revert { space, path: path("b"), version: VersionId(300) }),
        ("add link", link(None, None, None)),
        ("add full link", link(Some("slow".to_owned()), Some(Time(BEGIN.0 + 1)), Some(200))),
        ("remove link", FilesCommand::RemoveLink { link: LinkId(300) }),
        ("use link", FilesCommand::UseLink { link: LinkId(1) }),
        ("begin upload", FilesCommand::BeginUpload { space, path: path("big"), about: about() }),
        ("put part", FilesCommand::PutPart { upload, number: 300, blob: hash(1), md5: [6; 16] }),
        ("finish upload", FilesCommand::FinishUpload { upload, file }),
        ("abort upload", FilesCommand::AbortUpload { upload: UploadId(300) }),
        ("add download", download(DownloadSource::Url("https://example.com/".to_owned()))),
        ("add torrent", download(DownloadSource::Torrent(hash(1)))),
        (
            "control download",
            FilesCommand::ControlDownload { download: download_id, control: DownloadControl::Pause },
        ),
        ("report start", report(DownloadReport::Started)),
        ("report failure", report(DownloadReport::Failed { reason: "no".to_owned(), again: true })),
        ("report done", report(DownloadReport::Done { files: fetched(), saved: ByteSize(1) })),
        ("report part", report(DownloadReport::Part { from: 1_000, files: fetched(), saved: ByteSize(1) })),
        ("release folder", FilesCommand::ReleaseFolder { space, path: path("none") }),
        ("see downloads", FilesCommand::SeeDownloads { last: NoticeId(300) }),
        ("joined", FilesCommand::Joined { account: ALICE, parts: vec![hash(1)] }),
        ("remove version", FilesCommand::RemoveVersion { space, file: FileId(300), version: VersionId(300) }),
    ]
}

/// Refuses to compile when a command is added and forgotten here.
fn number(command: &FilesCommand) -> usize {
    match command {
        FilesCommand::CreateSpace { .. } => 0,
        FilesCommand::ChangeSpace { .. } => 1,
        FilesCommand::RemoveSpace { .. } => 2,
        FilesCommand::SetMember { .. } => 3,
        FilesCommand::Claim { .. } => 4,
        FilesCommand::ClaimFiles { .. } => 5,
        FilesCommand::PutFiles { .. } => 6,
        FilesCommand::MakeFolder { .. } => 7,
        FilesCommand::Move { .. } => 8,
        FilesCommand::Copy { .. } => 9,
        FilesCommand::Remove { .. } => 10,
        FilesCommand::Restore { .. } => 11,
        FilesCommand::EmptyTrash { .. } => 12,
        FilesCommand::Revert { .. } => 13,
        FilesCommand::AddLink { .. } => 14,
        FilesCommand::RemoveLink { .. } => 15,
        FilesCommand::UseLink { .. } => 16,
        FilesCommand::BeginUpload { .. } => 17,
        FilesCommand::PutPart { .. } => 18,
        FilesCommand::FinishUpload { .. } => 19,
        FilesCommand::AbortUpload { .. } => 20,
        FilesCommand::AddDownload(_) => 21,
        FilesCommand::ControlDownload { .. } => 22,
        FilesCommand::ReportDownload { .. } => 23,
        FilesCommand::ReleaseFolder { .. } => 24,
        FilesCommand::SeeDownloads { .. } => 25,
        FilesCommand::Joined { .. } => 26,
        FilesCommand::RemoveVersion { .. } => 27,
    }
}

fn request(command: FilesCommand) -> Request {
    let hubs = matches!(
        command,
        FilesCommand::Claim { .. }
            | FilesCommand::UseLink { .. }
            | FilesCommand::ReportDownload { .. }
            | FilesCommand::Joined { .. }
            | FilesCommand::ChangeSpace { .. }
    );
    ask(if hubs { State::SYSTEM } else { ALICE }, Command::Files(command))
}

/// One of every kind; most are refused.
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let commands = commands();
    let mut numbers: Vec<usize> = commands.iter().map(|(_, command)| number(command)).collect();
    numbers.dedup();
    assert!(numbers.into_iter().eq(0..=27), "a request of every kind");
    commands.into_iter().map(|(name, command)| (name, request(command))).collect()
}

/// What is done: files, older versions, the trash, links, parts, downloads, claims.
pub(crate) fn lying() -> Vec<Request> {
    let space = SpaceId(2);
    let blobs = (1..6).map(|byte| (hash(byte), ByteSize(u64::from(byte) * 100))).collect();
    let file = |at: &str, byte: u8| FilePut { blob: hash(byte), ..put(at, Condition::Any) };
    let files = |files| FilesCommand::PutFiles { space, files };
    let link = |at: &str, secret: Hash, expires| FilesCommand::AddLink {
        space,
        path: path(at),
        secret,
        password: None,
        expires,
        downloads: Some(3),
    };
    let report = |number, report| FilesCommand::ReportDownload { download: DownloadId(number), report };
    let later = Some(Time(BEGIN.0 + 60_000_000_000));
    let commands = vec![
        FilesCommand::CreateSpace { name: "lab".to_owned(), keep: Duration(1 << 50) },
        FilesCommand::Claim { account: ALICE, blobs },
        files(vec![file("a", 1), file("dir/b", 2), FilePut { about: about(), ..file("dir/sub/c", 3) }]),
        files(vec![file("a", 4), file("gone/d", 5)]),
        FilesCommand::MakeFolder { space, path: path("stays") },
        FilesCommand::SetMember { space, account: AccountId(2), access: Some(Access::Read) },
        FilesCommand::Remove { space, paths: vec![path("gone")], recursive: true, forever: false },
        link("dir", hash(50), later),
        FilesCommand::BeginUpload { space, path: path("big"), about: about() },
        FilesCommand::PutPart { upload: UploadId(2), number: 1, blob: hash(1), md5: [7; 16] },
        download(DownloadSource::Torrent(hash(1))),
        report(3, DownloadReport::Part { from: 0, files: fetched(), saved: ByteSize(1) }),
        download(DownloadSource::Url("https://example.com/gone".to_owned())),
        report(4, DownloadReport::Failed { reason: "it is gone".to_owned(), again: false }),
        FilesCommand::SeeDownloads { last: NoticeId(1) },
    ];
    commands.into_iter().map(request).collect()
}
