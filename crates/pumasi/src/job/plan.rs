//! What a job consists of: read from the files of this machine, or named in the hub.

use std::collections::HashSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pumasi_api::client::{HubClient, Source};
use pumasi_api::output::check_path;
use pumasi_api::wire::{InputFile, Limits, SubmitJob, TaskLine};
use pumasi_types::{Fuel, Hash};

use super::options::JobOptions;
use super::origin::Origin;
use super::{each, origin, upload};
use crate::drive::place::Place;
use crate::error::CliError;
use crate::output::Output;
use crate::units::credits;

/// The most tasks of a job.
pub(super) const TASKS_MAX: usize = u32::MAX as usize;
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
    pub(crate) inputs: Vec<(String, Origin)>,
    /// The tasks.
    pub(crate) tasks: Tasks,
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
    pub(crate) file: Option<Origin>,
    /// Its argument.
    pub(crate) arg: Option<String>,
}

/// Hashes of everything that a job names, known to be at the hub.
#[derive(Debug)]
struct Uploaded {
    module: Hash,
    inputs: Vec<Hash>,
    task_list: Option<Hash>,
}

impl Plan {
    /// Reads what the options name.
    pub(crate) async fn read(
        client: &HubClient,
        out: &Output,
        options: &JobOptions,
    ) -> Result<Plan, CliError> {
        let stem = options.program.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = options.name.clone().or(stem).unwrap_or_else(|| "job".to_owned());
        let mut inputs = options.inputs.iter().map(|text| input(text)).collect::<Result<Vec<_>, _>>()?;
        for text in &options.in_result {
            inputs.push(each::result(client, text).await?);
        }
        let mut names = HashSet::new();
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !names.insert(name)) {
            let problem = format!("two files would be /in/{name}");
            return Err(CliError::usage(
                problem,
                "name one: --in FILE:NAME, --in NAME=SPACE:PATH or --in-result NAME=JOB:TASK",
            ));
        }
        let tasks = if !options.each.is_empty() {
            Tasks::List(each::files(client, &options.each).await?)
        } else if let Some(job) = options.each_result {
            Tasks::List(each::of_results(client, out, job).await?)
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
                "give --each FILES, --each-result JOB, --each-line FILE or --tasks N",
            ));
        }
        if let Tasks::List(list) = &plan.tasks
            && let Some(task) =
                list.iter().find(|t| t.file.is_some() && plan.inputs.iter().any(|i| i.0 == t.name))
        {
            let problem = format!("/in/{} would be both a task's own file and one that all share", task.name);
            return Err(CliError::usage(
                problem,
                "name the shared one with --in FILE:NAME or --in NAME=SPACE:PATH",
            ));
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
            module,
            args: options.args.clone(),
            env: options.env.clone(),
            files: named.map(|((name, _), hash)| InputFile { name: name.clone(), hash }).collect(),
            task_list,
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
        let program = Origin::Here(self.program.clone());
        let shared = self.inputs.iter().map(|(_, origin)| origin);
        let tasks: &[PlannedTask] = if let Tasks::List(list) = &self.tasks { list } else { &[] };
        let own = tasks.iter().filter_map(|task| task.file.as_ref());
        let origins: Vec<&Origin> = std::iter::once(&program).chain(shared).chain(own).collect();
        let mut names = origin::ensure(client, out, &origins).await?.into_iter();
        let module = names.next().unwrap_or(Hash::ZERO);
        let inputs = names.by_ref().take(self.inputs.len()).collect();
        let Tasks::List(list) = &self.tasks else {
            return Ok(Uploaded { module, inputs, task_list: None });
        };
        let mut lines = Vec::new();
        for task in list {
            let file = task.file.as_ref().and_then(|_| names.next());
            let line = TaskLine { name: task.name.clone(), file, arg: task.arg.clone() };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|error| CliError::file("write", Path::new("the task list"))(error.into()))?;
            lines.push(b'\n');
        }
        let list = upload::ensure(client, out, &[Source::Bytes(lines.into())]).await?.pop();
        Ok(Uploaded { module, inputs, task_list: list.map(|blob| blob.hash) })
    }
}

