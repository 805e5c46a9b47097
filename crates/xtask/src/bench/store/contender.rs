//! The programs, ours among them: how each is told to store and to restore, and what that took.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::sets::{size_of, walk};
use crate::Outcome;

/// A program with a repository of its own.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) repository: PathBuf,
}

/// What borg is told to leave out.
const BORG_LESS: [&str; 3] = ["--noxattrs", "--noacls", "--noflags"];

/// How long is waited at most until the disk rests.
const REST_MAX: Duration = Duration::from_secs(60);

/// The file that empties the page cache for whoever writes into it.
const CACHES: &str = "/proc/sys/vm/drop_caches";

/// How a command went.
pub(super) struct Ran {
    pub(super) seconds: f64,
    pub(super) peak_rss_mb: u64,
}

impl Contender {
    /// Everything with one set of so many files and bytes; what comes back is compared for ours only. It comes back twice:
    /// as the repository lies in memory after it was written, and from the disk.
    pub(super) fn measure(
        &self,
        dir: &Path,
        input: &Path,
        edited: Option<&Path>,
        (files, bytes): (u64, u64),
    ) -> Outcome<Value> {
        let _ = fs::remove_dir_all(&self.repository);
        empty_caches()?;
        read_all(input)?;
        self.prepare(dir)?;
        let rate = |seconds: f64| (bytes as f64 / 1e6 / seconds * 10.0).round() / 10.0;
        let files_s = |seconds: f64| (files as f64 / seconds).round();
        let ingest = self.put(dir, input, "first")?;
        settle()?;
        let stored = size_of(&self.repository)?.1;
        let again = self.put(dir, input, "again")?;
        settle()?;
        let restore = self.restore(dir, input)?;
        forget(&self.repository)?;
        let from_disk = self.restore(dir, input)?;
        let peak = [&ingest, &again, &restore, &from_disk].map(|ran| ran.peak_rss_mb).into_iter().max();
        let mut result = json!({
            "ingest_mb_s": rate(ingest.seconds), "again_mb_s": rate(again.seconds),
            "restore_mb_s": rate(restore.seconds), "restore_from_disk_mb_s": rate(from_disk.seconds),
            "stored_bytes": stored, "peak_rss_mb": peak,
        });
        if files > 1 {
            result["ingest_files_s"] = json!(files_s(ingest.seconds));
            result["restore_files_s"] = json!(files_s(restore.seconds));
        }
        if let Some(edited) = edited {
            let before = size_of(&self.repository)?.1;
            self.put(dir, edited, "edited")?;
            result["edit_added_bytes"] = json!(size_of(&self.repository)?.1.saturating_sub(before));
        }
        fs::remove_dir_all(&self.repository)?;
        Ok(result)
    }

