//! No-op tasks through the whole pool: hub, two workers and client as processes on this machine.

use std::time::{Duration, Instant};

use pumasi_api::client::{HubClient, Source};
use pumasi_api::wire;
use pumasi_types::Hash;
use serde_json::{Value, json};

use super::{machine, median, peers, quantile};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::process::resident_bytes;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Tasks of the large job
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u32,
    /// How often throughput is measured; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Single tasks whose latency is measured
    #[arg(long, default_value_t = 1_000)]
    singles: u32,
    /// Do not install and measure GNU parallel, Dask and Ray
    #[arg(long)]
    no_peers: bool,
    /// Have the hub prove nothing, to see what proofs cost
    #[arg(long)]
    no_proofs: bool,
    /// Speak plain HTTP instead of TLS
    #[arg(long)]
    no_tls: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = build::pumasi(Profile::Release)?;
    let mut arguments = vec!["--requests-per-s", "1000000"];
    if options.no_tls {
        arguments.push("--no-tls");
    }
    if options.no_proofs {
        arguments.push("--no-proofs");
    }
    let mut pool = Pool::start(&program, &arguments)?;
    let researcher = pool.open_account("researcher", "researcher")?;
    let owner = pool.open_account("owner", "owner")?;
    let issued = ["account", "issue", "researcher", "1000000000"];
    let _: Value = pool.ask(&pool.operator, &issued)?;
    let join = |name: &str| pool.join(&owner, name, &["--cores", "1", "--memory", "2GiB"]);
    let mut workers = [join("one")?, join("two")?];
    pool.wait_for_workers(workers.len())?;
    let client = pool.client(&researcher)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let module = runtime.block_on(put_noop(&client))?;

    let mut latencies = runtime.block_on(singles(&client, module, options.singles))?;
    let (p50, p99) = (median(&mut latencies), quantile(&mut latencies, 0.99));
    println!("one task on an idle pool      p50 {p50:.2} ms, p99 {p99:.2} ms ({} tasks)", options.singles);

    let mut rounds = Rounds::default();
    for _ in 0..options.rounds {
        rounds.measure(&mut pool, &runtime, &client, module, options)?;
    }
    println!("hub memory                    {:.0} bytes a task", rounds.bytes_per_task);

    let restart_s = restart(&mut pool, &runtime, &researcher, module)?;
    println!(
        "restart, snapshot + log       {restart_s:.2} s ({} tasks kept)",
        options.tasks * options.rounds
    );
    for worker in &mut workers {
        worker.stop(Duration::from_secs(10))?;
    }
    drop(pool);

    let peers = if options.no_peers { json!({}) } else { peers::measure() };
    let figures = json!({
        "tasks_per_s": median(&mut rounds.rates).round(),
        "latency_p50_ms": p50,
        "latency_p99_ms": p99,
        "hub_bytes_per_task": rounds.bytes_per_task.round(),
        "submit_1m_s": median(&mut rounds.submits) * 1e6 / f64::from(options.tasks),
        "restart_1m_s": restart_s,
        "tasks": options.tasks,
        "hub_cpu_us_per_task": median(&mut rounds.cpu_us),
        "proofs_cpu_us_per_transfer": median(&mut rounds.proofs_us),
        "proofs": !options.no_proofs,
        "tls": !options.no_tls,
        "peers": peers,
        "machine": machine(),
    });
    println!("{}", if options.json { figures.to_string() } else { serde_json::to_string_pretty(&figures)? });
    Ok(())
}

/// What the rounds of the large job took.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    submits: Vec<f64>,
    /// Processor time of the hub, in microseconds for a task.
    cpu_us: Vec<f64>,
    /// That of its thread that makes proofs, in microseconds for a transfer.
    proofs_us: Vec<f64>,
    /// Memory that the first round's tasks take in the hub.
    bytes_per_task: f64,
}

impl Rounds {
    fn measure(
        &mut self,
        pool: &mut Pool,
        runtime: &tokio::runtime::Runtime,
        client: &HubClient,
        module: Hash,
        options: &Options,
    ) -> Outcome {
        let (hub, tasks) = (pool.hub()?.id(), f64::from(options.tasks));
        let (memory, cpu) = (resident_bytes(hub), Cpu::of(hub));
        let transfers = runtime.block_on(transfers(client));
        let (submit_s, total_s) = runtime.block_on(large(client, module, options.tasks))?;
        if self.rates.is_empty() {
            self.bytes_per_task = resident_bytes(hub).saturating_sub(memory) as f64 / tasks;
        }
        // Proofs come up to a second later.
        std::thread::sleep(Duration::from_millis(1_500));
        let now = Cpu::of(hub);
        let transfers = runtime.block_on(self::transfers(client)) - transfers;
        let (rate, cpu_us) = (tasks / total_s, (now.all_us - cpu.all_us) / tasks);
        let proofs_us = (now.proofs_us - cpu.proofs_us) / transfers.max(1.0);
        println!(
            "{} tasks              {rate:.0} tasks/s, accepted in {submit_s:.3} s, hub CPU {cpu_us:.2} us a task; \
             {transfers:.0} transfers proven, {proofs_us:.2} us each",
            options.tasks
        );
        self.rates.push(rate);
        self.submits.push(submit_s);
        self.cpu_us.push(cpu_us);
        self.proofs_us.push(proofs_us);
        Ok(())
    }
}

