//! Results of a job as files: fetched several at once, checked, and not fetched twice.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{HubClient, JobInput};
use pumasi_api::output::{self, OutputFile, TaskOutput, check_path};
use pumasi_api::wire::{Job, Task, TaskLine, Tasks};
use pumasi_types::{Hash, JobId, TaskIndex};
use serde::Serialize;

use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// Outputs that are fetched at once.
const AT_ONCE: usize = 8;
/// Tasks that are asked for at once.
const PAGE: usize = 10_000;
/// The largest encoded output, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 << 30;
/// The largest task list, in bytes.
const LIST_BYTES_MAX: u64 = 2 << 30;

/// What people call the tasks of a job.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    own: Option<Vec<String>>,
    /// Those by which nobody is called, because they would mean several tasks.
    ambiguous: HashSet<String>,
    width: usize,
}

impl Names {
    /// Reads the names from the job's task list, if it has one.
    pub(crate) async fn read(client: &HubClient, job: &Job) -> Result<Names, CliError> {
        let width = job.tasks.saturating_sub(1).to_string().len();
        let Some(hash) = job.task_list else { return Ok(Names::new(None, width)) };
        let failed = CliError::hub(format!("read the task list of job {}", job.id));
        let list = JobInput { job: job.id, hash, line: None };
        let list = client.input(&list, LIST_BYTES_MAX).await.map_err(failed)?;
        let lines = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let name =
            |line| serde_json::from_slice::<TaskLine>(line).map_or_else(|_| String::new(), |line| line.name);
        Ok(Names::new(Some(lines.map(name).collect()), width))
    }

    fn new(own: Option<Vec<String>>, width: usize) -> Names {
        let ambiguous = own.as_ref().map_or_else(HashSet::new, |own| ambiguous(own, width));
        Names { own, ambiguous, width }
    }

    /// The name of a task, which can also be the path of a file; no other task of the job has the same.
    pub(crate) fn of(&self, index: TaskIndex) -> String {
        let own = self.own.as_ref().and_then(|own| own.get(index.0 as usize));
        match own {
            Some(name) if check_path(name).is_ok() && !self.ambiguous.contains(name) => name.clone(),
            _ => numbered(index.0 as usize, self.width),
        }
    }

    /// The task that people call so, or that has this index.
    pub(crate) fn find(&self, text: &str) -> Option<TaskIndex> {
        let own = self.own.as_ref().filter(|_| !self.ambiguous.contains(text));
        let own = own.and_then(|own| own.iter().position(|name| name == text));
        let own = own.and_then(|at| u32::try_from(at).ok()).map(TaskIndex);
        own.or_else(|| text.parse().ok()).or_else(|| {
            let index = text.strip_prefix("task-")?.parse().ok()?;
            (self.of(index) == text).then_some(index)
        })
    }
}

/// What a task is called that has no name of its own.
fn numbered(task: usize, width: usize) -> String {
    format!("task-{task:0width$}")
}

/// The names that would mean several tasks: those that several have, and those that another one gets for want of a better.
fn ambiguous(own: &[String], width: usize) -> HashSet<String> {
    let (mut tasks, mut ambiguous) = (HashMap::with_capacity(own.len()), HashSet::new());
    for (task, name) in own.iter().enumerate() {
        if tasks.insert(name.as_str(), task).is_some() {
            ambiguous.insert(name.clone());
        }
    }
    let is_numbered =
        |task: &usize| check_path(&own[*task]).is_err() || ambiguous.contains(own[*task].as_str());
    let mut open: Vec<usize> = (0..own.len()).filter(is_numbered).collect();
    while let Some(task) = open.pop() {
        let number = numbered(task, width);
        let other = tasks.get(number.as_str()).copied().filter(|other| *other != task);
        // That one gets its own number, which may be a third one's name.
        if let Some(other) = other
            && ambiguous.insert(number)
        {
            open.push(other);
        }
    }
    ambiguous
}

/// What became of fetching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fetched {
    /// The job.
    pub(crate) job: JobId,
    /// Where the files are.
    pub(crate) folder: PathBuf,
    /// Outputs that were fetched.
    pub(crate) fetched: usize,
    /// Outputs that were there already, complete and right.
    pub(crate) present: usize,
    /// Tasks without an output yet.
    pub(crate) undecided: usize,
    /// Tasks that failed; what they wrote before is fetched too.
    pub(crate) failed: usize,
}