    /// Gets what was put first, and removes it.
    fn restore(&self, dir: &Path, input: &Path) -> Outcome<Ran> {
        let out = dir.join("restored");
        let restore = self.get(dir, &out)?;
        if self.name == "pumasi" {
            succeed(Command::new("diff").args(["-r", "--no-dereference"]).arg(input).arg(&out))?;
        }
        if out.is_dir() {
            fs::remove_dir_all(&out)?
        } else {
            fs::remove_file(&out)?
        }
        empty_caches()?;
        Ok(restore)
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
            "pumasi" => {
                let (dir, name): (&OsStr, &OsStr) = ("--dir".as_ref(), "--name".as_ref());
                vec!["store".as_ref(), "put".as_ref(), input, name, label.as_ref(), dir, repository]
            }
            "borg" => {
                // Ours keeps none of these either.
                let less = BORG_LESS.map(OsStr::new);
                let put = ["create".as_ref(), "--files-cache=disabled".as_ref()];
                put.into_iter().chain(less).chain([archive.as_ref(), input]).collect()
            }
            _ => vec!["-r".as_ref(), repository, "backup".as_ref(), "--force".as_ref(), input],
        };
        self.ran(self.command(dir, &arguments))
    }

    fn get(&self, dir: &Path, out: &Path) -> Outcome<Ran> {
        let repository = self.repository.as_os_str();
        let archive = format!("{}::first", self.repository.display());
        let arguments: Vec<&OsStr> = match self.name {
            "pumasi" => {
                let (get, label): (&OsStr, &OsStr) = ("get".as_ref(), "first".as_ref());
                vec!["store".as_ref(), get, label, out.as_os_str(), "--dir".as_ref(), repository]
            }
            "borg" => {
                let less = BORG_LESS.map(OsStr::new);
                ["extract".as_ref()].into_iter().chain(less).chain([archive.as_ref()]).collect()
            }
            "restic" => {
                let (restore, target): (&OsStr, &OsStr) = ("restore".as_ref(), "--target".as_ref());
                vec!["-r".as_ref(), repository, restore, "latest".as_ref(), target, out.as_os_str()]
            }
            _ => vec!["-r".as_ref(), repository, "restore".as_ref(), "latest".as_ref(), out.as_os_str()],
        };
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

/// Runs a command that reads nothing to its end.
pub(super) fn ran(command: Command) -> Outcome<Ran> {
    let (seconds, peak_rss_mb, _) = watched(command, |_| Ok(()), io::read_to_string)?;
    Ok(Ran { seconds, peak_rss_mb })
}

/// Runs a command to its end: how many seconds that took, its memory at most in MB, and what `take` made of what it
/// wrote; `feed` writes what it reads.
pub(super) fn watched<T: Send + 'static>(
    mut command: Command,
    feed: impl FnOnce(ChildStdin) -> io::Result<()> + Send + 'static,
    take: impl FnOnce(ChildStdout) -> io::Result<T> + Send + 'static,
) -> Outcome<(f64, u64, T)> {
    let begun = Instant::now();
    let mut log = tempfile::tempfile()?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.try_clone()?);
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
    let feeder = std::thread::spawn(move || feed(input));
    let taker = std::thread::spawn(move || take(output));
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
    if !ended.success() {
        log.rewind()?;
        let text = io::read_to_string(log)?;
        return Err(format!("{command:?} failed: {}", text.lines().last().unwrap_or_default()).into());
    }
    feeder.join().map_err(|_| "the feeder panicked")??;
    let taken = taker.join().map_err(|_| "the reader panicked")??;
    Ok((seconds, (peak_kib * 1024).div_ceil(1_000_000), taken))
}

/// What one wrote to the disk, or removed from it, must not slow down the next: waits until the disk has nothing to do,
/// because what is freed may be given back to it long after that was acknowledged.
pub(super) fn settle() -> Outcome {
    succeed(&mut Command::new("sync"))?;
    let begun = Instant::now();
    let mut seen = fs::read_to_string("/proc/diskstats")?;
    while begun.elapsed() < REST_MAX {
        std::thread::sleep(Duration::from_secs(1));
        let now = fs::read_to_string("/proc/diskstats")?;
        if now == seen {
            break;
        }
        seen = now;
    }
    Ok(())
}

/// What was removed must not slow down what comes next either. ext4 without a journal gives no inode to a new file that was
/// freed within the last minutes, as long as its table lies in memory, and looks through all of these for each new file: a
/// tree that is restored after another one was removed takes three times as long. So the page cache is emptied, in which the
/// tables lie, where the system allows that.
fn empty_caches() -> Outcome {
    settle()?;
    if may_empty_caches() {
        fs::write(CACHES, "1")?;
    }
    Ok(())
}

/// Whether this process has the right to.
pub(super) fn may_empty_caches() -> bool {
    fs::File::options().write(true).open(CACHES).is_ok()
}

/// Has everything below in the page cache, as every program finds it.
fn read_all(input: &Path) -> Outcome {
    walk(input, &mut |file, _| {
        // What cannot be read is found by the programs.
        let _ = fs::File::open(file).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    })
}

/// Takes what lies in a folder out of the page cache, so that whoever reads it next reads the disk.
pub(super) fn forget(path: &Path) -> Outcome {
    settle()?;
    walk(path, &mut |file, _| {
        // One that vanished needs no forgetting.
        if let Ok(file) = fs::File::open(file) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    })
}

pub(super) fn succeed(command: &mut Command) -> Outcome {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("{command:?} failed: {}", text.lines().next().unwrap_or_default()).into())
        }
    }
}
