//! `pumasi ls`, `du`, `mkdir`, `mv`, `cp` and `rm`: what lies in a space.

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::files::{Access, CopyFile, Entry, FileResults, MoveFile, RemoveFiles, Version};
use pumasi_types::{ByteSize, FilePath};
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::drive::remote::{self, relative};
use crate::drive::{LINK, SEALED};
use crate::error::CliError;
use crate::exit::Exit;
use crate::keys::{Keys, sealed_with};
use crate::output::{Output, Style, Table};
use crate::units::moment;

/// Paths that are removed by one request.
const REMOVED_AT_ONCE: usize = 1_000;

const LS_EXAMPLES: &str = "\
Examples:
  pumasi ls                                        your home
  pumasi ls lab:results
  pumasi ls lab: --recursive
  pumasi ls lab: --long                            with versions, and what each file takes there
  pumasi ls lab: --json | jq -r '.entries[].path'

`pumasi space ls` lists your spaces. Encrypted files show the size that they have when they are decrypted, where \
their key is; with --json `encrypted` tells which key that is.";

/// List a folder of a space
#[derive(Args, Debug)]
#[command(after_help = LS_EXAMPLES)]
pub(crate) struct LsArgs {
    /// The folder, or a file
    #[arg(value_name = "SPACE:path", default_value = ":")]
    place: Place,
    /// All files below it, with their paths
    #[arg(short, long)]
    recursive: bool,
    /// Also the number of each version, and what it takes in the store
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl LsArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let place = &self.place;
        let entries = if self.recursive {
            remote::below(&client, place).await?
        } else {
            remote::list(&client, place).await?
        };
        let keys = Keys::load(out)?;
        let value = told(&entries, &keys);
        out.show(&value, "nothing lies there", || {
            let mut table = Table::new(&[">SIZE", ">STORED", ">VERSION", "CHANGED", "NAME"]);
            if !self.long {
                table.without("STORED");
                table.without("VERSION");
            }
            for entry in &entries {
                let name = if self.recursive {
                    relative(&place.path, &entry.path).to_string()
                } else {
                    entry.path.name().unwrap_or_default().to_owned()
                };
                let mut cells = vec![size(entry, &keys)];
                if self.long {
                    let of_file =
                        |what: fn(&Version) -> String| entry.file.as_ref().map(what).unwrap_or_default();
                    cells.push(of_file(|file| ByteSize(file.size).to_string()));
                    cells.push(of_file(|file| file.version.to_string()));
                }
                cells.extend([moment(changed_ms(entry)), decorated(&name, entry, &keys)]);
                table.push(cells.into_iter().map(|cell| (cell, Style::Plain)).collect());
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}

/// As the hub told it, and for encrypted files what they are when they are decrypted.
fn told(entries: &[Entry], keys: &Keys) -> serde_json::Value {
    let told = |entry: &Entry| {
        let mut value = json!(entry);
        if let Some(file) = &entry.file
            && file.about.labels.contains_key(SEALED)
        {
            let key = sealed_with(file).ok().flatten();
            let size = keys.seal(file).ok().flatten().map(|seal| seal.length());
            value["encrypted"] = json!({ "key": key, "size": size });
        }
        value
    };
    json!({ "entries": entries.iter().map(told).collect::<Vec<_>>() })
}

fn size(entry: &Entry, keys: &Keys) -> String {
    let bytes = match (&entry.file, &entry.folder) {
        (Some(file), _) => keys.seal(file).ok().flatten().map_or(file.size, |seal| seal.length()),
        (None, folder) => folder.map_or(0, |totals| totals.bytes),
    };
    ByteSize(bytes).to_string()
}

/// When a file was changed by its writer's clock; else when it came.
fn changed_ms(entry: &Entry) -> u64 {
    let modified = entry.file.as_ref().and_then(|file| file.about.modified_ns);
    modified.map_or(entry.changed_ms, |ns| ns / 1_000_000)
}

fn decorated(name: &str, entry: &Entry, keys: &Keys) -> String {
    let Some(file) = &entry.file else { return format!("{name}/") };
    if let Some(target) = file.about.labels.get(LINK) {
        return format!("{name} -> {target}");
    }
    let star = if file.about.executable { "*" } else { "" };
    let sealed = match sealed_with(file).map(|id| id.map(|id| (id, keys.find(id)))) {
        Ok(None) => String::new(),
        Ok(Some((_, Some(named)))) => format!("  (encrypted with {})", named.name),
        Ok(Some((id, None))) => format!("  (encrypted with key {id}, which is not here)"),
        Err(why) => format!("  ({why})"),
    };
    format!("{name}{star}{sealed}")
}

const DU_EXAMPLES: &str = "\
Examples:
  pumasi du                                        your home, folder by folder
  pumasi du lab:results
  pumasi du lab: --json | jq .total.bytes

The sums are of the newest versions; `pumasi space show` tells what older versions and the trash take as well.";

/// Sum up what lies in a folder of a space
#[derive(Args, Debug)]
#[command(after_help = DU_EXAMPLES)]
pub(crate) struct DuArgs {
    /// The folder
    #[arg(value_name = "SPACE:path", default_value = ":")]
    place: Place,
    #[command(flatten)]
    hub: HubArgs,
}

impl DuArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let whole = remote::must_find(&client, &self.place).await?;
        let mut entries = Vec::new();
        if whole.folder.is_some() {
            entries = remote::list(&client, &self.place).await?;
            entries.retain(|entry| entry.folder.is_some());
        }
        let files = |entry: &Entry| entry.folder.map_or(1, |totals| totals.files);
        let bytes = |entry: &Entry| {
            let file = entry.file.as_ref().map_or(0, |file| file.size);
            entry.folder.map_or(file, |totals| totals.bytes)
        };
        if out.json {
            let sums =
                |entry: &Entry| json!({ "path": entry.path, "files": files(entry), "bytes": bytes(entry) });
            let folders: Vec<_> = entries.iter().map(sums).collect();
            out.value(&json!({ "folders": folders, "total": sums(&whole) }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(&[">SIZE", ">FILES", "FOLDER"]);
        for entry in entries.iter().chain([&whole]) {
            let place = self.place.at(entry.path.clone());
            table.row([ByteSize(bytes(entry)).to_string(), files(entry).to_string(), place.to_string()]);
        }
        out.table(&table)?;
        Ok(Exit::Ok)
    }
}

const MKDIR_EXAMPLES: &str = "\
Examples:
  pumasi mkdir lab:results/2026

`put` makes folders by itself, and they go when nothing lies in them any more; one made with `mkdir` stays.";

/// Make folders in a space
#[derive(Args, Debug)]
#[command(after_help = MKDIR_EXAMPLES)]
pub(crate) struct MkdirArgs {
    /// The folders; those above them are made as well
    #[arg(required = true, value_name = "SPACE:path")]
    places: Vec<Place>,
    #[command(flatten)]
    hub: HubArgs,
}

impl MkdirArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        for place in &self.places {
            let made = client.make_folder(place.space(), place.path.clone(), None).await;
            made.map_err(CliError::hub(format!("make {place}")))?;
        }
        let made: Vec<_> = self.places.iter().map(ToString::to_string).collect();
        out.noted(&json!({ "made": made }), &format!("made {}", listed(&self.places)))?;
        Ok(Exit::Ok)
    }
}

const MV_EXAMPLES: &str = "\
Examples:
  pumasi mv lab:draft.txt lab:final.txt
  pumasi mv lab:a.txt lab:b.txt lab:texts/
  pumasi mv lab:old.txt lab:new.txt --replace

Moving a folder takes as long as moving a file. Links that were shared follow. To another space it is a copy \
and a removal.";

/// Move or rename files and folders of a space
#[derive(Args, Debug)]
#[command(after_help = MV_EXAMPLES)]
pub(crate) struct MvArgs {
    #[command(flatten)]
    what: FromTo,
}

const CP_EXAMPLES: &str = "\
Examples:
  pumasi cp lab:a.txt lab:b.txt
  pumasi cp lab:results :mine/results
  pumasi cp lab:a.txt lab:b.txt --replace

Nothing is sent: a copy is one more name of the same bytes. A folder with up to 10,000 files is copied at once.";

/// Copy files and folders of spaces
#[derive(Args, Debug)]
#[command(after_help = CP_EXAMPLES)]
pub(crate) struct CpArgs {
    #[command(flatten)]
    what: FromTo,
}

/// What is moved or copied.
#[derive(Args, Debug)]
struct FromTo {
    /// What, and last where to; into it when that is a folder
    #[arg(required = true, num_args = 2.., value_name = "SPACE:path")]
    places: Vec<Place>,
    /// Overwrite a file that lies there: it becomes an older version
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl MvArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.what.hub.client()?;
        let mut done = Vec::new();
        for (from, to) in self.what.pairs(&client).await? {
            if from.space == to.space {
                let what =
                    MoveFile { from: from.path.clone(), to: to.path.clone(), replace: self.what.replace };
                let moved = client.move_file(from.space(), &what, None).await;
                moved.map_err(CliError::hub(format!("move {from} to {to}")))?;
            } else {
                copy(&client, &from, &to, self.what.replace).await?;
                remove(&client, from.space(), vec![from.path.clone()], true, false).await?;
            }
            if !out.json {
                out.note(&format!("moved {from} to {to}"));
            }
            done.push(json!({ "from": from.to_string(), "to": to.to_string() }));
        }
        told_if_json(out, "moved", done)
    }
}

impl CpArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.what.hub.client()?;
        let mut done = Vec::new();
        for (from, to) in self.what.pairs(&client).await? {
            let count = copy(&client, &from, &to, self.what.replace).await?;
            if !out.json {
                let many = if count > 1 { format!(": {count} files and folders") } else { String::new() };
                out.note(&format!("copied {from} to {to}{many}"));
            }
            done.push(json!({ "from": from.to_string(), "to": to.to_string(), "count": count }));
        }
        told_if_json(out, "copied", done)
    }
}

