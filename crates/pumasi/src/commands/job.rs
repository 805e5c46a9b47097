//! `pumasi job`, `logs` and `cancel`: one job.

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::{Checks, Job, Task};
use pumasi_types::JobId;
use serde_json::json;

use super::jobs::task_table;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::results::{self, Names};
use crate::job::watch::{self, Interrupt, Watched};
use crate::output::{Output, Table};
use crate::units;

/// Asks for a job.
pub(crate) async fn ask(client: &HubClient, id: JobId) -> Result<Job, CliError> {
    client.get(&format!("/v1/jobs/{id}")).await.map_err(CliError::hub(format!("show job {id}")))
}

/// Whether a job did what it should.
pub(crate) fn verdict(job: &Job) -> Exit {
    if job.over && job.state != "succeeded" { Exit::Failed } else { Exit::Ok }
}

const JOB_EXAMPLES: &str = "\
Examples:
  pumasi job 7
  pumasi job 7 --wait && pumasi fetch 7            wait for a job that was detached
  pumasi job 7 --tasks                             with its tasks
  pumasi receipt get --job 7                       the receipts of all that it paid

With --wait it ends with 1 when the job did not succeed.";

/// Show a job, or wait for it
#[derive(Args, Debug)]
#[command(after_help = JOB_EXAMPLES)]
pub(crate) struct JobArgs {
    /// Number of the job
    job: JobId,
    /// Wait until it is over
    #[arg(short, long)]
    wait: bool,
    /// List all its tasks too
    #[arg(long)]
    tasks: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl JobArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let mut job = ask(&client, self.job).await?;
        if self.wait {
            job = match watch::watch(&client, out, &mut Interrupt::listen(), job).await? {
                Watched::Over(job) => *job,
                Watched::Detached | Watched::Cancelled => return Ok(Exit::Interrupted),
            };
        }
        if !self.tasks {
            out.show(&job, "", || facts(&job))?;
            if job.over {
                out.note(&format!("receipts of what it paid: pumasi receipt get --job {}", job.id));
            }
            return Ok(if self.wait { verdict(&job) } else { Exit::Ok });
        }
        let tasks = results::list(&client, &job, None).await?;
        if out.json {
            out.value(&json!({ "job": job, "tasks": tasks }))?;
        } else {
            let names = Names::read(&client, &job).await?;
            out.table(&facts(&job))?;
            out.line("")?;
            out.table(&task_table(&tasks, &names))?;
        }
        Ok(if self.wait { verdict(&job) } else { Exit::Ok })
    }
}

/// A job as names and values.
pub(crate) fn facts(job: &Job) -> Table {
    let time = match job.over_ms {
        Some(over) => format!(
            "{}, took {}",
            units::moment(job.submitted_ms),
            units::span(over.saturating_sub(job.submitted_ms))
        ),
        None => units::moment(job.submitted_ms),
    };
    let checks = if job.checks == Checks::Off { "off" } else { "hidden" };
    Table::facts([
        ("job", format!("{} '{}' of {}", job.id, job.name, job.owner)),
        ("state", job.state.clone()),
        (
            "tasks",
            format!(
                "{}: {} succeeded, {} failed, {} running",
                job.tasks, job.succeeded, job.failed, job.running
            ),
        ),
        ("spent", format!("{} of {} CRD, {} fuel", job.spent, job.budget, job.fuel)),
        (
            "terms",
            format!("quorum {}, checks {checks}, bid {} CRD, engine {}", job.quorum, job.bid, job.engine),
        ),
        ("trust", trust(job)),
        ("submitted", time),
        ("module", job.module.to_string()),
    ])
}

/// What of its results is not certain yet, and what was.
fn trust(job: &Job) -> String {
    let mut parts = Vec::new();
    for (count, what) in [
        (job.provisional, "results not paid before a check of their owner"),
        (job.doubted, "being checked"),
        (job.withdrawn, "taken back and computed again"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if job.waits_for.is_some() {
        parts.push("waits for another owner".to_owned());
    }
    if parts.is_empty() { "nothing in doubt".to_owned() } else { parts.join(", ") }
}

const LOGS_EXAMPLES: &str = "\
Examples:
  pumasi logs 7                                    of a job with one task
  pumasi logs 7 12                                 of task 12
  pumasi logs 7 query3.fa --stderr                 by name, only what went to stderr";

/// Print what a task wrote to stdout and stderr
#[derive(Args, Debug)]
#[command(after_help = LOGS_EXAMPLES)]
pub(crate) struct LogsArgs {
    /// Number of the job
    job: JobId,
    /// Number or name of the task; needed when the job has more than one
    task: Option<String>,
    /// Only what it wrote to stdout
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only what it wrote to stderr, printed to stdout
    #[arg(long)]
    stderr: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl LogsArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let job = ask(&client, self.job).await?;
        let index = match &self.task {
            Some(text) => Names::read(&client, &job).await?.find(text).ok_or_else(|| {
                CliError::usage(
                    format!("job {} has no task named '{text}'", job.id),
                    "`pumasi tasks JOB` lists numbers and names",
                )
            })?,
            None if job.tasks == 1 => pumasi_types::TaskIndex(0),
            None => {
                let problem = format!("job {} has {} tasks", job.id, job.tasks);
                return Err(CliError::usage(problem, "name one: `pumasi logs JOB TASK`"));
            }
        };
        let path = format!("/v1/jobs/{}/tasks/{index}", job.id);
        let failed = CliError::hub(format!("show task {index} of job {}", job.id));
        let task: Task = client.get(&path).await.map_err(failed)?;
        if task.ending.is_none() {
            out.note(&format!("task {index} has written nothing yet: it is {}", task.state));
            return Ok(Exit::Ok);
        }
        let output = results::read(&client, job.id, &task).await?;
        if out.json {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            out.value(&json!({
                "task": task, "stdout": text(&output.stdout), "stderr": text(&output.stderr),
            }))?;
        } else if self.stderr {
            out.raw(&output.stderr)?;
        } else {
            if !self.stdout {
                out.raw_err(&output.stderr);
            }
            out.raw(&output.stdout)?;
        }
        Ok(Exit::Ok)
    }
}

const CANCEL_EXAMPLES: &str = "\
Examples:
  pumasi cancel 7
  pumasi cancel 7 8 9";

/// End jobs; what is left of their budget comes back
#[derive(Args, Debug)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    /// Numbers of the jobs
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
    #[command(flatten)]
    hub: HubArgs,
}

impl CancelArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let mut cancelled = Vec::new();
        for id in self.jobs {
            let job: Job = client
                .post(&format!("/v1/jobs/{id}/cancel"), &(), None)
                .await
                .map_err(CliError::hub(format!("cancel job {id}")))?;
            if !out.json {
                out.line(&format!("cancelled job {id}: {} of {} CRD spent", job.spent, job.budget))?;
            }
            cancelled.push(job);
        }
        if out.json {
            out.value(&cancelled)?;
        }
        Ok(Exit::Ok)
    }
}
