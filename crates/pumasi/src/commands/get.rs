//! `pumasi get` and `cat`: files and folders of a space, or bytes by their hash.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::files::{Entry, Totals, Version};
use pumasi_seal::Opener;
use pumasi_types::{ByteSize, FilePath, Hash};
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::below::Below;
use crate::drive::hashes::Hashes;
use crate::drive::place::Place;
use crate::drive::receive::{Job, Receiver};
use crate::drive::remote::{self, Walk};
use crate::drive::report::{Counts, Tally};
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::watch::Interrupt;
use crate::keys::{Closed, Keys};
use crate::output::Output;
use crate::progress::{Count, Progress};

const EXAMPLES: &str = "\
Examples:
  pumasi get :reads.fa
  pumasi get lab:results/data ~/data               a folder with all that lies in it
  pumasi get lab:results/data .                    the same, into ./data
  pumasi get 3f1a… reads.fa                        bytes by their hash
  pumasi get 3f1a… > reads.fa
  pumasi get :taxes --raw                          encrypted files as they lie there

What is here already just so is not fetched; a file that was broken off goes on where it ended, when the \
same is given again. Every byte is checked. Nothing is written through links that lie in the folder. \
Files that were put with --encrypt are decrypted where their key is (`pumasi key ls`).";

/// Fetch files and folders of a space, or bytes by their hash
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// SPACE:path, or a hash: 64 hexadecimal digits
    what: Wanted,
    /// Where to: a file or folder; into it under its own name with a / at its end. By default the same name here
    to: Option<PathBuf>,
    /// Make symbolic links where links were stored: they lead wherever their maker wanted
    #[arg(long)]
    links: bool,
    /// Encrypted files as they lie there
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    hub: HubArgs,
}

/// What can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A file or folder.
    Place(Place),
    /// Bytes.
    Blob(Hash),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        if !text.contains(':') {
            return text
                .parse()
                .map(Wanted::Blob)
                .map_err(|_| format!("'{text}' is neither SPACE:path nor a hash of 64 hexadecimal digits"));
        }
        text.parse().map(Wanted::Place)
    }
}

impl GetArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let is_output = self.to.as_deref() == Some(Path::new("-"));
        match self.what {
            Wanted::Blob(hash) => {
                let file = self.to.as_deref().filter(|_| !is_output);
                get_blob(&client, out, hash, file).await
            }
            Wanted::Place(place) if is_output => Err(CliError::usage(
                format!("{place} is not printed by `get`"),
                "`pumasi cat SPACE:path` prints a file; one that is to be called `-` is ./-",
            )),
            Wanted::Place(place) => {
                let keys = if self.raw { None } else { Some(Keys::load(out)?) };
                let how = How { links: self.links, keys: keys.as_ref() };
                let work = get(&client, out, &place, self.to.as_deref(), how);
                Interrupt::listen().guard(work).await?.tell(out, "got")
            }
        }
    }
}

/// How files come here.
#[derive(Clone, Copy)]
struct How<'a> {
    /// Links are made.
    links: bool,
    /// What decrypts files; none when they stay as they lie there.
    keys: Option<&'a Keys>,
}

