//! `pumasi trash`, `undo` and `versions`: what was removed or overwritten.

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::files::{Restore, Revert, Trash, Trashed};
use pumasi_types::{AccountId, ByteSize, FileId, VersionId};
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};
use crate::units::moment;

const TRASH_EXAMPLES: &str = "\
Examples:
  pumasi trash                                     of your home
  pumasi trash lab:results                         what was removed there
  pumasi trash lab: --empty
  pumasi trash lab: --empty --number 17

What lies in the trash goes by itself when the space has kept it long enough.";

/// List or empty the trash of a space
#[derive(Args, Debug)]
#[command(after_help = TRASH_EXAMPLES)]
pub(crate) struct TrashArgs {
    /// The space; only what lay below the path when it was removed
    #[arg(value_name = "SPACE:path", default_value = ":")]
    place: Place,
    /// Remove it for good
    #[arg(long)]
    empty: bool,
    /// Only the one with this number
    #[arg(long, value_name = "NUMBER", requires = "empty")]
    number: Option<FileId>,
    #[command(flatten)]
    hub: HubArgs,
}

impl TrashArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let place = &self.place;
        if self.empty {
            if !place.path.is_root() {
                return Err(CliError::usage(
                    "the trash is emptied of all, or of one thing",
                    "`pumasi trash SPACE: --empty`, with --number for one thing",
                ));
            }
            let emptied = client.empty_trash(place.space(), self.number, None).await;
            emptied.map_err(CliError::hub(format!("empty the trash of {place}")))?;
            out.noted(&json!({}), &format!("emptied the trash of {place}"))?;
            return Ok(Exit::Ok);
        }
        let mut trash = Vec::new();
        let mut pages = Pages { client: &client, place, after: None, over: false };
        while let Some(page) = pages.next().await? {
            trash.extend(page.into_iter().filter(|trashed| trashed.entry.path.is_below(&place.path)));
        }
        let value = Trash { trash, next: None };
        out.show(&value, "nothing lies in the trash", || {
            let mut table = Table::new(&[">NUMBER", ">SIZE", "REMOVED", "PATH"]);
            for Trashed { entry, removed_ms, .. } in &value.trash {
                let file = entry.file.as_ref().map_or(0, |file| file.size);
                let bytes = entry.folder.map_or(file, |totals| totals.bytes);
                let slash = if entry.folder.is_some() { "/" } else { "" };
                table.row([
                    entry.id.to_string(),
                    ByteSize(bytes).to_string(),
                    moment(*removed_ms),
                    format!("{}{slash}", entry.path),
                ]);
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}

/// The trash page by page, the last removed first.
struct Pages<'a> {
    client: &'a HubClient,
    place: &'a Place,
    after: Option<FileId>,
    over: bool,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Trashed>>, CliError> {
        if self.over {
            return Ok(None);
        }
        let page = self.client.trash(self.place.space(), self.after).await;
        let page = page.map_err(CliError::hub(format!("list the trash of {}", self.place.prefix())))?;
        self.over = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.trash))
    }
}

const UNDO_EXAMPLES: &str = "\
Examples:
  pumasi undo lab:old.txt                          what was removed there last
  pumasi undo lab:                                 what was removed last in the space
  pumasi undo lab:old.txt --to lab:new.txt
  pumasi undo lab: --number 17                     as `pumasi trash` lists it

A file that was overwritten is brought back with `pumasi versions --restore`.";

/// Take something back out of the trash
#[derive(Args, Debug)]
#[command(after_help = UNDO_EXAMPLES)]
pub(crate) struct UndoArgs {
    /// Where it was
    #[arg(value_name = "SPACE:path")]
    place: Place,
    /// The one with this number
    #[arg(long, value_name = "NUMBER")]
    number: Option<FileId>,
    /// Where it goes, when that is not where it was
    #[arg(long, value_name = "SPACE:path")]
    to: Option<Place>,
    #[command(flatten)]
    hub: HubArgs,
}

impl UndoArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let place = &self.place;
        if self.to.as_ref().is_some_and(|to| to.space != place.space) {
            return Err(CliError::usage("the trash of one space leads back into it", "then use `pumasi mv`"));
        }
        let trashed = self.find(&client).await?;
        let (id, was) = (trashed.entry.id, trashed.entry.path);
        let to = self.to.as_ref().map(|to| to.path.clone());
        let restored = client.restore_file(place.space(), &Restore { id, to: to.clone() }, None).await;
        let moved =
            restored.map_err(CliError::hub(format!("take {} out of the trash", place.at(was.clone()))))?;
        out.told(&moved, &format!("{} is back", place.at(to.unwrap_or(was))))?;
        Ok(Exit::Ok)
    }

    /// The thing that is meant: the last that was removed at that path, or anywhere when that is the root.
    async fn find(&self, client: &HubClient) -> Result<Trashed, CliError> {
        let place = &self.place;
        let mut pages = Pages { client, place, after: None, over: false };
        let wanted = |trashed: &Trashed| match self.number {
            Some(number) => trashed.entry.id == number,
            None => place.path.is_root() || trashed.entry.path == place.path,
        };
        while let Some(page) = pages.next().await? {
            if let Some(found) = page.into_iter().find(wanted) {
                return Ok(found);
            }
        }
        let what = match self.number {
            Some(number) => format!("number {number} in the trash of {}", place.prefix()),
            None if place.path.is_root() => format!("file or folder in the trash of {place}"),
            None => format!("{place} in the trash"),
        };
        Err(CliError::Missing { what })
    }
}

const VERSIONS_EXAMPLES: &str = "\
Examples:
  pumasi versions lab:report.txt
  pumasi versions lab:report.txt --restore 12
  pumasi cat lab:report.txt --version 12

Versions are kept for as long as the space keeps what was removed, and 100 of them at most.";

/// List the versions of a file, or bring one back
#[derive(Args, Debug)]
#[command(after_help = VERSIONS_EXAMPLES)]
pub(crate) struct VersionsArgs {
    /// The file
    #[arg(value_name = "SPACE:path")]
    place: Place,
    /// Make this version the newest again
    #[arg(long, value_name = "NUMBER")]
    restore: Option<VersionId>,
    #[command(flatten)]
    hub: HubArgs,
}

impl VersionsArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let place = &self.place;
        if let Some(version) = self.restore {
            let what = Revert { path: place.path.clone(), version };
            let entry = client.revert_file(place.space(), &what, None).await;
            let entry = entry.map_err(CliError::hub(format!("restore version {version} of {place}")))?;
            out.told(&entry, &format!("{place} is as version {version} was"))?;
            return Ok(Exit::Ok);
        }
        let versions = client.file_versions(place.space(), &place.path).await;
        let versions = versions.map_err(CliError::hub(format!("list the versions of {place}")))?;
        let space = client.space(place.space()).await;
        let members = space.map_err(CliError::hub(format!("look at {}", place.prefix())))?.members;
        // Who is no member any more has but a number here.
        let name = |account: AccountId| match members.iter().find(|member| member.account == account) {
            Some(member) => member.name.clone(),
            None => account.to_string(),
        };
        out.show(&versions, "", || {
            let mut table = Table::new(&[">VERSION", ">SIZE", "PUT", "BY", "BLOB"]);
            for version in &versions.versions {
                table.row([
                    version.version.to_string(),
                    ByteSize(version.size).to_string(),
                    moment(version.put_ms),
                    name(version.by),
                    version.blob.to_string(),
                ]);
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}
