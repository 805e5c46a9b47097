//! Where the repository is, and how its binary is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// How much the compiler optimises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Dependencies optimised, our own crates quickly compiled.
    Dev,
    /// For measuring.
    Release,
}

/// Environment variable with the binary that the end-to-end tests use instead of building it themselves.
pub(crate) const TEST_BINARY: &str = "PUMASI_TEST_BINARY";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo, the one that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the binary and returns its path.
pub(crate) fn pumasi(profile: Profile) -> Outcome<PathBuf> {
    package("pumasi", profile)
}

/// Runs this command again, compiled for speed.
pub(crate) fn again_for_speed() -> Outcome {
    let mut again = cargo();
    again.args(["run", "--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    if again.status()?.success() { Ok(()) } else { Err("it failed; why stands above".into()) }
}

/// Builds the simulator for speed and returns its path.
pub(crate) fn simulator() -> Outcome<PathBuf> {
    package("pumasi-sim", Profile::Release)
}

fn package(name: &str, profile: Profile) -> Outcome<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", name]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the build failed; its errors stand above".into());
    }
    Ok(folder(profile).join(name))
}

/// The binary that tests use: the one that `cargo xtask test` built, or built here.
pub(crate) fn for_tests() -> Outcome<PathBuf> {
    given_or(Profile::Dev)
}

/// The binary that [`TEST_BINARY`] names, or built here.
pub(crate) fn given_or(profile: Profile) -> Outcome<PathBuf> {
    std::env::var_os(TEST_BINARY).map_or_else(|| pumasi(profile), |given| Ok(given.into()))
}

/// Where cargo puts the binary.
pub(crate) fn binary(profile: Profile) -> PathBuf {
    folder(profile).join("pumasi")
}

fn folder(profile: Profile) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    root().join(target).join(folder)
}
