//! Twice as much as the hub takes, from clients that do not wait for it.

use std::time::Duration;

use super::flight::Shape;
use super::market::Popularity;
use super::{Bench, http, quantile};
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

impl Bench {
    /// Over Flight the hub reads no faster than it places; over HTTP it sends away what it cannot take.
    pub(super) fn overload(&mut self) -> Outcome {
        // Just before, by the same clients, for as many orders: the disk is not as fast all the time, and what follows an
        // order, its proof above all, takes its share only of what lasts longer than a moment.
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        let orders = self.peak("flight_orders_per_s", 1_000_000.0) * DURING.as_secs_f64();
        let peak = self.round("peak before overload, Flight", &shape, orders as u32)?.orders_per_s;
        let (batch, offered) = (self.options.batch, 2.0 * peak);
        let mut waits = self.paced(offered, Duration::from_secs_f64(orders / offered), batch)?;
        let goodput = waits.since_due.len() as f64 * f64::from(batch) / waits.took.as_secs_f64();
        let p99 = quantile(&mut waits.since_taken, 0.99);
        println!(
            "{:32} {goodput:.0} orders/s placed of {:.0} that were offered, {:.0} % of the peak; p99 {p99:.1} ms once taken",
            "overload, Flight",
            offered,
            goodput / peak * 100.0
        );
        self.set("overload_flight_peak_orders_per_s", peak.round());
        self.set("overload_flight_orders_per_s", goodput.round());
        self.set("overload_flight_p99_ms", p99);

        // Few connections that wait for their answers make the most; many are for what comes without waiting.
        let peak = http::measure(&self.market, &mut self.numbers, WAITING, TOGETHER, DURING);
        let peak = self.runtime.block_on(peak)?;
        let load = http::OpenLoop {
            connections: CONNECTIONS,
            together: TOGETHER,
            requests_per_s: 2.0 * peak / TOGETHER as f64,
            warming: WARMING,
            during: WARMING + DURING,
        };
        let measured = http::open_loop(&self.market, &mut self.numbers, &load);
        let mut measured = self.runtime.block_on(measured)?;
        let seconds = DURING.as_secs_f64();
        let goodput = measured.placed as f64 / seconds;
        let p99 = quantile(&mut measured.placed_ms, 0.99);
        let refused = quantile(&mut measured.refused_ms, 0.99);
        println!(
            "{:32} {goodput:.0} orders/s placed of {:.0} that were offered, {:.0} % of {peak:.0} just before; p99 {p99:.0} ms; \
             {} requests sent away, p99 {refused:.0} ms",
            "overload, HTTP",
            2.0 * peak,
            goodput / peak * 100.0,
            measured.refused_ms.len()
        );
        self.set("overload_http_peak_orders_per_s", peak.round());
        self.set("overload_http_offered_orders_per_s", (2.0 * peak).round());
        self.set("overload_http_orders_per_s", goodput.round());
        self.set("overload_http_p99_ms", p99);
        self.set("overload_http_refused_requests", measured.refused_ms.len());
        Ok(())
    }
}
