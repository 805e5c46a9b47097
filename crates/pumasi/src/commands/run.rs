//! `pumasi run` and `submit`: order a computation.

use std::path::PathBuf;

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::wire::{Job, Task};
use pumasi_types::{Ending, TaskIndex};
use serde_json::json;

use super::job::verdict;
use super::jobs::task_table;
use crate::connect::HubArgs;
use crate::drive::place::Argument;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::bring;
use crate::job::estimate;
use crate::job::options::JobOptions;
use crate::job::plan::Plan;
use crate::job::results::{self, Names};
use crate::job::watch::{self, Interrupt, Watched};
use crate::output::{Output, Style, Table};
use crate::units;

/// How long the hub may hold back the answer to a submission, so that short jobs are over with it.
const SUBMIT_WAIT_MS: u64 = 300;
/// Failed tasks that are listed at the end.
const FAILED_SHOWN: usize = 5;

const RUN_EXAMPLES: &str = "\
Examples:
  pumasi run hello.wasm --budget 0.1               one task, like a local command
  sort words.txt | pumasi run count.wasm --budget 0.1
  pumasi run sw.wasm --each queries/*.fa --in targets.fa --budget 5 --out scores
  pumasi run fold.wasm --each-line sequences.txt --quorum 2 --budget 20 -- {arg}
  pumasi run sw.wasm --each 'lab:queries/*.fa' --in lab:targets.fa --budget 5 --out lab:scores
  pumasi run merge.wasm --in-result scores=7:0 --each-result 8 --budget 1
  pumasi run pi.wasm --tasks 1000 --budget 2 --detach -- {index}

Before it starts, up to three of the tasks run here to estimate the price; a job whose estimate \
exceeds its budget does not start without --yes. It never costs more than its budget, and what is left \
comes back.

Ctrl-C asks whether to detach from the job, to cancel it or to go on. Without a terminal the first \
Ctrl-C detaches, and a second within two seconds cancels.

Ends with the task's own exit code when the job has one task; otherwise with 1 when a task failed.";

/// Run a program over many inputs on the pool, and wait for the results
#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    options: JobOptions,
    /// Write results into this folder, as `pumasi fetch` does, or have the hub put them into a space
    #[arg(short, long, value_name = "FOLDER|SPACE:PATH", help_heading = "Results")]
    out: Option<PathBuf>,
    /// Print the number of the job and do not wait
    #[arg(short, long, help_heading = "Results", conflicts_with = "out")]
    detach: bool,
    #[command(flatten)]
    hub: HubArgs,
}

const SUBMIT_EXAMPLES: &str = "\
Examples:
  job=$(pumasi submit pi.wasm --tasks 1000 --budget 2 -- {index})
  pumasi submit merge.wasm --budget 1 --after $job
  pumasi job $job --wait && pumasi fetch $job

Takes the options of `pumasi run`, which waits for the results.";

/// Order a computation and print the number of its job
#[derive(Args, Debug)]
#[command(after_help = SUBMIT_EXAMPLES)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    options: JobOptions,
    #[command(flatten)]
    hub: HubArgs,
}

impl SubmitArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let job = submit(&client, out, &mut Interrupt::listen(), &self.options, 0).await?;
        print_number(out, &job)?;
        Ok(Exit::Ok)
    }
}

impl RunArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let to = match &self.out {
            Some(to) => Some(bring::target(&client, to).await?),
            None => None,
        };
        let mut interrupt = Interrupt::listen();
        let wait_ms = if self.detach { 0 } else { SUBMIT_WAIT_MS };
        let job = submit(&client, out, &mut interrupt, &self.options, wait_ms).await?;
        if self.detach {
            out.note(&watch::how_to_go_on(job.id));
            print_number(out, &job)?;
            return Ok(Exit::Ok);
        }
        let id = job.id;
        match watch::watch(&client, out, &mut interrupt, job).await? {
            Watched::Over(job) => interrupt.guard(conclude(&client, out, &job, to.as_ref())).await,
            Watched::Detached => Ok(Exit::Interrupted),
            Watched::Cancelled => {
                out.note(&format!("cancelled job {id}"));
                Ok(Exit::Interrupted)
            }
        }
    }
}

/// Estimates, uploads and orders.
async fn submit(
    client: &HubClient,
    out: &Output,
    interrupt: &mut Interrupt,
    options: &JobOptions,
    wait_ms: u64,
) -> Result<Job, CliError> {
    let plan = Plan::read(client, out, options).await?;
    let estimate = interrupt.guard(estimate::check(&plan, options, out)).await?;
    let fuel = estimate::fuel_limit(estimate.as_ref(), options);
    let order = interrupt.guard(plan.order(client, out, options, Some(fuel))).await?;
    let submit = async {
        let failed = CliError::hub(format!("submit job '{}'", plan.name));
        client.post::<_, Job>(&format!("/v1/jobs?wait_ms={wait_ms}"), &order, None).await.map_err(failed)
    };
    let job = interrupt.guard(submit).await.map_err(|error| match error {
        CliError::Interrupted => CliError::InterruptedSubmission,
        error => error,
    })?;
    out.note(&format!("submitted job {} '{}'", job.id, job.name));
    Ok(job)
}

fn print_number(out: &Output, job: &Job) -> Result<(), CliError> {
    if out.json { out.value(job) } else { out.line(&job.id.to_string()) }
}

/// Brings the results of a job that is over, and says how it went.
async fn conclude(
    client: &HubClient,
    out: &Output,
    job: &Job,
    to: Option<&Argument>,
) -> Result<Exit, CliError> {
    let brought = match to {
        Some(to) => Some(bring::bring(client, out, job, None, to).await?),
        None => None,
    };
    if job.tasks == 1 {
        return conclude_one(client, out, job, to.is_none()).await;
    }
    if out.json {
        out.value(&json!({ "job": job, "results": brought }))?;
        return Ok(verdict(job));
    }
    let style = Style::of_state(&job.state);
    let took = units::span(job.over_ms.unwrap_or(job.submitted_ms).saturating_sub(job.submitted_ms));
    let mut table = Table::new(&[">JOB", "STATE", ">SUCCEEDED", ">FAILED", ">SPENT", ">TOOK", "RESULTS"]);
    let results = match to {
        Some(Argument::Local(folder)) => folder.display().to_string(),
        Some(Argument::Remote(place)) => place.to_string(),
        None => format!("pumasi fetch {}", job.id),
    };
    table.styled_row([
        (job.id.to_string(), Style::Plain),
        (job.state.clone(), style),
        (job.succeeded.to_string(), Style::Plain),
        (job.failed.to_string(), if job.failed > 0 { Style::Bad } else { Style::Plain }),
        (format!("{} CRD", job.spent), Style::Plain),
        (took, Style::Plain),
        (results, Style::Plain),
    ]);
    out.table(&table)?;
    if job.failed > 0 {
        show_failed(client, out, job).await?;
    }
    Ok(if job.failed > 0 { Exit::Failed } else { verdict(job) })
}

async fn show_failed(client: &HubClient, out: &Output, job: &Job) -> Result<(), CliError> {
    let path = format!("/v1/jobs/{}/tasks?state=failed&limit={FAILED_SHOWN}", job.id);
    let failed = CliError::hub(format!("list the failed tasks of job {}", job.id));
    let page: pumasi_api::wire::Tasks = client.get(&path).await.map_err(failed)?;
    let names = Names::read(client, job).await?;
    out.line("")?;
    out.table(&task_table(&page.tasks, &names))?;
    out.note(&format!("`pumasi logs {} TASK` shows what a task wrote", job.id));
    Ok(())
}

/// A job of one task is like a local command: its output is ours, and so is its exit code.
async fn conclude_one(client: &HubClient, out: &Output, job: &Job, shown: bool) -> Result<Exit, CliError> {
    let path = format!("/v1/jobs/{}/tasks/{}", job.id, TaskIndex(0));
    let failed = CliError::hub(format!("show the task of job {}", job.id));
    let task: Task = client.get(&path).await.map_err(failed)?;
    if out.json {
        out.value(&json!({ "job": job, "task": task }))?;
    } else if shown && task.ending.is_some() {
        let output = results::read(client, job.id, &task).await?;
        out.raw_err(&output.stderr);
        out.raw(&output.stdout)?;
        if !output.files.is_empty() {
            let s = if output.files.len() == 1 { "" } else { "s" };
            out.note(&format!(
                "{} file{s} in /out: `pumasi fetch {}` fetches them",
                output.files.len(),
                job.id
            ));
        }
    }
    Ok(match task.ending {
        Some(Ending::Exited { code: 0 }) => verdict(job),
        Some(Ending::Exited { code }) => Exit::Program(u8::try_from(code).unwrap_or(1)),
        Some(ending) => {
            out.warn(&format!("the task ended as: {ending}"));
            Exit::Failed
        }
        None => {
            out.warn(&format!("job {} ended as: {}", job.id, job.state));
            Exit::Failed
        }
    })
}
