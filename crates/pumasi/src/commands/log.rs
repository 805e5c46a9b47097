//! `pumasi log`: the durable log of a hub, read without touching it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pumasi_core::Request;
use pumasi_log::{Entry, LogError, Report, Seq};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Style, Table};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  pumasi log verify ~/.local/share/pumasi
  pumasi log show ~/.local/share/pumasi --from 1000 --limit 20
  pumasi log show ~/.local/share/pumasi --json | jq .requests

Both can be used while the hub is running. `verify` ends with 1 when the log is damaged.";

/// Check and show the log of a hub on this machine
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Read the whole log and check every hash
    Verify {
        /// The hub's data folder, or the folder of the log itself
        folder: PathBuf,
    },
    /// Print the entries of the log with their requests
    Show {
        /// The hub's data folder, or the folder of the log itself
        folder: PathBuf,
        /// From this entry on; the oldest when absent
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
        /// At most so many entries
        #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
}

impl LogArgs {
    pub(crate) fn run(self, out: &Output) -> Result<Exit, CliError> {
        match self.command {
            LogCommand::Verify { folder } => verify(&log_dir(folder), out),
            LogCommand::Show { folder, from, limit } => show(&log_dir(folder), from, limit, out),
        }
    }
}

/// The log inside a data folder, or the folder itself.
fn log_dir(folder: PathBuf) -> PathBuf {
    let inside = folder.join("log");
    if inside.is_dir() { inside } else { folder }
}

fn unreadable(dir: &Path) -> impl FnOnce(LogError) -> CliError {
    let dir = dir.to_owned();
    move |source| CliError::Log { dir, source }
}

fn verify(dir: &Path, out: &Output) -> Result<Exit, CliError> {
    let report = pumasi_log::verify(dir).map_err(unreadable(dir))?;
    if out.json {
        out.value(&report_json(&report))?;
    } else {
        out.table(&report_table(dir, &report))?;
        for problem in &report.problems {
            out.line(&format!("problem: {problem}"))?;
        }
    }
    Ok(if report.is_sound() { Exit::Ok } else { Exit::Failed })
}

fn report_json(report: &Report) -> Value {
    let head = |head: &pumasi_log::Head| json!({ "seq": head.seq.0, "epoch": head.epoch.0, "time_ms": head.time.0 / 1_000_000, "hash": head.hash });
    let segments: Vec<_> = report
        .segments
        .iter()
        .map(|segment| {
            json!({
                "path": segment.path.display().to_string(), "first": segment.first.0,
                "entries": segment.entries, "used_bytes": segment.used_bytes, "bytes": segment.bytes,
            })
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "cell": report.cell,
        "epoch": report.epoch.map(|epoch| epoch.0),
        "entries": report.entries,
        "payload_bytes": report.payload_bytes,
        "first": report.first.as_ref().map(head),
        "last": report.last.as_ref().map(head),
        "tail": report.tail.as_ref().map(|tail| json!({
            "segment": tail.segment.display().to_string(), "offset": tail.offset, "bytes": tail.bytes,
        })),
        "segments": segments,
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn report_table(dir: &Path, report: &Report) -> Table {
    let head = |head: &Option<pumasi_log::Head>| match head {
        Some(head) => format!("{} of {}, {}", head.seq, units::moment(head.time.0 / 1_000_000), head.hash),
        None => "none".to_owned(),
    };
    let verdict = match report.problems.len() {
        0 => "sound".to_owned(),
        1 => "DAMAGED, 1 problem".to_owned(),
        count => format!("DAMAGED, {count} problems"),
    };
    let tail = report.tail.as_ref().map(|tail| {
        format!(
            "{} bytes at {} of {}, cut at the next start",
            tail.bytes,
            tail.offset,
            tail.segment.display()
        )
    });
    let bytes = pumasi_types::ByteSize(report.payload_bytes);
    Table::facts(
        [
            ("log", dir.display().to_string()),
            ("verdict", verdict),
            ("entries", format!("{} with {bytes} in {} segments", report.entries, report.segments.len())),
            ("oldest", head(&report.first)),
            ("newest", head(&report.last)),
        ]
        .into_iter()
        .chain(tail.map(|tail| ("unfinished", tail))),
    )
}

/// An entry as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    seq: u64,
    epoch: u64,
    time_ms: u64,
    hash: pumasi_types::Hash,
    bytes: usize,
    requests: &'a [Request],
    /// Why the requests cannot be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn show(dir: &Path, from: Option<u64>, limit: usize, out: &Output) -> Result<Exit, CliError> {
    let from = match from {
        Some(from) => Seq(from),
        // The log may have forgotten its first entries.
        None => match pumasi_log::show(dir, Seq(1)) {
            Err(LogError::Trimmed { first, .. }) => first,
            _ => Seq(1),
        },
    };
    let entries = pumasi_log::show(dir, from).map_err(unreadable(dir))?;
    for entry in entries.take(limit) {
        print(&entry.map_err(unreadable(dir))?, out)?;
    }
    Ok(Exit::Ok)
}

fn print(entry: &Entry, out: &Output) -> Result<(), CliError> {
    let (requests, problem) = match pumasi_core::decode_requests(&entry.payload) {
        Ok(requests) => (requests, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    if out.json {
        return out.value(&Shown {
            seq: entry.seq.0,
            epoch: entry.epoch.0,
            time_ms: entry.time.0 / 1_000_000,
            hash: entry.hash,
            bytes: entry.payload.len(),
            requests: &requests,
            problem,
        });
    }
    let time = units::moment(entry.time.0 / 1_000_000);
    out.line(&format!(
        "entry {} epoch {} {time} {} {} bytes, {} requests",
        entry.seq,
        entry.epoch,
        entry.hash.short(),
        entry.payload.len(),
        requests.len()
    ))?;
    let mut table = Table::new(&["", ">", ""]);
    for request in &requests {
        table.styled_row([
            ("   ".to_owned(), Style::Plain),
            (format!("account {}", request.caller), Style::Plain),
            (format!("{:?}", request.command), Style::Plain),
        ]);
    }
    if let Some(problem) = problem {
        out.line(&format!("    {problem}"))?;
    }
    out.table(&table)
}
