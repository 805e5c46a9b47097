//! What people do with files.

use pumasi_core::{
    About, Access, Bounds, Command, Condition, Done, DownloadControl, DownloadSource, DownloadSpec, FilePut,
    FilesCommand, FilesDone, Placed,
};
use pumasi_types::{
    AccountId, ByteSize, DownloadId, Duration, FileId, FilePath, Hash, LinkId, NoticeId, SpaceId, Time,
    UploadId,
};

use super::{NAMES, any_blob, any_path};
use crate::dice::Dice;

/// How many of the last things somebody did still come to mind.
const RECENT: usize = 64;

/// Whom one lets into a space.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours<'a> {
    /// All accounts that are known.
    pub(crate) accounts: &'a [AccountId],
    /// Those who have files themselves.
    pub(crate) researchers: &'a [AccountId],
}

/// What somebody has: spaces, perhaps with somebody else, what lies or lay in them, and what comes into them.
#[derive(Default)]
pub(crate) struct Belongings {
    spaces: Vec<SpaceId>,
    /// What they put, and where.
    put: Vec<(SpaceId, FilePath, Placed)>,
    removed: Vec<(SpaceId, FileId)>,
    links: Vec<LinkId>,
    uploads: Vec<(UploadId, FilePath)>,
    downloads: Vec<DownloadId>,
    /// What they do next.
    next: Option<FilesCommand>,
}

impl Belongings {
    /// A command of theirs was done.
    pub(crate) fn told(&mut self, command: &Command, done: &Done) {
        let Command::Files(command) = command else { return };
        match (command, done) {
            (FilesCommand::RemoveSpace { space }, _) => self.spaces.retain(|own| own != space),
            (_, Done::Files(FilesDone::Space(space))) => self.let_in(*space),
            (_, Done::Files(FilesDone::Link(link))) => self.links.push(*link),
            (_, Done::Files(FilesDone::Download(download))) => self.downloads.push(*download),
            (FilesCommand::BeginUpload { path, .. }, Done::Files(FilesDone::Upload(upload))) => {
                self.uploads.push((*upload, path.clone()));
            }
            (FilesCommand::PutFiles { space, files }, Done::Files(FilesDone::Each(each))) => {
                let placed =
                    files.iter().zip(each).filter_map(|(file, placed)| Some((file, placed.as_ref().ok()?)));
                self.put.extend(placed.map(|(file, placed)| (*space, file.path.clone(), *placed)));
            }
            (FilesCommand::Remove { space, .. }, Done::Files(FilesDone::Each(each))) => {
                self.removed.extend(each.iter().flatten().map(|placed| (*space, placed.file)));
            }
            _ => {}
        }
    }

    /// They are told of a space in which they may do something.
    pub(crate) fn let_in(&mut self, space: SpaceId) {
        if !self.spaces.contains(&space) {
            self.spaces.push(space);
        }
    }

    /// Something that they put into a space lately.
    fn some_put(&self, space: SpaceId, dice: &mut Dice) -> Option<(&FilePath, Placed)> {
        let lately: Vec<_> = recent(&self.put).iter().filter(|(of, ..)| *of == space).collect();
        let (_, path, placed) = some(&lately, dice)?;
        Some((path, *placed))
    }
}

/// The last ones.
fn recent<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(RECENT)..]
}

/// One of them, if there are some.
fn some<'a, T>(all: &'a [T], dice: &mut Dice) -> Option<&'a T> {
    (!all.is_empty()).then(|| dice.pick(all))
}

/// What somebody does with files.
pub(crate) fn wish(own: &mut Belongings, near: Neighbours<'_>, clock: Time, dice: &mut Dice) -> Command {
    if let Some(next) = own.next.take() {
        return Command::Files(next);
    }
    if own.spaces.is_empty() || dice.once_in(30) {
        let name = format!("space-{}", dice.below(1_000));
        // Either nothing that is removed there goes by itself in the time of a world, or all goes at once.
        let keep = if dice.once_in(4) { Duration(0) } else { Bounds::HORIZON };
        return Command::Files(FilesCommand::CreateSpace { name, keep });
    }
    let space = *dice.pick(&own.spaces);
    Command::Files(match dice.below(32) {
        0..=9 => {
            let files = (0..dice.spread(1, 40)).map(|_| put(own, space, dice)).collect();
            FilesCommand::PutFiles { space, files }
        }
        10..=16 => arrange(own, space, dice),
        17..=19 => fetch(space, &own.downloads, dice),
        20..=21 => trash(own, space, dice),
        22..=23 => version(own, space, dice),
        24..=26 => upload(own, space, dice),
        27 => link(own, space, clock, dice),
        28 if dice.once_in(3) => change(space, dice),
        28 => member(space, near, dice),
        29 => leave(own, space, dice),
        _ => FilesCommand::ClaimFiles { space, paths: vec![any_path(dice), any_path(dice)] },
    })
}

fn put(own: &Belongings, space: SpaceId, dice: &mut Dice) -> FilePut {
    let (blob, about) = (any_blob(dice), About::default());
    // Of what they know, which may not be so any more.
    if dice.once_in(8)
        && let Some((path, Placed { version: Some(version), .. })) = own.some_put(space, dice)
    {
        return FilePut { path: path.clone(), blob, about, condition: Condition::Version(version) };
    }
    let condition = if dice.once_in(4) { Condition::Absent } else { Condition::Any };
    FilePut { path: any_path(dice), blob, about, condition }
}

