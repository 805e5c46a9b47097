//! The lines of scripts about files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pumasi_core::{
    About, Access, Command, Condition, FileKind, FilePut, FileView, FilesCommand, FilesDone, FilesRefusal,
    Placed, State,
};
use pumasi_types::{AccountId, ByteSize, FilePath, Hash, SpaceId};

use super::{Args, Outcome, Pool, duration, next, span};

/// The bytes that a word stands for.
fn blob(word: &str) -> Hash {
    Hash::of(word.as_bytes())
}

fn path(text: &str) -> Outcome<FilePath> {
    Ok(text.trim_start_matches(':').parse()?)
}

impl Pool {
    /// A space by its name, or its number.
    fn space_of(&self, name: &str) -> Outcome<SpaceId> {
        match self.state.files().space_named(name) {
            Some(space) => Ok(space),
            None => name.parse().map_err(|_| format!("no space '{name}'").into()),
        }
    }

    /// `space WHO NAME [keep=TIME]`, `member WHO SPACE WHOM read|write|manage|none`, `quota SPACE SIZE`,
    /// `keep WHO SPACE TIME`, `remove_space WHO SPACE`, `claim WHO WORD SIZE`, `link WHO SPACE PATH SECRET
    /// [for=TIME] [downloads=N]`, `use_link ID`.
    pub(super) fn organise(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let first = next(args, "who")?;
        if name == "use_link" {
            let command = FilesCommand::UseLink { link: first.parse()? };
            return self.ask(State::SYSTEM, args, Command::Files(command));
        }
        if name == "quota" {
            let (space, quota) = (self.space_of(first)?, Some(next(args, "size")?.parse()?));
            let command = FilesCommand::ChangeSpace { space, keep: None, quota };
            return self.ask(State::SYSTEM, args, Command::Files(command));
        }
        let who = self.account(first)?;
        let second = next(args, "what")?;
        let command = match name {
            "space" => {
                let keep = args.take_key("keep").map_or(duration("0s"), duration)?;
                FilesCommand::CreateSpace { name: second.to_owned(), keep }
            }
            "claim" => {
                let blobs = vec![(blob(second), ByteSize(next(args, "size")?.parse()?))];
                let command = FilesCommand::Claim { account: who, blobs };
                return self.ask(State::SYSTEM, args, Command::Files(command));
            }
            "keep" => {
                let keep = Some(duration(next(args, "how long")?)?);
                FilesCommand::ChangeSpace { space: self.space_of(second)?, keep, quota: None }
            }
            "member" => {
                let account = self.account(next(args, "whom")?)?;
                let access = match next(args, "what")? {
                    "read" => Some(Access::Read),
                    "write" => Some(Access::Write),
                    "manage" => Some(Access::Manage),
                    _ => None,
                };
                FilesCommand::SetMember { space: self.space_of(second)?, account, access }
            }
            "link" => FilesCommand::AddLink {
                space: self.space_of(second)?,
                path: path(next(args, "path")?)?,
                secret: blob(next(args, "secret")?),
                password: None,
                expires: args.take_key("for").map(duration).transpose()?.map(|span| self.now.after(span)),
                downloads: args.take_key("downloads").map(str::parse).transpose()?,
            },
            _ => FilesCommand::RemoveSpace { space: self.space_of(second)? },
        };
        self.ask(who, args, Command::Files(command))
    }

    /// `put WHO SPACE PATH WORD [if=absent|VERSION]`, `mkdir WHO SPACE PATH`, `mv WHO SPACE FROM TO [replace=yes]`,
    /// `cp WHO SPACE FROM TO [to=SPACE] [replace=yes]`, `rm WHO SPACE PATH… [all=yes] [forever=yes]`,
    /// `undo WHO SPACE ID [to=PATH]`, `empty WHO SPACE [ID]`, `revert WHO SPACE PATH VERSION`, `read WHO SPACE PATH…`,
    /// `cut WHO SPACE ID VERSION`.
    pub(super) fn file(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let who = self.account(next(args, "who")?)?;
        let space = self.space_of(next(args, "space")?)?;
        let replace = args.take_key("replace").is_some();
        let command = match name {
            "put" => {
                let (path, blob) = (path(next(args, "path")?)?, blob(next(args, "word")?));
                let condition = match args.take_key("if") {
                    None => Condition::Any,
                    Some("absent") => Condition::Absent,
                    Some(version) => Condition::Version(version.parse()?),
                };
                let files = vec![FilePut { path, blob, about: About::default(), condition }];
                FilesCommand::PutFiles { space, files }
            }
            "mkdir" => FilesCommand::MakeFolder { space, path: path(next(args, "path")?)? },
            "mv" => {
                let (from, to) = (path(next(args, "from")?)?, path(next(args, "to")?)?);
                FilesCommand::Move { space, from, to, replace }
            }
            "cp" => {
                let to_space = args.take_key("to").map(|name| self.space_of(name)).transpose()?;
                let (from, to) = (path(next(args, "from")?)?, path(next(args, "to")?)?);
                let to_space = to_space.unwrap_or(space);
                FilesCommand::Copy { from_space: space, from, to_space, to, replace, about: None }
            }
            "rm" | "read" => {
                let (recursive, forever) =
                    (args.take_key("all").is_some(), args.take_key("forever").is_some());
                let mut paths = Vec::new();
                while let Some(text) = args.next_pos() {
                    paths.push(path(text)?);
                }
                match name {
                    "read" => FilesCommand::ClaimFiles { space, paths },
                    _ => FilesCommand::Remove { space, paths, recursive, forever },
                }
            }
            "cut" => {
                let (file, version) = (next(args, "id")?.parse()?, next(args, "version")?.parse()?);
                FilesCommand::RemoveVersion { space, file, version }
            }
            "undo" => {
                let to = args.take_key("to").map(path).transpose()?;
                FilesCommand::Restore { space, file: next(args, "id")?.parse()?, to }
            }
            "empty" => {
                let file = args.next_pos().map(str::parse).transpose()?;
                FilesCommand::EmptyTrash { space, file }
            }
            _ => {
                let (path, version) = (path(next(args, "path")?)?, next(args, "version")?.parse()?);
                FilesCommand::Revert { space, path, version }
            }
        };
        self.ask(who, args, Command::Files(command))
    }

