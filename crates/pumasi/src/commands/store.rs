//! `pumasi store`: files and folders in a store on this machine, without a hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use pumasi_blobs::listing::What;
use pumasi_blobs::names::{self, Named};
use pumasi_blobs::tree::Lost;
use pumasi_blobs::{BlobError, BlobStore, Bucket, Options, Share, Shares, tree};
use pumasi_types::{ByteSize, Duration, Hash};
use serde_json::json;

use crate::drive::send::blocking;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};
use crate::progress::{Count, Progress};

const EXAMPLES: &str = "\
Examples:
  pumasi store put ~/data --dir /backup
  pumasi store ls --dir /backup
  pumasi store get data restored --dir /backup
  pg_dump shop | pumasi store put - --name shop.sql --dir /backup
  pumasi store get shop.sql - --dir /backup | psql shop
  pumasi store stats --names --dir /backup
  pumasi store check --read-data --dir /backup
  pumasi store rm data --dir /backup
  pumasi store gc --dir /backup
  pumasi store put ~/data --dir ~/.backup --at s3://backup/laptop

The same bytes are kept once, however often they come. `check` ends with 1 when something is damaged, and so \
does `get` of a folder, after it wrote what is whole.";

/// What `-` stands for where something is put, as errors name it.
const INPUT: &str = "standard input";

/// Keep files and folders in a store on this machine, and look after it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StoreArgs {
    /// The folder of the store; `put` makes it when there is none
    #[arg(long, global = true, value_name = "DIR", default_value = "pumasi-store")]
    dir: PathBuf,
    /// Keep the packs of a new store in this bucket: s3://BUCKET/PREFIX; server and keys stand in AWS_ENDPOINT_URL,
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. The folder remembers the place, and keeps index and names
    #[arg(long, global = true, value_name = "PLACE")]
    at: Option<Bucket>,
    /// Do not force files to disk: an end of the machine can then lose what was put last
    #[arg(long, global = true)]
    no_fsync: bool,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Store a file, or a folder with everything below
    Put {
        /// The file or folder, or `-` for standard input, which needs a name
        path: PathBuf,
        /// The name it gets; its own when absent
        #[arg(long)]
        name: Option<String>,
    },
    /// Write what was stored, verified
    Get {
        /// Its name, or the hash of a file
        name: String,
        /// Where to; must not exist. `-` for standard output, which gets a file, not a folder or link
        to: PathBuf,
    },
    /// List the names
    Ls,
    /// Take a name away; `gc` then frees the space
    Rm {
        /// The name
        name: String,
    },
    /// Show how much is stored, and how much the sharing of equal bytes saves
    Stats {
        /// Also show what each name needs, and how much of it nothing else does
        #[arg(long)]
        names: bool,
    },
    /// Look whether everything is there
    Check {
        /// Read and verify every byte
        #[arg(long)]
        read_data: bool,
    },
    /// Save what is whole of a damaged store, and forget what is lost
    Repair,
    /// Free the space of what has no name any more
    Gc {
        /// Keep what was stored in the last hours, whatever its name
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        grace: u64,
    },
}

impl StoreArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let (dir, usual) = (self.dir, Options::default());
        let grace = match self.command {
            StoreCommand::Gc { grace } => Duration::from_secs(grace.saturating_mul(3600)),
            _ => usual.grace,
        };
        // Only what stores something makes a store.
        if !matches!(self.command, StoreCommand::Put { .. }) {
            std::fs::metadata(&dir).map_err(CliError::file("read", &dir))?;
        }
        let salvage = matches!(self.command, StoreCommand::Repair);
        let options = Options { fsync: !self.no_fsync, grace, salvage, bucket: self.at, ..usual };
        let store = BlobStore::open_with(&dir, options).await.map_err(failed(&dir))?;
        match self.command {
            StoreCommand::Put { path, name } => put(&store, &dir, &path, name, out).await,
            StoreCommand::Get { name, to } => get(&store, &dir, &name, &to, out).await,
            StoreCommand::Ls => list(&store, &dir, out),
            StoreCommand::Rm { name } => match names::remove(&dir, &name).map_err(failed(&dir))? {
                true => out.told(&json!({ "removed": name }), &format!("{name} is gone")).map(|()| Exit::Ok),
                false => Err(CliError::NoName { dir, name }),
            },
            StoreCommand::Stats { names } => stats(&store, &dir, names, out).await,
            StoreCommand::Check { read_data } => check(&store, &dir, read_data, out).await,
            StoreCommand::Repair => repair(&store, &dir, out).await,
            StoreCommand::Gc { .. } => collect(&store, &dir, out).await,
        }
    }
}

