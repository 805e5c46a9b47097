//! Orders through a real hub: durable, paid and settled when they are answered; by Arrow Flight and by HTTP, client
//! included on this machine.

mod flight;
mod http;
mod life;
mod market;
mod overload;
mod peers;
mod restart;

use std::time::{Duration, Instant};

use pumasi_api::wire;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use self::flight::{Load, Shape};
use self::market::{Market, Numbers, Popularity};
use super::tasks::Cpu;
use super::{machine, median, quantile};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::process::resident_bytes;

/// How the benchmark is run.
#[derive(Clone, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Measure only this, and what it needs; can be given several times
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Customers that order
    #[arg(long, default_value_t = 1_000_000)]
    customers: u32,
    /// Articles that are ordered
    #[arg(long, default_value_t = 10_000)]
    articles: u32,
    /// Orders of one measurement over Arrow Flight
    #[arg(long, default_value_t = 2_000_000)]
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

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One line, articles uniform, over Flight: as many as the hub takes
    Throughput,
    /// 1, 3 and 10 lines; uniform, Zipf 1.1, nine of ten on one article
    Forms,
    /// Money only held at placing
    Hold,
    /// How long a batch waits at 500,000 orders a second, and at half of what the hub takes
    Latency,
    /// Lists of 100, and single orders, as JSON
    Http,
    /// From placing to completion
    Life,
    /// Twice as much as the hub takes
    Overload,
    /// How long a batch waits while snapshots are made
    Snapshot,
    /// Start from a snapshot, and from the log
    Restart,
    /// Redis and PostgreSQL
    Peers,
}

/// Seconds of each measurement that is not of a number of orders.
const DURING: Duration = Duration::from_secs(5);
/// Orders in a batch when latency is measured: what comes in two milliseconds at 500,000 a second.
const SMALL_BATCH: u32 = 1_000;
/// Orders a second at which latency has its goal.
const HALF_OF_THE_GOAL: f64 = 500_000.0;
/// What keeps the hub from making snapshots until they are measured.
const NO_SNAPSHOTS: [&str; 2] = ["--snapshot-every", "1024GiB"];

pub(crate) fn run(options: &Options) -> Outcome {
    if cfg!(debug_assertions) {
        // The client counts: it shares the processor with the hub.
        return build::again_for_speed();
    }
    let mut bench = Bench::begin(options)?;
    let steps: [(Part, Measure); 10] = [
        (Part::Restart, Bench::restart),
        (Part::Throughput, Bench::throughput),
        (Part::Latency, Bench::latency),
        (Part::Snapshot, Bench::snapshot),
        (Part::Forms, Bench::forms),
        (Part::Hold, Bench::hold),
        (Part::Http, Bench::http),
        (Part::Life, Bench::life),
        (Part::Overload, Bench::overload),
        (Part::Peers, Bench::peers),
    ];
    for (part, measure) in steps {
        if options.only.is_empty() || options.only.contains(&part) {
            measure(&mut bench)?;
        }
    }
    let figures = Value::Object(bench.figures);
    println!("{}", if options.json { figures.to_string() } else { serde_json::to_string_pretty(&figures)? });
    Ok(())
}

/// Measures a part.
type Measure = fn(&mut Bench) -> Outcome;

/// A market under measurement, and what was found.
struct Bench {
    options: Options,
    pool: Pool,
    runtime: Runtime,
    market: Market,
    numbers: Numbers,
    figures: Map<String, Value>,
    /// Whether an order is settled when it is placed.
    settles: bool,
}

/// What one run of orders over Flight came to.
struct Measured {
    orders_per_s: f64,
    log_bytes: f64,
    hub_us: f64,
    client_us: f64,
}

