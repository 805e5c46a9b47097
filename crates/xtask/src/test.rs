//! Every test, on a machine that has only Rust: sets up what it can and says what it could not.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::build::{self, Profile, cargo, root};

/// How the tests are run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install nothing; tests that lack a tool say so and are skipped
    #[arg(long)]
    offline: bool,
}

/// Debian packages that some tests use when they are there.
const PACKAGES: [(&str, &str); 6] = [
    ("clang", "clang"),
    ("wasm-ld", "lld"),
    ("/usr/include/wasm32-wasi/stdio.h", "wasi-libc"),
    ("faketime", "faketime"),
    ("rclone", "rclone"),
    ("s3fs", "s3fs"),
];
const RUNTIME: (&str, &str) =
    ("/usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a", "libclang-rt-14-dev-wasm32");

/// Formats and lints.
pub(crate) fn check() -> Outcome {
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    step("lint", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Checks and runs everything.
pub(crate) fn run(options: &Options) -> Outcome {
    if !options.offline {
        set_up();
    }
    check()?;
    step(
        "examples are what their sources say",
        Command::new("sh").arg("examples/rebuild.sh").current_dir(root()),
    )?;
    let python = python();
    step(
        "the example's science",
        Command::new(python).arg("examples/smith-waterman/test.py").current_dir(root()),
    )?;
    // One build for all, so that the end-to-end tests need no second one with other features.
    step("build", cargo().args(["build", "--workspace", "--all-targets"]))?;
    let mut tests = cargo();
    tests.env(build::TEST_BINARY, build::binary(Profile::Dev));
    step("tests", tests.args(["test", "--workspace", "--no-fail-fast"]))?;
    println!("\nAll tests passed.");
    Ok(())
}

fn step(name: &str, command: &mut Command) -> Outcome {
    println!("\n== {name}");
    let status =
        command.status().map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: failed; see above").into()) }
}

/// Installs what makes more tests run. Nothing depends on it: a test that lacks a tool says so.
fn set_up() {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .chain([&RUNTIME])
        .filter(|(proof, _)| !is_there(proof))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() && rustix::process::geteuid().is_root() && is_there("apt-get") {
        println!("== installing {}", missing.join(", "));
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).status().is_ok_and(|s| s.success());
        let installed = quiet(Command::new("apt-get").args(["-qq", "update"]))
            && quiet(Command::new("apt-get").args(["-qq", "-y", "install"]).args(&missing));
        if !installed {
            println!("could not install them: the tests that need them will say so");
        }
    }
    let venv = venv();
    if !venv.join("bin/python").exists() {
        println!("== setting up Python's wasmtime, an independent engine for the example's test");
        let made =
            Command::new("python3").args(["-m", "venv"]).arg(&venv).status().is_ok_and(|s| s.success())
                && Command::new(venv.join("bin/pip"))
                    .args(["install", "--quiet", "--disable-pip-version-check", "wasmtime"])
                    .status()
                    .is_ok_and(|s| s.success());
        if !made {
            println!("could not set it up: the test that needs it will say so");
        }
    }
}

fn venv() -> std::path::PathBuf {
    root().join("target/test-venv")
}

/// Python with what was set up, or the machine's own.
fn python() -> std::path::PathBuf {
    let own = venv().join("bin/python");
    if own.exists() { own } else { "python3".into() }
}

fn is_there(proof: &str) -> bool {
    if proof.starts_with('/') {
        return Path::new(proof).exists();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(proof).exists())
}
