//! How long a hub takes to start with a sales day behind it, and how long orders wait while snapshots are made.

use std::time::Duration;

use super::flight::{self, Load, Shape};
use super::market::Popularity;
use super::{Bench, NO_SNAPSHOTS, SMALL_BATCH, quantile};
use crate::Outcome;

/// How long the hub may take to make its last snapshot.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Orders a second while snapshots are made: such an hour is no peak.
const RATE: f64 = 200_000.0;
/// Payload after which the hub makes one: what comes in about six seconds.
const OFTEN: [&str; 2] = ["--snapshot-every", "64MiB"];

impl Bench {
    /// A start from a snapshot of all customers; then orders, kill -9, and a start that does them again.
    pub(super) fn restart(&mut self) -> Outcome {
        self.pool.hub()?.stop(PATIENCE)?;
        self.pool.start_hub()?;
        let snapshot_ms = self.restored()?;
        let shape = Shape { lines: 1, popularity: Popularity::Uniform };
        let load = Load { shape: &shape, orders: self.options.orders, batch: self.options.batch };
        let messages = flight::messages(&self.market, &mut self.numbers, &load, self.options.streams)?;
        self.runtime.block_on(flight::as_fast_as_possible(&self.market, messages))?;
        self.pool.hub()?.kill()?;
        self.pool.start_hub()?;
        let both_ms = self.restored()?;
        let rate = f64::from(self.options.orders) * 1000.0 / (both_ms - snapshot_ms);
        println!(
            "{:32} {:.2} s from a snapshot of {} customers; then {rate:.0} orders/s of the log again",
            "restart",
            snapshot_ms / 1000.0,
            self.options.customers
        );
        self.set("restart_snapshot_s", snapshot_ms / 1000.0);
        self.set("replay_orders_per_s", rate.round());
        Ok(())
    }

    /// How long the hub says that its last start took, in milliseconds.
    fn restored(&self) -> Outcome<f64> {
        let log = self.pool.hub_log();
        let line = log.lines().rev().find(|line| line.contains("state restored"));
        let plain: String = line.ok_or("the hub does not tell what it restored")?.split('\u{1b}').collect();
        let at = plain.find("ms").ok_or("the hub does not tell how long that took")?;
        let digits = plain[at..].trim_start_matches(|c: char| c != '=').chars().skip(1);
        let digits: String =
            digits.skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }

    /// Half a minute of orders while the hub makes one snapshot after another.
    pub(super) fn snapshot(&mut self) -> Outcome {
        self.pool.forget_arguments(NO_SNAPSHOTS.len());
        self.pool.restart_hub(&OFTEN)?;
        let written = |log: &str| log.matches("snapshot written").count();
        let before = written(&self.pool.hub_log());
        let waits = self.paced(RATE, Duration::from_secs(30), SMALL_BATCH)?;
        let made = written(&self.pool.hub_log()) - before;
        let longest = quantile(&mut waits.since_due.clone(), 1.0);
        println!("{:32} {made} snapshots; the longest wait was {longest:.1} ms", "");
        self.set("snapshots_made", made);
        self.tell_waits("snapshot_", RATE, waits.since_due);
        self.pool.forget_arguments(OFTEN.len());
        self.pool.restart_hub(&NO_SNAPSHOTS)
    }
}
