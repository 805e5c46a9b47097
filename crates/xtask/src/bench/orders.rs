//! Orders through a real hub: durable, paid and settled when they are answered; by Arrow Flight and by HTTP, client
//! included on this machine.

mod flight;
mod http;
mod market;

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use self::flight::{Load, Shape};
use self::market::{Market, Numbers};
use super::{machine, median, quantile};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Customers that order
    #[arg(long, default_value_t = 1_000_000)]
    customers: u32,
    /// Articles that are ordered
    #[arg(long, default_value_t = 10_000)]
    articles: u32,
    /// Orders of one measurement over Arrow Flight
    #[arg(long, default_value_t = 4_000_000)]
    orders: u32,
    /// Orders in one record batch
    #[arg(long, default_value_t = 8_192)]
    batch: u32,
    /// Streams that send them
    #[arg(long, default_value_t = 2)]
    streams: usize,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Speak TLS
    #[arg(long)]
    tls: bool,
    /// Have the hub prove nothing, to see what proofs cost
    #[arg(long)]
    no_proofs: bool,
}

/// Seconds of each measurement that is not of a number of orders.
const DURING: Duration = Duration::from_secs(5);
/// Orders in a batch when latency is measured: what comes in two milliseconds at 500,000 a second.
const SMALL_BATCH: u32 = 1_000;

pub(crate) fn run(options: &Options) -> Outcome {
    let program = build::pumasi(Profile::Release)?;
    let mut arguments = vec!["--requests-per-s", "1000000"];
    if !options.tls {
        arguments.push("--no-tls");
    }
    if options.no_proofs {
        arguments.push("--no-proofs");
    }
    let mut pool = Pool::start(&program, &arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let market = runtime.block_on(Market::open(&pool, options.customers, options.articles))?;
    let mut bench = Bench { runtime, market, numbers: Numbers::default(), figures: Map::new() };
    let uniform = Shape { lines: 1, hot: 0.0 };
    let (rate, log_bytes) = bench.throughput("flight_orders_per_s", uniform, options.orders, options)?;
    bench.set("log_bytes_per_order", log_bytes);
    bench.throughput("flight_hot90_orders_per_s", Shape { hot: 0.9, ..uniform }, options.orders, options)?;
    let ten = Shape { lines: 10, ..uniform };
    bench.throughput("flight_10_lines_orders_per_s", ten, options.orders / 4, options)?;
    bench.latency(rate / 2.0, options.streams)?;
    bench.http("http_array_orders_per_s", 8, 100)?;
    bench.http("http_single_orders_per_s", 64, 1)?;
    bench.set("hub_resident_bytes", crate::process::resident_bytes(pool.hub()?.id()));
    bench.set("customers", options.customers);
    bench.set("articles", options.articles);
    bench.set("tls", options.tls);
    bench.set("proofs", !options.no_proofs);
    bench.set("machine", machine());
    let figures = Value::Object(bench.figures);
    println!("{}", if options.json { figures.to_string() } else { serde_json::to_string_pretty(&figures)? });
    Ok(())
}

/// A market under measurement, and what was found.
struct Bench {
    runtime: Runtime,
    market: Market,
    numbers: Numbers,
    figures: Map<String, Value>,
}

impl Bench {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Orders over Flight, as many as the hub takes: so many a second, and bytes of each in the log.
    fn throughput(
        &mut self,
        name: &str,
        shape: Shape,
        orders: u32,
        options: &Options,
    ) -> Outcome<(f64, f64)> {
        let (mut rates, mut bytes) = (Vec::new(), 0.0);
        for _ in 0..options.rounds {
            let load = Load { shape, orders, batch: options.batch };
            let messages = flight::messages(&self.market, &mut self.numbers, &load, options.streams)?;
            let before = log_bytes(&self.runtime, &self.market)?;
            let took = self.runtime.block_on(flight::as_fast_as_possible(&self.market, messages))?;
            bytes = (log_bytes(&self.runtime, &self.market)? - before) / f64::from(orders);
            let rate = f64::from(orders) / took.as_secs_f64();
            println!("{name:32} {rate:.0} orders/s, {bytes:.1} bytes an order in the log");
            rates.push(rate);
        }
        let rate = median(&mut rates);
        self.set(name, rate.round());
        Ok((rate, bytes))
    }

    /// How long batches over Flight wait for their answers when so many orders come in a second.
    fn latency(&mut self, rate: f64, streams: usize) -> Outcome {
        let orders = (rate * DURING.as_secs_f64()) as u32;
        let load = Load { shape: Shape { lines: 1, hot: 0.0 }, orders, batch: SMALL_BATCH };
        let messages = flight::messages(&self.market, &mut self.numbers, &load, streams)?;
        let batches_per_s = rate / f64::from(SMALL_BATCH);
        let waits = flight::at_a_rate(&self.market, messages, batches_per_s);
        let mut waits = self.runtime.block_on(waits)?;
        let (p50, p99) = (median(&mut waits), quantile(&mut waits, 0.99));
        println!("{:32} p50 {p50:.2} ms, p99 {p99:.2} ms", format!("at {rate:.0} orders/s"));
        self.set("p50_ms", p50);
        self.set("p99_ms", p99);
        Ok(())
    }

    /// Orders over HTTP, `together` in each request.
    fn http(&mut self, name: &str, connections: usize, together: usize) -> Outcome {
        let placed = http::measure(&self.market, &mut self.numbers, connections, together, DURING);
        let rate = self.runtime.block_on(placed)?;
        println!("{name:32} {rate:.0} orders/s, {connections} connections");
        self.set(name, rate.round());
        Ok(())
    }
}

/// Bytes of payload that the hub wrote to its log since it started.
fn log_bytes(runtime: &Runtime, market: &Market) -> Outcome<f64> {
    let text = runtime.block_on(market.operator.get_bytes("/metrics", 1 << 20))?;
    let text = String::from_utf8(text.to_vec())?;
    let value = text.lines().find_map(|line| line.strip_prefix("pumasi_log_payload_bytes_total "));
    Ok(value.ok_or("the hub does not tell how much it logged")?.parse()?)
}
