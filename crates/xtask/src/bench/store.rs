//! The store beside backup programs that keep equal bytes once, too: what goes in, again, and out, in MB/s.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{example, machine};
use crate::Outcome;
use crate::build::root;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Measure these sets only: random, tree, tar
    #[arg(long, value_delimiter = ',', value_parser = ["random", "tree", "tar"])]
    only: Vec<String>,
    /// Size of the random file in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    size: u64,
    /// Measure these programs only: pumasi, restic, borg, rustic
    #[arg(long, value_delimiter = ',', value_parser = ["pumasi", "restic", "borg", "rustic"])]
    programs: Vec<String>,
    /// Folder to work in; takes up to five times what is measured, and is emptied
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A real tree to store; copies of the sources and documents of this machine when absent
    #[arg(long)]
    tree: Option<PathBuf>,
}

const PROGRAMS: [&str; 4] = ["pumasi", "restic", "borg", "rustic"];
/// Bytes of the tree at most, so that it is like the one that others measured.
const TREE_MAX_MB: u64 = 1_500;

/// A program with a repository of its own.
struct Contender {
    name: &'static str,
    program: PathBuf,
    repository: PathBuf,
}

/// How a command went.
struct Ran {
    seconds: f64,
    peak_rss_mb: u64,
    stdout: String,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let wants = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let dir = options.dir.clone().unwrap_or_else(|| root().join("target/bench-store"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|name| wants(&options.programs, name))
        .map(|name| (name, find(name)))
        .collect();
    let (machine, limits) = (machine(), limits(&dir)?);
    println!("{machine}\nlimits {limits}");
    let mut sets = Map::new();
    if wants(&options.only, "random") {
        let file = dir.join("random");
        write_random(&file, options.size)?;
        sets.insert("random".to_owned(), measure_all(&dir, &programs, "random", &file, None)?);
        fs::remove_file(&file)?;
    }
    if wants(&options.only, "tree") || wants(&options.only, "tar") {
        let tree = dir.join("tree");
        let from = grow_tree(&tree, options.tree.as_deref())?;
        println!("tree: {from}");
        if wants(&options.only, "tree") {
            let mut measured = measure_all(&dir, &programs, "tree", &tree, None)?;
            measured["from"] = json!(from);
            sets.insert("tree".to_owned(), measured);
        }
        if wants(&options.only, "tar") {
            let (tar, edited) = (dir.join("tree.tar"), dir.join("edited.tar"));
            make_tar(&tree, &tar)?;
            let changed = edit_one_in_hundred(&tree)?;
            make_tar(&tree, &edited)?;
            fs::remove_dir_all(&tree)?;
            let mut measured = measure_all(&dir, &programs, "tar", &tar, Some(&edited))?;
            measured["files_changed"] = json!(changed);
            sets.insert("tar".to_owned(), measured);
        }
    }
    fs::remove_dir_all(&dir)?;
    if options.json {
        println!("{}", json!({ "machine": machine, "limits": limits, "sets": sets }));
    }
    Ok(())
}

/// Where a program is; one that is not there is said to be absent.
fn find(name: &str) -> Outcome<PathBuf> {
    if name == "pumasi" {
        return example("pumasi-blobs", "store");
    }
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    };
    let debian = if name == "borg" { "borgbackup" } else { name };
    if on_path().is_none() && name != "rustic" {
        let mut install = Command::new("apt-get");
        let _ = install
            .args(["-qq", "-y", "install", debian])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    on_path().ok_or_else(|| match name {
        "rustic" => "rustic is not there: `cargo install rustic-rs --locked`".into(),
        _ => format!("{name} is not there: install {debian}").into(),
    })
}

/// What this machine can do at most, on one core where it is about computing.
fn limits(dir: &Path) -> Outcome<Value> {
    let file = dir.join("limit");
    let block = vec![0x5a_u8; 4 << 20];
    let begun = Instant::now();
    let mut out = fs::File::create(&file)?;
    for _ in 0..128 {
        out.write_all(&block)?;
    }
    out.sync_all()?;
    let write_mb_s = 512.0 * 1.048_576 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let (mut back, mut buffer) = (fs::File::open(&file)?, vec![0; 4 << 20]);
    while back.read(&mut buffer)? > 0 {}
    let read_mb_s = 512.0 * 1.048_576 / begun.elapsed().as_secs_f64();
    fs::remove_file(&file)?;
    let mut limits = super::figures(&example("pumasi-blobs", "store")?, &["-", "limits"])?;
    limits.insert("write_and_sync_mb_s".to_owned(), json!(write_mb_s.round()));
    limits.insert("read_cached_mb_s".to_owned(), json!(read_mb_s.round()));
    Ok(Value::Object(limits))
}

/// A file of noise, the same for the same size.
fn write_random(file: &Path, mib: u64) -> Outcome {
    let mut out = fs::File::create(file)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64* (Vigna 2016).
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            word.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        out.write_all(&block)?;
    }
    out.sync_all()?;
    Ok(())
}