fn failed(dir: &Path) -> impl Fn(BlobError) -> CliError {
    let dir = dir.to_owned();
    move |source| CliError::Store { dir: dir.clone(), source: Box::new(source) }
}

/// Adds up what is told, and shows it.
fn counting(progress: &Progress) -> impl Fn(u64) + Send + Sync + 'static {
    let (bar, done) = (progress.clone(), Arc::new(AtomicU64::new(0)));
    move |bytes| bar.set(done.fetch_add(bytes, Ordering::Relaxed) + bytes, "")
}

async fn put(
    store: &BlobStore,
    dir: &Path,
    path: &Path,
    name: Option<String>,
    out: &Output,
) -> Result<Exit, CliError> {
    let is_input = path == Path::new("-");
    // A link has a name of its own, `.` only that of what it stands for.
    let own = || {
        let meant = if path.file_name().is_some() { path.to_owned() } else { path.canonicalize().ok()? };
        meant.file_name().map(|name| name.to_string_lossy().into_owned())
    };
    let name = name.or_else(|| if is_input { None } else { own() }).unwrap_or_default();
    if !names::is_name(&name) {
        let why = "it needs a name of letters, digits, `.`, `_` and `-`: give one with --name";
        return Err(CliError::File {
            operation: "store",
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, why),
        });
    }
    let progress = Progress::start(out, "storing", Count::Bytes, 0);
    let stored = match is_input {
        true => {
            let input = || Ok(std::io::stdin());
            tree::put_from(store, Path::new(INPUT), input, counting(&progress)).await
        }
        false => tree::put(store, path, counting(&progress)).await,
    };
    let stored = stored.map_err(|error| match error {
        // That is not the store's trouble.
        BlobError::Folder { operation, path, source } if path == Path::new(INPUT) => {
            CliError::File { operation, path, source }
        }
        error => failed(dir)(error),
    })?;
    progress.clear();
    let named = Named { name, what: stored.what, blob: stored.blob };
    names::set(dir, &named).map_err(failed(dir))?;
    if stored.skipped > 0 {
        out.warn(&format!("{} sockets, pipes or devices were left out", stored.skipped));
    }
    let (bytes, new) = (ByteSize(stored.tally.bytes), ByteSize(stored.tally.new_bytes));
    let value = json!({
        "name": named.name, "kind": named.what.word(), "hash": named.blob, "files": stored.files,
        "bytes": bytes.0, "new_bytes": new.0, "skipped": stored.skipped,
    });
    let text =
        format!("{}: {} files, {bytes}, of which {new} are new\n{}", named.name, stored.files, named.blob);
    out.told(&value, &text).map(|()| Exit::Ok)
}

