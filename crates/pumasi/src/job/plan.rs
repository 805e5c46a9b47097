//! What a job consists of, read from the files of this machine.

use std::collections::HashSet;
use std::io::{IsTerminal, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use pumasi_api::client::{HubClient, Source};
use pumasi_api::output::check_path;
use pumasi_api::wire::files::{ClaimedFile, HOME};
use pumasi_api::wire::{InputFile, Limits, StoredBlob, SubmitJob, TaskLine};
use pumasi_types::{FilePath, Fuel, Hash};

use super::options::JobOptions;
use super::{glob, upload};
use crate::error::CliError;
use crate::output::Output;
use crate::units::credits;

/// The most tasks of a job.
const TASKS_MAX: usize = u32::MAX as usize;
/// The longest file of lines that is read, in bytes.
const LINES_BYTES_MAX: u64 = 1 << 30;

/// A job that is not yet submitted.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to call it.
    pub(crate) name: String,
    /// The module.
    pub(crate) program: PathBuf,
    /// Files that all tasks share, by path below /in.
    pub(crate) inputs: Vec<(String, Shared)>,
    /// The tasks.
    pub(crate) tasks: Tasks,
}

/// Where a file lies that all tasks share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// On this machine.
    Here(PathBuf),
    /// In the hub: in a space, at a path.
    There(String, FilePath),
}

/// The tasks of a job.
#[derive(Debug)]
pub(crate) enum Tasks {
    /// So many without anything of their own.
    Count(u32),
    /// Each with something of its own.
    List(Vec<PlannedTask>),
}

/// A task with something of its own.
#[derive(Debug)]
pub(crate) struct PlannedTask {
    /// What people call it; the name of its file below /in.
    pub(crate) name: String,
    /// Its file.
    pub(crate) file: Option<Source>,
    /// Its argument.
    pub(crate) arg: Option<String>,
}

/// Hashes of everything that a job names, known to be at the hub.
#[derive(Debug)]
struct Uploaded {
    module: StoredBlob,
    inputs: Vec<Hash>,
    task_list: Option<StoredBlob>,
}

impl Plan {
    /// Reads what the options name.
    pub(crate) fn read(options: &JobOptions) -> Result<Plan, CliError> {
        let stem = options.program.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = options.name.clone().or(stem).unwrap_or_else(|| "job".to_owned());
        let inputs = options.inputs.iter().map(|text| input(text)).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !names.insert(name)) {
            let problem = format!("two files would be /in/{name}");
            return Err(CliError::usage(problem, "name one of them with --in FILE:NAME"));
        }
        let tasks = if !options.each.is_empty() {
            Tasks::List(each_file(&glob::expand(&options.each)?)?)
        } else if let Some(lines) = &options.each_line {
            Tasks::List(each_line(&read_lines(lines)?))
        } else if let Some(count) = options.tasks {
            Tasks::Count(count)
        } else {
            piped()?
        };
        let plan = Plan { name, program: options.program.clone(), inputs, tasks };
        if plan.count() == 0 {
            return Err(CliError::usage(
                "there are no tasks",
                "give --each FILES, --each-line FILE or --tasks N",
            ));
        }
        if let Tasks::List(list) = &plan.tasks
            && let Some(task) =
                list.iter().find(|t| t.file.is_some() && plan.inputs.iter().any(|i| i.0 == t.name))
        {
            let problem = format!("/in/{} would be both a task's own file and one that all share", task.name);
            return Err(CliError::usage(problem, "name the shared one with --in FILE:NAME"));
        }
        Ok(plan)
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> usize {
        match &self.tasks {
            Tasks::Count(count) => *count as usize,
            Tasks::List(list) => list.len(),
        }
    }

    /// What people call a task.
    pub(crate) fn task_name(&self, index: usize) -> String {
        match &self.tasks {
            Tasks::Count(_) => index.to_string(),
            Tasks::List(list) => list[index].name.clone(),
        }
    }

    /// Brings everything to the hub and writes the order for it.
    pub(crate) async fn order(
        &self,
        client: &HubClient,
        out: &Output,
        options: &JobOptions,
        fuel: Option<Fuel>,
    ) -> Result<SubmitJob, CliError> {
        let Uploaded { module, inputs, task_list } = self.upload(client, out).await?;
        let named = self.inputs.iter().zip(inputs);
        Ok(SubmitJob {
            name: self.name.clone(),
            module: module.hash,
            args: options.args.clone(),
            env: options.env.clone(),
            files: named.map(|((name, _), hash)| InputFile { name: name.clone(), hash }).collect(),
            task_list: task_list.map(|blob| blob.hash),
            tasks: u32::try_from(self.count()).unwrap_or(u32::MAX),
            limits: Limits {
                fuel: options.fuel.or(fuel).map(|fuel| fuel.0),
                memory_bytes: Some(options.memory.0),
                wall_ms: Some(options.wall),
                output_bytes: Some(options.output_limit.0),
            },
            // The hub knows what most of its workers run.
            engine: None,
            quorum: options.quorum,
            checks: options.checks.into(),
            priority: options.priority,
            bid: Some(credits(options.bid.as_amount())),
            budget: credits(options.budget),
            deadline_ms: options.deadline,
            max_losses: options.retries,
            max_failures: options.max_failures,
            after: options.after.clone(),
            seed: options.seed,
            clock_ms: None,
        })
    }