/// Fetches what lies at a place.
async fn get(
    client: &HubClient,
    out: &Output,
    place: &Place,
    to: Option<&Path>,
    how: How<'_>,
) -> Result<Counts, CliError> {
    let entry = remote::must_find(client, place).await?;
    let to = destination(place, to, entry.folder.is_some())?;
    let (root, single) = match &entry.folder {
        Some(_) => (to.as_path(), None),
        None => split(&to)?,
    };
    let below = Arc::new(Below::open(root)?);
    let hashes = Arc::new(Hashes::of(root)?);
    let totals = totals(&entry);
    let tally = Tally::of(out, "getting", totals.bytes, totals.files);
    let written = |_: &Job, _| {};
    let (space, below_) = (place.space(), below.clone());
    let How { links, keys } = how;
    let fresh = std::sync::Mutex::default();
    let receiver = Receiver {
        client,
        space,
        below: below_,
        hashes,
        keys,
        links,
        tally: &tally,
        written: &written,
        fresh,
    };
    if let (Some(local), Some(version)) = (single, entry.file) {
        receiver.receive(vec![Job::new(entry.path, version, local, None)]).await?;
        receiver.settle().await?;
        return Ok(tally.finish());
    }
    let mut walk = Walk::below(client, place);
    while let Some(page) = walk.next().await? {
        let mut jobs = Vec::new();
        for entry in page {
            let local = remote::relative(&place.path, &entry.path);
            match entry.file {
                Some(version) => jobs.push(Job::new(entry.path, version, local, None)),
                None => below.make_folder(&local)?,
            }
        }
        receiver.receive(jobs).await?;
    }
    receiver.settle().await?;
    Ok(tally.finish())
}

fn totals(entry: &Entry) -> Totals {
    let file = |size| Totals { files: 1, folders: 0, bytes: size };
    entry.folder.unwrap_or(file(entry.file.as_ref().map_or(0, |file| file.size)))
}

/// The file or folder of this machine that something of a space becomes.
fn destination(place: &Place, to: Option<&Path>, folder: bool) -> Result<PathBuf, CliError> {
    let own = place.path.name().or(place.space.as_deref()).unwrap_or("home");
    let Some(to) = to else { return Ok(PathBuf::from(own)) };
    let named_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/") || to.file_name().is_none();
    Ok(if named_folder || (!folder && to.is_dir()) { to.join(own) } else { to.to_owned() })
}

/// The folder of a file and its name in it.
fn split(file: &Path) -> Result<(&Path, Option<FilePath>), CliError> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().and_then(|name| name.to_str()).map(str::parse);
    match name {
        Some(Ok(name)) => Ok((folder, Some(name))),
        _ => Err(CliError::usage(
            format!("{} cannot be the name of a file that is fetched", file.display()),
            "give a name that is UTF-8",
        )),
    }
}

/// Fetches bytes by their hash.
async fn get_blob(client: &HubClient, out: &Output, hash: Hash, to: Option<&Path>) -> Result<Exit, CliError> {
    let failed = || CliError::hub(format!("get blob {hash}"));
    let mut interrupt = Interrupt::listen();
    let progress = Progress::start(out, "fetching", Count::Bytes, 0);
    let bar = progress.clone();
    let tell = Arc::new(move |done| bar.set(done, ""));
    let Some(file) = to else {
        // Through a file, so that what is printed was checked before and may be larger than memory.
        let temporary = tempfile::NamedTempFile::new();
        let temporary = temporary.map_err(CliError::file("create", &std::env::temp_dir()))?;
        let work = async { client.get_blob_to(hash, temporary.path(), tell).await.map_err(failed()) };
        interrupt.guard(work).await?;
        progress.clear();
        return print(out, temporary.path());
    };
    let work = async { client.get_blob_to(hash, file, tell).await.map_err(failed()) };
    let size = interrupt.guard(work).await?;
    progress.clear();
    if out.json {
        out.value(&json!({ "hash": hash, "size": size, "file": file.display().to_string() }))?;
    } else {
        out.note(&format!("{}: {}", file.display(), ByteSize(size)));
    }
    Ok(Exit::Ok)
}

/// Prints the bytes of a file.
pub(super) fn print(out: &Output, path: &Path) -> Result<Exit, CliError> {
    let mut reader = std::fs::File::open(path).map_err(CliError::file("read", path))?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match reader.read(&mut chunk).map_err(CliError::file("read", path))? {
            0 => return Ok(Exit::Ok),
            len => out.raw(&chunk[..len])?,
        }
    }
}