/// Fetches outputs of all tasks, or of some, into a folder.
pub(crate) async fn fetch(
    client: &HubClient,
    out: &Output,
    job: &Job,
    only: Option<&[TaskIndex]>,
    folder: &Path,
) -> Result<Fetched, CliError> {
    let names = Names::read(client, job).await?;
    let mut summary = Fetched { job: job.id, folder: folder.to_owned(), ..Fetched::default() };
    let tasks = list(client, job, only).await?;
    let (decided, undecided): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.ending.is_some());
    summary.undecided = undecided.len();
    summary.failed = decided.iter().filter(|task| task.state == "failed").count();
    fs::create_dir_all(folder).map_err(CliError::file("create", folder))?;
    let bar = Progress::start(out, "fetching", Count::Things, decided.len() as u64);
    let (names, bar) = (&names, &bar);
    let mut fetching = stream::iter(decided)
        .map(|task| async move {
            let place = Place { folder: folder.to_owned(), name: names.of(task.index) };
            one(client, job.id, &task, place).await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(was_there) = fetching.try_next().await? {
        *(if was_there { &mut summary.present } else { &mut summary.fetched }) += 1;
        bar.set((summary.present + summary.fetched) as u64, "");
    }
    bar.clear();
    Ok(summary)
}

/// The tasks of a job, page by page.
pub(crate) async fn list(
    client: &HubClient,
    job: &Job,
    only: Option<&[TaskIndex]>,
) -> Result<Vec<Task>, CliError> {
    let failed = || CliError::hub(format!("list the tasks of job {}", job.id));
    let mut all = Vec::new();
    if let Some(only) = only {
        for index in only {
            all.push(client.get(&format!("/v1/jobs/{}/tasks/{index}", job.id)).await.map_err(failed())?);
        }
        return Ok(all);
    }
    let mut from = Some(TaskIndex(0));
    while let Some(start) = from {
        let path = format!("/v1/jobs/{}/tasks?from={start}&limit={PAGE}", job.id);
        let page: Tasks = client.get(&path).await.map_err(failed())?;
        all.extend(page.tasks);
        // A page that does not lead on would lead us in circles.
        from = page.next.filter(|next| *next > start);
    }
    Ok(all)
}

/// Fetches one output, unless it is there; whether it was.
async fn one(client: &HubClient, job: JobId, task: &Task, place: Place) -> Result<bool, CliError> {
    let expected = task.result.unwrap_or_else(|| Hash::of(&output::EMPTY));
    let there = place.clone();
    let is_there = tokio::task::spawn_blocking(move || there.holds(expected)).await;
    if is_there.unwrap_or(false) {
        return Ok(true);
    }
    let output = read(client, job, task).await?;
    let written = tokio::task::spawn_blocking(move || place.write(&output)).await;
    match written {
        Ok(written) => written.map(|()| false),
        Err(_) => Err(CliError::BadOutput {
            job,
            task: task.index,
            problem: "could not be written: the program is at fault".to_owned(),
        }),
    }
}

/// Fetches the output of a task and checks that it is the one that was agreed on.
pub(crate) async fn read(client: &HubClient, job: JobId, task: &Task) -> Result<TaskOutput, CliError> {
    let Some(expected) = task.result else { return Ok(TaskOutput::default()) };
    let bad = |problem: String| CliError::BadOutput { job, task: task.index, problem };
    let path = format!("/v1/jobs/{job}/tasks/{}/output", task.index);
    let failed = CliError::hub(format!("fetch the output of task {} of job {job}", task.index));
    let bytes: Bytes = client.get_bytes(&path, OUTPUT_BYTES_MAX).await.map_err(failed)?;
    let seen = Hash::of(&bytes);
    if seen != expected {
        return Err(bad(format!("arrived damaged: its hash is {seen}, not {expected}")));
    }
    TaskOutput::decode(bytes).map_err(|error| bad(format!("is malformed: {error}")))
}

/// Where the output of a task belongs: NAME.out, NAME.err, and its files in NAME.files/.
///
/// Each name gets a suffix, so that no task's file is in the way of another's.
#[derive(Clone, Debug)]
struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.name))
    }

    /// Whether the output that was agreed on is here, complete.
    fn holds(&self, expected: Hash) -> bool {
        let Ok(stdout) = fs::read(self.path("out")) else { return false };
        let stderr = match fs::read(self.path("err")) {
            Ok(stderr) => stderr,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(_) => return false,
        };
        let mut files = Vec::new();
        if collect(&self.path("files"), "", &mut files).is_none() {
            return false;
        }
        files.sort();
        TaskOutput { stdout: stdout.into(), stderr: stderr.into(), files }.result_hash() == expected
    }

    /// Writes the output; each file appears whole.
    fn write(&self, output: &TaskOutput) -> Result<(), CliError> {
        for file in &output.files {
            write(&self.path("files").join(&file.path), &file.bytes)?;
        }
        if !output.stderr.is_empty() {
            write(&self.path("err"), &output.stderr)?;
        }
        write(&self.path("out"), &output.stdout)
    }
}