async fn get(store: &BlobStore, dir: &Path, name: &str, to: &Path, out: &Output) -> Result<Exit, CliError> {
    let named = names::all(dir).map_err(failed(dir))?.into_iter().find(|named| named.name == name);
    let (what, blob) = match (named, name.parse::<Hash>()) {
        (Some(named), _) => (named.what, named.blob),
        (None, Ok(hash)) => (What::File, hash),
        (None, Err(_)) => return Err(CliError::NoName { dir: dir.to_owned(), name: name.to_owned() }),
    };
    if to == Path::new("-") {
        return match what {
            What::Folder => Err(CliError::usage(
                format!("{name} is a folder, and standard output takes the bytes of a file"),
                "name a folder that is to be made: `pumasi store get NAME FOLDER`",
            )),
            What::Link => Err(CliError::usage(
                format!("cannot write {name} to standard output: it is a symbolic link, not a file"),
                "name what is to become the link: `pumasi store get NAME PATH`; or put what it leads to, and get that",
            )),
            What::File => write_out(store, dir, &blob, out).await.map(|()| Exit::Ok),
        };
    }
    let progress = Progress::start(out, "writing", Count::Bytes, 0);
    let lost = tree::get(store, what, blob, to, counting(&progress)).await.map_err(failed(dir))?;
    progress.clear();
    for Lost { path, error } in &lost {
        out.warn(&format!("{} is lost: {error}", path.display()));
    }
    let paths: Vec<_> = lost.iter().map(|lost| lost.path.display().to_string()).collect();
    let value = json!({ "kind": what.word(), "hash": blob, "path": to.display().to_string(), "lost": paths });
    out.told(&value, &to.display().to_string())?;
    Ok(if lost.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// A file to standard output; the last bytes come only after all have proved right.
async fn write_out(store: &BlobStore, dir: &Path, blob: &Hash, out: &Output) -> Result<(), CliError> {
    let (_, pieces) = store.stream(blob).await.map_err(failed(dir))?;
    let mut groups = pieces.ready_chunks(64);
    let out = *out;
    while let Some(group) = groups.next().await {
        let group = group.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed(dir))?;
        // Beside this thread, so that Ctrl-C ends it when nobody reads.
        blocking(move || group.iter().try_for_each(|piece| out.raw(piece))).await??;
    }
    Ok(())
}

fn list(store: &BlobStore, dir: &Path, out: &Output) -> Result<Exit, CliError> {
    let all = names::all(dir).map_err(failed(dir))?;
    let mut table = Table::new(&["NAME", "KIND", "HASH"]);
    for named in &all {
        let is_there = store.contains(&named.blob).map_err(failed(dir))?;
        let lost = if is_there { "" } else { "  LOST" };
        table.row([named.name.clone(), named.what.word().to_owned(), format!("{}{lost}", named.blob)]);
    }
    let value: Vec<_> = all
        .iter()
        .map(|named| json!({ "name": named.name, "kind": named.what.word(), "hash": named.blob }))
        .collect();
    out.show(&value, "nothing is stored", || table)?;
    Ok(Exit::Ok)
}

/// Everything that has a name, and what that needs.
async fn roots(store: &BlobStore, dir: &Path) -> Result<Vec<Hash>, CliError> {
    let mut roots = Vec::new();
    for named in names::all(dir).map_err(failed(dir))? {
        roots.extend(tree::needed(store, named.what, named.blob).await.map_err(failed(dir))?);
    }
    Ok(roots)
}

/// Every name with what it needs. Of a folder whose listings cannot all be read that is itself, which is said.
async fn needs(store: &BlobStore, dir: &Path, out: &Output) -> Result<Vec<(String, Vec<Hash>)>, CliError> {
    let mut needs = Vec::new();
    for Named { name, what, blob } in names::all(dir).map_err(failed(dir))? {
        let needed = match tree::needed(store, what, blob).await {
            Err(
                error @ (BlobError::NotFound { .. } | BlobError::Damaged { .. } | BlobError::Listing { .. }),
            ) => {
                out.warn(&format!("what lies in {name} is not counted: {error}"));
                vec![blob]
            }
            needed => needed.map_err(failed(dir))?,
        };
        needs.push((name, needed));
    }
    Ok(needs)
}

async fn stats(store: &BlobStore, dir: &Path, names: bool, out: &Output) -> Result<Exit, CliError> {
    let needs = needs(store, dir, out).await?;
    let all: Vec<Hash> = needs.iter().flat_map(|(_, blobs)| blobs.iter().copied()).collect();
    let logical = store.logical_bytes(stream::iter(all)).await.map_err(failed(dir))?;
    let stats = store.stats().map_err(failed(dir))?;
    let shares = if names { shares(store, dir, needs, out).await? } else { Vec::new() };
    let mut value = json!({
        "logical_bytes": logical, "unique_bytes": stats.unique_bytes, "stored_bytes": stats.stored_bytes,
        "index_bytes": stats.index_bytes, "packs": stats.packs, "chunks": stats.chunks,
        "manifests": stats.manifests,
    });
    if names {
        let told = |(name, share): &(String, Share)| {
            let Share { logical_bytes, own_bytes, shared_bytes, uncounted_blobs } = share;
            json!({
                "name": name, "logical_bytes": logical_bytes, "own_bytes": own_bytes,
                "shared_bytes": shared_bytes, "saved_bytes": share.saved_bytes(),
                "uncounted_blobs": uncounted_blobs,
            })
        };
        value["names"] = shares.iter().map(told).collect();
    }
    out.show(&value, "", || {
        Table::facts([
            ("named", format!("{}", ByteSize(logical))),
            ("unique", format!("{}", ByteSize(stats.unique_bytes))),
            ("stored", format!("{} in {} packs", ByteSize(stats.stored_bytes), stats.packs)),
            ("index", format!("{} for {} chunks", ByteSize(stats.index_bytes), stats.chunks)),
        ])
    })?;
    if shares.is_empty() || out.json {
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[">NEEDS", ">ALONE", ">SHARED", ">SAVES", "NAME"]);
    for (name, share) in shares {
        let size = |bytes| ByteSize(bytes).to_string();
        let (needs, alone) = (size(share.logical_bytes), size(share.own_bytes));
        table.row([needs, alone, size(share.shared_bytes), size(share.saved_bytes()), name]);
    }
    out.line("")?;
    out.table(&table)?;
    Ok(Exit::Ok)
}

/// What each name needs, and how much of it no other does; says of what that cannot be told.
async fn shares(
    store: &BlobStore,
    dir: &Path,
    needs: Vec<(String, Vec<Hash>)>,
    out: &Output,
) -> Result<Vec<(String, Share)>, CliError> {
    let (names, needs): (Vec<String>, Vec<Vec<Hash>>) = needs.into_iter().unzip();
    let Shares { each, uncounted } = store.shares(&needs).await.map_err(failed(dir))?;
    for blob in uncounted {
        out.warn(&format!("blob {blob} is lost or damaged and not counted: `pumasi store check` tells more"));
    }
    Ok(names.into_iter().zip(each).collect())
}

async fn check(store: &BlobStore, dir: &Path, read_data: bool, out: &Output) -> Result<Exit, CliError> {
    let checked = store.check(read_data).await.map_err(failed(dir))?;
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    if out.json {
        out.value(&json!({
            "packs": checked.packs, "entries": checked.entries, "manifests": checked.manifests,
            "bytes_read": checked.bytes_read, "problems": problems,
        }))?;
    } else {
        problems.iter().try_for_each(|problem| out.line(&format!("problem: {problem}")))?;
        let read = if read_data { format!(", {} read", ByteSize(checked.bytes_read)) } else { String::new() };
        let found = if problems.is_empty() {
            "all is well".to_owned()
        } else {
            format!("{} problems", problems.len())
        };
        out.line(&format!("{} packs, {} entries{read}: {found}", checked.packs, checked.entries))?;
    }
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Failed })
}

