//! `pumasi jobs` and `tasks`: lists.

use clap::Args;
use pumasi_api::wire::{Job, Jobs, Task, Tasks};
use pumasi_types::{JobId, TaskIndex};
use serde_json::json;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::results::Names;
use crate::output::{Output, Style, Table};
use crate::units;

/// Rows that are asked for at once.
const PAGE: usize = 1_000;

const JOBS_EXAMPLES: &str = "\
Examples:
  pumasi jobs
  pumasi jobs --limit 200
  pumasi jobs --everybody                          of all accounts (operators)
  pumasi jobs --json | jq '.jobs[] | select(.over | not) | .id'";

/// List your jobs, newest first
#[derive(Args, Debug)]
#[command(after_help = JOBS_EXAMPLES)]
pub(crate) struct JobsArgs {
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Jobs of all accounts (operators)
    #[arg(long)]
    everybody: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl JobsArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let all = if self.everybody { "&all=true" } else { "" };
        let mut all_jobs = Jobs { jobs: Vec::new(), next: None };
        let mut before = String::new();
        while all_jobs.jobs.len() < self.limit {
            let limit = (self.limit - all_jobs.jobs.len()).min(PAGE);
            let path = format!("/v1/jobs?limit={limit}{all}{before}");
            let page: Jobs = client.get(&path).await.map_err(CliError::hub("list jobs"))?;
            all_jobs.jobs.extend(page.jobs);
            all_jobs.next = page.next;
            match page.next {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        let none = "there are no jobs: `pumasi run` starts one";
        out.show(&all_jobs, none, || table(&all_jobs.jobs, self.everybody))?;
        Ok(Exit::Ok)
    }
}

/// Jobs as rows.
pub(crate) fn table(jobs: &[Job], owners: bool) -> Table {
    let mut table =
        Table::new(&[">JOB", "NAME", "OWNER", "STATE", ">DONE", ">FAILED", ">SPENT", ">BUDGET", "SUBMITTED"]);
    if !owners {
        table.without("OWNER");
    }
    for job in jobs {
        let plain = |text: String| (text, Style::Plain);
        let failed = if job.failed > 0 { Style::Bad } else { Style::Plain };
        let mut row = vec![
            plain(job.id.to_string()),
            plain(job.name.clone()),
            plain(job.owner.clone()),
            (job.state.clone(), Style::of_state(&job.state)),
            plain(format!("{}/{}", job.succeeded + job.failed, job.tasks)),
            (job.failed.to_string(), failed),
            plain(job.spent.clone()),
            plain(job.budget.clone()),
            plain(units::moment(job.submitted_ms)),
        ];
        if !owners {
            row.remove(2);
        }
        table.push(row);
    }
    table
}

const TASKS_EXAMPLES: &str = "\
Examples:
  pumasi tasks 7
  pumasi tasks 7 --state failed
  pumasi tasks 7 --limit 1000000 --json > tasks.json";

/// List the tasks of a job and how they ended
#[derive(Args, Debug)]
#[command(after_help = TASKS_EXAMPLES)]
pub(crate) struct TasksArgs {
    /// Number of the job
    job: JobId,
    /// Only those in this state
    #[arg(long, value_parser = ["open", "succeeded", "failed", "dropped"])]
    state: Option<String>,
    /// From this task on
    #[arg(long, default_value = "0", value_name = "TASK")]
    from: TaskIndex,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    hub: HubArgs,
}

impl TasksArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let id = self.job;
        let failed = || CliError::hub(format!("list the tasks of job {id}"));
        let job: Job = client.get(&format!("/v1/jobs/{id}")).await.map_err(failed())?;
        let state = self.state.map_or_else(String::new, |state| format!("&state={state}"));
        let mut tasks: Vec<Task> = Vec::new();
        let mut from = Some(self.from);
        while let Some(start) = from.filter(|_| tasks.len() < self.limit) {
            let limit = (self.limit - tasks.len()).min(10 * PAGE);
            let path = format!("/v1/jobs/{id}/tasks?from={start}&limit={limit}{state}");
            let page: Tasks = client.get(&path).await.map_err(failed())?;
            tasks.extend(page.tasks);
            from = page.next.filter(|next| *next > start);
        }
        let names = Names::read(&client, &job).await?;
        let value: Vec<_> =
            tasks.iter().map(|task| json!({ "name": names.of(task.index), "task": task })).collect();
        out.show(&value, "there are no such tasks", || task_table(&tasks, &names))?;
        if let (Some(next), false) = (from, out.json) {
            out.note(&format!("more with --from {next}"));
        }
        Ok(Exit::Ok)
    }
}

/// Tasks as rows.
pub(crate) fn task_table(tasks: &[Task], names: &Names) -> Table {
    let mut table = Table::new(&[">TASK", "NAME", "STATE", ">FUEL", ">LOST", "RESULT", "ENDING"]);
    for task in tasks {
        let plain = |text: String| (text, Style::Plain);
        table.styled_row([
            plain(task.index.to_string()),
            plain(names.of(task.index)),
            (task.state.clone(), Style::of_state(&task.state)),
            plain(task.fuel.to_string()),
            plain(task.losses.to_string()),
            plain(task.result.map_or_else(String::new, |hash| hash.short())),
            plain(task.reason.clone().unwrap_or_default()),
        ]);
    }
    table
}
