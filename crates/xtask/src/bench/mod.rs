//! Benchmarks: they print figures, the machine and peers of the same run; they never judge.

mod audit;
mod orders;
mod paced;
mod peers;
mod proof;
mod s3;
mod scale;
mod store;
mod tasks;
mod trust;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::Outcome;
use crate::build;

pub(crate) use self::store::write_random;

/// What to measure, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// No-op tasks: scheduled, run, verified and durably paid
    Tasks(tasks::Options),
    /// No-op tasks at a given rate, with and without proofs: what proofs cost the hub
    Paced(paced::Options),
    /// A real hub's log fetched and applied again by an auditor
    Audit(audit::Options),
    /// The core alone with up to so many workers and tasks: time of a decision, memory, how both grow
    Scale(scale::Options),
    /// Proofs: a leaf, a checkpoint, the check of a receipt
    Proof(proof::Options),
    /// Orders: durable, paid and settled, over Arrow Flight and HTTP
    Orders(orders::Options),
    /// The store beside restic, borg and rustic: a random file, a real tree, a tar of it and the same changed
    Store(store::Options),
    /// The gateway for S3 beside SeaweedFS: objects of 64 MiB and of 4 KiB
    S3(s3::Options),
    /// Gangs of liars against several ways to believe results: what gets through, and what it costs
    Trust(trust::Options),
}

pub(crate) fn run(options: &Options) -> Outcome {
    match &options.what {
        What::Tasks(options) => tasks::run(options),
        What::Paced(options) => paced::run(options),
        What::Audit(options) => audit::run(options),
        What::Scale(options) => scale::run(options),
        What::Proof(options) => proof::run(options),
        What::Orders(options) => orders::run(options),
        What::Store(options) => store::run(options),
        What::S3(options) => s3::run(options),
        What::Trust(options) => trust::run(options),
    }
}

/// Builds an example of a package that measures, and returns its path.
fn example(package: &str, name: &str) -> Outcome<PathBuf> {
    let mut build = build::cargo();
    build.args(["build", "--release", "--package", package, "--example", name]);
    if !build.status()?.success() {
        return Err("the build failed; its errors stand above".into());
    }
    Ok(build::binary(build::Profile::Release).with_file_name("examples").join(name))
}

/// What an example prints, line by line `name value`, in a process whose memory nothing else has touched.
fn figures(program: &Path, arguments: &[&str]) -> Outcome<Map<String, Value>> {
    let what = arguments.join(" ");
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("measuring {what} failed: {text}").into());
    }
    let mut figures = Map::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (name, value) = line.split_once(' ').ok_or_else(|| format!("{what} printed '{line}'"))?;
        figures.insert(name.to_owned(), serde_json::from_str(value)?);
    }
    Ok(figures)
}

/// What the figures were measured on.
fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    serde_json::json!({
        "cpu": model.unwrap_or("unknown"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory_gib": memory.unwrap_or(0) >> 20,
        "kernel": kernel.trim(),
    })
}

/// The middle of some figures.
fn median(figures: &mut [f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this part of all figures lies (nearest rank).
fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let rank = (part * figures.len() as f64).ceil() as usize;
    figures.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
