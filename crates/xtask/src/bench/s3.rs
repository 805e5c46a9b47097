//! The gateway for S3 beside SeaweedFS: objects of 64 MiB one after the other, of 4 KiB over many connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pumasi_api::wire::s3::S3Key;
use pumasi_sigv4::Signer;
use serde_json::{Value, json};

use super::{machine, quantile};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::s3::{Endpoint, noise};
use crate::seaweed::Seaweed;

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
    let ours = {
        let pool =
            Pool::start(&build::given_or(Profile::Release)?, &["--no-tls", "--requests-per-s", "10000000"])?;
        let token = pool.open_account("bench", "researcher")?;
        let S3Key { access_key, secret_key } = pool.ask(&token, &["s3-key"])?;
        let endpoint = Endpoint { address: pool.address, signer: Signer { access_key, secret_key } };
        measure("pumasi", &endpoint, options)?
    };
    let measure_peer = || {
        let seaweed = Seaweed::start()?;
        measure("SeaweedFS", &seaweed.endpoint, options)
    };
    let peer = if options.alone { Ok(Value::Null) } else { measure_peer() };
    let peer = peer.unwrap_or_else(|error| {
        println!("SeaweedFS: not measured: {error}");
        json!({ "not_measured": error.to_string() })
    });
    if options.json {
        println!("{}", json!({ "machine": machine(), "pumasi": ours, "seaweedfs": peer }));
    }
    Ok(())
}

/// Puts and gets, and how long that took.
fn measure(name: &str, endpoint: &Endpoint, options: &Options) -> Outcome<Value> {
    // Who has one connection waits for it on one thread: a second one would only wake it, on a core that the server needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = runtime.block_on(large(name, endpoint, options))?;
    let runtime = tokio::runtime::Runtime::new()?;
    for method in ["PUT", "GET"] {
        let (rate, mut times) = runtime.block_on(small(endpoint, method, options))?;
        let lower = method.to_lowercase();
        figures[format!("{lower}_4kib_per_s")] = json!(rate.round());
        figures[format!("{lower}_4kib_p50_ms")] = json!(quantile(&mut times, 0.5));
        figures[format!("{lower}_4kib_p99_ms")] = json!(quantile(&mut times, 0.99));
    }
    println!("{name:10} {figures}");
    Ok(figures)
}

/// Large objects over one connection: megabytes a second.
async fn large(name: &str, endpoint: &Endpoint, options: &Options) -> Outcome<Value> {
    let mut link = endpoint.connect().await?;
    link.ask("PUT", "/bench", "", b"").await?.done()?;
    // A server may prepare for a bucket when its first object comes.
    link.ask("PUT", "/bench/first", "", b"first").await?.done()?;
    link.ask("GET", "/bench/first", "", b"").await?.done()?;
    let mut figures = json!({});
    // The second time everybody has in memory what was read.
    for (figure, method) in [("put", "PUT"), ("get", "GET"), ("get_again", "GET")] {
        let mut spent = Duration::ZERO;
        for n in 0..options.large {
            let (path, bytes) = (format!("/bench/large/{n}"), noise(&format!("large {n}"), LARGE_BYTES));
            let started = Instant::now();
            let sent = if method == "PUT" { bytes.as_slice() } else { b"" };
            let got = link.ask(method, &path, "", sent).await?.done()?;
            spent += started.elapsed();
            if method == "GET" {
                if got != bytes {
                    return Err(format!("{name}: {path} has other bytes").into());
                }
                link.take_back(got);
            }
        }
        let megabytes = f64::from(options.large) * LARGE_BYTES as f64 / 1e6;
        figures[format!("{figure}_64mib_mb_s")] = json!((megabytes / spent.as_secs_f64()).round());
    }
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
