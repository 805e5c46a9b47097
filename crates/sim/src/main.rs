//! Runs worlds: one seed, a campaign of many, or the search for the smallest world that still fails.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use pumasi_sim::{
    Campaign, Counts, Kind, Kinds, Report, RunOptions, Sabotage, Scenario, Sum, campaign, quiet_panics, run,
    shrink,
};
use serde_json::json;

/// One seed drives a whole pool: hub, workers, clock, network and disk
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// Run this world once
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Find the smallest world that fails as the one of this seed does
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Run so many worlds at most
    #[arg(long)]
    seeds: Option<u64>,
    /// Run worlds for so many minutes at most [default: 1 when no number of seeds is given]
    #[arg(long)]
    minutes: Option<f64>,
    /// The first seed of a campaign [default: a fresh one]
    #[arg(long, value_name = "SEED")]
    from: Option<u64>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Print the last lines of what happened
    #[arg(long, requires = "seed")]
    trace: bool,
    /// End after so many events
    #[arg(long)]
    steps: Option<u64>,
    /// Make faults for so many simulated minutes
    #[arg(long)]
    lasting: Option<u64>,
    /// How many machines the world has
    #[arg(long)]
    machines: Option<u64>,
    /// How many jobs are ordered in it
    #[arg(long)]
    orders: Option<u64>,
    /// The only kinds of faults, by commas; `none` for none
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Break the hub on purpose, to see that it is noticed
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// End a campaign at its first failure
    #[arg(long)]
    first_failure: bool,
    /// End a campaign, with its report, when standard input ends
    #[arg(long, hide = true)]
    until_eof: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    quiet_panics();
    let outcome = match arguments.seed {
        Some(seed) if arguments.shrink => smallest(&arguments, seed),
        Some(seed) => one(&arguments, seed),
        None => Ok(many(&arguments)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The scenario of a seed, as the options change it.
fn scenario(arguments: &Arguments, seed: u64) -> Result<Scenario, String> {
    let mut scenario = Scenario::of(seed);
    scenario.minutes = arguments.lasting.unwrap_or(scenario.minutes);
    scenario.workers = arguments.machines.unwrap_or(scenario.workers).max(1);
    scenario.jobs = arguments.orders.unwrap_or(scenario.jobs);
    scenario.steps = arguments.steps;
    if let Some(only) = &arguments.only {
        scenario.kinds = Kinds::NONE;
        for name in only.iter().filter(|name| *name != "none") {
            scenario.kinds = scenario.kinds.with(name.parse::<Kind>()?);
        }
    }
    Ok(scenario)
}

/// The command that runs a world again.
fn again(arguments: &Arguments, scenario: &Scenario) -> String {
    let sabotage = arguments.sabotage.map(|sabotage| format!(" --sabotage {sabotage}")).unwrap_or_default();
    format!("cargo xtask sim {scenario}{sabotage} --trace")
}

fn one(arguments: &Arguments, seed: u64) -> Result<bool, String> {
    let scenario = scenario(arguments, seed)?;
    let started = Instant::now();
    let options = RunOptions { verbose: arguments.trace, sabotage: arguments.sabotage };
    let report = run(&scenario, options);
    for line in &report.lines {
        println!("{line}");
    }
    let again = again(arguments, &scenario);
    let Report { simulated, trace, counts, .. } = &report;
    let Counts { events, steps, commands, runs, crashes, .. } = counts;
    println!(
        "{:.1} simulated hours in {:.2} s: {} machines, {events} events, {steps} steps, {commands} commands, \
         {runs} paid runs, {crashes} crashes; trace {trace:016x}",
        *simulated as f64 / 3.6e12,
        started.elapsed().as_secs_f64(),
        scenario.workers
    );
    Ok(match &report.violation {
        None => true,
        Some(violation) => {
            println!("BROKEN: {}\nagain: {again}", violation.0);
            false
        }
    })
}

fn smallest(arguments: &Arguments, seed: u64) -> Result<bool, String> {
    let scenario = scenario(arguments, seed)?;
    let tell = |smaller: &Scenario| eprintln!("still fails: {smaller}");
    match shrink(&scenario, arguments.sabotage, &tell) {
        None => {
            println!("seed {seed} does not fail");
            Ok(true)
        }
        Some((scenario, violation)) => {
            println!("BROKEN: {}\nsmallest: {}", violation.0, again(arguments, &scenario));
            Ok(false)
        }
    }
}

/// Whether no world of the campaign failed, and every kind of fault was made.
fn many(arguments: &Arguments) -> bool {
    let minutes = arguments.minutes.unwrap_or(if arguments.seeds.is_some() { 1e6 } else { 1.0 });
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let plan = Campaign {
        // Even the same second on two machines gives other seeds, as far as nanoseconds do.
        first: arguments.from.unwrap_or(since.as_nanos() as u64 >> 8),
        seeds: arguments.seeds.unwrap_or(u64::MAX),
        time: Duration::from_secs_f64(minutes * 60.0),
        jobs: arguments.jobs,
        sabotage: arguments.sabotage,
        first_failure: arguments.first_failure,
    };
    let stop = AtomicBool::new(false);
    let until_eof = arguments.until_eof;
    let (started, last) = (Instant::now(), Mutex::new(Instant::now()));
    let every = Duration::from_secs(if std::io::stderr().is_terminal() { 2 } else { 60 });
    let known = AtomicUsize::new(0);
    eprintln!("from seed {}", plan.first);
    let progress = |sum: &Sum| {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = known.swap(sum.failures.len(), Ordering::Relaxed);
        for (scenario, violation) in sum.failures.iter().skip(before) {
            eprintln!("BROKEN: {}\nagain: {}", violation.0, again(arguments, scenario));
        }
        if last.elapsed() < every {
            return;
        }
        *last = Instant::now();
        let seconds = started.elapsed().as_secs_f64();
        eprintln!(
            "{seconds:>6.0} s: {} seeds ({:.1} a second), {:.0} simulated hours ({:.0} an hour), {} crashes, \
             {} commands, {} failures",
            sum.worlds,
            sum.worlds as f64 / seconds,
            sum.simulated as f64 / 3.6e12,
            sum.speed(),
            sum.counts.crashes,
            sum.counts.commands,
            sum.failures.len()
        );
    };
    // The watching thread may outlive the campaign: it only waits for input.
    let stop: &'static AtomicBool = Box::leak(Box::new(stop));
    if until_eof {
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut rest);
            stop.store(true, Ordering::Relaxed);
        });
    }
    let sum = campaign(&plan, stop, &progress);
    if arguments.json {
        print_json(arguments, &plan, &sum)
    } else {
        print_sum(arguments, &plan, &sum)
    }
    sum.failures.is_empty() && !sum.is_incomplete()
}

