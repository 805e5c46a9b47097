//! Fuzzing: every decoder of bytes from outside for a while, on the compiler that the project builds with.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::build::{cargo, root};

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// One target of `fuzz/fuzz_targets`; all when absent
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

/// More memory than this is out of proportion for any input, in MiB.
const MEMORY_MIB: u32 = 1024;
/// The longest input, in bytes: decoders that are wrong are wrong for short ones.
const INPUT_BYTES: u32 = 8192;

pub(crate) fn run(options: &Options) -> Outcome {
    install()?;
    let all = targets()?;
    let chosen: Vec<&String> = match &options.target {
        None => all.iter().collect(),
        Some(name) => all.iter().filter(|target| *target == name).collect(),
    };
    if chosen.is_empty() {
        return Err(format!("there is no such target; there are {}", all.join(", ")).into());
    }
    for target in &chosen {
        println!("\n== {target}");
        let work = root().join("target/fuzz-corpus").join(target);
        std::fs::create_dir_all(&work)?;
        let mut command = fuzz();
        command.args(["run", target]).arg(&work);
        let seeds = root().join("fuzz/seeds").join(target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        command.arg("--").args([
            format!("-max_total_time={}", options.seconds),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={INPUT_BYTES}"),
            "-timeout=10".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        if !command.status()?.success() {
            return Err(format!("{target}: something was found; how to repeat it stands above").into());
        }
    }
    println!("\n{} targets found nothing.", chosen.len());
    Ok(())
}

/// `cargo fuzz`. The sanitizers that it asks for are behind the compiler's unstable flags, which a stable
/// compiler takes only with this variable; it has their runtime libraries too.
fn fuzz() -> Command {
    let mut command = cargo();
    command.arg("fuzz").env("RUSTC_BOOTSTRAP", "1");
    command
}

fn install() -> Outcome {
    let there = fuzz().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
    if there {
        return Ok(());
    }
    println!("== installing cargo-fuzz");
    let installed = cargo().args(["install", "cargo-fuzz", "--locked"]).status()?.success();
    if installed { Ok(()) } else { Err("cargo-fuzz could not be installed; see above".into()) }
}

/// The names of all targets, in order.
fn targets() -> Outcome<Vec<String>> {
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let files = std::fs::read_dir(root().join("fuzz/fuzz_targets"))?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = files.iter().filter_map(|file| name(&file.path())).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_built_and_described() {
        let text = |name: &str| std::fs::read_to_string(root().join("fuzz").join(name)).expect("a text");
        let (manifest, readme) = (text("Cargo.toml"), text("README.md"));
        for target in targets().expect("a folder of targets") {
            let path = format!("path = \"fuzz_targets/{target}.rs\"");
            assert!(manifest.contains(&path), "fuzz/Cargo.toml lacks {path}");
            assert!(readme.contains(&format!("| `{target}` |")), "fuzz/README.md does not describe {target}");
        }
    }
}
