//! Counters and gauges in Prometheus' text format.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;

/// What the hub counts.
pub(crate) struct Metrics {
    registry: Registry,
    entries: Counter,
    commands: Counter,
    transfers: Counter,
    log_bytes: Counter,
    requests: Family<Labels, Counter>,
    request_seconds: Histogram,
    /// Workers with a link.
    pub(crate) links: Gauge,
    /// Runs that workers reported.
    pub(crate) reported_runs: Counter,
    /// Bytes of jobs' inputs that were sent to machines and to whoever ordered them.
    pub(crate) input_bytes: Counter,
    /// Bytes that came in bodies to be stored.
    pub(crate) received_bytes: Counter,
    /// Events that webhooks took.
    pub(crate) webhooks_taken: Counter,
    /// Tries to bring events to webhooks that failed.
    pub(crate) webhooks_failed: Counter,
    /// Lines of the access log that were written.
    pub(crate) access_lines: Counter,
    /// Lines of it that could not be written.
    pub(crate) access_lost: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("pumasi");
        let metrics = Metrics {
            entries: Counter::default(),
            commands: Counter::default(),
            transfers: Counter::default(),
            log_bytes: Counter::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 18)),
            links: Gauge::default(),
            reported_runs: Counter::default(),
            input_bytes: Counter::default(),
            received_bytes: Counter::default(),
            webhooks_taken: Counter::default(),
            webhooks_failed: Counter::default(),
            access_lines: Counter::default(),
            access_lost: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("entries", "Entries made durable", metrics.entries.clone());
        registry.register("commands", "Commands applied", metrics.commands.clone());
        registry.register("transfers", "Transfers settled", metrics.transfers.clone());
        registry.register("log_payload_bytes", "Payload written to the log", metrics.log_bytes.clone());
        registry.register("http_requests", "HTTP requests by status", metrics.requests.clone());
        let seconds = metrics.request_seconds.clone();
        registry.register_with_unit("http_request", "Time to answer HTTP requests", Unit::Seconds, seconds);
        registry.register("worker_links", "Workers with a link now", metrics.links.clone());
        registry.register("reported_runs", "Runs that workers reported", metrics.reported_runs.clone());
        registry.register(
            "input_bytes",
            "Bytes of inputs of jobs that were sent",
            metrics.input_bytes.clone(),
        );
        registry.register("received_bytes", "Bytes that came to be stored", metrics.received_bytes.clone());
        registry.register(
            "webhook_events_taken",
            "Events that webhooks took",
            metrics.webhooks_taken.clone(),
        );
        let failed = metrics.webhooks_failed.clone();
        registry.register("webhook_tries_failed", "Events that webhooks did not take when tried", failed);
        registry.register(
            "access_lines",
            "Lines of the access log that were written",
            metrics.access_lines.clone(),
        );
        let lost = metrics.access_lost.clone();
        registry.register("access_lines_lost", "Lines of the access log that could not be written", lost);
        Metrics { registry, ..metrics }
    }

    /// An entry was logged and applied.
    pub(crate) fn entry(&self, commands: usize, payload_bytes: usize, transfers: usize) {
        self.entries.inc();
        self.commands.inc_by(commands as u64);
        self.transfers.inc_by(transfers as u64);
        self.log_bytes.inc_by(payload_bytes as u64);
    }

    /// A request was answered.
    pub(crate) fn request(&self, status: u16, took: Duration) {
        self.requests.get_or_create(&vec![("status", status.to_string())]).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes every text");
        text
    }
}
