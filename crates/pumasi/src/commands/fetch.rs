//! `pumasi fetch`: results as files.

use std::path::PathBuf;

use clap::Args;
use pumasi_types::{JobId, TaskIndex};

use super::job::ask;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::results::{self, Fetched};
use crate::job::watch::Interrupt;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi fetch 7                                   into job-7/
  pumasi fetch 7 --out results                     again later: only what is missing
  pumasi fetch 7 --task 3 --task 12

Each task gives NAME.out (stdout), NAME.err (stderr, when it wrote any) and its files in NAME.files/. \
Files that are there already are checked against the result that was agreed on, and kept when they match.";

/// Fetch the results of a job into a folder
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FetchArgs {
    /// Number of the job
    job: JobId,
    /// The folder; job-N when absent
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only this task; can be given more than once
    #[arg(long, value_name = "TASK")]
    task: Vec<TaskIndex>,
    #[command(flatten)]
    hub: HubArgs,
}

impl FetchArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let job = ask(&client, self.job).await?;
        let folder = self.out.unwrap_or_else(|| PathBuf::from(format!("job-{}", job.id)));
        let only = if self.task.is_empty() { None } else { Some(self.task.as_slice()) };
        let work = results::fetch(&client, out, &job, only, &folder);
        let fetched = Interrupt::listen().guard(work).await?;
        report(out, &fetched)?;
        Ok(Exit::Ok)
    }
}

/// Says what was fetched.
fn report(out: &Output, fetched: &Fetched) -> Result<(), CliError> {
    if out.json {
        return out.value(fetched);
    }
    let folder = fetched.folder.display();
    out.line(&format!("{folder}: {} fetched, {} already there", fetched.fetched, fetched.present))?;
    if fetched.failed > 0 {
        let text = format!("{} tasks failed: `pumasi tasks {} --state failed`", fetched.failed, fetched.job);
        out.note(&text);
    }
    if fetched.undecided > 0 {
        out.note(&format!("{} tasks have no result yet", fetched.undecided));
    }
    Ok(())
}
