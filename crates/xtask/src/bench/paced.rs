//! A pool that settles tasks at a given rate, with and without proofs: the share of the hub's processor time
//! that goes into the tree of transfers and its checkpoints.

use std::path::Path;
use std::time::{Duration, Instant};

use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_types::Hash;
use serde_json::{Value, json};

use super::tasks::{Cpu, job, put_noop};
use super::{machine, median};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::{Pool, block_on};

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Tasks a second
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How often both are measured, in turns; medians count
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Between two jobs.
const STEP: Duration = Duration::from_millis(10);

/// What one measurement came to; processor time as a share of one core.
struct Measured {
    tasks_per_s: f64,
    hub: f64,
    proofs: f64,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = build::pumasi(Profile::Release)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        for (arguments, all) in [(&[][..], &mut with), (&["--no-proofs"][..], &mut without)] {
            let measured = measure(&program, arguments, options)?;
            println!(
                "{round}: {:<12} {:.0} tasks/s, hub {:.1} % of a core, of which the thread for proofs {:.1} %",
                arguments.first().unwrap_or(&"with proofs"),
                measured.tasks_per_s,
                measured.hub * 100.0,
                measured.proofs * 100.0
            );
            all.push(measured);
        }
    }
    let of = |all: &[Measured], figure: fn(&Measured) -> f64| {
        median(&mut all.iter().map(figure).collect::<Vec<_>>())
    };
    let (hub, bare) = (of(&with, |one| one.hub), of(&without, |one| one.hub));
    let proofs = of(&with, |one| one.proofs);
    println!("proofs take {:.1} % of the hub's processor time", proofs / hub * 100.0);
    let figures = json!({
        "tasks_per_s": of(&with, |one| one.tasks_per_s).round(),
        "hub_cores": hub,
        "hub_cores_without_proofs": bare,
        "proofs_cores": proofs,
        "proofs_share_of_hub": proofs / hub,
        "machine": machine(),
    });
    println!("{}", if options.json { figures.to_string() } else { serde_json::to_string_pretty(&figures)? });
    Ok(())
}

fn measure(program: &Path, arguments: &[&str], options: &Options) -> Outcome<Measured> {
    let mut pool = Pool::start(program, &[&["--requests-per-s", "1000000"], arguments].concat())?;
    let researcher = pool.open_account("researcher", "researcher")?;
    let owner = pool.open_account("owner", "owner")?;
    let _: Value = pool.ask(&pool.operator, &["account", "issue", "researcher", "1000000000"])?;
    let join = |name: &str| pool.join(&owner, name, &["--cores", "1", "--memory", "2GiB"]);
    let _workers = [join("one")?, join("two")?];
    pool.wait_for_workers(2)?;
    let hub = pool.hub()?.id();
    let client = pool.client(&researcher)?;
    block_on(async {
        let module = put_noop(&client).await?;
        steadily(&client, module, options.rate, Duration::from_secs(2)).await?;
        let (before, started) = (Cpu::of(hub), Instant::now());
        let tasks =
            steadily(&client, module, options.rate, Duration::from_secs(options.seconds.into())).await?;
        let (now, took) = (Cpu::of(hub), started.elapsed());
        let share = |us: f64| us / took.as_micros() as f64;
        Ok(Measured {
            tasks_per_s: f64::from(tasks) / took.as_secs_f64(),
            hub: share(now.all_us - before.all_us),
            proofs: share(now.proofs_us - before.proofs_us),
        })
    })
}

/// Orders a small job at each step and waits for the last one; how many tasks that were.
async fn steadily(client: &HubClient, module: Hash, rate: u32, during: Duration) -> Outcome<u32> {
    let tasks = (f64::from(rate) * STEP.as_secs_f64()) as u32;
    let mut clock = tokio::time::interval(STEP);
    let until = Instant::now() + during;
    let mut ordered = 0;
    let mut last = None;
    while Instant::now() < until {
        clock.tick().await;
        let accepted: wire::Job = client.post("/v1/jobs", &job(module, tasks), None).await?;
        ordered += tasks;
        last = Some(accepted.id);
    }
    let last = last.ok_or("no job was ordered")?;
    loop {
        let now: wire::Job = client.get(&format!("/v1/jobs/{last}?wait_ms=30000")).await?;
        if now.over {
            return Ok(ordered);
        }
    }
}
