//! Finished runs on their way to the hub: gathered into reports, kept until they are durable there.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use pumasi_api::link;
use pumasi_types::{Duration, Ending, Fuel, Hash, RunId, Time};

use crate::LinkError;

/// A finished run waits at most so long for others to be reported with.
const WAIT: Duration = Duration::from_millis(1);
/// So many finished runs are reported at once.
const DUE_RUNS: usize = 256;
/// The most runs in one report.
const REPORT_RUNS_MAX: usize = 4_096;
/// Bytes of outputs after which a report is full; a message of gRPC may have 4 MiB.
const REPORT_BYTES: usize = 1 << 20;
/// What a run adds to a report besides its output and reason.
const RUN_BYTES: usize = 80;
/// The most bytes of a reason that are sent.
const REASON_BYTES_MAX: usize = 1_000;

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which run.
    pub run: RunId,
    /// How it ended.
    pub ending: Ending,
    /// Fuel burnt.
    pub fuel: Fuel,
    /// How long it took here.
    pub wall: Duration,
    /// Hash of the encoded output.
    pub result: Hash,
    /// The encoded output; no bytes for an empty output.
    pub output: Bytes,
    /// Why it ended as [`Ending::Faulted`] or [`Ending::BadModule`].
    pub fault: Option<Box<str>>,
}

impl Finished {
    fn weight(&self) -> usize {
        RUN_BYTES + self.output.len() + self.fault.as_ref().map_or(0, |fault| fault.len())
    }
}

/// Finished runs that the hub does not have durably yet.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    fresh: VecDeque<Finished>,
    /// When the first of the fresh ones was added.
    since: Option<Time>,
    /// Reports sent on this link, oldest first.
    sent: VecDeque<(u64, Vec<Finished>)>,
    last_id: u64,
    /// Memory that all of it takes, in bytes.
    weight: usize,
}

impl Reports {
    pub(crate) fn add(&mut self, now: Time, mut finished: Finished) {
        match finished.ending {
            Ending::Faulted | Ending::BadModule => {
                let fault = finished.fault.take().unwrap_or_default();
                finished.fault = Some(shortened(&fault).into());
            }
            _ => finished.fault = None,
        }
        self.weight += finished.weight();
        self.since.get_or_insert(now);
        self.fresh.push_back(finished);
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// When the fresh ones should go, even if more is to come.
    pub(crate) fn due(&self) -> Option<Time> {
        self.since.map(|since| since.after(WAIT))
    }

    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.fresh.len() >= DUE_RUNS || self.due().is_some_and(|due| due <= now)
    }

    /// The next report to send on this link.
    pub(crate) fn take(&mut self) -> Option<link::Report> {
        self.fresh.front()?;
        self.last_id += 1;
        let mut report = link::Report { report_id: self.last_id, ..link::Report::default() };
        let mut weight = 0;
        let mut runs = Vec::new();
        while runs.len() < REPORT_RUNS_MAX && weight < REPORT_BYTES {
            let Some(finished) = self.fresh.pop_front() else { break };
            weight += finished.weight();
            report.runs.push(finished.run.0);
            report.endings.push(finished.ending.to_code());
            report.fuel.push(finished.fuel.0);
            report.wall_ns.push(finished.wall.0);
            report.results.extend_from_slice(finished.result.as_bytes());
            if !finished.output.is_empty() {
                // Columns of nothing but empty outputs are left out.
                report.outputs.resize(runs.len(), Vec::new());
                report.outputs.push(finished.output.to_vec());
            }
            report.faults.extend(finished.fault.as_deref().map(str::to_owned));
            runs.push(finished);
        }
        if !report.outputs.is_empty() {
            report.outputs.resize(runs.len(), Vec::new());
        }
        self.sent.push_back((self.last_id, runs));
        if self.fresh.is_empty() {
            self.since = None;
        }
        Some(report)
    }

    /// Reports up to `id` are durable: their runs are forgotten, and handed back.
    pub(crate) fn acked(&mut self, id: u64) -> Result<Vec<RunId>, LinkError> {
        if id > self.last_id {
            return Err(LinkError::AckAhead { acked: id, sent: self.last_id });
        }
        let mut forgotten = Vec::new();
        while self.sent.front().is_some_and(|(sent, _)| *sent <= id) {
            for finished in self.sent.pop_front().map(|(_, runs)| runs).unwrap_or_default() {
                self.weight -= finished.weight();
                forgotten.push(finished.run);
            }
        }
        Ok(forgotten)
    }

    /// The link is gone: what was not acknowledged is sent again on the next one.
    pub(crate) fn unsend(&mut self, now: Time) {
        self.last_id = 0;
        while let Some((_, runs)) = self.sent.pop_back() {
            for finished in runs.into_iter().rev() {
                self.fresh.push_front(finished);
            }
        }
        if !self.fresh.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    /// Forgets runs that nobody wants to hear of, unless their report is on its way.
    pub(crate) fn forget(&mut self, runs: &HashSet<RunId>) {
        let weight = &mut self.weight;
        self.fresh.retain(|finished| {
            let keep = !runs.contains(&finished.run);
            *weight -= if keep { 0 } else { finished.weight() };
            keep
        });
        if self.fresh.is_empty() {
            self.since = None;
        }
    }

    /// The runs in reports on their way.
    pub(crate) fn on_their_way(&self) -> impl Iterator<Item = RunId> {
        self.sent.iter().flat_map(|(_, runs)| runs.iter().map(|finished| finished.run))
    }
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