fn told_if_json(out: &Output, verb: &str, done: Vec<serde_json::Value>) -> Result<Exit, CliError> {
    if out.json {
        out.value(&json!({ verb: done }))?;
    }
    Ok(Exit::Ok)
}

impl FromTo {
    /// Each source with the path that it gets.
    async fn pairs(&self, client: &HubClient) -> Result<Vec<(Place, Place)>, CliError> {
        let Some((to, from)) = self.places.split_last() else { return Ok(Vec::new()) };
        let found = if to.folder || from.len() > 1 { None } else { remote::find(client, to).await? };
        let into = to.folder || from.len() > 1 || found.is_some_and(|entry| entry.folder.is_some());
        let target = |from: &Place| -> Result<Place, CliError> {
            if !into {
                return Ok(to.clone());
            }
            let whole = from.space.as_deref().unwrap_or("home");
            let path = to.path.join(from.path.name().unwrap_or(whole));
            let path = path.map_err(|error| CliError::usage(error.to_string(), "choose a shorter path"))?;
            Ok(to.at(path))
        };
        from.iter().map(|from| Ok((from.clone(), target(from)?))).collect()
    }
}

async fn copy(client: &HubClient, from: &Place, to: &Place, replace: bool) -> Result<u64, CliError> {
    let what = CopyFile {
        from_space: (from.space != to.space).then(|| from.space().to_owned()),
        from: from.path.clone(),
        to: to.path.clone(),
        replace,
    };
    let copied = client.copy_file(to.space(), &what, None).await;
    Ok(copied.map_err(CliError::hub(format!("copy {from} to {to}")))?.count)
}