/// Copies a tree, so that nothing changes it while it is measured. Returns what it is made of.
fn grow_tree(tree: &Path, from: Option<&Path>) -> Outcome<String> {
    fs::create_dir_all(tree)?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    let usual = ["/usr/include", "/usr/share", "/usr/lib/python3"].map(PathBuf::from);
    let parts: Vec<PathBuf> = match from {
        Some(from) => vec![from.to_owned()],
        None => sources.into_iter().chain(usual).filter(|part| part.is_dir()).collect(),
    };
    let mut taken = Vec::new();
    for part in parts {
        if from.is_none() && size_of(&part)?.1 + size_of(tree)?.1 > TREE_MAX_MB * 1_000_000 {
            continue;
        }
        let name = part.to_string_lossy().trim_matches('/').replace('/', "-");
        succeed(Command::new("cp").args(["-a", "--no-preserve=ownership"]).arg(&part).arg(tree.join(&name)))?;
        taken.push(match part.starts_with("/usr") || from.is_some() {
            true => part.display().to_string(),
            false => "sources in cargo's registry".to_owned(),
        });
    }
    let (files, bytes) = size_of(tree)?;
    Ok(format!("{}: {files} files, {} MB", taken.join(", "), bytes / 1_000_000))
}

fn make_tar(tree: &Path, tar: &Path) -> Outcome {
    succeed(Command::new("tar").args(["--sort=name", "-cf"]).arg(tar).arg("-C").arg(tree).arg("."))
}

/// Puts a line into the middle of every hundredth file. Returns how many those are.
fn edit_one_in_hundred(tree: &Path) -> Outcome<u64> {
    let mut files = Vec::new();
    walk(tree, &mut |path, _| files.push(path.to_owned()))?;
    files.sort();
    let mut changed = 0;
    for file in files.iter().step_by(100) {
        let mut bytes = fs::read(file)?;
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle, *b"\nThis line is new here.\n");
        fs::remove_file(file)?;
        fs::write(file, bytes)?;
        changed += 1;
    }
    Ok(changed)
}

/// Regular files and their bytes.
fn size_of(path: &Path) -> Outcome<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    walk(path, &mut |_, length| {
        files += 1;
        bytes += length;
    })?;
    Ok((files, bytes))
}

fn walk(path: &Path, each: &mut dyn FnMut(&Path, u64)) -> Outcome {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), each)?;
        }
    } else if meta.is_file() {
        each(path, meta.len());
    }
    Ok(())
}