    pub(super) fn tell_files(&self, done: &FilesDone) -> String {
        let refused = |refusal: &FilesRefusal| format!("refused ({}): {refusal}", refusal.code());
        match done {
            FilesDone::Space(space) => format!("space {space}"),
            FilesDone::Each(each) => {
                let tell = |placed: &Result<Placed, FilesRefusal>| match placed {
                    Ok(Placed { file, version: Some(version) }) => format!("file {file}, version {version}"),
                    Ok(Placed { file, version: None }) => format!("folder {file}"),
                    Err(refusal) => refused(refusal),
                };
                each.iter().map(tell).collect::<Vec<_>>().join("\n")
            }
            FilesDone::Claimed(each) => {
                let tell = |claimed: &Result<(Hash, ByteSize), FilesRefusal>| match claimed {
                    Ok((blob, size)) => format!("{} of {size}", blob.short()),
                    Err(refusal) => refused(refusal),
                };
                each.iter().map(tell).collect::<Vec<_>>().join("\n")
            }
            FilesDone::Moved(file) => format!("{file} lies there"),
            FilesDone::Copied { file, count, .. } => format!("{file} with {count} in all"),
            FilesDone::Link(link) => format!("link {link}"),
            FilesDone::Upload(upload) => format!("upload {upload}"),
            FilesDone::Download(download) => format!("download {download}"),
        }
    }

    fn tell_file(&self, view: &FileView) -> String {
        let age = span(self.now.since(view.changed));
        match &view.kind {
            FileKind::Folder(totals) => {
                let (files, folders) = (totals.files, totals.folders);
                format!("{}/ ({}): {files} files, {folders} folders, {}", view.path, view.id, totals.bytes)
            }
            FileKind::File(version) => {
                let by = self.name(version.by);
                let (path, id, number, size) = (&view.path, view.id, version.id, version.size);
                format!("{path} ({id}): version {number} of {size} by {by} since {age}")
            }
        }
    }

    /// `spaces WHO`, `ls SPACE [PREFIX]`, `trash SPACE`, `versions SPACE PATH`, `links SPACE`.
    pub(super) fn look_at_files(&self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let (first, mut text) = (next(args, "which")?, String::new());
        let files = self.state.files();
        if name == "spaces" {
            for (id, space) in files.spaces_of(self.account(first)?) {
                let members: BTreeMap<AccountId, Access> = space.members.clone();
                let members: Vec<_> = members
                    .iter()
                    .map(|(member, access)| format!("{} {access}s", self.name(*member)))
                    .collect();
                let (used, quota, keep) = (space.used, space.quota, span(space.keep));
                writeln!(
                    text,
                    "{id} {}: {used} of {quota}, keeps {keep}; {}",
                    space.name,
                    members.join(", ")
                )?;
            }
            return Ok(text);
        }
        let space = self.space_of(first)?;
        match name {
            "ls" => {
                let prefix = args.next_pos().unwrap_or_default();
                for view in files.walk(space, prefix, None, false, 100).items {
                    writeln!(text, "{}", self.tell_file(&view))?;
                }
            }
            "trash" => {
                for trashed in files.trash(space, None, 100).items {
                    let age = span(self.now.since(trashed.removed));
                    writeln!(
                        text,
                        "{}; by {}, {age} ago",
                        self.tell_file(&trashed.file),
                        self.name(trashed.by)
                    )?;
                }
            }
            "versions" => {
                let file = files.find(space, &path(next(args, "path")?)?).ok_or("no such file")?.id;
                for version in files.versions(file) {
                    let age = span(self.now.since(version.put));
                    writeln!(
                        text,
                        "{} of {} by {}, {age} ago",
                        version.id,
                        version.size,
                        self.name(version.by)
                    )?;
                }
            }
            _ => {
                for (id, link) in files.links(space) {
                    let over = if files.link_of(&link.secret).is_none() { ", over" } else { "" };
                    writeln!(
                        text,
                        "{id} to {}: used {} times, left {:?}{over}",
                        link.file, link.used, link.left
                    )?;
                }
            }
        }
        Ok(text)
    }
}