const RM_EXAMPLES: &str = "\
Examples:
  pumasi rm lab:old.txt
  pumasi rm lab:old --recursive
  pumasi rm lab:secret.txt --forever

What is removed lies in the trash for as long as the space keeps it, 30 days unless it says otherwise: \
`pumasi undo` takes it back out. It counts against the quota until then. Where the space keeps nothing, as one \
that S3 made, it is gone at once.";

/// Remove files and folders of spaces
#[derive(Args, Debug)]
#[command(after_help = RM_EXAMPLES)]
pub(crate) struct RmArgs {
    /// What
    #[arg(required = true, value_name = "SPACE:path")]
    places: Vec<Place>,
    /// A folder with all that lies in it
    #[arg(short, long)]
    recursive: bool,
    /// For good, not to the trash
    #[arg(long)]
    forever: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        if let Some(whole) = self.places.iter().find(|place| place.path.is_root()) {
            return Err(CliError::usage(
                format!("{whole} is a whole space"),
                "name what lies in it; `pumasi space rm` removes a space in which nothing lies any more",
            ));
        }
        let client = self.hub.client()?;
        let mut forever = self.forever;
        for places in self.places.chunk_by(|a, b| a.space == b.space) {
            let kept = !self.forever && keeps(&client, &places[0]).await?;
            for places in places.chunks(REMOVED_AT_ONCE) {
                let paths = places.iter().map(|place| place.path.clone()).collect();
                remove(&client, places[0].space(), paths, self.recursive, self.forever).await?;
            }
            forever |= !kept;
            if !out.json {
                let how = if kept { "to the trash; `pumasi undo` brings it back" } else { "for good" };
                out.note(&format!("removed {} {how}", listed(places)));
            }
        }
        if out.json {
            let removed: Vec<_> = self.places.iter().map(ToString::to_string).collect();
            out.value(&json!({ "removed": removed, "forever": forever }))?;
        }
        Ok(Exit::Ok)
    }
}

/// Whether what is removed from this space can be had back.
async fn keeps(client: &HubClient, place: &Place) -> Result<bool, CliError> {
    let space = client.space(place.space()).await.map_err(CliError::hub(format!("remove {place}")))?;
    Ok(space.keep_ms > 0)
}

/// Removes what lies at these paths of a space.
async fn remove(
    client: &HubClient,
    space: &str,
    paths: Vec<FilePath>,
    recursive: bool,
    forever: bool,
) -> Result<(), CliError> {
    let what = RemoveFiles { paths, recursive, forever };
    let removed = client.remove_files(space, &what, None).await;
    all_done(removed.map_err(CliError::hub("remove files"))?, "remove")
}

/// Fails when some of a list were refused.
fn all_done(results: FileResults, verb: &str) -> Result<(), CliError> {
    let mut refused =
        results.results.iter().filter_map(|result| Some((&result.path, result.error.as_ref()?)));
    let Some((path, error)) = refused.next() else { return Ok(()) };
    let more = match refused.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let problem = format!("cannot {verb} '{path}'{more}: {}", error.message);
    Err(CliError::Partly { problem, code: error.code.clone() })
}

fn listed(places: &[Place]) -> String {
    match places {
        [one] => one.to_string(),
        many => format!("{} files and folders", many.len()),
    }
}

/// What somebody may do, as people type it.
pub(crate) fn parse_access(text: &str) -> Result<Option<Access>, String> {
    match text {
        "read" => Ok(Some(Access::Read)),
        "write" => Ok(Some(Access::Write)),
        "manage" => Ok(Some(Access::Manage)),
        "none" => Ok(None),
        _ => Err(format!("'{text}' is none of read, write, manage and none")),
    }
}