impl Bench {
    fn begin(options: &Options) -> Outcome<Bench> {
        let program = build::pumasi(Profile::Release)?;
        let mut arguments = vec!["--requests-per-s", "1000000"];
        if !options.tls {
            arguments.push("--no-tls");
        }
        if options.no_proofs {
            arguments.push("--no-proofs");
        }
        arguments.extend(NO_SNAPSHOTS);
        let pool = Pool::start(&program, &arguments)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let market = runtime.block_on(Market::open(&pool, options.customers, options.articles))?;
        let (numbers, figures) = (Numbers::default(), Map::new());
        let mut bench =
            Bench { options: options.clone(), pool, runtime, market, numbers, figures, settles: true };
        bench.set("customers", options.customers);
        bench.set("articles", options.articles);
        bench.set("tls", options.tls);
        bench.set("proofs", !options.no_proofs);
        bench.set("machine", machine());
        Ok(bench)
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    fn throughput(&mut self) -> Outcome {
        let hub = self.pool.hub()?.id();
        let before = resident_bytes(hub);
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        let all = self.rounds("flight_orders_per_s", &shape, self.options.orders)?;
        let orders = f64::from(self.options.orders * self.options.rounds);
        let memory = resident_bytes(hub).saturating_sub(before) as f64 / orders;
        let middle = |figure: fn(&Measured) -> f64| {
            let mut figures: Vec<f64> = all.iter().map(figure).collect();
            median(&mut figures)
        };
        let (log, hub_us) = (middle(|one| one.log_bytes), middle(|one| one.hub_us));
        let client_us = middle(|one| one.client_us);
        println!(
            "{:32} {log:.1} bytes in the log, {memory:.0} in memory; hub {hub_us:.2} us, client {client_us:.2} us",
            "an order"
        );
        self.set("log_bytes_per_order", log);
        self.set("memory_bytes_per_order", memory.round());
        self.set("hub_cpu_us_per_order", hub_us);
        self.set("client_cpu_us_per_order", client_us);
        self.set("cpu_cycles_per_order", ((hub_us + client_us) * clock_mhz()).round());
        Ok(())
    }

    /// All in turns, because the machine is not the same all the time, and they are compared.
    fn forms(&mut self) -> Outcome {
        let popular = [
            ("", Popularity::Uniform),
            ("zipf_", Popularity::zipf(self.options.articles)),
            ("hot90_", Popularity::Hot),
        ];
        let mut forms = Vec::new();
        for (lines, text) in [(1, ""), (3, "3_lines_"), (10, "10_lines_")] {
            for (name, popularity) in &popular {
                let name = format!("flight_{name}{text}orders_per_s");
                forms.push((name, Shape { lines, popularity: popularity.clone() }));
            }
        }
        let mut rates = vec![Vec::new(); forms.len()];
        for _ in 0..self.options.rounds {
            for ((name, shape), rates) in forms.iter().zip(&mut rates) {
                let measured = self.round(name, shape, self.options.orders / (shape.lines + 1))?;
                rates.push(measured.orders_per_s);
            }
        }
        for ((name, _), rates) in forms.iter().zip(&mut rates) {
            let rate = median(rates);
            // What was measured with more of them, by itself, stays.
            self.figures.entry(name.clone()).or_insert(rate.round().into());
            if name == "flight_orders_per_s" {
                self.set("flight_uniform_beside_forms_orders_per_s", rate.round());
            }
        }
        Ok(())
    }

    /// Orders whose money is only set aside, and settled when they are shipped.
    fn hold(&mut self) -> Outcome {
        self.settle_at("shipping")?;
        self.settles = false;
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        self.rounds("flight_hold_only_orders_per_s", &shape, self.options.orders / 2)?;
        self.settles = true;
        self.settle_at("placing")
    }

    fn settle_at(&self, when: &str) -> Outcome {
        let terms = json!({ "settle_at": when });
        Ok(self.runtime.block_on(self.market.merchant.put("/v1/shop", &terms, None))?)
    }

    /// Orders over Flight, as many as the hub takes, several times.
    fn rounds(&mut self, name: &str, shape: &Shape, orders: u32) -> Outcome<Vec<Measured>> {
        let all = (0..self.options.rounds).map(|_| self.round(name, shape, orders));
        let all = all.collect::<Outcome<Vec<_>>>()?;
        let mut rates: Vec<f64> = all.iter().map(|one| one.orders_per_s).collect();
        self.set(name, median(&mut rates).round());
        Ok(all)
    }

    fn round(&mut self, name: &str, shape: &Shape, orders: u32) -> Outcome<Measured> {
        let load = Load { shape, orders, batch: self.options.batch };
        let messages = flight::messages(&self.market, &mut self.numbers, &load, self.options.streams)?;
        let proven = self.rest()?;
        let (hub, count) = (self.pool.hub()?.id(), f64::from(orders));
        let (bytes, cpu, own) = (self.log_bytes()?, Cpu::of(hub), Cpu::of(std::process::id()));
        let took = self.runtime.block_on(flight::as_fast_as_possible(&self.market, messages))?;
        let client_us = (Cpu::of(std::process::id()).all_us - own.all_us) / count;
        // What is settled is proven a little later; that is part of what an order costs.
        let proven = self.wait_for_proofs(proven + u64::from(orders) * u64::from(self.settles))?;
        let measured = Measured {
            orders_per_s: count / took.as_secs_f64(),
            log_bytes: (self.log_bytes()? - bytes) / count,
            hub_us: (Cpu::of(hub).all_us - cpu.all_us) / count,
            client_us,
        };
        println!(
            "{name:32} {:.0} orders/s; {:.1} bytes in the log, hub {:.2} us, client {:.2} us an order; all proven \
             {:.1} s later",
            measured.orders_per_s,
            measured.log_bytes,
            measured.hub_us,
            measured.client_us,
            proven.as_secs_f64()
        );
        Ok(measured)
    }

    /// How many transfers the newest checkpoint covers.
    fn proven(&self) -> Outcome<u64> {
        if self.options.no_proofs {
            return Ok(0);
        }
        let info: wire::ProofInfo = self.runtime.block_on(self.market.operator.get("/v1/proof"))?;
        Ok(info.size)
    }

    /// Waits until nothing more is being proven; how many transfers are.
    fn rest(&self) -> Outcome<u64> {
        let mut before = self.proven()?;
        loop {
            std::thread::sleep(Duration::from_millis(1_200));
            let now = self.proven()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    }

    /// How long it takes until so many transfers are proven.
    fn wait_for_proofs(&self, wanted: u64) -> Outcome<Duration> {
        let began = Instant::now();
        while !self.options.no_proofs && self.proven()? < wanted {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(began.elapsed())
    }

    /// Orders that are placed, shipped, delivered and completed.
    fn life(&mut self) -> Outcome {
        let lived = self.runtime.block_on(life::measure(&self.market, &mut self.numbers, DURING))?;
        println!("{:32} {lived:.0} orders/s", "whole life over HTTP, lists");
        self.set("whole_life_orders_per_s", lived.round());
        Ok(())
    }

    /// How long batches over Flight wait for their answers when so many orders come in a second.
    fn latency(&mut self) -> Outcome {
        let half = self.peak("flight_orders_per_s", 1_000_000.0) / 2.0;
        for (prefix, rate) in [("", HALF_OF_THE_GOAL), ("half_peak_", half)] {
            let waits = self.paced(rate, DURING, SMALL_BATCH)?;
            self.tell_waits(prefix, rate, waits.since_due);
        }
        Ok(())
    }

    /// What was measured before, or else what this should come to.
    fn peak(&self, name: &str, otherwise: f64) -> f64 {
        self.figures.get(name).and_then(Value::as_f64).unwrap_or(otherwise)
    }

    fn paced(&mut self, rate: f64, during: Duration, batch: u32) -> Outcome<flight::Waits> {
        let orders = (rate * during.as_secs_f64()) as u32;
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        let load = Load { shape: &shape, orders, batch };
        let messages = flight::messages(&self.market, &mut self.numbers, &load, self.options.streams)?;
        self.rest()?;
        let batches_per_s = rate / f64::from(batch);
        self.runtime.block_on(flight::at_a_rate(&self.market, messages, batches_per_s))
    }

    fn tell_waits(&mut self, prefix: &str, rate: f64, mut waits: Vec<f64>) {
        let parts = [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)];
        let found = parts.map(|(name, part)| (name, quantile(&mut waits, part)));
        let text: Vec<_> =
            found.iter().map(|(name, ms)| format!("{} {ms:.2} ms", &name[..name.len() - 3])).collect();
        println!("{:32} {}", format!("{}at {rate:.0} orders/s", prefix.replace('_', " ")), text.join(", "));
        for (name, ms) in found {
            self.set(&format!("{prefix}{name}"), ms);
        }
        self.set(&format!("{prefix}latency_at_orders_per_s"), rate.round());
    }

    /// Orders over HTTP, many and one in each request.
    fn http(&mut self) -> Outcome {
        let forms = [("http_array_orders_per_s", 32, 100), ("http_single_orders_per_s", 64, 1)];
        for (name, connections, together) in forms {
            let (hub, own) = (Cpu::of(self.pool.hub()?.id()), Cpu::of(std::process::id()));
            let placed = http::measure(&self.market, &mut self.numbers, connections, together, DURING);
            let rate = self.runtime.block_on(placed)?;
            let orders = rate * DURING.as_secs_f64();
            let us = |now: Cpu, before: Cpu| (now.all_us - before.all_us) / orders;
            println!(
                "{name:32} {rate:.0} orders/s, {connections} connections; hub {:.1} us, client {:.1} us an order",
                us(Cpu::of(self.pool.hub()?.id()), hub),
                us(Cpu::of(std::process::id()), own)
            );
            self.set(name, rate.round());
        }
        Ok(())
    }

    /// With both cores: the hub is stopped.
    fn peers(&mut self) -> Outcome {
        self.pool.hub()?.stop(restart::PATIENCE)?;
        let measured = peers::measure(&self.options);
        self.set("peers", measured);
        Ok(())
    }

    /// Bytes of payload that the hub wrote to its log since it started.
    fn log_bytes(&self) -> Outcome<f64> {
        self.metric("pumasi_log_payload_bytes_total")
    }

    fn metric(&self, name: &str) -> Outcome<f64> {
        let text = self.runtime.block_on(self.market.operator.get_bytes("/metrics", 1 << 20))?;
        let text = String::from_utf8(text.to_vec())?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("the hub does not tell {name}"))?.parse()?)
    }
}

/// What the processor is said to run at, in MHz: virtual machines seldom let anybody count cycles.
fn clock_mhz() -> f64 {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpu.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(": ").nth(1));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(f64::NAN)
}
