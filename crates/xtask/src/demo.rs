//! The demo: a real job on a real pool, one worker killed in the middle, everybody paid.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pumasi_api::wire;

use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::process::Guarded;

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep the data folder, to look around in it afterwards
    #[arg(long)]
    keep: bool,
}

const EXAMPLE: &str = "examples/smith-waterman";
const JOB: &str = "which known proteins are these related to?";

/// Two owners, two workers each.
const WORKERS: [(&str, &str); 4] =
    [("haeun", "desk"), ("haeun", "laptop"), ("jiho", "office"), ("jiho", "attic")];
/// The one that is killed in the middle.
const VICTIM: usize = 1;

pub(crate) fn run(options: &Options) -> Outcome {
    println!("Building pumasi (the first time takes some minutes) ...");
    let program = build::pumasi(Profile::Dev)?;
    let started = Instant::now();

    say("A hub starts on this machine, and an operator opens three accounts.");
    let pool = Pool::start(&program, &["--link-grace", "2s", "--audit-lag", "0s"])?;
    let researcher = pool.open_account("sora", "researcher")?;
    let owners =
        [("haeun", pool.open_account("haeun", "owner")?), ("jiho", pool.open_account("jiho", "owner")?)];
    run_cli(pool.cli(&pool.operator).args(["account", "issue", "sora", "400"]))?;

    say("Two owners let their idle machines join: four workers, each a process of its own.");
    let mut workers = Vec::new();
    for (owner, name) in WORKERS {
        let token = &owners.iter().find(|(other, _)| *other == owner).ok_or("no such owner")?.1;
        workers.push(pool.join(token, name, &["--cores", "1", "--memory", "1GiB"])?);
    }
    pool.wait_for_workers(WORKERS.len())?;

    say(
        "Sora, a researcher, asks which known proteins 300 others are related to: 300 tasks over\nreal sequences of UniProt, each computed by both owners, who must agree on every byte.",
    );
    let results = pool.dir.path().join("results");
    let mut job = submit(&pool, &researcher, &results)?;
    kill_in_the_middle(&pool, &researcher, &mut workers[VICTIM])?;
    let status = job.wait()?;
    if !status.success() {
        return Err(format!("`pumasi run` ended with {status}; --keep keeps its data").into());
    }

    say("What was found, the strongest relations first (bits: how strong; identical: how alike):");
    print_hits(&results)?;
    say("Who computed what, and what it earned (CRD: compute credits):");
    run_cli(pool.cli(&pool.operator).arg("workers"))?;
    for (owner, token) in &owners {
        say(&format!("The last lines of {owner}'s statement:"));
        run_cli(pool.cli(token).args(["statement", "--limit", "3"]))?;
    }
    say("The books: all balances of all accounts, the hub's own included, add up to zero.");
    run_cli(pool.cli(&pool.operator).arg("books"))?;
    check(&pool)?;
    prove(&pool, &researcher)?;

    workers.iter_mut().try_for_each(|worker| worker.stop(Duration::from_secs(5)).map(drop))?;
    println!("\nDone in {:.0} s; nothing is left running.", started.elapsed().as_secs_f64());
    if options.keep {
        println!("Its data is in {}", pool.keep()?.display());
    }
    println!("\nNext: make this machine a hub of your own:\n");
    println!("    cargo run --release -- serve\n");
    println!("and read docs/guests.md to bring your own program.");
    Ok(())
}

/// Sora checks a receipt without the hub, and an outsider the whole history.
fn prove(pool: &Pool, researcher: &str) -> Outcome {
    let path = |name: &str| pool.dir.path().join(name);
    let output = pool.cli(researcher).args(["proof", "key", "--quiet"]).output()?;
    let key = String::from_utf8(output.stdout)?.trim().to_owned();
    say("Sora keeps a receipt of what task 299 cost, and checks it with nothing but the hub's public key.");
    run_cli(pool.cli(researcher).args(["receipt", "get", "601", "--out"]).arg(path("601.tlog-proof")))?;
    let mut offline = Command::new(&pool.program);
    run_cli(offline.args(["receipt", "verify", "--key", &key]).arg(path("601.tlog-proof")))?;
    say("An auditor, who believes only that key, applies everything that the hub ever did again.");
    let auditor = pool.open_account("auditor", "auditor")?;
    run_cli(pool.cli(&auditor).args(["audit", "--key", &key, "--data"]).arg(path("audit")))
}

fn say(text: &str) {
    println!("\n── {}", text.replace('\n', "\n   "));
}

fn run_cli(command: &mut Command) -> Outcome {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

/// `pumasi run`, as a researcher types it, with its progress bar on this screen.
fn submit(pool: &Pool, token: &str, results: &Path) -> Outcome<std::process::Child> {
    let example = build::root().join(EXAMPLE);
    let mut command = pool.cli(token);
    command.current_dir(example).args([
        "run",
        "sw.wasm",
        "--each",
        "queries/*.fasta",
        "--in",
        "targets.fasta",
    ]);
    command.args(["--quorum", "2", "--budget", "400", "--name", JOB, "--yes", "--out"]).arg(results);
    println!("   $ pumasi run sw.wasm --each 'queries/*.fasta' --in targets.fasta --quorum 2 --budget 400");
    Ok(command.spawn()?)
}

/// Waits until two fifths are done, then ends a worker as a power cut would.
fn kill_in_the_middle(pool: &Pool, token: &str, victim: &mut Guarded) -> Outcome {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let jobs: wire::Jobs = pool.ask(token, &["jobs"])?;
        let job = jobs.jobs.first();
        if job.is_some_and(|job| job.over) || Instant::now() > until {
            return Err("the job was over before a worker could be killed".into());
        }
        if job.is_some_and(|job| job.succeeded * 5 >= job.tasks * 2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    victim.kill()?;
    eprintln!("\n── kill -9: haeun's laptop is gone in the middle of its work. Others take it over.");
    Ok(())
}

/// The strongest hits of all tasks' outputs, whose columns the example's README explains.
fn print_hits(results: &Path) -> Outcome {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(results)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "out") {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
            let bits: f64 = columns.get(3).ok_or("a line without a score")?.parse()?;
            hits.push((bits, columns));
        }
    }
    let all = hits.len();
    hits.sort_by(|a, b| b.0.total_cmp(&a.0));
    // One line a protein, so that the table shows families and not the many members of one.
    let mut shown = BTreeSet::new();
    hits.retain(|(_, columns)| columns.get(10).is_some_and(|name| shown.insert(name.clone())));
    println!("   {:>6}  {:>9}  {:36}  {:36}", "bits", "identical", "protein", "relative");
    for (bits, columns) in hits.iter().take(8) {
        let text = |at: usize| columns.get(at).map_or("", String::as_str);
        println!(
            "   {bits:>6.1}  {:>7} %  {:36}  {:36}",
            text(5),
            short(text(10)),
            short(&format!("{}, {}", text(11), text(12)))
        );
    }
    println!("   ... {all} relations in all");
    Ok(())
}

fn short(text: &str) -> String {
    if text.chars().count() <= 36 {
        text.to_owned()
    } else {
        text.chars().take(33).chain("...".chars()).collect()
    }
}

/// The demo must not only look right.
fn check(pool: &Pool) -> Outcome {
    let books: Vec<wire::Books> = pool.ask(&pool.operator, &["books"])?;
    if books.is_empty() || books.iter().any(|line| !line.balanced) {
        return Err("the books do not balance".into());
    }
    Ok(())
}