/// `FILE`, `FILE:NAME`, `[NAME=]SPACE:PATH` or `[NAME=]HASH`. A file of this machine counts more than one in a space.
fn input(text: &str) -> Result<(String, Origin), CliError> {
    let here = |path: &str, name| Ok((checked(name)?, Origin::Here(PathBuf::from(path))));
    let (name, hash) = text.rsplit_once('=').unwrap_or((text, text));
    if let Some(hash) = origin::blob(hash).filter(|_| !Path::new(text).exists()) {
        return Ok((checked(name.to_owned())?, Origin::Blob(hash)));
    }
    if Path::new(text).exists() || !text.contains(':') {
        return here(text, file_name(Path::new(text))?);
    }
    // The name behind the last colon: the file's own name may have one.
    if let Some((path, name)) = text.rsplit_once(':').filter(|(path, _)| Path::new(path).exists()) {
        return here(path, name.to_owned());
    }
    // A space's name has no `=`, a path may.
    let (space, _) = text.split_once(':').unwrap_or_default();
    let (given, place) = match space.rsplit_once('=') {
        Some((name, _)) => (Some(name), &text[name.len() + 1..]),
        None => (None, text),
    };
    let there: Place = place.parse().map_err(|problem: String| {
        let problem = format!("'{}' is no file here: {problem}", text.escape_debug());
        CliError::usage(problem, "give FILE, FILE:NAME, SPACE:PATH or NAME=SPACE:PATH")
    })?;
    let own = there.path.name().ok_or_else(|| {
        CliError::usage(format!("'{}' is a whole space", text.escape_debug()), "name a file in it")
    })?;
    Ok((checked(given.unwrap_or(own).to_owned())?, Origin::Space(there)))
}

pub(super) fn checked(name: String) -> Result<String, CliError> {
    match check_path(&name) {
        Ok(()) => Ok(name),
        Err(error) => {
            let problem = format!("'{}' cannot be a name below /in: {error}", name.escape_debug());
            Err(CliError::usage(problem, "give a relative path, like data/genome.fa"))
        }
    }
}

pub(super) fn file_name(path: &Path) -> Result<String, CliError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| not_utf8(path))
}

pub(super) fn not_utf8(path: &Path) -> CliError {
    CliError::usage(format!("{} has no name in UTF-8", path.display()), "rename it")
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
    let file = Some(Origin::Piped(Bytes::from(bytes)));
    Ok(Tasks::List(vec![PlannedTask { name: "stdin".to_owned(), file, arg: None }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_can_be_renamed() {
        let input = |text: &str| input(text).map_err(|error| error.to_string());
        let here = |name: &str, path: &Path| (name.to_owned(), Origin::Here(path.to_owned()));
        assert_eq!(input("data/g.fa").unwrap(), here("g.fa", Path::new("data/g.fa")));
        let dir = tempfile::tempdir().unwrap();
        let (plain, odd) = (dir.path().join("a"), dir.path().join("a:b"));
        std::fs::write(&plain, "").unwrap();
        std::fs::write(&odd, "").unwrap();
        let text = |path: &Path, name: &str| format!("{}{name}", path.display());
        assert_eq!(input(&text(&plain, ":b/c")).unwrap(), here("b/c", &plain));
        assert_eq!(input(&text(&odd, "")).unwrap(), here("a:b", &odd));
        assert_eq!(input(&text(&odd, ":c")).unwrap(), here("c", &odd));
        for bad in ["a:../b", "a:", "..", "a:b//c", &text(&plain, ":../b"), &text(&plain, ":")] {
            assert!(input(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inputs_can_be_named_by_their_hash() {
        let hash = Hash::of(b"x");
        let text = hash.to_string();
        assert_eq!(input(&text).unwrap(), (text.clone(), Origin::Blob(hash)));
        assert_eq!(input(&format!("g.fa={text}")).unwrap(), ("g.fa".to_owned(), Origin::Blob(hash)));
        assert!(input(&format!("../g={text}")).is_err());
        // Less than a hash is the name of a file.
        assert!(matches!(input(&text[..60]).unwrap(), (_, Origin::Here(_))));
    }

    #[test]
    fn inputs_can_lie_in_spaces() {
        let there = |place: &str| ("g.fa".to_owned(), Origin::Space(place.parse().unwrap()));
        assert_eq!(input("lab:data/g.fa").unwrap(), there("lab:data/g.fa"));
        assert_eq!(input(":g.fa").unwrap(), there(":g.fa"));
        let named = |name: &str, place: &str| (name.to_owned(), Origin::Space(place.parse().unwrap()));
        assert_eq!(input("x=lab:g.fa").unwrap(), named("x", "lab:g.fa"));
        assert_eq!(input("a/x=:b=c:d").unwrap(), named("a/x", ":b=c:d"));
        for bad in ["=lab:g.fa", "../x=lab:g.fa", "x=lab:"] {
            assert!(input(bad).is_err(), "{bad}");
        }
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
