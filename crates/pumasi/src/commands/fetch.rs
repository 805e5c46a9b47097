//! `pumasi fetch`: results as files.

use std::path::PathBuf;

use clap::Args;
use pumasi_api::wire::Job;
use pumasi_types::{JobId, TaskIndex};

use super::job::ask;
use crate::connect::HubArgs;
use crate::drive::place::Argument;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::bring::{self, Brought};
use crate::job::watch::Interrupt;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi fetch 7                                   into job-7/
  pumasi fetch 7 --out results                     again later: only what is missing
  pumasi fetch 7 --task 3 --task 12
  pumasi fetch 7 --out lab:results                 the hub puts them there; nothing travels

Each task gives NAME.out (stdout), NAME.err (stderr, when it wrote any) and its files in NAME.files/. \
Files that are there already are checked against the result that was agreed on, and kept when they match.";

/// Fetch the results of a job into a folder
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FetchArgs {
    /// Number of the job
    job: JobId,
    /// The folder, of this machine or in a space; job-N here when absent
    #[arg(short, long, value_name = "FOLDER|SPACE:PATH")]
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
        let to = match self.out {
            Some(to) => bring::target(&client, &to).await?,
            None => Argument::Local(PathBuf::from(format!("job-{}", job.id))),
        };
        let only = if self.task.is_empty() { None } else { Some(self.task.as_slice()) };
        let work = bring::bring(&client, out, &job, only, &to);
        let brought = Interrupt::listen().guard(work).await?;
        report(out, &job, &brought)?;
        Ok(Exit::Ok)
    }
}

/// Says what was brought.
fn report(out: &Output, job: &Job, brought: &Brought) -> Result<(), CliError> {
    if out.json {
        return out.value(brought);
    }
    let (line, failed, undecided) = match brought {
        Brought::Here(fetched) => {
            let folder = fetched.folder.display();
            let line = format!("{folder}: {} fetched, {} already there", fetched.fetched, fetched.present);
            (line, fetched.failed, fetched.undecided)
        }
        Brought::There(put) => {
            let line = format!("{}: {} files put, {} already there", put.place, put.put, put.same);
            (line, put.failed, put.undecided)
        }
    };
    out.line(&line)?;
    if failed > 0 {
        out.note(&format!("{failed} tasks failed: `pumasi tasks {} --state failed`", job.id));
    }
    if undecided > 0 {
        out.note(&format!("{undecided} tasks have no result yet"));
    }
    Ok(())
}
