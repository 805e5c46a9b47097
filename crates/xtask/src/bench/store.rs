//! The store beside backup programs that keep equal bytes once, too: what goes in, again, and out, in MB/s.

mod contender;
mod listing;
mod memory;
mod sets;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Map, Value, json};

use self::contender::Contender;
use self::sets::size_of;
pub(crate) use self::sets::write_random;
use super::{example, machine, median};
use crate::Outcome;
use crate::build::{self, Profile, root};

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Measure these sets only: random, tree, tar, many; without it the first three: `many` takes longer than they do
    /// together
    #[arg(long, value_delimiter = ',', value_parser = ["random", "tree", "tar", "many"])]
    only: Vec<String>,
    /// Size of the random file in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    size: u64,
    /// Small files of the set `many`, in folders of 1,000
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    files: u32,
    /// Measure nothing but our own peak memory: with a tenth of so many MiB of noise, and with all of it, which takes
    /// as much of the disk
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(10..=1 << 24))]
    memory: Option<u64>,
    /// Measure these programs only: pumasi, restic, borg, rustic
    #[arg(long, value_delimiter = ',', value_parser = ["pumasi", "restic", "borg", "rustic"])]
    programs: Vec<String>,
    /// How often each is measured, every program in turn; the median counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Folder to work in; takes up to five times what is measured, and is emptied
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A real tree to store; copies of the sources and documents of this machine when absent
    #[arg(long)]
    tree: Option<PathBuf>,
}

/// Size of the file that shows what the disk can do.
const LIMIT_MIB: u64 = 1024;
const PROGRAMS: [&str; 4] = ["pumasi", "restic", "borg", "rustic"];

/// Whether a list of what is wanted, in which nothing stands for everything, has this.
fn wants(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == name)
}