    async fn upload(&self, client: &HubClient, out: &Output) -> Result<Uploaded, CliError> {
        let mut sources = vec![Source::File(self.program.clone())];
        sources.extend(self.inputs.iter().filter_map(|(_, shared)| match shared {
            Shared::Here(path) => Some(Source::File(path.clone())),
            Shared::There(..) => None,
        }));
        if let Tasks::List(list) = &self.tasks {
            sources.extend(list.iter().filter_map(|task| task.file.clone()));
        }
        let mut stored = upload::ensure(client, out, &sources).await?.into_iter();
        let missing = || CliError::usage("the hub stored fewer files than were sent", "try again");
        let module = stored.next().ok_or_else(missing)?;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (_, shared) in &self.inputs {
            inputs.push(match shared {
                Shared::Here(_) => stored.next().ok_or_else(missing)?.hash,
                Shared::There(space, path) => claim(client, space, path).await?,
            });
        }
        let Tasks::List(list) = &self.tasks else {
            return Ok(Uploaded { module, inputs, task_list: None });
        };
        let mut lines = Vec::new();
        for task in list {
            let file = match &task.file {
                Some(_) => Some(stored.next().ok_or_else(missing)?.hash),
                None => None,
            };
            let line = TaskLine { name: task.name.clone(), file, arg: task.arg.clone() };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|error| CliError::file("write", Path::new("the task list"))(error.into()))?;
            lines.push(b'\n');
        }
        let task_list = upload::ensure(client, out, &[Source::Bytes(lines.into())]).await?.pop();
        Ok(Uploaded { module, inputs, task_list })
    }
}

/// `FILE`, `FILE:NAME` or `SPACE:PATH`. A file of this machine counts more than one in a space.
fn input(text: &str) -> Result<(String, Shared), CliError> {
    let here = |path: &str, name| Ok((checked(name)?, Shared::Here(PathBuf::from(path))));
    let Some((space, path)) = text.split_once(':').filter(|_| !Path::new(text).exists()) else {
        return here(text, file_name(Path::new(text))?);
    };
    // The name behind the last colon: the file's own name may have one.
    if let Some((path, name)) = text.rsplit_once(':').filter(|(path, _)| Path::new(path).exists()) {
        return here(path, name.to_owned());
    }
    let there: FilePath = path.parse().map_err(|error| {
        let problem = format!("'{}' is neither a file here nor one in a space: {error}", text.escape_debug());
        CliError::usage(problem, "give FILE, FILE:NAME or SPACE:PATH")
    })?;
    let name = there.name().map(str::to_owned).ok_or_else(|| {
        CliError::usage(format!("'{}' is a whole space", text.escape_debug()), "name a file in it")
    })?;
    let space = if space.is_empty() { HOME } else { space };
    Ok((checked(name)?, Shared::There(space.to_owned(), there)))
}

/// Has the hub note that the caller may read a file in a space, so that a job can be given it. Its bytes stay where they are.
async fn claim(client: &HubClient, space: &str, path: &FilePath) -> Result<Hash, CliError> {
    let failed = CliError::hub(format!("use {space}:{path} as an input"));
    let claimed = client.claim_files(space, vec![path.clone()], None).await.map_err(failed)?.files.pop();
    let problem = match claimed {
        Some(ClaimedFile { blob: Some(blob), .. }) => return Ok(blob),
        Some(ClaimedFile { error: Some(error), .. }) => error.message,
        _ => "the hub does not say why".to_owned(),
    };
    let problem = format!("{space}:{path} cannot be an input: {problem}");
    Err(CliError::usage(problem, "`pumasi ls` shows what lies in your spaces"))
}

fn checked(name: String) -> Result<String, CliError> {
    match check_path(&name) {
        Ok(()) => Ok(name),
        Err(error) => {
            let problem = format!("'{}' cannot be a name below /in: {error}", name.escape_debug());
            Err(CliError::usage(problem, "give a relative path, like data/genome.fa"))
        }
    }
}

fn file_name(path: &Path) -> Result<String, CliError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| not_utf8(path))
}

fn not_utf8(path: &Path) -> CliError {
    CliError::usage(format!("{} has no name in UTF-8", path.display()), "rename it")
}

