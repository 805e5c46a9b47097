//! The options that make a job.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pumasi_api::wire;
use pumasi_types::{Amount, ByteSize, Fuel, JobId, Price};

use crate::units::{parse_credits, parse_fuel, parse_moment_ms, parse_price, parse_span_ms};

/// What is run, over what, for how much.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobOptions {
    /// The program: a WebAssembly module, compiled as a WASI command
    #[arg(value_name = "PROGRAM.WASM")]
    pub(crate) program: PathBuf,
    /// Arguments of the program; {index}, {name}, {input} and {arg} stand for a task's own
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    /// One task for each of these files, on its standard input and at /in/NAME; patterns with * and ? can be quoted. SPACE:PATH
    /// is a file, a folder with all below it, or a pattern in a space of the hub, whose bytes stay there; a hash is what
    /// `pumasi put FILE` printed
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Tasks", conflicts_with_all = ["each_result", "each_line", "tasks"])]
    pub(crate) each: Vec<PathBuf>,
    /// One task for each task of this job that succeeded, with what that wrote to stdout on its standard input and at /in/NAME
    #[arg(long, value_name = "JOB", help_heading = "Tasks", conflicts_with_all = ["each_line", "tasks"])]
    pub(crate) each_result: Option<JobId>,
    /// One task for each line of this file, which {arg} stands for; `-` for standard input
    #[arg(long, value_name = "FILE", help_heading = "Tasks", conflicts_with = "tasks")]
    pub(crate) each_line: Option<PathBuf>,
    /// So many tasks, told apart by {index}
    #[arg(long, value_name = "N", help_heading = "Tasks", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: Option<u32>,
    /// A file that all tasks find at /in/NAME, of this machine or of a space in the hub ([NAME=]SPACE:PATH, :PATH for your own),
    /// or bytes by the hash that `pumasi put FILE` printed ([NAME=]HASH); can be given more than once
    #[arg(long = "in", value_name = "FILE[:NAME]", help_heading = "Tasks")]
    pub(crate) inputs: Vec<String>,
    /// A result of another job of yours that all tasks find at /in/NAME, without it travelling through this machine: what the task
    /// wrote to stdout, or a file that it left in /out; can be given more than once
    #[arg(long, value_name = "[NAME=]JOB:TASK[:FILE]", help_heading = "Tasks")]
    pub(crate) in_result: Vec<String>,
    /// An environment variable of the program; can be given more than once
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Tasks", value_parser = variable)]
    pub(crate) env: Vec<String>,
    /// Where the program's random numbers come from
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Tasks")]
    pub(crate) seed: u64,

    /// The most that the job may cost, in credits
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits, help_heading = "Price and trust")]
    pub(crate) budget: Amount,
    /// The most that a standard core-second (10^9 fuel) may cost, in credits
    #[arg(long, value_name = "CREDITS", value_parser = parse_price, default_value = "1", help_heading = "Price and trust")]
    pub(crate) bid: Price,
    /// How many independent owners must agree on each result
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Price and trust", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) quorum: u8,
    /// Whether results of new owners are computed twice and those of trusted ones checked at random; `off`
    /// believes every owner, for machines that are all yours
    #[arg(long, value_name = "HOW", default_value = "hidden", value_enum, help_heading = "Price and trust")]
    pub(crate) checks: Checks,

    /// Fuel that one run may burn; 4 times what was measured here when absent
    #[arg(long, value_name = "FUEL", value_parser = parse_fuel, help_heading = "Limits of one run")]
    pub(crate) fuel: Option<Fuel>,
    /// Memory of one run
    #[arg(long, value_name = "SIZE", default_value = "512MiB", help_heading = "Limits of one run")]
    pub(crate) memory: ByteSize,
    /// Time of one run, against machines that are stuck
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span_ms, help_heading = "Limits of one run")]
    pub(crate) wall: u64,
    /// Standard output, standard error and files of one run together
    #[arg(long, value_name = "SIZE", default_value = "64MiB", help_heading = "Limits of one run")]
    pub(crate) output_limit: ByteSize,

    /// What to call the job; the program's name when absent
    #[arg(long, value_name = "NAME", help_heading = "Job")]
    pub(crate) name: Option<String>,
    /// Jobs with a higher number go first among yours and others'
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, help_heading = "Job")]
    pub(crate) priority: i16,
    /// When the job ends, finished or not: a span like 2h or a time like 2026-03-01T18:00
    #[arg(long, value_name = "WHEN", value_parser = parse_moment_ms, help_heading = "Job")]
    pub(crate) deadline: Option<u64>,
    /// A job that must succeed first; can be given more than once
    #[arg(long, value_name = "JOB", help_heading = "Job")]
    pub(crate) after: Vec<JobId>,
    /// Give up after so many failed tasks
    #[arg(long, value_name = "N", help_heading = "Job")]
    pub(crate) max_failures: Option<u32>,
    /// How often a task is tried again when its machine went away; 10 when absent
    #[arg(long, value_name = "N", help_heading = "Job")]
    pub(crate) retries: Option<u8>,
    /// Do not try any task here before the job starts
    #[arg(long, help_heading = "Job")]
    pub(crate) no_estimate: bool,
    /// Start even when the estimate exceeds the budget or the tasks tried here fail
    #[arg(short, long, help_heading = "Job")]
    pub(crate) yes: bool,
}

/// Whether owners' records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Checks {
    /// New owners are doubled, trusted ones checked at random.
    Hidden,
    /// Every owner is believed.
    Off,
}

impl From<Checks> for wire::Checks {
    fn from(checks: Checks) -> wire::Checks {
        match checks {
            Checks::Hidden => wire::Checks::Hidden,
            Checks::Off => wire::Checks::Off,
        }
    }
}

impl JobOptions {
    /// Runs of one task that the budget has to cover: its quorum, or one and a check of it.
    pub(crate) fn runs_to_cover(&self) -> u8 {
        if self.quorum == 1 && self.checks == Checks::Hidden { 2 } else { self.quorum }
    }
}

/// `NAME=VALUE` with a name.
fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
