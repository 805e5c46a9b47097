//! How fast an auditor applies a hub's log again: a real hub's, fetched over TLS by the real command.

use std::time::Duration;

use serde_json::{Value, json};

use super::{machine, median, tasks};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::{Pool, block_on};

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Tasks that the pool has done before it is audited
    #[arg(long, default_value_t = 2_000_000)]
    tasks: u32,
    /// How often it is audited, each time by somebody who knows nothing of it; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = build::pumasi(Profile::Release)?;
    let pool = Pool::start(&program, &["--audit-lag", "0s"])?;
    let researcher = pool.open_account("researcher", "researcher")?;
    let owner = pool.open_account("owner", "owner")?;
    let _: Value = pool.ask(&pool.operator, &["account", "issue", "researcher", "1000000"])?;
    let mut workers = ["one", "two"]
        .into_iter()
        .map(|name| pool.join(&owner, name, &["--cores", "1", "--memory", "2GiB"]))
        .collect::<Outcome<Vec<_>>>()?;
    pool.wait_for_workers(workers.len())?;
    let client = pool.client(&researcher)?;
    block_on(async { tasks::large(&client, tasks::put_noop(&client).await?, options.tasks).await })?;
    for worker in &mut workers {
        worker.stop(Duration::from_secs(10))?;
    }
    let auditor = pool.open_account("auditor", "auditor")?;
    let mut rates = Vec::new();
    let mut commands = 0;
    for round in 0..options.rounds {
        let memory = pool.dir.path().join(format!("memory-{round}"));
        let memory = memory.to_str().ok_or("the temporary folder has a strange name")?;
        let found: Value = pool.ask(&auditor, &["audit", "--data", memory, "--quiet"])?;
        commands = found["new_commands"].as_u64().ok_or("an audit without commands")?;
        let rate = found["commands_per_s"].as_f64().ok_or("an audit without a rate")?;
        println!(
            "audit {}: {commands} commands in {} entries, {} transfers: {rate:.0} commands/s",
            round + 1,
            found["new_entries"],
            found["transfers"]
        );
        rates.push(rate);
    }
    let figures = json!({
        "audit_commands_per_s": median(&mut rates).round(),
        "commands": commands,
        "machine": machine(),
    });
    println!("{}", if options.json { figures.to_string() } else { serde_json::to_string_pretty(&figures)? });
    Ok(())
}