/// Tasks named as their files, or, where two files are named alike, as their paths.
fn each_file(files: &[PathBuf]) -> Result<Vec<PlannedTask>, CliError> {
    if files.len() > TASKS_MAX {
        return Err(CliError::usage("there are too many files", "split them over several jobs"));
    }
    let mut names = files.iter().map(|path| file_name(path)).collect::<Result<Vec<_>, _>>()?;
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        names = files.iter().map(|path| path_name(path)).collect::<Result<_, _>>()?;
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(CliError::usage(format!("--each names {name} twice"), "name each file once"));
    }
    let task = |(name, path): (String, &PathBuf)| {
        Ok(PlannedTask { name: checked(name)?, file: Some(Source::File(path.clone())), arg: None })
    };
    names.into_iter().zip(files).map(task).collect()
}

/// The path without what leads out of a folder.
fn path_name(path: &Path) -> Result<String, CliError> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str().ok_or_else(|| not_utf8(path))),
        _ => None,
    });
    Ok(parts.collect::<Result<Vec<_>, _>>()?.join("/"))
}

fn read_lines(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(LINES_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LINES_BYTES_MAX).read_to_string(&mut text))
    };
    let len = read.map_err(CliError::file("read", path))?;
    if len as u64 == LINES_BYTES_MAX {
        return Err(CliError::usage(
            format!("{} is larger than 1 GiB", path.display()),
            "split it over several jobs",
        ));
    }
    Ok(text)
}

/// Tasks named by the number of their line, from 1, with as many digits as the last.
fn each_line(text: &str) -> Vec<PlannedTask> {
    let count = text.lines().count();
    let width = count.to_string().len();
    let task = |(index, line): (usize, &str)| PlannedTask {
        name: format!("{:0width$}", index + 1),
        file: None,
        arg: Some(line.to_owned()),
    };
    text.lines().enumerate().map(task).collect()
}

/// One task; what is piped into this program is piped into the task.
fn piped() -> Result<Tasks, CliError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(Tasks::Count(1));
    }
    let mut bytes = Vec::new();
    stdin.lock().read_to_end(&mut bytes).map_err(CliError::file("read", Path::new("standard input")))?;
    if bytes.is_empty() {
        return Ok(Tasks::Count(1));
    }
    let file = Some(Source::Bytes(Bytes::from(bytes)));
    Ok(Tasks::List(vec![PlannedTask { name: "stdin".to_owned(), file, arg: None }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Result<Vec<String>, String> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        let tasks = each_file(&files).map_err(|error| error.to_string())?;
        Ok(tasks.into_iter().map(|task| task.name).collect())
    }

    #[test]
    fn tasks_are_named_as_their_files() {
        assert_eq!(names(&["a/x.fa", "b/y.fa"]).unwrap(), ["x.fa", "y.fa"]);
        assert_eq!(names(&["/a/x.fa", "../b/x.fa", "z"]).unwrap(), ["a/x.fa", "b/x.fa", "z"]);
        assert_eq!(names(&["a/x", "./a/x"]).unwrap_err(), "--each names a/x twice");
        assert!(names(&[".."]).is_err());
        assert!(names(&["a\nb"]).is_err());
    }

    #[test]
    fn inputs_can_be_renamed() {
        let input = |text: &str| input(text).map_err(|error| error.to_string());
        let here = |name: &str, path: &Path| (name.to_owned(), Shared::Here(path.to_owned()));
        assert_eq!(input("data/g.fa").unwrap(), here("g.fa", Path::new("data/g.fa")));
        let dir = tempfile::tempdir().unwrap();
        let (plain, odd) = (dir.path().join("a"), dir.path().join("a:b"));
        std::fs::write(&plain, "").unwrap();
        std::fs::write(&odd, "").unwrap();
        let text = |path: &Path, name: &str| format!("{}{name}", path.display());
        assert_eq!(input(&text(&plain, ":b/c")).unwrap(), here("b/c", &plain));
        assert_eq!(input(&text(&odd, "")).unwrap(), here("a:b", &odd));
        assert_eq!(input(&text(&odd, ":c")).unwrap(), here("c", &odd));
        for bad in ["a:../b", "a:/b", "a:", "..", "a:b//c", &text(&plain, ":../b"), &text(&plain, ":")] {
            assert!(input(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inputs_can_lie_in_spaces() {
        let there = |space: &str, path: &str| Shared::There(space.to_owned(), path.parse().unwrap());
        assert_eq!(input("lab:data/g.fa").unwrap(), ("g.fa".to_owned(), there("lab", "data/g.fa")));
        assert_eq!(input(":g.fa").unwrap(), ("g.fa".to_owned(), there("~", "g.fa")));
    }

    #[test]
    fn lines_become_arguments() {
        let tasks = each_line(&"x\n".repeat(10));
        assert_eq!((tasks[0].name.as_str(), tasks[9].name.as_str()), ("01", "10"));
        assert_eq!(tasks[0].arg.as_deref(), Some("x"));
        assert_eq!(each_line("").len(), 0);
        assert_eq!(
            each_line("a b\r\nc").iter().filter_map(|t| t.arg.as_deref()).collect::<Vec<_>>(),
            ["a b", "c"]
        );
    }
}