/// One set with every program.
fn measure_all(
    dir: &Path,
    programs: &[(&'static str, Outcome<PathBuf>)],
    set: &str,
    input: &Path,
    edited: Option<&Path>,
) -> Outcome<Value> {
    let (files, bytes) = size_of(input)?;
    println!("\n{set}: {files} files, {} MB", bytes / 1_000_000);
    println!(
        "{:>10} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "", "ingest", "again", "restore", "stored MB", "peak MB"
    );
    let mut results = Map::new();
    for (name, program) in programs {
        let result = match program {
            Ok(program) => {
                let repository = dir.join("repository");
                let contender = Contender { name, program: program.clone(), repository };
                contender.measure(dir, input, edited, bytes)
            }
            Err(error) => Err(error.to_string().into()),
        };
        let result = result.unwrap_or_else(|error| json!({ "not_measured": error.to_string() }));
        let cell = |field: &str| match &result[field] {
            Value::Number(number) => number.as_f64().map_or_else(String::new, |n| format!("{n:.0}")),
            _ => "-".to_owned(),
        };
        let stored =
            result["stored_bytes"].as_f64().map_or_else(|| "-".to_owned(), |n| format!("{:.1}", n / 1e6));
        println!(
            "{name:>10} {:>9} {:>9} {:>9} {stored:>12} {:>9} {}",
            cell("ingest_mb_s"),
            cell("again_mb_s"),
            cell("restore_mb_s"),
            cell("peak_rss_mb"),
            result.get("not_measured").or(result.get("edit_added_bytes")).unwrap_or(&Value::Null),
        );
        results.insert((*name).to_owned(), result);
    }
    Ok(json!({ "files": files, "bytes": bytes, "programs": results }))
}

impl Contender {
    fn measure(&self, dir: &Path, input: &Path, edited: Option<&Path>, bytes: u64) -> Outcome<Value> {
        let _ = fs::remove_dir_all(&self.repository);
        self.prepare(dir)?;
        let rate = |seconds: f64| (bytes as f64 / 1e6 / seconds * 10.0).round() / 10.0;
        let ingest = self.put(dir, input, "first")?;
        settle()?;
        let stored = size_of(&self.repository)?.1;
        let again = self.put(dir, input, "again")?;
        settle()?;
        let out = dir.join("restored");
        let restore = self.get(dir, input, &ingest.stdout, &out)?;
        if self.name == "pumasi" {
            succeed(Command::new("diff").args(["-r", "--no-dereference"]).arg(input).arg(&out))?;
        }
        if out.is_dir() {
            fs::remove_dir_all(&out)?
        } else {
            fs::remove_file(&out)?
        }
        settle()?;
        let peak = ingest.peak_rss_mb.max(again.peak_rss_mb).max(restore.peak_rss_mb);
        let mut result = json!({
            "ingest_mb_s": rate(ingest.seconds), "again_mb_s": rate(again.seconds),
            "restore_mb_s": rate(restore.seconds), "stored_bytes": stored, "peak_rss_mb": peak,
        });
        if let Some(edited) = edited {
            let before = size_of(&self.repository)?.1;
            self.put(dir, edited, "edited")?;
            result["edit_added_bytes"] = json!(size_of(&self.repository)?.1.saturating_sub(before));
        }
        fs::remove_dir_all(&self.repository)?;
        Ok(result)
    }

    fn command<S: AsRef<OsStr>>(&self, dir: &Path, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("RESTIC_PASSWORD", "bench")
            .env("RUSTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", dir.join("cache"))
            .env("XDG_CACHE_HOME", dir.join("cache"))
            .env("BORG_BASE_DIR", dir.join("borg"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        command
    }

    fn prepare(&self, dir: &Path) -> Outcome {
        let repository = self.repository.as_os_str();
        let r: [&OsStr; 3] = [OsStr::new("-r"), repository, OsStr::new("init")];
        match self.name {
            "pumasi" => Ok(()),
            "borg" => {
                let init: [&OsStr; 4] = ["init".as_ref(), "-e".as_ref(), "none".as_ref(), repository];
                self.ran(self.command(dir, &init)).map(drop)
            }
            _ => self.ran(self.command(dir, &r)).map(drop),
        }
    }

    /// Puts everything, every byte read, whatever was read before.
    fn put(&self, dir: &Path, input: &Path, label: &str) -> Outcome<Ran> {
        let (repository, input) = (self.repository.as_os_str(), input.as_os_str());
        let archive = format!("{}::{label}", self.repository.display());
        let arguments: Vec<&OsStr> = match self.name {
            "pumasi" => vec![repository, "put".as_ref(), input],
            "borg" => {
                vec!["create".as_ref(), "--files-cache=disabled".as_ref(), archive.as_ref(), input]
            }
            _ => vec!["-r".as_ref(), repository, "backup".as_ref(), "--force".as_ref(), input],
        };
        self.ran(self.command(dir, &arguments))
    }

    fn get(&self, dir: &Path, input: &Path, stored: &str, out: &Path) -> Outcome<Ran> {
        let repository = self.repository.as_os_str();
        let archive = format!("{}::first", self.repository.display());
        let words: Vec<&str> = stored.split_whitespace().collect();
        let arguments: Vec<&OsStr> = match self.name {
            "pumasi" => {
                let [kind, hash] = words[..] else { return Err(format!("put printed '{stored}'").into()) };
                vec![repository, "get".as_ref(), kind.as_ref(), hash.as_ref(), out.as_os_str()]
            }
            "borg" => vec!["extract".as_ref(), archive.as_ref()],
            "restic" => {
                let (restore, target): (&OsStr, &OsStr) = ("restore".as_ref(), "--target".as_ref());
                vec!["-r".as_ref(), repository, restore, "latest".as_ref(), target, out.as_os_str()]
            }
            _ => vec!["-r".as_ref(), repository, "restore".as_ref(), "latest".as_ref(), out.as_os_str()],
        };
        let _ = input;
        let mut command = self.command(dir, &arguments);
        if self.name == "borg" {
            fs::create_dir_all(out)?;
            command.current_dir(out);
        }
        self.ran(command)
    }

    fn ran(&self, command: Command) -> Outcome<Ran> {
        ran(command).map_err(|error| format!("{}: {error}", self.name).into())
    }
}

/// Runs a command to its end and watches what memory it takes.
fn ran(mut command: Command) -> Outcome<Ran> {
    let begun = Instant::now();
    let log = tempfile::tempfile()?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let mut peak_kib = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(line.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let stdout = reader.join().map_err(|_| "the reader panicked")??;
    if !ended.success() {
        use std::io::Seek;
        let (mut log, mut text) = (log, String::new());
        log.rewind()?;
        log.read_to_string(&mut text)?;
        return Err(format!("{command:?} failed: {}", text.lines().last().unwrap_or_default()).into());
    }
    Ok(Ran { seconds, peak_rss_mb: (peak_kib * 1024).div_ceil(1_000_000), stdout })
}

/// What one wrote to the disk must not slow down the next.
fn settle() -> Outcome {
    succeed(&mut Command::new("sync"))
}

fn succeed(command: &mut Command) -> Outcome {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("{command:?} failed: {}", text.lines().next().unwrap_or_default()).into())
        }
    }
}