/// How many transfers the hub has proven; 0 when it proves nothing.
async fn transfers(client: &HubClient) -> f64 {
    client.get::<wire::ProofInfo>("/v1/proof").await.map_or(0.0, |info| info.size as f64)
}

pub(super) async fn put_noop(client: &HubClient) -> Outcome<Hash> {
    let bytes = std::fs::read(build::root().join("examples/noop/noop.wasm"))?;
    let hash = Hash::of(&bytes);
    client.put_blob(&Source::Bytes(bytes.into()), hash, std::sync::Arc::new(|_| ())).await?;
    Ok(hash)
}

pub(super) fn job(module: Hash, tasks: u32) -> wire::SubmitJob {
    let limits = wire::Limits { fuel: Some(10_000), memory_bytes: Some(1 << 20), ..wire::Limits::default() };
    let budget = format!("{}", f64::from(tasks) * 0.0001);
    wire::SubmitJob {
        name: "noop".to_owned(),
        module,
        tasks,
        limits,
        quorum: 1,
        checks: wire::Checks::Hidden,
        budget,
        ..wire::SubmitJob::default()
    }
}

/// Single tasks one after the other: submitted, run, verified, paid and answered, in milliseconds each.
async fn singles(client: &HubClient, module: Hash, count: u32) -> Outcome<Vec<f64>> {
    let mut latencies = Vec::new();
    for round in 0..count + 20 {
        let started = Instant::now();
        let done: wire::Job = client.post("/v1/jobs?wait_ms=10000", &job(module, 1), None).await?;
        // The first ones compile the module and warm the paths up.
        if round >= 20 {
            latencies.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        if done.state != "succeeded" {
            return Err(format!("a single task ended as {}", done.state).into());
        }
    }
    Ok(latencies)
}

/// One job of many tasks: seconds until it was accepted, and until it was over.
pub(super) async fn large(client: &HubClient, module: Hash, tasks: u32) -> Outcome<(f64, f64)> {
    let started = Instant::now();
    let accepted: wire::Job = client.post("/v1/jobs", &job(module, tasks), None).await?;
    let submit = started.elapsed();
    loop {
        let now: wire::Job = client.get(&format!("/v1/jobs/{}?wait_ms=30000", accepted.id)).await?;
        if now.over {
            if now.succeeded != tasks {
                return Err(
                    format!("only {} of {tasks} tasks succeeded: {}", now.succeeded, now.state).into()
                );
            }
            return Ok((submit.as_secs_f64(), started.elapsed().as_secs_f64()));
        }
    }
}

/// A stop with a snapshot, a start, a tenth of a job more, kill -9: how long the next start takes.
fn restart(pool: &mut Pool, runtime: &tokio::runtime::Runtime, token: &str, module: Hash) -> Outcome<f64> {
    pool.hub()?.stop(Duration::from_secs(60))?;
    pool.start_hub()?;
    pool.wait_for_workers(2)?;
    let client = pool.client(token)?;
    runtime.block_on(large(&client, module, 100_000))?;
    pool.hub()?.kill()?;
    Ok(pool.start_hub()?.as_secs_f64())
}

/// Processor time that a hub has used, and its thread that makes proofs.
#[derive(Clone, Copy)]
pub(super) struct Cpu {
    pub(super) all_us: f64,
    pub(super) proofs_us: f64,
}

impl Cpu {
    pub(super) fn of(pid: u32) -> Cpu {
        // Fields 14 and 15, in ticks of 10 ms; the second field may have spaces in it (proc(5)).
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let read = |file: std::path::PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        let proofs = threads.filter(|thread| read(thread.path().join("comm")).trim() == "proofs");
        let ns = proofs.filter_map(|thread| {
            read(thread.path().join("schedstat")).split_whitespace().next()?.parse::<f64>().ok()
        });
        Cpu { all_us: ticks * 1e4, proofs_us: ns.sum::<f64>() / 1e3 }
    }
}