const CAT_EXAMPLES: &str = "\
Examples:
  pumasi cat lab:results/summary.txt
  pumasi cat :log.txt | tail -5
  pumasi cat :log.txt --version 12";

/// Print files of a space
#[derive(Args, Debug)]
#[command(after_help = CAT_EXAMPLES)]
pub(crate) struct CatArgs {
    /// The files
    #[arg(required = true, value_name = "SPACE:path")]
    files: Vec<Place>,
    /// This older version of it, as `pumasi versions` lists them
    #[arg(long, value_name = "NUMBER")]
    version: Option<pumasi_types::VersionId>,
    /// An encrypted file as it lies there
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl CatArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let keys = if self.raw { None } else { Some(Keys::load(out)?) };
        for file in &self.files {
            let version = self.wanted(&client, file).await?;
            let closed = |why| CliError::Closed { place: file.to_string(), why };
            let seal = keys.as_ref().map_or(Ok(None), |keys| keys.seal(&version)).map_err(closed)?;
            print_version(&client, out, file, &version, seal.map(Opener::new)).await?;
        }
        Ok(Exit::Ok)
    }

    /// The version that is meant.
    async fn wanted(&self, client: &HubClient, file: &Place) -> Result<Version, CliError> {
        if let Some(wanted) = self.version {
            let versions = client.file_versions(file.space(), &file.path).await;
            let versions = versions.map_err(CliError::hub(format!("list the versions of {file}")))?.versions;
            let found = versions.into_iter().find(|version| version.version == wanted);
            return found.ok_or_else(|| CliError::Missing { what: format!("version {wanted} of {file}") });
        }
        let folder = || CliError::usage(format!("{file} is a folder"), "`pumasi get` fetches folders");
        remote::must_find(client, file).await?.file.ok_or_else(folder)
    }
}

/// Prints the bytes of a version while they arrive, decrypted by `opener` if there is one.
async fn print_version(
    client: &HubClient,
    out: &Output,
    file: &Place,
    version: &Version,
    mut opener: Option<Opener>,
) -> Result<(), CliError> {
    let failed = || CliError::hub(format!("read {file}"));
    let damaged = |_| CliError::Closed { place: file.to_string(), why: Closed::Damaged };
    let read = client.read_file(file.space(), &file.path, Some(version.version), None);
    let mut download = read.await.map_err(failed())?;
    let mut left = version.size;
    while let Some(bytes) = download.next().await.map_err(failed())? {
        left = left.saturating_sub(bytes.len() as u64);
        match &mut opener {
            None => out.raw(&bytes)?,
            Some(opener) => out.raw(&opener.push(&bytes).map_err(damaged)?)?,
        }
    }
    if left > 0 {
        return Err(CliError::Incomplete { place: file.to_string(), left: ByteSize(left) });
    }
    opener.map_or(Ok(()), |opener| opener.finish()).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_gets_the_name_that_is_expected() {
        let (file, root): (Place, Place) = ("lab:a/b".parse().unwrap(), "lab:".parse().unwrap());
        let to = |place, to: Option<&str>, folder| {
            destination(place, to.map(Path::new), folder).unwrap().display().to_string()
        };
        assert_eq!(to(&file, None, true), "b");
        assert_eq!(to(&root, None, true), "lab");
        assert_eq!(to(&file, Some("x"), true), "x");
        assert_eq!(to(&file, Some("x/"), true), "x/b");
        assert_eq!(to(&file, Some("."), true), "./b");
        assert_eq!(to(&file, Some("/tmp"), false), "/tmp/b");
        assert_eq!(to(&file, Some("/tmp"), true), "/tmp");
    }

    #[test]
    fn a_place_or_a_hash() {
        assert!(matches!("lab:a".parse(), Ok(Wanted::Place(_))));
        assert!(matches!("3f".repeat(32).parse(), Ok(Wanted::Blob(_))));
        assert!("12".parse::<Wanted>().is_err());
    }
}
