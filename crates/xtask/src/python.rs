//! Python with packages from PyPI, in environments of their own below `target`, each made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::build::root;

/// An interpreter that can import `module`; `packages` are installed if it cannot.
pub(crate) fn with(environment: &str, module: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let venv = root().join("target").join(environment);
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    if run(Command::new(&python).args(["-c", &format!("import {module}")])).is_err() {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(&python).args(pip).args(packages))?;
    }
    Ok(python)
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
