//! `pumasi put`: files and folders into a space, or bytes by their hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use pumasi_api::client::{HubClient, Source};
use pumasi_api::wire::files::Condition;
use pumasi_seal::Key;
use pumasi_types::{ByteSize, FilePath};
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::hashes::Hashes;
use crate::drive::place::{Argument, Place};
use crate::drive::remote::{self, Walk};
use crate::drive::report::{Counts, Tally};
use crate::drive::scan::{Kind, LeftOut, Scan};
use crate::drive::send::{self, Job, Local, Sender, What};
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::upload;
use crate::job::watch::Interrupt;
use crate::keys::{EncryptArgs, Keys};
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  pumasi put reads.fa :                            into your home
  pumasi put data lab:results/data                 a folder with all that lies in it
  pumasi put *.fa lab:genomes/
  sort words.txt | pumasi put - :words.txt
  pumasi put taxes :taxes --encrypt                unreadable to the hub; first `pumasi key new`
  pumasi put reads.fa genome.fa                    print their hashes, give them no place

A folder that goes to one place becomes the folder of that name; with a / at its end, or with several \
sources, everything goes into it under its own name. What lies there already just so is not sent, so that a \
put that was broken off goes on when it is given again. A file that is overwritten stays as an older version. \
Links are stored as links and never followed; what cannot be stored (names that are not UTF-8, devices) is \
named, left out, and makes the exit code 7.

With --encrypt the bytes are encrypted here; names, folders, times and what links lead to are not. The same file \
under the same key is sent and stored once, so the hub sees which of your files are equal, and about how long each \
is; between keys nothing is shared. `get`, `cat`, `sync` and `mount` decrypt by themselves where the key is; link \
pages, S3, jobs and everybody else see the encrypted bytes. What replaces an encrypted file is encrypted with the \
same key, with or without the option.";

/// Store files and folders in a space, or just keep their bytes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PutArgs {
    /// Files and folders, `-` for standard input; and last SPACE:path, to which they go
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Keys of what is put.
struct With {
    /// The one that everything is encrypted with; none: what lies there decides.
    key: Option<Arc<Key>>,
    /// All that are here.
    keys: Keys,
}

impl PutArgs {
    pub(crate) async fn run(mut self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let last = self.files.last().and_then(|last| last.to_str());
        let to = match last.map(str::parse).transpose().map_err(|problem| CliError::usage(problem, HINT))? {
            Some(Argument::Remote(to)) => to,
            _ if self.encrypt.is_given() => {
                return Err(CliError::usage("--encrypt needs a place for what is encrypted", HINT));
            }
            // A folder has no hash; most likely the place was forgotten.
            _ if self.files.iter().any(|file| file.is_dir()) => {
                return Err(CliError::usage("a folder needs a place to which it is put", FOLDER_HINT));
            }
            _ => return keep(&client, out, &self.files).await,
        };
        self.files.pop();
        if self.files.is_empty() {
            return Err(CliError::usage(format!("nothing is given to be put to {to}"), HINT));
        }
        let keys = Keys::load(out)?;
        let with = With { key: self.encrypt.key(&keys)?, keys };
        let work = put(&client, out, &self.files, &to, &with);
        let counts = Interrupt::listen().guard(work).await?;
        counts.tell(out, "put")
    }
}

const HINT: &str =
    "write `pumasi put FILE... SPACE:path`; a file of this machine with a colon in its name is ./a:b";

const FOLDER_HINT: &str = "write `pumasi put FOLDER SPACE:path`, as in `pumasi put data :data` for your home";

