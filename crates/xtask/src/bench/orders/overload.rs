//! Twice as much as the hub takes, from clients that do not wait for it.

use std::time::Duration;

use super::flight::Shape;
use super::market::Popularity;
use super::{Bench, http, median, quantile};
use crate::Outcome;

/// How long.
const DURING: Duration = Duration::from_secs(6);
/// Before that, over HTTP.
const WARMING: Duration = Duration::from_secs(2);
/// Orders in a request.
const TOGETHER: usize = 100;
/// Connections whose clients wait for each answer.
const WAITING: usize = 32;
/// Connections of those that do not: so many requests are under way at most, and no more can come.
const CONNECTIONS: usize = 2_000;

/// Overloads of each kind, each between two measurements of the peak.
const TIMES: usize = 7;

impl Bench {
    /// Over Flight the hub reads no faster than it places; over HTTP it sends away what it cannot take.
    pub(super) fn overload(&mut self) -> Outcome {
        self.overload_flight()?;
        self.overload_http()
    }

    /// Between peaks by the same clients, for as many orders: the disk is not as fast all the time, and what follows an
    /// order, its proof above all, takes its share only of what lasts longer than a moment.
    fn overload_flight(&mut self) -> Outcome {
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        let (orders, batch) = (2 * self.options.orders, self.options.batch);
        let peak = |bench: &mut Bench| {
            let measured = bench.round("peak beside overload, Flight", &shape, orders)?;
            Outcome::Ok(measured.orders_per_s)
        };
        let mut found = Compared::default();
        let mut latencies = Vec::new();
        // The first orders of a state that is still small go faster than all that come after them.
        peak(self)?;
        let mut before = peak(self)?;
        for _ in 0..TIMES {
            let offered = 2.0 * before;
            let mut waits =
                self.paced(offered, Duration::from_secs_f64(f64::from(orders) / offered), batch)?;
            let goodput = waits.since_due.len() as f64 * f64::from(batch) / waits.took.as_secs_f64();
            let p99 = quantile(&mut waits.since_taken, 0.99);
            let after = peak(self)?;
            found.add("overload, Flight", goodput, offered, [before, after]);
            println!("{:32} p99 {p99:.1} ms once taken", "");
            latencies.push(p99);
            before = after;
        }
        found.tell(self, "flight");
        self.set("overload_flight_once_taken_p99_ms", median(&mut latencies));
        Ok(())
    }

    /// Few connections that wait for their answers make the most; many are for what comes without waiting.
    fn overload_http(&mut self) -> Outcome {
        let peak = |bench: &mut Bench| {
            let placed = http::measure(&bench.market, &mut bench.numbers, WAITING, TOGETHER, DURING);
            bench.runtime.block_on(placed)
        };
        let mut found = Compared::default();
        let (mut latencies, mut sent_away) = (Vec::new(), 0);
        let mut before = peak(self)?;
        for _ in 0..TIMES {
            let load = http::OpenLoop {
                connections: CONNECTIONS,
                together: TOGETHER,
                requests_per_s: 2.0 * before / TOGETHER as f64,
                warming: WARMING,
                during: WARMING + DURING,
            };
            let measured = http::open_loop(&self.market, &mut self.numbers, &load);
            let mut measured = self.runtime.block_on(measured)?;
            let p99 = quantile(&mut measured.placed_ms, 0.99);
            let after = peak(self)?;
            found.add(
                "overload, HTTP",
                measured.placed as f64 / DURING.as_secs_f64(),
                2.0 * before,
                [before, after],
            );
            println!(
                "{:32} {:.0} orders/s were sent; p99 {p99:.0} ms once sent; {} requests sent away",
                "",
                measured.sent as f64 / DURING.as_secs_f64(),
                measured.refused_ms.len()
            );
            latencies.push(p99);
            sent_away += measured.refused_ms.len();
            before = after;
        }
        found.tell(self, "http");
        self.set("overload_http_once_sent_p99_ms", median(&mut latencies));
        self.set("overload_http_refused_requests", sent_away);
        Ok(())
    }
}

/// What was placed under overload, beside the mean of the peaks before and after it.
#[derive(Default)]
struct Compared {
    goodputs: Vec<f64>,
    peaks: Vec<f64>,
    ratios: Vec<f64>,
}

impl Compared {
    fn add(&mut self, name: &str, goodput: f64, offered: f64, peaks: [f64; 2]) {
        let peak = f64::midpoint(peaks[0], peaks[1]);
        println!(
            "{name:32} {goodput:.0} orders/s placed of {offered:.0} that were due, {:.0} % of {peak:.0}, the mean of \
             the peaks before and after",
            goodput / peak * 100.0
        );
        self.goodputs.push(goodput);
        self.peaks.push(peak);
        self.ratios.push(goodput / peak);
    }

    /// The medians.
    fn tell(&mut self, bench: &mut Bench, name: &str) {
        bench.set(&format!("overload_{name}_orders_per_s"), median(&mut self.goodputs).round());
        bench.set(&format!("overload_{name}_peak_orders_per_s"), median(&mut self.peaks).round());
        bench.set(&format!("overload_{name}_part_of_peak"), median(&mut self.ratios));
    }
}
