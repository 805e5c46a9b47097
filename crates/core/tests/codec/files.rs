//! Commands about few files of few spaces, so that they meet, and extreme ones.

use proptest::prelude::*;
use pumasi_core::{
    About, Access, Command, Condition, DownloadControl, DownloadReport, DownloadSource, DownloadSpec,
    FilePut, FilesCommand,
};
use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, FilePath, Hash, LinkId, NoticeId, SpaceId, Time,
    UploadId, VersionId,
};

use super::{number, text};

fn path() -> impl Strategy<Value = FilePath> {
    let names = prop::sample::select(vec!["", "a", "b", "a/a", "a/b", "a/b/c", "b/물"]);
    names.prop_map(|text| text.parse().expect("a path"))
}

fn blob() -> impl Strategy<Value = Hash> {
    (0..3_u8).prop_map(|byte| Hash::from_bytes([byte; 32]))
}

fn size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![4 => 0..100_u64, 1 => number()].prop_map(ByteSize)
}

fn space() -> impl Strategy<Value = SpaceId> {
    prop_oneof![8 => 1..3_u32, 1 => any::<u32>()].prop_map(SpaceId)
}

fn about() -> impl Strategy<Value = About> {
    let labels = proptest::collection::btree_map(text(), text(), 0..2);
    (proptest::option::of(number().prop_map(Time)), any::<bool>(), labels)
        .prop_map(|(modified, executable, labels)| About { modified, executable, labels })
}

fn put() -> impl Strategy<Value = FilePut> {
    let condition = prop_oneof![
        4 => Just(Condition::Any),
        1 => Just(Condition::Absent),
        1 => (0..9_u64).prop_map(|version| Condition::Version(VersionId(version))),
    ];
    (path(), blob(), about(), condition).prop_map(|(path, blob, about, condition)| FilePut {
        path,
        blob,
        about,
        condition,
    })
}

fn spaces() -> impl Strategy<Value = FilesCommand> {
    let keep = || prop_oneof![Just(0), Just(1_000_000_000_000), number()].prop_map(Duration);
    let name = prop_oneof![4 => "[ab]", 1 => text(), 1 => Just("ann".to_owned())];
    let access =
        prop::sample::select(vec![None, Some(Access::Read), Some(Access::Write), Some(Access::Manage)]);
    prop_oneof![
        4 => (name, keep()).prop_map(|(name, keep)| FilesCommand::CreateSpace { name, keep }),
        1 => (space(), proptest::option::of(keep()), proptest::option::of(size()))
            .prop_map(|(space, keep, quota)| FilesCommand::ChangeSpace { space, keep, quota }),
        1 => space().prop_map(|space| FilesCommand::RemoveSpace { space }),
        2 => (space(), (0..4_u64).prop_map(AccountId), access)
            .prop_map(|(space, account, access)| FilesCommand::SetMember { space, account, access }),
        6 => ((0..4_u64).prop_map(AccountId), proptest::collection::vec((blob(), size()), 0..4))
            .prop_map(|(account, blobs)| FilesCommand::Claim { account, blobs }),
        1 => ((0..4_u64).prop_map(AccountId), proptest::collection::vec(blob(), 0..3))
            .prop_map(|(account, parts)| FilesCommand::Joined { account, parts }),
        2 => (space(), proptest::collection::vec(path(), 0..3))
            .prop_map(|(space, paths)| FilesCommand::ClaimFiles { space, paths }),
    ]
}