/// Puts all sources where they belong.
async fn put(
    client: &HubClient,
    out: &Output,
    files: &[PathBuf],
    to: &Place,
    with: &With,
) -> Result<Counts, CliError> {
    let mut counts = Counts::default();
    for file in files {
        let into = files.len() > 1 || to.folder;
        if file.as_os_str() == "-" {
            if into {
                let problem = format!("standard input has no name that it could get in {to}");
                return Err(CliError::usage(problem, "name the file: `pumasi put - SPACE:path`"));
            }
            let spooled = spool().await?;
            counts = counts.plus(put_one(client, out, spooled.path(), to.clone(), with).await?);
            continue;
        }
        let is_folder = std::fs::metadata(file).map_err(CliError::file("read", file))?.is_dir();
        let into = into || (!is_folder && is_remote_folder(client, to).await?);
        let target = if into { to.at(named(to, file)?) } else { to.clone() };
        counts = counts.plus(put_one(client, out, file, target, with).await?);
    }
    Ok(counts)
}

async fn is_remote_folder(client: &HubClient, place: &Place) -> Result<bool, CliError> {
    Ok(remote::find(client, place).await?.is_some_and(|entry| entry.folder.is_some()))
}

/// The path in a folder that a file of this machine gets there.
fn named(folder: &Place, file: &Path) -> Result<FilePath, CliError> {
    // `.` and `..` have a name only when they are looked up.
    let whole = std::fs::canonicalize(file).map_err(CliError::file("read", file))?;
    let name = file.file_name().or(whole.file_name()).and_then(|name| name.to_str());
    let joined = name.map(|name| folder.path.join(name));
    match joined {
        Some(Ok(path)) => Ok(path),
        Some(Err(error)) => Err(CliError::usage(error.to_string(), "give it another name: `… SPACE:NAME`")),
        None => Err(CliError::usage(
            format!("the name of {} is not UTF-8", file.display()),
            "give it another name: `… SPACE:NAME`",
        )),
    }
}

/// Standard input as a file, so that it can be sent again when a connection breaks.
async fn spool() -> Result<tempfile::NamedTempFile, CliError> {
    let failed = |error| CliError::file("write", &std::env::temp_dir())(error);
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut copy = file.reopen().map_err(failed)?;
    // Beside this thread, so that Ctrl-C ends it and the file goes.
    let copied = send::blocking(move || std::io::copy(&mut std::io::stdin().lock(), &mut copy)).await?;
    copied.map_err(failed)?;
    Ok(file)
}

/// Puts a file or folder to exactly this place.
async fn put_one(
    client: &HubClient,
    out: &Output,
    root: &Path,
    to: Place,
    with: &With,
) -> Result<Counts, CliError> {
    let from = root.to_owned();
    let scan = send::blocking(move || Scan::of(&from)).await??;
    let hashes = Arc::new(Hashes::of(root)?);
    let there = there(client, &to, &scan).await?;
    let files = scan.found.iter().filter(|found| !matches!(found.kind, Kind::Folder { .. })).count();
    let tally = Tally::of(out, "putting", scan.bytes, files as u64);
    let (mut jobs, mut folders) = (Vec::new(), Vec::new());
    if scan.found.is_empty() && !to.path.is_root() {
        folders.push(to.path.clone());
    }
    for found in scan.found {
        let target = match remote::absolute(&to.path, &found.path) {
            Ok(target) => target,
            Err(why) => {
                tally.left_out(LeftOut { path: root.join(found.path.as_str()), why }, 0);
                continue;
            }
        };
        let entry = there.get(&found.path);
        let what = match found.kind {
            Kind::File { stamp, executable } => What::File { stamp, executable },
            Kind::Link(target) => What::Link(target),
            Kind::Folder { empty } => {
                if empty && entry.is_none_or(|entry| entry.folder.is_none()) {
                    folders.push(target);
                }
                continue;
            }
        };
        let there = entry.and_then(|entry| entry.file.clone());
        let key = match (&what, &with.key) {
            (What::Link(_), _) => Ok(None),
            (_, Some(key)) => Ok(Some(key.clone())),
            (_, None) => with.keys.kept(there.as_ref()),
        };
        let key = match key {
            Ok(key) => key,
            Err(why) => {
                let why = format!("what lies there cannot be replaced: {why}");
                tally.left_out(LeftOut { path: root.join(found.path.as_str()), why }, 0);
                continue;
            }
        };
        let job = Job { local: found.path, what, target, condition: Condition::Any, there, key };
        match send::is_known_same(&hashes, &job) {
            Some(_) => tally.same(job.there.as_ref().map_or(0, |there| there.size)),
            None => jobs.push(job),
        }
    }
    scan.left_out.into_iter().for_each(|left| tally.left_out(left, 0));
    room(client, &to, &jobs).await?;
    let placed = |_: &Job, _| {};
    let sender = Sender::new(client, to.space(), Local::open(root)?, hashes, &tally, &placed);
    sender.send(jobs).await?;
    for folder in folders {
        let made = client.make_folder(to.space(), folder, None).await;
        made.map_err(CliError::hub(format!("make a folder in {to}")))?;
    }
    Ok(tally.finish())
}

