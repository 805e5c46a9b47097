//! The core alone at growing sizes: what a decision takes, and what everything takes in memory.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{example, figures, machine};
use crate::Outcome;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Workers of the largest pool; a tenth and a hundredth are measured before it
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    workers: u64,
    /// Tasks of the largest pool
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    tasks: u64,
    /// Measure these scenes only, as crates/core/examples/scale calls them
    #[arg(long, value_delimiter = ',')]
    scenes: Vec<String>,
}

/// Each scene, what happens in it, and which figures of it the table shows.
const SCENES: [(&str, &str, &[&str]); 20] = [
    ("line", "one job on two workers", &["tasks_per_s", "p50_us", "bytes_per_decided_task"]),
    ("crowd", "mixed machines of new and proven owners come and go, do mixed jobs, and some lie", CROWD),
    ("believers", "the same where everybody is believed", CROWD),
    (
        "newcomers",
        "a checked job on machines of new owners, of which an operator answers for 1 in 100",
        &["decisions_per_s", "p50_us", "p99_us", "max_us", "unpaid"],
    ),
    ("one-job", "one checked job", WORK),
    ("many-jobs", "the same number of tasks in jobs of 100", WORK),
    (
        "memory",
        "bytes of memory for each",
        &[
            "owner",
            "idle_worker",
            "waiting_job",
            "open_task",
            "busy_worker_more",
            "decided_task",
            "request_id",
        ],
    ),
    ("idle", "everybody idle, 200 jobs that suit nobody", STORM),
    ("herd", "everybody idle, one large job", &["submit_us", "entries", "p99_us", "max_us", "cancel_max_us"]),
    ("misfits", "reports behind 99,990 more urgent jobs that suit nobody", STORM),
    (
        "one-owner",
        "all of one owner, 200 jobs want two owners",
        &["submit_p50_us", "submit_max_us", "p50_us", "max_us"],
    ),
    ("strangers", "each of its own owner, a job wants three", &["decisions_per_s", "p50_us", "max_us"]),
    ("loss", "half of all lost, 1,024 in an entry", STORM),
    (
        "partition",
        "everybody away, then back, 1,024 in an entry; half of them lost their runs",
        &["leave_p50_us", "leave_max_us", "p50_us", "p99_us", "max_us"],
    ),
    ("restart", "everybody comes back, 1,024 in an entry", &["start_us", "restore_s", "p50_us", "max_us"]),
    ("timeouts", "all runs of everybody are overdue at once", STORM),
    ("ends", "200 small jobs end while all are busy", STORM),
    (
        "giant",
        "a job with one open task is cancelled, and forgotten",
        &["work_p99_us", "work_max_us", "cancel_max_us", "forget_entries", "forget_max_us"],
    ),
    (
        "caught",
        "an owner with 90,000 unchecked findings is caught",
        &["unpaid", "withdrawn", "entries", "max_us"],
    ),
    (
        "lapse",
        "nobody can check, and all findings are paid at once",
        &["unpaid", "entries", "p99_us", "max_us"],
    ),
];

const CROWD: &[&str] = &[
    "decisions_per_s",
    "p50_us",
    "p99_us",
    "max_us",
    "resident_bytes",
    "snapshot_bytes",
    "snapshot_s",
    "restore_s",
];
const WORK: &[&str] = &[
    "decisions_per_s",
    "p50_us",
    "p99_us",
    "max_us",
    "submit_p50_us",
    "submit_max_us",
    "bytes_per_task_done",
];
/// What matters where much comes at once.
const STORM: &[&str] = &["entries", "p50_us", "p99_us", "max_us"];

pub(crate) fn run(options: &Options) -> Outcome {
    let known = |name: &String| SCENES.iter().any(|(scene, _, _)| scene == name);
    if let Some(other) = options.scenes.iter().find(|name| !known(name)) {
        let names: Vec<&str> = SCENES.iter().map(|(name, _, _)| *name).collect();
        return Err(format!("'{other}' is not a scene: use {}", names.join(", ")).into());
    }
    let program = example("pumasi-core", "scale")?;
    let machine = machine();
    println!("{machine}");
    let mut scenes = Map::new();
    for (name, what, columns) in SCENES {
        if !options.scenes.is_empty() && !options.scenes.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n{name}: {what}");
        print!("{:>10} {:>11}", "workers", "tasks");
        columns.iter().for_each(|column| print!(" {column:>17}"));
        println!();
        let mut series = Vec::new();
        for part in [100, 10, 1] {
            let (workers, tasks) = (options.workers / part, options.tasks / part);
            let measured = measure(&program, name, workers, tasks)?;
            print!("{workers:>10} {tasks:>11}");
            for column in columns {
                let value = measured.get(*column).or_else(|| measured.get(&format!("bytes_per_{column}")));
                print!(" {:>17}", value.map_or_else(|| "-".to_owned(), ToString::to_string));
            }
            println!();
            series.push(Value::Object(measured));
        }
        scenes.insert(name.to_owned(), Value::Array(series));
    }
    if options.json {
        println!("{}", json!({ "machine": machine, "scenes": scenes }));
    }
    Ok(())
}

/// One scene with so many workers and tasks.
fn measure(program: &Path, scene: &str, workers: u64, tasks: u64) -> Outcome<Map<String, Value>> {
    let mut measured = figures(program, &[scene, &workers.to_string(), &tasks.to_string()])?;
    measured.insert("workers".to_owned(), json!(workers));
    measured.insert("tasks".to_owned(), json!(tasks));
    Ok(measured)
}