/// The files below a folder; none when something in it cannot be part of an output.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<OutputFile>) -> Option<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if prefix.is_empty() && error.kind() == io::ErrorKind::NotFound => return Some(()),
        Err(_) => return None,
    };
    for entry in entries {
        let entry = entry.ok()?;
        let path = format!("{prefix}{}", entry.file_name().to_str()?);
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && check_path(&path).is_ok() {
            files.push(OutputFile { path, bytes: fs::read(entry.path()).ok()?.into() });
        } else {
            return None;
        }
    }
    Some(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(CliError::file("create", dir))?;
    let whole = || {
        // As any program creates files: the umask says who may read them.
        let mode = fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    };
    whole().map(drop).map_err(CliError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> TaskOutput {
        let file = |path: &str| OutputFile { path: path.to_owned(), bytes: Bytes::from_static(b"x") };
        TaskOutput {
            stdout: "out".into(),
            stderr: "err".into(),
            files: vec![file("a"), file("b/c"), file("b/d")],
        }
    }

    #[test]
    fn what_was_written_is_recognised_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { folder: dir.path().to_owned(), name: "sub/x.fa".to_owned() };
        let output = example();
        let hash = output.result_hash();
        assert!(!place.holds(hash));
        place.write(&output).unwrap();
        assert!(place.holds(hash));
        assert_eq!(fs::read(dir.path().join("sub/x.fa.files/b/c")).unwrap(), b"x");
        fs::write(dir.path().join("sub/x.fa.files/b/c"), "y").unwrap();
        assert!(!place.holds(hash));
        place.write(&output).unwrap();
        assert!(place.holds(hash));
        fs::remove_file(dir.path().join("sub/x.fa.err")).unwrap();
        assert!(!place.holds(hash));
    }

    #[test]
    fn an_empty_output_is_an_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { folder: dir.path().to_owned(), name: "x".to_owned() };
        let empty = Hash::of(&output::EMPTY);
        assert!(!place.holds(empty), "a missing file is not an empty one");
        place.write(&TaskOutput::default()).unwrap();
        assert!(place.holds(empty));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_and_strange_names_are_not_taken_for_results() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { folder: dir.path().to_owned(), name: "x".to_owned() };
        let output = example();
        place.write(&output).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("x.files/link")).unwrap();
        assert!(!place.holds(output.result_hash()));
        fs::remove_file(dir.path().join("x.files/link")).unwrap();
        fs::write(dir.path().join("x.files/a\nb"), "").unwrap();
        assert!(!place.holds(output.result_hash()));
    }

    #[test]
    fn hostile_names_are_replaced() {
        let names = Names::new(Some(vec!["a.fa".into(), "../x".into(), "/etc/x".into(), String::new()]), 2);
        let all: Vec<_> = (0..5).map(|index| names.of(TaskIndex(index))).collect();
        assert_eq!(all, ["a.fa", "task-01", "task-02", "task-03", "task-04"]);
        assert_eq!(names.find("a.fa"), Some(TaskIndex(0)));
        assert_eq!(names.find("7"), Some(TaskIndex(7)));
        assert_eq!(names.find("task-03"), Some(TaskIndex(3)));
        assert_eq!(["b.fa", "task-3", "task-00"].map(|name| names.find(name)), [None; 3]);
    }

    #[test]
    fn tasks_that_share_a_name_do_not_share_their_files() {
        let names = Names::new(Some(["a", "b", "a", "c", "a"].map(str::to_owned).into()), 1);
        let all: Vec<_> = (0..5).map(|index| names.of(TaskIndex(index))).collect();
        assert_eq!(all, ["task-0", "b", "task-2", "c", "task-4"]);
        assert_eq!(names.find("a"), None, "nobody is called so");
        let found = all.iter().map(|name| names.find(name));
        assert_eq!(found.collect::<Vec<_>>(), [0, 1, 2, 3, 4].map(|index| Some(TaskIndex(index))));
    }

    #[test]
    fn a_name_that_is_the_number_of_another_task_gives_way() {
        let called = |own: &[&str]| -> Vec<String> {
            let names = Names::new(Some(own.iter().map(|name| (*name).to_owned()).collect()), 1);
            let all: Vec<_> = (0..own.len() as u32).map(|index| names.of(TaskIndex(index))).collect();
            for (index, name) in (0..).zip(&all) {
                assert_eq!(names.find(name), Some(TaskIndex(index)), "{own:?}: {name}");
            }
            all
        };
        assert_eq!(called(&["task-2", "task-0", "task-1"]), ["task-2", "task-0", "task-1"], "each has one");
        assert_eq!(called(&["task-1", "x", "x"]), ["task-0", "task-1", "task-2"]);
        assert_eq!(called(&["x", "task-1", "task-1"]), ["x", "task-1", "task-2"]);
        assert_eq!(
            called(&["task-3", "task-0", "y", "../z"]),
            ["task-0", "task-1", "y", "task-3"],
            "in turn"
        );
    }
}