/// What lies where the files go, by their paths below it.
async fn there(
    client: &HubClient,
    to: &Place,
    scan: &Scan,
) -> Result<std::collections::HashMap<FilePath, pumasi_api::wire::files::Entry>, CliError> {
    match remote::find(client, to).await? {
        None => Ok(Default::default()),
        Some(entry)
            if entry.folder.is_some() && scan.found.first().is_none_or(|found| !found.path.is_root()) =>
        {
            Walk::below(client, to).all().await
        }
        Some(entry) => Ok([(FilePath::root(), entry)].into()),
    }
}

/// Refuses before anything is read and sent what is too long or cannot have room.
async fn room(client: &HubClient, to: &Place, jobs: &[Job]) -> Result<(), CliError> {
    // One of the same size may be the same.
    let is_new = |job: &&Job| job.there.as_ref().is_none_or(|there| there.size != job.sent());
    if let Some(longest) = jobs.iter().filter(is_new).max_by_key(|job| job.sent()) {
        let taken = client.takes(longest.sent()).await;
        taken.map_err(CliError::hub(format!("put {}{}", to.prefix(), longest.target)))?;
    }
    let needed: u64 = jobs.iter().filter(is_new).map(Job::sent).sum();
    let space = client.space(to.space()).await.map_err(CliError::hub(format!("look at {}", to.prefix())))?;
    let left = space.quota_bytes.saturating_sub(space.used_bytes);
    if needed <= left {
        return Ok(());
    }
    Err(CliError::NoRoom {
        place: to.to_string(),
        left: ByteSize(left),
        quota: ByteSize(space.quota_bytes),
        needed: ByteSize(needed),
    })
}

/// Keeps bytes without a name and prints their hashes.
async fn keep(client: &HubClient, out: &Output, files: &[PathBuf]) -> Result<Exit, CliError> {
    let work = async {
        let (mut sources, mut spooled) = (Vec::new(), Vec::new());
        for file in files {
            if file.as_os_str() != "-" {
                sources.push(Source::File(file.clone()));
                continue;
            }
            let copy = spool().await?;
            sources.push(Source::File(copy.path().to_owned()));
            // Goes when all is sent.
            spooled.push(copy);
        }
        upload::ensure(client, out, &sources).await
    };
    let stored = Interrupt::listen().guard(work).await?;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let value: Vec<_> = stored
        .iter()
        .zip(&names)
        .map(|(blob, name)| json!({ "hash": blob.hash, "size": blob.size, "file": name }))
        .collect();
    out.show(&value, "", || {
        let mut table = Table::new(&[">", ""]);
        for (blob, name) in stored.iter().zip(&names) {
            // In the last column, which is never shortened: whole hashes are what `get` needs.
            table.row([ByteSize(blob.size).to_string(), format!("{}  {name}", blob.hash)]);
        }
        table
    })?;
    Ok(Exit::Ok)
}