async fn repair(store: &BlobStore, dir: &Path, out: &Output) -> Result<Exit, CliError> {
    let done = store.repair().await.map_err(failed(dir))?;
    if out.json {
        out.value(&json!({
            "packs_replaced": done.packs_replaced, "packs_missing": done.packs_missing,
            "entries_lost": done.entries_lost, "blobs_lost": done.blobs_lost,
        }))?;
    } else {
        done.blobs_lost.iter().try_for_each(|blob| out.line(&format!("lost: blob {blob}")))?;
        let (replaced, missing, lost) = (done.packs_replaced, done.packs_missing, done.entries_lost);
        out.line(&format!("{replaced} damaged packs replaced, {missing} missing; {lost} entries lost"))?;
    }
    Ok(if done.entries_lost == 0 { Exit::Ok } else { Exit::Failed })
}

async fn collect(store: &BlobStore, dir: &Path, out: &Output) -> Result<Exit, CliError> {
    if !names::has_names(dir) {
        return Err(CliError::NoNames { dir: dir.to_owned() });
    }
    let roots = roots(store, dir).await?;
    let done = store.collect(stream::iter(roots)).await.map_err(failed(dir))?;
    let value = json!({
        "roots": done.roots, "missing_roots": done.missing_roots, "packs_removed": done.packs_removed,
        "bytes_removed": done.bytes_removed, "bytes_rewritten": done.bytes_rewritten,
        "dead_bytes_kept": done.dead_bytes_kept,
    });
    let (packs, removed, rewritten) =
        (done.packs_removed, ByteSize(done.bytes_removed), ByteSize(done.bytes_rewritten));
    out.told(&value, &format!("{packs} packs removed: {removed}, {rewritten} of it written again"))
        .map(|()| Exit::Ok)
}