/// What somebody does about how files lie.
fn arrange(own: &Belongings, space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let (from, to, replace) = (any_path(dice), any_path(dice), dice.once_in(2));
    match dice.below(8) {
        0..=2 => FilesCommand::Move { space, from, to, replace },
        3 => {
            let to_space = *dice.pick(&own.spaces);
            FilesCommand::Copy { from_space: space, from, to_space, to, replace, about: None }
        }
        4..=5 => {
            let (recursive, forever) = (dice.once_in(2), dice.once_in(4));
            FilesCommand::Remove { space, paths: vec![from, to], recursive, forever }
        }
        6 => FilesCommand::MakeFolder { space, path: to },
        _ => FilesCommand::ReleaseFolder { space, path: to },
    }
}

/// What somebody does about what they removed.
fn trash(own: &Belongings, space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let Some((space, file)) = some(recent(&own.removed), dice).copied() else {
        return FilesCommand::EmptyTrash { space, file: None };
    };
    match dice.below(8) {
        0 => FilesCommand::EmptyTrash { space, file: None },
        1..=2 => FilesCommand::EmptyTrash { space, file: Some(file) },
        _ => FilesCommand::Restore { space, file, to: dice.once_in(2).then(|| any_path(dice)) },
    }
}

/// What somebody does about a content that they put once: perhaps the newest still, or gone.
fn version(own: &Belongings, space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let known = own.some_put(space, dice).map(|(path, placed)| (path.clone(), placed));
    let Some((path, Placed { file, version: Some(version) })) = known else {
        return FilesCommand::ClaimFiles { space, paths: vec![any_path(dice)] };
    };
    if dice.once_in(2) {
        FilesCommand::Revert { space, path, version }
    } else {
        FilesCommand::RemoveVersion { space, file, version }
    }
}

/// What somebody does about files that come in parts.
fn upload(own: &Belongings, space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let latest = &own.uploads[own.uploads.len().saturating_sub(3)..];
    let known = if dice.once_in(5) { None } else { some(latest, dice).cloned() };
    let Some((upload, path)) = known else {
        return FilesCommand::BeginUpload { space, path: any_path(dice), about: About::default() };
    };
    match dice.below(8) {
        0 => FilesCommand::AbortUpload { upload },
        1..=2 => {
            let condition = if dice.once_in(4) { Condition::Absent } else { Condition::Any };
            let file = FilePut { path, blob: any_blob(dice), about: About::default(), condition };
            FilesCommand::FinishUpload { upload, file }
        }
        // There is no part 0.
        _ => {
            let number = dice.below(7) as u16;
            FilesCommand::PutPart { upload, number, blob: any_blob(dice), md5: [0; 16] }
        }
    }
}

/// What somebody does about links.
fn link(own: &Belongings, space: SpaceId, clock: Time, dice: &mut Dice) -> FilesCommand {
    if dice.once_in(4)
        && let Some(link) = some(&own.links, dice)
    {
        return FilesCommand::RemoveLink { link: *link };
    }
    let known = own.some_put(space, dice).map(|(path, _)| path.clone());
    FilesCommand::AddLink {
        space,
        path: known.unwrap_or_else(|| any_path(dice)),
        secret: Hash::of(&dice.roll().to_le_bytes()),
        password: None,
        expires: dice.once_in(4).then(|| clock.after(Duration::from_secs(dice.spread(60, 7_200)))),
        downloads: dice.once_in(2).then(|| dice.spread(1, 8) as u32),
    }
}

/// Lets somebody into a space, or keeps them out.
fn member(space: SpaceId, near: Neighbours<'_>, dice: &mut Dice) -> FilesCommand {
    let people = if dice.once_in(6) { near.accounts } else { near.researchers };
    let account = some(people, dice).copied().unwrap_or_default();
    let access = match dice.below(6) {
        0 => None,
        1 => Some(Access::Read),
        2 => Some(Access::Manage),
        _ => Some(Access::Write),
    };
    FilesCommand::SetMember { space, account, access }
}

/// Changes a space. It never keeps things for less than before: what was removed would go with the next entry. How much it can
/// hold is for operators to say.
fn change(space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let quota = dice.once_in(3).then(|| ByteSize(Bounds::QUOTA.0 * dice.between(1, 3)));
    let keep = (quota.is_none() || dice.once_in(2)).then_some(Bounds::HORIZON);
    FilesCommand::ChangeSpace { space, keep, quota }
}

/// Removes a space in which nothing lies; or first what lies in it.
fn leave(own: &mut Belongings, space: SpaceId, dice: &mut Dice) -> FilesCommand {
    let remove = FilesCommand::RemoveSpace { space };
    if !dice.once_in(3) {
        return remove;
    }
    own.next = Some(remove);
    let paths = (0..NAMES).filter_map(|name| name.to_string().parse::<FilePath>().ok()).collect();
    FilesCommand::Remove { space, paths, recursive: true, forever: dice.once_in(2) }
}

/// What somebody does about what the hub fetches.
fn fetch(space: SpaceId, downloads: &[DownloadId], dice: &mut Dice) -> FilesCommand {
    if dice.once_in(10) {
        return FilesCommand::SeeDownloads { last: NoticeId(dice.spread(1, 1_000)) };
    }
    if downloads.is_empty() || dice.once_in(2) {
        let source = match dice.once_in(3) {
            true => DownloadSource::Torrent(any_blob(dice)),
            false => DownloadSource::Url("https://example.com/".to_owned()),
        };
        return FilesCommand::AddDownload(DownloadSpec {
            space,
            path: any_path(dice),
            named: false,
            source,
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