pub(crate) fn run(options: &Options) -> Outcome {
    let dir = options.dir.clone().unwrap_or_else(|| root().join("target/bench-store"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let (machine, limits) = (machine(), limits(&dir)?);
    println!("{machine}\nlimits {limits}");
    if !contender::may_empty_caches() {
        println!(
            "the page cache cannot be emptied without root: on ext4 without a journal restores of many files then take \
             longer for whoever is measured later"
        );
    }
    let mut figures = match options.memory {
        Some(mib) => Map::from_iter([("memory".to_owned(), memory::measure(&dir, mib)?)]),
        None => measure_sets(&dir, options)?,
    };
    fs::remove_dir_all(&dir)?;
    if options.json {
        figures.insert("machine".to_owned(), machine);
        figures.insert("limits".to_owned(), limits);
        println!("{}", Value::Object(figures));
    }
    Ok(())
}

/// All sets: each by its name, with our figures and, as `peers`, those of the others.
fn measure_sets(dir: &Path, options: &Options) -> Outcome<Map<String, Value>> {
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|name| wants(&options.programs, name))
        .map(|name| (name, find(name)))
        .collect();
    let mut all = Map::new();
    let rounds = usize::from(options.rounds);
    if wants(&options.only, "random") {
        let file = dir.join("random");
        sets::write_random(&file, options.size)?;
        all.insert("random".to_owned(), measure_all(dir, &programs, rounds, "random", (&file, None))?);
        fs::remove_file(&file)?;
    }
    let tree = dir.join("tree");
    if wants(&options.only, "tree") || wants(&options.only, "tar") {
        let from = sets::grow_tree(&tree, options.tree.as_deref())?;
        println!("tree: {from}");
        if wants(&options.only, "tree") {
            let mut measured = measure_all(dir, &programs, rounds, "tree", (&tree, None))?;
            measured["from"] = json!(from);
            all.insert("tree".to_owned(), measured);
        }
    }
    if wants(&options.only, "tar") {
        let (tar, edited) = (dir.join("tree.tar"), dir.join("edited.tar"));
        sets::make_tar(&tree, &tar)?;
        let changed = sets::edit_one_in_hundred(&tree)?;
        sets::make_tar(&tree, &edited)?;
        fs::remove_dir_all(&tree)?;
        let mut measured = measure_all(dir, &programs, rounds, "tar", (&tar, Some(&edited)))?;
        measured["files_changed"] = json!(changed);
        all.insert("tar".to_owned(), measured);
        fs::remove_file(&tar)?;
        fs::remove_file(&edited)?;
    }
    if options.only.iter().any(|set| set == "many") {
        let _ = fs::remove_dir_all(&tree);
        sets::grow_many(&tree, options.files)?;
        let mut measured = measure_all(dir, &programs, rounds, "many", (&tree, None))?;
        if wants(&options.programs, "pumasi") {
            measured["hub"] = listing::measure(&tree)?;
        }
        all.insert("many".to_owned(), measured);
    }
    Ok(all)
}

/// Where a program is; one that is not there is said to be absent.
fn find(name: &str) -> Outcome<PathBuf> {
    if name == "pumasi" {
        return build::given_or(Profile::Release);
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

/// The median of each figure; what was not measured each time was not measured.
fn middle(mut rounds: Vec<Value>) -> Value {
    if let Some(at) = rounds.iter().position(|one| one.get("not_measured").is_some()) {
        return rounds.swap_remove(at);
    }
    let mut middle = rounds[0].clone();
    for (field, value) in middle.as_object_mut().into_iter().flatten() {
        let mut figures: Vec<f64> = rounds.iter().filter_map(|one| one[field].as_f64()).collect();
        if figures.len() == rounds.len() {
            *value = json!(median(&mut figures));
        }
    }
    middle
}

/// What this machine can do at most, on one core where it is about computing.
fn limits(dir: &Path) -> Outcome<Value> {
    let (file, copy) = (dir.join("limit"), dir.join("copy"));
    let rate = |begun: Instant| json!((LIMIT_MIB as f64 * 1.048_576 / begun.elapsed().as_secs_f64()).round());
    let read = || -> Outcome<Value> {
        let begun = Instant::now();
        let (mut back, mut buffer) = (fs::File::open(&file)?, vec![0; 4 << 20]);
        while back.read(&mut buffer)? > 0 {}
        Ok(rate(begun))
    };
    let copied = |from: &Path, to: &Path, option: &str| -> Outcome<Value> {
        let begun = Instant::now();
        let mut dd = Command::new("dd");
        dd.arg("bs=4M").arg(option).args(
            ["if", "of"].iter().zip([from, to]).map(|(name, path)| format!("{name}={}", path.display())),
        );
        contender::succeed(&mut dd)?;
        Ok(rate(begun))
    };
    let mut limits = super::figures(&example("pumasi-blobs", "limits")?, &[])?;
    sets::write_random(&file, LIMIT_MIB)?;
    limits.insert("write_and_sync_mb_s".to_owned(), copied(&file, &copy, "conv=fsync")?);
    limits.insert("read_cached_mb_s".to_owned(), read()?);
    limits.insert("direct_write_mb_s".to_owned(), copied(&file, &copy, "oflag=direct")?);
    limits.insert("direct_read_mb_s".to_owned(), copied(&copy, Path::new("/dev/null"), "iflag=direct")?);
    contender::forget(dir)?;
    limits.insert("read_from_disk_mb_s".to_owned(), read()?);
    fs::remove_file(&file)?;
    fs::remove_file(&copy)?;
    Ok(Value::Object(limits))
}

/// One set with every program, in turns: who comes first changes from round to round.
fn measure_all(
    dir: &Path,
    programs: &[(&'static str, Outcome<PathBuf>)],
    rounds: usize,
    set: &str,
    (input, edited): (&Path, Option<&Path>),
) -> Outcome<Value> {
    let (files, bytes) = size_of(input)?;
    println!("\n{set}: {files} files, {} MB", bytes / 1_000_000);
    println!(
        "{:>10} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "", "ingest", "again", "restore", "from disk", "stored MB", "peak MB"
    );
    let mut measured = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        for turn in 0..programs.len() {
            let at = (turn + round) % programs.len();
            let (name, program) = &programs[at];
            eprintln!("round {} of {rounds}: {name}", round + 1);
            let result = match program {
                Ok(program) => {
                    let repository = dir.join("repository");
                    let contender = Contender { name, program: program.clone(), repository };
                    contender.measure(dir, input, edited, (files, bytes))
                }
                Err(error) => Err(error.to_string().into()),
            };
            measured[at].push(result.unwrap_or_else(|error| json!({ "not_measured": error.to_string() })));
        }
    }
    let mut results = Map::new();
    for ((name, _), measured) in programs.iter().zip(measured) {
        let result = middle(measured);
        let cell = |field: &str| match &result[field] {
            Value::Number(number) => number.as_f64().map_or_else(String::new, |n| format!("{n:.0}")),
            _ => "-".to_owned(),
        };
        let stored =
            result["stored_bytes"].as_f64().map_or_else(|| "-".to_owned(), |n| format!("{:.1}", n / 1e6));
        println!(
            "{name:>10} {:>9} {:>9} {:>9} {:>9} {stored:>12} {:>9} {}",
            cell("ingest_mb_s"),
            cell("again_mb_s"),
            cell("restore_mb_s"),
            cell("restore_from_disk_mb_s"),
            cell("peak_rss_mb"),
            result.get("not_measured").or(result.get("edit_added_bytes")).unwrap_or(&Value::Null),
        );
        results.insert((*name).to_owned(), result);
    }
    Ok(in_one(files, bytes, results))
}

/// A set in one object: what it is, what came of ours, and what came of the others by their names.
fn in_one(files: u64, bytes: u64, mut results: Map<String, Value>) -> Value {
    let mut set = match results.remove("pumasi") {
        Some(Value::Object(ours)) => ours,
        _ => Map::new(),
    };
    set.extend([
        ("files".to_owned(), json!(files)),
        ("bytes".to_owned(), json!(bytes)),
        ("peers".to_owned(), Value::Object(results)),
    ]);
    Value::Object(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_our_figures_and_those_of_each_peer() {
        let ran = |ingest: f64| json!({ "ingest_mb_s": ingest });
        let absent = json!({ "not_measured": "absent" });
        let results = [("pumasi", ran(3.0)), ("borg", ran(1.0)), ("restic", absent.clone())];
        let results = results.into_iter().map(|(name, result)| (name.to_owned(), result)).collect();
        let set = in_one(2, 10, results);
        assert_eq!((&set["ingest_mb_s"], &set["bytes"]), (&json!(3.0), &json!(10)));
        assert_eq!(set["peers"], json!({ "borg": ran(1.0), "restic": absent }));
    }
}