fn print_sum(arguments: &Arguments, plan: &Campaign, sum: &Sum) {
    println!(
        "{} worlds from seed {}, {} of them twice with the same trace",
        sum.worlds, plan.first, sum.twice
    );
    println!(
        "{:.1} simulated hours; {:.0} simulated hours per hour of one core, {:.0} with 50 machines or more",
        sum.simulated as f64 / 3.6e12,
        sum.speed(),
        sum.speed_50()
    );
    println!(
        "{} events, {} steps of the hub, {} commands, {} paid runs, {} crashes",
        sum.counts.events, sum.counts.steps, sum.counts.commands, sum.counts.runs, sum.counts.crashes
    );
    let Counts { orders, cheaper_orders, order_steps, letters, .. } = sum.counts;
    println!("{orders} orders placed, {cheaper_orders} of them cheaper, {order_steps} steps taken with them");
    println!("{letters} of their events taken by webhooks; {} files put", sum.counts.files);
    println!(
        "{} owners caught; {} wrong results that enough owners agreed on; {} of a trusted owner alone, of which \
         {} stood",
        sum.counts.catches, sum.counts.deceived, sum.counts.believed, sum.counts.standing_lies
    );
    println!("\n{:<16} {:>10} {:>10}", "fault", "made", "mattered");
    for kind in Kind::ALL {
        let (made, seen) = sum.counts.tally.of(*kind);
        println!("{:<16} {made:>10} {seen:>10}", kind.name());
    }
    println!("\n{:<16} {:>10}", "disk", "times");
    for (name, count) in sum.counts.disk.iter() {
        println!("{name:<16} {count:>10}");
    }
    let uncovered: Vec<&str> = sum.uncovered().into_iter().map(Kind::name).collect();
    match uncovered.as_slice() {
        [] => println!("\nevery kind of fault was made and mattered"),
        _ => println!("\nNOT COVERED: {}", uncovered.join(", ")),
    }
    for (scenario, violation) in &sum.failures {
        println!("\nBROKEN: {}\nagain: {}", violation.0, again(arguments, scenario));
    }
    println!("\n{} failures", sum.failures.len());
}

fn print_json(arguments: &Arguments, plan: &Campaign, sum: &Sum) {
    let faults: serde_json::Map<String, serde_json::Value> = Kind::ALL
        .iter()
        .map(|kind| {
            let (made, mattered) = sum.counts.tally.of(*kind);
            (kind.name().to_owned(), json!({ "made": made, "mattered": mattered }))
        })
        .collect();
    let disk: serde_json::Map<String, serde_json::Value> =
        sum.counts.disk.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let failures: Vec<serde_json::Value> = sum
        .failures
        .iter()
        .map(|(scenario, violation)| {
            json!({ "seed": scenario.seed, "broken": violation.0, "again": again(arguments, scenario) })
        })
        .collect();
    let report = json!({
        "first_seed": plan.first,
        "worlds": sum.worlds,
        "twice": sum.twice,
        "simulated_hours": sum.simulated as f64 / 3.6e12,
        "hours_per_core_hour": sum.speed(),
        "hours_per_core_hour_50_machines": sum.speed_50(),
        "events": sum.counts.events,
        "steps": sum.counts.steps,
        "commands": sum.counts.commands,
        "paid_runs": sum.counts.runs,
        "orders": sum.counts.orders,
        "cheaper_orders": sum.counts.cheaper_orders,
        "order_steps": sum.counts.order_steps,
        "letters": sum.counts.letters,
        "files": sum.counts.files,
        "crashes": sum.counts.crashes,
        "caught": sum.counts.catches,
        "deceived": sum.counts.deceived,
        "believed": sum.counts.believed,
        "standing_lies": sum.counts.standing_lies,
        "faults": faults,
        "disk": disk,
        "incomplete": sum.is_incomplete(),
        "uncovered": sum.uncovered().into_iter().map(Kind::name).collect::<Vec<_>>(),
        "failures": failures,
    });
    println!("{report:#}");
}