fn writing() -> impl Strategy<Value = FilesCommand> {
    let file = || prop_oneof![8 => 0..12_u64, 1 => number()].prop_map(FileId);
    let paths = || proptest::collection::vec(path(), 0..3);
    prop_oneof![
        8 => (space(), proptest::collection::vec(put(), 0..4))
            .prop_map(|(space, files)| FilesCommand::PutFiles { space, files }),
        2 => (space(), path()).prop_map(|(space, path)| FilesCommand::MakeFolder { space, path }),
        1 => (space(), path()).prop_map(|(space, path)| FilesCommand::ReleaseFolder { space, path }),
        3 => (space(), path(), path(), any::<bool>())
            .prop_map(|(space, from, to, replace)| FilesCommand::Move { space, from, to, replace }),
        2 => (space(), path(), space(), path(), any::<bool>(), proptest::option::of(about())).prop_map(
            |(from_space, from, to_space, to, replace, about)| FilesCommand::Copy {
                from_space, from, to_space, to, replace, about,
            }
        ),
        3 => (space(), paths(), any::<bool>(), any::<bool>()).prop_map(
            |(space, paths, recursive, forever)| FilesCommand::Remove { space, paths, recursive, forever }
        ),
        2 => (space(), file(), proptest::option::of(path()))
            .prop_map(|(space, file, to)| FilesCommand::Restore { space, file, to }),
        1 => (space(), proptest::option::of(file()))
            .prop_map(|(space, file)| FilesCommand::EmptyTrash { space, file }),
        2 => (space(), path(), 0..9_u64).prop_map(|(space, path, version)| FilesCommand::Revert {
            space, path, version: VersionId(version),
        }),
        2 => (space(), file(), 0..9_u64).prop_map(|(space, file, version)| FilesCommand::RemoveVersion {
            space, file, version: VersionId(version),
        }),
    ]
}

fn other() -> impl Strategy<Value = FilesCommand> {
    let link = || (0..4_u64).prop_map(LinkId);
    let upload = || (0..4_u64).prop_map(UploadId);
    let download = || (0..4_u64).prop_map(DownloadId);
    let time = proptest::option::of(number().prop_map(Time));
    let downloads = proptest::option::of(0..3_u32);
    let source = prop_oneof![text().prop_map(DownloadSource::Url), blob().prop_map(DownloadSource::Torrent)];
    let spec =
        (space(), path(), any::<bool>(), source, size()).prop_map(|(space, path, named, source, limit)| {
            DownloadSpec { space, path, named, source, sha256: None, limit, files: Vec::new() }
        });
    let control =
        prop::sample::select(vec![DownloadControl::Pause, DownloadControl::Resume, DownloadControl::Cancel]);
    let fetched = || proptest::collection::vec((path(), blob(), size(), about()), 0..3);
    let report = prop_oneof![
        2 => Just(DownloadReport::Started),
        4 => (fetched(), size()).prop_map(|(files, saved)| DownloadReport::Done { files, saved }),
        4 => (0..3_u32, fetched(), size())
            .prop_map(|(from, files, saved)| DownloadReport::Part { from, files, saved }),
        1 => (text(), any::<bool>()).prop_map(|(reason, again)| DownloadReport::Failed { reason, again }),
    ];
    prop_oneof![
        2 => (space(), path(), blob(), proptest::option::of(text()), time, downloads).prop_map(
            |(space, path, secret, password, expires, downloads)| FilesCommand::AddLink {
                space, path, secret, password, expires, downloads,
            }
        ),
        1 => link().prop_map(|link| FilesCommand::RemoveLink { link }),
        1 => link().prop_map(|link| FilesCommand::UseLink { link }),
        2 => (space(), path(), about())
            .prop_map(|(space, path, about)| FilesCommand::BeginUpload { space, path, about }),
        3 => (upload(), prop_oneof![4 => 0..3_u16, 1 => any::<u16>()], blob()).prop_map(
            |(upload, number, blob)| FilesCommand::PutPart { upload, number, blob, md5: [0; 16] }
        ),
        2 => (upload(), put()).prop_map(|(upload, file)| FilesCommand::FinishUpload { upload, file }),
        1 => upload().prop_map(|upload| FilesCommand::AbortUpload { upload }),
        3 => spec.prop_map(FilesCommand::AddDownload),
        2 => (download(), control)
            .prop_map(|(download, control)| FilesCommand::ControlDownload { download, control }),
        3 => (download(), report)
            .prop_map(|(download, report)| FilesCommand::ReportDownload { download, report }),
        1 => number().prop_map(|last| FilesCommand::SeeDownloads { last: NoticeId(last) }),
    ]
}

pub(crate) fn filing() -> impl Strategy<Value = Command> {
    prop_oneof![2 => spaces(), 3 => writing(), 2 => other()].prop_map(Command::Files)
}
